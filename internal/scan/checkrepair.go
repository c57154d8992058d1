package scan

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/fsdb"
)

// mend does in the tree what cannot lose anything, and notes it in the findings.
// The caller holds the scan.
func (c *checker) mend(ctx context.Context, e fsdb.Entry, findings []Finding) error {
	extra := map[string][]string{} // by fileset
	for _, f := range findings {
		if f.Kind == FindingKind(fsdb.ExtraFile) {
			extra[f.Fileset] = append(extra[f.Fileset], path.Base(f.Path))
		}
	}
	for fileset, names := range extra {
		added, err := c.tree.ListExtra(ctx, e.Loc, fileset, names)
		if err != nil {
			return err
		}
		for i, f := range findings {
			if f.Kind == FindingKind(fsdb.ExtraFile) && f.Fileset == fileset && slices.Contains(added, path.Base(f.Path)) {
				findings[i].Repaired = "listed in files.json"
			}
		}
	}
	for i, f := range findings {
		if f.Kind != FindingKind(fsdb.OrphanMetadata) {
			continue
		}
		to, err := c.tree.Quarantine(ctx, e.Loc, strings.TrimPrefix(f.Path, e.Loc.Dir()+"/"))
		if errors.Is(err, fsdb.ErrNotFound) {
			continue // it went with another
		}
		if err != nil {
			return err
		}
		findings[i].Repaired = "moved to " + to
	}
	return nil
}

// ofTheIndex says whether it is the index that is wrong.
func (f Finding) ofTheIndex() bool {
	switch f.Kind {
	case ScanWithoutRow, FileWithoutRow, RowWithoutFile, SizeDiffers, NotIndexed:
		return true
	default:
		return false
	}
}

// reindex makes the index say what the tree says, where it does not.
func (c *checker) reindex(ctx context.Context, e fsdb.Entry, findings []Finding) error {
	wrong := false
	for _, f := range findings {
		wrong = wrong || f.ofTheIndex() || f.Repaired != ""
	}
	if !wrong {
		return nil
	}
	if e.Loc.Timelapse != "" {
		if err := c.indexTimelapse(ctx, e.Loc.Timelapse, indexedBefore); err != nil {
			return err
		}
	}
	if _, err := c.index(ctx, e, indexedBefore); err != nil {
		return err
	}
	for i, f := range findings {
		if f.ofTheIndex() {
			findings[i].Repaired = "indexed again"
		}
	}
	return nil
}

// lost reports scans that the index has and the tree does not.
func (c *checker) lost(ctx context.Context, list *fsdb.Listing) error {
	for r, err := range c.signatures("").all(ctx) {
		// Also those before After: whoever was cut short had not come here yet.
		if err == nil && (len(c.only) == 0 || c.only[r.Name]) && !list.Has(r.Name) {
			err = c.lostOne(ctx, fsdb.Loc{Timelapse: r.Timelapse, Scan: r.Name})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) lostOne(ctx context.Context, at fsdb.Loc) error {
	name := at.Scan
	gone := false
	err := c.lockedRows(ctx, func(tx pgx.Tx) error {
		found, err := c.scan(ctx, tx, name)
		if errors.Is(err, ErrUnknownScan) {
			return nil
		}
		if err != nil {
			return err
		}
		at = found.loc()
		present, err := c.present(ctx, at)
		gone = !present
		return err
	}, name)
	if errors.Is(err, ErrBusy) {
		return c.notChecked(fsdb.Entry{Loc: at})
	}
	if err != nil || !gone {
		return err
	}
	f := Finding{Kind: RowWithoutScan, Scan: name, Path: at.Dir(), Detail: "the index has it, the tree does not"}
	if c.o.Repair {
		switch _, err := c.forget(ctx, name); {
		case err == nil:
			f.Repaired = "forgotten by the index"
		case !errors.Is(err, ErrBusy): // it stays wrong
			return err
		}
	}
	return c.report(f)
}

// notChecked reports a scan of which nobody can say how it is.
func (c *checker) notChecked(e fsdb.Entry) error {
	return c.report(c.finding(e, NotChecked, "", "", "somebody held it all the time; something may be wrong with it"))
}

// leftovers looks at what is ours: the trash and the staging directory.
func (c *checker) leftovers(ctx context.Context) error {
	if err := c.trash(ctx); err != nil {
		return err
	}
	left, err := c.tree.Staged(ctx, stagingAge)
	if err != nil || len(left) == 0 {
		return err
	}
	done := ""
	if c.o.Repair {
		if _, err := c.tree.Sweep(ctx, stagingAge); err != nil {
			return err
		}
		done = "removed"
	}
	for _, l := range left {
		if err := c.report(Finding{Kind: StagingLeftover, Path: l.Path, Detail: l.Detail, Note: true, Repaired: done}); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) trash(ctx context.Context) error {
	entries, damaged, err := c.tree.TrashEntries(ctx)
	if err != nil {
		return err
	}
	ids, err := c.q.ListTrashIDs(ctx, c.pool)
	if err != nil {
		return fmt.Errorf("list the index of the trash: %w", err)
	}
	known := make(map[string]bool, len(ids))
	for _, id := range ids {
		known[id.String()] = true
	}
	for _, id := range damaged {
		delete(known, id)
		if err := c.report(Finding{Kind: TrashDamaged, Path: ".plantdb/trash/" + id, Detail: "it cannot be read; it is left as it is"}); err != nil {
			return err
		}
	}
	for _, e := range entries {
		sound := known[e.ID] && !e.Pending
		delete(known, e.ID)
		if sound {
			continue
		}
		if err := c.unsettled(ctx, e.ID, c.trashEntryOf(e).names(), func() error { return c.settleTrash(ctx, e) }); err != nil {
			return err
		}
	}
	for id := range known {
		r, err := c.q.GetTrash(ctx, c.pool, uuid.MustParse(id))
		if errors.Is(err, pgx.ErrNoRows) {
			continue
		}
		if err != nil {
			return fmt.Errorf("find trash entry %s: %w", id, err)
		}
		names := c.trashEntry(r.Trash, nil, nil, nil, 0, 0).names()
		if err := c.unsettled(ctx, id, names, func() error { return c.forgetTrash(ctx, id) }); err != nil {
			return err
		}
	}
	return nil
}

// unsettled reports an entry of the trash, if nobody is busy with it.
func (c *checker) unsettled(ctx context.Context, id string, names []string, settle func() error) error {
	var detail string
	err := c.lockedRows(ctx, func(tx pgx.Tx) error {
		detail = ""
		e, err := c.tree.TrashEntry(id)
		lost := errors.Is(err, fsdb.ErrTrashGone)
		if err != nil && !lost {
			return err
		}
		known := false
		if key, bad := uuid.Parse(id); bad == nil {
			_, err = c.q.GetTrash(ctx, tx, key)
			known = err == nil
			if err := notFound(err, nil, "find trash entry %s", id); !known && err != nil {
				return err
			}
		}
		switch {
		case lost && known:
			detail = "the index has it, the trash does not"
		case !lost && e.Pending:
			detail = "a deletion or restoration was cut short"
		case !lost && !known:
			detail = "the index does not know it"
		}
		return nil
	}, names...)
	if errors.Is(err, ErrBusy) || err == nil && detail == "" {
		return nil // somebody is at it
	}
	if err != nil {
		return err
	}
	f := Finding{Kind: TrashUnsettled, Path: ".plantdb/trash/" + id, Detail: detail}
	if c.o.Repair {
		switch err := settle(); {
		case err == nil:
			f.Repaired = "settled"
		case !errors.Is(err, ErrBusy): // it stays wrong
			return err
		}
	}
	return c.report(f)
}

// previews looks at the previews that no file claimed.
func (c *checker) previews(ctx context.Context) error {
	stale, damaged, size, err := c.o.Previews.Left(ctx, c.o.Digests)
	if err != nil {
		return err
	}
	for _, left := range []struct {
		kind  FindingKind
		names []string
		said  string
	}{
		{StalePreview, stale, fmt.Sprintf("%d previews of files that are not there any more, or of unusual sizes, %d bytes", len(stale), size)},
		{DamagedPreview, damaged, fmt.Sprintf("%d previews that are damaged; they are made again when somebody asks", len(damaged))},
	} {
		if len(left.names) == 0 {
			continue
		}
		f := Finding{Kind: left.kind, Path: ".plantdb/cache/previews", Detail: left.said, Note: true}
		if c.o.Repair {
			if err := c.o.Previews.Remove(left.names); err != nil {
				return err
			}
			f.Repaired = "removed"
		}
		if err := c.report(f); err != nil {
			return err
		}
	}
	return nil
}
