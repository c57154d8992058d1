package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/postgres"
)

func TestViolates(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	run(t, tx, `CREATE TABLE rules (id int CONSTRAINT rules_pkey PRIMARY KEY,
		n int CONSTRAINT rules_n_small CHECK (n < 10),
		of int CONSTRAINT rules_of_fkey REFERENCES rules (id))`)
	run(t, tx, "INSERT INTO rules VALUES (1, 1, 1)")
	breach := func(values string) error {
		return postgres.InTx(t.Context(), tx, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), "INSERT INTO rules VALUES "+values)
			return err
		})
	}
	for _, tt := range []struct {
		values, constraint string
		want               bool
	}{
		{"(1, 1, 1)", "rules_pkey", true},
		{"(1, 1, 1)", "rules_n_small", false},
		{"(2, 10, 1)", "rules_n_small", true},
		{"(2, 1, 5)", "rules_of_fkey", true},
		{"(2, 1, 5)", "", false},
		{"(2, 'x', 5)", "", false},
		{"(2, 1, 1)", "rules_pkey", false},
	} {
		err := breach(tt.values)
		if got := postgres.Violates(err, tt.constraint); got != tt.want {
			t.Errorf("Violates(%v, %q) = %v, want %v", err, tt.constraint, got, tt.want)
		}
		if err != nil && postgres.Unavailable(err) {
			t.Errorf("Unavailable(%v) = true, want false", err)
		}
		wrapped := fmt.Errorf("wrapped: %w", err)
		if got := postgres.Violates(wrapped, tt.constraint); got != tt.want {
			t.Errorf("Violates(%v, %q) = %v, want %v", wrapped, tt.constraint, got, tt.want)
		}
	}
}

func TestDiskFull(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	for state, want := range map[string]bool{"53100": true, "53200": false, "23505": false} {
		_, err := tx.Exec(t.Context(), "SAVEPOINT s")
		if err != nil {
			t.Fatal(err)
		}
		// As the server says it where a table cannot grow.
		_, err = tx.Exec(t.Context(), fmt.Sprintf("DO $$ BEGIN RAISE EXCEPTION 'said' USING ERRCODE = '%s'; END $$", state))
		if got := postgres.DiskFull(fmt.Errorf("wrapped: %w", err)); err == nil || got != want {
			t.Errorf("DiskFull(%v) = %v, want %v", err, got, want)
		}
		run(t, tx, "ROLLBACK TO s")
	}
	if postgres.DiskFull(nil) {
		t.Error("DiskFull(nil) = true")
	}
}

// Each error is what a real server, or the lack of one, makes of a call.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fail func(*testing.T) error
		want bool
	}{
		"no error":               {func(*testing.T) error { return nil }, false},
		"no server":              {noServer, true},
		"backend ended":          {backendEnded, true},
		"connection closed":      {connectionClosed, true},
		"pool closed":            {poolClosed, true},
		"pool exhausted":         {poolExhausted, true},
		"too many connections":   {tooManyConnections, true},
		"deadline in a query":    {deadlineInQuery, true},
		"canceled":               {canceled, false},
		"canceled while waiting": {canceledWaiting, false},
		"no rows":                {noRows, false},
		"no such table":          {noTable, false},
		"end of a file":          {func(*testing.T) error { return io.EOF }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tt.fail(t)
			if (err == nil) != (name == "no error") {
				t.Fatalf("the call that should fail = %v", err)
			}
			if got := postgres.Unavailable(err); got != tt.want {
				t.Errorf("Unavailable(%v) = %v, want %v", err, got, tt.want)
			}
			if err != nil && postgres.Unavailable(fmt.Errorf("wrapped: %w", err)) != tt.want {
				t.Errorf("Unavailable(wrapped %v) = %v, want %v", err, !tt.want, tt.want)
			}
		})
	}
}

func noServer(t *testing.T) error {
	_, err := pgx.Connect(t.Context(), "postgres://u@/d?host="+url.QueryEscape(t.TempDir()))
	return err
}

// backendEnded is what an administrator, a shutdown or a crash does to a
// query.
func backendEnded(t *testing.T) error {
	pool := pgtest.New(t)
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	run(t, pool, "SELECT pg_terminate_backend($1)", conn.Conn().PgConn().PID())
	_, err = conn.Exec(t.Context(), "SELECT pg_sleep(30)")
	return err
}

func connectionClosed(t *testing.T) error {
	pool := pgtest.New(t)
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if err := conn.Conn().PgConn().Conn().Close(); err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(t.Context(), "SELECT 1")
	return err
}

func poolClosed(t *testing.T) error {
	pool := pgtest.New(t)
	pool.Close()
	return postgres.InTx(t.Context(), pool, func(pgx.Tx) error { return nil })
}

func poolExhausted(t *testing.T) error {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	return waitForConnection(ctx, t)
}

func canceledWaiting(t *testing.T) error {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	return waitForConnection(ctx, t)
}

func waitForConnection(ctx context.Context, t *testing.T) error {
	pool, err := postgres.Open(t.Context(), pgtest.URL(t), postgres.PoolOptions{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	_, err = pool.Begin(ctx)
	return err
}

func tooManyConnections(t *testing.T) error {
	pool := pgtest.New(t)
	var name string
	if err := pool.QueryRow(t.Context(), "SELECT current_database()").Scan(&name); err != nil {
		t.Fatal(err)
	}
	run(t, pool, "ALTER DATABASE "+name+" CONNECTION LIMIT 0")
	_, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
	return err
}

func deadlineInQuery(t *testing.T) error {
	pool := pgtest.New(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := pool.Exec(ctx, "SELECT pg_sleep(30)")
	return err
}

func canceled(t *testing.T) error {
	pool := pgtest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := pool.Exec(ctx, "SELECT pg_sleep(30)")
	return err
}

func noRows(t *testing.T) error {
	var n int
	err := pgtest.Tx(t).QueryRow(t.Context(), "SELECT 1 WHERE false").Scan(&n)
	if !errors.Is(err, pgx.ErrNoRows) {
		t.Errorf("no rows = %v, want pgx.ErrNoRows", err)
	}
	return err
}

func noTable(t *testing.T) error {
	_, err := pgtest.New(t).Exec(t.Context(), "SELECT * FROM no_such_table")
	return err
}
