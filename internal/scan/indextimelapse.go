package scan

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/fsdb"
)

// reconcileTimelapses reads the timelapses that changed; it comes before their
// scans, whose rows name them.
func (s *Service) reconcileTimelapses(ctx context.Context, list *fsdb.Listing, unseen seen) error {
	rows, err := s.q.ListTimelapses(ctx, s.pool)
	if err != nil {
		return fmt.Errorf("list timelapses: %w", err)
	}
	known := make(map[string][]byte, len(rows))
	for _, r := range rows {
		known[r.Name] = r.Signature
	}
	if list.InTimelapses() {
		s.warnOfPython(ctx)
	}
	for _, e := range list.Timelapses() {
		id := e.Loc.Timelapse
		signature, err := s.tree.TimelapseSignature(ctx, id)
		if err == nil && string(signature[:]) == string(known[id]) {
			continue
		}
		if err := s.indexTimelapse(ctx, id, unseen); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) warnOfPython(ctx context.Context) {
	s.pythons.Do(func() {
		s.log.WarnContext(ctx, "timelapses hold scans: Python programs of PlantDB 0.17 cannot open this tree, and older ones do not see these scans")
	})
}

// indexTimelapse reads one timelapse; unseen says what it is where the index
// does not have it.
func (s *Service) indexTimelapse(ctx context.Context, id string, unseen seen) error {
	return s.lockedRows(ctx, func(tx pgx.Tx) error {
		read, err := s.tree.ReadTimelapse(ctx, id)
		if errors.Is(err, fsdb.ErrNotFound) {
			return nil // gone since the tree was listed
		}
		if err != nil {
			return fmt.Errorf("read timelapse %q: %w", id, err)
		}
		s.warn(ctx, id, "", read.Warnings)
		found, err := s.timelapseChangedOutside(ctx, tx, read, unseen)
		if err != nil {
			return err
		}
		if err := s.writeTimelapse(ctx, tx, read); err != nil {
			return err
		}
		return s.record(ctx, tx, found...)
	}, id)
}

func (s *Service) writeTimelapse(ctx context.Context, tx pgx.Tx, t *fsdb.Timelapse) error {
	return s.writeTimelapseAs(ctx, tx, t, newID())
}

// writeTimelapseAs writes the row of a timelapse, under this id if it has none.
func (s *Service) writeTimelapseAs(ctx context.Context, tx pgx.Tx, t *fsdb.Timelapse, id uuid.UUID) error {
	arg := db.UpsertTimelapseParams{
		ID: id, Name: t.ID, CreatedAt: cleanText(t.CreatedAt), Document: t.Metadata,
		Metadata: searchable(t.Metadata), Signature: t.Signature[:], Members: cleanTexts(t.Scans),
	}
	if t.Owner != nil {
		arg.Owner = cleanOwner(*t.Owner)
	}
	if err := s.q.UpsertTimelapse(ctx, tx, arg); err != nil {
		return fmt.Errorf("index timelapse %q: %w", t.ID, err)
	}
	return nil
}

// forgetTimelapses removes the rows of those that are gone; it comes after
// their scans.
func (s *Service) forgetTimelapses(ctx context.Context, list *fsdb.Listing) error {
	rows, err := s.q.ListTimelapses(ctx, s.pool)
	if err != nil {
		return fmt.Errorf("list timelapses: %w", err)
	}
	for _, r := range rows {
		if list.HasTimelapse(r.Name) {
			continue
		}
		err := s.lockedRows(ctx, func(tx pgx.Tx) error {
			if _, err := s.tree.TimelapseSignature(ctx, r.Name); !errors.Is(err, fsdb.ErrNotFound) {
				return err // nil for one that was made since the tree was listed
			}
			gone, err := s.q.DeleteTimelapse(ctx, tx, r.Name)
			if err != nil || gone == 0 {
				return err
			}
			return s.record(ctx, tx, Change{Kind: TimelapseDeleted, Timelapse: r.Name, Outside: true})
		}, r.Name)
		if err != nil {
			return fmt.Errorf("forget timelapse %q: %w", r.Name, err)
		}
	}
	return nil
}
