package scan

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/pgtest"
)

// recorder is a database that remembers what it was asked.
type recorder struct {
	*pgxpool.Pool
	mu    sync.Mutex
	asked []question
}

type question struct {
	sql  string
	args []any
}

func (r *recorder) note(sql string, args []any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, question{sql, args})
}

func (r *recorder) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	r.note(sql, args)
	return r.Pool.Query(ctx, sql, args...)
}

func (r *recorder) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	r.note(sql, args)
	return r.Pool.QueryRow(ctx, sql, args...)
}

// large fills the index with n scans of one fileset of three files.
func large(t *testing.T, pool *pgxpool.Pool, n int) {
	t.Helper()
	_, err := pool.Exec(t.Context(), fmt.Sprintf(`
		INSERT INTO timelapses (id, name, document, metadata, signature)
		SELECT gen_random_uuid(), 'tl' || i, '{}', '{}', '' FROM generate_series(1, 200) AS i;
		INSERT INTO scans (id, name, timelapse_id, owner, visibility, document, metadata, info, changed_at, signature)
		SELECT gen_random_uuid(), 'scan' || i, CASE WHEN i %% 10 = 0 THEN (SELECT id FROM timelapses WHERE name = 'tl' || (i / 10 %% 200 + 1)) END,
			'user' || i %% 100, CASE WHEN i %% 100 < 99 THEN 'private' ELSE 'public' END, m::json, m, '{}', now(), ''
		FROM generate_series(1, %d) AS i, LATERAL (SELECT jsonb_build_object('object', jsonb_build_object(
			'species', 'S' || i %% 5, 'plant_id', 'plant_' || i), 'text', repeat('x', 300)) AS m) AS d;
		INSERT INTO filesets (id, scan_id, name, position, document, metadata)
		SELECT gen_random_uuid(), id, 'images', 0, '{}', '{}' FROM scans;
		INSERT INTO files (id, fileset_id, name, filename, position, size, modified_at, document, metadata)
		SELECT gen_random_uuid(), fs.id, 'f' || i, 'f' || i || '.jpg', i, 5, now(), '{}', '{}' FROM filesets fs, generate_series(1, 3) AS i;`, n))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), "VACUUM ANALYZE scans, filesets, files, timelapses"); err != nil {
		t.Fatal(err)
	}
}

// The queries that ask for something, and not for everything, find it by an
// index, also after PostgreSQL has had the time to think of a general plan.
func TestPlans(t *testing.T) {
	t.Parallel()
	pool := &recorder{Pool: pgtest.New(t)}
	large(t, pool.Pool, 20_000)
	tree, err := fsdb.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tree.Close() }) // only read
	s := New(pool, tree, groupList{}, DefaultConfig(), slog.New(slog.DiscardHandler))
	ctx := as(t, admin)
	one := must[Filter](t)(ParseFilter(`{"object": {"plant_id": "plant_77"}}`, false))
	for what, call := range map[string]func() error{
		"Info":         func() error { _, err := s.Info(ctx, "scan77"); return err },
		"Metadata":     func() error { _, err := s.Metadata(ctx, "scan77"); return err },
		"FilesetNames": func() error { _, err := s.FilesetNames(ctx, "scan77", Query{}); return err },
		"FileNames":    func() error { _, err := s.FileNames(ctx, "scan77", "images", Query{}); return err },
		"FileMetadata": func() error { _, err := s.FileMetadata(ctx, "scan77", "images", "f2.jpg"); return err },
		"FileNames by": func() error { _, err := s.FileNames(ctx, "scan77", "images", Query{Filter: one}); return err },
		"Timelapse":    func() error { _, err := s.Timelapse(ctx, "tl7"); return err },
		"Names of one": func() error { n, err := s.Names(ctx, Query{Timelapse: "tl7"}); return count(n, err, 10) },
		"Names by key": func() error { n, err := s.Names(ctx, Query{Filter: one}); return count(n, err, 1) },
		"Names of one by due": func() error {
			n, err := s.Names(ctx, Query{Timelapse: "tl7", Sort: byDue})
			return count(n, err, 10)
		},
		"Infos of one": func() error { n, err := allInfos(ctx, s, Query{Timelapse: "tl7"}); return count(n, err, 10) },
		"signatures":   func() error { _, err := s.signatures("scan5").more(ctx); return err },
		"Create": func() error {
			_, err := s.q.NameTaken(ctx, s.pool, "scan77")
			return err
		},
		"renew": func() error { _, err := s.q.ListScanFiles(ctx, s.pool, [16]byte{1}); return err },
	} {
		pool.asked = nil
		for range 8 { // from the sixth time on there may be a general plan
			if err := call(); err != nil {
				t.Fatalf("%s = %v", what, err)
			}
		}
		for _, q := range pool.asked {
			if plan := planOf(t, pool.Pool, q); strings.Contains(plan, "Seq Scan on scans") ||
				strings.Contains(plan, "Seq Scan on files") || strings.Contains(plan, "Seq Scan on filesets") {
				t.Errorf("%s reads a whole table:\n%s\n%s", what, q.sql, plan)
				break
			}
		}
	}
	// A general plan for "any timelapse or none" could only be to read all.
	var general string
	err = pool.Pool.QueryRow(ctx, `SELECT coalesce(string_agg(statement || generic_plans || '/' || custom_plans, ';'), '') FROM pg_prepared_statements
		WHERE generic_plans > 0 AND statement ~ '^-- name: (FindScans|ListScanNames) '`).Scan(&general)
	if err != nil || general != "" {
		t.Errorf("lists with a general plan: %s, %v", general, err)
	}
}

func count[T any](list []T, err error, want int) error {
	if err == nil && len(list) != want {
		err = fmt.Errorf("%d found, want %d", len(list), want)
	}
	return err
}

// The filters of the lists, over SQL, end to end.
func TestNames(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("a", `{"owner": "ann", "object": {"species": "Arabidopsis"}, "n": 1, "tags": ["x", "y"]}`),
		plainScan("b", `{"owner": "bob", "object": {"species": "Tomato"}, "n": 1.0, "t\u0000": "x\u0000"}`),
		plainScan("c", `{"visibility": "private", "owner": "ann", "object": {"species": "Arabidopsis"}}`), plainScan("d", `{}`),
		plainScan("tl/e", `{"timelapse": {"id": "tl", "scheduled": "2026-02", "index": 1}}`), plainScan("tl/f", `{"timelapse": {"id": "tl", "scheduled": "2026-01", "index": "2"}}`),
		plainScan("tl/g", `{"timelapse": {"scheduled": "2026-01", "index": 1}}`), files{"tl/timelapse.json": `{"scans": ["g", "e", "f"]}`, "broken/": ""})
	for _, tt := range []struct {
		filter string
		fuzzy  bool
		q      Query
		want   string
	}{
		{"", false, Query{}, "a b d e f g"},
		{`{"object": {"species": "Arabidopsis"}}`, false, Query{}, "a"},
		{`{"object": {"species": "Arab"}}`, false, Query{}, ""},
		{`{"object": {"species": "Arab"}}`, true, Query{}, "a"},
		{`{"object": {}}`, false, Query{}, "a b d e f g"}, // a missing key compares as {}
		{`{"n": true}`, false, Query{}, "a b"},
		{`{"tags": ["y"]}`, false, Query{}, "a"},
		{`{"t\u0000": "x\u0000"}`, false, Query{}, "b"},
		{`tomato`, false, Query{}, "b"},
		{``, false, Query{Timelapse: "tl"}, "e f g"},
		{``, false, Query{Timelapse: "tl", Sort: byDue}, "f g e"},
		{``, false, Query{Sort: byDue}, "a b d f g e"},
		{`{"timelapse": {"index": 1}}`, false, Query{Timelapse: "tl"}, "e g"},
		{``, false, Query{Timelapse: "none"}, ""},
	} {
		tt.q.Filter = must[Filter](t)(ParseFilter(tt.filter, tt.fuzzy))
		got := must[[]string](t)(f.Names(as(t, guest), tt.q))
		if strings.Join(got, " ") != tt.want {
			t.Errorf("Names(%s, %+v) = %v, want %s", tt.filter, tt.q, got, tt.want)
		}
		infos := must[[]json.RawMessage](t)(allInfos(as(t, guest), f.Service, tt.q))
		var ids []string
		for _, raw := range infos {
			if id := decode(t, raw)["id"].(string); id != "broken" {
				ids = append(ids, id)
			}
		}
		if strings.Join(ids, " ") != tt.want {
			t.Errorf("Infos(%s, %+v) = %v, want %s", tt.filter, tt.q, ids, tt.want)
		}
	}
	only := must[Filter](t)(ParseFilter(`{"shot_id": "000001"}`, false))
	if got := must[[]string](t)(f.FileNames(as(t, guest), "a", "images", Query{Filter: only})); fmt.Sprint(got) != "[00001_rgb]" {
		t.Errorf("FileNames() = %v", got)
	}
	only = must[Filter](t)(ParseFilter(`{"channels": ["rgb"]}`, false))
	if got := must[[]string](t)(f.FilesetNames(as(t, guest), "a", Query{Filter: only})); fmt.Sprint(got) != "[images]" {
		t.Errorf("FilesetNames() = %v", got)
	}
}

// Begin makes what is asked in a transaction remembered, too.
func (r *recorder) Begin(ctx context.Context) (pgx.Tx, error) {
	tx, err := r.Pool.Begin(ctx)
	return recordedTx{tx, r}, err
}

type recordedTx struct {
	pgx.Tx
	r *recorder
}

func (tx recordedTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	tx.r.note(sql, args)
	return tx.Tx.Query(ctx, sql, args...)
}

func (tx recordedTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	tx.r.note(sql, args)
	return tx.Tx.QueryRow(ctx, sql, args...)
}
