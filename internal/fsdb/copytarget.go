package fsdb

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

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
