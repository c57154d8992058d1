package scan

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// opScrub is what errors call the question for what the scrub found.
const opScrub = "scrub"

// maxFindings bounds a page of what the scrub found.
const maxFindings = 1000

// ScrubReport says how far the scrub is and what it found that is not mended.
type ScrubReport struct {
	// Rate is how many bytes a second this server reads; zero for none.
	Rate int64
	// Began is when the running pass did, Moved when it last went on; both are
	// zero before the first.
	Began, Moved time.Time
	// Finished is when the last whole pass ended, and VerifiedFrom when it began:
	// every file that was there then was read since. Zero before.
	Finished, VerifiedFrom time.Time
	// Scans, Files and Bytes were read by the running pass.
	Scans, Files, Bytes int64
	// Findings is a page of what was found, in the order of finding, Faults how many there are
	// in all, and Next where the next page begins; empty for the last.
	Findings []Found
	Faults   int64
	Next     string
}

// Found is something that the scrub found.
type Found struct {
	Finding
	At time.Time
}

// ScrubReport returns how far the scrub is, and at most limit of what it found,
// from after, the Next of the page before, on. It is for administrators: ErrForbidden
// for others; ErrCursor for an after that no page named.
func (s *Service) ScrubReport(ctx context.Context, after string, limit int) (ScrubReport, error) {
	if err := s.requireAdministrator(ctx, opScrub); err != nil {
		return ScrubReport{}, err
	}
	from := uuid.Nil
	if after != "" {
		var err error
		if from, err = uuid.Parse(after); err != nil {
			return ScrubReport{}, ErrCursor
		}
	}
	limit = min(max(limit, 1), maxFindings)
	pass, err := s.pass(ctx, passScrub)
	if err != nil {
		return ScrubReport{}, err
	}
	r := ScrubReport{
		Rate: s.config.ScrubRate, Began: pass.BeganAt, Moved: pass.MovedAt, Scans: pass.Scans, Files: pass.Files, Bytes: pass.Bytes,
	}
	if pass.FinishedAt != nil {
		r.Finished = *pass.FinishedAt
	}
	if pass.VerifiedFrom != nil {
		r.VerifiedFrom = *pass.VerifiedFrom
	}
	if r.Faults, err = s.q.CountFindings(ctx, s.pool); err != nil {
		return ScrubReport{}, fmt.Errorf("count what the scrub found: %w", err)
	}
	rows, err := s.q.ListFindings(ctx, s.pool, from, int32(limit)+1)
	if err != nil {
		return ScrubReport{}, fmt.Errorf("list what the scrub found: %w", err)
	}
	if len(rows) > limit {
		rows = rows[:limit]
		r.Next = rows[limit-1].ID.String()
	}
	for _, f := range rows {
		r.Findings = append(r.Findings, Found{
			Finding{Kind: FindingKind(f.Kind), Scan: f.Scan, Fileset: f.Fileset, File: f.File, Path: f.Path, Detail: f.Detail}, f.FoundAt,
		})
	}
	return r, nil
}

// Scrubbed says what the scrub did on this server since its start, and how the
// tree stands.
type Scrubbed struct {
	Bytes, Files int64
	// Faults are what was found and is not mended, on all servers; VerifiedFrom is
	// as in ScrubReport. Both are up to half a minute old.
	Faults       int64
	VerifiedFrom time.Time
}

// scrubbed is what Scrubbed tells.
type scrubbed struct {
	bytes, files atomic.Int64

	mu   sync.Mutex
	at   time.Time
	last Scrubbed
}

// Scrubbed says what the scrub did and found, for metrics: where the database
// does not answer, what it last said.
func (s *Service) Scrubbed(ctx context.Context) Scrubbed {
	s.scrubbed.mu.Lock()
	defer s.scrubbed.mu.Unlock()
	if now := time.Now(); now.Sub(s.scrubbed.at) > 30*time.Second {
		s.scrubbed.at = now
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		n, err := s.q.CountFindings(ctx, s.pool)
		if err == nil {
			s.scrubbed.last.Faults = n
		}
		if pass, err := s.pass(ctx, passScrub); err == nil && pass.VerifiedFrom != nil {
			s.scrubbed.last.VerifiedFrom = *pass.VerifiedFrom
		}
	}
	told := s.scrubbed.last
	told.Bytes, told.Files = s.scrubbed.bytes.Load(), s.scrubbed.files.Load()
	return told
}
