package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/romi/plantdb-go/internal/auth"
	"github.com/romi/plantdb-go/internal/observe"
	"github.com/romi/plantdb-go/tokenauth"
)

func TestASCII(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"a":1}`:        `{"a":1}`,
		`"–"`:            `"\u2013"`,
		`"é😀x"`:          `"\u00e9\ud83d\ude00x"`,
		"\"\xff\"":       `"\ufffd"`,
		`["é", "plain"]`: `["\u00e9", "plain"]`,
	} {
		if got := string(ascii([]byte(in))); got != want {
			t.Errorf("ascii(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestPythonLiteral(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{'a': 1, 'b': [True, False, None]}`: `{"a": 1, "b": [true, false, null]}`,
		`{'it': "isn't", 'q': 'say "x"'}`:    `{"it": "isn't", "q": "say \"x\""}`,
		`{'n': 1e-05, 'u': 'True é\n'}`:      `{"n": 1e-05, "u": "True é\n"}`,
		`{'t': (1, 2)}`:                      "",
		`{'a': __import__('os')}`:            "",
		`{'open': 'quote}`:                   "",
		`{'bad': '\x41'}`:                    "",
		`{1: 2}`:                             "",
		``:                                   "",
	} {
		got, ok := pythonLiteral(in)
		if ok != (want != "") || ok && string(got) != want {
			t.Errorf("pythonLiteral(%q) = %q, %v, want %q", in, got, ok, want)
		}
	}
}

// Cookies go with what their token cannot recover from, and with nothing else.
func TestDead(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../../docs/authentication.md")
	if err != nil {
		t.Fatal(err)
	}
	for want, errs := range map[bool][]error{
		true: {
			tokenauth.ErrMalformed, tokenauth.ErrUnknownKey, tokenauth.ErrSignature, tokenauth.ErrIssuer, tokenauth.ErrAudience, tokenauth.ErrExpired,
			tokenauth.ErrWrongType, tokenauth.ErrRevoked, tokenauth.ErrAccessUnknown, tokenauth.ErrRefreshUnknown, tokenauth.ErrRefreshReused,
			tokenauth.ErrSessionEnded, tokenauth.ErrUserInactive, auth.ErrNotLoggedIn, fmt.Errorf("log out: %w", auth.ErrNotLoggedIn),
		},
		false: {
			nil, tokenauth.ErrMissing, tokenauth.ErrAmbiguous, tokenauth.ErrNotYetValid, tokenauth.ErrCSRFMissing, tokenauth.ErrCSRFMismatch,
			tokenauth.ErrCheckerFailed, auth.ErrLogout, errUnavailable, errInternal, context.Canceled, io.ErrUnexpectedEOF,
		},
	} {
		for _, err := range errs {
			if got := dead(err); got != want {
				t.Errorf("dead(%v) = %v, want %v", err, got, want)
			}
			// Those of tokens are all here, so all must be told of.
			if refusal, ok := errors.AsType[*tokenauth.Error](err); ok && !bytes.Contains(guide, []byte("`"+refusal.Code+"`")) {
				t.Errorf("docs/authentication.md does not say what %s means", refusal.Code)
			}
		}
	}
}

// A server that has all files open that it may is no broken one: clients come again.
func TestTooManyOpenFiles(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{syscall.EMFILE, syscall.ENFILE} {
		p := problemOf(t.Context(), slog.New(slog.DiscardHandler), fmt.Errorf("open scan: %w", &fs.PathError{Op: "openat", Path: "s", Err: cause}))
		if p.Status != http.StatusServiceUnavailable || p.Code != "too_many_open_files" || p.headers.Get("Retry-After") == "" {
			t.Errorf("%v = %d %s, Retry-After %q", cause, p.Status, p.Code, p.headers.Get("Retry-After"))
		}
	}
}

func FuzzPythonLiteral(f *testing.F) {
	f.Add(`{'a': 1, "b": [True, None]}`)
	f.Add(`{'a': '\\'}`)
	f.Fuzz(func(t *testing.T, in string) {
		if out, ok := pythonLiteral(in); ok && !json.Valid(out) {
			t.Errorf("pythonLiteral(%q) = %q, no JSON", in, out)
		}
	})
}

func TestLimiter(t *testing.T) {
	t.Parallel()
	l := newLimiter(3)
	now := time.Now()
	l.now = func() time.Time { return now }
	alice, bob := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range 3 {
		if ok, left, _ := l.take(alice); !ok || left != 2-i {
			t.Errorf("take %d = %v, %d left, want true, %d", i+1, ok, left, 2-i)
		}
	}
	ok, _, wait := l.take(alice)
	if ok || wait <= 0 || wait > 20*time.Second {
		t.Errorf("take 4 = %v, wait %s, want refused until a third of a minute has passed", ok, wait)
	}
	if ok, _, _ := l.take(bob); !ok {
		t.Error("another address is refused too")
	}
	now = now.Add(wait)
	if ok, _, _ := l.take(alice); !ok {
		t.Error("refused again after the wait that was told")
	}
	// All of one /64 is one client.
	for range 3 {
		l.take(netip.MustParseAddr("2001:db8::1"))
	}
	if ok, _, _ := l.take(netip.MustParseAddr("2001:db8::ffff")); ok {
		t.Error("a neighbour in the same /64 is let through")
	}
}

func TestClientAddress(t *testing.T) {
	t.Parallel()
	s := &server{config: Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}
	for _, tt := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"no proxy", "192.0.2.1:99", nil, "192.0.2.1"},
		{"spoofed", "192.0.2.1:99", []string{"198.51.100.7"}, "192.0.2.1"},
		{"proxy", "10.0.0.1:99", []string{"198.51.100.7"}, "198.51.100.7"},
		{"spoofed before a proxy", "10.0.0.1:99", []string{"203.0.113.9, 198.51.100.7"}, "198.51.100.7"},
		{"two proxies", "10.0.0.1:99", []string{"198.51.100.7, 10.0.0.2"}, "198.51.100.7"},
		{"two headers", "10.0.0.1:99", []string{"198.51.100.7", "10.0.0.2"}, "198.51.100.7"},
		{"garbage", "10.0.0.1:99", []string{"unknown"}, "10.0.0.1"},
		{"mapped", "[::ffff:10.0.0.1]:99", []string{"198.51.100.7"}, "198.51.100.7"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.RemoteAddr = tt.peer
		r.Header["X-Forwarded-For"] = tt.forwarded
		if got := s.clientAddress(r).String(); got != tt.want {
			t.Errorf("%s: clientAddress = %s, want %s", tt.name, got, tt.want)
		}
	}
}

// newBare is the surface without services: what needs none can be asked.
func newBare(t *testing.T, config Config) http.Handler {
	t.Helper()
	return New(Services{Log: slog.New(slog.DiscardHandler), Metrics: observe.NewMetrics(nil)}, config)
}

func ask(h http.Handler, method, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(context.Background(), method, path, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	h := newBare(t, Config{Prefix: "/plantdb"})
	for _, tt := range []struct {
		method, path   string
		status         int
		header, equals string
	}{
		{"GET", "/", 302, "Location", "/plantdb/api/v1/"},
		{"GET", "/api/v1", 308, "Location", "/plantdb/api/v1/"},
		{"GET", "/api/v1/", 200, "Content-Type", "application/json"},
		{"GET", "/plantdb/api/v1/", 200, "", ""},
		{"GET", "/plantdb/", 302, "", ""},
		{"GET", "/plantdbx/api/v1/", 404, "", ""},
		{"HEAD", "/api/v1/", 200, "", ""},
		{"GET", "/nowhere", 404, "Content-Type", "application/json"},
		{"GET", "/api/v1/nowhere/", 404, "", ""},
		{"DELETE", "/api/v1/health", 405, "Allow", "GET, HEAD, OPTIONS"},
		{"OPTIONS", "/api/v1/health/", 204, "Allow", "GET, HEAD, OPTIONS"},
		{"OPTIONS", "/api/v1/scans/info", 204, "Allow", "GET, HEAD, OPTIONS"},
		{"POST", "/api/v1/scans/info", 405, "Allow", "GET, HEAD, OPTIONS"},
		{"DELETE", "/plantdb/api/v1/scans/info/", 405, "Allow", "GET, HEAD, OPTIONS"},
		{"OPTIONS", "/api/v1/scans/inform", 204, "Allow", "DELETE, GET, HEAD, POST, OPTIONS"},
		{"GET", "/docs/", 200, "Content-Type", "text/html; charset=utf-8"},
		{"GET", "/openapi.json", 200, "Content-Type", "application/json"},
		{"GET", "/openapi-3.0.yaml", 200, "Content-Type", "application/yaml"},
		{"GET", "/metrics", 200, "", ""},
	} {
		w := ask(h, tt.method, tt.path)
		if w.Code != tt.status || tt.header != "" && w.Header().Get(tt.header) != tt.equals {
			t.Errorf("%s %s = %d, %s: %q, want %d, %q", tt.method, tt.path, w.Code, tt.header, w.Header().Get(tt.header), tt.status, tt.equals)
		}
	}
	if w := ask(h, "GET", "/", "Accept", "text/html,*/*"); w.Header().Get("Location") != "/plantdb/docs/" {
		t.Errorf("GET / of a browser leads to %q, want the documentation", w.Header().Get("Location"))
	}
	var home map[string]any
	if err := json.Unmarshal(ask(h, "GET", "/api/v1/").Body.Bytes(), &home); err != nil {
		t.Fatal(err)
	}
	for list, paths := range home {
		m, ok := paths.(map[string]any)
		for path := range m {
			if ok && !strings.HasPrefix(path, "/plantdb/") {
				t.Errorf("home: %s has %q, want all below the deploy prefix", list, path)
			}
		}
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	h := newBare(t, Config{})
	w := ask(h, "OPTIONS", "/api/v1/scans", "Origin", "http://x", "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "authorization")
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin": "http://x", "Access-Control-Allow-Headers": "authorization",
		"Access-Control-Allow-Methods": "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT", "Vary": "Origin", "Access-Control-Allow-Credentials": "",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("preflight: %s = %q, want %q", name, got, want)
		}
	}
	if got := ask(h, "GET", "/api/v1/").Header().Get("Access-Control-Allow-Origin"); got != "*" {
		t.Errorf("without Origin: Access-Control-Allow-Origin = %q, want *", got)
	}
}

// A handler that panics, or fails by a name nobody knows, says nothing of why.
func TestBlandFailures(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := newServer(Services{Log: slog.New(slog.NewJSONHandler(&log, nil)), Metrics: observe.NewMetrics(nil)}, Config{})
	register(s, route{id: "test-panic", method: http.MethodGet, path: "/test/panic", tag: tagServer, security: public, summary: "x"},
		func(context.Context, *struct{}) (*reply[message], error) { panic("secret of the panic") })
	register(s, route{id: "test-failure", method: http.MethodGet, path: "/test/failure", tag: tagServer, security: public, summary: "x"},
		func(context.Context, *struct{}) (*reply[message], error) { return nil, io.ErrNoProgress })
	h := s.observed(newRouter(s.mux))
	for path, cause := range map[string]string{"/api/v1/test/panic": "secret of the panic", "/api/v1/test/failure": io.ErrNoProgress.Error()} {
		w := ask(h, "GET", path, "X-Request-Id", "my-request-1")
		if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), `"message":"Internal Server Error"`) || strings.Contains(w.Body.String(), cause) {
			t.Errorf("GET %s = %d %s, want a bland 500", path, w.Code, w.Body)
		}
		if !strings.Contains(log.String(), cause) || !strings.Contains(log.String(), "my-request-1") {
			t.Errorf("GET %s: the log has neither cause nor request id: %s", path, log.String())
		}
	}
}

// Huma's errors never repeat the value that they refuse.
func TestRefusedValuesAreNotRepeated(t *testing.T) {
	t.Parallel()
	h := newBare(t, Config{})
	for _, body := range []string{`{"username":"u","password":["hunter2"]}`, `{"username":{"x":"hunter2"},"password":"p"}`, `hunter2`, `"hunter2"`} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1/auth/login", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest || strings.Contains(w.Body.String(), "hunter2") {
			t.Errorf("login with %s = %d %s, want 400 without the value", body, w.Code, w.Body)
		}
	}
	err := humaProblem(http.StatusUnprocessableEntity, "validation failed", []error{&huma.ErrorDetail{Message: "expected integer", Location: "query.limit", Value: "hunter2"}})
	if err.Status != http.StatusBadRequest || strings.Contains(err.Message, "hunter2") || len(err.Errors) != 1 || err.Errors[0].Location != "query.limit" {
		t.Errorf("humaProblem = %+v, want 400 with the place and not the value", err)
	}
}

// A null where a value may be left out is refused, and the place is named; a
// required one is missing, in upstream's words.
func TestNulls(t *testing.T) {
	t.Parallel()
	type inner struct {
		Names []string `json:"names,omitempty"`
	}
	type body struct {
		Role     string          `json:"role,omitempty"`
		Must     string          `json:"must"`
		Unlock   *bool           `json:"unlock,omitempty"`
		Inner    *inner          `json:"inner,omitempty"`
		Metadata Object          `json:"metadata,omitempty"`
		Raw      json.RawMessage `json:"raw,omitempty"`
	}
	for text, place := range map[string]string{
		`{"role":"null","must":null,"metadata":{"a":null},"raw":null,"more":null}`: "",
		`null`:                          "body",
		`{"metadata":null}`:             "body.metadata",
		`{"role": null}`:                "body.role",
		`{"ROLE":null}`:                 "body.role",
		`{"unlock":null}`:               "body.unlock",
		`{"inner":null}`:                "body.inner",
		`{"inner":{"names":null}}`:      "body.inner.names",
		`{"inner":{"names":["null"]}}`:  "",
		`{"inner":{"names":["",null]}}`: "body.inner.names[1]",
	} {
		err := decode([]byte(text), new(body))
		p, _ := errors.AsType[*Problem](err)
		switch {
		case place == "" && err != nil:
			t.Errorf("decode(%s) = %v, want it taken", text, err)
		case place != "" && (p == nil || p.Status != http.StatusBadRequest || p.Message != place+": unexpected null" || p.Errors[0].Location != place):
			t.Errorf("decode(%s) = %v, want a 400 that names %s", text, err, place)
		}
	}
}

func TestWholeNumbers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]whole{"0": 0, "-3": -3, "24009.0": 24009, "5e3": 5000, "9223372036854775807": 1<<63 - 1} {
		if got := struct{ N whole }{}; decode([]byte(`{"N":`+text+`}`), &got) != nil || got.N != want {
			t.Errorf("decode(%s) = %d, want %d", text, got.N, want)
		}
	}
	for _, text := range []string{`0.5`, `1e300`, `9223372036854775808`, `"7"`, `true`, `[1]`} {
		got := struct{ N whole }{}
		if p, ok := errors.AsType[*Problem](decode([]byte(`{"N":`+text+`}`), &got)); !ok || p.Status != http.StatusBadRequest {
			t.Errorf("decode(%s) = %v, want a 400", text, p)
		}
	}
}

func TestHeadTooLarge(t *testing.T) {
	t.Parallel()
	h := newBare(t, Config{})
	long := strings.Repeat("x", maxHead)
	for _, w := range []*httptest.ResponseRecorder{
		ask(h, "GET", "/api/v1/", "X-Long", long), ask(h, "GET", "/api/v1/?q="+long), ask(h, "POST", "/no/such/path", "Cookie", long),
	} {
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 431 || p.Code != "headers_too_large" || p.Message == "" {
			t.Errorf("a head of more than %d bytes = %d %.200s (%v), want a problem of 431", maxHead, w.Code, w.Body, err)
		}
	}
	if w := ask(h, "GET", "/api/v1/", "X-Long", long[:maxHead-1000]); w.Code != http.StatusOK {
		t.Errorf("a head below %d bytes = %d, want 200", maxHead, w.Code)
	}
}

// Every JSON that goes in or out is shown by an example, which is what its
// schema says; and no example is left of an operation that went.
func TestExamples(t *testing.T) {
	t.Parallel()
	s := newServer(Services{Log: slog.New(slog.DiscardHandler), Metrics: observe.NewMetrics(nil)}, Config{})
	unused := maps.Clone(examples())
	for path, item := range s.api.OpenAPI().Paths {
		for _, op := range operationsOf(item) {
			delete(unused, op.OperationID)
			if op.RequestBody != nil {
				checkExample(t, s, op.Method+" "+path+": request", op.RequestBody.Content["application/json"])
			}
			checkExample(t, s, op.Method+" "+path+": answer", op.Responses[strconv.Itoa(op.DefaultStatus)].Content["application/json"])
		}
	}
	for id := range unused {
		t.Errorf("examples.json has %q, which is no operation", id)
	}
}

// What answers an older path in a way of its own does so under an id of the table.
func TestOlderPathsAreOfTheTable(t *testing.T) {
	t.Parallel()
	s := newServer(Services{Log: slog.New(slog.DiscardHandler), Metrics: observe.NewMetrics(nil)}, Config{})
	for id := range s.different {
		if !slices.ContainsFunc(aliases, func(a alias) bool { return a.id == id }) {
			t.Errorf("%q is none of the aliases", id)
		}
	}
	served := 0
	for _, item := range s.legacy.OpenAPI().Paths {
		served += len(operationsOf(item))
	}
	if len(s.different) == 0 || served != len(aliases) {
		t.Errorf("%d older paths are served, %d of them in a way of their own; want %d", served, len(s.different), len(aliases))
	}
}

func checkExample(t *testing.T, s *server, what string, media *huma.MediaType) {
	t.Helper()
	if media == nil {
		return
	}
	raw, ok := media.Example.(json.RawMessage)
	if !ok {
		t.Errorf("%s has no example: add one to examples.json", what)
		return
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		t.Fatal(err)
	}
	media.Schema.PrecomputeMessages()
	var found huma.ValidateResult
	huma.Validate(s.api.OpenAPI().Components.Schemas, media.Schema, huma.NewPathBuffer(nil, 0), huma.ModeReadFromServer, value, &found)
	for _, err := range found.Errors {
		t.Errorf("%s: the example is not what the schema says: %v", what, err)
	}
}

// Whatever range is asked for, the answer is the whole, the parts that it says
// it holds, or a problem.
// bytesUnit is a Range that says bytes.
var bytesUnit = regexp.MustCompile(`(?i)^\s*bytes\s*(=|$)`)

func FuzzRange(f *testing.F) {
	for _, seed := range []string{
		"bytes=0-", "bytes=-5", "bytes=2-4,7-7", "bytes=9-3", "bytes=99-", "bytes=0-0,0-0,0-0", "bytes=", "lines=1-2", "items", "Bytes=0-1", "bytes",
		"bytes=18446744073709551615-", "bytes=--1", "bytes= 1 - 2 ", "",
	} {
		f.Add(seed)
	}
	const content = "0123456789abcdef"
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header["Range"] = []string{header}
		w := httptest.NewRecorder()
		serveContent(&rangeErrors{ResponseWriter: w}, r, time.Time{}, strings.NewReader(content))
		got := w.Result()
		body := w.Body.String()
		switch got.StatusCode {
		case http.StatusOK:
			if body != content {
				t.Fatalf("Range %q: 200 with %q", header, body)
			}
		case http.StatusPartialContent:
			var first, last, size int
			text := got.Header.Get("Content-Range")
			if text == "" {
				if !strings.HasPrefix(got.Header.Get("Content-Type"), "multipart/byteranges") {
					t.Fatalf("Range %q: 206 without a Content-Range", header)
				}
				return
			}
			if _, err := fmt.Sscanf(text, "bytes %d-%d/%d", &first, &last, &size); err != nil || size != len(content) || body != content[first:last+1] {
				t.Fatalf("Range %q: 206 of %q with %q", header, text, body)
			}
		case http.StatusRequestedRangeNotSatisfiable:
			var p Problem
			if !bytesUnit.MatchString(header) {
				t.Fatalf("Range %q: 416, want a unit that nobody knows ignored", header)
			}
			if err := json.Unmarshal([]byte(body), &p); err != nil || p.Code == "" || got.Header.Get("ETag") != "" {
				t.Fatalf("Range %q: 416 with %q, %v", header, body, err)
			}
		default:
			t.Fatalf("Range %q: %d", header, got.StatusCode)
		}
	})
}
