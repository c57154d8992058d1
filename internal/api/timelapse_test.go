package api_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"image"
	"image/jpeg"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/api"
)

// A scan in a timelapse has all that the same scan has beside one, and also
// where a new server reads the tree for the first time.
func TestAssetsOfATimelapse(t *testing.T) {
	t.Parallel()
	s := newAnalyzedSite(t, analyzed, virtual)
	for _, name := range []string{analyzed, virtual} {
		if err := os.CopyFS(filepath.Join(s.dir, "growth_series", member(name)), os.DirFS(filepath.Join(s.dir, name))); err != nil {
			t.Fatal(err)
		}
	}
	s.refresh()
	t.Run("the first server", func(t *testing.T) { testMemberAssets(t, s.with(t)) })
	t.Run("a server after it", func(t *testing.T) { testMemberAssets(t, newSiteOn(t, s.dir, api.Config{Rates: api.NoRates})) })
}

// member is the name, in the timelapse, of the copy of a scan.
func member(scan string) string { return "day_" + scan }

func testMemberAssets(t *testing.T, s *site) {
	scans := s.get("/api/v1/timelapses/growth_series/scans")
	if !strings.Contains(string(scans.body), `"`+member(analyzed)+`"`) || !strings.Contains(string(scans.body), `"`+member(virtual)+`"`) {
		t.Fatalf("scans of the timelapse = %d %s, want the copies among them", scans.status, scans.body)
	}
	picture := s.read(filepath.Join(s.dir, analyzed, "images", "00000_rgb.jpg"))
	for path, check := range map[string]func(*testing.T, []byte){
		"image/SCAN/images/00000_rgb?size=orig":               isText(picture),
		"image/SCAN/images/00000_rgb":                         isPicture(64, 48),
		"image/SCAN/images/00000_rgb?size=large":              isPicture(64, 48),
		"image/SCAN/images/00000_rgb?size=32":                 isPicture(32, 24),
		"image/SCAN/images/00000_rgb?size=32&as_base64=true":  isBase64(isPicture(32, 24)),
		"image/SCAN/images/00000_rgb?size=orig&as_base64=yes": isBase64(isText(picture)),
		"files/SCAN/images/00000_rgb":                         isText(picture),
		"files/SCAN/images/00000_rgb.jpg":                     isText(picture),
		"files/growth_series/SCAN/images/00000_rgb.jpg":       isText(picture),
		"pointcloud/SCAN":                                     isModel(0),
		"pointcloud/SCAN?size=12.5":                           isModel(0),
		"pointcloud/SCAN?size=orig":                           isText(s.output(analyzed, "PointCloud", "PointCloud.ply")),
		"pointcloud/SCAN?size=20&coords=true":                 hasLists("coordinates"),
		"pointcloud/VIRTUAL?type=gt&size=5":                   isModel(0),
		"pointcloud/VIRTUAL?type=gt&size=orig":                isText(s.output(virtual, "PointCloudGroundTruth", "PointCloudGroundTruth.ply")),
		"mesh/SCAN":                                           isText(s.output(analyzed, "TriangleMesh", "TriangleMesh.ply")),
		"mesh/SCAN?size=10":                                   isModel(1),
		"mesh/SCAN?size=10&coords=true":                       hasLists("triangles", "vertices"),
		"skeleton/SCAN":                                       hasLists("points", "lines"),
		"sequence/SCAN":                                       hasLists("angles", "internodes", "fruit_points", "manual_angles", "manual_internodes"),
		"archive/SCAN":                                        isArchiveOf(s.onDisk(analyzed)),
		"archive/SCAN?fileset=images":                         isArchiveWith("images/00000_rgb.jpg"),
	} {
		path := "/api/v1/assets/" + path
		name := func(of func(string) string) string {
			at := strings.NewReplacer("SCAN", of(analyzed), "VIRTUAL", of(virtual)).Replace(path)
			return strings.Replace(at, "growth_series/"+analyzed, analyzed, 1)
		}
		t.Run(name(member), func(t *testing.T) {
			s := s.with(t)
			a, beside := s.get(name(member)), s.get(name(func(scan string) string { return scan }))
			if a.status != http.StatusOK || a.header.Get("Content-Type") != beside.header.Get("Content-Type") || len(a.header.Get("ETag")) < 10 {
				t.Fatalf("= %d %v %.200s, want it as beside the timelapse: %v", a.status, a.header, a.body, beside.header)
			}
			check(t, a.body)
			if !strings.Contains(path, "archive") && !bytes.Equal(a.body, beside.body) {
				t.Errorf("= %d bytes, beside the timelapse %d other ones", len(a.body), len(beside.body))
			}
			if head := s.do(http.MethodHead, name(member), ""); head.status != http.StatusOK || head.header.Get("ETag") != a.header.Get("ETag") {
				t.Errorf("HEAD = %d %v, want the headers of GET", head.status, head.header)
			}
		})
	}
	info := s.get("/api/v1/scans/" + member(analyzed)).json(t)
	files := info["metadata"].(map[string]any)["files"].(map[string]any)
	for _, uri := range []any{
		info["thumbnailUri"], files["metadata"], files["archive"],
		info["filesUri"].(map[string]any)["mesh"], info["camera"].(map[string]any)["poses"].([]any)[0].(map[string]any)["photoUri"],
	} {
		if a := s.get(uri.(string)); a.status != http.StatusOK {
			t.Errorf("GET %s, which the info names, = %d %.200s", uri, a.status, a.body)
		}
	}
}

func isText(want []byte) func(*testing.T, []byte) {
	return func(t *testing.T, body []byte) {
		if !bytes.Equal(body, want) {
			t.Errorf("= %d bytes, want the %d of the file", len(body), len(want))
		}
	}
}

func isPicture(width, height int) func(*testing.T, []byte) {
	return func(t *testing.T, body []byte) {
		img, err := jpeg.Decode(bytes.NewReader(body))
		if err != nil {
			t.Fatalf("= %d bytes that are no JPEG: %v", len(body), err)
		}
		if got := img.Bounds().Size(); got != (image.Point{X: width, Y: height}) {
			t.Errorf("= a picture of %v, want %d by %d", got, width, height)
		}
	}
}

func isBase64(check func(*testing.T, []byte)) func(*testing.T, []byte) {
	return func(t *testing.T, body []byte) {
		var sent struct {
			Type  string `json:"content-type"`
			Image string `json:"image"`
		}
		if err := json.Unmarshal(body, &sent); err != nil || sent.Type != "image/jpeg" {
			t.Fatalf("= %.200s, %v, want a JPEG in base64", body, err)
		}
		img, err := base64.StdEncoding.DecodeString(sent.Image)
		if err != nil {
			t.Fatal(err)
		}
		check(t, img)
	}
}

func isModel(triangles int) func(*testing.T, []byte) {
	return func(t *testing.T, body []byte) {
		if m := readPLY(t, "the answer", body); len(m.Points) < 10 || len(m.Triangles) < triangles {
			t.Errorf("= a model of %d points and %d triangles", len(m.Points), len(m.Triangles))
		}
	}
}

func hasLists(names ...string) func(*testing.T, []byte) {
	return func(t *testing.T, body []byte) {
		var lists map[string][]any
		if err := json.Unmarshal(body, &lists); err != nil {
			t.Fatalf("= %.200s: %v, want lists", body, err)
		}
		for _, name := range names {
			if len(lists[name]) == 0 {
				t.Errorf("has no %s", name)
			}
		}
	}
}

func isArchiveOf(files map[string]string) func(*testing.T, []byte) {
	return func(t *testing.T, body []byte) {
		_, got := unzipped(t, body)
		delete(got, manifest)
		if diff := cmp.Diff(files, got); diff != "" {
			t.Errorf("archive: (-want +got)\n%.2000s", diff)
		}
	}
}

func isArchiveWith(name string) func(*testing.T, []byte) {
	return func(t *testing.T, body []byte) {
		if names, _ := unzipped(t, body); !slices.Contains(names, name) || slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "PointCloud") }) {
			t.Errorf("archive of %v, want that of a fileset, with %s", names, name)
		}
	}
}
