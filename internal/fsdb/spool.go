package fsdb

import (
	"archive/zip"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"os"
	"sort"
	"strconv"

	"golang.org/x/sync/errgroup"
)

// partLeast is the size from which the content of an entry is a part: for less
// it is not worth it, and nobody fills a directory with files by an archive that
// is refused in the end.
const partLeast = 64 << 10

// spool keeps an archive that comes. The content of large entries that are not
// packed goes into a file each, a part, so that it is on the disk once, and needs
// no more than a name in the end; all else goes into one file. Where they begin
// and end is guessed by the headers in front of them. What an archive holds is
// said by the directory at its end, and nothing else counts: ReadAt reads the
// archive as it came, wherever its bytes lie, and a part that is not the file
// that the directory says is only bytes of the archive.
type spool struct {
	tree      *Tree
	dir       string // of the files
	most      int    // entries whose headers are read
	least     int64  // bytes of a part
	partBytes int64  // the same, at most
	rest      file   // what is in no part
	from      *os.File
	size      int64        // of the archive
	parts     []*spoolPart // in their order
	parted    int64        // bytes in them
	syncs     errgroup.Group

	// Where it stands among the headers.
	head    []byte // the beginning of one
	skip    int64  // bytes to the next part or header
	next    int64  // bytes of the part that begins there
	entries int
	open    *spoolPart
}

// spoolPart is the content of an entry, as the header in front of it says.
type spoolPart struct {
	at     int64 // where in the archive
	before int64 // bytes in parts before it
	left   int64 // still to come
	sink   sink
	stagedSum
	crc   uint32
	taken bool
}

// newSpool makes an empty one. The caller closes it.
func (t *Tree) newSpool(limits ArchiveLimits) (*spool, error) {
	s := &spool{tree: t, dir: stagingName(), most: limits.Entries, least: partLeast, partBytes: limits.FileBytes}
	s.syncs.SetLimit(syncers)
	if err := t.inStaging(func() error { return t.disk.mkdir(s.dir, stagingPerm) }); err != nil {
		return nil, err
	}
	var err error
	if s.rest, err = t.disk.create(s.restName()); err == nil {
		s.from, err = t.root.Open(s.restName())
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *spool) restName() string { return s.dir + "/rest" }

func (s *spool) partName(p *spoolPart) string { return s.dir + "/" + strconv.FormatInt(p.at, 10) }

// close removes what nobody took.
func (s *spool) close() error {
	_ = s.syncs.Wait() // told by durable, to whom it matters
	var err error
	if s.open != nil {
		err = s.open.sink.file.Close()
	}
	if s.rest != nil {
		err = errors.Join(err, s.rest.Close())
	}
	if s.from != nil {
		err = errors.Join(err, s.from.Close())
	}
	s.tree.discard(s.dir)
	return err
}

// receive takes the archive, once.
func (s *spool) receive(r io.Reader) error { return relay(r, filled{}, s.write) }

// durable returns once the parts would survive a power cut, but for their names.
func (s *spool) durable() error { return s.syncs.Wait() }

// write is sink.write for the bytes that come next, wherever they belong.
func (s *spool) write(p []byte) (hash func(), err error) {
	var hashes []func()
	for len(p) > 0 {
		n := s.pass(p)
		if n > 0 {
			_, err = s.rest.Write(p[:n])
		} else {
			n = int(min(int64(len(p)), s.open.left))
			hash, err = s.writePart(p[:n])
			hashes = append(hashes, hash)
		}
		if err != nil {
			return nil, err
		}
		s.size += int64(n)
		if p = p[n:]; s.skip == 0 && s.next > 0 {
			if err := s.begin(); err != nil {
				return nil, err
			}
		}
	}
	return func() {
		for _, hash := range hashes {
			hash()
		}
	}, nil
}

// pass returns how much of p comes before the next part.
func (s *spool) pass(p []byte) (n int) {
	for n < len(p) && s.open == nil && (s.skip > 0 || s.next == 0) {
		if s.skip == 0 {
			m := min(headLen-len(s.head), len(p)-n)
			s.head = append(s.head, p[n:n+m]...)
			if n += m; len(s.head) == headLen {
				s.skip, s.next = s.ahead()
				s.head = s.head[:0]
			}
			continue
		}
		m := min(s.skip, int64(len(p)-n))
		n += int(m)
		s.skip -= m
	}
	return n
}

const (
	// headLen is the length of the header of an entry without what varies.
	headLen = 30
	// sizeBehind is the flag of an entry whose size comes behind its content.
	sizeBehind = 1 << 3
)

// ahead says by a header what comes: so much that is in no part, and then a part
// of so much, zero for another header. Where no header is, or none that says where
// the next one is, nothing more is known.
func (s *spool) ahead() (skip, part int64) {
	le := binary.LittleEndian
	flags, size := le.Uint16(s.head[6:]), int64(le.Uint32(s.head[18:]))
	s.entries++
	if s.entries > s.most || string(s.head[:4]) != "PK\x03\x04" || flags&sizeBehind != 0 || size == math.MaxUint32 {
		return math.MaxInt64, 0
	}
	skip = int64(le.Uint16(s.head[26:])) + int64(le.Uint16(s.head[28:]))
	whole := flags&encrypted == 0 && le.Uint16(s.head[8:]) == zip.Store && size == int64(le.Uint32(s.head[22:]))
	if whole && size >= s.least && size <= s.partBytes {
		return skip, size
	}
	return skip + size, 0
}

// begin opens the part that is next.
func (s *spool) begin() error {
	p := &spoolPart{at: s.size, before: s.parted, left: s.next}
	to, err := s.tree.disk.create(s.partName(p))
	if err != nil {
		return err
	}
	p.sink = sink{file: to, sum: sha256.New()}
	s.parts = append(s.parts, p)
	s.open, s.next = p, 0
	return nil
}

// writePart is sink.write for the part that is open, and closes it at its end.
func (s *spool) writePart(b []byte) (hash func(), err error) {
	p := s.open
	sum, err := p.sink.write(b)
	if err != nil {
		return nil, err
	}
	n := int64(len(b))
	s.parted += n
	p.size += n
	p.left -= n
	ends := p.left == 0
	if ends {
		to := p.sink.file
		s.syncs.Go(func() error { return errors.Join(to.Sync(), to.Close()) })
		s.open = nil
	}
	return func() {
		p.crc = crc32.Update(p.crc, crc32.IEEETable, b)
		if sum(); ends {
			p.sink.sum.Sum(p.sum[:0])
			p.sink = sink{}
		}
	}, nil
}

// ReadAt implements io.ReaderAt. It is called when all has come.
func (s *spool) ReadAt(b []byte, at int64) (n int, err error) {
	i := sort.Search(len(s.parts), func(i int) bool { return s.parts[i].at+s.parts[i].size > at })
	for n < len(b) && at < s.size && err == nil {
		var m int
		switch {
		case i == len(s.parts):
			m, err = s.from.ReadAt(b[n:], at-s.parted)
		case at < s.parts[i].at:
			p := s.parts[i]
			m, err = s.from.ReadAt(b[n:n+int(min(int64(len(b)-n), p.at-at))], at-p.before)
		default:
			m, err = s.readPart(b[n:], s.parts[i], at)
			i++
		}
		n += m
		at += int64(m)
	}
	if n < len(b) && err == nil {
		err = io.EOF
	}
	return n, err
}

func (s *spool) readPart(b []byte, p *spoolPart, at int64) (n int, err error) {
	f, err := s.tree.root.Open(s.partName(p))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.ReadAt(b[:min(int64(len(b)), p.at+p.size-at)], at-p.at)
}

// take gives the part that an entry is its name. It is one if it has the bytes
// that the directory of the archive says; otherwise nothing is taken.
func (s *spool) take(f archiveFile, name string) (sum stagedSum, taken bool, err error) {
	if f.Method != zip.Store || f.Flags&sizeBehind != 0 || len(s.parts) == 0 {
		return sum, false, nil
	}
	at, err := f.DataOffset()
	if err != nil {
		return sum, false, nil // told where it is unpacked
	}
	i, found := sort.Find(len(s.parts), func(i int) int { return cmp.Compare(at, s.parts[i].at) })
	if !found {
		return sum, false, nil
	}
	p := s.parts[i]
	if p.taken || p.left > 0 || p.crc != f.CRC32 || uint64(p.size) != f.UncompressedSize64 || uint64(p.size) != f.CompressedSize64 { //nolint:gosec // not negative
		return sum, false, nil
	}
	p.taken = true // another entry of the same bytes is another file
	// A link, and not a rename, for it stops at a name that is taken, and the
	// archive can still be read.
	return p.stagedSum, true, s.tree.disk.link(s.partName(p), name)
}
