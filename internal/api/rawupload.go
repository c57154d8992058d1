package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/scan"
)

// The refusals of an upload by headers, in upstream's words where it has some.
var (
	errRawHeaders = fault.New(fault.Invalid, "missing_headers", "Missing required header(s): X-File-Path")
	errRawPath    = fault.New(fault.Invalid, "empty_file_path", "Header 'X-File-Path' must contain a non\u2011empty value")
	errRawLength  = fault.New(fault.Invalid, "empty_file", "Header 'Content-Length' must be > 0")
	errRawChunk   = fault.New(fault.Invalid, "invalid_chunk_size", "Header 'X-Chunk-Size' must be an integer")
	errRawPieces  = fault.New(fault.Invalid, "pieces", "The file comes in pieces, of which only the last would stay: send it as one body, without chunk_size.")
	errRawNoFile  = fault.New(fault.Invalid, "no_file", "The body is {} and not the file: request_dataset_file_upload of PlantDB 0.15 to 0.17 never sends it. Use create_file.")
	errRawShort   = fault.New(fault.Invalid, "broken_upload", "Received 10 bytes, expected 20 bytes")
)

// RawHeaders say what comes, as 0.14 to 0.17 say it. They are exported for Huma.
type RawHeaders struct {
	Disposition string `header:"Content-Disposition" minLength:"1" doc:"Has to be there, and is not read." example:"attachment; filename=notes.txt"`
	Path        string `header:"X-File-Path" minLength:"1" doc:"Where in the scan the file goes: at most eight names by slashes; not files.json, metadata, webcache or a fileset." example:"notes.txt"`
	ChunkSize   string `header:"X-Chunk-Size" doc:"Bytes that are taken at once; the server takes what suits it." example:"65536"`
}

// RawPath is a ScanPath by the name that GET gives the same place, for a document
// may not have two names for it. What is no scan id is refused and not taken for
// another operation's.
type RawPath struct {
	Scan string `path:"path" doc:"Scan id." example:"real_plant"`
}

// Resolve implements huma.Resolver.
func (p *RawPath) Resolve(huma.Context) []error { return pathNames(&p.Scan) }

func (p *RawPath) names() []string { return []string{p.Scan} }

// rawBody is a file that is read as it comes.
type rawBody struct {
	json    bool
	named   bool  // there is a path, be it empty
	length  int64 // -1 where it was not said
	content io.Reader
	digests digests // of the body
}

// Resolve takes the body away from Huma.
func (b *rawBody) Resolve(ctx huma.Context) []error {
	r, w := humago.Unwrap(ctx)
	r.Body = &patientBody{ReadCloser: r.Body, control: http.NewResponseController(w)}
	b.json, b.length = isJSON(r.Header.Get("Content-Type")), r.ContentLength
	b.named = len(r.Header.Values("X-File-Path")) > 0
	var err error
	if b.digests, err = digestsOf(r.Header); err != nil {
		return []error{err}
	}
	b.content = b.digests.reader(&countingReader{from: r.Body, want: r.ContentLength})
	return nil
}

// document describes the body.
func (*rawBody) document(huma.Registry, string) *huma.RequestBody {
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/octet-stream": {
		Schema: &huma.Schema{Type: huma.TypeString, Format: "binary", Description: "The bytes of the file."},
	}}}
}

// countingReader says how much came of a body that broke off.
type countingReader struct {
	from      io.Reader
	want, got int64
}

// Read implements io.Reader.
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.got += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		err = sourceError{errRawShort.With("Received %d bytes, expected %d bytes", c.got, c.want)}
	}
	return n, err
}

// check refuses what upstream refuses, and what would lose a file.
func (h RawHeaders) check(length int64, named bool) error {
	var missing []string
	for _, m := range []struct {
		name string
		lack bool
	}{{"Content-Disposition", h.Disposition == ""}, {"Content-Length", length < 0}, {"X-File-Path", !named}} {
		if m.lack {
			missing = append(missing, m.name)
		}
	}
	chunk, err := strconv.ParseInt(strings.TrimSpace(h.ChunkSize), 10, 64)
	switch {
	case len(missing) > 0:
		return errRawHeaders.With("Missing required header(s): %s", strings.Join(missing, ", "))
	case strings.TrimSpace(h.Path) == "":
		return errRawPath
	case length == 0:
		return errRawLength
	case h.ChunkSize != "" && err != nil:
		return errRawChunk
	case chunk < 0:
		return errRawChunk.With("Header 'X-Chunk-Size' cannot be negative")
	case chunk > 0 && length == chunk:
		return errRawPieces
	}
	return nil
}

func (s *server) registerRawUpload() {
	registerOlder(s, "create-raw-file-014", route{
		tag: tagFiles, security: required, needs: toWrite, rate: rateFileset, status: http.StatusCreated, rest: true,
		must:    []string{"Content-Disposition", "X-File-Path"},
		faults:  []error{errRawHeaders, errRawPath, errRawLength, errRawChunk, errRawPieces, errRawNoFile, errRawShort, errInvalidName, scan.ErrUnknownScan, fsdb.ErrName, fsdb.ErrReserved, fsdb.ErrFileExists, scan.ErrQuota},
		summary: "Put a file at a path of a scan",
		doc: "In place of one that lies there. It belongs to no fileset, has no metadata and no id, and is read by its path: GET /files/{scan_id}/{path}. " +
			"Once the answer is 201 it survives a power cut.",
		errors: []int{
			http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusLocked, http.StatusInsufficientStorage,
		},
	}, s.createRawFile)
}

func (s *server) createRawFile(ctx context.Context, in *struct {
	RawPath
	RawHeaders
	BodyDigests
	File rawBody
}) (*reply[message], error) {
	if err := in.check(in.File.length, in.File.named); err != nil {
		return nil, err
	}
	at := strings.TrimSpace(in.Path)
	up, err := s.scans.BeginRaw(ctx, in.Scan, at)
	if err != nil {
		return nil, err
	}
	defer up.Discard()
	content, err := in.File.file(at)
	if err != nil {
		return nil, err
	}
	if err := s.fits(in.File.length, 0); err != nil {
		return nil, err
	}
	if err := up.Expect(ctx, in.File.length); err != nil {
		return nil, err
	}
	if err := up.Stage(ctx, content); err != nil {
		return nil, err
	}
	if err := in.File.digests.check(); err != nil {
		return nil, err
	}
	return replyOf(message{fmt.Sprintf("File %s received and saved", at)}, up.CommitRaw(ctx))
}

// file is the body, unless it is what the helpers of 0.15 to 0.17 send in place
// of the file, which would be lost under it.
func (b *rawBody) file(at string) (io.Reader, error) {
	const nothing = "{}"
	if !b.json || b.length != int64(len(nothing)) || strings.EqualFold(path.Ext(at), ".json") {
		return b.content, nil
	}
	text, err := io.ReadAll(io.LimitReader(b.content, b.length))
	if err != nil {
		return nil, err
	}
	if string(text) == nothing {
		return nil, errRawNoFile
	}
	return bytes.NewReader(text), nil
}
