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
	access, metadata, err := s.shownMetadata(ctx, s.pool, name)
	if err == nil {
		err = require(a, access, opRead)
	}
	if err != nil {
		return nil, err
	}
	return metadata, nil
}

// shownMetadata returns the metadata of a scan as it is shown, and who may see it.
func (s *Service) shownMetadata(ctx context.Context, tx db.DBTX, name string) (Access, json.RawMessage, error) {
	if !storable(name) {
		return Access{}, nil, unknownScan(name)
	}
	got, err := s.q.GetScanDocument(ctx, tx, name)
	if err != nil {
		return Access{}, nil, notFound(err, unknownScan(name), "find scan %q", name)
	}
	return Access{got.Name, got.Owner, got.Sharing, got.Visibility}, got.Document, nil
}

// FilesetNames returns the ids of a scan's filesets that q finds, in the order
// of files.json unless q says otherwise. Errors: those of finding the scan,
// ErrFilter, ErrWhere, ErrSort.
func (s *Service) FilesetNames(ctx context.Context, name string, q Query) ([]string, error) {
	return allPages(q, func(q Query) (Page, error) { return s.FilesetPage(ctx, name, q) })
}

// allPages returns what all pages have.
func allPages(q Query, page func(Query) (Page, error)) ([]string, error) {
	names := []string{}
	for q.Limit = MaxLimit; ; {
		p, err := page(q)
		if err != nil {
			return nil, err
		}
		names = append(names, p.Names...)
		if q.After = p.Next; q.After == "" {
			return names, nil
		}
	}
}

// readFileset finds a fileset of a scan that the actor may read.
func (s *Service) readFileset(ctx context.Context, name, fileset string) (db.GetFilesetRow, error) {
	r, _, err := s.open(ctx, s.pool, name, opRead)
	if err != nil {
		return db.GetFilesetRow{}, err
	}
	return s.fileset(ctx, s.pool, r, fileset)
}

// FilesetMetadata returns the metadata of a fileset.
func (s *Service) FilesetMetadata(ctx context.Context, name, fileset string) (json.RawMessage, error) {
	fs, err := s.readFileset(ctx, name, fileset)
	return fs.Document, err
}

// FileNames returns the ids of a fileset's files that q finds, in the order of
// files.json unless q says otherwise. Errors: those of finding the fileset,
// ErrFilter, ErrWhere, ErrSort.
func (s *Service) FileNames(ctx context.Context, name, fileset string, q Query) ([]string, error) {
	if !q.plain() || q.Sort != "" {
		return allPages(q, func(q Query) (Page, error) { return s.FilePage(ctx, name, fileset, q) })
	}
	fs, err := s.readFileset(ctx, name, fileset)
	if err != nil {
		return nil, err
	}
	names, err := s.q.ListFileNames(ctx, s.pool, fs.ID)
	if err != nil {
		return nil, fmt.Errorf("list files of fileset %q of scan %q: %w", fileset, name, err)
	}
	return names, nil
}

// FileMetadata returns the metadata of a file, found by its id or file name.
func (s *Service) FileMetadata(ctx context.Context, name, fileset, file string) (json.RawMessage, error) {
	got, err := s.readFile(ctx, name, fileset, file)
	return got.document, err
}

// fileRow is a file as the index has it.
type fileRow struct {
	scan                    row
	fileset, file, filename string
	digest
	document json.RawMessage
}

// readFile finds a file of a scan that the actor may read, by its id or its
// file name: one query, for this is what every image of a viewer asks. Of an
// unknown fileset or file the row has the scan.
func (s *Service) readFile(ctx context.Context, name, fileset, file string) (fileRow, error) {
	return s.lookUp(ctx, opRead, name, fileset, file, false)
}

// lookUp is readFile for any operation of the actor.
func (s *Service) lookUp(ctx context.Context, operation, name, fileset, file string, byFilename bool) (fileRow, error) {
	a, err := acting(ctx)
	if err != nil {
		return fileRow{}, err
	}
	if !storable(name) {
		return fileRow{}, unknownScan(name)
	}
	got, err := s.q.FindFile(ctx, s.pool, db.FindFileParams{
		Scan: name, Fileset: findable(fileset), File: findable(file), ByFilename: byFilename,
	})
	if err != nil {
		return fileRow{}, notFound(err, unknownScan(name), "find file %q of fileset %q of scan %q", file, fileset, name)
	}
	r := rowOf(got)
	switch err := require(a, r.Access, operation); {
	case err != nil:
		return fileRow{}, err
	case got.Fileset == nil:
		return fileRow{scan: r}, unknownFileset(r.Name, fileset)
	case got.FileID == nil || got.Name == nil || got.Filename == nil || got.Size == nil || got.ModifiedAt == nil:
		return fileRow{scan: r}, unknownFile(r.Name, *got.Fileset, file)
	}
	return fileRow{r, *got.Fileset, *got.Name, *got.Filename, digest{*got.FileID, *got.Size, *got.ModifiedAt, got.Inode, got.Sha256}, got.Document}, nil
}

// findable is a name to look for: one that cannot be stored is nowhere, as the
// empty one.
func findable(name string) string {
	if !storable(name) {
		return ""
	}
	return name
}
