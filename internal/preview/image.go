package preview

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"math"
	"time"

	"golang.org/x/image/tiff"

	"github.com/romi/plantdb-go/internal/preview/scaledjpeg"
)

// Bounds on what is decoded. Beyond the first two nothing is tried; beyond the
// others an image has the machine's cores and memory for itself.
const (
	maxPixels       = 100_000_000
	maxDecodedBytes = 512 << 20
	maxSourceBytes  = 256 << 20
	largePixels     = 24_000_000
	largeSource     = 32 << 20
	// A progressive image goes through all its pixels for each of its scans,
	// which may take a few bytes; encoders make about ten.
	maxScans = 100
	// decodeTime is how long one image may take: ten times what the largest one
	// does on a slow machine.
	decodeTime = time.Minute
	// decodeStep is how much of it is read between two looks at the time.
	decodeStep = 512
)

// quality is upstream's for its thumbnails.
const quality = 84

// How many times larger than the result an image must stay after a cheap
// reduction, so that the filter which follows decides how it looks. Dropping
// high frequencies of a JPEG cuts sharply; averaging over squares lets more
// through that would come out as patterns.
const (
	gapJPEG = 2
	gapBox  = 3
)

// makeImage writes the preview of s to w.
func makeImage(ctx context.Context, t *turn, s Source, size int, w io.Writer) error {
	data, err := readSource(ctx, t, s)
	if err != nil {
		return err
	}
	src, err := identify(data)
	if err != nil {
		return err
	}
	if src.width*src.height > largePixels {
		if err := t.alone(ctx); err != nil {
			return err
		}
	}
	decoding, cancel := context.WithTimeoutCause(ctx, decodeTime, ErrImageTooLarge.With("the image takes too long to make a preview of"))
	defer cancel()
	out, err := src.preview(decoding, size)
	if err != nil {
		return err
	}
	if err := jpeg.Encode(w, out, &jpeg.Options{Quality: quality}); err != nil {
		return fmt.Errorf("encode preview: %w", err)
	}
	return nil
}

// readSource returns the bytes of s.
func readSource(ctx context.Context, t *turn, s Source) ([]byte, error) {
	r, size, err := s.Open()
	if err != nil {
		return nil, fmt.Errorf("open source: %w", err)
	}
	defer r.Close()
	if size > maxSourceBytes {
		return nil, ErrImageTooLarge
	}
	if size > largeSource {
		if err := t.alone(ctx); err != nil {
			return nil, err
		}
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, fmt.Errorf("read source: %w", err)
	}
	return data, nil
}

// source is an image file whose header was read and found affordable.
type source struct {
	data          []byte
	width, height int // as stored
	facts         facts
	decode        func(io.Reader) (image.Image, error)
	jpeg          bool
}

// facts are what the container says about an image beside its size.
type facts struct {
	orientation int // EXIF's, 1 to 8
	// factor is how many times the memory of its pixels the decoder takes.
	factor int
	// scans is how many a progressive image has.
	scans int
}

// identify tells the format by the first bytes, and holds the header against the
// bounds before anything is decoded.
func identify(data []byte) (*source, error) {
	s := &source{data: data}
	var config func(io.Reader) (image.Config, error)
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xd8\xff")):
		config, s.decode, s.facts, s.jpeg = jpeg.DecodeConfig, jpeg.Decode, jpegFacts(data), true
	case bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")):
		config, s.decode, s.facts = png.DecodeConfig, png.Decode, pngFacts(data)
	case bytes.HasPrefix(data, []byte("II*\x00")), bytes.HasPrefix(data, []byte("MM\x00*")):
		config, s.decode, s.facts = tiff.DecodeConfig, tiff.Decode, facts{orientation: orientation(data), factor: 1}
	default:
		return nil, ErrDamagedImage
	}
	cfg, err := config(bytes.NewReader(data))
	if err != nil {
		return nil, ErrDamagedImage.Because(err)
	}
	if cfg.Width <= 0 || cfg.Height <= 0 {
		return nil, ErrDamagedImage
	}
	if cfg.Width > maxPixels/cfg.Height || cfg.Width*cfg.Height > maxDecodedBytes/(s.facts.factor*pixelBytes(cfg.ColorModel)) {
		return nil, ErrImageTooLarge.With("an image of %dx%d pixels is too large to make a preview of", cfg.Width, cfg.Height)
	}
	if s.facts.scans > maxScans {
		return nil, ErrImageTooLarge.With("an image of %d scans takes too long to make a preview of", s.facts.scans)
	}
	s.width, s.height = cfg.Width, cfg.Height
	return s, nil
}

// pixelBytes is what one decoded pixel of m takes.
func pixelBytes(m color.Model) int {
	switch m {
	case color.GrayModel:
		return 1
	case color.Gray16Model:
		return 2
	case color.YCbCrModel:
		return 3
	case color.RGBAModel, color.NRGBAModel, color.CMYKModel:
		return 4
	case color.RGBA64Model, color.NRGBA64Model:
		return 8
	}
	if _, ok := m.(color.Palette); ok {
		return 1
	}
	return 8
}

// preview decodes s no larger than needed, and resizes and turns it.
func (s *source) preview(ctx context.Context, size int) (image.Image, error) {
	turned := s.facts.orientation >= 5
	w, h := s.width, s.height
	if turned {
		w, h = h, w
	}
	// The rule rounds differently for tall and wide, so it is asked about the
	// picture as it will be seen.
	w, h = fit(w, h, size)
	if turned {
		w, h = h, w
	}
	pic, err := s.picture(ctx, w, h)
	if err != nil {
		return nil, err
	}
	return pic.render(w, h, s.facts.orientation), nil
}

// picture decodes s, at a part of its size where that is enough for w x h.
func (s *source) picture(ctx context.Context, w, h int) (*picture, error) {
	if s.jpeg {
		for denom := 8; denom > 1; denom /= 2 {
			if s.width < denom*w*gapJPEG || s.height < denom*h*gapJPEG {
				continue
			}
			img, err := scaledjpeg.Decode(s.data, denom)
			if err == nil {
				return newPicture(img, float64(s.width)/float64(denom), float64(s.height)/float64(denom), w, h), nil
			}
			break // another size would not help: image/jpeg does
		}
	}
	img, err := s.decode(newSteadyReader(ctx, s.data))
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, ErrDamagedImage.Because(err)
	}
	b := img.Bounds()
	if b.Dx() != s.width || b.Dy() != s.height {
		return nil, ErrDamagedImage
	}
	return newPicture(img, float64(s.width), float64(s.height), w, h), nil
}

// steadyReader gives an image to its decoder, which knows of no context, until
// ctx has ended or far more was read than there is: strips of a TIFF may all be
// of the same bytes.
type steadyReader struct {
	ctx  context.Context
	data *bytes.Reader
	left int64
}

var errReadAgain = errors.New("parts of the image are of the same bytes")

func newSteadyReader(ctx context.Context, data []byte) *steadyReader {
	return &steadyReader{ctx, bytes.NewReader(data), 2*int64(len(data)) + decodeStep}
}

// Read implements io.Reader.
func (r *steadyReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.data.Read(p[:min(len(p), decodeStep)])
}

// ReadAt implements io.ReaderAt.
func (r *steadyReader) ReadAt(p []byte, off int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.data.ReadAt(p, off)
	if r.left -= int64(n); r.left < 0 {
		return 0, errReadAgain
	}
	return n, err
}

// fit returns the size of a picture of w x h pixels with its longest side at
// most size, as Pillow's Image.thumbnail((size, size)) does: of the two whole
// numbers beside the exact one, that which comes closer to the aspect.
func fit(w, h, size int) (int, int) {
	if w <= size && h <= size {
		return w, h
	}
	aspect, s := float64(w)/float64(h), float64(size)
	if aspect <= 1 {
		return roundAspect(s*aspect, func(n float64) float64 { return math.Abs(aspect - n/s) }), size
	}
	return size, roundAspect(s/aspect, func(n float64) float64 {
		if n == 0 {
			return 0
		}
		return math.Abs(aspect - s/n)
	})
}

func roundAspect(n float64, off func(float64) float64) int {
	down, up := math.Floor(n), math.Ceil(n)
	if off(up) < off(down) {
		down = up
	}
	return max(int(down), 1)
}
