package fsdb

import (
	"context"
	"errors"
	"io/fs"
	"path"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// What a call has changed is taken back here where the transaction fails that it
// went with. The caller holds the scan or timelapse since before the change, and
// a crash in between leaves the change, or all of it taken back.

// Withdraw takes back a scan, or with an empty Scan a timelapse and all in it,
// that was made.
func (t *Tree) Withdraw(ctx context.Context, loc Loc) error {
	return wrap("withdraw", loc.Dir(), t.withdraw(ctx, loc))
}

func (t *Tree) withdraw(ctx context.Context, loc Loc) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	tmp := stagingName()
	err := t.inStaging(func() error { return t.disk.rename(loc.Dir(), tmp) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer t.discard(tmp)
	if err := t.syncDirs(path.Dir(loc.Dir()), stagingDir); err != nil {
		return err
	}
	if loc.Scan == "" {
		return nil // Sweep finds the journals
	}
	return t.dropJournal(loc)
}

// WithdrawFileset takes back a fileset that was made. A directory that was there
// before, with something in it, stays.
func (t *Tree) WithdrawFileset(ctx context.Context, loc Loc, id string) error {
	err := t.changeIndex(ctx, loc, rewrite{change: func(x *index) (changed bool, err error) {
		_, err = x.remove(id)
		return err == nil, missingIsNone(err)
	}})
	if err == nil {
		t.discard(loc.Dir() + "/" + filesetMetadata(id))
		dir := loc.Dir() + "/" + id
		if entries, err := fs.ReadDir(t.root.FS(), dir); err == nil && len(entries) == 0 {
			t.discard(dir)
		}
		err = t.syncPresent(loc.Dir(), loc.Dir()+"/"+metadataDir)
	}
	return wrap("withdraw fileset", loc.Dir()+"/"+id, err)
}

// WithdrawFiles takes back files that were added to a fileset. What only the
// journal has of them goes bytes first: without these its entry counts for nothing,
// so that a kill on the way leaves none of it. What files.json lists goes out of it
// before.
func (t *Tree) WithdrawFiles(ctx context.Context, loc Loc, fileset string, files []NewFile) error {
	dir := loc.Dir() + "/" + fileset
	listed, err := t.withdrawJournaled(ctx, loc, fileset, files)
	if err == nil {
		err = t.changeIndex(ctx, loc, rewrite{change: func(x *index) (changed bool, err error) {
			set := x.find(fileset)
			if set == nil {
				return false, nil
			}
			for _, f := range files {
				_, err := set.remove(f.ID)
				if missingIsNone(err) != nil {
					return false, err
				}
				changed = changed || err == nil
			}
			return changed, nil
		}})
	}
	if err == nil {
		err = t.discardFiles(loc, fileset, listed)
	}
	return wrap("withdraw files of", dir, err)
}

// withdrawJournaled removes those of the files that files.json does not list, and
// returns the others.
func (t *Tree) withdrawJournaled(ctx context.Context, loc Loc, fileset string, files []NewFile) (listed []NewFile, err error) {
	dir, err := t.openScan(loc)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // only read
	x, err := readIndex(ctx, dir)
	if err != nil {
		return nil, err
	}
	var journaled []NewFile
	for _, f := range files {
		if set := x.find(fileset); set != nil && set.file(f.ID) != nil {
			listed = append(listed, f)
		} else {
			journaled = append(journaled, f)
		}
	}
	return listed, t.discardFiles(loc, fileset, journaled)
}

// discardFiles removes files and their metadata; these first, for whoever finds the
// bytes and their entry makes them anew.
func (t *Tree) discardFiles(loc Loc, fileset string, files []NewFile) error {
	if len(files) == 0 {
		return nil
	}
	dir := loc.Dir() + "/" + fileset
	for _, f := range files {
		t.discard(loc.Dir() + "/" + fileMetadata(fileset, f.ID))
		t.discard(dir + "/" + f.Name)
	}
	return t.syncPresent(dir, loc.Dir()+"/"+metadataDir+"/"+fileset)
}

func missingIsNone(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Before is what files of metadata were before a change.
type Before struct {
	tree  *Tree
	files []savedFile
}

// BeforeScan keeps the metadata of a scan and who may see it. What cannot be read
// is not kept, here and in the others.
func (t *Tree) BeforeScan(loc Loc) Before {
	return t.before(loc.Dir()+"/"+scanMetadata, loc.Dir()+"/"+accessFile)
}

// BeforeFileset keeps the metadata of a fileset.
func (t *Tree) BeforeFileset(loc Loc, fileset string) Before {
	return t.before(loc.Dir() + "/" + filesetMetadata(fileset))
}

// BeforeFile keeps the metadata of a file.
func (t *Tree) BeforeFile(loc Loc, fileset, id string) Before {
	return t.before(loc.Dir() + "/" + fileMetadata(fileset, id))
}

// BeforeBackup keeps what BackupScanMetadata and BackupFilesetMetadata replace.
func (t *Tree) BeforeBackup(loc Loc, fileset string) Before {
	return t.before(loc.Dir()+"/"+scanMetadata+backupSuffix, loc.Dir()+"/"+filesetMetadata(fileset)+backupSuffix)
}

// BeforeTimelapse keeps the marker of a timelapse.
func (t *Tree) BeforeTimelapse(id string) Before {
	return t.before(id + "/" + timelapseFile)
}

func (t *Tree) before(names ...string) Before {
	b := Before{tree: t}
	for _, name := range names {
		data, err := readFile(t.root, name, meta.MaxBytes)
		switch {
		case err == nil:
			b.files = append(b.files, savedFile{Name: name, Data: &data})
		case errors.Is(err, fs.ErrNotExist):
			b.files = append(b.files, savedFile{Name: name})
		}
	}
	return b
}

// PutBack makes the files what they were, durably.
func (b Before) PutBack(context.Context) error {
	var all error
	for _, f := range b.files {
		all = errors.Join(all, wrap("put back", f.Name, b.tree.putBack(f.Name, f.Data)))
	}
	return all
}

// TrashAgain undoes RestoreTrash or TakeOutTrash of an entry, which was was before
// it.
func (t *Tree) TrashAgain(ctx context.Context, e, was Trashed) error {
	there, err := t.exists(e.dir())
	if err != nil {
		return wrap("put back trash entry", was.ID, err)
	}
	if there && e.whole() {
		err := t.disk.rename(e.home(), e.content())
		if err == nil {
			err = t.syncDirs(e.dir(), path.Dir(e.home()))
		}
		return wrap("put back trash entry", was.ID, err)
	}
	if err := t.Trash(ctx, e); err != nil {
		return err
	}
	document, err := was.document()
	if err == nil {
		err = t.put(was.dir()+"/"+entryFile, document)
	}
	return wrap("put back trash entry", was.ID, err)
}
