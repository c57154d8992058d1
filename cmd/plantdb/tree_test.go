package main_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// treeOf returns every file of a tree with a digest of its bytes, and every
// directory. What the server keeps for itself in .plantdb is left out, but for
// the staging directory: something there was half-written.
func treeOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		rest, own := strings.CutPrefix(path, ".plantdb")
		switch {
		case errors.Is(err, fs.ErrNotExist): // it went while we looked
			return nil
		case err != nil:
			return err
		case own && rest == "" || own && rest == "/staging":
			return nil
		case path == ".locks": // file locks, which come with each write
			return fs.SkipDir
		case own && !strings.HasPrefix(rest, "/staging/"):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			files[path+"/"] = "directory"
			return nil
		}
		content, err := os.ReadFile(filepath.Join(dir, path))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		files[path] = fmt.Sprintf("%x", sha256.Sum256(content))
		return err
	})
	if err != nil {
		t.Fatalf("look through %s: %v", dir, err)
	}
	delete(files, "./")
	return files
}
