package scan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/pgtest"
)

// check runs a check as the one at the machine, and returns what it found, a
// line each: kind, path, and what was done.
func (f fixture) check(t testing.TB, o CheckOptions) ([]string, Checked) {
	t.Helper()
	found := []string{}
	o.Report = func(f Finding) error {
		line := strings.TrimSpace(fmt.Sprintf("%s %s %s", f.Kind, f.Path, f.File))
		if f.Note {
			line = "note " + line
		}
		if f.Repaired != "" {
			done, _, _ := strings.Cut(f.Repaired, " .plantdb/quarantine")
			line += ": " + done
		}
		found = append(found, line)
		return nil
	}
	seen, done, err := f.Check(as(t, actor.System()), o)
	if err != nil || !done {
		t.Fatalf("Check() = %v, %t", err, done)
	}
	return found, seen
}

func (f fixture) expectFound(t testing.TB, step string, o CheckOptions, want ...string) {
	t.Helper()
	got, seen := f.check(t, o)
	want = slices.Sorted(slices.Values(want))
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
		t.Errorf("%s: Check() found (-want +got):\n%s", step, diff)
	}
	if n := len(got); seen.Findings+seen.Notes != n {
		t.Errorf("%s: Check() = %+v, and %d were reported", step, seen, n)
	}
}

// Every kind of damage in the tree and in the index is found, once; what can be
// mended is, and nothing of it is found afterwards.
func TestCheckFindsAndMends(t *testing.T) {
	t.Parallel()
	f := indexed(t,
		plainScan("sound", `{}`), plainScan("missing", `{}`), plainScan("extra", `{}`), plainScan("orphan", `{}`),
		plainScan("json", `{}`), plainScan("size", `{}`), plainScan("time", `{}`), plainScan("gone", `{}`), plainScan("meta", `{"owner": "ann"}`),
		plainScan("torn", `{}`), plainScan("hidden", `{}`), plainScan("dir", `{}`), plainScan("entry", `{}`), plainScan("rows", `{}`),
		files{"tl/timelapse.json": `{"id": "tl"}`, "um/timelapse.json": `{"id": "um"}`}, plainScan("tl/x", `{}`),
	)
	f.expectFound(t, "sound", CheckOptions{Digests: true})

	f.remove(t, "missing/images/00000_rgb.jpg", "dir/images", "gone")
	files{
		"extra/images/more.jpg": "more", "extra/metadata/images/more.json": `{"n": 1}`, "extra/images/00000_rgb.png": "its id is taken",
		"extra/scratch/x.txt": "free", "extra/notes.txt": "free", "extra/.hidden": "", "extra/images/.hidden": "",
		"extra/metadata/metadata.json.bak": "{", "extra/images/deep/y": "",
		"orphan/metadata/images/nothing.json": `{}`, "orphan/metadata/other.json": `{}`, "orphan/metadata/old/a.json": `{}`, "orphan/metadata/old/b.json": `{}`,
		"json/metadata/metadata.json": "{", "json/metadata/images.json": "[]", "json/metadata/images/00001_rgb.json": `{"a": }`,
		"size/images/00000_rgb.jpg": "shorter", "meta/metadata/metadata.json": `{"owner": "bob"}`,
		"torn/files.json": `{"filesets": [{`, "hidden/.plantdb.json": "{", "new/files.json": `{"filesets": []}`, "new/metadata/": "",
		"um/x/files.json": `{"filesets": []}`, "um/x/metadata/": "", "um/timelapse.json": "[", "empty/": "",
		"entry/files.json": `{"filesets": [{"files": []}, {"id": "images", "files": [{"id": "x"},
			{"id": "00000_rgb", "file": "00000_rgb.jpg"}, {"id": "00001_rgb", "file": "00001_rgb.jpg"}, {"id": "00001_rgb", "file": "00001_rgb.jpg"}]}]}`,
	}.write(t, f.dir)
	if err := os.Chtimes(filepath.Join(f.dir, "time/images/00000_rgb.jpg"), time.Now(), time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.pool.Exec(t.Context(), `DELETE FROM files USING filesets fs, scans s
		WHERE files.fileset_id = fs.id AND fs.scan_id = s.id AND s.name = 'rows' AND files.name = '00001_rgb'`); err != nil {
		t.Fatal(err)
	}
	before := f.rows(t)
	found := []string{
		"missing_file missing/images/00000_rgb.jpg 00000_rgb", "row_without_file missing/images 00000_rgb",
		"missing_fileset dir/images", "row_without_file dir/images 00000_rgb", "row_without_file dir/images 00001_rgb",
		"extra_file extra/images/more.jpg", "extra_file extra/images/00000_rgb.png", "note extra_fileset extra/scratch",
		"orphan_metadata orphan/metadata/images/nothing.json nothing", "orphan_metadata orphan/metadata/other.json", "orphan_metadata orphan/metadata/old",
		"damaged_json json/metadata/metadata.json", "damaged_json json/metadata/images.json", "damaged_json json/metadata/images/00001_rgb.json 00001_rgb",
		"not_indexed json", "size_differs size/images 00000_rgb", "not_indexed time/images 00000_rgb", "not_indexed meta",
		"broken_scan torn/files.json", "row_without_file torn/images 00000_rgb", "row_without_file torn/images 00001_rgb",
		"damaged_json hidden/.plantdb.json", "not_indexed hidden",
		"scan_without_row new", "row_without_scan gone", "file_without_row rows/images 00001_rgb",
		"duplicate_scan um/x", "damaged_json um/timelapse.json", "broken_scan empty/metadata", "broken_scan empty/files.json", "scan_without_row empty",
		"bad_entry entry/files.json", "bad_entry entry/files.json x", "bad_entry entry/files.json 00001_rgb",
	}
	f.expectFound(t, "damaged", CheckOptions{}, found...)
	f.expectFound(t, "damaged, again", CheckOptions{Digests: true}, found...)
	f.expect(t, "a check changes nothing", before)
	f.expectFound(t, "one scan", CheckOptions{Scans: []string{"size"}}, "size_differs size/images 00000_rgb")
	if _, _, err := f.Check(as(t, actor.System()), CheckOptions{Scans: []string{"none"}}); !errors.Is(err, ErrUnknownScan) {
		t.Errorf("Check() of a scan that is nowhere = %v", err)
	}

	mended := map[string]string{
		"extra_file extra/images/more.jpg":                            "listed in files.json",
		"orphan_metadata orphan/metadata/images/nothing.json nothing": "moved to",
		"orphan_metadata orphan/metadata/other.json":                  "moved to", "orphan_metadata orphan/metadata/old": "moved to",
		"row_without_scan gone": "forgotten by the index",
	}
	for i, line := range found {
		kind, _, _ := strings.Cut(line, " ")
		if slices.Contains([]string{"not_indexed", "size_differs", "row_without_file", "file_without_row", "scan_without_row"}, kind) {
			mended[line] = "indexed again"
		}
		if done, ok := mended[line]; ok {
			found[i] = line + ": " + done
		}
	}
	f.expectFound(t, "mending", CheckOptions{Repair: true}, found...)
	if got := f.read(t, "extra/files.json"); !strings.Contains(got, `"file": "more.jpg"`) {
		t.Errorf("files.json = %s, want the extra file listed", got)
	}
	for _, name := range []string{"images/nothing.json", "other.json", "old/a.json", "old/b.json"} {
		if kept, _ := filepath.Glob(filepath.Join(f.dir, ".plantdb/quarantine/*/orphan/metadata", name)); len(kept) != 1 {
			t.Errorf("%s is %d times in quarantine", name, len(kept))
		}
	}
	if rows := f.rows(t); !strings.Contains(rows["extra"], "more=more.jpg:4") || rows["gone"] != "" || !strings.Contains(rows["rows"], "00001_rgb") {
		t.Errorf("rows = %v", rows)
	}
	f.expectFound(t, "mended", CheckOptions{Digests: true},
		"missing_file missing/images/00000_rgb.jpg 00000_rgb", "missing_fileset dir/images", "extra_file extra/images/00000_rgb.png",
		"note extra_fileset extra/scratch", "damaged_json json/metadata/metadata.json", "damaged_json json/metadata/images.json",
		"damaged_json json/metadata/images/00001_rgb.json 00001_rgb", "broken_scan torn/files.json", "damaged_json hidden/.plantdb.json",
		"duplicate_scan um/x", "damaged_json um/timelapse.json", "broken_scan empty/metadata", "broken_scan empty/files.json",
		"bad_entry entry/files.json", "bad_entry entry/files.json x", "bad_entry entry/files.json 00001_rgb")
}

// Bytes that changed though size and time did not are found by their digest, and
// one that is not known is kept only if that was asked for.
func TestCheckDigests(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{}`), plainScan("u", `{}`))
	ctx := as(t, ann)
	for i := range 3 {
		if err := upload(ctx, f.Service, "u", "images", fmt.Sprintf("n%d", i), ".jpg", fmt.Sprintf("content %d", i), "{}"); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(f.dir, "u/images/n1.jpg")
	rot(t, name, "CONTENT 1")
	f.expectFound(t, "without digests", CheckOptions{})
	f.expectFound(t, "with digests", CheckOptions{Digests: true}, "digest_differs u/images n1")
	f.expectFound(t, "mending it", CheckOptions{Digests: true, Repair: true}, "digest_differs u/images n1")
	without := func() (n int) {
		if err := f.pool.QueryRow(t.Context(), `SELECT count(*) FROM files WHERE sha256 IS NULL`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := without(); n != 4 {
		t.Errorf("%d files without a digest before any was to be kept, want 4", n)
	}
	_, seen := f.check(t, CheckOptions{Digests: true, Record: true})
	if n := without(); n != 0 || seen.Files != 7 || seen.Bytes != 2*17+3*9 {
		t.Errorf("%d files without a digest, checked %+v", n, seen)
	}
	rot(t, filepath.Join(f.dir, "s/images/00000_rgb.jpg"), "First image")
	f.expectFound(t, "of one indexed", CheckOptions{Digests: true}, "digest_differs u/images n1", "digest_differs s/images 00000_rgb")
	rot(t, name, "content 1")
	rot(t, filepath.Join(f.dir, "s/images/00000_rgb.jpg"), "first image")
	f.expectFound(t, "mended by hand", CheckOptions{Digests: true})
}

// rot changes the bytes of a file behind everybody's back.
func rot(t testing.TB, name, content string) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if int(info.Size()) != len(content) {
		t.Fatalf("%d bytes for a file of %d", len(content), info.Size())
	}
	if err := errors.Join(os.WriteFile(name, []byte(content), 0o600), os.Chtimes(name, info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
}

// A bound on how fast bytes are read holds for checks and for the scrub: one that
// has no time to wait so long fails, and says nothing of the file.
func TestCheckRate(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{}`))
	if err := upload(as(t, ann), f.Service, "s", "images", "large", ".txt", strings.Repeat("x", 2*checkChunk), "{}"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(as(t, actor.System()), time.Hour)
	defer cancel()
	scrub := func(rate int64) error {
		f.config.ScrubRate = rate
		return f.Scrub(ctx, time.Now().Add(time.Hour))
	}
	check := func(rate int64) error {
		_, _, err := f.Check(ctx, CheckOptions{Digests: true, BytesPerSecond: rate, Report: func(found Finding) error {
			t.Errorf("at %d bytes a second it found %+v", rate, found)
			return nil
		}})
		return err
	}
	for name, read := range map[string]func(rate int64) error{"Check": check, "Scrub": scrub} {
		if err := read(10); !errors.Is(err, errPace) { // seven hours
			t.Errorf("%s at 10 bytes a second for an hour = %v, want %v", name, err, errPace)
		}
		if err := read(4 * checkChunk); err != nil {
			t.Errorf("%s at a megabyte a second = %v", name, err)
		}
	}
	var found int
	if err := f.pool.QueryRow(t.Context(), `SELECT count(*) FROM care_findings`).Scan(&found); err != nil || found != 0 {
		t.Errorf("the scrub found %d faults, %v", found, err)
	}
}

// A check of a tree that is written to all the time finds nothing, and loses
// nothing when it mends.
func TestCheckBesideWriters(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s0", `{"owner": "ann"}`), plainScan("s1", `{"owner": "ann"}`), plainScan("s2", `{"owner": "ann"}`))
	other := fixtureOn(t, f.pool, f.dir)
	stop, stopped := context.WithCancel(as(t, ann))
	defer stopped()
	written := make(chan int)
	for w := range 3 {
		go func() {
			n := 0
			defer func() { written <- n }()
			for stop.Err() == nil {
				scan, file := fmt.Sprintf("s%d", w), fmt.Sprintf("w%d", n)
				err := upload(as(t, ann), f.Service, scan, "images", file, ".jpg", "content", `{"n": 1}`)
				if err == nil && n%3 == 0 {
					_, err = f.DeleteFile(as(t, ann), scan, "images", file, Match{})
				}
				if err != nil {
					t.Errorf("write: %v", err)
					return
				}
				n++
			}
		}()
	}
	for i := range 15 {
		if found, _ := other.check(t, CheckOptions{Digests: true, Repair: i%3 == 2}); len(found) > 0 {
			t.Errorf("round %d: Check() found %q", i, found)
		}
	}
	stopped()
	for range 3 {
		if n := <-written; n == 0 {
			t.Error("a writer wrote nothing")
		}
	}
	f.expectFound(t, "at the end", CheckOptions{Digests: true})
}

// Entries of the trash that a crash left, and the index lost, are settled.
func TestCheckTrash(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`), plainScan("t", `{"owner": "ann"}`))
	ctx := as(t, ann)
	for _, name := range []string{"s", "t"} {
		if _, err := f.DeleteScan(ctx, name, Match{}); err != nil {
			t.Fatal(err)
		}
	}
	f.expectFound(t, "sound", CheckOptions{})
	entries := must[[]TrashEntry](t)(f.Trash(ctx, nil, 10))
	lost, cut := entries[0].ID.String(), entries[1].ID.String()
	if _, err := f.pool.Exec(t.Context(), `DELETE FROM trash WHERE id = $1`, lost); err != nil {
		t.Fatal(err)
	}
	f.remove(t, ".plantdb/trash/"+cut+"/content")
	files{".plantdb/trash/junk/entry.json": "{", ".plantdb/staging/old": "x", ".plantdb/staging/young": "x"}.write(t, f.dir)
	long := time.Now().Add(-3 * time.Hour)
	if err := os.Chtimes(filepath.Join(f.dir, ".plantdb/staging/old"), long, long); err != nil {
		t.Fatal(err)
	}
	want := []string{"trash_unsettled .plantdb/trash/" + lost, "trash_unsettled .plantdb/trash/" + cut, "trash_damaged .plantdb/trash/junk", "note staging_leftover .plantdb/staging/old"}
	f.expectFound(t, "damaged", CheckOptions{}, want...)
	want[0] += ": settled"
	want[1] += ": settled"
	want[3] += ": removed"
	f.expectFound(t, "mending", CheckOptions{Repair: true}, want...)
	f.expectFound(t, "mended", CheckOptions{}, "trash_damaged .plantdb/trash/junk")
	if got := must[[]TrashEntry](t)(f.Trash(ctx, nil, 10)); len(got) != 1 || got[0].ID.String() != lost {
		t.Errorf("Trash() = %+v, want the one that the index had lost", got)
	}
	if _, err := os.Stat(filepath.Join(f.dir, ".plantdb/staging/young")); err != nil {
		t.Errorf("what is just being staged: %v", err)
	}
}

// A pass that is cut short goes on where it was, on another server too.
func TestCheckPass(t *testing.T) {
	t.Parallel()
	var content []files
	for i := range 30 {
		content = append(content, plainScan(fmt.Sprintf("s%02d", i), `{}`))
	}
	f := indexed(t, content...)
	files{"s00/images/extra.jpg": "", "s29/images/extra.jpg": ""}.write(t, f.dir)
	ctx := as(t, actor.System())
	cut := errors.New("power cut")
	o := CheckOptions{Digests: true, Report: func(found Finding) error {
		if found.Scan == "s29" {
			return cut
		}
		return nil
	}}
	if _, _, err := f.CheckPass(ctx, true, o); !errors.Is(err, cut) {
		t.Fatalf("CheckPass() = %v", err)
	}
	var found []string
	o.Report = func(f Finding) error { found = append(found, f.Scan); return nil }
	again := fixtureOn(t, f.pool, f.dir)
	seen, after, err := again.CheckPass(ctx, true, o)
	if err != nil || after != "s23" || seen.Scans != 6 || !slices.Equal(found, []string{"s29"}) {
		t.Errorf("CheckPass() = %+v after %q, %v, found in %q; want the last six scans", seen, after, err, found)
	}
	for _, resume := range []bool{true, false} { // it came to its end
		if seen, after, err := again.CheckPass(ctx, resume, o); err != nil || after != "" || seen.Scans != 30 {
			t.Errorf("CheckPass(%t) = %+v after %q, %v, want all", resume, seen, after, err)
		}
	}
}

// What the index has of scans that are not there is found by a pass that was cut
// short, too, wherever it was.
func TestCheckPassFindsWhatIsLost(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("a", `{}`), plainScan("b", `{}`), plainScan("c", `{}`))
	f.remove(t, "a")
	if _, err := f.beginPass(t.Context(), passCheck, false); err != nil {
		t.Fatal(err)
	}
	if err := f.movePass(t.Context(), passCheck, "b", Checked{Scans: 1}); err != nil { // and cut short
		t.Fatal(err)
	}
	var found []string
	o := CheckOptions{Report: func(f Finding) error { found = append(found, string(f.Kind)+" "+f.Scan); return nil }}
	seen, after, err := f.CheckPass(as(t, actor.System()), true, o)
	if err != nil || after != "b" || seen.Scans != 1 || !slices.Equal(found, []string{"row_without_scan a"}) {
		t.Errorf("CheckPass() = %+v after %q, %v, found %q", seen, after, err, found)
	}
}

// A scan that somebody holds ends no check, whatever it is found for.
func TestCheckBesideHeldScans(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("a", `{}`), plainScan("gone", `{}`), plainScan("z", `{}`))
	f.remove(t, "gone")
	files{"z/images/extra.jpg": "x"}.write(t, f.dir)
	held, free, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	let := sync.OnceFunc(func() { close(free) })
	defer let()
	other := fixtureOn(t, f.pool, f.dir)
	go func() {
		done <- other.still(as(t, ann), "test", func(pgx.Tx) error { close(held); <-free; return nil }, "gone", "z")
	}()
	<-held
	f.config.LockTimeout = 50 * time.Millisecond
	for _, repair := range []bool{false, true} {
		f.expectFound(t, "held", CheckOptions{Repair: repair}, "not_checked gone", "not_checked z")
	}
	let()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	f.config.LockTimeout = 2 * time.Minute
	f.expectFound(t, "free", CheckOptions{}, "row_without_scan gone", "extra_file z/images/extra.jpg")
}

// Of two ids with one name both have metadata.
func TestCheckOfTwoIDsWithOneName(t *testing.T) {
	t.Parallel()
	f := indexed(t, files{
		"s/files.json":             `{"filesets": [{"id": "images", "files": [{"id": "a", "file": "x.jpg"}, {"id": "b", "file": "x.jpg"}]}]}`,
		"s/metadata/metadata.json": `{}`, "s/metadata/images/a.json": `{"n": 1}`, "s/metadata/images/b.json": `{"n": 2}`, "s/images/x.jpg": "bytes",
	})
	f.expectFound(t, "two", CheckOptions{Digests: true, Repair: true})
	if got := f.read(t, "s/metadata/images/a.json"); got != `{"n": 1}` {
		t.Errorf("metadata of the first = %q", got)
	}
}

func TestCheckIsOurs(t *testing.T) {
	t.Parallel()
	f := fixtureOn(t, pgtest.New(t), t.TempDir())
	for _, a := range []actor.Actor{admin, ann, nobody} {
		if _, _, err := f.Check(as(t, a), CheckOptions{}); !errors.Is(err, ErrForbidden) {
			t.Errorf("Check() by %q = %v, want ErrForbidden", a.Username, err)
		}
	}
	if _, _, err := f.Check(t.Context(), CheckOptions{}); !errors.Is(err, ErrNoActor) {
		t.Errorf("Check() by nobody = %v", err)
	}
}

// A check on the way up after a power cut, which may take the names of what was
// uploaded last, and leaves its bytes where the journal says: nothing is missing.
func TestCheckNamesWhatAPowerCutTook(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	if err := upload(as(t, ann), f.Service, "s", "images", "last", "jpg", "bytes", `{"n": 1}`); err != nil {
		t.Fatal(err)
	}
	for _, j := range must[[]fsdb.Journal](t)(f.tree.Journals(t.Context())) {
		for _, a := range j.Files {
			if err := os.Rename(filepath.Join(f.dir, j.Dir(), a.Fileset, a.File), filepath.Join(f.dir, fsdb.Hidden, "staging", a.Staged)); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.remove(t, "s/metadata/images/last.json")
	f.expectFound(t, "after a power cut", CheckOptions{Digests: true})
	if got := f.read(t, "s/images/last.jpg"); got != "bytes" {
		t.Errorf("the file has %q", got)
	}
	f.expectFound(t, "once more", CheckOptions{Digests: true})
}
