package scan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/pyenv"
)

// olderMetadata is scans' and their images' metadata of the generations
// before MIAPPE. What upstream's tool would trip over is left out.
var olderMetadata = map[string][2]string{
	"flat": {`{"object": {"dataset_id": "d", "experiment_id": "e", "growth_environment": "chamber", "environment": "other",
		"growth_conditions": "LD", "treatment": "none", "plant_id": "p", "object_id": "o", "species": "Arabidopsis thaliana",
		"seed_stock": "Col-0", "DAG": 40, "sample": "main stem"}, "hardware": {"camera": "RX0"}, "owner": "ann", "z": [1, 1e400]}`,
		`{"object": {"species": "Arabidopsis thaliana"}, "hardware": {"camera": "RX0"}, "channels": ["rgb"]}`},
	"nested":  {`{"Metadata": {"object": {"species": "tomato", "DAG": "12", "environment": "field", "object_id": "o"}, "hardware": {"x": 1}, "other": 2}}`, `{"Metadata": {"object": {}, "hardware": {"x": 1}}, "workspace": {}}`},
	"alone":   {`{"Metadata": {"object": {"DAG": "soon", "species": ""}}}`, `{}`},
	"some":    {`{"object": {"species": "maize", "DAG": 3.7}, "study": {"title": "kept"}, "biologicalMaterial": null}`, `{"channels": ["rgb"]}`},
	"empty":   {`{"object": {}}`, `{"object": {}, "hardware": {}}`},
	"modern":  {`{"study": {"title": "t"}, "object": "text", "Metadata": {"x": 1}}`, `{"channels": ["rgb"]}`},
	"without": {`{}`, `{}`},
}

const upstreamMigrates = `
import sys, pathlib
from plantdb.commons.cli.fsdb_migrate_metadata import migrate_scan_metadata
from plantdb.commons.cli.fsdb_clean_images_metadata import clean_images_metadata
for scan in pathlib.Path(sys.argv[1]).iterdir():
    if scan.is_dir() and not scan.name.startswith("."):
        migrate_scan_metadata(scan)
        clean_images_metadata(scan)
`

const upstreamReads = `
import sys, json
from plantdb.commons.fsdb.core import FSDB
db = FSDB(sys.argv[1], no_auth=True)
db.connect()
print(json.dumps({s.id: [s.metadata.get("biologicalMaterial"), s.filesets["images"].metadata] for s in db.scans.values()}))
`

func python(t *testing.T, program, dir string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), pyenv.Python(t, "plantdb-commons==0.17.0"), "-c", program, dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("upstream = %v\n%s", err, stderr.String())
	}
	out = bytes.TrimSpace(out)
	return out[bytes.LastIndexByte(out, '\n')+1:]
}

func olderScans() (all []files) {
	for name, documents := range olderMetadata {
		scan := plainScan(name, documents[0])
		scan[name+"/metadata/images.json"] = documents[1]
		all = append(all, scan)
	}
	return all
}

// documentsOf returns the metadata files of scans, read as JSON; copies as text.
func documentsOf(t *testing.T, dir string) map[string]any {
	t.Helper()
	all := map[string]any{}
	paths := must[[]string](t)(filepath.Glob(filepath.Join(dir, "*", "metadata", "*")))
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil { // a directory
			continue
		}
		name, _ := filepath.Rel(dir, path)
		if filepath.Ext(path) == ".bak" {
			all[name] = string(content)
			continue
		}
		dec := json.NewDecoder(bytes.NewReader(content))
		dec.UseNumber()
		var v any
		if err := dec.Decode(&v); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all[name] = v
	}
	return all
}

// What we make of older metadata is what upstream's two tools make of it, the
// copies beside it too; upstream opens it; a second run changes nothing.
func TestMigrateMetadataIsUpstreams(t *testing.T) {
	t.Parallel()
	theirs := t.TempDir()
	for _, f := range olderScans() {
		f.write(t, theirs)
	}
	// Python reads 1e400 and writes Infinity: taken out for the comparison.
	plain := `{"object": {"species": "maize"}, "hardware": {"camera": "RX0"}, "owner": "ann"}`
	files{"flat/metadata/metadata.json": plain}.write(t, theirs)
	python(t, upstreamMigrates, theirs)

	f := indexed(t, append(olderScans(), files{"flat/metadata/metadata.json": plain})...)
	ctx := as(t, actor.System())
	before := documentsOf(t, f.dir)
	for name := range olderMetadata {
		if _, err := f.MigrateMetadata(ctx, name, true); err != nil {
			t.Errorf("MigrateMetadata(%s, dry) = %v", name, err)
		}
	}
	if diff := cmp.Diff(before, documentsOf(t, f.dir)); diff != "" {
		t.Errorf("a dry run changes the tree:\n%s", diff)
	}
	for name := range olderMetadata {
		must[Migrated](t)(f.MigrateMetadata(ctx, name, false))
	}
	if diff := cmp.Diff(documentsOf(t, theirs), documentsOf(t, f.dir)); diff != "" {
		t.Errorf("migrated (-upstream's +ours):\n%s", diff)
	}
	after := documentsOf(t, f.dir)
	for name := range olderMetadata {
		if done := must[Migrated](t)(f.MigrateMetadata(ctx, name, false)); done.Changed() {
			t.Errorf("a second run = %+v, want nothing", done)
		}
	}
	if diff := cmp.Diff(after, documentsOf(t, f.dir)); diff != "" {
		t.Errorf("a second run changes the tree:\n%s", diff)
	}
	var read map[string][2]map[string]any
	if err := json.Unmarshal(python(t, upstreamReads, f.dir), &read); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(read["nested"][0]["organism"]); len(read) != len(olderMetadata) || got != "map[genus: species:tomato]" {
		t.Errorf("upstream reads %d scans, the organism of one as %s", len(read), got)
	}
	// The index says what the disk says, and the facts are the same as before.
	if done := f.reconcile(t); done.Broken != 0 {
		t.Errorf("Reconcile() = %+v", done)
	}
	info := decode(t, must[json.RawMessage](t)(f.Info(as(t, guest), "nested")))
	if got := info["metadata"].(map[string]any); got["species"] != "tomato" || got["plant"] != "o" || got["environment"] != "field" {
		t.Errorf("info after migration = %v", got)
	}
}

// What upstream would lose, or never sees.
func TestMigrateMetadata(t *testing.T) {
	t.Parallel()
	only := plainScan("only", `{"owner": "ann"}`)
	only["only/metadata/images.json"] = `{"object": {"species": "maize"}, "hardware": {"x": 1}, "Metadata": {"object": {"species": "maize"}}}`
	numbers := plainScan("numbers", `{"object": {"plant_id": 12, "species": ["x"], "DAG": true}, "Metadata": {"object": {"plant_id": "nested"}}}`)
	damaged := plainScan("damaged", `{"object": {`)
	f := indexed(t, only, numbers, damaged, plainScan("tl/member", `{"object": {"species": "maize"}, "timelapse": {"id": "tl", "index": 1}}`), files{"tl/timelapse.json": `{"id": "tl"}`})
	ctx := as(t, actor.System())

	done := must[Migrated](t)(f.MigrateMetadata(ctx, "only", false))
	if diff := cmp.Diff(Migrated{Scan: "only", Kept: []string{"object", "hardware", "Metadata"}}, done); diff != "" {
		t.Errorf("of images alone (-want +got):\n%s", diff)
	}
	info := decode(t, must[json.RawMessage](t)(f.Info(as(t, guest), "only")))
	if got := info["metadata"].(map[string]any)["species"]; got != "maize" {
		t.Errorf("species = %v, want maize", got)
	}
	done = must[Migrated](t)(f.MigrateMetadata(ctx, "numbers", false))
	if diff := cmp.Diff([]string{"Metadata.object", "object"}, done.Removed); diff != "" {
		t.Errorf("of two objects removed (-want +got):\n%s", diff)
	}
	material := decode(t, must[json.RawMessage](t)(f.Metadata(as(t, guest), "numbers")))["biologicalMaterial"].(map[string]any)
	if material["biologicalMaterialId"] != "nested" || CheckBiology(must[json.RawMessage](t)(f.Metadata(as(t, guest), "numbers"))) != nil {
		t.Errorf("material = %v, want the nested object's, as the schema has it", material)
	}
	done = must[Migrated](t)(f.MigrateMetadata(ctx, "member", false))
	if done.Timelapse != "tl" || len(done.Sections) != 3 || !bytes.Contains([]byte(f.read(t, "tl/member/metadata/metadata.json")), []byte(`"index": 1`)) {
		t.Errorf("of a member = %+v", done)
	}
	if got := f.read(t, "tl/member/metadata/metadata.json.bak"); got != `{"object": {"species": "maize"}, "timelapse": {"id": "tl", "index": 1}}` {
		t.Errorf("the copy holds %s", got)
	}
	if _, err := f.MigrateMetadata(ctx, "damaged", false); !errors.Is(err, fsdb.ErrBroken) {
		t.Errorf("of a damaged scan = %v, want ErrBroken", err)
	}
	if got := f.read(t, "damaged/metadata/metadata.json"); got != `{"object": {` {
		t.Errorf("the damaged file became %s", got)
	}
	if _, err := f.MigrateMetadata(as(t, rita), "numbers", false); !errors.Is(err, ErrForbidden) {
		t.Errorf("by a reader = %v, want ErrForbidden", err)
	}
	if _, err := f.AllNames(as(t, admin)); !errors.Is(err, ErrForbidden) {
		t.Errorf("AllNames of a person = %v, want ErrForbidden", err)
	}
}
