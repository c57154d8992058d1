package demo

import "slices"

// recipe says how one scan is made.
type recipe struct {
	id        string
	timelapse string // the directory it lies in, or ""
	plant     specimen
	path      circle
	kind      kind
	analyzed  bool                        // with the outputs of the pipeline
	metadata  func(recipe) map[string]any // of the scan
	images    func(box) map[string]any    // of its images fileset
}

// kind is the imager that a scan pretends to come from.
type kind int

const (
	realImager    kind = iota // a camera on a gantry: noise, poses a little off
	virtualImager             // a renderer: clean, with a mask for each organ
	firstImager               // a renderer of the first generation, rgb alone
)

func (r recipe) grain() int {
	if r.kind == realImager {
		return 1
	}
	return 0
}

// dir is where the scan lies below the root of the database.
func (r recipe) dir() string {
	if r.timelapse == "" {
		return r.id
	}
	return r.timelapse + "/" + r.id
}

// growthSeries is the id of the sample timelapse.
const growthSeries = "growth_series"

var realSpecimen = specimen{
	seed: 11, base: Point{375, 375, -170}, height: 236, bend: 14, sway: 5,
	fruits: 22, flowers: 9, rosette: 17, leaf: 54, cauline: 3, divSigma: 11,
}

var virtualSpecimen = specimen{
	seed: 23, base: Point{-2, 3, 0}, height: 228, bend: -9, sway: -7,
	fruits: 19, flowers: 8, rosette: 14, leaf: 50, cauline: 4, divSigma: 8,
}

var firstSpecimen = specimen{
	seed: 37, base: Point{0, 0, 20}, height: 234, bend: 6, sway: 10,
	fruits: 25, flowers: 10, rosette: 19, leaf: 57, cauline: 3, divSigma: 14,
}

// seedling is one plant at three ages, 0 to 2.
func seedling(age int) specimen {
	return specimen{
		seed: 53, base: Point{375, 375, -170},
		height:  []float64{58, 138, 222}[age],
		bend:    []float64{2, 6, 11}[age],
		sway:    []float64{1, 3, -4}[age],
		fruits:  []int{3, 9, 18}[age],
		flowers: []int{5, 7, 9}[age],
		rosette: []int{10, 13, 16}[age],
		leaf:    []float64{36, 46, 52}[age],
		cauline: []int{1, 2, 3}[age], divSigma: 9,
	}
}

// around is the imager's path about a specimen. Its camera stands so that the
// tallest plants and the table just fit.
func around(s specimen, shots int, slack float64) circle {
	return circle{
		x: s.base[0], y: s.base[1], z: s.base[2] + 195,
		radius: 340, tilt: 14, shots: shots, seed: s.seed, slack: slack,
	}
}

func recipes() []recipe {
	const slack = 0.8
	all := []recipe{
		{
			id: "real_plant", plant: realSpecimen, path: around(realSpecimen, 6, slack),
			metadata: bareMetadata, images: scannerImages,
		},
		{
			id: "real_plant_analyzed", plant: realSpecimen, path: around(realSpecimen, 18, slack),
			analyzed: true, metadata: legacyMetadata, images: plainImages,
		},
		{
			id: "virtual_plant", plant: virtualSpecimen, path: around(virtualSpecimen, 6, 0),
			kind: virtualImager, metadata: miappeMetadata, images: virtualImages,
		},
		{
			id: "virtual_plant_analyzed", plant: virtualSpecimen, path: around(virtualSpecimen, 12, 0),
			kind: virtualImager, analyzed: true, metadata: miappeMetadata, images: virtualImages,
		},
		{
			id: "arabidopsis000", plant: firstSpecimen, path: around(firstSpecimen, 12, 0),
			kind: firstImager, metadata: firstMetadata, images: firstImages,
		},
	}
	for age, id := range []string{"growth_day_28", "growth_day_35", "growth_day_42"} {
		plant := seedling(age)
		all = append(all, recipe{
			id: id, timelapse: growthSeries, plant: plant, path: around(plant, 4, slack),
			metadata: growthMetadata(age), images: plainImages,
		})
	}
	return all
}

// choose returns the recipes of the named scans, or all. A timelapse stands
// for its scans.
func choose(names []string) ([]recipe, error) {
	all := recipes()
	if names == nil {
		return all, nil
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(r recipe) bool { return r.named(name) }) {
			return nil, ErrUnknownScan.With("there is no sample scan named %q", name)
		}
	}
	return slices.DeleteFunc(all, func(r recipe) bool {
		return !slices.ContainsFunc(names, r.named)
	}), nil
}

func (r recipe) named(name string) bool {
	return name == r.id || name == r.timelapse && name != ""
}
