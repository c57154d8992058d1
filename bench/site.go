package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/postgres"
)

// site is a running server with a tree and a private PostgreSQL of its own.
type site struct {
	root   string
	server *process
	admin  *caller       // logged in
	pool   *pgxpool.Pool // to the server's database, for limits

	private *postgres.Private
}

// openSite starts a server on the tree called name, which need not exist yet,
// and returns when it has compared its index with it.
func (b *bench) openSite(ctx context.Context, name string, flags ...string) (*site, error) {
	s := &site{root: filepath.Join(b.dir, name)}
	b.onClose(s.close)
	address, err := s.start(ctx, b, flags...)
	if err != nil {
		return nil, err
	}
	if s.admin, err = logIn(ctx, newClient(address), "admin", "admin"); err != nil {
		return nil, err
	}
	return s, s.openDatabase(ctx, b)
}

// start runs the server and returns its address once it is ready.
func (s *site) start(ctx context.Context, b *bench, flags ...string) (address string, err error) {
	if err := s.serve(ctx, b, flags...); err != nil {
		return "", err
	}
	if address, err = s.server.address(ctx); err != nil {
		return "", err
	}
	return address, newClient(address).await(ctx, "/ready")
}

// serve starts the server's program.
func (s *site) serve(ctx context.Context, b *bench, flags ...string) (err error) {
	args := append([]string{"serve", "--db-path", s.root, "--port", "0", "--test", "--rate-limits", "off", "--session-timeout", "86400"}, flags...)
	s.server, err = b.start(ctx, b.program, nil, args...)
	return err
}

// openDatabase joins the server's PostgreSQL.
func (s *site) openDatabase(ctx context.Context, b *bench) (err error) {
	s.private, err = postgres.StartPrivate(ctx, postgres.PrivateOptions{
		Dir: filepath.Join(s.root, ".plantdb", "postgres"), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	s.pool, err = postgres.Open(ctx, s.private.URL(), postgres.PoolOptions{MaxConns: 24, ApplicationName: "bench"})
	if err != nil {
		return err
	}
	if err := s.pool.QueryRow(ctx, "SHOW server_version").Scan(&b.postgres); err != nil {
		return fmt.Errorf("ask for the version of PostgreSQL: %w", err)
	}
	return nil
}

// close stops everything, the server last: who has joined its PostgreSQL
// would else take it over.
func (s *site) close() error {
	var errs []error
	if s.pool != nil {
		s.pool.Close()
	}
	if s.private != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopTime)
		defer cancel()
		errs = append(errs, s.private.Stop(ctx))
	}
	if s.server != nil {
		errs = append(errs, s.server.stop())
	}
	return errors.Join(errs...)
}

// await asks path until the answer is 200.
func (c *caller) await(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := c.call(ctx, request{method: http.MethodGet, path: path})
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", path, errors.Join(ctx.Err(), err))
		}
	}
}
