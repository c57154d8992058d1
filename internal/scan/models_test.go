package scan

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// The last fileset of a task counts; what stands before the first underscore
// of its id is the task.
func TestOpenOutput(t *testing.T) {
	t.Parallel()
	f := indexed(t, files{
		"s/metadata/metadata.json": "{}",
		"s/files.json": `{"filesets": [
			{"id": "PointCloud_1", "files": [{"id": "PointCloud", "file": "PointCloud.ply"}]},
			{"id": "PointCloud_2", "files": [{"id": "PointCloud", "file": "PointCloud.ply"}]},
			{"id": "PointCloudX", "files": [{"id": "PointCloud", "file": "PointCloud.ply"}]},
			{"id": "TriangleMesh", "files": [{"id": "other", "file": "other.ply"}]}]}`,
		"s/PointCloud_1/PointCloud.ply": "one", "s/PointCloud_2/PointCloud.ply": "two", "s/PointCloudX/PointCloud.ply": "three", "s/TriangleMesh/other.ply": "x",
	})
	c, err := f.OpenOutput(as(t, guest), "s", TaskPointCloud)
	if err != nil {
		t.Fatalf("OpenOutput = %v", err)
	}
	defer c.Close() // Only read.
	if content, err := io.ReadAll(c); string(content) != "two" || err != nil {
		t.Errorf("OpenOutput = %q, %v, want that of the last fileset", content, err)
	}
	for task, want := range map[string]error{TaskMesh: ErrNoOutput, TaskSkeleton: ErrNoTask, "": ErrNoTask} {
		if _, err := f.OpenOutput(as(t, guest), "s", task); !errors.Is(err, want) {
			t.Errorf("OpenOutput(%q) = %v, want %v", task, err, want)
		}
	}
	if _, err := f.OpenOutput(as(t, guest), "nope", TaskMesh); !errors.Is(err, ErrUnknownScan) {
		t.Errorf("OpenOutput of no scan = %v, want ErrUnknownScan", err)
	}
}

func sequenceFixture(t *testing.T, measures, manual string) fixture {
	t.Helper()
	content := files{
		"s/metadata/metadata.json": "{}",
		"s/files.json":             `{"filesets": [{"id": "AnglesAndInternodes_1", "files": [{"id": "AnglesAndInternodes", "file": "AnglesAndInternodes.json"}]}]}`,
		"s/AnglesAndInternodes_1/AnglesAndInternodes.json": measures,
	}
	if manual != "" {
		content["s/measures.json"] = manual
	}
	return indexed(t, content)
}

func TestSequence(t *testing.T) {
	t.Parallel()
	const measures = `{"angles": [90.5, NaN], "z": 1}`
	for _, tt := range []struct {
		manual, list string
		want         string
		err          error
	}{
		{"", "", `{"angles":[90.5,null],"z":1}`, nil},
		{"", "angles", `[90.5,null]`, nil},
		{"", "internodes", "", ErrNoList},
		{"", "manual_angles", "", ErrNoList},
		{`{"angles": [10], "internodes": [1, 2]}`, "", `{"angles":[90.5,null],"z":1,"manual_angles":[10],"manual_internodes":[1,2]}`, nil},
		{`{"internodes": [1, 2]}`, "", `{"angles":[90.5,null],"z":1,"manual_internodes":[1,2]}`, nil},
		{`{"internodes": [1, 2]}`, "manual_internodes", `[1,2]`, nil},
		{`{"internodes": [1, 2]}`, "manual_angles", "", ErrNoList},
		{`{"angles"`, "", `{"angles":[90.5,null],"z":1}`, nil},
		{`{"angles"`, "angles", `[90.5,null]`, nil},
		{`{"angles"`, "manual_angles", "", ErrDamaged},
		{`[1]`, "manual_angles", "", ErrDamaged},
	} {
		f := sequenceFixture(t, measures, tt.manual)
		got, err := f.Sequence(as(t, guest), "s", tt.list)
		if !errors.Is(err, tt.err) || err == nil && string(got.JSON) != tt.want {
			t.Errorf("Sequence(%q) with %s = %s, %v, want %s, %v", tt.list, tt.manual, got.JSON, err, tt.want, tt.err)
		}
	}
	damaged := sequenceFixture(t, "[]", "")
	if _, err := damaged.Sequence(as(t, guest), "s", ""); !errors.Is(err, ErrDamaged) {
		t.Errorf("Sequence of a damaged file = %v, want ErrDamaged", err)
	}
}

// The version of a sequence changes with either of its files.
func TestSequenceVersion(t *testing.T) {
	t.Parallel()
	f := sequenceFixture(t, `{"angles": [1]}`, `{"angles": [2]}`)
	read := func() string {
		return must[Document](t)(f.Sequence(as(t, guest), "s", "")).Version
	}
	first := read()
	files{"s/measures.json": `{"angles": [33]}`}.write(t, f.dir)
	second := read()
	files{"s/AnglesAndInternodes_1/AnglesAndInternodes.json": `{"angles": [44]}`}.write(t, f.dir)
	if third := read(); first == second || second == third || first == third {
		t.Errorf("versions are %q, %q, %q, want each another", first, second, third)
	}
}

func TestRadians(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`[1, 6.28]`: `[1, 6.28]`, `[]`: `[]`, `["x"]`: `["x"]`, `{}`: `{}`, `null`: `null`,
	} {
		if got := radians(json.RawMessage(in)); string(got) != want {
			t.Errorf("radians(%s) = %s, want %s", in, got, want)
		}
	}
	var got []float64
	if err := json.Unmarshal(radians(json.RawMessage(`[180, 90, 0, 6.3]`)), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]float64{math.Pi, math.Pi / 2, 0, 6.3 * math.Pi / 180}, got, cmpopts.EquateApprox(0, 1e-12)); diff != "" {
		t.Errorf("radians of degrees: (-want +got)\n%s", diff)
	}
}

// Where older pipelines recorded camera and workspace, in their order of rank.
func TestDetail(t *testing.T) {
	t.Parallel()
	const colmap = `{"filesets": [{"id": "images", "files": []}, {"id": "Colmap_1", "files": [{"id": "cameras", "file": "cameras.json"}]}]}`
	for name, tt := range map[string]struct {
		files             files
		workspace, camera string
	}{
		"nothing":           {files{"s/files.json": `{"filesets": []}`, "s/metadata/metadata.json": `{}`}, `{}`, `{}`},
		"scanner":           {files{"s/files.json": `{"filesets": []}`, "s/metadata/metadata.json": `{"scanner": {"workspace": {"x": [1, 2]}}}`}, `{"x":[1,2]}`, `{}`},
		"recorded wins":     {files{"s/files.json": `{"filesets": []}`, "s/metadata/metadata.json": `{"workspace": {"x": [3, 4]}, "scanner": {"workspace": {"x": [1, 2]}}}`}, `{"x":[3,4]}`, `{}`},
		"computed":          {files{"s/files.json": `{"filesets": []}`, "s/metadata/metadata.json": `{"computed": {"camera_model": {"id": 7}}}`}, `{}`, `{"model":{"id":7}}`},
		"Colmap":            {files{"s/files.json": colmap, "s/metadata/metadata.json": `{}`, "s/images/": "", "s/metadata/Colmap_1.json": `{"bounding_box": {"x": [5, 6]}}`, "s/Colmap_1/cameras.json": `{"1": {"id": 1}}`}, `{"x":[5,6]}`, `{"model":{"id":1}}`},
		"computed wins":     {files{"s/files.json": colmap, "s/metadata/metadata.json": `{"computed": {"camera_model": {"id": 7}}}`, "s/images/": "", "s/Colmap_1/cameras.json": `{"1": {"id": 1}}`}, `{}`, `{"model":{"id":7}}`},
		"Colmap is damaged": {files{"s/files.json": colmap, "s/metadata/metadata.json": `{}`, "s/images/": "", "s/Colmap_1/cameras.json": `{"1"`}, `{}`, `{}`},
	} {
		f := indexed(t, tt.files)
		var got struct{ Workspace, Camera json.RawMessage }
		if err := json.Unmarshal(must[json.RawMessage](t)(f.Detail(as(t, guest), "s")), &got); err != nil {
			t.Fatal(err)
		}
		if string(got.Workspace) != tt.workspace || string(got.Camera) != tt.camera {
			t.Errorf("%s: workspace %s, camera %s, want %s, %s", name, got.Workspace, got.Camera, tt.workspace, tt.camera)
		}
	}
}

// Data that reads like a URI of an info stays as it is.
func TestOlderInfoLeavesData(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"object": {"species": "/assets/x"}}`))
	info := must[json.RawMessage](t)(f.Info(as(t, guest), "s"))
	got := decode(t, OlderInfo(info))
	md := got["metadata"].(map[string]any)
	if md["species"] != "/assets/x" || got["thumbnailUri"] != "/image/s/images/00000_rgb?size=thumb" || md["files"].(map[string]any)["metadatas"] != "/files/s/metadata/metadata.json" {
		t.Errorf("OlderInfo = %v", got)
	}
	if got := OlderInfo(json.RawMessage(`[1]`)); string(got) != `[1]` {
		t.Errorf("OlderInfo([1]) = %s, want it as it is", got)
	}
}
