package auth

import (
	"context"
	"fmt"
	"slices"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
)

// MissingGroups returns those of the names that are no group, for package scan
// to refuse sharing with them. It asks for no permission: whoever may share a
// scan may learn that a group does not exist.
func (s *Service) MissingGroups(ctx context.Context, from db.DBTX, names []string) ([]string, error) {
	possible := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !plain(n, groupNameLimit) })
	found, err := s.q.ListGroupsNamed(ctx, from, possible)
	if err != nil {
		return nil, fmt.Errorf("look for groups: %w", err)
	}
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(found, n) }), nil
}

// Owner returns the name of the user who is called so, in whatever case; ok is
// false if nobody is, and for the guest, who owns nothing. It asks for no
// permission: whoever may give a scan away may learn that a user does not exist.
func (s *Service) Owner(ctx context.Context, from db.DBTX, username string) (name string, ok bool, err error) {
	name = actor.FoldUsername(username)
	if name == GuestName {
		return "", false, nil
	}
	ok, err = s.usernameExists(ctx, from, name)
	return name, ok, err
}

// RecordAccess adds a change of who may do what with a scan to the audit trail,
// in the transaction that makes it. It is for package scan, which has asked for
// permission.
func (s *Service) RecordAccess(ctx context.Context, tx db.DBTX, kind, detail string) error {
	a, _ := actor.FromContext(ctx)
	return s.record(ctx, tx, event{kind: kind, username: a.Username, detail: detail})
}
