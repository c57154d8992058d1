package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// errSource marks failures of what is uploaded, which the network is not to
// blame for.
var errSource = errors.New("the source of the upload failed")

// eager is the size up to which a file is sent without asking first whether the
// server would take it.
const eager = 1 << 20

// Upload sends r as the file that p names, with metadata or nil; ext is its
// extension, with or without the dot. It streams: no more than a buffer is held
// in memory.
//
// When it returns nil, the file survives a power cut of the server; when it
// returns an error, nothing of it is there, unless the error is ErrUnreachable:
// then the answer may have been lost. If r is an io.Seeker, such as a file, the
// upload is sent again where that helps, after a refresh of the token or a
// broken connection. An [os.File] that grows, shrinks or is written while it is
// read is ErrChanged.
func (c *Client) Upload(ctx context.Context, p Path, ext string, r io.Reader, metadata map[string]any) error {
	if err := p.check(); err != nil {
		return err
	}
	if p.File == "" {
		return fmt.Errorf("plantdb: upload %s: no file is named: %w", p, ErrInvalid)
	}
	f, err := newForm(p, ext, r, metadata)
	if err != nil {
		return err
	}
	sending, again := repeatable(ctx)
	err = done(c.api.CreateFileWithBody(sending, p.Scan, p.Fileset, p.File, nil, f.contentType, http.NoBody, func(_ context.Context, req *http.Request) error {
		req.ContentLength, req.GetBody = f.length(), f.getBody()
		if f.size < 0 || f.size > eager {
			req.Header.Set("Expect", "100-continue")
		}
		req.Body, err = f.open()
		return err
	}))
	return again.settle(err, func() bool { return c.hasContent(ctx, p, f) })
}

// UploadFile uploads the file of that name, with its extension.
func (c *Client) UploadFile(ctx context.Context, p Path, name string, metadata map[string]any) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("plantdb: upload %s: %w", p, err)
	}
	defer f.Close() // It was only read.
	return c.Upload(ctx, p, filepath.Ext(name), f, metadata)
}

// form is a multipart form around one reader.
type form struct {
	contentType string
	head, tail  []byte
	source      io.Reader
	seeker      io.Seeker // nil if it can be read once only
	start, size int64     // where the source begins; its length from there, or -1
	stat        os.FileInfo
	opened      bool
}

func newForm(p Path, ext string, r io.Reader, metadata map[string]any) (*form, error) {
	var buffer bytes.Buffer
	w := multipart.NewWriter(&buffer)
	// Buffers do not fail.
	_ = w.WriteField("ext", ext)
	if metadata != nil {
		text, err := json.Marshal(metadata)
		if err != nil {
			return nil, fmt.Errorf("plantdb: upload %s: metadata: %w", p, err)
		}
		_ = w.WriteField("metadata", string(text))
	}
	_, _ = w.CreateFormFile("file", p.File+"."+strings.TrimPrefix(ext, "."))
	f := &form{contentType: w.FormDataContentType(), head: bytes.Clone(buffer.Bytes()), source: r, size: -1}
	buffer.Reset()
	_ = w.Close()
	f.tail = bytes.Clone(buffer.Bytes())
	return f, f.measure()
}

// measure finds out how long the source is, and whether it can be read again.
func (f *form) measure() error {
	s, ok := f.source.(io.Seeker)
	if !ok {
		return nil
	}
	start, err := s.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil //nolint:nilerr // A pipe has Seek, too, and cannot seek.
	}
	end, err := s.Seek(0, io.SeekEnd)
	if err != nil {
		return nil //nolint:nilerr // As above.
	}
	if _, err := s.Seek(start, io.SeekStart); err != nil {
		return fmt.Errorf("plantdb: rewind the source of an upload: %w", err)
	}
	f.seeker, f.start, f.size = s, start, end-start
	if file, ok := f.source.(*os.File); ok {
		f.stat, _ = file.Stat()
	}
	return nil
}

func (f *form) length() int64 {
	if f.size < 0 {
		return -1
	}
	return int64(len(f.head)) + f.size + int64(len(f.tail))
}

func (f *form) getBody() func() (io.ReadCloser, error) {
	if f.seeker == nil {
		return nil
	}
	return f.open
}

func (f *form) open() (io.ReadCloser, error) {
	content, err := f.again()
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(f.head), content, bytes.NewReader(f.tail))), nil
}

// again returns the content from its beginning, which a source that cannot seek
// has only once.
func (f *form) again() (*source, error) {
	if f.opened {
		if f.seeker == nil {
			return nil, fmt.Errorf("%w: it can be read once only", errSource)
		}
		if _, err := f.seeker.Seek(f.start, io.SeekStart); err != nil {
			return nil, fmt.Errorf("%w: %w", errSource, err)
		}
	}
	f.opened = true
	return &source{form: f}, nil
}

// source reads what is uploaded, and ends without an error only if that is what
// it was when the upload began: the end of the form is then not sent, and the
// server keeps nothing.
type source struct {
	form *form
	read int64
}

// Read implements io.Reader.
func (s *source) Read(b []byte) (int, error) {
	n, err := s.form.source.Read(b)
	s.read += int64(n)
	switch {
	case s.form.size >= 0 && s.read > s.form.size:
		return 0, s.changed("it grew")
	case err == nil, !errors.Is(err, io.EOF):
		if err != nil {
			err = fmt.Errorf("%w: %w", errSource, err)
		}
		return n, err
	case s.form.size >= 0 && s.read < s.form.size:
		return n, s.changed("it was cut short")
	}
	if file, ok := s.form.source.(*os.File); ok && s.form.stat != nil {
		if now, err := file.Stat(); err == nil && (now.Size() != s.form.stat.Size() || !now.ModTime().Equal(s.form.stat.ModTime())) {
			return n, s.changed("it was written")
		}
	}
	return n, io.EOF
}

func (s *source) changed(how string) error {
	return &sourceChangedError{how}
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
