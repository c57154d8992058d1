package scan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb"
)

// Refresh brings the index up to date with the whole tree and returns how many
// scans it holds that the actor may see. Everybody may ask, so whoever asks while it runs gets the
// answer of the next run together with all others who do.
func (s *Service) Refresh(ctx context.Context) (int64, error) {
	if _, err := acting(ctx); err != nil {
		return 0, err
	}
	if err := s.reload.do(ctx, func(ctx context.Context) error { return s.reconcileAndTell(ctx, nil) }); err != nil {
		return 0, err
	}
	return s.CountVisible(ctx)
}

// reconcileAndTell is reconcile with a line in the log, and settles before it what
// a crash left of deletions and restorations: else it would be found in the scans
// until the next round of KeepTrash.
func (s *Service) reconcileAndTell(ctx context.Context, p *pace) error {
	began := time.Now()
	if err := s.settleAllTrash(ctx); err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "what was cut short in the trash is not settled", slog.Any("err", err))
	}
	done, err := s.reconcile(ctx, p)
	if err != nil {
		return err
	}
	level := slog.LevelInfo
	if done.Read+done.Removed == 0 {
		level = slog.LevelDebug // as it is once a minute
	}
	s.log.Log(ctx, level, "tree reconciled", slog.Int("scans", done.Scans), slog.Int("read", done.Read),
		slog.Int("removed", done.Removed), slog.Int("broken", done.Broken), slog.Duration("took", time.Since(began)))
	return nil
}

// RefreshScan brings the index up to date with one scan, known or new; who asks
// while that goes on shares the next time, and a scan that is as it was is not
// read. ErrUnknownScan if the tree does not have it, or the actor may not see it.
func (s *Service) RefreshScan(ctx context.Context, name string) error {
	if _, err := acting(ctx); err != nil {
		return err
	}
	if _, err := s.scan(ctx, s.pool, name); err == nil {
		if _, _, err := s.open(ctx, s.pool, name, opReload); err != nil {
			return err
		}
	} else if !errors.Is(err, ErrUnknownScan) {
		return err
	}
	if err := s.reloadOf.do(ctx, name, func(ctx context.Context) error { return s.refreshScan(ctx, name) }); err != nil {
		return err
	}
	// It may be gone, or have turned out to be private.
	_, _, err := s.open(ctx, s.pool, name, opReload)
	return err
}

func (s *Service) refreshScan(ctx context.Context, name string) error {
	r, err := s.scan(ctx, s.pool, name)
	known := err == nil
	if !known && !errors.Is(err, ErrUnknownScan) {
		return err
	}
	e, err := s.locate(ctx, r, known, name)
	if err != nil {
		return err
	}
	if known && e.Loc == r.loc() {
		rows, err := s.q.ListCheckedScans(ctx, s.pool, []string{name})
		if err != nil {
			return fmt.Errorf("find scan %q: %w", name, err)
		}
		if len(rows) == 1 && s.unchanged(ctx, e, rows[0].Signature) {
			return nil
		}
	}
	_, err = s.index(ctx, e, indexedBefore)
	return err
}

// locate finds a scan in the tree: where the index says, if it is there, else
// wherever a reconcile would find it. ErrUnknownScan if it is nowhere.
func (s *Service) locate(ctx context.Context, r row, known bool, name string) (fsdb.Entry, error) {
	if known {
		there, err := s.present(ctx, r.loc())
		if err != nil {
			return fsdb.Entry{}, err
		}
		if there {
			return fsdb.Entry{Loc: r.loc()}, nil
		}
	}
	list, err := s.tree.List(ctx)
	if err != nil {
		return fsdb.Entry{}, fmt.Errorf("list the tree: %w", err)
	}
	if all := list.Scan(name); len(all) > 0 {
		e, err := s.choose(ctx, all[0], all[1:])
		if err == nil && e.Loc.Timelapse != "" {
			err = s.indexTimelapse(ctx, e.Loc.Timelapse, indexedBefore)
		}
		return e, err
	}
	if known {
		_, err = s.forget(ctx, name)
	}
	return fsdb.Entry{}, errors.Join(err, unknownScan(name))
}

// coalescers are one for each name that somebody asks for now.
type coalescers struct {
	mu sync.Mutex
	of map[string]*shared
}

type shared struct {
	coalescer
	by int // callers
}

// do is that of the name's coalescer.
func (c *coalescers) do(ctx context.Context, name string, fn func(context.Context) error) error {
	c.mu.Lock()
	if c.of == nil {
		c.of = map[string]*shared{}
	}
	one := c.of[name]
	if one == nil {
		one = &shared{}
		c.of[name] = one
	}
	one.by++
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if one.by--; one.by == 0 {
			delete(c.of, name)
		}
	}()
	return one.do(ctx, fn)
}

// coalescer runs one function at a time; all who ask while it runs share the
// next run, which begins after they asked.
type coalescer struct {
	mu      sync.Mutex
	running bool
	next    *run
}

type run struct {
	done chan struct{}
	err  error
}

// do returns when a run of fn that began after the call has ended. A caller
// that goes away does not end the run of the others.
func (c *coalescer) do(ctx context.Context, fn func(context.Context) error) error {
	c.mu.Lock()
	if c.next == nil {
		c.next = &run{done: make(chan struct{})}
	}
	r := c.next
	if !c.running {
		c.running = true
		go c.loop(context.WithoutCancel(ctx), fn)
	}
	c.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *coalescer) loop(ctx context.Context, fn func(context.Context) error) {
	for {
		c.mu.Lock()
		r := c.next
		c.next = nil
		if r == nil {
			c.running = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		r.err = fault.Guard(func() error { return fn(ctx) })
		close(r.done)
	}
}
