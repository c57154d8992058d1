package scan

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/actor"
)

// Whichever way the clock of a server jumps by some hours, and back: what was
// acknowledged stays, what was begun goes on, and what a server does by itself
// takes nothing away.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	const jump = 5 * time.Hour
	for name, jumps := range map[string][]time.Duration{"forwards": {jump, 0}, "backwards": {-jump, 0}, "back and forth": {jump, -jump, jump}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := indexed(t, plainScan("s", `{"owner": "ann"}`), plainScan("t", `{"owner": "ann"}`))
			ctx := as(t, ann)
			const text = "the bytes of a file that comes in pieces"
			id := begin(t, f, "pieces", len(text))
			at := 0
			send := func(n int) Resumable {
				t.Helper()
				got := must[Resumable](t)(f.Resume(ctx, id, piece(at, text[at:at+n])))
				at += n
				return got
			}
			send(5)
			deleted := must[TrashEntry](t)(f.DeleteScan(ctx, "t", Match{}))
			if err := upload(ctx, f.Service, "s", "images", "before", "txt", "before", ""); err != nil {
				t.Fatal(err)
			}
			for i, by := range jumps {
				f.now = func() time.Time { return time.Now().Add(by) }
				f.keptUp(t)
				send(3)
				if err := upload(ctx, f.Service, "s", "images", "after"+string(rune('0'+i)), "txt", "after", ""); err != nil {
					t.Fatal(err)
				}
			}
			if got := send(len(text) - at); !got.Finished {
				t.Errorf("the last piece = %+v, want it finished", got)
			}
			if _, err := f.Restore(ctx, deleted.ID, ""); err != nil {
				t.Errorf("Restore of what was deleted before = %v", err)
			}
			f.keptUp(t)
			names := strings.Join(must[[]string](t)(f.FileNames(ctx, "s", "images", Query{})), " ")
			want := "00000_rgb 00001_rgb before after0 after1"
			if len(jumps) > 2 {
				want += " after2"
			}
			if names != want+" pieces" || f.read(t, "s/images/pieces.png") != text {
				t.Errorf("files = %s, want %s pieces", names, want)
			}
			f.expectFound(t, "afterwards", CheckOptions{Digests: true})
		})
	}
}

// However far the clock jumps forward, while a server runs or before one starts:
// what was there is kept, in the trash, among the uploads and of the history, and
// an upload goes on. It is over once a whole retention was seen to pass, and can
// be purged by hand at once.
func TestClockJumpsFar(t *testing.T) {
	t.Parallel()
	const years = 10 * 365 * 24 * time.Hour
	begun := time.Date(1970, time.January, 1, 0, 0, 20, 0, time.UTC)
	for name, tt := range map[string]struct{ before, after time.Time }{
		"wrong time heard": {time.Now(), time.Now().Add(years)},
		"began in 1970":    {begun, time.Now()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := indexed(t, plainScan("s", `{"owner": "ann"}`), plainScan("t", `{"owner": "ann"}`), plainScan("u", `{"owner": "ann"}`)).clock(tt.before)
			ctx, system := as(t, ann), as(t, actor.System())
			if err := f.LookAtClocks(system); err != nil {
				t.Fatal(err)
			}
			id, left := begin(t, f, "pieces", 10), begin(t, f, "left", 10)
			must[Resumable](t)(f.Resume(ctx, id, piece(0, "01234")))
			deleted := must[TrashEntry](t)(f.DeleteScan(ctx, "t", Match{}))
			byHand := must[TrashEntry](t)(f.DeleteScan(ctx, "u", Match{}))
			events := f.all(t, ann, EventFilter{}, 100)

			f = f.restarted(t).clock(tt.after)
			if got, err := f.Resumable(ctx, id); err != nil || got.Received != 5 {
				t.Errorf("the upload before anybody looked at the clock = %+v, %v", got, err)
			}
			if err := f.LookAtClocks(system); err != nil {
				t.Fatal(err)
			}
			at := tt.after
			for range 2 {
				f.keptUp(t)
				if n, err := f.forgetEvents(t.Context()); n != 0 || err != nil {
					t.Errorf("forgetEvents after the jump = %d, %v", n, err)
				}
				at = at.Add(time.Hour)
				f = f.clock(at)
			}
			if got := f.all(t, ann, EventFilter{}, 100); !slices.Equal(got, events) {
				t.Errorf("events after the jump = %q, want %q", got, events)
			}
			if got, err := f.Resume(ctx, id, piece(5, "56789")); err != nil || !got.Finished {
				t.Errorf("Resume after the jump = %+v, %v", got, err)
			}
			shown := must[TrashEntry](t)(f.TrashEntry(ctx, deleted.ID))
			if want := tt.after.Add(f.config.TrashRetention); shown.Expires.Before(want.Add(-time.Hour)) || shown.Expires.After(want) {
				t.Errorf("the entry expires %v, want a whole retention from the jump, %v", shown.Expires, want)
			}
			if err := f.Purge(ctx, byHand.ID); err != nil {
				t.Errorf("Purge by hand = %v", err)
			}
			if want := "the clock jumped, or no server ran for long"; strings.Count(f.log.String(), want) != 3 {
				t.Errorf("the log does not say it once of each that is kept for a time:\n%s", f.log)
			}

			purged, ended := 0, 0
			for range int(f.config.TrashRetention/time.Hour) / 5 {
				at = at.Add(5 * time.Hour)
				f = f.clock(at)
				n := must[int](t)(f.KeepTrash(system))
				if purged += n; n > 0 && at.Before(*shown.Expires) {
					t.Errorf("purged at %v, and it said %v", at, shown.Expires)
				}
				ended += must[int](t)(f.SweepResumables(system))
			}
			if purged != 1 || ended != 2 {
				t.Errorf("%d purged and %d uploads ended after a retention that went by evenly, want 1 and 2", purged, ended)
			}
			if _, err := f.Resumable(ctx, left); !errors.Is(err, ErrUnknownUpload) {
				t.Errorf("an upload that nobody went on with = %v, want ErrUnknownUpload", err)
			}
		})
	}
}

// A jump that is taken back counts for nothing: all is over when it would have
// been, whether or not a server looked meanwhile.
func TestClockJumpTakenBack(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	at := time.Now()
	f = f.clock(at)
	system := as(t, actor.System())
	deleted := must[TrashEntry](t)(f.DeleteScan(as(t, ann), "s", Match{}))
	f.keptUp(t)
	f = f.clock(at.AddDate(20, 0, 0))
	f.keptUp(t)
	for at.Before(*deleted.Expires) {
		f = f.clock(at)
		f.keptUp(t)
		at = at.Add(24 * time.Hour)
	}
	f = f.clock(deleted.Expires.Add(time.Minute))
	if n := must[int](t)(f.KeepTrash(system)); n != 1 {
		t.Errorf("KeepTrash after the retention = %d, want 1", n)
	}
}

// A server that is off every night, or for a weekend, purges all the same.
func TestClockStandsStillAtNight(t *testing.T) {
	t.Parallel()
	const keep = 24 * time.Hour
	c := retentionClock{seen: noon, jumped: noon}
	made, at := noon, noon
	for range 3 { // nine hours a day
		for range 9 {
			c, _ = c.look(at, keep)
			if made.Add(keep).Before(c.until(at)) {
				t.Fatalf("over after %v", at.Sub(made))
			}
			at = at.Add(time.Hour)
		}
		at = at.Add(15 * time.Hour)
	}
	if c, _ = c.look(at, keep); made.Add(keep).Before(c.until(at)) {
		t.Errorf("over at the fourth morning, when 24 hours are not seen: %v", c)
	}
	if at = at.Add(time.Hour); !c.end(made, keep).Before(at) {
		t.Errorf("the end shown is %v, want one before %v", c.end(made, keep), at)
	}
	if c, _ = c.look(at, keep); !made.Add(keep).Before(c.until(at)) {
		t.Errorf("not over when more than 24 hours were seen: %v", c)
	}
}

// restarted is a server that begins on the same tree and database.
func (f fixture) restarted(t *testing.T) fixture {
	t.Helper()
	f.Service = New(f.pool, f.tree, f.groups, f.config, f.Service.log)
	return f
}

// keptUp does what a server does by itself.
func (f fixture) keptUp(t *testing.T) {
	t.Helper()
	system := as(t, actor.System())
	if n, err := f.KeepTrash(system); n != 0 || err != nil {
		t.Errorf("KeepTrash = %d purged, %v", n, err)
	}
	if n, err := f.SweepResumables(system); n != 0 || err != nil {
		t.Errorf("SweepResumables = %d ended, %v", n, err)
	}
	if err := f.SettleBatches(system); err != nil {
		t.Errorf("SettleBatches = %v", err)
	}
	if err := f.FoldAll(system, time.Minute); err != nil {
		t.Errorf("FoldAll = %v", err)
	}
	if done := f.reconcile(t); done.Removed > 0 || done.Broken > 0 {
		t.Errorf("Reconcile = %+v", done)
	}
}
