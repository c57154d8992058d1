package report

import (
	"context"
	_ "embed"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/postgres"
)

//go:embed testdata/plant.sql
var planted string

// readers is the role that docs/sql-reporting.md speaks of.
const readers = "plantdb_report"

func manual(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/sql-reporting.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// question is one of docs/sql-reporting.md, with its query.
type question struct{ title, query string }

func questions(t *testing.T) []question {
	t.Helper()
	_, part, found := strings.Cut(manual(t), "\n## Twenty-one questions\n")
	if !found {
		t.Fatal("docs/sql-reporting.md has no twenty-one questions")
	}
	var list []question
	for _, section := range strings.Split(part, "\n### ")[1:] {
		title, rest, _ := strings.Cut(section, "\n")
		blocks := regexp.MustCompile("(?s)\n```sql\n(.*?);\n```\n").FindAllStringSubmatch(rest, -1)
		if len(blocks) != 1 {
			t.Fatalf("question %q has %d queries, want 1", title, len(blocks))
		}
		list = append(list, question{title, blocks[0][1]})
	}
	return list
}

// asReader makes tx one of the role that reads the views and nothing else.
func asReader(t *testing.T, tx pgx.Tx) {
	t.Helper()
	if _, err := tx.Exec(t.Context(), "SET LOCAL ROLE "+readers); err != nil {
		t.Fatalf("SET ROLE %s = %v: it is made by the migration if the role of the tests may make roles", readers, err)
	}
}

type row map[string]any

func (r row) has(want row) bool {
	for k, v := range want {
		if got, ok := r[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// ask returns what a query answers; numbers are float64, the rest text.
func ask(t *testing.T, tx postgres.DB, query string, args ...any) []row {
	t.Helper()
	rows, _ := tx.Query(t.Context(), "SELECT to_jsonb(q) FROM (\n"+query+"\n) q", args...)
	texts, err := pgx.CollectRows(rows, pgx.RowTo[json.RawMessage])
	if err != nil {
		t.Fatalf("%s\n= %v", query, err)
	}
	list := make([]row, len(texts))
	for i, text := range texts {
		if err := json.Unmarshal(text, &list[i]); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// answers are rows that the planted data give to each question, and rows that
// must not be among them.
var answers = []struct{ want, not []row }{
	{want: []row{{"username": "alice", "address": "192.0.2.10", "user_agent": "scanner/1.0"}}, not: []row{{"username": "dave"}}},
	{want: []row{{"username": "alice", "user_agent": "Night Owl"}}, not: []row{{"user_agent": "Ancient"}, {"user_agent": "hydra"}}},
	{want: []row{{"network": "203.0.113.0/24", "failures": 5.0, "names": 2.0}}, not: []row{{"network": "192.0.2.0/24"}}},
	{want: []row{{"username": "? Zm9yIHJvb3Qwcm91", "user_exists": false, "network": "203.0.113.0/24"}}, not: []row{{"username": "alice"}}},
	{want: []row{{"username": "dave", "network": "2001:db8::/56", "failures_before": 3.0}}, not: []row{{"username": "alice"}}},
	{want: []row{{"username": "alice", "address": "203.0.113.66", "opened_from": "192.0.2.11", "session_state": "ended", "active_sessions": 1.0}}},
	// Ten days' session lasted one day; that of twenty days ago two hours, until it was seen last.
	{want: []row{{"username": "dave", "sessions": 3.0, "longest": "1 day", "median": "02:00:00"}, {"username": "alice", "sessions": 3.0}}},
	{want: []row{{"username": "alice", "user_agent": "scanner/1.0", "refreshes": 3.0, "between_refreshes": "00:40:00"}}, not: []row{{"user_agent": "Ancient"}}},
	{want: []row{{"state": "active", "sessions": 1.0}, {"state": "logout", "sessions": 1.0}, {"state": "reuse", "sessions": 1.0},
		{"state": "revoked", "sessions": 1.0}, {"state": "expired", "sessions": 2.0}}, not: []row{{"state": "revoked; by alice"}}},
	{want: []row{{"user_agent": "curl/8", "sessions": 3.0, "users": 1.0}, {"user_agent": "Firefox", "sessions": 1.0}}, not: []row{{"user_agent": "Ancient"}, {"user_agent": "hydra"}}},
	{want: []row{{"users": 1.0}}, not: []row{{"users": 0.0}, {"users": 3.0}}},
	{want: []row{{"username": "alice", "name": "night scanner"}}, not: []row{{"name": "forgotten"}, {"name": "taken back"}}},
	{want: []row{{"username": "alice", "name": "forgotten"}}, not: []row{{"name": "night scanner"}, {"name": "taken back"}}},
	{want: []row{{"username": "bob"}}, not: []row{{"username": "alice"}, {"username": "guest"}}},
	{want: []row{{"username": "alice", "kind": "password"}, {"username": "dave", "kind": "password_reset", "detail": "by alice"}}},
	{want: []row{{"kind": "login", "address": "192.0.2.10"}, {"kind": "reuse"}, {"kind": "logout"}}, not: []row{{"address": "192.0.2.12"}, {"kind": "lock"}}},
	{want: []row{{"owner": "alice", "scans": 1.0, "files": 60.0}}, not: []row{{"owner": nil}, {"owner": "bob"}}},
	{want: []row{{"who": "owner", "name": "alice", "scans": 2.0, "bytes": 6000000.0}, {"who": "group", "name": "lab", "scans": 2.0, "bytes": 6000000.0},
		{"who": "owner", "name": nil, "scans": 1.0}}},
	{want: []row{{"name": "orphan", "owner": nil}, {"name": "left_behind", "owner": "erin"}, {"name": "maize_2", "visibility": "private"}}, not: []row{{"name": "maize_1"}}},
	{want: []row{{"name": "torn", "reason": "files.json: unexpected end"}}, not: []row{{"name": "orphan"}}},
	{want: []row{{"kind": "file.created", "username": "alice", "what": "maize_1/images/00001", "request_id": "r-1"}, {"kind": "token_create"},
		{"kind": "scan_shared", "what": "maize_1: shared with lab"}}, not: []row{{"request_id": "r-2"}, {"request_id": "r-3"}, {"kind": "login"}}},
}

// TestQuestions asks what docs/sql-reporting.md asks, as the role it speaks of.
func TestQuestions(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	if _, err := tx.Exec(t.Context(), planted); err != nil {
		t.Fatal(err)
	}
	asReader(t, tx)
	list := questions(t)
	if len(list) != 21 || len(answers) != 21 {
		t.Fatalf("there are %d questions and %d answers, want 21", len(list), len(answers))
	}
	for i, q := range list {
		got := ask(t, tx, q.query)
		for _, want := range answers[i].want {
			if !slices.ContainsFunc(got, func(r row) bool { return r.has(want) }) {
				t.Errorf("%s = %v, want a row %v", q.title, got, want)
			}
		}
		for _, not := range answers[i].not {
			if slices.ContainsFunc(got, func(r row) bool { return r.has(not) }) {
				t.Errorf("%s = %v, want no row %v", q.title, got, not)
			}
		}
	}
}

// TestManualNamesEveryView holds that docs/sql-reporting.md explains each view
// and grants it by hand as the migration does.
func TestManualNamesEveryView(t *testing.T) {
	t.Parallel()
	text := manual(t)
	_, grant, _ := strings.Cut(text, "\nGRANT SELECT ON ")
	grant, _, _ = strings.Cut(grant, ";")
	for _, v := range views(t, pgtest.Tx(t)) {
		if !strings.Contains(text, "**"+v+"**") {
			t.Errorf("docs/sql-reporting.md does not explain %s", v)
		}
		if !regexp.MustCompile(`\b` + v + `\b`).MatchString(grant) {
			t.Errorf("docs/sql-reporting.md does not grant %s", v)
		}
	}
}

func views(t *testing.T, tx pgx.Tx) []string {
	t.Helper()
	return list(t, tx, `SELECT relname::text FROM pg_class
		WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace AND starts_with(relname, 'report_') ORDER BY 1`)
}

func list(t *testing.T, tx interface {
	Query(context.Context, string, ...any) (pgx.Rows, error)
}, query string, args ...any) []string {
	t.Helper()
	rows, _ := tx.Query(t.Context(), query, args...)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s = %v", query, err)
	}
	return names
}
