package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"

	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/migrations"
)

// What Load answers.
var (
	// ErrNotEmpty says that the database has tables already.
	ErrNotEmpty = fault.New(fault.Conflict, "database_not_empty", "the database is not empty: restore into a new one")
	// ErrNewer says that a newer program made the dump.
	ErrNewer = fault.New(fault.Invalid, "dump_newer", "a newer plantdb made the dump: restore it with that")
)

// Dumped is what a dump holds.
type Dumped struct {
	// Version is that of the schema.
	Version int64         `json:"version"`
	Tables  []DumpedTable `json:"tables"` // each after those that it refers to
}

// DumpedTable is a table of a dump.
type DumpedTable struct {
	Name    string   `json:"name"`
	Columns []string `json:"columns"`
	Rows    int64    `json:"rows"`
	// Sequences are the columns that number themselves, and how far they came.
	Sequences map[string]int64 `json:"sequences,omitempty"`
}

// Dump writes all tables of the schema public as they are at one moment, each
// as PostgreSQL's COPY writes it as text, into what create returns for its name;
// it closes that. Jobs are left out: they are made again, or were done. Nobody
// is kept from writing meanwhile. It takes the same program and no version of
// PostgreSQL in particular to load it.
func Dump(ctx context.Context, url string, create func(table string) (io.WriteCloser, error)) (Dumped, error) {
	var d Dumped
	err := withConn(ctx, url, func(conn *pgx.Conn) error {
		tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
		if err != nil {
			return fmt.Errorf("begin dump: %w", err)
		}
		defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // it only read
		if err := tx.QueryRow(ctx, `SELECT max(version_id) FROM goose_db_version WHERE is_applied`).Scan(&d.Version); err != nil {
			return fmt.Errorf("read version of the schema: %w", err)
		}
		if d.Tables, err = listTables(ctx, tx); err != nil {
			return err
		}
		for i := range d.Tables {
			if err := dumpTable(ctx, tx, &d.Tables[i], create); err != nil {
				return fmt.Errorf("dump table %q: %w", d.Tables[i].Name, err)
			}
		}
		return nil
	})
	return d, err
}

func withConn(ctx context.Context, url string, fn func(*pgx.Conn) error) error {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return ErrURL // its cause may quote the password
	}
	prepare(cfg, PoolOptions{ApplicationName: "plantdb backup"})
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return explain(cfg, err)
	}
	return errors.Join(fn(conn), conn.Close(context.WithoutCancel(ctx)))
}

// listTables returns the tables with the columns that are stored, each after
// those that it refers to.
func listTables(ctx context.Context, tx pgx.Tx) ([]DumpedTable, error) {
	rows, err := tx.Query(ctx, `
		SELECT c.relname::text,
			ARRAY(SELECT a.attname::text FROM pg_attribute a
				WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum),
			ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attidentity <> '' ORDER BY a.attnum),
			ARRAY(SELECT DISTINCT r.relname::text FROM pg_constraint k JOIN pg_class r ON r.oid = k.confrelid
				WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.confrelid <> c.oid)
		FROM pg_class c
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> 'goose_db_version'
		ORDER BY c.relname`)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	var tables []DumpedTable
	needs := map[string][]string{}
	var name string
	var columns, numbered, refers []string
	_, err = pgx.ForEachRow(rows, []any{&name, &columns, &numbered, &refers}, func() error {
		t := DumpedTable{Name: name, Columns: append([]string(nil), columns...), Sequences: map[string]int64{}}
		for _, column := range numbered {
			t.Sequences[column] = 0
		}
		tables = append(tables, t)
		needs[name] = append([]string(nil), refers...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	return inOrder(tables, needs), nil
}

// inOrder puts tables after those that they need; of a circle, wherever.
func inOrder(tables []DumpedTable, needs map[string][]string) []DumpedTable {
	byName := make(map[string]DumpedTable, len(tables))
	for _, t := range tables {
		byName[t.Name] = t
	}
	ordered := make([]DumpedTable, 0, len(tables))
	visited := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if visited[name] {
			return
		}
		visited[name] = true
		for _, other := range needs[name] {
			visit(other)
		}
		if t, ok := byName[name]; ok {
			ordered = append(ordered, t)
		}
	}
	for _, t := range tables {
		visit(t.Name)
	}
	return ordered
}

// copyClause names a table and its columns.
func (t DumpedTable) copyClause() string {
	quoted := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		quoted[i] = quote(c)
	}
	return t.quoted() + " (" + strings.Join(quoted, ", ") + ")"
}

func (t DumpedTable) quoted() string { return pgx.Identifier{"public", t.Name}.Sanitize() }

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

func dumpTable(ctx context.Context, tx pgx.Tx, t *DumpedTable, create func(string) (io.WriteCloser, error)) error {
	for column := range t.Sequences {
		var last *int64
		err := tx.QueryRow(ctx, `SELECT pg_sequence_last_value(pg_get_serial_sequence($1, $2)::regclass)`, t.quoted(), column).Scan(&last)
		if err != nil {
			return fmt.Errorf("read sequence of %q: %w", column, err)
		}
		if last != nil {
			t.Sequences[column] = *last
		}
	}
	w, err := create(t.Name)
	if err != nil {
		return err
	}
	tag, err := tx.Conn().PgConn().CopyTo(ctx, w, "COPY "+t.copyClause()+" TO STDOUT")
	t.Rows = tag.RowsAffected()
	return errors.Join(err, w.Close())
}

// Load makes the tables of an empty database and fills them with a dump, in one
// transaction, and brings the schema to the newest version: that of jobs too.
// open returns what was dumped of a table; Load closes it. ErrNotEmpty, ErrNewer;
// after any other error the database is to be made anew.
func Load(ctx context.Context, url string, d Dumped, open func(table string) (io.ReadCloser, error), log *slog.Logger) error {
	newest, err := newestVersion()
	if err != nil {
		return err
	}
	if d.Version > newest {
		return ErrNewer
	}
	if err := withConn(ctx, url, isEmpty(ctx)); err != nil {
		return err
	}
	err = withLock(ctx, url, warnings(ctx, log), func(p *goose.Provider) error {
		if _, err := p.UpTo(ctx, d.Version); err != nil {
			return fmt.Errorf("make tables of version %d: %w", d.Version, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = withConn(ctx, url, func(conn *pgx.Conn) error {
		return InTx(ctx, conn, func(tx pgx.Tx) error { return loadTables(ctx, tx, d, open) })
	})
	if err != nil {
		return err
	}
	return Migrate(ctx, url, log)
}

func newestVersion() (newest int64, err error) {
	names, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		return 0, fmt.Errorf("read migrations: %w", err)
	}
	for _, name := range names {
		version, err := goose.NumericComponent(name)
		if err != nil {
			return 0, fmt.Errorf("read migrations: %w", err)
		}
		newest = max(newest, version)
	}
	return newest, nil
}

func isEmpty(ctx context.Context) func(*pgx.Conn) error {
	return func(conn *pgx.Conn) error {
		var n int
		err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'p', 'm')
			AND c.relname <> 'goose_db_version'`).Scan(&n)
		if err != nil {
			return fmt.Errorf("look for tables: %w", err)
		}
		if n > 0 {
			return ErrNotEmpty
		}
		return nil
	}
}

func loadTables(ctx context.Context, tx pgx.Tx, d Dumped, open func(string) (io.ReadCloser, error)) error {
	known, err := listTables(ctx, tx)
	if err != nil {
		return err
	}
	for _, t := range known { // what migrations put there comes with the dump
		if _, err := tx.Exec(ctx, "ALTER TABLE "+t.quoted()+" DISABLE TRIGGER USER"); err != nil {
			return fmt.Errorf("quiet table %q: %w", t.Name, err)
		}
		if _, err := tx.Exec(ctx, "TRUNCATE "+t.quoted()+" CASCADE"); err != nil {
			return fmt.Errorf("empty table %q: %w", t.Name, err)
		}
	}
	for _, t := range d.Tables {
		if err := loadTable(ctx, tx, t, open); err != nil {
			return fmt.Errorf("load table %q: %w", t.Name, err)
		}
	}
	for _, t := range known {
		if _, err := tx.Exec(ctx, "ALTER TABLE "+t.quoted()+" ENABLE TRIGGER USER"); err != nil {
			return fmt.Errorf("wake table %q: %w", t.Name, err)
		}
	}
	if _, err := tx.Exec(ctx, "ANALYZE"); err != nil {
		return fmt.Errorf("analyze: %w", err)
	}
	return nil
}

func loadTable(ctx context.Context, tx pgx.Tx, t DumpedTable, open func(string) (io.ReadCloser, error)) error {
	r, err := open(t.Name)
	if err != nil {
		return err
	}
	tag, err := tx.Conn().PgConn().CopyFrom(ctx, r, "COPY "+t.copyClause()+" FROM STDIN")
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	if tag.RowsAffected() != t.Rows {
		return fmt.Errorf("it has %d rows, %d were dumped", tag.RowsAffected(), t.Rows)
	}
	for column, last := range t.Sequences {
		if last == 0 {
			continue
		}
		if _, err := tx.Exec(ctx, `SELECT setval(pg_get_serial_sequence($1, $2)::regclass, $3)`, t.quoted(), column, last); err != nil {
			return fmt.Errorf("set sequence of %q: %w", column, err)
		}
	}
	return nil
}
