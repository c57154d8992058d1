package client_test

import (
	"io"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/romi/plantdb-go/client"
)

// counted makes bytes up to a number, and has the heap looked at on the way.
type counted struct {
	left int64
	seen func()
}

func (c *counted) Read(b []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(b)), c.left)
	clear(b[:n])
	if (c.left-n)>>22 != c.left>>22 { // every four mebibytes
		c.seen()
	}
	c.left -= n
	return int(n), nil
}

// TestStreamsBothWays holds that what is sent and what comes is never in
// memory but for some buffers. It runs alone, since others would be in the same
// heap.
func TestStreamsBothWays(t *testing.T) {
	const (
		size  = 256 << 20
		bound = 32 << 20
	)
	var high atomic.Uint64
	look := func() {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		high.Store(max(high.Load(), m.HeapAlloc))
	}
	c, _ := faulty(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = io.Copy(w, &counted{left: size, seen: look}) // the client counts
			return
		}
		form, err := r.MultipartReader()
		if err != nil {
			t.Errorf("the form = %v", err)
			return
		}
		var n int64
		for {
			part, err := form.NextPart()
			if err != nil {
				break
			}
			if got, _ := io.Copy(io.Discard, part); part.FormName() == "file" {
				n = got
			}
		}
		if n != size {
			t.Errorf("%d bytes of the file came, want %d", n, size)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"message": "done"}`) // the client may be gone
	})
	p := client.Path{Scan: "s", Fileset: "f", File: "large"}
	within := func(what string) {
		t.Helper()
		if got := high.Swap(0); got == 0 || got > bound {
			t.Errorf("%s of %d MiB has %d MiB in memory, want some and at most %d", what, size>>20, got>>20, bound>>20)
		}
	}
	runtime.GC()
	if err := c.Upload(t.Context(), p, "txt", &counted{left: size, seen: look}, nil); err != nil {
		t.Fatalf("Upload = %v", err)
	}
	within("an upload")
	if got, err := c.Download(t.Context(), p, io.Discard); err != nil || got.Bytes != size {
		t.Fatalf("Download = %+v, %v, want %d bytes", got, err, size)
	}
	within("a download")
}
