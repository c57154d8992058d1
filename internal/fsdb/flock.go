package fsdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/romi/plantdb-go/internal/fault"
)

// The failures of file locks.
var (
	// ErrLocked says that somebody holds a lock that excludes the one asked for.
	ErrLocked = fault.New(fault.Locked, "locked", "another program holds the scan")
	// ErrNoFileLocks says that the filesystem cannot lock files.
	ErrNoFileLocks = fault.New(fault.Unavailable, "file_locks_unsupported", "the filesystem of the tree cannot lock files")
)

const (
	// locksDir is upstream's: <scan>.lock, and since 0.15.1 also
	// <scan>_<fileset>.lock and <scan>_<fileset>_<file>.lock, each with an
	// .info beside it that says who holds it.
	locksDir   = ".locks"
	lockSuffix = ".lock"
	infoSuffix = ".info"
	maxInfo    = 64 << 10
	// settleTime is ample for upstream to remove two files.
	settleTime = 100 * time.Millisecond
	settleStep = time.Millisecond
	// reopened bounds how often a lock file is opened again that its last
	// holder removed between our open and our lock.
	reopened = 100
)

// FileLocks are locks of upstream's that are held.
type FileLocks struct{ files []*os.File }

// Release lets the locks go. Their files stay: upstream removes a file after
// it let go of it, which lets two others hold it, each on an inode of its own.
// SweepLocks removes them once nobody has used them for a while.
func (l *FileLocks) Release() {
	if l == nil {
		return
	}
	for _, f := range l.files {
		unlock(f)
	}
	l.files = nil
}

// unlock lets a lock go. Closing would do so too, but for a child that is being
// started just then and shares the file until it runs a program of its own.
func unlock(f *os.File) {
	_ = unix.Flock(int(f.Fd()), unix.LOCK_UN) // closing does the same
	_ = f.Close()                             // nothing was written
}

// TryLock takes the locks that upstream's programs take before they write, for
// all of the resources or for none, and waits for nobody: "<scan>",
// "<timelapse>", "<scan>/<fileset>" or "<scan>/<fileset>/<file>". Shared locks exclude only writers.
// ErrLocked if somebody holds one of them, or a program one of a part of such a
// scan; ErrNoFileLocks if they cannot be had at all. A name that upstream
// could not lock either, for it is too long or no text, is passed over.
//
// flock(2) belongs to the open file: a process that is killed lets go of it.
func (t *Tree) TryLock(shared bool, resources ...string) (held *FileLocks, err error) {
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	held = new(FileLocks)
	defer func() {
		if err != nil {
			held.Release()
			held = nil
		}
	}()
	names := map[string]bool{}
	for _, r := range resources {
		if name := lockName(r); names[name] || !readable(name) {
			continue // two opens of one file would exclude each other
		}
		names[lockName(r)] = true
		f, err := t.flockSettled(lockName(r), how)
		if errors.Is(err, unix.ENAMETOOLONG) {
			continue
		}
		if err != nil {
			return held, wrap("lock", r, err)
		}
		held.files = append(held.files, f)
	}
	if shared {
		return held, nil
	}
	for _, r := range resources {
		if !strings.Contains(r, "/") && t.partHeld(r, resources) {
			return held, ErrLocked
		}
	}
	return held, nil
}

// lockName is upstream's name for the lock file of a resource, without suffix.
func lockName(resource string) string { return strings.ReplaceAll(resource, "/", "_") }

// flock opens a lock file and takes it; the caller closes it.
func (t *Tree) flock(name string, flags, how int) (*os.File, error) {
	at := locksDir + "/" + name + lockSuffix
	for range reopened {
		f, err := t.root.OpenFile(at, os.O_WRONLY|flags, filePerm)
		if errors.Is(err, fs.ErrNotExist) && flags&os.O_CREATE != 0 {
			if err = t.ensureDir(locksDir, dirPerm); err == nil {
				f, err = t.root.OpenFile(at, os.O_WRONLY|flags, filePerm)
			}
		}
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil && t.still(f, at) {
			return f, nil
		}
		unlock(f)
		switch {
		case err == nil, errors.Is(err, unix.EINTR): // removed meanwhile by who held it; or a signal
		case errors.Is(err, unix.EWOULDBLOCK):
			return nil, ErrLocked
		case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return nil, ErrNoFileLocks.Because(err)
		default:
			return nil, err
		}
	}
	return nil, ErrLocked
}

// flockSettled is flock for who will rely on it. Upstream lets go of a lock,
// then removes its file, then what it said of itself: who takes the lock in
// between holds a file that loses its name, and the next one takes another. So
// as long as somebody is said to hold the lock that we just got, he is not done
// with it, or was killed.
func (t *Tree) flockSettled(name string, how int) (*os.File, error) {
	for {
		f, err := t.flock(name, os.O_CREATE|os.O_TRUNC, how)
		if err != nil {
			return nil, err
		}
		for waited := time.Duration(0); waited < settleTime && t.claimed(name, how); waited += settleStep {
			time.Sleep(settleStep)
		}
		if !t.still(f, locksDir+"/"+name+lockSuffix) {
			unlock(f)
			continue
		}
		if how == unix.LOCK_EX {
			_ = t.forgetLock(name + infoSuffix) // of who was killed; if it stays, the next one waits as we did
		}
		return f, nil
	}
}

// claimed says whether the file of a lock says that somebody holds it in a way
// that excludes ours.
func (t *Tree) claimed(name string, how int) bool {
	if _, err := t.root.Lstat(locksDir + "/" + name + infoSuffix); err != nil {
		return false
	}
	if how == unix.LOCK_EX {
		return true
	}
	info, ok := t.lockInfo(name)
	return !ok || info.Type != "shared"
}

// still says whether an open file is the one that has the name.
func (t *Tree) still(f *os.File, name string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := t.root.Lstat(name)
	return err == nil && os.SameFile(opened, named)
}

// partHeld says whether a program holds a lock of a fileset or file of the
// scan, other than those that are ours now. Upstream's levels do not know of
// each other, but each of them rewrites the scan's files.json.
func (t *Tree) partHeld(scan string, ours []string) bool {
	names, err := t.lockInfos()
	if err != nil {
		return false
	}
	for _, name := range names {
		if !strings.HasPrefix(name, scan+"_") {
			continue
		}
		info, ok := t.lockInfo(name)
		if ok && strings.HasPrefix(info.Resource, scan+"/") && !slices.Contains(ours, info.Resource) && t.busy(name) {
			return true
		}
	}
	return false
}

// lockInfos returns the names of locks that somebody described.
func (t *Tree) lockInfos() ([]string, error) {
	dir, err := t.root.Open(locksDir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // only read
	all, err := dir.Readdirnames(-1)
	names := all[:0]
	for _, n := range all {
		if name, ok := strings.CutSuffix(n, infoSuffix); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, err
}

// busy says whether somebody holds the lock in any way. It takes it for the
// time of the question; upstream tries again after a tenth of a second.
func (t *Tree) busy(name string) bool {
	f, err := t.flock(name, 0, unix.LOCK_EX)
	if err == nil {
		unlock(f)
	}
	return errors.Is(err, ErrLocked)
}

// Holder is a program that holds one of upstream's file locks, as it says
// itself.
type Holder struct {
	Resource string // <scan>, <scan>/<fileset> or <scan>/<fileset>/<file>
	Level    string // scan, fileset or file
	Type     string // shared or exclusive
	User     string
	PID      int // on its own machine
	Since    time.Time
}

// Scan returns the scan, or timelapse, that the lock is of.
func (h Holder) Scan() string {
	scan, _, _ := strings.Cut(h.Resource, "/")
	return scan
}

// LockHolders returns the programs that hold file locks now, by resource. What
// a killed program said of itself is not among them.
func (t *Tree) LockHolders(ctx context.Context) ([]Holder, error) {
	names, err := t.lockInfos()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap("list", locksDir, err)
	}
	var list []Holder
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("list %q: %w", locksDir, err)
		}
		if info, ok := t.lockInfo(name); ok && t.busy(name) {
			list = append(list, info)
		}
	}
	return list, nil
}

// lockInfo reads what a holder says of itself.
func (t *Tree) lockInfo(name string) (Holder, bool) {
	data, err := readFile(t.root, path.Join(locksDir, name+infoSuffix), maxInfo)
	if err != nil {
		return Holder{}, false
	}
	var said struct {
		Resource  string  `json:"resource_id"`
		Scan      string  `json:"scan_id"` // before 0.15.1
		Level     string  `json:"level"`
		Type      string  `json:"lock_type"`
		User      string  `json:"user"`
		Timestamp float64 `json:"timestamp"`
		PID       int     `json:"pid"`
	}
	if json.Unmarshal(data, &said) != nil {
		return Holder{}, false // being written
	}
	h := Holder{Resource: said.Resource, Level: said.Level, Type: said.Type, User: said.User, PID: said.PID}
	if h.Resource == "" {
		h.Resource, h.Level = said.Scan, "scan"
	}
	if s, ns := math.Modf(said.Timestamp); s > 0 && s < 1<<40 {
		h.Since = time.Unix(int64(s), int64(ns*1e9))
	}
	return h, lockName(h.Resource) == name
}

// SweepLocks removes lock files that nobody holds and nobody has used for
// olderThan, with what killed holders said of themselves, and returns how many.
func (t *Tree) SweepLocks(ctx context.Context, olderThan time.Duration) (int, error) {
	entries, err := fs.ReadDir(t.root.FS(), locksDir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, wrap("sweep", locksDir, err)
	}
	removed, before := 0, time.Now().Add(-olderThan)
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return removed, fmt.Errorf("sweep %q: %w", locksDir, err)
		}
		name, ok := strings.CutSuffix(e.Name(), lockSuffix)
		info, err := e.Info()
		if !ok || err != nil || !info.Mode().IsRegular() || info.ModTime().After(before) {
			continue
		}
		f, err := t.flock(name, 0, unix.LOCK_EX)
		if err != nil {
			continue // in use, or gone
		}
		// While it is held: who opened it meanwhile finds another inode.
		err = errors.Join(t.forgetLock(name+infoSuffix), t.forgetLock(name+lockSuffix))
		unlock(f)
		if err != nil {
			return removed, wrap("sweep", locksDir, err)
		}
		removed++
	}
	return removed, nil
}

func (t *Tree) forgetLock(name string) error {
	err := t.root.Remove(locksDir + "/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
