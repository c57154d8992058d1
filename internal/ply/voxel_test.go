package ply

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// randomCloud scatters n points by a bell curve.
func randomCloud(n int, spread float64) *Mesh {
	r := rand.New(rand.NewPCG(1, 2))
	m := &Mesh{}
	for range n {
		m.Points = append(m.Points, Vec{r.NormFloat64() * spread, r.NormFloat64() * spread, r.NormFloat64() * spread})
		m.Normals = append(m.Normals, Vec{r.Float64(), r.Float64(), r.Float64()})
		m.Colors = append(m.Colors, Color{uint8(r.Uint32()), uint8(r.Uint32()), uint8(r.Uint32())})
	}
	return m
}

// byMap is the definition: points gathered in a map, then averaged. Its grid is
// given from outside, so that it cannot share a mistake with newGrid.
func byMap(m *Mesh, origin Vec, voxel float64) *Mesh {
	members := map[[3]float64][]int{}
	var order [][3]float64
	for i, p := range m.Points {
		var k [3]float64
		for j := range k {
			k[j] = math.Floor((p[j] - origin[j]) / voxel)
		}
		if members[k] == nil {
			order = append(order, k)
		}
		members[k] = append(members[k], i)
	}
	out := &Mesh{}
	for _, k := range order {
		n := float64(len(members[k]))
		var p, normal, color Vec
		for _, i := range members[k] {
			for j := range p {
				p[j] += m.Points[i][j]
				normal[j] += m.Normals[i][j]
				color[j] += float64(m.Colors[i][j]) / 255
			}
		}
		var c Color
		for j := range p {
			p[j], normal[j], c[j] = p[j]/n, normal[j]/n, uint8(math.Round(color[j]/n*255))
		}
		out.Points, out.Normals, out.Colors = append(out.Points, p), append(out.Normals, normal), append(out.Colors, c)
	}
	return out
}

func TestDownSampleAgreesWithDefinition(t *testing.T) {
	t.Parallel()
	m := randomCloud(20000, 10)
	least := m.Points[0]
	for _, p := range m.Points {
		for i := range p {
			least[i] = min(least[i], p[i])
		}
	}
	for _, voxel := range []float64{0.01, 0.3, 1.8, 7, 1000} {
		got, err := m.DownSample(voxel)
		if err != nil {
			t.Fatalf("DownSample(%g) = %v", voxel, err)
		}
		origin := Vec{least[0] - voxel/2, least[1] - voxel/2, least[2] - voxel/2}
		if diff := gocmp.Diff(byMap(m, origin, voxel), got); diff != "" {
			t.Errorf("DownSample(%g): (-want +got)\n%.2000s", voxel, diff)
		}
	}
}

// Open3D 0.20 wrote both files.
func TestDownSampleIsOpen3Ds(t *testing.T) {
	t.Parallel()
	got, err := readFile(t, "open3d-cloud.ply").DownSample(1.8)
	if err != nil {
		t.Fatal(err)
	}
	want := readFile(t, "open3d-cloud-1.8.ply")
	byPlace(got)
	byPlace(want)
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("DownSample: (-want +got)\n%s", diff)
	}
}

// What Open3D 0.20 leaves of a cloud with normals and colours at other sizes: how
// many points, and the SHA-256 of what it writes of them, ordered by their place.
func TestDownSampleIsOpen3DsAtOtherSizes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		voxel  float64
		points int
		sum    string
	}{
		{0.5, 296, "0af47fb5e4bfac445b556c951c487c2d070a7dcbf450422e71c174bfadd38e6c"},
		{1.1, 284, "98989ebd3d2ed032c89383f99bef7ead39326e0c3f63740cea084aa35d1bd00c"},
		{4, 91, "d6ff8e5ba43b127449cf12dae9b75c22b911e402b52d57556bca37e434637da2"},
	} {
		thin, err := readFile(t, "open3d-cloud.ply").DownSample(tt.voxel)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := Write(&out, thin); err != nil {
			t.Fatal(err)
		}
		const size = 6*8 + 3 // of a point, its normal and its colour
		_, body, _ := bytes.Cut(out.Bytes(), []byte("end_header\n"))
		points := slices.Collect(slices.Chunk(body, size))
		slices.SortFunc(points, func(a, b []byte) int {
			place := func(p []byte, axis int) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(p[8*axis:])) }
			return cmp.Or(cmp.Compare(place(a, 0), place(b, 0)), cmp.Compare(place(a, 1), place(b, 1)), cmp.Compare(place(a, 2), place(b, 2)))
		})
		if got := fmt.Sprintf("%x", sha256.Sum256(slices.Concat(points...))); len(points) != tt.points || got != tt.sum {
			t.Errorf("DownSample(%g) = %d points, %s, want %d, %s", tt.voxel, len(points), got, tt.points, tt.sum)
		}
	}
}

// Open3D sums in an order of its own, by which a colour that ends in a half may
// round the other way, and its text has six digits.
func TestClusterIsOpen3Ds(t *testing.T) {
	t.Parallel()
	got, err := readFile(t, "open3d-mesh.ply").Cluster(1.8)
	if err != nil {
		t.Fatal(err)
	}
	want := readFile(t, "open3d-mesh-1.8.ply")
	byPlace(got)
	byPlace(want)
	near := cmpopts.EquateApprox(0, 2e-5)
	nearColor := gocmp.Comparer(func(a, b uint8) bool { return max(a, b)-min(a, b) <= 1 })
	if diff := gocmp.Diff(want, got, near, nearColor); diff != "" {
		t.Errorf("Cluster: (-want +got)\n%s", diff)
	}
}

func TestClusterTriangles(t *testing.T) {
	t.Parallel()
	// Four clumps of two points: corners a, b, c, d.
	m := &Mesh{Points: []Vec{{0, 0, 0}, {0.1, 0, 0}, {5, 0, 0}, {5.1, 0, 0}, {0, 5, 0}, {0.1, 5, 0}, {5, 5, 0}, {5.1, 5, 0}}}
	const a, a2, b, b2, c, c2, d, d2 = 0, 1, 2, 3, 4, 5, 6, 7
	m.Triangles = [][3]uint32{
		{c, a, b}, {a2, b2, c2}, {b2, c, a}, // one triangle, thrice
		{a, c, b},              // its other side
		{a, a2, b}, {d, c, d2}, // no triangles any more
		{d2, b, c}, {b2, c2, d}, // another, twice
	}
	got, err := m.Cluster(1)
	if err != nil {
		t.Fatal(err)
	}
	want := [][3]uint32{{0, 1, 2}, {0, 2, 1}, {1, 2, 3}}
	if !slices.Equal(got.Triangles, want) || len(got.Points) != 4 {
		t.Errorf("Cluster = %d points, %v, want 4, %v", len(got.Points), got.Triangles, want)
	}
	if p := got.Points[1]; math.Abs(p[0]-5.05) > 1e-12 {
		t.Errorf("merged vertex = %v, want the average of its two", p)
	}
}

func TestVoxelBounds(t *testing.T) {
	t.Parallel()
	wide := &Mesh{Points: []Vec{{-1e308, 0, 0}, {1e308, 0, 0}}}
	two := &Mesh{Points: []Vec{{0, 0, 0}, {1, 0, 0}}}
	for _, tt := range []struct {
		name  string
		m     *Mesh
		voxel float64
		want  error
	}{
		{"zero", two, 0, ErrVoxel},
		{"negative", two, -1, ErrVoxel},
		{"nan", two, math.NaN(), ErrVoxel},
		{"inf", two, math.Inf(1), ErrVoxel},
		{"too fine", two, 1e-10, ErrVoxel},
		{"fine enough", two, 1e-9, nil},
		{"least", two, math.SmallestNonzeroFloat64, ErrVoxel},
		{"largest", two, math.MaxFloat64, nil},
		{"difference overflows", wide, 1e300, ErrVoxel},
		{"no points", &Mesh{}, 1, nil},
	} {
		if _, err := tt.m.DownSample(tt.voxel); !errors.Is(err, tt.want) {
			t.Errorf("%s: DownSample(%g) = %v, want %v", tt.name, tt.voxel, err, tt.want)
		}
		if _, err := tt.m.Cluster(tt.voxel); !errors.Is(err, tt.want) {
			t.Errorf("%s: Cluster(%g) = %v, want %v", tt.name, tt.voxel, err, tt.want)
		}
	}
}

func BenchmarkDownSample(b *testing.B) {
	m := randomCloud(1_000_000, 40)
	bare := &Mesh{Points: m.Points}
	for _, voxel := range []float64{0.5, 1.8, 5} {
		b.Run(fmt.Sprintf("bare/%g", voxel), func(b *testing.B) { downSample(b, bare, voxel) })
		b.Run(fmt.Sprintf("normals and colours/%g", voxel), func(b *testing.B) { downSample(b, m, voxel) })
	}
}

func downSample(b *testing.B, m *Mesh, voxel float64) {
	points := 0
	for b.Loop() {
		out, err := m.DownSample(voxel)
		if err != nil {
			b.Fatal(err)
		}
		points = len(out.Points)
	}
	b.ReportMetric(float64(points), "points")
}

// byPlace sorts the points of m, and its triangles after them.
func byPlace(m *Mesh) {
	order := make([]int, len(m.Points))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		p, q := m.Points[a], m.Points[b]
		for i := range p {
			// Not to be fooled by the last digits of a text.
			if math.Abs(p[i]-q[i]) > 1e-4 {
				return cmp.Compare(p[i], q[i])
			}
		}
		return 0
	})
	sorted, place := &Mesh{}, make([]uint32, len(order))
	for to, from := range order {
		place[from] = uint32(to)
		sorted.Points = append(sorted.Points, m.Points[from])
		if m.Normals != nil {
			sorted.Normals = append(sorted.Normals, m.Normals[from])
		}
		if m.Colors != nil {
			sorted.Colors = append(sorted.Colors, m.Colors[from])
		}
	}
	for _, t := range m.Triangles {
		t = [3]uint32{place[t[0]], place[t[1]], place[t[2]]}
		for t[0] != min(t[0], t[1], t[2]) {
			t = [3]uint32{t[1], t[2], t[0]}
		}
		sorted.Triangles = append(sorted.Triangles, t)
	}
	slices.SortFunc(sorted.Triangles, func(a, b [3]uint32) int { return slices.Compare(a[:], b[:]) })
	*m = *sorted
}
