package jobs

import (
	"context"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// Bounds of the work on one job.
type Bounds struct {
	// Timeout ends the context of an attempt; 0 is a minute. The jobs of a
	// server that was killed wait for it before they are tried again.
	Timeout time.Duration
	// Backoff is how long after its n-th failed attempt, from 1 on, a job is
	// tried again; nil is n to the fourth seconds.
	Backoff func(n int) time.Duration
	// Every inserts a job with zero arguments so often, and at the start.
	Every time.Duration
}

// Worker does the jobs of one kind.
type Worker interface {
	add(to *river.Workers) error
	periodic() *river.PeriodicJob // nil for a kind that is only inserted
}

// Work returns the worker whose jobs are done by do, several at a time.
func Work[T Args](do func(ctx context.Context, job *Job[T]) error, b Bounds) Worker {
	if b.Timeout == 0 {
		b.Timeout = defaultTimeout
	}
	return &worker[T]{do: do, bounds: b}
}

type worker[T Args] struct {
	do     func(context.Context, *Job[T]) error
	bounds Bounds
}

func (w *worker[T]) add(to *river.Workers) error { return river.AddWorkerSafely[T](to, w) }

func (w *worker[T]) periodic() *river.PeriodicJob {
	if w.bounds.Every == 0 {
		return nil
	}
	var zero T
	return river.NewPeriodicJob(river.PeriodicInterval(w.bounds.Every),
		func() (river.JobArgs, *river.InsertOpts) { return zero, nil },
		&river.PeriodicJobOpts{ID: zero.Kind(), RunOnStart: true})
}

// Work implements river.Worker.
func (w *worker[T]) Work(ctx context.Context, job *Job[T]) error { return w.do(ctx, job) }

// Timeout implements river.Worker.
func (w *worker[T]) Timeout(*Job[T]) time.Duration { return w.bounds.Timeout }

// NextRetry implements river.Worker; zero leaves it to River.
func (w *worker[T]) NextRetry(job *Job[T]) time.Time {
	if w.bounds.Backoff == nil {
		return time.Time{}
	}
	// River counts the attempt that has just failed.
	return time.Now().Add(w.bounds.Backoff(max(job.Attempt, 1)))
}

// Middleware implements river.Worker.
func (w *worker[T]) Middleware(*rivertype.JobRow) []rivertype.WorkerMiddleware { return nil }
