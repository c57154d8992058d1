package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/tokenauth"
)

// linkLife is how long a one-time secret works.
const linkLife = 30 * time.Minute

// What a one-time secret is for.
const (
	linkSetup    = "setup"
	linkPassword = "password"
)

// ChangePassword gives the caller's own account another password and ends all
// its sessions but the one it is asked in. ErrMissingFields without either;
// ErrPasswordWrong if current is not the password it has: that counts as a
// failed login, and while the account is locked for the client's network no
// password is right.
func (s *Service) ChangePassword(ctx context.Context, username, current, password string) error {
	name := actor.FoldUsername(username)
	a, err := person(ctx, "change_password")
	if err != nil {
		return err
	}
	if a.Username != name {
		return forbidden(a, "change_password")
	}
	if current == "" || password == "" {
		return ErrMissingFields.With("Missing required fields. Please provide current_password and new_password")
	}
	if err = s.c.checkPassword(password); err != nil {
		return err
	}
	u, err := s.authenticate(ctx, name, current)
	if errors.Is(err, ErrCredentials) {
		return ErrPasswordWrong
	}
	if err != nil {
		return err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	var ended []tokenauth.Revocation
	err = postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		held, err := s.lockUser(ctx, tx, name)
		if err != nil {
			return err
		}
		if !sameTime(held.PasswordChangedAt, u.User.PasswordChangedAt) {
			return ErrPasswordWrong // changed by another meanwhile
		}
		ended, err = s.setPassword(ctx, tx, held, hash, a.SessionID)
		return err
	})
	if err != nil {
		return err
	}
	s.takeBack(ended)
	return nil
}

// setPassword stores a new hash for an account that the transaction holds and
// ends its sessions but keep. Links to set another password die with the old one.
func (s *Service) setPassword(ctx context.Context, tx pgx.Tx, u db.User, hash string, keep uuid.UUID) ([]tokenauth.Revocation, error) {
	now := s.clock()
	if err := s.q.SetPassword(ctx, tx, hash, &now, u.ID); err != nil {
		return nil, fmt.Errorf("set password: %w", err)
	}
	if err := s.q.DropLinks(ctx, tx, u.ID); err != nil {
		return nil, fmt.Errorf("drop links: %w", err)
	}
	if err := s.record(ctx, tx, event{kind: eventPassword, username: u.Username}); err != nil {
		return nil, err
	}
	return s.endAll(ctx, tx, u.ID, keep, endPassword)
}

// ResetPassword returns a secret with which the user can set a new password by
// RedeemReset, once and within 30 minutes. The old password works until then.
// Whoever acts must manage users.
func (s *Service) ResetPassword(ctx context.Context, username string) (secret string, expires time.Time, err error) {
	name := actor.FoldUsername(username)
	a, err := allowed(ctx, actor.ManageUsers, "reset_password")
	if err != nil {
		return "", time.Time{}, err
	}
	if name == GuestName {
		return "", time.Time{}, ErrGuest
	}
	err = postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		u, _, err := s.lockForChange(ctx, tx, a, name)
		if err != nil {
			return err
		}
		if err = s.q.DropLinks(ctx, tx, u.ID); err != nil {
			return fmt.Errorf("drop links: %w", err)
		}
		if secret, expires, err = s.issueLink(ctx, tx, linkPassword, &u.ID, a.Username); err != nil {
			return err
		}
		return s.record(ctx, tx, event{kind: eventPasswordReset, username: name})
	})
	return secret, expires, err
}

// RedeemReset sets the password that a secret of ResetPassword is for, ends all
// sessions of the account and forgets its failed logins. ErrLink if the secret
// is unknown, used or too old; it is used up only when the password is taken.
func (s *Service) RedeemReset(ctx context.Context, secret, password string) (User, error) {
	if err := s.c.checkPassword(password); err != nil {
		return User{}, err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return User{}, err
	}
	var u db.User
	var ended []tokenauth.Revocation
	err = postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		id, err := s.takeLink(ctx, tx, secret, linkPassword)
		if err != nil {
			return err
		}
		if u, err = s.q.LockUser(ctx, tx, *id); err != nil {
			return fmt.Errorf("lock user: %w", err)
		}
		if err = s.q.UnlockUser(ctx, tx, u.Username); err != nil {
			return fmt.Errorf("unlock user: %w", err)
		}
		ended, err = s.setPassword(ctx, tx, u, hash, uuid.Nil)
		return err
	})
	if err != nil {
		return User{}, err
	}
	s.takeBack(ended)
	return userOf(u, nil), nil
}

// issueLink makes a one-time secret of 130 bits, of which only the SHA-256 is stored.
func (s *Service) issueLink(ctx context.Context, tx pgx.Tx, purpose string, user *uuid.UUID, by string) (string, time.Time, error) {
	secret := rand.Text()
	now := s.clock()
	sum := sha256.Sum256([]byte(secret))
	expires := now.Add(linkLife)
	err := s.q.InsertLink(ctx, tx, db.InsertLinkParams{
		ID: newID(), SecretHash: sum[:], Purpose: purpose, UserID: user, CreatedBy: by, CreatedAt: now, ExpiresAt: expires,
	})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("insert one-time link: %w", err)
	}
	return secret, expires, nil
}

func (s *Service) takeLink(ctx context.Context, tx pgx.Tx, secret, purpose string) (*uuid.UUID, error) {
	sum := sha256.Sum256([]byte(secret))
	user, err := s.q.TakeLink(ctx, tx, sum[:], purpose, s.clock())
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrLink
	}
	if err != nil {
		return nil, fmt.Errorf("take one-time link: %w", err)
	}
	return user, nil
}
