package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/db"
)

// refresh has each client trade on the tokens of its own session.
func refresh(ctx context.Context, b *bench) ([]result, error) {
	s, err := b.sampleSite(ctx)
	if err != nil {
		return nil, err
	}
	names, err := s.accounts(ctx, "refresh", b.clients)
	if err != nil {
		return nil, err
	}
	ours, err := s.refreshes(ctx, names)
	if err != nil {
		return nil, err
	}
	plain, err := rotations(ctx, s.pool, names, (*rotation).turnPlainly)
	if err != nil {
		return nil, err
	}
	single, err := rotations(ctx, s.pool, names, (*rotation).turn)
	if err != nil {
		return nil, err
	}
	rates, err := b.rates(ctx, ours, plain, single)
	if err != nil {
		return nil, err
	}
	return []result{{
		what: fmt.Sprintf("refresh, %d clients, durable", b.clients), unit: perSecond, ours: rates[0], limit: rates[1],
		goals: []goal{share(0.7)}, limitIs: "the same rows by a transaction of prepared statements, as pgbench would, no HTTP",
	}, {
		what: "  the same", unit: perSecond, ours: rates[0], limit: rates[2], limitIs: "the server's own single statement, no HTTP",
	}}, nil
}

func (s *site) refreshes(ctx context.Context, names []string) (*load, error) {
	open := newClient(s.admin.base)
	held := make([]tokens, len(names)) // by client
	for i, name := range names {
		if err := open.postJSON(ctx, api+"/auth/login", credentials{name, name}, &held[i]); err != nil {
			return nil, err
		}
	}
	return &load{clients: len(names), do: func(ctx context.Context, j job) error {
		mine := &held[j.client]
		return open.postJSON(ctx, api+"/auth/token/refresh", map[string]string{"refresh_token": mine.Refresh}, mine)
	}}, nil
}

// rotation is a session of which only the rows exist.
type rotation struct {
	pool *pgxpool.Pool
	q    *db.Queries
	pair db.RefreshToken
}

// rotations does to the database what a refresh does, and nothing besides.
func rotations(ctx context.Context, pool *pgxpool.Pool, names []string, turn func(*rotation, context.Context) error) (*load, error) {
	held := make([]*rotation, len(names)) // by client
	for i, name := range names {
		held[i] = &rotation{pool: pool, q: db.New()}
		if err := held[i].begin(ctx, name); err != nil {
			return nil, err
		}
	}
	return &load{clients: len(names), do: func(ctx context.Context, j job) error { return turn(held[j.client], ctx) }}, nil
}

// begin opens the session.
func (r *rotation) begin(ctx context.Context, username string) error {
	user, err := r.q.GetUser(ctx, r.pool, username)
	if err != nil {
		return fmt.Errorf("read user %s: %w", username, err)
	}
	now := time.Now()
	r.pair = nextPair(newID(), now)
	_, err = r.q.OpenSession(ctx, r.pool, db.OpenSessionParams{
		SessionID: r.pair.SessionID, UserID: user.User.ID, Username: username, Network: netip.MustParsePrefix("127.0.0.0/24"),
		Now: now, ExpiresAt: r.pair.ExpiresAt, AbsoluteExpiresAt: now.Add(24 * time.Hour), RefreshID: r.pair.ID,
		AccessID: r.pair.AccessID, IssuedAt: now, AccessExpiresAt: r.pair.AccessExpiresAt, EventID: newID(), EventKind: "login",
	})
	if err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	return nil
}

// turn puts the next pair in place of the current one, by the server's own
// statement.
func (r *rotation) turn(ctx context.Context) error {
	now := time.Now()
	next := nextPair(r.pair.SessionID, now)
	_, err := r.q.TradePair(ctx, r.pool, db.TradePairParams{
		UsedID: r.pair.ID, SessionID: next.SessionID, Now: now, AliveSince: now, ID: next.ID, NextAccessID: next.AccessID,
		IssuedAt: now, ExpiresAt: next.ExpiresAt, AccessExpiresAt: next.AccessExpiresAt, EventID: newID(), EventKind: "refresh",
	})
	if err != nil {
		return fmt.Errorf("trade pair: %w", err)
	}
	r.pair = next
	return nil
}

// turnPlainly comes to the same rows one statement after the other.
func (r *rotation) turnPlainly(ctx context.Context) error {
	now := time.Now()
	next := nextPair(r.pair.SessionID, now)
	err := pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		var username string
		err := tx.QueryRow(ctx, `SELECT s.generation + 1, u.username FROM sessions s JOIN users u ON u.id = s.user_id
			WHERE s.id = $1 AND s.ended_at IS NULL FOR UPDATE OF s`, next.SessionID).Scan(&next.Generation, &username)
		if err != nil {
			return err
		}
		for _, s := range []struct {
			sql  string
			args []any
		}{
			{"UPDATE sessions SET generation = $2, last_seen_at = $3, expires_at = least($4, absolute_expires_at) WHERE id = $1",
				[]any{next.SessionID, next.Generation, now, next.ExpiresAt}},
			{"UPDATE refresh_tokens SET used_at = $2 WHERE id = $1", []any{r.pair.ID, now}},
			{"INSERT INTO revoked_tokens (id, kind, username, reason, expires_at) VALUES ($1, 'access', $2, 'rotated', $3)",
				[]any{r.pair.AccessID, username, r.pair.AccessExpiresAt}},
			{"INSERT INTO auth_events (id, at, kind, username, session_id) VALUES ($1, $2, 'refresh', $3, $4)",
				[]any{newID(), now, username, next.SessionID}},
			{`INSERT INTO refresh_tokens (id, session_id, generation, access_id, issued_at, expires_at, access_expires_at)
				VALUES ($1, $2, $3, $4, $5, $6, $7)`,
				[]any{next.ID, next.SessionID, next.Generation, next.AccessID, now, next.ExpiresAt, next.AccessExpiresAt}},
		} {
			if _, err := tx.Exec(ctx, s.sql, s.args...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("trade pair plainly: %w", err)
	}
	r.pair = next
	return nil
}

func nextPair(session uuid.UUID, now time.Time) db.RefreshToken {
	return db.RefreshToken{
		ID: newID(), SessionID: session, AccessID: newID(), IssuedAt: now,
		ExpiresAt: now.Add(12 * time.Hour), AccessExpiresAt: now.Add(15 * time.Minute),
	}
}

// newID is one as the server makes them: ordered by time.
func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }
