package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	iofs "io/fs"
	"mime"
	"net/http"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/romi/plantdb-go/internal/preview"
	"github.com/romi/plantdb-go/internal/scan"
)

// download is an open file that the answer sends and closes.
type download struct {
	Body func(huma.Context)
}

// anyType is what the document says of bytes whose type is that of a file.
const anyType = "*/*"

// Parts ask for a part of a file, and say which version of it. The document names
// them, http.ServeContent reads them. It is exported for Huma, which fills embedded
// structs only then.
type Parts struct {
	Range   string `header:"Range" doc:"The first and the last byte that are wanted: they are the answer, as 206." example:"bytes=0-1048575"`
	IfMatch string `header:"If-Match" doc:"ETag of the part before: when the file has changed since, the answer is 412, and the download has to begin again." example:"\"6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b\""`
	IfRange string `header:"If-Range" doc:"ETag of the part before: when the file has changed since, the answer is all of the new one, as 200." example:"\"6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b\""`
	IfNoneMatch
}

// aboutParts tells how a download goes on.
const aboutParts = "A part is asked for by Range; If-Match or If-Range, with the ETag of the part before, see to it that the next one is of the same file."

// fileResponses documents what http.ServeContent answers.
func fileResponses() map[string]*huma.Response {
	binary := func(types ...string) map[string]*huma.MediaType {
		content := map[string]*huma.MediaType{}
		for _, t := range types {
			content[t] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
		}
		return content
	}
	return map[string]*huma.Response{
		"200": {
			Description: "The bytes; Content-Type by the file's extension.",
			Content:     binary("application/octet-stream", anyType), Headers: versionHeaders(),
		},
		"206": {
			Description: "The range that was asked for, of the type of the whole; several as multipart/byteranges.",
			Content:     binary("application/octet-stream", "multipart/byteranges", anyType), Headers: versionHeaders(),
		},
		"304": {Description: "Not modified since If-None-Match or If-Modified-Since."},
	}
}

func versionHeaders() map[string]*huma.Param {
	return map[string]*huma.Param{"ETag": {
		Description: "Names this version of the bytes: If-Match, If-Range and If-None-Match take it.",
		Schema:      &huma.Schema{Type: huma.TypeString}, Example: `"6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"`,
	}}
}

// types are those that a table of the machine may not know or name otherwise.
var types = map[string]string{
	".json": "application/json", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png",
	".tif": "image/tiff", ".tiff": "image/tiff", ".txt": "text/plain; charset=utf-8", ".csv": "text/csv; charset=utf-8",
	".toml": unnamed, ".ply": unnamed, ".yaml": "application/yaml",
	".xml": unnamed, ".zip": "application/zip", ".md": "text/markdown; charset=utf-8",
}

// unnamed is the type of bytes that a browser only saves.
const unnamed = "application/octet-stream"

// typeOf is the content type of a file. Beyond those above only pictures, sound
// and films are named: files come from many hands, and a browser would run what
// is HTML, a script, SVG, or XML of any kind, which may be XHTML.
func typeOf(name string) string {
	ext := strings.ToLower(path.Ext(name))
	if t, ok := types[ext]; ok {
		return t
	}
	t := mime.TypeByExtension(ext)
	kind, form, _ := strings.Cut(t, "/")
	if !slices.Contains([]string{"image", "audio", "video"}, kind) || strings.Contains(form, "xml") {
		return unnamed
	}
	return t
}

// download sends c with ranges and conditions (RFC 9110); see http.ServeContent.
func (s *server) download(c *scan.Content, err error) (*download, error) {
	if err != nil {
		return nil, err
	}
	return &download{func(ctx huma.Context) {
		defer c.Close() // Nothing was written to it.
		r, w := humago.Unwrap(ctx)
		fileHeaders(w.Header(), c.Name, c.Version)
		renew(r.Header, c, "")
		w.Header().Set("Content-Type", typeOf(c.Name))
		serveContent(&rangeErrors{ResponseWriter: steadily(w)}, r, c.Modified, c.File)
	}}, nil
}

// serveContent is http.ServeContent, but that a Range in a unit which is not known
// counts as none (RFC 9110, 14.2) and the name of one that is is so in any case.
func serveContent(w http.ResponseWriter, r *http.Request, modified time.Time, content io.ReadSeeker) {
	if asked := r.Header.Get("Range"); asked != "" {
		unit, ranges, _ := strings.Cut(asked, "=")
		if strings.EqualFold(strings.TrimSpace(unit), "bytes") {
			r.Header.Set("Range", "bytes="+ranges)
		} else {
			r.Header.Del("Range")
		}
	}
	http.ServeContent(w, r, "", modified, content)
}

func fileHeaders(h http.Header, name, version string) {
	h.Set("Content-Disposition", mime.FormatMediaType("inline", map[string]string{"filename": name}))
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("ETag", etag(version))
}

// renew has conditions that name the version of c before its digest was known
// name the one that it has now, for these are the same bytes: a download in parts
// goes on when its file is hashed meanwhile.
func renew(h http.Header, c *scan.Content, form string) {
	if c.Before == "" {
		return
	}
	for _, name := range []string{"If-Match", "If-None-Match", "If-Range"} {
		for i, tags := range h[name] {
			h[name][i] = strings.ReplaceAll(tags, etag(c.Before+form), etag(c.Version+form))
		}
	}
}

// likeness is a file, or what is made of it: what it is called and which version it
// is are known before it is made.
type likeness struct {
	*scan.Content // what it is made of

	name string
	form string // of the version; empty for the file itself
	make func(context.Context) (*os.File, iofs.FileInfo, error)
}

func itself(c *scan.Content) likeness { return likeness{Content: c, name: c.Name} }

// suffix is what the versions of a form have behind that of the file.
func (l likeness) suffix() string {
	if l.form == "" {
		return ""
	}
	return " " + l.form
}

// open makes it, if that has to be done; the receiver closes it.
func (l likeness) open(ctx context.Context) (*scan.Content, error) {
	if l.make == nil {
		return l.Content, nil
	}
	f, stat, err := l.make(ctx)
	if err != nil {
		return nil, err
	}
	return &scan.Content{File: f, Name: l.name, Size: stat.Size(), Modified: l.Modified, Version: l.Version + l.suffix()}, nil
}

// source is what previews of c are made of.
func source(ctx context.Context, c *scan.Content) preview.Source {
	return preview.Source{
		Key: c.Version,
		// It may be made for others once this request has gone.
		Open: func() (io.ReadSeekCloser, int64, error) {
			f, err := c.Again(context.WithoutCancel(ctx))
			return f, c.Size, err
		},
	}
}

// made sends l with ranges and conditions, and closes it. Who has this version
// already costs no making.
func (s *server) made(l likeness) *download {
	return s.onDemand(l, l.name, typeOf(l.name), l.suffix(), func(_ context.Context, c *scan.Content, w http.ResponseWriter, r *http.Request) error {
		serveContent(&rangeErrors{ResponseWriter: steadily(w)}, r, c.Modified, c.File)
		return nil
	})
}

// sending sends what is made of an open file.
type sending func(context.Context, *scan.Content, http.ResponseWriter, *http.Request) error

// jsonOf sends what is made of l in JSON, and closes it. A version of l has one
// form of the kind. Ranges are for send to offer.
func (s *server) jsonOf(l likeness, kind string, send sending) *download {
	name := strings.TrimSuffix(l.name, extension(l.name)) + ".json"
	return s.onDemand(l, name, "application/json", l.suffix()+" "+kind, send)
}

// onDemand has l made and sent if the conditions of the request do not make that
// needless.
func (s *server) onDemand(l likeness, name, contentType, suffix string, send sending) *download {
	return &download{func(ctx huma.Context) {
		defer l.Close() // Nothing was written to it.
		r, w := humago.Unwrap(ctx)
		fileHeaders(w.Header(), name, l.Version+suffix)
		renew(r.Header, l.Content, suffix)
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Last-Modified", l.Modified.UTC().Format(http.TimeFormat))
		if settled(w, r, l.Modified) {
			return
		}
		c, err := l.open(ctx.Context())
		if err == nil {
			defer c.Close() // As above; the file itself is closed twice, which is no harm.
			err = send(ctx.Context(), c, w, r)
		}
		if err != nil {
			for _, of := range []string{"ETag", "Last-Modified", "Content-Disposition", "X-Content-Encoding"} { // the file
				w.Header().Del(of)
			}
			writeProblem(w, inWords(ctx.Context(), problemOf(ctx.Context(), s.log, err)))
		}
	}}
}

// settled answers a request whose conditions make a body needless, as
// http.ServeContent does, and says whether it has.
func settled(w http.ResponseWriter, r *http.Request, modified time.Time) bool {
	whole := r.Clone(r.Context())
	whole.Header.Del("Range")
	asked := &statusOnly{headerOnly: headerOnly{header: w.Header().Clone()}}
	http.ServeContent(asked, whole, "", modified, strings.NewReader(""))
	if asked.status == http.StatusOK {
		return false
	}
	http.ServeContent(&rangeErrors{ResponseWriter: w}, whole, "", modified, strings.NewReader(""))
	return true
}

// statusOnly is an answer of which nothing is sent.
type statusOnly struct {
	headerOnly
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusOnly) WriteHeader(status int) { w.status = status }

// etag is strong: a version names bytes.
func etag(version string) string {
	if digest, err := hex.DecodeString(version); err == nil && len(digest) == sha256.Size {
		return strconv.Quote(version)
	}
	return strconv.Quote(fmt.Sprintf("%x", sha256.Sum256([]byte(version))))
}

// rangeErrors answers a range that cannot be had, and a condition that does
// not hold, as a problem.
type rangeErrors struct {
	http.ResponseWriter
	refused bool
}

// WriteHeader implements http.ResponseWriter.
func (w *rangeErrors) WriteHeader(status int) {
	switch status {
	case http.StatusRequestedRangeNotSatisfiable:
		refusal := errNoRange
		if size, beyond := strings.CutPrefix(w.Header().Get("Content-Range"), "bytes */"); beyond {
			refusal = errNoRange.With("The range that was asked for is beyond the end, at %s bytes.", size)
		}
		w.refuse(faultProblem(refusal))
	case http.StatusPreconditionFailed:
		w.refuse(faultProblem(errPrecondition))
	default:
		w.ResponseWriter.WriteHeader(status)
	}
}

// refuse answers with p in place of what http.ServeContent would send.
func (w *rangeErrors) refuse(p *Problem) {
	w.refused = true
	w.Header().Del("ETag") // that of the file, not of this answer
	writeProblem(w.ResponseWriter, p)
}

// Write drops the text that stands in place of the problem.
func (w *rangeErrors) Write(b []byte) (int, error) {
	if w.refused {
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

// ReadFrom leaves copying to the connection, which can do without memory.
func (w *rangeErrors) ReadFrom(r io.Reader) (int64, error) { return io.Copy(w.ResponseWriter, r) }

// Unwrap lets http.ResponseController reach the connection.
func (w *rangeErrors) Unwrap() http.ResponseWriter { return w.ResponseWriter }
