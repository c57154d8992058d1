package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/postgres"
)

// reported is a database in which somebody logged in, came back with a used
// token, failed, and left a scan.
func reported(t *testing.T) (url string) {
	t.Helper()
	url = pgtest.URL(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }() // the database goes anyway
	_, err = conn.Exec(t.Context(), `
		INSERT INTO users (id, username, fullname, password_hash, roles)
		VALUES ('00000000-0000-7000-8000-0000000000a1', 'alice', 'Alice A.', 'HIDDEN-HASH', '{admin}');
		INSERT INTO one_time_links (id, secret_hash, purpose, created_by, created_at, expires_at)
		VALUES (gen_random_uuid(), sha256('HIDDEN'), 'setup', 'plantdb', now(), now() + interval '1 day');
		INSERT INTO sessions (id, user_id, created_at, last_seen_at, expires_at, absolute_expires_at, address, user_agent)
		VALUES ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-0000000000a1', now() - interval '20 days', now(),
			now() + interval '1 day', now() + interval '10 days', '192.0.2.10', 'scanner/1.0');
		INSERT INTO auth_events (id, at, kind, username, session_id, address, user_agent, detail) VALUES
			(gen_random_uuid(), now() - interval '20 days', 'login', 'alice', '00000000-0000-7000-8000-000000000001', '192.0.2.10', 'scanner/1.0', ''),
			(gen_random_uuid(), now() - interval '2 days', 'login', 'alice', '00000000-0000-7000-8000-000000000002', '192.0.2.11', 'Firefox', ''),
			(gen_random_uuid(), now() - interval '1 day', 'reuse', 'alice', '00000000-0000-7000-8000-000000000002', '203.0.113.66', 'Thief', 'reuse'),
			(gen_random_uuid(), now() - interval '1 hour', 'login_failed', 'root', NULL, '203.0.113.66', 'hydra', '');
		INSERT INTO scans (id, name, owner, document, metadata, changed_at, file_count, byte_count, signature)
		VALUES (gen_random_uuid(), 'maize', 'alice', '{}', '{}', now(), 60, 3145728, '')`)
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// command runs the program as main does, on that database.
func command(t *testing.T, url string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	// A report of another database needs no tree, and makes none.
	env := map[string]string{"DATABASE_URL": url, "ROMI_DB": "/proc/no/tree"}
	var out, errs bytes.Buffer
	code = run(t.Context(), args, func(name string) string { return env[name] }, &out, &errs)
	return code, out.String(), errs.String()
}

func TestReport(t *testing.T) {
	t.Parallel()
	url := reported(t)
	for _, tt := range []struct {
		args string
		rows int
		want []string // in each format
	}{
		{"sessions", 1, []string{"alice", "Firefox", "reuse", "192.0.2.11", "00000000-0000-7000-8000-000000000002"}},
		{"sessions --since 30d", 2, []string{"scanner/1.0", "active"}},
		{"sessions --since 30d --until 7d", 1, []string{"scanner/1.0"}},
		{"sessions --since 2020-01-31", 2, nil},
		{"sessions --active", 1, []string{"scanner/1.0"}},
		{"sessions --active --since 7d", 0, nil},
		{"logins", 2, []string{"root", "hydra", "203.0.113.66"}},
		{"logins --user Alice", 1, []string{"alice"}},
		{"logins --since 36h", 1, []string{"root"}},
		{"reuse", 1, []string{"203.0.113.66", "192.0.2.11", "removed"}},
		{"reuse --user bob", 0, nil},
		{"storage", 1, []string{"alice", "60"}},
		{"storage --until 1d", 0, nil},
	} {
		for _, format := range []string{"table", "csv", "json"} {
			args := append([]string{"report"}, append(strings.Fields(tt.args), "--format", format)...)
			code, stdout, stderr := command(t, url, args...)
			if code != 0 || stderr != "" {
				t.Fatalf("%v = %d, %s", args, code, stderr)
			}
			if got := rowsOf(t, format, stdout); got != tt.rows {
				t.Errorf("%v prints %d rows, want %d:\n%s", args, got, tt.rows, stdout)
			}
			for _, want := range tt.want {
				if !strings.Contains(stdout, want) {
					t.Errorf("%v does not tell %q:\n%s", args, want, stdout)
				}
			}
			if strings.Contains(stdout, "HIDDEN") {
				t.Errorf("%v tells a secret:\n%s", args, stdout)
			}
		}
	}
}

func rowsOf(t *testing.T, format, text string) int {
	t.Helper()
	switch format {
	case "csv":
		records, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		if err != nil {
			t.Fatalf("%q is no CSV: %v", text, err)
		}
		return len(records) - 1
	case "json":
		var list []map[string]any
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			t.Fatalf("%q is no JSON: %v", text, err)
		}
		return len(list)
	default:
		return strings.Count(text, "\n") - 1
	}
}

func TestReportSaysThatThereIsMore(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := command(t, reported(t), "report", "logins", "--limit", "1", "--format", "csv")
	if code != 0 || rowsOf(t, "csv", stdout) != 1 || !strings.Contains(stderr, "more than 1 rows") {
		t.Errorf("report logins --limit 1 = %d, %q, %q, want one row and word of more", code, stdout, stderr)
	}
}

func TestReportMistakes(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	old := pgtest.URL(t)
	if err := postgres.MigrateDownTo(t.Context(), old, 2); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ url, args, want string }{
		{url, "logins --since yesterday", `--since: "yesterday" is no time`},
		{url, "logins --since 2026", `--since: "2026" is no time`},
		{url, "logins --since -7d", `--since: "-7d" is no time`},
		{url, "logins --until 1e300d", `--until: "1e300d" is no time`},
		{url, "logins --since 1d --until 2d", "nothing is both since"},
		{url, "logins --limit 0", "a report has from 1 to"},
		{url, "logins --format xml", `--format: "xml" is none of table, csv and json`},
		{url, "storage maize", "unknown command"},
		{old, "logins", "plantdb migrate up"},
	} {
		code, stdout, stderr := command(t, tt.url, append([]string{"report"}, strings.Fields(tt.args)...)...)
		if code != 1 || stdout != "" || !strings.Contains(stderr, tt.want) {
			t.Errorf("report %s = %d, %q, %q, want 1 and %q", tt.args, code, stdout, stderr, tt.want)
		}
	}
	// It was only asked: the schema is as old as before.
	if status, err := postgres.MigrationStatus(t.Context(), old); err != nil || !status[2].AppliedAt.IsZero() {
		t.Errorf("MigrationStatus = %v, %v, want the views still missing", status, err)
	}
}

func TestMoment(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"": {}, "36h": now.Add(-36 * time.Hour), "7d": now.AddDate(0, 0, -7), "1.5d": now.Add(-36 * time.Hour), "0s": now,
		"2026-01-31":           time.Date(2026, 1, 31, 0, 0, 0, 0, time.Local),
		"2026-01-31 08:00":     time.Date(2026, 1, 31, 8, 0, 0, 0, time.Local),
		"2026-01-31 08:00:01":  time.Date(2026, 1, 31, 8, 0, 1, 0, time.Local),
		"2026-01-31T08:00:00Z": time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC),
	} {
		if got, err := moment(text, now); err != nil || !got.Equal(want) {
			t.Errorf("moment(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
}
