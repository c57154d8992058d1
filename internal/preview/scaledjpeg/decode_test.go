package scaledjpeg

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// supported are files that Pillow wrote and Decode must read by itself.
var supported = []string{"420", "422", "444", "grey", "optimized", "restart"}

func TestDecodeAgreesWithFullDecoder(t *testing.T) {
	t.Parallel()
	for _, name := range supported {
		data := testFile(t, name)
		for _, denom := range []int{2, 4, 8} {
			if err := compare(data, denom, 2); err != nil {
				t.Errorf("Decode(%s, %d): %v", name, denom, err)
			}
		}
	}
}

func TestDecodeLeavesTheRestToOthers(t *testing.T) {
	t.Parallel()
	whole := testFile(t, "420")
	noScan := bytes.Index(whole, []byte{0xff, markerSOS})
	tests := map[string][]byte{
		"progressive":     testFile(t, "progressive"),
		"cmyk":            testFile(t, "cmyk"),
		"rgb":             testFile(t, "rgb"),
		"empty":           nil,
		"text":            []byte("no image"),
		"no scan":         whole[:noScan],
		"half":            whole[:noScan+(len(whole)-noScan)/2],
		"no end marker":   whole[:len(whole)-2],
		"one bit missing": append(bytes.Clone(whole[:len(whole)-4]), 0xff, markerEOI),
		"bytes too many":  append(bytes.Clone(whole[:len(whole)-2]), 1, 2, 0xff, markerEOI),
	}
	for name, data := range tests {
		if img, err := Decode(data, 4); !errors.Is(err, ErrUnsupported) {
			t.Errorf("Decode(%s) = %T, %v, want ErrUnsupported", name, img, err)
		}
	}
	if _, err := Decode(whole, 1); !errors.Is(err, ErrUnsupported) {
		t.Errorf("Decode(denom 1) = %v, want ErrUnsupported", err)
	}
}

// FuzzDecode holds that whatever Decode takes, image/jpeg takes as well, at the
// same size; and that nothing makes it panic.
func FuzzDecode(f *testing.F) {
	for _, name := range append([]string{"progressive", "rgb"}, supported...) {
		f.Add(testFile(f, name), byte(1))
	}
	f.Fuzz(func(t *testing.T, data []byte, scale byte) {
		cfg, err := jpeg.DecodeConfig(bytes.NewReader(data))
		if err != nil || cfg.Width*cfg.Height > 1<<20 {
			return
		}
		denom := []int{2, 4, 8}[scale%3]
		img, err := Decode(data, denom)
		if err != nil {
			return
		}
		full, err := jpeg.Decode(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("Decode took what image/jpeg refuses: %v", err)
		}
		b := full.Bounds()
		want := image.Rect(0, 0, ceilDiv(b.Dx(), denom), ceilDiv(b.Dy(), denom))
		if img.Bounds() != want {
			t.Fatalf("Decode bounds = %v, want %v", img.Bounds(), want)
		}
	})
}

// FuzzPixels holds that pictures of any size and quality come out as a full
// decoder followed by a reduction would have them.
func FuzzPixels(f *testing.F) {
	f.Add(uint8(61), uint8(45), uint8(90), uint8(0), uint64(1))
	f.Add(uint8(16), uint8(1), uint8(50), uint8(1), uint64(7))
	f.Fuzz(func(t *testing.T, w, h, quality, scale uint8, seed uint64) {
		img := image.NewRGBA(image.Rect(0, 0, 1+int(w), 1+int(h)))
		for y := range img.Rect.Dy() {
			for x := range img.Rect.Dx() {
				seed = seed*6364136223846793005 + 1442695040888963407
				n := uint8(seed >> 59)
				img.SetRGBA(x, y, color.RGBA{R: uint8(40+x/2) + n, G: uint8(40+y/2) + n, B: 100 + n, A: 255})
			}
		}
		var buf bytes.Buffer
		if err := jpeg.Encode(&buf, img, &jpeg.Options{Quality: 1 + int(quality)%100}); err != nil {
			t.Fatal(err)
		}
		if err := compare(buf.Bytes(), []int{2, 4, 8}[scale%3], 3); err != nil {
			t.Error(err)
		}
	})
}

// compare decodes data at 1/denom and holds each plane against image/jpeg's.
func compare(data []byte, denom, tolerance int) error {
	got, err := Decode(data, denom)
	if err != nil {
		return err
	}
	full, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("image/jpeg: %w", err)
	}
	if g, ok := full.(*image.Gray); ok {
		s := got.(*image.Gray)
		return comparePlane("grey", g.Pix, g.Stride, s.Pix, s.Stride, denom, tolerance)
	}
	want, s := full.(*image.YCbCr), got.(*image.YCbCr)
	if want.SubsampleRatio != s.SubsampleRatio {
		return fmt.Errorf("ratio = %v, want %v", s.SubsampleRatio, want.SubsampleRatio)
	}
	return errors.Join(
		comparePlane("Y", want.Y, want.YStride, s.Y, s.YStride, denom, tolerance),
		comparePlane("Cb", want.Cb, want.CStride, s.Cb, s.CStride, denom, tolerance),
		comparePlane("Cr", want.Cr, want.CStride, s.Cr, s.CStride, denom, tolerance))
}

// comparePlane reduces each block of the full plane by way of its transform. A
// block with clipped samples says nothing about its coefficients: left out.
func comparePlane(name string, full []byte, fullStride int, got []byte, stride, denom, tolerance int) error {
	n := 8 / denom
	if len(full)/fullStride/denom != len(got)/stride || fullStride/denom != stride {
		return fmt.Errorf("%s: %d samples of stride %d, from %d of %d", name, len(got), stride, len(full), fullStride)
	}
	for by := range len(full) / fullStride / 8 {
		for bx := range fullStride / 8 {
			want, clipped := reduceBlock(full[by*8*fullStride+bx*8:], fullStride, n)
			if clipped {
				continue
			}
			for i, v := range want {
				x, y := bx*n+i%n, by*n+i/n
				if g := got[y*stride+x]; math.Abs(float64(g)-min(max(v, 0), 255)) > float64(tolerance) {
					return fmt.Errorf("%s(%d, %d) = %d, want %.1f", name, x, y, g, v)
				}
			}
		}
	}
	return nil
}

// reduceBlock is the definition in floating point: the forward transform of 8x8
// samples, and the inverse of its n x n low frequencies.
func reduceBlock(pix []byte, stride, n int) (out []float64, clipped bool) {
	scale := func(u int) float64 {
		if u == 0 {
			return math.Sqrt(0.125)
		}
		return 0.5
	}
	cosine := func(x, u, n int) float64 {
		return scale(u) * math.Cos(float64(2*x+1)*float64(u)*math.Pi/float64(2*n))
	}
	freq := make([]float64, n*n)
	for v := range n {
		for u := range n {
			for i := range 64 {
				s := pix[i/8*stride+i%8]
				clipped = clipped || s == 0 || s == 255
				freq[v*n+u] += (float64(s) - 128) * cosine(i%8, u, 8) * cosine(i/8, v, 8)
			}
		}
	}
	out = make([]float64, n*n)
	for i := range out {
		out[i] = 128
		for v := range n {
			for u := range n {
				out[i] += freq[v*n+u] * cosine(i%n, u, n) * cosine(i/n, v, n)
			}
		}
	}
	return out, clipped
}

func BenchmarkDecode(b *testing.B) {
	img := image.NewRGBA(image.Rect(0, 0, 1440, 1080))
	seed := uint64(1)
	for i := range img.Pix {
		seed = seed*6364136223846793005 + 1442695040888963407
		img.Pix[i] = byte(i/4%1440/8) + byte(seed>>60)
	}
	var buf bytes.Buffer
	if err := jpeg.Encode(&buf, img, &jpeg.Options{Quality: 90}); err != nil {
		b.Fatal(err)
	}
	for _, denom := range []int{2, 4, 8} {
		b.Run(fmt.Sprint(denom), func(b *testing.B) {
			b.SetBytes(int64(buf.Len()))
			for b.Loop() {
				if _, err := Decode(buf.Bytes(), denom); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("image/jpeg", func(b *testing.B) {
		b.SetBytes(int64(buf.Len()))
		for b.Loop() {
			if _, err := jpeg.Decode(bytes.NewReader(buf.Bytes())); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func testFile(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".jpg"))
	if err != nil {
		tb.Fatal(err)
	}
	return data
}
