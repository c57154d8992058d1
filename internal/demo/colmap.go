package demo

import (
	"fmt"
	"math"
)

// sparsePoints is about how many points the sparse model has.
const sparsePoints = 300

// sparsePoint is a point of a sparse model with the images that it was seen
// in, in COLMAP's names.
type sparsePoint struct {
	ID       int     `json:"id"`
	XYZ      Point   `json:"xyz"`
	RGB      [3]int  `json:"rgb"`
	Error    float64 `json:"error"`
	ImageIDs []int   `json:"image_ids"`
	Point2Ds []int   `json:"point2D_idxs"`
	normal   Point   // not part of the format
	colour   rgb     // nor this
}

// sparseImage is an image of a sparse model.
type sparseImage struct {
	ID       int          `json:"id"`
	Qvec     [4]float64   `json:"qvec"`
	Tvec     Point        `json:"tvec"`
	CameraID int          `json:"camera_id"`
	Name     string       `json:"name"`
	XYs      [][2]float64 `json:"xys"`
	Points   []int        `json:"point3D_ids"`
}

// colmap makes the structure-from-motion output: the true poses, and points of
// the cloud as tracks. A point counts as seen where it faces the camera and
// falls into the image; what stands in front of it is not considered.
func (r recipe) colmap(id string, s *subject, c cloud, width, height int) (fileset, error) {
	cams := r.path.cameras()
	points := sparse(c)
	images := make(map[string]sparseImage, len(cams))
	for i, cam := range cams {
		images[fmt.Sprint(i+1)] = observe(cam, i+1, points, width, height)
	}
	byID := make(map[string]*sparsePoint, len(points))
	var pos, normal []Point
	var colour []rgb
	for _, p := range points {
		byID[fmt.Sprint(p.ID)] = p
		pos, normal, colour = append(pos, p.XYZ), append(normal, p.normal), append(colour, p.colour)
	}
	set := fileset{id: id, meta: taskParams("ImagesFilesetExists", object{"matcher": "exhaustive", "align_pcd": true})}
	set.meta["bounding_box"] = boxOf(s.surface.pos).json()
	for _, out := range []struct {
		name  string
		value any
	}{
		{"cameras.json", object{"1": cameraModel(cams[0], width, height)}},
		{"images.json", images},
		{"points3d.json", byID},
	} {
		data, err := compact(out.value)
		if err != nil {
			return fileset{}, err
		}
		set.files = append(set.files, file{name: out.name, data: data})
	}
	set.files = append(set.files, file{name: "sparse.ply", data: ply(pos, normal, colour, nil)})
	return set, nil
}

// sparse takes every so manieth point of c.
func sparse(c cloud) []*sparsePoint {
	step := max(1, len(c.pos)/sparsePoints)
	var out []*sparsePoint
	for i := 0; i < len(c.pos); i += step {
		p := &sparsePoint{
			ID: len(out) + 1, XYZ: c.pos[i], ImageIDs: []int{}, Point2Ds: []int{},
			normal: c.normal[i], colour: c.colour[i],
		}
		for k, x := range c.colour[i] {
			p.RGB[k] = int(shown(x))
		}
		out = append(out, p)
	}
	return out
}

// observe records in cam's image and in the points which of them it sees.
func observe(cam Camera, id int, points []*sparsePoint, width, height int) sparseImage {
	image := sparseImage{
		ID: id, Qvec: quaternion(cam.Rotmat), Tvec: cam.Tvec, CameraID: 1,
		Name: cam.ID + ".jpg", XYs: [][2]float64{}, Points: []int{},
	}
	for _, p := range points {
		u, v, depth := cam.Project(p.XYZ, width, height)
		facing := cam.Centre().sub(p.XYZ).dot(p.normal) > 0
		if depth <= 0 || !facing || u < 0 || v < 0 || u >= float64(width) || v >= float64(height) {
			continue
		}
		p.ImageIDs = append(p.ImageIDs, id)
		p.Point2Ds = append(p.Point2Ds, len(image.XYs))
		image.XYs = append(image.XYs, [2]float64{roundTo(u, 1e3), roundTo(v, 1e3)})
		image.Points = append(image.Points, p.ID)
	}
	return image
}

// quaternion returns (w, x, y, z) of a rotation, w >= 0.
func quaternion(m [3]Point) [4]float64 {
	root := func(x float64) float64 { return math.Sqrt(max(0, 1+x)) / 2 }
	q := [4]float64{
		root(m[0][0] + m[1][1] + m[2][2]),
		math.Copysign(root(m[0][0]-m[1][1]-m[2][2]), m[2][1]-m[1][2]),
		math.Copysign(root(m[1][1]-m[0][0]-m[2][2]), m[0][2]-m[2][0]),
		math.Copysign(root(m[2][2]-m[0][0]-m[1][1]), m[1][0]-m[0][1]),
	}
	for i := range q {
		q[i] = roundTo(q[i], 1e9)
	}
	return q
}
