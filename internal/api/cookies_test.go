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
	"github.com/romi/plantdb-go/internal/auth"
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
	if path == "/auth/login?cookies=true" {
		return b.send(method, "/api/v1"+path, `{"username":"carol","password":"`+password+`"}`, append(headers, asJSON)...)
	}
	return b.send(method, "/api/v1"+path, "", headers...)
}

func (b *browser) send(method, path, body string, headers ...header) answer {
	b.t.Helper()
	at := *b.home
	at.Path, _, _ = strings.Cut(path, "?")
	for _, c := range b.jar.Cookies(&at) {
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
	a := b.do(method, path, body, append(rest, header{"Cookie", strings.Join(pairs, "; ")})...)
	b.jar.SetCookies(&at, (&http.Response{Header: a.header}).Cookies())
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

// Scripts cannot remove a cookie that they cannot read: a browser whose tokens
// are of no use any more has them removed by the call that says so, and is a
// guest from then on.
func TestDeadCookiesAreCleared(t *testing.T) {
	t.Parallel()
	const refresh, logout = "/auth/token/refresh", "/auth/logout"
	ended := func(b *browser) {
		elsewhere, _ := b.login("carol")
		b.walk([]step{{"end all", "DELETE", "/auth/sessions?scope=all", "", elsewhere, 200, "ended"}})
	}
	put := func(name string, change func(b *browser, raw string) string) func(*browser) {
		return func(b *browser) {
			b.jar.SetCookies(b.home, []*http.Cookie{{Name: name, Value: change(b, b.cookie(name)), Path: "/", Secure: true}})
		}
	}
	for name, tt := range map[string]struct {
		kill       func(*browser)
		path, code string
	}{
		"refresh of a session that was ended elsewhere": {ended, refresh, "session_ended"},
		"logout of a session that was ended elsewhere":  {ended, logout, "session_ended"},
		"refresh by a token that ran out":               {put(tokenauth.RefreshCookie, (*browser).expired), refresh, "token_expired"},
		"logout when both tokens ran out": {func(b *browser) {
			put(tokenauth.AccessCookie, (*browser).expired)(b)
			put(tokenauth.RefreshCookie, (*browser).expired)(b)
		}, logout, "token_expired"},
		"refresh by a token of an unknown key": {func(b *browser) {
			if err := b.keys.Replace(newEd25519(b.t)); err != nil {
				b.t.Fatal(err)
			}
		}, refresh, "token_unknown_key"},
		"refresh by a token that was used": {func(b *browser) {
			old := b.jar.Cookies(b.home)
			b.ask("POST", refresh, b.csrf(refreshCSRF))
			b.jar.SetCookies(b.home, old)
		}, refresh, "refresh_token_reused"},
		"logout by no token":  {put(tokenauth.AccessCookie, func(*browser, string) string { return "x.y.z" }), logout, "token_malformed"},
		"refresh by no token": {put(tokenauth.RefreshCookie, func(*browser, string) string { return "x.y.z" }), refresh, "token_malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBrowser(newAccounts(t, api.Config{}, func(c *auth.Config) { c.RefreshGrace = 0 }))
			b.ask("POST", "/auth/login?cookies=true")
			tt.kill(b)
			csrf := refreshCSRF
			if tt.path == logout && tt.code != "token_expired" {
				csrf = accessCSRF
			}
			wantProblem(t, name, b.ask("POST", tt.path, b.csrf(csrf)), 401, tt.code)
			if left := b.jar.Cookies(b.home); len(left) != 0 {
				t.Errorf("cookies left = %v, want none", left)
			}
			if a := b.ask("GET", "/scans"); a.status != 200 {
				t.Errorf("then GET /scans = %d %s, want 200 as guest", a.status, a.body)
			}
		})
	}
}

// What says nothing of the token itself leaves the cookies where they are.
func TestLivingCookiesAreKept(t *testing.T) {
	t.Parallel()
	b := newBrowser(newAccounts(t, api.Config{}))
	b.ask("POST", "/auth/login?cookies=true")
	other, _ := b.login("carol")
	b.walk([]step{{"end all", "DELETE", "/auth/sessions?scope=all", "", other, 200, "ended"}})
	for _, path := range []string{"/auth/token/refresh", "/auth/logout"} {
		wantProblem(t, path+" without CSRF", b.ask("POST", path), 401, "csrf_missing")
		wantProblem(t, path+" with a wrong CSRF", b.ask("POST", path, header{tokenauth.CSRFHeader, "x"}), 401, "csrf_mismatch")
	}
	wantProblem(t, "logout by cookie and header", b.ask("POST", "/auth/logout", bearer(other)), 400, "token_ambiguous")
	wantProblem(t, "reading by a dead cookie", b.ask("GET", "/scans"), 401, "session_ended")
	if left := b.jar.Cookies(b.home); len(left) != 4 {
		t.Errorf("cookies left = %v, want four", left)
	}
}

// A refresh by cookie may say that it sends JSON, as many wrappers of fetch do
// for every call. A token in the body beside the cookie is two tokens.
func TestRefreshByCookieWithBody(t *testing.T) {
	t.Parallel()
	const path = "/api/v1/auth/token/refresh"
	b := newBrowser(newAccounts(t, api.Config{}))
	b.ask("POST", "/auth/login?cookies=true")
	for _, body := range []string{"", " ", "{}", `{"refresh_token":null}`, `{"refresh_token":""}`, `{"other":1}`} {
		wantProblem(t, "refresh with body "+body+" without CSRF", b.send("POST", path, body, asJSON), 401, "csrf_missing")
		a := b.send("POST", path, body, asJSON, b.csrf(refreshCSRF))
		if a.status != 200 || a.json(t)["refresh_token"] != nil || len(a.header.Values("Set-Cookie")) == 0 {
			t.Errorf("refresh with body %q = %d %s, want 200 and cookies", body, a.status, a.body)
		}
	}
	_, other := b.login("carol")
	before := b.cookie(tokenauth.RefreshCookie)
	for _, body := range []string{refreshBody(other), refreshBody(before), `{"refresh_token":7}`} {
		wantProblem(t, "refresh with cookie and another token", b.send("POST", path, body, asJSON, b.csrf(refreshCSRF)), 400, "token_ambiguous")
	}
	wantProblem(t, "refresh with broken JSON", b.send("POST", path, "{", asJSON, b.csrf(refreshCSRF)), 400, "invalid_request")
	b.jar.SetCookies(b.home, []*http.Cookie{{Name: tokenauth.AccessCookie, MaxAge: -1}})
	wantProblem(t, "logout with cookie and another token", b.send("POST", "/api/v1/auth/logout", refreshBody(other), asJSON, b.csrf(refreshCSRF)), 400, "token_ambiguous")
	if b.cookie(tokenauth.RefreshCookie) != before {
		t.Error("a refused refresh changed the cookies")
	}
	b.walk([]step{{"the other session", "POST", "/auth/token/refresh", refreshBody(other), "", 200, "access_token"}})
	if a := b.send("POST", "/api/v1/auth/logout", "{}", asJSON, b.csrf(refreshCSRF)); a.status != 200 {
		t.Errorf("logout by refresh cookie with an empty object = %d %s, want 200", a.status, a.body)
	}
}

// A browser whose cookies were traded in by somebody else still logs out, by
// the header of the access token that went.
func TestLogoutByCookiesThatWereTradedIn(t *testing.T) {
	t.Parallel()
	b := newBrowser(newAccounts(t, api.Config{}))
	b.ask("POST", "/auth/login?cookies=true")
	next := b.textOf("/auth/token/refresh", refreshBody(b.cookie(tokenauth.RefreshCookie)), "", "refresh_token")
	wantProblem(t, "logout with the other header", b.ask("POST", "/auth/logout", b.csrf(refreshCSRF)), 401, "csrf_mismatch")
	if a := b.ask("POST", "/auth/logout", b.csrf(accessCSRF)); a.status != 200 || len(b.jar.Cookies(b.home)) != 0 {
		t.Errorf("logout = %d %s, cookies left %v, want none", a.status, a.body, b.jar.Cookies(b.home))
	}
	b.walk([]step{{"then", "POST", "/auth/token/refresh", refreshBody(next), "", 401, "session_ended"}})
}

// The routes answer with and without the deploy prefix: so does a login by
// cookie, whichever way it came, and a browser that went both ways never has
// two tokens.
func TestCookiesBelowPrefix(t *testing.T) {
	t.Parallel()
	const prefix, credentials = "/plants", `{"username":"carol","password":"` + password + `"}`
	s := newAccounts(t, api.Config{Rates: api.NoRates, Prefix: prefix, TrustedProxies: loopback()})
	all := func(b *browser) []*http.Cookie {
		return b.jar.Cookies(&url.URL{Scheme: "https", Host: b.home.Host, Path: prefix + "/x"})
	}
	logIn := func(b *browser, by string, headers ...header) string {
		t.Helper()
		a := b.send("POST", by+"/api/v1/auth/login?cookies=true", credentials, append(headers, asJSON)...)
		if a.status != 200 || len(all(b)) != 4 {
			t.Fatalf("login by %q = %d %s, cookies %v, want 200 and four", by, a.status, a.body, all(b))
		}
		for _, c := range (&http.Response{Header: a.header}).Cookies() {
			if c.MaxAge > 0 {
				return c.Path
			}
		}
		return ""
	}
	for _, tt := range []struct {
		ways []string // logins one after the other
		path string
		with map[string]int // status of a read with and without the prefix
	}{
		{[]string{""}, "/", map[string]int{"": 200, prefix: 200}},
		{[]string{prefix}, prefix + "/", map[string]int{"": 401, prefix: 200}},
		{[]string{"", prefix}, prefix + "/", map[string]int{"": 401, prefix: 200}},
		{[]string{prefix, ""}, "/", map[string]int{"": 200, prefix: 200}},
	} {
		for _, out := range []string{"logout", "refresh of an ended session"} {
			b := newBrowser(s)
			path := ""
			for _, by := range tt.ways {
				path = logIn(b, by)
			}
			if path != tt.path {
				t.Errorf("logins by %q: path = %q, want %q", tt.ways, path, tt.path)
			}
			for by, want := range tt.with {
				if a := b.send("GET", by+"/api/v1/auth/profile", ""); a.status != want {
					t.Errorf("logins by %q, then GET by %q = %d %s, want %d", tt.ways, by, a.status, a.body, want)
				}
			}
			csrf := func(name string) header {
				for _, c := range all(b) {
					if c.Name == name {
						return header{tokenauth.CSRFHeader, c.Value}
					}
				}
				return header{tokenauth.CSRFHeader, ""}
			}
			if a := b.send("POST", prefix+"/api/v1/auth/token/refresh", "", csrf(refreshCSRF)); a.status != 200 || len(all(b)) != 4 {
				t.Errorf("logins by %q, then refresh = %d %s, cookies %v, want 200 and four", tt.ways, a.status, a.body, all(b))
			}
			if out == "logout" {
				if a := b.send("POST", prefix+"/api/v1/auth/logout", "", csrf(accessCSRF)); a.status != 200 {
					t.Errorf("logins by %q, then logout = %d %s, want 200", tt.ways, a.status, a.body)
				}
			} else {
				access, _ := s.login("carol")
				s.walk([]step{{"end all", "DELETE", "/auth/sessions?scope=all", "", access, 200, "ended"}})
				wantProblem(t, out, b.send("POST", prefix+"/api/v1/auth/token/refresh", "", csrf(refreshCSRF)), 401, "session_ended")
			}
			if left := all(b); len(left) != 0 {
				t.Errorf("logins by %q, then %s: cookies left %v, want none", tt.ways, out, left)
			}
		}
	}
	// A proxy that takes the prefix away and says so.
	for forwarded, want := range map[string]string{prefix: prefix + "/", prefix + "/": prefix + "/", "/other": "/"} {
		if got := logIn(newBrowser(s), "", header{"X-Forwarded-Prefix", forwarded}); got != want {
			t.Errorf("login with X-Forwarded-Prefix %q: path = %q, want %q", forwarded, got, want)
		}
	}
	direct := newAccounts(t, api.Config{Prefix: prefix})
	if got := logIn(newBrowser(direct), "", header{"X-Forwarded-Prefix", prefix}); got != "/" {
		t.Errorf("login with X-Forwarded-Prefix of who is no proxy: path = %q, want /", got)
	}
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
	if a := s.do("POST", "/api/v1/auth/token/refresh", refreshBody(refresh), asJSON, cookies); a.status != 200 {
		t.Errorf("refresh with a cookie that is not looked at = %d %s, want 200", a.status, a.body)
	}
	wantProblem(t, "refresh by cookie", s.do("POST", "/api/v1/auth/token/refresh", "", cookies, csrf), 401, "token_missing")
	wantProblem(t, "logout by cookie", s.do("POST", "/api/v1/auth/logout", "", cookies, csrf), 401, "token_missing")
}
