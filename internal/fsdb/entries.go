package fsdb

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"
)

// Entry is a directory of the tree that is, or should be, a scan or a
// timelapse.
type Entry struct {
	// Loc has only the timelapse if the entry is a timelapse itself. A name
	// that is not UTF-8 is spelled with \xNN and is always Broken.
	Loc Loc
	// Timelapse says that the entry is a timelapse.
	Timelapse bool
	// Broken says why the directory is not the scan it should be, as far as
	// somebody looked: see Look. Whether files.json can be read shows in ReadScan.
	Broken string
}

// Listing is what the tree held when it was listed. Trees are large: of a scan it
// keeps the name, and sixteen bytes.
type Listing struct {
	timelapses []Entry
	scans      []listed // by id; those of one id in the order of their directories
	names      []byte   // the ids of the scans, as they were found
}

// listed is a scan of a Listing.
type listed struct {
	at             int    // of its id in names
	timelapse      int32  // one more than the place of its timelapse, 0 outside of any
	size           uint16 // of its id: at most 255 bytes, each spelled with four
	linked, binary bool
}

const (
	nameNotText = "the directory's name is not UTF-8"
	// listBatch is how many entries of a directory are read at a time.
	listBatch = 1024
)

// List returns what the tree holds. Directories with a leading dot and configs are
// passed over; every other one is, or should be, a scan or a timelapse, and none
// hides the others. A scan id may come twice, in different directories: which
// one counts is for the caller to say.
func (t *Tree) List(ctx context.Context) (*Listing, error) {
	l := new(Listing)
	var timelapses []string
	err := t.directories(ctx, ".", func(d directory) {
		if !d.broken() && t.isTimelapse(d.name) {
			timelapses = append(timelapses, d.name)
			return
		}
		l.add(d)
	})
	slices.Sort(timelapses)
	for _, id := range timelapses {
		if err == nil {
			err = t.listTimelapse(ctx, l, id)
		}
	}
	if err != nil {
		return nil, wrap("list tree", t.dir, err)
	}
	slices.SortFunc(l.scans, l.compare)
	return l, nil
}

func (t *Tree) listTimelapse(ctx context.Context, l *Listing, id string) error {
	l.timelapses = append(l.timelapses, Entry{Loc: Loc{Timelapse: id}, Timelapse: true})
	scans := len(l.scans)
	err := t.directories(ctx, id, l.add)
	if err != nil && ctx.Err() == nil {
		l.timelapses[len(l.timelapses)-1].Broken = reason(err)
		l.scans, err = l.scans[:scans], nil
	}
	for i := range l.scans[scans:] {
		l.scans[scans+i].timelapse = int32(len(l.timelapses)) //nolint:gosec // their names are in memory
	}
	return err
}

func (l *Listing) add(d directory) {
	id := d.name
	if d.binary {
		id = printable(id)
	}
	l.scans = append(l.scans, listed{at: len(l.names), size: uint16(len(id)), linked: d.linked, binary: d.binary}) //nolint:gosec // see its type
	l.names = append(l.names, id...)
}

func (l *Listing) compare(a, b listed) int {
	order := cmp.Or(bytes.Compare(l.id(a), l.id(b)), strings.Compare(l.within(a), l.within(b)))
	switch {
	case order != 0 || a.binary == b.binary:
		return order
	case a.binary: // the other's backslash comes before any byte that is not ASCII
		return 1
	default:
		return -1
	}
}

func (l *Listing) id(s listed) []byte { return l.names[s.at : s.at+int(s.size)] }

// timelapse returns the one that a scan is in, or nothing.
func (l *Listing) timelapse(s listed) string {
	if s.timelapse == 0 {
		return ""
	}
	return l.timelapses[s.timelapse-1].Loc.Timelapse
}

// entry is a copy: nobody who keeps it keeps the names of all others.
func (l *Listing) entry(s listed) Entry {
	e := Entry{Loc: Loc{Timelapse: l.timelapse(s), Scan: string(l.id(s))}}
	switch {
	case s.binary:
		e.Broken = nameNotText
	case s.linked:
		e.Broken = reason(errLinked)
	}
	return e
}

// Timelapses returns the timelapses by name.
func (l *Listing) Timelapses() []Entry { return l.timelapses }

// HasTimelapse says whether a timelapse is among them.
func (l *Listing) HasTimelapse(id string) bool {
	_, ok := slices.BinarySearchFunc(l.timelapses, id, func(e Entry, id string) int { return strings.Compare(e.Loc.Timelapse, id) })
	return ok
}

// InTimelapses says whether any scan is in one.
func (l *Listing) InTimelapses() bool {
	return slices.ContainsFunc(l.scans, func(s listed) bool { return s.timelapse > 0 })
}

// IDs is how many scans there are of different ids.
func (l *Listing) IDs() (n int) {
	for i := 0; i < len(l.scans); i = l.after(i) {
		n++
	}
	return n
}

// Scans tells the scans in the order of the bytes of their ids: the first of an id by
// the name of its directory in the tree, and all others that have the same.
func (l *Listing) Scans() iter.Seq2[Entry, []Entry] {
	return func(yield func(Entry, []Entry) bool) {
		for i := 0; i < len(l.scans); i = l.after(i) {
			if all := l.entries(i); !yield(all[0], all[1:]) {
				return
			}
		}
	}
}

// Scan returns the scans that have an id, none if none has.
func (l *Listing) Scan(id string) []Entry {
	i := sort.Search(len(l.scans), func(i int) bool { return string(l.id(l.scans[i])) >= id })
	if i == len(l.scans) || string(l.id(l.scans[i])) != id {
		return nil
	}
	return l.entries(i)
}

// Has says whether there is a scan of that id.
func (l *Listing) Has(id string) bool { return len(l.Scan(id)) > 0 }

// holds says whether there is a scan at that place.
func (l *Listing) holds(loc Loc) bool {
	return slices.ContainsFunc(l.Scan(loc.Scan), func(e Entry) bool { return e.Loc == loc })
}

// after returns where the next id begins.
func (l *Listing) after(i int) int {
	next := i + 1
	for next < len(l.scans) && bytes.Equal(l.id(l.scans[next]), l.id(l.scans[i])) {
		next++
	}
	return next
}

// entries returns the scans that have the id of that one, which is the first of them.
func (l *Listing) entries(i int) []Entry {
	all := make([]Entry, l.after(i)-i)
	for n := range all {
		all[n] = l.entry(l.scans[i+n])
	}
	return all
}

// within is the directory of the tree where a scan lies, or that it is.
func (l *Listing) within(s listed) string {
	if s.timelapse > 0 {
		return l.timelapse(s)
	}
	return string(l.id(s))
}

// Look says of a scan that was listed what its directory lacks to be one.
func (t *Tree) Look(e Entry) Entry {
	if e.Broken == "" && !e.Timelapse {
		e.Broken = t.whyNoScan(e.Loc.Dir())
	}
	return e
}

// directory is a candidate for a scan.
type directory struct {
	name           string
	linked, binary bool
}

func (d directory) broken() bool { return d.linked || d.binary }

// directories tells the visible directories in dir, and the links to some, in
// no order.
func (t *Tree) directories(ctx context.Context, dir string, tell func(directory)) error {
	f, err := t.root.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	for {
		list, err := f.ReadDir(listBatch)
		for _, e := range list {
			if d, ok := t.candidate(dir, e); ok {
				tell(d)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

func (t *Tree) candidate(dir string, e fs.DirEntry) (d directory, ok bool) {
	d = directory{name: e.Name(), linked: e.Type()&fs.ModeSymlink != 0, binary: !utf8.ValidString(e.Name())}
	if d.name[0] == '.' || d.name == configsDir || !d.linked && !e.IsDir() {
		return d, false
	}
	return d, !d.linked || !t.linksToFile(dir+"/"+d.name)
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
