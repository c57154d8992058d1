package fsdb

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"testing/iotest"
)

// photos are large entries that are not packed, of different bytes.
func photos() []entry {
	var all []entry
	for i, size := range []int{partLeast - 1, partLeast, 3*blockSize + 5, partLeast + 1, 1, 0} {
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

// ofParts takes an archive whose parts have so many bytes at least.
func ofParts(tree *Tree, r io.Reader, least int64) (*SpooledArchive, error) {
	s, err := tree.newSpool(DefaultArchiveLimits())
	if err != nil {
		return nil, err
	}
	s.least = least
	return s.archive(ctx, r, DefaultArchiveLimits())
}

// added is what the tree holds of an archive once it is a scan, and how many of
// its files are parts; or the error.
func added(t *testing.T, archive []byte, least int64) (found files, parts int, err error) {
	t.Helper()
	tree := newTreeInMemory(t)
	defer func() {
		if left := staged(t, tree); len(left) > 0 {
			t.Errorf("left in staging: %v", left)
		}
	}()
	a, err := ofParts(tree, bytes.NewReader(archive), least)
	if err != nil {
		return nil, 0, err
	}
	s, err := a.Unpack(ctx)
	for _, p := range a.spool.parts {
		if p.taken {
			parts++
		}
	}
	if err := errors.Join(err, a.Close()); err != nil {
		return nil, 0, err
	}
	if err := tree.AddScan(ctx, Loc{Scan: "new"}, s, s.Metadata()); err != nil {
		t.Fatalf("AddScan = %v", err)
	}
	for _, name := range s.Files() {
		info := must[fs.FileInfo](t)(os.Stat(filepath.Join(tree.Dir(), "new", name)))
		if stat, ok := info.Sys().(*syscall.Stat_t); !ok || stat.Nlink != 1 {
			t.Errorf("%s has another name as well", name)
		}
		data := must[[]byte](t)(os.ReadFile(filepath.Join(tree.Dir(), "new", name)))
		if sha256.Sum256(data) != [sha256.Size]byte(s.SHA256(name)) {
			t.Errorf("%s has another digest than it was given", name)
		}
	}
	return below(t, filepath.Join(tree.Dir(), "new")), parts, nil
}

// noParts is a size that no part has.
const noParts = math.MaxInt64

// Whatever the headers in front of the entries say, the archive becomes what it
// becomes where nobody reads them: what the directory at its end says, or nothing.
func TestSpoolIsTheArchive(t *testing.T) {
	t.Parallel()
	entries := append(photos(), sound("")...)
	archive := zipOf(entries...)
	le := binary.LittleEndian
	local := func(change func(head []byte)) []byte { return localHeader(archive, change) }
	central := func(change func(head []byte)) []byte {
		archive := bytes.Clone(archive)
		at := bytes.LastIndex(archive, []byte(largePhoto)) // its last name is that in the directory
		change(archive[at-46:])
		return archive
	}
	both := func(size uint32) func(head []byte) {
		return func(head []byte) { le.PutUint32(head[18:], size); le.PutUint32(head[22:], size) }
	}
	where := int64(bytes.Index(archive, []byte(largePhoto))) - headLen
	tricked := photos()
	tricked[2].content = string(zipOf(entry{name: "images/a.jpg", content: tricked[2].content, raw: true})) // an archive within
	whole := photos()
	whole[2].content = string(archive) // its directory in a part
	twin := photos()
	twin[3].content = twin[2].content
	twins := zipOf(append(twin, sound("")...)...)
	at := bytes.LastIndex(twins, []byte(twin[3].name))
	le.PutUint32(twins[at-4:], uint32(bytes.Index(twins, []byte(largePhoto))-headLen)) // both are the first of them
	largest := photos()[2].content
	unsized := withDescriptor(photos()[2])
	streamed := photos()
	for i := range streamed {
		streamed[i].raw, streamed[i].header = false, func(h *zip.FileHeader) { h.Method = zip.Store }
	}
	for name, tt := range map[string]struct {
		archive []byte
		parts   int // files that are not written a second time
		want    error
	}{
		"sound":                    {archive, 3, nil},
		"in a directory":           {zipOf(append(inDir("s/", photos()), sound("s/")...)...), 3, nil},
		"packed first":             {zipOf(append(sound(""), photos()...)...), 0, nil}, // their size comes behind them
		"an archive within":        {zipOf(append(tricked, sound("")...)...), 3, nil},
		"its own archive":          {zipOf(append(whole, sound("")...)...), 3, nil},
		"ends in a part":           {append(bytes.Clone(zipOf(photos()[2])[:100_000]), archive...), 0, nil},
		"bytes before it":          {append([]byte("a program"), archive...), 0, nil},
		"an entry unlisted":        {append(bytes.Clone(unlisted(photos()[2])), archive...), 3, nil},
		"unlisted, without a name": {append(bytes.Clone(unlisted(entry{content: largest, raw: true})), archive...), 3, nil},
		"stored, size behind":      {zipOf(append(streamed, sound("")...)...), 0, nil},
		"unlisted, size behind":    {slices.Concat(archive[:where], unsized, moved(archive[where:], where, int64(len(unsized)))), 1, nil},
		"one content twice":        {twins, 2, nil},
		"zip64":                    {zip64(archive, where), 1, nil},
		"local: no header":         {local(func(head []byte) { head[3]++ }), 1, ErrArchive},
		"local: version":           {local(func(head []byte) { head[4]++ }), 3, nil},
		"local: encrypted":         {local(func(head []byte) { head[6] |= 1 }), 2, nil},
		"local: size behind":       {local(func(head []byte) { head[6] |= 8 }), 1, nil},
		"local: packed":            {local(func(head []byte) { head[8] = 8 }), 2, nil},
		"local: time":              {local(func(head []byte) { head[10]++ }), 3, nil},
		"local: checksum":          {local(func(head []byte) { head[14]++ }), 3, nil},
		"local: shorter":           {local(both(partLeast)), 1, nil},
		"local: one shorter":       {local(func(head []byte) { both(le.Uint32(head[18:]) - 1)(head) }), 1, nil},
		"local: one longer":        {local(func(head []byte) { both(le.Uint32(head[18:]) + 1)(head) }), 1, nil},
		"local: longer":            {local(both(1 << 20)), 1, nil},
		"local: beyond":            {local(both(1 << 30)), 1, nil},
		"local: too long":          {local(both(1<<32 - 2)), 1, nil},
		"local: nothing":           {local(both(0)), 1, nil},
		"local: packed size":       {local(func(head []byte) { head[18]++ }), 1, nil},
		"local: unpacked size":     {local(func(head []byte) { head[22]++ }), 2, nil},
		"local: name length":       {local(func(head []byte) { head[26]++ }), 1, ErrArchive},
		"local: extra length":      {local(func(head []byte) { head[28]++ }), 1, ErrArchive},
		"local: name":              {local(func(head []byte) { copy(head[headLen:], "../../ev.jpg") }), 3, nil},
		"central: encrypted":       {central(func(head []byte) { head[8] |= 1 }), 0, ErrArchive},
		"central: size behind":     {central(func(head []byte) { head[8] |= 8 }), 2, ErrArchive},
		"central: packed":          {central(func(head []byte) { head[10] = 8 }), 2, ErrArchive},
		"central: unknown":         {central(func(head []byte) { head[10] = 12 }), 0, ErrArchive},
		"central: checksum":        {central(func(head []byte) { head[16]++ }), 2, ErrArchive},
		"central: no checksum":     {central(func(head []byte) { le.PutUint32(head[16:], 0) }), 2, ErrArchive},
		"central: packed size":     {central(func(head []byte) { head[20]++ }), 2, ErrArchive},
		"central: shorter":         {central(func(head []byte) { head[20]--; head[24]-- }), 2, ErrArchive},
		"central: longer":          {central(func(head []byte) { head[20]++; head[24]++ }), 2, ErrArchive},
		"central: unpacked":        {central(func(head []byte) { head[24]-- }), 2, ErrArchive},
		"central: another":         {central(func(head []byte) { le.PutUint32(head[42:], 0) }), 2, ErrArchive},
		"central: in a part":       {central(func(head []byte) { le.PutUint32(head[42:], uint32(where)+1000) }), 2, ErrArchive},
		"central: beyond":          {central(func(head []byte) { le.PutUint32(head[42:], 1<<30) }), 2, ErrArchive},
		"central: a link":          {central(func(head []byte) { head[5] = 3; le.PutUint32(head[38:], 0o120777<<16) }), 0, ErrArchive},
		"central: out of it":       {central(func(head []byte) { copy(head[46:], "../../ev.jpg") }), 0, ErrArchivePath},
		"central: another's":       {central(func(head []byte) { copy(head[46:], "images/q.jpg") }), 0, ErrArchive},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, none, wantErr := added(t, tt.archive, noParts)
			if none != 0 || !errors.Is(wantErr, tt.want) || (wantErr == nil) != (tt.want == nil) {
				t.Fatalf("without parts = %d parts, %v, want %v", none, wantErr, tt.want)
			}
			got, parts, err := added(t, tt.archive, partLeast)
			if fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Fatalf("by parts = %v, without %v", err, wantErr)
			}
			if !maps.Equal(got, want) {
				t.Error("by parts the scan is another than without")
			}
			if err == nil && parts != tt.parts {
				t.Errorf("%d files were parts, want %d", parts, tt.parts)
			}
		})
	}
}

// inDir is entries below a directory.
func inDir(dir string, entries []entry) []entry {
	for i := range entries {
		entries[i].name = dir + entries[i].name
	}
	return entries
}

// unlisted is an entry that no directory names.
func unlisted(e entry) []byte {
	archive := zipOf(e)
	entries, _, _ := bytes.Cut(archive, []byte("PK\x01\x02"))
	return entries
}

// withDescriptor is an unlisted entry that is not packed and has its size behind
// its content.
func withDescriptor(e entry) []byte {
	e.header = func(h *zip.FileHeader) { h.Flags |= 8 }
	return unlisted(e)
}

// zip64 has the header at a place say, by an extra field, what it says by itself.
func zip64(archive []byte, at int64) []byte {
	le := binary.LittleEndian
	head := bytes.Clone(archive[at : at+headLen+int64(len(largePhoto))])
	extra := binary.LittleEndian.AppendUint16(nil, 1)
	extra = le.AppendUint16(extra, 16)
	extra = le.AppendUint64(extra, uint64(le.Uint32(head[22:])))
	extra = le.AppendUint64(extra, uint64(le.Uint32(head[18:])))
	le.PutUint32(head[18:], math.MaxUint32)
	le.PutUint32(head[22:], math.MaxUint32)
	le.PutUint16(head[28:], uint16(len(extra)))
	after := archive[at+int64(len(head)):]
	return slices.Concat(archive[:at], head, extra, moved(after, int64(len(archive)-len(after)), int64(len(extra))))
}

// moved is the end of an archive that begins at a place, and is to lie so much
// behind it.
func moved(end []byte, from, by int64) []byte {
	le := binary.LittleEndian
	end = bytes.Clone(end)
	last := bytes.LastIndex(end, []byte("PK\x05\x06"))
	at := int64(le.Uint32(end[last+16:])) - from
	le.PutUint32(end[last+16:], uint32(at+from+by))
	for string(end[at:at+4]) == "PK\x01\x02" {
		head := end[at:]
		if offset := int64(le.Uint32(head[42:])); offset >= from {
			le.PutUint32(head[42:], uint32(offset+by))
		}
		at += 46 + int64(le.Uint16(head[28:])) + int64(le.Uint16(head[30:])) + int64(le.Uint16(head[32:]))
	}
	return end
}

// The bytes of an archive lie on the disk once, however they come, and are read
// as they came, from anywhere.
func TestSpoolReadsWhatCame(t *testing.T) {
	t.Parallel()
	archive := zipOf(append(photos(), sound("")...)...)
	for name, r := range map[string]io.Reader{
		"at once": bytes.NewReader(archive), "slowly": oddReader{bytes.NewReader(archive)}, "by bytes": iotest.OneByteReader(bytes.NewReader(archive)),
		"ends in a part": bytes.NewReader(archive[:3*partLeast]), "ends in a header": bytes.NewReader(archive[:10]), "empty": bytes.NewReader(nil),
	} {
		var came bytes.Buffer
		tree := newTree(t)
		s := must[*spool](t)(tree.newSpool(DefaultArchiveLimits()))
		if err := s.receive(io.TeeReader(r, &came)); err != nil {
			t.Fatalf("%s: receive = %v", name, err)
		}
		if len(s.parts) == 0 && came.Len() > 2*partLeast {
			t.Errorf("%s: it has no parts", name)
		}
		held := int64(0)
		for _, data := range below(t, filepath.Join(tree.Dir(), s.dir)) {
			held += int64(len(data))
		}
		if s.size != int64(came.Len()) || held != s.size {
			t.Errorf("%s: it is of %d bytes and holds %d, want %d", name, s.size, held, came.Len())
		}
		want := bytes.NewReader(came.Bytes())
		places := []int64{0, 1, s.size / 2, s.size - 1, s.size, s.size + 1}
		for _, p := range s.parts {
			places = append(places, p.at-1, p.at, p.at+1, p.at+p.size-1, p.at+p.size, p.at+p.size+1)
		}
		for _, at := range places {
			for _, n := range []int{0, 1, 100, partLeast, len(archive) + 1} {
				got, there := make([]byte, n), make([]byte, n)
				m, err := s.ReadAt(got, max(at, 0))
				k, wantErr := want.ReadAt(there, max(at, 0))
				if m != k || !bytes.Equal(got, there) || n > 0 && !errors.Is(err, wantErr) {
					t.Errorf("%s: %d bytes at %d: ReadAt = %d, %v, want %d, %v", name, n, at, m, err, k, wantErr)
				}
			}
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}
}

// FuzzSpool: whatever comes, it is read as it came, and it becomes what it becomes
// without parts.
func FuzzSpool(f *testing.F) {
	f.Add(smallZip())
	f.Add(zipOf(append(inDir("s/", []entry{{name: "images/b.jpg", content: "some content", raw: true}}), sound("s/")...)...))
	for _, tt := range hostile() {
		f.Add(tt.archive)
	}
	f.Fuzz(func(t *testing.T, archive []byte) {
		tree := newTreeInMemory(t)
		s := must[*spool](t)(tree.newSpool(DefaultArchiveLimits()))
		s.least = 1
		if err := s.receive(bytes.NewReader(archive)); err != nil {
			t.Fatalf("receive = %v", err)
		}
		got, err := io.ReadAll(io.NewSectionReader(s, 0, s.size))
		if err != nil || !bytes.Equal(got, archive) {
			t.Errorf("it reads as %d bytes, %v, and %d came", len(got), err, len(archive))
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
		want, _, wantErr := added(t, archive, noParts)
		found, _, err := added(t, archive, 1)
		if fmt.Sprint(err) != fmt.Sprint(wantErr) || !maps.Equal(found, want) {
			t.Errorf("by parts it is another scan: %v, without %v", err, wantErr)
		}
	})
}

// An archive that is cut off, or that fills the disk, leaves nothing, however
// many of its files were there already.
func TestSpoolCut(t *testing.T) {
	t.Parallel()
	archive := zipOf(append(photos(), sound("")...)...)
	tree := newTree(t)
	cut := errors.New("cut")
	for _, at := range []int{0, 10, partLeast, 2*partLeast + 300, len(archive) / 2, len(archive) - 1} {
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
		if err != nil && !errors.Is(err, ErrNoSpace) {
			t.Errorf("disk full at %d = %v", d.fail, err)
		}
		whole := d.calls <= d.fail
		if s != nil {
			s.Discard() // the call that failed, if any did, removed something
		}
		if whole {
			break
		}
	}
	d.fail = -1
	for _, name := range staged(t, tree) {
		tree.discard(stagingDir + "/" + name) // where the removal was what failed
	}
}
