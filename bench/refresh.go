package main

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/postgres"
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
	limit, err := rotations(ctx, s.pool, names)
	if err != nil {
		return nil, err
	}
	rates, err := b.rates(ctx, ours, limit)
	if err != nil {
		return nil, err
	}
	return []result{{
		what: fmt.Sprintf("refresh, %d clients, durable", b.clients), unit: perSecond, ours: rates[0], limit: rates[1],
		goals: []goal{share(0.7)}, limitIs: "the same statements and commit by pgx",
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
	pool     *pgxpool.Pool
	q        *db.Queries
	username string
	pair     db.RefreshToken
}

// rotations does to the database what a refresh does, and nothing besides.
func rotations(ctx context.Context, pool *pgxpool.Pool, names []string) (*load, error) {
	held := make([]*rotation, len(names)) // by client
	for i, name := range names {
		held[i] = &rotation{pool: pool, q: db.New(), username: name}
		if err := held[i].begin(ctx); err != nil {
			return nil, err
		}
	}
	return &load{clients: len(names), do: func(ctx context.Context, j job) error { return held[j.client].turn(ctx) }}, nil
}

// begin opens the session.
func (r *rotation) begin(ctx context.Context) error {
	user, err := r.q.GetUser(ctx, r.pool, r.username)
	if err != nil {
		return fmt.Errorf("read user %s: %w", r.username, err)
	}
	now := time.Now()
	r.pair = nextPair(db.RefreshToken{SessionID: newID(), Generation: -1}, now)
	return postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		err := r.q.InsertSession(ctx, tx, db.InsertSessionParams{
			ID: r.pair.SessionID, UserID: user.User.ID, CreatedAt: now,
			ExpiresAt: r.pair.ExpiresAt, AbsoluteExpiresAt: now.Add(24 * time.Hour),
		})
		if err != nil {
			return fmt.Errorf("insert session: %w", err)
		}
		return r.q.InsertPair(ctx, tx, db.InsertPairParams{
			ID: r.pair.ID, SessionID: r.pair.SessionID, Generation: r.pair.Generation, AccessID: r.pair.AccessID,
			IssuedAt: r.pair.IssuedAt, ExpiresAt: r.pair.ExpiresAt, AccessExpiresAt: r.pair.AccessExpiresAt,
		})
	})
}

// turn puts the next pair in place of the current one.
func (r *rotation) turn(ctx context.Context) error {
	now := time.Now()
	next := nextPair(r.pair, now)
	err := postgres.InTx(ctx, r.pool, func(tx pgx.Tx) error {
		if _, err := r.q.LockSession(ctx, tx, r.pair.SessionID); err != nil {
			return fmt.Errorf("lock session: %w", err)
		}
		if _, err := r.q.GetPair(ctx, tx, r.pair.ID, r.pair.SessionID); err != nil {
			return fmt.Errorf("read pair: %w", err)
		}
		err := r.q.RotatePair(ctx, tx, db.RotatePairParams{
			ID: next.ID, SessionID: next.SessionID, Generation: next.Generation, AccessID: next.AccessID, IssuedAt: next.IssuedAt,
			ExpiresAt: next.ExpiresAt, AccessExpiresAt: next.AccessExpiresAt, Now: now, UsedID: r.pair.ID,
		})
		if err != nil {
			return fmt.Errorf("rotate pair: %w", err)
		}
		err = r.q.RevokeToken(ctx, tx, db.RevokeTokenParams{
			ID: r.pair.AccessID, Kind: "access", Username: r.username, Reason: "rotated", ExpiresAt: r.pair.AccessExpiresAt,
		})
		if err != nil {
			return fmt.Errorf("revoke token: %w", err)
		}
		return r.q.InsertAuthEvent(ctx, tx, db.InsertAuthEventParams{
			ID: newID(), At: now, Kind: "refresh", Username: r.username, SessionID: &r.pair.SessionID,
		})
	})
	if err == nil {
		r.pair = next
	}
	return err
}

func nextPair(p db.RefreshToken, now time.Time) db.RefreshToken {
	return db.RefreshToken{
		ID: newID(), SessionID: p.SessionID, Generation: p.Generation + 1, AccessID: newID(), IssuedAt: now,
		ExpiresAt: now.Add(12 * time.Hour), AccessExpiresAt: now.Add(15 * time.Minute),
	}
}

// newID is one as the server makes them: ordered by time.
func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }
