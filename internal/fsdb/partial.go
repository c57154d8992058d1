package fsdb

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/romi/plantdb-go/internal/fault"
)

// partialsDir is where the bytes of uploads lie that come in pieces. Not in
// staging, which is swept sooner.
const partialsDir = Hidden + "/uploads"

// The failures of partial content.
var (
	ErrNoPartial   = fault.New(fault.NotFound, "unknown_upload", "Unknown upload id!")
	ErrPartialBusy = fault.New(fault.Locked, "upload_busy", "Another request writes to the upload.")
)

// Partial is content that comes in pieces, open for one writer. The caller
// closes it.
type Partial struct {
	tree *Tree
	id   string
	file *os.File
	at   int64
	sum  hash.Hash
}

// CreatePartial makes an empty partial content, durably.
func (t *Tree) CreatePartial(ctx context.Context, id string) error {
	return wrap("create upload", id, t.createPartial(ctx, id))
}

func (t *Tree) createPartial(ctx context.Context, id string) error {
	if !readable(id) {
		return ErrNoPartial
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := t.disk.create(partialsDir + "/" + id)
	if errors.Is(err, fs.ErrNotExist) {
		if err = errors.Join(t.ensureDir(Hidden, dirPerm), t.ensureDir(partialsDir, stagingPerm)); err != nil {
			return err
		}
		if err = t.syncDirs(".", Hidden); err != nil {
			return err
		}
		f, err = t.disk.create(partialsDir + "/" + id)
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), t.disk.syncDir(partialsDir))
}

// OpenPartial opens partial content for the one writer that it may have on all
// servers. ErrNoPartial if there is none of that id, ErrPartialBusy if another
// has it; one that is killed lets go of it.
func (t *Tree) OpenPartial(id string) (*Partial, error) {
	if !readable(id) {
		return nil, ErrNoPartial
	}
	f, err := t.root.OpenFile(partialsDir+"/"+id, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoPartial
	}
	if err != nil {
		return nil, wrap("open upload", id, err)
	}
	if err := flockNow(f); err != nil {
		_ = f.Close() // nothing was written
		return nil, wrap("lock upload", id, err)
	}
	// It may have been removed between the two.
	there, err := t.root.Lstat(partialsDir + "/" + id)
	mine, statErr := f.Stat()
	if err != nil || statErr != nil || !os.SameFile(there, mine) {
		unlock(f)
		return nil, ErrNoPartial
	}
	return &Partial{tree: t, id: id, file: f}, nil
}

func flockNow(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return ErrPartialBusy.After(time.Second)
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOLCK):
			return ErrNoFileLocks.Because(err)
		default:
			return err
		}
	}
}

// Close lets the content go, for the next writer.
func (p *Partial) Close() { unlock(p.file) }

// Continue has the next Receive write at offset at, after bytes that are durable
// and whose digest has that state; what lies behind them was never
// acknowledged and goes. ErrNoPartial if not all of them are there, as in a backup
// that was made while they came.
func (p *Partial) Continue(at int64, state []byte) error {
	info, err := p.file.Stat()
	if err == nil && info.Size() < at {
		err = ErrNoPartial.Because(fmt.Errorf("it has %d bytes of %d that were acknowledged", info.Size(), at))
	}
	if err == nil {
		err = p.tree.disk.truncate(p.file, at)
	}
	if err == nil {
		_, err = p.file.Seek(at, io.SeekStart)
	}
	if err == nil {
		p.sum, err = digestOf(state)
	}
	p.at = at
	return wrap("continue upload", p.id, err)
}

// Receive writes r behind what is there. broke is what r failed with: what came
// before that is written; err is any other failure, after which nothing can be
// made durable but by another Continue.
//
// If keep is not nil, what is written is made durable beside the writing, each
// time that step bytes came or that long has passed, and keep is told how much of it
// there is and the state of its digest, for Continue. It is called by one goroutine
// at a time and not after Receive has returned; its error ends Receive.
func (p *Partial) Receive(r io.Reader, step int64, every time.Duration, keep func(at int64, state []byte) error) (broke, err error) {
	from := &brokenOff{r: r}
	s := sink{file: partialFile{p.file, p.tree.disk}, sum: p.sum, size: p.at, flushed: p.at}
	k := keeper{partial: p, step: step, every: every, at: p.at, last: time.Now(), keep: keep}
	hashed := p.at
	k.begin()
	err = s.receiveBy(from, func(b []byte) (func(), error) {
		if k.failed() {
			return nil, errNotKept
		}
		hash, err := s.write(b)
		if err != nil {
			return nil, err
		}
		return func() {
			hash()
			hashed += int64(len(b))
			k.offer(hashed, p.sum)
		}, nil
	})
	if kept := k.end(); kept != nil {
		err = kept // and not that the writing ended because of it
	}
	if p.at = s.size; err != nil {
		p.sum = nil // it may be of more than there is
	}
	return from.err, wrap("write upload", p.id, err)
}

// partialFile is the file of an upload in pieces, as one that is new.
type partialFile struct {
	*os.File
	disk disk
}

// Write implements io.Writer.
func (f partialFile) Write(p []byte) (int, error) { return f.disk.write(f.File, p) }

// brokenOff ends where its reader fails, and knows why.
type brokenOff struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (b *brokenOff) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, io.EOF
	}
	n, err := b.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err, err = err, io.EOF
	}
	return n, err
}

// errNotKept ends a Receive whose keep failed.
var errNotKept = errors.New("what came before could not be kept")

// keeper makes what is written to an upload durable, beside the writing.
type keeper struct {
	partial *Partial
	step    int64
	every   time.Duration
	keep    func(at int64, state []byte) error

	// Of the goroutine that hashes.
	at   int64
	last time.Time

	marks chan mark
	done  chan struct{}
	err   atomic.Pointer[error]
}

// mark is how much of an upload was written, and the state of its digest.
type mark struct {
	at    int64
	state []byte
}

func (k *keeper) begin() {
	if k.keep == nil {
		return
	}
	k.marks, k.done = make(chan mark), make(chan struct{})
	go func() {
		defer close(k.done)
		for m := range k.marks {
			err := k.partial.tree.disk.sync(k.partial.file)
			if err == nil {
				err = k.keep(m.at, m.state)
			}
			if err != nil {
				k.err.Store(&err)
				return
			}
		}
	}()
}

// offer has what was written up to there kept if it is time, and nothing is
// being kept yet.
func (k *keeper) offer(at int64, sum hash.Hash) {
	if k.keep == nil || at-k.at < k.step && time.Since(k.last) < k.every {
		return
	}
	state, err := stateOf(sum)
	if err != nil {
		return // Sync will say so
	}
	select {
	case k.marks <- mark{at, state}:
		k.at, k.last = at, time.Now()
	default:
	}
}

func (k *keeper) failed() bool { return k.err.Load() != nil }

// end waits for what is being kept.
func (k *keeper) end() error {
	if k.keep == nil {
		return nil
	}
	close(k.marks)
	<-k.done
	if err := k.err.Load(); err != nil {
		return *err
	}
	return nil
}

// Sync makes what was written durable, and returns how much there is now and
// the state of its digest, for Continue.
func (p *Partial) Sync() (at int64, state []byte, err error) {
	if err := p.tree.disk.sync(p.file); err != nil {
		return 0, nil, wrap("sync upload", p.id, err)
	}
	if state, err = stateOf(p.sum); err != nil {
		return 0, nil, wrap("sync upload", p.id, err)
	}
	return p.at, state, nil
}

// Stage makes content of it that can be added to a fileset, and that may be
// used up or discarded without the loss of a byte here. All of it was synced.
func (p *Partial) Stage() (*Staged, error) {
	s := &Staged{tree: p.tree, name: stagingName(), size: p.at}
	err := p.tree.inStaging(func() error { return p.tree.disk.link(partialsDir+"/"+p.id, s.name) })
	if err != nil {
		return nil, wrap("stage upload", p.id, err)
	}
	if err := s.look(); err != nil {
		p.tree.discard(s.name)
		return nil, wrap("stage upload", p.id, err)
	}
	p.sum.Sum(s.sum[:0])
	return s, nil
}

// RemovePartial removes partial content, durably. It is no error if there is
// none.
func (t *Tree) RemovePartial(id string) error {
	if !readable(id) {
		return nil
	}
	name := partialsDir + "/" + id
	if _, err := t.root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return wrap("remove upload", id, errors.Join(t.disk.removeAll(name), t.disk.syncDir(partialsDir)))
}

// Partials returns the ids of all partial content that has not changed for so
// long.
func (t *Tree) Partials(olderThan time.Duration) ([]string, error) {
	entries, err := fs.ReadDir(t.root.FS(), partialsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap("list", partialsDir, err)
	}
	before := time.Now().Add(-olderThan)
	var ids []string
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.ModTime().Before(before) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}
