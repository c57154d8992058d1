package ply

import (
	"math"
	"math/rand/v2"
)

// grid numbers the voxels that points lie in, in the order in which they are
// first met. It finds them by open addressing: a table of numbers into a slice
// of cells.
type grid struct {
	origin Vec
	voxel  float64

	// table holds, for each cell, 32 bits of its hash and its number plus one. It
	// is at most half full.
	table []uint64
	hash  [4]uint64 // random, so that no file can be made to collide
	cells [][3]int32
}

// newGrid lays a grid over points. Its error is ErrVoxel.
func newGrid(points []Vec, voxel float64) (*grid, error) {
	if !(voxel > 0) || math.IsInf(voxel, 1) {
		return nil, ErrVoxel.With("voxel size %g is not a positive number", voxel)
	}
	g := &grid{voxel: voxel, table: make([]uint64, 1<<12)}
	for i := range g.hash {
		g.hash[i] = rand.Uint64() //nolint:gosec // A hash that nobody outside can predict well enough.
	}
	if len(points) == 0 {
		return g, nil
	}
	least, most := points[0], points[0]
	for _, p := range points {
		for i, v := range p {
			// Finite, so comparing does, and is quicker than min and max.
			if v < least[i] {
				least[i] = v
			} else if v > most[i] {
				most[i] = v
			}
		}
	}
	for i := range least {
		g.origin[i] = least[i] - voxel*0.5
		// Negated, so that an overflow of the difference does not pass.
		if cells := (most[i] - g.origin[i]) / voxel; !(cells < math.MaxInt32) {
			return nil, ErrVoxel.With("voxel size %g is too small for this file", voxel)
		}
	}
	return g, nil
}

// assign returns the number of each point's cell.
func (g *grid) assign(points []Vec) []uint32 {
	// Block by block: the divisions of many points overlap in the processor, and
	// so do the waits for the table's memory, but not one with the other.
	const block = 256
	var index [block][3]int32
	var hash [block]uint64
	cellOf := make([]uint32, len(points))
	for start := 0; start < len(points); start += block {
		part := points[start:min(start+block, len(points))]
		for i, p := range part {
			index[i] = g.index(p)
			hash[i] = g.hashOf(index[i])
		}
		for i := range part {
			cellOf[start+i] = g.find(index[i], hash[i])
		}
	}
	return cellOf
}

// index returns the voxel of p. No coordinate is less than the origin's, so
// cutting off the fraction is the floor.
func (g *grid) index(p Vec) [3]int32 {
	return [3]int32{
		int32((p[0] - g.origin[0]) / g.voxel),
		int32((p[1] - g.origin[1]) / g.voxel),
		int32((p[2] - g.origin[2]) / g.voxel),
	}
}

// hashOf is multilinear hashing (Carter and Wegman): any two cells collide with
// a chance of 2^-32, whoever chose them.
func (g *grid) hashOf(index [3]int32) uint64 {
	return (g.hash[3] + uint64(uint32(index[0]))*g.hash[0] +
		uint64(uint32(index[1]))*g.hash[1] + uint64(uint32(index[2]))*g.hash[2]) >> 32
}

// find returns the number of the cell at index, which it makes when missing.
func (g *grid) find(index [3]int32, hash uint64) uint32 {
	mask := uint64(len(g.table) - 1)
	for at := hash & mask; ; at = (at + 1) & mask {
		slot := g.table[at]
		if slot == 0 {
			g.cells = append(g.cells, index)
			g.table[at] = hash<<32 | uint64(len(g.cells))
			if 2*len(g.cells) > len(g.table) {
				g.grow()
			}
			return uint32(len(g.cells) - 1)
		}
		if number := uint32(slot) - 1; slot>>32 == hash && g.cells[number] == index {
			return number
		}
	}
}

// grow makes the table four times as large.
func (g *grid) grow() {
	old := g.table
	g.table = make([]uint64, 4*len(old))
	mask := uint64(len(g.table) - 1)
	for _, slot := range old {
		if slot == 0 {
			continue
		}
		at := slot >> 32 & mask
		for g.table[at] != 0 {
			at = (at + 1) & mask
		}
		g.table[at] = slot
	}
}
