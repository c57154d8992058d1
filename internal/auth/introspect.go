package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/tokenauth"
)

// Introspection is what there is to tell of a token that counts (RFC 7662).
type Introspection struct {
	Claims tokenauth.Claims
	// Permissions are the most that its bearer has now on anything they do not
	// own and nobody shares with them, in the order of the roles' table; none
	// for a refresh token.
	Permissions []actor.Permission
	// Datasets narrow an API token: glob to permissions.
	Datasets map[string][]actor.Permission
}

// Introspect tells of a token of any type: of one's own, or of anybody's for
// who manages users. It returns nil for a token that does not count now, for
// whatever reason, and for one the caller may not know of, without a
// difference. ErrNoUser when nobody asks; tokenauth.ErrCheckerFailed when it
// cannot be told.
func (s *Service) Introspect(ctx context.Context, raw string) (*Introspection, error) {
	asks, ok := actor.FromContext(ctx)
	if !ok || asks.Guest {
		return nil, ErrNoUser
	}
	claims, err := s.Verifier().Verify(ctx, raw)
	if err != nil {
		return nil, unlessRefused(err)
	}
	if claims.Subject != asks.Username && !asks.May(actor.ManageUsers) {
		return nil, nil
	}
	out := &Introspection{Claims: *claims}
	if claims.Type == tokenauth.Refresh {
		live, err := s.refreshable(ctx, claims)
		if err != nil || !live {
			return nil, err
		}
		return out, nil
	}
	bears, err := s.bearerOf(ctx, claims)
	if err != nil {
		return nil, unlessRefused(err)
	}
	out.describe(bears.actor)
	return out, nil
}

// unlessRefused returns nil where err says that the token does not count, and
// err where it says that nobody knows.
func unlessRefused(err error) error {
	if _, ok := errors.AsType[*tokenauth.Error](err); ok && !errors.Is(err, tokenauth.ErrCheckerFailed) {
		return nil
	}
	return err
}

func (i *Introspection) describe(a actor.Actor) {
	if a.Scope != nil {
		i.Datasets = map[string][]actor.Permission{}
		for _, g := range a.Scope.Grants {
			i.Datasets[g.Glob] = g.Permissions
		}
	}
	for _, p := range []actor.Permission{actor.Read, actor.Write, actor.Create, actor.Delete, actor.ManageUsers, actor.ManageGroups} {
		granted := a.Scope == nil || slices.ContainsFunc(a.Scope.Grants, func(g actor.Grant) bool { return slices.Contains(g.Permissions, p) })
		if granted && a.May(p) {
			i.Permissions = append(i.Permissions, p)
		}
	}
}

// refreshable says whether a refresh token that was verified could be traded
// in now as the current one.
func (s *Service) refreshable(ctx context.Context, claims *tokenauth.Claims) (bool, error) {
	ids, ok := uuids(claims.ID, claims.SessionID)
	if !ok {
		return false, nil
	}
	row, err := s.q.GetRefreshState(ctx, s.db, ids[0], ids[1])
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read refresh token: %w", err)
	}
	return row.Generation == row.CurrentGeneration && row.EndedAt == nil && row.IsActive &&
		s.now().Before(row.AbsoluteExpiresAt) && row.Username == claims.Subject, nil
}

// Revoke takes back a token that its holder shows (RFC 7009): the session of an
// access or refresh token ends, and with it both tokens of its pair; an API
// token is revoked. They are dead here when it returns, elsewhere within a
// second. To hold a token is all it takes; one that does not count, or never
// did, is nothing to take back and no error.
func (s *Service) Revoke(ctx context.Context, raw string) error {
	claims, err := s.verifier.Verify(ctx, raw)
	if err != nil {
		return unlessRefused(err)
	}
	id := claims.SessionID
	if claims.Type == tokenauth.API {
		id = claims.ID
	}
	ids, ok := uuids(id)
	if !ok {
		return nil
	}
	if claims.Type == tokenauth.API {
		return s.revokeShown(ctx, ids[0], claims.Subject)
	}
	_, err = s.endOne(ctx, ids[0], claims.Subject, endRevoked, eventRevoke)
	return err
}

func (s *Service) revokeShown(ctx context.Context, token uuid.UUID, username string) error {
	row, err := s.q.GetAPIToken(ctx, s.db, token, s.clock())
	if errors.Is(err, pgx.ErrNoRows) || err == nil && row.Username != username {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read API token: %w", err)
	}
	var taken []tokenauth.Revocation
	err = postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		taken, err = s.revokeTokens(ctx, tx, row.UserID, []uuid.UUID{token}, endRevoked)
		return err
	})
	if err != nil {
		return err
	}
	s.takeBack(taken)
	return nil
}
