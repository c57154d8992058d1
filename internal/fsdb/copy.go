package fsdb

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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

// Target is where a copy goes.
type Target interface {
	mkdir(name string, perm fs.FileMode) error
	// put stores what a regular file holds, which may be more or less than info
	// says where somebody writes to it, and returns size and digest of what it stored.
	put(ctx context.Context, name string, from *os.File, info fs.FileInfo) (size int64, sum [sha256.Size]byte, err error)
	link(name, to string) error
	// remove takes back what put or link stored, or an empty directory.
	remove(name string) error
	// again says whether put may replace what it stored before.
	again() bool
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

// DirTarget is a copy in a directory that nobody else writes to.
type DirTarget struct{ root *os.Root }

// NewDirTarget makes a copy in a directory, which stays the caller's.
func NewDirTarget(root *os.Root) *DirTarget { return &DirTarget{root} }

// Finish makes all that was copied survive a power cut, and then a file that
// says that it is whole, durably too.
func (d *DirTarget) Finish(name string, content []byte) error {
	dir, err := d.root.Open(".")
	if err != nil {
		return fmt.Errorf("sync copy: %w", err)
	}
	err = unix.Syncfs(int(dir.Fd()))
	if err == nil {
		err = d.last(name, content)
	}
	if err == nil {
		err = dir.Sync()
	}
	return wrap("finish", "copy", errors.Join(err, dir.Close()))
}

func (d *DirTarget) last(name string, content []byte) error {
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (d *DirTarget) again() bool { return true }

func (d *DirTarget) mkdir(name string, perm fs.FileMode) error {
	if err := d.root.MkdirAll(name, perm|0o700); err != nil {
		return err
	}
	return d.root.Chmod(name, perm|0o700) // whoever restores must be able to write
}

func (d *DirTarget) link(name, to string) error {
	if err := d.remove(name); err != nil {
		return err
	}
	return d.root.Symlink(to, name)
}

func (d *DirTarget) remove(name string) error {
	if err := d.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *DirTarget) put(ctx context.Context, name string, from *os.File, info fs.FileInfo) (size int64, sum [sha256.Size]byte, err error) {
	if err := d.remove(name); err != nil {
		return 0, sum, err
	}
	to, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, sum, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	h := sha256.New()
	// A clone takes no room and no time; what it holds is read from it.
	if unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil {
		size, err = drain(ctx, h, to)
	} else {
		size, err = drain(ctx, io.MultiWriter(to, h), from)
	}
	if err != nil {
		return 0, sum, err
	}
	h.Sum(sum[:0])
	if err := to.Chmod(info.Mode().Perm()); err != nil {
		return 0, sum, err
	}
	return size, sum, d.root.Chtimes(name, info.ModTime(), info.ModTime())
}

// drain copies with a fixed buffer and ends with ctx.
func drain(ctx context.Context, to io.Writer, from io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{to}, contextReader{ctx, from}, make([]byte, digestChunk))
}

// ZipTarget is a copy in a ZIP archive.
type ZipTarget struct {
	z    *zip.Writer
	dirs map[string]bool
}

// NewZipTarget makes a copy in an archive, which the caller closes.
func NewZipTarget(z *zip.Writer) *ZipTarget { return &ZipTarget{z, map[string]bool{}} }

func (z *ZipTarget) again() bool         { return false }
func (z *ZipTarget) remove(string) error { return nil }

// mkdir makes an entry of a directory, for there may be nothing in it.
func (z *ZipTarget) mkdir(name string, perm fs.FileMode) error {
	if z.dirs[name] {
		return nil
	}
	z.dirs[name] = true
	header := &zip.FileHeader{Name: name + "/", Method: zip.Store}
	header.SetMode(fs.ModeDir | perm | 0o700) // whoever unpacks must be able to write
	_, err := z.z.CreateHeader(header)
	return err
}

func (z *ZipTarget) link(name, to string) error {
	_, err := z.entry(name, fs.ModeSymlink|0o777, time.Time{}, strings.NewReader(to), io.Discard)
	return err
}

func (z *ZipTarget) put(ctx context.Context, name string, from *os.File, info fs.FileInfo) (size int64, sum [sha256.Size]byte, err error) {
	h := sha256.New()
	size, err = z.entry(name, info.Mode().Perm(), info.ModTime(), contextReader{ctx, from}, h)
	h.Sum(sum[:0])
	return size, sum, err
}

func (z *ZipTarget) entry(name string, mode fs.FileMode, modified time.Time, from io.Reader, also io.Writer) (int64, error) {
	header := &zip.FileHeader{Name: name, Method: zip.Store, Modified: modified}
	header.SetMode(mode)
	if ext := path.Ext(name); ext == ".json" || ext == ".toml" || ext == ".csv" || ext == ".ply" {
		header.Method = zip.Deflate
	}
	w, err := z.z.CreateHeader(header)
	if err != nil {
		return 0, err
	}
	return io.CopyBuffer(io.MultiWriter(w, also), struct{ io.Reader }{from}, make([]byte, digestChunk))
}

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

// Duplicate returns another descriptor of an open file, with its offset and a life of
// its own.
func Duplicate(f *os.File) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("duplicate %q: %w", f.Name(), err)
	}
	fd, failed := -1, error(nil)
	err = raw.Control(func(of uintptr) { fd, failed = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("duplicate %q: %w", f.Name(), err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// InodeOf returns the number that a file keeps when it is renamed, and that no other
// file of its filesystem has at the same time.
func InodeOf(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
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
