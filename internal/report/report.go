// Package report asks the report views who is logged in, who tried, which
// tokens were stolen and who uses how much, and what the scrub found, and writes the answers for people,
// spreadsheets and programs. It knows the views of migrations/00003_reports.sql
// and 00017_scrub_report.sql and no table; who may ask is decided by the role of the connection.
package report

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/fault"
)

// MaxRows bounds a report, which is held in memory while it is written.
const MaxRows = 100_000

// What a report answers when it cannot be made.
var (
	// ErrFilter says that a filter makes no sense.
	ErrFilter = fault.New(fault.Invalid, "report_filter", "the filter of the report makes no sense")
	// ErrNoViews says that the schema is older than the views.
	ErrNoViews = fault.New(fault.Unavailable, "report_views_missing",
		"the database has no report views: bring its schema up to date (plantdb migrate up)")
	// ErrNotReader says that the role of the connection may not read the views.
	ErrNotReader = fault.New(fault.Forbidden, "report_not_allowed",
		"this user of the database may not read the report views: GRANT plantdb_report TO it")
)

// Filter says which rows are wanted.
type Filter struct {
	// Since and Until bound the time: Since belongs to it, Until does not. Zero
	// is no bound.
	Since, Until time.Time
	// User is a user name; empty is all.
	User string
	// Limit bounds the rows, from 1 to MaxRows.
	Limit int
}

// Table is an answer.
type Table struct {
	Columns []Column
	// Rows hold a value for each column: string, bool, int64, Bytes, time.Time,
	// netip.Addr, uuid.UUID, or nil where there is none.
	Rows [][]any
	// More says that the limit left rows out.
	More bool
}

// Column names what is in a column, as the views do.
type Column struct {
	Name string
	// Detail is for programs: it is left out of what people read.
	Detail bool
}

// Bytes is a size.
type Bytes int64

// Report makes a table of what a filter asks for. The error is ErrFilter,
// ErrNoViews, ErrNotReader or the database's.
type Report func(context.Context, db.DBTX, Filter) (Table, error)

// Sessions returns the sessions that were opened in the time, the newest
// first, with what became of them; also those of users who are no more.
func Sessions(ctx context.Context, tx db.DBTX, f Filter) (Table, error) {
	since, until, user, err := f.bounds()
	if err != nil {
		return Table{}, err
	}
	rows, err := db.New().ReportSessions(ctx, tx, db.ReportSessionsParams{
		Since: since, Until: until, Username: user, PageSize: f.page(),
	})
	if err != nil {
		return Table{}, explain("sessions", err)
	}
	return tabulate(f, rows, columns("username", "state", "opened_at", "last_seen_at", "ended_at", "refreshes", "address",
		"user_agent", "session_id"), func(r db.ReportSessionsRow) []any {
		return []any{r.Username, r.State, r.OpenedAt, r.LastSeenAt, known(r.EndedAt), r.Refreshes, value(r.Address),
			r.UserAgent, value(r.SessionID)}
	}), nil
}

// ActiveSessions returns who is logged in now, the last seen first; the time
// bounds when the sessions were opened.
func ActiveSessions(ctx context.Context, tx db.DBTX, f Filter) (Table, error) {
	since, until, user, err := f.bounds()
	if err != nil {
		return Table{}, err
	}
	rows, err := db.New().ReportActiveSessions(ctx, tx, db.ReportActiveSessionsParams{
		Since: since, Until: until, Username: user, PageSize: f.page(),
	})
	if err != nil {
		return Table{}, explain("active sessions", err)
	}
	return tabulate(f, rows, columns("username", "opened_at", "last_seen_at", "expires_at", "refreshes", "address",
		"user_agent", "session_id"), func(r db.ReportActiveSessionsRow) []any {
		return []any{r.Username, r.OpenedAt, r.LastSeenAt, r.ExpiresAt, int64(r.Refreshes), value(r.Address), r.UserAgent,
			r.SessionID}
	}), nil
}

// Logins returns the attempts to log in, the newest first.
func Logins(ctx context.Context, tx db.DBTX, f Filter) (Table, error) {
	since, until, user, err := f.bounds()
	if err != nil {
		return Table{}, err
	}
	rows, err := db.New().ReportLogins(ctx, tx, db.ReportLoginsParams{
		Since: since, Until: until, Username: user, PageSize: f.page(),
	})
	if err != nil {
		return Table{}, explain("logins", err)
	}
	return tabulate(f, rows, columns("at", "username", "succeeded", "address", "user_agent", "session_id:detail",
		"request_id:detail"), func(r db.ReportLoginsRow) []any {
		return []any{r.At, r.Username, r.Succeeded, value(r.Address), r.UserAgent, value(r.SessionID), r.RequestID}
	}), nil
}

// Reuse returns the refresh tokens that came again after they were used, the
// newest first, with where their session was opened and what became of it.
func Reuse(ctx context.Context, tx db.DBTX, f Filter) (Table, error) {
	since, until, user, err := f.bounds()
	if err != nil {
		return Table{}, err
	}
	rows, err := db.New().ReportReuse(ctx, tx, db.ReportReuseParams{
		Since: since, Until: until, Username: user, PageSize: f.page(),
	})
	if err != nil {
		return Table{}, explain("reuse", err)
	}
	return tabulate(f, rows, columns("at", "username", "address", "user_agent", "opened_at", "opened_from", "opened_with:detail",
		"session_state", "active_sessions", "session_id", "request_id:detail"), func(r db.ReportReuseRow) []any {
		return []any{r.At, r.Username, value(r.Address), r.UserAgent, value(r.OpenedAt), value(r.OpenedFrom), value(r.OpenedWith),
			r.SessionState, r.ActiveSessions, value(r.SessionID), r.RequestID}
	}), nil
}

// Storage sums up the scans that changed in the time by owner, the largest
// first; the scans of nobody have no owner.
func Storage(ctx context.Context, tx db.DBTX, f Filter) (Table, error) {
	since, until, user, err := f.bounds()
	if err != nil {
		return Table{}, err
	}
	rows, err := db.New().ReportStorage(ctx, tx, db.ReportStorageParams{
		Since: since, Until: until, Username: user, PageSize: f.page(),
	})
	if err != nil {
		return Table{}, explain("storage", err)
	}
	return tabulate(f, rows, columns("owner", "owner_exists", "scans", "private_scans", "broken_scans", "files", "bytes",
		"last_changed_at"), func(r db.ReportStorageRow) []any {
		return []any{value(r.Owner), r.OwnerExists, r.Scans, r.PrivateScans, r.BrokenScans, r.Files, Bytes(r.Bytes),
			r.LastChangedAt}
	}), nil
}

// Scrub returns what the scrub found in the time and nobody has mended, the
// newest first; the user is the owner of the scan.
func Scrub(ctx context.Context, tx db.DBTX, f Filter) (Table, error) {
	since, until, user, err := f.bounds()
	if err != nil {
		return Table{}, err
	}
	rows, err := db.New().ReportScrub(ctx, tx, db.ReportScrubParams{
		Since: since, Until: until, Username: user, PageSize: f.page(),
	})
	if err != nil {
		return Table{}, explain("scrub", err)
	}
	return tabulate(f, rows, columns("found_at", "kind", "scan", "owner", "fileset", "file", "path", "detail"), func(r db.ReportScrubFinding) []any {
		return []any{r.FoundAt, r.Kind, r.Scan, value(r.Owner), r.Fileset, r.File, r.Path, r.Detail}
	}), nil
}

// forever is after every time that PostgreSQL and RFC 3339 can both write.
var forever = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

func (f Filter) bounds() (since, until time.Time, user *string, err error) {
	since, until = f.Since, f.Until
	if until.IsZero() {
		until = forever
	}
	switch {
	case f.Limit < 1 || f.Limit > MaxRows:
		return since, until, nil, ErrFilter.With("a report has from 1 to %d rows: %d is no limit", MaxRows, f.Limit)
	case !since.Before(until):
		return since, until, nil, ErrFilter.With("nothing is both since %s and before %s",
			since.Format(time.RFC3339), until.Format(time.RFC3339))
	}
	if f.User != "" {
		user = &f.User
	}
	return since, until, user, nil
}

// page is one row more than asked for, to know whether there are more.
func (f Filter) page() int32 { return int32(f.Limit) + 1 } //nolint:gosec // bounds has checked it.

func tabulate[R any](f Filter, rows []R, c []Column, cells func(R) []any) Table {
	t := Table{Columns: c, More: len(rows) > f.Limit, Rows: make([][]any, 0, len(rows))}
	for _, r := range rows[:min(len(rows), f.Limit)] {
		t.Rows = append(t.Rows, cells(r))
	}
	return t
}

func value[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

func known(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

// explain names what an operator can put right.
func explain(what string, err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code {
		case "42P01": // undefined_table
			return ErrNoViews.Because(err)
		case "42501": // insufficient_privilege
			return ErrNotReader.Because(err)
		}
	}
	return fmt.Errorf("report %s: %w", what, err)
}
