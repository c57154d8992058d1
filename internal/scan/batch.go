package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// What a line of a batch may do.
const (
	BatchMetadata   = "metadata"   // set keys, or with Replace all
	BatchTag        = "tag"        // add to the list under the key tags
	BatchUntag      = "untag"      // take out of it
	BatchDelete     = "delete"     // into the trash
	BatchShare      = "share"      // with these groups and no others
	BatchVisibility = "visibility" // public or private
)

// BatchOp is a line of a batch.
type BatchOp struct {
	Op, Scan string
	Metadata json.RawMessage
	Replace  bool
	Tags     []string
	Groups   []string
	// Visibility is Public or Private.
	Visibility string
	// Err is why the line could not be read; it is its result.
	Err error
}

// operation is what policy calls it.
func (o BatchOp) operation() string {
	switch o.Op {
	case BatchDelete:
		return opDeleteScan
	case BatchShare:
		return opSetSharing
	case BatchVisibility:
		return opSetVisibility
	}
	return opSetMetadata
}

// BatchResult is what became of a line: Err is nil exactly if it was done.
type BatchResult struct {
	Err error
	// Trash is where a deleted scan is now.
	Trash *TrashEntry
}

const (
	// MaxBatch bounds the lines of a batch.
	MaxBatch = 500
	maxTags  = 100
	maxTag   = 64
)

// batch is one that is being done.
type batch struct {
	id     uuid.UUID
	ops    []BatchOp
	done   []BatchResult
	groups []json.RawMessage // of each line that shares
	trash  []uuid.UUID       // of each line that deletes
	where  map[string]string // the timelapse of each scan
}

// fail gives a line its failure, if it is one that the caller may see.
func (b *batch) fail(i int, err error) error {
	if f, ok := errors.AsType[*fault.Error](err); !ok || f.Kind == fault.Internal {
		return err
	}
	b.done[i].Err = err
	return nil
}

// failed gives the lines that have no failure of their own ErrNotDone, if one has.
func (b *batch) failed() bool {
	if !slices.ContainsFunc(b.done, func(r BatchResult) bool { return r.Err != nil }) {
		return false
	}
	for i := range b.done {
		b.done[i].Trash = nil
		if b.done[i].Err == nil {
			b.done[i].Err = ErrNotDone
		}
	}
	return true
}

// Batch does all lines, in order, or none of them: in one transaction, with every
// scan held from the first to the last. Each line needs the permission that the
// call for it alone needs. It returns a result for each line; if one failed,
// the error is ErrBatch, nothing was done, and the others' is ErrNotDone. After
// a crash the next start, or whoever next changes one of the scans, undoes what
// was not committed. Other errors: ErrNoActor, ErrBatchTooLarge, ErrBusy, and those of the
// disk; then nothing was done, or will be undone, unless the commit was lost on its way.
func (s *Service) Batch(ctx context.Context, ops []BatchOp) ([]BatchResult, error) {
	a, err := acting(ctx)
	if err != nil {
		return nil, err
	}
	if a.Guest {
		return nil, ErrNoActor
	}
	if len(ops) > MaxBatch {
		return nil, ErrBatchTooLarge
	}
	b := &batch{
		id: newID(), ops: ops, done: make([]BatchResult, len(ops)), groups: make([]json.RawMessage, len(ops)), trash: make([]uuid.UUID, len(ops)),
		where: map[string]string{},
	}
	// All that can be said before anybody waits or anything is written.
	for i := range ops {
		if err := s.checkLine(ctx, b, i); err != nil {
			return nil, err
		}
	}
	if b.failed() {
		return b.done, ErrBatch
	}
	if len(ops) == 0 {
		return b.done, nil
	}
	err = s.locked(ctx, opBatch, func(ctx context.Context, tx *writing) error { return s.doBatch(ctx, tx, a, b) }, b.names()...)
	if err == nil {
		s.step("committed")
		s.endBatch(ctx, b.id)
		return b.done, nil
	}
	// Where the commit failed, the tree is ahead of it.
	if settle := s.SettleBatches(actor.NewContext(context.WithoutCancel(ctx), actor.System())); settle != nil {
		s.log.ErrorContext(ctx, "batch not undone yet", slog.String("batch", b.id.String()), slog.Any("err", settle))
	}
	if errors.Is(err, ErrBatch) {
		return b.done, err
	}
	return nil, err
}

// names are those to hold, in order.
func (b *batch) names() []string {
	var names []string
	for i, o := range b.ops {
		names = append(names, o.Scan)
		if t := b.where[o.Scan]; t != "" && o.Op == BatchDelete {
			names = append(names, t)
		}
		b.trash[i] = newID()
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// parts are what the batch may change.
func (b *batch) parts() []fsdb.BatchPart {
	byName := map[string]fsdb.BatchPart{}
	for i, o := range b.ops {
		p := fsdb.BatchPart{Timelapse: b.where[o.Scan], Scan: o.Scan, Trash: byName[o.Scan].Trash}
		if o.Op == BatchDelete {
			p.Trash = b.trash[i].String()
			if p.Timelapse != "" {
				byName[p.Timelapse] = fsdb.BatchPart{Timelapse: p.Timelapse}
			}
		}
		byName[o.Scan] = p
	}
	parts := make([]fsdb.BatchPart, 0, len(byName))
	for _, p := range byName {
		parts = append(parts, p)
	}
	return parts
}

// checkLine says what is wrong with a line without doing anything.
func (s *Service) checkLine(ctx context.Context, b *batch, i int) (err error) {
	o := b.ops[i]
	if o.Err != nil {
		return b.fail(i, o.Err)
	}
	r, _, err := s.open(ctx, s.pool, o.Scan, o.operation())
	if err != nil {
		return b.fail(i, err)
	}
	b.where[o.Scan] = r.timelapse
	if slices.ContainsFunc(b.ops[:i], func(before BatchOp) bool { return before.Op == BatchDelete && before.Scan == o.Scan }) {
		return b.fail(i, unknownScan(o.Scan)) // it is gone by then
	}
	switch o.Op {
	case BatchMetadata:
		if _, err = meta.Object(o.Metadata); err != nil {
			err = badMetadata(err)
		} else {
			err = CheckBiology(o.Metadata)
		}
	case BatchTag, BatchUntag:
		if err = checkTags(o.Tags); len(o.Tags) == 0 {
			err = ErrTags
		}
	case BatchShare:
		b.groups[i], err = s.existing(ctx, s.pool, o.Groups)
	case BatchVisibility:
		if o.Visibility != Public && o.Visibility != Private {
			err = errVisibility
		}
	case BatchDelete:
	default:
		err = ErrBatchLine
	}
	if err != nil {
		return b.fail(i, err)
	}
	return nil
}

// doBatch does all lines, or undoes what was done.
func (s *Service) doBatch(ctx context.Context, tx pgx.Tx, a actor.Actor, b *batch) error {
	for i := range b.done {
		b.done[i] = BatchResult{}
	}
	if err := s.tree.BeginBatch(ctx, b.id.String(), b.parts()); err != nil {
		return err
	}
	s.step("begun")
	err := s.doLines(ctx, &writing{Tx: tx}, a, b) // the batch has an undo of its own, for crashes too
	if err == nil {
		if err = s.q.InsertBatch(ctx, tx, b.id); err == nil {
			s.step("done")
			return nil
		}
		err = fmt.Errorf("record batch %s: %w", b.id, err)
	}
	// The names are still held.
	undo := context.WithoutCancel(ctx)
	for _, p := range b.parts() {
		if failed := s.tree.UndoBatch(undo, b.id.String(), p.Name()); failed != nil {
			s.log.ErrorContext(ctx, "batch not undone yet", slog.String("batch", b.id.String()), slog.Any("err", failed))
		}
	}
	return err
}

func (s *Service) doLines(ctx context.Context, tx *writing, a actor.Actor, b *batch) error {
	for i, o := range b.ops {
		r, _, err := s.open(ctx, tx, o.Scan, o.operation())
		if err == nil && r.timelapse != b.where[o.Scan] {
			err = ErrBusy.With("Scan %s is being moved, try again", o.Scan)
		}
		if err == nil {
			err = s.doLine(ctx, tx, a, b, i, r)
		}
		if err != nil {
			if err := b.fail(i, err); err != nil {
				return err
			}
		}
		if b.failed() {
			return ErrBatch
		}
		s.step(fmt.Sprintf("line %d", i))
	}
	return nil
}

func (s *Service) doLine(ctx context.Context, tx *writing, a actor.Actor, b *batch, i int, r row) error {
	o := b.ops[i]
	var c Change
	var err error
	switch o.Op {
	case BatchMetadata:
		_, err = s.setMetadata(ctx, tx, r, func(json.RawMessage) (Update, error) {
			return Update{Metadata: o.Metadata, Replace: o.Replace}, nil
		})
		return err
	case BatchTag, BatchUntag:
		_, err = s.setMetadata(ctx, tx, r, func(old json.RawMessage) (Update, error) { return tagged(old, o) })
		return err
	case BatchDelete:
		e, verdict, err := s.deleteScan(ctx, tx, a, r, b.trash[i])
		if err == nil {
			err = verdict
		}
		entry := s.trashEntryOf(e)
		b.done[i].Trash = &entry
		return err
	case BatchShare:
		c, err = s.setSharing(ctx, tx, r, o.Groups, b.groups[i])
	default:
		c, err = s.setVisibility(ctx, tx, r, o.Visibility)
	}
	if err != nil {
		return err
	}
	return s.accessChanged(ctx, tx, a, r, c)
}

func checkTags(tags []string) error {
	if len(tags) > maxTags {
		return ErrTags
	}
	for _, t := range tags {
		if t == "" || len(t) > maxTag || !utf8.ValidString(t) || slices.ContainsFunc([]rune(t), unicode.IsControl) {
			return ErrTags
		}
	}
	return nil
}

// tagged is the change of metadata that adds tags, or takes them out.
func tagged(old json.RawMessage, o BatchOp) (Update, error) {
	tags, err := tagsOf(o.Scan, old)
	if err != nil {
		return Update{}, err
	}
	if o.Op == BatchTag {
		tags, err = changedTags(tags, o.Tags, nil)
	} else {
		tags, err = changedTags(tags, nil, o.Tags)
	}
	if err != nil {
		return Update{}, err
	}
	return tagsUpdate(tags)
}

func (s *Service) step(name string) {
	if s.atStep != nil {
		s.atStep(name)
	}
}

// endBatch forgets a batch that was committed; if it cannot be now, whoever
// comes next does it.
func (s *Service) endBatch(ctx context.Context, id uuid.UUID) {
	if err := s.tree.EndBatch(id.String()); err != nil {
		s.log.WarnContext(ctx, "batch not forgotten yet", slog.String("batch", id.String()), slog.Any("err", err))
	}
}

// settleBatches undoes, or forgets, what batches that were cut short left of
// names that the caller holds.
func (s *Service) settleBatches(ctx context.Context, tx db.DBTX, names []string) error {
	ids, err := s.tree.Batches()
	if err != nil {
		return err
	}
	for _, text := range ids {
		id, err := uuid.Parse(text)
		if err != nil {
			continue // none of ours
		}
		for _, name := range names {
			has, err := s.tree.HasBatchPart(text, name)
			if err != nil {
				return fmt.Errorf("look into batch %s: %w", text, err)
			}
			if !has {
				continue
			}
			if err := s.settlePart(ctx, tx, id, text, name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Service) settlePart(ctx context.Context, tx db.DBTX, id uuid.UUID, text, name string) error {
	committed, err := s.q.BatchCommitted(ctx, tx, id)
	if err != nil {
		return fmt.Errorf("ask for batch %s: %w", id, err)
	}
	if committed {
		return s.tree.DropBatch(text, name)
	}
	if err := s.tree.UndoBatch(ctx, text, name); err != nil {
		return err
	}
	s.log.WarnContext(ctx, "undid what a batch left that was cut short", slog.String("batch", text), slog.String("scan", name))
	return nil
}

// keepBatches is how long it is known that a batch was committed, once nothing is
// left of it on the disk.
const keepBatches = 24 * time.Hour

// SettleBatches undoes or forgets what crashes left of batches, on any server, but for
// those that are being done. It is the server's own work: ErrForbidden for
// anybody else.
func (s *Service) SettleBatches(ctx context.Context) error {
	a, err := acting(ctx)
	if err != nil {
		return err
	}
	if !may(a, opBatch, Access{}) {
		return forbidden(a, opBatch)
	}
	ids, err := s.tree.Batches()
	if err != nil {
		return err
	}
	standing := []uuid.UUID{}
	var all error
	for _, text := range ids {
		id, err := uuid.Parse(text)
		if err != nil {
			continue // none of ours
		}
		standing = append(standing, id)
		parts, err := s.tree.BatchParts(text)
		if err == nil && len(parts) == 0 {
			err = s.tree.EndBatch(text) // the end of it was cut short
		}
		all = errors.Join(all, err)
		for _, p := range parts {
			// To hold the name is all: see hold.
			err := s.still(ctx, opBatch, func(pgx.Tx) error { return nil }, p.Name())
			if err != nil && !errors.Is(err, ErrBusy) {
				all = errors.Join(all, err)
			}
		}
	}
	if _, err := s.q.ForgetBatches(ctx, s.pool, s.now().Add(-keepBatches), standing); err != nil {
		all = errors.Join(all, fmt.Errorf("forget batches: %w", err))
	}
	return all
}
