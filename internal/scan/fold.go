package scan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/romi/plantdb-go/internal/fsdb"
)

// An upload is acknowledged once it is in the journal of its scan; files.json,
// which Python programs read, is renewed a moment later, for many uploads at
// once. So the cost of an upload does not grow with the number of files.

const (
	// foldAfter is how long files.json may lag behind an upload.
	foldAfter = 400 * time.Millisecond
	// foldShare bounds what folding takes of the time of a very large scan: it
	// waits so many times as long as the last fold took, but never longer than
	// foldLatest.
	foldShare  = 10
	foldLatest = 5 * time.Second
	// foldAgain is when a fold that failed is tried again, and foldHeld when that of
	// a scan is that somebody holds.
	foldAgain = 5 * time.Second
	foldHeld  = 250 * time.Millisecond
	// lookForLeft is how often journals are looked for that a server left
	// which was killed, and leftAfter when one counts as left.
	lookForLeft = 10 * time.Second
	leftAfter   = 10 * time.Second
	// foldsAtOnce bounds how many scans are folded at once.
	foldsAtOnce = 4
)

// folds are the scans whose files.json lags behind.
type folds struct {
	mu   sync.Mutex
	due  map[fsdb.Loc]time.Time
	took time.Duration // by the last fold
	wake chan struct{} // of capacity one
}

// soon has a scan folded in a while, unless it will be anyway.
func (f *folds) soon(loc fsdb.Loc) {
	f.mu.Lock()
	wait := min(max(foldAfter, foldShare*f.took), foldLatest)
	f.mu.Unlock()
	f.at(loc, time.Now().Add(wait))
}

func (f *folds) at(loc fsdb.Loc, when time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.due == nil {
		f.due = map[fsdb.Loc]time.Time{}
	}
	if _, waits := f.due[loc]; waits {
		return
	}
	f.due[loc] = when
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// ready takes the scans whose time has come, and says when to look again.
func (f *folds) ready() (now []fsdb.Loc, next time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next = lookForLeft
	for loc, when := range f.due {
		if wait := time.Until(when); wait > 0 {
			next = min(next, wait)
			continue
		}
		delete(f.due, loc)
		now = append(now, loc)
	}
	return now, next
}

// KeepFolded writes what was uploaded into files.json, within half a second,
// until ctx ends; see fsdb.Tree.Fold. Without it nothing is lost and every
// reader of this service finds every file, but Python programs do not. It also
// folds what another server left that was killed.
func (s *Service) KeepFolded(ctx context.Context) error {
	var group errgroup.Group
	group.SetLimit(foldsAtOnce)
	left := time.NewTicker(lookForLeft)
	defer left.Stop()
	for {
		now, next := s.folds.ready()
		for _, loc := range now {
			group.Go(func() error {
				s.foldOrRetry(ctx, loc)
				return nil
			})
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(ctx.Err(), group.Wait())
		case <-left.C:
			s.findLeft(ctx)
		case <-s.folds.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (s *Service) foldOrRetry(ctx context.Context, loc fsdb.Loc) {
	began := time.Now()
	err := s.foldIfFree(ctx, loc)
	switch {
	case err == nil:
		s.folds.mu.Lock()
		s.folds.took = time.Since(began)
		s.folds.mu.Unlock()
	case errors.Is(err, errHeld): // which the wait said
		s.folds.at(loc, time.Now().Add(foldHeld))
	case ctx.Err() != nil, errors.Is(err, fsdb.ErrNotFound):
	default:
		s.log.WarnContext(ctx, "files.json lags behind the uploads", slog.String("scan", loc.Dir()), slog.Any("err", err))
		s.folds.at(loc, time.Now().Add(foldAgain))
	}
}

// findLeft has the journals folded that nobody writes to any more.
func (s *Service) findLeft(ctx context.Context) {
	journals, err := s.tree.Journals(ctx)
	if err != nil {
		s.log.WarnContext(ctx, "look for journals", slog.Any("err", err))
		return
	}
	for _, j := range journals {
		if j.Scan != "" && time.Since(j.Modified) > leftAfter {
			s.folds.at(j.Loc, time.Now())
		}
	}
}

// FoldAll folds every journal of the tree: a server does so when it starts and
// when it stops. Scans that somebody holds come last, and are tried until patience
// is over, all together. A journal that cannot be folded stays, and is said in the
// error; nothing is lost by that, and KeepFolded tries it again.
func (s *Service) FoldAll(ctx context.Context, patience time.Duration) error {
	journals, err := s.tree.Journals(ctx)
	if err != nil {
		return err
	}
	journals = slices.DeleteFunc(journals, func(j fsdb.Journal) bool { return j.Scan == "" }) // torn before it said of which scan it is
	var all error
	for until := time.Now().Add(patience); ; {
		held, failed := s.foldEach(ctx, journals)
		all = errors.Join(all, failed)
		if len(held) == 0 {
			return all
		}
		if time.Until(until) < foldHeld || sleep(ctx, foldHeld) != nil {
			for _, j := range held {
				s.folds.at(j.Loc, time.Now().Add(foldHeld))
				all = errors.Join(all, fmt.Errorf("fold the journal of %q: %w", j.Dir(), errHeld))
			}
			return errors.Join(all, ctx.Err())
		}
		journals = held
	}
}

// foldEach folds journals side by side and returns those of scans that are held.
func (s *Service) foldEach(ctx context.Context, journals []fsdb.Journal) (held []fsdb.Journal, failed error) {
	errs := make([]error, len(journals))
	var group errgroup.Group
	group.SetLimit(foldsAtOnce)
	for i, j := range journals {
		group.Go(func() error {
			errs[i] = s.foldIfFree(ctx, j.Loc)
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	for i, j := range journals {
		switch err := errs[i]; {
		case err == nil, errors.Is(err, fsdb.ErrNotFound):
		case errors.Is(err, errHeld):
			held = append(held, j)
		default:
			failed = errors.Join(failed, fmt.Errorf("fold the journal of %q: %w", j.Dir(), err))
		}
	}
	return held, failed
}

// fold holds the scan and folds its journal.
func (s *Service) fold(ctx context.Context, loc fsdb.Loc) error {
	return s.still(ctx, holdFold, func(pgx.Tx) error { return s.tree.Fold(ctx, loc) }, loc.Scan)
}

var errHeld = errors.New("somebody holds the scan")

// foldIfFree is fold for who has others to fold as well: errHeld if somebody holds
// the scan.
func (s *Service) foldIfFree(ctx context.Context, loc fsdb.Loc) error {
	err := s.stillIfFree(ctx, holdFold, func(pgx.Tx) error { return s.tree.Fold(ctx, loc) }, loc.Scan)
	if errors.Is(err, ErrBusy) {
		return errHeld
	}
	return err
}

// settle folds the journal of a scan whose files.json is about to be given
// out. Where that cannot be had now, what is there is given out.
func (s *Service) settle(ctx context.Context, r row) {
	pending, err := s.tree.Pending(r.loc())
	if err == nil && pending {
		err = s.fold(ctx, r.loc())
	}
	if err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "files.json is given out as it is", slog.String("scan", r.loc().Dir()), slog.Any("err", err))
	}
}
