package scan

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// Timelapse is a series of scans of one plant over time.
type Timelapse struct {
	ID        string          `json:"id" doc:"Timelapse id; scans and timelapses share one name space."`
	CreatedAt string          `json:"created_at" doc:"Local time without a zone, microseconds."`
	Owner     *string         `json:"owner" doc:"Who made it; null where nobody was recorded."`
	Scans     []string        `json:"scans" doc:"Ids of the scans that you may read, in order of registration."`
	Metadata  json.RawMessage `json:"metadata"`
	Counts    TimelapseCounts `json:"counts"`
}

// TimelapseCounts counts what a timelapse holds.
type TimelapseCounts struct {
	Scans int `json:"scans" doc:"Number of scans in it that you may read."`
}

// Timelapses returns the ids of all timelapses that q finds; everybody may know
// them. Errors: those of TimelapsePage.
func (s *Service) Timelapses(ctx context.Context, q Query) ([]string, error) {
	q.Limit, q.After = 0, ""
	page, err := s.TimelapsePage(ctx, q)
	return page.Names, err
}

// Timelapse returns one; scans that the actor may not read are left out of its
// list and its count.
func (s *Service) Timelapse(ctx context.Context, name string) (Timelapse, error) {
	a, err := acting(ctx)
	if err != nil {
		return Timelapse{}, err
	}
	return s.seenTimelapse(ctx, s.pool, a, name)
}

// seenTimelapse is a timelapse as the actor sees it.
func (s *Service) seenTimelapse(ctx context.Context, tx db.DBTX, a actor.Actor, name string) (Timelapse, error) {
	t, err := s.timelapse(ctx, tx, name)
	if err != nil {
		return Timelapse{}, err
	}
	scans, err := s.allNames(ctx, tx, a, name)
	if err != nil {
		return Timelapse{}, err
	}
	// The directory is the truth about who is in; the marker about the order.
	place := make(map[string]int, len(t.Members))
	for i, m := range t.Members {
		if _, twice := place[m]; !twice {
			place[m] = i - len(t.Members) // below zero: those not in the marker come last
		}
	}
	slices.SortStableFunc(scans, func(a, b string) int { return place[a] - place[b] })
	return Timelapse{
		ID: t.Name, CreatedAt: t.CreatedAt, Owner: t.Owner, Scans: scans,
		Metadata: t.Document, Counts: TimelapseCounts{Scans: len(scans)},
	}, nil
}

// TimelapseScans returns the ids of its scans, those due first in front unless
// q says otherwise.
func (s *Service) TimelapseScans(ctx context.Context, name string, q Query) ([]string, error) {
	q, err := s.ofTimelapse(ctx, name, q)
	if err != nil {
		return nil, err
	}
	return s.Names(ctx, q)
}

// TimelapseScanPage is TimelapseScans in pages.
func (s *Service) TimelapseScanPage(ctx context.Context, name string, q Query) (Page, error) {
	q, err := s.ofTimelapse(ctx, name, q)
	if err != nil {
		return Page{}, err
	}
	return s.ScanPage(ctx, q)
}

func (s *Service) ofTimelapse(ctx context.Context, name string, q Query) (Query, error) {
	if _, err := acting(ctx); err != nil {
		return q, err
	}
	if _, err := s.timelapse(ctx, s.pool, name); err != nil {
		return q, err
	}
	q.Timelapse, q.Sort = name, cmp.Or(q.Sort, byDue)
	return q, nil
}

// timelapseKeys are what timelapses can be ordered by.
var timelapseKeys = []string{"id", "created", "owner"}

// TimelapsePage returns a page of the ids of the timelapses that q finds;
// everybody may know them. Without a limit all are in it: there are few, and
// all of them are looked at. Errors: those of ScanPage.
func (s *Service) TimelapsePage(ctx context.Context, q Query) (Page, error) {
	page := Page{Names: []string{}}
	if _, err := acting(ctx); err != nil {
		return page, err
	}
	want, err := q.condition(aTimelapse)
	if err != nil {
		return page, err
	}
	o, err := parseSort(q.Sort, timelapseKeys)
	if err != nil {
		return page, err
	}
	const list = "timelapses"
	from, limit, err := q.begin(list, o)
	if err != nil {
		return page, err
	}
	if q.Limit <= 0 && q.After == "" {
		limit = math.MaxInt
	}
	needs := needsOf(want)
	var places []place
	err = ran(s.q.ListTimelapseDocuments(ctx, byRow(s.pool, func(r db.ListTimelapseDocumentsRow) {
		rec := &record{
			id: r.Name, owner: r.Owner, created: instant(r.CreatedAt), document: r.Document,
			lastModified: instant(textAt(r.Document, "last_modified")),
		}
		if needs.text > 0 {
			rec.text = searchText(r.Name, r.Document)
		}
		if want.holds(rec) {
			places = append(places, place{map[string]string{"created": rec.created, "owner": rec.owner}[o.key], r.Name})
		}
	})))
	if err != nil {
		return page, fmt.Errorf("list timelapses: %w", err)
	}
	slices.SortFunc(places, o.compare)
	page.Total = len(places)
	for i, p := range places {
		if o.compare(p, from.place) <= 0 {
			continue
		}
		page.Names = append(page.Names, p.name)
		if len(page.Names) == limit && i+1 < len(places) {
			page.Next = cursor(queryDigest(list, q), start{place: p, by: anyWay})
			break
		}
	}
	return page, nil
}

// CreateTimelapse makes an empty timelapse that belongs to the actor. Errors:
// ErrForbidden, ErrTimelapseExists (also for the name of a scan or of anything
// else in the tree), ErrMetadata, ErrBusy, fsdb.ErrName, fsdb.ErrReserved, with
// which nothing was made; after any other the same call again makes the
// timelapse or finds it.
func (s *Service) CreateTimelapse(ctx context.Context, name string, metadata json.RawMessage) (Timelapse, error) {
	a, err := acting(ctx)
	if err != nil {
		return Timelapse{}, err
	}
	if !may(a, opCreateTimelapse, Access{Name: name}) {
		return Timelapse{}, forbidden(a, opCreateTimelapse)
	}
	if err := fsdb.CheckName(fsdb.TimelapseName, name); err != nil {
		return Timelapse{}, err
	}
	if metadata, err = objectOrEmpty(metadata); err != nil {
		return Timelapse{}, err
	}
	now := timestamp(s.now())
	if metadata, err = set(metadata, meta.Member{Name: "last_modified", Value: meta.Quote(now)}); err != nil {
		return Timelapse{}, badMetadata(err)
	}
	marker := fsdb.Timelapse{ID: name, CreatedAt: now, Owner: &a.Username, Scans: []string{}, Metadata: metadata}
	var verdict error
	err = s.locked(ctx, opCreateTimelapse, func(ctx context.Context, tx *writing) (err error) {
		verdict, err = s.createTimelapse(ctx, tx, a, marker)
		return err
	}, name)
	if err := errors.Join(err, verdict); err != nil {
		return Timelapse{}, err
	}
	return s.Timelapse(ctx, name)
}

// createTimelapse makes it on disk and in the index; see create.
func (s *Service) createTimelapse(ctx context.Context, tx *writing, a actor.Actor, marker fsdb.Timelapse) (verdict, err error) {
	taken, err := s.q.NameTaken(ctx, tx, marker.ID)
	if err != nil {
		return nil, fmt.Errorf("look for name %q: %w", marker.ID, err)
	}
	if taken {
		return s.madeTimelapseBefore(ctx, tx, a, marker)
	}
	err = s.tree.CreateTimelapse(ctx, marker)
	if errors.Is(err, fsdb.ErrTimelapseExists) {
		if verdict, err = s.adoptTimelapse(ctx, tx, marker); verdict == nil && err == nil {
			tx.found(created(originOf(ctx), marker.ID))
		}
		return verdict, err
	}
	if err != nil {
		return nil, err
	}
	undo := func(ctx context.Context) error { return s.tree.Withdraw(ctx, fsdb.Loc{Timelapse: marker.ID}) }
	tx.did(undo, created(originOf(ctx), marker.ID))
	if err := s.writeTimelapse(ctx, tx, &marker); err != nil {
		return nil, err
	}
	return nil, s.record(ctx, tx, Change{Kind: TimelapseCreated, Timelapse: marker.ID})
}

// adoptTimelapse is adoptScan for a timelapse.
func (s *Service) adoptTimelapse(ctx context.Context, tx pgx.Tx, asked fsdb.Timelapse) (verdict, err error) {
	read, err := s.tree.ReadTimelapse(ctx, asked.ID)
	if errors.Is(err, fsdb.ErrNotFound) {
		return timelapseExists(asked.ID), nil // something else has the name
	}
	if err != nil {
		return nil, fmt.Errorf("adopt timelapse %q: %w", asked.ID, err)
	}
	if err := s.writeTimelapse(ctx, tx, read); err != nil {
		return nil, err
	}
	ours := sameTimelapse(*read, asked)
	if err := s.record(ctx, tx, Change{Kind: TimelapseCreated, Timelapse: asked.ID, Outside: !ours}); err != nil || ours {
		return nil, err
	}
	return timelapseExists(asked.ID), nil
}

func sameTimelapse(there, asked fsdb.Timelapse) bool {
	return slices.Equal(there.Scans, asked.Scans) && same(there.Owner, asked.Owner) && sameBut(there.Metadata, asked.Metadata)
}

// madeTimelapseBefore is madeBefore for a timelapse.
func (s *Service) madeTimelapseBefore(ctx context.Context, tx *writing, a actor.Actor, asked fsdb.Timelapse) (verdict, err error) {
	doubted, err := s.doubted(a, asked.ID)
	if err != nil {
		return nil, err
	}
	if !doubted {
		return timelapseExists(asked.ID), nil
	}
	read, err := s.tree.ReadTimelapse(ctx, asked.ID)
	if errors.Is(err, fsdb.ErrNotFound) || err == nil && !sameTimelapse(*read, asked) {
		return timelapseExists(asked.ID), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read timelapse %q: %w", asked.ID, err)
	}
	tx.found(created(originOf(ctx), asked.ID))
	return nil, s.tellFound(ctx, tx, Change{Kind: TimelapseCreated, Timelapse: asked.ID})
}
