package fsdb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/fsnotify/fsnotify"
	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sys/unix"
)

const (
	// watchedPerScan is what a scan costs: its directory and that of its metadata.
	watchedPerScan = 2
	// maxTouched bounds what is kept of changes that nobody took yet; beyond,
	// the whole tree may have changed.
	maxTouched = 4096
	// userWatches is the system's bound on what all programs of a user watch.
	userWatches = "/proc/sys/fs/inotify/max_user_watches"
)

// Touched is what may have changed since it was asked for last; each is named
// once, however often it happened.
type Touched struct {
	// All says that anything may have: timelapses came or went, there was too
	// much to name, or the system lost count.
	All bool
	// Scans are places of scans: there may be one, another one, or none now.
	Scans []Loc
	// Timelapses are those whose marker was written.
	Timelapses []string
	// Unlocked are names that a scan may have of which a program that takes
	// file locks has let go; most of them no scan has.
	Unlocked []string
}

// Watched says what a Watcher sees.
type Watched struct {
	Directories, Scans int
	// Unwatched is how many scans of the tree are not among them, and Why says
	// what keeps them out.
	Unwatched int
	Why       string
	// Overflows is how often the system lost count.
	Overflows int64
}

// Watcher tells which scans may have been changed, by whomever, without looking
// into any. It watches directories and no files: the root, upstream's locks,
// timelapses, and of each scan its own directory and that of its metadata. A
// change that shows in none of these (of a file's bytes, or of its metadata
// without a lock) it does not see. Where there are more scans than it
// may watch, it watches those that changed last.
//
// It is safe for concurrent use.
type Watcher struct {
	tree    *Tree
	root    string
	notify  *fsnotify.Watcher
	changed chan struct{} // of capacity one
	done    chan struct{}

	mu         sync.Mutex
	dirs       map[string]watchedDir
	scans      *simplelru.LRU[Loc, struct{}]
	room       int // for scans
	lapses     int // room for timelapses
	why        string
	unwatched  int  // at the last Follow
	lost       bool // the system lost count since Follow
	overflows  int64
	all        bool
	touched    map[Loc]struct{}
	timelapses map[string]struct{}
	unlocked   map[string]struct{}
}

// watchedDir is what a directory that is watched is.
type watchedDir struct {
	kind dirKind
	loc  Loc // of a scan; of a timelapse only the timelapse
}

type dirKind int

const (
	treeDir dirKind = iota
	lockDir
	timelapseDir
	scanDir
	scanMetadataDir
)

// Watch begins to watch the tree, with at most limit directories and never more
// than half of what the system lets a user watch. Everything counts as
// touched at first, and what there is to watch is told by Follow. The caller
// closes it. An error says that the system does not let us watch anything.
func (t *Tree) Watch(limit int) (*Watcher, error) {
	why := "the settings allow no more"
	if most := systemLimit() / 2; limit > most {
		limit, why = most, "half of fs.inotify.max_user_watches is taken"
	}
	lapses := limit / 8
	n, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch tree %q: %w", t.dir, err)
	}
	w := &Watcher{
		tree: t, root: filepath.Clean(t.dir), notify: n, changed: make(chan struct{}, 1), done: make(chan struct{}),
		dirs: map[string]watchedDir{}, room: max(1, (limit-lapses-2)/watchedPerScan), lapses: lapses, why: why, all: true,
	}
	w.forget()
	w.scans, err = simplelru.NewLRU(w.room, func(loc Loc, _ struct{}) { w.leaveScan(loc) })
	if err == nil {
		err = n.Add(w.root)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch tree %q: %w", t.dir, err), n.Close())
	}
	w.dirs[w.root] = watchedDir{kind: treeDir}
	w.enter(filepath.Join(w.root, locksDir), watchedDir{kind: lockDir})
	w.changed <- struct{}{}
	go w.run()
	return w, nil
}

// systemLimit is how many directories a user may watch.
func systemLimit() int {
	raw, err := os.ReadFile(userWatches)
	if err != nil {
		return 8192 // the default of old systems
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 8192
	}
	return n
}

// Close ends the watch; nothing is told afterwards.
func (w *Watcher) Close() error {
	err := w.notify.Close()
	<-w.done
	return err
}

// Changed delivers when Take has something to say.
func (w *Watcher) Changed() <-chan struct{} { return w.changed }

// Take returns what was touched and forgets it.
func (w *Watcher) Take() Touched {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := Touched{All: w.all}
	if !w.all {
		for loc := range w.touched {
			t.Scans = append(t.Scans, loc)
		}
		for id := range w.timelapses {
			t.Timelapses = append(t.Timelapses, id)
		}
		for name := range w.unlocked {
			t.Unlocked = append(t.Unlocked, name)
		}
	}
	w.all = false
	w.forget()
	return t
}

func (w *Watcher) forget() {
	w.touched, w.timelapses, w.unlocked = map[Loc]struct{}{}, map[string]struct{}{}, map[string]struct{}{}
}

// State says what is watched now.
func (w *Watcher) State() Watched {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Watched{Directories: len(w.dirs), Scans: w.scans.Len(), Unwatched: w.unwatched, Overflows: w.overflows}
	if s.Unwatched > 0 {
		s.Why = w.why
	}
	return s
}

// Follow makes the watched directories be those of a listing, as far as there is
// room. Who calls it before he reads the scans misses no change.
func (w *Watcher) Follow(l *Listing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leaveStale(l)
	w.enterRoot()
	w.enter(filepath.Join(w.root, locksDir), watchedDir{kind: lockDir})
	for _, e := range l.timelapses[:min(len(l.timelapses), w.lapses)] {
		w.enterTimelapse(l, e.Loc.Timelapse)
	}
	w.unwatched = 0
	for _, s := range l.scans {
		loc := l.entry(s).Loc
		known := w.scans.Contains(loc)
		switch {
		case known && !w.lost:
		case known, w.scans.Len() < w.room:
			w.enterScan(loc)
		default:
			w.unwatched++
		}
	}
	w.lost = false
}

// enterRoot watches the root anew: the system ends the watch of a directory that is
// moved, or whose file system goes, also where it comes back. What came into it since
// it was listed no event tells.
func (w *Watcher) enterRoot() {
	_, known := w.dirs[w.root]
	w.enter(w.root, watchedDir{kind: treeDir})
	if _, watched := w.dirs[w.root]; watched && !known {
		w.touchAll()
	}
}

// leaveStale drops what is no longer in the tree, or no longer what it was.
func (w *Watcher) leaveStale(l *Listing) {
	for path, d := range w.dirs {
		if d.kind == timelapseDir && !l.HasTimelapse(d.loc.Timelapse) {
			w.leave(path)
		}
	}
	for _, loc := range w.scans.Keys() {
		if !l.holds(loc) {
			w.scans.Remove(loc)
		}
	}
}

// Prefer has a scan watched that changed, in the place of the one that has not
// changed for the longest time if need be.
func (w *Watcher) Prefer(loc Loc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.scans.Get(loc); !ok {
		w.enterScan(loc)
	}
}

// enterTimelapse watches a timelapse of a listing. What came into it after it
// was listed and before it was watched no event tells, so it is looked at.
func (w *Watcher) enterTimelapse(l *Listing, id string) {
	path := filepath.Join(w.root, id)
	d, known := w.dirs[path]
	if known && d.kind != timelapseDir {
		w.leave(path)
		known = false
	}
	w.enter(path, watchedDir{kind: timelapseDir, loc: Loc{Timelapse: id}})
	if known {
		return
	}
	entries, err := fs.ReadDir(w.tree.root.FS(), id)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.touchAll()
	}
	for _, e := range entries {
		loc := Loc{Timelapse: id, Scan: e.Name()}
		if e.IsDir() && readable(loc.Scan) && !l.holds(loc) {
			w.enterScan(loc)
			w.touch(loc)
		}
	}
}

// enterScan watches a scan that is a directory and no link to one.
func (w *Watcher) enterScan(loc Loc) {
	if w.tree.requireDir(loc.Dir()) != nil {
		return
	}
	dir := filepath.Join(w.root, loc.Dir())
	if w.dirs[dir].kind == timelapseDir {
		return
	}
	w.scans.Add(loc, struct{}{})
	full := !w.enter(dir, watchedDir{scanDir, loc})
	if w.tree.requireDir(loc.Dir()+"/"+metadataDir) == nil {
		full = !w.enter(filepath.Join(dir, metadataDir), watchedDir{scanMetadataDir, loc}) || full
	}
	if full { // whatever we counted on
		w.why = "fs.inotify.max_user_watches is reached"
		w.scans.Remove(loc)
		w.unwatched++
		w.room = max(1, w.scans.Len())
		w.scans.Resize(w.room)
	}
}

// enter watches a directory, anew if it is watched; it returns false if the system does
// not let us. What is gone already is passed over.
func (w *Watcher) enter(path string, d watchedDir) bool {
	err := w.notify.Add(path)
	switch {
	case err == nil:
		w.dirs[path] = d
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.ENOMEM):
		return false
	}
	return true
}

// leave ends the watch of a directory that is gone or elsewhere, and of all in it.
func (w *Watcher) leave(path string) {
	d, ok := w.dirs[path]
	if !ok {
		return
	}
	if d.kind == scanDir {
		w.scans.Remove(d.loc)
		return
	}
	w.drop(path)
	if d.kind == timelapseDir {
		for _, loc := range w.scans.Keys() {
			if loc.Timelapse == d.loc.Timelapse {
				w.scans.Remove(loc)
			}
		}
	}
}

func (w *Watcher) leaveScan(loc Loc) {
	dir := filepath.Join(w.root, loc.Dir())
	w.drop(dir)
	w.drop(filepath.Join(dir, metadataDir))
}

func (w *Watcher) drop(path string) {
	if _, ok := w.dirs[path]; ok {
		_ = w.notify.Remove(path) // the system ends the watch of what is gone by itself
		delete(w.dirs, path)
	}
}

// Find returns the entry of one place as List and Look would; ErrNotFound if nothing
// there is, or should be, a scan.
func (t *Tree) Find(ctx context.Context, loc Loc) (Entry, error) {
	if err := loc.check(); err != nil {
		return Entry{}, err
	}
	if err := ctx.Err(); err != nil {
		return Entry{}, fmt.Errorf("find scan %q: %w", loc.Dir(), err)
	}
	outside := loc.Timelapse != "" && !t.isTimelapse(loc.Timelapse)
	if outside || loc.Scan == configsDir || loc.Timelapse == "" && t.isTimelapse(loc.Scan) {
		return Entry{}, ErrNotFound
	}
	info, err := t.root.Lstat(loc.Dir())
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return Entry{}, ErrNotFound
	case err != nil:
		return Entry{}, fmt.Errorf("find scan %q: %w", loc.Dir(), err)
	case info.Mode()&fs.ModeSymlink != 0:
		if t.linksToFile(loc.Dir()) {
			return Entry{}, ErrNotFound
		}
		return Entry{Loc: loc, Broken: reason(errLinked)}, nil
	case !info.IsDir():
		return Entry{}, ErrNotFound
	}
	return t.Look(Entry{Loc: loc}), nil
}
