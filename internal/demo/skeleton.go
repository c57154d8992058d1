package demo

import (
	"cmp"
	"slices"
)

// skeleton is the plant as middle lines: nodes joined by lines, a tree whose
// root is the first node.
type skeleton struct {
	points []Point
	lines  [][2]int
	stem   []bool // of each node: on the main stem
	fruit  []int  // of each node: the fruit it belongs to, or -1
}

// node adds a node and joins it to parent unless that is negative.
func (s *skeleton) node(p Point, parent int, stem bool, fruit int) int {
	s.points = append(s.points, p.round(1e4))
	s.stem = append(s.stem, stem)
	s.fruit = append(s.fruit, fruit)
	if parent >= 0 {
		s.lines = append(s.lines, [2]int{parent, len(s.points) - 1})
	}
	return len(s.points) - 1
}

// branch is a middle line that leaves the stem at an arc length.
type branch struct {
	at    float64
	line  []Point
	fruit int
}

func (o organs) branches() []branch {
	var out []branch
	for i, f := range o.fruits {
		out = append(out, branch{f.at, f.line[1:], i})
	}
	for _, f := range o.flowers {
		out = append(out, branch{f.at, f.line[1:], -1})
	}
	const steps = 8
	for _, b := range slices.Concat(o.rosette, o.cauline) {
		out = append(out, branch{b.at, b.midrib(steps), -1})
	}
	return out
}

// skeleton joins the branches to the stem where they leave it.
func (o organs) skeleton() *skeleton {
	branches := o.branches()
	slices.SortStableFunc(branches, func(a, b branch) int { return cmp.Compare(a.at, b.at) })
	s := &skeleton{}
	tip := -1
	const step = 6.0 // mm between stem nodes at most
	var at float64
	climb := func(to float64) {
		for at < to {
			at = min(at+step, to)
			p, _ := o.stem.locate(at)
			tip = s.node(p, tip, true, -1)
		}
	}
	// The first node stands clear of the soil, so that it can be seen.
	climb(2)
	for _, b := range branches {
		climb(b.at)
		parent := tip
		for _, p := range b.line {
			parent = s.node(p, parent, false, b.fruit)
		}
	}
	climb(o.stem.length())
	return s
}
