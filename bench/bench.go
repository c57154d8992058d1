package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// bench is one run: what it was asked for, and what it has made and started.
type bench struct {
	options
	dir      string // of everything, removed by close
	program  string // the built server
	postgres string // version, once a server was asked

	samples  lazy[*site]
	thousand lazy[*site]
	many     lazy[string] // a tree of five thousand scans
	paged    lazy[paged]  // a thousand scans whose pages others are held against
	plain    lazy[*bareServer]
	files    lazy[*nginxServer]
	closers  []func() error
}

// serverPackage is what is measured.
const serverPackage = "github.com/romi/plantdb-go/cmd/plantdb"

func newBench(ctx context.Context, o options) (*bench, error) {
	dir, err := os.MkdirTemp("", "plantdb-bench-")
	if err != nil {
		return nil, fmt.Errorf("make temporary directory: %w", err)
	}
	b := &bench{options: o, dir: dir, program: filepath.Join(dir, "plantdb")}
	// PostgreSQL is another user's where we are root, and has to pass.
	if err := os.Chmod(dir, 0o711); err != nil {
		return nil, errors.Join(fmt.Errorf("open temporary directory to PostgreSQL: %w", err), b.close())
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", b.program, serverPackage)
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is released
	if out, err := build.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("build the server: %w\n%s", err, out), b.close())
	}
	return b, nil
}

// onClose has fn run by close, before those that were given earlier.
func (b *bench) onClose(fn func() error) { b.closers = append(b.closers, fn) }

// close stops what was started, the last first, and removes what was made.
func (b *bench) close() error {
	var errs []error
	for _, fn := range slices.Backward(b.closers) {
		errs = append(errs, fn())
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

// lazy is made when the first figure asks for it, and then kept. Figures are
// measured one after the other, so nothing guards it.
type lazy[T any] struct {
	asked bool
	value T
	err   error
}

func (l *lazy[T]) get(fill func() (T, error)) (T, error) {
	if !l.asked {
		l.asked = true
		l.value, l.err = fill()
	}
	return l.value, l.err
}
