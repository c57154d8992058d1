package auth

import (
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/tokenauth"
)

func TestRefreshRotates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	first := login(t, s, "alice")
	w.step(time.Minute)
	second, err := s.Refresh(t.Context(), first.Refresh)
	if err != nil {
		t.Fatalf("Refresh = %v", err)
	}
	if second.Refresh == first.Refresh || second.Access == first.Access || second.AccessClaims.SessionID != first.AccessClaims.SessionID {
		t.Errorf("Refresh = %+v after %+v, want other tokens of the same session", second.RefreshClaims, first.RefreshClaims)
	}
	if got, want := second.RefreshClaims.ExpiresAt, first.RefreshClaims.ExpiresAt.Add(time.Minute); !got.Equal(want) {
		t.Errorf("refresh token expires %v, want %v: it slides", got, want)
	}
	// The old access token had not run out by itself.
	if revoked, _, _ := s.Checker().IsRevoked(t.Context(), &first.AccessClaims); !revoked {
		t.Error("the old access token is alive")
	}
	if revoked, _, _ := s.Checker().IsRevoked(t.Context(), &second.AccessClaims); revoked {
		t.Error("the new access token is revoked")
	}
	wantEvent(t, w, "alice", eventRefresh)
}

// Threads that share a client without a lock trade in what another of them has
// just got and is about to use.
func TestAccessTokenOfARefreshLivesForTheGrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	here, there := w.service(t), w.service(t)
	register(t, here, "alice")
	first := login(t, here, "alice")
	w.step(time.Minute)
	pairs := []Pair{first}
	for range 3 {
		next, err := here.Refresh(t.Context(), pairs[len(pairs)-1].Refresh)
		if err != nil {
			t.Fatalf("Refresh = %v", err)
		}
		pairs = append(pairs, next)
	}
	holds := func(when string, s *Service, revoked ...bool) {
		t.Helper()
		if err := s.revoked.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, want := range revoked {
			if got, _, err := s.Checker().IsRevoked(t.Context(), &pairs[i].AccessClaims); got != want || err != nil {
				t.Errorf("%s: IsRevoked(access token %d) = %t, %v, want %t", when, i, got, err, want)
			}
		}
	}
	restarted := w.service(t)
	for name, s := range map[string]*Service{"here": here, "elsewhere": there, "after a restart": restarted} {
		holds(name, s, true, false, false, false)
	}
	w.step(here.c.RefreshGrace - time.Second)
	holds("within the grace", there, true, false, false, false)
	w.step(time.Second)
	for name, s := range map[string]*Service{"here": here, "elsewhere": there, "after a restart": restarted} {
		holds(name+", after the grace", s, true, true, true, false)
	}
}

// What lives on for the grace dies with its session.
func TestEndOfTheSessionEndsTheGrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	first := login(t, s, "alice")
	second, err := s.Refresh(t.Context(), first.Refresh)
	if err != nil {
		t.Fatal(err)
	}
	third, err := s.Refresh(t.Context(), second.Refresh)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Actor(t.Context(), &second.AccessClaims); err != nil {
		t.Errorf("Actor within the grace = %v, want nil", err)
	}
	if _, err := s.Logout(t.Context(), &third.AccessClaims); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*tokenauth.Claims{"the one before": &second.AccessClaims, "the last": &third.AccessClaims} {
		if revoked, _, err := s.Checker().IsRevoked(t.Context(), c); !revoked || err != nil {
			t.Errorf("after the logout: IsRevoked(%s) = %t, %v, want true", name, revoked, err)
		}
	}
}

func TestRefreshWritesNoRevocationForADeadAccessToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	p := login(t, s, "alice")
	w.step(s.c.SessionTimeout + s.c.Leeway)
	if _, err := s.Refresh(t.Context(), p.Refresh); err != nil {
		t.Fatalf("Refresh = %v", err)
	}
	if n := w.count(t, "SELECT count(*) FROM revoked_tokens"); n != 0 {
		t.Errorf("revoked_tokens has %d rows, want 0", n)
	}
}

func TestParallelRefreshConverges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	replicas := []*Service{w.service(t), w.service(t)}
	register(t, replicas[0], "alice")
	p := login(t, replicas[0], "alice")
	pairs := make([]Pair, 20)
	for _, err := range together(len(pairs), func(i int) (err error) {
		pairs[i], err = replicas[i%2].Refresh(t.Context(), p.Refresh)
		return err
	}) {
		wantErr(t, "Refresh in parallel", err, nil)
	}
	for _, got := range pairs[1:] {
		if got != pairs[0] {
			t.Errorf("Refresh = %s, want %s: all converge on one pair", got.RefreshClaims.ID, pairs[0].RefreshClaims.ID)
		}
	}
	if n := w.count(t, "SELECT count(*) FROM refresh_tokens"); n != 2 {
		t.Errorf("pairs of the session = %d, want 2", n)
	}
}

func TestReuseEndsTheSessionForGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	stolen, other := login(t, s, "alice"), login(t, s, "alice")
	current, err := s.Refresh(t.Context(), stolen.Refresh)
	if err != nil {
		t.Fatal(err)
	}
	w.step(s.c.RefreshGrace)
	_, err = s.Refresh(t.Context(), stolen.Refresh)
	wantErr(t, "Refresh(used token after the grace)", err, tokenauth.ErrRefreshReused)

	for name, replica := range map[string]*Service{"here": s, "after a restart": w.service(t)} {
		_, err = replica.Refresh(t.Context(), current.Refresh)
		wantErr(t, name+": Refresh(current token)", err, tokenauth.ErrSessionEnded)
		if revoked, _, err := replica.Checker().IsRevoked(t.Context(), &current.AccessClaims); !revoked || err != nil {
			t.Errorf("%s: IsRevoked(current access token) = %t, %v, want true", name, revoked, err)
		}
		_, err = replica.Actor(t.Context(), &current.AccessClaims)
		wantErr(t, name+": Actor", err, tokenauth.ErrSessionEnded)
	}
	if _, err = s.Refresh(t.Context(), other.Refresh); err != nil {
		t.Errorf("Refresh of the user's other session = %v, want nil", err)
	}
	if n := w.count(t, "SELECT count(*) FROM sessions WHERE end_reason = 'reuse'"); n != 1 {
		t.Errorf("sessions ended for reuse = %d, want 1", n)
	}
	wantEvent(t, w, "alice", eventReuse)
}

func TestReuseOfATokenWhoseRowIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	first := login(t, s, "alice")
	second, err := s.Refresh(t.Context(), first.Refresh)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = w.pool.Exec(t.Context(), "DELETE FROM refresh_tokens WHERE generation = 0"); err != nil {
		t.Fatal(err)
	}
	_, err = s.Refresh(t.Context(), first.Refresh)
	wantErr(t, "Refresh(older than any row)", err, tokenauth.ErrRefreshReused)
	_, err = s.Refresh(t.Context(), second.Refresh)
	wantErr(t, "Refresh(current)", err, tokenauth.ErrSessionEnded)
}

// A database put back to yesterday's state does not make thieves of its users.
func TestRefreshAfterARestoredBackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	first := login(t, s, "alice")
	second, err := s.Refresh(t.Context(), first.Refresh)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{
		"DELETE FROM refresh_tokens WHERE generation = 1",
		"UPDATE refresh_tokens SET used_at = NULL", "UPDATE sessions SET generation = 0",
	} {
		if _, err = w.pool.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	_, err = s.Refresh(t.Context(), second.Refresh)
	wantErr(t, "Refresh(newer than any row)", err, tokenauth.ErrRefreshUnknown)
	if _, err = s.Refresh(t.Context(), first.Refresh); err != nil {
		t.Errorf("Refresh(the stored one) = %v, want nil", err)
	}
}

// The commit happened and the answer was lost: the retry gets the same pair.
func TestRefreshRetried(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	p := login(t, s, "alice")
	lost, err := s.Refresh(t.Context(), p.Refresh)
	if err != nil {
		t.Fatal(err)
	}
	w.step(s.c.RefreshGrace - time.Second)
	again, err := w.service(t).Refresh(t.Context(), p.Refresh)
	if err != nil || again != lost {
		t.Errorf("Refresh again, after a restart = %s, %v, want the pair %s", again.RefreshClaims.ID, err, lost.RefreshClaims.ID)
	}
}

func TestRefreshRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	p := login(t, s, "alice")
	api, _, err := s.CreateAPIToken(as(t, s, p), "", time.Hour, map[string][]string{"*": {"read"}})
	if err != nil {
		t.Fatal(err)
	}
	for raw, want := range map[string]error{
		"": tokenauth.ErrMissing, "junk": tokenauth.ErrMalformed, p.Access: tokenauth.ErrWrongType, api: tokenauth.ErrWrongType,
		p.Refresh[:len(p.Refresh)-4] + "AAAA": tokenauth.ErrSignature,
	} {
		_, err := s.Refresh(t.Context(), raw)
		wantErr(t, "Refresh("+raw+")", err, want)
	}
	w.step(s.c.RefreshTimeout + s.c.Leeway)
	_, err = s.Refresh(t.Context(), p.Refresh)
	wantErr(t, "Refresh(expired)", err, tokenauth.ErrExpired)
	// No refusal may end the session or write anything.
	if n := w.count(t, "SELECT count(*) FROM sessions WHERE ended_at IS NULL AND generation = 0"); n != 1 {
		t.Errorf("sessions untouched = %d, want 1", n)
	}
}

func TestRefreshEndsAtTheAbsoluteEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t, func(c *Config) { c.RefreshTimeout, c.AbsoluteTimeout = time.Hour, 100*time.Minute })
	register(t, s, "alice")
	p := login(t, s, "alice")
	end := w.Now().Add(s.c.AbsoluteTimeout)
	w.step(50 * time.Minute)
	p, err := s.Refresh(t.Context(), p.Refresh)
	if err != nil || !p.RefreshClaims.ExpiresAt.Equal(end) {
		t.Fatalf("Refresh expires %v, %v, want the absolute end %v", p.RefreshClaims.ExpiresAt, err, end)
	}
	w.step(50 * time.Minute)
	_, err = s.Refresh(t.Context(), p.Refresh)
	wantErr(t, "Refresh at the absolute end, within the leeway", err, tokenauth.ErrSessionEnded)
}

func TestDeactivationEndsEverythingForGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	p := login(t, s, "alice")
	raw, _, err := s.CreateAPIToken(as(t, s, p), "robot", time.Hour, map[string][]string{"*": {"read"}})
	if err != nil {
		t.Fatal(err)
	}
	api, err := s.verifier.Verify(t.Context(), raw, tokenauth.API)
	if err != nil {
		t.Fatal(err)
	}
	for _, active := range []bool{false, true} {
		if _, err = s.UpdateUser(system(t.Context()), "alice", UserPatch{Active: &active}); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]*tokenauth.Claims{"access": &p.AccessClaims, "api": api} {
			if revoked, _, err := s.Checker().IsRevoked(t.Context(), c); !revoked || err != nil {
				t.Errorf("active %t: IsRevoked(%s) = %t, %v, want true", active, name, revoked, err)
			}
			if _, err := s.Actor(t.Context(), c); err == nil {
				t.Errorf("active %t: Actor(%s) = nil, want an error", active, name)
			}
		}
		if _, err = s.Refresh(t.Context(), p.Refresh); err == nil {
			t.Errorf("active %t: Refresh = nil, want an error", active)
		}
	}
	login(t, s, "alice")
}

func TestActorIsWhatTheUserIsNow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	s.actors.keep = time.Hour // the service's own changes count at once all the same
	register(t, s, "alice")
	p := login(t, s, "alice")
	ctx := as(t, s, p)
	if a, _ := actor.FromContext(ctx); a.HighestRole() != actor.Reader || len(a.Groups) != 0 {
		t.Errorf("Actor = %+v, want a reader without groups", a)
	}
	if _, err := s.UpdateUser(system(t.Context()), "alice", UserPatch{Roles: []actor.Role{actor.Contributor}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateGroup(system(t.Context()), NewGroup{Name: "lab", Members: []string{"Alice"}}); err != nil {
		t.Fatal(err)
	}
	if a, _ := actor.FromContext(as(t, s, p)); a.HighestRole() != actor.Contributor || !a.InGroup([]string{"lab"}) {
		t.Errorf("Actor = %+v, want a contributor in lab", a)
	}
}

// What is remembered of an actor does not outlive a revocation, made here or
// read from another replica.
func TestRevocationIsNotOutlivedByTheCache(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	here, there := w.service(t), w.service(t)
	here.actors.keep, there.actors.keep = time.Hour, time.Hour
	register(t, here, "alice")
	p := login(t, here, "alice")
	as(t, here, p)
	as(t, there, p)
	if _, err := here.Logout(t.Context(), &p.AccessClaims); err != nil {
		t.Fatal(err)
	}
	if err := there.revoked.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*Service{"here": here, "there": there} {
		_, err := s.Actor(t.Context(), &p.AccessClaims)
		wantErr(t, name+": Actor after logout", err, tokenauth.ErrSessionEnded)
	}
}

func BenchmarkRefresh(b *testing.B) {
	w := newWorld(b)
	s := w.service(b)
	register(b, s, "alice")
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		_, p, err := s.Login(b.Context(), "alice", password)
		for pb.Next() {
			if err != nil {
				b.Error(err)
				return
			}
			p, err = s.Refresh(b.Context(), p.Refresh)
		}
	})
}
