package postgres

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestMigrationWarningsAreLogged(t *testing.T) {
	t.Parallel()
	cfg, err := pgx.ParseConfig(startPrivate(t, privateDir(t)).URL())
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cfg.OnNotice = warnings(t.Context(), slog.New(slog.NewTextHandler(&log, nil)))
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }() // the server goes anyway
	_, err = conn.Exec(t.Context(), `DO $$ BEGIN RAISE NOTICE 'of no interest'; RAISE WARNING 'not done' USING HINT = 'do it'; END $$`)
	if err != nil {
		t.Fatal(err)
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `level=WARN msg="migration warns" message="not done" hint="do it"`) {
		t.Errorf("the log is %q, want the warning alone", got)
	}
}
