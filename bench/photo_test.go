package main

import (
	"bytes"
	"image/jpeg"
	"testing"
)

func TestMarkPhoto(t *testing.T) {
	t.Parallel()
	photo, err := makePhoto()
	if err != nil {
		t.Fatalf("makePhoto() = %v", err)
	}
	var marked [2][]byte
	for n := range marked {
		if marked[n], err = markPhoto(photo, n); err != nil {
			t.Fatalf("markPhoto(%d) = %v", n, err)
		}
		config, err := jpeg.DecodeConfig(bytes.NewReader(marked[n]))
		if err != nil || config.Width != photoWidth || config.Height != photoHeight || len(marked[n]) != photoBytes {
			t.Errorf("markPhoto(%d) = %d bytes of %dx%d, %v, want %d of %dx%d", n, len(marked[n]), config.Width, config.Height, err,
				photoBytes, photoWidth, photoHeight)
		}
	}
	if bytes.Equal(marked[0], marked[1]) {
		t.Error("two marked photos are the same")
	}
	if _, err := markPhoto(make([]byte, photoBytes+1), 0); err == nil {
		t.Error("markPhoto of a photo that is too large succeeded")
	}
}
