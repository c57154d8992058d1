package preview

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openCache opens a cache of its own for t.
func openCache(t *testing.T, o Options) *Cache {
	t.Helper()
	return openCacheIn(t, t.TempDir(), o)
}

func openCacheIn(t *testing.T, dir string, o Options) *Cache {
	t.Helper()
	c, err := Open(dir, o)
	if err != nil {
		t.Fatalf("Open = %v", err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return c
}

type file struct{ *bytes.Reader }

func (file) Close() error { return nil }

// bytesSource is a source of data that counts how often it is opened.
func bytesSource(key string, data []byte, opened *atomic.Int32) Source {
	return Source{Key: key, Open: func() (io.ReadSeekCloser, int64, error) {
		if opened != nil {
			opened.Add(1)
		}
		return file{bytes.NewReader(data)}, int64(len(data)), nil
	}}
}

// scene is a smooth picture with a little noise, as a camera's.
func scene(w, h int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	seed := uint64(1)
	for y := range h {
		for x := range w {
			seed = seed*6364136223846793005 + 1442695040888963407
			n := uint8(seed >> 60)
			img.SetRGBA(x, y, color.RGBA{
				R: uint8(20+200*x/w) + n, G: uint8(20+200*y/h) + n, B: uint8(20+100*(x+y)/(w+h)) + n, A: 255,
			})
		}
	}
	return img
}

func encodeJPEG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := jpeg.Encode(&buf, img, &jpeg.Options{Quality: 90}); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func encodePNG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := png.Encode(&buf, img); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// imageOf returns the preview of s at size, decoded.
func imageOf(t *testing.T, c *Cache, s Source, size int) image.Image {
	t.Helper()
	f, _, err := c.Image(t.Context(), s, size)
	if err != nil {
		t.Fatalf("Image(%q, %d) = %v", s.Key, size, err)
	}
	defer f.Close()
	img, err := jpeg.Decode(f)
	if err != nil {
		t.Fatalf("decode preview of %q: %v", s.Key, err)
	}
	return img
}

func readAndClose(t *testing.T, f *os.File) []byte {
	t.Helper()
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
