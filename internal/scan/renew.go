package scan

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/postgres"
)

// Info returns the scan-info object of a scan; see WithBase for its URIs.
func (s *Service) Info(ctx context.Context, name string) (json.RawMessage, error) {
	a, err := acting(ctx)
	if err != nil {
		return nil, err
	}
	if !storable(name) {
		return nil, unknownScan(name)
	}
	got, err := s.q.GetScanInfo(ctx, s.pool, name)
	if err != nil {
		return nil, notFound(err, unknownScan(name), "find scan %q", name)
	}
	if err := require(a, Access{got.Name, got.Owner, got.Sharing, got.Visibility}, opRead); err != nil {
		return nil, err
	}
	if len(got.Info) > 0 {
		return got.Info, nil
	}
	return s.renewInfo(ctx, got.ID)
}

// renewInfo makes the info of a scan that was written to since it was made.
// Uploads only void it, so that the cost of a file does not grow with the
// number of files beside it.
func (s *Service) renewInfo(ctx context.Context, id uuid.UUID) (info json.RawMessage, err error) {
	err = postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		// The row is held from reading the files until the info is kept: a
		// file added meanwhile waits, and then voids this info again.
		src, err := s.q.GetScanInfoSource(ctx, tx, id)
		if err != nil {
			return notFound(err, ErrUnknownScan, "find scan %s", id)
		}
		if len(src.Info) > 0 { // another reader was faster
			info = src.Info
			return nil
		}
		source, err := s.infoSource(ctx, tx, src)
		if err != nil {
			return err
		}
		if info, err = encode(makeInfo(source)); err != nil {
			return fmt.Errorf("encode info of scan %q: %w", src.Name, err)
		}
		if err := s.q.SetScanInfo(ctx, tx, info, id); err != nil {
			return fmt.Errorf("keep info of scan %q: %w", src.Name, err)
		}
		return nil
	})
	return info, err
}

func (s *Service) infoSource(ctx context.Context, tx pgx.Tx, src db.GetScanInfoSourceRow) (infoSource, error) {
	out := infoSource{
		name: src.Name, metadata: src.Document, changedAt: src.ChangedAt,
		hasMeasures: src.HasMeasures, voxelFloor: src.VoxelFloor,
	}
	if src.Broken != nil {
		out.broken = *src.Broken
	}
	filesets, err := s.q.ListFilesets(ctx, tx, src.ID)
	if err != nil {
		return out, fmt.Errorf("list filesets of scan %q: %w", src.Name, err)
	}
	files, err := s.q.ListScanFiles(ctx, tx, src.ID)
	if err != nil {
		return out, fmt.Errorf("list files of scan %q: %w", src.Name, err)
	}
	byFileset := make(map[string][]infoFile, len(filesets))
	for _, f := range files {
		byFileset[f.Fileset] = append(byFileset[f.Fileset], infoFile{f.Name, f.Filename, f.Document})
	}
	for _, fs := range filesets {
		out.filesets = append(out.filesets, infoFileset{fs.Name, fs.Document, byFileset[fs.Name]})
	}
	return out, nil
}
