package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/scan"
	"github.com/romi/plantdb-go/tokenauth"
)

const tagEvents = "events"

func eventsOf(list []scan.Event) []scan.EventView {
	out := make([]scan.EventView, len(list))
	for i := range list {
		out[i] = list[i].View()
	}
	return out
}

// history is a page of what was done to a scan.
type history struct {
	Events []scan.EventView `json:"events" doc:"The latest first."`
	Next   string           `json:"next,omitempty" doc:"Give it as after for the next page; left out after the last. The Link header says the same." example:"5512"`
}

type historyReply struct {
	Link []string `header:"Link" doc:"The next page, if there is one (rel=next)."`
	Body history
}

// HistoryQuery asks for a page of a history. It is exported for Huma, which fills embedded structs only then.
type HistoryQuery struct {
	Kind    string `query:"kind" maxLength:"64" doc:"Only what was done in this way." example:"file.created"`
	Fileset string `query:"fileset" maxLength:"255" doc:"Only what was done to this fileset and its files." example:"images"`
	File    string `query:"file" maxLength:"255" doc:"Only what was done to files of this id." example:"00000_rgb"`
	Limit   int    `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"How many events a page has."`
	After   string `query:"after" maxLength:"64" doc:"Where the page begins: next of the page before." example:"5512"`
}

func (q HistoryQuery) query() scan.HistoryQuery {
	return scan.HistoryQuery{Kind: q.Kind, Fileset: q.Fileset, File: q.File, After: q.After, Limit: q.Limit}
}

// historyPage answers a page of the history at path.
func (s *server) historyPage(path string, in HistoryQuery, h scan.History, err error) (*historyReply, error) {
	if err != nil {
		return nil, err
	}
	out := &historyReply{Body: history{eventsOf(h.Events), h.Next}}
	if h.Next != "" {
		u := url.URL{Path: s.config.Prefix + base + path}
		q := url.Values{"after": {h.Next}, "limit": {fmt.Sprint(in.Limit)}}
		for name, value := range map[string]string{"kind": in.Kind, "fileset": in.Fileset, "file": in.File} {
			if value != "" {
				q.Set(name, value)
			}
		}
		u.RawQuery = q.Encode()
		out.Link = []string{"<" + u.String() + `>; rel="next"`}
	}
	return out, nil
}

// eventList is a page of the stream.
type eventList struct {
	Events []scan.EventView `json:"events" doc:"In the order of the stream, the oldest first."`
	Next   string           `json:"next" doc:"Give it as after to go on; also where there are no events." example:"18342-5512"`
	More   bool             `json:"more" doc:"There is more to be read at once. A page may hold no events and have more."`
}

// EventQuery asks for events. It is exported for Huma, which fills embedded structs only then.
type EventQuery struct {
	Scan   string   `query:"scan" maxLength:"255" doc:"Only what is done to this scan." example:"real_plant"`
	Kind   []string `query:"kind" maxItems:"64" doc:"Only what is done in these ways, separated by commas." example:"[\"scan.created\",\"file.created\"]"`
	After  string   `query:"after" maxLength:"64" doc:"Where to begin: after the event of this position, 0 for the oldest that is kept, or now. By default a stream begins now and a list with the oldest." example:"18342-5512"`
	LastID string   `header:"Last-Event-ID" maxLength:"64" doc:"As after, which wins; a browser sends it when it connects again." example:"18342-5512"`
	Limit  int      `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"How many events a page of the list has at most; a stream has no end."`
	list   bool
}

// Resolve implements huma.Resolver: a client that reads events says so, or
// says nothing.
func (q *EventQuery) Resolve(ctx huma.Context) []error {
	accept := ctx.Header("Accept")
	q.list = strings.Contains(accept, "application/json") && !strings.Contains(accept, eventStream)
	return nil
}

// start says where to begin.
func (q *EventQuery) start() (scan.Start, error) {
	text := q.After
	if text == "" {
		text = strings.TrimSpace(q.LastID)
	}
	switch {
	case text != "":
		return startAt(text)
	case q.list:
		return scan.Start{Oldest: true}, nil
	}
	return scan.Start{Now: true}, nil
}

func (q *EventQuery) filter() scan.EventFilter { return scan.EventFilter{Scan: q.Scan, Kinds: q.Kind} }

const eventStream = "text/event-stream"

func (s *server) registerEvents() {
	page := s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[eventList](), true, "EventList")
	text := &huma.Schema{Type: huma.TypeString, Description: "Server-sent events. Each has the id to go on from and an event of the list as data."}
	register(s, route{
		id: "list-scan-history", method: http.MethodGet, path: "/scans/{scan_id}/history", tag: tagEvents, security: required, needs: toRead, rate: rateRead,
		summary: "Read what was done to a scan",
		doc: "Who changed what and when, of the scan, its filesets and its files, the latest first, for as long as EVENT_RETENTION says. " +
			"It follows the scan through the trash, and tells nothing of an older scan of the same id.",
		errors: readAccessErrors, faults: []error{scan.ErrCursor},
	}, func(ctx context.Context, in *struct {
		ScanPath
		HistoryQuery
	}) (*historyReply, error) {
		h, err := s.scans.History(ctx, in.Scan, in.query())
		return s.historyPage("/scans/"+in.Scan+"/history", in.HistoryQuery, h, err)
	})
	register(s, route{
		id: "list-timelapse-history", method: http.MethodGet, path: "/timelapses/{timelapse_id}/history", tag: tagEvents, security: required, rate: rateRead,
		summary: "Read what was done to a timelapse",
		doc: "Who made, changed, deleted or restored the timelapse and when, the latest first, for as long as EVENT_RETENTION says. " +
			"What was done to its scans is in their histories. It follows the timelapse through the trash, and tells nothing of an older one of the same id.",
		errors: []int{http.StatusNotFound}, faults: []error{scan.ErrCursor},
	}, func(ctx context.Context, in *struct {
		TimelapsePath
		Kind  string `query:"kind" maxLength:"64" doc:"Only what was done in this way." example:"timelapse.metadata"`
		Limit int    `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"How many events a page has."`
		After string `query:"after" maxLength:"64" doc:"Where the page begins: next of the page before." example:"5512"`
	}) (*historyReply, error) {
		q := HistoryQuery{Kind: in.Kind, Limit: in.Limit, After: in.After}
		h, err := s.scans.TimelapseHistory(ctx, in.Timelapse, q.query())
		return s.historyPage("/timelapses/"+in.Timelapse+"/history", q, h, err)
	})
	register(s, route{
		id: "stream-events", method: http.MethodGet, path: "/events", tag: tagEvents, security: required, rate: rateList,
		summary: "Follow what is done",
		doc: "What is done to scans that you may read, as it is done: server-sent events, or a list with `Accept: application/json`. " +
			"Nothing is missed and nothing told twice by who goes on from the id of the last event, on any server. " +
			"Beside events of the kinds there are `ready` at the beginning, `reset` where events after the id that was given are not kept any more, " +
			"and `end` with a code before the stream ends; a comment comes at least each 15 seconds. See docs/events.md.",
		responses: answers("Events.", map[string]*huma.Schema{"application/json": page, eventStream: text}),
		faults:    []error{scan.ErrEventID, scan.ErrEventsGone, scan.ErrTooManyStreams, scan.ErrStreamsFull, scan.ErrStopping},
	}, func(ctx context.Context, in *EventQuery) (*rawReply, error) {
		start, err := in.start()
		if err != nil {
			return nil, err
		}
		if in.list {
			return s.listEvents(ctx, in, start)
		}
		follower, err := s.scans.Follow(ctx, start, in.filter())
		if err != nil {
			return nil, err
		}
		return &rawReply{eventStream, func(ctx huma.Context) { s.streamEvents(ctx, follower) }}, nil
	})
}

func (s *server) listEvents(ctx context.Context, in *EventQuery, start scan.Start) (*rawReply, error) {
	page, err := s.scans.Events(ctx, start, in.filter(), in.Limit)
	if err != nil {
		return nil, err
	}
	out := eventList{eventsOf(page.Events), page.Next.String(), page.More}
	return &rawReply{"application/json", func(ctx huma.Context) {
		ctx.SetHeader("Cache-Control", "no-store")
		_ = jsonFormat.Marshal(ctx.BodyWriter(), out) // the connection is what can fail
	}}, nil
}

const (
	// beatEvery is how often a stream says that it lives.
	beatEvery = 15 * time.Second
	// checkEvery is how often it is asked whether the token still counts.
	checkEvery = 500 * time.Millisecond
	// sendTimeout is how long a client may take to read what was sent, beyond
	// what the buffers of the connection hold; then it is cut.
	sendTimeout = 5 * time.Second
	// sendAtOnce is about how much is sent in that time, and held of a stream:
	// who comes after much was done is not cut while they read.
	sendAtOnce = 64 << 10
	// retryAfter is when a client comes again, in milliseconds.
	retryAfter = 2000
)

// sender writes server-sent events.
type sender struct {
	w   http.ResponseWriter
	ctl *http.ResponseController
	buf bytes.Buffer
	// wrote is when something was last written.
	wrote time.Time
}

// add puts an event behind what waits to be sent. data is one line.
func (o *sender) add(id, name string, data any) error {
	if id != "" {
		fmt.Fprintf(&o.buf, "id: %s\n", id)
	}
	fmt.Fprintf(&o.buf, "event: %s\ndata: ", name)
	if err := jsonFormat.Marshal(&o.buf, data); err != nil {
		return err
	}
	o.buf.WriteByte('\n') // after the one of the JSON
	return nil
}

// send writes what waits, and fails for a client that does not read.
func (o *sender) send() error {
	o.wrote = time.Now()
	if err := o.ctl.SetWriteDeadline(o.wrote.Add(sendTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("bound a write: %w", err)
	}
	if _, err := o.w.Write(o.buf.Bytes()); err != nil {
		return fmt.Errorf("send events: %w", err)
	}
	o.buf.Reset()
	if err := o.ctl.Flush(); err != nil {
		return fmt.Errorf("flush events: %w", err)
	}
	return nil
}

// end tells a stream's last event.
type end struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// streamEvents sends what the follower reads until the client goes, is cut, may
// not read any more, or the server stops.
func (s *server) streamEvents(hctx huma.Context, follower *scan.Follower) {
	defer follower.Close()
	_, w := humago.Unwrap(hctx)
	w.Header().Set("Content-Type", eventStream)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // which proxies take for "do not wait for more"
	if hctx.Method() == http.MethodHead {
		return // its connection would be held, and take no other request
	}
	out := &sender{w: w, ctl: http.NewResponseController(w)}
	fmt.Fprintf(&out.buf, "retry: %d\n", retryAfter)
	name := "ready"
	if follower.Reset {
		name = "reset"
	}
	first := end{name, "Events follow."}
	if follower.Reset {
		first = end{scan.ErrEventsGone.Code, scan.ErrEventsGone.Msg}
	}
	if out.add(follower.Position().String(), name, first) != nil || out.send() != nil {
		return
	}
	err := s.follow(hctx.Context(), follower, out)
	if err == nil || hctx.Context().Err() != nil {
		return
	}
	p := problemOf(hctx.Context(), s.log, err)
	if out.add("", "end", end{p.Code, p.Message}) == nil {
		_ = out.send() // nobody is left to tell
	}
}

// follow returns nil where nobody reads any more, else why the stream ends.
func (s *server) follow(ctx context.Context, follower *scan.Follower, out *sender) error {
	who, err := s.stillActing(ctx)
	if err != nil {
		return err
	}
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	for checked := time.Now(); ; {
		if time.Since(checked) >= checkEvery {
			if who, err = s.stillActing(ctx); err != nil {
				return err
			}
			checked = time.Now()
		}
		events, more, err := follower.Next(ctx, who)
		if err != nil {
			return err
		}
		for i := range events {
			if err := out.add(events[i].Position.String(), string(events[i].Kind), events[i].View()); err != nil {
				return err
			}
			if out.buf.Len() >= sendAtOnce && out.send() != nil {
				return nil
			}
		}
		if len(events) == 0 && time.Since(out.wrote) >= beatEvery {
			// The id spares who comes again what they may not read.
			fmt.Fprintf(&out.buf, ": beat\nid: %s\n\n", follower.Position())
		}
		if out.buf.Len() > 0 && out.send() != nil {
			return nil
		}
		if more {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-follower.Ended():
			return scan.ErrStopping
		case <-follower.Changed():
		case <-check.C:
		}
	}
}

// stillActing returns who the bearer of the request's token is now, or why the
// token does not count any more.
func (s *server) stillActing(ctx context.Context) (actor.Actor, error) {
	token, ok := tokenauth.TokenFromContext(ctx)
	if !ok {
		return actor.Actor{}, scan.ErrNoActor
	}
	claims, err := s.authenticator.Verifier.Verify(ctx, token.Raw, tokenauth.Access, tokenauth.API)
	if err != nil {
		return actor.Actor{}, err
	}
	return s.auth.Actor(ctx, claims)
}
