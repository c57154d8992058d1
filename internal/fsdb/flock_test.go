package fsdb_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/pyenv"
)

// pythonLock is a Python program that runs testdata/locks.py.
type pythonLock struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

func startLocks(t *testing.T, python string, args ...string) *pythonLock {
	t.Helper()
	p := &pythonLock{t: t, cmd: exec.CommandContext(t.Context(), python, append([]string{"testdata/locks.py"}, args...)...)}
	p.cmd.Stderr = os.Stderr
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // in vain where it has ended
		_ = p.cmd.Wait()
	})
	return p
}

// says returns the next word of the program that is not upstream's log.
func (p *pythonLock) says() string {
	p.t.Helper()
	for p.lines.Scan() {
		switch line := p.lines.Text(); line {
		case "held", "released", "timeout", "counted":
			return line
		}
	}
	p.t.Fatalf("locks.py %v ended: %v", p.cmd.Args, p.lines.Err())
	return ""
}

func (p *pythonLock) expect(want string) {
	p.t.Helper()
	if got := p.says(); got != want {
		p.t.Errorf("locks.py %v says %q, want %q", p.cmd.Args[2:], got, want)
	}
}

func generations(t *testing.T, test func(t *testing.T, python string)) {
	for _, commons := range []string{commons17, commons15} {
		t.Run(commons, func(t *testing.T) {
			t.Parallel()
			test(t, pyenv.Python(t, commons))
		})
	}
}

// free fails the test unless the locks can be had, and lets them go.
func free(t *testing.T, tree *fsdb.Tree, shared bool, resources ...string) {
	t.Helper()
	held, err := tree.TryLock(shared, resources...)
	if err != nil {
		t.Errorf("TryLock(%v, %q) = %v, want the locks", shared, resources, err)
	}
	held.Release()
}

func taken(t *testing.T, tree *fsdb.Tree, shared bool, resources ...string) {
	t.Helper()
	held, err := tree.TryLock(shared, resources...)
	if !errors.Is(err, fsdb.ErrLocked) {
		t.Errorf("TryLock(%v, %q) = %v, want ErrLocked", shared, resources, err)
	}
	held.Release()
}

func holders(t *testing.T, tree *fsdb.Tree) []fsdb.Holder {
	t.Helper()
	list, err := tree.LockHolders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Upstream's real lock manager keeps us out, and tells who it is.
func TestPythonHoldsLocks(t *testing.T) {
	t.Parallel()
	generations(t, func(t *testing.T, python string) {
		tree := newTree(t)
		began := time.Now().Add(-time.Second)
		p := startLocks(t, python, "hold", tree.Dir(), "scan", "scan", "exclusive")
		p.expect("held")
		taken(t, tree, false, "scan")
		taken(t, tree, true, "scan")
		taken(t, tree, false, "other", "scan") // and lets the other go again
		free(t, tree, false, "other", "sca", "scan2")
		list := holders(t, tree)
		if len(list) != 1 || list[0].Scan() != "scan" || list[0].Level != "scan" || list[0].Type != "exclusive" || list[0].User != "pia" ||
			list[0].PID != p.cmd.Process.Pid || list[0].Since.Before(began) || list[0].Since.After(time.Now().Add(time.Second)) {
			t.Errorf("LockHolders() = %+v, want pia's process %d", list, p.cmd.Process.Pid)
		}
		_ = p.stdin.Close() // it reads the end
		p.expect("released")
		free(t, tree, false, "scan")
		if list := holders(t, tree); len(list) != 0 {
			t.Errorf("LockHolders() after the release = %+v, want none", list)
		}

		part := startLocks(t, python, "hold", tree.Dir(), "scan/images", "fileset", "exclusive")
		part.expect("held")
		taken(t, tree, false, "scan") // for files.json is the scan's
		taken(t, tree, false, "other", "scan/images")
		free(t, tree, false, "other")
		_ = part.stdin.Close() // as above
		part.expect("released")
		free(t, tree, false, "scan", "scan/images")

		reader := startLocks(t, python, "hold", tree.Dir(), "scan", "scan", "shared")
		reader.expect("held")
		free(t, tree, true, "scan")
		taken(t, tree, false, "scan")
	})
}

// A Python program that is killed frees its lock, and nobody is said to hold it.
func TestKilledPythonFreesItsLock(t *testing.T) {
	t.Parallel()
	generations(t, func(t *testing.T, python string) {
		tree := newTree(t)
		p := startLocks(t, python, "hold", tree.Dir(), "scan", "scan", "exclusive")
		p.expect("held")
		taken(t, tree, false, "scan")
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = p.cmd.Wait() // killed
		if list := holders(t, tree); len(list) != 0 {
			t.Errorf("LockHolders() = %+v, want none", list)
		}
		free(t, tree, false, "scan")
		if n, err := tree.SweepLocks(t.Context(), 0); n != 1 || err != nil {
			t.Errorf("SweepLocks() = %d, %v, want 1", n, err)
		}
		for _, name := range []string{"scan.lock", "scan.info"} {
			if _, err := os.Stat(filepath.Join(tree.Dir(), ".locks", name)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is left: %v", name, err)
			}
		}
	})
}

// Our locks keep upstream's programs out, those of all levels that we name.
func TestPythonWaitsForOurLocks(t *testing.T) {
	t.Parallel()
	generations(t, func(t *testing.T, python string) {
		tree := newTree(t)
		try := func(want, resource, level, kind string) {
			t.Helper()
			p := startLocks(t, python, "try", tree.Dir(), resource, level, kind)
			p.expect(want)
			if err := p.cmd.Wait(); err != nil { // it has let go then
				t.Fatal(err)
			}
		}
		held, err := tree.TryLock(false, "scan", "scan/images")
		if err != nil {
			t.Fatal(err)
		}
		try("timeout", "scan", "scan", "exclusive")
		try("timeout", "scan", "scan", "shared")
		try("timeout", "scan/images", "fileset", "exclusive")
		try("held", "other", "scan", "exclusive")
		if n, err := tree.SweepLocks(t.Context(), 0); n != 0 || err != nil {
			t.Errorf("SweepLocks() of held locks = %d, %v, want 0", n, err)
		}
		try("timeout", "scan", "scan", "exclusive")
		held.Release()
		try("held", "scan", "scan", "exclusive")
		if held, err = tree.TryLock(true, "scan"); err != nil {
			t.Fatal(err)
		}
		try("timeout", "scan", "scan", "exclusive")
		try("held", "scan", "scan", "shared")
		held.Release()
	})
}

// Python and two of ours add to one number, each under the lock, while Python
// removes the lock file each time: no addition is lost.
func TestLocksExclude(t *testing.T) {
	t.Parallel()
	const times = 15
	generations(t, func(t *testing.T, python string) {
		tree := newTree(t)
		number := filepath.Join(t.TempDir(), "number")
		if err := os.WriteFile(number, []byte("0"), 0o600); err != nil {
			t.Fatal(err)
		}
		p := startLocks(t, python, "count", tree.Dir(), "scan", number, strconv.Itoa(times))
		stop := adders(t, tree, number, nil)
		defer stop()
		p.expect("counted")
		ours := stop()
		got, err := os.ReadFile(number)
		if err != nil {
			t.Fatal(err)
		}
		if want := strconv.Itoa(times + ours); string(got) != want || ours == 0 {
			t.Errorf("the number is %s, want %s", got, want)
		}
	})
}

// The same among ourselves, while the lock file is swept away again and again.
func TestLocksExcludeWhileSwept(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	number := filepath.Join(t.TempDir(), "number")
	if err := os.WriteFile(number, []byte("0"), 0o600); err != nil {
		t.Fatal(err)
	}
	enough := make(chan struct{})
	stop := adders(t, tree, number, enough)
	defer stop()
	swept := 0
	for done := false; !done; {
		select {
		case <-enough:
			done = true
		default:
		}
		n, err := tree.SweepLocks(t.Context(), 0)
		if err != nil {
			t.Fatalf("SweepLocks() = %v", err)
		}
		swept += n
	}
	ours := stop()
	got, err := os.ReadFile(number)
	if want := strconv.Itoa(ours); err != nil || string(got) != want || swept == 0 {
		t.Errorf("the number is %s, want %s; %d swept, %v", got, want, swept, err)
	}
}

// adders are two of ours who add until stop, which says how often they did.
// They close enough, if there is one, when one has done so five hundred times.
func adders(t *testing.T, tree *fsdb.Tree, number string, enough chan struct{}) (stop func() int) {
	var wg sync.WaitGroup
	var added atomic.Int64
	quit := make(chan struct{})
	for i := range 2 {
		wg.Go(func() {
			for mine := 0; ; {
				select {
				case <-quit:
					return
				case <-time.After(time.Millisecond): // room for the others
				}
				held, err := tree.TryLock(false, "scan")
				if err != nil {
					continue
				}
				addOne(t, number)
				added.Add(1)
				held.Release()
				if mine++; mine == 500 && i == 0 && enough != nil {
					close(enough)
				}
			}
		})
	}
	return func() int {
		select {
		case <-quit:
		default:
			close(quit)
		}
		wg.Wait()
		return int(added.Load())
	}
}

func addOne(t *testing.T, name string) {
	data, err := os.ReadFile(name)
	if err != nil {
		t.Error(err)
		return
	}
	n, err := strconv.Atoi(string(data))
	if err != nil {
		t.Errorf("somebody else writes: the file holds %q", data)
	}
	if err := os.WriteFile(name, []byte(strconv.Itoa(n+1)), 0o600); err != nil {
		t.Error(err)
	}
}

// What upstream could not lock is nobody's.
func TestLocksOfOddNames(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	held, err := tree.TryLock(false, "a", strings.Repeat("x", 255), "a/../../b", "a/\x00", "a/\xff")
	if err != nil {
		t.Fatalf("TryLock of odd names = %v", err)
	}
	taken(t, tree, false, "a")
	held.Release()
	free(t, tree, false, "a")
	found, err := os.ReadDir(filepath.Join(tree.Dir(), ".locks"))
	if err != nil || len(found) != 2 {
		t.Errorf(".locks holds %v, %v, want a.lock and one other", found, err)
	}
}

func BenchmarkTryLock(b *testing.B) {
	tree, err := fsdb.Create(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = tree.Close() }()
	for b.Loop() {
		held, err := tree.TryLock(false, "scan", "scan/images")
		if err != nil {
			b.Fatal(err)
		}
		held.Release()
	}
}
