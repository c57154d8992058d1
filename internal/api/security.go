package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/tokenauth"
)

// What an operation asks of its caller, as its document says it.
var (
	// public: no token is looked for.
	public = []map[string][]string{}
	// optional: without a token the caller acts as guest.
	optional = []map[string][]string{{bearerScheme: {}}, {cookieScheme: {}}, {}}
	// required: no token is 401.
	required = []map[string][]string{{bearerScheme: {}}, {cookieScheme: {}}}
)

// need is what an operation needs beyond being logged in; who lacks it gets a
// 403. Of a scan or timelapse, the role on it decides; an API token needs it in
// its datasets, too.
type need string

const (
	toRead         need = "read"
	toWrite        need = "write"
	toCreate       need = "create"
	toDelete       need = "delete"
	toManageUsers  need = "manage_users"
	toManageGroups need = "manage_groups"
	toAdminister   need = "admin"
	// byPerson: who logged in, by no API token.
	byPerson need = "session"
)

// needsKey is the extension that tells of it in the document.
const needsKey = "x-permission"

const (
	bearerScheme = "bearer"
	cookieScheme = "cookie"
	// csrfScheme goes with a cookie where something may be changed.
	csrfScheme = "csrf"
	// queryScheme is one more way to send a token, where TOKEN_LOCATIONS has it.
	queryScheme = "query"
)

// ways are those in which a token may be sent to an operation that asks for security.
func (s *server) ways(method string, security []map[string][]string) []map[string][]string {
	if len(security) == 0 {
		return security
	}
	var ways []map[string][]string
	if slices.Contains(s.config.TokenLocations, tokenauth.Query) {
		ways = append(ways, map[string][]string{queryScheme: {}})
	}
	for _, way := range security {
		if _, cookie := way[cookieScheme]; cookie && method != http.MethodGet {
			way = map[string][]string{cookieScheme: {}, csrfScheme: {}}
		}
		ways = append(ways, way)
	}
	return ways
}

// securitySchemes describes how tokens are sent.
func securitySchemes(locations []tokenauth.Location) map[string]*huma.SecurityScheme {
	schemes := map[string]*huma.SecurityScheme{
		bearerScheme: {
			Type: "http", Scheme: "bearer", BearerFormat: "JWT",
			Description: "An access token from the login, or an API token.",
		},
		cookieScheme: {
			Type: "apiKey", In: "cookie", Name: tokenauth.AccessCookie,
			Description: "An access token in a cookie, as a login with cookies=true sets it.",
		},
		csrfScheme: {
			Type: "apiKey", In: "header", Name: tokenauth.CSRFHeader,
			Description: "The value of the cookie csrf_access_token: goes with the cookie wherever something may be changed.",
		},
	}
	if slices.Contains(locations, tokenauth.Query) {
		schemes[queryScheme] = &huma.SecurityScheme{
			Type: "apiKey", In: "query", Name: tokenauth.QueryParameter,
			Description: "An access or API token in the address, where it ends up in logs and histories.",
		}
	}
	return schemes
}

// refusals are an operation's words for a missing and for a bad token.
type refusals struct {
	missing string
	bad     string // with one %s for the reason
}

// problem answers a missing or bad token in these words.
func (r refusals) problem(t *tokenauth.Error) *Problem {
	p := tokenProblem(t)
	switch {
	case errors.Is(t, tokenauth.ErrMissing):
		p.say(r.missing)
	case t.Status == http.StatusUnauthorized && r.bad != "":
		p.say(fmt.Sprintf(r.bad, t.Msg))
	}
	return p
}

// Keys of an operation's metadata.
const (
	refusalsKey = "refusals"
	// ownTokensKey marks an operation that looks for its token itself, since
	// it takes what others refuse.
	ownTokensKey = "own tokens"
)

// verified has every operation get what its security asks for.
func (s *server) verified(api huma.API) func(huma.Context, func(huma.Context)) {
	verify := tokenauth.HumaMiddleware(api, s.authenticator)
	return func(ctx huma.Context, next func(huma.Context)) {
		if ctx.Operation().Metadata[ownTokensKey] == true {
			next(ctx)
			return
		}
		verify(ctx, next)
	}
}

func refusalsOf(op *huma.Operation) refusals {
	if r, ok := op.Metadata[refusalsKey].(refusals); ok {
		return r
	}
	return refusals{missing: "No authenticated user!"}
}

// actOnBehalf turns the claims of a verified token into the actor that the
// services ask; without a token the guest acts. Public operations have none.
func (s *server) actOnBehalf(ctx huma.Context, next func(huma.Context)) {
	if op := ctx.Operation(); len(op.Security) == 0 || op.Metadata[ownTokensKey] == true {
		next(ctx)
		return
	}
	a, err := s.actor(ctx.Context(), ctx.Operation())
	if err != nil {
		p := problemOf(ctx.Context(), s.log, err)
		if p.Status == http.StatusUnauthorized {
			if bad := refusalsOf(ctx.Operation()).bad; bad != "" {
				p.say(fmt.Sprintf(bad, p.Message))
			}
		}
		s.answer(ctx, p)
		return
	}
	noteUser(ctx.Context(), a.Username)
	next(huma.WithContext(ctx, actor.NewContext(ctx.Context(), a)))
}

// answer ends a request in a middleware.
func (s *server) answer(ctx huma.Context, p *Problem) {
	for name := range p.headers {
		ctx.SetHeader(name, p.headers.Get(name))
	}
	_ = huma.WriteErr(s.api, ctx, p.Status, p.Message, p) // what fails here is the connection
}

func (s *server) actor(ctx context.Context, op *huma.Operation) (actor.Actor, error) {
	if claims, ok := tokenauth.FromContext(ctx); ok {
		return s.auth.Actor(ctx, claims)
	}
	if s.writesForAll(op) {
		return s.legacyWriter(ctx)
	}
	return s.auth.Guest(ctx)
}

// asGuest is for operations that ignore tokens and yet read scans.
func (s *server) asGuest(ctx context.Context) (context.Context, error) {
	a, err := s.auth.Guest(ctx)
	if err != nil {
		return nil, err
	}
	return actor.NewContext(ctx, a), nil
}
