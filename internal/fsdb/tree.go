package fsdb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

const (
	// Marker is the empty file that makes a directory a tree; upstream
	// refuses a directory without it since 0.16.
	Marker = "romidb"
	// Hidden is the directory in the root that is ours: staging, journals,
	// cache and trash. Upstream overlooks it for its leading dot.
	Hidden = ".plantdb"

	configsDir = "configs" // pipeline configurations, not a scan
)

// Modes are narrowed by the umask, as upstream's are: who shares a tree with
// the pipeline's users says so there.
const (
	filePerm    = 0o666
	dirPerm     = 0o777
	stagingPerm = 0o700
)

// Tree is an open scan tree. It is safe for concurrent use but for the rule of
// one writer per scan.
type Tree struct {
	dir     string
	root    *os.Root
	disk    disk
	signers sync.Pool
	ledgers ledgers
	// patience is how long ReadScan waits for who writes a file in place.
	patience time.Duration

	journals struct {
		sync.Mutex
		made bool // their directory
	}
}

// Create makes dir a tree if it is none, by adding the marker and nothing
// else, and opens it.
func Create(dir string) (*Tree, error) {
	if err := os.MkdirAll(dir, dirPerm); err != nil {
		return nil, wrap("create tree", dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, wrap("create tree", dir, err)
	}
	defer func() { _ = root.Close() }() // nothing was written through it
	d := rootDisk{root}
	f, err := d.create(Marker)
	if errors.Is(err, fs.ErrExist) {
		return Open(dir)
	}
	if err == nil {
		err = errors.Join(f.Sync(), f.Close(), d.syncDir("."))
	}
	if err != nil {
		return nil, wrap("create tree", dir, err)
	}
	return Open(dir)
}

// Open opens the tree at dir; ErrNotTree if dir is not a directory or has no
// marker. It writes nothing.
func Open(dir string) (*Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, ErrNotTree.With("the tree's directory cannot be opened").Because(err)
	}
	info, err := root.Lstat(Marker)
	if err != nil || !info.Mode().IsRegular() {
		_ = root.Close() // nothing was written through it
		return nil, fmt.Errorf("open tree %q: %w", dir, ErrNotTree.With("no PlantDB tree: the directory has no marker file %q", Marker))
	}
	t := &Tree{dir: dir, root: root, disk: rootDisk{root}, patience: tornTime}
	t.signers.New = func() any { return newSigner() }
	return t, nil
}

// Close releases the tree's directory; open files stay open.
func (t *Tree) Close() error { return t.root.Close() }

// Dir returns the directory as it was given to Open.
func (t *Tree) Dir() string { return t.dir }

// Has says whether anything lies where a scan would.
func (t *Tree) Has(loc Loc) (bool, error) {
	if loc.check() != nil || loc.Timelapse != "" && t.requireDir(loc.Timelapse) != nil {
		return false, nil
	}
	there, err := t.exists(loc.Dir())
	return there, wrap("look for", loc.Dir(), err)
}

// openScan opens the directory of a scan, out of which no name and no link
// leads. ErrNotFound if there is none, errLinked if it is a link.
func (t *Tree) openScan(loc Loc) (*os.Root, error) {
	if err := loc.check(); err != nil {
		return nil, err
	}
	if loc.Timelapse != "" {
		if err := t.requireDir(loc.Timelapse); err != nil {
			return nil, err
		}
	}
	return t.openDir(loc.Dir())
}

func (t *Tree) openDir(dir string) (*os.Root, error) {
	if err := t.requireDir(dir); err != nil {
		return nil, err
	}
	return t.root.OpenRoot(dir)
}

var errLinked = ErrBroken.With("it is a symbolic link")

// requireDir says whether dir is a directory and not a link to one.
func (t *Tree) requireDir(dir string) error {
	info, err := t.root.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ErrNotFound
	case err != nil:
		return fmt.Errorf("look at %q: %w", dir, err)
	case info.Mode()&fs.ModeSymlink != 0:
		return errLinked
	case !info.IsDir():
		return ErrNotFound
	}
	return nil
}
