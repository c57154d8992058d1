package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// ErrLocked says that somebody else holds the lock.
var ErrLocked = errors.New("locked by another process")

// Mode is how a lock is held.
type Mode int

// A lock has one exclusive holder or any number of shared ones.
const (
	Exclusive Mode = syscall.LOCK_EX
	Shared    Mode = syscall.LOCK_SH
)

// Lock is an advisory lock on a file (flock). It goes with the last process
// that has the file open: a kill releases it.
type Lock struct{ file *os.File }

// TryLock takes the lock on the file at path, which it makes when missing, or
// returns ErrLocked.
func TryLock(path string, mode Mode) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), int(mode)|syscall.LOCK_NB)
		switch {
		case err == nil:
			return &Lock{file: f}, nil
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EWOULDBLOCK):
			err = ErrLocked
		}
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
}

// WaitLock is TryLock, again and again until ctx ends.
func WaitLock(ctx context.Context, path string, mode Mode) (*Lock, error) {
	// A blocking flock could not be given up.
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		l, err := TryLock(path, mode)
		if !errors.Is(err, ErrLocked) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-tick.C:
		}
	}
}

// Close gives up our part of the lock: processes that inherited the file keep
// theirs.
func (l *Lock) Close() error { return l.file.Close() }
