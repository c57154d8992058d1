package fsdb

import (
	"errors"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// hear passes events on and never waits for those who act on them to have an
// error heard: fsnotify sends one while it holds its watches, which to act may
// have to wait for. It ends when the watcher of the system is closed.
func (w *Watcher) hear(to chan<- fsnotify.Event, losses chan<- struct{}) {
	defer close(to)
	var e fsnotify.Event
	from, pass := w.notify.Events, chan<- fsnotify.Event(nil) // one of them at a time
	for {
		select {
		case got, ok := <-from:
			if !ok {
				return
			}
			e, from, pass = got, nil, to
		case pass <- e:
			from, pass = w.notify.Events, nil
		case err, ok := <-w.notify.Errors:
			if !ok {
				return
			}
			if lost(err) {
				select {
				case losses <- struct{}{}:
				default: // one that nobody has seen to yet
				}
			}
		}
	}
}

// lost says whether an error means that something happened which no event tells.
// It does not where the watch of a directory that was moved could not be ended:
// that was removed, too, and its watch with it.
func lost(err error) bool { return !errors.Is(err, unix.EINVAL) }

// run acts on what is heard.
func (w *Watcher) run() {
	defer close(w.done)
	events, losses := make(chan fsnotify.Event), make(chan struct{}, 1)
	go w.hear(events, losses)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			w.event(e)
		case <-losses:
			w.lose()
		}
	}
}

// lose notes that something happened that was not told.
func (w *Watcher) lose() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = true
	w.overflows++
	w.touchAll()
}

func (w *Watcher) event(e fsnotify.Event) {
	if e.Op == fsnotify.Chmod || e.Name == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Name == w.root { // moved or removed: its watch has ended
		delete(w.dirs, w.root)
		w.touchAll() // so that Follow comes soon
		return
	}
	name := filepath.Base(e.Name)
	in, ok := w.dirs[filepath.Dir(e.Name)]
	if !ok {
		return
	}
	// Who came or went, and not what was written into one that stays.
	moved := e.Has(fsnotify.Create) || e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename)
	switch in.kind {
	case treeDir:
		w.inTree(e, name, moved)
	case lockDir:
		if e.Has(fsnotify.Remove) {
			w.unlock(name)
		}
	case timelapseDir:
		w.inTimelapse(e, in.loc.Timelapse, name, moved)
	case scanDir:
		w.inScan(e, in.loc, name, moved)
	case scanMetadataDir:
		if visible(name) && (moved || isJSON(name)) {
			w.touch(in.loc)
		}
	}
}

func visible(name string) bool { return name[0] != '.' }

func (w *Watcher) inTree(e fsnotify.Event, name string, moved bool) {
	if name == locksDir && e.Has(fsnotify.Create) {
		w.enter(e.Name, watchedDir{kind: lockDir})
	}
	if !moved || !readable(name) || name == configsDir {
		return
	}
	was := w.dirs[e.Name]
	w.leave(e.Name)
	if was.kind == timelapseDir || e.Has(fsnotify.Create) && w.tree.isTimelapse(name) {
		w.touchAll()
		return
	}
	w.came(e, Loc{Scan: name})
}

func (w *Watcher) inTimelapse(e fsnotify.Event, id, name string, moved bool) {
	switch {
	case name == timelapseFile && (e.Has(fsnotify.Write) || e.Has(fsnotify.Create)):
		w.timelapses[id] = struct{}{}
		w.wake()
	case name == timelapseFile:
		w.touchAll()
	case moved && readable(name):
		w.leave(e.Name)
		w.came(e, Loc{Timelapse: id, Scan: name})
	}
}

// came touches a place where a scan came or went, and watches what is there
// before anybody can read it.
func (w *Watcher) came(e fsnotify.Event, loc Loc) {
	if e.Has(fsnotify.Create) {
		if errors.Is(w.tree.requireDir(loc.Dir()), ErrNotFound) {
			return // a file
		}
		w.enterScan(loc)
	}
	w.touch(loc)
}

func (w *Watcher) inScan(e fsnotify.Event, loc Loc, name string, moved bool) {
	switch {
	case name == timelapseFile && moved:
		w.touchAll() // it becomes a timelapse
		return
	case name == metadataDir && moved:
		w.leave(e.Name)
		w.enterScan(loc)
	case name == accessFile:
	case !visible(name) || name == webcacheDir || !moved && !scanLevel.file(name):
		return
	}
	w.touch(loc)
}

// unlock touches all that the name of a lock's file may stand for: names of scans,
// filesets and files are joined in it by what each of them may hold as well.
func (w *Watcher) unlock(name string) {
	name, ok := strings.CutSuffix(name, lockSuffix)
	if !ok || !readable(name) {
		return
	}
	w.unlocked[name] = struct{}{}
	for i, c := range name {
		if c == '_' && i > 0 {
			w.unlocked[name[:i]] = struct{}{}
		}
	}
	w.bound()
}

func (w *Watcher) touch(loc Loc) {
	w.touched[loc] = struct{}{}
	w.scans.Get(loc) // the others are older now
	w.bound()
}

func (w *Watcher) bound() {
	if len(w.touched) > maxTouched || len(w.unlocked) > 4*maxTouched {
		w.touchAll()
	}
	w.wake()
}

func (w *Watcher) touchAll() {
	w.all = true
	w.forget()
	w.wake()
}

func (w *Watcher) wake() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}
