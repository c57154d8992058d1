package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

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

// Count returns how many scans can be used. It asks for no permission: the
// number is part of the server's public health.
func (s *Service) Count(ctx context.Context) (int64, error) {
	n, err := s.q.CountScans(ctx, s.pool)
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
	return s.filteredNames(ctx, a, q, false)
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

func (s *Service) filteredNames(ctx context.Context, a actor.Actor, q Query, broken bool) ([]string, error) {
	x, err := s.newSearch(a, q, broken)
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

// Infos returns the scan-info objects of the scans that q finds. Unless q has a
// filter, broken scans are among them, each with its reason.
func (s *Service) Infos(ctx context.Context, q Query) ([]json.RawMessage, error) {
	a, err := acting(ctx)
	if err != nil {
		return nil, err
	}
	if !q.plain() || q.Timelapse != "" || q.Sort != "" {
		return s.filteredInfos(ctx, a, q)
	}
	may := sightOf(a)
	rows, err := s.q.ListAllScanInfos(ctx, s.pool, may.visibilities, may.username, may.groups)
	if err != nil {
		return nil, fmt.Errorf("list scan infos: %w", err)
	}
	rows = withinScope(a, rows, func(r db.ListAllScanInfosRow) string { return r.Name })
	infos := make([]json.RawMessage, 0, len(rows))
	for _, r := range rows {
		if infos, err = s.appendInfo(ctx, infos, r.Info, r.ID); err != nil {
			return nil, err
		}
	}
	return infos, nil
}

func (s *Service) filteredInfos(ctx context.Context, a actor.Actor, q Query) ([]json.RawMessage, error) {
	names, err := s.filteredNames(ctx, a, q, q.plain())
	if err != nil {
		return nil, err
	}
	return s.infosOf(ctx, names)
}

// infosOf returns the infos of scans in their order.
func (s *Service) infosOf(ctx context.Context, names []string) ([]json.RawMessage, error) {
	rows, err := s.q.ListScanInfos(ctx, s.pool, names)
	if err != nil {
		return nil, fmt.Errorf("list scan infos: %w", err)
	}
	byName := make(map[string]db.ListScanInfosRow, len(rows))
	for _, r := range rows {
		byName[r.Name] = r
	}
	infos := make([]json.RawMessage, 0, len(names))
	for _, n := range names {
		r, ok := byName[n]
		if !ok {
			continue // gone since
		}
		if infos, err = s.appendInfo(ctx, infos, r.Info, r.ID); err != nil {
			return nil, err
		}
	}
	return infos, nil
}

// appendInfo adds an info, which is made first where there is none. One of a
// scan that has gone since it was listed is left out.
func (s *Service) appendInfo(ctx context.Context, infos []json.RawMessage, info json.RawMessage, id uuid.UUID) ([]json.RawMessage, error) {
	if len(info) > 0 {
		return append(infos, info), nil
	}
	info, err := s.renewInfo(ctx, id)
	if errors.Is(err, ErrUnknownScan) {
		return infos, nil
	}
	return append(infos, info), err
}
