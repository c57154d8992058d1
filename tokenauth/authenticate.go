package tokenauth

import (
	"context"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/http"
	"slices"
)

// Mode says what a request must bring.
type Mode int

// The modes. The zero Mode is the strictest.
const (
	// Required refuses a request without a good token.
	Required Mode = iota
	// Optional lets a request without a token pass as anonymous. One that is
	// there and bad is refused all the same: its sender means to be somebody.
	Optional
	// Extract finds a token and says nothing of its worth.
	Extract
)

// Authenticator finds the token of a request and verifies it. It holds no state
// of its own: set the fields before the first use and leave them. Safe for
// concurrent use.
type Authenticator struct {
	// Verifier is required.
	Verifier *Verifier
	// Locations are searched in this order; none means Header, then Cookie.
	Locations []Location
	// Log gets the errors of the Checker, of which the client learns nothing
	// but the 503; nil means slog.Default.
	Log *slog.Logger
}

// Authenticate finds the token of r and, unless mode is Extract, verifies it
// against want; no want means Access and API, the types that may act. A token
// from a cookie needs its csrf claim repeated in the CSRF header, unless the
// method is GET, HEAD, OPTIONS or TRACE; the Checker is asked after that.
//
// Without a token: ErrMissing if Required, else no error, nil claims and the
// zero RequestToken. Otherwise the error is one of Find or of Verifier.Verify,
// ErrCSRFMissing or ErrCSRFMismatch. With an error the claims are nil.
func (a *Authenticator) Authenticate(r *http.Request, mode Mode, want ...Type) (*Claims, RequestToken, error) {
	return a.authenticate(r, mode, a.locations(), want)
}

func (a *Authenticator) locations() []Location {
	if len(a.Locations) == 0 {
		return []Location{Header, Cookie}
	}
	return a.Locations
}

func (a *Authenticator) authenticate(r *http.Request, mode Mode, locations []Location, want []Type) (*Claims, RequestToken, error) {
	if len(want) == 0 {
		want = []Type{Access, API}
	}
	names := Access
	if !slices.ContainsFunc(want, func(t Type) bool { return t != Refresh }) {
		names = Refresh
	}
	t, err := Find(r, names, locations...)
	if errors.Is(err, ErrMissing) && mode != Required {
		return nil, RequestToken{}, nil
	}
	if err != nil || mode == Extract {
		return nil, t, err
	}
	c, err := a.verify(r, t, want)
	if err != nil {
		return nil, t, err
	}
	t.Type = c.Type
	return c, t, nil
}

func (a *Authenticator) verify(r *http.Request, t RequestToken, want []Type) (*Claims, error) {
	c, err := a.Verifier.verify(t.Raw, want)
	if err != nil {
		return nil, err
	}
	if t.Location == Cookie && !safe(r.Method) {
		if err := checkCSRF(t.CSRF, c.CSRF); err != nil {
			return nil, err
		}
	}
	if err := a.Verifier.check(r.Context(), c); err != nil {
		a.logFailure(r.Context(), c, err)
		return nil, err
	}
	return c, nil
}

func (a *Authenticator) logFailure(ctx context.Context, c *Claims, err error) {
	if !errors.Is(err, ErrCheckerFailed) {
		return
	}
	log := a.Log
	if log == nil {
		log = slog.Default()
	}
	log.ErrorContext(ctx, "token check failed", slog.String("jti", c.ID), slog.Any("err", errors.Unwrap(err)))
}

// safe names the methods that change nothing (RFC 9110 section 9.2.1), so that
// an unknown method is taken for one that does.
func safe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, "":
		return true
	}
	return false
}

func checkCSRF(got, want string) error {
	switch {
	case got == "" || want == "":
		return ErrCSRFMissing
	case subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1:
		return ErrCSRFMismatch
	}
	return nil
}

type contextKey struct{}

type contextValue struct {
	claims *Claims
	token  RequestToken
}

// NewContext returns a context that carries c, as the middleware makes it; for
// tests of handlers, and for middleware of other frameworks.
func NewContext(ctx context.Context, c *Claims, t RequestToken) context.Context {
	return context.WithValue(ctx, contextKey{}, contextValue{c, t})
}

// FromContext returns the verified claims of the request, or false if it is
// anonymous. They must not be changed.
func FromContext(ctx context.Context) (*Claims, bool) {
	v, _ := ctx.Value(contextKey{}).(contextValue)
	return v.claims, v.claims != nil
}

// TokenFromContext returns the token of the request as it was found, or false
// if there was none. In mode Extract it has not been verified.
func TokenFromContext(ctx context.Context) (RequestToken, bool) {
	v, _ := ctx.Value(contextKey{}).(contextValue)
	return v.token, v.token.Raw != ""
}
