package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/formdata"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/observe"
	"github.com/romi/plantdb-go/internal/scan"
	"github.com/romi/plantdb-go/internal/storedzip"
)

var rateArchive = perMinute{5, 600}

type archiveInput struct {
	ScanPath
	Filesets []string `query:"fileset,explode" doc:"Only this fileset, with its metadata and what belongs to none. May come more than once." example:"images"`
	Parts
}

func (s *server) registerArchive() {
	responses := fileResponses()
	responses["200"] = &huma.Response{Description: "The archive.", Content: map[string]*huma.MediaType{
		"application/zip": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
	}, Headers: versionHeaders()}
	register(s, route{
		id: "get-archive", method: http.MethodGet, path: "/assets/archive/{scan_id}", tag: tagAssets, security: optional, needs: toRead, rate: rateArchive,
		faults:  []error{scan.ErrUnknownFileset},
		summary: "Download a scan as a ZIP file",
		doc: "All files of the scan but previews, as they are, under names relative to it, and " + scan.ManifestName +
			", which `sha256sum -c` checks. Its length is known from the first byte, and a download that broke goes on by Range and If-Match or " +
			"If-Range as long as no file of the scan has changed. A file that changes while it is sent ends the connection before the end of the archive.",
		errors: []int{http.StatusNotFound, http.StatusForbidden, http.StatusRequestEntityTooLarge}, responses: responses,
	}, s.getArchive)
	register(s, route{
		id: "create-scan-from-archive", method: http.MethodPost, path: "/assets/archive/{scan_id}", tag: tagAssets, security: required, needs: toCreate, rate: rateArchive,
		faults: []error{
			errDatasetExists, errNoArchive, errArchiveType, errArchiveName, errBrokenUpload, errDigest, errDigestMismatch, fsdb.ErrArchive, fsdb.ErrArchiveStructure, fsdb.ErrArchivePath,
			fsdb.ErrArchiveTooLarge, scan.ErrQuota, fsdb.ErrName, fsdb.ErrReserved, scan.ErrMetadata, scan.ErrUnknownTimelapse, scan.ErrTimelapseExists,
		},
		summary: "Upload a scan as a ZIP file",
		doc: "Makes a new scan of an archive such as the download gives: files.json and metadata, at its top or in one directory, and whatever else the " +
			"scan holds. The archive is checked whole (names, sizes, checksums) before anything of it can be seen: there is the scan, or nothing. " +
			"It belongs to you, whoever owned it before; it goes into the timelapse that its metadata names, which is made if it is not there. " +
			"Left out are hidden files, previews and the manifest. Its metadata are taken as they are: what the check of the MIAPPE sections would refuse " +
			"is told in warnings.",
		errors: []int{http.StatusForbidden, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusLocked, http.StatusInsufficientStorage},
	}, s.createScanFromArchive)
}

var (
	errDatasetExists = fault.New(fault.Invalid, "scan_exists", "Dataset `plant_42` already exists!")
	errNoArchive     = fault.New(fault.Invalid, "no_file", "No ZIP file provided!")
	errArchiveType   = fault.New(fault.Invalid, "archive_type", "Invalid MIME type 'text/plain'. Expected 'application/zip'.")
	errArchiveName   = fault.New(fault.Invalid, "archive_name", "Invalid file extension for 'scan.tar'. Expected '.zip'.")
)

// archivePart is a form whose zip_file is read as it comes.
type archivePart struct{ filePart }

// Resolve takes the form away from Huma. That there is none is said later, for
// more is wrong where the scan exists.
func (p *archivePart) Resolve(ctx huma.Context) []error {
	errs := p.filePart.Resolve(ctx)
	return slices.DeleteFunc(errs, func(err error) bool { return errors.Is(err, errNoFile) })
}

// document describes the form.
func (*archivePart) document(huma.Registry, string) *huma.RequestBody {
	return &huma.RequestBody{
		Required: true,
		Content: map[string]*huma.MediaType{"multipart/form-data": {
			Schema: &huma.Schema{
				Type: huma.TypeObject, Required: []string{"zip_file"},
				Properties: map[string]*huma.Schema{
					"zip_file": {Type: huma.TypeString, Format: "binary", Description: "The archive, under a name that ends in .zip."},
				},
			},
			Encoding: map[string]*huma.Encoding{"zip_file": {ContentType: "application/zip"}},
		}},
	}
}

// receive stages the archive of the form.
func (p *archivePart) receive(ctx context.Context, up *scan.ArchiveUpload) error {
	if p.reader == nil {
		return errNoArchive
	}
	taken := false
	for {
		part, err := nextPart(p.reader)
		if errors.Is(err, io.EOF) {
			if !taken {
				return errNoArchive
			}
			return p.end()
		}
		if err != nil {
			return err
		}
		if part.Name != "zip_file" {
			continue
		}
		if taken {
			return errInvalid.With("More than one ZIP file provided")
		}
		taken = true
		if err := checkArchivePart(part); err != nil {
			return err
		}
		if err := stage(ctx, part, up); err != nil {
			return err
		}
	}
}

// zipTypes are what clients call a ZIP file; the second one is the word of
// browsers on Windows.
var zipTypes = []string{"application/zip", "application/x-zip-compressed"}

func checkArchivePart(part *formdata.Part) error {
	if part.FileName == "" {
		return errNoArchive
	}
	mediaType, _, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(zipTypes, mediaType) {
		return errArchiveType.With("Invalid MIME type '%s'. Expected 'application/zip'.", shortened(part.Header.Get("Content-Type"), 100))
	}
	if !strings.EqualFold(filepath.Ext(part.FileName), ".zip") {
		return errArchiveName.With("Invalid file extension for '%s'. Expected '.zip'.", shortened(part.FileName, 100))
	}
	return nil
}

// unpacked says which files a scan has got.
type unpacked struct {
	Message  string   `json:"message" doc:"What was done, for people."`
	Files    []string `json:"files" doc:"Names of the scan's files, relative to it."`
	Warnings []string `json:"warnings,omitempty" doc:"What of the MIAPPE sections has a type that a change of metadata would be refused for; left out where all is well."`
}

func (s *server) createScanFromArchive(ctx context.Context, in *struct {
	ScanPath
	DigestHeaders
	Form archivePart
}) (*reply[unpacked], error) {
	up, err := s.scans.BeginArchive(ctx, in.Scan)
	if err != nil {
		return nil, datasetExists(in.Scan, err)
	}
	defer up.Discard()
	if err := up.Expect(ctx, in.Form.length); err != nil {
		return nil, err
	}
	if err := in.Form.receive(ctx, up); err != nil {
		return nil, err
	}
	files, err := up.Commit(ctx)
	return replyOf(unpacked{"ZIP file processed successfully", files, up.BiologyFaults()}, datasetExists(in.Scan, err))
}

// datasetExists gives the failure its upstream form.
func datasetExists(name string, err error) error {
	if errors.Is(err, scan.ErrScanExists) {
		return errDatasetExists.With("Dataset `%s` already exists!", name)
	}
	return err
}

func (s *server) getArchive(ctx context.Context, in *archiveInput) (*download, error) {
	a, err := s.archives.Open(ctx, in.Scan, in.Filesets)
	if errors.Is(err, scan.ErrUnknownScan) {
		return nil, newProblem(http.StatusNotFound, "unknown_scan", fmt.Sprintf("Could not find a scan named `%s`!", in.Scan))
	}
	if err != nil {
		return nil, err
	}
	return &download{func(ctx huma.Context) {
		defer s.close(ctx.Context(), a)
		r, w := humago.Unwrap(ctx)
		fileHeaders(w.Header(), a.Name, a.Version)
		w.Header().Set("Content-Type", "application/zip")
		content := &archiveContent{ctx: ctx.Context(), archive: a}
		// No time of modification: a file that was removed leaves no trace in it.
		serveContent(&archiveWriter{rangeErrors{ResponseWriter: steadily(w)}, content}, r, time.Time{}, content)
		if errors.Is(content.err, storedzip.ErrChanged) {
			// Fewer bytes went out than were announced, and so net/http closes
			// the connection: nobody takes the part for the whole.
			s.log.WarnContext(ctx.Context(), "scan changed while it was archived", slog.String("request_id", observe.RequestID(ctx.Context())),
				slog.String("scan", in.Scan), slog.Any("err", content.err))
		}
	}}, nil
}

func (s *server) close(ctx context.Context, a *scan.Archive) {
	if err := a.Close(ctx); err != nil { // it was sent all the same
		s.log.WarnContext(ctx, "close of archive failed", slog.String("request_id", observe.RequestID(ctx)), slog.Any("err", err))
	}
}

// archiveContent is an archive as http.ServeContent takes it.
type archiveContent struct {
	ctx     context.Context //nolint:containedctx // ServeContent hands none on.
	archive *scan.Archive
	at      int64
	err     error // that ended the reading
}

// Seek implements io.Seeker.
func (c *archiveContent) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += c.archive.Size()
	}
	if offset < 0 {
		return c.at, fmt.Errorf("seek in archive: to %d", offset)
	}
	c.at = offset
	return offset, nil
}

// Read implements io.Reader, for answers of several ranges.
func (c *archiveContent) Read(p []byte) (int, error) {
	n := min(int64(len(p)), c.archive.Size()-c.at)
	if n <= 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return int(n), c.writeTo(&sliceWriter{p}, n)
}

// writeTo writes the next n bytes.
func (c *archiveContent) writeTo(w io.Writer, n int64) error {
	c.err = c.archive.WriteRange(c.ctx, w, c.at, n)
	c.at += n
	return c.err
}

// sliceWriter fills a slice.
type sliceWriter struct{ rest []byte }

// Write implements io.Writer.
func (w *sliceWriter) Write(p []byte) (int, error) {
	n := copy(w.rest, p)
	w.rest = w.rest[n:]
	return n, nil
}

// archiveWriter writes an archive file by file, which the connection takes
// without memory of ours, where http.ServeContent would copy it.
type archiveWriter struct {
	rangeErrors
	content *archiveContent
}

// ReadFrom implements io.ReaderFrom.
func (w *archiveWriter) ReadFrom(r io.Reader) (int64, error) {
	part, ok := r.(*io.LimitedReader)
	if !ok || part.R != w.content {
		return w.rangeErrors.ReadFrom(r)
	}
	if err := w.content.writeTo(w.ResponseWriter, part.N); err != nil {
		return 0, err
	}
	return part.N, nil
}
