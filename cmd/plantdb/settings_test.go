package main_test

import (
	"errors"
	"flag"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/servertest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// subcommand is a line of the list of commands in a help text.
var subcommand = regexp.MustCompile(`(?m)^  ([a-z-]+) +\S`)

// TestHelp compares what every command says of itself with testdata/help.
// After a wanted change: go test ./cmd/plantdb -run TestHelp -update.
func TestHelp(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	collectHelp(t, nil, got)
	dir := filepath.Join("testdata", "help")
	if *update {
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
		for name, text := range got {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, path))
		want[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("help differs from testdata/help, see the comment of this test (-file +program):\n%s", diff)
	}
}

// collectHelp asks a command and all below it for their help.
func collectHelp(t *testing.T, command []string, texts map[string]string) {
	t.Helper()
	got := servertest.Run(t, servertest.Options{}, append(slices.Clip(command), "--help")...)
	if got.Code != 0 || got.Stderr != "" {
		t.Fatalf("%v --help = %+v", command, got)
	}
	texts[strings.Join(append([]string{"plantdb"}, command...), "_")+".txt"] = got.Stdout
	_, list, _ := strings.Cut(got.Stdout, "Available Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	for _, m := range subcommand.FindAllStringSubmatch(list, -1) {
		// These two are the library's, and the shells' texts are long.
		if m[1] != "completion" && m[1] != "help" {
			collectHelp(t, append(slices.Clip(command), m[1]), texts)
		}
	}
}

// TestHelpTellsNoSecret has settings that are secrets: their flags must not
// show them as defaults.
func TestHelpTellsNoSecret(t *testing.T) {
	t.Parallel()
	o := servertest.Options{Env: []string{
		"JWT_SECRET_KEY=s3cr3t", "JWT_PREVIOUS_KEYS=s3cr3t", "DATABASE_URL=postgres://plantdb:s3cr3t@127.0.0.1/plantdb", "PLANTDB_ADMIN_PASSWORD=s3cr3t",
	}}
	got := servertest.Run(t, o, "serve", "--help")
	if got.Code != 0 || strings.Contains(got.Stdout+got.Stderr, "s3cr3t") {
		t.Errorf("serve --help tells a secret of the environment: %s", got.Stdout)
	}
}

// TestBadSettings starts servers that cannot start: each says in one sentence
// what is wrong, and does nothing else.
func TestBadSettings(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		env  string
		args []string
		want string // in standard error
	}{
		{env: "SESSION_TIMEOUT=soon", want: `setting SESSION_TIMEOUT: "soon" is no duration: give seconds, or such as 15m, 24h, 30d`},
		{env: "SESSION_TIMEOUT=0", want: "setting SESSION_TIMEOUT must be positive"},
		{env: "JWT_LEEWAY=-1", want: "setting JWT_LEEWAY must be zero or more"},
		{env: "PLANTDB_PORT=http", want: "setting PLANTDB_PORT must be a whole number"},
		{env: "MAX_SESSION=0", want: "setting MAX_SESSION must be at least 1"},
		{env: "MAX_SESSION_POLICY=shout", want: "setting MAX_SESSION_POLICY must be evict or reject"},
		{env: "TOKEN_LOCATIONS=headers,pocket", want: `setting TOKEN_LOCATIONS knows headers, cookies, query and json, not "pocket"`},
		{env: "PLANTDB_LOG_LEVEL=loud", want: "setting PLANTDB_LOG_LEVEL must be debug, info, warn or error"},
		{env: "PLANTDB_RATE_LIMITS=some", want: "setting PLANTDB_RATE_LIMITS must be default, upstream or off"},
		{env: "PLANTDB_GUEST=maybe", want: `setting PLANTDB_GUEST: "maybe" is neither on nor off`},
		{env: "PLANTDB_MAX_UPLOAD=lots", want: `setting PLANTDB_MAX_UPLOAD: "lots" is no amount of bytes: give such as 512MiB or 8GiB`},
		{env: "PLANTDB_API_PREFIX=plantdb", want: "setting PLANTDB_API_PREFIX must be a path such as /plantdb"},
		{env: "TRUSTED_PROXIES=10.0.0.0/99", want: `setting TRUSTED_PROXIES: "10.0.0.0/99" is no network: give such as 10.0.0.0/8`},
		{env: "DATABASE_URL=mysql://s3cr3t", want: "the database URL cannot be read: it has the form postgres://user:password@host:5432/name"},
		{
			env:  "DATABASE_URL=postgres://plantdb:s3cr3t@127.0.0.1:1/plantdb",
			want: "PostgreSQL at 127.0.0.1:1 does not answer: start it, or name another server (DATABASE_URL)",
		},
		{env: "PLANTDB_HOST=999.1.1.1", want: "cannot listen on 999.1.1.1:0: "},
		{env: "ROMI_DB=" + file, want: "open tree " + file + ": "},
		{args: []string{"--session-timeout", "soon"}, want: `invalid argument "soon" for "--session-timeout" flag: "soon" is no duration`},
		{args: []string{"--nope"}, want: "unknown flag: --nope"},
		{args: []string{"extra"}, want: `unknown command "extra" for "plantdb serve"`},
	} {
		t.Run(tt.env+strings.Join(tt.args, " "), func(t *testing.T) {
			t.Parallel()
			dir := servertest.Dir(t)
			env := []string{"ROMI_DB=" + filepath.Join(dir, "tree"), "DATABASE_URL=postgres://127.0.0.1:1/none", tt.env}
			got := servertest.Run(t, servertest.Options{Env: env}, append([]string{"serve", "--port", "0"}, tt.args...)...)
			checkRefusal(t, got, tt.want)
		})
	}
}

func checkRefusal(t *testing.T, got servertest.Result, want string) {
	t.Helper()
	if got.Code == 0 || got.Stdout != "" {
		t.Errorf("exit code %d, standard output %q, want a failure and silence", got.Code, got.Stdout)
	}
	if !strings.HasPrefix(got.Stderr, "plantdb: "+want) || strings.Count(got.Stderr, "\n") != 1 {
		t.Errorf("standard error = %q, want one line that begins with %q", got.Stderr, want)
	}
	if strings.Contains(got.Stderr, "s3cr3t") {
		t.Errorf("standard error tells a secret: %q", got.Stderr)
	}
}

// TestBadSecrets has settings that are read once the database is there: the
// last line of the log says what is wrong.
func TestBadSecrets(t *testing.T) {
	t.Parallel()
	dir := servertest.Dir(t)
	for _, tt := range []struct{ env, want string }{
		{"JWT_SECRET_KEY=hex:s3cr3t", "read JWT_SECRET_KEY: what follows hex: is not hexadecimal"},
		{"JWT_SECRET_KEY=base64:c2hvcnQ=", "read JWT_SECRET_KEY: "},
		{"JWT_SECRET_KEY=file:/none/s", "read JWT_SECRET_KEY: open "},
		{"JWT_PREVIOUS_KEYS=hex:s3cr3t", "read key 1 of JWT_PREVIOUS_KEYS: what follows hex: is not hexadecimal"},
		{"PLANTDB_ADMIN_PASSWORD=s3cr3t", "take PLANTDB_ADMIN_PASSWORD: A password has at least 8 characters"},
		{"PLANTDB_ADMIN_PASSWORD_FILE=/none", "read PLANTDB_ADMIN_PASSWORD_FILE: open /none: no such file or directory"},
	} {
		got := servertest.Run(t, servertest.Options{Env: []string{"ROMI_DB=" + dir, tt.env}}, "serve", "--port", "0", "--log-level", "error")
		checkRefusal(t, got, tt.want)
	}
	noDatabase(t, dir)
}

// Files may end in what was asked for beside what they may always end in,
// however they come.
func TestFileExtensions(t *testing.T) {
	t.Parallel()
	dir := servertest.Dir(t)
	s := servertest.Start(t, servertest.Options{Env: []string{"DATABASE_URL=" + pgtest.URL(t)}}, dir, "--test", "--file-extensions", "las,.E57")
	admin, _ := login(t, s, "admin", "admin")
	admin.makeScan(t, "plant", "notes")
	for ext, want := range map[string]int{"las": http.StatusCreated, ".e57": http.StatusCreated, "LAS": http.StatusCreated, "txt": http.StatusCreated, "exe": http.StatusBadRequest} {
		id := strings.ReplaceAll(ext, ".", "dot")
		contentType, body := form(t, "points", "ext", ext)
		a := admin.send(t, http.MethodPost, "/files/plant/images/form_"+id, contentType, body)
		if a.Status != want {
			t.Errorf("upload of a %s = %d %s, want %d", ext, a.Status, a.Text, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "plant", "images", "form_las.las")); err != nil {
		t.Error(err)
	}
}
