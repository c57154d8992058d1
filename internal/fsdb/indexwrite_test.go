package fsdb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// pythonDisk is a disk beside which a Python program writes files.json in place,
// from what it has in memory, at the worst moment.
type pythonDisk struct {
	rootDisk
	t *testing.T
	// when says at which change of files.json it writes: once it was read and
	// before it is replaced, or into the one that is replaced just then.
	late bool
	left int // how often it writes
	n    int // how often it wrote
}

// list is the whole files.json as the program knows it.
func (d *pythonDisk) list() []byte {
	d.n++
	return []byte(`{"filesets":[{"id":"images","files":[{"id":"a","file":"a.txt"},{"id":"py` + fmt.Sprint(d.n) + `","file":"py.txt"}]}]}`)
}

func (d *pythonDisk) create(name string) (file, error) {
	if !d.late && d.left > 0 && strings.HasPrefix(name, stagingDir) {
		d.left--
		must[struct{}](d.t)(struct{}{}, os.WriteFile(filepath.Join(d.root.Name(), "s", indexFile), d.list(), 0o644))
	}
	return d.rootDisk.create(name)
}

func (d *pythonDisk) rename(from, to string) error {
	if !d.late || d.left == 0 || filepath.Base(to) != indexFile {
		return d.rootDisk.rename(from, to)
	}
	d.left--
	// open("w") empties it; what the program writes comes afterwards.
	f := must[*os.File](d.t)(os.OpenFile(filepath.Join(d.root.Name(), to), os.O_WRONLY|os.O_TRUNC, 0))
	if err := d.rootDisk.rename(from, to); err != nil {
		d.t.Error(err)
	}
	_, err := f.Write(d.list())
	return errors.Join(err, f.Close())
}

// TestPythonWritesFilesJSON has a Python program write files.json whenever one of
// our calls changes it: both lists are there in the end.
func TestPythonWritesFilesJSON(t *testing.T) {
	t.Parallel()
	loc := Loc{Scan: "s"}
	const kept = `images: a py%d`
	for name, call := range map[string]struct {
		do   func(t *testing.T, tree *Tree) error
		want string
	}{
		"CreateFileset": {func(_ *testing.T, tree *Tree) error {
			return tree.CreateFileset(ctx, loc, "masks", object("{}"))
		}, kept + "\nmasks:"},
		"Fold": {func(_ *testing.T, tree *Tree) error { return tree.Fold(ctx, loc) }, kept + " b"},
		"ListExtra": {func(_ *testing.T, tree *Tree) error {
			_, err := tree.ListExtra(ctx, loc, "images", []string{"extra.txt"})
			return err
		}, kept + " b extra"},
		"Trash of a file": {func(_ *testing.T, tree *Tree) error {
			return tree.Trash(ctx, Trashed{ID: "t", Kind: TrashFile, Scan: "s", Fileset: "images", File: "a"})
		}, "images: py%d b"},
		"RestoreTrash": {func(_ *testing.T, tree *Tree) error {
			return tree.RestoreTrash(ctx, *must[*Trashed](t)(tree.TrashEntry("old")))
		}, kept + " b\nold:"},
	} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprint(name, late), func(t *testing.T) {
				t.Parallel()
				tree := newTree(t, images(), files{"old/": "", "images/a.txt": "a", "images/py.txt": "py", "images/extra.txt": "x"}.under("s"), files{
					"s/files.json": `{"filesets":[{"id":"images","files":[{"id":"a","file":"a.txt"}]},{"id":"old","files":[]}]}`,
				})
				err := tree.Trash(ctx, Trashed{ID: "old", Kind: TrashFileset, Scan: "s", Fileset: "old"})
				if err := errors.Join(err, adds(tree, t, "b", "b")); err != nil {
					t.Fatal(err)
				}
				if name != "Fold" {
					// The fold of its own would be what Python disturbs.
					if err := tree.Fold(ctx, loc); err != nil {
						t.Fatal(err)
					}
				}
				python := &pythonDisk{rootDisk: rootDisk{tree.root}, t: t, late: late, left: 2}
				tree.disk = python
				if err := call.do(t, tree); err != nil {
					t.Fatal(err)
				}
				want := call.want
				if name != "Fold" { // Python never knew b.
					want = strings.ReplaceAll(want, " b", "")
				}
				if strings.Contains(want, "%d") {
					want = fmt.Sprintf(want, python.n)
				}
				if got := listing(t, tree, loc); got != want || python.n != 2 {
					t.Errorf("after %d writes of Python files.json lists\n%s\nwant\n%s", python.n, got, want)
				}
				if staged, err := os.ReadDir(filepath.Join(tree.Dir(), stagingDir)); err != nil || len(staged) > 0 {
					t.Errorf("staging holds %v, %v", staged, err)
				}
			})
		}
	}
}

// TestPythonNeverStops has a program that writes files.json whenever it was
// read: the call is refused and leaves nothing.
func TestPythonNeverStops(t *testing.T) {
	t.Parallel()
	tree := newTree(t, images())
	tree.disk = &pythonDisk{rootDisk: rootDisk{tree.root}, t: t, left: 1000}
	if err := tree.CreateFileset(ctx, Loc{Scan: "s"}, "masks", object("{}")); !errors.Is(err, ErrLocked) {
		t.Errorf("CreateFileset() = %v, want ErrLocked", err)
	}
	for _, name := range []string{"s/masks", "s/metadata/masks.json"} {
		if there, err := tree.exists(name); err != nil || there {
			t.Errorf("%s is there: %v, %v", name, there, err)
		}
	}
}

// listing is what files.json lists of a scan, by name of the fileset.
func listing(t *testing.T, tree *Tree, loc Loc) string {
	t.Helper()
	x, err := parseIndex(must[[]byte](t)(os.ReadFile(filepath.Join(tree.Dir(), loc.Dir(), indexFile))))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range x.filesets {
		line := e.id + ":"
		for _, f := range e.files {
			line += " " + f.id
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestTornFilesJSON has a program write a file in two halves: who reads meanwhile
// waits for the second, and takes the damage for what it is if none comes.
func TestTornFilesJSON(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"s/files.json", "s/metadata/metadata.json", "s/metadata/images.json"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := newTree(t, images(), files{"s/metadata/metadata.json": `{"n": 1}`, "s/metadata/images.json": `{"n": 1}`})
			whole := must[[]byte](t)(os.ReadFile(filepath.Join(tree.Dir(), name)))
			files{name: ""}.write(t, tree.Dir())
			tree.patience = 5 * time.Minute
			second := time.AfterFunc(50*time.Millisecond, func() { files{name: string(whole)}.write(t, tree.Dir()) })
			s := readScan(t, tree, Loc{Scan: "s"})
			if s.Broken != "" || len(s.Warnings) > 0 || len(s.Filesets) != 1 || string(s.Metadata) != `{"n":1}` || string(s.Filesets[0].Metadata) != `{"n":1}` {
				t.Errorf("ReadScan() = %+v", s)
			}
			second.Stop()
			tree.patience = tornTime
			files{name: ""}.write(t, tree.Dir())
			if s := readScan(t, tree, Loc{Scan: "s"}); s.Broken == "" && len(s.Warnings) == 0 {
				t.Errorf("of half a %s: ReadScan() = %+v", name, s)
			}
		})
	}
}
