package e2e

import (
	"net/http"
	"testing"
)

// TestAuthXRoutes walks the routes that programs made for AuthX know, below /auth
// and at the root: without a token, with garbage and with a good one, which comes by
// header or by cookie.
func TestAuthXRoutes(t *testing.T) {
	t.Parallel()
	sv := newSite(t).start()
	alice := sv.user("alice", "reader")
	for name, root := range map[string]string{"below auth": "/auth", "at the root": "/"} {
		deprecated := ""
		if root == "/" {
			deprecated = "true"
		}
		// ask calls one of the routes and looks at what all answers have.
		ask := func(method, path string, r request) answer {
			t.Helper()
			r.method, r.path = method, root+path
			a := sv.call(r)
			if got := a.header.Get("Deprecation"); got != deprecated {
				t.Errorf("%s %s %s has Deprecation %q, want %q", name, method, path, got, deprecated)
			}
			return a
		}
		get := func(path string, r request) answer {
			t.Helper()
			return ask(http.MethodGet, path, r)
		}
		cookie := func(value, csrf string) request {
			h := http.Header{"Cookie": {"access_token_cookie=" + value}}
			if csrf != "" {
				h.Set("X-CSRF-TOKEN", csrf)
			}
			return request{header: h}
		}
		// report checks what a route says of the token that it found.
		report := func(what string, a answer, found bool, location, kind string, csrf bool) {
			t.Helper()
			var got struct {
				Found    bool
				Location string
				Type     string
				CSRF     bool
			}
			a.want(t, name+": "+what, http.StatusOK).into(t, &got)
			if got.Found != found || got.Location != location || got.Type != kind || got.CSRF != csrf {
				t.Errorf("%s: %s = %s, want found %t, location %q, type %q, csrf %t", name, what, a, found, location, kind, csrf)
			}
		}
		p, b := sv.login(alice), sv.browser(alice)
		byCookie, csrf := b.value("access_token_cookie"), b.value("csrf_access_token")

		for what, r := range map[string]request{"garbage": {token: "garbage"}, "a cookie of garbage": cookie("garbage", "")} {
			get("/profile", r).refused(t, name+": profile with "+what, "Malformed")
		}
		get("/profile", request{}).refused(t, name+": profile without a token", "")
		for what, r := range map[string]request{"header": {token: p.access}, "cookie": cookie(byCookie, "")} {
			if a := get("/profile", r); a.status != http.StatusOK || a.text("username") != "alice" {
				t.Errorf("%s: profile by %s = %s, want alice", name, what, a)
			}
		}

		report("optional without a token", get("/token/optional", request{}), false, "", "", false)
		get("/token/mandatory", request{}).refused(t, name+": mandatory without a token", "")
		for _, path := range []string{"/token/optional", "/token/mandatory"} {
			for what, raw := range map[string]string{"garbage": "garbage", "a good token": p.access} { // neither is validated
				report(path+" with "+what, get(path, request{token: raw}), true, "headers", "access", false)
				report(path+" with a cookie of "+what, get(path, cookie(raw, "")), true, "cookies", "access", false)
				report(path+" with "+what+" and CSRF", get(path, cookie(raw, "x")), true, "cookies", "access", true)
			}
			both := cookie(byCookie, "")
			both.token = p.access
			get(path, both).want(t, name+": "+path+" with header and cookie", http.StatusBadRequest)
		}

		remove := func(r request) answer {
			t.Helper()
			return ask(http.MethodDelete, "/logout", r)
		}
		remove(request{}).refused(t, name+": logout without a token", "")
		remove(request{token: "garbage"}).refused(t, name+": logout with garbage", "Malformed")
		remove(cookie(byCookie, "")).refused(t, name+": logout by cookie without CSRF", "CSRF")
		remove(cookie(byCookie, "x")).refused(t, name+": logout by cookie with another CSRF", "CSRF")
		if !sv.takes(p.access) || !sv.takes(byCookie) {
			t.Errorf("%s: a logout that was refused ended a session", name)
		}
		remove(request{token: p.access}).want(t, name+": logout", http.StatusOK)
		if sv.takes(p.access) || !sv.takes(byCookie) {
			t.Errorf("%s: logout by header ended the other session, or not its own", name)
		}
		remove(cookie(byCookie, csrf)).want(t, name+": logout by cookie", http.StatusOK)
		if sv.takes(byCookie) {
			t.Errorf("%s: the session goes on after the logout by cookie", name)
		}
	}
}
