package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/postgres"
)

const (
	groupNameLimit   = 64
	descriptionLimit = 1000 // ErrGroupDescription says so
)

// Group is a set of users with whom scans can be shared.
type Group struct {
	Name, Description string
	CreatedBy         string
	CreatedAt         time.Time
	Members           []string // usernames, sorted
}

func groupOf(g db.Group, members []string) Group {
	return Group{Name: g.Name, Description: g.Description, CreatedBy: g.CreatedBy, CreatedAt: g.CreatedAt, Members: members}
}

// Groups pages through the groups in the order of their names, beginning after
// the given one: all for who manages groups, else those one is a member of.
func (s *Service) Groups(ctx context.Context, after string, limit int) ([]Group, error) {
	a, err := person(ctx, "list_groups")
	if err != nil {
		return nil, err
	}
	var member *uuid.UUID
	if !a.May(actor.ManageGroups) {
		member = &a.UserID
	}
	rows, err := s.q.ListGroups(ctx, s.db, storable(after, groupNameLimit), member, int32(min(max(limit, 1), maxPage)))
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	groups := make([]Group, 0, len(rows))
	for _, r := range rows {
		groups = append(groups, groupOf(r.Group, r.Members))
	}
	return groups, nil
}

// Group returns a group for who manages groups and for its members;
// ErrGroupUnknown for all others.
func (s *Service) Group(ctx context.Context, name string) (Group, error) {
	a, err := person(ctx, "get_group")
	if err != nil {
		return Group{}, err
	}
	return s.group(ctx, s.db, a, name)
}

func (s *Service) group(ctx context.Context, tx db.DBTX, a actor.Actor, name string) (Group, error) {
	if !plain(name, groupNameLimit) {
		return Group{}, ErrGroupUnknown
	}
	row, err := s.q.GetGroup(ctx, tx, name)
	if errors.Is(err, pgx.ErrNoRows) {
		return Group{}, ErrGroupUnknown
	}
	if err != nil {
		return Group{}, fmt.Errorf("read group: %w", err)
	}
	if !a.May(actor.ManageGroups) && !slices.Contains(row.Members, a.Username) {
		return Group{}, ErrGroupUnknown
	}
	return groupOf(row.Group, row.Members), nil
}

// NewGroup is a group to be made, of the named users.
type NewGroup struct {
	Name, Description string
	Members           []string
	// TakeOver shares with it what was shared with a group of that name that
	// was deleted.
	TakeOver bool
}

func (n NewGroup) check() error {
	if !plain(n.Name, groupNameLimit) || aDot(n.Name) || strings.Contains(n.Name, "/") || strings.TrimSpace(n.Name) != n.Name {
		return ErrGroupName
	}
	if n.Description != "" && !plain(n.Description, descriptionLimit) {
		return ErrGroupDescription
	}
	return nil
}

// CreateGroup makes a group. Whoever acts must manage groups. ErrGroupName,
// ErrGroupDescription, ErrGroupExists; ErrFormerName if something is still shared with a group of
// that name that was deleted, and the new one is not to take it over;
// ErrUserUnknown if a member is none, and then there is no group either.
func (s *Service) CreateGroup(ctx context.Context, n NewGroup) (Group, error) {
	a, err := allowed(ctx, actor.ManageGroups, "create_group")
	if err != nil {
		return Group{}, err
	}
	if err = n.check(); err != nil {
		return Group{}, err
	}
	var g Group
	err = postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		if err := s.insertGroup(ctx, tx, a, n); err != nil {
			return err
		}
		for _, m := range n.Members {
			if err := s.addMember(ctx, tx, n.Name, m); err != nil {
				return err
			}
		}
		g, err = s.group(ctx, tx, a, n.Name)
		return err
	})
	s.actors.forget()
	return g, err
}

// insertGroup stores a group that was checked.
func (s *Service) insertGroup(ctx context.Context, tx pgx.Tx, a actor.Actor, n NewGroup) error {
	err := s.q.InsertGroup(ctx, tx, db.InsertGroupParams{
		ID: newID(), Name: n.Name, Description: n.Description, CreatedBy: a.Username, CreatedAt: s.clock(),
	})
	if postgres.Violates(err, "groups_name_key") {
		return ErrGroupExists.With("Group '%s' already exists", n.Name)
	}
	if err != nil {
		return fmt.Errorf("insert group %q: %w", n.Name, err)
	}
	took, err := s.claim(ctx, tx, formerGroup, n.Name, n.TakeOver)
	if err != nil {
		return err
	}
	detail := n.Name
	if took != "" {
		detail += ": took over " + took
	}
	return s.record(ctx, tx, event{kind: eventGroupCreate, username: a.Username, detail: detail})
}

// addMember puts a user into a group that exists.
func (s *Service) addMember(ctx context.Context, tx pgx.Tx, group, member string) error {
	member = actor.FoldUsername(member)
	if member == GuestName {
		return ErrGuest // it would share with everybody
	}
	if _, err := s.lockUser(ctx, tx, member); err != nil {
		return err
	}
	if _, err := s.q.AddGroupMembers(ctx, tx, group, []string{member}); err != nil {
		return fmt.Errorf("add member to group %q: %w", group, err)
	}
	return nil
}

// AddMember puts a user into a group; it is no error if they are in it.
// Members may do it, and who manages groups. ErrGroupUnknown, ErrUserUnknown,
// ErrGuest.
func (s *Service) AddMember(ctx context.Context, name, username string) error {
	return s.changeMembers(ctx, name, "add_user_to_group", "added "+actor.FoldUsername(username), func(tx pgx.Tx) error {
		return s.addMember(ctx, tx, name, username)
	})
}

// RemoveMember takes a user out of a group. Members may do it, and who manages
// groups. ErrGroupUnknown; ErrUserUnknown for who is not in it.
func (s *Service) RemoveMember(ctx context.Context, name, username string) error {
	member := actor.FoldUsername(username)
	return s.changeMembers(ctx, name, "remove_user_from_group", "removed "+member, func(tx pgx.Tx) error {
		if !plain(member, usernameLimit) {
			return unknownUser(member)
		}
		n, err := s.q.RemoveGroupMember(ctx, tx, name, member)
		if err != nil {
			return fmt.Errorf("remove member of group %q: %w", name, err)
		}
		if n == 0 {
			return ErrUserUnknown.With("User '%s' is not in group '%s'", member, name)
		}
		return nil
	})
}

func (s *Service) changeMembers(ctx context.Context, name, operation, detail string, change func(pgx.Tx) error) error {
	a, err := person(ctx, operation)
	if err != nil {
		return err
	}
	err = postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		if _, err := s.group(ctx, tx, a, name); err != nil {
			return err
		}
		if err := change(tx); err != nil {
			return err
		}
		return s.record(ctx, tx, event{kind: eventGroupUpdate, username: a.Username, detail: name + ": " + detail})
	})
	s.actors.forget()
	return err
}

// DeleteGroup removes a group; scans shared with it are shared no more, nor with
// another group of that name unless CreateGroup is told so. Whoever acts must
// manage groups. ErrGroupUnknown.
func (s *Service) DeleteGroup(ctx context.Context, name string) error {
	a, err := allowed(ctx, actor.ManageGroups, "delete_group")
	if err != nil {
		return err
	}
	if !plain(name, groupNameLimit) {
		return ErrGroupUnknown
	}
	err = postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		n, err := s.q.DeleteGroup(ctx, tx, s.clock(), name)
		if err != nil {
			return fmt.Errorf("delete group %q: %w", name, err)
		}
		if n == 0 {
			return ErrGroupUnknown
		}
		return s.record(ctx, tx, event{kind: eventGroupDelete, username: a.Username, detail: name})
	})
	s.actors.forget()
	return err
}
