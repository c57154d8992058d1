package fsdb

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// files are paths below a tree's root and what they hold; a path that ends in
// a slash is a directory.
type files map[string]string

func (f files) write(t testing.TB, root string) {
	t.Helper()
	for name, content := range f {
		full := filepath.Join(root, name)
		dir := filepath.Dir(full)
		if strings.HasSuffix(name, "/") {
			dir = full
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if dir == full {
			continue
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// under returns the files moved into a directory.
func (f files) under(dir string) files {
	moved := files{}
	for name, content := range f {
		moved[dir+"/"+name] = content
	}
	return moved
}

func newTree(t testing.TB, content ...files) *Tree {
	t.Helper()
	return openTree(t, t.TempDir(), content...)
}

// newTreeInMemory is newTree for who needs thousands of them and no disk.
func newTreeInMemory(t testing.TB, content ...files) *Tree {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "plantdb-fsdb-") //nolint:usetesting // Not where temporary files go.
	if err != nil {                                       // no such filesystem here
		return newTree(t, content...)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return openTree(t, dir, content...)
}

func openTree(t testing.TB, dir string, content ...files) *Tree {
	t.Helper()
	files{Marker: ""}.write(t, dir)
	tree, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, f := range content {
		f.write(t, tree.Dir())
	}
	return tree
}

// legacy is a scan as the scanner and the pipeline of old leave it.
func legacy() files {
	return files{
		"files.json": `{"filesets": [
			{"files": [{"file": "00000_rgb.jpg", "id": "00000_rgb"}, {"file": "00001_rgb.jpg", "id": "00001_rgb"}], "id": "images"},
			{"files": [{"file": "PointCloud.ply", "id": "PointCloud"}], "id": "PointCloud_1_0"}]}`,
		"metadata/metadata.json":         `{"owner": "ann", "object": {"species": "Arabidopsis"}}`,
		"metadata/images.json":           `{"workspace": {"x": [0, 1]}}`,
		"metadata/images/00000_rgb.json": `{"channel": "rgb", "n": NaN}`,
		"images/00000_rgb.jpg":           "first",
		"images/00001_rgb.jpg":           "second image",
		"images/extra.jpg":               "nobody lists me",
		"PointCloud_1_0/PointCloud.ply":  "ply",
		"measures.json":                  `{"angles": [1]}`,
		"pipeline.toml":                  "[Voxels]\n",
		"webcache/abc.jpeg":              "cached",
	}
}

// tell returns what a reader finds in a scan, one line a thing.
func tell(s *Scan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", s.Metadata)
	for _, fs := range s.Filesets {
		fmt.Fprintf(&b, "%s %s\n", fs.ID, fs.Metadata)
		for _, f := range fs.Files {
			fmt.Fprintf(&b, "%s/%s %s %d %s\n", fs.ID, f.ID, f.Name, f.Size, f.Metadata)
		}
	}
	if s.Broken != "" {
		fmt.Fprintf(&b, "broken: %s\n", s.Broken)
	}
	for _, w := range s.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	return b.String()
}

func readScan(t testing.TB, tree *Tree, loc Loc) *Scan {
	t.Helper()
	s, err := tree.ReadScan(context.Background(), loc)
	if err != nil {
		t.Fatalf("ReadScan(%v) = %v", loc, err)
	}
	return s
}

func stage(t testing.TB, tree *Tree, content string) *Staged {
	t.Helper()
	s, err := tree.Stage(context.Background(), strings.NewReader(content), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// must fails the test for an error and hands the value on.
func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func object(s string) json.RawMessage { return json.RawMessage(s) }

// staged returns what lies in the staging directory.
func staged(t testing.TB, tree *Tree) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(tree.Dir(), stagingDir))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// entriesOf is all that List says, and Look of each: the timelapses first.
func entriesOf(t testing.TB, tree *Tree) []Entry {
	t.Helper()
	list, err := tree.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	all := slices.Clone(list.Timelapses())
	for first, others := range list.Scans() {
		for _, e := range append([]Entry{first}, others...) {
			all = append(all, tree.Look(e))
		}
	}
	return all
}
