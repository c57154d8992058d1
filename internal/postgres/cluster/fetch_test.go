package cluster

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	embedded "github.com/fergusstrange/embedded-postgres"
	"github.com/google/go-cmp/cmp"
)

// archive is one as the download has it: a zip in which a tar.xz lies. The
// one in testdata holds shell scripts that are closed to all but their owner.
func archive(t *testing.T) []byte {
	t.Helper()
	inner, err := os.ReadFile("testdata/programs.txz")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create("postgres.txz")
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(inner)
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// serve answers requests for an archive with body, and for its checksum with
// that of good.
func serve(t *testing.T, body, good []byte) embedded.Config {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case body == nil:
			http.NotFound(w, r)
		case strings.HasSuffix(r.URL.Path, ".sha256"):
			fmt.Fprintf(w, "%x", sha256.Sum256(good))
		default:
			_, _ = w.Write(body) // the client may have gone
		}
	}))
	t.Cleanup(s.Close)
	return embedded.DefaultConfig().BinaryRepositoryURL(s.URL).Logger(io.Discard)
}

func TestUnpack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := archive(t)
	for range 2 { // the second replaces the first
		if err := unpack(t.Context(), serve(t, good, good), dir, 17, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatalf("unpack = %v", err)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	hidden, _ := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) != 1 || len(hidden) != 0 {
		t.Errorf("unpack leaves %q and %q, want one directory", left, hidden)
	}
	p, err := Find(t.Context(), "", dir, 17)
	if err != nil {
		t.Fatalf("Find after unpack = %v", err)
	}
	for _, path := range []string{p.Dir, filepath.Join(p.Dir, "postgres"), filepath.Join(p.Dir, "initdb")} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o005 != 0o005 {
			t.Errorf("mode of %s = %v, %v, want all may read and run it", path, info.Mode(), err)
		}
	}
}

func TestUnpackFails(t *testing.T) {
	t.Parallel()
	good := archive(t)
	for name, tt := range map[string]struct {
		from embedded.Config
		want int
	}{
		"not there":          {serve(t, nil, nil), 0},
		"no network":         {embedded.DefaultConfig().BinaryRepositoryURL("http://127.0.0.1:1"), 0},
		"cut short":          {serve(t, good[:len(good)/2], good), 0},
		"not what was meant": {serve(t, []byte("<html>log in</html>"), good), 0},
		"no such version":    {serve(t, good, good), 99},
	} {
		dir := t.TempDir()
		err := unpack(t.Context(), tt.from, dir, tt.want, slog.New(slog.DiscardHandler))
		if !errors.Is(err, ErrFetch) {
			t.Errorf("%s: unpack = %v, want ErrFetch", name, err)
		}
		if p, err := Find(t.Context(), "", dir, 17); err == nil && strings.HasPrefix(p.Dir, dir) {
			t.Errorf("%s: Find after unpack = %q, want nothing there", name, p.Dir)
		}
	}
}

func TestUnpackGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-over
		http.NotFound(w, r)
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(over) })
	err := unpack(ctx, embedded.DefaultConfig().BinaryRepositoryURL(s.URL), dir, 0, slog.New(slog.DiscardHandler))
	if !errors.Is(err, ErrFetch) || !errors.Is(err, context.Canceled) {
		t.Errorf("unpack(canceled while it downloads) = %v, want ErrFetch for context.Canceled", err)
	}
}

// apt stands in for apt-get, which a test must not let loose on a machine: it
// notes its arguments, and whether the packages were told to start no server.
func apt(t *testing.T, installs string) (p packages, notes string) {
	t.Helper()
	dir := t.TempDir()
	p = packages{apt: filepath.Join(dir, "apt-get"), conf: filepath.Join(dir, "conf")}
	notes = filepath.Join(dir, "notes")
	script := fmt.Sprintf(`#!/bin/sh
echo "$DEBIAN_FRONTEND $* $(cat %s/*)" >>%s
case $1 in install) %s;; esac
`, p.conf, notes, installs)
	if err := os.WriteFile(p.apt, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return p, notes
}

func TestInstall(t *testing.T) {
	t.Parallel()
	const (
		update  = "noninteractive update create_main_cluster = false\n"
		install = "noninteractive install --yes --no-install-recommends postgresql create_main_cluster = false\n"
	)
	for _, tt := range []struct {
		name, installs string
		version        int
		want           string
		fails          string
	}{
		{"at once", "true", 0, install, ""},
		{"version", "true", 16, strings.Replace(install, "postgresql", "postgresql-16", 1), ""},
		{"without lists", `test -e "$0.once" || { touch "$0.once"; exit 100; }`, 0, install + update + install, ""},
		{"never", `echo "E: no such package" >&2; exit 100`, 0, install + update + install, "no such package"},
	} {
		p, notes := apt(t, tt.installs)
		err := p.install(t.Context(), tt.version, slog.New(slog.DiscardHandler))
		if (err != nil) != (tt.fails != "") || err != nil && !strings.Contains(err.Error(), tt.fails) {
			t.Errorf("%s: install = %v, want %q", tt.name, err, tt.fails)
		}
		got, err := os.ReadFile(notes)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, string(got)); diff != "" {
			t.Errorf("%s: calls of apt-get (-want +got):\n%s", tt.name, diff)
		}
		if left, _ := filepath.Glob(filepath.Join(p.conf, "*")); len(left) > 0 {
			t.Errorf("%s: install leaves %q", tt.name, left)
		}
	}
}
