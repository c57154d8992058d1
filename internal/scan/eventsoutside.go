package scan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/fsdb"
)

// seen says what the index knew of a scan or timelapse before it was read.
type seen int

const (
	firstRead     seen = iota // there was no index yet: nothing happened to it
	indexedBefore             // there are rows of it, or could be
)

// maxBroken bounds what an event tells of damage.
const maxBroken = 500

// changedOutside returns the event for what differs between a scan as it was
// read from disk and its rows, which are not changed yet. After a write of our
// own nothing does, and the event is not worth to be recorded.
func (s *Service) changedOutside(ctx context.Context, tx db.DBTX, read *fsdb.Scan) (Change, error) {
	state, err := s.q.GetScanState(ctx, tx, cleanText(read.Scan))
	if errors.Is(err, pgx.ErrNoRows) {
		return Change{Kind: ScanCreated, Scan: read.Scan, Outside: true}, nil
	}
	if err != nil {
		return Change{}, fmt.Errorf("read state of scan %q: %w", read.Scan, err)
	}
	source := sourceOf(read)
	c := Change{Kind: ScanChanged, Scan: read.Scan, Outside: true, Detail: keysChanged(state.Document, source.metadata)}
	if state.Timelapse != read.Timelapse {
		c.Timelapse = read.Timelapse
		c.Detail.Set = append(c.Detail.Set, "timelapse")
	}
	if source.broken != "" && (state.Broken == nil || *state.Broken != source.broken) {
		c.Detail.Broken = cleanText(source.broken[:min(len(source.broken), maxBroken)])
	}
	filesets, err := s.q.ListFilesets(ctx, tx, state.ID)
	if err != nil {
		return Change{}, fmt.Errorf("list filesets of scan %q: %w", read.Scan, err)
	}
	files, err := s.q.ListFileStates(ctx, tx, state.ID)
	if err != nil {
		return Change{}, fmt.Errorf("list files of scan %q: %w", read.Scan, err)
	}
	// In the order of files.json: all filesets, then their files.
	var knownOrder, nowOrder []filePath
	knownFilesets := make(map[string]string, len(filesets))
	for _, fs := range filesets {
		knownOrder = append(knownOrder, filePath{fs.Name, ""})
		knownFilesets[fs.Name] = string(fs.Document)
	}
	knownFiles := make(map[filePath]fileState, len(files))
	unfilled := map[filePath]bool{}
	for _, f := range files {
		knownOrder = append(knownOrder, filePath{f.Fileset, f.Name})
		state := fileState{f.Filename, f.Size, f.ModifiedAt.UnixMicro(), 0, string(f.Document)}
		if f.Inode == nil {
			unfilled[filePath{f.Fileset, f.Name}] = true
		} else {
			state.inode = *f.Inode
		}
		knownFiles[filePath{f.Fileset, f.Name}] = state
	}
	nowFilesets, nowFiles := map[string]string{}, map[filePath]fileState{}
	for _, fs := range read.Filesets {
		nowOrder = append(nowOrder, filePath{fs.ID, ""})
		nowFilesets[fs.ID] = string(fs.Metadata)
	}
	for _, fs := range read.Filesets {
		for _, f := range fs.Files {
			nowOrder = append(nowOrder, filePath{fs.ID, f.ID})
			// As it was stored: pgx cuts to microseconds.
			state := fileState{f.Name, f.Size, f.Modified.Truncate(time.Microsecond).UnixMicro(), rowInode(f.Inode), string(f.Metadata)}
			if unfilled[filePath{fs.ID, f.ID}] {
				state.inode = 0 // nobody knows whether it is another one
			}
			nowFiles[filePath{fs.ID, f.ID}] = state
		}
	}
	c.Detail.Filesets = countChanges(knownFilesets, nowFilesets)
	c.Detail.Files = countChanges(knownFiles, nowFiles)
	c.added = map[filePath]bool{}
	for name := range nowFilesets {
		if _, ok := knownFilesets[name]; !ok {
			c.added[filePath{name, ""}] = true
		}
	}
	for name := range nowFiles {
		if _, ok := knownFiles[name]; !ok {
			c.added[name] = true
		}
	}
	c.unfilled = len(unfilled) > 0
	c.sameParts = !c.unfilled && c.Detail.Filesets == nil && c.Detail.Files == nil && slices.Equal(knownOrder, nowOrder)
	return c, nil
}

type (
	filePath  struct{ fileset, file string }
	fileState struct {
		filename string
		size     int64
		modified int64 // microseconds
		inode    int64
		document string
	}
)

// countChanges compares parts that were known with those that are there; nil
// for no difference.
func countChanges[K, V comparable](known, now map[K]V) *Count {
	var c Count
	for name, state := range now {
		switch old, ok := known[name]; {
		case !ok:
			c.Added++
		case old != state:
			c.Changed++
		}
	}
	c.Removed = len(known) + c.Added - len(now)
	if c == (Count{}) {
		return nil
	}
	return &c
}

// less returns the count without one of what was added; nil for nothing.
func (c *Count) less() *Count {
	if c == nil {
		return nil
	}
	rest := Count{max(0, c.Added-1), c.Removed, c.Changed}
	if rest == (Count{}) {
		return nil
	}
	return &rest
}

// worth returns the change, unless it is one that changed nothing, and those
// that tell of parts of it.
func (c Change) worth() []Change {
	if c.Kind == ScanChanged && c.Detail.empty() {
		return c.doubted
	}
	return append([]Change{c}, c.doubted...)
}

// timelapseChangedOutside is changedOutside for a timelapse.
func (s *Service) timelapseChangedOutside(ctx context.Context, tx pgx.Tx, read *fsdb.Timelapse, unseen seen) ([]Change, error) {
	was, err := s.q.GetTimelapse(ctx, tx, cleanText(read.ID))
	switch {
	case errors.Is(err, pgx.ErrNoRows) && unseen == firstRead:
		return nil, nil
	case errors.Is(err, pgx.ErrNoRows):
		by, err := s.doubts(read.ID)
		if who, ok := by[read.ID]; ok {
			return []Change{{Kind: TimelapseCreated, Timelapse: read.ID, by: &who}}, nil
		}
		return []Change{{Kind: TimelapseCreated, Timelapse: read.ID, Outside: true}}, err
	case err != nil:
		return nil, fmt.Errorf("read state of timelapse %q: %w", read.ID, err)
	}
	c := Change{Kind: TimelapseChanged, Timelapse: read.ID, Outside: true, Detail: keysChanged(was.Document, read.Metadata)}
	var owner *string
	if read.Owner != nil {
		owner = cleanOwner(*read.Owner)
	}
	if !same(was.Owner, owner) {
		c.Detail.Set = append(c.Detail.Set, "owner")
	}
	if !slices.Equal(was.Members, cleanTexts(read.Scans)) {
		c.Detail.Set = append(c.Detail.Set, "scans")
	}
	if len(c.Detail.Set)+len(c.Detail.Removed) == 0 {
		return nil, nil
	}
	return []Change{c}, nil
}

func same(a, b *string) bool {
	return a == b || a != nil && b != nil && *a == *b
}
