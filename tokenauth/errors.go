package tokenauth

import (
	"errors"
	"net/http"
)

// Error is a named refusal. The variables below are the only ones; what the
// package returns matches one of them under errors.Is, and errors.As finds the
// Code and Status to answer with.
type Error struct {
	// Code is stable and for programs, such as "token_expired".
	Code string
	// Msg is for people and may be shown to the client: it holds no part of a
	// token and nothing a Checker said. Where PyJWT has a text for the case,
	// it is that text, since clients written against it show or compare it.
	Msg string
	// Status is the HTTP status: 401, 400 for a request that names two
	// tokens, 503 when a Checker could not tell.
	Status int

	base  *Error
	cause error
}

// The refusals, in the order in which a token is tried.
var (
	// ErrMissing: a token is required and the request holds none.
	ErrMissing = unauthorized("token_missing", "Missing token")
	// ErrAmbiguous: the request holds more than one token, so that two
	// readers of it could disagree on who is asking.
	ErrAmbiguous = &Error{Code: "token_ambiguous", Msg: "More than one token in the request", Status: http.StatusBadRequest}
	// ErrMalformed: not a compact JWS with the claims of this package, over
	// MaxTokenSize, or sent without the Bearer scheme.
	ErrMalformed = unauthorized("token_malformed", "Malformed token")
	// ErrUnknownKey: no kid, or one that the keyring does not hold.
	ErrUnknownKey = unauthorized("token_unknown_key", "Token was signed with an unknown key")
	// ErrSignature: the signature is wrong, or its algorithm is not the one
	// the key named by kid is for.
	ErrSignature = unauthorized("token_signature", "Signature verification failed")
	// ErrIssuer: iss is not Verifier.Issuer.
	ErrIssuer = unauthorized("token_issuer", "Invalid issuer")
	// ErrAudience: aud is not Verifier.Audience.
	ErrAudience = unauthorized("token_audience", "Audience doesn't match")
	// ErrExpired: exp has passed by more than the leeway.
	ErrExpired = unauthorized("token_expired", "Signature has expired")
	// ErrNotYetValid: iat is ahead by more than the leeway.
	ErrNotYetValid = unauthorized("token_not_yet_valid", "The token is not yet valid (iat)")
	// ErrWrongType: a good token, but not of a type wanted here.
	ErrWrongType = unauthorized("token_wrong_type", "Token of the wrong type")
	// ErrCSRFMissing: the token came by cookie on a method that changes
	// state, and the CSRF header, or the csrf claim to hold it against, is not there.
	ErrCSRFMissing = unauthorized("csrf_missing", "Missing CSRF token")
	// ErrCSRFMismatch: the CSRF header is not the token's csrf claim.
	ErrCSRFMismatch = unauthorized("csrf_mismatch", "CSRF token does not match")
	// ErrRevoked: a Checker said so.
	ErrRevoked = unauthorized("token_revoked", "Token has been revoked")
	// ErrAccessUnknown: an access token that its issuer keeps no record of.
	ErrAccessUnknown = unauthorized("access_token_unknown", "Unknown access token")
	// ErrRefreshUnknown: a refresh token that its issuer keeps no record of.
	ErrRefreshUnknown = unauthorized("refresh_token_unknown", "Unknown refresh token")
	// ErrRefreshReused: a refresh token that was already traded in; its
	// session has been ended.
	ErrRefreshReused = unauthorized("refresh_token_reused", "Refresh token was already used")
	// ErrSessionEnded: the session of the token is over.
	ErrSessionEnded = unauthorized("session_ended", "Session has ended")
	// ErrUserInactive: the subject may not act any more.
	ErrUserInactive = unauthorized("user_inactive", "User is not active")
	// ErrCheckerFailed: a Checker could not tell. Never taken for "let in".
	ErrCheckerFailed = &Error{Code: "token_check_failed", Msg: "Token could not be checked, try again later", Status: http.StatusServiceUnavailable}
)

func unauthorized(code, msg string) *Error {
	return &Error{Code: code, Msg: msg, Status: http.StatusUnauthorized}
}

// Error returns Msg followed by the cause, if any. It is for logs; answer with
// Msg alone.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.Msg + ": " + e.cause.Error()
	}
	return e.Msg
}

// Is makes an error with a cause match the variable it was made from.
func (e *Error) Is(target error) bool { return e.base != nil && target == error(e.base) }

// Unwrap returns the cause, such as the error of a Checker's database.
func (e *Error) Unwrap() error { return e.cause }

// because returns a variant of e that carries cause for the log.
func (e *Error) because(cause error) *Error {
	v := *e
	v.base, v.cause = e, cause
	return &v
}

// named returns the sentinel that err matches, without a cause: what a client
// may see. An error of no name is ErrCheckerFailed, for that is the only step
// that can fail by something else.
func named(err error) *Error {
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok:
		return ErrCheckerFailed
	case e.base != nil:
		return e.base
	}
	return e
}
