package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/pyenv"
	"github.com/romi/plantdb-go/internal/servertest"
)

// block is a piece of code of a Markdown file.
type block struct{ language, code string }

var fence = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// tour returns the code of one section of the README.
func tour(t *testing.T, section string) []block {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join("..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(readme), "\n## "+section+"\n")
	if !found {
		t.Fatalf("README.md has no section %q", section)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return blocksIn(text)
}

// blocksIn returns the code of a Markdown text.
func blocksIn(text string) []block {
	var blocks []block
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, block{m[1], m[2]})
	}
	return blocks
}

// TestTour does what the README's tour says, line by line, on a server of its
// own; only address, program and password are put in.
func TestTour(t *testing.T) {
	t.Parallel()
	const password = "a long enough pass-phrase"
	url := pgtest.URL(t)
	tree := servertest.Dir(t)
	env := []string{"DATABASE_URL=" + url}
	server := servertest.Start(t, servertest.Options{Env: env}, tree, "--demo")
	fill := strings.NewReplacer(
		"http://localhost:5000", server.URL, "localhost:5000", strings.TrimPrefix(server.URL, "http://"),
		"bin/plantdb user create", fmt.Sprintf("echo '%s' | %s user create --db-path %s", password, servertest.Build(t), tree),
		"…", password,
	)
	dir := t.TempDir() // one block leaves plant.jpg for the next
	ran := map[string]int{}
	for _, b := range tour(t, "A tour") {
		ran[b.language]++
		switch code := fill.Replace(b.code); b.language {
		case "sh":
			tourShell(t, code, dir, env)
		case "python":
			tourPython(t, code)
		case "sql":
			tourSQL(t, code, url)
		default:
			t.Errorf("the tour has a block of %q, which nothing runs", b.language)
		}
	}
	if ran["sh"] < 2 || ran["python"] < 1 || ran["sql"] < 1 {
		t.Errorf("the tour has %v, want curl, Python and SQL", ran)
	}
}

// TestReadingGuide runs the commands of docs/reading.md.
func TestReadingGuide(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile(filepath.Join("..", "docs", "reading.md"))
	if err != nil {
		t.Fatal(err)
	}
	server := servertest.Start(t, servertest.Options{Env: []string{"DATABASE_URL=" + pgtest.URL(t)}}, servertest.Dir(t), "--demo")
	dir := t.TempDir()
	blocks := blocksIn(string(guide))
	if len(blocks) < 6 {
		t.Errorf("the guide has %d blocks of code, want all its sections'", len(blocks))
	}
	for _, b := range blocks {
		if b.language != "sh" {
			t.Errorf("the guide has a block of %q, which nothing runs", b.language)
		}
		tourShell(t, b.code, dir, []string{"URL=" + server.URL})
	}
}

// tourShell runs each command of a block; curl fails on an error of the server.
func tourShell(t *testing.T, code, dir string, env []string) {
	t.Helper()
	script := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", "curl() { command curl --fail-with-body \"$@\"; }\n"+code)
	script.Dir = dir
	script.Env = slices.Concat(env, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "no_proxy=*"})
	said, err := script.CombinedOutput()
	if err != nil {
		t.Errorf("the tour's commands\n%s\n= %v: %s", code, err, said)
	}
}

func tourPython(t *testing.T, code string) {
	t.Helper()
	python := pyenv.Python(t, packages17...)
	script := exec.CommandContext(t.Context(), python, "-c", code+"\nassert token and 'night_shift' in client.list_scans()\n")
	script.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "PYTHONDONTWRITEBYTECODE=1", "NO_PROXY=*"}
	if said, err := script.CombinedOutput(); err != nil {
		t.Errorf("the tour's Python = %v: %s", err, said)
	}
}

func tourSQL(t *testing.T, code, url string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	rows, err := conn.Query(t.Context(), code)
	if err != nil {
		t.Fatalf("the tour's SQL = %v", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToMap)
	if err != nil {
		t.Fatalf("the tour's SQL = %v", err)
	}
	if len(found) == 0 || found[0]["username"] != "alice" {
		t.Errorf("the tour's SQL finds %v, want the session of alice", found)
	}
}
