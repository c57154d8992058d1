package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
)

// Create makes an empty scan that belongs to the actor. metadata may be nil;
// its timelapse.id puts the scan into that timelapse, its sharing names groups
// that exist, its visibility may be private; an owner in it is ignored.
//
// Errors: ErrNoActor, ErrForbidden, ErrScanExists (also for the name of a
// timelapse), ErrUnknownTimelapse, ErrMetadata, ErrBiology, ErrSharing, ErrBusy
// and fsdb.ErrName or fsdb.ErrReserved; with these nothing was made. When it
// returns nil the scan survives a power cut. After any other error the scan may
// be there; the same call again makes it or finds it, and returns nil.
func (s *Service) Create(ctx context.Context, name string, metadata json.RawMessage) error {
	a, err := acting(ctx)
	if err != nil {
		return err
	}
	if !may(a, opCreateScan, Access{Name: name}) {
		return forbidden(a, opCreateScan)
	}
	if err := fsdb.CheckName(fsdb.ScanName, name); err != nil {
		return err
	}
	if metadata, err = s.checkNewScan(ctx, metadata); err != nil {
		return err
	}
	if metadata, err = stampScan(metadata, a, s.now()); err != nil {
		return badMetadata(err)
	}
	loc := fsdb.Loc{Timelapse: textAt(metadata, "timelapse", "id"), Scan: name}
	names := []string{name}
	if loc.Timelapse != "" {
		if !storable(loc.Timelapse) {
			return unknownTimelapse(loc.Timelapse)
		}
		if err := s.timelapseToBe(ctx, loc); err != nil {
			return err
		}
		names = []string{loc.Timelapse, name}
	}
	var verdict error
	err = s.locked(ctx, opCreateScan, func(ctx context.Context, tx *writing) (err error) {
		verdict, err = s.create(ctx, tx, a, loc, metadata)
		return err
	}, names...)
	return errors.Join(err, verdict)
}

// timelapseToBe says before its lock is taken, which makes a file, whether the
// timelapse of a new scan is there. A name that is taken is told first.
func (s *Service) timelapseToBe(ctx context.Context, loc fsdb.Loc) error {
	_, unknown := s.timelapse(ctx, s.pool, loc.Timelapse)
	if !errors.Is(unknown, ErrUnknownTimelapse) {
		return unknown
	}
	taken, err := s.q.NameTaken(ctx, s.pool, loc.Scan)
	if err != nil {
		return fmt.Errorf("look for name %q: %w", loc.Scan, err)
	}
	if taken {
		return nil
	}
	return unknown
}

func (s *Service) checkNewScan(ctx context.Context, metadata json.RawMessage) (json.RawMessage, error) {
	metadata, err := objectOrEmpty(metadata)
	if err != nil {
		return nil, err
	}
	if err := CheckBiology(metadata); err != nil {
		return nil, err
	}
	if err := checkVisibility(metadata); err != nil {
		return nil, err
	}
	return s.checkSharing(ctx, metadata)
}

func checkVisibility(metadata json.RawMessage) error {
	if v, ok := lookup(metadata, "visibility"); ok && string(v) != `"`+Public+`"` && string(v) != `"`+Private+`"` {
		return ErrMetadata.With("Visibility must be 'public' or 'private'")
	}
	return nil
}

// checkSharing makes sharing a list of groups that exist.
func (s *Service) checkSharing(ctx context.Context, metadata json.RawMessage) (json.RawMessage, error) {
	raw, ok := lookup(metadata, "sharing")
	if !ok {
		return metadata, nil
	}
	var groups []string
	if err := json.Unmarshal(raw, &groups); err != nil {
		var one string
		if json.Unmarshal(raw, &one) != nil {
			return nil, ErrSharing
		}
		groups = []string{one}
	}
	for i := range groups {
		groups[i] = cleanText(groups[i]) // what cannot be stored is no group
	}
	list, err := s.existing(ctx, s.pool, groups)
	if err != nil {
		return nil, err
	}
	return setMember(metadata, "sharing", list), nil
}

// create makes the scan on disk and in the index; the caller holds its name
// and its timelapse's. The verdict is for the client, and the transaction is
// to be committed with it.
func (s *Service) create(ctx context.Context, tx *writing, a actor.Actor, loc fsdb.Loc, metadata json.RawMessage) (verdict, err error) {
	asked := func(read *fsdb.Scan) (bool, error) {
		return len(read.Filesets) == 0 && sameBut(read.Metadata, metadata), nil
	}
	taken, err := s.q.NameTaken(ctx, tx, loc.Scan)
	if err != nil {
		return nil, fmt.Errorf("look for name %q: %w", loc.Scan, err)
	}
	if taken {
		return s.madeBefore(ctx, tx, a, loc, asked)
	}
	var in db.GetTimelapseRow
	if loc.Timelapse != "" {
		if in, err = s.timelapse(ctx, tx, loc.Timelapse); err != nil {
			return nil, err
		}
		if !may(a, opAddToTimelapse, ofTimelapse(in.Name, in.Owner)) {
			return forbidden(a, opCreateScan), nil
		}
	}
	if other, err := s.stray(ctx, tx, loc); err != nil || other != nil {
		if err != nil {
			return nil, err
		}
		return s.adoptScan(ctx, tx, *other, notOurs)
	}
	// The tree first: a crash between leaves a scan that the next reconcile
	// finds, the other order a row without a scan.
	switch err = s.tree.CreateScan(ctx, loc, metadata); {
	case errors.Is(err, fsdb.ErrScanExists):
		if verdict, err = s.adoptScan(ctx, tx, loc, asked); verdict == nil && err == nil {
			tx.found(created(originOf(ctx), loc.Scan))
		}
	case errors.Is(err, fsdb.ErrNotFound):
		return unknownTimelapse(loc.Timelapse), nil
	case err != nil:
		return nil, err
	default:
		tx.did(func(ctx context.Context) error { return s.tree.Withdraw(ctx, loc) }, created(originOf(ctx), loc.Scan))
		if err = s.insertScan(ctx, tx, loc, metadata); err == nil {
			err = s.record(ctx, tx, Change{Kind: ScanCreated, Scan: loc.Scan})
		}
	}
	if err != nil || verdict != nil || loc.Timelapse == "" {
		return verdict, err
	}
	return nil, s.register(ctx, tx, a, in, loc)
}

// stray returns another place where the tree has a scan of that name, or
// something that is in its way, and the index does not: what a call left whose
// transaction failed, or what came from outside. The caller holds the name.
func (s *Service) stray(ctx context.Context, tx db.DBTX, loc fsdb.Loc) (*fsdb.Loc, error) {
	timelapses, err := s.q.ListTimelapses(ctx, tx)
	if err != nil {
		return nil, fmt.Errorf("list timelapses: %w", err)
	}
	for _, t := range append(timelapses, db.ListTimelapsesRow{}) { // and in none
		other := fsdb.Loc{Timelapse: t.Name, Scan: loc.Scan}
		if other == loc {
			continue
		}
		if there, err := s.tree.Has(other); err != nil || there {
			return &other, err
		}
	}
	return nil, nil //nolint:nilnil // there is none, which is the usual case
}

func (s *Service) insertScan(ctx context.Context, tx pgx.Tx, loc fsdb.Loc, metadata json.RawMessage) error {
	metadata, err := onDisk(metadata)
	if err != nil {
		return err
	}
	access := accessOf(loc.Scan, metadata)
	known := factsOf(loc.Scan, metadata, empty)
	err = s.q.InsertScan(ctx, tx, db.InsertScanParams{
		ID: newID(), Name: loc.Scan, Timelapse: loc.Timelapse,
		Owner: access.Owner, Sharing: access.Sharing, Visibility: access.Visibility,
		Document: metadata, Metadata: searchable(metadata), ChangedAt: s.now(),
		Search: known.search, Created: known.created, LastModified: known.lastModified,
		Species: known.species, Plant: known.plant, Environment: known.environment, Due: known.due,
	})
	if err != nil {
		return fmt.Errorf("insert scan %q: %w", loc.Scan, err)
	}
	return nil
}

// adoptScan takes a scan into the index that the tree has and the index does
// not: it came from outside, or of a call whose transaction failed. ours says
// whether it is what the caller was to make: then it was the latter, and the
// client that tries again gets what it asked for.
func (s *Service) adoptScan(ctx context.Context, tx pgx.Tx, loc fsdb.Loc, ours func(*fsdb.Scan) (bool, error)) (verdict, err error) {
	read, err := s.tree.ReadScan(ctx, loc)
	if errors.Is(err, fsdb.ErrNotFound) || err == nil && read.Broken != "" {
		return scanExists(loc.Scan), nil // something else has the name
	}
	if err != nil {
		return nil, fmt.Errorf("adopt scan %q: %w", loc.Dir(), err)
	}
	made, err := ours(read)
	if err != nil {
		return nil, err
	}
	if err := s.writeRows(ctx, tx, read); err != nil {
		return nil, err
	}
	if err := s.record(ctx, tx, Change{Kind: ScanCreated, Scan: loc.Scan, Outside: !made}); err != nil || made {
		return nil, err
	}
	return scanExists(loc.Scan), nil
}

func notOurs(*fsdb.Scan) (bool, error) { return false, nil }

// madeBefore is the verdict on a name that the index has: a conflict, unless the
// actor made the scan by the same call, which failed after that, and it is still
// as asked for.
func (s *Service) madeBefore(ctx context.Context, tx *writing, a actor.Actor, loc fsdb.Loc, asked func(*fsdb.Scan) (bool, error)) (verdict, err error) {
	doubted, err := s.doubted(a, loc.Scan)
	if err != nil {
		return nil, err
	}
	if !doubted {
		return scanExists(loc.Scan), nil
	}
	read, err := s.tree.ReadScan(ctx, loc)
	if errors.Is(err, fsdb.ErrNotFound) || err == nil && read.Broken != "" {
		return scanExists(loc.Scan), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read scan %q: %w", loc.Dir(), err)
	}
	same, err := asked(read)
	if err != nil {
		return nil, err
	}
	if !same {
		return scanExists(loc.Scan), nil
	}
	tx.found(created(originOf(ctx), loc.Scan))
	return nil, s.tellFound(ctx, tx, Change{Kind: ScanCreated, Scan: loc.Scan})
}

// register adds the scan to the marker of its timelapse, whose owner becomes
// the actor if nobody was recorded. The scan is in the timelapse because its
// directory is; the marker only tells the order, so that a marker which cannot
// be written is no failure.
func (s *Service) register(ctx context.Context, tx *writing, a actor.Actor, in db.GetTimelapseRow, loc fsdb.Loc) error {
	marker, err := s.tree.ReadTimelapse(ctx, loc.Timelapse)
	taken := false // by the actor
	if err == nil {
		if !slices.Contains(marker.Scans, loc.Scan) {
			marker.Scans = append(marker.Scans, loc.Scan)
		}
		if taken = marker.Owner == nil; taken {
			marker.Owner = &a.Username
		}
		err = s.writeMarker(ctx, tx, marker)
	}
	if err != nil {
		s.log.WarnContext(ctx, "scan not registered in its timelapse", slog.String("scan", loc.Dir()), slog.Any("err", err))
		return nil
	}
	owner := cleanOwner(*marker.Owner)
	if err := s.q.SetTimelapseMembers(ctx, tx, cleanTexts(marker.Scans), owner, in.ID); err != nil {
		return fmt.Errorf("keep members of timelapse %q: %w", loc.Timelapse, err)
	}
	if !taken {
		return nil
	}
	if err := s.record(ctx, tx, Change{Kind: TimelapseOwner, Timelapse: loc.Timelapse, Detail: Detail{Owner: &a.Username}}); err != nil {
		return err
	}
	return s.groups.RecordAccess(actor.NewContext(ctx, a), tx, "timelapse_owner", told(loc.Timelapse, Detail{Owner: &a.Username}))
}

// CreateFileset makes an empty fileset. Errors: those of finding the scan,
// ErrForbidden, ErrFilesetExists, ErrMetadata, ErrBusy, fsdb.ErrName,
// fsdb.ErrReserved and fsdb.ErrBroken, after which nothing was made; after any
// other the same call again makes the fileset or finds it.
func (s *Service) CreateFileset(ctx context.Context, name, fileset string, metadata json.RawMessage) error {
	_, a, err := s.open(ctx, s.pool, name, opCreateFileset)
	if err != nil {
		return err
	}
	if err := fsdb.CheckName(fsdb.FilesetName, fileset); err != nil {
		return err
	}
	if metadata, err = objectOrEmpty(metadata); err != nil {
		return err
	}
	if metadata, err = stamp(metadata, a, s.now()); err != nil {
		return badMetadata(err)
	}
	var verdict error
	err = s.locked(ctx, opCreateFileset, func(ctx context.Context, tx *writing) error {
		r, _, err := s.open(ctx, tx, name, opCreateFileset)
		if err != nil {
			return err
		}
		err = s.tree.CreateFileset(ctx, r.loc(), fileset, metadata)
		if errors.Is(err, fsdb.ErrFilesetExists) {
			if verdict, err = s.adoptFileset(ctx, tx, a, r, fileset, metadata); verdict == nil && err == nil {
				tx.found(created(originOf(ctx), name, fileset))
			}
			return err
		}
		if err != nil {
			return err
		}
		undo := func(ctx context.Context) error { return s.tree.WithdrawFileset(ctx, r.loc(), fileset) }
		tx.did(undo, created(originOf(ctx), name, fileset))
		return s.insertFileset(ctx, tx, r, fileset, metadata)
	}, name, name+"/"+fileset)
	return errors.Join(err, verdict)
}

func (s *Service) insertFileset(ctx context.Context, tx pgx.Tx, r row, fileset string, metadata json.RawMessage) error {
	metadata, err := onDisk(metadata)
	if err != nil {
		return err
	}
	inserted, err := s.q.InsertFileset(ctx, tx, db.InsertFilesetParams{
		ID: newID(), ScanID: r.id, Name: fileset, Document: metadata, Metadata: searchable(metadata),
	})
	if err != nil {
		return fmt.Errorf("insert fileset %q of scan %q: %w", fileset, r.Name, err)
	}
	if inserted == 0 {
		return s.renewFileset(ctx, tx, r, fileset)
	}
	if err := s.q.TouchScan(ctx, tx, s.now(), r.id); err != nil {
		return fmt.Errorf("void info of scan %q: %w", r.Name, err)
	}
	_, scanners := lookup(metadata, "Metadata")
	if fileset == imagesFileset && (scanners || string(Filled(empty, metadata)) != string(empty)) {
		err = s.refill(ctx, tx, r)
	}
	return errors.Join(err, s.record(ctx, tx, Change{Kind: FilesetCreated, Scan: r.Name, Fileset: fileset}))
}

// renewFileset is insertFileset where the index has a fileset of that name which
// the tree had not any more: it went outside, with its files.
func (s *Service) renewFileset(ctx context.Context, tx pgx.Tx, r row, fileset string) error {
	_, found, err := s.adopt(ctx, tx, r)
	if err != nil {
		return err
	}
	return s.record(ctx, tx, append(found.worth(), Change{Kind: FilesetCreated, Scan: r.Name, Fileset: fileset})...)
}

// adoptFileset is adoptScan and madeBefore for a fileset.
func (s *Service) adoptFileset(ctx context.Context, tx pgx.Tx, a actor.Actor, r row, fileset string, asked json.RawMessage) (verdict, err error) {
	_, err = s.fileset(ctx, tx, r, fileset)
	if err != nil && !errors.Is(err, ErrUnknownFileset) {
		return nil, err
	}
	if err == nil {
		doubted, err := s.doubted(a, r.Name, fileset)
		if err != nil {
			return nil, err
		}
		if !doubted {
			return filesetExists(r.Name, fileset), nil
		}
	}
	read, found, err := s.adopt(ctx, tx, r)
	if err != nil {
		return nil, err
	}
	verdict = filesetExists(r.Name, fileset)
	var changes []Change
	for _, fs := range read.Filesets {
		if fs.ID != fileset || len(fs.Files) > 0 || !sameBut(fs.Metadata, asked) {
			continue
		}
		verdict = nil
		made := Change{Kind: FilesetCreated, Scan: r.Name, Fileset: fileset}
		switch {
		case found.tells(fileset, ""):
		case found.added[filePath{fileset, ""}]:
			found.Detail.Filesets = found.Detail.Filesets.less()
			changes = append(changes, made)
		default:
			if err := s.tellFound(ctx, tx, made); err != nil {
				return nil, err
			}
		}
	}
	return verdict, s.record(ctx, tx, append(changes, found.worth()...)...)
}

// adopt reads a scan again that the tree knows more of than the index. found
// is what was not known, for the caller to record without what is its own.
func (s *Service) adopt(ctx context.Context, tx pgx.Tx, r row) (read *fsdb.Scan, found Change, err error) {
	read, err = s.tree.ReadScan(ctx, r.loc())
	if err != nil {
		return nil, found, fmt.Errorf("adopt parts of scan %q: %w", r.Name, err)
	}
	if found, err = s.changedOutside(ctx, tx, read); err != nil {
		return nil, found, err
	}
	err = s.unlisted(ctx, tx, read, found)
	if left, ok := errors.AsType[unlistedError](err); ok {
		if err := s.relistHeld(ctx, tx, r.loc(), left); err != nil {
			return nil, found, err
		}
		if read, err = s.tree.ReadScan(ctx, r.loc()); err == nil {
			found, err = s.changedOutside(ctx, tx, read)
		}
	}
	if err == nil {
		found, err = s.attribute(found, read)
	}
	if err == nil {
		err = s.fillInodes(ctx, tx, read, found)
	}
	if err != nil {
		return nil, found, err
	}
	return read, found, s.writeRows(ctx, tx, read)
}
