package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/jobs"
	"github.com/romi/plantdb-go/internal/postgres"
)

// store is what every command on a tree opens: the tree and its database.
type store struct {
	tree    *fsdb.Tree
	pool    *pgxpool.Pool
	queue   *jobs.Queue
	url     string
	private *postgres.Private // nil with DATABASE_URL
	log     *slog.Logger
}

// openStore opens, or makes, the tree, starts or joins its private PostgreSQL
// unless another one is set, and brings the schema up to date. The caller
// closes it.
func (p *program) openStore(ctx context.Context, log *slog.Logger) (*store, error) {
	if err := fsdb.Restoring(p.config.Root); err != nil {
		return nil, err
	}
	s, err := p.openBare(ctx, log)
	if err != nil {
		return nil, err
	}
	if err := postgres.Migrate(ctx, s.url, log); err != nil {
		s.close()
		return nil, err
	}
	if s.pool, err = postgres.Open(ctx, s.url, postgres.PoolOptions{MaxConns: 24}); err != nil {
		s.close()
		return nil, err
	}
	if s.queue, err = jobs.New(s.pool, log); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// openBare is openStore without looking into the database.
func (p *program) openBare(ctx context.Context, log *slog.Logger) (*store, error) {
	s := &store{log: log}
	var err error
	if s.tree, err = fsdb.Create(p.config.Root); err != nil {
		return nil, fmt.Errorf("open tree %s: %w", p.config.Root, err)
	}
	if s.url, err = p.database(ctx, s); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// database returns the URL of the database to use.
func (p *program) database(ctx context.Context, s *store) (string, error) {
	if p.config.DatabaseURL != "" {
		return p.config.DatabaseURL, nil
	}
	private, err := postgres.StartPrivate(ctx, postgres.PrivateOptions{
		Dir: filepath.Join(s.tree.Dir(), ".plantdb", "postgres"), Download: p.config.DownloadPostgres, Log: s.log,
	})
	if err != nil {
		return "", err
	}
	s.private = private
	return private.URL(), nil
}

// close gives everything back, the private PostgreSQL last.
func (s *store) close() {
	if s.pool != nil {
		s.pool.Close()
	}
	var errs []error
	if s.private != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		errs = append(errs, s.private.Stop(ctx))
	}
	if s.tree != nil {
		errs = append(errs, s.tree.Close())
	}
	if err := errors.Join(errs...); err != nil {
		s.log.Error("close store", slog.Any("err", err)) // Nothing of a context is left here.
	}
}

// where says in words which database is used, without its password.
func (s *store) where() string {
	switch {
	case s.private == nil:
		return "the PostgreSQL of DATABASE_URL"
	case s.private.Joined():
		return "a private PostgreSQL, started by another plantdb on this tree"
	default:
		return "a private PostgreSQL in " + filepath.Join(s.tree.Dir(), ".plantdb", "postgres")
	}
}

// describe shortens a path below the working directory.
func describe(path string) string {
	wd, err := filepath.Abs(".")
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && !strings.HasPrefix(rel, "..") {
		return fmt.Sprintf("./%s", rel)
	}
	return path
}
