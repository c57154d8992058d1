package demo

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
)

// supersample is how many samples a pixel has in each direction.
const supersample = 2

const jpegQuality = 86

func imageID(shot int, channel string) string { return fmt.Sprintf("%05d_%s", shot, channel) }

// picture is a rendered shot: its colours, and for each pixel the label that
// most of its samples carry.
type picture struct {
	rgba   *image.RGBA
	labels []label
}

// resolve averages the samples of c over the backdrop. Grain above zero adds
// the noise and the dark corners of a real camera; it depends on shot alone.
func (c *canvas) resolve(drop *backdrop, shot, grain int) picture {
	w, h := drop.w, drop.h
	p := picture{rgba: image.NewRGBA(image.Rect(0, 0, w, h)), labels: make([]label, w*h)}
	for y := range h {
		for x := range w {
			i := y*w + x
			colour, l := c.pixel(x, y, drop.colour[i])
			if grain > 0 {
				colour = weather(colour, int(drop.dim[i]), speck(x, y, shot)*grain)
			}
			out := p.rgba.Pix[4*i : 4*i+4 : 4*i+4]
			out[0], out[1], out[2], out[3] = colour[0], colour[1], colour[2], 255
			p.labels[i] = l
		}
	}
	return p
}

// pixel averages the samples of a pixel; empty ones show the backdrop.
func (c *canvas) pixel(x, y int, back [3]uint8) ([3]uint8, label) {
	i := supersample*y*c.w + supersample*x
	at := [...]int{i, i + 1, i + c.w, i + c.w + 1}
	if c.empty(at[0]) && c.empty(at[1]) && c.empty(at[2]) && c.empty(at[3]) {
		return back, background
	}
	var sum [3]int
	var votes [len(channelNames)]int
	for _, j := range at {
		v, l := uint32(back[0])<<16|uint32(back[1])<<8|uint32(back[2]), background
		if !c.empty(j) {
			v, l = c.colour[j], c.label[j]
		}
		sum[0], sum[1], sum[2] = sum[0]+int(v>>16), sum[1]+int(v>>8&255), sum[2]+int(v&255)
		votes[l]++
	}
	var mean [3]uint8
	for k := range mean {
		mean[k] = uint8((sum[k] + 2) / 4)
	}
	return mean, winner(votes)
}

// winner returns the plant's label with the most votes, or background if that
// has more than half of them.
func winner(votes [len(channelNames)]int) label {
	if votes[background] > supersample*supersample/2 {
		return background
	}
	best := stemLabel
	for l := best + 1; int(l) < len(votes); l++ {
		if votes[l] > votes[best] {
			best = l
		}
	}
	return best
}

// backdrop is a dark blue wall with a glow behind the plant. It is computed in
// integers, once for all pictures of a size.
type backdrop struct {
	w, h   int
	colour [][3]uint8
	dim    []uint8 // loss of light towards the corners of a lens, of 255
}

func newBackdrop(w, h int) *backdrop {
	b := &backdrop{w: w, h: h, colour: make([][3]uint8, w*h), dim: make([]uint8, w*h)}
	rim, middle := [3]int{22, 30, 42}, [3]int{88, 114, 134}
	far := max(1, (w*w+h*h)/4)
	for y := range h {
		for x := range w {
			dx, dy, up := x-w/2, y-h/2, y-h*45/100
			b.dim[y*w+x] = uint8(min(255, (dx*dx+dy*dy)*60/far))
			// (1-r)^2 falls smoothly to the rim.
			r := min(1024, (dx*dx+up*up)*1150/far)
			glow := (1024 - r) * (1024 - r) / 1024
			for k := range rim {
				b.colour[y*w+x][k] = uint8((rim[k]*1024 + (middle[k]-rim[k])*glow) / 1024)
			}
		}
	}
	return b
}

// speck is a hash of a pixel, -3 to 3 and mostly small.
func speck(x, y, shot int) int {
	h := uint32(x)*0x9e3779b1 ^ uint32(y)*0x85ebca6b ^ uint32(shot)*0xc2b2ae35
	h ^= h >> 15
	h *= 0x2c1b3c6d
	h ^= h >> 13
	return int(h&3) + int(h>>8&3) - 3
}

func weather(c [3]uint8, dim, noise int) [3]uint8 {
	for k := range c {
		c[k] = uint8(min(max(int(c[k])*(255-dim)/255+noise/2, 0), 255))
	}
	return c
}

func (p picture) jpeg() ([]byte, error) {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, p.rgba, &jpeg.Options{Quality: jpegQuality}); err != nil {
		return nil, fmt.Errorf("encode jpeg: %w", err)
	}
	return b.Bytes(), nil
}

// mask returns a PNG that is white where want says so.
func (p picture) mask(want func(label) bool) ([]byte, error) {
	g := image.NewGray(p.rgba.Rect)
	var table [len(channelNames)]byte
	for l := range table {
		if want(label(l)) {
			table[l] = 255
		}
	}
	for i, l := range p.labels {
		g.Pix[i] = table[l]
	}
	var b bytes.Buffer
	e := png.Encoder{CompressionLevel: png.BestSpeed}
	if err := e.Encode(&b, g); err != nil {
		return nil, fmt.Errorf("encode png: %w", err)
	}
	return b.Bytes(), nil
}
