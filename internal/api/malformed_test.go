package api_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/api"
)

// malformed are names that nothing has, made of one that something has: whoever
// only took out what does not belong there would find that.
func malformed(name string) map[string]string {
	half := len(name) / 2
	in := func(what string) string { return name[:half] + what + name[half:] }
	return map[string]string{
		"NUL": in("%00"), "a control character": in("%01"), "no UTF-8": in("%ff"),
		"overlong": name + strings.Repeat("x", 300), "the parent": "%2e%2e",
	}
}

// A malformed name in a path is nobody's, at every operation of both documents
// and in each of its places: no failure of the server, and nothing happens to
// what has nearly that name.
func TestMalformedNames(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	f := newForbidden(s)
	admin, _ := s.login("admin")
	before := s.everything()
	walked := 0
	for _, document := range []string{"openapi.json", "openapi-legacy.json"} {
		for _, op := range operations(t, document) {
			for _, p := range op.Parameters {
				if p.In != "path" {
					continue
				}
				walked++
				for what, value := range malformed(f.valid(op, p.Name)) {
					bent := op
					bent.Path = strings.Replace(op.Path, "{"+p.Name+"}", value, 1)
					path, headers := f.example(bent)
					body, contentType := f.body(op)
					a := s.do(op.Method, path, body, append(headers, bearer(admin), header{"Content-Type", contentType})...)
					if a.status < http.StatusBadRequest || a.status >= http.StatusInternalServerError {
						t.Errorf("%s %s (%s) = %d %s, want it refused", op.Method, path, what, a.status, a.body)
					}
				}
			}
		}
	}
	if walked < 100 {
		t.Errorf("walked %d places, want all path parameters", walked)
	}
	if diff := cmp.Diff(before, s.everything()); diff != "" {
		t.Errorf("malformed names changed something (-before +after):\n%s", diff)
	}
}

// valid is what the place of an operation holds when nothing is wrong with it.
func (f *forbidden) valid(op operation, place string) string {
	f.t.Helper()
	op.Path = "/{" + place + "}"
	path, _ := f.example(op)
	path, _, _ = strings.Cut(path, "?")
	return path[1:]
}

// everything is each row of the database and each file of the tree, but for
// when a session was last seen.
func (s *site) everything() map[string]string {
	s.t.Helper()
	all := map[string]string{}
	rows, err := s.pool.Query(s.t.Context(), `SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`)
	if err != nil {
		s.t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		s.t.Fatal(err)
	}
	for _, table := range tables {
		var text string
		err := s.pool.QueryRow(s.t.Context(), `SELECT coalesce(string_agg((to_jsonb(t) - 'last_seen_at')::text, E'\n' ORDER BY to_jsonb(t)::text), '') FROM `+table+` t`).Scan(&text)
		if err != nil {
			s.t.Fatalf("read %s: %v", table, err)
		}
		all[table] = text
	}
	err = fs.WalkDir(os.DirFS(s.dir), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == ".locks": // files that are only held
			return fs.SkipDir
		case d.IsDir():
			all[path] = "folder"
			return nil
		}
		content, err := fs.ReadFile(os.DirFS(s.dir), path)
		all[path] = fmt.Sprintf("%x", sha256.Sum256(content))
		return err
	})
	if err != nil || len(all) < len(tables)+10 {
		s.t.Fatalf("read %d tables and files: %v", len(all), err)
	}
	return all
}
