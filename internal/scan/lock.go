package scan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/postgres"
)

const (
	// firstTry is how soon a file lock that was not free is tried again; the
	// wait doubles up to lastTry, which is half of upstream's.
	firstTry = 2 * time.Millisecond
	lastTry  = 50 * time.Millisecond
)

// holdTime bounds a write that has its locks.
const holdTime = 10 * time.Minute

// locked runs fn in a transaction that holds names of scans or timelapses
// against all other writers: those on this database, and Python programs that
// have the tree open, if the settings say so. Names of the forms "<scan>/<fileset>"
// and "<scan>/<fileset>/<file>" stand for upstream's locks of parts. fn locks
// no other. ErrBusy if somebody else holds one for longer than the timeout; an
// error of the tree if its file locks cannot be had. What fn did to the tree is
// taken back where it returns an error, or panics; see writing. ErrBusy, too, if
// another program takes away what fn writes to.
//
// Once the names are held fn goes on to its end, and the commit with it, whether
// the caller leaves or not: fn has a context of its own. It is run once, for what
// was staged can be used once. The operation is what Locks tells. All that is
// needed is taken at once, or none of it: neither order nor number of names
// makes two wait for each other.
func (s *Service) locked(ctx context.Context, operation string, fn func(ctx context.Context, tx *writing) error, names ...string) error {
	w := new(writing)
	err := s.hold(ctx, claim{operation: operation, names: names, toEnd: true}, func(ctx context.Context, tx pgx.Tx) error {
		w.Tx = tx
		err := fault.Guard(func() error { return fn(ctx, w) })
		if err != nil {
			s.takeBack(ctx, w)
			return s.takenAway(ctx, names, err)
		}
		for _, end := range w.ends {
			end()
		}
		return nil
	})
	if err == nil {
		for _, wait := range w.waits {
			err = errors.Join(err, wait())
		}
	}
	// At once where the commit failed: who finds first what is in doubt is to know whose it is.
	s.settleDoubts(ctx, w, err)
	return err
}

// takenAway is the error of a write under which something went that was there when
// it was looked at. No server takes anything away from who holds the names: another
// program did, and who comes again finds what that has left.
func (s *Service) takenAway(ctx context.Context, names []string, err error) error {
	if _, told := errors.AsType[*fault.Error](err); told || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.log.WarnContext(ctx, "another program took away what was being written", slog.Any("names", names), slog.Any("err", err))
	return ErrBusy.With("Another program changed scan %s while it was written", claim{names: names}.scan()).After(time.Second).Because(err)
}

// still is locked for who keeps others from writing, and changes nothing that
// would have to be taken back. fn is not cut off from the caller.
func (s *Service) still(ctx context.Context, operation string, fn func(tx pgx.Tx) error, names ...string) error {
	return s.hold(ctx, claim{operation: operation, names: names}, func(_ context.Context, tx pgx.Tx) error { return fn(tx) })
}

// stillIfFree is still for work that can as well be done later: what somebody holds
// is not waited for, so that it keeps nobody from the rest. ErrBusy then.
func (s *Service) stillIfFree(ctx context.Context, operation string, fn func(tx pgx.Tx) error, names ...string) error {
	return s.hold(ctx, claim{operation: operation, names: names, once: true}, func(_ context.Context, tx pgx.Tx) error { return fn(tx) })
}

// lockedRows is locked for who only reads the tree and writes rows. It holds
// nobody up outside, and waits for nobody there: what a program writes while it
// is read has another signature afterwards, and is read again.
func (s *Service) lockedRows(ctx context.Context, fn func(tx pgx.Tx) error, names ...string) error {
	deadline := time.Now().Add(s.config.LockTimeout)
	stop := s.waits.watch(ctx, names[len(names)-1])
	defer stop()
	return postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		if err := s.lockNames(ctx, tx, opReload, deadline, names); err != nil {
			return err
		}
		stop()
		if err := s.settleBatches(ctx, tx, names); err != nil {
			return err
		}
		return fn(tx)
	})
}

// claim is what somebody holds or waits for.
type claim struct {
	operation string
	names     []string // as locked has them
	toEnd     bool     // once it is held the caller may leave
	once      bool     // a program is not waited for, and servers no longer than leastWait
	deadline  time.Time
}

// ours are the names that servers lock.
func (h claim) ours() []string {
	return slices.DeleteFunc(slices.Clone(h.names), func(n string) bool { return strings.Contains(n, "/") })
}

// scan is the name that messages tell of.
func (h claim) scan() string {
	ours := h.ours()
	return ours[len(ours)-1]
}

// hold waits for what it is to hold. Neither those who wait for another call of
// this process nor those who wait for a program have a connection meanwhile: one
// scan that somebody holds would take all of them.
func (s *Service) hold(ctx context.Context, h claim, fn func(ctx context.Context, tx pgx.Tx) error) error {
	h.deadline = time.Now().Add(s.config.LockTimeout)
	if h.once {
		h.deadline = time.Now().Add(min(leastWait, s.config.LockTimeout))
	}
	stop := s.waits.watch(ctx, h.scan())
	defer stop()
	leave, err := s.turns.take(ctx, h.deadline, h.ours())
	if err != nil {
		return s.gaveUp(ctx, h, err)
	}
	defer leave()
	for {
		err := s.holdOnce(ctx, h, func(ctx context.Context, tx pgx.Tx) error {
			stop()
			s.waits.over(h.scan())
			return fn(ctx, tx)
		})
		held, outside := errors.AsType[heldOutsideError](err)
		switch {
		case postgres.LostToAnother(err):
			return s.busy(h.scan(), err)
		case !outside:
			return err
		case h.once:
			s.waits.again(ctx, h.scan())
			return s.busy(h.scan(), held.cause)
		}
		if err := s.awaitFiles(ctx, h); err != nil {
			return s.gaveUp(ctx, h, errors.Join(err, held.cause))
		}
	}
}

// heldOutsideError says that a program has the files.
type heldOutsideError struct{ cause error }

func (e heldOutsideError) Error() string { return e.cause.Error() }

// gaveUp is the error of who waited in vain.
func (s *Service) gaveUp(ctx context.Context, h claim, cause error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(cause, errWaited):
		return s.busy(h.scan(), cause)
	default:
		return cause
	}
}

func (s *Service) holdOnce(ctx context.Context, h claim, fn func(ctx context.Context, tx pgx.Tx) error) error {
	run, stay := ctx, func() bool { return true }
	if h.toEnd {
		var cancel context.CancelFunc
		run, cancel = context.WithTimeout(context.WithoutCancel(ctx), time.Until(h.deadline)+holdTime)
		defer cancel()
		stay = context.AfterFunc(ctx, cancel)
		defer stay()
	}
	return postgres.InTxOnce(run, s.pool, func(tx pgx.Tx) error {
		if err := s.lockNames(run, tx, h.operation, h.deadline, h.ours()); err != nil {
			return err
		}
		if s.config.FileLocks {
			held, err := s.tree.TryLock(false, h.names...)
			if errors.Is(err, fsdb.ErrLocked) {
				return heldOutsideError{err}
			}
			if err != nil {
				return err
			}
			defer held.Release()
		}
		if !stay() {
			return ctx.Err() // it left while it waited
		}
		// What a batch left here that was cut short is undone before anybody builds on it.
		if err := s.settleBatches(run, tx, h.ours()); err != nil {
			return err
		}
		return fn(run, tx)
	})
}

// leastWait is what is left of the timeout for rows that others hold, however
// long the names were waited for.
const leastWait = 500 * time.Millisecond

// lockNames waits for other servers until the deadline.
func (s *Service) lockNames(ctx context.Context, tx pgx.Tx, operation string, deadline time.Time, names []string) error {
	left := max(time.Until(deadline), min(leastWait, s.config.LockTimeout))
	timeout := strconv.FormatInt(left.Milliseconds(), 10)
	err := s.q.LockNames(ctx, tx, db.LockNamesParams{
		Names: names, Timeout: timeout, Holder: s.holder(ctx, operation),
		// Of an upload, planning its one large statement took as long as executing it.
		Generic: operation == opCreateFile,
	})
	if postgres.LockTimedOut(err) {
		return s.busy(names[len(names)-1], err)
	}
	if err != nil {
		return fmt.Errorf("lock %q: %w", names, err)
	}
	return nil
}

// awaitFiles waits until upstream's locks are free, or the deadline.
func (s *Service) awaitFiles(ctx context.Context, h claim) error {
	for wait := firstTry; ; wait = min(2*wait, lastTry) {
		s.waits.again(ctx, h.scan())
		if time.Until(h.deadline) < wait {
			return errWaited
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		held, err := s.tree.TryLock(false, h.names...)
		if err == nil {
			held.Release()
			return nil
		}
		if !errors.Is(err, fsdb.ErrLocked) {
			return err
		}
	}
}

var errWaited = errors.New("waited in vain")

func (s *Service) busy(name string, cause error) error {
	return ErrBusy.With("Could not acquire exclusive lock for scan %s within %.1f seconds", name, s.config.LockTimeout.Seconds()).
		After(time.Second).Because(cause)
}
