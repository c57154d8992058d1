package main_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
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

	"github.com/romi/plantdb-go/internal/servertest"
)

// envCrash makes TestCrash run for a time instead of once through all kinds of
// crashes: make crash CRASH_TIME=2h.
const envCrash = "CRASH_TIME"

const (
	crashClients = 8
	// crashAcks is how many writes are acknowledged, at least, before each crash.
	crashAcks = 48
)

// crash kills something under eight clients. All processes are gone when it returns.
type crash struct {
	name string
	kill func(t *testing.T, s *servertest.Server, dir string)
}

var crashes = []crash{
	{"server", func(_ *testing.T, s *servertest.Server, _ string) { s.Kill() }},
	{"PostgreSQL", func(t *testing.T, s *servertest.Server, dir string) {
		killDatabase(t, dir)
		pause(t, 300*time.Millisecond) // in which the server and the clients meet its absence
		s.Kill()
	}},
	{"both", func(t *testing.T, s *servertest.Server, dir string) {
		killDatabase(t, dir)
		s.Kill()
	}},
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

// fate is what is known of a file from what the clients were answered.
type fate struct {
	content string
	// there and gone say which of the two a reader may find.
	there, gone bool
}

// ledger is what clients did, and were told.
type ledger struct {
	mu                                          sync.Mutex
	files                                       map[string]fate // by path
	acked, asked                                map[string]int  // by scan: the number in its metadata
	uploads, deletes, restores, metadata, begun int
}

func (l *ledger) set(path string, f fate, count *int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files[path] = f
	*count++
}

func (l *ledger) acks() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.uploads + l.deletes + l.restores + l.metadata
}

// crasher is a client that does one thing after another until it is cut off.
type crasher struct {
	*ledger
	base, token string
	scan        string // whose metadata are its own
	next        int
	kept        []string // files that it may delete
}

// try sends a request and returns status 0 for one that got no answer.
func (c *crasher) try(ctx context.Context, method, path, contentType string, body []byte) (int, map[string]any) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+"/api/v1"+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return 0, nil
	}
	defer response.Body.Close() // only read
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, nil
	}
	var said map[string]any
	_ = json.Unmarshal(text, &said) // an answer without a body says nothing
	return response.StatusCode, said
}

// run works until ctx ends. Files go into the client's own scan and into one that
// all share; each is written once, so that what a reader may find is known.
func (c *crasher) run(ctx context.Context) {
	for ctx.Err() == nil {
		switch n := rand.IntN(10); {
		case n < 6 || len(c.kept) == 0:
			c.upload(ctx)
		case n < 8:
			c.deleteAndMaybeRestore(ctx)
		default:
			c.setMetadata(ctx)
		}
	}
}

func (c *crasher) upload(ctx context.Context) {
	scan := c.scan
	if c.next%2 == 1 {
		scan = "shared"
	}
	path := fmt.Sprintf("/files/%s/images/%s_%d", scan, c.scan, c.next)
	c.next++
	content := strings.Repeat(path+"\n", 1+rand.IntN(2000))
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part, err := w.CreateFormFile("file", "x.txt")
	if err == nil {
		_, err = io.WriteString(part, content)
	}
	if err != nil || w.WriteField("ext", "txt") != nil || w.WriteField("metadata", fmt.Sprintf(`{"length": %d}`, len(content))) != nil || w.Close() != nil {
		return
	}
	c.set(path, fate{content, true, true}, &c.begun) // whatever happens now
	status, _ := c.try(ctx, http.MethodPost, path, w.FormDataContentType(), body.Bytes())
	if status == http.StatusCreated {
		c.set(path, fate{content, true, false}, &c.uploads)
		c.kept = append(c.kept, path)
	}
}

func (c *crasher) deleteAndMaybeRestore(ctx context.Context) {
	i := rand.IntN(len(c.kept))
	path := c.kept[i]
	c.kept = slices.Delete(c.kept, i, i+1)
	c.mu.Lock()
	content := c.files[path].content
	c.mu.Unlock()
	c.set(path, fate{content, true, true}, &c.begun)
	status, said := c.try(ctx, http.MethodDelete, path, "", nil)
	if status != http.StatusOK {
		return
	}
	c.set(path, fate{content, false, true}, &c.deletes)
	entry, _ := said["trash"].(map[string]any)
	id, _ := entry["id"].(string)
	if id == "" || rand.IntN(2) == 0 {
		return
	}
	c.set(path, fate{content, true, true}, &c.begun)
	if status, _ := c.try(ctx, http.MethodPost, "/trash/"+id+"/restore", "application/json", []byte("{}")); status == http.StatusOK || status == http.StatusCreated {
		c.set(path, fate{content, true, false}, &c.restores)
	}
}

func (c *crasher) setMetadata(ctx context.Context) {
	c.mu.Lock()
	c.asked[c.scan]++
	n := c.asked[c.scan]
	c.mu.Unlock()
	status, _ := c.try(ctx, http.MethodPost, "/scans/"+c.scan+"/metadata", "application/json", fmt.Appendf(nil, `{"metadata": {"n": %d}}`, n))
	if status == http.StatusOK {
		c.mu.Lock()
		c.acked[c.scan] = n
		c.metadata++
		c.mu.Unlock()
	}
}

// TestCrash kills the server, PostgreSQL, and both, again and again, under eight
// clients that upload, delete, restore and change metadata. After each crash a new
// server finds all that was acknowledged and nothing by halves, plantdb check
// finds nothing but files that nobody was told are there, and after them nothing;
// at the end upstream's own programs open the tree.
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
	dir := servertest.Dir(t)
	l := &ledger{files: map[string]fate{}, acked: map[string]int{}, asked: map[string]int{}}
	clients := make([]*crasher, crashClients)
	server := startCrashed(t, dir)
	admin, _ := login(t, server, "admin", "admin")
	for i := range clients {
		clients[i] = &crasher{ledger: l, scan: fmt.Sprintf("client%d", i)}
		admin.makeScan(t, clients[i].scan, "notes")
	}
	admin.makeScan(t, "shared", "notes")
	var starts []time.Duration
	left := map[string]int{}
	rounds := 0
	for ; rounds < len(crashes) || time.Now().Before(end); rounds++ {
		how := crashes[rounds%len(crashes)]
		admin, _ = login(t, server, "admin", "admin")
		underFire(t, server, dir, how, clients, admin.token)
		began := time.Now()
		server = startCrashed(t, dir)
		starts = append(starts, time.Since(began))
		admin, _ = login(t, server, "admin", "admin")
		eventually(t, "the index is compared", func() string {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/ready", nil)
			if err != nil {
				t.Fatal(err)
			}
			if a := do(t, r); a.Status != http.StatusOK {
				return a.Text
			}
			return ""
		})
		when := fmt.Sprintf("crash %d, of %s", rounds+1, how.name)
		l.compare(t, when, admin)
		l.check(t, when, dir, left)
		if t.Failed() {
			break
		}
	}
	server.Stop()
	for _, commons := range []string{"plantdb-commons==0.15.1", "plantdb-commons==0.17.0"} {
		names := []string{"shared"}
		for _, c := range clients {
			names = append(names, c.scan)
		}
		opened(t, commons, dir, treeOf(t, dir), names...)
	}
	slices.Sort(starts)
	t.Logf("%d crashes; acknowledged: %d uploads, %d deletions, %d restorations, %d metadata; not acknowledged: %d; left by crashes and mended: %v;"+
		" starts after a crash: median %s, longest %s", rounds, l.uploads, l.deletes, l.restores, l.metadata,
		l.begun-l.uploads-l.deletes-l.restores, left, starts[len(starts)/2].Round(time.Millisecond), starts[len(starts)-1].Round(time.Millisecond))
}

func startCrashed(t *testing.T, dir string) *servertest.Server {
	t.Helper()
	return servertest.Start(t, servertest.Options{}, dir, "--test", "--rate-limits", "off")
}

// underFire lets the clients work and kills.
func underFire(t *testing.T, server *servertest.Server, dir string, how crash, clients []*crasher, token string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var group sync.WaitGroup
	before := clients[0].acks()
	for _, c := range clients {
		c.base, c.token = server.URL, token
		group.Go(func() { c.run(ctx) })
	}
	eventually(t, "the clients write", func() string {
		if n := clients[0].acks() - before; n < crashAcks {
			return fmt.Sprintf("%d writes", n)
		}
		return ""
	})
	pause(t, time.Duration(rand.IntN(200))*time.Millisecond)
	how.kill(t, server, dir)
	stop()
	group.Wait()
}

// compare reads everything that was ever written.
func (l *ledger) compare(t *testing.T, when string, admin caller) {
	t.Helper()
	for path, f := range l.files {
		a := admin.get(t, path)
		switch {
		case a.Status == http.StatusOK && a.Text != f.content:
			t.Errorf("%s: %s has %d bytes of %d", when, path, len(a.Text), len(f.content))
		case a.Status == http.StatusOK && !f.there:
			t.Errorf("%s: %s is there, and its deletion was acknowledged", when, path)
		case a.Status == http.StatusNotFound && !f.gone:
			t.Errorf("%s: %s is lost", when, path)
		case a.Status != http.StatusOK && a.Status != http.StatusNotFound:
			t.Errorf("%s: %s = %d %s", when, path, a.Status, a.Text)
		}
		// What a crash decided stays so.
		f.there, f.gone = a.Status == http.StatusOK, a.Status == http.StatusNotFound
		l.files[path] = f
	}
	for scan, asked := range l.asked {
		a := admin.get(t, "/scans/"+scan+"/metadata")
		var said struct{ Metadata struct{ N int } }
		if err := json.Unmarshal([]byte(a.Text), &said); err != nil || said.Metadata.N < l.acked[scan] || said.Metadata.N > asked {
			t.Errorf("%s: metadata of %s = %d %s, %v; want n from %d to %d", when, scan, a.Status, a.Text, err, l.acked[scan], asked)
		}
	}
}

// check runs plantdb check. All that it may find is what an upload that nobody
// was told of left outside of files.json; mended, that is whole, too.
func (l *ledger) check(t *testing.T, when, dir string, left map[string]int) {
	t.Helper()
	o := servertest.Options{Env: []string{"ROMI_DB=" + dir}}
	got := servertest.Run(t, o, "check", "--digests", "--json", "--repair")
	for line := range strings.Lines(got.Stdout) {
		var f struct{ Kind, Scan, Fileset, File, Path, Detail string }
		if err := json.Unmarshal([]byte(line), &f); err != nil || f.Kind == "" {
			continue
		}
		left[f.Kind]++
		id := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(f.Path), ".txt"), ".json")
		path := "/files/" + f.Scan + "/images/" + id
		fate, known := l.files[path]
		if f.Kind != "extra_file" && f.Kind != "orphan_metadata" && f.Kind != "trash_unsettled" || f.Scan != "" && (!known || fate.there) {
			t.Errorf("%s: check finds %s", when, line)
		}
		if f.Kind == "extra_file" {
			raw, err := os.ReadFile(filepath.Join(dir, f.Path))
			if err != nil || sha256.Sum256(raw) != sha256.Sum256([]byte(fate.content)) {
				t.Errorf("%s: what is left of %s is not whole: %d bytes, %v", when, path, len(raw), err)
			}
			fate.there, fate.gone = true, false // it is listed now
			l.files[path] = fate
		}
	}
	if got := servertest.Run(t, o, "check", "--digests"); got.Code != 0 {
		t.Errorf("%s: a second check finds\n%s%s", when, got.Stdout, got.Stderr)
	}
}
