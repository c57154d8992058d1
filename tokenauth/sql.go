package tokenauth

import (
	"context"
	"fmt"
)

// Row is one row of an answer: *sql.Row of database/sql, pgx.Row, and others.
type Row interface{ Scan(dest ...any) error }

// SQL returns a Checker that asks a database. queryRow is QueryRow of a pgx
// pool, connection or transaction, or QueryRowContext of a database/sql one. The
// query gets jti and sid as its two arguments and must return one row with one
// boolean, true for a revoked token:
//
//	tokenauth.SQL(pool.QueryRow, `SELECT EXISTS (SELECT FROM revoked WHERE id IN ($1, $2))`)
//
// No row, NULL, and a database out of reach are errors, so 503.
func SQL[R Row](queryRow func(ctx context.Context, query string, args ...any) R, query string) Checker {
	return CheckerFunc(func(ctx context.Context, c *Claims) (bool, string, error) {
		var revoked bool
		if err := queryRow(ctx, query, c.ID, c.SessionID).Scan(&revoked); err != nil {
			return false, "", fmt.Errorf("query revocation of %s: %w", c.ID, err)
		}
		return revoked, "", nil
	})
}
