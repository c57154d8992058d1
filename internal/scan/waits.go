package scan

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// warnEvery is how often a wait for the same scan is logged.
const warnEvery = 5 * time.Second

// turns lets one call of this process after the other ask for a name.
type turns struct {
	mu sync.Mutex
	of map[string]*turn
}

type turn struct {
	taken chan struct{} // of capacity one
	users int           // who has it or waits for it
}

// take returns when all names are the caller's, until it leaves: errWaited, or
// the error of ctx.
func (t *turns) take(ctx context.Context, deadline time.Time, names []string) (leave func(), err error) {
	names = slices.Clone(names)
	slices.Sort(names) // so that no two wait for each other
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	had := make([]string, 0, len(names))
	leave = func() {
		for _, name := range had {
			t.give(name, true)
		}
	}
	for _, name := range slices.Compact(names) {
		select {
		case t.want(name) <- struct{}{}:
			had = append(had, name)
		case <-timer.C:
			err = errWaited
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			t.give(name, false)
			leave()
			return nil, err
		}
	}
	return leave, nil
}

// want counts the caller among those who wait for the name, and returns what the
// one takes who may ask for it.
func (t *turns) want(name string) chan<- struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.of[name]
	if one == nil {
		one = &turn{taken: make(chan struct{}, 1)}
		if t.of == nil {
			t.of = map[string]*turn{}
		}
		t.of[name] = one
	}
	one.users++
	return one.taken
}

// give lets go of a name, which the caller had or only waited for.
func (t *turns) give(name string, had bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.of[name]
	if had {
		<-one.taken
	}
	if one.users--; one.users == 0 {
		delete(t.of, name)
	}
}

// waits counts, for each scan, how often a lock was waited for in vain since
// it was last had, and says so now and then.
type waits struct {
	log *slog.Logger

	mu   sync.Mutex
	scan map[string]*waited
}

type waited struct {
	attempts int
	last     time.Time // attempt
	warned   time.Time
}

// again notes one more attempt.
func (w *waits) again(ctx context.Context, name string) {
	now := time.Now()
	w.mu.Lock()
	if w.scan == nil {
		w.scan = map[string]*waited{}
	}
	one := w.scan[name]
	if one == nil {
		w.drop(now)
		one = new(waited)
		w.scan[name] = one
	}
	one.attempts++
	one.last = now
	warn := now.Sub(one.warned) >= warnEvery
	if warn {
		one.warned = now
	}
	attempts := one.attempts
	w.mu.Unlock()
	if warn {
		w.log.WarnContext(ctx, "waiting for the lock of a scan", slog.String("scan", name), slog.Int("attempt", attempts))
	}
}

// drop forgets what nobody waits for any more; w.mu is held.
func (w *waits) drop(now time.Time) {
	for name, one := range w.scan {
		if now.Sub(one.last) > time.Minute {
			delete(w.scan, name)
		}
	}
}

// over says that the lock was had. When the next wait is to be logged stays.
func (w *waits) over(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if one := w.scan[name]; one != nil {
		one.attempts = 0
	}
}

// watch notes an attempt for each second until it is stopped.
func (w *waits) watch(ctx context.Context, name string) (stop func()) {
	var mu sync.Mutex
	var timer *time.Timer
	stopped := false
	mu.Lock()
	timer = time.AfterFunc(time.Second, func() {
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			w.again(ctx, name)
			timer.Reset(time.Second)
		}
	})
	mu.Unlock()
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}
