package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// Timelapses returns the ids of all timelapses; everybody may know them.
func (s *Service) Timelapses(ctx context.Context) ([]string, error) {
	if _, err := acting(ctx); err != nil {
		return nil, err
	}
	rows, err := s.q.ListTimelapses(ctx, s.pool)
	if err != nil {
		return nil, fmt.Errorf("list timelapses: %w", err)
	}
	names := make([]string, len(rows))
	for i, r := range rows {
		names[i] = r.Name
	}
	return names, nil
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

// TimelapseScans returns the ids of its scans, those due first in front.
func (s *Service) TimelapseScans(ctx context.Context, name string, q Query) ([]string, error) {
	if _, err := acting(ctx); err != nil {
		return nil, err
	}
	if _, err := s.timelapse(ctx, s.pool, name); err != nil {
		return nil, err
	}
	q.Timelapse, q.Sort = name, byDue
	return s.Names(ctx, q)
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
	if !CanCreate(a, name) {
		return Timelapse{}, forbidden(a, opCreateTimelapse)
	}
	if err := fsdb.CheckName(fsdb.TimelapseName, name); err != nil {
		return Timelapse{}, err
	}
	if metadata, err = objectOrEmpty(metadata); err != nil {
		return Timelapse{}, err
	}
	made := timestamp(s.now())
	if metadata, err = set(metadata, meta.Member{Name: "last_modified", Value: meta.Quote(made)}); err != nil {
		return Timelapse{}, ErrMetadata.Because(err)
	}
	marker := fsdb.Timelapse{ID: name, CreatedAt: made, Owner: &a.Username, Scans: []string{}, Metadata: metadata}
	var verdict error
	err = s.locked(ctx, opCreateTimelapse, func(tx pgx.Tx) (err error) {
		verdict, err = s.createTimelapse(ctx, tx, marker)
		return err
	}, name)
	if err := errors.Join(err, verdict); err != nil {
		return Timelapse{}, err
	}
	return s.Timelapse(ctx, name)
}

// createTimelapse makes it on disk and in the index; see create.
func (s *Service) createTimelapse(ctx context.Context, tx pgx.Tx, marker fsdb.Timelapse) (verdict, err error) {
	taken, err := s.q.NameTaken(ctx, tx, marker.ID)
	if err != nil {
		return nil, fmt.Errorf("look for name %q: %w", marker.ID, err)
	}
	if taken {
		return timelapseExists(marker.ID), nil
	}
	err = s.tree.CreateTimelapse(ctx, marker)
	if errors.Is(err, fsdb.ErrTimelapseExists) {
		return s.adoptTimelapse(ctx, tx, marker)
	}
	if err != nil {
		return nil, err
	}
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
	ours := len(read.Scans) == 0 && read.Owner != nil && *read.Owner == *asked.Owner && sameBut(read.Metadata, asked.Metadata)
	if err := s.record(ctx, tx, Change{Kind: TimelapseCreated, Timelapse: asked.ID, Outside: !ours}); err != nil || ours {
		return nil, err
	}
	return timelapseExists(asked.ID), nil
}
