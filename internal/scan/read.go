package scan

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/romi/plantdb-go/db"
)

// Metadata returns the metadata of a scan as it is shown (see Filled).
func (s *Service) Metadata(ctx context.Context, name string) (json.RawMessage, error) {
	a, err := acting(ctx)
	if err != nil {
		return nil, err
	}
	if !storable(name) {
		return nil, unknownScan(name)
	}
	got, err := s.q.GetScanDocument(ctx, s.pool, name)
	if err != nil {
		return nil, notFound(err, unknownScan(name), "find scan %q", name)
	}
	if err := require(a, Access{got.Name, got.Owner, got.Sharing, got.Visibility}, opRead, CanRead); err != nil {
		return nil, err
	}
	return got.Document, nil
}

// Member returns one key of a metadata object; ok is false when it is missing.
func Member(metadata json.RawMessage, key string) (value json.RawMessage, ok bool) {
	var object map[string]json.RawMessage
	if json.Unmarshal(metadata, &object) != nil {
		return nil, false
	}
	value, ok = object[key]
	return value, ok
}

// FilesetNames returns the ids of a scan's filesets in the order of files.json.
func (s *Service) FilesetNames(ctx context.Context, name string, f Filter) ([]string, error) {
	r, _, err := s.open(ctx, s.pool, name, opRead, CanRead)
	if err != nil {
		return nil, err
	}
	filesets, err := s.q.ListFilesets(ctx, s.pool, r.id)
	if err != nil {
		return nil, fmt.Errorf("list filesets of scan %q: %w", name, err)
	}
	names := make([]string, 0, len(filesets))
	for _, fs := range filesets {
		if f.Match(fs.Name, fs.Document) {
			names = append(names, fs.Name)
		}
	}
	return names, nil
}

// readFileset finds a fileset of a scan that the actor may read.
func (s *Service) readFileset(ctx context.Context, name, fileset string) (row, db.GetFilesetRow, error) {
	r, _, err := s.open(ctx, s.pool, name, opRead, CanRead)
	if err != nil {
		return r, db.GetFilesetRow{}, err
	}
	fs, err := s.fileset(ctx, s.pool, r, fileset)
	return r, fs, err
}

// FilesetMetadata returns the metadata of a fileset.
func (s *Service) FilesetMetadata(ctx context.Context, name, fileset string) (json.RawMessage, error) {
	_, fs, err := s.readFileset(ctx, name, fileset)
	return fs.Document, err
}

// FileNames returns the ids of a fileset's files in the order of files.json.
func (s *Service) FileNames(ctx context.Context, name, fileset string, f Filter) ([]string, error) {
	_, fs, err := s.readFileset(ctx, name, fileset)
	if err != nil {
		return nil, err
	}
	if f.Empty() {
		names, err := s.q.ListFileNames(ctx, s.pool, fs.ID)
		if err != nil {
			return nil, fmt.Errorf("list files of fileset %q of scan %q: %w", fileset, name, err)
		}
		return names, nil
	}
	files, err := s.q.ListFiles(ctx, s.pool, fs.ID)
	if err != nil {
		return nil, fmt.Errorf("list files of fileset %q of scan %q: %w", fileset, name, err)
	}
	names := make([]string, 0, len(files))
	for _, file := range files {
		if f.Match(file.Name, file.Document) {
			names = append(names, file.Name)
		}
	}
	return names, nil
}

// FileMetadata returns the metadata of a file, found by its id or file name.
func (s *Service) FileMetadata(ctx context.Context, name, fileset, file string) (json.RawMessage, error) {
	r, fs, err := s.readFileset(ctx, name, fileset)
	if err != nil {
		return nil, err
	}
	got, err := s.file(ctx, s.pool, r, fs, file)
	return got.Document, err
}
