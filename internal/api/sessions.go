package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/uuid"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/auth"
	"github.com/romi/plantdb-go/tokenauth"
)

// session is auth.Session on the wire.
type session struct {
	ID         uuid.UUID `json:"id" format:"uuid"`
	CreatedAt  time.Time `json:"created_at"`
	LastSeenAt time.Time `json:"last_seen_at" doc:"To the minute."`
	ExpiresAt  time.Time `json:"expires_at" doc:"When it ends unless it is refreshed."`
	Address    string    `json:"address" doc:"Where it was opened; empty when unknown."`
	UserAgent  string    `json:"user_agent"`
	Current    bool      `json:"current" doc:"The session of this request."`
}

type sessionList struct {
	Sessions []session `json:"sessions" doc:"Live sessions, the last used first."`
}

type endedSessions struct {
	Message string `json:"message"`
	Ended   int    `json:"ended" doc:"How many sessions ended."`
}

// apiTokenInfo is auth.APIToken on the wire.
type apiTokenInfo struct {
	ID         uuid.UUID           `json:"id" format:"uuid"`
	Name       string              `json:"name"`
	Prefix     string              `json:"prefix" doc:"The beginning of the token's jti."`
	Datasets   map[string][]string `json:"datasets" doc:"Glob of scan ids to permissions."`
	CreatedAt  time.Time           `json:"created_at"`
	ExpiresAt  time.Time           `json:"expires_at"`
	LastUsedAt *time.Time          `json:"last_used_at" doc:"To the minute; null when it was never used."`
}

type apiTokenList struct {
	APITokens []apiTokenInfo `json:"api_tokens" doc:"Live API tokens, the newest first."`
}

type revokedTokens struct {
	Message string `json:"message"`
	Revoked int    `json:"revoked" doc:"How many API tokens were revoked."`
}

// tokenReport is what AuthX's demonstration routes say of a token that they
// found and did not validate.
type tokenReport struct {
	Found    bool   `json:"found"`
	Location string `json:"location" doc:"headers, cookies, query or json; empty without a token."`
	Type     string `json:"type" doc:"What the place it was found in is for."`
	CSRF     bool   `json:"csrf" doc:"A CSRF value came with it."`
}

type profile struct {
	Username string   `json:"username"`
	Fullname string   `json:"fullname"`
	Roles    []string `json:"roles"`
	Groups   []string `json:"groups"`
}

type idPath struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"Id as the list shows it."`
}

func (s *server) registerSessions() {
	register(s, route{
		id: "list-sessions", method: http.MethodGet, path: "/auth/sessions", tag: tagAuth, security: required, needs: byPerson,
		faults:  []error{auth.ErrUserUnknown},
		summary: "List my sessions",
		doc:     "Your own that still live, the last used first.", errors: []int{http.StatusForbidden},
	}, func(ctx context.Context, _ *struct{}) (*reply[sessionList], error) {
		return s.sessionsOf(ctx, usernameOf(ctx))
	})
	register(s, route{
		id: "end-session", method: http.MethodDelete, path: "/auth/sessions/{id}", tag: tagAuth, security: required, needs: byPerson,
		faults:  []error{auth.ErrSessionUnknown},
		summary: "End a session", doc: "One of your own; administrators may end anybody's.",
		errors: []int{http.StatusForbidden, http.StatusNotFound}, status: http.StatusNoContent,
	}, func(ctx context.Context, in *idPath) (*struct{}, error) {
		return nil, s.auth.EndSession(ctx, in.ID)
	})
	register(s, route{
		id: "end-sessions", method: http.MethodDelete, path: "/auth/sessions", tag: tagAuth, security: required, needs: byPerson,
		faults:  []error{auth.ErrUserUnknown},
		summary: "End my other sessions, or all",
		doc:     "Both tokens of each are void at once, on every server.", errors: []int{http.StatusForbidden},
	}, func(ctx context.Context, in *struct {
		Scope string `query:"scope" required:"true" enum:"others,all" doc:"others leaves the session of this request."`
	}) (*reply[endedSessions], error) {
		return s.endSessions(ctx, usernameOf(ctx), auth.Scope(in.Scope))
	})
	register(s, route{
		id: "list-api-tokens", method: http.MethodGet, path: "/auth/api-tokens", tag: tagAuth, security: required, needs: byPerson,
		faults:  []error{auth.ErrUserUnknown},
		summary: "List my API tokens",
		doc:     "Your own that still count, the newest first. The tokens themselves cannot be read again.", errors: []int{http.StatusForbidden},
	}, func(ctx context.Context, _ *struct{}) (*reply[apiTokenList], error) {
		return s.apiTokensOf(ctx, usernameOf(ctx))
	})
	register(s, route{
		id: "revoke-api-token", method: http.MethodDelete, path: "/auth/api-tokens/{id}", tag: tagAuth, security: required, needs: byPerson,
		faults:  []error{auth.ErrAPITokenUnknown},
		summary: "Revoke an API token",
		doc:     "It is void at once, on every server. Administrators may revoke anybody's.", errors: []int{http.StatusForbidden, http.StatusNotFound}, status: http.StatusNoContent,
	}, func(ctx context.Context, in *idPath) (*struct{}, error) {
		return nil, s.auth.RevokeAPIToken(ctx, in.ID)
	})
	s.registerInspection()
}

func usernameOf(ctx context.Context) string {
	a, _ := actor.FromContext(ctx)
	return a.Username
}

func (s *server) sessionsOf(ctx context.Context, username string) (*reply[sessionList], error) {
	list, err := s.auth.Sessions(ctx, username)
	if err != nil {
		return nil, err
	}
	out := sessionList{Sessions: make([]session, len(list))}
	for i, e := range list {
		out.Sessions[i] = session{
			ID: e.ID, CreatedAt: e.CreatedAt, LastSeenAt: e.LastSeenAt, ExpiresAt: e.ExpiresAt,
			UserAgent: e.UserAgent, Current: e.Current,
		}
		if e.Address != nil {
			out.Sessions[i].Address = e.Address.String()
		}
	}
	return &reply[sessionList]{out}, nil
}

func (s *server) endSessions(ctx context.Context, username string, scope auth.Scope) (*reply[endedSessions], error) {
	n, err := s.auth.EndSessions(ctx, username, scope)
	return replyOf(endedSessions{"Sessions ended", n}, err)
}

func (s *server) apiTokensOf(ctx context.Context, username string) (*reply[apiTokenList], error) {
	list, err := s.auth.APITokens(ctx, username)
	if err != nil {
		return nil, err
	}
	out := apiTokenList{APITokens: make([]apiTokenInfo, len(list))}
	for i, t := range list {
		out.APITokens[i] = apiTokenInfo{t.ID, t.Name, t.Prefix(), t.Datasets, t.CreatedAt, t.ExpiresAt, t.LastUsedAt}
	}
	return &reply[apiTokenList]{out}, nil
}

// registerInspection adds the routes with which AuthX shows how tokens are found.
func (s *server) registerInspection() {
	register(s, route{
		id: "get-profile", method: http.MethodGet, path: "/auth/profile", tag: tagAuth, security: required,
		summary: "Who am I?",
		doc:     "Name, roles and groups of whoever the token is of, as they are now.",
	}, func(ctx context.Context, _ *struct{}) (*reply[profile], error) {
		a, _ := actor.FromContext(ctx)
		out := profile{Username: a.Username, Fullname: a.Fullname, Roles: []string{}, Groups: append([]string{}, a.Groups...)}
		for _, r := range a.Roles {
			out.Roles = append(out.Roles, string(r))
		}
		return &reply[profile]{out}, nil
	})
	register(s, route{
		id: "inspect-optional-token", method: http.MethodGet, path: "/auth/token/optional", tag: tagAuth, security: public,
		faults:  []error{tokenauth.ErrMalformed, tokenauth.ErrAmbiguous},
		summary: "Where was a token found, if any?", doc: "The token is not validated.", errors: []int{http.StatusBadRequest, http.StatusUnauthorized},
	}, func(_ context.Context, in *foundToken) (*reply[tokenReport], error) {
		return s.inspect(in, tokenauth.Extract)
	})
	register(s, route{
		id: "inspect-mandatory-token", method: http.MethodGet, path: "/auth/token/mandatory", tag: tagAuth, security: public,
		faults:  []error{tokenauth.ErrMissing, tokenauth.ErrMalformed, tokenauth.ErrAmbiguous},
		summary: "Where was the token found?", doc: "The token is not validated; without one the answer is 401.", errors: []int{http.StatusBadRequest, http.StatusUnauthorized},
	}, func(_ context.Context, in *foundToken) (*reply[tokenReport], error) {
		return s.inspect(in, tokenauth.Required)
	})
	register(s, route{
		id: "delete-login", method: http.MethodDelete, path: "/auth/logout", tag: tagAuth, security: required, advices: adviceOfLogout,
		faults:  []error{auth.ErrNotLoggedIn, auth.ErrLogout},
		summary: "Log out",
		doc:     "The same as POST, as AuthX has it.",
		errors:  []int{http.StatusRequestEntityTooLarge}, ownTokens: true,
	}, s.logout)
}

// foundToken is the request, for routes that look for a token themselves.
type foundToken struct{ request *http.Request }

// Resolve implements huma.Resolver.
func (f *foundToken) Resolve(ctx huma.Context) []error {
	f.request, _ = humago.Unwrap(ctx)
	return nil
}

// inspect reports a token without validating it; Required only wants one.
func (s *server) inspect(in *foundToken, mode tokenauth.Mode) (*reply[tokenReport], error) {
	_, t, err := s.authenticator.Authenticate(in.request, tokenauth.Extract)
	if err != nil {
		return nil, err
	}
	if t.Raw == "" && mode == tokenauth.Required {
		return nil, tokenauth.ErrMissing
	}
	return &reply[tokenReport]{tokenReport{t.Raw != "", string(t.Location), string(t.Type), t.CSRF != ""}}, nil
}
