package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/migrations"
)

// ErrMigrating says that another server has been changing the schema for so
// long that we no longer wait.
var ErrMigrating = fault.New(fault.Unavailable, "database_migrating",
	"another server is changing the schema of the database: try again when it is done")

// Migration is one step of the schema.
type Migration struct {
	Version int64
	// Name is the file's.
	Name string
	// AppliedAt is zero while it is pending.
	AppliedAt time.Time
}

// Migrate brings the schema of the database at url to the newest version that
// this program knows, and then the tables of jobs, which River migrates;
// nothing is done where it is there or beyond. Of several servers that start
// at once one works and the others wait. Each migration is one transaction: an
// error leaves those before it. No superuser is needed, only the right to
// create in the schema public, and schemas in the database unless the one of
// JobsSchema is there; what else the role may not do is logged as a warning.
func Migrate(ctx context.Context, url string, log *slog.Logger) error {
	return withLock(ctx, url, warnings(ctx, log), func(p *goose.Provider) error {
		done, err := p.Up(ctx)
		for _, m := range done {
			log.InfoContext(ctx, "migration applied",
				slog.String("name", path.Base(m.Source.Path)), slog.Duration("took", m.Duration))
		}
		if err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		return migrateJobs(ctx, url, log)
	})
}

// MigrateDownTo takes back every migration after version; 0 takes back all,
// and with them what the tables hold. The tables of jobs stay or go as a whole,
// with the migration that made their schema.
func MigrateDownTo(ctx context.Context, url string, version int64) error {
	return withLock(ctx, url, nil, func(p *goose.Provider) error {
		if _, err := p.DownTo(ctx, version); err != nil {
			return fmt.Errorf("migrate down to %d: %w", version, err)
		}
		return nil
	})
}

// MigrationStatus lists the migrations this program knows, oldest first.
func MigrationStatus(ctx context.Context, url string) ([]Migration, error) {
	var list []Migration
	err := withDatabase(ctx, url, nil, func(_ *sql.DB, p *goose.Provider) error {
		status, err := p.Status(ctx)
		if err != nil {
			return fmt.Errorf("read migration status: %w", err)
		}
		for _, s := range status {
			list = append(list, Migration{
				Version: s.Source.Version, Name: path.Base(s.Source.Path), AppliedAt: s.AppliedAt,
			})
		}
		return nil
	})
	return list, err
}

// warnings logs what a migration could not do for want of a right and went on
// without.
func warnings(ctx context.Context, log *slog.Logger) pgconn.NoticeHandler {
	return func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.SeverityUnlocalized == "WARNING" {
			log.WarnContext(ctx, "migration warns", slog.String("message", n.Message), slog.String("hint", n.Hint))
		}
	}
}

// withLock runs fn while no other server migrates.
func withLock(ctx context.Context, url string, notice pgconn.NoticeHandler, fn func(*goose.Provider) error) error {
	return withDatabase(ctx, url, notice, func(db *sql.DB, p *goose.Provider) (err error) {
		conn, err := db.Conn(ctx)
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		defer func() { err = errors.Join(err, conn.Close()) }()
		if err := lock(ctx, conn); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, unlock(context.WithoutCancel(ctx), conn)) }()
		return fn(p)
	})
}

func withDatabase(ctx context.Context, url string, notice pgconn.NoticeHandler, fn func(*sql.DB, *goose.Provider) error) (err error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return ErrURL // its cause may quote the password
	}
	prepare(cfg, PoolOptions{ApplicationName: "plantdb migrate"})
	cfg.OnNotice = notice
	db := stdlib.OpenDB(*cfg)
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.PingContext(ctx); err != nil {
		return explain(cfg, err)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, migrations.FS,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	return fn(db, p)
}

const (
	// migrationLock is the key of the advisory lock, an arbitrary number.
	migrationLock = 0x706c616e74646201
	// migrationWait bounds the wait for another server's migrations.
	migrationWait = 10 * time.Minute
)

// lock waits until no other server migrates, or returns ErrMigrating. The lock
// goes with the connection, so none stays behind a server that was killed.
func lock(ctx context.Context, conn *sql.Conn) error {
	wait, cancel := context.WithTimeout(ctx, migrationWait)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		// Waiting inside of pg_advisory_lock would hold a snapshot, for
		// which CREATE INDEX CONCURRENTLY in turn waits.
		var got bool
		err := conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", int64(migrationLock)).Scan(&got)
		if err != nil {
			return fmt.Errorf("lock migrations: %w", err)
		}
		if got {
			return nil
		}
		select {
		case <-wait.Done():
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("lock migrations: %w", err)
			}
			return ErrMigrating
		case <-tick.C:
		}
	}
}

// unlock lets the next server migrate.
func unlock(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", int64(migrationLock)); err != nil {
		return fmt.Errorf("unlock migrations: %w", err)
	}
	return nil
}
