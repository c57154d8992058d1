package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/tokenauth"
)

// Bounds of what may be asked for. The claim must leave room in a token, which
// is refused over 8 KiB.
const (
	maxAPITokens     = 200 // live ones of a user
	maxGlob          = 255
	maxDatasetsClaim = 4096
	maxTokenName     = 100
)

// APIToken is what is known of an API token afterwards; the token itself is
// shown once and not kept.
type APIToken struct {
	ID                   uuid.UUID
	Name                 string
	Datasets             map[string][]string // glob to permissions
	CreatedAt, ExpiresAt time.Time
	LastUsedAt           *time.Time // to the minute
}

// Prefix is how a person tells tokens apart: the beginning of the token's jti.
func (t APIToken) Prefix() string { return t.ID.String()[:13] }

// CreateAPIToken returns a token for programs that lets its bearer do, on the
// scans whose names match a glob, what the permissions allow and the user may
// do themselves at the time. The name is for the list and may be empty. Life
// is cut to whole seconds.
//
// ErrAPIToken if the life is not between a second and Config.APITokenMaxLife,
// or datasets are empty, unknown or too long; ErrNoUser for a guest;
// ErrForbidden for who acts by an API token.
func (s *Service) CreateAPIToken(ctx context.Context, name string, life time.Duration, datasets map[string][]string) (raw string, expires time.Time, err error) {
	a, err := person(ctx, "create_api_token")
	if err != nil {
		return "", time.Time{}, err
	}
	grants, claim, err := s.checkAPIToken(name, life, datasets)
	if err != nil {
		return "", time.Time{}, err
	}
	now := s.clock()
	claims := tokenauth.Claims{
		ID: newID().String(), Subject: a.Username, Issuer: s.c.Issuer, Audience: s.c.Audience, Type: tokenauth.API,
		IssuedAt: now.Truncate(time.Second), Datasets: claim,
	}
	claims.ExpiresAt = claims.IssuedAt.Add(life.Truncate(time.Second))
	if raw, err = s.keys.Sign(claims); err != nil {
		return "", time.Time{}, err
	}
	id := uuid.MustParse(claims.ID)
	err = postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		u, err := s.lockUser(ctx, tx, a.Username)
		if err != nil {
			return err
		}
		if !u.IsActive {
			return tokenauth.ErrUserInactive
		}
		n, err := s.q.CountAPITokens(ctx, tx, u.ID, now)
		if err != nil {
			return fmt.Errorf("count API tokens: %w", err)
		}
		if n >= maxAPITokens {
			return ErrAPIToken.With("There are %d live API tokens already; revoke some first", n)
		}
		err = s.q.InsertAPIToken(ctx, tx, db.InsertAPITokenParams{
			ID: id, UserID: u.ID, Name: name, Datasets: grants, CreatedAt: now, ExpiresAt: claims.ExpiresAt,
		})
		if err != nil {
			return fmt.Errorf("insert API token: %w", err)
		}
		return s.record(ctx, tx, event{kind: eventTokenCreate, username: u.Username, token: &id, detail: claim})
	})
	if err != nil {
		return "", time.Time{}, err
	}
	return raw, claims.ExpiresAt, nil
}

// checkAPIToken returns the datasets as they are stored and as the claim has
// them, glob/PERM,PERM;glob2/PERM.
func (s *Service) checkAPIToken(name string, life time.Duration, datasets map[string][]string) (json.RawMessage, string, error) {
	switch {
	case name != "" && !plain(name, maxTokenName):
		return nil, "", ErrAPIToken.With("A token name has at most %d bytes and no control characters", maxTokenName)
	case life < time.Second:
		return nil, "", ErrAPIToken.With("token_exp must be a positive number of seconds")
	case life > s.c.APITokenMaxLife:
		return nil, "", ErrAPIToken.With("token_exp must be at most %d seconds", int64(s.c.APITokenMaxLife/time.Second))
	case len(datasets) == 0:
		return nil, "", ErrAPIToken.With("datasets must name at least one dataset")
	}
	clean := make(map[string][]string, len(datasets))
	var claim []string
	for _, glob := range slices.Sorted(maps.Keys(datasets)) {
		// A decoder of JSON puts U+FFFD in place of what is no text: that would
		// be another pattern than the one that was asked for.
		if !plain(glob, maxGlob) || strings.ContainsAny(glob, ";\uFFFD") {
			return nil, "", ErrAPIToken.With("A dataset pattern has 1 to %d bytes of UTF-8, no semicolon and no control characters", maxGlob)
		}
		perms, err := parsePermissions(datasets[glob])
		if err != nil {
			return nil, "", err
		}
		clean[glob] = perms
		claim = append(claim, glob+"/"+strings.ToUpper(strings.Join(perms, ",")))
	}
	joined := strings.Join(claim, ";")
	if len(joined) > maxDatasetsClaim {
		return nil, "", ErrAPIToken.With("datasets are too long for a token")
	}
	stored, err := json.Marshal(clean)
	if err != nil {
		return nil, "", fmt.Errorf("encode datasets: %w", err)
	}
	return stored, joined, nil
}

func parsePermissions(names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, ErrAPIToken.With("Each dataset needs at least one permission")
	}
	var perms []string
	for _, n := range names {
		p, ok := actor.ParsePermission(n)
		if !ok {
			return nil, ErrAPIToken.With("Unknown permission; known are read, write, create, delete, manage_users, manage_groups")
		}
		perms = append(perms, string(p))
	}
	slices.Sort(perms)
	return slices.Compact(perms), nil
}

// scopeOf reads stored datasets.
func scopeOf(datasets json.RawMessage) (*actor.Scope, error) {
	var stored map[string][]actor.Permission
	if err := json.Unmarshal(datasets, &stored); err != nil {
		return nil, fmt.Errorf("decode datasets: %w", err)
	}
	scope := &actor.Scope{}
	for _, glob := range slices.Sorted(maps.Keys(stored)) {
		scope.Grants = append(scope.Grants, actor.Grant{Glob: glob, Permissions: stored[glob]})
	}
	return scope, nil
}

// APITokens lists the live API tokens of a user, the newest first: one's own,
// or anybody's for who manages users. ErrUserUnknown for nobody's.
func (s *Service) APITokens(ctx context.Context, username string) ([]APIToken, error) {
	name := actor.FoldUsername(username)
	if _, err := self(ctx, name, "list_api_tokens"); err != nil {
		return nil, err
	}
	if !plain(name, usernameLimit) {
		return nil, unknownUser(name)
	}
	rows, err := s.q.ListAPITokens(ctx, s.db, name, s.clock(), listLimit)
	if err != nil {
		return nil, fmt.Errorf("list API tokens: %w", err)
	}
	if len(rows) == 0 {
		return []APIToken{}, s.mustExist(ctx, name)
	}
	tokens := make([]APIToken, 0, len(rows))
	for _, r := range rows {
		t := APIToken{ID: r.ID, Name: r.Name, CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, LastUsedAt: r.LastUsedAt}
		if err := json.Unmarshal(r.Datasets, &t.Datasets); err != nil {
			return nil, fmt.Errorf("decode datasets of API token %s: %w", r.ID, err)
		}
		tokens = append(tokens, t)
	}
	return tokens, nil
}

// RevokeAPIToken takes an API token back: one's own, or anybody's for who
// manages users; ErrAPITokenUnknown for all others.
func (s *Service) RevokeAPIToken(ctx context.Context, id uuid.UUID) error {
	a, err := person(ctx, "revoke_api_token")
	if err != nil {
		return err
	}
	row, err := s.q.GetAPIToken(ctx, s.db, id, s.clock())
	if errors.Is(err, pgx.ErrNoRows) || err == nil && row.UserID != a.UserID && !a.May(actor.ManageUsers) {
		return ErrAPITokenUnknown
	}
	if err != nil {
		return fmt.Errorf("read API token: %w", err)
	}
	var taken []tokenauth.Revocation
	err = postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		taken, err = s.revokeTokens(ctx, tx, row.UserID, []uuid.UUID{id}, endRevoked)
		return err
	})
	if err != nil {
		return err
	}
	s.takeBack(taken)
	if len(taken) == 0 {
		return ErrAPITokenUnknown
	}
	return nil
}

// RevokeAPITokens takes back the live API tokens of a user, one's own or anybody's
// for who manages users, and returns how many that were. ErrUserUnknown for
// nobody's.
func (s *Service) RevokeAPITokens(ctx context.Context, username string) (int, error) {
	name := actor.FoldUsername(username)
	if _, err := self(ctx, name, "revoke_api_tokens"); err != nil {
		return 0, err
	}
	var taken []tokenauth.Revocation
	err := postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		// Who holds the user makes no token meanwhile.
		u, err := s.lockUser(ctx, tx, name)
		if err != nil {
			return err
		}
		rows, err := s.q.ListAPITokens(ctx, tx, u.Username, s.clock(), listLimit)
		if err != nil {
			return fmt.Errorf("list API tokens: %w", err)
		}
		ids := make([]uuid.UUID, 0, len(rows))
		for _, r := range rows {
			ids = append(ids, r.ID)
		}
		taken = nil
		if len(ids) > 0 { // none would be all that ever were
			taken, err = s.revokeTokens(ctx, tx, u.ID, ids, endRevoked)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	s.takeBack(taken)
	return len(taken), nil
}

// revokeTokens takes back tokens of a user, all of them without ids.
func (s *Service) revokeTokens(ctx context.Context, tx db.DBTX, user uuid.UUID, ids []uuid.UUID, reason string) ([]tokenauth.Revocation, error) {
	if ids == nil {
		ids = []uuid.UUID{} // a null array has no cardinality
	}
	rows, err := s.q.RevokeAPITokens(ctx, tx, db.RevokeAPITokensParams{UserID: user, Ids: ids, Reason: reason, Now: s.clock()})
	if err != nil {
		return nil, fmt.Errorf("revoke API tokens: %w", err)
	}
	taken := make([]tokenauth.Revocation, 0, len(rows))
	for _, r := range rows {
		taken = append(taken, tokenauth.Revocation{ID: r.ID.String(), Until: r.ExpiresAt})
		if err := s.record(ctx, tx, event{kind: eventTokenRevoke, username: r.Username, token: &r.ID, detail: reason}); err != nil {
			return nil, err
		}
	}
	return taken, nil
}
