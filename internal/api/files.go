package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/romi/plantdb-go/internal/formdata"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/scan"
)

const tagFiles = "files"

// maxField bounds a text field of a multipart form, the metadata of a file.
const maxField = 1 << 20

// maxAround is ample for what a form has around its file.
const maxAround = 16 << 20

// fits refuses, before any byte of it is taken, what is too long for a file with so
// much around it.
func (s *server) fits(length, around int64) error {
	if limit := s.scans.MaxFileBytes(); length-around > limit {
		return errTooLarge.With("the content is larger than %d bytes", limit)
	}
	return nil
}

// uploadIdle bounds how long an upload may stand still before its connection
// is closed; as long as bytes come, it may take any time.
const uploadIdle = 60 * time.Second

// filePart is a multipart form that is read as it comes, once the service has
// said that the file may be written.
type filePart struct {
	reader  *formdata.Reader
	digests digests // of the body
	length  int64   // of the whole form, -1 where it was not said
}

// Resolve takes the form away from Huma, which would read it into memory.
func (f *filePart) Resolve(ctx huma.Context) []error {
	r, w := humago.Unwrap(ctx)
	var err error
	if f.digests, err = digestsOf(r.Header); err != nil {
		return []error{err}
	}
	// The server's deadline is for the head of a request and short bodies.
	f.length = r.ContentLength
	patient := &patientBody{ReadCloser: r.Body, control: http.NewResponseController(w)}
	f.reader, err = formdata.New(f.digests.reader(patient), r.Header.Get("Content-Type"))
	if err != nil {
		return []error{errNoFile}
	}
	return nil
}

// maxEpilogue bounds what may follow the end of a form.
const maxEpilogue = 64 << 10

// end reads what follows the form and says whether the body is the announced one.
func (f *filePart) end() error {
	n, err := io.Copy(io.Discard, io.LimitReader(f.reader.Rest(), maxEpilogue))
	if err != nil {
		return brokenUpload(err)
	}
	if n == maxEpilogue {
		return errInvalid.With("More than %d bytes follow the form.", maxEpilogue)
	}
	return f.digests.check()
}

// stager takes the bytes of an upload.
type stager interface {
	Stage(ctx context.Context, content io.Reader) error
}

// stage takes the bytes of a part, which may have digests of its own.
func stage(ctx context.Context, part *formdata.Part, up stager) error {
	digests, err := digestsOf(http.Header(part.Header))
	if err != nil {
		return err
	}
	if err := up.Stage(ctx, digests.reader(&sourceReader{part})); err != nil {
		return err
	}
	return digests.check()
}

// patientBody moves the read deadline on with every read.
type patientBody struct {
	io.ReadCloser
	control *http.ResponseController
}

// Read implements io.Reader.
func (b *patientBody) Read(p []byte) (int, error) {
	// A connection without deadlines, as in some tests, just has none.
	_ = b.control.SetReadDeadline(time.Now().Add(uploadIdle))
	return b.ReadCloser.Read(p)
}

// form is what has come of a multipart upload.
type form struct {
	file          bool
	ext, metadata string
}

// receive reads the parts in whatever order they come.
func (f *filePart) receive(ctx context.Context, up stager) (got form, err error) {
	for {
		part, err := nextPart(f.reader)
		if errors.Is(err, io.EOF) {
			return got, f.end()
		}
		if err != nil {
			return got, err
		}
		switch part.Name {
		case "file":
			if got.file {
				return got, errInvalid.With("More than one file provided")
			}
			got.file = true
			err = stage(ctx, part, up)
		case "ext":
			got.ext, err = field(part)
		case "metadata":
			got.metadata, err = field(part)
		}
		if err != nil {
			return got, err
		}
	}
}

// sourceError marks a failure of the connection, not of the disk.
type sourceError struct{ error }

// sourceReader tells errors of reading from those of writing.
type sourceReader struct{ r io.Reader }

// Read implements io.Reader.
func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = sourceError{brokenUpload(err)}
	}
	return n, err
}

// Unwrap returns the problem to answer with.
func (e sourceError) Unwrap() error { return e.error }

func brokenUpload(err error) error {
	return errBrokenUpload.With("The upload ended before it was complete: %s", reason(err))
}

func reason(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "the connection was closed"
	}
	return "the form could not be read"
}

func field(part *formdata.Part) (string, error) {
	value, err := io.ReadAll(io.LimitReader(part, maxField+1))
	if err != nil {
		return "", brokenUpload(err)
	}
	if len(value) > maxField {
		return "", errTooLarge.With("The field %q is larger than %d bytes.", shortened(part.Name, 50), maxField)
	}
	return string(value), nil
}

// check refuses a form that lacks something, in upstream's words.
func (f form) check() error {
	switch {
	case !f.file:
		return errNoFile
	case strings.TrimSpace(f.ext) == "":
		return errNoExtension
	}
	return nil
}

// object is the metadata as JSON; clients send that, or a Python dict literal.
func (f form) object() (json.RawMessage, error) {
	text := strings.TrimSpace(f.metadata)
	if text == "" {
		return nil, nil
	}
	if json.Valid([]byte(text)) {
		return json.RawMessage(text), nil
	}
	if converted, ok := pythonLiteral(text); ok {
		return converted, nil
	}
	return nil, broken([]byte(text), errFormMetadata)
}

func (s *server) registerFiles() {
	register(s, route{
		id: "get-file", method: http.MethodGet, path: "/files/{scan_id}/{fileset_id}/{file_id}", tag: tagFiles,
		faults:   []error{scan.ErrChanged},
		security: optional, needs: toRead, rate: rateDownload, summary: "Download a file",
		doc:       "The bytes of a file. " + aboutParts,
		errors:    []int{http.StatusNotFound, http.StatusForbidden},
		responses: fileResponses(),
	}, func(ctx context.Context, in *struct {
		FilePath
		Parts
	}) (*download, error) {
		return s.download(s.scans.OpenFile(ctx, in.Scan, in.Fileset, in.File))
	})
	register(s, route{
		id: "create-file", method: http.MethodPost, path: "/files/{scan_id}/{fileset_id}/{file_id}", tag: tagFiles,
		faults: []error{
			errNoFile, errNoExtension, errFormMetadata, errBrokenUpload, errDigest, errDigestMismatch, scan.ErrQuota, scan.ErrExtension, scan.ErrEmptyFile, scan.ErrMetadata, scan.ErrFileExists,
			fsdb.ErrName, fsdb.ErrReserved,
		},
		security: required, needs: toWrite, status: http.StatusCreated, summary: "Upload a file",
		doc: "Takes a file into a fileset. Once the answer is 201, the file survives a power cut. After an error answer nothing of it is there; without any answer it is there whole or not at all, and sending it again is safe: 409 then says that it had come through.",
		errors: []int{http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge,
			http.StatusLocked, http.StatusInsufficientStorage},
	}, s.createFile)
	register(s, route{
		id: "get-file-metadata", method: http.MethodGet, path: "/files/{scan_id}/{fileset_id}/{file_id}/metadata", tag: tagFiles,
		security: optional, needs: toRead, rate: rateParts, summary: "Read the metadata of a file",
		doc:    "All of it, or the value of one key; a key that is not there leaves the answer empty.",
		errors: []int{http.StatusNotFound, http.StatusForbidden}, responses: orNotModified(),
	}, func(ctx context.Context, in *struct {
		FilePath
		KeyQuery
		IfNoneMatch
	}) (*tagged[metadataBody], error) {
		return in.of(in.IfNoneMatch)(s.scans.FileMetadata(ctx, in.Scan, in.Fileset, in.File))
	})
	register(s, route{
		id: "update-file-metadata", method: http.MethodPost, path: "/files/{scan_id}/{fileset_id}/{file_id}/metadata", tag: tagFiles,
		faults:   []error{errMissingMetadata, scan.ErrMetadata, scan.ErrPrecondition, errIfMatch},
		security: required, needs: toWrite, rate: ratePart, summary: "Change the metadata of a file",
		doc: "Sets keys and returns all metadata. " + aboutUpdate, errors: writeErrors,
	}, func(ctx context.Context, in *struct {
		FilePath
		IfMatch
		Payload Strict[metadataUpdate]
	}) (*tagged[metadataBody], error) {
		if len(in.Payload.Value.Metadata) == 0 {
			return nil, errMissingMetadata.With("Missing metadata in request body")
		}
		u, err := in.Payload.Value.update()
		if err != nil {
			return nil, err
		}
		u.Match = in.match
		return KeyQuery{}.of(IfNoneMatch{})(s.scans.SetFileMetadata(ctx, in.Scan, in.Fileset, in.File, u))
	})
	register(s, route{
		id: "patch-file-metadata", method: http.MethodPatch, path: "/files/{scan_id}/{fileset_id}/{file_id}/metadata", tag: tagFiles, security: required, needs: toWrite, rate: ratePart,
		faults:  []error{scan.ErrMetadata, scan.ErrPrecondition, errIfMatch},
		summary: "Patch the metadata of a file", doc: aboutPatch, errors: writeErrors,
	}, func(ctx context.Context, in *struct {
		FilePath
		IfMatch
		Payload Strict[Object]
	}) (*tagged[metadataBody], error) {
		return KeyQuery{}.of(IfNoneMatch{})(s.scans.SetFileMetadata(ctx, in.Scan, in.Fileset, in.File, in.patch(in.Payload.Value)))
	})
}

func (s *server) createFile(ctx context.Context, in *struct {
	FilePath
	DigestHeaders
	Form filePart
}) (*reply[created], error) {
	up, err := s.scans.BeginUpload(ctx, in.Scan, in.Fileset, in.File)
	if err != nil {
		return nil, err
	}
	defer up.Discard()
	if err := s.fits(in.Form.length, maxAround); err != nil {
		return nil, err
	}
	if err := up.Expect(ctx, in.Form.length); err != nil {
		return nil, err
	}
	got, err := in.Form.receive(ctx, up)
	if err != nil {
		return nil, err
	}
	if err := got.check(); err != nil {
		return nil, err
	}
	metadata, err := got.object()
	if err != nil {
		return nil, err
	}
	err = up.Commit(ctx, got.ext, metadata)
	return replyOf(created{fmt.Sprintf("File created and written successfully in fileset '%s'.", in.Fileset), in.File}, err)
}

// document describes the form.
func (*filePart) document(huma.Registry, string) *huma.RequestBody {
	return &huma.RequestBody{
		Required: true,
		Content: map[string]*huma.MediaType{"multipart/form-data": {Schema: &huma.Schema{
			Type: huma.TypeObject, Required: []string{"file", "ext"},
			Properties: map[string]*huma.Schema{
				"file": {Type: huma.TypeString, Format: "binary", Description: "The bytes."},
				"ext": {
					Type: huma.TypeString, Examples: []any{"jpg"},
					Description: "Extension of the file, with or without dot: " + strings.Join(scan.DefaultConfig().Extensions, ", "),
				},
				"metadata": {Type: huma.TypeString, Description: "Metadata of the file: a JSON object as text.", Examples: []any{`{"channel": "rgb"}`}},
			},
		}}},
	}
}
