package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/romi/plantdb-go/internal/postgres"
)

const (
	// fetchCooldown bounds how many jobs a second one server takes to its
	// slots divided by it.
	fetchCooldown = 10 * time.Millisecond
	// poll is how long a job waits whose notification got lost.
	poll = 500 * time.Millisecond
	// defaultTimeout is that of a job whose kind names none.
	defaultTimeout = time.Minute
	// rescueAfter is when a running job counts as left by a server that was
	// killed, if its own timeout is not longer.
	rescueAfter = defaultTimeout + 30*time.Second
	// restart is how long to wait for a database that was not there at the
	// start.
	restart = time.Second

	// How long finished jobs can be looked at.
	keepDone      = time.Hour
	keepCancelled = 24 * time.Hour
	keepDiscarded = 7 * 24 * time.Hour
)

// Options of Run.
type Options struct {
	// Slots is how many jobs of each queue this server does at a time. Queues
	// that are not named are left to others.
	Slots map[string]int
	// Grace is how long jobs may take to finish once ctx has ended; 0 is ten
	// seconds. Then their contexts end.
	Grace time.Duration

	test testOptions
}

// testOptions make things quick that are slow on purpose.
type testOptions struct {
	rescueAfter time.Duration
	follower    bool // leads no maintenance
	hurry       bool
}

// Run does jobs until ctx ends, and then returns nil once those it has begun
// are finished or, after the grace, given back to be done again. As often as
// jobs are worked on by several servers, each is done by one of them. Errors on
// the way are logged and the work goes on. An error says that a worker cannot
// be used.
func (q *Queue) Run(ctx context.Context, o Options, workers ...Worker) error {
	if len(workers) == 0 { // which River takes for a mistake
		<-ctx.Done()
		return nil
	}
	c, err := q.config(o, workers)
	if err != nil {
		return err
	}
	for {
		client, err := river.NewClient(riverpgxv5.New(q.pool), c)
		if err != nil {
			return fmt.Errorf("start jobs: %w", err)
		}
		if err = client.Start(ctx); err == nil {
			<-client.Stopped()
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
		q.log.ErrorContext(ctx, "jobs not started, trying again", slog.Any("err", err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(restart):
		}
	}
}

func (q *Queue) config(o Options, workers []Worker) (*river.Config, error) {
	c := &river.Config{
		Schema: postgres.JobsSchema, Logger: quiet(q.log), ErrorHandler: failures{q.log},
		FetchCooldown: fetchCooldown, FetchPollInterval: poll, FetchOnlyKnownKinds: true,
		JobTimeout: defaultTimeout, RescueStuckJobsAfter: rescueAfter, SoftStopTimeout: 10 * time.Second,
		CompletedJobRetentionPeriod: keepDone, CancelledJobRetentionPeriod: keepCancelled, DiscardedJobRetentionPeriod: keepDiscarded,
		Queues: map[string]river.QueueConfig{}, Workers: river.NewWorkers(),
		LeaderElectionDisabled: o.test.follower, TestOnly: o.test.hurry,
	}
	if o.Grace > 0 {
		c.SoftStopTimeout = o.Grace
	}
	if o.test.rescueAfter > 0 {
		c.RescueStuckJobsAfter, c.JobTimeout = o.test.rescueAfter, o.test.rescueAfter
	}
	for name, slots := range o.Slots {
		c.Queues[name] = river.QueueConfig{MaxWorkers: slots}
	}
	for _, w := range workers {
		if err := w.add(c.Workers); err != nil {
			return nil, fmt.Errorf("add worker: %w", err)
		}
		if p := w.periodic(); p != nil && !o.test.follower {
			c.PeriodicJobs = append(c.PeriodicJobs, p)
		}
	}
	return c, nil
}

// failures logs what became of jobs that failed, where River counts only.
type failures struct{ log *slog.Logger }

// HandleError implements river.ErrorHandler.
func (f failures) HandleError(ctx context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	level, message := slog.LevelWarn, "job failed, to be tried again"
	if job.Attempt >= job.MaxAttempts {
		level, message = slog.LevelError, "job failed for good"
	}
	f.log.LogAttrs(ctx, level, message, attrs(job, slog.Any("err", err))...)
	return nil
}

// HandlePanic implements river.ErrorHandler.
func (f failures) HandlePanic(ctx context.Context, job *rivertype.JobRow, panicked any, trace string) *river.ErrorHandlerResult {
	f.log.LogAttrs(ctx, slog.LevelError, "job panicked", attrs(job, slog.Any("panic", panicked), slog.String("stack", trace))...)
	return nil
}

// attrs names a job, but not its arguments.
func attrs(job *rivertype.JobRow, more ...slog.Attr) []slog.Attr {
	return append([]slog.Attr{slog.String("kind", job.Kind), slog.Int64("job", job.ID), slog.Int("attempt", job.Attempt)}, more...)
}

// quiet returns a logger that takes warnings and errors only: what River tells
// of itself at a start is nothing to an administrator.
func quiet(log *slog.Logger) *slog.Logger { return slog.New(quietHandler{log.Handler()}) }

type quietHandler struct{ slog.Handler }

// Enabled implements slog.Handler.
func (h quietHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (h quietHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quietHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h quietHandler) WithGroup(name string) slog.Handler {
	return quietHandler{h.Handler.WithGroup(name)}
}
