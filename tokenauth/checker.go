package tokenauth

import "context"

// Checker says whether a token that is good in itself has been taken back. It
// is the one callback an application gives to the package.
//
// It runs after signature, claims, type and CSRF: no forged token can make it
// work. It must be safe for concurrent use and must not change c.
//
// The reason is for the log, with one use besides: a reason that is the Code of
// ErrSessionEnded, ErrUserInactive, ErrAccessUnknown, ErrRefreshUnknown or
// ErrRefreshReused makes Verify return that error instead of ErrRevoked.
//
// An error means that the Checker could not tell; with revoked false it is
// answered by 503, never by letting the token through. With revoked true the
// error only serves the log.
type Checker interface {
	IsRevoked(ctx context.Context, c *Claims) (revoked bool, reason string, err error)
}

// CheckerFunc makes a function a Checker.
type CheckerFunc func(ctx context.Context, c *Claims) (revoked bool, reason string, err error)

// IsRevoked calls f.
func (f CheckerFunc) IsRevoked(ctx context.Context, c *Claims) (bool, string, error) {
	return f(ctx, c)
}

// Chain asks the checkers in order. The first "revoked" ends the search and
// wins, also over errors before it; else the first error is returned. Put the
// cheap ones first. An empty chain revokes nothing.
func Chain(checkers ...Checker) Checker { return chain(append([]Checker(nil), checkers...)) }

type chain []Checker

func (ch chain) IsRevoked(ctx context.Context, c *Claims) (bool, string, error) {
	var first error
	for _, checker := range ch {
		revoked, reason, err := checker.IsRevoked(ctx, c)
		if revoked {
			return true, reason, err
		}
		if first == nil {
			first = err
		}
	}
	return false, "", first
}
