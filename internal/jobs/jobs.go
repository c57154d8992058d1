package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/romi/plantdb-go/internal/postgres"
)

// The queues. A job waits only for those of its own queue.
const (
	// Default is for what is short and somebody waits for.
	Default = river.QueueDefault
	// Background is for what takes long or much, and may wait.
	Background = "background"
	// Webhooks is for what waits for receivers elsewhere, which may be slow.
	Webhooks = "webhooks"
)

// What rooms need of River to declare a kind of job.
type (
	// Args are the arguments of a job, and name its kind.
	Args = river.JobArgs
	// Job is one job: its arguments, its id, the number of this attempt.
	Job[T Args] = river.Job[T]
	// InsertOpts say where and until when a job waits, and how often it is tried.
	InsertOpts = river.InsertOpts
	// UniqueOpts say which jobs are one and the same: a second is not inserted.
	UniqueOpts = river.UniqueOpts
)

// Unfinished is a UniqueOpts.ByState: the same job may be inserted again once
// it is done.
var Unfinished = []rivertype.JobState{
	rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable, rivertype.JobStateRunning, rivertype.JobStateScheduled,
}

// Cancel is the error of a job that must not be tried again.
func Cancel(err error) error { return river.JobCancel(err) }

// Snooze is the error of a job that is to be tried again after d, and does not
// count as an attempt.
func Snooze(d time.Duration) error { return river.JobSnooze(d) }

// notifyAtMost is how often a process wakes those who work on a queue. A NOTIFY
// takes a lock of the whole server until its transaction is committed, so a
// thousand uploads a second must not send as many; who was not woken looks
// after poll.
const notifyAtMost = 20 * time.Millisecond

// Queue takes jobs. It is safe for concurrent use.
type Queue struct {
	pool   *pgxpool.Pool
	log    *slog.Logger
	client *river.Client[pgx.Tx]
}

// New returns the queue that the database of pool holds; its schema is up to
// date. The pool stays the caller's.
func New(pool *pgxpool.Pool, log *slog.Logger) (*Queue, error) {
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Schema: postgres.JobsSchema, FetchCooldown: notifyAtMost, Logger: quiet(log),
	})
	if err != nil {
		return nil, fmt.Errorf("open the queue of jobs: %w", err)
	}
	return &Queue{pool: pool, log: log, client: client}, nil
}

// Insert adds jobs. They can be worked on from the commit of tx on; if it is
// rolled back they were never there. One that is there already, by its
// UniqueOpts, is not added again, and that is no error.
func (q *Queue) Insert(ctx context.Context, tx pgx.Tx, jobs ...Args) error {
	if len(jobs) == 0 {
		return nil
	}
	many := make([]river.InsertManyParams, len(jobs))
	for i, args := range jobs {
		many[i].Args = args
	}
	if _, err := q.client.InsertManyTx(ctx, tx, many); err != nil {
		return fmt.Errorf("insert %d jobs %q: %w", len(jobs), jobs[0].Kind(), err)
	}
	return nil
}
