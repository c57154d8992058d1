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
// files.json cannot be read. A directory that files.json does not list, such
// as a creation leaves that was cut short, is taken over.
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
	x, err := t.foldedIndex(loc)
	if err != nil {
		return err
	}
	scan, dir := loc.Dir(), loc.Dir()+"/"+id
	listed := x.find(id) != nil
	present := t.requireDir(dir) == nil
	if present && listed || !present && t.free(dir, ErrFilesetExists) != nil {
		return ErrFilesetExists // in the latter case a file or a link
	}
	if !listed {
		x.add(id)
	}
	index, err := x.bytes()
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.ensureDir(scan+"/"+metadataDir, dirPerm); err != nil {
		return err
	}
	return t.enterFileset(scan, id, document, index, present)
}

// enterFileset writes all that needs room on the disk before anything has a
// name, so that a full disk leaves nothing of the fileset.
func (t *Tree) enterFileset(scan, id string, document, index []byte, present bool) error {
	metadata, err := t.stageBytes(document)
	if err != nil {
		return err
	}
	files, err := t.stageBytes(index)
	if err != nil {
		t.discard(metadata)
		return err
	}
	entered := false // files.json names it: from then on it must stay
	defer func() {
		if entered {
			return
		}
		t.discard(metadata)
		t.discard(files)
		if !present {
			t.discard(scan + "/" + id)
			t.discard(scan + "/" + filesetMetadata(id))
		}
	}()
	if err := t.ensureDir(scan+"/"+id, dirPerm); err != nil {
		return err
	}
	if err := t.publish(metadata, scan+"/"+filesetMetadata(id)); err != nil {
		return err
	}
	if err := t.disk.rename(files, scan+"/"+indexFile); err != nil {
		return err
	}
	entered = true
	// The directory's own name becomes durable together with files.json.
	return t.disk.syncDir(scan)
}

// openIndex reads what a scan holds: files.json, and what its journal adds.
func (t *Tree) openIndex(loc Loc) (*index, error) {
	dir, err := t.openScan(loc)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // only read
	j, err := t.journalOf(loc)         // before files.json, into which it may be folded meanwhile
	if err != nil {
		return nil, err
	}
	x, err := readIndex(dir)
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
	_, _, err := t.listed(loc, fileset)
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
	_, e, err := t.listed(loc, fileset)
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

// listed returns the index of a scan and the entry of a fileset that is to be
// written to; ErrNotFound unless it is listed and its directory is there.
func (t *Tree) listed(loc Loc, fileset string) (*index, *filesetEntry, error) {
	x, err := t.openIndex(loc)
	if err != nil {
		return nil, nil, err
	}
	e := x.find(fileset)
	if e == nil || !readable(fileset) {
		return nil, nil, ErrNotFound
	}
	if err := t.requireDir(loc.Dir() + "/" + fileset); err != nil {
		return nil, nil, fmt.Errorf("fileset %q: %w", fileset, err)
	}
	return x, e, nil
}
