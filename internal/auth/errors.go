package auth

import (
	"context"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fault"
)

// The failures of this package. What is wrong with a token is told by the
// errors of package tokenauth instead.
var (
	// ErrNoUser: nobody is logged in, and the guest may not act.
	ErrNoUser = fault.New(fault.Unauthenticated, "token_missing", "No authenticated user!")
	// ErrForbidden: known, but without the permission. Its text names user and operation.
	ErrForbidden = fault.New(fault.Forbidden, "forbidden", "User does not have required permissions")
	// ErrCredentials: unknown, wrong, locked and inactive alike.
	ErrCredentials = fault.New(fault.Unauthenticated, "invalid_credentials", "Invalid credentials")
	// ErrSessionLimit: the user has as many sessions as allowed.
	ErrSessionLimit = fault.New(fault.Conflict, "session_limit", "Too many sessions; log out of another one first")
	// ErrBusy: more passwords wait to be hashed than may.
	ErrBusy = fault.New(fault.Unavailable, "busy", "Too many logins at once; try again shortly")
	// ErrNotLoggedIn: log out of a session that is over.
	ErrNotLoggedIn = fault.New(fault.Unauthenticated, "no_session", "Logout failed, no active session!")
	// ErrLogout: log out with a token that has no session.
	ErrLogout = fault.New(fault.Unauthenticated, "logout_failed", "Logout failed")
	// ErrSessionUnknown: no such session, or none the caller may see.
	ErrSessionUnknown = fault.New(fault.NotFound, "session_not_found", "Session not found")

	// ErrMissingFields: a user without name, full name or password.
	ErrMissingFields = fault.New(fault.Invalid, "missing_fields", "Missing required fields. Please provide username, fullname, and password")
	// ErrUserName: a name with spaces, slashes or control characters, over 64
	// bytes, or one or two dots.
	ErrUserName = fault.New(fault.Invalid, "user_name", "A username has 1 to 64 bytes and no spaces, slashes or control characters, and is not . or ..")
	// ErrFullname: a full name with control characters, or over 200 bytes.
	ErrFullname = fault.New(fault.Invalid, "user_fullname", "A full name has 1 to 200 bytes and no control characters")
	// ErrPassword: a password the rules refuse. Its text names the rule.
	ErrPassword = fault.New(fault.Invalid, "password_rule", "The password is not acceptable")
	// ErrPasswordWrong: the current password, asked for before a change, is not right.
	ErrPasswordWrong = fault.New(fault.Forbidden, "wrong_password", "The current password is not right")
	// ErrUserExists: the name is taken.
	ErrUserExists = fault.New(fault.Conflict, "user_exists", "Failed to create user: User already exists")
	// ErrFormerName: somebody who was deleted had the name, and something still
	// names them. Its text counts what.
	ErrFormerName = fault.New(fault.Conflict, "former_name", "Something still names the one of that name who was deleted")
	// ErrUserUnknown: no such user.
	ErrUserUnknown = fault.New(fault.NotFound, "user_not_found", "User not found")
	// ErrRoleUnknown: no role at all, or one of an unknown name.
	ErrRoleUnknown = fault.New(fault.Invalid, "unknown_role", "A role is one of reader, contributor, admin")
	// ErrRoleRank: a role above one's own given, or somebody above one's own rank changed.
	ErrRoleRank = fault.New(fault.Forbidden, "role_above_own", "A role above one's own cannot be assigned")
	// ErrLastAdmin: nobody could administer afterwards.
	ErrLastAdmin = fault.New(fault.Conflict, "last_admin", "The last active administrator cannot be removed")
	// ErrGuest: the guest stays a reader without password and groups.
	ErrGuest = fault.New(fault.Invalid, "guest_user", "The guest user cannot be changed in this way")
	// ErrLink: a one-time secret that is unknown, used or too old.
	ErrLink = fault.New(fault.NotFound, "link_not_valid", "This link is not valid any more")

	// ErrGroupName: a name with control characters or slashes, over 64 bytes, or
	// one or two dots.
	ErrGroupName = fault.New(fault.Invalid, "group_name", "A group name has 1 to 64 bytes, no slashes or control characters and no spaces around it, and is not . or ..")
	// ErrGroupDescription: a description with control characters, or over 1000 bytes.
	ErrGroupDescription = fault.New(fault.Invalid, "group_description", "A description has at most 1000 bytes and no control characters")
	// ErrGroupExists: the name is taken.
	ErrGroupExists = fault.New(fault.Conflict, "group_exists", "Group already exists")
	// ErrGroupUnknown: no such group, or none the caller may see.
	ErrGroupUnknown = fault.New(fault.NotFound, "group_not_found", "Group not found")

	// ErrAPIToken: an API token that cannot be asked for so. Its text says why.
	ErrAPIToken = fault.New(fault.Invalid, "api_token", "The API token cannot be created")
	// ErrAPITokenUnknown: no such token, or none the caller may see.
	ErrAPITokenUnknown = fault.New(fault.NotFound, "api_token_not_found", "API token not found")

	// ErrImport: a file that is not what its name says, or too large.
	ErrImport = fault.New(fault.Invalid, "import", "The file cannot be imported")
)

// forbidden names who lacks the permission for what, as upstream does.
func forbidden(a actor.Actor, operation string) error {
	who := "User"
	if a.Scope != nil {
		who = "Token from User"
	}
	return ErrForbidden.With("%s %s does not have required permissions to use %s", who, a.Username, operation)
}

// allowed returns who acts if they have the permission.
func allowed(ctx context.Context, p actor.Permission, operation string) (actor.Actor, error) {
	a, ok := actor.FromContext(ctx)
	if !ok || a.Guest {
		return actor.Actor{}, ErrNoUser
	}
	if !a.May(p) {
		return actor.Actor{}, forbidden(a, operation)
	}
	return a, nil
}

// person returns who acts if they logged in themselves: an API token manages
// no account, not even its owner's.
func person(ctx context.Context, operation string) (actor.Actor, error) {
	a, ok := actor.FromContext(ctx)
	if !ok || a.Guest {
		return actor.Actor{}, ErrNoUser
	}
	if a.Scope != nil {
		return actor.Actor{}, forbidden(a, operation)
	}
	return a, nil
}

// self returns who acts if username is themselves, or if they manage users.
func self(ctx context.Context, username, operation string) (actor.Actor, error) {
	a, err := person(ctx, operation)
	if err != nil {
		return actor.Actor{}, err
	}
	if a.Username != username && !a.May(actor.ManageUsers) {
		return actor.Actor{}, forbidden(a, operation)
	}
	return a, nil
}
