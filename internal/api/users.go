package api

import (
	"context"
	"net/http"
	"time"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/auth"
)

const tagUsers = "users"

// user is auth.User on the wire.
type user struct {
	Username  string     `json:"username"`
	Fullname  string     `json:"fullname"`
	Roles     []string   `json:"roles"`
	Groups    []string   `json:"groups"`
	Active    bool       `json:"active"`
	CreatedAt time.Time  `json:"created_at"`
	LastLogin *time.Time `json:"last_login" doc:"Null before the first login."`
}

func userOf(u auth.User) user {
	out := user{
		Username: u.Username, Fullname: u.Fullname, Roles: make([]string, len(u.Roles)), Groups: append([]string{}, u.Groups...),
		Active: u.Active, CreatedAt: u.CreatedAt, LastLogin: u.LastLoginAt,
	}
	for i, r := range u.Roles {
		out.Roles[i] = string(r)
	}
	return out
}

type userList struct {
	Users []user `json:"users" doc:"By name."`
}

type userPatch struct {
	Fullname *string  `json:"fullname,omitempty"`
	Roles    []string `json:"roles,omitempty" enum:"reader,contributor,admin" doc:"At least one, at most of your own rank."`
	Active   *bool    `json:"active,omitempty" doc:"False ends all sessions and API tokens at once; true does not bring them back."`
	Unlock   bool     `json:"unlock,omitempty" doc:"Forget failed logins."`
}

type passwordChange struct {
	Current string `json:"current_password" format:"password"`
	New     string `json:"new_password" format:"password" doc:"From PASSWORD_MIN_LENGTH characters to 1024 bytes, and not a common one."`
}

type oneTimeSecret struct {
	Secret  string    `json:"secret" doc:"Shown once; good once."`
	Expires time.Time `json:"expires"`
}

type passwordRedeem struct {
	Secret string `json:"secret"`
	New    string `json:"new_password" format:"password"`
}

type setupRequest struct {
	Secret   string `json:"secret" doc:"Printed by the server at its first start."`
	Username string `json:"username" example:"alice"`
	Fullname string `json:"fullname" example:"Alice Martin"`
	Password string `json:"password" format:"password"`
}

// UserPath names a user in a path.
type UserPath struct {
	Username string `path:"username" doc:"Compared in lower case." example:"alice"`
}

// PageQuery pages through a list by name.
type PageQuery struct {
	After string `query:"after" doc:"Begin after this name." example:"alice"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Most names on a page; fewer mean that it is the last."`
}

var accountErrors = []int{http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusUnsupportedMediaType, http.StatusRequestEntityTooLarge}

func (s *server) registerUsers() {
	register(s, route{
		id: "list-users", method: http.MethodGet, path: "/users", tag: tagUsers, security: required, needs: toManageUsers,
		summary: "List users", doc: "Needs the permission to manage users.", errors: []int{http.StatusForbidden},
	}, func(ctx context.Context, in *PageQuery) (*reply[userList], error) {
		list, err := s.auth.Users(ctx, in.After, in.Limit)
		out := userList{Users: make([]user, len(list))}
		for i, u := range list {
			out.Users[i] = userOf(u)
		}
		return replyOf(out, err)
	})
	register(s, route{
		id: "get-user", method: http.MethodGet, path: "/users/{username}", tag: tagUsers, security: required, needs: toManageUsers,
		summary: "Read a user", doc: "Yourself, or anybody for who manages users.", errors: []int{http.StatusForbidden, http.StatusNotFound},
	}, func(ctx context.Context, in *UserPath) (*reply[user], error) {
		u, err := s.auth.User(ctx, in.Username)
		return replyOf(userOf(u), err)
	})
	register(s, route{
		id: "update-user", method: http.MethodPatch, path: "/users/{username}", tag: tagUsers, security: required, needs: toManageUsers,
		faults:  []error{auth.ErrLastAdmin, auth.ErrRoleRank, auth.ErrRoleUnknown, auth.ErrFullname, auth.ErrGuest},
		summary: "Change a user", doc: "Full name, roles, active or not; the last active administrator stays one.", errors: accountErrors,
	}, s.updateUser)
	register(s, route{
		id: "delete-user", method: http.MethodDelete, path: "/users/{username}", tag: tagUsers, security: required, needs: toManageUsers,
		faults:  []error{auth.ErrLastAdmin, auth.ErrRoleRank, auth.ErrGuest},
		summary: "Delete a user", doc: "Ends all sessions and API tokens; scans keep the name of their owner, and nobody else gets that name meanwhile. The last active administrator stays.",
		errors: []int{http.StatusForbidden, http.StatusNotFound, http.StatusConflict}, status: http.StatusNoContent,
	}, func(ctx context.Context, in *UserPath) (*struct{}, error) {
		return nil, s.auth.DeleteUser(ctx, in.Username)
	})
	register(s, route{
		id: "change-password", method: http.MethodPost, path: "/users/{username}/password", tag: tagUsers, security: required, needs: byPerson, rate: rateLogin,
		faults:  []error{auth.ErrPasswordWrong, auth.ErrMissingFields, auth.ErrPassword, auth.ErrUserUnknown, auth.ErrBusy},
		summary: "Change a password", doc: "Needs the current one and ends all other sessions; a wrong one counts as a failed login.",
		errors: []int{http.StatusForbidden, http.StatusUnsupportedMediaType, http.StatusRequestEntityTooLarge}, status: http.StatusNoContent,
	}, func(ctx context.Context, in *struct {
		UserPath
		Payload Strict[passwordChange]
	}) (*struct{}, error) {
		return nil, s.auth.ChangePassword(ctx, in.Username, in.Payload.Value.Current, in.Payload.Value.New)
	})
	register(s, route{
		id: "reset-password", method: http.MethodPost, path: "/users/{username}/password-reset", tag: tagUsers, security: required, needs: toManageUsers,
		faults:  []error{auth.ErrRoleRank, auth.ErrGuest},
		summary: "Let a user set a new password", doc: "Returns a secret to hand over; the old password works until it is used.",
		errors: []int{http.StatusForbidden, http.StatusNotFound},
	}, func(ctx context.Context, in *UserPath) (*reply[oneTimeSecret], error) {
		secret, expires, err := s.auth.ResetPassword(ctx, in.Username)
		return replyOf(oneTimeSecret{secret, expires}, err)
	})
	register(s, route{
		id: "list-user-sessions", method: http.MethodGet, path: "/users/{username}/sessions", tag: tagUsers, security: required, needs: toManageUsers,
		summary: "List the sessions of a user",
		doc:     "Those that still live, the last used first. Your own, or anybody's for who manages users.", errors: []int{http.StatusForbidden, http.StatusNotFound},
	}, func(ctx context.Context, in *UserPath) (*reply[sessionList], error) {
		return s.sessionsOf(ctx, in.Username)
	})
	register(s, route{
		id: "end-user-sessions", method: http.MethodDelete, path: "/users/{username}/sessions", tag: tagUsers, security: required, needs: toManageUsers,
		summary: "End all sessions of a user",
		doc:     "Both tokens of each are void at once, on every server. Your own, or anybody's for who manages users.", errors: []int{http.StatusForbidden, http.StatusNotFound},
	}, func(ctx context.Context, in *UserPath) (*reply[endedSessions], error) {
		return s.endSessions(ctx, in.Username, auth.All)
	})
	register(s, route{
		id: "list-user-api-tokens", method: http.MethodGet, path: "/users/{username}/api-tokens", tag: tagUsers, security: required, needs: toManageUsers,
		summary: "List the API tokens of a user",
		doc: "Those that still count, the newest first. Your own, or anybody's for who manages users. The tokens themselves cannot be read again; " +
			"one of them is revoked by its id, DELETE /auth/api-tokens/{id}.",
		errors: []int{http.StatusForbidden, http.StatusNotFound},
	}, func(ctx context.Context, in *UserPath) (*reply[apiTokenList], error) {
		return s.apiTokensOf(ctx, in.Username)
	})
	register(s, route{
		id: "revoke-user-api-tokens", method: http.MethodDelete, path: "/users/{username}/api-tokens", tag: tagUsers, security: required, needs: toManageUsers,
		summary: "Revoke all API tokens of a user",
		doc:     "They are void at once, on every server. Your own, or anybody's for who manages users.", errors: []int{http.StatusForbidden, http.StatusNotFound},
	}, func(ctx context.Context, in *UserPath) (*reply[revokedTokens], error) {
		n, err := s.auth.RevokeAPITokens(ctx, in.Username)
		return replyOf(revokedTokens{"API tokens revoked", n}, err)
	})
	s.registerSecrets()
}

func (s *server) updateUser(ctx context.Context, in *struct {
	UserPath
	Payload Strict[userPatch]
}) (*reply[user], error) {
	p := in.Payload.Value
	patch := auth.UserPatch{Fullname: p.Fullname, Active: p.Active, Unlock: p.Unlock}
	if p.Roles != nil { // an empty list is no change of nothing: nobody is without a role
		patch.Roles = make([]actor.Role, len(p.Roles))
	}
	for i, r := range p.Roles {
		patch.Roles[i] = actor.Role(r)
	}
	u, err := s.auth.UpdateUser(ctx, in.Username, patch)
	return replyOf(userOf(u), err)
}

// registerSecrets adds the routes that one-time secrets are used up by.
func (s *server) registerSecrets() {
	register(s, route{
		id: "redeem-password-reset", method: http.MethodPost, path: "/auth/password-reset", tag: tagAuth, security: public, rate: rateLogin,
		faults:  []error{auth.ErrLink, auth.ErrMissingFields, auth.ErrPassword, auth.ErrBusy},
		summary: "Set a new password with a secret", doc: "Ends all sessions of the user and forgets failed logins.",
		errors: []int{http.StatusBadRequest, http.StatusNotFound, http.StatusUnsupportedMediaType, http.StatusRequestEntityTooLarge},
	}, func(ctx context.Context, in *struct{ Payload Strict[passwordRedeem] }) (*reply[user], error) {
		u, err := s.auth.RedeemReset(ctx, in.Payload.Value.Secret, in.Payload.Value.New)
		return replyOf(userOf(u), err)
	})
	register(s, route{
		id: "complete-setup", method: http.MethodPost, path: "/auth/setup", tag: tagAuth, security: public, rate: rateLogin, status: http.StatusCreated,
		faults:  []error{auth.ErrLink, auth.ErrMissingFields, auth.ErrUserName, auth.ErrFullname, auth.ErrPassword, auth.ErrUserExists, auth.ErrBusy},
		summary: "Make the first administrator", doc: "With the secret that the server printed at its first start.",
		errors: []int{http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusUnsupportedMediaType, http.StatusRequestEntityTooLarge},
	}, func(ctx context.Context, in *struct{ Payload Strict[setupRequest] }) (*reply[user], error) {
		r := in.Payload.Value
		u, err := s.auth.CompleteSetup(ctx, r.Secret, auth.NewUser{Username: r.Username, Fullname: r.Fullname, Password: r.Password})
		return replyOf(userOf(u), err)
	})
}
