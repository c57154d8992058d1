package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/config"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/internal/report"
)

// reportOptions are the flags of every report.
type reportOptions struct {
	since, until, user, format string
	limit                      int
}

func (p *program) reportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "report", Short: "Report on sessions, logins, stolen tokens, storage and damage.",
		Long: "Report on sessions, logins, stolen tokens, storage and damage, from the views that docs/sql-reporting.md describes.\n" +
			"Nothing is changed: with DATABASE_URL, a user of the database who may only read the views will do.",
	}
	p.config.TreeFlags(cmd.PersistentFlags())
	var active bool
	var sessions *cobra.Command
	sessions = p.oneReport("sessions", "List the sessions that were opened, and what became of them.", "7d",
		func(ctx context.Context, tx db.DBTX, f report.Filter) (report.Table, error) {
			if !active {
				return report.Sessions(ctx, tx, f)
			}
			if !sessions.Flags().Changed("since") {
				f.Since = time.Time{} // however long ago it was opened
			}
			return report.ActiveSessions(ctx, tx, f)
		})
	sessions.Flags().BoolVar(&active, "active", false, "only those that are alive now, whenever they were opened")
	cmd.AddCommand(sessions,
		p.oneReport("logins", "List the attempts to log in.", "7d", report.Logins),
		p.oneReport("reuse", "List the refresh tokens that came twice, and what happened to their sessions.", "90d", report.Reuse),
		p.oneReport("storage", "Sum up scans, files and bytes by owner; with a time, those that changed in it.", "", report.Storage),
		p.oneReport("scrub", "List what the scrub found and nobody has mended.", "", report.Scrub),
	)
	return cmd
}

func (p *program) oneReport(name, short, since string, r report.Report) *cobra.Command {
	var o reportOptions
	cmd := &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := o.filter(time.Now())
			if err != nil {
				return err
			}
			write, err := o.writer(p)
			if err != nil {
				return err
			}
			return p.printReport(cmd.Context(), r, f, write)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.since, "since", since, "from then on: an age such as 36h or 7d, a date, or a time of RFC 3339")
	flags.StringVar(&o.until, "until", "", "before then; in the forms of --since")
	flags.StringVar(&o.user, "user", "", "only of this user")
	flags.StringVar(&o.format, "format", "table", "table, csv or json")
	flags.IntVar(&o.limit, "limit", 1000, fmt.Sprintf("at most so many rows, up to %d", report.MaxRows))
	return cmd
}

func (o *reportOptions) filter(now time.Time) (f report.Filter, err error) {
	f.User, f.Limit = strings.ToLower(o.user), o.limit
	if f.Since, err = moment(o.since, now); err != nil {
		return f, fmt.Errorf("--since: %w", err)
	}
	if f.Until, err = moment(o.until, now); err != nil {
		return f, fmt.Errorf("--until: %w", err)
	}
	return f, nil
}

// moment reads an age, a date (its local beginning) or a time; empty is none.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	for _, layout := range []string{time.DateOnly, time.DateTime, "2006-01-02 15:04"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	// A bare number could be a year as well as seconds.
	var age config.Seconds
	if _, err := strconv.ParseFloat(text, 64); err == nil || age.Set(text) != nil || age < 0 {
		return time.Time{}, fmt.Errorf("%q is no time: give an age such as 36h or 7d, or such as 2026-01-31, "+
			`"2026-01-31 08:00" or 2026-01-31T08:00:00Z`, text)
	}
	return now.Add(-time.Duration(age)), nil
}

func (o *reportOptions) writer(p *program) (func(report.Table) error, error) {
	switch o.format {
	case "table":
		return func(t report.Table) error { return t.Text(p.stdout, time.Local) }, nil
	case "csv":
		return func(t report.Table) error { return t.CSV(p.stdout) }, nil
	case "json":
		return func(t report.Table) error { return t.JSON(p.stdout) }, nil
	default:
		return nil, fmt.Errorf("--format: %q is none of table, csv and json", o.format)
	}
}

func (p *program) printReport(ctx context.Context, r report.Report, f report.Filter, write func(report.Table) error) error {
	return p.withReader(ctx, func(pool *pgxpool.Pool) error {
		t, err := r(ctx, pool, f)
		if err != nil {
			return err
		}
		if t.More {
			defer fmt.Fprintf(p.stderr, "plantdb: there are more than %d rows; see --limit, --since and --until\n", f.Limit)
		}
		return write(t)
	})
}

// withReader runs fn with a pool on the database as it is: who only reads may
// not bring its schema up to date. With DATABASE_URL no tree is needed.
func (p *program) withReader(ctx context.Context, fn func(*pgxpool.Pool) error) error {
	read := func(url string) error {
		pool, err := postgres.Open(ctx, url, postgres.PoolOptions{MaxConns: 1, ApplicationName: "plantdb report"})
		if err != nil {
			return err
		}
		defer pool.Close()
		return fn(pool)
	}
	if p.config.DatabaseURL != "" {
		return read(p.config.DatabaseURL)
	}
	return p.withDatabase(ctx, read)
}
