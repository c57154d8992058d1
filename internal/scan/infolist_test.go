package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/pgtest"
)

// longLength is how many scans the tests of long lists have.
const longLength = 1200

// longList is a service with scans of infos of three kilobytes: a tenth private,
// and of those every other one of ann's; a hundredth broken.
func longList(t *testing.T) (*Service, *recorder) {
	t.Helper()
	pool := &recorder{Pool: pgtest.New(t)}
	_, err := pool.Exec(t.Context(), fmt.Sprintf(`
		INSERT INTO scans (id, name, owner, visibility, document, metadata, info, broken, changed_at, signature, created, last_modified, search)
		SELECT gen_random_uuid(), n, CASE WHEN i %% 20 = 0 THEN 'ann' ELSE 'bob' END, CASE WHEN i %% 10 = 0 THEN 'private' ELSE 'public' END,
			m::json, m, json_build_object('id', n, 'text', repeat('x', 3000)), CASE WHEN i %% 100 = 1 THEN 'torn' END, now(), '',
			'2026-01-01T' || i * 7919 %% 10007, '2026-01-01T' || lpad(i::text, 6, '0'), lower(n) || E'\ns' || i %% 2
		FROM generate_series(1, %d) AS i, LATERAL (SELECT 'Scan_' || i * 7919 %% 10007 AS n, jsonb_build_object('object', jsonb_build_object('species', 'S' || i %% 2)) AS m) AS d;
		ANALYZE scans`, longLength))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := fsdb.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tree.Close() }) // only read
	return New(pool, tree, groupList{}, DefaultConfig(), slog.New(slog.DiscardHandler)), pool
}

// infoLists are lists of all kinds, with what each is of the rows.
var infoLists = map[string]struct {
	q           Query
	where, sort string
}{
	"all":                 {Query{}, "true", "name"},
	"by id, down":         {Query{Sort: "-id"}, "true", `name COLLATE "C" DESC`},
	"newest first":        {Query{Sort: "-created"}, "true", `created DESC, name COLLATE "C" DESC`},
	"filtered":            {Query{Where: `metadata.object.species = "S1"`}, "metadata #>> '{object,species}' = 'S1' AND broken IS NULL", `name COLLATE "C"`},
	"filtered to few":     {Query{Where: `id ~ "^Scan_[78]"`}, "name ~ '^Scan_[78]' AND broken IS NULL", `name COLLATE "C"`},
	"filtered and sorted": {Query{Text: "s1", Sort: "last_modified"}, "metadata #>> '{object,species}' = 'S1' AND broken IS NULL", `last_modified, name COLLATE "C"`},
	"filtered to none":    {Query{Text: "nowhere"}, "false", "name"},
}

// A list of infos is what the index has for the actor, in its order, and comes
// in chunks of bounded size, for each of which the database is asked when it is
// wanted; between two no connection is held.
func TestInfoList(t *testing.T) {
	t.Parallel()
	s, pool := longList(t)
	for who, seen := range map[*actor.Actor]string{
		&admin: "true", &guest: "visibility = 'public'", &ann: "(visibility = 'public' OR owner = 'ann')",
	} {
		for name, tt := range infoLists {
			ctx := as(t, *who)
			rows, err := pool.Pool.Query(ctx, "SELECT info FROM scans WHERE "+seen+" AND "+tt.where+" ORDER BY "+tt.sort)
			want, err := collectRows[json.RawMessage](rows, err)
			if err != nil {
				t.Fatal(err)
			}
			list := must[*InfoList](t)(s.Infos(ctx, tt.q))
			var got []json.RawMessage
			for {
				pool.asked = nil
				infos := must[[]json.RawMessage](t)(list.Next(ctx))
				if len(infos) == 0 {
					break
				}
				got = append(got, infos...)
				size := 0
				for _, info := range infos {
					size += len(info)
				}
				if len(infos) > mostInfos || size > 2*infoBytes {
					t.Errorf("%s: a chunk of %d infos and %d bytes", name, len(infos), size)
				}
				asked := 0
				for _, q := range pool.asked {
					if strings.Contains(q.sql, "ScanInfos :many") {
						asked++
					}
				}
				if asked != 1 {
					t.Errorf("%s: infos were asked for %d times for one chunk", name, asked)
				}
				if n := pool.Stat().AcquiredConns(); n != 0 {
					t.Fatalf("%s: %d connections are held between chunks", name, n)
				}
			}
			if diff := cmp.Diff(idsOf(t, want), idsOf(t, got)); diff != "" || len(got) > 0 && string(got[0]) != string(want[0]) {
				t.Errorf("%s, of %s (-rows +list):\n%.2000s", name, who.Username, diff)
			}
			if tt.where == "true" && len(got) < longLength*8/10 {
				t.Errorf("%s, of %s: %d infos", name, who.Username, len(got))
			}
		}
	}
}

// A token for few of many scans costs few queries, wherever in the list these are.
func TestInfoListOfScope(t *testing.T) {
	t.Parallel()
	s, pool := longList(t)
	var last string
	if err := pool.QueryRow(t.Context(), "SELECT max(name) FROM scans WHERE visibility = 'public'").Scan(&last); err != nil {
		t.Fatal(err)
	}
	ctx := as(t, scoped(ann, last, actor.Read))
	list := must[*InfoList](t)(s.Infos(ctx, Query{}))
	pool.asked = nil
	got := idsOf(t, must[[]json.RawMessage](t)(list.Next(ctx)))
	if diff := cmp.Diff([]string{last}, got); diff != "" {
		t.Errorf("infos (-want +got):\n%s", diff)
	}
	if len(pool.asked) > 10 {
		t.Errorf("one info of %d took %d queries", longLength, len(pool.asked))
	}
}

func collectRows[T any](rows pgx.Rows, err error) ([]T, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[T])
}

func idsOf(t *testing.T, infos []json.RawMessage) []string {
	t.Helper()
	ids := []string{}
	for _, raw := range infos {
		ids = append(ids, decode(t, raw)["id"].(string))
	}
	return ids
}

// What happens to scans while a list of them is read: none is in it twice, none
// that was there all the time is left out, and none that was taken out of sight
// comes after that.
func TestInfoListMeanwhile(t *testing.T) {
	t.Parallel()
	for name, tt := range infoLists {
		if tt.where == "false" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, pool := longList(t)
			ctx := as(t, guest)
			all := idsOf(t, must[[]json.RawMessage](t)(allInfos(ctx, s, tt.q)))
			list := must[*InfoList](t)(s.Infos(ctx, tt.q))
			got := idsOf(t, must[[]json.RawMessage](t)(list.Next(ctx)))
			if len(got) == len(all) {
				t.Fatalf("all %d came in the first chunk", len(all))
			}
			sent := slices.Clone(got)
			rest := all[len(got):]
			hidden, gone := rest[len(rest)/3], rest[len(rest)/2]
			for _, change := range []string{
				"UPDATE scans SET visibility = 'private' WHERE name = '" + hidden + "'",
				"DELETE FROM scans WHERE name = '" + gone + "'",
				// All that follow move before those that were sent, and these behind.
				"UPDATE scans SET created = '2027', last_modified = '2025' WHERE name NOT IN ('" + strings.Join(sent, "', '") + "')",
				"UPDATE scans SET created = '2025', last_modified = '2027' WHERE name IN ('" + strings.Join(sent, "', '") + "')",
			} {
				if _, err := pool.Exec(ctx, change); err != nil {
					t.Fatal(err)
				}
			}
			for {
				infos := must[[]json.RawMessage](t)(list.Next(ctx))
				if len(infos) == 0 {
					break
				}
				got = append(got, idsOf(t, infos)...)
			}
			want := slices.DeleteFunc(slices.Clone(all), func(id string) bool { return id == hidden || id == gone })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the list (-want +got):\n%.2000s", diff)
			}
		})
	}
}

// A list whose rest cannot be had says so.
func TestInfoListFails(t *testing.T) {
	t.Parallel()
	s, pool := longList(t)
	ctx := as(t, guest)
	lists := map[string]*InfoList{}
	for name, tt := range infoLists {
		if tt.where == "false" {
			continue
		}
		lists[name] = must[*InfoList](t)(s.Infos(ctx, tt.q))
		must[[]json.RawMessage](t)(lists[name].Next(ctx))
	}
	if _, err := pool.Exec(ctx, "ALTER TABLE scans RENAME TO elsewhere"); err != nil {
		t.Fatal(err)
	}
	for name, list := range lists {
		for {
			infos, err := list.Next(ctx)
			if err != nil {
				break
			}
			if len(infos) == 0 {
				t.Errorf("%s: the list ended as if it were whole", name)
				break
			}
		}
	}
	if _, err := s.Infos(t.Context(), Query{}); !errors.Is(err, ErrNoActor) {
		t.Errorf("Infos() of nobody = %v", err)
	}
	if _, err := s.Infos(context.WithoutCancel(ctx), Query{Sort: "size of leaves"}); !errors.Is(err, ErrSort) {
		t.Errorf("Infos(unknown sort) = %v", err)
	}
}
