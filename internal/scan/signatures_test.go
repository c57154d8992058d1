package scan

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/pgtest"
)

// mirror is a tree and what its index should say.
type mirror struct {
	fixture
	rows, dirs map[string]string // by name
}

// put makes a scan; one in four lies in a timelapse, and one in three is private, for
// the index keeps these apart.
func (m mirror) put(t *testing.T, n int, name string) {
	t.Helper()
	dir, metadata, access := name, `{}`, " public"
	if n%3 == 0 {
		metadata, access = `{"visibility": "private"}`, " private"
	}
	if n%4 == 0 {
		dir = "M/" + name
	}
	plainScan(dir, metadata).write(t, m.dir)
	m.dirs[name], m.rows[name] = dir, dir+strings.Replace(" "+plainRow, " public", access, 1)
}

func (m mirror) drop(t *testing.T, name string) {
	t.Helper()
	m.remove(t, m.dirs[name])
	delete(m.dirs, name)
	delete(m.rows, name)
}

// is reconciles twice; the second time there is nothing to do.
func (m mirror) is(t *testing.T, step string, want Reconciled) {
	t.Helper()
	want.Scans = len(m.rows)
	for range 2 {
		if done := m.reconcile(t); done != want {
			t.Errorf("%s: Reconcile() = %+v, want %+v", step, done, want)
		}
		m.expect(t, step, m.rows)
		want.Read, want.Removed = 0, 0
	}
	var told []string
	for row, err := range m.signatures("").all(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, row.Name)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(m.rows)), told); diff != "" {
		t.Errorf("%s: names of the rows (-want +got):\n%s", step, diff)
	}
}

// Tree and index are gone through together, some rows at a time: whatever the names
// are and wherever a batch ends, each scan meets its own row.
func TestReconcileInOrder(t *testing.T) {
	t.Parallel()
	// Languages sort them otherwise than their bytes, and UTF-16 does.
	names := []string{
		"a", "A", "ab", "a b", "a-b", "a_b", "B", "b", "\u00e4", "a\u0308", "z", "Z", "\u00df", "1", "10", "2", "_", "\U0001F331", "\uFFEE", "aa", "AA",
	}
	for _, held := range []int32{1, 2, 3, 7, rowsHeld} {
		t.Run(fmt.Sprintf("%d rows", held), func(t *testing.T) {
			t.Parallel()
			m := mirror{newFixture(t, files{"M/timelapse.json": "{}"}), map[string]string{}, map[string]string{}}
			m.rowsHeld = held
			m.is(t, "nothing", Reconciled{})
			for n, name := range names[:15] {
				m.put(t, n, name)
			}
			m.is(t, "first", Reconciled{Read: 15})
			for _, name := range []string{"a", "a b", "a-b", "10"} {
				m.drop(t, name)
			}
			m.is(t, "some are gone", Reconciled{Removed: 4})
			for n, name := range names[15:] {
				m.put(t, n, name)
			}
			m.put(t, 0, "a b")
			m.drop(t, "z")
			files{m.dirs["B"] + "/metadata/images.json": "{}"}.write(t, m.dir)
			m.is(t, "some come, one goes, one changes", Reconciled{Read: 8, Removed: 1})
			for name := range maps.Clone(m.rows) {
				m.drop(t, name)
			}
			m.is(t, "all are gone", Reconciled{Removed: 17})
		})
	}
}

// between is a database that does something before it tells some rows of the index.
type between struct {
	*pgxpool.Pool
	batches int
	batch   func(n int)
}

func (b *between) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if strings.HasPrefix(sql, "-- name: ListScanSignatures ") {
		b.batches++
		b.batch(b.batches)
	}
	return b.Pool.Query(ctx, sql, args...)
}

// Scans that come and go while tree and index are compared, before and behind the
// place where that is, are neither forgotten nor shown when they are gone, and
// nothing is told of them twice.
func TestReconcileWhileScansComeAndGo(t *testing.T) {
	t.Parallel()
	pool := &between{Pool: pgtest.New(t), batch: func(int) {}}
	f := fixtureOn(t, pool, t.TempDir(), plainScan("b", `{"owner": "ann"}`), plainScan("d", `{}`), plainScan("f", `{"owner": "ann"}`), plainScan("h", `{}`))
	f.rowsHeld = 1
	f.reconcile(t)
	seen := len(f.outbox(t))
	ctx := as(t, ann)
	pool.batches = 0
	pool.batch = func(n int) {
		if n != 3 { // b and d were told
			return
		}
		for _, name := range []string{"a", "c", "g", "z"} {
			if err := f.Create(ctx, name, nil); err != nil {
				t.Errorf("Create(%q) = %v", name, err)
			}
		}
		for _, name := range []string{"b", "f"} {
			if _, err := f.DeleteScan(ctx, name, Match{}); err != nil {
				t.Errorf("DeleteScan(%q) = %v", name, err)
			}
		}
		f.remove(t, "d", "h") // by somebody else
		plainScan("e", `{}`).write(t, f.dir)
	}
	done := f.reconcile(t)
	if pool.batches < 6 || done.Scans != 4 || done.Removed > 0 || done.Broken > 0 {
		t.Errorf("Reconcile() = %+v, after %d batches", done, pool.batches)
	}
	pool.batch = func(int) {}
	f.reconcile(t)
	var names []string
	for name := range f.rows(t) {
		names = append(names, name)
	}
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "a c e g z" {
		t.Errorf("scans = %s, want a c e g z", got)
	}
	told := f.outbox(t)[seen:]
	slices.Sort(told)
	want := []string{
		"scan.created -:-  e", "scan.created ann:none  a", "scan.created ann:none  c", "scan.created ann:none  g", "scan.created ann:none  z",
		"scan.deleted -:-  d", "scan.deleted -:-  h", "scan.deleted ann:none  b", "scan.deleted ann:none  f",
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
