package demo

import (
	"math"
	"slices"
)

// Point is a position or direction in millimetres; z points up. It marshals to
// JSON as [x, y, z].
type Point [3]float64

// mul is a*b rounded to a float64. The conversion forbids the compiler to fuse
// the product with a following sum, which some architectures would do (and
// round differently); every product in this package that ends in a file goes
// through it, but for those with a power of two, which are exact.
func mul(a, b float64) float64 { return float64(a * b) }

func (p Point) add(q Point) Point { return Point{p[0] + q[0], p[1] + q[1], p[2] + q[2]} }
func (p Point) sub(q Point) Point { return Point{p[0] - q[0], p[1] - q[1], p[2] - q[2]} }

func (p Point) scale(k float64) Point { return Point{mul(p[0], k), mul(p[1], k), mul(p[2], k)} }

func (p Point) dot(q Point) float64 { return mul(p[0], q[0]) + mul(p[1], q[1]) + mul(p[2], q[2]) }

func (p Point) cross(q Point) Point {
	return Point{
		mul(p[1], q[2]) - mul(p[2], q[1]),
		mul(p[2], q[0]) - mul(p[0], q[2]),
		mul(p[0], q[1]) - mul(p[1], q[0]),
	}
}

func (p Point) length() float64 { return math.Sqrt(p.dot(p)) }

// unit returns p with length 1; the zero point stays as it is.
func (p Point) unit() Point {
	l := p.length()
	if l == 0 {
		return p
	}
	return p.scale(1 / l)
}

// mix returns the point a fraction t of the way from p to q.
func (p Point) mix(q Point, t float64) Point { return p.add(q.sub(p).scale(t)) }

// round returns p on a grid of 1/per millimetres. What is written is rounded,
// so that a difference in the last bit cannot reach a file.
func (p Point) round(per float64) Point {
	return Point{roundTo(p[0], per), roundTo(p[1], per), roundTo(p[2], per)}
}

func roundTo(x, per float64) float64 { return math.Round(mul(x, per)) / per }

func lerp(a, b, t float64) float64 { return a + mul(b-a, t) }

func radians(deg float64) float64 { return mul(deg, math.Pi) / 180 }

func sin(x float64) float64 { s, _ := sincos(x); return s }

// sincos is correct to about 1e-12 and, unlike the functions of package math,
// gives the same bits on every architecture: those are partly written in
// assembly and partly compiled with fused operations.
func sincos(x float64) (s, c float64) {
	q := math.Round(x / (math.Pi / 2))
	r := x - mul(q, math.Pi/2)
	r2 := mul(r, r)
	s = r + mul(mul(r, r2), poly(r2, -1.0/6, 1.0/120, -1.0/5040, 1.0/362880, -1.0/39916800))
	c = 1 + mul(r2, poly(r2, -1.0/2, 1.0/24, -1.0/720, 1.0/40320, -1.0/3628800, 1.0/479001600))
	switch int64(q) & 3 {
	case 1:
		return c, -s
	case 2:
		return -s, -c
	case 3:
		return -c, s
	default:
		return s, c
	}
}

// poly evaluates k[0] + k[1]*x + ... by Horner's rule.
func poly(x float64, k ...float64) float64 {
	var y float64
	for _, c := range slices.Backward(k) {
		y = mul(y, x) + c
	}
	return y
}

// frame is a right-handed frame on a curve: t along it, u and v across.
type frame struct{ t, u, v Point }

// around returns the direction across the curve at angle phi from u towards v.
func (f frame) around(phi float64) Point {
	s, c := sincos(phi)
	return f.u.scale(c).add(f.v.scale(s))
}

// turned carries f along to the direction t without a twist about it.
func (f frame) turned(t Point) frame {
	u := f.u.sub(t.scale(f.u.dot(t))).unit()
	return frame{t, u, t.cross(u)}
}

// anyFrame returns a frame whose curve runs along t.
func anyFrame(t Point) frame {
	axis := Point{1, 0, 0}
	if math.Abs(t[0]) > 0.9 {
		axis = Point{0, 1, 0}
	}
	return frame{u: axis}.turned(t)
}

// curve is a polyline that knows its arc length and carries a twist-free frame.
type curve struct {
	points []Point
	at     []float64 // arc length up to each point
	frames []frame
}

func newCurve(points []Point) curve {
	c := curve{points: points, at: make([]float64, len(points)), frames: make([]frame, len(points))}
	for i := 1; i < len(points); i++ {
		c.at[i] = c.at[i-1] + points[i].sub(points[i-1]).length()
	}
	for i := range points {
		before, after := max(i-1, 0), min(i+1, len(points)-1)
		t := points[after].sub(points[before]).unit()
		if i == 0 {
			c.frames[0] = anyFrame(t)
			continue
		}
		c.frames[i] = c.frames[i-1].turned(t)
	}
	return c
}

func (c curve) length() float64 { return c.at[len(c.at)-1] }

// locate returns the point and the frame at arc length s, which is clamped to
// the curve.
func (c curve) locate(s float64) (Point, frame) {
	i := 1
	for i < len(c.at)-1 && c.at[i] < s {
		i++
	}
	k := (s - c.at[i-1]) / (c.at[i] - c.at[i-1])
	k = min(max(k, 0), 1)
	t := c.frames[i-1].t.mix(c.frames[i].t, k).unit()
	return c.points[i-1].mix(c.points[i], k), c.frames[i-1].turned(t)
}
