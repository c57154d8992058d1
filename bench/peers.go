package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/romi/plantdb-go/internal/ply"
	"github.com/romi/plantdb-go/internal/pyenv"
)

// What users would do the same with in Python, installed from PyPI when a
// figure first asks for it.
const (
	open3d = "open3d==0.20.0"
	pillow = "pillow==13.0.0"
)

var (
	//go:embed peers/voxel.py
	voxelScript string
	//go:embed peers/thumb.py
	thumbScript string
)

// peer runs a script in an environment that has a package, and returns the
// numbers that it prints.
func peer(ctx context.Context, requirement, script string, args ...string) ([]float64, error) {
	python, err := pyenv.Find(ctx, requirement)
	if err != nil {
		return nil, err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, python, append([]string{"-c", script}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("run %s: %w: %s", requirement, err, stderr.String())
	}
	words := strings.Fields(stdout.String())
	numbers := make([]float64, len(words))
	for i, word := range words {
		if numbers[i], err = strconv.ParseFloat(word, 64); err != nil {
			return nil, fmt.Errorf("read what %s printed: %w", requirement, err)
		}
	}
	return numbers, nil
}

// pillowThumb returns how many milliseconds Pillow takes for a thumbnail.
func (b *bench) pillowThumb(ctx context.Context, photo []byte) (float64, error) {
	name := filepath.Join(b.dir, "photo.jpg")
	if err := os.WriteFile(name, photo, 0o600); err != nil {
		return 0, fmt.Errorf("write photo: %w", err)
	}
	took, err := peer(ctx, pillow, thumbScript, name)
	if err != nil {
		return 0, err
	}
	if len(took) != 1 {
		return 0, errors.New("pillow printed no time")
	}
	return took[0], nil
}

const voxelRuns = 7

// voxelGrid thins a cloud of a million points beside Open3D, on a coarse grid
// as viewers want and on one that keeps half of the points.
func voxelGrid(ctx context.Context, b *bench) ([]result, error) {
	cloud := randomCloud(1_000_000)
	name := filepath.Join(b.dir, "cloud.ply")
	var file bytes.Buffer
	if err := ply.Write(&file, cloud); err != nil {
		return nil, fmt.Errorf("make cloud: %w", err)
	}
	if err := os.WriteFile(name, file.Bytes(), 0o600); err != nil {
		return nil, fmt.Errorf("write cloud: %w", err)
	}
	var results []result
	for _, size := range []float64{5, 1.8} {
		took, points, err := timeDownSample(cloud, size)
		if err != nil {
			return nil, err
		}
		theirs, err := peer(ctx, open3d, voxelScript, name, strconv.FormatFloat(size, 'g', -1, 64))
		if err != nil {
			return nil, err
		}
		if len(theirs) != 2 || theirs[1] != float64(points) {
			return nil, fmt.Errorf("%s leaves other points than ours: %v, want %d", open3d, theirs, points)
		}
		results = append(results, result{
			what: fmt.Sprintf("voxel grid, 1,000,000 points to %d", points), unit: millis, ours: took, limit: theirs[0],
			goals: []goal{value(100)}, limitIs: open3d + ", voxel_down_sample",
		})
	}
	return results, nil
}

// timeDownSample returns the median of some runs in milliseconds, and how many
// points stay.
func timeDownSample(cloud *ply.Mesh, size float64) (took float64, points int, err error) {
	times := make([]time.Duration, voxelRuns)
	for i := range times {
		began := time.Now()
		out, err := cloud.DownSample(size)
		if err != nil {
			return 0, 0, fmt.Errorf("thin cloud: %w", err)
		}
		times[i], points = time.Since(began), len(out.Points)
	}
	slices.Sort(times)
	return times[voxelRuns/2].Seconds() * 1000, points, nil
}

// randomCloud has normals and colours, and the same points in each run.
func randomCloud(n int) *ply.Mesh {
	const spread = 40
	r := rand.New(rand.NewPCG(1, 2))
	m := &ply.Mesh{Points: make([]ply.Vec, n), Normals: make([]ply.Vec, n), Colors: make([]ply.Color, n)}
	for i := range n {
		m.Points[i] = ply.Vec{r.NormFloat64() * spread, r.NormFloat64() * spread, r.NormFloat64() * spread}
		angle := r.Float64() * 2 * math.Pi
		m.Normals[i] = ply.Vec{math.Cos(angle), math.Sin(angle), 0}
		m.Colors[i] = ply.Color{uint8(r.Uint32()), uint8(r.Uint32()), uint8(r.Uint32())}
	}
	return m
}
