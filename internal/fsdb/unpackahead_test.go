package fsdb

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/iotest"
)

// photos are large entries that are not packed, of different bytes.
func photos() []entry {
	var all []entry
	for i, size := range []int{aheadLeast - 1, aheadLeast, 3*blockSize + 5, aheadLeast + 1, 1, 0} {
		content := make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(content)
		all = append(all, entry{name: "images/" + string(rune('p'+i)) + ".jpg", content: string(content), raw: true})
	}
	return all
}

// largePhoto is the largest of photos.
const largePhoto = "images/r.jpg"

// localHeader changes the header in front of it.
func localHeader(archive []byte, change func(head []byte)) []byte {
	archive = bytes.Clone(archive)
	at := bytes.Index(archive, []byte(largePhoto)) // its first name is that in front of it
	change(archive[at-30:])
	return archive
}

// Whatever the headers in front of the entries say, and however slowly an archive
// comes, it becomes what the directory at its end says.
func TestUnpackAhead(t *testing.T) {
	t.Parallel()
	archive := zipOf(append(photos(), sound("")...)...)
	le := binary.LittleEndian
	tricked := photos()
	tricked[2].content = string(zipOf(entry{name: "images/a.jpg", content: tricked[2].content, raw: true})) // an archive within
	for name, tt := range map[string]struct {
		archive []byte
		ahead   int // files that are not unpacked a second time
	}{
		"sound":              {archive, 3},
		"packed first":       {zipOf(append(sound(""), photos()...)...), 0},
		"a wrong checksum":   {localHeader(archive, func(head []byte) { head[14]++ }), 3},
		"a shorter size":     {localHeader(archive, func(head []byte) { le.PutUint32(head[18:], aheadLeast); le.PutUint32(head[22:], aheadLeast) }), 1},
		"a longer size":      {localHeader(archive, func(head []byte) { le.PutUint32(head[18:], 1<<20); le.PutUint32(head[22:], 1<<20) }), 1},
		"beyond its end":     {localHeader(archive, func(head []byte) { le.PutUint32(head[18:], 1<<30); le.PutUint32(head[22:], 1<<30) }), 1},
		"size behind it":     {localHeader(archive, func(head []byte) { head[6] |= 8 }), 1},
		"encrypted, it says": {localHeader(archive, func(head []byte) { head[6] |= 1 }), 2},
		"packed, it says":    {localHeader(archive, func(head []byte) { head[8] = 8 }), 2},
		"an archive within":  {zipOf(append(tricked, sound("")...)...), 3},
	} {
		z := must[*zip.Reader](t)(zip.NewReader(bytes.NewReader(tt.archive), int64(len(tt.archive))))
		for speed, r := range map[string]io.Reader{
			"at once": bytes.NewReader(tt.archive), "slowly": oddReader{bytes.NewReader(tt.archive)},
		} {
			tree := newTree(t)
			a, err := tree.SpoolArchive(ctx, r, DefaultArchiveLimits())
			if err != nil {
				t.Fatalf("%s, %s: SpoolArchive = %v", name, speed, err)
			}
			a.ahead.finish()
			taken := 0
			for _, f := range a.plan.files {
				got, ok := a.ahead.files[must[int64](t)(f.DataOffset())]
				if ok && got.crc == f.CRC32 && uint64(got.size) == f.UncompressedSize64 {
					taken++
				}
			}
			if taken != tt.ahead {
				t.Errorf("%s, %s: %d files were unpacked ahead, want %d", name, speed, taken, tt.ahead)
			}
			s, err := a.Unpack(ctx)
			if err != nil {
				t.Fatalf("%s, %s: Unpack = %v", name, speed, err)
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
			if err := tree.AddScan(ctx, Loc{Scan: "new"}, s, s.Metadata()); err != nil {
				t.Fatalf("%s, %s: AddScan = %v", name, speed, err)
			}
			for _, f := range s.Files() {
				got := must[[]byte](t)(os.ReadFile(filepath.Join(tree.Dir(), "new", f)))
				if want := must[[]byte](t)(fs.ReadFile(z, f)); !bytes.Equal(got, want) || sha256.Sum256(got) != [sha256.Size]byte(s.SHA256(f)) {
					t.Errorf("%s, %s: %s has %d bytes, want %d", name, speed, f, len(got), len(want))
				}
			}
			if left := staged(t, tree); len(left) > 0 {
				t.Errorf("%s, %s: left in staging: %v", name, speed, left)
			}
		}
	}
}

// An archive that is cut off, or that fills the disk, leaves nothing, however
// much of it was unpacked ahead; and what does not work ahead is done afterwards.
func TestUnpackAheadCut(t *testing.T) {
	t.Parallel()
	archive := zipOf(append(photos(), sound("")...)...)
	tree := newTree(t)
	cut := errors.New("cut")
	for _, at := range []int{0, 10, aheadLeast, 2*aheadLeast + 300, len(archive) / 2, len(archive) - 1} {
		r := io.MultiReader(bytes.NewReader(archive[:at]), iotest.ErrReader(cut))
		if _, err := tree.SpoolArchive(ctx, r, DefaultArchiveLimits()); !errors.Is(err, cut) {
			t.Errorf("SpoolArchive cut at %d = %v, want the cut", at, err)
		}
		if _, err := tree.SpoolArchive(ctx, bytes.NewReader(archive[:at]), DefaultArchiveLimits()); !errors.Is(err, ErrArchive) {
			t.Errorf("SpoolArchive that ends at %d = %v, want ErrArchive", at, err)
		}
	}
	ended, end := context.WithCancel(ctx)
	a, err := tree.SpoolArchive(ended, bytes.NewReader(archive), DefaultArchiveLimits())
	if err != nil {
		t.Fatal(err)
	}
	end()
	if _, err := a.Unpack(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Unpack for nobody = %v", err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	d := spareSyncs(tree)
	for d.fail = 1; ; d.fail++ {
		d.calls, d.err = 0, &os.PathError{Op: "write", Path: "p", Err: syscall.ENOSPC}
		s, err := unpacked(tree, archive, DefaultArchiveLimits())
		if s != nil {
			if d.calls <= d.fail && err == nil {
				s.Discard()
				break
			}
			s.Discard() // the call that failed was one ahead, or removed something
		}
		if err != nil && !errors.Is(err, ErrNoSpace) {
			t.Errorf("disk full at %d = %v", d.fail, err)
		}
	}
	d.fail = -1
	for _, name := range staged(t, tree) {
		tree.discard(stagingDir + "/" + name) // where the removal was what failed
	}
}
