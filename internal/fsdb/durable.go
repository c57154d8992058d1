package fsdb

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sync/errgroup"
)

// stagingDir is where everything is built that is not yet visible.
const stagingDir = Hidden + "/staging"

// syncers bounds how many fsyncs run at once. They run together because a
// journaling filesystem makes them one commit.
const syncers = 16

// disk is every call that changes the tree; nothing else in this package does.
// So a test can stop it after any step and look at what a reader would find.
type disk interface {
	create(name string) (file, error) // exclusive: never opens what exists
	append(name string) (file, error) // creates it if it is not there
	mkdir(name string, perm fs.FileMode) error
	rename(from, to string) error
	removeAll(name string) error
	syncDir(name string) error
	link(from, to string) error
	// Of a file that is there, such as an upload that comes in pieces.
	truncate(f *os.File, size int64) error
	write(f *os.File, p []byte) (int, error)
	sync(f *os.File) error
	syncFile(name string) error
}

// file is a new file, written and synced before it gets its name.
type file interface {
	io.Writer
	Sync() error
	Close() error
}

// rootDisk is the real disk.
type rootDisk struct{ root *os.Root }

func (d rootDisk) create(name string) (file, error) {
	return d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
}

func (d rootDisk) append(name string) (file, error) {
	return d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, filePerm)
}

func (d rootDisk) mkdir(name string, perm fs.FileMode) error { return d.root.Mkdir(name, perm) }
func (d rootDisk) rename(from, to string) error              { return d.root.Rename(from, to) }
func (d rootDisk) removeAll(name string) error               { return d.root.RemoveAll(name) }

func (d rootDisk) link(from, to string) error { return d.root.Link(from, to) }

func (rootDisk) truncate(f *os.File, size int64) error   { return f.Truncate(size) }
func (rootDisk) write(f *os.File, p []byte) (int, error) { return f.Write(p) }
func (rootDisk) sync(f *os.File) error                   { return f.Sync() }

func (d rootDisk) syncDir(name string) error  { return d.syncName(name) }
func (d rootDisk) syncFile(name string) error { return d.syncName(name) }

func (d rootDisk) syncName(name string) error {
	f, err := d.root.Open(name)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}

// stagingName returns a name in the staging directory that nobody has.
func stagingName() string { return stagingDir + "/" + rand.Text() }

// inStaging runs fn, which makes something in the staging directory, and makes
// that directory first if it is not there yet.
func (t *Tree) inStaging(fn func() error) error {
	err := fn()
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := t.ensureDir(Hidden, dirPerm); err != nil {
		return err
	}
	if err := t.ensureDir(stagingDir, stagingPerm); err != nil {
		return err
	}
	return fn()
}

// ensureDir makes the directory if it is not there.
func (t *Tree) ensureDir(name string, perm fs.FileMode) error {
	if err := t.disk.mkdir(name, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// createStaged creates an empty file in the staging directory.
func (t *Tree) createStaged() (name string, f file, err error) {
	name = stagingName()
	err = t.inStaging(func() (err error) {
		f, err = t.disk.create(name)
		return err
	})
	return name, f, err
}

// stageBytes puts data into a staged file that survives a power cut. On an
// error nothing is left.
func (t *Tree) stageBytes(data []byte) (name string, err error) {
	name, f, err := t.createStaged()
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.discard(name)
		return "", err
	}
	return name, nil
}

// discard removes something staged; what cannot be removed now is left to
// Sweep.
func (t *Tree) discard(name string) { _ = t.disk.removeAll(name) }

// put makes the file called name hold data, durably: a reader sees the old
// content or the new.
func (t *Tree) put(name string, data []byte) error {
	tmp, err := t.stageBytes(data)
	if err != nil {
		return err
	}
	return t.publish(tmp, name)
}

// publish gives something staged its name, durably. The directory it comes
// from need not be synced: the worst that a power cut leaves there is a second
// name, which Sweep removes.
func (t *Tree) publish(tmp, name string) error {
	if err := t.disk.rename(tmp, name); err != nil {
		t.discard(tmp)
		return err
	}
	return t.disk.syncDir(path.Dir(name))
}

// syncDirs syncs directories together.
func (t *Tree) syncDirs(dirs ...string) error {
	return together(len(dirs), func(i int) error {
		if err := t.disk.syncDir(dirs[i]); err != nil {
			return fmt.Errorf("sync directory %q: %w", dirs[i], err)
		}
		return nil
	})
}

// together runs fn for 0 to n-1, some at once, and returns the first error.
func together(n int, fn func(i int) error) error {
	if n == 1 {
		return fn(0)
	}
	var g errgroup.Group
	g.SetLimit(syncers)
	for i := range n {
		g.Go(func() error { return fn(i) })
	}
	return g.Wait()
}

// contextReader stops a long copy when its request ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
