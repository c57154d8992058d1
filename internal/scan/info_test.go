package scan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/demo"
)

// keysOf returns the keys of a JSON object in their order, nested ones with a
// dot; lists are not looked into.
func keysOf(t testing.TB, raw json.RawMessage) (keys []string) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(raw))
	var walk func(prefix string)
	value := func(prefix string) {
		token := must[json.Token](t)(dec.Token())
		switch token {
		case json.Delim('{'):
			walk(prefix)
		case json.Delim('['):
			for depth := 1; depth > 0; {
				switch must[json.Token](t)(dec.Token()) {
				case json.Delim('['), json.Delim('{'):
					depth++
				case json.Delim(']'), json.Delim('}'):
					depth--
				}
			}
		}
	}
	walk = func(prefix string) {
		for dec.More() {
			key := fmt.Sprint(must[json.Token](t)(dec.Token()))
			keys = append(keys, prefix+key)
			value(prefix + key + ".")
		}
		must[json.Token](t)(dec.Token())
	}
	value("")
	return keys
}

// infoKeys is the order of upstream's answer.
var infoKeys = []string{
	"id", "metadata", "metadata.date", "metadata.species", "metadata.plant", "metadata.environment", "metadata.nbPhotos",
	"metadata.files", "metadata.files.metadata", "metadata.files.archive", "thumbnailUri", "images", "tasks_fileset", "filesUri",
	"isVirtual", "hasColmap", "hasPointCloud", "hasTriangleMesh", "hasCurveSkeleton", "hasTreeGraph", "hasAnglesAndInternodes",
	"hasAutomatedMeasures", "hasManualMeasures", "hasSegmentation2D", "hasPcdGroundTruth", "hasPointCloudEvaluation",
	"hasSegmentedPointCloud", "hasSegmentedPcdEvaluation", "error", "workspace", "camera",
}

func TestInfoKeys(t *testing.T) {
	t.Parallel()
	info := must[json.RawMessage](t)(encode(makeInfo(infoSource{name: "s"})))
	if diff := cmp.Diff(infoKeys, keysOf(t, info)); diff != "" {
		t.Errorf("keys of an empty scan (-want +got):\n%s", diff)
	}
	want := `{"id":"s","metadata":{"date":"` + (time.Time{}).Local().Format(time.DateTime) + `","species":"N/A","plant":"N/A","environment":"N/A","nbPhotos":0,` +
		`"files":{"metadata":"/api/assets/files/s/metadata/metadata.json","archive":"/api/assets/archive/s"}},"thumbnailUri":"","images":[],"tasks_fileset":{},"filesUri":{},`
	if got := string(WithBase(info, "/api")); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, `"error":false,"workspace":{},"camera":{}}`) {
		t.Errorf("info of an empty scan = %s, want %s...", got, want)
	}
}

// The sample tree, whose truth the package that makes it knows.
func TestInfoOfDemo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	dir := filepath.Join(t.TempDir(), "demo")
	if err := demo.Write(t.Context(), dir, demo.Options{Width: 64, Height: 48}); err != nil {
		t.Fatal(err)
	}
	f = fixtureOn(t, f.pool, dir)
	if done := f.reconcile(t); done != (Reconciled{Scans: 8, Read: 8}) {
		t.Errorf("Reconcile() = %+v, want 8 sound scans", done)
	}
	ctx := as(t, guest)
	info := func(name string) Info {
		var i Info
		raw := WithBase(must[json.RawMessage](t)(f.Info(ctx, name)), "/p/api/v1")
		if err := json.Unmarshal(raw, &i); err != nil {
			t.Fatal(err)
		}
		return i
	}
	t.Run("legacy, described with its images", func(t *testing.T) {
		i := info("real_plant")
		want := InfoMetadata{
			"2023-12-15 16:37:15", "Arabidopsis thaliana", "Col-0_A1", "Lyon indoor", 6,
			InfoFiles{"/p/api/v1/assets/files/real_plant/metadata/metadata.json", "/p/api/v1/assets/archive/real_plant"},
		}
		if diff := cmp.Diff(want, i.Metadata); diff != "" {
			t.Errorf("metadata (-want +got):\n%s", diff)
		}
		if i.ThumbnailURI != "/p/api/v1/assets/image/real_plant/images/00000_rgb?size=thumb" {
			t.Errorf("thumbnailUri = %q", i.ThumbnailURI)
		}
		if got, want := string(i.Workspace), `{"x":[340,440],"y":[330,410],"z":[-180,105]}`; got != want {
			t.Errorf("workspace = %s, want %s", got, want)
		}
		if diff := cmp.Diff(map[string]string{"images": "images"}, i.TasksFileset); diff != "" || i.HasColmap || i.Camera.Model != nil {
			t.Errorf("tasks (-want +got):\n%scolmap %v, camera %s", diff, i.HasColmap, i.Camera.Model)
		}
	})
	t.Run("analyzed", func(t *testing.T) {
		i := info("real_plant_analyzed")
		truth, ok := demo.Truth("real_plant_analyzed")
		if !ok {
			t.Fatal("no truth")
		}
		if i.Metadata.NbPhotos != len(truth.Cameras) || len(i.Camera.Poses) != len(truth.Cameras) {
			t.Fatalf("%d photos, %d poses, want %d", i.Metadata.NbPhotos, len(i.Camera.Poses), len(truth.Cameras))
		}
		for n, p := range i.Camera.Poses {
			var tvec [3]float64
			if err := json.Unmarshal(p.Tvec, &tvec); err != nil || tvec != [3]float64(truth.Cameras[n].Tvec) {
				t.Errorf("pose %s has tvec %s, want %v", p.ID, p.Tvec, truth.Cameras[n].Tvec)
			}
			if want := "/p/api/v1/assets/image/real_plant_analyzed/images/" + p.ID + "?size=orig"; p.PhotoURI != want {
				t.Errorf("photoUri = %q, want %q", p.PhotoURI, want)
			}
		}
		for _, has := range []bool{i.HasColmap, i.HasPointCloud, i.HasTriangleMesh, i.HasCurveSkeleton, i.HasTreeGraph, i.HasAnglesAndInternodes, i.HasAutomatedMeasures, i.HasManualMeasures} {
			if !has {
				t.Errorf("a task is missing in %+v", i)
			}
		}
		// Each URI leads to a file.
		for _, uri := range []string{i.FilesURI.PointCloud, i.FilesURI.Mesh, i.FilesURI.Skeleton, i.FilesURI.Tree, i.Metadata.Files.Metadata} {
			c, err := f.OpenAsset(ctx, strings.TrimPrefix(uri, "/p/api/v1/assets/files/"))
			if err != nil {
				t.Errorf("OpenAsset(%q) = %v", uri, err)
				continue
			}
			_ = c.Close() // only opened
		}
	})
	t.Run("virtual", func(t *testing.T) {
		i := info("virtual_plant")
		if i.Metadata.NbPhotos != 6 || i.Metadata.Environment != "virtual" || i.Metadata.Species == "N/A" || i.Metadata.Date != "2026-07-02 13:34:09" {
			t.Errorf("metadata = %+v", i.Metadata)
		}
		if slices.ContainsFunc(i.Images, func(n string) bool { return !strings.HasSuffix(n, "_rgb.jpg") }) {
			t.Errorf("images = %v, want those of channel rgb", i.Images)
		}
	})
	t.Run("first generation", func(t *testing.T) {
		i := info("arabidopsis000")
		if i.Metadata.Plant != "arabidopsis000" || i.Metadata.Environment != "virtual" || i.Metadata.NbPhotos != 12 {
			t.Errorf("metadata = %+v", i.Metadata)
		}
		if _, err := time.ParseInLocation(time.DateTime, i.Metadata.Date, time.Local); err != nil {
			t.Errorf("date = %q, want the directory's", i.Metadata.Date)
		}
	})
	t.Run("in a timelapse", func(t *testing.T) {
		i := info("growth_day_35")
		if i.Metadata.Files.Metadata != "/p/api/v1/assets/files/growth_day_35/metadata/metadata.json" || i.Metadata.NbPhotos != 4 {
			t.Errorf("metadata = %+v", i.Metadata)
		}
		tl := must[Timelapse](t)(f.Timelapse(ctx, "growth_series"))
		want := []string{"growth_day_28", "growth_day_35", "growth_day_42"}
		if !slices.Equal(tl.Scans, want) || tl.Counts.Scans != 3 || tl.Owner != nil || tl.CreatedAt != "2026-03-30T09:55:00.000000" {
			t.Errorf("Timelapse() = %+v, want %v", tl, want)
		}
		if got := must[[]string](t)(f.TimelapseScans(ctx, "growth_series", Query{})); !slices.Equal(got, want) {
			t.Errorf("TimelapseScans() = %v, want %v", got, want)
		}
	})
	t.Run("list", func(t *testing.T) {
		infos := must[[]json.RawMessage](t)(allInfos(ctx, f.Service, Query{}))
		names := must[[]string](t)(f.Names(ctx, Query{}))
		if len(infos) != 8 || !slices.IsSorted(names) || len(names) != 8 {
			t.Fatalf("%d infos, names %v, want 8", len(infos), names)
		}
		for i, raw := range infos {
			if got := decode(t, raw)["id"]; got != names[i] {
				t.Errorf("info %d is of %v, want %s", i, got, names[i])
			}
			single := must[json.RawMessage](t)(f.Info(ctx, names[i]))
			if !bytes.Equal(single, raw) {
				t.Errorf("info of %s alone = %s, in the list %s", names[i], single, raw)
			}
		}
	})
	t.Run("renewed", func(t *testing.T) { infosRenew(t, f) })
}

// infosRenew makes every info anew from the rows, and compares it with the one
// that was made from the tree.
func infosRenew(t *testing.T, f fixture) {
	names := must[[]string](t)(f.Names(as(t, admin), Query{}))
	rows, _, err := (&InfoList{s: f.Service, actor: admin}).named(names, nil)(t.Context(), len(names))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if err := f.q.VoidScan(t.Context(), f.pool, r.ID); err != nil {
			t.Fatal(err)
		}
		renewed := must[json.RawMessage](t)(f.Info(as(t, admin), r.Name))
		if diff := cmp.Diff(string(r.Info), string(renewed)); diff != "" {
			t.Errorf("info of %s, of the tree and of the rows:\n%s", r.Name, diff)
		}
	}
}

// After writes of ours the info made by the first reader is the one that a
// reconcile makes.
func TestInfoAfterWrites(t *testing.T) {
	t.Parallel()
	f := indexed(t)
	ctx := as(t, ann)
	for _, err := range []error{
		f.Create(ctx, "s", json.RawMessage(`{"z": 1, "object": {"species": "é"}, "acquisition_date": "2026-01-02T03:04:05"}`)),
		f.CreateFileset(ctx, "s", "images", json.RawMessage(`{"hardware": {"h": "\u00e9"}}`)),
		upload(ctx, f.Service, "s", "images", "00000_rgb", "jpg", "x", `{"channel": "rgb", "colmap_camera": {"camera_model": {"id": 1}, "tvec": [1], "rotmat": [[2]]}}`),
		upload(ctx, f.Service, "s", "images", "00001_rgb", ".PNG", "xy", `{"channel": "rgb"}`),
		f.CreateFileset(ctx, "s", "PointCloud_1", nil),
		upload(ctx, f.Service, "s", "PointCloud_1", "PointCloud", "ply", "ply", ""),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.SetFileMetadata(ctx, "s", "images", "00001_rgb", Update{Metadata: json.RawMessage(`{"channel": "depth"}`)}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.SetFilesetMetadata(ctx, "s", "images", Update{Metadata: json.RawMessage(`{"workspace": {"x": [0, 1]}}`)}); err != nil {
		t.Fatal(err)
	}
	state := func() string {
		return fmt.Sprintf("%s\n%s\n%s\n%s\n%s", must[json.RawMessage](t)(f.Info(ctx, "s")), must[json.RawMessage](t)(f.Metadata(ctx, "s")),
			must[json.RawMessage](t)(f.FilesetMetadata(ctx, "s", "images")), must[json.RawMessage](t)(f.FileMetadata(ctx, "s", "images", "00001_rgb")),
			must[[]string](t)(f.FileNames(ctx, "s", "images", Query{})))
	}
	before := state()
	if done := f.reconcile(t); done.Read != 1 {
		t.Errorf("Reconcile() = %+v, want the written scan read", done)
	}
	if diff := cmp.Diff(before, state()); diff != "" {
		t.Errorf("rows of the writes and rows of the tree:\n%s", diff)
	}
	if done := f.reconcile(t); done.Read != 0 {
		t.Errorf("second Reconcile() = %+v, want nothing read", done)
	}
}

func TestWorkspace(t *testing.T) {
	t.Parallel()
	z := -20.0
	for _, tt := range []struct {
		name, scan, images string
		floor              *float64
		want               string
	}{
		{"none", `{}`, `{}`, nil, `{}`},
		{"scan's", `{"workspace": {"x": [1, 2]}}`, `{"workspace": {"x": [3, 4]}}`, nil, `{"x": [1, 2]}`},
		{"images'", `{}`, `{"workspace": {"x": [3, 4]}}`, nil, `{"x": [3, 4]}`},
		{"path alone", `{"ScanPath": {}}`, `{}`, nil, `{"x":[225,525],"y":[225,525],"z":[-650,-350]}`},
		{"recorded beats a guess", `{"ScanPath": {}, "workspace": {"x": [1, 2]}}`, `{}`, nil, `{"x": [1, 2]}`},
		{"a box beats both", `{"ScanPath": {"kwargs": {"center_x": 10, "center_y": 20.5}}, "workspace": {"x": [1, 2]}}`, `{}`, &z, `{"x":[-140,160],"y":[-129.5,170.5],"z":[-170,130]}`},
		{"half a centre", `{"ScanPath": {"kwargs": {"center_x": 10}}}`, `{}`, &z, `{"x":[225,525],"y":[225,525],"z":[-170,130]}`}, // as upstream
		{"a box without a path", `{"workspace": {"x": [1, 2]}}`, `{}`, &z, `{"x": [1, 2]}`},
		{"null path", `{"ScanPath": null}`, `{}`, &z, `{}`},
	} {
		src := infoSource{metadata: json.RawMessage(tt.scan), voxelFloor: tt.floor}
		if got := workspace(src, infoFileset{metadata: json.RawMessage(tt.images)}); string(got) != tt.want {
			t.Errorf("%s: workspace() = %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestVoxelFloor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ toml, want string }{
		{"", "none"},
		{"[Voxels]\n", "none"},
		{"[Voxels.bounding_box]\nz = [-175, 100]\n", "-175"},
		{"[Voxels.bounding_box]\nz = [100.5, -20.25]\n", "-20.25"},
		{"[Voxels.bounding_box]\nz = []\n", "none"},
		{"[Voxels.bounding_box]\nz = \"x\"\n", "none"},
		{"not toml [", "none"},
	} {
		got := "none"
		if z := voxelFloor([]byte(tt.toml)); z != nil {
			got = fmt.Sprint(*z)
		}
		if got != tt.want {
			t.Errorf("voxelFloor(%q) = %s, want %s", tt.toml, got, tt.want)
		}
	}
}

func TestInfoCamera(t *testing.T) {
	t.Parallel()
	shot := func(id, metadata string) infoFile { return infoFile{id, id + ".jpg", json.RawMessage(metadata)} }
	for _, tt := range []struct {
		name string
		imgs []infoFile
		want string
	}{
		{"before Colmap", []infoFile{shot("a", `{"channel": "rgb"}`)}, `{}`},
		{"empty", []infoFile{shot("a", `{"channel": "rgb", "colmap_camera": {}}`)}, `{}`},
		{"not of the first", []infoFile{shot("a", `{}`), shot("b", `{"channel": "rgb", "colmap_camera": {"tvec": [1], "rotmat": [2]}}`)}, `{}`},
		{"model alone", []infoFile{shot("a", `{"channel": "rgb", "colmap_camera": {"camera_model": {"m": 1}}}`)}, `{"model":{"m":1},"poses":[]}`},
		{"no rgb", []infoFile{shot("a", `{"channel": "depth", "colmap_camera": {"camera_model": 5, "tvec": [1], "rotmat": [2]}}`)}, `{"model":5,"poses":[]}`},
		{
			"one lost", []infoFile{
				shot("a", `{"channel": "rgb", "colmap_camera": {"camera_model": 5, "tvec": [1], "rotmat": [2]}}`),
				shot("b", `{"channel": "rgb", "colmap_camera": {"tvec": null}}`),
				shot("c", `{"Channel": "rgb", "colmap_camera": {"tvec": [1], "rotmat": [2]}}`),
			},
			`{"model":5,"poses":[{"id":"a","tvec":[1],"rotmat":[2],"photoUri":"/assets/image/s/images/a?size=orig","thumbnailUri":"/assets/image/s/images/a?size=thumb"}]}`,
		},
	} {
		info := makeInfo(infoSource{name: "s", filesets: []infoFileset{{name: "images", files: tt.imgs}}})
		raw := must[json.RawMessage](t)(encode(info))
		var got struct{ Camera json.RawMessage }
		if err := json.Unmarshal(WithBase(raw, ""), &got); err != nil || string(got.Camera) != tt.want {
			t.Errorf("%s: camera = %s, %v, want %s", tt.name, got.Camera, err, tt.want)
		}
	}
}

// Whatever stands in names and metadata, only URIs get the base, and the
// result is JSON.
func TestWithBase(t *testing.T) {
	t.Parallel()
	odd := []string{`\u0001/assets/x`, "\x01", `a\u0001b`, `"\u0001/x`, `my scan?#%`, "é\x01/assets/"}
	for _, name := range odd {
		quoted := must[json.RawMessage](t)(encode(name))
		src := infoSource{
			name: name, broken: name, metadata: json.RawMessage(`{"workspace": {"x": ` + string(quoted) + `}, "object": {"species": ` + string(quoted) + `}}`),
			filesets: []infoFileset{{name: "images", files: []infoFile{{name, name + ".jpg", json.RawMessage(`{"channel": "rgb"}`)}}}},
		}
		stored := must[json.RawMessage](t)(encode(makeInfo(src)))
		for _, base := range []string{"", "/p/api/v1"} {
			var got Info
			if err := json.Unmarshal(WithBase(stored, base), &got); err != nil {
				t.Errorf("WithBase(%q) of %q is no JSON: %v", base, name, err)
				continue
			}
			if !strings.HasPrefix(got.ThumbnailURI, base+"/assets/image/") || !strings.HasPrefix(got.Metadata.Files.Archive, base+"/assets/archive/") {
				t.Errorf("URIs of %q are %q and %q, want them below %q", name, got.ThumbnailURI, got.Metadata.Files.Archive, base)
			}
			if got.ID != name || got.Metadata.Species != name || !reflect.DeepEqual(got.Images, []string{name + ".jpg"}) || got.Reason != name {
				t.Errorf("WithBase(%q) changed %q: %+v", base, name, got)
			}
		}
	}
	src := infoSource{name: "my scan?", filesets: []infoFileset{{name: "images", files: []infoFile{{name: "a#b"}}}}}
	if got, want := makeInfo(src).ThumbnailURI, uriMark+"/assets/image/my%20scan%3F/images/a%23b?size=thumb"; got != want {
		t.Errorf("thumbnailUri = %q, want %q", got, want)
	}
}

// Scans without images and broken ones are in the list, the rest intact.
func TestInfosOfDamage(t *testing.T) {
	t.Parallel()
	bare := plainScan("bare", `{"acquisition_date": "2026-01-02T03:04:05"}`)
	bare["bare/files.json"] = `{"filesets": []}`
	torn := plainScan("torn", `{}`)
	torn["torn/files.json"] = `{"filesets": [`
	f := indexed(t, bare, torn, plainScan("sound", `{}`), files{"nothing/": ""}, plainScan("tl/torn2", `{}`),
		files{"tl/timelapse.json": `{}`, "tl/torn2/files.json": `[]`})
	ctx := as(t, guest)
	got := map[string]string{}
	for _, raw := range must[[]json.RawMessage](t)(allInfos(ctx, f.Service, Query{})) {
		var i Info
		if err := json.Unmarshal(raw, &i); err != nil {
			t.Fatal(err)
		}
		got[i.ID] = fmt.Sprintf("%v %q %d %q", i.Error, i.Reason, len(i.Images), i.ThumbnailURI)
		if !i.Error && slices.Contains(keysOf(t, raw), "reason") {
			t.Errorf("%s has a reason", i.ID)
		}
	}
	thumb := uriMark + "/assets/image/sound/images/00000_rgb?size=thumb"
	want := map[string]string{
		"bare": `false "" 0 ""`, "sound": fmt.Sprintf(`false "" 1 %q`, thumb),
		"torn":    `true "files.json: metadata is not valid JSON: no value at byte 14" 0 ""`,
		"torn2":   `true "files.json: metadata must be a JSON object" 0 ""`,
		"nothing": `true "it has no metadata directory" 0 ""`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("infos (-want +got):\n%s", diff)
	}
	for _, q := range []Query{{Timelapse: "tl"}, {Timelapse: "tl", Sort: byDue}} {
		if infos := must[[]json.RawMessage](t)(allInfos(ctx, f.Service, q)); len(infos) != 1 {
			t.Errorf("Infos(%+v) = %d, want the broken one", q, len(infos))
		}
		if names := must[[]string](t)(f.Names(ctx, q)); len(names) != 0 {
			t.Errorf("Names(%+v) = %v, want none", q, names)
		}
	}
	if raw := must[json.RawMessage](t)(f.Info(ctx, "bare")); decode(t, raw)["metadata"].(map[string]any)["date"] != "2026-01-02 03:04:05" {
		t.Errorf("Info(bare) = %s, want its date with a space", raw)
	}
	if n := must[int64](t)(f.Count(ctx)); n != 2 {
		t.Errorf("Count() = %d, want the 2 that can be used", n)
	}
}
