package scan

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fault"
)

// ErrPrecondition is the answer to a change of what is no longer as the caller
// read it.
var ErrPrecondition = fault.New(fault.Precondition, "precondition_failed",
	"The metadata was changed since you read it: read it again, and send the change with its new ETag.")

// Match is what a caller asks the metadata to be before it is changed: one of
// these versions (see Version). The zero Match asks for nothing; Any asks only that
// there is some.
type Match struct {
	Any      bool
	Versions []string
}

func (m Match) asks() bool { return !m.Any && len(m.Versions) > 0 }

// check answers ErrPrecondition unless metadata is what m asks for.
func (m Match) check(metadata json.RawMessage) error {
	if m.asks() && !slices.Contains(m.Versions, Version(metadata)) {
		return ErrPrecondition
	}
	return nil
}

// matchScan checks the metadata of a scan as it lies on disk now, in the form
// in which it is shown.
func (s *Service) matchScan(ctx context.Context, tx pgx.Tx, r row, m Match) error {
	if !m.asks() {
		return nil
	}
	old, err := s.tree.ReadScanMetadata(ctx, r.loc())
	if err != nil {
		return err
	}
	shown, err := s.shownScan(ctx, tx, r, old)
	if err != nil {
		return err
	}
	return m.check(shown)
}

// shownScan returns the metadata of a scan, as it lies on disk, as it is shown:
// filled from its images.
func (s *Service) shownScan(ctx context.Context, tx pgx.Tx, r row, metadata json.RawMessage) (json.RawMessage, error) {
	images, err := s.fileset(ctx, tx, r, imagesFileset)
	if err != nil && !errors.Is(err, ErrUnknownFileset) {
		return nil, err
	}
	visibility, err := s.tree.ReadVisibility(ctx, r.loc())
	if err != nil {
		return nil, err
	}
	return Filled(seenAs(metadata, visibility), images.Document), nil
}

func (s *Service) matchFileset(ctx context.Context, r row, fileset string, m Match) error {
	if !m.asks() {
		return nil
	}
	old, err := s.tree.ReadFilesetMetadata(ctx, r.loc(), fileset)
	if err != nil {
		return err
	}
	return m.check(old)
}

func (s *Service) matchFile(ctx context.Context, r row, fileset, file string, m Match) error {
	if !m.asks() {
		return nil
	}
	old, err := s.tree.ReadFileMetadata(ctx, r.loc(), fileset, file)
	if err != nil {
		return err
	}
	return m.check(old)
}

// matchTimelapse checks a timelapse as the actor sees it.
func (s *Service) matchTimelapse(ctx context.Context, tx pgx.Tx, a actor.Actor, name string, m Match) error {
	if !m.asks() {
		return nil
	}
	t, err := s.seenTimelapse(ctx, tx, a, name)
	if err != nil {
		return err
	}
	version, err := t.Version()
	if err != nil {
		return err
	}
	if !slices.Contains(m.Versions, version) {
		return ErrPrecondition
	}
	return nil
}
