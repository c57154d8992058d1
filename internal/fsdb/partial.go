package fsdb

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"sync"
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
	// flushed is up to where the disk was told to begin.
	flushed int64
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

// Continue has the next Write write at offset at, after bytes that are durable
// and whose digest has that state; what lies behind them was never
// acknowledged and goes.
func (p *Partial) Continue(at int64, state []byte) error {
	info, err := p.file.Stat()
	if err == nil && info.Size() < at {
		err = fmt.Errorf("it has %d bytes of %d that were acknowledged", info.Size(), at)
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
	p.at, p.flushed = at, at
	return wrap("continue upload", p.id, err)
}

// Write implements io.Writer. After an error nothing can be made durable but by
// another Continue.
func (p *Partial) Write(b []byte) (int, error) {
	var hashing sync.WaitGroup
	hashing.Go(func() { _, _ = p.sum.Write(b) }) // a hash takes everything
	n, err := p.tree.disk.write(p.file, b)
	hashing.Wait()
	p.at += int64(n)
	if p.at-p.flushed >= flushSize {
		beginFlush(p.file, p.flushed, p.at-p.flushed)
		p.flushed = p.at
	}
	if n < len(b) {
		p.sum = nil // it is of more than there is
	}
	return n, wrap("write upload", p.id, err)
}

// Sync makes what was written durable, and returns how much there is now and
// the state of its digest, for Continue.
func (p *Partial) Sync() (at int64, state []byte, err error) {
	if err := p.tree.disk.sync(p.file); err != nil {
		return 0, nil, wrap("sync upload", p.id, err)
	}
	marshaler, ok := p.sum.(encoding.BinaryMarshaler)
	if !ok {
		return 0, nil, errors.New("the digest has no state")
	}
	if state, err = marshaler.MarshalBinary(); err != nil {
		return 0, nil, fmt.Errorf("keep digest of upload %q: %w", p.id, err)
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
