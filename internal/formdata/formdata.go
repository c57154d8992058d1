// Package formdata reads multipart/form-data (RFC 7578, RFC 2046 5.1) as it
// comes, at the speed of its bytes whatever these are: mime/multipart looks at
// each 4 KiB twice, the second time a byte at a time, so that text without
// carriage returns takes as long to pass as to be hashed.
//
// What is a part, and where it ends, is as mime/multipart has it, which a fuzz
// test holds; the exceptions: heads and what comes before the first part are
// bounded, and no Content-Transfer-Encoding is undone, which RFC 7578 has done
// away with.
package formdata

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/textproto"
	"strings"
)

// Bounds of what is not content.
const (
	// maxHead bounds the head of a part, and what comes before the first.
	maxHead = 16 << 10
	// maxParts bounds the parts of a form.
	maxParts = 1000
	// maxBoundary is what RFC 2046 allows.
	maxBoundary = 70
	// window is how much is taken from the source at once. A head fits into it.
	window = 128 << 10
)

var (
	errNoForm   = errors.New("not multipart/form-data with a boundary")
	errHead     = errors.New("a part's head is too long or cannot be read")
	errBoundary = errors.New("no boundary where one has to be")
	errParts    = fmt.Errorf("more than %d parts", maxParts)
)

// Reader reads the parts of one form, each once, in their order.
type Reader struct {
	source *bufio.Reader
	// boundary begins each part: a line break and two dashes before what the
	// Content-Type says.
	boundary []byte
	bare     bool // lines end without a carriage return
	parts    int
	part     *Part
	err      error // of all further calls
}

// Part is one part. It is no longer to be read once Next was called again.
type Part struct {
	Header textproto.MIMEHeader
	// Name and FileName are those of its Content-Disposition; the latter is the
	// last element of a path.
	Name, FileName string

	reader *Reader
	fresh  bool   // nothing was read yet
	clean  int    // so many of the buffered bytes belong to it
	end    []byte // the boundary that follows them, once it is known
	err    error  // of Read, after them
}

// New returns a reader of a body with this Content-Type. It fails if that is no
// form, or has no boundary.
func New(body io.Reader, contentType string) (*Reader, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/form-data" && kind != "multipart/mixed" {
		return nil, errNoForm
	}
	boundary := params["boundary"]
	if boundary == "" || len(boundary) > maxBoundary {
		return nil, errNoForm
	}
	return &Reader{source: bufio.NewReaderSize(body, window), boundary: []byte("\r\n--" + boundary)}, nil
}

// Rest is what follows the form, once Next has said that it has ended.
func (r *Reader) Rest() io.Reader { return r.source }

// Next returns the next part, past what was not read of the one before. At the
// end of the form, and of an empty body, the error is io.EOF, and
// io.ErrUnexpectedEOF where the body ends before.
func (r *Reader) Next() (*Part, error) {
	if r.err != nil {
		return nil, r.err
	}
	part, err := r.next()
	if err != nil {
		r.err = err
		return nil, err
	}
	r.part = part
	return part, nil
}

func (r *Reader) next() (*Part, error) {
	last, err := r.pass()
	if err != nil {
		return nil, err
	}
	if last {
		return nil, io.EOF
	}
	if r.parts++; r.parts > maxParts {
		return nil, errParts
	}
	header, err := r.head()
	if err != nil {
		return nil, err
	}
	// What the standard library makes of a head is what others make of it, too.
	named := multipart.Part{Header: header}
	return &Part{Header: header, Name: named.FormName(), FileName: named.FileName(), reader: r, fresh: true}, nil
}

// pass reads to the next part's head; last says that none follows.
func (r *Reader) pass() (last bool, err error) {
	if r.part == nil {
		return r.first()
	}
	if _, err := io.Copy(io.Discard, r.part); err != nil {
		return false, err
	}
	if _, err := r.source.Discard(len(r.part.end)); err != nil {
		return false, unexpected(err)
	}
	line, err := r.line(maxHead)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	last, next := r.ends(line, err != nil)
	if !last && !next {
		return false, errBoundary
	}
	return last, nil
}

// first passes what comes before the first boundary, and learns how lines end.
func (r *Reader) first() (last bool, err error) {
	for room := maxHead; ; {
		line, err := r.line(room)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		if after, ok := bytes.CutPrefix(line, r.dashes()); ok {
			if string(bytes.TrimLeft(after, " \t")) == "\n" {
				r.bare, r.boundary = true, r.boundary[1:]
			}
			if last, next := r.ends(after, err != nil); last || next {
				return last, nil
			}
		}
		if err != nil && room == maxHead && len(line) == 0 {
			return true, nil // nothing at all
		}
		if err != nil {
			return false, io.ErrUnexpectedEOF
		}
		room -= len(line)
	}
}

// dashes is the boundary without the line break before it.
func (r *Reader) dashes() []byte { return bytes.TrimLeft(r.boundary, "\r\n") }

// ends says what the rest of a line means that began with a boundary: that was
// the last part, or another follows. At the end of the body the last line needs
// no break.
func (r *Reader) ends(line []byte, ended bool) (last, next bool) {
	dashed, last := bytes.CutPrefix(line, []byte("--"))
	if last {
		line = dashed
	}
	line = bytes.TrimLeft(line, " \t")
	broken := string(line) == "\r\n" || r.bare && string(line) == "\n"
	if last {
		return broken || ended && len(line) == 0, false
	}
	return false, broken
}

// line reads a line with its break, of at most room bytes; with the error io.EOF
// what there is before the end. It is good until something else is read.
func (r *Reader) line(room int) ([]byte, error) {
	for n := 1; ; n = r.source.Buffered() + 1 {
		_, err := r.source.Peek(min(n, window))
		buffered, _ := r.source.Peek(min(r.source.Buffered(), room))
		if i := bytes.IndexByte(buffered, '\n'); i >= 0 {
			return r.take(buffered[:i+1])
		}
		switch {
		case len(buffered) >= room:
			return nil, errHead
		case errors.Is(err, io.EOF):
			line, _ := r.take(buffered)
			return line, io.EOF
		case err != nil:
			return nil, err
		}
	}
}

func (r *Reader) take(b []byte) ([]byte, error) {
	b = bytes.Clone(b)
	_, err := r.source.Discard(len(b))
	return b, err
}

// head reads the head of a part and the empty line after it.
func (r *Reader) head() (textproto.MIMEHeader, error) {
	var head bytes.Buffer
	for {
		line, err := r.line(maxHead - head.Len())
		if err != nil {
			return nil, unexpected(err)
		}
		head.Write(line)
		if string(line) == "\r\n" || string(line) == "\n" {
			break
		}
		if len(bytes.TrimSpace(line)) == 0 { // as empty to some, and to others not
			return nil, errHead
		}
	}
	header, err := textproto.NewReader(bufio.NewReader(&head)).ReadMIMEHeader()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", errHead, strings.TrimPrefix(err.Error(), "malformed MIME header "))
	}
	return header, nil
}

// Read implements io.Reader. The error comes with the last bytes before it:
// whoever hears of a broken connection only by the context of its request learns
// of it no sooner.
func (p *Part) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if p.clean == 0 && p.err == nil {
		p.look()
	}
	if p.clean == 0 {
		return 0, p.err
	}
	p.fresh = false
	n, _ := p.reader.source.Read(b[:min(len(b), p.clean)]) // it is buffered
	if p.clean -= n; p.clean == 0 {
		return n, p.err
	}
	return n, nil
}

// look finds out how much of what is buffered belongs to the part. Only where
// that is nothing, more is read: what came is given on before what follows it is
// waited for. Afterwards clean or err, or both, are known; io.EOF is for the end.
func (p *Part) look() {
	source := p.reader.source
	for {
		buffered, _ := source.Peek(source.Buffered())
		if p.split(buffered, false); p.clean > 0 || p.err != nil {
			return
		}
		if _, err := source.Peek(len(buffered) + 1); err != nil {
			if p.split(buffered, true); p.err == nil {
				p.clean, p.err = len(buffered), unexpected(err)
			}
			return
		}
	}
}

// split looks for the boundary in b. What may be the beginning of one does not
// count as content, unless the body has ended.
func (p *Part) split(b []byte, ended bool) {
	// The line break of a head's end may be that of the boundary.
	if dashes := p.reader.dashes(); p.fresh {
		switch matches(b, dashes, ended) {
		case boundaryIs:
			p.end, p.err = dashes, io.EOF
			return
		case boundaryMaybe:
			return
		}
	}
	boundary := p.reader.boundary
	for from := 0; ; {
		i := bytes.Index(b[from:], boundary)
		if i < 0 {
			break
		}
		i += from
		switch matches(b[i:], boundary, ended) {
		case boundaryIs:
			p.clean, p.end, p.err = i, boundary, io.EOF
			return
		case boundaryMaybe:
			p.clean = i
			return
		}
		from = i + 1
	}
	p.clean = len(b)
	for i := max(0, len(b)-len(boundary)+1); i < len(b) && !ended; i++ {
		if bytes.HasPrefix(boundary, b[i:]) {
			p.clean = i
			return
		}
	}
}

const (
	boundaryNot = iota
	boundaryMaybe
	boundaryIs
)

// matches says whether b begins with a boundary: white space or two dashes
// follow it, or nothing does, at the end of the body.
func matches(b, boundary []byte, ended bool) int {
	after, ok := bytes.CutPrefix(b, boundary)
	switch {
	case ok:
	case !ended && bytes.HasPrefix(boundary, b):
		return boundaryMaybe
	default:
		return boundaryNot
	}
	short := boundaryMaybe
	switch {
	case len(after) == 0:
		if ended {
			short = boundaryIs
		}
		return short
	case strings.IndexByte(" \t\r\n", after[0]) >= 0:
		return boundaryIs
	case after[0] != '-':
		return boundaryNot
	case len(after) == 1:
		if ended {
			short = boundaryNot
		}
		return short
	case after[1] == '-':
		return boundaryIs
	}
	return boundaryNot
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
