package ply

import (
	"math"
	"sync"
)

// DownSample returns the point cloud with one point for each voxel of the given
// size that has any: the average of their places, normals and colours, as
// Open3D's voxel_down_sample computes it, to the bit. The grid starts half a
// voxel below the least coordinates. Points come in the order in which their
// voxels are first met, which Open3D leaves open. Triangles are left out.
//
// The only error is ErrVoxel.
func (m *Mesh) DownSample(voxel float64) (*Mesh, error) {
	g, err := newGrid(m.Points, voxel)
	if err != nil {
		return nil, err
	}
	return m.merge(g.assign(m.Points), len(g.cells)), nil
}

// Cluster returns the mesh with the vertices of each voxel merged into one, as
// Open3D's simplify_vertex_clustering does: places, normals and colours are
// averaged; of the triangles those stay that still have three corners, each once
// for either side that it may show. The grid and the order are those of
// DownSample.
//
// The only error is ErrVoxel.
func (m *Mesh) Cluster(voxel float64) (*Mesh, error) {
	g, err := newGrid(m.Points, voxel)
	if err != nil {
		return nil, err
	}
	cellOf := g.assign(m.Points)
	out := m.merge(cellOf, len(g.cells))
	if m.Triangles != nil {
		out.Triangles = mergeTriangles(m.Triangles, cellOf)
	}
	return out, nil
}

// merge averages the points of each cell, and what else m has of them, side by
// side: it is waits for memory that take the time.
func (m *Mesh) merge(cellOf []uint32, cells int) *Mesh {
	counts := make([]float64, cells)
	for _, c := range cellOf {
		counts[c]++
	}
	var out Mesh
	var work sync.WaitGroup
	if m.Normals != nil {
		work.Go(func() { out.Normals = averages(m.Normals, cellOf, counts) })
	}
	if m.Colors != nil {
		work.Go(func() { out.Colors = averageColors(m.Colors, cellOf, counts) })
	}
	out.Points = averages(m.Points, cellOf, counts)
	work.Wait()
	return &out
}

func averages(values []Vec, cellOf []uint32, counts []float64) []Vec {
	sums := make([]Vec, len(counts))
	for i, v := range values {
		addTo(&sums[cellOf[i]], v)
	}
	for i, n := range counts {
		sums[i] = over(sums[i], n)
	}
	return sums
}

// averageColors computes with fractions of one, as Open3D keeps colours: its
// roundings are ours.
func averageColors(values []Color, cellOf []uint32, counts []float64) []Color {
	var fraction [256]float64
	for i := range fraction {
		fraction[i] = float64(i) / 255
	}
	sums := make([]Vec, len(counts))
	for i, c := range values {
		addTo(&sums[cellOf[i]], Vec{fraction[c[0]], fraction[c[1]], fraction[c[2]]})
	}
	out := make([]Color, len(counts))
	for i, n := range counts {
		for j, v := range over(sums[i], n) {
			out[i][j] = uint8(math.Round(min(v, 1) * 255))
		}
	}
	return out
}

func addTo(sum *Vec, v Vec) {
	sum[0] += v[0]
	sum[1] += v[1]
	sum[2] += v[2]
}

func over(v Vec, n float64) Vec { return Vec{v[0] / n, v[1] / n, v[2] / n} }

// mergeTriangles names corners by their cells and keeps each triangle once. It
// starts each at its least corner, so that rotations are equal and mirror images
// are not.
func mergeTriangles(triangles [][3]uint32, cellOf []uint32) [][3]uint32 {
	out := make([][3]uint32, 0, len(triangles)/4)
	seen := make(map[[3]uint32]struct{}, len(triangles)/4)
	for _, t := range triangles {
		a, b, c := cellOf[t[0]], cellOf[t[1]], cellOf[t[2]]
		if a == b || b == c || c == a {
			continue
		}
		if b < a && b < c {
			a, b, c = b, c, a
		} else if c < a && c < b {
			a, b, c = c, a, b
		}
		t = [3]uint32{a, b, c}
		if _, ok := seen[t]; !ok {
			seen[t] = struct{}{}
			out = append(out, t)
		}
	}
	return out
}
