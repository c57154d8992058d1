package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/danielgtaylor/huma/v2"

	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/observe"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/tokenauth"
)

// Problem is the body of every error: upstream's message and error, which old
// clients show, and the fields of RFC 9457 with a stable code for programs.
type Problem struct { //nolint:errname // Its name is that of the schema, and of RFC 9457.
	Message   string `json:"message" doc:"What went wrong, for people." example:"Unknown scan id 'plant_42'!"`
	ErrorText string `json:"error" doc:"The same text, for clients that read this key." example:"Unknown scan id 'plant_42'!"`
	Code      string `json:"code" doc:"Stable and for programs." example:"unknown_scan"`
	Status    int    `json:"status" doc:"HTTP status." example:"404"`
	Title     string `json:"title" doc:"The status in words." example:"Not Found"`
	Detail    string `json:"detail" doc:"The text of message, and what to do about it where there is something to do." example:"Unknown scan id 'plant_42'! Check the id in the list of scans."`

	Errors        []Place `json:"errors,omitempty" doc:"Each fault of the input and its place."`
	Authenticated *bool   `json:"authenticated,omitempty" doc:"False, in refusals of a login."`
	Success       *bool   `json:"success,omitempty" doc:"False, in refusals of a registration."`

	headers http.Header
}

// Place is one fault of the input. It never repeats the value.
type Place struct {
	Location string `json:"location" doc:"Such as query.limit or body.username."`
	Message  string `json:"message"`
}

// Error makes a Problem an error that Huma answers with.
func (p *Problem) Error() string { return p.Message }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header { return p.headers }

// statusText is a status in words.
func statusText(status int) string {
	if status == statusChecksum {
		return "Checksum Mismatch"
	}
	return http.StatusText(status)
}

func newProblem(status int, code, message string) *Problem {
	return &Problem{
		Message: message, ErrorText: message, Code: code, Status: status,
		Title: statusText(status), Detail: detailOf(status, code, message), headers: http.Header{},
	}
}

// statuses is the one place where a kind of failure becomes a status.
var statuses = map[fault.Kind]int{
	fault.Invalid:         http.StatusBadRequest,
	fault.Unauthenticated: http.StatusUnauthorized,
	fault.Forbidden:       http.StatusForbidden,
	fault.NotFound:        http.StatusNotFound,
	fault.Conflict:        http.StatusConflict,
	fault.Precondition:    http.StatusPreconditionFailed,
	fault.TooLarge:        http.StatusRequestEntityTooLarge,
	fault.Unsupported:     http.StatusUnsupportedMediaType,
	fault.Unprocessable:   http.StatusUnprocessableEntity,
	fault.TooMany:         http.StatusTooManyRequests,
	fault.Locked:          http.StatusLocked,
	fault.Unavailable:     http.StatusServiceUnavailable,
	fault.NoSpace:         http.StatusInsufficientStorage,
	fault.Gone:            http.StatusGone,
}

var errUnavailable = fault.New(fault.Unavailable, "database_unavailable", "The database cannot be reached, try again later.")

var errDatabaseFull = fault.New(fault.Unavailable, "database_full", "The disk of the database is full, try again once there is room.")

var errOpenFiles = fault.New(fault.Unavailable, "too_many_open_files", "The server has as many files open as it may, try again.")

// problemOf turns any error into the answer for it. What has no name is logged
// with the request id and answered blandly.
func problemOf(ctx context.Context, log *slog.Logger, err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if t, ok := errors.AsType[*tokenauth.Error](err); ok {
		return tokenProblem(t)
	}
	f, ok := errors.AsType[*fault.Error](err)
	switch {
	case ok && f.Kind != fault.Internal:
		logRare(ctx, log, f, err)
	case postgres.Unavailable(err):
		log.ErrorContext(ctx, "database unavailable", slog.String("request_id", observe.RequestID(ctx)), slog.Any("err", err))
		f = errUnavailable
	case postgres.DiskFull(err):
		log.ErrorContext(ctx, "the disk of the database is full", slog.String("request_id", observe.RequestID(ctx)), slog.Any("err", err))
		f = errDatabaseFull
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		log.ErrorContext(ctx, "too many open files", slog.String("request_id", observe.RequestID(ctx)), slog.Any("err", err))
		f = errOpenFiles
	case errors.Is(err, context.Canceled):
		// Nobody reads the answer; 499 is what the access log shows.
		return newProblem(statusClientClosed, "client_closed_request", "Client closed the request")
	default:
		log.ErrorContext(ctx, "request failed", slog.String("request_id", observe.RequestID(ctx)), slog.Any("err", err))
		return faultProblem(errInternal)
	}
	return faultProblem(f)
}

// statusClientClosed is nginx's status for a client that went away.
const statusClientClosed = 499

// logRare logs the failures that are answered by name and still need a look.
func logRare(ctx context.Context, log *slog.Logger, f *fault.Error, err error) {
	if f.Kind == fault.Unavailable || f.Kind == fault.NoSpace {
		log.WarnContext(ctx, "request refused", slog.String("request_id", observe.RequestID(ctx)),
			slog.String("code", f.Code), slog.Any("err", err))
	}
}

// codeForbidden is the code of all that lack a permission.
const codeForbidden = "forbidden"

func faultProblem(f *fault.Error) *Problem {
	p := newProblem(statusOf(f), f.Code, f.Msg)
	switch f.Kind { //nolint:exhaustive // The others need no header.
	case fault.Unsupported:
		if errors.Is(f, errEncoding) {
			p.headers.Set("Accept-Encoding", asItIs)
		}
	case fault.Unauthenticated:
		p.headers.Set("WWW-Authenticate", "Bearer")
	case fault.Forbidden:
		// Of the others, such as a wrong password, no other token would help.
		if f.Code == codeForbidden {
			p.headers.Set("WWW-Authenticate", `Bearer error="insufficient_scope"`)
		}
	case fault.Unavailable, fault.Locked, fault.TooMany:
		p.headers.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(f.RetryAfter.Seconds())))))
	}
	return p
}

func tokenProblem(t *tokenauth.Error) *Problem {
	p := newProblem(t.Status, t.Code, t.Msg)
	t.SetHeaders(p.headers.Set)
	if t.Status == http.StatusServiceUnavailable {
		p.headers.Set("Retry-After", "1")
	}
	return p
}

// refusal answers a missing or bad token in the words of the operation.
func refusal(op *huma.Operation, t *tokenauth.Error) *Problem {
	return refusalsOf(op).problem(t)
}

func (p *Problem) say(message string) {
	p.Message, p.ErrorText, p.Detail = message, message, detailOf(p.Status, p.Code, message)
}

// The framework's own refusals, in upstream's words.
const (
	msgNotJSON    = "Did not attempt to load JSON data because the request Content-Type was not 'application/json'."
	msgBrokenJSON = "The browser (or proxy) sent a request that this server could not understand."
	msgNoRoute    = "The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again."
	msgMethod     = "The method is not allowed for the requested URL."
)

// replaceHumaErrors makes Huma's own errors Problems, and its lists never null,
// once for the process: Huma keeps both in variables of its package. Its
// default repeats the refused value, which may be a password.
var replaceHumaErrors = sync.OnceFunc(func() {
	huma.DefaultArrayNullable = false
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return humaProblem(status, msg, errs)
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		for _, err := range errs {
			if t, ok := errors.AsType[*tokenauth.Error](err); ok {
				return refusal(ctx.Operation(), t)
			}
		}
		return humaProblem(status, msg, errs)
	}
})

func humaProblem(status int, msg string, errs []error) *Problem {
	for _, err := range errs {
		if p, ok := errors.AsType[*Problem](err); ok {
			return p
		}
		if f, ok := errors.AsType[*fault.Error](err); ok {
			return faultProblem(f)
		}
	}
	switch {
	case status == 0: // Huma asks for an example when it documents an operation
		return &Problem{}
	case status >= http.StatusInternalServerError:
		return newProblem(status, "internal", "Internal Server Error")
	case status == http.StatusUnprocessableEntity:
		status = http.StatusBadRequest
	}
	places := placesOf(errs)
	if len(places) > 0 {
		msg = sentence(places)
	}
	p := newProblem(status, codeOf(status), msg)
	p.Errors = places
	return p
}

func placesOf(errs []error) []Place {
	var places []Place
	for _, err := range errs {
		if d, ok := err.(huma.ErrorDetailer); ok { // Huma hands over the details themselves.
			detail := d.ErrorDetail()
			places = append(places, Place{Location: detail.Location, Message: detail.Message})
		}
	}
	return places
}

func sentence(places []Place) string {
	parts := make([]string, len(places))
	for i, p := range places {
		parts[i] = fmt.Sprintf("%s: %s", p.Location, p.Message)
	}
	return strings.Join(parts, "; ")
}

func codeOf(status int) string {
	switch status {
	case http.StatusNotFound:
		return "not_found"
	case http.StatusRequestEntityTooLarge:
		return "too_large"
	case http.StatusUnsupportedMediaType:
		return "unsupported_media_type"
	case http.StatusRequestTimeout:
		return "timeout"
	}
	return "invalid_request"
}
