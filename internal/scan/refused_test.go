package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/pgtest"
)

// everyWrite are calls that change the tree of writable, each once.
var everyWrite = map[string]func(ctx context.Context, s *Service, trash map[string]uuid.UUID) error{
	"create": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		return s.Create(ctx, "n", json.RawMessage(`{"visibility": "private"}`))
	},
	"create in a timelapse": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		return s.Create(ctx, "n", json.RawMessage(`{"timelapse": {"id": "tl"}}`))
	},
	"create a fileset": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		return s.CreateFileset(ctx, "s", "new", json.RawMessage(`{"a": 1}`))
	},
	"create a fileset of a directory": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		return s.CreateFileset(ctx, "s", "unlisted", nil)
	},
	"create a timelapse": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		_, err := s.CreateTimelapse(ctx, "n", nil)
		return err
	},
	"upload": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		return upload(ctx, s, "s", "images", "n", "jpg", "bytes", `{"a": 1}`)
	},
	"put a new file": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		return putRaw(ctx, s, "s", "new.csv", "a,b")
	},
	"put a file in place of another": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		return putRaw(ctx, s, "s", "measures.json", `{"angles": [1]}`)
	},
	"archive": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		return archiveCall(`{"x": 1}`)(ctx, s)
	},
	"archive into a timelapse": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		return archiveCall(`{"timelapse": {"id": "tl"}}`)(ctx, s)
	},
	"archive with its timelapse": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		return archiveCall(`{"timelapse": {"id": "made"}}`)(ctx, s)
	},
	"metadata of a scan": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		_, err := s.SetMetadata(ctx, "s", Update{Metadata: json.RawMessage(`{"a": 1}`)})
		return err
	},
	"metadata of a fileset": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		_, err := s.SetFilesetMetadata(ctx, "s", "images", Update{Metadata: json.RawMessage(`{"a": 1}`)})
		return err
	},
	"metadata of a file": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		_, err := s.SetFileMetadata(ctx, "s", "images", "00000_rgb", Update{Metadata: json.RawMessage(`{"a": 1}`)})
		return err
	},
	"first metadata of a file": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		_, err := s.SetFileMetadata(ctx, "s", "images", "00001_rgb", Update{Metadata: json.RawMessage(`{"a": 1}`)})
		return err
	},
	"metadata of a timelapse": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		_, err := s.SetTimelapseMetadata(ctx, "tl", Update{Metadata: json.RawMessage(`{"a": 1}`)})
		return err
	},
	"migrated metadata": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		_, err := s.MigrateMetadata(ctx, "s", false)
		return err
	},
	"visibility": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		_, err := s.SetVisibility(ctx, "s", Private, Match{})
		return err
	},
	"visibility back": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		_, err := s.SetVisibility(ctx, "hidden", Public, Match{})
		return err
	},
	"sharing": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		_, err := s.SetSharing(ctx, "s", []string{"lab"}, Match{})
		return err
	},
	"owner": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		_, err := s.SetOwner(ctx, "s", "bob", Match{})
		return err
	},
	"tags": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		_, _, err := s.SetTags(ctx, "s", []string{"a"}, Match{})
		return err
	},
	"changed tags": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		_, _, err := s.ChangeTags(ctx, "s", []string{"a"}, nil, Match{})
		return err
	},
	"last piece of an upload": func(ctx context.Context, s *Service, ids map[string]uuid.UUID) error {
		r, err := s.Resumable(ctx, ids["upload"])
		if err == nil && !r.Finished {
			_, err = s.Resume(ctx, ids["upload"], piece(int(r.Received), "two pieces"[r.Received:]))
		}
		return err
	},
	"batch": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		_, err := s.Batch(ctx, []BatchOp{
			{Op: BatchTag, Scan: "s", Tags: []string{"a"}}, {Op: BatchDelete, Scan: "in"}, {Op: BatchVisibility, Scan: "hidden", Visibility: Public},
		})
		return err
	},
	"delete a scan": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		_, err := s.DeleteScan(ctx, "s", Match{})
		return err
	},
	"delete a scan of a timelapse": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		_, err := s.DeleteScan(ctx, "in", Match{})
		return err
	},
	"delete a fileset": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		_, err := s.DeleteFileset(ctx, "s", "images", Match{})
		return err
	},
	"delete a file": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		_, err := s.DeleteFile(ctx, "s", "images", "00000_rgb", Match{})
		return err
	},
	"delete a timelapse": func(ctx context.Context, s *Service, _ map[string]uuid.UUID) error {
		_, err := s.DeleteTimelapse(ctx, "tl", true, Match{})
		return err
	},
	"restore a scan": func(ctx context.Context, s *Service, trash map[string]uuid.UUID) error {
		_, err := s.Restore(ctx, trash["scan"], "")
		return err
	},
	"restore a scan as another": func(ctx context.Context, s *Service, trash map[string]uuid.UUID) error {
		_, err := s.Restore(ctx, trash["scan"], "another")
		return err
	},
	"restore a fileset as another": func(ctx context.Context, s *Service, trash map[string]uuid.UUID) error {
		_, err := s.Restore(ctx, trash["fileset"], "another")
		return err
	},
	"restore a file": func(ctx context.Context, s *Service, trash map[string]uuid.UUID) error {
		_, err := s.Restore(ctx, trash["file"], "")
		return err
	},
	"purge": func(ctx context.Context, s *Service, trash map[string]uuid.UUID) error {
		return s.Purge(ctx, trash["scan"])
	},
	"purge a file": func(ctx context.Context, s *Service, trash map[string]uuid.UUID) error {
		return s.Purge(ctx, trash["file"])
	},
	"restore a timelapse": func(ctx context.Context, s *Service, trash map[string]uuid.UUID) error {
		_, err := s.Restore(ctx, trash["timelapse"], "")
		return err
	},
}

// writable makes a tree for everyWrite and returns what its trash has, and the
// upload of which all but the last piece is there.
func writable(t *testing.T, pool *cutting) (fixture, map[string]uuid.UUID) {
	t.Helper()
	old := `{"owner": "ann", "object": {"species": "Arabidopsis", "plant_id": "1"}}`
	f := fixtureOn(t, pool, t.TempDir(), plainScan("s", old), plainScan("tl/in", `{"owner": "ann"}`), plainScan("gone", `{"owner": "ann"}`),
		plainScan("parts", `{"owner": "ann"}`), plainScan("hidden", `{"owner": "ann", "visibility": "private"}`), files{
			"tl/timelapse.json": `{"owner": "ann", "scans": ["in"]}`, "lost/timelapse.json": `{"owner": "ann"}`,
			"s/measures.json": `{}`, "s/unlisted/notes.txt": "mine", "parts/more/": "",
		})
	f.remove(t, "s/metadata/images/00001_rgb.json")
	f.reconcile(t)
	ctx := as(t, ann)
	deleted := func(e TrashEntry, err error) uuid.UUID {
		t.Helper()
		return must[TrashEntry](t)(e, err).ID
	}
	trash := map[string]uuid.UUID{
		"scan":      deleted(f.DeleteScan(ctx, "gone", Match{})),
		"file":      deleted(f.DeleteFile(ctx, "parts", "images", "00001_rgb", Match{})),
		"timelapse": deleted(f.DeleteTimelapse(ctx, "lost", true, Match{})),
	}
	if err := f.CreateFileset(ctx, "parts", "more", nil); err != nil {
		t.Fatal(err)
	}
	trash["fileset"] = deleted(f.DeleteFileset(ctx, "parts", "more", Match{}))
	trash["upload"] = begin(t, f, "new", len("two pieces"))
	must[Resumable](t)(f.Resume(ctx, trash["upload"], piece(0, "two ")))
	return f, trash
}

// content is the whole tree but for what is nobody's: locks, and what is staged.
// files.json is compared by what it says.
func (f fixture) content(t *testing.T) files {
	t.Helper()
	all := f.treeOf(t, ".")
	maps.DeleteFunc(all, func(name, _ string) bool {
		top, rest, _ := strings.Cut(name, "/")
		return top == ".locks" || top == fsdb.Hidden && !strings.HasPrefix(rest, "trash/")
	})
	for name, text := range all {
		var v any
		if filepath.Base(name) == "files.json" && json.Unmarshal([]byte(text), &v) == nil {
			canonical, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = string(canonical)
		}
	}
	return all
}

// A write whose statements PostgreSQL refuses, here for a full disk, has changed
// nothing in the tree either: no reader, no program and no later sweep finds it.
// That holds whichever of its statements is the one, and where our code panics
// instead. Once there is room it works,
// and goes on to its end though the client leaves.
func TestWritesAreWholeOrNothing(t *testing.T) {
	t.Parallel()
	for name, call := range everyWrite {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := &cutting{Pool: pgtest.New(t)}
			f, trash := writable(t, pool)
			before, rows, events := f.content(t), f.rows(t), f.outbox(t)
			f.exec(t, `CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$`)
			f.exec(t, `CREATE TRIGGER full_disk BEFORE INSERT ON scan_events EXECUTE FUNCTION full_disk()`)
			if err := call(as(t, ann), f.Service, trash); err == nil {
				t.Fatal("it works with a full disk")
			}
			unchanged := func(when string) {
				t.Helper()
				if diff := cmp.Diff(before, f.content(t)); diff != "" {
					t.Errorf("%s the tree has changed (-before +after):\n%s", when, diff)
				}
				f.expect(t, when, rows)
			}
			unchanged("refused")
			f.exec(t, `DROP TRIGGER full_disk ON scan_events`)
			f.reconcile(t)
			must[int](t)(f.KeepTrash(as(t, actor.System())))
			unchanged("reconciled")
			f.wantOutbox(t, 0, events...)

			for n := int64(2); ; n++ { // each twice: see cutting
				ctx, cancel := context.WithCancel(as(t, ann))
				defer cancel()
				pool.cut.Store(&cancel)
				pool.panics.Store(n%2 == 1)
				pool.fullAt.Store(n / 2)
				err := fault.Guard(func() error { return call(ctx, f.Service, trash) })
				full := pool.fullAt.Swap(0) <= 0
				pool.cut.Store(nil)
				if full {
					if err == nil {
						t.Errorf("it works though statement %d was refused", n/2)
					}
					unchanged(fmt.Sprintf("refused at statement %d, by a panic: %v", n/2, n%2 == 1))
					if t.Failed() {
						return
					}
					continue
				}
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("once there is room = %v", err)
				}
				if ctx.Err() == nil {
					t.Fatal("the client has not left")
				}
				break
			}
			if strings.Contains(f.log.String(), "could not be taken back") {
				t.Errorf("log: %s", f.log.String())
			}
			f.onlyOnce(t, len(events))
		})
	}
}

func (f fixture) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := f.pool.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// onlyOnce fails the test unless the next reconcile finds nothing, and all events
// since are of ann.
func (f fixture) onlyOnce(t *testing.T, since int) {
	t.Helper()
	// An upload whose client left is written all the same, after its call has returned.
	waitFor(t, "the event of ann's call", func() bool { return len(f.outbox(t)) > since })
	f.reconcile(t)
	events := f.outbox(t)[since:]
	if slices.ContainsFunc(events, func(e string) bool { return !strings.Contains(e, " ann:") }) {
		t.Errorf("events = %q, want those of ann's call", events)
	}
}

// cutting is a database that has the client leave once a transaction of it writes
// events, and that has no room for one of the statements in its transactions, or
// panics at it.
type cutting struct {
	*pgxpool.Pool

	cut    atomic.Pointer[context.CancelFunc]
	panics atomic.Bool
	fullAt atomic.Int64 // for which, counted from 1; 0 for none, and below once it was refused
}

func (c *cutting) Begin(ctx context.Context) (pgx.Tx, error) {
	tx, err := c.Pool.Begin(ctx)
	return cuttingTx{tx, c}, err
}

type cuttingTx struct {
	pgx.Tx

	of *cutting
}

// full has PostgreSQL refuse a statement if it is the one.
func (tx cuttingTx) full(ctx context.Context) error {
	if tx.of.fullAt.Load() == 0 || tx.of.fullAt.Add(-1) != 0 {
		return nil
	}
	tx.of.fullAt.Store(-1)
	if tx.of.panics.Load() {
		panic("a bug")
	}
	_, err := tx.Tx.Exec(ctx, `DO $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$`)
	return err
}

func (tx cuttingTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if err := tx.full(ctx); err != nil {
		return pgconn.CommandTag{}, err
	}
	cut := tx.of.cut.Load()
	if cut != nil && (strings.Contains(sql, "-- name: RecordEvents ") || strings.Contains(sql, "-- name: InsertFiles ")) {
		(*cut)()
	}
	return tx.Tx.Exec(ctx, sql, args...)
}

func (tx cuttingTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := tx.full(ctx); err != nil {
		return nil, err
	}
	return tx.Tx.Query(ctx, sql, args...)
}

func (tx cuttingTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if err := tx.full(ctx); err != nil {
		return noRow{err}
	}
	return tx.Tx.QueryRow(ctx, sql, args...)
}

type noRow struct{ err error }

func (r noRow) Scan(...any) error { return r.err }
