package preview

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"syscall"
	"testing"
)

// full is an error of a disk without room, as a write returns it.
func full() error { return &fsError{} }

type fsError struct{}

func (*fsError) Error() string { return "write: no space left on device" }
func (*fsError) Unwrap() error { return syscall.ENOSPC }

func TestPreviewIsServedWhenTheDiskIsFull(t *testing.T) {
	t.Parallel()
	c, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := []byte("a preview")
	release := make(chan struct{})
	var mu sync.Mutex
	calls := 0
	mk := func(_ context.Context, _ *turn, w io.Writer) error {
		mu.Lock()
		calls++
		first := calls%2 == 1
		mu.Unlock()
		if first { // into the store
			<-release
			return full()
		}
		_, err := w.Write(want)
		return err
	}
	k := keyOf("test", "source", "1")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			f, info, err := c.get(t.Context(), k, mk)
			if err != nil {
				t.Errorf("get with a full disk = %v, want the preview", err)
				return
			}
			defer f.Close()
			got, err := io.ReadAll(f)
			if err != nil || !bytes.Equal(got, want) || info.Size() != int64(len(want)) {
				t.Errorf("get = %q of %d bytes, %v, want %q", got, info.Size(), err, want)
			}
		})
	}
	close(release)
	wg.Wait()
	if _, _, kept := c.files.open(k); kept {
		t.Error("the preview is kept, want it made again for the next")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.flights) != 0 {
		t.Errorf("%d flights are left, want none", len(c.flights))
	}
}

func TestPreviewTooLargeForMemoryIsRefused(t *testing.T) {
	t.Parallel()
	c, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	calls := 0
	_, _, err = c.get(t.Context(), keyOf("test", "source", "1"), func(_ context.Context, _ *turn, w io.Writer) error {
		if calls++; calls == 1 {
			return full()
		}
		part := make([]byte, 1<<20)
		for range maxLoose>>20 + 1 {
			if _, err := w.Write(part); err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, errNoSpace) {
		t.Errorf("get of a huge preview with a full disk = %v, want errNoSpace", err)
	}
}

func TestRoom(t *testing.T) {
	t.Parallel()
	c, err := Open(t.TempDir(), Options{MaxBytes: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !c.Room(1) {
		t.Error("an empty cache has no room")
	}
	f, _, err := c.get(t.Context(), keyOf("test", "source", "1"), func(_ context.Context, _ *turn, w io.Writer) error {
		_, err := w.Write(make([]byte, 60))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if c.Room(0.5) || !c.Room(0.4) {
		t.Errorf("60 of 100 bytes taken: Room(0.5) = %v, Room(0.4) = %v, want false, true", c.Room(0.5), c.Room(0.4))
	}
}
