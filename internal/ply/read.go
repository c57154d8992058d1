package ply

import (
	"bufio"
	"io"
	"math"
)

// Limits bound what a file may ask for.
type Limits struct {
	// Points and Triangles are the most that are read; a file with more is
	// refused with ErrTooLarge. Zero means 16 million points, 32 million
	// triangles.
	Points, Triangles int
	// Size is how many bytes the file has, where that is known. With it memory is
	// reserved ahead, but never for more rows than so many bytes can hold.
	Size int64
}

// Read reads a PLY file: ASCII or binary of either byte order, numbers of any
// type, properties and elements in any order; what it does not know it passes
// over. Of element vertex it takes x, y, z, nx, ny, nz and red, green, blue
// (bytes; floating-point colours go from 0 to 1); of element face the list
// vertex_indices or vertex_index, and cuts polygons into a fan of triangles.
//
// Points at NaN or infinity are dropped with the triangles that use them; a
// normal that is not finite becomes zero. Errors are ErrDamaged, ErrTooLarge and
// those of r. Memory is in proportion to the bytes present, whatever the header
// promises.
func Read(r io.Reader, limits Limits) (*Mesh, error) {
	if limits.Points == 0 {
		limits.Points = 16_000_000
	}
	if limits.Triangles == 0 {
		limits.Triangles = 32_000_000
	}
	br := bufio.NewReaderSize(r, maxLine)
	h, err := readHeader(br)
	if err != nil {
		return nil, err
	}
	d := &decoder{values: newValues(br, h.format), limits: limits, mesh: new(Mesh)}
	hasPoints := false
	for i := range h.elements {
		switch e := &h.elements[i]; e.name {
		case "vertex":
			hasPoints = true
			d.vertices(e)
		case "face":
			d.faces(e)
		default:
			d.values.skipElement(e)
		}
		if d.values.err != nil {
			return nil, d.values.err
		}
	}
	if !hasPoints || !d.indicesHold() {
		return nil, ErrDamaged
	}
	if d.strays {
		d.mesh.compact()
	}
	return d.mesh, nil
}

type decoder struct {
	values *values
	limits Limits
	mesh   *Mesh
	strays bool // some point is not finite
}

// reserve is for how many rows of e memory is taken ahead.
func (d *decoder) reserve(e *element) int {
	return int(min(int64(e.count), d.limits.Size/int64(max(e.leastRow(d.values.format), 1))))
}

// The places of a vertex's numbers in a row.
const (
	slotNormal = 3
	slotColor  = 6
	slots      = 9
)

func slotOf(name string) int {
	for i, names := range [slots][2]string{
		{"x"}, {"y"}, {"z"}, {"nx"}, {"ny"}, {"nz"},
		{"red", "diffuse_red"}, {"green", "diffuse_green"}, {"blue", "diffuse_blue"},
	} {
		if name == names[0] || name == names[1] {
			return i
		}
	}
	return -1
}

// field is a property that is wanted: where in a binary row, and what for.
type field struct {
	prop   int
	offset int
	kind   scalar
	slot   int
}

// fieldsOf finds the wanted properties of e. Normals and colours count only when
// all three of their numbers are there.
func fieldsOf(e *element) (fields []field, has [slots / 3]bool) {
	var seen [slots]bool
	offset := 0
	for i, p := range e.props {
		slot := slotOf(p.name)
		if slot >= 0 && p.count == none && !seen[slot] {
			seen[slot] = true
			fields = append(fields, field{prop: i, offset: offset, kind: p.kind, slot: slot})
		}
		offset += p.kind.size()
	}
	for i := range has {
		has[i] = seen[3*i] && seen[3*i+1] && seen[3*i+2]
	}
	return fields, has
}

// vertices reads all rows of the element vertex.
func (d *decoder) vertices(e *element) {
	fields, has := fieldsOf(e)
	if !has[0] {
		d.values.err = ErrDamaged.With("the PLY file has no x, y and z")
		return
	}
	if e.count > d.limits.Points {
		d.values.err = ErrTooLarge.With("a PLY file of %d points is too large", e.count)
		return
	}
	n := d.reserve(e)
	d.mesh.Points = make([]Vec, 0, n)
	if has[1] {
		d.mesh.Normals = make([]Vec, 0, n)
	}
	if has[2] {
		d.mesh.Colors = make([]Color, 0, n)
	}
	next := d.rowReader(e, fields)
	var colorKinds [3]scalar
	for _, f := range fields {
		if f.slot >= slotColor {
			colorKinds[f.slot-slotColor] = f.kind
		}
	}
	var row [slots]float64
	for range e.count {
		if next(&row); d.values.err != nil {
			return
		}
		d.point(&row, colorKinds)
	}
}

// rowReader returns what fills in the fields of the next row: at once where all
// rows of a binary file have one size, else number by number.
func (d *decoder) rowReader(e *element, fields []field) func(*[slots]float64) {
	v := d.values
	size, fixed := e.rowSize()
	if fixed && v.format != ascii {
		return func(row *[slots]float64) {
			b := v.bytes(size)
			if b == nil {
				return
			}
			for _, f := range fields {
				row[f.slot] = number(b[f.offset:], f.kind, v.order)
			}
		}
	}
	slot := make([]int, len(e.props))
	for i := range slot {
		slot[i] = -1
	}
	for _, f := range fields {
		slot[f.prop] = f.slot
	}
	return func(row *[slots]float64) {
		for i, p := range e.props {
			if slot[i] >= 0 {
				row[slot[i]] = v.next(p.kind)
			} else {
				v.skip(p)
			}
		}
	}
}

// point takes the numbers of one vertex.
func (d *decoder) point(row *[slots]float64, colorKinds [3]scalar) {
	m := d.mesh
	p := Vec(row[:3])
	d.strays = d.strays || !finite(p)
	m.Points = append(m.Points, p)
	if m.Normals != nil {
		n := Vec(row[slotNormal:slotColor])
		if !finite(n) {
			n = Vec{}
		}
		m.Normals = append(m.Normals, n)
	}
	if m.Colors != nil {
		var c Color
		for i := range c {
			c[i] = colorByte(row[slotColor+i], colorKinds[i])
		}
		m.Colors = append(m.Colors, c)
	}
}

// colorByte brings a colour to one byte: from 0 to 1 as a fraction, 16 bits by
// their upper half.
func colorByte(v float64, kind scalar) uint8 {
	switch {
	case kind.isFloat():
		v = math.Round(v * 255)
	case kind == uint16Type:
		v = math.Floor(v / 256)
	}
	if !(v > 0) { // NaN too
		return 0
	}
	return uint8(min(v, 255))
}

// faces reads all rows of the element face.
func (d *decoder) faces(e *element) {
	list := -1
	for i, p := range e.props {
		if p.count != none && (p.name == "vertex_indices" || p.name == "vertex_index") {
			list = i
		}
	}
	if list < 0 || e.props[list].kind.isFloat() {
		d.values.skipElement(e)
		return
	}
	if e.count > d.limits.Triangles {
		d.values.err = ErrTooLarge.With("a PLY file of %d faces is too large", e.count)
		return
	}
	d.mesh.Triangles = make([][3]uint32, 0, d.reserve(e))
	for range e.count {
		for i, p := range e.props {
			if i == list {
				d.polygon(p)
			} else {
				d.values.skip(p)
			}
		}
		if d.values.err != nil {
			return
		}
	}
}

// polygon reads the corners of one face and keeps a fan of triangles.
func (d *decoder) polygon(p property) {
	v := d.values
	var first, last uint32
	for i, n := 0, v.length(p.count); i < n; i++ {
		f := v.next(p.kind)
		if v.err == nil && !(f >= 0 && f <= math.MaxUint32 && f == math.Trunc(f)) {
			v.err = ErrDamaged
		}
		if v.err != nil {
			return
		}
		corner := uint32(f)
		switch {
		case i == 0:
			first = corner
		case i >= 2 && len(d.mesh.Triangles) == d.limits.Triangles:
			v.err = ErrTooLarge.With("a PLY file of more than %d triangles is too large", d.limits.Triangles)
			return
		case i >= 2:
			d.mesh.Triangles = append(d.mesh.Triangles, [3]uint32{first, last, corner})
		}
		last = corner
	}
}

// indicesHold says that each corner of a triangle is a point.
func (d *decoder) indicesHold() bool {
	for _, t := range d.mesh.Triangles {
		if int64(max(t[0], t[1], t[2])) >= int64(len(d.mesh.Points)) {
			return false
		}
	}
	return true
}
