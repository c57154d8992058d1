package scan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/fsdb"
)

// Reconciled says what a reconcile found.
type Reconciled struct {
	Scans   int // directories that are, or should be, scans
	Read    int // read anew because something changed
	Removed int // rows of scans that are no longer in the tree
	Broken  int // scans that cannot be used
}

// Reconcile makes the index say what the tree says: what changed since it was
// last read is read again, each scan in one transaction, what is gone is
// forgotten. It takes the tree as it is and writes nothing into it, but that
// uploads which another program left out of files.json are listed again. A damaged
// scan becomes a row with its reason; only a failing disk or database ends it. A scan
// that changed and that somebody holds too long is left as it was, and the error is
// ErrBusy once all others are done.
// Several may run at once, also on several machines. It acts for the server
// itself and asks for no permission.
func (s *Service) Reconcile(ctx context.Context) (Reconciled, error) {
	return s.reconcile(ctx, nil)
}

// reconcile is Reconcile, with a pace if nobody waits for it: what did not change
// is then looked at by one core alone, now and then, and requests have the rest.
func (s *Service) reconcile(ctx context.Context, p *pace) (Reconciled, error) {
	list, err := s.tree.List(ctx)
	if err != nil {
		return Reconciled{}, fmt.Errorf("list the tree: %w", err)
	}
	rows := s.signatures("")
	indexed, err := rows.more(ctx)
	if err != nil {
		return Reconciled{}, err
	}
	// Before the scans are read, so that no change is missed in between.
	s.watching.follow(list)
	unseen := indexedBefore
	if !indexed && !s.met.Load() {
		unseen = firstRead // nothing happened to the tree: it is met
	}
	if err := s.reconcileTimelapses(ctx, list, unseen); err != nil {
		return Reconciled{}, err
	}
	var held leftOut
	done, lost, err := s.indexChanged(ctx, list, rows, unseen, p, &held)
	if err != nil {
		return done, err
	}
	// Last, so that a scan that has another name is there by it before it goes.
	for _, name := range lost {
		gone, err := s.forget(ctx, name)
		if err := held.but(err); err != nil {
			return done, err
		}
		if gone {
			done.Removed++
		}
	}
	if err := s.forgetTimelapses(ctx, list); err != nil {
		return done, err
	}
	s.met.Store(true)
	s.settleIndex(ctx, done)
	return done, held.err
}

// leftOut are the scans that a reconcile could not read, for somebody held them.
type leftOut struct {
	mu  sync.Mutex
	err error // of the first
}

// but returns an error unless it is ErrBusy, which it keeps: one scan that is held
// keeps no other from being read.
func (l *leftOut) but(err error) error {
	if !errors.Is(err, ErrBusy) {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
	return nil
}

// settleIndex has PostgreSQL look at what the index has come to hold, if much of it is
// new: until it does so by itself, after a minute, it plans as for an empty
// table, and sorts all scans for a page.
func (s *Service) settleIndex(ctx context.Context, done Reconciled) {
	const much = 500
	if done.Read < much || done.Read < done.Scans/10 {
		return
	}
	err := s.q.AnalyzeIndex(ctx, s.pool)
	if err == nil {
		err = s.q.FlushIndex(ctx, s.pool)
	}
	if err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "searches are slow until PostgreSQL has analyzed the index", slog.Any("err", err))
	}
}

// choose returns the scan that counts of those that have one id, since ids are
// unique over the whole tree: of those that look sound the one that the index
// has, for somebody was told that it is there, else the first.
func (s *Service) choose(ctx context.Context, used fsdb.Entry, others []fsdb.Entry) (fsdb.Entry, error) {
	for _, e := range others {
		usedSound, sound := s.tree.Look(used).Broken == "", s.tree.Look(e).Broken == ""
		better := sound
		if sound == usedSound {
			r, err := s.scan(ctx, s.pool, e.Loc.Scan)
			if err != nil && !errors.Is(err, ErrUnknownScan) {
				return used, err
			}
			better = err == nil && r.loc() == e.Loc
		}
		ignored := e
		if better {
			used, ignored = e, used
		}
		s.warn(ctx, ignored.Loc.Dir(), "another scan has the id and is used: "+used.Loc.Dir(), nil)
	}
	return used, nil
}

// tally counts what became of scans that are indexed side by side.
type tally struct {
	mu       sync.Mutex
	done     Reconciled
	seen     int
	progress func(done, total int)
}

func (t *tally) add(read, broken bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen++
	if read {
		t.done.Read++
	}
	if broken {
		t.done.Broken++
	}
	if t.progress != nil {
		t.progress(t.seen, t.done.Scans)
	}
}

// indexChanged reads the scans of the tree that are not as their rows say, and
// returns the names of those that only the index has.
func (s *Service) indexChanged(ctx context.Context, list *fsdb.Listing, rows *signatures, unseen seen, p *pace, held *leftOut) (done Reconciled, lost []string, err error) {
	t := tally{done: Reconciled{Scans: list.IDs()}, progress: s.progress}
	group, ctx := errgroup.WithContext(ctx)
	// Twice the cores: half of them wait for the database.
	group.SetLimit(2 * runtime.GOMAXPROCS(0))
	same := func(e fsdb.Entry, row db.ListScanSignaturesRow) bool {
		ok := row.Name != "" && row.Timelapse == e.Loc.Timelapse && s.unchanged(ctx, e, row.Signature)
		if ok {
			t.add(false, row.Broken)
		}
		return ok
	}
	lost, err = s.beside(ctx, list, rows, func(e fsdb.Entry, row db.ListScanSignaturesRow) {
		p.step(ctx)
		if p != nil && same(e, row) {
			return
		}
		group.Go(func() error {
			if p == nil && same(e, row) {
				return nil
			}
			broken, err := s.index(ctx, e, unseen)
			if err != nil {
				return held.but(err)
			}
			if row.Name != "" {
				s.watching.prefer(e.Loc)
			}
			t.add(true, broken)
			return nil
		})
	})
	if failed := group.Wait(); failed != nil {
		err = failed // what was told of it is the consequence
	}
	return t.done, lost, err
}

// unchanged says whether a scan is as it was when it had that signature. What
// has a name that cannot be asked for has the zero one as long as it exists.
func (s *Service) unchanged(ctx context.Context, e fsdb.Entry, known []byte) bool {
	signature, err := s.tree.Signature(ctx, e.Loc)
	if err != nil && (e.Broken == "" || !errors.Is(err, fsdb.ErrNotFound)) {
		return false
	}
	return string(signature[:]) == string(known)
}

// index reads one scan from disk and writes its rows, in one transaction that
// holds the scan against writers, and records what was changed outside.
func (s *Service) index(ctx context.Context, e fsdb.Entry, as seen) (broken bool, err error) {
	return s.indexIf(ctx, e, as, func(*fsdb.Scan) error { return nil })
}

// indexIf is index for a scan that may be read once more: nothing is written if
// accept refuses what was read, and its error is returned.
func (s *Service) indexIf(ctx context.Context, e fsdb.Entry, as seen, accept func(*fsdb.Scan) error) (broken bool, err error) {
	for range relistings {
		broken, err = s.indexOnce(ctx, e, as, accept)
		left, ok := errors.AsType[unlistedError](err)
		if !ok {
			return broken, err
		}
		if err = s.relist(ctx, e.Loc, left); err != nil {
			break
		}
	}
	if ctx.Err() != nil {
		return false, err
	}
	// Its rows stay as they are, and so does the signature, so that it is tried again.
	s.log.WarnContext(ctx, "uploads that another program left out of files.json cannot be listed again yet",
		slog.String("scan", e.Loc.Dir()), slog.Any("err", err))
	return false, nil
}

func (s *Service) indexOnce(ctx context.Context, e fsdb.Entry, as seen, accept func(*fsdb.Scan) error) (broken bool, err error) {
	err = s.lockedRows(ctx, func(tx pgx.Tx) error {
		if err := s.q.RelaxCommit(ctx, tx); err != nil {
			return fmt.Errorf("relax commits of the index: %w", err)
		}
		read, err := s.tree.ReadScan(ctx, e.Loc)
		switch {
		case errors.Is(err, fsdb.ErrNotFound) && e.Broken != "":
			read = &fsdb.Scan{Loc: e.Loc, Broken: e.Broken, Metadata: empty}
		case errors.Is(err, fsdb.ErrNotFound):
			_, err := s.forgetGone(ctx, tx, e.Loc.Scan)
			return err
		case err != nil:
			return fmt.Errorf("read scan %q: %w", e.Loc.Dir(), err)
		}
		if err := accept(read); err != nil {
			return err
		}
		broken = read.Broken != ""
		s.warn(ctx, read.Dir(), read.Broken, read.Warnings)
		return s.indexRead(ctx, tx, read, as)
	}, e.Loc.Scan)
	if unwritable(err) {
		return true, s.indexUnwritable(ctx, e.Loc, err)
	}
	return broken, err
}

// indexRead writes the rows of a scan that was read, and what happened to it.
func (s *Service) indexRead(ctx context.Context, tx pgx.Tx, read *fsdb.Scan, as seen) error {
	if as == firstRead {
		return s.writeScan(ctx, tx, read)
	}
	found, err := s.changedOutside(ctx, tx, read)
	if err != nil {
		return err
	}
	if err := s.unlisted(ctx, tx, read, found); err != nil {
		return err
	}
	if err := s.fillInodes(ctx, tx, read, found); err != nil {
		return err
	}
	write := s.writeRows
	if found.sameParts {
		write = s.writeScanAlone
	}
	if err := write(ctx, tx, read); err != nil {
		return err
	}
	if found, err = s.attribute(found, read); err != nil {
		return err
	}
	return s.record(ctx, tx, found.worth()...)
}

// indexUnwritable makes a row of a scan that PostgreSQL does not take: one bad
// scan must not keep all others out.
func (s *Service) indexUnwritable(ctx context.Context, loc fsdb.Loc, cause error) error {
	s.log.ErrorContext(ctx, "scan cannot be indexed", slog.String("scan", loc.Dir()), slog.Any("err", cause))
	return s.lockedRows(ctx, func(tx pgx.Tx) error {
		read, err := s.tree.ReadScan(ctx, loc)
		if err != nil {
			return fmt.Errorf("read scan %q: %w", loc.Dir(), err)
		}
		return s.writeRows(ctx, tx, &fsdb.Scan{
			Loc: loc, Signature: read.Signature, Metadata: empty, Broken: "it holds something that the index does not take",
			// Who may not see it must not see it here either.
			VisibilityLost: accessOf(loc.Scan, sourceOf(read).metadata).Visibility == Private,
		})
	}, loc.Scan)
}

// warn logs the damage of a scan or timelapse, once for each state of it.
func (s *Service) warn(ctx context.Context, path, broken string, warnings []string) {
	if broken == "" && len(warnings) == 0 {
		s.warned.Delete(path)
		return
	}
	damage := fmt.Sprint(broken, warnings)
	if last, ok := s.warned.Swap(path, damage); ok && last == damage {
		return
	}
	s.log.WarnContext(ctx, "the tree is damaged", slog.String("path", path),
		slog.String("broken", broken), slog.Any("warnings", warnings))
}

// forget removes the row of a scan that a reconcile did not meet, if it is gone.
func (s *Service) forget(ctx context.Context, name string) (gone bool, err error) {
	err = s.lockedRows(ctx, func(tx pgx.Tx) (err error) {
		gone, err = s.forgetGone(ctx, tx, name)
		return err
	}, name)
	return gone, err
}

// forgetGone removes the row of a scan unless the tree has it where the row
// says, for it may have been made since the tree was listed.
func (s *Service) forgetGone(ctx context.Context, tx pgx.Tx, name string) (gone bool, err error) {
	r, err := s.scan(ctx, tx, name)
	if errors.Is(err, ErrUnknownScan) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if there, err := s.present(ctx, r.loc()); there || err != nil {
		return false, err
	}
	if err := s.record(ctx, tx, Change{Kind: ScanDeleted, Scan: name, Outside: true}); err != nil {
		return false, err
	}
	if err := s.q.DeleteScan(ctx, tx, name); err != nil {
		return false, fmt.Errorf("forget scan %q: %w", name, err)
	}
	return true, nil
}

// present says whether there is a directory at loc that counts as a scan: not
// a timelapse itself, and inside one if loc says so.
func (s *Service) present(ctx context.Context, loc fsdb.Loc) (bool, error) {
	marked := func(id string) (bool, error) {
		_, err := s.tree.TimelapseSignature(ctx, id)
		return err == nil, missing(err)
	}
	if loc.Timelapse == "" {
		if timelapse, err := marked(loc.Scan); timelapse || err != nil {
			return false, err
		}
	} else if timelapse, err := marked(loc.Timelapse); !timelapse || err != nil {
		return false, err
	}
	_, err := s.tree.Signature(ctx, loc)
	return err == nil, missing(err)
}

// missing returns nil for an error that only says that nothing is there.
func missing(err error) error {
	if errors.Is(err, fsdb.ErrNotFound) {
		return nil
	}
	return err
}
