package scan

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/pgtest"
)

// following reads a list page by page.
func following(ctx context.Context, q Query, page func(context.Context, Query) (Page, error)) (all []string, err error) {
	q.Limit = 2
	for {
		p, err := page(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, p.Names...)
		if q.After = p.Next; p.Next == "" {
			return all, nil
		}
	}
}

// Every list has ids in the order of their bytes, also on a database that has
// another one; and the tree is compared with the index in that order.
func TestListsAreInTheOrderOfBytes(t *testing.T) {
	t.Parallel()
	ids := []string{"A", "B_", "B_a", "Z", "_", "a", "a-b", "a.c", "ab", "a_a", "b", "é", "z"}
	slices.Sort(ids)
	var filesets, listed []string
	content := files{}
	for _, id := range ids {
		filesets = append(filesets, fmt.Sprintf(`{"id": %q, "files": []}`, id))
		listed = append(listed, fmt.Sprintf(`{"id": %q, "file": %q}`, id, id+".jpg"))
		content["scan_"+id+"/files.json"] = `{"filesets": []}`
		content["tl/member_"+id+"/files.json"] = `{"filesets": []}`
		content["time_"+id+"/timelapse.json"] = fmt.Sprintf(`{"id": %q}`, "time_"+id)
		content["parts/images/"+id+".jpg"] = "image"
		content["parts/"+id+"/"] = ""
	}
	for name := range content {
		if dir, ok := strings.CutSuffix(name, "/files.json"); ok {
			content[dir+"/metadata/metadata.json"] = "{}"
		}
	}
	content["parts/metadata/metadata.json"] = "{}"
	content["tl/timelapse.json"] = `{"id": "tl"}`
	slices.Reverse(filesets)
	slices.Reverse(listed)
	content["parts/files.json"] = `{"filesets": [{"id": "images", "files": [` + strings.Join(listed, ",") + `]},` + strings.Join(filesets, ",") + `]}`
	f := fixtureOn(t, pgtest.Collated(t), t.TempDir(), content)
	if done := f.reconcile(t); done.Broken != 0 {
		t.Fatalf("Reconcile() = %+v, want no broken scan: %s", done, f.log)
	}
	if done := f.reconcile(t); done.Read != 0 || done.Removed != 0 {
		t.Errorf("a second Reconcile() = %+v, want nothing read", done)
	}
	ctx := as(t, admin)
	with := func(prefix string, more ...string) []string {
		all := slices.Clone(more)
		for _, id := range ids {
			all = append(all, prefix+id)
		}
		slices.Sort(all)
		return all
	}
	infos := func(ctx context.Context, q Query) ([]string, error) {
		all, err := allInfos(ctx, f.Service, q)
		names := make([]string, len(all))
		for i, info := range all {
			names[i] = textAt(info, "id")
		}
		return names, err
	}
	pages := func(page func(context.Context, Query) (Page, error)) func(context.Context, Query) ([]string, error) {
		return func(ctx context.Context, q Query) ([]string, error) { return following(ctx, q, page) }
	}
	scans := slices.Sorted(slices.Values(append(with("scan_"), with("member_", "parts")...)))
	for name, tt := range map[string]struct {
		read func(context.Context, Query) ([]string, error)
		want []string
	}{
		"Names":             {f.Names, scans},
		"Infos":             {infos, scans},
		"ScanPage":          {pages(f.ScanPage), scans},
		"InfoPage":          {pages(func(ctx context.Context, q Query) (Page, error) { p, _, err := f.InfoPage(ctx, q); return p, err }), scans},
		"TimelapseScanPage": {pages(func(ctx context.Context, q Query) (Page, error) { return f.TimelapseScanPage(ctx, "tl", q) }), with("member_")},
		"TimelapsePage":     {pages(f.TimelapsePage), with("time_", "tl")},
		"FilesetPage":       {pages(func(ctx context.Context, q Query) (Page, error) { return f.FilesetPage(ctx, "parts", q) }), with("", "images")},
		"FilePage":          {pages(func(ctx context.Context, q Query) (Page, error) { return f.FilePage(ctx, "parts", "images", q) }), ids},
	} {
		for _, sort := range []string{"", "id", "-id"} {
			if sort == "" && slices.Contains([]string{"FilesetPage", "FilePage"}, name) {
				continue // as in files.json
			}
			want := slices.Clone(tt.want)
			if sort == "-id" {
				slices.Reverse(want)
			}
			if got := must[[]string](t)(tt.read(ctx, Query{Sort: sort})); !slices.Equal(got, want) {
				t.Errorf("%s by %q =\n%q, want\n%q", name, sort, got, want)
			}
		}
	}
	one := must[[]string](t)(infos(ctx, Query{Timelapse: "tl"}))
	if want := with("member_"); !slices.Equal(one, want) {
		t.Errorf("Infos of a timelapse = %q, want %q", one, want)
	}
	// What another program deletes is told of in that order, too.
	since := len(f.outbox(t))
	f.remove(t, with("time_")...)
	f.reconcile(t)
	var told []string
	for _, e := range f.outbox(t)[since:] {
		told = append(told, strings.SplitN(strings.TrimPrefix(e, "timelapse.deleted -:-  "), "|", 2)[0])
	}
	if want := with("time_"); !slices.Equal(told, want) {
		t.Errorf("timelapses deleted outside are told of as %q, want %q", told, want)
	}
}
