package fsdb

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// benchScans and benchImages are the size of the tree that the first index and
// a restart are measured with.
const benchScans, benchImages = 5000, 12

func benchTree(b *testing.B) *Tree {
	b.Helper()
	var listed []string
	scan := files{"metadata/metadata.json": `{"owner":"ann","object":{"species":"Arabidopsis thaliana"}}`, "metadata/images.json": `{"workspace":{}}`}
	for i := range benchImages {
		id := fmt.Sprintf("%05d_rgb", i)
		listed = append(listed, fmt.Sprintf(`{"file":"%s.jpg","id":"%s"}`, id, id))
		scan["images/"+id+".jpg"] = "jpeg"
		scan["metadata/images/"+id+".json"] = fmt.Sprintf(`{"channel":"rgb","shot_id":"%05d","approximate_pose":[1.5,2.5,3.5,0.1,0.2]}`, i)
	}
	scan["files.json"] = `{"filesets":[{"files":[` + strings.Join(listed, ",") + `],"id":"images"}]}`
	tree := newTree(b)
	for i := range benchScans {
		scan.write(b, filepath.Join(tree.Dir(), fmt.Sprintf("scan_%04d", i)))
	}
	return tree
}

// forEach calls fn for every entry, on all processors.
func forEach(b *testing.B, entries []Entry, fn func(Entry) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(entries)); i = next.Add(1) - 1 {
				if err := fn(entries[i]); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkTree measures whole passes over 5,000 scans of 12 images.
func BenchmarkTree(b *testing.B) {
	tree := benchTree(b)
	entries := entriesOf(b, tree)
	if len(entries) != benchScans {
		b.Fatalf("List = %d scans, want %d", len(entries), benchScans)
	}
	b.Run("List", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := tree.List(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Signature", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			forEach(b, entries, func(e Entry) error {
				_, err := tree.Signature(ctx, e.Loc)
				return err
			})
		}
	})
	b.Run("ReadScan", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			forEach(b, entries, func(e Entry) error {
				_, err := tree.ReadScan(ctx, e.Loc)
				return err
			})
		}
	})
}

// BenchmarkAddFiles measures what an upload costs on this disk, one file of
// 136 kB a call and sixteen a call, beside a bare write and fsync.
func BenchmarkAddFiles(b *testing.B) {
	content := bytes.Repeat([]byte("p"), 136<<10)
	b.Run("fsync", func(b *testing.B) {
		dir := b.TempDir()
		b.SetBytes(int64(len(content)))
		for i := 0; b.Loop(); i++ {
			f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
			if err != nil {
				b.Fatal(err)
			}
			if _, err = f.Write(content); err == nil {
				err = f.Sync()
			}
			if err != nil || f.Close() != nil {
				b.Fatal(err)
			}
		}
	})
	for _, size := range []int{1, 16} {
		b.Run(fmt.Sprintf("batch %d", size), func(b *testing.B) {
			tree := newTree(b)
			b.SetBytes(int64(len(content) * size))
			for i := 0; b.Loop(); i++ {
				if i%60 == 0 { // scans have some sixty images
					b.StopTimer()
					newScan(b, tree, i)
					b.StartTimer()
				}
				addBatch(b, tree, Loc{Scan: fmt.Sprintf("s%d", i-i%60)}, i, size, content)
			}
		})
	}
}

func newScan(b *testing.B, tree *Tree, i int) {
	loc := Loc{Scan: fmt.Sprintf("s%d", i)}
	if err := tree.CreateScan(ctx, loc, object(`{}`)); err != nil {
		b.Fatal(err)
	}
	if err := tree.CreateFileset(ctx, loc, "images", object(`{}`)); err != nil {
		b.Fatal(err)
	}
}

func addBatch(b *testing.B, tree *Tree, loc Loc, i, size int, content []byte) {
	batch := make([]NewFile, size)
	for j := range batch {
		s, err := tree.Stage(ctx, bytes.NewReader(content), 1<<20)
		if err != nil {
			b.Fatal(err)
		}
		id := fmt.Sprintf("%d-%d", i, j)
		batch[j] = NewFile{ID: id, Name: id + ".jpg", Content: s, Metadata: object(`{"channel":"rgb"}`)}
	}
	errs, err := tree.AddFiles(ctx, loc, "images", batch)
	for _, e := range append(errs, err) {
		if e != nil {
			b.Fatal(e)
		}
	}
}

// BenchmarkArchive takes the archive of a usual scan and makes it one of the
// tree.
func BenchmarkArchive(b *testing.B) {
	entries := sound("")
	photo := make([]byte, 1_030_000)
	for i := range 60 {
		entries = append(entries, entry{name: fmt.Sprintf("images/%05d.jpg", i), content: string(photo), raw: true},
			entry{name: fmt.Sprintf("metadata/images/%05d.json", i), content: `{"channel":"rgb"}`})
	}
	archive := zipOf(entries...)
	tree := newTree(b)
	b.SetBytes(int64(len(archive)))
	for i := 0; b.Loop(); i++ {
		s, err := unpacked(tree, archive, DefaultArchiveLimits())
		if err == nil {
			err = tree.AddScan(ctx, Loc{Scan: fmt.Sprintf("s%d", i)}, s, object(`{}`))
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
