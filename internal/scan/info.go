package scan

import (
	"bytes"
	"encoding/json"
	"math"
	"net/url"
	"strings"
	"time"
)

// Info is the object that says all of a scan at a glance: what the list of
// scans shows and where its parts are found. Its keys and their order are
// upstream's. A URI in it begins with uriMark in place of the base below which
// the one who asks finds the API; see WithBase.
type Info struct {
	ID                        string            `json:"id" doc:"Scan id."`
	Metadata                  InfoMetadata      `json:"metadata" doc:"The few facts a list shows."`
	ThumbnailURI              string            `json:"thumbnailUri" doc:"Preview of the first image; empty for a scan without images."`
	Images                    []string          `json:"images" doc:"File names of the colour images."`
	TasksFileset              map[string]string `json:"tasks_fileset" doc:"Task name to fileset id."`
	FilesURI                  InfoURIs          `json:"filesUri" doc:"Where the outputs of the reconstruction tasks are."`
	IsVirtual                 bool              `json:"isVirtual" doc:"Rendered from a model instead of photographed."`
	HasColmap                 bool              `json:"hasColmap" doc:"Colmap has found the camera poses."`
	HasPointCloud             bool              `json:"hasPointCloud" doc:"There is a point cloud."`
	HasTriangleMesh           bool              `json:"hasTriangleMesh" doc:"There is a mesh."`
	HasCurveSkeleton          bool              `json:"hasCurveSkeleton" doc:"There is a curve skeleton."`
	HasTreeGraph              bool              `json:"hasTreeGraph" doc:"There is a tree graph."`
	HasAnglesAndInternodes    bool              `json:"hasAnglesAndInternodes" doc:"The pipeline has measured angles and internodes."`
	HasAutomatedMeasures      bool              `json:"hasAutomatedMeasures" doc:"The same as hasAnglesAndInternodes, for older viewers."`
	HasManualMeasures         bool              `json:"hasManualMeasures" doc:"There are measures by hand: measures.json."`
	HasSegmentation2D         bool              `json:"hasSegmentation2D" doc:"Always false, as upstream has it."`
	HasPcdGroundTruth         bool              `json:"hasPcdGroundTruth" doc:"There is a point cloud of the model that the plant was rendered from."`
	HasPointCloudEvaluation   bool              `json:"hasPointCloudEvaluation" doc:"The point cloud has been compared with the ground truth."`
	HasSegmentedPointCloud    bool              `json:"hasSegmentedPointCloud" doc:"There is a point cloud with the organ of each point."`
	HasSegmentedPcdEvaluation bool              `json:"hasSegmentedPcdEvaluation" doc:"The segmented point cloud has been compared with the ground truth."`
	Error                     bool              `json:"error" doc:"True for a scan that cannot be used; reason says why."`
	Reason                    string            `json:"reason,omitempty" doc:"Why the scan cannot be used."`
	Workspace                 json.RawMessage   `json:"workspace" doc:"Box around the plant in millimetres, {x, y, z: [min, max]}; {} when unknown."`
	Camera                    InfoCamera        `json:"camera" doc:"Camera model and poses; {} before Colmap has run."`
}

// InfoMetadata is the part of an Info that a list of scans shows.
type InfoMetadata struct {
	Date        string    `json:"date" doc:"Acquisition date, else the date of the directory: YYYY-MM-DD HH:MM:SS, no time zone."`
	Species     string    `json:"species" doc:"N/A when unknown."`
	Plant       string    `json:"plant" doc:"N/A when unknown."`
	Environment string    `json:"environment" doc:"N/A when unknown."`
	NbPhotos    int       `json:"nbPhotos" doc:"Number of colour images."`
	Files       InfoFiles `json:"files" doc:"Where its metadata and its archive are."`
}

// InfoFiles says where the metadata and the archive of a scan are.
type InfoFiles struct {
	Metadata string `json:"metadata" doc:"Path of the scan's metadata as JSON."`
	Archive  string `json:"archive" doc:"Path of all files of the scan as a ZIP file."`
}

// InfoURIs says where the outputs of a scan's tasks are; absent ones are left out.
type InfoURIs struct {
	PointCloud string `json:"pointCloud,omitempty" doc:"Path of the point cloud, PLY."`
	Mesh       string `json:"mesh,omitempty" doc:"Path of the mesh, PLY."`
	Skeleton   string `json:"skeleton,omitempty" doc:"Path of the curve skeleton, JSON."`
	Tree       string `json:"tree,omitempty" doc:"Path of the tree graph."`
}

// InfoCamera is what Colmap found out about the camera: nothing, or model and
// poses, be the latter empty.
type InfoCamera struct {
	Model json.RawMessage `json:"model,omitempty" doc:"Colmap's camera model and its parameters, in pixels."`
	Poses []Pose          `json:"poses,omitzero" doc:"A pose for each image that was placed."`
}

// Pose is where the camera was for one image; world to camera, OpenCV axes.
type Pose struct {
	ID           string          `json:"id" doc:"File id of the image."`
	Tvec         json.RawMessage `json:"tvec" doc:"Translation, three numbers in millimetres."`
	Rotmat       json.RawMessage `json:"rotmat" doc:"Rotation, three rows of three."`
	PhotoURI     string          `json:"photoUri" doc:"Path of the image as it was taken."`
	ThumbnailURI string          `json:"thumbnailUri" doc:"Path of the image at 150 pixels."`
}

// uriMark stands in a stored Info for the base of the API.
const uriMark = "\u0001"

// assets is the part of the API that every URI of an Info lies in.
const assets = "/assets/"

// storedURI is how a URI begins in a stored Info: a JSON string, uriMark as
// JSON escapes it, assets. The quote makes sure that the backslash is not one
// of data.
var storedURI = []byte(`"\u0001` + assets)

// WithBase returns a stored info with every URI below base, such as
// "/plantdb/api/v1", which holds nothing that JSON escapes.
func WithBase(info json.RawMessage, base string) json.RawMessage {
	return bytes.ReplaceAll(info, storedURI, []byte(`"`+base+assets))
}

// uri returns a stored URI with these elements below assets.
func uri(elements ...string) string {
	escaped := make([]string, len(elements))
	for i, e := range elements {
		escaped[i] = url.PathEscape(e)
	}
	return uriMark + assets + strings.Join(escaped, "/")
}

// infoSource is all that an Info is made of.
type infoSource struct {
	name        string
	broken      string
	metadata    json.RawMessage
	changedAt   time.Time
	hasMeasures bool
	voxelFloor  *float64
	filesets    []infoFileset
}

type infoFileset struct {
	name     string
	metadata json.RawMessage
	files    []infoFile
}

type infoFile struct {
	name, filename string
	metadata       json.RawMessage
}

// makeInfo says a scan at a glance, and never fails: what cannot be read is
// left out, as a list of a thousand scans must not break over one.
func makeInfo(src infoSource) Info {
	info := Info{
		ID:           src.name,
		Images:       []string{},
		TasksFileset: map[string]string{},
		Workspace:    json.RawMessage("{}"),
		Metadata: InfoMetadata{
			Files: InfoFiles{
				Metadata: uri("files", src.name, "metadata", "metadata.json"),
				Archive:  uri("archive", src.name),
			},
		},
	}
	for _, fs := range src.filesets {
		task, _, _ := strings.Cut(fs.name, "_")
		info.TasksFileset[task] = fs.name
	}
	images := src.fileset("images")
	fillFacts(&info, src, images)
	fillTasks(&info, src)
	fillImages(&info, images)
	info.Workspace = workspace(src, images)
	if src.broken != "" {
		info.Error, info.Reason = true, src.broken
	}
	return info
}

func (src infoSource) fileset(name string) infoFileset {
	for _, fs := range src.filesets {
		if fs.name == name {
			return fs
		}
	}
	return infoFileset{}
}

// has returns the file name of the file with that id in the task's fileset.
func (src infoSource) has(info *Info, task, file string) (filename string, ok bool) {
	for _, f := range src.fileset(info.TasksFileset[task]).files {
		if f.name == file {
			return f.filename, true
		}
	}
	return "", false
}

func fillFacts(info *Info, src infoSource, images infoFileset) {
	bio := Biology(src.metadata, images.metadata)
	info.Metadata.Species = bio.Species
	info.Metadata.Plant = bio.Plant
	info.Metadata.Environment = bio.Environment
	info.Metadata.Date = bio.AcquisitionDate
	if info.Metadata.Date == "" {
		info.Metadata.Date = src.changedAt.Local().Format(time.DateTime)
	}
}

func fillTasks(info *Info, src infoSource) {
	has := func(task, file string) bool {
		_, ok := src.has(info, task, file)
		return ok
	}
	info.IsVirtual = info.TasksFileset["VirtualPlant"] != ""
	info.HasColmap = has("Colmap", "cameras")
	info.HasPointCloud = has("PointCloud", "PointCloud")
	info.HasTriangleMesh = has("TriangleMesh", "TriangleMesh")
	info.HasCurveSkeleton = has("CurveSkeleton", "CurveSkeleton")
	info.HasTreeGraph = has("TreeGraph", "TreeGraph")
	info.HasAnglesAndInternodes = has("AnglesAndInternodes", "AnglesAndInternodes")
	info.HasAutomatedMeasures = info.HasAnglesAndInternodes
	info.HasManualMeasures = src.hasMeasures
	info.HasPcdGroundTruth = has("PointCloudGroundTruth", "PointCloudGroundTruth")
	info.HasPointCloudEvaluation = has("PointCloudEvaluation", "PointCloudEvaluation")
	info.HasSegmentedPointCloud = has("SegmentedPointCloud", "SegmentedPointCloud")
	info.HasSegmentedPcdEvaluation = has("SegmentedPointCloudEvaluation", "SegmentedPointCloudEvaluation")

	output := func(task string) string {
		filename, ok := src.has(info, task, task)
		if !ok {
			return ""
		}
		// Upstream sends the file's id, which its own server does not find.
		return uri("files", src.name, info.TasksFileset[task], filename)
	}
	info.FilesURI = InfoURIs{
		PointCloud: output("PointCloud"), Mesh: output("TriangleMesh"),
		Skeleton: output("CurveSkeleton"), Tree: output("TreeGraph"),
	}
}

func fillImages(info *Info, images infoFileset) {
	if len(images.files) == 0 {
		return
	}
	first := images.files[0]
	info.ThumbnailURI = imageURI(info.ID, first.name, "thumb")
	camera, calibrated := lookup(first.metadata, "colmap_camera")
	if calibrated && !lacking(camera) {
		info.Camera = InfoCamera{Model: json.RawMessage("null"), Poses: []Pose{}}
		if model, ok := lookup(camera, "camera_model"); ok {
			info.Camera.Model = model
		}
	}
	for _, f := range images.files {
		if channel, _ := lookup(f.metadata, "channel"); string(channel) != `"rgb"` {
			continue
		}
		info.Images = append(info.Images, f.filename)
		if pose, ok := poseOf(info.ID, f); ok && info.Camera.Poses != nil {
			info.Camera.Poses = append(info.Camera.Poses, pose)
		}
	}
	info.Metadata.NbPhotos = len(info.Images)
}

func imageURI(scan, id, size string) string {
	return uri("image", scan, "images", id) + "?size=" + size
}

// poseOf is where the camera was for an image; ok is false where Colmap could
// not tell.
func poseOf(scan string, f infoFile) (p Pose, ok bool) {
	tvec, placed := lookup(f.metadata, "colmap_camera", "tvec")
	rotmat, turned := lookup(f.metadata, "colmap_camera", "rotmat")
	return Pose{
		ID: f.name, Tvec: tvec, Rotmat: rotmat,
		PhotoURI: imageURI(scan, f.name, "orig"), ThumbnailURI: imageURI(scan, f.name, "thumb"),
	}, placed && turned
}

// workspace follows upstream, but a recorded box beats a guess that has no
// bounding box to stand on.
func workspace(src infoSource, images infoFileset) json.RawMessage {
	recorded, ok := lookup(src.metadata, "workspace")
	if !ok {
		recorded, ok = lookup(images.metadata, "workspace")
	}
	path, scanned := lookup(src.metadata, "ScanPath")
	switch {
	case scanned && (src.voxelFloor != nil || !ok):
		return guessWorkspace(path, src.voxelFloor)
	case ok:
		return recorded
	default:
		return json.RawMessage("{}")
	}
}

// guessWorkspace is the box of 300 mm a side around the centre of the camera's
// path, upstream's defaults where the path does not say.
func guessWorkspace(path json.RawMessage, floor *float64) json.RawMessage {
	const half, defaultCentre, defaultFloor = 150.0, 375.0, -500.0
	var p struct {
		Kwargs struct {
			X *float64 `json:"center_x"`
			Y *float64 `json:"center_y"`
		} `json:"kwargs"`
	}
	cx, cy, z := defaultCentre, defaultCentre, defaultFloor
	if json.Unmarshal(path, &p) == nil && p.Kwargs.X != nil && p.Kwargs.Y != nil {
		cx, cy = *p.Kwargs.X, *p.Kwargs.Y
	}
	if floor != nil && !math.IsNaN(*floor) && !math.IsInf(*floor, 0) {
		z = *floor
	}
	box, err := json.Marshal(struct {
		X [2]float64 `json:"x"`
		Y [2]float64 `json:"y"`
		Z [2]float64 `json:"z"`
	}{[2]float64{cx - half, cx + half}, [2]float64{cy - half, cy + half}, [2]float64{z - half, z + half}})
	if err != nil { // a centre near the largest float overflows
		return json.RawMessage("{}")
	}
	return box
}

// encode writes v as JSON without the HTML escapes that no client expects.
func encode(v any) (json.RawMessage, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}
