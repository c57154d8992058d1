package preview

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// heldSource blocks in Open until released.
type heldSource struct {
	data    []byte
	entered chan struct{} // one for each Open
	release chan struct{}
	opened  atomic.Int32
}

func newHeldSource(data []byte) *heldSource {
	return &heldSource{data: data, entered: make(chan struct{}, 100), release: make(chan struct{})}
}

func (h *heldSource) source(key string) Source {
	return Source{Key: key, Open: func() (io.ReadSeekCloser, int64, error) {
		h.opened.Add(1)
		h.entered <- struct{}{}
		<-h.release
		return file{bytes.NewReader(h.data)}, int64(len(h.data)), nil
	}}
}

// awaitAskers returns once n wait for previews.
func awaitAskers(t *testing.T, c *Cache, n int) {
	t.Helper()
	for t.Context().Err() == nil {
		waiting := 0
		c.mu.Lock()
		for _, f := range c.flights {
			waiting += f.askers
		}
		c.mu.Unlock()
		if waiting == n {
			return
		}
		runtime.Gosched()
	}
}

func TestManyAskersMakeItOnce(t *testing.T) {
	t.Parallel()
	c := openCache(t, Options{})
	held := newHeldSource(encodeJPEG(t, scene(300, 200)))
	const askers = 20
	results := make([][]byte, askers)
	var wg sync.WaitGroup
	for i := range askers {
		wg.Go(func() {
			f, info, err := c.Image(t.Context(), held.source("one"), 100)
			if err != nil {
				t.Errorf("Image = %v", err)
				return
			}
			if results[i] = readAndClose(t, f); int64(len(results[i])) != info.Size() {
				t.Errorf("file of %d bytes, FileInfo says %d", len(results[i]), info.Size())
			}
		})
	}
	awaitAskers(t, c, askers)
	close(held.release)
	wg.Wait()
	for i := range results {
		if len(results[i]) == 0 || !bytes.Equal(results[i], results[0]) {
			t.Errorf("asker %d got another preview than asker 0", i)
		}
	}
	if n := held.opened.Load(); n != 1 {
		t.Errorf("source opened %d times, want 1", n)
	}
}

func TestAskerThatLeavesFailsNobody(t *testing.T) {
	t.Parallel()
	c := openCache(t, Options{})
	held := newHeldSource(encodeJPEG(t, scene(300, 200)))
	leaving, leave := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	ask := func(ctx context.Context, to chan error) {
		f, _, err := c.Image(ctx, held.source("one"), 100)
		if err == nil {
			err = f.Close()
		}
		to <- err
	}
	go ask(leaving, first)
	<-held.entered
	go ask(t.Context(), second)
	awaitAskers(t, c, 2)
	leave()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("Image of who left = %v, want context.Canceled", err)
	}
	close(held.release)
	if err := <-second; err != nil {
		t.Errorf("Image of who stayed = %v", err)
	}
	if n := held.opened.Load(); n != 1 {
		t.Errorf("source opened %d times, want 1", n)
	}
}

// What nobody waits for any more is not made, and can be asked for anew.
func TestAllAskersLeaveBeforeTheirTurn(t *testing.T) {
	t.Parallel()
	c := openCache(t, Options{Workers: 1})
	data := encodeJPEG(t, scene(300, 200))
	held := newHeldSource(data)
	busy := make(chan error, 1)
	go func() {
		f, _, err := c.Image(t.Context(), held.source("busy"), 100)
		if err == nil {
			err = f.Close()
		}
		busy <- err
	}()
	<-held.entered
	var opened atomic.Int32
	leaving, leave := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, _, err := c.Image(leaving, bytesSource("queued", data, &opened), 100)
		gone <- err
	}()
	awaitAskers(t, c, 2)
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("Image of who left = %v, want context.Canceled", err)
	}
	close(held.release)
	if err := <-busy; err != nil {
		t.Errorf("Image of who was busy = %v", err)
	}
	imageOf(t, c, bytesSource("queued", data, &opened), 100)
	if n := opened.Load(); n != 1 {
		t.Errorf("source opened %d times, want once, by the second asker", n)
	}
}

func TestAtMostWorkersAtATime(t *testing.T) {
	t.Parallel()
	c := openCache(t, Options{Workers: 2})
	held := newHeldSource(encodeJPEG(t, scene(64, 64)))
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			f, _, err := c.Image(t.Context(), held.source(fmt.Sprint(i)), 32)
			if err != nil {
				t.Errorf("Image = %v", err)
				return
			}
			f.Close()
		})
	}
	awaitAskers(t, c, 6)
	<-held.entered
	<-held.entered
	if n := held.opened.Load(); n != 2 {
		t.Errorf("%d sources open, want 2", n)
	}
	close(held.release)
	wg.Wait()
}

func TestAloneIsAlone(t *testing.T) {
	t.Parallel()
	c := openCache(t, Options{Workers: 3})
	var wg sync.WaitGroup
	var busy atomic.Int32
	for i := range 30 {
		wg.Go(func() {
			turn, err := c.take(t.Context())
			if err != nil {
				t.Errorf("take = %v", err)
				return
			}
			defer turn.release()
			if i%2 == 0 {
				busy.Add(1)
				runtime.Gosched()
				busy.Add(-1)
				return
			}
			if err := turn.alone(t.Context()); err != nil {
				t.Errorf("alone = %v", err)
				return
			}
			if n := busy.Load(); n != 0 {
				t.Errorf("%d others busy, want none", n)
			}
		})
	}
	wg.Wait()
}

func TestPreviewsSurviveARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var opened atomic.Int32
	s := bytesSource("one", encodeJPEG(t, scene(300, 200)), &opened)
	first := openCacheIn(t, dir, Options{})
	imageOf(t, first, s, 100)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := openCacheIn(t, dir, Options{})
	for range 3 {
		imageOf(t, second, s, 100)
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("source opened %d times, want 1", n)
	}
}

func TestDamageIsNeverServed(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(path string) error{
		"a byte changed": func(path string) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			data[len(data)/2] ^= 1
			return os.WriteFile(path, data, 0o600)
		},
		"torn":    func(path string) error { return os.Truncate(path, 100) },
		"removed": os.Remove,
	} {
		for _, restart := range []bool{false, true} {
			dir := t.TempDir()
			c := openCacheIn(t, dir, Options{})
			var opened atomic.Int32
			s := bytesSource("one", encodeJPEG(t, scene(300, 200)), &opened)
			want := imageOf(t, c, s, 100)
			if restart {
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
			}
			path := onlyFile(t, dir)
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
			// The write may fall into the clock tick of the file's making.
			later := time.Now().Add(time.Minute)
			if err := os.Chtimes(path, later, later); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			if restart {
				c = openCacheIn(t, dir, Options{})
			}
			if got := imageOf(t, c, s, 100); psnr(got, want) < 90 {
				t.Errorf("%s, restart %t: another picture was served", name, restart)
			}
			if n := opened.Load(); n != 2 {
				t.Errorf("%s, restart %t: source opened %d times, want 2", name, restart, n)
			}
			onlyFile(t, dir)
		}
	}
}

func TestEvictionTakesTheLeastRecentlyRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := encodeJPEG(t, scene(300, 200))
	probe := openCache(t, Options{})
	f, info, err := probe.Image(t.Context(), bytesSource("probe", data, nil), 100)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	c := openCacheIn(t, dir, Options{MaxBytes: 2*info.Size() + info.Size()/2})
	var opened [3]atomic.Int32
	read := func(i int) { imageOf(t, c, bytesSource(fmt.Sprint(i), data, &opened[i]), 100) }
	for _, i := range []int{0, 1, 0, 2, 0, 1} { // 2 drops 1, and 1 drops 2
		read(i)
	}
	for i, want := range []int32{1, 2, 1} {
		if n := opened[i].Load(); n != want {
			t.Errorf("source %d opened %d times, want %d", i, n, want)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 2 {
		t.Errorf("%d files kept, want 2", len(files))
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = openCacheIn(t, dir, Options{MaxBytes: 1})
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%d files kept under a smaller bound, want the newest", len(files))
	}
	read(2) // larger than the bound, and served all the same
}

func TestChangedSourceIsNotShownOld(t *testing.T) {
	t.Parallel()
	c := openCache(t, Options{})
	dark := image.NewGray(image.Rect(0, 0, 64, 64))
	old := imageOf(t, c, bytesSource("path|1", encodeJPEG(t, scene(64, 64)), nil), 32)
	changed := imageOf(t, c, bytesSource("path|2", encodeJPEG(t, dark), nil), 32)
	if psnr(old, changed) > 20 {
		t.Error("the preview of the changed source looks like the old one")
	}
}

func TestOpenMindsWhatIsThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old := time.Now().Add(-2 * tempAge)
	for _, name := range []string{"tmp-old", "tmp-new", "notes.txt", "00-00-00-00"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(filepath.Join(dir, "tmp-old"), old, old); err != nil {
		t.Fatal(err)
	}
	openCacheIn(t, dir, Options{})
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	if got, want := strings.Join(names, " "), "00-00-00-00 notes.txt tmp-new"; got != want {
		t.Errorf("files after Open = %q, want %q", got, want)
	}
}

func TestFailureLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := openCacheIn(t, dir, Options{Log: slog.New(slog.DiscardHandler)})
	boom := func(_ context.Context, _ *turn, w io.Writer) error {
		if _, err := w.Write([]byte("half")); err != nil {
			return err
		}
		panic("boom")
	}
	if _, _, err := c.get(t.Context(), key{1}, boom); err == nil || !strings.Contains(err.Error(), "boom") {
		t.Errorf("get(panicking) = %v, want its panic as an error", err)
	}
	if _, _, err := c.Image(t.Context(), bytesSource("bad", []byte("x"), nil), 100); !errors.Is(err, ErrDamagedImage) {
		t.Errorf("Image(damaged) = %v, want ErrDamagedImage", err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("%d files remain, want none", len(files))
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	c := openCache(t, Options{Workers: 1})
	held := newHeldSource(encodeJPEG(t, scene(64, 64)))
	running, queued, closed := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	ask := func(key string, to chan error) {
		f, _, err := c.Image(t.Context(), held.source(key), 32)
		if err == nil {
			f.Close()
		}
		to <- err
	}
	go ask("running", running)
	<-held.entered
	go ask("queued", queued)
	awaitAskers(t, c, 2)
	go func() { closed <- c.Close() }()
	if err := <-queued; !errors.Is(err, ErrClosed) {
		t.Errorf("Image that waited for its turn = %v, want ErrClosed", err)
	}
	close(held.release)
	if err := <-closed; err != nil {
		t.Errorf("Close = %v", err)
	}
	select { // made or not: what counts is that Close waited and it ends
	case err := <-running:
		t.Logf("the preview that was being made: %v", err)
	case <-t.Context().Done():
	}
	if _, _, err := c.Image(t.Context(), held.source("late"), 32); !errors.Is(err, ErrClosed) {
		t.Errorf("Image after Close = %v, want ErrClosed", err)
	}
}

func BenchmarkImageKept(b *testing.B) {
	c, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	s := bytesSource("one", encodeJPEG(b, scene(300, 200)), nil)
	for b.Loop() {
		f, _, err := c.Image(b.Context(), s, 150)
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

// onlyFile returns the one file in dir.
func onlyFile(t *testing.T, dir string) string {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files kept, %v, want one", len(files), err)
	}
	return filepath.Join(dir, files[0].Name())
}
