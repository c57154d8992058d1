package fsdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Open(dir); !errors.Is(err, ErrNotTree) || !strings.Contains(err.Error(), Marker) {
		t.Errorf("Open(without marker) = %v, want ErrNotTree that names the marker", err)
	}
	if _, err := Open(filepath.Join(dir, "missing")); !errors.Is(err, ErrNotTree) {
		t.Errorf("Open(missing) = %v, want ErrNotTree", err)
	}
	files{"scan/files.json": "{}"}.write(t, dir)
	for range 2 { // the second finds the marker of the first
		tree, err := Create(dir)
		if err != nil {
			t.Fatalf("Create(adopted) = %v", err)
		}
		if tree.Dir() != dir {
			t.Errorf("Dir() = %q, want %q", tree.Dir(), dir)
		}
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	}
	entries := must[[]os.DirEntry](t)(os.ReadDir(dir))
	if len(entries) != 2 {
		t.Errorf("Create and Open left %v, want the marker beside the scan and nothing else", entries)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	tree := newTree(t,
		legacy().under("b"), legacy().under("a"), legacy().under("tl/z"), legacy().under("tl/y"), legacy().under(".hidden"), legacy().under("configs"),
		legacy().under("um/y"), legacy().under("y"), legacy().under("Z"),
		files{
			"models/m.pt": "", "empty/": "", "no-index/metadata/": "", "tl/timelapse.json": `{"id":"tl"}`, "tl/broken/": "", "tl/.x/": "", "tl/configs/": "",
			"um/timelapse.json": "{}", "vain/timelapse.json": "{}",
			"users.json": "[]", "groups.json": "{}", "torn/files.json": "{", "torn/metadata/": "",
			"c\xe9/metadata/": "", `c\xe9/metadata/`: "",
		})
	for link, to := range map[string]string{"link": "a", "out": "/etc", "dangling": "nowhere", "tofile": "users.json"} {
		if err := os.Symlink(to, filepath.Join(tree.Dir(), link)); err != nil {
			t.Fatal(err)
		}
	}
	got := entriesOf(t, tree)
	const noMetadata, noIndex, link = "it has no metadata directory", "it has no files.json", "it is a symbolic link"
	want := []Entry{
		{Loc: Loc{Timelapse: "tl"}, Timelapse: true},
		{Loc: Loc{Timelapse: "um"}, Timelapse: true},
		{Loc: Loc{Timelapse: "vain"}, Timelapse: true},
		{Loc: Loc{Scan: "Z"}},
		{Loc: Loc{Scan: "a"}},
		{Loc: Loc{Scan: "b"}},
		{Loc: Loc{Timelapse: "tl", Scan: "broken"}, Broken: noMetadata},
		{Loc: Loc{Scan: `c\xe9`}, Broken: noIndex},
		{Loc: Loc{Scan: `c\xe9`}, Broken: "the directory's name is not UTF-8"},
		{Loc: Loc{Scan: "dangling"}, Broken: link},
		{Loc: Loc{Scan: "empty"}, Broken: noMetadata},
		{Loc: Loc{Scan: "link"}, Broken: link},
		{Loc: Loc{Scan: "models"}, Broken: noMetadata},
		{Loc: Loc{Scan: "no-index"}, Broken: noIndex},
		{Loc: Loc{Scan: "out"}, Broken: link},
		{Loc: Loc{Scan: "torn"}},
		{Loc: Loc{Timelapse: "tl", Scan: "y"}},
		{Loc: Loc{Timelapse: "um", Scan: "y"}},
		{Loc: Loc{Scan: "y"}},
		{Loc: Loc{Timelapse: "tl", Scan: "z"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("List and Look (-want +got):\n%s", diff)
	}
	list := must[*Listing](t)(tree.List(t.Context()))
	if n := list.IDs(); n != 14 || !list.InTimelapses() || !list.HasTimelapse("vain") || list.HasTimelapse("a") {
		t.Errorf("List() = %d ids, timelapses %v", n, list.Timelapses())
	}
	for id, places := range map[string]int{"y": 3, "z": 1, "Z": 1, "a": 1, `c\xe9`: 2, "tl": 0, "": 0, "zz": 0, "configs": 0, "x": 0} {
		all := list.Scan(id)
		if len(all) != places || list.Has(id) != (places > 0) {
			t.Errorf("Scan(%q) = %v, want %d", id, all, places)
		}
		for _, e := range all {
			if e.Loc.Scan != id || !list.holds(e.Loc) || list.holds(Loc{Timelapse: "vain", Scan: id}) {
				t.Errorf("Scan(%q) has %+v, or the listing does not hold it", id, e)
			}
		}
	}
	for _, e := range got {
		if e.Timelapse || strings.Contains(e.Loc.Scan, `\x`) {
			continue
		}
		if _, err := tree.Signature(context.Background(), e.Loc); err != nil {
			t.Errorf("Signature(%v) = %v, want one for every entry", e.Loc, err)
		}
		if s := readScan(t, tree, e.Loc); (s.Broken != "") != (e.Broken != "" || e.Loc.Scan == "torn") {
			t.Errorf("ReadScan(%v).Broken = %q, entry says %q", e.Loc, s.Broken, e.Broken)
		}
	}
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := tree.List(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("List(canceled) = %v, want context.Canceled", err)
	}
}

// What is kept of a scan is its name and a few bytes, however many there are.
func TestListOfMany(t *testing.T) {
	t.Parallel()
	tree := newTree(t, files{"tl/timelapse.json": "{}"})
	const scans = 3*listBatch + 1 // several reads of the directory
	for n := range scans {
		dir := tree.Dir()
		if n%3 == 0 {
			dir = filepath.Join(dir, "tl")
		}
		if err := os.Mkdir(filepath.Join(dir, fmt.Sprintf("scan_%05d", n)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	list := must[*Listing](t)(tree.List(t.Context()))
	n := 0
	for e, others := range list.Scans() {
		if want := fmt.Sprintf("scan_%05d", n); e.Loc.Scan != want || (e.Loc.Timelapse == "tl") != (n%3 == 0) || len(others) > 0 {
			t.Fatalf("scan %d is %+v, %v, want %s", n, e, others, want)
		}
		n++
	}
	if n != scans || list.IDs() != scans {
		t.Errorf("Scans() tells %d, IDs() = %d, want %d", n, list.IDs(), scans)
	}
	// A slice that grew has room for a quarter more, or twice if it is small.
	held := cap(list.scans)*int(unsafe.Sizeof(listed{})) + cap(list.names)
	if most := 2 * scans * (16 + len("scan_00000")); held > most {
		t.Errorf("the listing holds %d bytes of %d scans, want %d at the most", held, scans, most)
	}
}

func TestReadScan(t *testing.T) {
	t.Parallel()
	tree := newTree(t, legacy().under("s"), legacy().under("tl/m"), files{"tl/timelapse.json": "{}"})
	const want = `{"owner":"ann","object":{"species":"Arabidopsis"}}
images {"workspace":{"x":[0,1]}}
images/00000_rgb 00000_rgb.jpg 5 {"channel":"rgb","n":null}
images/00001_rgb 00001_rgb.jpg 12 {}
PointCloud_1_0 {}
PointCloud_1_0/PointCloud PointCloud.ply 3 {}
warning: metadata/images/00000_rgb.json: NaN or Infinity is read as null, 1 times
`
	for _, loc := range []Loc{{Scan: "s"}, {Timelapse: "tl", Scan: "m"}} {
		s := readScan(t, tree, loc)
		if diff := cmp.Diff(want, tell(s)); diff != "" {
			t.Errorf("ReadScan(%v) (-want +got):\n%s", loc, diff)
		}
		if s.Loc != loc || !s.Measures || string(s.Pipeline) != "[Voxels]\n" || time.Since(s.Changed).Abs() > time.Hour {
			t.Errorf("ReadScan(%v) = measures %t, pipeline %q, changed %v", loc, s.Measures, s.Pipeline, s.Changed)
		}
		if sig := must[Signature](t)(tree.Signature(context.Background(), loc)); sig != s.Signature {
			t.Errorf("Signature(%v) differs from the one ReadScan took", loc)
		}
		info := must[os.FileInfo](t)(os.Stat(filepath.Join(tree.Dir(), loc.Dir(), "images/00000_rgb.jpg")))
		if m := s.Filesets[0].Files[0].Modified; !m.Equal(info.ModTime()) {
			t.Errorf("ReadScan(%v): modified %v, want %v", loc, m, info.ModTime())
		}
	}
	for _, loc := range []Loc{{}, {Scan: "nope"}, {Scan: ".."}, {Scan: "s/images"}, {Timelapse: "..", Scan: "s"}, {Timelapse: "tl"}, {Timelapse: "nope", Scan: "m"}, {Scan: Hidden}, {Scan: Marker}} {
		if s, err := tree.ReadScan(context.Background(), loc); !errors.Is(err, ErrNotFound) {
			t.Errorf("ReadScan(%v) = %v, %v, want ErrNotFound", loc, s, err)
		}
	}
}

// TestDamage holds what a reader finds in a scan after each kind of damage:
// always the rest of the scan, and a word about what is wrong.
func TestDamage(t *testing.T) {
	t.Parallel()
	const head = "{\"owner\":\"ann\",\"object\":{\"species\":\"Arabidopsis\"}}\n"
	index := func(s string) func(*testing.T, string) { return write("files.json", s) }
	for name, tt := range map[string]struct {
		damage func(t *testing.T, dir string)
		want   []string // each is in what is told
	}{
		"no files.json":             {remove("files.json"), []string{head, "broken: it has no files.json\n"}},
		"files.json is a directory": {both(remove("files.json"), mkdir("files.json")), []string{head, "broken: files.json: not a regular file\n"}},
		"torn files.json":           {index(`{"filesets": [`), []string{head, "broken: files.json: metadata is not valid JSON"}},
		"empty files.json":          {index(``), []string{head, "broken: files.json: "}},
		"files.json is a list":      {index(`[]`), []string{head, "broken: files.json: "}},
		"no filesets":               {index(`{}`), []string{head, "broken: files.json: it has no list of filesets"}},
		"filesets is an object":     {index(`{"filesets": {}}`), []string{"broken: files.json: it has no list of filesets"}},
		"deep files.json":           {index(`{"filesets":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + "}"), []string{"broken: files.json: Metadata is nested"}},
		"huge files.json":           {index(`{"filesets": []}` + strings.Repeat(" ", 16<<20)), []string{"broken: files.json: the file is too large"}},
		"no filesets at all":        {index(`{"filesets": []}`), []string{head}},
		"no metadata directory":     {remove("metadata"), []string{"{}\nimages {}\n", "broken: it has no metadata directory"}},
		"no fileset directory":      {remove("images"), []string{head + "PointCloud_1_0 {}\n", `warning: fileset "images" is passed over: its directory is missing`}},
		"no file":                   {remove("images/00000_rgb.jpg"), []string{"images/00001_rgb 00001_rgb.jpg 12", `warning: file "00000_rgb" of fileset "images" is passed over: "00000_rgb.jpg" is missing`}},
		"file is a directory":       {both(remove("images/00000_rgb.jpg"), mkdir("images/00000_rgb.jpg")), []string{`"00000_rgb.jpg" is missing`}},
		"file is null":              {index(`{"filesets":[{"id":"images","files":[{"id":"a","file":null},{"id":"00000_rgb","file":"00000_rgb.jpg"}]}]}`), []string{"images/00000_rgb ", "warning: file 0 of fileset \"images\" is passed over: it has no usable id"}},
		"strange entries":           {index(`{"filesets":[7,{"files":[]},{"id":"images"},{"id":"images","files":{}},{"id":"..","files":[]},{"id":3,"files":[]},{"id":"PointCloud_1_0","files":[null,7,"x",{"id":"../x","file":"x"},{"id":"x","file":"../files.json"},{"id":"x","file":".."}]}]}`), []string{head + "PointCloud_1_0 {}\nwarning: ", "fileset 0 of", "fileset 1 of", `fileset "images" is passed over: it has no list`, "fileset 4 of", "fileset 5 of", "file 0 of", "file 5 of"}},
		"listed twice":              {index(`{"filesets":[{"id":"images","files":[]},{"id":"PointCloud_1_0","files":[]},{"id":"images","files":[{"id":"a","file":"00000_rgb.jpg"},{"id":"a","file":"00001_rgb.jpg"}]}]}`), []string{"images/a 00001_rgb.jpg 12 {}\nPointCloud_1_0", `fileset "images" is listed twice`, `file "a" of fileset "images" is listed twice`}},
		"torn metadata":             {write("metadata/metadata.json", `{"a": `), []string{"{}\nimages {\"work", "warning: metadata/metadata.json is passed over: metadata is not valid JSON"}},
		"metadata is a list":        {write("metadata/images.json", `[1]`), []string{head + "images {}\n", "warning: metadata/images.json is passed over: metadata must be a JSON object"}},
		"deep metadata":             {write("metadata/images.json", `{"a":`+strings.Repeat("[", 101)), []string{"images {}\n", "nested deeper than 100"}},
		"huge metadata":             {write("metadata/images.json", `{"a":"`+strings.Repeat("x", 16<<20)+`"}`), []string{"images {}\n", "warning: metadata/images.json is passed over: the file is too large"}},
		"half a surrogate":          {write("metadata/images/00000_rgb.json", `{"a":"\ud800"}`), []string{"5 {}\n", "half of a surrogate pair"}},
		"not UTF-8":                 {write("metadata/images/00000_rgb.json", "{\"a\":\"\xe9\"}"), []string{"5 {}\n", "not UTF-8"}},
		"byte order mark":           {write("metadata/images.json", "\uFEFF{\"a\":1}"), []string{"images {\"a\":1}\n"}},
		"metadata is a directory":   {both(remove("metadata/images.json"), mkdir("metadata/images.json")), []string{"images {}\n", "metadata/images.json is passed over: not a regular file"}},
		"metadata is a pipe":        {both(remove("metadata/images.json"), pipe("metadata/images.json")), []string{"images {}\n", "metadata/images.json is passed over: not a regular file"}},
		"file is a pipe":            {both(remove("images/00000_rgb.jpg"), pipe("images/00000_rgb.jpg")), []string{`"00000_rgb.jpg" is missing`}},
		"huge pipeline":             {write("pipeline.toml", strings.Repeat("#", 1<<20+1)), []string{"warning: pipeline.toml is passed over: the file is too large"}},
		"a link out":                {both(remove("images/00000_rgb.jpg"), link("/etc/passwd", "images/00000_rgb.jpg")), []string{`"00000_rgb.jpg" is missing`}},
		"a link to another scan":    {both(remove("images/00000_rgb.jpg"), link("../../other/measures.json", "images/00000_rgb.jpg")), []string{`"00000_rgb.jpg" is missing`}},
		"a link inside the scan":    {both(remove("images/00000_rgb.jpg"), link("../measures.json", "images/00000_rgb.jpg")), []string{"images/00000_rgb 00000_rgb.jpg 15 "}},
		"fileset is a link out":     {both(remove("images"), link("../other/images", "images")), []string{`warning: fileset "images" is passed over`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := newTree(t, legacy().under("s"), legacy().under("other"))
			tt.damage(t, filepath.Join(tree.Dir(), "s"))
			got := tell(readScan(t, tree, Loc{Scan: "s"}))
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("ReadScan = %s\nwant in it: %s", got, want)
				}
			}
			if s := readScan(t, tree, Loc{Scan: "other"}); s.Broken != "" || len(s.Warnings) != 1 {
				t.Errorf("the scan beside it = %s", tell(s))
			}
		})
	}
}

func write(name, content string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { files{name: content}.write(t, dir) }
}

func mkdir(name string) func(*testing.T, string) { return write(name+"/", "") }

func remove(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func pipe(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		if err := unix.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func link(to, name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func both(a, b func(*testing.T, string)) func(*testing.T, string) {
	return func(t *testing.T, dir string) { a(t, dir); b(t, dir) }
}

func TestWarningsAreBounded(t *testing.T) {
	t.Parallel()
	index := `{"filesets":[{"id":"images","files":[` + strings.Repeat(`{"id":"x","file":null},`, 1000) + `{}]}]}`
	tree := newTree(t, legacy().under("s"), files{"s/files.json": index})
	if n := len(readScan(t, tree, Loc{Scan: "s"}).Warnings); n != maxWarnings+1 {
		t.Errorf("%d warnings, want %d", n, maxWarnings+1)
	}
}

func TestSignature(t *testing.T) {
	t.Parallel()
	old := time.Now().Add(-time.Hour)
	for name, tt := range map[string]struct {
		change func(t *testing.T, dir string)
		differ bool
	}{
		"nothing":             {func(*testing.T, string) {}, false},
		"a cached preview":    {write("webcache/new.jpeg", "x"), false},
		"a hidden file":       {write("images/.tmp", "x"), false},
		"scan metadata":       {write("metadata/metadata.json", `{}`), true},
		"fileset metadata":    {write("metadata/images.json", `{}`), true},
		"file metadata":       {write("metadata/images/00001_rgb.json", `{}`), true},
		"files.json":          {write("files.json", `{}`), true},
		"measures":            {remove("measures.json"), true},
		"pipeline":            {write("pipeline.toml", "x"), true},
		"bytes in place":      {write("PointCloud_1_0/PointCloud.ply", "longer"), true},
		"a time":              {func(t *testing.T, dir string) { touch(t, dir+"/images/00000_rgb.jpg", old) }, true},
		"a removed file":      {remove("images/00000_rgb.jpg"), true},
		"a fileset directory": {mkdir("Masks"), true},
		"a renamed file": {func(t *testing.T, dir string) {
			if err := os.Rename(dir+"/images/00000_rgb.jpg", dir+"/images/00002_rgb.jpg"); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := newTree(t, legacy().under("s"))
			sign := func() Signature {
				return must[Signature](t)(tree.Signature(context.Background(), Loc{Scan: "s"}))
			}
			before := sign()
			tt.change(t, filepath.Join(tree.Dir(), "s"))
			if differ := before != sign(); differ != tt.differ {
				t.Errorf("the signature differs: %t, want %t", differ, tt.differ)
			}
		})
	}
}

func touch(t *testing.T, name string, at time.Time) {
	t.Helper()
	if err := os.Chtimes(name, at, at); err != nil {
		t.Fatal(err)
	}
}

func TestTimelapseSignature(t *testing.T) {
	t.Parallel()
	tree := newTree(t, files{"tl/timelapse.json": "{}"}, legacy().under("s"))
	ctx := context.Background()
	before := must[Signature](t)(tree.TimelapseSignature(ctx, "tl"))
	files{"tl/timelapse.json": `{"id":"tl"}`}.write(t, tree.Dir())
	if after := must[Signature](t)(tree.TimelapseSignature(ctx, "tl")); after == before {
		t.Error("the signature is the same after a change")
	}
	for _, id := range []string{"s", "nope", "", "..", "../x", Marker} {
		if _, err := tree.TimelapseSignature(ctx, id); !errors.Is(err, ErrNotFound) {
			t.Errorf("TimelapseSignature(%q) = %v, want ErrNotFound", id, err)
		}
	}
}

func TestOpenFile(t *testing.T) {
	t.Parallel()
	tree := newTree(t, legacy().under("s"), legacy().under("tl/m"), files{"tl/timelapse.json": "{}", "users.json": "secret"})
	dir := filepath.Join(tree.Dir(), "s")
	pipe("images/pipe")(t, dir)
	link("../../users.json", "images/out")(t, dir)
	link("00000_rgb.jpg", "images/in")(t, dir)
	for _, tt := range []struct {
		loc           Loc
		fileset, name string
		want          string // empty: ErrNotFound
	}{
		{Loc{Scan: "s"}, "images", "00000_rgb.jpg", "first"},
		{Loc{Timelapse: "tl", Scan: "m"}, "images", "00001_rgb.jpg", "second image"},
		{Loc{Scan: "s"}, "images", "in", "first"},
		{Loc{Scan: "s"}, "images", "out", ""},
		{Loc{Scan: "s"}, "images", "pipe", ""},
		{Loc{Scan: "s"}, "images", "nope", ""},
		{Loc{Scan: "s"}, "images", "..", ""},
		{Loc{Scan: "s"}, "metadata", "images", ""},
		{Loc{Scan: "s"}, "..", "users.json", ""},
		{Loc{Scan: "s"}, ".", "files.json", ""},
		{Loc{Scan: ".."}, "x", "y", ""},
		{Loc{Scan: "nope"}, "x", "y", ""},
	} {
		f, info, err := tree.OpenFile(context.Background(), tt.loc, tt.fileset, tt.name)
		checkOpened(t, fmt.Sprintf("OpenFile(%v, %q, %q)", tt.loc, tt.fileset, tt.name), f, info, err, tt.want)
	}
}

func checkOpened(t *testing.T, call string, f *os.File, info os.FileInfo, err error, want string) {
	t.Helper()
	if want == "" {
		if !errors.Is(err, ErrNotFound) || f != nil {
			t.Errorf("%s = %v, want ErrNotFound", call, err)
		}
		return
	}
	if err != nil {
		t.Errorf("%s = %v, want %q", call, err, want)
		return
	}
	defer func() { _ = f.Close() }()
	if got := must[[]byte](t)(io.ReadAll(f)); string(got) != want || info.Size() != int64(len(want)) {
		t.Errorf("%s = %q, size %d, want %q", call, got, info.Size(), want)
	}
}

func TestOpenPath(t *testing.T) {
	t.Parallel()
	tree := newTree(t, legacy().under("s"), legacy().under("tl/m"), legacy().under(".hidden"), files{
		"tl/timelapse.json": "{}", "users.json": "secret", "groups.json": "secret", "configs/a.toml": "c", "s/users.json": "secret", "s/.env": "secret",
		"empty/x": "x", ".plantdb/staging/y": "y",
	})
	dir := filepath.Join(tree.Dir(), "s")
	link("../users.json", "out")(t, dir)
	link("../tl/m/measures.json", "across")(t, dir)
	link("s", "linked")(t, tree.Dir())
	for rel, want := range map[string]string{
		"s/pipeline.toml":            "[Voxels]\n",
		"s/images/extra.jpg":         "nobody lists me",
		"s/metadata/images.json":     `{"workspace": {"x": [0, 1]}}`,
		"tl/m/images/00000_rgb.jpg":  "first",
		"tl/timelapse.json":          "{}",
		"s":                          "",
		"s/":                         "",
		"s/images":                   "",
		"s//pipeline.toml":           "",
		"/s/pipeline.toml":           "",
		"s/../users.json":            "",
		"s/./pipeline.toml":          "",
		"s/users.json":               "",
		"s/.env":                     "",
		"s/out":                      "",
		"s/across":                   "",
		"s/nope":                     "",
		"users.json":                 "",
		"groups.json":                "",
		"romidb":                     "",
		"configs/a.toml":             "",
		"empty/x":                    "",
		"linked/pipeline.toml":       "",
		".hidden/pipeline.toml":      "",
		".plantdb/staging/y":         "",
		"tl/m/images/\xff":           "",
		"s/images/00000_rgb.jpg\x00": "",
		"":                           "",
	} {
		f, info, err := tree.OpenPath(context.Background(), rel)
		checkOpened(t, fmt.Sprintf("OpenPath(%q)", rel), f, info, err, want)
	}
}
