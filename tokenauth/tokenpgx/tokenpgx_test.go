package tokenpgx_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/tokenauth"
	"github.com/romi/plantdb-go/tokenauth/tokenpgx"
)

var (
	_ tokenauth.Source = (*tokenpgx.Source)(nil)
	_ tokenpgx.DB      = (*pgxpool.Pool)(nil)
	_ tokenpgx.DB      = (*pgx.Conn)(nil)
)

const listener = "listens for revocations"

// table makes what Table documents.
func table(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := pgtest.New(t)
	for _, command := range []string{
		`CREATE TABLE "Revoked ones" (
		    id         text        PRIMARY KEY,
		    until      timestamptz NOT NULL,
		    written_by bigint      NOT NULL DEFAULT pg_current_xact_id()::text::bigint
		)`,
		`CREATE INDEX ON "Revoked ones" (written_by)`,
	} {
		if _, err := pool.Exec(t.Context(), command); err != nil {
			t.Fatalf("create table: %v", err)
		}
	}
	return pool
}

func source(pool *pgxpool.Pool) *tokenpgx.Source {
	return &tokenpgx.Source{
		DB: pool, Channel: `shop's "revoked"`, Read: tokenpgx.Table("Revoked ones"),
		Connect: func(ctx context.Context) (*pgx.Conn, error) {
			config := pool.Config().ConnConfig
			config.RuntimeParams["application_name"] = listener
			return pgx.ConnectConfig(ctx, config)
		},
	}
}

func running(t *testing.T, s tokenauth.Source, interval time.Duration) *tokenauth.Replicated {
	t.Helper()
	r := &tokenauth.Replicated{Source: s, Interval: interval, Log: slog.New(slog.DiscardHandler)}
	if err := r.Load(t.Context()); err != nil {
		t.Fatalf("Load: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return r
}

func insert(t *testing.T, db tokenpgx.DB, id string, until time.Time) tokenauth.Revocation {
	t.Helper()
	if _, err := db.Exec(t.Context(), `INSERT INTO "Revoked ones" (id, until) VALUES ($1, $2)`, id, until); err != nil {
		t.Fatalf("insert %s: %v", id, err)
	}
	return tokenauth.Revocation{ID: id, Until: until}
}

func count(t *testing.T, pool *pgxpool.Pool, query string) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), query, listener).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// idle listeners have asked and wait.
func listeners(t *testing.T, pool *pgxpool.Pool) int {
	return count(t, pool, "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database() AND state = 'idle'")
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

func refuses(t *testing.T, r *tokenauth.Replicated, id string) func() bool {
	return func() bool {
		revoked, _, err := r.IsRevoked(t.Context(), &tokenauth.Claims{ID: "token", SessionID: id})
		return revoked && err == nil
	}
}

func TestMain(m *testing.M) {
	if database == "" {
		_ = flag.Set("test.skip", "^Example") // TestExample runs it, in a process of its own
	}
	os.Exit(m.Run())
}

// What the example shows holds: what one server revokes, another refuses. And it
// says so itself.
func TestExample(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	for _, command := range []string{
		"CREATE TABLE revoked (id text PRIMARY KEY, until timestamptz NOT NULL, written_by bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint)",
		"CREATE INDEX ON revoked (written_by)",
	} {
		if _, err := pool.Exec(t.Context(), command); err != nil {
			t.Fatalf("create table: %v", err)
		}
	}
	key, err := tokenauth.NewHMACKey([]byte(strings.Repeat("k", tokenauth.MinSecret)))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := tokenauth.NewKeyring(key)
	if err != nil {
		t.Fatal(err)
	}
	here, revoked, err := start(t.Context(), pool, keys)
	if err != nil {
		t.Fatalf("start = %v", err)
	}
	there, _, err := start(t.Context(), pool, keys)
	if err != nil {
		t.Fatalf("start another = %v", err)
	}
	token := func(session string) string {
		t.Helper()
		now := time.Now().Truncate(time.Second)
		raw, err := keys.Sign(tokenauth.Claims{
			ID: "token of " + session, SessionID: session, Subject: "alice", Issuer: "shop", Audience: "shop-clients",
			Type: tokenauth.Access, IssuedAt: now, ExpiresAt: now.Add(time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	out, stays := token("out"), token("stays")
	claims, err := here.Verify(t.Context(), out, tokenauth.Access)
	if err != nil {
		t.Fatalf("Verify before the logout = %v", err)
	}
	if err := logout(t.Context(), pool, revoked, claims); err != nil {
		t.Fatalf("logout = %v", err)
	}
	ended := func(v *tokenauth.Verifier) bool {
		_, err := v.Verify(t.Context(), out, tokenauth.Access)
		return errors.Is(err, tokenauth.ErrSessionEnded) || errors.Is(err, tokenauth.ErrRevoked)
	}
	if !ended(here) {
		t.Error("the token is taken where it was logged out")
	}
	eventually(t, "the other server refuses the token", func() bool { return ended(there) })
	eventually(t, "the other server takes that of another session", func() bool {
		_, err := there.Verify(t.Context(), stays, tokenauth.Access)
		return err == nil
	})
	run := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^Example", "-test.v")
	run.Env = append(os.Environ(), "PLANTDB_EXAMPLES="+pool.Config().ConnString())
	said, err := run.CombinedOutput()
	if err != nil || strings.Count(string(said), "--- PASS: Example") != 1 {
		t.Errorf("example: %v, want one that passes:\n%s", err, said)
	}
}

// With an hour between questions it is the notification that tells.
func TestNotificationTells(t *testing.T) {
	t.Parallel()
	pool := table(t)
	before := insert(t, pool, "before", time.Now().Add(time.Hour))
	here, there := running(t, source(pool), time.Hour), running(t, source(pool), time.Hour)
	if !refuses(t, there, before.ID)() {
		t.Error("Load left out what was revoked before")
	}
	eventually(t, "both listen", func() bool { return listeners(t, pool) == 2 })
	for i := range 5 {
		id := fmt.Sprintf("session-%d", i)
		here.Revoke(insert(t, pool, id, time.Now().Add(time.Hour)))
		if !refuses(t, here, id)() {
			t.Fatalf("%s is let in where it was revoked", id)
		}
		eventually(t, "the other server knows "+id, refuses(t, there, id))
	}
}

// The connection is killed at the wrong moment: what was revoked meanwhile is
// read after the reconnect, however long it is to the next question.
func TestRevokedWhileTheListenerIsCut(t *testing.T) {
	t.Parallel()
	pool := table(t)
	here, there := running(t, source(pool), time.Hour), running(t, source(pool), time.Hour)
	for i := range 5 {
		eventually(t, "both listen", func() bool { return listeners(t, pool) == 2 })
		count(t, pool, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()")
		id := fmt.Sprintf("session-%d", i)
		here.Revoke(insert(t, pool, id, time.Now().Add(time.Hour)))
		eventually(t, "the other server knows "+id, refuses(t, there, id))
	}
}

func TestWithoutListener(t *testing.T) {
	t.Parallel()
	pool := table(t)
	s := source(pool)
	s.Connect = nil
	r := running(t, s, 10*time.Millisecond)
	insert(t, pool, "session", time.Now().Add(time.Hour))
	eventually(t, "the server knows", refuses(t, r, "session"))
	if n := listeners(t, pool); n != 0 {
		t.Errorf("%d connections listen, want none", n)
	}
}

// A transaction that commits after others that began later is not missed.
func TestTableMissesNoLateCommit(t *testing.T) {
	t.Parallel()
	pool := table(t)
	r := &tokenauth.Replicated{Source: source(pool)}
	if err := r.Load(t.Context()); err != nil {
		t.Fatalf("Load: %v", err)
	}
	late, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatalf("begin: %v", err)
	}
	defer func() { _ = late.Rollback(context.Background()) }()
	insert(t, late, "late", time.Now().Add(time.Hour))
	insert(t, pool, "early", time.Now().Add(time.Hour))
	insert(t, pool, "past", time.Now().Add(-time.Hour))
	if err := r.Sync(t.Context()); err != nil {
		t.Fatalf("Sync: %v", err)
	}
	if !refuses(t, r, "early")() || refuses(t, r, "late")() || r.Len() != 1 {
		t.Errorf("before the commit the set knows %d, want the early one alone", r.Len())
	}
	if err := late.Commit(t.Context()); err != nil {
		t.Fatalf("commit: %v", err)
	}
	if err := r.Sync(t.Context()); err != nil {
		t.Fatalf("Sync: %v", err)
	}
	if !refuses(t, r, "late")() {
		t.Error("the late one is missed")
	}
}

// Each is an error, so 503, and leaves no connection.
func TestFaults(t *testing.T) {
	t.Parallel()
	pool := table(t)
	good := tokenpgx.Table("Revoked ones")
	if _, _, err := good(t.Context(), pool, "no number"); err == nil {
		t.Error("Read since no number = nil, want an error")
	}
	if _, _, err := tokenpgx.Table("nowhere", "revoked")(t.Context(), pool, ""); err == nil {
		t.Error("Read of no table = nil, want an error")
	}
	insert(t, pool, "session", time.Now().Add(time.Hour))
	s := source(pool)
	s.Read = tokenpgx.Table("public", "Revoked ones")
	if got, next, err := s.Revoked(t.Context(), ""); err != nil || len(got) != 1 || next == "" {
		t.Errorf("Revoked = %v, %q, %v, want the one and a place to go on", got, next, err)
	}
	s.Channel = string(make([]byte, 100)) // is no name
	if f, err := s.Listen(t.Context()); err == nil {
		f.Close()
		t.Error("Listen on no name = nil, want an error")
	}
	eventually(t, "its connection is closed", func() bool { return listeners(t, pool) == 0 })
	if err := s.Notify(t.Context()); err == nil {
		t.Error("Notify on no name = nil, want an error")
	}
	pool.Close()
	if _, err := source(pool).Listen(canceled()); err == nil {
		t.Error("Listen with an ended context = nil, want an error")
	}
	if _, _, err := source(pool).Revoked(t.Context(), ""); err == nil {
		t.Error("Revoked by a closed pool = nil, want an error")
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// After a crash PostgreSQL gives the numbers of transactions again that left
// nothing: where to go on is not beyond the last row.
func TestTableGoesOnAfterTheLastRow(t *testing.T) {
	t.Parallel()
	pool := table(t)
	insert(t, pool, "a", time.Now().Add(time.Hour))
	for range 20 {
		if _, err := pool.Exec(t.Context(), "SELECT pg_current_xact_id()"); err != nil {
			t.Fatal(err)
		}
	}
	revoked, next, err := source(pool).Revoked(t.Context(), "")
	if err != nil || len(revoked) != 1 {
		t.Fatalf("Revoked = %v, %v", revoked, err)
	}
	var last int64
	if err := pool.QueryRow(t.Context(), `SELECT max(written_by) FROM "Revoked ones"`).Scan(&last); err != nil {
		t.Fatal(err)
	}
	if n, err := strconv.ParseInt(next, 10, 64); err != nil || n > last+1 {
		t.Errorf("Revoked goes on at %s, %v; want at most %d", next, err, last+1)
	}
}
