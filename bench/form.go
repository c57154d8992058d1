package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
)

// form is a multipart upload without the bytes of its file, which come between
// head and tail.
type form struct {
	head, tail  []byte
	contentType string
}

// newForm returns the form of a file with that extension.
func newForm(ext string, metadata object) form {
	var text bytes.Buffer
	w := multipart.NewWriter(&text)
	document, err := json.Marshal(metadata)
	for _, f := range [...]struct{ name, value string }{{"ext", ext}, {"metadata", string(document)}} {
		if err == nil {
			err = w.WriteField(f.name, f.value)
		}
	}
	if err == nil {
		_, err = w.CreateFormFile("file", "file"+ext)
	}
	head := bytes.Clone(text.Bytes())
	text.Reset()
	if err == nil {
		err = w.Close()
	}
	if err != nil { // nothing here can: plain values into memory
		panic(err)
	}
	return form{head, text.Bytes(), w.FormDataContentType()}
}

// upload sends a file into the fileset images of a scan.
func (c *caller) upload(ctx context.Context, scan, id string, f form, content []byte) error {
	return c.uploadFrom(ctx, scan, id, f, bytes.NewReader(content), int64(len(content)))
}

// uploadFrom sends size bytes of a reader.
func (c *caller) uploadFrom(ctx context.Context, scan, id string, f form, content io.Reader, size int64) error {
	_, err := c.call(ctx, request{
		method: http.MethodPost, path: fmt.Sprintf("%s/files/%s/images/%s", api, scan, id), contentType: f.contentType,
		body: io.MultiReader(bytes.NewReader(f.head), content, bytes.NewReader(f.tail)),
		size: int64(len(f.head)) + size + int64(len(f.tail)),
	})
	return err
}
