package fsdb

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Signature stands for the state of what a re-read would look at: names, types,
// sizes, modification times and inodes, and no content. Two equal signatures
// mean that nothing changed, but for a rewrite in place that keeps the size and
// falls into one tick of the filesystem's clock (some milliseconds) with the
// change before it.
type Signature [sha256.Size]byte

// Signature looks at the scan's own JSON and TOML files, all its metadata and
// the files of its filesets. Damage is part of the signature; ErrNotFound if
// there is nothing of that name.
func (t *Tree) Signature(ctx context.Context, loc Loc) (sig Signature, err error) {
	if err := loc.check(); err != nil {
		return sig, err
	}
	if err := ctx.Err(); err != nil {
		return sig, fmt.Errorf("sign %q: %w", loc.Dir(), err)
	}
	s := t.signers.Get().(*signer)
	defer t.signers.Put(s)
	s.sum.Reset()
	if err := s.scan(t.root, loc); err != nil {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			return sig, ErrNotFound
		}
		return sig, fmt.Errorf("sign %q: %w", loc.Dir(), err)
	}
	s.sum.Sum(sig[:0])
	return sig, nil
}

// TimelapseSignature looks at the marker of the timelapse; ErrNotFound if there
// is none. Its scans have signatures of their own.
func (t *Tree) TimelapseSignature(ctx context.Context, id string) (sig Signature, err error) {
	if !readable(id) {
		return sig, ErrNotFound
	}
	if err := ctx.Err(); err != nil {
		return sig, fmt.Errorf("sign timelapse %q: %w", id, err)
	}
	info, err := t.root.Lstat(id + "/" + timelapseFile)
	if err != nil {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			return sig, ErrNotFound
		}
		return sig, fmt.Errorf("sign timelapse %q: %w", id, err)
	}
	s := newSigner()
	s.status(timelapseFile, info)
	s.sum.Sum(sig[:0])
	return sig, nil
}

// signer walks one scan by directory descriptors: one path element a call, no
// link ever followed, and next to no garbage. Restarting a server on thousands
// of scans spends its time here.
type signer struct {
	sum  hash.Hash
	buf  []byte // of getdents
	rec  []byte
	stat unix.Stat_t
}

func newSigner() *signer {
	return &signer{sum: sha256.New(), buf: make([]byte, 32<<10)}
}

// level says what counts in a directory: which files are looked at, and what
// counts in which directories below. Names with a leading dot
// do not, but for accessFile.
type level struct {
	file func(name string) bool
	dir  func(name string) *level
}

var (
	scanLevel = level{
		file: func(name string) bool { return strings.HasSuffix(name, ".json") || strings.HasSuffix(name, ".toml") },
		dir: func(name string) *level {
			switch name {
			case metadataDir:
				return &metadataLevel
			case webcacheDir:
				return nil
			default:
				return &filesetLevel
			}
		},
	}
	metadataLevel     = level{file: isJSON, dir: func(string) *level { return &fileMetadataLevel }}
	fileMetadataLevel = level{file: isJSON, dir: func(string) *level { return nil }}
	filesetLevel      = level{file: func(string) bool { return true }, dir: func(string) *level { return nil }}
)

func isJSON(name string) bool { return strings.HasSuffix(name, ".json") }

// scan signs the scan's directory. Its change time is part of it, because a
// re-read reports that.
func (s *signer) scan(root *os.Root, loc Loc) error {
	info, err := root.Lstat(loc.Dir())
	if err != nil {
		return err
	}
	s.status("", info)
	if !info.IsDir() {
		return nil
	}
	s.add("", 0, 0, 0, changed(info).UnixNano())
	dir, err := root.Open(loc.Dir())
	if err != nil {
		return s.damage(err)
	}
	defer func() { _ = dir.Close() }()       // only read
	return s.walk(int(dir.Fd()), &scanLevel) // a descriptor fits an int
}

// walk signs the directory fd. The entries are taken in the directory's own
// order, which does not change as long as the directory does not.
func (s *signer) walk(fd int, l *level) error {
	below, err := s.list(fd, l)
	if err != nil {
		return err
	}
	for _, name := range below {
		if err := s.enter(fd, name, l.dir(name)); err != nil {
			return err
		}
	}
	return nil
}

func (s *signer) enter(parent int, name string, l *level) error {
	s.add(name, 0, 0, 0, 0)
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return s.damage(err)
	}
	defer func() { _ = unix.Close(fd) }() // only read
	return s.walk(fd, l)
}

// list signs the files of the directory and returns the names of those
// directories that count.
func (s *signer) list(fd int, l *level) (below []string, err error) {
	for {
		n, err := unix.ReadDirent(fd, s.buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return below, s.damage(err)
		}
		if n <= 0 {
			return below, nil
		}
		for rest := s.buf[:n]; len(rest) > 0; {
			var e dirent
			e, rest = nextDirent(rest)
			if below, err = s.entry(fd, e, l, below); err != nil {
				return below, err
			}
		}
	}
}

func (s *signer) entry(fd int, e dirent, l *level, below []string) ([]string, error) {
	if e.name[0] == '.' && (l != &scanLevel || string(e.name) != accessFile) {
		return below, nil
	}
	name := string(e.name)
	if e.kind != unix.DT_DIR && e.kind != unix.DT_UNKNOWN && !l.file(name) {
		return below, nil
	}
	if e.kind != unix.DT_DIR {
		if err := unix.Fstatat(fd, name, &s.stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return below, s.damage(err)
		}
	}
	if e.kind == unix.DT_DIR || s.stat.Mode&unix.S_IFMT == unix.S_IFDIR {
		s.add(name, unix.S_IFDIR, e.inode, 0, 0) // its entries say the rest
		if l.dir(name) != nil {
			below = append(below, name)
		}
		return below, nil
	}
	if l.file(name) {
		s.add(name, s.stat.Mode, s.stat.Ino, s.stat.Size, s.stat.Mtim.Nano())
	}
	return below, nil
}

// dirent is an entry of a buffer that getdents64 filled.
type dirent struct {
	inode uint64
	kind  byte
	name  []byte
}

// nextDirent cuts the first entry off, after struct linux_dirent64 of
// getdents(2): inode (8 bytes), offset (8), length (2), type (1), name, NUL.
func nextDirent(buf []byte) (dirent, []byte) {
	length := binary.NativeEndian.Uint16(buf[16:])
	name := buf[19:length]
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	return dirent{binary.NativeEndian.Uint64(buf), buf[18], name}, buf[length:]
}

// status adds a file that was looked at by other means.
func (s *signer) status(name string, info os.FileInfo) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.add(name, st.Mode, st.Ino, st.Size, st.Mtim.Nano())
	}
}

// add writes a record; the length of the name keeps records apart.
func (s *signer) add(name string, mode uint32, inode uint64, size, mtime int64) {
	le := binary.LittleEndian
	r := le.AppendUint16(s.rec[:0], uint16(len(name))) // a name has at most 255 bytes
	r = append(r, name...)
	r = le.AppendUint32(r, mode&unix.S_IFMT)
	r = le.AppendUint64(r, inode)
	r = le.AppendUint64(r, uint64(size))  // the bits matter, not the sign
	r = le.AppendUint64(r, uint64(mtime)) // the bits matter, not the sign
	s.rec = r
	s.sum.Write(r)
}

// damage makes what cannot be read part of the signature, so that it is read
// again once it can.
func (s *signer) damage(err error) error {
	if exhausted(err) {
		return err
	}
	s.rec = append(s.rec[:0], err.Error()...)
	s.sum.Write(s.rec)
	return nil
}

// changed returns when the inode last changed.
func changed(info os.FileInfo) time.Time {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(st.Ctim.Unix())
	}
	return info.ModTime()
}
