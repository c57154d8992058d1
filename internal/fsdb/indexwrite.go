package fsdb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// rewrite is a change of the files.json of a scan that is there. Its functions
// are called again, on what is listed then, if a Python program writes
// files.json meanwhile: none of upstream's locks of files excludes who holds
// the fileset or the scan, and each of them writes the whole list in place.
type rewrite struct {
	// change makes the change and says whether there was one to make.
	change func(x *index) (changed bool, err error)
	// before does what must be on the disk before the new list is, which has
	// its room there already. It may be nil.
	before func() error
	// undo is called, if at all, where files.json will not have the change
	// after all. It may be nil.
	undo func() error
	// spare is a file in the staging directory that takes the place of files.json
	// if it holds the new list already, which then needs no room. It may be empty.
	spare string
}

// rewriteAttempts bounds how often a rewrite begins anew because a Python
// program wrote files.json meanwhile.
const rewriteAttempts = 20

var errRewritten = errors.New("another program writes files.json")

// changeIndex changes what files.json lists, durably; the caller holds the scan
// against writers. It folds first, so that a journal never says again what was
// changed since. ErrNotFound if there is no such scan, ErrBroken if its
// files.json cannot be read, ErrLocked if a Python program does not stop
// writing it, and the errors of r: then files.json is as it was.
func (t *Tree) changeIndex(ctx context.Context, loc Loc, r rewrite) error {
	if err := t.Fold(ctx, loc); err != nil {
		return err
	}
	return t.rewriteIndex(ctx, loc, r)
}

// rewriteIndex is the one place where a files.json is written that others may
// write: changeIndex for who knows the journal.
func (t *Tree) rewriteIndex(ctx context.Context, loc Loc, r rewrite) error {
	dir, err := t.openScan(loc)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // only read
	done := false
	err = errRewritten
	for n := 0; n < rewriteAttempts && errors.Is(err, errRewritten); n++ {
		done, err = t.rewriteOnce(ctx, loc, dir, r)
	}
	if errors.Is(err, errRewritten) {
		err = ErrLocked.Because(err)
	}
	if !done && r.undo != nil {
		err = errors.Join(err, r.undo())
	}
	return err
}

// rewriteOnce says in done whether files.json has the change, be it durable or not.
func (t *Tree) rewriteOnce(ctx context.Context, loc Loc, dir *os.Root, r rewrite) (done bool, err error) {
	was, x, err := holdIndex(ctx, dir)
	if err != nil {
		return false, err
	}
	defer func() { _ = was.Close() }() // only read
	changed, err := r.change(x)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return false, err
	}
	name := loc.Dir() + "/" + indexFile
	if !changed {
		if err := r.prepare(); err != nil {
			return false, err
		}
		// Another program may have listed it, and syncs nothing.
		return true, errors.Join(t.disk.syncFile(name), t.disk.syncDir(loc.Dir()))
	}
	document, err := x.bytes()
	if err != nil {
		return false, err
	}
	staged, err := t.stageIndex(document, r.spare)
	if err != nil {
		return false, err
	}
	err = r.prepare()
	if err == nil {
		err = was.stillIs(dir)
	}
	if err == nil {
		err = t.disk.rename(staged, name)
	}
	if err != nil {
		t.discard(staged)
		return false, err
	}
	if err := t.disk.syncDir(loc.Dir()); err != nil {
		return true, err
	}
	err = t.keepLate(ctx, dir, name, was, document)
	return !errors.Is(err, errRewritten), err
}

// stageIndex is stageBytes that takes a spare file if that holds the same.
func (t *Tree) stageIndex(document []byte, spare string) (name string, err error) {
	if spare != "" {
		data, err := readFile(t.root, spare, meta.MaxBytes)
		if err == nil && bytes.Equal(data, document) && t.disk.syncFile(spare) == nil {
			return spare, nil
		}
	}
	return t.stageBytes(document)
}

func (r rewrite) prepare() error {
	if r.before == nil {
		return nil
	}
	return r.before()
}

// keepLate looks whether a program that had files.json open wrote into the one
// that was replaced by ours. If so what it wrote is files.json again, and
// errRewritten says that the change is to be made in that.
func (t *Tree) keepLate(ctx context.Context, dir *os.Root, name string, was *heldIndex, ours []byte) error {
	late, err := was.late(ctx)
	if err != nil || late == nil {
		return err
	}
	f, info, err := openRegular(dir, indexFile)
	if err != nil {
		return unread(err)
	}
	defer func() { _ = f.Close() }() // only read
	now, err := readAll(f, info, meta.MaxBytes)
	if err != nil || !bytes.Equal(now, ours) {
		// It was written once more since, by who lists what the late one does.
		return errRewritten
	}
	if err := t.put(name, late); err != nil {
		return err
	}
	// The same may happen to this one.
	return errors.Join(errRewritten, t.keepLate(ctx, dir, name, &heldIndex{f, info}, late))
}

// heldIndex is a files.json that was read and stays open, so that it shows
// whether it was written afterwards, even when it is files.json no more.
type heldIndex struct {
	*os.File
	read fs.FileInfo
}

// holdIndex reads the scan's files.json to change it. ErrBroken if it cannot be
// read: what cannot be understood is not overwritten.
func holdIndex(ctx context.Context, dir *os.Root) (*heldIndex, *index, error) {
	var held *heldIndex
	var x *index
	err := awaitWhole(ctx, func() (fs.FileInfo, error) {
		f, info, err := openRegular(dir, indexFile)
		if err != nil {
			return nil, unread(err)
		}
		data, err := readAll(f, info, meta.MaxBytes)
		if err == nil {
			x, err = parseIndex(data)
		}
		if err != nil {
			return info, errors.Join(unread(err), f.Close())
		}
		held = &heldIndex{f, info}
		return info, nil
	})
	return held, x, err
}

// stillIs returns errRewritten if files.json is not what was read.
func (h *heldIndex) stillIs(dir *os.Root) error {
	now, err := dir.Lstat(indexFile)
	if err != nil {
		return fmt.Errorf("look at %s: %w", indexFile, err)
	}
	if !os.SameFile(now, h.read) || h.written(now) {
		return errRewritten
	}
	return nil
}

func (h *heldIndex) written(now fs.FileInfo) bool {
	return now.Size() != h.read.Size() || !now.ModTime().Equal(h.read.ModTime())
}

// late returns what a program wrote into the file after it was read, nil for
// nothing, and for what it did not write to its end.
func (h *heldIndex) late(ctx context.Context) (data []byte, err error) {
	now, err := h.Stat()
	if err != nil || !h.written(now) {
		return nil, err
	}
	err = awaitWhole(ctx, func() (fs.FileInfo, error) {
		info, err := h.Stat()
		if err != nil {
			return nil, err
		}
		if data, err = readAll(h.File, info, meta.MaxBytes); err == nil {
			_, err = parseIndex(data)
		}
		return info, unread(err)
	})
	if errors.Is(err, ErrBroken) {
		return nil, nil
	}
	return data, err
}
