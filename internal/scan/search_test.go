package scan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/actor"
)

// shelf is a tree that the searches of these tests look through.
func shelf(t *testing.T) fixture {
	t.Helper()
	withTask := plainScan("c", `{"owner": "ann", "visibility": "private", "created": "2026-03-01T10:00:00", "object": {"species": "Maize", "DAG": 12}}`)
	withTask["c/files.json"] = strings.Replace(withTask["c/files.json"], `{"filesets": [`, `{"filesets": [{"id": "Colmap_1", "files": []},`, 1)
	withTask["c/Colmap_1/"] = ""
	d := plainScan("d", `{"owner": "bob", "visibility": "private", "sharing": ["lab"], "created": "2025-12-31T23:59:59.5"}`)
	d["d/metadata/images.json"] = `{"Metadata": {"object": {"species": "Wheat"}}}`
	d["d/images/00000_rgb.jpg"] = strings.Repeat("x", 5000)
	return indexed(t,
		plainScan("a", `{"owner": "ann", "created": "2026-01-05T08:00:00", "last_modified": "2026-02-01T00:00:00Z", "object": {"species": "Arabidopsis thaliana", "DAG": 40, "tags": ["red", "soil"], "nothing": null, "ok": true}}`),
		plainScan("b", `{"owner": "bob", "created": "2026-01-05 20:00:00", "biologicalMaterial": {"organism": {"species": "Tomato"}}, "list": [{"k": "v"}, {"k": "100%_x"}], "n": 12345678901234567890}`),
		withTask, d,
		plainScan("tl/e", `{"timelapse": {"id": "tl", "scheduled": "2026-02", "index": 1}}`),
		plainScan("tl/f", `{"timelapse": {"id": "tl", "scheduled": "2026-01", "index": -2}}`),
		plainScan("tl/g", `{"timelapse": {"id": "tl", "scheduled": "2026-01", "index": 1}}`),
		files{"tl/timelapse.json": `{"id": "tl", "created_at": "2026-01-01T00:00:00", "owner": "ann", "metadata": {"what": "growth"}}`, "broken/": ""})
}

// walkedAll returns all that the pages of a query have, and checks each.
func walkedAll(t *testing.T, q Query, page func(Query) (Page, error)) (names []string, last Page) {
	t.Helper()
	for range 100 {
		p, err := page(q)
		if err != nil {
			t.Fatalf("page of %+v = %v", q, err)
		}
		if len(p.Names) > q.Limit || p.Total < len(p.Names) {
			t.Errorf("page of %+v = %+v, want at most %d, and a total that is no less", q, p, q.Limit)
		}
		names, last = append(names, p.Names...), p
		if q.After = p.Next; q.After == "" {
			return names, last
		}
	}
	t.Fatalf("pages of %+v have no end", q)
	return nil, last
}

func TestWhere(t *testing.T) {
	t.Parallel()
	f := shelf(t)
	for where, want := range map[string]string{
		`id = "a"`:                                           "a",
		`id in ("a", 'b', "nobody")`:                         "a b",
		`id not in ("a")`:                                    "b c d e f g",
		`id ~ "^[a-c]$" and not id = "b"`:                    "a c",
		`id !~ "[a-d]"`:                                      "e f g",
		`owner = "ann"`:                                      "a c",
		`owner != "ann"`:                                     "b d e f g",
		`exists owner`:                                       "a b c d",
		`species = "Arabidopsis thaliana"`:                   "a",
		`species in ("Tomato", "Wheat")`:                     "b d",
		`species : "MAIZE"`:                                  "c",
		`created >= "2026-01"`:                               "a b c",
		`created = "2026-01-05"`:                             "a b",
		`created <= "2026-01-05"`:                            "a b d",
		`created > "2026-01-05"`:                             "c",
		`created = "2026-01-05T20"`:                          "b",
		`created < "2026"`:                                   "d",
		`visibility = "private"`:                             "c d",
		`timelapse = "tl"`:                                   "e f g",
		`tasks = "Colmap"`:                                   "c",
		`not tasks = "images"`:                               "",
		`files = 2`:                                          "a b c d e f g",
		`bytes > 5000`:                                       "d",
		`metadata.object.DAG >= 12`:                          "a c",
		`metadata.object.DAG = 4.0e1`:                        "a",
		`metadata.object.DAG = "40"`:                         "",
		`metadata.object.tags = "soil"`:                      "a",
		`metadata.object.tags in ("soil")`:                   "a",
		`exists metadata.object.nothing`:                     "a",
		`metadata.object.nothing = null`:                     "a",
		`metadata.object.ok = TRUE`:                          "a",
		`exists metadata.object`:                             "a c",
		`metadata.list.k = "v"`:                              "b",
		`metadata.list.k = "100%_x"`:                         "b",
		`metadata.n = 12345678901234567890`:                  "b",
		`metadata.n > 12345678901234567889`:                  "b",
		`metadata."object"."species" ~ "ana$"`:               "a",
		`text : "arabidopsis SOIL"`:                          "a",
		`text : "100%_x"`:                                    "b",
		`text : "100%xx"`:                                    "",
		`id = "a" or id = "b" and owner = "ann" or id = 'g'`: "a g",
		`(id = "a" or id = "b") and owner = "bob"`:           "b",
		"not ( \t owner = \"ann\"\n or owner = \"bob\")":     "e f g",
		`not not id = "a"`:                                   "a",
		``:                                                   "a b c d e f g",
	} {
		got := must[[]string](t)(f.Names(as(t, admin), Query{Where: where}))
		if strings.Join(got, " ") != want {
			t.Errorf("Names(%s) = %v, want %s", where, got, want)
		}
		paged, last := walkedAll(t, Query{Where: where, Limit: 2}, func(q Query) (Page, error) { return f.ScanPage(as(t, admin), q) })
		if !slices.Equal(paged, got) || !last.AtLeast && last.Total != len(got) {
			t.Errorf("pages of %s = %v, total %+v, want %v", where, paged, last, got)
		}
	}
}

// What is wrong is said, and where.
func TestWhereErrors(t *testing.T) {
	t.Parallel()
	for where, want := range map[string]string{
		`id`:                       "where, at character 3: expected one of = != < <= > >= ~ !~ : in, found the end",
		`id = a`:                   "where, at character 6: expected a text in quotes, a number, true, false or null, found 'a'",
		`id = "a`:                  "where, at character 6: the text that begins here has no end",
		`id = "a" or`:              "where, at character 12: expected a field, found the end",
		`id = "a" owner = "b"`:     "where, at character 10: expected and, or, or the end, found 'owner'",
		`(id = "a"`:                "where, at character 10: expected ) for the ( at character 1, found the end",
		`colour = "a"`:             "where, at character 1: there is no field 'colour'; there are id, owner, visibility, timelapse, created, last_modified, species, plant, environment, tasks, files, bytes, text and metadata.KEY",
		`metadata = 1`:             "where, at character 1: metadata wants a key, such as metadata.object.species",
		`owner.name = 1`:           "where, at character 1: the field 'owner' has no keys; those of the metadata begin with metadata",
		`metadata. = 1`:            "where, at character 11: expected a key of the metadata after the dot, found '='",
		`id ~ "("`:                 "where, at character 6: invalid regular expression: missing closing ): `(`",
		`id ~ 5`:                   "where, at character 6: ~ wants a text",
		`id < true`:                "where, at character 6: < wants a number, a date or a text",
		`id : " "`:                 "where, at character 6: the text holds no word",
		`id not "a"`:               "where, at character 8: expected in after not, found a text",
		`id in "a"`:                "where, at character 7: expected ( after in, found a text",
		`id in ("a" "b")`:          "where, at character 12: expected , or ) in the list, found a text",
		`id in ()`:                 "where, at character 8: expected a text in quotes, a number, true, false or null, found ')'",
		`id & 1`:                   "where, at character 4: '&' means nothing here; a text stands in quotes",
		`id = é`:                   "where, at character 6: 'é' means nothing here; a text stands in quotes",
		strings.Repeat("(", 40):    "where, at character 34: nested deeper than 32",
		strings.Repeat("not ", 40): "where, at character 133: nested deeper than 32",
		strings.Repeat(`id="a" and `, 70) + `id="a"`: "where, at character 705: more than 64 tests",
		"id = \"\xff\"": "where is not UTF-8.",
		`id ~ "` + strings.Repeat("x", 2000) + `"`: "where, at character 6: the regular expression is longer than 1024 bytes",
		`id = "` + strings.Repeat("x", 9000) + `"`: "where is longer than 8192 bytes.",
	} {
		if _, err := parseWhere(where, aScan); !errors.Is(err, ErrWhere) || err.Error() != want {
			t.Errorf("parseWhere(%.60s) = %v, want %s", where, err, want)
		}
	}
	f := indexed(t)
	for _, tt := range []struct {
		q    Query
		want error
	}{
		{Query{Sort: "colour"}, ErrSort}, {Query{Sort: "--id"}, ErrSort}, {Query{Sort: "-"}, ErrSort},
		{Query{After: "x"}, ErrCursor}, {Query{Where: "("}, ErrWhere}, {Query{Text: strings.Repeat("x", 9000)}, ErrFilter},
	} {
		if _, err := f.ScanPage(as(t, guest), tt.q); !errors.Is(err, tt.want) {
			t.Errorf("ScanPage(%+.40v) = %v, want %v", tt.q, err, tt.want)
		}
	}
}

// Every order gives the same scans, down is up backwards, and what one may not
// see is neither shown nor counted.
func TestOrders(t *testing.T) {
	t.Parallel()
	f := shelf(t)
	for _, who := range []struct {
		a     actor.Actor
		sees  string
		first map[string]string
	}{
		{admin, "abcdefg", map[string]string{"id": "abcdefg", "created": "efgdabc", "owner": "efgacbd", "species": "efgacbd", byDue: "abcdfge", "size": "abcefgd", "last_modified": "bcdefga"}},
		{guest, "abefg", map[string]string{"created": "efgab", byDue: "abfge"}},
		{ann, "abcefg", nil}, {bob, "abdefg", nil}, {lars, "abdefg", nil}, {rita, "abefg", nil},
		{scoped(admin, "[a-d]", actor.Read), "abcd", nil}, {scoped(ann, "x*", actor.Read), "", nil},
	} {
		for _, sort := range Sorts() {
			up, last := walkedAll(t, Query{Sort: sort, Limit: 2}, func(q Query) (Page, error) { return f.ScanPage(as(t, who.a), q) })
			down, _ := walkedAll(t, Query{Sort: "-" + sort, Limit: 3}, func(q Query) (Page, error) { return f.ScanPage(as(t, who.a), q) })
			all := slices.Sorted(slices.Values(up))
			if strings.Join(all, "") != who.sees {
				t.Errorf("%s by %s sees %v, want %s", who.a.Username, sort, up, who.sees)
			}
			if !last.AtLeast && last.Total != len(who.sees) || last.Total > len(who.sees) {
				t.Errorf("%s by %s counts %+v, want %d", who.a.Username, sort, last, len(who.sees))
			}
			if want, ok := who.first[sort]; ok && strings.Join(up, "") != want {
				t.Errorf("%s by %s = %v, want %s", who.a.Username, sort, up, want)
			}
			slices.Reverse(down)
			if !slices.Equal(up, down) {
				t.Errorf("%s by %s: up %v, down backwards %v", who.a.Username, sort, up, down)
			}
			if got := must[[]string](t)(f.Names(as(t, who.a), Query{Sort: sort})); !slices.Equal(got, up) {
				t.Errorf("%s by %s: the whole list %v, the pages %v", who.a.Username, sort, got, up)
			}
		}
	}
}

// A page of infos has those of the same scans; broken ones are among them
// unless something is searched for.
func TestInfoPage(t *testing.T) {
	t.Parallel()
	f := shelf(t)
	page, infos, err := infoPage(as(t, admin), f.Service, Query{Limit: 3})
	if err != nil || len(infos) != 3 || decode(t, infos[2])["id"] != page.Names[2] || !slices.Contains(page.Names, "broken") {
		t.Errorf("InfoPage() = %+v, %d infos, %v", page, len(infos), err)
	}
	page, infos, err = infoPage(as(t, admin), f.Service, Query{Limit: 3, Text: "tomato"})
	if err != nil || len(infos) != 1 || fmt.Sprint(page.Names) != "[b]" {
		t.Errorf("InfoPage(tomato) = %+v, %d infos, %v", page, len(infos), err)
	}
}

// Filesets, files and timelapses in pages.
func TestPartPages(t *testing.T) {
	t.Parallel()
	f := shelf(t)
	ctx := as(t, admin)
	filesets := func(q Query) (Page, error) { return f.FilesetPage(ctx, "c", q) }
	inFileset := func(q Query) (Page, error) { return f.FilePage(ctx, "c", "images", q) }
	timelapses := func(q Query) (Page, error) { return f.TimelapsePage(ctx, q) }
	members := func(q Query) (Page, error) { return f.TimelapseScanPage(ctx, "tl", q) }
	fuzzy := must[Filter](t)(ParseFilter(`{"shot_id": "0+1"}`, true))
	for _, tt := range []struct {
		what string
		page func(Query) (Page, error)
		q    Query
		want string
	}{
		{"filesets", filesets, Query{}, "Colmap_1 images"},
		{"filesets", filesets, Query{Sort: "-position"}, "images Colmap_1"},
		{"filesets", filesets, Query{Sort: "-id"}, "images Colmap_1"},
		{"filesets", filesets, Query{Where: `metadata.channels = "rgb"`}, "images"},
		{"files", inFileset, Query{}, "00000_rgb 00001_rgb"},
		{"files", inFileset, Query{Sort: "-position"}, "00001_rgb 00000_rgb"},
		{"files", inFileset, Query{Sort: "id"}, "00000_rgb 00001_rgb"},
		{"files", inFileset, Query{Sort: "-id"}, "00001_rgb 00000_rgb"},
		{"files", inFileset, Query{Where: `filename ~ "1_rgb.jpg" and bytes = 6`}, "00001_rgb"},
		{"files", inFileset, Query{Text: "DEPTH"}, "00001_rgb"},
		{"files", inFileset, Query{Filter: fuzzy}, "00001_rgb"},
		{"timelapses", timelapses, Query{}, "tl"},
		{"timelapses", timelapses, Query{Where: `metadata.what : "grow" and owner = "ann"`, Sort: "-created"}, "tl"},
		{"timelapses", timelapses, Query{Text: "nothing"}, ""},
		{"members", members, Query{}, "f g e"},
		{"members", members, Query{Sort: "-id"}, "g f e"},
		{"members", members, Query{Where: `metadata.timelapse.index = 1`}, "g e"},
	} {
		tt.q.Limit = 1
		got, last := walkedAll(t, tt.q, tt.page)
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s of %+v = %v, want %s", tt.what, tt.q, got, tt.want)
		}
		tt.q.Limit = 100
		if got, err := tt.page(tt.q); err != nil || strings.Join(got.Names, " ") != tt.want || got.AtLeast || got.Total != len(got.Names) || got.Next != "" {
			t.Errorf("%s of %+v = %+v, %v, want all, counted (then %+v)", tt.what, tt.q, got, err, last)
		}
		tt.q.After = "AQ"
		if _, err := tt.page(tt.q); !errors.Is(err, ErrCursor) {
			t.Errorf("%s after nothing = %v, want ErrCursor", tt.what, err)
		}
	}
	if _, err := f.FilePage(ctx, "c", "images", Query{Sort: "created"}); !errors.Is(err, ErrSort) {
		t.Errorf("files by created = %v, want ErrSort", err)
	}
	if _, err := f.FilesetPage(as(t, guest), "c", Query{}); !errors.Is(err, ErrUnknownScan) {
		t.Errorf("FilesetPage of a private scan = %v, want ErrUnknownScan", err)
	}
}

// What is written is found as what a reconcile reads.
func TestFactsFollowWrites(t *testing.T) {
	t.Parallel()
	f := indexed(t)
	ctx := as(t, ann)
	if err := f.Create(ctx, "new", []byte(`{"object": {"species": "Oat"}}`)); err != nil {
		t.Fatal(err)
	}
	find := func(where string) string {
		return strings.Join(must[[]string](t)(f.Names(ctx, Query{Where: where})), " ")
	}
	if got := find(`species = "Oat" and text : "oat" and exists created`); got != "new" {
		t.Errorf("after Create: %q", got)
	}
	if err := f.CreateFileset(ctx, "new", "images", []byte(`{"Metadata": {"object": {"environment": "field"}}}`)); err != nil {
		t.Fatal(err)
	}
	if got := find(`environment = "field"`); got != "new" {
		t.Errorf("after CreateFileset: %q", got)
	}
	if _, err := f.SetMetadata(ctx, "new", Update{Metadata: []byte(`{"object": {"species": "Rye"}}`)}); err != nil {
		t.Fatal(err)
	}
	if got := find(`species = "Oat"`) + find(`species = "Rye" and text : "rye"`); got != "new" {
		t.Errorf("after SetMetadata: %q", got)
	}
	if err := upload(ctx, f.Service, "new", "images", "x", "txt", "12345", ""); err != nil {
		t.Fatal(err)
	}
	page := must[Page](t)(f.ScanPage(ctx, Query{Sort: "-size", Where: `bytes = 5 and files = 1`}))
	if fmt.Sprint(page.Names) != "[new]" {
		t.Errorf("after an upload: %+v", page)
	}
	f.reconcile(t)
	if got := find(`species = "Rye" and environment = "field" and bytes = 5`); got != "new" {
		t.Errorf("after a reconcile: %q", got)
	}
}

func FuzzWhere(f *testing.F) {
	f.Add(`species = "Arabidopsis" and not (metadata.a.b >= 4 or exists owner)`, `{"a": {"b": [1, 2.5, "x"]}}`)
	f.Add(`id in ('a', "b\"", -1e5, true, null) or text : "w o"`, `{}`)
	f.Add(`metadata."odd key".7 !~ "^(a|b)+$"`, `{"odd key": [[], {}, null]}`)
	f.Add(`created <= "2026-01-05"`, `[`)
	f.Fuzz(func(t *testing.T, text, document string) {
		c, err := parseWhere(text, aScan)
		if err != nil {
			if !errors.Is(err, ErrWhere) {
				t.Fatalf("parseWhere(%q) = %v, want ErrWhere", text, err)
			}
			return
		}
		r := &record{id: "x", text: "x", document: []byte(document)}
		if c.holds(r) == (notOf{c}).holds(r) {
			t.Errorf("%q and not %q agree", text, text)
		}
		needsOf(c)
		new(lookups).take(c)
	})
}

func FuzzCursor(f *testing.F) {
	f.Add("2026-01-05", "scan", byte(0), "AQ")
	f.Add("", "", byte(1), "")
	f.Add("\U0010FFFF", "é", byte(2), "not a cursor")
	f.Fuzz(func(t *testing.T, key, name string, by byte, text string) {
		digest := queryDigest("scans", Query{Sort: key})
		want := start{place{key, name}, anyWay + way(by%3), soFar{int(by) / 3 % 2 * len(key), int(by) / 6 * 1000}}
		made := cursor(digest, want)
		got, err := parseCursor(digest, made)
		if storable(key) && storable(name) && len(made) <= maxCursor && (err != nil || got != want) {
			t.Errorf("parseCursor(cursor(%+v)) = %+v, %v", want, got, err)
		}
		if _, err := parseCursor(queryDigest("scans", Query{Sort: key + "x"}), made); !errors.Is(err, ErrCursor) {
			t.Errorf("a cursor of another query = %v, want ErrCursor", err)
		}
		if p, err := parseCursor(digest, text); err == nil && cursor(digest, p) != text {
			t.Errorf("parseCursor(%q) = %+v, which is another's", text, p)
		} else if err != nil && !errors.Is(err, ErrCursor) {
			t.Errorf("parseCursor(%q) = %v, want ErrCursor", text, err)
		}
	})
}
