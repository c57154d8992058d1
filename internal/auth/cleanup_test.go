package auth

import (
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/actor"
)

func TestCleanUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice", actor.Admin)
	p := login(t, s, "alice")
	if _, _, err := s.CreateAPIToken(as(t, s, p), "", time.Minute, map[string][]string{"*": {"read"}}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.ResetPassword(system(t.Context()), "alice"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, _, err := s.Login(t.Context(), "nobody", "x"); err == nil {
			t.Fatal("Login = nil")
		}
	}
	gone := login(t, s, "alice")
	if _, err := s.Logout(t.Context(), &gone.AccessClaims); err != nil {
		t.Fatal(err)
	}
	if n, err := s.CleanUp(t.Context()); n != 0 || err != nil {
		t.Errorf("CleanUp while all is alive = %d, %v, want 0", n, err)
	}
	w.step(s.c.RefreshTimeout - time.Second)
	p, err := s.Refresh(t.Context(), p.Refresh)
	if err != nil {
		t.Fatal(err)
	}
	w.step(time.Minute)
	if _, err = s.CleanUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string]int{
		"sessions": 1, "refresh_tokens": 1, "revoked_tokens": 0, "api_tokens": 0, "one_time_links": 0, "login_attempts": 0, "users": 1,
	} {
		if got := w.count(t, "SELECT count(*) FROM "+table); got != want {
			t.Errorf("%s after CleanUp = %d rows, want %d", table, got, want)
		}
	}
	if n := s.revoked.Len(); n != 0 {
		t.Errorf("revocations in memory = %d, want 0", n)
	}
	if _, err = s.Refresh(t.Context(), p.Refresh); err != nil {
		t.Errorf("Refresh of the session that lives = %v, want nil", err)
	}
}

// Ten thousand sessions go while others log in and refresh, and two replicas
// clean up at once.
func TestCleanUpUnderTraffic(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	replicas := []*Service{w.service(t), w.service(t)}
	s := replicas[0]
	register(t, s, "alice")
	_, err := w.pool.Exec(t.Context(), `
		WITH s AS (
			INSERT INTO sessions (id, user_id, created_at, last_seen_at, expires_at, absolute_expires_at)
			SELECT gen_random_uuid(), u.id, $1, $1, $1::timestamptz + interval '1 second', $1::timestamptz + interval '1 day'
			FROM users u, generate_series(1, 10000) RETURNING id
		)
		INSERT INTO refresh_tokens (id, session_id, generation, access_id, issued_at, expires_at, access_expires_at)
		SELECT gen_random_uuid(), id, 0, gen_random_uuid(), $1, $1::timestamptz + interval '1 second', $1::timestamptz + interval '1 second' FROM s`, w.Now())
	if err != nil {
		t.Fatal(err)
	}
	w.step(time.Minute)
	for _, err := range together(6, func(i int) error {
		if i < len(replicas) {
			_, err := replicas[i].CleanUp(t.Context())
			return err
		}
		_, p, err := s.Login(t.Context(), "alice", password)
		for range 10 {
			if err != nil {
				return err
			}
			p, err = replicas[i%2].Refresh(t.Context(), p.Refresh)
		}
		return err
	}) {
		wantErr(t, "clean-up, login or refresh", err, nil)
	}
	if _, err = s.CleanUp(t.Context()); err != nil { // what the other held
		t.Fatal(err)
	}
	if n := w.count(t, "SELECT count(*) FROM sessions"); n != 4 {
		t.Errorf("sessions left = %d, want the 4 that live", n)
	}
}

func TestLastSeenIsWrittenAtMostOnceAMinute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	p := login(t, s, "alice")
	seen := func() (at time.Time) {
		if err := w.pool.QueryRow(t.Context(), "SELECT last_seen_at FROM sessions").Scan(&at); err != nil {
			t.Fatal(err)
		}
		return at
	}
	opened := w.Now()
	for _, tt := range []struct {
		step time.Duration
		want time.Duration // after opened
	}{{59 * time.Second, 0}, {time.Second, time.Minute}, {59 * time.Second, time.Minute}, {2 * time.Second, 121 * time.Second}} {
		w.step(tt.step)
		as(t, s, p)
		if err := s.recordUses(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := seen(); !got.Equal(opened.Add(tt.want)) {
			t.Errorf("last seen after %v = %v, want %v", w.Now().Sub(opened), got.Sub(opened), tt.want)
		}
	}
}
