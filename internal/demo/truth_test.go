package demo

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func truthOf(t *testing.T, scan string) Plant {
	t.Helper()
	p, ok := Truth(scan)
	if !ok {
		t.Fatalf("Truth(%q) = false, want true", scan)
	}
	return p
}

func TestTruthOfUnknownScan(t *testing.T) {
	t.Parallel()
	if _, ok := Truth("growth_series"); ok {
		t.Error(`Truth("growth_series") = true, want false: it is a timelapse`)
	}
}

// measured recomputes angles and internodes from the fruits' points and the
// stem alone: the direction of each pedicel across the stem, turned onto the
// next one about the stem between them.
func measured(p Plant) (angles, internodes []float64) {
	stem := newCurve(p.Stem)
	place := func(q Point) (float64, Point) {
		best, at, axis := math.Inf(1), 0.0, Point{}
		for i := 1; i < len(p.Stem); i++ {
			ab := p.Stem[i].sub(p.Stem[i-1])
			k := min(max(q.sub(p.Stem[i-1]).dot(ab)/ab.dot(ab), 0), 1)
			if d := q.sub(p.Stem[i-1].mix(p.Stem[i], k)).length(); d < best {
				best, at, axis = d, stem.at[i-1]+k*ab.length(), ab.unit()
			}
		}
		return at, axis
	}
	var before float64
	var last Point
	for i, line := range p.FruitPoints {
		at, axis := place(line[0])
		d := line[3].sub(line[0])
		across := d.sub(axis.scale(d.dot(axis))).unit()
		if i > 0 {
			angle := math.Atan2(axis.dot(last.cross(across)), last.dot(across)) * 180 / math.Pi
			angles = append(angles, math.Mod(angle+360, 360))
			internodes = append(internodes, at-before)
		}
		before, last = at, across
	}
	return angles, internodes
}

func TestMeasuresFollowFromThePlant(t *testing.T) {
	t.Parallel()
	for _, r := range recipes() {
		p := truthOf(t, r.id)
		if n := len(p.FruitPoints); n < 2 || len(p.Angles) != n-1 || len(p.Internodes) != n-1 {
			t.Fatalf("%s: %d fruits, %d angles, %d internodes", r.id, n, len(p.Angles), len(p.Internodes))
		}
		angles, internodes := measured(p)
		for i := range angles {
			if math.Abs(angles[i]-p.Angles[i]) > 1 {
				t.Errorf("%s: angle %d = %.2f from the fruits, %.2f in the model", r.id, i, angles[i], p.Angles[i])
			}
			if math.Abs(internodes[i]-p.Internodes[i]) > 0.05 {
				t.Errorf("%s: internode %d = %.2f from the fruits, %.2f in the model", r.id, i, internodes[i], p.Internodes[i])
			}
		}
		var sum float64
		for _, a := range p.Angles {
			sum += a
		}
		if mean := sum / float64(len(p.Angles)); math.Abs(mean-meanDivergence) > 10 {
			t.Errorf("%s: mean divergence = %.1f, want about 137.5", r.id, mean)
		}
	}
}

func TestGrowthKeepsWhatHasGrown(t *testing.T) {
	t.Parallel()
	ids := []string{"growth_day_28", "growth_day_35", "growth_day_42"}
	for i := 1; i < len(ids); i++ {
		younger, older := truthOf(t, ids[i-1]), truthOf(t, ids[i])
		if len(older.Angles) <= len(younger.Angles) || !slices.Equal(older.Angles[:len(younger.Angles)], younger.Angles) {
			t.Errorf("%s angles %v do not continue those of %s %v", ids[i], older.Angles, ids[i-1], younger.Angles)
		}
		if a, b := newCurve(younger.Stem).length(), newCurve(older.Stem).length(); b < a+30 {
			t.Errorf("stem of %s = %.0f mm, want well over %.0f", ids[i], b, a)
		}
	}
}

func TestCamerasAreRigidAndWhereTheyShouldBe(t *testing.T) {
	t.Parallel()
	for _, r := range recipes() {
		for _, c := range truthOf(t, r.id).Cameras {
			for i, a := range c.Rotmat {
				for j, b := range c.Rotmat {
					want := 0.0
					if i == j {
						want = 1
					}
					if got := a.dot(b); math.Abs(got-want) > 1e-8 {
						t.Errorf("%s %s: rows %d and %d have product %v", r.id, c.ID, i, j, got)
					}
				}
			}
			if handed := c.Rotmat[0].cross(c.Rotmat[1]).dot(c.Rotmat[2]); handed < 0.99 {
				t.Errorf("%s %s: determinant %v, want 1", r.id, c.ID, handed)
			}
			planned := Point{c.Planned[0], c.Planned[1], c.Planned[2]}
			if d := c.Centre().sub(planned).length(); d > 1.4 || (r.kind != realImager && d > 1e-4) {
				t.Errorf("%s %s stands %.3f mm off its mark", r.id, c.ID, d)
			}
			if c.Rotmat[1][2] >= 0 || c.Rotmat[2][2] >= 0 {
				t.Errorf("%s %s: y points %v, z %v; want both downwards", r.id, c.ID, c.Rotmat[1], c.Rotmat[2])
			}
		}
	}
}

// TestPlantIsWhereTheCamerasSayItIs projects the skeleton and the fruits with
// the poses in the metadata and looks at the pixels there, in the mask and in
// the photo.
func TestPlantIsWhereTheCamerasSayItIs(t *testing.T) {
	t.Parallel()
	const width, height = 480, 360
	dir := write(t, width, height, "real_plant_analyzed", "virtual_plant_analyzed")
	for _, scan := range []string{"real_plant_analyzed", "virtual_plant_analyzed"} {
		points := plantPoints(t, filepath.Join(dir, scan))
		masks := taskDir(t, filepath.Join(dir, scan), "Masks")
		drop := newBackdrop(width, height)
		for i := range truthOf(t, scan).Cameras {
			id := imageID(i, "rgb")
			mask := decode(t, png.Decode, masks, id+".png")
			photo := decode(t, jpeg.Decode, dir, scan, "images", id+".jpg")
			var sidecar struct {
				Colmap struct {
					Model  struct{ Params []float64 } `json:"camera_model"`
					Rotmat [3]Point
					Tvec   Point
				} `json:"colmap_camera"`
			}
			readJSON(t, &sidecar, dir, scan, "metadata", "images", id+".json")
			cam := sidecar.Colmap
			for _, p := range points {
				q := Camera{Rotmat: cam.Rotmat, Tvec: cam.Tvec}.view(p)
				u := int(math.Floor(cam.Model.Params[0]*q[0]/q[2] + cam.Model.Params[2]))
				v := int(math.Floor(cam.Model.Params[1]*q[1]/q[2] + cam.Model.Params[3]))
				if !near(mask, u, v) {
					t.Errorf("%s %s: %v falls on (%d, %d), which the mask calls background", scan, id, p, u, v)
				}
				if like := drop.colour[v*width+u]; !unlike(photo, u, v, like) {
					t.Errorf("%s %s: %v falls on (%d, %d), where the photo shows the wall", scan, id, p, u, v)
				}
			}
		}
	}
}

// plantPoints returns the nodes of the skeleton and the points of the fruits,
// as the files have them.
func plantPoints(t *testing.T, scan string) []Point {
	t.Helper()
	var bones struct {
		Points []Point
		Lines  [][2]int
	}
	readJSON(t, &bones, taskDir(t, scan, "CurveSkeleton"), "CurveSkeleton.json")
	var measures struct {
		Angles, Internodes []float64
		FruitPoints        [][]Point `json:"fruit_points"`
	}
	readJSON(t, &measures, taskDir(t, scan, "AnglesAndInternodes"), "AnglesAndInternodes.json")
	truth := truthOf(t, filepath.Base(scan))
	if !slices.Equal(measures.Angles, truth.Angles) || !slices.Equal(measures.Internodes, truth.Internodes) {
		t.Errorf("%s: measures differ from the model", scan)
	}
	points := bones.Points
	for i, line := range measures.FruitPoints {
		if !slices.Equal(line, truth.FruitPoints[i]) {
			t.Errorf("%s: fruit %d differs from the model", scan, i)
		}
		points = append(points, line...)
	}
	return points
}

func decode(t *testing.T, with func(r io.Reader) (image.Image, error), parts ...string) image.Image {
	t.Helper()
	m, err := with(bytes.NewReader(readFile(t, parts...)))
	if err != nil {
		t.Fatalf("%s: %v", filepath.Join(parts...), err)
	}
	return m
}

// near says whether the mask is set within a pixel of (u, v): a pedicel is
// about a pixel thick.
func near(mask image.Image, u, v int) bool {
	for y := v - 1; y <= v+1; y++ {
		for x := u - 1; x <= u+1; x++ {
			if r, _, _, _ := mask.At(x, y).RGBA(); r > 0 {
				return true
			}
		}
	}
	return false
}

// unlike says whether a pixel within one of (u, v) differs from c by more than
// noise, dark corners and compression do.
func unlike(photo image.Image, u, v int, c [3]uint8) bool {
	for y := v - 1; y <= v+1; y++ {
		for x := u - 1; x <= u+1; x++ {
			r, g, b, _ := photo.At(x, y).RGBA()
			off := math.Abs(float64(r>>8)-float64(c[0])) + math.Abs(float64(g>>8)-float64(c[1])) + math.Abs(float64(b>>8)-float64(c[2]))
			if off > 14 {
				return true
			}
		}
	}
	return false
}

func TestCloudsAndMeshAgreeWithThePlant(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(write(t, 32, 24, "virtual_plant_analyzed"), "virtual_plant_analyzed")
	mesh := parsePLY(t, readFile(t, taskDir(t, dir, "TriangleMesh"), "TriangleMesh.ply"))
	cloud := parsePLY(t, readFile(t, taskDir(t, dir, "PointCloud"), "PointCloud.ply"))
	exact := parsePLY(t, readFile(t, taskDir(t, dir, "PointCloudGroundTruth"), "PointCloudGroundTruth.ply"))
	parts := parsePLY(t, readFile(t, taskDir(t, dir, "SegmentedPointCloud"), "SegmentedPointCloud.ply"))
	if len(mesh.tri) < 5000 || len(cloud.pos) != cloudSize || len(parts.pos) != cloudSize {
		t.Fatalf("%d triangles, %d and %d points", len(mesh.tri), len(cloud.pos), len(parts.pos))
	}
	for i := 0; i < cloudSize; i += 40 {
		if d := toMesh(cloud.pos[i], mesh); d > cloudNoise+0.01 {
			t.Errorf("point %d lies %.2f mm off the mesh", i, d)
		}
		if d := toMesh(exact.pos[i], mesh); d > 0.001 {
			t.Errorf("ground truth %d lies %.4f mm off the mesh", i, d)
		}
	}
	p := truthOf(t, "virtual_plant_analyzed")
	stemHue := [3]uint8{shown(0.02), shown(0.55), shown(0.05)}
	fruitHue := [3]uint8{shown(0.05), shown(0.15), shown(0.85)}
	var stems, fruits int
	for i, q := range parts.pos {
		switch parts.colour[i] {
		case stemHue:
			stems++
			if d := toLine(q, p.Stem); d > stemRadius(0)+cloudNoise {
				t.Errorf("stem point %d lies %.2f mm from the axis", i, d)
			}
		case fruitHue:
			fruits++
			best := math.Inf(1)
			for _, line := range p.FruitPoints {
				best = min(best, toLine(q, line))
			}
			if best > 1.1+cloudNoise {
				t.Errorf("fruit point %d lies %.2f mm from any fruit", i, best)
			}
		}
	}
	if stems < 500 || fruits < 500 {
		t.Errorf("%d stem and %d fruit points, want hundreds", stems, fruits)
	}
}

// toMesh returns the distance of p from the nearest triangle.
func toMesh(p Point, m parsedPLY) float64 {
	best := math.Inf(1)
	for _, t := range m.tri {
		a, b, c := m.pos[t[0]], m.pos[t[1]], m.pos[t[2]]
		if math.Abs(a[2]-p[2])-best > 12 { // no triangle is as large
			continue
		}
		n := b.sub(a).cross(c.sub(a)).unit()
		inside := true
		for _, e := range [3][2]Point{{a, b}, {b, c}, {c, a}} {
			inside = inside && e[1].sub(e[0]).cross(p.sub(e[0])).dot(n) >= 0
		}
		if inside {
			best = min(best, math.Abs(p.sub(a).dot(n)))
			continue
		}
		best = min(best, toSegment(p, a, b), toSegment(p, b, c), toSegment(p, c, a))
	}
	return best
}

func TestManualMeasuresAreRoundedTruth(t *testing.T) {
	t.Parallel()
	dir := write(t, 32, 24, "real_plant_analyzed")
	var got struct{ Angles, Internodes []float64 }
	readJSON(t, &got, dir, "real_plant_analyzed", "measures.json")
	p := truthOf(t, "real_plant_analyzed")
	if len(got.Angles) != len(p.Angles) || len(got.Internodes) != len(p.Internodes) {
		t.Fatalf("%d angles, %d internodes, want %d", len(got.Angles), len(got.Internodes), len(p.Angles))
	}
	for i := range p.Angles {
		if d := math.Abs(got.Angles[i]*180/math.Pi - p.Angles[i]); d > 2.5+1e-9 {
			t.Errorf("angle %d is %.2f degrees off, want at most half a step of 5", i, d)
		}
		if d := math.Abs(got.Internodes[i] - p.Internodes[i]); d > 0.5+1e-9 {
			t.Errorf("internode %d is %.2f mm off, want at most 0.5", i, d)
		}
	}
}

func TestTreeGraphIsATree(t *testing.T) {
	t.Parallel()
	bones := realSpecimen.grow().skeleton()
	state := unpickle(t, bones.pickle())
	nodes, adjacent := state["_node"].(map[any]any), state["_adj"].(map[any]any)
	if len(nodes) != len(bones.points) || len(adjacent) != len(nodes) || len(bones.lines) != len(nodes)-1 {
		t.Fatalf("%d nodes, %d in _adj, %d lines, %d points", len(nodes), len(adjacent), len(bones.lines), len(bones.points))
	}
	for i, p := range bones.points {
		attributes := nodes[i].(map[any]any)
		if got := fmt.Sprint(*attributes["position"].(*[]any)); got != fmt.Sprint(p) {
			t.Errorf("node %d at %s, want %v", i, got, p)
		}
	}
	seen := map[any]bool{}
	var visit func(i any)
	visit = func(i any) {
		seen[i] = true
		for j := range adjacent[i].(map[any]any) {
			if _, back := adjacent[j].(map[any]any)[i]; !back {
				t.Errorf("edge %v-%v has no way back", i, j)
			}
			if !seen[j] {
				visit(j)
			}
		}
	}
	visit(0)
	if len(seen) != len(nodes) {
		t.Errorf("%d of %d nodes hang together", len(seen), len(nodes))
	}
}

func TestColmapModelIsConsistent(t *testing.T) {
	t.Parallel()
	dir := taskDir(t, filepath.Join(write(t, 96, 72, "virtual_plant_analyzed"), "virtual_plant_analyzed"), "Colmap")
	var images map[string]sparseImage
	var points map[string]sparsePoint
	readJSON(t, &images, dir, "images.json")
	readJSON(t, &points, dir, "points3d.json")
	cams := truthOf(t, "virtual_plant_analyzed").Cameras
	if len(images) != len(cams) || len(points) < sparsePoints {
		t.Fatalf("%d images, %d points", len(images), len(points))
	}
	for i, cam := range cams {
		im := images[fmt.Sprint(i+1)]
		if strings.TrimSuffix(im.Name, ".jpg") != cam.ID || len(im.XYs) != len(im.Points) || len(im.XYs) < 50 {
			t.Errorf("image %d is %q with %d points", i+1, im.Name, len(im.XYs))
		}
		q := im.Qvec // the first row of its rotation, as COLMAP expands it
		row := Point{1 - 2*(q[2]*q[2]+q[3]*q[3]), 2 * (q[1]*q[2] - q[0]*q[3]), 2 * (q[1]*q[3] + q[0]*q[2])}
		if row.sub(cam.Rotmat[0]).length() > 1e-6 {
			t.Errorf("image %d: quaternion gives %v, want %v", i+1, row, cam.Rotmat[0])
		}
		for k, id := range im.Points {
			p := points[fmt.Sprint(id)]
			if n := slices.Index(p.ImageIDs, i+1); n < 0 || p.Point2Ds[n] != k {
				t.Errorf("point %d does not know of image %d", id, i+1)
			}
			u, v, _ := cam.Project(p.XYZ, 96, 72)
			if math.Hypot(u-im.XYs[k][0], v-im.XYs[k][1]) > 0.01 {
				t.Errorf("point %d in image %d at %v, projects to %.2f, %.2f", id, i+1, im.XYs[k], u, v)
			}
		}
	}
}

func TestSincos(t *testing.T) {
	t.Parallel()
	for x := -80.0; x < 80; x += 0.0137 {
		s, c := sincos(x)
		if math.Abs(s-math.Sin(x)) > 1e-11 || math.Abs(c-math.Cos(x)) > 1e-11 {
			t.Errorf("sincos(%v) = %v, %v, want %v, %v", x, s, c, math.Sin(x), math.Cos(x))
		}
	}
}
