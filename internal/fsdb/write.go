package fsdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// CreateScan makes a scan without filesets; it appears whole. ErrScanExists if
// anything in the root or in the timelapse has that name, ErrNotFound if there
// is no such timelapse, ErrMembership if the metadata puts the scan into
// another one, ErrName or ErrReserved as CheckName says. That the id is free in
// all other timelapses is for the caller to know.
func (t *Tree) CreateScan(ctx context.Context, loc Loc, metadata json.RawMessage) error {
	return wrap("create scan", loc.Dir(), t.createScan(ctx, loc, metadata))
}

func (t *Tree) createScan(ctx context.Context, loc Loc, metadata json.RawMessage) error {
	parent, err := t.roomFor(loc, metadata)
	if err != nil {
		return err
	}
	document, err := meta.Sorted(metadata)
	if err != nil {
		return err
	}
	index, err := (&index{}).bytes()
	if err != nil {
		return err
	}
	files := map[string][]byte{indexFile: index, scanMetadata: document}
	if v := visibilityIn(metadata); v != "" {
		files[accessFile] = visibilityDocument(v)
	}
	// What a scan left that went away outside is not of this one.
	if err := t.dropJournal(loc); err != nil {
		return err
	}
	return t.build(ctx, parent, loc.Dir(), ErrScanExists, files, metadataDir)
}

// roomFor says whether a scan of that metadata can be made at loc, and returns
// the directory that it will lie in.
func (t *Tree) roomFor(loc Loc, metadata json.RawMessage) (parent string, err error) {
	if err := CheckName(ScanName, loc.Scan); err != nil {
		return "", err
	}
	if id := timelapseID(metadata); id != "" && id != loc.Timelapse {
		return "", ErrMembership
	}
	if err := t.free(loc.Scan, ErrScanExists); err != nil {
		return "", err
	}
	if loc.Timelapse == "" {
		return ".", nil
	}
	if !readable(loc.Timelapse) || t.requireDir(loc.Timelapse) != nil || !t.isTimelapse(loc.Timelapse) {
		return "", ErrNotFound
	}
	return loc.Timelapse, t.free(loc.Dir(), ErrScanExists)
}

// free says whether nothing has that name.
func (t *Tree) free(name string, taken *fault.Error) error {
	_, err := t.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		return taken
	}
	return err
}

// build makes a directory of files and subdirectories in the staging
// directory, and then gives it its name in parent.
func (t *Tree) build(ctx context.Context, parent, name string, taken *fault.Error, files map[string][]byte, dirs ...string) error {
	tmp := stagingName()
	defer t.discard(tmp)
	if err := t.inStaging(func() error { return t.disk.mkdir(tmp, dirPerm) }); err != nil {
		return err
	}
	all := []string{tmp}
	for _, d := range dirs {
		if err := t.disk.mkdir(tmp+"/"+d, dirPerm); err != nil {
			return err
		}
		all = append(all, tmp+"/"+d)
	}
	for file, data := range files {
		if err := t.writeNew(tmp+"/"+file, data); err != nil {
			return err
		}
	}
	if err := t.syncDirs(all...); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return t.enter(parent, tmp, name, taken)
}

// enter gives a directory that was built its name in parent, durably. A
// directory that appeared meanwhile and holds something stops the rename, so
// of two creations one wins.
func (t *Tree) enter(parent, tmp, name string, taken *fault.Error) error {
	err := t.disk.rename(tmp, name)
	if errors.Is(err, fs.ErrExist) {
		return taken
	}
	if err != nil {
		return err
	}
	return t.disk.syncDir(parent)
}

// writeNew creates a file that does not exist and syncs it.
func (t *Tree) writeNew(name string, data []byte) error {
	f, err := t.disk.create(name)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// timelapseID returns timelapse.id of a scan's metadata, empty if it has none.
func timelapseID(metadata json.RawMessage) string {
	members, err := meta.Object(metadata)
	if err != nil {
		return ""
	}
	if members, err = meta.Object(meta.Get(members, "timelapse")); err != nil {
		return ""
	}
	id, _ := meta.Text(meta.Get(members, "id"))
	return id
}

// CreateFileset makes a fileset without files. ErrFilesetExists if the scan
// has one of that id, ErrNotFound if there is no such scan, ErrBroken if its
// files.json cannot be read. A directory that files.json does not list is taken
// over. A creation that was cut short is there whole after Fold, or not at all.
func (t *Tree) CreateFileset(ctx context.Context, loc Loc, id string, metadata json.RawMessage) error {
	return wrap("create fileset", loc.Dir()+"/"+id, t.createFileset(ctx, loc, id, metadata))
}

func (t *Tree) createFileset(ctx context.Context, loc Loc, id string, metadata json.RawMessage) error {
	if err := CheckName(FilesetName, id); err != nil {
		return err
	}
	document, err := meta.Sorted(metadata)
	if err != nil {
		return err
	}
	if err := t.requireDir(loc.Dir()); err != nil {
		return err
	}
	e := &entering{tree: t, loc: loc, scan: loc.Dir(), id: id, document: document}
	if e.metadata, err = t.stageBytes(document); err != nil {
		return err
	}
	defer func() { t.discard(e.metadata) }() // nothing once it has its name
	if err := t.changeIndex(ctx, loc, rewrite{change: e.list, before: e.enter, undo: e.undo}); err != nil {
		return err
	}
	e.retract() // files.json says it now; in a power cut it may as well come back
	return nil
}

// entering is a fileset on its way into a scan. All that needs room on the disk
// is written before anything has a name, so that a full disk leaves nothing.
type entering struct {
	tree     *Tree
	loc      Loc
	scan, id string
	document json.RawMessage
	metadata string // the document as it is staged
	entered  bool   // directory and metadata have their names
	present  bool   // the directory was there before
	mine     bool   // nobody else knows the directory
	// announced is how long the journal is that says so, 0 for none.
	announced int64
}

// list enters the fileset in x, unless only its directory was lost.
func (e *entering) list(x *index) (changed bool, err error) {
	t, dir := e.tree, e.scan+"/"+e.id
	listed := x.find(e.id) != nil
	if !e.entered {
		e.present = t.requireDir(dir) == nil
		if e.present && listed || !e.present && t.free(dir, ErrFilesetExists) != nil {
			return false, ErrFilesetExists // in the latter case a file or a link
		}
	} else if listed {
		e.mine = false
		return false, ErrFilesetExists // a Python program was first
	}
	if !listed {
		x.add(e.id)
	}
	return !listed, nil
}

// enter makes the directory and its metadata, whose names become durable
// together with files.json. Before that the journal has both, so that Fold enters
// a directory that a crash left without files.json.
func (e *entering) enter() error {
	t := e.tree
	if e.entered {
		return nil
	}
	size, err := t.announce(e.loc, Added{Fileset: e.id, Metadata: e.document})
	if err != nil {
		return err
	}
	e.announced = size
	if err := t.ensureDir(e.scan+"/"+metadataDir, dirPerm); err != nil {
		return err
	}
	e.mine = !e.present
	if err := t.ensureDir(e.scan+"/"+e.id, dirPerm); err != nil {
		return err
	}
	if err := t.publish(e.metadata, e.scan+"/"+filesetMetadata(e.id)); err != nil {
		return err
	}
	e.entered = true
	return nil
}

// undo removes what files.json does not name, and then what says that it might.
func (e *entering) undo() error {
	if e.mine {
		e.tree.discard(e.scan + "/" + filesetMetadata(e.id))
		e.tree.discard(e.scan + "/" + e.id)
		if err := e.tree.syncPresent(e.scan, e.scan+"/"+metadataDir); err != nil {
			return err // what may come back stays told
		}
	}
	e.retract()
	return nil
}

// retract removes the journal. One that has grown, as it may where the database
// that holds the scan for us went away, is also another's and stays: what it says
// of ours is true, or counts for nothing.
func (e *entering) retract() {
	now, err := e.tree.fileState(journalFile(e.loc))
	if err == nil && e.announced > 0 && now.size == e.announced {
		e.tree.discard(journalFile(e.loc))
	}
}

// openIndex reads what a scan holds: files.json, and what its journal adds.
func (t *Tree) openIndex(ctx context.Context, loc Loc) (*index, error) {
	dir, err := t.openScan(loc)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // only read
	j, err := t.journalOf(loc)         // before files.json, into which it may be folded meanwhile
	if err != nil {
		return nil, err
	}
	x, err := readIndex(ctx, dir)
	if err == nil {
		x.apply(j, dir)
	}
	return x, err
}

// WriteScanMetadata replaces the scan's metadata. ErrNotFound if there is no
// such scan, ErrBroken if it has no place for metadata, ErrMembership if the metadata names a timelapse that the scan does
// not lie in and did not name before.
func (t *Tree) WriteScanMetadata(ctx context.Context, loc Loc, metadata json.RawMessage) error {
	err := t.checkMembership(loc, metadata)
	if err == nil {
		err = t.writeMetadata(ctx, loc.Dir()+"/"+scanMetadata, metadata)
	}
	return wrap("write metadata of scan", loc.Dir(), err)
}

func (t *Tree) checkMembership(loc Loc, metadata json.RawMessage) error {
	dir, err := t.openScan(loc)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // only read
	if err := t.requireDir(loc.Dir() + "/" + metadataDir); err != nil {
		return ErrBroken.Because(err)
	}
	id := timelapseID(metadata)
	if id == "" || id == loc.Timelapse {
		return nil
	}
	// Where the disk disagrees with itself already, other keys can still be
	// written: nothing gets worse.
	if data, err := readFile(dir, scanMetadata, meta.MaxBytes); err == nil {
		if raw, _, err := meta.Read(data); err == nil && timelapseID(raw) == id {
			return nil
		}
	}
	return ErrMembership
}

// WriteFilesetMetadata replaces the metadata of a fileset; ErrNotFound if
// files.json does not list it.
func (t *Tree) WriteFilesetMetadata(ctx context.Context, loc Loc, fileset string, metadata json.RawMessage) error {
	_, err := t.listed(ctx, loc, fileset)
	if err == nil {
		err = t.writeMetadata(ctx, loc.Dir()+"/"+filesetMetadata(fileset), metadata)
	}
	return wrap("write metadata of fileset", loc.Dir()+"/"+fileset, err)
}

// WriteFileMetadata replaces the metadata of a file; ErrNotFound if files.json
// does not list it.
func (t *Tree) WriteFileMetadata(ctx context.Context, loc Loc, fileset, id string, metadata json.RawMessage) error {
	return wrap("write metadata of file", loc.Dir()+"/"+fileset+"/"+id, t.writeFileMetadata(ctx, loc, fileset, id, metadata))
}

func (t *Tree) writeFileMetadata(ctx context.Context, loc Loc, fileset, id string, metadata json.RawMessage) error {
	e, err := t.listed(ctx, loc, fileset)
	if err != nil {
		return err
	}
	if !readable(id) || e.file(id) == nil {
		return ErrNotFound
	}
	parent := loc.Dir() + "/" + metadataDir
	if err := t.ensureDir(parent+"/"+fileset, dirPerm); err != nil {
		return err
	}
	if err := t.writeMetadata(ctx, loc.Dir()+"/"+fileMetadata(fileset, id), metadata); err != nil {
		return err
	}
	// The directory may be new, if only from a call that was cut short.
	return t.disk.syncDir(parent)
}

// writeMetadata replaces one metadata file.
func (t *Tree) writeMetadata(ctx context.Context, name string, metadata json.RawMessage) error {
	document, err := meta.Sorted(metadata)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return t.put(name, document)
}

// listed returns the entry of a fileset that is to be written to; ErrNotFound
// unless it is listed and its directory is there.
func (t *Tree) listed(ctx context.Context, loc Loc, fileset string) (*filesetEntry, error) {
	x, err := t.openIndex(ctx, loc)
	if err != nil {
		return nil, err
	}
	return t.writable(x, loc, fileset)
}

func (t *Tree) writable(x *index, loc Loc, fileset string) (*filesetEntry, error) {
	e := x.find(fileset)
	if e == nil || !readable(fileset) {
		return nil, ErrNotFound
	}
	if err := t.requireDir(loc.Dir() + "/" + fileset); err != nil {
		return nil, fmt.Errorf("fileset %q: %w", fileset, err)
	}
	return e, nil
}
