package preview

import (
	"bytes"
	"encoding/binary"
	"iter"
)

// jpegFacts looks at the segments, as far as a decoder would. What it does not
// understand it leaves to the decoder to complain about.
func jpegFacts(data []byte) facts {
	f := facts{orientation: 1, factor: 1}
	for marker, segment := range jpegSegments(data) {
		switch {
		case marker == 0xc2:
			// A progressive image keeps every coefficient in four bytes until its
			// last scan.
			f.factor = 5
		case marker == 0xe1 && f.scans == 0 && bytes.HasPrefix(segment, []byte("Exif\x00\x00")):
			f.orientation = orientation(segment[6:])
		case marker == 0xda && f.factor == 1:
			return f // the first scan has all of it
		case marker == 0xda:
			f.scans++
		}
	}
	return f
}

// jpegSegments yields the segments of a JPEG with their markers. It finds the
// next one where image/jpeg does, whatever lies before it, so that nothing can
// be said to the one and not to the other.
func jpegSegments(data []byte) iter.Seq2[byte, []byte] {
	return func(yield func(byte, []byte) bool) {
		for pos := 2; ; {
			at := bytes.IndexByte(data[min(pos, len(data)):], 0xff)
			if at < 0 {
				return
			}
			for pos += at + 1; pos < len(data) && data[pos] == 0xff; {
				pos++ // fill bytes
			}
			if pos+3 > len(data) || data[pos] == 0xd9 {
				return
			}
			marker := data[pos]
			if pos++; marker == 0 || marker >= 0xd0 && marker <= 0xd7 {
				continue // of what is coded, and a restart of it
			}
			size := int(binary.BigEndian.Uint16(data[pos:]))
			if size < 2 || pos+size > len(data) || !yield(marker, data[pos+2:pos+size]) {
				return
			}
			pos += size
		}
	}
}

// pngFacts walks the chunks before the image data.
func pngFacts(data []byte) facts {
	f := facts{orientation: 1, factor: 1}
	for pos := 8; pos+8 <= len(data); {
		size, kind := int(binary.BigEndian.Uint32(data[pos:])), string(data[pos+4:pos+8])
		if size > len(data)-pos-8 || kind == "IDAT" {
			break
		}
		chunk := data[pos+8 : pos+8+size]
		switch {
		case kind == "IHDR" && size == 13 && chunk[12] != 0:
			f.factor = 2 // interlaced: the passes stand beside the whole
		case kind == "eXIf":
			f.orientation = orientation(chunk)
		}
		pos += 12 + size
	}
	return f
}

// orientation reads the orientation from a TIFF structure (TIFF 6.0, section 2),
// which EXIF is as well; 1, upright, when there is none.
func orientation(b []byte) int {
	const (
		tagOrientation = 0x0112
		typeShort      = 3
	)
	if len(b) < 8 {
		return 1
	}
	var order binary.ByteOrder = binary.LittleEndian
	if b[0] == 'M' {
		order = binary.BigEndian
	}
	at := uint64(order.Uint32(b[4:]))
	if at+2 > uint64(len(b)) {
		return 1
	}
	count := int(order.Uint16(b[at:]))
	entries := b[at+2:]
	for i := 0; i < count && len(entries) >= 12; i++ {
		if order.Uint16(entries) == tagOrientation && order.Uint16(entries[2:]) == typeShort {
			if v := int(order.Uint16(entries[8:])); v >= 1 && v <= 8 {
				return v
			}
			return 1
		}
		entries = entries[12:]
	}
	return 1
}
