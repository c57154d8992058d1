package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/romi/plantdb-go/internal/observe"
	"github.com/romi/plantdb-go/internal/scan"
	"github.com/romi/plantdb-go/internal/storedzip"
)

var rateArchive = perMinute{5, 600}

type archiveInput struct {
	ScanPath
	Filesets []string `query:"fileset,explode" doc:"Only this fileset, with its metadata and what belongs to none. May come more than once." example:"images"`
}

func (s *server) registerArchive() {
	responses := fileResponses()
	responses["200"] = &huma.Response{Description: "The archive.", Content: map[string]*huma.MediaType{
		"application/zip": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
	}}
	register(s, route{
		id: "get-archive", method: http.MethodGet, path: "/assets/archive/{scan_id}", tag: tagAssets, security: optional, rate: rateArchive,
		summary: "Download a scan as a ZIP file",
		doc: "All files of the scan but previews, as they are, under names relative to it, and " + scan.ManifestName +
			", which `sha256sum -c` checks. Its length is known from the first byte, and a download that broke goes on by Range and If-Range " +
			"as long as no file of the scan has changed. A file that changes while it is sent ends the connection before the end of the archive.",
		errors: []int{http.StatusNotFound, http.StatusForbidden, http.StatusRequestEntityTooLarge}, responses: responses,
	}, s.getArchive)
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
		defer a.Close() // Nothing was written to it.
		r, w := humago.Unwrap(ctx)
		fileHeaders(w.Header(), a.Name, a.Version)
		w.Header().Set("Content-Type", "application/zip")
		content := &archiveContent{ctx: ctx.Context(), archive: a}
		// No time of modification: a file that was removed leaves no trace in it.
		http.ServeContent(&archiveWriter{rangeErrors{ResponseWriter: w}, content}, r, "", time.Time{}, content)
		if errors.Is(content.err, storedzip.ErrChanged) {
			// Fewer bytes went out than were announced, and so net/http closes
			// the connection: nobody takes the part for the whole.
			s.log.WarnContext(ctx.Context(), "scan changed while it was archived", slog.String("request_id", observe.RequestID(ctx.Context())),
				slog.String("scan", in.Scan), slog.Any("err", content.err))
		}
	}}, nil
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
