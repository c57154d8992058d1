package scan

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/pgtest"
)

// program holds file locks as a program does that has the tree open.
func program(t *testing.T, f fixture, resources ...string) (release func()) {
	t.Helper()
	held, err := f.tree.TryLock(false, resources...)
	if err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(held.Release)
}

// says what a program holds, as upstream writes it.
func says(t *testing.T, f fixture, resource, level string) {
	t.Helper()
	info := fmt.Sprintf(`{"resource_id": %q, "level": %q, "lock_type": "exclusive", "user": "pia", "timestamp": 1775734565.25, "pid": 4711, "thread_id": 1}`, resource, level)
	files{".locks/" + strings.ReplaceAll(resource, "/", "_") + ".info": info}.write(t, f.dir)
}

// A program that has the tree open keeps writers waiting, and nobody else.
func TestBusyProgram(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`), plainScan("other", `{"owner": "ann"}`))
	f.config.LockTimeout = 60 * time.Millisecond
	ctx, u := as(t, ann), Update{Metadata: json.RawMessage(`{"a": 1}`)}
	write := func() error { _, err := f.SetMetadata(ctx, "s", u); return err }
	for _, resource := range []string{"s", "s/images"} {
		release := program(t, f, resource)
		says(t, f, resource, "scan")
		if err := write(); !errors.Is(err, ErrBusy) {
			t.Errorf("SetMetadata while a program holds %s = %v, want ErrBusy", resource, err)
		}
		if err := upload(ctx, f.Service, "s", "images", "x", "jpg", "x", ""); !errors.Is(err, ErrBusy) {
			t.Errorf("upload while a program holds %s = %v, want ErrBusy", resource, err)
		}
		if _, err := f.SetMetadata(ctx, "other", u); err != nil {
			t.Errorf("SetMetadata of another scan = %v", err)
		}
		if err := f.RefreshScan(ctx, "s"); err != nil {
			t.Errorf("RefreshScan while a program holds %s = %v", resource, err)
		}
		release()
		if err := write(); err != nil {
			t.Errorf("SetMetadata once the program is done = %v", err)
		}
	}
	f.config.FileLocks = false
	defer program(t, f, "s")()
	if err := write(); err != nil {
		t.Errorf("SetMetadata without file locks = %v", err)
	}
}

// Who writes into a scan that another program takes away meanwhile is told to come
// again, and the log what was missing.
func TestTakenAwayMeanwhile(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	undone := false
	err := f.locked(as(t, ann), opCreateFile, func(_ context.Context, tx *writing) error {
		tx.did(func(context.Context) error { undone = true; return nil })
		f.remove(t, "s")
		_, err := os.Open(filepath.Join(f.dir, "s/files.json"))
		return fmt.Errorf("add files: %w", err)
	}, "s")
	told, ok := errors.AsType[*fault.Error](err)
	if !errors.Is(err, ErrBusy) || !ok || told.RetryAfter <= 0 || !undone {
		t.Errorf("a write into what is taken away = %v, taken back: %v; want ErrBusy with a time to come again, and true", err, undone)
	}
	if log := f.log.String(); !strings.Contains(log, "s/files.json") {
		t.Errorf("the log says %q, want what was missing", log)
	}
	// What the tree says itself stays what it is.
	err = f.locked(as(t, ann), opCreateFile, func(context.Context, *writing) error { return fsdb.ErrNotFound.Because(fs.ErrNotExist) }, "s")
	if !errors.Is(err, fsdb.ErrNotFound) || errors.Is(err, ErrBusy) {
		t.Errorf("ErrNotFound of the tree = %v", err)
	}
}

// A program that lets go in time is waited for.
func TestWaitsForProgram(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	release := program(t, f, "s")
	began := time.Now()
	done := make(chan error)
	go func() {
		done <- upload(as(t, ann), f.Service, "s", "images", "x", "jpg", "x", "")
	}()
	waitFor(t, "a second try", func() bool {
		f.waits.mu.Lock()
		defer f.waits.mu.Unlock()
		return f.waits.scan["s"] != nil && f.waits.scan["s"].attempts > 1
	})
	release()
	if err := <-done; err != nil {
		t.Errorf("upload = %v", err)
	}
	most := 1 + int(time.Since(began)/warnEvery)
	if n := strings.Count(f.log.String(), "waiting for the lock of a scan"); n < 1 || n > most {
		t.Errorf("logged %d waits, want one, and at most %d, one in five seconds: %s", n, most, f.log.String())
	}
}

// However many wait for a scan that somebody holds, a program or another server,
// they do not take the connections that others need.
func TestHeldScanStopsNobodyElse(t *testing.T) {
	t.Parallel()
	const writers = 40
	for holder, take := range map[string]func(t *testing.T, f, elsewhere fixture) (release func()){
		"program":        func(t *testing.T, f, _ fixture) func() { return program(t, f, "s") },
		"another server": func(t *testing.T, _, elsewhere fixture) func() { return hold(t, elsewhere, "s") },
	} {
		t.Run(holder, func(t *testing.T) {
			t.Parallel()
			url, dir := pgtest.URL(t), t.TempDir()
			config := must[*pgxpool.Config](t)(pgxpool.ParseConfig(url))
			config.MaxConns = 2
			pool := must[*pgxpool.Pool](t)(pgxpool.NewWithConfig(t.Context(), config))
			t.Cleanup(pool.Close)
			other := must[*pgxpool.Pool](t)(pgxpool.New(t.Context(), url))
			t.Cleanup(other.Close)
			f := fixtureOn(t, pool, dir, plainScan("s", `{"owner": "ann"}`), plainScan("other", `{"owner": "ann"}`))
			f.reconcile(t)
			release := take(t, f, fixtureOn(t, other, dir))
			defer release()
			ctx := as(t, ann)
			done := make(chan error, writers)
			for i := range writers {
				go func() {
					_, err := f.SetMetadata(ctx, "s", Update{Metadata: json.RawMessage(fmt.Sprintf(`{"k%d": 1}`, i))})
					done <- err
				}()
			}
			waitFor(t, "all writers", func() bool {
				f.turns.mu.Lock()
				defer f.turns.mu.Unlock()
				return f.turns.of["s"] != nil && f.turns.of["s"].users == writers
			})
			for i := range 20 {
				must[json.RawMessage](t)(f.SetMetadata(ctx, "other", Update{Metadata: json.RawMessage(fmt.Sprintf(`{"n": %d}`, i))}))
				must[json.RawMessage](t)(f.Metadata(ctx, "s"))
			}
			select {
			case err := <-done:
				t.Errorf("a writer of what is held = %v", err)
			default:
			}
			release()
			for range writers {
				if err := <-done; err != nil {
					t.Errorf("a writer once it is free = %v", err)
				}
			}
			if got := decode(t, must[json.RawMessage](t)(f.Metadata(ctx, "s"))); got["k0"] != 1.0 || got[fmt.Sprintf("k%d", writers-1)] != 1.0 {
				t.Errorf("metadata = %v, want what all have written", got)
			}
			if len(f.turns.of) != 0 {
				t.Errorf("%d names are remembered", len(f.turns.of))
			}
		})
	}
}

// Attempts are counted by the scan, for whatever part of it, and begin anew once
// it was had.
func TestWaitsAreOver(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	attempts := func() int {
		f.waits.mu.Lock()
		defer f.waits.mu.Unlock()
		if f.waits.scan["s"] == nil {
			return 0
		}
		return f.waits.scan["s"].attempts
	}
	for range 2 {
		release := program(t, f, "s/images")
		done := make(chan error)
		go func() { done <- upload(as(t, ann), f.Service, "s", "images", rand.Text(), "jpg", "x", "") }()
		waitFor(t, "attempts", func() bool { return attempts() > 2 })
		release()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if n := attempts(); n != 0 {
			t.Errorf("%d attempts once the scan was had, want none", n)
		}
	}
}

// The log counts the attempts of all who wait, and says so every five seconds.
func TestWaitsAreLoggedNowAndThen(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := &f.waits
	warned := func(ago time.Duration) { w.scan["s"].warned = time.Now().Add(-ago) }
	for range 3 {
		w.again(t.Context(), "s")
	}
	w.again(t.Context(), "other")
	warned(warnEvery + time.Second)
	w.again(t.Context(), "s")
	w.over("s")
	w.again(t.Context(), "s") // the next one is due later
	warned(warnEvery + time.Second)
	w.again(t.Context(), "s")
	var got []string
	for line := range strings.Lines(f.log.String()) {
		_, line, _ = strings.Cut(line, "scan=")
		got = append(got, strings.TrimSpace(line))
	}
	want := []string{"s attempt=1", "other attempt=1", "s attempt=4", "s attempt=2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("logged (-want +got):\n%s", diff)
	}
	w.scan["s"].last = time.Now().Add(-time.Hour)
	w.again(t.Context(), "third")
	if len(w.scan) != 2 {
		t.Errorf("%d scans are remembered, want those of the last minute", len(w.scan))
	}
}

// Writers on two servers that need several names at once, in any order, all
// come to an end.
func TestNoDeadlock(t *testing.T) {
	t.Parallel()
	pool, dir := pgtest.New(t), t.TempDir()
	servers := []fixture{fixtureOn(t, pool, dir), fixtureOn(t, pool, dir)}
	names := []string{"a", "b", "c"}
	var wg sync.WaitGroup
	inside := map[string]int{}
	var mu sync.Mutex
	for i := range 6 {
		wg.Go(func() {
			for range 15 {
				some := []string{names[mrand.N(3)], names[mrand.N(3)]}
				err := servers[i%2].locked(as(t, ann), opCreateScan, func(context.Context, *writing) error {
					mu.Lock()
					for _, n := range some {
						if inside[n]++; inside[n] > 1 && some[0] != some[1] {
							t.Errorf("two hold %s", n)
						}
					}
					mu.Unlock()
					mu.Lock()
					defer mu.Unlock()
					for _, n := range some {
						inside[n]--
					}
					return nil
				}, some...)
				if err != nil {
					t.Errorf("locked(%q) = %v", some, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestLocks(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`), plainScan("hidden", `{"owner": "ann", "visibility": "private"}`))
	for _, name := range []string{"s", "hidden", "unmade"} {
		defer hold(t, f, name)()
	}
	defer program(t, f, "s/images")()
	says(t, f, "s/images", "fileset")
	says(t, f, "s", "scan") // of one that was killed
	ctx, cancel := context.WithCancel(as(t, ann))
	done := make(chan error)
	go func() {
		_, err := f.SetMetadata(ctx, "s", Update{Metadata: json.RawMessage(`{"a": 1}`)})
		done <- err
	}()
	locks := func(who context.Context) (got []Lock) {
		for _, l := range must[[]Lock](t)(f.Locks(who)) {
			if !l.Program {
				if time.Since(l.Since).Abs() > time.Hour {
					t.Errorf("%+v began long ago", l)
				}
				l.Since = time.Time{}
			}
			got = append(got, l)
		}
		return got
	}
	waitFor(t, "a writer that waits", func() bool { return len(locks(as(t, admin))) == 5 })
	program := Lock{Scan: "s", Level: "fileset", Part: "images", Program: true, PID: 4711, User: "pia", Since: time.Unix(1775734565, 250e6)}
	held := func(scan string) Lock {
		return Lock{Scan: scan, Level: "scan", Server: "elsewhere:1", Operation: opCreateFile, User: "zoe"}
	}
	waiting := Lock{Scan: "s", Level: "scan", Server: f.config.Server, Operation: opSetMetadata, User: "ann", Waiting: true}
	if diff := cmp.Diff([]Lock{held(""), held("hidden"), held("s"), waiting, program}, locks(as(t, admin))); diff != "" {
		t.Errorf("Locks for an administrator (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Lock{held("s"), waiting, program}, locks(as(t, rita))); diff != "" {
		t.Errorf("Locks for who may not see a private scan (-want +got):\n%s", diff)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("SetMetadata of a caller that left = %v", err)
	}
}

// PostgreSQL keeps 63 bytes: the end of a machine's name tells more than who
// does what is worth losing.
func TestHolder(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.config.Server = strings.Repeat("m", 60) + ":4711"
	server, operation, user := readHolder(f.holder(as(t, ann), opCreateFile))
	if !strings.HasSuffix(server, "mm:4711") || operation != opCreateFile || user != "ann" {
		t.Errorf("holder = %q %q %q", server, operation, user)
	}
	long := ann
	long.Username = strings.Repeat("u", 100)
	if got := f.holder(as(t, long), opCreateFile); len(got) != maxHolder {
		t.Errorf("holder of a long name has %d bytes, want %d", len(got), maxHolder)
	}
	if server, operation, user := readHolder("psql"); server != "psql" || operation != "" || user != "" {
		t.Errorf("readHolder(psql) = %q %q %q", server, operation, user)
	}
}

// A tree whose file locks cannot be made is written by nobody, and it is said.
func TestNoFileLocks(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`), files{".locks": "in the way"})
	_, err := f.SetMetadata(as(t, ann), "s", Update{Metadata: json.RawMessage(`{"a": 1}`)})
	if err == nil || errors.Is(err, ErrBusy) || errors.Is(err, fsdb.ErrNotFound) {
		t.Errorf("SetMetadata = %v, want the failure", err)
	}
	if err := os.Remove(filepath.Join(f.dir, ".locks")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.SetMetadata(as(t, ann), "s", Update{Metadata: json.RawMessage(`{"a": 1}`)}); err != nil {
		t.Errorf("SetMetadata with room for the locks = %v", err)
	}
}
