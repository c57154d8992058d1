package scan

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/pgtest"
)

// card is a scan of the model: what it is in the index, and what a search is to
// find of it.
type card struct {
	access Access
	r      record
	due    string
	broken bool
}

// cards are scans of which some values are common, some rare, and some stand
// all at one end of the list.
func cards(n int) []card {
	all := make([]card, n)
	for i := range all {
		owner := []string{"ann", "bob", "carol"}[i%3]
		c := card{access: Access{Name: fmt.Sprintf("s%03d", (i*37)%997), Owner: &owner, Visibility: Public}, broken: i%29 == 0}
		switch i % 7 {
		case 0:
			c.access.Visibility = Private
		case 1:
			c.access.Visibility, c.access.Sharing = Private, []string{"lab"}
		case 2:
			c.access.Owner = nil
		}
		document := map[string]any{
			"object":  map[string]any{"species": []string{"Maize", "Oat", "Rye"}[min(2, i*4/n)], "DAG": i % 11, "plant_id": fmt.Sprintf("plant_%d", i%40)},
			"created": fmt.Sprintf("2026-01-%02dT10:00:00", i%5+1), "last_modified": fmt.Sprintf("2026-02-%02dT10:00:00", i%23+1),
			"tags": []any{"t" + fmt.Sprint(i%2), []any{"deep"}, map[string]any{"k": fmt.Sprint(i % 50)}},
		}
		if i%10 == 3 {
			document["timelapse"] = map[string]any{"id": "tl", "scheduled": fmt.Sprint(i % 4), "index": i}
		}
		raw, err := encode(document)
		if err != nil {
			panic(err) // it is of texts and numbers
		}
		f := factsOf(c.access.Name, raw, json.RawMessage("{}"))
		c.due = f.due
		c.r = record{
			id: c.access.Name, visibility: c.access.Visibility, created: f.created, lastModified: f.lastModified, species: f.species,
			plant: f.plant, environment: f.environment, text: f.search, bytes: int64(i * 7919 % 1009), document: raw,
		}
		if c.access.Owner != nil {
			c.r.owner = *c.access.Owner
		}
		if i%10 == 3 {
			c.r.timelapse = "tl"
		}
		all[i] = c
	}
	return all
}

func (c card) insert(ctx context.Context, pool *pgxpool.Pool) error {
	broken := map[bool]any{true: "it is", false: nil}[c.broken]
	sharing := c.access.Sharing
	if sharing == nil {
		sharing = []string{}
	}
	_, err := pool.Exec(ctx, `
		INSERT INTO scans (id, name, timelapse_id, owner, sharing, visibility, document, metadata, info, changed_at, signature, byte_count,
			search, created, last_modified, species, plant, environment, due, broken)
		VALUES ($1, $2, (SELECT id FROM timelapses WHERE name = $3), $4, $5, $6, $7, $8, '{}', now(), '', $9, $10, $11, $12, $13, $14, $15, $16, $17)`,
		newID(), c.r.id, c.r.timelapse, c.access.Owner, sharing, c.access.Visibility, c.r.document, searchable(c.r.document), c.r.bytes,
		c.r.text, c.r.created, c.r.lastModified, c.r.species, c.r.plant, c.r.environment, c.due, broken)
	return err
}

// key is what a list is ordered by.
func (c card) key(o order) string {
	return map[string]string{
		"created": c.r.created, "last_modified": c.r.lastModified, "owner": c.r.owner, "species": c.r.species, byDue: c.due,
		"size": fmt.Sprintf("%019d", c.r.bytes),
	}[o.key]
}

// Whatever is asked for, by whomever, in pages of whatever size, is what looking
// at every scan finds, in order, however the bounds of a page make the server
// get there. What is added and removed between two pages is there or not; all
// else is there once.
func TestPagesAreWhatThereIs(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	if _, err := pool.Exec(t.Context(), `INSERT INTO timelapses (id, name, document, metadata, signature) VALUES (gen_random_uuid(), 'tl', '{}', '{}', '')`); err != nil {
		t.Fatal(err)
	}
	const stable, passing = 120, 60
	all := cards(stable + passing)
	for _, c := range all[:stable] {
		if err := c.insert(t.Context(), pool); err != nil {
			t.Fatal(err)
		}
	}
	tree := must[*fsdb.Tree](t)(fsdb.Create(t.TempDir()))
	t.Cleanup(func() { _ = tree.Close() }) // only read
	fuzzy := func(text string) Filter { return must[Filter](t)(ParseFilter(text, true)) }
	exact := func(text string) Filter { return must[Filter](t)(ParseFilter(text, false)) }
	queries := []Query{
		{},
		{Where: `species = "Oat"`}, {Where: `species in ("Rye", "Wheat")`}, {Where: `owner = "bob" and metadata.object.DAG < 3`},
		{Where: `species = "Oat" and owner = "bob"`}, {Where: `species = "Oat" and species = "Rye"`}, {Where: `owner != "bob"`}, {Where: `metadata.object.DAG >= 9`}, {Where: `metadata.object.plant_id = "plant_7"`},
		{Where: `metadata.object.plant_id ~ "^plant_3"`}, {Where: `metadata.tags = "t1"`}, {Where: `metadata.tags = "deep"`},
		{Where: `metadata.tags.k in ("1", "2")`}, {Where: `timelapse = "tl" or species = "Maize"`}, {Timelapse: "tl"},
		{Where: `bytes > 500`}, {Where: `created = "2026-01-03"`}, {Where: `not exists timelapse and id ~ "7"`},
		{Text: "plant"}, {Text: "plant_7"}, {Text: "lant_plan"}, {Text: "oat t1"}, {Text: "nowhere"}, {Text: "t1"},
		{Filter: exact(`{"object": {"plant_id": "plant_7"}}`)}, {Filter: exact(`{"object": {"species": "Maize"}}`)},
		{Filter: exact(`{"object": {"DAG": 3}}`)}, {Filter: exact("plant_3 maize")},
		{Filter: fuzzy(`{"object": {"species": "Mai"}}`)}, {Filter: fuzzy(`{"object": {"species": "aize"}}`)},
		{Filter: exact(`{"object": {"species": "Rye"}}`), Text: "plant", Where: `metadata.object.DAG > 1`},
	}
	actors := []actor.Actor{admin, guest, ann, lars, rita, scoped(admin, "s[0-4]*", actor.Read), scoped(ann, "s9*", actor.Read)}
	rapid.Check(t, func(rt *rapid.T) {
		s := New(pool, tree, groupList{}, DefaultConfig(), slog.New(slog.DiscardHandler))
		s.bounds = pageBounds{
			found: rapid.IntRange(1, 150).Draw(rt, "found"), examined: rapid.IntRange(1, 40).Draw(rt, "examined"),
			glanced: rapid.IntRange(1, 80).Draw(rt, "glanced"), sample: rapid.IntRange(1, 20).Draw(rt, "sample"),
		}
		q := rapid.SampledFrom(queries).Draw(rt, "query")
		q.Sort = rapid.SampledFrom(Sorts()).Draw(rt, "sort")
		if rapid.Bool().Draw(rt, "down") {
			q.Sort = "-" + q.Sort
		}
		q.Limit = rapid.IntRange(1, 60).Draw(rt, "limit")
		who := rapid.SampledFrom(actors).Draw(rt, "actor")
		o, want := must[order](t)(parseSort(q.Sort, sortKeys)), must[condition](t)(q.condition(aScan))
		finds := func(c card) bool {
			return !c.broken && require(who, c.access, opRead) == nil && (q.Timelapse == "" || c.r.timelapse == q.Timelapse) && want.holds(&c.r)
		}
		var expected []string
		wanted := slices.DeleteFunc(slices.Clone(all[:stable]), func(c card) bool { return !finds(c) })
		slices.SortFunc(wanted, func(a, b card) int { return o.compare(place{a.key(o), a.r.id}, place{b.key(o), b.r.id}) })
		for _, c := range wanted {
			expected = append(expected, c.r.id)
		}
		// Each of the others comes once and goes once at most.
		waiting, there := rapid.Permutation(all[stable:]).Draw(rt, "others"), []card{}
		defer func() {
			for _, c := range there {
				forgetCard(rt, pool, c)
			}
		}()
		writes := rapid.Bool().Draw(rt, "writes")
		seen, known, told := []string{}, map[string]bool{}, 0
		for {
			page, err := s.ScanPage(as(t, who), q)
			if err != nil || len(page.Names) > q.Limit || page.Total < len(page.Names) {
				rt.Fatalf("page of %+v = %+v, %v", q, page, err)
			}
			if !writes && (page.AtLeast && page.Total > len(expected) && page.Total > 0 || !page.AtLeast && page.Total != len(expected)) {
				rt.Fatalf("page of %+v counts %d, at least: %v, want %d", q, page.Total, page.AtLeast, len(expected))
			}
			if !writes && page.Total < told {
				rt.Fatalf("page of %+v counts %d, one before it %d", q, page.Total, told)
			}
			told = page.Total
			for _, name := range page.Names {
				if known[name] {
					rt.Fatalf("pages of %+v have %s twice: %v", q, name, seen)
				}
				known[name] = true
				seen = append(seen, name)
			}
			if q.After = page.Next; q.After == "" {
				break
			}
			if writes && len(waiting) > 0 && rapid.Bool().Draw(rt, "add") {
				if err := waiting[0].insert(t.Context(), pool); err != nil {
					rt.Fatal(err)
				}
				waiting, there = waiting[1:], append(there, waiting[0])
			}
			if writes && len(there) > 0 && rapid.Bool().Draw(rt, "remove") {
				forgetCard(rt, pool, there[0])
				there = there[1:]
			}
		}
		strangers := map[string]card{}
		for _, c := range all[stable:] {
			strangers[c.r.id] = c
		}
		got := slices.DeleteFunc(slices.Clone(seen), func(name string) bool {
			c, stranger := strangers[name]
			return stranger && writes && finds(c)
		})
		if !slices.Equal(got, expected) {
			rt.Fatalf("pages of %+v for %s, within %+v = %v, want %v", q, who.Username, s.bounds, got, expected)
		}
		q.After = ""
		if !writes {
			whole, err := s.Names(as(t, who), q)
			if err != nil || !slices.Equal(whole, expected) {
				rt.Fatalf("the whole list of %+v = %v, %v, want %v", q, whole, err, expected)
			}
		}
	})
}

func forgetCard(rt *rapid.T, pool *pgxpool.Pool, c card) {
	if _, err := pool.Exec(context.Background(), "DELETE FROM scans WHERE name = $1", c.r.id); err != nil {
		rt.Fatal(err)
	}
}

// What the indexes leave out because of a condition, the condition must refuse as
// well.
func TestLookupsExcludeNoMatch(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	rapid.Check(t, func(rt *rapid.T) {
		document := encoded(rt, jsonObject(3).Draw(rt, "metadata"))
		path := []string{"metadata"}
		for range rapid.IntRange(1, 3).Draw(rt, "depth") {
			path = append(path, rapid.SampledFrom([]string{"a", "b", "a\x00", ""}).Draw(rt, "key"))
		}
		text := rapid.SampledFrom([]string{"x", "y", "", "é", "1"}).Draw(rt, "text")
		var c condition = compared{path, "=", text}
		if rapid.Bool().Draw(rt, "in") {
			c = oneOf{path, []any{text, "y"}}
		}
		var i lookups
		i.take(c)
		var kept bool
		if err := tx.QueryRow(t.Context(), "SELECT $2::jsonb[] IS NULL OR $1::jsonb @> ANY($2::jsonb[])", searchable(document), i.contains).Scan(&kept); err != nil {
			rt.Fatalf("%s, %s: %v", document, i.contains, err)
		}
		if !kept && c.holds(&record{document: document}) {
			rt.Fatalf("%+v holds for %s, but %s finds it not", c, document, i.contains)
		}
	})
}

// Only equal texts of columns, each the one that is looked up, need no second look.
func TestLookupsDecide(t *testing.T) {
	t.Parallel()
	for where, want := range map[string]bool{
		`species = "Oat"`: true, `species = "Oat" and owner = "bob" and timelapse = "tl"`: true,
		`species = ""`: false, `species = "2026-01"`: false, `species = "Oat" and species = "Rye"`: false, `species != "Oat"`: false,
		`not species = "Oat"`: false, `species = "Oat" or owner = "bob"`: false, `owner > "bob"`: false, `id = "s1"`: false,
		`species = "Oat" and metadata.a = "x"`: false, `species = "Oat" and text : "oats"`: false, `plant = "Oat"`: false,
	} {
		c := must[condition](t)(parseWhere(where, aScan))
		var i lookups
		i.take(c)
		if got := i.decides(c); got != want {
			t.Errorf("decides(%s) = %v, want %v", where, got, want)
		}
	}
}

// The pieces that are looked for are those that the index of the text knows.
func TestHasTrigrams(t *testing.T) {
	t.Parallel()
	const text = "plant_12\nobject\nplant_id\nplant_777\nzea mays\n"
	for word, want := range map[string]bool{
		"plant_777": true, "plant_77": true, "lant_plan": true, "plant_8": false, "plant_27": false, "lant_7": true, "zea ays": false,
		"mays zea": true, "nt_7": true, "maize": false, "___": true, strings.Repeat("plant_", 50): true,
	} {
		if got := hasTrigrams(text, word); got != want {
			t.Errorf("hasTrigrams(%.30q) = %v, want %v", word, got, want)
		}
	}
}

// After much was read, PostgreSQL plans for what there is now.
func TestSettleIndex(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	for _, c := range cards(50) {
		if err := c.insert(t.Context(), pool); err != nil {
			t.Fatal(err)
		}
	}
	tree := must[*fsdb.Tree](t)(fsdb.Create(t.TempDir()))
	t.Cleanup(func() { _ = tree.Close() }) // only read
	var log strings.Builder
	s := New(pool, tree, groupList{}, DefaultConfig(), slog.New(slog.NewTextHandler(&log, nil)))
	for _, tt := range []struct {
		done Reconciled
		want float64
	}{
		{Reconciled{Scans: 50, Read: 50}, -1}, {Reconciled{Scans: 100_000, Read: 600}, -1}, {Reconciled{Scans: 600, Read: 600}, 50},
	} {
		s.settleIndex(t.Context(), tt.done)
		var known float64
		if err := pool.QueryRow(t.Context(), "SELECT reltuples FROM pg_class WHERE oid = 'scans'::regclass").Scan(&known); err != nil || known != tt.want {
			t.Errorf("after %+v PostgreSQL knows of %v scans, %v, want %v", tt.done, known, err, tt.want)
		}
	}
	if log.Len() > 0 {
		t.Errorf("settleIndex logs %s", log.String())
	}
}
