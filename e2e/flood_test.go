package e2e

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var highWater = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`)

// proc returns the directory below /proc of the server's process.
func (sv *server) proc() string {
	sv.t.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is well-formed
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err == nil && bytes.Contains(line, []byte("\x00serve\x00")) && bytes.Contains(line, []byte(sv.site.dir)) {
			return filepath.Dir(file)
		}
	}
	sv.t.Fatal("the process of the server is not to be found")
	return ""
}

// memory returns the most that the server ever held, in bytes.
func (sv *server) memory() int64 {
	sv.t.Helper()
	status, err := os.ReadFile(filepath.Join(sv.proc(), "status"))
	if err != nil {
		sv.t.Fatalf("read status of the server: %v", err)
	}
	m := highWater.FindSubmatch(status)
	if m == nil {
		sv.t.Fatalf("no VmHWM in %s", status)
	}
	kib, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		sv.t.Fatalf("VmHWM: %v", err)
	}
	return kib << 10
}

// worked returns for how long processors have worked for the server, in
// hundredths of a second: what else the machine does makes no difference.
func (sv *server) worked() (ticks int64) {
	sv.t.Helper()
	stat, err := os.ReadFile(filepath.Join(sv.proc(), "stat"))
	if err != nil {
		sv.t.Fatalf("read stat of the server: %v", err)
	}
	_, after, _ := bytes.Cut(stat, []byte(") ")) // of its name
	fields := bytes.Fields(after)
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			sv.t.Fatalf("stat of the server %s: %v", stat, err)
		}
		ticks += n
	}
	return ticks
}

// Not parallel: it is about memory and about the time of others.
func TestTwoHundredLoginsAtOnceAreBounded(t *testing.T) {
	const (
		logins = 200
		mib    = 1 << 20
		// What a hash takes, and what else may be in use.
		hash, beside, slack = 19 * mib, 64 * mib, 16 * mib
	)
	sv := newSite(t).start()
	alice := sv.user("alice", "reader")
	sv.login(alice)
	before := sv.memory()

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var health []time.Duration
	var watch sync.WaitGroup
	watch.Go(func() {
		for ctx.Err() == nil {
			took := since(func() {
				if got := sv.try(request{method: http.MethodGet, path: "/health"}); got.status != http.StatusOK {
					t.Errorf("health during the logins = %s, want 200", got)
				}
			})
			health = append(health, took)
		}
	})
	statuses := make([]int, logins)
	all := since(func() { together(logins, func(i int) { statuses[i] = sv.try(loginOf(alice)).status }) })
	stop()
	watch.Wait()

	for _, status := range statuses {
		if status != http.StatusOK && status != http.StatusServiceUnavailable {
			t.Fatalf("a login = %d, want 200, or 503 from a full queue", status)
		}
	}
	grown := sv.memory() - before
	most := int64(runtime.GOMAXPROCS(0)*hash + beside + slack)
	slices.Sort(health)
	t.Logf("%d logins in %s; memory grew by %d MiB, at most %d; health answered %d times, median %s, p99 %s, slowest %s", logins, all,
		grown/mib, most/mib, len(health), health[len(health)/2], health[len(health)*99/100], health[len(health)-1])
	if grown > most {
		t.Errorf("%d logins at once took %d MiB, want %d MiB at most", logins, grown/mib, most/mib)
	}
}

func TestFullQueueOfLoginsAnswers503(t *testing.T) {
	t.Parallel()
	sv := newSite(t).start()
	alice := sv.user("alice", "reader")
	ctx, stop := soon(t)
	defer stop()
	var busy atomic.Int32
	// Those who still wait go away as soon as somebody was turned away.
	together(400, func(int) {
		got, err := sv.send(ctx, loginOf(alice))
		if err != nil || got.status == http.StatusOK {
			return
		}
		if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || got.text("code") != "busy" {
			t.Errorf("login beyond the queue = %s, Retry-After %q; want 503, and when to come back", got, got.header.Get("Retry-After"))
		}
		busy.Add(1)
		stop()
	})
	if busy.Load() == 0 {
		t.Error("400 logins at once all found a place in the queue")
	}
	until(t, "the queue is free again", func() bool { return sv.call(loginOf(alice)).status == http.StatusOK })
}
