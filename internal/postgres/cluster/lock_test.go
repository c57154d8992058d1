package cluster

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func take(t *testing.T, path string, mode Mode) *Lock {
	t.Helper()
	l, err := TryLock(path, mode)
	if err != nil {
		t.Fatalf("TryLock = %v", err)
	}
	return l
}

func drop(t *testing.T, l *Lock) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	for _, tt := range []struct {
		held, asked Mode
		want        error
	}{
		{Exclusive, Exclusive, ErrLocked},
		{Exclusive, Shared, ErrLocked},
		{Shared, Exclusive, ErrLocked},
		{Shared, Shared, nil},
	} {
		held := take(t, path, tt.held)
		asked, err := TryLock(path, tt.asked)
		if !errors.Is(err, tt.want) {
			t.Errorf("TryLock(%v) while %v = %v, want %v", tt.asked, tt.held, err, tt.want)
		}
		if err == nil {
			drop(t, asked)
		}
		drop(t, held)
		drop(t, take(t, path, Exclusive))
	}
	if _, err := TryLock(filepath.Join(path, "below"), Exclusive); err == nil || errors.Is(err, ErrLocked) {
		t.Errorf("TryLock(impossible) = %v, want an error that is not ErrLocked", err)
	}
}

func TestWaitLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	held := take(t, path, Exclusive)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := WaitLock(ctx, path, Exclusive); !errors.Is(err, ErrLocked) {
		t.Errorf("WaitLock(held all the time) = %v, want ErrLocked", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { drop(t, held) })
	l, err := WaitLock(t.Context(), path, Exclusive)
	if err != nil {
		t.Fatalf("WaitLock(held for a while) = %v, want nil", err)
	}
	drop(t, l)
}

// A process that inherited the lock holds it after we let go, until it ends.
func TestLockIsInherited(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	c := Cluster{Guard: take(t, path, Exclusive)}
	cmd := c.command("sh", "-c", "read nothing")
	cmd.Path = "/bin/sh"
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Spawn(cmd)
	if err != nil {
		t.Fatal(err)
	}
	drop(t, c.Guard)
	if _, err := TryLock(path, Exclusive); !errors.Is(err, ErrLocked) {
		t.Errorf("TryLock while the child lives = %v, want ErrLocked", err)
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if _, ok := errors.AsType[*exec.ExitError](p.Err()); !ok {
		t.Errorf("Err() = %v, want that read found nothing", p.Err())
	}
	drop(t, take(t, path, Exclusive))
}

func TestSpawnOfNothing(t *testing.T) {
	t.Parallel()
	cmd := Cluster{}.command("no-such-program")
	if _, err := Spawn(cmd); err == nil {
		t.Error("Spawn(no such program) = nil, want an error")
	}
}
