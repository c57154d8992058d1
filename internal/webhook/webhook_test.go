package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/jobs"
	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/scan"
)

var (
	admin    = actor.Actor{Username: "admin", Roles: []actor.Role{actor.Admin}}
	ann      = actor.Actor{Username: "ann", Roles: []actor.Role{actor.Contributor}}
	loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
)

// accounts is what package auth is to package scan and here.
type accounts struct{}

func (accounts) MissingGroups(context.Context, db.DBTX, []string) ([]string, error) { return nil, nil }
func (accounts) Owner(context.Context, db.DBTX, string) (string, bool, error)       { return "", false, nil }
func (accounts) RecordAccess(context.Context, db.DBTX, string, string) error        { return nil }

// site is a database and a tree, and a server of them.
type site struct {
	*Service
	t     *testing.T
	pool  *pgxpool.Pool
	dir   string
	root  *os.Root
	scans *scan.Service
	queue *jobs.Queue
}

func newSite(t *testing.T) *site {
	t.Helper()
	return serverOn(t, pgtest.New(t), t.TempDir(), loopback)
}

// serverOn is a server, whose work begins with start.
func serverOn(t *testing.T, pool *pgxpool.Pool, dir string, networks []netip.Prefix) *site {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	tree, err := fsdb.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = tree.Close(), root.Close() }) // nothing is lost
	queue, err := jobs.New(pool, log)
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := OpenSealer(root)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, pool: pool, dir: dir, root: root, queue: queue, scans: scan.New(pool, tree, accounts{}, scan.DefaultConfig(), log)}
	s.Service = New(Parts{Pool: pool, Outbox: s.scans, Audit: accounts{}, Queue: queue, Sealer: sealer, Log: log}, Config{Networks: networks})
	s.backoffs = []time.Duration{time.Millisecond}
	return s
}

// start delivers until the test ends.
func (s *site) start() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			s.t.Errorf("Run = %v", err)
		}
	})
	running.Go(func() {
		err := s.queue.Run(ctx, jobs.Options{Slots: map[string]int{jobs.Webhooks: 4}, Grace: time.Second}, s.Deliverer())
		if err != nil {
			s.t.Errorf("jobs.Run = %v", err)
		}
	})
	s.t.Cleanup(func() { cancel(); running.Wait() })
}

func (s *site) as(a actor.Actor) context.Context { return actor.NewContext(s.t.Context(), a) }

// scan makes scans, and so events.
func (s *site) scan(names ...string) {
	s.t.Helper()
	for _, name := range names {
		if err := s.scans.Create(s.as(ann), name, nil); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *site) create(c Change) (Webhook, Secret) {
	s.t.Helper()
	w, secret, err := s.Create(s.as(admin), c)
	if err != nil {
		s.t.Fatalf("Create = %v", err)
	}
	return w, secret
}

func (s *site) get(id uuid.UUID) Webhook {
	s.t.Helper()
	w, err := s.Get(s.as(admin), id)
	if err != nil {
		s.t.Fatalf("Get = %v", err)
	}
	return w
}

func (s *site) attempts(id uuid.UUID) []Delivery {
	s.t.Helper()
	page, err := s.Deliveries(s.as(admin), id, "", 500)
	if err != nil {
		s.t.Fatalf("Deliveries = %v", err)
	}
	return page.Deliveries
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// received is a message as a receiver sees it.
type received struct {
	id, timestamp, signature, kind, scan string
	body                                 []byte
}

// good verifies as a receiver does, by what Standard Webhooks says.
func (r received) good(secret Secret) bool {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(string(secret), "whsec_"))
	if err != nil || len(key) < 24 {
		return false
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", r.id, r.timestamp, r.body)
	return slices.Contains(strings.Split(r.signature, " "), "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// receiver is a real server that takes messages.
type receiver struct {
	url string
	// answer says what to answer; 0 is 204.
	answer atomic.Int32
	// before, if it is set, is called by each attempt with its number.
	before func(tried int)
	mu     sync.Mutex
	got    []received
	tried  int
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := new(receiver)
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.url = server.URL + "/hook"
	return r
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	var m struct {
		Type      string
		Timestamp time.Time
		Data      struct{ ID, Kind, Scan, Position string }
	}
	if err != nil || req.Method != http.MethodPost || json.Unmarshal(body, &m) != nil || m.Timestamp.IsZero() {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	r.mu.Lock()
	r.tried++
	tried := r.tried
	r.mu.Unlock()
	if r.before != nil {
		r.before(tried)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if status := int(r.answer.Load()); status != 0 {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		return
	}
	h := req.Header
	r.got = append(r.got, received{h.Get("Webhook-Id"), h.Get("Webhook-Timestamp"), h.Get("Webhook-Signature"), m.Type, m.Data.Scan, body})
	w.WriteHeader(http.StatusNoContent)
}

func (r *receiver) list() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

func (r *receiver) attempts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tried
}

func (r *receiver) scans() (names []string) {
	for _, m := range r.list() {
		names = append(names, m.scan)
	}
	return names
}

func names(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("s%03d", i))
	}
	return list
}

// What is done after a webhook was made is sent to it, signed, in order.
func TestEventsAreDelivered(t *testing.T) {
	t.Parallel()
	s, to := newSite(t), newReceiver(t)
	s.start()
	s.scan("before")
	all, secret := s.create(Change{URL: &to.url, Description: new("all")})
	some, _ := s.create(Change{URL: new(newReceiver(t).url), Kinds: &[]string{"fileset.created"}})
	want := names(25)
	s.scan(want...)
	if err := s.scans.CreateFileset(s.as(ann), "s000", "images", nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is delivered", func() bool { return len(to.list()) == len(want)+1 })
	if got := to.scans(); !slices.Equal(got, append(slices.Clone(want), "s000")) {
		t.Errorf("received %q, want %q in order", got, want)
	}
	ids := map[string]bool{}
	for _, m := range to.list() {
		ids[m.id] = true
		if !m.good(secret) || m.good("whsec_"+Secret(base64.StdEncoding.EncodeToString(make([]byte, 32)))) {
			t.Errorf("signature of %s by the secret: %v", m.body, m.good(secret))
		}
		changed := m
		changed.body = append(slices.Clone(m.body), ' ')
		if changed.good(secret) {
			t.Error("the signature is also good for another body")
		}
	}
	if len(ids) != len(want)+1 {
		t.Errorf("%d messages have %d ids", len(want)+1, len(ids))
	}
	if got := to.list()[len(want)].kind; got != "fileset.created" {
		t.Errorf("the last message is of type %s", got)
	}
	eventually(t, "the records of all attempts", func() bool { return len(s.attempts(all.ID)) == len(want)+1 && len(s.attempts(some.ID)) == 1 })
	for _, d := range s.attempts(all.ID) {
		if !d.Delivered || d.Status != http.StatusNoContent || d.Attempt != 1 || d.Fault != "" || !ids[d.Event.String()] {
			t.Errorf("attempt = %+v", d)
		}
	}
	first, err := s.Deliveries(s.as(admin), all.ID, "", 20)
	if err != nil || len(first.Deliveries) != 20 {
		t.Fatalf("Deliveries = %d, %v", len(first.Deliveries), err)
	}
	if rest, err := s.Deliveries(s.as(admin), all.ID, first.Next, 20); err != nil || len(rest.Deliveries) != len(want)+1-20 || rest.Next != "" {
		t.Errorf("the second page = %d, next %q, %v", len(rest.Deliveries), rest.Next, err)
	}
}

// A receiver that is down for a while gets everything, in order and once.
func TestReceiverComesBack(t *testing.T) {
	t.Parallel()
	s, to := newSite(t), newReceiver(t)
	s.client.Timeout = 5 * time.Minute
	comesBack := make(chan struct{})
	to.before = func(tried int) {
		if tried == 6 { // one that it took, and four failures
			<-comesBack
		}
	}
	s.start()
	w, _ := s.create(Change{URL: &to.url})
	s.scan("first")
	eventually(t, "the first is delivered", func() bool { return len(to.list()) == 1 })
	to.answer.Store(http.StatusServiceUnavailable)
	s.scan(names(5)...)
	eventually(t, "some attempts fail", func() bool { return to.attempts() == 6 })
	if got := s.get(w.ID); got.Failures != 4 || got.FailingSince == nil || !got.Enabled {
		t.Errorf("webhook whose receiver is down = %+v, want four failures", got)
	}
	to.answer.Store(0)
	close(comesBack)
	eventually(t, "all is delivered", func() bool { return len(to.list()) == 6 })
	if got, want := to.scans(), append([]string{"first"}, names(5)...); !slices.Equal(got, want) {
		t.Errorf("received %q, want %q", got, want)
	}
	eventually(t, "it counts as good again", func() bool { got := s.get(w.ID); return got.Failures == 0 && got.FailingSince == nil })
	var failed []Delivery
	for _, d := range slices.Backward(s.attempts(w.ID)) {
		if !d.Delivered {
			failed = append(failed, d)
		}
	}
	for i, d := range failed {
		if d.Event != failed[0].Event || d.Status != http.StatusServiceUnavailable || d.Fault != "status" || d.Attempt != i+1 {
			t.Errorf("failed attempt %d = %+v, want one of the same event", i, d)
		}
	}
}

// Too many failures, or a receiver that is gone, disable a webhook, which keeps
// its place.
func TestFailingWebhookIsDisabled(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status, tries int
		reason        string
	}{{http.StatusInternalServerError, maxFailures, "failing"}, {http.StatusFound, maxFailures, "failing"}, {http.StatusGone, 1, "gone"}} {
		t.Run(fmt.Sprint(tt.status), func(t *testing.T) {
			t.Parallel()
			s, to := newSite(t), newReceiver(t)
			s.start()
			to.answer.Store(int32(tt.status))
			w, _ := s.create(Change{URL: &to.url})
			s.scan("a")
			eventually(t, "it is disabled", func() bool { return !s.get(w.ID).Enabled })
			if got := s.get(w.ID); got.DisabledFor != tt.reason {
				t.Errorf("disabled for %q, want %q", got.DisabledFor, tt.reason)
			}
			if n := to.attempts(); n != tt.tries {
				t.Errorf("%d attempts, want %d", n, tt.tries)
			}
			to.answer.Store(0)
			s.scan("b")
			got, err := s.Update(s.as(admin), w.ID, Change{Enabled: new(true)})
			if err != nil || !got.Enabled || got.DisabledFor != "" {
				t.Fatalf("Update = %+v, %v", got, err)
			}
			eventually(t, "it goes on", func() bool { return len(to.list()) == 2 })
			if got := to.scans(); !slices.Equal(got, []string{"a", "b"}) {
				t.Errorf("received %q, want a and b", got)
			}
			// Again, and without what is past.
			if _, err := s.Update(s.as(admin), w.ID, Change{From: &scan.Start{Oldest: true}}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it is sent again", func() bool { return len(to.list()) == 4 })
			if list := to.list(); list[0].id != list[2].id || list[1].id != list[3].id {
				t.Error("an event that is sent again has another id")
			}
			if _, err := s.Update(s.as(admin), w.ID, Change{Enabled: new(false)}); err != nil {
				t.Fatal(err)
			}
			s.scan("c")
			if _, err := s.Update(s.as(admin), w.ID, Change{Enabled: new(true), From: &scan.Start{Now: true}}); err != nil {
				t.Fatal(err)
			}
			s.scan("d")
			eventually(t, "it goes on now", func() bool { return len(to.list()) >= 5 })
			if got := to.scans()[4:]; !slices.Equal(got, []string{"d"}) && !slices.Equal(got, []string{"c", "d"}) {
				t.Errorf("received %q after going on now", got)
			}
		})
	}
}

// Two servers deliver each event once.
func TestTwoServersDeliverOnce(t *testing.T) {
	t.Parallel()
	s, to := newSite(t), newReceiver(t)
	other := serverOn(t, s.pool, s.dir, loopback)
	s.start()
	other.start()
	s.create(Change{URL: &to.url})
	want := names(60)
	var wg sync.WaitGroup
	for i, server := range []*site{s, other} {
		wg.Go(func() {
			for n := i; n < len(want); n += 2 {
				server.scan(want[n])
			}
		})
	}
	wg.Wait()
	eventually(t, "all is delivered", func() bool { return len(to.list()) >= len(want) })
	s.scan("last")
	eventually(t, "the last is delivered", func() bool { return slices.Contains(to.scans(), "last") })
	if got := slices.Sorted(slices.Values(to.scans())); !slices.Equal(got, append([]string{"last"}, want...)) {
		t.Errorf("received %q, want each once", got)
	}
}

// The turn of a server that was killed is taken by another, and if it was not
// dead after all it writes nothing more.
func TestTurnOfKilledServer(t *testing.T) {
	t.Parallel()
	testTurnIsTaken(t, "leased_until = now() - interval '1 second'")
}

// A clock that was set back holds no message up.
func TestTurnOfWrongClock(t *testing.T) {
	t.Parallel()
	testTurnIsTaken(t, "leased_until = leased_until + interval '5 hours'")
}

// failsOnce makes a webhook whose first attempt meets a receiver that is out of service.
func (s *site) failsOnce(to *receiver) {
	s.t.Helper()
	to.answer.Store(http.StatusServiceUnavailable)
	w, _ := s.create(Change{URL: &to.url})
	s.scan("a")
	s.takeTurn()
	if err := s.deliver(s.as(actor.System()), w.ID, 1); err != nil || s.get(w.ID).Failures != 1 {
		s.t.Fatalf("deliver = %v, webhook %+v, want one failure", err, s.get(w.ID))
	}
}

// An attempt that failed while the clock was years ahead is made again when the
// clock is right.
func TestAttemptOfWrongClock(t *testing.T) {
	t.Parallel()
	s, to := newSite(t), newReceiver(t)
	s.now = func() time.Time { return time.Now().AddDate(3, 0, 0) }
	s.failsOnce(to)
	to.answer.Store(0)
	s.now = time.Now
	if _, err := s.pool.Exec(t.Context(), "DELETE FROM river.river_job"); err != nil { // it is done
		t.Fatal(err)
	}
	s.start()
	eventually(t, "it is tried again", func() bool { return len(to.list()) == 1 })
	for n, d := range backoffs() {
		if d+d/10 > maxWait {
			t.Errorf("the wait after failure %d can be longer than %v", n+1, maxWait)
		}
	}
}

// An attempt that is put off is not made before its time.
func TestAttemptIsPutOff(t *testing.T) {
	t.Parallel()
	s, to := newSite(t), newReceiver(t)
	s.backoffs = []time.Duration{24 * time.Hour}
	s.failsOnce(to)
	if err := s.look(s.as(actor.System())); err != nil {
		t.Fatal(err)
	}
	var turn int64
	if err := s.pool.QueryRow(t.Context(), "SELECT turn FROM webhooks").Scan(&turn); err != nil || turn != 1 {
		t.Errorf("turn %d is taken of a webhook whose next attempt is tomorrow (%v)", turn, err)
	}
}

// Who began to look before a turn was taken, and sees it only now, does not take it
// for one of a wrong clock.
func TestTurnOfAnotherIsLeftAlone(t *testing.T) {
	t.Parallel()
	s, to := newSite(t), newReceiver(t)
	w, _ := s.create(Change{URL: &to.url})
	early, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = early.Rollback(context.WithoutCancel(t.Context())) }() // it wrote nothing
	if _, err := early.Exec(t.Context(), "SELECT now()"); err != nil {
		t.Fatal(err)
	}
	s.scan("a")
	s.takeTurn()
	horizon, err := s.scans.OutboxHorizon(s.as(actor.System()))
	if err != nil {
		t.Fatal(err)
	}
	if due, err := s.q.ListDueWebhooks(t.Context(), early, lease.Seconds(), maxWait.Seconds(), horizon); err != nil || len(due) != 0 {
		t.Errorf("while another has its turn, due are %v, %v", due, err)
	}
	if turn, err := s.q.TakeWebhook(t.Context(), early, lease.Seconds(), w.ID, maxWait.Seconds()); !errors.Is(err, pgx.ErrNoRows) {
		t.Errorf("while another has its turn, TakeWebhook = %d, %v", turn, err)
	}
}

// takeTurn takes a turn of the only webhook, and nobody does its job.
func (s *site) takeTurn() {
	s.t.Helper()
	eventually(s.t, "a turn is taken", func() bool {
		if err := s.look(s.as(actor.System())); err != nil {
			s.t.Fatal(err)
		}
		var turn int64
		if err := s.pool.QueryRow(s.t.Context(), "SELECT turn FROM webhooks").Scan(&turn); err != nil {
			s.t.Fatal(err)
		}
		return turn == 1
	})
}

func testTurnIsTaken(t *testing.T, over string) {
	t.Helper()
	s, to := newSite(t), newReceiver(t)
	w, _ := s.create(Change{URL: &to.url})
	s.scan("a")
	s.takeTurn()
	if err := s.look(s.as(actor.System())); err != nil {
		t.Fatal(err)
	}
	var jobs int
	if err := s.pool.QueryRow(t.Context(), "SELECT count(*) FROM river.river_job WHERE kind = 'deliver_webhook'").Scan(&jobs); err != nil || jobs != 1 {
		t.Errorf("while the lease lasts there are %d jobs (%v), want 1", jobs, err)
	}
	if _, err := s.pool.Exec(t.Context(), "UPDATE webhooks SET "+over+"; DELETE FROM river.river_job"); err != nil {
		t.Fatal(err)
	}
	serverOn(t, s.pool, s.dir, loopback).start()
	eventually(t, "another delivers", func() bool { return len(to.list()) == 1 && len(s.attempts(w.ID)) == 1 })
	if err := s.deliver(s.as(actor.System()), w.ID, 1); err != nil || len(to.list()) != 1 {
		t.Errorf("the turn that is over: %v, %d messages", err, len(to.list()))
	}
	row, err := s.q.GetWebhook(t.Context(), s.pool, w.ID)
	if err != nil {
		t.Fatal(err)
	}
	row.Turn = 1
	if on, err := s.advance(t.Context(), s.pool, row, scan.PositionOf(1, 1)); on || err != nil {
		t.Errorf("the turn that is over moves the place: %v, %v", on, err)
	}
}

// On another cluster, whose transactions count anew, a webhook goes on from its
// place: what was not delivered is, and what was is not sent again.
func TestWebhookOfAnotherCluster(t *testing.T) {
	t.Parallel()
	s, to := newSite(t), newReceiver(t)
	w, _ := s.create(Change{URL: &to.url, Enabled: new(false)})
	s.scan("a", "b")
	eventually(t, "the events can be told", func() bool {
		at, err := s.scans.OutboxStart(s.as(actor.System()), scan.Start{Now: true})
		if err != nil {
			t.Fatal(err)
		}
		events, _, _, err := s.scans.Outbox(s.as(actor.System()), w.Position, 10)
		return err == nil && len(events) == 2 && events[1].Position == at
	})
	for _, statement := range []string{
		"UPDATE webhooks SET (written_by, seq) = (SELECT e.written_by, e.seq FROM scan_events e WHERE e.scan = 'a')",
		"UPDATE webhooks SET written_by = written_by + 1000000000000", "UPDATE scan_events SET written_by = written_by + 1000000000000",
	} {
		if _, err := s.pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	s.scan("c") // before the copy knows where it is
	ctx, cancel := context.WithCancel(t.Context())
	var feed sync.WaitGroup
	feed.Go(func() {
		if err := s.scans.FeedEvents(ctx); err != nil {
			t.Errorf("FeedEvents = %v", err)
		}
	})
	defer func() { cancel(); feed.Wait() }()
	s.start()
	if _, err := s.Update(s.as(admin), w.ID, Change{Enabled: new(true)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what was not delivered is", func() bool { return len(to.list()) >= 2 })
	s.scan("d")
	eventually(t, "the next is delivered", func() bool { return slices.Contains(to.scans(), "d") })
	if got := to.scans(); !slices.Equal(got, []string{"b", "c", "d"}) {
		t.Errorf("received %q, want b, c and d", got)
	}
}

// A webhook that is removed while a message is on its way was not there.
func TestRemovedWhileSending(t *testing.T) {
	t.Parallel()
	s, to := newSite(t), newReceiver(t)
	removed := make(chan uuid.UUID, 1)
	to.before = func(int) {
		if err := s.Delete(s.as(admin), <-removed); err != nil {
			t.Errorf("Delete while a message is on its way = %v", err)
		}
	}
	w, _ := s.create(Change{URL: &to.url})
	removed <- w.ID
	if d, err := s.Test(s.as(admin), w.ID); !errors.Is(err, ErrUnknown) {
		t.Errorf("Test of one that is removed meanwhile = %+v, %v, want %v", d, err, ErrUnknown)
	}
	w, _ = s.create(Change{URL: &to.url})
	s.scan("a")
	s.takeTurn()
	removed <- w.ID
	if err := s.deliver(s.as(actor.System()), w.ID, 1); err != nil || to.attempts() != 2 {
		t.Errorf("deliver to one that is removed meanwhile = %v, with %d requests, want 2", err, to.attempts())
	}
}

// Messages go only where they may.
func TestAddresses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "127.0.0.1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false,
		"169.254.169.254": false, "100.64.0.1": false, "0.0.0.0": false, "224.0.0.1": false, "255.255.255.255": false, "192.0.2.1": false,
		"::1": false, "::": false, "fe80::1": false, "fc00::1": false, "ff02::1": false, "::ffff:127.0.0.1": false, "::ffff:8.8.8.8": true,
		"64:ff9b::a00:1": false, "2002:7f00:1::": false, "2001:db8::1": false, "::127.0.0.1": false, "198.18.0.1": false,
	} {
		if got := public(netip.MustParseAddr(text)); got != want {
			t.Errorf("public(%s) = %v, want %v", text, got, want)
		}
	}
	s := newSite(t)
	strict := serverOn(t, s.pool, s.dir, nil)
	for text, want := range map[string]error{
		"https://example.org/x": nil, "https://8.8.8.8:8443/x?y=z": nil, "http://example.org/": ErrAddress, "http://8.8.8.8/": ErrAddress,
		"https://127.0.0.1/": ErrAddress, "https://[::1]/": ErrAddress, "https://localhost/": ErrAddress, "https://LOCALHOST./": ErrAddress,
		"https://169.254.169.254/latest": ErrAddress, "https://[::ffff:10.0.0.1]/": ErrAddress,
		"ftp://example.org/": ErrURL, "https://": ErrURL, "https://u:p@example.org/": ErrURL, "https://example.org/#f": ErrURL, "x": ErrURL, "": ErrURL,
		"https://exa mple.org/": ErrURL, "https://example.org/" + strings.Repeat("x", 2048): ErrURL, "file:///etc/passwd": ErrURL, "https://example.org/\r\nx": ErrURL,
	} {
		if _, _, err := strict.Create(s.as(admin), Change{URL: &text}); !errors.Is(err, want) {
			t.Errorf("Create(%q) = %v, want %v", text, err, want)
		}
	}
	// A name, or a webhook, that was good once: the address that is dialled decides.
	to := newReceiver(t)
	w, _ := s.create(Change{URL: &to.url})
	d, err := strict.Test(s.as(admin), w.ID)
	if err != nil || d.Delivered || d.Fault != "address_refused" || to.attempts() != 0 {
		t.Errorf("Test of an address that is not allowed = %+v, %v, with %d requests", d, err, to.attempts())
	}
	named, _ := s.create(Change{URL: new(strings.Replace(to.url, "127.0.0.1", "localhost", 1))})
	if d, err := strict.Test(s.as(admin), named.ID); err != nil || d.Fault != "address_refused" || to.attempts() != 0 {
		t.Errorf("Test of a name of an address that is not allowed = %+v, %v, with %d requests", d, err, to.attempts())
	}
	if d, err := s.Test(s.as(admin), named.ID); err != nil || !d.Delivered {
		t.Errorf("Test of an address that is allowed = %+v, %v", d, err)
	}
}

// What a receiver asks for in Retry-After, as seconds or as a date, is heard within an hour.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "0": 0, "120": 2 * time.Minute, "3600": time.Hour, "3601": time.Hour, "999999999999": time.Hour,
		"99999999999999999999999": time.Hour, "-1": 0, "1.5": 0, "soon": 0,
		"Sun, 01 Mar 2026 12:02:00 GMT": 2 * time.Minute, "Sun, 01 Mar 2026 11:59:00 GMT": 0, "Sun, 01 Mar 2036 12:00:00 GMT": time.Hour,
		"Sunday, 01-Mar-26 12:02:00 GMT": 2 * time.Minute, "Sun Mar  1 12:02:00 2026": 2 * time.Minute,
	} {
		if got := askedFor(header, now); got != want {
			t.Errorf("Retry-After: %s asks for %v, want %v", header, got, want)
		}
	}
}

// A receiver cannot hold the server up, nor send it elsewhere.
func TestHostileReceivers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var elsewhere atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/elsewhere", func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body); <-r.Context().Done() })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for line := []byte(strings.Repeat("x", 1000)); ; {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 100_000)) })
	mux.HandleFunc("/later", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "999999999999")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	closed := httptest.NewServer(mux)
	closed.Close()
	// Nobody is asked for a name that can be none.
	for url, want := range map[string]string{
		server.URL + "/redirect": "redirect", server.URL + "/slow": "timeout", server.URL + "/endless": "", server.URL + "/headers": "connection",
		server.URL + "/later": "status", closed.URL: "connection", "http://no..such.host/": "unknown_host",
		strings.Replace(server.URL, "http:", "https:", 1): "tls",
	} {
		w, _ := s.create(Change{URL: &url})
		s.client.Timeout = time.Minute
		if want == "timeout" {
			s.client.Timeout = 300 * time.Millisecond
		}
		if d, err := s.Test(s.as(admin), w.ID); err != nil || d.Fault != want {
			t.Errorf("Test of %s = %+v, %v, want fault %q", strings.Replace(url, server.URL, "", 1), d, err, want)
		}
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
	if got := s.backoff(1, 100*time.Hour); got != maxRetryAfter {
		t.Errorf("a receiver that asks for much time gets %v, want %v", got, maxRetryAfter)
	}
	s.backoffs = backoffs()
	var all time.Duration
	for n := 1; n < maxFailures; n++ {
		d := s.backoff(n, 0)
		if all += d; d < backoffs()[n-1] || d > backoffs()[n-1]*11/10 {
			t.Errorf("backoff(%d) = %v", n, d)
		}
	}
	if all < 48*time.Hour {
		t.Errorf("a webhook is given up after %v", all)
	}
}

// Secrets are shown once and kept sealed; after a rotation both are good.
func TestSecrets(t *testing.T) {
	t.Parallel()
	s, to := newSite(t), newReceiver(t)
	w, first := s.create(Change{URL: &to.url})
	_, other := s.create(Change{URL: &to.url})
	if first == other {
		t.Error("two webhooks have one secret")
	}
	_, second, err := s.Rotate(s.as(admin), w.ID)
	if err != nil {
		t.Fatal(err)
	}
	send := func() received {
		t.Helper()
		if d, err := s.Test(s.as(admin), w.ID); err != nil || !d.Delivered {
			t.Fatalf("Test = %+v, %v", d, err)
		}
		return to.list()[len(to.list())-1]
	}
	if m := send(); !m.good(first) || !m.good(second) || m.good(other) {
		t.Errorf("after a rotation signatures are good by the first: %v, the second: %v, another's: %v", m.good(first), m.good(second), m.good(other))
	}
	s.now = func() time.Time { return time.Now().Add(oldSecretFor + time.Minute) }
	if m := send(); m.good(first) || !m.good(second) {
		t.Errorf("a day later signatures are good by the first: %v, the second: %v", m.good(first), m.good(second))
	}
	s.now = time.Now
	var rows string
	if err := s.pool.QueryRow(t.Context(), "SELECT string_agg(w::text, ' ') FROM webhooks w").Scan(&rows); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []Secret{first, second, other} {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(string(secret), "whsec_"))
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range []string{string(secret)[6:], fmt.Sprintf("%x", raw)} {
			if strings.Contains(rows, form) {
				t.Error("a secret stands in the table")
			}
		}
	}
	// A sealed secret is no good for another webhook, nor for another tree.
	if _, err := s.pool.Exec(t.Context(), "UPDATE webhooks SET secret = (SELECT o.secret FROM webhooks o WHERE o.id <> $1) WHERE id = $1", w.ID); err != nil {
		t.Fatal(err)
	}
	if d, err := s.Test(s.as(admin), w.ID); err != nil || d.Fault != "secret" {
		t.Errorf("Test with the secret of another = %+v, %v", d, err)
	}
	file := filepath.Join(s.dir, ".plantdb", "webhooks.key")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v, want a file that only its owner reads", info, err)
	}
	again, err := OpenSealer(s.root)
	if err != nil {
		t.Fatal(err)
	}
	if _, sealed := again.newSecret(w.ID); len(sealed) == 0 {
		t.Error("nothing is sealed")
	} else if _, err := s.Sealer.open(w.ID, sealed); err != nil {
		t.Errorf("open by another server of the tree = %v", err)
	}
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSealer(s.root); err == nil {
		t.Error("a broken key is taken")
	}
}

func TestKeyIsMadeOnce(t *testing.T) {
	t.Parallel()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() }) // nothing is lost
	var sealers [8]*Sealer
	var wg sync.WaitGroup
	for i := range sealers {
		wg.Go(func() {
			s, err := OpenSealer(root)
			if err != nil {
				t.Error(err)
			}
			sealers[i] = s
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	id := uuid.New()
	_, sealed := sealers[0].newSecret(id)
	for i, s := range sealers {
		if _, err := s.open(id, sealed); err != nil {
			t.Errorf("server %d has another key", i)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(root.Name(), ".plantdb")); err != nil || len(entries) != 1 {
		t.Errorf("the directory holds %v, %v, want one key", entries, err)
	}
}

// Administrators manage webhooks, and nobody else.
func TestWhoManages(t *testing.T) {
	t.Parallel()
	s, to := newSite(t), newReceiver(t)
	w, _ := s.create(Change{URL: &to.url})
	token := admin
	token.Scope = &actor.Scope{Grants: []actor.Grant{{Glob: "*", Permissions: []actor.Permission{actor.Read, actor.Write, actor.Delete}}}}
	calls := map[string]func(context.Context) error{
		"Create":     func(ctx context.Context) error { _, _, err := s.Create(ctx, Change{URL: &to.url}); return err },
		"List":       func(ctx context.Context) error { _, err := s.List(ctx); return err },
		"Get":        func(ctx context.Context) error { _, err := s.Get(ctx, w.ID); return err },
		"Update":     func(ctx context.Context) error { _, err := s.Update(ctx, w.ID, Change{}); return err },
		"Rotate":     func(ctx context.Context) error { _, _, err := s.Rotate(ctx, w.ID); return err },
		"Test":       func(ctx context.Context) error { _, err := s.Test(ctx, w.ID); return err },
		"Deliveries": func(ctx context.Context) error { _, err := s.Deliveries(ctx, w.ID, "", 1); return err },
		"Delete":     func(ctx context.Context) error { return s.Delete(ctx, w.ID) },
	}
	for name, call := range calls {
		for _, who := range []actor.Actor{ann, token} {
			if err := call(s.as(who)); !errors.Is(err, ErrForbidden) {
				t.Errorf("%s by %s = %v, want %v", name, who.Username, err, ErrForbidden)
			}
		}
		for _, ctx := range []context.Context{t.Context(), s.as(actor.Actor{Username: "guest", Guest: true})} {
			if err := call(ctx); !errors.Is(err, scan.ErrNoActor) {
				t.Errorf("%s by nobody = %v, want %v", name, err, scan.ErrNoActor)
			}
		}
	}
	if to.attempts() != 0 {
		t.Error("somebody had a test sent")
	}
	for _, c := range []struct {
		change Change
		want   error
	}{
		{Change{}, ErrURL}, {Change{URL: &to.url, Kinds: &[]string{"x"}}, ErrKinds}, {Change{URL: &to.url, Kinds: new(make([]string, 65))}, ErrKinds},
		{Change{URL: &to.url, Description: new(strings.Repeat("x", 501))}, ErrText}, {Change{URL: &to.url, Description: new("\x00")}, ErrText},
		{Change{URL: &to.url, From: &scan.Start{After: scan.PositionOf(1<<60, 1)}}, scan.ErrEventsGone},
	} {
		if _, _, err := s.Create(s.as(admin), c.change); !errors.Is(err, c.want) {
			t.Errorf("Create(%+v) = %v, want %v", c.change, err, c.want)
		}
	}
	var wg sync.WaitGroup
	var made, refused atomic.Int32
	for range maxWebhooks + 10 {
		wg.Go(func() {
			switch _, _, err := s.Create(s.as(admin), Change{URL: &to.url}); {
			case err == nil:
				made.Add(1)
			case errors.Is(err, ErrTooMany):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != maxWebhooks-1 || refused.Load() != 11 {
		t.Errorf("%d made and %d refused, want %d and 11", made.Load(), refused.Load(), maxWebhooks-1)
	}
	if err := s.Delete(s.as(admin), w.ID); err != nil {
		t.Error(err)
	}
	for name, call := range calls {
		if err := call(s.as(admin)); name != "Create" && name != "List" && !errors.Is(err, ErrUnknown) {
			t.Errorf("%s of one that is deleted = %v, want %v", name, err, ErrUnknown)
		}
	}
}
