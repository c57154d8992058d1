package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	plantdbapi "github.com/romi/plantdb-go/openapi/clients/go"
)

// copyBuffer is for large files: fewer calls of the system.
const copyBuffer = 256 << 10

// Progress says how far a download has come.
type Progress struct {
	// Bytes is how many of them were written.
	Bytes int64
	// ETag names the content that they are part of; "" if the server gave none.
	ETag string
}

// Download writes the bytes of a file to w. A connection that breaks is taken up
// where it broke; should the file be replaced meanwhile, that is ErrChanged, and
// what w holds is part of a file that is no more.
//
// With an error, Progress says what has arrived; [Client.ResumeDownload] goes
// on from there, in another process if need be.
func (c *Client) Download(ctx context.Context, p Path, w io.Writer) (Progress, error) {
	return c.ResumeDownload(ctx, p, w, Progress{})
}

// ResumeDownload is Download from where another one ended.
func (c *Client) ResumeDownload(ctx context.Context, p Path, w io.Writer, from Progress) (Progress, error) {
	if err := p.checkFile("download"); err != nil {
		return from, err
	}
	return c.fetch(ctx, w, from, func(edit plantdbapi.RequestEditorFn) (*http.Response, error) {
		return c.api.GetFile(ctx, p.Scan, p.Fileset, p.File, nil, edit)
	})
}

// DownloadFile downloads into the file of that name, which is there whole or
// not at all: the bytes go into one beside it first.
func (c *Client) DownloadFile(ctx context.Context, p Path, name string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".plantdb-*")
	if err != nil {
		return fmt.Errorf("plantdb: download %s: %w", p, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = c.Download(ctx, p, f); err != nil {
		return err
	}
	if err = errors.Join(f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("plantdb: download %s: %w", p, err)
	}
	return nil
}

// Image writes a JPEG or PNG of an image to w: size is "thumb", "large", "orig"
// or the pixels of its longer side.
func (c *Client) Image(ctx context.Context, p Path, size string, w io.Writer) (Progress, error) {
	if err := p.check(); err != nil {
		return Progress{}, err
	}
	return c.fetch(ctx, w, Progress{}, func(edit plantdbapi.RequestEditorFn) (*http.Response, error) {
		return c.api.GetImage(ctx, p.Scan, p.Fileset, p.File, &plantdbapi.GetImageParams{Size: opt(size)}, edit)
	})
}

// Archive writes all files of a scan to w, as one ZIP file.
func (c *Client) Archive(ctx context.Context, scan string, w io.Writer) (Progress, error) {
	if err := (Path{Scan: scan}).check(); err != nil {
		return Progress{}, err
	}
	return c.fetch(ctx, w, Progress{}, func(edit plantdbapi.RequestEditorFn) (*http.Response, error) {
		return c.api.GetArchive(ctx, scan, nil, edit)
	})
}

// fetch gets bytes and, where the connection breaks, the rest of them.
func (c *Client) fetch(ctx context.Context, w io.Writer, at Progress, get func(plantdbapi.RequestEditorFn) (*http.Response, error)) (Progress, error) {
	buffer := make([]byte, copyBuffer)
	for attempt := 0; ; attempt++ {
		before := at.Bytes
		resp, err := get(func(_ context.Context, req *http.Request) error {
			// Compressed, parts would not be parts of the file.
			req.Header.Set("Accept-Encoding", "identity")
			if at.Bytes > 0 {
				req.Header.Set("Range", "bytes="+strconv.FormatInt(at.Bytes, 10)+"-")
				req.Header.Set("If-Range", at.ETag)
			}
			return nil
		})
		if err != nil {
			return at, err
		}
		complete, err := receive(resp, w, &at, buffer)
		var broken *brokenError
		if complete || !errors.As(err, &broken) {
			return at, err
		}
		if at.Bytes > before {
			attempt = 0 // it gets on
		}
		wait, ok := c.retry.pause(ctx, attempt, 0)
		if !ok || !resumable(at) {
			return at, failed(resp.Request, broken.err)
		}
		if err := sleep(ctx, wait); err != nil {
			return at, failed(resp.Request, err)
		}
	}
}

// resumable says whether the rest can be asked for: a strong ETag is needed.
func resumable(at Progress) bool { return at.Bytes == 0 || strings.HasPrefix(at.ETag, `"`) }

// brokenError is a connection that broke.
type brokenError struct{ err error }

// Error implements error.
func (e *brokenError) Error() string { return e.err.Error() }

// receive copies an answer to w; complete says that it was the last piece.
func receive(resp *http.Response, w io.Writer, at *Progress, buffer []byte) (complete bool, err error) {
	etag := resp.Header.Get("ETag")
	switch resp.StatusCode {
	case http.StatusOK:
		if at.Bytes > 0 {
			abandon(resp)
			return false, replaced(resp, at.Bytes)
		}
	case http.StatusPartialContent:
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), "bytes "+strconv.FormatInt(at.Bytes, 10)+"-") || (etag != "" && etag != at.ETag) {
			abandon(resp)
			return false, replaced(resp, at.Bytes)
		}
	case http.StatusRequestedRangeNotSatisfiable:
		if at.Bytes > 0 && resp.Header.Get("Content-Range") == "bytes */"+strconv.FormatInt(at.Bytes, 10) {
			abandon(resp)
			return true, nil // all of it is there already
		}
		return false, refusal(resp)
	default:
		return false, refusal(resp)
	}
	at.ETag = etag
	defer resp.Body.Close() // It was only read.
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, body{resp.Body}, buffer)
	at.Bytes += n
	var broken *brokenError
	switch {
	case err == nil && resp.ContentLength >= 0 && n < resp.ContentLength:
		return false, &brokenError{io.ErrUnexpectedEOF}
	case err != nil && !errors.As(err, &broken):
		return false, fmt.Errorf("plantdb: %s: write what arrived: %w", opOf(resp.Request), err)
	}
	return err == nil, err
}

// body tells failures of the connection from those of the writer.
type body struct{ r io.Reader }

// Read implements io.Reader.
func (b body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &brokenError{err}
	}
	return n, err
}

func replaced(resp *http.Response, have int64) error {
	return &Error{
		Op: opOf(resp.Request), Status: resp.StatusCode, kinds: []error{ErrChanged},
		Message: fmt.Sprintf("the file was replaced on the server after %d bytes of it had arrived", have),
	}
}

// abandon closes an answer whose rest is not worth reading.
func abandon(resp *http.Response) { _ = resp.Body.Close() }
