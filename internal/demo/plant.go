package demo

import (
	"math"
	"math/rand/v2"
)

// Plant is what a scan was made from: the truth that its images, clouds and
// measures are to be compared with. Lengths are millimetres, angles degrees,
// and the coordinates are those of the scan's files.
type Plant struct {
	// Angles holds the divergence from each fruit to the next one above it,
	// counted counterclockwise about the growing stem; Internodes the length of
	// stem between the two. Both are one shorter than FruitPoints.
	Angles     []float64
	Internodes []float64
	// FruitPoints holds for each fruit, from the lowest up, the middle line
	// from the axis of the stem along the pedicel to the tip of the silique.
	FruitPoints [][]Point
	// Stem is the axis of the stem from the soil to the apex.
	Stem []Point
	// Cameras holds the poses that the images were rendered from, in the order
	// of the files.
	Cameras []Camera
}

// specimen holds the traits of one plant; two scans of a specimen show the
// same plant.
type specimen struct {
	seed     uint64
	base     Point   // where the stem leaves the soil
	height   float64 // of the stem, straightened
	bend     float64 // how far the apex hangs over, towards +x
	sway     float64 // how far the middle swings out, towards +y
	fruits   int
	flowers  int
	rosette  int
	leaf     float64 // length of a grown rosette leaf
	cauline  int
	divSigma float64 // spread of the divergence angles, degrees
}

// shoot is a side organ by its middle line, which lies in the plane of the
// stem's tangent and one direction across the stem: projected along the stem
// it keeps exactly the azimuth it grew at.
type shoot struct {
	at      float64 // arc length of the stem where it leaves it
	line    []Point
	pedicel int // index of the point where the pedicel ends
	size    float64
}

// organs is the plant before it has a surface.
type organs struct {
	stem       curve
	angles     []float64
	internodes []float64
	fruits     []shoot
	flowers    []shoot
	cauline    []blade
	rosette    []blade
}

// blade is a leaf: where it starts, which way it grows and how it bends.
type blade struct {
	at            float64 // arc length of the stem where it leaves it
	base          Point
	out, up       Point
	length, width float64
	rise          float64 // elevation where it starts, radians
	droop         float64 // how much of it is lost up to the tip
	petiole       float64 // share of the length without blade
	tone          float64 // -1 dark to 1 light
}

const meanDivergence = 137.5

// bell draws from a bell-shaped curve of width sigma, bounded by 3 sigma.
func bell(r *rand.Rand, sigma float64) float64 {
	sum := r.Float64() + r.Float64() + r.Float64() + r.Float64() - 2
	return mul(mul(sum, 1.5), sigma)
}

// stream returns the n-th sequence of random numbers of s. Each trait draws
// from its own, so that a plant that grows keeps the angles it has.
func (s specimen) stream(n uint64) *rand.Rand { return rand.New(rand.NewPCG(s.seed, n)) }

// grow makes the organs of s. It depends on nothing else.
func (s specimen) grow() organs {
	o := organs{stem: s.stem()}
	s.phyllotaxis(&o)
	s.leaves(&o)
	return o
}

func (s specimen) stem() curve {
	const steps = 120
	points := make([]Point, steps+1)
	for i := range points {
		t := float64(i) / steps
		points[i] = s.base.add(Point{
			mul(s.bend, mul(t, t)),
			mul(s.sway, sin(mul(t, 1.35*math.Pi))),
			mul(s.height, t),
		})
	}
	return newCurve(points)
}

// phyllotaxis places cauline leaves, fruits and flowers along one generative
// spiral. Angles are multiples of 0.1 degrees and internodes of 0.1 mm, so
// that the files hold the truth as it is and not a rounding of it.
func (s specimen) phyllotaxis(o *organs) {
	turns, lengths, shapes := s.stream(1), s.stream(2), s.stream(3)
	length := o.stem.length()
	o.internodes = s.internodes(lengths, mul(length, 0.60))
	at, phi := mul(length, 0.32), mul(turns.Float64(), 360)
	for i := range s.cauline {
		below := float64(i + 1)
		o.cauline = append(o.cauline, s.caulineLeaf(shapes, o.stem,
			at-mul(below, mul(length, 0.062)), phi-mul(below, meanDivergence)))
	}
	for i := range s.fruits {
		young := float64(i) / float64(s.fruits)
		o.fruits = append(o.fruits, growFruit(shapes, o.stem, at, phi, 1-mul(young, mul(young, 0.72))))
		if i < len(o.internodes) {
			o.angles = append(o.angles, roundTo(meanDivergence+bell(turns, s.divSigma), 10))
			at += o.internodes[i]
			phi += o.angles[i]
		}
	}
	for i := range s.flowers {
		young := float64(i) / float64(s.flowers)
		at = min(at+lerp(2.6, 0.8, young), length-0.2)
		phi += meanDivergence + bell(turns, s.divSigma)
		o.flowers = append(o.flowers, growFlower(o.stem, at, phi, lerp(1, 0.4, young)))
	}
}

// internodes divides span between the fruits, shorter ones further up.
func (s specimen) internodes(r *rand.Rand, span float64) []float64 {
	raw := make([]float64, s.fruits-1)
	var sum float64
	for i := range raw {
		raw[i] = mul(lerp(1.5, 0.6, float64(i)/float64(len(raw))), 1+bell(r, 0.16))
		sum += raw[i]
	}
	for i, x := range raw {
		raw[i] = roundTo(mul(x, span)/sum, 10)
	}
	return raw
}

// growFruit grows a pedicel and its silique at arc length at and azimuth phi.
func growFruit(r *rand.Rand, stem curve, at, phi, size float64) shoot {
	p, f := stem.locate(at)
	out := f.around(radians(phi))
	rise := radians(24 + bell(r, 4))
	pedicel, silique := mul(9, lerp(0.7, 1, size))+bell(r, 0.5), mul(17, size)+bell(r, 0.8)
	const pedicelSteps, siliqueSteps = 5, 9
	sh := shoot{at: at, line: []Point{p}, pedicel: pedicelSteps, size: size}
	for i := range pedicelSteps + siliqueSteps {
		step := pedicel / pedicelSteps
		if i >= pedicelSteps {
			step = silique / siliqueSteps
		}
		sn, cs := sincos(rise)
		p = p.add(out.scale(mul(cs, step))).add(f.t.scale(mul(sn, step)))
		sh.line = append(sh.line, p)
		rise += radians(2.9)
	}
	return sh
}

// growFlower grows a pedicel with a flower or, when young, a bud on its end.
func growFlower(stem curve, at, phi, size float64) shoot {
	p, f := stem.locate(at)
	out := f.around(radians(phi))
	rise := radians(lerp(78, 42, size))
	const steps = 6
	sh := shoot{at: at, line: []Point{p}, pedicel: steps, size: size}
	for range steps {
		sn, cs := sincos(rise)
		step := mul(9.5, size) / steps
		p = p.add(out.scale(mul(cs, step))).add(f.t.scale(mul(sn, step)))
		sh.line = append(sh.line, p)
		rise += radians(2)
	}
	return sh
}

func (s specimen) caulineLeaf(r *rand.Rand, stem curve, at, phi float64) blade {
	p, f := stem.locate(at)
	length := mul(s.leaf, 0.62) + bell(r, 2)
	return blade{
		at: at, base: p, out: f.around(radians(phi)), up: f.t, length: length, width: mul(length, 0.30),
		rise: radians(50 + bell(r, 5)), droop: radians(58), petiole: 0.04, tone: bell(r, 0.3),
	}
}

// leaves grows the rosette: the oldest leaves lie low and long, the youngest
// stand up in the middle.
func (s specimen) leaves(o *organs) {
	r := s.stream(4)
	for i := range s.rosette {
		young := float64(i) / float64(s.rosette)
		sn, cs := sincos(radians(mul(float64(i), meanDivergence) + bell(r, 6)))
		out := Point{cs, sn, 0}
		length := mul(s.leaf, lerp(1, 0.42, mul(young, young))) + bell(r, 1.5)
		o.rosette = append(o.rosette, blade{
			base: s.base.add(out.scale(1.5)).add(Point{0, 0, lerp(0.6, 4, young)}),
			out:  out, up: Point{0, 0, 1}, length: length, width: mul(length, 0.42),
			rise: radians(lerp(17, 60, young) + bell(r, 4)), droop: radians(lerp(26, 46, young)),
			petiole: 0.34, tone: bell(r, 0.35),
		})
	}
}

// midrib returns the middle line of b in steps+1 points.
func (b blade) midrib(steps int) []Point {
	points := []Point{b.base}
	p, step := b.base, b.length/float64(steps)
	for i := range steps {
		sn, cs := sincos(b.rise - mul(b.droop, (float64(i)+0.5)/float64(steps)))
		p = p.add(b.out.scale(mul(cs, step))).add(b.up.scale(mul(sn, step)))
		points = append(points, p)
	}
	return points
}

// halfWidth returns how far b reaches to each side of its midrib at the
// fraction t of its length.
func (b blade) halfWidth(t float64) float64 {
	const thin = 0.055
	if t <= b.petiole {
		return mul(b.width, thin)
	}
	k := (t - b.petiole) / (1 - b.petiole)
	// An ellipse whose widest place is moved towards the tip and whose lower
	// half runs out into the petiole.
	x := mul(k, 0.58) + mul(mul(k, k), 0.42)
	w := mul(math.Sqrt(mul(mul(4, x), 1-x)), min(1, 0.35+mul(k, 1.7)))
	return mul(b.width/2, max(w, mul(2*thin, 1-k)))
}

// truth returns the exported form of o with the cameras of a scan.
func (o organs) truth(cameras []Camera) Plant {
	p := Plant{Angles: o.angles, Internodes: o.internodes, Cameras: cameras}
	for _, q := range o.stem.points {
		p.Stem = append(p.Stem, q.round(1e6))
	}
	for _, f := range o.fruits {
		line := make([]Point, len(f.line))
		for i, q := range f.line {
			line[i] = q.round(1e6)
		}
		p.FruitPoints = append(p.FruitPoints, line)
	}
	return p
}
