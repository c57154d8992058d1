package fsdb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// The trash is a directory an entry:
//
//	.plantdb/trash/<id>/entry.json      what was deleted, by whom, from where
//	                   /content         the scan, timelapse or fileset, or the file's bytes
//	                   /metadata.json   of a fileset or file
//	                   /metadata/       of the files of a fileset
//
// A deletion writes entry.json first: it says what is about to be done. A scan
// or timelapse is then moved by one rename. A fileset or file is first taken
// out of files.json, which is what deletes it, and its parts are moved then,
// the content last. A restoration goes the other way round. So an entry with
// content is complete, and one without belongs to a call that was cut short:
// SettleTrash finishes or undoes it, files.json says which.
const (
	trashDir      = Hidden + "/trash"
	entryFile     = "entry.json"
	trashContent  = "content"
	trashMetadata = "metadata.json"
	trashParts    = "metadata"
)

// TrashKind says what an entry of the trash was.
type TrashKind string

// The kinds of entries.
const (
	TrashScan      TrashKind = "scan"
	TrashTimelapse TrashKind = "timelapse"
	TrashFileset   TrashKind = "fileset"
	TrashFile      TrashKind = "file"
)

// Trashed is an entry of the trash, as its entry.json says.
type Trashed struct {
	ID        string    `json:"id"` // also the name of its directory
	Kind      TrashKind `json:"kind"`
	Timelapse string    `json:"timelapse,omitempty"` // the scan's, or the one deleted
	// TimelapseID is what the index called a timelapse that was deleted, for who
	// restores it.
	TimelapseID string    `json:"timelapse_id,omitempty"`
	Scan        string    `json:"scan,omitempty"` // empty for a timelapse
	Fileset     string    `json:"fileset,omitempty"`
	File        string    `json:"file,omitempty"` // its id
	Owner       *string   `json:"owner"`          // of the scan or timelapse
	DeletedBy   string    `json:"deleted_by"`
	DeletedAt   time.Time `json:"deleted_at"`
	// Contents says whose what is.
	Contents []TrashedPart `json:"contents"`
	// Listed is the entry of files.json of a fileset or file; the call that
	// deletes it fills it in.
	Listed json.RawMessage `json:"listed,omitempty"`
	// Next is the id of what followed it there; it comes back in front of it.
	Next string `json:"next,omitempty"`
	// Target is where a fileset or file is being restored to, where that is
	// not where it was deleted from.
	Target *TrashTarget `json:"target,omitempty"`

	// Pending says that its content is not there; not written.
	Pending bool `json:"-"`
}

// TrashTarget is where the pieces of an entry may lie in the tree.
type TrashTarget struct {
	Timelapse string          `json:"timelapse,omitempty"`
	Scan      string          `json:"scan"`
	Fileset   string          `json:"fileset"`
	File      string          `json:"file,omitempty"`
	Listed    json.RawMessage `json:"listed"`
}

// at returns the entry as if it had been deleted from there.
func (e Trashed) at(target *TrashTarget) *Trashed {
	if target != nil {
		e.Timelapse, e.Scan, e.Fileset, e.File, e.Listed = target.Timelapse, target.Scan, target.Fileset, target.File, target.Listed
	}
	e.Target = nil
	return &e
}

// TrashedPart is what an entry holds of one scan.
type TrashedPart struct {
	Scan string `json:"scan"`
	// ScanID is what its index calls the scan, kept for who restores it.
	ScanID string  `json:"scan_id,omitempty"`
	Owner  *string `json:"owner"`
	Files  int32   `json:"files"`
	Bytes  int64   `json:"bytes"`
}

// Loc is where the scan lay.
func (e *Trashed) Loc() Loc { return Loc{Timelapse: e.Timelapse, Scan: e.Scan} }

// home is the directory of the entry's scan or timelapse in the tree.
func (e *Trashed) home() string { return path.Join(e.Timelapse, e.Scan) }

func (e *Trashed) dir() string     { return trashDir + "/" + e.ID }
func (e *Trashed) content() string { return e.dir() + "/" + trashContent }

// check refuses what leads out of the trash or the tree; entry.json lies on a
// disk that others write to.
func (e *Trashed) check() error {
	names := []string{e.ID}
	switch e.Kind {
	case TrashTimelapse:
		names = append(names, e.Timelapse)
	case TrashScan:
		names = append(names, e.Scan)
	case TrashFileset:
		names = append(names, e.Scan, e.Fileset)
	case TrashFile:
		names = append(names, e.Scan, e.Fileset, e.File)
	default:
		return fmt.Errorf("trash entry %q: kind %q is unknown", e.ID, e.Kind)
	}
	if e.Timelapse != "" {
		names = append(names, e.Timelapse)
	}
	for _, name := range names {
		if !readable(name) {
			return fmt.Errorf("trash entry %q: bad name %q", e.ID, name)
		}
	}
	return nil
}

// ErrTrashGone is what calls answer for an entry that the trash does not have,
// or that a call which was cut short left without content.
var ErrTrashGone = fault.New(fault.NotFound, "unknown_trash_entry", "no such entry in the trash")

// TrashEntries returns what the trash holds, the oldest first. What cannot be
// read is left out and said in damaged, and left as it is.
func (t *Tree) TrashEntries(ctx context.Context) (entries []Trashed, damaged []string, err error) {
	entries, damaged, _, err = t.OddTrash(ctx, nil)
	return entries, damaged, err
}

// OddTrash is TrashEntries without those of the known ones that have their
// content; lost are the known ones that the trash does not have. It costs a
// fraction where most are known.
func (t *Tree) OddTrash(ctx context.Context, known map[string]bool) (entries []Trashed, damaged, lost []string, err error) {
	list, err := fs.ReadDir(t.root.FS(), trashDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil, wrap("list", trashDir, err)
	}
	there := make(map[string]bool, len(list))
	for _, d := range list {
		if err := ctx.Err(); err != nil {
			return nil, nil, nil, fmt.Errorf("list the trash: %w", err)
		}
		there[d.Name()] = true
		if known[d.Name()] {
			if whole, err := t.exists(trashDir + "/" + d.Name() + "/" + trashContent); err == nil && whole {
				continue
			}
		}
		e, err := t.TrashEntry(d.Name())
		switch {
		case err == nil:
			entries = append(entries, *e)
		case exhausted(err):
			return nil, nil, nil, fmt.Errorf("read trash entry %q: %w", d.Name(), err)
		case !errors.Is(err, ErrTrashGone): // gone meanwhile
			damaged = append(damaged, d.Name())
		}
	}
	for id := range known {
		if !there[id] {
			lost = append(lost, id)
		}
	}
	slices.SortFunc(entries, func(a, b Trashed) int { return strings.Compare(a.ID, b.ID) })
	return entries, damaged, lost, nil
}

// TrashEntry reads one entry; ErrTrashGone if there is none of that id.
func (t *Tree) TrashEntry(id string) (*Trashed, error) {
	if !readable(id) {
		return nil, ErrTrashGone
	}
	data, err := t.readTrash(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrTrashGone
	}
	if err != nil {
		return nil, wrap("read trash entry", id, err)
	}
	e := new(Trashed)
	if err := json.Unmarshal(data, e); err != nil {
		return nil, fmt.Errorf("read trash entry %q: %w", id, err)
	}
	e.ID = id
	if err := errors.Join(e.check(), e.at(e.Target).check()); err != nil {
		return nil, err
	}
	if e.Listed, err = compact(e.Listed); err != nil {
		return nil, fmt.Errorf("read trash entry %q: %w", id, err)
	}
	if _, err := t.root.Lstat(e.content()); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, wrap("look at trash entry", id, err)
		}
		e.Pending = true
	}
	return e, nil
}

func compact(raw json.RawMessage) (json.RawMessage, error) {
	if raw == nil {
		return nil, nil
	}
	var out bytes.Buffer
	err := json.Compact(&out, raw)
	return out.Bytes(), err
}

func (t *Tree) readTrash(id string) ([]byte, error) {
	dir, err := t.root.OpenRoot(trashDir + "/" + id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // only read
	return readFile(dir, entryFile, meta.MaxBytes)
}

// enterTrash makes the entry without its content, durably.
func (t *Tree) enterTrash(ctx context.Context, e *Trashed) error {
	if err := e.check(); err != nil {
		return err
	}
	document, err := e.document()
	if err != nil {
		return err
	}
	if err := t.ensureDir(Hidden, dirPerm); err != nil {
		return err
	}
	if err := t.ensureDir(trashDir, stagingPerm); err != nil {
		return err
	}
	// Always, for a call that made them may have been cut short here.
	if err := t.syncDirs(".", Hidden); err != nil {
		return err
	}
	return t.build(ctx, trashDir, e.dir(), errTwice, map[string][]byte{entryFile: document})
}

// document is entry.json.
func (e *Trashed) document() ([]byte, error) {
	document, err := json.MarshalIndent(e, "", "    ")
	if err != nil {
		return nil, fmt.Errorf("encode trash entry: %w", err)
	}
	return document, nil
}

var errTwice = fault.New(fault.Internal, "trash_entry_exists", "the trash has an entry of that id")

// Purge takes an entry out of the trash for good: when it returns nil, the
// entry is gone durably. discard frees the room on the disk, which may take a
// while; what it leaves is for Sweep. ErrTrashGone if there is no such entry.
func (t *Tree) Purge(ctx context.Context, id string) (discard func(), err error) {
	if !readable(id) {
		return nil, ErrTrashGone
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("purge trash entry %q: %w", id, err)
	}
	// Not removed in place: half of an entry could be taken for a whole one.
	tmp := stagingName()
	err = t.inStaging(func() error { return t.disk.rename(trashDir+"/"+id, tmp) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrTrashGone
	}
	if err != nil {
		return nil, wrap("purge trash entry", id, err)
	}
	if err := t.syncDirs(trashDir, stagingDir); err != nil {
		return nil, wrap("purge trash entry", id, errors.Join(err, t.disk.rename(tmp, trashDir+"/"+id)))
	}
	return func() { t.discard(tmp) }, nil
}

// dropEntry removes an entry that has nothing of value, an empty one. What
// cannot be removed now is for SettleTrash.
func (t *Tree) dropEntry(e *Trashed) {
	if discard, err := t.Purge(context.Background(), e.ID); err == nil {
		discard()
	}
}

// exists says whether anything has that name.
func (t *Tree) exists(name string) (bool, error) {
	_, err := t.root.Lstat(name)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
