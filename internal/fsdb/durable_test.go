package fsdb

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// faultyDisk does what rootDisk does until call number fail, counted from 0,
// which answers err; with dead set so does every later one, as if the machine
// had lost its power. It remembers what a power cut could still undo, and that
// nothing gets a name before its bytes are safe.
type faultyDisk struct {
	rootDisk
	dir  string
	fail int
	err  error
	dead bool

	mu      sync.Mutex
	calls   int
	bytes   int             // written to files, the bytes of staged contents among them
	dirty   map[string]bool // files and directories of the staging area that are not synced
	pending []change
	written map[string]int64    // how much is safe of a file outside of it that is not synced
	early   []string            // names given too early
	linked  map[string][]string // other names of what was not synced when it got them
}

// change is a change of a directory that was not synced yet.
type change struct {
	dir             string
	from            string // of a rename
	rename, removal bool
	undo            func()
}

// removed is where faultyDisk keeps what a power cut may bring back.
const removed = Hidden + "/removed"

var errPower = errors.New("power cut")

func (d *faultyDisk) call() error {
	d.calls++
	if n := d.calls - 1; n == d.fail || d.dead && n > d.fail {
		return d.err
	}
	return nil
}

func (d *faultyDisk) create(name string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call(); err != nil {
		return nil, err
	}
	f, err := d.rootDisk.create(name)
	if err != nil {
		return nil, err
	}
	d.appears(name)
	if strings.HasPrefix(name, stagingDir+"/") {
		d.dirty[name], d.dirty[path.Dir(name)] = true, true
	} else {
		d.written[name] = 0
	}
	return &faultyFile{file: f, disk: d, name: name}, nil
}

// appears notes a file that is made.
func (d *faultyDisk) appears(name string) {
	d.pending = append(d.pending, change{dir: path.Dir(name), undo: func() {
		_ = os.Remove(filepath.Join(d.dir, name))
		delete(d.written, name)
	}})
}

func (d *faultyDisk) append(name string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call(); err != nil {
		return nil, err
	}
	info, statErr := d.root.Lstat(name)
	f, err := d.rootDisk.append(name)
	if err != nil {
		return nil, err
	}
	if statErr != nil {
		d.appears(name)
		d.written[name] = 0
	} else if _, unsafe := d.written[name]; !unsafe {
		d.written[name] = info.Size()
	}
	return &faultyFile{file: f, disk: d, name: name}, nil
}

type faultyFile struct {
	file
	disk *faultyDisk
	name string
}

func (f *faultyFile) Write(p []byte) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.disk.call(); err != nil {
		return 0, err
	}
	f.disk.bytes += len(p)
	return f.file.Write(p)
}

func (f *faultyFile) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.disk.call(); err != nil {
		return err
	}
	delete(f.disk.dirty, f.name)
	delete(f.disk.written, f.name)
	for _, name := range f.disk.linked[f.name] {
		delete(f.disk.dirty, name)
	}
	return nil // the machine stays on, so the real sync would only cost time
}

func (d *faultyDisk) mkdir(name string, perm fs.FileMode) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call(); err != nil {
		return err
	}
	if err := d.rootDisk.mkdir(name, perm); err != nil {
		return err
	}
	if strings.HasPrefix(name, stagingDir+"/") {
		d.dirty[name], d.dirty[path.Dir(name)] = true, true
	}
	d.pending = append(d.pending, change{dir: path.Dir(name), undo: func() { _ = os.RemoveAll(filepath.Join(d.dir, name)) }})
	return nil
}

func (d *faultyDisk) rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call(); err != nil {
		return err
	}
	for name := range d.dirty {
		if name == from || strings.HasPrefix(name, from+"/") {
			d.early = append(d.early, name+" as "+to)
		}
	}
	full := filepath.Join(d.dir, to)
	old, readErr := os.ReadFile(full)
	if err := d.rootDisk.rename(from, to); err != nil {
		return err
	}
	delete(d.written, to) // what had the name before
	d.pending = append(d.pending, change{dir: path.Dir(to), from: from, rename: true, undo: func() {
		_ = os.Rename(full, filepath.Join(d.dir, from))
		if readErr == nil {
			_ = os.WriteFile(full, old, 0o600)
		}
	}})
	return nil
}

func (d *faultyDisk) removeAll(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call(); err != nil {
		return err
	}
	full, kept := filepath.Join(d.dir, name), filepath.Join(d.dir, removed, rand.Text())
	if _, err := os.Lstat(full); err != nil {
		return d.rootDisk.removeAll(name)
	}
	if err := os.MkdirAll(filepath.Dir(kept), 0o700); err != nil {
		return err
	}
	if err := os.Rename(full, kept); err != nil {
		return err
	}
	safe, unsafe := d.written[name]
	delete(d.written, name)
	d.pending = append(d.pending, change{dir: path.Dir(name), removal: true, undo: func() {
		if os.Rename(kept, full) == nil && unsafe {
			d.written[name] = safe
		}
	}})
	return nil
}

// of is the name that a file was opened by.
func (d *faultyDisk) of(f *os.File) string {
	return strings.TrimPrefix(f.Name(), d.dir+"/")
}

func (d *faultyDisk) write(f *os.File, p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call(); err != nil {
		return 0, err
	}
	if _, unsafe := d.written[d.of(f)]; !unsafe {
		info, err := f.Stat()
		if err != nil {
			return 0, err
		}
		d.written[d.of(f)] = info.Size()
	}
	return d.rootDisk.write(f, p)
}

func (d *faultyDisk) sync(f *os.File) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call(); err != nil {
		return err
	}
	delete(d.written, d.of(f))
	return nil
}

func (d *faultyDisk) truncate(f *os.File, size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call(); err != nil {
		return err
	}
	return d.rootDisk.truncate(f, size)
}

func (d *faultyDisk) link(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call(); err != nil {
		return err
	}
	if _, unsafe := d.written[from]; unsafe {
		d.early = append(d.early, from+" as "+to)
	}
	if err := d.rootDisk.link(from, to); err != nil {
		return err
	}
	if d.dirty[from] && strings.HasPrefix(to, stagingDir+"/") {
		d.dirty[to], d.dirty[path.Dir(to)] = true, true
		d.linked[from] = append(d.linked[from], to)
	}
	d.pending = append(d.pending, change{dir: path.Dir(to), undo: func() { _ = os.Remove(filepath.Join(d.dir, to)) }})
	return nil
}

func (d *faultyDisk) syncFile(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call(); err != nil {
		return err
	}
	if _, err := d.root.Lstat(name); err != nil {
		return err
	}
	delete(d.written, name)
	return nil
}

func (d *faultyDisk) syncDir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call(); err != nil {
		return err
	}
	delete(d.dirty, name)
	kept := d.pending[:0]
	for _, c := range d.pending {
		if c.dir != name {
			kept = append(kept, c)
		}
	}
	d.pending = kept
	return nil
}

// losses are what a power cut may do to what was not synced.
var losses = map[string]func(*faultyDisk){
	"all kept": func(*faultyDisk) {},
	"all lost": func(d *faultyDisk) {
		d.lose(func(change) bool { return true })
		d.cut(0)
	},
	// Nor are different directories written in the order of the changes: a name may be
	// safe, and what tells of it not, or the other way round.
	"journals lost": func(d *faultyDisk) {
		d.lose(func(c change) bool { return c.dir == journalDir || strings.HasPrefix(c.dir, stagingDir) })
		d.cut(0, journalDir)
	},
	"only journals kept": func(d *faultyDisk) {
		d.lose(func(c change) bool { return c.dir != journalDir })
		for name := range d.written {
			if path.Dir(name) != journalDir {
				d.cut(0, path.Dir(name))
			}
		}
	},
	// Filesystems may write renames in different directories in any order.
	"only the last rename kept": func(d *faultyDisk) {
		for i := range d.pending {
			if c := d.pending[len(d.pending)-1-i]; i > 0 && c.rename {
				c.undo()
			}
		}
		d.cut(2)
	},
	// Without a journal of its own a filesystem may lose the new name and the old one,
	// of what was staged: it does not keep what never had any other.
	"half of each rename": func(d *faultyDisk) {
		for _, c := range slices.Backward(d.pending) {
			if c.rename && strings.HasPrefix(c.from, stagingDir+"/") {
				c.undo()
				_ = os.RemoveAll(filepath.Join(d.dir, c.from))
			}
		}
	},
	// Names may be safe before what they stand for is, and before others have gone.
	"nothing in it": func(d *faultyDisk) {
		d.lose(func(c change) bool { return c.removal })
		d.cut(0)
	},
}

// lose undoes those of the changes that are not synced, the last first.
func (d *faultyDisk) lose(which func(change) bool) {
	for _, c := range slices.Backward(d.pending) {
		if which(c) {
			c.undo()
		}
	}
}

// cut takes from the files that are not synced what was not safe before, but
// for one of so many parts of it; all of it for 0. If directories are given, of the
// files in them.
func (d *faultyDisk) cut(keep int64, dirs ...string) {
	for name, safe := range d.written {
		if len(dirs) > 0 && !slices.Contains(dirs, path.Dir(name)) {
			continue
		}
		full := filepath.Join(d.dir, name)
		info, err := os.Lstat(full)
		if err != nil {
			continue
		}
		if keep > 0 {
			safe += (info.Size() - safe) / keep
		}
		_ = os.Truncate(full, safe)
	}
}

// trashed is an entry of the trash with the names given.
func trashed(id string, kind TrashKind, timelapse, scan, fileset, file string) Trashed {
	owner := "ann"
	return Trashed{
		ID: id, Kind: kind, Timelapse: timelapse, Scan: scan, Fileset: fileset, File: file, Owner: &owner, DeletedBy: "ann",
		Contents: []TrashedPart{{Scan: scan, Owner: &owner, Files: 1, Bytes: 5}},
	}
}

// restore brings an entry of the trash back, under another name if it has one.
func restore(t *Tree, id, as string) error {
	e, err := t.TrashEntry(id)
	if err != nil {
		return err
	}
	back := *e
	if as != "" {
		if back, err = e.Renamed(as); err != nil {
			return err
		}
	}
	return t.RestoreTrash(ctx, back)
}

// writes are the writing calls, each on the tree that newWritable makes.
var writes = map[string]func(*Tree) error{
	"Trash scan":      func(t *Tree) error { return t.Trash(ctx, trashed("new", TrashScan, "", "s", "", "")) },
	"Trash member":    func(t *Tree) error { return t.Trash(ctx, trashed("new", TrashScan, "tl", "m", "", "")) },
	"Trash timelapse": func(t *Tree) error { return t.Trash(ctx, trashed("new", TrashTimelapse, "tl", "", "", "")) },
	"Trash fileset":   func(t *Tree) error { return t.Trash(ctx, trashed("new", TrashFileset, "", "s", "images", "")) },
	"Trash file":      func(t *Tree) error { return t.Trash(ctx, trashed("new", TrashFile, "", "s", "images", "00000_rgb")) },
	"Trash plain file": func(t *Tree) error {
		return t.Trash(ctx, trashed("new", TrashFile, "", "s", "PointCloud_1_0", "PointCloud"))
	},
	"Restore scan":       func(t *Tree) error { return restore(t, "scan", "") },
	"Restore scan as":    func(t *Tree) error { return restore(t, "scan", "other") },
	"Restore timelapse":  func(t *Tree) error { return restore(t, "timelapse", "") },
	"Restore fileset":    func(t *Tree) error { return restore(t, "fileset", "") },
	"Restore fileset as": func(t *Tree) error { return restore(t, "fileset", "other") },
	"Restore file":       func(t *Tree) error { return restore(t, "file", "") },
	"Restore file as":    func(t *Tree) error { return restore(t, "file", "other") },
	"Purge": func(t *Tree) error {
		discard, err := t.Purge(ctx, "scan")
		if err == nil {
			discard()
		}
		return err
	},
	"CreateScan":    func(t *Tree) error { return t.CreateScan(ctx, Loc{Scan: "new"}, object(`{"a":1}`)) },
	"CreateScan in": func(t *Tree) error { return t.CreateScan(ctx, Loc{Timelapse: "tl", Scan: "new"}, object(`{}`)) },
	"CreateFileset": func(t *Tree) error { return t.CreateFileset(ctx, Loc{Scan: "s"}, "new", object(`{"a":1}`)) },
	"AddFiles":      func(t *Tree) error { return addTwo(t, "images") },
	"AddFiles, folded": func(t *Tree) error {
		return errors.Join(t.Fold(ctx, Loc{Scan: "s"}), addTwo(t, "images"))
	},
	"AddFiles, then fold": func(t *Tree) error {
		return errors.Join(addTwo(t, "images"), t.Fold(ctx, Loc{Scan: "s"}))
	},
	"Trash pending file": func(t *Tree) error { return t.Trash(ctx, trashed("new", TrashFile, "", "s", "images", "pending")) },
	"WriteFileMetadata pending": func(t *Tree) error {
		return t.WriteFileMetadata(ctx, Loc{Scan: "s"}, "images", "pending", object(`{"b":2}`))
	},
	"AddFiles, first ones": func(t *Tree) error { return addTwo(t, "PointCloud_1_0") },
	"ReplaceFile":          replace,
	"PutRaw":               func(t *Tree) error { return putRaw(t, "pipeline.toml") },
	"PutRaw, new":          func(t *Tree) error { return putRaw(t, "some/where/notes.txt") },
	"WriteVisibility":      func(t *Tree) error { return t.WriteVisibility(ctx, Loc{Scan: "s"}, "private") },
	"WriteScanMetadata":    func(t *Tree) error { return t.WriteScanMetadata(ctx, Loc{Scan: "s"}, object(`{"b":2}`)) },
	"WriteFilesetMetadata": func(t *Tree) error { return t.WriteFilesetMetadata(ctx, Loc{Scan: "s"}, "images", object(`{"b":2}`)) },
	"WriteFileMetadata": func(t *Tree) error {
		return t.WriteFileMetadata(ctx, Loc{Scan: "s"}, "images", "00000_rgb", object(`{"b":2}`))
	},
	"WriteFileMetadata new": func(t *Tree) error {
		return t.WriteFileMetadata(ctx, Loc{Scan: "s"}, "PointCloud_1_0", "PointCloud", object(`{"b":2}`))
	},
	"AddScan":    func(t *Tree) error { return addArchive(t, Loc{Scan: "new"}, nil) },
	"AddScan in": func(t *Tree) error { return addArchive(t, Loc{Timelapse: "tl", Scan: "new"}, nil) },
	"AddScanWithTimelapse": func(t *Tree) error {
		return addArchive(t, Loc{Timelapse: "new_tl", Scan: "new"}, &Timelapse{ID: "new_tl", Scans: []string{"new"}, Metadata: object(`{}`)})
	},
	"ListAgain": func(t *Tree) error {
		_, err := t.ListAgain(ctx, Loc{Scan: "s"}, "unlisted", []string{"left.jpg"})
		return err
	},
	"ListExtra": func(t *Tree) error {
		_, err := t.ListExtra(ctx, Loc{Scan: "s"}, "images", []string{"extra.jpg"})
		return err
	},
	"Withdraw scan":      func(t *Tree) error { return t.Withdraw(ctx, Loc{Scan: "s"}) },
	"Withdraw member":    func(t *Tree) error { return t.Withdraw(ctx, Loc{Timelapse: "tl", Scan: "m"}) },
	"Withdraw timelapse": func(t *Tree) error { return t.Withdraw(ctx, Loc{Timelapse: "tl"}) },
	"WithdrawFiles": func(t *Tree) error {
		return t.WithdrawFiles(ctx, Loc{Scan: "s"}, "images", []NewFile{{ID: "00000_rgb", Name: "00000_rgb.jpg"}, {ID: "none", Name: "none.jpg"}})
	},
	"WithdrawFileset": func(t *Tree) error { return t.WithdrawFileset(ctx, Loc{Timelapse: "tl", Scan: "m"}, "empty") },
	"WithdrawFiles pending": func(t *Tree) error {
		return t.WithdrawFiles(ctx, Loc{Scan: "s"}, "images", []NewFile{{ID: "pending", Name: "pending.txt"}})
	},
	"CreateTimelapse": func(t *Tree) error { return t.CreateTimelapse(ctx, Timelapse{ID: "new", Metadata: object(`{}`)}) },
	"WriteTimelapse": func(t *Tree) error {
		return t.WriteTimelapse(ctx, Timelapse{ID: "tl", Scans: []string{"m"}, Metadata: object(`{}`)})
	},
}

func addTwo(t *Tree, fileset string) error { return addSome(t, fileset, "one", "two") }

func addSome(t *Tree, fileset string, ids ...string) error {
	var batch []NewFile
	for _, id := range ids {
		content, err := t.Stage(ctx, strings.NewReader("content of "+id), 100)
		if err == nil {
			batch = append(batch, NewFile{ID: id, Name: id + ".jpg", Content: content, Metadata: object(`{"n":1}`)})
			err = content.durable() // here, so that a failure of it is of all of them
		}
		if err != nil {
			return errors.Join(err, discardAll(batch))
		}
	}
	errs, err := t.AddFiles(ctx, Loc{Scan: "s"}, fileset, batch)
	return errors.Join(append(errs, err, discardAll(batch))...)
}

// addArchive takes a small archive to its place, into a new timelapse if one is given.
func addArchive(t *Tree, loc Loc, made *Timelapse) (err error) {
	large := entry{name: "images/large.jpg", content: strings.Repeat("large", partLeast/5+1), raw: true} // a part
	archive := zipOf(append([]entry{large}, sound("")...)...)
	a, err := t.SpoolArchive(ctx, bytes.NewReader(archive), DefaultArchiveLimits())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	s, err := a.Unpack(ctx)
	if err != nil {
		return err
	}
	if made != nil {
		return t.AddScanWithTimelapse(ctx, *made, loc.Scan, s, object(`{"owner":"bob","visibility":"private"}`))
	}
	return t.AddScan(ctx, loc, s, object(`{"owner":"bob"}`))
}

func discardAll(batch []NewFile) (err error) {
	for _, f := range batch {
		err = errors.Join(err, f.Content.Discard())
	}
	return err
}

func putRaw(t *Tree, rel string) error {
	content, err := t.Stage(ctx, strings.NewReader("put there"), 1<<20)
	if err != nil {
		return err
	}
	was, err := t.PutRaw(ctx, Loc{Scan: "s"}, rel, content)
	if err == nil {
		was.Forget()
	}
	return errors.Join(err, content.Discard())
}

func replace(t *Tree) error {
	content, err := t.Stage(ctx, strings.NewReader("replaced"), 100)
	if err != nil {
		return err
	}
	return errors.Join(t.ReplaceFile(ctx, Loc{Scan: "s"}, "images", "00000_rgb", content), content.Discard())
}

// small is a scan without files.
var small = files{"files.json": `{"filesets":[]}`, "metadata/metadata.json": `{"owner":"ann"}`}

// spareSyncs gives the tree a disk without faults, and forgets what it did.
func spareSyncs(tree *Tree) *faultyDisk {
	d := &faultyDisk{rootDisk: rootDisk{tree.root}, dir: tree.Dir(), fail: -1, dirty: map[string]bool{}, written: map[string]int64{}, linked: map[string][]string{}}
	tree.disk = d
	return d
}

func newWritable(t *testing.T) *Tree {
	tree := newTreeInMemory(t, files{
		"s/files.json": `{"filesets":[{"id":"images","files":[{"id":"00000_rgb","file":"00000_rgb.jpg"},{"id":"deleted","file":"deleted.png","x":1}]},
			{"id":"PointCloud_1_0","files":[{"id":"PointCloud","file":"PointCloud.ply"}]},
			{"id":"Masks_1","files":[{"id":"m","file":"m.png"}],"y":2}]}`,
		"s/metadata/images.json":           `{"channels":["rgb"]}`,
		"s/metadata/images/00000_rgb.json": `{"channel":"rgb"}`,
		"s/metadata/images/deleted.json":   `{"channel":"ir"}`,
		"s/metadata/Masks_1.json":          `{"task":"Masks"}`,
		"s/metadata/Masks_1/m.json":        `{"n":3}`,
		"s/images/00000_rgb.jpg":           "first",
		"s/images/deleted.png":             "deleted",
		"s/images/extra.jpg":               "extra",
		"s/unlisted/left.jpg":              "left",
		"s/metadata/images/nothing.json":   `{}`,
		"s/Masks_1/m.png":                  "mask",
		"s/PointCloud_1_0/PointCloud.ply":  "ply",
		"tl/timelapse.json":                `{"id":"tl"}`,
		"tl/m/files.json":                  `{"filesets":[{"id":"images","files":[]},{"id":"empty","files":[]}]}`,
		"tl/m/metadata/metadata.json":      `{"owner":"ann"}`,
		"tl/m/metadata/empty.json":         `{"n":4}`,
		"tl/m/empty/":                      "",
		"tl/m/images/":                     "",
	}, small.under("gone"), small.under("gone_tl/gone_m"), files{"gone_tl/timelapse.json": `{"id":"gone_tl"}`})
	spareSyncs(tree)
	for _, e := range []Trashed{
		trashed("file", TrashFile, "", "s", "images", "deleted"), trashed("fileset", TrashFileset, "", "s", "Masks_1", ""),
		trashed("scan", TrashScan, "", "gone", "", ""), trashed("timelapse", TrashTimelapse, "gone_tl", "", "", ""),
	} {
		if err := tree.Trash(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	// What was acknowledged, and lies in the journals alone.
	for _, loc := range []Loc{{Scan: "s"}, {Timelapse: "tl", Scan: "m"}} {
		b := []NewFile{{ID: "pending", Name: "pending.txt", Content: stage(t, tree, "waits"), Metadata: object(`{"n":0}`)}}
		if errs, err := tree.AddFiles(ctx, loc, "images", b); errors.Join(append(errs, err)...) != nil {
			t.Fatal(errs, err)
		}
	}
	return tree
}

// settle does what a start does to the journals and the trash.
func settle(t *testing.T, tree *Tree) {
	t.Helper()
	journals, err := tree.Journals(ctx)
	if err != nil {
		t.Fatalf("Journals() = %v", err)
	}
	for _, j := range journals {
		if err := tree.Fold(ctx, j.Loc); err != nil && !errors.Is(err, ErrNotFound) {
			t.Errorf("Fold(%v) = %v", j.Loc, err)
		}
	}
	entries, damaged, err := tree.TrashEntries(ctx)
	if err != nil || len(damaged) > 0 {
		t.Fatalf("TrashEntries() = %v, damaged %v", err, damaged)
	}
	for _, e := range entries {
		if _, err := tree.SettleTrash(ctx, e.ID); err != nil {
			t.Errorf("SettleTrash(%s) = %v", e.ID, err)
		}
	}
}

// trashState is all that lies in the trash.
func trashState(t *testing.T, tree *Tree) string {
	t.Helper()
	var b strings.Builder
	entries, _, err := tree.TrashEntries(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		fmt.Fprintf(&b, "trash: %s %s %s/%s/%s %s pending %t\n", e.ID, e.Kind, e.home(), e.Fileset, e.File, e.Listed, e.Pending)
		err := filepath.WalkDir(filepath.Join(tree.Dir(), e.dir()), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() == entryFile {
				return err
			}
			data, err := os.ReadFile(name)
			fmt.Fprintf(&b, "  %s %q\n", strings.TrimPrefix(name, filepath.Join(tree.Dir(), trashDir)), data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// state is all that a reader finds in the tree, contents included.
func state(t *testing.T, tree *Tree) string {
	t.Helper()
	var b strings.Builder
	for _, e := range entriesOf(t, tree) {
		if e.Timelapse {
			tl := must[*Timelapse](t)(tree.ReadTimelapse(ctx, e.Loc.Timelapse))
			fmt.Fprintf(&b, "%s: %v %s %v\n", tl.ID, tl.Scans, tl.Metadata, tl.Warnings)
			continue
		}
		s := readScan(t, tree, e.Loc)
		fmt.Fprintf(&b, "%s: %s%s", e.Loc.Dir(), s.Visibility, tell(s))
		for _, set := range s.Filesets {
			for _, f := range set.Files {
				data := must[[]byte](t)(os.ReadFile(filepath.Join(tree.Dir(), e.Loc.Dir(), set.ID, f.Name)))
				fmt.Fprintf(&b, "%q\n", data)
			}
		}
		for _, dir := range must[[]os.DirEntry](t)(os.ReadDir(filepath.Join(tree.Dir(), e.Loc.Dir()))) {
			listed := slices.ContainsFunc(s.Filesets, func(f Fileset) bool { return f.ID == dir.Name() })
			// The directories on the way to a raw file may stay without it.
			if dir.IsDir() && !listed && dir.Name() != metadataDir && dir.Name() != "some" {
				fmt.Fprintf(&b, "not listed: %s\n", dir.Name())
			}
		}
		for _, rel := range []string{"pipeline.toml", "some/where/notes.txt"} {
			if data, err := os.ReadFile(filepath.Join(tree.Dir(), e.Loc.Dir(), rel)); err == nil {
				fmt.Fprintf(&b, "%s %q\n", rel, data)
			}
		}
	}
	return b.String() + trashState(t, tree)
}

// run does a write on a fresh tree whose disk fails at call number fail.
func run(t *testing.T, write func(*Tree) error, fail int, err error, dead bool) (*Tree, *faultyDisk, error) {
	t.Helper()
	tree := newWritable(t)
	d, _ := tree.disk.(*faultyDisk) // what is not synced yet stays so
	d.calls, d.fail, d.err, d.dead = 0, fail, err, dead
	got := write(tree)
	spareSyncs(tree)
	tree.ledgers.kept = nil // a process that starts anew
	if len(d.early) > 0 {
		t.Errorf("got a name before it was synced: %v", d.early)
	}
	return tree, d, got
}

// TestPowerCut cuts the power after every single step of every write, lets the
// disk lose what was not synced, and looks at what a reader then finds: the old
// state or the new one, the new one if the write was acknowledged; and the
// write can be done again. A start leaves nothing that a check would find.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	for name, write := range writes {
		for loss, lose := range losses {
			t.Run(name+", "+loss, func(t *testing.T) {
				t.Parallel()
				before := state(t, newWritable(t))
				done, _, err := run(t, write, -1, nil, false)
				if err != nil {
					t.Fatal(err)
				}
				after := state(t, done)
				if after == before {
					t.Fatal("the write changes nothing that a reader could find")
				}
				partly := partStates(t, name)
				for step := 0; ; step++ {
					tree, d, err := run(t, write, step, errPower, true)
					lose(d)
					settle(t, tree)
					checkFlaws(t, fmt.Sprintf("step %d", step), tree)
					if d.calls > step && slices.Contains(partly, state(t, tree)) {
						continue
					}
					checkState(t, fmt.Sprintf("step %d", step), state(t, tree), before, after, err == nil)
					if d.calls <= step {
						break // the power went after the last step
					}
					if err := write(tree); err != nil && state(t, tree) != after {
						t.Errorf("step %d: the write again = %v\n%s", step, err, state(t, tree))
					}
				}
			})
		}
	}
}

// partStates are what a power cut may leave of a write of several files, each
// of which is whole or not there.
func partStates(t *testing.T, name string) (states []string) {
	t.Helper()
	fileset, ok := map[string]string{
		"AddFiles": "images", "AddFiles, first ones": "PointCloud_1_0", "AddFiles, folded": "images", "AddFiles, then fold": "images",
	}[name]
	for _, id := range []string{"one", "two"} {
		if !ok {
			break
		}
		tree := newWritable(t)
		if err := addSome(tree, fileset, id); err != nil {
			t.Fatal(err)
		}
		states = append(states, state(t, tree))
	}
	return states
}

// checkFlaws fails the test for what a check would find in the scans beside what
// newWritable puts there.
func checkFlaws(t *testing.T, when string, tree *Tree) {
	t.Helper()
	for _, e := range entriesOf(t, tree) {
		if e.Timelapse {
			continue
		}
		in, err := tree.Inspect(ctx, e.Loc, func(string, string) bool { return false })
		if err != nil {
			t.Errorf("%s: Inspect(%v) = %v", when, e.Loc, err)
			continue
		}
		for _, f := range in.Flaws {
			// Of newWritable, the way to a raw file, and what the archive has unlisted.
			if !slices.Contains([]string{"images/extra.jpg", "metadata/images/nothing.json", "unlisted", "some", "images/large.jpg"}, f.Path) {
				t.Errorf("%s: a check finds %s %s in %v: %s", when, f.Kind, f.Path, e.Loc, f.Detail)
			}
		}
	}
}

func checkState(t *testing.T, when, got, before, after string, acknowledged bool) {
	t.Helper()
	if acknowledged && got != after || got != before && got != after {
		t.Errorf("%s (acknowledged: %t): a reader finds\n%s\nbefore:\n%s\nafter:\n%s", when, acknowledged, got, before, after)
	}
}

// What is put into quarantine is in one of the two places whenever the power
// goes, and in the new one once that was said.
func TestQuarantineKeeps(t *testing.T) {
	t.Parallel()
	write := func(t *Tree) error {
		_, err := t.Quarantine(ctx, Loc{Scan: "s"}, "metadata/images/nothing.json")
		return err
	}
	for loss, lose := range losses {
		for step := 0; ; step++ {
			tree, d, err := run(t, write, step, errPower, true)
			lose(d)
			old, _ := filepath.Glob(filepath.Join(tree.Dir(), "s/metadata/images/nothing.json"))
			now, _ := filepath.Glob(filepath.Join(tree.Dir(), quarantineDir, "*/s/metadata/images/nothing.json"))
			if len(old)+len(now) != 1 || err == nil && len(now) != 1 {
				t.Errorf("%s, step %d, %v: it is %d times where it was and %d times in quarantine", loss, step, err, len(old), len(now))
			}
			if d.calls <= step {
				break
			}
		}
	}
	tree := newWritable(t)
	for _, name := range []string{"nothing", "../tl/timelapse.json", "/etc", ".", "metadata/images/none.json", ""} {
		if to, err := tree.Quarantine(ctx, Loc{Scan: "s"}, name); !errors.Is(err, ErrNotFound) {
			t.Errorf("Quarantine(%q) = %q, %v, want ErrNotFound", name, to, err)
		}
	}
}

// TestDiskFull lets each step of every write fail once.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	for name, write := range writes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := state(t, newWritable(t))
			done, _, err := run(t, write, -1, nil, false)
			if err != nil {
				t.Fatal(err)
			}
			after := state(t, done)
			for step := 0; ; step++ {
				tree, d, err := run(t, write, step, &fs.PathError{Op: "op", Path: "p", Err: syscall.ENOSPC}, false)
				if d.calls <= step {
					break
				}
				when := fmt.Sprintf("step %d", step)
				settle(t, tree)
				checkState(t, when, state(t, tree), before, after, err == nil)
				if err != nil && !errors.Is(err, ErrNoSpace) {
					t.Errorf("%s: %v, want ErrNoSpace", when, err)
				}
				if left := staged(t, tree); err != nil && len(left) > 0 {
					t.Errorf("%s: left in staging: %v", when, left)
				}
			}
		})
	}
}

func TestWrap(t *testing.T) {
	t.Parallel()
	for cause, want := range map[error]error{
		syscall.ENOSPC: ErrNoSpace, syscall.EDQUOT: ErrNoSpace, syscall.EROFS: ErrReadOnly, syscall.EACCES: ErrReadOnly, syscall.EPERM: ErrReadOnly,
		syscall.EIO: syscall.EIO, ErrNotFound: ErrNotFound, nil: nil,
	} {
		if err := wrap("write", "thing", cause); !errors.Is(err, want) {
			t.Errorf("wrap(%v) = %v, want %v", cause, err, want)
		}
	}
}

// roomlessDisk is one without room for anything that is not there yet.
type roomlessDisk struct{ disk }

func (roomlessDisk) create(string) (file, error)         { return nil, syscall.ENOSPC }
func (roomlessDisk) append(string) (file, error)         { return nil, syscall.ENOSPC }
func (roomlessDisk) mkdir(string, fs.FileMode) error     { return syscall.ENOSPC }
func (roomlessDisk) write(*os.File, []byte) (int, error) { return 0, syscall.ENOSPC }

// TestTrashAgainOnFullDisk takes restorations back when the disk has become full to
// the last block: nothing is restored then, and it can be later.
func TestTrashAgainOnFullDisk(t *testing.T) {
	t.Parallel()
	for _, entry := range []struct{ id, as string }{
		{"scan", ""}, {"scan", "other"}, {"timelapse", ""}, {"fileset", ""}, {"fileset", "other"}, {"file", ""}, {"file", "other"},
	} {
		t.Run(strings.TrimSpace(entry.id+" "+entry.as), func(t *testing.T) {
			t.Parallel()
			tree := newWritable(t)
			settle(t, tree)
			before := state(t, tree)
			was := must[*Trashed](t)(tree.TrashEntry(entry.id))
			back := *was
			if entry.as != "" {
				back = must[Trashed](t)(was.Renamed(entry.as))
			}
			if _, err := tree.TakeOutTrash(ctx, back); err != nil {
				t.Fatal(err)
			}
			if state(t, tree) == before {
				t.Fatal("nothing was restored")
			}
			room := tree.disk
			tree.disk = roomlessDisk{room}
			if err := tree.TrashAgain(ctx, back, *was); err != nil {
				t.Errorf("TrashAgain() = %v", err)
			}
			if got := state(t, tree); got != before {
				t.Errorf("a reader finds\n%s\nbefore:\n%s", got, before)
			}
			if left := staged(t, tree); len(left) > 0 {
				t.Errorf("left in staging: %v", left)
			}
			tree.disk = room
			checkFlaws(t, "taken back", tree)
			if err := tree.RestoreTrash(ctx, back); err != nil || state(t, tree) == before {
				t.Errorf("once there is room RestoreTrash() = %v", err)
			}
			if left := staged(t, tree); len(left) > 0 {
				t.Errorf("left in staging once it is restored: %v", left)
			}
		})
	}
}
