package fsdb

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// NewFile is a file to be added: ID and Name are its entry in files.json, Name
// usually the ID and an extension.
type NewFile struct {
	ID, Name string
	Content  *Staged
	Metadata json.RawMessage
}

// addition is a file of a batch that was accepted.
type addition struct {
	NewFile
	document []byte // its metadata as it will be written
}

// AddFiles adds a batch to a fileset with one write of the scan's journal, whose
// sync all share; files.json follows with the next Fold. The first result has
// an error for each file that was refused (ErrFileExists, ErrName, bad
// metadata) and nil for each that is now durable; files refused keep their
// content for Discard. If the second result is an error none was added and a
// reader sees the fileset as it was; the contents may be used up. ErrNotFound if
// there is no such fileset.
func (t *Tree) AddFiles(ctx context.Context, loc Loc, fileset string, files []NewFile) ([]error, error) {
	errs, named, err := t.AddFilesWhile(ctx, loc, fileset, files, func([]error) {})
	if err == nil {
		err = named()
	}
	if err != nil {
		return nil, err
	}
	return errs, nil
}

// AddFilesWhile is AddFiles that calls meanwhile, if any file is added, while
// the disk syncs: the time that this takes is its own. It is told what becomes
// of each file if the syncs do not fail, and whatever it does counts for nothing
// if they do. When it returns the journal tells of the files, and their names are
// being synced: nobody is told that a file is there before named, which waits for
// that, has returned nil. A filesystem that loses one half of a rename would else
// lose the file with it.
func (t *Tree) AddFilesWhile(
	ctx context.Context, loc Loc, fileset string, files []NewFile, meanwhile func(refused []error),
) (refused []error, named func() error, err error) {
	refused, synced, err := t.addFiles(ctx, loc, fileset, files, meanwhile)
	dir := loc.Dir() + "/" + fileset
	if err != nil {
		return nil, nil, wrap("add files to", dir, err)
	}
	return refused, func() error { return wrap("name files of", dir, synced()) }, nil
}

func (t *Tree) addFiles(ctx context.Context, loc Loc, fileset string, files []NewFile, meanwhile func([]error)) ([]error, func() error, error) {
	l, err := t.ledger(ctx, loc)
	if err != nil {
		return nil, nil, err
	}
	set := l.sets[fileset]
	if set == nil || !readable(fileset) {
		return nil, nil, ErrNotFound
	}
	if err := t.requireDir(loc.Dir() + "/" + fileset); err != nil {
		return nil, nil, fmt.Errorf("fileset %q: %w", fileset, err)
	}
	if l.journal.size > maxPending {
		t.ledgers.put(l)
		if err := t.Fold(ctx, loc); err != nil {
			return nil, nil, err
		}
		if l, err = t.ledger(ctx, loc); err != nil {
			return nil, nil, err
		}
	}
	b := batch{tree: t, loc: loc, fileset: fileset, ledger: l, set: set, named: func() error { return nil }}
	errs := b.admit(files)
	if len(b.files) > 0 {
		err = b.commit(ctx, func() { meanwhile(errs) })
	}
	if err == nil {
		t.ledgers.put(l)
	}
	return errs, b.named, err
}

// batch is one call of AddFiles on its way.
type batch struct {
	tree    *Tree
	loc     Loc
	fileset string
	ledger  *ledger
	set     *known // the fileset in the ledger
	files   []*addition
	made    []string     // what got its name already
	named   func() error // waits until that is durable
}

// admit sorts out what cannot be added and enters the rest in the ledger.
func (b *batch) admit(files []NewFile) []error {
	errs := make([]error, len(files))
	added := make(map[string]bool, len(files))
	for i, f := range files {
		a := &addition{NewFile: f}
		name, known := b.set.names[f.ID]
		owner, taken := b.set.ids[f.Name]
		// A listed file whose bytes are gone may be added again.
		if added[f.ID] || known && b.there(name) || taken && owner != f.ID {
			errs[i] = ErrFileExists
			continue
		}
		if errs[i] = a.check(); errs[i] != nil {
			continue
		}
		b.set.add(f.ID, f.Name)
		added[f.ID] = true
		b.files = append(b.files, a)
	}
	return errs
}

// there says whether a listed file has its bytes.
func (b *batch) there(name string) bool {
	if !readable(name) {
		return false
	}
	info, err := b.tree.root.Stat(b.dir() + "/" + name)
	return err == nil && info.Mode().IsRegular()
}

func (b *batch) dir() string { return path.Join(b.loc.Dir(), b.fileset) }

// check says whether the file can be added for its own part, and claims its
// content if so.
func (a *addition) check() (err error) {
	if err := CheckName(FileName, a.ID); err != nil {
		return err
	}
	if err := checkBlobName(a.Name); err != nil {
		return err
	}
	if a.document, err = meta.Sorted(a.Metadata); err != nil {
		return err
	}
	return a.Content.take()
}

// commit says in the journal what is about to get a name, and gives it once that
// is durable. Once it has begun to do so it finishes whatever becomes of the
// request.
//
// The bytes were synced before they were taken; the name that they have in the
// staging directory is synced together with the journal, which tells it. From then
// on Fold gives the names that a kill kept them from or a power cut took, and writes
// the metadata, which lies in the journal as well. And nothing ever has a name that
// the journal on the disk does not tell of. The names are synced beside what the
// caller has still to do.
func (b *batch) commit(ctx context.Context, meanwhile func()) error {
	lines, fresh, err := b.lines()
	if err == nil {
		err = ctx.Err()
	}
	var journal file
	if err == nil {
		journal, err = b.tree.disk.append(journalFile(b.loc))
	}
	if err == nil {
		if _, err = journal.Write(lines); err != nil {
			b.cleanUp()
			b.unsay(journal, int64(len(lines)))
			return errors.Join(err, journal.Close())
		}
	}
	if err != nil {
		b.cleanUp()
		return err
	}
	syncs := []func() error{journal.Sync, func() error { return b.tree.disk.syncDir(stagingDir) }}
	if fresh {
		syncs = append(syncs, func() error { return b.tree.disk.syncDir(journalDir) })
	}
	synced := make(chan error, 1)
	go func() { synced <- together(len(syncs), func(i int) error { return syncs[i]() }) }()
	meanwhile()
	if err = <-synced; err != nil {
		b.cleanUp()
		// The system may count as written what it could not write, so that no later
		// sync tries it again: nothing must come to lie behind it. Whoever adds next
		// finds the journal torn and folds it.
		_, _ = journal.Write(tornMark)
	} else if err = b.place(); err != nil {
		b.takeBack(journal, int64(len(lines)), fresh)
	} else {
		b.named = begin(func() error { return b.tree.disk.syncDir(b.dir()) })
	}
	return errors.Join(err, journal.Close(), b.ledger.look(b.tree))
}

// begin calls fn and returns what waits for it.
func begin(fn func() error) (wait func() error) {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	return sync.OnceValue(func() error { return <-done })
}

// takeBack undoes a batch that the journal tells of durably: first what it tells of
// goes, and then what it tells. Cut short it leaves all of a file, or nothing.
func (b *batch) takeBack(journal file, said int64, fresh bool) {
	b.cleanUp()
	if b.tree.syncPresent(b.dir(), b.metadata(), stagingDir) != nil {
		return // the line stays, for what may come back
	}
	b.unsay(journal, said)
	_ = journal.Sync() // a line of what is not there counts for nothing
	if fresh {
		_ = b.tree.disk.syncDir(journalDir)
	}
}

// unsay takes out of the journal what it says of a batch that was cleaned up, up
// to so many bytes. Where that fails it is torn: either way it counts for nothing.
// One that has grown further is also another's and stays.
func (b *batch) unsay(journal file, said int64) {
	before := b.ledger.journal.size
	now, err := b.tree.fileState(journalFile(b.loc))
	switch {
	case err != nil || now.size < before || now.size > before+said:
	case before == 0:
		b.tree.discard(journalFile(b.loc))
	default:
		if err := b.tree.cutJournal(b.loc, before); err != nil {
			_, _ = journal.Write(tornMark)
		}
	}
}

// lines returns what the journal will say of the batch; fresh says that there
// is no journal yet.
func (b *batch) lines() (lines []byte, fresh bool, err error) {
	list := make([]Added, len(b.files))
	for i, a := range b.files {
		sum := a.Content.SHA256()
		list[i] = Added{
			Fileset: b.fileset, ID: a.ID, File: a.Name, Size: a.Content.Size(), SHA256: hex.EncodeToString(sum[:]), Metadata: a.document,
			Staged: path.Base(a.Content.name),
		}
	}
	fresh = b.ledger.journal.size == 0
	if fresh {
		if err := b.tree.ensureJournals(); err != nil {
			return nil, fresh, err
		}
	}
	lines, err = journalLines(b.loc, fresh, list)
	return lines, fresh, err
}

func (b *batch) metadata() string { return path.Join(b.loc.Dir(), metadataDir, b.fileset) }

// place gives contents and metadata their names.
func (b *batch) place() error {
	metadata := b.metadata()
	// Not made before the first file: upstream 0.17 takes the mere existence
	// of metadata/images for a sign to fill in scan metadata.
	if err := b.tree.ensureDir(metadata, dirPerm); err != nil {
		return err
	}
	for _, a := range b.files {
		if err := b.write(metadata+"/"+a.ID+".json", a.document); err != nil {
			return err
		}
		name := b.dir() + "/" + a.Name
		if err := b.tree.disk.rename(a.Content.name, name); err != nil {
			return err
		}
		b.made = append(b.made, name)
	}
	return nil
}

// write makes a metadata file, in place of what nobody owns. It is not synced.
func (b *batch) write(name string, document []byte) error {
	f, err := b.tree.disk.create(name)
	if errors.Is(err, fs.ErrExist) {
		if err = b.tree.disk.removeAll(name); err == nil {
			f, err = b.tree.disk.create(name)
		}
	}
	if err != nil {
		return err
	}
	b.made = append(b.made, name)
	_, err = f.Write(document)
	return errors.Join(err, f.Close())
}

// cleanUp removes what a batch left that failed before all of it had its names.
func (b *batch) cleanUp() {
	for _, name := range b.made {
		b.tree.discard(name)
	}
	for _, a := range b.files {
		b.tree.discard(a.Content.name)
	}
}

// ReplaceFile gives a file other bytes under the same name; a reader that has
// it open keeps the old ones. ErrNotFound if files.json does not list it.
func (t *Tree) ReplaceFile(ctx context.Context, loc Loc, fileset, id string, content *Staged) error {
	return wrap("replace file", loc.Dir()+"/"+fileset+"/"+id, t.replaceFile(ctx, loc, fileset, id, content))
}

func (t *Tree) replaceFile(ctx context.Context, loc Loc, fileset, id string, content *Staged) error {
	// The journal tells the size of what it has.
	if err := t.Fold(ctx, loc); err != nil {
		return err
	}
	e, err := t.listed(ctx, loc, fileset)
	if err != nil {
		return err
	}
	f := e.file(id)
	if f == nil || !readable(f.name) {
		return ErrNotFound
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := content.take(); err != nil {
		return err
	}
	return t.publish(content.name, loc.Dir()+"/"+fileset+"/"+f.name)
}
