package scan

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/romi/plantdb-go/internal/fsdb"
)

// FindingKind says what a check found.
type FindingKind string

// What a check finds beside the kinds of fsdb.Flaw, which it tells by the same
// names.
const (
	// ScanWithoutRow lies in the tree and not in the index; RowWithoutScan is
	// the contrary. FileWithoutRow and RowWithoutFile are the same of files.
	ScanWithoutRow FindingKind = "scan_without_row"
	RowWithoutScan FindingKind = "row_without_scan"
	FileWithoutRow FindingKind = "file_without_row"
	RowWithoutFile FindingKind = "row_without_file"
	// SizeDiffers is a file that has another size than the index says;
	// NotIndexed is whatever else was changed since the index was made.
	SizeDiffers FindingKind = "size_differs"
	NotIndexed  FindingKind = "not_indexed"
	// DigestDiffers is a file whose bytes are not those that were written,
	// though size and time are; Unreadable one that the disk does not give.
	DigestDiffers FindingKind = "digest_differs"
	Unreadable    FindingKind = "unreadable"
	// DuplicateScan is a directory whose id another scan has, which is used.
	DuplicateScan FindingKind = "duplicate_scan"
	// NotChecked is a scan that somebody held all the time.
	NotChecked FindingKind = "not_checked"
	// TrashDamaged is an entry of the trash that cannot be read, TrashUnsettled
	// one that a call which was cut short left, or that the index does not know.
	TrashDamaged   FindingKind = "trash_damaged"
	TrashUnsettled FindingKind = "trash_unsettled"
	// StagingLeftover is what a call that never finished left.
	StagingLeftover FindingKind = "staging_leftover"
	// StalePreview is a preview of what is not there any more, DamagedPreview
	// one that would not be served.
	StalePreview   FindingKind = "stale_preview"
	DamagedPreview FindingKind = "damaged_preview"
)

// Finding is something that is not as it should be.
type Finding struct {
	Kind    FindingKind `json:"kind"`
	Scan    string      `json:"scan,omitempty"`
	Fileset string      `json:"fileset,omitempty"`
	File    string      `json:"file,omitempty"`
	// Path is where, from the root of the tree.
	Path   string `json:"path,omitempty"`
	Detail string `json:"detail,omitempty"`
	// Note says that nothing is wrong with it: it is room to be had, or a
	// thing to know.
	Note bool `json:"note,omitempty"`
	// Repaired says what was done about it; empty if nothing was.
	Repaired string `json:"repaired,omitempty"`
}

// Checked is what a check looked at.
type Checked struct {
	Scans    int   `json:"scans"`
	Files    int   `json:"files"`
	Bytes    int64 `json:"bytes_read"` // for digests
	Findings int   `json:"findings"`
	Notes    int   `json:"notes"`
	Repaired int   `json:"repaired"` // of the findings
}

func (c *Checked) add(o Checked) {
	c.Scans, c.Files, c.Bytes = c.Scans+o.Scans, c.Files+o.Files, c.Bytes+o.Bytes
	c.Findings, c.Notes, c.Repaired = c.Findings+o.Findings, c.Notes+o.Notes, c.Repaired+o.Repaired
}

// CheckOptions say what a check does; the zero value looks at everything but the
// bytes of files, and changes nothing.
type CheckOptions struct {
	// Scans are the only ones to look at; none are all, and the trash, the
	// staging directory and the previews besides.
	Scans []string
	// After is the name of the last scan that an earlier run looked at.
	After string
	// Digests reads the bytes of every file.
	Digests bool
	// BytesPerSecond bounds how fast; 0 does not.
	BytesPerSecond int64
	// Repair does what cannot lose anything: see Check.
	Repair bool
	// Record keeps the digests of files that have none.
	Record bool
	// Previews is what the cache of previews holds; nil looks at none.
	Previews PreviewShelf
	// Report is told each finding, one after another.
	Report func(Finding) error
	// Passed is told, in the order of their names, which scans were looked at,
	// and what was seen since the last call.
	Passed func(ctx context.Context, last string, seen Checked) error
	// Until ends the check after the scans that are being looked at then; zero
	// never.
	Until time.Time
}

// PreviewShelf is what a cache of previews holds. A preview that nobody claims
// and that was made before the check began is of what is not there any more.
type PreviewShelf interface {
	// Claim says that there is a file of that name in that version.
	Claim(filename, version string)
	// Left returns the previews that nobody claimed and, where all are to be
	// read, those that are damaged.
	Left(ctx context.Context, read bool) (stale, damaged []string, bytes int64, err error)
	// Remove removes them.
	Remove(names []string) error
}

// opCheck is what Locks tells of a check.
const opCheck = "check"

// Check compares the tree with itself and with its index, and reports what is
// not as it should be. It may run beside servers: what it finds it looks at
// again while it holds the scan, so that nothing is reported that was just
// being written. done is false if Until came before the last scan.
//
// With Repair it indexes again what the index has wrong, lists files that
// files.json does not list, moves metadata of what is not there into
// .plantdb/quarantine, settles the trash, and removes what is left in the
// staging directory and previews of nothing. It touches no file that is damaged
// or missing: that takes a backup. ErrForbidden for anybody but the server
// itself or who is at its machine.
func (s *Service) Check(ctx context.Context, o CheckOptions) (seen Checked, done bool, err error) {
	a, err := acting(ctx)
	if err != nil {
		return Checked{}, false, err
	}
	if !may(a, opCheck, Access{}) {
		return Checked{}, false, forbidden(a, opCheck)
	}
	c := &checker{Service: s, o: o, only: map[string]bool{}}
	for _, name := range o.Scans {
		c.only[name] = true
	}
	if o.BytesPerSecond > 0 {
		c.limit = rate.NewLimiter(rate.Limit(o.BytesPerSecond), checkChunk)
	}
	done, err = c.run(ctx)
	return c.total, done, err
}

const (
	// checkBatch is how many scans are looked at by one query.
	checkBatch = 64
	// digestBatch is the same where all of their bytes are read: so much is read
	// again by who goes on after a check that was cut short.
	digestBatch = 8
	// checkChunk is how much of a file is read at a time.
	checkChunk = 256 << 10
	// stagingAge is when a call that staged something has surely ended.
	stagingAge = 2 * time.Hour
)

type checker struct {
	*Service
	o     CheckOptions
	only  map[string]bool
	limit *rate.Limiter
	until time.Time    // of the scrub
	read  atomic.Int64 // bytes, since Passed was last called

	total, fresh Checked // fresh: since Passed was last called
}

func (c *checker) run(ctx context.Context) (done bool, err error) {
	whole := len(c.only) == 0 && c.o.After == ""
	if whole || c.o.Repair {
		// First, for what a deletion left in a scan is not extra.
		if err := c.leftovers(ctx); err != nil {
			return false, err
		}
	}
	list, err := c.tree.List(ctx)
	if err != nil {
		return false, fmt.Errorf("list the tree: %w", err)
	}
	entries, err := c.entries(ctx, list)
	if err != nil {
		return false, err
	}
	size := checkBatch
	if c.o.Digests {
		size = digestBatch
	}
	for batch := range slices.Chunk(entries, size) {
		if !c.o.Until.IsZero() && c.now().After(c.o.Until) {
			return false, nil
		}
		if err := c.batch(ctx, batch); err != nil {
			return false, err
		}
	}
	if err := c.lost(ctx, list); err != nil {
		return false, err
	}
	if whole && c.o.Previews != nil {
		if err := c.previews(ctx); err != nil {
			return false, err
		}
	}
	return true, c.passed(ctx, "")
}

// entries returns the scans of the tree that are to be looked at, by name, and
// reports those directories that are in each other's way.
func (c *checker) entries(ctx context.Context, list *fsdb.Listing) (scans []fsdb.Entry, err error) {
	if len(c.only) == 0 && c.o.After == "" {
		for _, e := range list.Timelapses() {
			if err := c.marker(e); err != nil {
				return nil, err
			}
		}
	}
	for first, others := range list.Scans() {
		if !c.wanted(first.Loc.Scan) {
			continue
		}
		used, err := c.choose(ctx, first, others)
		if err != nil {
			return nil, err
		}
		for _, e := range slices.Concat([]fsdb.Entry{first}, others) {
			if e.Loc == used.Loc {
				continue
			}
			if err := c.report(Finding{
				Kind: DuplicateScan, Scan: e.Loc.Scan, Path: e.Loc.Dir(), Detail: "another scan has the id and is used: " + used.Loc.Dir(),
			}); err != nil {
				return nil, err
			}
		}
		scans = append(scans, used)
	}
	for name := range c.only {
		if list.Has(name) {
			continue
		}
		if _, err := c.scan(ctx, c.pool, name); err != nil {
			return nil, err // neither in the tree nor in the index
		}
	}
	return scans, nil
}

// marker reports what shows of a timelapse in the listing and its marker.
func (c *checker) marker(e fsdb.Entry) error {
	damage := e.Broken
	if damage == "" {
		said, err := c.tree.MarkerDamage(e.Loc.Timelapse)
		if err != nil {
			return missing(err)
		}
		damage = said
	}
	if damage == "" {
		return nil
	}
	return c.report(Finding{Kind: FindingKind(fsdb.DamagedJSON), Path: e.Loc.Timelapse + "/timelapse.json", Detail: damage})
}

// wanted says whether a scan is to be looked at.
func (c *checker) wanted(name string) bool {
	return name != "" && name > c.o.After && (len(c.only) == 0 || c.only[name])
}

// report tells a finding and counts it.
func (c *checker) report(f Finding) error {
	switch {
	case f.Note:
		c.fresh.Notes++
	default:
		c.fresh.Findings++
		if f.Repaired != "" {
			c.fresh.Repaired++
		}
	}
	if c.o.Report == nil {
		return nil
	}
	return c.o.Report(f)
}

// passed says that everything up to a scan was looked at.
func (c *checker) passed(ctx context.Context, last string) error {
	c.fresh.Bytes = c.read.Swap(0)
	fresh := c.fresh
	c.fresh = Checked{}
	c.total.add(fresh)
	if c.o.Passed == nil {
		return nil
	}
	return c.o.Passed(ctx, last, fresh)
}
