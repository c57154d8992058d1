package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/romi/plantdb-go/internal/auth"
	"github.com/romi/plantdb-go/tokenauth"
)

// refreshInput takes the refresh token from the body, or from its cookie
// where there is no body.
type refreshInput struct {
	raw    string
	missed bool          // the body has none
	cookie *http.Request // to be authenticated by its cookie
}

// Resolve implements huma.Resolver.
func (in *refreshInput) Resolve(ctx huma.Context) []error {
	r, _ := humago.Unwrap(ctx)
	if _, err := r.Cookie(tokenauth.RefreshCookie); err == nil && !isJSON(r.Header.Get("Content-Type")) {
		in.cookie = r
		return nil
	}
	var body Strict[refreshRequest]
	if errs := body.Resolve(ctx); errs != nil {
		return errs
	}
	raw := body.Value.RefreshToken
	in.missed = len(raw) == 0 || string(raw) == "null"
	// What is no text is a token that cannot be valid.
	_ = json.Unmarshal(raw, &in.raw)
	return nil
}

func (*refreshInput) document(schemas huma.Registry, operation string) *huma.RequestBody {
	return jsonBody[refreshRequest](schemas, operation, false)
}

func (s *server) refreshToken(ctx context.Context, in *struct{ Payload refreshInput }) (*withCookies[refreshed], error) {
	token := in.Payload
	if token.missed && surfaceOf(ctx) == v015 {
		return nil, errMissingRefresh
	}
	pair, err := s.tradeToken(ctx, token)
	if err != nil {
		p := problemOf(ctx, s.log, err)
		if p.Status == http.StatusUnauthorized {
			p.say("Invalid or expired refresh token: " + p.Message)
		}
		return nil, p
	}
	noteUser(ctx, pair.AccessClaims.Subject)
	body := refreshed{Message: "Token refreshed successfully"}
	if token.cookie != nil {
		return &withCookies[refreshed]{s.pairCookies(pair), body}, nil
	}
	body.AccessToken, body.RefreshToken = pair.Access, pair.Refresh
	return &withCookies[refreshed]{nil, body}, nil
}

func (s *server) tradeToken(ctx context.Context, in refreshInput) (auth.Pair, error) {
	if in.cookie == nil {
		return s.auth.Refresh(ctx, in.raw)
	}
	raw, _, err := s.refreshCookie(in.cookie)
	if err != nil {
		return auth.Pair{}, err
	}
	return s.auth.Refresh(ctx, raw)
}

// takesCookies says whether tokens may come by cookie.
func (s *server) takesCookies() bool {
	return len(s.config.TokenLocations) == 0 || slices.Contains(s.config.TokenLocations, tokenauth.Cookie)
}

// refreshCookie returns the refresh token of a browser. It needs the header
// against forged requests, as the access token does.
func (s *server) refreshCookie(r *http.Request) (string, *tokenauth.Claims, error) {
	if !s.takesCookies() {
		return "", nil, tokenauth.ErrMissing
	}
	cookies := *s.authenticator
	cookies.Locations = []tokenauth.Location{tokenauth.Cookie}
	claims, t, err := cookies.Authenticate(r, tokenauth.Required, tokenauth.Refresh)
	return t.Raw, claims, err
}

const logoutDoc = "Ends the session: both of its tokens are void at once, everywhere. Where the access token has expired or is gone, " +
	"the refresh token stands in for it, in the body or as a cookie."

var logoutRefusals = refusals{missing: "Logout failed, no active session!", bad: "Logout failed: %s"}

// logoutRequest may hold the refresh token.
type logoutRequest struct {
	RefreshToken string `json:"refresh_token,omitempty" doc:"Stands in for an access token that has expired."`
}

// logoutInput is the request, and the refresh token of its body.
type logoutInput struct {
	request *http.Request
	refresh string
}

// Resolve implements huma.Resolver. Old clients send any body, or none.
func (in *logoutInput) Resolve(ctx huma.Context) []error {
	text, err := readJSON(ctx, maxPlainBody)
	if err != nil {
		return []error{err}
	}
	r, _ := humago.Unwrap(ctx)
	in.request = r.WithContext(ctx.Context())
	in.request.Body = io.NopCloser(bytes.NewReader(text)) // where the access token may be, too
	var body logoutRequest
	if isJSON(r.Header.Get("Content-Type")) && json.Unmarshal(text, &body) == nil {
		in.refresh = body.RefreshToken
	}
	return nil
}

func (*logoutInput) document(schemas huma.Registry, operation string) *huma.RequestBody {
	return jsonBody[logoutRequest](schemas, operation, false)
}

func (s *server) logout(ctx context.Context, in *struct{ Payload logoutInput }) (*withCookies[message], error) {
	claims, byCookie, err := s.whoLogsOut(ctx, in.Payload)
	if t, ok := errors.AsType[*tokenauth.Error](err); ok {
		return nil, logoutRefusals.problem(t)
	}
	if err != nil {
		return nil, err
	}
	user, err := s.auth.Logout(ctx, claims)
	if err != nil {
		return nil, err
	}
	noteUser(ctx, user.Username)
	out := &withCookies[message]{Body: message{"Logout successful from " + user.Username}}
	if byCookie {
		out.Cookies = tokenauth.ExpiredCookies(s.cookiePath())
	}
	return out, nil
}

// whoLogsOut returns the claims of the access token, or where there is none
// that has not expired, of the refresh token. No other fault of an access
// token is made up for.
func (s *server) whoLogsOut(ctx context.Context, in logoutInput) (claims *tokenauth.Claims, byCookie bool, err error) {
	claims, t, err := s.authenticator.Authenticate(in.request, tokenauth.Required)
	byCookie = t.Location == tokenauth.Cookie
	if err == nil || !errors.Is(err, tokenauth.ErrExpired) && !errors.Is(err, tokenauth.ErrMissing) {
		return claims, byCookie, err
	}
	if in.refresh != "" {
		claims, err = s.authenticator.Verifier.Verify(ctx, in.refresh, tokenauth.Refresh)
		return claims, byCookie, err
	}
	_, claims, missing := s.refreshCookie(in.request)
	if errors.Is(missing, tokenauth.ErrMissing) {
		return nil, false, err
	}
	return claims, true, missing
}
