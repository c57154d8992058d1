// Package pgtest gives tests a real PostgreSQL with our schema: Tx for most,
// New for what needs commits or several connections, URL for programs. A test
// calls one of them; there is nothing to set up, no TestMain and no container.
//
// One server serves all packages of a `go test ./...` and whatever other test
// processes of the same user run meanwhile. The first that needs it starts it,
// on memory when there is room and without care for power cuts; it is gone a
// moment after the last of them has ended, however it ended. Where PostgreSQL
// is not installed it is downloaded once. PLANTDB_TEST_DATABASE_URL names
// another server to use: its role has to have the right to create databases and
// roles.
//
// A process keeps some goroutines of pgx for as long as it runs; a check for
// leaked ones has to ignore those that are there before its test.
package pgtest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/postgres"
)

// envURL is the variable that names a server.
const envURL = "PLANTDB_TEST_DATABASE_URL"

// setupTime bounds the way to a database: a first run may download PostgreSQL
// and wait for packages to be installed.
const setupTime = 5 * time.Minute

// stepTime bounds what takes a moment on a machine that has nothing else to do.
const stepTime = 2 * time.Minute

// Tx returns a transaction on a database with our schema and no rows, which
// is rolled back when the test ends. All transactions of a test process share
// the database: two that insert the same unique value wait for each other, so
// give each test its own names.
func Tx(t testing.TB) pgx.Tx {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), setupTime)
	defer cancel()
	pool, err := shared()
	if err != nil {
		t.Fatalf("pgtest.Tx: %v", err)
	}
	tx, err := pool.Begin(ctx)
	if err != nil {
		t.Fatalf("pgtest.Tx: begin: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		// Fails only for one that the test itself has ended.
		_ = tx.Rollback(ctx)
	})
	return tx
}

// New returns a pool on a database of the test's own, with our schema and no
// rows. Both are gone when the test has ended.
func New(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return poolOn(t, URL(t))
}

// Collated is New on a database that orders text as a language does, where the
// server can make one: lower case beside upper case, and signs not at all.
func Collated(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return poolOn(t, urlOf(t, (*harness).collated))
}

func poolOn(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := postgres.Open(t.Context(), url, postgres.PoolOptions{ApplicationName: name(t), MaxConns: 12, ConnectTimeout: stepTime})
	if err != nil {
		t.Fatalf("pgtest.New: %v", err)
	}
	t.Cleanup(pool.Close) // before URL's drop of the database
	return pool
}

// URL returns the URL of a database of the test's own, as New does, for
// programs that the test starts; they may run as any user. What still uses the
// database when the test has ended is disconnected.
func URL(t testing.TB) string {
	t.Helper()
	return urlOf(t, (*harness).clone)
}

// urlOf is URL of a database that is made in this way.
func urlOf(t testing.TB, makeOne func(*harness, context.Context) (string, error)) string {
	t.Helper()
	h, err := attached()
	if err != nil {
		t.Fatalf("pgtest.URL: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), setupTime)
	defer cancel()
	database, err := makeOne(h, ctx)
	if err != nil {
		t.Fatalf("pgtest.URL: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stepTime)
		defer cancel()
		if err := h.drop(ctx, database); err != nil {
			t.Errorf("pgtest.URL: %v", err)
		}
	})
	return h.urlOf(database)
}

// name is what pg_stat_activity shows; PostgreSQL cuts it at 63 bytes.
func name(t testing.TB) string {
	n := strings.ToValidUTF8(t.Name(), "")
	return n[:min(len(n), 63)]
}
