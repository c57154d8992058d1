package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/tokenauth"
)

// Login opens a session and returns its first pair of tokens. It returns
// ErrCredentials for a user who is unknown, inactive or locked and for a wrong
// password alike, after the same work; ErrSessionLimit at the cap if the
// policy is to reject; ErrBusy when too many log in at once.
//
// The password is hashed outside any transaction. Failures count for the
// account and the client's network; see Config.LoginMaxAttempts.
func (s *Service) Login(ctx context.Context, username, password string) (User, Pair, error) {
	name := actor.FoldUsername(username)
	user, err := s.authenticate(ctx, name, password)
	if err != nil {
		return User{}, Pair{}, err
	}
	return s.openSession(ctx, user)
}

// authenticate returns the account if the password is right and the account
// neither locked nor inactive, with its hash made anew where that is due.
func (s *Service) authenticate(ctx context.Context, name, password string) (db.GetLoginRow, error) {
	if !plain(name, usernameLimit) || len(password) > passwordLimit {
		// No account can have these, and the database would not take some.
		name, password = "", ""
	}
	now := s.clock()
	row, err := s.q.GetLogin(ctx, s.db, db.GetLoginParams{
		Username: name, Network: clientFrom(ctx).network(), Now: now, LatestLock: s.latestLock(now),
	})
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return row, fmt.Errorf("read user: %w", err)
	}
	if err != nil {
		name = s.pseudonym(name)
	}
	right, stale, err := s.hasher.verify(ctx, row.User.PasswordHash, password)
	if err != nil {
		return row, err
	}
	if !right || !row.User.IsActive || row.Locked {
		return row, s.loginFailed(ctx, name)
	}
	if stale {
		renewed, err := s.hasher.hash(ctx, password)
		if err != nil {
			return row, err
		}
		// Where another login renewed it first, that hash stays.
		if err = s.q.RenewHash(ctx, s.db, renewed, row.User.ID, row.User.PasswordHash); err != nil {
			return row, fmt.Errorf("renew password hash: %w", err)
		}
	}
	return row, nil
}

// pseudonym stands for a name that is no account's wherever a failed login is
// kept: who mistakes the fields types a password there. The same name has the
// same one for as long as the signing key is the same, and no account can be
// called so.
func (s *Service) pseudonym(name string) string {
	return pseudonymMark + s.keys.DeriveMAC("username", []byte(name))[:pseudonymSize]
}

const (
	pseudonymMark = "? "
	pseudonymSize = 16 // 96 bits in base64
)

// latestLock is when a lock that begins now ends at the latest. One that ends
// later was made while the clock was ahead: it must not keep anybody out for
// hours.
func (s *Service) latestLock(now time.Time) time.Time {
	return now.Add(s.c.LoginLockout + max(s.c.Leeway, time.Minute))
}

// loginFailed counts a failure and returns ErrCredentials. It runs for every
// kind of failure, so that none can be told from another by its time.
func (s *Service) loginFailed(ctx context.Context, name string) error {
	now := s.clock()
	err := postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		locks := false
		if s.c.LoginMaxAttempts > 0 {
			var err error
			locks, err = s.q.RecordLoginFailure(ctx, tx, db.RecordLoginFailureParams{
				Username: name, Network: clientFrom(ctx).network(), Now: now, LatestLock: s.latestLock(now),
				MaxFailures: int32(min(s.c.LoginMaxAttempts, math.MaxInt32)), // It was just bounded.
				LockUntil:   now.Add(s.c.LoginLockout), WindowStart: now.Add(-s.c.LoginLockout),
			})
			if err != nil && !errors.Is(err, pgx.ErrNoRows) { // no row: locked already
				return fmt.Errorf("record login failure: %w", err)
			}
		}
		if err := s.record(ctx, tx, event{kind: eventLoginFailed, username: name}); err != nil {
			return err
		}
		if !locks {
			return nil
		}
		s.log.WarnContext(ctx, "login locked", slog.String("username", storable(name, usernameLimit)),
			slog.String("network", clientFrom(ctx).network().String()))
		return s.record(ctx, tx, event{kind: eventLock, username: name, detail: "network " + clientFrom(ctx).network().String()})
	})
	if err != nil {
		return err
	}
	return ErrCredentials
}

// openSession makes room under the cap and opens a session for an account
// whose password was just right: in one statement, unless the account changed
// since it was read, as by another login, or more than one session is in the
// way. Then the account is held meanwhile, so that the cap is counted by one
// login at a time.
func (s *Service) openSession(ctx context.Context, u db.GetLoginRow) (User, Pair, error) {
	now := s.clock()
	first := s.firstPair(now)
	ended, opened, err := s.logIn(ctx, u, first, now)
	if err == nil && !opened || postgres.LostToAnother(err) {
		ended, err = s.openHeld(ctx, u, first, now)
	}
	if err != nil {
		return User{}, Pair{}, err
	}
	s.takeBack(ended)
	u.User.LastLoginAt = &now
	pair, err := s.mint(u.User.Username, first.RefreshToken)
	return userOf(u.User, u.Groups), pair, err
}

// firstPair is the first pair of a new session and when that ends at last.
type firstPair struct {
	db.RefreshToken
	absolute time.Time
}

func (s *Service) firstPair(now time.Time) firstPair {
	absolute := now.Add(s.c.AbsoluteTimeout).Truncate(time.Second)
	first := firstPair{s.newPair(newID(), now), absolute}
	first.ExpiresAt = earlier(first.ExpiresAt, absolute)
	first.AccessExpiresAt = earlier(first.AccessExpiresAt, absolute)
	return first
}

// logIn tries the one statement; it returns false, and nothing has changed,
// where that could not tell.
func (s *Service) logIn(ctx context.Context, u db.GetLoginRow, first firstPair, now time.Time) ([]tokenauth.Revocation, bool, error) {
	e := eventRow(ctx, now, event{kind: eventLogin, username: u.User.Username})
	evict := eventRow(ctx, now, event{kind: eventEvict, username: u.User.Username, detail: endEvicted})
	rows, err := s.q.LogIn(ctx, s.db, db.LogInParams{
		UserID: u.User.ID, Version: u.Version, Now: now, AliveSince: s.aliveSince(now), LatestLock: s.latestLock(now), Network: clientFrom(ctx).network(),
		MaxSessions: int32(min(max(s.c.MaxSessions, 0), math.MaxInt32)), Evict: !s.c.RejectOverCap, // It was just bounded.
		SessionID: first.SessionID, ExpiresAt: first.ExpiresAt, AbsoluteExpiresAt: first.absolute,
		RefreshID: first.ID, AccessID: first.AccessID, IssuedAt: first.IssuedAt, AccessExpiresAt: first.AccessExpiresAt,
		Address: e.Address, UserAgent: e.UserAgent, RequestID: e.RequestID, EventID: e.ID, EventKind: e.Kind, Detail: e.Detail,
		EndReason: endEvicted, EvictEventID: evict.ID, EvictKind: evict.Kind, EvictDetail: evict.Detail,
	})
	if err != nil {
		return nil, false, fmt.Errorf("log in: %w", err)
	}
	var ended []tokenauth.Revocation
	for _, r := range rows {
		if r.EndedID != nil {
			ended = append(ended, tokenauth.Revocation{ID: r.EndedID.String(), Until: *r.RevokedUntil})
		}
	}
	return ended, len(rows) > 0, nil
}

// openHeld opens the session while it holds the account.
func (s *Service) openHeld(ctx context.Context, u db.GetLoginRow, first firstPair, now time.Time) (ended []tokenauth.Revocation, err error) {
	err = postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		held, err := s.q.LockUser(ctx, tx, u.User.ID)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && (!held.IsActive || !sameTime(held.PasswordChangedAt, u.User.PasswordChangedAt)) {
			return ErrCredentials // changed while the password was hashed
		}
		if err != nil {
			return fmt.Errorf("lock user: %w", err)
		}
		if ended, err = s.makeRoom(ctx, tx, held, now); err != nil {
			return err
		}
		return s.insertSession(ctx, tx, held, first, now)
	})
	return ended, err
}

func sameTime(a, b *time.Time) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Equal(*b)
}

// makeRoom ends the sessions that were not used for the longest time, or
// refuses, so that one more fits under the cap.
func (s *Service) makeRoom(ctx context.Context, tx pgx.Tx, u db.User, now time.Time) ([]tokenauth.Revocation, error) {
	if s.c.MaxSessions <= 0 {
		return nil, nil
	}
	live, err := s.q.LockLiveSessions(ctx, tx, u.ID, s.aliveSince(now), now)
	if err != nil {
		return nil, fmt.Errorf("lock sessions: %w", err)
	}
	over := len(live) + 1 - s.c.MaxSessions
	switch {
	case over <= 0:
		return nil, nil
	case s.c.RejectOverCap:
		return nil, ErrSessionLimit
	}
	return s.endSessions(ctx, tx, live[:over], endEvicted, eventEvict)
}

// insertSession opens a session with its first pair and records the login. It
// returns ErrCredentials if the account has been locked meanwhile: of many
// guesses at once, only those that were done before the lock count.
func (s *Service) insertSession(ctx context.Context, tx pgx.Tx, u db.User, first firstPair, now time.Time) error {
	e := eventRow(ctx, now, event{kind: eventLogin, username: u.Username})
	n, err := s.q.OpenSession(ctx, tx, db.OpenSessionParams{
		SessionID: first.SessionID, UserID: u.ID, Username: u.Username, Network: clientFrom(ctx).network(), Now: now, LatestLock: s.latestLock(now),
		ExpiresAt: first.ExpiresAt, AbsoluteExpiresAt: first.absolute,
		RefreshID: first.ID, AccessID: first.AccessID, IssuedAt: first.IssuedAt, AccessExpiresAt: first.AccessExpiresAt,
		EventID: e.ID, EventKind: e.Kind, Address: e.Address, UserAgent: e.UserAgent, RequestID: e.RequestID, Detail: e.Detail,
	})
	if err != nil {
		return fmt.Errorf("open session: %w", err)
	}
	if n == 0 {
		return ErrCredentials
	}
	return nil
}

// UsernameExists says whether there is such an account, whatever the case of
// the name.
func (s *Service) UsernameExists(ctx context.Context, username string) (bool, error) {
	return s.usernameExists(ctx, s.db, username)
}

func (s *Service) usernameExists(ctx context.Context, from db.DBTX, username string) (bool, error) {
	name := actor.FoldUsername(username)
	if !plain(name, usernameLimit) {
		return false, nil
	}
	found, err := s.q.UserExists(ctx, from, name)
	if err != nil {
		return false, fmt.Errorf("look for user: %w", err)
	}
	return found, nil
}

// uuids reads the ids of claims; ok is false if one is not a UUID.
func uuids(texts ...string) (ids []uuid.UUID, ok bool) {
	for _, t := range texts {
		id, err := uuid.Parse(t)
		if err != nil {
			return nil, false
		}
		ids = append(ids, id)
	}
	return slices.Clip(ids), true
}
