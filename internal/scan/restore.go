package scan

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
)

// Restore brings an entry of the trash back to where it was, with as under that
// id. Of a fileset or file the scan must be there, and the actor must be one
// who may delete in it; of a scan in a timelapse the timelapse must be there.
// Errors: ErrUnknownTrash, ErrForbidden, ErrScanExists, ErrTimelapseExists,
// ErrFilesetExists, ErrFileExists where the name is taken, ErrTrashOrphan,
// ErrBusy, fsdb.ErrName, fsdb.ErrReserved and fsdb.ErrBroken; with these
// nothing was restored. After any other error it may be, and the next reconcile
// indexes it.
func (s *Service) Restore(ctx context.Context, id uuid.UUID, as string) (TrashEntry, error) {
	e, a, err := s.openTrash(ctx, s.pool, id, opRestore)
	if err != nil {
		return e, err
	}
	names := e.names()
	if as != "" && e.Kind == string(fsdb.TrashScan) {
		names = append(names, as)
	}
	if e.Kind == string(fsdb.TrashTimelapse) {
		names = append(names, e.Scans...)
	}
	err = s.locked(ctx, opRestore, func(ctx context.Context, tx *writing) error {
		if e, _, err = s.openTrash(ctx, tx, id, opRestore); err != nil {
			return err
		}
		e, err = s.restore(ctx, tx, a, e, as)
		return err
	}, names...)
	return e, err
}

// restore brings back an entry whose names the caller holds, and says where it
// is now.
func (s *Service) restore(ctx context.Context, tx *writing, a actor.Actor, e TrashEntry, as string) (TrashEntry, error) {
	entry, err := s.tree.TrashEntry(e.ID.String())
	if errors.Is(err, fsdb.ErrTrashGone) {
		return e, ErrUnknownTrash
	}
	if err != nil {
		return e, err
	}
	target := *entry
	if as != "" {
		if target, err = entry.Renamed(as); err != nil {
			return e, err
		}
	}
	switch entry.Kind {
	case fsdb.TrashScan:
		err = s.restoreScan(ctx, tx, a, target)
	case fsdb.TrashTimelapse:
		err = s.restoreTimelapse(ctx, tx, target)
	default:
		err = s.restorePart(ctx, tx, &target)
	}
	if err != nil {
		return e, err
	}
	if _, err := s.q.DeleteTrash(ctx, tx, e.ID); err != nil {
		return e, fmt.Errorf("forget trash entry %s: %w", e.ID, err)
	}
	e.Timelapse, e.Scan, e.Fileset, e.File = target.Timelapse, target.Scan, target.Fileset, target.File
	return e, nil
}

func (s *Service) restoreScan(ctx context.Context, tx *writing, a actor.Actor, e fsdb.Trashed) error {
	if err := s.placeFree(ctx, tx, e.Loc()); err != nil {
		return err
	}
	switch err := s.takeOut(ctx, tx, e); {
	case errors.Is(err, fsdb.ErrScanExists):
		return scanExists(e.Scan)
	case errors.Is(err, fsdb.ErrNoTimelapse):
		return ErrTrashOrphan.With("Timelapse '%s' is not there any more: restore it first, or create it.", e.Timelapse)
	case err != nil:
		return unknownEntry(err)
	}
	read, err := s.tree.ReadScan(ctx, e.Loc())
	if err != nil {
		return fmt.Errorf("read restored scan %q: %w", e.Loc().Dir(), err)
	}
	if err := s.writeRestored(ctx, tx, read, scanIDOf(e)); err != nil {
		return err
	}
	if err := s.record(ctx, tx, Change{Kind: ScanRestored, Scan: e.Scan}); err != nil || e.Timelapse == "" {
		return err
	}
	in, err := s.timelapse(ctx, tx, e.Timelapse)
	if err != nil {
		return err
	}
	return s.register(ctx, tx, a, in, e.Loc())
}

// takeOut brings an entry of the trash back to where e says; it goes there again
// if tx fails, as what it was.
func (s *Service) takeOut(ctx context.Context, tx *writing, e fsdb.Trashed) error {
	was, err := s.tree.TrashEntry(e.ID)
	if err != nil {
		return err
	}
	drop, err := s.tree.TakeOutTrash(ctx, e)
	if err != nil {
		return err
	}
	tx.ends = append(tx.ends, drop)
	tx.did(func(ctx context.Context) error { return s.tree.TrashAgain(ctx, e, *was) })
	return nil
}

// scanIDOf is the id that the scan of an entry had.
func scanIDOf(e fsdb.Trashed) uuid.UUID {
	if len(e.Contents) != 1 {
		return uuid.Nil
	}
	return idOf(e.Contents[0])
}

// unknownEntry makes the service's error of an entry that is gone.
func unknownEntry(err error) error {
	if errors.Is(err, fsdb.ErrTrashGone) {
		return ErrUnknownTrash
	}
	return err
}

// placeFree says whether neither the index has a scan of that name nor the tree
// in another place.
func (s *Service) placeFree(ctx context.Context, tx db.DBTX, loc fsdb.Loc) error {
	if err := s.nameFree(ctx, tx, loc.Scan); err != nil {
		return err
	}
	other, err := s.stray(ctx, tx, loc)
	if err == nil && other != nil {
		err = scanExists(loc.Scan)
	}
	return err
}

func (s *Service) nameFree(ctx context.Context, tx db.DBTX, name string) error {
	taken, err := s.q.NameTaken(ctx, tx, name)
	if err != nil {
		return fmt.Errorf("look for name %q: %w", name, err)
	}
	if taken {
		return scanExists(name)
	}
	return nil
}

func (s *Service) restoreTimelapse(ctx context.Context, tx *writing, e fsdb.Trashed) error {
	taken, err := s.q.NameTaken(ctx, tx, e.Timelapse)
	if err != nil {
		return fmt.Errorf("look for name %q: %w", e.Timelapse, err)
	}
	if taken {
		return timelapseExists(e.Timelapse)
	}
	for _, c := range e.Contents {
		if err := s.placeFree(ctx, tx, fsdb.Loc{Timelapse: e.Timelapse, Scan: c.Scan}); err != nil {
			return err
		}
	}
	switch err := s.takeOut(ctx, tx, e); {
	case errors.Is(err, fsdb.ErrTimelapseExists):
		return timelapseExists(e.Timelapse)
	case err != nil:
		return unknownEntry(err)
	}
	read, err := s.tree.ReadTimelapse(ctx, e.Timelapse)
	if err != nil {
		return fmt.Errorf("read restored timelapse %q: %w", e.Timelapse, err)
	}
	id, err := uuid.Parse(e.TimelapseID)
	if err != nil {
		id = newID() // of an entry that did not keep it
	}
	if err := s.writeTimelapseAs(ctx, tx, read, id); err != nil {
		return err
	}
	changes := []Change{{Kind: TimelapseRestored, Timelapse: e.Timelapse}}
	for _, c := range e.Contents {
		read, err := s.tree.ReadScan(ctx, fsdb.Loc{Timelapse: e.Timelapse, Scan: c.Scan})
		if errors.Is(err, fsdb.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read restored scan %q: %w", e.Timelapse+"/"+c.Scan, err)
		}
		if err := s.writeRestored(ctx, tx, read, idOf(c)); err != nil {
			return err
		}
		changes = append(changes, Change{Kind: ScanRestored, Scan: c.Scan})
	}
	return s.record(ctx, tx, changes...)
}

// writeRestored writes the rows of a scan that has none, under the id that it
// had before.
func (s *Service) writeRestored(ctx context.Context, tx pgx.Tx, read *fsdb.Scan, id uuid.UUID) error {
	arg, err := s.scanRow(ctx, read)
	if err != nil {
		return err
	}
	if id != uuid.Nil {
		arg.ID = id
	}
	if err := s.q.WriteScan(ctx, tx, arg); err != nil {
		return fmt.Errorf("index restored scan %q: %w", read.Dir(), err)
	}
	return nil
}

// restorePart brings a fileset or file back into its scan, wherever that lies
// now.
func (s *Service) restorePart(ctx context.Context, tx *writing, e *fsdb.Trashed) error {
	r, _, err := s.open(ctx, tx, e.Scan, opRestore)
	if errors.Is(err, ErrUnknownScan) {
		return ErrTrashOrphan.With("Scan '%s' is not there any more: restore it first, or create it.", e.Scan)
	}
	if err != nil {
		return err
	}
	e.Timelapse = r.timelapse
	switch err := s.takeOut(ctx, tx, *e); {
	case errors.Is(err, fsdb.ErrNotFound):
		return ErrTrashOrphan.With("Fileset '%s' of scan '%s' is not there any more: restore it first, or create it.", e.Fileset, e.Scan)
	case errors.Is(err, fsdb.ErrFilesetExists):
		return filesetExists(e.Scan, e.Fileset)
	case errors.Is(err, fsdb.ErrFileExists):
		return fileExists(e.Scan, e.Fileset, e.File)
	case err != nil:
		return unknownEntry(err)
	}
	if _, _, err = s.adopt(ctx, tx, r); err != nil {
		return err
	}
	kind := FileRestored
	if e.Kind == fsdb.TrashFileset {
		kind = FilesetRestored
	}
	return s.record(ctx, tx, Change{Kind: kind, Scan: r.Name, Fileset: e.Fileset, File: e.File})
}
