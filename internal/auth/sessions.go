package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/tokenauth"
)

// Why sessions end, as the column end_reason has it.
const (
	endLogout      = "logout"
	endReuse       = "reuse"
	endEvicted     = "evicted"
	endRevoked     = "revoked"
	endPassword    = "password"
	endDeactivated = "deactivated"
)

// listLimit bounds the lists of one user's sessions and tokens.
const listLimit = 1000

// Session is a login that is alive.
type Session struct {
	ID                   uuid.UUID
	CreatedAt, ExpiresAt time.Time
	LastSeenAt           time.Time   // to the minute
	Address              *netip.Addr // where it was opened, nil when unknown
	UserAgent            string
	Current              bool // the caller's own
}

// Scope says which of a user's sessions are meant.
type Scope string

// The scopes.
const (
	Others Scope = "others" // all but the caller's own
	All    Scope = "all"
)

// endSessions ends sessions that the transaction holds, with an event for each.
// The caller passes the result to takeBack once it is committed.
func (s *Service) endSessions(ctx context.Context, tx db.DBTX, ids []uuid.UUID, reason, kind string) ([]tokenauth.Revocation, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := s.q.EndSessions(ctx, tx, reason, s.clock(), ids)
	if err != nil {
		return nil, fmt.Errorf("end sessions: %w", err)
	}
	ended := make([]tokenauth.Revocation, 0, len(rows))
	for _, r := range rows {
		ended = append(ended, tokenauth.Revocation{ID: r.ID.String(), Until: r.ExpiresAt})
		if err := s.record(ctx, tx, event{kind: kind, username: r.Username, session: &r.ID, detail: reason}); err != nil {
			return nil, err
		}
	}
	return ended, nil
}

// aliveSince is the idle end of a session that can be refreshed until now.
func (s *Service) aliveSince(now time.Time) time.Time { return now.Add(-s.c.Leeway) }

// endAll ends the sessions of a user whom the transaction holds, but keep.
func (s *Service) endAll(ctx context.Context, tx db.DBTX, user, keep uuid.UUID, reason string) ([]tokenauth.Revocation, error) {
	now := s.clock()
	ids, err := s.q.LockLiveSessions(ctx, tx, user, s.aliveSince(now), now)
	if err != nil {
		return nil, fmt.Errorf("lock sessions: %w", err)
	}
	ids = slices.DeleteFunc(ids, func(id uuid.UUID) bool { return id == keep })
	return s.endSessions(ctx, tx, ids, reason, eventRevoke)
}

// endOne holds and ends one session of the named user, or whosever it is for
// no name; ok is false if it was over already.
func (s *Service) endOne(ctx context.Context, id uuid.UUID, username, reason, kind string) (ok bool, err error) {
	var ended []tokenauth.Revocation
	err = postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		session, err := s.q.LockSession(ctx, tx, id)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && username != "" && session.Username != username {
			return nil
		}
		if err != nil {
			return fmt.Errorf("lock session: %w", err)
		}
		ended, err = s.endSessions(ctx, tx, []uuid.UUID{id}, reason, kind)
		return err
	})
	if err != nil {
		return false, err
	}
	s.takeBack(ended)
	return len(ended) > 0, nil
}

// Logout ends the session of an access or refresh token that was verified:
// both tokens of its pair are dead when it returns, here at once and on other
// replicas within a second. ErrLogout for an API token, which has no session;
// ErrNotLoggedIn when the session is over already.
func (s *Service) Logout(ctx context.Context, claims *tokenauth.Claims) (User, error) {
	if claims.Type == tokenauth.API {
		return User{}, ErrLogout
	}
	ids, ok := uuids(claims.SessionID)
	if !ok {
		return User{}, ErrNotLoggedIn
	}
	row, err := s.q.GetUser(ctx, s.db, claims.Subject)
	if errors.Is(err, pgx.ErrNoRows) {
		return User{}, ErrNotLoggedIn
	}
	if err != nil {
		return User{}, fmt.Errorf("read user: %w", err)
	}
	ended, err := s.endOne(ctx, ids[0], claims.Subject, endLogout, eventLogout)
	if err != nil {
		return User{}, err
	}
	if !ended {
		return User{}, ErrNotLoggedIn
	}
	return userOf(row.User, row.Groups), nil
}

// Sessions lists the live sessions of a user, the last used first: one's own,
// or anybody's for who manages users. ErrUserUnknown for nobody's.
func (s *Service) Sessions(ctx context.Context, username string) ([]Session, error) {
	name := actor.FoldUsername(username)
	a, err := self(ctx, name, "list_sessions")
	if err != nil {
		return nil, err
	}
	if !plain(name, usernameLimit) {
		return nil, unknownUser(name)
	}
	now := s.clock()
	rows, err := s.q.ListSessions(ctx, s.db, db.ListSessionsParams{
		Username: name, AliveSince: s.aliveSince(now), Now: now, PageSize: listLimit,
	})
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	if len(rows) == 0 {
		return []Session{}, s.mustExist(ctx, name)
	}
	out := make([]Session, 0, len(rows))
	for _, r := range rows {
		out = append(out, Session{
			ID: r.ID, CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, LastSeenAt: r.LastSeenAt,
			Address: r.Address, UserAgent: r.UserAgent, Current: r.ID == a.SessionID,
		})
	}
	return out, nil
}

// EndSession ends a session of one's own, or anybody's for who manages users;
// ErrSessionUnknown for all others.
func (s *Service) EndSession(ctx context.Context, id uuid.UUID) error {
	a, err := person(ctx, "end_session")
	if err != nil {
		return err
	}
	now := s.clock()
	row, err := s.q.GetSession(ctx, s.db, id, s.aliveSince(now), now)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && row.UserID != a.UserID && !a.May(actor.ManageUsers) {
		return ErrSessionUnknown
	}
	if err != nil {
		return fmt.Errorf("read session: %w", err)
	}
	ended, err := s.endOne(ctx, id, "", endRevoked, eventRevoke)
	if err == nil && !ended {
		return ErrSessionUnknown
	}
	return err
}

// EndSessions ends the sessions of a user and returns how many that were.
func (s *Service) EndSessions(ctx context.Context, username string, scope Scope) (int, error) {
	name := actor.FoldUsername(username)
	a, err := self(ctx, name, "end_sessions")
	if err != nil {
		return 0, err
	}
	var ended []tokenauth.Revocation
	err = postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		u, err := s.lockUser(ctx, tx, name)
		if err != nil {
			return err
		}
		keep := uuid.Nil
		if scope == Others {
			keep = a.SessionID
		}
		ended, err = s.endAll(ctx, tx, u.ID, keep, endRevoked)
		return err
	})
	if err != nil {
		return 0, err
	}
	s.takeBack(ended)
	return len(ended), nil
}
