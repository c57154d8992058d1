package scan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/fsdb"
)

// A Python program keeps the scans that it opened in memory, and writes the
// files.json of one from there: what was uploaded meanwhile is no longer listed,
// though its bytes and its metadata lie where they were put. That is no wish to
// delete anything, for who deletes removes the bytes. So a file that was
// acknowledged, and lies there as it was, is listed again; what is listed, and
// what any program wrote, stays as it is.

const (
	// rememberUploads is for how long an upload is listed again: longer than
	// any program works on one scan.
	rememberUploads = 7 * 24 * time.Hour
	// relistings bounds how often that is tried at a time.
	relistings = 3
)

// unlistedError says which uploads are no longer listed: filesets to names of files.
type unlistedError map[string][]string

func (e unlistedError) Error() string {
	return fmt.Sprintf("uploads of %d filesets are not listed", len(e))
}

// unlisted returns an unlistedError with the uploads that a scan as it was read
// does not list, and whose bytes lie there as they were; found says whether there
// can be any. It asks the events, for rows go while files.json cannot be read, as
// it cannot for a moment each time that Python writes it.
func (s *Service) unlisted(ctx context.Context, tx db.DBTX, read *fsdb.Scan, found Change) error {
	if read.Broken != "" || found.Kind != ScanChanged || found.sameParts {
		return nil
	}
	uploads, err := s.uploadsOf(ctx, tx, read)
	if err != nil || len(uploads) == 0 {
		return err
	}
	dir, err := s.tree.OpenScanDir(ctx, read.Loc)
	if err != nil {
		return missing(err)
	}
	defer dir.Close() // Only read.
	left := unlistedError{}
	for at, u := range uploads {
		f, info, err := dir.Open(at.fileset + "/" + u.Filename)
		if errors.Is(err, fsdb.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		_ = f.Close() // Only opened.
		// The bytes were there before the event was written; the clocks are two.
		if info.Size() == u.Size && info.ModTime().Before(u.At.Add(2*time.Second)) {
			left[at.fileset] = append(left[at.fileset], u.Filename)
		}
	}
	if len(left) == 0 {
		return nil
	}
	return left
}

// uploadsOf returns the uploads that nobody deleted and a scan does not list.
func (s *Service) uploadsOf(ctx context.Context, tx db.DBTX, read *fsdb.Scan) (map[filePath]db.ListUploadsRow, error) {
	rows, err := s.q.ListUploads(ctx, tx, read.Scan, s.now().Add(-rememberUploads))
	if err != nil {
		return nil, fmt.Errorf("list uploads of scan %q: %w", read.Scan, err)
	}
	uploads, deleted := map[filePath]db.ListUploadsRow{}, map[filePath]bool{}
	for _, r := range rows {
		at := filePath{r.Fileset, r.File}
		switch Kind(r.Kind) {
		case FileCreated:
			uploads[at] = r
			delete(deleted, at)
			delete(deleted, filePath{r.Fileset, ""})
		case FileDeleted, FilesetDeleted:
			deleted[at] = true
		default:
			delete(deleted, at)
		}
	}
	maps.DeleteFunc(uploads, func(at filePath, _ db.ListUploadsRow) bool { return deleted[at] || deleted[filePath{at.fileset, ""}] })
	names := map[filePath]bool{}
	for _, fs := range read.Filesets {
		for _, f := range fs.Files {
			delete(uploads, filePath{fs.ID, f.ID})
			names[filePath{fs.ID, f.Name}] = true
		}
	}
	maps.DeleteFunc(uploads, func(at filePath, u db.ListUploadsRow) bool { return names[filePath{at.fileset, u.Filename}] })
	return uploads, nil
}

// relist lists uploads again, while it holds the scan against servers and programs.
func (s *Service) relist(ctx context.Context, loc fsdb.Loc, left unlistedError) error {
	names := []string{loc.Scan}
	for fileset := range left {
		names = append(names, loc.Scan+"/"+fileset)
	}
	return s.still(ctx, opReload, func(tx pgx.Tx) error { return s.relistHeld(ctx, tx, loc, left) }, names...)
}

func (s *Service) relistHeld(ctx context.Context, tx pgx.Tx, loc fsdb.Loc, left unlistedError) error {
	// A deletion that was cut short is finished: its bytes are not there then.
	entries, known, err := s.trashAndIndex(ctx, tx)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !known[e.ID] && e.Loc() == loc {
			if _, err := s.tree.SettleTrash(ctx, e.ID); err != nil {
				return fmt.Errorf("settle trash entry %s: %w", e.ID, err)
			}
		}
	}
	n := 0
	for _, fileset := range slices.Sorted(maps.Keys(left)) {
		added, err := s.tree.ListAgain(ctx, loc, fileset, left[fileset])
		if err != nil {
			return err
		}
		n += len(added)
	}
	if n > 0 {
		s.log.WarnContext(ctx, "uploads that another program left out of files.json are listed again",
			slog.String("scan", loc.Dir()), slog.Int("files", n))
	}
	return nil
}
