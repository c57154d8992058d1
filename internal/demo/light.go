package demo

import "math"

// The light of the stage: an overcast sky and one large lamp. Both are baked
// into the vertices once a scene, shadows and all, since neither moves with
// the camera.
const (
	skyRays   = 28
	lampRays  = 7
	mapSize   = 512
	shadeBias = 1.1 // mm: thinner organs throw no shadow on themselves
)

var lampDirection = Point{-0.45, 0.38, 0.82}

// lit is the light that reaches a vertex, before its colour: on the side of
// its normal and on the other.
type lit struct{ front, back lights }

type lights struct{ sky, lamp float64 }

// scene is a mesh with its light.
type scene struct {
	mesh *mesh
	lit  []lit
}

func newScene(m *mesh) *scene {
	s := &scene{mesh: m, lit: make([]lit, len(m.pos))}
	depth := newDepthMap(mapSize)
	corners := make([]corner, len(m.pos))
	var whole float64
	for _, d := range spiral(Point{0, 0, 1}, skyRays, 0.05) {
		whole += d[2]
	}
	for _, d := range spiral(Point{0, 0, 1}, skyRays, 0.05) {
		s.bake(depth, corners, d, func(l *lights, cosine float64) { l.sky += cosine / whole })
	}
	for _, d := range spiral(lampDirection.unit(), lampRays, 0.985) {
		s.bake(depth, corners, d, func(l *lights, cosine float64) { l.lamp += cosine / lampRays })
	}
	return s
}

// spiral spreads n directions evenly over the cap about axis whose rim has
// that cosine.
func spiral(axis Point, n int, rim float64) []Point {
	f := anyFrame(axis)
	out := make([]Point, n)
	for i := range out {
		z := lerp(1, rim, (float64(i)+0.5)/float64(n))
		across := math.Sqrt(max(0, 1-mul(z, z)))
		out[i] = axis.scale(z).add(f.around(mul(float64(i), 2.399963229728653)).scale(across))
	}
	return out
}

// bake adds the light from direction d to each vertex that sees it.
func (s *scene) bake(depth *canvas, corners []corner, d Point, add func(l *lights, cosine float64)) {
	f := anyFrame(d)
	place := s.fit(f)
	for i, p := range s.mesh.pos {
		corners[i] = place(p)
	}
	depth.clear()
	for i, t := range s.mesh.tri {
		depth.draw(&corners[t[0]], &corners[t[1]], &corners[t[2]], s.mesh.label[i])
	}
	for i, p := range s.mesh.pos {
		n := s.mesh.normal[i]
		cosine := n.dot(d)
		side := &s.lit[i].front
		if cosine < 0 {
			side, n, cosine = &s.lit[i].back, n.scale(-1), -cosine
		}
		c := place(p.add(n.scale(shadeBias)))
		x, y := int(c.x/subpixel), int(c.y/subpixel)
		if x < 0 || y < 0 || x >= depth.w || y >= depth.h || float64(depth.near[y*depth.w+x]) <= c.near+shadeBias {
			add(side, cosine)
		}
	}
}

// fit returns the parallel projection along f.t that just holds the scene.
func (s *scene) fit(f frame) func(Point) corner {
	lo, hi := Point{math.Inf(1), math.Inf(1)}, Point{math.Inf(-1), math.Inf(-1)}
	for _, p := range s.mesh.pos {
		for k, x := range [2]float64{f.u.dot(p), f.v.dot(p)} {
			lo[k], hi[k] = min(lo[k], x), max(hi[k], x)
		}
	}
	step := (mapSize - 2) / max(hi[0]-lo[0], hi[1]-lo[1])
	return func(p Point) corner {
		return corner{
			x:    fixed(mul(f.u.dot(p)-lo[0], step) + 1),
			y:    fixed(mul(f.v.dot(p)-lo[1], step) + 1),
			near: f.t.dot(p),
		}
	}
}

var (
	skyColour  = rgb{0.52, 0.58, 0.66}
	lampColour = rgb{0.98, 0.93, 0.84}
	headColour = rgb{0.10, 0.10, 0.10} // a weak lamp at the camera
	throughHue = rgb{0.42, 0.46, 0.16} // light that comes through a leaf
)

// shade returns the colour, 0 to 255, in which an eye at that place sees
// vertex i.
func (s *scene) shade(i int, eye Point) [3]float64 {
	view := eye.sub(s.mesh.pos[i]).unit()
	facing := s.mesh.normal[i].dot(view)
	near, far := s.lit[i].front, s.lit[i].back
	if facing < 0 {
		near, far, facing = far, near, -facing
	}
	var out [3]float64
	for k := range out {
		light := mul(skyColour[k], near.sky) + mul(lampColour[k], near.lamp) +
			mul(headColour[k], facing) + mul(throughHue[k], far.lamp) + 0.02
		// A square root is the display's gamma, near enough.
		out[k] = mul(255, math.Sqrt(min(1, mul(s.mesh.colour[i][k], mul(light, 1.25)))))
	}
	return out
}

// render draws what cam sees, at two samples a pixel in each direction.
func (s *scene) render(c *canvas, cam Camera) {
	c.clear()
	eye := cam.Centre()
	corners := make([]corner, len(s.mesh.pos))
	for i, p := range s.mesh.pos {
		u, v, depth := cam.Project(p, c.w, c.h)
		if depth < 1 {
			corners[i].hidden = true
			continue
		}
		corners[i] = corner{x: fixed(u), y: fixed(v), near: 1 / depth, colour: s.shade(i, eye)}
	}
	for i, t := range s.mesh.tri {
		c.draw(&corners[t[0]], &corners[t[1]], &corners[t[2]], s.mesh.label[i])
	}
}
