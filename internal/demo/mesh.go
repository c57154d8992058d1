package demo

import (
	"math"
	"math/rand/v2"
)

// label says which organ a triangle belongs to. The names are those of the
// channels that the virtual imager renders.
type label uint8

const (
	background label = iota // pot, soil and table too
	stemLabel
	leafLabel
	pedicelLabel
	fruitLabel
	flowerLabel
)

// channelNames is indexed by label.
var channelNames = [...]string{"background", "stem", "leaf", "pedicel", "fruit", "flower"}

// rgb is a reflectance, linear, 0 to 1.
type rgb [3]float64

func (c rgb) scale(k float64) rgb { return rgb{mul(c[0], k), mul(c[1], k), mul(c[2], k)} }

func (c rgb) mix(d rgb, t float64) rgb {
	return rgb{lerp(c[0], d[0], t), lerp(c[1], d[1], t), lerp(c[2], d[2], t)}
}

// mesh is a surface of triangles with a normal and a colour at each vertex.
type mesh struct {
	pos, normal []Point
	colour      []rgb
	tri         [][3]int32
	label       []label // of each triangle
}

func (m *mesh) vertex(p Point, c rgb) int32 {
	m.pos = append(m.pos, p)
	m.colour = append(m.colour, c)
	return int32(len(m.pos) - 1)
}

func (m *mesh) triangle(l label, a, b, c int32) {
	m.tri = append(m.tri, [3]int32{a, b, c})
	m.label = append(m.label, l)
}

// grid joins rows of vertices into triangles; a closed grid joins the end of
// each row to its start.
func (m *mesh) grid(l label, rows [][]int32, closed bool) {
	for i := 1; i < len(rows); i++ {
		a, b := rows[i-1], rows[i]
		for j := range a {
			k := j + 1
			if k == len(a) {
				if !closed {
					continue
				}
				k = 0
			}
			m.triangle(l, a[j], a[k], b[k])
			m.triangle(l, a[j], b[k], b[j])
		}
	}
}

// smooth gives each vertex the mean normal of the triangles around it,
// weighted by their area.
func (m *mesh) smooth() {
	m.normal = make([]Point, len(m.pos))
	for _, t := range m.tri {
		n := m.area(t)
		for _, i := range t {
			m.normal[i] = m.normal[i].add(n)
		}
	}
	for i, n := range m.normal {
		m.normal[i] = n.unit()
	}
}

// area returns the normal of t with twice its area as length.
func (m *mesh) area(t [3]int32) Point {
	a := m.pos[t[0]]
	return m.pos[t[1]].sub(a).cross(m.pos[t[2]].sub(a))
}

// tube wraps a surface around the middle line points. The radius and colour
// are functions of the fraction of the points passed.
func (m *mesh) tube(l label, points []Point, sides int, radius func(t float64) float64, colour func(t float64) rgb) {
	c := newCurve(points)
	rows := make([][]int32, len(points))
	for i, p := range points {
		t := float64(i) / float64(len(points)-1)
		for j := range sides {
			across := c.frames[i].around(mul(2*math.Pi, float64(j)) / float64(sides))
			rows[i] = append(rows[i], m.vertex(p.add(across.scale(radius(t))), colour(t)))
		}
	}
	m.grid(l, rows, true)
	m.cap(l, rows[0], points[0], colour(0), true)
	m.cap(l, rows[len(rows)-1], points[len(points)-1], colour(1), false)
}

func (m *mesh) cap(l label, ring []int32, centre Point, c rgb, start bool) {
	mid := m.vertex(centre, c)
	for j := range ring {
		k := (j + 1) % len(ring)
		if start {
			m.triangle(l, mid, ring[k], ring[j])
		} else {
			m.triangle(l, mid, ring[j], ring[k])
		}
	}
}

// ball is a spheroid about centre, stretched along axis.
func (m *mesh) ball(l label, centre, axis Point, radius, stretch float64, c rgb) {
	const rings, sides = 5, 8
	f := anyFrame(axis)
	rows := make([][]int32, rings+1)
	for i := range rows {
		s, k := sincos(mul(math.Pi, float64(i)) / rings)
		for j := range sides {
			across := f.around(mul(2*math.Pi, float64(j)) / sides)
			p := centre.add(across.scale(mul(s, radius))).sub(axis.scale(mul(mul(k, radius), stretch)))
			rows[i] = append(rows[i], m.vertex(p, c))
		}
	}
	m.grid(l, rows, true)
}

// lathe turns a profile of (radius, height) about the vertical through centre.
func (m *mesh) lathe(centre Point, profile [][2]float64, sides int, colour func(ring, side int) rgb) {
	rows := make([][]int32, len(profile))
	for i, p := range profile {
		for j := range sides {
			s, c := sincos(mul(2*math.Pi, float64(j)) / float64(sides))
			q := centre.add(Point{mul(c, p[0]), mul(s, p[0]), p[1]})
			rows[i] = append(rows[i], m.vertex(q, colour(i, j)))
		}
	}
	m.grid(background, rows, true)
}

// leaf is the sheet of b: a grid along and across its midrib, folded along it
// and wavy at the edge.
func (m *mesh) leaf(b blade, green rgb) {
	const along, across = 22, 8
	mid := newCurve(b.midrib(along))
	side := b.out.cross(b.up)
	rows := make([][]int32, along+1)
	for i := range rows {
		// Rows crowd towards the tip, which would be a corner otherwise.
		x := float64(i) / along
		t := lerp(x, 1-mul(1-x, 1-x), 0.7)
		w := b.halfWidth(t)
		p, f := mid.locate(mul(t, mid.length()))
		up := side.cross(f.t)
		for j := range across + 1 {
			k := mul(float64(j), 2.0/across) - 1
			fold := mul(mul(k, k), mul(w, 0.34))
			wave := mul(mul(mul(k, k), mul(w, 0.13)), sin(mul(t, 19)+mul(k, 1.7)))
			q := p.add(side.scale(mul(w, k))).add(up.scale(fold + wave))
			c := green.scale(1 + mul(b.tone, 0.3) + mul(0.12, sin(mul(k, 5)+mul(t, 11))))
			c = c.mix(rgb{0.46, 0.55, 0.20}, mul(max(0, 1-mul(math.Abs(k), 5)), 0.5))
			c = c.mix(rgb{0.42, 0.46, 0.14}, mul(mul(t, t), 0.28))
			if t < b.petiole {
				c = c.mix(rgb{0.44, 0.50, 0.20}, 0.6)
			}
			rows[i] = append(rows[i], m.vertex(q, c))
		}
	}
	m.grid(leafLabel, rows, false)
}

var (
	stemGreen    = rgb{0.26, 0.40, 0.12}
	stemViolet   = rgb{0.30, 0.24, 0.16}
	leafGreen    = rgb{0.13, 0.30, 0.075}
	caulineGreen = rgb{0.16, 0.35, 0.09}
	podGreen     = rgb{0.33, 0.47, 0.13}
	podTip       = rgb{0.50, 0.47, 0.17}
	petalWhite   = rgb{0.93, 0.93, 0.90}
	anther       = rgb{0.85, 0.68, 0.12}
)

// stemRadius at the fraction t of the stem.
func stemRadius(t float64) float64 { return lerp(1.45, 0.6, t) }

// surface makes the plant's mesh.
func (o organs) surface() *mesh {
	m := &mesh{}
	m.tube(stemLabel, o.stem.points, 10, stemRadius, func(t float64) rgb {
		return stemViolet.mix(stemGreen, min(1, mul(t, 5)))
	})
	for _, b := range o.rosette {
		m.leaf(b, leafGreen)
	}
	for _, b := range o.cauline {
		m.leaf(b, caulineGreen)
	}
	for _, f := range o.fruits {
		m.fruit(f)
	}
	for _, f := range o.flowers {
		m.flower(f)
	}
	m.smooth()
	return m
}

func (m *mesh) fruit(f shoot) {
	m.tube(pedicelLabel, f.line[:f.pedicel+1], 6,
		func(float64) float64 { return 0.5 },
		func(float64) rgb { return stemGreen })
	m.tube(fruitLabel, f.line[f.pedicel:], 8,
		func(t float64) float64 {
			// Blunt at the pedicel, beaked at the tip.
			return mul(lerp(0.75, 1.05, f.size), min(min(1, 0.55+mul(t, 4)), 0.3+mul(1-t, 3.2)))
		},
		func(t float64) rgb { return podGreen.mix(podTip, mul(mul(t, t), 0.7)) })
}

func (m *mesh) flower(f shoot) {
	m.tube(pedicelLabel, f.line, 6,
		func(float64) float64 { return 0.42 },
		func(float64) rgb { return stemGreen })
	tip := f.line[len(f.line)-1]
	axis := tip.sub(f.line[len(f.line)-2]).unit()
	centre := tip.add(axis.scale(1.2))
	m.ball(flowerLabel, centre, axis, mul(1.25, lerp(0.8, 1, f.size)), 1.35, podGreen)
	if f.size < 0.58 {
		return // still a bud
	}
	fr := anyFrame(axis)
	for i := range 4 {
		m.petal(centre, fr, mul(math.Pi/2, float64(i)), mul(5.6, f.size))
	}
	m.ball(flowerLabel, centre.add(axis.scale(2.1)), axis, 0.75, 1.2, anther)
}

// petal is a small rounded sheet that opens outwards and up.
func (m *mesh) petal(base Point, f frame, phi, length float64) {
	const along, across = 5, 4
	out, side := f.around(phi), f.around(phi+math.Pi/2)
	rows := make([][]int32, along+1)
	for i := range rows {
		t := float64(i) / along
		w := mul(mul(length, 0.40), max(0.12, sin(mul(math.Pi, mul(t, 0.82)))))
		up := mul(mul(length, 0.62), t) - mul(mul(length, 0.30), mul(t, t))
		for j := range across + 1 {
			k := mul(float64(j), 2.0/across) - 1
			p := base.add(out.scale(mul(mul(length, 0.92), t))).add(f.t.scale(up + mul(mul(k, k), 0.3)))
			c := podGreen.mix(petalWhite, min(1, mul(t, 3.5)))
			rows[i] = append(rows[i], m.vertex(p.add(side.scale(mul(w, k))), c))
		}
	}
	m.grid(flowerLabel, rows, false)
}

// stage makes what the plant stands in and on. The soil never rises above the
// rim of the pot, and the rim is too narrow to hide what grows from the soil.
func (s specimen) stage() *mesh {
	m := &mesh{}
	r := rand.New(rand.NewPCG(s.seed, 77))
	clay := rgb{0.42, 0.19, 0.11}
	pot := [][2]float64{{0, -62}, {26, -62}, {27, -61}, {31, -34}, {34, -13}, {34.4, -12}, {37, -11.6}, {37.6, -10.6}, {38, -2.2}, {37.4, -1.2}, {35.6, -1.1}, {35, -2.2}, {34.6, -6}}
	m.lathe(s.base, pot, 48, func(ring, _ int) rgb { return clay.scale(1 + mul(float64(ring), 0.012)) })
	m.soil(s.base, r)
	slate := rgb{0.085, 0.095, 0.115}
	table := [][2]float64{{0, -62}, {20, -62}, {32, -62}, {46, -62}, {62, -62}, {80, -62}, {98, -62}, {112, -62}, {113, -62}, {120, -62}, {121, -62}, {130, -62}, {131.5, -63}, {132, -68}, {128, -74}}
	m.lathe(s.base, table, 144, func(ring, side int) rgb {
		if ring >= 8 && ring <= 9 && side%6 == 0 {
			return rgb{0.62, 0.64, 0.66} // a mark every fifteen degrees
		}
		return slate
	})
	m.smooth()
	return m
}

func (m *mesh) soil(base Point, r *rand.Rand) {
	const rings, sides, radius = 16, 72, 35.0
	rows := make([][]int32, rings+1)
	for i := range rows {
		t := float64(i) / rings
		for j := range sides {
			s, c := sincos(mul(2*math.Pi, float64(j)+mul(0.5, float64(i%2))) / sides)
			d := mul(radius, t)
			sunk := mul(r.Float64(), min(1.5, mul(8, 1-t)+0.2)) + mul(1.6, t)
			tone := 0.55 + mul(r.Float64(), 0.9)
			if r.IntN(40) == 0 {
				tone = 4.5 // a grain of perlite
			}
			p := base.add(Point{mul(c, d), mul(s, d), -sunk})
			rows[i] = append(rows[i], m.vertex(p, rgb{0.085, 0.058, 0.040}.scale(tone)))
		}
	}
	m.grid(background, rows, true)
}

// join returns one mesh of both, the vertices of m first.
func (m *mesh) join(n *mesh) *mesh {
	shift := int32(len(m.pos))
	j := &mesh{
		pos:    append(append([]Point{}, m.pos...), n.pos...),
		normal: append(append([]Point{}, m.normal...), n.normal...),
		colour: append(append([]rgb{}, m.colour...), n.colour...),
		tri:    append([][3]int32{}, m.tri...),
		label:  append(append([]label{}, m.label...), n.label...),
	}
	for _, t := range n.tri {
		j.tri = append(j.tri, [3]int32{t[0] + shift, t[1] + shift, t[2] + shift})
	}
	return j
}
