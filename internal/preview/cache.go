package preview

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/romi/plantdb-go/internal/fault"
)

// Options of a Cache.
type Options struct {
	// MaxBytes bounds the files kept; the least recently read go first. Zero
	// means 1 GiB.
	MaxBytes int64
	// Workers is how many previews are made at a time; zero means one a core.
	Workers int
	// Log is told of sources that make a decoder panic; nil means slog.Default.
	Log *slog.Logger
}

// Cache makes previews, each once for however many ask at the same time, and
// keeps them on disk. It is safe for concurrent use, and survives a restart:
// what was kept is served again after its checksum was compared once.
type Cache struct {
	files   *store
	slots   *semaphore.Weighted
	workers int64
	log     *slog.Logger

	mu      sync.Mutex
	flights map[key]*flight
	closed  bool
	running sync.WaitGroup
	stop    context.CancelFunc // of stopped
	stopped context.Context
}

// flight is one preview being made. It ends early when all who asked have gone.
type flight struct {
	done   chan struct{} // closed when err and loose are set
	err    error
	loose  *loose // the preview itself, where the disk could not keep it
	askers int
	cancel context.CancelFunc
}

// Open opens the cache kept in dir, which it makes when missing and has to
// itself. Close releases it.
func Open(dir string, o Options) (*Cache, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 30
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.MaxBytes < 0 || o.Workers < 0 {
		return nil, errors.New("open preview cache: a bound is negative")
	}
	files, err := openStore(dir, o.MaxBytes)
	if err != nil {
		return nil, err
	}
	c := &Cache{
		files: files, workers: int64(o.Workers), slots: semaphore.NewWeighted(int64(o.Workers)),
		log: o.Log, flights: make(map[key]*flight),
	}
	c.stopped, c.stop = context.WithCancel(context.Background())
	return c, nil
}

// Close waits for the previews being made, drops those that only wait for their
// turn, and releases the directory. Files already handed out stay readable.
func (c *Cache) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.running.Wait()
	return c.files.close()
}

// maker writes a preview, in its turn.
type maker func(ctx context.Context, t *turn, w io.Writer) error

// get returns the file of k, made by mk when it is not there.
func (c *Cache) get(ctx context.Context, k key, mk maker) (*os.File, fs.FileInfo, error) {
	// A new file can be evicted before it is opened, if the bound is tiny and
	// many are made; so often in a row, somebody should be told.
	const attempts = 4
	for range attempts {
		if f, info, ok := c.files.open(k); ok {
			return f, info, nil
		}
		f, info, err := c.wait(ctx, k, mk)
		if f != nil || err != nil {
			return f, info, err
		}
	}
	return nil, nil, errors.New("preview was evicted as soon as it was made: the cache's bound is too small")
}

// wait returns when k has been made, by this asker's maker or another's, or when
// ctx ends: the others wait on. It returns the file only if it is not kept.
func (c *Cache) wait(ctx context.Context, k key, mk maker) (*os.File, fs.FileInfo, error) {
	f, err := c.join(ctx, k, mk)
	if err != nil {
		return nil, nil, err
	}
	defer c.leave(k, f)
	select {
	case <-f.done:
		if f.loose == nil {
			return nil, nil, f.err
		}
		return f.loose.open()
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("wait for preview: %w", ctx.Err())
	}
}

// join returns the flight of k, started if there is none.
func (c *Cache) join(ctx context.Context, k key, mk maker) (*flight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	f, ok := c.flights[k]
	if !ok {
		// The first asker's values (a request id, for the log), but not its end.
		work, cancel := context.WithCancel(context.WithoutCancel(ctx))
		unhook := context.AfterFunc(c.stopped, cancel)
		f = &flight{done: make(chan struct{}), cancel: func() { unhook(); cancel() }}
		c.flights[k] = f
		c.running.Go(func() { c.run(work, k, f, mk) })
	}
	f.askers++
	return f, nil
}

// leave takes one asker from f. After the last nobody may join it, since it is
// about to end without a preview, or has ended.
func (c *Cache) leave(k key, f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.askers--
	if f.askers > 0 {
		return
	}
	f.cancel()
	c.forget(k, f)
	f.loose.close()
	f.loose = nil
}

func (c *Cache) forget(k key, f *flight) {
	if c.flights[k] == f {
		delete(c.flights, k)
	}
}

func (c *Cache) run(ctx context.Context, k key, f *flight, mk maker) {
	defer f.cancel()
	made, err := c.make(ctx, k, mk)
	if err != nil && c.stopped.Err() != nil && errors.Is(err, context.Canceled) {
		err = ErrClosed.Because(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f.err = err
	if f.askers > 0 {
		f.loose = made
	} else {
		made.close()
	}
	c.forget(k, f)
	close(f.done)
}

// make keeps a preview, or returns it where the disk has no room to keep it.
func (c *Cache) make(ctx context.Context, k key, mk maker) (*loose, error) {
	// The turn first: those who wait for it hold no file open.
	t, err := c.take(ctx)
	if err != nil {
		return nil, err
	}
	defer t.release()
	write := func(w io.Writer) error { return c.guard(ctx, t, w, mk) }
	err = c.files.put(k, write)
	if !errors.Is(err, errNoSpace) {
		return nil, err
	}
	c.log.WarnContext(ctx, "preview not kept", slog.Any("err", err))
	return newLoose(write)
}

// Room says whether that share of the bound, from 0 to 1, is free, so that what
// is made before anybody asks takes nobody's place.
func (c *Cache) Room(share float64) bool { return c.files.free() >= share }

// guard calls mk in its goroutine: a decoder may panic on hostile bytes.
func (c *Cache) guard(ctx context.Context, t *turn, w io.Writer, mk maker) error {
	err := fault.Guard(func() error { return mk(ctx, t, w) })
	if p, ok := errors.AsType[*fault.PanicError](err); ok {
		c.log.ErrorContext(ctx, "preview panicked", slog.Any("err", p))
	}
	return err
}

// turn is the right to use memory and a core.
type turn struct {
	c    *Cache
	held int64
}

// take waits for a turn. The caller releases it.
func (c *Cache) take(ctx context.Context) (*turn, error) {
	if err := c.slots.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("wait for a turn: %w", err)
	}
	return &turn{c: c, held: 1}, nil
}

// alone waits until nothing else is made: large sources come one at a time, so
// that the memory for them is needed once.
func (t *turn) alone(ctx context.Context) error {
	if t.held == t.c.workers {
		return nil
	}
	// Given back first: two that hold one and want all would wait for ever.
	t.release()
	if err := t.c.slots.Acquire(ctx, t.c.workers); err != nil {
		return fmt.Errorf("wait for a turn alone: %w", err)
	}
	t.held = t.c.workers
	return nil
}

func (t *turn) release() {
	t.c.slots.Release(t.held)
	t.held = 0
}
