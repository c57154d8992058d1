package storedzip_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/storedzip"
)

var noon = time.Date(2026, time.March, 30, 12, 0, 2, 0, time.UTC)

// closer is a content whose Close says err.
type closer struct {
	io.ReadSeeker
	err error
}

func (c closer) Close() error { return c.err }

func entry(name, content string) storedzip.Entry {
	return storedzip.Entry{
		Name: name, Size: int64(len(content)), Modified: noon,
		Sum:  func(context.Context) (uint32, error) { return crc32.ChecksumIEEE([]byte(content)), nil },
		Open: func(context.Context) (io.ReadSeekCloser, error) { return closer{strings.NewReader(content), nil}, nil },
	}
}

func layOut(t testing.TB, entries ...storedzip.Entry) *storedzip.Archive {
	t.Helper()
	a, err := storedzip.New(entries)
	if err != nil {
		t.Fatalf("New = %v", err)
	}
	return a
}

func part(t testing.TB, a *storedzip.Archive, offset, n int64) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := a.WriteRange(t.Context(), &buf, offset, n); err != nil {
		t.Fatalf("WriteRange(%d, %d) = %v", offset, n, err)
	}
	return buf.Bytes()
}

func sample() []storedzip.Entry {
	return []storedzip.Entry{
		entry("files.json", `{"filesets": []}`), entry("empty.txt", ""),
		entry("images/Coléus 1.jpg", strings.Repeat("pixels", 100)), entry("metadata/metadata.json", "{}"),
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	a := layOut(t, sample()...)
	whole := part(t, a, 0, a.Size())
	if int64(len(whole)) != a.Size() {
		t.Errorf("Size() = %d, want the %d bytes that are written", a.Size(), len(whole))
	}
	r, err := zip.NewReader(bytes.NewReader(whole), int64(len(whole)))
	if err != nil {
		t.Fatalf("zip.NewReader = %v", err)
	}
	for i, want := range sample() {
		f := r.File[i]
		c, err := f.Open()
		if err != nil {
			t.Fatalf("open %s: %v", f.Name, err)
		}
		got, err := io.ReadAll(c) // which checks the checksum
		if err != nil || int64(len(got)) != want.Size {
			t.Errorf("read %s = %d bytes, %v, want %d", f.Name, len(got), err, want.Size)
		}
		if f.Name != want.Name || !f.Modified.Equal(noon) || f.Method != zip.Store || f.Mode() != 0o644 || f.NonUTF8 {
			t.Errorf("entry %d = %q of %v, method %d, mode %v, want %q of %v, stored, 0644", i, f.Name, f.Modified, f.Method, f.Mode(), want.Name, noon)
		}
	}
}

// Python's zipfile is what upstream's clients unpack with.
func TestPythonReads(t *testing.T) {
	t.Parallel()
	a := layOut(t, sample()...)
	file := filepath.Join(t.TempDir(), "a.zip")
	if err := os.WriteFile(file, part(t, a, 0, a.Size()), 0o600); err != nil {
		t.Fatal(err)
	}
	const script = `
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z:
    assert z.testzip() is None
    print([(i.filename, i.file_size, i.compress_type, i.date_time) for i in z.infolist()])`
	got, err := exec.CommandContext(t.Context(), "python3", "-c", script, file).CombinedOutput()
	want := `[('files.json', 16, 0, (2026, 3, 30, 12, 0, 2)), ('empty.txt', 0, 0, (2026, 3, 30, 12, 0, 2)), ` +
		`('images/Coléus 1.jpg', 600, 0, (2026, 3, 30, 12, 0, 2)), ('metadata/metadata.json', 2, 0, (2026, 3, 30, 12, 0, 2))]` + "\n"
	if err != nil || string(got) != want {
		t.Errorf("python3 = %s, %v, want %s", got, err, want)
	}
}

// Any part is what the whole has there.
func TestEveryRange(t *testing.T) {
	t.Parallel()
	a := layOut(t, entry("a", "some"), entry("b", ""), entry("c", ""), entry("d", "more content"))
	whole := part(t, a, 0, a.Size())
	for from := range a.Size() + 1 {
		for to := from; to <= a.Size(); to++ {
			if got := part(t, a, from, to-from); !bytes.Equal(got, whole[from:to]) {
				t.Fatalf("WriteRange(%d, %d) = %q, want %q", from, to-from, got, whole[from:to])
			}
		}
	}
	for _, r := range [][2]int64{{-1, 1}, {0, -1}, {0, a.Size() + 1}, {a.Size() + 1, 0}, {1, 1<<63 - 1}} {
		if err := a.WriteRange(t.Context(), io.Discard, r[0], r[1]); err == nil {
			t.Errorf("WriteRange(%d, %d) = nil, want an error", r[0], r[1])
		}
	}
}

// connection counts what it is given, as a TCP connection is.
type connection struct {
	bytes.Buffer
	writes, files int
	all, taken    int64 // of which files bring so much
}

func (c *connection) Write(p []byte) (int, error) {
	c.writes++
	c.all += int64(len(p))
	return c.Buffer.Write(p)
}

func (c *connection) ReadFrom(r io.Reader) (int64, error) {
	if _, limited := r.(*io.LimitedReader); !limited {
		return 0, fmt.Errorf("%T is no limited reader", r)
	}
	c.files++
	n, err := c.Buffer.ReadFrom(r)
	c.all, c.taken = c.all+n, c.taken+n
	return n, err
}

// Small entries and headers go out together, what is large is left to the
// connection, and nothing waits while something large is summed.
func TestFewWrites(t *testing.T) {
	t.Parallel()
	const photos, photo, notes = 5, 200 << 10, 300
	var entries []storedzip.Entry
	c := &connection{}
	for i := range notes {
		entries = append(entries, entry(fmt.Sprintf("metadata/%03d.json", i), `{"shot": 1}`))
	}
	var before int64 // what comes before the first photo
	for i := range photos {
		e := entry(fmt.Sprintf("images/%d.jpg", i), strings.Repeat("x", photo))
		sum := e.Sum
		e.Sum = func(ctx context.Context) (uint32, error) {
			if before == 0 {
				before = c.all
			}
			return sum(ctx)
		}
		entries = append(entries, e)
	}
	a := layOut(t, entries...)
	if err := a.WriteRange(t.Context(), c, 0, a.Size()); err != nil {
		t.Fatalf("WriteRange = %v", err)
	}
	if !bytes.Equal(c.Bytes(), part(t, a, 0, a.Size())) {
		t.Error("the bytes are not those of an archive that is written otherwise")
	}
	if c.writes > 10 || c.files != photos || c.taken < photos*photo*8/10 {
		t.Errorf("%d entries took %d writes; %d files brought %d bytes, want at most ten, and most of %d out of %d",
			len(entries), c.writes, c.files, c.taken, photos*photo, photos)
	}
	if want := int64(notes * (len(`{"shot": 1}`) + 30 + len("metadata/000.json") + 9)); before != want {
		t.Errorf("%d bytes are out when the first photo is summed, want %d", before, want)
	}
}

func TestNoEntries(t *testing.T) {
	t.Parallel()
	a := layOut(t)
	whole := part(t, a, 0, a.Size())
	if r, err := zip.NewReader(bytes.NewReader(whole), a.Size()); err != nil || len(r.File) != 0 {
		t.Errorf("zip.NewReader = %v, want an empty archive", err)
	}
}

func TestRefusedEntries(t *testing.T) {
	t.Parallel()
	long := entry(strings.Repeat("n", 1<<16), "")
	negative := entry("n", "")
	negative.Size = -1
	for _, e := range []storedzip.Entry{long, negative} {
		if _, err := storedzip.New([]storedzip.Entry{e}); err == nil {
			t.Errorf("New(%.10q of %d bytes) = nil, want an error", e.Name, e.Size)
		}
	}
}

// An entry that changes ends the archive before its end.
func TestChanged(t *testing.T) {
	t.Parallel()
	shrunk := entry("b", "content")
	shrunk.Open = func(context.Context) (io.ReadSeekCloser, error) { return closer{strings.NewReader("cont"), nil}, nil }
	rewritten := entry("b", "content")
	rewritten.Open = func(context.Context) (io.ReadSeekCloser, error) {
		return closer{strings.NewReader("contend"), storedzip.ErrChanged}, nil
	}
	gone := entry("b", "content")
	gone.Open = func(context.Context) (io.ReadSeekCloser, error) { return nil, storedzip.ErrChanged }
	unsummed := entry("b", "content")
	unsummed.Sum = func(context.Context) (uint32, error) { return 0, storedzip.ErrChanged }
	for name, e := range map[string]storedzip.Entry{"shrunk": shrunk, "rewritten": rewritten, "gone": gone, "unsummed": unsummed} {
		a := layOut(t, entry("a", "first"), e)
		var buf bytes.Buffer
		err := a.WriteRange(t.Context(), &buf, 0, a.Size())
		if !errors.Is(err, storedzip.ErrChanged) || !strings.Contains(err.Error(), `"b"`) || int64(buf.Len()) >= a.Size() {
			t.Errorf("%s: WriteRange = %v after %d of %d bytes, want ErrChanged for b before the end", name, err, buf.Len(), a.Size())
		}
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := layOut(t, sample()...)
	if err := a.WriteRange(ctx, io.Discard, 0, a.Size()); !errors.Is(err, context.Canceled) {
		t.Errorf("WriteRange = %v, want context.Canceled", err)
	}
}

// zeros is a content of any length that takes no room.
type zeros struct{ at, size int64 }

func (z *zeros) Read(p []byte) (int, error) {
	n := min(int64(len(p)), z.size-z.at)
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	clear(p[:n])
	z.at += n
	return int(n), nil
}

func (z *zeros) Seek(offset int64, _ int) (int64, error) {
	z.at = offset
	return offset, nil
}

func (*zeros) Close() error { return nil }

// at reads an archive at any place, as archive/zip does.
type at struct {
	t *testing.T
	a *storedzip.Archive
}

func (r at) ReadAt(p []byte, offset int64) (int, error) {
	n := copy(p, part(r.t, r.a, offset, min(int64(len(p)), r.a.Size()-offset)))
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Sizes and places beyond 4 GiB, and at the very bounds, need ZIP64.
func TestZIP64(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{1<<32 - 200, 1<<32 - 2, 1<<32 - 1, 1 << 32, 5 << 30} {
		large := storedzip.Entry{
			Name: "large.bin", Size: size, Modified: noon,
			Sum:  func(context.Context) (uint32, error) { return 1, nil },
			Open: func(context.Context) (io.ReadSeekCloser, error) { return &zeros{size: size}, nil },
		}
		a := layOut(t, entry("first", "one"), large, entry("last", "two"))
		r, err := zip.NewReader(at{t, a}, a.Size())
		if err != nil || len(r.File) != 3 {
			t.Fatalf("zip.NewReader of %d bytes = %v", size, err)
		}
		if got := r.File[1]; got.UncompressedSize64 != uint64(size) || got.CompressedSize64 != uint64(size) {
			t.Errorf("size = %d, %d, want %d", got.UncompressedSize64, got.CompressedSize64, size)
		}
		content, err := contentOf(r.File[2])
		if err != nil || content != "two" {
			t.Errorf("entry behind %d bytes = %q, %v, want two", size, content, err)
		}
		end, err := r.File[1].DataOffset()
		if got := part(t, a, end+size-4, 8); err != nil || !bytes.Equal(got, []byte("\x00\x00\x00\x00PK\x03\x04")) {
			t.Errorf("around the end of %d bytes: %x, %v, want zeros and a header", size, got, err)
		}
	}
}

func contentOf(f *zip.File) (string, error) {
	c, err := f.Open()
	if err != nil {
		return "", err
	}
	content, err := io.ReadAll(c)
	return string(content), err
}

func TestManyEntries(t *testing.T) {
	t.Parallel()
	for _, n := range []int{65_534, 65_535, 65_536} {
		entries := slices.Repeat([]storedzip.Entry{entry("e", "x")}, n)
		a := layOut(t, entries...)
		whole := part(t, a, 0, a.Size())
		r, err := zip.NewReader(bytes.NewReader(whole), a.Size())
		if err != nil || len(r.File) != n {
			t.Errorf("zip.NewReader of %d entries = %v", n, err)
		}
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		modified time.Time
		want     string // in DOS's own form
	}{
		{time.Unix(0, 0), "1980-01-01T00:00:00"}, {noon, "2026-03-30T12:00:02"},
		{time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), "2107-12-31T23:59:58"},
	} {
		e := entry("e", "")
		e.Modified = tt.modified
		a := layOut(t, e)
		h := part(t, a, 0, a.Size())
		clock, date := int(h[10])|int(h[11])<<8, int(h[12])|int(h[13])<<8
		got := fmt.Sprintf("%d-%02d-%02dT%02d:%02d:%02d", 1980+date>>9, date>>5&15, date&31, clock>>11, clock>>5&63, clock&31*2)
		if got != tt.want {
			t.Errorf("time of %v = %s, want %s", tt.modified, got, tt.want)
		}
	}
}
