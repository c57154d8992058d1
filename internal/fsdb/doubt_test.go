package fsdb

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// Doubts are kept by scan until they are dropped or old, and one that was cut
// short is none.
func TestDoubts(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	paths := []string{"s", "s/images", "s/images/a", "s2", "other/images"}
	for i, p := range paths {
		if err := tree.NoteDoubt(Doubt{p, json.RawMessage(`"first"`)}); err != nil {
			t.Fatal(err)
		}
		if err := tree.NoteDoubt(Doubt{p, json.RawMessage(`[` + string(rune('0'+i)) + `]`)}); err != nil {
			t.Fatal(err)
		}
	}
	of := func(name string) (found []string) {
		t.Helper()
		all, err := tree.Doubts(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range all {
			found = append(found, d.Path+string(d.Note))
		}
		slices.Sort(found)
		return found
	}
	want := func(name string, want ...string) {
		t.Helper()
		if got := of(name); !slices.Equal(got, want) {
			t.Errorf("doubts of %s = %q, want %q", name, got, want)
		}
	}
	want("s", "s/images/a[2]", "s/images[1]", "s[0]")
	want("s2", "s2[3]")
	want("images")
	for range 2 { // a second time there is none
		if err := tree.DropDoubt("s/images"); err != nil {
			t.Fatal(err)
		}
	}
	want("s", "s/images/a[2]", "s[0]")

	at := func(p string) string { return filepath.Join(tree.Dir(), doubtFile(p)) }
	if err := os.Truncate(at("s"), 5); err != nil {
		t.Fatal(err)
	}
	want("s", "s/images/a[2]")
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(at("s/images/a"), old, old); err != nil {
		t.Fatal(err)
	}
	if n, err := tree.Sweep(t.Context(), time.Minute); n != 1 || err != nil {
		t.Errorf("Sweep() = %d, %v, want the old one removed", n, err)
	}
	want("s")
	want("s2", "s2[3]")
	want("other", "other/images[4]")
}
