package servertest

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Server is a running `plantdb serve`.
type Server struct {
	// URL is the address of the banner, the deploy prefix included.
	URL string

	t       testing.TB
	process *process
}

var highWater = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`)

var address = regexp.MustCompile(`(?m)^ +address +(http://\S+)$`)

// lastLine ends the banner.
const lastLine = "Ctrl-C\n"

// Start serves the tree in dir on a free port of the loopback, with further
// arguments, and returns when the server is up. It is stopped when the test
// ends.
func Start(t testing.TB, o Options, dir string, args ...string) *Server {
	t.Helper()
	// Where the machine is busy a write may wait longer than a client of upstream would.
	args = append([]string{"serve", "--db-path", dir, "--port", "0", "--lock-timeout", "10"}, args...)
	s := &Server{t: t, process: start(t, o, args)}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	banner, ok := s.process.stdout.await(ctx, s.process.Done(), lastLine)
	m := address.FindStringSubmatch(banner)
	if !ok || m == nil {
		t.Fatalf("plantdb %s has not come up: %s%s", strings.Join(args, " "), banner, s.Stderr())
	}
	s.URL = m[1]
	return s
}

// Stdout returns what the server has written there.
func (s *Server) Stdout() string { return s.process.stdout.String() }

// Stderr returns what the server has logged.
func (s *Server) Stderr() string { return s.process.stderr.String() }

// Interrupt is Ctrl-C.
func (s *Server) Interrupt() { s.process.Signal(os.Interrupt) }

// Wait returns the exit code once the server has ended: -1 if a signal ended it.
func (s *Server) Wait() int {
	s.t.Helper()
	code, ended := s.process.wait(stopTimeout)
	if !ended {
		s.t.Fatalf("the server has not ended within %s; it says %s", stopTimeout, s.Stderr())
	}
	return code
}

// Stop is Ctrl-C and the end; anything but success fails the test.
func (s *Server) Stop() {
	s.t.Helper()
	s.Interrupt()
	if code := s.Wait(); code != 0 {
		s.t.Errorf("stopped server: exit code %d, want 0; it says %s", code, s.Stderr())
	}
}

// Kill is kill -9.
func (s *Server) Kill() {
	s.t.Helper()
	s.process.Signal(syscall.SIGKILL)
	s.Wait()
}

// Pause stops the server where it is; Continue lets it go on.
func (s *Server) Pause() { s.process.Signal(syscall.SIGSTOP) }

// Continue ends a Pause.
func (s *Server) Continue() { s.process.Signal(syscall.SIGCONT) }

// Database is where the private PostgreSQL of the tree in dir keeps its data.
func Database(dir string) string { return filepath.Join(dir, ".plantdb", "postgres", "data") }

// Standing returns the processes whose working directory is dir, which for
// dir as of Database are those of the tree's PostgreSQL. Where there is no
// /proc it finds none.
func Standing(dir string) []string {
	var found []string
	links, _ := filepath.Glob("/proc/[0-9]*/cwd") // the pattern is well-formed
	for _, link := range links {
		if at, err := os.Readlink(link); err == nil && at == dir {
			found = append(found, filepath.Base(filepath.Dir(link)))
		}
	}
	return found
}

// Peak returns the most memory that the server has while fn runs, in bytes, as Linux
// tells it.
func (s *Server) Peak(fn func()) int64 {
	s.t.Helper()
	proc := filepath.Join("/proc", strconv.Itoa(s.process.PID()))
	// Forgets what it had before.
	if err := os.WriteFile(filepath.Join(proc, "clear_refs"), []byte("5"), 0); err != nil {
		s.t.Fatal(err)
	}
	fn()
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		s.t.Fatal(err)
	}
	m := highWater.FindSubmatch(status)
	if m == nil {
		s.t.Fatalf("no VmHWM in %s", status)
	}
	kib, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		s.t.Fatalf("VmHWM: %v", err)
	}
	return kib << 10
}
