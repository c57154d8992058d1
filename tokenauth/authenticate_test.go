package tokenauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/tokenauth"
)

func authenticator(ring *tokenauth.Keyring, locations ...tokenauth.Location) *tokenauth.Authenticator {
	return &tokenauth.Authenticator{Verifier: verifier(ring), Locations: locations}
}

func TestAuthenticateModes(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, hmacKey(t, secretFill))
	access := sign(t, ring)
	api := sign(t, ring, func(c *tokenauth.Claims) { c.Type = tokenauth.API })
	refresh := sign(t, ring, func(c *tokenauth.Claims) { c.Type = tokenauth.Refresh })
	tests := []struct {
		name    string
		mode    tokenauth.Mode
		edits   []edit
		want    []tokenauth.Type
		subject string
		token   tokenauth.RequestToken
		err     error
	}{
		{"required, absent", tokenauth.Required, nil, nil, "", tokenauth.RequestToken{}, tokenauth.ErrMissing},
		{"required, Bearer None", tokenauth.Required, []edit{bearer("None")}, nil, "", tokenauth.RequestToken{}, tokenauth.ErrMissing},
		{"required, access", tokenauth.Required, []edit{bearer(access)}, nil, "alice",
			tokenauth.RequestToken{Raw: access, Type: tokenauth.Access, Location: tokenauth.Header}, nil},
		{"required, api", tokenauth.Required, []edit{bearer(api)}, nil, "alice",
			tokenauth.RequestToken{Raw: api, Type: tokenauth.API, Location: tokenauth.Header}, nil},
		{"required, api where access is wanted", tokenauth.Required, []edit{bearer(api)}, []tokenauth.Type{tokenauth.Access}, "",
			tokenauth.RequestToken{Raw: api, Type: tokenauth.Access, Location: tokenauth.Header}, tokenauth.ErrWrongType},
		{"required, refresh as bearer", tokenauth.Required, []edit{bearer(refresh)}, nil, "",
			tokenauth.RequestToken{Raw: refresh, Type: tokenauth.Access, Location: tokenauth.Header}, tokenauth.ErrWrongType},
		{"required, refresh wanted", tokenauth.Required, []edit{cookie("access_token_cookie", access), cookie("refresh_token_cookie", refresh)}, []tokenauth.Type{tokenauth.Refresh}, "alice",
			tokenauth.RequestToken{Raw: refresh, Type: tokenauth.Refresh, Location: tokenauth.Cookie}, nil},
		{"optional, absent", tokenauth.Optional, nil, nil, "", tokenauth.RequestToken{}, nil},
		{"optional, access", tokenauth.Optional, []edit{bearer(access)}, nil, "alice",
			tokenauth.RequestToken{Raw: access, Type: tokenauth.Access, Location: tokenauth.Header}, nil},
		{"optional, bad", tokenauth.Optional, []edit{bearer("a.b.c")}, nil, "",
			tokenauth.RequestToken{Raw: "a.b.c", Type: tokenauth.Access, Location: tokenauth.Header}, tokenauth.ErrMalformed},
		{"optional, without scheme", tokenauth.Optional, []edit{header("Authorization", access)}, nil, "", tokenauth.RequestToken{}, tokenauth.ErrMalformed},
		{"optional, two", tokenauth.Optional, []edit{bearer(access), cookie("access_token_cookie", access)}, nil, "", tokenauth.RequestToken{}, tokenauth.ErrAmbiguous},
		{"extract, absent", tokenauth.Extract, nil, nil, "", tokenauth.RequestToken{}, nil},
		{"extract, bad", tokenauth.Extract, []edit{cookie("access_token_cookie", "junk")}, nil, "",
			tokenauth.RequestToken{Raw: "junk", Type: tokenauth.Access, Location: tokenauth.Cookie}, nil},
		{"extract, two", tokenauth.Extract, []edit{header("Authorization", "Bearer a b")}, nil, "", tokenauth.RequestToken{}, tokenauth.ErrAmbiguous},
	}
	for _, tt := range tests {
		c, token, err := authenticator(ring).Authenticate(request(t, http.MethodGet, "/", "", tt.edits...), tt.mode, tt.want...)
		subject := ""
		if c != nil {
			subject = c.Subject
		}
		if subject != tt.subject || token != tt.token || !errors.Is(err, tt.err) {
			t.Errorf("%s: Authenticate = %q, %v, %v, want %q, %v, %v", tt.name, subject, token, err, tt.subject, tt.token, tt.err)
		}
	}
}

func TestCSRF(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, hmacKey(t, secretFill))
	good := sign(t, ring)
	without := sign(t, ring, func(c *tokenauth.Claims) { c.CSRF = "" })
	inCookie := func(raw string) edit { return cookie("access_token_cookie", raw) }
	csrf := func(v string) edit { return header("X-CSRF-TOKEN", v) }
	tests := []struct {
		name    string
		methods []string
		edits   []edit
		want    error
	}{
		{"reading", []string{"GET", "HEAD", "OPTIONS", "TRACE"}, []edit{inCookie(good)}, nil},
		{"missing", []string{"POST", "PUT", "PATCH", "DELETE", "PURGE"}, []edit{inCookie(good)}, tokenauth.ErrCSRFMissing},
		{"right", []string{"POST", "PUT", "PATCH", "DELETE", "PURGE"}, []edit{inCookie(good), csrf("csrf-1")}, nil},
		{"wrong", []string{"POST", "PUT", "PATCH", "DELETE"}, []edit{inCookie(good), csrf("csrf-2")}, tokenauth.ErrCSRFMismatch},
		{"a start of it", []string{"POST"}, []edit{inCookie(good), csrf("csrf-")}, tokenauth.ErrCSRFMismatch},
		{"token without one", []string{"POST"}, []edit{inCookie(without), csrf("x")}, tokenauth.ErrCSRFMissing},
		{"header tokens need none", []string{"POST", "DELETE"}, []edit{bearer(without)}, nil},
	}
	for _, tt := range tests {
		for _, method := range tt.methods {
			asked := false
			a := authenticator(ring)
			a.Verifier.Checker = tokenauth.CheckerFunc(func(context.Context, *tokenauth.Claims) (bool, string, error) {
				asked = true
				return false, "", nil
			})
			_, _, err := a.Authenticate(request(t, method, "/", "", tt.edits...), tokenauth.Required)
			if !errors.Is(err, tt.want) {
				t.Errorf("%s: %s = %v, want %v", tt.name, method, err, tt.want)
			}
			if asked != (tt.want == nil) {
				t.Errorf("%s: %s asked the checker: %v", tt.name, method, asked)
			}
		}
	}
}

func TestCheckerFailureIsLoggedOnce(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, hmacKey(t, secretFill))
	raw := sign(t, ring)
	var log strings.Builder
	a := authenticator(ring)
	a.Log = slog.New(slog.NewTextHandler(&log, nil))
	a.Verifier.Checker = answer(false, "", errors.New("database is away"))
	rec := httptest.NewRecorder()
	tokenauth.Middleware(a, tokenauth.Optional)(http.NotFoundHandler()).ServeHTTP(rec, request(t, http.MethodGet, "/", "", bearer(raw)))
	if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" || rec.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("answer is %d %v, want 503 with Retry-After and no challenge", rec.Code, rec.Header())
	}
	if strings.Contains(rec.Body.String(), "database") {
		t.Errorf("the answer shows the cause: %s", rec.Body)
	}
	if got := log.String(); strings.Count(got, "database is away") != 1 || !strings.Contains(got, "jti=token-1") || strings.Contains(got, raw[:20]) {
		t.Errorf("log is %s, want the cause once, with jti, without the token", got)
	}
}

func TestMiddleware(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, hmacKey(t, secretFill))
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := "anonymous"
		if c, ok := tokenauth.FromContext(r.Context()); ok {
			who = c.Subject
		}
		where := "nowhere"
		if token, ok := tokenauth.TokenFromContext(r.Context()); ok {
			where = string(token.Location)
		}
		_, _ = w.Write([]byte(who + " " + where))
	})
	old := sign(t, ring, func(c *tokenauth.Claims) { c.IssuedAt, c.ExpiresAt = epoch.Add(-time.Hour), epoch.Add(-time.Minute) })
	expired := `{"message":"Signature has expired","error":"Signature has expired","code":"token_expired","status":401,"title":"Unauthorized","detail":"Signature has expired"}`
	teapot := tokenauth.OnError(func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusTeapot) })
	tests := []struct {
		name      string
		mode      tokenauth.Mode
		opts      []tokenauth.Option
		edits     []edit
		status    int
		challenge string
		body      string
	}{
		{"required", tokenauth.Required, nil, []edit{bearer(sign(t, ring))}, 200, "", "alice headers"},
		{"required, absent", tokenauth.Required, nil, nil, 401, "Bearer", ""},
		{"required, expired", tokenauth.Required, nil, []edit{bearer(old)}, 401, `Bearer error="invalid_token", error_description="Signature has expired"`, expired},
		{"two tokens", tokenauth.Required, nil, []edit{header("Authorization", "Bearer a", "Bearer b")}, 400, `Bearer error="invalid_request", error_description="More than one token in the request"`, ""},
		{"optional, absent", tokenauth.Optional, nil, nil, 200, "", "anonymous nowhere"},
		{"optional, expired", tokenauth.Optional, nil, []edit{bearer(old)}, 401, `Bearer error="invalid_token", error_description="Signature has expired"`, expired},
		{"extract", tokenauth.Extract, nil, []edit{bearer(old)}, 200, "", "anonymous headers"},
		{"another type wanted", tokenauth.Required, []tokenauth.Option{tokenauth.Want(tokenauth.API)}, []edit{bearer(sign(t, ring))}, 401, `Bearer error="invalid_token", error_description="Token of the wrong type"`, ""},
		{"another answer", tokenauth.Required, []tokenauth.Option{teapot}, nil, 418, "", ""},
	}
	for _, tt := range tests {
		rec := httptest.NewRecorder()
		tokenauth.Middleware(authenticator(ring), tt.mode, tt.opts...)(handler).ServeHTTP(rec, request(t, http.MethodGet, "/", "", tt.edits...))
		got := strings.TrimSpace(rec.Body.String())
		if rec.Code != tt.status || rec.Header().Get("WWW-Authenticate") != tt.challenge || tt.body != "" && got != tt.body {
			t.Errorf("%s: %d %q %s, want %d %q %s", tt.name, rec.Code, rec.Header().Get("WWW-Authenticate"), got, tt.status, tt.challenge, tt.body)
		}
		if rec.Code == 401 && (rec.Header().Get("Cache-Control") != "no-store" || !json.Valid(rec.Body.Bytes())) {
			t.Errorf("%s: %v %s, want JSON that is not stored", tt.name, rec.Header(), got)
		}
	}
}

// TestErrorsOfOthers: what is not ours is a failure to check, and says nothing.
func TestErrorsOfOthers(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	tokenauth.WriteError(rec, errors.New("sikrit"))
	if rec.Code != http.StatusServiceUnavailable || strings.Contains(rec.Body.String(), "sikrit") {
		t.Errorf("WriteError(foreign) = %d %s", rec.Code, rec.Body)
	}
}

func TestNewContext(t *testing.T) {
	t.Parallel()
	if c, ok := tokenauth.FromContext(t.Context()); ok || c != nil {
		t.Errorf("FromContext(empty) = %v, %v", c, ok)
	}
	want := claims()
	ctx := tokenauth.NewContext(t.Context(), &want, tokenauth.RequestToken{})
	if c, ok := tokenauth.FromContext(ctx); !ok || c.Subject != "alice" {
		t.Errorf("FromContext = %v, %v, want alice", c, ok)
	}
	if _, ok := tokenauth.TokenFromContext(ctx); ok {
		t.Error("TokenFromContext finds a token where none was")
	}
}

func TestCookies(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	tokenauth.SetPairCookies(rec, "", tokenauth.TokenCookie{Raw: "a", CSRF: "ca", MaxAge: 15 * time.Minute}, tokenauth.TokenCookie{Raw: "r", CSRF: "cr"})
	want := []string{
		"access_token_cookie=a; Path=/; Max-Age=900; HttpOnly; Secure; SameSite=Lax",
		"csrf_access_token=ca; Path=/; Max-Age=900; Secure; SameSite=Lax",
		"refresh_token_cookie=r; Path=/; Max-Age=1; HttpOnly; Secure; SameSite=Lax",
		"csrf_refresh_token=cr; Path=/; Max-Age=1; Secure; SameSite=Lax",
	}
	if diff := cmp.Diff(want, rec.Header()["Set-Cookie"]); diff != "" {
		t.Errorf("SetPairCookies (-want +got):\n%s", diff)
	}
	rec = httptest.NewRecorder()
	tokenauth.ClearCookies(rec, "/plants")
	want = []string{
		"access_token_cookie=; Path=/plants; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
		"csrf_access_token=; Path=/plants; Max-Age=0; Secure; SameSite=Lax",
		"refresh_token_cookie=; Path=/plants; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
		"csrf_refresh_token=; Path=/plants; Max-Age=0; Secure; SameSite=Lax",
	}
	if diff := cmp.Diff(want, rec.Header()["Set-Cookie"]); diff != "" {
		t.Errorf("ClearCookies (-want +got):\n%s", diff)
	}
}
