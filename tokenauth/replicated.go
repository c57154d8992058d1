package tokenauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// What a Replicated uses where its fields say nothing.
const (
	DefaultReplicatedInterval = 500 * time.Millisecond
	DefaultReplicatedTimeout  = 4 * time.Second
	DefaultReplicatedFresh    = 5 * time.Second
)

const (
	// reconnectPause comes before the next feed when one was lost.
	reconnectPause = 50 * time.Millisecond
	// notifyPause bounds the notifications that one server sends: in
	// PostgreSQL a notifying commit takes a lock on the whole instance.
	notifyPause = 50 * time.Millisecond
)

// ErrStale is why a Replicated could not tell. The Verifier makes it the
// cause of an ErrCheckerFailed, a 503.
var ErrStale = errors.New("what was revoked elsewhere is not known to be up to date")

// Revocation is a jti or sid that no longer counts.
type Revocation struct {
	ID string
	// From is when it stops to count; zero is at once.
	From time.Time
	// Until is how long to remember it: until nothing of it can be alive, which
	// is the latest exp of the tokens concerned, plus the leeway of the verifier.
	Until time.Time
}

// Reader reads what was revoked.
type Reader interface {
	// Revoked returns what was revoked after since, or all that may still be
	// alive if since is empty, and the since of the next call. It may return
	// too much and may never miss what is committed when it is called.
	Revoked(ctx context.Context, since string) (revoked []Revocation, next string, err error)
}

// Source is where the servers of an application keep what they revoked, such
// as a table; package tokenpgx has the one of PostgreSQL.
type Source interface {
	Reader
	// Listen returns a feed of what is committed after it returned, or no
	// feed and no error where there are only questions. ctx bounds the
	// making of the feed alone.
	Listen(ctx context.Context) (Feed, error)
	// Notify wakes the feeds of all servers.
	Notify(ctx context.Context) error
}

// Feed tells of revocations as they come. Its Reader uses what the feed holds,
// such as its connection, so that no busy pool keeps it from being asked. One
// goroutine uses it, and closes it.
type Feed interface {
	Reader
	// Wait returns nil when a server called Notify, and an error when ctx
	// ended or notifications may have been lost.
	Wait(ctx context.Context) error
	Close()
}

// Replicated is the Checker of several servers that share a Source: a set in
// memory of what was revoked on any of them. A look costs a fraction of a
// microsecond and no query.
//
// It knows a revocation made here when Revoke returns, and one made elsewhere
// as soon as the feed tells, or else, since notifications get lost with the
// connection that should have brought them, within Interval and the time of a
// question; after each reconnect it reads everything. What it does not know to
// be revoked it lets in only while the last answer of the Source is younger
// than Fresh. Before the first Load, and while the Source is out of reach, it
// fails with ErrStale, which is a 503; what it knows to be revoked stays so.
//
//	revoked := &tokenauth.Replicated{Source: source}
//	if err := revoked.Load(ctx); err != nil { ... }   // before serving
//	go revoked.Run(ctx)
//	...
//	revoked.Revoke(tokenauth.Revocation{ID: sid, Until: exp}) // once it is committed to the Source
//
// Set the fields before the first use; a Replicated must not be copied.
type Replicated struct {
	// Source is required.
	Source Source
	// Interval is how often the Source is asked, told or not; 0 means
	// DefaultReplicatedInterval.
	Interval time.Duration
	// Timeout bounds one question; 0 means DefaultReplicatedTimeout.
	Timeout time.Duration
	// Fresh is how long an answer counts; 0 means DefaultReplicatedFresh.
	Fresh time.Duration
	// Now is the clock of Revocation.From and Prune; nil means time.Now.
	Now func() time.Time
	// Changed is called when the set has grown, before Revoke, Load or Sync
	// returns: to drop what else is remembered of a bearer. It may be nil.
	Changed func()
	// Log gets what goes wrong in Run; nil means slog.Default.
	Log *slog.Logger

	set  Memory
	once sync.Once
	hint chan struct{} // something was revoked here: notify

	mu    sync.Mutex
	since string
	asked time.Time // when the last question that was answered was put; zero: stale
}

// IsRevoked says whether the token's ID or its SessionID is in the set; if
// not, and the set may lack something, the error is ErrStale.
func (r *Replicated) IsRevoked(_ context.Context, c *Claims) (bool, string, error) {
	if revoked, reason := r.set.isRevoked(c, r.Now); revoked {
		return true, reason, nil
	}
	r.mu.Lock()
	asked := r.asked
	r.mu.Unlock()
	if asked.IsZero() || time.Since(asked) > or(r.Fresh, DefaultReplicatedFresh) {
		return false, "", ErrStale
	}
	return false, "", nil
}

// Revoke makes revocations that are committed to the Source count here at once,
// and has Run tell the other servers.
func (r *Replicated) Revoke(revoked ...Revocation) {
	if len(revoked) == 0 {
		return
	}
	r.add(revoked)
	select {
	case r.hints() <- struct{}{}:
	default: // one is waiting already
	}
}

// Load reads all that was revoked. Call it once before serving.
func (r *Replicated) Load(ctx context.Context) error { return r.read(ctx, r.Source, true) }

// Sync reads what was revoked since the last Load or Sync. Run does so by
// itself.
func (r *Replicated) Sync(ctx context.Context) error { return r.read(ctx, r.Source, false) }

// Doubt makes the set stale until the next answer of the Source: for who knows
// better, such as that the Source was put back to an older state.
func (r *Replicated) Doubt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = time.Time{}
}

// Prune drops what has run out and returns how much that was, as that of
// Memory does: call it about once a minute.
func (r *Replicated) Prune() int {
	return r.set.prune(r.Now)
}

// Len returns how many ids the set holds.
func (r *Replicated) Len() int { return r.set.Len() }

// Run keeps the set fresh and tells other servers of what Revoke got, until
// ctx ends. Call it once.
func (r *Replicated) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { r.notify(ctx) })
	r.follow(ctx)
	wg.Wait()
}

// read asks from, for everything after a reconnect: the Source may have failed
// over meanwhile.
func (r *Replicated) read(ctx context.Context, from Reader, everything bool) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout())
	defer cancel()
	r.mu.Lock()
	since := r.since
	r.mu.Unlock()
	if everything {
		since = ""
	}
	asked := time.Now()
	revoked, next, err := from.Revoked(ctx, since)
	if err != nil {
		return fmt.Errorf("ask for revocations: %w", err)
	}
	r.add(revoked)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = next
	if asked.After(r.asked) {
		r.asked = asked
	}
	return nil
}

func (r *Replicated) add(revoked []Revocation) {
	grown := false
	for _, v := range revoked {
		grown = r.set.add(v) || grown
	}
	if grown && r.Changed != nil {
		r.Changed()
	}
}

// follow asks a feed while there is one, else the Source itself.
func (r *Replicated) follow(ctx context.Context) {
	failing := false // said once, not twice a second
	for ctx.Err() == nil {
		pause := or(r.Interval, DefaultReplicatedInterval)
		had, lost := r.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case had: // it was good until now: try again soon
			pause = reconnectPause
			r.log().WarnContext(ctx, "feed of revocations lost, polling", slog.Any("err", lost))
		case lost != nil:
			pause = min(pause, DefaultReplicatedInterval)
		}
		err := r.Load(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			r.Doubt()
		}
		if err != nil && !failing {
			r.log().ErrorContext(ctx, "revocations unknown, tokens are refused", slog.Any("err", errors.Join(err, lost)))
		}
		failing = err != nil
		if !sleep(ctx, pause) {
			return
		}
	}
}

// listen asks at once, after each notification, and after each Interval
// without one, until the feed fails; had says that there was one.
func (r *Replicated) listen(ctx context.Context) (had bool, err error) {
	making, cancel := context.WithTimeout(ctx, r.timeout())
	feed, err := r.Source.Listen(making)
	cancel()
	if feed == nil || err != nil {
		return false, err
	}
	defer feed.Close()
	for everything := true; ; everything = false {
		if err = r.read(ctx, feed, everything); err != nil {
			return true, err
		}
		waiting, stop := context.WithTimeout(ctx, or(r.Interval, DefaultReplicatedInterval))
		err = feed.Wait(waiting)
		silent := waiting.Err() != nil
		stop()
		if err != nil && (!silent || ctx.Err() != nil) {
			return true, fmt.Errorf("wait for revocations: %w", err)
		}
	}
}

// notify tells the other servers. A notification that is lost costs them no
// more than their Interval.
func (r *Replicated) notify(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.hints():
		}
		telling, cancel := context.WithTimeout(ctx, r.timeout())
		err := r.Source.Notify(telling)
		cancel()
		if err != nil && ctx.Err() == nil {
			r.log().WarnContext(ctx, "notify of revocation failed", slog.Any("err", err))
		}
		if !sleep(ctx, notifyPause) {
			return
		}
	}
}

func (r *Replicated) hints() chan struct{} {
	r.once.Do(func() { r.hint = make(chan struct{}, 1) })
	return r.hint
}

func (r *Replicated) timeout() time.Duration { return or(r.Timeout, DefaultReplicatedTimeout) }

func (r *Replicated) log() *slog.Logger {
	if r.Log == nil {
		return slog.Default()
	}
	return r.Log
}

// or returns d, or standard where d is not set.
func or(d, standard time.Duration) time.Duration {
	if d <= 0 {
		return standard
	}
	return d
}

// sleep returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
