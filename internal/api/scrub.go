package api

import (
	"context"
	"net/http"
	"time"

	"github.com/romi/plantdb-go/internal/scan"
)

// scrubFinding is scan.Found on the wire.
type scrubFinding struct {
	Kind    string    `json:"kind" doc:"What is wrong, as plantdb check calls it; new kinds may come." example:"digest_differs"`
	Scan    string    `json:"scan" doc:"In which scan." example:"real_plant_analyzed"`
	Fileset string    `json:"fileset,omitempty" doc:"In which fileset." example:"images"`
	File    string    `json:"file,omitempty" doc:"Which file." example:"00000_rgb"`
	Path    string    `json:"path" doc:"Where it lies, from the root of the tree." example:"real_plant_analyzed/images"`
	Detail  string    `json:"detail" doc:"For people."`
	FoundAt time.Time `json:"found_at" doc:"When it was found, in UTC."`
}

type scrubReport struct {
	Rate         int64          `json:"rate" doc:"Bytes a second that this server reads at most; 0 for a server that reads none (SCRUB_RATE)."`
	BeganAt      *time.Time     `json:"began_at,omitempty" doc:"When the running pass began; left out before the first."`
	MovedAt      *time.Time     `json:"moved_at,omitempty" doc:"When it last went on."`
	FinishedAt   *time.Time     `json:"finished_at,omitempty" doc:"When the last whole pass ended; left out before."`
	VerifiedFrom *time.Time     `json:"verified_from,omitempty" doc:"When the last whole pass began: every file that was there then was read since."`
	Scans        int64          `json:"scans" doc:"Scans that the running pass has read."`
	Files        int64          `json:"files" doc:"Files that it has read."`
	Bytes        int64          `json:"bytes" doc:"Bytes that it has read."`
	Faults       int64          `json:"faults" doc:"How many faults there are in all pages."`
	Findings     []scrubFinding `json:"findings" doc:"What was found and is not mended, in the order of finding."`
	Next         string         `json:"next,omitempty" doc:"Where the next page begins: its after. Left out on the last."`
}

func scrubReportOf(r scan.ScrubReport) scrubReport {
	at := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		t = t.UTC()
		return &t
	}
	out := scrubReport{
		Rate: r.Rate, BeganAt: at(r.Began), MovedAt: at(r.Moved), FinishedAt: at(r.Finished), VerifiedFrom: at(r.VerifiedFrom),
		Scans: r.Scans, Files: r.Files, Bytes: r.Bytes, Faults: r.Faults, Findings: make([]scrubFinding, len(r.Findings)), Next: r.Next,
	}
	for i, f := range r.Findings {
		out.Findings[i] = scrubFinding{string(f.Kind), f.Scan, f.Fileset, f.File, f.Path, f.Detail, f.At.UTC()}
	}
	return out
}

func (s *server) registerScrub() {
	register(s, route{
		id: "get-scrub", method: http.MethodGet, path: "/scrub", tag: tagScans, security: required, needs: toAdminister, rate: rateList,
		summary: "Ask what the scrub found",
		doc: "How far the servers are with reading all files and comparing them with their SHA-256, and what they found that is not mended yet. " +
			"Only administrators may ask.",
		errors: []int{http.StatusForbidden}, faults: []error{scan.ErrCursor},
	}, func(ctx context.Context, in *struct {
		Limit int    `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"How many findings a page has."`
		After string `query:"after" maxLength:"64" doc:"Where the page begins: next of the page before." example:"019a20ed-6cee-745e-8c66-abfc5443cd11"`
	}) (*reply[scrubReport], error) {
		r, err := s.scans.ScrubReport(ctx, in.After, in.Limit)
		return replyOf(scrubReportOf(r), err)
	})
}
