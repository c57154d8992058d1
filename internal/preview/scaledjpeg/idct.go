package scaledjpeg

// The places of the coefficients that a reduced block needs, by their index in
// zig-zag order (T.81, figure A.6): row times width plus column, or -1 for a
// frequency too high for the reduced size.
var (
	order1 = [64]int8{0}
	order2 = order(2)
	order4 = order(4)
)

// order walks the zig-zag over an 8x8 block and keeps what lies in the n x n
// corner of low frequencies.
func order(n int) (places [64]int8) {
	row, col := 0, 0
	for k := range places {
		places[k] = -1
		if row < n && col < n {
			places[k] = int8(row*n + col)
		}
		switch up := (row+col)%2 == 0; {
		case up && col == 7, !up && row != 7 && col == 0:
			row++
		case !up && row == 7, up && row == 0:
			col++
		case up:
			row, col = row-1, col+1
		default:
			row, col = row+1, col-1
		}
	}
	return places
}

// sample turns a value with the given binary fraction into an unsigned byte.
func sample(v int32, fraction uint) byte {
	v = (v+1<<(fraction-1))>>fraction + 128
	if uint32(v) > 255 {
		if v < 0 {
			return 0
		}
		return 255
	}
	return byte(v)
}

// idct2 reconstructs a block as 2x2 samples. With two points every weight of
// the inverse transform (A.3.3) is the same, so it needs additions only.
func idct2(f *[16]int32, out []byte, stride int) {
	a, b := f[0]+f[2], f[0]-f[2]
	c, d := f[1]+f[3], f[1]-f[3]
	_ = out[stride+1]
	out[0], out[1] = sample(a+c, 3), sample(a-c, 3)
	out[stride], out[stride+1] = sample(b+d, 3), sample(b-d, 3)
}

// Weights of the four-point transform, scaled by 1<<12: half the cosine, or
// sqrt(1/8) for the constant term.
const (
	weightDC = 1448 // sqrt(1/8)
	weight1  = 1892 // cos(pi/8) / 2
	weight3  = 784  // cos(3 pi/8) / 2
)

// idct4 reconstructs a block as 4x4 samples.
func idct4(f *[16]int32, out []byte, stride int) {
	var t [16]int32
	for i := range 4 { // columns, keeping 5 bits of fraction
		a, b, c, d := pass4(f[i], f[4+i], f[8+i], f[12+i])
		t[i], t[4+i], t[8+i], t[12+i] = (a+64)>>7, (b+64)>>7, (c+64)>>7, (d+64)>>7
	}
	for i := range 4 {
		a, b, c, d := pass4(t[4*i], t[4*i+1], t[4*i+2], t[4*i+3])
		row := out[i*stride:]
		_ = row[3]
		row[0], row[1], row[2], row[3] = sample(a, 17), sample(b, 17), sample(c, 17), sample(d, 17)
	}
}

// pass4 is the four-point inverse transform of one row or column.
func pass4(f0, f1, f2, f3 int32) (a, b, c, d int32) {
	even0, even1 := (f0+f2)*weightDC, (f0-f2)*weightDC
	odd0, odd1 := f1*weight1+f3*weight3, f1*weight3-f3*weight1
	return even0 + odd0, even1 + odd1, even1 - odd1, even0 - odd0
}
