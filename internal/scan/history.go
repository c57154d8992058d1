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
	r, _, err := s.open(ctx, s.pool, name, opRead)
	if err != nil {
		return History{}, err
	}
	before, err := q.before()
	if err != nil {
		return History{}, err
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
	return historyOf(rows, limit)
}

// before is the number of the first event that is not on the page; ErrCursor.
func (q HistoryQuery) before() (int64, error) {
	if q.After == "" {
		return math.MaxInt64, nil
	}
	before, err := strconv.ParseInt(q.After, 10, 64)
	if err != nil || before < 1 {
		return 0, ErrCursor
	}
	return before, nil
}

// TimelapseHistory tells what was done to a timelapse itself, and by whom, for as
// long as events are kept, to everybody who is logged in, as timelapses are.
// What was done to its scans is in their histories. It follows a timelapse
// through the trash, and never tells of an older one of the same name. Errors:
// ErrNoActor, also for guests, ErrUnknownTimelapse, ErrCursor.
func (s *Service) TimelapseHistory(ctx context.Context, name string, q HistoryQuery) (History, error) {
	if _, err := listener(ctx); err != nil {
		return History{}, err
	}
	t, err := s.timelapse(ctx, s.pool, name)
	if err != nil {
		return History{}, err
	}
	before, err := q.before()
	if err != nil {
		return History{}, err
	}
	limit := pageSize(q.Limit)
	if !storable(q.Kind) {
		return History{Events: []Event{}}, nil // of which there are none
	}
	found, err := s.q.ListTimelapseHistory(ctx, s.pool, db.ListTimelapseHistoryParams{
		TimelapseID: &t.ID, Before: before, Kind: q.Kind, PageSize: int32(limit), //nolint:gosec // At most maxEventPage.
	})
	if err != nil {
		return History{}, fmt.Errorf("list history of timelapse %q: %w", name, err)
	}
	rows := make([]db.ListHistoryRow, len(found))
	for i, r := range found {
		rows[i] = db.ListHistoryRow(r)
	}
	return historyOf(rows, limit)
}

// historyOf is the page of these rows.
func historyOf(rows []db.ListHistoryRow, limit int) (h History, err error) {
	h.Events = make([]Event, len(rows))
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
