package e2e

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// session is the id in the claims of a token.
func session(t *testing.T, raw string) string {
	t.Helper()
	return claimsOf(t, raw)["sid"].(string)
}

func TestParallelRefreshesConvergeOnOneToken(t *testing.T) {
	t.Parallel()
	a, b := newSite(t).pair()
	alice := a.user("alice", "reader")
	for round := range 3 {
		first := a.login(alice)
		const racers = 20
		answers := make([]answer, racers)
		together(racers, func(i int) {
			answers[i] = []*server{a, b}[i%2].try(refreshOf(first.refresh))
		})
		var refreshes, accesses []string
		for _, got := range answers {
			p := got.pair(t, "one of the parallel refreshes")
			refreshes, accesses = append(refreshes, p.refresh), append(accesses, p.access)
		}
		if n, m := distinct(refreshes), distinct(accesses); n != 1 || m != 1 {
			t.Errorf("round %d: %d parallel refreshes of one token gave %d refresh and %d access tokens, want one of each", round, racers, n, m)
		}
		if refreshes[0] == first.refresh {
			t.Error("the refresh token was not changed")
		}
		for _, sv := range []*server{a, b} {
			if !sv.takes(accesses[0]) {
				t.Error("the new access token is refused")
			}
			until(t, "the access token of the pair before is refused", func() bool { return !sv.takes(first.access) })
		}
		b.refresh(refreshes[0])
	}
}

func TestUsedRefreshTokenWorksWithinTheGraceAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t, "REFRESH_GRACE=600")
	sv, late := s.start(), s.start("REFRESH_GRACE=0") // for which it is over at once
	alice := sv.user("alice", "reader")
	first := sv.login(alice)
	second := sv.refresh(first.refresh)
	third := sv.refresh(second.refresh)
	if again := sv.refresh(first.refresh); again.refresh != third.refresh {
		t.Error("within the grace the first token does not get the pair that is current, but another")
	}
	late.call(refreshOf(first.refresh)).refused(t, "the first token after the grace", "already used")
	sv.call(refreshOf(third.refresh)).refused(t, "refresh of the session that was ended by it", "ended")
	if n := s.events("reuse", "alice"); n != 1 {
		t.Errorf("%d events of reuse, want 1", n)
	}
}

// TestReuseAfterTheGraceEndsTheSession has the second use noticed by the server
// that saw the first, by it after a restart, and by another.
func TestReuseAfterTheGraceEndsTheSession(t *testing.T) {
	t.Parallel()
	// Without grace every second use comes after it.
	s := newSite(t, "REFRESH_GRACE=0")
	a, b := s.pair()
	cases := []struct {
		name    string
		noticed func() *server
	}{
		{"same", func() *server { return a }},
		{"replica", func() *server { return b }},
		{"restarted", func() *server { a.Stop(); a = s.start(); return a }},
		{"killed", func() *server { a.Kill(); a = s.start(); return a }},
	}
	for _, tt := range cases {
		user := b.user(tt.name, "reader")
		stolen, other := a.login(user), a.login(user)
		current := a.refresh(stolen.refresh)
		tt.noticed().call(refreshOf(stolen.refresh)).refused(t, tt.name+": second use of a refresh token", "already used")

		// The verdict was kept although the answer was a refusal; a restart
		// does not undo it: who starts after it knows it from the first request.
		started := s.start()
		if started.takes(current.access) {
			t.Errorf("%s: a server that was started after the session had ended takes its access token", tt.name)
		}
		for _, sv := range []*server{a, b, started} {
			until(t, tt.name+": access token of the ended session is refused", func() bool { return !sv.takes(current.access) })
			sv.call(refreshOf(current.refresh)).refused(t, tt.name+": refresh in the ended session", "ended")
			if !sv.takes(other.access) {
				t.Errorf("%s: the user's other session was ended, too", tt.name)
			}
		}
		a.refresh(other.refresh)
		if n := s.events("reuse", tt.name); n != 1 {
			t.Errorf("%s: %d events of reuse, want 1", tt.name, n)
		}
		reason := one[string](s, "SELECT end_reason FROM sessions WHERE id = $1", session(t, stolen.access))
		if reason != "reuse" {
			t.Errorf("%s: the session ended by %q, want reuse", tt.name, reason)
		}
	}
}

// TestRefreshSurvivesACrash is a client that never saw the answer.
func TestRefreshSurvivesACrash(t *testing.T) {
	t.Parallel()
	s := newSite(t, "REFRESH_GRACE=600") // longer than any restart
	sv := s.start()
	p := sv.login(sv.user("alice", "reader"))
	unseen := sv.refresh(p.refresh)
	sv.Kill()
	sv = s.start()
	if again := sv.refresh(p.refresh); again != unseen {
		t.Error("the retry after the crash did not get the pair that was made before it")
	}
}

// TestRefreshesSurviveKills has clients that refresh all the time, each its own
// session, while the server is killed and its connections to PostgreSQL are cut at
// any moment. Who gets no answer comes again with the token that it has, and
// goes on; nobody is taken for a thief, and no session forks.
func TestRefreshesSurviveKills(t *testing.T) {
	t.Parallel()
	s := newSite(t, "REFRESH_GRACE=600") // longer than any restart
	var current atomic.Pointer[server]
	current.Store(s.start())
	alice := current.Load().user("alice", "reader")
	const clients, kills = 6, 10
	first := make([]pair, clients)
	for i := range first {
		first[i] = current.Load().login(alice)
	}
	var refreshed, unanswered atomic.Int64
	last := make([]string, clients)
	stop := make(chan struct{})
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			token := first[i].refresh
			for last[i] = token; ; last[i] = token {
				select {
				case <-stop:
					return
				default:
				}
				ctx, cancel := soon(t)
				got, err := current.Load().send(ctx, refreshOf(token))
				cancel()
				switch {
				case err != nil || got.status == http.StatusServiceUnavailable:
					unanswered.Add(1)
					time.Sleep(glance)
				case got.status != http.StatusOK:
					t.Errorf("client %d: refresh = %s, want 200, or none and then 200", i, got)
					return
				default:
					token = got.text("refresh_token")
					refreshed.Add(1)
				}
			}
		})
	}
	for range kills {
		for _, kill := range []func(){
			func() {
				s.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'plantdb'")
			},
			func() { current.Load().Kill(); current.Store(s.start()) },
		} {
			before := refreshed.Load()
			until(t, "clients go on", func() bool { return refreshed.Load() >= before+2*clients || t.Failed() })
			time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
			kill()
		}
	}
	close(stop)
	all.Wait()
	t.Logf("%d refreshes, %d without an answer", refreshed.Load(), unanswered.Load())
	if unanswered.Load() == 0 {
		t.Error("no refresh was without an answer; the kills met none")
	}
	for i, token := range last {
		p := current.Load().refresh(token)
		if session(t, p.access) != session(t, first[i].access) {
			t.Errorf("client %d went on in another session", i)
		}
	}
	if n := s.events("reuse", "alice"); n != 0 {
		t.Errorf("%d sessions were ended as if a token had been stolen", n)
	}
	whole := one[int](s, `SELECT count(*) FROM sessions s WHERE s.ended_at IS NULL AND s.user_id = (SELECT id FROM users WHERE username = 'alice')
		AND (SELECT count(*) FROM refresh_tokens r WHERE r.session_id = s.id AND r.used_at IS NULL AND r.generation = s.generation) = 1
		AND (SELECT count(*) FROM refresh_tokens r WHERE r.session_id = s.id AND r.used_at IS NULL) = 1
		AND (SELECT count(*) FROM auth_events e WHERE e.session_id = s.id AND e.kind = 'refresh') = s.generation`)
	if whole != clients {
		t.Errorf("%d of %d sessions live with one token that is not used and an event for each refresh", whole, clients)
	}
}

func TestRefreshAtTheCapWorks(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"evict", "reject"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			sv := newSite(t, "MAX_SESSION=2", "MAX_SESSION_POLICY="+policy).start()
			alice := sv.user("alice", "reader")
			one, two := sv.login(alice), sv.login(alice)
			for range 5 {
				one, two = sv.refresh(one.refresh), sv.refresh(two.refresh)
			}
			if !sv.takes(one.access) || !sv.takes(two.access) {
				t.Error("refreshing at the cap ended a session")
			}
		})
	}
}

func TestRefreshTokenIsNoBearer(t *testing.T) {
	t.Parallel()
	sv := newSite(t).start()
	p := sv.login(sv.user("alice", "reader"))
	for _, r := range []request{validationOf(p.refresh), logoutOf(p.refresh), {method: http.MethodGet, path: "/scans", token: p.refresh}} {
		sv.call(r).refused(t, r.path+" with a refresh token", "wrong type")
	}
	byCookie := sv.call(request{method: http.MethodGet, path: "/auth/profile", header: http.Header{"Cookie": {"access_token_cookie=" + p.refresh}}})
	byCookie.refused(t, "refresh token in the cookie of the access token", "wrong type")
	if !sv.takes(p.access) {
		t.Error("the misused session ended")
	}
}

func TestOnlyARefreshTokenRefreshes(t *testing.T) {
	t.Parallel()
	sv := newSite(t).start()
	p := sv.login(sv.user("alice", "reader"))
	api := sv.apiToken(p.access, 60, map[string][]string{"*": {"read"}})
	const words = "Invalid or expired refresh token: "
	for what, raw := range map[string]string{"access token": p.access, "API token": api} {
		sv.call(refreshOf(raw)).refused(t, what+" at refresh", words+"Token of the wrong type")
	}
	for what, raw := range map[string]any{
		"garbage": "garbage", "empty": "", "number": 7, "null": nil, "list": []string{p.refresh},
	} {
		sv.post("/auth/token/refresh", "", map[string]any{"refresh_token": raw}).refused(t, what+" at refresh", words)
	}
	sv.post("/auth/token/refresh", "", map[string]any{}).refused(t, "no token at refresh", words)
	sv.post("//token-refresh", "", map[string]any{}).want(t, "no token at the older path", http.StatusBadRequest)
	sv.call(request{method: http.MethodPost, path: "/auth/token/refresh"}).want(t, "no JSON at refresh", http.StatusUnsupportedMediaType)
	sv.refresh(p.refresh)
}

func TestIdleSessionEnds(t *testing.T) {
	t.Parallel()
	sv := newSite(t, "REFRESH_TIMEOUT=8", "JWT_LEEWAY=0", "REFRESH_GRACE=0").start()
	alice := sv.user("alice", "reader")
	idle, used := sv.login(alice), sv.login(alice)
	until(t, "the idle session has ended", func() bool {
		used = sv.refresh(used.refresh) // slides its end
		return !sv.takes(idle.access)
	})
	sv.call(refreshOf(idle.refresh)).refused(t, "refresh after the idle end", "expired")
	sv.refresh(used.refresh)
}

func TestNoRefreshOutlivesTheAbsoluteEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t, "SESSION_ABSOLUTE_TIMEOUT=8", "JWT_LEEWAY=0")
	sv := s.start()
	p := sv.login(sv.user("alice", "reader"))
	end := one[int64](s, "SELECT extract(epoch FROM absolute_expires_at)::bigint FROM sessions WHERE id = $1", session(t, p.access))
	n := 0
	until(t, "the session has ended", func() bool {
		got := sv.call(refreshOf(p.refresh))
		if got.status != http.StatusOK {
			got.refused(t, "refresh after the absolute end", "")
			return true
		}
		n++
		p = got.pair(t, "refresh")
		for _, raw := range []string{p.access, p.refresh} {
			if exp := int64(claimsOf(t, raw)["exp"].(float64)); exp > end {
				t.Errorf("a token lives until %d, its session until %d", exp, end)
			}
		}
		return false
	})
	if n == 0 {
		t.Error("no refresh worked before the absolute end")
	}
	if sv.takes(p.access) {
		t.Error("the access token outlives its session")
	}
}
