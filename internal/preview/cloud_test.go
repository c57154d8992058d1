package preview

import (
	"bytes"
	"errors"
	"io"
	"math"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/ply"
)

func TestVoxelSize(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in    string
		voxel float64
		orig  bool
		want  error
	}{
		{"", 1.8, false, nil},
		{"preview", 1.8, false, nil},
		{"orig", 0, true, nil},
		{"2.5", 2.5, false, nil},
		{"1e-3", 0.001, false, nil},
		{"0", 0, false, ErrBadSize},
		{"-1", -1, false, ErrBadSize},
		{"nan", math.NaN(), false, ErrBadSize},
		{"inf", math.Inf(1), false, ErrBadSize},
		{"1e999", 0, false, ErrBadSize},
		{"big", 0, false, ErrBadSize},
	} {
		voxel, orig, err := VoxelSize(tt.in)
		if orig != tt.orig || !errors.Is(err, tt.want) || err == nil && voxel != tt.voxel {
			t.Errorf("VoxelSize(%q) = %g, %t, %v, want %g, %t, %v", tt.in, voxel, orig, err, tt.voxel, tt.orig, tt.want)
		}
	}
}

// grid is a flat square of n x n points, a tenth apart, as a mesh.
func grid(n int) *ply.Mesh {
	m := &ply.Mesh{}
	for y := range n {
		for x := range n {
			m.Points = append(m.Points, ply.Vec{float64(x) / 10, float64(y) / 10, 0})
			m.Normals = append(m.Normals, ply.Vec{0, 0, 1})
			m.Colors = append(m.Colors, ply.Color{uint8(x), uint8(y), 9})
			if x > 0 && y > 0 {
				i := uint32(y*n + x)
				m.Triangles = append(m.Triangles, [3]uint32{i, i - 1, i - uint32(n)})
			}
		}
	}
	return m
}

func encodePLY(t *testing.T, m *ply.Mesh) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := ply.Write(&buf, m); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestCloudAndMesh(t *testing.T) {
	t.Parallel()
	c := openCache(t, Options{})
	m := grid(50)
	var opened atomic.Int32
	s := bytesSource("grid", encodePLY(t, m), &opened)
	down, err := m.DownSample(1.8)
	if err != nil {
		t.Fatal(err)
	}
	clustered, err := m.Cluster(1.8)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		f, _, err := c.PointCloud(t.Context(), s, 1.8)
		if err != nil {
			t.Fatalf("PointCloud = %v", err)
		}
		if diff := cmp.Diff(down, decodePLY(t, readAndClose(t, f))); diff != "" {
			t.Errorf("PointCloud: (-want +got)\n%s", diff)
		}
		f, _, err = c.Mesh(t.Context(), s, 1.8)
		if err != nil {
			t.Fatalf("Mesh = %v", err)
		}
		if diff := cmp.Diff(clustered, decodePLY(t, readAndClose(t, f))); diff != "" {
			t.Errorf("Mesh: (-want +got)\n%s", diff)
		}
	}
	if n := opened.Load(); n != 2 {
		t.Errorf("source opened %d times, want once for each kind", n)
	}
	if len(clustered.Triangles) == 0 || len(down.Points) > 20 {
		t.Errorf("%d triangles, %d points: the grid does not suit the test", len(clustered.Triangles), len(down.Points))
	}
}

func decodePLY(t *testing.T, data []byte) *ply.Mesh {
	t.Helper()
	m, err := ply.Read(bytes.NewReader(data), ply.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestCloudRefuses(t *testing.T) {
	t.Parallel()
	c := openCache(t, Options{})
	good := bytesSource("good", encodePLY(t, grid(5)), nil)
	for _, voxel := range []float64{0, -1, math.NaN(), math.Inf(1), math.Inf(-1)} {
		if _, _, err := c.PointCloud(t.Context(), good, voxel); !errors.Is(err, ErrBadSize) {
			t.Errorf("PointCloud(voxel %g) = %v, want ErrBadSize", voxel, err)
		}
	}
	huge := Source{Key: "huge", Open: func() (io.ReadSeekCloser, int64, error) {
		return file{bytes.NewReader(nil)}, maxCloudSource + 1, nil
	}}
	for name, tt := range map[string]struct {
		s     Source
		voxel float64
		want  error
	}{
		"damaged":   {bytesSource("bad", []byte("ply\n"), nil), 1, ply.ErrDamaged},
		"too large": {huge, 1, ply.ErrTooLarge},
		"too fine":  {good, 1e-300, ply.ErrVoxel},
	} {
		if _, _, err := c.PointCloud(t.Context(), tt.s, tt.voxel); !errors.Is(err, tt.want) {
			t.Errorf("PointCloud(%s) = %v, want %v", name, err, tt.want)
		}
		if _, _, err := c.Mesh(t.Context(), tt.s, tt.voxel); !errors.Is(err, tt.want) {
			t.Errorf("Mesh(%s) = %v, want %v", name, err, tt.want)
		}
	}
}
