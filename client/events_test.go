package client_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/romi/plantdb-go/client"
	"github.com/romi/plantdb-go/internal/servertest"
)

// told is what a loop over events has seen.
type told struct {
	scans []string
	at    string // the position of the last
	err   error
}

// follow takes so many events, or all until an error.
func follow(ctx context.Context, c *client.Client, q client.EventQuery, most int) (seen told) {
	for e, err := range c.Events(ctx, q) {
		if err != nil {
			seen.err = err
			break
		}
		seen.scans, seen.at = append(seen.scans, *e.Scan), *e.Position
		if len(seen.scans) == most {
			break
		}
	}
	return seen
}

// names are scans that no other test makes.
func names(n int) []string {
	prefix := "events_" + strings.ToLower(rand.Text()[:8])
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s_%03d", prefix, i)
	}
	return all
}

func createScans(t *testing.T, c *client.Client, names ...string) {
	t.Helper()
	for _, name := range names {
		must(t, "Create", c.Create(t.Context(), client.Path{Scan: name}, nil))
	}
}

var created = []string{"scan.created"}

// TestEvents has two servers of one database, and access tokens that live for
// four seconds.
func TestEvents(t *testing.T) {
	t.Parallel()
	tree := servertest.Dir(t)
	options := servertest.Options{Env: []string{"SESSION_TIMEOUT=4", "JWT_LEEWAY=0"}}
	one := servertest.Start(t, options, tree, "--test")
	two := servertest.Start(t, options, tree, "--test")
	for name, test := range map[string]func(*testing.T, string, string){
		"go on elsewhere":      eventsGoOn,
		"over a silent line":   eventsOverSilence,
		"over a line that cut": eventsOverCuts,
		"refused":              eventsRefused,
		"end":                  eventsEnd,
	} {
		t.Run(name, func(t *testing.T) { test(t, one.URL, two.URL) })
	}
}

// eventsGoOn goes on by the position, on the other server, longer than a token.
func eventsGoOn(t *testing.T, one, two string) {
	all := names(6)
	writer := loggedIn(t, one)
	createScans(t, writer, all[0])
	first := follow(t.Context(), writer, client.EventQuery{Scan: all[0], After: "0"}, 1)
	if first.err != nil || !slices.Equal(first.scans, all[:1]) {
		t.Fatalf("the first event = %+v", first)
	}
	createScans(t, writer, all[1:3]...)
	c := loggedIn(t, two)
	before := c.Tokens()
	written := make(chan error, 1)
	go func() {
		var errs error
		for _, name := range all[3:] {
			time.Sleep(2 * time.Second) // three are longer than a token lives
			errs = errors.Join(errs, writer.Create(t.Context(), client.Path{Scan: name}, nil))
		}
		written <- errs
	}()
	seen := follow(t.Context(), c, client.EventQuery{Kinds: created, After: first.at}, 5)
	must(t, "Create", <-written) // an event can come before the answer
	if seen.err != nil || !slices.Equal(seen.scans, all[1:]) {
		t.Errorf("events after %s = %+v, want %v", first.at, seen, all[1:])
	}
	if c.Tokens() == before {
		t.Error("the tokens have not been refreshed")
	}
}

// eventsOverSilence has a line that carries nothing any more, and does not say so.
func eventsOverSilence(t *testing.T, one, two string) {
	all := names(20)
	writer := loggedIn(t, two)
	var made atomic.Int32
	l := newLine(t, one, func() (there, back int64) {
		if made.Add(1) > 3 {
			return lasting()
		}
		return -1, 1500
	}, func(*line) { <-t.Context().Done() })
	ready := make(chan told, 1)
	c := connect(t, l.url, client.WithTokens(loggedIn(t, one).Tokens()), client.WithRetry(patient))
	// The first of them is there before, so that the loop begins in time.
	createScans(t, writer, all[0])
	at := follow(t.Context(), writer, client.EventQuery{Scan: all[0], After: "0"}, 1).at
	go func() {
		ready <- follow(t.Context(), c, client.EventQuery{Kinds: created, After: at, Silence: 2 * time.Second}, len(all)-1)
	}()
	createScans(t, writer, all[1:]...)
	if seen := <-ready; seen.err != nil || !slices.Equal(seen.scans, all[1:]) || made.Load() < 4 {
		t.Errorf("events over %d lines = %+v, want %v over four", made.Load(), seen, all[1:])
	}
}

// eventsOverCuts has lines that break in the middle of events.
func eventsOverCuts(t *testing.T, one, two string) {
	all := names(60)
	writer := loggedIn(t, one)
	createScans(t, writer, all...)
	at := follow(t.Context(), writer, client.EventQuery{Scan: all[0], After: "0"}, 1).at
	var made atomic.Int32
	l := newLine(t, two, func() (there, back int64) {
		if made.Add(1) > 20 {
			return lasting()
		}
		return -1, 300 + mathrand.Int64N(3000)
	}, nil)
	c := connect(t, l.url, client.WithTokens(loggedIn(t, one).Tokens()), client.WithRetry(patient))
	if seen := follow(t.Context(), c, client.EventQuery{Kinds: created, After: at}, len(all)-1); seen.err != nil || !slices.Equal(seen.scans, all[1:]) {
		t.Errorf("events over lines that break = %+v, want %v", seen, all[1:])
	}
	// Who wants none of that sees the first break.
	made.Store(0)
	hasty := connect(t, l.url, client.WithTokens(client.Tokens{Access: loggedIn(t, one).Tokens().Access}), client.WithRetry(client.Retry{}))
	says(t, "Events without Retry", follow(t.Context(), hasty, client.EventQuery{Kinds: created, After: at}, -1).err, client.ErrUnreachable, "GET /api/v1/events")
}

func eventsRefused(t *testing.T, one, _ string) {
	ctx := t.Context()
	c := loggedIn(t, one)
	refused(t, "Events from nowhere", follow(ctx, c, client.EventQuery{After: "x"}, 1).err, client.ErrInvalid, 400, "bad_event_id")
	refused(t, "Events as nobody", follow(ctx, connect(t, one), client.EventQuery{}, 1).err, client.ErrUnauthorized, 401, "token_missing")
	gone := follow(ctx, c, client.EventQuery{After: "999999999999-1"}, 1).err
	says(t, "Events from another database", gone, client.ErrEventsGone, "999999999999-1", "read anew")
	ended := loggedIn(t, one)
	go func() {
		time.Sleep(100 * time.Millisecond) // it may follow by then, or not
		_, _ = c.API().EndUserSessionsWithResponse(ctx, "admin")
	}()
	says(t, "Events in a session that is ended", follow(ctx, ended, client.EventQuery{}, -1).err, client.ErrSessionEnded, "log in again")
}

// eventsEnd ends loops: more of them than a user may have at once.
func eventsEnd(t *testing.T, one, _ string) {
	all := names(1)
	c := loggedIn(t, one, client.WithRetry(patient))
	createScans(t, c, all...)
	for range 15 {
		if seen := follow(t.Context(), c, client.EventQuery{After: "0"}, 1); seen.err != nil || len(seen.scans) != 1 {
			t.Fatalf("events = %+v, want one", seen)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen := 0
	for e, err := range c.Events(ctx, client.EventQuery{Scan: all[0], After: "0"}) {
		switch seen++; {
		case seen == 1 && err == nil && *e.Scan == all[0]:
			cancel()
		case seen == 2 && errors.Is(err, context.Canceled) && !errors.Is(err, client.ErrUnreachable):
		default:
			t.Errorf("event %d = %+v, %v, want one and the end of the context", seen, e, err)
		}
	}
	cancel()
	if seen != 2 {
		t.Errorf("the loop has seen %d, want 2", seen)
	}
}

// TestEventsUnderKill follows through two servers, of which one at a time is
// killed while scans are made by the other.
func TestEventsUnderKill(t *testing.T) {
	t.Parallel()
	tree := servertest.Dir(t)
	servers := []*servertest.Server{servertest.Start(t, servertest.Options{}, tree, "--test"), servertest.Start(t, servertest.Options{}, tree, "--test")}
	l := newLine(t, servers[0].URL, lasting, nil)
	all := names(40)
	follower := connect(t, l.url, client.WithTokens(loggedIn(t, servers[0].URL).Tokens()), client.WithRetry(patient))
	seen := make(chan told, 1)
	writer := loggedIn(t, servers[1].URL)
	createScans(t, writer, all[0])
	at := follow(t.Context(), writer, client.EventQuery{Scan: all[0], After: "0"}, 1).at
	tokens := writer.Tokens()
	go func() {
		seen <- follow(t.Context(), follower, client.EventQuery{Kinds: created, After: at}, len(all)-1)
	}()
	rest := all[1:]
	for round := range 3 {
		followed, other := servers[round%2], servers[(round+1)%2]
		writer := connect(t, other.URL, client.WithTokens(tokens), client.WithRetry(patient))
		createScans(t, writer, rest[:5]...)
		l.aim(other.URL)
		followed.Kill()
		createScans(t, writer, rest[5:13]...)
		rest = rest[13:]
		tokens = writer.Tokens()
		servers[round%2] = servertest.Start(t, servertest.Options{}, tree, "--test")
	}
	select {
	case got := <-seen:
		if got.err != nil || !slices.Equal(got.scans, all[1:]) {
			t.Errorf("events = %+v, want %v", got, all[1:])
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("some events have not come")
	}
}

// TestEventsAsTheyAreWritten is the format, in its corners.
func TestEventsAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	const one = `{"id":"01972c1e-8a4b-7c31-9a55-3e1f0b8e6c21","at":"2026-03-30T09:55:00Z","kind":"scan.created","scan":"a","position":"1-1"}`
	var asked atomic.Int32
	c, _ := faulty(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		switch n := asked.Add(1); {
		case r.Header.Get("Accept") != "text/event-stream":
			t.Errorf("Accept = %q", r.Header.Get("Accept"))
		case n == 1:
			answer := "retry: 2000\r\nid: 0-9\r\nevent: ready\r\ndata: {}\r\n\r\n: beat\n\nid:1-1\nnew: field\nevent:scan.created\ndata:" +
				strings.Replace(one, `,"at"`, ",\ndata: \"at\"", 1) + "\n\nid: 1-2\nevent: scan.created\ndata: " + one
			_, _ = w.Write([]byte(answer)) // and the end of the second is missing
		case n == 2 && r.Header.Get("Last-Event-ID") == "1-1":
			_, _ = fmt.Fprintf(w, "id: 1-2\nevent: scan.created\ndata: %s\n\n: beat\nid: 1-7\n\n", one)
		case n == 3 && r.Header.Get("Last-Event-ID") == "1-7":
			w.Header().Set("Retry-After", "1")
			refuse(w, http.StatusTooManyRequests, "too_many_streams", "Too many.")
		case n == 4 && r.Header.Get("Last-Event-ID") == "1-7":
			_, _ = fmt.Fprintf(w, "event: scan.created\ndata: %s\n\n", strings.Repeat("x", 5<<20))
		default:
			t.Errorf("call %d with Last-Event-ID %q", n, r.Header.Get("Last-Event-ID"))
			refuse(w, http.StatusBadRequest, "", "enough")
		}
	})
	began := time.Now()
	seen := follow(t.Context(), c, client.EventQuery{}, -1)
	if !errors.Is(seen.err, client.ErrTooLarge) || !slices.Equal(seen.scans, []string{"a", "a"}) || time.Since(began) < time.Second {
		t.Errorf("events = %+v after %s, want two and an event that is too large, after a second", seen, time.Since(began))
	}
}

// TestRetryHasNoEnd is about a pause that is doubled more often than its number
// has bits.
func TestRetryHasNoEnd(t *testing.T) {
	t.Parallel()
	var sent atomic.Int32
	c, _ := faulty(t, func(w http.ResponseWriter, _ *http.Request) {
		sent.Add(1)
		refuse(w, http.StatusServiceUnavailable, "unavailable", "away")
	}, client.WithRetry(client.Retry{Attempts: 150, Wait: 3, Most: 1000}))
	if err := health(t.Context(), c); !errors.Is(err, client.ErrUnavailable) || sent.Load() != 151 {
		t.Errorf("Health = %v after %d calls, want 151", err, sent.Load())
	}
}
