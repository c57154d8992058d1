package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// rounds is how often the loads of a figure take turns.
	rounds = 5
	// maxOperations bounds a load that has no bound of its own.
	maxOperations = 10_000_000
)

// load is an operation that some clients repeat at once.
type load struct {
	clients int
	most    int64 // operations in all; 0 is maxOperations
	do      func(context.Context, job) error
	// cpu tells how much processor time was used so far by whom it is counted
	// of; nil where it is not.
	cpu func() (time.Duration, error)

	begun atomic.Int64
}

// job is one operation: whose it is, and its number among all of its load.
type job struct{ client, number int }

// tally is what was done in how long, and in how much time of processors if
// that is counted.
type tally struct {
	done      int64
	took, cpu time.Duration
}

func (t tally) rate() float64 { return float64(t.done) / t.took.Seconds() }

// cpuEach is how many milliseconds of a processor one operation takes.
func (t tally) cpuEach() float64 { return t.cpu.Seconds() * 1000 / float64(t.done) }

// run has each client work for d, and at least once, unless the load has come
// to its bound.
func (l *load) run(ctx context.Context, d time.Duration) (tally, error) {
	most := l.most
	if most == 0 {
		most = maxOperations
	}
	var done atomic.Int64
	used, err := l.used()
	if err != nil {
		return tally{}, err
	}
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for client := range l.clients {
		group.Go(func() error {
			for {
				n := l.begun.Add(1)
				if n > most || ctx.Err() != nil {
					return ctx.Err()
				}
				if err := l.do(ctx, job{client, int(n - 1)}); err != nil {
					return err
				}
				done.Add(1)
				if time.Since(began) >= d {
					return nil
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return tally{}, err
	}
	took := time.Since(began)
	total, err := l.used()
	return tally{done.Load(), took, total - used}, err
}

func (l *load) used() (time.Duration, error) {
	if l.cpu == nil {
		return 0, nil
	}
	return l.cpu()
}

var errNothingDone = errors.New("no operation was done in time")

// rates returns how many operations a second each load does.
func (b *bench) rates(ctx context.Context, loads ...*load) ([]float64, error) {
	sums, err := b.takeTurns(ctx, loads...)
	if err != nil {
		return nil, err
	}
	rates := make([]float64, len(loads))
	for i, s := range sums {
		rates[i] = s.rate()
	}
	return rates, nil
}

// takeTurns returns what each load does. They take turns, so that noise of the
// machine is shared, after each client of each has worked once to have its
// connection.
func (b *bench) takeTurns(ctx context.Context, loads ...*load) ([]tally, error) {
	for _, l := range loads {
		if _, err := l.run(ctx, 0); err != nil {
			return nil, err
		}
	}
	sums := make([]tally, len(loads))
	for range rounds {
		for i, l := range loads {
			t, err := l.run(ctx, b.turn)
			if err != nil {
				return nil, err
			}
			sums[i].done += t.done
			sums[i].took += t.took
			sums[i].cpu += t.cpu
		}
	}
	for _, s := range sums {
		if s.done == 0 {
			return nil, errNothingDone
		}
	}
	return sums, nil
}

// millisEach is how long one operation takes at a rate.
func millisEach(rate float64) float64 { return 1000 / rate }
