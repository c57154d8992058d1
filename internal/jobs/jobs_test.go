package jobs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/postgres"
)

// childEnv holds the URL of the database on which a child of this test is to
// take a job and never finish it.
const childEnv = "JOBS_TEST_CHILD"

func TestMain(m *testing.M) {
	if url := os.Getenv(childEnv); url != "" {
		fmt.Println("child:", child(url))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child returns only what kept it from working.
func child(url string) error {
	pool, err := postgres.Open(context.Background(), url, postgres.PoolOptions{ConnectTimeout: time.Minute})
	if err != nil {
		return err
	}
	q, err := New(pool, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return q.Run(context.Background(), Options{Slots: slots(1), test: testOptions{follower: true}},
		Work(func(context.Context, *Job[note]) error {
			fmt.Println("began")
			select {}
		}, Bounds{}))
}

// note is a kind of job.
type note struct {
	Text string `json:"text"`
}

// Kind implements Args.
func (note) Kind() string { return "note" }

// sole is a kind of which there is one of the same arguments at a time.
type sole struct {
	Text string `json:"text"`
}

// Kind implements Args.
func (sole) Kind() string { return "sole" }

// InsertOpts implements river.JobArgsWithInsertOpts.
func (sole) InsertOpts() InsertOpts {
	return InsertOpts{UniqueOpts: UniqueOpts{ByArgs: true, ByState: Unfinished}}
}

func slots(n int) map[string]int { return map[string]int{Default: n} }

func open(t *testing.T, pool *pgxpool.Pool, log io.Writer) *Queue {
	t.Helper()
	q, err := New(pool, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatalf("New = %v", err)
	}
	return q
}

// insert commits jobs.
func insert(t *testing.T, q *Queue, jobs ...Args) {
	t.Helper()
	err := postgres.InTx(t.Context(), q.pool, func(tx pgx.Tx) error { return q.Insert(t.Context(), tx, jobs...) })
	if err != nil {
		t.Fatalf("Insert = %v", err)
	}
}

// run works until the test ends or stop is called, which returns what Run did.
func run(t *testing.T, q *Queue, o Options, workers ...Worker) (stop func() error) {
	t.Helper()
	o.test.hurry = true
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx, o, workers...) }()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return stop
}

// states counts the jobs in each state.
func states(t *testing.T, q *Queue) string {
	t.Helper()
	rows, _ := q.pool.Query(t.Context(), `SELECT state || ' ' || count(*) FROM river.river_job GROUP BY state ORDER BY 1`)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, ", ")
}

// eventually waits until the jobs are in these states.
func eventually(t *testing.T, q *Queue, want string) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		got := states(t, q)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("jobs are %q, want %q", got, want)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(2 * time.Minute):
		t.Fatalf("no %s came", what)
		panic("unreachable")
	}
}

func TestJobIsDoneAfterItsCommit(t *testing.T) {
	t.Parallel()
	q := open(t, pgtest.New(t), io.Discard)
	done := make(chan string, 10)
	run(t, q, Options{Slots: slots(2)}, Work(func(_ context.Context, job *Job[note]) error {
		done <- job.Args.Text
		return nil
	}, Bounds{}))
	undo := errors.New("undo")
	err := postgres.InTx(t.Context(), q.pool, func(tx pgx.Tx) error {
		return errors.Join(q.Insert(t.Context(), tx, note{"never"}), undo)
	})
	if err == nil || !errors.Is(err, undo) {
		t.Fatalf("InTx = %v", err)
	}
	err = postgres.InTx(t.Context(), q.pool, func(tx pgx.Tx) error {
		if err := q.Insert(t.Context(), tx, note{"first"}, note{"second"}); err != nil {
			return err
		}
		if got := len(done); got != 0 {
			t.Errorf("%d jobs were done before the commit", got)
		}
		return q.Insert(t.Context(), tx)
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{receive(t, done, "job"): true, receive(t, done, "job"): true}
	if !got["first"] || !got["second"] {
		t.Errorf("done %v, want first and second", got)
	}
	eventually(t, q, "completed 2")
}

func TestSameJobIsInsertedOnceUntilItIsDone(t *testing.T) {
	t.Parallel()
	q := open(t, pgtest.New(t), io.Discard)
	insert(t, q, sole{"a"}, sole{"b"})
	insert(t, q, sole{"a"})
	if got := states(t, q); got != "available 2" {
		t.Errorf("jobs are %q, want one of each", got)
	}
	run(t, q, Options{Slots: slots(1)}, Work(func(context.Context, *Job[sole]) error { return nil }, Bounds{}))
	eventually(t, q, "completed 2")
	insert(t, q, sole{"a"})
	eventually(t, q, "completed 3")
}

func TestFailures(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	q := open(t, pgtest.New(t), &log)
	insert(t, q, note{"secret-fails-twice"}, note{"secret-hopeless"}, note{"secret-panics"}, note{"secret-later"})
	var fails, panics, later atomic.Int32
	stop := run(t, q, Options{Slots: slots(4)}, Work(func(_ context.Context, job *Job[note]) error {
		switch {
		case strings.HasSuffix(job.Args.Text, "hopeless"):
			return Cancel(errors.New("no hope"))
		case strings.HasSuffix(job.Args.Text, "panics") && panics.Add(1) == 1:
			panic("boom")
		case strings.HasSuffix(job.Args.Text, "later") && later.Add(1) == 1:
			return Snooze(time.Millisecond)
		case strings.HasSuffix(job.Args.Text, "fails-twice") && fails.Add(1) <= 2:
			return errors.New("not yet")
		}
		return nil
	}, Bounds{Backoff: func(n int) time.Duration { return time.Duration(n) * time.Millisecond }}))
	eventually(t, q, "cancelled 1, completed 3")
	if err := stop(); err != nil {
		t.Errorf("Run = %v", err)
	}
	if fails.Load() != 3 || panics.Load() != 2 || later.Load() != 2 {
		t.Errorf("tried %d, %d and %d times, want 3, 2 and 2", fails.Load(), panics.Load(), later.Load())
	}
	text := log.String()
	if got := strings.Count(text, "job failed, to be tried again"); got != 2 {
		t.Errorf("%d failures are logged, want 2:\n%s", got, text)
	}
	for _, want := range []string{"kind=note", "not yet", `msg="job panicked"`, "panic=boom"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log does not say %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "secret") {
		t.Errorf("the log has the arguments of jobs:\n%s", text)
	}
}

func TestSeveralServersDoEachJobOnce(t *testing.T) {
	t.Parallel()
	const jobs = 300
	pool := pgtest.New(t)
	var mu sync.Mutex
	times, by := map[string]int{}, [2]int{}
	both := make(chan struct{}) // closed once both do some
	var queues [2]*Queue
	for i := range queues {
		queues[i] = open(t, pool, io.Discard)
		run(t, queues[i], Options{Slots: slots(4)}, Work(func(ctx context.Context, job *Job[note]) error {
			mu.Lock()
			times[job.Args.Text]++
			by[i]++
			if by[i] == 1 && by[1-i] > 0 {
				close(both)
			}
			mu.Unlock()
			select {
			case <-both:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}, Bounds{Timeout: 10 * time.Minute}))
	}
	for i := range jobs {
		insert(t, queues[i%2], note{fmt.Sprint(i)})
	}
	eventually(t, queues[0], fmt.Sprint("completed ", jobs))
	mu.Lock()
	defer mu.Unlock()
	for text, n := range times {
		if n != 1 {
			t.Errorf("job %s was done %d times", text, n)
		}
	}
	if len(times) != jobs {
		t.Errorf("%d jobs were done, want %d", len(times), jobs)
	}
}

func TestJobOfKilledServerIsDone(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pool, err := postgres.Open(t.Context(), url, postgres.PoolOptions{ConnectTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	q := open(t, pool, io.Discard)
	insert(t, q, note{"left"})
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+url)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "began\n" {
		t.Fatalf("child says %q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // It was killed.
	if got := states(t, q); got != "running 1" {
		t.Fatalf("after the kill the job is %q, want running", got)
	}
	done := make(chan string, 100) // that was taken for left may be done again
	run(t, q, Options{Slots: slots(1), test: testOptions{rescueAfter: time.Millisecond}},
		Work(func(_ context.Context, job *Job[note]) error {
			done <- job.Args.Text
			return nil
		}, Bounds{Timeout: time.Millisecond, Backoff: func(int) time.Duration { return time.Millisecond }}))
	if got := receive(t, done, "rescued job"); got != "left" {
		t.Errorf("done %q, want left", got)
	}
}

func TestStopLetsJobsFinish(t *testing.T) {
	t.Parallel()
	q := open(t, pgtest.New(t), io.Discard)
	insert(t, q, note{"slow"})
	began, finish := make(chan struct{}), make(chan struct{})
	stop := run(t, q, Options{Slots: slots(1), Grace: time.Minute}, Work(func(ctx context.Context, _ *Job[note]) error {
		close(began)
		<-finish
		return ctx.Err()
	}, Bounds{}))
	receive(t, began, "start")
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	insert(t, q, note{"too late"})
	close(finish)
	if err := receive(t, stopped, "end of Run"); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if got := states(t, q); !strings.Contains(got, "completed 1") {
		t.Errorf("jobs are %q, want the slow one completed", got)
	}
}

func TestStopGivesBackWhatWillNotFinish(t *testing.T) {
	t.Parallel()
	q := open(t, pgtest.New(t), io.Discard)
	insert(t, q, note{"endless"})
	began := make(chan struct{})
	stop := run(t, q, Options{Slots: slots(1), Grace: time.Millisecond}, Work(func(ctx context.Context, _ *Job[note]) error {
		close(began)
		<-ctx.Done()
		return ctx.Err()
	}, Bounds{}))
	receive(t, began, "start")
	if err := stop(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if got := states(t, q); got != "available 1" {
		t.Errorf("after the stop the job is %q, want it available again", got)
	}
}

func TestUnknownKindsAreLeftToOthers(t *testing.T) {
	t.Parallel()
	q := open(t, pgtest.New(t), io.Discard)
	insert(t, q, sole{"of a newer version"}, note{"mine"})
	run(t, q, Options{Slots: slots(1)}, Work(func(context.Context, *Job[note]) error { return nil }, Bounds{}))
	eventually(t, q, "available 1, completed 1")
}

func TestPeriodicJobRunsByOneServer(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	var first *Queue
	for range 2 {
		q := open(t, pool, io.Discard)
		first = q
		run(t, q, Options{Slots: slots(1)}, Work(func(context.Context, *Job[sole]) error { return nil }, Bounds{Every: time.Hour}))
	}
	eventually(t, first, "completed 1")
}

func TestSameKindTwiceIsRefused(t *testing.T) {
	t.Parallel()
	q := open(t, pgtest.New(t), io.Discard)
	w := Work(func(context.Context, *Job[note]) error { return nil }, Bounds{})
	if err := q.Run(t.Context(), Options{Slots: slots(1)}, w, w); err == nil {
		t.Error("Run with two workers of one kind = nil, want an error")
	}
}

// lockedBuffer is written to by several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns what was written.
func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
