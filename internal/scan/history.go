package scan

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/romi/plantdb-go/db"
)

// Event is one thing that was done, as it is told.
type Event struct {
	// Position is where it stands in the stream, zero in a history.
	Position Position
	ID       uuid.UUID
	At       time.Time
	Kind     Kind
	// Username is who did it, by what kind of token and in which request; empty
	// for what was found to have changed outside.
	Username, TokenKind, RequestID string
	Scan, Timelapse, Fileset, File string
	Detail                         Detail

	// access is who may read the scan: nil where that is not known any more,
	// and then it is told to administrators only.
	access *Access
}

// HistoryQuery asks for a page of a history. Empty texts are any.
type HistoryQuery struct {
	Kind, Fileset, File string
	// After is the Next of the page before.
	After string
	Limit int
}

// History is a page of one, the latest first.
type History struct {
	Events []Event
	Next   string // empty after the last page
}

// maxEventPage bounds a page of events, by default eventPage.
const (
	maxEventPage = 1000
	eventPage    = 100
)

func pageSize(limit int) int {
	if limit <= 0 {
		return eventPage
	}
	return min(limit, maxEventPage)
}

// History tells what was done to a scan, its filesets and files, and by whom,
// for as long as events are kept: to everybody who may read the scan. It
// follows a scan through the trash and under another name, and never tells of
// an older scan of the same name. Errors: those of finding the scan,
// ErrForbidden, ErrCursor.
func (s *Service) History(ctx context.Context, name string, q HistoryQuery) (History, error) {
	r, _, err := s.open(ctx, s.pool, name, opRead, CanRead)
	if err != nil {
		return History{}, err
	}
	before := int64(math.MaxInt64)
	if q.After != "" {
		if before, err = strconv.ParseInt(q.After, 10, 64); err != nil || before < 1 {
			return History{}, ErrCursor
		}
	}
	limit := pageSize(q.Limit)
	if !storable(q.Kind) || !storable(q.Fileset) || !storable(q.File) {
		return History{Events: []Event{}}, nil // of which there are none
	}
	rows, err := s.q.ListHistory(ctx, s.pool, db.ListHistoryParams{
		ScanID: &r.id, Before: before, Kind: q.Kind, Fileset: q.Fileset, File: q.File, PageSize: int32(limit), //nolint:gosec // At most maxEventPage.
	})
	if err != nil {
		return History{}, fmt.Errorf("list history of scan %q: %w", name, err)
	}
	h := History{Events: make([]Event, len(rows))}
	for i, row := range rows {
		h.Events[i] = Event{
			ID: row.ID, At: row.At, Kind: Kind(row.Kind), Username: textOf(row.Username), TokenKind: textOf(row.TokenKind), RequestID: row.RequestID,
			Scan: textOf(row.Scan), Timelapse: textOf(row.Timelapse), Fileset: textOf(row.Fileset), File: textOf(row.File),
		}
		if h.Events[i].Detail, err = readDetail(row.Detail); err != nil {
			return History{}, err
		}
	}
	if len(rows) == limit {
		h.Next = strconv.FormatInt(rows[limit-1].Seq, 10)
	}
	return h, nil
}

func readDetail(raw []byte) (d Detail, err error) {
	if len(raw) == 0 {
		return d, nil
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return d, fmt.Errorf("read detail of event: %w", err)
	}
	return d, nil
}
