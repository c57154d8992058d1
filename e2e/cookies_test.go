package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// browser keeps cookies. It is not net/http/cookiejar, which would keep back
// those that are Secure.
type browser struct {
	sv      *server
	cookies map[string]*http.Cookie
}

// send makes a call with all cookies, and with a CSRF header unless empty.
func (b *browser) send(method, path, csrf string) answer {
	b.sv.t.Helper()
	return b.from(method, path, csrf, "")
}

// from is send from a page of an origin, unless empty.
func (b *browser) from(method, path, csrf, origin string) answer {
	b.sv.t.Helper()
	var pairs []string
	for _, c := range b.cookies {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	h := http.Header{"Cookie": {strings.Join(pairs, "; ")}}
	if csrf != "" {
		h.Set("X-CSRF-TOKEN", csrf)
	}
	if origin != "" {
		h.Set("Origin", origin)
	}
	return b.keep(b.sv.call(request{method: method, path: path, header: h}))
}

func (b *browser) keep(a answer) answer {
	b.sv.t.Helper()
	for _, line := range a.header.Values("Set-Cookie") {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			b.sv.t.Fatalf("Set-Cookie: %v", err)
		}
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
			continue
		}
		b.cookies[c.Name] = c
	}
	return a
}

func (b *browser) value(name string) string {
	if c := b.cookies[name]; c != nil {
		return c.Value
	}
	return ""
}

func (sv *server) browser(p person) *browser {
	sv.t.Helper()
	b := &browser{sv, map[string]*http.Cookie{}}
	r := loginOf(p)
	r.path += "?cookies=true"
	a := b.keep(sv.call(r)).want(sv.t, "login for cookies", http.StatusOK)
	if a.text("access_token") != "" || a.text("refresh_token") != "" || token.Match(a.body) {
		sv.t.Error("the body of a login for cookies holds a token")
	}
	return b
}

func TestCookiesAreSetSafely(t *testing.T) {
	t.Parallel()
	sv := newSite(t).start()
	b := sv.browser(sv.user("alice", "reader"))
	for name, httpOnly := range map[string]bool{
		"access_token_cookie": true, "refresh_token_cookie": true, "csrf_access_token": false, "csrf_refresh_token": false,
	} {
		c := b.cookies[name]
		if c == nil {
			t.Fatalf("no cookie %s", name)
		}
		if !c.Secure || c.SameSite != http.SameSiteLaxMode || c.HttpOnly != httpOnly || c.Path != "/" || c.Domain != "" || c.MaxAge <= 0 {
			t.Errorf("cookie %s: Secure %v, SameSite %v, HttpOnly %v, Path %q, Domain %q, MaxAge %d", name, c.Secure, c.SameSite, c.HttpOnly, c.Path, c.Domain, c.MaxAge)
		}
	}
}

func TestCookieNeedsCSRFHeaderToChangeAnything(t *testing.T) {
	t.Parallel()
	sv := newSite(t).start()
	alice := sv.user("alice", "contributor")
	b, other := sv.browser(alice), sv.browser(alice)
	b.send(http.MethodGet, "/auth/profile", "").want(t, "reading by cookie", http.StatusOK)
	for name, csrf := range map[string]string{
		"none": "", "another": "another", "of the refresh token": b.value("csrf_refresh_token"), "of another session": other.value("csrf_access_token"),
	} {
		for _, r := range []request{
			{method: http.MethodPost, path: "/auth/token/validation"}, {method: http.MethodPost, path: "/scans/plant"},
			{method: http.MethodDelete, path: "/auth/sessions?scope=all"}, {method: http.MethodPatch, path: "/users/alice"},
			{method: http.MethodPut, path: "/groups/lab/members/alice"}, {method: http.MethodPost, path: "/auth/logout"},
		} {
			b.send(r.method, r.path, csrf).refused(t, r.method+" "+r.path+" by cookie, CSRF header "+name, "CSRF")
		}
	}
	b.send(http.MethodPost, "/auth/token/validation", b.value("csrf_access_token")).want(t, "with the right header", http.StatusOK)
	// A bearer is sent by nobody unasked and needs no such header.
	if p := sv.login(alice); !sv.takes(p.access) {
		t.Error("a bearer is refused")
	}
}

func TestRefreshAndLogoutByCookie(t *testing.T) {
	t.Parallel()
	sv := newSite(t).start()
	b := sv.browser(sv.user("alice", "reader"))
	before := b.value("refresh_token_cookie")
	b.send(http.MethodPost, "/auth/token/refresh", "").refused(t, "refresh by cookie without CSRF header", "CSRF")
	b.send(http.MethodPost, "/auth/token/refresh", b.value("csrf_access_token")).refused(t, "refresh by cookie with the other header", "CSRF")
	got := b.send(http.MethodPost, "/auth/token/refresh", b.value("csrf_refresh_token")).want(t, "refresh by cookie", http.StatusOK)
	if token.Match(got.body) {
		t.Error("the body of a refresh by cookie holds a token")
	}
	if b.value("refresh_token_cookie") == before {
		t.Error("a refresh by cookie set no new cookie")
	}
	access := b.value("access_token_cookie")
	b.send(http.MethodGet, "/auth/profile", "").want(t, "reading by the new cookie", http.StatusOK)
	b.send(http.MethodPost, "/auth/logout", b.value("csrf_access_token")).want(t, "logout by cookie", http.StatusOK)
	if len(b.cookies) != 0 {
		t.Errorf("%d cookies are left after the logout", len(b.cookies))
	}
	if sv.takes(access) {
		t.Error("the token of the cookie outlives the logout")
	}
}
