package postgres_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/postgres"
)

// tally makes a table of two counters.
func tally(t *testing.T, db postgres.DB) {
	t.Helper()
	run(t, db, "CREATE TABLE tally (id int CONSTRAINT tally_pkey PRIMARY KEY, n int NOT NULL)")
	run(t, db, "INSERT INTO tally VALUES (1, 0), (2, 0)")
}

func run(t *testing.T, db postgres.DB, sql string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func counted(t *testing.T, db postgres.DB) (n int) {
	t.Helper()
	if err := db.QueryRow(t.Context(), "SELECT sum(n) FROM tally").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func count(ctx context.Context, tx pgx.Tx, id int) error {
	_, err := tx.Exec(ctx, "UPDATE tally SET n = n + 1 WHERE id = $1", id)
	return err
}

// The same holds on a pool, on a connection of it and inside a transaction.
func TestInTx(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	tally(t, pool)
	inner := pgtest.Tx(t)
	tally(t, inner)
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for name, db := range map[string]postgres.DB{"pool": pool, "connection": conn, "transaction": inner} {
		t.Run(name, func(t *testing.T) { testInTx(t, db) })
	}
}

func testInTx(t *testing.T, db postgres.DB) {
	before := counted(t, db)
	if err := postgres.InTx(t.Context(), db, func(tx pgx.Tx) error { return count(t.Context(), tx, 1) }); err != nil {
		t.Errorf("InTx = %v, want nil", err)
	}
	if got := counted(t, db) - before; got != 1 {
		t.Errorf("after a commit counted %d, want 1", got)
	}

	mine := errors.New("mine")
	err := postgres.InTx(t.Context(), db, func(tx pgx.Tx) error {
		return errors.Join(count(t.Context(), tx, 1), mine)
	})
	if !errors.Is(err, mine) {
		t.Errorf("InTx = %v, want the error of its function", err)
	}
	if err := postgres.InTx(t.Context(), db, func(pgx.Tx) error { return mine }); err != mine { //nolint:errorlint // The very error, not one that wraps it.
		t.Errorf("InTx = %v, want the very error of its function", err)
	}
	if got := counted(t, db) - before; got != 1 {
		t.Errorf("after an error counted %d, want 1", got)
	}

	func() {
		defer func() {
			if got := recover(); got != "oh" {
				t.Errorf("InTx panicked with %v, want what its function did", got)
			}
		}()
		_ = postgres.InTx(t.Context(), db, func(tx pgx.Tx) error {
			if err := count(t.Context(), tx, 1); err != nil {
				t.Error(err)
			}
			panic("oh")
		})
	}()
	if got := counted(t, db) - before; got != 1 {
		t.Errorf("after a panic counted %d, want 1", got)
	}

	err = postgres.InTx(t.Context(), db, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), "INSERT INTO tally VALUES (1, 0)")
		return err
	})
	if !postgres.Violates(err, "tally_pkey") {
		t.Errorf("InTx(duplicate) = %v, want a breach of tally_pkey", err)
	}
	if got := counted(t, db) - before; got != 1 { // a spoilt transaction would not answer
		t.Errorf("after a breach counted %d, want 1", got)
	}
}

func TestInTxAfterEndOfContext(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	tally(t, pool)
	ctx, cancel := context.WithCancel(t.Context())
	err := postgres.InTx(ctx, pool, func(tx pgx.Tx) error {
		err := count(ctx, tx, 1)
		cancel()
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("InTx(canceled before the commit) = %v, want context.Canceled", err)
	}
	if got := counted(t, pool); got != 0 {
		t.Errorf("counted %d, want 0", got)
	}
}

// Two transactions lock two rows in opposite order; PostgreSQL ends one of
// them for the sake of the other.
func TestInTxTriesAgainAfterDeadlock(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	tally(t, pool)
	var met sync.WaitGroup
	met.Add(2)
	both := func(first, second int) error {
		attempt := 0
		return postgres.InTx(t.Context(), pool, func(tx pgx.Tx) error {
			if err := count(t.Context(), tx, first); err != nil {
				return err
			}
			if attempt++; attempt == 1 {
				met.Done()
				met.Wait()
			}
			return count(t.Context(), tx, second)
		})
	}
	errs := make(chan error, 2)
	go func() { errs <- both(1, 2) }()
	go func() { errs <- both(2, 1) }()
	if err := errors.Join(<-errs, <-errs); err != nil {
		t.Errorf("InTx = %v, want nil for both", err)
	}
	if got := counted(t, pool); got != 4 {
		t.Errorf("counted %d, want 4", got)
	}
}

// What is detected at the commit is tried again as well.
func TestInTxTriesAgainAfterSerializationFailure(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	tally(t, pool)
	attempts := 0
	err := postgres.InTx(t.Context(), pool, func(tx pgx.Tx) error {
		attempts++
		if _, err := tx.Exec(t.Context(), "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"); err != nil {
			return err
		}
		var n int
		if err := tx.QueryRow(t.Context(), "SELECT n FROM tally WHERE id = 2").Scan(&n); err != nil {
			return err
		}
		if attempts == 1 {
			if err := writeSkew(t.Context(), pool); err != nil {
				return err
			}
		}
		_, err := tx.Exec(t.Context(), "UPDATE tally SET n = $1 WHERE id = 1", n+1)
		return err
	})
	if err != nil || attempts != 2 {
		t.Errorf("InTx = %v after %d attempts, want nil after 2", err, attempts)
	}
}

// writeSkew commits a transaction that read what the other writes and writes
// what it read.
func writeSkew(ctx context.Context, pool *pgxpool.Pool) error {
	tx, err := pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.Serializable})
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "UPDATE tally SET n = (SELECT n FROM tally WHERE id = 1) + 10 WHERE id = 2")
	return errors.Join(err, tx.Commit(ctx))
}

func TestInTxGivesUp(t *testing.T) {
	t.Parallel()
	pool, tx := pgtest.New(t), pgtest.Tx(t)
	for _, tt := range []struct {
		name string
		db   postgres.DB
		code string
		want int
	}{
		{"pool", pool, "40001", 5},
		{"pool", pool, "40P01", 5},
		{"pool, another error", pool, "23505", 1},
		{"transaction", tx, "40001", 1},
	} {
		attempts := 0
		err := postgres.InTx(t.Context(), tt.db, func(tx pgx.Tx) error {
			attempts++
			_, err := tx.Exec(t.Context(), "DO $$ BEGIN RAISE SQLSTATE '"+tt.code+"'; END $$")
			return err
		})
		if err == nil || attempts != tt.want {
			t.Errorf("%s: InTx(always %s) = %v after %d attempts, want an error after %d", tt.name, tt.code, err, attempts, tt.want)
		}
	}
}
