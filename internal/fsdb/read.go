package fsdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

const (
	maxPipeline = 1 << 20
	// maxScanMetadata bounds what one scan's metadata may take in memory.
	maxScanMetadata = 128 << 20
	maxWarnings     = 50
	// readAttempts bounds how often a scan is read again that changed under
	// the reader: upstream rewrites its JSON in place.
	readAttempts = 3
)

// Scan is a scan as it lies on disk. Metadata is always a JSON object in
// compact form, {} where it is missing or cannot be read.
type Scan struct {
	Loc
	// Signature was taken before anything was read, so that a change during
	// the read shows in the next comparison.
	Signature Signature
	Metadata  json.RawMessage
	// Visibility is what WriteVisibility wrote, empty if nothing was.
	Visibility string
	// VisibilityLost says that something was, and that it cannot be read: who
	// may see the scan is not known.
	VisibilityLost bool
	Filesets       []Fileset
	Beside         Beside
	// Measures says that there is a measures.json.
	Measures bool
	// Pipeline is pipeline.toml, nil if there is none or it is over 1 MiB.
	Pipeline []byte
	// Changed is when the directory last changed (ctime).
	Changed time.Time
	// Broken says why the scan cannot be used; empty for a sound one.
	Broken string
	// Warnings say what was passed over, in the order it was met.
	Warnings []string
}

// Fileset is one fileset of a scan, in the order of files.json.
type Fileset struct {
	ID       string
	Metadata json.RawMessage
	Files    []File
}

// File is one file of a fileset. Name is the file's name on disk. SHA256 is for
// who knows it: reading a scan reads no bytes of its files.
type File struct {
	ID, Name string
	Size     int64
	Modified time.Time
	Touched  time.Time // when anything of it changed, its name included
	Inode    uint64
	SHA256   []byte
	Metadata json.RawMessage
}

// ReadScan reads a scan with all its metadata. ErrNotFound if there is no such
// directory; any damage is in the result, as Broken or as warnings, and an
// error means that nothing can be said about the scan.
func (t *Tree) ReadScan(ctx context.Context, loc Loc) (*Scan, error) {
	var s *Scan
	torn, until := false, time.Now().Add(t.patience)
	for attempt := 1; ; attempt++ {
		signature, err := t.Signature(ctx, loc)
		if err != nil {
			return nil, err
		}
		if s == nil || s.Signature != signature {
			s = &Scan{Loc: loc, Signature: signature, Metadata: json.RawMessage("{}")}
			if torn, err = t.readScan(ctx, s); err != nil {
				return nil, fmt.Errorf("read scan %q: %w", loc.Dir(), err)
			}
		} else if !torn {
			return s, nil
		}
		// It is damaged, or it is being written; if so, look again.
		switch sound := s.Broken == "" && len(s.Warnings) == 0; {
		case sound, !torn && attempt >= readAttempts, torn && time.Now().After(until):
			return s, nil
		case torn:
			if err := pause(ctx, tornStep); err != nil {
				return nil, fmt.Errorf("read scan %q: %w", loc.Dir(), err)
			}
		}
	}
}

// readScan says in torn whether what is damaged was written just now.
func (t *Tree) readScan(ctx context.Context, s *Scan) (torn bool, err error) {
	dir, err := t.openScan(s.Loc)
	if errors.Is(err, ErrNotFound) || exhausted(err) {
		return false, err
	}
	if err != nil {
		s.Broken = reason(err)
		return false, nil
	}
	defer func() { _ = dir.Close() }() // only read
	r := reader{dir: dir, scan: s, budget: maxScanMetadata, patience: t.patience}
	// Before files.json, into which it may be folded meanwhile.
	if r.journal, err = t.journalOf(s.Loc); err != nil {
		r.breaks("journal", err)
	}
	r.read(ctx)
	r.beside(ctx)
	return r.torn, r.fatal
}

// reader reads one scan. Once fatal is set it does nothing more.
type reader struct {
	dir     *os.Root
	scan    *Scan
	journal *Journal
	budget  int64
	torn    bool // a file that cannot be read was written just now
	fatal   error
	// patience is that of the tree.
	patience time.Duration
}

func (r *reader) read(ctx context.Context) {
	s := r.scan
	if info, err := r.dir.Lstat("."); err == nil {
		s.Changed = changed(info)
	}
	if info, err := r.dir.Lstat(metadataDir); err != nil || !info.IsDir() {
		s.Broken = "it has no metadata directory"
	}
	s.Metadata = r.metadata(scanMetadata)
	r.visibility()
	if info, err := r.dir.Stat(measuresFile); err == nil {
		s.Measures = info.Mode().IsRegular()
	}
	s.Pipeline = r.pipeline()
	data, err := readFile(r.dir, indexFile, meta.MaxBytes)
	if err != nil {
		r.breaks(indexFile, err)
		return
	}
	x, err := parseIndex(data)
	if err != nil {
		r.breaks(indexFile, err)
		return
	}
	x.apply(r.journal, r.dir)
	r.filesets(ctx, x)
}

func (r *reader) visibility() {
	v, err := readVisibility(r.dir)
	if err == nil {
		r.scan.Visibility = v
		return
	}
	r.scan.VisibilityLost = true
	r.warn("%s, which says who may see the scan, cannot be read: %s", accessFile, reason(err))
	r.breaks(accessFile, err)
}

// damaged notes a file that cannot be read.
func (r *reader) damaged(name string) {
	if info, err := r.dir.Stat(name); err == nil && fresh(info, r.patience) {
		r.torn = true
	}
}

func (r *reader) breaks(name string, err error) {
	r.damaged(name)
	switch {
	case exhausted(err):
		r.fatal = err
	case r.scan.Broken != "":
	case errors.Is(err, fs.ErrNotExist):
		r.scan.Broken = "it has no " + name
	default:
		r.scan.Broken = name + ": " + reason(err)
	}
}

func (r *reader) warn(format string, args ...any) {
	switch n := len(r.scan.Warnings); {
	case n < maxWarnings:
		r.scan.Warnings = append(r.scan.Warnings, fmt.Sprintf(format, args...))
	case n == maxWarnings:
		r.scan.Warnings = append(r.scan.Warnings, "and more")
	}
}

// metadata reads a metadata file; whatever is wrong with it, it is {}.
func (r *reader) metadata(name string) json.RawMessage {
	empty := json.RawMessage("{}")
	data, err := readFile(r.dir, name, min(meta.MaxBytes, r.budget))
	if errors.Is(err, fs.ErrNotExist) {
		return empty
	}
	if err != nil {
		if exhausted(err) {
			r.fatal = err
		}
		r.damaged(name)
		r.warn("%s is passed over: %s", name, reason(err))
		return empty
	}
	r.budget -= int64(len(data))
	raw, nulls, err := meta.Read(data)
	if err != nil {
		r.damaged(name)
		r.warn("%s is passed over: %s", name, reason(err))
		return empty
	}
	if nulls > 0 {
		r.warn("%s: NaN or Infinity is read as null, %d times", name, nulls)
	}
	return raw
}

func (r *reader) pipeline() []byte {
	data, err := readFile(r.dir, pipelineFile, maxPipeline)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.warn("%s is passed over: %s", pipelineFile, reason(err))
	}
	return data
}

func (r *reader) filesets(ctx context.Context, x *index) {
	for i, e := range x.filesets {
		if err := ctx.Err(); err != nil {
			r.fatal = err
		}
		if r.fatal != nil {
			return
		}
		switch {
		case !readable(e.id):
			r.warn("fileset %d of files.json is passed over: it has no usable id", i)
		case !e.listed:
			r.warn("fileset %q is passed over: it has no list of files", e.id)
		case !r.isDir(e.id):
			r.warn("fileset %q is passed over: its directory is missing", e.id)
		default:
			r.fileset(e)
		}
	}
}

func (r *reader) isDir(name string) bool {
	info, err := r.dir.Stat(name)
	return err == nil && info.IsDir()
}

func (r *reader) fileset(e *filesetEntry) {
	f := Fileset{ID: e.id, Metadata: r.metadata(filesetMetadata(e.id)), Files: make([]File, 0, len(e.files))}
	place := make(map[string]int, len(e.files))
	for i, entry := range e.files {
		file, ok := r.file(e.id, i, entry)
		if r.fatal != nil {
			return
		}
		if !ok {
			continue
		}
		if first, twice := place[file.ID]; twice {
			r.warn("file %q of fileset %q is listed twice; the last entry counts", file.ID, e.id)
			f.Files[first] = file
			continue
		}
		place[file.ID] = len(f.Files)
		f.Files = append(f.Files, file)
	}
	s := r.scan
	if i := slices.IndexFunc(s.Filesets, func(o Fileset) bool { return o.ID == e.id }); i >= 0 {
		r.warn("fileset %q is listed twice; the last entry counts", e.id)
		s.Filesets[i] = f
		return
	}
	s.Filesets = append(s.Filesets, f)
}

func (r *reader) file(fileset string, i int, e fileEntry) (f File, ok bool) {
	if !readable(e.id) || !readable(e.name) {
		r.warn("file %d of fileset %q is passed over: it has no usable id or name", i, fileset)
		return f, false
	}
	info, err := r.dir.Stat(fileset + "/" + e.name)
	if err != nil || !info.Mode().IsRegular() {
		if exhausted(err) {
			r.fatal = err
		}
		r.warn("file %q of fileset %q is passed over: %q is missing", e.id, fileset, e.name)
		return f, false
	}
	return File{
		ID: e.id, Name: e.name, Size: info.Size(), Modified: info.ModTime(), Touched: changed(info), Inode: InodeOf(info),
		Metadata: r.metadata(fileMetadata(fileset, e.id)),
	}, true
}

// reason says what went wrong without the paths that an *fs.PathError tells.
func reason(err error) string {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Msg
	}
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}
