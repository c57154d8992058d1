package postgres

import (
	"errors"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/romi/plantdb-go/internal/postgres/cluster"
)

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

func TestPrivateAsAnotherUser(t *testing.T) {
	t.Parallel()
	attr, uid := unprivileged(t)
	base := quickDir(t)
	if err := os.Chown(base, uid, -1); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, ".plantdb", "postgres")
	p := startProcess(t, dir, attr)
	if p.Joined {
		t.Error("Joined = true, want false")
	}
	remember(t, p.URL)
	p.stop()
	// Its cluster stays its own, whoever starts the server next: we, who may
	// be root.
	remembered(t, startPrivate(t, dir).URL())
	info, err := os.Stat(filepath.Join(dir, dataDir, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); int(st.Uid) != uid {
		t.Errorf("the server runs as user %d, want %d", st.Uid, uid)
	}
}

func TestPrivateNamesDirectoryThatShutsItOut(t *testing.T) {
	t.Parallel()
	base := quickDir(t)
	shut := filepath.Join(base, "shut")
	dir := filepath.Join(shut, "below", ".plantdb", "postgres")
	if err := os.MkdirAll(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shut, 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := StartPrivate(t.Context(), PrivateOptions{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if os.Geteuid() != 0 { // the server is ours, and the directory too
		if err != nil {
			t.Fatalf("StartPrivate below our own directory = %v, want nil", err)
		}
		stopPrivate(t, p)
		return
	}
	if !errors.Is(err, cluster.ErrShutOut) || !strings.Contains(err.Error(), "the directory "+shut+" ") {
		t.Errorf("StartPrivate below a closed directory = %v, want ErrShutOut that names %s", err, shut)
	}
}

func TestPrivateOfAnotherUser(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	stopPrivate(t, startPrivate(t, dir))
	attr, _ := unprivileged(t)
	p, err := tryProcess(t, dir, attr)
	if attr == nil { // it is the same user
		if err != nil {
			t.Fatalf("the same user's process: %v", err)
		}
		p.stop()
		return
	}
	if err == nil || !strings.Contains(err.Error(), "another user") {
		t.Errorf("start on another user's directory = %v, want one sentence that says so", err)
	}
}
