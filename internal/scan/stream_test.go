package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/pgtest"
)

// eventually waits until ok holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// feeding runs FeedEvents until the test ends or stop is called.
func feeding(t testing.TB, s *Service) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.FeedEvents(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("FeedEvents = %v", err)
		}
	})
	t.Cleanup(stop)
	eventually(t, "the feed runs", func() bool {
		s.feed.mu.Lock()
		defer s.feed.mu.Unlock()
		return s.feed.running
	})
	return stop
}

// listed lists events as KIND NAME.
func listed(events []Event) []string {
	list := []string{}
	for _, e := range events {
		list = append(list, string(e.Kind)+" "+strings.Trim(e.Timelapse+"|"+e.Scan+"/"+e.Fileset+"/"+e.File, "/|"))
	}
	return list
}

// all returns everything that a may be told, page by page.
func (f fixture) all(t testing.TB, a actor.Actor, filter EventFilter, limit int) []string {
	t.Helper()
	list := []string{}
	from := Start{Oldest: true}
	for range 10_000 {
		page, err := f.Events(as(t, a), from, filter, limit)
		if err != nil {
			t.Fatalf("Events(%s) = %v", a.Username, err)
		}
		if len(page.Events) > limit {
			t.Errorf("a page has %d events, want at most %d", len(page.Events), limit)
		}
		list = append(list, listed(page.Events)...)
		if !page.More {
			return list
		}
		from = Start{After: page.Next}
	}
	t.Fatal("the pages have no end")
	return nil
}

// settled waits until nothing that was written is still held back by an older
// transaction, of other tests too.
func (f fixture) settled(t testing.TB) {
	t.Helper()
	eventually(t, "the horizon passes what was written", func() bool {
		h, err := f.horizon(t.Context(), f.pool)
		if err != nil {
			t.Fatal(err)
		}
		return !h.Pending
	})
}

func TestEventsAreForWhoMayReadTheScan(t *testing.T) {
	t.Parallel()
	f := indexed(t)
	mustDo := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	mustDo(f.Create(as(t, ann), "open", nil))
	mustDo(f.Create(as(t, ann), "hidden", json.RawMessage(`{"visibility": "private", "sharing": ["lab"]}`)))
	mustDo(f.Create(as(t, ann), "gone", json.RawMessage(`{"visibility": "private"}`)))
	entry := must[TrashEntry](t)(f.DeleteScan(as(t, ann), "gone", Match{}))
	mustDo(f.Purge(as(t, ann), entry.ID))
	// Another one of that name, which everybody may read.
	mustDo(f.Create(as(t, bob), "gone", nil))
	_, err := f.CreateTimelapse(as(t, ann), "tl", nil)
	mustDo(err)
	mustDo(f.CreateFileset(as(t, ann), "hidden", "images", nil))
	// An event of which nobody knows the scan.
	if _, err := f.pool.Exec(t.Context(), `INSERT INTO scan_events (id, kind, scan) VALUES (gen_random_uuid(), 'scan.changed', 'lost')`); err != nil {
		t.Fatal(err)
	}
	f.settled(t)

	public := []string{"scan.created open", "scan.created gone", "timelapse.created tl"}
	everything := []string{
		"scan.created open", "scan.created hidden", "scan.created gone", "scan.deleted gone", "scan.purged gone",
		"scan.created gone", "timelapse.created tl", "fileset.created hidden/images",
	}
	for _, tt := range []struct {
		who  actor.Actor
		want []string
	}{
		{rita, public}, {bob, public}, {ann, everything},
		{lars, []string{"scan.created open", "scan.created hidden", "scan.created gone", "timelapse.created tl", "fileset.created hidden/images"}},
		{admin, append(slices.Clone(everything), "scan.changed lost")},
		{scoped(ann, "hid*", actor.Read), []string{"scan.created hidden", "fileset.created hidden/images"}},
		{scoped(admin, "o*", actor.Read), []string{"scan.created open"}},
	} {
		for _, limit := range []int{1, 2, 1000} {
			if diff := cmp.Diff(tt.want, f.all(t, tt.who, EventFilter{}, limit)); diff != "" {
				t.Errorf("events for %s in pages of %d (-want +got):\n%s", tt.who.Username, limit, diff)
			}
		}
	}
	for _, who := range []actor.Actor{guest, nobody} {
		if page, err := f.Events(as(t, who), Start{Oldest: true}, EventFilter{}, 10); err == nil && len(page.Events) > 0 {
			t.Errorf("Events for %+v = %v", who, listed(page.Events))
		}
	}
	if _, err := f.Events(t.Context(), Start{Oldest: true}, EventFilter{}, 10); !errors.Is(err, ErrNoActor) {
		t.Errorf("Events for nobody = %v, want %v", err, ErrNoActor)
	}
	filters := map[string]EventFilter{
		"scan.deleted gone": {Kinds: []string{"scan.deleted"}}, "scan.created hidden, fileset.created hidden/images": {Scan: "hidden"},
		"": {Scan: "hidden", Kinds: []string{"scan.deleted"}}, "scan.created open": {Scan: "open", Kinds: []string{"x", "scan.created"}},
	}
	for want, filter := range filters {
		if got := strings.Join(f.all(t, ann, filter, 3), ", "); got != want {
			t.Errorf("events by %+v = %s, want %s", filter, got, want)
		}
	}
	// What may be read is what may be read now.
	if _, err := f.SetVisibility(as(t, ann), "hidden", Public, Match{}); err != nil {
		t.Fatal(err)
	}
	f.settled(t)
	if got := f.all(t, rita, EventFilter{Scan: "hidden"}, 10); len(got) != 3 {
		t.Errorf("events of a scan that was made public = %q, want its three", got)
	}
}

// A transaction that began before another and is committed after it is neither
// missed nor told out of order.
func TestLateCommitIsNotMissed(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	pool := f.pool.(*pgxpool.Pool)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }() // after a commit it does nothing
	if err := f.record(as(t, ann), tx, Change{Kind: ScanMetadata, Scan: "s"}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.SetVisibility(as(t, ann), "s", Private, Match{}); err != nil {
		t.Fatal(err)
	}
	first, err := f.Events(as(t, ann), Start{Oldest: true}, EventFilter{}, 10)
	if err != nil || len(first.Events) != 0 {
		t.Fatalf("Events before the older transaction ends = %q, %v, want none", listed(first.Events), err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.settled(t)
	second := must[EventPage](t)(f.Events(as(t, ann), Start{After: first.Next}, EventFilter{}, 10))
	if got, want := listed(second.Events), []string{"scan.metadata s", "scan.visibility s"}; !slices.Equal(got, want) {
		t.Errorf("Events from where the first page ended = %q, want %q", got, want)
	}
	third := must[EventPage](t)(f.Events(as(t, ann), Start{After: second.Next}, EventFilter{}, 10))
	if len(third.Events) != 0 {
		t.Errorf("Events after the last = %q, want none", listed(third.Events))
	}
}

// A transaction of another database of the cluster, which cannot write events
// here, holds nothing back, and the horizon never falls when it ends.
func TestOtherDatabasesHoldNoEventsBack(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	elsewhere := must[pgx.Tx](t)(pgtest.New(t).Begin(t.Context()))
	defer func() { _ = elsewhere.Rollback(context.Background()) }() // after a commit it does nothing
	var number int64
	if err := elsewhere.QueryRow(t.Context(), "SELECT pg_current_xact_id()::text::bigint").Scan(&number); err != nil {
		t.Fatal(err)
	}
	if _, err := f.SetVisibility(as(t, ann), "s", Private, Match{}); err != nil {
		t.Fatal(err)
	}
	page := must[EventPage](t)(f.Events(as(t, ann), Start{Oldest: true}, EventFilter{}, 10))
	if got, want := listed(page.Events), []string{"scan.visibility s"}; !slices.Equal(got, want) {
		t.Errorf("Events while transaction %d runs elsewhere = %q, want %q", number, got, want)
	}
	before := must[db.EventHorizonRow](t)(f.horizon(t.Context(), f.pool))
	if before.Horizon <= number || before.Pending {
		t.Errorf("horizon = %+v, want above %d and nothing pending", before, number)
	}
	if err := elsewhere.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := must[db.EventHorizonRow](t)(f.horizon(t.Context(), f.pool)); after.Horizon < before.Horizon {
		t.Errorf("horizon falls from %d to %d", before.Horizon, after.Horizon)
	}
}

// Under many short transactions of two databases the horizon only rises.
func TestHorizonOnlyRises(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	others := []*pgxpool.Pool{pgtest.New(t), f.pool.(*pgxpool.Pool)}
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			for ctx.Err() == nil {
				_, err := others[i%2].Exec(ctx, "SELECT pg_current_xact_id(), pg_sleep(0.002)")
				if err != nil && ctx.Err() == nil {
					t.Errorf("write elsewhere = %v", err)
					return
				}
			}
		})
	}
	var highest int64
	for range 300 {
		h, err := f.horizon(t.Context(), f.pool)
		if err != nil {
			t.Fatal(err)
		}
		if h.Horizon < highest {
			t.Errorf("horizon falls from %d to %d", highest, h.Horizon)
		}
		highest = max(highest, h.Horizon)
	}
	stop()
	writers.Wait()
}

func TestEventsThatAreGone(t *testing.T) {
	t.Parallel()
	f := indexed(t)
	for i := range 4 {
		if err := f.Create(as(t, ann), fmt.Sprint("s", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	f.settled(t)
	events := must[EventPage](t)(f.Events(as(t, ann), Start{Oldest: true}, EventFilter{}, 10)).Events
	if _, err := f.pool.Exec(t.Context(), `UPDATE scan_events SET at = now() - interval '400 days' WHERE scan IN ('s0', 's1')`); err != nil {
		t.Fatal(err)
	}
	if n, err := f.forgetEvents(t.Context()); n != 2 || err != nil {
		t.Errorf("forgetEvents = %d, %v, want 2", n, err)
	}
	if n, err := f.forgetEvents(t.Context()); n != 0 || err != nil {
		t.Errorf("forgetEvents again = %d, %v, want 0", n, err)
	}
	from := func(p Position) error {
		_, err := f.Events(as(t, ann), Start{After: p}, EventFilter{}, 10)
		return err
	}
	if err := from(events[0].Position); !errors.Is(err, ErrEventsGone) {
		t.Errorf("Events after one that is gone = %v, want %v", err, ErrEventsGone)
	}
	if err := from(events[1].Position); err != nil {
		t.Errorf("Events after the last that is gone, so that none is missing = %v", err)
	}
	if err := from(Position{1 << 60, 1}); !errors.Is(err, ErrEventsGone) {
		t.Errorf("Events after a place that never was = %v, want %v", err, ErrEventsGone)
	}
	if got, want := f.all(t, ann, EventFilter{}, 10), []string{"scan.created s2", "scan.created s3"}; !slices.Equal(got, want) {
		t.Errorf("what is kept = %q, want %q", got, want)
	}
	feeding(t, f.Service)
	follower := must[*Follower](t)(f.Follow(as(t, ann), Start{After: events[0].Position}, EventFilter{}))
	defer follower.Close()
	got, _, err := follower.Next(t.Context(), ann)
	if want := []string{"scan.created s2", "scan.created s3"}; !follower.Reset || err != nil || !slices.Equal(listed(got), want) {
		t.Errorf("a follower from a place that is gone: reset %v, %q, %v, want %q", follower.Reset, listed(got), err, want)
	}
	f.config.EventRetention = 0
	if _, err := f.pool.Exec(t.Context(), `UPDATE scan_events SET at = now() - interval '4000 days'`); err != nil {
		t.Fatal(err)
	}
	if n, err := f.forgetEvents(t.Context()); n != 0 || err != nil {
		t.Errorf("forgetEvents that are kept for ever = %d, %v, want 0", n, err)
	}
}

// A copy of a database on another cluster, whose transactions count anew, goes
// on telling.
func TestEventsOfAnotherClusterComeFirst(t *testing.T) {
	t.Parallel()
	f := indexed(t)
	for _, name := range []string{"a", "b"} {
		if err := f.Create(as(t, ann), name, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.pool.Exec(t.Context(), `UPDATE scan_events SET written_by = written_by + 1000000000000`); err != nil {
		t.Fatal(err)
	}
	if got := f.all(t, ann, EventFilter{}, 10); len(got) != 0 {
		t.Fatalf("before they are adopted, events are %q, want none: the test is for nothing", got)
	}
	feeding(t, f.Service)
	if err := f.Create(as(t, ann), "c", nil); err != nil {
		t.Fatal(err)
	}
	f.settled(t)
	if got, want := f.all(t, ann, EventFilter{}, 10), []string{"scan.created a", "scan.created b", "scan.created c"}; !slices.Equal(got, want) {
		t.Errorf("events = %q, want %q", got, want)
	}
}

// Of a copy on another cluster also the place up to which events were forgotten
// counts anew: what is kept is told, and a reader of the copy goes on.
func TestForgottenOfAnotherCluster(t *testing.T) {
	t.Parallel()
	f := indexed(t)
	for _, name := range []string{"a", "b"} {
		if err := f.Create(as(t, ann), name, nil); err != nil {
			t.Fatal(err)
		}
	}
	f.settled(t)
	if _, err := f.pool.Exec(t.Context(), `UPDATE scan_events SET at = now() - interval '400 days' WHERE scan = 'a'`); err != nil {
		t.Fatal(err)
	}
	if n, err := f.forgetEvents(t.Context()); n != 1 || err != nil {
		t.Fatalf("forgetEvents = %d, %v, want 1", n, err)
	}
	for _, table := range []string{"scan_events", "event_horizon"} {
		if _, err := f.pool.Exec(t.Context(), `UPDATE `+table+` SET written_by = written_by + 1000000000000`); err != nil {
			t.Fatal(err)
		}
	}
	feeding(t, f.Service)
	if err := f.Create(as(t, ann), "c", nil); err != nil {
		t.Fatal(err)
	}
	f.settled(t)
	if got, want := f.all(t, ann, EventFilter{}, 1), []string{"scan.created b", "scan.created c"}; !slices.Equal(got, want) {
		t.Errorf("events = %q, want %q", got, want)
	}
	page := must[EventPage](t)(f.Events(as(t, ann), Start{Oldest: true}, EventFilter{}, 10))
	if _, err := f.Events(as(t, ann), Start{After: page.Next}, EventFilter{}, 10); err != nil {
		t.Errorf("Events from where a page ended = %v", err)
	}
}

// A place of another copy of the database, of what came after the backup that was
// restored say, is told from one of this: what came since would be missed.
func TestPlacesOfAnotherCopy(t *testing.T) {
	t.Parallel()
	f := indexed(t)
	for _, name := range []string{"a", "lost"} {
		if err := f.Create(as(t, ann), name, nil); err != nil {
			t.Fatal(err)
		}
	}
	f.settled(t)
	page := must[EventPage](t)(f.Events(as(t, ann), Start{Oldest: true}, EventFilter{}, 10))
	if _, err := f.pool.Exec(t.Context(), `DELETE FROM scan_events WHERE scan = 'lost'`); err != nil { // as in a backup from before it
		t.Fatal(err)
	}
	if err := f.Create(as(t, ann), "b", nil); err != nil {
		t.Fatal(err)
	}
	f.settled(t)
	if _, err := f.Events(as(t, ann), Start{After: page.Next}, EventFilter{}, 10); !errors.Is(err, ErrEventsGone) {
		t.Errorf("Events after one that this database never had = %v, want %v", err, ErrEventsGone)
	}
	if _, err := f.OutboxStart(as(t, actor.System()), Start{After: page.Next}); !errors.Is(err, ErrEventsGone) {
		t.Errorf("OutboxStart after one that this database never had = %v, want %v", err, ErrEventsGone)
	}
	feeding(t, f.Service)
	follower := must[*Follower](t)(f.Follow(as(t, ann), Start{After: page.Next}, EventFilter{}))
	defer follower.Close()
	got, _, err := follower.Next(t.Context(), ann)
	if want := []string{"scan.created a", "scan.created b"}; !follower.Reset || err != nil || !slices.Equal(listed(got), want) {
		t.Errorf("a follower from there: reset %v, %q, %v, want %q", follower.Reset, listed(got), err, want)
	}
	first := must[EventPage](t)(f.Events(as(t, ann), Start{Oldest: true}, EventFilter{}, 1))
	rest := must[EventPage](t)(f.Events(as(t, ann), Start{After: first.Next}, EventFilter{}, 10))
	if got := listed(rest.Events); !slices.Equal(got, []string{"scan.created b"}) {
		t.Errorf("Events after the first = %q, want the other", got)
	}
}

// Each follower on each of two servers is told every event once, and all in the
// same order, while eight write on both.
func TestFollowersOfTwoServers(t *testing.T) {
	t.Parallel()
	const writers, each, followers = 8, 12, 6
	pool, dir := pgtest.New(t), t.TempDir()
	servers := []fixture{fixtureOn(t, pool, dir), fixtureOn(t, pool, dir)}
	servers[0].ListenOn(pool) // the other one asks
	var wg sync.WaitGroup
	orders := make([][]string, followers)
	for _, s := range servers {
		feeding(t, s.Service)
	}
	for i := range followers {
		f := must[*Follower](t)(servers[i%2].Follow(as(t, ann), Start{Now: true}, EventFilter{Kinds: []string{"scan.created"}}))
		wg.Go(func() {
			defer f.Close()
			for len(orders[i]) < writers*each {
				events, more, err := f.Next(t.Context(), ann)
				if err != nil {
					t.Error(err)
					return
				}
				for _, e := range events {
					orders[i] = append(orders[i], e.Scan)
				}
				if more || len(orders[i]) >= writers*each {
					continue
				}
				select {
				case <-f.Changed():
				case <-time.After(2 * time.Minute):
					t.Errorf("follower %d was told %d of %d events", i, len(orders[i]), writers*each)
					return
				}
			}
		})
	}
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for n := range each {
				if err := servers[w%2].Create(as(t, ann), fmt.Sprintf("s-%d-%d", w, n), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	wg.Wait()
	for i, order := range orders {
		if !slices.Equal(order, orders[0]) {
			t.Errorf("follower %d was told %q, the first %q", i, order, orders[0])
		}
		sorted := slices.Sorted(slices.Values(order))
		if n := len(slices.Compact(sorted)); n != writers*each {
			t.Errorf("follower %d was told of %d scans in %d events, want %d once", i, n, len(order), writers*each)
		}
	}
}

func TestFollowersAreBounded(t *testing.T) {
	t.Parallel()
	f := indexed(t)
	f.config.Streams, f.config.StreamsPerUser = 3, 2
	follow := func(who actor.Actor) (*Follower, error) { return f.Follow(as(t, who), Start{Now: true}, EventFilter{}) }
	if _, err := follow(ann); !errors.Is(err, ErrStopping) {
		t.Errorf("Follow before FeedEvents = %v, want %v", err, ErrStopping)
	}
	stop := feeding(t, f.Service)
	if _, err := follow(guest); !errors.Is(err, ErrNoActor) {
		t.Errorf("Follow by the guest = %v, want %v", err, ErrNoActor)
	}
	first := must[*Follower](t)(follow(ann))
	must[*Follower](t)(follow(ann))
	if _, err := follow(ann); !errors.Is(err, ErrTooManyStreams) {
		t.Errorf("a third Follow of ann = %v, want %v", err, ErrTooManyStreams)
	}
	must[*Follower](t)(follow(bob))
	if _, err := follow(rita); !errors.Is(err, ErrStreamsFull) {
		t.Errorf("a fourth Follow = %v, want %v", err, ErrStreamsFull)
	}
	first.Close()
	first.Close()
	last := must[*Follower](t)(follow(ann))
	stop()
	select {
	case <-last.Ended():
	case <-time.After(2 * time.Minute):
		t.Error("a follower does not end with the feed")
	}
}

func TestPositions(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"0-0", "18342-5512", "9223372036854775807-1"} {
		if p, err := ParsePosition(text); err != nil || p.String() != text {
			t.Errorf("ParsePosition(%q) = %v, %v", text, p, err)
		}
	}
	for _, text := range []string{"", "1", "-", "1-", "-1-1", "+1-1", "01-1", "1-1 ", "9223372036854775808-1", "1-1-1", "a-b"} {
		if p, err := ParsePosition(text); !errors.Is(err, ErrEventID) {
			t.Errorf("ParsePosition(%q) = %v, %v, want %v", text, p, err, ErrEventID)
		}
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	ctx := as(t, ann)
	if err := upload(ctx, f.Service, "s", "images", "x", "jpg", "12345", ""); err != nil {
		t.Fatal(err)
	}
	if err := f.CreateFileset(ctx, "s", "other", nil); err != nil {
		t.Fatal(err)
	}
	entry := must[TrashEntry](t)(f.DeleteFile(ctx, "s", "images", "x", Match{}))
	if err := f.Purge(ctx, entry.ID); err != nil {
		t.Fatal(err)
	}
	entry = must[TrashEntry](t)(f.DeleteFileset(ctx, "s", "other", Match{}))
	if err := f.Purge(ctx, entry.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := f.SetVisibility(ctx, "s", Private, Match{}); err != nil {
		t.Fatal(err)
	}
	all := []string{
		"scan.visibility s", "fileset.purged s/other", "fileset.deleted s/other", "file.purged s/images/x", "file.deleted s/images/x",
		"fileset.created s/other", "file.created s/images/x",
	}
	pages := func(q HistoryQuery) (list []string) {
		for range 20 {
			h := must[History](t)(f.History(ctx, "s", q))
			list = append(list, listed(h.Events)...)
			if q.After = h.Next; h.Next == "" {
				break
			}
		}
		return list
	}
	for _, limit := range []int{0, 1, 3, 7, 1000} {
		if diff := cmp.Diff(all, pages(HistoryQuery{Limit: limit})); diff != "" {
			t.Errorf("history in pages of %d (-want +got):\n%s", limit, diff)
		}
	}
	for _, tt := range []struct {
		q    HistoryQuery
		want []string
	}{
		{HistoryQuery{Fileset: "other"}, []string{all[1], all[2], all[5]}}, {HistoryQuery{File: "x"}, []string{all[3], all[4], all[6]}},
		{HistoryQuery{Kind: "scan.visibility"}, all[:1]}, {HistoryQuery{Kind: "none"}, nil}, {HistoryQuery{Kind: "\x00"}, nil},
	} {
		if diff := cmp.Diff(tt.want, pages(tt.q)); diff != "" {
			t.Errorf("history by %+v (-want +got):\n%s", tt.q, diff)
		}
	}
	for _, after := range []string{"x", "-1", "0", "1.5"} {
		if _, err := f.History(ctx, "s", HistoryQuery{After: after}); !errors.Is(err, ErrCursor) {
			t.Errorf("History after %q = %v, want %v", after, err, ErrCursor)
		}
	}
	if _, err := f.History(as(t, rita), "s", HistoryQuery{}); !errors.Is(err, ErrUnknownScan) {
		t.Errorf("History of a private scan = %v, want %v", err, ErrUnknownScan)
	}
	h := must[History](t)(f.History(ctx, "s", HistoryQuery{Limit: 1}))
	if e := h.Events[0]; e.Username != "ann" || e.TokenKind != "none" || e.Detail.Visibility != Private || e.At.IsZero() {
		t.Errorf("an event of the history = %+v", e)
	}

	// Under the name of a scan that is gone, there is another history.
	entry = must[TrashEntry](t)(f.DeleteScan(ctx, "s", Match{}))
	if err := f.Create(as(t, bob), "s", nil); err != nil {
		t.Fatal(err)
	}
	if got := listed(must[History](t)(f.History(as(t, bob), "s", HistoryQuery{})).Events); !slices.Equal(got, []string{"scan.created s"}) {
		t.Errorf("history of another scan of the name = %q, want its own", got)
	}
	if _, err := f.Restore(ctx, entry.ID, "s2"); err != nil {
		t.Fatal(err)
	}
	got := listed(must[History](t)(f.History(ctx, "s2", HistoryQuery{})).Events)
	if want := append([]string{"scan.restored s2", "scan.deleted s"}, all...); !slices.Equal(got, want) {
		t.Errorf("history of a scan that was restored under another name = %q, want %q", got, want)
	}
}

// After a crash PostgreSQL gives the numbers of transactions again that left
// nothing: no place in the stream is beyond the last event, whatever was begun since.
func TestPlacesAreOfEvents(t *testing.T) {
	t.Parallel()
	f := indexed(t)
	if err := f.Create(as(t, ann), "s", nil); err != nil {
		t.Fatal(err)
	}
	f.settled(t)
	feeding(t, f.Service)
	page := must[EventPage](t)(f.Events(as(t, ann), Start{Oldest: true}, EventFilter{}, 10))
	last := page.Events[len(page.Events)-1].Position
	for range 20 {
		if _, err := f.pool.Exec(t.Context(), "SELECT pg_current_xact_id()"); err != nil {
			t.Fatal(err)
		}
	}
	for name, from := range map[string]Start{"oldest": {Oldest: true}, "now": {Now: true}, "the last": {After: last}} {
		if got := must[EventPage](t)(f.Events(as(t, ann), from, EventFilter{}, 10)); got.Next != last {
			t.Errorf("a page from %s ends at %s, want %s", name, got.Next, last)
		}
		follower := must[*Follower](t)(f.Follow(as(t, ann), from, EventFilter{}))
		eventually(t, "the feed has read", func() bool { _, placed := f.feed.end(); return placed })
		for more := true; more; {
			var err error
			if _, more, err = follower.Next(t.Context(), ann); err != nil {
				t.Fatal(err)
			}
		}
		if got := follower.Position(); got != last {
			t.Errorf("who follows from %s is at %s, want %s", name, got, last)
		}
		follower.Close()
	}
}
