package fsdb

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPutRaw(t *testing.T) {
	t.Parallel()
	tree := newTree(t, legacy().under("s"), legacy().under("other"), files{"s/notes.txt": "old", "s/deep/x": "", "s/webcache/": ""})
	loc := Loc{Scan: "s"}
	for link, to := range map[string]string{"s/away": "../other", "s/link.txt": "../other/files.json"} {
		if err := os.Symlink(to, filepath.Join(tree.Dir(), link)); err != nil {
			t.Fatal(err)
		}
	}
	index := must[[]byte](t)(os.ReadFile(filepath.Join(tree.Dir(), "other", "files.json")))
	for _, rel := range []string{"notes.txt", "new.csv", "measures.json", "deep/x", "deep/er/and/deeper/y.bin", "link.txt", "a/files.json"} {
		was, err := tree.PutRaw(ctx, loc, rel, stage(t, tree, "new "+rel))
		if err != nil {
			t.Errorf("PutRaw(%s) = %v", rel, err)
			continue
		}
		was.Forget()
		f, info, err := tree.OpenPath(ctx, "s/"+rel)
		checkOpened(t, "OpenPath of "+rel, f, info, err, "new "+rel)
	}
	if now := must[[]byte](t)(os.ReadFile(filepath.Join(tree.Dir(), "other", "files.json"))); string(now) != string(index) {
		t.Errorf("what a link led to = %s, want it untouched", now)
	}
	long := strings.Repeat("a", 256)
	for rel, want := range map[string]error{
		"": ErrName, "/x": ErrName, "x/": ErrName, "../x": ErrName, "deep/../x": ErrName, "./x": ErrName, "a b": ErrName, ".hidden": ErrName,
		"deep/.hidden": ErrName, `a\b`: ErrName, "a\x00": ErrName, "é": ErrName, long: ErrName, "1/2/3/4/5/6/7/8/9": ErrName, ".plantdb.json": ErrName,
		"files.json": ErrReserved, "metadata/metadata.json": ErrReserved, "metadata": ErrReserved, "webcache/x": ErrReserved, "timelapse.json": ErrReserved,
		"users.json": ErrReserved, "images/00000_rgb.jpg": ErrReserved, "images/new.jpg": ErrReserved, "images": ErrReserved, "images/deep/x": ErrReserved,
		"deep": ErrFileExists, "notes.txt/x": ErrFileExists, "away/x": ErrFileExists, "away/metadata/metadata.json": ErrFileExists,
	} {
		content := stage(t, tree, "x")
		if _, err := tree.PutRaw(ctx, loc, rel, content); !errors.Is(err, want) {
			t.Errorf("PutRaw(%.40q) = %v, want %v", rel, err, want)
		}
		if err := content.Discard(); err != nil {
			t.Error(err)
		}
	}
	if _, err := tree.PutRaw(ctx, Loc{Scan: "none"}, "x", stage(t, tree, "x")); !errors.Is(err, ErrNotFound) {
		t.Errorf("PutRaw into no scan = %v, want ErrNotFound", err)
	}
	s := readScan(t, tree, loc)
	if s.Broken != "" {
		t.Errorf("the scan is broken afterwards: %s", s.Broken)
	}
}
