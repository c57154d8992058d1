package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"
)

const (
	// startTime bounds how long a program may take until it listens; the
	// first start of a server makes its samples and its database.
	startTime = 2 * time.Minute
	// stopTime bounds how long it may take to end once it was asked to.
	stopTime = 40 * time.Second
)

// process is a program that runs until stop.
type process struct {
	name string
	cmd  *exec.Cmd
	says announcement
	log  string // file of its standard error
	quit context.CancelFunc
	done chan struct{} // closed once it has ended
	err  error         // of its end; read it after done
}

// start runs a program of ours. It gets no setting from the environment but
// those given here. Where it reads its standard input, that ends with us.
func (b *bench) start(ctx context.Context, program string, env []string, args ...string) (*process, error) {
	name := filepath.Base(program) + " " + args[0]
	log, err := os.CreateTemp(b.dir, "*.log")
	if err != nil {
		return nil, fmt.Errorf("make log of %s: %w", name, err)
	}
	defer log.Close() // the program has a descriptor of its own
	// Not ended by ctx: it ends when its owner has let go of it.
	life, quit := context.WithCancel(context.WithoutCancel(ctx))
	p := &process{name: name, log: log.Name(), quit: quit, done: make(chan struct{}), says: announcement{address: make(chan string, 1)}}
	p.cmd = exec.CommandContext(life, program, args...)
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = stopTime
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + b.dir}, env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.says, log
	// Ctrl-C is for us, who then stop it in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	_, err = p.cmd.StdinPipe() // never written to; Wait closes it
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		quit()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// stop asks the program to end and returns once it has.
func (p *process) stop() error {
	p.quit()
	<-p.done
	if p.err != nil && !errors.Is(p.err, context.Canceled) {
		return p.failure("ended badly")
	}
	return nil
}

// address returns where the program listens, once it says so.
func (p *process) address(ctx context.Context) (string, error) {
	timer := time.NewTimer(startTime)
	defer timer.Stop()
	select {
	case a := <-p.says.address:
		return a, nil
	case <-p.done:
		return "", p.failure("ended before it listened")
	case <-timer.C:
		return "", p.failure("does not listen")
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// failure is an error with the last words of the program.
func (p *process) failure(what string) error {
	const lastWords = 2000
	said, err := os.ReadFile(p.log)
	if err != nil {
		said = []byte(err.Error())
	}
	said = said[max(0, len(said)-lastWords):]
	return fmt.Errorf("%s %s, its last words: %s", p.name, what, said)
}

// announcement is a standard output in which a program says where it listens.
type announcement struct {
	mu      sync.Mutex
	text    []byte
	told    bool
	address chan string // of capacity one
}

var listening = regexp.MustCompile(`(http://127\.0\.0\.1:\d+)\S*\s`)

// Write implements io.Writer.
func (a *announcement) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.told {
		return len(p), nil
	}
	a.text = append(a.text, p...)
	if found := listening.FindSubmatch(a.text); found != nil {
		a.told = true
		a.address <- string(found[1])
	}
	return len(p), nil
}

// ended is what is known of a program that ran to its end.
type ended struct {
	took time.Duration
	peak float64 // of its resident memory, in MB
}

// finish runs the server's program with args to its end.
func (b *bench) finish(ctx context.Context, args ...string) (ended, error) {
	began := time.Now()
	p, err := b.start(ctx, b.program, nil, args...)
	if err != nil {
		return ended{}, err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var e ended
	for {
		select {
		case <-tick.C:
			// It only grows, so the last before the end is near enough; at
			// the very end there is none.
			if peak, err := peakMemory(p.cmd.Process.Pid); err == nil {
				e.peak = peak
			}
		case <-p.done:
			e.took = time.Since(began)
			if p.err != nil {
				return e, p.failure("failed")
			}
			return e, nil
		case <-ctx.Done():
			return e, errors.Join(ctx.Err(), p.stop())
		}
	}
}

// peakMemory returns the most MB that were resident of a process so far.
func peakMemory(pid int) (float64, error) { return memoryOf(pid, "VmHWM:") }

// memoryOf returns a line of the process' status in MB.
func memoryOf(pid int, line string) (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read memory of process: %w", err)
	}
	defer f.Close()
	status, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return 0, fmt.Errorf("read memory of process: %w", err)
	}
	var kilobytes float64
	_, after, _ := bytes.Cut(status, []byte(line))
	if _, err := fmt.Sscan(string(after), &kilobytes); err != nil {
		return 0, fmt.Errorf("read memory of process: %w", err)
	}
	return kilobytes * 1024 / 1e6, nil
}
