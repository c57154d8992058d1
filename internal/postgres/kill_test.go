package postgres

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/romi/plantdb-go/internal/postgres/cluster"
)

func TestPrivateSurvivesKillOfServer(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	p := startPrivate(t, dir)
	remember(t, p.URL())
	old := postmaster(t, dir)
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "after kill -9 of the server", func() error {
		_, err := query[int](t.Context(), p.URL(), "SELECT 1")
		return err
	})
	remembered(t, p.URL())
	if postmaster(t, dir) == old {
		t.Error("the server is the one that was killed")
	}
}

func TestPrivateSurvivesKillOfOwner(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	owner := startProcess(t, dir, nil)
	remember(t, owner.URL)
	owner.kill()
	eventually(t, "server after kill -9 of its owner", func() error { return gone(dir) })
	remembered(t, startPrivate(t, dir).URL())
}

// The next start does not wait for the remains of the last to be gone.
func TestPrivateSurvivesKillOfBoth(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	owner := startProcess(t, dir, nil)
	remember(t, owner.URL)
	server := postmaster(t, dir)
	owner.kill()
	// It may have ended with its owner already.
	if err := syscall.Kill(server, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Fatal(err)
	}
	remembered(t, startPrivate(t, dir).URL())
}

// After a kill, and a restart of the machine, the number in postmaster.pid may
// be anybody's.
func TestPrivateIgnoresReusedPID(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	p := startPrivate(t, dir)
	remember(t, p.URL())
	stopPrivate(t, p)
	other := exec.CommandContext(t.Context(), "sleep", "600")
	other.Dir = "/"
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{os.Getpid(), 1, other.Process.Pid} {
		text := fmt.Sprintf("%d\n%s\n1700000000\n5432\n%s\n\n  1 1\nready\n",
			pid, filepath.Join(dir, dataDir), filepath.Join(dir, runDir))
		for _, file := range []string{filepath.Join(dataDir, "postmaster.pid"), filepath.Join(runDir, ".s.PGSQL.5432.lock")} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		p := startPrivate(t, dir)
		remembered(t, p.URL())
		stopPrivate(t, p)
	}
}

func TestPrivateLeavesForeignServerAlone(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	stopPrivate(t, startPrivate(t, dir))
	other := exec.CommandContext(t.Context(), "sleep", "600")
	other.Dir = filepath.Join(dir, dataDir)
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	_, err := StartPrivate(t.Context(), PrivateOptions{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, cluster.ErrForeign) || !strings.Contains(err.Error(), strconv.Itoa(other.Process.Pid)) {
		t.Errorf("StartPrivate while process %d stands in the cluster = %v, want ErrForeign that names it", other.Process.Pid, err)
	}
}
