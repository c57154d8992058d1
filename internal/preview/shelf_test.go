package preview

import (
	"bytes"
	"image"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// What somebody claims stays on the shelf, the rest is left over; a cache that is
// open makes again what was removed.
func TestShelf(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "previews")
	empty, err := OpenShelf(dir)
	if err != nil {
		t.Fatal(err)
	}
	empty.Claim("x.jpg", "v")
	if stale, damaged, n, err := empty.Left(t.Context(), true); len(stale)+len(damaged) > 0 || n != 0 || err != nil {
		t.Errorf("Left() without a directory = %q, %q, %d, %v", stale, damaged, n, err)
	}
	c, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	data := encodeJPEG(t, image.NewGray(image.Rect(0, 0, 300, 200)))
	source := func(key string) Source {
		return Source{Key: key, Open: func() (io.ReadSeekCloser, int64, error) {
			return file{bytes.NewReader(data)}, int64(len(data)), nil
		}}
	}
	show := func(key string, size int) string {
		f, _, err := c.Image(t.Context(), source(key), size)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return filepath.Base(f.Name())
	}
	show("kept", Thumb)
	bad := show("kept", Large)
	want := []string{show("gone", Thumb), show("kept", 77)}
	for name, age := range map[string]time.Duration{"tmp-old": 2 * time.Hour, "tmp-young": 0, "foreign": 99 * time.Hour} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("1234"), 0o600); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
	}
	want = append(want, "tmp-old")
	info, err := os.Stat(filepath.Join(dir, bad))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, bad), make([]byte, info.Size()), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := OpenShelf(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	s.Claim("x.jpg", "kept")
	s.Claim("x.jpg", "another")
	s.Claim("x.ply", "gone")
	slices.Sort(want)
	stale, damaged, n, err := s.Left(t.Context(), true)
	if err != nil || !slices.Equal(stale, want) || !slices.Equal(damaged, []string{bad}) || n <= 4 {
		t.Errorf("Left() = %q, %q, %d, %v, want %q and %q", stale, damaged, n, err, want, bad)
	}
	if _, damaged, _, _ := s.Left(t.Context(), false); len(damaged) != 0 {
		t.Errorf("Left(false) reads: %q", damaged)
	}
	if err := s.Remove(append(stale, damaged...)); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(stale); err != nil {
		t.Errorf("Remove() of what is gone = %v", err)
	}
	if now := show("gone", Thumb); !slices.Contains(stale, now) {
		if _, err := os.Stat(filepath.Join(dir, now)); err != nil {
			t.Errorf("the preview that was removed is not made again: %v", err)
		}
	}
}
