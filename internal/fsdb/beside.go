package fsdb

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
)

// Beside is what lies in a scan that its filesets do not list.
type Beside struct {
	Files, Bytes int64
}

// beside counts what lies in the scan's directory beside what was read of it:
// not files.json and the metadata of what it lists, not hidden files and the
// previews that upstream keeps, and no links.
func (r *reader) beside(ctx context.Context) {
	if r.fatal != nil {
		return
	}
	known := map[string]bool{indexFile: true, scanMetadata: true, webcacheDir: true}
	for _, s := range r.scan.Filesets {
		known[filesetMetadata(s.ID)] = true
		for _, f := range s.Files {
			known[s.ID+"/"+f.Name], known[fileMetadata(s.ID, f.ID)] = true, true
		}
	}
	w := besideWalk{ctx: ctx, root: r.dir, known: known}
	err := w.walk(".", 1)
	r.scan.Beside = w.found
	switch {
	case err == nil:
	case errors.Is(err, ErrTooLarge):
		r.warn("not all that lies beside the filesets is counted: %s", reason(err))
	case exhausted(err) || ctx.Err() != nil:
		r.fatal = err
	default:
		r.warn("what lies beside the filesets cannot be counted: %s", reason(err))
	}
}

// FilesetHolds counts the files in the directory of a fileset, listed or not, as far
// as they are counted. It is nothing where there is no such directory.
func (t *Tree) FilesetHolds(ctx context.Context, loc Loc, fileset string) (Beside, error) {
	dir, err := t.openScan(loc)
	if err != nil {
		return Beside{}, unopened(loc.Dir(), err)
	}
	defer func() { _ = dir.Close() }() // only read
	w := besideWalk{ctx: ctx, root: dir}
	if err = w.walk(fileset, 1); errors.Is(err, ErrTooLarge) {
		err = nil
	}
	return w.found, wrap("count", path.Join(loc.Dir(), fileset), err)
}

// besideWalk counts the files below a directory that are not known.
type besideWalk struct {
	ctx   context.Context
	root  *os.Root
	known map[string]bool
	found Beside
}

func (w *besideWalk) walk(dir string, depth int) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	entries, err := listDir(w.root, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), ".") || w.known[name]:
		case e.IsDir():
			if depth == maxScanDepth {
				return ErrTooLarge.With("the directories of the scan nest more than %d deep", maxScanDepth)
			}
			if err := w.walk(name, depth+1); err != nil {
				return err
			}
		case e.Type().IsRegular():
			if w.found.Files == maxScanFiles {
				return ErrTooLarge.With("there are more than %d files", maxScanFiles)
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // gone meanwhile
			}
			if err != nil {
				return err
			}
			w.found.Files++
			w.found.Bytes += info.Size()
		}
	}
	return nil
}
