package demo

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write makes a tree of small images and returns its directory.
func write(t *testing.T, width, height int, scans ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := Write(t.Context(), dir, Options{Scans: scans, Width: width, Height: height}); err != nil {
		t.Fatalf("Write(%q) = %v, want nil", scans, err)
	}
	return dir
}

func readFile(t *testing.T, parts ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func readJSON(t *testing.T, v any, parts ...string) {
	t.Helper()
	if err := json.Unmarshal(readFile(t, parts...), v); err != nil {
		t.Fatalf("%s: %v", filepath.Join(parts...), err)
	}
}

// digest hashes names and contents of the files below dir that want accepts.
func digest(t *testing.T, dir string, want func(name string) bool) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !want(p) {
			return err
		}
		name, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s %d\n", filepath.ToSlash(name), len(data))
		_, err = h.Write(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// parsedPLY is a file as an independent reader sees it.
type parsedPLY struct {
	pos, normal []Point
	colour      [][3]uint8
	tri         [][3]uint32
}

func parsePLY(t *testing.T, data []byte) parsedPLY {
	t.Helper()
	header, body, ok := bytes.Cut(data, []byte("end_header\n"))
	if !ok || !bytes.HasPrefix(header, []byte("ply\nformat binary_little_endian 1.0\n")) {
		t.Fatalf("not a binary PLY: %q", header[:min(80, len(header))])
	}
	var vertices, faces int
	for line := range strings.Lines(string(header)) {
		_, _ = fmt.Sscanf(line, "element vertex %d", &vertices)
		_, _ = fmt.Sscanf(line, "element face %d", &faces)
	}
	r := bytes.NewReader(body)
	var p parsedPLY
	for range vertices {
		var v struct {
			Pos, Normal Point
			RGB         [3]uint8
		}
		if err := binary.Read(r, binary.LittleEndian, &v); err != nil {
			t.Fatalf("vertex %d: %v", len(p.pos), err)
		}
		p.pos, p.normal, p.colour = append(p.pos, v.Pos), append(p.normal, v.Normal), append(p.colour, v.RGB)
	}
	for range faces {
		var f struct {
			N   uint8
			Tri [3]uint32
		}
		if err := binary.Read(r, binary.LittleEndian, &f); err != nil || f.N != 3 {
			t.Fatalf("face %d: %d corners, %v", len(p.tri), f.N, err)
		}
		p.tri = append(p.tri, f.Tri)
	}
	if rest, _ := io.ReadAll(r); len(rest) > 0 {
		t.Errorf("%d bytes after the last element", len(rest))
	}
	return p
}

// fileset returns the directory of the fileset of a task.
func taskDir(t *testing.T, scan, task string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(scan, task+"_*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("filesets of %s in %s = %q, want one", task, scan, found)
	}
	return found[0]
}

// toSegment returns the distance of p from the segment a-b.
func toSegment(p, a, b Point) float64 {
	ab := b.sub(a)
	k := p.sub(a).dot(ab) / ab.dot(ab)
	return p.sub(a.mix(b, min(max(k, 0), 1))).length()
}

func toLine(p Point, line []Point) float64 {
	best := math.Inf(1)
	for i := 1; i < len(line); i++ {
		best = min(best, toSegment(p, line[i-1], line[i]))
	}
	return best
}

// unpickle reads the opcodes that pickler writes, as Python defines them, and
// returns the state of the object: maps, lists, float64, int, bool and string.
func unpickle(t *testing.T, data []byte) map[any]any {
	t.Helper()
	type mark struct{}
	var stack []any
	memo := map[uint32]any{}
	pop := func() any {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		return v
	}
	toMark := func() []any {
		i := len(stack) - 1
		for stack[i] != any(mark{}) {
			i--
		}
		items := append([]any{}, stack[i+1:]...)
		stack = stack[:i]
		return items
	}
	r := bytes.NewReader(data)
	number := func() uint32 {
		var n uint32
		if err := binary.Read(r, binary.LittleEndian, &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for {
		op, err := r.ReadByte()
		if err != nil {
			t.Fatalf("pickle ends without STOP: %v", err)
		}
		switch op {
		case 0x80:
			if v, _ := r.ReadByte(); v != 2 {
				t.Fatalf("protocol %d, want 2", v)
			}
		case 'c':
			line := "networkx.classes.graph\nGraph\n"
			got := make([]byte, len(line))
			if _, err := io.ReadFull(r, got); err != nil || string(got) != line {
				t.Fatalf("class %q, want %q", got, line)
			}
			stack = append(stack, "class")
		case ')':
			stack = append(stack, "()")
		case 0x81:
			pop()
			pop()
			stack = append(stack, "instance")
		case '}':
			stack = append(stack, map[any]any{})
		case ']':
			stack = append(stack, &[]any{})
		case '(':
			stack = append(stack, mark{})
		case 'X':
			text := make([]byte, number())
			if _, err := io.ReadFull(r, text); err != nil {
				t.Fatal(err)
			}
			stack = append(stack, string(text))
		case 'J':
			stack = append(stack, int(int32(number())))
		case 'G':
			var f float64
			if err := binary.Read(r, binary.BigEndian, &f); err != nil {
				t.Fatal(err)
			}
			stack = append(stack, f)
		case 0x88, 0x89:
			stack = append(stack, op == 0x88)
		case 'r':
			memo[number()] = stack[len(stack)-1]
		case 'j':
			stack = append(stack, memo[number()])
		case 'e':
			items := toMark()
			list := stack[len(stack)-1].(*[]any)
			*list = append(*list, items...)
		case 'u':
			items := toMark()
			m := stack[len(stack)-1].(map[any]any)
			for i := 0; i < len(items); i += 2 {
				m[items[i]] = items[i+1]
			}
		case 'b':
			state := pop().(map[any]any)
			if end, err := r.ReadByte(); err != nil || end != '.' || r.Len() > 0 {
				t.Fatalf("after BUILD: %q, %d bytes left, want STOP and none", end, r.Len())
			}
			return state
		default:
			t.Fatalf("opcode %q at %d", op, len(data)-r.Len())
		}
	}
}
