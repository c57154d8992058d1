// Package fault holds the failures a caller may see: what kind they are, the
// stable code programs match on and the text people read. It knows neither
// HTTP nor SQL; internal/api turns a kind into a status. Any error that is not
// a fault is an internal one: it is logged and answered blandly.
package fault

import (
	"fmt"
	"time"
)

// Kind says what a caller can do about a failure.
type Kind int

// The kinds, each named for what happened, not for an HTTP status.
const (
	Internal        Kind = iota // ours: a bug, or a machine that fails
	Invalid                     // the input breaks a rule; the same call fails again
	Unauthenticated             // no token, or one that does not count
	Forbidden                   // known, but not allowed to
	NotFound                    // no such thing, or none the caller may see
	Conflict                    // the name is taken, or the state forbids it
	Precondition                // an If-Match of the caller does not hold
	TooLarge                    // over a documented bound
	Unsupported                 // the content type is not one we read
	Unprocessable               // what is stored is not what its name says
	TooMany                     // over a rate; see RetryAfter
	Locked                      // somebody else is writing; see RetryAfter
	Unavailable                 // something we need is away; see RetryAfter
	NoSpace                     // the disk or a quota is full
	Gone                        // it was there and is not kept any more
)

// Error is a failure with a name. Declare it as a package variable and compare
// with errors.Is; With and Because make variants that still match it.
type Error struct {
	Kind Kind
	// Code is stable and for programs, such as "scan_exists".
	Code string
	// Msg is for people; it names no path, no query and no secret.
	Msg string
	// RetryAfter is how long to wait before the same call may succeed; zero
	// when unknown.
	RetryAfter time.Duration

	base  *Error
	cause error
}

// New returns a fault to be declared as a variable.
func New(kind Kind, code, msg string) *Error {
	return &Error{Kind: kind, Code: code, Msg: msg}
}

// Error returns the text for people and the cause for the log.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.Msg + ": " + e.cause.Error()
	}
	return e.Msg
}

// With returns a variant of e with another text; errors.Is still finds e.
func (e *Error) With(format string, args ...any) *Error {
	v := e.variant()
	v.Msg = fmt.Sprintf(format, args...)
	return v
}

// Because returns a variant of e with a cause, which the log shows and no
// answer does.
func (e *Error) Because(cause error) *Error {
	v := e.variant()
	v.cause = cause
	return v
}

// After returns a variant of e that says when to try again.
func (e *Error) After(d time.Duration) *Error {
	v := e.variant()
	v.RetryAfter = d
	return v
}

func (e *Error) variant() *Error {
	v := *e
	if v.base == nil {
		v.base = e
	}
	return &v
}

// Is makes a variant equal to the variable it was made from.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && (e == t || e.base != nil && (e.base == t || e.base == t.base))
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }
