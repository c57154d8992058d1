package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
)

// SetMetadata changes the metadata of a scan and returns all of it as it is
// shown. Errors: those of finding the scan, ErrForbidden, ErrMetadata,
// ErrBiology, ErrMemberElsewhere, ErrPrecondition, ErrBusy, and fsdb.ErrBroken for metadata on
// disk that cannot be read. After any other error the same call may be made
// again.
func (s *Service) SetMetadata(ctx context.Context, name string, u Update) (shown json.RawMessage, err error) {
	if err := CheckBiology(u.Metadata); err != nil {
		return nil, err
	}
	return s.changeMetadata(ctx, name, func(json.RawMessage) (Update, error) { return u, nil })
}

// changeMetadata is SetMetadata by what update says to the metadata as it is.
func (s *Service) changeMetadata(ctx context.Context, name string, update func(old json.RawMessage) (Update, error)) (shown json.RawMessage, err error) {
	err = s.changing(ctx, []string{name}, func(ctx context.Context, tx *writing, r row) error {
		shown, err = s.setMetadata(ctx, tx, r, update)
		return err
	})
	return shown, err
}

// setMetadata changes the metadata of a scan that the caller holds, by what
// update says to the metadata as it is.
func (s *Service) setMetadata(ctx context.Context, tx *writing, r row, update func(old json.RawMessage) (Update, error)) (shown json.RawMessage, err error) {
	old, err := s.tree.ReadScanMetadata(ctx, r.loc())
	if err != nil {
		return nil, err
	}
	before, err := s.shownScan(ctx, tx, r, old)
	if err != nil {
		return nil, err
	}
	u, err := update(old)
	if err != nil {
		return nil, err
	}
	if err := u.Match.check(before); err != nil {
		return nil, err
	}
	updated, changed, err := u.applyToScan(old, before, s.now())
	if err != nil {
		return nil, err
	}
	if changed {
		if err := s.writeScanMetadata(ctx, tx, r, updated); err != nil {
			return nil, err
		}
		if err := s.record(ctx, tx, Change{Kind: ScanMetadata, Scan: r.Name, Detail: keysChanged(old, updated)}); err != nil {
			return nil, err
		}
	}
	return s.showScan(ctx, tx, r, updated, changed)
}

// showScan returns the metadata of a scan as it is shown, filled from its
// images; changed metadata it keeps in the row.
func (s *Service) showScan(ctx context.Context, tx pgx.Tx, r row, metadata json.RawMessage, changed bool) (json.RawMessage, error) {
	if !changed {
		return s.shownScan(ctx, tx, r, metadata)
	}
	metadata, err := onDisk(metadata)
	if err != nil {
		return nil, err
	}
	return s.keepShown(ctx, tx, r, metadata)
}

// keepShown keeps the metadata of a scan in its row, in the form in which it
// lies on disk, and returns it as it is shown.
func (s *Service) keepShown(ctx context.Context, tx pgx.Tx, r row, metadata json.RawMessage) (json.RawMessage, error) {
	shown, err := s.shownScan(ctx, tx, r, metadata)
	if err != nil {
		return nil, err
	}
	access := accessOf(r.Name, shown)
	images, err := s.fileset(ctx, tx, r, imagesFileset)
	if err != nil && !errors.Is(err, ErrUnknownFileset) {
		return nil, err
	}
	known := factsOf(r.Name, shown, images.Document)
	err = s.q.SetScanDocument(ctx, tx, db.SetScanDocumentParams{
		ID: r.id, Document: shown, Metadata: searchable(shown),
		Owner: access.Owner, Sharing: access.Sharing, Visibility: access.Visibility,
		Search: known.search, Created: known.created, LastModified: known.lastModified,
		Species: known.species, Plant: known.plant, Environment: known.environment, Due: known.due,
	})
	if err != nil {
		return nil, fmt.Errorf("keep metadata of scan %q: %w", r.Name, err)
	}
	return shown, nil
}

// SetFilesetMetadata changes the metadata of a fileset and returns all of it.
// Errors as SetMetadata, and ErrUnknownFileset.
func (s *Service) SetFilesetMetadata(ctx context.Context, name, fileset string, u Update) (updated json.RawMessage, err error) {
	err = s.changingPart(ctx, name, []string{fileset}, func(ctx context.Context, tx *writing, r row) error {
		fs, err := s.fileset(ctx, tx, r, fileset)
		if err != nil {
			return err
		}
		old, err := s.tree.ReadFilesetMetadata(ctx, r.loc(), fs.Name)
		if err != nil {
			return err
		}
		if err := u.Match.check(old); err != nil {
			return err
		}
		var changed bool
		if updated, changed, err = u.applyToPart(old, s.now()); err != nil || !changed {
			return err
		}
		if err := s.writeFilesetMetadata(ctx, tx, r, fs.Name, updated); err != nil {
			return err
		}
		change := Change{Kind: FilesetMetadata, Scan: r.Name, Fileset: fs.Name, Detail: keysChanged(old, updated)}
		if err := s.record(ctx, tx, change); err != nil {
			return err
		}
		if updated, err = onDisk(updated); err != nil {
			return err
		}
		if err := s.q.SetFilesetDocument(ctx, tx, updated, searchable(updated), fs.ID); err != nil {
			return fmt.Errorf("keep metadata of fileset %q of scan %q: %w", fileset, name, err)
		}
		if fs.Name == imagesFileset {
			return s.refill(ctx, tx, r)
		}
		return s.void(ctx, tx, r)
	})
	return updated, err
}

// refill shows the scan's metadata anew, whose images have other metadata.
func (s *Service) refill(ctx context.Context, tx pgx.Tx, r row) error {
	metadata, err := s.tree.ReadScanMetadata(ctx, r.loc())
	if err != nil {
		// Damage of another file does not forbid this write; the reconcile
		// that the void signature asks for says the same of it.
		return s.void(ctx, tx, r)
	}
	_, err = s.keepShown(ctx, tx, r, metadata)
	return err
}

func (s *Service) void(ctx context.Context, tx pgx.Tx, r row) error {
	if err := s.q.VoidScan(ctx, tx, r.id); err != nil {
		return fmt.Errorf("void info of scan %q: %w", r.Name, err)
	}
	return nil
}

// SetFileMetadata changes the metadata of a file and returns all of it.
// Errors as SetFilesetMetadata, and ErrUnknownFile.
func (s *Service) SetFileMetadata(ctx context.Context, name, fileset, file string, u Update) (updated json.RawMessage, err error) {
	err = s.changingPart(ctx, name, []string{fileset, file}, func(ctx context.Context, tx *writing, r row) error {
		fs, err := s.fileset(ctx, tx, r, fileset)
		if err != nil {
			return err
		}
		f, err := s.file(ctx, tx, r, fs, file)
		if err != nil {
			return err
		}
		old, err := s.tree.ReadFileMetadata(ctx, r.loc(), fs.Name, f.Name)
		if err != nil {
			return err
		}
		if err := u.Match.check(old); err != nil {
			return err
		}
		var changed bool
		if updated, changed, err = u.applyToPart(old, s.now()); err != nil || !changed {
			return err
		}
		before := s.tree.BeforeFile(r.loc(), fs.Name, f.Name)
		if err := s.tree.WriteFileMetadata(ctx, r.loc(), fs.Name, f.Name, updated); err != nil {
			return err
		}
		tx.did(before.PutBack)
		change := Change{Kind: FileMetadata, Scan: r.Name, Fileset: fs.Name, File: f.Name, Detail: keysChanged(old, updated)}
		if err := s.record(ctx, tx, change); err != nil {
			return err
		}
		if updated, err = onDisk(updated); err != nil {
			return err
		}
		if err := s.q.SetFileDocument(ctx, tx, updated, searchable(updated), f.ID); err != nil {
			return fmt.Errorf("keep metadata of file %q of fileset %q of scan %q: %w", file, fileset, name, err)
		}
		return s.void(ctx, tx, r)
	})
	return updated, err
}

// changing asks policy before anything waits, and again under the locks of the
// scan and what else is named; see locked.
func (s *Service) changing(ctx context.Context, names []string, fn func(ctx context.Context, tx *writing, r row) error) error {
	if _, _, err := s.open(ctx, s.pool, names[0], opSetMetadata); err != nil {
		return err
	}
	return s.change(ctx, names, fn)
}

// changingPart is changing for a fileset, or a file of one.
func (s *Service) changingPart(ctx context.Context, name string, part []string, fn func(ctx context.Context, tx *writing, r row) error) error {
	r, _, err := s.open(ctx, s.pool, name, opSetMetadata)
	if err != nil {
		return err
	}
	if err := s.hasPart(ctx, r, part); err != nil {
		return err
	}
	return s.change(ctx, []string{name, name + "/" + strings.Join(part, "/")}, fn)
}

func (s *Service) change(ctx context.Context, names []string, fn func(ctx context.Context, tx *writing, r row) error) error {
	return s.locked(ctx, opSetMetadata, func(ctx context.Context, tx *writing) error {
		r, _, err := s.open(ctx, tx, names[0], opSetMetadata)
		if err != nil {
			return err
		}
		return fn(ctx, tx, r)
	}, names...)
}

// hasPart says before its lock is taken whether there is a fileset, or a file of
// one: to take a lock makes a file, under whatever name it was asked for.
func (s *Service) hasPart(ctx context.Context, r row, part []string) error {
	fs, err := s.fileset(ctx, s.pool, r, part[0])
	if err != nil || len(part) == 1 {
		return err
	}
	_, err = s.file(ctx, s.pool, r, fs, part[1])
	return err
}

// writeScanMetadata replaces the metadata of a scan; what it was goes back if tx
// fails.
func (s *Service) writeScanMetadata(ctx context.Context, tx *writing, r row, metadata json.RawMessage) error {
	before := s.tree.BeforeScan(r.loc())
	if err := s.tree.WriteScanMetadata(ctx, r.loc(), metadata); err != nil {
		return err
	}
	tx.did(before.PutBack)
	return nil
}

// writeFilesetMetadata is writeScanMetadata for a fileset.
func (s *Service) writeFilesetMetadata(ctx context.Context, tx *writing, r row, fileset string, metadata json.RawMessage) error {
	before := s.tree.BeforeFileset(r.loc(), fileset)
	if err := s.tree.WriteFilesetMetadata(ctx, r.loc(), fileset, metadata); err != nil {
		return err
	}
	tx.did(before.PutBack)
	return nil
}
