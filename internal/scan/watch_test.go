package scan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/pgtest"
)

// keepIndexed runs KeepIndexed until the end of the test and returns once the
// tree was compared.
func keepIndexed(t *testing.T, f fixture, watch int, sweep time.Duration) {
	t.Helper()
	f.config.WatchLimit, f.config.SweepInterval = watch, sweep
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- f.KeepIndexed(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("KeepIndexed() = %v", err)
		}
	})
	<-ready
}

// until waits until the rows are as they should be.
func (f fixture) until(t *testing.T, step string, want map[string]string) {
	t.Helper()
	for n := 0; !maps.Equal(f.rows(t), want); n++ {
		if n == 6000 {
			f.expect(t, step, want)
			t.FailNow()
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// outside returns the events of what others did, in order.
func (f fixture) outside(t *testing.T) []string {
	t.Helper()
	rows, err := f.pool.Query(t.Context(), `SELECT kind || ' ' || coalesce(scan, timelapse) FROM scan_events WHERE username IS NULL ORDER BY seq`)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Whatever other programs do to the tree is in the index by itself: with a
// watcher that may watch all, two scans, or nothing.
func TestKeepIndexed(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]struct {
		watch int
		sweep time.Duration
	}{
		"watched": {1000, 0}, "partly watched": {8, 50 * time.Millisecond}, "swept": {0, 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			keepIndexed(t, f, o.watch, o.sweep)
			rows := map[string]string{}
			for i := range 5 {
				name := fmt.Sprint("s", i)
				plainScan(name, `{}`).write(t, f.dir)
				rows[name] = name + " " + plainRow
			}
			f.until(t, "made", rows)
			// A sweep sees what became of many steps.
			step := func(name string) {
				if o.sweep == 0 {
					f.until(t, name, rows)
				}
			}
			files{"s3/metadata/metadata.json": `{"owner": "ann", "visibility": "private"}`}.write(t, f.dir)
			rows["s3"] = "s3 ann " + strings.Replace(plainRow, "public", "private", 1)
			step("metadata")
			files{"s4/files.json": `{"filesets": []}`}.write(t, f.dir)
			rows["s4"] = "s4 public 0 0 sound"
			step("files")
			f.remove(t, "s0")
			delete(rows, "s0")
			step("removed")
			files{"tl/timelapse.json": `{"id": "tl"}`}.write(t, f.dir)
			f.move(t, "s1", "tl/s1")
			rows["s1"] = "tl/s1 " + plainRow
			step("moved into a timelapse")
			plainScan("tl/deep", `{}`).write(t, f.dir)
			rows["deep"] = "tl/deep " + plainRow
			step("made in a timelapse")
			files{"tl/timelapse.json": `{"id": "tl", "owner": "ann"}`}.write(t, f.dir)
			for o.sweep == 0 {
				tl := must[Timelapse](t)(f.Timelapse(as(t, guest), "tl"))
				if tl.Owner != nil && *tl.Owner == "ann" {
					break
				}
			}
			f.move(t, "tl", "lt")
			rows["s1"], rows["deep"] = "lt/s1 "+plainRow, "lt/deep "+plainRow
			step("timelapse renamed")
			if err := os.Remove(filepath.Join(f.dir, "lt/timelapse.json")); err != nil {
				t.Fatal(err)
			}
			delete(rows, "s1")
			delete(rows, "deep")
			rows["lt"] = "lt public 0 0 it has no metadata directory"
			f.until(t, "no timelapse any more", rows)
			events := f.outside(t)
			want := []string{"scan.created s0", "scan.changed s3", "scan.deleted s0"}
			if o.sweep == 0 {
				want = append(want, "timelapse.created tl", "scan.created deep")
			}
			for _, want := range want {
				if n := slices.Index(events, want); n < 0 {
					t.Errorf("the events lack %q: %q", want, events)
				}
			}
			w := f.Watching()
			if w.Sweeps == 0 || w.Sweep.IsZero() || o.watch > 0 && w.Directories < 3 || o.watch == 0 && w.Directories+int(w.Reads) > 0 {
				t.Errorf("Watching() = %+v", w)
			}
			if told := strings.Count(f.log.String(), "not all scans are watched"); told != map[bool]int{true: 1}[o.watch == 8] {
				t.Errorf("the log says %d times that not all is watched:\n%s", told, f.log)
			}
		})
	}
}

// What a program does to the metadata of a file, which no watch shows, is seen when
// it lets go of its lock.
func TestKeepIndexedByLocks(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("a_b", `{}`), files{".locks/": ""})
	keepIndexed(t, f, 1000, 0)
	files{"a_b/metadata/images/00000_rgb.json": `{"channel": "depth"}`, ".locks/a_b_images_00000_rgb.lock": ""}.write(t, f.dir)
	f.remove(t, ".locks/a_b_images_00000_rgb.lock")
	for {
		shown, err := f.FileMetadata(as(t, guest), "a_b", "images", "00000_rgb")
		if err != nil {
			t.Fatal(err)
		}
		if decode(t, shown)["channel"] == "depth" {
			break
		}
	}
}

// What servers write is never taken for the work of others, however much they
// and their watchers meet; and once they are quiet each scan is read once more at
// most, and then left alone.
func TestKeepIndexedOwnWrites(t *testing.T) {
	t.Parallel()
	pool, dir := pgtest.New(t), t.TempDir()
	one, two := fixtureOn(t, pool, dir), fixtureOn(t, pool, dir)
	keepIndexed(t, one, 1000, 20*time.Millisecond)
	keepIndexed(t, two, 1000, 20*time.Millisecond)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			f, name := []fixture{one, two}[i%2], fmt.Sprint("s", i)
			if err := errors.Join(
				f.Create(as(t, ann), name, nil),
				f.CreateFileset(as(t, ann), name, "images", nil),
			); err != nil {
				t.Error(err)
			}
			for n := range 10 {
				if err := upload(as(t, ann), f.Service, name, "images", fmt.Sprint("f", n), "txt", "content", "{}"); err != nil {
					t.Error(err)
				}
				if _, err := f.SetMetadata(as(t, ann), name, Update{Metadata: []byte(fmt.Sprintf(`{"n": %d}`, n))}); err != nil {
					t.Error(err)
				}
			}
			if i < 2 {
				if _, err := f.DeleteScan(as(t, ann), name, Match{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := one.FoldAll(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	for settled := 0; settled < 6; time.Sleep(10 * time.Millisecond) {
		err := pool.QueryRow(t.Context(), `SELECT count(*) FROM scans WHERE signature <> '' AND file_count = 10`).Scan(&settled)
		if err != nil {
			t.Fatal(err)
		}
	}
	// A watcher may have looked before the last fold, and not yet after it.
	for n := 0; one.reconcile(t).Read > 0; n++ {
		if n == 100 {
			t.Fatal("scans that nobody writes are read again and again")
		}
	}
	if done := one.reconcile(t); done.Read != 0 || done.Scans != 6 {
		t.Errorf("Reconcile() = %+v, want nothing read", done)
	}
	if events := one.outside(t); len(events) > 0 {
		t.Errorf("taken for the work of others: %q", events)
	}
}

// A scan that is being written may look broken: it is left alone for a while, and
// so is one that servers write.
func TestLook(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`), plainScan("tl/t", `{}`), files{"tl/timelapse.json": "{}"})
	k := &keeper{Service: f.Service}
	loc := fsdb.Loc{Scan: "s"}
	rows := f.rows(t)
	files{"s/files.json": `{"filesets": [`}.write(t, f.dir)
	if err := k.look(t.Context(), loc, true, true); !errors.Is(err, errDoubtful) {
		t.Errorf("look() at a torn scan = %v, want errDoubtful", err)
	}
	f.expect(t, "left alone", rows)
	plainScan("s", `{"owner": "bob"}`).write(t, f.dir)
	rows["s"] = "s bob " + plainRow
	if err := k.look(t.Context(), loc, true, true); err != nil {
		t.Errorf("look() = %v", err)
	}
	f.expect(t, "read", rows)
	f.remove(t, "s/files.json")
	for range 2 { // the second time it is known to be broken
		if err := k.look(t.Context(), loc, false, true); err != nil {
			t.Errorf("look() at a broken scan = %v", err)
		}
		rows["s"] = "s bob public 0 0 it has no files.json"
		f.expect(t, "broken", rows)
		if err := os.Chtimes(filepath.Join(f.dir, "s/metadata/metadata.json"), time.Now(), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	plainScan("s", `{"owner": "ann"}`).write(t, f.dir)
	if err := k.look(t.Context(), loc, true, true); err != nil {
		t.Errorf("look() = %v", err)
	}
	if _, err := f.SetMetadata(as(t, ann), "s", Update{Metadata: []byte(`{"x": 1}`)}); err != nil {
		t.Fatal(err)
	}
	reads := f.Watching().Reads
	if err := k.look(t.Context(), loc, true, true); !errors.Is(err, errOurs) || f.Watching().Reads != reads {
		t.Errorf("look() at what a server wrote = %v and %d reads, want errOurs", err, f.Watching().Reads-reads)
	}
	for range 2 {
		if err := k.look(t.Context(), loc, true, false); err != nil || f.Watching().Reads != reads+1 {
			t.Errorf("look() when it is quiet = %v and %d reads, want one", err, f.Watching().Reads-reads)
		}
	}

	// Of two places with one id the one that is used stays.
	plainScan("t", `{"owner": "eve"}`).write(t, f.dir)
	before := f.rows(t)
	if err := k.look(t.Context(), fsdb.Loc{Scan: "t"}, true, true); err != nil {
		t.Errorf("look() = %v", err)
	}
	f.expect(t, "the other place", before)
	f.remove(t, "tl/t")
	if err := k.look(t.Context(), fsdb.Loc{Timelapse: "tl", Scan: "t"}, true, true); err != nil {
		t.Errorf("look() = %v", err)
	}
	delete(before, "t")
	f.expect(t, "forgotten", before)
	for _, loc := range []fsdb.Loc{{Scan: "absent"}, {Scan: "tl"}, {Timelapse: "absent"}, {Timelapse: "absent", Scan: "x"}} {
		if err := k.look(t.Context(), loc, true, true); err != nil {
			t.Errorf("look(%v) = %v", loc, err)
		}
	}
	f.expect(t, "nothing there", before)
}

// A scan that is touched all the time is read now and then, one that servers
// write less often, and what failed again.
func TestKeeperTimes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	k := &keeper{Service: f.Service, scans: map[fsdb.Loc]*awaited{}}
	loc := fsdb.Loc{Scan: "s"}
	now := time.Now()
	k.touch(loc, now)
	a := k.scans[loc]
	due := a.at
	for range 100 {
		now = now.Add(time.Millisecond)
		k.touch(loc, now)
	}
	if a.at != due || len(k.scans) != 1 {
		t.Errorf("touching it again moves the read from %v to %v", due, a.at)
	}
	var began time.Time
	read := func(err error, took time.Duration) {
		a.running, a.at = true, time.Time{}
		k.touch(loc, now)
		began = time.Now()
		k.looked(t.Context(), looked{loc, took, err})
	}
	read(nil, time.Second)
	if wait := a.at.Sub(began); wait < readShare*time.Second {
		t.Errorf("read again after %v, want its share of the time kept", wait)
	}
	first := a.first
	for range 3 {
		now = now.Add(2 * time.Second)
		read(errOurs, 0)
	}
	if a.first != first || a.at != now.Add(oursAfter) {
		t.Errorf("what servers write is read at %v, want %v", a.at, now.Add(oursAfter))
	}
	now = first.Add(oursLatest - time.Second)
	if read(errOurs, 0); a.at != first.Add(oursLatest) {
		t.Errorf("what servers write all the time is read at %v, want %v", a.at, first.Add(oursLatest))
	}
	read(errDoubtful, 0)
	since := a.doubtful
	if read(errDoubtful, 0); since.IsZero() || a.doubtful != since {
		t.Errorf("the doubt began at %v, then at %v", since, a.doubtful)
	}
	a.running = true
	k.looked(t.Context(), looked{loc, 0, errors.New("the database is away")})
	if a.at.IsZero() || !a.doubtful.IsZero() || !strings.Contains(f.log.String(), "the database is away") {
		t.Errorf("after a failure it is read at %v, in doubt %v; the log is %s", a.at, a.doubtful, f.log)
	}
}
