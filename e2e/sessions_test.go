package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// promptly is how soon every replica knows of a revocation.
const promptly = time.Second

// seenBy returns how long the server still takes a token that was revoked just
// now: until the last look that it answered with yes was begun.
func seenBy(t *testing.T, sv *server, access string) time.Duration {
	t.Helper()
	began := time.Now()
	var last time.Duration
	until(t, "the token is refused", func() bool {
		at := time.Since(began)
		if sv.takes(access) {
			last = at
			return false
		}
		return true
	})
	return last
}

// Not parallel: it is about time, and so has the machine to itself, but for other
// packages. Seconds that the machine was late say nothing of the server: what
// counts is what half of ten logouts took.
func TestLogoutIsSeenByTheOtherReplicaWithinASecond(t *testing.T) {
	a, b := newSite(t).pair()
	alice := a.user("alice", "reader")
	var all []time.Duration
	for range 10 {
		p := a.login(alice)
		if !b.takes(p.access) {
			t.Fatal("the other replica refuses a new token")
		}
		a.call(logoutOf(p.access)).want(t, "logout", http.StatusOK)
		a.call(validationOf(p.access)).refused(t, "token after logout where it was", "")
		all = append(all, seenBy(t, b, p.access))
		b.call(refreshOf(p.refresh)).refused(t, "refresh after logout", "ended")
	}
	slices.Sort(all)
	t.Logf("logouts are seen by the other replica within %s", all)
	if median := all[len(all)/2]; median > promptly {
		t.Errorf("half of the logouts were not seen by the other replica for %s, want %s at most", median, promptly)
	}
}

// Who starts after a token was revoked refuses it from its first request on,
// whatever the others that ran had in memory.
func TestRevocationsOutliveARestart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b := s.pair()
	admin := b.login(s.admin())
	for name, end := range map[string]func(){"stop": func() { a.Stop() }, "kill": func() { a.Kill() }} {
		alice, bob := a.user("alice_"+name, "contributor"), a.user("bob_"+name, "contributor")
		out, ended, kept := a.login(alice), a.login(alice), a.login(alice)
		revoked, live := a.apiToken(kept.access, 600, map[string][]string{"*": {"read"}}), a.apiToken(kept.access, 600, map[string][]string{"*": {"read"}})
		gone := a.login(bob)
		a.call(logoutOf(out.access)).want(t, "logout", http.StatusOK)
		a.remove("/auth/sessions/"+session(t, ended.access), kept.access).want(t, "end another session", http.StatusNoContent)
		a.post("/auth/revoke", "", map[string]any{"token": revoked}).want(t, "revoke", http.StatusOK)
		a.patch("/users/"+bob.name, admin.access, map[string]any{"active": false}).want(t, "deactivate", http.StatusOK)
		end()
		a = s.start()
		for what, token := range map[string]string{
			"logged out": out.access, "of an ended session": ended.access, "revoked": revoked, "of a deactivated user": gone.access,
		} {
			if a.takes(token) {
				t.Errorf("%s: the server that was started again takes a token that is %s", name, what)
			}
		}
		for what, token := range map[string]string{"session": kept.access, "API token": live} {
			if !a.takes(token) {
				t.Errorf("%s: the %s that was left alone is refused", name, what)
			}
		}
		for what, token := range map[string]string{"logged out": out.refresh, "of an ended session": ended.refresh, "of a deactivated user": gone.refresh} {
			if got := a.call(refreshOf(token)); got.status != http.StatusUnauthorized {
				t.Errorf("%s: refresh by a token %s = %s, want 401", name, what, got)
			}
		}
	}
}

// Not parallel, as above. The connections that listen are cut before, while and
// after the revocation commits, and again and again.
func TestLogoutIsSeenAlthoughTheListenerWasCut(t *testing.T) {
	s := newSite(t)
	a, b := s.pair()
	alice := a.user("alice", "reader")
	listeners := func() int {
		return one[int](s, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'plantdb revocations'")
	}
	cut := func() int {
		return one[int](s, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'plantdb revocations'`)
	}
	logout := func(p pair) { a.call(logoutOf(p.access)).want(t, "logout", http.StatusOK) }
	moments := map[string]func(pair){
		"before": func(p pair) { cut(); logout(p) },
		"after":  func(p pair) { logout(p); cut() },
		"while": func(p pair) {
			together(2, func(i int) { []func(){func() { cut() }, func() { a.try(logoutOf(p.access)) }}[i]() })
		},
		"all the time": func(p pair) {
			// As soon as one listens again, it is cut again.
			for range 5 {
				until(t, "somebody listens again", func() bool { return cut() > 0 })
			}
			logout(p)
			cut()
		},
	}
	for moment, do := range moments {
		fastest := patience
		for range 3 {
			until(t, "both replicas listen", func() bool { return listeners() == 2 })
			p := a.login(alice)
			if !b.takes(p.access) {
				t.Fatal("the other replica refuses a new token")
			}
			do(p)
			fastest = min(fastest, seenBy(t, b, p.access))
		}
		if fastest > promptly {
			t.Errorf("cut %s the logout: not seen by the other replica for %s, want %s at most", moment, fastest, promptly)
		}
	}
}

func TestSessionCapHoldsUnderParallelLogins(t *testing.T) {
	t.Parallel()
	const logins, most = 50, 5
	for _, policy := range []string{"evict", "reject"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "MAX_SESSION=5", "MAX_SESSION_POLICY="+policy)
			a, b := s.pair()
			alice, bob := a.user("alice", "reader"), a.user("bob", "reader")
			bobs := b.login(bob)
			answers := make([]answer, logins)
			together(logins, func(i int) { answers[i] = []*server{a, b}[i%2].try(loginOf(alice)) })
			var alive, refused int
			for _, got := range answers {
				switch {
				case got.status == http.StatusOK && b.call(refreshOf(got.text("refresh_token"))).status == http.StatusOK:
					alive++
				case got.status == http.StatusConflict && got.text("code") == "session_limit":
					refused++
				case got.status != http.StatusOK:
					t.Errorf("a login = %s", got)
				}
			}
			wantRefused := 0
			if policy == "reject" {
				wantRefused = logins - most
			}
			if alive != most || refused != wantRefused {
				t.Errorf("%d parallel logins: %d sessions live and %d were refused, want %d and %d", logins, alive, refused, most, wantRefused)
			}
			if n := one[int](s, "SELECT count(*) FROM sessions s JOIN users u ON u.id = s.user_id WHERE username = 'alice' AND ended_at IS NULL"); n != most {
				t.Errorf("%d live sessions are stored, want %d", n, most)
			}
			if !a.takes(bobs.access) {
				t.Error("another user's session ended")
			}
		})
	}
}

func TestEvictionTakesTheLeastRecentlyUsed(t *testing.T) {
	t.Parallel()
	sv := newSite(t, "MAX_SESSION=2").start()
	alice := sv.user("alice", "reader")
	older, newer := sv.login(alice), sv.login(alice)
	older = sv.refresh(older.refresh) // and so used last
	sv.login(alice)
	if !sv.takes(older.access) || sv.takes(newer.access) {
		t.Error("a third login at a cap of two ended the session that was used last")
	}
	sv.call(refreshOf(newer.refresh)).refused(t, "refresh of the evicted session", "ended")
}

// sessionsOf lists sessions; the path says whose.
func (sv *server) sessionsOf(path, access string) (ids []string, current string) {
	sv.t.Helper()
	var list struct {
		Sessions []struct {
			ID, Address string
			UserAgent   string `json:"user_agent"`
			Current     bool
		}
	}
	sv.get(path, access).want(sv.t, "list of sessions", http.StatusOK).into(sv.t, &list)
	for _, s := range list.Sessions {
		ids = append(ids, s.ID)
		if s.Current {
			current = s.ID
		}
		if s.Address != "127.0.0.1" || s.UserAgent != agent {
			sv.t.Errorf("session of %s and %q, want 127.0.0.1 and %q", s.Address, s.UserAgent, agent)
		}
	}
	return ids, current
}

func TestSessionsAreListedAndEnded(t *testing.T) {
	t.Parallel()
	a, b := newSite(t).pair()
	alice, bob := a.user("alice", "contributor"), a.user("bob", "reader")
	admin, bobs := a.login(a.site.admin()), a.login(bob)
	mine := []pair{a.login(alice), a.login(alice), b.login(alice), b.login(alice)}
	ids, current := b.sessionsOf("/auth/sessions", mine[0].access)
	if len(ids) != len(mine) || current != session(t, mine[0].access) {
		t.Errorf("list of sessions = %d, of them current %s; want %d and %s", len(ids), current, len(mine), session(t, mine[0].access))
	}
	if ids, current = a.sessionsOf("/users/alice/sessions", admin.access); len(ids) != len(mine) || current != "" {
		t.Errorf("administrator's list = %d sessions, current %q; want %d and none", len(ids), current, len(mine))
	}
	dead := func(what string, of ...pair) {
		t.Helper()
		for _, sv := range []*server{a, b} {
			for _, p := range of {
				until(t, what+": the token is refused everywhere", func() bool { return !sv.takes(p.access) })
				sv.call(refreshOf(p.refresh)).refused(t, what+": refresh", "ended")
			}
		}
	}
	a.get("/users/alice/sessions", bobs.access).want(t, "another user's sessions", http.StatusForbidden)
	a.remove("/users/alice/sessions", bobs.access).want(t, "end another user's sessions", http.StatusForbidden)
	a.remove("/auth/sessions/"+session(t, mine[0].access), bobs.access).want(t, "end another user's session", http.StatusNotFound)

	a.remove("/auth/sessions/"+session(t, mine[3].access), mine[0].access).want(t, "end one session", http.StatusNoContent)
	dead("one", mine[3])
	a.remove("/auth/sessions/"+session(t, mine[3].access), mine[0].access).want(t, "end it again", http.StatusNotFound)
	if !a.takes(mine[1].access) || !a.takes(mine[2].access) {
		t.Error("ending one session ended more")
	}
	a.remove("/auth/sessions?scope=others", mine[0].access).want(t, "end the others", http.StatusOK)
	dead("others", mine[1], mine[2])
	if !b.takes(mine[0].access) {
		t.Error("ending the others ended this one")
	}
	again := b.login(alice)
	a.remove("/auth/sessions?scope=all", mine[0].access).want(t, "end all", http.StatusOK)
	dead("all", mine[0], again)
	again = b.login(alice)
	a.remove("/users/alice/sessions", admin.access).want(t, "administrator ends all", http.StatusOK)
	dead("by the administrator", again)
	if !a.takes(bobs.access) {
		t.Error("another user's session ended")
	}
}

func TestPasswordChangeEndsOtherSessions(t *testing.T) {
	t.Parallel()
	a, b := newSite(t).pair()
	alice := a.user("alice", "reader")
	here, there := a.login(alice), b.login(alice)
	changed := person{"alice", newPassword()}
	body := map[string]any{"current_password": "not this one", "new_password": changed.password}
	a.post("/users/alice/password", here.access, body).want(t, "change with a wrong password", http.StatusForbidden)
	body["current_password"] = alice.password
	a.post("/users/alice/password", here.access, body).want(t, "change of the password", http.StatusNoContent)
	if !a.takes(here.access) {
		t.Error("the session in which the password was changed ended")
	}
	until(t, "the other session has ended", func() bool { return !b.takes(there.access) })
	b.call(refreshOf(there.refresh)).refused(t, "refresh in the other session", "ended")
	b.call(loginOf(alice)).refused(t, "login with the old password", "Invalid credentials")
	b.login(changed)
}

func TestDeactivationKillsAllTokensEverywhere(t *testing.T) {
	t.Parallel()
	a, b := newSite(t).pair()
	alice, admin := a.user("alice", "contributor"), a.login(a.site.admin())
	p := b.login(alice)
	api := b.apiToken(p.access, 600, map[string][]string{"*": {"read"}})
	if !a.takes(p.access) || !a.takes(api) {
		t.Fatal("new tokens are refused")
	}
	a.patch("/users/alice", admin.access, map[string]any{"active": false}).want(t, "deactivate", http.StatusOK)
	dead := func(when string) {
		t.Helper()
		for _, sv := range []*server{a, b} {
			for _, raw := range []string{p.access, api} {
				until(t, when+": the token is refused", func() bool { return !sv.takes(raw) })
			}
			sv.call(refreshOf(p.refresh)).refused(t, when+": refresh", "")
		}
	}
	dead("deactivated")
	a.call(loginOf(alice)).refused(t, "login of an inactive user", "Invalid credentials")
	a.patch("/users/alice", admin.access, map[string]any{"active": true}).want(t, "reactivate", http.StatusOK)
	dead("reactivated")
	b.login(alice)
}

// Whoever owns the database may switch an account off by SQL, where nothing ends its
// sessions: its tokens are refused all the same, within the second that an account is
// remembered for, and by the name of the cause. Of a session that has ended that is
// the cause.
func TestInactiveUserIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b := s.pair()
	alice := a.user("alice", "contributor")
	live, ended := a.login(alice), a.login(alice)
	api := a.apiToken(live.access, 600, map[string][]string{"*": {"read"}})
	s.exec("UPDATE users SET is_active = false WHERE username = 'alice'")
	s.exec("UPDATE sessions SET ended_at = now(), end_reason = 'revoked' WHERE id = $1", session(t, ended.access))
	for _, sv := range []*server{a, b} {
		for _, tt := range []struct {
			what string
			r    request
			code string
		}{
			{"access token", validationOf(live.access), "user_inactive"},
			{"API token", validationOf(api), "user_inactive"},
			{"refresh token", refreshOf(live.refresh), "user_inactive"},
			{"access token of a session that has ended", validationOf(ended.access), "session_ended"},
			{"refresh token of a session that has ended", refreshOf(ended.refresh), "session_ended"},
		} {
			until(t, tt.what+" is refused", func() bool { return sv.call(tt.r).status != http.StatusOK })
			got := sv.call(tt.r)
			got.refused(t, tt.what, "")
			if got.text("code") != tt.code {
				t.Errorf("%s of a user who is switched off = %s, want the code %s", tt.what, got, tt.code)
			}
		}
		sv.call(loginOf(alice)).refused(t, "login", "Invalid credentials")
	}
	s.exec("UPDATE users SET is_active = true WHERE username = 'alice'")
	until(t, "the session goes on", func() bool { return a.takes(live.access) && b.takes(api) })
	b.refresh(live.refresh)
}

// A notification holds all commits of the PostgreSQL up, so only what revokes
// something sends one.
func TestOnlyRevocationsNotify(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	sv := s.start()
	alice := sv.user("alice", "reader")
	ctx, cancel := soon(t)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.database)
	if err != nil {
		t.Fatalf("connect to listen: %v", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // the database goes anyway
	if _, err := conn.Exec(ctx, "LISTEN plantdb_revoked"); err != nil {
		t.Fatalf("listen: %v", err)
	}
	// next returns the text of the next notification: the server's have none.
	next := func() string {
		t.Helper()
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			t.Fatalf("wait for a notification: %v", err)
		}
		return n.Payload
	}
	var p pair
	for range 3 {
		p = sv.login(alice)
		sv.call(loginOf(person{"alice", newPassword()})).refused(t, "wrong password", "Invalid credentials")
	}
	sv.apiToken(p.access, 600, map[string][]string{"*": {"read"}})
	sv.call(refreshOf("garbage")).refused(t, "garbage at refresh", "")
	sv.call(refreshOf(p.access)).refused(t, "access token at refresh", "")
	sv.post("/auth/revoke", "", map[string]any{"token": "garbage"}).want(t, "revoke garbage", http.StatusOK)
	sv.call(introspectionOf(p.access, p.refresh)).want(t, "introspection", http.StatusOK)
	if !sv.takes(p.access) {
		t.Error("a new token is refused")
	}
	s.exec("SELECT pg_notify('plantdb_revoked', 'so far')")
	if got := next(); got != "so far" {
		t.Error("what revokes nothing notifies")
	}
	sv.call(logoutOf(p.access)).want(t, "logout", http.StatusOK)
	if got := next(); got != "" {
		t.Errorf("the notification of a logout = %q, want one without text", got)
	}
}

func TestLogoutEndsBothTokensWhicheverIsShown(t *testing.T) {
	t.Parallel()
	s := newSite(t, "JWT_LEEWAY=0")
	steady, sv := s.start(), s.start("SESSION_TIMEOUT=1")
	alice := steady.user("alice", "reader")
	p, kept := sv.login(alice), sv.login(alice)
	until(t, "the access token has run out", func() bool { return !sv.takes(p.access) })
	sv.call(logoutOf(p.access)).refused(t, "logout with an expired access token alone", "Logout failed")
	r := logoutOf(p.access)
	r.body = map[string]any{"refresh_token": p.refresh}
	sv.call(r).want(t, "logout with the refresh token beside it", http.StatusOK)
	sv.call(refreshOf(p.refresh)).refused(t, "refresh after logout", "ended")
	sv.call(r).refused(t, "logout a second time", "Logout failed")

	r = request{method: http.MethodDelete, path: "/auth/logout", token: steady.refresh(kept.refresh).access}
	sv.call(r).want(t, "logout by DELETE", http.StatusOK)
}

// A session that was not used for an hour is seen again, by whichever replica,
// at the cost of one write however many requests there are; the user's list and
// the administrator's tell when.
func TestLastSeenCostsOneWrite(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b := s.pair()
	admin := a.login(s.admin())
	p := a.login(a.user("alice", "reader"))
	id := session(t, p.access)
	for _, statement := range []string{
		"CREATE TABLE writes (session uuid)",
		`CREATE FUNCTION written() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO writes VALUES (NEW.id); RETURN NULL; END $$`,
		"UPDATE sessions SET last_seen_at = now() - interval '1 hour'",
		"CREATE TRIGGER written AFTER UPDATE ON sessions FOR EACH ROW EXECUTE FUNCTION written()",
	} {
		if _, err := s.db.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	seen := func(list answer) time.Time {
		t.Helper()
		var all struct {
			Sessions []struct {
				ID       string    `json:"id"`
				Created  time.Time `json:"created_at"`
				LastSeen time.Time `json:"last_seen_at"`
			} `json:"sessions"`
		}
		if err := json.Unmarshal(list.want(t, "list of sessions", http.StatusOK).body, &all); err != nil {
			t.Fatal(err)
		}
		for _, one := range all.Sessions {
			if one.ID == id {
				if one.Created.IsZero() {
					t.Error("the list does not tell when the session was opened")
				}
				return one.LastSeen
			}
		}
		t.Fatalf("the session is not in the list: %s", list)
		return time.Time{}
	}
	if at := seen(a.get("/users/alice/sessions", admin.access)); time.Since(at) < 59*time.Minute {
		t.Fatalf("the session was seen at %s, want an hour ago", at)
	}
	together(200, func(i int) {
		sv := []*server{a, b}[i%2]
		if !sv.takes(p.access) {
			t.Error("a live session is refused")
		}
	})
	until(t, "the session is seen again", func() bool { return time.Since(seen(a.get("/users/alice/sessions", admin.access))) < 50*time.Minute })
	// Whoever else was to write it had its turn once this one is written.
	other := a.login(a.user("bob", "reader"))
	if _, err := s.db.Exec(t.Context(), "UPDATE sessions SET last_seen_at = now() - interval '1 hour' WHERE id = $1", session(t, other.access)); err != nil {
		t.Fatal(err)
	}
	for _, sv := range []*server{a, b} {
		before := one[int](s, "SELECT count(*) FROM writes WHERE session = $1", session(t, other.access))
		until(t, "another session is seen by that server", func() bool {
			sv.takes(other.access)
			return one[int](s, "SELECT count(*) FROM writes WHERE session = $1", session(t, other.access)) > before
		})
		if _, err := s.db.Exec(t.Context(), "UPDATE sessions SET last_seen_at = now() - interval '1 hour' WHERE id = $1", session(t, other.access)); err != nil {
			t.Fatal(err)
		}
	}
	if n := one[int](s, "SELECT count(*) FROM writes WHERE session = $1", id); n != 1 {
		t.Errorf("200 requests wrote the session %d times, want once", n)
	}
	if at := seen(b.get("/auth/sessions", p.access)); time.Since(at) > 50*time.Minute {
		t.Errorf("the user's own list says that the session was seen at %s", at)
	}
}
