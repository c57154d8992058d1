package fsdb

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// A batch changes several scans, all or none. Before the first change it leaves a
// directory
//
//	.plantdb/batches/<id>/<digest of a name>.json
//
// with what each scan or timelapse is to be again if the batch does not come
// through: its metadata, who may see it, the order of a timelapse, and the entry of
// the trash it may have gone into. The directory appears whole. Each part is undone or
// forgotten by itself, by whoever holds its name, before they change it.
const batchesDir = Hidden + "/batches"

// BatchPart is a scan, or with an empty Scan a timelapse, that a batch changes.
type BatchPart struct {
	Timelapse string `json:"timelapse,omitempty"`
	Scan      string `json:"scan,omitempty"`
	// Trash is the id of the entry that a deletion by the batch makes, or empty.
	Trash string      `json:"trash,omitempty"`
	Files []savedFile `json:"files"`
}

// savedFile is a file as it was; nil Data for one that was not there.
type savedFile struct {
	Name string  `json:"name"` // below the directory of the scan or timelapse
	Data *[]byte `json:"data"`
}

// Name is the name to hold for a change of the part.
func (p BatchPart) Name() string {
	if p.Scan == "" {
		return p.Timelapse
	}
	return p.Scan
}

func (p BatchPart) dir() string { return path.Join(p.Timelapse, p.Scan) }

// kept are the files of the part that a batch may change.
func (p BatchPart) kept() []string {
	if p.Scan == "" {
		return []string{timelapseFile}
	}
	return []string{scanMetadata, accessFile}
}

// check refuses what leads out of the tree; the file lies on a disk that others
// write to.
func (p BatchPart) check() error {
	for _, name := range []string{p.Timelapse, p.Scan, p.Trash} {
		if name != "" && !readable(name) {
			return fmt.Errorf("bad name %q", name)
		}
	}
	if p.Name() == "" {
		return errors.New("it names nothing")
	}
	for _, f := range p.Files {
		if !slices.Contains(p.kept(), f.Name) {
			return fmt.Errorf("file %q is none of a batch", f.Name)
		}
	}
	return nil
}

func batchFile(id, name string) string {
	sum := sha256.Sum256([]byte(name))
	return batchesDir + "/" + id + "/" + hex.EncodeToString(sum[:16]) + ".json"
}

// BeginBatch keeps, durably, what the parts are now; the caller holds their
// names. On an error nothing is left that counts.
func (t *Tree) BeginBatch(ctx context.Context, id string, parts []BatchPart) error {
	tmp := stagingName()
	err := t.inStaging(func() error { return t.disk.mkdir(tmp, dirPerm) })
	if err == nil {
		err = together(len(parts), func(i int) error { return t.savePart(ctx, tmp, id, parts[i]) })
	}
	if err == nil {
		err = t.disk.syncDir(tmp)
	}
	if err == nil {
		err = errors.Join(t.ensureDir(Hidden, dirPerm), t.ensureDir(batchesDir, dirPerm))
	}
	if err == nil {
		err = t.disk.syncDir(Hidden)
	}
	if err != nil {
		t.discard(tmp)
		return wrap("begin batch", id, err)
	}
	return wrap("begin batch", id, t.publish(tmp, batchesDir+"/"+id))
}

func (t *Tree) savePart(ctx context.Context, dir, id string, p BatchPart) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.Files = nil
	for _, name := range p.kept() {
		data, err := readFile(t.root, p.dir()+"/"+name, meta.MaxBytes)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			p.Files = append(p.Files, savedFile{Name: name})
		case err != nil:
			return err
		default:
			p.Files = append(p.Files, savedFile{name, &data})
		}
	}
	if err := p.check(); err != nil {
		return err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	f, err := t.disk.create(dir + "/" + path.Base(batchFile(id, p.Name())))
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Batches returns the ids of the batches of which something is left.
func (t *Tree) Batches() ([]string, error) {
	entries, err := fs.ReadDir(t.root.FS(), batchesDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap("list", "batches", err)
	}
	ids := make([]string, 0, len(entries))
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids, nil
}

// BatchParts returns what is left of a batch.
func (t *Tree) BatchParts(id string) ([]BatchPart, error) {
	entries, err := fs.ReadDir(t.root.FS(), batchesDir+"/"+id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap("list batch", id, err)
	}
	var parts []BatchPart
	for _, e := range entries {
		p, err := t.batchPart(batchesDir + "/" + id + "/" + e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // settled since
		}
		if err != nil {
			return nil, wrap("read batch", id, err)
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// HasBatchPart says whether something of a name is left of a batch.
func (t *Tree) HasBatchPart(id, name string) (bool, error) {
	return t.exists(batchFile(id, name))
}

func (t *Tree) batchPart(file string) (p BatchPart, err error) {
	// Bytes become a third more as text.
	data, err := readFile(t.root, file, 3*meta.MaxBytes)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return p, err
	}
	return p, p.check()
}

// UndoBatch makes one part what it was before the batch and forgets it; the
// caller holds its name. It may be called again after an error.
func (t *Tree) UndoBatch(ctx context.Context, id, name string) error {
	p, err := t.batchPart(batchFile(id, name))
	if errors.Is(err, fs.ErrNotExist) {
		return t.dropEmptyBatch(id) // which was cut short after the last part
	}
	if err == nil {
		err = t.undoPart(ctx, p)
	}
	if err != nil {
		return wrap("undo batch "+id+" of", name, err)
	}
	return t.DropBatch(id, name)
}

func (t *Tree) undoPart(ctx context.Context, p BatchPart) error {
	if p.Trash != "" {
		gone, err := t.SettleTrash(ctx, p.Trash)
		if err != nil {
			return err
		}
		if !gone {
			e, err := t.TrashEntry(p.Trash)
			if err != nil {
				return err
			}
			if err := t.RestoreTrash(ctx, *e); err != nil {
				return err
			}
		}
	}
	if there, err := t.exists(p.dir()); err != nil || !there {
		return err // somebody took it away, and its files with it
	}
	for _, f := range p.Files {
		if err := t.putBack(p.dir()+"/"+f.Name, f.Data); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) putBack(name string, data *[]byte) error {
	now, err := readFile(t.root, name, meta.MaxBytes)
	switch {
	case errors.Is(err, fs.ErrNotExist) && data == nil:
		return nil
	case err == nil && data != nil && bytes.Equal(now, *data):
		return nil
	case data != nil:
		return t.put(name, *data)
	}
	return errors.Join(t.disk.removeAll(name), t.disk.syncDir(path.Dir(name)))
}

// DropBatch forgets a part of a batch that was committed or undone, and the
// batch with the last of them.
func (t *Tree) DropBatch(id, name string) error {
	file := batchFile(id, name)
	err := t.disk.removeAll(file)
	if err == nil {
		err = t.disk.syncDir(path.Dir(file))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return wrap("forget batch "+id+" of", name, err)
	}
	return t.dropEmptyBatch(id)
}

// EndBatch forgets all of a batch that was committed.
func (t *Tree) EndBatch(id string) error {
	if !readable(id) || strings.HasPrefix(id, ".") {
		return ErrNotFound
	}
	return wrap("forget batch", id, errors.Join(t.disk.removeAll(batchesDir+"/"+id), t.disk.syncDir(batchesDir)))
}

func (t *Tree) dropEmptyBatch(id string) error {
	left, err := fs.ReadDir(t.root.FS(), batchesDir+"/"+id)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(left) > 0 {
		return nil
	}
	if err != nil {
		return wrap("look into batch", id, err)
	}
	return t.EndBatch(id)
}
