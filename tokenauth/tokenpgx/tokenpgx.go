// Package tokenpgx is the tokenauth.Source of PostgreSQL, on pgx: what was
// revoked lies in a table, LISTEN and NOTIFY tell the other servers of it.
package tokenpgx

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/romi/plantdb-go/tokenauth"
)

// closeTimeout bounds the goodbye to a server that may be gone.
const closeTimeout = 2 * time.Second

// DB is what a Source asks: a pool of pgx, a connection, a transaction.
type DB interface {
	Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, query string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, query string, args ...any) pgx.Row
}

// Read returns what was revoked after since, as tokenauth.Reader says. It is
// called with the pool or the connection that listens.
type Read func(ctx context.Context, db DB, since string) (revoked []tokenauth.Revocation, next string, err error)

// Source implements tokenauth.Source. Set its fields before the first use.
type Source struct {
	// DB is asked while no connection listens, and notifies.
	DB DB
	// Connect makes the connection that listens, which the Source closes.
	// Take one beside the pool, so that neither waits for the other. If it
	// is nil, revocations are found by asking alone.
	Connect func(context.Context) (*pgx.Conn, error)
	// Channel is the name to LISTEN and NOTIFY under.
	Channel string
	// Read reads the revocations; Table returns one.
	Read Read
}

// Table returns the Read of a table of this form:
//
//	CREATE TABLE revoked (
//	    id         text        PRIMARY KEY, -- jti or sid
//	    until      timestamptz NOT NULL,    -- when nothing of it can be alive; finite
//	    written_by bigint      NOT NULL DEFAULT pg_current_xact_id()::text::bigint
//	);
//	CREATE INDEX ON revoked (written_by);
//
// A reader that remembers the last time or number it saw misses what commits
// after later ones. This one goes on from the oldest transaction that may still
// run, so it misses nothing, however late a transaction commits, and not from
// beyond the last row, since after a crash PostgreSQL gives the numbers of
// transactions that left nothing again. PostgreSQL 13 or newer. Rows that have run out may be deleted at any time.
func Table(name ...string) Read {
	table := pgx.Identifier(name).Sanitize()
	horizon := "SELECT least(pg_snapshot_xmin(pg_current_snapshot())::text::bigint, (SELECT coalesce(max(written_by) + 1, 0) FROM " + table + "))::text"
	query := "SELECT id, until FROM " + table + " WHERE written_by >= $1 AND until > now()"
	return func(ctx context.Context, db DB, since string) ([]tokenauth.Revocation, string, error) {
		var begin int64
		if since != "" {
			var err error
			if begin, err = strconv.ParseInt(since, 10, 64); err != nil {
				return nil, "", fmt.Errorf("read horizon: %w", err)
			}
		}
		// First the horizon, then the rows: what commits between is in both.
		var next string
		if err := db.QueryRow(ctx, horizon).Scan(&next); err != nil {
			return nil, "", fmt.Errorf("query horizon: %w", err)
		}
		rows, err := db.Query(ctx, query, begin)
		if err != nil {
			return nil, "", fmt.Errorf("query revocations: %w", err)
		}
		revoked, err := pgx.CollectRows(rows, pgx.RowToStructByNameLax[tokenauth.Revocation])
		if err != nil {
			return nil, "", fmt.Errorf("query revocations: %w", err)
		}
		return revoked, next, nil
	}
}

// Revoked reads by the DB.
func (s *Source) Revoked(ctx context.Context, since string) ([]tokenauth.Revocation, string, error) {
	return s.Read(ctx, s.DB, since)
}

// Notify sends a notification without content.
func (s *Source) Notify(ctx context.Context) error {
	if _, err := s.DB.Exec(ctx, "SELECT pg_notify($1, '')", s.Channel); err != nil {
		return fmt.Errorf("notify %s: %w", s.Channel, err)
	}
	return nil
}

// Listen returns a connection that listens.
func (s *Source) Listen(ctx context.Context) (tokenauth.Feed, error) {
	if s.Connect == nil {
		return nil, nil
	}
	conn, err := s.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to listen: %w", err)
	}
	f := &feed{conn, s.Read}
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{s.Channel}.Sanitize()); err != nil {
		f.Close()
		return nil, fmt.Errorf("listen on %s: %w", s.Channel, err)
	}
	return f, nil
}

type feed struct {
	conn *pgx.Conn
	read Read
}

func (f *feed) Revoked(ctx context.Context, since string) ([]tokenauth.Revocation, string, error) {
	return f.read(ctx, f.conn, since)
}

func (f *feed) Wait(ctx context.Context) error {
	if _, err := f.conn.WaitForNotification(ctx); err != nil {
		return fmt.Errorf("wait for notification: %w", err)
	}
	return nil
}

func (f *feed) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = f.conn.Close(ctx) // nothing is left to be lost on it
}
