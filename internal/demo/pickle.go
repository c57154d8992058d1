package demo

import (
	"encoding/binary"
	"math"
)

// pickler writes the few opcodes of pickle protocol 2 that a graph needs.
type pickler struct {
	out   []byte
	memos uint32
}

func (p *pickler) op(b ...byte) { p.out = append(p.out, b...) }

func (p *pickler) text(s string) {
	p.op('X') // BINUNICODE
	p.out = binary.LittleEndian.AppendUint32(p.out, uint32(len(s)))
	p.out = append(p.out, s...)
}

func (p *pickler) integer(i int) {
	p.op('J') // BININT
	p.out = binary.LittleEndian.AppendUint32(p.out, uint32(int32(i)))
}

func (p *pickler) boolean(b bool) {
	if b {
		p.op(0x88) // NEWTRUE
	} else {
		p.op(0x89) // NEWFALSE
	}
}

func (p *pickler) point(q Point) {
	p.op(']', '(') // EMPTY_LIST, MARK
	for _, x := range q {
		p.op('G') // BINFLOAT, big-endian
		p.out = binary.BigEndian.AppendUint64(p.out, math.Float64bits(x))
	}
	p.op('e') // APPENDS
}

// remember gives the top of the stack a number that recall finds again.
func (p *pickler) remember() uint32 {
	p.op('r') // LONG_BINPUT
	p.out = binary.LittleEndian.AppendUint32(p.out, p.memos)
	p.memos++
	return p.memos - 1
}

func (p *pickler) recall(memo uint32) {
	p.op('j') // LONG_BINGET
	p.out = binary.LittleEndian.AppendUint32(p.out, memo)
}

// pickle encodes s as a networkx.Graph: nodes are integers with the attributes
// position, main_stem and, on a fruit, fruit_id. As networkx keeps them, both
// directions of an edge share one dictionary.
func (s *skeleton) pickle() []byte {
	p := &pickler{}
	p.op(0x80, 2) // PROTO
	p.op('c')     // GLOBAL
	p.out = append(p.out, "networkx.classes.graph\nGraph\n"...)
	p.op(')', 0x81, '}', '(') // EMPTY_TUPLE, NEWOBJ, EMPTY_DICT, MARK: the state
	p.text("graph")
	p.op('}')
	p.text("_node")
	s.pickleNodes(p)
	p.text("_adj")
	s.pickleEdges(p)
	p.text("__networkx_cache__")
	p.op('}')
	p.op('u', 'b', '.') // SETITEMS, BUILD, STOP
	return p.out
}

func (s *skeleton) pickleNodes(p *pickler) {
	p.op('}', '(')
	for i, q := range s.points {
		p.integer(i)
		p.op('}', '(')
		p.text("position")
		p.point(q)
		p.text("main_stem")
		p.boolean(s.stem[i])
		if s.fruit[i] >= 0 {
			p.text("fruit_id")
			p.integer(s.fruit[i])
		}
		p.op('u')
	}
	p.op('u')
}

func (s *skeleton) pickleEdges(p *pickler) {
	next := make([][]int, len(s.points))
	for _, l := range s.lines {
		next[l[0]] = append(next[l[0]], l[1])
		next[l[1]] = append(next[l[1]], l[0])
	}
	memo := map[[2]int]uint32{}
	p.op('}', '(')
	for i, near := range next {
		p.integer(i)
		p.op('}', '(')
		for _, j := range near {
			p.integer(j)
			key := [2]int{min(i, j), max(i, j)}
			if m, ok := memo[key]; ok {
				p.recall(m)
				continue
			}
			p.op('}')
			memo[key] = p.remember()
		}
		p.op('u')
	}
	p.op('u')
}
