package preview

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/color/palette"
	"image/draw"
	"image/jpeg"
	"io"
	"math"
	"runtime"
	"slices"
	"testing"

	xdraw "golang.org/x/image/draw"
	"golang.org/x/image/tiff"
)

func TestImageSize(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		px   int
		orig bool
		want error
	}{
		{"", 150, false, nil},
		{"thumb", 150, false, nil},
		{"large", 1500, false, nil},
		{"orig", 0, true, nil},
		{"16", 16, false, nil},
		{"4096", 4096, false, nil},
		{"15", 15, false, ErrBadSize},
		{"4097", 4097, false, ErrBadSize},
		{"-150", -150, false, ErrBadSize},
		{"big", 0, false, ErrBadSize},
		{"1e3", 0, false, ErrBadSize},
		{"99999999999999999999", math.MaxInt, false, ErrBadSize},
	}
	for _, tt := range tests {
		px, orig, err := ImageSize(tt.in)
		if orig != tt.orig || !errors.Is(err, tt.want) || err == nil && px != tt.px {
			t.Errorf("ImageSize(%q) = %d, %t, %v, want %d, %t, %v", tt.in, px, orig, err, tt.px, tt.orig, tt.want)
		}
	}
}

// The sizes are those that Pillow 13's Image.thumbnail gave.
func TestFitIsPillows(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ w, h, size, wantW, wantH int }{
		{1440, 1080, 150, 150, 113},
		{1440, 1080, 1500, 1440, 1080},
		{1440, 1080, 1000, 1000, 750},
		{1080, 1440, 150, 112, 150},
		{1620, 1080, 150, 150, 100},
		{1920, 1080, 150, 150, 84},
		{4000, 3000, 150, 150, 113},
		{4056, 3040, 150, 150, 112},
		{640, 480, 150, 150, 113},
		{100, 80, 150, 100, 80},
		{150, 150, 150, 150, 150},
		{151, 150, 150, 150, 149},
		{3000, 7, 150, 150, 1},
		{7, 3000, 150, 1, 150},
		{5000, 1, 16, 16, 1},
		{1, 5000, 16, 1, 16},
		{333, 500, 150, 100, 150},
		{500, 333, 150, 150, 100},
		{1441, 1081, 300, 300, 225},
		{2592, 1944, 1500, 1500, 1125},
		{2028, 1520, 150, 150, 112},
		{301, 2, 150, 150, 1},
		{2, 301, 150, 1, 150},
		{257, 511, 64, 32, 64},
		{511, 257, 64, 64, 32},
		{97, 61, 17, 17, 11},
		{61, 97, 17, 11, 17},
	} {
		if w, h := fit(tt.w, tt.h, tt.size); w != tt.wantW || h != tt.wantH {
			t.Errorf("fit(%d, %d, %d) = %d, %d, want %d, %d", tt.w, tt.h, tt.size, w, h, tt.wantW, tt.wantH)
		}
	}
}

// A preview looks like a resampling of the whole picture, whichever decoder and
// reduction came first.
func TestImageLooksAsResampled(t *testing.T) {
	t.Parallel()
	c := openCache(t, Options{})
	src := scene(721, 543) // each reduction comes up: 8, 4, 2, none
	for name, data := range map[string][]byte{"jpeg": encodeJPEG(t, src), "png": encodePNG(t, src)} {
		for _, size := range []int{40, 75, 150, 350, 1500} {
			got := imageOf(t, c, bytesSource(name, data, nil), size)
			want := image.NewRGBA(got.Bounds())
			xdraw.CatmullRom.Scale(want, want.Rect, src, src.Rect, draw.Src, nil)
			if p := psnr(got, want); p < 34 {
				t.Errorf("%s at %d: %.1f dB from a fair resampling, want at least 34", name, size, p)
			}
		}
	}
}

// Stripes finer than the result's pixels must come out as even grey: a filter that
// skips samples leaves most of their contrast of 200.
func TestImageDoesNotAlias(t *testing.T) {
	t.Parallel()
	c := openCache(t, Options{})
	for _, period := range []int{2, 3, 5, 7} {
		stripes := image.NewGray(image.Rect(0, 0, 1440, 270))
		for i := range stripes.Pix {
			if i%1440%period < (period+1)/2 {
				stripes.Pix[i] = 200
			}
		}
		for name, data := range map[string][]byte{"jpeg": encodeJPEG(t, stripes), "png": encodePNG(t, stripes)} {
			img := imageOf(t, c, bytesSource(fmt.Sprint(name, period), data, nil), 150)
			darkest, brightest := uint8(255), uint8(0)
			for y := range img.Bounds().Dy() {
				for x := 5; x < 145; x++ {
					v := color.GrayModel.Convert(img.At(x, y)).(color.Gray).Y
					darkest, brightest = min(darkest, v), max(brightest, v)
				}
			}
			if brightest-darkest > 24 {
				t.Errorf("%s, stripes of %d: grey from %d to %d, want it even", name, period, darkest, brightest)
			}
		}
	}
}

func TestImageFormats(t *testing.T) {
	t.Parallel()
	c := openCache(t, Options{})
	src := scene(200, 150)
	converted := func(dst draw.Image) image.Image {
		draw.Draw(dst, src.Rect, src, image.Point{}, draw.Src)
		return dst
	}
	for name, tt := range map[string]struct {
		data []byte
		like image.Image
	}{
		"jpeg grey":    {encodeJPEG(t, converted(image.NewGray(src.Rect))), converted(image.NewGray(src.Rect))},
		"png grey":     {encodePNG(t, converted(image.NewGray(src.Rect))), converted(image.NewGray(src.Rect))},
		"png grey 16":  {encodePNG(t, converted(image.NewGray16(src.Rect))), converted(image.NewGray(src.Rect))},
		"png alpha":    {encodePNG(t, converted(image.NewNRGBA(src.Rect))), src},
		"png 16":       {encodePNG(t, converted(image.NewNRGBA64(src.Rect))), src},
		"png palette":  {encodePNG(t, converted(image.NewPaletted(src.Rect, palette.WebSafe))), converted(image.NewPaletted(src.Rect, palette.WebSafe))},
		"tiff":         {encodeTIFF(t, src), src},
		"tiff grey 16": {encodeTIFF(t, converted(image.NewGray16(src.Rect))), converted(image.NewGray(src.Rect))},
	} {
		got := imageOf(t, c, bytesSource(name, tt.data, nil), 100)
		if got.Bounds() != image.Rect(0, 0, 100, 75) {
			t.Errorf("%s: bounds %v, want 100x75", name, got.Bounds())
		}
		if _, ok := got.(*image.YCbCr); !ok {
			t.Errorf("%s: preview is %T, want colour", name, got)
		}
		want := image.NewRGBA(got.Bounds())
		xdraw.CatmullRom.Scale(want, want.Rect, tt.like, src.Rect, draw.Src, nil)
		if p := psnr(got, want); p < 32 {
			t.Errorf("%s: %.1f dB from a fair resampling, want at least 32", name, p)
		}
	}
}

// EXIF says on which side of the picture, as seen, the first row and the first
// column that are stored lie.
func TestImageOrientation(t *testing.T) {
	t.Parallel()
	c := openCache(t, Options{})
	seen := scene(200, 120)
	for orientation, stored := range map[int]func(x, y int) (row, col int){
		1: func(x, y int) (int, int) { return y, x },
		2: func(x, y int) (int, int) { return y, 199 - x },
		3: func(x, y int) (int, int) { return 119 - y, 199 - x },
		4: func(x, y int) (int, int) { return 119 - y, x },
		5: func(x, y int) (int, int) { return x, y },
		6: func(x, y int) (int, int) { return 199 - x, y },
		7: func(x, y int) (int, int) { return 199 - x, 119 - y },
		8: func(x, y int) (int, int) { return x, 119 - y },
	} {
		size := image.Rect(0, 0, 200, 120)
		if orientation >= 5 {
			size = image.Rect(0, 0, 120, 200)
		}
		img := image.NewRGBA(size)
		for y := range 120 {
			for x := range 200 {
				row, col := stored(x, y)
				img.SetRGBA(col, row, seen.RGBAAt(x, y))
			}
		}
		for name, data := range map[string][]byte{
			"jpeg": withExif(encodeJPEG(t, img), orientation),
			"png":  withEXIfChunk(encodePNG(t, img), orientation),
			"tiff": withTag(encodeTIFF(t, img), tagOrientation, uint32(orientation)),
		} {
			got := imageOf(t, c, bytesSource(fmt.Sprint(name, orientation), data, nil), 50)
			want := image.NewRGBA(image.Rect(0, 0, 50, 30))
			xdraw.CatmullRom.Scale(want, want.Rect, seen, seen.Rect, draw.Src, nil)
			if got.Bounds() != want.Rect {
				t.Errorf("%s, orientation %d: bounds %v, want %v", name, orientation, got.Bounds(), want.Rect)
			} else if p := psnr(got, want); p < 30 {
				t.Errorf("%s, orientation %d: %.1f dB from what is seen, want at least 30", name, orientation, p)
			}
		}
	}
}

func TestImageRefusesDamage(t *testing.T) {
	t.Parallel()
	c := openCache(t, Options{})
	good, goodPNG, goodTIFF := encodeJPEG(t, scene(200, 150)), encodePNG(t, scene(200, 150)), encodeTIFF(t, scene(200, 150))
	ifd := int(binary.LittleEndian.Uint32(goodTIFF[4:]))
	for name, tt := range map[string]struct {
		data []byte
		want error
	}{
		"empty":                     {nil, ErrDamagedImage},
		"text":                      {[]byte("this is no image"), ErrDamagedImage},
		"jpeg start only":           {good[:3], ErrDamagedImage},
		"jpeg half":                 {good[:len(good)/2], ErrDamagedImage},
		"jpeg no end":               {good[:len(good)-2], ErrDamagedImage},
		"png half":                  {goodPNG[:len(goodPNG)/2], ErrDamagedImage},
		"png header only":           {goodPNG[:20], ErrDamagedImage},
		"tiff header":               {[]byte("II*\x00\x08\x00\x00\x00"), ErrDamagedImage},
		"tiff half":                 {goodTIFF[:len(goodTIFF)/2], ErrDamagedImage},
		"tiff cut in its tags":      {goodTIFF[:ifd+30], ErrDamagedImage},
		"tiff cut in its data":      {slices.Concat(goodTIFF[:50], make([]byte, ifd-50), goodTIFF[ifd:]), ErrDamagedImage},
		"tiff strip beyond the end": {withTag(goodTIFF, tagStripOffsets, 1<<31), ErrDamagedImage},
	} {
		f, _, err := c.Image(t.Context(), bytesSource(name, tt.data, nil), 150)
		if !errors.Is(err, tt.want) {
			t.Errorf("Image(%s) = %v, %v, want %v", name, f, err, tt.want)
		}
	}
	for _, size := range []int{15, 4097, 0, -1} {
		if _, _, err := c.Image(t.Context(), bytesSource("good", good, nil), size); !errors.Is(err, ErrBadSize) {
			t.Errorf("Image(size %d) = %v, want ErrBadSize", size, err)
		}
	}
	failing := Source{Key: "failing", Open: func() (io.ReadSeekCloser, int64, error) { return nil, 0, io.ErrClosedPipe }}
	if _, _, err := c.Image(t.Context(), failing, 150); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Image(failing source) = %v, want the source's error", err)
	}
}

// A few bytes that promise a huge picture must not cost the memory of one. Not
// parallel: it measures what the process allocates.
func TestImageBombsCostNothing(t *testing.T) {
	c := openCache(t, Options{})
	huge := bytes.Clone(encodeJPEG(t, scene(64, 64)))
	sof := bytes.Index(huge, []byte{0xff, 0xc0})
	binary.BigEndian.PutUint16(huge[sof+5:], 60000)
	binary.BigEndian.PutUint16(huge[sof+7:], 60000)
	progressive := bytes.Clone(huge)
	progressive[sof+1] = 0xc2
	binary.BigEndian.PutUint16(progressive[sof+5:], 7000)
	binary.BigEndian.PutUint16(progressive[sof+7:], 7000)
	hugePNG := withSize(encodePNG(t, scene(64, 64)), 50000, 50000)
	deepPNG := withSize(encodePNG(t, image.NewNRGBA64(image.Rect(0, 0, 8, 8))), 9000, 9000)
	for name, data := range map[string][]byte{"jpeg": huge, "progressive": progressive, "png": hugePNG, "16-bit png": deepPNG} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := c.Image(t.Context(), bytesSource(name, data, nil), 150)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrImageTooLarge) {
			t.Errorf("Image(%s) = %v, want ErrImageTooLarge", name, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
			t.Errorf("Image(%s) allocated %d bytes for %d", name, used, len(data))
		}
	}
}

// A strip of a TIFF that holds far more than its picture costs no more than the
// picture. Not parallel, as the one above.
func TestTIFFBombCostsNothing(t *testing.T) {
	c := openCache(t, Options{})
	var bomb bytes.Buffer
	w := zlib.NewWriter(&bomb)
	for range 64 {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	small := encodeTIFF(t, scene(64, 64))
	data := withTag(withTag(slices.Concat(small, bomb.Bytes()), tagStripOffsets, uint32(len(small))), tagStripByteCounts, uint32(bomb.Len()))
	for name, tt := range map[string]struct {
		data []byte
		want error
	}{
		"strip": {data, nil},
		"count": {withTag(small, tagStripByteCounts, 1<<32-1), nil},
		"size":  {withTag(withTag(small, tagWidth, 60000), tagHeight, 60000), ErrImageTooLarge},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f, _, err := c.Image(t.Context(), bytesSource("tiff "+name, tt.data, nil), 150)
		runtime.ReadMemStats(&after)
		if err == nil {
			f.Close()
		}
		// What comes after the picture in its strip is of no interest.
		if !errors.Is(err, tt.want) && (tt.want != nil || !errors.Is(err, ErrDamagedImage)) {
			t.Errorf("Image(%s) = %v, want %v", name, err, tt.want)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
			t.Errorf("Image(%s) allocated %d bytes for %d", name, used, len(tt.data))
		}
	}
}

// progressive is a gray progressive JPEG with so many scans, each of a few
// bytes that change nothing; junk goes before its frame.
func progressive(w, h uint16, scans int, junk ...byte) []byte {
	segment := func(marker byte, body ...byte) []byte {
		return slices.Concat([]byte{0xff, marker}, binary.BigEndian.AppendUint16(nil, uint16(2+len(body))), body)
	}
	size := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, h), w)
	// One code of one bit: a run of blocks, up to 32767, that end here.
	table := slices.Concat([]byte{0x10, 1}, make([]byte, 15), []byte{0xe0})
	scan := segment(0xda, 1, 1, 0, 1, 63, 0)
	blocks := (int(w) + 7) / 8 * ((int(h) + 7) / 8)
	for ; blocks > 0; blocks -= 32767 {
		scan = append(scan, 0x7f, 0xff, 0x00) // 0, fourteen 1, and a bit of the next code
	}
	return slices.Concat([]byte{0xff, 0xd8}, segment(0xdb, append([]byte{0}, bytes.Repeat([]byte{1}, 64)...)...), junk,
		segment(0xc2, slices.Concat([]byte{8}, size, []byte{1, 1, 0x11, 0})...), segment(0xc4, table...),
		bytes.Repeat(scan, scans), []byte{0xff, 0xd9})
}

// A few bytes that have their decoder go through the pixels again and again, or
// through the same bytes, are refused for it; what encoders make is not.
func TestImageBombsTakeNoTime(t *testing.T) {
	t.Parallel()
	c := openCache(t, Options{})
	large := progressive(9000, 9000, 10_000)
	small := encodeTIFF(t, scene(64, 64))
	// As many strips as rows, all of the same bytes.
	nothing := append(bytes.Repeat([]byte{0x80}, 1<<20), 0x81, 0, 0x81, 0) // and then a row
	strips := slices.Concat(small, nothing)
	list := func(value int) uint32 {
		at := len(strips)
		for range 64 {
			strips = binary.LittleEndian.AppendUint32(strips, uint32(value))
		}
		return uint32(at)
	}
	offsets, counts := list(len(small)), list(len(nothing))
	for _, tag := range []struct {
		tag   uint16
		count uint32
		value uint32
	}{{tagStripOffsets, 64, offsets}, {tagStripByteCounts, 64, counts}, {tagRowsPerStrip, 1, 1}, {tagCompression, 1, 32773}} {
		strips = withTags(strips, tag.tag, tag.count, tag.value)
	}
	for name, tt := range map[string]struct {
		data []byte
		want error
	}{
		"scans":                {large, ErrImageTooLarge},
		"scans behind bytes":   {progressive(1600, 1200, maxScans+1, 0, 1, 2), ErrImageTooLarge},
		"scans behind fill":    {progressive(1600, 1200, maxScans+1, 0xff, 0xff), ErrImageTooLarge},
		"scans behind stuffed": {progressive(1600, 1200, maxScans+1, 0xff, 0), ErrImageTooLarge},
		"few scans":            {progressive(1600, 1200, 10), nil},
		"strips":               {strips, ErrDamagedImage},
	} {
		f, _, err := c.Image(t.Context(), bytesSource(name, tt.data, nil), 150)
		if !errors.Is(err, tt.want) {
			t.Errorf("Image(%s) = %v, want %v", name, err, tt.want)
		}
		if err == nil {
			f.Close()
		}
	}
	if _, err := tiff.Decode(newSteadyReader(t.Context(), strips)); !errors.Is(err, errReadAgain) {
		t.Errorf("decoding strips of the same bytes = %v, want errReadAgain", err)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	for name, data := range map[string][]byte{"jpeg": progressive(64, 64, 1), "png": encodePNG(t, scene(64, 64)), "tiff": small} {
		s, err := identify(data)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.preview(gone, 32); !errors.Is(err, context.Canceled) {
			t.Errorf("preview of a %s that nobody waits for = %v, want context.Canceled", name, err)
		}
	}
}

// Large images that come together each get their turn alone and then fail for
// what they are, cut off, without waiting for one another for ever.
func TestLargeImagesTogether(t *testing.T) {
	t.Parallel()
	c := openCache(t, Options{Workers: 2})
	large := withSize(encodePNG(t, image.NewGray(image.Rect(0, 0, 8, 8))), 6000, 4100)
	errs := make(chan error)
	for i := range 4 {
		go func() {
			_, _, err := c.Image(t.Context(), bytesSource(fmt.Sprint("large", i), large, nil), 64)
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; !errors.Is(err, ErrDamagedImage) {
			t.Errorf("Image(large, cut off) = %v, want ErrDamagedImage", err)
		}
	}
}

// FuzzFacts holds that what a container says stays within what the rest of the
// code can take, whatever its bytes.
func FuzzFacts(f *testing.F) {
	f.Add(withExif(encodeJPEG(f, scene(16, 16)), 6))
	f.Add(withEXIfChunk(encodePNG(f, scene(16, 16)), 8))
	f.Add(exif(3))
	f.Fuzz(func(t *testing.T, data []byte) {
		for name, got := range map[string]facts{
			"jpeg": jpegFacts(data), "png": pngFacts(data), "tiff": {orientation: orientation(data), factor: 1},
		} {
			if got.orientation < 1 || got.orientation > 8 || got.factor < 1 {
				t.Errorf("%s facts = %+v", name, got)
			}
		}
	})
}

func BenchmarkImageFirst(b *testing.B) {
	data := encodeJPEG(b, scene(1440, 1080))
	for _, size := range []int{150, 300, 1000, 1500} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				s, err := identify(data)
				if err != nil {
					b.Fatal(err)
				}
				img, err := s.preview(b.Context(), size)
				if err != nil {
					b.Fatal(err)
				}
				if err := jpeg.Encode(io.Discard, img, &jpeg.Options{Quality: quality}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// psnr is the peak signal-to-noise ratio of the two, over red, green and blue.
func psnr(a, b image.Image) float64 {
	sum, n := 0.0, 0
	for y := range a.Bounds().Dy() {
		for x := range a.Bounds().Dx() {
			r0, g0, b0, _ := a.At(x, y).RGBA()
			r1, g1, b1, _ := b.At(x, y).RGBA()
			for _, d := range []float64{float64(r0) - float64(r1), float64(g0) - float64(g1), float64(b0) - float64(b1)} {
				sum += d * d / (257 * 257)
				n++
			}
		}
	}
	return 10 * math.Log10(255*255*float64(n)/sum)
}

func encodeTIFF(t testing.TB, img image.Image) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := tiff.Encode(&buf, img, &tiff.Options{Compression: tiff.Deflate}); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// Tags of TIFF 6.0.
const (
	tagWidth           = 256
	tagHeight          = 257
	tagStripOffsets    = 273
	tagOrientation     = 274
	tagStripByteCounts = 279
	tagCompression     = 259
	tagRowsPerStrip    = 278
)

// withTag returns the TIFF, little-endian as tiff.Encode writes it, with one of
// its tags set; the list of them goes to the end, in its order.
func withTag(data []byte, tag uint16, value uint32) []byte { return withTags(data, tag, 1, value) }

// withTags is withTag for one of several values, which lie at value.
func withTags(data []byte, tag uint16, number, value uint32) []byte {
	at := binary.LittleEndian.Uint32(data[4:])
	count := int(binary.LittleEndian.Uint16(data[at:]))
	var entries [][]byte
	for i := range count {
		e := data[int(at)+2+12*i:][:12]
		if binary.LittleEndian.Uint16(e) != tag {
			entries = append(entries, e)
		}
	}
	kind := uint16(4) // a long
	if tag == tagOrientation || tag == tagCompression {
		kind = 3 // a short
	}
	entry := binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(nil, tag), kind)
	entry = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(entry, number), value)
	entries = append(entries, entry)
	slices.SortFunc(entries, func(a, b []byte) int {
		return int(binary.LittleEndian.Uint16(a)) - int(binary.LittleEndian.Uint16(b))
	})
	out := bytes.Clone(data)
	binary.LittleEndian.PutUint32(out[4:], uint32(len(out)))
	out = binary.LittleEndian.AppendUint16(out, uint16(len(entries)))
	return append(append(out, slices.Concat(entries...)...), 0, 0, 0, 0)
}

// exif is a TIFF structure, big-endian, that holds an orientation alone.
func exif(orientation int) []byte {
	return []byte{'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, byte(orientation), 0, 0, 0, 0, 0, 0}
}

func withExif(data []byte, orientation int) []byte {
	body := append([]byte("Exif\x00\x00"), exif(orientation)...)
	segment := append([]byte{0xff, 0xe1, 0, byte(2 + len(body))}, body...)
	return slices.Insert(bytes.Clone(data), 2, segment...)
}

func withEXIfChunk(data []byte, orientation int) []byte {
	return slices.Insert(bytes.Clone(data), 8+25, pngChunk("eXIf", exif(orientation))...)
}

func pngChunk(kind string, body []byte) []byte {
	chunk := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), kind...)
	chunk = append(chunk, body...)
	return binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:]))
}

// withSize returns the PNG with another size in its header.
func withSize(data []byte, w, h uint32) []byte {
	header := bytes.Clone(data[16:29])
	binary.BigEndian.PutUint32(header, w)
	binary.BigEndian.PutUint32(header[4:], h)
	return slices.Concat(data[:8], pngChunk("IHDR", header), data[33:])
}
