package fsdb

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Copied is a file of a copy of the tree.
type Copied struct {
	Path     string // from the root; any bytes
	Size     int64
	SHA256   [sha256.Size]byte
	Mode     fs.FileMode // permissions
	Modified time.Time
	Link     string // where it leads, of a symbolic link
}

// Unit is a piece of the tree that is copied by itself: a directory with all
// below it or, Flat, with the files that lie directly in it. The empty one is the
// root.
type Unit struct {
	Dir  string
	Flat bool
}

// Loc is the scan or timelapse whose name a unit is copied under.
func (u Unit) Loc() Loc {
	if in, name, nested := strings.Cut(u.Dir, "/"); nested {
		return Loc{Timelapse: in, Scan: name}
	}
	return Loc{Scan: u.Dir}
}

// copyDepth bounds how deep directories nest in a copy.
const copyDepth = 64

// uncopied are the directories of ours that a copy does without: they are made
// again, or are somebody else's to copy.
var uncopied = []string{"postgres", "staging", "cache", "doubts"}

// Units returns the directories that make up the tree but for what is ours,
// those with a leading dot left out: whatever lies there, a scan or not.
func (t *Tree) Units(ctx context.Context) ([]Unit, error) {
	top, err := fs.ReadDir(t.root.FS(), ".")
	if err != nil {
		return nil, wrap("list tree", t.dir, err)
	}
	var units []Unit
	for _, e := range top {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		name := e.Name()
		if !e.IsDir() || name[0] == '.' {
			continue
		}
		if !t.isTimelapse(name) {
			units = append(units, Unit{Dir: name})
			continue
		}
		units = append(units, Unit{Dir: name, Flat: true})
		below, err := fs.ReadDir(t.root.FS(), name)
		if err != nil {
			return nil, wrap("list", name, err)
		}
		for _, b := range below {
			if b.IsDir() {
				units = append(units, Unit{Dir: name + "/" + b.Name()})
			}
		}
	}
	return units, nil
}

// Copy copies a unit. hold runs its argument while nobody else writes there: what
// was copied before that is copied again if it changed, so that the unit is held
// for as long as it takes to look at it, and not to copy it, where the target
// allows that. What is neither file, directory nor link is left out. record is told each
// file in the order of paths. A unit that is gone is empty.
func (t *Tree) Copy(ctx context.Context, u Unit, to Target, hold func(fn func() error) error, record func(Copied) error) error {
	c := copier{tree: t, to: to, done: map[string]copiedFile{}, dirs: map[string]int{}}
	if to.again() {
		if err := c.pass(ctx, u); err != nil {
			return wrap("copy", u.Dir, err)
		}
	}
	if err := hold(func() error { return c.pass(ctx, u) }); err != nil {
		return wrap("copy", u.Dir, err)
	}
	for _, name := range slices.Sorted(maps.Keys(c.done)) {
		f := c.done[name]
		if f.pass != c.passes { // it went meanwhile
			if err := to.remove(name); err != nil {
				return wrap("copy", name, err)
			}
			continue
		}
		if err := record(f.Copied); err != nil {
			return err
		}
	}
	for _, dir := range slices.Backward(slices.Sorted(maps.Keys(c.dirs))) { // what lies in it first
		if c.dirs[dir] == c.passes {
			continue
		}
		if err := to.remove(dir); err != nil && !errors.Is(err, syscall.ENOTEMPTY) {
			return wrap("copy", dir, err)
		}
	}
	return nil
}

// CopyTrash copies those entries of the trash with which nobody is busy, and notes
// their ids in done. A copy of the tree begins with it: what is taken out afterwards
// is in the copy of its scan, which comes later.
func (t *Tree) CopyTrash(ctx context.Context, to Target, record func(Copied) error, done map[string]bool) error {
	entries, _, err := t.TrashEntries(ctx)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Pending {
			continue
		}
		if err := t.Copy(ctx, Unit{Dir: trashDir + "/" + e.ID}, to, free, record); err != nil {
			return err
		}
		done[e.ID] = true
	}
	return nil
}

func free(fn func() error) error { return fn() }

// CopyOurs copies what is ours and belongs to a copy: keys, quarantine, and the
// trash but for the entries that were copied before.
func (t *Tree) CopyOurs(ctx context.Context, to Target, record func(Copied) error, before map[string]bool) error {
	top, err := fs.ReadDir(t.root.FS(), Hidden)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return wrap("list", Hidden, err)
	}
	units := []Unit{{Dir: Hidden, Flat: true}}
	for _, e := range top {
		dir := Hidden + "/" + e.Name()
		if e.IsDir() && !slices.Contains(uncopied, e.Name()) {
			units = append(units, Unit{Dir: dir, Flat: dir == trashDir})
		}
	}
	trash, err := listDir(t.root, trashDir)
	if err != nil {
		return wrap("list", trashDir, err)
	}
	for _, e := range trash {
		if e.IsDir() && !before[e.Name()] {
			units = append(units, Unit{Dir: trashDir + "/" + e.Name()})
		}
	}
	for _, u := range units {
		if err := t.Copy(ctx, u, to, free, record); err != nil {
			return err
		}
	}
	return nil
}

type copiedFile struct {
	Copied
	inode uint64
	pass  int
}

// copier copies one unit, in one or two passes.
type copier struct {
	tree   *Tree
	to     Target
	passes int
	done   map[string]copiedFile
	dirs   map[string]int // which pass saw them last
}

func (c *copier) pass(ctx context.Context, u Unit) error {
	c.passes++
	dir := u.Dir
	if dir == "" {
		dir = "."
	}
	info, err := c.tree.root.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || !info.IsDir() {
		return err
	}
	if in := path.Dir(dir); in != "." {
		if err := c.to.mkdir(in, dirPerm); err != nil {
			return err
		}
	}
	return c.walk(ctx, dir, info.Mode().Perm(), u.Flat, 0)
}

func (c *copier) walk(ctx context.Context, dir string, perm fs.FileMode, flat bool, depth int) error {
	if depth > copyDepth {
		return ErrTooLarge.With("directories nest more than %d deep", copyDepth)
	}
	if err := c.to.mkdir(dir, perm); err != nil {
		return err
	}
	c.dirs[dir] = c.passes
	entries, err := listDir(c.tree.root, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := path.Join(dir, e.Name())
		switch {
		case e.IsDir() && !flat:
			info, err := c.tree.root.Lstat(name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				err = c.walk(ctx, name, info.Mode().Perm(), false, depth+1)
			}
			if err != nil {
				return err
			}
		case e.Type().IsRegular() || e.Type()&fs.ModeSymlink != 0:
			if err := c.file(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

func (c *copier) file(ctx context.Context, name string) error {
	info, err := c.tree.root.Lstat(name)
	if err != nil {
		return err
	}
	now := copiedFile{Copied: Copied{Path: name, Size: info.Size(), Mode: info.Mode().Perm(), Modified: info.ModTime()}, inode: InodeOf(info), pass: c.passes}
	if old, ok := c.done[name]; ok && info.Mode().IsRegular() && old.Size == now.Size && old.Modified.Equal(now.Modified) && old.inode == now.inode {
		old.pass = c.passes
		c.done[name] = old
		return nil
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		if now.Link, err = c.tree.root.Readlink(name); err != nil {
			return err
		}
		now.Size = 0
		c.done[name] = now
		return c.to.link(name, now.Link)
	}
	f, opened, err := openRegular(c.tree.root, name)
	if errors.Is(err, errNotRegular) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	if now.Size, now.SHA256, err = c.to.put(ctx, name, f, opened); err != nil {
		return err
	}
	now.Modified, now.inode = opened.ModTime(), InodeOf(opened)
	c.done[name] = now
	return nil
}
