package tokenauth_test

import (
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/tokenauth"
)

// What SQL is made for fits it.
var (
	_ = func(p *pgxpool.Pool) tokenauth.Checker { return tokenauth.SQL(p.QueryRow, "") }
	_ = func(db *sql.DB) tokenauth.Checker { return tokenauth.SQL(db.QueryRowContext, "") }
)

func TestSQL(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	if _, err := tx.Exec(t.Context(), `CREATE TEMPORARY TABLE revoked ON COMMIT DROP AS SELECT unnest(ARRAY['token-1', 'session-2']) AS id`); err != nil {
		t.Fatalf("create table: %v", err)
	}
	tests := []struct {
		query, id, session string
		want, fails        bool
	}{
		{`SELECT EXISTS (SELECT FROM revoked WHERE id IN ($1, $2))`, "token-1", "session-1", true, false},
		{`SELECT EXISTS (SELECT FROM revoked WHERE id IN ($1, $2))`, "token-2", "session-2", true, false},
		{`SELECT EXISTS (SELECT FROM revoked WHERE id IN ($1, $2))`, "token-2", "session-1", false, false},
		{`SELECT true FROM revoked WHERE id IN ($1, $2)`, "token-2", "session-1", false, true}, // no row
		{`SELECT NULL::boolean WHERE $1 <> $2`, "token-1", "session-1", false, true},
		{`SELECT 1 / (length($1) - length($2))`, "a", "b", false, true}, // last: it spoils the transaction
	}
	for _, tt := range tests {
		c := &tokenauth.Claims{ID: tt.id, SessionID: tt.session}
		got, _, err := tokenauth.SQL(tx.QueryRow, tt.query).IsRevoked(t.Context(), c)
		if got != tt.want || (err != nil) != tt.fails {
			t.Errorf("SQL(%q) of %s, %s = %v, %v, want %v, fails %v", tt.query, tt.id, tt.session, got, err, tt.want, tt.fails)
		}
	}
}
