package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/postgres"
)

const (
	// maxImport bounds users.json and groups.json, in bytes.
	maxImport = 16 << 20
	// maxRemarks bounds the report.
	maxRemarks = 1000
)

// Report tells what an import did, or would do.
type Report struct {
	UsersAdded, UsersKept   int // kept: an account of that name was there and is untouched
	GroupsAdded, GroupsKept int
	MembersAdded            int
	// Remarks say what was passed over or taken differently, one entry of the
	// files each.
	Remarks []string
}

func (r *Report) remark(format string, args ...any) {
	if len(r.Remarks) < maxRemarks {
		r.Remarks = append(r.Remarks, fmt.Sprintf(format, args...))
	}
}

// upstreamUser is an element of users.json, as far as it is taken over.
type upstreamUser struct {
	Username     string  `json:"username"`
	Fullname     string  `json:"fullname"`
	PasswordHash string  `json:"password_hash"`
	Roles        any     `json:"roles"`
	CreatedAt    string  `json:"created_at"`
	LastLogin    *string `json:"last_login"`
	IsActive     *bool   `json:"is_active"`
}

// upstreamUser14 is what users.json of 0.14 has under a username. It knew
// neither roles nor accounts that are switched off.
type upstreamUser14 struct {
	Fullname  string  `json:"fullname"`
	Password  string  `json:"password"` // a hash of bcrypt
	Created   string  `json:"created"`
	LastLogin *string `json:"last_login"`
}

// firstPasswords are those that upstream gives to accounts that it makes by
// itself, in every tree alike: anonymous is 0.14's.
var firstPasswords = map[string]string{adminName: "admin", GuestName: "guest", "anonymous": "AlanMoore"}

// upstreamGroup is a value of groups.json.
type upstreamGroup struct {
	Name        string   `json:"name"`
	Users       []string `json:"users"`
	Description *string  `json:"description"`
	CreatedAt   string   `json:"created_at"`
	CreatedBy   string   `json:"created_by"`
}

// ImportUpstream takes the accounts and groups of upstream's users.json, the
// list of 0.15 and later or the object of 0.14, and groups.json over; either may be empty. Hashes are kept as they are, so that
// passwords go on working, and are renewed at the next login. An account or
// group that exists is not touched. What cannot be taken is passed over with a
// remark, as is who was deleted here while scans still name them. An account with upstream's well-known first password is taken without
// one. With dryRun nothing is kept, and the report is the same.
//
// Whoever acts must manage users. ErrImport if a file is over 16 MiB or not
// the JSON it should be.
func (s *Service) ImportUpstream(ctx context.Context, users, groups []byte, dryRun bool) (Report, error) {
	if _, err := allowed(ctx, actor.ManageUsers, "import_users"); err != nil {
		return Report{}, err
	}
	read := &Report{}
	us, err := s.readUsers(ctx, users, read)
	if err != nil {
		return Report{}, err
	}
	gs, err := readGroups(groups, read)
	if err != nil {
		return Report{}, err
	}
	var r Report
	err = postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		r = Report{Remarks: slices.Clone(read.Remarks)}
		if err := s.importUsers(ctx, tx, us, &r); err != nil {
			return err
		}
		if err := s.importGroups(ctx, tx, gs, &r); err != nil {
			return err
		}
		if dryRun {
			return errDryRun
		}
		return s.record(ctx, tx, event{
			kind: eventImport, username: actor.System().Username,
			detail: fmt.Sprintf("%d users, %d groups", r.UsersAdded, r.GroupsAdded),
		})
	})
	if errors.Is(err, errDryRun) {
		return r, nil
	}
	s.actors.forget()
	return r, err
}

// errDryRun undoes a transaction that was only to be looked at.
var errDryRun = errors.New("dry run")

// elements splits a JSON text of which each part is judged by itself.
func elements(data []byte, what string, into any) error {
	if len(data) > maxImport {
		return ErrImport.With("%s has more than %d MiB", what, maxImport>>20)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		return ErrImport.With("%s is not what upstream writes", what).Because(err)
	}
	return nil
}

// readUsers returns the rows for what can be taken.
func (s *Service) readUsers(ctx context.Context, data []byte, r *Report) ([]db.InsertUserIfAbsentParams, error) {
	users, err := upstreamUsersIn(data, r)
	if err != nil {
		return nil, err
	}
	var rows []db.InsertUserIfAbsentParams
	for _, u := range users {
		row, ok := s.userRow(u, r)
		if !ok {
			continue
		}
		if err := s.dropKnownPassword(ctx, &row, r); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// upstreamUsersIn returns the users of users.json of any generation.
func upstreamUsersIn(data []byte, r *Report) (users []upstreamUser, err error) {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return upstreamUsers14(data, r)
	}
	var raw []json.RawMessage
	if err := elements(data, "users.json", &raw); err != nil {
		return nil, err
	}
	for i, element := range raw {
		var u upstreamUser
		if err := json.Unmarshal(element, &u); err != nil {
			r.remark("users.json: entry %d is no user", i+1)
			continue
		}
		users = append(users, u)
	}
	return users, nil
}

// upstreamUsers14 returns the users of 0.14, by name.
func upstreamUsers14(data []byte, r *Report) (users []upstreamUser, err error) {
	var raw map[string]json.RawMessage
	if err := elements(data, "users.json", &raw); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		var u upstreamUser14
		if err := json.Unmarshal(raw[name], &u); err != nil {
			r.remark("users.json: %q is no user", storable(name, usernameLimit))
			continue
		}
		users = append(users, upstreamUser{
			Username: name, Fullname: u.Fullname, PasswordHash: u.Password, CreatedAt: u.Created, LastLogin: u.LastLogin,
		})
	}
	return users, nil
}

func (s *Service) userRow(u upstreamUser, r *Report) (db.InsertUserIfAbsentParams, bool) {
	name := actor.FoldUsername(u.Username)
	if u.Fullname == "" {
		u.Fullname = u.Username
	}
	row := db.InsertUserIfAbsentParams{
		ID: newID(), Username: name, Fullname: u.Fullname, PasswordHash: u.PasswordHash,
		IsActive: u.IsActive == nil || *u.IsActive, CreatedAt: s.clock(),
	}
	if err := (NewUser{Username: name, Fullname: u.Fullname, Password: "x"}).check(Config{}); err != nil {
		r.remark("user %q: %s", storable(u.Username, usernameLimit), err)
		return row, false
	}
	if _, err := parsePHC(u.PasswordHash); err != nil && !isBcrypt(u.PasswordHash) {
		r.remark("user %q: the password hash cannot be used, a password has to be set", name)
		row.PasswordHash = noPassword
	}
	row.Roles = knownRoles(u.Roles)
	if len(row.Roles) == 0 {
		r.remark("user %q: no known role, taken as reader", name)
		row.Roles = []string{string(actor.Reader)}
	}
	if t, ok := upstreamTime(u.CreatedAt); ok {
		row.CreatedAt = t
	}
	if u.LastLogin != nil {
		if t, ok := upstreamTime(*u.LastLogin); ok {
			row.LastLoginAt = &t
		}
	}
	return row, true
}

// dropKnownPassword takes the password from an account that still has the one
// upstream gave it, which anybody knows.
func (s *Service) dropKnownPassword(ctx context.Context, row *db.InsertUserIfAbsentParams, r *Report) error {
	password, ok := firstPasswords[row.Username]
	if !ok {
		return nil
	}
	known, _, err := s.hasher.verify(ctx, row.PasswordHash, password)
	if err != nil {
		return err
	}
	if known {
		row.PasswordHash = noPassword
		r.remark("user %q: has upstream's first password, which is not taken over; a password has to be set", row.Username)
	}
	return nil
}

// knownRoles reads a list of roles, or one role.
func knownRoles(v any) []string {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var roles []actor.Role
	for _, e := range list {
		name, _ := e.(string)
		if role, ok := actor.ParseRole(strings.ToLower(name)); ok {
			roles = append(roles, role)
		}
	}
	return roleNames(roles)
}

// upstreamTime reads Python's isoformat, and 0.14's own form. Without a zone it
// is local time, as datetime.now() writes it.
func upstreamTime(text string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "060102_150405"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil && t.Year() > 1970 && t.Year() < 9999 {
			return t, true
		}
	}
	return time.Time{}, false
}

func readGroups(data []byte, r *Report) (map[string]upstreamGroup, error) {
	var raw map[string]json.RawMessage
	if err := elements(data, "groups.json", &raw); err != nil {
		return nil, err
	}
	groups := make(map[string]upstreamGroup, len(raw))
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		var g upstreamGroup
		switch err := json.Unmarshal(raw[name], &g); {
		case err != nil:
			r.remark("groups.json: %q is no group", storable(name, groupNameLimit))
		case (NewGroup{Name: name}).check() != nil:
			r.remark("group %q: %s", storable(name, groupNameLimit), ErrGroupName.Msg)
		default:
			groups[name] = g
		}
	}
	return groups, nil
}

func (s *Service) importUsers(ctx context.Context, tx pgx.Tx, rows []db.InsertUserIfAbsentParams, r *Report) error {
	for _, row := range rows {
		outcome, err := s.importName(ctx, tx, formerUser, row.Username, r, func(tx pgx.Tx) (int64, error) {
			return s.q.InsertUserIfAbsent(ctx, tx, row)
		})
		switch {
		case err != nil:
			return err
		case outcome == added:
			r.UsersAdded++
		case outcome == kept:
			r.UsersKept++
		}
	}
	return nil
}

// outcome is what became of an entry.
type outcome int

const (
	passedOver outcome = iota
	kept               // what was there
	added
)

// importName inserts a user or group, but not under a name of which something
// is left here by somebody who was deleted.
func (s *Service) importName(ctx context.Context, tx pgx.Tx, kind, name string, r *Report, insert func(pgx.Tx) (int64, error)) (outcome, error) {
	what := kept
	err := postgres.InTx(ctx, tx, func(tx pgx.Tx) error {
		n, err := insert(tx)
		if err != nil {
			return fmt.Errorf("import %s %q: %w", kind, name, err)
		}
		if n == 0 {
			return nil
		}
		what = added
		_, err = s.claim(ctx, tx, kind, name, false)
		return err
	})
	if errors.Is(err, ErrFormerName) {
		r.remark("%s %q: %s", kind, name, err)
		return passedOver, nil
	}
	return what, err
}

func (s *Service) importGroups(ctx context.Context, tx pgx.Tx, groups map[string]upstreamGroup, r *Report) error {
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		g := groups[name]
		row := db.InsertGroupIfAbsentParams{ID: newID(), Name: name, CreatedBy: storable(g.CreatedBy, usernameLimit), CreatedAt: s.clock()}
		if g.Description != nil {
			row.Description = storable(*g.Description, descriptionLimit)
		}
		if t, ok := upstreamTime(g.CreatedAt); ok {
			row.CreatedAt = t
		}
		outcome, err := s.importName(ctx, tx, formerGroup, name, r, func(tx pgx.Tx) (int64, error) {
			return s.q.InsertGroupIfAbsent(ctx, tx, row)
		})
		switch {
		case err != nil:
			return err
		case outcome == kept:
			r.GroupsKept++
		case outcome == added:
			r.GroupsAdded++
			if err = s.importMembers(ctx, tx, name, g.Users, r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Service) importMembers(ctx context.Context, tx pgx.Tx, group string, users []string, r *Report) error {
	var names []string
	for _, u := range users {
		if name := actor.FoldUsername(u); name != GuestName && plain(name, usernameLimit) {
			names = append(names, name)
		}
	}
	n, err := s.q.AddGroupMembers(ctx, tx, group, names)
	if err != nil {
		return fmt.Errorf("import members of group %q: %w", group, err)
	}
	r.MembersAdded += int(n)
	if missing := len(users) - int(n); missing > 0 {
		r.remark("group %q: %d of its members are no users here, or the guest", group, missing)
	}
	return nil
}
