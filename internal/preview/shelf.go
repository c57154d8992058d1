package preview

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Shelf is what the directory of a cache holds, for who looks for previews of
// what is not there any more. The cache may be open and in use meanwhile. It is
// safe for concurrent use.
type Shelf struct {
	root *os.Root

	mu    sync.Mutex
	left  map[key]*entry // not claimed
	total map[key]*entry
	stale []string // what no writer has any more
	bytes int64
}

// OpenShelf lists the previews of a directory; there is nothing on the shelf if
// the directory is not there. The caller closes it.
func OpenShelf(dir string) (*Shelf, error) {
	s := &Shelf{left: map[key]*entry{}, total: map[key]*entry{}}
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open previews: %w", err)
	}
	s.root = root
	files, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("list previews: %w", err), root.Close())
	}
	for _, f := range files {
		e, ok := parseName(f.Name())
		info, err := f.Info()
		switch {
		case err != nil: // evicted meanwhile
		case ok:
			s.left[e.key], s.total[e.key] = e, e
		case strings.HasPrefix(f.Name(), tempPrefix) && time.Since(info.ModTime()) > tempAge:
			s.stale = append(s.stale, f.Name())
			s.bytes += info.Size()
		}
	}
	return s, nil
}

// Close releases the directory.
func (s *Shelf) Close() error {
	if s.root == nil {
		return nil
	}
	return s.root.Close()
}

// Claim says that there is a file of that name in that version (see Source.Key).
// Its previews of the sizes that have a name are not left over then; others are
// made again in a moment.
func (s *Shelf) Claim(filename, version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.total) == 0 {
		return
	}
	if strings.EqualFold(path.Ext(filename), ".ply") {
		voxel := strconv.FormatFloat(DefaultVoxel, 'g', -1, 64)
		delete(s.left, keyOf("pointcloud", version, voxel))
		delete(s.left, keyOf("mesh", version, voxel))
		return
	}
	delete(s.left, keyOf("image", version, strconv.Itoa(Thumb)))
	delete(s.left, keyOf("image", version, strconv.Itoa(Large)))
}

// Left returns the names of the previews that nobody claimed, how many bytes
// they have, and, if all are to be read, the names of those that are damaged.
func (s *Shelf) Left(ctx context.Context, read bool) (stale, damaged []string, bytes int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stale, bytes = slices.Clone(s.stale), s.bytes
	for _, e := range s.left {
		stale = append(stale, e.name())
		bytes += e.size
	}
	slices.Sort(stale)
	if read {
		damaged, err = s.damaged(ctx)
	}
	return stale, damaged, bytes, err
}

func (s *Shelf) damaged(ctx context.Context) (damaged []string, err error) {
	reader := store{root: s.root}
	for k, e := range s.total {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if _, unclaimed := s.left[k]; unclaimed {
			continue
		}
		seen := *e
		f, _, err := reader.openChecked(&seen)
		switch {
		case err == nil:
			err = f.Close()
		case errors.Is(err, errUnsound):
			damaged, err = append(damaged, e.name()), nil
		case errors.Is(err, fs.ErrNotExist): // evicted meanwhile
			err = nil
		}
		if err != nil {
			return nil, fmt.Errorf("read preview: %w", err)
		}
	}
	slices.Sort(damaged)
	return damaged, nil
}

// Remove removes previews by their names; a server makes them again when
// somebody asks.
func (s *Shelf) Remove(names []string) error {
	for _, name := range names {
		if err := s.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove preview: %w", err)
		}
	}
	return nil
}
