package scan

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/fsdb"
)

// known is what the index holds of a scan.
type known struct {
	there     bool
	timelapse string
	signature string
	broken    bool
	files     map[filePath]db.ListCheckedFilesRow
}

func (s *Service) known(ctx context.Context, tx db.DBTX, names ...string) (map[string]known, error) {
	scans, err := s.q.ListCheckedScans(ctx, tx, names)
	if err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	files, err := s.q.ListCheckedFiles(ctx, tx, names)
	if err != nil {
		return nil, fmt.Errorf("read the index of files: %w", err)
	}
	rows := make(map[string]known, len(scans))
	for _, r := range scans {
		rows[r.Name] = known{true, r.Timelapse, string(r.Signature), r.Broken, map[filePath]db.ListCheckedFilesRow{}}
	}
	for _, f := range files {
		if k, ok := rows[f.Scan]; ok {
			k.files[filePath{f.Fileset, f.Name}] = f
		}
	}
	return rows, nil
}

// look is what a look at one scan saw.
type look struct {
	entry    fsdb.Entry
	files    int
	findings []Finding
	bad      []badFile
	only     bool // only of the bytes is to be told
}

// badFile is a file whose bytes are not what they should be, and the row that
// says so.
type badFile struct {
	Finding
	row db.ListCheckedFilesRow
}

// batch looks at scans side by side without holding them, and again, one after
// another and holding it, at each of which something was found.
func (c *checker) batch(ctx context.Context, entries []fsdb.Entry) error {
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, cleanText(e.Loc.Scan))
	}
	rows, err := c.known(ctx, c.pool, names...)
	if err != nil {
		return err
	}
	looks := make([]look, len(entries))
	group, side := errgroup.WithContext(ctx)
	group.SetLimit(2 * runtime.GOMAXPROCS(0))
	for i, e := range entries {
		group.Go(func() (err error) {
			looks[i], err = c.first(side, e, rows[cleanText(e.Loc.Scan)])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, l := range looks {
		c.fresh.Scans++
		c.fresh.Files += l.files
		if len(l.findings)+len(l.bad) == 0 {
			continue
		}
		if err := c.again(ctx, l); err != nil {
			return err
		}
	}
	return c.passed(ctx, entries[len(entries)-1].Loc.Scan)
}

// first is a look that holds nothing.
func (c *checker) first(ctx context.Context, e fsdb.Entry, k known) (look, error) {
	l, files, err := c.look(ctx, c.pool, e, k)
	if err != nil {
		return l, err
	}
	c.claim(e, files, k)
	if c.o.Digests {
		l.bad, err = c.digests(ctx, e, files, k)
	}
	return l, err
}

// look compares a scan with itself and with what is known of it.
func (c *checker) look(ctx context.Context, tx db.DBTX, e fsdb.Entry, k known) (look, []fsdb.ListedFile, error) {
	l := look{entry: e}
	// Before anything is read, as the index does.
	signature, err := c.tree.Signature(ctx, e.Loc)
	if err != nil && (e.Broken == "" || !errors.Is(err, fsdb.ErrNotFound)) {
		return l, nil, missing(err) // gone meanwhile
	}
	if errors.Is(err, fsdb.ErrNotFound) { // its name cannot even be asked for
		l.findings = append(l.findings, Finding{Kind: FindingKind(fsdb.BrokenScan), Scan: e.Loc.Scan, Path: e.Loc.Dir(), Detail: e.Broken})
		if !k.there {
			l.findings = append(l.findings, c.finding(e, ScanWithoutRow, "", "", ""))
		}
		return l, nil, nil
	}
	same := k.there && k.signature == string(signature[:])
	in, err := c.tree.Inspect(ctx, e.Loc, func(fileset, file string) bool {
		f, ok := k.files[filePath{fileset, file}]
		return same && file != "" && ok && !f.Bare
	})
	if err != nil {
		return l, nil, missing(err)
	}
	for _, f := range in.Flaws {
		l.findings = append(l.findings, Finding{
			Kind: FindingKind(f.Kind), Scan: e.Loc.Scan, Fileset: f.Fileset, File: f.File, Path: path.Join(e.Loc.Dir(), f.Path), Detail: f.Detail,
			Note: f.Kind == fsdb.ExtraFileset,
		})
	}
	if in.More {
		l.findings = append(l.findings, c.finding(e, FindingKind(fsdb.BrokenScan), "", "", "there are too many flaws to tell all"))
	}
	l.files = len(in.Files)
	rows, err := c.rows(ctx, tx, e, k, in, same)
	l.findings = append(l.findings, rows...)
	return l, in.Files, err
}

func (c *checker) finding(e fsdb.Entry, kind FindingKind, fileset, file, detail string) Finding {
	return Finding{Kind: kind, Scan: e.Loc.Scan, Fileset: fileset, File: file, Path: path.Join(e.Loc.Dir(), fileset), Detail: detail}
}

// rows compares a scan with its rows. What the index does not take, and of a
// scan that it calls broken, there are none.
func (c *checker) rows(ctx context.Context, tx db.DBTX, e fsdb.Entry, k known, in *fsdb.Inspection, same bool) ([]Finding, error) {
	if !k.there {
		return []Finding{c.finding(e, ScanWithoutRow, "", "", "")}, nil
	}
	if k.timelapse != e.Loc.Timelapse {
		return []Finding{c.finding(e, NotIndexed, "", "", fmt.Sprintf("the index has it in timelapse %q", k.timelapse))}, nil
	}
	if same && k.broken {
		return nil, nil
	}
	var found []Finding
	seen := make(map[filePath]bool, len(in.Files))
	for _, f := range in.Files {
		at := filePath{cleanText(f.Fileset), cleanText(f.ID)}
		seen[at] = true
		r, ok := k.files[at]
		switch {
		case !ok:
			found = append(found, c.finding(e, FileWithoutRow, f.Fileset, f.ID, f.Name))
		case r.Size != f.Size:
			found = append(found, c.finding(e, SizeDiffers, f.Fileset, f.ID, fmt.Sprintf("it has %d bytes, the index says %d", f.Size, r.Size)))
		case !unchangedSince(f, r):
			found = append(found, c.finding(e, NotIndexed, f.Fileset, f.ID, "the file was changed since it was indexed"))
		}
	}
	for at := range k.files {
		if !seen[at] {
			found = append(found, c.finding(e, RowWithoutFile, at.fileset, at.file, "the index has it, files.json or the disk does not"))
		}
	}
	slices.SortFunc(found, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.Fileset, b.Fileset), strings.Compare(a.File, b.File), strings.Compare(string(a.Kind), string(b.Kind)))
	})
	if same || len(found) > 0 {
		return found, nil
	}
	return c.documents(ctx, tx, e)
}

// documents compares the metadata of a scan that may have been changed with
// what the index holds of them.
func (c *checker) documents(ctx context.Context, tx db.DBTX, e fsdb.Entry) ([]Finding, error) {
	read, err := c.tree.ReadScan(ctx, e.Loc)
	if err != nil {
		return nil, missing(err)
	}
	change, err := c.changedOutside(ctx, tx, read)
	if err != nil || len(change.worth()) == 0 {
		return nil, err
	}
	return []Finding{c.finding(e, NotIndexed, "", "", "it was changed since it was indexed")}, nil
}

// again looks at a scan while it is held, and reports what is still so.
func (c *checker) again(ctx context.Context, l look) error {
	var now look
	hold := func(tx pgx.Tx) error {
		// Files whose names a power cut took have them again then; what cannot be
		// folded is looked at as it is.
		if err := c.tree.Fold(ctx, l.entry.Loc); err != nil && ctx.Err() != nil {
			return err
		}
		rows, err := c.known(ctx, tx, cleanText(l.entry.Loc.Scan))
		if err != nil {
			return err
		}
		k := rows[cleanText(l.entry.Loc.Scan)]
		var files []fsdb.ListedFile
		if now, files, err = c.look(ctx, tx, l.entry, k); err != nil {
			return err
		}
		if l.only {
			now.findings = nil
		}
		for _, b := range l.bad { // their bytes are not read again
			if b.still(files, k) {
				now.findings = append(now.findings, b.Finding)
			}
		}
		if c.o.Repair {
			return c.mend(ctx, l.entry, now.findings)
		}
		return nil
	}
	names := within(l.entry.Loc.Timelapse, l.entry.Loc.Scan)
	err := c.still(ctx, opCheck, hold, names...)
	if errors.Is(err, fsdb.ErrReadOnly) && !c.o.Repair {
		err = c.lockedRows(ctx, hold, names...) // nobody else can write there either
	}
	if errors.Is(err, ErrBusy) {
		return c.notChecked(l.entry)
	}
	if err == nil && c.o.Repair {
		if err = c.reindex(ctx, l.entry, now.findings); errors.Is(err, ErrBusy) {
			err = nil // what it was to mend stays wrong, and is told so
		}
	}
	if err != nil {
		return err
	}
	for _, f := range now.findings {
		if err := c.report(f); err != nil {
			return err
		}
	}
	return nil
}

// still says whether file and row are those whose bytes were read.
func (b badFile) still(files []fsdb.ListedFile, k known) bool {
	r, ok := k.files[filePath{b.Fileset, b.File}]
	return ok && bytes.Equal(r.Sha256, b.row.Sha256) && slices.ContainsFunc(files, func(f fsdb.ListedFile) bool {
		return f.Fileset == b.Fileset && f.ID == b.File && unchangedSince(f, r) && unchangedSince(f, b.row)
	})
}

// unchangedSince says whether a file is as it was when its row was written.
func unchangedSince(f fsdb.ListedFile, r db.ListCheckedFilesRow) bool {
	return r.Filename == cleanText(f.Name) && checkedDigest(r).is(listedVersion(f))
}

func checkedDigest(r db.ListCheckedFilesRow) digest {
	return digest{r.ID, r.Size, r.ModifiedAt, r.Inode, r.Sha256}
}
