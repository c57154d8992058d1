package api_test

import (
	"bufio"
	"bytes"
	"crypto/sha1" // tus wants it
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
)

var tusResumable = header{"Tus-Resumable", "1.0.0"}

// described is the header of these pairs.
func described(pairs ...string) header {
	var parts []string
	for i := 0; i < len(pairs); i += 2 {
		parts = append(parts, pairs[i]+" "+base64.StdEncoding.EncodeToString([]byte(pairs[i+1])))
	}
	return header{"Upload-Metadata", strings.Join(parts, ",")}
}

func length(n int) header { return header{"Upload-Length", strconv.Itoa(n)} }

var offsetBody = header{"Content-Type", "application/offset+octet-stream"}

func (s *site) patch(location, token string, at int, body string, more ...header) answer {
	s.t.Helper()
	return s.do(http.MethodPatch, location, body, append(more, bearer(token), tusResumable, offsetBody, header{"Upload-Offset", strconv.Itoa(at)})...)
}

func (s *site) beginUpload(token, file string, size int) string {
	s.t.Helper()
	a := s.do(http.MethodPost, "/api/v1/uploads", "", bearer(token), tusResumable, length(size),
		described("scan", "real_plant", "fileset", "images", "filename", file, "filetype", "image/png", "metadata", `{"channel": "rgb"}`))
	if a.status != http.StatusCreated || a.header.Get("Upload-Offset") != "0" || a.header.Get("Upload-Expires") == "" {
		s.t.Fatalf("POST = %d %v %s", a.status, a.header, a.body)
	}
	return a.header.Get("Location")
}

func TestUploads(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{})
	token, _ := s.login("carol")
	const text = "bytes that come in pieces"
	location := s.beginUpload(token, "new_1.PNG", len(text))
	head := func(offset int) {
		t.Helper()
		a := s.do(http.MethodHead, location, "", bearer(token), tusResumable)
		h := a.header
		if a.status != http.StatusOK || h.Get("Upload-Offset") != strconv.Itoa(offset) || h.Get("Upload-Length") != strconv.Itoa(len(text)) ||
			h.Get("Cache-Control") != "no-store" || h.Get("Tus-Resumable") != "1.0.0" || !strings.Contains(h.Get("Upload-Metadata"), "scan cmVhbF9wbGFudA==") {
			t.Errorf("HEAD = %d %v, want offset %d", a.status, h, offset)
		}
	}
	head(0)
	if a := s.patch(location, token, 0, text[:10]); a.status != http.StatusNoContent || a.header.Get("Upload-Offset") != "10" || len(a.body) > 0 {
		t.Fatalf("PATCH = %d %v %s", a.status, a.header, a.body)
	}
	head(10)
	a := s.do(http.MethodGet, location, "", bearer(token), tusResumable).json(t)
	if a["offset"] != 10.0 || a["length"] != float64(len(text)) || a["finished"] != false || a["file"] != "new_1" {
		t.Errorf("GET = %v", a)
	}
	if a := s.get("/api/v1/files/real_plant/images/new_1"); a.status != http.StatusNotFound {
		t.Errorf("GET of the file before its end = %d, want 404", a.status)
	}
	sum := sha1.Sum([]byte(text[10:]))
	checksum := header{"Upload-Checksum", "sha1 " + base64.StdEncoding.EncodeToString(sum[:])}
	wrong := s.patch(location, token, 10, "other bytes 012", checksum)
	if wrong.status != 460 || wrong.json(t)["code"] != "checksum_mismatch" || wrong.json(t)["title"] != "Checksum Mismatch" {
		t.Errorf("PATCH of other bytes = %d %s, want 460", wrong.status, wrong.body)
	}
	head(10)
	// As through a proxy that knows no PATCH.
	last := s.do(http.MethodPost, location, text[10:], bearer(token), tusResumable, offsetBody, checksum,
		header{"Upload-Offset", "10"}, header{"X-HTTP-Method-Override", "PATCH"})
	if last.status != http.StatusNoContent || last.header.Get("Upload-Offset") != strconv.Itoa(len(text)) {
		t.Fatalf("the last PATCH = %d %v %s", last.status, last.header, last.body)
	}
	head(len(text))
	if a := s.get("/api/v1/files/real_plant/images/new_1"); string(a.body) != text {
		t.Errorf("GET of the file = %d %q", a.status, a.body)
	}
	if a := s.get("/api/v1/files/real_plant/images/new_1/metadata"); !strings.Contains(string(a.body), `"channel": "rgb"`) && !strings.Contains(string(a.body), `"channel":"rgb"`) {
		t.Errorf("metadata = %s", a.body)
	}
	if a := s.patch(location, token, len(text), ""); a.status != http.StatusNoContent {
		t.Errorf("the last PATCH again = %d %s, want the same answer", a.status, a.body)
	}
	if a := s.do(http.MethodDelete, location, "", bearer(token), tusResumable); a.status != http.StatusNoContent {
		t.Errorf("DELETE = %d %s", a.status, a.body)
	}
	wantProblem(t, "HEAD after DELETE", s.do(http.MethodGet, location, "", bearer(token), tusResumable), http.StatusNotFound, "unknown_upload")
	if left := uploads(t, s.dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func uploads(t *testing.T, dir string) []string {
	t.Helper()
	names := staged(t, dir)
	entries, err := os.ReadDir(filepath.Join(dir, ".plantdb", "uploads"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestUploadsWithTheirFirstBytes(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Prefix: "/plants"})
	token, _ := s.login("carol")
	post := func(size int, body string, more ...header) answer {
		return s.do(http.MethodPost, "/plants/api/v1/uploads", body, append(more, bearer(token), tusResumable, length(size), offsetBody,
			described("scan", "real_plant", "fileset", "images", "file", "whole", "ext", "png"))...)
	}
	part := post(10, "01234")
	if part.status != http.StatusCreated || part.header.Get("Upload-Offset") != "5" || !strings.HasPrefix(part.header.Get("Location"), "/plants/api/v1/uploads/") {
		t.Fatalf("POST of half = %d %v %s", part.status, part.header, part.body)
	}
	whole := post(5, "abcde")
	if whole.status != http.StatusCreated || whole.header.Get("Upload-Offset") != "5" {
		t.Fatalf("POST of all = %d %v %s", whole.status, whole.header, whole.body)
	}
	if a := s.get("/api/v1/files/real_plant/images/whole"); string(a.body) != "abcde" {
		t.Errorf("GET of the file = %d %q", a.status, a.body)
	}
	wantProblem(t, "POST of what is there", post(5, "abcde"), http.StatusConflict, "file_exists")
	wantProblem(t, "PATCH to other bytes", s.patch(part.header.Get("Location"), token, 5, "56789"), http.StatusConflict, "file_exists")
	wantProblem(t, "HEAD of it", s.do(http.MethodGet, part.header.Get("Location"), "", bearer(token), tusResumable), http.StatusConflict, "file_exists")
	s.do(http.MethodDelete, part.header.Get("Location"), "", bearer(token), tusResumable)
	if left := uploads(t, s.dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestUploadsRefuse(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{})
	carol, _ := s.login("carol")
	rita, _ := s.login("rita")
	good := described("scan", "real_plant", "fileset", "images", "filename", "x.png")
	for name, tt := range map[string]struct {
		token   string
		headers []header
		body    string
		status  int
		code    string
	}{
		"a reader":         {rita, []header{tusResumable, length(5), good}, "", 403, "forbidden"},
		"no version":       {carol, []header{length(5), good}, "", 412, "tus_version"},
		"another version":  {carol, []header{{"Tus-Resumable", "0.2.2"}, length(5), good}, "", 412, "tus_version"},
		"no length":        {carol, []header{tusResumable, good}, "", 400, "upload_length"},
		"a bad length":     {carol, []header{tusResumable, {"Upload-Length", "1e9"}, good}, "", 400, "upload_length"},
		"less than none":   {carol, []header{tusResumable, length(-5), good}, "", 400, "upload_length"},
		"nothing":          {carol, []header{tusResumable, length(0), good}, "", 400, "empty_file"},
		"too much":         {carol, []header{tusResumable, length(1 << 40), good}, "", 413, "too_large"},
		"no metadata":      {carol, []header{tusResumable, length(5)}, "", 400, "upload_metadata"},
		"bad Base64":       {carol, []header{tusResumable, length(5), {"Upload-Metadata", "scan !!"}}, "", 400, "upload_metadata"},
		"twice":            {carol, []header{tusResumable, length(5), {"Upload-Metadata", good.value + ",scan eA=="}}, "", 400, "upload_metadata"},
		"no text":          {carol, []header{tusResumable, length(5), {"Upload-Metadata", good.value + ",\xff eA=="}}, "", 400, "upload_metadata"},
		"no scan":          {carol, []header{tusResumable, length(5), described("fileset", "images", "filename", "x.png")}, "", 400, "upload_metadata"},
		"unknown scan":     {carol, []header{tusResumable, length(5), described("scan", "nope", "fileset", "images", "filename", "x.png")}, "", 404, "unknown_scan"},
		"no extension":     {carol, []header{tusResumable, length(5), described("scan", "real_plant", "fileset", "images", "filename", "x")}, "", 400, "bad_extension"},
		"bad JSON":         {carol, []header{tusResumable, length(5), described("scan", "real_plant", "fileset", "images", "filename", "x.png", "metadata", "{")}, "", 400, "invalid_metadata"},
		"a list":           {carol, []header{tusResumable, length(5), described("scan", "real_plant", "fileset", "images", "filename", "x.png", "metadata", "[]")}, "", 400, "bad_metadata"},
		"another body":     {carol, []header{tusResumable, length(5), good, asJSON}, "{}", 415, "unsupported_media_type"},
		"unknown checksum": {carol, []header{tusResumable, length(5), good, offsetBody, {"Upload-Checksum", "crc64 eA=="}}, "01234", 400, "upload_checksum"},
	} {
		a := s.do(http.MethodPost, "/api/v1/uploads", tt.body, append(tt.headers, bearer(tt.token))...)
		wantProblem(t, name, a, tt.status, tt.code)
		if a.header.Get("Tus-Resumable") != "1.0.0" || tt.status == 412 && a.header.Get("Tus-Version") != "1.0.0" {
			t.Errorf("%s: headers %v, want those of tus", name, a.header)
		}
	}
	location := s.beginUpload(carol, "x.png", 5)
	wantProblem(t, "no offset", s.do(http.MethodPatch, location, "01234", bearer(carol), tusResumable, offsetBody), 400, "upload_offset")
	wantProblem(t, "another offset", s.patch(location, carol, 3, "34"), 409, "offset_mismatch")
	wantProblem(t, "another body", s.do(http.MethodPatch, location, "01234", bearer(carol), tusResumable, asJSON, header{"Upload-Offset", "0"}), 415, "unsupported_media_type")
	wantProblem(t, "too long", s.patch(location, carol, 0, "012345"), 413, "upload_too_long")
	wantProblem(t, "another's", s.patch(location, rita, 0, "01234"), 404, "unknown_upload")
	wantProblem(t, "no version", s.do(http.MethodDelete, location, "", bearer(carol)), 412, "tus_version")
	wantProblem(t, "no upload", s.patch("/api/v1/uploads/01890a5d-ac96-774b-bcce-b302099a8057", carol, 0, "x"), 404, "unknown_upload")
	if a := s.patch("/api/v1/uploads/nope", carol, 0, "x"); a.status != http.StatusBadRequest {
		t.Errorf("PATCH of no id = %d %s, want 400", a.status, a.body)
	}
	if a := s.patch(location, carol, 0, "01234"); a.status != http.StatusNoContent {
		t.Errorf("PATCH after all that = %d %s", a.status, a.body)
	}
}

// What a browser asks before, and may read after.
func TestUploadsForBrowsers(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{})
	a := s.do(http.MethodOptions, "/api/v1/uploads", "", header{"Origin", "https://plants.example"},
		header{"Access-Control-Request-Method", "POST"}, header{"Access-Control-Request-Headers", "authorization,tus-resumable,upload-length,upload-metadata"})
	for name, want := range map[string]string{
		"Tus-Version": "1.0.0", "Tus-Extension": "creation,creation-with-upload,checksum,expiration,termination", "Tus-Max-Size": "8589934592",
		"Tus-Checksum-Algorithm": "sha1,sha256,sha512", "Access-Control-Allow-Headers": "authorization,tus-resumable,upload-length,upload-metadata",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("OPTIONS: %s = %q, want %q", name, got, want)
		}
	}
	for _, method := range []string{"POST", "HEAD", "PATCH", "DELETE"} {
		if !strings.Contains(a.header.Get("Access-Control-Allow-Methods"), method) {
			t.Errorf("OPTIONS allows %q, want %s too", a.header.Get("Access-Control-Allow-Methods"), method)
		}
	}
	if a.status != http.StatusNoContent {
		t.Errorf("OPTIONS = %d, want 204", a.status)
	}
	exposed := a.header.Get("Access-Control-Expose-Headers")
	for _, name := range []string{"Location", "Upload-Offset", "Upload-Length", "Upload-Metadata", "Upload-Expires", "Tus-Resumable", "Tus-Version", "Tus-Max-Size", "Tus-Extension"} {
		if !strings.Contains(exposed, name) {
			t.Errorf("exposed are %q, want %s too", exposed, name)
		}
	}
}

// A connection that is cut at any byte of a request, head or body, leaves an
// upload that says where it is and goes on from there.
func TestUploadsCutAnywhere(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{})
	token, _ := s.login("carol")
	content := bytes.Repeat([]byte("0123456789"), 30)
	location := s.beginUpload(token, "cut.png", len(content))
	address := strings.TrimPrefix(s.url, "http://")
	offset := func() int {
		a := s.do(http.MethodHead, location, "", bearer(token), tusResumable)
		n, err := strconv.Atoi(a.header.Get("Upload-Offset"))
		if err != nil || a.status != http.StatusOK {
			t.Fatalf("HEAD = %d %v", a.status, a.header)
		}
		return n
	}
	for _, part := range []int{1, 50, 100, 150, 1000, 1000, 1000, 1000} {
		at := offset()
		head := fmt.Sprintf("PATCH %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nTus-Resumable: 1.0.0\r\nContent-Type: %s\r\nUpload-Offset: %d\r\nContent-Length: %d\r\n\r\n",
			location, token, offsetBody.value, at, len(content)-at)
		request := head + string(content[at:])
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		cut := min(part, len(request))
		if part == 1000 {
			cut = min(len(head)+70, len(request))
		}
		if _, err := conn.Write([]byte(request[:cut])); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		// The server has seen the end once it has answered or closed.
		_, _ = bufio.NewReader(conn).ReadString('\n')
		_ = conn.Close()
		if now := offset(); now < at || now > at+max(0, cut-len(head)) {
			t.Fatalf("offset %d after %d bytes from %d on", now, cut-len(head), at)
		}
	}
	at := offset()
	if at == 0 {
		t.Error("nothing that came before a cut was kept")
	}
	if a := s.patch(location, token, at, string(content[at:])); a.status != http.StatusNoContent && at < len(content) {
		t.Fatalf("the last PATCH = %d %s", a.status, a.body)
	}
	if a := s.get("/api/v1/files/real_plant/images/cut"); !bytes.Equal(a.body, content) {
		t.Errorf("GET of the file = %d, %d bytes, want %d", a.status, len(a.body), len(content))
	}
	if left := uploads(t, s.dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// A connection that is cut after any byte of a request, of its head or body, for
// good: an upload has just the bytes that came, and goes on to the whole file, or
// is ended and leaves nothing; a creation leaves nothing.
func TestUploadsCutAtEveryByte(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{})
	token, _ := s.login("carol")
	content := strings.Repeat("0123456789abcdef", 4)
	head := func(method, path string, more ...header) string {
		text := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n", method, path, token, len(content))
		for _, h := range append(more, tusResumable, offsetBody) {
			text += h.name + ": " + h.value + "\r\n"
		}
		return text + "\r\n"
	}
	// finish goes on with an upload that has so many bytes, or ends it.
	finish := func(location, file string, came int) {
		t.Helper()
		a := s.do(http.MethodHead, location, "", bearer(token), tusResumable)
		if a.status != http.StatusOK || a.header.Get("Upload-Offset") != strconv.Itoa(came) {
			t.Fatalf("HEAD after %d bytes = %d %v", came, a.status, a.header)
		}
		if came%2 == 0 {
			if a := s.do(http.MethodDelete, location, "", bearer(token), tusResumable); a.status != http.StatusNoContent {
				t.Errorf("DELETE after %d bytes = %d %s", came, a.status, a.body)
			}
			if a := s.get("/api/v1/files/real_plant/images/" + file); a.status != http.StatusNotFound {
				t.Errorf("GET of a file whose upload was ended = %d %q", a.status, a.body)
			}
			return
		}
		if a := s.patch(location, token, came, content[came:]); a.status != http.StatusNoContent {
			t.Errorf("PATCH after %d bytes = %d %s", came, a.status, a.body)
		}
		a = s.get("/api/v1/files/real_plant/images/" + file)
		if want := fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(content))); string(a.body) != content || a.header.Get("ETag") != want {
			t.Errorf("GET after a cut at %d = %d %q, ETag %s, want %s", came, a.status, a.body, a.header.Get("ETag"), want)
		}
	}
	nothingLeft := func(what string) {
		t.Helper()
		if left := uploads(t, s.dir); len(left) > 0 {
			t.Fatalf("%s leaves %v", what, left)
		}
	}

	idle := s.beginUpload(token, "idle.png", len(content))
	patch := head(http.MethodPatch, idle, header{"Upload-Offset", "0"})
	for n := range len(patch) + 1 {
		s.cutAfter(patch[:n])
	}
	finish(idle, "idle", 0)
	nothingLeft("a PATCH cut in its head")
	for n := 1; n < len(content); n++ {
		file := fmt.Sprint("patched", n)
		location := s.beginUpload(token, file+".png", len(content))
		s.cutAfter(head(http.MethodPatch, location, header{"Upload-Offset", "0"}) + content[:n])
		finish(location, file, n)
		nothingLeft(fmt.Sprintf("a PATCH cut after %d bytes", n))
	}

	created := func(file string) string {
		return head(http.MethodPost, "/api/v1/uploads", length(len(content)), described("scan", "real_plant", "fileset", "images", "file", file, "ext", "png"))
	}
	post := created("none")
	for n := range len(post) {
		s.cutAfter(post[:n])
	}
	nothingLeft("a POST cut in its head")
	for n := range len(content) { // nobody knows of an upload whose creation had no answer
		if answer := s.cutAfter(created("none") + content[:n]); answer.Get("Location") != "" {
			t.Errorf("POST cut after %d bytes = %v, want no upload", n, answer)
		}
		nothingLeft(fmt.Sprintf("a POST cut after %d bytes", n))
	}
	if a := s.get("/api/v1/files/real_plant/images/none"); a.status != http.StatusNotFound {
		t.Errorf("GET of a file that never came = %d %q", a.status, a.body)
	}
	answer := s.cutAfter(created("whole") + content)
	if a := s.get("/api/v1/files/real_plant/images/whole"); answer.Get("Upload-Offset") != strconv.Itoa(len(content)) || string(a.body) != content {
		t.Errorf("POST of all = %v, and GET = %d %q", answer, a.status, a.body)
	}
	nothingLeft("a POST of all")
}

// cutAfter sends the beginning of a request, and nothing more, and returns the head
// of the answer once the server has done with it.
func (s *site) cutAfter(request string) http.Header {
	s.t.Helper()
	conn, err := new(net.Dialer).DialContext(s.t.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close() // it was read to its end
	if _, err := io.WriteString(conn, request); err != nil {
		s.t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		s.t.Fatal(err)
	}
	said, err := io.ReadAll(conn)
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(said)), nil)
	if err != nil {
		return nil // there was no request yet
	}
	defer response.Body.Close() // all of it was read
	return response.Header
}
