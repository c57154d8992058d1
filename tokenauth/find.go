package tokenauth

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"
)

// Location says where in a request a token is carried.
type Location string

// The places that are searched, under the names a configuration gives them.
const (
	Header Location = "headers" // Authorization: Bearer <token>
	Cookie Location = "cookies" // access_token_cookie or refresh_token_cookie
	Query  Location = "query"   // ?token=<token>; ends up in logs and histories
	JSON   Location = "json"    // access_token or refresh_token of the body
)

// Names on the wire, those of AuthX.
const (
	AccessCookie      = "access_token_cookie"
	RefreshCookie     = "refresh_token_cookie"
	CSRFAccessCookie  = "csrf_access_token"
	CSRFRefreshCookie = "csrf_refresh_token"
	CSRFHeader        = "X-CSRF-TOKEN"
	QueryParameter    = "token"
)

// MaxJSONBody is how much of a body FromJSON reads, in bytes. In a longer one
// no token is found.
const MaxJSONBody = 64 << 10

// RequestToken is a token as it was found, not verified in any way.
type RequestToken struct {
	// Raw is the text; empty if there was none.
	Raw string
	// Type is what the place is for; once Authenticate has verified the
	// token, it is the type the token itself states.
	Type Type
	// Location is where it was.
	Location Location
	// CSRF is the value of the CSRF header, for a token from a cookie.
	CSRF string
}

// String names type and location and keeps the token to itself.
func (t RequestToken) String() string {
	if t.Raw == "" {
		return "no token"
	}
	return string(t.Type) + " token from " + string(t.Location)
}

// GoString is String, so that %#v shows no token either.
func (t RequestToken) GoString() string { return t.String() }

// LogValue is String, so that no handler of slog shows the token.
func (t RequestToken) LogValue() slog.Value { return slog.StringValue(t.String()) }

// Find searches the locations in their order for a token of type want, which
// decides the names of cookie and body field: those of Refresh, or else those
// of Access. No token is ErrMissing; one in two of the locations is
// ErrAmbiguous, because two readers of such a request could disagree on who is
// asking. Unknown locations hold nothing.
func Find(r *http.Request, want Type, locations ...Location) (RequestToken, error) {
	found := RequestToken{}
	for _, l := range locations {
		t, err := from(l, r, want)
		switch {
		case errors.Is(err, ErrMissing) || err == nil && t.Raw == "":
		case err != nil:
			return RequestToken{}, err
		case found.Raw != "":
			return RequestToken{}, ErrAmbiguous
		default:
			found = t
		}
	}
	if found.Raw == "" {
		return RequestToken{}, ErrMissing
	}
	return found, nil
}

func from(l Location, r *http.Request, want Type) (RequestToken, error) {
	switch l {
	case Header:
		return FromHeader(r, want)
	case Cookie:
		return FromCookie(r, want)
	case Query:
		return FromQuery(r, want)
	case JSON:
		return FromJSON(r, want)
	}
	return RequestToken{}, ErrMissing
}

// FromHeader reads Authorization. The scheme matches in any case; a bearer
// that is empty, None or null is ErrMissing, for that is what the Python
// clients send when they have no token. Another scheme, or a token without
// one, is ErrMalformed; two headers or two values are ErrAmbiguous.
func FromHeader(r *http.Request, want Type) (RequestToken, error) {
	values := r.Header["Authorization"]
	if len(values) > 1 {
		return RequestToken{}, ErrAmbiguous
	}
	if len(values) == 0 || strings.TrimSpace(values[0]) == "" {
		return RequestToken{}, ErrMissing
	}
	scheme, rest, _ := strings.Cut(strings.TrimSpace(values[0]), " ")
	rest = strings.TrimSpace(rest)
	switch {
	case !strings.EqualFold(scheme, "Bearer"):
		return RequestToken{}, ErrMalformed
	case strings.ContainsAny(rest, ", \t"):
		return RequestToken{}, ErrAmbiguous
	case absent(rest):
		return RequestToken{}, ErrMissing
	}
	return RequestToken{Raw: rest, Type: place(want), Location: Header}, nil
}

// FromCookie reads the access or refresh cookie, and the CSRF header beside
// it. Two cookies of that name are ErrAmbiguous: a neighbouring domain may have
// planted one.
func FromCookie(r *http.Request, want Type) (RequestToken, error) {
	name := AccessCookie
	if want == Refresh {
		name = RefreshCookie
	}
	cookies := r.CookiesNamed(name)
	switch {
	case len(cookies) > 1:
		return RequestToken{}, ErrAmbiguous
	case len(cookies) == 0 || absent(cookies[0].Value):
		return RequestToken{}, ErrMissing
	}
	return RequestToken{Raw: cookies[0].Value, Type: place(want), Location: Cookie, CSRF: r.Header.Get(CSRFHeader)}, nil
}

// FromQuery reads the parameter token. Two of them are ErrAmbiguous.
func FromQuery(r *http.Request, want Type) (RequestToken, error) {
	if r.URL == nil || r.URL.RawQuery == "" {
		return RequestToken{}, ErrMissing
	}
	values := r.URL.Query()[QueryParameter]
	switch {
	case len(values) > 1:
		return RequestToken{}, ErrAmbiguous
	case len(values) == 0 || absent(values[0]):
		return RequestToken{}, ErrMissing
	}
	return RequestToken{Raw: values[0], Type: place(want), Location: Query}, nil
}

// FromJSON reads access_token or refresh_token from a body of type
// application/json, and puts the body back: whoever reads it next reads all of
// it, and meets the same error at the same place if there was one. A body that
// is no JSON object, or longer than MaxJSONBody, holds no token; to refuse it is
// left to the handler. A field that occurs twice is ErrAmbiguous, one that is
// no text ErrMalformed.
func FromJSON(r *http.Request, want Type) (RequestToken, error) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength > MaxJSONBody || !isJSON(r.Header.Get("Content-Type")) {
		return RequestToken{}, ErrMissing
	}
	head, err := io.ReadAll(io.LimitReader(r.Body, MaxJSONBody+1))
	r.Body = restored(head, err, r.Body)
	if err != nil || len(head) > MaxJSONBody {
		return RequestToken{}, ErrMissing
	}
	raw, err := bodyToken(string(head), want)
	if err != nil {
		return RequestToken{}, err
	}
	return RequestToken{Raw: raw, Type: place(want), Location: JSON}, nil
}

func bodyToken(body string, want Type) (string, error) {
	wanted := "access_token"
	if want == Refresh {
		wanted = "refresh_token"
	}
	var raw string
	var isText bool
	d := decoder{s: body}
	err := d.object(func(name string) error {
		if name != wanted {
			return d.skip()
		}
		if d.space(); strings.HasPrefix(d.s[d.i:], `"`) {
			isText = true
			return d.text(seenToken, &raw)
		}
		if err := d.once(seenToken); err != nil {
			return err
		}
		isText = strings.HasPrefix(d.s[d.i:], "null")
		return d.skip()
	})
	switch {
	case errors.Is(err, errDuplicate):
		return "", ErrAmbiguous
	case err != nil || d.seen == 0:
		return "", ErrMissing
	case !isText:
		return "", ErrMalformed
	case absent(raw):
		return "", ErrMissing
	}
	return raw, nil
}

// restored is a body that reads head, then fails with err or goes on with rest.
func restored(head []byte, err error, rest io.ReadCloser) io.ReadCloser {
	tail := io.Reader(rest)
	if err != nil {
		tail = failing{err}
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), tail), rest}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func isJSON(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && t == "application/json"
}

// absent says whether a value stands for no token.
func absent(v string) bool {
	return v == "" || strings.EqualFold(v, "None") || strings.EqualFold(v, "null")
}

// place is the type whose names are searched when want is wanted.
func place(want Type) Type {
	if want == Refresh {
		return Refresh
	}
	return Access
}
