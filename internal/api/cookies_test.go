package api_test

import (
	"bytes"
	"crypto/ed25519"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
	"github.com/romi/plantdb-go/tokenauth"
)

// browser keeps cookies as browsers do. The site is asked by plain HTTP, at
// which Go's jar keeps Secure cookies to itself, so it is told otherwise.
type browser struct {
	*site
	jar  http.CookieJar
	home *url.URL
}

func newBrowser(s *site) *browser {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &browser{s, jar, &url.URL{Scheme: "https", Host: "plantdb.example"}}
}

// ask makes a call below /api/v1 with all cookies, and keeps those of the answer.
func (b *browser) ask(method, path string, headers ...header) answer {
	b.t.Helper()
	for _, c := range b.jar.Cookies(b.home) {
		headers = append(headers, header{"Cookie", c.Name + "=" + c.Value})
	}
	// One header, as browsers send it.
	var pairs []string
	rest := slices.DeleteFunc(slices.Clone(headers), func(h header) bool {
		if h.name == "Cookie" {
			pairs = append(pairs, h.value)
		}
		return h.name == "Cookie"
	})
	body := ""
	if path == "/auth/login?cookies=true" {
		body, rest = `{"username":"carol","password":"`+password+`"}`, append(rest, asJSON)
	}
	a := b.do(method, "/api/v1"+path, body, append(rest, header{"Cookie", strings.Join(pairs, "; ")})...)
	b.jar.SetCookies(b.home, (&http.Response{Header: a.header}).Cookies())
	return a
}

func (b *browser) cookie(name string) string {
	for _, c := range b.jar.Cookies(b.home) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

func (b *browser) csrf(name string) header { return header{tokenauth.CSRFHeader, b.cookie(name)} }

const accessCSRF, refreshCSRF = tokenauth.CSRFAccessCookie, tokenauth.CSRFRefreshCookie

func newEd25519(t *testing.T) tokenauth.Key {
	t.Helper()
	key, err := tokenauth.NewEd25519Key(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestCookieMode(t *testing.T) {
	t.Parallel()
	b := newBrowser(newAccounts(t, api.Config{}))
	a := b.ask("POST", "/auth/login?cookies=true")
	if v := a.json(t); a.status != 200 || v["access_token"] != nil || v["refresh_token"] != nil {
		t.Fatalf("login = %d %s, want no token in the body", a.status, a.body)
	}
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if !c.Secure || c.SameSite != http.SameSiteLaxMode || c.HttpOnly == strings.HasPrefix(c.Name, "csrf_") || c.MaxAge <= 0 || c.Path != "/" {
			t.Errorf("cookie %+v, want Secure, Lax, and HttpOnly unless it is for scripts", c)
		}
	}
	if a := b.ask("GET", "/auth/profile"); a.status != 200 {
		t.Errorf("GET by cookie = %d %s, want 200 without a CSRF header", a.status, a.body)
	}
	wantProblem(t, "POST without CSRF", b.ask("POST", "/auth/token/validation"), 401, "csrf_missing")
	wantProblem(t, "POST with a wrong CSRF", b.ask("POST", "/auth/token/validation", header{tokenauth.CSRFHeader, "x"}), 401, "csrf_mismatch")
	wantProblem(t, "POST with the CSRF of the refresh token", b.ask("POST", "/auth/token/validation", b.csrf(refreshCSRF)), 401, "csrf_mismatch")
	if a := b.ask("POST", "/auth/token/validation", b.csrf(accessCSRF)); a.status != 200 {
		t.Errorf("POST with CSRF = %d %s, want 200", a.status, a.body)
	}

	before := b.cookie(tokenauth.RefreshCookie)
	wantProblem(t, "refresh without CSRF", b.ask("POST", "/auth/token/refresh"), 401, "csrf_missing")
	wantProblem(t, "refresh with the CSRF of the access token", b.ask("POST", "/auth/token/refresh", b.csrf(accessCSRF)), 401, "csrf_mismatch")
	if b.cookie(tokenauth.RefreshCookie) != before {
		t.Error("a refused refresh changed the cookies")
	}
	a = b.ask("POST", "/auth/token/refresh", b.csrf(refreshCSRF))
	if v := a.json(t); a.status != 200 || v["refresh_token"] != nil || b.cookie(tokenauth.RefreshCookie) == before {
		t.Errorf("refresh by cookie = %d %s, want new cookies and no token in the body", a.status, a.body)
	}
	if a := b.ask("POST", "/auth/token/validation", b.csrf(accessCSRF)); a.status != 200 {
		t.Errorf("POST with the new CSRF = %d %s, want 200", a.status, a.body)
	}

	wantProblem(t, "logout without CSRF", b.ask("POST", "/auth/logout"), 401, "csrf_missing")
	if a := b.ask("POST", "/auth/logout", b.csrf(accessCSRF)); a.status != 200 || len(b.jar.Cookies(b.home)) != 0 {
		t.Errorf("logout = %d %s, cookies left %v, want none", a.status, a.body, b.jar.Cookies(b.home))
	}
	wantProblem(t, "GET after logout", b.ask("GET", "/auth/profile"), 401, "token_missing")
}

// A browser drops the access cookie when the token expires; the refresh cookie
// is enough to log out.
func TestLogoutByRefreshCookie(t *testing.T) {
	t.Parallel()
	b := newBrowser(newAccounts(t, api.Config{}))
	b.ask("POST", "/auth/login?cookies=true")
	refresh := b.cookie(tokenauth.RefreshCookie)
	gone := []*http.Cookie{{Name: tokenauth.AccessCookie, MaxAge: -1}, {Name: accessCSRF, MaxAge: -1}}
	b.jar.SetCookies(b.home, gone)
	wantProblem(t, "logout without CSRF", b.ask("POST", "/auth/logout"), 401, "csrf_missing")
	if a := b.ask("POST", "/auth/logout", b.csrf(refreshCSRF)); a.status != 200 || len(b.jar.Cookies(b.home)) != 0 {
		t.Errorf("logout = %d %s, cookies left %v, want none", a.status, a.body, b.jar.Cookies(b.home))
	}
	b.walk([]step{{"then", "POST", "/auth/token/refresh", refreshBody(refresh), "", 401, "session_ended"}})
}

// A session goes on, cookies and CSRF values included, when the signing key
// changes under it.
func TestCookieModeSurvivesKeyRotation(t *testing.T) {
	t.Parallel()
	b := newBrowser(newAccounts(t, api.Config{}))
	b.ask("POST", "/auth/login?cookies=true")
	old, err := tokenauth.NewHMACKey(bytes.Repeat([]byte{7}, 64))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.keys.Replace(newEd25519(t), old); err != nil {
		t.Fatal(err)
	}
	for _, call := range []struct {
		path, csrf string
	}{{"/auth/token/validation", accessCSRF}, {"/auth/token/refresh", refreshCSRF}, {"/auth/token/validation", accessCSRF}} {
		if a := b.ask("POST", call.path, b.csrf(call.csrf)); a.status != 200 {
			t.Errorf("POST %s = %d %s, want 200", call.path, a.status, a.body)
		}
	}
	if err := b.keys.Replace(newEd25519(t)); err != nil {
		t.Fatal(err)
	}
	if a := b.ask("POST", "/auth/token/refresh", b.csrf(refreshCSRF)); a.status != 200 {
		t.Errorf("refresh once the old key is retired = %d %s, want 200", a.status, a.body)
	}
}

func TestCookiesOff(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{TokenLocations: []tokenauth.Location{tokenauth.Header}})
	access, refresh := s.login("carol")
	wantProblem(t, "GET by cookie", s.do("GET", "/api/v1/auth/profile", "", header{"Cookie", tokenauth.AccessCookie + "=" + access}), 401, "token_missing")
	cookies := header{"Cookie", tokenauth.RefreshCookie + "=" + refresh}
	csrf := header{tokenauth.CSRFHeader, s.claims(refresh).CSRF}
	wantProblem(t, "refresh by cookie", s.do("POST", "/api/v1/auth/token/refresh", "", cookies, csrf), 401, "token_missing")
	wantProblem(t, "logout by cookie", s.do("POST", "/api/v1/auth/logout", "", cookies, csrf), 401, "token_missing")
}
