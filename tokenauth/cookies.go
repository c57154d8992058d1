package tokenauth

import (
	"net/http"
	"time"
)

// TokenCookie is a token to be kept by a browser.
type TokenCookie struct {
	// Raw is the token.
	Raw string
	// CSRF is its csrf claim. Scripts of the site read it from a cookie of its
	// own and repeat it in the CSRF header; other sites cannot.
	CSRF string
	// MaxAge is how long the browser keeps it, in whole seconds, at least
	// one: the rest of the token's life.
	MaxAge time.Duration
}

// PairCookies returns the four cookies of a pair: both tokens HttpOnly, their
// CSRF values readable by scripts; all Secure and SameSite=Lax. An empty path
// means "/". For frameworks that take cookies as values; see SetPairCookies.
func PairCookies(path string, access, refresh TokenCookie) []http.Cookie {
	return []http.Cookie{
		newCookie(path, AccessCookie, access.Raw, access.seconds(), true),
		newCookie(path, CSRFAccessCookie, access.CSRF, access.seconds(), false),
		newCookie(path, RefreshCookie, refresh.Raw, refresh.seconds(), true),
		newCookie(path, CSRFRefreshCookie, refresh.CSRF, refresh.seconds(), false),
	}
}

// ExpiredCookies returns four cookies that make a browser drop those of
// PairCookies; path must be the same.
func ExpiredCookies(path string) []http.Cookie {
	return []http.Cookie{
		newCookie(path, AccessCookie, "", -1, true),
		newCookie(path, CSRFAccessCookie, "", -1, false),
		newCookie(path, RefreshCookie, "", -1, true),
		newCookie(path, CSRFRefreshCookie, "", -1, false),
	}
}

// SetPairCookies adds PairCookies to the answer. Call it before the status is
// written, and leave the tokens out of the body: a script could read them there.
func SetPairCookies(w http.ResponseWriter, path string, access, refresh TokenCookie) {
	setCookies(w, PairCookies(path, access, refresh))
}

// ClearCookies adds ExpiredCookies to the answer.
func ClearCookies(w http.ResponseWriter, path string) { setCookies(w, ExpiredCookies(path)) }

func setCookies(w http.ResponseWriter, cookies []http.Cookie) {
	for i := range cookies {
		http.SetCookie(w, &cookies[i])
	}
}

// seconds is never 0, which net/http takes for "no Max-Age": the cookie would
// live as long as the browser.
func (t TokenCookie) seconds() int { return max(1, int(t.MaxAge/time.Second)) }

func newCookie(path, name, value string, maxAge int, httpOnly bool) http.Cookie {
	if path == "" {
		path = "/"
	}
	return http.Cookie{ //nolint:gosec // G124: scripts have to read the CSRF cookies
		Name: name, Value: value, Path: path, MaxAge: maxAge,
		HttpOnly: httpOnly, Secure: true, SameSite: http.SameSiteLaxMode,
	}
}
