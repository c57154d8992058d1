package report

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/auth"
	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/tokenauth"
)

const password = "leaves of grass"

// lab is the account service on a database, by a clock that the test turns.
type lab struct {
	*auth.Service

	pool *pgxpool.Pool
	now  time.Time
}

func newLab(t *testing.T) *lab {
	t.Helper()
	key, err := tokenauth.NewHMACKey(bytes.Repeat([]byte("k"), tokenauth.MinSecret))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := tokenauth.NewKeyring(key)
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{pool: pgtest.New(t), now: time.Now().Add(-3 * time.Hour).Truncate(time.Second)}
	c := auth.Default()
	c.Hash = auth.HashParams{Memory: 64, Time: 1, Threads: 1}
	c.MaxSessions = 3
	l.Service = auth.New(l.pool, keys, c, slog.New(slog.DiscardHandler), auth.WithClock(func() time.Time { return l.now }))
	if err := l.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", "bob"} {
		if _, err := l.Register(actor.NewContext(t.Context(), actor.System()),
			auth.NewUser{Username: name, Fullname: name, Password: password, Roles: []actor.Role{actor.Reader}}); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// login opens a session a minute after what was before, with that agent.
func (l *lab) login(t *testing.T, name, agent string) auth.Pair {
	t.Helper()
	l.now = l.now.Add(time.Minute)
	ctx := auth.WithClient(t.Context(), auth.Client{Address: netip.MustParseAddr("192.0.2.7"), UserAgent: agent, RequestID: "r-" + agent})
	_, pair, err := l.Login(ctx, name, password)
	if err != nil {
		t.Fatalf("Login(%q) = %v", name, err)
	}
	return pair
}

// column returns a column of a table, "" where there is nothing.
func column(t *testing.T, table Table, name string) []string {
	t.Helper()
	i := slices.IndexFunc(table.Columns, func(c Column) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("there is no column %q", name)
	}
	cells := make([]string, 0, len(table.Rows))
	for _, r := range table.Rows {
		cells = append(cells, exact(r[i]))
	}
	return cells
}

func get(t *testing.T, l *lab, r Report, f Filter) Table {
	t.Helper()
	if f.Limit == 0 {
		f.Limit = 100
	}
	got, err := r(t.Context(), l.pool, f)
	if err != nil {
		t.Fatalf("report of %+v = %v", f, err)
	}
	return got
}

// TestReportsTellWhatHappened lets package auth do what the views speak of:
// they rest on its kinds of event and its reasons.
func TestReportsTellWhatHappened(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	began := l.now
	l.login(t, "alice", "evicted")
	stolen := l.login(t, "alice", "stolen")
	left := l.login(t, "alice", "left")
	l.login(t, "alice", "revoked") // and evicts the first
	if _, err := l.Logout(t.Context(), &left.AccessClaims); err != nil {
		t.Fatalf("Logout = %v", err)
	}
	for range 2 { // the second is a reuse
		l.now = l.now.Add(time.Minute)
		_, _ = l.Refresh(t.Context(), stolen.Refresh)
	}
	if _, err := l.EndSessions(actor.NewContext(t.Context(), actor.System()), "alice", auth.All); err != nil {
		t.Fatalf("EndSessions = %v", err)
	}
	l.login(t, "alice", "alive")
	l.login(t, "bob", "deactivated")
	no := false
	if _, err := l.UpdateUser(actor.NewContext(t.Context(), actor.System()), "bob", auth.UserPatch{Active: &no}); err != nil {
		t.Fatalf("UpdateUser = %v", err)
	}
	if _, _, err := l.Login(t.Context(), "nobody", "guess"); err == nil {
		t.Fatal("Login(nobody) = nil")
	}

	all := get(t, l, Sessions, Filter{})
	if diff := cmp.Diff([]string{"deactivated", "alive", "revoked", "left", "stolen", "evicted"}, column(t, all, "user_agent")); diff != "" {
		t.Errorf("sessions are not the newest first (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"deactivated", "active", "revoked", "logout", "reuse", "evicted"}, column(t, all, "state")); diff != "" {
		t.Errorf("states of sessions (-want +got):\n%s", diff)
	}
	if got, want := column(t, all, "refreshes"), []string{"0", "0", "0", "0", "1", "0"}; !slices.Equal(got, want) {
		t.Errorf("refreshes = %q, want %q", got, want)
	}
	if ended := column(t, all, "ended_at"); ended[1] != "" || ended[0] != l.now.UTC().Format(time.RFC3339) {
		t.Errorf("ended_at = %q, want that of the first now and of the second none", ended)
	}
	if got := column(t, get(t, l, Sessions, Filter{User: "alice", Since: began, Until: began.Add(2 * time.Minute)}), "user_agent"); !slices.Equal(got, []string{"evicted"}) {
		t.Errorf("sessions of the first two minutes, the second not counted = %q, want the first", got)
	}
	first := get(t, l, Sessions, Filter{Limit: 2})
	if len(first.Rows) != 2 || !first.More || all.More {
		t.Errorf("with limit 2: %d rows, more: %t; with 100, more: %t; want 2, true, false", len(first.Rows), first.More, all.More)
	}
	if got := column(t, get(t, l, ActiveSessions, Filter{}), "user_agent"); !slices.Equal(got, []string{"alive"}) {
		t.Errorf("active sessions = %q, want the one that is alive", got)
	}
	logins := get(t, l, Logins, Filter{})
	if got := column(t, logins, "succeeded"); !slices.Equal(got, []string{"false", "true", "true", "true", "true", "true", "true"}) {
		t.Errorf("logins succeeded = %q, want all but the newest", got)
	}
	// What nobody is called is not kept, and can be asked for by what stands for it.
	stranger := column(t, logins, "username")[0]
	if !strings.HasPrefix(stranger, "? ") {
		t.Errorf("the failed login is of %q, want a hash of the name", stranger)
	}
	if got := column(t, get(t, l, Logins, Filter{User: stranger}), "username"); !slices.Equal(got, []string{stranger}) {
		t.Errorf("logins of %s = %q, want one", stranger, got)
	}
	reuse := get(t, l, Reuse, Filter{User: "alice"})
	if got, want := column(t, reuse, "session_id"), stolen.AccessClaims.SessionID; !slices.Equal(got, []string{want}) {
		t.Errorf("reuse of sessions %q, want %s", got, want)
	}
	if state, with := column(t, reuse, "session_state"), column(t, reuse, "opened_with"); state[0] != "ended" || with[0] != "stolen" {
		t.Errorf("the session of the reuse is %q, opened with %q, want ended, stolen", state, with)
	}
}

func TestStorage(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	if _, err := tx.Exec(t.Context(), planted); err != nil {
		t.Fatal(err)
	}
	got, err := Storage(t.Context(), tx, Filter{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	if owners, sizes := column(t, got, "owner"), column(t, got, "bytes"); !slices.Equal(owners, []string{"alice", "erin", "", "bob"}) ||
		!slices.Equal(sizes, []string{"6000000", "10", "10", "0"}) {
		t.Errorf("storage = %q of %q, want the largest first", sizes, owners)
	}
	got, err = Storage(t.Context(), tx, Filter{Limit: 100, User: "alice", Since: time.Now().Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if scans := column(t, got, "scans"); !slices.Equal(scans, []string{"1"}) {
		t.Errorf("alice's scans of the last hour = %q, want 1", scans)
	}
}

func TestScrub(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	if _, err := tx.Exec(t.Context(), planted); err != nil {
		t.Fatal(err)
	}
	_, err := tx.Exec(t.Context(), `INSERT INTO care_findings (id, kind, scan, fileset, file, path, detail, found_at)
		SELECT gen_random_uuid(), 'digest_differs', name, 'images', 'a', name || '/images', 'other bytes', now() - interval '1 day' FROM scans WHERE owner = 'bob'
		UNION ALL SELECT gen_random_uuid(), 'unreadable', name, 'images', 'b', name || '/images', 'input/output error', now() FROM scans WHERE owner = 'erin'`)
	if err != nil {
		t.Fatal(err)
	}
	all := must(t)(Scrub(t.Context(), tx, Filter{Limit: 1}))
	if kinds := column(t, all, "kind"); !slices.Equal(kinds, []string{"unreadable"}) || !all.More {
		t.Errorf("the first of all = %q, more: %t, want the newest and more", kinds, all.More)
	}
	bobs := must(t)(Scrub(t.Context(), tx, Filter{Limit: 100, User: "bob"}))
	for _, kind := range column(t, bobs, "kind") {
		if kind != "digest_differs" {
			t.Errorf("of bob's scans is told %q", kind)
		}
	}
	if len(bobs.Rows) == 0 {
		t.Error("nothing is told of bob's scans")
	}
	if late := must(t)(Scrub(t.Context(), tx, Filter{Limit: 100, Until: time.Now().Add(-time.Hour)})); len(late.Rows) != len(bobs.Rows) {
		t.Errorf("until an hour ago %d were found, want %d", len(late.Rows), len(bobs.Rows))
	}
}

func must(t *testing.T) func(Table, error) Table {
	return func(table Table, err error) Table {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
}

func TestFilterThatMakesNoSense(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	now := time.Now()
	for _, r := range []Report{Sessions, ActiveSessions, Logins, Reuse, Storage, Scrub} {
		for _, f := range []Filter{
			{}, {Limit: -1}, {Limit: MaxRows + 1}, {Limit: 1, Since: now, Until: now}, {Limit: 1, Since: now, Until: now.Add(-time.Second)},
		} {
			if _, err := r(t.Context(), tx, f); !errors.Is(err, ErrFilter) {
				t.Errorf("report of %+v = %v, want ErrFilter", f, err)
			}
		}
	}
}

func TestReportWithoutViewsOrRights(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pool, err := postgres.Open(t.Context(), url, postgres.PoolOptions{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for _, tt := range []struct {
		prepare string
		want    error
	}{
		{"REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM " + readers + "; SET ROLE " + readers, ErrNotReader},
		{"RESET ROLE; DROP VIEW report_logins, report_token_reuse, report_storage, report_scans_per_month, report_scans, " +
			"report_session_history, report_active_sessions, report_scrub_findings", ErrNoViews},
	} {
		if _, err := pool.Exec(t.Context(), tt.prepare); err != nil {
			t.Fatal(err)
		}
		for _, r := range []Report{Sessions, ActiveSessions, Logins, Reuse, Storage} {
			if _, err := r(t.Context(), pool, Filter{Limit: 1}); !errors.Is(err, tt.want) {
				t.Errorf("report after %s = %v, want %v", tt.prepare, err, tt.want)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Logins(ctx, pool, Filter{Limit: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("Logins(canceled) = %v, want context.Canceled", err)
	}
}

var sample = Table{
	Columns: columns("at", "username", "succeeded", "count", "address", "bytes", "session_id:detail"),
	Rows: [][]any{
		{time.Date(2026, 1, 31, 23, 0, 0, 5e8, time.UTC), "a\"b,c\r\nd", true, int64(1 << 60), netip.MustParseAddr("2001:db8::1"),
			Bytes(1536), uuid.MustParse("00000000-0000-7000-8000-000000000001")},
		{time.Date(2026, 1, 31, 0, 0, 0, 0, time.FixedZone("", 7200)), "\x1b[31mred\u202e\t" + strings.Repeat("é", 100), false, int64(0), nil, Bytes(0), nil},
	},
}

func TestText(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := sample.Text(&out, time.FixedZone("", 3600)); err != nil {
		t.Fatal(err)
	}
	want := "AT                   USERNAME" + strings.Repeat(" ", 54) + "SUCCEEDED  COUNT                ADDRESS      BYTES\n" +
		"2026-02-01 00:00:00  a\"b,c��d" + strings.Repeat(" ", 54) + "yes        1152921504606846976  2001:db8::1  1.5 KiB\n" +
		"2026-01-30 23:00:00  �[31mred��" + strings.Repeat("é", 49) + "…  no         0                    -            0 B\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("Text (-want +got):\n%s", diff)
	}
}

func TestCSV(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := sample.CSV(&out); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "at,username,succeeded,count,address,bytes,session_id\r\n2026-01-31T23:00:00.5Z,\"a\"\"b,c\r\nd\",true,") {
		t.Errorf("CSV = %q, want CRLF and quotes as RFC 4180 has them", out.String())
	}
	records, err := csv.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := records[2], []string{"2026-01-30T22:00:00Z", sample.Rows[1][1].(string), "false", "0", "", "0", ""}; !slices.Equal(got, want) {
		t.Errorf("CSV record = %q, want %q", got, want)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := sample.JSON(&out); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "[\n  {\"at\": \"2026-01-31T23:00:00.5Z\", \"username\": \"a\\\"b,c\\r\\nd\", \"succeeded\": true, \"count\": 1152921504606846976, ") {
		t.Errorf("JSON = %s, want the columns in their order", out.String())
	}
	var got []map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"at": "2026-01-30T22:00:00Z", "username": sample.Rows[1][1], "succeeded": false, "count": 0.0, "address": nil, "bytes": 0.0, "session_id": nil}
	if diff := cmp.Diff(want, got[1]); diff != "" {
		t.Errorf("JSON object (-want +got):\n%s", diff)
	}
	out.Reset()
	if err := (Table{Columns: sample.Columns}).JSON(&out); err != nil || out.String() != "[]\n" {
		t.Errorf("JSON of no rows = %q, %v, want an empty array", out.String(), err)
	}
}

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestWriteErrors(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"Text": sample.Text(full{}, time.UTC), "CSV": sample.CSV(full{}), "JSON": sample.JSON(full{}),
	} {
		if err == nil {
			t.Errorf("%s to a full disk = nil, want an error", name)
		}
	}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	for b, want := range map[Bytes]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 30: "1.0 GiB", 1<<40 + 1<<39: "1.5 TiB", 1<<63 - 1: "8.0 EiB",
	} {
		if got := fmt.Sprint(b); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", int64(b), got, want)
		}
	}
}
