package scan

import (
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
	if err := f.FoldAll(system); err != nil {
		t.Errorf("FoldAll = %v", err)
	}
	if done := f.reconcile(t); done.Removed > 0 || done.Broken > 0 {
		t.Errorf("Reconcile = %+v", done)
	}
}
