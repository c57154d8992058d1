package api

import (
	"context"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/auth"
	"github.com/romi/plantdb-go/tokenauth"
)

// shownToken is a token in a body, as RFC 7662 and RFC 7009 send it.
type shownToken struct {
	Token string `json:"token" doc:"The token, of whatever type."`
	Hint  string `json:"token_type_hint,omitempty" doc:"Accepted and not needed: a token says itself what it is." example:"refresh_token"`
}

// tokenBody is a shownToken, as a form or as JSON.
type tokenBody struct{ token string }

const formType = "application/x-www-form-urlencoded"

// Resolve implements huma.Resolver.
func (b *tokenBody) Resolve(ctx huma.Context) []error {
	if media, _, err := mime.ParseMediaType(ctx.Header("Content-Type")); err == nil && media == formType {
		return b.readForm(ctx)
	}
	var body Strict[shownToken]
	if errs := body.Resolve(ctx); errs != nil {
		return errs
	}
	return b.take(body.Value.Token)
}

func (b *tokenBody) readForm(ctx huma.Context) []error {
	text, err := readBody(ctx, maxPlainBody)
	if err != nil {
		return []error{err}
	}
	form, err := url.ParseQuery(string(text))
	if err != nil || len(form["token"]) > 1 {
		return []error{errInvalid.With("The form cannot be read, or has more than one token")}
	}
	return b.take(form.Get("token"))
}

func (b *tokenBody) take(token string) []error {
	if token == "" {
		return []error{errMissingToken}
	}
	b.token = token
	return nil
}

func (*tokenBody) document(schemas huma.Registry, operation string) *huma.RequestBody {
	schema := schemas.Schema(reflect.TypeFor[shownToken](), true, operation+"-request")
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		formType: {Schema: schema}, "application/json": {Schema: schema},
	}}
}

// introspection is auth.Introspection on the wire, by RFC 7662 section 2.2.
type introspection struct {
	Active    bool                `json:"active" doc:"False of a token that does not count, or that is not yours to know; then it is all that is said."`
	Scope     string              `json:"scope,omitempty" doc:"What the bearer may do now, at most; separated by spaces." example:"read write create"`
	Username  string              `json:"username,omitempty"`
	TokenType string              `json:"token_type,omitempty" doc:"Bearer, or refresh_token." example:"Bearer"`
	Expires   int64               `json:"exp,omitempty" doc:"Seconds since 1970."`
	IssuedAt  int64               `json:"iat,omitempty" doc:"Seconds since 1970."`
	Subject   string              `json:"sub,omitempty"`
	Audience  string              `json:"aud,omitempty"`
	Issuer    string              `json:"iss,omitempty"`
	ID        string              `json:"jti,omitempty"`
	Session   string              `json:"sid,omitempty" doc:"The session; an API token has none."`
	Datasets  map[string][]string `json:"datasets,omitempty" doc:"Of an API token: glob of scan ids to permissions."`
}

func (s *server) registerIntrospection() {
	register(s, route{
		id: "introspect-token", method: http.MethodPost, path: "/auth/introspect", tag: tagAuth, security: required, rate: rateToken,
		faults:  []error{errMissingToken},
		summary: "Does a token count, and what is it good for?",
		doc: "RFC 7662. Of your own tokens, or of anybody's for who manages users; of all others, and of what is expired, revoked or no token, " +
			"the answer is that it is not active.",
		errors: []int{http.StatusUnsupportedMediaType, http.StatusRequestEntityTooLarge},
	}, func(ctx context.Context, in *struct{ Payload tokenBody }) (*reply[introspection], error) {
		i, err := s.auth.Introspect(ctx, in.Payload.token)
		return replyOf(introspectionOf(i), err)
	})
	register(s, route{
		id: "revoke-token", method: http.MethodPost, path: "/auth/revoke", tag: tagAuth, security: public, rate: rateToken,
		faults:  []error{errMissingToken, tokenauth.ErrCheckerFailed},
		summary: "Take a token back",
		doc: "RFC 7009. To have the token is all it takes. With an access or refresh token its session ends; an API token is revoked. " +
			"What does not count, or never did, is answered alike.",
		status: http.StatusOK, errors: []int{http.StatusBadRequest, http.StatusUnsupportedMediaType, http.StatusRequestEntityTooLarge},
	}, func(ctx context.Context, in *struct{ Payload tokenBody }) (*struct{}, error) {
		return nil, s.auth.Revoke(ctx, in.Payload.token)
	})
}

func introspectionOf(i *auth.Introspection) introspection {
	if i == nil {
		return introspection{}
	}
	c := i.Claims
	out := introspection{
		Active: true, Scope: strings.Join(permissionNames(i.Permissions), " "), Username: c.Subject, TokenType: "Bearer",
		Expires: c.ExpiresAt.Unix(), IssuedAt: c.IssuedAt.Unix(), Subject: c.Subject, Audience: c.Audience, Issuer: c.Issuer,
		ID: c.ID, Session: c.SessionID,
	}
	if c.Type == tokenauth.Refresh {
		out.TokenType = "refresh_token"
	}
	if i.Datasets != nil {
		out.Datasets = map[string][]string{}
	}
	for glob, permissions := range i.Datasets {
		out.Datasets[glob] = permissionNames(permissions)
	}
	return out
}

func permissionNames(permissions []actor.Permission) []string {
	names := make([]string, 0, len(permissions))
	for _, p := range permissions {
		names = append(names, string(p))
	}
	return names
}
