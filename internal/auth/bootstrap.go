package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/tokenauth"
)

// adminName is the account that PLANTDB_ADMIN_PASSWORD is for.
const adminName = "admin"

// FirstStart says how the first administrator comes to be.
type FirstStart struct {
	// AdminPassword makes the account admin with it, if nobody can administer.
	AdminPassword string
	// Test makes admin/admin and guest/guest, as upstream's test server has
	// them, against all rules for passwords.
	Test bool
}

// Setup is what Bootstrap found to be left to do.
type Setup struct {
	// Secret makes the first administrator by CompleteSetup, once and until
	// Expires. It is empty when there is one. Whoever prints it prints it once.
	Secret  string
	Expires time.Time
}

// Bootstrap makes the accounts that must be there: the guest, and somebody who
// can administer. Run it at every start; what is there it leaves, but for a
// guest that the test mode once gave a password. Replicas may run it at once.
func (s *Service) Bootstrap(ctx context.Context, f FirstStart) (Setup, error) {
	ctx = actor.NewContext(ctx, actor.System())
	adminHash, guestHash, err := s.firstHashes(ctx, f)
	if err != nil {
		return Setup{}, err
	}
	var setup Setup
	var ended []tokenauth.Revocation
	err = postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		if err := s.q.LockBootstrap(ctx, tx); err != nil {
			return fmt.Errorf("lock bootstrap: %w", err)
		}
		if ended, err = s.ensureGuest(ctx, tx, guestHash); err != nil {
			return err
		}
		found, err := s.q.AdminExists(ctx, tx)
		switch {
		case err != nil:
			return fmt.Errorf("look for administrator: %w", err)
		case f.Test:
			return s.ensureTestAdmin(ctx, tx, adminHash)
		case found:
			return nil
		case adminHash != "":
			_, err = s.makeAdmin(ctx, tx, NewUser{Username: adminName, Fullname: "PlantDB Admin"}, adminHash)
			return err
		}
		setup.Secret, setup.Expires, err = s.issueLink(ctx, tx, linkSetup, nil, actor.System().Username)
		return err
	})
	if err != nil {
		return Setup{}, err
	}
	s.takeBack(ended)
	s.actors.forget()
	if f.Test {
		s.log.WarnContext(ctx, "test mode: anybody can log in as admin/admin and guest/guest")
		return setup, nil
	}
	return setup, s.warnOfTestAdmin(ctx)
}

// firstHashes makes the hashes that Bootstrap may need, before its transaction.
func (s *Service) firstHashes(ctx context.Context, f FirstStart) (admin, guest string, err error) {
	if f.Test {
		if admin, err = s.hasher.hash(ctx, adminName); err != nil {
			return "", "", err
		}
		guest, err = s.hasher.hash(ctx, GuestName)
		return admin, guest, err
	}
	if f.AdminPassword == "" {
		return "", noPassword, nil
	}
	if err = s.c.checkPassword(f.AdminPassword); err != nil {
		return "", "", fmt.Errorf("take PLANTDB_ADMIN_PASSWORD: %w", err)
	}
	admin, err = s.hasher.hash(ctx, f.AdminPassword)
	return admin, noPassword, err
}

func (s *Service) ensureGuest(ctx context.Context, tx pgx.Tx, hash string) ([]tokenauth.Revocation, error) {
	u, err := s.q.LockUserByName(ctx, tx, GuestName)
	if errors.Is(err, pgx.ErrNoRows) {
		_, err = s.insertUser(ctx, tx, NewUser{Username: GuestName, Fullname: "Guest", Roles: []actor.Role{actor.Reader}, TakeOver: true}, hash)
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("lock guest: %w", err)
	}
	if (hash == noPassword) == (u.PasswordHash == noPassword) {
		return nil, nil
	}
	return s.setPassword(ctx, tx, u, hash, uuid.Nil)
}

// ensureTestAdmin makes admin/admin unless there is an account of that name.
func (s *Service) ensureTestAdmin(ctx context.Context, tx pgx.Tx, hash string) error {
	_, err := s.q.LockUserByName(ctx, tx, adminName)
	if !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	_, err = s.makeAdmin(ctx, tx, NewUser{Username: adminName, Fullname: "PlantDB Admin"}, hash)
	return err
}

// makeAdmin inserts an administrator, or makes one of an account of the same
// name that nobody can log in to, as an import may leave it.
func (s *Service) makeAdmin(ctx context.Context, tx pgx.Tx, n NewUser, hash string) (db.User, error) {
	n.Roles, n.TakeOver = []actor.Role{actor.Admin}, true // an administrator may do everything to everything
	u, err := s.q.LockUserByName(ctx, tx, n.Username)
	if errors.Is(err, pgx.ErrNoRows) {
		return s.insertUser(ctx, tx, n, hash)
	}
	if err != nil {
		return u, fmt.Errorf("lock user: %w", err)
	}
	if u.PasswordHash != noPassword || n.Username == GuestName {
		return u, ErrUserExists.With("Failed to create user: User '%s' already exists", n.Username)
	}
	u.Roles, u.IsActive, u.Fullname = roleNames(n.Roles), true, n.Fullname
	err = s.q.UpdateUser(ctx, tx, db.UpdateUserParams{ID: u.ID, Fullname: u.Fullname, Roles: u.Roles, IsActive: true, Now: s.clock()})
	if err != nil {
		return u, fmt.Errorf("update user %q: %w", n.Username, err)
	}
	_, err = s.setPassword(ctx, tx, u, hash, uuid.Nil) // it had no sessions to end
	return u, err
}

// CompleteSetup makes the first administrator with the secret of Bootstrap.
// ErrLink if the secret is unknown, used or too old, or if somebody can
// administer by now; the secret is used up only when the account is made.
func (s *Service) CompleteSetup(ctx context.Context, secret string, n NewUser) (User, error) {
	n.Username = actor.FoldUsername(n.Username)
	if err := n.check(s.c); err != nil {
		return User{}, err
	}
	hash, err := s.hasher.hash(ctx, n.Password)
	if err != nil {
		return User{}, err
	}
	var u db.User
	err = postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		if err := s.q.LockBootstrap(ctx, tx); err != nil {
			return fmt.Errorf("lock bootstrap: %w", err)
		}
		if _, err := s.takeLink(ctx, tx, secret, linkSetup); err != nil {
			return err
		}
		found, err := s.q.AdminExists(ctx, tx)
		if err != nil {
			return fmt.Errorf("look for administrator: %w", err)
		}
		if found {
			return ErrLink
		}
		if u, err = s.makeAdmin(ctx, tx, n, hash); err != nil {
			return err
		}
		return s.record(ctx, tx, event{kind: eventSetup, username: u.Username})
	})
	if err != nil {
		return User{}, err
	}
	s.actors.forget()
	return userOf(u, []string{}), nil
}

// warnOfTestAdmin says so when a database that the test mode was once used on
// still has its administrator.
func (s *Service) warnOfTestAdmin(ctx context.Context) error {
	row, err := s.q.GetUser(ctx, s.db, adminName)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read user: %w", err)
	}
	weak, _, err := s.hasher.verify(ctx, row.User.PasswordHash, adminName)
	if err != nil {
		return err
	}
	if weak && row.User.IsActive {
		s.log.ErrorContext(ctx, "the password of admin is admin, change it now", slog.String("username", adminName))
	}
	return nil
}
