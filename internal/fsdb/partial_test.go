package fsdb

import (
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func openPartial(t *testing.T, tree *Tree, at int64, state []byte) *Partial {
	t.Helper()
	p, err := tree.OpenPartial("u")
	if err != nil {
		t.Fatalf("OpenPartial = %v", err)
	}
	if err := p.Continue(at, state); err != nil {
		t.Fatalf("Continue(%d) = %v", at, err)
	}
	return p
}

// What was synced goes on, what came after it is dropped, and the digest is
// that of the whole.
func TestPartial(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	if err := tree.CreatePartial(ctx, "u"); err != nil {
		t.Fatal(err)
	}
	p := openPartial(t, tree, 0, nil)
	if _, err := tree.OpenPartial("u"); !errors.Is(err, ErrPartialBusy) {
		t.Errorf("OpenPartial beside another = %v, want ErrPartialBusy", err)
	}
	_, err := io.WriteString(p, "first,")
	at, state, syncErr := p.Sync()
	if err != nil || syncErr != nil || at != 6 {
		t.Fatalf("Write, Sync = %v, %v at %d, want 6", err, syncErr, at)
	}
	if _, err := io.WriteString(p, "never acknowledged"); err != nil {
		t.Fatal(err)
	}
	p.Close()
	p = openPartial(t, tree, at, state)
	if _, err := io.WriteString(p, "second"); err != nil {
		t.Fatal(err)
	}
	if at, state, err = p.Sync(); err != nil || at != 12 {
		t.Fatalf("Sync = %d, %v, want 12", at, err)
	}
	p.Close()
	p = openPartial(t, tree, at, state)
	defer p.Close()
	for range 2 { // as often as it takes
		s, err := p.Stage()
		if err != nil {
			t.Fatal(err)
		}
		if s.Size() != 12 || s.SHA256() != sha256.Sum256([]byte("first,second")) {
			t.Errorf("staged %d bytes of digest %x", s.Size(), s.SHA256())
		}
		if err := s.Discard(); err != nil {
			t.Error(err)
		}
	}
	if got := below(t, filepath.Join(tree.Dir(), Hidden))["uploads/u"]; got != "first,second" {
		t.Errorf("the bytes are %q", got)
	}
	if err := p.Continue(13, state); err == nil {
		t.Error("Continue behind the end = nil: acknowledged bytes are lost")
	}
	if err := p.Continue(12, []byte("no state")); err == nil {
		t.Error("Continue with a state that is none = nil")
	}
}

func TestPartialsAreListedAndRemoved(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	for _, id := range []string{"", "..", "a/b", ".x"} {
		if err := tree.CreatePartial(ctx, id); !errors.Is(err, ErrNoPartial) {
			t.Errorf("CreatePartial(%q) = %v, want ErrNoPartial", id, err)
		}
		if _, err := tree.OpenPartial(id); !errors.Is(err, ErrNoPartial) {
			t.Errorf("OpenPartial(%q) = %v, want ErrNoPartial", id, err)
		}
	}
	if ids, err := tree.Partials(0); err != nil || ids != nil {
		t.Errorf("Partials of none = %v, %v", ids, err)
	}
	for _, id := range []string{"old", "young"} {
		if err := tree.CreatePartial(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(tree.Dir(), partialsDir, "old"), then, then); err != nil {
		t.Fatal(err)
	}
	if ids, err := tree.Partials(time.Minute); err != nil || len(ids) != 1 || ids[0] != "old" {
		t.Errorf("Partials = %v, %v, want [old]", ids, err)
	}
	for range 2 {
		if err := tree.RemovePartial("old"); err != nil {
			t.Errorf("RemovePartial = %v", err)
		}
	}
	if _, err := tree.OpenPartial("old"); !errors.Is(err, ErrNoPartial) {
		t.Errorf("OpenPartial of what was removed = %v, want ErrNoPartial", err)
	}
}

// brokenDisk fails what is asked of a file that is there.
type brokenDisk struct {
	rootDisk
	writes, syncs error
}

func (d brokenDisk) write(f *os.File, p []byte) (int, error) {
	if d.writes != nil {
		return 0, d.writes
	}
	return d.rootDisk.write(f, p)
}

func (d brokenDisk) sync(f *os.File) error {
	if d.syncs != nil {
		return d.syncs
	}
	return d.rootDisk.sync(f)
}

func TestPartialOnABrokenDisk(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	if err := tree.CreatePartial(ctx, "u"); err != nil {
		t.Fatal(err)
	}
	p := openPartial(t, tree, 0, nil)
	defer p.Close()
	tree.disk = brokenDisk{rootDisk: rootDisk{tree.root}, writes: syscall.ENOSPC}
	if _, err := io.WriteString(p, "x"); !errors.Is(err, ErrNoSpace) {
		t.Errorf("Write on a full disk = %v, want ErrNoSpace", err)
	}
	tree.disk = rootDisk{tree.root}
	if at, _, err := p.Sync(); err == nil {
		t.Errorf("Sync after a Write that failed acknowledges %d bytes, of which it has no digest", at)
	}
	if err := p.Continue(0, nil); err != nil {
		t.Fatalf("Continue = %v", err)
	}
	tree.disk = brokenDisk{rootDisk: rootDisk{tree.root}, syncs: syscall.EIO}
	if _, _, err := p.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("Sync on a broken disk = %v, want EIO: nothing may be acknowledged", err)
	}
}
