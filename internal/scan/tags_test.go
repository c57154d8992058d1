package scan

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/postgres"
)

func TestTags(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner":"ann","tags":["old"],"z":1}`), plainScan("odd", `{"owner":"ann","tags":"one"}`), plainScan("null", `{"owner":"ann","tags":["a",null]}`),
		plainScan("hidden", `{"owner":"ann","tags":["x"],"visibility":"private"}`))
	want := func(call string, got []string, err error, tags ...string) {
		t.Helper()
		if err != nil || !slices.Equal(got, tags) {
			t.Errorf("%s = %q, %v, want %q", call, got, err, tags)
		}
	}
	got, metadata, err := f.Tags(as(t, rita), "s")
	want("Tags", got, err, "old")
	got, _, err = f.SetTags(as(t, ann), "s", []string{"b", "a", "b"}, Match{Versions: []string{Version(metadata)}})
	want("SetTags", got, err, "b", "a")
	if _, _, err := f.SetTags(as(t, ann), "s", nil, Match{Versions: []string{Version(metadata)}}); !errors.Is(err, ErrPrecondition) {
		t.Errorf("SetTags of what was changed since = %v, want ErrPrecondition", err)
	}
	got, _, err = f.ChangeTags(as(t, ann), "s", []string{"c", "a"}, []string{"b", "none"}, Match{})
	want("ChangeTags", got, err, "a", "c")
	got, _, err = f.Tags(as(t, rita), "s")
	want("Tags", got, err, "a", "c")
	if on := f.read(t, "s/metadata/metadata.json"); !strings.Contains(on, `"c"`) || !strings.Contains(on, `"z"`) {
		t.Errorf("metadata on the disk = %s", on)
	}
	got, _, err = f.SetTags(as(t, ann), "s", []string{}, Match{})
	want("SetTags to none", got, err)

	// At once, and all are kept.
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, _, err := f.ChangeTags(as(t, ann), "s", []string{fmt.Sprintf("tag %d", i)}, nil, Match{}); err != nil {
				t.Errorf("ChangeTags %d = %v", i, err)
			}
		})
	}
	wg.Wait()
	if got, _, err = f.Tags(as(t, ann), "s"); err != nil || len(got) != 8 {
		t.Errorf("after eight at once there are %q, %v", got, err)
	}
	many := make([]string, maxTags)
	for i := range many {
		many[i] = fmt.Sprintf("m%d", i)
	}
	for name, bad := range map[string][]string{"empty": {""}, "long": {strings.Repeat("x", maxTag+1)}, "control": {"a\nb"}, "no text": {"\xff"}, "many": append(many, "x")} {
		if _, _, err := f.SetTags(as(t, ann), "s", bad, Match{}); !errors.Is(err, ErrTags) {
			t.Errorf("SetTags to %s = %v, want ErrTags", name, err)
		}
		if _, _, err := f.ChangeTags(as(t, ann), "s", bad, nil, Match{}); !errors.Is(err, ErrTags) {
			t.Errorf("ChangeTags by %s = %v, want ErrTags", name, err)
		}
	}
	if _, _, err := f.ChangeTags(as(t, ann), "s", many, nil, Match{}); !errors.Is(err, ErrTags) {
		t.Errorf("ChangeTags to 108 = %v, want ErrTags", err)
	}
	// All for all others, which is a list each.
	got, _, err = f.SetTags(as(t, ann), "s", many, Match{})
	want("SetTags of a hundred", got, err, many...)
	others := make([]string, maxTags)
	for i := range others {
		others[i] = fmt.Sprintf("n%d", i)
	}
	got, _, err = f.ChangeTags(as(t, ann), "s", others, many, Match{})
	want("ChangeTags of all", got, err, others...)
	// Who may read may not change, and what is no list is not touched unless it is replaced.
	if _, _, err := f.SetTags(as(t, rita), "s", nil, Match{}); !errors.Is(err, ErrForbidden) {
		t.Errorf("SetTags by a reader = %v, want ErrForbidden", err)
	}
	if _, _, err := f.Tags(as(t, ann), "none"); !errors.Is(err, ErrUnknownScan) {
		t.Errorf("Tags of no scan = %v", err)
	}
	_, _, errRead := f.Tags(as(t, rita), "hidden")
	_, _, errSet := f.SetTags(as(t, rita), "hidden", []string{"y"}, Match{})
	_, _, errChange := f.ChangeTags(as(t, rita), "hidden", []string{""}, nil, Match{})
	for call, err := range map[string]error{"Tags": errRead, "SetTags": errSet, "ChangeTags": errChange} {
		if !errors.Is(err, ErrUnknownScan) {
			t.Errorf("%s of a private scan = %v, want ErrUnknownScan", call, err)
		}
	}
	if _, _, err := f.Tags(as(t, ann), "odd"); !errors.Is(err, ErrNoTagList) {
		t.Errorf("Tags that are no list = %v, want ErrNoTagList", err)
	}
	if _, _, err := f.ChangeTags(as(t, ann), "odd", []string{"x"}, nil, Match{}); !errors.Is(err, ErrNoTagList) {
		t.Errorf("ChangeTags of what is no list = %v, want ErrNoTagList", err)
	}
	if _, _, err := f.Tags(as(t, ann), "null"); !errors.Is(err, ErrNoTagList) {
		t.Errorf("Tags with a null = %v, want ErrNoTagList", err)
	}
	got, _, err = f.SetTags(as(t, ann), "odd", []string{"x"}, Match{})
	want("SetTags of what was no list", got, err, "x")
}

// The history of a timelapse is its own: through the trash, and not that of
// another of the same name.
func TestTimelapseHistory(t *testing.T) {
	t.Parallel()
	f := indexed(t)
	ctx := as(t, ann)
	kinds := func(name string) []Kind {
		t.Helper()
		h := must[History](t)(f.TimelapseHistory(as(t, rita), name, HistoryQuery{}))
		var all []Kind
		for _, e := range h.Events {
			if e.Timelapse != name || e.Scan != "" || e.Username == "" {
				t.Errorf("event = %+v, want one of %s itself, by somebody", e, name)
			}
			all = append(all, e.Kind)
		}
		return all
	}
	must[Timelapse](t)(f.CreateTimelapse(ctx, "tl", json.RawMessage(`{"a":1}`)))
	must[Timelapse](t)(f.SetTimelapseMetadata(ctx, "tl", Update{Metadata: json.RawMessage(`{"b":2}`)}))
	e := must[TrashEntry](t)(f.DeleteTimelapse(ctx, "tl", false, Match{}))
	if _, err := f.TimelapseHistory(ctx, "tl", HistoryQuery{}); !errors.Is(err, ErrUnknownTimelapse) {
		t.Errorf("TimelapseHistory() of what is in the trash = %v, want ErrUnknownTimelapse", err)
	}
	// Another one of that name, and away again.
	must[Timelapse](t)(f.CreateTimelapse(ctx, "tl", nil))
	if got := kinds("tl"); !slices.Equal(got, []Kind{TimelapseCreated}) {
		t.Errorf("history of the second = %v, want nothing of the first", got)
	}
	second := must[TrashEntry](t)(f.DeleteTimelapse(ctx, "tl", false, Match{}))
	must[TrashEntry](t)(f.Restore(ctx, e.ID, ""))
	if err := f.Purge(ctx, second.ID); err != nil { // no event of the first
		t.Fatal(err)
	}
	want := []Kind{TimelapseRestored, TimelapseDeleted, TimelapseMetadata, TimelapseCreated}
	if got := kinds("tl"); !slices.Equal(got, want) {
		t.Errorf("history of the first = %v, want %v", got, want)
	}
	f.reconcile(t)
	if got := kinds("tl"); !slices.Equal(got, want) {
		t.Errorf("history after a re-index = %v, want %v", got, want)
	}
	var pages []Kind
	for q := (HistoryQuery{Limit: 3}); ; {
		h := must[History](t)(f.TimelapseHistory(ctx, "tl", q))
		for _, e := range h.Events {
			pages = append(pages, e.Kind)
		}
		if q.After = h.Next; h.Next == "" {
			break
		}
	}
	if !slices.Equal(pages, want) {
		t.Errorf("pages = %v, want %v", pages, want)
	}
	only := must[History](t)(f.TimelapseHistory(ctx, "tl", HistoryQuery{Kind: string(TimelapseMetadata)}))
	if len(only.Events) != 1 || !slices.Equal(only.Events[0].Detail.Set, []string{"b"}) || only.Events[0].Username != "ann" {
		t.Errorf("history of one kind = %+v", only.Events)
	}
	for _, after := range []string{"x", "0", "-1"} {
		if _, err := f.TimelapseHistory(ctx, "tl", HistoryQuery{After: after}); !errors.Is(err, ErrCursor) {
			t.Errorf("TimelapseHistory(after %q) = %v, want ErrCursor", after, err)
		}
	}
	if _, err := f.TimelapseHistory(as(t, guest), "tl", HistoryQuery{}); !errors.Is(err, ErrNoActor) {
		t.Errorf("TimelapseHistory() by a guest = %v, want ErrNoActor", err)
	}
}

// Events of before the migration are those of the timelapse that has the name.
func TestTimelapseHistoryOfBefore(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	url := pool.Config().ConnString()
	f := fixtureOn(t, pool, t.TempDir())
	ctx := as(t, ann)
	for _, name := range []string{"one", "two"} {
		must[Timelapse](t)(f.CreateTimelapse(ctx, name, nil))
		must[Timelapse](t)(f.SetTimelapseMetadata(ctx, name, Update{Metadata: json.RawMessage(`{"b":2}`)}))
	}
	first := must[TrashEntry](t)(f.DeleteTimelapse(ctx, "two", false, Match{}))
	must[Timelapse](t)(f.CreateTimelapse(ctx, "two", nil))
	if err := f.Purge(ctx, first.ID); err != nil {
		t.Fatal(err)
	}
	if err := postgres.MigrateDownTo(t.Context(), url, 17); err != nil {
		t.Fatal(err)
	}
	if err := postgres.Migrate(t.Context(), url, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]Kind{"one": {TimelapseMetadata, TimelapseCreated}, "two": {TimelapseCreated}} {
		var kinds []Kind
		for _, e := range must[History](t)(f.TimelapseHistory(ctx, name, HistoryQuery{})).Events {
			kinds = append(kinds, e.Kind)
		}
		if !slices.Equal(kinds, want) {
			t.Errorf("history of %s = %v, want %v", name, kinds, want)
		}
	}
}
