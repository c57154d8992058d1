package scan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
)

// What other programs do to the tree is seen in two ways. The watcher names
// scans that may have changed, and they are read a moment later. The sweep
// compares everything with the index now and then: it finds what the watcher
// does not see. Both only read the tree, and a signature that is the index's
// costs no more than itself.

const (
	// readAfter is how long a scan that was touched is left alone, for most
	// changes are several; readGap is the least time between two reads of one
	// scan, and readShare bounds what reading a very large one again and again
	// takes of the time.
	readAfter = 250 * time.Millisecond
	readGap   = 2 * time.Second
	readShare = 20
	// oursAfter is how long a scan that servers write must be quiet before it
	// is read, for their rows say already what the tree says; oursLatest is when it
	// is read anyway.
	oursAfter  = 3 * time.Second
	oursLatest = 30 * time.Second
	// doubtAfter is how soon a scan is looked at again that seems to have been
	// broken just now, and doubtLatest how long that goes on: most are
	// being written.
	doubtAfter  = time.Second
	doubtLatest = 5 * time.Second
	// retryAfter is when what failed is tried again.
	retryAfter = 5 * time.Second
	// sweepShare bounds what sweeps take of the time: the next one waits so many
	// times as long as the last one took.
	sweepShare = 10
	// readsAtOnce bounds how many scans are read at once, and maxDue how many
	// wait to be; beyond, everything is swept.
	readsAtOnce = 4
	maxDue      = 4096
)

// Watching says how the index is kept up to date with what other programs do.
type Watching struct {
	fsdb.Watched
	// Sweeps and Reads count what was done since the start, and Sweep is when
	// everything was last compared; zero before.
	Sweeps, Reads int64
	Sweep         time.Time
}

// watching is what Watching tells.
type watching struct {
	watcher       atomic.Pointer[fsdb.Watcher]
	sweeps, reads atomic.Int64
	sweep         atomic.Int64 // in Unix nanoseconds
}

// follow has the watcher follow what was listed, before it is read.
func (w *watching) follow(list *fsdb.Listing) {
	if watcher := w.watcher.Load(); watcher != nil {
		watcher.Follow(list)
	}
}

// prefer has a scan watched that changed.
func (w *watching) prefer(loc fsdb.Loc) {
	if watcher := w.watcher.Load(); watcher != nil {
		watcher.Prefer(loc)
	}
}

// Watching says how the index is kept up to date.
func (s *Service) Watching() Watching {
	w := Watching{Sweeps: s.watching.sweeps.Load(), Reads: s.watching.reads.Load()}
	if watcher := s.watching.watcher.Load(); watcher != nil {
		w.Watched = watcher.State()
	}
	if at := s.watching.sweep.Load(); at > 0 {
		w.Sweep = time.Unix(0, at)
	}
	return w
}

// KeepIndexed keeps the index up to date with what other programs do to the
// tree, until ctx ends; ready is called once the whole tree was compared for the
// first time. What is written where the watcher looks is in the index within
// seconds, everything else within the interval of the sweep, or ten times as
// long as a sweep takes where that is longer. A scan that is being written all
// the time is read every few seconds. Nothing is written into the tree.
//
// Where the system does not let us watch, or not all scans, the log says so
// once and the sweep alone finds the rest.
func (s *Service) KeepIndexed(ctx context.Context, ready func()) error {
	k := &keeper{
		Service: s, ready: ready, scans: map[fsdb.Loc]*awaited{},
		done: make(chan looked, readsAtOnce), swept: make(chan sweptAll, 1), sweepAt: time.Now(),
	}
	if s.config.WatchLimit > 0 {
		w, err := s.tree.Watch(s.config.WatchLimit)
		if err != nil {
			s.log.WarnContext(ctx, "the tree cannot be watched: what other programs write is found by the sweep",
				slog.Duration("every", s.config.SweepInterval), slog.Any("err", err))
		} else {
			defer w.Close() // Nothing was written by it.
			k.watcher, k.changed = w, w.Changed()
			s.watching.watcher.Store(w)
			defer s.watching.watcher.Store(nil)
		}
	}
	return k.run(actor.NewContext(ctx, actor.System()))
}

// keeper is a run of KeepIndexed; all of it belongs to one goroutine.
type keeper struct {
	*Service
	ready   func()
	watcher *fsdb.Watcher
	changed <-chan struct{}

	scans   map[fsdb.Loc]*awaited
	reading int
	done    chan looked

	sweepAt  time.Time // zero for never
	sweeping bool
	swept    chan sweptAll
	told     bool // that not all is watched
}

// awaited is a scan that was touched, or read a moment ago. One without a scan
// is a timelapse.
type awaited struct {
	first, last time.Time // when it was touched
	at          time.Time // when it is read; zero if it need not be
	running     bool
	notBefore   time.Time // because it was read just now
	doubtful    time.Time // since when it seems broken
}

// sweptAll is what became of a sweep, and how long it worked.
type sweptAll struct {
	took time.Duration
	err  error
}

// looked is what became of a scan that was looked at.
type looked struct {
	loc  fsdb.Loc
	took time.Duration
	err  error
}

var (
	// errOurs says that servers write a scan, and errDoubtful that a scan
	// seems to have been broken just now. Both are looked at again.
	errOurs     = errors.New("servers are writing the scan")
	errDoubtful = errors.New("the scan is broken, or being written")
)

func (k *keeper) run(ctx context.Context) error {
	defer k.wait()
	for {
		k.begin(ctx)
		timer := time.NewTimer(k.next())
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-k.changed:
			k.take(ctx)
		case l := <-k.done:
			k.reading--
			k.looked(ctx, l)
		case done := <-k.swept:
			k.sweeping = false
			k.sweepDone(ctx, done)
		case <-timer.C:
		}
		timer.Stop()
	}
}

// wait waits for what was begun.
func (k *keeper) wait() {
	for ; k.reading > 0; k.reading-- {
		<-k.done
	}
	if k.sweeping {
		<-k.swept
	}
}

// take notes what the watcher saw.
func (k *keeper) take(ctx context.Context) {
	t := k.watcher.Take()
	now := time.Now()
	for _, loc := range append(t.Scans, k.unlocked(ctx, t.Unlocked)...) {
		k.touch(loc, now)
	}
	for _, id := range t.Timelapses {
		k.touch(fsdb.Loc{Timelapse: id}, now)
	}
	if t.All || len(k.scans) > maxDue {
		k.sweepSoon(now)
	}
}

// unlocked returns those scans of which a lock may have been.
func (k *keeper) unlocked(ctx context.Context, names []string) []fsdb.Loc {
	if len(names) == 0 {
		return nil
	}
	rows, err := k.q.ListCheckedScans(ctx, k.pool, names)
	if err != nil {
		k.warnOfFailure(ctx, "find scans that were unlocked", err)
		k.sweepSoon(time.Now().Add(retryAfter))
	}
	locs := make([]fsdb.Loc, len(rows))
	for i, r := range rows {
		locs[i] = fsdb.Loc{Timelapse: r.Timelapse, Scan: r.Name}
	}
	return locs
}

func (k *keeper) touch(loc fsdb.Loc, now time.Time) {
	a := k.scans[loc]
	if a == nil {
		a = &awaited{}
		k.scans[loc] = a
	}
	a.last = now
	if a.at.IsZero() {
		if !a.running {
			a.first = now
		}
		a.at = latest(now.Add(readAfter), a.notBefore)
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sweepSoon moves the next sweep to a moment from then on, but not so near to
// the last one that sweeps take more than their share.
func (k *keeper) sweepSoon(from time.Time) {
	at := from.Add(readAfter)
	if k.sweepAt.IsZero() || at.Before(k.sweepAt) {
		k.sweepAt = latest(at, k.lastSweep().Add(readGap))
	}
}

func (k *keeper) lastSweep() time.Time { return time.Unix(0, k.watching.sweep.Load()) }

// begin starts what is due.
func (k *keeper) begin(ctx context.Context) {
	now := time.Now()
	if !k.sweeping && !k.sweepAt.IsZero() && !now.Before(k.sweepAt) {
		k.sweeping, k.sweepAt = true, time.Time{}
		for loc, a := range k.scans {
			if !a.running {
				delete(k.scans, loc) // the sweep looks at all of them
			}
		}
		go func() { k.swept <- k.sweep(ctx) }()
	}
	for loc, a := range k.scans {
		switch {
		case a.running:
		case a.at.IsZero() && now.After(a.notBefore):
			delete(k.scans, loc)
		case !a.at.IsZero() && !now.Before(a.at) && k.reading < readsAtOnce:
			k.reading++
			a.running = true
			patient := a.doubtful.IsZero() || now.Sub(a.doubtful) < doubtLatest
			ours := now.Sub(a.last) < oursAfter && now.Sub(a.first) < oursLatest
			a.at = time.Time{}
			go func() {
				began := time.Now()
				err := k.look(ctx, loc, patient, ours)
				k.done <- looked{loc, time.Since(began), err}
			}()
		}
	}
}

// next is how long nothing is to be begun.
func (k *keeper) next() time.Duration {
	at := time.Now().Add(time.Hour)
	if !k.sweeping && !k.sweepAt.IsZero() {
		at = k.sweepAt
	}
	for _, a := range k.scans {
		when := a.at
		if when.IsZero() {
			when = a.notBefore
		}
		if !a.running && when.Before(at) && (k.reading < readsAtOnce || a.at.IsZero()) {
			at = when
		}
	}
	return max(time.Until(at), time.Millisecond)
}

// looked says when a scan that was looked at may be looked at again.
func (k *keeper) looked(ctx context.Context, l looked) {
	a := k.scans[l.loc]
	now := time.Now()
	a.running = false
	a.notBefore = now.Add(max(readGap, readShare*l.took))
	again := func(at time.Time) {
		if a.at.IsZero() || at.Before(a.at) {
			a.at = at
		}
	}
	if !errors.Is(l.err, errDoubtful) {
		a.doubtful = time.Time{}
	}
	switch {
	case l.err == nil:
		if !a.at.IsZero() { // touched meanwhile
			a.first, a.at = a.last, latest(a.at, a.notBefore)
		}
	case errors.Is(l.err, errOurs):
		a.at = a.last.Add(oursAfter)
		if end := a.first.Add(oursLatest); end.Before(a.at) {
			a.at = end
		}
	case errors.Is(l.err, errDoubtful):
		if a.doubtful.IsZero() {
			a.doubtful = now
		}
		again(now.Add(doubtAfter))
	case ctx.Err() != nil:
	default:
		k.warnOfFailure(ctx, "read a scan that changed", l.err)
		again(now.Add(retryAfter))
	}
}

func (k *keeper) warnOfFailure(ctx context.Context, what string, err error) {
	if ctx.Err() == nil {
		k.log.WarnContext(ctx, "the index lags behind the tree", slog.String("at", what), slog.Any("err", err))
	}
}

// look reads a place of the tree if it is not as the index knows it. With
// patience it leaves a scan alone that seems to have been broken just now, and
// with ours one that servers wrote.
func (k *keeper) look(ctx context.Context, loc fsdb.Loc, patience, ours bool) error {
	if loc.Scan == "" {
		return k.lookAtTimelapse(ctx, loc.Timelapse)
	}
	rows, err := k.q.ListCheckedScans(ctx, k.pool, []string{loc.Scan})
	if err != nil {
		return fmt.Errorf("find scan %q: %w", loc.Scan, err)
	}
	known := db.ListCheckedScansRow{}
	if len(rows) > 0 {
		known = rows[0]
		used := fsdb.Loc{Timelapse: known.Timelapse, Scan: known.Name}
		// An id counts once in the tree: as long as the place that is used has a
		// scan, others do not matter.
		if there, err := k.present(ctx, used); err != nil || there && used != loc {
			loc = used
		}
	}
	e, err := k.tree.Find(ctx, loc)
	switch {
	case errors.Is(err, fsdb.ErrNotFound) && len(rows) == 0:
		return nil
	case errors.Is(err, fsdb.ErrNotFound):
		_, err := k.forget(ctx, loc.Scan)
		return err
	case err != nil:
		return err
	}
	if len(rows) > 0 && known.Timelapse == loc.Timelapse {
		if k.unchanged(ctx, e, known.Signature) {
			return nil
		}
		if ours && len(known.Signature) == 0 {
			return errOurs
		}
	}
	k.watching.reads.Add(1)
	_, err = k.indexIf(ctx, e, indexedBefore, func(read *fsdb.Scan) error {
		if patience && read.Broken != "" && !known.Broken {
			return errDoubtful
		}
		return nil
	})
	return err
}

func (k *keeper) lookAtTimelapse(ctx context.Context, id string) error {
	row, err := k.timelapse(ctx, k.pool, id)
	if err != nil && !errors.Is(err, ErrUnknownTimelapse) {
		return err
	}
	signature, err := k.tree.TimelapseSignature(ctx, id)
	if err != nil || string(signature[:]) == string(row.Signature) {
		return missing(err) // the sweep sees those that go
	}
	return k.indexTimelapse(ctx, id, indexedBefore)
}

// sweep compares everything with the index. It has failed unless its error is nil, or
// ErrBusy for scans that changed and were held.
func (k *keeper) sweep(ctx context.Context) sweptAll {
	began := time.Now()
	var p *pace // for the first time somebody waits
	if k.met.Load() {
		p = &pace{began: began}
	}
	err := k.reconcileAndTell(ctx, p)
	if err != nil {
		k.warnOfFailure(ctx, "compare the tree with its index", err)
	}
	if err != nil && !errors.Is(err, ErrBusy) {
		return sweptAll{err: err}
	}
	k.watching.sweeps.Add(1)
	k.watching.sweep.Store(time.Now().UnixNano())
	return sweptAll{time.Since(began) - p.restedFor(), err}
}

func (k *keeper) sweepDone(ctx context.Context, done sweptAll) {
	now, held := time.Now(), errors.Is(done.err, ErrBusy)
	if done.err != nil && !held {
		k.sweepAt = now.Add(retryAfter)
		return
	}
	if k.ready != nil {
		k.ready()
		k.ready = nil
	}
	interval := k.config.SweepInterval
	if held {
		interval = retryAfter // for those that were left out
	}
	if interval > 0 {
		at := now.Add(max(interval, sweepShare*done.took))
		if k.sweepAt.IsZero() || at.Before(k.sweepAt) {
			k.sweepAt = at
		}
	}
	if k.watcher == nil || k.told {
		return
	}
	if w := k.watcher.State(); w.Unwatched > 0 {
		k.told = true
		k.log.WarnContext(ctx, "not all scans are watched: what other programs write into the others is found by the sweep",
			slog.Int("watched", w.Scans), slog.Int("others", w.Unwatched), slog.String("why", w.Why), slog.Duration("every", k.config.SweepInterval))
	}
}
