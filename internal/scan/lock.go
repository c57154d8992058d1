package scan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/postgres"
)

const (
	// warnEvery is how often a wait for the same scan is logged.
	warnEvery = 5 * time.Second
	// firstTry is how soon a file lock that was not free is tried again; the
	// wait doubles up to lastTry, which is half of upstream's.
	firstTry = 2 * time.Millisecond
	lastTry  = 50 * time.Millisecond
)

// locked runs fn in a transaction that holds names of scans or timelapses
// against all other writers: those on this database, and Python programs that
// have the tree open, if the settings say so. Names of the forms "<scan>/<fileset>"
// and "<scan>/<fileset>/<file>" stand for upstream's locks of parts. fn locks
// no other. ErrBusy if somebody else holds one for longer than the timeout; an
// error of the tree if its file locks cannot be had.
//
// The operation is what Locks tells. All that is needed is taken at once, or
// none of it: neither order nor number of names makes two wait for each other.
func (s *Service) locked(ctx context.Context, operation string, fn func(tx pgx.Tx) error, names ...string) error {
	return s.hold(ctx, operation, s.config.FileLocks, fn, names)
}

// lockedRows is locked for who only reads the tree and writes rows. It holds
// nobody up outside: what a program writes while it is read has another
// signature afterwards, and is read again.
func (s *Service) lockedRows(ctx context.Context, fn func(tx pgx.Tx) error, names ...string) error {
	return s.hold(ctx, opReload, false, fn, names)
}

func (s *Service) hold(ctx context.Context, operation string, files bool, fn func(tx pgx.Tx) error, names []string) error {
	deadline := time.Now().Add(s.config.LockTimeout)
	ours := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return strings.Contains(n, "/") })
	return postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		if err := s.lockNames(ctx, tx, operation, ours); err != nil {
			return err
		}
		if files {
			held, err := s.lockFiles(ctx, deadline, names)
			if err != nil {
				return err
			}
			defer held.Release()
		}
		// What a batch left here that was cut short is undone before anybody builds on it.
		if err := s.settleBatches(ctx, tx, ours); err != nil {
			return err
		}
		return fn(tx)
	})
}

func (s *Service) lockNames(ctx context.Context, tx pgx.Tx, operation string, names []string) error {
	name := names[len(names)-1]
	defer s.waits.watch(ctx, name)()
	timeout := strconv.FormatInt(s.config.LockTimeout.Milliseconds(), 10)
	err := s.q.LockNames(ctx, tx, names, timeout, s.holder(ctx, operation))
	if postgres.LockTimedOut(err) {
		return s.busy(name, err)
	}
	if err != nil {
		return fmt.Errorf("lock %q: %w", names, err)
	}
	return nil
}

// lockFiles takes upstream's locks until the deadline.
func (s *Service) lockFiles(ctx context.Context, deadline time.Time, names []string) (*fsdb.FileLocks, error) {
	for wait := firstTry; ; wait = min(2*wait, lastTry) {
		held, err := s.tree.TryLock(false, names...)
		if err == nil {
			s.waits.over(names[len(names)-1])
			return held, nil
		}
		if !errors.Is(err, fsdb.ErrLocked) {
			return nil, err
		}
		s.waits.again(ctx, names[0])
		if time.Until(deadline) < wait {
			return nil, s.busy(names[0], err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}

func (s *Service) busy(name string, cause error) error {
	return ErrBusy.With("Could not acquire exclusive lock for scan %s within %.1f seconds", name, s.config.LockTimeout.Seconds()).
		After(time.Second).Because(cause)
}

// serverName is this process among all that use a database.
func serverName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + ":" + strconv.Itoa(os.Getpid())
}

// maxHolder is how much PostgreSQL keeps of an application's name.
const maxHolder = 63

// holder is who holds a lock, as others read it by readHolder. PostgreSQL
// keeps printable ASCII of it.
func (s *Service) holder(ctx context.Context, operation string) string {
	a, _ := actor.FromContext(ctx)
	text := strings.Join([]string{s.config.Server, operation, a.Username}, "|")
	if over := len(text) - maxHolder; over > 0 {
		server := s.config.Server
		text = strings.Join([]string{server[min(over, len(server)):], operation, a.Username}, "|")
	}
	return text[:min(len(text), maxHolder)]
}

func readHolder(text string) (server, operation, user string) {
	parts := strings.SplitN(text, "|", 3)
	if len(parts) != 3 {
		return text, "", ""
	}
	return parts[0], parts[1], parts[2]
}

// Lock is a lock that somebody holds, or waits for.
type Lock struct {
	Scan string // or timelapse; empty for one that is being made
	// Level is scan, fileset or file; Part names the latter two.
	Level, Part string
	Shared      bool
	// Program says that a program holds it that has the tree open, and not a
	// server: then PID is its process, on its machine, and Server is empty.
	Program bool
	PID     int
	// Server is the machine and process of a server.
	Server    string
	Operation string
	User      string
	Since     time.Time // when its transaction began
	Waiting   bool
}

// Locks returns who holds or waits for which scans, on all servers of this
// database and among the programs that have the tree open: all of it to
// administrators, to others what is of scans they may read.
func (s *Service) Locks(ctx context.Context) ([]Lock, error) {
	a, err := acting(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := s.q.ListLocks(ctx, s.pool)
	if err != nil {
		return nil, fmt.Errorf("list locks: %w", err)
	}
	holders, err := s.tree.LockHolders(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]Lock, 0, len(rows)+len(holders))
	for _, r := range rows {
		l := Lock{Scan: r.Name, Level: "scan", Since: r.Since, Waiting: !r.Granted}
		l.Server, l.Operation, l.User = readHolder(r.Holder)
		all = append(all, l)
	}
	for _, h := range holders {
		_, part, _ := strings.Cut(h.Resource, "/")
		all = append(all, Lock{
			Scan: h.Scan(), Level: h.Level, Part: part, Shared: h.Type == "shared",
			Program: true, PID: h.PID, User: h.User, Since: h.Since,
		})
	}
	return s.readable(ctx, a, all)
}

// readable drops the locks of what the actor may not read.
func (s *Service) readable(ctx context.Context, a actor.Actor, all []Lock) ([]Lock, error) {
	if a.Scope == nil && a.HighestRole() == actor.Admin {
		return all, nil
	}
	may := map[string]bool{}
	for _, l := range all {
		if _, asked := may[l.Scan]; asked {
			continue
		}
		r, err := s.scan(ctx, s.pool, l.Scan)
		if err != nil && !errors.Is(err, ErrUnknownScan) {
			return nil, err
		}
		may[l.Scan] = err == nil && CanRead(a, r.Access)
	}
	return slices.DeleteFunc(all, func(l Lock) bool { return !may[l.Scan] }), nil
}

// waits counts, for each scan, how often a lock was waited for in vain since
// it was last had, and says so now and then.
type waits struct {
	log *slog.Logger

	mu   sync.Mutex
	scan map[string]*waited
}

type waited struct {
	attempts int
	last     time.Time // attempt
	warned   time.Time
}

// again notes one more attempt.
func (w *waits) again(ctx context.Context, name string) {
	now := time.Now()
	w.mu.Lock()
	if w.scan == nil {
		w.scan = map[string]*waited{}
	}
	one := w.scan[name]
	if one == nil {
		w.drop(now)
		one = new(waited)
		w.scan[name] = one
	}
	one.attempts++
	one.last = now
	warn := now.Sub(one.warned) >= warnEvery
	if warn {
		one.warned = now
	}
	attempts := one.attempts
	w.mu.Unlock()
	if warn {
		w.log.WarnContext(ctx, "waiting for the lock of a scan", slog.String("scan", name), slog.Int("attempt", attempts))
	}
}

// drop forgets what nobody waits for any more; w.mu is held.
func (w *waits) drop(now time.Time) {
	for name, one := range w.scan {
		if now.Sub(one.last) > time.Minute {
			delete(w.scan, name)
		}
	}
}

// over says that the lock was had. When the next wait is to be logged stays.
func (w *waits) over(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if one := w.scan[name]; one != nil {
		one.attempts = 0
	}
}

// watch notes an attempt for each second until it is stopped.
func (w *waits) watch(ctx context.Context, name string) (stop func()) {
	var mu sync.Mutex
	var timer *time.Timer
	stopped := false
	mu.Lock()
	timer = time.AfterFunc(time.Second, func() {
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			w.again(ctx, name)
			timer.Reset(time.Second)
		}
	})
	mu.Unlock()
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}
