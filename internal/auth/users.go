package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/tokenauth"
)

const (
	usernameLimit = 64
	fullnameLimit = 200
	// GuestName is the account that requests without a token act as. It always
	// exists, is a reader, and nobody can log in to it outside the test mode.
	GuestName = "guest"
	// maxPage bounds a page of users or groups.
	maxPage = 1000
)

// User is an account as others may see it.
type User struct {
	ID                 uuid.UUID
	Username, Fullname string
	Roles              []actor.Role
	Groups             []string
	Active             bool
	CreatedAt          time.Time
	LastLoginAt        *time.Time
}

// NewUser is an account to be made. Without roles it is a reader.
type NewUser struct {
	Username, Fullname, Password string
	Roles                        []actor.Role
	// TakeOver gives it what is left of a user of that name who was deleted.
	TakeOver bool
}

// UserPatch is what UpdateUser changes; nil leaves a field as it is.
type UserPatch struct {
	Fullname *string
	Roles    []actor.Role
	Active   *bool
	Unlock   bool // forget failed logins, from everywhere
}

func userOf(u db.User, groups []string) User {
	return User{
		ID: u.ID, Username: u.Username, Fullname: u.Fullname, Roles: rolesOf(u.Roles), Groups: groups,
		Active: u.IsActive, CreatedAt: u.CreatedAt, LastLoginAt: u.LastLoginAt,
	}
}

func rolesOf(names []string) []actor.Role {
	roles := make([]actor.Role, 0, len(names))
	for _, n := range names {
		roles = append(roles, actor.Role(n))
	}
	return roles
}

func roleNames(roles []actor.Role) []string {
	names := make([]string, 0, len(roles))
	for _, r := range roles {
		names = append(names, string(r))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// check says what is wrong with the account, its password included.
func (n NewUser) check(c Config) error {
	switch {
	case n.Username == "" || n.Fullname == "" || n.Password == "":
		return ErrMissingFields
	case !plain(n.Username, usernameLimit) || aDot(n.Username) || strings.ContainsFunc(n.Username, func(r rune) bool { return unicode.IsSpace(r) || r == '/' }):
		return ErrUserName
	case !plain(n.Fullname, fullnameLimit):
		return ErrFullname
	}
	return c.checkPassword(n.Password)
}

// aDot says whether no path can end in the name: clients take it for the
// folder itself, or the one above.
func aDot(name string) bool { return name == "." || name == ".." }

// checkRoles says whether a may give the roles.
func checkRoles(a actor.Actor, roles []actor.Role) error {
	if len(roles) == 0 {
		return ErrRoleUnknown
	}
	for _, r := range roles {
		if r.Rank() == 0 {
			return ErrRoleUnknown
		}
		if r.Rank() > a.HighestRole().Rank() {
			return ErrRoleRank
		}
	}
	return nil
}

// Register makes an account, under its name in lower case. Whoever acts must
// manage users and may give roles up to their own rank. ErrMissingFields,
// ErrUserName, ErrFullname, ErrPassword, ErrRoleUnknown and ErrRoleRank say what
// is wrong; ErrUserExists if the name is taken, whatever its case;
// ErrFormerName if something is left of a user of that name who was deleted,
// and the new one is not to take it over.
func (s *Service) Register(ctx context.Context, n NewUser) (User, error) {
	a, err := allowed(ctx, actor.ManageUsers, "create_user")
	if err != nil {
		return User{}, err
	}
	n.Username = actor.FoldUsername(n.Username)
	if len(n.Roles) == 0 {
		n.Roles = []actor.Role{actor.Reader}
	}
	if err = n.check(s.c); err != nil {
		return User{}, err
	}
	if err = checkRoles(a, n.Roles); err != nil {
		return User{}, err
	}
	hash, err := s.hasher.hash(ctx, n.Password)
	if err != nil {
		return User{}, err
	}
	var u db.User
	err = postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		u, err = s.insertUser(ctx, tx, n, hash)
		return err
	})
	if err != nil {
		return User{}, err
	}
	return userOf(u, []string{}), nil
}

// insertUser stores an account that was checked.
func (s *Service) insertUser(ctx context.Context, tx pgx.Tx, n NewUser, hash string) (db.User, error) {
	u := db.User{
		ID: newID(), Username: n.Username, Fullname: n.Fullname, PasswordHash: hash,
		Roles: roleNames(n.Roles), IsActive: true, CreatedAt: s.clock(),
	}
	err := s.q.InsertUser(ctx, tx, db.InsertUserParams{
		ID: u.ID, Username: u.Username, Fullname: u.Fullname, PasswordHash: u.PasswordHash,
		Roles: u.Roles, IsActive: u.IsActive, CreatedAt: u.CreatedAt,
	})
	switch {
	case postgres.Violates(err, "users_username_key"):
		return u, ErrUserExists.With("Failed to create user: User '%s' already exists", u.Username)
	case postgres.Violates(err, "users_username_lower"):
		return u, ErrUserName
	case err != nil:
		return u, fmt.Errorf("insert user %q: %w", u.Username, err)
	}
	detail := strings.Join(u.Roles, ",")
	took, err := s.claim(ctx, tx, formerUser, u.Username, n.TakeOver)
	if err != nil {
		return u, err
	}
	if took != "" {
		detail += "; took over " + took
	}
	return u, s.record(ctx, tx, event{kind: eventUserCreate, username: u.Username, detail: detail})
}

// Users pages through the accounts in the order of their names, beginning
// after the given one. Whoever acts must manage users.
func (s *Service) Users(ctx context.Context, after string, limit int) ([]User, error) {
	if _, err := allowed(ctx, actor.ManageUsers, "list_users"); err != nil {
		return nil, err
	}
	rows, err := s.q.ListUsers(ctx, s.db, storable(after, usernameLimit), int32(min(max(limit, 1), maxPage)))
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	users := make([]User, 0, len(rows))
	for _, r := range rows {
		users = append(users, userOf(r.User, r.Groups))
	}
	return users, nil
}

// User returns an account: one's own, or anybody's for who manages users.
func (s *Service) User(ctx context.Context, username string) (User, error) {
	name := actor.FoldUsername(username)
	if _, err := self(ctx, name, "get_user"); err != nil {
		return User{}, err
	}
	if !plain(name, usernameLimit) {
		return User{}, unknownUser(name)
	}
	row, err := s.q.GetUser(ctx, s.db, name)
	if errors.Is(err, pgx.ErrNoRows) {
		return User{}, unknownUser(name)
	}
	if err != nil {
		return User{}, fmt.Errorf("read user: %w", err)
	}
	return userOf(row.User, row.Groups), nil
}

// unknownUser names who is not there: of several names, the caller must know which.
func unknownUser(name string) error {
	return ErrUserUnknown.With("User '%s' not found", storable(name, usernameLimit))
}

// mustExist tells an account of which a list is empty from one that is not there.
func (s *Service) mustExist(ctx context.Context, name string) error {
	found, err := s.UsernameExists(ctx, name)
	if err == nil && !found {
		return unknownUser(name)
	}
	return err
}

// lockUser holds an account until the transaction ends; ErrUserUnknown also
// for a name that none can have.
func (s *Service) lockUser(ctx context.Context, tx pgx.Tx, name string) (db.User, error) {
	if !plain(name, usernameLimit) {
		return db.User{}, unknownUser(name)
	}
	u, err := s.q.LockUserByName(ctx, tx, name)
	if errors.Is(err, pgx.ErrNoRows) {
		return u, unknownUser(name)
	}
	if err != nil {
		return u, fmt.Errorf("lock user: %w", err)
	}
	return u, nil
}

// UpdateUser changes an account. Whoever acts must manage users; one's own full
// name anybody may change. Deactivation ends the sessions and API tokens of
// the account for good before UpdateUser returns. ErrLastAdmin if nobody could
// administer afterwards.
func (s *Service) UpdateUser(ctx context.Context, username string, p UserPatch) (User, error) {
	name := actor.FoldUsername(username)
	a, err := s.mayUpdate(ctx, name, p)
	if err != nil {
		return User{}, err
	}
	var taken []tokenauth.Revocation
	err = postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		u, admins, err := s.lockForChange(ctx, tx, a, name)
		if err != nil {
			return err
		}
		deactivated := p.apply(&u)
		if err = keepsAdmin(admins, u); err != nil {
			return err
		}
		if u.Username == GuestName && !slices.Equal(u.Roles, []string{string(actor.Reader)}) {
			return ErrGuest
		}
		err = s.q.UpdateUser(ctx, tx, db.UpdateUserParams{
			ID: u.ID, Fullname: u.Fullname, Roles: u.Roles, IsActive: u.IsActive, Now: s.clock(),
		})
		if err != nil {
			return fmt.Errorf("update user %q: %w", name, err)
		}
		if deactivated {
			if taken, err = s.endEverything(ctx, tx, u); err != nil {
				return err
			}
		}
		return s.recordUpdate(ctx, tx, u, p)
	})
	if err != nil {
		return User{}, err
	}
	s.takeBack(taken)
	s.actors.forget()
	return s.User(ctx, name)
}

func (s *Service) mayUpdate(ctx context.Context, name string, p UserPatch) (actor.Actor, error) {
	a, err := self(ctx, name, "update_user")
	if err != nil {
		return a, err
	}
	if (p.Roles != nil || p.Active != nil || p.Unlock) && !a.May(actor.ManageUsers) {
		return a, forbidden(a, "update_user")
	}
	if p.Fullname != nil && !plain(*p.Fullname, fullnameLimit) {
		return a, ErrFullname
	}
	if p.Roles != nil {
		return a, checkRoles(a, p.Roles)
	}
	return a, nil
}

// lockForChange holds the administrators and then the account, in the order in
// which all do, and refuses if the account ranks above who acts.
func (s *Service) lockForChange(ctx context.Context, tx pgx.Tx, a actor.Actor, name string) (db.User, []uuid.UUID, error) {
	admins, err := s.q.LockAdmins(ctx, tx)
	if err != nil {
		return db.User{}, nil, fmt.Errorf("lock administrators: %w", err)
	}
	u, err := s.lockUser(ctx, tx, name)
	if err != nil {
		return u, nil, err
	}
	if (actor.Actor{Roles: rolesOf(u.Roles)}).HighestRole().Rank() > a.HighestRole().Rank() {
		return u, nil, ErrRoleRank
	}
	return u, admins, nil
}

// keepsAdmin says whether somebody can administer when u is as given.
func keepsAdmin(admins []uuid.UUID, u db.User) error {
	stays := u.IsActive && slices.Contains(u.Roles, string(actor.Admin))
	if slices.Equal(admins, []uuid.UUID{u.ID}) && !stays {
		return ErrLastAdmin
	}
	return nil
}

// apply changes u and says whether that deactivates it.
func (p UserPatch) apply(u *db.User) (deactivated bool) {
	if p.Fullname != nil {
		u.Fullname = *p.Fullname
	}
	if p.Roles != nil {
		u.Roles = roleNames(p.Roles)
	}
	if p.Active != nil {
		deactivated = u.IsActive && !*p.Active
		u.IsActive = *p.Active
	}
	return deactivated
}

func (s *Service) recordUpdate(ctx context.Context, tx pgx.Tx, u db.User, p UserPatch) error {
	var changed []string
	if p.Fullname != nil {
		changed = append(changed, "fullname")
	}
	if p.Roles != nil {
		changed = append(changed, "roles "+strings.Join(u.Roles, ","))
	}
	if p.Active != nil {
		changed = append(changed, fmt.Sprintf("active %t", u.IsActive))
	}
	if len(changed) > 0 {
		if err := s.record(ctx, tx, event{kind: eventUserUpdate, username: u.Username, detail: strings.Join(changed, "; ")}); err != nil {
			return err
		}
	}
	if !p.Unlock {
		return nil
	}
	if err := s.q.UnlockUser(ctx, tx, u.Username); err != nil {
		return fmt.Errorf("unlock user %q: %w", u.Username, err)
	}
	return s.record(ctx, tx, event{kind: eventUnlock, username: u.Username})
}

// endEverything ends the sessions and API tokens of a user whom the
// transaction holds.
func (s *Service) endEverything(ctx context.Context, tx pgx.Tx, u db.User) ([]tokenauth.Revocation, error) {
	taken, err := s.endAll(ctx, tx, u.ID, uuid.Nil, endDeactivated)
	if err != nil {
		return nil, err
	}
	tokens, err := s.revokeTokens(ctx, tx, u.ID, nil, endDeactivated)
	return append(taken, tokens...), err
}

// DeleteUser removes an account; its sessions and API tokens are dead when it
// returns. What it owns in the tree keeps its name as owner, which nobody else
// gets meanwhile; see Register. ErrGuest for the guest, ErrLastAdmin if nobody
// could administer afterwards.
func (s *Service) DeleteUser(ctx context.Context, username string) error {
	name := actor.FoldUsername(username)
	a, err := allowed(ctx, actor.ManageUsers, "delete_user")
	if err != nil {
		return err
	}
	if name == GuestName {
		return ErrGuest
	}
	var taken []tokenauth.Revocation
	err = postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		u, admins, err := s.lockForChange(ctx, tx, a, name)
		if err != nil {
			return err
		}
		gone := u
		gone.IsActive = false
		if err = keepsAdmin(admins, gone); err != nil {
			return err
		}
		// The revocations name no user and stay when the account is gone.
		if taken, err = s.endEverything(ctx, tx, u); err != nil {
			return err
		}
		if err = s.q.DeleteUser(ctx, tx, s.clock(), u.ID); err != nil {
			return fmt.Errorf("delete user %q: %w", name, err)
		}
		return s.record(ctx, tx, event{kind: eventUserDelete, username: name})
	})
	if err != nil {
		return err
	}
	s.takeBack(taken)
	s.actors.forget()
	return nil
}
