package api_test

import (
	"net/http"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
)

// A file has the type of its extension, the same on every machine, and nothing
// that came from somebody else runs in a browser.
func TestTypesOfFiles(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	carol, _ := s.login("carol")
	s.made(s.do(http.MethodPost, "/api/v1/scans/types", "", bearer(carol)))
	s.made(s.do(http.MethodPost, "/api/v1/filesets/types/data", "", bearer(carol)))
	const saved = "application/octet-stream"
	for ext, want := range map[string]string{
		"jpg": "image/jpeg", "JPEG": "image/jpeg", "png": "image/png", "tif": "image/tiff", "tiff": "image/tiff", "gif": "image/gif", "webp": "image/webp",
		"json": "application/json", "txt": "text/plain; charset=utf-8", "csv": "text/csv; charset=utf-8", "md": "text/markdown; charset=utf-8",
		"toml": saved, "ply": saved, "yaml": "application/yaml", "zip": "application/zip", "npz": saved, "pt": saved,
		"html": saved, "HTM": saved, "xhtml": saved, "shtml": saved, "svg": saved, "svgz": saved, "js": saved, "mjs": saved, "css": saved,
		"xml": saved, "xsl": saved, "rdf": saved, "pdf": saved, "unknown": saved, "": saved,
	} {
		name := "file." + ext
		if ext == "" {
			name = "file"
		}
		const text = "<html xmlns='http://www.w3.org/1999/xhtml'><script>alert(1)</script></html>"
		a := s.do(http.MethodPost, "/files/types", text, header{"Content-Disposition", "x"}, header{"X-File-Path", "notes/" + name}, bearer(carol))
		s.made(a)
		paths := []string{"/api/v1/assets/files/types/notes/" + name, "/files/types/notes/" + name}
		if a := s.upload("/api/v1/files/types/data/"+"f_"+ext, carol, []byte(text), map[string]string{"ext": ext}); a.status == http.StatusCreated {
			paths = append(paths, "/api/v1/files/types/data/f_"+ext)
			if want != "application/json" { // in which the document wants an image
				paths = append(paths, "/api/v1/assets/image/types/data/f_"+ext+"?size=orig")
			}
		}
		for _, path := range paths {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				a := s.do(method, path, "")
				if got := a.header.Get("Content-Type"); a.status != http.StatusOK || got != want || a.header.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("%s %s = %d, %q, %q, want %q that no browser takes for another", method, path, a.status, got, a.header.Get("X-Content-Type-Options"), want)
				}
			}
		}
	}
}
