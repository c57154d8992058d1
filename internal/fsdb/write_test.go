package fsdb

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

var ctx = context.Background()

func TestCheckName(t *testing.T) {
	t.Parallel()
	long := func(n int) string { return strings.Repeat("a", n) }
	for _, tt := range []struct {
		kind NameKind
		id   string
		want error
	}{
		{ScanName, "a", nil}, {ScanName, "_x", nil}, {ScanName, "9.B-c_d", nil}, {ScanName, long(255), nil}, {ScanName, "metadata", nil},
		{ScanName, long(256), ErrName}, {ScanName, "", ErrName}, {ScanName, ".x", ErrName}, {ScanName, "-x", ErrName}, {ScanName, "..", ErrName},
		{ScanName, "a/b", ErrName}, {ScanName, "a b", ErrName}, {ScanName, "é", ErrName}, {ScanName, "a\n", ErrName}, {ScanName, "a\x00", ErrName}, {ScanName, "\xff", ErrName},
		{ScanName, "romidb", ErrReserved}, {ScanName, "users.json", ErrReserved}, {ScanName, "groups.json", ErrReserved}, {ScanName, "configs", ErrReserved},
		{ScanName, "models", ErrReserved}, {ScanName, "info", ErrReserved}, {ScanName, "timelapse.json", ErrReserved},
		{TimelapseName, "a-b_C9", nil}, {TimelapseName, long(128), nil}, {TimelapseName, long(129), ErrName}, {TimelapseName, "a.b", ErrName},
		{TimelapseName, "_a", ErrName}, {TimelapseName, "info", ErrReserved}, {TimelapseName, "configs", ErrReserved},
		{FilesetName, "images", nil}, {FilesetName, "info", nil}, {FilesetName, long(250), nil}, {FilesetName, long(251), ErrName}, {FilesetName, "metadata", ErrReserved},
		{FilesetName, "webcache", ErrReserved}, {FilesetName, "files.json", ErrReserved}, {FilesetName, "measures.json", ErrReserved}, {FilesetName, "images.json", ErrReserved},
		{FileName, "00000_rgb", nil}, {FileName, "metadata", nil}, {FileName, "x.json", nil}, {FileName, long(251), ErrName}, {FileName, "../x", ErrName},
	} {
		if err := CheckName(tt.kind, tt.id); !errors.Is(err, tt.want) {
			t.Errorf("CheckName(%v, %.20q) = %v, want %v", tt.kind, tt.id, err, tt.want)
		}
	}
	if got := CheckName(ScanName, "0/07").Error(); got != "Invalid scan identifier '0/07'!" {
		t.Errorf("CheckName(0/07) says %q, want upstream's text", got)
	}
}

func TestCreateScan(t *testing.T) {
	t.Parallel()
	tree := newTree(t, files{"tl/timelapse.json": "{}", "file": "", "dir/": ""})
	loc := Loc{Scan: "new.scan"}
	if err := tree.CreateScan(ctx, loc, object(`{"z":1,"a":"é"}`)); err != nil {
		t.Fatalf("CreateScan = %v", err)
	}
	for name, want := range map[string]string{
		"files.json":             "{\n    \"filesets\": []\n}",
		"metadata/metadata.json": "{\n    \"a\": \"\\u00e9\",\n    \"z\": 1\n}",
	} {
		if got := must[[]byte](t)(os.ReadFile(filepath.Join(tree.Dir(), loc.Dir(), name))); string(got) != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
	if got := tell(readScan(t, tree, loc)); got != "{\"a\":\"\\u00e9\",\"z\":1}\n" {
		t.Errorf("the new scan = %s", got)
	}
	member := object(`{"timelapse":{"id":"tl","index":0}}`)
	for _, tt := range []struct {
		loc      Loc
		metadata json.RawMessage
		want     error
	}{
		{Loc{Timelapse: "tl", Scan: "m"}, member, nil},
		{Loc{Timelapse: "tl", Scan: "n"}, object(`{}`), nil},
		{Loc{Timelapse: "tl", Scan: "m"}, member, ErrScanExists},
		{Loc{Timelapse: "tl", Scan: "new.scan"}, object(`{}`), ErrScanExists},
		{loc, object(`{}`), ErrScanExists},
		{Loc{Scan: "tl"}, object(`{}`), ErrScanExists},
		{Loc{Scan: "file"}, object(`{}`), ErrScanExists},
		{Loc{Scan: "dir"}, object(`{}`), ErrScanExists},
		{Loc{Timelapse: "nope", Scan: "x"}, object(`{}`), ErrNotFound},
		{Loc{Timelapse: "dir", Scan: "x"}, object(`{}`), ErrNotFound},
		{Loc{Timelapse: "..", Scan: "x"}, object(`{}`), ErrNotFound},
		{Loc{Scan: "x"}, member, ErrMembership},
		{Loc{Scan: "models"}, object(`{}`), ErrReserved},
		{Loc{Scan: "../x"}, object(`{}`), ErrName},
		{Loc{Scan: "x"}, object(`[]`), meta.ErrInvalid},
	} {
		if err := tree.CreateScan(ctx, tt.loc, tt.metadata); !errors.Is(err, tt.want) {
			t.Errorf("CreateScan(%v, %s) = %v, want %v", tt.loc, tt.metadata, err, tt.want)
		}
	}
	if left := staged(t, tree); len(left) > 0 {
		t.Errorf("left in staging: %v", left)
	}
}

func TestCreateScanOnce(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	errs := make([]error, 16)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = tree.CreateScan(ctx, Loc{Scan: "s"}, object(`{}`)) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, ErrScanExists) {
			t.Errorf("CreateScan = %v, want ErrScanExists", err)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d creations won, want 1", won, len(errs))
	}
}

func TestCreateFileset(t *testing.T) {
	t.Parallel()
	tree := newTree(t, legacy().under("s"), files{"s/Masks_1/old.png": "x", "s/file": "", "torn/files.json": "{", "torn/metadata/": "", "s/lost.json/": ""})
	index := `{"note": "kept", "filesets": [{"id": "gone", "files": [{"id": "x", "file": "x.jpg"}], "extra": [1]}]}`
	files{"s/files.json": index}.write(t, tree.Dir())
	loc := Loc{Scan: "s"}
	for _, tt := range []struct {
		loc  Loc
		id   string
		want error
	}{
		{loc, "new", nil},
		{loc, "new", ErrFilesetExists},
		{loc, "Masks_1", nil}, // a directory that is not listed
		{loc, "gone", nil},    // listed without a directory
		{loc, "gone", ErrFilesetExists},
		{loc, "file", ErrFilesetExists},
		{loc, "metadata", ErrReserved},
		{loc, "a b", ErrName},
		{Loc{Scan: "nope"}, "x", ErrNotFound},
		{Loc{Scan: "torn"}, "x", ErrBroken},
	} {
		if err := tree.CreateFileset(ctx, tt.loc, tt.id, object(`{"k":"`+tt.id+`"}`)); !errors.Is(err, tt.want) {
			t.Errorf("CreateFileset(%v, %q) = %v, want %v", tt.loc, tt.id, err, tt.want)
		}
	}
	if err := tree.CreateFileset(ctx, loc, "bad", object(`1`)); !errors.Is(err, meta.ErrInvalid) {
		t.Errorf("CreateFileset(metadata 1) = %v, want ErrInvalid", err)
	}
	got := tell(readScan(t, tree, loc))
	want := `{"owner":"ann","object":{"species":"Arabidopsis"}}
gone {"k":"gone"}
new {"k":"new"}
Masks_1 {"k":"Masks_1"}
warning: file "x" of fileset "gone" is passed over: "x.jpg" is missing
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the scan (-want +got):\n%s", diff)
	}
	data := must[[]byte](t)(os.ReadFile(filepath.Join(tree.Dir(), "s/files.json")))
	if !strings.Contains(string(data), `"note": "kept"`) || !strings.Contains(string(data), `"extra": [`) {
		t.Errorf("files.json lost what others wrote: %s", data)
	}
}

func TestAddFiles(t *testing.T) {
	t.Parallel()
	tree := newTree(t, legacy().under("s"))
	remove("images/00001_rgb.jpg")(t, filepath.Join(tree.Dir(), "s")) // listed, its bytes gone
	loc := Loc{Scan: "s"}
	md := object(`{"shot":1}`)
	cases := []struct {
		file NewFile
		want error
	}{
		{NewFile{ID: "new", Name: "new.jpg", Metadata: md}, nil},
		{NewFile{ID: "new", Name: "new2.jpg", Metadata: md}, ErrFileExists},
		{NewFile{ID: "new2", Name: "new.jpg", Metadata: md}, ErrFileExists},
		{NewFile{ID: "00000_rgb", Name: "00000_rgb.jpg", Metadata: md}, ErrFileExists},
		{NewFile{ID: "00001_rgb", Name: "00001_rgb.png", Metadata: md}, nil},
		{NewFile{ID: "extra", Name: "extra.jpg", Metadata: md}, nil}, // there, not listed
		{NewFile{ID: "a/b", Name: "ab.jpg", Metadata: md}, ErrName},
		{NewFile{ID: "ab", Name: "../ab.jpg", Metadata: md}, ErrName},
		{NewFile{ID: "ab", Name: ".ab", Metadata: md}, ErrName},
		{NewFile{ID: "bad", Name: "bad.jpg", Metadata: object(`[]`)}, meta.ErrInvalid},
		{NewFile{ID: "x.y", Name: "x.y.json", Metadata: object(`{}`)}, nil},
	}
	batch := make([]NewFile, len(cases))
	for i, c := range cases {
		batch[i] = c.file
		batch[i].Content = stage(t, tree, "content of "+c.file.ID)
	}
	errs, err := tree.AddFiles(ctx, loc, "images", batch)
	if err != nil {
		t.Fatalf("AddFiles = %v", err)
	}
	for i, c := range cases {
		if !errors.Is(errs[i], c.want) {
			t.Errorf("AddFiles(%q, %q) = %v, want %v", c.file.ID, c.file.Name, errs[i], c.want)
		}
		if err := batch[i].Content.Discard(); err != nil {
			t.Errorf("Discard(%q) = %v", c.file.ID, err)
		}
	}
	if left := staged(t, tree); len(left) > 0 {
		t.Errorf("left in staging: %v", left)
	}
	want := `{"owner":"ann","object":{"species":"Arabidopsis"}}
images {"workspace":{"x":[0,1]}}
images/00000_rgb 00000_rgb.jpg 5 {"channel":"rgb","n":null}
images/00001_rgb 00001_rgb.png 20 {"shot":1}
images/new new.jpg 14 {"shot":1}
images/extra extra.jpg 16 {"shot":1}
images/x.y x.y.json 14 {}
PointCloud_1_0 {}
PointCloud_1_0/PointCloud PointCloud.ply 3 {}
warning: metadata/images/00000_rgb.json: NaN or Infinity is read as null, 1 times
`
	if diff := cmp.Diff(want, tell(readScan(t, tree, loc))); diff != "" {
		t.Errorf("the scan (-want +got):\n%s", diff)
	}
	for _, tt := range []struct {
		loc     Loc
		fileset string
		want    error
	}{{Loc{Scan: "nope"}, "images", ErrNotFound}, {loc, "nope", ErrNotFound}, {loc, "..", ErrNotFound}, {loc, "webcache", ErrNotFound}} {
		if _, err := tree.AddFiles(ctx, tt.loc, tt.fileset, nil); !errors.Is(err, tt.want) {
			t.Errorf("AddFiles(%v, %q) = %v, want %v", tt.loc, tt.fileset, err, tt.want)
		}
	}
	if errs, _ := tree.AddFiles(ctx, loc, "images", []NewFile{{ID: "again", Name: "again", Content: batch[0].Content, Metadata: md}}); errs[0] == nil {
		t.Error("AddFiles took a content that was used already")
	}
}

func TestReplaceFile(t *testing.T) {
	t.Parallel()
	tree := newTree(t, legacy().under("s"))
	loc := Loc{Scan: "s"}
	old, _, err := tree.OpenFile(ctx, loc, "images", "00000_rgb.jpg")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = old.Close() }()
	if err := tree.ReplaceFile(ctx, loc, "images", "00000_rgb", stage(t, tree, "replaced")); err != nil {
		t.Fatalf("ReplaceFile = %v", err)
	}
	if got := must[[]byte](t)(io.ReadAll(old)); string(got) != "first" {
		t.Errorf("the file that was open = %q, want the old bytes", got)
	}
	f, info, err := tree.OpenFile(ctx, loc, "images", "00000_rgb.jpg")
	checkOpened(t, "OpenFile after ReplaceFile", f, info, err, "replaced")
	for _, id := range []string{"nope", "extra", "", ".."} {
		content := stage(t, tree, "x")
		if err := tree.ReplaceFile(ctx, loc, "images", id, content); !errors.Is(err, ErrNotFound) {
			t.Errorf("ReplaceFile(%q) = %v, want ErrNotFound", id, err)
		}
		if err := content.Discard(); err != nil {
			t.Error(err)
		}
	}
}

func TestWriteMetadata(t *testing.T) {
	t.Parallel()
	tree := newTree(t, legacy().under("s"), legacy().under("tl/m"), files{"tl/timelapse.json": "{}", "bare/files.json": `{"filesets":[]}`,
		"odd/files.json": `{"filesets":[]}`, "odd/metadata/metadata.json": `{"timelapse":{"id":"elsewhere"}}`})
	s, m := Loc{Scan: "s"}, Loc{Timelapse: "tl", Scan: "m"}
	md := object(`{"k":1}`)
	scan := func(loc Loc, md string) func() error {
		return func() error { return tree.WriteScanMetadata(ctx, loc, object(md)) }
	}
	for name, tt := range map[string]struct {
		call func() error
		want error
	}{
		"scan":                     {scan(s, `{"k":1}`), nil},
		"scan of a timelapse":      {scan(m, `{"timelapse":{"id":"tl"}}`), nil},
		"missing scan":             {scan(Loc{Scan: "nope"}, `{}`), ErrNotFound},
		"scan without metadata":    {scan(Loc{Scan: "bare"}, `{}`), ErrBroken},
		"scan into a timelapse":    {scan(Loc{Scan: "odd"}, `{"timelapse":{"id":"tl"}}`), ErrMembership},
		"scan that disagrees":      {scan(Loc{Scan: "odd"}, `{"a":1,"timelapse":{"id":"elsewhere"}}`), nil},
		"not an object":            {scan(s, `null`), meta.ErrInvalid},
		"fileset":                  {func() error { return tree.WriteFilesetMetadata(ctx, s, "images", md) }, nil},
		"fileset without a file":   {func() error { return tree.WriteFilesetMetadata(ctx, s, "PointCloud_1_0", md) }, nil},
		"missing fileset":          {func() error { return tree.WriteFilesetMetadata(ctx, s, "nope", md) }, ErrNotFound},
		"metadata is no fileset":   {func() error { return tree.WriteFilesetMetadata(ctx, s, "metadata", md) }, ErrNotFound},
		"file":                     {func() error { return tree.WriteFileMetadata(ctx, s, "images", "00001_rgb", md) }, nil},
		"first file of a fileset":  {func() error { return tree.WriteFileMetadata(ctx, s, "PointCloud_1_0", "PointCloud", md) }, nil},
		"file that is not listed":  {func() error { return tree.WriteFileMetadata(ctx, s, "images", "extra", md) }, ErrNotFound},
		"file outside the fileset": {func() error { return tree.WriteFileMetadata(ctx, s, "images", "../images", md) }, ErrNotFound},
	} {
		if err := tt.call(); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	want := `{"k":1}
images {"k":1}
images/00000_rgb 00000_rgb.jpg 5 {"channel":"rgb","n":null}
images/00001_rgb 00001_rgb.jpg 12 {"k":1}
PointCloud_1_0 {"k":1}
PointCloud_1_0/PointCloud PointCloud.ply 3 {"k":1}
warning: metadata/images/00000_rgb.json: NaN or Infinity is read as null, 1 times
`
	if diff := cmp.Diff(want, tell(readScan(t, tree, s))); diff != "" {
		t.Errorf("the scan (-want +got):\n%s", diff)
	}
}

func TestTimelapse(t *testing.T) {
	t.Parallel()
	owner := "ann"
	tree := newTree(t, legacy().under("s"), files{"small/timelapse.json": `{"id": "small", "created_at": "2026"}`, "torn/timelapse.json": `{"id"`,
		"odd/timelapse.json": `{"id":"other","created_at":1,"owner":{},"scans":["a",2],"metadata":[],"theirs":{"b":1,"a":2}}`})
	tl := Timelapse{ID: "tl", CreatedAt: "2026-11-22T02:13:59.161324", Owner: &owner, Metadata: object(`{"p":"q","last_modified":"x"}`)}
	if err := tree.CreateTimelapse(ctx, tl); err != nil {
		t.Fatalf("CreateTimelapse = %v", err)
	}
	const marker = `{
    "id": "tl",
    "created_at": "2026-11-22T02:13:59.161324",
    "owner": "ann",
    "scans": [],
    "metadata": {
        "p": "q",
        "last_modified": "x"
    }
}`
	if got := must[[]byte](t)(os.ReadFile(filepath.Join(tree.Dir(), "tl/timelapse.json"))); string(got) != marker {
		t.Errorf("the marker = %s, want %s", got, marker)
	}
	for id, want := range map[string]error{"tl": ErrTimelapseExists, "s": ErrTimelapseExists, "info": ErrReserved, "a.b": ErrName} {
		if err := tree.CreateTimelapse(ctx, Timelapse{ID: id, Metadata: object(`{}`)}); !errors.Is(err, want) {
			t.Errorf("CreateTimelapse(%q) = %v, want %v", id, err, want)
		}
	}
	got := must[*Timelapse](t)(tree.ReadTimelapse(ctx, "tl"))
	tl.Scans, tl.Signature = []string{}, got.Signature
	if diff := cmp.Diff(&tl, got); diff != "" {
		t.Errorf("ReadTimelapse (-want +got):\n%s", diff)
	}
	small := must[*Timelapse](t)(tree.ReadTimelapse(ctx, "small"))
	if small.CreatedAt != "2026" || small.Owner != nil || string(small.Metadata) != "{}" || len(small.Warnings) > 0 {
		t.Errorf("ReadTimelapse(small) = %+v", small)
	}
	if torn := must[*Timelapse](t)(tree.ReadTimelapse(ctx, "torn")); torn.ID != "torn" || len(torn.Warnings) != 1 {
		t.Errorf("ReadTimelapse(torn) = %+v, want an empty one with a warning", torn)
	}
	odd := must[*Timelapse](t)(tree.ReadTimelapse(ctx, "odd"))
	if odd.ID != "odd" || len(odd.Warnings) != 5 || len(odd.Scans) != 1 {
		t.Errorf("ReadTimelapse(odd) = %+v, want five warnings and one scan", odd)
	}
	odd.Scans = append(odd.Scans, "b")
	if err := tree.WriteTimelapse(ctx, *odd); err != nil {
		t.Fatalf("WriteTimelapse = %v", err)
	}
	data := must[[]byte](t)(os.ReadFile(filepath.Join(tree.Dir(), "odd/timelapse.json")))
	if again := must[*Timelapse](t)(tree.ReadTimelapse(ctx, "odd")); len(again.Scans) != 2 || len(again.Warnings) != 0 || !strings.Contains(string(data), `"theirs": {`) {
		t.Errorf("after WriteTimelapse: %s", data)
	}
	for _, id := range []string{"s", "nope", ".."} {
		if err := tree.WriteTimelapse(ctx, Timelapse{ID: id, Metadata: object(`{}`)}); !errors.Is(err, ErrNotFound) {
			t.Errorf("WriteTimelapse(%q) = %v, want ErrNotFound", id, err)
		}
	}
}

func TestStage(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	content := bytes.Repeat([]byte("0123456789"), 100_000)
	s := must[*Staged](t)(tree.Stage(ctx, iotest.HalfReader(bytes.NewReader(content)), int64(len(content))))
	if s.Size() != int64(len(content)) || s.SHA256() != sha256.Sum256(content) {
		t.Errorf("Stage = size %d, digest %x", s.Size(), s.SHA256())
	}
	for range 2 {
		if err := s.Discard(); err != nil {
			t.Errorf("Discard = %v", err)
		}
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	broken := errors.New("the client went away")
	for _, tt := range []struct {
		ctx   context.Context
		r     io.Reader
		limit int64
		want  error
	}{
		{ctx, bytes.NewReader(content), int64(len(content)) - 1, ErrTooLarge},
		{ctx, strings.NewReader("x"), 0, ErrTooLarge},
		{ctx, io.MultiReader(strings.NewReader("some"), iotest.ErrReader(broken)), 100, broken},
		{canceled, strings.NewReader("x"), 100, context.Canceled},
	} {
		if _, err := tree.Stage(tt.ctx, tt.r, tt.limit); !errors.Is(err, tt.want) {
			t.Errorf("Stage(limit %d) = %v, want %v", tt.limit, err, tt.want)
		}
	}
	if left := staged(t, tree); len(left) > 0 {
		t.Errorf("left in staging: %v", left)
	}
	if info := must[os.FileInfo](t)(os.Stat(filepath.Join(tree.Dir(), stagingDir))); info.Mode().Perm() != stagingPerm {
		t.Errorf("the staging directory has mode %v", info.Mode())
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	tree := newTree(t)
	if n, err := tree.Sweep(ctx, 0); n != 0 || err != nil {
		t.Errorf("Sweep(nothing ever staged) = %d, %v", n, err)
	}
	files{"old": "x", "olddir/metadata/m.json": "{}", "new": "x", "growing/rest": "x", "growing/30": "x"}.under(stagingDir).write(t, tree.Dir())
	for _, name := range []string{"old", "olddir/metadata/m.json", "olddir/metadata", "olddir", "growing/30", "growing"} {
		touch(t, filepath.Join(tree.Dir(), stagingDir, name), time.Now().Add(-2*time.Hour))
	}
	if n, err := tree.Sweep(ctx, time.Hour); n != 2 || err != nil {
		t.Errorf("Sweep = %d, %v, want 2", n, err)
	}
	if left := staged(t, tree); fmt.Sprint(left) != "[growing new]" {
		t.Errorf("Sweep left %v, want [growing new]", left)
	}
	head := func(scan string) string {
		return string(must[[]byte](t)(appendLine(nil, journalHead{journalVersion, "", scan})))
	}
	newer := string(must[[]byte](t)(appendLine(nil, journalHead{journalVersion + 1, "", "gone"})))
	small.under("here").write(t, tree.Dir())
	journals := files{"gone": head("gone"), "torn": "torn", "here": head("here"), "newer": newer}
	journals.under(journalDir).write(t, tree.Dir())
	for name := range journals {
		touch(t, filepath.Join(tree.Dir(), journalDir, name), time.Now().Add(-2*time.Hour))
	}
	if n, err := tree.Sweep(ctx, time.Hour); n != 2 || err != nil {
		t.Errorf("Sweep(journals) = %d, %v, want 2", n, err)
	}
	var left []string
	for _, j := range must[[]Journal](t)(tree.Journals(ctx)) {
		left = append(left, j.Name)
	}
	if fmt.Sprint(left) != "[here newer]" {
		t.Errorf("Sweep left the journals %v, want [here newer]", left)
	}
}
