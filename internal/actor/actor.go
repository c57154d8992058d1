// Package actor says who is acting and what that lets them do: roles, their
// permissions, and the scope that an API token narrows them to. It knows no
// tokens, no HTTP and no SQL. An Actor travels in the context; where there is
// none, nothing is allowed.
package actor

import (
	"context"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
)

// FoldUsername is how names of users are compared: upstream stores them in lower
// case. What is not UTF-8 stays so, to be refused.
func FoldUsername(name string) string {
	if !utf8.ValidString(name) {
		return name
	}
	return strings.ToLower(name)
}

// Permission is one thing a role may allow.
type Permission string

// The permissions, spelled as upstream's tokens and clients spell them.
const (
	Read         Permission = "read"
	Write        Permission = "write"
	Create       Permission = "create"
	Delete       Permission = "delete"
	ManageUsers  Permission = "manage_users"
	ManageGroups Permission = "manage_groups"
)

// ParsePermission accepts upstream's spellings: READ, read, Permission.READ.
func ParsePermission(s string) (Permission, bool) {
	p := Permission(strings.ToLower(strings.TrimPrefix(s, "Permission.")))
	return p, slices.Contains([]Permission{Read, Write, Create, Delete, ManageUsers, ManageGroups}, p)
}

// Role is a named set of permissions; roles are ranked.
type Role string

// The roles in rising rank.
const (
	Reader      Role = "reader"
	Contributor Role = "contributor"
	Admin       Role = "admin"
)

// matrix is the whole of what roles allow; nothing else grants a permission
// but ownership and sharing of a scan, which scan.policy adds.
var matrix = map[Role][]Permission{
	Reader:      {Read},
	Contributor: {Read, Write, Create},
	Admin:       {Read, Write, Create, Delete, ManageUsers, ManageGroups},
}

// ParseRole returns the role of that name.
func ParseRole(s string) (Role, bool) {
	_, ok := matrix[Role(s)]
	return Role(s), ok
}

// Rank orders roles: one may give roles up to one's own rank. An unknown role
// has rank 0.
func (r Role) Rank() int {
	return map[Role]int{Reader: 1, Contributor: 2, Admin: 3}[r]
}

// Allows says whether the role has the permission.
func (r Role) Allows(p Permission) bool { return slices.Contains(matrix[r], p) }

// Actor is somebody acting. The zero Actor may do nothing.
type Actor struct {
	UserID   uuid.UUID
	Username string
	Fullname string
	Roles    []Role
	Groups   []string

	// SessionID is the session of an access token, else zero.
	SessionID uuid.UUID
	// TokenID is the id of an API token, else zero.
	TokenID uuid.UUID
	// Scope narrows an API token; nil for a person.
	Scope *Scope
	// Guest marks a request without a token that acts as the guest user.
	Guest bool
	// Trusted marks the server's own work (indexing, the command line on
	// the machine); it is never made from a token.
	Trusted bool
}

// System is the actor of the server's own work.
func System() Actor {
	return Actor{Username: "system", Fullname: "PlantDB", Roles: []Role{Admin}, Trusted: true}
}

// HighestRole returns the role of the highest rank; empty when there is none.
func (a Actor) HighestRole() Role {
	var best Role
	for _, r := range a.Roles {
		if r.Rank() > best.Rank() {
			best = r
		}
	}
	return best
}

// IsAdmin says whether the actor has the admin role and no token narrows it.
func (a Actor) IsAdmin() bool { return a.Scope == nil && a.HighestRole() == Admin }

// InGroup says whether the actor is a member of any of the groups.
func (a Actor) InGroup(groups []string) bool {
	return slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(a.Groups, g) })
}

// May says whether the actor's roles allow p on things that are not scans:
// accounts and groups. An API token never manages.
func (a Actor) May(p Permission) bool {
	if a.Scope != nil && (p == ManageUsers || p == ManageGroups) {
		return false
	}
	return a.HighestRole().Allows(p)
}

// MayOn says whether effective, the role the actor has on the thing of that
// name, allows p there: an API token must have the permission on the name as
// well, and never gives what its owner does not have now.
func (a Actor) MayOn(name string, effective Role, p Permission) bool {
	return effective.Allows(p) && (a.Scope == nil || a.Scope.Allows(name, p))
}

type key struct{}

// NewContext returns a context in which a acts.
func NewContext(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, key{}, a)
}

// FromContext returns who acts; ok is false when nobody does.
func FromContext(ctx context.Context) (a Actor, ok bool) {
	a, ok = ctx.Value(key{}).(Actor)
	return a, ok
}
