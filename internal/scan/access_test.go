package scan

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	if a := must[VersionedAccess](t)(f.SetVisibility(ctx, "s", Private, Match{})); a.Visibility != Private {
		t.Errorf("SetVisibility() = %+v", a)
	}
	if _, err := f.Metadata(as(t, rita), "s"); !errors.Is(err, ErrUnknownScan) {
		t.Errorf("Metadata() of a private scan for a reader = %v", err)
	}
	if got := must[json.RawMessage](t)(f.Metadata(ctx, "s")); textAt(got, "visibility") != Private {
		t.Errorf("Metadata() = %s, want it to say that it is private", got)
	}
	must[VersionedAccess](t)(f.SetSharing(ctx, "s", []string{"lab"}, Match{}))
	if _, err := f.Metadata(as(t, lars), "s"); err != nil {
		t.Errorf("Metadata() for a member of a group it is shared with = %v", err)
	}
	before := f.rows(t)
	f.reconcile(t)
	f.expect(t, "reconciled", before)
	files{"s/metadata/metadata.json": stale}.write(t, f.dir) // a Python program that read it before
	again := fixtureOn(t, pgtest.New(t), f.dir)
	again.reconcile(t)
	if a := must[VersionedAccess](t)(again.Access(ctx, "s")); a.Visibility != Private || len(a.Sharing) != 0 {
		t.Errorf("Access() on a new database, after upstream wrote = %+v, want private", a)
	}
	// Given away: answered, and not seen any more.
	if a := must[VersionedAccess](t)(again.SetOwner(ctx, "s", "BOB", Match{})); a.Owner == nil || *a.Owner != "bob" {
		t.Errorf("SetOwner() = %+v", a)
	}
	if _, err := again.Access(ctx, "s"); !errors.Is(err, ErrUnknownScan) {
		t.Errorf("Access() of who gave it away = %v, want ErrUnknownScan", err)
	}
	must[VersionedAccess](t)(again.SetVisibility(as(t, bob), "s", Public, Match{}))
	if _, err := again.Metadata(as(t, guest), "s"); err != nil {
		t.Errorf("Metadata() of what became public = %v", err)
	}
	// Damage must not open it.
	must[VersionedAccess](t)(again.SetVisibility(as(t, bob), "s", Private, Match{}))
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
	calls := []func(ctx context.Context, name string) (VersionedAccess, error){
		func(ctx context.Context, name string) (VersionedAccess, error) {
			return f.SetVisibility(ctx, name, Private, Match{})
		},
		func(ctx context.Context, name string) (VersionedAccess, error) {
			return f.SetSharing(ctx, name, []string{"farm"}, Match{})
		},
		func(ctx context.Context, name string) (VersionedAccess, error) {
			return f.SetOwner(ctx, name, "bob", Match{})
		},
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
		"visibility": func() error { _, err := f.SetVisibility(as(t, ann), "s", "secret", Match{}); return err },
		"group":      func() error { _, err := f.SetSharing(as(t, ann), "s", []string{"lab", "none"}, Match{}); return err },
		"groups": func() error {
			_, err := f.SetSharing(as(t, ann), "s", slices.Repeat([]string{"lab"}, 101), Match{})
			return err
		},
		"owner": func() error { _, err := f.SetOwner(as(t, ann), "s", "nobody", Match{}); return err },
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

// Of two who change who may do what, as they read it, at once and on two servers, one
// does, and the other hears of it.
func TestAccessOnCondition(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	second := New(f.pool, f.tree, groupList{"lab"}, f.config, f.Service.log)
	ctx := as(t, admin)
	for _, call := range []func(*Service, Match) (VersionedAccess, error){
		func(s *Service, m Match) (VersionedAccess, error) { return s.SetVisibility(ctx, "s", Private, m) },
		func(s *Service, m Match) (VersionedAccess, error) {
			return s.SetSharing(ctx, "s", []string{"lab"}, m)
		},
		func(s *Service, m Match) (VersionedAccess, error) { return s.SetOwner(ctx, "s", "bob", m) },
	} {
		was := must[VersionedAccess](t)(f.Access(ctx, "s"))
		if metadata := must[json.RawMessage](t)(f.Metadata(ctx, "s")); was.Version != Version(metadata) {
			t.Fatalf("Access() has the version %s, that of the metadata is %s", was.Version, Version(metadata))
		}
		var wg sync.WaitGroup
		var done, refused atomic.Int32
		for _, s := range []*Service{f.Service, second} {
			wg.Go(func() {
				switch _, err := call(s, Match{Versions: []string{was.Version}}); {
				case err == nil:
					done.Add(1)
				case errors.Is(err, ErrPrecondition):
					refused.Add(1)
				default:
					t.Errorf("a change on condition = %v", err)
				}
			})
		}
		if wg.Wait(); done.Load() != 1 || refused.Load() != 1 {
			t.Errorf("%d done and %d refused, want one of each", done.Load(), refused.Load())
		}
		must[VersionedAccess](t)(call(f.Service, Match{Any: true}))
	}
	now := must[VersionedAccess](t)(f.Access(ctx, "s"))
	if now.Visibility != Private || !slices.Equal(now.Sharing, []string{"lab"}) || *now.Owner != "bob" {
		t.Errorf("Access() = %+v, want what was set", now.Access)
	}
}
