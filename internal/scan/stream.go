package scan

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/jobs"
)

// Position is a place in the stream of events. Positions are in the order in
// which transactions become complete: whoever goes on from one misses nothing
// and is told nothing twice.
type Position struct{ tx, seq int64 }

// String is what clients hand back.
func (p Position) String() string {
	return strconv.FormatInt(p.tx, 10) + "-" + strconv.FormatInt(p.seq, 10)
}

// Compare orders positions.
func (p Position) Compare(o Position) int {
	switch {
	case p == o:
		return 0
	case p.tx < o.tx || p.tx == o.tx && p.seq < o.seq:
		return -1
	}
	return 1
}

// ParsePosition is the inverse of String; ErrEventID for anything else.
func ParsePosition(text string) (Position, error) {
	tx, seq, _ := strings.Cut(text, "-")
	p := Position{count64(tx), count64(seq)}
	if p.tx < 0 || p.seq < 0 || p.String() != text {
		return Position{}, ErrEventID
	}
	return p, nil
}

func count64(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// EventFilter chooses events. Empty fields choose all.
type EventFilter struct {
	Scan  string
	Kinds []string
}

func (f EventFilter) passes(e *Event) bool {
	if f.Scan != "" && f.Scan != e.Scan {
		return false
	}
	return len(f.Kinds) == 0 || slices.Contains(f.Kinds, string(e.Kind))
}

// CanReadEvent says whether a may be told of an event: who may read the scan;
// of one that is gone, who could when it went; everybody of a timelapse, as of
// timelapses themselves; of a scan of which nothing is known, administrators.
func CanReadEvent(a actor.Actor, e *Event) bool {
	switch {
	case e.Scan == "":
		return CanRead(a, ofTimelapse(e.Timelapse, nil))
	case e.access != nil:
		return CanRead(a, *e.access)
	}
	return a.HighestRole() == actor.Admin && a.MayOn(e.Scan, actor.Admin, actor.Read)
}

// Start is where a reader of events begins: after an event, with the first that
// is kept, or with what comes.
type Start struct {
	After Position
	// Oldest and Now are instead of After.
	Oldest, Now bool
}

// EventPage is what was asked for of the stream.
type EventPage struct {
	Events []Event
	// Next is where to go on, also after a page without events.
	Next Position
	// More says that there is something after Next already.
	More bool
}

const (
	// eventBatch is how many events are looked at by one query.
	eventBatch = 500
	// eventBatches bounds how many queries a page may cost.
	eventBatches = 8
)

// Events returns a page of the stream as far as the actor may be told, oldest
// first. A page may hold fewer than limit, even none, while there is More.
// Errors: ErrNoActor, also for guests, ErrEventsGone.
func (s *Service) Events(ctx context.Context, from Start, f EventFilter, limit int) (EventPage, error) {
	a, err := listener(ctx)
	if err != nil {
		return EventPage{}, err
	}
	page := EventPage{Events: []Event{}}
	if page.Next, err = s.startOf(ctx, from); err != nil {
		return EventPage{}, err
	}
	limit = pageSize(limit)
	for range eventBatches {
		events, next, more, err := s.readEvents(ctx, s.pool, page.Next, eventBatch)
		if err != nil {
			return EventPage{}, err
		}
		page.Next, page.More = next, more
		for i := range events {
			if !f.passes(&events[i]) || !CanReadEvent(a, &events[i]) {
				continue
			}
			if page.Events = append(page.Events, events[i]); len(page.Events) == limit {
				page.Next, page.More = events[i].Position, more || i < len(events)-1
				return page, nil
			}
		}
		if !more {
			break
		}
	}
	return page, nil
}

// listener is who acts, if events may be told to them at all.
func listener(ctx context.Context) (actor.Actor, error) {
	a, err := acting(ctx)
	if err == nil && a.Guest {
		err = ErrNoActor
	}
	return a, err
}

// startOf returns where to begin. ErrEventsGone for a place before the oldest
// event that is kept, or that this database never had: every place that was told
// is one of an event, or the one up to which events are forgotten.
func (s *Service) startOf(ctx context.Context, from Start) (Position, error) {
	if from.Now {
		h, err := s.horizon(ctx, s.pool)
		if err != nil {
			return Position{}, err
		}
		return s.latest(ctx, s.pool, h.Horizon)
	}
	// The horizon first: it only rises.
	h, err := s.horizon(ctx, s.pool)
	if err != nil {
		return Position{}, err
	}
	gone, err := s.q.GetForgotten(ctx, s.pool, from.After.tx, from.After.seq)
	if err != nil {
		return Position{}, fmt.Errorf("ask for the oldest event: %w", err)
	}
	oldest := Position{gone.WrittenBy, gone.Seq}
	switch {
	case from.Oldest:
		return oldest, nil
	case from.After.Compare(oldest) < 0, from.After.tx > h.Horizon, !gone.Known:
		return Position{}, ErrEventsGone
	}
	return from.After, nil
}

func (s *Service) horizon(ctx context.Context, from db.DBTX) (db.EventHorizonRow, error) {
	h, err := s.q.EventHorizon(ctx, from)
	if err != nil {
		return h, fmt.Errorf("ask for the horizon of events: %w", err)
	}
	return h, nil
}

// latest returns the place of the last event below a horizon.
func (s *Service) latest(ctx context.Context, from db.DBTX, horizon int64) (Position, error) {
	last, err := s.q.LatestEvent(ctx, from, horizon)
	if err != nil {
		return Position{}, fmt.Errorf("ask for the last event: %w", err)
	}
	return Position{last.WrittenBy, last.Seq}, nil
}

// readEvents returns up to limit events after a position, with who may read
// each at this time, and where to go on. more says that there may be others.
func (s *Service) readEvents(ctx context.Context, from db.DBTX, after Position, limit int) (events []Event, next Position, more bool, err error) {
	h, err := s.horizon(ctx, from)
	if err != nil {
		return nil, after, false, err
	}
	return s.readBelow(ctx, from, after, h.Horizon, limit)
}

// readBelow is readEvents below a horizon that was asked for before.
func (s *Service) readBelow(ctx context.Context, from db.DBTX, after Position, horizon int64, limit int) (events []Event, next Position, more bool, err error) {
	rows, err := s.q.ListEvents(ctx, from, db.ListEventsParams{
		WrittenBy: after.tx, Seq: after.seq, Horizon: horizon, PageSize: int32(min(limit, math.MaxInt32)), //nolint:gosec // It is bounded.
	})
	if err != nil {
		return nil, after, false, fmt.Errorf("list events: %w", err)
	}
	events = make([]Event, len(rows))
	for i, r := range rows {
		if events[i], err = eventOf(r); err != nil {
			return nil, after, false, err
		}
	}
	// Not the horizon, though all below it was looked at: after a crash of
	// PostgreSQL an event may have a number below what it was before.
	next = after
	if len(events) > 0 {
		next = events[len(events)-1].Position
	}
	return events, next, len(rows) == limit, nil
}

func eventOf(r db.ListEventsRow) (e Event, err error) {
	e = Event{
		Position: Position{r.WrittenBy, r.Seq}, ID: r.ID, At: r.At, Kind: Kind(r.Kind),
		Username: textOf(r.Username), TokenKind: textOf(r.TokenKind), RequestID: r.RequestID,
		Scan: textOf(r.Scan), Timelapse: textOf(r.Timelapse), Fileset: textOf(r.Fileset), File: textOf(r.File),
	}
	if e.Detail, err = readDetail(r.Detail); err != nil {
		return e, err
	}
	switch {
	case r.ScanName != nil:
		e.access = &Access{*r.ScanName, r.Owner, r.Sharing, textOf(r.Visibility)}
	case len(r.Access) > 0:
		var kept struct {
			Owner      *string
			Sharing    []string
			Visibility string
		}
		if err := json.Unmarshal(r.Access, &kept); err != nil {
			return e, fmt.Errorf("read who could see scan %q: %w", e.Scan, err)
		}
		e.access = &Access{e.Scan, kept.Owner, kept.Sharing, kept.Visibility}
		if kept.Visibility == "" {
			e.access = nil
		}
	}
	return e, nil
}

// keepEventsArgs ask for a round of ForgetEvents.
type keepEventsArgs struct{}

// Kind implements jobs.Args.
func (keepEventsArgs) Kind() string { return "forget_events" }

// InsertOpts has one round at a time over all servers.
func (keepEventsArgs) InsertOpts() jobs.InsertOpts {
	return jobs.InsertOpts{Queue: jobs.Background, UniqueOpts: jobs.UniqueOpts{ByArgs: true, ByState: jobs.Unfinished}}
}

// EventKeeper forgets events that are older than the retention, every hour.
func (s *Service) EventKeeper() jobs.Worker {
	return jobs.Work(func(ctx context.Context, _ *jobs.Job[keepEventsArgs]) error {
		_, err := s.forgetEvents(ctx)
		return err
	}, jobs.Bounds{Timeout: 5 * time.Minute, Every: time.Hour})
}

const (
	// forgetBatch and forgetBatches bound what a round removes; the rest is
	// for the next.
	forgetBatch   = 5000
	forgetBatches = 400
)

// forgetEvents removes what is older than the retention, the oldest first.
func (s *Service) forgetEvents(ctx context.Context) (forgotten int64, err error) {
	if s.config.EventRetention <= 0 {
		return 0, nil
	}
	until, err := s.lookAtClock(ctx, clockEvents, s.config.EventRetention)
	if err != nil {
		return 0, err
	}
	before := until.Add(-s.config.EventRetention)
	for range forgetBatches {
		n, err := s.q.ForgetEvents(ctx, s.pool, forgetBatch, before)
		if err != nil {
			return forgotten, fmt.Errorf("forget old events: %w", err)
		}
		forgotten += n
		if n < forgetBatch {
			break
		}
	}
	return forgotten, nil
}
