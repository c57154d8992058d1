package tokenauth_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/romi/plantdb-go/tokenauth"
)

type edit func(*http.Request)

func request(t testing.TB, method, target, body string, edits ...edit) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	for _, e := range edits {
		e(r)
	}
	return r
}

func header(name string, values ...string) edit {
	return func(r *http.Request) { r.Header[http.CanonicalHeaderKey(name)] = values }
}

func bearer(raw string) edit { return header("Authorization", "Bearer "+raw) }

func cookie(name, value string) edit {
	return func(r *http.Request) { r.AddCookie(&http.Cookie{Name: name, Value: value}) }
}

func TestFromHeader(t *testing.T) {
	t.Parallel()
	tests := []struct {
		values []string
		raw    string
		err    error
	}{
		{nil, "", tokenauth.ErrMissing},
		{[]string{""}, "", tokenauth.ErrMissing},
		{[]string{" "}, "", tokenauth.ErrMissing},
		{[]string{"Bearer"}, "", tokenauth.ErrMissing},
		{[]string{"Bearer "}, "", tokenauth.ErrMissing},
		{[]string{"Bearer None"}, "", tokenauth.ErrMissing},
		{[]string{"bearer null"}, "", tokenauth.ErrMissing},
		{[]string{"Bearer a.b.c"}, "a.b.c", nil},
		{[]string{"bEaReR   a.b.c "}, "a.b.c", nil},
		{[]string{"a.b.c"}, "", tokenauth.ErrMalformed},
		{[]string{"Bearera.b.c"}, "", tokenauth.ErrMalformed},
		{[]string{"Basic YTpi"}, "", tokenauth.ErrMalformed},
		{[]string{"Token a.b.c"}, "", tokenauth.ErrMalformed},
		{[]string{"Bearer a.b.c d.e.f"}, "", tokenauth.ErrAmbiguous},
		{[]string{"Bearer a.b.c, Bearer d.e.f"}, "", tokenauth.ErrAmbiguous},
		{[]string{"Bearer a.b.c,"}, "", tokenauth.ErrAmbiguous},
		{[]string{"Bearer a.b.c", "Bearer a.b.c"}, "", tokenauth.ErrAmbiguous},
		{[]string{"Bearer a.b.c", "Basic YTpi"}, "", tokenauth.ErrAmbiguous},
	}
	for _, tt := range tests {
		r := request(t, http.MethodGet, "/", "")
		if tt.values != nil {
			header("Authorization", tt.values...)(r)
		}
		got, err := tokenauth.FromHeader(r, tokenauth.API)
		if got.Raw != tt.raw || !errors.Is(err, tt.err) {
			t.Errorf("FromHeader(%q) = %q, %v, want %q, %v", tt.values, got.Raw, err, tt.raw, tt.err)
		}
		if err == nil && (got.Location != tokenauth.Header || got.Type != tokenauth.Access) {
			t.Errorf("FromHeader(%q) is a %v", tt.values, got)
		}
	}
}

func TestFromCookie(t *testing.T) {
	t.Parallel()
	csrf := header("x-csrf-token", "c")
	tests := []struct {
		name  string
		want  tokenauth.Type
		edits []edit
		token tokenauth.RequestToken
		err   error
	}{
		{"none", tokenauth.Access, nil, tokenauth.RequestToken{}, tokenauth.ErrMissing},
		{"empty", tokenauth.Access, []edit{cookie("access_token_cookie", "")}, tokenauth.RequestToken{}, tokenauth.ErrMissing},
		{"access", tokenauth.Access, []edit{cookie("access_token_cookie", "a"), cookie("refresh_token_cookie", "r"), csrf},
			tokenauth.RequestToken{Raw: "a", Type: tokenauth.Access, Location: tokenauth.Cookie, CSRF: "c"}, nil},
		{"refresh", tokenauth.Refresh, []edit{cookie("access_token_cookie", "a"), cookie("refresh_token_cookie", "r")},
			tokenauth.RequestToken{Raw: "r", Type: tokenauth.Refresh, Location: tokenauth.Cookie}, nil},
		{"the refresh cookie is no bearer", tokenauth.Access, []edit{cookie("refresh_token_cookie", "r")}, tokenauth.RequestToken{}, tokenauth.ErrMissing},
		{"two", tokenauth.Access, []edit{cookie("access_token_cookie", "a"), cookie("access_token_cookie", "b")}, tokenauth.RequestToken{}, tokenauth.ErrAmbiguous},
	}
	for _, tt := range tests {
		got, err := tokenauth.FromCookie(request(t, http.MethodPost, "/", "", tt.edits...), tt.want)
		if got != tt.token || !errors.Is(err, tt.err) {
			t.Errorf("%s: FromCookie = %#v, %v, want %#v, %v", tt.name, got, err, tt.token, tt.err)
		}
	}
}

func TestFromQuery(t *testing.T) {
	t.Parallel()
	tests := []struct {
		target, raw string
		err         error
	}{
		{"/", "", tokenauth.ErrMissing},
		{"/?x=1", "", tokenauth.ErrMissing},
		{"/?token=", "", tokenauth.ErrMissing},
		{"/?token=a.b.c&x=1", "a.b.c", nil},
		{"/?token=a&token=a", "", tokenauth.ErrAmbiguous},
	}
	for _, tt := range tests {
		got, err := tokenauth.FromQuery(request(t, http.MethodGet, tt.target, ""), tokenauth.Access)
		if got.Raw != tt.raw || !errors.Is(err, tt.err) {
			t.Errorf("FromQuery(%s) = %q, %v, want %q, %v", tt.target, got.Raw, err, tt.raw, tt.err)
		}
	}
}

func TestFromJSON(t *testing.T) {
	t.Parallel()
	const kind = "application/json; charset=utf-8"
	long := `{"access_token":"a","x":"` + strings.Repeat("x", tokenauth.MaxJSONBody) + `"}`
	tests := []struct {
		name, kind, body string
		want             tokenauth.Type
		raw              string
		err              error
	}{
		{"access", kind, `{"x":[1,{"access_token":"no"}],"access_token":"a"}`, tokenauth.Access, "a", nil},
		{"refresh", kind, `{"access_token":"a","refresh_token":"r"}`, tokenauth.Refresh, "r", nil},
		{"no body", kind, "", tokenauth.Access, "", tokenauth.ErrMissing},
		{"another type", "text/plain", `{"access_token":"a"}`, tokenauth.Access, "", tokenauth.ErrMissing},
		{"no type", "", `{"access_token":"a"}`, tokenauth.Access, "", tokenauth.ErrMissing},
		{"no field", kind, `{}`, tokenauth.Access, "", tokenauth.ErrMissing},
		{"another case", kind, `{"Access_Token":"a"}`, tokenauth.Access, "", tokenauth.ErrMissing},
		{"null", kind, `{"access_token":null}`, tokenauth.Access, "", tokenauth.ErrMissing},
		{"empty", kind, `{"access_token":""}`, tokenauth.Access, "", tokenauth.ErrMissing},
		{"a number", kind, `{"access_token":7}`, tokenauth.Access, "", tokenauth.ErrMalformed},
		{"an object", kind, `{"access_token":{"a":1}}`, tokenauth.Access, "", tokenauth.ErrMalformed},
		{"twice", kind, `{"access_token":"a","access_token":"b"}`, tokenauth.Access, "", tokenauth.ErrAmbiguous},
		{"twice, one null", kind, `{"access_token":null,"access_token":"b"}`, tokenauth.Access, "", tokenauth.ErrAmbiguous},
		{"a list", kind, `["access_token"]`, tokenauth.Access, "", tokenauth.ErrMissing},
		{"no JSON", kind, `{"access_token":"a"`, tokenauth.Access, "", tokenauth.ErrMissing},
		{"garbage behind", kind, `{"access_token":"a"}}`, tokenauth.Access, "", tokenauth.ErrMissing},
		{"too long", kind, long, tokenauth.Access, "", tokenauth.ErrMissing},
	}
	for _, tt := range tests {
		for _, length := range []string{"known", "unknown"} {
			r := request(t, http.MethodPost, "/", tt.body, header("Content-Type", tt.kind))
			if length == "unknown" {
				r.ContentLength = -1
			}
			got, err := tokenauth.FromJSON(r, tt.want)
			if got.Raw != tt.raw || !errors.Is(err, tt.err) {
				t.Errorf("%s: FromJSON = %q, %v, want %q, %v", tt.name, got.Raw, err, tt.raw, tt.err)
			}
			if body, err := io.ReadAll(r.Body); err != nil || string(body) != tt.body {
				t.Errorf("%s: the handler reads %d bytes, %v, want %d", tt.name, len(body), err, len(tt.body))
			}
			if err := r.Body.Close(); err != nil {
				t.Errorf("%s: Close = %v", tt.name, err)
			}
		}
	}
}

func TestFromJSONHandsOnTheErrorOfTheBody(t *testing.T) {
	t.Parallel()
	cut := errors.New("connection cut")
	r := request(t, http.MethodPost, "/", "", header("Content-Type", "application/json"))
	r.ContentLength = -1
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"acc`), iotest.ErrReader(cut)))
	if _, err := tokenauth.FromJSON(r, tokenauth.Access); !errors.Is(err, tokenauth.ErrMissing) {
		t.Errorf("FromJSON = %v, want %v", err, tokenauth.ErrMissing)
	}
	if body, err := io.ReadAll(r.Body); string(body) != `{"acc` || !errors.Is(err, cut) {
		t.Errorf("the handler reads %q, %v, want the start and %v", body, err, cut)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	all := []tokenauth.Location{tokenauth.Query, tokenauth.Header, tokenauth.Cookie, tokenauth.JSON}
	access := cookie("access_token_cookie", "from-cookie")
	tests := []struct {
		name      string
		locations []tokenauth.Location
		target    string
		edits     []edit
		raw       string
		err       error
	}{
		{"nowhere", all, "/", nil, "", tokenauth.ErrMissing},
		{"no location", nil, "/?token=a", []edit{bearer("a")}, "", tokenauth.ErrMissing},
		{"not among the locations", all[1:3], "/?token=a", nil, "", tokenauth.ErrMissing},
		{"unknown location", []tokenauth.Location{"pigeon"}, "/", []edit{bearer("a")}, "", tokenauth.ErrMissing},
		{"header", all, "/", []edit{bearer("a")}, "a", nil},
		{"empty bearer and cookie", all, "/", []edit{bearer("None"), access}, "from-cookie", nil},
		{"header and cookie", all, "/", []edit{bearer("a"), access}, "", tokenauth.ErrAmbiguous},
		{"header and the same in the cookie", all, "/", []edit{bearer("from-cookie"), access}, "", tokenauth.ErrAmbiguous},
		{"query and header", all, "/?token=a", []edit{bearer("b")}, "", tokenauth.ErrAmbiguous},
		{"bad header and cookie", all, "/", []edit{header("Authorization", "a"), access}, "", tokenauth.ErrMalformed},
	}
	for _, tt := range tests {
		got, err := tokenauth.Find(request(t, http.MethodGet, tt.target, "", tt.edits...), tokenauth.Access, tt.locations...)
		if got.Raw != tt.raw || !errors.Is(err, tt.err) {
			t.Errorf("%s: Find = %q, %v, want %q, %v", tt.name, got.Raw, err, tt.raw, tt.err)
		}
	}
}

func TestRequestTokenIsNotPrinted(t *testing.T) {
	t.Parallel()
	token := tokenauth.RequestToken{Raw: "sikrit", Type: tokenauth.Access, Location: tokenauth.Header, CSRF: "sikrit"}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).InfoContext(t.Context(), "x", slog.Any("token", token))
	text := fmt.Sprintf("%v %+v %#v %s", token, token, token, token) + log.String()
	if strings.Contains(text, "sikrit") || !strings.Contains(text, "access token from headers") {
		t.Errorf("printed as %s", text)
	}
}
