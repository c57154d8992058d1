package api_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/api"
)

// zipForm is a form with a part of that name, file name and type.
func zipForm(t *testing.T, name, filename, contentType string, archive []byte) (string, header) {
	t.Helper()
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	h := textproto.MIMEHeader{}
	h.Set("Content-Disposition", fmt.Sprintf(`form-data; name=%q; filename=%q`, name, filename))
	if filename == "" {
		h.Set("Content-Disposition", fmt.Sprintf(`form-data; name=%q`, name))
	}
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	part, err := w.CreatePart(h)
	if err == nil {
		_, err = part.Write(archive)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.String(), header{"Content-Type", w.FormDataContentType()}
}

func zipped(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for name, content := range files {
		f, err := w.Create(name)
		if err == nil {
			_, err = io.WriteString(f, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// What GET gives, POST makes again, by all paths.
func TestArchiveRoundTrip(t *testing.T) {
	t.Parallel()
	s := newAnalyzedSite(t, analyzed)
	token, _ := s.login("carol")
	got := s.get("/api/v1/assets/archive/" + analyzed)
	body, contentType := zipForm(t, "zip_file", "scan.zip", "application/zip", got.body)
	before := s.onDisk(analyzed)
	owner := before["metadata/metadata.json"]
	for _, path := range []string{"/api/v1/assets/archive/again", "/archive/older"} {
		name := filepath.Base(path)
		a := s.do(http.MethodPost, path, body, bearer(token), contentType)
		if a.status != http.StatusOK || a.json(t)["message"] != "ZIP file processed successfully" {
			t.Fatalf("POST %s = %d %s", path, a.status, a.body)
		}
		after := s.onDisk(name)
		if !strings.Contains(after["metadata/metadata.json"], `"owner": "carol"`) {
			t.Errorf("the owner of %s is not carol: %s", name, after["metadata/metadata.json"])
		}
		after["metadata/metadata.json"] = owner
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("%s is not the scan: (-want +got)\n%.2000s", name, diff)
		}
		listed := a.json(t)["files"].([]any)
		if len(listed) != len(after) || !slices.Contains(listed, any("metadata/metadata.json")) {
			t.Errorf("files of %s = %v", name, listed)
		}
		if again := s.get("/api/v1/scans/" + name); again.status != http.StatusOK {
			t.Errorf("GET %s = %d %s", name, again.status, again.body)
		}
		if (a.header.Get("Deprecation") == "true") != (path == "/archive/older") {
			t.Errorf("POST %s: Deprecation = %q", path, a.header.Get("Deprecation"))
		}
	}
	if left := staged(t, s.dir); len(left) > 0 {
		t.Errorf("left in staging: %v", left)
	}
}

// What Python wrote before it checked the types of MIAPPE sections is taken as
// it is, and each fault is told; of a scan that has none nothing is said.
func TestArchiveUploadWarns(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{})
	token, _ := s.login("carol")
	const metadata = `{"study": {"title": 7, "growthFacility": []}, "biologicalMaterial": {"ageDays": "ten", "organism": {"species": null}}, "mine": true}`
	for name, tt := range map[string]struct {
		metadata string
		want     any
	}{
		"faulty": {metadata, []any{
			"'study.title' must be str, got int", "'study.growthFacility' must be an object", "'biologicalMaterial.ageDays' must be int or float, got str",
		}},
		"sound": {`{"study": {"title": "seven"}}`, nil},
	} {
		archive := zipped(t, map[string]string{"files.json": `{"filesets":[]}`, "metadata/metadata.json": tt.metadata})
		body, contentType := zipForm(t, "zip_file", "scan.zip", "application/zip", archive)
		a := s.do(http.MethodPost, "/api/v1/assets/archive/"+name, body, bearer(token), contentType)
		if a.status != http.StatusOK || !cmp.Equal(a.json(t)["warnings"], tt.want) {
			t.Errorf("the archive of %s = %d %s, want the warnings %v", name, a.status, a.body, tt.want)
		}
	}
	shown := s.get("/api/v1/scans/faulty/metadata").json(t)["metadata"].(map[string]any)
	if study := shown["study"].(map[string]any); shown["mine"] != true || study["title"] != 7.0 {
		t.Errorf("the metadata are %v, want them as they came", shown)
	}
	change := `{"metadata": {"study": {"title": 8}}}`
	if a := s.do(http.MethodPost, "/api/v1/scans/faulty/metadata", change, bearer(token), asJSON); a.status != http.StatusBadRequest {
		t.Errorf("a change with such a fault = %d %s, want 400", a.status, a.body)
	}
}

func TestArchiveUploadRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{})
	carol, _ := s.login("carol")
	rita, _ := s.login("rita")
	good := zipped(t, map[string]string{"files.json": `{"filesets":[]}`, "metadata/metadata.json": `{}`})
	const path = "/api/v1/assets/archive/"
	for name, tt := range map[string]struct {
		token, scan                 string
		part, filename, contentType string
		archive                     []byte
		status                      int
		code, text                  string
	}{
		"no token":       {"", "real_plant", "zip_file", "a.zip", "application/zip", good, 401, "token_missing", "No authenticated user!"},
		"a reader":       {rita, "real_plant", "zip_file", "a.zip", "application/zip", good, 403, "forbidden", "User rita does not have required permissions to use create_scan"},
		"exists":         {carol, "real_plant", "zip_file", "a.zip", "application/zip", good, 400, "scan_exists", "Dataset `real_plant` already exists!"},
		"a bad name":     {carol, "-x", "zip_file", "a.zip", "application/zip", good, 400, "name_invalid", "Invalid scan identifier '-x'!"},
		"no part":        {carol, "new", "other", "a.zip", "application/zip", good, 400, "no_file", "No ZIP file provided!"},
		"no file name":   {carol, "new", "zip_file", "", "application/zip", good, 400, "no_file", "No ZIP file provided!"},
		"another type":   {carol, "new", "zip_file", "a.zip", "text/plain", good, 400, "archive_type", "Invalid MIME type 'text/plain'. Expected 'application/zip'."},
		"no type":        {carol, "new", "zip_file", "a.zip", "", good, 400, "archive_type", "Invalid MIME type ''. Expected 'application/zip'."},
		"another ending": {carol, "new", "zip_file", "a.tar", "application/zip", good, 400, "archive_name", "Invalid file extension for 'a.tar'. Expected '.zip'."},
		"no archive":     {carol, "new", "zip_file", "a.zip", "application/zip", []byte("{}"), 400, "archive_invalid", "Invalid ZIP archive: File is not a zip file"},
		"no scan":        {carol, "new", "zip_file", "a.zip", "application/zip", zipped(t, map[string]string{"a.txt": "a"}), 400, "archive_structure", "Invalid scan dataset archive structure."},
		"traversal": {carol, "new", "zip_file", "a.zip", "application/zip", zipped(t, map[string]string{"../newx/evil": "a"}), 400, "archive_path",
			"Path traversal attempt detected: ../newx/evil"},
	} {
		body, contentType := zipForm(t, tt.part, tt.filename, tt.contentType, tt.archive)
		headers := []header{contentType}
		if tt.token != "" {
			headers = append(headers, bearer(tt.token))
		}
		a := s.do(http.MethodPost, path+tt.scan, body, headers...)
		wantProblem(t, name, a, tt.status, tt.code)
		if got := a.json(t)["message"]; got != tt.text {
			t.Errorf("%s: message %q, want %q", name, got, tt.text)
		}
	}
	wantProblem(t, "no form", s.do(http.MethodPost, path+"new", "{}", bearer(carol), asJSON), 400, "no_file")
	body, contentType := zipForm(t, "zip_file", "a.zip", "application/zip", good)
	wantProblem(t, "torn form", s.do(http.MethodPost, path+"new", body[:len(body)-80], bearer(carol), contentType), 400, "broken_upload")
	if a := s.get("/api/v1/scans/new"); a.status != http.StatusNotFound {
		t.Errorf("GET of what was refused = %d, want 404", a.status)
	}
	if left := staged(t, s.dir); len(left) > 0 {
		t.Errorf("left in staging: %v", left)
	}
	// As a browser on Windows calls it.
	body, contentType = zipForm(t, "zip_file", "A.ZIP", "application/x-zip-compressed", good)
	if a := s.do(http.MethodPost, path+"new", body, bearer(carol), contentType); a.status != http.StatusOK {
		t.Errorf("POST by Windows = %d %s", a.status, a.body)
	}
}
