package demo

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
)

// indented is v as upstream writes metadata: keys sorted, four spaces.
func indented(v any) ([]byte, error) { return encode(v, "    ") }

// compact is v on one line, for the outputs of tasks.
func compact(v any) ([]byte, error) { return encode(v, "") }

func encode(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode json: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// ply encodes points, and triangles if there are any, in the layout that
// Open3D writes: little-endian doubles, colours as bytes.
func ply(pos, normal []Point, colour []rgb, tri [][3]int32) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "ply\nformat binary_little_endian 1.0\ncomment PlantDB sample\nelement vertex %d\n", len(pos))
	for _, name := range []string{"x", "y", "z", "nx", "ny", "nz"} {
		fmt.Fprintf(&b, "property double %s\n", name)
	}
	b.WriteString("property uchar red\nproperty uchar green\nproperty uchar blue\n")
	if len(tri) > 0 {
		fmt.Fprintf(&b, "element face %d\nproperty list uchar uint vertex_indices\n", len(tri))
	}
	b.WriteString("end_header\n")
	out := b.Bytes()
	for i := range pos {
		for _, v := range [...]Point{pos[i], normal[i]} {
			for _, x := range v {
				out = binary.LittleEndian.AppendUint64(out, math.Float64bits(x))
			}
		}
		out = append(out, shown(colour[i][0]), shown(colour[i][1]), shown(colour[i][2]))
	}
	for _, t := range tri {
		out = append(out, 3)
		for _, i := range t {
			out = binary.LittleEndian.AppendUint32(out, uint32(i)) // an index is not negative
		}
	}
	return out
}

// shown is a reflectance as a byte of a display.
func shown(x float64) byte { return byte(math.Round(mul(255, math.Sqrt(min(max(x, 0), 1))))) }

// obj encodes m as a Wavefront file with one group for each organ.
func (m *mesh) obj(material string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# PlantDB sample\nmtllib %s\n", material)
	for _, p := range m.pos {
		fmt.Fprintf(&b, "v %.3f %.3f %.3f\n", p[0], p[1], p[2])
	}
	for l := stemLabel; int(l) < len(channelNames); l++ {
		fmt.Fprintf(&b, "g %s\nusemtl %s\n", channelNames[l], channelNames[l])
		for i, t := range m.tri {
			if m.label[i] == l {
				fmt.Fprintf(&b, "f %d %d %d\n", t[0]+1, t[1]+1, t[2]+1)
			}
		}
	}
	return b.Bytes()
}

// mtl is the material library that obj names.
func mtl() []byte {
	var b bytes.Buffer
	b.WriteString("# PlantDB sample\n")
	hue := [len(channelNames)]rgb{
		stemLabel: stemGreen, leafLabel: leafGreen, pedicelLabel: stemGreen, fruitLabel: podGreen, flowerLabel: petalWhite,
	}
	for l := stemLabel; int(l) < len(channelNames); l++ {
		fmt.Fprintf(&b, "newmtl %s\nKd %.3f %.3f %.3f\n", channelNames[l], hue[l][0], hue[l][1], hue[l][2])
	}
	return b.Bytes()
}
