package ply

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Bounds on a header, far above what any program writes.
const (
	maxHeader     = 1 << 20
	maxLine       = 64 << 10
	maxElements   = 64
	maxProperties = 512
	maxCount      = 1 << 40
)

type format int

const (
	ascii format = iota
	littleEndian
	bigEndian
)

// scalar is a type of number in a file.
type scalar int

const (
	none scalar = iota
	int8Type
	uint8Type
	int16Type
	uint16Type
	int32Type
	uint32Type
	float32Type
	float64Type
)

// scalarOf reads both families of names that are in use.
func scalarOf(name string) scalar {
	switch name {
	case "char", "int8":
		return int8Type
	case "uchar", "uint8":
		return uint8Type
	case "short", "int16":
		return int16Type
	case "ushort", "uint16":
		return uint16Type
	case "int", "int32":
		return int32Type
	case "uint", "uint32":
		return uint32Type
	case "float", "float32":
		return float32Type
	case "double", "float64":
		return float64Type
	default:
		return none
	}
}

func (s scalar) size() int {
	switch s {
	case int8Type, uint8Type:
		return 1
	case int16Type, uint16Type:
		return 2
	case float64Type:
		return 8
	default:
		return 4
	}
}

func (s scalar) isFloat() bool { return s == float32Type || s == float64Type }

// property is a column of an element, or a list in each of its rows.
type property struct {
	name  string
	kind  scalar
	count scalar // the type of a list's length; none for a single number
}

type element struct {
	name  string
	count int
	props []property
}

// rowSize is how many bytes each row takes in a binary file, and false when that
// depends on lists in it.
func (e *element) rowSize() (int, bool) {
	size := 0
	for _, p := range e.props {
		if p.count != none {
			return 0, false
		}
		size += p.kind.size()
	}
	return size, true
}

// leastRow is the least that a row can take in a file of the format.
func (e *element) leastRow(f format) int {
	size := 0
	for _, p := range e.props {
		switch {
		case f == ascii:
			size += 2 // a digit and a blank
		case p.count != none:
			size += p.count.size()
		default:
			size += p.kind.size()
		}
	}
	return size
}

type header struct {
	format   format
	elements []element
}

// readHeader reads up to the line end_header and leaves r behind it.
func readHeader(r *bufio.Reader) (*header, error) {
	h := &header{format: -1}
	for total, first := 0, true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("read PLY header: %w", err)
		}
		if total += len(line); err != nil || total > maxHeader {
			return nil, ErrDamaged
		}
		words := bytes.Fields(line)
		switch {
		case first:
			if len(words) != 1 || string(words[0]) != "ply" {
				return nil, ErrDamaged
			}
		case len(words) == 0:
		case string(words[0]) == "end_header":
			if h.format < 0 {
				return nil, ErrDamaged
			}
			return h, nil
		default:
			if !h.line(words) {
				return nil, ErrDamaged.Because(fmt.Errorf("header line %.80q", line))
			}
		}
	}
}

// line takes one line of the header.
func (h *header) line(words [][]byte) bool {
	switch string(words[0]) {
	case "comment", "obj_info":
		return true
	case "format":
		return len(words) >= 2 && h.formatLine(string(words[1]))
	case "element":
		return len(words) == 3 && h.elementLine(string(words[1]), string(words[2]))
	case "property":
		return h.propertyLine(words[1:])
	default:
		return false
	}
}

func (h *header) formatLine(name string) bool {
	switch name {
	case "ascii":
		h.format = ascii
	case "binary_little_endian":
		h.format = littleEndian
	case "binary_big_endian":
		h.format = bigEndian
	default:
		return false
	}
	return true
}

func (h *header) elementLine(name, number string) bool {
	count, err := strconv.Atoi(number)
	if err != nil || count < 0 || count > maxCount || len(h.elements) == maxElements {
		return false
	}
	for _, e := range h.elements {
		if e.name == name {
			return false
		}
	}
	h.elements = append(h.elements, element{name: name, count: count})
	return true
}

func (h *header) propertyLine(words [][]byte) bool {
	if len(h.elements) == 0 {
		return false
	}
	e := &h.elements[len(h.elements)-1]
	var p property
	switch {
	case len(words) == 2:
		p = property{name: string(words[1]), kind: scalarOf(string(words[0]))}
	case len(words) == 4 && string(words[0]) == "list":
		p = property{name: string(words[3]), kind: scalarOf(string(words[2])), count: scalarOf(string(words[1]))}
		if p.count == none || p.count.isFloat() {
			return false
		}
	}
	if p.kind == none || len(e.props) == maxProperties {
		return false
	}
	e.props = append(e.props, p)
	return true
}
