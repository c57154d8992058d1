package fsdb

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// adds adds a file to the fileset images of the scan s.
func adds(tree *Tree, t testing.TB, id, content string) error {
	t.Helper()
	batch := []NewFile{{ID: id, Name: id + ".txt", Content: stage(t, tree, content), Metadata: object(`{"n":1}`)}}
	errs, err := tree.AddFiles(ctx, Loc{Scan: "s"}, "images", batch)
	return errors.Join(append(errs, err, discardAll(batch))...)
}

// another opens the tree once more, as another server does.
func another(t *testing.T, tree *Tree) *Tree {
	t.Helper()
	other := must[*Tree](t)(Open(tree.Dir()))
	t.Cleanup(func() { _ = other.Close() })
	return other
}

func ids(t *testing.T, tree *Tree) string {
	t.Helper()
	s := readScan(t, tree, Loc{Scan: "s"})
	var names []string
	for _, f := range s.Filesets[0].Files {
		names = append(names, f.ID)
	}
	return strings.TrimSpace(fmt.Sprint(names, s.Broken, strings.Join(s.Warnings, "; ")))
}

func images() files {
	return files{"files.json": `{"filesets":[{"id":"images","files":[]}]}`, "metadata/metadata.json": "{}", "images/": ""}.under("s")
}

// TestLaterFilesCostNoMore holds the steps on the disk and the bytes of one file
// among two thousand against those of one among ten: what a fileset has already is
// not written again for each that comes.
func TestLaterFilesCostNoMore(t *testing.T) {
	t.Parallel()
	tree := newTreeInMemory(t, images())
	disk := spareSyncs(tree)
	n := 0
	add := func(count int) {
		t.Helper()
		for ; count > 0; count-- {
			if err := adds(tree, t, fmt.Sprintf("%05d_rgb", n), "bytes"); err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	cost := func(after int) (steps, bytes int) {
		t.Helper()
		add(after - n)
		if err := tree.Fold(ctx, Loc{Scan: "s"}); err != nil {
			t.Fatal(err)
		}
		add(1) // which begins a journal
		steps, bytes = disk.calls, disk.bytes
		add(1)
		return disk.calls - steps, disk.bytes - bytes
	}
	steps, bytes := cost(10)
	if laterSteps, laterBytes := cost(2000); laterSteps != steps || laterBytes != bytes {
		t.Errorf("one file after 2,000 takes %d steps and %d bytes, after 10 it took %d and %d", laterSteps, laterBytes, steps, bytes)
	}
}

// TestSeveralWriters has two servers and a Python program add to one scan in
// turns: each sees what the others did.
func TestSeveralWriters(t *testing.T) {
	t.Parallel()
	one := newTree(t, images())
	two := another(t, one)
	outside := func(entry string) {
		index := filepath.Join(one.Dir(), "s", indexFile)
		text := string(must[[]byte](t)(os.ReadFile(index)))
		text = strings.Replace(text, `"files"`, `"x":1,"files"`, 1) // another size, whatever the clock says
		text = strings.Replace(text, `[]`, `[`+entry+`]`, 1)
		files{"s/" + indexFile: text, "s/images/outside.txt": "outside"}.write(t, one.Dir())
	}
	for i, step := range []func() error{
		func() error { return adds(one, t, "a", "a") },
		func() error { return adds(two, t, "b", "b") },
		func() error { outside(`{"id":"outside","file":"outside.txt"}`); return nil },
		func() error { return adds(one, t, "c", "c") },
		func() error { return two.Fold(ctx, Loc{Scan: "s"}) },
		func() error { return adds(one, t, "d", "d") },
		func() error { return one.Fold(ctx, Loc{Scan: "s"}) },
		func() error { return adds(one, t, "e", "e") },
	} {
		if err := step(); err != nil {
			t.Fatalf("step %d = %v", i, err)
		}
	}
	for _, tree := range []*Tree{one, two} {
		for _, id := range []string{"a", "b", "outside", "c", "d", "e"} {
			if err := adds(tree, t, id, "again"); !errors.Is(err, ErrFileExists) {
				t.Errorf("AddFiles(%s) = %v, want ErrFileExists", id, err)
			}
		}
		if got := ids(t, tree); got != "[outside a b c d e]" {
			t.Errorf("a reader finds %s", got)
		}
	}
}

// TestFlatBatch holds that a batch does not read what is listed already.
func TestFlatBatch(t *testing.T) {
	t.Parallel()
	tree := newTree(t, images())
	if err := errors.Join(adds(tree, t, "a", "a"), tree.Fold(ctx, Loc{Scan: "s"}), adds(tree, t, "b", "b")); err != nil {
		t.Fatal(err)
	}
	index := filepath.Join(tree.Dir(), "s", indexFile)
	// Whoever opens it now fails, root as well.
	if err := os.Rename(index, index+".away"); err != nil {
		t.Fatal(err)
	}
	if err := adds(tree, t, "c", "c"); !errors.Is(err, ErrBroken) {
		t.Fatalf("AddFiles without files.json = %v, want ErrBroken", err)
	}
	if err := os.Rename(index+".away", index); err != nil {
		t.Fatal(err)
	}
	if err := adds(tree, t, "c", "c"); err != nil {
		t.Fatal(err)
	}
	l := tree.ledgers.take(Loc{Scan: "s"})
	if l == nil || !l.stillIs(tree) || l.files() != 3 {
		t.Errorf("the ledger of the next batch is %+v", l)
	}
}

// TestJournalDamage cuts and spoils a journal at every byte: what was whole is
// found, nothing else is, and the next batch is not lost behind the damage.
func TestJournalDamage(t *testing.T) {
	t.Parallel()
	tree := newTree(t, images())
	if err := errors.Join(adds(tree, t, "a", "a"), adds(tree, t, "b", "b")); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(tree.Dir(), journalFile(Loc{Scan: "s"}))
	whole := must[[]byte](t)(os.ReadFile(name))
	lines := strings.SplitAfter(string(whole), "\n")
	if len(lines) != 4 || lines[3] != "" {
		t.Fatalf("the journal is %q, want three lines", whole)
	}
	firstTwo, all := len(lines[0])+len(lines[1]), len(whole)
	for n := range all {
		spoiled := append([]byte(nil), whole...)
		spoiled[n] ^= 0x40
		for what, data := range map[string][]byte{"cut": whole[:n], "spoiled": spoiled} {
			fresh := newTreeInMemory(t, images(), files{"s/images/a.txt": "a", "s/images/b.txt": "b"})
			files{journalFile(Loc{Scan: "s"}): string(data)}.write(t, fresh.Dir())
			want := "[]"
			if n >= firstTwo {
				want = "[a]"
			}
			if got := ids(t, fresh); got != want {
				t.Fatalf("%s at byte %d: a reader finds %s, want %s", what, n, got, want)
			}
			if n%7 > 0 && n < all-20 { // the rest is slow, and the same
				continue
			}
			want = strings.Replace(strings.Replace(want, "]", " c]", 1), "[ ", "[", 1)
			if err := adds(fresh, t, "c", "c"); err != nil || ids(t, fresh) != want {
				t.Fatalf("%s at byte %d: AddFiles = %v, then a reader finds %s, want %s", what, n, err, ids(t, fresh), want)
			}
			if err := fresh.Fold(ctx, Loc{Scan: "s"}); err != nil || ids(t, fresh) != want {
				t.Fatalf("%s at byte %d: Fold = %v, then a reader finds %s, want %s", what, n, err, ids(t, fresh), want)
			}
		}
	}
}

// lossyDisk is one on which the sync of a journal fails once. What was to be
// synced then counts as written for Linux, so that no later sync tries it again.
type lossyDisk struct {
	rootDisk
	fail atomic.Bool // the next sync
	lost []byte      // what it was to sync
}

type lossyFile struct {
	file
	disk    *lossyDisk
	written []byte
}

func (d *lossyDisk) append(name string) (file, error) {
	f, err := d.rootDisk.append(name)
	return &lossyFile{file: f, disk: d}, err
}

func (f *lossyFile) Write(p []byte) (int, error) {
	f.written = append(f.written, p...)
	return f.file.Write(p)
}

func (f *lossyFile) Sync() error {
	if f.disk.fail.CompareAndSwap(true, false) {
		f.disk.lost = slices.Clone(f.written)
		return syscall.EIO
	}
	return f.file.Sync()
}

// cutPower takes from the journal what was lost, if that is still what counts.
func (d *lossyDisk) cutPower(t *testing.T, tree *Tree) {
	t.Helper()
	name := filepath.Join(tree.Dir(), journalFile(Loc{Scan: "s"}))
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.Replace(data, d.lost, make([]byte, len(d.lost)), 1)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestSyncThatFailed has the disk lose a batch, and say so. What is acknowledged
// later does not lie behind it, whichever server adds it.
func TestSyncThatFailed(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]func(*testing.T, *Tree) *Tree{
		"the same server": func(_ *testing.T, tree *Tree) *Tree { return tree },
		"another server":  another,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := newTree(t, images())
			other := next(t, tree)
			if err := errors.Join(adds(tree, t, "a", "a"), adds(other, t, "b", "b")); err != nil {
				t.Fatal(err)
			}
			d := &lossyDisk{rootDisk: rootDisk{tree.root}}
			tree.disk = d
			d.fail.Store(true)
			if err := adds(tree, t, "lost", "lost"); !errors.Is(err, syscall.EIO) {
				t.Fatalf("AddFiles on a disk that does not sync = %v, want EIO", err)
			}
			if err := errors.Join(adds(other, t, "c", "c"), adds(tree, t, "d", "d")); err != nil {
				t.Fatal(err)
			}
			d.cutPower(t, tree)
			after := another(t, tree)
			if got := ids(t, after); got != "[a b c d]" {
				t.Errorf("after a power cut a reader finds %s, want [a b c d]", got)
			}
		})
	}
}

// TestLeftToBeNamed kills a server when the journal tells of an upload durably and
// its bytes have no name yet. Whoever writes next, another server that does not
// start, gives it to them first; and before that no sweep takes them.
func TestLeftToBeNamed(t *testing.T) {
	t.Parallel()
	for step, named := 0, false; !named; step++ {
		tree := newTreeInMemory(t, images())
		other := another(t, tree)
		d := spareSyncs(tree)
		d.fail, d.err, d.dead = step, errPower, true
		content, err := tree.Stage(ctx, strings.NewReader("left"), 100)
		if err == nil {
			var errs []error
			errs, err = tree.AddFiles(ctx, Loc{Scan: "s"}, "images", []NewFile{{ID: "left", Name: "left.txt", Content: content, Metadata: object(`{"n":1}`)}})
			err = errors.Join(append(errs, err)...)
		}
		named = err == nil
		for _, name := range staged(t, other) {
			touch(t, filepath.Join(other.Dir(), stagingDir, name), time.Now().Add(-2*time.Hour))
		}
		if _, err := other.Sweep(ctx, time.Hour); err != nil {
			t.Fatal(err)
		}
		told := false
		for _, j := range must[[]Journal](t)(other.Journals(ctx)) {
			told = told || len(j.Files) > 0
		}
		if err := adds(other, t, "next", "next"); err != nil {
			t.Errorf("step %d: AddFiles = %v", step, err)
		}
		want := "[next]"
		if told {
			want = "[left next]"
		}
		if got := ids(t, other); got != want {
			t.Errorf("step %d: a reader finds %s, want %s", step, got, want)
		}
		settle(t, other)
		checkFlaws(t, fmt.Sprintf("step %d", step), other)
	}
}

// TestJournals lists journals, those of no scan and of another program's
// version too.
func TestJournals(t *testing.T) {
	t.Parallel()
	tree := newTree(t, images())
	if all, err := tree.Journals(ctx); len(all) > 0 || err != nil {
		t.Errorf("Journals(none) = %v, %v", all, err)
	}
	if err := adds(tree, t, "a", "four"); err != nil {
		t.Fatal(err)
	}
	newer := string(must[[]byte](t)(appendLine(nil, map[string]any{"journal": journalVersion + 1, "scan": "s"})))
	files{"torn": "no line", "newer": newer}.under(journalDir).write(t, tree.Dir())
	all := must[[]Journal](t)(tree.Journals(ctx))
	byName := map[string]Journal{}
	for _, j := range all {
		byName[j.Name] = j
	}
	j := byName[journalName(Loc{Scan: "s"})]
	if len(all) != 3 || len(j.Files) != 1 || j.Loc != (Loc{Scan: "s"}) || j.Torn != 0 {
		t.Fatalf("Journals = %+v", all)
	}
	a := j.Files[0]
	if a.Fileset != "images" || a.ID != "a" || a.File != "a.txt" || a.Size != 4 || string(a.Metadata) != `{"n":1}` ||
		a.SHA256 != "04efaf080f5a3e74e1c29d1ca6a48569382cbbcd324e8d59d2b83ef21c039f00" {
		t.Errorf("the file is %+v", a)
	}
	if torn := byName["torn"]; torn.Torn != int64(len("no line")) || torn.Scan != "" {
		t.Errorf("the torn journal is %+v", torn)
	}
	// A downgrade must not drop what it cannot read.
	files{journalFile(Loc{Scan: "s"}): newer}.write(t, tree.Dir())
	if err := tree.Fold(ctx, Loc{Scan: "s"}); !errors.Is(err, ErrBroken) {
		t.Errorf("Fold(newer version) = %v, want ErrBroken", err)
	}
	if s := readScan(t, tree, Loc{Scan: "s"}); !strings.Contains(s.Broken, "version") {
		t.Errorf("a scan with a newer journal is broken for %q", s.Broken)
	}
	if pending, err := tree.Pending(Loc{Scan: "s"}); !pending || err != nil {
		t.Errorf("Pending = %t, %v", pending, err)
	}
}

// What a newer version of the program has uploaded is not listed yet: the scan goes
// into the trash with it or not at all, while a damaged one may go.
func TestTrashWithNewerJournal(t *testing.T) {
	t.Parallel()
	newer := func(loc Loc) files {
		head := map[string]any{"journal": journalVersion + 1, "timelapse": loc.Timelapse, "scan": loc.Scan}
		return files{journalFile(loc): string(must[[]byte](t)(appendLine(nil, head)))}
	}
	alone, member := Loc{Scan: "s"}, Loc{Timelapse: "tl", Scan: "m"}
	tree := newTree(t, images(), files{"tl/timelapse.json": `{}`}, small.under("tl/m"), small.under("damaged"), files{"damaged/files.json": "{"},
		newer(alone), newer(member))
	for _, e := range []Trashed{
		{ID: "1", Kind: TrashScan, Scan: "s"},
		{ID: "2", Kind: TrashScan, Timelapse: "tl", Scan: "m"},
		{ID: "3", Kind: TrashTimelapse, Timelapse: "tl"},
	} {
		if err := tree.Trash(ctx, e); !errors.Is(err, ErrBroken) {
			t.Errorf("Trash(%+v) = %v, want ErrBroken", e, err)
		}
	}
	for _, loc := range []Loc{alone, member} {
		there, err := tree.Has(loc)
		pending, err2 := tree.Pending(loc)
		if !there || !pending || err != nil || err2 != nil {
			t.Errorf("%v is there: %t, its journal: %t (%v, %v)", loc, there, pending, err, err2)
		}
	}
	if err := tree.Trash(ctx, Trashed{ID: "4", Kind: TrashScan, Scan: "damaged"}); err != nil {
		t.Errorf("Trash of a damaged scan = %v", err)
	}
}

// TestJournalOfAnother holds that what a journal says of files that are gone,
// or of a scan that went away, is not believed.
func TestJournalOfAnother(t *testing.T) {
	t.Parallel()
	tree := newTree(t, images())
	if err := errors.Join(adds(tree, t, "a", "a"), adds(tree, t, "b", "b")); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(tree.Dir(), "s")
	if err := os.Remove(filepath.Join(dir, "images", "a.txt")); err != nil {
		t.Fatal(err)
	}
	files{"s/images/b.txt": "other bytes"}.write(t, tree.Dir())
	if got := ids(t, tree); got != "[]" {
		t.Errorf("a reader finds %s, want nothing", got)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := tree.Fold(ctx, Loc{Scan: "s"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("Fold(no such scan) = %v, want ErrNotFound", err)
	}
	if err := tree.CreateScan(ctx, Loc{Scan: "s"}, object("{}")); err != nil {
		t.Fatal(err)
	}
	if pending, err := tree.Pending(Loc{Scan: "s"}); pending || err != nil {
		t.Errorf("a new scan has the journal of the old one: %t, %v", pending, err)
	}
}

// TestJournalOfTwoWriters lets another writer into a scan while one holds it, as
// it may happen without locks of files where the database that held it went
// away: what the other one was told stays.
func TestJournalOfTwoWriters(t *testing.T) {
	t.Parallel()
	other := func(t *testing.T, tree *Tree) {
		t.Helper()
		if err := adds(tree, t, "others", "others"); err != nil {
			t.Fatal(err)
		}
	}
	for name, write := range map[string]func(tree *Tree) error{
		"fold":   func(tree *Tree) error { return tree.Fold(ctx, Loc{Scan: "s"}) },
		"create": func(tree *Tree) error { return tree.CreateFileset(ctx, Loc{Scan: "s"}, "new", object(`{}`)) },
	} {
		// Before each of the steps, and after the last.
		for step, met := 0, true; met; step++ {
			tree := newTree(t, images())
			if name == "fold" {
				if err := adds(tree, t, "a", "a"); err != nil {
					t.Fatal(err)
				}
			}
			d := &meetingDisk{disk: tree.disk, at: step}
			beside := must[*Tree](t)(Open(tree.Dir()))
			d.meet = func() { other(t, beside) }
			tree.disk = d
			err := write(tree)
			met = d.met
			if err := beside.Close(); err != nil {
				t.Error(err)
			}
			if !met {
				break
			}
			if err != nil && !errors.Is(err, ErrLocked) {
				t.Errorf("%s, met before step %d = %v", name, step, err)
			}
			settle(t, tree)
			got := tell(readScan(t, tree, Loc{Scan: "s"}))
			if !strings.Contains(got, "images/others") || name == "fold" && !strings.Contains(got, "images/a") {
				t.Errorf("%s, met before step %d (%v): a reader finds %s", name, step, err, got)
			}
			if want := err == nil; name == "create" && strings.Contains(got, "\nnew ") != want {
				t.Errorf("%s, met before step %d = %v: a reader finds %s", name, step, err, got)
			}
		}
	}
}

// meetingDisk calls meet before one of the steps that change names.
type meetingDisk struct {
	disk
	at, calls int
	met       bool
	meet      func()
}

func (d *meetingDisk) step() {
	if d.calls == d.at {
		d.met = true
		d.meet()
	}
	d.calls++
}

func (d *meetingDisk) rename(from, to string) error { d.step(); return d.disk.rename(from, to) }
func (d *meetingDisk) link(from, to string) error   { d.step(); return d.disk.link(from, to) }

// The moment between the last look at a journal and its removal stays.
func (d *meetingDisk) removeAll(name string) error {
	if !strings.HasPrefix(name, journalDir) {
		d.step()
	}
	return d.disk.removeAll(name)
}
