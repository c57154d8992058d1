package api_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
)

func form(t *testing.T, content []byte, fields map[string]string) (body, contentType string) {
	t.Helper()
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	if content != nil {
		part, err := w.CreateFormFile("file", "name.bin")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = part.Write(content)
	}
	// The fields behind the file: a form may come in any order.
	for name, value := range fields {
		if err := w.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.String(), w.FormDataContentType()
}

func TestUploadAndRead(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{})
	token, _ := s.login("carol")
	if a := s.do(http.MethodPost, "/api/v1/scans/night.1", `{"metadata":{"object":{"species":"Col\u00e9us"}}}`, bearer(token)); a.status != http.StatusCreated {
		t.Fatalf("create scan = %d %s", a.status, a.body)
	}
	if a := s.do(http.MethodPost, "/api/v1/filesets/night.1/images", "", bearer(token)); a.status != http.StatusCreated {
		t.Fatalf("create fileset = %d %s", a.status, a.body)
	}
	content := bytes.Repeat([]byte{0, 1, 0xff, '\n', '\r'}, 20_000)
	a := s.upload("/api/v1/files/night.1/images/cloud", token, content, map[string]string{"ext": "PLY", "metadata": "{'channel': 'rgb', 'n': None, 'ok': True}"})
	if want := `{"message":"File created and written successfully in fileset 'images'.","id":"cloud"}` + "\n"; a.status != http.StatusCreated || string(a.body) != want {
		t.Fatalf("upload = %d %s, want 201 %s", a.status, a.body, want)
	}
	for _, path := range []string{
		"/api/v1/files/night.1/images/cloud", "/api/v1/files/night.1/images/cloud.ply",
		"/api/v1/assets/files/night.1/images/cloud.ply", "/api/v1/assets/files/night.1/images/cloud",
	} {
		if got := s.do(http.MethodGet, path, ""); !bytes.Equal(got.body, content) {
			t.Errorf("GET %s = %d, %d bytes, want the %d uploaded ones", path, got.status, len(got.body), len(content))
		}
	}
	if a := s.do(http.MethodGet, "/api/v1/files/night.1/images/cloud/metadata?key=ok", ""); string(a.body) != "{\"metadata\":true}\n" {
		t.Errorf("metadata key = %s, want the Python literal's value", a.body)
	}
	if a := s.do(http.MethodGet, "/api/v1/files/night.1/images/cloud/metadata?key=none", ""); string(a.body) != "{\"metadata\":{}}\n" {
		t.Errorf("metadata of a missing key = %s, want an empty object, as upstream's", a.body)
	}
	if a := s.do(http.MethodGet, "/api/v1/scans/night.1/metadata?key=object", ""); string(a.body) != "{\"metadata\":{\"species\":\"Col\\u00e9us\"}}\n" {
		t.Errorf("metadata = %s, want ASCII with escapes", a.body)
	}
	if onDisk, err := os.ReadFile(filepath.Join(s.dir, "night.1", "images", "cloud.ply")); err != nil || !bytes.Equal(onDisk, content) {
		t.Errorf("on disk: %d bytes, %v, want the uploaded ones", len(onDisk), err)
	}
	if left := staged(t, s.dir); len(left) > 0 {
		t.Errorf("staging holds %v, want nothing", left)
	}
}

func TestRangesAndConditions(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{})
	const path = "/api/v1/files/real_plant/images/00000_rgb"
	whole := s.do(http.MethodGet, path, "")
	if whole.status != http.StatusOK || whole.header.Get("Content-Type") != "image/jpeg" || len(whole.body) < 100 {
		t.Fatalf("GET = %d, %s, %d bytes", whole.status, whole.header.Get("Content-Type"), len(whole.body))
	}
	etag := whole.header.Get("ETag")
	if part := s.do(http.MethodGet, path, "", header{"Range", "bytes=10-19"}); part.status != http.StatusPartialContent || !bytes.Equal(part.body, whole.body[10:20]) {
		t.Errorf("range 10-19 = %d %x, want 206 %x", part.status, part.body, whole.body[10:20])
	}
	if many := s.do(http.MethodGet, path, "", header{"Range", "bytes=0-1,5-6"}); many.status != http.StatusPartialContent || !strings.HasPrefix(many.header.Get("Content-Type"), "multipart/byteranges") {
		t.Errorf("two ranges = %d %s, want 206 multipart", many.status, many.header.Get("Content-Type"))
	}
	wantProblem(t, "range beyond", s.do(http.MethodGet, path, "", header{"Range", "bytes=99999999-"}), http.StatusRequestedRangeNotSatisfiable, "range_not_satisfiable")
	if same := s.do(http.MethodGet, path, "", header{"If-None-Match", etag}); same.status != http.StatusNotModified {
		t.Errorf("If-None-Match %s = %d, want 304", etag, same.status)
	}
	if head := s.do(http.MethodHead, path, ""); head.status != http.StatusOK || len(head.body) != 0 || head.header.Get("Content-Length") != fmt.Sprint(len(whole.body)) {
		t.Errorf("HEAD = %d, length %s, want 200, %d", head.status, head.header.Get("Content-Length"), len(whole.body))
	}
}

// A download in parts is of one file: what has taken its place is never mixed
// into it, and who asks is told so.
func TestPartsOfOneFile(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	token, _ := s.login("admin")
	const path = "/api/v1/files/real_plant/images/parts"
	old, changed := strings.Repeat("old, ", 1000), strings.Repeat("new; ", 1000)
	upload := func(text string) {
		if a := s.upload(path, token, []byte(text), map[string]string{"ext": "txt"}); a.status != http.StatusCreated {
			t.Fatalf("upload = %d %s", a.status, a.body)
		}
	}
	for _, under := range []string{"/api/v1/files/real_plant/images/parts", "/api/v1/assets/files/real_plant/images/parts.txt", "/file/real_plant/images/parts"} {
		upload(old)
		first := s.get(under, header{"Range", "bytes=0-999"})
		tag := first.header.Get("ETag")
		if first.status != http.StatusPartialContent || string(first.body) != old[:1000] || tag == "" {
			t.Fatalf("%s: the first part = %d, ETag %q, %d bytes", under, first.status, tag, len(first.body))
		}
		rest := header{"Range", "bytes=1000-"}
		if a := s.get(under, rest, header{"If-Match", tag}); a.status != http.StatusPartialContent || string(a.body) != old[1000:] {
			t.Errorf("%s: the second part = %d, %d bytes", under, a.status, len(a.body))
		}
		if a := s.do(http.MethodDelete, path, "", bearer(token)); a.status != http.StatusOK {
			t.Fatalf("delete = %d %s", a.status, a.body)
		}
		wantProblem(t, under+" when it is gone", s.get(under, rest, header{"If-Match", tag}), http.StatusNotFound, map[bool]string{true: "unknown_asset", false: "unknown_file"}[strings.Contains(under, "assets")])
		upload(changed)
		refused := s.get(under, rest, header{"If-Match", tag})
		wantProblem(t, under+" when it is another", refused, http.StatusPreconditionFailed, "precondition_failed")
		if message := fmt.Sprint(refused.json(t)["message"]); !strings.Contains(message, "has changed") || !strings.Contains(message, "begin again") {
			t.Errorf("%s: the message is %q, want what happened and what to do", under, message)
		}
		if a := s.get(under, rest, header{"If-Range", tag}); a.status != http.StatusOK || string(a.body) != changed {
			t.Errorf("%s: If-Range of the file before = %d, %d bytes, want all of the new one", under, a.status, len(a.body))
		}
		if a := s.do(http.MethodDelete, path, "", bearer(token)); a.status != http.StatusOK {
			t.Fatalf("delete = %d %s", a.status, a.body)
		}
	}
	upload(old)
	for spec, want := range map[string]string{"bytes=5000-": "5000 bytes", "bytes=1-x": "bytes=0-1048575"} {
		a := s.get(path, header{"Range", spec})
		wantProblem(t, "Range "+spec, a, http.StatusRequestedRangeNotSatisfiable, "range_not_satisfiable")
		if message := fmt.Sprint(a.json(t)["message"]); !strings.Contains(message, want) {
			t.Errorf("Range %s: the message is %q, want %q in it", spec, message, want)
		}
	}
	// Of units that are not known nothing is asked (RFC 9110, 14.2).
	if a := s.get(path, header{"Range", "lines=1-2"}); a.status != http.StatusOK || string(a.body) != old {
		t.Errorf("Range in lines = %d, %d bytes, want all of the file", a.status, len(a.body))
	}
}

// A file from outside gets another ETag once it is hashed. Who has the one before
// goes on: the bytes are the same.
func TestPartsOfAFileThatIsHashedMeanwhile(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	const path = "/api/v1/files/real_plant/images/00000_rgb"
	first := s.get(path, header{"Range", "bytes=0-99"})
	before := first.header.Get("ETag")
	whole := s.get(path)
	digest := fmt.Sprintf("\"%x\"", sha256.Sum256(whole.body))
	if before == digest || first.status != http.StatusPartialContent {
		t.Fatalf("the first part = %d, ETag %s, want one that is not hashed yet", first.status, before)
	}
	// What an archive reads is hashed, unless it was written a moment ago.
	for now := before; now != digest; now = s.get(path, header{"Range", "bytes=0-99"}).header.Get("ETag") {
		if now != before {
			t.Fatalf("ETag = %s, want %s and then %s", now, before, digest)
		}
		if a := s.get("/api/v1/assets/archive/real_plant"); a.status != http.StatusOK {
			t.Fatalf("archive = %d", a.status)
		}
	}
	for name, conditions := range map[string][]header{
		"If-Match": {{"Range", "bytes=100-"}, {"If-Match", before}}, "If-Range": {{"Range", "bytes=100-"}, {"If-Range", before}},
	} {
		a := s.get(path, conditions...)
		if a.status != http.StatusPartialContent || !bytes.Equal(a.body, whole.body[100:]) || a.header.Get("ETag") != digest {
			t.Errorf("%s of the ETag before = %d, %d bytes, ETag %s", name, a.status, len(a.body), a.header.Get("ETag"))
		}
	}
	if a := s.get(path, header{"If-None-Match", "W/\"x\", " + before}); a.status != http.StatusNotModified {
		t.Errorf("If-None-Match of the ETag before = %d, want 304", a.status)
	}
	s.put("real_plant/images/00000_rgb.jpg", "another")
	wantProblem(t, "another file", s.get(path, header{"If-Match", before}), http.StatusPreconditionFailed, "precondition_failed")
}

func TestRefusedUploadsLeaveNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{})
	token, _ := s.login("admin")
	reader, _ := s.login("rita")
	const path = "/api/v1/files/real_plant/images/"
	jpg := map[string]string{"ext": "jpg"}
	for _, tt := range []struct {
		name    string
		path    string
		token   string
		content []byte
		fields  map[string]string
		status  int
		code    string
	}{
		{"no file", path + "x", token, nil, jpg, 400, "no_file"},
		{"no extension", path + "x", token, []byte("x"), nil, 400, "no_extension"},
		{"bad extension", path + "x", token, []byte("x"), map[string]string{"ext": "exe"}, 400, "bad_extension"},
		{"bad metadata", path + "x", token, []byte("x"), map[string]string{"ext": "jpg", "metadata": "{oops"}, 400, "invalid_metadata"},
		{"metadata no object", path + "x", token, []byte("x"), map[string]string{"ext": "jpg", "metadata": "[1]"}, 400, "bad_metadata"},
		{"empty image", path + "x", token, []byte{}, jpg, 400, "empty_file"},
		{"taken id", path + "00000_rgb", token, []byte("x"), jpg, 409, "file_exists"},
		{"unknown fileset", "/api/v1/files/real_plant/nope/x", token, []byte("x"), jpg, 404, "unknown_fileset"},
		{"unknown scan", "/api/v1/files/nope/images/x", token, []byte("x"), jpg, 404, "unknown_scan"},
		{"bad name", path + "a%20b", token, []byte("x"), jpg, 400, "invalid_name"},
		{"name not for new files", path + "-x", token, []byte("x"), jpg, 400, "name_invalid"},
		{"no right", path + "x", reader, []byte("x"), jpg, 403, "forbidden"},
	} {
		wantProblem(t, tt.name, s.upload(tt.path, tt.token, tt.content, tt.fields), tt.status, tt.code)
	}
	wantProblem(t, "no token", s.do(http.MethodPost, path+"x", "x"), http.StatusUnauthorized, "token_missing")
	wantProblem(t, "no form", s.do(http.MethodPost, path+"x", "{}", bearer(token), asJSON), http.StatusBadRequest, "no_file")
	body, contentType := form(t, bytes.Repeat([]byte("x"), 10_000), jpg)
	wantProblem(t, "torn form", s.do(http.MethodPost, path+"x", body[:5000], bearer(token), header{"Content-Type", contentType}), http.StatusBadRequest, "broken_upload")
	open := strings.TrimSuffix(body, "--\r\n") + "\r\n"
	wantProblem(t, "form that has no end", s.do(http.MethodPost, path+"x", open, bearer(token), header{"Content-Type", contentType}), http.StatusBadRequest, "broken_upload")
	wantProblem(t, "still not there", s.do(http.MethodGet, path+"x", ""), http.StatusNotFound, "unknown_file")
	if left := staged(t, s.dir); len(left) > 0 {
		t.Errorf("staging holds %v, want nothing", left)
	}
}

func TestParallelUploadsOfOneIDMakeOneFile(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{})
	token, _ := s.login("admin")
	statuses := make([]int, 8)
	var wait sync.WaitGroup
	for i := range statuses {
		wait.Go(func() {
			statuses[i] = s.upload("/api/v1/files/real_plant/images/one", token, fmt.Append(nil, "content ", i), map[string]string{"ext": "txt"}).status
		})
	}
	wait.Wait()
	made := 0
	for _, status := range statuses {
		switch status {
		case http.StatusCreated:
			made++
		case http.StatusConflict:
		default:
			t.Errorf("upload = %d, want 201 or 409", status)
		}
	}
	if made != 1 {
		t.Errorf("%d uploads of one id were answered 201, want one: %v", made, statuses)
	}
}
