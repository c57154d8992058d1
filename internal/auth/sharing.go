package auth

import (
	"context"
	"fmt"
	"slices"
)

// MissingGroups returns those of the names that are no group, for package scan
// to refuse sharing with them. It asks for no permission: whoever may share a
// scan may learn that a group does not exist.
func (s *Service) MissingGroups(ctx context.Context, names []string) ([]string, error) {
	found, err := s.q.ListGroupsNamed(ctx, s.db, names)
	if err != nil {
		return nil, fmt.Errorf("look for groups: %w", err)
	}
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(found, n) }), nil
}
