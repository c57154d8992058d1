package postgres

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// JobsSchema is where the tables of River are, which keep jobs.
const JobsSchema = "river"

// JobsVersion is the version of River's tables that this program wants.
func JobsVersion() int {
	m, err := riverMigrator(nil)
	if err != nil { // only for one that does not know its own driver
		panic(err)
	}
	all := m.AllVersions()
	return all[len(all)-1].Version
}

// JobsVersions returns the version of River's tables and the one that this
// program wants; they are 0 before the migration that makes their schema.
func JobsVersions(ctx context.Context, url string) (have, want int, err error) {
	err = withRiver(ctx, url, func(m *rivermigrate.Migrator[pgx.Tx]) error {
		want = JobsVersion()
		done, err := m.ExistingVersions(ctx)
		if err != nil {
			return fmt.Errorf("read River's versions: %w", err)
		}
		for _, v := range done {
			have = max(have, v.Version)
		}
		return nil
	})
	return have, want, err
}

// migrateJobs brings River's tables to the newest version that this program
// knows.
func migrateJobs(ctx context.Context, url string, log *slog.Logger) error {
	return withRiver(ctx, url, func(m *rivermigrate.Migrator[pgx.Tx]) error {
		result, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil)
		if err != nil {
			return fmt.Errorf("migrate the tables of jobs: %w", err)
		}
		for _, v := range result.Versions {
			log.InfoContext(ctx, "migration applied", slog.String("name", fmt.Sprintf("%s %d: %s", JobsSchema, v.Version, v.Name)),
				slog.Duration("took", v.Duration))
		}
		return nil
	})
}

func withRiver(ctx context.Context, url string, fn func(*rivermigrate.Migrator[pgx.Tx]) error) error {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return ErrURL // its cause may quote the password
	}
	prepare(cfg.ConnConfig, PoolOptions{ApplicationName: "plantdb migrate"})
	cfg.MaxConns = 2
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return ErrURL
	}
	defer pool.Close()
	if err := pool.Ping(ctx); err != nil {
		return explain(cfg.ConnConfig, err)
	}
	m, err := riverMigrator(pool)
	if err != nil {
		return err
	}
	return fn(m)
}

func riverMigrator(pool *pgxpool.Pool) (*rivermigrate.Migrator[pgx.Tx], error) {
	m, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{
		Schema: JobsSchema, Logger: slog.New(slog.DiscardHandler), // its errors are returned too
	})
	if err != nil {
		return nil, fmt.Errorf("read River's migrations: %w", err)
	}
	return m, nil
}
