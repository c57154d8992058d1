package auth

import (
	"fmt"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/tokenauth"
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

// A revocation is kept for as long as some server may still take the token by
// itself: until the leeway after its end, by a clock that is behind by the leeway.
func TestCleanUpKeepsRevocationsForClocksBehind(t *testing.T) {
	t.Parallel()
	for _, leeway := range []time.Duration{2 * time.Second, 5 * time.Minute} {
		change := func(c *Config) { c.Leeway, c.RefreshGrace = leeway, 0 }
		w := newWorld(t)
		s := w.service(t, change)
		register(t, s, "alice")
		old := login(t, s, "alice")
		current, err := s.Refresh(t.Context(), old.Refresh)
		if err != nil {
			t.Fatal(err)
		}
		behind := w.serviceAt(t, -leeway, change) // which heard of it
		w.step(s.c.SessionTimeout + 2*leeway - time.Second)
		if _, err := s.CleanUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := behind.CleanUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		for what, judge := range map[string]*Service{"that heard of it": behind, "that was started since": w.serviceAt(t, -leeway, change)} {
			_, err := judge.Verifier().Verify(t.Context(), old.Access, tokenauth.Access)
			wantErr(t, fmt.Sprintf("leeway %s: an access token that was traded in, on a server behind %s", leeway, what), err, tokenauth.ErrRevoked)
			_, err = judge.Verifier().Verify(t.Context(), current.Access, tokenauth.Access)
			wantErr(t, fmt.Sprintf("leeway %s: the current one, on a server behind %s", leeway, what), err, nil)
		}
		w.step(2*leeway + revokedMargin + 2*time.Second)
		if _, err := s.CleanUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := w.count(t, "SELECT count(*) FROM revoked_tokens"); n != 0 {
			t.Errorf("leeway %s: %d revocations left when no server takes the token any more, want 0", leeway, n)
		}
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

// No transaction of a clean-up removes more rows than a batch, those included
// that go because another does, and none is held for longer than one batch.
func TestCleanUpWorksInSmallBatches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	const each = 3 * cleanBatch
	old := w.Now().Add(-48 * time.Hour)
	for _, fill := range []string{
		`INSERT INTO sessions (id, user_id, created_at, last_seen_at, expires_at, absolute_expires_at)
			SELECT gen_random_uuid(), u.id, $1, $1, $1, $1 FROM users u, generate_series(1, $2::int)`,
		`INSERT INTO refresh_tokens (id, session_id, generation, access_id, issued_at, expires_at, access_expires_at)
			SELECT gen_random_uuid(), s.id, g, gen_random_uuid(), $1, $1, $1 FROM sessions s, generate_series(1, 3 + sign($2::int)::int) g`,
		`INSERT INTO revoked_tokens (id, kind, username, reason, expires_at)
			SELECT gen_random_uuid(), 'session', 'alice', 'logout', $1 FROM generate_series(1, $2::int)`,
		`INSERT INTO api_tokens (id, user_id, datasets, expires_at)
			SELECT gen_random_uuid(), u.id, '{}', $1 FROM users u, generate_series(1, $2::int)`,
		`INSERT INTO one_time_links (id, secret_hash, purpose, user_id, created_by, created_at, expires_at)
			SELECT gen_random_uuid(), sha256(g::text::bytea), 'password', u.id, 'admin', $1, $1 FROM users u, generate_series(1, $2::int) g`,
		`INSERT INTO login_attempts (username, network, failures, last_failed_at)
			SELECT 'user ' || g, '192.0.2.0/24', 1, $1 FROM generate_series(1, $2::int) g`,
	} {
		if _, err := w.pool.Exec(t.Context(), fill, old, each); err != nil {
			t.Fatalf("%s: %v", fill, err)
		}
	}
	tables := []string{"sessions", "refresh_tokens", "revoked_tokens", "api_tokens", "one_time_links", "login_attempts"}
	commands := []string{
		`CREATE TABLE removed (tx xid8 NOT NULL DEFAULT pg_current_xact_id(), name text NOT NULL, n bigint NOT NULL)`,
		`CREATE FUNCTION note_removed() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN INSERT INTO removed (name, n) SELECT TG_TABLE_NAME, count(*) FROM gone; RETURN NULL; END $$`,
	}
	for _, table := range tables {
		commands = append(commands, `CREATE TRIGGER note_removed AFTER DELETE ON `+table+
			` REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION note_removed()`)
	}
	for _, command := range commands {
		if _, err := w.pool.Exec(t.Context(), command); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
	}
	if _, err := s.CleanUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		want := each
		if table == "refresh_tokens" {
			want = 4 * each
		}
		if got := w.count(t, "SELECT coalesce(sum(n), 0) FROM removed WHERE name = $1", table); got != want {
			t.Errorf("%s: %d rows removed, want %d", table, got, want)
		}
	}
	if n := w.count(t, "SELECT max(n) FROM (SELECT sum(n) AS n FROM removed GROUP BY tx) AS t"); n > cleanBatch {
		t.Errorf("one transaction removed %d rows, want at most %d", n, cleanBatch)
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

func TestLastUseOfAPITokenIsWrittenAtMostOnceAMinute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	raw, _, err := s.CreateAPIToken(as(t, s, login(t, s, "alice")), "robot", time.Hour, map[string][]string{"*": {"read"}})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := s.Verifier().Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	made := w.Now()
	for _, tt := range []struct {
		step time.Duration
		want time.Duration // after made
	}{
		{time.Second, time.Second}, {59 * time.Second, time.Second}, {time.Second, 61 * time.Second}, {59 * time.Second, 61 * time.Second},
		{2 * time.Second, 122 * time.Second},
	} {
		w.step(tt.step)
		for range 3 {
			if _, err := s.Actor(t.Context(), claims); err != nil {
				t.Fatalf("Actor = %v", err)
			}
			if err := s.recordUses(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		list, err := s.APITokens(system(t.Context()), "alice")
		if err != nil || len(list) != 1 || list[0].LastUsedAt == nil || !list[0].LastUsedAt.Equal(made.Add(tt.want)) {
			t.Errorf("last use after %v = %+v, %v, want %v", w.Now().Sub(made), list, err, tt.want)
		}
	}
}
