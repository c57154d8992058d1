package scan

import (
	"context"
	"errors"
	"fmt"

	"github.com/romi/plantdb-go/internal/fsdb"
)

// SetTimelapseMetadata changes the metadata of a timelapse and returns the
// timelapse: its owner may do it, and who may write everywhere. u.Match is of
// the timelapse as the actor sees it. Errors: ErrUnknownTimelapse, ErrForbidden,
// ErrMetadata, ErrPrecondition, ErrBusy.
func (s *Service) SetTimelapseMetadata(ctx context.Context, name string, u Update) (Timelapse, error) {
	a, err := acting(ctx)
	if err != nil {
		return Timelapse{}, err
	}
	allowed := func(t Access) error {
		if !may(a, opSetMetadata, t) {
			return forbidden(a, opSetMetadata)
		}
		return nil
	}
	t, err := s.timelapse(ctx, s.pool, name)
	if err != nil {
		return Timelapse{}, err
	}
	if err := allowed(ofTimelapse(t.Name, t.Owner)); err != nil {
		return Timelapse{}, err
	}
	var seen Timelapse
	err = s.locked(ctx, opSetMetadata, func(ctx context.Context, tx *writing) error {
		t, err := s.timelapse(ctx, tx, name)
		if err != nil {
			return err
		}
		if err := allowed(ofTimelapse(t.Name, t.Owner)); err != nil {
			return err
		}
		if err := s.matchTimelapse(ctx, tx, a, name, u.Match); err != nil {
			return err
		}
		marker, err := s.tree.ReadTimelapse(ctx, name)
		if errors.Is(err, fsdb.ErrNotFound) {
			return unknownTimelapse(name)
		}
		if err != nil {
			return fmt.Errorf("read timelapse %q: %w", name, err)
		}
		if len(marker.Warnings) > 0 {
			return fsdb.ErrBroken.With("The timelapse's marker on disk cannot be read whole and is left as it is.")
		}
		old := marker.Metadata
		sent, err := u.sent(nil)
		if err != nil {
			return err
		}
		updated, changed, err := u.apply(old, old, sent, nil, s.now())
		if err != nil {
			return err
		}
		if changed {
			marker.Metadata = updated
			if err := s.writeMarker(ctx, tx, marker); err != nil {
				return err
			}
			marker.Signature = fsdb.Signature{} // of what it was
			if err := s.writeTimelapse(ctx, tx, marker); err != nil {
				return err
			}
			change := Change{Kind: TimelapseMetadata, Timelapse: name, Detail: keysChanged(old, updated)}
			if err := s.record(ctx, tx, change); err != nil {
				return err
			}
		}
		seen, err = s.seenTimelapse(ctx, tx, a, name)
		return err
	}, name)
	return seen, err
}

// writeMarker writes the marker of a timelapse, and what it was goes back if tx fails.
func (s *Service) writeMarker(ctx context.Context, tx *writing, marker *fsdb.Timelapse) error {
	before := s.tree.BeforeTimelapse(marker.ID)
	if err := s.tree.WriteTimelapse(ctx, *marker); err != nil {
		return err
	}
	tx.did(before.PutBack)
	return nil
}
