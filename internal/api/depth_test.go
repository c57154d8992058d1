package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
)

// nested is an object of n levels.
func nested(n int) string {
	return `{"a":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + "}"
}

// Metadata that nests deeper than is kept is refused for that, by whatever way
// it comes and however deep: also where encoding/json gives up, which is deeper
// than the bound, and where a body that is no JSON counts as none.
func TestDepthOfMetadata(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	token, _ := s.login("carol")
	s.create(token, "deep")
	s.made(s.do(http.MethodPost, "/api/v1/filesets/deep/images", "{}", bearer(token), asJSON))
	s.made(s.do(http.MethodPost, "/api/v1/timelapses", `{"id":"deep_time"}`, bearer(token), asJSON))
	s.made(s.upload("/api/v1/files/deep/images/f", token, []byte("x"), map[string]string{"ext": "txt"}))
	send := func(method, path, body string) func(string) answer {
		return func(metadata string) answer {
			return s.do(method, path, strings.ReplaceAll(body, "METADATA", metadata), bearer(token), asJSON)
		}
	}
	const update = `{"metadata":METADATA}`
	ways := map[string]func(metadata string) answer{
		"create a scan":             send(http.MethodPost, "/api/v1/scans/new", update),
		"create a scan as 0.14":     send(http.MethodPost, "/scans/new", update),
		"create a scan by its name": send(http.MethodPost, "/api/scan", `{"name":"new","metadata":METADATA}`),
		"create a fileset":          send(http.MethodPost, "/api/v1/filesets/deep/new", update),
		"create a timelapse":        send(http.MethodPost, "/api/v1/timelapses", `{"id":"new","metadata":METADATA}`),
		"update a scan":             send(http.MethodPost, "/api/v1/scans/deep/metadata", update),
		"update a scan as 0.15":     send(http.MethodPost, "/scan/deep/metadata", update),
		"replace that of a scan":    send(http.MethodPost, "/api/v1/scans/deep/metadata", `{"metadata":METADATA,"replace":true}`),
		"patch a scan":              send(http.MethodPatch, "/api/v1/scans/deep/metadata", "METADATA"),
		"update a fileset":          send(http.MethodPost, "/api/v1/filesets/deep/images/metadata", update),
		"patch a file":              send(http.MethodPatch, "/api/v1/files/deep/images/f/metadata", "METADATA"),
		"patch a timelapse":         send(http.MethodPatch, "/api/v1/timelapses/deep_time/metadata", "METADATA"),
		"in the place of a text":    send(http.MethodPost, "/api/v1/auth/login", `{"username":METADATA,"password":"x"}`),
		"upload": func(metadata string) answer {
			return s.upload("/api/v1/files/deep/images/new", token, []byte("x"), map[string]string{"ext": "txt", "metadata": metadata})
		},
		"upload with a Python dict": func(metadata string) answer {
			python := strings.ReplaceAll(metadata, `"`, `'`)
			return s.upload("/api/v1/files/deep/images/new", token, []byte("x"), map[string]string{"ext": "txt", "metadata": python})
		},
		"upload as 0.14": func(metadata string) answer {
			return s.olderUpload(token, "scan_id=deep", "fileset_id=images", "file_id=new", "ext=txt", "metadata="+metadata, "file=x")
		},
		"upload in pieces": func(metadata string) answer {
			return s.do(http.MethodPost, "/api/v1/uploads", "", bearer(token), tusResumable, length(1),
				described("scan", "deep", "fileset", "images", "filename", "new.txt", "metadata", metadata))
		},
		"archive": func(metadata string) answer {
			archive := zipped(t, map[string]string{"files.json": `{"filesets":[]}`, "metadata/metadata.json": metadata})
			body, contentType := zipForm(t, "zip_file", "scan.zip", "application/zip", archive)
			return s.do(http.MethodPost, "/api/v1/assets/archive/new", body, bearer(token), contentType)
		},
	}
	for what, way := range ways {
		for _, levels := range []int{101, 9_000, 20_000} {
			if what == "in the place of a text" && levels < 10_000 {
				continue // a text was wanted, and that is what is said
			}
			a := way(nested(levels))
			wantProblem(t, what, a, http.StatusBadRequest, "too_deep")
			if !strings.Contains(string(a.body), "nested deeper than 100") {
				t.Errorf("%s: %d levels = %s, want the bound", what, levels, a.body)
			}
		}
	}
	batch := func(metadata string) string {
		a := s.do(http.MethodPost, "/api/v1/batch", `{"op":"metadata","scan":"deep","metadata":`+metadata+`}`, bearer(token), header{"Content-Type", "application/x-ndjson"})
		return strings.Join(a.lines(t), "|")
	}
	for _, levels := range []int{101, 20_000} {
		if got := batch(nested(levels)); got != "Bad Request too_deep" {
			t.Errorf("a line of a batch with %d levels = %s, want too_deep", levels, got)
		}
	}
	// What is within the bound is taken, and what is broken is told as before.
	for what, way := range ways {
		levels := 100
		if what == "patch a timelapse" {
			levels-- // it is kept in the object that makes the directory a timelapse
		}
		if strings.HasPrefix(what, "update") || strings.HasPrefix(what, "patch") {
			if a := way(nested(levels)); a.status != http.StatusOK {
				t.Errorf("%s with %d levels = %d %s, want 200", what, levels, a.status, a.body)
			}
		}
	}
	if got := batch(nested(100)); got != "OK done" {
		t.Errorf("a line of a batch with 100 levels = %s, want done", got)
	}
	wantProblem(t, "no object", ways["patch a scan"]("[1]"), http.StatusBadRequest, "bad_metadata")
	wantProblem(t, "no JSON", ways["patch a scan"]("{"), http.StatusBadRequest, "invalid_request")
	for _, path := range []string{"/api/v1/scans/new", "/api/v1/timelapses/new/scans", "/api/v1/files/deep/images/new"} {
		if a := s.get(path, bearer(token)); a.status != http.StatusNotFound {
			t.Errorf("GET %s = %d %s, want 404: nothing was made", path, a.status, a.body)
		}
	}
}
