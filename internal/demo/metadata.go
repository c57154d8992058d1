package demo

import (
	"fmt"
	"time"
)

// object is a JSON object; its keys are written sorted, as upstream does.
type object = map[string]any

// box is an axis-parallel box.
type box struct{ lo, hi Point }

func boxOf(points []Point) box {
	b := box{points[0], points[0]}
	for _, p := range points {
		for k, x := range p {
			b.lo[k], b.hi[k] = min(b.lo[k], x), max(b.hi[k], x)
		}
	}
	return box{b.lo.round(1e3), b.hi.round(1e3)}
}

func (b box) json() object {
	return object{
		"x": [2]float64{b.lo[0], b.hi[0]},
		"y": [2]float64{b.lo[1], b.hi[1]},
		"z": [2]float64{b.lo[2], b.hi[2]},
	}
}

// voxelBox is the volume that the pipeline of the real scans carves.
var voxelBox = box{Point{300, 300, -175}, Point{450, 450, 100}}

func scanPath(p circle) object {
	return object{"class_name": "Circle", "kwargs": object{
		"center_x": p.x, "center_y": p.y, "z": p.z, "tilt": p.tilt, "radius": p.radius, "n_points": p.shots,
	}}
}

func hardware() object {
	return object{
		"camera_firmware": "sony_wifi", "camera_hardware": "RX0", "cnc_firmware": "grbl-v1.1",
		"cnc_hardware": "X-Carve", "frame": "30profile v2", "gimbal_firmware": "custom", "gimbal_hardware": "blgimbal",
	}
}

// bareMetadata is that of a scan whose description stands with its images.
func bareMetadata(recipe) map[string]any { return object{} }

// scannerImages is what the imager of before 2026 wrote: what was scanned, by
// what and when, all beside the images.
func scannerImages(box) map[string]any {
	return object{
		"acquisition_date": "2023-12-15 16:37:15",
		"channels":         []string{"rgb"},
		"hardware":         hardware(),
		"object": object{
			"DAG": 40, "environment": "Lyon indoor", "experiment_id": "sample_01", "growth_conditions": "LD+SD",
			"growth_environment": "Lyon indoor", "plant_id": "Col-0_A1", "sample": "main stem",
			"seed_stock": "Col-0", "species": "Arabidopsis thaliana", "treatment": "None",
		},
		"task_params": object{"fileset_id": "images", "output_file_id": "out", "scan_id": ""},
		"workspace":   object{"x": [2]int{340, 440}, "y": [2]int{330, 410}, "z": [2]int{-180, 105}},
	}
}

// legacyMetadata is the older form, with the description in the scan itself.
func legacyMetadata(r recipe) map[string]any {
	images := scannerImages(box{})
	return object{
		"ScanPath":         scanPath(r.path),
		"acquisition_date": images["acquisition_date"],
		"hardware":         images["hardware"],
		"object":           images["object"],
	}
}

func plainImages(box) map[string]any {
	return object{
		"channels":    []string{"rgb"},
		"task_params": object{"fileset_id": "images", "output_file_id": "out", "scan_id": ""},
		"workspace":   voxelBox.json(),
	}
}

// miappe is the description in the sections of 0.16 and later.
func miappe(investigation, study, plant string, age int) object {
	return object{
		"investigation": object{
			"identifier": investigation, "title": "Phyllotaxis of Arabidopsis",
			"description": "Divergence angles and internodes along the main stem.",
		},
		"study": object{
			"identifier": study, "title": "Sample study", "startDate": "2026-03-02", "endDate": nil,
			"growthFacility":      object{"name": "Lyon indoor", "country": "FR"},
			"environment":         object{"photoperiod": "16 h light, 8 h dark"},
			"experimentalDesign":  object{"type": "completely randomized"},
			"experimentalFactors": object{"treatment": "none"},
		},
		"biologicalMaterial": object{
			"biologicalMaterialId": plant,
			"organism":             object{"genus": "Arabidopsis", "species": "Arabidopsis thaliana"},
			"materialSource":       object{"id": "N1092", "name": "Col-0"},
			"ageDays":              age,
			"sample":               "main stem",
		},
		"observedVariable": object{"trait": "divergence angle", "method": "circular scan", "scale": "degree"},
	}
}

func miappeMetadata(r recipe) map[string]any {
	m := miappe("sample", "virtual_01", "virtual_A", 45)
	m["study"].(object)["growthFacility"] = object{"name": "virtual", "country": nil}
	m["workspace"] = box{r.plant.base.add(Point{-150, -150, 0}), r.plant.base.add(Point{150, 150, 250})}.json()
	m["acquisition_date"] = "2026-07-02 13:34:09"
	return m
}

func virtualImages(b box) map[string]any {
	channels := append([]string{"rgb"}, channelNames[stemLabel:]...)
	return object{
		"bounding_box": b.json(),
		"channels":     append(channels, channelNames[background]),
		"task_params":  object{"use_palette": true, "render_ground_truth": true},
	}
}

// firstMetadata is the oldest form, before channels and shot ids.
func firstMetadata(recipe) map[string]any {
	return object{
		"object": object{
			"environment": "virtual", "plant_id": "arabidopsis000", "species": "Arabidopsis Thaliana",
		},
		"scanner": object{"workspace": object{"x": [2]int{-200, 200}, "y": [2]int{-200, 200}, "z": [2]int{10, 1000}}},
	}
}

func firstImages(box) map[string]any { return object{"channels": []string{"rgb"}} }

// growthStart is when the first scan of the timelapse was due.
var growthStart = time.Date(2026, time.March, 30, 10, 0, 0, 0, time.UTC)

func growthMetadata(age int) func(recipe) map[string]any {
	return func(r recipe) map[string]any {
		due := growthStart.AddDate(0, 0, 7*age)
		taken := due.Add(2*time.Minute + 13*time.Second)
		m := miappe("sample", "growth_01", "growth_A", 28+7*age)
		m["ScanPath"] = scanPath(r.path)
		m["acquisition_date"] = taken.Format(time.DateTime)
		m["created"] = taken.Format("2006-01-02T15:04:05.000000")
		m["last_modified"] = m["created"]
		m["hardware"] = hardware()
		m["timelapse"] = object{"id": growthSeries, "index": age, "scheduled": due.Format(time.RFC3339)}
		return m
	}
}

// marker is the content of a timelapse.json, in upstream's order of keys.
type marker struct {
	ID        string   `json:"id"`
	CreatedAt string   `json:"created_at"`
	Owner     *string  `json:"owner"`
	Scans     []string `json:"scans"`
	Metadata  object   `json:"metadata"`
}

func growthMarker(scans []string) marker {
	const stamp = "2026-03-30T09:55:00.000000"
	return marker{ID: growthSeries, CreatedAt: stamp, Scans: scans, Metadata: object{
		"description": "One plant, a scan a week", "interval_days": 7, "last_modified": stamp,
	}}
}

// cameraModel describes the lens as COLMAP does.
func cameraModel(cam Camera, width, height int) object {
	f := cam.Focal(width)
	return object{
		"id": 1, "model": "OPENCV", "width": width, "height": height,
		"params": []float64{f, f, float64(width) / 2, float64(height) / 2, 0, 0, 0, 0},
	}
}

// shotMetadata is the metadata of the image in a channel of a shot.
func (r recipe) shotMetadata(cam Camera, shot int, channel string, width, height int) object {
	if r.kind == firstImager {
		p := cam.Planned
		return object{"channel": channel, "pose": []float64{p[0], p[1], p[2], p[3], p[4]}}
	}
	m := object{
		"approximate_pose": cam.Planned,
		"channel":          channel,
		"shot_id":          fmt.Sprintf("%06d", shot),
	}
	seen := object{"camera_model": cameraModel(cam, width, height), "rotmat": cam.Rotmat, "tvec": cam.Tvec}
	if r.kind == virtualImager {
		m["camera"] = seen
	} else {
		m["pose"] = cam.Planned
	}
	if r.analyzed {
		m["colmap_camera"] = seen
		m["calibrated_pose"] = cam.Centre().round(1e6)
		m["pose_estimation"] = "correct"
	}
	return m
}
