package pgtest

import (
	"bytes"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/romi/plantdb-go/internal/postgres/cluster"
)

// gone returns nil if nothing of the server in dir lives or holds memory.
func gone(dir string) error {
	guard, err := cluster.TryLock(filepath.Join(dir, guardFile), cluster.Exclusive)
	if err != nil {
		return err
	}
	if err := guard.Close(); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); !errors.Is(err, fs.ErrNotExist) {
		return errors.New("its data are there")
	}
	return nil
}

// dirOf returns the directory of a server.
func dirOf(t *testing.T, server string) string {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(u.Query().Get("host"))
}

func TestServerIsShared(t *testing.T) {
	t.Parallel()
	base := newBase(t, os.Geteuid())
	started := make(chan *process, 3)
	for range cap(started) {
		go func() { started <- startProcess(t, base, nil) }()
	}
	var all []*process
	for range cap(started) {
		all = append(all, <-started)
	}
	for _, p := range all[1:] {
		if p.Server != all[0].Server || p.Database == all[0].Database {
			t.Errorf("two processes have %+v and %+v, want one server and two databases", all[0], p)
		}
	}
	for i, p := range all {
		if err := answers(t.Context(), p.Server); err != nil {
			t.Errorf("with %d of %d processes killed the server answers %v, want nil", i, len(all), err)
		}
		p.kill()
	}
	eventually(t, "server after kill -9 of all its users", func() error { return gone(dirOf(t, all[0].Server)) })

	again := startProcess(t, base, nil)
	if again.Server == all[0].Server {
		t.Error("the server after that is the one before")
	}
}

func TestServerIsReplaced(t *testing.T) {
	t.Parallel()
	base := newBase(t, os.Geteuid())
	first := startProcess(t, base, nil)
	b, err := os.ReadFile(filepath.Join(dirOf(t, first.Server), "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	pid, err := strconv.Atoi(string(line))
	if err != nil {
		t.Fatal(err)
	}
	// The kindest way to be gone at once: kill -9 would leave shared memory
	// that only a restart on the same data, which there is none of, frees.
	if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "server after its end", func() error {
		if answers(t.Context(), first.Server) == nil {
			return errors.New("there")
		}
		return nil
	})
	second := startProcess(t, base, nil)
	if err := answers(t.Context(), second.Server); err != nil || first.Server == second.Server {
		t.Errorf("after the end of the server the next process has one that answers %v, another: %v", err, first.Server != second.Server)
	}
}

// What a process left that was killed while it made its cluster.
func TestServerLeftoversAreRemoved(t *testing.T) {
	t.Parallel()
	base := newBase(t, os.Geteuid())
	left := filepath.Join(base, "server-left")
	if err := os.MkdirAll(filepath.Join(left, "data.new", "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	startProcess(t, base, nil)
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat(what was left) = %v, want not there", err)
	}
}

func TestServerOfAnotherUser(t *testing.T) {
	t.Parallel()
	attr, uid := unprivileged(t)
	p := startProcess(t, newBase(t, uid), attr)
	if err := answers(t.Context(), p.Server); err != nil {
		t.Errorf("the server that user %d started answers %v, want nil", uid, err)
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	base := newBase(t, os.Geteuid())
	dead, alive := startProcess(t, base, nil), startProcess(t, base, nil)
	dead.kill()
	server, users, err := attach(t.Context(), base)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = users.Close() }()
	var h *harness
	eventually(t, "database of a killed process", func() error {
		if h, err = newHarness(t.Context(), server, users); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(h.admin.Close)
		if exists(t, h, dead.Database) {
			return errors.New("there") // its connection was not yet missed
		}
		return nil
	})
	if !exists(t, h, alive.Database) {
		t.Error("the database of a process that lives is gone")
	}
}

func exists(t *testing.T, h *harness, database string) (there bool) {
	t.Helper()
	err := h.admin.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", database).Scan(&there)
	if err != nil {
		t.Fatal(err)
	}
	return there
}

func TestKeepBase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	err := errors.Join(os.Mkdir(at("closed"), 0o700), os.Mkdir(at("open"), 0o700), os.Chmod(at("open"), 0o777),
		os.Symlink(at("closed"), at("link")), os.WriteFile(at("file"), nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"new": true, "closed": true, "open": false, "link": false, "file": false, "no/parent": false,
	} {
		if err := keepBase(at(name)); (err == nil) != want {
			t.Errorf("keepBase(%s) = %v, want fit: %v", name, err, want)
		}
	}
}

func TestParseURL(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]bool{
		"postgres://u:s3cret@h/d":       true,
		"postgresql://u:s3cret@h/d?x=y": true,
		"host=h password=s3cret":        false,
		"mysql://u:s3cret@h/d":          false,
		"postgres://u:s3cret@[h/d":      false,
	} {
		_, err := parseURL(raw)
		if (err == nil) != want || err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("parseURL(%s) = %v, want fit: %v, and the password untold", raw, err, want)
		}
	}
}
