package demo

import "math/rand/v2"

// Camera is a pose in the convention of OpenCV and COLMAP: x to the right, y
// down, z forward, and a point p of the world is Rotmat*p + Tvec in the
// camera. There is no distortion and the principal point is the middle.
type Camera struct {
	ID     string // of the image's file: "00000_rgb"
	Rotmat [3]Point
	Tvec   Point
	// Planned is where the imager meant to be: x, y, z in millimetres, pan and
	// tilt in degrees. A real imager misses it by a millimetre or so.
	Planned [5]float64
}

// focalShare is the focal length in image widths: that of the camera that the
// published real scans were taken with.
const focalShare = 1166.9518889440105 / 1440

// Focal returns the focal length in pixels of an image of that width.
func (c Camera) Focal(width int) float64 { return mul(focalShare, float64(width)) }

// Project returns where p falls in an image of width x height pixels, the
// corner of the first pixel being (0, 0), and its depth along the view; a point
// with depth <= 0 is behind the camera and u and v mean nothing.
func (c Camera) Project(p Point, width, height int) (u, v, depth float64) {
	q := c.view(p)
	f := c.Focal(width)
	return mul(f, q[0])/q[2] + float64(width)/2, mul(f, q[1])/q[2] + float64(height)/2, q[2]
}

// Centre returns where the camera stands in the world.
func (c Camera) Centre() Point {
	var p Point
	for i, row := range c.Rotmat {
		p = p.sub(row.scale(c.Tvec[i]))
	}
	return p
}

func (c Camera) view(p Point) Point {
	return Point{c.Rotmat[0].dot(p), c.Rotmat[1].dot(p), c.Rotmat[2].dot(p)}.add(c.Tvec)
}

// aim returns the camera at centre that looks along the azimuth az and tilt
// degrees downwards.
func aim(centre Point, az, tilt float64) Camera {
	sa, ca := sincos(radians(az))
	st, ct := sincos(radians(tilt))
	forward := Point{mul(ca, ct), mul(sa, ct), -st}
	right := forward.cross(Point{0, 0, 1}).unit()
	c := Camera{Rotmat: [3]Point{right, forward.cross(right), forward}}
	for i, row := range c.Rotmat {
		c.Rotmat[i] = row.round(1e9)
		c.Tvec[i] = roundTo(-c.Rotmat[i].dot(centre), 1e6)
	}
	return c
}

// circle is the path of the imager: shots at equal angles, all looking at the
// vertical through the middle.
type circle struct {
	x, y, z      float64
	radius, tilt float64
	shots        int
	seed         uint64
	slack        float64 // how far the imager misses its mark, mm
}

// cameras returns the poses along the path. The first stands at -x, the pan is
// counted as the published scans do.
func (p circle) cameras() []Camera {
	r := rand.New(rand.NewPCG(p.seed, 4242))
	miss := func() float64 { return mul(p.slack, 2*r.Float64()-1) }
	out := make([]Camera, p.shots)
	for i := range out {
		az := mul(360, float64(i)) / float64(p.shots)
		s, c := sincos(radians(az))
		at := Point{p.x - mul(p.radius, c), p.y - mul(p.radius, s), p.z}.round(1e6)
		pan := 270 + az
		if pan >= 360 {
			pan -= 360
		}
		stood := at.add(Point{miss(), miss(), miss()})
		out[i] = aim(stood, az+mul(miss(), 0.2), p.tilt+mul(miss(), 0.2))
		out[i].ID = imageID(i, "rgb")
		out[i].Planned = [5]float64{at[0], at[1], at[2], roundTo(pan, 1e6), p.tilt}
	}
	return out
}
