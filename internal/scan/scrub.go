package scan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/jobs"
)

const (
	passScrub = "scrub"
	// scrubSlice is how long one job reads; the next goes on where it stopped.
	scrubSlice = 45 * time.Second
	// scrubRest is how long it rests after a whole pass, and scrubCommit how
	// much it reads between two commits of how far it came.
	scrubRest   = 24 * time.Hour
	scrubCommit = 64 << 20
)

// scrubArgs ask for a slice of the scrub.
type scrubArgs struct{}

// Kind implements jobs.Args.
func (scrubArgs) Kind() string { return "scrub" }

// InsertOpts has one slice at a time over all servers.
func (scrubArgs) InsertOpts() jobs.InsertOpts {
	return jobs.InsertOpts{Queue: jobs.Background, MaxAttempts: 1, UniqueOpts: jobs.UniqueOpts{ByArgs: true, ByState: jobs.Unfinished}}
}

// Scrubber reads all files again and again, slowly: see Scrub. It does nothing
// where the settings say that nobody should.
func (s *Service) Scrubber() jobs.Worker {
	return jobs.Work(func(ctx context.Context, _ *jobs.Job[scrubArgs]) error {
		if s.config.ScrubRate <= 0 {
			return nil
		}
		return s.Scrub(actor.NewContext(ctx, actor.System()), s.now().Add(scrubSlice))
	}, jobs.Bounds{Timeout: 10 * time.Minute, Every: time.Minute})
}

// Scrub goes on with a pass through all files until a time: it reads them at the
// rate of the settings, compares them with their digests and keeps that of those
// which have none, and looks for what Check looks for in each scan. What it finds
// is logged and kept in care_findings until the scan is found sound. A day after
// the end of a pass it begins the next. It is the server's own work: ErrForbidden
// for anybody else.
func (s *Service) Scrub(ctx context.Context, until time.Time) error {
	a, err := acting(ctx)
	if err != nil {
		return err
	}
	if !may(a, opCheck, Access{}) {
		return forbidden(a, opCheck)
	}
	after, rest, err := s.scrubFrom(ctx)
	if err != nil || rest {
		return err
	}
	c := &checker{Service: s, o: CheckOptions{Digests: true, Record: true}, until: until}
	if s.config.ScrubRate > 0 {
		c.limit = rate.NewLimiter(rate.Limit(s.config.ScrubRate), checkChunk)
	}
	scan, fileset, file := scrubPlace(after)
	if fileset != "" {
		if done, err := c.scrubRest(ctx, scan, filePath{fileset, file}); err != nil || !done {
			return err
		}
	}
	for r, err := range s.signatures(scan).all(ctx) {
		if err != nil {
			return err
		}
		done, err := c.scrub(ctx, fsdb.Entry{Loc: fsdb.Loc{Timelapse: r.Timelapse, Scan: r.Name}}, filePath{})
		if err != nil || !done {
			return err
		}
	}
	if err := s.q.ForgetLostFindings(ctx, s.pool); err != nil {
		return fmt.Errorf("forget what was found in scans that are gone: %w", err)
	}
	return s.movePass(ctx, passScrub, "", Checked{})
}

// scrubFrom returns where the pass is, and whether it rests after the last one.
func (s *Service) scrubFrom(ctx context.Context) (after string, rest bool, err error) {
	pass, err := s.pass(ctx, passScrub)
	if err != nil || pass.After != "" {
		return pass.After, false, err
	}
	if pass.FinishedAt != nil && s.now().Sub(*pass.FinishedAt) < scrubRest {
		return "", true, nil
	}
	_, err = s.beginPass(ctx, passScrub, false)
	return "", false, err
}

// scrubPlace takes a place of the scrub apart: a scan that was looked at or, with
// fileset and file, one that was looked at so far.
func scrubPlace(after string) (scan, fileset, file string) {
	scan, rest, _ := strings.Cut(after, "/")
	fileset, file, _ = strings.Cut(rest, "/")
	return scan, fileset, file
}

// scrubRest is scrub of a scan that was begun, which may be gone.
func (c *checker) scrubRest(ctx context.Context, name string, from filePath) (done bool, err error) {
	r, err := c.scan(ctx, c.pool, name)
	if errors.Is(err, ErrUnknownScan) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return c.scrub(ctx, fsdb.Entry{Loc: r.loc()}, from)
}

// scrub looks at a scan, from a file of it on; done is false if the time was up.
func (c *checker) scrub(ctx context.Context, e fsdb.Entry, from filePath) (done bool, err error) {
	name := e.Loc.Scan
	rows, err := c.known(ctx, c.pool, name)
	if err != nil {
		return false, err
	}
	k := rows[name]
	l, files, err := c.look(ctx, c.pool, e, k)
	if err != nil {
		return false, err
	}
	if from != (filePath{}) {
		l.findings = nil // told before
	}
	settle := c.settler(ctx, name, from == filePath{})
	slices.SortFunc(files, func(a, b fsdb.ListedFile) int {
		return cmp.Or(strings.Compare(a.Fileset, b.Fileset), strings.Compare(a.ID, b.ID))
	})
	dir, err := c.tree.OpenScanDir(ctx, e.Loc)
	if errors.Is(err, fsdb.ErrNotFound) {
		return true, c.moved(ctx, name, 0)
	}
	if err != nil {
		return false, err
	}
	defer dir.Close() // Only read.
	seen := 0
	for _, f := range files {
		if cmp.Or(strings.Compare(f.Fileset, from.fileset), strings.Compare(f.ID, from.file)) <= 0 {
			continue
		}
		bad, err := c.digestsOf(ctx, dir, e, f, k)
		if err != nil {
			return false, err
		}
		l.bad = append(l.bad, bad...)
		seen++
		if up := c.now().After(c.until); up || c.read.Load() >= scrubCommit {
			if err := settle(&l); err != nil {
				return false, err
			}
			if err := c.moved(ctx, name+"/"+f.Fileset+"/"+f.ID, seen); err != nil || up {
				return false, err
			}
			seen = 0
		}
	}
	if err := settle(&l); err != nil {
		return false, err
	}
	return !c.now().After(c.until), c.moved(ctx, name, seen)
}

// settler returns what settles what was found in a scan. What was found there before
// is forgotten, if that is asked for, once somebody can say how the scan is now: not
// while another holds it.
func (c *checker) settler(ctx context.Context, name string, forget bool) func(*look) error {
	held := false
	replace := func() error {
		if !forget {
			return nil
		}
		forget = false
		if err := c.q.ForgetFindings(ctx, c.pool, []string{name}); err != nil {
			return fmt.Errorf("forget what was found in scan %q: %w", name, err)
		}
		return nil
	}
	c.o.Report = func(f Finding) error {
		if f.Kind == NotChecked {
			held = true
			return nil
		}
		if err := replace(); err != nil {
			return err
		}
		return c.keepFinding(ctx, f)
	}
	return func(l *look) error {
		held = false
		if err := c.settle(ctx, l); err != nil || held {
			return err
		}
		return replace()
	}
}

// settle looks again at what was found so far, and keeps what is still so.
func (c *checker) settle(ctx context.Context, l *look) error {
	if len(l.findings)+len(l.bad) == 0 {
		return nil
	}
	structure := l.findings
	err := c.again(ctx, look{entry: l.entry, findings: structure, bad: l.bad, only: structure == nil})
	l.findings, l.bad = nil, nil
	return err
}

// moved keeps how far the pass came.
func (c *checker) moved(ctx context.Context, after string, files int) error {
	fresh := c.fresh
	c.fresh = Checked{}
	fresh.Bytes, fresh.Files = c.read.Swap(0), files
	c.scrubbed.bytes.Add(fresh.Bytes)
	c.scrubbed.files.Add(int64(files))
	if !strings.Contains(after, "/") {
		fresh.Scans = 1
	}
	return c.movePass(ctx, passScrub, after, fresh)
}

func (c *checker) keepFinding(ctx context.Context, f Finding) error {
	if f.Note {
		return nil
	}
	c.log.WarnContext(ctx, "the scrub found damage", slog.String("kind", string(f.Kind)), slog.String("path", f.Path),
		slog.String("file", f.File), slog.String("detail", f.Detail))
	err := c.q.InsertFinding(ctx, c.pool, db.InsertFindingParams{
		ID: newID(), Kind: string(f.Kind), Scan: cleanText(f.Scan), Fileset: cleanText(f.Fileset), File: cleanText(f.File),
		Path: cleanText(f.Path), Detail: cleanText(f.Detail),
	})
	if err != nil {
		return fmt.Errorf("keep what was found in scan %q: %w", f.Scan, err)
	}
	return nil
}
