// Package servertest gives tests the built program: it builds cmd/plantdb once
// for a test process and runs its commands and servers with settings of their
// own, as any user. Only tests import it.
//
// What it starts does not outlive the test: the end of the test stops it, and
// where the test process is killed the kernel interrupts it (Linux).
//
// It knows the program from outside alone: arguments, environment, what is
// written and the exit code.
package servertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// buildTimeout bounds a build from a cold cache.
const buildTimeout = 10 * time.Minute

// binary is the program of a test process.
type binary struct {
	once sync.Once
	dir  string
	err  error
}

var program binary

// Main runs the tests and removes what Build made. A package whose tests use
// the program has it in its TestMain: os.Exit(servertest.Main(m)).
func Main(m *testing.M) int {
	code := m.Run()
	if err := os.RemoveAll(program.dir); err != nil {
		fmt.Fprintln(os.Stderr, "servertest:", err)
		return max(code, 1)
	}
	return code
}

// Build returns the path of the program, which any user may run. The first
// call builds it.
func Build(t testing.TB) string {
	t.Helper()
	program.once.Do(func() { program.err = program.build() })
	if program.err != nil {
		t.Fatalf("servertest: %v", program.err)
	}
	return filepath.Join(program.dir, "plantdb")
}

func (b *binary) build() (err error) {
	if b.dir, err = openDir(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", filepath.Join(b.dir, "plantdb"),
		"github.com/romi/plantdb-go/cmd/plantdb")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the program: %w: %s", err, said)
	}
	return lookAtSources(ctx)
}

// sources are the files of ours that the program is made of.
const sources = `{{if .Module}}{{if .Module.Main}}{{$dir := .Dir}}` +
	`{{range .GoFiles}}{{$dir}}/{{.}}{{"\n"}}{{end}}{{range .EmbedFiles}}{{$dir}}/{{.}}{{"\n"}}{{end}}{{end}}{{end}}`

// lookAtSources lets go test know what the tests depend on, which it would else
// take from its cache when the program has changed and they have not.
func lookAtSources(ctx context.Context) error {
	list, err := exec.CommandContext(ctx, "go", "list", "-deps", "-f", sources, "github.com/romi/plantdb-go/cmd/plantdb").Output()
	if err != nil {
		return fmt.Errorf("list the sources of the program: %w", err)
	}
	for name := range strings.FieldsSeq(string(list)) {
		if _, err := os.Stat(name); err != nil {
			return fmt.Errorf("look at a source of the program: %w", err)
		}
	}
	return nil
}

// Dir returns a new directory that other users may pass through, as
// t.TempDir's is not; it is removed when the test ends. A PostgreSQL below it
// can be run by another account than ours.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := openDir()
	if err != nil {
		t.Fatalf("servertest: %v", err)
	}
	t.Cleanup(func() {
		awaitEnd(t, dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("servertest: %v", err)
		}
	})
	return dir
}

// awaitEnd waits for the end of a PostgreSQL whose server was killed: it ends by
// itself, a moment later, and until then writes into what is to be removed.
func awaitEnd(t testing.TB, dir string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for patience := time.After(stopTimeout); len(Standing(Database(dir))) > 0; {
		select {
		case <-tick.C:
		case <-patience:
			t.Errorf("servertest: the PostgreSQL of %s outlives its server, as %q", dir, Standing(Database(dir)))
			return
		}
	}
}

func openDir() (string, error) {
	dir, err := os.MkdirTemp("", "plantdb-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o711)
}

// Account is a user that runs the program; nil is the one that runs the tests.
type Account struct{ UID, GID uint32 }

// Accounts returns, by name, whom a test can run the program as: whoever runs
// the test, and nobody if that is root.
func Accounts(t testing.TB) map[string]*Account {
	t.Helper()
	if os.Getuid() != 0 {
		return map[string]*Account{"ourselves": nil}
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatalf("servertest: %v", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatalf("servertest: uid of nobody: %v", err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		t.Fatalf("servertest: gid of nobody: %v", err)
	}
	return map[string]*Account{"root": nil, "nobody": {uint32(uid), uint32(gid)}}
}

// Dir returns a new directory that belongs to the account.
func (a *Account) Dir(t testing.TB) string {
	t.Helper()
	dir := Dir(t)
	if a != nil {
		if err := os.Chown(dir, int(a.UID), int(a.GID)); err != nil {
			t.Fatalf("servertest: %v", err)
		}
	}
	return dir
}

func (a *Account) attributes() *syscall.SysProcAttr {
	if a == nil {
		return &syscall.SysProcAttr{}
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.UID, Gid: a.GID}}
}
