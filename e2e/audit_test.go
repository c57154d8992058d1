package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// TestEveryActIsAudited does each thing once and looks for its row: what, to
// whom, in which session or with which token, from where, by which request.
func TestEveryActIsAudited(t *testing.T) {
	t.Parallel()
	s := newSite(t, "MAX_SESSION=2", "REFRESH_GRACE=0")
	sv := s.start()
	admin := sv.login(s.admin()).access
	alice := person{"alice", s.seen.password("alice")}
	const byUser, bySession, byToken = "", "session_id", "token_id"

	// audited wants one row of the kind that names the request. The subject
	// is a session or a token, whose id of is, or neither.
	audited := func(kind, username, subject, of string, a answer) {
		t.Helper()
		if a.status == http.StatusTooManyRequests || a.status >= http.StatusInternalServerError {
			t.Fatalf("%s: %s", kind, a)
		}
		where := ""
		args := []any{kind, username, a.header.Get("X-Request-Id"), agent}
		if subject != byUser {
			where = " AND " + subject + " = $5"
			args = append(args, of)
		}
		n := one[int](s, `SELECT count(*) FROM auth_events WHERE kind = $1 AND username = $2 AND request_id = $3
			AND user_agent = $4 AND host(address) = '127.0.0.1' AND at > now() - interval '1 minute'`+where, args...)
		if n != 1 {
			t.Errorf("%d events %s of %s for the request that answered %s, want 1", n, kind, username, a)
		}
	}
	login := func() (pair, answer) {
		t.Helper()
		a := sv.call(loginOf(alice))
		return a.pair(t, "login"), a
	}

	audited("user_create", "alice", byUser, "", sv.post("/auth/register", admin, map[string]any{
		"username": alice.name, "fullname": "Alice", "password": alice.password, "role": "contributor"}))
	failed := sv.call(loginOf(person{"nobody", newPassword()}))
	nobody := one[string](s, "SELECT username FROM auth_events WHERE kind = 'login_failed'")
	if !strings.HasPrefix(nobody, "? ") {
		t.Errorf("a failed login as nobody is recorded of %q, want a hash", nobody)
	}
	audited("login_failed", nobody, byUser, "", failed)
	one, a := login()
	audited("login", "alice", bySession, session(t, one.access), a)
	a = sv.call(refreshOf(one.refresh))
	audited("refresh", "alice", bySession, session(t, one.access), a)
	audited("reuse", "alice", bySession, session(t, one.access), sv.call(refreshOf(one.refresh)))

	one, _ = login()
	two, _ := login()
	three, a := login() // over the cap of two
	audited("evict", "alice", bySession, session(t, one.access), a)
	audited("logout", "alice", bySession, session(t, two.access), sv.call(logoutOf(two.access)))
	two, _ = login()
	audited("revoke", "alice", bySession, session(t, two.access), sv.remove("/auth/sessions/"+session(t, two.access), three.access))

	a = sv.post("/auth/token/create-api-token", three.access, map[string]any{"token_exp": 60, "datasets": map[string]any{"*": []string{"read"}}})
	id, _ := claimsOf(t, a.text("api_token"))["jti"].(string)
	audited("token_create", "alice", byToken, id, a)
	audited("token_revoke", "alice", byToken, id, sv.remove("/auth/api-tokens/"+id, three.access))

	next := newPassword()
	audited("password", "alice", byUser, "", sv.post("/users/alice/password", three.access,
		map[string]any{"current_password": alice.password, "new_password": next}))
	alice.password = next
	audited("password_reset", "alice", byUser, "", sv.post("/users/alice/password-reset", admin, nil))
	audited("user_update", "alice", byUser, "", sv.patch("/users/alice", admin, map[string]any{"fullname": "Alice M."}))

	for range 2 {
		sv.call(loginOf(person{"alice", newPassword()}))
	}
	a = sv.call(loginOf(person{"alice", newPassword()}))
	audited("login_failed", "alice", byUser, "", a)
	audited("lock", "alice", byUser, "", a)
	audited("unlock", "alice", byUser, "", sv.patch("/users/alice", admin, map[string]any{"unlock": true}))

	audited("group_create", adminName, byUser, "", sv.post("/groups", admin, map[string]any{"name": "lab"}))
	audited("group_update", adminName, byUser, "", sv.call(request{method: http.MethodPut, path: "/groups/lab/members/alice", token: admin}))
	audited("group_delete", adminName, byUser, "", sv.remove("/groups/lab", admin))
	audited("user_delete", "alice", byUser, "", sv.remove("/users/alice", admin))
	if n := s.events("login", "alice"); n != 5 {
		t.Errorf("%d logins of the deleted user are recorded, want all 5", n)
	}
}
