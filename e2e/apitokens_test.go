package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// apiToken mints a token that must be minted.
func (sv *server) apiToken(access string, seconds int, datasets map[string][]string) string {
	sv.t.Helper()
	a := sv.post("/auth/token/create-api-token", access, map[string]any{"token_exp": seconds, "datasets": datasets})
	raw := a.want(sv.t, "create an API token", http.StatusOK).text("api_token")
	if raw == "" {
		sv.t.Fatalf("create an API token = %s, want a token", a)
	}
	return raw
}

func (sv *server) scan(name, access string) {
	sv.t.Helper()
	sv.post("/scans/"+name, access, map[string]any{}).want(sv.t, "create scan "+name, http.StatusCreated)
}

// annotate tries to write metadata of a scan.
func (sv *server) annotate(name, bearer string) answer {
	sv.t.Helper()
	return sv.post("/scans/"+name+"/metadata", bearer, map[string]any{"metadata": map[string]any{"seen": true}})
}

// forbidden fails the test unless the answer is a 403 as a token gets it.
func (a answer) forbidden(t *testing.T, what string) {
	t.Helper()
	if a.status != http.StatusForbidden || a.header.Get("WWW-Authenticate") != `Bearer error="insufficient_scope"` {
		t.Errorf("%s = %s (WWW-Authenticate %q), want 403 and insufficient_scope", what, a, a.header.Get("WWW-Authenticate"))
	}
}

func TestAPITokenReachesItsGlobsAndPermissionsAlone(t *testing.T) {
	t.Parallel()
	sv := newSite(t).start()
	alice := sv.user("alice", "contributor")
	p := sv.login(alice)
	for _, name := range []string{"maize_1", "maize_2", "wheat_1", "rice"} {
		sv.scan(name, p.access)
	}
	api := sv.apiToken(p.access, 600, map[string][]string{
		"maize_*": {"READ"}, "maize_2": {"Permission.WRITE"}, "new_[ab]": {"create", "write"}, "wheat_[!2]": {"read", "write", "manage_users"},
	})
	for name, want := range map[string]struct{ read, write int }{
		"maize_1": {http.StatusOK, http.StatusForbidden}, // read alone
		"maize_2": {http.StatusOK, http.StatusOK},        // the union of two globs
		"wheat_1": {http.StatusOK, http.StatusOK},
		"rice":    {http.StatusForbidden, http.StatusForbidden},
	} {
		if got := sv.get("/scans/"+name+"/metadata", api); got.status != want.read {
			t.Errorf("read %s = %s, want %d", name, got, want.read)
		}
		if got := sv.annotate(name, api); got.status != want.write {
			t.Errorf("write %s = %s, want %d", name, got, want.write)
		}
	}
	sv.annotate("rice", api).forbidden(t, "write beyond the globs")
	sv.scan("new_a", api)
	sv.post("/scans/new_c", api, map[string]any{}).forbidden(t, "create beyond the globs")
	sv.annotate("rice", p.access).want(t, "write by the person", http.StatusOK)
}

func TestAPITokenManagesNoAccount(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	sv := s.start()
	admin := sv.login(s.admin())
	api := sv.apiToken(admin.access, 600, map[string][]string{"*": {"read", "write", "create", "delete", "manage_users", "manage_groups"}})
	for _, r := range []request{
		{method: http.MethodPost, path: "/auth/token/create-api-token", body: map[string]any{"token_exp": 60, "datasets": map[string]any{"*": []string{"read"}}}},
		{method: http.MethodGet, path: "/users"},
		{method: http.MethodPost, path: "/auth/register", body: map[string]any{"username": "eve", "fullname": "Eve", "password": newPassword()}},
		{method: http.MethodPatch, path: "/users/guest", body: map[string]any{"fullname": "Eve"}},
		{method: http.MethodPost, path: "/users/admin/password", body: map[string]any{"current_password": s.admin().password, "new_password": newPassword()}},
		{method: http.MethodPost, path: "/users/guest/password-reset"},
		{method: http.MethodPost, path: "/groups", body: map[string]any{"name": "lab"}},
		{method: http.MethodGet, path: "/auth/sessions"},
		{method: http.MethodDelete, path: "/auth/sessions?scope=all"},
		{method: http.MethodGet, path: "/auth/api-tokens"},
	} {
		r.token = api
		sv.call(r).forbidden(t, r.method+" "+r.path+" with an API token")
	}
	sv.call(logoutOf(api)).refused(t, "logout with an API token", "Logout failed")
	if !sv.takes(api) || !sv.takes(admin.access) {
		t.Error("a misused API token ended something")
	}
}

func TestAPITokenIsNeverWiderThanItsOwnerIsNow(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b := s.pair()
	alice, admin := a.user("alice", "contributor"), a.login(s.admin())
	a.scan("public", admin.access) // not hers: what she may is by her role
	api := b.apiToken(b.login(alice).access, 600, map[string][]string{"*": {"read", "write", "create", "delete"}})
	b.annotate("public", api).want(t, "write as contributor", http.StatusOK)
	a.post("/auth/register", admin.access, map[string]any{"username": "x", "fullname": "x", "password": newPassword()}).want(t, "register", http.StatusCreated)

	role := func(name string) {
		a.patch("/users/alice", admin.access, map[string]any{"roles": []string{name}}).want(t, "make alice a "+name, http.StatusOK)
	}
	role("reader")
	a.annotate("public", api).forbidden(t, "write when the owner is a reader now")
	until(t, "the other replica refuses, too", func() bool { return b.annotate("public", api).status == http.StatusForbidden })
	b.post("/scans/another", api, map[string]any{}).forbidden(t, "create when the owner is a reader now")
	b.get("/scans/public/metadata", api).want(t, "read when the owner is a reader now", http.StatusOK)
	role("contributor")
	a.annotate("public", api).want(t, "write when the owner may again", http.StatusOK)
}

func TestAPITokenEndsByRevocationAndByTime(t *testing.T) {
	t.Parallel()
	s := newSite(t, "JWT_LEEWAY=0")
	a, b := s.pair()
	alice, bob := a.user("alice", "contributor"), a.user("bob", "reader")
	p, bobs := a.login(alice), a.login(bob)
	kept, revoked := a.apiToken(p.access, 600, map[string][]string{"*": {"read"}}), a.apiToken(p.access, 600, map[string][]string{"m*": {"read"}})
	brief := a.apiToken(p.access, 1, map[string][]string{"*": {"read"}})

	id := claimsOf(t, revoked)["jti"].(string)
	var list struct {
		Tokens []struct {
			ID       string
			Datasets map[string][]string
		} `json:"api_tokens"`
	}
	a.get("/auth/api-tokens", p.access).want(t, "list", http.StatusOK).into(t, &list)
	found := false
	for _, e := range list.Tokens {
		found = found || e.ID == id && len(e.Datasets["m*"]) == 1
	}
	if !found {
		t.Errorf("the list %v does not hold the token %s", list, id)
	}
	if got := a.get("/auth/api-tokens", p.access); token.Match(got.body) {
		t.Error("the list holds a token")
	}
	a.remove("/auth/api-tokens/"+id, bobs.access).want(t, "revoke another user's", http.StatusNotFound)
	if !b.takes(revoked) {
		t.Error("another user could revoke a token")
	}
	a.remove("/auth/api-tokens/"+id, p.access).want(t, "revoke", http.StatusNoContent)
	a.call(validationOf(revoked)).refused(t, "revoked API token where it was revoked", "")
	until(t, "the other replica refuses it, too", func() bool { return !b.takes(revoked) })
	until(t, "a token of one second has run out", func() bool { return !a.takes(brief) })
	a.call(validationOf(brief)).refused(t, "expired API token", "expired")

	// The end of the session that made it is not the end of an API token.
	a.call(logoutOf(p.access)).want(t, "logout", http.StatusOK)
	if !a.takes(kept) || !b.takes(kept) {
		t.Error("logging out ended an API token")
	}
	keptID := claimsOf(t, kept)["jti"].(string)
	until(t, "its last use is recorded", func() bool {
		return one[bool](s, "SELECT last_used_at IS NOT NULL FROM api_tokens WHERE id = $1", keptID)
	})
	// The list says which one it was, and when, without the token.
	var shown struct {
		Tokens []struct {
			ID, Prefix string
			LastUsed   *time.Time `json:"last_used_at"`
		} `json:"api_tokens"`
	}
	fresh := a.apiToken(a.login(alice).access, 600, map[string][]string{"*": {"read"}})
	freshID := claimsOf(t, fresh)["jti"].(string)
	b.get("/auth/api-tokens", b.login(alice).access).want(t, "list with uses", http.StatusOK).into(t, &shown)
	seen := map[string]bool{} // by prefix, whether it was used
	for _, e := range shown.Tokens {
		seen[e.Prefix] = e.LastUsed != nil && !e.LastUsed.After(time.Now())
		if !strings.HasPrefix(e.ID, e.Prefix) {
			t.Errorf("prefix of the token %s = %s", e.ID, e.Prefix)
		}
	}
	if used, ok := seen[keptID[:13]]; !ok || !used {
		t.Errorf("the list %+v does not say that %s was used", shown.Tokens, keptID)
	}
	if used, ok := seen[freshID[:13]]; !ok || used {
		t.Errorf("the list %+v says that %s, which is new, was used", shown.Tokens, freshID)
	}
}
