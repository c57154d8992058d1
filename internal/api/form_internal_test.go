package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"testing"

	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/formdata"
)

// staged keeps what it is given.
type staged struct {
	files int
	bytes.Buffer
}

func (s *staged) Stage(_ context.Context, content io.Reader) error {
	s.files++
	_, err := s.ReadFrom(content)
	return err
}

// FuzzForm: whatever is sent as an upload, the failure has a name, no more than
// one file is taken, and what is taken is what mime/multipart finds in it.
func FuzzForm(f *testing.F) {
	const contentType = `multipart/form-data; boundary=b`
	for _, text := range []string{
		"", "--b--", "--b\r\n\r\n", "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\n\r\nx\r\n--b--\r\n",
		"--b\r\nContent-Disposition: form-data; name=file\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; name=ext\r\n\r\njpg\r\n--b--",
		"--b\r\nContent-Disposition: form-data; name=file\r\n\r\n\r\n--b\r\nContent-Disposition: form-data; name=file\r\n\r\n\r\n--b--",
		"--b\r\nContent-Disposition: form-data; name=metadata\r\n\r\n{'a': 1}\r\n--b--\r\nmore",
		"--b\r\nContent-Disposition: form-data; name=file\r\nRepr-Digest: sha-256=:AAAA:\r\n\r\nx\r\n--b--",
		"--b\nContent-Disposition: form-data; name=\"fi\\\"le\"\n\nx\n--b--",
	} {
		f.Add(contentType, []byte(text))
	}
	f.Add("multipart/form-data; boundary=", []byte("----"))
	f.Add("multipart/mixed; boundary=b", []byte("--b--"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		reader, err := formdata.New(bytes.NewReader(body), contentType)
		if err != nil {
			return // answered before anything is read
		}
		var up staged
		part := filePart{reader: reader}
		got, err := part.receive(t.Context(), &up)
		if _, named := errors.AsType[*fault.Error](err); err != nil && !named {
			t.Fatalf("receive = %v, which has no name", err)
		}
		if up.files > 1 || err == nil && got.file != (up.files == 1) {
			t.Fatalf("%d files were taken, and receive = %+v, %v", up.files, got, err)
		}
		if len(got.metadata) > maxField || len(got.ext) > maxField {
			t.Fatalf("fields of %d and %d bytes were taken", len(got.metadata), len(got.ext))
		}
		if err != nil || !got.file {
			return
		}
		if want := fileOf(t, contentType, body); !bytes.Equal(up.Bytes(), want) {
			t.Fatalf("took %q, mime/multipart finds %q", up.Bytes(), want)
		}
		if _, err := got.object(); err != nil && !errors.Is(err, errFormMetadata) {
			t.Fatalf("metadata %q: %v", got.metadata, err)
		}
	})
}

// fileOf reads the whole form into memory, as net/http would.
func fileOf(t *testing.T, contentType string, body []byte) []byte {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		t.Fatal(err)
	}
	reader := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for {
		part, err := reader.NextRawPart()
		if err != nil {
			t.Fatalf("no file in a form that was taken: %v", err)
		}
		if part.FormName() == "file" {
			content, err := io.ReadAll(part)
			if err != nil {
				t.Fatal(err)
			}
			return content
		}
	}
}
