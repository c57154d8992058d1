package fsdb

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watch is a watcher whose every word is held against what was done.
type watch struct {
	*Watcher
	before []string // may still be told, for one write is several events
}

// watchTree watches a tree and what List says of it; the first Take is done.
func watchTree(t *testing.T, tree *Tree, limit int) *watch {
	t.Helper()
	w := must[*Watcher](t)(tree.Watch(limit))
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	w.Follow(must[*Listing](t)(tree.List(t.Context())))
	<-w.Changed()
	if !w.Take().All {
		t.Error("at first not everything counts as touched")
	}
	return &watch{Watcher: w}
}

// seen takes until it was told all that is wanted, in the form of told, and
// fails if it is told of a scan that nobody touched.
func seen(t *testing.T, w *watch, step string, want ...string) {
	t.Helper()
	all := map[string]bool{}
	missing := func() bool {
		return slices.ContainsFunc(want, func(s string) bool { return !all[s] })
	}
	for missing() {
		select {
		case <-w.Changed():
			for _, s := range told(w.Take()) {
				all[s] = true
			}
		case <-t.Context().Done():
			t.Fatalf("%s: told %v, want %v", step, slices.Sorted(maps.Keys(all)), want)
		}
	}
	for s := range all {
		if !slices.Contains(want, s) && !slices.Contains(w.before, s) {
			t.Errorf("%s: told %q as well as %v", step, s, want)
		}
	}
	w.before = want
}

func told(t Touched) (list []string) {
	if t.All {
		return []string{"all"}
	}
	for _, loc := range t.Scans {
		list = append(list, loc.Dir())
	}
	for _, id := range t.Timelapses {
		list = append(list, "timelapse "+id)
	}
	for _, name := range t.Unlocked {
		list = append(list, "lock "+name)
	}
	return list
}

func put(t *testing.T, tree *Tree, name, content string) {
	t.Helper()
	files{name: content}.write(t, tree.Dir())
}

// followed has the watcher follow the tree as it is, once it knows all that was
// done: a change in a scan that is watched is told after what came before it.
func followed(t *testing.T, w *watch, tree *Tree, scan string) {
	t.Helper()
	for n := 0; ; n++ {
		w.Follow(must[*Listing](t)(tree.List(t.Context())))
		put(t, tree, scan+"/metadata/metadata.json", fmt.Sprintf(`{"followed": %d}`, n))
		select {
		case <-w.Changed():
		case <-t.Context().Done():
			t.Fatalf("%s was changed, and nothing told", scan)
		}
		if slices.Contains(told(w.Take()), scan) {
			w.before = []string{scan} // one write is several events
			return
		}
	}
}

func renameIn(t *testing.T, tree *Tree, from, to string) {
	t.Helper()
	if err := os.Rename(filepath.Join(tree.Dir(), from), filepath.Join(tree.Dir(), to)); err != nil {
		t.Fatal(err)
	}
}

// smallScan is a scan with one file.
func smallScan(dir string) files {
	return files{
		dir + "/files.json":             `{"filesets": [{"id": "images", "files": [{"id": "a", "file": "a.jpg"}]}]}`,
		dir + "/metadata/metadata.json": `{}`,
		dir + "/metadata/images/a.json": `{}`,
		dir + "/images/a.jpg":           "a",
	}
}

// Every change of the tree that shows in a directory that is watched names the
// scan, also where it was made, moved or replaced while it was watched.
func TestWatch(t *testing.T) {
	t.Parallel()
	tree := newTree(t, smallScan("a"), smallScan("b"), smallScan("tl/c"), files{"tl/timelapse.json": "{}", "configs/x.toml": "", "gone/": ""})
	w := watchTree(t, tree, 1000)
	if s := w.State(); s.Directories != 9 || s.Scans != 4 || s.Unwatched != 0 || s.Why != "" {
		t.Errorf("State() = %+v, want 4 scans, one without metadata, root and timelapse", s)
	}

	put(t, tree, "a/files.json", `{"filesets": []}`)
	seen(t, w, "written in place", "a")
	put(t, tree, "b/metadata/metadata.json", `{"x": 1}`)
	seen(t, w, "metadata", "b")
	put(t, tree, "tl/c/metadata/images.json", `{"x": 1}`)
	seen(t, w, "metadata of a fileset in a timelapse", "tl/c")
	put(t, tree, "tl/timelapse.json", `{"id": "tl"}`)
	seen(t, w, "marker", "timelapse tl")
	put(t, tree, "a/.plantdb.json", `{}`)
	seen(t, w, "visibility", "a")

	// What is not looked at says nothing: the next change is told alone.
	for _, name := range []string{"users.json", "configs/y.toml", "a/images/b.jpg", "a/metadata/images/a.json", "a/.hidden", "a/metadata/.tmp", ".plantdb/x", "b/notes.txt"} {
		put(t, tree, name, "old")
	}
	seen(t, w, "made", "b")
	for _, name := range []string{"users.json", "configs/y.toml", "a/images/b.jpg", "a/metadata/images/a.json", "a/.hidden", "a/metadata/.tmp", ".plantdb/x", "b/notes.txt"} {
		put(t, tree, name, "new")
	}
	put(t, tree, "tl/c/scan.toml", "")
	seen(t, w, "only the last", "tl/c")

	smallScan("new").write(t, tree.Dir())
	seen(t, w, "made", "new")
	put(t, tree, "new/metadata/metadata.json", `{"x": 1}`)
	seen(t, w, "in the metadata of a new scan", "new")
	renameIn(t, tree, "new", "tl/newer")
	seen(t, w, "moved", "new", "tl/newer")
	put(t, tree, "tl/newer/metadata/metadata.json", `{}`)
	seen(t, w, "in the metadata of a moved scan", "tl/newer")
	renameIn(t, tree, "tl/newer/metadata", "tl/newer/.old")
	put(t, tree, "tl/newer/metadata/metadata.json", `{}`)
	seen(t, w, "metadata made anew", "tl/newer")
	put(t, tree, "tl/newer/metadata/metadata.json", `{"x": 2}`)
	seen(t, w, "in metadata made anew", "tl/newer")

	for _, dir := range []string{"a", "gone"} {
		if err := os.RemoveAll(filepath.Join(tree.Dir(), dir)); err != nil {
			t.Fatal(err)
		}
		seen(t, w, "removed", dir)
	}
	smallScan("a").write(t, tree.Dir())
	seen(t, w, "there again", "a")
	put(t, tree, "a/metadata/metadata.json", `{"x": 1}`)
	seen(t, w, "in one that is there again", "a")

	renameIn(t, tree, "tl", "lt")
	seen(t, w, "timelapse renamed", "all")
	followed(t, w, tree, "b")
	put(t, tree, "lt/c/metadata/metadata.json", `{"x": 1}`)
	seen(t, w, "in a timelapse that was renamed", "lt/c")
	put(t, tree, "b/timelapse.json", "{}")
	seen(t, w, "a scan becomes a timelapse", "all")
	followed(t, w, tree, "lt/c")
	smallScan("b/x").write(t, tree.Dir())
	seen(t, w, "a scan in it", "b/x")
	if err := os.Remove(filepath.Join(tree.Dir(), "b/timelapse.json")); err != nil {
		t.Fatal(err)
	}
	seen(t, w, "no timelapse any more", "all")
}

// A program that takes upstream's locks is seen when it lets go, whatever it wrote.
// TestWatchNewTimelapse moves a scan into a timelapse that was listed and is not
// watched yet: no event of the system tells of it.
func TestWatchNewTimelapse(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	for _, dir := range []string{"s/metadata", "tl/old/metadata"} {
		if err := os.MkdirAll(filepath.Join(tree.Dir(), dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(tree.Dir(), "tl/timelapse.json"), []byte(`{"id": "tl"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	w := must[*Watcher](t)(tree.Watch(100))
	defer func() { _ = w.Close() }()
	<-w.Changed()
	w.Take()
	list := must[*Listing](t)(tree.List(t.Context()))
	if err := os.Rename(filepath.Join(tree.Dir(), "s"), filepath.Join(tree.Dir(), "tl/s")); err != nil {
		t.Fatal(err)
	}
	w.Follow(list)
	want := Loc{Timelapse: "tl", Scan: "s"}
	for came := false; !came; {
		select {
		case <-w.Changed():
			got := w.Take()
			came = slices.Contains(got.Scans, want)
			if slices.Contains(got.Scans, Loc{Timelapse: "tl", Scan: "old"}) {
				t.Errorf("told %v, which was there when it was listed", got.Scans)
			}
		case <-t.Context().Done():
			t.Fatalf("nobody told of %v", want)
		}
	}
	if err := os.WriteFile(filepath.Join(tree.Dir(), "tl/s/files.json"), []byte(`{"filesets": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for changed := false; !changed; {
		select {
		case <-w.Changed():
			changed = slices.Contains(w.Take().Scans, want)
		case <-t.Context().Done():
			t.Fatalf("%v is not watched", want)
		}
	}
}

func TestWatchLocks(t *testing.T) {
	t.Parallel()
	tree := newTree(t, smallScan("a_b"))
	w := watchTree(t, tree, 1000)
	lock := filepath.Join(tree.Dir(), ".locks", "a_b_images_x.lock")
	for _, step := range []string{"the directory is new", "it is not"} {
		files{".locks/": ""}.write(t, tree.Dir())
		// As long as the directory is not watched, nobody knows of its locks.
		for w.State().Directories != 4 {
			if t.Context().Err() != nil {
				t.Fatal("the directory of locks is not watched")
			}
		}
		if err := os.WriteFile(lock, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(lock); err != nil {
			t.Fatal(err)
		}
		var got []string
		for !slices.Contains(got, "lock a_b") {
			select {
			case <-w.Changed():
				got = append(got, told(w.Take())...)
			case <-t.Context().Done():
				t.Fatalf("%s: told %v", step, got)
			}
		}
		for _, name := range got {
			if !slices.Contains([]string{"lock a", "lock a_b", "lock a_b_images", "lock a_b_images_x"}, name) {
				t.Errorf("%s: told %q", step, name)
			}
		}
	}
}

// With less room than scans, those that changed last are watched.
func TestWatchLimit(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	for i := range 10 {
		smallScan(fmt.Sprint("s", i)).write(t, tree.Dir())
	}
	w := watchTree(t, tree, 8) // one for timelapses, root and locks, two scans
	if s := w.State(); s.Scans != 2 || s.Directories != 5 || s.Unwatched != 8 || s.Why != "the settings allow no more" {
		t.Errorf("State() = %+v, want two scans of ten", s)
	}
	put(t, tree, "s9/files.json", "{}")
	put(t, tree, "s0/files.json", "{}")
	seen(t, w, "unwatched, watched", "s0")
	w.Prefer(Loc{Scan: "s9"})
	put(t, tree, "s1/files.json", "{}") // has made room
	put(t, tree, "s9/files.json", "{}")
	seen(t, w, "preferred", "s9")
	smallScan("new").write(t, tree.Dir())
	seen(t, w, "new", "new")
	put(t, tree, "new/files.json", "{}")
	seen(t, w, "a new one takes the place of the oldest", "new")
	put(t, tree, "s0/files.json", "{}")
	put(t, tree, "s9/metadata/metadata.json", "{}")
	seen(t, w, "which is no longer watched", "s9")
	if s := w.State(); s.Scans != 2 || s.Directories != 5 {
		t.Errorf("State() = %+v, want no more than at first", s)
	}
}

// What was lost makes everything count as touched, and the next Follow watches
// again what was replaced meanwhile.
func TestWatchOverflow(t *testing.T) {
	t.Parallel()
	tree := newTree(t, smallScan("a"))
	w := watchTree(t, tree, 1000)
	// The events of this are not told, as after an overflow of the system's queue.
	w.mu.Lock()
	renameIn(t, tree, "a/metadata", "a/.old")
	put(t, tree, "a/metadata/metadata.json", "{}")
	w.dirs = map[string]watchedDir{}
	w.mu.Unlock()
	w.lose()
	seen(t, w, "overflow", "all")
	if s := w.State(); s.Overflows != 1 {
		t.Errorf("State() = %+v, want one overflow", s)
	}
	w.mu.Lock()
	w.dirs[w.root] = watchedDir{kind: treeDir}
	w.mu.Unlock()
	w.Follow(must[*Listing](t)(tree.List(t.Context())))
	w.Take()
	put(t, tree, "a/metadata/metadata.json", `{"x": 1}`)
	seen(t, w, "after it", "a")
}

// More than anybody wants to name is everything.
func TestWatchTooMuch(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	w := watchTree(t, tree, 1000)
	for i := range maxTouched + 1 {
		w.mu.Lock()
		w.touch(Loc{Scan: fmt.Sprint(i)})
		w.mu.Unlock()
	}
	<-w.Changed()
	if got := w.Take(); !got.All || len(got.Scans) > 0 {
		t.Errorf("Take() = all %v and %d scans, want all", got.All, len(got.Scans))
	}
	if got := w.Take(); got.All || len(got.Scans) > 0 {
		t.Errorf("Take() again = %+v, want nothing", got)
	}
}

// Find says of each place what List and Look say of it.
func TestFind(t *testing.T) {
	t.Parallel()
	tree := newTree(t, smallScan("a"), smallScan("tl/c"), files{
		"tl/timelapse.json": "{}", "tl/empty/": "", "empty/": "", "configs/x.toml": "", "a file": "", ".hidden/files.json": "", "tl/configs/x": "",
	})
	for link, to := range map[string]string{"link": "a", "dangling": "nothing", "filelink": "a file"} {
		if err := os.Symlink(to, filepath.Join(tree.Dir(), link)); err != nil {
			t.Fatal(err)
		}
	}
	want := map[Loc]Entry{}
	for _, e := range entriesOf(t, tree) {
		if !e.Timelapse {
			want[e.Loc] = e
		}
	}
	for _, loc := range []Loc{
		{"", "a"}, {"tl", "c"}, {"tl", "empty"}, {"", "empty"}, {"", "link"}, {"", "dangling"}, // these are
		{"", "filelink"}, {"", "configs"}, {"tl", "configs"}, {"", "a file"}, {"", ".hidden"}, {"", "tl"}, {"", "absent"}, {"a", "images"},
		{"absent", "x"}, {"", ""}, {"", "../a"}, {"a file", "x"}, {"tl", "timelapse.json"},
	} {
		e, err := tree.Find(t.Context(), loc)
		if there, ok := want[loc]; cmp.Compare(e.Broken, there.Broken) != 0 || e.Loc != there.Loc || (err == nil) != ok {
			t.Errorf("Find(%+v) = %+v, %v, want %+v, %v", loc, e, err, there, ok)
		}
		delete(want, loc)
	}
	if len(want) > 0 {
		t.Errorf("not asked for: %v", want)
	}
}

// TestWatchMovedAndRemoved has scans go as a write that is taken back, or a
// purge, makes them go: out of the tree and off the disk at once. fsnotify then
// fails to end the watch of what is gone, and wants its error heard while it
// keeps everybody from its watches.
func TestWatchMovedAndRemoved(t *testing.T) {
	t.Parallel()
	const scans = 20
	tree := newTree(t, smallScan("stays"), files{".aside/is": "hidden"})
	w := watchTree(t, tree, 1000)
	for range 30 {
		for n := range scans {
			smallScan(fmt.Sprintf("scan%d", n)).write(t, tree.Dir())
		}
		followed(t, w, tree, "stays")
		if s := w.State(); s.Scans != scans+1 {
			t.Fatalf("State() = %+v, want %d scans", s, scans+1)
		}
		var group errgroup.Group
		for n := range scans {
			group.Go(func() error {
				scan := fmt.Sprintf("scan%d", n)
				aside := filepath.Join(tree.Dir(), ".aside", scan)
				return errors.Join(os.Rename(filepath.Join(tree.Dir(), scan), aside), os.RemoveAll(aside))
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		followed(t, w, tree, "stays")
	}
	if s := w.State(); s.Overflows != 0 || s.Scans != 1 {
		t.Errorf("State() = %+v, want one scan and no overflow", s)
	}
}

// A tree that is moved away and back is watched again by the next Follow.
func TestWatchRootMoved(t *testing.T) {
	t.Parallel()
	tree := must[*Tree](t)(Create(filepath.Join(t.TempDir(), "tree")))
	defer tree.Close()
	smallScan("s").write(t, tree.Dir())
	w := watchTree(t, tree, 100)
	for _, step := range []string{"is away", "is back"} {
		if step == "is away" {
			if err := os.Rename(tree.Dir(), tree.Dir()+".away"); err != nil {
				t.Fatal(err)
			}
			seen(t, w, "the tree "+step, "all")
		} else if err := os.Rename(tree.Dir()+".away", tree.Dir()); err != nil {
			t.Fatal(err)
		}
		w.Follow(must[*Listing](t)(tree.List(t.Context()))) // it is open, wherever it is
	}
	seen(t, w, "the tree is back", "all")
	smallScan("new").write(t, tree.Dir())
	seen(t, w, "a new scan", "new")
}
