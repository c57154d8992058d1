package scan

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
)

func TestSetMetadata(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann", "visibility": "private", "object": {}}`),
		files{"s/metadata/images.json": `{"object": {"species": "A"}}`}).clock(noon)
	ctx := as(t, ann)
	got, err := f.SetMetadata(ctx, "s", Update{Metadata: json.RawMessage(`{"x": 1, "owner": "eve", "visibility": "public"}`)})
	want := `{"last_modified":` + noonText + `,"object":{"species":"A"},"owner":"ann","visibility":"private","x":1}`
	if err != nil || string(got) != want {
		t.Errorf("SetMetadata() = %s, %v, want %s", got, err, want)
	}
	if disk := f.read(t, "s/metadata/metadata.json"); !strings.Contains(disk, `"object": {}`) {
		t.Errorf("on disk: %s, want the filled object nowhere", disk)
	}
	if _, err := f.Metadata(as(t, guest), "s"); !errors.Is(err, ErrUnknownScan) {
		t.Errorf("Metadata for the guest = %v, want it private still", err)
	}
	// The images' metadata shows in the scan's, and the other way it does not.
	if _, err := f.SetFilesetMetadata(ctx, "s", "images", Update{Metadata: json.RawMessage(`{"object": {"species": "B"}, "hardware": {"h": 1}}`)}); err != nil {
		t.Fatal(err)
	}
	want = `{"last_modified":` + noonText + `,"object":{"species":"B"},"owner":"ann","visibility":"private","x":1,"hardware":{"h":1}}`
	if got := must[json.RawMessage](t)(f.Metadata(ctx, "s")); string(got) != want {
		t.Errorf("Metadata() = %s, want %s", got, want)
	}
	before := must[json.RawMessage](t)(f.Info(ctx, "s"))
	f.reconcile(t)
	if diff := cmp.Diff(string(before), string(must[json.RawMessage](t)(f.Info(ctx, "s")))); diff != "" {
		t.Errorf("info before and after a reconcile:\n%s", diff)
	}
}

// An update that says nothing leaves disk and index as they are.
func TestEmptyUpdateWritesNothing(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann", "b": 1, "a": 2}`))
	ctx := as(t, ann)
	state := func() string {
		var row string
		if err := f.pool.QueryRow(t.Context(), "SELECT concat(xmin, info, signature, document) FROM scans").Scan(&row); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"metadata.json", "images.json", "images/00000_rgb.json"} {
			row += must[os.FileInfo](t)(os.Stat(filepath.Join(f.dir, "s/metadata", name))).ModTime().String()
		}
		return row
	}
	before := state()
	// As a reader gets it, in the order on disk, for the answer has the ETag of that.
	if got := must[json.RawMessage](t)(f.Metadata(ctx, "s")); string(got) != `{"owner":"ann","b":1,"a":2}` {
		t.Errorf("Metadata() = %s", got)
	}
	for _, sent := range []string{`{}`, `{"owner": "eve", "created_by": "eve"}`} {
		u := Update{Metadata: json.RawMessage(sent)}
		if got, err := f.SetMetadata(ctx, "s", u); err != nil || string(got) != `{"owner":"ann","b":1,"a":2}` {
			t.Errorf("SetMetadata(%s) = %s, %v", sent, got, err)
		}
		if got, err := f.SetFilesetMetadata(ctx, "s", "images", u); err != nil || string(got) != `{"channels":["rgb"]}` {
			t.Errorf("SetFilesetMetadata(%s) = %s, %v", sent, got, err)
		}
		if got, err := f.SetFileMetadata(ctx, "s", "images", "00000_rgb", u); err != nil || string(got) != `{"channel":"rgb","shot_id":"000000"}` {
			t.Errorf("SetFileMetadata(%s) = %s, %v", sent, got, err)
		}
	}
	if diff := cmp.Diff(before, state()); diff != "" {
		t.Errorf("the empty update wrote:\n%s", diff)
	}
}

func TestSetMetadataErrors(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`), plainScan("torn", `{"own`), plainScan("hidden", `{"owner": "eve", "visibility": "private"}`),
		plainScan("tl/m", `{"owner": "ann", "timelapse": {"id": "tl", "index": 1}}`), files{"tl/timelapse.json": `{}`})
	for _, tt := range []struct {
		a                         actor.Actor
		scan, fileset, file, sent string
		want                      error
	}{
		{ann, "none", "", "", `{"a": 1}`, ErrUnknownScan},
		{ann, "hidden", "", "", `{"a": 1}`, ErrUnknownScan},
		{ann, "s", "none", "", `{"a": 1}`, ErrUnknownFileset},
		{ann, "s", "images", "none", `{"a": 1}`, ErrUnknownFile},
		{ann, "s", "i\x00", "", `{"a": 1}`, ErrUnknownFileset},
		{ann, "s", "images", "\xff", `{"a": 1}`, ErrUnknownFile},
		{rita, "s", "", "", `{"a": 1}`, ErrForbidden},
		{rita, "s", "images", "", `{"a": 1}`, ErrForbidden},
		{scoped(ann, "s", actor.Read), "s", "images", "00000_rgb", `{"a": 1}`, ErrForbidden},
		{guest, "s", "images", "00000_rgb", `{"a": 1}`, ErrNoActor},
		{ann, "s", "", "", `[]`, ErrMetadata},
		{ann, "s", "images", "", `5`, ErrMetadata},
		{ann, "s", "images", "00000_rgb", `"x"`, ErrMetadata},
		{ann, "s", "", "", `{"study": {"title": 5}}`, ErrBiology},
		{ann, "s", "images", "", `{"study": {"title": 5}}`, nil}, // only scans are checked
		{ann, "s", "", "", `{"timelapse": {"id": "tl"}}`, ErrMemberElsewhere},
		{ann, "m", "", "", `{"timelapse": {"id": "other", "index": 2}}`, nil},
		{ann, "torn", "", "", `{"a": 1}`, fsdb.ErrBroken},
		{ann, "torn", "images", "", `{"a": 1}`, nil}, // damage of another file
	} {
		var err error
		u := Update{Metadata: json.RawMessage(tt.sent)}
		switch {
		case tt.file != "":
			_, err = f.SetFileMetadata(as(t, tt.a), tt.scan, tt.fileset, tt.file, u)
		case tt.fileset != "":
			_, err = f.SetFilesetMetadata(as(t, tt.a), tt.scan, tt.fileset, u)
		default:
			_, err = f.SetMetadata(as(t, tt.a), tt.scan, u)
		}
		if !errors.Is(err, tt.want) {
			t.Errorf("set metadata of %s/%s/%s to %s by %s = %v, want %v", tt.scan, tt.fileset, tt.file, tt.sent, tt.a.Username, err, tt.want)
		}
	}
	if got := decode(t, must[json.RawMessage](t)(f.Metadata(as(t, ann), "m")))["timelapse"]; !cmp.Equal(got, map[string]any{"id": "tl", "index": 2.0}) {
		t.Errorf("timelapse of m = %v, want its id kept", got)
	}
	if got, want := f.read(t, "torn/metadata/metadata.json"), `{"own`; got != want {
		t.Errorf("torn metadata became %q", got)
	}
}
