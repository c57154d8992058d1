package main_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/servertest"
)

// envCrash makes TestCrash run for a time instead of once through all kinds of
// crashes: make crash CRASH_TIME=2h.
const envCrash = "CRASH_TIME"

const (
	crashClients = 8
	// crashAcks is how many writes are acknowledged, at least, before each
	// crash, and crashAcksEach how many to every client after it where the
	// server lives.
	crashAcks, crashAcksEach = 48, 3
	// crashStart is how long a start after a crash may take; it is told, and not
	// asserted, since the machine may do much else.
	crashStart = 5 * time.Second
)

// crash kills something under eight clients. What it kills is gone when it returns.
type crash struct {
	name string
	kill func(t *testing.T, s *servertest.Server, dir string)
	// lives says that the server does: it is to recover by itself.
	lives bool
}

var crashes = []crash{
	{"the server", func(_ *testing.T, s *servertest.Server, _ string) { s.Kill() }, false},
	{"PostgreSQL alone", func(t *testing.T, _ *servertest.Server, dir string) { killDatabase(t, dir) }, true},
	{"PostgreSQL, and the server that misses it", func(t *testing.T, s *servertest.Server, dir string) {
		killDatabase(t, dir)
		pause(t, 300*time.Millisecond) // in which the server and the clients meet its absence
		s.Kill()
	}, false},
	{"a process of PostgreSQL", func(t *testing.T, _ *servertest.Server, dir string) { killBackend(t, dir) }, true},
	{"both", func(t *testing.T, s *servertest.Server, dir string) {
		killDatabase(t, dir)
		s.Kill()
	}, false},
}

func pause(t *testing.T, d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// killDatabase kills every process of the tree's own PostgreSQL.
func killDatabase(t *testing.T, dir string) {
	t.Helper()
	killed := 0
	for _, id := range servertest.Standing(servertest.Database(dir)) {
		pid, err := strconv.Atoi(id)
		if err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	if killed == 0 {
		t.Error("no PostgreSQL was there to be killed")
	}
}

// killBackend kills one process that serves a connection. PostgreSQL then ends
// all the others, and recovers as from a crash of its own.
func killBackend(t *testing.T, dir string) {
	t.Helper()
	var serving []int
	for _, id := range servertest.Standing(servertest.Database(dir)) {
		title, err := os.ReadFile(filepath.Join("/proc", id, "cmdline"))
		if pid, bad := strconv.Atoi(id); err == nil && bad == nil && strings.Contains(string(title), "[local]") {
			serving = append(serving, pid)
		}
	}
	if len(serving) == 0 {
		t.Fatal("no process of PostgreSQL serves the server")
	}
	if err := syscall.Kill(serving[rand.IntN(len(serving))], syscall.SIGKILL); err != nil {
		t.Errorf("kill a process of PostgreSQL: %v", err)
	}
}

// TestCrash kills the server, PostgreSQL, and both, again and again, under eight
// clients that write. After each crash the server, a new one or the one that
// lived, has all that was acknowledged and nothing by halves, and told all of it
// as events to who followed; plantdb check finds nothing; upstream's own programs
// open the tree as the crash left it, and list then what was acknowledged. No
// request is answered as if it had been at fault.
func TestCrash(t *testing.T) {
	t.Parallel()
	end := time.Now()
	if text := os.Getenv(envCrash); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("%s: %v", envCrash, err)
		}
		end = end.Add(d)
	}
	r := beginCrashes(t)
	for ; r.count < len(crashes) || time.Now().Before(end); r.count++ {
		r.round(crashes[r.count%len(crashes)])
		if t.Failed() {
			break
		}
	}
	r.server.Stop()
	for _, commons := range upstreams {
		if diff := r.asked(commons); diff != "" {
			t.Errorf("%s (-acknowledged +listed):\n%s", commons, diff)
		}
	}
	r.tell()
}

// upstreams are what programs of today and of yesterday open a tree with.
var upstreams = []string{"plantdb-commons==0.15.1", "plantdb-commons==0.17.0"}

// crashRun is a run of TestCrash.
type crashRun struct {
	*ledger
	t        *testing.T
	dir      string
	server   *servertest.Server
	admin    caller
	clients  []*crasher
	follower *follower
	count    int
	// starts are the times until a started server serves, and compared those
	// until it has compared the tree with the index.
	starts, compared []time.Duration
	killed           int // how often the server was
}

func beginCrashes(t *testing.T) *crashRun {
	t.Helper()
	r := &crashRun{ledger: newLedger(), t: t, dir: servertest.Dir(t)}
	r.start()
	r.admin.must(t, http.StatusCreated, "/groups", object{"name": crashGroup})
	r.admin.must(t, http.StatusCreated, "/auth/register", object{"username": crashOwner, "fullname": "Farmer", "password": "farmer-pass"})
	for i := range crashClients {
		c := &crasher{ledger: r.ledger, scan: fmt.Sprintf("client%d", i)}
		r.clients = append(r.clients, c)
		r.makeScans(append(c.batched(), c.scan)...)
		for key, value := range map[string]string{"groups": "[]", "visibility": "public"} {
			path := "/scans/" + c.scan + "/" + strings.Replace(key, "groups", "sharing", 1)
			r.know(path, value, lookAtAccess(path, key))
		}
		path := "/scans/" + c.scan + "/owner"
		r.know(path, "admin", lookAtAccess(path, "owner"))
	}
	r.makeScans("shared")
	r.follower = follow(t, r.admin)
	return r
}

// makeScans makes scans with a file each.
func (r *crashRun) makeScans(names ...string) {
	r.t.Helper()
	for _, name := range names {
		r.admin.makeScan(r.t, name, "notes")
		path := "/files/" + name + "/images/notes"
		r.allow(path, digestOf([]byte("notes")), lookAtFile(path))
		r.facts[path].may = r.facts[path].may[1:]
	}
}

// start starts a server, and returns once it has compared the tree with the index.
func (r *crashRun) start() {
	r.t.Helper()
	began := time.Now()
	r.server = servertest.Start(r.t, servertest.Options{}, r.dir, "--test", "--rate-limits", "off")
	r.starts = append(r.starts, time.Since(began))
	r.logIn()
	eventually(r.t, "the index is compared", func() string {
		request, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.server.URL+"/ready", nil)
		if err != nil {
			r.t.Fatal(err)
		}
		if a := do(r.t, request); a.Status != http.StatusOK {
			return a.Text
		}
		return ""
	})
	r.compared = append(r.compared, time.Since(began))
}

func (r *crashRun) logIn() {
	r.t.Helper()
	r.admin, _ = login(r.t, r.server, "admin", "admin")
	if r.follower != nil {
		r.follower.use(r.admin)
	}
}

// round is one crash and what is held against it.
func (r *crashRun) round(how crash) {
	r.t.Helper()
	when := fmt.Sprintf("crash %d, of %s", r.count+1, how.name)
	r.logIn()
	r.underFire(how)
	if how.lives {
		// What a commit that was lost left in the tree.
		if a := r.admin.get(r.t, "/refresh"); a.Status != http.StatusOK {
			r.t.Errorf("%s: refresh = %d %s", when, a.Status, a.Text)
		}
	} else {
		// The tree as the crash left it.
		compareTold(r.t, r.upstream(), toldBy(r.t, r.upstream(), r.forUpstream()), treeOf(r.t, r.dir))
		r.start()
	}
	r.complain(r.t, when)
	r.compare(r.t, when, r.admin)
	r.check(when)
	r.follower.compare(r.t, when, r.admin)
	for _, path := range r.made {
		if !r.follower.made[path] {
			r.t.Errorf("%s: no event tells of the upload of %s", when, path)
		}
	}
	r.made = nil
	r.endSeries()
	soon(r.t, when+": "+r.upstream()+" lists what is there", func() string { return r.asked(r.upstream()) })
}

// upstream is the version of upstream's programs whose turn it is.
func (r *crashRun) upstream() string { return upstreams[r.count%len(upstreams)] }

// asked asks upstream's real code for the files of the tree, and says where that
// is not what was acknowledged.
func (r *crashRun) asked(commons string) string {
	r.t.Helper()
	told := toldBy(r.t, commons, r.dir)
	compareTold(r.t, commons, told, treeOf(r.t, r.dir))
	return cmp.Diff(slices.Sorted(slices.Values(r.listed())), idsOf(told))
}

// underFire lets the clients work and kills.
func (r *crashRun) underFire(how crash) {
	r.t.Helper()
	ctx, stop := context.WithCancel(r.t.Context())
	defer stop()
	quit := make(chan struct{})
	var group sync.WaitGroup
	before := r.acks()
	for _, c := range r.clients {
		c.base, c.token, c.lives = r.admin.base, r.admin.token, how.lives
		group.Go(func() { c.run(ctx, quit) })
	}
	soon(r.t, "the clients write", func() string {
		if n := r.acks() - before; n < crashAcks {
			return fmt.Sprintf("%d writes", n)
		}
		return ""
	})
	pause(r.t, time.Duration(rand.IntN(200))*time.Millisecond)
	how.kill(r.t, r.server, r.dir)
	if how.lives {
		r.writeAgain()
		close(quit)
	} else {
		r.killed++
		stop()
	}
	group.Wait()
}

// writeAgain waits until writes of every client were acknowledged from now on.
func (r *crashRun) writeAgain() {
	r.t.Helper()
	before := make([]int64, len(r.clients))
	for i, c := range r.clients {
		before[i] = c.acked.Load()
	}
	soon(r.t, "all clients write again", func() string {
		for i, c := range r.clients {
			if n := c.acked.Load() - before[i]; n < crashAcksEach {
				return fmt.Sprintf("%d writes of %s", n, c.scan)
			}
		}
		return ""
	})
}

// check runs plantdb check, which mends nothing here and finds nothing: what a
// crash left the server took away, or finished, when it started.
func (r *crashRun) check(when string) {
	r.t.Helper()
	got := servertest.Run(r.t, servertest.Options{Env: []string{"ROMI_DB=" + r.dir}}, "check", "--digests")
	if got.Code != 0 {
		r.t.Errorf("%s: check finds\n%s%s", when, got.Stdout, got.Stderr)
	}
}

// tell says what it came to.
func (r *crashRun) tell() {
	r.t.Logf("%d crashes; acknowledged: %s; not acknowledged: %d; refused meanwhile: %s; events: %d",
		r.count, counted(r.done), r.begun-r.acks(), counted(r.refused), r.follower.seen())
	if len(r.compared) != 1+r.killed {
		r.t.Errorf("the server was killed %d times, and started and compared the index %d times after the first", r.killed, len(r.compared)-1)
	}
	// The first one made the database.
	r.t.Logf("starts after a crash, until the server serves: %s; until the index was compared: %s", distribution(r.starts[1:]), distribution(r.compared[1:]))
}

// distribution says how times are spread.
func distribution(times []time.Duration) string {
	if len(times) == 0 {
		return "none"
	}
	sorted := slices.Sorted(slices.Values(times))
	at := func(share float64) string {
		return sorted[int(share*float64(len(sorted)-1))].Round(time.Millisecond).String()
	}
	within, _ := slices.BinarySearch(sorted, crashStart+1)
	return fmt.Sprintf("least %s, a quarter %s, median %s, three quarters %s, nine tenths %s, longest %s, %d of %d within %s",
		at(0), at(0.25), at(0.5), at(0.75), at(0.9), at(1), within, len(sorted), crashStart)
}
