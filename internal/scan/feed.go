package scan

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/postgres"
)

const (
	// feedPoll is how often new events are asked for while somebody listens,
	// whether or not notifications arrive.
	feedPoll = 500 * time.Millisecond
	// pendingPoll is how soon they are asked for again when something was
	// written that cannot be told before an older transaction ends; it doubles
	// up to feedPoll.
	pendingPoll = 10 * time.Millisecond
	// freshFor is how long it counts who may read an event. A follower who
	// comes later asks the database.
	freshFor = feedPoll
	// maxRecent bounds the events that are kept for all followers.
	maxRecent = 2000
	// hintDelay is how long after a write it is told of, since it is not
	// committed yet; hintPause bounds how often one server tells the others. A
	// notifying commit takes a lock on the whole instance.
	hintDelay = 5 * time.Millisecond
	hintPause = 50 * time.Millisecond
	// feedTimeout bounds one question.
	feedTimeout = 10 * time.Second
	// relisten comes before the next try to get a connection to listen on.
	relisten = time.Second
)

// feed reads what is new in the outbox once for all who follow it on this
// server. It keeps the last few events; a follower who is further behind reads
// for himself.
type feed struct {
	hint    chan struct{} // something was written here: tell all servers
	wake    chan struct{} // somebody begins to follow
	connect postgres.Connect
	pending time.Duration // until the next question; of the reader alone

	mu      sync.Mutex
	running bool
	ended   chan struct{} // closed when the server stops
	all     int
	by      map[string]int // followers of each user

	changed  chan struct{} // closed and replaced when there is something new
	placed   bool          // whether it is known where to read on
	from, to Position      // recent has all after from, up to to
	read     time.Time     // when the oldest of recent was read
	recent   []Event
}

func newFeed() *feed {
	return &feed{
		hint: make(chan struct{}, 1), wake: make(chan struct{}, 1), ended: make(chan struct{}),
		by: map[string]int{}, changed: make(chan struct{}), pending: pendingPoll,
	}
}

// ListenOn has FeedEvents hear of the writes of other servers on a connection
// of its own, made with the settings of the pool but not counted in it. Without
// it they are found by asking twice a second. It is set before the service is
// used.
func (s *Service) ListenOn(pool *pgxpool.Pool) {
	s.feed.connect = postgres.Beside(pool, "plantdb events")
}

// written has all servers told, soon, that there are events.
func (f *feed) written() { signal(f.hint) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is waiting already
	}
}

// FeedEvents reads new events for who follows them until ctx ends; then all
// followers end. Follow works only while it runs.
func (s *Service) FeedEvents(ctx context.Context) error {
	for {
		err := s.q.AdoptEvents(ctx, s.pool)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil
		}
		s.log.ErrorContext(ctx, "events not adopted, trying again", slog.Any("err", err))
		if sleep(ctx, relisten) != nil {
			return nil
		}
	}
	f := s.feed
	f.mu.Lock()
	f.running = true
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.running = false
		close(f.ended)
		f.ended = make(chan struct{})
	}()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.tellWrites(ctx) })
	group.Go(func() error { return s.readFeed(ctx) })
	return group.Wait()
}

// tellWrites sends the notifications. One that is lost costs the others no more
// than feedPoll.
func (s *Service) tellWrites(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.feed.hint:
		}
		if sleep(ctx, hintDelay) != nil {
			return nil
		}
		if err := s.q.NotifyEvents(ctx, s.pool); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "notify of events failed", slog.Any("err", err))
		}
		if sleep(ctx, hintPause) != nil {
			return nil
		}
	}
}

// readFeed reads on a connection that listens while there is one, else by the
// pool.
func (s *Service) readFeed(ctx context.Context) error {
	failing := false // said once
	for ctx.Err() == nil {
		err := s.listenFeed(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil && !failing {
			s.log.WarnContext(ctx, "connection for events lost, polling", slog.Any("err", err))
		}
		failing = err != nil
		for until := time.Now().Add(relisten); time.Now().Before(until) || s.feed.connect == nil; {
			next, err := s.pollFeed(ctx, s.pool)
			if err != nil && ctx.Err() == nil && !failing {
				s.log.WarnContext(ctx, "read of events failed", slog.Any("err", err))
				failing = true
			}
			if !s.feed.rest(ctx, next) {
				return nil
			}
		}
	}
	return nil
}

// rest waits until it is time to ask again, or somebody begins to follow.
func (f *feed) rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-f.wake:
	case <-timer.C:
	}
	return true
}

// listenFeed asks after each notification, and at the latest after feedPoll,
// until the connection fails.
func (s *Service) listenFeed(ctx context.Context) error {
	if s.feed.connect == nil {
		return nil
	}
	return postgres.Listen(ctx, s.feed.connect, feedTimeout,
		func(ctx context.Context, conn *pgx.Conn) error { return s.q.ListenEvents(ctx, conn) },
		func(ctx context.Context, conn *pgx.Conn) (time.Duration, error) { return s.pollFeed(ctx, conn) })
}

// pollFeed reads what is new, if anybody follows, and says when to ask again.
func (s *Service) pollFeed(ctx context.Context, from db.DBTX) (next time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, feedTimeout)
	defer cancel()
	f := s.feed
	if !f.followed() {
		return feedPoll, nil
	}
	for {
		read := time.Now()
		h, err := s.horizon(ctx, from)
		if err != nil {
			return feedPoll, err
		}
		at, err := s.place(ctx, from, h.Horizon)
		if err != nil {
			return feedPoll, err
		}
		events, to, more, err := s.readBelow(ctx, from, at, h.Horizon, eventBatch)
		if err != nil {
			return feedPoll, err
		}
		f.add(events, to, read)
		switch {
		case more:
		case h.Pending && len(events) == 0:
			f.pending = min(2*f.pending, feedPoll)
			return f.pending, nil
		case h.Pending:
			f.pending = pendingPoll
			return f.pending, nil
		default:
			f.pending = pendingPoll
			return feedPoll, nil
		}
	}
}

// followed says whether somebody follows. When nobody does, what was read is
// dropped: who comes next begins elsewhere.
func (f *feed) followed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == 0 {
		f.recent, f.placed = nil, false
	}
	return f.all > 0
}

// place is where to read on: at the end of what was read, or at that of all.
func (s *Service) place(ctx context.Context, from db.DBTX, horizon int64) (Position, error) {
	f := s.feed
	if at, placed := f.end(); placed {
		return at, nil
	}
	at, err := s.latest(ctx, from, horizon)
	if err != nil {
		return at, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.placed, f.from, f.to = true, at, at
	f.tell() // who follows may be before it
	return at, nil
}

// end is up to where it was read; placed is false where nobody followed.
func (f *feed) end() (at Position, placed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.to, f.placed
}

func (f *feed) add(events []Event, to Position, read time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.recent) == 0 || len(f.recent)+len(events) > maxRecent || time.Since(f.read) > freshFor {
		f.recent, f.from, f.read = nil, f.to, read
	}
	f.recent, f.to = append(f.recent, events...), to
	if len(events) > 0 {
		f.tell()
	}
}

// tell wakes all followers; f.mu is held.
func (f *feed) tell() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// after returns the recent events after p. ok is false where they are not all
// there or too old.
func (f *feed) after(p Position) (events []Event, to Position, changed <-chan struct{}, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !f.placed || p.Compare(f.from) < 0, len(f.recent) > 0 && time.Since(f.read) > freshFor && p.Compare(f.to) < 0:
		return nil, p, f.changed, false
	case p.Compare(f.to) >= 0:
		return nil, p, f.changed, true
	}
	for i := range f.recent {
		if f.recent[i].Position.Compare(p) > 0 {
			return f.recent[i:len(f.recent):len(f.recent)], f.to, f.changed, true
		}
	}
	return nil, f.to, f.changed, true
}

// Follower reads the stream as it grows. It is for one goroutine, which closes
// it.
type Follower struct {
	s      *Service
	who    string
	filter EventFilter
	at     Position
	// Reset says that events were lost between where it was to begin and where
	// it begins: the oldest that is kept.
	Reset   bool
	changed <-chan struct{}
	ended   <-chan struct{}
	close   sync.Once
}

// Follow returns a follower that begins where from says; if that is gone it
// begins with the oldest event that is kept, and Reset says so. Errors:
// ErrNoActor, also for guests; ErrTooManyStreams if the user has as many as
// one may have, ErrStreamsFull if the server has; ErrStopping.
func (s *Service) Follow(ctx context.Context, from Start, filter EventFilter) (*Follower, error) {
	a, err := listener(ctx)
	if err != nil {
		return nil, err
	}
	ended, err := s.feed.join(a.Username, s.config)
	if err != nil {
		return nil, err
	}
	f := &Follower{s: s, who: a.Username, filter: filter, ended: ended}
	f.at, err = s.startOf(ctx, from)
	if errors.Is(err, ErrEventsGone) {
		f.Reset = true
		f.at, err = s.startOf(ctx, Start{Oldest: true})
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (f *feed) join(who string, c Config) (ended <-chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !f.running:
		return nil, ErrStopping
	case f.by[who] >= c.StreamsPerUser:
		return nil, ErrTooManyStreams.After(feedFull)
	case f.all >= c.Streams:
		return nil, ErrStreamsFull.After(feedFull)
	}
	f.all++
	f.by[who]++
	signal(f.wake)
	return f.ended, nil
}

// feedFull is when to ask again for a stream.
const feedFull = 5 * time.Second

// Close makes room for another.
func (f *Follower) Close() {
	f.close.Do(func() {
		feed := f.s.feed
		feed.mu.Lock()
		defer feed.mu.Unlock()
		feed.all--
		if feed.by[f.who]--; feed.by[f.who] == 0 {
			delete(feed.by, f.who)
		}
	})
}

// Position is where the follower is: all before it was told, as far as it may
// be.
func (f *Follower) Position() Position { return f.at }

// Changed is closed when there may be something to read after a Next that
// returned no more.
func (f *Follower) Changed() <-chan struct{} { return f.changed }

// Ended is closed when the server stops.
func (f *Follower) Ended() <-chan struct{} { return f.ended }

// Next returns what is to be told now, as far as a may read it: at most a few
// hundred events. More says to call again at once.
func (f *Follower) Next(ctx context.Context, a actor.Actor) (events []Event, more bool, err error) {
	recent, to, changed, ok := f.s.feed.after(f.at)
	f.changed = changed
	if ok && len(recent) > eventBatch {
		recent, to, more = recent[:eventBatch], recent[eventBatch-1].Position, true
	}
	if !ok {
		if recent, to, more, err = f.s.readEvents(ctx, f.s.pool, f.at, eventBatch); err != nil {
			return nil, false, err
		}
	}
	for i := range recent {
		if f.filter.passes(&recent[i]) && CanReadEvent(a, &recent[i]) {
			events = append(events, recent[i])
		}
	}
	f.at = to
	return events, more, nil
}
