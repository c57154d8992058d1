package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/auth"
	"github.com/romi/plantdb-go/tokenauth"
)

const tagAuth = "auth"

// credentials are decoded loosely: that one is missing is said in upstream's
// words. The document requires both.
type credentials struct {
	Username string `json:"username" doc:"Compared in lower case." example:"alice"`
	Password string `json:"password" format:"password"`
}

type registration struct {
	Username string `json:"username" doc:"Kept in lower case." example:"alice"`
	Fullname string `json:"fullname" example:"Alice Martin"`
	Password string `json:"password" format:"password"`
	Role     string `json:"role,omitempty" enum:"reader,contributor,admin" doc:"At most your own; reader unless given."`
	TakeOver bool   `json:"take_over,omitempty" doc:"Give the user what is left of one of that name who was deleted; refused otherwise, as long as there is something."`
}

type publicUser struct {
	Username string `json:"username"`
	Fullname string `json:"fullname"`
}

type loggedIn struct {
	Message      string     `json:"message"`
	User         publicUser `json:"user"`
	AccessToken  string     `json:"access_token,omitempty" doc:"Send it as Authorization: Bearer. Left out where cookies were asked for."`
	RefreshToken string     `json:"refresh_token,omitempty" doc:"Good once, for the next pair of tokens. Left out where cookies were asked for."`
}

type refreshed struct {
	Message      string `json:"message"`
	AccessToken  string `json:"access_token,omitempty" doc:"Left out where the refresh token came by cookie."`
	RefreshToken string `json:"refresh_token,omitempty" doc:"Left out where the refresh token came by cookie."`
}

type refreshRequest struct {
	RefreshToken json.RawMessage `json:"refresh_token"`
}

// Schema documents the token as the text it should be; decoding takes
// anything, for a token that is no text is an invalid one, not a bad request.
func (refreshRequest) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, Required: []string{"refresh_token"}, AdditionalProperties: true,
		Properties: map[string]*huma.Schema{"refresh_token": {Type: huma.TypeString, Description: "The refresh token of the current pair."}},
	}
}

type usernameExists struct {
	Username string `json:"username"`
	Exists   bool   `json:"exists"`
}

type validated struct {
	Message string     `json:"message"`
	User    publicUser `json:"user"`
}

type apiTokenRequest struct {
	Expires  json.RawMessage `json:"token_exp"`
	Datasets json.RawMessage `json:"datasets"`
	Name     string          `json:"name,omitempty"`
}

// Schema documents the request; decoding is looser, to answer in upstream's words.
func (apiTokenRequest) Schema(huma.Registry) *huma.Schema {
	permission := &huma.Schema{Type: huma.TypeString, Examples: []any{"read"}, Description: "read, write, create or delete; READ and Permission.READ are understood."}
	return &huma.Schema{
		Type: huma.TypeObject, Required: []string{"token_exp", "datasets"}, AdditionalProperties: true,
		Properties: map[string]*huma.Schema{
			"token_exp": {Type: huma.TypeInteger, Minimum: new(1.0), Description: "Life of the token in seconds."},
			"datasets": {
				Type: huma.TypeObject, Description: "Glob of scan ids (* ? [seq] [!seq]) to permissions.",
				AdditionalProperties: &huma.Schema{Type: huma.TypeArray, Items: permission},
			},
			"name": {Type: huma.TypeString, Description: "To tell it from others in the list."},
		},
	}
}

type apiToken struct {
	Message    string `json:"message"`
	APIToken   string `json:"api_token" doc:"Shown once; it cannot be read again."`
	Expiration string `json:"expiration date" format:"date-time"`
}

func (s *server) registerAuth() {
	register(s, route{
		id: "check-username", method: http.MethodGet, path: "/auth/login", tag: tagAuth, security: public, rate: rateUsername,
		faults:  []error{errMissingUsername, errUsernameCheck},
		summary: "Is a user name taken?",
		doc:     "In whatever case it is written. A server may be set not to tell.", errors: []int{http.StatusBadRequest, http.StatusForbidden},
	}, s.checkUsername)
	register(s, route{
		id: "login", method: http.MethodPost, path: "/auth/login", tag: tagAuth, security: public, rate: rateLogin,
		faults:  []error{errMissingFields, errCookiesOff, auth.ErrCredentials, auth.ErrSessionLimit, auth.ErrBusy},
		summary: "Log in", doc: "Opens a session: a short access token and a refresh token for the next pair. With cookies both are set as HttpOnly cookies instead.",
		errors: []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusConflict, http.StatusUnsupportedMediaType, http.StatusRequestEntityTooLarge},
	}, s.login)
	register(s, route{
		id: "register-user", method: http.MethodPost, path: "/auth/register", tag: tagAuth, security: required, needs: toManageUsers, rate: rateRegister,
		faults: []error{
			auth.ErrMissingFields, auth.ErrUserName, auth.ErrFullname, auth.ErrPassword, auth.ErrRoleUnknown, auth.ErrRoleRank, auth.ErrUserExists, auth.ErrFormerName,
			auth.ErrBusy,
		},
		summary: "Create a user", doc: "Needs the permission to manage users. A name that scans, timelapses or the trash still have of a user who was deleted is refused, 409 `former_name`.", status: http.StatusCreated,
		errors: []int{http.StatusForbidden, http.StatusConflict, http.StatusUnsupportedMediaType, http.StatusRequestEntityTooLarge},
	}, s.registerUser)
	register(s, route{
		id: "logout", method: http.MethodPost, path: "/auth/logout", tag: tagAuth, security: required, advices: adviceOfLogout,
		faults:  []error{auth.ErrNotLoggedIn, auth.ErrLogout},
		summary: "Log out", doc: logoutDoc, errors: []int{http.StatusRequestEntityTooLarge}, ownTokens: true,
	}, s.logout)
	register(s, route{
		id: "refresh-token", method: http.MethodPost, path: "/auth/token/refresh", tag: tagAuth, security: public, rate: rateToken, advices: adviceOfRefresh,
		faults: []error{
			tokenauth.ErrRefreshUnknown, tokenauth.ErrRefreshReused, tokenauth.ErrMissing, tokenauth.ErrMalformed, tokenauth.ErrUnknownKey,
			tokenauth.ErrSignature, tokenauth.ErrIssuer, tokenauth.ErrAudience, tokenauth.ErrExpired, tokenauth.ErrNotYetValid,
			tokenauth.ErrWrongType, tokenauth.ErrRevoked, tokenauth.ErrSessionEnded, tokenauth.ErrUserInactive, tokenauth.ErrCSRFMissing,
			tokenauth.ErrCSRFMismatch, tokenauth.ErrAmbiguous, tokenauth.ErrCheckerFailed,
		},
		summary: "Trade a refresh token for the next pair",
		doc: "The old pair is void. Requests at the same time all get the same new pair; a refresh token that comes again later ends its session. " +
			"Where the token comes by cookie no body is needed, and a refusal that says that it is of no use any more clears the cookies.",
		errors: []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusUnsupportedMediaType, http.StatusRequestEntityTooLarge},
	}, s.refreshToken)
	register(s, route{
		id: "validate-token", method: http.MethodPost, path: "/auth/token/validation", tag: tagAuth, security: required,
		summary: "Is my token valid?", doc: "Of access and API tokens; says whose it is.",
		refusals: &refusals{missing: "Token validation failed: no token", bad: "Token validation failed: %s"},
	}, func(ctx context.Context, _ *struct{}) (*reply[validated], error) {
		a, _ := actor.FromContext(ctx)
		return &reply[validated]{validated{"Token validation successful", publicUser{a.Username, a.Fullname}}}, nil
	})
	register(s, route{
		id: "create-api-token", method: http.MethodPost, path: "/auth/token/create-api-token", tag: tagAuth, security: required, needs: byPerson,
		faults:  []error{errMissingDatasets, errMissingExpiry, errDatasets, errExpiry, auth.ErrAPIToken, auth.ErrUserUnknown},
		summary: "Create an API token", doc: "A long-lived token for programs, good for some scans and some permissions, never for more than you have yourself.",
		errors: []int{http.StatusForbidden, http.StatusUnsupportedMediaType, http.StatusRequestEntityTooLarge},
	}, s.createAPIToken)
}

func (s *server) checkUsername(ctx context.Context, in *struct {
	Username string `query:"username" doc:"The name to look for." example:"admin"`
}) (*reply[usernameExists], error) {
	switch {
	case !s.config.UsernameCheck:
		return nil, errUsernameCheck
	case in.Username == "":
		return nil, errMissingUsername
	}
	exists, err := s.auth.UsernameExists(ctx, in.Username)
	return replyOf(usernameExists{in.Username, exists}, err)
}

// withCookies is an answer that sets or clears the cookies of a session.
type withCookies[T any] struct {
	Cookies []http.Cookie `header:"Set-Cookie"`
	Body    T
}

type loginInput struct {
	Cookies bool `query:"cookies" doc:"Set the tokens as cookies and leave them out of the body."`
	Payload Strict[credentials]
}

func (s *server) login(ctx context.Context, in *loginInput) (*withCookies[loggedIn], error) {
	c := in.Payload.Value
	if c.Username == "" || c.Password == "" {
		p := faultProblem(errMissingFields)
		p.Authenticated = new(bool)
		return nil, p
	}
	if in.Cookies && !s.takesCookies() {
		return nil, errCookiesOff
	}
	if err := s.limitAccount(ctx, c.Username); err != nil {
		return nil, err
	}
	user, pair, err := s.auth.Login(ctx, c.Username, c.Password)
	if err != nil {
		return nil, err
	}
	noteUser(ctx, user.Username)
	body := loggedIn{Message: "Login successful", User: publicUser{user.Username, user.Fullname}}
	if in.Cookies {
		return &withCookies[loggedIn]{s.pairCookies(ctx, pair), body}, nil
	}
	body.AccessToken, body.RefreshToken = pair.Access, pair.Refresh
	return &withCookies[loggedIn]{nil, body}, nil
}

// pairCookies keeps a pair in the browser for as long as its tokens live.
func (s *server) pairCookies(ctx context.Context, pair auth.Pair) []http.Cookie {
	cookie := func(raw string, c tokenauth.Claims) tokenauth.TokenCookie {
		return tokenauth.TokenCookie{Raw: raw, CSRF: c.CSRF, MaxAge: c.ExpiresAt.Sub(c.IssuedAt)}
	}
	path, other := s.cookiePaths(ctx)
	cookies := tokenauth.PairCookies(path, cookie(pair.Access, pair.AccessClaims), cookie(pair.Refresh, pair.RefreshClaims))
	if other != path {
		cookies = append(cookies, tokenauth.ExpiredCookies(other)...)
	}
	return cookies
}

// expiredCookies makes the browser drop the cookies of whichever path.
func (s *server) expiredCookies(ctx context.Context) []http.Cookie {
	path, other := s.cookiePaths(ctx)
	cookies := tokenauth.ExpiredCookies(path)
	if other != path {
		cookies = append(cookies, tokenauth.ExpiredCookies(other)...)
	}
	return cookies
}

// cookiePaths are the path of the cookies of a request, below which the browser
// sees the routes, and that of the other way to them. No browser may have
// cookies of both: it would send two tokens at once.
func (s *server) cookiePaths(ctx context.Context) (path, other string) {
	mounted := s.config.Prefix + "/"
	if ctx.Value(mountedKey{}) != nil {
		return mounted, "/"
	}
	return "/", mounted
}

func (s *server) registerUser(ctx context.Context, in *struct{ Payload Strict[registration] }) (*reply[message], error) {
	r := in.Payload.Value
	n := auth.NewUser{Username: r.Username, Fullname: r.Fullname, Password: r.Password, TakeOver: r.TakeOver}
	if r.Role != "" {
		n.Roles = []actor.Role{actor.Role(r.Role)}
	}
	_, err := s.auth.Register(ctx, n)
	if err != nil {
		p := problemOf(ctx, s.log, err)
		if p.Status == http.StatusBadRequest {
			p.Success = new(bool)
		}
		return nil, p
	}
	if surfaceOf(ctx) == v015 {
		return &reply[message]{message{"User successfully created"}}, nil
	}
	return &reply[message]{message{fmt.Sprintf("User %s successfully created", r.Username)}}, nil
}

func (s *server) createAPIToken(ctx context.Context, in *struct{ Payload Strict[apiTokenRequest] }) (*reply[apiToken], error) {
	r := in.Payload.Value
	datasets, life, err := r.parse()
	if err != nil {
		return nil, err
	}
	raw, expires, err := s.auth.CreateAPIToken(ctx, r.Name, life, datasets)
	return replyOf(apiToken{"API Token generated successfully", raw, expires.UTC().Format(time.RFC3339)}, err)
}

// parse reads the request in upstream's order: datasets first.
func (r apiTokenRequest) parse() (datasets map[string][]string, life time.Duration, err error) {
	if len(r.Datasets) == 0 || string(r.Datasets) == "null" {
		return nil, 0, errMissingDatasets
	}
	if len(r.Expires) == 0 || string(r.Expires) == "null" {
		return nil, 0, errMissingExpiry
	}
	if json.Unmarshal(r.Datasets, &datasets) != nil {
		return nil, 0, errDatasets
	}
	var seconds int64
	if json.Unmarshal(r.Expires, &seconds) != nil || seconds <= 0 || seconds > maxSeconds {
		return nil, 0, errExpiry
	}
	return datasets, time.Duration(seconds) * time.Second, nil
}

// maxSeconds keeps a number of seconds within a time.Duration.
const maxSeconds = 1 << 33
