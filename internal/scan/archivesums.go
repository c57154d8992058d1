package scan

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/romi/plantdb-go/internal/fsdb"
)

// summer sums large files apart from the requests that ask for their sums: once for
// all who ask, a few at a time, and to the end though all of them leave. So a client
// that gives up before gigabytes were read finds them read when it comes again.
type summer struct {
	ctx   context.Context //nolint:containedctx // The life of the server, not of a call.
	stop  context.CancelFunc
	turns chan struct{} // taken by each file that is read

	mu      sync.Mutex
	flights map[fileVersion]*flight
	closed  bool
	running sync.WaitGroup
}

// flight is a file that is being summed.
type flight struct {
	done chan struct{} // closed when the rest is set
	sums sums
	err  error
}

// newSummer reads half as many files at once as Go has processors.
func newSummer() *summer {
	ctx, stop := context.WithCancel(context.Background())
	return &summer{ctx: ctx, stop: stop, turns: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), flights: map[fileVersion]*flight{}}
}

// close ends what is running and waits for it.
func (s *summer) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.running.Wait()
}

// of returns the flight that sums v, nil if there is none.
func (s *summer) of(v fileVersion) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flights[v]
}

// join returns the flight that sums v. Where there is none yet, it waits for a turn
// and begins one by what begin returns. Who leaves before leaves nothing behind, so
// that what was given up does not pile up.
func (s *summer) join(ctx context.Context, v fileVersion, begin func() (func(context.Context) (sums, error), error)) (*flight, error) {
	if f := s.of(v); f != nil {
		return f, nil
	}
	select {
	case s.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.flights[v]; f != nil || s.closed {
		<-s.turns
		if f == nil {
			return nil, context.Canceled
		}
		return f, nil
	}
	sum, err := begin()
	if err != nil {
		<-s.turns
		return nil, err
	}
	f := &flight{done: make(chan struct{})}
	s.flights[v] = f
	s.running.Go(func() {
		f.sums, f.err = sum(s.ctx)
		s.mu.Lock()
		delete(s.flights, v)
		s.mu.Unlock()
		close(f.done)
		<-s.turns
	})
	return f, nil
}

// sumApart sums a large file of an archive, or waits until somebody else's request
// has. Only the wait ends with ctx; the sums are remembered in any case.
func (a *Archives) sumApart(ctx context.Context, f *archived, known digest) (sums, error) {
	fl, err := a.apart.join(ctx, f.version, func() (func(context.Context) (sums, error), error) {
		if s, ok := a.sums.Get(f.version); ok { // a flight has just ended
			return func(context.Context) (sums, error) { return s, nil }, nil
		}
		own, err := f.again()
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) (sums, error) {
			s, err := own.read(ctx, known)
			if err = errors.Join(err, own.held.Close()); err == nil {
				a.remember(ctx, own, known, s)
			}
			return s, err
		}, nil
	})
	if err != nil {
		return sums{}, err
	}
	select {
	case <-fl.done:
		return fl.sums, fl.err
	case <-ctx.Done():
		return sums{}, ctx.Err()
	}
}

// again is f with a descriptor of its own, which outlives the archive.
func (f *archived) again() (*archived, error) {
	own := &archived{archive: f.archive, name: f.name, version: f.version, modified: f.modified}
	var err error
	if f.held != nil {
		own.held, err = fsdb.Duplicate(f.held)
		return own, err
	}
	c, err := f.open()
	if err != nil {
		return nil, err
	}
	own.held = c.File
	return own, nil
}

// remember keeps the sums of a file, and its digest in the index if that lacks it.
func (a *Archives) remember(ctx context.Context, f *archived, known digest, s sums) {
	if time.Since(f.modified) <= restless {
		return
	}
	a.sums.Add(f.version, s)
	if known.sha256 != nil || !known.is(f.version) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	if err := keepDigests(ctx, a.scans.q, a.scans.pool, known.with(f.version, s.sha256[:])); err != nil { // it is remembered here
		a.scans.log.WarnContext(ctx, "digest of a large file is not kept", slog.String("file", f.name), slog.Any("err", err))
	}
}
