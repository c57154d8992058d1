package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// install puts programs that say they are of that version into dir.
func install(t *testing.T, dir, version string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\necho 'postgres (PostgreSQL) %s'\n", version)
	for _, name := range []string{"postgres", "initdb"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// No version here is one that may be installed on the machine.
func TestFind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	install(t, at("old/bin"), "9.6.24")
	install(t, at("thirteen/bin"), "13.21")
	install(t, at("new/bin"), "97.1 (Debian 97.1-1)")
	install(t, at("newer/bin"), "98beta2")
	install(t, at("fetched/99.3.0/bin"), "99.3")
	install(t, at("fetched/97.1.0/bin"), "97.1")
	install(t, at("half/bin"), "99.9")
	if err := os.Remove(at("half/bin/initdb")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(at("links"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(at("new/bin/postgres"), at("links/postgres")); err != nil {
		t.Fatal(err)
	}
	path := func(names ...string) string {
		var dirs []string
		for _, n := range names {
			dirs = append(dirs, at(n))
		}
		return strings.Join(dirs, ":")
	}
	for _, tt := range []struct {
		name, path, fetched string
		want                int
		dir                 string
	}{
		{"newest", path("old/bin", "new/bin", "newer/bin"), "", 0, at("newer/bin")},
		{"wanted", path("old/bin", "newer/bin", "new/bin"), "", 97, at("new/bin")},
		{"through a link", path("links"), "", 97, at("new/bin")},
		{"fetched", "", at("fetched"), 0, at("fetched/99.3.0/bin")},
		{"installed before fetched", path("new/bin"), at("fetched"), 97, at("new/bin")},
		{"relative", "new/bin:.:", "", 97, ""},
		{"too old", path("thirteen/bin"), "", 13, ""},
		{"half", path("half/bin"), "", 99, ""},
		{"none", path("nowhere"), at("nowhere"), 99, ""},
	} {
		got, err := Find(t.Context(), tt.path, tt.fetched, tt.want)
		if got.Dir != tt.dir || errors.Is(err, ErrNotInstalled) != (tt.dir == "") {
			t.Errorf("%s: Find(want %d) = %q, %v, want %q", tt.name, tt.want, got.Dir, err, tt.dir)
		}
	}
}

// The machine that runs the tests has one, installed or downloaded.
func TestFindRealOne(t *testing.T) {
	t.Parallel()
	p, err := Find(t.Context(), os.Getenv("PATH"), "", 0)
	if err == nil && p.Major < MinMajor {
		t.Errorf("Find = major %d, want at least %d", p.Major, MinMajor)
	}
	if err != nil && !errors.Is(err, ErrNotInstalled) {
		t.Errorf("Find = %v, want nil or ErrNotInstalled", err)
	}
}

func TestTelling(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ output, want string }{
		{"", "it said nothing"},
		{"\n \n", "it said nothing"},
		{"ok\nlast words\n\n", "last words"},
		{"initdb: error: directory \"x\" exists\ninitdb: hint: remove it\n", `directory "x" exists`},
		{
			"2026-01-01 10:00:00 UTC [7] LOG:  starting\n2026-01-01 10:00:00 UTC [7] FATAL:  could not map\n" +
				"2026-01-01 10:00:00 UTC [7] HINT:  try\n2026-01-01 10:00:00 UTC [7] LOG:  database system is shut down\n",
			"could not map",
		},
		{"no newline: FATAL: at all", "at all"},
	} {
		if got := telling(tt.output); got != tt.want {
			t.Errorf("telling(%q) = %q, want %q", tt.output, got, tt.want)
		}
	}
}

func TestLastWordsOfALongLog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	text := "FATAL:  too long ago\n" + strings.Repeat("LOG:  again and again\n", 10_000) + "PANIC:  the reason\nLOG:  end\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := LastWords(path), "the reason"; got != want {
		t.Errorf("LastWords = %q, want %q", got, want)
	}
	if got, want := LastWords(path+".none"), "its log cannot be read"; got != want {
		t.Errorf("LastWords(no log) = %q, want %q", got, want)
	}
}
