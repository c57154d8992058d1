package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/api"
	"github.com/romi/plantdb-go/internal/demo"
	"github.com/romi/plantdb-go/internal/ply"
)

const analyzed, virtual = "real_plant_analyzed", "virtual_plant_analyzed"

// newAnalyzedSite is newSite with further sample scans, those of the pipeline.
func newAnalyzedSite(t *testing.T, scans ...string) *site {
	t.Helper()
	s := newSite(t, api.Config{Rates: api.NoRates})
	dir := t.TempDir()
	if err := demo.Write(t.Context(), dir, demo.Options{Scans: scans, Width: 64, Height: 48}); err != nil {
		t.Fatalf("demo.Write = %v", err)
	}
	for _, name := range scans {
		if err := os.Rename(filepath.Join(dir, name), filepath.Join(s.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s.refresh()
	return s
}

// with is the same site in another test.
func (s *site) with(t *testing.T) *site {
	sub := *s
	sub.t = t
	return &sub
}

// The sample scans take a second to make and are only read here, or damaged
// where nobody else looks; so these tests share them.
func TestAnalyzedScans(t *testing.T) {
	t.Parallel()
	s := newAnalyzedSite(t, analyzed, virtual, "arabidopsis000")
	for name, test := range map[string]func(*testing.T, *site){
		"point cloud": testPointCloud, "mesh": testMesh, "skeleton": testSkeleton, "ranges and conditions": testModelRangesAndConditions,
		"archive of filesets": testArchiveOfFilesets, "older paths": testOlderPathsAreAliases, "older info": testOlderInfo, "detail": testDetail,
	} {
		t.Run(name, func(t *testing.T) { test(t, s.with(t)) })
	}
	// These change what they read.
	t.Run("sequence", func(t *testing.T) { testSequence(t, s.with(t)) })
	t.Run("damaged detail", func(t *testing.T) { testDamagedDetail(t, s.with(t)) })
}

// refresh brings the index up to the tree.
func (s *site) refresh() {
	s.t.Helper()
	if a := s.do(http.MethodGet, "/api/v1/refresh", ""); a.status != http.StatusOK {
		s.t.Fatalf("refresh = %d %s", a.status, a.body)
	}
}

// get answers a GET without a token.
func (s *site) get(path string, headers ...header) answer {
	s.t.Helper()
	return s.do(http.MethodGet, path, "", headers...)
}

// output is what a task made of a scan, as it lies on the disk.
func (s *site) output(scan, task, name string) []byte {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(s.dir, scan, task+"_*", name))
	if err != nil || len(found) != 1 {
		s.t.Fatalf("output of %s in %s: %v, %v, want one", task, scan, found, err)
	}
	return s.read(found[0])
}

func (s *site) read(file string) []byte {
	s.t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	return content
}

func readPLY(t *testing.T, what string, content []byte) *ply.Mesh {
	t.Helper()
	m, err := ply.Read(bytes.NewReader(content), ply.Limits{Size: int64(len(content))})
	if err != nil {
		t.Fatalf("%s is no PLY: %v", what, err)
	}
	return m
}

func testPointCloud(t *testing.T, s *site) {
	const path = "/api/v1/assets/pointcloud/"
	disk := s.output(analyzed, "PointCloud", "PointCloud.ply")
	whole := readPLY(t, "the file", disk)
	grid := func(m *ply.Mesh, voxel float64) *ply.Mesh {
		thin, err := m.DownSample(voxel)
		if err != nil {
			t.Fatal(err)
		}
		return thin
	}
	truth := s.output(virtual, "PointCloudGroundTruth", "PointCloudGroundTruth.ply")
	for query, want := range map[string]*ply.Mesh{
		analyzed:                           grid(whole, 1.8),
		analyzed + "?size=preview":         grid(whole, 1.8),
		analyzed + "?size=anything":        grid(whole, 1.8),
		analyzed + "?size=12.5":            grid(whole, 12.5),
		analyzed + "?type=other&size=orig": whole,
		virtual + "?type=gt&size=5":        grid(readPLY(t, "the truth", truth), 5),
	} {
		a := s.get(path + query)
		if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/octet-stream" {
			t.Fatalf("GET %s = %d %s", query, a.status, a.body)
		}
		if diff := cmp.Diff(want, readPLY(t, query, a.body)); diff != "" {
			t.Errorf("GET %s: (-want +got)\n%.2000s", query, diff)
		}
	}
	if a := s.get(path + analyzed + "?size=orig"); !bytes.Equal(a.body, disk) {
		t.Errorf("size=orig = %d bytes, want the %d of the file", len(a.body), len(disk))
	}
	var sent struct{ Coordinates []ply.Vec }
	for _, flag := range []string{"true", "1", "YES"} {
		a := s.get(path + analyzed + "?size=orig&coords=" + flag)
		if err := json.Unmarshal(a.body, &sent); err != nil || a.header.Get("Content-Type") != "application/json" || !slices.Equal(sent.Coordinates, whole.Points) {
			t.Errorf("coords=%s: %d points, %v, want the %d of the file", flag, len(sent.Coordinates), err, len(whole.Points))
		}
	}
	if a := s.do(http.MethodHead, path+analyzed+"?coords=true", ""); a.status != http.StatusOK || len(a.body) > 0 {
		t.Errorf("HEAD of coordinates = %d, %d bytes, want 200 without any", a.status, len(a.body))
	}
	for _, size := range []string{"0", "-1.8", "nan", "inf", "1e-300"} {
		wantProblem(t, "size="+size, s.get(path+analyzed+"?size="+size), http.StatusBadRequest, "bad_size")
	}
}

func testModelRangesAndConditions(t *testing.T, s *site) {
	const image, cloud = "/api/v1/assets/image/" + analyzed + "/images/00000_rgb", "/api/v1/assets/pointcloud/" + analyzed
	tags := map[string]string{}
	for path, ranges := range map[string]bool{
		cloud: true, cloud + "?size=orig": true, cloud + "?size=9": true,
		cloud + "?size=9&coords=true": false, cloud + "?coords=true": false, cloud + "?size=orig&coords=true": false,
		"/api/v1/assets/mesh/" + analyzed: true, "/api/v1/assets/mesh/" + analyzed + "?size=9": true,
		"/api/v1/assets/mesh/" + analyzed + "?size=9&coords=true": false,
		"/api/v1/assets/skeleton/" + analyzed:                     true,
		"/api/v1/assets/sequence/" + analyzed:                     true, "/api/v1/assets/sequence/" + analyzed + "?type=angles": true,
		"/api/v1/assets/archive/" + analyzed: true,
		image:                                true, image + "?size=orig": true, image + "?size=32": true,
		image + "?as_base64=true": true, image + "?size=orig&as_base64=true": true, image + "?size=32&as_base64=true": true,
		"/api/v1/assets/files/" + analyzed + "/images/00001_rgb.jpg":   true,
		"/api/v1/assets/files/" + analyzed + "/metadata/metadata.json": true,
	} {
		whole := s.get(path)
		tag := whole.header.Get("ETag")
		if whole.status != http.StatusOK || len(tag) != 66 || tag[0] != '"' || whole.header.Get("Cache-Control") != "no-cache" {
			t.Fatalf("GET %s = %d, ETag %s, want 200 and a strong one", path, whole.status, tag)
		}
		if other, taken := tags[tag]; taken {
			t.Errorf("%s and %s have one ETag", path, other)
		}
		tags[tag] = path
		if again := s.get(path, header{"If-None-Match", `"other"`}); again.status != http.StatusOK || again.header.Get("ETag") != tag || !bytes.Equal(again.body, whole.body) {
			t.Errorf("GET %s again = %d, ETag %s, want the same as before", path, again.status, again.header.Get("ETag"))
		}
		if a := s.get(path, header{"If-None-Match", tag}); a.status != http.StatusNotModified || len(a.body) > 0 || a.header.Get("ETag") != tag {
			t.Errorf("%s: If-None-Match = %d, ETag %s, want 304 with its own", path, a.status, a.header.Get("ETag"))
		}
		wantProblem(t, path+" if another", s.get(path, header{"If-Match", `"other"`}), http.StatusPreconditionFailed, "precondition_failed")
		if a := s.do(http.MethodHead, path, ""); a.status != http.StatusOK || len(a.body) > 0 || a.header.Get("Content-Length") != whole.header.Get("Content-Length") ||
			a.header.Get("ETag") != tag || a.header.Get("Content-Type") != whole.header.Get("Content-Type") {
			t.Errorf("%s: HEAD = %d %v, want the headers of GET: %v", path, a.status, a.header, whole.header)
		}
		part := s.get(path, header{"Range", "bytes=100-199"}, header{"If-Range", tag})
		if !ranges { // it is made while it is sent
			if part.status != http.StatusOK || !bytes.Equal(part.body, whole.body) {
				t.Errorf("%s: range = %d, %d bytes, want 200 and the whole", path, part.status, len(part.body))
			}
			continue
		}
		if part.status != http.StatusPartialContent || !bytes.Equal(part.body, whole.body[100:min(200, len(whole.body))]) {
			t.Errorf("%s: range = %d, %d bytes, want 206 and those of the whole", path, part.status, len(part.body))
		}
		wantProblem(t, path+" beyond", s.get(path, header{"Range", "bytes=999999999-"}), http.StatusRequestedRangeNotSatisfiable, "range_not_satisfiable")
	}
}

func testMesh(t *testing.T, s *site) {
	const path = "/api/v1/assets/mesh/" + analyzed
	disk := s.output(analyzed, "TriangleMesh", "TriangleMesh.ply")
	whole := readPLY(t, "the file", disk)
	for _, query := range []string{"", "?size=orig", "?size=anything"} {
		if a := s.get(path + query); a.status != http.StatusOK || !bytes.Equal(a.body, disk) {
			t.Errorf("GET mesh%s = %d, %d bytes, want the %d of the file", query, a.status, len(a.body), len(disk))
		}
	}
	for query, voxel := range map[string]float64{"?size=preview": 1.8, "?size=10": 10} {
		want, err := whole.Cluster(voxel)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, readPLY(t, query, s.get(path+query).body)); diff != "" {
			t.Errorf("GET mesh%s: (-want +got)\n%.2000s", query, diff)
		}
	}
	var sent struct {
		Triangles [][3]uint32
		Vertices  []ply.Vec
	}
	a := s.get(path + "?coords=true")
	if err := json.Unmarshal(a.body, &sent); err != nil || !slices.Equal(sent.Triangles, whole.Triangles) || !slices.Equal(sent.Vertices, whole.Points) {
		t.Errorf("coords: %d triangles, %d vertices, %v, want those of the file", len(sent.Triangles), len(sent.Vertices), err)
	}
	for _, size := range []string{"0", "1e400", "-1e400"} {
		wantProblem(t, "size="+size, s.get(path+"?size="+size), http.StatusBadRequest, "bad_size")
	}
}

func testSkeleton(t *testing.T, s *site) {
	a := s.get("/api/v1/assets/skeleton/" + analyzed)
	var want map[string]any
	if err := json.Unmarshal(s.output(analyzed, "CurveSkeleton", "CurveSkeleton.json"), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, a.json(t)); diff != "" || a.status != http.StatusOK {
		t.Errorf("skeleton = %d, (-want +got)\n%.2000s", a.status, diff)
	}
}

func testSequence(t *testing.T, s *site) {
	const path = "/api/v1/assets/sequence/"
	truth, _ := demo.Truth(analyzed)
	var got struct {
		Angles           []float64      `json:"angles"`
		Internodes       []float64      `json:"internodes"`
		Fruits           [][]demo.Point `json:"fruit_points"`
		ManualAngles     []float64      `json:"manual_angles"`
		ManualInternodes []float64      `json:"manual_internodes"`
	}
	a := s.get(path + analyzed)
	if err := json.Unmarshal(a.body, &got); err != nil {
		t.Fatalf("sequence = %d %.300s: %v", a.status, a.body, err)
	}
	if !slices.Equal(got.Angles, truth.Angles) || !slices.Equal(got.Internodes, truth.Internodes) || cmp.Diff(truth.FruitPoints, got.Fruits) != "" {
		t.Errorf("sequence is not what the plant was made from: %.300s", a.body)
	}
	var measures struct{ Angles, Internodes []float64 }
	if err := json.Unmarshal(s.read(filepath.Join(s.dir, analyzed, "measures.json")), &measures); err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string][]float64{
		"angles": truth.Angles, "internodes": truth.Internodes, "manual_angles": measures.Angles, "manual_internodes": measures.Internodes,
	} {
		var list []float64
		a := s.get(path + analyzed + "?type=" + kind)
		if err := json.Unmarshal(a.body, &list); err != nil || !slices.Equal(list, want) || len(want) == 0 {
			t.Errorf("type=%s = %d %.300s, want %v", kind, a.status, a.body, want)
		}
	}
	if b := s.get(path + analyzed + "?type=anything"); !bytes.Equal(a.body, b.body) || !slices.Equal(got.ManualAngles, measures.Angles) || !slices.Equal(got.ManualInternodes, measures.Internodes) {
		t.Errorf("an unknown type = %.300s, want all sequences", b.body)
	}
	wantProblem(t, "no manual measures", s.get(path+virtual+"?type=manual_angles"), http.StatusNotFound, "unknown_sequence")

	file := filepath.Join(s.dir, analyzed, "measures.json")
	if err := os.WriteFile(file, []byte(`{"angles": [1,`), 0o600); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, "damaged measures", s.get(path+analyzed+"?type=manual_angles"), http.StatusUnprocessableEntity, "damaged_json")
	if v := s.get(path + analyzed).json(t); v["manual_angles"] != nil || v["angles"] == nil {
		t.Errorf("all sequences with damaged measures = %v, want those of the pipeline", v)
	}
	if err := os.Truncate(file, 17<<20); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, "large measures", s.get(path+analyzed+"?type=manual_angles"), http.StatusUnprocessableEntity, "damaged_json")
}

// What is not there, in upstream's words, and what is there and is not what
// its name says.
func TestModelErrors(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	token, _ := s.login("carol")
	const scan = "/api/v1/scans/odd"
	s.made(s.do(http.MethodPost, scan, "", bearer(token)))
	for fileset, file := range map[string]struct{ name, ext, content string }{
		"PointCloud_1":          {"PointCloud", "ply", "ply\nformat ascii 1.0\nelement vertex 1000000000\nproperty float x\nproperty float y\nproperty float z\nend_header\n1 2 3\n"},
		"TriangleMesh_1":        {"TriangleMesh", "ply", "no PLY at all"},
		"CurveSkeleton_1":       {"CurveSkeleton", "json", `{"points": [[`},
		"AnglesAndInternodes_1": {"AnglesAndInternodes", "json", `[1, 2]`},
		"PointCloudGroundTruth": {"", "", ""},
	} {
		s.made(s.do(http.MethodPost, "/api/v1/filesets/odd/"+fileset, "", bearer(token)))
		if file.name != "" {
			s.made(s.upload("/api/v1/files/odd/"+fileset+"/"+file.name, token, []byte(file.content), map[string]string{"ext": file.ext}))
		}
	}
	for _, tt := range []struct {
		path    string
		status  int
		code    string
		message string
	}{
		{"pointcloud/nope", 400, "unknown_scan", "Scan 'nope' not found!"},
		{"mesh/nope", 400, "unknown_scan", "Scan 'nope' not found!"},
		{"skeleton/nope", 400, "unknown_scan", "Scan 'nope' not found!"},
		{"sequence/nope", 400, "unknown_scan", "Scan 'nope' not found!"},
		{"archive/nope", 404, "unknown_scan", "Could not find a scan named `nope`!"},
		{"pointcloud/real_plant", 404, "unknown_task", "No fileset mapped for task 'PointCloud'."},
		{"pointcloud/real_plant?type=gt", 404, "unknown_task", "No fileset mapped for task 'PointCloudGroundTruth'."},
		{"mesh/real_plant", 404, "unknown_task", "No fileset mapped for task 'TriangleMesh'."},
		{"skeleton/real_plant", 404, "unknown_task", "No fileset mapped for task 'CurveSkeleton'."},
		{"sequence/real_plant", 404, "unknown_task", "No fileset mapped for task 'AnglesAndInternodes'."},
		{"pointcloud/odd?type=gt", 404, "unknown_output", "File 'PointCloudGroundTruth/PointCloudGroundTruth' not found."},
		{"archive/real_plant?fileset=nope", 404, "unknown_fileset", "Unknown fileset id 'nope' in scan 'real_plant'!"},
		{"pointcloud/odd", 422, "ply_too_large", ""},
		{"pointcloud/odd?size=orig&coords=1", 422, "ply_too_large", ""},
		{"mesh/odd?size=preview", 422, "damaged_ply", ""},
		{"mesh/odd?coords=1", 422, "damaged_ply", ""},
		{"skeleton/odd", 422, "damaged_json", "The file 'CurveSkeleton.json' is not JSON that can be read."},
		{"sequence/odd", 422, "damaged_json", "The file 'AnglesAndInternodes.json' is not JSON that can be read."},
		{"pointcloud/a%20b", 400, "invalid_name", ""},
	} {
		a := s.get("/api/v1/assets/" + tt.path)
		wantProblem(t, tt.path, a, tt.status, tt.code)
		if got := a.json(t)["message"]; tt.message != "" && got != tt.message {
			t.Errorf("%s says %q, want %q", tt.path, got, tt.message)
		}
	}
	if a := s.get("/api/v1/assets/mesh/odd"); string(a.body) != "no PLY at all" {
		t.Errorf("a damaged mesh as it is = %d %s, want its bytes", a.status, a.body)
	}
}

// made fails the test unless a is 201.
func (s *site) made(a answer) {
	s.t.Helper()
	if a.status != http.StatusCreated {
		s.t.Fatalf("answer = %d %s, want 201", a.status, a.body)
	}
}

// On every route and path a private scan is to others what an unknown one is.
func TestPrivateScanIsNotFound(t *testing.T) {
	t.Parallel()
	s := newAnalyzedSite(t, analyzed)
	owner, _ := s.login("carol")
	reader, _ := s.login("rita")
	s.made(s.do(http.MethodPost, "/api/v1/scans/secret", `{"metadata":{"visibility":"private"}}`, bearer(owner)))
	for task, ext := range map[string]string{"PointCloud": "ply", "TriangleMesh": "ply", "CurveSkeleton": "json", "AnglesAndInternodes": "json", "images": "jpg"} {
		fileset, file, content := task, task, []byte(nil)
		if task == "images" {
			file, content = "00000_rgb", s.read(filepath.Join(s.dir, analyzed, "images", "00000_rgb.jpg"))
		} else {
			fileset, content = task+"_1", s.output(analyzed, task, task+"."+ext)
		}
		s.made(s.do(http.MethodPost, "/api/v1/filesets/secret/"+fileset, "", bearer(owner)))
		s.made(s.upload("/api/v1/files/secret/"+fileset+"/"+file, owner, content, map[string]string{"ext": ext}))
	}
	for _, path := range []string{
		"/api/v1/assets/pointcloud/SCAN", "/api/v1/assets/pointcloud/SCAN?coords=1", "/api/v1/assets/mesh/SCAN?size=preview",
		"/api/v1/assets/skeleton/SCAN", "/api/v1/assets/sequence/SCAN", "/api/v1/assets/archive/SCAN", "/api/v1/assets/archive/SCAN?fileset=images",
		"/api/v1/assets/image/SCAN/images/00000_rgb", "/api/v1/assets/files/SCAN/images/00000_rgb.jpg", "/api/v1/files/SCAN/images/00000_rgb",
		"/api/v1/scans/SCAN",
		"/scan/SCAN", "/scan/SCAN/metadata", "/scan/SCAN/filesets", "/fileset/SCAN/images/metadata", "/fileset/SCAN/images/files",
		"/file/SCAN/images/00000_rgb", "/file/SCAN/images/00000_rgb/metadata", "/files/SCAN/images/00000_rgb.jpg", "/image/SCAN/images/00000_rgb",
		"/pointcloud/SCAN/PointCloud_1/PointCloud", "/pcGroundTruth/SCAN/PointCloud_1/PointCloud", "/mesh/SCAN/TriangleMesh_1/TriangleMesh",
		"/skeleton/SCAN", "/sequence/SCAN", "/archive/SCAN", "/scans/SCAN",
		"/api/scan/SCAN/metadata", "/api/scan/SCAN/filesets", "/api/fileset/SCAN/images/metadata", "/api/fileset/SCAN/images/files",
		"/api/file/SCAN/images/00000_rgb/metadata",
	} {
		own := strings.ReplaceAll(path, "SCAN", "secret")
		if a := s.get(own, bearer(owner)); a.status != http.StatusOK {
			t.Errorf("GET %s by its owner = %d %.300s, want 200", own, a.status, a.body)
		}
		unknown := s.get(strings.ReplaceAll(path, "SCAN", "nope"))
		for who, headers := range map[string][]header{"nobody": nil, "a reader": {bearer(reader)}} {
			a := s.get(own, headers...)
			if want := strings.ReplaceAll(string(unknown.body), "nope", "secret"); a.status != unknown.status || string(a.body) != want || a.status < 400 {
				t.Errorf("GET %s by %s = %d %.300s, want %d %s", own, who, a.status, a.body, unknown.status, want)
			}
		}
	}
	for _, path := range []string{"/scans", "/scans?filterQuery=", "/scans_info"} {
		if a := s.get(path, bearer(reader)); a.status != http.StatusOK || strings.Contains(string(a.body), "secret") {
			t.Errorf("GET %s = %d %.300s, want it without the private scan", path, a.status, a.body)
		}
		if a := s.get(path, bearer(owner)); !strings.Contains(string(a.body), "secret") {
			t.Errorf("GET %s by the owner = %.300s, want the private scan in it", path, a.body)
		}
	}
}
