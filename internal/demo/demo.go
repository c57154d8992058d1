// Package demo writes a small PlantDB tree to look at and to test with: the
// five scan ids that the PlantDB project publishes and one timelapse, with
// images, metadata and the outputs of the analysis pipeline.
//
// Everything is computed from a parametric plant: a stem with leaves, fruits
// and flowers placed by known divergence angles and internodes. The plant is
// rendered from known camera poses, and clouds, meshes, skeletons and measures
// are taken from the same model, so that whatever a program finds in the tree
// can be compared with [Truth]: AnglesAndInternodes.json and the skeleton hold
// it as it is, a point cloud lies within 0.36 mm of the mesh and its ground
// truth on it, and the manual measures are rounded to 5 degrees and 1 mm.
//
// The package knows the layout of a tree and nothing of the packages that
// serve one, so that it can test them.
//
// The bytes are the same on every machine, given one version of Go (whose JPEG
// and PNG encoders may change): random numbers come from seeded generators,
// each product of floats is rounded on its own (see mul), sine and cosine are
// computed here, and no clock is read.
package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/romi/plantdb-go/internal/fault"
)

// The errors that Write answers by name.
var (
	ErrNotEmpty    = fault.New(fault.Conflict, "demo_not_empty", "the directory of the sample tree is not empty")
	ErrUnknownScan = fault.New(fault.Invalid, "demo_unknown_scan", "there is no such sample scan")
	ErrBadSize     = fault.New(fault.Invalid, "demo_bad_size", "sample images have 16 to 4096 pixels a side")
)

// Options says what Write makes; the zero value asks for all of it at full
// size.
type Options struct {
	// Scans names the scans to write; nil means all. The name of the timelapse,
	// growth_series, stands for its three scans. Upstream's Python up to 0.17
	// refuses a tree in which a timelapse holds a scan.
	Scans []string
	// Width and Height are the size of the images in pixels, by default 1440
	// and 1080. The focal length follows the width.
	Width, Height int
	// Progress, if set, is called after each step, one call at a time and with
	// done rising to total.
	Progress func(done, total int)
}

const (
	defaultWidth, defaultHeight = 1440, 1080
	minSize, maxSize            = 16, 4096
	// staging holds the tree until it is whole. Its leading dot hides it from
	// everything that reads a tree.
	staging = ".demo"
	// maxWorkers bounds memory: a worker holds a canvas of 56 MB at full size.
	maxWorkers = 4
)

// Write fills dir, which is made if missing, with the sample tree. Entries with
// a leading dot are left alone; if there are others, it is ErrNotEmpty and
// nothing is touched. The tree is made in a hidden directory within dir and
// moved entry by entry once all of it exists, the marker romidb last: without
// it a tree is not complete. After an error dir holds no part of it, unless
// the error came while moving. ErrUnknownScan and ErrBadSize are answered
// before anything is written; otherwise errors are those of the file system or
// of ctx. Two calls on one directory at a time are not supported.
func Write(ctx context.Context, dir string, o Options) error {
	if o.Width == 0 && o.Height == 0 {
		o.Width, o.Height = defaultWidth, defaultHeight
	}
	if min(o.Width, o.Height) < minSize || max(o.Width, o.Height) > maxSize {
		return ErrBadSize
	}
	chosen, err := choose(o.Scans)
	if err != nil {
		return err
	}
	//nolint:gosec // programs of other users read the tree
	if err = os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make sample directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open sample directory: %w", err)
	}
	defer func() { _ = root.Close() }() // opened for reading names
	if err = checkEmpty(root); err != nil {
		return err
	}
	if err = stage(ctx, root, chosen, o); err != nil {
		return errors.Join(err, root.RemoveAll(staging))
	}
	return publish(root)
}

// Truth returns the model that the scan of that id was made from, and false if
// there is no such scan. Intrinsics are left to Camera, since they follow the
// size of the images.
func Truth(scan string) (Plant, bool) {
	all := recipes()
	i := slices.IndexFunc(all, func(r recipe) bool { return r.id == scan })
	if i < 0 {
		return Plant{}, false
	}
	return all[i].plant.grow().truth(all[i].path.cameras()), true
}

func checkEmpty(root *os.Root) error {
	names, err := entries(root)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(names, func(n string) bool { return !strings.HasPrefix(n, ".") }) {
		return ErrNotEmpty
	}
	return nil
}

func entries(root *os.Root) ([]string, error) {
	d, err := root.Open(".")
	if err != nil {
		return nil, fmt.Errorf("open sample directory: %w", err)
	}
	defer func() { _ = d.Close() }() // opened for reading
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list sample directory: %w", err)
	}
	return names, nil
}

// stage writes the whole tree below staging. What an interrupted run left
// there goes first.
func stage(ctx context.Context, root *os.Root, chosen []recipe, o Options) error {
	if err := root.RemoveAll(staging); err != nil {
		return fmt.Errorf("remove old staging: %w", err)
	}
	if err := root.Mkdir(staging, 0o755); err != nil {
		return fmt.Errorf("make staging: %w", err)
	}
	below, err := root.OpenRoot(staging)
	if err != nil {
		return fmt.Errorf("open staging: %w", err)
	}
	t := tree{below}
	err = errors.Join(newStudio(t, o).run(ctx, chosen), writeCommon(t, chosen))
	return errors.Join(err, below.Close())
}

// publish moves what is staged to its place.
func publish(root *os.Root) error {
	below, err := root.OpenRoot(staging)
	if err != nil {
		return fmt.Errorf("open staging: %w", err)
	}
	names, err := entries(below)
	if err = errors.Join(err, below.Close()); err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == markerName })
	for _, name := range append(names, markerName) {
		if err := root.Rename(staging+"/"+name, name); err != nil {
			return fmt.Errorf("publish %s: %w", name, err)
		}
	}
	if err := root.Remove(staging); err != nil {
		return fmt.Errorf("remove staging: %w", err)
	}
	return nil
}

// subject is what one specimen looks like; scans of it share one.
type subject struct {
	organs  organs
	surface *mesh
	scene   *scene
}

func (s specimen) subject() *subject {
	o := s.grow()
	surface := o.surface()
	return &subject{organs: o, surface: surface, scene: newScene(surface.join(s.stage()))}
}

// studio makes the scans of one Write on a few workers.
type studio struct {
	tree     tree
	options  Options
	backdrop *backdrop
	canvases chan *canvas // one for each worker, nil until it is first used

	mu   sync.Mutex
	done int
}

func newStudio(t tree, o Options) *studio {
	workers := min(runtime.GOMAXPROCS(0), maxWorkers)
	s := &studio{tree: t, options: o, backdrop: newBackdrop(o.Width, o.Height), canvases: make(chan *canvas, workers)}
	for range workers {
		s.canvases <- nil
	}
	return s
}

func (s *studio) run(ctx context.Context, chosen []recipe) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(cap(s.canvases))
	var total int
	for _, r := range chosen {
		total += r.path.shots + 1
	}
	step := func(work func() error) {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := work(); err != nil {
				return err
			}
			s.report(total)
			return nil
		})
	}
	subjects := map[specimen]func() *subject{}
	for _, r := range chosen {
		if subjects[r.plant] == nil {
			subjects[r.plant] = sync.OnceValue(r.plant.subject)
		}
		of := subjects[r.plant]
		step(func() error { return s.scan(r, of()) })
		for i, cam := range r.path.cameras() {
			step(func() error { return s.shot(r, of().scene, i, cam) })
		}
	}
	return g.Wait()
}

func (s *studio) report(total int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done++
	if s.options.Progress != nil {
		s.options.Progress(s.done, total)
	}
}

// shot renders one image and writes it with what is derived from it.
func (s *studio) shot(r recipe, sc *scene, i int, cam Camera) error {
	c := <-s.canvases
	defer func() { s.canvases <- c }()
	if c == nil {
		c = newCanvas(s.options.Width*supersample, s.options.Height*supersample)
	}
	sc.render(c, cam)
	p := c.resolve(s.backdrop, i, r.grain())
	sets, err := r.shotFiles(p, i, cam)
	if err != nil {
		return fmt.Errorf("shot %d of %s: %w", i, r.id, err)
	}
	for _, set := range sets {
		if err := s.tree.files(r.dir(), set); err != nil {
			return err
		}
	}
	return nil
}
