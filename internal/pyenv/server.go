package pyenv

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/postgres/cluster"
)

// serverTimeout is for what takes some seconds, on a machine that does much else.
const serverTimeout = 3 * time.Minute

// Server is upstream's server, running.
type Server struct {
	// URL is where it listens.
	URL string

	running *cluster.Process
	said    *os.File
}

var address = regexp.MustCompile(`Running on (http://127\.0\.0\.1:\d+)`)

// Serve starts ROMI's Python server 0.17, fsdb_rest_api, with arguments and
// further settings of its environment, on a free port of the loopback, and
// returns when it is up. It is stopped when the test ends.
func Serve(t testing.TB, env []string, args ...string) *Server {
	t.Helper()
	return ServeBy(t, []string{"plantdb-server==0.17.0", "plantdb-commons==0.17.0"}, env, args...)
}

// ServeBy is Serve for the server that is one of the requirements, of any
// generation since 0.14.
func ServeBy(t testing.TB, requirements, env []string, args ...string) *Server {
	t.Helper()
	python := Python(t, requirements...)
	// Half a gigabyte that only thins point clouds, which no test asks for.
	stub := t.TempDir()
	if err := os.WriteFile(filepath.Join(stub, "open3d.py"), nil, 0o600); err != nil {
		t.Fatalf("pyenv: %v", err)
	}
	args = append([]string{"-c", "from plantdb.server.cli.fsdb_rest_api import main; main()", "--host", "127.0.0.1", "--port", "0"}, args...)
	server := exec.CommandContext(context.WithoutCancel(t.Context()), python, args...)
	server.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "PYTHONPATH=" + stub, "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"}, env...)
	server.SysProcAttr = &syscall.SysProcAttr{}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatalf("pyenv: %v", err)
	}
	server.Stdout, server.Stderr = in, in
	running, err := cluster.Spawn(server)
	_ = in.Close()
	if err != nil {
		t.Fatalf("pyenv: start the Python server: %v", err)
	}
	s := &Server{running: running, said: out}
	t.Cleanup(s.Stop)
	s.URL = s.await(t)
	return s
}

// await returns the address, once the server has said it, and reads on for as
// long as it writes.
func (s *Server) await(t testing.TB) string {
	t.Helper()
	url, end := make(chan string, 1), make(chan string, 1)
	go func() {
		var last []string
		lines := bufio.NewScanner(s.said)
		for lines.Scan() {
			if m := address.FindStringSubmatch(lines.Text()); m != nil {
				url <- m[1]
			}
			last = append(last[max(0, len(last)-20):], lines.Text())
		}
		end <- strings.Join(last, "\n")
	}()
	select {
	case u := <-url:
		return u
	case said := <-end:
		t.Fatalf("pyenv: the Python server has ended: %s", said)
	case <-time.After(serverTimeout):
		t.Fatalf("pyenv: the Python server has not come up within %s", serverTimeout)
	}
	return ""
}

// Stop is Ctrl-C, and the end.
func (s *Server) Stop() {
	s.running.Signal(os.Interrupt)
	hard := time.AfterFunc(30*time.Second, func() { s.running.Signal(os.Kill) })
	defer hard.Stop()
	<-s.running.Done()
	_ = s.said.Close() // its reader has come to the end, or is told so
}
