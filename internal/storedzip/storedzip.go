// Package storedzip makes ZIP files (APPNOTE.TXT 6.3.10, ZIP64 where it has to
// be) whose entries are stored as they are, and of which any part can be
// written alone: the layout follows from names and sizes before a byte of
// content is read, and equal entries make equal bytes. It knows neither files
// nor HTTP: a caller says how content is opened and what its checksum is.
//
// Each local header has the checksum and the sizes of its entry, so that also
// programs that read an archive from front to back take it; a data descriptor
// behind the content would be simpler to write and many refuse it for entries
// that are not compressed. The price is that the checksum of an entry is asked
// for before its first byte is written.
package storedzip

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"
	"time"
)

// ErrChanged is the error of content that is not what its entry says.
var ErrChanged = errors.New("the content of an entry changed while it was archived")

// Entry is a file of an archive.
type Entry struct {
	// Name is slash-separated and relative, at most 65,535 bytes of UTF-8.
	Name     string
	Size     int64
	Modified time.Time
	// Sum returns the CRC-32 (IEEE) of the content. It may be asked for more
	// than once.
	Sum func(context.Context) (uint32, error)
	// Open returns the content, of which at most Size bytes are taken. Its
	// Close is the last that is called of it and may still say ErrChanged, for
	// content that was not all the time that of the Sum.
	Open func(context.Context) (io.ReadSeekCloser, error)
}

// Archive is a ZIP file that is not there. It holds no content open.
type Archive struct {
	entries []Entry
	headers []int64 // where the local header of each entry starts
	central int64   // where the central directory starts
	size    int64
}

// New lays out an archive of the entries, in this order. The only error is a
// name that is too long or a size below zero.
func New(entries []Entry) (*Archive, error) {
	a := &Archive{entries: entries, headers: make([]int64, len(entries))}
	for i, e := range entries {
		if len(e.Name) > math.MaxUint16 || e.Size < 0 {
			return nil, fmt.Errorf("lay out archive: entry %.80q of %d bytes", e.Name, e.Size)
		}
		a.headers[i] = a.size
		a.size += localSize(e) + e.Size
	}
	a.central = a.size
	for i, e := range entries {
		a.size += centralSize(e, a.headers[i])
	}
	a.size += endSize(len(entries), a.central, a.size)
	return a, nil
}

// Size returns how many bytes the archive has.
func (a *Archive) Size() int64 { return a.size }

const (
	// together is how many bytes of headers and entries are written at once.
	together = 32 << 10
	// small is how much of an entry may wait for the sum of the next one.
	small = 4 << 10
)

// WriteRange writes n bytes of the archive from offset on. Content beyond some
// kilobytes goes to the ReadFrom of w, if it has one, as an io.LimitedReader over
// what Open returned, so that a connection can take it from a file without memory. Errors are ErrChanged for
// content that ends too early, and those of w, of ctx and of the entries.
func (a *Archive) WriteRange(ctx context.Context, w io.Writer, offset, n int64) error {
	if offset < 0 || n < 0 || offset > a.size || n > a.size-offset {
		return fmt.Errorf("write archive: no %d bytes at %d of %d", n, offset, a.size)
	}
	p := part{w: bufio.NewWriterSize(w, together), skip: offset, left: n}
	err := a.write(ctx, &p)
	if flushed := p.w.Flush(); err == nil {
		err = flushed
	}
	return err
}

func (a *Archive) write(ctx context.Context, p *part) error {
	// The last entry that starts at offset or before it.
	first := sort.Search(len(a.headers), func(i int) bool { return a.headers[i] > p.skip }) - 1
	if first >= 0 && p.skip < a.central {
		p.skip -= a.headers[first]
		for i := first; i < len(a.entries) && p.left > 0; i++ {
			if err := p.entry(ctx, a.entries[i]); err != nil {
				return fmt.Errorf("write archive entry %q: %w", a.entries[i].Name, err)
			}
		}
	} else {
		p.skip -= a.central
	}
	if p.left == 0 {
		return nil
	}
	directory, err := a.directory(ctx)
	if err != nil {
		return fmt.Errorf("write archive directory: %w", err)
	}
	return p.bytes(directory)
}

// entry writes what of an entry lies in the range.
func (p *part) entry(ctx context.Context, e Entry) error {
	if header := localSize(e); p.passes(header) {
		p.skip -= header
	} else {
		// What comes before is on its way while more than a little is summed.
		if e.Size > small {
			if err := p.w.Flush(); err != nil {
				return err
			}
		}
		sum, err := e.Sum(ctx)
		if err != nil {
			return err
		}
		if err := p.bytes(localHeader(e, sum)); err != nil {
			return err
		}
	}
	switch {
	case p.left == 0 || e.Size == 0:
		return nil
	case p.passes(e.Size):
		p.skip -= e.Size
		return nil
	}
	return p.content(ctx, e)
}

// directory is all behind the entries.
func (a *Archive) directory(ctx context.Context) ([]byte, error) {
	out := make([]byte, 0, a.size-a.central)
	for i, e := range a.entries {
		sum, err := e.Sum(ctx)
		if err != nil {
			return nil, fmt.Errorf("sum %q: %w", e.Name, err)
		}
		out = appendCentral(out, e, sum, a.headers[i])
	}
	return appendEnd(out, len(a.entries), a.central, a.central+int64(len(out))), nil
}

// part is the range that is being written: skip bytes are passed over first,
// left are still to be written.
type part struct {
	w          *bufio.Writer
	skip, left int64
}

// passes says that the next n bytes, at least one, all lie before the range.
func (p *part) passes(n int64) bool { return p.skip >= n }

func (p *part) bytes(b []byte) error {
	b = b[p.skip:]
	p.skip = 0
	b = b[:min(int64(len(b)), p.left)]
	p.left -= int64(len(b))
	_, err := p.w.Write(b)
	return err
}

func (p *part) content(ctx context.Context, e Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r, err := e.Open(ctx)
	if err != nil {
		return err
	}
	return errors.Join(p.copy(r, min(e.Size-p.skip, p.left)), r.Close())
}

// copy writes the next n bytes of the range out of r.
func (p *part) copy(r io.ReadSeeker, n int64) error {
	if _, err := r.Seek(p.skip, io.SeekStart); err != nil {
		return err
	}
	p.skip = 0
	p.left -= n
	written, err := io.Copy(p.w, &io.LimitedReader{R: r, N: n})
	if err == nil && written < n {
		err = ErrChanged
	}
	return err
}

// The lengths of the fixed parts of the records.
const (
	localLength     = 30
	centralLength   = 46
	endLength       = 22
	end64Length     = 56
	locatorLength   = 20
	timestampLength = 9
	local64Length   = 4 + 16
)

const (
	version20  = 20
	version45  = 45 // ZIP64
	madeOnUnix = 3 << 8
	utf8Flag   = 1 << 11
	// regular is what unzip makes of an entry: a file that everybody reads.
	regular = 0o100644 << 16
	max32   = math.MaxUint32
	max16   = math.MaxUint16
)

func big(n int64) bool { return n >= max32 }

func localSize(e Entry) int64 {
	n := localLength + len(e.Name) + timestampLength
	if big(e.Size) {
		n += local64Length
	}
	return int64(n)
}

func centralSize(e Entry, offset int64) int64 {
	return int64(centralLength + len(e.Name) + timestampLength + len(central64(e.Size, offset)))
}

func endSize(entries int, start, end int64) int64 {
	if needsEnd64(entries, start, end) {
		return end64Length + locatorLength + endLength
	}
	return endLength
}

func needsEnd64(entries int, start, end int64) bool {
	return entries >= max16 || big(start) || big(end-start)
}

// The numbers of a record are little-endian. One that does not fit has all bits
// set, which sends a reader to the ZIP64 field. None is below zero.

func append16(b []byte, n int) []byte {
	return binary.LittleEndian.AppendUint16(b, uint16(min(n, max16))) // see above
}

func append32[N int | int64 | uint32](b []byte, n N) []byte {
	return binary.LittleEndian.AppendUint32(b, uint32(min(int64(n), max32))) // see above
}

func append64[N int | int64](b []byte, n N) []byte {
	return binary.LittleEndian.AppendUint64(b, uint64(n))
}

// common is what local header and central directory say of an entry alike,
// from the version needed to the length of the name.
func common(b []byte, e Entry, sum uint32, version int) []byte {
	var flags int
	for i := range len(e.Name) {
		if e.Name[i] >= 0x80 {
			flags = utf8Flag
		}
	}
	date, clock := dosTime(e.Modified)
	b = append16(b, version)
	b = append16(b, flags)
	b = append16(b, 0) // stored
	b = append16(b, clock)
	b = append16(b, date)
	b = append32(b, sum)
	b = append32(b, e.Size)
	b = append32(b, e.Size)
	return append16(b, len(e.Name))
}

func localHeader(e Entry, sum uint32) []byte {
	var extra []byte
	version := version20
	if big(e.Size) {
		version = version45
		extra = append16(extra, 1) // ZIP64
		extra = append16(extra, 16)
		extra = append64(extra, e.Size)
		extra = append64(extra, e.Size)
	}
	extra = append(extra, timestamp(e)...)
	b := append(make([]byte, 0, localSize(e)), "PK\x03\x04"...)
	b = common(b, e, sum, version)
	b = append16(b, len(extra))
	return append(append(b, e.Name...), extra...)
}

// central64 is the field for what does not fit into a directory entry.
func central64(size, offset int64) []byte {
	var fields []byte
	if big(size) {
		fields = append64(fields, size)
		fields = append64(fields, size)
	}
	if big(offset) {
		fields = append64(fields, offset)
	}
	if fields == nil {
		return nil
	}
	head := append16(nil, 1)
	return append(append16(head, len(fields)), fields...)
}

func appendCentral(b []byte, e Entry, sum uint32, offset int64) []byte {
	extra := central64(e.Size, offset)
	version := version20
	if extra != nil {
		version = version45
	}
	extra = append(extra, timestamp(e)...)
	b = append(b, "PK\x01\x02"...)
	b = append16(b, madeOnUnix|version)
	b = common(b, e, sum, version)
	b = append16(b, len(extra))
	b = append(b, 0, 0, 0, 0, 0, 0) // no comment, first disk, binary
	b = append32(b, regular)
	b = append32(b, offset)
	return append(append(b, e.Name...), extra...)
}

// appendEnd ends an archive whose directory reaches from start to end.
func appendEnd(b []byte, entries int, start, end int64) []byte {
	size := end - start
	if needsEnd64(entries, start, end) {
		b = append(b, "PK\x06\x06"...)
		b = append64(b, end64Length-12)
		b = append16(b, madeOnUnix|version45)
		b = append16(b, version45)
		b = append64(b, 0) // both disks are the first
		b = append64(b, entries)
		b = append64(b, entries)
		b = append64(b, size)
		b = append64(b, start)
		b = append(b, "PK\x06\x07\x00\x00\x00\x00"...)
		b = append64(b, end)
		b = append32(b, 1)
	}
	b = append(b, "PK\x05\x06\x00\x00\x00\x00"...)
	b = append16(b, entries)
	b = append16(b, entries)
	b = append32(b, size)
	b = append32(b, start)
	return append16(b, 0)
}

// timestamp is the extended timestamp of Info-ZIP, in seconds since 1970 and
// none before, for the time of DOS has no zone.
func timestamp(e Entry) []byte {
	b := append(make([]byte, 0, timestampLength), 'U', 'T', 5, 0, 1)
	return append32(b, max(e.Modified.Unix(), 0))
}

// dosTime is in UTC, so that an archive is the same on every machine; years
// that DOS does not know are brought to its first or last.
func dosTime(t time.Time) (date, clock int) {
	t = t.UTC()
	year := t.Year() - 1980
	switch {
	case year < 0:
		return 1<<5 | 1, 0
	case year > 127:
		return 127<<9 | 12<<5 | 31, 23<<11 | 59<<5 | 29
	}
	return year<<9 | int(t.Month())<<5 | t.Day(), t.Hour()<<11 | t.Minute()<<5 | t.Second()/2
}
