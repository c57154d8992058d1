// Package jobs keeps work for later, and does it: in PostgreSQL, by River, so
// that a job is there if and only if the write that asked for it was committed,
// survives a crash, and is done by any one of several servers. It knows no kind
// of job; the rooms that have work declare theirs.
//
// # A new kind of job
//
// One file, in the room whose work it is:
//
//	// sweepArgs name a job to sweep the trash of one scan. They are kept as
//	// JSON: no secrets in them, and fields are only ever added.
//	type sweepArgs struct {
//		Scan string `json:"scan"`
//	}
//
//	// Kind implements jobs.Args. It is stored, and so never changes.
//	func (sweepArgs) Kind() string { return "sweep_trash" }
//
//	// InsertOpts says where it waits and how often it is tried; leave it out
//	// for Default and 25 times in three weeks.
//	func (sweepArgs) InsertOpts() jobs.InsertOpts {
//		return jobs.InsertOpts{Queue: jobs.Background, UniqueOpts: jobs.UniqueOpts{ByArgs: true, ByState: jobs.Unfinished}}
//	}
//
//	// Sweeper does these jobs.
//	func (s *Service) Sweeper() jobs.Worker {
//		return jobs.Work(func(ctx context.Context, job *jobs.Job[sweepArgs]) error {
//			return s.sweep(actor.NewContext(ctx, actor.System()), job.Args.Scan)
//		}, jobs.Bounds{Timeout: time.Minute})
//	}
//
// and one line, in (*service).workers of cmd/plantdb/jobs.go:
//
//	s.scans.Sweeper(),
//
// A write asks for it inside of its transaction:
//
//	return s.queue.Insert(ctx, tx, sweepArgs{Scan: name})
//
// What is done every so often is a job too: Bounds.Every inserts one, with zero
// arguments, by one server of all. Give it UniqueOpts, or a slow one overlaps
// with the next.
//
// # What a job may rely on, and what not
//
// It is done at least once: a server that is killed leaves its jobs to be done again,
// and PostgreSQL one that it had handed out without an answer when it died: once their timeout is over,
// within two or three minutes where that is 90 s or less. The end of a job is told for
// as long as PostgreSQL is away. So a job first looks whether it is still to be done,
// and one whose object is gone returns nil. Its context ends at the timeout and when the server stops;
// work of hours goes in slices of a minute, each of which inserts the next.
//
// A job that returns an error is logged, kept with the error's text, and tried
// again later; Cancel ends it, Snooze puts it off without counting. No secret
// belongs into an error.
package jobs
