package fsdb

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// What a call has changed is taken back here where the transaction fails that it
// went with. The caller holds the scan or timelapse since before the change, and
// a crash in between leaves the change, or all of it taken back. For what takes
// several steps the journal tells of it first, so that Fold does the rest.

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
	err := t.Fold(ctx, loc)
	if err == nil {
		err = t.withdrawListed(ctx, loc, Added{Fileset: id, Gone: true})
	}
	return wrap("withdraw fileset", loc.Dir()+"/"+id, err)
}

// WithdrawFiles takes back files that were added to a fileset. What only the
// journal has of them goes bytes first: without these its entry counts for nothing,
// so that a kill on the way leaves none of it. What files.json lists goes out of it
// before.
func (t *Tree) WithdrawFiles(ctx context.Context, loc Loc, fileset string, files []NewFile) error {
	return wrap("withdraw files of", loc.Dir()+"/"+fileset, t.withdrawFiles(ctx, loc, fileset, files))
}

func (t *Tree) withdrawFiles(ctx context.Context, loc Loc, fileset string, files []NewFile) error {
	_, journaled, err := t.listedOf(ctx, loc, fileset, files)
	if err != nil {
		return err
	}
	if err := t.discardFiles(loc, fileset, journaled); err != nil {
		return err
	}
	if err := t.Fold(ctx, loc); err != nil {
		return err
	}
	listed, _, err := t.listedOf(ctx, loc, fileset, files)
	if err != nil || len(listed) == 0 {
		return err
	}
	gone := make([]Added, len(listed))
	for i, f := range listed {
		gone[i] = Added{Fileset: fileset, ID: f.ID, File: f.Name, Gone: true}
	}
	return t.withdrawListed(ctx, loc, gone...)
}

// withdrawListed takes back what files.json lists, after it was said in the journal,
// which there is none of before.
func (t *Tree) withdrawListed(ctx context.Context, loc Loc, gone ...Added) error {
	if _, err := t.announce(loc, gone...); err != nil {
		return err
	}
	return t.Fold(ctx, loc)
}

// listedOf tells those of the files that files.json lists from the others.
func (t *Tree) listedOf(ctx context.Context, loc Loc, fileset string, files []NewFile) (listed, others []NewFile, err error) {
	dir, err := t.openScan(loc)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = dir.Close() }() // only read
	x, err := readIndex(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	set := x.find(fileset)
	for _, f := range files {
		if set != nil && set.file(f.ID) != nil {
			listed = append(listed, f)
		} else {
			others = append(others, f)
		}
	}
	return listed, others, nil
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
// it. After TakeOutTrash that needs no room on the disk, unless another program has
// written files.json since.
func (t *Tree) TrashAgain(ctx context.Context, e, was Trashed) error {
	return wrap("put back trash entry", was.ID, t.trashAgain(ctx, e, was))
}

func (t *Tree) trashAgain(ctx context.Context, e, was Trashed) error {
	there, err := t.exists(e.dir())
	switch {
	case err != nil:
		return err
	case there && e.whole():
		if err := t.disk.rename(e.home(), e.content()); err != nil {
			return err
		}
		return t.syncDirs(e.dir(), path.Dir(e.home()))
	case there:
		defer t.dropSpares(&e)
		err = t.changeIndex(ctx, e.Loc(), rewrite{spare: e.spareIndex(), change: func(x *index) (changed bool, err error) {
			_, err = t.unlist(x, &e)
			return err == nil, err
		}})
		if err == nil {
			err = t.moveParts(&e)
		}
	default:
		err = t.Trash(ctx, e)
	}
	if err != nil {
		return err
	}
	return t.putEntryBack(was)
}

// putEntryBack makes an entry's own file what it was.
func (t *Tree) putEntryBack(was Trashed) error {
	name := was.dir() + "/" + entryFile
	if spare, err := t.exists(was.spareEntry()); err == nil && spare {
		return t.publish(was.spareEntry(), name)
	}
	document, err := was.document()
	if err != nil {
		return err
	}
	now, err := t.TrashEntry(was.ID)
	if err != nil {
		return err
	}
	if same, err := now.document(); err == nil && bytes.Equal(same, document) {
		return nil
	}
	return t.put(name, document)
}
