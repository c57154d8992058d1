package tokenauth_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/romi/plantdb-go/tokenauth"
)

// ledger is a Source in this process, whose faults a test chooses.
type ledger struct {
	mu        sync.Mutex
	rows      []tokenauth.Revocation
	since     []string // what was asked
	down      error    // answers are this
	deaf      error    // feeds cannot be had
	mute      bool     // notifications are lost
	feeds     map[*ledgerFeed]bool
	listens   int
	closed    int
	questions atomic.Int64
}

type ledgerFeed struct {
	*ledger
	told chan struct{}
	cut  chan struct{}
}

var errCut = errors.New("connection cut")

func (l *ledger) write(ids ...string) []tokenauth.Revocation {
	l.mu.Lock()
	defer l.mu.Unlock()
	var added []tokenauth.Revocation
	for _, id := range ids {
		added = append(added, tokenauth.Revocation{ID: id, Until: time.Now().Add(time.Hour)})
	}
	l.rows = append(l.rows, added...)
	return added
}

func (l *ledger) Revoked(_ context.Context, since string) ([]tokenauth.Revocation, string, error) {
	l.questions.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since = append(l.since, since)
	if l.down != nil {
		return nil, "", l.down
	}
	begin, _ := strconv.Atoi(since)
	return slices.Clone(l.rows[min(begin, len(l.rows)):]), strconv.Itoa(len(l.rows)), nil
}

func (l *ledger) Listen(context.Context) (tokenauth.Feed, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deaf != nil {
		return nil, l.deaf
	}
	f := &ledgerFeed{l, make(chan struct{}, 1), make(chan struct{})}
	if l.feeds == nil {
		l.feeds = map[*ledgerFeed]bool{}
	}
	l.feeds[f] = true
	l.listens++
	return f, nil
}

func (l *ledger) Notify(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for f := range l.feeds {
		if !l.mute {
			select {
			case f.told <- struct{}{}:
			default:
			}
		}
	}
	return nil
}

// cut breaks all feeds; deaf says whether there are new ones.
func (l *ledger) cut(deaf error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf = deaf
	for f := range l.feeds {
		close(f.cut)
		delete(l.feeds, f)
	}
}

func (l *ledger) set(change func(*ledger)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

func (l *ledger) heard() (listens, closed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.listens, l.closed
}

func (f *ledgerFeed) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-f.cut:
		return errCut
	case <-f.told:
		return nil
	}
}

func (f *ledgerFeed) Close() {
	f.set(func(l *ledger) {
		delete(l.feeds, f)
		l.closed++
	})
}

func replicated(l *ledger) *tokenauth.Replicated {
	return &tokenauth.Replicated{Source: l, Interval: 10 * time.Millisecond, Log: slog.New(slog.DiscardHandler)}
}

// running runs a loaded set until the test ends.
func running(t *testing.T, r *tokenauth.Replicated) *tokenauth.Replicated {
	t.Helper()
	if err := r.Load(t.Context()); err != nil {
		t.Fatalf("Load: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return r
}

// eventually waits until f holds; a minute is for ever.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

func refuses(t *testing.T, r *tokenauth.Replicated, id string) func() bool {
	return func() bool {
		revoked, _, err := r.IsRevoked(t.Context(), &tokenauth.Claims{ID: id})
		return revoked && err == nil
	}
}

// A set that was never loaded, or whose last answer is old, lets nobody in, over HTTP with 503.
func TestReplicatedFailsClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, replicatedFailsClosed) // no time passes but what is slept
}

func replicatedFailsClosed(t *testing.T) {
	l := &ledger{}
	l.write("revoked")
	r := replicated(l)
	ring := ringOf(t, hmacKey(t, "a"))
	v := verifier(ring)
	v.Checker = r
	h := tokenauth.Middleware(&tokenauth.Authenticator{Verifier: v, Log: slog.New(slog.DiscardHandler)}, tokenauth.Required)(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	step := func(when, id string, want int) {
		t.Helper()
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		req.Header.Set("Authorization", "Bearer "+sign(t, ring, func(c *tokenauth.Claims) { c.ID = id }))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != want {
			t.Errorf("%s: %s is answered %d, want %d", when, id, w.Code, want)
		}
	}
	step("before Load", "good", http.StatusServiceUnavailable)
	step("before Load", "revoked", http.StatusServiceUnavailable)

	l.set(func(l *ledger) { l.down = errCut })
	if err := r.Load(t.Context()); !errors.Is(err, errCut) {
		t.Errorf("Load of a source that is down = %v, want its error", err)
	}
	step("after a Load that failed", "good", http.StatusServiceUnavailable)

	l.set(func(l *ledger) { l.down = nil })
	if err := r.Load(t.Context()); err != nil {
		t.Fatalf("Load: %v", err)
	}
	step("after Load", "good", http.StatusNoContent)
	step("after Load", "revoked", http.StatusUnauthorized)

	time.Sleep(tokenauth.DefaultReplicatedFresh)
	step("at the end of the usual life of an answer", "good", http.StatusNoContent)
	time.Sleep(time.Nanosecond)
	step("when the answer is old", "good", http.StatusServiceUnavailable)
	step("when the answer is old", "revoked", http.StatusUnauthorized)
	r.Fresh = tokenauth.DefaultReplicatedFresh + time.Nanosecond
	step("with another life of an answer", "good", http.StatusNoContent)
	r.Fresh = time.Minute

	r.Doubt()
	step("in doubt", "good", http.StatusServiceUnavailable)
	step("in doubt", "revoked", http.StatusUnauthorized)
	if err := r.Sync(t.Context()); err != nil {
		t.Fatalf("Sync: %v", err)
	}
	step("after Sync", "good", http.StatusNoContent)
}

func TestReplicatedUnsureWhileTheSourceIsAway(t *testing.T) {
	t.Parallel()
	l := &ledger{}
	l.write("revoked")
	r := running(t, replicated(l))
	eventually(t, "it listens", func() bool { n, _ := l.heard(); return n == 1 })
	l.set(func(l *ledger) { l.down = errCut })
	l.cut(errCut)
	unsure := func() bool {
		_, _, err := r.IsRevoked(t.Context(), &tokenauth.Claims{ID: "good"})
		return errors.Is(err, tokenauth.ErrStale)
	}
	eventually(t, "it is unsure", unsure)
	if !refuses(t, r, "revoked")() {
		t.Error("what is known to be revoked is not, while the source is away")
	}
	l.write("while away")
	l.set(func(l *ledger) { l.down = nil })
	eventually(t, "it is sure again", func() bool { return !unsure() })
	if !refuses(t, r, "while away")() {
		t.Error("it is sure and lets in what was revoked while the source was away")
	}
}

// A revocation is seen elsewhere by its notification, not by the next question in turn.
func TestReplicatedIsTold(t *testing.T) {
	t.Parallel()
	l := &ledger{}
	here, there := replicated(l), replicated(l)
	here.Interval, there.Interval = time.Hour, time.Hour
	var changed atomic.Int64
	there.Changed = func() { changed.Add(1) }
	running(t, here)
	running(t, there)
	// One question each by Load, one by the feed: from here on nobody asks by himself.
	eventually(t, "both listen", func() bool { return l.questions.Load() == 4 })
	for i := range 20 {
		id := "token-" + strconv.Itoa(i)
		here.Revoke(l.write(id)...)
		if !refuses(t, here, id)() {
			t.Fatalf("%s is let in where it was revoked", id)
		}
		eventually(t, "the other set knows", refuses(t, there, id))
	}
	// Changed follows what it tells of, and does not come a second time.
	eventually(t, "Changed was called for each", func() bool { return changed.Load() >= 20 })
	if n := changed.Load(); n != 20 {
		t.Errorf("Changed was called %d times where 20 came from elsewhere, want 20", n)
	}
	if n := there.Len(); n != 20 {
		t.Errorf("Len = %d, want 20", n)
	}
}

// What is revoked while the feed is cut is seen after it is back, and while
// there is none.
func TestReplicatedWhenTheFeedIsCut(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		deaf error
		mute bool
	}{
		"and there is another":               {nil, false},
		"and there is none":                  {errCut, false},
		"and notifications of the next fail": {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &ledger{}
			r := running(t, replicated(l))
			for i := range 10 {
				listens, _ := l.heard()
				id := "token-" + strconv.Itoa(i)
				l.set(func(l *ledger) { l.mute = tt.mute })
				l.cut(tt.deaf)
				l.write(id) // and the notification reaches nobody
				eventually(t, "the set knows", refuses(t, r, id))
				if tt.deaf == nil {
					eventually(t, "it listens again", func() bool { n, _ := l.heard(); return n > listens })
				}
			}
		})
	}
}

// However long it is to the next question, a feed that cannot be had is tried
// for again soon, and asked from then on.
func TestReplicatedTriesForAFeed(t *testing.T) {
	t.Parallel()
	l := &ledger{deaf: errCut}
	r := replicated(l)
	r.Interval = time.Hour
	running(t, r)
	eventually(t, "it has tried", func() bool { return l.questions.Load() > 1 })
	l.set(func(l *ledger) { l.deaf = nil })
	l.write("token")
	eventually(t, "the set knows", refuses(t, r, "token"))
}

// After each reconnect everything is read, since the source may be an older one now.
func TestReplicatedReadsEverythingAfterAReconnect(t *testing.T) {
	t.Parallel()
	l := &ledger{}
	l.write("a", "b", "c")
	r := replicated(l)
	r.Interval = time.Hour
	running(t, r)
	eventually(t, "it listens", func() bool { return l.questions.Load() == 2 })
	if err := r.Sync(t.Context()); err != nil {
		t.Fatalf("Sync: %v", err)
	}
	l.cut(nil)
	eventually(t, "it listens again", func() bool { n, closed := l.heard(); return n == 2 && closed == 1 && l.questions.Load() == 5 })
	l.mu.Lock()
	defer l.mu.Unlock()
	// Load, the first feed, Sync, the source when the feed was lost, the second feed.
	if want := []string{"", "", "3", "", ""}; !slices.Equal(l.since, want) {
		t.Errorf("asked since %q, want %q", l.since, want)
	}
}

// Without a feed there are only questions.
func TestReplicatedWithoutFeed(t *testing.T) {
	t.Parallel()
	l := &ledger{}
	r := replicated(l)
	r.Source = polled{l}
	running(t, r)
	l.write("token")
	eventually(t, "the set knows", refuses(t, r, "token"))
}

type polled struct{ *ledger }

func (polled) Listen(context.Context) (tokenauth.Feed, error) { return nil, nil }

func TestReplicatedPrunes(t *testing.T) {
	t.Parallel()
	r := replicated(&ledger{})
	r.Now = clock(epoch)
	r.Revoke(tokenauth.Revocation{ID: "past", Until: epoch.Add(-time.Second)}, tokenauth.Revocation{ID: "future", Until: epoch.Add(time.Second)})
	r.Revoke()
	if n := r.Prune(); n != 1 || r.Len() != 1 || !refuses(t, r, "future")() {
		t.Errorf("Prune = %d, Len = %d, want 1 and 1: the one that has not run out", n, r.Len())
	}
}

// A revocation may begin to count later. Of two of one id the earlier begins and
// the later ends, in whatever order they come.
func TestReplicatedCountsFrom(t *testing.T) {
	t.Parallel()
	var now time.Time
	l := &ledger{}
	changes := 0
	r := replicated(l)
	r.Now, r.Changed = func() time.Time { return now }, func() { changes++ }
	if err := r.Load(t.Context()); err != nil {
		t.Fatalf("Load: %v", err)
	}
	end := epoch.Add(time.Hour)
	at := func(id string, seconds ...int) {
		for _, s := range seconds {
			r.Revoke(tokenauth.Revocation{ID: id, From: epoch.Add(time.Duration(s) * time.Second), Until: end})
		}
	}
	at("ten", 10)
	at("seven", 10, 7)
	at("eight", 8, 10)
	at("at once", 10)
	r.Revoke(tokenauth.Revocation{ID: "at once", Until: end})
	at("still at once", -1)
	if changes != 7 { // all but the later one of "eight"
		t.Errorf("Changed was called %d times, want 7", changes)
	}
	for second, want := range map[int][]string{
		0: {"at once", "still at once"}, 7: {"at once", "seven", "still at once"}, 9: {"at once", "eight", "seven", "still at once"},
		10: {"at once", "eight", "seven", "still at once", "ten"},
	} {
		now = epoch.Add(time.Duration(second) * time.Second)
		var got []string
		for _, id := range []string{"at once", "eight", "seven", "still at once", "ten"} {
			for _, c := range []*tokenauth.Claims{{ID: id}, {ID: "token", SessionID: id}} {
				if revoked, _, err := r.IsRevoked(t.Context(), c); err != nil {
					t.Errorf("IsRevoked(%s) = %v", id, err)
				} else if revoked && c.ID == id {
					got = append(got, id)
				} else if revoked != slices.Contains(got, id) {
					t.Errorf("second %d: the session %s is revoked = %t, unlike the token", second, id, revoked)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("second %d: revoked are %v, want %v", second, got, want)
		}
	}
}

// A look asks the source nothing and takes no memory.
func TestReplicatedLooksIntoMemory(t *testing.T) {
	l := &ledger{}
	l.write("hit")
	r := replicated(l)
	if err := r.Load(t.Context()); err != nil {
		t.Fatalf("Load: %v", err)
	}
	asked := l.questions.Load()
	for _, c := range []*tokenauth.Claims{{ID: "hit"}, {ID: "x", SessionID: "hit"}, {ID: "x", SessionID: "y"}} {
		if n := testing.AllocsPerRun(1000, func() { _, _, _ = r.IsRevoked(t.Context(), c) }); n != 0 {
			t.Errorf("IsRevoked(%+v) allocates %v times, want 0", c, n)
		}
	}
	if n := l.questions.Load() - asked; n != 0 {
		t.Errorf("looks asked the source %d times, want 0", n)
	}
}

func BenchmarkReplicated(b *testing.B) {
	l := &ledger{}
	r := replicated(l)
	r.Fresh = time.Hour
	for i := range 10_000 {
		l.write(strconv.Itoa(i))
	}
	if err := r.Load(b.Context()); err != nil {
		b.Fatal(err)
	}
	c := &tokenauth.Claims{ID: "token", SessionID: "session"}
	for b.Loop() {
		if revoked, _, err := r.IsRevoked(b.Context(), c); revoked || err != nil {
			b.Fatal(revoked, err)
		}
	}
}
