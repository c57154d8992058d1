package scan

import (
	"context"
	"fmt"
	"iter"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/fsdb"
)

// rowsHeld is how many rows of the index are held while all of them are gone
// through.
const rowsHeld = 1000

// signatures goes through the scans of the index in the order of the bytes of
// their names. Those that come or go meanwhile it may tell or not.
type signatures struct {
	s     *Service
	rows  []db.ListScanSignaturesRow // that were not told yet
	after string                     // the last name that was read
	ended bool
}

// signatures begins after a name.
func (s *Service) signatures(after string) *signatures { return &signatures{s: s, after: after} }

// more says whether there is a row left, which is then the first of rows.
func (w *signatures) more(ctx context.Context) (bool, error) {
	if len(w.rows) == 0 && !w.ended {
		rows, err := w.s.q.ListScanSignatures(ctx, w.s.pool, w.after, w.s.rowsHeld)
		if err != nil {
			return false, fmt.Errorf("list the index: %w", err)
		}
		w.rows, w.ended = rows, len(rows) < int(w.s.rowsHeld)
		if len(rows) > 0 {
			w.after = rows[len(rows)-1].Name
		}
	}
	return len(w.rows) > 0, nil
}

// all tells the rows that are left; an error is the last.
func (w *signatures) all(ctx context.Context) iter.Seq2[db.ListScanSignaturesRow, error] {
	return func(yield func(db.ListScanSignaturesRow, error) bool) {
		for {
			more, err := w.more(ctx)
			if err != nil {
				yield(db.ListScanSignaturesRow{}, err)
				return
			}
			if !more || !yield(w.take(), nil) {
				return
			}
		}
	}
}

func (w *signatures) take() db.ListScanSignaturesRow {
	row := w.rows[0]
	w.rows = w.rows[1:]
	return row
}

// find goes on to a name and returns its row, the zero one if there is none, and the
// names that were passed on the way.
func (w *signatures) find(ctx context.Context, name string) (row db.ListScanSignaturesRow, passed []string, err error) {
	for {
		more, err := w.more(ctx)
		switch {
		case err != nil || !more || w.rows[0].Name > name:
			return db.ListScanSignaturesRow{}, passed, err
		case w.rows[0].Name == name:
			return w.take(), passed, nil
		}
		passed = append(passed, w.take().Name)
	}
}

// beside goes through a listing and the index together: each scan of the tree that
// counts is told with its row, the zero one where the index lacks it. The names that
// the index alone has are returned.
func (s *Service) beside(ctx context.Context, list *fsdb.Listing, rows *signatures, tell func(fsdb.Entry, db.ListScanSignaturesRow)) (lost []string, err error) {
	for first, others := range list.Scans() {
		e, err := s.choose(ctx, first, others)
		if err != nil {
			return lost, err
		}
		row, passed, err := rows.find(ctx, e.Loc.Scan)
		if err != nil {
			return lost, err
		}
		lost = append(lost, passed...)
		tell(e, row)
	}
	for row, err := range rows.all(ctx) {
		if err != nil {
			return lost, err
		}
		lost = append(lost, row.Name)
	}
	return lost, nil
}
