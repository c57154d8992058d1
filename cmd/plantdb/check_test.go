package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/servertest"
)

// TestCheck checks the sample tree: sound, damaged, mended; exit code, text and
// JSON say the same.
func TestCheck(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(servertest.Dir(t), "tree")
	url := pgtest.URL(t)
	o := servertest.Options{Env: []string{"DATABASE_URL=" + url, "ROMI_DB=" + dir}}
	if got := servertest.Run(t, servertest.Options{}, "demo", dir); got.Code != 0 {
		t.Fatalf("demo = %+v", got)
	}
	if got := servertest.Run(t, o, "check"); got.Code != 1 || !strings.Contains(got.Stdout, "! scan_without_row  real_plant\n") {
		t.Errorf("check before an import = %+v, want what is not indexed", got)
	}
	if got := servertest.Run(t, o, "import", dir); got.Code != 0 {
		t.Fatalf("import = %+v", got)
	}
	if got := servertest.Run(t, o, "check", "--digests", "--rate", "1000"); got.Code != 0 || !strings.Contains(got.Stdout, " MB read: 0 things wrong, 0 of them mended, 0 notes") {
		t.Errorf("check of a sound tree = %+v", got)
	}
	db, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.WithoutCancel(t.Context()))
	// What a check leaves that was cut short after this scan.
	if _, err := db.Exec(t.Context(), `UPDATE care_passes SET after = 'real_plant' WHERE kind = 'check'`); err != nil {
		t.Fatal(err)
	}
	if got := servertest.Run(t, o, "check", "--resume", "--json"); got.Code != 0 || !strings.Contains(got.Stdout, `"resumed_after":"real_plant"`) {
		t.Errorf("check --resume = %+v, want it to go on", got)
	}
	if got := servertest.Run(t, o, "check", "--resume", "--json"); got.Code != 0 || strings.Contains(got.Stdout, "resumed_after") {
		t.Errorf("check --resume after one that came to its end = %+v, want all", got)
	}
	images, err := filepath.Glob(filepath.Join(dir, "real_plant/images/*"))
	if err != nil || len(images) < 2 {
		t.Fatalf("images = %q, %v", images, err)
	}
	if err := errors.Join(os.Remove(images[0]), os.WriteFile(filepath.Join(dir, "real_plant/images/extra.jpg"), []byte("x"), 0o644)); err != nil {
		t.Fatal(err)
	}
	got := servertest.Run(t, o, "check", "--json", "--repair", "--scan", "real_plant")
	lines := strings.Split(strings.TrimSpace(got.Stdout), "\n")
	kinds := map[string]string{}
	for _, line := range lines[:len(lines)-1] {
		var f struct{ Kind, Scan, Path, Repaired string }
		if err := json.Unmarshal([]byte(line), &f); err != nil || f.Scan != "real_plant" || f.Path == "" {
			t.Errorf("line %s: %+v, %v", line, f, err)
		}
		kinds[f.Kind] = f.Repaired
	}
	if kinds["missing_file"] != "" || kinds["extra_file"] != "listed in files.json" || kinds["row_without_file"] != "indexed again" || len(kinds) != 3 {
		t.Errorf("check --repair --json found %v", kinds)
	}
	var end struct {
		Done                             bool
		Scans, Files, Findings, Repaired int
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &end); err != nil || !end.Done || end.Scans != 1 || end.Findings != 3 || end.Repaired != 2 {
		t.Errorf("the last line = %+v, %v", end, err)
	}
	if got.Code != 1 || !strings.Contains(got.Stderr, "1 things are wrong") {
		t.Errorf("check --repair = %d, %q, want the file that stays missing", got.Code, got.Stderr)
	}
	if got := servertest.Run(t, o, "check"); got.Code != 1 || strings.Count(got.Stdout, "\n") != 2 || !strings.HasPrefix(got.Stdout, "! missing_file ") {
		t.Errorf("check after it = %+v", got)
	}
	t.Run("of a scan that somebody holds", func(t *testing.T) {
		f, err := os.OpenFile(filepath.Join(dir, ".locks/real_plant.lock"), os.O_WRONLY|os.O_CREATE, 0o644)
		if err == nil {
			err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close() // which lets go of it
		impatient := servertest.Options{Env: append(slices.Clone(o.Env), "PLANTDB_LOCK_TIMEOUT=0.1")}
		got := servertest.Run(t, impatient, "check", "--scan", "real_plant")
		if got.Code != 1 || strings.Count(got.Stdout, "\n") != 2 || !strings.HasPrefix(got.Stdout, "! not_checked ") {
			t.Errorf("check = %+v, want not_checked", got)
		}
	})
	t.Run("of a file that cannot be read", func(t *testing.T) {
		others, err := filepath.Glob(filepath.Join(dir, "real_plant_analyzed/images/*"))
		if err != nil || len(others) == 0 {
			t.Fatalf("images = %q, %v", others, err)
		}
		if err := os.Chmod(others[0], 0); err != nil {
			t.Fatal(err)
		}
		for name, account := range servertest.Accounts(t) {
			if name == "root" {
				continue // who may read everything
			}
			got := servertest.Run(t, servertest.Options{Env: o.Env, Account: account}, "check", "--digests", "--scan", "real_plant_analyzed")
			if got.Code != 1 || strings.Count(got.Stdout, "\n") != 2 || !strings.HasPrefix(got.Stdout, "! unreadable ") || !strings.Contains(got.Stdout, "the disk does not give it: permission denied") {
				t.Errorf("check = %+v, want unreadable", got)
			}
		}
	})
	for _, args := range [][]string{{"--scan", "nobody"}, {"--scan", "real_plant", "--resume"}, {"--rate", "-1"}} {
		if got := servertest.Run(t, o, append([]string{"check"}, args...)...); got.Code != 1 || got.Stderr == "" {
			t.Errorf("check %q = %+v, want an error", args, got)
		}
	}
}

// TestCheckPreviews has a check find previews that are damaged, and previews of
// what is gone, beside the server that made them.
func TestCheckPreviews(t *testing.T) {
	t.Parallel()
	dir := servertest.Dir(t)
	s := servertest.Start(t, servertest.Options{}, dir, "--test", "--previews", "on-demand")
	admin, _ := login(t, s, "admin", "admin")
	admin.makeScan(t, "plant", "notes")
	contentType, body := form(t, photo(t, 0), "ext", "png")
	if a := admin.send(t, http.MethodPost, "/files/plant/images/photo", contentType, body); a.Status != http.StatusCreated {
		t.Fatalf("upload of a photo = %d %s", a.Status, a.Text)
	}
	look := func(want int) {
		t.Helper()
		if a := admin.get(t, "/assets/image/plant/images/photo?size=thumb"); a.Status != http.StatusOK {
			t.Errorf("thumb = %d %s", a.Status, a.Text)
		}
		if n := previewsIn(t, dir); n != want {
			t.Errorf("%d previews, want %d", n, want)
		}
	}
	finds := func(kind string, args ...string) {
		t.Helper()
		got := servertest.Run(t, servertest.Options{Env: []string{"ROMI_DB=" + dir}}, append([]string{"check", "--json"}, args...)...)
		lines := strings.Split(strings.TrimSpace(got.Stdout), "\n")
		if got.Code != 0 || (kind == "") != (len(lines) == 1) || !strings.Contains(lines[0], `"kind":"`+kind+`"`) && kind != "" {
			t.Errorf("check %q = %+v, want %q", args, got, kind)
		}
	}
	look(1)
	finds("", "--digests")
	paths, err := filepath.Glob(filepath.Join(dir, ".plantdb", "cache", "previews", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().IsRegular() {
			if err := os.WriteFile(path, bytes.Repeat([]byte("x"), int(info.Size())), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	finds("") // which reads them only with --digests
	finds("damaged_preview", "--digests")
	finds("damaged_preview", "--digests", "--repair")
	finds("", "--digests")
	look(1)
	if a := admin.send(t, http.MethodDelete, "/files/plant/images/photo", "", nil); a.Status != http.StatusOK {
		t.Fatalf("delete = %d %s", a.Status, a.Text)
	}
	finds("stale_preview")
	finds("stale_preview", "--repair")
	finds("")
	if n := previewsIn(t, dir); n != 0 {
		t.Errorf("%d previews of what is gone are left", n)
	}
}

// TestScrubInBackground has the server find by itself that the disk changed a
// file.
func TestScrubInBackground(t *testing.T) {
	t.Parallel()
	dir := servertest.Dir(t)
	first := servertest.Start(t, servertest.Options{}, dir, "--test")
	admin, _ := login(t, first, "admin", "admin")
	admin.makeScan(t, "plant", "what was written")
	first.Stop()
	name := filepath.Join(dir, "plant", "images", "notes.txt")
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(name, []byte("what was Written"), 0o600), os.Chtimes(name, info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
	second := servertest.Start(t, servertest.Options{}, dir, "--test", "--scrub-rate", "50MB")
	admin, _ = login(t, second, "admin", "admin")
	eventually(t, "the scrub finds the file", func() string {
		a := admin.get(t, "/scrub")
		if a.Status == http.StatusOK && strings.Contains(a.Text, `"kind":"digest_differs"`) && strings.Contains(a.Text, `"file":"notes"`) {
			return ""
		}
		return a.Text
	})
}
