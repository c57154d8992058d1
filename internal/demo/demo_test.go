package demo

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"image/jpeg"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

var published = []string{"arabidopsis000", "real_plant", "real_plant_analyzed", "virtual_plant", "virtual_plant_analyzed"}

func TestWriteAtFullSize(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var steps []int
	total := 0
	o := Options{Width: testWidth, Height: testHeight}
	o.Progress = func(done, of int) { steps, total = append(steps, done), of }
	err := Write(t.Context(), dir, o)
	if err != nil {
		t.Fatalf("Write = %v, want nil", err)
	}
	var size int64
	ends := map[string]int{}
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		size += info.Size()
		ends[filepath.Ext(p)]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if size > 20e6 {
		t.Errorf("size = %d bytes, want at most 20 MB", size)
	}
	// 66 photos of which 18 stand twice, six masks for each of 18 virtual
	// shots, one for each of 30 analyzed shots.
	if ends[".jpg"] != 84 || ends[".png"] != 138 || ends[".ply"] != 8 {
		t.Errorf("files = %v, want 84 .jpg, 138 .png, 8 .ply", ends)
	}
	if want := 66 + 8; total != want || len(steps) != want || !slices.IsSorted(steps) {
		t.Errorf("Progress: %d calls of %d, sorted %t, want %d", len(steps), total, slices.IsSorted(steps), want)
	}
	f, err := os.Open(filepath.Join(dir, "real_plant", "images", "00000_rgb.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fullWidth, fullHeight := cmp.Or(testWidth, 1440), cmp.Or(testHeight, 1080)
	if c, err := jpeg.DecodeConfig(f); err != nil || c.Width != fullWidth || c.Height != fullHeight {
		t.Errorf("image = %dx%d, %v, want %dx%d", c.Width, c.Height, err, fullWidth, fullHeight)
	}
}

// TestSmallTree writes all scans once for the tests that only read them.
func TestSmallTree(t *testing.T) {
	t.Parallel()
	dir := write(t, 96, 72)
	t.Run("layout", func(t *testing.T) { checkLayout(t, dir) })
	t.Run("metadata", func(t *testing.T) { checkMetadata(t, dir) })
	t.Run("bytes", func(t *testing.T) { checkBytes(t, dir) })
}

func checkLayout(t *testing.T, dir string) {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range found {
		names = append(names, e.Name())
	}
	want := append(slices.Clone(published), "configs", "growth_series", "romidb")
	slices.Sort(want)
	if diff := gocmp.Diff(want, names); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	scans := append(slices.Clone(published), "growth_series/growth_day_28", "growth_series/growth_day_35", "growth_series/growth_day_42")
	for _, scan := range scans {
		checkIndex(t, filepath.Join(dir, scan))
	}
	var mark marker
	readJSON(t, &mark, dir, "growth_series", "timelapse.json")
	if diff := gocmp.Diff([]string{"growth_day_28", "growth_day_35", "growth_day_42"}, mark.Scans); diff != "" || mark.ID != "growth_series" {
		t.Errorf("timelapse %q (-want +got):\n%s", mark.ID, diff)
	}
}

// checkIndex says whether files.json names exactly the files there are, and
// each piece of metadata belongs to one of them.
func checkIndex(t *testing.T, scan string) {
	t.Helper()
	var index struct {
		Filesets []struct {
			ID    string
			Files []struct{ File, ID string }
		}
	}
	readJSON(t, &index, scan, "files.json")
	named := []string{"files.json"}
	sidecars := []string{"metadata/metadata.json"}
	for _, set := range index.Filesets {
		sidecars = append(sidecars, "metadata/"+set.ID+".json")
		for _, f := range set.Files {
			named = append(named, set.ID+"/"+f.File)
			sidecars = append(sidecars, "metadata/"+set.ID+"/"+f.ID+".json")
			if f.ID != strings.TrimSuffix(f.File, filepath.Ext(f.File)) {
				t.Errorf("%s: file %q has id %q", scan, f.File, f.ID)
			}
		}
	}
	err := fs.WalkDir(os.DirFS(scan), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		switch free := !strings.Contains(p, "/"); {
		case strings.HasPrefix(p, "metadata/"):
			if !slices.Contains(sidecars, p) {
				t.Errorf("%s: %s describes nothing", scan, p)
			}
			var object map[string]any
			readJSON(t, &object, scan, p)
		case free && slices.Contains([]string{"scan.toml", "pipeline.toml", "measures.json"}, p):
		case !slices.Contains(named, p):
			t.Errorf("%s: %s is in no fileset", scan, p)
		}
		named = slices.DeleteFunc(named, func(n string) bool { return n == p })
		return nil
	})
	if err != nil || len(named) > 0 {
		t.Errorf("%s: %v; in files.json but not there: %q", scan, err, named)
	}
}

func TestWriteIsDeterministic(t *testing.T) {
	t.Parallel()
	scans := []string{"real_plant_analyzed", "virtual_plant"}
	all := func(string) bool { return true }
	first, second := write(t, 96, 72, scans...), write(t, 96, 72, scans...)
	if a, b := digest(t, first, all), digest(t, second, all); a != b {
		t.Errorf("digests of two trees = %s, %s, want one", a, b)
	}
}

// checkBytes fails where an architecture or a build (GOAMD64=v3 fuses products
// and sums) computes other bits. Images are compared before they are encoded,
// since an encoder may change with Go. When the plants are changed on purpose,
// take over the new values.
func checkBytes(t *testing.T, dir string) {
	t.Helper()
	const (
		wantFiles  = "e48d0815dee2a7aede61b7b9d93288c4355241a6a0682c44ed4ca2fed8503bb4"
		wantPixels = "3fbbf500432c5e8dc5dee507ac863fb24ff1c64e3498bcd17b467181d32d0047"
	)
	got := digest(t, dir, func(name string) bool {
		return !slices.Contains([]string{".jpg", ".png"}, filepath.Ext(name))
	})
	if got != wantFiles {
		t.Errorf("digest of all but images = %s, want %s", got, wantFiles)
	}
	h := sha256.New()
	c, drop := newCanvas(640, 480), newBackdrop(320, 240)
	for _, r := range []recipe{recipes()[0], recipes()[2]} {
		r.plant.subject().scene.render(c, r.path.cameras()[1])
		p := c.resolve(drop, 1, r.grain())
		_, _ = h.Write(p.rgba.Pix)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != wantPixels {
		t.Errorf("digest of pixels = %s, want %s", got, wantPixels)
	}
}

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	small := Options{Scans: []string{"growth_day_28"}, Width: 32, Height: 24}
	tests := []struct {
		name    string
		entry   string // what the directory holds already
		options Options
		want    error
	}{
		{"a directory with a file", "notes.txt", small, ErrNotEmpty},
		{"an unknown scan", "", Options{Scans: []string{"real_plan"}}, ErrUnknownScan},
		{"a size of one side", "", Options{Width: 100}, ErrBadSize},
		{"a huge size", "", Options{Width: 5000, Height: 5000}, ErrBadSize},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if tt.entry != "" {
				if err := os.WriteFile(filepath.Join(dir, tt.entry), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := Write(t.Context(), dir, tt.options); !errors.Is(err, tt.want) {
				t.Errorf("Write = %v, want %v", err, tt.want)
			}
			if found, err := os.ReadDir(dir); err != nil || len(found) > 1 {
				t.Errorf("directory afterwards = %v, %v, want nothing new", found, err)
			}
		})
	}
}

func TestWriteReplacesLeftoversAndKeepsHiddenEntries(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "db")
	for _, name := range []string{".plantdb/keep", ".demo/real_plant/files.json"} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := Options{Scans: []string{"growth_day_28"}, Width: 32, Height: 24}
	if err := Write(t.Context(), dir, o); err != nil {
		t.Fatalf("Write = %v, want nil", err)
	}
	for name, want := range map[string]bool{
		".plantdb/keep": true, "romidb": true, "growth_series/growth_day_28/files.json": true,
		".demo": false, "real_plant": false,
	} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s exists = %t, want %t (%v)", name, err == nil, want, err)
		}
	}
}

func TestWriteStopsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	o := Options{Scans: []string{"growth_series"}, Width: 32, Height: 24, Progress: func(int, int) { cancel() }}
	if err := Write(ctx, dir, o); !errors.Is(err, context.Canceled) {
		t.Errorf("Write = %v, want %v", err, context.Canceled)
	}
	if found, err := os.ReadDir(dir); err != nil || len(found) > 0 {
		t.Errorf("directory afterwards = %v, %v, want empty", found, err)
	}
}

func checkMetadata(t *testing.T, dir string) {
	t.Helper()
	tests := []struct {
		file string
		keys []string
	}{
		{"real_plant/metadata/metadata.json", nil},
		{"real_plant/metadata/images.json", []string{"object", "hardware", "acquisition_date", "workspace", "channels"}},
		{"real_plant_analyzed/metadata/metadata.json", []string{"object", "hardware", "acquisition_date", "ScanPath"}},
		{"virtual_plant/metadata/metadata.json", []string{"investigation", "study", "biologicalMaterial", "observedVariable", "workspace"}},
		{"arabidopsis000/metadata/metadata.json", []string{"object", "scanner"}},
		{"arabidopsis000/metadata/images/00000_rgb.json", []string{"channel", "pose"}},
		{"growth_series/growth_day_35/metadata/metadata.json", []string{"timelapse", "study", "created", "last_modified"}},
		{"real_plant/metadata/images/00001_rgb.json", []string{"channel", "shot_id", "pose", "approximate_pose"}},
		{"real_plant_analyzed/metadata/images/00001_rgb.json", []string{"channel", "colmap_camera", "calibrated_pose"}},
		{"virtual_plant/metadata/images/00001_fruit.json", []string{"channel", "camera", "shot_id"}},
	}
	for _, tt := range tests {
		var got map[string]any
		readJSON(t, &got, dir, tt.file)
		for _, key := range tt.keys {
			if got[key] == nil {
				t.Errorf("%s has no %s", tt.file, key)
			}
		}
		if tt.keys == nil && len(got) > 0 {
			t.Errorf("%s = %v, want {}", tt.file, got)
		}
	}
	if toml := string(readFile(t, dir, "real_plant_analyzed", "pipeline.toml")); !strings.Contains(toml, "[Voxels.bounding_box]\nx = [300, 450]\ny = [300, 450]\nz = [-175, 100]\n") {
		t.Errorf("pipeline.toml names no bounding box:\n%s", toml)
	}
}
