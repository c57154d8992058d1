package fsdb

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// Fold makes files.json list what the scan's journal holds, and removes the
// journal, all of it durably; without a journal it does nothing. Readers of
// this package find the same before and after, Python programs find all of it
// after. The caller holds the scan against writers. ErrNotFound if there is no
// such scan, ErrBroken if its files.json cannot be read: then the journal stays.
func (t *Tree) Fold(ctx context.Context, loc Loc) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	there, err := t.Pending(loc)
	if err != nil || !there {
		return err
	}
	return wrap("fold the journal of", loc.Dir(), t.fold(ctx, loc))
}

// sweepJournals removes journals that can never be folded: of scans that are not
// there, and such as were torn before they said of which scan they are.
func (t *Tree) sweepJournals(ctx context.Context, before time.Time) (removed int, err error) {
	journals, err := t.Journals(ctx)
	if err != nil {
		return 0, err
	}
	for _, j := range journals {
		torn := j.Scan == "" && !j.Newer
		if j.Modified.After(before) || !torn && (j.Newer || !errors.Is(t.requireDir(j.Dir()), ErrNotFound)) {
			continue
		}
		if err := t.disk.removeAll(journalDir + "/" + j.Name); err != nil {
			return removed, wrap("sweep", journalDir, err)
		}
		removed++
	}
	return removed, nil
}

// fold lists what the scan's journal holds, and removes it.
func (t *Tree) fold(ctx context.Context, loc Loc) error {
	dir, err := t.openScan(loc)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // only read
	journal, err := t.fileState(journalFile(loc))
	if err != nil {
		return err
	}
	j, err := t.journalOf(loc)
	if err != nil || j == nil {
		return err
	}
	l := t.ledgers.take(loc)
	current := l != nil && l.stillIs(t)
	var valid, unplaced []Added
	attempts := 0
	err = t.rewriteIndex(ctx, loc, rewrite{
		change: func(x *index) (changed bool, err error) {
			attempts++
			valid, changed = x.apply(j, dir)
			unplaced = j.unplaced(x)
			return changed, nil
		},
		before: func() error { return t.settleAdded(loc, dir, valid) },
	})
	if err == nil {
		err = t.clearUnplaced(loc, dir, unplaced)
	}
	if err == nil {
		err = t.dropFolded(loc, journal)
	}
	if err != nil {
		return err
	}
	// The ledger knows what is listed, unless another program had a say.
	if current && attempts == 1 && l.look(t) == nil {
		t.ledgers.put(l)
	}
	return nil
}

// clearUnplaced removes the metadata of files that never had their names: what
// says just what the journal does, or the beginning of it.
func (t *Tree) clearUnplaced(loc Loc, dir *os.Root, unplaced []Added) error {
	for _, a := range unplaced {
		document, bad := meta.Sorted(a.Metadata)
		data, err := readFile(dir, a.metadataFile(), meta.MaxBytes)
		if exhausted(err) {
			return err
		}
		if err != nil || bad != nil || !bytes.HasPrefix(document, data) {
			continue
		}
		if err := t.disk.removeAll(loc.Dir() + "/" + a.metadataFile()); err != nil {
			return err
		}
	}
	return nil
}

// settleAdded makes durable what the journal stood for.
func (t *Tree) settleAdded(loc Loc, dir *os.Root, valid []Added) error {
	err := together(len(valid), func(i int) error { return t.settleMetadata(loc, dir, valid[i]) })
	if err != nil {
		return err
	}
	return t.syncDirs(foldedDirs(loc, valid)...)
}

// foldedDirs are the directories whose entries files.json will refer to.
func foldedDirs(loc Loc, valid []Added) []string {
	var dirs []string
	for _, a := range valid {
		set, metadata := loc.Dir()+"/"+a.Fileset, loc.Dir()+"/"+path.Dir(a.metadataFile())
		for _, dir := range []string{set, metadata} {
			if !slices.Contains(dirs, dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	if len(dirs) == 0 {
		return nil
	}
	if metadata := loc.Dir() + "/" + metadataDir; !slices.Contains(dirs, metadata) {
		dirs = append(dirs, metadata)
	}
	return dirs
}

// settleMetadata makes the metadata file of what was added durable. A power cut
// may have taken it, or what is in it: then it is written anew.
func (t *Tree) settleMetadata(loc Loc, dir *os.Root, a Added) error {
	name := a.metadataFile()
	data, err := readFile(dir, name, meta.MaxBytes)
	switch {
	case err == nil:
		if _, _, err := meta.Read(data); err == nil {
			return t.disk.syncFile(loc.Dir() + "/" + name)
		}
	case errors.Is(err, fs.ErrNotExist):
	default:
		return err
	}
	document, err := meta.Sorted(a.Metadata)
	if err != nil {
		return err
	}
	if err := t.ensureDir(loc.Dir()+"/"+path.Dir(name), dirPerm); err != nil {
		return err
	}
	staged, err := t.stageBytes(document)
	if err != nil {
		return err
	}
	if err := t.disk.rename(staged, loc.Dir()+"/"+name); err != nil {
		t.discard(staged)
		return err
	}
	return nil // its directory is synced with the others
}
