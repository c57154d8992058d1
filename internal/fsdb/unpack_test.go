package fsdb

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// entry is one of an archive; where raw is set the header says what it says.
type entry struct {
	name, content string
	header        func(*zip.FileHeader)
	raw           bool
}

// zipOf makes an archive of entries as they stand.
func zipOf(entries ...entry) []byte {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		create := w.CreateHeader
		if e.raw {
			h.Method = zip.Store
			h.CRC32 = crc32.ChecksumIEEE([]byte(e.content))
			h.CompressedSize64, h.UncompressedSize64 = uint64(len(e.content)), uint64(len(e.content))
			create = w.CreateRaw
		}
		if e.header != nil {
			e.header(h)
		}
		f, err := create(h)
		if err == nil {
			_, err = io.WriteString(f, e.content)
		}
		if err != nil && len(e.content) > 0 {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

// sound are the entries of a scan; with returns them and more.
func sound(prefix string) []entry {
	return []entry{
		{name: prefix + "files.json", content: `{"filesets":[{"id":"images","files":[{"id":"a","file":"a.jpg"}]},{"id":"none","files":[]}]}`},
		{name: prefix + "metadata/metadata.json", content: `{"owner":"ann","created":"2026-01-01T00:00:00.000000"}`},
		{name: prefix + "metadata/images/a.json", content: `{"n":1}`},
		{name: prefix + "images/a.jpg", content: "an image"},
	}
}

func with(more ...entry) []byte { return zipOf(append(sound(""), more...)...) }

var smallZip = sync.OnceValue(func() []byte { return with() })

// unpacked takes an archive as far as the staging directory.
func unpacked(tree *Tree, archive []byte, limits ArchiveLimits) (*StagedScan, error) {
	a, err := tree.SpoolArchive(ctx, bytes.NewReader(archive), limits)
	if err != nil {
		return nil, err
	}
	s, err := a.Unpack(ctx)
	return s, errors.Join(err, a.Close())
}

// below returns the files below a directory and what they hold; directories
// end in a slash.
func below(t testing.TB, dir string) files {
	t.Helper()
	found := files{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			found[rel+"/"] = ""
			return nil
		}
		data, err := os.ReadFile(name)
		found[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestUnpack(t *testing.T) {
	t.Parallel()
	kept := sound("")
	want := files{"images/": "", "metadata/": "", "metadata/images/": "", "none/": "", "notes/": "", "notes/deep/": "", "notes/deep/x.txt": "x", "Images/": "", "Images/a.jpg": "other"}
	for _, e := range kept {
		want[e.name] = e.content
	}
	for name, prefix := range map[string]string{"at the top": "", "in a directory": "some scan/", "below a dot": "./"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := newTree(t)
			entries := append(sound(prefix),
				entry{name: prefix + "notes/deep/x.txt", content: "x", raw: true},
				entry{name: prefix + "Images/a.jpg", content: "other"},
				entry{name: prefix + ".hidden", content: "h"}, entry{name: prefix + ".git/config", content: "h"},
				entry{name: "__MACOSX/._files.json", content: "h"}, entry{name: prefix + "webcache/0.jpeg", content: "h"},
				entry{name: prefix + ManifestName, content: "h"})
			if prefix != "" {
				entries = append([]entry{{name: prefix}}, entries...)
			}
			s, err := unpacked(tree, zipOf(entries...), DefaultArchiveLimits())
			if err != nil {
				t.Fatalf("Unpack = %v", err)
			}
			if err := tree.AddScan(ctx, Loc{Scan: "new"}, s, s.Metadata()); err != nil {
				t.Fatalf("AddScan = %v", err)
			}
			if diff := cmp.Diff(want, below(t, filepath.Join(tree.Dir(), "new"))); diff != "" {
				t.Errorf("the scan is not what the archive holds: (-want +got)\n%s", diff)
			}
			names := slices.Sorted(maps.Keys(want))
			names = slices.DeleteFunc(names, func(n string) bool { return strings.HasSuffix(n, "/") })
			if diff := cmp.Diff(names, s.Files()); diff != "" {
				t.Errorf("Files: (-want +got)\n%s", diff)
			}
			if left := staged(t, tree); len(left) > 0 {
				t.Errorf("left in staging: %v", left)
			}
			if err := tree.AddScan(ctx, Loc{Scan: "again"}, s, s.Metadata()); err == nil {
				t.Error("AddScan of a scan that was used = nil")
			}
		})
	}
}

// Only what says something else is written anew.
func TestAddScanWritesMetadata(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	for scan, tt := range map[string]struct{ metadata, want string }{
		"same":    {`{"created":"2026-01-01T00:00:00.000000","owner":"ann"}`, sound("")[1].content},
		"other":   {`{"owner":"bob"}`, "{\n    \"owner\": \"bob\"\n}"},
		"private": {`{"owner":"bob","visibility":"private"}`, "{\n    \"owner\": \"bob\",\n    \"visibility\": \"private\"\n}"},
	} {
		s := must[*StagedScan](t)(unpacked(tree, smallZip(), DefaultArchiveLimits()))
		if err := tree.AddScan(ctx, Loc{Scan: scan}, s, object(tt.metadata)); err != nil {
			t.Fatalf("AddScan(%s) = %v", scan, err)
		}
		got := below(t, filepath.Join(tree.Dir(), scan))
		if got["metadata/metadata.json"] != tt.want {
			t.Errorf("%s: metadata.json = %s, want %s", scan, got["metadata/metadata.json"], tt.want)
		}
		if _, ok := got[accessFile]; ok != (scan == "private") {
			t.Errorf("%s: has a file of its visibility: %t", scan, ok)
		}
	}
	for loc, want := range map[Loc]error{
		{Scan: "same"}: ErrScanExists, {Scan: ".."}: ErrName, {Scan: "configs"}: ErrReserved, {Timelapse: "tl", Scan: "x"}: ErrNotFound,
	} {
		s := must[*StagedScan](t)(unpacked(tree, smallZip(), DefaultArchiveLimits()))
		if err := tree.AddScan(ctx, loc, s, object(`{}`)); !errors.Is(err, want) {
			t.Errorf("AddScan(%v) = %v, want %v", loc, err, want)
		}
	}
	if left := staged(t, tree); len(left) > 0 {
		t.Errorf("left in staging: %v", left)
	}
}

// hostile are archives that are refused, and what each is refused for.
func hostile() map[string]struct {
	archive []byte
	want    error
} {
	type refused = struct {
		archive []byte
		want    error
	}
	link := func(h *zip.FileHeader) { h.SetMode(0o777 | fs.ModeSymlink) }
	pipe := func(h *zip.FileHeader) { h.SetMode(0o666 | fs.ModeNamedPipe) }
	crc := func(h *zip.FileHeader) { h.CRC32++ }
	noCRC := func(h *zip.FileHeader) { h.CRC32 = 0 }
	long := strings.Repeat("x", 256)
	listing := func(fileset string) []byte {
		return zipOf(append(sound("")[1:], entry{name: "files.json", content: `{"filesets":[` + fileset + `]}`})...)
	}
	all := map[string]refused{
		"empty":                     {nil, ErrArchive},
		"text":                      {[]byte("not an archive"), ErrArchive},
		"without entries":           {zipOf(), ErrArchiveStructure},
		"without files.json":        {zipOf(sound("")[1:]...), ErrArchiveStructure},
		"without metadata":          {zipOf(sound("")[0], sound("")[3]), ErrArchiveStructure},
		"of two scans":              {zipOf(append(sound("a/"), sound("b/")...)...), ErrArchiveStructure},
		"two directories down":      {zipOf(sound("a/b/")...), ErrArchiveStructure},
		"beside a directory":        {zipOf(append(sound("a/"), entry{name: "x.txt", content: "x"})...), ErrArchiveStructure},
		"torn files.json":           {zipOf(append(sound("")[1:], entry{name: "files.json", content: `{"filesets":[`})...), ErrArchiveStructure},
		"files.json without a list": {zipOf(append(sound("")[1:], entry{name: "files.json", content: `{}`})...), ErrArchiveStructure},
		"torn metadata":             {zipOf(sound("")[0], entry{name: "metadata/metadata.json", content: `{"a":`}), ErrArchiveStructure},
		"metadata is a list":        {zipOf(sound("")[0], entry{name: "metadata/metadata.json", content: `[1]`}), ErrArchiveStructure},
		"files.json a directory":    {zipOf(append(sound("")[1:], entry{name: "files.json/x", content: `x`})...), ErrArchiveStructure},
		"up":                        {with(entry{name: "../evil", content: "x"}), ErrArchivePath},
		"up and down":               {with(entry{name: "images/../../evil", content: "x"}), ErrArchivePath},
		"up within":                 {with(entry{name: "images/../b", content: "x"}), ErrArchivePath},
		"up by a directory":         {with(entry{name: "../"}), ErrArchivePath},
		"to a sibling":              {with(entry{name: "../newx/evil", content: "x"}), ErrArchivePath},
		"absolute":                  {with(entry{name: "/etc/evil", content: "x"}), ErrArchivePath},
		"backslashes":               {with(entry{name: `..\evil`, content: "x"}), ErrArchivePath},
		"a drive":                   {with(entry{name: "C:/evil", content: "x"}), ErrArchivePath},
		"a fileset above":           {listing(`{"id":"..","files":[]}`), ErrArchivePath},
		"a fileset elsewhere":       {listing(`{"id":"../../configs","files":[]}`), ErrArchivePath},
		"a file of another scan":    {listing(`{"id":"images","files":[{"id":"x","file":"../../other/images/x.jpg"}]}`), ErrArchivePath},
		"a file of the system":      {listing(`{"id":"images","files":[{"id":"x","file":"/etc/passwd"}]}`), ErrArchivePath},
		"a file by its id":          {listing(`{"id":"images","files":[{"id":"../../metadata","file":"a.jpg"}]}`), ErrArchivePath},
		"a link":                    {with(entry{name: "link", content: "/etc/passwd", header: link}), ErrArchive},
		"below a link":              {with(entry{name: "link", content: "/etc", header: link}, entry{name: "link/evil", content: "x"}), ErrArchive},
		"a pipe":                    {with(entry{name: "pipe", header: pipe}), ErrArchive},
		"twice":                     {with(entry{name: "images/a.jpg", content: "another"}), ErrArchive},
		"twice by a dot":            {with(entry{name: "./images/a.jpg", content: "another"}), ErrArchive},
		"a file and a directory":    {with(entry{name: "x", content: "x"}, entry{name: "x/"}), ErrArchive},
		"a file and files in it":    {with(entry{name: "x", content: "x"}, entry{name: "x/y", content: "x"}), ErrArchive},
		"directory with content":    {bytes.ReplaceAll(with(entry{name: "dir_", raw: true, content: "x"}), []byte("dir_"), []byte("dir/")), ErrArchive},
		"a long name":               {with(entry{name: "images/" + long, content: "x"}), ErrArchive},
		"an empty name":             {with(entry{name: "images//x", content: "x"}), ErrArchive},
		"a dot within":              {with(entry{name: "images/./x", content: "x"}), ErrArchive},
		"a NUL":                     {with(entry{name: "images/x\x00.jpg", content: "x"}), ErrArchive},
		"not UTF-8":                 {with(entry{name: "images/\xff.jpg", content: "x"}), ErrArchive},
		"accounts":                  {with(entry{name: "users.json", content: "[]"}), ErrArchive},
		"encrypted":                 {with(entry{name: "x", content: "x", raw: true, header: func(h *zip.FileHeader) { h.Flags |= 1 }}), ErrArchive},
		"an unknown method":         {with(entry{name: "x", content: "x", raw: true, header: func(h *zip.FileHeader) { h.Method = 12 }}), ErrArchive},
		"a wrong checksum":          {with(entry{name: "x", content: "x", raw: true, header: crc}), ErrArchive},
		"no checksum":               {with(entry{name: "x", content: "x", raw: true, header: noCRC}), ErrArchive},
		"less than it says":         {with(entry{name: "x", content: "x", raw: true, header: func(h *zip.FileHeader) { h.UncompressedSize64 = 2 }}), ErrArchive},
		"more than it says": {with(entry{name: "x", content: "\x01\x05\x00\xfa\xffabcde", raw: true, header: func(h *zip.FileHeader) {
			h.Method, h.UncompressedSize64, h.CRC32 = zip.Deflate, 2, crc32.ChecksumIEEE([]byte("ab"))
		}}), ErrArchive},
		"no deflate stream": {with(entry{name: "x", content: "\xff\xff\xff\xff", raw: true, header: func(h *zip.FileHeader) { h.Method = zip.Deflate }}), ErrArchive},
		"overlapping":       {with(entry{name: "x", content: "x", raw: true, header: func(h *zip.FileHeader) { h.CompressedSize64 = 1 << 40 }}), ErrArchive},
		"sizes that overflow": {with(entry{name: "x", content: "x", raw: true, header: func(h *zip.FileHeader) {
			h.UncompressedSize64 = 1<<64 - 1
		}}), ErrArchiveTooLarge},
		"deep": {with(entry{name: strings.Repeat("d/", 16) + "x", content: "x"}), ErrArchiveTooLarge},
	}
	for _, cut := range []int{1, 21, 22, 100, len(smallZip()) / 2, len(smallZip()) - 1} {
		all[fmt.Sprintf("cut by %d", cut)] = refused{smallZip()[:len(smallZip())-cut], ErrArchive}
	}
	return all
}

func TestUnpackRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range hostile() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := newTree(t)
			before := below(t, filepath.Dir(tree.Dir()))
			_, err := unpacked(tree, tt.archive, DefaultArchiveLimits())
			if !errors.Is(err, tt.want) {
				t.Errorf("Unpack = %v, want %v", err, tt.want)
			}
			if left := staged(t, tree); len(left) > 0 {
				t.Errorf("left in staging: %v", left)
			}
			after := below(t, filepath.Dir(tree.Dir()))
			for name := range after {
				if _, was := before[name]; !was && !strings.Contains(name, Hidden) {
					t.Errorf("it left %s", name)
				}
			}
		})
	}
}

// Each bound holds, and not one less.
func TestArchiveBounds(t *testing.T) {
	t.Parallel()
	holds := int64(0)
	for _, e := range sound("") {
		holds += int64(len(e.content))
	}
	zeros := with(entry{name: "images/zeros", content: strings.Repeat("\x00", smallArchive+1)})
	for name, tt := range map[string]struct {
		archive []byte
		change  func(*ArchiveLimits)
		want    error
	}{
		"entries":             {smallZip(), func(l *ArchiveLimits) { l.Entries = 4 }, nil},
		"too many entries":    {smallZip(), func(l *ArchiveLimits) { l.Entries = 3 }, ErrArchiveTooLarge},
		"bytes":               {smallZip(), func(l *ArchiveLimits) { l.Bytes = max(holds, int64(len(smallZip()))) }, nil},
		"too many bytes":      {with(entry{name: "x", content: strings.Repeat("y", 5000)}), func(l *ArchiveLimits) { l.Bytes = 5000 }, ErrArchiveTooLarge},
		"archive too long":    {smallZip(), func(l *ArchiveLimits) { l.Bytes = int64(len(smallZip())) - 1 }, ErrTooLarge},
		"file":                {with(entry{name: "x", content: strings.Repeat("y", 500)}), func(l *ArchiveLimits) { l.FileBytes = 500 }, nil},
		"file too large":      {with(entry{name: "x", content: strings.Repeat("y", 501)}), func(l *ArchiveLimits) { l.FileBytes = 500 }, ErrArchiveTooLarge},
		"depth":               {smallZip(), func(l *ArchiveLimits) { l.Depth = 3 }, nil},
		"too deep":            {smallZip(), func(l *ArchiveLimits) { l.Depth = 2 }, ErrArchiveTooLarge},
		"directories too":     {with(entry{name: "a/b/c/d/"}), func(l *ArchiveLimits) { l.Depth = 3 }, ErrArchiveTooLarge},
		"ratio":               {zeros, func(l *ArchiveLimits) { l.Ratio = 2000 }, nil},
		"ratio too high":      {zeros, func(*ArchiveLimits) {}, ErrArchiveTooLarge},
		"little at any ratio": {with(entry{name: "x", content: strings.Repeat("y", 1<<20)}), func(l *ArchiveLimits) { l.Ratio = 1 }, nil},
		"a long directory": {
			with(entry{name: "x", content: "x", header: func(h *zip.FileHeader) { h.Comment = strings.Repeat("c", 60_000) }}),
			func(l *ArchiveLimits) { l.Entries = 5 }, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limits := DefaultArchiveLimits()
			tt.change(&limits)
			s, err := unpacked(newTree(t), tt.archive, limits)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("Unpack = %v, want %v", err, tt.want)
			}
			if err == nil {
				s.Discard()
			}
		})
	}
}

// An archive that says it has billions of entries, or has a directory of
// megabytes, is refused before memory is taken for it.
func TestArchiveThatLiesOfItsEntries(t *testing.T) {
	t.Parallel()
	var many []entry
	for i := range 70_000 {
		many = append(many, entry{name: fmt.Sprintf("images/%d", i), raw: true})
	}
	archive := with(many...) // beyond 65535 it is zip64
	limits := DefaultArchiveLimits()
	plan, err := planArchive(bytes.NewReader(archive), int64(len(archive)), limits)
	if err != nil || len(plan.files) != 70_004 {
		t.Fatalf("planArchive = %d files, %v, want 70004", len(plan.files), err)
	}
	if n := declaredEntries(bytes.NewReader(archive), int64(len(archive))); n != 70_004 {
		t.Errorf("declaredEntries = %d, want 70004", n)
	}
	at := bytes.LastIndex(archive, []byte("PK\x06\x06"))
	copy(archive[at+24:], bytes.Repeat([]byte{0xff}, 7))
	copy(archive[at+32:], bytes.Repeat([]byte{0xff}, 7))
	if _, err := planArchive(bytes.NewReader(archive), int64(len(archive)), limits); !errors.Is(err, ErrArchiveTooLarge) {
		t.Errorf("planArchive of 2^56 entries = %v, want ErrArchiveTooLarge", err)
	}
	// Only the low 16 bits of the number are held against the directory.
	small := with(many...)
	at = bytes.LastIndex(small, []byte("PK\x06\x06"))
	n := 70_004 % 65_536
	copy(small[at+24:], []byte{byte(n), byte(n >> 8), 0, 0, 0, 0, 0, 0})
	copy(small[at+32:], []byte{byte(n), byte(n >> 8), 0, 0, 0, 0, 0, 0})
	limits.Entries = 5000
	if _, err := planArchive(bytes.NewReader(small), int64(len(small)), limits); !errors.Is(err, ErrArchiveTooLarge) {
		t.Errorf("planArchive of too many entries that are not declared = %v, want ErrArchiveTooLarge", err)
	}
}

// FuzzArchive: whatever is sent, it becomes a scan that reads, or nothing.
func FuzzArchive(f *testing.F) {
	f.Add(smallZip())
	f.Add(zipOf(sound("a/")...))
	for _, tt := range hostile() {
		f.Add(tt.archive)
	}
	f.Fuzz(func(t *testing.T, archive []byte) {
		tree := newTree(t)
		spareSyncs(tree)
		limits := DefaultArchiveLimits()
		limits.Entries, limits.Bytes = 100, 1<<20
		s, err := unpacked(tree, archive, limits)
		if err == nil {
			if err := tree.AddScan(ctx, Loc{Scan: "new"}, s, object(`{"owner":"bob"}`)); err != nil {
				t.Fatalf("AddScan = %v", err)
			}
			if read := readScan(t, tree, Loc{Scan: "new"}); read.Broken != "" {
				t.Errorf("the scan is broken: %s", read.Broken)
			}
		}
		for name := range below(t, tree.Dir()) {
			top, _, _ := strings.Cut(name, "/")
			if top != Marker && top != Hidden && (err != nil || top != "new") {
				t.Errorf("it left %s", name)
			}
		}
		if left := staged(t, tree); len(left) > 0 {
			t.Errorf("left in staging: %v", left)
		}
	})
}
