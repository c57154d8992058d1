package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// ArchiveUpload is a scan that comes as a ZIP file. Either Commit or Discard
// ends it.
type ArchiveUpload struct {
	s      *Service
	actor  actor.Actor
	scan   string
	staged *fsdb.StagedScan
	held   *reservation
	faults []string
}

// BeginArchive checks all that can be known before the bytes are taken: that
// the actor may make a scan of that name and that it is free. Errors:
// ErrNoActor, ErrForbidden, fsdb.ErrName, fsdb.ErrReserved, ErrScanExists (also
// for the name of a timelapse).
func (s *Service) BeginArchive(ctx context.Context, name string) (*ArchiveUpload, error) {
	a, err := acting(ctx)
	if err != nil {
		return nil, err
	}
	if !may(a, opCreateScan, Access{Name: name}) {
		return nil, forbidden(a, opCreateScan)
	}
	if err := fsdb.CheckName(fsdb.ScanName, name); err != nil {
		return nil, err
	}
	err = s.nameFree(ctx, s.pool, name)
	if errors.Is(err, ErrScanExists) {
		// Its bytes will tell whether it is the same archive.
		doubted, other := s.doubted(a, name)
		if other != nil {
			return nil, other
		}
		if doubted {
			err = nil
		}
	}
	if err != nil {
		return nil, err
	}
	return &ArchiveUpload{s: s, actor: a, scan: name}, nil
}

// Expect is Upload.Expect for an archive of so many bytes, packed.
func (u *ArchiveUpload) Expect(ctx context.Context, size int64) (err error) {
	u.held, err = u.s.reserve(ctx, newID(), &u.actor.Username, Amount{max(size, 0), 1}, reservedFor)
	return err
}

// Stage takes the archive, once, with flat memory, checks all of it and unpacks
// it. Its files are on the disk of the tree when it returns, but no reader sees
// them yet. Errors: fsdb.ErrArchive, fsdb.ErrArchiveStructure,
// fsdb.ErrArchivePath, fsdb.ErrArchiveTooLarge, fsdb.ErrTooLarge, ErrQuota,
// fsdb.ErrNoSpace; an error of content is wrapped.
func (u *ArchiveUpload) Stage(ctx context.Context, content io.Reader) (err error) {
	limits := u.s.config.Archives
	limits.FileBytes = min(limits.FileBytes, u.s.config.MaxFileBytes)
	archive, err := u.s.tree.SpoolArchive(ctx, u.held.reading(ctx, u.s.uploading(content)), limits)
	if err != nil {
		return err
	}
	defer archive.Close() // Only read.
	if err := u.held.set(ctx, Amount{archive.Bytes(), int64(archive.Files())}); err != nil {
		return err
	}
	u.staged, err = archive.Unpack(ctx)
	return err
}

// Discard drops what was staged; after Commit it only lets go of the room that
// was held for it.
func (u *ArchiveUpload) Discard() {
	u.held.release(context.Background())
	u.held = nil
	if u.staged != nil {
		u.staged.Discard() // the sweep of staging finds what could not be removed
		u.staged = nil
	}
}

// Commit makes what was staged a scan that belongs to the actor, and returns
// the names of its files, relative to it. The scan appears whole, and survives
// a power cut when it returns nil. It is placed into the timelapse that its
// metadata names, which is made if it is not there. Of the metadata the owner
// becomes the actor, and groups that do not exist are dropped from the sharing;
// all else stays as it came.
//
// Errors: ErrForbidden (of the timelapse), ErrScanExists, ErrTimelapseExists
// where the timelapse's name is another thing's, ErrMetadata, ErrBusy,
// fsdb.ErrName and fsdb.ErrReserved for the timelapse; with these nothing was
// made. After any other error the scan may be there, whole, and the next
// reconcile indexes it, or the same archive again does, and is answered as if the
// first had worked.
func (u *ArchiveUpload) Commit(ctx context.Context) (names []string, err error) {
	staged := u.staged
	u.staged = nil
	defer staged.Discard()
	metadata, err := u.s.importedMetadata(ctx, u.actor, staged)
	if err != nil {
		return nil, err
	}
	u.faults = biologyFaults(metadata)
	loc := fsdb.Loc{Timelapse: textAt(metadata, "timelapse", "id"), Scan: u.scan}
	locks := []string{u.scan}
	if loc.Timelapse != "" {
		if !storable(loc.Timelapse) {
			return nil, unknownTimelapse(loc.Timelapse)
		}
		locks = []string{loc.Timelapse, u.scan}
	}
	var verdict error
	err = u.s.locked(ctx, opCreateScan, func(ctx context.Context, tx *writing) (err error) {
		verdict, err = u.s.addScan(ctx, tx, u.actor, loc, staged, metadata)
		return err
	}, locks...)
	if err := errors.Join(err, verdict); err != nil {
		return nil, err
	}
	return staged.Files(), nil
}

// BiologyFaults says after Commit what CheckBiology would have refused of the
// metadata: an archive is taken as it is, for it may bring back what Python wrote
// before there was such a check, and other programs still write.
func (u *ArchiveUpload) BiologyFaults() []string { return u.faults }

// importedMetadata is what a scan that a has brought will have as metadata.
func (s *Service) importedMetadata(ctx context.Context, a actor.Actor, staged *fsdb.StagedScan) (json.RawMessage, error) {
	metadata := staged.Metadata()
	if err := checkVisibility(seenAs(metadata, staged.Visibility())); err != nil {
		return nil, err
	}
	metadata, err := s.keepKnownGroups(ctx, metadata)
	if err != nil {
		return nil, err
	}
	return setMember(metadata, "owner", meta.Quote(a.Username)), nil
}

// keepKnownGroups drops from sharing what is no group here: somebody may make
// one of that name later, who was not meant.
func (s *Service) keepKnownGroups(ctx context.Context, metadata json.RawMessage) (json.RawMessage, error) {
	groups := accessOf("", metadata).Sharing
	missing, err := s.groups.MissingGroups(ctx, s.pool, groups)
	if err != nil {
		return nil, fmt.Errorf("look for groups: %w", err)
	}
	if len(missing) == 0 {
		return metadata, nil
	}
	list, err := encode(slices.DeleteFunc(groups, func(g string) bool { return slices.Contains(missing, g) }))
	if err != nil {
		return nil, fmt.Errorf("encode groups: %w", err)
	}
	return setMember(metadata, "sharing", list), nil
}

// addScan is create for a scan that was staged.
func (s *Service) addScan(ctx context.Context, tx *writing, a actor.Actor, loc fsdb.Loc, staged *fsdb.StagedScan, metadata json.RawMessage) (verdict, err error) {
	err = s.nameFree(ctx, tx, loc.Scan)
	if errors.Is(err, ErrScanExists) {
		return s.madeBefore(ctx, tx, a, loc, func(*fsdb.Scan) (bool, error) { return staged.Is(ctx, loc, metadata) })
	}
	if err != nil {
		return nil, err
	}
	if other, err := s.stray(ctx, tx, loc); err != nil || other != nil {
		if err != nil {
			return nil, err
		}
		return s.adoptScan(ctx, tx, *other, notOurs)
	}
	var in db.GetTimelapseRow
	if loc.Timelapse != "" {
		in, err = s.timelapse(ctx, tx, loc.Timelapse)
		if errors.Is(err, ErrUnknownTimelapse) {
			return s.addWithTimelapse(ctx, tx, a, loc, staged, metadata)
		}
		if err != nil {
			return nil, err
		}
		if !may(a, opAddToTimelapse, ofTimelapse(in.Name, in.Owner)) {
			return forbidden(a, opCreateScan), nil
		}
	}
	// The tree first, as in create.
	switch err = s.tree.AddScan(ctx, loc, staged, metadata); {
	case errors.Is(err, fsdb.ErrScanExists):
		if verdict, err = s.adoptArchive(ctx, tx, loc, staged, metadata); verdict == nil && err == nil {
			tx.found(created(originOf(ctx), loc.Scan))
		}
	case errors.Is(err, fsdb.ErrNotFound):
		return unknownTimelapse(loc.Timelapse), nil
	case err != nil:
		return nil, err
	default:
		tx.did(func(ctx context.Context) error { return s.tree.Withdraw(ctx, loc) }, created(originOf(ctx), loc.Scan))
		err = s.indexAdded(ctx, tx, loc, staged)
	}
	if err != nil || verdict != nil || loc.Timelapse == "" {
		return verdict, err
	}
	return nil, s.register(ctx, tx, a, in, loc)
}

// adoptArchive is adoptScan for what an archive makes: to the byte what the
// tree has, then an upload of it was cut short before the index knew.
func (s *Service) adoptArchive(ctx context.Context, tx pgx.Tx, loc fsdb.Loc, staged *fsdb.StagedScan, metadata json.RawMessage) (verdict, err error) {
	return s.adoptScan(ctx, tx, loc, func(read *fsdb.Scan) (bool, error) {
		same, err := staged.Is(ctx, loc, metadata)
		if same {
			knowDigests(read, staged)
		}
		return same, err
	})
}

// knowDigests says of the files of a scan what is known of their bytes since
// they were unpacked.
func knowDigests(read *fsdb.Scan, staged *fsdb.StagedScan) {
	for _, fs := range read.Filesets {
		for i, f := range fs.Files {
			fs.Files[i].SHA256 = staged.SHA256(fs.ID + "/" + f.Name)
		}
	}
}

// addWithTimelapse adds a scan together with the timelapse that it is in.
func (s *Service) addWithTimelapse(ctx context.Context, tx *writing, a actor.Actor, loc fsdb.Loc, staged *fsdb.StagedScan, metadata json.RawMessage) (verdict, err error) {
	if !may(a, opCreateTimelapse, Access{Name: loc.Timelapse}) {
		return forbidden(a, opCreateTimelapse), nil
	}
	taken, err := s.q.NameTaken(ctx, tx, loc.Timelapse)
	if err != nil {
		return nil, fmt.Errorf("look for name %q: %w", loc.Timelapse, err)
	}
	if taken || loc.Timelapse == loc.Scan {
		return timelapseExists(loc.Timelapse), nil
	}
	now := timestamp(s.now())
	about := setMember(empty, "last_modified", meta.Quote(now))
	marker := fsdb.Timelapse{ID: loc.Timelapse, CreatedAt: now, Owner: &a.Username, Scans: []string{loc.Scan}, Metadata: about}
	switch err := s.tree.AddScanWithTimelapse(ctx, marker, loc.Scan, staged, metadata); {
	case errors.Is(err, fsdb.ErrScanExists):
		return s.adoptScan(ctx, tx, fsdb.Loc{Scan: loc.Scan}, notOurs)
	case errors.Is(err, fsdb.ErrTimelapseExists):
		if verdict, err = s.adoptWithTimelapse(ctx, tx, marker, loc, staged, metadata); verdict == nil && err == nil {
			tx.found(created(originOf(ctx), loc.Timelapse), created(originOf(ctx), loc.Scan))
		}
		return verdict, err
	case err != nil:
		return nil, err
	}
	undo := func(ctx context.Context) error { return s.tree.Withdraw(ctx, fsdb.Loc{Timelapse: loc.Timelapse}) }
	tx.did(undo, created(originOf(ctx), loc.Timelapse), created(originOf(ctx), loc.Scan))
	if err := s.writeTimelapse(ctx, tx, &marker); err != nil {
		return nil, err
	}
	if err := s.record(ctx, tx, Change{Kind: TimelapseCreated, Timelapse: loc.Timelapse}); err != nil {
		return nil, err
	}
	return nil, s.indexAdded(ctx, tx, loc, staged)
}

// adoptWithTimelapse is adoptArchive where the index lacks the timelapse, too.
func (s *Service) adoptWithTimelapse(ctx context.Context, tx pgx.Tx, asked fsdb.Timelapse, loc fsdb.Loc, staged *fsdb.StagedScan, metadata json.RawMessage) (verdict, err error) {
	there, err := s.tree.Has(loc)
	if err != nil {
		return nil, err
	}
	verdict, err = s.adoptTimelapse(ctx, tx, asked)
	if err != nil || !there {
		return verdict, err
	}
	return s.adoptArchive(ctx, tx, loc, staged, metadata)
}

// indexAdded makes the rows of a scan that the tree has just got.
func (s *Service) indexAdded(ctx context.Context, tx pgx.Tx, loc fsdb.Loc, staged *fsdb.StagedScan) error {
	read, err := s.tree.ReadScan(ctx, loc)
	if err != nil {
		return fmt.Errorf("read added scan %q: %w", loc.Dir(), err)
	}
	s.warn(ctx, read.Dir(), read.Broken, read.Warnings)
	knowDigests(read, staged)
	if err := s.writeScan(ctx, tx, read); err != nil {
		return err
	}
	return s.record(ctx, tx, Change{Kind: ScanCreated, Scan: loc.Scan})
}
