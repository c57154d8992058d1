// Package preview turns source bytes into something smaller to look at, and
// keeps the result: thumbnails of images, and point clouds and meshes on a voxel
// grid. It knows neither scans nor users nor HTTP: a caller says which version
// of which bytes it means and has checked that the asker may see them.
package preview

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"

	"github.com/romi/plantdb-go/internal/fault"
)

// The failures that callers may see.
var (
	// ErrBadSize is a size that is no known word and no number within bounds.
	ErrBadSize = fault.New(fault.Invalid, "bad_size", "the size is not one that can be made")
	// ErrDamagedImage is a stored file that is no readable image.
	ErrDamagedImage = fault.New(fault.Unprocessable, "damaged_image", "the file is not an image that can be read")
	// ErrImageTooLarge is an image that would take too much memory or time to decode.
	ErrImageTooLarge = fault.New(fault.Unprocessable, "image_too_large", "the image is too large to make a preview of")
	// ErrClosed answers every call after Close.
	ErrClosed = fault.New(fault.Unavailable, "stopping", "the server is stopping")

	errNoSpace = fault.New(fault.NoSpace, "no_space", "the disk that keeps previews is full")
)

// The longest side of a preview of an image, in pixels.
const (
	MinImageSize = 16
	MaxImageSize = 4096
	// Thumb and Large are what the words thumb and large stand for.
	Thumb = 150
	Large = 1500
)

// DefaultVoxel is the voxel size that "preview" stands for, in the unit of the
// file, which is millimetres for PlantDB's scanners.
const DefaultVoxel = 1.8

// Source is what a preview is made of.
type Source struct {
	// Key names the version of the bytes: their SHA-256 where it is known, else
	// path, size, time of modification and inode. Equal keys must mean equal
	// bytes.
	Key string
	// Open returns the bytes and how many they are. It is called only when the
	// preview has to be made, and its error is returned as it is, wrapped.
	Open func() (io.ReadSeekCloser, int64, error)
}

// ImageSize reads the size of an image as routes take it: thumb (also when
// empty), large, a number of pixels, or orig for the file itself. Its error is
// ErrBadSize.
func ImageSize(size string) (px int, orig bool, err error) {
	switch size {
	case "", "thumb":
		return Thumb, false, nil
	case "large":
		return Large, false, nil
	case "orig":
		return 0, true, nil
	}
	px, err = strconv.Atoi(size)
	if err != nil {
		return 0, false, ErrBadSize.With("unknown image size %q: give thumb, large, orig or a number of pixels", clip(size))
	}
	return px, false, checkImageSize(px)
}

func checkImageSize(px int) error {
	if px < MinImageSize || px > MaxImageSize {
		return ErrBadSize.With("image size %d is not from %d to %d pixels", px, MinImageSize, MaxImageSize)
	}
	return nil
}

// VoxelSize reads the size of a point cloud or mesh as routes take it: preview
// (also when empty), a positive voxel size, or orig for the file itself. Its
// error is ErrBadSize.
func VoxelSize(size string) (voxel float64, orig bool, err error) {
	switch size {
	case "", "preview":
		return DefaultVoxel, false, nil
	case "orig":
		return 0, true, nil
	}
	voxel, err = strconv.ParseFloat(size, 64)
	if err != nil {
		return 0, false, ErrBadSize.With("unknown size %q: give preview, orig or a voxel size", clip(size))
	}
	return voxel, false, checkVoxel(voxel)
}

func checkVoxel(voxel float64) error {
	if !(voxel > 0) || math.IsInf(voxel, 1) { // the negation catches NaN
		return ErrBadSize.With("voxel size %g is not a positive number", voxel)
	}
	return nil
}

// clip keeps a foreign text short enough to repeat.
func clip(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}

// Image returns a JPEG of s with its longest side at most size pixels: aspect
// kept and rounded as Pillow's thumbnail() does, never enlarged, turned upright
// by the EXIF orientation, colour in YCbCr, without metadata. JPEG, PNG and TIFF
// are read; transparency is shown over black.
//
// The caller closes the file. Errors: ErrBadSize, ErrDamagedImage,
// ErrImageTooLarge, ErrClosed, that of s.Open, and that of ctx.
func (c *Cache) Image(ctx context.Context, s Source, size int) (*os.File, fs.FileInfo, error) {
	if err := checkImageSize(size); err != nil {
		return nil, nil, err
	}
	return c.get(ctx, keyOf("image", s.Key, strconv.Itoa(size)), func(ctx context.Context, t *turn, w io.Writer) error {
		return makeImage(ctx, t, s, size, w)
	})
}

// Version is part of every key, and to be part of every name for the bytes of a
// preview. Raise it when the same source comes out different, and no old preview
// is shown again.
const Version = "1"

func keyOf(kind, source, size string) key {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s|%s|%d|%s|%s", Version, kind, len(source), source, size))
	return key(sum[:len(key{})])
}
