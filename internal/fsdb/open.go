package fsdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// unserved are the names that OpenPath gives out nowhere: accounts lie in the
// root, but a scan may be a tree of its own that was put here.
var unserved = []string{"users.json", "groups.json"}

// OpenFile opens the file called name of a fileset for reading; the caller
// closes it. ErrNotFound if it is no regular file or a link leads out of the
// scan. It does not look into files.json.
func (t *Tree) OpenFile(ctx context.Context, loc Loc, fileset, name string) (*os.File, fs.FileInfo, error) {
	if !readable(fileset) || !readable(name) {
		return nil, nil, ErrNotFound
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("open file %q: %w", name, err)
	}
	dir, err := t.openScan(loc)
	if err != nil {
		return nil, nil, unopened(loc.Dir(), err)
	}
	defer func() { _ = dir.Close() }() // only read
	f, info, err := openRegular(dir, fileset+"/"+name)
	return f, info, unopened(name, err)
}

// OpenPath opens a raw file by its path from the root, such as
// "<scan>/metadata/metadata.json" or "<timelapse>/<scan>/scan.toml"; the caller
// closes it. ErrNotFound unless it is a regular file below a scan or timelapse:
// never accounts, names with a leading dot, or directories, and no link leads
// out of the scan.
func (t *Tree) OpenPath(ctx context.Context, rel string) (*os.File, fs.FileInfo, error) {
	parts := strings.Split(rel, "/")
	if !servable(parts) {
		return nil, nil, ErrNotFound
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("open %q: %w", rel, err)
	}
	base, below := parts[0], parts[1:]
	switch {
	case !t.isTimelapse(base):
		if t.whyNoScan(base) != "" {
			return nil, nil, ErrNotFound
		}
	case len(below) > 1:
		base, below = base+"/"+below[0], below[1:]
	}
	dir, err := t.openDir(base)
	if err != nil {
		return nil, nil, unopened(rel, err)
	}
	defer func() { _ = dir.Close() }() // only read
	f, info, err := openRegular(dir, path.Join(below...))
	return f, info, unopened(rel, err)
}

// servable says whether a path may be given out by its looks: two elements at
// least, each visible, none of them accounts.
func servable(parts []string) bool {
	hidden := func(p string) bool { return !readable(p) || slices.Contains(unserved, p) }
	return len(parts) >= 2 && !slices.ContainsFunc(parts, hidden)
}

// unopened makes ErrNotFound of every reason why a name cannot be opened that
// lies in the tree and not in this process.
func unopened(name string, err error) error {
	if err == nil {
		return nil
	}
	if exhausted(err) || errors.Is(err, syscall.EIO) {
		return fmt.Errorf("open %q: %w", name, err)
	}
	return ErrNotFound.Because(err)
}

var (
	errNotRegular = errors.New("not a regular file")
	errTooBig     = errors.New("the file is too large")
	errGrowing    = errors.New("the file is being written")
)

// openRegular opens a file for reading; anything but a regular one, a pipe
// above all, is refused without waiting for it.
func openRegular(dir *os.Root, name string) (*os.File, fs.FileInfo, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// readFile reads a regular file of at most limit bytes.
func readFile(dir *os.Root, name string, limit int64) ([]byte, error) {
	f, info, err := openRegular(dir, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	return readAll(f, info, limit)
}

// readAll reads a file from its beginning that was as long as info says.
func readAll(f *os.File, info fs.FileInfo, limit int64) ([]byte, error) {
	if info.Size() > limit {
		return nil, errTooBig
	}
	data := make([]byte, info.Size()+1)
	n, err := io.ReadFull(io.NewSectionReader(f, 0, info.Size()+1), data)
	switch {
	case err == nil:
		return nil, errGrowing
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return data[:n], nil
	default:
		return nil, err
	}
}

// OpenFiles is how many files this process may have open at once, connections and
// all else included.
func OpenFiles() int64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return math.MaxInt32 // as good as all that it wants
	}
	return int64(limit.Cur)
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
