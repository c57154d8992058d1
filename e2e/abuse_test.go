package e2e

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// from is the header that a proxy adds.
func from(addresses string) http.Header { return http.Header{"X-Forwarded-For": {addresses}} }

// loginFrom is a login that came through a proxy.
func loginFrom(p person, addresses string) request {
	r := loginOf(p)
	r.header = from(addresses)
	return r
}

// A password is hashed for whoever is refused. What is compared is the work of the
// server, which other work of the machine does not change; the time is told.
func TestUnknownUserTakesAsLongAsAWrongPassword(t *testing.T) {
	s := newSite(t, "LOGIN_MAX_ATTEMPTS=0")
	sv := s.start()
	wrong := person{sv.user("alice", "reader").name, newPassword()}
	sv.user("idle", "reader")
	sv.patch("/users/idle", sv.login(s.admin()).access, map[string]any{"active": false}).want(t, "deactivate", http.StatusOK)
	kinds := []person{
		wrong, {"nobody", newPassword()}, {"idle", s.seen.password("idle")}, {"guest", newPassword()}, {"two words", newPassword()},
	}
	const tries, rounds, apart = 10, 4, 0.35
	took, worked := make([]time.Duration, len(kinds)), make([]int64, len(kinds))
	for range rounds {
		for i, p := range kinds {
			before := sv.worked()
			took[i] += since(func() {
				for range tries {
					sv.call(loginOf(p)).refused(t, "login as "+p.name, "Invalid credentials")
				}
			})
			worked[i] += sv.worked() - before
		}
	}
	for i, p := range kinds {
		ratio := float64(worked[i]) / float64(max(1, worked[0]))
		t.Logf("login as %s takes %s, and %.2f of the work of a wrong password", p.name, took[i]/(rounds*tries), ratio)
		if max(ratio-1, 1-ratio) > apart || worked[i] == 0 {
			t.Errorf("%d refused logins as %s took %d ms of work, with a wrong password %d ms", rounds*tries, p.name, 10*worked[i], 10*worked[0])
		}
	}
}

func TestRefusedLoginsCannotBeToldApart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	sv := s.start()
	alice, idle := sv.user("alice", "reader"), sv.user("idle", "reader")
	sv.patch("/users/idle", sv.login(s.admin()).access, map[string]any{"active": false}).want(t, "deactivate", http.StatusOK)
	bodies := map[string]string{
		"unknown":  string(sv.call(loginOf(person{"nobody", newPassword()})).body),
		"inactive": string(sv.call(loginOf(idle)).body),
	}
	for range 3 {
		bodies["wrong"] = string(sv.call(loginOf(person{"alice", newPassword()})).body)
	}
	locked := sv.call(loginOf(alice))
	locked.refused(t, "login while locked", "Invalid credentials")
	for name, body := range bodies {
		if body != string(locked.body) {
			t.Errorf("refusal of %s: %s; of one who is locked: %s; want no difference", name, body, locked.body)
		}
	}
}

func TestLockoutHoldsForAccountAndNetworkAndEnds(t *testing.T) {
	t.Parallel()
	s := newSite(t, "LOGIN_LOCKOUT=3600", "TRUSTED_PROXIES=127.0.0.1", "MAX_SESSION=50")
	a, b := s.pair()
	alice, bob := a.user("alice", "reader"), a.user("bob", "reader")
	const here, neighbour, away = "198.51.100.7", "198.51.100.8", "203.0.113.9"
	live := a.call(loginFrom(alice, here)).pair(t, "login")
	wrong := person{"Alice", newPassword()} // names are compared in lower case
	lock := func() {
		t.Helper()
		for range 3 {
			a.call(loginFrom(wrong, here)).refused(t, "wrong password", "Invalid credentials")
		}
	}
	lock()
	for _, sv := range []*server{a, b} {
		sv.call(loginFrom(alice, here)).refused(t, "right password while locked", "Invalid credentials")
	}
	a.call(loginFrom(alice, neighbour)).refused(t, "right password from the same network", "Invalid credentials")
	b.call(loginFrom(alice, away)).pair(t, "login from another network")
	a.call(loginFrom(bob, here)).pair(t, "login as another user")
	if !a.takes(live.access) {
		t.Error("the lock ended a live session")
	}
	live = b.refresh(live.refresh)

	// Tries go on all the time; if they extended the lock, it would never end.
	const lockEnd = "SELECT locked_until FROM login_attempts WHERE username = 'alice' AND locked_until IS NOT NULL"
	end := one[time.Time](s, lockEnd)
	if left := time.Until(end); left > time.Hour {
		t.Errorf("the lock ends in %s, want an hour at most", left)
	}
	for range 4 {
		b.call(loginFrom(wrong, neighbour)).refused(t, "wrong password while locked", "Invalid credentials")
	}
	if later := one[time.Time](s, lockEnd); !later.Equal(end) {
		t.Errorf("tries while it was locked moved the end from %s to %s", end, later)
	}
	// What was tried while it was locked does not count: the counter is full.
	hourPasses := func() {
		s.exec("UPDATE login_attempts SET locked_until = locked_until - interval '1 hour', last_failed_at = last_failed_at - interval '1 hour'")
	}
	hourPasses()
	for range 2 {
		a.call(loginFrom(wrong, here)).refused(t, "wrong password after the lock", "Invalid credentials")
	}
	a.call(loginFrom(alice, here)).pair(t, "login after a lock and two failures")
	if n := s.events("lock", "alice"); n != 1 {
		t.Errorf("%d events of a lock, want 1", n)
	}
	lock()
	admin := a.login(s.admin())
	a.patch("/users/alice", admin.access, map[string]any{"unlock": true}).want(t, "unlock", http.StatusOK)
	b.call(loginFrom(alice, here)).pair(t, "login when unlocked")
}

// TestGuessesAtOnceCountEach sends many more guesses than are allowed, with the
// right one among the last.
func TestGuessesAtOnceCountEach(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b := s.pair()
	alice := a.user("alice", "reader")
	const guesses = 20
	together(guesses, func(i int) { []*server{a, b}[i%2].try(loginOf(person{alice.name, newPassword()})) })
	a.call(loginOf(alice)).refused(t, "right password after the guesses", "Invalid credentials")
	if n := s.events("login_failed", "alice"); n != guesses+1 {
		t.Errorf("%d failures are recorded, want %d", n, guesses+1)
	}
	if n := s.events("lock", "alice"); n != 1 {
		t.Errorf("%d locks are recorded, want 1", n)
	}
}

func TestForwardedHeadersOfStrangersAreIgnored(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	open, behind := s.start(), s.start("TRUSTED_PROXIES=127.0.0.1,10.0.0.0/8")
	alice := open.user("alice", "reader")
	for i := range 3 {
		r := loginFrom(person{"alice", newPassword()}, "198.51."+strconv.Itoa(i)+".1")
		r.header.Set("Forwarded", "for=198.51.100.1")
		r.header.Set("X-Real-Ip", "198.51.100.1")
		open.call(r).refused(t, "wrong password", "Invalid credentials")
	}
	open.call(loginFrom(alice, "203.0.113.9")).refused(t, "right password under a spoofed address", "Invalid credentials")

	for header, want := range map[string]string{
		"203.0.113.9":                       "203.0.113.9",
		"192.0.2.66, 203.0.113.10":          "203.0.113.10", // the client wrote the first itself
		"192.0.2.66,203.0.113.11, 10.1.2.3": "203.0.113.11", // the last is a proxy of ours, too
		"2001:db8::7":                       "2001:db8::7",
	} {
		p := behind.call(loginFrom(alice, header)).pair(t, "login through the proxy")
		got := one[string](s, "SELECT host(address) FROM sessions WHERE id = $1", session(t, p.access))
		if got != want {
			t.Errorf("address behind X-Forwarded-For %q = %s, want %s", header, got, want)
		}
	}
}

// A head that is too large is answered in JSON by the server as it runs, not
// only by net/http, which hangs up.
func TestLongHeadsAreAnsweredInJSON(t *testing.T) {
	t.Parallel()
	sv := newSite(t).start()
	for _, size := range []int{70_000, 200_000} {
		got := sv.call(request{method: http.MethodGet, path: "/health", header: http.Header{"X-Long": {strings.Repeat("x", size)}}})
		if got.status != http.StatusRequestHeaderFieldsTooLarge || !strings.Contains(string(got.body), `"code":"headers_too_large"`) {
			t.Errorf("a header of %d bytes = %d %s, want a problem of 431", size, got.status, got.body)
		}
	}
	if got := sv.get("/health", ""); got.status != http.StatusOK {
		t.Errorf("the next request = %d %s, want 200", got.status, got.body)
	}
}

func TestRateLimitAnswersInJSON(t *testing.T) {
	t.Parallel()
	sv := newSite(t, "PLANTDB_RATE_LIMITS=upstream", "TRUSTED_PROXIES=127.0.0.1").start()
	ask := func(address string) answer {
		return sv.call(request{method: http.MethodPost, path: "/auth/login", body: map[string]any{}, header: from(address)})
	}
	const most = 20 // a minute, upstream's
	var got answer
	passed, began := 0, time.Now()
	for range 10 * most {
		if got = ask("198.51.100.7"); got.status != http.StatusBadRequest {
			break
		}
		passed++
	}
	got.want(t, "one too many", http.StatusTooManyRequests)
	// A slot comes back every three seconds.
	if back := int(time.Since(began) / (3 * time.Second)); passed < most || passed > most+1+back {
		t.Errorf("%d calls passed, want %d, and %d that came back", passed, most, back)
	}
	for _, name := range []string{"Retry-After", "Ratelimit-Limit", "Ratelimit-Remaining", "Ratelimit-Reset"} {
		if n, err := strconv.Atoi(got.header.Get(name)); err != nil || n < 0 || n > 60 {
			t.Errorf("header %s of a 429 = %q, want a number from 0 to 60", name, got.header.Get(name))
		}
	}
	if got.text("message") == "" || got.text("error") == "" || got.text("code") != "rate_limited" {
		t.Errorf("429 = %s, want message, error and code rate_limited", got)
	}
	ask("203.0.113.9").want(t, "from another address", http.StatusBadRequest)
	sv.call(request{method: http.MethodGet, path: "/health", header: from("198.51.100.7")}).want(t, "another route", http.StatusOK)
}

// TestGuessesFromManyNetworksMeetTheLimitOfTheAccount has each address stay
// within its own limit.
func TestGuessesFromManyNetworksMeetTheLimitOfTheAccount(t *testing.T) {
	t.Parallel()
	// 200 a minute, by upstream's limits: a slow machine takes a while to send so
	// many more that some are over.
	const most, more, enough = 200, 400, 25
	sv := newSite(t, "PLANTDB_RATE_LIMITS=upstream", "TRUSTED_PROXIES=127.0.0.1").start()
	alice := sv.user("alice", "reader")
	ctx, stop := soon(t)
	defer stop()
	var refused atomic.Int32
	// Those who wait for a hash go away once most of the refusals are there.
	together(most+more, func(i int) {
		got, err := sv.send(ctx, loginFrom(person{"alice", newPassword()}, "198.51."+strconv.Itoa(i)+".1"))
		if err == nil && got.status == http.StatusTooManyRequests && refused.Add(1) == enough {
			stop()
		}
	})
	if n := refused.Load(); n < enough || n > more {
		t.Errorf("of %d guesses from as many networks %d were refused, want %d to %d", most+more, n, enough, more)
	}
	sv.call(loginFrom(person{"bob", newPassword()}, "203.0.113.9")).refused(t, "another account", "Invalid credentials")
	until(t, "the owner can log in again", func() bool { return sv.call(loginFrom(alice, "203.0.113.9")).status == http.StatusOK })
}

func TestViewerMeetsNoRateLimitByDefault(t *testing.T) {
	t.Parallel()
	sv := newSite(t, "PLANTDB_RATE_LIMITS=default").start()
	statuses := make([]int, 60)
	together(len(statuses), func(i int) {
		statuses[i] = sv.try(request{method: http.MethodGet, path: "/assets/image/plant/images/" + strconv.Itoa(i) + "?size=thumb"}).status
	})
	if slices.Contains(statuses, http.StatusTooManyRequests) {
		t.Error("a viewer that loads sixty images meets the rate limit")
	}
}
