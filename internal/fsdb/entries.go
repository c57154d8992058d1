package fsdb

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"slices"
	"unicode/utf8"
)

// Entry is a directory of the tree that is, or should be, a scan or a
// timelapse.
type Entry struct {
	// Loc has only the timelapse if the entry is a timelapse itself. A name
	// that is not UTF-8 is spelled with \xNN and is always Broken.
	Loc Loc
	// Timelapse says that the entry is a timelapse; its scans follow it.
	Timelapse bool
	// Broken says why the directory is not the scan it should be; empty for
	// a sound one. Whether files.json can be read shows in ReadScan.
	Broken string
}

// Entries returns what the tree holds, sorted by name, the scans of a timelapse
// after it. Directories with a leading dot and configs are passed over; every
// other directory that is no scan is reported as broken, and none hides the
// others. A scan id may come twice, in different directories: which one counts
// is for the caller to say.
func (t *Tree) Entries(ctx context.Context) ([]Entry, error) {
	found, err := t.directories(".")
	if err != nil {
		return nil, wrap("list tree", t.dir, err)
	}
	entries := make([]Entry, 0, len(found))
	for _, d := range found {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("list tree %q: %w", t.dir, err)
		}
		if !d.broken() && t.isTimelapse(d.name) {
			entries = append(entries, t.timelapseEntries(d.name)...)
			continue
		}
		entries = append(entries, t.scanEntry(Loc{Scan: d.name}, d))
	}
	return entries, nil
}

func (t *Tree) timelapseEntries(id string) []Entry {
	self := Entry{Loc: Loc{Timelapse: id}, Timelapse: true}
	found, err := t.directories(id)
	if err != nil {
		self.Broken = reason(err)
		return []Entry{self}
	}
	entries := []Entry{self}
	for _, d := range found {
		entries = append(entries, t.scanEntry(Loc{Timelapse: id, Scan: d.name}, d))
	}
	return entries
}

func (t *Tree) scanEntry(loc Loc, d directory) Entry {
	e := Entry{Loc: loc}
	switch {
	case d.binary:
		e.Loc.Scan = printable(d.name)
		e.Broken = "the directory's name is not UTF-8"
	case d.linked:
		e.Broken = reason(errLinked)
	default:
		e.Broken = t.whyNoScan(loc.Dir())
	}
	return e
}

// directory is a candidate for a scan.
type directory struct {
	name           string
	linked, binary bool
}

func (d directory) broken() bool { return d.linked || d.binary }

// directories returns the visible directories in dir, and the links to some,
// sorted by name.
func (t *Tree) directories(dir string) ([]directory, error) {
	f, err := t.root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	list, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var found []directory
	for _, e := range list {
		d := directory{name: e.Name(), linked: e.Type()&fs.ModeSymlink != 0, binary: !utf8.ValidString(e.Name())}
		if d.name[0] == '.' || d.name == configsDir || !d.linked && !e.IsDir() {
			continue
		}
		if d.linked && t.linksToFile(dir+"/"+d.name) {
			continue
		}
		found = append(found, d)
	}
	slices.SortFunc(found, func(a, b directory) int { return cmp.Compare(a.name, b.name) })
	return found, nil
}

// linksToFile says whether a link leads to something that is no directory,
// which nobody takes for a scan.
func (t *Tree) linksToFile(name string) bool {
	info, err := t.root.Stat(name)
	return err == nil && !info.IsDir()
}

// isTimelapse says whether the directory has a timelapse's marker.
func (t *Tree) isTimelapse(id string) bool {
	info, err := t.root.Lstat(id + "/" + timelapseFile)
	return err == nil && info.Mode().IsRegular()
}

// whyNoScan says what the directory lacks to be a scan, empty if nothing.
func (t *Tree) whyNoScan(dir string) string {
	if info, err := t.root.Lstat(dir + "/" + metadataDir); err != nil || !info.IsDir() {
		return "it has no metadata directory"
	}
	if info, err := t.root.Lstat(dir + "/" + indexFile); err != nil || !info.Mode().IsRegular() {
		return "it has no files.json"
	}
	return ""
}
