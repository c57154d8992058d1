package scan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/jobs"
)

// TrashEntry is something that was deleted and can be brought back.
type TrashEntry struct {
	ID                                   uuid.UUID
	Kind, Timelapse, Scan, Fileset, File string
	Owner                                *string // of the scan or timelapse
	DeletedBy                            string
	DeletedAt                            time.Time
	Expires                              *time.Time // nil: it is kept for ever
	Scans                                []string   // that it holds something of
	Files, Bytes                         int64
	scanIDs                              []uuid.UUID // zero for who had none
	owners                               []string    // "" for who is not recorded
}

// name is what an API token's scope is asked for.
func (e TrashEntry) name() string {
	if e.Kind == string(fsdb.TrashTimelapse) {
		return e.Timelapse
	}
	return e.Scan
}

// CanSeeTrash says whether a may know of an entry: who deleted it, the owners
// of what it holds, and administrators.
func CanSeeTrash(a actor.Actor, e TrashEntry) bool {
	if a.Guest || a.Username == "" {
		return false
	}
	return a.HighestRole() == actor.Admin || e.DeletedBy == a.Username || slices.Contains(e.owners, a.Username)
}

// CanTakeBack says whether a may restore or purge an entry: who could have
// deleted all of it.
func CanTakeBack(a actor.Actor, e TrashEntry) bool {
	if !may(a, opPurge, Access{Name: e.name(), Owner: e.Owner, Visibility: Private}) {
		return false
	}
	return a.HighestRole() == actor.Admin || !slices.ContainsFunc(e.owners, func(o string) bool { return o != a.Username })
}

func (s *Service) trashEntry(t db.Trash, owners, scans []string, ids []uuid.UUID, files, size int64) TrashEntry {
	e := TrashEntry{
		ID: t.ID, Kind: t.Kind, Timelapse: t.Timelapse, Scan: t.Scan, Fileset: t.Fileset, File: t.File, Owner: t.Owner,
		DeletedBy: t.DeletedBy, DeletedAt: t.DeletedAt, Scans: scans, Files: files, Bytes: size, owners: owners, scanIDs: ids,
	}
	if s.config.TrashRetention > 0 {
		expires := t.DeletedAt.Add(s.config.TrashRetention)
		e.Expires = &expires
	}
	return e
}

// by is the entry as it expires by a clock.
func (e TrashEntry) by(c retentionClock, keep time.Duration) TrashEntry {
	if e.Expires != nil {
		expires := c.end(e.DeletedAt, keep)
		e.Expires = &expires
	}
	return e
}

// trashEntryOf is trashEntry for what was just deleted.
func (s *Service) trashEntryOf(e fsdb.Trashed) TrashEntry {
	var owners, scans []string
	var ids []uuid.UUID
	var files, size int64
	for _, c := range e.Contents {
		scans, owners = append(scans, c.Scan), append(owners, textOf(c.Owner))
		ids = append(ids, idOf(c))
		files, size = files+int64(c.Files), size+c.Bytes
	}
	id, _ := uuid.Parse(e.ID) // the zero one beside an error
	return s.trashEntry(db.Trash{
		ID: id, Kind: string(e.Kind), Timelapse: e.Timelapse, Scan: e.Scan, Fileset: e.Fileset, File: e.File,
		Owner: e.Owner, DeletedBy: e.DeletedBy, DeletedAt: e.DeletedAt,
	}, owners, scans, ids, files, size)
}

// idOf is the id of a scan in the index, zero where it had none.
func idOf(c fsdb.TrashedPart) uuid.UUID {
	id, err := uuid.Parse(c.ScanID)
	if err != nil {
		return uuid.Nil
	}
	return id
}

func textOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// Trash pages through what the actor deleted or owned, an administrator through
// everything; the youngest first, beginning after the entry of that id.
func (s *Service) Trash(ctx context.Context, before *uuid.UUID, limit int) ([]TrashEntry, error) {
	a, err := acting(ctx)
	if err != nil {
		return nil, err
	}
	if a.Guest || a.Username == "" {
		return nil, ErrNoActor
	}
	var username *string
	if a.HighestRole() != actor.Admin {
		username = &a.Username
	}
	rows, err := s.q.ListTrash(ctx, s.pool, before, username, int32(min(max(limit, 1), maxTrashPage)))
	if err != nil {
		return nil, fmt.Errorf("list the trash: %w", err)
	}
	clock, err := s.clockOf(ctx, s.pool, clockTrash)
	if err != nil {
		return nil, err
	}
	entries := make([]TrashEntry, len(rows))
	for i, r := range rows {
		entries[i] = s.trashEntry(r.Trash, r.Owners, r.Scans, r.ScanIds, r.FileCount, r.ByteCount).by(clock, s.config.TrashRetention)
	}
	return entries, nil
}

const maxTrashPage = 1000

// openTrash finds an entry and asks policy; ErrUnknownTrash also for one that
// the actor may not see.
func (s *Service) openTrash(ctx context.Context, tx db.DBTX, id uuid.UUID, operation string) (TrashEntry, actor.Actor, error) {
	a, err := acting(ctx)
	if err != nil {
		return TrashEntry{}, a, err
	}
	if a.Guest {
		return TrashEntry{}, a, ErrNoActor
	}
	r, err := s.q.GetTrash(ctx, tx, id)
	if err != nil {
		return TrashEntry{}, a, notFound(err, ErrUnknownTrash, "find trash entry %s", id)
	}
	clock, err := s.clockOf(ctx, tx, clockTrash)
	if err != nil {
		return TrashEntry{}, a, err
	}
	e := s.trashEntry(r.Trash, r.Owners, r.Scans, r.ScanIds, r.FileCount, r.ByteCount).by(clock, s.config.TrashRetention)
	if !CanSeeTrash(a, e) {
		return e, a, ErrUnknownTrash
	}
	if operation != opRead && !CanTakeBack(a, e) {
		return e, a, forbidden(a, operation)
	}
	return e, a, nil
}

// TrashEntry returns one entry; ErrUnknownTrash also for one that the actor may
// not see.
func (s *Service) TrashEntry(ctx context.Context, id uuid.UUID) (TrashEntry, error) {
	e, _, err := s.openTrash(ctx, s.pool, id, opRead)
	return e, err
}

// Purge removes an entry of the trash for good. Errors: ErrUnknownTrash,
// ErrForbidden, ErrBusy.
func (s *Service) Purge(ctx context.Context, id uuid.UUID) error {
	e, _, err := s.openTrash(ctx, s.pool, id, opPurge)
	if err != nil {
		return err
	}
	return s.purge(ctx, e)
}

func (s *Service) purge(ctx context.Context, e TrashEntry) error {
	discard := func() {}
	err := s.locked(ctx, opPurge, func(ctx context.Context, tx *writing) error {
		n, err := s.q.DeleteTrash(ctx, tx, e.ID)
		if err != nil {
			return fmt.Errorf("forget trash entry %s: %w", e.ID, err)
		}
		if n == 0 {
			return ErrUnknownTrash // restored or purged meanwhile
		}
		if err := s.record(ctx, tx, e.purged()...); err != nil {
			return err
		}
		if discard, err = s.tree.Purge(ctx, e.ID.String()); err != nil {
			discard = func() {}
			return gone(err)
		}
		return nil
	}, e.names()...)
	discard()
	return err
}

// purged are the changes that a purge of the entry is.
func (e TrashEntry) purged() []Change {
	kind := ScanPurged
	var changes []Change
	switch fsdb.TrashKind(e.Kind) {
	case fsdb.TrashFile:
		kind = FilePurged
	case fsdb.TrashFileset:
		kind = FilesetPurged
	case fsdb.TrashTimelapse:
		changes = append(changes, Change{Kind: TimelapsePurged, Timelapse: e.Timelapse})
	case fsdb.TrashScan:
	}
	for i, name := range e.Scans {
		changes = append(changes, Change{Kind: kind, Scan: name, Timelapse: e.Timelapse, Fileset: e.Fileset, File: e.File, ScanID: e.scanIDs[i]})
	}
	return changes
}

// gone returns nil for an entry that the tree does not have any more.
func gone(err error) error {
	if errors.Is(err, fsdb.ErrTrashGone) {
		return nil
	}
	return err
}

// names are those to lock for a change of the entry: what the call that deleted
// it held.
func (e TrashEntry) names() []string {
	if e.Kind == string(fsdb.TrashScan) {
		return within(e.Timelapse, e.Scan)
	}
	return []string{e.name()}
}

func (s *Service) insertTrash(ctx context.Context, tx pgx.Tx, e fsdb.Trashed) error {
	id, err := uuid.Parse(e.ID)
	if err != nil {
		return fmt.Errorf("index trash entry %q: %w", e.ID, err)
	}
	arg := db.InsertTrashParams{
		ID: id, Kind: string(e.Kind), Timelapse: e.Timelapse, Scan: e.Scan, Fileset: e.Fileset, File: e.File,
		DeletedBy: cleanText(e.DeletedBy), DeletedAt: e.DeletedAt,
		Scans: []string{}, ScanIds: []uuid.UUID{}, Owners: []string{}, FileCounts: []int32{}, ByteCounts: []int64{},
	}
	if e.Owner != nil {
		arg.Owner = cleanOwner(*e.Owner)
	}
	for _, c := range e.Contents {
		owner := ""
		if c.Owner != nil {
			owner = textOf(cleanOwner(*c.Owner))
		}
		arg.Scans, arg.Owners = append(arg.Scans, cleanText(c.Scan)), append(arg.Owners, owner)
		arg.ScanIds = append(arg.ScanIds, idOf(c))
		arg.FileCounts, arg.ByteCounts = append(arg.FileCounts, c.Files), append(arg.ByteCounts, c.Bytes)
	}
	if err := s.q.InsertTrash(ctx, tx, arg); err != nil {
		return fmt.Errorf("index trash entry %s: %w", e.ID, err)
	}
	return nil
}

// trashAndIndex returns the entries on disk, the oldest first, and which ids
// the index has.
func (s *Service) trashAndIndex(ctx context.Context, tx db.DBTX) ([]fsdb.Trashed, map[string]bool, error) {
	entries, damaged, err := s.tree.TrashEntries(ctx)
	if err != nil {
		return nil, nil, err
	}
	s.warnOfTrash(ctx, damaged)
	known, err := s.indexedTrash(ctx, tx)
	return entries, known, err
}

func (s *Service) warnOfTrash(ctx context.Context, damaged []string) {
	for _, id := range damaged {
		s.warn(ctx, "trash/"+id, "the entry of the trash cannot be read and is left as it is", nil)
	}
}

// indexedTrash returns which ids the index has.
func (s *Service) indexedTrash(ctx context.Context, tx db.DBTX) (map[string]bool, error) {
	ids, err := s.q.ListTrashIDs(ctx, tx)
	if err != nil {
		return nil, fmt.Errorf("list the index of the trash: %w", err)
	}
	known := make(map[string]bool, len(ids))
	for _, id := range ids {
		known[id.String()] = true
	}
	return known, nil
}

// KeepTrash finishes or undoes deletions and restorations that were cut short,
// makes the index of the trash say what the tree says, and purges what was
// deleted longer ago than the retention; purged says how many entries. It is
// the server's own work: ErrForbidden for anybody else. Several servers may do
// it at once.
func (s *Service) KeepTrash(ctx context.Context) (purged int, err error) {
	a, err := acting(ctx)
	if err != nil {
		return 0, err
	}
	if !may(a, opKeepTrash, Access{}) {
		return 0, forbidden(a, opKeepTrash)
	}
	if err := s.settleAllTrash(ctx); err != nil {
		return 0, err
	}
	return s.purgeExpired(ctx)
}

// settleAllTrash finishes or undoes deletions and restorations that were cut short,
// and makes the index of the trash say what the tree says. What somebody is at is
// left to him.
func (s *Service) settleAllTrash(ctx context.Context) error {
	known, err := s.indexedTrash(ctx, s.pool)
	if err != nil {
		return err
	}
	odd, damaged, lost, err := s.tree.OddTrash(ctx, known)
	if err != nil {
		return err
	}
	s.warnOfTrash(ctx, damaged)
	for _, e := range odd {
		if err := s.settleTrash(ctx, e); err != nil && !errors.Is(err, ErrBusy) {
			return err
		}
	}
	for _, id := range lost {
		if err := s.forgetTrash(ctx, id); err != nil && !errors.Is(err, ErrBusy) {
			return err
		}
	}
	return nil
}

// settleTrash brings one entry and its row together.
func (s *Service) settleTrash(ctx context.Context, e fsdb.Trashed) error {
	return s.locked(ctx, opPurge, func(ctx context.Context, tx *writing) error {
		removed, err := s.tree.SettleTrash(ctx, e.ID)
		if err != nil {
			return fmt.Errorf("settle trash entry %s: %w", e.ID, err)
		}
		id, err := uuid.Parse(e.ID)
		if err != nil {
			s.warn(ctx, "trash/"+e.ID, "it is no entry of the trash", nil)
			return nil
		}
		_, err = s.q.GetTrash(ctx, tx, id)
		known := err == nil
		if err := notFound(err, nil, "find trash entry %s", id); !known && err != nil {
			return err
		}
		switch {
		case removed && known:
			_, err = s.q.DeleteTrash(ctx, tx, id)
		case !removed && !known:
			s.log.InfoContext(ctx, "trash entry indexed", slog.String("id", e.ID), slog.String("kind", string(e.Kind)), slog.String("scan", e.Scan))
			err = s.insertTrash(ctx, tx, e)
		default:
			err = nil
		}
		return err
	}, s.trashEntryOf(e).names()...)
}

// forgetTrash removes the row of an entry that the tree does not have.
func (s *Service) forgetTrash(ctx context.Context, id string) error {
	key, err := uuid.Parse(id)
	if err != nil {
		return fmt.Errorf("forget trash entry %q: %w", id, err)
	}
	r, err := s.q.GetTrash(ctx, s.pool, key)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find trash entry %s: %w", id, err)
	}
	names := s.trashEntry(r.Trash, nil, nil, nil, 0, 0).names()
	return s.lockedRows(ctx, func(tx pgx.Tx) error {
		if _, err := s.tree.TrashEntry(id); !errors.Is(err, fsdb.ErrTrashGone) {
			return nil // it came back, or cannot be read now
		}
		_, err := s.q.DeleteTrash(ctx, tx, key)
		return err
	}, names...)
}

// purgeBatch bounds what one round of KeepTrash purges.
const purgeBatch = 500

func (s *Service) purgeExpired(ctx context.Context) (purged int, err error) {
	if s.config.TrashRetention <= 0 {
		return 0, nil
	}
	until, err := s.lookAtClock(ctx, clockTrash, s.config.TrashRetention)
	if err != nil {
		return 0, err
	}
	ids, err := s.q.ListExpiredTrash(ctx, s.pool, until.Add(-s.config.TrashRetention), purgeBatch)
	if err != nil {
		return 0, fmt.Errorf("list what is to be purged: %w", err)
	}
	for _, id := range ids {
		err := s.Purge(ctx, id)
		switch {
		case errors.Is(err, ErrUnknownTrash), errors.Is(err, ErrBusy): // another server's, or in use
		case err != nil:
			return purged, err
		default:
			purged++
		}
	}
	return purged, nil
}

// keepTrashArgs ask for a round of KeepTrash.
type keepTrashArgs struct{}

// Kind implements jobs.Args.
func (keepTrashArgs) Kind() string { return "keep_trash" }

// InsertOpts has one round at a time over all servers.
func (keepTrashArgs) InsertOpts() jobs.InsertOpts {
	return jobs.InsertOpts{Queue: jobs.Background, UniqueOpts: jobs.UniqueOpts{ByArgs: true, ByState: jobs.Unfinished}}
}

// TrashKeeper does KeepTrash at every start and every ten minutes.
func (s *Service) TrashKeeper() jobs.Worker {
	return jobs.Work(func(ctx context.Context, _ *jobs.Job[keepTrashArgs]) error {
		purged, err := s.KeepTrash(actor.NewContext(ctx, actor.System()))
		if purged > 0 {
			s.log.InfoContext(ctx, "purged the trash", slog.Int("entries", purged))
		}
		return err
	}, jobs.Bounds{Timeout: 5 * time.Minute, Every: 10 * time.Minute})
}
