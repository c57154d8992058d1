package fsdb

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"

	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// ErrNoTimelapse is what the restoration of a scan answers whose timelapse is
// gone.
var ErrNoTimelapse = fault.New(fault.Conflict, "timelapse_missing", "the timelapse of the scan is not there")

// RestoreTrash brings an entry back to where e says, which may have other names
// than the entry was deleted under; its Kind, ID and Listed are the entry's.
// ErrScanExists, ErrTimelapseExists, ErrFilesetExists or ErrFileExists if the
// name is taken there, ErrNotFound if the scan or fileset it belongs to is not
// there, ErrNoTimelapse, ErrBroken, ErrTrashGone. After an error nothing was
// restored, unless the very last steps failed.
func (t *Tree) RestoreTrash(ctx context.Context, e Trashed) error {
	drop, err := t.TakeOutTrash(ctx, e)
	if err == nil {
		drop()
	}
	return err
}

// TakeOutTrash is RestoreTrash for who may have to put the entry back with
// TrashAgain: the emptied entry stays until drop, and with it what files.json was,
// so that it goes back there without room on the disk. After a crash SettleTrash
// drops it.
func (t *Tree) TakeOutTrash(ctx context.Context, e Trashed) (drop func(), err error) {
	if err := t.restore(ctx, &e); err != nil {
		t.dropSpares(&e)
		return nil, wrap("restore", path.Join(e.home(), e.Fileset, e.File), err)
	}
	return func() {
		t.dropSpares(&e)
		t.dropEntry(&e)
	}, nil
}

// spareIndex is where files.json lies as it was before the entry was restored, and
// spareEntry the entry's own file.
func (e *Trashed) spareIndex() string { return stagingDir + "/restore-" + e.ID + "-" + indexFile }
func (e *Trashed) spareEntry() string { return stagingDir + "/restore-" + e.ID + "-" + entryFile }

// keepSpare keeps what a file is now under a second name, which takes no room. Where
// that cannot be had, the way back takes some.
func (t *Tree) keepSpare(name, spare string) {
	t.discard(spare) // of a call that was cut short
	_ = t.inStaging(func() error { return t.disk.link(name, spare) })
}

func (t *Tree) dropSpares(e *Trashed) {
	if !e.whole() {
		t.discard(e.spareIndex())
		t.discard(e.spareEntry())
	}
}

// whole says that the entry is a scan or timelapse, which moves by one rename.
func (e *Trashed) whole() bool { return e.Kind == TrashScan || e.Kind == TrashTimelapse }

func (t *Tree) restore(ctx context.Context, e *Trashed) error {
	if err := e.check(); err != nil {
		return ErrNotFound.Because(err)
	}
	if there, err := t.exists(e.content()); err != nil || !there {
		return errors.Join(err, ErrTrashGone)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	switch e.Kind {
	case TrashFileset, TrashFile:
		return t.restorePart(ctx, e)
	case TrashTimelapse:
		return t.restoreWhole(e, ErrTimelapseExists)
	default:
		if e.Timelapse != "" && (t.requireDir(e.Timelapse) != nil || !t.isTimelapse(e.Timelapse)) {
			return ErrNoTimelapse
		}
		return t.restoreWhole(e, ErrScanExists)
	}
}

// restoreWhole brings a scan or timelapse back.
func (t *Tree) restoreWhole(e *Trashed, taken *fault.Error) error {
	if err := t.free(e.home(), taken); err != nil {
		return err
	}
	err := t.disk.rename(e.content(), e.home())
	if errors.Is(err, fs.ErrExist) {
		return taken
	}
	if err != nil {
		return err
	}
	if err := t.disk.syncDir(path.Dir(e.home())); err != nil {
		return err
	}
	return t.disk.syncDir(e.dir())
}

// restorePart brings a fileset or file back: its pieces first, which nobody
// sees, and files.json then.
func (t *Tree) restorePart(ctx context.Context, e *Trashed) error {
	moved := false
	return t.changeIndex(ctx, e.Loc(), rewrite{
		change: func(x *index) (changed bool, err error) { return true, t.relist(x, e, moved) },
		before: func() error {
			if moved {
				return nil
			}
			if err := t.makeWay(e); err != nil {
				return err
			}
			t.keepSpare(e.home()+"/"+indexFile, e.spareIndex())
			moved = true
			return t.movePartsBack(e)
		},
		undo: func() error {
			if moved {
				return t.moveParts(e)
			}
			return nil
		},
	})
}

// makeWay makes the directories that the pieces go to.
func (t *Tree) makeWay(e *Trashed) error {
	if err := t.aim(e); err != nil {
		return err
	}
	if err := t.ensureDir(e.home()+"/"+metadataDir, dirPerm); err != nil {
		return err
	}
	if e.Kind != TrashFile {
		return nil
	}
	return t.ensureDir(e.home()+"/"+metadataDir+"/"+e.Fileset, dirPerm)
}

// aim makes entry.json say where the entry is about to go, so that SettleTrash
// would look there for its pieces.
func (t *Tree) aim(e *Trashed) error {
	entry, err := t.TrashEntry(e.ID)
	if err != nil {
		return err
	}
	now := entry.at(entry.Target)
	if now.home() == e.home() && now.Fileset == e.Fileset && now.File == e.File {
		return nil
	}
	t.keepSpare(e.dir()+"/"+entryFile, e.spareEntry())
	entry.Target = &TrashTarget{Timelapse: e.Timelapse, Scan: e.Scan, Fileset: e.Fileset, File: e.File, Listed: e.Listed}
	document, err := entry.document()
	if err != nil {
		return err
	}
	return t.put(e.dir()+"/"+entryFile, document)
}

// relist lists the entry in x; moved says that its pieces lie in the scan again.
func (t *Tree) relist(x *index, e *Trashed, moved bool) error {
	if e.Kind == TrashFile {
		return t.relistFile(x, e, moved)
	}
	if x.find(e.Fileset) != nil {
		return ErrFilesetExists
	}
	if !moved {
		if err := t.free(e.home()+"/"+e.Fileset, ErrFilesetExists); err != nil {
			return err
		}
		orphans, err := fs.ReadDir(t.root.FS(), e.home()+"/"+metadataDir+"/"+e.Fileset)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if len(orphans) > 0 {
			return ErrFilesetExists.With("Metadata of another fileset of that name is in the way.")
		}
	}
	x.filesets = insertBefore(x.filesets, parseFileset(e.Listed), func(o *filesetEntry) bool { return e.Next != "" && o.id == e.Next })
	return nil
}

func (t *Tree) relistFile(x *index, e *Trashed, moved bool) error {
	set, err := t.writable(x, e.Loc(), e.Fileset)
	if err != nil {
		return err
	}
	name := e.blob()
	for _, f := range set.files {
		if f.id == e.File || f.name == name {
			return ErrFileExists
		}
	}
	if !moved {
		if err := t.free(e.home()+"/"+e.Fileset+"/"+name, ErrFileExists); err != nil {
			return err
		}
	}
	back := fileEntry{id: e.File, name: name, raw: e.Listed}
	set.raw = nil
	set.files = insertBefore(set.files, back, func(o fileEntry) bool { return e.Next != "" && o.id == e.Next })
	return nil
}

// insertBefore puts back in front of the one that next tells, or at the end.
func insertBefore[E any](list []E, back E, next func(E) bool) []E {
	if i := slices.IndexFunc(list, next); i >= 0 {
		return slices.Insert(list, i, back)
	}
	return append(list, back)
}

// movePartsBack is moveParts the other way: the content first, so that an entry
// with content is always complete.
func (t *Tree) movePartsBack(e *Trashed) error {
	parts := e.parts()
	last := len(parts) - 1
	if err := t.disk.rename(parts[last].trash, parts[last].tree); err != nil {
		return err
	}
	if err := t.syncPresent(path.Dir(parts[last].tree), e.dir()); err != nil {
		return err
	}
	for _, p := range parts[:last] {
		// A metadata file that is in the way is an orphan.
		if err := t.disk.rename(p.trash, p.tree); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return t.syncPresent(append(parentsOf(parts), e.dir())...)
}

// Renamed returns the entry as it is to be restored under another name: of a
// scan, fileset or file the new id. A file keeps its extension. ErrName or
// ErrReserved if the name is not allowed, and for every name of a timelapse,
// whose scans know it by its own.
func (e Trashed) Renamed(id string) (Trashed, error) {
	switch e.Kind {
	case TrashScan:
		e.Scan = id
		return e, CheckName(ScanName, id)
	case TrashFileset:
		e.Fileset = id
		return e, errors.Join(CheckName(FilesetName, id), e.relabel(meta.Member{Name: "id", Value: meta.Quote(id)}))
	case TrashFile:
		name := id + path.Ext(e.blob())
		e.File = id
		return e, errors.Join(CheckName(FileName, id), checkBlobName(name), e.relabel(
			meta.Member{Name: "id", Value: meta.Quote(id)}, meta.Member{Name: "file", Value: meta.Quote(name)}))
	default:
		return e, ErrName.With("A timelapse can only be restored under its own name.")
	}
}

// relabel changes what files.json will say of the entry.
func (e *Trashed) relabel(changes ...meta.Member) error {
	members, err := meta.Object(e.Listed)
	if err != nil {
		return err
	}
	for _, m := range changes {
		members = meta.Set(members, m.Name, m.Value)
	}
	e.Listed = meta.Join(members)
	return nil
}

// SettleTrash finishes or undoes what a call left of the entry that was cut
// short; the caller holds the entry's scan or timelapse against writers. gone
// says that there is no entry any more.
func (t *Tree) SettleTrash(ctx context.Context, id string) (gone bool, err error) {
	e, err := t.TrashEntry(id)
	if errors.Is(err, ErrTrashGone) {
		return true, nil
	}
	if err != nil || !e.Pending {
		return false, err
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if e.Kind == TrashFile || e.Kind == TrashFileset {
		e = e.at(e.Target)
		unlisted, err := t.unlisted(ctx, e)
		if err != nil {
			return false, wrap("settle trash entry", id, err)
		}
		parts := e.parts()
		there, err := t.exists(parts[len(parts)-1].tree)
		if err != nil {
			return false, wrap("settle trash entry", id, err)
		}
		if unlisted && there {
			return false, wrap("settle trash entry", id, t.moveParts(e))
		}
	}
	discard, err := t.Purge(ctx, id)
	if err != nil {
		return false, err
	}
	discard()
	return true, nil
}

// unlisted says whether the entry's scan is there and does not list it.
func (t *Tree) unlisted(ctx context.Context, e *Trashed) (bool, error) {
	x, err := t.openIndex(ctx, e.Loc())
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	set := x.find(e.Fileset)
	if e.Kind == TrashFileset {
		return set == nil, nil
	}
	name := e.blob()
	if set == nil || !readable(name) {
		return false, nil
	}
	for _, f := range set.files {
		if f.id == e.File || f.name == name {
			return false, nil
		}
	}
	return true, nil
}
