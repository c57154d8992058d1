package servertest

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/postgres/cluster"
)

// Timeouts of what should take a second or two; on a machine that does much
// else besides, more.
const (
	commandTimeout = 5 * time.Minute
	startTimeout   = 5 * time.Minute
	stopTimeout    = 3 * time.Minute
)

// Options says how the program is run.
type Options struct {
	// Env is the whole environment, beside PATH, TMPDIR and HOME: nothing
	// of ours changes what the program does.
	Env []string
	// Account runs it.
	Account *Account
	// Stdin is what it can read.
	Stdin io.Reader
}

func (o Options) command(t testing.TB, args []string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(Build(t), args...) //nolint:noctx // Those who start it end it.
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "HOME=" + o.Account.Dir(t)}, o.Env...)
	cmd.Dir = "/"
	cmd.Stdin = o.Stdin
	cmd.SysProcAttr = o.Account.attributes()
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Result is what a command did.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Run runs a command of the program to its end.
func Run(t testing.TB, o Options, args ...string) Result {
	t.Helper()
	p := start(t, o, args)
	code, ended := p.wait(commandTimeout)
	if !ended {
		t.Fatalf("plantdb %s runs for %s and more; it says %s%s", strings.Join(args, " "), commandTimeout, p.stdout.String(), p.stderr.String())
	}
	return Result{code, p.stdout.String(), p.stderr.String()}
}

// process is the program running.
type process struct {
	*cluster.Process
	cmd            *exec.Cmd
	stdout, stderr output
}

// start starts the program; the end of the test ends it.
func start(t testing.TB, o Options, args []string) *process {
	t.Helper()
	p := &process{cmd: o.command(t, args), stdout: newOutput(), stderr: newOutput()}
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	var err error
	if p.Process, err = cluster.Spawn(p.cmd); err != nil {
		t.Fatalf("servertest: start %v: %v", p.cmd.Args, err)
	}
	t.Cleanup(func() { p.end(t) })
	return p
}

// end stops a process that still runs.
func (p *process) end(t testing.TB) {
	p.Signal(os.Interrupt)
	if _, ended := p.wait(stopTimeout); !ended {
		p.Signal(syscall.SIGQUIT) // it says where it hangs, and ends
		if _, ended := p.wait(stopTimeout); !ended {
			p.Signal(syscall.SIGKILL)
			<-p.Done()
		}
		t.Errorf("%v had to be killed; it said %s", p.cmd.Args, p.stderr.String())
	}
}

// wait returns the exit code, or -1 where a signal ended it; ended is false
// when it still runs.
func (p *process) wait(limit time.Duration) (code int, ended bool) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.Done():
		return p.cmd.ProcessState.ExitCode(), true
	case <-timer.C:
		return 0, false
	}
}

// output keeps what is written and tells of it.
type output struct{ *written }

type written struct {
	mu    sync.Mutex
	text  bytes.Buffer
	grown chan struct{} // closed, and made anew, by each write
}

func newOutput() output { return output{&written{grown: make(chan struct{})}} }

// Write implements io.Writer.
func (o output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.grown)
	o.grown = make(chan struct{})
	return o.text.Write(b)
}

func (o output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await returns the text once it holds the mark; ok is false when ctx or the
// process ended before.
func (o output) await(ctx context.Context, done <-chan struct{}, mark string) (text string, ok bool) {
	for {
		o.mu.Lock()
		text, grown := o.text.String(), o.grown
		o.mu.Unlock()
		if strings.Contains(text, mark) {
			return text, true
		}
		select {
		case <-grown:
		case <-done:
			// What it wrote last stands there by now.
			text = o.String()
			return text, strings.Contains(text, mark)
		case <-ctx.Done():
			return text, false
		}
	}
}
