package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/postgres"
)

// fold is how names of users are compared: upstream stores them in lower case.
// What is not UTF-8 stays so, to be refused.
func fold(username string) string {
	if !utf8.ValidString(username) {
		return username
	}
	return strings.ToLower(username)
}

// Login opens a session and returns its first pair of tokens. It returns
// ErrCredentials for a user who is unknown, inactive or locked and for a wrong
// password alike, after the same work; ErrSessionLimit at the cap if the
// policy is to reject; ErrBusy when too many log in at once.
//
// The password is hashed outside any transaction. Failures count for the
// account and the client's network; see Config.LoginMaxAttempts.
func (s *Service) Login(ctx context.Context, username, password string) (User, Pair, error) {
	name := fold(username)
	user, err := s.authenticate(ctx, name, password)
	if err != nil {
		return User{}, Pair{}, err
	}
	return s.openSession(ctx, user)
}

// authenticate returns the account if the password is right and the account
// neither locked nor inactive, with its hash made anew where that is due.
func (s *Service) authenticate(ctx context.Context, name, password string) (db.GetUserRow, error) {
	var row db.GetUserRow
	if !plain(name, usernameLimit) || len(password) > passwordLimit {
		// No account can have these, and the database would not take some.
		name, password = "", ""
	}
	locked, err := s.lockedUntil(ctx, s.db, name)
	if err != nil {
		return row, err
	}
	row, err = s.q.GetUser(ctx, s.db, name)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return row, fmt.Errorf("read user: %w", err)
	}
	right, stale, err := s.hasher.verify(ctx, row.User.PasswordHash, password)
	if err != nil {
		return row, err
	}
	if !right || !row.User.IsActive || !locked.IsZero() {
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

// lockedUntil returns the end of a lock that holds, or the zero time.
func (s *Service) lockedUntil(ctx context.Context, tx db.DBTX, name string) (time.Time, error) {
	until, err := s.q.LoginLockedUntil(ctx, tx, name, clientFrom(ctx).network(), s.clock())
	if errors.Is(err, pgx.ErrNoRows) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read login lock: %w", err)
	}
	return until, nil
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
				Username: name, Network: clientFrom(ctx).network(), Now: now,
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
// whose password was just right. The account is held meanwhile, so that the
// cap is counted by one login at a time.
func (s *Service) openSession(ctx context.Context, u db.GetUserRow) (User, Pair, error) {
	now := s.clock()
	var evicted []revocation
	var first db.RefreshToken
	err := postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		held, err := s.q.LockUser(ctx, tx, u.User.ID)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && (!held.IsActive || !sameTime(held.PasswordChangedAt, u.User.PasswordChangedAt)) {
			return ErrCredentials // changed while the password was hashed
		}
		if err != nil {
			return fmt.Errorf("lock user: %w", err)
		}
		// Of many guesses at once, only those that were done before the lock count.
		if locked, err := s.lockedUntil(ctx, tx, held.Username); err != nil || !locked.IsZero() {
			return errors.Join(err, lockedOut(locked))
		}
		if evicted, err = s.makeRoom(ctx, tx, held, now); err != nil {
			return err
		}
		first, err = s.insertSession(ctx, tx, held.ID, now)
		if err != nil {
			return err
		}
		if err = s.q.RecordLogin(ctx, tx, &now, held.ID); err != nil {
			return fmt.Errorf("record login: %w", err)
		}
		if err = s.q.ClearLoginFailures(ctx, tx, held.Username, clientFrom(ctx).network()); err != nil {
			return fmt.Errorf("clear login failures: %w", err)
		}
		return s.record(ctx, tx, event{kind: eventLogin, username: held.Username, session: &first.SessionID})
	})
	if err != nil {
		return User{}, Pair{}, err
	}
	s.takeBack(evicted)
	u.User.LastLoginAt = &now
	pair, err := s.mint(u.User.Username, first)
	return userOf(u.User, u.Groups), pair, err
}

func sameTime(a, b *time.Time) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Equal(*b)
}

func lockedOut(until time.Time) error {
	if until.IsZero() {
		return nil
	}
	return ErrCredentials
}

// makeRoom ends the sessions that were not used for the longest time, or
// refuses, so that one more fits under the cap.
func (s *Service) makeRoom(ctx context.Context, tx pgx.Tx, u db.User, now time.Time) ([]revocation, error) {
	if s.c.MaxSessions <= 0 {
		return nil, nil
	}
	live, err := s.q.LockLiveSessions(ctx, tx, u.ID, now)
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

// insertSession opens a session with its first pair.
func (s *Service) insertSession(ctx context.Context, tx pgx.Tx, user uuid.UUID, now time.Time) (db.RefreshToken, error) {
	c := clientFrom(ctx)
	absolute := now.Add(s.c.AbsoluteTimeout).Truncate(time.Second)
	first := s.newPair(newID(), 0, now, absolute)
	err := s.q.InsertSession(ctx, tx, db.InsertSessionParams{
		ID: first.SessionID, UserID: user, CreatedAt: now, ExpiresAt: first.ExpiresAt, AbsoluteExpiresAt: absolute,
		Address: c.address(), UserAgent: c.UserAgent,
	})
	if err != nil {
		return first, fmt.Errorf("insert session: %w", err)
	}
	err = s.q.InsertPair(ctx, tx, db.InsertPairParams{
		ID: first.ID, SessionID: first.SessionID, Generation: first.Generation, AccessID: first.AccessID,
		IssuedAt: first.IssuedAt, ExpiresAt: first.ExpiresAt, AccessExpiresAt: first.AccessExpiresAt,
	})
	if err != nil {
		return first, fmt.Errorf("insert pair: %w", err)
	}
	return first, nil
}

// UsernameExists says whether there is such an account, whatever the case of
// the name.
func (s *Service) UsernameExists(ctx context.Context, username string) (bool, error) {
	name := fold(username)
	if !plain(name, usernameLimit) {
		return false, nil
	}
	found, err := s.q.UserExists(ctx, s.db, name)
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
