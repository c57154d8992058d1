package fsdb

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// Is says whether the scan at loc is the staged one with that metadata, as
// AddScan leaves it: the same files with the same bytes, and no others. It may be
// asked after AddScan, too.
func (s *StagedScan) Is(ctx context.Context, loc Loc, metadata json.RawMessage) (bool, error) {
	dir, err := s.tree.OpenScanDir(ctx, loc)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = dir.Close() }() // only read
	names, err := dir.Files(ctx)
	if err != nil {
		return false, err
	}
	own := func(name string) bool { return name == scanMetadata || name == accessFile }
	names = slices.DeleteFunc(names, own)
	if !slices.Equal(names, slices.DeleteFunc(slices.Clone(s.files), own)) {
		return false, nil
	}
	there, err := s.tree.ReadScanMetadata(ctx, loc)
	if err != nil {
		return false, err
	}
	document, err := meta.Sorted(metadata)
	if err != nil {
		return false, wrap("compare", loc.Dir(), err)
	}
	want, _, err := meta.Read(document)
	if err != nil || string(sortedMetadata(there)) != string(want) {
		return false, wrap("compare", loc.Dir(), err)
	}
	visibility, err := readVisibility(dir.root)
	if err != nil || visibility != cmp.Or(s.visibility, visibilityIn(metadata)) {
		return false, wrap("compare", loc.Dir(), err)
	}
	return s.sameBytes(ctx, dir, names)
}

func (s *StagedScan) sameBytes(ctx context.Context, dir *ScanDir, names []string) (bool, error) {
	for _, name := range names {
		sum, info, err := dir.Digest(ctx, name, func(ctx context.Context, _ int) error { return ctx.Err() })
		if errors.Is(err, ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, wrap("compare", name, err)
		}
		if want := s.sums[name]; info.Size() != want.size || sum != want.sum {
			return false, nil
		}
	}
	return true, nil
}

// AddScan makes a staged scan one of the tree, with that metadata; it appears
// whole. The staged scan is used up by it, whatever it returns. Errors as
// CreateScan.
func (t *Tree) AddScan(ctx context.Context, loc Loc, s *StagedScan, metadata json.RawMessage) error {
	return s.use("add scan", loc, func() error {
		parent, err := t.roomFor(loc, metadata)
		if err != nil {
			return err
		}
		if err := s.furnish(ctx, metadata); err != nil {
			return err
		}
		return t.enter(parent, s.name, loc.Dir(), ErrScanExists)
	})
}

// AddScanWithTimelapse is AddScan for the first scan of a timelapse that it
// makes: both appear at once. ErrTimelapseExists if anything has that name.
func (t *Tree) AddScanWithTimelapse(ctx context.Context, tl Timelapse, scan string, s *StagedScan, metadata json.RawMessage) error {
	loc := Loc{Timelapse: tl.ID, Scan: scan}
	return s.use("add scan", loc, func() error { return t.addWithTimelapse(ctx, tl, loc, s, metadata) })
}

func (t *Tree) addWithTimelapse(ctx context.Context, tl Timelapse, loc Loc, s *StagedScan, metadata json.RawMessage) error {
	if err := CheckName(TimelapseName, tl.ID); err != nil {
		return err
	}
	if err := CheckName(ScanName, loc.Scan); err != nil {
		return err
	}
	if id := timelapseID(metadata); id != "" && id != tl.ID {
		return ErrMembership
	}
	if err := errors.Join(t.free(tl.ID, ErrTimelapseExists), t.free(loc.Scan, ErrScanExists)); err != nil {
		return err
	}
	document, err := tl.document(nil)
	if err != nil {
		return err
	}
	if err := s.furnish(ctx, metadata); err != nil {
		return err
	}
	tmp := stagingName()
	defer t.discard(tmp)
	if err := t.disk.mkdir(tmp, dirPerm); err != nil {
		return err
	}
	if err := t.writeNew(tmp+"/"+timelapseFile, document); err != nil {
		return err
	}
	if err := t.disk.rename(s.name, tmp+"/"+loc.Scan); err != nil {
		return err
	}
	if err := t.disk.syncDir(tmp); err != nil {
		return err
	}
	return t.enter(".", tmp, tl.ID, ErrTimelapseExists)
}

// use uses the scan up.
func (s *StagedScan) use(verb string, loc Loc, fn func() error) error {
	if s.used.Swap(true) {
		return fmt.Errorf("%s %q: the staged scan was used already", verb, loc.Dir())
	}
	err := fn()
	if err != nil {
		s.tree.discard(s.name) // nothing, once it has another name
	}
	return wrap(verb, loc.Dir(), err)
}

// furnish gives the scan its metadata and makes all of it durable. Metadata
// that says what that of the archive said stays as it came, byte for byte.
func (s *StagedScan) furnish(ctx context.Context, metadata json.RawMessage) error {
	t := s.tree
	document, err := meta.Sorted(metadata)
	if err != nil {
		return err
	}
	if raw, _, err := meta.Read(document); err != nil || s.document == nil || string(raw) != string(sortedMetadata(s.metadata)) {
		if err := t.disk.removeAll(s.name + "/" + scanMetadata); err != nil {
			return err
		}
		if err := t.writeNew(s.name+"/"+scanMetadata, document); err != nil {
			return err
		}
	}
	if v := visibilityIn(metadata); v != "" && s.visibility == "" {
		if err := t.writeNew(s.name+"/"+accessFile, visibilityDocument(v)); err != nil {
			return err
		}
	}
	if err := t.syncDirs(s.dirs...); err != nil {
		return err
	}
	return ctx.Err()
}

// sortedMetadata is metadata with its keys in order, nil for what is no JSON.
func sortedMetadata(metadata json.RawMessage) json.RawMessage {
	document, err := meta.Sorted(metadata)
	if err != nil {
		return nil
	}
	raw, _, err := meta.Read(document)
	if err != nil {
		return nil
	}
	return raw
}
