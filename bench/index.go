package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/romi/plantdb-go/internal/postgres"
)

// restarts is how many starts the figure is the median of.
const restarts = 3

// indexMemory bounds the resident memory of the server's program, in MB.
const indexMemory = 150

// manyScans and manyImages make the tree of a large lab.
const manyScans, manyImages = 5000, 12

func (b *bench) manyTree(ctx context.Context) (name string, err error) {
	return b.many.get(func() (string, error) {
		const name = "many"
		return name, growTree(ctx, filepath.Join(b.dir, name), manyScans, manyImages)
	})
}

func indexFiveThousand(ctx context.Context, b *bench) ([]result, error) {
	name, err := b.manyTree(ctx)
	if err != nil {
		return nil, err
	}
	root := filepath.Join(b.dir, name)
	first, err := b.importBeside(ctx, root, readDocuments)
	if err != nil {
		return nil, err
	}
	again, err := b.importBeside(ctx, root, lookAtFiles)
	if err != nil {
		return nil, err
	}
	start, err := b.restart(ctx, root)
	if err != nil {
		return nil, err
	}
	check, err := b.checkBeside(ctx, root)
	if err != nil {
		return nil, err
	}
	of := fmt.Sprintf("%d scans of %d images", manyScans, manyImages)
	return []result{
		{
			what: "first import, " + of, unit: seconds, ours: first.took.Seconds(), limit: first.limit.Seconds(),
			goals: []goal{value(15)}, limitIs: "reading the JSON files; ours makes the database, too",
		},
		{what: "  peak memory", unit: megabytes, ours: first.peak, goals: []goal{value(indexMemory)}},
		{
			what: "import without changes", unit: seconds, ours: again.took.Seconds(), limit: again.limit.Seconds(),
			limitIs: "asking for size and time of all files; ours starts PostgreSQL, too",
		},
		{
			what: "restart to a healthy answer", unit: seconds, ours: start.healthy.Seconds(), limit: start.limit.Seconds(),
			goals: []goal{value(1)}, limitIs: "PostgreSQL alone, to its first answer",
		},
		{what: "restart to a compared index", unit: seconds, ours: start.ready.Seconds()},
		{what: "  peak memory", unit: megabytes, ours: start.peak, goals: []goal{value(indexMemory)}},
		{
			what: "check without digests", unit: seconds, ours: check.took.Seconds(), limit: check.limit.Seconds(),
			goals: []goal{value(5)}, limitIs: "asking for size and time of all files; ours starts PostgreSQL, too",
		},
		{what: "  peak memory", unit: megabytes, ours: check.peak, goals: []goal{value(indexMemory)}},
	}, nil
}

// imported is an import or a check, and what bounds its time.
type imported struct {
	ended
	limit time.Duration
}

func (b *bench) importBeside(ctx context.Context, root string, visit func(string, fs.DirEntry) error) (imported, error) {
	began := time.Now()
	if err := walkTree(ctx, root, visit); err != nil {
		return imported{}, fmt.Errorf("walk tree: %w", err)
	}
	limit := time.Since(began)
	done, err := b.finish(ctx, "import", root)
	return imported{done, limit}, err
}

func (b *bench) checkBeside(ctx context.Context, root string) (imported, error) {
	began := time.Now()
	if err := walkTree(ctx, root, lookAtFiles); err != nil {
		return imported{}, fmt.Errorf("walk tree: %w", err)
	}
	limit := time.Since(began)
	done, err := b.finish(ctx, "check", "--db-path", root)
	return imported{done, limit}, err
}

// started is a start of the server on a tree that it knows.
type started struct {
	healthy, ready time.Duration
	limit          time.Duration
	peak           float64
}

// restart returns the median start, after one that makes the accounts.
func (b *bench) restart(ctx context.Context, root string) (started, error) {
	all := make([]started, 0, restarts)
	for n := range restarts + 1 {
		s, err := b.startOnce(ctx, root)
		if err == nil {
			s.limit, err = databaseAlone(ctx, root)
		}
		if err != nil {
			return started{}, err
		}
		if n > 0 {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(x, y started) int { return int(x.healthy - y.healthy) })
	return all[len(all)/2], nil
}

func (b *bench) startOnce(ctx context.Context, root string) (started, error) {
	var got started
	began := time.Now()
	s := &site{root: root}
	if err := s.serve(ctx, b); err != nil {
		return got, errors.Join(err, s.close())
	}
	address, err := s.server.address(ctx)
	if err == nil {
		err = newClient(address).await(ctx, api+"/health")
		got.healthy = time.Since(began)
	}
	if err == nil {
		err = newClient(address).await(ctx, "/ready")
		got.ready = time.Since(began)
	}
	if err == nil {
		got.peak, err = peakMemory(s.server.cmd.Process.Pid)
	}
	return got, errors.Join(err, s.close())
}

// databaseAlone returns how long the tree's PostgreSQL takes to answer.
func databaseAlone(ctx context.Context, root string) (took time.Duration, err error) {
	began := time.Now()
	private, err := postgres.StartPrivate(ctx, postgres.PrivateOptions{
		Dir: filepath.Join(root, ".plantdb", "postgres"), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return 0, err
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		err = errors.Join(err, private.Stop(stop))
	}()
	pool, err := postgres.Open(ctx, private.URL(), postgres.PoolOptions{MaxConns: 1, ApplicationName: "bench"})
	if err != nil {
		return 0, err
	}
	pool.Close()
	return time.Since(began), nil
}
