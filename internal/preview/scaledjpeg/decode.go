// Package scaledjpeg decodes baseline JPEG images at a half, a quarter or an
// eighth of their size. A thumbnail needs no more, and most of the work of a
// full decoder (64-point inverse transforms, colour at full size) falls away:
// each 8x8 block is reconstructed from its low frequencies alone, as 4x4, 2x2
// or one sample.
//
// It was written from ITU-T T.81 and reads what cameras write: eight bits,
// Huffman coding, one interleaved scan, grey or YCbCr with chroma at full or
// half size. For all else, and for all that is not exactly as the standard
// says, it returns ErrUnsupported, and image/jpeg has the word: whether a file
// is damaged is never decided here.
package scaledjpeg

import (
	"encoding/binary"
	"errors"
	"image"
)

// ErrUnsupported says that image/jpeg is to be asked instead.
var ErrUnsupported = errors.New("scaledjpeg: not a baseline image that this decoder reads")

// Markers of T.81, table B.1.
const (
	markerSOF0  = 0xc0
	markerSOF1  = 0xc1
	markerDHT   = 0xc4
	markerRST0  = 0xd0
	markerSOI   = 0xd8
	markerEOI   = 0xd9
	markerSOS   = 0xda
	markerDQT   = 0xdb
	markerDRI   = 0xdd
	markerAPP0  = 0xe0
	markerAPP14 = 0xee
	markerAPP15 = 0xef
	markerCOM   = 0xfe
)

// component is one colour plane of the frame.
type component struct {
	id     byte
	h, v   int // sampling factors
	tq     byte
	dc, ac *table
	pix    []byte
	stride int
	quant  *[64]int32 // in zig-zag order
	pred   int32      // the DC value of the block before
}

type decoder struct {
	data            []byte
	pos             int
	n               int // samples of a block and axis: 4, 2 or 1
	width, height   int
	comps           []component
	hmax, vmax      int
	quant           [4]*[64]int32
	dc, ac          [4]*table
	restartInterval int
}

// Decode returns the image in data at 1/denom of its size, each side rounded
// up; denom is 2, 4 or 8. The result is an *image.Gray or an *image.YCbCr, and
// its planes may be wider than the picture. Memory is in proportion to the size
// in the header: check that first. The only error is ErrUnsupported.
func Decode(data []byte, denom int) (image.Image, error) {
	if denom != 2 && denom != 4 && denom != 8 {
		return nil, ErrUnsupported
	}
	d := &decoder{data: data, n: 8 / denom}
	if !d.headers() || !d.scan() {
		return nil, ErrUnsupported
	}
	return d.image(), nil
}

// image wraps the planes that were decoded.
func (d *decoder) image() image.Image {
	denom := 8 / d.n
	bounds := image.Rect(0, 0, ceilDiv(d.width, denom), ceilDiv(d.height, denom))
	y := d.comps[0]
	if len(d.comps) == 1 {
		return &image.Gray{Pix: y.pix, Stride: y.stride, Rect: bounds}
	}
	ratio := image.YCbCrSubsampleRatio444
	switch {
	case d.hmax == 2 && d.vmax == 2:
		ratio = image.YCbCrSubsampleRatio420
	case d.hmax == 2:
		ratio = image.YCbCrSubsampleRatio422
	case d.vmax == 2:
		ratio = image.YCbCrSubsampleRatio440
	}
	return &image.YCbCr{
		Y: y.pix, Cb: d.comps[1].pix, Cr: d.comps[2].pix,
		YStride: y.stride, CStride: d.comps[1].stride,
		SubsampleRatio: ratio, Rect: bounds,
	}
}

// headers reads the segments up to the start of the scan.
func (d *decoder) headers() bool {
	if len(d.data) < 2 || d.data[0] != 0xff || d.data[1] != markerSOI {
		return false
	}
	d.pos = 2
	for {
		marker, seg, ok := d.segment()
		if !ok {
			return false
		}
		switch {
		case marker == markerSOF0 || marker == markerSOF1:
			ok = d.frame(seg)
		case marker == markerDHT:
			ok = d.huffmanTables(seg)
		case marker == markerDQT:
			ok = d.quantTables(seg)
		case marker == markerDRI:
			ok = len(seg) == 2
			if ok {
				d.restartInterval = int(binary.BigEndian.Uint16(seg))
			}
		case marker == markerAPP14:
			// Transform 0 stands for RGB: rare enough to leave to others.
			ok = len(seg) < 12 || string(seg[:5]) != "Adobe" || seg[11] == 1
		case marker >= markerAPP0 && marker <= markerAPP15, marker == markerCOM:
		case marker == markerSOS:
			return d.scanHeader(seg)
		default:
			return false
		}
		if !ok {
			return false
		}
	}
}

// segment returns the next marker and the bytes that belong to it.
func (d *decoder) segment() (marker byte, seg []byte, ok bool) {
	marker, ok = d.marker()
	if !ok || len(d.data)-d.pos < 2 {
		return 0, nil, false
	}
	n := int(binary.BigEndian.Uint16(d.data[d.pos:]))
	if n < 2 || n > len(d.data)-d.pos {
		return 0, nil, false
	}
	seg = d.data[d.pos+2 : d.pos+n]
	d.pos += n
	return marker, seg, true
}

// marker reads a marker, before which any number of 0xff may stand.
func (d *decoder) marker() (byte, bool) {
	if d.pos >= len(d.data) || d.data[d.pos] != 0xff {
		return 0, false
	}
	for d.pos < len(d.data) && d.data[d.pos] == 0xff {
		d.pos++
	}
	if d.pos >= len(d.data) {
		return 0, false
	}
	d.pos++
	return d.data[d.pos-1], true
}

// frame reads a frame header (T.81, B.2.2).
func (d *decoder) frame(seg []byte) bool {
	if d.comps != nil || len(seg) < 6 || seg[0] != 8 {
		return false
	}
	d.height = int(binary.BigEndian.Uint16(seg[1:]))
	d.width = int(binary.BigEndian.Uint16(seg[3:]))
	count := int(seg[5])
	if d.width == 0 || d.height == 0 || count != 1 && count != 3 || len(seg) != 6+3*count {
		return false
	}
	d.comps = make([]component, count)
	for i := range d.comps {
		c := seg[6+3*i:]
		d.comps[i] = component{id: c[0], h: int(c[1] >> 4), v: int(c[1] & 15), tq: c[2]}
		if c[2] > 3 {
			return false
		}
	}
	return d.sampling()
}

// sampling takes luma at one or two samples for each of chroma's.
func (d *decoder) sampling() bool {
	y := &d.comps[0]
	if len(d.comps) == 1 {
		// A lone component is not interleaved: its factors mean nothing (A.2.2).
		y.h, y.v = 1, 1
		d.hmax, d.vmax = 1, 1
		return true
	}
	cb, cr := d.comps[1], d.comps[2]
	if cb.h != 1 || cb.v != 1 || cr.h != 1 || cr.v != 1 {
		return false
	}
	if y.h < 1 || y.h > 2 || y.v < 1 || y.v > 2 || y.id == cb.id || y.id == cr.id || cb.id == cr.id {
		return false
	}
	d.hmax, d.vmax = y.h, y.v
	return y.id != 'R' || cb.id != 'G' || cr.id != 'B'
}

// quantTables reads quantization tables (B.2.4.1).
func (d *decoder) quantTables(seg []byte) bool {
	for len(seg) > 0 {
		precision, id := int(seg[0]>>4), seg[0]&15
		size := 64 * (1 + precision)
		if precision > 1 || id > 3 || len(seg) < 1+size {
			return false
		}
		q := new([64]int32)
		for i := range q {
			if precision == 0 {
				q[i] = int32(seg[1+i])
			} else {
				q[i] = int32(binary.BigEndian.Uint16(seg[1+2*i:]))
			}
		}
		d.quant[id] = q
		seg = seg[1+size:]
	}
	return true
}

// scanHeader reads the header of the one scan that holds all components (B.2.3)
// and makes the planes.
func (d *decoder) scanHeader(seg []byte) bool {
	count := len(d.comps)
	if count == 0 || len(seg) != 4+2*count || int(seg[0]) != count {
		return false
	}
	for i := range d.comps {
		c := &d.comps[i]
		dc, ac := seg[2+2*i]>>4, seg[2+2*i]&15
		if seg[1+2*i] != c.id || dc > 3 || ac > 3 {
			return false
		}
		c.dc, c.ac, c.quant = d.dc[dc], d.ac[ac], d.quant[c.tq]
		if c.dc == nil || c.ac == nil || c.quant == nil {
			return false
		}
		mcusX, mcusY := d.mcus()
		c.stride = mcusX * c.h * d.n
		c.pix = make([]byte, c.stride*mcusY*c.v*d.n)
	}
	spectral := seg[1+2*count:]
	return spectral[0] == 0 && spectral[1] == 63 && spectral[2] == 0
}

// mcus returns how many minimum coded units the picture has on each axis.
func (d *decoder) mcus() (x, y int) {
	return ceilDiv(d.width, 8*d.hmax), ceilDiv(d.height, 8*d.vmax)
}

// scan decodes the entropy-coded data and the marker that ends the image.
func (d *decoder) scan() bool {
	r := bitReader{data: d.data, pos: d.pos}
	mcusX, mcusY := d.mcus()
	last := mcusX*mcusY - 1
	for i := 0; i <= last; i++ {
		// Bits that no byte gave: the data is truncated.
		if !d.mcu(&r, i%mcusX, i/mcusX) || r.n < r.pad {
			return false
		}
		if d.restartInterval == 0 || (i+1)%d.restartInterval != 0 || i == last {
			continue
		}
		want := markerRST0 + byte(((i+1)/d.restartInterval-1)%8)
		if got, ok := d.endOfInterval(&r); !ok || got != want {
			return false
		}
		r = bitReader{data: d.data, pos: d.pos}
		for c := range d.comps {
			d.comps[c].pred = 0
		}
	}
	got, ok := d.endOfInterval(&r)
	return ok && got == markerEOI
}

// endOfInterval returns the marker that follows the bits of r, if no bit is
// missing and no byte too many.
func (d *decoder) endOfInterval(r *bitReader) (byte, bool) {
	if !r.atEnd() {
		return 0, false
	}
	d.pos = r.pos
	return d.marker()
}

// mcu decodes the blocks of one minimum coded unit, each into its place.
func (d *decoder) mcu(r *bitReader, mx, my int) bool {
	var coef [16]int32
	for i := range d.comps {
		c := &d.comps[i]
		for j := range c.h * c.v {
			x, y := (mx*c.h+j%c.h)*d.n, (my*c.v+j/c.h)*d.n
			out := c.pix[y*c.stride+x:]
			var ok bool
			switch d.n {
			case 1:
				ok = r.block(c, &order1, 0, &coef)
				out[0] = sample(coef[0], 3)
			case 2:
				ok = r.block(c, &order2, 4, &coef)
				idct2(&coef, out, c.stride)
			default:
				ok = r.block(c, &order4, 24, &coef)
				idct4(&coef, out, c.stride)
			}
			if !ok {
				return false
			}
		}
	}
	return true
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }
