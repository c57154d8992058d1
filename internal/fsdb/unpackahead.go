package fsdb

import (
	"archive/zip"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"
)

// aheadLeast is the size from which an entry is unpacked before its archive has
// come whole: for less it is not worth it, and nobody fills a directory with
// files by an archive that is refused in the end.
const aheadLeast = 64 << 10

// ahead unpacks entries of an archive while more of it comes. What an archive
// holds is said by the directory at its end, and nothing else counts: here are
// only guesses, by the headers in front of the entries, of files that will be
// asked for. One that is not the file that the directory says is dropped, and so
// is all that was never asked for.
type ahead struct {
	tree  *Tree
	from  io.ReaderAt // the archive
	most  int         // entries
	dir   string      // where the files are, each named by where its content begins; empty for none
	group errgroup.Group
	ended chan struct{} // all is unpacked that will be

	mu    sync.Mutex
	grown sync.Cond
	size  int64
	whole bool // no more comes
	files map[int64]aheadFile
}

// aheadFile is a file that is on the disk and durable but for its name.
type aheadFile struct {
	stagedSum
	crc uint32
}

// unpackAhead begins to unpack an archive that from holds more and more of. The
// caller says so by grow and finish, and calls drop in the end.
func (t *Tree) unpackAhead(ctx context.Context, from io.ReaderAt, limits ArchiveLimits) *ahead {
	a := &ahead{tree: t, from: from, most: limits.Entries, ended: make(chan struct{}), files: map[int64]aheadFile{}}
	a.grown.L = &a.mu
	a.group.SetLimit(unpackers)
	go func() {
		defer close(a.ended)
		a.follow(ctx, limits.FileBytes)
		_ = a.group.Wait() // what went wrong is unpacked again, where it is told
	}()
	return a
}

// grow says how much of the archive there is.
func (a *ahead) grow(size int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.size = size
	a.grown.Signal()
}

// finish says that no more comes, and waits until nothing is unpacked any more.
func (a *ahead) finish() {
	a.mu.Lock()
	a.whole = true
	a.grown.Signal()
	a.mu.Unlock()
	<-a.ended
}

// drop ends it and removes what nobody took.
func (a *ahead) drop() {
	a.finish()
	if a.dir != "" {
		a.tree.discard(a.dir)
		a.dir = ""
	}
}

// has waits until so much is there, and returns false if it never will be.
func (a *ahead) has(size int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.size < size && !a.whole {
		a.grown.Wait()
	}
	return a.size >= size
}

// follow goes from entry to entry, as long as each says where the next one is.
func (a *ahead) follow(ctx context.Context, most int64) {
	const headLen, unknown = 30, 1 << 3 // the latter: the size comes behind the content
	le := binary.LittleEndian
	var head [headLen]byte
	for at, n := int64(0), 0; n < a.most && ctx.Err() == nil && a.has(at+headLen); n++ {
		if _, err := a.from.ReadAt(head[:], at); err != nil || string(head[:4]) != "PK\x03\x04" {
			return
		}
		flags, size := le.Uint16(head[6:]), int64(le.Uint32(head[18:]))
		if flags&unknown != 0 || size == math.MaxUint32 {
			return
		}
		at += headLen + int64(le.Uint16(head[26:])) + int64(le.Uint16(head[28:]))
		whole := flags&encrypted == 0 && le.Uint16(head[8:]) == zip.Store && size == int64(le.Uint32(head[22:]))
		if whole && size >= aheadLeast && size <= most && (!a.has(at+size) || !a.begin(ctx, at, size)) {
			return
		}
		at += size
	}
}

// begin has an entry unpacked.
func (a *ahead) begin(ctx context.Context, at, size int64) bool {
	if a.dir == "" {
		dir := stagingName()
		if err := a.tree.disk.mkdir(dir, stagingPerm); err != nil {
			return false
		}
		a.dir = dir
	}
	a.group.Go(func() error { return a.unpack(ctx, at, size) })
	return true
}

func (a *ahead) name(at int64) string { return a.dir + "/" + strconv.FormatInt(at, 10) }

func (a *ahead) unpack(ctx context.Context, at, size int64) error {
	to, err := a.tree.disk.create(a.name(at))
	if err != nil {
		return err
	}
	source := &entryReader{summed: true, r: contextReader{ctx, io.NewSectionReader(a.from, at, size)}}
	var got aheadFile
	got.size, got.sum, err = receiveOne(to, source)
	if err == nil {
		err = to.Sync()
	}
	if err := errors.Join(err, to.Close()); err != nil {
		return err
	}
	got.crc = source.crc
	a.mu.Lock()
	defer a.mu.Unlock()
	a.files[at] = got
	return nil
}

// take gives the file of an entry its name, if it was unpacked ahead and is what
// the directory of the archive says of it.
func (a *ahead) take(f archiveFile, name string) (sum stagedSum, taken bool, err error) {
	if f.Method != zip.Store || len(a.files) == 0 {
		return sum, false, nil
	}
	at, err := f.DataOffset()
	if err != nil {
		return sum, false, nil // told where it is unpacked
	}
	got, ok := a.files[at]
	if !ok || got.crc != f.CRC32 || uint64(got.size) != f.UncompressedSize64 || uint64(got.size) != f.CompressedSize64 { //nolint:gosec // not negative
		return sum, false, nil
	}
	// A link, and not a rename, for it stops at a name that is taken.
	return got.stagedSum, true, a.tree.disk.link(a.name(at), name)
}
