package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/postgres/cluster"
)

// lingerTime bounds the wait for the remains of a server that was killed, or
// whose owner was: they end by themselves, after a checkpoint at most.
const lingerTime = 30 * time.Second

// orphanTime is how much of it they have once the server's first process has gone.
const orphanTime = 5 * time.Second

// quitTime is how long an immediate shutdown may take: the server kills after 5 s
// what does not end by itself.
const quitTime = 10 * time.Second

// server is a running one that is ours.
type server struct {
	process       *cluster.Process
	data, sockets string
}

// launch starts the server and returns when it answers. The caller holds the
// owner's lock.
func (h *home) launch(ctx context.Context, o PrivateOptions) (*server, error) {
	guard, err := h.guard(ctx, o.Log)
	if err != nil {
		return nil, err
	}
	// From its start on the server holds the lock by itself; we let go, so
	// that it tells whether the server lives.
	defer func() { _ = guard.Close() }()

	c := cluster.Cluster{Data: h.path(dataDir), Guard: guard}
	want, exists, err := cluster.Exists(c.Data)
	if err != nil {
		return nil, err
	}
	if c.Programs, err = h.programs(ctx, want, o); err != nil {
		return nil, err
	}
	if c.Account, err = cluster.AccountFor(c.Data); err != nil {
		return nil, err
	}
	for _, dir := range []string{h.dir, c.Programs.Dir} {
		if err := c.Account.MayEnter(ctx, dir); err != nil {
			return nil, err
		}
	}
	sockets, err := h.sockets(ctx, c.Account)
	if err != nil {
		return nil, err
	}
	if exists {
		if err := c.ClearStale(sockets); err != nil {
			return nil, err
		}
	}
	if err := h.furnish(ctx, c, exists, o); err != nil {
		return nil, err
	}
	return h.start(ctx, c, sockets, o.settings())
}

// guard waits for the lock that the last server holds until all of it is
// gone, and ends what does not go by itself.
func (h *home) guard(ctx context.Context, log *slog.Logger) (*cluster.Lock, error) {
	guard, err := h.waitGuard(ctx, orphanTime)
	if errors.Is(err, cluster.ErrLocked) && ctx.Err() == nil {
		if n := cluster.EndOrphans(h.path(dataDir)); n > 0 {
			log.WarnContext(ctx, "killed what was left of PostgreSQL", slog.Int("processes", n))
		}
		guard, err = h.waitGuard(ctx, lingerTime-orphanTime)
	}
	switch {
	case errors.Is(err, cluster.ErrLocked) && ctx.Err() == nil:
		return nil, ErrPrivate.With("PostgreSQL processes of an earlier run still use the database in %s: "+
			"end them, or wait and try again", h.path(dataDir)).Because(err)
	case err != nil:
		return nil, privateError(h.dir, errors.Join(err, ctx.Err()))
	}
	return guard, nil
}

func (h *home) waitGuard(ctx context.Context, d time.Duration) (*cluster.Lock, error) {
	wait, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return cluster.WaitLock(wait, h.path(serverFile), cluster.Exclusive)
}

func (h *home) programs(ctx context.Context, want int, o PrivateOptions) (cluster.Programs, error) {
	find := func() (cluster.Programs, error) {
		return cluster.Find(ctx, os.Getenv("PATH"), h.path(programsDir), want)
	}
	found, err := find()
	if !o.Download || !errors.Is(err, cluster.ErrNotInstalled) {
		return found, err
	}
	if err := cluster.Fetch(ctx, h.path(programsDir), want, o.Log); err != nil {
		return cluster.Programs{}, err
	}
	return find()
}

// furnish makes the cluster when there is none, and sees to the password.
func (h *home) furnish(ctx context.Context, c cluster.Cluster, exists bool, o PrivateOptions) error {
	// Password first: the cluster is put in place with a role that has it.
	password, fresh, err := h.password()
	switch {
	case err != nil:
		return err
	case !exists:
		o.Log.InfoContext(ctx, "making a database cluster",
			slog.String("dir", c.Data), slog.Int("version", c.Programs.Major), slog.String("account", c.Account.Name))
		return c.Create(ctx, cluster.CreateOptions{Password: password})
	case fresh:
		// The file was lost; only we could have had its content.
		return c.SetPassword(ctx, password)
	}
	return nil
}

func (h *home) start(ctx context.Context, c cluster.Cluster, sockets string, settings map[string]string) (*server, error) {
	log, err := h.log()
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the server has its own
	cmd := c.Server(sockets, settings)
	cmd.Stdout, cmd.Stderr = log, log
	process, err := cluster.Spawn(cmd)
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	s := &server{process: process, data: c.Data, sockets: sockets}
	if err := h.await(ctx, s); err != nil {
		s.stop(ctx)
		return nil, err
	}
	return s, nil
}

// await returns when s answers; an error when it ended instead, does not let
// us in, or ctx ended.
func (h *home) await(ctx context.Context, s *server) error {
	url, err := h.url()
	if err != nil {
		return err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := knock(ctx, url)
		if err == nil {
			return nil
		}
		if errors.Is(err, ErrRefused) {
			return ErrPrivate.With("the private PostgreSQL refuses the password in %s: remove that file, "+
				"and a new one is set at the next start", h.path(passwordFile)).Because(err)
		}
		select {
		case <-tick.C:
		case <-s.process.Done():
			return cluster.ErrFailed.With("PostgreSQL ended at once: %s (its log is %s)",
				cluster.LastWords(h.path(logFile)), h.path(logFile)).Because(s.process.Err())
		case <-ctx.Done():
			return fmt.Errorf("wait for PostgreSQL: %w", errors.Join(ctx.Err(), err))
		}
	}
}

// knock returns nil if the server at url lets us in.
func knock(ctx context.Context, url string) error {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return ErrURL
	}
	prepare(cfg, PoolOptions{})
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return explain(cfg, err)
	}
	if err := conn.Close(ctx); err != nil {
		return fmt.Errorf("close connection: %w", err)
	}
	return nil
}

// stop shuts down fast: transactions are rolled back, what is committed is
// written down. When ctx ends first it is an immediate shutdown, which loses
// nothing either, but costs a recovery; one that hears of neither is killed. It
// returns when the server is gone.
func (s *server) stop(ctx context.Context) {
	s.process.Signal(syscall.SIGINT)
	select {
	case <-s.process.Done():
	case <-ctx.Done():
		s.process.Signal(syscall.SIGQUIT)
		deaf := time.NewTimer(quitTime)
		defer deaf.Stop()
		select {
		case <-s.process.Done():
		case <-deaf.C:
			s.process.Signal(syscall.SIGKILL)
			<-s.process.Done()
			cluster.EndOrphans(s.data)
		}
	}
	if filepath.Base(s.sockets) != runDir {
		_ = os.Remove(s.sockets) // a short one; empty, or somebody's
	}
}
