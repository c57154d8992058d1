package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	plantdbapi "github.com/romi/plantdb-go/openapi/clients/go"
)

// What a call can fail with, for errors.Is. An [Error] matches those that its
// code or its status stands for, often two: a token that has expired is
// ErrTokenExpired and ErrUnauthorized.
var (
	// ErrUnreachable: nothing answers at the URL.
	ErrUnreachable = errors.New("the server cannot be reached")
	// ErrNotPlantDB: something answers there that is no PlantDB.
	ErrNotPlantDB = errors.New("this is no PlantDB")
	// ErrMoved: the server wants to be asked at another URL.
	ErrMoved = errors.New("the server is at another URL")
	// ErrInvalid: what was sent breaks a rule (400, 415).
	ErrInvalid = errors.New("the request breaks a rule")
	// ErrUnauthorized: no token, or one that does not count (401).
	ErrUnauthorized = errors.New("not logged in")
	// ErrTokenExpired: the token was good once.
	ErrTokenExpired = errors.New("the token has expired")
	// ErrTokenRevoked: somebody took the token back.
	ErrTokenRevoked = errors.New("the token was revoked")
	// ErrSessionEnded: the session is over and cannot be refreshed. Log in again.
	ErrSessionEnded = errors.New("the session has ended")
	// ErrForbidden: known, and not allowed (403).
	ErrForbidden = errors.New("not allowed")
	// ErrNotFound: not there, or not to be seen (404).
	ErrNotFound = errors.New("not found")
	// ErrConflict: what is there already forbids it (409).
	ErrConflict = errors.New("conflict")
	// ErrPrecondition: somebody else was faster (412).
	ErrPrecondition = errors.New("the condition does not hold")
	// ErrTooLarge: over a bound of the server (413).
	ErrTooLarge = errors.New("too large")
	// ErrLocked: another writer holds the scan (423).
	ErrLocked = errors.New("locked by another writer")
	// ErrRateLimited: too many calls (429).
	ErrRateLimited = errors.New("too many calls")
	// ErrUnavailable: the server, or something that it needs, is away (502, 503, 504).
	ErrUnavailable = errors.New("the server is not available")
	// ErrNoSpace: the server's disk, or a quota, is full (507).
	ErrNoSpace = errors.New("no space left on the server")
	// ErrQuota: a quota is full (413). It is ErrNoSpace and ErrTooLarge, too.
	ErrQuota = errors.New("a quota is full")
	// ErrDamaged: what arrived is not what was sent (400, 460).
	ErrDamaged = errors.New("the bytes were damaged on the way")
	// ErrChanged: a file changed under way. Of an upload nothing was kept.
	ErrChanged = errors.New("the file changed under way")
	// ErrEventsGone: the server does not keep events of so long ago (410).
	ErrEventsGone = errors.New("the events are not kept any more")
	// ErrUnsupported: the server is too old for what was asked.
	ErrUnsupported = errors.New("the server does not know this")
)

// Error is how every call fails that got so far as to ask the server. Its text
// says what was tried, what happened and what to do about it.
type Error struct {
	// Op is the method and path of the call, such as "GET /api/v1/scans".
	Op string
	// Status is that of the answer; 0 when there was none.
	Status int
	// Code is the server's, stable and for programs, such as "scan_exists".
	// Upstream's Python server sends none.
	Code string
	// Message is the server's, for people.
	Message string
	// Faults are the places of what is wrong with the input.
	Faults []plantdbapi.InputFault
	// RetryAfter is how long the server asks to wait.
	RetryAfter time.Duration
	// RequestID names the call in the server's log.
	RequestID string

	kinds []error
	cause error
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "plantdb: %s: ", e.Op)
	switch {
	case e.Message != "":
		b.WriteString(e.Message)
	case e.cause != nil:
		b.WriteString(e.cause.Error())
	case len(e.kinds) > 0:
		b.WriteString(e.kinds[0].Error())
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, " (%d", e.Status)
		if e.Code != "" {
			b.WriteString(" " + e.Code)
		}
		b.WriteString(")")
	}
	if advice := e.Advice(); advice != "" {
		b.WriteString("; " + advice)
	}
	return b.String()
}

// Unwrap returns the cause and what errors.Is finds in the error.
func (e *Error) Unwrap() []error {
	if e.cause == nil {
		return e.kinds
	}
	return append([]error{e.cause}, e.kinds...)
}

// advices say what to do, the particular before the general.
var advices = []struct {
	kind   error
	advice string
}{
	{ErrMoved, "use the URL that it names"},
	{ErrNotPlantDB, "check the URL: host, port, and the path below which PlantDB is served"},
	{ErrUnreachable, "check the URL, the network, and whether the server runs"},
	{ErrChanged, "start again with the file as it is now"},
	{ErrDamaged, "send it again; a proxy or a disk on the way is not to be trusted"},
	{ErrEventsGone, "read anew what you follow, and follow from now"},
	{ErrQuota, "empty the trash, or ask an administrator for a higher quota"},
	{ErrUnsupported, "renew the server, or do without"},
	{ErrSessionEnded, "log in again"},
	{ErrTokenRevoked, "log in again, or make another API token"},
	{ErrTokenExpired, "log in again, or make another API token"},
	{ErrUnauthorized, "log in, or check the token"},
	{ErrForbidden, "ask the owner of the scan or an administrator for the right"},
	{ErrPrecondition, "read it again and apply the change to what it is now"},
	{ErrTooLarge, "send less, or ask an administrator for a higher bound"},
	{ErrLocked, "try again later"},
	{ErrRateLimited, "try again later"},
	{ErrNoSpace, "nothing was kept; free space on the server, or ask an administrator"},
	{ErrUnavailable, "try again later; an administrator finds the cause in the server's log"},
}

// Advice says what to do about the error; it is empty where only the caller can
// know.
func (e *Error) Advice() string {
	for _, a := range advices {
		if errors.Is(e, a.kind) {
			return a.advice
		}
	}
	if e.Status == http.StatusInternalServerError && e.RequestID != "" {
		return "the server's log has the cause under " + e.RequestID
	}
	return ""
}

// kindsOfStatus are what a status alone stands for.
var kindsOfStatus = map[int]error{
	http.StatusBadRequest: ErrInvalid, http.StatusUnsupportedMediaType: ErrInvalid, http.StatusUnauthorized: ErrUnauthorized,
	http.StatusForbidden: ErrForbidden, http.StatusNotFound: ErrNotFound, http.StatusConflict: ErrConflict,
	http.StatusPreconditionFailed: ErrPrecondition, http.StatusRequestEntityTooLarge: ErrTooLarge, http.StatusLocked: ErrLocked,
	http.StatusTooManyRequests: ErrRateLimited, http.StatusBadGateway: ErrUnavailable, http.StatusServiceUnavailable: ErrUnavailable,
	http.StatusGatewayTimeout: ErrUnavailable, http.StatusInsufficientStorage: ErrNoSpace,
}

// kindsOfCode are what a code stands for beyond its status.
var kindsOfCode = map[string][]error{
	"token_expired": {ErrTokenExpired}, "token_revoked": {ErrTokenRevoked}, "access_token_unknown": {ErrTokenRevoked},
	"session_ended": {ErrSessionEnded}, "refresh_token_reused": {ErrSessionEnded}, "refresh_token_unknown": {ErrSessionEnded},
	"user_inactive": {ErrForbidden}, "file_changed": {ErrChanged}, "quota_exceeded": {ErrQuota, ErrNoSpace},
	"events_gone":     {ErrEventsGone},
	"digest_mismatch": {ErrDamaged}, "checksum_mismatch": {ErrDamaged},
}

// wordsOfUpstream tell what the Python server means where its status does not:
// it sends no codes, and 500 for much that is none of its faults.
var wordsOfUpstream = []struct {
	words *regexp.Regexp
	kind  error
}{
	{regexp.MustCompile(`already exists|Error creating file: \[Errno <`), ErrConflict},
	{regexp.MustCompile(`does not have required permissions`), ErrForbidden},
	{regexp.MustCompile(`No authenticated user|Invalid credentials|Not enough segments|Invalid token`), ErrUnauthorized},
	{regexp.MustCompile(`Signature has expired|[Tt]oken (has )?expired`), ErrTokenExpired},
	{regexp.MustCompile(`Unknown (scan|fileset|file|timelapse) id`), ErrNotFound},
	{regexp.MustCompile(`No space left on device`), ErrNoSpace},
}

// maxErrorBody bounds what is read of a refusal.
const maxErrorBody = 1 << 20

// refusal makes an error of an answer, and closes its body.
func refusal(resp *http.Response) *Error {
	defer resp.Body.Close() // It was only read.
	e := &Error{Op: opOf(resp.Request), Status: resp.StatusCode, RequestID: resp.Header.Get("X-Request-Id"), RetryAfter: retryAfter(resp)}
	if to := resp.Header.Get("Location"); resp.StatusCode/100 == 3 && to != "" {
		e.Message, e.kinds = "the server has moved to "+to, []error{ErrMoved}
		return e
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	var p plantdbapi.Problem
	switch {
	case err == nil && isJSON(resp) && json.Unmarshal(body, &p) == nil && p.Message+p.Error != "":
		e.Code, e.Message, e.Faults = p.Code, p.Message, p.Errors
		if e.Message == "" {
			e.Message = p.Error
		}
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusMethodNotAllowed, resp.StatusCode/100 == 2:
		e.kinds = append(e.kinds, ErrNotPlantDB)
		e.Message = fmt.Sprintf("%s answers, but not as a PlantDB does", resp.Request.URL.Host)
		return e
	default:
		e.Message = http.StatusText(resp.StatusCode)
	}
	e.classify()
	return e
}

func (e *Error) classify() {
	e.kinds = append(e.kinds, kindsOfCode[e.Code]...)
	if e.Code == "" {
		for _, w := range wordsOfUpstream {
			if w.words.MatchString(e.Message) {
				e.kinds = append(e.kinds, w.kind)
			}
		}
	}
	if kind := kindsOfStatus[e.Status]; kind != nil {
		e.kinds = append(e.kinds, kind)
	}
}

// malformed are net/http's words of an answer that is cut before its body.
var malformed = regexp.MustCompile(`malformed (HTTP|MIME)`)

// noHTTP are net/http's words, which has no error values for it, of an answer in
// another protocol, in plain text where TLS was wanted, or before anything was
// asked.
var noHTTP = regexp.MustCompile(`malformed HTTP|readLoopPeekFailLocked: %!w\(<nil>\)|gave HTTP response to HTTPS client|first record does not look like a TLS handshake`)

// failed makes an error of a call that got no answer.
func failed(req *http.Request, err error) error {
	e := &Error{Op: opOf(req), cause: err}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		e.cause = wrapped.Err // which says no URL again
	}
	var ours *Error
	switch {
	case errors.As(err, &ours):
		return err
	case errors.Is(err, errSource):
		return fmt.Errorf("plantdb: %s: %w", e.Op, e.cause)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	case noHTTP.MatchString(err.Error()):
		e.kinds = []error{ErrNotPlantDB}
	default:
		e.kinds = []error{ErrUnreachable}
	}
	return e
}

func opOf(req *http.Request) string { return req.Method + " " + req.URL.Path }

func isJSON(resp *http.Response) bool {
	t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return err == nil && (t == "application/json" || strings.HasSuffix(t, "+json"))
}

// retryAfter reads the header in both its forms.
func retryAfter(resp *http.Response) time.Duration {
	text := resp.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
