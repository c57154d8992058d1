// Package ply reads and writes point clouds and triangle meshes in the PLY
// format, and thins them on a voxel grid as Open3D does. It reads what Open3D,
// MeshLab and CloudCompare write, and whatever else the header describes; it
// knows nothing of scans, and trusts no number in a file.
package ply

import (
	"math"

	"github.com/romi/plantdb-go/internal/fault"
)

// The failures that callers may see.
var (
	// ErrDamaged is a file that is not PLY, ends too early, or names a vertex
	// that it does not have.
	ErrDamaged = fault.New(fault.Unprocessable, "damaged_ply", "the file is not a PLY file that can be read")
	// ErrTooLarge is a file over the limits that the caller gave.
	ErrTooLarge = fault.New(fault.Unprocessable, "ply_too_large", "the PLY file is too large")
	// ErrVoxel is a voxel size that is not positive and finite, or so small that
	// the grid over this file would have more than 2^31 cells on one axis.
	ErrVoxel = fault.New(fault.Invalid, "bad_size", "the voxel size does not suit this file")
)

// Vec is a place or a direction.
type Vec [3]float64

// Color is red, green and blue.
type Color [3]uint8

// Mesh is a point cloud, and a mesh when it has triangles.
type Mesh struct {
	Points  []Vec
	Normals []Vec   // nil, or one a point; zero where a point has none
	Colors  []Color // nil, or one a point
	// Triangles hold indices into Points, and are nil for a point cloud.
	Triangles [][3]uint32
}

// compact removes points whose place is not finite, and the triangles that have
// one. Cameras write NaN where a ray met nothing: such a point can be shown
// nowhere, and one of them would make a grid over all of them meaningless.
func (m *Mesh) compact() {
	place := make([]uint32, len(m.Points))
	kept := 0
	for i, p := range m.Points {
		place[i] = math.MaxUint32
		if !finite(p) {
			continue
		}
		place[i] = uint32(kept)
		m.Points[kept] = p
		if m.Normals != nil {
			m.Normals[kept] = m.Normals[i]
		}
		if m.Colors != nil {
			m.Colors[kept] = m.Colors[i]
		}
		kept++
	}
	m.Points = m.Points[:kept]
	if m.Normals != nil {
		m.Normals = m.Normals[:kept]
	}
	if m.Colors != nil {
		m.Colors = m.Colors[:kept]
	}
	whole := m.Triangles[:0]
	for _, t := range m.Triangles {
		t = [3]uint32{place[t[0]], place[t[1]], place[t[2]]}
		if max(t[0], t[1], t[2]) != math.MaxUint32 {
			whole = append(whole, t)
		}
	}
	m.Triangles = whole
}

func finite(p Vec) bool {
	// The difference of a number and itself is zero, but for NaN and infinity.
	return p[0]-p[0] == 0 && p[1]-p[1] == 0 && p[2]-p[2] == 0
}
