package demo

import "math"

// subpixel is the resolution of the rasteriser: corners lie on a grid of that
// many steps a sample, so that coverage is integer arithmetic.
const subpixel = 16

// corner is a vertex on the screen. Near grows towards the eye.
type corner struct {
	x, y   int64 // in 1/subpixel samples
	near   float64
	colour [3]float64 // 0 to 255
	hidden bool       // behind the eye
}

// canvas is what triangles are drawn on: for each sample the nearest surface,
// its colour and its label. Without colour it is a depth map.
type canvas struct {
	w, h   int
	near   []float32
	colour []uint32
	label  []label
}

func newCanvas(w, h int) *canvas {
	return &canvas{w: w, h: h, near: make([]float32, w*h), colour: make([]uint32, w*h), label: make([]label, w*h)}
}

func newDepthMap(size int) *canvas {
	return &canvas{w: size, h: size, near: make([]float32, size*size)}
}

// clear empties the canvas. Nothing is as far away as an empty sample.
func (c *canvas) clear() {
	for i := range c.near {
		c.near[i] = -math.MaxFloat32
	}
}

func (c *canvas) empty(i int) bool { return c.near[i] == -math.MaxFloat32 }

// edge is twice the signed area of a, b and the sample at (x, y).
func edge(a, b *corner, x, y int64) int64 {
	return (b.x-a.x)*(y-a.y) - (b.y-a.y)*(x-a.x)
}

// draw fills the triangle in either orientation.
func (c *canvas) draw(p, q, r *corner, l label) {
	if p.hidden || q.hidden || r.hidden {
		return
	}
	area := edge(p, q, r.x, r.y)
	if area == 0 {
		return
	}
	if area < 0 {
		q, r, area = r, q, -area
	}
	x0, x1 := span(p.x, q.x, r.x, c.w)
	y0, y1 := span(p.y, q.y, r.y, c.h)
	inverse := 1 / float64(area)
	for y := y0; y < y1; y++ {
		cy := int64(y)*subpixel + subpixel/2
		cx := int64(x0)*subpixel + subpixel/2
		eq, er := edge(r, p, cx, cy), edge(p, q, cx, cy)
		// One sample to the right changes an edge function by a constant.
		dq, dr := -(p.y-r.y)*subpixel, -(q.y-p.y)*subpixel
		entered := false
		for x := x0; x < x1; x++ {
			if eq >= 0 && er >= 0 && eq+er <= area {
				entered = true
				c.sample(y*c.w+x, p, q, r, mul(float64(eq), inverse), mul(float64(er), inverse), l)
			} else if entered {
				break // a triangle is convex
			}
			eq, er = eq+dq, er+dr
		}
	}
}

// span returns the samples whose middle can lie between the corners, cut to
// the canvas.
func span(a, b, c int64, size int) (from, to int) {
	lo, hi := min(a, b, c), max(a, b, c)
	return int(min(max(lo/subpixel-1, 0), int64(size))), int(min(max(hi/subpixel+1, 0), int64(size)))
}

func (c *canvas) sample(i int, p, q, r *corner, wq, wr float64, l label) {
	near := float32(p.near + mul(wq, q.near-p.near) + mul(wr, r.near-p.near))
	if near <= c.near[i] {
		return
	}
	c.near[i] = near
	if c.colour == nil {
		return
	}
	var packed uint32
	for k := range 3 {
		v := p.colour[k] + mul(wq, q.colour[k]-p.colour[k]) + mul(wr, r.colour[k]-p.colour[k])
		packed = packed<<8 | uint32(min(max(v+0.5, 0), 255))
	}
	c.colour[i] = packed
	c.label[i] = l
}

// fixed returns x in subpixel steps.
func fixed(x float64) int64 { return int64(math.Round(mul(x, subpixel))) }
