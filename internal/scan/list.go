package scan

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// Query says which scans a list shows and in which order.
type Query struct {
	Filter    Filter
	Where     string // see docs/search.md
	Text      string // words that must all occur in id, keys or values
	Timelapse string // only its scans; empty for all
	// Sort is what the list is ordered by, with a dash for the last first; by
	// default its first key. See parseSort.
	Sort string
	// Limit is how many a page may have, After the Next of the page before.
	Limit int
	After string
}

// plain says whether nothing is searched for.
func (q Query) plain() bool { return q.Filter.Empty() && q.Where == "" && q.Text == "" }

// byDue is the Query.Sort that looks into the metadata.
const byDue = "timelapse.scheduled"

// Count returns how many scans there are that can be used. It asks for no
// permission: what is told to others is CountVisible.
func (s *Service) Count(ctx context.Context) (int64, error) {
	n, err := s.q.CountScans(ctx, s.pool)
	if err != nil {
		return 0, fmt.Errorf("count scans: %w", err)
	}
	return n, nil
}

// CountVisible returns how many scans there are that can be used and that the
// actor may see.
func (s *Service) CountVisible(ctx context.Context) (int64, error) {
	a, err := acting(ctx)
	if err != nil {
		return 0, err
	}
	return s.countVisible(ctx, a, false, math.MaxInt32)
}

// countVisible counts the scans that the actor may see, and stops at size.
func (s *Service) countVisible(ctx context.Context, a actor.Actor, withBroken bool, size int32) (int64, error) {
	may := sightOf(a)
	n, err := s.q.CountVisibleScans(ctx, s.pool, db.CountVisibleScansParams{
		Public: slices.Contains(may.visibilities, Public), Everything: slices.Contains(may.visibilities, Private),
		WithBroken: withBroken, Username: may.username, Groups: may.groups, Size: size,
	})
	if err != nil {
		return 0, fmt.Errorf("count scans: %w", err)
	}
	return n, nil
}

// Names returns the ids of the scans that the actor may read and that can be
// used. Those of an unknown timelapse are none.
func (s *Service) Names(ctx context.Context, q Query) ([]string, error) {
	a, err := acting(ctx)
	if err != nil {
		return nil, err
	}
	if q.plain() && q.Sort == "" {
		return s.allNames(ctx, s.pool, a, q.Timelapse)
	}
	return s.filteredNames(ctx, a, q)
}

// timelapseArg is the argument of the queries that narrows to a timelapse; ok
// is false when there can be none of that name.
func timelapseArg(name string) (arg *string, ok bool) {
	if name == "" {
		return nil, true
	}
	return &name, storable(name)
}

func (s *Service) allNames(ctx context.Context, tx db.DBTX, a actor.Actor, timelapse string) ([]string, error) {
	narrow, ok := timelapseArg(timelapse)
	if !ok {
		return []string{}, nil
	}
	may := sightOf(a)
	names, err := s.q.ListScanNames(ctx, tx, db.ListScanNamesParams{
		Visibilities: may.visibilities, Username: may.username, Groups: may.groups, Timelapse: narrow,
	})
	if err != nil {
		return nil, fmt.Errorf("list scan names: %w", err)
	}
	return withinScope(a, names, func(n string) string { return n }), nil
}

func (s *Service) filteredNames(ctx context.Context, a actor.Actor, q Query) ([]string, error) {
	x, err := s.newSearch(a, q, false)
	if err != nil {
		return nil, err
	}
	if !storable(q.Timelapse) {
		return []string{}, nil
	}
	found, err := x.collect(ctx)
	return namesOf(found), err
}

// due is when a scan of a timelapse was to be made, as upstream orders it: by
// the text, then by the number.
type due struct {
	scheduled string
	index     float64
}

func dueOf(metadata json.RawMessage) (d due) {
	if raw, ok := lookup(metadata, "timelapse", "scheduled"); ok {
		d.scheduled, _ = meta.Text(raw)
	}
	if raw, ok := lookup(metadata, "timelapse", "index"); ok {
		_ = json.Unmarshal(raw, &d.index) // what is no number is 0
	}
	return d
}
