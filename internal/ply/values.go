package ply

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
)

// values reads the numbers after a header. The first failure stays in err, and
// every number after it is zero.
type values struct {
	r      *bufio.Reader
	format format
	order  binary.ByteOrder
	err    error
}

func newValues(r *bufio.Reader, f format) *values {
	v := &values{r: r, format: f, order: binary.LittleEndian}
	if f == bigEndian {
		v.order = binary.BigEndian
	}
	return v
}

// fail keeps the first failure. An end of the file amid data is damage; what a
// disk says is not.
func (v *values) fail(err error) {
	if v.err != nil {
		return
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		v.err = ErrDamaged.Because(io.ErrUnexpectedEOF)
		return
	}
	v.err = fmt.Errorf("read PLY data: %w", err)
}

// next returns the next number.
func (v *values) next(kind scalar) float64 {
	if v.err != nil {
		return 0
	}
	if v.format == ascii {
		return v.nextText()
	}
	b := v.bytes(kind.size())
	if b == nil {
		return 0
	}
	return number(b, kind, v.order)
}

// bytes returns the next n bytes, valid until the next call, or nil.
func (v *values) bytes(n int) []byte {
	b, err := v.r.Peek(n)
	if err != nil {
		v.fail(err)
		return nil
	}
	// Cannot fail for what was peeked at.
	_, _ = v.r.Discard(n)
	return b
}

func number(b []byte, kind scalar, order binary.ByteOrder) float64 {
	switch kind {
	case int8Type:
		return float64(int8(b[0]))
	case uint8Type:
		return float64(b[0])
	case int16Type:
		return float64(int16(order.Uint16(b)))
	case uint16Type:
		return float64(order.Uint16(b))
	case int32Type:
		return float64(int32(order.Uint32(b)))
	case uint32Type:
		return float64(order.Uint32(b))
	case float32Type:
		return float64(math.Float32frombits(order.Uint32(b)))
	default:
		return math.Float64frombits(order.Uint64(b))
	}
}

// nextText reads a number up to the next white space, whatever the line.
func (v *values) nextText() float64 {
	var text [64]byte
	n := 0
	for {
		b, err := v.r.ReadByte()
		if errors.Is(err, io.EOF) && n > 0 {
			break
		}
		if err != nil {
			v.fail(err)
			return 0
		}
		if b == ' ' || b == '\n' || b == '\r' || b == '\t' {
			if n > 0 {
				break
			}
			continue
		}
		if n == len(text) {
			v.err = ErrDamaged
			return 0
		}
		text[n] = b
		n++
	}
	f, err := strconv.ParseFloat(string(text[:n]), 64)
	// A number out of range comes as infinity, which is dropped later on.
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		v.err = ErrDamaged.Because(err)
		return 0
	}
	return f
}

// length reads how long a list is.
func (v *values) length(kind scalar) int {
	n := v.next(kind)
	if n < 0 || n > math.MaxUint32 || n != math.Trunc(n) {
		if v.err == nil {
			v.err = ErrDamaged
		}
		return 0
	}
	return int(n)
}

// skip passes over one property of a row.
func (v *values) skip(p property) {
	n := 1
	if p.count != none {
		n = v.length(p.count)
	}
	if v.format != ascii {
		v.discard(int64(n) * int64(p.kind.size()))
		return
	}
	for i := 0; i < n && v.err == nil; i++ {
		v.next(p.kind)
	}
}

func (v *values) discard(n int64) {
	if v.err != nil || n == 0 {
		return
	}
	if _, err := io.CopyN(io.Discard, v.r, n); err != nil {
		v.fail(err)
	}
}

// skipElement passes over all rows of e.
func (v *values) skipElement(e *element) {
	if len(e.props) == 0 {
		return // rows of nothing, however many
	}
	if size, fixed := e.rowSize(); fixed && v.format != ascii {
		v.discard(int64(e.count) * int64(size))
		return
	}
	for i := 0; i < e.count && v.err == nil; i++ {
		for _, p := range e.props {
			v.skip(p)
		}
	}
}
