package scan

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/pgtest"
)

// Who may see a scan holds at once, survives a re-index on a new database, and
// upstream's programs that write the metadata they read before.
func TestAccessIsKept(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"z": 1, "owner": "ann"}`))
	ctx := as(t, ann)
	stale := f.read(t, "s/metadata/metadata.json")
	if a := must[Access](t)(f.SetVisibility(ctx, "s", Private)); a.Visibility != Private {
		t.Errorf("SetVisibility() = %+v", a)
	}
	if _, err := f.Metadata(as(t, rita), "s"); !errors.Is(err, ErrUnknownScan) {
		t.Errorf("Metadata() of a private scan for a reader = %v", err)
	}
	if got := must[json.RawMessage](t)(f.Metadata(ctx, "s")); textAt(got, "visibility") != Private {
		t.Errorf("Metadata() = %s, want it to say that it is private", got)
	}
	must[Access](t)(f.SetSharing(ctx, "s", []string{"lab"}))
	if _, err := f.Metadata(as(t, lars), "s"); err != nil {
		t.Errorf("Metadata() for a member of a group it is shared with = %v", err)
	}
	before := f.rows(t)
	f.reconcile(t)
	f.expect(t, "reconciled", before)
	files{"s/metadata/metadata.json": stale}.write(t, f.dir) // a Python program that read it before
	again := fixtureOn(t, pgtest.New(t), f.dir)
	again.reconcile(t)
	if a := must[Access](t)(again.Access(ctx, "s")); a.Visibility != Private || len(a.Sharing) != 0 {
		t.Errorf("Access() on a new database, after upstream wrote = %+v, want private", a)
	}
	// Given away: answered, and not seen any more.
	if a := must[Access](t)(again.SetOwner(ctx, "s", "BOB")); a.Owner == nil || *a.Owner != "bob" {
		t.Errorf("SetOwner() = %+v", a)
	}
	if _, err := again.Access(ctx, "s"); !errors.Is(err, ErrUnknownScan) {
		t.Errorf("Access() of who gave it away = %v, want ErrUnknownScan", err)
	}
	must[Access](t)(again.SetVisibility(as(t, bob), "s", Public))
	if _, err := again.Metadata(as(t, guest), "s"); err != nil {
		t.Errorf("Metadata() of what became public = %v", err)
	}
	// Damage must not open it.
	must[Access](t)(again.SetVisibility(as(t, bob), "s", Private))
	files{"s/.plantdb.json": "{"}.write(t, f.dir)
	again.reconcile(t)
	if _, err := again.Metadata(as(t, guest), "s"); !errors.Is(err, ErrUnknownScan) {
		t.Errorf("Metadata() for a guest of what cannot be read = %v, want ErrUnknownScan", err)
	}
	// What was made private is so beside its metadata as well.
	if err := f.Create(ctx, "made", json.RawMessage(`{"visibility": "private"}`)); err != nil {
		t.Fatal(err)
	}
	if got := f.read(t, "made/.plantdb.json"); !strings.Contains(got, Private) {
		t.Errorf("made/.plantdb.json = %q", got)
	}
}

func TestAccessPolicy(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann", "sharing": ["lab"]}`), plainScan("p", `{"owner": "eve", "visibility": "private"}`))
	before := f.rows(t)
	calls := []func(ctx context.Context, name string) (Access, error){
		func(ctx context.Context, name string) (Access, error) { return f.SetVisibility(ctx, name, Private) },
		func(ctx context.Context, name string) (Access, error) {
			return f.SetSharing(ctx, name, []string{"farm"})
		},
		func(ctx context.Context, name string) (Access, error) { return f.SetOwner(ctx, name, "bob") },
	}
	for _, tt := range []struct {
		a    actor.Actor
		name string
		want error
	}{
		{guest, "s", ErrNoActor}, {rita, "s", ErrForbidden}, {bob, "s", ErrForbidden}, {lars, "s", ErrForbidden},
		{scoped(ann, "*", actor.Read, actor.Write), "s", ErrForbidden}, {ann, "p", ErrUnknownScan}, {ann, "none", ErrUnknownScan},
	} {
		for i, call := range calls {
			if _, err := call(as(t, tt.a), tt.name); !errors.Is(err, tt.want) {
				t.Errorf("call %d on %s by %s = %v, want %v", i, tt.name, tt.a.Username, err, tt.want)
			}
		}
	}
	for name, call := range map[string]func() error{
		"visibility": func() error { _, err := f.SetVisibility(as(t, ann), "s", "secret"); return err },
		"group":      func() error { _, err := f.SetSharing(as(t, ann), "s", []string{"lab", "none"}); return err },
		"groups":     func() error { _, err := f.SetSharing(as(t, ann), "s", slices.Repeat([]string{"lab"}, 101)); return err },
		"owner":      func() error { _, err := f.SetOwner(as(t, ann), "s", "nobody"); return err },
	} {
		if err := call(); !errors.Is(err, ErrMetadata) && !errors.Is(err, ErrSharing) && !errors.Is(err, ErrOwner) {
			t.Errorf("a bad %s = %v", name, err)
		}
	}
	f.expect(t, "refused", before)
	for i, call := range calls {
		if _, err := call(as(t, admin), "s"); err != nil {
			t.Errorf("call %d by an administrator = %v", i, err)
		}
	}
}
