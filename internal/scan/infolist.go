package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
)

// Bounds of what a list of infos holds at a time: chunks of infoBytes, as far
// as those before tell, of no more than mostInfos, and of firstInfos to begin
// with. An info of many camera poses has a hundred kilobytes, and one may have
// megabytes: where infos come to heldBytes, what follows waits for the next chunk.
const (
	infoBytes  = 512 << 10
	heldBytes  = 8 << 20
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
	rows   []infoRow // of the last chunk of source, that did not fit into one of ours
}

// infoSourceOf returns the next infos of a list, about n, and whether they are
// the last. Where it returns none and they are not, the next n is smaller.
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
	l.source = l.named(nil, next)
	return l, err
}

// Next returns the next scan-info objects, none after the last; see WithBase for
// their URIs.
func (l *InfoList) Next(ctx context.Context) (infos []json.RawMessage, err error) {
	for len(infos) == 0 && (len(l.rows) > 0 || !l.ended) {
		if len(l.rows) == 0 {
			if l.rows, l.ended, err = l.source(ctx, l.size); err != nil {
				return nil, err
			}
			if len(l.rows) == 0 {
				l.size = max(1, l.size/4)
			}
		}
		if infos, err = l.take(ctx); err != nil {
			return nil, err
		}
	}
	return infos, nil
}

// take returns the infos of the rows that are left, as many as may be held; those
// that there are none of are made first, and those of scans that have gone since they
// were listed left out.
func (l *InfoList) take(ctx context.Context) (infos []json.RawMessage, err error) {
	bytes := 0
	for len(l.rows) > 0 && bytes < heldBytes {
		r := l.rows[0]
		l.rows = l.rows[1:]
		if len(r.Info) == 0 {
			if r.Info, err = l.s.renewInfo(ctx, r.ID); errors.Is(err, ErrUnknownScan) {
				continue
			} else if err != nil {
				return nil, err
			}
		}
		infos = append(infos, r.Info)
		bytes += len(r.Info)
	}
	if bytes > 0 { // what the next chunk may have, if its infos are like these
		l.size = max(1, min(2*l.size, mostInfos, infoBytes*len(infos)/bytes))
	}
	return infos, nil
}

// all is the source of everything that the actor may read, by name.
func (l *InfoList) all() infoSourceOf {
	may, after := sightOf(l.actor), ""
	return func(ctx context.Context, n int) (rows []infoRow, last bool, err error) {
		// A token may be for few of many scans.
		for ; len(rows) == 0 && !last; n = min(2*n, mostInfos) {
			var c infoChunk
			err := ran(l.s.q.ListAllScanInfos(ctx, rowByRow{l.s.pool, c.row}, db.ListAllScanInfosParams{
				After: after, Public: slices.Contains(may.visibilities, Public), Everything: slices.Contains(may.visibilities, Private),
				Username: may.username, Groups: may.groups,
				Size: int32(n), //nolint:gosec // at most mostInfos
			}))
			if err != nil {
				return nil, false, fmt.Errorf("list scan infos: %w", err)
			}
			last = len(c.left) == 0 && len(c.rows) < n
			if len(c.rows) > 0 {
				after = c.rows[len(c.rows)-1].Name
			}
			rows = withinScope(l.actor, c.rows, func(r infoRow) string { return r.Name })
		}
		return rows, last, nil
	}
}

// infoChunk takes rows until their infos come to heldBytes, and of those that follow
// the names.
type infoChunk struct {
	rows  []infoRow
	bytes int
	left  map[string]bool
}

func (c *infoChunk) row(row pgx.CollectableRow) (err error) {
	var r infoRow
	if c.bytes < heldBytes {
		err = row.Scan(&r.ID, &r.Name, &r.Info)
		c.rows = append(c.rows, r)
		c.bytes += len(r.Info)
	} else {
		err = row.Scan(nil, &r.Name, nil)
		if c.left == nil {
			c.left = map[string]bool{}
		}
		c.left[r.Name] = true
	}
	if err != nil {
		return fmt.Errorf("read row: %w", err)
	}
	return nil
}

// named is the source of scans of these names and of those that next names, as far
// as the actor may read them and they are still there.
func (l *InfoList) named(names []string, next func(context.Context) ([]string, error)) infoSourceOf {
	return func(ctx context.Context, n int) (rows []infoRow, last bool, err error) {
		if len(names) == 0 {
			if names, err = next(ctx); err != nil || len(names) == 0 {
				return nil, true, err
			}
		}
		may := sightOf(l.actor)
		var c infoChunk
		err = ran(l.s.q.ListScanInfos(ctx, rowByRow{l.s.pool, c.row}, db.ListScanInfosParams{
			Names: names[:min(n, len(names))], Visibilities: may.visibilities, Username: may.username, Groups: may.groups,
		}))
		if err != nil {
			return nil, false, fmt.Errorf("list scan infos: %w", err)
		}
		byName := make(map[string]infoRow, len(c.rows))
		for _, r := range c.rows {
			byName[r.Name] = r
		}
		for n = min(n, len(names)); n > 0 && !c.left[names[0]]; n-- {
			if r, ok := byName[names[0]]; ok {
				rows = append(rows, r)
			}
			names = names[1:]
		}
		return rows, false, nil
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
