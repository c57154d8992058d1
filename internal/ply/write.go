package ply

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// Write writes m as Open3D does: little-endian binary, places and normals as
// doubles, colours as bytes, faces as lists of uint with a uchar for their
// length. A mesh whose triangles are nil has no element face.
func Write(w io.Writer, m *Mesh) error {
	bw := bufio.NewWriterSize(w, 64<<10)
	// A buffered writer keeps its first failure for Flush.
	row := appendHeader(nil, m)
	_, _ = bw.Write(row)
	for i, p := range m.Points {
		row = appendVec(row[:0], p)
		if m.Normals != nil {
			row = appendVec(row, m.Normals[i])
		}
		if m.Colors != nil {
			row = append(row, m.Colors[i][:]...)
		}
		_, _ = bw.Write(row)
	}
	for _, t := range m.Triangles {
		row = append(row[:0], 3)
		for _, i := range t {
			row = binary.LittleEndian.AppendUint32(row, i)
		}
		_, _ = bw.Write(row)
	}
	if err := bw.Flush(); err != nil {
		return fmt.Errorf("write PLY: %w", err)
	}
	return nil
}

func appendHeader(b []byte, m *Mesh) []byte {
	b = append(b, "ply\nformat binary_little_endian 1.0\ncomment Created by PlantDB\n"...)
	b = fmt.Appendf(b, "element vertex %d\nproperty double x\nproperty double y\nproperty double z\n", len(m.Points))
	if m.Normals != nil {
		b = append(b, "property double nx\nproperty double ny\nproperty double nz\n"...)
	}
	if m.Colors != nil {
		b = append(b, "property uchar red\nproperty uchar green\nproperty uchar blue\n"...)
	}
	if m.Triangles != nil {
		b = fmt.Appendf(b, "element face %d\nproperty list uchar uint vertex_indices\n", len(m.Triangles))
	}
	return append(b, "end_header\n"...)
}

func appendVec(row []byte, v Vec) []byte {
	for _, f := range v {
		row = binary.LittleEndian.AppendUint64(row, math.Float64bits(f))
	}
	return row
}
