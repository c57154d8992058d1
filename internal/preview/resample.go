package preview

import (
	"image"
	"image/color"
	"image/draw"
	"math"
)

// plane is one channel of samples.
type plane struct {
	pix          []byte
	stride, w, h int
	// boxW and boxH are how much of it the picture takes: less than w and h when
	// the last samples stand for a part of a block only.
	boxW, boxH float64
}

// picture is an image as planes: one of grey, three of YCbCr, or three of RGB.
type picture struct {
	planes []plane
	rgb    bool
}

// newPicture takes the planes of img, of which it uses boxW x boxH, so that
// outW x outH can be made of them.
func newPicture(img image.Image, boxW, boxH float64, outW, outH int) *picture {
	b := img.Bounds()
	switch img := img.(type) {
	case *image.Gray:
		return &picture{planes: []plane{{img.Pix, img.Stride, b.Dx(), b.Dy(), boxW, boxH}}}
	case *image.YCbCr:
		subX, subY := subsampling(img.SubsampleRatio)
		c := plane{
			stride: img.CStride, w: ceilDiv(b.Dx(), subX), h: ceilDiv(b.Dy(), subY),
			boxW: boxW / float64(subX), boxH: boxH / float64(subY),
		}
		cb, cr := c, c
		cb.pix, cr.pix = img.Cb, img.Cr
		return &picture{planes: []plane{{img.Y, img.YStride, b.Dx(), b.Dy(), boxW, boxH}, cb, cr}}
	default:
		return rgbPicture(img, outW, outH)
	}
}

// subsampling returns how many pixels share a sample of chroma on each axis.
func subsampling(r image.YCbCrSubsampleRatio) (x, y int) {
	switch r {
	case image.YCbCrSubsampleRatio422:
		return 2, 1
	case image.YCbCrSubsampleRatio420:
		return 2, 2
	case image.YCbCrSubsampleRatio440:
		return 1, 2
	case image.YCbCrSubsampleRatio411:
		return 4, 1
	case image.YCbCrSubsampleRatio410:
		return 4, 2
	default:
		return 1, 1
	}
}

// rgbPicture converts img strip by strip, each reduced at once, so that a large
// image is not held a second time. Transparency is shown over black.
func rgbPicture(img image.Image, outW, outH int) *picture {
	b := img.Bounds()
	kx, ky := factor(float64(b.Dx())/float64(outW)), factor(float64(b.Dy())/float64(outH))
	w, h := ceilDiv(b.Dx(), kx), ceilDiv(b.Dy(), ky)
	pic := &picture{rgb: true}
	for range 3 {
		pic.planes = append(pic.planes, plane{
			pix: make([]byte, w*h), stride: w, w: w, h: h,
			boxW: float64(b.Dx()) / float64(kx), boxH: float64(b.Dy()) / float64(ky),
		})
	}
	strip := image.NewRGBA(image.Rect(0, 0, b.Dx(), ky))
	for y := range h {
		rows := min(ky, b.Dy()-y*ky)
		draw.Draw(strip, image.Rect(0, 0, b.Dx(), rows), img, image.Pt(b.Min.X, b.Min.Y+y*ky), draw.Src)
		for c := range pic.planes {
			boxRow(pic.planes[c].pix[y*w:(y+1)*w], strip.Pix[c:], strip.Stride, 4, b.Dx(), rows, kx)
		}
	}
	return pic
}

// boxRow writes one row of averages over cells of k x rows samples, which stand
// step bytes apart; the last cell may be narrower.
func boxRow(dst, src []byte, stride, step, w, rows, k int) {
	for i := range dst {
		x0, x1 := i*k, min(i*k+k, w)
		sum := 0
		for y := range rows {
			row := src[y*stride:]
			for x := x0; x < x1; x++ {
				sum += int(row[x*step])
			}
		}
		n := (x1 - x0) * rows
		dst[i] = byte((sum + n/2) / n)
	}
}

// factor is the largest whole number by which a side may shrink cheaply when it
// is to shrink by scale in all.
func factor(scale float64) int {
	return max(int(scale/gapBox), 1)
}

// reduce shrinks p by whole factors.
func (p plane) reduce(kx, ky int) plane {
	if kx == 1 && ky == 1 {
		return p
	}
	out := plane{
		w: ceilDiv(p.w, kx), h: ceilDiv(p.h, ky),
		boxW: p.boxW / float64(kx), boxH: p.boxH / float64(ky),
	}
	out.stride = out.w
	out.pix = make([]byte, out.w*out.h)
	for y := range out.h {
		boxRow(out.pix[y*out.w:(y+1)*out.w], p.pix[y*ky*p.stride:], p.stride, 1, p.w, min(ky, p.h-y*ky), kx)
	}
	return out
}

// resize returns w x h samples of p, each standing for scaleX x scaleY of it, at
// the start of a slice that may be p's own.
func (p plane) resize(w, h int, scaleX, scaleY float64) []byte {
	if p.w == p.stride && w == p.w && h == p.h && scaleX == 1 && scaleY == 1 {
		return p.pix
	}
	kx, ky := factor(scaleX), factor(scaleY)
	p = p.reduce(kx, ky)
	taps := bicubic(p.w, w, scaleX/float64(kx))
	rows := make([]byte, w*p.h)
	for y := range p.h {
		resizeRow(rows[y*w:(y+1)*w], p.pix[y*p.stride:], taps)
	}
	out := make([]byte, w*h)
	sums := make([]int32, w)
	for y, t := range bicubic(p.h, h, scaleY/float64(ky)) {
		resizeColumns(out[y*w:(y+1)*w], rows[t.first*w:], t, sums)
	}
	return out
}

// tap is what makes one sample: weights over those from first on.
type tap struct {
	first   int
	weights []int32
}

// weightBits is the binary fraction of a weight: a sum of 255 times weights that
// overshoot a little still fits into 32 bits.
const weightBits = 22

// bicubic returns the taps that make out samples, each standing for scale of in,
// by the cubic with a = -1/2 (Keys), widened when it shrinks, so that nothing
// finer than the result's grid is left to alias.
func bicubic(in, out int, scale float64) []tap {
	stretch := max(scale, 1)
	support := 2 * stretch
	taps := make([]tap, out)
	for i := range taps {
		center := (float64(i) + 0.5) * scale
		first := min(max(int(center-support+0.5), 0), in-1)
		last := max(min(int(center+support+0.5), in), first+1)
		weights, sum := make([]float64, last-first), 0.0
		for j := range weights {
			weights[j] = cubic((float64(first+j) - center + 0.5) / stretch)
			sum += weights[j]
		}
		taps[i] = tap{first: first, weights: make([]int32, len(weights))}
		for j, v := range weights {
			if sum != 0 {
				v /= sum
			}
			taps[i].weights[j] = int32(math.Round(v * (1 << weightBits)))
		}
	}
	return taps
}

func cubic(x float64) float64 {
	const a = -0.5
	x = math.Abs(x)
	switch {
	case x < 1:
		return ((a+2)*x-(a+3))*x*x + 1
	case x < 2:
		return ((a*x-5*a)*x+8*a)*x - 4*a
	default:
		return 0
	}
}

func resizeRow(dst, src []byte, taps []tap) {
	for i := range dst {
		t := &taps[i]
		s := src[t.first:]
		s = s[:len(t.weights)]
		sum := int32(1 << (weightBits - 1))
		for j, w := range t.weights {
			sum += w * int32(s[j])
		}
		dst[i] = clamp(sum >> weightBits)
	}
}

// resizeColumns makes one row out of those that t covers, row by row as they lie
// in memory.
func resizeColumns(dst, rows []byte, t tap, sums []int32) {
	for i := range sums {
		sums[i] = 1 << (weightBits - 1)
	}
	for j, w := range t.weights {
		row := rows[j*len(dst) : (j+1)*len(dst)]
		for i, v := range row {
			sums[i] += w * int32(v)
		}
	}
	for i, v := range sums {
		dst[i] = clamp(v >> weightBits)
	}
}

func clamp(v int32) byte { return byte(min(max(v, 0), 255)) }

// render returns the picture at w x h, before it is turned as orientation says.
func (p *picture) render(w, h, orientation int) *image.YCbCr {
	ratio := image.YCbCrSubsampleRatio420
	if p.rgb || orientation != 1 {
		// Half-sized chroma of an odd side has no mirror image.
		ratio = image.YCbCrSubsampleRatio444
	}
	subX, subY := subsampling(ratio)
	out := image.NewYCbCr(image.Rect(0, 0, w, h), ratio)
	for i, dst := range [][]byte{out.Y, out.Cb, out.Cr} {
		if i >= len(p.planes) {
			fillGrey(dst)
			continue
		}
		// Two samples of chroma stand for the pixels of an odd last one and of
		// none: the scale is the whole picture's.
		pw, ph, perX, perY := w, h, 1, 1
		if i > 0 {
			pw, ph, perX, perY = ceilDiv(w, subX), ceilDiv(h, subY), subX, subY
		}
		s := p.planes[i]
		copy(dst, s.resize(pw, ph, s.boxW/float64(w)*float64(perX), s.boxH/float64(h)*float64(perY)))
	}
	if p.rgb {
		for i := range out.Y {
			out.Y[i], out.Cb[i], out.Cr[i] = color.RGBToYCbCr(out.Y[i], out.Cb[i], out.Cr[i])
		}
	}
	return upright(out, orientation)
}

func fillGrey(chroma []byte) {
	for i := range chroma {
		chroma[i] = 128
	}
}

// upright undoes an EXIF orientation. Any but 1 needs chroma at full size.
func upright(img *image.YCbCr, orientation int) *image.YCbCr {
	if orientation == 1 {
		return img
	}
	w, h := img.Rect.Dx(), img.Rect.Dy()
	size := image.Rect(0, 0, w, h)
	if orientation >= 5 {
		size = image.Rect(0, 0, h, w)
	}
	out := image.NewYCbCr(size, image.YCbCrSubsampleRatio444)
	for y := range size.Dy() {
		for x := range size.Dx() {
			sx, sy := x, y
			if orientation >= 5 {
				sx, sy = y, x
			}
			// EXIF 2.3, tag Orientation: where row 0 and column 0 are seen.
			switch orientation {
			case 2, 8:
				sx = w - 1 - sx
			case 3, 7:
				sx, sy = w-1-sx, h-1-sy
			case 4, 6:
				sy = h - 1 - sy
			}
			to, from := out.YOffset(x, y), img.YOffset(sx, sy)
			out.Y[to], out.Cb[to], out.Cr[to] = img.Y[from], img.Cb[from], img.Cr[from]
		}
	}
	return out
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
