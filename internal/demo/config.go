package demo

import "fmt"

// scanTOML is the configuration that a scan was taken with.
func (r recipe) scanTOML() string {
	if r.kind == realImager {
		return fmt.Sprintf(scanTOMLPath, r.path.x, r.path.y, r.path.z, r.path.tilt, r.path.radius, r.path.shots) + scanTOMLReal
	}
	return fmt.Sprintf(scanTOMLPath, r.path.x, r.path.y, r.path.z, r.path.tilt, r.path.radius, r.path.shots) + scanTOMLVirtual
}

const scanTOMLPath = `[ScanPath]
class_name = "Circle"

[ScanPath.kwargs]
center_x = %g
center_y = %g
z = %g
tilt = %g
radius = %g
n_points = %d
`

const scanTOMLReal = `
[Scan.scanner.camera]
module = "plantimager.sony"

[Scan.scanner.gimbal]
module = "plantimager.blgimbal"

[Scan.scanner.cnc]
module = "plantimager.grbl"

[Scan.metadata.workspace]
x = [340, 440]
y = [330, 410]
z = [-180, 105]

[Scan.metadata.object]
species = "Arabidopsis thaliana"
seed_stock = "Col-0"
plant_id = "Col-0_A1"
growth_environment = "Lyon indoor"
growth_conditions = "LD+SD"
treatment = "None"
DAG = 40
sample = "main stem"
experiment_id = "sample_01"
`

const scanTOMLVirtual = `
[VirtualPlant]
lpy_file_id = "arabidopsis_notex"

[VirtualScan]
obj_fileset = "VirtualPlant"
render_ground_truth = true

[VirtualScan.scanner]
width = 1440
height = 1080
`

// pipelineTOML is the configuration that the outputs were computed with.
func (r recipe) pipelineTOML() string {
	if r.kind == realImager {
		return fmt.Sprintf(pipelineTOMLReal, voxelBox.lo[0], voxelBox.hi[0], voxelBox.lo[1], voxelBox.hi[1],
			voxelBox.lo[2], voxelBox.hi[2]) + pipelineTOMLCommon
	}
	return pipelineTOMLVirtual + pipelineTOMLCommon
}

const pipelineTOMLReal = `[Colmap]
upstream_task = "ImagesFilesetExists"
matcher = "exhaustive"
camera_model = "SIMPLE_RADIAL"
align_pcd = true

[Undistorted]
upstream_task = "ImagesFilesetExists"

[Masks]
upstream_task = "Undistorted"
type = "linear"
parameters = "[0, 1, 0]"
binarize = true

[Voxels]
upstream_mask = "Masks"
upstream_colmap = "Colmap"
camera_metadata = "colmap_camera"
voxel_size = 1.0
type = "carving"

[Voxels.bounding_box]
x = [%g, %g]
y = [%g, %g]
z = [%g, %g]

`

const pipelineTOMLVirtual = `[Voxels]
upstream_mask = "ImagesFilesetExists"
camera_metadata = "camera"
voxel_size = 1.0
type = "carving"
invert = true

[PointCloudGroundTruth]
upstream_task = "VirtualPlant"
pcd_size = 12000

`

const pipelineTOMLCommon = `[PointCloud]
upstream_task = "Voxels"
level_set_value = 1.0

[TriangleMesh]
upstream_task = "PointCloud"
library = "open3d"

[CurveSkeleton]
upstream_task = "TriangleMesh"

[TreeGraph]
upstream_task = "CurveSkeleton"
z_axis = 2
stem_axis_inverted = false

[AnglesAndInternodes]
upstream_task = "TreeGraph"
organ_type = "fruit"
characteristic_length = 1.0
`
