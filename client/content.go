package client

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
)

// errSource marks failures of what is uploaded, which the network is not to
// blame for.
var errSource = errors.New("the source of the upload failed")

// content is what is uploaded. It is read by one source at a time: the transport
// may still hold the one of a request that failed.
type content struct {
	reader io.Reader
	seeker io.Seeker   // nil if it can be read once only
	start  int64       // where it begins in what seeks
	size   int64       // how long it is from there, or -1
	stat   os.FileInfo // of a file, as it was at the beginning
	read   func(upTo int64)

	mu      sync.Mutex
	current *source
}

// newContent finds out how long r is, and whether it can be read again. read is
// told how far it was read, by one goroutine at a time.
func newContent(r io.Reader, read func(upTo int64)) (*content, error) {
	c := &content{reader: r, size: -1, read: read}
	s, ok := r.(io.Seeker)
	if !ok {
		return c, nil
	}
	start, err := s.Seek(0, io.SeekCurrent)
	if err != nil {
		return c, nil //nolint:nilerr // A pipe has Seek, too, and cannot seek.
	}
	end, err := s.Seek(0, io.SeekEnd)
	if err != nil {
		return c, nil //nolint:nilerr // As above.
	}
	if _, err := s.Seek(start, io.SeekStart); err != nil {
		return nil, fmt.Errorf("plantdb: rewind the source of an upload: %w", err)
	}
	c.seeker, c.start, c.size = s, start, end-start
	if file, ok := r.(*os.File); ok {
		c.stat, _ = file.Stat()
	}
	return c, nil
}

// from returns the bytes from at to end, or to whatever the end is if that is
// not known. The source before reads no more. What is read is added to sum, if
// there is one.
func (c *content) from(at, end int64, sum hash.Hash) (*source, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.seeker != nil:
		if _, err := c.seeker.Seek(c.start+at, io.SeekStart); err != nil {
			return nil, fmt.Errorf("%w: %w", errSource, err)
		}
	case c.current != nil:
		return nil, fmt.Errorf("%w: it can be read once only", errSource)
	}
	c.current = &source{content: c, at: at, end: end, sum: sum}
	return c.current, nil
}

// verify says whether the content is still the one that it was, as far as can
// be seen without reading all of it.
func (c *content) verify() error {
	size, written := c.size, false
	switch {
	case c.stat != nil:
		if file, ok := c.reader.(*os.File); ok {
			if now, err := file.Stat(); err == nil {
				size, written = c.size+now.Size()-c.stat.Size(), !now.ModTime().Equal(c.stat.ModTime())
			}
		}
	case c.seeker != nil:
		if end, err := c.seeker.Seek(0, io.SeekEnd); err == nil {
			size = end - c.start
		}
	}
	switch {
	case size > c.size:
		return &sourceChangedError{"it grew"}
	case size < c.size:
		return &sourceChangedError{"it was cut short"}
	case written:
		return &sourceChangedError{"it was written"}
	}
	return nil
}

// source reads some of what is uploaded, and ends without an error only if the
// content is what it was when the upload began: the server then keeps nothing
// that is half of it.
type source struct {
	content *content
	at, end int64 // end is -1 for whatever the end is
	sum     hash.Hash
}

// taken returns the sum of a source that was read to its end.
func (s *source) taken() (hash.Hash, bool) {
	s.content.mu.Lock()
	defer s.content.mu.Unlock()
	return s.sum, s.at == s.end
}

// Read implements io.Reader.
func (s *source) Read(b []byte) (int, error) {
	c := s.content
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != s {
		return 0, fmt.Errorf("%w: it is read by another attempt", errSource)
	}
	if s.end >= 0 {
		if s.at == s.end {
			return 0, io.EOF
		}
		b = b[:min(int64(len(b)), s.end-s.at)]
	}
	n, err := c.reader.Read(b)
	s.at += int64(n)
	if s.sum != nil {
		_, _ = s.sum.Write(b[:n]) // a hash takes everything
	}
	if c.read != nil && n > 0 {
		c.read(s.at)
	}
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return n, fmt.Errorf("%w: %w", errSource, err)
	case s.end < 0:
		return n, err
	case s.at < s.end && err != nil:
		return n, &sourceChangedError{"it was cut short"}
	case s.at < s.end:
		return n, nil
	}
	if err := c.verify(); err != nil {
		return n, err
	}
	return n, io.EOF
}

// sourceChangedError is ErrChanged of something on this side.
type sourceChangedError struct{ how string }

// Error implements error.
func (e *sourceChangedError) Error() string {
	return "the file changed while it was uploaded: " + e.how + "; nothing was kept, upload it again when nobody writes it"
}

// Is implements the interface of errors.Is.
func (e *sourceChangedError) Is(target error) bool {
	return target == ErrChanged || target == errSource
}
