package e2e

import (
	"net/http"
	"strings"
	"testing"
)

func introspectionOf(asker, shown string) request {
	return request{method: http.MethodPost, path: "/auth/introspect", token: asker, body: map[string]any{"token": shown}}
}

// TestIntrospectionTellsOwnersAlone is RFC 7662: what does not count, and what
// is somebody else's, is inactive and nothing more.
func TestIntrospectionTellsOwnersAlone(t *testing.T) {
	t.Parallel()
	key, setting := newKey()
	s := newSite(t, "JWT_SECRET_KEY="+setting)
	sv := s.start()
	alice := sv.user("alice", "contributor")
	p, bobs, admins := sv.login(alice), sv.login(sv.user("bob", "reader")), sv.login(s.admin())
	api := sv.apiToken(p.access, 600, map[string][]string{"m*": {"read"}})
	ended := sv.login(alice)
	sv.call(logoutOf(ended.access)).want(t, "logout", http.StatusOK)

	for what, raw := range map[string]string{"access token": p.access, "refresh token": p.refresh, "API token": api} {
		for who, asker := range map[string]string{"owner": p.access, "administrator": admins.access} {
			got := sv.call(introspectionOf(asker, raw)).want(t, "introspection", http.StatusOK)
			if !strings.Contains(string(got.body), `"active":true`) || got.text("username") != "alice" || got.text("jti") != claimsOf(t, raw)["jti"] {
				t.Errorf("%s to its %s = %s, want it active, and alice's", what, who, got)
			}
		}
	}
	inactive := map[string][2]string{
		"somebody else's access token":  {bobs.access, p.access},
		"somebody else's refresh token": {bobs.access, p.refresh},
		"somebody else's API token":     {bobs.access, api},
		"token of an ended session":     {p.access, ended.access},
		"refresh token of that session": {p.access, ended.refresh},
	}
	for _, b := range badTokens(t, p, key) {
		if b.raw != p.refresh { // bad as a bearer alone
			inactive[b.name] = [2]string{p.access, b.raw}
		}
	}
	for what, q := range inactive {
		got := sv.call(introspectionOf(q[0], q[1])).want(t, "introspection", http.StatusOK)
		if strings.TrimSpace(string(got.body)) != `{"active":false}` {
			t.Errorf("%s = %s, want {\"active\":false} and no more", what, got)
		}
	}
	sv.call(introspectionOf("", p.access)).refused(t, "introspection by nobody", "")
}

// TestRevocationTakesWhateverTokenIsShown is RFC 7009.
func TestRevocationTakesWhateverTokenIsShown(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b := s.pair()
	alice := a.user("alice", "contributor")
	revoke := func(raw string) {
		t.Helper()
		for range 2 { // the second time it is unknown, and answered alike
			a.post("/auth/revoke", "", map[string]any{"token": raw}).want(t, "revoke", http.StatusOK)
		}
	}
	byAccess, byRefresh, kept := a.login(alice), b.login(alice), a.login(alice)
	api := a.apiToken(kept.access, 600, map[string][]string{"*": {"read"}})
	revoke(byAccess.access)
	revoke(byRefresh.refresh)
	for _, p := range []pair{byAccess, byRefresh} {
		for _, sv := range []*server{a, b} {
			until(t, "the access token is refused", func() bool { return !sv.takes(p.access) })
			sv.call(refreshOf(p.refresh)).refused(t, "refresh after the revocation", "ended")
		}
	}
	revoke(api)
	until(t, "the API token is refused", func() bool { return !b.takes(api) })
	revoke("garbage")
	if !a.takes(kept.access) || !b.takes(kept.access) {
		t.Error("a revocation ended more than it should")
	}
}
