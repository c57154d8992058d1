package scan

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/pgtest"
)

var errLost = errors.New("the database went away")

// losing is a database whose next transactions cannot be committed.
type losing struct {
	*pgxpool.Pool
	lose atomic.Int32
}

func (l *losing) Begin(ctx context.Context) (pgx.Tx, error) {
	tx, err := l.Pool.Begin(ctx)
	return losingTx{tx, l}, err
}

type losingTx struct {
	pgx.Tx
	of *losing
}

func (tx losingTx) Commit(ctx context.Context) error {
	if tx.of.lose.Add(-1) < 0 {
		return tx.Tx.Commit(ctx)
	}
	return errors.Join(errLost, tx.Rollback(ctx))
}

// archiveCall is the upload of an archive that becomes the scan n; see scanArchive.
func archiveCall(metadata string, more ...string) func(ctx context.Context, s *Service) error {
	return func(ctx context.Context, s *Service) error {
		content := files{}
		for file, text := range plainScan("s", metadata) {
			content[strings.TrimPrefix(file, "s/")] = text
		}
		for pair := range slices.Chunk(more, 2) {
			content[pair[0]] = pair[1]
		}
		archive, err := pack(content)
		if err == nil {
			_, err = uploadArchive(ctx, s, "n", archive)
		}
		return err
	}
}

// The tree was written, then the database failed: the client that makes the
// same call again gets what it asked for, another gets a conflict, and without
// either the next reconcile mends the index.
func TestLostTransaction(t *testing.T) {
	t.Parallel()
	const series = `{"timelapse": {"id": "tl"}, "x": 1}`
	calls := map[string]struct {
		call, other func(ctx context.Context, s *Service) error // the same name, asked for otherwise
		conflict    error
		made        func(t *testing.T, f fixture) bool
	}{
		"Create": {
			func(ctx context.Context, s *Service) error { return s.Create(ctx, "n", json.RawMessage(`{"x": 1}`)) },
			func(ctx context.Context, s *Service) error { return s.Create(ctx, "n", json.RawMessage(`{"x": 2}`)) },
			ErrScanExists, func(t *testing.T, f fixture) bool { return strings.HasPrefix(f.rows(t)["n"], "n ann public 0 0 sound") },
		},
		"Create in a timelapse": {
			func(ctx context.Context, s *Service) error { return s.Create(ctx, "n", json.RawMessage(series)) },
			func(ctx context.Context, s *Service) error {
				return s.Create(ctx, "n", json.RawMessage(`{"timelapse": {"id": "tl"}}`))
			},
			ErrScanExists, func(t *testing.T, f fixture) bool {
				return strings.HasPrefix(f.rows(t)["n"], "tl/n ann public 0 0 sound")
			},
		},
		"CreateFileset": {
			func(ctx context.Context, s *Service) error { return s.CreateFileset(ctx, "s", "new", nil) },
			func(ctx context.Context, s *Service) error {
				return s.CreateFileset(ctx, "s", "new", json.RawMessage(`{"x": 2}`))
			},
			ErrFilesetExists, func(t *testing.T, f fixture) bool { return strings.HasSuffix(f.rows(t)["s"], " new[]") },
		},
		"CreateTimelapse": {
			func(ctx context.Context, s *Service) error { _, err := s.CreateTimelapse(ctx, "n", nil); return err },
			func(ctx context.Context, s *Service) error {
				_, err := s.CreateTimelapse(ctx, "n", json.RawMessage(`{"x": 2}`))
				return err
			},
			ErrTimelapseExists, func(t *testing.T, f fixture) bool {
				return slices.Contains(must[[]string](t)(f.Timelapses(as(t, ann), Query{})), "n")
			},
		},
		"archive": {
			archiveCall(`{"x": 1}`), archiveCall(`{"x": 2}`),
			ErrScanExists, func(t *testing.T, f fixture) bool {
				return strings.HasPrefix(f.rows(t)["n"], "n ann public 2 17 sound")
			},
		},
		"archive with a file more": {
			archiveCall(`{"x": 1}`), archiveCall(`{"x": 1}`, "images/more.jpg", "more"),
			ErrScanExists, func(t *testing.T, f fixture) bool {
				return strings.HasPrefix(f.rows(t)["n"], "n ann public 2 17 sound")
			},
		},
		"archive with other bytes": {
			archiveCall(`{"x": 1}`), archiveCall(`{"x": 1}`, "images/00000_rgb.jpg", "first emagi"),
			ErrScanExists, func(t *testing.T, f fixture) bool {
				return strings.HasPrefix(f.rows(t)["n"], "n ann public 2 17 sound")
			},
		},
		"archive in a timelapse": {
			archiveCall(series), archiveCall(`{"timelapse": {"id": "tl"}}`),
			ErrScanExists, func(t *testing.T, f fixture) bool {
				return strings.HasPrefix(f.rows(t)["n"], "tl/n ann public 2 17 sound")
			},
		},
		"archive with its timelapse": {
			archiveCall(`{"timelapse": {"id": "made"}, "x": 1}`), archiveCall(`{"timelapse": {"id": "made"}}`),
			ErrScanExists, func(t *testing.T, f fixture) bool {
				return strings.HasPrefix(f.rows(t)["n"], "made/n ann public 2 17 sound")
			},
		},
		"private archive": {
			archiveCall(`{"visibility": "private"}`), archiveCall(`{}`),
			ErrScanExists, func(t *testing.T, f fixture) bool {
				return strings.HasPrefix(f.rows(t)["n"], "n ann private 2 17 sound")
			},
		},
		"upload": {
			func(ctx context.Context, s *Service) error {
				return upload(ctx, s, "s", "images", "n", "jpg", "bytes", `{"x": 1}`)
			},
			func(ctx context.Context, s *Service) error {
				return upload(ctx, s, "s", "images", "n", "jpg", "other", `{"x": 1}`)
			},
			ErrFileExists, func(t *testing.T, f fixture) bool { return strings.Contains(f.rows(t)["s"], ",n=n.jpg:5]") },
		},
		"upload with other metadata": {
			func(ctx context.Context, s *Service) error {
				return upload(ctx, s, "s", "images", "n", "jpg", "bytes", `{"x": 1}`)
			},
			func(ctx context.Context, s *Service) error {
				return upload(ctx, s, "s", "images", "n", "jpg", "bytes", `{"x": 2}`)
			},
			ErrFileExists, func(t *testing.T, f fixture) bool { return strings.Contains(f.rows(t)["s"], ",n=n.jpg:5]") },
		},
	}
	for name, c := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for what, then := range map[string]func(t *testing.T, f fixture){
				"again": func(t *testing.T, f fixture) {
					if err := c.call(as(t, ann), f.Service); err != nil {
						t.Errorf("the same call again = %v, want nil", err)
					}
					if err := c.call(as(t, ann), f.Service); !errors.Is(err, c.conflict) {
						t.Errorf("the same call a third time = %v, want %v", err, c.conflict)
					}
				},
				"otherwise": func(t *testing.T, f fixture) {
					if err := c.other(as(t, ann), f.Service); !errors.Is(err, c.conflict) {
						t.Errorf("another call = %v, want %v", err, c.conflict)
					}
				},
				"reconcile": func(t *testing.T, f fixture) { f.reconcile(t) },
				"found": func(t *testing.T, f fixture) {
					f.reconcile(t)
					f.allBy(t, "ann")
					if err := c.other(as(t, ann), f.Service); !errors.Is(err, c.conflict) {
						t.Errorf("another call for what was found = %v, want %v", err, c.conflict)
					}
					if err := c.call(as(t, admin), f.Service); !errors.Is(err, c.conflict) {
						t.Errorf("the call of another user for what was found = %v, want %v", err, c.conflict)
					}
					if err := c.call(as(t, ann), f.Service); err != nil {
						t.Errorf("the same call again for what was found = %v, want nil", err)
					}
					if err := c.call(as(t, ann), f.Service); !errors.Is(err, c.conflict) {
						t.Errorf("the same call a third time = %v, want %v", err, c.conflict)
					}
					f.allBy(t, "ann")
				},
				"found before the doubt": func(t *testing.T, f fixture) {
					var notes []fsdb.Doubt
					for _, name := range []string{"n", "s", "made"} {
						notes = append(notes, must[[]fsdb.Doubt](t)(f.tree.Doubts(name))...)
					}
					each := func(do func(fsdb.Doubt) error) {
						for _, d := range notes {
							if err := do(d); err != nil {
								t.Fatal(err)
							}
						}
					}
					each(func(d fsdb.Doubt) error { return f.tree.DropDoubt(d.Path) })
					f.reconcile(t)
					for range 2 { // the answer of the first is lost, too
						each(f.tree.NoteDoubt)
						if err := c.call(as(t, ann), f.Service); err != nil {
							t.Errorf("the same call again for what was found = %v, want nil", err)
						}
					}
					f.madeOnceBy(t, "ann")
				},
				"late": func(t *testing.T, f fixture) {
					f.reconcile(t)
					now := f.now
					f.now = func() time.Time { return now().Add(doubtFor) }
					if err := c.call(as(t, ann), f.Service); !errors.Is(err, c.conflict) {
						t.Errorf("the same call after %v = %v, want %v", doubtFor, err, c.conflict)
					}
				},
			} {
				pool := &losing{Pool: pgtest.New(t)}
				f := fixtureOn(t, pool, t.TempDir(), plainScan("s", `{"owner": "ann"}`), files{"tl/timelapse.json": `{}`})
				f.reconcile(t)
				pool.lose.Store(1)
				if err := c.call(as(t, ann), f.Service); !errors.Is(err, errLost) {
					t.Fatalf("%s: the first call = %v, want %v", what, err, errLost)
				}
				if c.made(t, f) {
					t.Fatalf("%s: the index has it after a lost transaction", what)
				}
				then(t, f)
				if what != "otherwise" && !c.made(t, f) {
					t.Errorf("%s: the index does not have it: %v", what, f.rows(t))
				}
				before := f.rows(t)
				f.reconcile(t)
				f.expect(t, what+", reconciled", before)
				f.expectFound(t, what, CheckOptions{Digests: true})
				f.membersAre(t, what)
			}
		})
	}
}

// allBy fails the test unless there are events of what was made, and all are of
// this user; that a timelapse has a scan more is found as if from outside.
func (f fixture) allBy(t *testing.T, username string) {
	t.Helper()
	events := slices.DeleteFunc(f.outbox(t), func(e string) bool { return strings.HasPrefix(e, "timelapse.changed ") })
	for _, e := range events {
		if !strings.Contains(e, " "+username+":") {
			t.Errorf("event %q, want one of %s", e, username)
		}
	}
	if len(events) == 0 {
		t.Error("no event of what was found")
	}
}

// madeOnceBy fails the test unless there are events of this user that say what
// was made, each of another thing.
func (f fixture) madeOnceBy(t *testing.T, username string) {
	t.Helper()
	made := map[string]int{}
	for _, e := range f.outbox(t) {
		if what := strings.Fields(e); strings.HasSuffix(what[0], ".created") && strings.HasPrefix(what[1], username+":") {
			made[e]++
		}
	}
	for e, n := range made {
		if n != 1 {
			t.Errorf("%d events %q, want one", n, e)
		}
	}
	if len(made) == 0 {
		t.Errorf("no event says what %s made: %q", username, f.outbox(t))
	}
}

// membersAre fails the test unless the markers of timelapses list what lies in
// them.
func (f fixture) membersAre(t *testing.T, when string) {
	t.Helper()
	for _, name := range must[[]string](t)(f.Timelapses(as(t, admin), Query{})) {
		marker := must[*fsdb.Timelapse](t)(f.tree.ReadTimelapse(t.Context(), name))
		scans := must[[]string](t)(f.tree.TimelapseScans(t.Context(), name))
		if strings.Contains(when, "again") && !slices.Equal(marker.Scans, scans) {
			t.Errorf("%s: the marker of %s lists %v, its directory %v", when, name, marker.Scans, scans)
		}
	}
}

// A scan that only the disk has, in whatever timelapse, keeps its name to itself:
// with two of one id one would hide the other.
func TestLostScanKeepsItsName(t *testing.T) {
	t.Parallel()
	archive := scanArchive(t, `{}`)
	for name, make := range map[string]func(ctx context.Context, s *Service) error{
		"Create":  func(ctx context.Context, s *Service) error { return s.Create(ctx, "n", nil) },
		"archive": func(ctx context.Context, s *Service) error { _, err := uploadArchive(ctx, s, "n", archive); return err },
		"in another timelapse": func(ctx context.Context, s *Service) error {
			return s.Create(ctx, "n", json.RawMessage(`{"timelapse": {"id": "other"}}`))
		},
		"restore": func(ctx context.Context, s *Service) error {
			entries, err := s.Trash(ctx, nil, 1)
			if err == nil {
				_, err = s.Restore(ctx, entries[0].ID, "n")
			}
			return err
		},
	} {
		pool := &losing{Pool: pgtest.New(t)}
		f := fixtureOn(t, pool, t.TempDir(), plainScan("s", `{"owner": "ann"}`), files{"tl/timelapse.json": `{}`, "other/timelapse.json": `{}`})
		f.reconcile(t)
		ctx := as(t, ann)
		must[TrashEntry](t)(f.DeleteScan(ctx, "s", Match{}))
		pool.lose.Store(1)
		if err := f.Create(ctx, "n", json.RawMessage(`{"timelapse": {"id": "tl"}}`)); !errors.Is(err, errLost) {
			t.Fatalf("%s: the first call = %v, want %v", name, err, errLost)
		}
		if err := make(ctx, f.Service); !errors.Is(err, ErrScanExists) {
			t.Errorf("%s of a scan that only the disk has = %v, want ErrScanExists", name, err)
		}
		f.reconcile(t)
		f.expectFound(t, name, CheckOptions{})
		if line := f.rows(t)["n"]; !strings.HasPrefix(line, "tl/n ann public 0 0 sound") {
			t.Errorf("%s: the index has %q, want the scan of the first call", name, line)
		}
	}
}

// Of two scans of one id that somebody put there, the one stays that was there
// before.
func TestIndexedScanIsUsed(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("z/n", `{"owner": "ann"}`), files{"a/timelapse.json": `{}`, "z/timelapse.json": `{}`})
	for _, other := range []string{"n", "a/n"} {
		plainScan(other, `{"owner": "eve"}`).write(t, f.dir)
		f.reconcile(t)
		if line := f.rows(t)["n"]; !strings.HasPrefix(line, "z/n ann") {
			t.Errorf("with %s there the index has %q, want what it had", other, line)
		}
		if err := f.RefreshScan(as(t, ann), "n"); err != nil || !strings.HasPrefix(f.rows(t)["n"], "z/n ann") {
			t.Errorf("RefreshScan with %s there = %v, and the index has %q", other, err, f.rows(t)["n"])
		}
	}
}

// A write of metadata that the index lost is there after the next one.
func TestLostMetadata(t *testing.T) {
	t.Parallel()
	pool := &losing{Pool: pgtest.New(t)}
	f := fixtureOn(t, pool, t.TempDir(), plainScan("s", `{"owner": "ann"}`))
	f.reconcile(t)
	ctx := as(t, ann)
	for name, set := range map[string]func(Update) (json.RawMessage, error){
		"scan":    func(u Update) (json.RawMessage, error) { return f.SetMetadata(ctx, "s", u) },
		"fileset": func(u Update) (json.RawMessage, error) { return f.SetFilesetMetadata(ctx, "s", "images", u) },
		"file":    func(u Update) (json.RawMessage, error) { return f.SetFileMetadata(ctx, "s", "images", "00000_rgb", u) },
	} {
		pool.lose.Store(1)
		if _, err := set(Update{Metadata: json.RawMessage(`{"a": 1}`)}); !errors.Is(err, errLost) {
			t.Errorf("%s: first call = %v, want %v", name, err, errLost)
		}
		got, err := set(Update{Metadata: json.RawMessage(`{"b": 2}`)})
		if err != nil || decode(t, got)["a"] != 1.0 || decode(t, got)["b"] != 2.0 {
			t.Errorf("%s: second call = %s, %v, want both keys", name, got, err)
		}
	}
}

// What came from outside is not given to who asks for its name.
func TestForeignNameIsAConflict(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	plainScan("came", `{"owner": "ann"}`).write(t, f.dir)
	files{"cametl/timelapse.json": `{"owner": "ann", "scans": ["x"]}`, "s/extra.txt": ""}.write(t, f.dir)
	if err := f.Create(as(t, ann), "came", nil); !errors.Is(err, ErrScanExists) {
		t.Errorf("Create(came) = %v, want ErrScanExists", err)
	}
	if _, err := f.Info(as(t, guest), "came"); err != nil {
		t.Errorf("Info(came) = %v, want it taken in", err)
	}
	if err := f.Create(as(t, ann), "cametl", nil); !errors.Is(err, ErrScanExists) {
		t.Errorf("Create(cametl) = %v, want ErrScanExists", err)
	}
	if _, err := f.CreateTimelapse(as(t, ann), "cametl", nil); !errors.Is(err, ErrTimelapseExists) {
		t.Errorf("CreateTimelapse(cametl) = %v, want ErrTimelapseExists", err)
	}
	// A file name that belongs to another id.
	if err := upload(as(t, ann), f.Service, "s", "images", "00000_rgb.jpg", "txt", "x", ""); err != nil {
		t.Errorf("upload of an id that is another's file name = %v", err)
	}
}

// oneConnection is a database of one's own by a pool of one connection.
func oneConnection(t *testing.T) *pgxpool.Pool {
	t.Helper()
	config := must[*pgxpool.Config](t)(pgxpool.ParseConfig(pgtest.URL(t)))
	config.MaxConns = 1
	pool := must[*pgxpool.Pool](t)(pgxpool.NewWithConfig(t.Context(), config))
	t.Cleanup(pool.Close)
	return pool
}

// No call takes a second connection while it holds one: with a pool of one
// each of them would wait for itself.
func TestOneConnectionIsEnough(t *testing.T) {
	t.Parallel()
	f := fixtureOn(t, oneConnection(t), t.TempDir(), plainScan("s", `{"owner": "ann"}`), plainScan("tl/m", `{}`), files{"tl/timelapse.json": `{}`})
	ctx, u := as(t, ann), Update{Metadata: json.RawMessage(`{"a": 1}`)}
	steps := []func() error{
		func() error { _, err := f.Refresh(ctx); return err },
		func() error { return f.RefreshScan(ctx, "s") },
		func() error { return f.Create(ctx, "n", json.RawMessage(`{"sharing": "lab"}`)) },
		func() error { return f.Create(ctx, "o", json.RawMessage(`{"timelapse": {"id": "tl"}}`)) },
		func() error { return f.CreateFileset(ctx, "n", "images", nil) },
		func() error { return upload(ctx, f.Service, "n", "images", "x", "jpg", "x", "") },
		func() error { _, err := f.SetMetadata(ctx, "n", u); return err },
		func() error { _, err := f.SetFilesetMetadata(ctx, "n", "images", u); return err },
		func() error { _, err := f.SetFileMetadata(ctx, "n", "images", "x", u); return err },
		func() error { _, err := f.CreateTimelapse(ctx, "t2", nil); return err },
		func() error { _, err := allInfos(ctx, f.Service, Query{}); return err },
		func() error { _, err := allInfos(ctx, f.Service, Query{Timelapse: "tl"}); return err },
		func() error { _, err := f.Timelapse(ctx, "tl"); return err },
		func() error { _, err := f.Reconcile(ctx); return err },
		func() error { _, err := f.SetVisibility(ctx, "n", Private, Match{}); return err },
		func() error { _, err := f.SetSharing(ctx, "n", []string{"lab"}, Match{}); return err },
		func() error {
			f.limited.forget() // as if the last look were a second ago
			_, err := f.SetOwner(ctx, "o", "bob", Match{})
			return err
		},
		func() error { _, err := f.SetTimelapseMetadata(ctx, "t2", u); return err },
		func() error { return putRaw(ctx, f.Service, "n", "notes.txt", "x") },
		func() error {
			r, err := f.CreateResumable(ctx, NewResumable{Scan: "n", Fileset: "images", File: "pieces", Extension: "png", Size: 1})
			if err == nil {
				_, err = f.Resume(ctx, r.ID, piece(0, "x"))
			}
			return err
		},
		func() error {
			_, err := uploadArchive(ctx, f.Service, "packed", scanArchive(t, `{"sharing": ["lab"], "timelapse": {"id": "t2"}}`))
			return err
		},
		func() error {
			results, err := f.Batch(ctx, []BatchOp{{Op: BatchShare, Scan: "n", Groups: []string{"farm"}}, {Op: BatchTag, Scan: "n", Tags: []string{"x"}}, {Op: BatchDelete, Scan: "packed"}})
			if err == nil {
				_, err = f.Restore(ctx, results[2].Trash.ID, "")
			}
			return err
		},
		func() error {
			e, err := f.DeleteFile(ctx, "n", "images", "x", Match{})
			if err == nil {
				err = f.Purge(ctx, e.ID)
			}
			return err
		},
		func() error { _, err := f.DeleteFileset(ctx, "n", "images", Match{}); return err },
		func() error { _, err := f.DeleteTimelapse(ctx, "t2", true, Match{}); return err },
		func() error { _, err := f.KeepTrash(as(t, actor.System())); return err },
		func() error { _, err := f.SweepResumables(as(t, actor.System())); return err },
	}
	done := make(chan error, 1)
	go func() {
		for i, step := range steps {
			if err := step(); err != nil {
				t.Errorf("step %d = %v", i, err)
			}
		}
		done <- nil
	}()
	waitFor(t, "the end of all calls", func() bool { return len(done) == 1 })
}
