package report

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/pgtest"
)

// trail is a million events of two years in the proportions of a busy site:
// each tenth opens a session that is refreshed eight times and then ended;
// there are failures, and now and then a stolen token. A table is filled
// fastest before it has indexes; they are then made as the migrations have
// them.
const trail = `
	CREATE TEMP TABLE wanted AS SELECT indexdef FROM pg_indexes WHERE tablename = 'auth_events' AND indexname <> 'auth_events_pkey';
	DO $$ DECLARE name text; BEGIN
		FOR name IN SELECT indexname FROM pg_indexes WHERE tablename = 'auth_events' AND indexname <> 'auth_events_pkey' LOOP
			EXECUTE 'DROP INDEX ' || name;
		END LOOP;
	END $$;
	INSERT INTO auth_events (id, at, kind, username, session_id, address, user_agent)
	SELECT lpad(to_hex(i), 32, '0')::uuid,
		now() - (1000000 - i) * interval '63 seconds',
		CASE i % 10 WHEN 0 THEN 'login' WHEN 9 THEN
			CASE WHEN i % 10000 = 9 THEN 'reuse' WHEN i % 3 = 0 THEN 'login_failed' ELSE 'logout' END
		ELSE 'refresh' END,
		CASE (i / 10) % 200 WHEN 7 THEN 'alice' ELSE 'user' || (i / 10) % 200 END,
		CASE WHEN i % 10 = 9 AND i % 3 = 0 AND i % 10000 <> 9 THEN NULL ELSE lpad(to_hex(i / 10), 32, 'f')::uuid END,
		'10.0.0.0'::inet + (i / 10) % 5000, 'agent/' || i % 7
	FROM generate_series(1, 1000000) i;
	DO $$ DECLARE command text; BEGIN
		FOR command IN SELECT indexdef FROM wanted LOOP EXECUTE command; END LOOP;
	END $$;
	ANALYZE auth_events`

// wholeTrail is in a plan that reads every event.
const wholeTrail = "Seq Scan on auth_events"

// TestPlans looks at how a million events are read: no question that names a
// time, and no report, may read them all.
func TestPlans(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	began := time.Now()
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), trail); err != nil {
		t.Fatal(err)
	}
	conn.Release()
	if _, err := pool.Exec(t.Context(), "VACUUM auth_events"); err != nil { // as autovacuum does
		t.Fatal(err)
	}
	t.Logf("a million events: %.1f s", time.Since(began).Seconds())
	const unbounded = "SELECT count(*) FROM report_events WHERE user_agent = 'agent/1'"
	if plan := strings.Join(explained(t, pool, unbounded, nil), "\n"); !strings.Contains(plan, wholeTrail) {
		t.Errorf("%s has the plan\n%s\nwant %q: else this test sees nothing", unbounded, plan, wholeTrail)
	}
	list := questions(t)
	list = append(list,
		question{"sessions per day", "SELECT * FROM report_sessions_per_day WHERE day >= CURRENT_DATE - 30"},
		question{"logins per day", "SELECT * FROM report_logins_per_day WHERE day >= CURRENT_DATE - 30"},
	)
	for _, q := range list {
		wantIndexes(t, pool, q.title, q.query)
	}
	for name, r := range map[string]Report{"sessions": Sessions, "logins": Logins, "reuse": Reuse} {
		for _, user := range []string{"", "alice"} {
			seen := &watch{DBTX: pool}
			if _, err := r(t.Context(), seen, Filter{Since: began.AddDate(0, 0, -30), User: user, Limit: 1000}); err != nil {
				t.Fatalf("%s(user %q) = %v", name, user, err)
			}
			wantIndexes(t, pool, name+" of "+user, seen.query, seen.args...)
		}
	}
}

func wantIndexes(t *testing.T, pool *pgxpool.Pool, what, query string, args ...any) {
	t.Helper()
	lines := explained(t, pool, query, args)
	plan := strings.Join(lines, "\n")
	t.Logf("%s: %s", what, strings.TrimSpace(lines[len(lines)-1]))
	if strings.Contains(plan, wholeTrail) {
		t.Errorf("%s reads the whole audit trail:\n%s", what, plan)
	}
}

// explained runs the query and returns its plan with what it really took.
func explained(t *testing.T, pool *pgxpool.Pool, query string, args []any) []string {
	t.Helper()
	rows, _ := pool.Query(t.Context(), "EXPLAIN (ANALYZE, TIMING OFF) "+query, args...)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("EXPLAIN %s = %v", query, err)
	}
	return lines
}

// watch remembers the last query.
type watch struct {
	db.DBTX

	query string
	args  []any
}

func (w *watch) Query(ctx context.Context, query string, args ...any) (pgx.Rows, error) {
	w.query, w.args = query, args
	return w.DBTX.Query(ctx, query, args...)
}
