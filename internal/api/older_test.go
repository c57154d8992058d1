package api_test

import (
	"bytes"
	"encoding/json"
	"math"
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

// Each older path answers as the operation that it names as its successor, and
// says where that is.
func testOlderPathsAreAliases(t *testing.T, s *site) {
	cloud := "PointCloud_1_0_1_0_10_0_7ee836e5a9/PointCloud"
	mesh := "TriangleMesh_9_most_connected_t_open3d_00e095c359/TriangleMesh"
	for older, successor := range map[string]string{
		"/health":                       "/health",
		"/health/":                      "/health",
		"/refresh":                      "/refresh",
		"/login?username=admin":         "/auth/login?username=admin",
		"/scans":                        "/scans",
		"/scans/":                       "/scans",
		"/scans?query=plant":            "/scans?query=plant",
		"/scan/real_plant/metadata":     "/scans/real_plant/metadata",
		"/scan/real_plant/filesets":     "/scans/real_plant/filesets",
		"/api/scan/real_plant/metadata": "/scans/real_plant/metadata",
		"/api/scan/real_plant/metadata?key=object":                     "/scans/real_plant/metadata?key=object",
		"/api/scan/real_plant/filesets":                                "/scans/real_plant/filesets",
		"/fileset/real_plant/images/metadata":                          "/filesets/real_plant/images/metadata",
		"/fileset/real_plant/images/files":                             "/filesets/real_plant/images/files",
		"/api/fileset/real_plant/images/metadata":                      "/filesets/real_plant/images/metadata",
		"/api/fileset/real_plant/images/files":                         "/filesets/real_plant/images/files",
		"/file/real_plant/images/00000_rgb":                            "/files/real_plant/images/00000_rgb",
		"/file/real_plant/images/00000_rgb/metadata":                   "/files/real_plant/images/00000_rgb/metadata",
		"/api/file/real_plant/images/00000_rgb/metadata":               "/files/real_plant/images/00000_rgb/metadata",
		"/files/real_plant/metadata/metadata.json":                     "/assets/files/real_plant/metadata/metadata.json",
		"/files/growth_series/growth_day_28/files.json":                "/assets/files/growth_series/growth_day_28/files.json",
		"/image/real_plant/images/00000_rgb?size=orig":                 "/assets/image/real_plant/images/00000_rgb?size=orig",
		"/image/real_plant/images/00000_rgb?size=thumb&as_base64=true": "/assets/image/real_plant/images/00000_rgb?size=thumb&as_base64=true",
		"/pointcloud/" + analyzed + "/" + cloud + "?size=preview":      "/assets/pointcloud/" + analyzed,
		"/pcGroundTruth/" + analyzed + "/" + cloud + ".ply?size=orig":  "/assets/pointcloud/" + analyzed + "?size=orig",
		"/mesh/" + analyzed + "/" + mesh + "?size=orig":                "/assets/mesh/" + analyzed,
		"/mesh/" + analyzed + "/" + mesh + "?size=preview&coords=true": "/assets/mesh/" + analyzed + "?size=preview&coords=true",
		"/skeleton/" + analyzed:                                        "/assets/skeleton/" + analyzed,
		"/sequence/" + analyzed + "?type=angles":                       "/assets/sequence/" + analyzed + "?type=angles",
		"/archive/real_plant":                                          "/assets/archive/real_plant",
	} {
		got, want := s.get(older), s.get("/api/v1"+successor)
		if got.status != want.status || got.status != http.StatusOK || !bytes.Equal(got.body, want.body) || got.header.Get("Content-Type") != want.header.Get("Content-Type") {
			t.Errorf("GET %s = %d %.200s, want as %s: %d %.200s", older, got.status, got.body, successor, want.status, want.body)
		}
		path, _, _ := strings.Cut(successor, "?")
		if strings.HasPrefix(older, "/pcGroundTruth/") {
			path += "?type=gt"
		}
		if link := got.header.Get("Link"); got.header.Get("Deprecation") != "true" || link != "</api/v1"+path+`>; rel="successor-version"` {
			t.Errorf("GET %s: Deprecation %q, Link %q, want true and %s", older, got.header.Get("Deprecation"), link, path)
		}
		if want.header.Get("Deprecation") != "" {
			t.Errorf("GET %s says that it is deprecated", successor)
		}
	}
}

func testOlderInfo(t *testing.T, s *site) {
	older := s.get("/scan/" + analyzed).json(t)
	want := s.get("/api/v1/scans/" + analyzed).json(t)
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(bytes.ReplaceAll(text, []byte(`"/api/v1/assets/`), []byte(`"/`)), &want); err != nil {
		t.Fatal(err)
	}
	want["hasMesh"], want["hasSkeleton"], want["hasAngleData"] = true, true, true
	files := want["metadata"].(map[string]any)["files"].(map[string]any)
	files["metadatas"] = files["metadata"]
	if diff := cmp.Diff(want, older); diff != "" {
		t.Errorf("GET /scan: (-want +got)\n%s", diff)
	}
	// Whatever it names can be had.
	for _, uri := range []any{
		older["thumbnailUri"], files["metadata"], files["archive"],
		older["filesUri"].(map[string]any)["mesh"], older["camera"].(map[string]any)["poses"].([]any)[0].(map[string]any)["photoUri"],
	} {
		if a := s.get(uri.(string)); a.status != http.StatusOK {
			t.Errorf("GET %s of the info = %d, want 200", uri, a.status)
		}
	}
	for _, path := range []string{"/scans_info", "/scans?filterQuery=", "/scans?filterQuery=" + analyzed + "&fuzzy=true", "/scans_info?filterQuery=" + analyzed} {
		var list []map[string]any
		if err := json.Unmarshal(s.get(path).body, &list); err != nil {
			t.Fatalf("GET %s: %v", path, err)
		}
		i := slices.IndexFunc(list, func(info map[string]any) bool { return info["id"] == analyzed })
		if i < 0 || cmp.Diff(want, list[i]) != "" || strings.Contains(path, "analyzed") != (len(list) == 1) {
			t.Errorf("GET %s = %d infos, want that of the scan among them", path, len(list))
		}
	}
	if a := s.get("/scans?query=" + analyzed); string(a.body) != `["`+analyzed+`"]`+"\n" {
		t.Errorf("GET /scans?query = %s, want the id", a.body)
	}
}

// The page of one scan has what 0.14 put into it.
func testDetail(t *testing.T, s *site) {
	detail := s.get("/scans/" + analyzed).json(t)
	data := detail["data"].(map[string]any)
	if want := s.get("/skeleton/" + analyzed).json(t); cmp.Diff(want, data["skeleton"]) != "" {
		t.Error("data.skeleton is not the skeleton")
	}
	truth, _ := demo.Truth(analyzed)
	angles := data["angles"].(map[string]any)
	list := angles["angles"].([]any)
	for i, a := range truth.Angles {
		if got := list[i].(float64); math.Abs(got-a*math.Pi/180) > 1e-9 {
			t.Errorf("angle %d = %v, want %v degrees in radians", i, got, a)
		}
	}
	if len(list) != len(truth.Angles) || len(angles["internodes"].([]any)) != len(truth.Internodes) || len(angles["fruit_points"].([]any)) != len(truth.FruitPoints) ||
		len(angles["measured_angles"].([]any)) != len(truth.Angles) || len(angles["measured_internodes"].([]any)) != len(truth.Internodes) {
		t.Errorf("data.angles = %v, want all lists", angles)
	}
	camera := detail["camera"].(map[string]any)
	var cameras map[string]any
	if err := json.Unmarshal(s.output(analyzed, "Colmap", "cameras.json"), &cameras); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(cameras["1"], camera["model"]); diff != "" {
		t.Errorf("camera.model: (-want +got)\n%s", diff)
	}
	for i, p := range camera["poses"].([]any) {
		pose := p.(map[string]any)
		if pose["isMatched"] != true || pose["id"] != truth.Cameras[i].ID || !strings.HasPrefix(pose["photoUri"].(string), "/image/") {
			t.Errorf("pose %d = %v, want it matched, with its id and URI", i, pose)
		}
	}
	// The oldest scans recorded their workspace with the scanner.
	old := s.get("/scans/arabidopsis000").json(t)
	want := map[string]any{"x": []any{-200.0, 200.0}, "y": []any{-200.0, 200.0}, "z": []any{10.0, 1000.0}}
	if diff := cmp.Diff(any(want), old["workspace"]); diff != "" {
		t.Errorf("workspace: (-want +got)\n%s", diff)
	}
	// A scan without outputs has a page all the same.
	bare := s.get("/scans/real_plant").json(t)
	if diff := cmp.Diff(any(map[string]any{"angles": map[string]any{}}), bare["data"]); diff != "" || bare["hasMesh"] != false {
		t.Errorf("data of a bare scan: (-want +got)\n%s", diff)
	}
}

// An output that cannot be read is left out of the page.
func testDamagedDetail(t *testing.T, s *site) {
	if err := os.WriteFile(filepath.Join(s.dir, virtual, "CurveSkeleton__TriangleMesh_0393cb5708", "CurveSkeleton.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := s.get("/scans/" + virtual).json(t)["data"].(map[string]any)
	if damaged["skeleton"] != nil || len(damaged["angles"].(map[string]any)) != 3 {
		t.Errorf("data with a damaged skeleton = %v, want the rest", damaged)
	}
}

func TestOlderLogin(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	a := s.do(http.MethodPost, "/login", `{"username":"carol","password":"`+password+`"}`, asJSON)
	v := a.json(t)
	if a.status != http.StatusOK || v["authenticated"] != true || v["fullname"] != "Test carol" || v["message"] != "Login successful" ||
		v["access_token"] == "" || v["refresh_token"] == "" || v["user"].(map[string]any)["username"] != "carol" {
		t.Errorf("POST /login = %d %s", a.status, a.body)
	}
	if a := s.do(http.MethodPost, "/scan/mine", "", bearer(v["access_token"].(string))); a.status != http.StatusCreated {
		t.Errorf("the token of /login creates a scan = %d %s, want 201", a.status, a.body)
	}
	wantProblem(t, "wrong password", s.do(http.MethodPost, "/login", `{"username":"carol","password":"x"}`, asJSON), http.StatusUnauthorized, "invalid_credentials")
	a = s.do(http.MethodPost, "/login", `{"username":"carol"}`, asJSON)
	if a.status != http.StatusBadRequest || a.json(t)["authenticated"] != false {
		t.Errorf("login without a password = %d %s, want 400 and authenticated false", a.status, a.body)
	}
}

// The writes of 0.15 are those of 0.17 by another path; those of 0.14 name
// things in their bodies.
func TestOlderWrites(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	token, _ := s.login("carol")
	jpg := map[string]string{"ext": "jpg", "metadata": `{"channel": "rgb"}`}
	post := func(path, body string) answer { return s.do(http.MethodPost, path, body, bearer(token), asJSON) }
	for _, tt := range []struct {
		what   string
		answer func() answer
		want   string
	}{
		{"0.15 scan", func() answer { return post("/scan/s15", `{"metadata":{"a":1}}`) }, `{"message":"Scan created successfully","id":"s15"}`},
		{"0.15 fileset", func() answer { return post("/fileset/s15/images", "") }, `{"message":"Fileset created successfully in 's15'.","id":"images"}`},
		{"0.15 file", func() answer { return s.upload("/file/s15/images/one", token, []byte("x"), jpg) }, `{"message":"File created and written successfully in fileset 'images'.","id":"one"}`},
		{"0.14 scan", func() answer { return post("/api/scan", `{"name":"s14","metadata":{"b":2}}`) }, `{"message":"Scan 's14' created successfully.","id":"s14"}`},
		{"0.14 scan by path", func() answer { return post("/scans/other", "") }, `{"message":"Scan created successfully","scan_id":"other"}`},
		{"0.14 fileset", func() answer { return post("/api/fileset", `{"fileset_id":"images","scan_id":"s14"}`) }, `{"message":"Fileset 'images' created successfully in 's14'.","id":"images"}`},
		{"0.14 file", func() answer {
			return s.olderUpload(token, "scan_id=s14", "fileset_id=images", "file_id=one", "ext=.JPG", `metadata={"n": 1}`, "file=bytes")
		}, `{"message":"File 'one.jpg' created and written successfully in fileset 'images'.","id":"one"}`},
		{"0.14 file, the rest behind it", func() answer {
			return s.olderUpload(token, "scan_id=s14", "fileset_id=images", "file_id=two", "file=more", "ext=txt", "metadata={'n': None}")
		}, `{"message":"File 'two.txt' created and written successfully in fileset 'images'.","id":"two"}`},
	} {
		if a := tt.answer(); a.status != http.StatusCreated || string(a.body) != tt.want+"\n" {
			t.Errorf("%s = %d %s, want 201 %s", tt.what, a.status, a.body, tt.want)
		}
	}
	for path, want := range map[string]string{
		"/api/v1/files/s14/images/one":                `bytes`,
		"/api/v1/files/s14/images/two.txt":            `more`,
		"/api/v1/files/s14/images/one/metadata?key=n": `{"metadata":1}` + "\n",
		"/api/v1/files/s14/images/two/metadata?key=n": `{"metadata":null}` + "\n",
		"/api/v1/scans/s14/metadata?key=b":            `{"metadata":2}` + "\n",
		"/api/v1/scans/s15/metadata?key=a":            `{"metadata":1}` + "\n",
		"/api/v1/files/s15/images/one":                `x`,
	} {
		if a := s.get(path); string(a.body) != want {
			t.Errorf("GET %s = %s, want %s", path, a.body, want)
		}
	}
	for _, path := range []string{
		"/scan/s15/metadata", "/api/scan/s15/metadata", "/fileset/s15/images/metadata", "/api/fileset/s15/images/metadata",
		"/file/s15/images/one/metadata", "/api/file/s15/images/one/metadata",
	} {
		if a := post(path, `{"metadata":{"by":"`+path+`"},"replace":false}`); a.status != http.StatusOK || a.json(t)["metadata"].(map[string]any)["by"] != path {
			t.Errorf("POST %s = %d %s, want the metadata with what was set", path, a.status, a.body)
		}
	}
}

// olderUpload posts a form of the fields name=value in this order.
func (s *site) olderUpload(token string, fields ...string) answer {
	s.t.Helper()
	body, contentType := orderedForm(fields...)
	return s.do(http.MethodPost, "/api/file", body, bearer(token), header{"Content-Type", contentType})
}

func orderedForm(fields ...string) (body, contentType string) {
	const boundary = "b0undary"
	var text strings.Builder
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		file := ""
		if name == "file" {
			file = `; filename="x"`
		}
		text.WriteString("--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + name + "\"" + file + "\r\n\r\n" + value + "\r\n")
	}
	text.WriteString("--" + boundary + "--\r\n")
	return text.String(), "multipart/form-data; boundary=" + boundary
}

// The refusals that older clients know by their text, and those in which the
// generations differ.
func TestOlderErrors(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	token, _ := s.login("carol")
	reader, _ := s.login("rita")
	s.made(s.do(http.MethodPost, "/scan/odd", "", bearer(token)))
	s.made(s.do(http.MethodPost, "/fileset/odd/CurveSkeleton", "", bearer(token)))
	post := func(path, body string, headers ...header) answer {
		return s.do(http.MethodPost, path, body, append(headers, bearer(token))...)
	}
	form := func(fields ...string) answer { return s.olderUpload(token, fields...) }
	for _, tt := range []struct {
		what    string
		answer  answer
		status  int
		message string
	}{
		{"0.15 scan", s.get("/scan/nope"), 404, "Unknown scan id 'nope'!"},
		{"0.15 cloud of no scan", s.get("/pointcloud/nope/a/b"), 404, "Unknown scan id 'nope'!"},
		{"0.15 mesh of no fileset", s.get("/mesh/odd/nope/b"), 404, "Unknown fileset id 'nope' in scan 'odd'!"},
		{"0.15 truth of no file", s.get("/pcGroundTruth/odd/CurveSkeleton/b"), 404, "Unknown file id 'b' in scan/fileset 'odd/CurveSkeleton'!"},
		{"0.15 skeleton of no scan", s.get("/skeleton/nope"), 400, "Scan 'nope' not found!"},
		{"0.15 sequence of no scan", s.get("/sequence/nope"), 404, "Scan 'nope' not found!"},
		{"0.15 no task", s.get("/skeleton/real_plant"), 404, "No 'CurveSkeleton' fileset mapped!"},
		{"0.15 no file", s.get("/skeleton/odd"), 404, "No 'CurveSkeleton' file found!"},
		{"0.15 archive", s.get("/archive/nope"), 404, "Could not find a scan named `nope`!"},
		{"0.15 bad metadata", s.upload("/file/odd/CurveSkeleton/x", token, []byte("x"), map[string]string{"ext": "txt", "metadata": "{oops"}), 400,
			"Invalid metadata format – must be JSON or a Python dict string"},
		{"0.15 refresh token", s.do(http.MethodPost, "/token-refresh", "{}", asJSON), 400, "Missing refresh_token"},
		{"0.14 scan", s.get("/api/scan/nope/metadata"), 404, "Scan not found"},
		{"0.14 page", s.get("/scans/nope"), 404, "Scan not found"},
		{"0.14 filesets", s.get("/api/scan/nope/filesets"), 404, "Scan not found"},
		{"0.14 fileset", s.get("/api/fileset/odd/nope/metadata"), 404, "Fileset not found"},
		{"0.14 file", s.get("/api/file/odd/CurveSkeleton/nope/metadata"), 404, "File not found"},
		{"0.14 no data", post("/api/scan", ""), 400, "No input data provided"},
		{"0.14 no name", post("/api/scan", `{"metadata":{"a":1}}`, asJSON), 400, "Name is required"},
		{"0.14 taken", post("/api/scan", `{"name":"odd"}`, asJSON), 409, "Scan id 'odd' already exists!"},
		{"0.14 bad name", post("/api/scan", `{"name":"../odd"}`, asJSON), 400, "Invalid scan identifier '../odd'!"},
		{"0.14 no fileset data", post("/api/fileset", "{}", asJSON), 400, "No input data provided"},
		{"0.14 no fileset", post("/api/fileset", `{"scan_id":"odd"}`, asJSON), 400, "Name is required"},
		{"0.14 no scan of the fileset", post("/api/fileset", `{"fileset_id":"x"}`, asJSON), 400, "Scan ID is required"},
		{"0.14 fileset of no scan", post("/api/fileset", `{"fileset_id":"x","scan_id":"nope"}`, asJSON), 404, "Scan not found"},
		{"0.14 no form", post("/api/file", "{}", asJSON), 400, "No file provided"},
		{"0.14 no file", form("scan_id=odd", "fileset_id=CurveSkeleton", "file_id=x", "ext=txt"), 400, "No file provided"},
		{"0.14 no ids", form("scan_id=odd", "file=x"), 400, "Missing before the file: file_id, fileset_id"},
		{"0.14 no ext", form("scan_id=odd", "fileset_id=CurveSkeleton", "file_id=x", "file=x"), 400, "'ext' field is required"},
		{"0.14 two files", form("scan_id=odd", "fileset_id=CurveSkeleton", "file_id=x", "file=x", "file=y"), 400, "More than one file provided"},
		{"0.14 no fileset of the file", form("scan_id=odd", "fileset_id=nope", "file_id=x", "file=x"), 404, "Fileset not found"},
		{"0.14 without a token", s.do(http.MethodPost, "/api/scan", `{"name":"x"}`, asJSON), 401, "No authenticated user!"},
		{"0.14 by a reader", s.do(http.MethodPost, "/api/scan", `{"name":"x"}`, asJSON, bearer(reader)), 403, "User rita does not have required permissions to use create_scan"},
	} {
		if v := tt.answer.json(t); tt.answer.status != tt.status || v["message"] != tt.message || v["error"] != tt.message {
			t.Errorf("%s = %d %s, want %d %q", tt.what, tt.answer.status, tt.answer.body, tt.status, tt.message)
		}
	}
	if left := staged(t, s.dir); len(left) > 0 {
		t.Errorf("staging holds %v, want nothing", left)
	}
}

// By fileset and file any PLY file is sent, and nothing else.
func TestOlderModelsAreModels(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	for _, path := range []string{"/mesh/", "/pointcloud/", "/pcGroundTruth/"} {
		for _, query := range []string{"", "?size=orig", "?size=2", "?coords=true"} {
			wantProblem(t, path+query, s.get(path+"real_plant/images/00000_rgb"+query), http.StatusUnprocessableEntity, ply.ErrDamaged.Code)
		}
	}
}

// A range in a unit that is not known is none, and the case of one that is does
// not matter.
func TestRangesOfUnknownUnits(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	for _, path := range []string{
		"/files/real_plant/images/00000_rgb", "/assets/image/real_plant/images/00000_rgb?size=orig", "/assets/image/real_plant/images/00000_rgb",
		"/assets/archive/real_plant", "/assets/files/real_plant/files.json",
	} {
		whole := s.get("/api/v1" + path)
		for _, asked := range []string{"items=1-2", "lines", "x=bytes=0-1"} {
			if a := s.do(http.MethodGet, "/api/v1"+path, "", header{"Range", asked}); a.status != http.StatusOK || !bytes.Equal(a.body, whole.body) {
				t.Errorf("GET %s, Range: %s = %d, %d bytes, want the whole", path, asked, a.status, len(a.body))
			}
		}
		if a := s.do(http.MethodGet, "/api/v1"+path, "", header{"Range", "Bytes=1-4"}); a.status != http.StatusPartialContent || !bytes.Equal(a.body, whole.body[1:5]) {
			t.Errorf("GET %s, Range: Bytes=1-4 = %d %q", path, a.status, a.body)
		}
	}
}

// Where the link cannot name all of the successor, it leads as far as it can.
func TestLinkOfBodies(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates, Prefix: "/plantdb"})
	token, _ := s.login("carol")
	for path, want := range map[string]string{"/api/scan": "/scans", "/api/fileset": "/filesets", "/api/file": "/files"} {
		a := s.do(http.MethodPost, path, "", bearer(token))
		if link := a.header.Get("Link"); link != "</plantdb/api/v1"+want+`>; rel="successor-version"` {
			t.Errorf("POST %s: Link %q, want one to %s", path, link, want)
		}
	}
	if a := s.get("/plantdb/scan/real_plant"); a.json(t)["thumbnailUri"] != "/image/real_plant/images/00000_rgb?size=thumb" {
		t.Errorf("thumbnailUri = %v, want it without prefix", a.json(t)["thumbnailUri"])
	}
}

// A site with old scanners can name a user who writes for them, on the paths
// of 0.14 and nowhere else.
func TestLegacyWriter(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates, LegacyWriter: "carol"})
	reader, _ := s.login("rita")
	create := func(path, body string, headers ...header) answer {
		return s.do(http.MethodPost, path, body, append(headers, asJSON)...)
	}
	s.made(create("/api/scan", `{"name":"plain"}`))
	if v := s.get("/scan/plain/metadata?key=owner").json(t); v["metadata"] != "carol" {
		t.Errorf("owner = %v, want carol", v["metadata"])
	}
	s.made(create("/api/fileset", `{"scan_id":"plain","fileset_id":"images"}`, bearer("None")))
	s.made(s.olderUpload("", "scan_id=plain", "fileset_id=images", "file_id=x", "ext=txt", "file=x"))
	s.made(create("/scans/other", ""))
	wantProblem(t, "a token wins", create("/api/scan", `{"name":"x"}`, bearer(reader)), http.StatusForbidden, "forbidden")
	wantProblem(t, "a bad token wins", create("/api/scan", `{"name":"x"}`, bearer("bad")), http.StatusUnauthorized, "token_malformed")
	for _, path := range []string{"/scan/x", "/api/v1/scans/x", "/fileset/plain/x"} {
		wantProblem(t, path, create(path, ""), http.StatusUnauthorized, "token_missing")
	}
	// Reading stays the guest's.
	s.made(create("/api/scan", `{"name":"own","metadata":{"visibility":"private"}}`))
	wantProblem(t, "private", s.get("/api/scan/own/metadata"), http.StatusNotFound, "unknown_scan")

	unknown := newSite(t, api.Config{LegacyWriter: "nobody"})
	want401(t, "a writer who is nobody", unknown.do(http.MethodPost, "/api/scan", `{"name":"x"}`, asJSON))
}

// Who is refused at an older path is told where it is now, as all others are.
func TestOlderRefusalsSayWhereItIs(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	f := newForbidden(s)
	refused := 0
	for _, op := range operations(t, "openapi-legacy.json") {
		path, headers := f.example(op)
		body, contentType := f.body(op)
		a := s.do(op.Method, path, body, append(headers, header{"Content-Type", contentType})...)
		if a.status != http.StatusUnauthorized {
			continue
		}
		refused++
		if a.header.Get("Deprecation") != "true" || !strings.Contains(a.header.Get("Link"), `rel="successor-version"`) {
			t.Errorf("%s %s without a token = %d, Deprecation %q, Link %q", op.Method, path, a.status, a.header.Get("Deprecation"), a.header.Get("Link"))
		}
	}
	if refused < 10 {
		t.Errorf("%d older operations refuse who has no token, want all that need one", refused)
	}
}
