package scan

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fault"
)

func TestRefresh(t *testing.T) {
	t.Parallel()
	f := newFixture(t, plainScan("a", `{}`), plainScan("b", `{}`))
	if n, err := f.Refresh(as(t, guest)); n != 2 || err != nil {
		t.Errorf("Refresh() = %d, %v, want 2", n, err)
	}
	f.remove(t, "a")
	if n, err := f.Refresh(as(t, guest)); n != 1 || err != nil {
		t.Errorf("Refresh() = %d, %v, want 1", n, err)
	}
}

func TestRefreshScan(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("known", `{}`), plainScan("hidden", `{"owner": "ann", "visibility": "private"}`), plainScan("moves", `{}`),
		plainScan("goes", `{}`), files{"tl/timelapse.json": `{}`, "configs/x.toml": ""})
	plainScan("known", `{"owner": "ann"}`).write(t, f.dir)
	plainScan("new", `{}`).write(t, f.dir)
	plainScan("newprivate", `{"owner": "ann", "visibility": "private"}`).write(t, f.dir)
	plainScan("tl/inside", `{}`).write(t, f.dir)
	plainScan("newtl/deep", `{}`).write(t, f.dir)
	files{"newtl/timelapse.json": `{}`, "torn/files.json": `{`}.write(t, f.dir)
	f.move(t, "moves", "tl/moves")
	f.remove(t, "goes")
	for _, tt := range []struct {
		name string
		a    actor.Actor
		want error
	}{
		{"known", guest, nil},
		{"new", guest, nil},
		{"inside", guest, nil},
		{"deep", guest, nil},
		{"moves", guest, nil},
		{"torn", guest, nil}, // as the broken scan that it is
		{"goes", guest, ErrUnknownScan},
		{"hidden", guest, ErrUnknownScan},
		{"hidden", ann, nil},
		{"newprivate", guest, ErrUnknownScan}, // though it is found
		{"newprivate", ann, nil},
		{"absent", guest, ErrUnknownScan},
		{"", guest, ErrUnknownScan},
		{"tl", guest, ErrUnknownScan},
		{"configs", guest, ErrUnknownScan},
		{"romidb", guest, ErrUnknownScan},
		{"../known", guest, ErrUnknownScan},
		{"tl/inside", guest, ErrUnknownScan},
		{".plantdb", guest, ErrUnknownScan},
		{"a\x00b", guest, ErrUnknownScan},
		{"a\xffb", guest, ErrUnknownScan},
		{"known", nobody, ErrUnknownScan},
	} {
		if err := f.RefreshScan(as(t, tt.a), tt.name); !errors.Is(err, tt.want) {
			t.Errorf("RefreshScan(%s, %q) = %v, want %v", tt.a.Username, tt.name, err, tt.want)
		}
	}
	private := "private 2 17 sound images[00000_rgb=00000_rgb.jpg:11,00001_rgb=00001_rgb.jpg:6]"
	f.expect(t, "refreshed", map[string]string{
		"known": "known ann " + plainRow, "new": "new " + plainRow, "newprivate": "newprivate ann " + private, "hidden": "hidden ann " + private,
		"inside": "tl/inside " + plainRow, "deep": "newtl/deep " + plainRow, "moves": "tl/moves " + plainRow,
		"torn": "torn public 0 0 it has no metadata directory",
	})
}

// All who ask while a run goes on share the next, which begins after they asked.
// A scan that is as it was is not read again, whoever asks and however often, and
// all who ask at once share what is done.
func TestRefreshScanIsShared(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"n": 1}`))
	indexedAt := func() (at time.Time) {
		t.Helper()
		if err := f.pool.QueryRow(t.Context(), "SELECT indexed_at FROM scans WHERE name = 's'").Scan(&at); err != nil {
			t.Fatal(err)
		}
		return at
	}
	first := indexedAt()
	if err := f.RefreshScan(as(t, guest), "s"); err != nil {
		t.Fatal(err)
	}
	if at := indexedAt(); !at.Equal(first) {
		t.Errorf("what did not change was indexed again, at %v after %v", at, first)
	}
	files{"s/metadata/metadata.json": `{"n": 2}`}.write(t, f.dir)
	held, release := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		err := f.lockedRows(t.Context(), func(pgx.Tx) error {
			close(held)
			<-release
			return nil
		}, "s")
		if err != nil {
			t.Error(err)
		}
	})
	<-held
	const callers = 20
	for range callers {
		all.Go(func() {
			if err := f.RefreshScan(as(t, guest), "s"); err != nil {
				t.Error(err)
			}
		})
	}
	for waiting := 0; waiting < callers; time.Sleep(time.Millisecond) {
		f.reloadOf.mu.Lock()
		if one := f.reloadOf.of["s"]; one != nil {
			waiting = one.by
		}
		f.reloadOf.mu.Unlock()
	}
	close(release)
	all.Wait()
	if at := indexedAt(); !at.After(first) {
		t.Errorf("what changed was not indexed, since %v", at)
	}
	if n := len(f.reloadOf.of); n != 0 {
		t.Errorf("%d scans are still being refreshed", n)
	}
}

func TestCoalescer(t *testing.T) {
	t.Parallel()
	var c coalescer
	var runs atomic.Int32
	started, release := make(chan struct{}), make(chan error)
	fn := func(context.Context) error {
		runs.Add(1)
		started <- struct{}{}
		return <-release
	}
	var wg sync.WaitGroup
	ask := func(want error) {
		wg.Go(func() {
			if err := c.do(t.Context(), fn); !errors.Is(err, want) {
				t.Errorf("do() = %v, want %v", err, want)
			}
		})
	}
	ask(nil)
	<-started // the first runs
	failed := errors.New("the second run fails")
	for range 20 {
		ask(failed)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.do(canceled, fn); !errors.Is(err, context.Canceled) {
		t.Errorf("do(canceled) = %v, want context.Canceled", err)
	}
	// Whether all twenty wait already, nobody can know; those that come later
	// make a run of their own.
	release <- nil
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		wg.Wait()
	}()
	for {
		select {
		case <-started:
			release <- failed
		case <-ended:
			if n := runs.Load(); n < 2 || n > 21 {
				t.Errorf("%d runs, want two or a few more", n)
			}
			return
		}
	}
}

// A run that panics is an error of those who asked, and the next one is as good as ever.
func TestCoalescerPanics(t *testing.T) {
	t.Parallel()
	var c coalescer
	err := c.do(t.Context(), func(context.Context) error { panic("a bug") })
	if p, ok := errors.AsType[*fault.PanicError](err); !ok || p.Value != "a bug" {
		t.Errorf("do() of what panics = %v, want its panic", err)
	}
	if err := c.do(t.Context(), func(context.Context) error { return nil }); err != nil {
		t.Errorf("do() after it = %v", err)
	}
}

// One who goes away does not end the run, for others may have joined it.
func TestCoalescerGoesOn(t *testing.T) {
	t.Parallel()
	var c coalescer
	started, release, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		left <- c.do(ctx, func(ctx context.Context) error {
			close(started)
			<-release
			ended <- ctx.Err()
			return nil
		})
	}()
	<-started
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("do() of who left = %v, want context.Canceled", err)
	}
	close(release)
	if err := <-ended; err != nil {
		t.Errorf("the run's context is %v, want it alive", err)
	}
}

// One scan that changed and that another server holds keeps no other from being
// compared, and no server from being ready; it is read once it is let go.
func TestHeldScanIsLeftOut(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("gone", `{}`), plainScan("held", `{}`), plainScan("other", `{}`))
	f.config.LockTimeout, f.config.WatchLimit = 50*time.Millisecond, 0
	for _, name := range []string{"held", "other"} {
		plainScan(name, `{"owner": "ann"}`).write(t, f.dir)
	}
	f.remove(t, "gone")
	plainScan("new", `{}`).write(t, f.dir)
	release := hold(t, f, "held")
	if _, err := f.Refresh(as(t, guest)); !errors.Is(err, ErrBusy) {
		t.Errorf("Refresh() = %v, want ErrBusy", err)
	}
	f.expect(t, "while one is held", map[string]string{"held": "held " + plainRow, "other": "other ann " + plainRow, "new": "new " + plainRow})

	ctx, stop := context.WithCancel(actor.NewContext(t.Context(), actor.System()))
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- f.KeepIndexed(ctx, sync.OnceFunc(func() { close(ready) })) }()
	waitFor(t, "ready while one is held", func() bool {
		select {
		case <-ready:
			return true
		default:
			return false
		}
	})
	release()
	waitFor(t, "the scan that was held", func() bool {
		a, err := f.Access(as(t, ann), "held")
		return err == nil && a.Owner != nil
	})
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("KeepIndexed = %v", err)
	}
}
