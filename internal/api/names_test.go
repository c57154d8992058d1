package api_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
)

// What is in the tree by a name that nothing new may have can be read and
// changed by every address; what is not there is refused for its name, as
// upstream does.
func TestExistingNamesOfAnyForm(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	const scan, fileset, file = "Plant 1 (été)", "my images", "leaf #2"
	s.put(scan+"/files.json", `{"filesets":[{"id":"my images","files":[{"id":"leaf #2","file":"leaf #2.txt"}]}]}`)
	s.put(scan+"/metadata/metadata.json", `{"owner":"carol","species":"wheat"}`)
	s.put(scan+"/my images/leaf #2.txt", "green")
	s.put("A series 1/timelapse.json", `{"id":"A series 1","owner":"carol","scans":[]}`)
	s.refresh()
	carol, _ := s.login("carol")
	escaped := strings.NewReplacer("SCAN", url.PathEscape(scan), "FILESET", url.PathEscape(fileset), "FILE", url.PathEscape(file), "SERIES", url.PathEscape("A series 1"))
	for _, tt := range []struct{ method, path, body, want string }{
		{"GET", "/api/v1/scans", "", `"Plant 1 (\u00e9t\u00e9)"`},
		{"GET", "/api/v1/scans/SCAN", "", `"id"`},
		{"GET", "/api/v1/scans/SCAN/metadata", "", "wheat"},
		{"POST", "/api/v1/scans/SCAN/metadata", `{"metadata":{"stage":"seedling"}}`, "seedling"},
		{"GET", "/api/v1/scans/SCAN/filesets", "", fileset},
		{"GET", "/api/v1/filesets/SCAN/FILESET/files", "", file},
		{"POST", "/api/v1/filesets/SCAN/FILESET/metadata", `{"metadata":{"lens":"wide"}}`, "wide"},
		{"GET", "/api/v1/files/SCAN/FILESET/FILE", "", "green"},
		{"POST", "/api/v1/files/SCAN/FILESET/FILE/metadata", `{"metadata":{"part":"leaf"}}`, "leaf"},
		{"GET", "/api/v1/files/SCAN/FILESET/FILE/metadata", "", "leaf"},
		{"GET", "/api/v1/assets/files/SCAN/FILESET/FILE.txt", "", "green"},
		{"GET", "/api/v1/assets/archive/SCAN", "", "leaf #2.txt"},
		{"GET", "/api/v1/refresh?scan_id=" + url.QueryEscape(scan), "", "reloaded scan"},
		{"GET", "/scans/SCAN", "", `"id"`},
		{"GET", "/files/SCAN/FILESET/FILE.txt", "", "green"},
		{"GET", "/api/v1/timelapses/SERIES", "", "A series 1"},
		{"POST", "/api/v1/filesets/SCAN/fresh", "", "fresh"},
		{"DELETE", "/api/v1/files/SCAN/FILESET/FILE", "", ""},
	} {
		path := escaped.Replace(tt.path)
		a := s.do(tt.method, path, tt.body, bearer(carol), header{"Content-Type", "application/json"})
		if a.status >= http.StatusBadRequest || !strings.Contains(string(a.body), tt.want) {
			t.Errorf("%s %s = %d %.300s, want %q", tt.method, tt.path, a.status, a.body, tt.want)
		}
	}
	for _, tt := range []struct{ method, path string }{
		{"GET", "/api/v1/scans/no%20such"},
		{"GET", "/api/v1/scans/no%20such/metadata"},
		{"POST", "/api/v1/scans/no%20such/metadata"},
		{"POST", "/api/v1/scans/Plant%202"},
		{"POST", "/api/v1/filesets/SCAN/no%20such"},
		{"GET", "/api/v1/filesets/SCAN/no%20such/files"},
		{"GET", "/api/v1/files/SCAN/FILESET/no%20such"},
		{"GET", "/api/v1/refresh?scan_id=no+such"},
		{"GET", "/api/v1/timelapses/no%20such"},
		{"GET", "/scans/no%20such"},
	} {
		a := s.do(tt.method, escaped.Replace(tt.path), `{"metadata":{"a":"b"}}`, bearer(carol), header{"Content-Type", "application/json"})
		wantProblem(t, tt.method+" "+tt.path, a, http.StatusBadRequest, "invalid_name")
	}
	// By names of upstream's form it is not found, also in what has another.
	for path, code := range map[string]string{
		"/api/v1/scans/none": "unknown_scan", "/api/v1/filesets/SCAN/none/files": "unknown_fileset", "/api/v1/files/SCAN/FILESET/none": "unknown_file",
		"/api/v1/assets/skeleton/SCAN": "unknown_task",
	} {
		wantProblem(t, path, s.do("GET", escaped.Replace(path), "", bearer(carol)), http.StatusNotFound, code)
	}
}
