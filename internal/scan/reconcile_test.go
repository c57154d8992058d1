package scan

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/pgtest"
)

// index tells all rows of the index, a line a scan, as somebody sees it who
// knows SQL.
func (f fixture) rows(t testing.TB) map[string]string {
	t.Helper()
	rows, err := f.pool.Query(t.Context(), `
		SELECT s.name, concat_ws(' ', coalesce(tl.name || '/', '') || s.name, s.owner, s.visibility, s.file_count, s.byte_count,
			coalesce(s.broken, 'sound'),
			(SELECT string_agg(fs.name || '[' || coalesce((SELECT string_agg(fi.name || '=' || fi.filename || ':' || fi.size, ',' ORDER BY fi.position)
				FROM files fi WHERE fi.fileset_id = fs.id), '') || ']', ' ' ORDER BY fs.position) FROM filesets fs WHERE fs.scan_id = s.id))
		FROM scans s LEFT JOIN timelapses tl ON tl.id = s.timelapse_id`)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	var name, line string
	if _, err := pgx.ForEachRow(rows, []any{&name, &line}, func() error {
		all[name] = line
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func (f fixture) expect(t testing.TB, step string, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, f.rows(t)); diff != "" {
		t.Errorf("%s: rows (-want +got):\n%s", step, diff)
	}
}

func (f fixture) remove(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(f.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func (f fixture) move(t testing.TB, from, to string) {
	t.Helper()
	if err := os.Rename(filepath.Join(f.dir, from), filepath.Join(f.dir, to)); err != nil {
		t.Fatal(err)
	}
}

const plainRow = "public 2 17 sound images[00000_rgb=00000_rgb.jpg:11,00001_rgb=00001_rgb.jpg:6]"

// Outside changes of every kind, one after another; each reconcile reads what
// changed and nothing else.
func TestReconcileFollowsTheTree(t *testing.T) {
	t.Parallel()
	f := newFixture(t, plainScan("a", `{"owner": "ann"}`), plainScan("b", `{}`))
	rows := map[string]string{"a": "a ann " + plainRow, "b": "b " + plainRow}
	step := func(name string, want Reconciled) {
		t.Helper()
		want.Scans = len(rows)
		if done := f.reconcile(t); done != want {
			t.Errorf("%s: Reconcile() = %+v, want %+v", name, done, want)
		}
		f.expect(t, name, rows)
		if done := f.reconcile(t); done.Read != 0 || done.Removed != 0 || done.Broken != want.Broken {
			t.Errorf("%s: second Reconcile() = %+v, want nothing read", name, done)
		}
	}
	step("first", Reconciled{Read: 2})

	files{"a/metadata/metadata.json": `{"owner": "eve", "visibility": "private"}`}.write(t, f.dir)
	rows["a"] = "a eve " + strings.Replace(plainRow, "public", "private", 1)
	step("metadata changed", Reconciled{Read: 1})

	plainScan("c", `{}`).write(t, f.dir)
	rows["c"] = "c " + plainRow
	step("scan added", Reconciled{Read: 1})

	files{
		"b/files.json":     `{"filesets": [{"id": "new", "files": [{"id": "x", "file": "x.txt"}]}, {"id": "images", "files": [{"id": "00001_rgb", "file": "00001_rgb.jpg"}]}]}`,
		"b/new/x.txt":      "xyz",
		"b/metadata/x.txt": "no metadata of anything",
	}.write(t, f.dir)
	rows["b"] = "b public 2 9 sound new[x=x.txt:3] images[00001_rgb=00001_rgb.jpg:6]"
	step("filesets changed", Reconciled{Read: 1})

	files{"c/files.json": `{"filesets": `}.write(t, f.dir)
	rows["c"] = "c public 0 0 files.json: metadata is not valid JSON: no value at byte 13"
	step("scan broken", Reconciled{Read: 1, Broken: 1})

	plainScan("c", `{}`).write(t, f.dir)
	rows["c"] = "c " + plainRow
	step("scan mended", Reconciled{Read: 1})

	f.remove(t, "a")
	delete(rows, "a")
	step("scan removed", Reconciled{Removed: 1})

	files{"tl/timelapse.json": `{"id": "tl", "scans": ["c"]}`}.write(t, f.dir)
	f.move(t, "c", "tl/c")
	rows["c"] = "tl/c " + plainRow
	step("scan moved into a timelapse", Reconciled{Read: 1})

	f.move(t, "tl/c", "tl/d")
	delete(rows, "c")
	rows["d"] = "tl/d " + plainRow
	step("scan renamed", Reconciled{Read: 1, Removed: 1})

	f.remove(t, "tl/timelapse.json")
	delete(rows, "d")
	rows["tl"] = "tl public 0 0 it has no metadata directory"
	step("timelapse without its marker", Reconciled{Read: 1, Removed: 1, Broken: 1})
	if got := must[[]string](t)(f.Timelapses(as(t, guest), Query{})); len(got) != 0 {
		t.Errorf("Timelapses() = %v, want none", got)
	}

	files{"tl/timelapse.json": `{}`}.write(t, f.dir)
	delete(rows, "tl")
	rows["d"] = "tl/d " + plainRow
	step("marker back", Reconciled{Read: 1, Removed: 1})

	f.move(t, "tl/d", "d")
	f.remove(t, "tl")
	rows["d"] = "d " + plainRow
	step("timelapse gone, its scan moved out", Reconciled{Read: 1})
	if got := must[[]string](t)(f.Timelapses(as(t, guest), Query{})); len(got) != 0 {
		t.Errorf("Timelapses() = %v, want none", got)
	}
}

// One row, or none, for each kind of damage, and the others untouched.
func TestReconcileDamage(t *testing.T) {
	t.Parallel()
	with := func(dir string, changes files) files {
		f := plainScan(dir, `{"owner": "ann"}`)
		for name, content := range changes {
			if content == "-" {
				delete(f, dir+"/"+name)
				continue
			}
			f[dir+"/"+name] = content
		}
		return f
	}
	withoutMetadata := files{}
	for name, content := range plainScan("no_metadata", `{}`) {
		if !strings.Contains(name, "/metadata/") {
			withoutMetadata[name] = content
		}
	}
	f := newFixture(t, plainScan("sound", `{"owner": "ann"}`),
		with("no_index", files{"files.json": "-"}), with("torn_index", files{"files.json": `{"filesets": [{`}),
		with("odd_index", files{"files.json": `{"filesets": 5}`}), withoutMetadata,
		with("torn_metadata", files{"metadata/metadata.json": `{"owner": `}),
		with("list_metadata", files{"metadata/metadata.json": `[]`}),
		with("file_gone", files{"images/00000_rgb.jpg": "-"}),
		with("null_file", files{"files.json": `{"filesets": [{"id": "images", "files": [{"id": "x", "file": null}, {"id": "00001_rgb", "file": "00001_rgb.jpg"}]}]}`}),
		with("fileset_gone", files{"images/00000_rgb.jpg": "-", "images/00001_rgb.jpg": "-"}),
		with("nul", files{
			"metadata/metadata.json": `{"owner": "ann\u0000", "sharing": ["\u0000"], "x": 1e400, "\u0000": "\u0000"}`,
			"metadata/images.json":   `{"\u0000": 1E+99999}`, "metadata/images/00000_rgb.json": `{"channel": "rgb", "n": NaN, "t": "\u0000"}`,
		}),
		with("long_owner", files{"metadata/metadata.json": `{"owner": "` + strings.Repeat("x", 5000) + `"}`}),
		files{
			"empty/": "", "configs/x.toml": "", ".hidden/": "", "a file": "", "bin\xff/files.json": "{}",
			"tl/timelapse.json":      `{"id": 5, "owner": "a\u0000", "created_at": "\u0000", "scans": ["\u0000", 5], "metadata": {"x": "\u0000"}}`,
			"torn_tl/timelapse.json": `{"id`,
		})
	if err := os.Symlink("sound", filepath.Join(f.dir, "link")); err != nil {
		t.Fatal(err)
	}
	done := f.reconcile(t)
	if want := (Reconciled{Scans: 15, Read: 15, Broken: 7}); done != want {
		t.Errorf("Reconcile() = %+v, want %+v", done, want)
	}
	f.expect(t, "damage", map[string]string{
		"sound":         "sound ann " + plainRow,
		"no_index":      "no_index ann public 0 0 it has no files.json",
		"torn_index":    "torn_index ann public 0 0 files.json: metadata is not valid JSON: no key at byte 15",
		"odd_index":     "odd_index ann public 0 0 files.json: it has no list of filesets",
		"no_metadata":   "no_metadata public 2 17 it has no metadata directory images[00000_rgb=00000_rgb.jpg:11,00001_rgb=00001_rgb.jpg:6]",
		"torn_metadata": "torn_metadata " + plainRow,
		"list_metadata": "list_metadata " + plainRow,
		"file_gone":     "file_gone ann public 1 6 sound images[00001_rgb=00001_rgb.jpg:6]",
		"null_file":     "null_file ann public 1 6 sound images[00001_rgb=00001_rgb.jpg:6]",
		"fileset_gone":  "fileset_gone ann public 0 0 sound",
		"nul":           "nul ann\uFFFD " + plainRow,
		"long_owner":    "long_owner " + plainRow,
		"empty":         "empty public 0 0 it has no metadata directory",
		`bin\xff`:       `bin\xff public 0 0 the directory's name is not UTF-8`,
		"link":          "link public 0 0 it is a symbolic link",
	})
	if done := f.reconcile(t); done.Read != 0 || done.Broken != 7 {
		t.Errorf("second Reconcile() = %+v, want nothing read, 7 broken", done)
	}
	log := f.log.String()
	if n := strings.Count(log, "path=file_gone "); n != 1 {
		t.Errorf("the damage of file_gone is logged %d times, want once:\n%s", n, log)
	}
	tl := must[Timelapse](t)(f.Timelapse(as(t, guest), "tl"))
	if tl.ID != "tl" || *tl.Owner != "a\uFFFD" || string(tl.Metadata) != `{"x":"\u0000"}` {
		t.Errorf("Timelapse(tl) = %+v", tl)
	}
	if err := os.Rename(filepath.Join(f.dir, "bin\xff"), filepath.Join(f.dir, "bin")); err != nil {
		t.Fatal(err)
	}
	if done := f.reconcile(t); done.Read != 1 || done.Removed != 1 {
		t.Errorf("Reconcile() after the binary name went = %+v, want one read, one removed", done)
	}
}

// Of two directories with one id the sound one is used, else the first.
func TestReconcileDuplicates(t *testing.T) {
	t.Parallel()
	f := indexed(t, files{"x/": "", "tl/timelapse.json": `{}`, "um/timelapse.json": `{}`},
		plainScan("tl/x", `{}`), plainScan("um/y", `{"owner": "ann"}`), plainScan("tl/y", `{"owner": "bob"}`))
	want := map[string]string{"x": "tl/x " + plainRow, "y": "tl/y bob " + plainRow}
	f.expect(t, "duplicates", want)
	if !strings.Contains(f.log.String(), `another scan has the id and is used: tl/y`) {
		t.Errorf("the log says nothing of the second:\n%s", f.log)
	}
	f.remove(t, "tl/y")
	f.reconcile(t)
	want["y"] = "um/y ann " + plainRow
	f.expect(t, "the first is gone", want)
}

// Damage must not open a private scan to everybody, nor give it away.
func TestDamageKeepsAccess(t *testing.T) {
	t.Parallel()
	const private = `{"owner": "ann", "sharing": ["lab"], "visibility": "private"}`
	for name, damage := range map[string]func(t *testing.T, f fixture){
		"torn metadata": func(t *testing.T, f fixture) { files{"s/metadata/metadata.json": `{"own`}.write(t, f.dir) },
		"no index":      func(t *testing.T, f fixture) { f.remove(t, "s/files.json") },
		"no metadata":   func(t *testing.T, f fixture) { f.remove(t, "s/metadata") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := indexed(t, plainScan("s", private))
			damage(t, f)
			if done := f.reconcile(t); done.Read != 1 {
				t.Fatalf("Reconcile() = %+v, want one read", done)
			}
			if _, err := f.Info(as(t, bob), "s"); !errors.Is(err, ErrUnknownScan) {
				t.Errorf("Info of a damaged private scan = %v, want ErrUnknownScan", err)
			}
			if _, err := f.Info(as(t, lars), "s"); err != nil {
				t.Errorf("Info for a member = %v", err)
			}
			plainScan("s", `{"owner": "bob"}`).write(t, f.dir)
			f.reconcile(t)
			if _, err := f.Info(as(t, guest), "s"); err != nil {
				t.Errorf("Info after the damage was mended = %v", err)
			}
		})
	}
}

// A scan that the index meets for the first time with a visibility that cannot be
// read is private, whatever its metadata say and whatever else is broken.
func TestUnknownVisibilityIsPrivate(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]string{
		"torn": "{", "empty": "", "a list": `["private"]`, "silent": `{"visibility": null}`,
		"too large": `{"visibility": "private", "x": "` + strings.Repeat("x", 5000) + `"}`, "a directory": "/",
		"a link out": "->",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, plainScan("s", `{"owner": "ann", "visibility": "public"}`), plainScan("t", `{}`))
			for _, dir := range []string{"s", "t"} {
				switch path := dir + "/.plantdb.json"; damage {
				case "/":
					files{path + "/": ""}.write(t, f.dir)
				case "->":
					if err := os.Symlink("/nowhere", filepath.Join(f.dir, path)); err != nil {
						t.Fatal(err)
					}
				default:
					files{path: damage}.write(t, f.dir)
				}
			}
			f.remove(t, "t/metadata") // a reason of its own, that comes first
			f.reconcile(t)
			for _, dir := range []string{"s", "t"} {
				if _, err := f.Info(as(t, bob), dir); !errors.Is(err, ErrUnknownScan) {
					t.Errorf("Info(%s) = %v, want ErrUnknownScan", dir, err)
				}
				info, err := f.Info(as(t, admin), dir)
				if err != nil || !strings.Contains(string(info), ".plantdb.json") && dir == "s" {
					t.Errorf("Info(%s) of an administrator = %s, %v, want the reason", dir, info, err)
				}
				if said := "path=" + dir + " "; !strings.Contains(f.log.String(), said) || strings.Count(f.log.String(), ".plantdb.json, which says who may see") < 2 {
					t.Errorf("the log does not say why:\n%s", f.log)
				}
			}
			f.remove(t, "s/.plantdb.json")
			f.reconcile(t)
			if _, err := f.Info(as(t, bob), "s"); err != nil {
				t.Errorf("Info() after the damage is gone = %v", err)
			}
		})
	}
}

// A scan whose rows PostgreSQL refuses does not keep the others out.
func TestReconcileUnwritable(t *testing.T) {
	t.Parallel()
	f := newFixture(t, plainScan("bad", `{"x": 1}`), plainScan("good", `{}`),
		plainScan("hidden", `{"x": 1}`), files{"hidden/.plantdb.json": `{"visibility": "private"}`})
	_, err := f.pool.Exec(t.Context(), `
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN IF NEW.metadata ? 'x' THEN RAISE program_limit_exceeded; END IF; RETURN NEW; END $$;
		CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON scans FOR EACH ROW EXECUTE FUNCTION refuse()`)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []Reconciled{{Scans: 3, Read: 3, Broken: 2}, {Scans: 3, Broken: 2}} {
		if done := f.reconcile(t); done != want {
			t.Errorf("Reconcile() = %+v, want %+v", done, want)
		}
	}
	f.expect(t, "refused", map[string]string{
		"good": "good " + plainRow, "bad": "bad public 0 0 it holds something that the index does not take",
		"hidden": "hidden private 0 0 it holds something that the index does not take",
	})
}

// Each scan is in a transaction of its own: what failed is as it was, what
// went before stays, and the next run goes on.
func TestReconcileEachScanWhole(t *testing.T) {
	t.Parallel()
	f := newFixture(t, plainScan("a", `{}`), plainScan("b", `{}`))
	for _, table := range []string{"filesets", "files"} {
		_, err := f.pool.Exec(t.Context(), fmt.Sprintf(`
			CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
				$$ BEGIN IF (SELECT name FROM scans WHERE id = NEW.scan_id) = 'b' THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END $$;
			CREATE OR REPLACE FUNCTION fail_file() RETURNS trigger LANGUAGE plpgsql AS
				$$ BEGIN IF NEW.name = '00001_rgb' THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END $$;
			DROP TRIGGER IF EXISTS fail ON filesets; DROP TRIGGER IF EXISTS fail ON files;
			CREATE TRIGGER fail BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION %s()`,
			table, map[string]string{"filesets": "fail", "files": "fail_file"}[table]))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Reconcile(t.Context()); err == nil {
			t.Fatalf("Reconcile() with a failing table %s = nil, want an error", table)
		}
		for name, line := range f.rows(t) {
			if !strings.HasSuffix(line, plainRow) {
				t.Errorf("failing table %s: row of %s is %q, want all or nothing", table, name, line)
			}
		}
	}
	if _, err := f.pool.Exec(t.Context(), `DROP TRIGGER fail ON files`); err != nil {
		t.Fatal(err)
	}
	f.reconcile(t)
	f.expect(t, "after", map[string]string{"a": "a " + plainRow, "b": "b " + plainRow})
}

// Two servers on one tree and database may reconcile at once.
func TestReconcileTwice(t *testing.T) {
	t.Parallel()
	pool, dir := pgtest.New(t), t.TempDir()
	want := map[string]string{}
	for i := range 40 {
		name := fmt.Sprintf("s%02d", i)
		path := name
		if i%3 == 0 {
			path = "tl/" + name
		}
		plainScan(path, `{}`).write(t, dir)
		want[name] = path + " " + plainRow
	}
	files{"tl/timelapse.json": `{}`, "romidb": ""}.write(t, dir)
	one, two := fixtureOn(t, pool, dir), fixtureOn(t, pool, dir)
	var wg sync.WaitGroup
	for range 3 {
		for _, f := range []fixture{one, two} {
			wg.Go(func() {
				if _, err := f.Reconcile(t.Context()); err != nil {
					t.Errorf("Reconcile() = %v", err)
				}
			})
		}
	}
	wg.Wait()
	one.expect(t, "both", want)
	if done := two.reconcile(t); done.Read != 0 {
		t.Errorf("Reconcile() after both = %+v, want nothing read", done)
	}
}

func TestReconcileProgress(t *testing.T) {
	t.Parallel()
	f := newFixture(t, plainScan("a", `{}`), plainScan("b", `{}`), plainScan("c", `{}`))
	var calls []string
	f.OnProgress(func(done, total int) { calls = append(calls, fmt.Sprintf("%d/%d", done, total)) })
	f.reconcile(t)
	f.OnProgress(nil)
	f.reconcile(t)
	if got, want := strings.Join(calls, " "), "1/3 2/3 3/3"; got != want {
		t.Errorf("progress = %s, want %s", got, want)
	}
}

func TestReconcileEndsWithContext(t *testing.T) {
	t.Parallel()
	f := newFixture(t, plainScan("a", `{}`))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Reconcile(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Reconcile(canceled) = %v, want context.Canceled", err)
	}
}

// A digest is kept as long as the bytes are the same, and no longer.
func TestReconcileKeepsDigests(t *testing.T) {
	t.Parallel()
	f := indexed(t)
	ctx := as(t, ann)
	for _, err := range []error{
		f.Create(ctx, "s", nil), f.CreateFileset(ctx, "s", "images", nil),
		upload(ctx, f.Service, "s", "images", "a", "jpg", "bytes", ""),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	version := func() string {
		c := must[*Content](t)(f.OpenFile(ctx, "s", "images", "a"))
		defer c.Close() // Only read.
		return c.Version
	}
	const digest = "277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206a9"
	if got := version(); got != digest {
		t.Errorf("Version after the upload = %s, want the SHA-256", got)
	}
	if done := f.reconcile(t); done.Read != 1 {
		t.Errorf("Reconcile() = %+v, want one read", done)
	}
	if got := version(); got != digest {
		t.Errorf("Version after a reconcile = %s, want the SHA-256", got)
	}
	files{"s/images/a.jpg": "other"}.write(t, f.dir)
	if got := version(); got == digest {
		t.Error("Version of other bytes is the old SHA-256")
	}
	f.reconcile(t)
	if got := version(); got == digest {
		t.Error("Version of other bytes is the old SHA-256 after a reconcile")
	}
	var kept bool
	if err := f.pool.QueryRow(t.Context(), "SELECT count(sha256) = 1 FROM files").Scan(&kept); err != nil || kept {
		t.Errorf("digest kept: %v, %v, want it gone", kept, err)
	}
}

// renewed gives a file another inode, and leaves bytes and time as they are.
func renewed(t *testing.T, file string) {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.WriteFile(file+"~", content, 0o600), os.Chtimes(file+"~", info.ModTime(), info.ModTime()), os.Rename(file+"~", file))
	if err != nil {
		t.Fatal(err)
	}
}

// hashed is a scan whose two images have one size and one time, and are known by
// their digests; state tells what the index holds of them.
func hashed(t *testing.T) (f fixture, state func() string) {
	t.Helper()
	f = indexed(t, plainScan("s", `{}`), files{"s/images/00000_rgb.jpg": "first", "s/images/00001_rgb.jpg": "other"}).aged(t)
	f.reconcile(t)
	f.check(t, CheckOptions{Digests: true, Record: true})
	return f, func() (s string) {
		t.Helper()
		err := f.pool.QueryRow(t.Context(), `SELECT string_agg(CASE encode(sha256, 'hex') WHEN $1 THEN 'first' WHEN $2 THEN 'other' ELSE 'none' END ||
			CASE WHEN inode IS NULL THEN '?' ELSE '' END, ' ' ORDER BY name) FROM files`,
			fmt.Sprintf("%x", sha256.Sum256([]byte("first"))), fmt.Sprintf("%x", sha256.Sum256([]byte("other")))).Scan(&s)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// Of two files of one size and one time each is known by its own digest, also when
// they change places, which alters nothing of either but its name.
func TestReconcileOfSwappedFiles(t *testing.T) {
	t.Parallel()
	f, state := hashed(t)
	first, other := filepath.Join(f.dir, "s/images/00000_rgb.jpg"), filepath.Join(f.dir, "s/images/00001_rgb.jpg")
	swap := func() {
		if err := errors.Join(os.Rename(first, first+"~"), os.Rename(other, first), os.Rename(first+"~", other)); err != nil {
			t.Fatal(err)
		}
	}
	version := func() string {
		c := must[*Content](t)(f.OpenFile(as(t, guest), "s", "images", "00000_rgb"))
		defer c.Close() // Only read.
		return c.Version
	}
	known := version()
	if got := state(); got != "first other" {
		t.Fatalf("before: %s", got)
	}
	swap()
	if version() == known {
		t.Error("the version of what took the place of a file is that of the file")
	}
	f.expectFound(t, "swapped", CheckOptions{}, "not_indexed s/images 00000_rgb", "not_indexed s/images 00001_rgb")
	f.reconcile(t)
	if got := state(); got != "none none" {
		t.Errorf("after: %s, want no digest that is another file's", got)
	}
	f.check(t, CheckOptions{Digests: true, Record: true})
	if got := state(); got != "other first" {
		t.Errorf("hashed again: %s", got)
	}
}

// Rows of a program that knew no inodes get them without a byte being read, but for
// files that were touched since they were indexed, which may be others by now.
func TestReconcileFillsInodes(t *testing.T) {
	t.Parallel()
	f, state := hashed(t)
	older := func() {
		if _, err := f.pool.Exec(t.Context(), "UPDATE files SET inode = NULL"); err != nil {
			t.Fatal(err)
		}
	}
	older()
	if _, err := f.pool.Exec(t.Context(), "UPDATE scans SET indexed_at = now() + interval '1 minute'"); err != nil {
		t.Fatal(err) // well after they were touched, whatever the clock's step
	}
	f.expectFound(t, "of an older program", CheckOptions{})
	files{"s/metadata/metadata.json": `{"owner": "ann"}`}.write(t, f.dir)
	f.reconcile(t)
	if got := state(); got != "first other" {
		t.Errorf("filled: %s, want the digests kept", got)
	}
	older()
	if _, err := f.pool.Exec(t.Context(), "UPDATE scans SET indexed_at = 'epoch'"); err != nil {
		t.Fatal(err)
	}
	files{"s/metadata/metadata.json": `{}`}.write(t, f.dir)
	f.reconcile(t)
	if got := state(); got != "none none" {
		t.Errorf("touched since: %s, want the digests dropped", got)
	}
	f.check(t, CheckOptions{Digests: true, Record: true})
	older()
	f.check(t, CheckOptions{Digests: true, Record: true})
	if got := state(); got != "first other" {
		t.Errorf("checked: %s, want them filled by who read the bytes", got)
	}
}

// A restored tree has other inodes; its bytes were compared, and are not read again.
func TestTrustRestored(t *testing.T) {
	t.Parallel()
	f, state := hashed(t)
	if err := f.TrustRestored(as(t, ann), time.Now()); !errors.Is(err, ErrForbidden) {
		t.Errorf("TrustRestored by ann = %v, want ErrForbidden", err)
	}
	restored := func(began time.Time) {
		for _, id := range []string{"00000_rgb", "00001_rgb"} {
			renewed(t, filepath.Join(f.dir, "s/images", id+".jpg"))
		}
		if err := f.TrustRestored(as(t, actor.System()), began); err != nil {
			t.Fatal(err)
		}
		if _, err := f.pool.Exec(t.Context(), "UPDATE scans SET indexed_at = indexed_at + interval '1 minute'"); err != nil {
			t.Fatal(err) // as above
		}
		f.reconcile(t)
	}
	restored(time.Now().Add(time.Hour))
	if got := state(); got != "first other" {
		t.Errorf("of a backup: %s, want the digests kept", got)
	}
	restored(time.Now().Add(-time.Hour))
	if got := state(); got != "none none" {
		t.Errorf("of one that a change went past: %s, want the digests dropped", got)
	}
}

func TestMemberOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		key, want string
		ok        bool
	}{{"a", "1", true}, {"n", "null", true}, {"A", "", false}, {"x", "", false}} {
		got, ok := Member(json.RawMessage(`{"a": 1, "n": null}`), tt.key)
		if string(got) != tt.want || ok != tt.ok {
			t.Errorf("Member(%q) = %s, %v, want %s, %v", tt.key, got, ok, tt.want, tt.ok)
		}
	}
}

// A scan that is read again writes no rows of filesets and files that are right
// already, as all are after writes of our own; another order is not right.
func TestReconcileLeavesSameParts(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{}`), files{"s/empty/": "", "s/files.json": `{"filesets": [{"id": "empty", "files": []}, {"id": "images", "files": [
		{"id": "00000_rgb", "file": "00000_rgb.jpg"}, {"id": "00001_rgb", "file": "00001_rgb.jpg"}]}]}`})
	versions := func() (v string) {
		err := f.pool.QueryRow(t.Context(), `SELECT (SELECT string_agg(xmin::text, ' ' ORDER BY id) FROM files) || ' and ' ||
			(SELECT string_agg(xmin::text, ' ' ORDER BY id) FROM filesets)`).Scan(&v)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	first := versions()
	files{"s/metadata/metadata.json": `{"owner": "ann"}`}.write(t, f.dir)
	if done := f.reconcile(t); done.Read != 1 {
		t.Fatalf("Reconcile() = %+v, want one read", done)
	}
	if now := versions(); now != first {
		t.Errorf("rows of parts are of %s, were of %s: they had no change", now, first)
	}
	want := map[string]string{"s": "s ann public 2 17 sound empty[] images[00000_rgb=00000_rgb.jpg:11,00001_rgb=00001_rgb.jpg:6]"}
	f.expect(t, "metadata changed", want)
	files{"s/files.json": `{"filesets": [{"id": "images", "files": [
		{"id": "00001_rgb", "file": "00001_rgb.jpg"}, {"id": "00000_rgb", "file": "00000_rgb.jpg"}]}, {"id": "empty", "files": []}]}`}.write(t, f.dir)
	f.reconcile(t)
	want["s"] = "s ann public 2 17 sound images[00001_rgb=00001_rgb.jpg:6,00000_rgb=00000_rgb.jpg:11] empty[]"
	f.expect(t, "another order", want)
	files{"s/metadata/images/00001_rgb.json": `{"channel": "mask"}`}.write(t, f.dir)
	f.reconcile(t)
	if got := decode(t, must[json.RawMessage](t)(f.FileMetadata(as(t, guest), "s", "images", "00001_rgb")))["channel"]; got != "mask" {
		t.Errorf("channel = %v, want what was written", got)
	}
}
