package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// attempts bounds how often a transaction that lost to another is tried.
	attempts = 5
	// backoff is the mean wait before the second attempt; it doubles.
	backoff = 5 * time.Millisecond
	// rollbackTime bounds a rollback, which goes on when ctx has ended.
	rollbackTime = 5 * time.Second
)

// InTx runs fn in a transaction of db. It commits when fn returns nil, and
// rolls back when fn returns an error, which it returns as it is, or panics.
//
// On a pool or a connection, a transaction that the server gave up for the
// sake of another (serialization failure, deadlock) is run again, up to five
// times in all: fn must do nothing that a rollback does not undo. On a
// transaction it is a savepoint, and not run again: the server gave up the
// whole.
func InTx(ctx context.Context, db DB, fn func(tx pgx.Tx) error) error {
	if _, nested := db.(pgx.Tx); nested {
		return InTxOnce(ctx, db, fn)
	}
	wait := backoff
	for left := attempts - 1; ; left-- {
		err := InTxOnce(ctx, db, fn)
		if left == 0 || !LostToAnother(err) {
			return err
		}
		// Two that met once would meet again if they waited equally long.
		timer := time.NewTimer(wait/2 + rand.N(wait)) //nolint:gosec // Chance, not secrecy.
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
		wait *= 2
	}
}

// LostToAnother says whether err means that the server gave a transaction up
// for the sake of another; nothing of it has changed and it can be run again.
func LostToAnother(err error) bool {
	code := sqlState(err)
	return code == serializationFailure || code == deadlockDetected
}

// InTxOnce is InTx for an fn that does what a rollback does not undo: it is not
// run again.
func InTxOnce(ctx context.Context, db DB, fn func(tx pgx.Tx) error) error {
	tx, err := db.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	done := false
	defer func() {
		if done {
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTime)
		defer cancel()
		// If it fails the connection is broken, which rolls back too.
		_ = tx.Rollback(ctx)
	}()
	if err := fn(tx); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit transaction: %w", err)
	}
	done = true
	return nil
}
