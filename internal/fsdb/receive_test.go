package fsdb

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

// TestStageSizes stages content around the bounds of blocks, from readers that
// give it in all the ways that readers may.
func TestStageSizes(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	source := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{0, 1, blockSize - 1, blockSize, blockSize + 1, 3 * blockSize, 7*blockSize + 5, flushSize + 3*blockSize + 1} {
		content := make([]byte, size)
		_, _ = source.Read(content)
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader, "data and EOF": iotest.DataErrReader,
			"odd": func(r io.Reader) io.Reader { return oddReader{r} },
		} {
			s, err := tree.Stage(ctx, wrap(bytes.NewReader(content)), int64(size))
			if err != nil {
				t.Fatalf("Stage(%d bytes, %s) = %v", size, name, err)
			}
			got := must[[]byte](t)(os.ReadFile(filepath.Join(tree.Dir(), s.name)))
			if !bytes.Equal(got, content) || s.Size() != int64(size) || s.SHA256() != sha256.Sum256(content) {
				t.Errorf("Stage(%d bytes, %s) holds %d bytes, says %d, digest %x", size, name, len(got), s.Size(), s.SHA256())
			}
			if err := s.Discard(); err != nil {
				t.Error(err)
			}
		}
	}
}

// fullFile takes so many bytes.
type fullFile struct {
	file
	room int
	got  bytes.Buffer
}

func (f *fullFile) Write(p []byte) (int, error) {
	n := min(len(p), f.room-f.got.Len())
	f.got.Write(p[:n])
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

// However content is received, it is there whole, or the error of its source or
// of the disk is told.
func TestReceivers(t *testing.T) {
	t.Parallel()
	cut := errors.New("cut")
	for name, receiver := range map[string]func(file, io.Reader) (int64, [sha256.Size]byte, error){
		"receive": receive, "receiveOne": receiveOne,
		"relay": func(f file, r io.Reader) (size int64, sum [sha256.Size]byte, err error) {
			s := sink{file: f, sum: sha256.New()}
			err = relay(r, filled{}, s.write)
			s.sum.Sum(sum[:0])
			return s.size, sum, err
		},
	} {
		for _, size := range []int{0, 1, blockSize - 1, blockSize, blockSize + 1, 5*blockSize + 7} {
			content := make([]byte, size)
			_, _ = rand.NewChaCha8([32]byte{2}).Read(content)
			f := &fullFile{room: size}
			n, sum, err := receiver(f, oddReader{bytes.NewReader(content)})
			if err != nil || n != int64(size) || !bytes.Equal(f.got.Bytes(), content) || sum != sha256.Sum256(content) {
				t.Errorf("%s of %d bytes = %d, %x, %v, and %d bytes are there", name, size, n, sum, err, f.got.Len())
			}
			if _, _, err := receiver(&fullFile{room: size}, io.MultiReader(bytes.NewReader(content), iotest.ErrReader(cut))); !errors.Is(err, cut) {
				t.Errorf("%s of %d bytes that are cut = %v, want the cut", name, size, err)
			}
			if size > 0 {
				if _, _, err := receiver(&fullFile{room: size - 1}, bytes.NewReader(content)); !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("%s of %d bytes on a full disk = %v, want ENOSPC", name, size, err)
				}
			}
		}
	}
}

// oddReader gives 77777 bytes at once.
type oddReader struct{ r io.Reader }

func (o oddReader) Read(p []byte) (int, error) { return o.r.Read(p[:min(len(p), 77_777)]) }

// TestStageCut cuts content off at its source and at the disk: nothing is left,
// and the cause is told.
func TestStageCut(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 10, blockSize, blockSize + 10, 6 * blockSize} {
		tree := newTree(t)
		for _, cause := range []error{io.ErrUnexpectedEOF, errors.New("reset")} {
			r := io.MultiReader(bytes.NewReader(make([]byte, size)), iotest.ErrReader(cause))
			if _, err := tree.Stage(ctx, r, 1<<30); !errors.Is(err, cause) {
				t.Errorf("Stage(%d bytes, then %v) = %v", size, cause, err)
			}
		}
		if _, err := tree.Stage(ctx, bytes.NewReader(make([]byte, size+1)), int64(size)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("Stage(%d bytes too many) = %v", 1, err)
		}
		d := spareSyncs(tree)
		for step, failed := 1, true; failed; step++ { // not its creation, of which nothing is left anyway
			d.calls, d.fail, d.err = 0, step, &os.PathError{Op: "write", Path: "p", Err: syscall.ENOSPC}
			s, err := tree.Stage(ctx, bytes.NewReader(make([]byte, size)), 1<<30)
			if err == nil {
				err = s.durable()
			}
			if failed = err != nil; failed && !errors.Is(err, ErrNoSpace) {
				t.Errorf("Stage(%d bytes, disk full at %d) = %v", size, step, err)
			}
			d.fail = -1
			if s == nil {
				continue
			}
			if err := s.Discard(); err != nil {
				t.Error(err)
			}
		}
		if left := staged(t, tree); len(left) > 0 {
			t.Errorf("%d bytes: left in staging: %v", size, fmt.Sprint(left))
		}
	}
}

// fullDisk takes what is written and has no room for it in the end.
type fullDisk struct{ disk }

func (d fullDisk) create(name string) (file, error) {
	f, err := d.disk.create(name)
	return unsyncedFile{f}, err
}

type unsyncedFile struct{ file }

func (unsyncedFile) Sync() error { return syscall.ENOSPC }

// TestStageNotSynced has the disk refuse, when all was written, one of two
// contents: whoever takes it is told so, nothing of it is left, and the other
// one is added.
func TestStageNotSynced(t *testing.T) {
	t.Parallel()
	tree := newTree(t, legacy().under("s"))
	sound := tree.disk
	refused := func() *Staged {
		tree.disk = fullDisk{sound}
		defer func() { tree.disk = sound }()
		return stage(t, tree, "refused")
	}
	loc := Loc{Scan: "s"}
	errs, err := tree.AddFiles(ctx, loc, "images", []NewFile{
		{ID: "refused", Name: "refused.txt", Content: refused(), Metadata: object(`{}`)},
		{ID: "taken", Name: "taken.txt", Content: stage(t, tree, "taken"), Metadata: object(`{}`)},
	})
	if err != nil || !errors.Is(errs[0], ErrNoSpace) || errs[1] != nil {
		t.Fatalf("AddFiles = %v, %v, want ErrNoSpace for the first", errs, err)
	}
	if got := tell(readScan(t, tree, loc)); strings.Contains(got, "refused") || !strings.Contains(got, "images/taken") {
		t.Errorf("a reader finds %s", got)
	}
	for name, put := range map[string]func(*Staged) error{
		"replace": func(s *Staged) error { return tree.ReplaceFile(ctx, loc, "images", "taken", s) },
		"put":     func(s *Staged) error { _, err := tree.PutRaw(ctx, loc, "far/off.txt", s); return err },
	} {
		content := refused()
		if err := put(content); !errors.Is(err, ErrNoSpace) {
			t.Errorf("%s = %v, want ErrNoSpace", name, err)
		}
		if err := content.Discard(); err != nil {
			t.Errorf("%s: Discard = %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(tree.Dir(), "s/far")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory on the way = %v, want none", err)
	}
	left := must[[]os.DirEntry](t)(os.ReadDir(filepath.Join(tree.Dir(), stagingDir)))
	if len(left) > 0 {
		t.Errorf("staging holds %v", left)
	}
}
