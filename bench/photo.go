package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"math/rand/v2"
)

// A photo of the scanner's camera.
const (
	photoWidth, photoHeight = 1440, 1080
	photoBytes              = 481_000
	photoQuality            = 90
)

// makePhoto returns a JPEG that is as large in pixels as the scanner's photos
// and somewhat smaller in bytes, so that markPhoto can fill it up: a soft
// picture under the noise of a sensor.
func makePhoto() ([]byte, error) {
	noise := rand.New(rand.NewPCG(1, 2)) // the same photo in each run
	picture := image.NewRGBA(image.Rect(0, 0, photoWidth, photoHeight))
	for y := range photoHeight {
		for x := range photoWidth {
			soft := 128 + 90*math.Sin(float64(x)/97)*math.Cos(float64(y)/61)
			grain := noise.NormFloat64() * photoGrain
			picture.SetRGBA(x, y, color.RGBA{level(soft + grain), level(soft*0.8 + 30 + grain), level(soft*0.4 + grain), 255})
		}
	}
	var out bytes.Buffer
	if err := jpeg.Encode(&out, picture, &jpeg.Options{Quality: photoQuality}); err != nil {
		return nil, fmt.Errorf("make photo: %w", err)
	}
	return out.Bytes(), nil
}

// photoGrain makes makePhoto's bytes come near to photoBytes.
const photoGrain = 6.6

func level(v float64) uint8 { return uint8(max(0, min(255, v))) }

var errPhotoSize = errors.New("the photo cannot be filled up to its size")

// markPhoto returns a copy of a photo that no other has, of photoBytes bytes:
// with comments (COM segments, ITU-T T.81 B.2.4.5) behind its first marker.
func markPhoto(photo []byte, n int) ([]byte, error) {
	const startOfImage, head, maxText = 2, 4, 65533
	missing := photoBytes - len(photo)
	out := append(make([]byte, 0, photoBytes), photo[:startOfImage]...)
	for missing > 0 {
		text := min(missing-head, maxText)
		if rest := missing - head - text; rest > 0 && rest < head {
			text -= head
		}
		if text < 8 {
			return nil, errPhotoSize
		}
		out = binary.BigEndian.AppendUint16(append(out, 0xFF, 0xFE), uint16(text+2))
		out = append(out, fmt.Appendf(nil, "%08d", n)...)
		out = append(out, make([]byte, text-8)...)
		missing -= head + text
	}
	if out = append(out, photo[startOfImage:]...); len(out) != photoBytes {
		return nil, errPhotoSize
	}
	return out, nil
}
