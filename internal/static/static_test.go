package static_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/static"
)

// answer is what came, its body without the encoding.
type answer struct {
	status int
	header http.Header
	body   string
}

func ask(t *testing.T, h http.Handler, method string, header ...string) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "/", nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var from io.Reader = w.Body
	if w.Header().Get("Content-Encoding") == "gzip" && w.Body.Len() > 0 {
		z, err := gzip.NewReader(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		from = z
	}
	text, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	return answer{w.Code, w.Header(), string(text)}
}

func TestContent(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("a plant and its leaves, ", 100)
	made := 0
	c := static.New("text/plain", func() []byte { made++; return []byte(text) })
	for _, encodings := range []string{"", "identity", "br", "gzip;q=0", "gzip; Q=0.000", "*;q=0", "*, gzip;q=0", "gzip;q=0, *", "gzip;q=much"} {
		r := ask(t, c, http.MethodGet, "Accept-Encoding", encodings)
		if r.header.Get("Content-Encoding") != "" || r.body != text {
			t.Errorf("Accept-Encoding %q: %v", encodings, r.header)
		}
	}
	var zipped answer
	for _, encodings := range []string{"gzip", "br, GZIP ;q=0.1", "deflate, x-gzip", "*", "identity;q=0.5, *;q=0.1"} {
		zipped = ask(t, c, http.MethodGet, "Accept-Encoding", encodings)
		if zipped.header.Get("Content-Encoding") != "gzip" || zipped.body != text {
			t.Errorf("Accept-Encoding %q: %v", encodings, zipped.header)
		}
	}
	plain := ask(t, c, http.MethodGet)
	if made != 1 || plain.header.Get("ETag") == zipped.header.Get("ETag") {
		t.Errorf("made %d times; ETags %s, %s", made, plain.header.Get("ETag"), zipped.header.Get("ETag"))
	}
	for _, r := range []answer{plain, zipped} {
		if r.header.Get("Vary") != "Accept-Encoding" || r.header.Get("Content-Type") != "text/plain" {
			t.Errorf("header %v", r.header)
		}
		encoding := r.header.Get("Content-Encoding")
		if again := ask(t, c, http.MethodGet, "Accept-Encoding", encoding, "If-None-Match", r.header.Get("ETag")); again.status != http.StatusNotModified {
			t.Errorf("the same again, encoding %q = %d", encoding, again.status)
		}
		if head := ask(t, c, http.MethodHead, "Accept-Encoding", encoding); head.status != http.StatusOK || head.body != "" || head.header.Get("ETag") != r.header.Get("ETag") {
			t.Errorf("HEAD, encoding %q = %d %v", encoding, head.status, head.header)
		}
	}
	part := ask(t, c, http.MethodGet, "Accept-Encoding", "gzip", "Range", "bytes=2-6", "If-Range", plain.header.Get("ETag"))
	if part.status != http.StatusPartialContent || part.body != "plant" {
		t.Errorf("a range = %d %v", part.status, part.header)
	}
}

func TestContentThatIsShort(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"", "short"} {
		r := ask(t, static.New("text/plain", func() []byte { return []byte(content) }), http.MethodGet, "Accept-Encoding", "gzip")
		if r.header.Get("Content-Encoding") != "" || r.body != content {
			t.Errorf("%q = %v", content, r.header)
		}
	}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	if got := static.New("text/plain", func() []byte { return []byte("x") }).Bytes(); !bytes.Equal(got, []byte("x")) {
		t.Errorf("Bytes() = %q", got)
	}
}
