package main_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/internal/servertest"
	"github.com/romi/plantdb-go/migrations"
)

// dates are those of a table that a command prints.
var dates = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)

func TestMigrate(t *testing.T) {
	t.Parallel()
	applied, none, dir := "VERSION FILE APPLIED", "VERSION FILE APPLIED", servertest.Dir(t)
	files, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		number := strings.TrimLeft(file[:5], "0")
		applied += fmt.Sprintf(" %s %s DATE", number, file)
		none += fmt.Sprintf(" %s %s no", number, file)
	}
	jobs := postgres.JobsVersion()
	applied += fmt.Sprintf(" tables of jobs (River) %d of %[1]d", jobs)
	none += fmt.Sprintf(" tables of jobs (River) 0 of %d", jobs)
	for _, step := range []struct {
		args []string
		want string
	}{
		{[]string{"status"}, none},
		{[]string{"up"}, applied},
		{[]string{"up"}, applied},
		{[]string{"status"}, applied},
		{[]string{"down-to", "0"}, none},
		{[]string{"status"}, none},
		{[]string{"up"}, applied},
	} {
		got := servertest.Run(t, servertest.Options{}, append([]string{"migrate", "--db-path", dir}, step.args...)...)
		table := strings.Join(strings.Fields(dates.ReplaceAllString(got.Stdout, "DATE")), " ")
		if got.Code != 0 || table != step.want {
			t.Fatalf("migrate %v = %d, %q, want %q; it says %s", step.args, got.Code, table, step.want, got.Stderr)
		}
	}
	got := servertest.Run(t, servertest.Options{}, "migrate", "--db-path", dir, "down-to", "first")
	if want := (servertest.Result{Code: 1, Stderr: "plantdb: \"first\" is no version: see plantdb migrate status\n"}); got != want {
		t.Errorf("migrate down-to first = %+v, want %+v", got, want)
	}
	noDatabase(t, dir)
}

func TestMigrateElsewhere(t *testing.T) {
	t.Parallel()
	url, dir := pgtest.URL(t), servertest.Dir(t)
	o := servertest.Options{Env: []string{"DATABASE_URL=" + url, "ROMI_DB=" + dir}}
	if got := servertest.Run(t, o, "migrate", "down-to", "1"); got.Code != 0 {
		t.Fatalf("migrate down-to 1 = %+v", got)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }() // the database goes anyway
	var users, scans *string
	if err := conn.QueryRow(t.Context(), "SELECT to_regclass('users')::text, to_regclass('scans')::text").Scan(&users, &scans); err != nil {
		t.Fatal(err)
	}
	if users == nil || scans != nil {
		t.Errorf("after migrate down-to 1 there are users: %t, scans: %t, want users alone", users != nil, scans != nil)
	}
}

func TestUserCreate(t *testing.T) {
	t.Parallel()
	for name, account := range servertest.Accounts(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testUserCreate(t, account.Dir(t), account)
		})
	}
}

func testUserCreate(t *testing.T, dir string, account *servertest.Account) {
	t.Helper()
	s := servertest.Start(t, servertest.Options{Account: account}, dir)
	for _, tt := range []struct {
		name, stdin string
		args        []string
		want        servertest.Result
	}{
		{"an administrator", "correct-horse\n", []string{"Ann", "--admin", "--fullname", "Ann Admin"}, servertest.Result{Stdout: "user ann created, admin\n"}},
		{"a reader, without end of line", "battery-staple", []string{"rob"}, servertest.Result{Stdout: "user rob created, reader\n"}},
		{"a name that is taken", "correct-horse\n", []string{"ann"}, servertest.Result{Code: 1, Stderr: "plantdb: Failed to create user: User 'ann' already exists\n"}},
		{"a short password", "short\n", []string{"sam"}, servertest.Result{Code: 1, Stderr: "plantdb: A password has at least 8 characters\n"}},
		{"no password", "", []string{"sam"}, servertest.Result{Code: 1, Stderr: "plantdb: Missing required fields. Please provide username, fullname, and password\n"}},
		{"a role there is not", "correct-horse\n", []string{"sam", "--role", "king"}, servertest.Result{Code: 1, Stderr: "plantdb: A role is one of reader, contributor, admin\n"}},
	} {
		o := servertest.Options{Account: account, Stdin: strings.NewReader(tt.stdin)}
		got := servertest.Run(t, o, append([]string{"user", "create", "--db-path", dir, "--log-level", "error"}, tt.args...)...)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("user create, %s (-want +got):\n%s", tt.name, diff)
		}
	}
	got := servertest.Run(t, servertest.Options{Account: account}, "user", "list", "--db-path", dir)
	table := strings.Join(strings.Fields(got.Stdout), " ")
	if want := "USER FULL NAME ROLES ACTIVE LAST LOGIN ann Ann Admin [admin] true never guest Guest [reader] true never rob rob [reader] true never"; table != want {
		t.Errorf("user list = %q, want %q", table, want)
	}
	ann, _ := login(t, s, "ann", "correct-horse")
	ann.makeScan(t, "by_ann", "notes")
	rob, _ := login(t, s, "rob", "battery-staple")
	rob.must(t, http.StatusForbidden, "/scans/by_rob", object{})
}

var counts = regexp.MustCompile(`^(\d+) scans in (\S+): (\d+) read, (\d+) unchanged, (\d+) forgotten, (\d+) damaged \([\d.]+ s\)\n$`)

// TestDemoAndImport makes the sample tree, and imports it: the second pass
// reads nothing, and then only what changed.
func TestDemoAndImport(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(servertest.Dir(t), "tree")
	got := servertest.Run(t, servertest.Options{}, "demo", dir)
	if want := (servertest.Result{Stdout: "sample scans made in " + dir + "; serve them with: plantdb serve --db-path " + dir + "\n"}); got != want {
		t.Fatalf("demo = %+v, want %+v", got, want)
	}
	o := servertest.Options{Env: []string{"DATABASE_URL=" + pgtest.URL(t)}}
	before := treeOf(t, dir)
	for _, step := range []struct {
		name   string
		change func() error
		want   []string // scans, read, unchanged, forgotten, damaged
	}{
		{"of a new tree", func() error { return nil }, []string{"8", "8", "0", "0", "0"}},
		{"again", func() error { return nil }, []string{"8", "0", "8", "0", "0"}},
		{"after a change", func() error {
			return os.WriteFile(filepath.Join(dir, "real_plant", "metadata", "metadata.json"), []byte(`{"crop": "maize"}`), 0o644)
		}, []string{"8", "1", "7", "0", "0"}},
		{"after one was damaged", func() error {
			return os.WriteFile(filepath.Join(dir, "virtual_plant", "files.json"), []byte(`{"filesets": [`), 0o644)
		}, []string{"8", "1", "7", "0", "1"}},
		{"after one was removed", func() error { return os.RemoveAll(filepath.Join(dir, "arabidopsis000")) }, []string{"7", "0", "7", "1", "1"}},
	} {
		if err := step.change(); err != nil {
			t.Fatal(err)
		}
		got := servertest.Run(t, o, "import", dir)
		m := counts.FindStringSubmatch(got.Stdout)
		if got.Code != 0 || m == nil {
			t.Fatalf("import %s = %+v", step.name, got)
		}
		if diff := cmp.Diff(step.want, append([]string{m[1]}, m[3:]...)); diff != "" {
			t.Errorf("import %s (-want +got):\n%s", step.name, diff)
		}
		if step.name == "again" {
			if diff := cmp.Diff(before, treeOf(t, dir)); diff != "" {
				t.Errorf("import changed the tree (-before +after):\n%s", diff)
			}
		}
		if step.name == "after one was damaged" && !strings.Contains(got.Stderr, "virtual_plant") {
			t.Errorf("import of a damaged scan does not name it: %s", got.Stderr)
		}
	}
	got = servertest.Run(t, o, "import", filepath.Join(dir, "none"))
	if want := (servertest.Result{Code: 1, Stderr: "plantdb: " + filepath.Join(dir, "none") + " is no directory\n"}); got != want {
		t.Errorf("import of nothing = %+v, want %+v", got, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "none")); !os.IsNotExist(err) {
		t.Errorf("import of nothing made it: %v", err)
	}
}

// TestServeDemo fills an empty tree, and leaves one that is not empty alone.
func TestServeDemo(t *testing.T) {
	t.Parallel()
	dir := servertest.Dir(t)
	s := servertest.Start(t, servertest.Options{}, dir, "--demo")
	want := "[\"arabidopsis000\",\"growth_day_28\",\"growth_day_35\",\"growth_day_42\",\"real_plant\",\"real_plant_analyzed\",\"virtual_plant\",\"virtual_plant_analyzed\"]\n"
	if a := (caller{base: s.URL}).get(t, "/scans"); a.Text != want {
		t.Errorf("scans of the sample tree = %s, want %s", a.Text, want)
	}
	s.Stop()
	if err := os.RemoveAll(filepath.Join(dir, "real_plant")); err != nil {
		t.Fatal(err)
	}
	s = servertest.Start(t, servertest.Options{}, dir, "--demo")
	eventually(t, "the removed scan is forgotten", func() string {
		if a := (caller{base: s.URL}).get(t, "/scans"); strings.Contains(a.Text, `"real_plant"`) {
			return a.Text
		}
		return ""
	})
}

func TestOpenAPI(t *testing.T) {
	t.Parallel()
	printed := servertest.Run(t, servertest.Options{}, "openapi")
	if printed.Code != 0 || !strings.Contains(printed.Stdout, "\nopenapi: 3.1") {
		t.Fatalf("openapi = %d, %.100q, %s", printed.Code, printed.Stdout, printed.Stderr)
	}
	dir := t.TempDir()
	if got := servertest.Run(t, servertest.Options{}, "openapi", "--write", dir); got != (servertest.Result{}) {
		t.Fatalf("openapi --write = %+v", got)
	}
	for _, name := range []string{"openapi.yaml", "openapi-3.0.yaml", "openapi-legacy.yaml", "openapi-clients.yaml"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("openapi --write: %v", err)
		}
	}
	if whole, err := os.ReadFile(filepath.Join(dir, "openapi.yaml")); string(whole) != printed.Stdout {
		t.Errorf("openapi --write wrote another document than openapi prints: %v", err)
	}
	if got := servertest.Run(t, servertest.Options{}, "openapi", "--json", "--write", dir); got != (servertest.Result{}) {
		t.Fatalf("openapi --json --write = %+v", got)
	}
	for _, name := range []string{"openapi.json", "openapi-legacy.json", "openapi-clients.json"} {
		if content, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !json.Valid(content) {
			t.Errorf("openapi --json --write wrote %s: %v, %.100q, want JSON", name, err, content)
		}
	}
	s := servertest.Start(t, servertest.Options{Env: []string{"DATABASE_URL=" + pgtest.URL(t)}}, servertest.Dir(t))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/openapi.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	if a := do(t, r); a.Status != http.StatusOK || !strings.Contains(a.Text, "\nopenapi: 3.1") {
		t.Errorf("GET /openapi.yaml = %d %.100q", a.Status, a.Text)
	}
}
