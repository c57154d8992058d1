package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/servertest"
)

// TestMigrateMetadata migrates the sample tree: said first, done once.
func TestMigrateMetadata(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(servertest.Dir(t), "tree")
	if got := servertest.Run(t, servertest.Options{}, "demo", dir); got.Code != 0 {
		t.Fatalf("demo = %+v", got)
	}
	file := filepath.Join(dir, "real_plant", "metadata", "metadata.json")
	const older = `{"object": {"species": "Arabidopsis thaliana"}, "owner": "admin"}`
	if err := os.WriteFile(file, []byte(older), 0o644); err != nil {
		t.Fatal(err)
	}
	o := servertest.Options{Env: []string{"DATABASE_URL=" + pgtest.URL(t), "ROMI_DB=" + dir}}
	before := treeOf(t, dir)
	type told struct {
		DryRun   bool `json:"dry_run"`
		Migrated int
		Failed   int
		Scans    []struct {
			Scan     string
			Sections []string
		}
	}
	run := func(args ...string) (v told) {
		t.Helper()
		got := servertest.Run(t, o, append([]string{"migrate-metadata", "--json"}, args...)...)
		if err := json.Unmarshal([]byte(got.Stdout), &v); err != nil || got.Code != 0 {
			t.Fatalf("migrate-metadata %v = %+v, %v", args, got, err)
		}
		return v
	}
	dry := run("--dry-run", "--scan", "real_plant")
	if !dry.DryRun || dry.Migrated != 1 || len(dry.Scans) != 1 || dry.Scans[0].Scan != "real_plant" || len(dry.Scans[0].Sections) != 3 {
		t.Errorf("dry run = %+v, want one scan with three sections", dry)
	}
	if diff := cmp.Diff(before, treeOf(t, dir)); diff != "" {
		t.Errorf("a dry run changes the tree (-before +after):\n%s", diff)
	}
	if done := run(); done.Migrated < 1 || done.Failed != 0 {
		t.Errorf("migrate-metadata = %+v", done)
	}
	now, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(now), `"biologicalMaterial"`) || strings.Contains(string(now), `"object"`) {
		t.Errorf("metadata = %s, %v", now, err)
	}
	if kept, err := os.ReadFile(file + ".bak"); err != nil || string(kept) != older {
		t.Errorf("copy = %s, %v, want what was there", kept, err)
	}
	after := treeOf(t, dir)
	got := servertest.Run(t, o, "migrate-metadata")
	lines := strings.Split(strings.TrimSpace(got.Stdout), "\n")
	if last := lines[len(lines)-1]; got.Code != 0 || !strings.HasPrefix(last, "0 scans migrated, ") || !strings.HasSuffix(last, ", 0 failed") {
		t.Errorf("a second run = %+v, want 0 migrated", got)
	}
	if diff := cmp.Diff(after, treeOf(t, dir)); diff != "" {
		t.Errorf("a second run changes the tree (-before +after):\n%s", diff)
	}
	if got := servertest.Run(t, o, "migrate-metadata", "--scan", "nobody"); got.Code != 1 || !strings.Contains(got.Stderr, `there is no scan "nobody"`) {
		t.Errorf("of an unknown scan = %+v", got)
	}
	// One that cannot be read is said, and does not keep the others.
	if err := os.WriteFile(file, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	got = servertest.Run(t, o, "migrate-metadata")
	if got.Code != 1 || !slices.ContainsFunc(strings.Split(got.Stdout, "\n"), func(l string) bool {
		return strings.HasPrefix(l, "real_plant: left as it is: ")
	}) {
		t.Errorf("with a damaged scan = %+v", got)
	}
}
