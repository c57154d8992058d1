package auth

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/tokenauth"
)

// forever is how long to wait for what comes by itself; nothing is proven by it.
const forever = 2 * time.Minute

// running starts a replica that listens, as the server does.
func (w *world) running(t *testing.T) *Service {
	t.Helper()
	s := w.service(t)
	run(t, s)
	return s
}

func run(t *testing.T, s *Service) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
}

// eventually waits until f holds.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.After(forever)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

func revokedAt(t *testing.T, s *Service, c *tokenauth.Claims) func() bool {
	return func() bool {
		revoked, _, err := s.Checker().IsRevoked(t.Context(), c)
		return revoked && err == nil
	}
}

// listeners counts the connections that wait for notifications.
func (w *world) listeners(t *testing.T) int {
	return w.count(t, "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()", listenerName)
}

func TestRevocationIsSeenByTheOtherReplica(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	here, there := w.running(t), w.running(t)
	eventually(t, "both listen", func() bool { return w.listeners(t) == 2 })
	register(t, here, "alice")
	p := login(t, here, "alice")
	if revoked, _, err := there.Checker().IsRevoked(t.Context(), &p.AccessClaims); revoked || err != nil {
		t.Fatalf("IsRevoked before = %t, %v, want false", revoked, err)
	}
	if _, err := here.Logout(t.Context(), &p.AccessClaims); err != nil {
		t.Fatal(err)
	}
	if !revokedAt(t, here, &p.AccessClaims)() {
		t.Error("not revoked where it was logged out when Logout has returned")
	}
	eventually(t, "the other replica knows", revokedAt(t, there, &p.AccessClaims))
}

func TestRevocationIsSeenWhenTheListenerWasKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	here, there := w.running(t), w.running(t)
	eventually(t, "both listen", func() bool { return w.listeners(t) == 2 })
	register(t, here, "alice")
	for range 5 {
		p := login(t, here, "alice")
		// Both at the wrong moment: the notification finds nobody.
		w.count(t, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()", listenerName)
		if _, err := here.Logout(t.Context(), &p.AccessClaims); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the other replica knows", revokedAt(t, there, &p.AccessClaims))
	}
	eventually(t, "both listen again", func() bool { return w.listeners(t) == 2 })
}

// A transaction that commits long after others that began later is not missed.
func TestRevocationThatCommitsLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	here, there := w.service(t), w.service(t)
	register(t, here, "alice")
	late, early := login(t, here, "alice"), login(t, here, "alice")

	tx, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	ids, _ := uuids(late.AccessClaims.SessionID)
	if _, err = here.endSessions(t.Context(), tx, ids, endLogout, eventLogout); err != nil {
		t.Fatal(err)
	}
	if _, err = here.Logout(t.Context(), &early.AccessClaims); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name      string
		do        func() error
		wantEarly bool
		wantLate  bool
	}{
		{"while it runs", func() error { return there.revoked.Sync(t.Context()) }, true, false},
		{"when it has committed", func() error {
			return errors.Join(tx.Commit(t.Context()), there.revoked.Sync(t.Context()))
		}, true, true},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := revokedAt(t, there, &early.AccessClaims)(); got != step.wantEarly {
			t.Errorf("%s: early one revoked = %t, want %t", step.name, got, step.wantEarly)
		}
		if got := revokedAt(t, there, &late.AccessClaims)(); got != step.wantLate {
			t.Errorf("%s: late one revoked = %t, want %t", step.name, got, step.wantLate)
		}
	}
}

func TestCheckerRefusesWhenItCannotBeSure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := New(w.pool, w.keys, config(), slog.New(slog.DiscardHandler), WithClock(w.Now), WithNotifications(w.pool))
	unknown := &tokenauth.Claims{ID: "a", SessionID: "b"}
	if revoked, _, err := s.Checker().IsRevoked(t.Context(), unknown); revoked || err == nil {
		t.Errorf("IsRevoked before Load = %t, %v, want an error", revoked, err)
	}
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if revoked, _, err := s.Checker().IsRevoked(t.Context(), unknown); revoked || err != nil {
		t.Errorf("IsRevoked after Load = %t, %v, want false, nil", revoked, err)
	}
	// The database goes away: no connection for us, none in the pool.
	s.source.Connect = func(context.Context) (*pgx.Conn, error) { return nil, errors.New("no route") }
	w.pool.Close()
	run(t, s)
	eventually(t, "the checker is unsure", func() bool {
		_, _, err := s.Checker().IsRevoked(t.Context(), unknown)
		return err != nil
	})
	// What is known to be revoked stays so.
	known := newID()
	s.takeBack([]tokenauth.Revocation{{ID: known.String(), Until: w.Now().Add(time.Hour)}})
	if revoked, _, err := s.Checker().IsRevoked(t.Context(), &tokenauth.Claims{ID: known.String()}); !revoked || err != nil {
		t.Errorf("IsRevoked(known) while unsure = %t, %v, want true, nil", revoked, err)
	}
}

func TestPollingWithoutNotifications(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	here, there := w.service(t), w.service(t)
	there.source.Connect = nil
	run(t, there)
	register(t, here, "alice")
	p := login(t, here, "alice")
	if _, err := here.Logout(t.Context(), &p.AccessClaims); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the polling replica knows", revokedAt(t, there, &p.AccessClaims))
}

// A read that began before a forget is not remembered after it.
func TestActorCacheForgetsWhatIsBeingRead(t *testing.T) {
	t.Parallel()
	c := newActorCache(time.Hour)
	reading, goOn := make(chan struct{}), make(chan struct{})
	old := make(chan bearer)
	go func() {
		b, _ := c.get(t.Context(), "id", func(context.Context) (bearer, error) {
			close(reading)
			<-goOn
			return bearer{active: true}, nil
		})
		old <- b
	}()
	<-reading
	c.forget()
	read := func(context.Context) (bearer, error) { return bearer{}, nil }
	if b, err := c.get(t.Context(), "id", read); b.active || err != nil {
		t.Errorf("get after forget = %+v, %v, want what is read now", b, err)
	}
	close(goOn)
	<-old
	if b, err := c.get(t.Context(), "id", read); b.active || err != nil {
		t.Errorf("get later = %+v, %v, want what was read after forget", b, err)
	}
}

// After a crash PostgreSQL gives the numbers of transactions again that left
// nothing: where to go on is not beyond the last revocation.
func TestRevocationsGoOnAfterTheLast(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	if _, err := w.pool.Exec(t.Context(), "INSERT INTO revoked_tokens (id, kind, username, reason, expires_at) VALUES (gen_random_uuid(), 'access', 'ann', 'logout', now() + interval '1 hour')"); err != nil {
		t.Fatal(err)
	}
	var last int64
	if err := w.pool.QueryRow(t.Context(), "SELECT written_by FROM revoked_tokens").Scan(&last); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := w.pool.Exec(t.Context(), "SELECT pg_current_xact_id()"); err != nil {
			t.Fatal(err)
		}
	}
	revoked, next, err := s.readRevoked(t.Context(), w.pool, "")
	if err != nil || len(revoked) != 1 {
		t.Fatalf("readRevoked = %v, %v", revoked, err)
	}
	if n, err := strconv.ParseInt(next, 10, 64); err != nil || n > last+1 {
		t.Errorf("readRevoked goes on at %s, %v; want at most %d", next, err, last+1)
	}
}
