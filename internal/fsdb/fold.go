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
// there, and such as were torn before they said of which scan they are. told says
// what of the staging directory those that there were may tell of.
func (t *Tree) sweepJournals(ctx context.Context, before time.Time) (removed int, told func(staged string) bool, err error) {
	journals, err := t.Journals(ctx)
	if err != nil {
		return 0, nil, err
	}
	names, newer := map[string]bool{}, false
	told = func(staged string) bool { return newer || names[staged] }
	for _, j := range journals {
		newer = newer || j.Newer
		for _, a := range j.Files {
			names[a.Staged] = true
		}
		torn := j.Scan == "" && !j.Newer
		if j.Modified.After(before) || !torn && (j.Newer || !errors.Is(t.requireDir(j.Dir()), ErrNotFound)) {
			continue
		}
		if err := t.disk.removeAll(journalDir + "/" + j.Name); err != nil {
			return removed, told, wrap("sweep", journalDir, err)
		}
		removed++
	}
	return removed, told, nil
}

// fold does what the scan's journal says, and removes it.
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
	var valid, unplaced, gone []Added
	attempts := 0
	err = t.rewriteIndex(ctx, loc, rewrite{
		change: func(x *index) (changed bool, err error) {
			attempts++
			p := placer{tree: t, loc: loc, journal: j}
			valid, changed = x.applyPlacing(j, dir, p.place)
			unplaced = j.unplaced(x)
			var removed bool
			gone, removed = x.takeBack(j)
			return changed || removed, p.failed
		},
		before: func() error { return t.settleAdded(loc, dir, valid) },
	})
	if err == nil {
		err = t.clear(loc, dir, unplaced, gone)
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

// placer gives what a journal tells of the names that a power cut took, or that a
// kill kept it from: the bytes are in the staging directory then.
type placer struct {
	tree    *Tree
	loc     Loc
	journal *Journal
	last    map[string]int // of each id, and of each name, its last entry
	failed  error
}

// place gives the bytes of that entry their name, if they lack it. Those of an
// earlier one of the same file stay: whoever wrote the later one did not find it.
func (p *placer) place(i int) {
	a := p.journal.Files[i]
	if a.Staged == "" || p.failed != nil {
		return
	}
	staged, name := stagingDir+"/"+a.Staged, p.loc.Dir()+"/"+a.Fileset+"/"+a.File
	if info, err := p.tree.root.Lstat(staged); err != nil || !info.Mode().IsRegular() || info.Size() != a.Size {
		return
	}
	if info, err := p.tree.root.Lstat(name); err == nil && info.IsDir() || p.tree.requireDir(path.Dir(name)) != nil {
		return
	}
	if p.last == nil {
		p.last = make(map[string]int, 2*len(p.journal.Files))
		for i, a := range p.journal.Files {
			p.last["id "+a.Fileset+"/"+a.ID], p.last["name "+a.Fileset+"/"+a.File] = i, i
		}
	}
	if p.last["id "+a.Fileset+"/"+a.ID] == i && p.last["name "+a.Fileset+"/"+a.File] == i {
		p.failed = p.tree.disk.rename(staged, name)
	}
}

// takeBack takes out of x what the journal says is being taken back, and returns
// all of that, listed before or not, but for what is another's by now.
func (x *index) takeBack(j *Journal) (gone []Added, changed bool) {
	for _, a := range j.Files {
		if !a.Gone {
			continue
		}
		set := x.find(a.Fileset)
		switch {
		case set == nil:
		case a.makes():
			_, err := x.remove(a.Fileset)
			changed = changed || err == nil
		default:
			if f := set.file(a.ID); f != nil && f.name == a.File {
				_, err := set.remove(a.ID)
				changed = changed || err == nil
			}
			if slices.ContainsFunc(set.files, func(f fileEntry) bool { return f.id == a.ID || f.name == a.File }) {
				continue
			}
		}
		gone = append(gone, a)
	}
	return gone, changed
}

// clear removes, durably, the metadata of files and filesets that never had their
// names, if they say just what the journal does, or the beginning of it; and what is
// left of those that are gone from files.json.
func (t *Tree) clear(loc Loc, dir *os.Root, unplaced, gone []Added) error {
	var remove, dirs []string
	for _, a := range unplaced {
		document, bad := meta.Sorted(a.Metadata)
		data, err := readFile(dir, a.metadataFile(), meta.MaxBytes)
		if exhausted(err) {
			return err
		}
		if err == nil && bad == nil && bytes.HasPrefix(document, data) {
			remove = append(remove, a.metadataFile())
		}
	}
	for _, a := range gone {
		remove = append(remove, a.metadataFile())
		if !a.makes() {
			remove = append(remove, a.Fileset+"/"+a.File)
		} else if entries, err := listDir(dir, a.Fileset); err == nil && len(entries) == 0 {
			remove = append(remove, a.Fileset) // of one that was there before, the files stay
		}
	}
	for _, name := range remove {
		full := loc.Dir() + "/" + name
		if err := t.disk.removeAll(full); err != nil {
			return err
		}
		if dir := path.Dir(full); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return t.syncPresent(dirs...)
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
