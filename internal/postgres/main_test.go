package postgres

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/postgres/cluster"
)

// envPrivate makes the test binary another process that uses the private
// server in the directory it names.
const envPrivate = "PLANTDB_TEST_PRIVATE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(envPrivate); dir != "" {
		if err := beProcess(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	m.Run()
}

// report is what the other process tells when the server answers.
type report struct {
	URL    string
	Joined bool
}

// beProcess starts or joins the server, reports, and stops when its standard
// input ends.
func beProcess(dir string) error {
	signal.Ignore(syscall.SIGINT)
	ctx := context.Background()
	p, err := StartPrivate(ctx, PrivateOptions{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(report{p.URL(), p.Joined()}); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return p.Stop(ctx)
}

// process is such another process.
type process struct {
	report
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
}

func startProcess(t *testing.T, dir string, attr *syscall.SysProcAttr) *process {
	t.Helper()
	p, err := tryProcess(t, dir, attr)
	if err != nil {
		t.Fatalf("another process on %s: %v", dir, err)
	}
	return p
}

func tryProcess(t *testing.T, dir string, attr *syscall.SysProcAttr) (*process, error) {
	t.Helper()
	p := &process{t: t, cmd: exec.CommandContext(context.WithoutCancel(t.Context()), testBinary(t))}
	p.cmd.Env = append(os.Environ(), envPrivate+"="+dir)
	p.cmd.SysProcAttr = attr
	p.cmd.Dir = "/"
	var stderr strings.Builder
	p.cmd.Stderr = &stderr
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if !p.Joined {
			ended(t, dir)
		}
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		err = p.cmd.Wait() // and with it for standard error
		return nil, fmt.Errorf("%s (%w)", strings.TrimSpace(stderr.String()), err)
	}
	if err := json.Unmarshal(line, &p.report); err != nil {
		t.Fatal(err)
	}
	return p, nil
}

// stop lets the process end in order and waits for it.
func (p *process) stop() {
	p.t.Helper()
	if err := errors.Join(p.stdin.Close(), p.cmd.Wait()); err != nil {
		p.t.Fatalf("stop the other process: %v", err)
	}
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
	path := filepath.Join(openDir(t), "postgres.test")
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

// openDir returns a directory that others may pass through, which t.TempDir
// is not.
func openDir(t *testing.T) string {
	t.Helper()
	return openDirIn(t, "")
}

// quickDir is openDir for data: in memory if there is room, where a test does
// not wait for the disk.
func quickDir(t *testing.T) string {
	t.Helper()
	const memory, room = "/dev/shm", 2 << 30
	var st syscall.Statfs_t
	if err := syscall.Statfs(memory, &st); err == nil && st.Bavail*uint64(st.Bsize) > room {
		return openDirIn(t, memory)
	}
	return openDir(t)
}

func openDirIn(t *testing.T, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "plantdb-") //nolint:usetesting // Others must pass through; t.TempDir is shut.
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

// ended waits for the end of a server whose owner was killed: it ends by itself,
// a moment later, and until then writes into what is to be removed.
func ended(t *testing.T, dir string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for patience := time.After(2 * time.Minute); errors.Is(gone(dir), cluster.ErrLocked); {
		select {
		case <-tick.C:
		case <-patience:
			t.Errorf("the server in %s outlives its owner", dir)
			return
		}
	}
}

// eventually tries f until it returns nil.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
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
