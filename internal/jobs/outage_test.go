package jobs

import (
	"context"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/internal/servertest"
)

// database starts a PostgreSQL for this test alone; in the same directory it comes
// back at the same URL.
func database(t *testing.T, dir string) *postgres.Private {
	t.Helper()
	p, err := postgres.StartPrivate(t.Context(), postgres.PrivateOptions{Dir: dir, Download: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(context.Background()); err != nil {
			t.Errorf("stop PostgreSQL: %v", err)
		}
	})
	return p
}

// A job that ends while PostgreSQL is away, for longer than anybody tries to tell it,
// is done again by the same server once PostgreSQL is back: not later than
// its timeout and the time after which any job counts as left.
func TestJobThatOutlivedPostgreSQLIsDoneAgain(t *testing.T) {
	t.Parallel()
	home := filepath.Join(servertest.Dir(t), "postgres")
	first := database(t, home)
	if err := postgres.Migrate(t.Context(), first.URL(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	pool, err := postgres.Open(t.Context(), first.URL(), postgres.PoolOptions{ConnectTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	var log lockedBuffer
	q := open(t, pool, &log)
	insert(t, q, note{"interrupted"})
	var times atomic.Int32
	began, away, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	run(t, q, Options{Slots: slots(1), test: testOptions{rescueAfter: time.Millisecond}},
		Work(func(context.Context, *Job[note]) error {
			switch times.Add(1) {
			case 1:
				close(began)
				<-away
			case 2:
				close(done)
			}
			return nil
		}, Bounds{Timeout: time.Millisecond}))
	receive(t, began, "start")
	for _, id := range servertest.Standing(filepath.Join(home, "data")) {
		if pid, err := strconv.Atoi(id); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended with the others
		}
	}
	if err := first.Stop(t.Context()); err != nil { // nobody starts it again
		t.Fatal(err)
	}
	close(away)
	deadline := time.Now().Add(2 * time.Minute)
	for !strings.Contains(log.String(), "giving up") {
		if time.Now().After(deadline) {
			t.Fatalf("the end of the job is still to be told:\n%s", log.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n := times.Load(); n != 1 {
		t.Fatalf("the job was begun %d times without PostgreSQL", n)
	}
	database(t, home)
	receive(t, done, "second end of the job")
}
