package swaggerui

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// get asks the handler as it is mounted by the server.
func get(t *testing.T, method, target string, header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, http.NoBody)
	maps.Copy(r.Header, header)
	w := httptest.NewRecorder()
	http.StripPrefix("/docs/", Handler()).ServeHTTP(w, r)
	return w
}

func TestHandler(t *testing.T) {
	t.Parallel()
	version, _ := load()
	const forever = "public, max-age=31536000, immutable"
	tests := []struct {
		target      string
		status      int
		contentType string
		cache       string
	}{
		{"/docs/", 200, "text/html; charset=utf-8", "no-cache"},
		{"/docs/index.html", 200, "text/html; charset=utf-8", "no-cache"},
		{"/docs/init.js", 200, "text/javascript; charset=utf-8", "no-cache"},
		{"/docs/init.js?v=" + version, 200, "text/javascript; charset=utf-8", "no-cache"},
		{"/docs/swagger-ui.css", 200, "text/css; charset=utf-8", "no-cache"},
		{"/docs/swagger-ui.css?v=1.0.0", 200, "text/css; charset=utf-8", "no-cache"},
		{"/docs/swagger-ui.css?v=" + version, 200, "text/css; charset=utf-8", forever},
		{"/docs/swagger-ui-bundle.js?v=" + version, 200, "text/javascript; charset=utf-8", forever},
		{"/docs/favicon-32x32.png?v=" + version, 200, "image/png", forever},
		{"/docs/LICENSE", 200, "text/plain; charset=utf-8", "no-cache"},
		{"/docs/dist/swagger-ui.css", 404, "text/plain; charset=utf-8", ""},
		{"/docs/swaggerui.go", 404, "text/plain; charset=utf-8", ""},
		{"/docs/..%2fVERSION", 404, "text/plain; charset=utf-8", ""},
	}
	for _, tt := range tests {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			w := get(t, method, tt.target, nil)
			h := w.Header()
			if w.Code != tt.status || h.Get("Content-Type") != tt.contentType || h.Get("Cache-Control") != tt.cache {
				t.Errorf("%s %s = %d, %q, %q, want %d, %q, %q", method, tt.target,
					w.Code, h.Get("Content-Type"), h.Get("Cache-Control"), tt.status, tt.contentType, tt.cache)
			}
			if tt.status == http.StatusOK && (w.Body.Len() > 0) != (method == http.MethodGet) {
				t.Errorf("%s %s answered with %d bytes", method, tt.target, w.Body.Len())
			}
			assertSafe(t, method+" "+tt.target, h)
		}
	}
}

// assertSafe wants the headers that each answer carries, errors included.
func assertSafe(t *testing.T, call string, h http.Header) {
	t.Helper()
	for name, want := range map[string]string{
		"Content-Security-Policy": policy,
		"X-Content-Type-Options":  "nosniff",
		"Referrer-Policy":         "no-referrer",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %s = %q, want %q", call, name, got, want)
		}
	}
}

func TestHandlerRevalidates(t *testing.T) {
	t.Parallel()
	etag := get(t, http.MethodGet, "/docs/", nil).Header().Get("ETag")
	if etag == "" {
		t.Fatal("GET /docs/ has no ETag")
	}
	w := get(t, http.MethodGet, "/docs/", http.Header{"If-None-Match": {etag}})
	if w.Code != http.StatusNotModified || w.Body.Len() != 0 {
		t.Errorf("GET /docs/ with its ETag = %d and %d bytes, want 304 and none", w.Code, w.Body.Len())
	}
	if other := get(t, http.MethodGet, "/docs/init.js", nil).Header().Get("ETag"); other == etag {
		t.Errorf("init.js and the page share the ETag %s", etag)
	}
}

func TestHandlerRefusesWrites(t *testing.T) {
	t.Parallel()
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		w := get(t, method, "/docs/", nil)
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s /docs/ = %d, Allow %q, want 405, \"GET, HEAD\"", method, w.Code, w.Header().Get("Allow"))
		}
		assertSafe(t, method+" /docs/", w.Header())
	}
}

func TestPolicyIsStrict(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"unsafe", "http", "*"} {
		if strings.Contains(policy, bad) {
			t.Errorf("the policy allows %q: %s", bad, policy)
		}
	}
}

// TestPage holds what the policy would forbid at run time, where only a person
// at a browser would see it.
func TestPage(t *testing.T) {
	t.Parallel()
	version, assets := load()
	page := string(assets[""].Bytes())
	for what, pattern := range map[string]string{
		"an inline script":       `(?is)<script[^>]*>\s*[^<\s]`,
		"a script without file":  `(?i)<script(>|\s+defer>)`,
		"an inline style":        `(?i)<style|\sstyle\s*=`,
		"an event handler":       `(?i)\son[a-z]+\s*=`,
		"a javascript: address":  `(?i)javascript:`,
		"an address from abroad": `(?i)(src|href)\s*=\s*"(//|[a-z]+:)`,
		"an absolute address":    `(?i)(src|href)\s*=\s*"/`,
	} {
		if found := regexp.MustCompile(pattern).FindString(page); found != "" {
			t.Errorf("index.html has %s: %q", what, found)
		}
	}

	refs := regexp.MustCompile(`(?:src|href)="([^".][^"?]*)(?:\?v=([^"]*))?"`).FindAllStringSubmatch(page, -1)
	if len(refs) != 6 {
		t.Errorf("index.html names %d files, want 6: %v", len(refs), refs)
	}
	for _, ref := range refs {
		a, ok := assets[ref[1]]
		if !ok {
			t.Errorf("index.html names %q, which is not embedded", ref[1])
		}
		if want := map[bool]string{true: version}[a.pinned]; ref[2] != want {
			t.Errorf("index.html asks for version %q of %s, want %q", ref[2], ref[1], want)
		}
	}
	if script := string(assets["init.js"].Bytes()); !strings.Contains(script, "url: '../openapi-3.0.json'") {
		t.Error("init.js does not name the document relative to the page")
	}
}

// TestVersion holds that dist/ is what VERSION says, file by file.
func TestVersion(t *testing.T) {
	t.Parallel()
	raw, err := fs.ReadFile(files, "VERSION")
	if err != nil {
		t.Fatal(err)
	}
	head, sums, _ := strings.Cut(strings.TrimSpace(string(raw)), "\n")
	if !regexp.MustCompile(`^swagger-ui-dist 5\.\d+\.\d+$`).MatchString(head) {
		t.Errorf("VERSION begins with %q, want swagger-ui-dist 5.x.y", head)
	}
	entries, err := fs.ReadDir(files, "dist")
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string)
	for line := range strings.Lines(sums) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		want[name] = sum
	}
	if len(entries) != len(want) {
		t.Errorf("dist/ holds %d files, VERSION names %d", len(entries), len(want))
	}
	for _, e := range entries {
		content, err := fs.ReadFile(files, "dist/"+e.Name())
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(content)
		if got := hex.EncodeToString(sum[:]); got != want[e.Name()] {
			t.Errorf("dist/%s has sha256 %s, VERSION says %q", e.Name(), got, want[e.Name()])
		}
	}
}
