package ply

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/romi/plantdb-go/internal/fault"
)

func readFile(t *testing.T, name string) *Mesh {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := Read(f, Limits{})
	if err != nil {
		t.Fatalf("Read(%s) = %v", name, err)
	}
	return m
}

// The texts follow what the programs write, notes and extra columns included.
func TestReadText(t *testing.T) {
	t.Parallel()
	square := []Vec{{0, 0, 0}, {1, 0, 0}, {1, 1, 0}, {0, 1, 0}}
	tests := map[string]struct {
		text string
		want *Mesh
	}{
		"meshlab mesh": {
			"ply\nformat ascii 1.0\ncomment VCGLIB generated\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n" +
				"property uchar red\nproperty uchar green\nproperty uchar blue\nproperty uchar alpha\nelement face 2\n" +
				"property list uchar int vertex_indices\nproperty uchar red\nproperty list uchar float texcoord\nend_header\n" +
				"0 0 0 10 20 30 255 \n1 0 0 10 20 30 255 \n1 1 0 10 20 30 255 \n0 1 0 1 2 3 255 \n3 0 1 2 9 6 0 0 1 0 1 1 \n3 0 2 3 9 0 \n",
			&Mesh{
				Points: square, Colors: []Color{{10, 20, 30}, {10, 20, 30}, {10, 20, 30}, {1, 2, 3}},
				Triangles: [][3]uint32{{0, 1, 2}, {0, 2, 3}},
			},
		},
		"cloudcompare cloud": {
			"ply\r\nformat ascii 1.0\r\ncomment Created by CloudCompare v2.12\r\nobj_info Generated\r\nelement vertex 2\r\nproperty double x\r\n" +
				"property double y\r\nproperty double z\r\nproperty float scalar_Intensity\r\nproperty float nx\r\nproperty float ny\r\nproperty float nz\r\nend_header\r\n" +
				"1.5 -2 3e2 7 0 0 1\r\n4 5 6 8 0 1 0",
			&Mesh{Points: []Vec{{1.5, -2, 300}, {4, 5, 6}}, Normals: []Vec{{0, 0, 1}, {0, 1, 0}}},
		},
		"polygon, points and lines, any order": {
			"ply\nformat ascii 1.0\nelement face 3\nproperty int flags\nproperty list int uint vertex_index\nelement edge 1\nproperty int a\nproperty int b\n" +
				"element nothing 1000000000000\nelement vertex 4\nproperty list uchar int tags\nproperty double z\nproperty double y\nproperty double x\nend_header\n" +
				"7 4 0 1 2 3\n7 1 0\n7 2 0 1\n0 1\n0 0 0 0\n1 5 0 0 1\n2 5 5 0 1 1\n0 0 1 0\n",
			&Mesh{Points: square, Triangles: [][3]uint32{{0, 1, 2}, {0, 2, 3}}},
		},
		"float and short colours": {
			"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n" +
				"property float red\nproperty ushort green\nproperty double diffuse_blue\nend_header\n" +
				"0 0 0 0.5 65535 2\n1 0 0 nan 0 -1\n1 1 0 1 256 0.001\n",
			&Mesh{Points: square[:3], Colors: []Color{{128, 255, 255}, {0, 0, 0}, {255, 1, 0}}},
		},
		"two colours are none": {
			"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nproperty uchar red\nproperty uchar green\nend_header\n0 0 0 1 2\n",
			&Mesh{Points: square[:1]},
		},
		"points at nowhere": {
			"ply\nformat ascii 1.0\nelement vertex 5\nproperty float x\nproperty float y\nproperty float z\nproperty float nx\nproperty float ny\nproperty float nz\n" +
				"property uchar red\nproperty uchar green\nproperty uchar blue\nelement face 2\nproperty list uchar int vertex_indices\nend_header\n" +
				"0 0 0 0 0 1 1 1 1\nnan 0 0 0 0 1 2 2 2\n1 0 0 nan 0 1 3 3 3\n1 1 0 0 0 1 4 4 4\n0 1e999 0 0 0 1 5 5 5\n3 0 2 3\n3 0 1 2\n",
			&Mesh{
				Points: square[:3], Normals: []Vec{{0, 0, 1}, {}, {0, 0, 1}}, Colors: []Color{{1, 1, 1}, {3, 3, 3}, {4, 4, 4}},
				Triangles: [][3]uint32{{0, 1, 2}},
			},
		},
		"empty": {
			"ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nproperty float y\nproperty float z\nend_header\n",
			&Mesh{Points: []Vec{}},
		},
	}
	for name, tt := range tests {
		got, err := Read(iotest.OneByteReader(strings.NewReader(tt.text)), Limits{Size: int64(len(tt.text))})
		if err != nil {
			t.Errorf("Read(%s) = %v", name, err)
			continue
		}
		if diff := gocmp.Diff(tt.want, got); diff != "" {
			t.Errorf("Read(%s): (-want +got)\n%s", name, diff)
		}
	}
}

// A pyramid as other programs write it, see testdata/README.md: with what they
// know beside places, normals and colours, in every format they have.
func TestReadOthers(t *testing.T) {
	t.Parallel()
	pyramid := Mesh{
		Points:    []Vec{{0, 0, 0}, {1, 0, 0}, {1, 2, 0}, {0, 2, 0}, {0.5, 1, 3}},
		Normals:   []Vec{{-1, 0, 0}, {1, 0, 0}, {0, 1, 0}, {0, -1, 0}, {0, 0, 1}},
		Colors:    []Color{{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {10, 20, 30}, {200, 100, 50}},
		Triangles: [][3]uint32{{0, 1, 4}, {1, 2, 4}, {2, 3, 4}, {3, 0, 4}, {0, 2, 1}, {0, 3, 2}},
	}
	// MeshLab makes normals of a mesh anew, of its triangles and as long as their
	// angles; CloudCompare gives all of them length 1, and holds them in fewer bits
	// than it writes.
	const x, y, z, top = 1.236082908945517, 1.341419818310837, -0.917642569200366, 0.407251924333317
	long := math.Sqrt(x*x + y*y + z*z)
	meshed := []Vec{{-x, -y, z}, {x, -y, z}, {x, y, z}, {-x, y, z}, {0, 0, top}}
	unit := []Vec{{-x / long, -y / long, z / long}, {x / long, -y / long, z / long}, {x / long, y / long, z / long}, {-x / long, y / long, z / long}, {0, 0, 1}}
	for _, name := range []string{
		"meshlab-mesh-ascii", "meshlab-mesh-binary", "meshlab-cloud-ascii", "meshlab-cloud-binary",
		"cloudcompare-mesh-ascii", "cloudcompare-mesh-binary-le", "cloudcompare-mesh-binary-be",
		"cloudcompare-cloud-ascii", "cloudcompare-cloud-binary-le", "cloudcompare-cloud-binary-be",
	} {
		want := pyramid
		near := cmpopts.EquateApprox(0, 1e-14)
		if strings.HasPrefix(name, "cloudcompare") {
			near = cmpopts.EquateApprox(0, 1e-3)
		}
		switch {
		case strings.Contains(name, "-cloud-"):
			want.Triangles = nil
		case strings.HasPrefix(name, "meshlab"):
			want.Normals = meshed
		default:
			want.Normals = unit
		}
		got := readFile(t, name+".ply")
		if diff := gocmp.Diff(want.Points, got.Points); diff != "" {
			t.Errorf("points of %s: (-want +got)\n%s", name, diff)
		}
		if diff := gocmp.Diff(&want, got, near, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}

// Each type of number, in each format and byte order, with a list before the
// wanted ones and without.
func TestReadTypes(t *testing.T) {
	t.Parallel()
	want := []Vec{{1, 2, 3}, {100, 7, 0}}
	orders := map[string]binary.AppendByteOrder{"binary_little_endian": binary.LittleEndian, "binary_big_endian": binary.BigEndian, "ascii": nil}
	for formatName, order := range orders {
		for _, name := range []string{"char", "uchar", "short", "ushort", "int", "uint", "float", "double", "int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"} {
			for _, list := range []bool{false, true} {
				data := fmt.Appendf(nil, "ply\nformat %s 1.0\nelement vertex 2\n", formatName)
				if list {
					data = append(data, "property list ushort short extra\n"...)
				}
				data = fmt.Appendf(data, "property %[1]s x\nproperty int other\nproperty %[1]s y\nproperty %[1]s z\nend_header\n", name)
				for i, p := range want {
					if list {
						data = appendNumber(data, order, "ushort", float64(i))
						for range i {
							data = appendNumber(data, order, "short", -5)
						}
					}
					data = appendNumber(data, order, name, p[0])
					data = appendNumber(data, order, "int", -1)
					data = appendNumber(data, order, name, p[1])
					data = appendNumber(data, order, name, p[2])
				}
				got, err := Read(bytes.NewReader(data), Limits{})
				if err != nil {
					t.Errorf("Read(%s, %s, list %t) = %v", formatName, name, list, err)
				} else if diff := gocmp.Diff(want, got.Points); diff != "" {
					t.Errorf("Read(%s, %s, list %t): (-want +got)\n%s", formatName, name, list, diff)
				}
			}
		}
	}
}

func appendNumber(data []byte, order binary.AppendByteOrder, kind string, v float64) []byte {
	if order == nil {
		return fmt.Appendf(data, "%g ", v)
	}
	switch scalarOf(kind) {
	case int8Type, uint8Type:
		return append(data, byte(int(v)))
	case int16Type, uint16Type:
		return order.AppendUint16(data, uint16(int(v)))
	case int32Type, uint32Type:
		return order.AppendUint32(data, uint32(int(v)))
	case float32Type:
		return order.AppendUint32(data, math.Float32bits(float32(v)))
	default:
		return order.AppendUint64(data, math.Float64bits(v))
	}
}

func TestWriteThenRead(t *testing.T) {
	t.Parallel()
	cloud := randomCloud(100, 3)
	for name, m := range map[string]*Mesh{
		"cloud":       cloud,
		"bare":        {Points: cloud.Points},
		"normals":     {Points: cloud.Points, Normals: cloud.Normals},
		"mesh":        {Points: cloud.Points, Colors: cloud.Colors, Triangles: [][3]uint32{{0, 1, 2}, {97, 98, 99}}},
		"no faces":    {Points: cloud.Points, Triangles: [][3]uint32{}},
		"empty cloud": {Points: []Vec{}},
	} {
		var buf bytes.Buffer
		if err := Write(&buf, m); err != nil {
			t.Fatalf("Write(%s) = %v", name, err)
		}
		got, err := Read(&buf, Limits{})
		if err != nil {
			t.Fatalf("Read(what Write wrote of %s) = %v", name, err)
		}
		if diff := gocmp.Diff(m, got); diff != "" {
			t.Errorf("%s: (-written +read)\n%s", name, diff)
		}
	}
}

// Apart from the comment the bytes are Open3D's.
func TestWriteIsOpen3Ds(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile(filepath.Join("testdata", "open3d-cloud.ply"))
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := Write(&got, readFile(t, "open3d-cloud.ply")); err != nil {
		t.Fatal(err)
	}
	want = bytes.Replace(want, []byte("Created by Open3D"), []byte("Created by PlantDB"), 1)
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("Write = %.300q, want %.300q", got.Bytes(), want)
	}
}

func TestWriteFails(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	if err := r.CloseWithError(io.ErrClosedPipe); err != nil {
		t.Fatal(err)
	}
	if err := Write(w, randomCloud(10, 1)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Write(broken) = %v, want the writer's error", err)
	}
}

const xyz = "property double x\nproperty double y\nproperty double z\n"

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	triangle := "ply\nformat ascii 1.0\nelement vertex 3\n" + xyz + "element face 1\nproperty list uchar int vertex_indices\nend_header\n0 0 0 1 0 0 0 1 0\n"
	point := "ply\nformat ascii 1.0\nelement vertex 1\n" + xyz
	tests := map[string]struct {
		text string
		want error
	}{
		"empty":               {"", ErrDamaged},
		"another format":      {"solid\nfacet\n", ErrDamaged},
		"no format":           {"ply\nelement vertex 0\n" + xyz + "end_header\n", ErrDamaged},
		"unknown format":      {"ply\nformat binary_middle_endian 1.0\nend_header\n", ErrDamaged},
		"header without end":  {"ply\nformat ascii 1.0\n", ErrDamaged},
		"endless line":        {"ply\ncomment " + strings.Repeat("x", 1<<17), ErrDamaged},
		"endless header":      {"ply\n" + strings.Repeat("comment x\n", 1<<17), ErrDamaged},
		"too many properties": {point + strings.Repeat("property int p\n", 1000), ErrDamaged},
		"too many elements":   {"ply\nformat ascii 1.0\n" + strings.Repeat("element e 1\n", 1000), ErrDamaged},
		"negative count":      {"ply\nformat ascii 1.0\nelement vertex -1\n" + xyz + "end_header\n", ErrDamaged},
		"float list length":   {point + "property list float int a\nend_header\n", ErrDamaged},
		"unknown type":        {point + "property quad w\nend_header\n0 0 0 0", ErrDamaged},
		"property of nothing": {"ply\nformat ascii 1.0\n" + xyz + "end_header\n", ErrDamaged},
		"two vertices":        {point + "element vertex 1\n" + xyz + "end_header\n0 0 0 0 0 0", ErrDamaged},
		"no vertex":           {"ply\nformat ascii 1.0\nend_header\n", ErrDamaged},
		"no z":                {"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nend_header\n0 0", ErrDamaged},
		"truncated text":      {point + "end_header\n0 0", ErrDamaged},
		"truncated binary":    {strings.Replace(point, "ascii", "binary_little_endian", 1) + "end_header\n1234567812345678", ErrDamaged},
		"no number":           {point + "end_header\n0 0 zero", ErrDamaged},
		"endless number":      {point + "end_header\n0 0 " + strings.Repeat("0", 100), ErrDamaged},
		"corner out of range": {triangle + "3 0 1 3", ErrDamaged},
		"negative corner":     {triangle + "3 0 1 -1", ErrDamaged},
		"broken corner":       {triangle + "3 0 1 1.5", ErrDamaged},
		"negative list":       {triangle + "-3 0 1 2", ErrDamaged},
		"missing corner":      {triangle + "3 0 1", ErrDamaged},
		"too many points":     {strings.Replace(point, "vertex 1", "vertex 1000000000", 1) + "end_header\n0 0 0", ErrTooLarge},
		"too many faces":      {strings.Replace(triangle, "face 1", "face 1000000000", 1) + "3 0 1 2", ErrTooLarge},
	}
	for name, tt := range tests {
		m, err := Read(strings.NewReader(tt.text), Limits{Size: int64(len(tt.text))})
		if !errors.Is(err, tt.want) {
			t.Errorf("Read(%s) = %v, %v, want %v", name, m, err, tt.want)
		}
	}
	if _, err := Read(strings.NewReader(triangle+"4 0 1 2 0"), Limits{Triangles: 1}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Read(fan over the limit) = %v, want ErrTooLarge", err)
	}
}

// What a disk says is not damage of the file.
func TestReadPassesFailures(t *testing.T) {
	t.Parallel()
	text := "ply\nformat ascii 1.0\nelement vertex 2\n" + xyz + "end_header\n0 0 0 "
	for _, n := range []int{10, len(text)} {
		r := io.MultiReader(strings.NewReader(text[:n]), iotest.ErrReader(io.ErrNoProgress))
		_, err := Read(r, Limits{})
		if _, named := errors.AsType[*fault.Error](err); named || !errors.Is(err, io.ErrNoProgress) {
			t.Errorf("Read(disk fails after %d bytes) = %v, want the disk's error", n, err)
		}
	}
}

// Not parallel: it measures what the process allocates.
func TestPromisesCostNothing(t *testing.T) {
	for _, format := range []string{"ascii", "binary_little_endian"} {
		text := "ply\nformat " + format + " 1.0\nelement vertex 15000000\n" + xyz + "element face 30000000\nproperty list uchar int vertex_indices\nend_header\n0 0 0"
		for _, size := range []int64{0, int64(len(text))} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Read(strings.NewReader(text), Limits{Size: size})
			runtime.ReadMemStats(&after)
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("Read(%s) = %v, want ErrDamaged", format, err)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
				t.Errorf("Read(%s, size %d) allocated %d bytes for %d", format, size, used, len(text))
			}
		}
	}
}

// FuzzRead holds that a file is refused or comes as a mesh that is whole and
// survives being written and thinned.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"open3d-cloud-1.8.ply", "open3d-mesh-1.8.ply"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data[:2000])
	}
	f.Add([]byte("ply\nformat ascii 1.0\nelement vertex 3\n" + xyz + "element face 1\nproperty list uchar int vertex_index\nend_header\n0 0 0 1 0 0 nan 1 0\n3 0 1 2"))
	f.Add([]byte("ply\nformat binary_big_endian 1.0\nelement vertex 1\nproperty list uchar int a\n" + xyz + "end_header\n\x00123456781234567812345678"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Read(bytes.NewReader(data), Limits{Points: 10000, Triangles: 10000, Size: int64(len(data))})
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("Read = %v, want a named fault", err)
			}
			return
		}
		var buf bytes.Buffer
		if err := Write(&buf, m); err != nil {
			t.Fatal(err)
		}
		again, err := Read(&buf, Limits{})
		if err != nil {
			t.Fatalf("Read(what Write wrote) = %v", err)
		}
		if len(again.Points) != len(m.Points) || len(again.Triangles) != len(m.Triangles) {
			t.Fatalf("%d points, %d triangles after writing, want %d, %d", len(again.Points), len(again.Triangles), len(m.Points), len(m.Triangles))
		}
		thin, err := m.Cluster(1.8)
		if err != nil {
			return
		}
		for _, tri := range thin.Triangles {
			if int(max(tri[0], tri[1], tri[2])) >= len(thin.Points) {
				t.Fatalf("Cluster: triangle %v of %d points", tri, len(thin.Points))
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	var buf bytes.Buffer
	if err := Write(&buf, randomCloud(1_000_000, 40)); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(buf.Len()))
	for b.Loop() {
		if _, err := Read(bytes.NewReader(buf.Bytes()), Limits{Size: int64(buf.Len())}); err != nil {
			b.Fatal(err)
		}
	}
}
