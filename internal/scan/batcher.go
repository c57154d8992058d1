package scan

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb"
)

// uploadKey is where uploads meet: those of one fileset are written together.
type uploadKey struct{ scan, fileset string }

// pending is a file that is complete and waits to be written.
type pending struct {
	actor actor.Actor
	by    origin
	file  fsdb.NewFile
	paid  charge
	done  chan error // of capacity one: the writer never waits for who left
}

// batcher writes together what arrives together: while one batch of a key is
// being written, the next gathers.
type batcher struct {
	// flush writes a batch and returns an answer for each file of it.
	flush func(context.Context, uploadKey, []pending) []error

	mu      sync.Mutex
	waiting map[uploadKey][]pending // present while a writer of that key runs
	writers sync.WaitGroup
}

// maxBatch bounds how many files wait for one another.
const maxBatch = 64

// flushTimeout bounds the write of a batch; the lock of the scan times out
// before.
const flushTimeout = time.Minute

// submit returns when the file has been written or refused. A caller that goes
// away leaves its file to be written, for it was complete: then left tells what
// became of it.
func (b *batcher) submit(ctx context.Context, key uploadKey, a actor.Actor, file fsdb.NewFile, paid charge) (left <-chan error, err error) {
	p := pending{a, originOf(ctx).by(a), file, paid, make(chan error, 1)}
	b.mu.Lock()
	queue, running := b.waiting[key]
	if b.waiting == nil {
		b.waiting = map[uploadKey][]pending{}
	}
	b.waiting[key] = append(queue, p)
	b.mu.Unlock()
	if !running {
		// Values such as the request id stay; the cancellation of one
		// client must not fail the files of the others.
		b.writers.Go(func() { b.run(context.WithoutCancel(ctx), key) })
	}
	select {
	case err := <-p.done:
		return nil, err
	case <-ctx.Done():
		return p.done, ctx.Err()
	}
}

func (b *batcher) run(ctx context.Context, key uploadKey) {
	for {
		b.mu.Lock()
		queue := b.waiting[key]
		if len(queue) == 0 {
			delete(b.waiting, key)
			b.mu.Unlock()
			return
		}
		batch := queue[:min(len(queue), maxBatch)]
		b.waiting[key] = slices.Clone(queue[len(batch):])
		b.mu.Unlock()
		b.write(ctx, key, batch)
	}
}

// AwaitUploads returns once nothing is being written any more of uploads whose
// clients have left: who ends the server calls it when no calls run, and before the
// tree is closed under them. It acts for the server itself. The error is that of
// ctx, if that ends first.
func (s *Service) AwaitUploads(ctx context.Context) error {
	written := make(chan struct{})
	go func() {
		s.uploads.writers.Wait()
		close(written)
	}()
	select {
	case <-written:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *batcher) write(ctx context.Context, key uploadKey, batch []pending) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	var answers []error
	panicked := fault.Guard(func() error {
		answers = b.flush(ctx, key, batch)
		return nil
	})
	for i, p := range batch {
		if panicked != nil {
			p.done <- panicked
		} else {
			p.done <- answers[i]
		}
	}
}
