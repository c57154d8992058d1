package cluster

import (
	"os"
	"os/exec"
	"runtime"
)

// Process is a child that does not outlive us.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait; read it after done
}

// Spawn starts cmd and has the kernel interrupt it when we are gone, however
// we went (Linux; elsewhere it may outlive us). PostgreSQL takes the
// interrupt as an order to shut down fast.
func Spawn(cmd *exec.Cmd) (*Process, error) {
	dieWithParent(cmd.SysProcAttr)
	// A Ctrl-C in the terminal is for us, who still have to write down what
	// is under way.
	cmd.SysProcAttr.Setpgid = true
	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// To the kernel the parent is the thread, not the process: this one
		// must live as long as the child. It is never unlocked, so it ends
		// with the goroutine.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// Done is closed once the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says how the process ended; nil is success. Call it after Done.
func (p *Process) Err() error { return p.err }

// Signal sends sig unless the process has ended.
func (p *Process) Signal(sig os.Signal) {
	// The only failure is that there is nothing left to signal.
	_ = p.cmd.Process.Signal(sig)
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }
