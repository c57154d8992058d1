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

const (
	// eager is the size up to which something is sent without asking first
	// whether the server would take it.
	eager = 1 << 20
	// largeFile is the size above which a file goes by tus.
	largeFile = 32 << 20
	// defaultPiece is how much of a file one request sends. The server syncs
	// each before it says what it has, and keeps what came of one that broke.
	defaultPiece = 256 << 20
)

// UploadProgress says how far an upload is.
type UploadProgress struct {
	// Sent is how many bytes were given to the connection. It goes back when
	// some have to be sent again.
	Sent int64
	// Kept is how many of them the server has for good.
	Kept int64
	// Size is how many there are, or -1 while nobody knows.
	Size int64
}

// UploadOption changes how Upload, UploadFile and ResumeUpload send.
type UploadOption func(*uploadOptions)

type uploadOptions struct {
	piece    int64
	progress func(UploadProgress)
}

// OnProgress has fn called as bytes are sent and kept, by one goroutine at a
// time, which waits for it.
func OnProgress(fn func(UploadProgress)) UploadOption {
	return func(o *uploadOptions) { o.progress = fn }
}

// InPieces has files that are larger sent in pieces of this many bytes. If it is
// not said, files of more than 32 MiB go in pieces of 256 MiB. Less suits proxies
// that bound a request; 0 sends each file by one request, which begins anew when
// the connection breaks.
func InPieces(size int64) UploadOption { return func(o *uploadOptions) { o.piece = size } }

func optionsOf(options []UploadOption) uploadOptions {
	o := uploadOptions{piece: defaultPiece}
	for _, option := range options {
		option(&o)
	}
	return o
}

// Upload sends r as the file that p names, with metadata or nil; ext is its
// extension, with or without the dot. It streams: no more than a buffer is held
// in memory.
//
// When it returns nil, the file survives a power cut of the server; when it
// returns an error, nothing of it is there, unless the error is ErrUnreachable:
// then the answer may have been lost.
//
// If r is an io.Seeker, such as a file, it is read from where it stands and sent
// again where that helps, after a refresh of the token or a broken connection.
// What is large, see [InPieces], goes on from where the connection broke, and has
// the right SHA-256 at the server before the file is made; a server without
// that, such as the Python one, is sent it whole. Something that grows, shrinks
// or, being an [os.File], is written while it is read is ErrChanged.
//
// To go on in another process there are [Client.BeginUpload] and
// [Client.ResumeUpload].
func (c *Client) Upload(ctx context.Context, p Path, ext string, r io.Reader, metadata map[string]any, options ...UploadOption) error {
	if err := p.checkFile("upload"); err != nil {
		return err
	}
	o := optionsOf(options)
	up := &sending{c: c, piece: o.piece, progress: o.progress}
	content, err := newContent(r, up.read)
	if err != nil {
		return err
	}
	up.content = content
	if content.seeker != nil && o.piece > 0 && content.size > min(o.piece, largeFile) {
		err := up.whole(ctx, p, ext, metadata)
		if !errors.Is(err, errOneRequest) {
			return err
		}
	}
	f, err := newForm(p, ext, content, metadata)
	if err != nil {
		return err
	}
	sending, again := repeatable(ctx)
	err = done(c.api.CreateFileWithBody(sending, p.Scan, p.Fileset, p.File, nil, f.contentType, http.NoBody, func(_ context.Context, req *http.Request) error {
		req.ContentLength, req.GetBody = f.length(), f.getBody()
		if content.size < 0 || content.size > eager {
			req.Header.Set("Expect", "100-continue")
		}
		req.Body, err = f.open()
		return err
	}))
	if err = again.settle(err, func() bool { return c.hasContent(ctx, p, content) }); err == nil {
		up.kept(content.size)
	}
	return err
}

// UploadFile uploads the file of that name, with its extension.
func (c *Client) UploadFile(ctx context.Context, p Path, name string, metadata map[string]any, options ...UploadOption) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("plantdb: upload %s: %w", p, err)
	}
	defer f.Close() // It was only read.
	return c.Upload(ctx, p, filepath.Ext(name), f, metadata, options...)
}

// form is a multipart form around some content.
type form struct {
	contentType string
	head, tail  []byte
	content     *content
}

func newForm(p Path, ext string, content *content, metadata map[string]any) (*form, error) {
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
	f := &form{contentType: w.FormDataContentType(), head: bytes.Clone(buffer.Bytes()), content: content}
	buffer.Reset()
	_ = w.Close()
	f.tail = bytes.Clone(buffer.Bytes())
	return f, nil
}

func (f *form) length() int64 {
	if f.content.size < 0 {
		return -1
	}
	return int64(len(f.head)) + f.content.size + int64(len(f.tail))
}

func (f *form) getBody() func() (io.ReadCloser, error) {
	if f.content.seeker == nil {
		return nil
	}
	return f.open
}

func (f *form) open() (io.ReadCloser, error) {
	content, err := f.content.from(0, f.content.size, nil)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(f.head), content, bytes.NewReader(f.tail))), nil
}
