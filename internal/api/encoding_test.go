package api_test

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
)

// Whatever takes a body takes it in no content coding, which nobody would take
// off: the answer says so, the document says so, and nothing is done. By the
// older paths as well.
func TestContentEncodingIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	admin, _ := s.login("admin")
	before := list(t, s.dir)
	bodies := 0
	for _, document := range []string{"openapi.json", "openapi-legacy.json"} {
		for _, op := range operations(t, document) {
			if len(op.RequestBody.Content) == 0 {
				continue
			}
			bodies++
			what := op.Method + " " + op.Path
			if codes := op.Responses["415"].Codes; !slices.Contains(codes, "unsupported_encoding") {
				t.Errorf("%s: the document has the codes %v at 415, want unsupported_encoding among them", what, codes)
			}
			for contentType := range op.RequestBody.Content {
				a := s.do(op.Method, op.concrete(), "{}", bearer(admin), tusResumable, header{"Content-Type", contentType}, header{"Content-Encoding", "gzip"})
				wantProblem(t, what, a, http.StatusUnsupportedMediaType, "unsupported_encoding")
				if got := a.header.Get("Accept-Encoding"); got != "identity" {
					t.Errorf("%s: Accept-Encoding = %q, want identity", what, got)
				}
			}
		}
	}
	if bodies < 40 {
		t.Errorf("%d operations with a body, want all of both documents", bodies)
	}
	if a := s.do(http.MethodGet, "/api/v1/auth/profile", "", bearer(admin)); a.status != http.StatusOK {
		t.Errorf("profile after refused logouts = %d %s, want 200", a.status, a.body)
	}
	if after := list(t, s.dir); !slices.Equal(before, after) {
		t.Errorf("scans are %v, want %v", after, before)
	}
	// Of another refusal of a body's type the header must not speak.
	a := s.do(http.MethodPost, "/api/v1/auth/login", "{}", header{"Content-Type", "text/plain"})
	wantProblem(t, "login as text", a, http.StatusUnsupportedMediaType, "unsupported_media_type")
	if got := a.header.Values("Accept-Encoding"); len(got) > 0 {
		t.Errorf("login as text: Accept-Encoding = %q, want none", got)
	}
}

// list returns the names in the tree.
func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// An upload says what its bytes are in several ways; those that mean the bytes
// as they are, are taken, and the others refused before anything is kept.
func TestCodingsOfAnUpload(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	token, _ := s.login("carol")
	s.create(token, "coded")
	s.made(s.do(http.MethodPost, "/api/v1/filesets/coded/images", "{}", bearer(token), asJSON))
	content := []byte("the bytes=3D")
	const code = "unsupported_encoding"
	for i, tt := range []struct {
		request, part header
		status        int
		code          string
	}{
		{header{"Content-Encoding", ""}, header{}, 201, ""},
		{header{"Content-Encoding", "identity"}, header{"Content-Encoding", "Identity"}, 201, ""},
		{header{"Content-Encoding", "Identity, "}, header{"Content-Transfer-Encoding", "8BIT"}, 201, ""},
		{header{}, header{"Content-Transfer-Encoding", "binary"}, 201, ""},
		{header{"Content-Encoding", "gzip"}, header{}, 415, code},
		{header{"Content-Encoding", "BR"}, header{}, 415, code},
		{header{"Content-Encoding", "identity, zstd"}, header{}, 415, code},
		{header{"Content-Encoding", "deflate,identity"}, header{}, 415, code},
		{header{"Content-Encoding", "aws-chunked"}, header{}, 415, code},
		{header{}, header{"Content-Encoding", "gzip"}, 415, code},
		{header{}, header{"Content-Transfer-Encoding", "base64"}, 400, "invalid_request"},
	} {
		body, contentType := digestForm(t, content, tt.part.name, tt.part.value)
		path := fmt.Sprintf("/api/v1/files/coded/images/f%d", i)
		headers := []header{bearer(token), {"Content-Type", contentType}}
		if tt.request.name != "" {
			headers = append(headers, tt.request)
		}
		a := s.do(http.MethodPost, path, string(body), headers...)
		got := s.get(path, bearer(token))
		if tt.status == http.StatusCreated {
			if a.status != tt.status || string(got.body) != string(content) {
				t.Errorf("%v, part %v = %d %s, then %d %q; want 201 and the bytes", tt.request, tt.part, a.status, a.body, got.status, got.body)
			}
			continue
		}
		wantProblem(t, fmt.Sprintf("%v, part %v", tt.request, tt.part), a, tt.status, tt.code)
		if got.status != http.StatusNotFound {
			t.Errorf("%v, part %v: then GET = %d %q, want 404", tt.request, tt.part, got.status, got.body)
		}
	}
	if left := staged(t, s.dir); len(left) > 0 {
		t.Errorf("left in staging: %v", left)
	}
}
