package fsdb

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestScanDir(t *testing.T) {
	t.Parallel()
	tree := newTree(t, legacy().under("scan"), legacy().under("series/member"), files{
		"series/timelapse.json": "{}", "scan/notes/a/b.txt": "deep", "scan/.hidden": "x", "scan/.git/config": "x", "scan/users.json": "{}",
		"scan/notes/webcache/kept.txt": "only the scan's own is a cache", "scan/bad\xff.txt": "x", "outside.txt": "secret",
	})
	links := map[string]string{"inside.txt": "notes/a/b.txt", "outside.txt": "../outside.txt", "notes/dir": "a", "dangling": "nowhere"}
	for name, to := range links {
		if err := os.Symlink(to, filepath.Join(tree.Dir(), "scan", name)); err != nil {
			t.Fatal(err)
		}
	}
	dir := must[*ScanDir](t)(tree.OpenScanDir(t.Context(), Loc{Scan: "scan"}))
	defer dir.Close() // Only read.
	names := must[[]string](t)(dir.Files(t.Context()))
	want := []string{
		"PointCloud_1_0/PointCloud.ply", "files.json", "images/00000_rgb.jpg", "images/00001_rgb.jpg", "images/extra.jpg", "inside.txt", "measures.json",
		"metadata/images.json", "metadata/images/00000_rgb.json", "metadata/metadata.json", "notes/a/b.txt", "notes/webcache/kept.txt", "pipeline.toml",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("Files: (-want +got)\n%s", diff)
	}
	f, info, err := dir.Open("inside.txt")
	if err != nil {
		t.Fatalf("Open(inside.txt) = %v", err)
	}
	defer f.Close() // Only read.
	if content, err := io.ReadAll(f); string(content) != "deep" || err != nil || info.Size() != 4 {
		t.Errorf("inside.txt = %q, %d bytes, %v, want deep", content, info.Size(), err)
	}
	for _, name := range []string{"outside.txt", "../outside.txt", "dangling", "images", "nope", "/etc/passwd", ""} {
		if f, _, err := dir.Open(name); !errors.Is(err, ErrNotFound) {
			t.Errorf("Open(%q) = %v, %v, want ErrNotFound", name, f, err)
		}
	}
	member := must[*ScanDir](t)(tree.OpenScanDir(t.Context(), Loc{Timelapse: "series", Scan: "member"}))
	if names := must[[]string](t)(member.Files(t.Context())); len(names) != 10 {
		t.Errorf("Files of a scan in a timelapse = %q, want 10", names)
	}
	if err := member.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
}

// An opener opens what ScanDir.Open does, also where the directory that it holds
// does not lead there.
func TestOpener(t *testing.T) {
	t.Parallel()
	tree := newTree(t, legacy().under("scan"), files{"scan/notes/a/b.txt": "deep", "scan/notes/c.txt": "flat", "outside.txt": "secret"})
	for name, to := range map[string]string{
		"notes/across.txt": "../measures.json", "notes/a/up.txt": "../c.txt", "notes/out.txt": "../../outside.txt", "notes/dir": "a", "away": "..",
	} {
		if err := os.Symlink(to, filepath.Join(tree.Dir(), "scan", name)); err != nil {
			t.Fatal(err)
		}
	}
	dir := must[*ScanDir](t)(tree.OpenScanDir(t.Context(), Loc{Scan: "scan"}))
	defer dir.Close() // Only read.
	opener := dir.Opener()
	names := append(must[[]string](t)(dir.Files(t.Context())),
		"notes/dir/b.txt", "notes/out.txt", "notes/dir/nope", "away/outside.txt", "away/scan/measures.json", "notes/a/../c.txt", "notes/../../outside.txt",
		"nope/a", "nope/b", "images/", "/etc/passwd", "../outside.txt", "", "measures.json")
	opened := 0
	for _, name := range names {
		a, of, want := dir.Open(name)
		b, info, err := opener.Open(name)
		if (want == nil) != (err == nil) || want != nil && !errors.Is(err, ErrNotFound) {
			t.Errorf("Open(%q) = %v, want %v", name, err, want)
			continue
		}
		if want != nil {
			continue
		}
		opened++
		if !os.SameFile(of, info) {
			t.Errorf("Open(%q) is %q, want %q", name, b.Name(), a.Name())
		}
		if err := errors.Join(a.Close(), b.Close()); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	if opened < 12 {
		t.Errorf("%d of %q are there, want a dozen", opened, names)
	}
	if err := opener.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
}

func TestScanDirRefuses(t *testing.T) {
	t.Parallel()
	tree := newTree(t, legacy().under("scan"), files{"scan/" + strings.Repeat("d/", maxScanDepth) + "deep.txt": "x"})
	if err := os.Symlink("scan", filepath.Join(tree.Dir(), "linked")); err != nil {
		t.Fatal(err)
	}
	for _, loc := range []Loc{{Scan: "nope"}, {Scan: "linked"}, {Scan: "../x"}, {Timelapse: "nope", Scan: "scan"}, {}} {
		if _, err := tree.OpenScanDir(t.Context(), loc); !errors.Is(err, ErrNotFound) {
			t.Errorf("OpenScanDir(%v) = %v, want ErrNotFound", loc, err)
		}
	}
	dir := must[*ScanDir](t)(tree.OpenScanDir(t.Context(), Loc{Scan: "scan"}))
	defer dir.Close() // Only read.
	if _, err := dir.Files(t.Context()); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Files of a deep scan = %v, want ErrTooLarge", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := dir.Files(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Files = %v, want context.Canceled", err)
	}
	if _, err := tree.OpenScanDir(ctx, Loc{Scan: "scan"}); !errors.Is(err, context.Canceled) {
		t.Errorf("OpenScanDir = %v, want context.Canceled", err)
	}
}
