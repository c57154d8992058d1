package auth

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/tokenauth"
)

func TestLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "Alice", actor.Contributor)
	if _, err := s.Bootstrap(t.Context(), FirstStart{AdminPassword: password}); err != nil {
		t.Fatal(err)
	}
	register(t, s, "idle")
	inactive := false
	if _, err := s.UpdateUser(system(t.Context()), "idle", UserPatch{Active: &inactive}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, username, password string
		want                     error
	}{
		{"right", "alice", password, nil},
		{"any case of the name", "ALICE", password, nil},
		{"wrong password", "alice", "nope", ErrCredentials},
		{"password is not folded", "alice", strings.ToUpper(password), ErrCredentials},
		{"unknown", "nobody", password, ErrCredentials},
		{"inactive", "idle", password, ErrCredentials},
		{"the guest has no password", "guest", "*", ErrCredentials},
		{"nothing", "", "", ErrCredentials},
		{"not UTF-8", "al\xffice", password, ErrCredentials},
		{"NUL", "alice\x00", password, ErrCredentials},
		{"long name", strings.Repeat("a", 1<<16), password, ErrCredentials},
		{"long password", "alice", strings.Repeat("a", 1<<20), ErrCredentials},
	} {
		u, pair, err := s.Login(t.Context(), tt.username, tt.password)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: Login = %v, want %v", tt.name, err, tt.want)
		}
		if err == nil && (u.Username != "alice" || u.Fullname != "Full Alice" || pair.AccessClaims.Subject != "alice") {
			t.Errorf("%s: Login = %+v with %+v, want alice", tt.name, u, pair.AccessClaims)
		}
		if err := s.q.UnlockUser(t.Context(), w.pool, "alice"); err != nil {
			t.Fatal(err)
		}
	}
	wantEvent(t, w, "alice", eventLogin)
	wantEvent(t, w, s.pseudonym("nobody"), eventLoginFailed)
}

// What is no account's name may be a password: neither the trail nor the
// lockout keeps it, and yet both tell one such name from another.
func TestNamesOfNobodyAreNotKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	for _, name := range []string{"first secret", "First Secret", "second secret"} {
		_, _, err := s.Login(t.Context(), name, "alice")
		wantErr(t, "Login("+name+")", err, ErrCredentials)
	}
	for _, table := range []string{"auth_events", "login_attempts"} {
		if n := w.count(t, "SELECT count(*) FROM "+table+" t WHERE t::text ILIKE '%secret%'"); n != 0 {
			t.Errorf("%d rows of %s hold what was typed, want 0", n, table)
		}
		if n := w.count(t, "SELECT count(DISTINCT username) FROM "+table+" WHERE username LIKE '? %'"); n != 2 {
			t.Errorf("%s knows %d names of nobody, want 2", table, n)
		}
	}
	_, _, err := s.Login(t.Context(), "first secret", "alice") // the third failure
	wantErr(t, "Login", err, ErrCredentials)
	wantEvent(t, w, s.pseudonym("first secret"), eventLock)
	if _, err := s.Register(system(t.Context()), NewUser{Username: s.pseudonym("x"), Fullname: "X", Password: password}); err == nil {
		t.Error("Register(a pseudonym) = nil, want an error")
	}
}

func TestTokensOfALogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	p := login(t, s, "alice")
	v := *s.verifier
	v.Checker = s.Checker()
	access, err := v.Verify(t.Context(), p.Access, tokenauth.Access)
	if err != nil || *access != p.AccessClaims {
		t.Errorf("Verify(access) = %+v, %v, want %+v", access, err, p.AccessClaims)
	}
	refresh, err := v.Verify(t.Context(), p.Refresh, tokenauth.Refresh)
	if err != nil || *refresh != p.RefreshClaims {
		t.Errorf("Verify(refresh) = %+v, %v, want %+v", refresh, err, p.RefreshClaims)
	}
	if got := access.ExpiresAt.Sub(access.IssuedAt); got != s.c.SessionTimeout {
		t.Errorf("access token lives %v, want %v", got, s.c.SessionTimeout)
	}
	if access.SessionID != refresh.SessionID || access.ID == refresh.ID || access.CSRF == "" || access.CSRF == refresh.CSRF {
		t.Errorf("access %+v and refresh %+v: want one session, two ids, two csrf values", access, refresh)
	}
	if _, err := s.Actor(t.Context(), refresh); !errors.Is(err, tokenauth.ErrWrongType) {
		t.Errorf("Actor(refresh token) = %v, want %v", err, tokenauth.ErrWrongType)
	}
}

func TestLockout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	live := login(t, s, "alice")
	try := func(address, pw string) error {
		_, _, err := s.Login(from(t.Context(), address), "alice", pw)
		return err
	}
	for range 3 {
		wantErr(t, "Login(wrong)", try("192.0.2.1", "wrong"), ErrCredentials)
	}
	wantErr(t, "locked: Login(right)", try("192.0.2.1", password), ErrCredentials)
	wantErr(t, "locked: Login(right) from the neighbour", try("192.0.2.254", password), ErrCredentials)
	wantErr(t, "Login(right) from another network", try("198.51.100.1", password), nil)
	wantErr(t, "Login(right) over IPv6", try("2001:db8::1", password), nil)
	if _, err := s.Actor(t.Context(), &live.AccessClaims); err != nil {
		t.Errorf("Actor of a live session while locked = %v, want nil", err)
	}
	w.step(s.c.LoginLockout - time.Second)
	wantErr(t, "locked: Login(wrong)", try("192.0.2.1", "wrong"), ErrCredentials)
	w.step(time.Second)
	// Not extended by the try before, and the counter is full again.
	for range 2 {
		wantErr(t, "after: Login(wrong)", try("192.0.2.1", "wrong"), ErrCredentials)
	}
	wantErr(t, "after: Login(right)", try("192.0.2.1", password), nil)
	for range 2 {
		wantErr(t, "cleared: Login(wrong)", try("192.0.2.1", "wrong"), ErrCredentials)
	}
	wantErr(t, "cleared: Login(right)", try("192.0.2.1", password), nil)
	if n := w.count(t, "SELECT count(*) FROM auth_events WHERE kind = 'lock' AND username = 'alice'"); n != 1 {
		t.Errorf("lock events = %d, want 1", n)
	}
}

func TestUnlock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	for range 3 {
		_, _, err := s.Login(t.Context(), "alice", "wrong")
		wantErr(t, "Login(wrong)", err, ErrCredentials)
	}
	if _, err := s.UpdateUser(system(t.Context()), "alice", UserPatch{Unlock: true}); err != nil {
		t.Fatal(err)
	}
	login(t, s, "alice")
	wantEvent(t, w, "alice", eventUnlock)
}

// Guesses made at once do not get around the lockout: when the third failure
// is written, no other guess counts, were it right.
func TestLockoutOfParallelGuesses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	together(30, func(int) error {
		_, _, err := s.Login(t.Context(), "alice", "wrong")
		return err
	})
	_, _, err := s.Login(t.Context(), "alice", password)
	wantErr(t, "Login(right) after 30 guesses at once", err, ErrCredentials)
	var failures int
	if err := w.pool.QueryRow(t.Context(), "SELECT failures FROM login_attempts").Scan(&failures); err != nil || failures != 3 {
		t.Errorf("failures counted = %d, %v, want 3", failures, err)
	}
}

// What happens while a password is hashed is not overlooked: the login is
// decided again when the account is held.
func TestLoginSeesWhatHappenedWhileItHashed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	no := false
	for name, meanwhile := range map[string]func(name string) error{
		"locked": func(name string) error {
			for range s.c.LoginMaxAttempts {
				if err := s.loginFailed(t.Context(), name); !errors.Is(err, ErrCredentials) {
					return err
				}
			}
			return nil
		},
		"deactivated": func(name string) error {
			_, err := s.UpdateUser(system(t.Context()), name, UserPatch{Active: &no})
			return err
		},
		"deleted": func(name string) error { return s.DeleteUser(system(t.Context()), name) },
		"changed": func(name string) error {
			secret, _, err := s.ResetPassword(system(t.Context()), name)
			if err != nil {
				return err
			}
			_, err = s.RedeemReset(t.Context(), secret, "song of myself")
			return err
		},
	} {
		register(t, s, name)
		u, err := s.authenticate(t.Context(), name, password)
		if err != nil {
			t.Fatalf("%s: authenticate = %v", name, err)
		}
		if err = meanwhile(name); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, _, err = s.openSession(t.Context(), u)
		wantErr(t, name+" meanwhile: openSession", err, ErrCredentials)
	}
}

// The one statement of a login does all that holding the account does, or
// nothing at all.
func TestLogInInOneStatement(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t, func(c *Config) { c.MaxSessions = 2 })
	try := func(s *Service, u db.GetLoginRow) (ended []tokenauth.Revocation, opened bool) {
		t.Helper()
		now := w.Now()
		ended, opened, err := s.logIn(t.Context(), u, s.firstPair(now), now)
		if err != nil {
			t.Fatalf("logIn = %v", err)
		}
		return ended, opened
	}
	read := func(name string) db.GetLoginRow {
		t.Helper()
		u, err := s.authenticate(t.Context(), name, password)
		if err != nil {
			t.Fatalf("authenticate = %v", err)
		}
		return u
	}
	register(t, s, "alice")
	register(t, s, "bob")
	oldest := as(t, s, login(t, s, "alice"))
	w.step(time.Minute)
	seen := read("alice")
	if ended, opened := try(s, seen); len(ended) != 0 || !opened {
		t.Errorf("below the cap: logIn = %v, %t, want nothing ended and opened", ended, opened)
	}
	const rows = "SELECT count(*) FROM sessions JOIN users u ON u.id = user_id WHERE u.username = 'alice' AND ended_at IS NULL"
	if ended, opened := try(s, seen); len(ended) != 0 || opened || w.count(t, rows) != 2 {
		t.Errorf("after another login: logIn = %v, %t with %d live sessions, want nothing done", ended, opened, w.count(t, rows))
	}
	a, _ := actor.FromContext(oldest)
	if ended, opened := try(s, read("alice")); len(ended) != 1 || ended[0].ID != a.SessionID.String() || !opened || w.count(t, rows) != 2 {
		t.Errorf("at the cap: logIn = %v, %t, want %v ended and opened", ended, opened, a.SessionID)
	}
	if n := w.count(t, "SELECT count(*) FROM revoked_tokens WHERE id = $1 AND kind = 'session' AND expires_at > $2",
		a.SessionID, w.Now().Add(s.c.SessionTimeout)); n != 1 {
		t.Errorf("the session that ended is not revoked until its last access token has run out")
	}
	wantEvent(t, w, "alice", eventEvict)

	strict := w.service(t, func(c *Config) { c.MaxSessions, c.RejectOverCap = 2, true })
	if _, opened := try(strict, read("alice")); opened {
		t.Error("at the cap that rejects: logIn opened a session")
	}
	lower := w.service(t, func(c *Config) { c.MaxSessions = 1 })
	if _, opened := try(lower, read("alice")); opened || w.count(t, rows) != 2 {
		t.Error("two over the cap: logIn did something")
	}
	if _, _, err := lower.Login(t.Context(), "alice", password); err != nil || w.count(t, rows) != 1 {
		t.Errorf("two over the cap: Login = %v with %d live sessions, want one", err, w.count(t, rows))
	}
	free := w.service(t, func(c *Config) { c.MaxSessions = 0 })
	for range 4 {
		if ended, opened := try(free, read("bob")); len(ended) != 0 || !opened {
			t.Errorf("without a cap: logIn = %v, %t", ended, opened)
		}
	}
}

// A session is live as long as it can be refreshed, for the cap, the list and
// who ends it alike: within the leeway of its idle end, and no longer than its
// last end.
func TestSessionsLiveWithinTheLeeway(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		idle, absolute time.Duration
		past           time.Duration // the idle end
		live           bool
		refresh        error
	}{
		"within the leeway":                   {time.Hour, 24 * time.Hour, time.Second, true, nil},
		"beyond the leeway":                   {time.Hour, 24 * time.Hour, 2 * time.Second, false, tokenauth.ErrExpired},
		"within the leeway of the last end":   {time.Hour, time.Hour, time.Second, false, tokenauth.ErrSessionEnded},
		"before the last end, idle or not so": {time.Hour, time.Hour, -time.Second, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			short := func(c *Config) {
				c.RefreshTimeout, c.AbsoluteTimeout, c.SessionTimeout, c.Leeway, c.MaxSessions = tt.idle, tt.absolute, tt.idle, 2*time.Second, 1
			}
			s := w.service(t, short)
			strict := w.service(t, short, func(c *Config) { c.RejectOverCap = true })
			users := []string{"refreshed", "evicted", "evicted while held", "ended", "all ended"}
			pairs := map[string]Pair{}
			for _, u := range users {
				u = strings.ReplaceAll(u, " ", "_")
				register(t, s, u)
				pairs[u] = login(t, s, u)
			}
			w.step(tt.idle + tt.past)
			for u, p := range pairs {
				list, err := s.Sessions(system(t.Context()), u)
				if err != nil || len(list) == 1 != tt.live {
					t.Errorf("Sessions = %+v, %v, want it there = %v", list, err, tt.live)
				}
				id := uuid.MustParse(p.AccessClaims.SessionID)
				over := map[bool]error{true: ErrSessionLimit}[tt.live]
				gone := tt.refresh
				if tt.live {
					gone = tokenauth.ErrSessionEnded
				}
				switch u {
				case "refreshed":
					_, _, err = strict.Login(t.Context(), u, password)
					wantErr(t, "Login at the cap that rejects", err, over)
					gone = tt.refresh
				case "evicted":
					login(t, s, u)
				case "evicted_while_held":
					row, err := s.authenticate(t.Context(), u, password)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := s.openHeld(t.Context(), row, s.firstPair(w.Now()), w.Now()); err != nil {
						t.Errorf("openHeld = %v", err)
					}
				case "ended":
					wantErr(t, "EndSession", s.EndSession(system(t.Context()), id), map[bool]error{false: ErrSessionUnknown}[tt.live])
				case "all_ended":
					n, err := s.EndSessions(system(t.Context()), u, All)
					if err != nil || n == 1 != tt.live {
						t.Errorf("EndSessions = %d, %v, want one = %v", n, err, tt.live)
					}
				}
				_, err = s.Refresh(t.Context(), p.Refresh)
				wantErr(t, u+": Refresh", err, gone)
			}
		})
	}
}

func TestSessionCapUnderParallelLogins(t *testing.T) {
	t.Parallel()
	for _, reject := range []bool{false, true} {
		w := newWorld(t)
		capped := func(c *Config) { c.MaxSessions, c.RejectOverCap = 5, reject }
		replicas := []*Service{w.service(t, capped), w.service(t, capped)}
		register(t, replicas[0], "alice")
		errs := together(50, func(i int) error {
			_, _, err := replicas[i%2].Login(t.Context(), "alice", password)
			return err
		})
		refused := 0
		for _, err := range errs {
			if errors.Is(err, ErrSessionLimit) {
				refused++
			} else if err != nil {
				t.Errorf("reject %t: Login = %v", reject, err)
			}
		}
		if want := map[bool]int{true: 45}[reject]; refused != want {
			t.Errorf("reject %t: refused = %d, want %d", reject, refused, want)
		}
		if n := w.count(t, "SELECT count(*) FROM sessions WHERE ended_at IS NULL"); n != 5 {
			t.Errorf("reject %t: live sessions = %d, want 5", reject, n)
		}
	}
}

func TestEvictionTakesTheLeastRecentlyUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t, func(c *Config) { c.MaxSessions = 2 })
	register(t, s, "alice")
	register(t, s, "bob")
	other := login(t, s, "bob")
	old := login(t, s, "alice")
	w.step(2 * time.Minute)
	newer := login(t, s, "alice")
	w.step(2 * time.Minute)
	// The use of the older one makes the newer the least recently used.
	if _, err := s.Actor(t.Context(), &old.AccessClaims); err != nil {
		t.Fatal(err)
	}
	if err := s.recordUses(t.Context()); err != nil {
		t.Fatal(err)
	}
	login(t, s, "alice")
	_, err := s.Actor(t.Context(), &newer.AccessClaims)
	wantErr(t, "Actor(evicted)", err, tokenauth.ErrSessionEnded)
	_, err = s.Refresh(t.Context(), newer.Refresh)
	wantErr(t, "Refresh(evicted)", err, tokenauth.ErrSessionEnded)
	for name, p := range map[string]Pair{"used": old, "another user's": other} {
		if _, err := s.Actor(t.Context(), &p.AccessClaims); err != nil {
			t.Errorf("Actor(%s) = %v, want nil", name, err)
		}
	}
	if _, err := s.Refresh(t.Context(), old.Refresh); err != nil {
		t.Errorf("Refresh at the cap = %v, want nil", err)
	}
	wantEvent(t, w, "alice", eventEvict)
}

func TestRehashAtLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	weak := w.service(t)
	register(t, weak, "alice")
	strong := w.service(t, func(c *Config) { c.Hash.Time = 2 })
	hash := func() (h string) {
		if err := w.pool.QueryRow(t.Context(), "SELECT password_hash FROM users").Scan(&h); err != nil {
			t.Fatal(err)
		}
		return h
	}
	before := hash()
	for _, err := range together(10, func(int) error { _, _, err := strong.Login(t.Context(), "alice", password); return err }) {
		wantErr(t, "Login while others renew the hash", err, nil)
	}
	after := hash()
	if before == after || !strings.Contains(after, "t=2") {
		t.Errorf("hash after login = %s, want one with t=2", after)
	}
	login(t, strong, "alice")
	if got := hash(); got != after {
		t.Errorf("hash was renewed again: %s", got)
	}
}

func TestLoginDoesNotWaitInAFullQueue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t, func(c *Config) { c.HashesAtOnce, c.HashQueue = 1, 0 })
	register(t, s, "alice")
	s.hasher.places <- struct{}{} // somebody is at work
	_, _, err := s.Login(t.Context(), "alice", password)
	wantErr(t, "Login with a full queue", err, ErrBusy)
	<-s.hasher.places
	login(t, s, "alice")
}

// Whoever fails to log in costs a hash, so that none of them is told by time:
// with the queue full each of them has to wait for one.
func TestEveryLoginCostsAHash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t, func(c *Config) { c.HashesAtOnce, c.HashQueue = 1, 0 })
	if _, err := s.Bootstrap(t.Context(), FirstStart{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", "idle", "locked"} {
		register(t, s, name)
	}
	inactive := false
	if _, err := s.UpdateUser(system(t.Context()), "idle", UserPatch{Active: &inactive}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, _, err := s.Login(t.Context(), "locked", "wrong")
		wantErr(t, "Login(wrong)", err, ErrCredentials)
	}
	s.hasher.places <- struct{}{}
	for _, name := range []string{"alice", "idle", "locked", "guest", "nobody", "no\x00body", ""} {
		_, _, err := s.Login(t.Context(), name, "wrong")
		wantErr(t, "Login("+name+") with a full queue", err, ErrBusy)
	}
}

func TestLoginEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	h := newHasher(config().Hash, 1, 1)
	h.slots <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := h.hash(ctx, password)
	wantErr(t, "hash for a caller who has gone", err, context.Canceled)
}

func TestLogout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	p, other := login(t, s, "alice"), login(t, s, "alice")
	u, err := s.Logout(t.Context(), &p.AccessClaims)
	if err != nil || u.Username != "alice" {
		t.Fatalf("Logout = %+v, %v, want alice", u, err)
	}
	_, err = s.Refresh(t.Context(), p.Refresh)
	wantErr(t, "Refresh after logout", err, tokenauth.ErrSessionEnded)
	if revoked, _, err := s.Checker().IsRevoked(t.Context(), &p.AccessClaims); !revoked || err != nil {
		t.Errorf("IsRevoked after logout = %t, %v, want true", revoked, err)
	}
	_, err = s.Actor(t.Context(), &p.AccessClaims)
	wantErr(t, "Actor after logout", err, tokenauth.ErrSessionEnded)
	_, err = s.Logout(t.Context(), &p.AccessClaims)
	wantErr(t, "second Logout", err, ErrNotLoggedIn)
	_, err = s.Logout(t.Context(), &tokenauth.Claims{Type: tokenauth.API, Subject: "alice"})
	wantErr(t, "Logout by API token", err, ErrLogout)
	_, err = s.Logout(t.Context(), &tokenauth.Claims{Type: tokenauth.Access, Subject: "alice", SessionID: uuid.NewString()})
	wantErr(t, "Logout of no session", err, ErrNotLoggedIn)
	// A token ends its own subject's session and nobody else's.
	register(t, s, "mallory")
	crossed := other.AccessClaims
	crossed.Subject = "mallory"
	_, err = s.Logout(t.Context(), &crossed)
	wantErr(t, "Logout of another user's session", err, ErrNotLoggedIn)
	// With an access token long expired the refresh token does it.
	if _, err = s.Logout(t.Context(), &other.RefreshClaims); err != nil {
		t.Errorf("Logout(refresh token) = %v, want nil", err)
	}
	wantEvent(t, w, "alice", eventLogout)
}

func TestUsernameExists(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "Bob")
	for name, want := range map[string]bool{"bob": true, "Bob": true, "bo": false, "": false, "b\x00b": false} {
		if got, err := s.UsernameExists(t.Context(), name); got != want || err != nil {
			t.Errorf("UsernameExists(%q) = %t, %v, want %t", name, got, err, want)
		}
	}
}
