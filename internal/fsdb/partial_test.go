package fsdb

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
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

// receiveText has p receive all of a text, and says what failed.
func receiveText(p *Partial, text string) error {
	broke, err := p.Receive(strings.NewReader(text), 1, time.Hour, nil)
	return errors.Join(broke, err)
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
	err := receiveText(p, "first,")
	at, state, syncErr := p.Sync()
	if err != nil || syncErr != nil || at != 6 {
		t.Fatalf("Receive, Sync = %v, %v at %d, want 6", err, syncErr, at)
	}
	if err := receiveText(p, "never acknowledged"); err != nil {
		t.Fatal(err)
	}
	p.Close()
	p = openPartial(t, tree, at, state)
	if err := receiveText(p, "second"); err != nil {
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
	if err := receiveText(p, "x"); !errors.Is(err, ErrNoSpace) {
		t.Errorf("Receive on a full disk = %v, want ErrNoSpace", err)
	}
	tree.disk = rootDisk{tree.root}
	if at, _, err := p.Sync(); err == nil {
		t.Errorf("Sync after a Receive that failed acknowledges %d bytes, of which it has no digest", at)
	}
	if err := p.Continue(0, nil); err != nil {
		t.Fatalf("Continue = %v", err)
	}
	tree.disk = brokenDisk{rootDisk: rootDisk{tree.root}, syncs: syscall.EIO}
	if _, _, err := p.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("Sync on a broken disk = %v, want EIO: nothing may be acknowledged", err)
	}
}

// countedSyncs counts the syncs of files that are there, and fails from one on.
type countedSyncs struct {
	rootDisk
	syncs    *atomic.Int64
	failFrom int64
}

func (d countedSyncs) sync(f *os.File) error {
	if n := d.syncs.Add(1); d.failFrom > 0 && n >= d.failFrom {
		return syscall.EIO
	}
	return d.rootDisk.sync(f)
}

// What is kept beside the writing is durable and goes on from there, whatever
// ends the writing: the content, its reader, the disk or who keeps.
func TestPartialKeeps(t *testing.T) {
	t.Parallel()
	const step = 2 * blockSize
	content := make([]byte, 21*blockSize+7)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(content)
	cut, refused := errors.New("cut"), errors.New("refused")
	for _, tt := range []struct {
		name     string
		end      error // of the reader, in place of its end
		refuse   int   // the keep that fails
		failFrom int64 // the sync that fails
		want     error
	}{
		{name: "whole"},
		{name: "cut", end: cut, want: cut},
		{name: "not kept", refuse: 2, want: refused},
		{name: "not synced", failFrom: 2, want: syscall.EIO},
	} {
		tree := newTree(t)
		if err := tree.CreatePartial(ctx, "u"); err != nil {
			t.Fatal(err)
		}
		p := openPartial(t, tree, 0, nil)
		var syncs atomic.Int64
		tree.disk = countedSyncs{rootDisk{tree.root}, &syncs, tt.failFrom}
		var at int64
		var state []byte
		kept := 0
		r := io.Reader(bytes.NewReader(content))
		if tt.end != nil {
			r = io.MultiReader(r, iotest.ErrReader(tt.end))
		}
		// The reader waits for what is kept, so that there is always a next step.
		waiting := readerFunc(func(b []byte) (int, error) { time.Sleep(time.Millisecond); return r.Read(b) })
		broke, err := p.Receive(waiting, step, time.Hour, func(now int64, digest []byte) error {
			if kept++; kept == tt.refuse {
				return refused
			}
			if now < at+step || int64(kept) != syncs.Load() {
				t.Errorf("%s: kept %d bytes after %d, after %d syncs", tt.name, now, at, syncs.Load())
			}
			at, state = now, digest
			return nil
		})
		if got := errors.Join(broke, err); !errors.Is(got, tt.want) {
			t.Errorf("%s: Receive = %v, want %v", tt.name, got, tt.want)
		}
		if failed := tt.want != nil && tt.end == nil; failed != (err != nil) {
			t.Errorf("%s: Receive failed with %v beside its reader", tt.name, err)
		} else if failed {
			if _, _, err := p.Sync(); err == nil {
				t.Errorf("%s: Sync after it acknowledges what may not be there", tt.name)
			}
		} else if at, state, err = p.Sync(); err != nil || at != int64(len(content)) {
			t.Errorf("%s: Sync = %d, %v: not all that came was written", tt.name, at, err)
		}
		if kept == 0 {
			t.Fatalf("%s: nothing was kept on the way", tt.name)
		}
		p.Close()
		tree.disk = rootDisk{tree.root}
		p = openPartial(t, tree, at, state)
		if err := receiveText(p, string(content[at:])); err != nil {
			t.Fatal(err)
		}
		s, err := p.Stage()
		if err != nil {
			t.Fatal(err)
		}
		if s.Size() != int64(len(content)) || s.SHA256() != sha256.Sum256(content) {
			t.Errorf("%s: what went on from %d holds %d bytes of digest %x", tt.name, at, s.Size(), s.SHA256())
		}
		p.Close()
	}
}

type readerFunc func(b []byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }
