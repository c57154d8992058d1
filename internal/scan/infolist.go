package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
)

// Bounds of what a list of infos holds at a time: chunks of infoBytes, as far
// as those before tell, of no more than mostInfos, and of firstInfos to begin
// with. An info of many camera poses has a hundred kilobytes.
const (
	infoBytes  = 512 << 10
	firstInfos = 64
	mostInfos  = 512
)

// InfoList is a list of scan-info objects that is read in chunks, as it is sent:
// however long it is and however slowly it is taken, it holds one chunk and, in
// an order that changes, the ids; and nothing of the database between two chunks.
//
// A scan that is made, deleted, or comes in or out of sight meanwhile may be in
// it or not. None is in it twice, and none that could be seen all the time is
// left out. It is not safe for concurrent use.
type InfoList struct {
	s      *Service
	actor  actor.Actor
	source infoSourceOf
	size   int
	ended  bool
}

// infoSourceOf returns the next infos of a list, about n, and whether they are
// the last.
type infoSourceOf func(ctx context.Context, n int) (rows []infoRow, last bool, err error)

// infoRow is a scan with its info, which is empty where it has to be made.
type infoRow struct {
	ID   uuid.UUID
	Name string
	Info json.RawMessage
}

// Infos returns the scan-info objects of the scans that q finds. Unless q has a
// filter, broken scans are among them, each with its reason. Errors: ErrFilter,
// ErrWhere, ErrSort.
func (s *Service) Infos(ctx context.Context, q Query) (*InfoList, error) {
	a, err := acting(ctx)
	if err != nil {
		return nil, err
	}
	l := &InfoList{s: s, actor: a, size: firstInfos}
	if q.plain() && q.Timelapse == "" && q.Sort == "" {
		l.source = l.all()
		return l, nil
	}
	x, err := s.newSearch(a, q, q.plain())
	if err != nil {
		return nil, err
	}
	if !storable(q.Timelapse) {
		l.ended = true
		return l, nil
	}
	next, err := x.names(ctx)
	l.source = l.named(next)
	return l, err
}

// Next returns the next scan-info objects, none after the last; see WithBase for
// their URIs.
func (l *InfoList) Next(ctx context.Context) (infos []json.RawMessage, err error) {
	for len(infos) == 0 && !l.ended {
		rows, last, err := l.source(ctx, l.size)
		if err != nil {
			return nil, err
		}
		l.ended = last
		if infos, err = l.s.infosIn(ctx, rows); err != nil {
			return nil, err
		}
		l.grow(infos)
	}
	return infos, nil
}

// grow chooses the size of the next chunk by what this one came to.
func (l *InfoList) grow(infos []json.RawMessage) {
	bytes := 0
	for _, info := range infos {
		bytes += len(info)
	}
	if bytes > 0 {
		l.size = max(1, min(2*l.size, mostInfos, infoBytes*len(infos)/bytes))
	}
}

// all is the source of everything that the actor may read, by name.
func (l *InfoList) all() infoSourceOf {
	may, after := sightOf(l.actor), ""
	return func(ctx context.Context, n int) ([]infoRow, bool, error) {
		rows, err := l.s.q.ListAllScanInfos(ctx, l.s.pool, db.ListAllScanInfosParams{
			After: after, Public: slices.Contains(may.visibilities, Public), Everything: slices.Contains(may.visibilities, Private),
			Username: may.username, Groups: may.groups,
			Size: int32(n), //nolint:gosec // at most mostInfos
		})
		if err != nil {
			return nil, false, fmt.Errorf("list scan infos: %w", err)
		}
		infos := make([]infoRow, len(rows))
		for i, r := range rows {
			infos[i] = infoRow(r)
			after = r.Name
		}
		return withinScope(l.actor, infos, func(r infoRow) string { return r.Name }), len(rows) < n, nil
	}
}

// named is the source of scans that next names.
func (l *InfoList) named(next func(context.Context) ([]string, error)) infoSourceOf {
	var names []string
	return func(ctx context.Context, n int) (rows []infoRow, last bool, err error) {
		if len(names) == 0 {
			if names, err = next(ctx); err != nil || len(names) == 0 {
				return nil, true, err
			}
		}
		n = min(n, len(names))
		rows, err = l.s.rowsOf(ctx, l.actor, names[:n])
		names = names[n:]
		return rows, false, err
	}
}

// names returns the names of a list a part at a time, and none at its end. In
// the order of ids it goes along with who asks; in one that changes a scan could
// move across the place where it stands, so that all are found before the first.
func (x *search) names(ctx context.Context) (next func(context.Context) ([]string, error), err error) {
	w := &walk{search: x, at: x.order.first()}
	if x.order.key != "id" {
		w.exhausted = true
		w.found, err = x.collect(ctx)
	} else if x.index.useful() {
		var got stretch
		got, w.exhausted, err = x.lookUp(ctx, w.at, 0)
		w.found = got.found
	}
	return func(ctx context.Context) ([]string, error) {
		for len(w.found) == 0 && !w.exhausted {
			// Of private scans those that the actor may see by now.
			if w.streams, err = x.streams(ctx); err != nil {
				return nil, err
			}
			if err := w.step(ctx, false); err != nil {
				return nil, err
			}
		}
		names := namesOf(w.found)
		w.found = nil
		return names, nil
	}, err
}

// infosOf returns the infos of scans in their order, as far as a may read them.
func (s *Service) infosOf(ctx context.Context, a actor.Actor, names []string) ([]json.RawMessage, error) {
	rows, err := s.rowsOf(ctx, a, names)
	if err != nil {
		return nil, err
	}
	return s.infosIn(ctx, rows)
}

// rowsOf returns the scans of these names in their order, as far as a may read
// them and they are still there.
func (s *Service) rowsOf(ctx context.Context, a actor.Actor, names []string) ([]infoRow, error) {
	may := sightOf(a)
	found, err := s.q.ListScanInfos(ctx, s.pool, db.ListScanInfosParams{
		Names: names, Visibilities: may.visibilities, Username: may.username, Groups: may.groups,
	})
	if err != nil {
		return nil, fmt.Errorf("list scan infos: %w", err)
	}
	byName := make(map[string]infoRow, len(found))
	for _, r := range found {
		byName[r.Name] = infoRow(r)
	}
	rows := make([]infoRow, 0, len(found))
	for _, n := range names {
		if r, ok := byName[n]; ok {
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// infosIn returns the infos of rows, which are made first where there are none.
// Those of scans that have gone since they were listed are left out.
func (s *Service) infosIn(ctx context.Context, rows []infoRow) ([]json.RawMessage, error) {
	infos := make([]json.RawMessage, 0, len(rows))
	for _, r := range rows {
		if len(r.Info) == 0 {
			var err error
			if r.Info, err = s.renewInfo(ctx, r.ID); errors.Is(err, ErrUnknownScan) {
				continue
			} else if err != nil {
				return nil, err
			}
		}
		infos = append(infos, r.Info)
	}
	return infos, nil
}
