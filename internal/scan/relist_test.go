package scan

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A program that writes files.json from an older memory takes no upload away that
// was acknowledged; what somebody deletes stays deleted, and what came from
// outside is listed by who put it there.
func TestUploadsAreListedAgain(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	memory := f.read(t, "s/files.json")
	if err := f.CreateFileset(as(t, ann), "s", "new", nil); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"images/kept", "images/removed", "images/rewritten", "images/deleted", "new/inner"} {
		fileset, file, _ := strings.Cut(path, "/")
		if err := upload(as(t, ann), f.Service, "s", fileset, file, "txt", path, `{"n": 1}`); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.FoldAll(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	f.reconcile(t)
	if _, err := f.DeleteFile(as(t, ann), "s", "images", "deleted", Match{}); err != nil {
		t.Fatal(err)
	}
	f.remove(t, "s/images/removed.txt")
	files{"s/images/rewritten.txt": "another", "s/images/unlisted.txt": "x"}.write(t, f.dir)
	stale := func(list string) {
		t.Helper()
		// As Python: in place, with what it adds itself.
		if err := os.WriteFile(filepath.Join(f.dir, "s/files.json"), []byte(list), 0o644); err != nil {
			t.Fatal(err)
		}
		f.reconcile(t)
		if done := f.reconcile(t); done.Read != 0 {
			t.Errorf("Reconcile() once more = %+v, want nothing read", done)
		}
	}
	want := map[string]string{"s": "s ann public 4 37 sound images[00000_rgb=00000_rgb.jpg:11,00001_rgb=00001_rgb.jpg:6,kept=kept.txt:11] new[inner=inner.txt:9]"}
	stale("{") // as it is for a moment while Python writes it
	stale(memory)
	f.expect(t, "stale", want)
	if list := f.read(t, "s/files.json"); !strings.Contains(list, "kept.txt") || !strings.Contains(list, "inner.txt") || strings.Contains(list, "deleted") {
		t.Errorf("files.json is %s", list)
	}
	if got := decode(t, must[json.RawMessage](t)(f.FileMetadata(as(t, guest), "s", "new", "inner")))["n"]; got != 1.0 {
		t.Errorf("metadata n of what is listed again = %v, want 1", got)
	}
	stale(strings.Replace(memory, `{"id": "00000_rgb", "file": "00000_rgb.jpg"}, `, "", 1))
	want["s"] = "s ann public 3 26 sound images[00001_rgb=00001_rgb.jpg:6,kept=kept.txt:11] new[inner=inner.txt:9]"
	f.expect(t, "what came from outside goes", want)
	f.remove(t, "s/new")
	stale(memory)
	want["s"] = "s ann public 3 28 sound images[00000_rgb=00000_rgb.jpg:11,00001_rgb=00001_rgb.jpg:6,kept=kept.txt:11]"
	f.expect(t, "a fileset that was removed outside", want)
	events := f.outside(t)
	if slices.Contains(events, "scan.created s") || slices.Contains(events, "scan.deleted s") {
		t.Errorf("events of others: %q", events)
	}
}
