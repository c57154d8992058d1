package report

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/migrations"
)

// TestReadersSeeViewsAlone walks everything that a query could name.
func TestReadersSeeViewsAlone(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	const every = `SELECT relname::text FROM pg_class c
		WHERE relkind IN ('r', 'v', 'm', 'p', 'f') AND relnamespace = 'public'::regnamespace AND `
	got := list(t, tx, every+`(has_table_privilege($1, c.oid, 'SELECT') OR has_any_column_privilege($1, c.oid, 'SELECT')) ORDER BY 1`, readers)
	want := views(t, tx)
	if len(want) == 0 || strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s may read %q, want the views %q alone", readers, got, want)
	}
	if got := list(t, tx, every+`has_table_privilege($1, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')`, readers); len(got) > 0 {
		t.Errorf("%s may write %q, want nothing", readers, got)
	}
	secret := list(t, tx, `SELECT table_name || '.' || column_name FROM information_schema.columns
		WHERE starts_with(table_name, 'report_') AND column_name ~ 'hash|secret|salt'`)
	if len(secret) > 0 {
		t.Errorf("views have columns %q, want no secret", secret)
	}
	if got := list(t, tx, `SELECT rolname::text FROM pg_roles WHERE rolname = $1
		AND (rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls)`, readers); len(got) > 0 {
		t.Errorf("%s may log in or more, want NOLOGIN and no right of its own", readers)
	}
	for _, v := range want {
		if got := list(t, tx, "SELECT obj_description($1::regclass)", v); got[0] == "" {
			t.Errorf("%s has no comment", v)
		}
	}
	asReader(t, tx)
	for _, query := range []string{
		"SELECT password_hash FROM users", "SELECT secret_hash FROM one_time_links", "SELECT salt FROM signing_keys",
		"SELECT id FROM auth_events", "UPDATE report_signing_keys SET status = 'retired'", "DELETE FROM report_events",
	} {
		err := postgres.InTx(t.Context(), tx, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), query)
			return err
		})
		if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "42501" {
			t.Errorf("%s as %s = %v, want permission denied", query, readers, err)
		}
	}
}

// TestViewsByDay asks the views that no question does.
func TestViewsByDay(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	if _, err := tx.Exec(t.Context(), planted); err != nil {
		t.Fatal(err)
	}
	asReader(t, tx)
	for _, tt := range []struct {
		query string
		want  row
	}{
		{"SELECT * FROM report_sessions_per_day WHERE day = (now() AT TIME ZONE 'UTC')::date - 10", row{"username": "dave", "sessions": 1.0, "addresses": 1.0}},
		{"SELECT * FROM report_logins_per_day WHERE day = (now() AT TIME ZONE 'UTC')::date", row{"failures": 5.0, "locks": 1.0, "names_tried": 2.0, "failing_addresses": 5.0}},
		{"SELECT * FROM report_logins_per_day WHERE day = (now() AT TIME ZONE 'UTC')::date - 10", row{"logins": 1.0, "users": 1.0, "failures": 0.0}},
		{"SELECT * FROM report_groups", row{"name": "lab", "shared_scans": 2.0}},
		{"SELECT * FROM report_users WHERE username = 'alice'", row{"active_sessions": 1.0, "active_api_tokens": 2.0, "has_password": true}},
		{"SELECT * FROM report_group_storage WHERE NOT group_exists", row{"group_name": "gone", "scans": 1.0}},
		{"SELECT * FROM report_scans WHERE name = 'maize_2'", row{"created": "2020-02-31T00:00:00", "created_month": "2020-02-01"}},
		{"SELECT * FROM report_scans WHERE name = 'left_behind'", row{"created": nil, "created_month": nil}},
		{"SELECT * FROM report_scans_per_month WHERE owner IS NULL", row{"month": nil, "scans": 1.0}},
		{"SELECT count(*) AS keys FROM report_signing_keys", row{"keys": 0.0}},
	} {
		if got := ask(t, tx, tt.query); len(got) != 1 || !got[0].has(tt.want) {
			t.Errorf("%s = %v, want one row with %v", tt.query, got, tt.want)
		}
	}
}

// TestMigrationWithoutRightToMakeRoles runs the migration with the name of a
// role that does not exist, as one who may not make it, and as one who may.
func TestMigrationWithoutRightToMakeRoles(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	if err := postgres.MigrateDownTo(t.Context(), url, 2); err != nil {
		t.Fatal(err)
	}
	raw, err := fs.ReadFile(migrations.FS, "00003_reports.sql")
	if err != nil {
		t.Fatal(err)
	}
	up, _, _ := strings.Cut(string(raw), "-- +goose Down")
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	var warned []string
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { warned = append(warned, n.Severity+" "+n.Message) }
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }() // the database goes anyway
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	another := fmt.Sprintf("plantdb_report_%d", conn.PgConn().PID())
	if _, err := tx.Exec(t.Context(), strings.ReplaceAll(up, readers, another)); err != nil {
		t.Fatalf("migrate = %v, want nil: it goes on without the role", err)
	}
	if got := views(t, tx); len(got) != 16 {
		t.Errorf("there are %d views, want 16: %q", len(got), got)
	}
	var may bool
	if err := tx.QueryRow(t.Context(), "SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user").Scan(&may); err != nil {
		t.Fatal(err)
	}
	if may {
		readable := list(t, tx, "SELECT 'yes' WHERE has_table_privilege($1, 'report_users', 'SELECT')", another)
		if len(warned) > 0 || len(readable) == 0 {
			t.Errorf("the migration warns %q and grants %q, want no warning and the role made", warned, readable)
		}
	} else if len(warned) != 1 || !strings.HasPrefix(warned[0], "WARNING role "+another+" does not exist") {
		t.Errorf("the migration warns %q, want that the role %s does not exist", warned, another)
	}
	if err := tx.Rollback(t.Context()); err != nil { // a role is rolled back as well
		t.Fatal(err)
	}
	if err := postgres.Migrate(t.Context(), url, slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("Migrate = %v", err)
	}
}
