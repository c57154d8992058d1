package scaledjpeg

import "encoding/binary"

// lutBits is how many bits are looked up at once. Almost all codes of real
// pictures are shorter, and two tables of this size stay in a first-level cache.
const lutBits = 11

// table is a Huffman table in the forms that decoding wants.
type table struct {
	// symbol has, for the next lutBits bits, value<<8 | length of the code, or 0
	// for a longer code.
	symbol [1 << lutBits]uint16
	// skip has, for the next lutBits bits, how far whole symbols with their
	// extra bits lead: coefficients<<8 | end<<7 | bits. It passes over
	// frequencies that a reduced block does not need, often two or three at once.
	skip [1 << lutBits]uint16
	// limit is, for each length, the first code that is too large, at the top
	// of 16 bits; offset leads from a code to its place in values.
	limit  [17]uint32
	offset [17]int32
	values [256]byte
}

const skipEnd = 1 << 7

// huffmanTables reads Huffman tables (T.81, B.2.4.2).
func (d *decoder) huffmanTables(seg []byte) bool {
	for len(seg) > 0 {
		if len(seg) < 17 {
			return false
		}
		class, id, total := seg[0]>>4, seg[0]&15, 0
		for _, n := range seg[1:17] {
			total += int(n)
		}
		if class > 1 || id > 3 || total == 0 || total > 256 || len(seg) < 17+total {
			return false
		}
		t := new(table)
		if !t.build(seg[1:17], seg[17:17+total]) {
			return false
		}
		if class == 1 {
			t.buildSkip()
			d.ac[id] = t
		} else {
			for _, v := range seg[17 : 17+total] {
				if v > 11 { // table F.1: no difference of 8-bit samples is longer
					return false
				}
			}
			d.dc[id] = t
		}
		seg = seg[17+total:]
	}
	return true
}

// build assigns the codes (C.2): by length, in order.
func (t *table) build(counts, values []byte) bool {
	copy(t.values[:], values)
	code, index := uint32(0), 0
	for i, n := range counts {
		length := i + 1
		t.offset[length] = int32(index) - int32(code)
		for range n {
			if code >= 1<<length {
				return false // more codes than bits allow
			}
			if length <= lutBits {
				first := code << (lutBits - length)
				for j := range uint32(1) << (lutBits - length) {
					t.symbol[first+j] = uint16(values[index])<<8 | uint16(length)
				}
			}
			code++
			index++
		}
		t.limit[length] = code << (16 - length)
		code <<= 1
	}
	return true
}

// buildSkip fills skip from symbol.
func (t *table) buildSkip() {
	for i := range t.skip {
		used, coefs := 0, 0
		for coefs < 63 {
			s := t.symbol[i<<used&(1<<lutBits-1)]
			length, run, size := int(s&0xff), int(s>>12), int(s>>8&15)
			if s == 0 || used+length+size > lutBits {
				break
			}
			used += length + size
			if size == 0 && run != 15 {
				// The end of the block stands at a coefficient, so it counts as one.
				t.skip[i] = uint16(coefs+1)<<8 | skipEnd | uint16(used)
				break
			}
			if coefs+run+1 > 63 {
				break
			}
			coefs += run + 1
			t.skip[i] = uint16(coefs)<<8 | uint16(used)
		}
	}
}

// bitReader reads entropy-coded bits up to the next marker, and zeros after it.
type bitReader struct {
	data []byte
	pos  int
	bits uint64 // the next bits, from the top
	n    uint   // how many of them count
	pad  uint   // how many of those are zeros that no byte gave
}

// fill makes at least 57 bits count.
func (r *bitReader) fill() {
	if r.pos+8 <= len(r.data) {
		w := binary.BigEndian.Uint64(r.data[r.pos:])
		// No byte is 0xff, so there is neither stuffing nor a marker.
		if inv := ^w; (inv-0x0101010101010101)&^inv&0x8080808080808080 == 0 {
			r.bits |= w >> r.n
			take := (64 - r.n) >> 3
			r.pos += int(take)
			r.n += take << 3
			return
		}
	}
	r.fillSlowly()
}

func (r *bitReader) fillSlowly() {
	for r.n <= 56 {
		if r.pos >= len(r.data) {
			r.n, r.pad = r.n+8, r.pad+8
			continue
		}
		b := r.data[r.pos]
		if b == 0xff {
			if r.pos+1 >= len(r.data) || r.data[r.pos+1] != 0 {
				r.n, r.pad = r.n+8, r.pad+8
				continue
			}
			r.pos++
		}
		r.pos++
		r.bits |= uint64(b) << (56 - r.n)
		r.n += 8
	}
}

// atEnd says that all bits were read, but for the padding of the last byte, and
// none beyond.
func (r *bitReader) atEnd() bool {
	r.fill()
	return r.n >= r.pad && r.n-r.pad < 8
}

// next returns the symbol that follows, and false for a code not in t. At least
// 16 bits must count.
func (r *bitReader) next(t *table) (byte, bool) {
	if s := t.symbol[r.bits>>(64-lutBits)]; s != 0 {
		r.bits <<= s & 0xff
		r.n -= uint(s & 0xff)
		return byte(s >> 8), true
	}
	code := uint32(r.bits >> 48)
	for length := lutBits + 1; length <= 16; length++ {
		if code < t.limit[length] {
			r.bits <<= uint(length)
			r.n -= uint(length)
			return t.values[byte(int32(code>>(16-length))+t.offset[length])], true
		}
	}
	return 0, false
}

// receive reads a signed value of size bits (F.2.2.1, EXTEND).
func (r *bitReader) receive(size uint) int32 {
	v := int32(r.bits >> 1 >> (63 - size))
	r.bits <<= size
	r.n -= size
	if v < 1<<size>>1 {
		v += 1 - 1<<size
	}
	return v
}

// block decodes one block and puts the coefficients that places wants, times
// their quantization, into coef; the others are passed over. No place has a
// zig-zag index above last.
func (r *bitReader) block(c *component, places *[64]int8, last int, coef *[16]int32) bool {
	*coef = [16]int32{}
	r.fill()
	size, ok := r.next(c.dc)
	if !ok {
		return false
	}
	c.pred += r.receive(uint(size))
	coef[0] = c.pred * c.quant[0]
	k := 1
	for k <= last {
		if r.n < 32 {
			r.fill()
		}
		s, ok := r.next(c.ac)
		if !ok {
			return false
		}
		run, size := int(s>>4), uint(s&15)
		if size == 0 && run != 15 {
			return true
		}
		k += run
		if k > 63 {
			return false
		}
		v := r.receive(size)
		if p := places[k]; p >= 0 {
			coef[p] = v * c.quant[k]
		}
		k++
	}
	return r.skip(c.ac, k)
}

// skip passes over the rest of a block, from coefficient k on.
func (r *bitReader) skip(t *table, k int) bool {
	for k < 64 {
		if r.n < 32 {
			r.fill()
		}
		e := t.skip[r.bits>>(64-lutBits)]
		// A group that leads beyond the block has symbols of the next in it.
		if coefs := int(e >> 8); e != 0 && k+coefs <= 64 {
			r.bits <<= e & 0x7f
			r.n -= uint(e & 0x7f)
			if e&skipEnd != 0 {
				return true
			}
			k += coefs
			continue
		}
		s, ok := r.next(t)
		if !ok {
			return false
		}
		run, size := int(s>>4), uint(s&15)
		if size == 0 && run != 15 {
			return true
		}
		r.receive(size)
		k += run + 1
	}
	return k == 64
}
