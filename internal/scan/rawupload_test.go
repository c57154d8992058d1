package scan

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
)

func putRaw(ctx context.Context, s *Service, scan, path, content string) error {
	up, err := s.BeginRaw(ctx, scan, path)
	if err != nil {
		return err
	}
	defer up.Discard()
	if err := up.Expect(ctx, int64(len(content))); err != nil {
		return err
	}
	if err := up.Stage(ctx, strings.NewReader(content)); err != nil {
		return err
	}
	return up.CommitRaw(ctx)
}

// A file that belongs to no fileset lies where it was put, changes nothing of
// the scan's own, and leaves nothing for a reconcile or a check to find.
func TestRawUpload(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`), plainScan("tl/m", `{"owner": "ann"}`), files{"tl/timelapse.json": `{}`})
	ctx := as(t, ann)
	for path, text := range map[string]string{"s/notes.txt": "first", "tl/m/some/where/x": "second"} {
		name, rel := "s", strings.TrimPrefix(path, "s/")
		if inside, ok := strings.CutPrefix(path, "tl/m/"); ok {
			name, rel = "m", inside
		}
		for _, content := range []string{"old", text} { // one in place of the other
			if err := putRaw(ctx, f.Service, name, rel, content); err != nil {
				t.Fatalf("put %s = %v", path, err)
			}
		}
		if got := f.read(t, path); got != text {
			t.Errorf("%s = %q, want %q", path, got, text)
		}
	}
	before := f.rows(t)
	if done := f.reconcile(t); done.Read != 0 {
		t.Errorf("the reconcile read %d scans again, want none", done.Read)
	}
	f.expect(t, "reconciled", before)
	h := must[History](t)(f.History(ctx, "s", HistoryQuery{Limit: 10}))
	if len(h.Events) != 2 || h.Events[0].Kind != FileStored || h.Events[0].Detail.Filename != "notes.txt" || *h.Events[0].Detail.Size != 5 {
		t.Errorf("History() = %+v, want two events of notes.txt", h.Events)
	}
	// What counts in a scan counts at once.
	if err := putRaw(ctx, f.Service, "s", "measures.json", `{"angles": [1], "internodes": [2]}`); err != nil {
		t.Fatal(err)
	}
	if info := string(must[[]byte](t)(f.Info(ctx, "s"))); !strings.Contains(info, `"hasManualMeasures":true`) {
		t.Errorf("Info() = %s, want its manual measures", info)
	}
}

func TestRawUploadErrors(t *testing.T) {
	t.Parallel()
	f := limitedFixture(t, Quota{Kind: UserQuota, Name: "ann", MaxBytes: new(int64(1000))})
	f.config.MaxFileBytes = 2000
	for _, tt := range []struct {
		a                   actor.Actor
		scan, path, content string
		want                error
	}{
		{ann, "none", "x", "x", ErrUnknownScan},
		{rita, "s", "x", "x", ErrForbidden},
		{guest, "s", "x", "x", ErrNoActor},
		{ann, "s", "../other/x", "x", fsdb.ErrName},
		{ann, "s", "files.json", "{}", fsdb.ErrReserved},
		{ann, "s", "metadata/metadata.json", "{}", fsdb.ErrReserved},
		{ann, "s", "images/00000_rgb.jpg", "x", fsdb.ErrReserved},
		{ann, "s", "x", strings.Repeat("x", 1001), ErrQuota},
		{bob, "free", "x", strings.Repeat("x", 2001), fsdb.ErrTooLarge},
	} {
		if err := putRaw(as(t, tt.a), f.Service, tt.scan, tt.path, tt.content); !errors.Is(err, tt.want) {
			t.Errorf("put %s into %s by %s = %v, want %v", tt.path, tt.scan, tt.a.Username, err, tt.want)
		}
	}
	if left, err := os.ReadDir(filepath.Join(f.dir, ".plantdb", "staging")); err == nil && len(left) > 0 {
		t.Errorf("staging holds %v, want nothing", left)
	}
}
