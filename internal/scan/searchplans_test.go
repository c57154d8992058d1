package scan

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/pgtest"
)

var updatePlans = flag.Bool("update-plans", false, "write testdata/plans.txt anew")

// shelves fills the index with a hundred thousand scans of a hundred owners, a
// tenth of them private, and one large fileset among ten thousand with files. What
// PostgreSQL knows of them is the same each time: it looks at all rows, and not at
// some that it draws.
func shelves(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, statement := range []string{
		`DROP INDEX scans_search_idx, scans_metadata_idx`, // made again at the end, which is faster
		`INSERT INTO timelapses (id, name, document, metadata, signature)
			SELECT gen_random_uuid(), 'tl' || i, '{}', '{}', '' FROM generate_series(1, 200) AS i`,
		`INSERT INTO scans (id, name, timelapse_id, owner, sharing, visibility, document, metadata, info, changed_at, signature, byte_count,
				search, created, last_modified, species, due)
			SELECT gen_random_uuid(), 'scan' || i, t.id, 'user' || i % 100, CASE WHEN i % 20 = 0 THEN '{lab}'::text[] ELSE '{}' END,
				CASE WHEN i % 10 = 0 THEN 'private' ELSE 'public' END, m::json, m, '{}', now(), '', i * 7919 % 1000003,
				'scan' || i || E'\nobject\nspecies\ns' || i % 5 || E'\nplant_id\nplant_' || i || E'\ntext\n' || repeat('x', 300),
				'2026-01-01T' || i, '2026-02-01T' || i * 7919 % 1000003, 'S' || i % 5, CASE WHEN t.id IS NULL THEN '' ELSE 'due' || i END
			FROM generate_series(1, 100000) AS i
			LEFT JOIN timelapses t ON i % 100 = 7 AND t.name = 'tl' || (i / 100 % 200 + 1),
			LATERAL (SELECT jsonb_build_object('object', jsonb_build_object('species', 'S' || i % 5, 'plant_id', 'plant_' || i, 'DAG', i % 90),
				'text', repeat('x', 300)) AS m) AS d`,
		`CREATE INDEX scans_search_idx ON scans USING gin (search gin_trgm_ops)`,
		`CREATE INDEX scans_metadata_idx ON scans USING gin (metadata jsonb_path_ops)`,
		`INSERT INTO filesets (id, scan_id, name, position, document, metadata)
			SELECT gen_random_uuid(), id, 'images', 0, '{}', '{}' FROM scans`,
		`INSERT INTO files (id, fileset_id, name, filename, position, size, modified_at, document, metadata)
			SELECT gen_random_uuid(), fs.id, 'f' || i, 'f' || i || '.jpg', i, 5, now(), '{"channel": "rgb"}', '{}'
			FROM filesets fs JOIN scans s ON s.id = fs.scan_id, generate_series(1, CASE WHEN s.name = 'scan77' THEN 10000 ELSE 5 END) AS i
			WHERE s.name LIKE 'scan1%' OR s.name = 'scan77'`,
		// Of wide columns no more is kept than usual: plans would be made slowly.
		`ALTER TABLE scans ALTER document SET STATISTICS 100, ALTER metadata SET STATISTICS 100,
			ALTER info SET STATISTICS 100, ALTER search SET STATISTICS 100`,
		`SET default_statistics_target = 340`, // of 300 rows each
		`VACUUM ANALYZE scans, scan_sizes, filesets, files, timelapses`,
		`RESET default_statistics_target`,
	} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%.60s: %v", statement, err)
		}
	}
}

// shape is a page that people ask for: of scans, unless it says of what.
type shape struct {
	who actor.Actor
	q   Query
	of  func(ctx context.Context, s *Service, q Query) (Page, error)
}

func scansOf(ctx context.Context, s *Service, q Query) (Page, error) { return s.ScanPage(ctx, q) }

func infosOf(ctx context.Context, s *Service, q Query) (Page, error) {
	page, infos, err := infoPage(ctx, s, q)
	if len(infos) != len(page.Names) {
		return page, fmt.Errorf("%d infos of %d scans", len(infos), len(page.Names))
	}
	return page, err
}

// allInfosOf begins a list of all infos, and goes on with it.
func allInfosOf(ctx context.Context, s *Service, q Query) (Page, error) {
	q.Limit = 0
	list, err := s.Infos(ctx, q)
	for range 3 {
		if err == nil {
			_, err = list.Next(ctx)
		}
	}
	return Page{}, err
}

func filesetsOf(ctx context.Context, s *Service, q Query) (Page, error) {
	return s.FilesetPage(ctx, "scan77", q)
}

// filesOf is of a fileset of ten thousand files.
func filesOf(ctx context.Context, s *Service, q Query) (Page, error) {
	return s.FilePage(ctx, "scan77", "images", q)
}

func timelapsesOf(ctx context.Context, s *Service, q Query) (Page, error) {
	return s.TimelapsePage(ctx, q)
}

func scansOfTimelapse(ctx context.Context, s *Service, q Query) (Page, error) {
	return s.TimelapseScanPage(ctx, "tl7", q)
}

// shapes are the pages that people ask for.
func shapes(t *testing.T) map[string]shape {
	t.Helper()
	filter := func(text string, fuzzy bool) Filter { return must[Filter](t)(ParseFilter(text, fuzzy)) }
	user7 := actor.Actor{Username: "user70", Roles: []actor.Role{actor.Contributor}, Groups: []string{"lab"}}
	all := map[string]shape{
		"by id, of a member":               {user7, Query{}, scansOf},
		"by id, of a guest":                {guest, Query{}, scansOf},
		"filter, one":                      {admin, Query{Filter: filter(`{"object": {"plant_id": "plant_77"}}`, false)}, scansOf},
		"filter, many":                     {guest, Query{Filter: filter(`{"object": {"species": "S1"}}`, false)}, scansOf},
		"filter, none":                     {guest, Query{Filter: filter(`{"object": {"species": "none"}}`, false)}, scansOf},
		"fuzzy, one":                       {admin, Query{Filter: filter(`{"object": {"plant_id": "plant_777$"}}`, true)}, scansOf},
		"fuzzy, many":                      {guest, Query{Filter: filter(`{"object": {"species": "S[12]"}}`, true)}, scansOf},
		"fuzzy, none":                      {guest, Query{Filter: filter(`{"object": {"species": ".*none"}}`, true)}, scansOf},
		"words, one":                       {guest, Query{Text: "plant_77 s2"}, scansOf},
		"words, many":                      {guest, Query{Text: "plant"}, scansOf},
		"words, none":                      {guest, Query{Text: "nowhere"}, scansOf},
		"words, short":                     {guest, Query{Text: "s1"}, scansOf},
		"where, equal":                     {guest, Query{Where: `metadata.object.plant_id = "plant_99999"`}, scansOf},
		"where, in":                        {guest, Query{Where: `metadata.object.plant_id in ("plant_1", "plant_2", "plant_3")`}, scansOf},
		"where, number":                    {guest, Query{Where: `metadata.object.DAG >= 89`, Sort: "-created"}, scansOf},
		"where, no such number":            {guest, Query{Where: `metadata.object.DAG > 89`}, scansOf},
		"where, regular expression":        {guest, Query{Where: `metadata.object.plant_id ~ "_77[0-9]+5$"`}, scansOf},
		"where, dates":                     {guest, Query{Where: `created >= "2026-01-01T9" and created < "2026-01-01T91"`, Sort: "created"}, scansOf},
		"where, owner":                     {admin, Query{Where: `owner = "user7"`, Sort: "size"}, scansOf},
		"where, species and no task":       {admin, Query{Where: `species = "S3" and not tasks = "Colmap"`, Sort: "-last_modified"}, scansOf},
		"timelapse":                        {admin, Query{Timelapse: "tl7", Sort: byDue}, scansOf},
		"where, or":                        {guest, Query{Where: `owner = "user3" or metadata.object.DAG = 5 or text : "plant_5"`}, scansOf},
		"infos, all":                       {guest, Query{}, allInfosOf},
		"infos, all, of a member":          {user7, Query{}, allInfosOf},
		"infos, by id":                     {guest, Query{}, infosOf},
		"infos, newest first":              {user7, Query{Sort: "-created"}, infosOf},
		"infos, filter, many":              {guest, Query{Filter: filter(`{"object": {"species": "S1"}}`, false)}, infosOf},
		"infos, words, one":                {guest, Query{Text: "plant_77 s2"}, infosOf},
		"infos, where, number":             {guest, Query{Where: `metadata.object.DAG >= 89`}, infosOf},
		"filesets":                         {guest, Query{}, filesetsOf},
		"filesets, by id, down":            {guest, Query{Sort: "-id"}, filesetsOf},
		"filesets, where":                  {guest, Query{Where: `id ~ "^im"`}, filesetsOf},
		"files":                            {guest, Query{}, filesOf},
		"files, down":                      {guest, Query{Sort: "-position"}, filesOf},
		"files, by id":                     {guest, Query{Sort: "id"}, filesOf},
		"files, by id, down":               {guest, Query{Sort: "-id"}, filesOf},
		"files, filter, many":              {guest, Query{Filter: filter(`{"channel": "rgb"}`, false)}, filesOf},
		"files, fuzzy, none":               {guest, Query{Filter: filter(`{"channel": "depth"}`, true)}, filesOf},
		"files, words":                     {guest, Query{Text: "f77"}, filesOf},
		"files, where":                     {guest, Query{Where: `filename ~ "77[.]jpg$"`, Sort: "id"}, filesOf},
		"timelapses":                       {guest, Query{}, timelapsesOf},
		"timelapses, where":                {guest, Query{Where: `id ~ "7$"`, Sort: "-created"}, timelapsesOf},
		"scans of a timelapse":             {guest, Query{}, scansOfTimelapse},
		"scans of a timelapse, by id, all": {admin, Query{Sort: "id", Where: `species = "S2"`}, scansOfTimelapse},
	}
	for _, key := range Sorts() {
		all["by "+key] = shape{admin, Query{Sort: key}, scansOf}
		all["by "+key+", down"] = shape{admin, Query{Sort: "-" + key}, scansOf}
	}
	return all
}

// wholeTable is a plan that grows with what nobody asked for. All timelapses
// are looked at for a page of them: they are few, and hold no more than a name.
var wholeTable = regexp.MustCompile(`Seq Scan on (?:scans|scan_sizes|filesets|files)\b`)

// countsFiles is a count by either index that begins with the fileset: they cost
// the same.
var countsFiles = regexp.MustCompile(`(?m)^CountFiles\n  Index Scan using files_(?:name_key|position_idx)$`)

// No page reads a table: the plan of every query that a page of a hundred
// thousand scans, or of ten thousand files, asks is as testdata/plans.txt has it,
// with the plans for the values at hand and in general alike, and none has a
// sequential scan of scans, filesets or files.
//
// After a wanted change: go test ./internal/scan -run TestSearchPlans -update-plans.
func TestSearchPlans(t *testing.T) {
	t.Parallel()
	pool := &recorder{Pool: pgtest.New(t)}
	shelves(t, pool.Pool)
	tree, err := fsdb.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tree.Close() }) // only read
	s := New(pool, tree, groupList{}, DefaultConfig(), slog.New(slog.DiscardHandler))
	all := shapes(t)
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	var plans strings.Builder
	for _, name := range names {
		shape := all[name]
		shape.q.Limit = 50
		pool.asked = nil
		for range 12 {
			page, err := shape.of(as(t, shape.who), s, shape.q)
			if err != nil {
				t.Fatalf("%s = %v", name, err)
			}
			if shape.q.After = page.Next; page.Next == "" {
				shape.q.After = ""
			}
		}
		plans.WriteString("# " + name + "\n")
		seen := map[string]bool{}
		for _, q := range pool.asked {
			query, _, _ := strings.Cut(strings.TrimPrefix(q.sql, "-- name: "), " ")
			if seen[query] || query == "GetTimelapse" {
				continue
			}
			seen[query] = true
			plan := shapeOf(planOf(t, pool.Pool, q))
			if wholeTable.MatchString(plan) {
				t.Errorf("%s: %s reads a table:\n%s", name, query, plan)
			}
			plans.WriteString(query + "\n" + plan)
		}
	}
	const file = "testdata/plans.txt"
	if *updatePlans {
		if err := os.WriteFile(file, []byte(plans.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// Which way an index is read turns on the statistics of the moment; what
	// matters is which index.
	ways := strings.NewReplacer("Bitmap Index Scan on", "Index Scan using", "Index Only Scan using", "Index Scan using")
	told := func(plans string) string {
		return countsFiles.ReplaceAllString(ways.Replace(plans), "CountFiles\n  Index Scan using files_position_idx")
	}
	if diff := cmp.Diff(told(string(want)), told(plans.String())); diff != "" {
		t.Errorf("plans differ from %s, see the comment of this test (-file +now):\n%s", file, diff)
	}
	var general []string
	rows, err := pool.Pool.Query(t.Context(), `SELECT statement FROM pg_prepared_statements WHERE generic_plans > 0 AND statement ~ '^-- name: FindScans '`)
	if err == nil {
		general, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil || len(general) > 0 {
		t.Errorf("general plans of %v, %v: they cannot use the indexes of what is asked for", general, err)
	}
}

// planOf is the plan for these arguments, as FindScans is run if it is that.
func planOf(t *testing.T, pool *pgxpool.Pool, q question) string {
	t.Helper()
	var plan []string
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		if strings.HasPrefix(q.sql, "-- name: FindScans ") {
			if _, err := tx.Exec(t.Context(), "SET LOCAL enable_seqscan = off"); err != nil {
				return err
			}
		}
		rows, err := tx.Query(t.Context(), "EXPLAIN "+q.sql, append([]any{pgx.QueryExecModeDescribeExec}, q.args...)...)
		if err != nil {
			return err
		}
		plan, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		t.Fatalf("explain %.40s: %.300v", q.sql, err)
	}
	return strings.Join(plan, "\n") + "\n"
}

var access = regexp.MustCompile(`(?:Index (?:Only )?Scan (?:Backward )?using|Bitmap Index Scan on|Seq Scan on) \w+`)

// shapeOf keeps of a plan how it gets at its rows, which is the same in all
// versions of PostgreSQL.
func shapeOf(plan string) string {
	ways := access.FindAllString(plan, -1)
	slices.Sort(ways)
	var out strings.Builder
	for _, way := range slices.Compact(ways) {
		out.WriteString("  " + way + "\n")
	}
	return out.String()
}
