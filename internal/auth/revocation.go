package auth

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/romi/plantdb-go/tokenauth"
	"github.com/romi/plantdb-go/tokenauth/tokenpgx"
)

const (
	// revokedMargin is how long an entry outlives the token by its row; see also
	// Service.revokedFor.
	revokedMargin = time.Minute

	revokedChannel = "plantdb_revoked"
	listenerName   = "plantdb revocations"
)

// Checker returns the set of what was revoked, on this replica or another. It
// knows a local revocation when the call that made it returns, and one from
// elsewhere within a second. When it cannot be sure (before the first Load,
// or while the database cannot be asked) it returns an error, never "good".
func (s *Service) Checker() tokenauth.Checker { return s.revoked }

// replicated returns the set that follows the source.
func (s *Service) replicated() *tokenauth.Replicated {
	return &tokenauth.Replicated{Source: s.source, Now: s.now, Changed: s.actors.forget, Log: s.log}
}

// revokedFor is how long a revocation is kept and heeded beyond the end that its
// row has. A token is taken until the leeway after its end by the clock of the
// server that judges it, which may be behind by the leeway again, and the clock of
// the one that cleans up, or gave the end, may be right or ahead.
func (s *Service) revokedFor() time.Duration { return 2 * s.c.Leeway }

// takeBack makes committed revocations, with the ends that their rows have, count
// here, and has the other replicas told.
func (s *Service) takeBack(rs []tokenauth.Revocation) {
	for i := range rs {
		rs[i].Until = rs[i].Until.Add(s.revokedFor())
	}
	s.revoked.Revoke(rs...)
}

// Load reads all that was revoked, and the keys. Call it once before serving.
func (s *Service) Load(ctx context.Context) error { return s.revoked.Load(ctx) }

// readRevoked follows the keys and reads what was revoked since the horizon
// that the last call returned.
func (s *Service) readRevoked(ctx context.Context, from tokenpgx.DB, since string) ([]tokenauth.Revocation, string, error) {
	if s.rotation != nil {
		if err := s.rotation.follow(ctx, from); err != nil {
			return nil, "", err
		}
	}
	var begin int64
	if since != "" {
		var err error
		if begin, err = strconv.ParseInt(since, 10, 64); err != nil {
			return nil, "", fmt.Errorf("read revocation horizon: %w", err)
		}
	}
	// First the horizon, then the rows: what commits between is in both.
	next, err := s.q.RevocationHorizon(ctx, from)
	if err != nil {
		return nil, "", fmt.Errorf("ask for revocation horizon: %w", err)
	}
	rows, err := s.q.ListRevoked(ctx, from, begin, s.clock().Add(-s.revokedFor()))
	if err != nil {
		return nil, "", fmt.Errorf("list revocations: %w", err)
	}
	revoked := make([]tokenauth.Revocation, 0, len(rows))
	for _, row := range rows {
		revoked = append(revoked, tokenauth.Revocation{ID: row.ID.String(), From: orZero(row.CountsFrom), Until: row.ExpiresAt.Add(s.revokedFor())})
	}
	return revoked, strconv.FormatInt(next, 10), nil
}

// orZero returns the zero time where there is none.
func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// sleep returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
