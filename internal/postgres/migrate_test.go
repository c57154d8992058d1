package postgres_test

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/migrations"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// objects lists what is in the schema public, but for goose's own table.
func objects(t *testing.T, url string) []string {
	t.Helper()
	pool, err := postgres.Open(t.Context(), url, postgres.PoolOptions{ConnectTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	rows, _ := pool.Query(t.Context(), `
		SELECT relkind::text || ' ' || relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE 'goose%'
		UNION ALL
		SELECT contype::text || ' ' || conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conname NOT LIKE 'goose%'
		UNION ALL
		SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
		UNION ALL
		SELECT 'type ' || typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype IN ('d', 'e')
		ORDER BY 1`)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// applied counts the migrations that are applied, out of all.
func applied(t *testing.T, url string) (n, of int) {
	t.Helper()
	status, err := postgres.MigrationStatus(t.Context(), url)
	if err != nil {
		t.Fatalf("MigrationStatus = %v", err)
	}
	for _, m := range status {
		if !m.AppliedAt.IsZero() {
			n++
		}
	}
	return n, len(status)
}

func TestMigrateUpDownUp(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	files, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	up := objects(t, url)
	if n, of := applied(t, url); n != len(files) || of != len(files) {
		t.Errorf("applied %d of %d, want all %d", n, of, len(files))
	}
	if err := postgres.MigrateDownTo(t.Context(), url, 0); err != nil {
		t.Fatalf("MigrateDownTo(0) = %v", err)
	}
	if left := objects(t, url); len(left) > 0 {
		t.Errorf("MigrateDownTo(0) leaves %q, want nothing", left)
	}
	jobs(t, url, 0)
	if n, of := applied(t, url); n != 0 || of != len(files) {
		t.Errorf("applied %d of %d, want 0 of %d", n, of, len(files))
	}
	var log bytes.Buffer
	if err := postgres.Migrate(t.Context(), url, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		t.Fatalf("Migrate = %v", err)
	}
	jobs(t, url, postgres.JobsVersion())
	if diff := cmp.Diff(up, objects(t, url)); diff != "" {
		t.Errorf("up, down, up makes another schema than up (-up +again):\n%s", diff)
	}
	for _, name := range files {
		if !strings.Contains(log.String(), "name="+name) {
			t.Errorf("the log does not tell of %s:\n%s", name, log.String())
		}
	}
	if err := postgres.Migrate(t.Context(), url, quiet()); err != nil {
		t.Errorf("Migrate once more = %v, want nil", err)
	}
}

// Times have a zone, ids are UUIDs, and every constraint has the name that a migration
// gives it, by which the program knows what was violated.
func TestTablesAreOfOneKind(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	files, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	var written strings.Builder
	for _, name := range files {
		text, err := fs.ReadFile(migrations.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		written.Write(text)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }() // the database goes anyway
	list := func(query string) []string {
		t.Helper()
		rows, _ := conn.Query(t.Context(), query)
		all, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatalf("%s = %v", query, err)
		}
		return all
	}
	const ours = `table_schema = 'public' AND table_name NOT LIKE 'goose%' AND table_name NOT LIKE 'report%'`
	if odd := list(`SELECT table_name || '.' || column_name FROM information_schema.columns WHERE ` + ours + ` AND data_type IN ('timestamp without time zone', 'time without time zone')`); len(odd) > 0 {
		t.Errorf("times without a zone: %q", odd)
	}
	names := list(`SELECT conname FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid
		WHERE connamespace = 'public'::regnamespace AND relname NOT LIKE 'goose%' AND contype <> 'n'`)
	for _, name := range names {
		if !strings.Contains(written.String(), "CONSTRAINT "+name+" ") {
			t.Errorf("no migration gives the constraint %s its name", name)
		}
	}
	times := list(`SELECT column_name FROM information_schema.columns WHERE ` + ours + ` AND data_type = 'timestamp with time zone'`)
	if len(names) < 60 || len(times) < 30 {
		t.Errorf("%d constraints and %d times; this looks at the wrong places", len(names), len(times))
	}
	for _, table := range []string{"users", "groups", "sessions", "refresh_tokens", "revoked_tokens", "api_tokens", "auth_events"} {
		if got := list(`SELECT data_type FROM information_schema.columns WHERE ` + ours + ` AND column_name = 'id' AND table_name = '` + table + `'`); len(got) != 1 || got[0] != "uuid" {
			t.Errorf("id of %s is %q, want a uuid", table, got)
		}
	}
}

// jobs compares the version of the tables of jobs.
func jobs(t *testing.T, url string, want int) {
	t.Helper()
	have, newest, err := postgres.JobsVersions(t.Context(), url)
	if have != want || newest != postgres.JobsVersion() || err != nil {
		t.Errorf("JobsVersions = %d, %d, %v, want %d, %d", have, newest, err, want, postgres.JobsVersion())
	}
}

// A role that may not make schemas has to be told what to ask for, and goes on
// once it was given.
func TestMigrateWithoutRightToMakeSchemas(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	if err := postgres.MigrateDownTo(t.Context(), url, 0); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }() // the database goes anyway
	role, database := conn.Config().User, conn.Config().Database
	do := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	// An owner may take the right from itself.
	do("REVOKE CREATE ON DATABASE " + database + " FROM " + role)
	err = postgres.Migrate(t.Context(), url, quiet())
	if err == nil || !strings.Contains(err.Error(), "CREATE SCHEMA river AUTHORIZATION "+role) {
		t.Fatalf("Migrate as a role that makes no schemas = %v, want an error that says what to do", err)
	}
	do("GRANT CREATE ON DATABASE " + database + " TO " + role)
	do("CREATE SCHEMA river AUTHORIZATION " + role)
	do("REVOKE CREATE ON DATABASE " + database + " FROM " + role)
	if err := postgres.Migrate(t.Context(), url, quiet()); err != nil {
		t.Errorf("Migrate once the schema was made = %v, want nil", err)
	}
}

func TestMigrateOneDown(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	if err := postgres.MigrateDownTo(t.Context(), url, 1); err != nil {
		t.Fatalf("MigrateDownTo(1) = %v", err)
	}
	status, err := postgres.MigrationStatus(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range status {
		if pending := m.AppliedAt.IsZero(); pending != (m.Version > 1) {
			t.Errorf("after MigrateDownTo(1) %s: pending = %v", m.Name, pending)
		}
	}
	if len(status) == 0 || status[0].Name != "00001_accounts.sql" {
		t.Errorf("MigrationStatus = %v, want 00001_accounts.sql first", status)
	}
}

func TestMigrateAtOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	if err := postgres.MigrateDownTo(t.Context(), url, 0); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 4)
	for range cap(errs) {
		go func() { errs <- postgres.Migrate(t.Context(), url, quiet()) }()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Errorf("Migrate at once with others = %v, want nil", err)
		}
	}
	if n, of := applied(t, url); n != of {
		t.Errorf("applied %d of %d, want all", n, of)
	}
}
