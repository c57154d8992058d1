package fsdb

import (
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
	_, err = t.foldedIndex(loc)
	return wrap("fold the journal of", loc.Dir(), err)
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

// foldedIndex is openIndex for who is about to write files.json: it folds
// first, so that a journal never says again what was changed since.
func (t *Tree) foldedIndex(loc Loc) (*index, error) {
	dir, err := t.openScan(loc)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // only read
	for range foldAttempts {
		x, err := t.foldOnce(loc, dir)
		if !errors.Is(err, errRewritten) {
			return x, err
		}
	}
	return nil, ErrLocked.Because(errRewritten)
}

// foldAttempts bounds how often a fold begins anew because a Python program
// wrote files.json meanwhile.
const foldAttempts = 20

var errRewritten = errors.New("another program writes files.json")

func (t *Tree) foldOnce(loc Loc, dir *os.Root) (*index, error) {
	j, err := t.journalOf(loc)
	if err != nil {
		return nil, err
	}
	was, err := t.fileState(loc.Dir() + "/" + indexFile)
	if err != nil {
		return nil, err
	}
	x, err := readIndex(dir)
	if err != nil || j == nil {
		return x, err
	}
	l := t.ledgers.take(loc)
	current := l != nil && l.stillIs(t)
	valid, changed := x.apply(j, dir)
	if err := t.foldInto(loc, dir, x, valid, changed, was); err != nil {
		return nil, err
	}
	if current && l.look(t) == nil {
		t.ledgers.put(l)
	}
	return x, nil
}

// foldInto makes durable what the journal stood for, then files.json, and
// removes the journal then. errRewritten if files.json is no longer what was
// read: upstream's locks of files exclude nobody who holds the fileset or scan, and
// what they wrote while we synced must not be undone.
func (t *Tree) foldInto(loc Loc, dir *os.Root, x *index, valid []Added, changed bool, was fileState) error {
	staged := ""
	err := together(len(valid)+1, func(i int) (err error) {
		if i < len(valid) {
			return t.settleMetadata(loc, dir, valid[i])
		}
		if !changed {
			return nil
		}
		document, err := x.bytes()
		if err == nil {
			staged, err = t.stageBytes(document)
		}
		return err
	})
	if err == nil {
		err = t.syncDirs(foldedDirs(loc, valid)...)
	}
	if err == nil && changed {
		var now fileState
		if now, err = t.fileState(loc.Dir() + "/" + indexFile); err == nil && now != was {
			err = errRewritten
		}
	}
	if err == nil && changed {
		err = t.disk.rename(staged, loc.Dir()+"/"+indexFile)
	}
	if err != nil {
		if staged != "" {
			t.discard(staged)
		}
		return err
	}
	// Also if it lists all of it already: it may not be durable yet.
	if err := t.disk.syncDir(loc.Dir()); err != nil {
		return err
	}
	return t.dropJournal(loc)
}

// foldedDirs are the directories whose entries files.json will refer to.
func foldedDirs(loc Loc, valid []Added) []string {
	var dirs []string
	for _, a := range valid {
		set, metadata := loc.Dir()+"/"+a.Fileset, loc.Dir()+"/"+path.Dir(fileMetadata(a.Fileset, a.ID))
		if !slices.Contains(dirs, set) {
			dirs = append(dirs, set, metadata)
		}
	}
	if len(dirs) == 0 {
		return nil
	}
	return append(dirs, loc.Dir()+"/"+metadataDir)
}

// settleMetadata makes the metadata file of an added file durable. A power cut
// may have taken it, or what is in it: then it is written anew.
func (t *Tree) settleMetadata(loc Loc, dir *os.Root, a Added) error {
	name := fileMetadata(a.Fileset, a.ID)
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
