package scan

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/storedzip"
)

// aged gives all files of a tree a time that nobody takes for now.
func (f fixture) aged(t testing.TB) fixture {
	t.Helper()
	then := time.Now().Add(-time.Hour)
	err := filepath.WalkDir(f.dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, then, then)
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func write(t testing.TB, a *Archive) ([]byte, error) {
	t.Helper()
	var buf bytes.Buffer
	err := a.WriteRange(t.Context(), &buf, 0, a.Size())
	return buf.Bytes(), err
}

func openArchive(t testing.TB, archives *Archives, who actor.Actor, name string) *Archive {
	t.Helper()
	a, err := archives.Open(as(t, who), name, nil)
	if err != nil {
		t.Fatalf("Open(%s) = %v", name, err)
	}
	t.Cleanup(func() {
		if err := a.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return a
}

func TestArchiveErrors(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{}`), plainScan("hidden", `{"owner": "ann", "visibility": "private"}`))
	archives := NewArchives(f.Service)
	if _, err := archives.Open(t.Context(), "s", nil); !errors.Is(err, ErrNoActor) {
		t.Errorf("Open without an actor = %v, want ErrNoActor", err)
	}
	for _, tt := range []struct {
		a        actor.Actor
		scan     string
		filesets []string
		want     error
	}{
		{guest, "nope", nil, ErrUnknownScan}, {guest, "hidden", nil, ErrUnknownScan}, {rita, "hidden", []string{"images"}, ErrUnknownScan},
		{guest, "s", []string{"images", "nope"}, ErrUnknownFileset}, {guest, "s", []string{"metadata"}, ErrUnknownFileset},
		{scoped(ann, "other*", actor.Read), "s", nil, ErrForbidden},
	} {
		if _, err := archives.Open(as(t, tt.a), tt.scan, tt.filesets); !errors.Is(err, tt.want) {
			t.Errorf("Open(%s, %q) by %s = %v, want %v", tt.scan, tt.filesets, tt.a.Username, err, tt.want)
		}
	}
	openArchive(t, archives, ann, "hidden")
	if err := os.RemoveAll(filepath.Join(f.dir, "s")); err != nil {
		t.Fatal(err)
	}
	if _, err := archives.Open(as(t, guest), "s", nil); err == nil {
		t.Error("Open of a scan whose directory is gone = nil, want an error")
	}
}

// The version is that of the bytes: another for other bytes, and the same
// after a restart.
func TestArchiveVersion(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{}`)).aged(t)
	seen := map[string]string{}
	version := func(what string) string {
		v := openArchive(t, NewArchives(f.Service), guest, "s").Version
		if before, ok := seen[v]; ok {
			t.Errorf("%s has the version of %s", what, before)
		}
		return v
	}
	first := version("the scan")
	if again := version("the scan again"); again != first {
		t.Errorf("version = %s, and then %s of the same files", first, again)
	}
	seen[first] = "the scan"
	change := func(what string, err error) {
		if err != nil {
			t.Fatal(err)
		}
		seen[version(what)] = what
	}
	image := filepath.Join(f.dir, "s/images/00000_rgb.jpg")
	now := time.Now()
	change("touched", os.Chtimes(image, now, now))
	change("rewritten", os.WriteFile(image, []byte("other"), 0o600))
	change("renamed", os.Rename(image, filepath.Join(f.dir, "s/images/renamed.jpg")))
	change("removed", os.Remove(filepath.Join(f.dir, "s/images/renamed.jpg")))
}

// Checksums are remembered, but for files that may change within one tick of
// the clock.
func TestArchiveRemembersSums(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{}`)).aged(t)
	archives := NewArchives(f.Service)
	future := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(f.dir, "s/files.json"), future, future); err != nil {
		t.Fatal(err)
	}
	if _, err := write(t, openArchive(t, archives, guest, "s")); err != nil {
		t.Fatalf("WriteRange = %v", err)
	}
	if got := archives.sums.Len(); got != 6 {
		t.Errorf("%d sums are remembered, want those of 6 of 7 files", got)
	}
	if n := archives.open.Load(); n != 7 {
		t.Errorf("%d files are held open, want 7", n)
	}
}

// A digest that the index has of the very version of a file is taken as it is,
// so that the first archive of a scan that was uploaded costs no hashing.
func TestArchiveTakesKnownDigests(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{}`)).aged(t)
	if err := f.RefreshScan(as(t, guest), "s"); err != nil {
		t.Fatal(err)
	}
	archives := NewArchives(f.Service)
	mark := strings.Repeat("ab", 32)
	set := func(where string) string {
		t.Helper()
		if _, err := f.pool.Exec(t.Context(), "UPDATE files SET sha256 = NULL"); err != nil {
			t.Fatal(err)
		}
		done, err := f.pool.Exec(t.Context(), "UPDATE files SET sha256 = decode($1, 'hex') WHERE "+where, mark)
		if err != nil || done.RowsAffected() == 0 {
			t.Fatalf("set digests where %s = %v, %v", where, done, err)
		}
		archives.sums.Purge()
		zipped, err := write(t, openArchive(t, archives, guest, "s"))
		if err != nil {
			t.Fatalf("WriteRange = %v", err)
		}
		return string(zipped)
	}
	if !strings.Contains(set("true"), mark+"  images/") {
		t.Error("the manifest has not the digest of the index")
	}
	if _, err := f.pool.Exec(t.Context(), "UPDATE files SET modified_at = modified_at - interval '1 second'"); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(set("true"), mark) {
		t.Error("the manifest has the digest of an older version of the file")
	}
}

// What an archive had to hash stands in the index afterwards, but of files that
// may change within one tick of the clock, or are not those that were indexed.
func TestArchiveKeepsDigests(t *testing.T) {
	t.Parallel()
	content := plainScan("s", `{}`)
	for _, id := range []string{"young", "older", "known"} {
		content["s/images/"+id+".jpg"] = id
	}
	content["s/files.json"] = `{"filesets": [{"id": "images", "files": [{"id": "00000_rgb", "file": "00000_rgb.jpg"}, {"id": "young", "file": "young.jpg"},
		{"id": "older", "file": "older.jpg"}, {"id": "known", "file": "known.jpg"}]}]}`
	f := indexed(t, content).aged(t)
	future := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(f.dir, "s/images/young.jpg"), future, future); err != nil {
		t.Fatal(err)
	}
	if err := f.RefreshScan(as(t, guest), "s"); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{
		"UPDATE files SET modified_at = modified_at - interval '1 second' WHERE name = 'older'",
		"UPDATE files SET sha256 = decode(repeat('ab', 32), 'hex') WHERE name = 'known'",
	} {
		if _, err := f.pool.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	a, err := NewArchives(f.Service).Open(as(t, guest), "s", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := write(t, a); err != nil {
		t.Fatalf("WriteRange = %v", err)
	}
	gone, cancel := context.WithCancel(t.Context()) // as that of a request is
	cancel()
	if err := a.Close(gone); err != nil {
		t.Fatalf("Close = %v", err)
	}
	rows, _ := f.pool.Query(t.Context(), "SELECT name || ' ' || coalesce(encode(sha256, 'hex'), 'none') FROM files ORDER BY name")
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprintf("00000_rgb %x", sha256.Sum256([]byte(content["s/images/00000_rgb.jpg"]))),
		"known " + strings.Repeat("ab", 32), "older none", "young none",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("digests (-want +got):\n%s", diff)
	}
}

func TestArchiveCloseLetsFilesGo(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{}`))
	archives := NewArchives(f.Service)
	a, err := archives.Open(as(t, guest), "s", nil)
	if err != nil || archives.open.Load() != 7 {
		t.Fatalf("Open = %v, %d files held, want 7", err, archives.open.Load())
	}
	if err := a.Close(t.Context()); err != nil || archives.open.Load() != 0 {
		t.Errorf("Close = %v, %d files held, want none", err, archives.open.Load())
	}
	if _, err := write(t, a); err == nil {
		t.Error("WriteRange after Close = nil, want an error")
	}
}

// With too many files open elsewhere each is opened in its turn, and what has
// changed until then is noticed.
func TestArchiveWithoutHoldingFiles(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(file string) error
		want   error
	}{
		"nothing": {func(string) error { return nil }, nil},
		"removed": {os.Remove, storedzip.ErrChanged},
		"replaced": {func(file string) error {
			return errors.Join(os.WriteFile(file+"x", []byte("second"), 0o600), os.Rename(file+"x", file))
		}, storedzip.ErrChanged},
		"grown":  {func(file string) error { return os.WriteFile(file, []byte("second and more"), 0o600) }, storedzip.ErrChanged},
		"shrunk": {func(file string) error { return os.Truncate(file, 3) }, storedzip.ErrChanged},
		"linked": {func(file string) error { return errors.Join(os.Remove(file), os.Symlink("/etc/passwd", file)) }, storedzip.ErrChanged},
	} {
		for _, summed := range []bool{false, true} {
			f := indexed(t, plainScan("s", `{}`)).aged(t)
			archives := NewArchives(f.Service)
			if summed {
				if _, err := write(t, openArchive(t, archives, guest, "s")); err != nil {
					t.Fatal(err)
				}
			}
			archives.open.Store(archives.most)
			a := openArchive(t, archives, guest, "s")
			if err := tt.change(filepath.Join(f.dir, "s/images/00001_rgb.jpg")); err != nil {
				t.Fatal(err)
			}
			archive, err := write(t, a)
			if !errors.Is(err, tt.want) || (err == nil) != (int64(len(archive)) == a.Size()) {
				t.Errorf("%s: WriteRange = %v after %d of %d bytes, want %v", name, err, len(archive), a.Size(), tt.want)
			}
			if archives.open.Load() != archives.most {
				t.Errorf("%s: %d files held open, want %d", name, archives.open.Load(), archives.most)
			}
		}
	}
}

// Archives together hold no more files open than they may, which is never all that
// the process may, and have those beyond as well.
func TestArchivesLeaveFilesToOthers(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{}`)).aged(t)
	archives := NewArchives(f.Service)
	if want := heldAtMost(fsdb.OpenFiles()); archives.most != want || want <= 0 {
		t.Errorf("archives hold %d files open, want %d", archives.most, want)
	}
	if few, many := heldAtMost(256), heldAtMost(1<<20); few != 64 || many != archiveFiles {
		t.Errorf("of 256 files archives hold %d open, of a million %d; want 64 and %d", few, many, archiveFiles)
	}
	archives.most = 3
	one, other := openArchive(t, archives, guest, "s"), openArchive(t, archives, guest, "s")
	if n := archives.open.Load(); n != 3 {
		t.Errorf("archives hold %d files open, want 3", n)
	}
	for _, a := range []*Archive{one, other} {
		if archive, err := write(t, a); err != nil || int64(len(archive)) != a.Size() {
			t.Errorf("WriteRange = %v after %d of %d bytes", err, len(archive), a.Size())
		}
	}
}

// Scans of a timelapse, and scans that cannot be used, have archives too.
func TestArchiveOfOddScans(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("tl/m", `{}`), files{"tl/timelapse.json": "{}", "broken/files.json": "{", "broken/metadata/": ""})
	archives := NewArchives(f.Service)
	for name, want := range map[string]int{"m": 8, "broken": 2} {
		a := openArchive(t, archives, guest, name)
		archive, err := write(t, a)
		if err != nil {
			t.Fatalf("WriteRange of %s = %v", name, err)
		}
		r, err := zip.NewReader(bytes.NewReader(archive), a.Size())
		if err != nil || len(r.File) != want || a.Name != name+".zip" {
			t.Errorf("archive %s of %s: %v, want %d entries", a.Name, name, err, want)
		}
	}
}

func TestManifestLine(t *testing.T) {
	t.Parallel()
	zero := strings.Repeat("0", 64)
	for name, want := range map[string]string{
		"images/a.jpg": zero + "  images/a.jpg\n", "two\nlines": `\` + zero + `  two\nlines` + "\n",
		`back\slash`: `\` + zero + `  back\\slash` + "\n", "re\rturn": `\` + zero + `  re\rturn` + "\n",
	} {
		if got := manifestLine(name, [32]byte{}); got != want {
			t.Errorf("manifestLine(%q) = %q, want %q", name, got, want)
		}
	}
}

// A file that is written to while its sums are taken is not what was laid out.
func TestSumsOfAShorterFile(t *testing.T) {
	t.Parallel()
	if _, err := sumsOf(t.Context(), strings.NewReader("abc"), 4, nil); !errors.Is(err, storedzip.ErrChanged) {
		t.Errorf("sumsOf 3 bytes as 4 = %v, want ErrChanged", err)
	}
	s, err := sumsOf(t.Context(), io.NewSectionReader(strings.NewReader("123456789"), 0, 9), 9, nil)
	if err != nil || s.crc != 0xcbf43926 { // the check value of CRC-32
		t.Errorf("sumsOf(123456789) = %08x, %v, want cbf43926", s.crc, err)
	}
}
