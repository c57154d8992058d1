package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/singleflight"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/tokenauth"
)

const (
	// actorCacheFor is how long what was read of an actor counts here. What
	// another replica changes in roles and groups is seen within it.
	actorCacheFor = time.Second
	// actorCacheSize bounds the cache; when it is full it is emptied, which
	// costs one query for each session in use.
	actorCacheSize = 16384
	// actorTimeout bounds the query, which several requests may wait for.
	actorTimeout = 5 * time.Second
	// seenEvery is how exact the times of last use are.
	seenEvery = time.Minute
)

// bearer is what decides what the bearer of a token may do.
type bearer struct {
	id     uuid.UUID // of the session or API token
	actor  actor.Actor
	active bool // the user
	ended  bool // the session or API token
	seenAt time.Time
}

// Actor returns who bears a verified access or API token and what they may do:
// roles and groups as they are now (on another replica: as they were up to a
// second ago), narrowed by the scope of an API token. The error is
// tokenauth.ErrAccessUnknown, ErrSessionEnded, ErrRevoked or ErrUserInactive
// when the token counts no more, ErrWrongType for a refresh token.
//
// The use is recorded, later and at most once a minute, by Run.
func (s *Service) Actor(ctx context.Context, claims *tokenauth.Claims) (actor.Actor, error) {
	b, err := s.bearerOf(ctx, claims)
	if err != nil {
		return actor.Actor{}, err
	}
	if s.now().Sub(b.seenAt) >= seenEvery {
		s.uses.add(claims.Type, b.id)
	}
	return b.actor, nil
}

// bearerOf is Actor without a use.
func (s *Service) bearerOf(ctx context.Context, claims *tokenauth.Claims) (bearer, error) {
	read, id, gone := s.sessionBearer, claims.SessionID, tokenauth.ErrSessionEnded
	switch claims.Type {
	case tokenauth.Access:
	case tokenauth.API:
		read, id, gone = s.tokenBearer, claims.ID, tokenauth.ErrRevoked
	default:
		return bearer{}, tokenauth.ErrWrongType
	}
	ids, ok := uuids(id)
	if !ok {
		return bearer{}, tokenauth.ErrAccessUnknown
	}
	b, err := s.actors.get(ctx, id, func(ctx context.Context) (bearer, error) { return read(ctx, ids[0]) })
	switch {
	case errors.Is(err, pgx.ErrNoRows) || err == nil && b.actor.Username != claims.Subject:
		return bearer{}, tokenauth.ErrAccessUnknown
	case err != nil:
		return bearer{}, fmt.Errorf("read bearer: %w", err)
	case b.ended:
		return bearer{}, gone
	case !b.active:
		return bearer{}, tokenauth.ErrUserInactive
	}
	b.id = ids[0]
	return b, nil
}

func (s *Service) sessionBearer(ctx context.Context, id uuid.UUID) (bearer, error) {
	row, err := s.q.GetSessionActor(ctx, s.db, id)
	if err != nil {
		return bearer{}, err
	}
	return bearer{
		actor: actor.Actor{
			UserID: row.UserID, Username: row.Username, Fullname: row.Fullname,
			Roles: rolesOf(row.Roles), Groups: slices.Clip(row.Groups), SessionID: id,
		},
		active: row.IsActive, ended: row.EndedAt != nil, seenAt: row.LastSeenAt,
	}, nil
}

func (s *Service) tokenBearer(ctx context.Context, id uuid.UUID) (bearer, error) {
	row, err := s.q.GetAPITokenActor(ctx, s.db, id)
	if err != nil {
		return bearer{}, err
	}
	scope, err := scopeOf(row.Datasets)
	if err != nil {
		return bearer{}, fmt.Errorf("read scope of API token %s: %w", id, err)
	}
	b := bearer{
		actor: actor.Actor{
			UserID: row.UserID, Username: row.Username, Fullname: row.Fullname,
			Roles: rolesOf(row.Roles), Groups: slices.Clip(row.Groups), TokenID: id, Scope: scope,
		},
		active: row.IsActive, ended: row.RevokedAt != nil,
	}
	if row.LastUsedAt != nil {
		b.seenAt = *row.LastUsedAt
	}
	return b, nil
}

// Guest returns the actor of a request without a token, or ErrNoUser when the
// guest is switched off or inactive.
func (s *Service) Guest(ctx context.Context) (actor.Actor, error) {
	if !s.c.Guest {
		return actor.Actor{}, ErrNoUser
	}
	b, err := s.actors.get(ctx, GuestName, func(ctx context.Context) (bearer, error) {
		row, err := s.q.GetUser(ctx, s.db, GuestName)
		return bearer{
			actor: actor.Actor{
				UserID: row.User.ID, Username: row.User.Username, Fullname: row.User.Fullname,
				Roles: []actor.Role{actor.Reader}, Guest: true,
			},
			active: row.User.IsActive,
		}, err
	})
	if errors.Is(err, pgx.ErrNoRows) || err == nil && !b.active {
		return actor.Actor{}, ErrNoUser
	}
	if err != nil {
		return actor.Actor{}, fmt.Errorf("read guest: %w", err)
	}
	return b.actor, nil
}

// actorCache remembers bearers for a short while. forget makes all that was
// read before it useless, also what is being read.
type actorCache struct {
	keep   time.Duration
	flight singleflight.Group

	mu      sync.Mutex
	epoch   uint64
	entries map[string]cached
}

type cached struct {
	bearer bearer
	asked  time.Time
}

func newActorCache(keep time.Duration) *actorCache {
	return &actorCache{keep: keep, entries: map[string]cached{}}
}

func (c *actorCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	clear(c.entries)
}

// get returns what is remembered of id, else what read returns. Requests for
// the same id share one read, which goes on when one of them has gone.
func (c *actorCache) get(ctx context.Context, id string, read func(context.Context) (bearer, error)) (bearer, error) {
	c.mu.Lock()
	hit, ok := c.entries[id]
	epoch := c.epoch
	c.mu.Unlock()
	asked := time.Now()
	if ok && asked.Sub(hit.asked) < c.keep {
		return hit.bearer, nil
	}
	// With the epoch in the key nobody joins a read that began before a forget.
	done := c.flight.DoChan(id+" "+strconv.FormatUint(epoch, 10), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), actorTimeout)
		defer cancel()
		b, err := read(ctx)
		if err == nil {
			c.put(id, epoch, cached{b, asked})
		}
		return b, err
	})
	select {
	case r := <-done:
		return r.Val.(bearer), r.Err
	case <-ctx.Done():
		return bearer{}, ctx.Err()
	}
}

func (c *actorCache) put(id string, epoch uint64, e cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch {
		return
	}
	if len(c.entries) >= actorCacheSize {
		clear(c.entries)
	}
	c.entries[id] = e
}

// uses collects what was used until somebody writes it down.
type uses struct {
	mu               sync.Mutex
	sessions, tokens map[uuid.UUID]struct{}
}

func newUses() *uses {
	return &uses{sessions: map[uuid.UUID]struct{}{}, tokens: map[uuid.UUID]struct{}{}}
}

func (u *uses) add(t tokenauth.Type, id uuid.UUID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	set := u.sessions
	if t == tokenauth.API {
		set = u.tokens
	}
	if len(set) < actorCacheSize {
		set[id] = struct{}{}
	}
}

// take empties the sets and returns what was in them.
func (u *uses) take() (sessions, tokens []uuid.UUID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id := range u.sessions {
		sessions = append(sessions, id)
	}
	for id := range u.tokens {
		tokens = append(tokens, id)
	}
	clear(u.sessions)
	clear(u.tokens)
	return sessions, tokens
}

// recordUses writes down what was used since the last time, in two statements
// however much it was.
func (s *Service) recordUses(ctx context.Context) error {
	sessions, tokens := s.uses.take()
	now := s.clock()
	if len(sessions) > 0 {
		if _, err := s.q.TouchSessions(ctx, s.db, now, sessions, now.Add(-seenEvery)); err != nil {
			return fmt.Errorf("record use of sessions: %w", err)
		}
	}
	if len(tokens) > 0 {
		if _, err := s.q.TouchAPITokens(ctx, s.db, now, tokens, now.Add(-seenEvery)); err != nil {
			return fmt.Errorf("record use of API tokens: %w", err)
		}
	}
	return nil
}
