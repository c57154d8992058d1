package e2e

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestTenThousandShortSessionsAreCleanedUpUnderTraffic puts most of the
// sessions there by SQL, for each login costs a hash, while clients refresh
// and validate. Two servers clean up at once.
func TestTenThousandShortSessionsAreCleanedUpUnderTraffic(t *testing.T) {
	t.Parallel()
	const sessions, clients = 10_000, 4
	s := newSite(t, "PLANTDB_CLEANUP_INTERVAL=1", "JWT_LEEWAY=0", "MAX_SESSION=20")
	steady, short := s.start(), s.start("REFRESH_TIMEOUT=1", "SESSION_TIMEOUT=1")
	alice := steady.user("alice", "reader")
	bob := steady.user("bob", "reader")
	var pairs []pair
	for range clients {
		pairs = append(pairs, steady.login(alice))
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var traffic sync.WaitGroup
	took := make([][]time.Duration, clients)
	for i := range clients {
		traffic.Go(func() {
			p := pairs[i]
			for ctx.Err() == nil {
				took[i] = append(took[i], since(func() {
					got := steady.try(refreshOf(p.refresh))
					if got.status != http.StatusOK {
						t.Errorf("refresh during the clean-up = %s, want 200", got)
						stop()
						return
					}
					p = pair{got.text("access_token"), got.text("refresh_token")}
					if got := steady.try(validationOf(p.access)); got.status != http.StatusOK {
						t.Errorf("validation during the clean-up = %s, want 200", got)
					}
				}))
			}
			pairs[i] = p
		})
	}
	inserted := s.exec(`WITH made AS (
			INSERT INTO sessions (id, user_id, created_at, last_seen_at, expires_at, absolute_expires_at)
			SELECT gen_random_uuid(), u.id, now(), now(), now() + interval '1 second', now() + interval '1 day'
			FROM users u, generate_series(1, $1) WHERE u.username = 'bob'
			RETURNING id, created_at, expires_at
		), revoked AS (
			INSERT INTO revoked_tokens (id, kind, username, reason, expires_at) SELECT id, 'session', 'bob', 'logout', expires_at FROM made
		)
		INSERT INTO refresh_tokens (id, session_id, generation, access_id, issued_at, expires_at, access_expires_at)
		SELECT gen_random_uuid(), id, 0, gen_random_uuid(), created_at, expires_at, expires_at FROM made`, sessions)
	if inserted != sessions {
		t.Errorf("%d sessions were put there, want %d", inserted, sessions)
	}
	for range 5 {
		short.login(bob)
	}
	const left = `SELECT (SELECT count(*) FROM sessions s JOIN users u ON u.id = s.user_id WHERE u.username = 'bob')
		+ (SELECT count(*) FROM refresh_tokens WHERE expires_at < now() - interval '3 seconds')
		+ (SELECT count(*) FROM revoked_tokens WHERE username = 'bob')`
	began := time.Now()
	until(t, "what has expired is gone", func() bool { return one[int](s, left) == 0 })
	stop()
	traffic.Wait()
	all := slices.Sorted(slices.Values(slices.Concat(took...)))
	t.Logf("%d sessions were gone after %s; meanwhile %d times refresh and validation, median %s, slowest %s",
		sessions, time.Since(began), len(all), all[len(all)/2], all[len(all)-1])
	for _, p := range pairs {
		if !steady.takes(p.access) {
			t.Error("the clean-up took a live session")
		}
	}
	if n := one[int](s, "SELECT count(*) FROM sessions s JOIN users u ON u.id = s.user_id WHERE u.username = 'alice'"); n != clients {
		t.Errorf("%d live sessions are left, want %d", n, clients)
	}
}
