package fsdb

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"sync/atomic"
	"time"
)

// Staged is content that is on the disk and not yet in the tree. It is used up
// by the call that gives it a name, or by Discard.
type Staged struct {
	tree *Tree
	name string
	size int64
	sum  [sha256.Size]byte
	made time.Time
	node uint64
	used atomic.Bool
	// synced is closed when the sync that Stage began is over, with failed for
	// what became of it; nil if there is none.
	synced chan struct{}
	failed error
}

// Stage copies r into the hidden staging directory of the tree's filesystem.
// When it returns, the bytes would survive a power cut; if there are no more
// than 4 MiB, the disk is about to take them, and the call that gives them a
// name waits for that: what is asked of a database in between costs no time.
// Memory stays flat however long r is. ErrTooLarge if r holds more than limit
// bytes, ErrNoSpace if the disk does; an error of r is wrapped. On an error
// nothing is left.
func (t *Tree) Stage(ctx context.Context, r io.Reader, limit int64) (*Staged, error) {
	name, f, err := t.createStaged()
	if err != nil {
		return nil, wrap("stage", "content", err)
	}
	s := &Staged{tree: t, name: name}
	limit = min(limit, math.MaxInt64-1) // one byte more tells too large
	s.size, s.sum, err = receive(f, io.LimitReader(contextReader{ctx, r}, limit+1))
	switch {
	case err != nil:
	case s.size > limit:
		err = ErrTooLarge.With("the content is larger than %d bytes", limit)
	default:
		err = s.look()
	}
	if err == nil && s.size <= flushSize {
		s.synced = make(chan struct{})
		go func() {
			s.failed = errors.Join(f.Sync(), f.Close())
			close(s.synced)
		}()
		return s, nil
	}
	if err == nil {
		err = f.Sync() // it may take seconds, in which nobody should hold a scan
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.discard(name)
		return nil, wrap("stage", "content", err)
	}
	return s, nil
}

// durable returns once the bytes would survive a power cut: ErrNoSpace and
// others if they never will.
func (s *Staged) durable() error {
	if s.synced != nil {
		<-s.synced
	}
	return wrap("stage", "content", s.failed)
}

// Size returns the length in bytes.
func (s *Staged) Size() int64 { return s.size }

// Modified returns the time of modification that the file will have.
func (s *Staged) Modified() time.Time { return s.made }

// Inode returns the one that the file will have.
func (s *Staged) Inode() uint64 { return s.node }

// look takes down what tells the file from others when it has been renamed.
func (s *Staged) look() error {
	info, err := s.tree.root.Lstat(s.name)
	if err != nil {
		return err
	}
	s.made, s.node = info.ModTime(), InodeOf(info)
	return nil
}

// SHA256 returns the digest of the bytes.
func (s *Staged) SHA256() [sha256.Size]byte { return s.sum }

// Discard removes the content if no call has used it up; it may be called
// always and more than once.
func (s *Staged) Discard() error {
	if s.used.Swap(true) {
		return nil
	}
	_ = s.durable() // whatever became of it
	return wrap("discard", s.name, s.tree.disk.removeAll(s.name))
}

// take claims the content for a rename, once it is durable; of what cannot be
// made so nothing is left.
func (s *Staged) take() error {
	if s == nil || s.used.Swap(true) {
		return errors.New("the staged content was used already")
	}
	err := s.durable()
	if err != nil {
		s.tree.discard(s.name)
	}
	return err
}

// Sweep removes what calls that never finished left in the staging directory,
// the journals of scans that went away, and notes of doubt, if they did not change for
// olderThan, nor anything in them, and returns how many things it removed. Content
// being staged changes while it grows, so an hour is safe. What a journal tells of
// stays: Fold gives it its name.
func (t *Tree) Sweep(ctx context.Context, olderThan time.Duration) (int, error) {
	before := time.Now().Add(-olderThan)
	// Before the journals, for what is staged later one may tell of later.
	entries, err := fs.ReadDir(t.root.FS(), stagingDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, wrap("sweep", stagingDir, err)
	}
	removed, told, err := t.sweepJournals(ctx, before)
	if err != nil {
		return removed, err
	}
	doubts, err := t.sweepDoubts(ctx, before)
	if removed += doubts; err != nil {
		return removed, err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return removed, fmt.Errorf("sweep %q: %w", stagingDir, err)
		}
		if told(e.Name()) || t.changedSince(stagingDir+"/"+e.Name(), before) {
			continue
		}
		if err := t.disk.removeAll(stagingDir + "/" + e.Name()); err != nil {
			return removed, wrap("sweep", stagingDir, err)
		}
		removed++
	}
	return removed, nil
}

var errChanged = errors.New("it was changed")

// changedSince says whether something staged was written after a time, or is
// gone.
func (t *Tree) changedSince(name string, after time.Time) bool {
	err := fs.WalkDir(t.root.FS(), name, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.ModTime().After(after) {
			err = errChanged
		}
		return err
	})
	return err != nil
}
