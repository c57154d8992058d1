package fsdb

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// growing is a target beside which somebody writes to each file that is copied.
type growing struct {
	*DirTarget
	tree string
}

func (g growing) put(ctx context.Context, name string, from *os.File, info fs.FileInfo) (size int64, sum [sha256.Size]byte, err error) {
	f, err := os.OpenFile(filepath.Join(g.tree, name), os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.WriteString(", more")
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return 0, sum, err
	}
	return g.DirTarget.put(ctx, name, from, info)
}

func copyInto(t *testing.T) (*os.Root, *DirTarget) {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root, NewDirTarget(root)
}

// What is told of a file is what was copied, also where it grows meanwhile, as that
// of an upload in pieces does, which nobody holds.
func TestCopyOfWhatGrows(t *testing.T) {
	t.Parallel()
	tree := newTree(t, files{".plantdb/uploads/u": "some"})
	root, to := copyInto(t)
	var told []Copied
	record := func(f Copied) error { told = append(told, f); return nil }
	if err := tree.CopyOurs(ctx, growing{to, tree.Dir()}, record, nil); err != nil {
		t.Fatal(err)
	}
	if len(told) != 1 || told[0].Path != ".plantdb/uploads/u" {
		t.Fatalf("copied %+v", told)
	}
	if err := RestoreCopy(ctx, root, nil, told[0]); err != nil {
		t.Errorf("RestoreCopy() of what was told as %d bytes = %v", told[0].Size, err)
	}
}

// A scan that goes while it is copied leaves no directory, which would be a damaged
// scan in the copy.
func TestCopyOfWhatGoes(t *testing.T) {
	t.Parallel()
	tree := newTree(t, files{"s/files.json": `{"filesets": []}`, "s/metadata/metadata.json": "{}", "s/images/": "", "t/files.json": `{"filesets": []}`})
	root, to := copyInto(t)
	for _, scan := range []string{"s", "t"} {
		hold := func(fn func() error) error {
			return errors.Join(os.RemoveAll(filepath.Join(tree.Dir(), "s")), fn())
		}
		if err := tree.Copy(ctx, Unit{Dir: scan}, to, hold, func(Copied) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(map[string]string{"t/": "", "t/files.json": `{"filesets": []}`}, withDirs(t, root.Name())); diff != "" {
		t.Errorf("the copy (-want +got):\n%s", diff)
	}
}

// withDirs is below, with directories.
func withDirs(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := below(t, dir)
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, name); err == nil && e.IsDir() && rel != "." {
			all[rel+"/"] = ""
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
