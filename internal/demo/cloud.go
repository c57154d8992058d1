package demo

import (
	"math"
	"math/rand/v2"
	"sort"
)

// cloudNoise bounds how far a reconstructed point lies off the surface, in
// millimetres.
const cloudNoise = 0.36

// cloud is a set of points on a surface.
type cloud struct {
	pos, normal []Point
	colour      []rgb
	label       []label
	rms         float64 // of the distances to the surface
}

// sample spreads n points evenly over the area of m, each moved along its
// normal by a bell-shaped error of at most noise.
func (m *mesh) sample(seed uint64, n int, noise float64) cloud {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	sums := make([]float64, len(m.tri))
	var total float64
	for i, t := range m.tri {
		total += m.area(t).length()
		sums[i] = total
	}
	var c cloud
	var squares float64
	for range n {
		i := min(sort.SearchFloat64s(sums, mul(r.Float64(), total)), len(m.tri)-1)
		t := m.tri[i]
		// The square root makes the points uniform over the triangle.
		k, l := math.Sqrt(r.Float64()), r.Float64()
		wb, wc := mul(k, 1-l), mul(k, l)
		wa := 1 - k
		off := bell(r, noise/3)
		squares += mul(off, off)
		normal := blend(m.normal, t, wa, wb, wc).unit()
		c.pos = append(c.pos, blend(m.pos, t, wa, wb, wc).add(m.area(t).unit().scale(off)).round(1e4))
		c.normal = append(c.normal, normal.round(1e6))
		c.colour = append(c.colour, m.colour[t[0]].mix(m.colour[t[1]], l))
		c.label = append(c.label, m.label[i])
	}
	c.rms = roundTo(math.Sqrt(squares/float64(n)), 1e6)
	return c
}

func blend(p []Point, t [3]int32, a, b, c float64) Point {
	return p[t[0]].scale(a).add(p[t[1]].scale(b)).add(p[t[2]].scale(c))
}

// byLabel returns the cloud with each point in the colour of its organ.
func (c cloud) byLabel() cloud {
	palette := [len(channelNames)]rgb{
		stemLabel: {0.02, 0.55, 0.05}, leafLabel: {0.85, 0.75, 0.02}, pedicelLabel: {0.9, 0.2, 0.02},
		fruitLabel: {0.05, 0.15, 0.85}, flowerLabel: {0.8, 0.1, 0.7},
	}
	out := c
	out.colour = make([]rgb, len(c.label))
	for i, l := range c.label {
		out.colour[i] = palette[l]
	}
	return out
}
