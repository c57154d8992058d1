package scan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
)

// A deletion moves into the trash of the tree first and forgets the rows then.
// A crash between leaves rows without a scan, which the next reconcile forgets,
// and an entry of the trash without a row, which KeepTrash takes in: what was
// deleted can be restored, and nothing was acknowledged. The other order could
// leave a scan that the next reconcile brings back after its owner was told
// that it is gone.

// DeleteScan moves a scan into the trash. When it returns nil no reader finds
// the scan, on any server, and Restore brings it back until it is purged.
// Errors: those of finding the scan, ErrForbidden, ErrPrecondition, ErrBusy.
// After any other error the scan may be gone; the same call again says so.
func (s *Service) DeleteScan(ctx context.Context, name string, match Match) (TrashEntry, error) {
	r, a, err := s.open(ctx, s.pool, name, opDeleteScan)
	if err != nil {
		return TrashEntry{}, err
	}
	var e fsdb.Trashed
	var verdict error
	err = s.locked(ctx, opDeleteScan, func(ctx context.Context, tx *writing) error {
		r, _, err := s.open(ctx, tx, name, opDeleteScan)
		if err != nil {
			return err
		}
		if err := s.matchScan(ctx, tx, r, match); err != nil {
			return err
		}
		e, verdict, err = s.deleteScan(ctx, tx, a, r, newID())
		return err
	}, within(r.timelapse, name)...)
	return s.trashEntryOf(e), errors.Join(err, verdict)
}

// within returns the names to lock for a change of which scans a timelapse has.
func within(timelapse, name string) []string {
	if timelapse == "" {
		return []string{name}
	}
	return []string{timelapse, name}
}

// deleteScan moves a scan that the caller holds into the trash, as an entry of
// that id.
func (s *Service) deleteScan(ctx context.Context, tx *writing, a actor.Actor, r row, id uuid.UUID) (e fsdb.Trashed, verdict, err error) {
	used, err := s.q.GetScanUsage(ctx, tx, r.id)
	if err != nil {
		return e, nil, fmt.Errorf("count what scan %q holds: %w", r.Name, err)
	}
	e = s.newTrash(a, fsdb.TrashScan, r, used.FileCount, used.ByteCount)
	e.ID = id.String()
	e, verdict, err = s.discard(ctx, tx, e, unknownScan(r.Name))
	if err != nil {
		return e, nil, err
	}
	if err := s.record(ctx, tx, Change{Kind: ScanDeleted, Scan: r.Name, Outside: verdict != nil}); err != nil {
		return e, nil, err
	}
	if err := s.q.DeleteScan(ctx, tx, r.Name); err != nil {
		return e, nil, fmt.Errorf("forget scan %q: %w", r.Name, err)
	}
	if r.timelapse != "" {
		err = s.unregister(ctx, tx, r.loc())
	}
	return e, verdict, err
}

// newTrash is the entry for a scan, or for a part of it.
func (s *Service) newTrash(a actor.Actor, kind fsdb.TrashKind, r row, files int32, size int64) fsdb.Trashed {
	return fsdb.Trashed{
		ID: newID().String(), Kind: kind, Timelapse: r.timelapse, Scan: r.Name, Owner: r.Owner,
		DeletedBy: a.Username, DeletedAt: s.now().UTC(),
		Contents: []fsdb.TrashedPart{{Scan: r.Name, ScanID: r.id.String(), Owner: r.Owner, Files: files, Bytes: size}},
	}
}

// discard moves into the trash what e says and indexes the entry. Where the
// tree has nothing of that name any more, either a call before this one was cut
// short, then the entry it left is taken, or unknown is the verdict, for it went
// outside; the rows are stale in both cases.
func (s *Service) discard(ctx context.Context, tx *writing, e fsdb.Trashed, unknown error) (entry fsdb.Trashed, verdict, err error) {
	err = s.trash(ctx, tx, e)
	if errors.Is(err, fsdb.ErrNotFound) {
		left, err := s.leftover(ctx, tx, e)
		if err != nil || left == nil {
			return e, unknown, err
		}
		e = *left
	} else if err != nil {
		return e, nil, err
	}
	return e, nil, s.insertTrash(ctx, tx, e)
}

// trash moves into the trash what e says; it comes back if tx fails.
func (s *Service) trash(ctx context.Context, tx *writing, e fsdb.Trashed) error {
	if err := s.tree.Trash(ctx, e); err != nil {
		return err
	}
	tx.did(func(ctx context.Context) error {
		entry, err := s.tree.TrashEntry(e.ID) // as it lies there, with what was listed
		if err != nil {
			return err
		}
		return s.tree.RestoreTrash(ctx, *entry)
	})
	return nil
}

// leftover returns the entry without a row that an earlier call of the same
// deletion left in the trash, nil if there is none.
func (s *Service) leftover(ctx context.Context, tx pgx.Tx, e fsdb.Trashed) (*fsdb.Trashed, error) {
	entries, known, err := s.trashAndIndex(ctx, tx)
	if err != nil {
		return nil, err
	}
	for _, o := range slices.Backward(entries) {
		if !known[o.ID] && o.Kind == e.Kind && o.Loc() == e.Loc() && o.Fileset == e.Fileset && o.File == e.File {
			gone, err := s.tree.SettleTrash(ctx, o.ID)
			if gone {
				continue // it held nothing
			}
			return &o, err
		}
	}
	return nil, nil
}

// unregister takes a scan out of the marker of its timelapse, which only tells
// the order: that it cannot be written is no failure.
func (s *Service) unregister(ctx context.Context, tx *writing, loc fsdb.Loc) error {
	marker, err := s.tree.ReadTimelapse(ctx, loc.Timelapse)
	if err == nil && slices.Contains(marker.Scans, loc.Scan) {
		marker.Scans = slices.DeleteFunc(marker.Scans, func(id string) bool { return id == loc.Scan })
		if err = s.writeMarker(ctx, tx, marker); err == nil {
			return s.writeTimelapse(ctx, tx, marker)
		}
	}
	if err != nil {
		s.log.WarnContext(ctx, "scan not taken out of its timelapse's marker", slog.String("scan", loc.Dir()), slog.Any("err", err))
	}
	return nil
}

// DeleteFileset moves a fileset with its files and their metadata into the
// trash. Errors as DeleteScan, ErrUnknownFileset and fsdb.ErrBroken.
func (s *Service) DeleteFileset(ctx context.Context, name, fileset string, match Match) (TrashEntry, error) {
	return s.deletePart(ctx, name, []string{fileset}, opDeleteFileset, func(ctx context.Context, tx *writing, a actor.Actor, r row) (e fsdb.Trashed, verdict, err error) {
		fs, err := s.fileset(ctx, tx, r, fileset)
		if err != nil {
			return e, nil, err
		}
		if err := s.matchFileset(ctx, r, fs.Name, match); err != nil {
			return e, nil, err
		}
		used, err := s.q.GetFilesetUsage(ctx, tx, fs.ID)
		if err != nil {
			return e, nil, fmt.Errorf("count what fileset %q of scan %q holds: %w", fileset, name, err)
		}
		held, err := s.tree.FilesetHolds(ctx, r.loc(), fs.Name)
		if err != nil && !errors.Is(err, fsdb.ErrNotFound) {
			return e, nil, err
		}
		// Its directory goes with all that lies in it.
		e = s.newTrash(a, fsdb.TrashFileset, r, max(used.FileCount, int32(held.Files)), max(used.ByteCount, held.Bytes)) //nolint:gosec // bounded by fsdb
		e.Fileset = fs.Name
		if e, verdict, err = s.discard(ctx, tx, e, unknownFileset(name, fileset)); err != nil {
			return e, nil, err
		}
		if err := s.record(ctx, tx, Change{Kind: FilesetDeleted, Scan: r.Name, Fileset: fs.Name, Outside: verdict != nil}); err != nil {
			return e, nil, err
		}
		if err := s.q.DeleteFileset(ctx, tx, fs.ID); err != nil {
			return e, nil, fmt.Errorf("forget fileset %q of scan %q: %w", fileset, name, err)
		}
		if err := s.shrink(ctx, tx, r, used.FileCount, used.ByteCount); err != nil {
			return e, nil, err
		}
		if fs.Name == imagesFileset {
			err = s.refill(ctx, tx, r)
		}
		return e, verdict, err
	})
}

// DeleteFile moves a file and its metadata into the trash. Errors as
// DeleteFileset, and ErrUnknownFile.
func (s *Service) DeleteFile(ctx context.Context, name, fileset, file string, match Match) (TrashEntry, error) {
	return s.deletePart(ctx, name, []string{fileset, file}, opDeleteFile, func(ctx context.Context, tx *writing, a actor.Actor, r row) (e fsdb.Trashed, verdict, err error) {
		fs, err := s.fileset(ctx, tx, r, fileset)
		if err != nil {
			return e, nil, err
		}
		f, err := s.file(ctx, tx, r, fs, file)
		if err != nil {
			return e, nil, err
		}
		if err := s.matchFile(ctx, r, fs.Name, f.Name, match); err != nil {
			return e, nil, err
		}
		e = s.newTrash(a, fsdb.TrashFile, r, 1, f.Size)
		e.Fileset, e.File = fs.Name, f.Name
		if e, verdict, err = s.discard(ctx, tx, e, unknownFile(name, fileset, file)); err != nil {
			return e, nil, err
		}
		change := Change{
			Kind: FileDeleted, Scan: r.Name, Fileset: fs.Name, File: f.Name, Detail: Detail{Filename: f.Filename, Size: &f.Size},
			Outside: verdict != nil,
		}
		if err := s.record(ctx, tx, change); err != nil {
			return e, nil, err
		}
		if err := s.q.DeleteFile(ctx, tx, f.ID); err != nil {
			return e, nil, fmt.Errorf("forget file %q of fileset %q of scan %q: %w", file, fileset, name, err)
		}
		return e, verdict, s.shrink(ctx, tx, r, 1, f.Size)
	})
}

// shrink counts files that were taken out, and makes info and signature void.
func (s *Service) shrink(ctx context.Context, tx pgx.Tx, r row, files int32, size int64) error {
	err := s.q.ShrinkScan(ctx, tx, db.ShrinkScanParams{ID: r.id, Files: files, Bytes: size, ChangedAt: s.now()})
	if err != nil {
		return fmt.Errorf("count files of scan %q: %w", r.Name, err)
	}
	return nil
}

// deletePart asks policy before anything waits, and again under the lock.
func (s *Service) deletePart(ctx context.Context, name string, part []string, operation string,
	fn func(context.Context, *writing, actor.Actor, row) (e fsdb.Trashed, verdict, err error),
) (TrashEntry, error) {
	r, _, err := s.open(ctx, s.pool, name, operation)
	if err != nil {
		return TrashEntry{}, err
	}
	if err := s.hasPart(ctx, r, part); err != nil {
		return TrashEntry{}, err
	}
	var e fsdb.Trashed
	var verdict error
	err = s.locked(ctx, operation, func(ctx context.Context, tx *writing) error {
		r, a, err := s.open(ctx, tx, name, operation)
		if err != nil {
			return err
		}
		e, verdict, err = fn(ctx, tx, a, r)
		return err
	}, name, name+"/"+part[0])
	return s.trashEntryOf(e), errors.Join(err, verdict)
}

// DeleteTimelapse moves a timelapse into the trash; with recursive it may hold
// scans, and all go with it or none. Errors: ErrUnknownTimelapse, also for a
// plain scan, ErrNotEmpty, ErrForbidden unless the actor may delete the
// timelapse and every scan in it, ErrPrecondition, ErrBusy.
func (s *Service) DeleteTimelapse(ctx context.Context, name string, recursive bool, match Match) (TrashEntry, error) {
	a, err := acting(ctx)
	if err != nil {
		return TrashEntry{}, err
	}
	// Who creates a scan in it holds the timelapse, so that the list of scans
	// can only grow before it is held here.
	for range memberTries {
		members, err := s.members(ctx, s.pool, a, name)
		if err != nil {
			return TrashEntry{}, err
		}
		names := append(slices.Sorted(maps.Keys(members)), name)
		var e fsdb.Trashed
		grown := false
		err = s.locked(ctx, opDeleteTimelapse, func(ctx context.Context, tx *writing) error {
			now, err := s.members(ctx, tx, a, name)
			if err != nil {
				return err
			}
			for member := range now {
				if _, held := members[member]; !held {
					grown = true
					return nil
				}
			}
			e, err = s.deleteTimelapse(ctx, tx, a, name, now, recursive, match)
			return err
		}, names...)
		if err != nil || !grown {
			return s.trashEntryOf(e), err
		}
	}
	return TrashEntry{}, ErrBusy.With("Scans are being added to timelapse %s, try again", name)
}

// memberTries bounds how often a timelapse is looked at that keeps growing.
const memberTries = 5

// members asks policy for the timelapse and returns the scans in it, those that
// the index does not know yet among them.
func (s *Service) members(ctx context.Context, tx db.DBTX, a actor.Actor, name string) (map[string]db.ListTimelapseScansRow, error) {
	t, err := s.timelapse(ctx, tx, name)
	if err != nil {
		return nil, err
	}
	if !may(a, opDeleteTimelapse, ofTimelapse(t.Name, t.Owner)) {
		return nil, forbidden(a, opDeleteTimelapse)
	}
	rows, err := s.q.ListTimelapseScans(ctx, tx, name)
	if err != nil {
		return nil, fmt.Errorf("list scans of timelapse %q: %w", name, err)
	}
	members := make(map[string]db.ListTimelapseScansRow, len(rows))
	for _, r := range rows {
		members[r.Name] = r
	}
	scans, err := s.tree.TimelapseScans(ctx, name)
	if errors.Is(err, fsdb.ErrNotFound) {
		return members, nil
	}
	if err != nil {
		return nil, err
	}
	for _, id := range scans {
		if _, known := members[id]; known {
			continue
		}
		read, err := s.tree.ReadScan(ctx, fsdb.Loc{Timelapse: name, Scan: id})
		if err != nil {
			return nil, fmt.Errorf("look at scan %q: %w", name+"/"+id, err)
		}
		arg, err := s.scanRow(ctx, read)
		if err != nil {
			return nil, err
		}
		members[id] = db.ListTimelapseScansRow{
			Name: id, Owner: arg.Owner, Sharing: arg.Sharing, Visibility: arg.Visibility, FileCount: arg.FileCount + arg.BesideFiles, ByteCount: arg.ByteCount + arg.BesideBytes,
		}
	}
	return members, nil
}

func (s *Service) deleteTimelapse(ctx context.Context, tx *writing, a actor.Actor, name string,
	members map[string]db.ListTimelapseScansRow, recursive bool, match Match,
) (e fsdb.Trashed, err error) {
	if len(members) > 0 && !recursive {
		return e, ErrNotEmpty.With("Timelapse '%s' is not empty. Use recursive=True to delete it and its scans.", name)
	}
	t, err := s.timelapse(ctx, tx, name)
	if err != nil {
		return e, err
	}
	if err := s.matchTimelapse(ctx, tx, a, name, match); err != nil {
		return e, err
	}
	e = fsdb.Trashed{
		ID: newID().String(), Kind: fsdb.TrashTimelapse, Timelapse: name, TimelapseID: t.ID.String(), Owner: t.Owner,
		DeletedBy: a.Username, DeletedAt: s.now().UTC(), Contents: []fsdb.TrashedPart{},
	}
	changes := []Change{{Kind: TimelapseDeleted, Timelapse: name}}
	for _, id := range slices.Sorted(maps.Keys(members)) {
		m := members[id]
		if !may(a, opDeleteTimelapse, Access{m.Name, m.Owner, m.Sharing, m.Visibility}) {
			return e, forbidden(a, opDeleteTimelapse)
		}
		part := fsdb.TrashedPart{Scan: id, Owner: m.Owner, Files: m.FileCount, Bytes: m.ByteCount}
		if m.ID != uuid.Nil {
			part.ScanID = m.ID.String()
			changes = append(changes, Change{Kind: ScanDeleted, Scan: id})
		}
		e.Contents = append(e.Contents, part)
	}
	if err := s.trash(ctx, tx, e); err != nil {
		if errors.Is(err, fsdb.ErrNotFound) {
			return e, unknownTimelapse(name) // gone meanwhile; the reconcile forgets it
		}
		return e, err
	}
	if err := s.insertTrash(ctx, tx, e); err != nil {
		return e, err
	}
	if err := s.record(ctx, tx, changes...); err != nil {
		return e, err
	}
	for id, m := range members {
		if m.ID == uuid.Nil {
			continue // it has no row
		}
		if err := s.q.DeleteScan(ctx, tx, id); err != nil {
			return e, fmt.Errorf("forget scan %q: %w", id, err)
		}
	}
	if _, err := s.q.DeleteTimelapse(ctx, tx, name); err != nil {
		return e, fmt.Errorf("forget timelapse %q: %w", name, err)
	}
	return e, nil
}
