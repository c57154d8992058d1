// Package observe holds what lets people see what the server does: the logger,
// the id that a request has in it, and the metrics. It knows no operation and
// no rule.
package observe

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"os"
	"regexp"

	"golang.org/x/term"
)

type requestKey struct{}

// WithRequestID returns a context whose log lines and audit rows carry id.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestKey{}, id)
}

// RequestID returns the id of the request that ctx belongs to; empty outside one.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

var goodRequestID = regexp.MustCompile(`^[A-Za-z0-9._-]{8,64}$`)

// NewRequestID returns sent if it can serve as an id, else a new random one.
func NewRequestID(sent string) string {
	if goodRequestID.MatchString(sent) {
		return sent
	}
	return rand.Text()
}

// NewLogger returns a logger that writes text to a terminal and JSON to
// everything else.
func NewLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if IsTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// IsTerminal says whether somebody is looking.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) // A descriptor fits an int.
}
