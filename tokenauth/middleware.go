package tokenauth

import (
	"encoding/json"
	"net/http"
)

// Option changes what Middleware does.
type Option func(*options)

type options struct {
	want    []Type
	onError func(http.ResponseWriter, *http.Request, error)
}

// Want names the types of token that are taken, in place of Access and API.
func Want(types ...Type) Option { return func(o *options) { o.want = types } }

// OnError answers a refused request in place of WriteError. The error matches
// one of the variables of this package; see Error for what may be shown.
func OnError(answer func(http.ResponseWriter, *http.Request, error)) Option {
	return func(o *options) { o.onError = answer }
}

// Middleware authenticates each request before it reaches the handler, which
// then has FromContext and TokenFromContext. A refused request does not reach
// it and is answered by WriteError, or by what OnError gives.
func Middleware(a *Authenticator, mode Mode, opts ...Option) func(http.Handler) http.Handler {
	o := options{onError: func(w http.ResponseWriter, _ *http.Request, err error) { WriteError(w, err) }}
	for _, opt := range opts {
		opt(&o)
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, t, err := a.Authenticate(r, mode, o.want...)
			if err != nil {
				o.onError(w, r, err)
				return
			}
			if t.Raw != "" {
				r = r.WithContext(NewContext(r.Context(), c, t))
			}
			next.ServeHTTP(w, r)
		})
	}
}

// problem is an RFC 9457 document with the two fields that older clients read
// their text from.
type problem struct {
	Message string `json:"message"`
	Error   string `json:"error"`
	Code    string `json:"code"`
	Status  int    `json:"status"`
	Title   string `json:"title"`
	Detail  string `json:"detail"`
}

// WriteError answers with err as a JSON problem (fields message, error, code,
// status, title and detail), the status of its name, and the headers of
// SetHeaders. An error that is none of this package is answered as
// ErrCheckerFailed; causes are never shown.
func WriteError(w http.ResponseWriter, err error) {
	e := named(err)
	e.SetHeaders(w.Header().Set)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(e.Status)
	// The only failure left is that of the connection.
	_ = json.NewEncoder(w).Encode(problem{
		Message: e.Msg, Error: e.Msg, Detail: e.Msg,
		Code: e.Code, Status: e.Status, Title: http.StatusText(e.Status),
	})
}

// SetHeaders sets, by calling set, the headers that belong to an answer with e:
// WWW-Authenticate as RFC 6750 section 3 has it (without an error where no
// token was sent), Retry-After with 503, and Cache-Control: no-store.
func (e *Error) SetHeaders(set func(name, value string)) {
	set("Cache-Control", "no-store")
	switch {
	case e.Code == ErrMissing.Code:
		set("WWW-Authenticate", "Bearer")
	case e.Status == http.StatusUnauthorized:
		set("WWW-Authenticate", `Bearer error="invalid_token", error_description="`+e.Msg+`"`)
	case e.Status == http.StatusBadRequest:
		set("WWW-Authenticate", `Bearer error="invalid_request", error_description="`+e.Msg+`"`)
	case e.Status == http.StatusServiceUnavailable:
		set("Retry-After", "1")
	}
}
