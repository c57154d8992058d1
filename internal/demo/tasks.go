package demo

import (
	"fmt"
	"maps"
	"math"
	"strings"
)

// fileset is one to be written: its own metadata and its files.
type fileset struct {
	id    string
	meta  object // nil: none is written
	files []file
}

type file struct {
	name string // its id is the name without the extension
	data []byte
	meta object // nil: none is written
}

func (f file) id() string {
	id, _, _ := strings.Cut(f.name, ".")
	return id
}

// tasks names the filesets of the outputs as the published scans do: task, the
// start of its parameters, a hash of them all.
type tasks struct {
	angles, tree, skeleton, mesh, cloud, masks, colmap, undistorted string
}

var realTasks = tasks{
	angles:      "AnglesAndInternodes_1_0_2_0_6_0_6dd64fc595",
	tree:        "TreeGraph__False_CurveSkeleton_c304a2cc71",
	skeleton:    "CurveSkeleton__TriangleMesh_0393cb5708",
	mesh:        "TriangleMesh_9_most_connected_t_open3d_00e095c359",
	cloud:       "PointCloud_1_0_1_0_10_0_7ee836e5a9",
	masks:       "Masks_1__0__1__0____channel____rgb_5619aa428d",
	colmap:      "Colmap_True_null_SIMPLE_RADIAL_ffcef49fdc",
	undistorted: "Undistorted_SIMPLE_RADIAL_Colmap__a333f181b7",
}

// virtualTasks has fewer: a renderer has no lens to correct.
var virtualTasks = tasks{
	angles:   "AnglesAndInternodes_1_0_2_0_0_7_5e1c1b7a02",
	tree:     "TreeGraph__False_CurveSkeleton_c304a2cc71",
	skeleton: "CurveSkeleton__TriangleMesh_0393cb5708",
	mesh:     "TriangleMesh_9_most_connected_t_open3d_00e095c359",
	cloud:    "PointCloud_0_0_1_0_10_0_ee8f1c7b30",
	masks:    "Masks_1__0__1__0____channel____rgb_5619aa428d",
	colmap:   "Colmap_True_null_SIMPLE_RADIAL_ffcef49fdc",
}

// Filesets that virtual scans alone have.
const (
	virtualPlantSet = "VirtualPlant_arabidopsis_note___BRANCHON___fal___angles____inte_a7299a0b5f"
	groundTruthSet  = "PointCloudGroundTruth_12000_VirtualPlant_4f2d9b6c11"
	evaluationSet   = "PointCloudEvaluation_PointCloudGroundTruth_2_0_b08d2c9e57"
	segmentedSet    = "SegmentedPointCloud__Segmentation2D_PointCloud_91a6e0d4c3"
)

func (r recipe) tasks() tasks {
	if r.kind == virtualImager {
		return virtualTasks
	}
	return realTasks
}

// cloudSize is how many points a sample cloud has.
const cloudSize = 12000

func taskParams(upstream string, more object) object {
	params := object{"output_file_id": "out", "scan_id": "", "upstream_task": upstream}
	maps.Copy(params, more)
	return object{"task_params": params}
}

// outputs makes the filesets of the pipeline that do not come from pictures.
func (r recipe) outputs(s *subject, width, height int) ([]fileset, error) {
	var sets []fileset
	if r.kind == virtualImager {
		sets = append(sets, virtualPlant(s))
	}
	if !r.analyzed {
		return sets, nil
	}
	names := r.tasks()
	cloud := s.surface.sample(r.plant.seed, cloudSize, cloudNoise)
	angles, err := anglesSet(names.angles, s.organs)
	if err != nil {
		return nil, err
	}
	bones := s.organs.skeleton()
	line, err := compact(object{"points": bones.points, "lines": bones.lines})
	if err != nil {
		return nil, err
	}
	colmap, err := r.colmap(names.colmap, s, cloud, width, height)
	if err != nil {
		return nil, err
	}
	surface := s.surface
	sets = append(sets,
		angles,
		fileset{names.tree, taskParams("CurveSkeleton", object{"z_axis": 2}), []file{{name: "TreeGraph.p", data: bones.pickle()}}},
		fileset{names.skeleton, taskParams("TriangleMesh", nil), []file{{name: "CurveSkeleton.json", data: line}}},
		fileset{names.mesh, taskParams("PointCloud", object{"library": "open3d"}), []file{
			{name: "TriangleMesh.ply", data: ply(surface.pos, surface.normal, surface.colour, surface.tri)}}},
		fileset{names.cloud, taskParams("Voxels", object{"level_set_value": 1}), []file{
			{name: "PointCloud.ply", data: cloud.ply(), meta: object{"level_set_value": 1, "n_points": cloudSize}}}},
		colmap,
	)
	if r.kind != virtualImager {
		return sets, nil
	}
	truth, err := groundTruth(r, s, cloud)
	return append(sets, truth...), err
}

func (c cloud) ply() []byte { return ply(c.pos, c.normal, c.colour, nil) }

// virtualPlant is the model that a virtual scan shows.
func virtualPlant(s *subject) fileset {
	angles := make([]float64, len(s.organs.angles))
	for i, a := range s.organs.angles {
		angles[i] = radians(a)
	}
	return fileset{virtualPlantSet, taskParams("VirtualPlantConfig", nil), []file{
		{name: "VirtualPlant.obj", data: s.surface.obj("VirtualPlant_mtl.mtl"), meta: object{
			"angles": angles, "internodes": s.organs.internodes}},
		{name: "VirtualPlant_mtl.mtl", data: mtl()},
	}}
}

// anglesSet is what the measuring task found: the truth, in degrees and
// millimetres.
func anglesSet(id string, o organs) (fileset, error) {
	plant := o.truth(nil)
	measures, err := compact(object{
		"angles": plant.Angles, "internodes": plant.Internodes, "fruit_points": plant.FruitPoints,
	})
	if err != nil {
		return fileset{}, err
	}
	fruitDirs, stemDirs, nodes := object{}, object{}, object{}
	for i, f := range o.fruits {
		key := fmt.Sprint(i)
		_, along := o.stem.locate(f.at)
		fruitDirs[key] = f.line[f.pedicel].sub(f.line[0]).unit().round(1e6)
		stemDirs[key] = along.t.round(1e6)
		nodes[key] = f.line[0].round(1e6)
	}
	fruits, err := compact(object{"fruit_dirs": fruitDirs, "bp_coords": nodes})
	if err != nil {
		return fileset{}, err
	}
	stem, err := compact(object{"stem_dirs": stemDirs, "bp_coords": nodes})
	if err != nil {
		return fileset{}, err
	}
	return fileset{id, taskParams("TreeGraph", object{"organ_type": "fruit"}), []file{
		{name: "AnglesAndInternodes.json", data: measures},
		{name: "fruit_direction.json", data: fruits},
		{name: "stem_direction.json", data: stem},
	}}, nil
}

// groundTruth makes the filesets that compare a cloud with its model.
func groundTruth(r recipe, s *subject, found cloud) ([]fileset, error) {
	exact := s.surface.sample(r.plant.seed+1, cloudSize, 0).byLabel()
	score, err := compact(object{"id": "PointCloud", "fitness": 1, "inlier_rmse": found.rms, "max_distance": 2})
	if err != nil {
		return nil, err
	}
	return []fileset{
		{groundTruthSet, taskParams("VirtualPlant", object{"pcd_size": cloudSize}), []file{
			{name: "PointCloudGroundTruth.ply", data: exact.ply(), meta: object{"labels": channelNames[stemLabel:]}}}},
		{evaluationSet, taskParams("PointCloud", object{"max_distance": 2}), []file{
			{name: "PointCloudEvaluation.json", data: score}}},
		{segmentedSet, taskParams("PointCloud", object{"upstream_segmentation": "Segmentation2D"}), []file{
			{name: "SegmentedPointCloud.ply", data: found.byLabel().ply(), meta: object{"labels": channelNames[stemLabel:]}}}},
	}, nil
}

// measures are what a person reads off the plant with a protractor in steps of
// five degrees and a ruler of millimetres; upstream keeps the angles in
// radians.
func (o organs) measures() object {
	angles, internodes := make([]float64, len(o.angles)), make([]int, len(o.internodes))
	for i, a := range o.angles {
		angles[i] = radians(mul(5, math.Round(a/5)))
	}
	for i, l := range o.internodes {
		internodes[i] = int(math.Round(l))
	}
	return object{"angles": angles, "internodes": internodes}
}
