package fsdb

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ErrCopyDamaged is what RestoreCopy answers for a file that is not what was
// copied.
var ErrCopyDamaged = ErrBroken.With("the copy is damaged")

// RestoreCopy copies a file of a copy in from to the same name in to, or only
// reads it if to is nil, and compares it with what is known of it: ErrCopyDamaged
// if it is not that.
func RestoreCopy(ctx context.Context, from, to *os.Root, f Copied) error {
	damaged := func(cause error) error {
		return ErrCopyDamaged.With("the copy is damaged: %q", printable(f.Path)).Because(cause)
	}
	if !fs.ValidPath(strings.ToValidUTF8(f.Path, "_")) {
		return damaged(errors.New("bad path"))
	}
	if to != nil {
		if err := makeParents(to, f.Path); err != nil {
			return wrap("restore", f.Path, err)
		}
	}
	if f.Link != "" {
		if got, err := from.Readlink(f.Path); err != nil || got != f.Link {
			return damaged(err)
		}
		if to == nil {
			return nil
		}
		return wrap("restore", f.Path, to.Symlink(f.Link, f.Path))
	}
	src, info, err := openRegular(from, f.Path)
	if err != nil {
		return damaged(err)
	}
	defer func() { _ = src.Close() }() // only read
	if info.Size() != f.Size {
		return damaged(errTooBig)
	}
	sum, err := restored(ctx, src, to, f)
	if err == nil && sum != f.SHA256 {
		err = damaged(nil)
	}
	return wrap("restore", f.Path, err)
}

// restoring lies in a tree that is being restored, until its database is too.
const restoring = Hidden + "/restoring"

// ErrRestoring is what Restoring answers.
var ErrRestoring = ErrNotTree.With("the restoration of the tree was not finished: remove it and its database, and restore it again")

// BeginRestore says of an empty directory that it is being restored, durably.
func BeginRestore(to *os.Root) error {
	d := rootDisk{to}
	err := makeParents(to, restoring)
	if err == nil {
		var f file
		if f, err = d.create(restoring); err == nil {
			err = errors.Join(f.Sync(), f.Close(), d.syncDir(Hidden), d.syncDir("."))
		}
	}
	return wrap("begin to restore", "tree", err)
}

// EndRestore says of a tree that it and its database were restored.
func (t *Tree) EndRestore() error {
	err := t.disk.removeAll(restoring)
	if err == nil {
		err = t.disk.syncDir(Hidden)
	}
	return wrap("end to restore", "tree", err)
}

// Restoring returns ErrRestoring for a directory whose restoration was not finished.
func Restoring(dir string) error {
	_, err := os.Lstat(filepath.Join(dir, restoring))
	switch {
	case err == nil:
		return ErrRestoring
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR): // Open says what is wrong
		return nil
	default:
		return fmt.Errorf("look at tree: %w", err)
	}
}

// RestoreDirs makes the directories of a copy in from also in to, for there may be
// nothing in them: a fileset without files is one all the same.
func RestoreDirs(ctx context.Context, from, to *os.Root) error {
	return wrap("restore", "directories", restoreDirs(ctx, from, to, ".", 0))
}

func restoreDirs(ctx context.Context, from, to *os.Root, dir string, depth int) error {
	if depth > copyDepth+2 { // what a copy may hold, and what is above it
		return ErrTooLarge.With("directories nest more than %d deep", copyDepth)
	}
	entries, err := listDir(from, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !e.IsDir() {
			continue
		}
		name := path.Join(dir, e.Name())
		info, err := from.Lstat(name)
		if err == nil {
			err = makeParents(to, name+"/.")
		}
		if err == nil && name != Hidden && dir != Hidden {
			err = to.Chmod(name, info.Mode().Perm()|0o700)
		}
		if err == nil {
			err = restoreDirs(ctx, from, to, name, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// makeParents makes the directories above a restored file; what lies below ours
// is nobody else's to read.
func makeParents(to *os.Root, name string) error {
	perm := fs.FileMode(dirPerm)
	if dir := path.Dir(name); strings.HasPrefix(dir, Hidden+"/") {
		if err := to.MkdirAll(Hidden, dirPerm); err != nil {
			return err
		}
		perm = stagingPerm
	}
	return to.MkdirAll(path.Dir(name), perm)
}

func restored(ctx context.Context, src *os.File, to *os.Root, f Copied) (sum [sha256.Size]byte, err error) {
	if to != nil {
		_, sum, err = NewDirTarget(to).put(ctx, f.Path, src, copiedInfo{f})
		return sum, err
	}
	var h = sha256.New()
	_, err = drain(ctx, h, src)
	h.Sum(sum[:0])
	return sum, err
}

// copiedInfo is a file as it was when it was copied.
type copiedInfo struct{ f Copied }

func (i copiedInfo) Name() string       { return path.Base(i.f.Path) }
func (i copiedInfo) Size() int64        { return i.f.Size }
func (i copiedInfo) Mode() fs.FileMode  { return i.f.Mode }
func (i copiedInfo) ModTime() time.Time { return i.f.Modified }
func (i copiedInfo) IsDir() bool        { return false }
func (i copiedInfo) Sys() any           { return nil }
