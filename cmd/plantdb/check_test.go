package main_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/servertest"
)

// TestCheck checks the sample tree: sound, damaged, mended; exit code, text and
// JSON say the same.
func TestCheck(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(servertest.Dir(t), "tree")
	o := servertest.Options{Env: []string{"DATABASE_URL=" + pgtest.URL(t), "ROMI_DB=" + dir}}
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
	for _, args := range [][]string{{"--scan", "nobody"}, {"--scan", "real_plant", "--resume"}, {"--rate", "-1"}} {
		if got := servertest.Run(t, o, append([]string{"check"}, args...)...); got.Code != 1 || got.Stderr == "" {
			t.Errorf("check %q = %+v, want an error", args, got)
		}
	}
}
