package fsdb

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// Bounds on the walk through a scan, far above what any pipeline makes.
const (
	maxScanFiles = 200_000
	maxScanDepth = 16
)

// ScanDir is the open directory of a scan; see OpenScanDir.
type ScanDir struct{ root *os.Root }

// OpenScanDir opens the directory of a scan for reading files by their name
// below it, cheaply one after the other; the caller closes it. ErrNotFound if
// there is no such scan or it is a link.
func (t *Tree) OpenScanDir(ctx context.Context, loc Loc) (*ScanDir, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open scan %q: %w", loc.Dir(), err)
	}
	root, err := t.openScan(loc)
	if err != nil {
		return nil, unopened(loc.Dir(), err)
	}
	return &ScanDir{root}, nil
}

// Close releases the directory; open files stay open.
func (d *ScanDir) Close() error { return d.root.Close() }

// Open opens a file by its slash-separated name below the scan; the caller
// closes it. ErrNotFound unless it is a regular file that a name or a link
// inside the scan leads to.
func (d *ScanDir) Open(name string) (*os.File, fs.FileInfo, error) {
	f, info, err := openRegular(d.root, name)
	return f, info, unopened(name, err)
}

// Opener opens many files of a scan one after the other, by names that are
// sorted: those of one directory without looking for it again. It is not for
// use by several goroutines at once.
type Opener struct {
	of  *ScanDir
	dir string
	in  *os.Root // dir, or nil
}

// Opener returns an opener; the caller closes it before d.
func (d *ScanDir) Opener() *Opener { return &Opener{of: d} }

// Close releases the directory; open files stay open.
func (o *Opener) Close() error {
	if o.in == nil {
		return nil
	}
	return o.in.Close()
}

// Open is ScanDir.Open.
func (o *Opener) Open(name string) (*os.File, fs.FileInfo, error) {
	dir, base := path.Split(name)
	if dir != o.dir && dir != "" {
		_ = o.Close() // only read
		o.dir = dir
		if o.in, _ = o.of.root.OpenRoot(dir); o.in == nil {
			o.dir = ""
		}
	}
	if dir != "" && o.in != nil {
		if f, info, err := openRegular(o.in, base); err == nil {
			return f, info, nil
		}
	}
	// At the top, gone, or a link that leads to another directory of the scan.
	return o.of.Open(name)
}

// Digest reads a file like Open, asking the disk and not what the system
// remembers of it, and returns the SHA-256 of its bytes and what the file is
// after they were read; pace is called before each piece of them with its size. An
// error other than ErrNotFound, of pace and of ctx says that the disk does not
// give the file, or that it grew or shrank meanwhile.
func (d *ScanDir) Digest(ctx context.Context, name string, pace func(context.Context, int) error) (sum [sha256.Size]byte, info fs.FileInfo, err error) {
	f, info, err := openRegular(d.root, name)
	if errors.Is(err, fs.ErrPermission) { // it is there, unlike what cannot be opened for another reason
		return sum, nil, fmt.Errorf("open %q: %w", name, err)
	}
	if err != nil {
		return sum, nil, unopened(name, err)
	}
	defer func() { _ = f.Close() }()                                             // only read
	forget := func() { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) } // advice
	forget()
	defer forget()
	h := sha256.New()
	buf := make([]byte, min(digestChunk, info.Size()+1))
	for rest := info.Size(); rest > 0; {
		n := int(min(rest, int64(len(buf))))
		if err := pace(ctx, n); err != nil {
			return sum, nil, err
		}
		if _, err := io.ReadFull(f, buf[:n]); err != nil {
			return sum, nil, fmt.Errorf("read %q: %w", name, err)
		}
		h.Write(buf[:n])
		rest -= int64(n)
	}
	h.Sum(sum[:0])
	info, err = f.Stat()
	return sum, info, err
}

// digestChunk is how much is read at a time.
const digestChunk = 256 << 10

// Files returns the names of all regular files of the scan, links to some
// included, sorted by byte; ErrTooLarge if there are more than 200,000 or they
// lie more than 16 directories deep. Left out are the previews that upstream
// keeps in the scan, accounts (a scan may be a tree of its own), names with a
// leading dot but the one of the visibility, names that are not UTF-8, and links to directories.
func (d *ScanDir) Files(ctx context.Context) ([]string, error) {
	w := scanWalk{ctx: ctx, root: d.root}
	if err := w.walk(".", 1); err != nil {
		return nil, fmt.Errorf("list the files of a scan: %w", err)
	}
	slices.Sort(w.names)
	return w.names, nil
}

type scanWalk struct {
	ctx   context.Context
	root  *os.Root
	names []string
}

func (w *scanWalk) walk(dir string, depth int) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	entries, err := listDir(w.root, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		switch {
		case name != accessFile && !readable(e.Name()) || name == webcacheDir || slices.Contains(unserved, e.Name()):
		case e.IsDir():
			if depth == maxScanDepth {
				return ErrTooLarge.With("the directories of the scan nest more than %d deep", maxScanDepth)
			}
			if err := w.walk(name, depth+1); err != nil {
				return err
			}
		case w.regular(e, name):
			if len(w.names) == maxScanFiles {
				return ErrTooLarge.With("the scan has more than %d files", maxScanFiles)
			}
			w.names = append(w.names, name)
		}
	}
	return nil
}

// listDir returns what a directory holds; one that is gone meanwhile is empty.
func listDir(root *os.Root, dir string) ([]fs.DirEntry, error) {
	f, err := root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	return f.ReadDir(-1)
}

func (w *scanWalk) regular(e fs.DirEntry, name string) bool {
	if e.Type()&fs.ModeSymlink == 0 {
		return e.Type().IsRegular()
	}
	info, err := w.root.Stat(name)
	return err == nil && info.Mode().IsRegular()
}
