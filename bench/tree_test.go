package main

import (
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/romi/plantdb-go/internal/fsdb"
)

// What is grown has to be what the server takes for sound scans, or the
// figures would be of something else.
func TestGrowTree(t *testing.T) {
	t.Parallel()
	const scans, images = 3, 4
	root := filepath.Join(t.TempDir(), "tree")
	if err := growTree(t.Context(), root, scans, images); err != nil {
		t.Fatalf("growTree() = %v", err)
	}
	if _, err := growWide(root); err != nil {
		t.Fatalf("growWide() = %v", err)
	}
	tree, err := fsdb.Open(root)
	if err != nil {
		t.Fatalf("Open() = %v", err)
	}
	defer func() { _ = tree.Close() }() // only read
	list, err := tree.List(t.Context())
	if err != nil || list.IDs() != scans+1 {
		t.Fatalf("List() = %v, %v, want %d scans", list, err, scans+1)
	}
	for e := range list.Scans() {
		if e = tree.Look(e); e.Broken != "" {
			t.Errorf("scan %s is broken: %s", e.Loc.Dir(), e.Broken)
		}
	}
	var files atomic.Int64
	err = walkTree(t.Context(), root, func(string, fs.DirEntry) error { files.Add(1); return nil })
	// files.json, two of metadata, and two files an image.
	if want := int64(scans*(3+2*images) + 1 + 3 + 2*wideImages + wideFilesets); err != nil || files.Load() != want {
		t.Errorf("walkTree visited %d files, %v, want %d", files.Load(), err, want)
	}
}
