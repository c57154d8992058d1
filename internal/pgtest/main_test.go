package pgtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// envBase makes the test binary another test process, which meets others in
// the base directory that it names.
const envBase = "PLANTDB_TEST_PGTEST_BASE"

func TestMain(m *testing.M) {
	if base := os.Getenv(envBase); base != "" {
		if err := beProcess(base); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	m.Run()
}

// report is what the other process tells when it has a database.
type report struct{ Server, Database string }

// beProcess makes a database and keeps it until its standard input ends.
func beProcess(base string) error {
	ctx := context.Background()
	server, users, err := attach(ctx, base)
	if err != nil {
		return err
	}
	h, err := newHarness(ctx, server, users)
	if err != nil {
		return err
	}
	database, err := h.clone(ctx)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(report{server, database}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(h)
	return err
}

// process is such another process.
type process struct {
	report
	cmd *exec.Cmd
}

func startProcess(t *testing.T, base string, attr *syscall.SysProcAttr) *process {
	t.Helper()
	p := &process{cmd: exec.CommandContext(context.WithoutCancel(t.Context()), testBinary(t))}
	p.cmd.Env = append(os.Environ(), envBase+"="+base, "HOME=/")
	p.cmd.SysProcAttr = attr
	p.cmd.Dir = "/"
	p.cmd.Stderr = os.Stderr
	if _, err := p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		t.Fatalf("another test process on %s: %v", base, err)
	}
	if err := json.Unmarshal(line, &p.report); err != nil {
		t.Fatal(err)
	}
	return p
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()
}

// testBinary returns the path of a copy of this program that any user may
// run; where `go test` puts it others may not look.
func testBinary(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(openDir(t), "pgtest.test")
	// Not by ourselves: a child that a parallel test forks meanwhile would
	// have the file open for writing, and nobody could run it.
	if out, err := exec.CommandContext(t.Context(), "cp", self, path).CombinedOutput(); err != nil {
		t.Fatalf("copy the test binary: %v: %s", err, out)
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// openDir returns a directory that others may pass through.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgtest-") //nolint:usetesting // Others must pass through; t.TempDir is shut.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// newBase returns a base directory that only this test uses. When the test
// ends, so do its servers.
func newBase(t *testing.T, uid int) string {
	t.Helper()
	base := openDir(t)
	if err := os.Chown(base, uid, -1); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { allGone(t, base) })
	return base
}

// allGone waits until no server of the base directory runs.
func allGone(t *testing.T, base string) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(base, serverDirs))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		eventually(t, "server in "+dir, func() error { return gone(dir) })
	}
}

// unprivileged returns how to start a process as a user other than root: as
// nobody if we are root, else as ourselves.
func unprivileged(t *testing.T) (*syscall.SysProcAttr, int) {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil, os.Geteuid()
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		t.Fatal(err)
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}, uid
}

// eventually tries f until it returns nil.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), stepTime)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: still %v", what, err)
		}
	}
}
