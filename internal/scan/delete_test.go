package scan

import (
	"context"
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
	"github.com/google/uuid"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/pgtest"
)

// deletable is a tree with something of each kind to delete, all of it ann's.
func deletable() []files {
	return []files{
		plainScan("s", `{"owner": "ann", "sharing": ["lab"]}`), plainScan("tl/m", `{"owner": "ann", "timelapse": {"id": "tl"}}`),
		plainScan("tl/n", `{"owner": "ann"}`), {"tl/timelapse.json": `{"id": "tl", "owner": "ann", "scans": ["m", "n"]}`},
	}
}

// deletions are the calls, each on deletable.
var deletions = map[string]func(ctx context.Context, s *Service, match Match) (TrashEntry, error){
	"scan":   func(ctx context.Context, s *Service, m Match) (TrashEntry, error) { return s.DeleteScan(ctx, "s", m) },
	"member": func(ctx context.Context, s *Service, m Match) (TrashEntry, error) { return s.DeleteScan(ctx, "m", m) },
	"fileset": func(ctx context.Context, s *Service, m Match) (TrashEntry, error) {
		return s.DeleteFileset(ctx, "s", "images", m)
	},
	"file": func(ctx context.Context, s *Service, m Match) (TrashEntry, error) {
		return s.DeleteFile(ctx, "s", "images", "00001_rgb", m)
	},
	"timelapse": func(ctx context.Context, s *Service, m Match) (TrashEntry, error) {
		return s.DeleteTimelapse(ctx, "tl", true, m)
	},
}

// left is what deletable still has after each deletion.
var left = map[string]map[string]string{
	"scan":      {"m": "", "n": ""},
	"member":    {"s": "", "n": ""},
	"fileset":   {"s": "s ann public 0 0 sound", "m": "", "n": ""},
	"file":      {"s": "s ann public 1 11 sound images[00000_rgb=00000_rgb.jpg:11]", "m": "", "n": ""},
	"timelapse": {"s": ""},
}

// checkLeft says whether the index has what is left, and whether a reconcile
// finds the same.
func (f fixture) checkLeft(t *testing.T, when, kind string, before map[string]string) {
	t.Helper()
	want := map[string]string{}
	for name, line := range left[kind] {
		if want[name] = line; line == "" {
			want[name] = before[name]
		}
	}
	f.expect(t, when, want)
	f.reconcile(t)
	f.expect(t, when+", reconciled", want)
}

func TestDeleteAndRestore(t *testing.T) {
	t.Parallel()
	for kind, remove := range deletions {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f := indexed(t, deletable()...)
			ctx := as(t, ann)
			before := f.rows(t)
			e, err := remove(ctx, f.Service, Match{})
			if err != nil {
				t.Fatalf("delete = %v", err)
			}
			f.checkLeft(t, "deleted", kind, before)
			if got := must[[]TrashEntry](t)(f.Trash(ctx, nil, 10)); len(got) != 1 || got[0].ID != e.ID || got[0].Bytes != e.Bytes || got[0].DeletedBy != "ann" {
				t.Errorf("Trash() = %+v, want %+v", got, e)
			}
			if _, err := remove(ctx, f.Service, Match{}); !strings.Contains(fmt.Sprint(err), "Unknown") {
				t.Errorf("delete again = %v, want that it is unknown", err)
			}
			if n := must[int](t)(f.KeepTrash(as(t, actor.System()))); n != 0 {
				t.Errorf("KeepTrash() purged %d", n)
			}
			if _, err := f.Restore(ctx, e.ID, ""); err != nil {
				t.Fatalf("Restore() = %v", err)
			}
			f.expect(t, "restored", before)
			f.reconcile(t)
			f.expect(t, "restored, reconciled", before)
			if got := must[[]TrashEntry](t)(f.Trash(ctx, nil, 10)); len(got) != 0 {
				t.Errorf("Trash() after Restore = %+v", got)
			}
			if _, err := f.Restore(ctx, e.ID, ""); !errors.Is(err, ErrUnknownTrash) {
				t.Errorf("Restore() again = %v, want ErrUnknownTrash", err)
			}
			if content := f.read(t, "s/images/00001_rgb.jpg"); content != "second" {
				t.Errorf("the file holds %q", content)
			}
			if kind == "file" || kind == "fileset" {
				if got := f.read(t, "s/metadata/images/00001_rgb.json"); got != `{"channel": "depth", "shot_id": "000001"}` {
					t.Errorf("the file's metadata is %s", got)
				}
			}
		})
	}
}

// Restored under another id.
func TestRestoreAs(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]map[string]string{
		"scan":    {"s": "", "other": "other ann public 2 17 sound images[00000_rgb=00000_rgb.jpg:11,00001_rgb=00001_rgb.jpg:6]"},
		"member":  {"m": "", "other": "tl/other ann public 2 17 sound images[00000_rgb=00000_rgb.jpg:11,00001_rgb=00001_rgb.jpg:6]"},
		"fileset": {"s": "s ann public 2 17 sound other[00000_rgb=00000_rgb.jpg:11,00001_rgb=00001_rgb.jpg:6]"},
		"file":    {"s": "s ann public 2 17 sound images[00000_rgb=00000_rgb.jpg:11,other=other.jpg:6]"},
	} {
		f := indexed(t, deletable()...)
		ctx := as(t, ann)
		e := must[TrashEntry](t)(deletions[kind](ctx, f.Service, Match{}))
		for _, bad := range []string{"../x", "a/b", "", ".x", "metadata", "models"} {
			if bad == "" || kind == "scan" && bad == "metadata" || kind != "scan" && bad == "models" || kind == "file" && bad == "metadata" || kind == "member" {
				continue
			}
			if _, err := f.Restore(ctx, e.ID, bad); !errors.Is(err, fsdb.ErrName) && !errors.Is(err, fsdb.ErrReserved) {
				t.Errorf("Restore(%s, as %q) = %v, want a refusal of the name", kind, bad, err)
			}
		}
		got, err := f.Restore(ctx, e.ID, "other")
		if err != nil {
			t.Errorf("Restore(%s, as other) = %+v, %v", kind, got, err)
			continue
		}
		rows := f.rows(t)
		for name, line := range want {
			if rows[name] != line {
				t.Errorf("%s restored as other: row %s = %q, want %q", kind, name, rows[name], line)
			}
		}
		f.reconcile(t)
		if diff := cmp.Diff(rows, f.rows(t)); diff != "" {
			t.Errorf("%s restored as other: a reconcile finds\n%s", kind, diff)
		}
	}
	f := indexed(t, deletable()...)
	e := must[TrashEntry](t)(f.DeleteTimelapse(as(t, ann), "tl", true, Match{}))
	if _, err := f.Restore(as(t, ann), e.ID, "other"); !errors.Is(err, fsdb.ErrName) {
		t.Errorf("Restore(timelapse, as other) = %v, want ErrName", err)
	}
}

// What stands in the way of a restoration, and that the entry stays.
func TestRestoreConflicts(t *testing.T) {
	t.Parallel()
	ctx := as(t, ann)
	for _, tt := range []struct {
		kind      string
		meanwhile func(f fixture) error
		want      error
	}{
		{"scan", func(f fixture) error { return f.Create(ctx, "s", nil) }, ErrScanExists},
		{"scan", func(f fixture) error { _, err := f.CreateTimelapse(ctx, "s", nil); return err }, ErrScanExists},
		{"scan", func(f fixture) error { return os.Mkdir(filepath.Join(f.dir, "s"), 0o755) }, ErrScanExists},
		{"member", func(f fixture) error { _, err := f.DeleteTimelapse(ctx, "tl", true, Match{}); return err }, ErrTrashOrphan},
		{"fileset", func(f fixture) error { return f.CreateFileset(ctx, "s", "images", nil) }, ErrFilesetExists},
		{"fileset", func(f fixture) error { _, err := f.DeleteScan(ctx, "s", Match{}); return err }, ErrTrashOrphan},
		{"file", func(f fixture) error { return upload(ctx, f.Service, "s", "images", "00001_rgb", "jpg", "new", "") }, ErrFileExists},
		{"file", func(f fixture) error {
			return os.WriteFile(filepath.Join(f.dir, "s/images/00001_rgb.jpg"), []byte("extra"), 0o600)
		}, ErrFileExists},
		{"file", func(f fixture) error { _, err := f.DeleteFileset(ctx, "s", "images", Match{}); return err }, ErrTrashOrphan},
		{"timelapse", func(f fixture) error { _, err := f.CreateTimelapse(ctx, "tl", nil); return err }, ErrTimelapseExists},
		{"timelapse", func(f fixture) error { return f.Create(ctx, "n", nil) }, ErrScanExists},
	} {
		f := indexed(t, deletable()...)
		e := must[TrashEntry](t)(deletions[tt.kind](ctx, f.Service, Match{}))
		if err := tt.meanwhile(f); err != nil {
			t.Fatal(err)
		}
		before := f.rows(t)
		if _, err := f.Restore(ctx, e.ID, ""); !errors.Is(err, tt.want) {
			t.Errorf("Restore(%s) = %v, want %v", tt.kind, err, tt.want)
		}
		f.expect(t, "after a conflict", before)
		if got, err := f.TrashEntry(ctx, e.ID); err != nil {
			t.Errorf("TrashEntry() after a conflict = %+v, %v", got, err)
		}
	}
}

// Who may delete, see, restore and purge.
func TestDeletePolicy(t *testing.T) {
	t.Parallel()
	eve := actor.Actor{Username: "eve", Roles: []actor.Role{actor.Reader}}
	for kind, remove := range deletions {
		for _, tt := range []struct {
			who  string
			a    actor.Actor
			want error
		}{
			{"guest", guest, ErrNoActor},
			{"reader", rita, ErrForbidden},
			{"contributor", bob, ErrForbidden},
			{"member of a group it is shared with", lars, ErrForbidden},
			{"owner's token to write", scoped(ann, "*", actor.Read, actor.Write, actor.Create), ErrForbidden},
			{"owner's token to delete elsewhere", scoped(ann, "x", actor.Delete), ErrForbidden},
			{"contributor's token to delete", scoped(bob, "*", actor.Delete), ErrForbidden},
			{"owner's token to delete", scoped(ann, "*", actor.Delete), nil},
			{"admin", admin, nil},
		} {
			f := indexed(t, deletable()...)
			before := f.rows(t)
			e, err := remove(as(t, tt.a), f.Service, Match{})
			if !errors.Is(err, tt.want) {
				t.Errorf("delete %s by %s = %v, want %v", kind, tt.who, err, tt.want)
			}
			if err != nil {
				f.expect(t, "refused", before)
				continue
			}
			for _, other := range []actor.Actor{rita, bob, lars, eve} {
				_, see := f.TrashEntry(as(t, other), e.ID)
				_, restore := f.Restore(as(t, other), e.ID, "")
				purge := f.Purge(as(t, other), e.ID)
				if !errors.Is(see, ErrUnknownTrash) || !errors.Is(restore, ErrUnknownTrash) || !errors.Is(purge, ErrUnknownTrash) {
					t.Errorf("%s, what %s deleted, for %s: %v, %v, %v, want that it is unknown", kind, tt.who, other.Username, see, restore, purge)
				}
				if list := must[[]TrashEntry](t)(f.Trash(as(t, other), nil, 10)); len(list) > 0 {
					t.Errorf("Trash() of %s = %+v", other.Username, list)
				}
			}
			if err := f.Purge(as(t, scoped(ann, "*", actor.Read, actor.Write)), e.ID); !errors.Is(err, ErrForbidden) {
				t.Errorf("Purge(%s) by the owner's token to write = %v, want ErrForbidden", kind, err)
			}
			if _, err := f.KeepTrash(as(t, admin)); !errors.Is(err, ErrForbidden) {
				t.Errorf("KeepTrash() by an administrator = %v, want ErrForbidden", err)
			}
			if err := f.Purge(as(t, ann), e.ID); err != nil {
				t.Errorf("Purge(%s, deleted by %s) by the owner = %v", kind, tt.who, err)
			}
			if entries, _, err := f.tree.TrashEntries(t.Context()); err != nil || len(entries) > 0 {
				t.Errorf("trash after Purge: %v, %v", entries, err)
			}
		}
	}
}

// A timelapse goes whole or not at all.
func TestDeleteTimelapse(t *testing.T) {
	t.Parallel()
	ctx := as(t, ann)
	f := indexed(t, append(deletable(), plainScan("tl/eves", `{"owner": "eve"}`), files{"tl/unknown/x": ""})...)
	before := f.rows(t)
	for _, tt := range []struct {
		a         actor.Actor
		name      string
		recursive bool
		want      error
		msg       string
	}{
		{ann, "tl", false, ErrNotEmpty, "Timelapse 'tl' is not empty. Use recursive=True to delete it and its scans."},
		{ann, "tl", true, ErrForbidden, "User ann does not have required permissions to use delete_timelapse"},
		{bob, "tl", true, ErrForbidden, "User bob does not have required permissions to use delete_timelapse"},
		{ann, "s", true, ErrUnknownTimelapse, "Unknown timelapse id 's'!"},
		{ann, "m", true, ErrUnknownTimelapse, "Unknown timelapse id 'm'!"},
		{ann, "none", true, ErrUnknownTimelapse, "Unknown timelapse id 'none'!"},
	} {
		if _, err := f.DeleteTimelapse(as(t, tt.a), tt.name, tt.recursive, Match{}); !errors.Is(err, tt.want) || err.Error() != tt.msg {
			t.Errorf("DeleteTimelapse(%s by %s, %v) = %v, want %q", tt.name, tt.a.Username, tt.recursive, err, tt.msg)
		}
	}
	f.expect(t, "refused", before)
	// A scan that came from outside since the last look counts as well.
	plainScan("tl/fresh", `{"owner": "bob"}`).write(t, f.dir)
	e := must[TrashEntry](t)(f.DeleteTimelapse(as(t, admin), "tl", true, Match{}))
	if diff := cmp.Diff([]string{"eves", "fresh", "m", "n", "unknown"}, e.Scans); diff != "" {
		t.Errorf("scans of the entry (-want +got):\n%s", diff)
	}
	if got := must[[]TrashEntry](t)(f.Trash(as(t, bob), nil, 10)); len(got) != 1 {
		t.Errorf("Trash() of who owned one of the scans = %+v, want the entry", got)
	}
	if _, err := f.Restore(ctx, e.ID, ""); !errors.Is(err, ErrForbidden) {
		t.Errorf("Restore() by who owns some of the scans = %v, want ErrForbidden", err)
	}
	if _, err := f.Restore(as(t, admin), e.ID, ""); err != nil {
		t.Errorf("Restore() = %v", err)
	}
	f.reconcile(t)
	if rows := f.rows(t); len(rows) != len(before)+1 || !strings.HasPrefix(rows["fresh"], "tl/fresh bob") {
		t.Errorf("rows after Restore: %v", rows)
	}
	empty := indexed(t, files{"tl/timelapse.json": `{"id": "tl", "owner": "ann"}`})
	if _, err := empty.DeleteTimelapse(ctx, "tl", false, Match{}); err != nil {
		t.Errorf("DeleteTimelapse(empty) = %v", err)
	}
}

// What was deleted counts for its owner until it is purged, by hand or by time.
func TestTrashRetention(t *testing.T) {
	t.Parallel()
	f := indexed(t, deletable()...).clock(noon)
	ctx, system := as(t, ann), as(t, actor.System())
	must[TrashEntry](t)(f.DeleteScan(ctx, "s", Match{}))
	if usage := trashBytes(t, f, "ann"); usage != 17 {
		t.Errorf("bytes of ann in the trash = %d, want 17", usage)
	}
	for day := range 30 {
		if n := must[int](t)(f.clock(noon.AddDate(0, 0, day)).KeepTrash(system)); n != 0 {
			t.Errorf("KeepTrash() on day %d = %d, want 0", day, n)
		}
	}
	for _, tt := range []struct {
		after time.Duration
		want  int
	}{{30*24*time.Hour - time.Minute, 0}, {30*24*time.Hour + time.Minute, 1}, {31 * 24 * time.Hour, 0}} {
		f = f.clock(noon.Add(tt.after))
		if n := must[int](t)(f.KeepTrash(system)); n != tt.want {
			t.Errorf("KeepTrash() after %v = %d, want %d", tt.after, n, tt.want)
		}
	}
	if got := trashBytes(t, f, "ann"); got != 0 {
		t.Errorf("bytes of ann in the trash after the purge = %d", got)
	}
	if entries, err := os.ReadDir(filepath.Join(f.dir, ".plantdb/trash")); err != nil || len(entries) > 0 {
		t.Errorf("left in the trash: %v, %v", entries, err)
	}
	f.config.TrashRetention = 0
	e := must[TrashEntry](t)(f.DeleteTimelapse(ctx, "tl", true, Match{}))
	f = f.clock(noon.AddDate(100, 0, 0))
	if n := must[int](t)(f.KeepTrash(system)); n != 0 || e.Expires != nil {
		t.Errorf("KeepTrash() without retention = %d, expires %v", n, e.Expires)
	}
}

func trashBytes(t *testing.T, f fixture, owner string) int64 {
	t.Helper()
	used, err := f.q.GetTrashUsage(t.Context(), f.pool, owner)
	if err != nil {
		t.Fatal(err)
	}
	return used.ByteCount
}

// The index of the trash is made again from the tree, and a restart on another
// database finds all of it.
func TestTrashIsIndexedAgain(t *testing.T) {
	t.Parallel()
	f := indexed(t, deletable()...)
	ctx, system := as(t, ann), as(t, actor.System())
	for _, kind := range []string{"file", "member", "scan", "timelapse"} {
		must[TrashEntry](t)(deletions[kind](ctx, f.Service, Match{}))
	}
	want := must[[]TrashEntry](t)(f.Trash(ctx, nil, 10))
	again := fixtureOn(t, pgtest.New(t), f.dir, files{".plantdb/trash/junk/entry.json": "{", ".plantdb/trash/empty/": ""})
	again.reconcile(t)
	must[int](t)(again.KeepTrash(system))
	got := must[[]TrashEntry](t)(again.Trash(ctx, nil, 10))
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(TrashEntry{})); diff != "" || len(got) != 4 {
		t.Errorf("Trash() on a new database (-want +got):\n%s", diff)
	}
	// Gone from the tree by other hands.
	if err := os.RemoveAll(filepath.Join(f.dir, ".plantdb/trash", want[0].ID.String())); err != nil {
		t.Fatal(err)
	}
	must[int](t)(again.KeepTrash(system))
	if got := must[[]TrashEntry](t)(again.Trash(ctx, nil, 10)); len(got) != 3 {
		t.Errorf("Trash() = %d entries, want the three that are left", len(got))
	}
	page := must[[]TrashEntry](t)(again.Trash(ctx, &want[1].ID, 1))
	if len(page) != 1 || page[0].ID != want[2].ID {
		t.Errorf("Trash(after the second, 1) = %+v, want the third", page)
	}
}

// Of several deletions, or of several restorations, of one thing one wins.
func TestDeleteRaces(t *testing.T) {
	t.Parallel()
	f := indexed(t, deletable()...)
	other := fixtureOn(t, f.pool, f.dir) // another server
	race := func(fn func(s *Service) error) (done int) {
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			wg.Go(func() { errs[i] = fn([]*Service{f.Service, other.Service}[i%2]) })
		}
		wg.Wait()
		for _, err := range errs {
			if err == nil {
				done++
			} else if !strings.Contains(err.Error(), "Unknown") {
				t.Errorf("a loser of the race gets %v", err)
			}
		}
		return done
	}
	ctx := as(t, ann)
	for kind, remove := range deletions {
		if kind == "member" {
			continue // goes with its timelapse
		}
		var mu sync.Mutex
		var id uuid.UUID
		if n := race(func(s *Service) error {
			e, err := remove(ctx, s, Match{})
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				id = e.ID
			}
			return err
		}); n != 1 {
			t.Errorf("%d deletions of one %s succeeded, want 1", n, kind)
		}
		if n := race(func(s *Service) error { _, err := s.Restore(ctx, id, ""); return err }); n != 1 {
			t.Errorf("%d restorations of one %s succeeded, want 1", n, kind)
		}
	}
}

// The tree was written, then the database failed: the same call again says that
// it is done, and without it the next start finds both sides one.
func TestDeleteLosesItsTransaction(t *testing.T) {
	t.Parallel()
	for kind, remove := range deletions {
		for _, again := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, again %t", kind, again), func(t *testing.T) {
				t.Parallel()
				pool := &losing{Pool: pgtest.New(t)}
				f := fixtureOn(t, pool, t.TempDir(), deletable()...)
				f.reconcile(t)
				before := f.rows(t)
				ctx, system := as(t, ann), as(t, actor.System())
				pool.lose.Store(1)
				if _, err := remove(ctx, f.Service, Match{}); !errors.Is(err, errLost) {
					t.Fatalf("delete = %v, want errLost", err)
				}
				if again && kind != "timelapse" {
					if _, err := remove(ctx, f.Service, Match{}); err != nil {
						t.Errorf("delete again = %v", err)
					}
				} else {
					f.reconcile(t)
					must[int](t)(f.KeepTrash(system))
				}
				f.checkLeft(t, "afterwards", kind, before)
				entries := must[[]TrashEntry](t)(f.Trash(ctx, nil, 10))
				if len(entries) != 1 {
					t.Fatalf("Trash() = %+v, want one entry", entries)
				}
				pool.lose.Store(1)
				if _, err := f.Restore(ctx, entries[0].ID, ""); !errors.Is(err, errLost) {
					t.Fatalf("Restore() = %v, want errLost", err)
				}
				f.reconcile(t)
				must[int](t)(f.KeepTrash(system))
				f.expect(t, "restored", before)
				if got := must[[]TrashEntry](t)(f.Trash(ctx, nil, 10)); len(got) != 0 {
					t.Errorf("Trash() = %+v, want none", got)
				}
			})
		}
	}
}

// A deletion with If-Match is refused when the metadata is another.
func TestConditionalDelete(t *testing.T) {
	t.Parallel()
	ctx := as(t, ann)
	for kind, remove := range deletions {
		f := indexed(t, deletable()...)
		version := func() string {
			switch kind {
			case "fileset":
				return Version(must[json.RawMessage](t)(f.FilesetMetadata(ctx, "s", "images")))
			case "file":
				return Version(must[json.RawMessage](t)(f.FileMetadata(ctx, "s", "images", "00001_rgb")))
			case "timelapse":
				tl := must[Timelapse](t)(f.Timelapse(ctx, "tl"))
				return must[string](t)(tl.Version())
			default:
				return Version(must[json.RawMessage](t)(f.Metadata(ctx, map[string]string{"scan": "s", "member": "m"}[kind])))
			}
		}
		if _, err := remove(ctx, f.Service, Match{Versions: []string{"other", "W/" + version()}}); !errors.Is(err, ErrPrecondition) {
			t.Errorf("delete %s with another version = %v, want ErrPrecondition", kind, err)
		}
		if _, err := remove(ctx, f.Service, Match{Versions: []string{"other", version()}}); err != nil {
			t.Errorf("delete %s with its version = %v", kind, err)
		}
	}
}

// What another program took away is not there to be deleted, whatever files.json says:
// nothing changes, and nothing comes into the trash.
func TestDeleteOfWhatIsGone(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	listed := f.read(t, "s/files.json")
	f.remove(t, "s/images/00000_rgb.jpg")
	if _, err := f.DeleteFile(as(t, ann), "s", "images", "00000_rgb", Match{}); !errors.Is(err, ErrUnknownFile) {
		t.Errorf("DeleteFile() of a file whose bytes are gone = %v, want ErrUnknownFile", err)
	}
	f.remove(t, "s/images")
	if _, err := f.DeleteFileset(as(t, ann), "s", "images", Match{}); !errors.Is(err, ErrUnknownFileset) {
		t.Errorf("DeleteFileset() of one whose directory is gone = %v, want ErrUnknownFileset", err)
	}
	if got := f.read(t, "s/files.json"); got != listed {
		t.Errorf("files.json = %s, want it as it was", got)
	}
	f.remove(t, "s")
	if _, err := f.DeleteScan(as(t, ann), "s", Match{}); !errors.Is(err, ErrUnknownScan) {
		t.Errorf("DeleteScan() of one that is gone = %v, want ErrUnknownScan", err)
	}
	f.nothingInTrash(t)
	// It was not ann who took it away.
	f.wantOutbox(t, 0, `file.deleted -:-  s/images/00000_rgb {"size": 11, "filename": "00000_rgb.jpg"}`, `fileset.deleted -:-  s/images`, `scan.deleted -:-  s`)
}

// An entry that a deletion left without content, and no row, is not shown as what is
// in the trash.
func TestDeleteLeftWithoutContent(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	r := must[row](t)(f.scan(t.Context(), f.pool, "s"))
	e := f.newTrash(ann, fsdb.TrashFile, r, 1, 11)
	e.Fileset, e.File = "images", "00000_rgb"
	if err := f.tree.Trash(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	f.remove(t, ".plantdb/trash/"+e.ID+"/content")
	if _, err := f.DeleteFile(as(t, ann), "s", "images", "00000_rgb", Match{}); !errors.Is(err, ErrUnknownFile) {
		t.Errorf("DeleteFile() = %v, want ErrUnknownFile", err)
	}
	f.nothingInTrash(t)
}

func (f fixture) nothingInTrash(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(f.dir, ".plantdb/trash"))
	if err != nil && !errors.Is(err, os.ErrNotExist) || len(entries) > 0 {
		t.Errorf("the trash holds %v, %v", entries, err)
	}
	var rows int
	if err := f.pool.QueryRow(t.Context(), "SELECT count(*) FROM trash").Scan(&rows); err != nil || rows > 0 {
		t.Errorf("the index has %d entries of the trash, %v", rows, err)
	}
}
