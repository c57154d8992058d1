package scan

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/pgtest"
)

// What was uploaded and files.json does not list yet is no flaw, and is in a copy,
// listed, also where nobody who knows of journals opens it.
func TestCopyAndCheckOfAJournal(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	if err := upload(as(t, ann), f.Service, "s", "images", "fresh", ".jpg", "fresh", `{"n": 1}`); err != nil {
		t.Fatal(err)
	}
	if there, err := f.tree.Pending(fsdb.Loc{Scan: "s"}); !there || err != nil {
		t.Fatalf("Pending() = %t, %v, want a journal", there, err)
	}
	f.expectFound(t, "with a journal", CheckOptions{Digests: true, Repair: true})
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	none := func(fsdb.Copied) error { return nil }
	if err := f.CopyScans(as(t, actor.System()), []string{"s"}, fsdb.NewDirTarget(root), none); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".plantdb")); !os.IsNotExist(err) {
		t.Errorf("the copy of a scan has what is ours: %v", err)
	}
	copied := fixtureOn(t, pgtest.New(t), dir)
	copied.reconcile(t)
	copied.expect(t, "the copy", map[string]string{
		"s": "s ann public 3 22 sound images[00000_rgb=00000_rgb.jpg:11,00001_rgb=00001_rgb.jpg:6,fresh=fresh.jpg:5]",
	})
}

// What is taken out of the trash while the tree is copied is in the copy: its scan may
// have been copied before.
func TestCopyOfWhatComesOutOfTheTrash(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	if _, err := f.DeleteFile(as(t, ann), "s", "images", "00001_rgb", Match{}); err != nil {
		t.Fatal(err)
	}
	entry := must[[]TrashEntry](t)(f.Trash(as(t, ann), nil, 10))[0]
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	restored, told := false, map[string]int{}
	record := func(c fsdb.Copied) error {
		told[c.Path]++
		if restored || c.Path != "s/files.json" {
			return nil
		}
		restored = true
		_, err := f.Restore(as(t, ann), entry.ID, "")
		return err
	}
	if err := f.CopyAll(as(t, actor.System()), fsdb.NewDirTarget(root), record); err != nil || !restored {
		t.Fatalf("CopyAll() = %v, restored %t", err, restored)
	}
	found := 0
	for path, n := range told {
		if n != 1 {
			t.Errorf("%s is told %d times", path, n)
		}
		if content, err := root.ReadFile(path); err == nil && string(content) == "second" {
			found++
		}
	}
	if found != 1 {
		t.Errorf("the file is %d times in the copy, which has %v", found, told)
	}
}
