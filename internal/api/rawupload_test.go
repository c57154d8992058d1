package api_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
)

// A file is put at a path of a scan as 0.14 to 0.17 do it, or refused in
// upstream's words.
func TestRawUpload(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	carol, _ := s.login("carol")
	rita, _ := s.login("rita")
	s.made(s.do(http.MethodPost, "/scan/raw", "", bearer(carol)))
	disposition, at := header{"Content-Disposition", "attachment; filename=notes.txt"}, header{"X-File-Path", "notes.txt"}
	put := func(body string, headers ...header) answer {
		return s.do(http.MethodPost, "/files/raw", body, append(headers, bearer(carol))...)
	}
	for _, text := range []string{"first", "second"} {
		a := put(text, disposition, at, header{"X-Chunk-Size", "65536"})
		if v := a.json(t); a.status != http.StatusCreated || v["message"] != "File notes.txt received and saved" || a.header.Get("Deprecation") != "true" {
			t.Fatalf("POST /files/raw = %d %s, want 201 and upstream's words", a.status, a.body)
		}
		if a := s.get("/files/raw/notes.txt"); string(a.body) != text {
			t.Errorf("GET /files/raw/notes.txt = %d %q, want %q", a.status, a.body, text)
		}
	}
	if v := s.get("/scan/raw/filesets").json(t); fmt.Sprint(v["filesets"]) != "[]" {
		t.Errorf("filesets = %v, want none", v["filesets"])
	}
	for _, tt := range []struct {
		what    string
		answer  answer
		status  int
		code    string
		message string
	}{
		{"no headers", put("x"), 400, "missing_headers", "Missing required header(s): Content-Disposition, X-File-Path"},
		{"no path", put("x", disposition, header{"X-File-Path", " "}), 400, "empty_file_path", "Header 'X-File-Path' must contain a non\u2011empty value"},
		{"nothing", put("", disposition, at), 400, "empty_file", "Header 'Content-Length' must be > 0"},
		{"chunk", put("x", disposition, at, header{"X-Chunk-Size", "many"}), 400, "invalid_chunk_size", "Header 'X-Chunk-Size' must be an integer"},
		{"chunk below", put("x", disposition, at, header{"X-Chunk-Size", "-1"}), 400, "invalid_chunk_size", "Header 'X-Chunk-Size' cannot be negative"},
		{"a piece", put("1234", disposition, at, header{"X-Chunk-Size", "4"}), 400, "pieces", ""},
		{"{} of the helpers", put("{}", disposition, at, asJSON), 400, "no_file", ""},
		{"index", put("{}", disposition, header{"X-File-Path", "files.json"}), 400, "name_reserved", ""},
		{"metadata", put("{}", disposition, header{"X-File-Path", "metadata/metadata.json"}), 400, "name_reserved", ""},
		{"above", put("x", disposition, header{"X-File-Path", "../notes.txt"}), 400, "name_invalid", ""},
		{"hidden", put("x", disposition, header{"X-File-Path", ".plantdb.json"}), 400, "name_invalid", ""},
		{"no scan", s.do(http.MethodPost, "/files/nope", "x", disposition, at, bearer(carol)), 404, "unknown_scan", ""},
		{"no token", s.do(http.MethodPost, "/files/raw", "x", disposition, at), 401, "token_missing", ""},
		{"a reader", s.do(http.MethodPost, "/files/raw", "x", disposition, at, bearer(rita)), 403, "forbidden", ""},
	} {
		v := tt.answer.json(t)
		if tt.answer.status != tt.status || v["code"] != tt.code || tt.message != "" && v["message"] != tt.message || v["error"] != v["message"] {
			t.Errorf("%s = %d %s, want %d %s %q", tt.what, tt.answer.status, tt.answer.body, tt.status, tt.code, tt.message)
		}
	}
	// Two bytes that are a file.
	if a := put("{}", disposition, header{"X-File-Path", "some/where/x.JSON"}, asJSON); a.status != http.StatusCreated {
		t.Errorf("{} as a JSON file = %d %s, want 201", a.status, a.body)
	}
	// A body that breaks off leaves nothing.
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /files/raw HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Disposition: x\r\nX-File-Path: broken.txt\r\nContent-Length: 20\r\n\r\n0123456789", carol)
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := bufio.NewReader(res.Body).ReadString('\n')
	if res.StatusCode != http.StatusBadRequest || !strings.Contains(text, "Received 10 bytes, expected 20 bytes") {
		t.Errorf("half a body = %d %s, want 400 with what came", res.StatusCode, text)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "raw", "broken.txt")); err == nil {
		t.Error("half a body has become a file")
	}
	if left := staged(t, s.dir); len(left) > 0 {
		t.Errorf("staging holds %v, want nothing", left)
	}
}
