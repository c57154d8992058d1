package demo

import (
	"fmt"
	"os"
	"path"
	"slices"
)

const (
	markerName = "romidb"
	imagesSet  = "images"
)

// tree writes below the root of a database.
type tree struct{ root *os.Root }

func (t tree) put(name string, data []byte) error {
	if err := t.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return fmt.Errorf("make directory of %s: %w", name, err)
	}
	if err := t.root.WriteFile(name, data, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func (t tree) json(name string, v any) error {
	data, err := indented(v)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return t.put(name, data)
}

// files writes the files of set and their metadata.
func (t tree) files(dir string, set fileset) error {
	for _, f := range set.files {
		if err := t.put(path.Join(dir, set.id, f.name), f.data); err != nil {
			return err
		}
		if f.meta == nil {
			continue
		}
		if err := t.json(path.Join(dir, "metadata", set.id, f.id()+".json"), f.meta); err != nil {
			return err
		}
	}
	return nil
}

// channels lists what a shot of r is rendered to, rgb first.
func (r recipe) channels() []string {
	channels := []string{"rgb"}
	if r.kind == virtualImager {
		channels = append(channels, channelNames[stemLabel:]...)
		channels = append(channels, channelNames[background])
	}
	return channels
}

func imageName(shot int, channel string) string {
	if channel == "rgb" {
		return imageID(shot, channel) + ".jpg"
	}
	return imageID(shot, channel) + ".png"
}

// shotFiles makes the files of a picture, by the fileset they belong to.
func (r recipe) shotFiles(p picture, shot int, cam Camera) ([]fileset, error) {
	images := fileset{id: imagesSet}
	size := p.rgba.Rect.Size()
	photo, err := p.jpeg()
	if err != nil {
		return nil, err
	}
	for _, channel := range r.channels() {
		f := file{
			name: imageName(shot, channel), data: photo,
			meta: r.shotMetadata(cam, shot, channel, size.X, size.Y),
		}
		if channel != "rgb" {
			l := label(slices.Index(channelNames[:], channel))
			if f.data, err = p.mask(func(k label) bool { return k == l }); err != nil {
				return nil, err
			}
		}
		images.files = append(images.files, f)
	}
	sets := []fileset{images}
	if !r.analyzed {
		return sets, nil
	}
	names := r.tasks()
	plant, err := p.mask(func(l label) bool { return l != background })
	if err != nil {
		return nil, err
	}
	derived := images.files[0].meta
	sets = append(sets, fileset{id: names.masks, files: []file{{imageID(shot, "rgb") + ".png", plant, derived}}})
	if names.undistorted != "" {
		// The lens has no distortion to take away.
		sets = append(sets, fileset{id: names.undistorted, files: []file{{imageName(shot, "rgb"), photo, derived}}})
	}
	return sets, nil
}

// shotSets lists, without content, the filesets that shotFiles fills.
func (r recipe) shotSets(s *subject) []fileset {
	images := fileset{id: imagesSet, meta: r.images(boxOf(s.surface.pos))}
	names := r.tasks()
	masks := fileset{id: names.masks, meta: taskParams("Undistorted", object{
		"type": "linear", "parameters": []int{0, 1, 0}, "binarize": true})}
	flat := fileset{id: names.undistorted, meta: taskParams("ImagesFilesetExists", nil)}
	for i := range r.path.shots {
		for _, channel := range r.channels() {
			images.files = append(images.files, file{name: imageName(i, channel)})
		}
		masks.files = append(masks.files, file{name: imageID(i, "rgb") + ".png"})
		flat.files = append(flat.files, file{name: imageName(i, "rgb")})
	}
	sets := []fileset{images}
	if r.analyzed {
		sets = append(sets, masks)
		if flat.id != "" {
			sets = append(sets, flat)
		}
	}
	return sets
}

// scan writes everything of r but the files of its shots.
func (s *studio) scan(r recipe, of *subject) error {
	sets := r.shotSets(of)
	outputs, err := r.outputs(of, s.options.Width, s.options.Height)
	if err != nil {
		return fmt.Errorf("outputs of %s: %w", r.id, err)
	}
	for _, set := range outputs {
		if err := s.tree.files(r.dir(), set); err != nil {
			return err
		}
	}
	sets = append(sets, outputs...)
	for _, set := range sets {
		if err := s.tree.json(path.Join(r.dir(), "metadata", set.id+".json"), set.meta); err != nil {
			return err
		}
	}
	if err := s.free(r, of); err != nil {
		return err
	}
	if err := s.tree.json(path.Join(r.dir(), "metadata", "metadata.json"), r.metadata(r)); err != nil {
		return err
	}
	return s.tree.json(path.Join(r.dir(), "files.json"), index(sets))
}

// free writes the files of r that belong to no fileset.
func (s *studio) free(r recipe, of *subject) error {
	if r.kind != firstImager {
		if err := s.tree.put(path.Join(r.dir(), "scan.toml"), []byte(r.scanTOML())); err != nil {
			return err
		}
	}
	if !r.analyzed {
		return nil
	}
	if err := s.tree.put(path.Join(r.dir(), "pipeline.toml"), []byte(r.pipelineTOML())); err != nil {
		return err
	}
	if r.kind != realImager {
		return nil
	}
	return s.tree.json(path.Join(r.dir(), "measures.json"), of.organs.measures())
}

// index is the content of files.json.
func index(sets []fileset) object {
	list := make([]object, 0, len(sets))
	for _, set := range sets {
		files := make([]object, 0, len(set.files))
		for _, f := range set.files {
			files = append(files, object{"file": f.name, "id": f.id()})
		}
		list = append(list, object{"files": files, "id": set.id})
	}
	return object{"filesets": list}
}

// writeCommon writes what belongs to no scan.
func writeCommon(t tree, chosen []recipe) error {
	sample, gantry, renderer := recipes()[0], recipe{kind: realImager}, recipe{kind: virtualImager}
	for name, text := range map[string]string{
		"configs/scan.toml":              sample.scanTOML(),
		"configs/geom_pipe_real.toml":    gantry.pipelineTOML(),
		"configs/geom_pipe_virtual.toml": renderer.pipelineTOML(),
		markerName:                       "",
	} {
		if err := t.put(name, []byte(text)); err != nil {
			return err
		}
	}
	var members []string
	for _, r := range chosen {
		if r.timelapse != "" {
			members = append(members, r.id)
		}
	}
	if members == nil {
		return nil
	}
	return t.json(growthSeries+"/timelapse.json", growthMarker(members))
}
