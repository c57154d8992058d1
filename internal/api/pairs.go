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

// refreshInput is the request, and the refresh token of its body.
type refreshInput struct {
	request *http.Request
	raw     string
	sent    bool // the body has one, be it no text
}

// Resolve implements huma.Resolver. A browser, whose token comes by cookie,
// need not send a body, whatever it says of its type.
func (in *refreshInput) Resolve(ctx huma.Context) []error {
	r, _ := humago.Unwrap(ctx)
	in.request = r.WithContext(ctx.Context())
	_, err := r.Cookie(tokenauth.RefreshCookie)
	byCookie := err == nil
	if !isJSON(r.Header.Get("Content-Type")) {
		if byCookie {
			return nil
		}
		return []error{errNotJSON}
	}
	text, err := readBody(ctx, maxPlainBody)
	if err != nil {
		return []error{err}
	}
	if byCookie && len(bytes.TrimSpace(text)) == 0 {
		return nil
	}
	var body refreshRequest
	if err := decode(text, &body); err != nil {
		return []error{err}
	}
	token := string(body.RefreshToken)
	in.sent = token != "" && token != "null" && token != `""`
	// What is no text is a token that cannot be valid.
	_ = json.Unmarshal(body.RefreshToken, &in.raw)
	return nil
}

func (*refreshInput) document(schemas huma.Registry, operation string) *huma.RequestBody {
	return jsonBody[refreshRequest](schemas, operation, false)
}

func (s *server) refreshToken(ctx context.Context, in *struct{ Payload refreshInput }) (*withCookies[refreshed], error) {
	token := in.Payload
	byCookie, err := s.comesByCookie(token.request, token.sent)
	if err == nil && !byCookie && token.raw == "" && surfaceOf(ctx) == v015 {
		return nil, errMissingRefresh
	}
	var pair auth.Pair
	if err == nil {
		pair, err = s.tradeToken(ctx, token, byCookie)
	}
	if err != nil {
		p := problemOf(ctx, s.log, err)
		if p.Status == http.StatusUnauthorized {
			p.say("Invalid or expired refresh token: " + p.Message)
		}
		return nil, s.forgotten(ctx, p, byCookie, err)
	}
	noteUser(ctx, pair.AccessClaims.Subject)
	body := refreshed{Message: "Token refreshed successfully"}
	if byCookie {
		return &withCookies[refreshed]{s.pairCookies(ctx, pair), body}, nil
	}
	body.AccessToken, body.RefreshToken = pair.Access, pair.Refresh
	return &withCookies[refreshed]{nil, body}, nil
}

// comesByCookie says whether the refresh token is to be taken from the cookie
// and not from the body, which has one or not. One in both is ErrAmbiguous, as
// it is with access tokens.
func (s *server) comesByCookie(r *http.Request, inBody bool) (bool, error) {
	_, err := tokenauth.FromCookie(r, tokenauth.Refresh)
	switch {
	case !s.takesCookies() || errors.Is(err, tokenauth.ErrMissing):
		return false, nil
	case err != nil:
		return true, err
	case inBody:
		return false, tokenauth.ErrAmbiguous
	}
	return true, nil
}

func (s *server) tradeToken(ctx context.Context, in refreshInput, byCookie bool) (auth.Pair, error) {
	if !byCookie {
		return s.auth.Refresh(ctx, in.raw)
	}
	raw, _, err := s.refreshCookie(in.request)
	if err != nil {
		return auth.Pair{}, err
	}
	return s.auth.Refresh(ctx, raw)
}

// forgotten has the browser drop the cookies of a refused session if err says
// that they are of no use any more: scripts cannot, and until they are gone not
// even a guest may read.
func (s *server) forgotten(ctx context.Context, p *Problem, byCookie bool, err error) *Problem {
	if !byCookie || !dead(err) {
		return p
	}
	for _, c := range s.expiredCookies(ctx) {
		p.headers.Add("Set-Cookie", c.String())
	}
	return p
}

// dead says whether a token that is refused so will never be taken again.
func dead(err error) bool {
	if errors.Is(err, auth.ErrNotLoggedIn) {
		return true
	}
	t, ok := errors.AsType[*tokenauth.Error](err)
	if !ok || t.Status != http.StatusUnauthorized {
		return false
	}
	for _, alive := range []error{tokenauth.ErrMissing, tokenauth.ErrCSRFMissing, tokenauth.ErrCSRFMismatch, tokenauth.ErrNotYetValid} {
		if errors.Is(t, alive) {
			return false
		}
	}
	return true
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

const logoutDoc = "Ends the session: both of its tokens are void at once, everywhere. Where the access token has expired, was traded in or is gone, " +
	"the refresh token stands in for it, in the body or as a cookie. Cookies are cleared, also by a refusal that says that their token is of no use any more."

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
	text, err := readBody(ctx, maxPlainBody)
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
	var user auth.User
	if err == nil {
		user, err = s.auth.Logout(ctx, claims)
	}
	if err != nil {
		p := problemOf(ctx, s.log, err)
		if t, ok := errors.AsType[*tokenauth.Error](err); ok {
			p = logoutRefusals.problem(t)
		}
		return nil, s.forgotten(ctx, p, byCookie, err)
	}
	noteUser(ctx, user.Username)
	out := &withCookies[message]{Body: message{"Logout successful from " + user.Username}}
	if byCookie {
		out.Cookies = s.expiredCookies(ctx)
	}
	return out, nil
}

// whoLogsOut returns the claims of the access token, or where there is none, or
// one that has expired or went with a refresh, of the refresh token. No other
// fault of an access token is made up for.
func (s *server) whoLogsOut(ctx context.Context, in logoutInput) (claims *tokenauth.Claims, byCookie bool, err error) {
	claims, t, err := s.authenticator.Authenticate(in.request, tokenauth.Required)
	byCookie = t.Location == tokenauth.Cookie
	standsIn := errors.Is(err, tokenauth.ErrMissing) || errors.Is(err, tokenauth.ErrExpired) || errors.Is(err, tokenauth.ErrRevoked)
	if err == nil || !standsIn {
		return claims, byCookie, err
	}
	switch refreshByCookie, ambiguous := s.comesByCookie(in.request, in.refresh != ""); {
	case ambiguous != nil:
		return nil, refreshByCookie, ambiguous
	case refreshByCookie && byCookie && errors.Is(err, tokenauth.ErrRevoked):
		// The header was right for the access token, so no other site sent this.
		found, _ := tokenauth.FromCookie(in.request, tokenauth.Refresh)
		claims, err = s.authenticator.Verifier.Verify(ctx, found.Raw, tokenauth.Refresh)
		return claims, true, err
	case refreshByCookie:
		_, claims, err = s.refreshCookie(in.request)
		return claims, true, err
	case in.refresh != "":
		claims, err = s.authenticator.Verifier.Verify(ctx, in.refresh, tokenauth.Refresh)
		return claims, byCookie, err
	}
	return nil, byCookie, err
}
