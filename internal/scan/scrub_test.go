package scan

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/actor"
)

// A scrub goes on where the last slice stopped, a file at a time if it must; gives
// files a digest; keeps what it finds until that is mended; and rests after a pass.
func TestScrub(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("a", `{}`), plainScan("b", `{}`), plainScan("tidy", `{}`))
	ctx := as(t, actor.System())
	found := func() (list []string) {
		rows, err := f.pool.Query(t.Context(), `SELECT kind || ' ' || path || ' ' || file FROM care_findings ORDER BY id`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			list = append(list, line)
		}
		return list
	}
	unknown := func() (n int) {
		if err := f.pool.QueryRow(t.Context(), `SELECT count(*) FROM files WHERE sha256 IS NULL`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	scrub := func(until time.Time) {
		if err := f.Scrub(ctx, until); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(time.Hour)
	left := unknown()
	for range 9 { // whose time is up at once: a file a slice, or the end of a scan
		scrub(time.Now().Add(-time.Second))
		now := unknown()
		if left-now > 1 {
			t.Errorf("a slice without time read %d files", left-now)
		}
		left = now
	}
	if left != 0 {
		t.Errorf("%d files have no digest after three slices a scan", left)
	}
	scrub(long)
	if n, list := unknown(), found(); n != 0 || len(list) > 0 {
		t.Errorf("after a pass %d files have no digest, found %q", n, list)
	}
	again := func() { // a day later
		if _, err := f.pool.Exec(t.Context(), `UPDATE care_passes SET finished_at = finished_at - interval '25 hours'`); err != nil {
			t.Fatal(err)
		}
		scrub(long)
	}
	name := filepath.Join(f.dir, "b/images/00001_rgb.jpg")
	rot(t, name, "SECOND")
	files{"a/images/extra.jpg": "x"}.write(t, f.dir)
	scrub(long)
	if list := found(); len(list) > 0 {
		t.Errorf("it does not rest after a pass: %q", list)
	}
	want := []string{"extra_file a/images/extra.jpg ", "digest_differs b/images 00001_rgb"}
	for range 2 {
		again()
		if list := found(); !slices.Equal(list, want) {
			t.Errorf("found %q, want %q", list, want)
		}
	}
	rot(t, name, "second")
	f.remove(t, "a")
	f.reconcile(t)
	again()
	if list := found(); len(list) > 0 {
		t.Errorf("what was mended is still found: %q", list)
	}
	var scans, read int64
	if err := f.pool.QueryRow(t.Context(), `SELECT scans, bytes FROM care_passes WHERE kind = 'scrub'`).Scan(&scans, &read); err != nil || scans != 2 || read != 2*17 {
		t.Errorf("the pass says %d scans, %d bytes, %v", scans, read, err)
	}
	if err := f.Scrub(as(t, admin), long); !errors.Is(err, ErrForbidden) {
		t.Errorf("Scrub() by an administrator = %v, want ErrForbidden", err)
	}
}

// What was found in a scan is kept where nobody can say how it is now, for somebody
// holds it.
func TestScrubOfHeldScan(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{}`), files{"s/images/x.jpg": "x"})
	scrub := func() {
		t.Helper()
		if _, err := f.pool.Exec(t.Context(), `UPDATE care_passes SET finished_at = finished_at - interval '25 hours'`); err != nil {
			t.Fatal(err)
		}
		if err := f.Scrub(as(t, actor.System()), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	faults := func() int64 {
		t.Helper()
		return must[ScrubReport](t)(f.ScrubReport(as(t, admin), "", 1)).Faults
	}
	scrub()
	other := fixtureOn(t, f.pool, f.dir)
	f.config.LockTimeout = 50 * time.Millisecond
	err := other.still(as(t, ann), "test", func(pgx.Tx) error {
		scrub()
		if n := faults(); n != 1 {
			t.Errorf("%d faults while somebody holds the scan, want the one that was found before", n)
		}
		return nil
	}, "s")
	if err != nil {
		t.Fatal(err)
	}
	f.config.LockTimeout = 2 * time.Minute
	scrub()
	if n := faults(); n != 1 {
		t.Errorf("%d faults, want one", n)
	}
	f.remove(t, "s/images/x.jpg")
	scrub()
	if n := faults(); n != 0 {
		t.Errorf("%d faults of a scan that was mended", n)
	}
}

// What was found is told to administrators, a page at a time, with how far the
// pass is, and in metrics.
func TestScrubReport(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("a", `{}`), plainScan("b", `{}`), files{"a/images/x.jpg": "x", "a/images/y.jpg": "y", "b/images/z.jpg": "z"})
	ask := func(after string, limit int) ScrubReport {
		t.Helper()
		r, err := f.ScrubReport(as(t, admin), after, limit)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := ask("", 10); !r.Began.IsZero() || r.Faults != 0 || len(r.Findings) > 0 || r.Next != "" {
		t.Errorf("ScrubReport() before the first pass = %+v", r)
	}
	if err := f.Scrub(as(t, actor.System()), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	var paths []string
	after := ""
	for range 4 {
		r := ask(after, 2)
		if r.Faults != 3 || r.VerifiedFrom.IsZero() || !r.VerifiedFrom.Equal(r.Began) || r.Finished.Before(r.Began) || r.Scans != 2 || r.Files != 4 || r.Bytes != 2*17 {
			t.Errorf("ScrubReport() = %+v", r)
		}
		for _, found := range r.Findings {
			if found.Kind != "extra_file" || found.At.IsZero() {
				t.Errorf("found %+v", found)
			}
			paths = append(paths, found.Path)
		}
		if after = r.Next; after == "" {
			break
		}
	}
	if want := []string{"a/images/x.jpg", "a/images/y.jpg", "b/images/z.jpg"}; !slices.Equal(paths, want) {
		t.Errorf("the pages have %q, want %q", paths, want)
	}
	if d := f.Scrubbed(t.Context()); d.Bytes != 2*17 || d.Files != 4 || d.Faults != 3 || d.VerifiedFrom.IsZero() {
		t.Errorf("Scrubbed() = %+v", d)
	}
	if _, err := f.ScrubReport(as(t, ann), "", 1); !errors.Is(err, ErrForbidden) {
		t.Errorf("ScrubReport() by ann = %v, want ErrForbidden", err)
	}
	if _, err := f.ScrubReport(as(t, admin), "x", 1); !errors.Is(err, ErrCursor) {
		t.Errorf("ScrubReport(x) = %v, want ErrCursor", err)
	}
}
