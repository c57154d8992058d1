package preview

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"github.com/romi/plantdb-go/internal/ply"
)

// Bounds on a PLY file: beyond the first nothing is tried, beyond the second it
// has the machine's memory for itself.
const (
	maxCloudSource   = 2 << 30
	largeCloudSource = 64 << 20
)

// PointCloud returns the PLY file s with one point for each voxel of the given
// size: ply.Mesh.DownSample says how, ply.Write in which form.
//
// The caller closes the file. Errors: ErrBadSize, those of ply.Read and
// DownSample, ErrClosed, that of s.Open, and that of ctx.
func (c *Cache) PointCloud(ctx context.Context, s Source, voxel float64) (*os.File, fs.FileInfo, error) {
	return c.thinned(ctx, "pointcloud", s, voxel, (*ply.Mesh).DownSample)
}

// Mesh returns the PLY file s with the vertices of each voxel merged into one:
// ply.Mesh.Cluster says how. All else is as for PointCloud.
func (c *Cache) Mesh(ctx context.Context, s Source, voxel float64) (*os.File, fs.FileInfo, error) {
	return c.thinned(ctx, "mesh", s, voxel, (*ply.Mesh).Cluster)
}

type thinner func(m *ply.Mesh, voxel float64) (*ply.Mesh, error)

func (c *Cache) thinned(ctx context.Context, kind string, s Source, voxel float64, thin thinner) (*os.File, fs.FileInfo, error) {
	if err := checkVoxel(voxel); err != nil {
		return nil, nil, err
	}
	size := strconv.FormatFloat(voxel, 'g', -1, 64)
	return c.get(ctx, keyOf(kind, s.Key, size), func(ctx context.Context, t *turn, w io.Writer) error {
		m, err := readMesh(ctx, t, s)
		if err != nil {
			return err
		}
		if m, err = thin(m, voxel); err != nil {
			return err
		}
		return ply.Write(w, m)
	})
}

func readMesh(ctx context.Context, t *turn, s Source) (*ply.Mesh, error) {
	r, size, err := s.Open()
	if err != nil {
		return nil, fmt.Errorf("open source: %w", err)
	}
	defer r.Close()
	if size > maxCloudSource {
		return nil, ply.ErrTooLarge
	}
	if size > largeCloudSource {
		if err := t.alone(ctx); err != nil {
			return nil, err
		}
	}
	return ply.Read(io.LimitReader(r, size), ply.Limits{Size: size})
}
