package fsdb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// Trash moves a scan, timelapse, fileset or file into the trash, as e says; no
// reader finds it afterwards, and RestoreTrash brings it back whole. ErrNotFound
// if it is not there, ErrBroken for a fileset or file of a scan whose files.json
// cannot be read, and for a scan that is a link. After an error nothing was
// deleted, unless the very last steps failed: SettleTrash tells.
func (t *Tree) Trash(ctx context.Context, e Trashed) error {
	return wrap("delete", path.Join(e.home(), e.Fileset, e.File), t.trash(ctx, &e))
}

func (t *Tree) trash(ctx context.Context, e *Trashed) error {
	if err := e.check(); err != nil {
		return ErrNotFound.Because(err)
	}
	switch e.Kind {
	case TrashFileset, TrashFile:
		return t.trashPart(ctx, e)
	case TrashTimelapse:
		if !t.isTimelapse(e.Timelapse) {
			return ErrNotFound
		}
	case TrashScan:
		if e.Timelapse != "" {
			if err := t.requireDir(e.Timelapse); err != nil {
				return err
			}
		}
	}
	if err := t.requireDir(e.home()); err != nil {
		return err
	}
	if err := t.foldAll(ctx, e); err != nil {
		return err
	}
	if err := t.enterTrash(ctx, e); err != nil {
		return err
	}
	if err := t.disk.rename(e.home(), e.content()); err != nil {
		t.dropEntry(e)
		return err
	}
	// The new name first: better two for a moment than none.
	if err := t.disk.syncDir(e.dir()); err != nil {
		return err
	}
	return t.disk.syncDir(path.Dir(e.home()))
}

// foldAll folds the journals of what is about to move. A scan that is damaged
// may be deleted as it is, but not one whose journal cannot be read: what another
// version of this program has added stays behind in it, and no restoration finds it.
func (t *Tree) foldAll(ctx context.Context, e *Trashed) error {
	scans := []string{e.Scan}
	if e.Kind == TrashTimelapse {
		var err error
		if scans, err = t.TimelapseScans(ctx, e.Timelapse); err != nil {
			return err
		}
	}
	for _, scan := range scans {
		loc := Loc{Timelapse: e.Timelapse, Scan: scan}
		err := t.Fold(ctx, loc)
		if errors.Is(err, ErrBroken) {
			_, err = t.journalOf(loc)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// trashPart moves a fileset or file.
func (t *Tree) trashPart(ctx context.Context, e *Trashed) error {
	var entered json.RawMessage // as the entry in the trash says that it was listed
	drop := func() {
		if entered != nil {
			t.dropEntry(e)
		}
	}
	err := t.changeIndex(ctx, e.Loc(), rewrite{
		change: func(x *index) (changed bool, err error) {
			if e.Listed, err = t.unlist(x, e); err != nil {
				return false, err
			}
			// What another program took away is not deleted, and no entry can hold it.
			parts := e.parts()
			there, err := t.exists(parts[len(parts)-1].tree)
			if err == nil && !there {
				err = ErrNotFound
			}
			return true, err
		},
		before: func() error {
			if bytes.Equal(entered, e.Listed) {
				return nil
			}
			drop()
			if err := t.enterTrash(ctx, e); err != nil {
				return err
			}
			entered = e.Listed
			return nil
		},
		undo: func() error { drop(); return nil },
	})
	if err != nil {
		return err
	}
	// It is deleted, and the entry must stay.
	return t.moveParts(e)
}

// unlist takes a fileset or file out of x and returns its entry there.
func (t *Tree) unlist(x *index, e *Trashed) (json.RawMessage, error) {
	set, err := t.writable(x, e.Loc(), e.Fileset)
	if err != nil {
		return nil, err
	}
	e.Next = ""
	if e.Kind == TrashFile {
		if i := slices.IndexFunc(set.files, func(f fileEntry) bool { return f.id == e.File }); i >= 0 && i+1 < len(set.files) {
			e.Next = set.files[i+1].id
		}
		return set.remove(e.File)
	}
	if i := slices.Index(x.filesets, set); i >= 0 && i+1 < len(x.filesets) {
		e.Next = x.filesets[i+1].id
	}
	return x.remove(e.Fileset)
}

// part is a piece of a fileset or file, where it lies in the tree and in the
// trash.
type part struct{ tree, trash string }

// parts returns the pieces, the content last.
func (e *Trashed) parts() []part {
	scan := e.home()
	if e.Kind == TrashFileset {
		return []part{
			{scan + "/" + filesetMetadata(e.Fileset), e.dir() + "/" + trashMetadata},
			{scan + "/" + metadataDir + "/" + e.Fileset, e.dir() + "/" + trashParts},
			{scan + "/" + e.Fileset, e.content()},
		}
	}
	return []part{
		{scan + "/" + fileMetadata(e.Fileset, e.File), e.dir() + "/" + trashMetadata},
		{scan + "/" + e.Fileset + "/" + e.blob(), e.content()},
	}
}

// blob is the name on disk of a file.
func (e *Trashed) blob() string {
	members, err := meta.Object(e.Listed)
	if err != nil {
		return ""
	}
	name, _ := meta.Text(meta.Get(members, "file"))
	return name
}

// moveParts moves into the trash what files.json does not list any more.
func (t *Tree) moveParts(e *Trashed) error {
	parts := e.parts()
	last := len(parts) - 1
	for _, p := range parts[:last] {
		// What is there already is the entry's own, and what lies in the tree
		// then an orphan.
		there, err := t.exists(p.trash)
		if err == nil && !there {
			err = t.disk.rename(p.tree, p.trash)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// The content says that the entry is complete, so all else is safe first.
	if err := t.disk.syncDir(e.dir()); err != nil {
		return err
	}
	if err := t.disk.rename(parts[last].tree, parts[last].trash); err != nil {
		return err
	}
	if err := t.disk.syncDir(e.dir()); err != nil {
		return err
	}
	return t.syncPresent(parentsOf(parts)...)
}

func parentsOf(parts []part) []string {
	var dirs []string
	for _, p := range parts {
		if dir := path.Dir(p.tree); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// syncPresent is syncDirs for those of the directories that there are.
func (t *Tree) syncPresent(dirs ...string) error {
	return together(len(dirs), func(i int) error {
		if err := t.disk.syncDir(dirs[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sync directory %q: %w", dirs[i], err)
		}
		return nil
	})
}

// remove takes the fileset of that id out of the list, however often it is
// listed, and returns the entry that counts.
func (x *index) remove(id string) (json.RawMessage, error) {
	e := x.find(id)
	if e == nil {
		return nil, ErrNotFound
	}
	x.filesets = slices.DeleteFunc(x.filesets, func(o *filesetEntry) bool { return o.id == id })
	return e.bytes(), nil
}

// remove takes the file of that id out of the list. ErrBroken if another file
// has the same bytes: nobody could say whose they are.
func (e *filesetEntry) remove(id string) (json.RawMessage, error) {
	f := e.file(id)
	if f == nil || !readable(f.name) {
		return nil, ErrNotFound
	}
	raw, name := f.raw, f.name
	if slices.ContainsFunc(e.files, func(o fileEntry) bool { return o.id != id && o.name == name }) {
		return nil, ErrBroken.With("Another file of the fileset has the same name on the disk.")
	}
	e.files = slices.DeleteFunc(e.files, func(o fileEntry) bool { return o.id == id })
	e.raw = nil
	return raw, nil
}
