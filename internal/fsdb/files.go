package fsdb

import (
	"context"
	"encoding/json"
	"path"
	"slices"

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
	staged   string // the same, in the staging directory
}

// AddFiles adds a batch to a fileset with one write of files.json, whose sync
// all share. The first result has an error for each file that was refused
// (ErrFileExists, ErrName, bad metadata) and nil for each that is now durable;
// files refused keep their content for Discard. If the second result is an
// error none was added and a reader sees the fileset as it was, unless the very
// last sync failed; the contents may be used up. ErrNotFound if there is no
// such fileset.
func (t *Tree) AddFiles(ctx context.Context, loc Loc, fileset string, files []NewFile) ([]error, error) {
	errs, err := t.addFiles(ctx, loc, fileset, files)
	if err != nil {
		return nil, wrap("add files to", loc.Dir()+"/"+fileset, err)
	}
	return errs, nil
}

func (t *Tree) addFiles(ctx context.Context, loc Loc, fileset string, files []NewFile) ([]error, error) {
	x, entry, err := t.listed(loc, fileset)
	if err != nil {
		return nil, err
	}
	b := batch{tree: t, loc: loc, fileset: fileset, index: x, entry: entry}
	errs := b.admit(files)
	if len(b.files) == 0 {
		return errs, nil
	}
	return errs, b.commit(ctx)
}

// batch is one call of AddFiles on its way.
type batch struct {
	tree    *Tree
	loc     Loc
	fileset string
	index   *index
	entry   *filesetEntry // of the index
	files   []*addition
	staged  string   // files.json, in the staging directory
	made    []string // what got its name already
}

// admit sorts out what cannot be added and lists the rest in the index.
func (b *batch) admit(files []NewFile) []error {
	errs := make([]error, len(files))
	names := make(map[string]string, len(b.entry.files)+len(files)) // by id
	ids := make(map[string]string, len(b.entry.files)+len(files))   // by name
	for _, f := range b.entry.files {
		if f.id != "" && f.name != "" { // else upstream passes it over as well
			names[f.id], ids[f.name] = f.name, f.id
		}
	}
	added := make(map[string]bool, len(files))
	for i, f := range files {
		a := &addition{NewFile: f}
		name, known := names[f.ID]
		owner, taken := ids[f.Name]
		// A listed file whose bytes are gone may be added again.
		if added[f.ID] || known && b.there(name) || taken && owner != f.ID {
			errs[i] = ErrFileExists
			continue
		}
		if errs[i] = a.check(); errs[i] != nil {
			continue
		}
		b.entry.put(f.ID, f.Name, known)
		names[f.ID], ids[f.Name], added[f.ID] = f.Name, f.ID, true
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

// commit makes everything durable that files.json will refer to, and then
// files.json. Once it has begun to give names it finishes whatever becomes of
// the request.
func (b *batch) commit(ctx context.Context) error {
	err := b.stage()
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = b.publish()
	}
	if err != nil {
		b.cleanUp()
		return err
	}
	if err := b.rename(b.staged, b.loc.Dir()+"/"+indexFile); err != nil {
		b.cleanUp()
		return err
	}
	// From here on the files belong to files.json, and only a power cut can
	// tell whether it stays.
	return b.tree.disk.syncDir(b.loc.Dir())
}

// stage writes all the JSON of the batch; the syncs run together.
func (b *batch) stage() error {
	document, err := b.index.bytes()
	if err != nil {
		return err
	}
	return together(len(b.files)+1, func(i int) (err error) {
		if i == len(b.files) {
			b.staged, err = b.tree.stageBytes(document)
			return err
		}
		b.files[i].staged, err = b.tree.stageBytes(b.files[i].document)
		return err
	})
}

// publish gives contents and metadata their names, durably.
func (b *batch) publish() error {
	metadata := path.Join(b.loc.Dir(), metadataDir)
	// Not made before the first file: upstream 0.17 takes the mere existence
	// of metadata/images for a sign to fill in scan metadata.
	if err := b.tree.ensureDir(metadata+"/"+b.fileset, dirPerm); err != nil {
		return err
	}
	for _, a := range b.files {
		if err := b.rename(a.Content.name, b.dir()+"/"+a.Name); err != nil {
			return err
		}
		if err := b.rename(a.staged, metadata+"/"+b.fileset+"/"+a.ID+".json"); err != nil {
			return err
		}
	}
	return b.tree.syncDirs(b.dir(), metadata+"/"+b.fileset, metadata)
}

func (b *batch) rename(from, to string) error {
	if err := b.tree.disk.rename(from, to); err != nil {
		return err
	}
	b.made = append(b.made, to)
	return nil
}

// cleanUp removes what a batch left that failed before files.json got its name.
func (b *batch) cleanUp() {
	names := append(slices.Clone(b.made), b.staged)
	for _, a := range b.files {
		names = append(names, a.Content.name, a.staged)
	}
	for _, name := range names {
		if name != "" {
			b.tree.discard(name)
		}
	}
}

// ReplaceFile gives a file other bytes under the same name; a reader that has
// it open keeps the old ones. ErrNotFound if files.json does not list it.
func (t *Tree) ReplaceFile(ctx context.Context, loc Loc, fileset, id string, content *Staged) error {
	return wrap("replace file", loc.Dir()+"/"+fileset+"/"+id, t.replaceFile(ctx, loc, fileset, id, content))
}

func (t *Tree) replaceFile(ctx context.Context, loc Loc, fileset, id string, content *Staged) error {
	_, e, err := t.listed(loc, fileset)
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
