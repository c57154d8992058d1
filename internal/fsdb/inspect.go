package fsdb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// FlawKind says what is wrong with a piece of a scan.
type FlawKind string

// What Inspect finds.
const (
	// BrokenScan is a directory that cannot be used as a scan.
	BrokenScan FlawKind = "broken_scan"
	// DamagedJSON is a JSON file that cannot be read; readers see {} for it.
	DamagedJSON FlawKind = "damaged_json"
	// BadEntry is an entry of files.json that readers pass over.
	BadEntry FlawKind = "bad_entry"
	// MissingFile is a listed file, MissingFileset a listed fileset, that is not
	// on the disk.
	MissingFile    FlawKind = "missing_file"
	MissingFileset FlawKind = "missing_fileset"
	// ExtraFile lies in a fileset, ExtraFileset beside them, and files.json does
	// not list it.
	ExtraFile    FlawKind = "extra_file"
	ExtraFileset FlawKind = "extra_fileset"
	// OrphanMetadata describe what files.json does not list.
	OrphanMetadata FlawKind = "orphan_metadata"
)

// Flaw is something wrong with a scan. Path is where, from the scan's directory.
type Flaw struct {
	Kind          FlawKind
	Fileset, File string // where known
	Path          string
	Detail        string
}

// ListedFile is a file that files.json lists and that is on the disk.
type ListedFile struct {
	Fileset, ID, Name string
	Size              int64
	Modified          time.Time
	Inode             uint64
}

// Inspection is what Inspect saw of a scan, in the order of files.json.
type Inspection struct {
	Files []ListedFile
	Flaws []Flaw
	// More says that there were too many flaws to tell all.
	More bool
}

// maxFlaws bounds what is told of one scan.
const maxFlaws = 1000

// Inspect compares what a scan's files.json lists with what lies on the disk,
// in both directions, and parses its JSON, but not the metadata of which sound
// says that they were read as they are now: of the scan (two empty names), a
// fileset (one) or a file. ErrNotFound if there is no such directory; damage is
// in the result.
func (t *Tree) Inspect(ctx context.Context, loc Loc, sound func(fileset, file string) bool) (*Inspection, error) {
	in := &inspector{ctx: ctx, sound: sound, seen: map[string]listedFileset{}}
	dir, err := t.openScan(loc)
	switch {
	case errors.Is(err, ErrNotFound) || exhausted(err):
		return nil, err
	case err != nil:
		in.flaw(Flaw{Kind: BrokenScan, Detail: reason(err)})
		return &in.found, nil
	}
	defer func() { _ = dir.Close() }() // only read
	in.dir = dir
	// Before files.json, into which it may be folded meanwhile.
	if in.journal, err = t.journalOf(loc); errors.Is(err, ErrBroken) {
		in.flaw(Flaw{Kind: BrokenScan, Path: indexFile, Detail: reason(err)})
	} else if err != nil {
		return nil, err
	}
	if err := in.scan(); err != nil {
		return nil, fmt.Errorf("inspect scan %q: %w", loc.Dir(), err)
	}
	return &in.found, nil
}

type inspector struct {
	ctx     context.Context
	dir     *os.Root
	journal *Journal
	sound   func(fileset, file string) bool
	found   Inspection
	seen    map[string]listedFileset // filesets
}

// listedFileset is what files.json lists of a fileset. Two ids may have one name.
type listedFileset struct{ names, ids map[string]bool }

func (in *inspector) flaw(f Flaw) {
	if len(in.found.Flaws) >= maxFlaws {
		in.found.More = true
		return
	}
	in.found.Flaws = append(in.found.Flaws, f)
}

func (in *inspector) scan() error {
	if info, err := in.dir.Lstat(metadataDir); err != nil || !info.IsDir() {
		in.flaw(Flaw{Kind: BrokenScan, Path: metadataDir, Detail: "it has no metadata directory"})
	}
	if _, err := readVisibility(in.dir); exhausted(err) {
		return err
	} else if err != nil {
		in.flaw(Flaw{Kind: DamagedJSON, Path: accessFile, Detail: reason(err)})
	}
	if err := in.document("", "", scanMetadata); err != nil {
		return err
	}
	data, err := readFile(in.dir, indexFile, meta.MaxBytes)
	if exhausted(err) {
		return err
	}
	var x *index
	if err == nil {
		x, err = parseIndex(data)
	}
	if err != nil {
		// Without it nobody can say what belongs to the scan.
		in.flaw(Flaw{Kind: BrokenScan, Path: indexFile, Detail: reason(err)})
		return nil
	}
	x.apply(in.journal, in.dir)
	for _, e := range x.filesets {
		if err := in.fileset(e); err != nil {
			return err
		}
	}
	if err := in.unlisted(); err != nil {
		return err
	}
	return in.orphans()
}

// document parses a metadata file, if it is there and nobody did so before.
func (in *inspector) document(fileset, file, name string) error {
	if in.sound(fileset, file) {
		return nil
	}
	data, err := readFile(in.dir, name, meta.MaxBytes)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case exhausted(err):
		return err
	case err == nil:
		_, _, err = meta.Read(data)
	}
	if err != nil {
		in.flaw(Flaw{Kind: DamagedJSON, Fileset: fileset, File: file, Path: name, Detail: reason(err)})
	}
	return nil
}

func (in *inspector) fileset(e *filesetEntry) error {
	if !readable(e.id) || !e.listed {
		in.flaw(Flaw{Kind: BadEntry, Path: indexFile, Detail: "a fileset has no usable id, or no list of files"})
		return nil
	}
	all := listedFileset{map[string]bool{}, map[string]bool{}}
	if _, twice := in.seen[e.id]; twice {
		in.flaw(Flaw{Kind: BadEntry, Fileset: e.id, Path: indexFile, Detail: "the fileset is listed twice, and the last entry counts"})
		in.found.Files = slices.DeleteFunc(in.found.Files, func(f ListedFile) bool { return f.Fileset == e.id })
	}
	in.seen[e.id] = all
	for _, f := range e.files {
		if f.id != "" {
			all.names[f.name], all.ids[f.id] = true, true // also of what is missing: its metadata are kept for it
		}
	}
	if info, err := in.dir.Stat(e.id); err != nil || !info.IsDir() {
		in.flaw(Flaw{Kind: MissingFileset, Fileset: e.id, Path: e.id, Detail: fmt.Sprintf("files.json lists it with %d files", len(e.files))})
		return nil
	}
	if err := in.document(e.id, "", filesetMetadata(e.id)); err != nil {
		return err
	}
	known := make(map[string]bool, len(e.files))
	for _, f := range e.files {
		if err := in.ctx.Err(); err != nil {
			return err
		}
		if err := in.file(e.id, f, known); err != nil {
			return err
		}
	}
	return nil
}

func (in *inspector) file(fileset string, f fileEntry, known map[string]bool) error {
	if !readable(f.id) || !readable(f.name) {
		in.flaw(Flaw{Kind: BadEntry, Fileset: fileset, File: f.id, Path: indexFile, Detail: "a file has no usable id or name"})
		return nil
	}
	if known[f.id] {
		in.flaw(Flaw{Kind: BadEntry, Fileset: fileset, File: f.id, Path: indexFile, Detail: "the file is listed twice, and the last entry counts"})
	}
	known[f.id] = true
	info, err := in.dir.Stat(fileset + "/" + f.name)
	if exhausted(err) {
		return err
	}
	if err != nil || !info.Mode().IsRegular() {
		in.flaw(Flaw{Kind: MissingFile, Fileset: fileset, File: f.id, Path: fileset + "/" + f.name, Detail: "files.json lists it"})
		return nil
	}
	listed := ListedFile{Fileset: fileset, ID: f.id, Name: f.name, Size: info.Size(), Modified: info.ModTime(), Inode: InodeOf(info)}
	in.found.Files = append(in.found.Files, listed)
	return in.document(fileset, f.id, fileMetadata(fileset, f.id))
}

// unlisted looks for files in the filesets, and for directories beside them,
// that files.json does not know.
func (in *inspector) unlisted() error {
	top, err := in.list(".")
	if err != nil {
		return err
	}
	for _, e := range top {
		all, listed := in.seen[e.Name()]
		switch {
		case !e.IsDir() || !readable(e.Name()) || e.Name() == metadataDir || e.Name() == webcacheDir:
			continue
		case !listed:
			in.flaw(Flaw{Kind: ExtraFileset, Fileset: e.Name(), Path: e.Name(), Detail: "files.json does not list the directory"})
			continue
		}
		files, err := in.list(e.Name())
		if err != nil {
			return err
		}
		for _, f := range files {
			if all.names[f.Name()] || !f.Type().IsRegular() || !readable(f.Name()) {
				continue
			}
			in.flaw(Flaw{Kind: ExtraFile, Fileset: e.Name(), Path: e.Name() + "/" + f.Name(), Detail: "files.json does not list it"})
		}
	}
	return nil
}

// orphans looks for metadata of what files.json does not list.
func (in *inspector) orphans() error {
	top, err := in.list(metadataDir)
	if err != nil {
		return err
	}
	for _, e := range top {
		name := metadataDir + "/" + e.Name()
		id, isJSON := strings.CutSuffix(e.Name(), ".json")
		if e.IsDir() {
			id = e.Name()
		}
		all, listed := in.seen[id]
		switch {
		case !readable(e.Name()) || name == scanMetadata:
		case e.IsDir() && listed:
			if err := in.orphansOf(id, all.ids); err != nil {
				return err
			}
		case (e.IsDir() || isJSON) && !listed && !in.extra(id):
			in.flaw(Flaw{Kind: OrphanMetadata, Fileset: id, Path: name, Detail: "files.json does not list such a fileset"})
		}
	}
	return nil
}

// extra says whether a directory of that name lies in the scan, unlisted.
func (in *inspector) extra(name string) bool {
	info, err := in.dir.Lstat(name)
	return err == nil && info.IsDir()
}

func (in *inspector) orphansOf(fileset string, ids map[string]bool) error {
	files, err := in.list(metadataDir + "/" + fileset)
	if err != nil {
		return err
	}
	for _, f := range files {
		id, isJSON := strings.CutSuffix(f.Name(), ".json")
		if !isJSON || ids[id] || !readable(f.Name()) || f.IsDir() || in.describes(fileset, id) {
			continue
		}
		in.flaw(Flaw{
			Kind: OrphanMetadata, Fileset: fileset, File: id, Path: metadataDir + "/" + fileset + "/" + f.Name(),
			Detail: "files.json does not list such a file",
		})
	}
	return nil
}

// describes says whether metadata belong to a file that is told as extra: they
// go with it.
func (in *inspector) describes(fileset, id string) bool {
	return slices.ContainsFunc(in.found.Flaws, func(f Flaw) bool {
		return f.Kind == ExtraFile && f.Fileset == fileset && idOf(path.Base(f.Path)) == id
	})
}

// idOf is the id that a file of that name gets.
func idOf(name string) string { return strings.TrimSuffix(name, path.Ext(name)) }

// list returns what a directory holds, sorted by name; nothing if it is not there.
func (in *inspector) list(dir string) ([]fs.DirEntry, error) {
	entries, err := listDir(in.dir, dir)
	if err != nil && !exhausted(err) {
		in.flaw(Flaw{Kind: BrokenScan, Path: dir, Detail: reason(err)})
		return nil, nil
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}
