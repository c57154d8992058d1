package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	plantdbapi "github.com/romi/plantdb-go/openapi/clients/go"
)

// Event is something that was done to a scan, fileset, file or timelapse.
type Event = plantdbapi.Event

// EventQuery says which events to follow, and from where. The zero EventQuery
// has all that comes from now on.
type EventQuery struct {
	// Scan has only what is done to this scan.
	Scan string
	// Kinds has only what is done in these ways, such as "file.created";
	// docs/events.md lists them.
	Kinds []string
	// After is the Position of the last event that was seen, "0" for the oldest
	// that the server keeps, or "" for what comes.
	After string
	// Silence is after how long without a sign of life a connection is given
	// up, 45 seconds if it is not set. The server gives one each 15 seconds.
	Silence time.Duration
}

const (
	defaultSilence = 45 * time.Second
	// maxEvent bounds what is held of one event.
	maxEvent = 4 << 20
)

// Events follows what is done, as it is done, to scans that the caller may read.
// It goes on until the loop ends, ctx ends or following fails; the error is the
// last that the loop sees.
//
// A connection that breaks or falls silent, a server that stops and a token that
// expires are bridged, as [Retry] says before the first connection and for as
// long as it takes after it: no event is missed or told twice, on whatever server
// of the database. To go on after the end of the program, keep the Position of
// the last event and give it as After.
//
// ErrEventsGone says that the server does not keep what came after that place
// any more: read anew what is followed, and follow from now. A server without
// events is ErrUnsupported.
func (c *Client) Events(ctx context.Context, q EventQuery) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		f := &following{c: c, q: q, yield: yield, at: q.After}
		if f.q.Silence <= 0 {
			f.q.Silence = defaultSilence
		}
		if err := f.run(ctx); err != nil && !errors.Is(err, errEnough) {
			yield(Event{}, err)
		}
	}
}

// errEnough says that the loop has ended.
var errEnough = errors.New("enough")

// following is one loop over events.
type following struct {
	c         *Client
	q         EventQuery
	yield     func(Event, error) bool
	at        string // the place to go on from; "" before there is one
	connected bool   // once at least
}

// run connects again and again.
func (f *following) run(ctx context.Context) error {
	for attempt := 0; ; {
		got, err := f.connect(ctx)
		if !f.connected || !passing(err) {
			return err
		}
		if got {
			attempt = 0
		}
		wait, ok := f.pause(ctx, attempt, err)
		if !ok {
			return err
		}
		attempt++
		if err := sleep(ctx, wait); err != nil {
			return &Error{Op: eventsOp, cause: err}
		}
	}
}

// pause returns how long to wait. Where anything is tried again at all, the
// patience has no end but the context's.
func (f *following) pause(ctx context.Context, attempt int, err error) (time.Duration, bool) {
	r, asked := f.c.retry, time.Duration(0)
	if e, ok := errors.AsType[*Error](err); ok {
		asked = e.RetryAfter
	}
	if r.Attempts > 0 {
		r.Attempts, r.Most = attempt+1, max(r.Most, asked)
	}
	return r.pause(ctx, attempt, asked)
}

const eventsOp = "GET /api/v1/events"

// passing says whether a failure may be gone next time.
func passing(err error) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return false
	}
	return errors.Is(err, ErrUnreachable) || errors.Is(err, ErrRateLimited) || e.Status >= http.StatusInternalServerError
}

// connect follows by one connection, until it ends. got says that something came
// by it.
func (f *following) connect(ctx context.Context) (got bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A server that takes the connection and says nothing is given up, too.
	alive := time.AfterFunc(f.q.Silence, func() { cancel(errSilent) })
	defer alive.Stop()
	params := plantdbapi.StreamEventsParams{Scan: opt(f.q.Scan), Kind: f.q.Kinds, LastEventID: opt(f.at)}
	resp, err := f.c.api.StreamEvents(ctx, &params, func(_ context.Context, req *http.Request) error {
		req.Header.Set("Accept", "text/event-stream")
		req.Header.Set("Accept-Encoding", "identity")
		return nil
	})
	if err != nil {
		if errors.Is(context.Cause(ctx), errSilent) {
			err = broken(errSilent)
		}
		return false, err
	}
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return false, noStream(resp)
	}
	defer resp.Body.Close() // It was only read.
	alive.Stop()
	f.connected = true
	s := stream{lines: bufio.NewReader(&timed{resp.Body, alive, f.q.Silence})}
	for {
		m, err := s.next()
		if err != nil {
			return got, f.ended(ctx, err)
		}
		told, err := f.take(m)
		if got = got || told; err != nil {
			return got, err
		}
	}
}

// errSilent is a connection on which nothing came.
var errSilent = errors.New("nothing came for too long")

// broken is a connection that is to be replaced.
func broken(cause error) error {
	return &Error{Op: eventsOp, cause: cause, kinds: []error{ErrUnreachable}}
}

// ended says why a connection is over.
func (f *following) ended(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, errLong):
		return &Error{Op: eventsOp, cause: err, kinds: []error{ErrTooLarge}}
	case ctx.Err() == nil:
		return broken(err)
	case errors.Is(context.Cause(ctx), errSilent):
		return broken(errSilent)
	}
	return &Error{Op: eventsOp, cause: ctx.Err()}
}

// noStream is an answer that is no stream.
func noStream(resp *http.Response) error {
	err := refusal(resp)
	if err.Code == "" && (err.Status == http.StatusNotFound || err.Status == http.StatusMethodNotAllowed) {
		err.Message, err.kinds = "the server tells no events", []error{ErrUnsupported}
	}
	return err
}

// take hands a message on. told says that it is a sign of life beyond the
// greeting.
func (f *following) take(m message) (told bool, err error) {
	switch m.name {
	case "":
		told = true // a beat
	case "ready":
	case "reset":
		return false, &Error{Op: eventsOp, Code: "events_gone", Message: "the server does not keep any more what came after " + f.at, kinds: []error{ErrEventsGone}}
	case "end":
		var why struct{ Code, Message string }
		_ = json.Unmarshal(m.data, &why) // what it says is for people
		// A token that has had its time is no reason for a longer pause.
		return why.Code == "token_expired", &Error{Op: eventsOp, Message: "the server ended the stream: " + why.Message, kinds: []error{ErrUnreachable}}
	default:
		var e Event
		if err := json.Unmarshal(m.data, &e); err != nil {
			return false, &Error{Op: eventsOp, cause: fmt.Errorf("read event: %w", err), kinds: []error{ErrNotPlantDB}}
		}
		if m.id != "" {
			f.at = m.id
		}
		if !f.yield(e, nil) {
			return true, errEnough
		}
		return true, nil
	}
	if m.id != "" {
		f.at = m.id
	}
	return told, nil
}

// timed reads a connection on which something has to come now and then. The time
// that the reader takes for itself does not count.
type timed struct {
	r     io.Reader
	alive *time.Timer
	limit time.Duration
}

// Read implements io.Reader.
func (t *timed) Read(b []byte) (int, error) {
	t.alive.Reset(t.limit)
	defer t.alive.Stop()
	return t.r.Read(b)
}

// message is a server-sent event; one without a name is a beat.
type message struct {
	id, name string
	data     []byte
}

// stream reads server-sent events.
type stream struct{ lines *bufio.Reader }

// next returns the next one that is whole.
func (s *stream) next() (m message, err error) {
	for size := 0; ; {
		line, err := s.line(maxEvent - size)
		if err != nil {
			return m, err
		}
		size += len(line)
		name, value, _ := strings.Cut(string(line), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case len(line) == 0:
			if m.name != "" || m.id != "" {
				return m, nil
			}
		case name == "id":
			m.id = value
		case name == "event":
			m.name = value
		case name == "data" && m.data != nil:
			m.data = append(append(m.data, '\n'), value...)
		case name == "data":
			m.data = []byte(value)
		}
	}
}

// errLong is an event that is not held in memory.
var errLong = errors.New("an event is too large")

// line reads a line of at most so many bytes.
func (s *stream) line(most int) ([]byte, error) {
	var line []byte
	for {
		part, err := s.lines.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > most:
			return nil, errLong
		case err == nil:
			return []byte(strings.TrimRight(string(line), "\r\n")), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}
