package fsdb

import (
	"os"
	"path/filepath"
	"testing"
)

// Whatever name is allowed is one visible path element, with room for the
// metadata beside it, that stays readable and is not one of the tree's own.
func FuzzCheckName(f *testing.F) {
	for _, seed := range []string{"real_plant", "0.7-a", "..", ".locks", "a/b", "romidb", "info", "metadata", "a.json", "\x00", "é", ""} {
		for kind := ScanName; kind <= FileName; kind++ {
			f.Add(int(kind), seed)
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, kind int, id string) {
		k := NameKind(uint(kind) % uint(FileName+1))
		if CheckName(k, id) != nil {
			return
		}
		if id != filepath.Base(id) || !filepath.IsLocal(id) || id[0] == '.' || !readable(id) {
			t.Fatalf("CheckName(%v, %q) = nil, and it is no visible element of a path", k, id)
		}
		at := filepath.Join(dir, id)
		if k == FilesetName || k == FileName {
			at += ".json"
		}
		if err := os.Mkdir(at, 0o700); err != nil {
			t.Fatalf("CheckName(%v, %q) = nil, and the disk cannot hold it: %v", k, id, err)
		}
		if err := os.Remove(at); err != nil {
			t.Fatal(err)
		}
	})
}
