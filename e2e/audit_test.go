package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// TestEveryActIsAudited does each thing once and looks for its row: what, to
// whom, in which session, with which token, from where, by which request.
func TestEveryActIsAudited(t *testing.T) {
	t.Parallel()
	s := newSite(t, "MAX_SESSION=2", "REFRESH_GRACE=0")
	sv := s.start()
	admin := sv.login(s.admin()).access
	alice := person{"alice", s.seen.password("alice")}
	const none = ""

	// audited wants one row of the kind that names the request, the session it
	// happened to or else was done in, and the API token it happened to.
	audited := func(kind, username, session, token string, a answer) {
		t.Helper()
		if a.status == http.StatusTooManyRequests || a.status >= http.StatusInternalServerError {
			t.Fatalf("%s: %s", kind, a)
		}
		n := one[int](s, `SELECT count(*) FROM auth_events WHERE kind = $1 AND username = $2 AND request_id = $3
			AND user_agent = $4 AND host(address) = '127.0.0.1' AND at > now() - interval '1 minute'
			AND session_id IS NOT DISTINCT FROM nullif($5, '')::uuid AND token_id IS NOT DISTINCT FROM nullif($6, '')::uuid`,
			kind, username, a.header.Get("X-Request-Id"), agent, session, token)
		if n != 1 {
			t.Errorf("%d events %s of %s for the request that answered %s, want 1", n, kind, username, a)
		}
	}
	login := func() (pair, answer) {
		t.Helper()
		a := sv.call(loginOf(alice))
		return a.pair(t, "login"), a
	}

	audited("user_create", "alice", session(t, admin), none, sv.post("/auth/register", admin, map[string]any{
		"username": alice.name, "fullname": "Alice", "password": alice.password, "role": "contributor"}))
	failed := sv.call(loginOf(person{"nobody", newPassword()}))
	nobody := one[string](s, "SELECT username FROM auth_events WHERE kind = 'login_failed'")
	if !strings.HasPrefix(nobody, "? ") {
		t.Errorf("a failed login as nobody is recorded of %q, want a hash", nobody)
	}
	audited("login_failed", nobody, none, none, failed)
	one, a := login()
	audited("login", "alice", session(t, one.access), none, a)
	a = sv.call(refreshOf(one.refresh))
	audited("refresh", "alice", session(t, one.access), none, a)
	audited("reuse", "alice", session(t, one.access), none, sv.call(refreshOf(one.refresh)))

	one, _ = login()
	two, _ := login()
	three, a := login() // over the cap of two
	audited("evict", "alice", session(t, one.access), none, a)
	audited("logout", "alice", session(t, two.access), none, sv.call(logoutOf(two.access)))
	two, _ = login()
	audited("revoke", "alice", session(t, two.access), none, sv.remove("/auth/sessions/"+session(t, two.access), three.access))

	a = sv.post("/auth/token/create-api-token", three.access, map[string]any{"token_exp": 60, "datasets": map[string]any{"*": []string{"read"}}})
	id, _ := claimsOf(t, a.text("api_token"))["jti"].(string)
	audited("token_create", "alice", session(t, three.access), id, a)
	audited("token_revoke", "alice", session(t, three.access), id, sv.remove("/auth/api-tokens/"+id, three.access))

	next := newPassword()
	audited("password", "alice", session(t, three.access), none, sv.post("/users/alice/password", three.access,
		map[string]any{"current_password": alice.password, "new_password": next}))
	alice.password = next
	audited("password_reset", "alice", session(t, admin), none, sv.post("/users/alice/password-reset", admin, nil))
	audited("user_update", "alice", session(t, admin), none, sv.patch("/users/alice", admin, map[string]any{"fullname": "Alice M."}))

	for range 2 {
		sv.call(loginOf(person{"alice", newPassword()}))
	}
	a = sv.call(loginOf(person{"alice", newPassword()}))
	audited("login_failed", "alice", none, none, a)
	audited("lock", "alice", none, none, a)
	audited("unlock", "alice", session(t, admin), none, sv.patch("/users/alice", admin, map[string]any{"unlock": true}))

	audited("group_create", adminName, session(t, admin), none, sv.post("/groups", admin, map[string]any{"name": "lab"}))
	audited("group_update", adminName, session(t, admin), none, sv.call(request{method: http.MethodPut, path: "/groups/lab/members/alice", token: admin}))
	audited("group_delete", adminName, session(t, admin), none, sv.remove("/groups/lab", admin))
	audited("user_delete", "alice", session(t, admin), none, sv.remove("/users/alice", admin))
	if n := s.events("login", "alice"); n != 5 {
		t.Errorf("%d logins of the deleted user are recorded, want all 5", n)
	}
	for _, table := range []string{"auth_events", "users", "sessions", "refresh_tokens", "revoked_tokens"} {
		if all, odd := s.ids(table); odd > 0 || all == 0 {
			t.Errorf("%d of %d ids of %s are no UUID of version 7, want none of some", odd, all, table)
		}
	}
}

// ids counts the ids of a table, and those that are not ordered by their time.
func (s *site) ids(table string) (all, odd int) {
	s.t.Helper()
	all = one[int](s, "SELECT count(*) FROM "+table)
	return all, one[int](s, "SELECT count(*) FROM "+table+" WHERE substr(id::text, 15, 1) <> '7'")
}
