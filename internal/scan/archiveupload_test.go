package scan

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
)

// zipped packs files into an archive.
func zipped(t testing.TB, content files) []byte {
	t.Helper()
	return must[[]byte](t)(pack(content))
}

func pack(content files) ([]byte, error) {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for name, text := range content {
		f, err := w.Create(name)
		if err == nil {
			_, err = io.WriteString(f, text)
		}
		if err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return buf.Bytes(), err
}

// scanArchive is an archive of plainScan with that metadata, and more files:
// names and contents in turn.
func scanArchive(t testing.TB, metadata string, more ...string) []byte {
	content := files{}
	for name, text := range plainScan("s", metadata) {
		content[strings.TrimPrefix(name, "s/")] = text
	}
	for pair := range slices.Chunk(more, 2) {
		content[pair[0]] = pair[1]
	}
	return zipped(t, content)
}

// uploadArchive takes an archive begin to end.
func uploadArchive(ctx context.Context, s *Service, name string, archive []byte) ([]string, error) {
	up, err := s.BeginArchive(ctx, name)
	if err != nil {
		return nil, err
	}
	defer up.Discard()
	if err := up.Stage(ctx, bytes.NewReader(archive)); err != nil {
		return nil, err
	}
	return up.Commit(ctx)
}

// treeOf is all files below a directory of the tree.
func (f fixture) treeOf(t testing.TB, dir string) files {
	t.Helper()
	found := files{}
	root := filepath.Join(f.dir, dir)
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		rel := strings.TrimPrefix(path, root+"/")
		if e.IsDir() {
			found[rel+"/"] = ""
			return nil
		}
		data, err := os.ReadFile(path)
		found[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What the archive of a scan holds makes the same scan again, of whoever
// brings it.
func TestArchiveRoundTrip(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann", "sharing": ["lab"], "x": [1, 2.50, "é"]}`),
		files{"s/empty/": "", "s/notes/é\nodd.txt": "a note", "s/measures.json": "{}", "s/pipeline.toml": "[Voxels]\n"})
	files{"s/files.json": strings.Replace(f.read(t, "s/files.json"), `"filesets": [`, `"filesets": [{"id":"empty","files":[]},`, 1)}.write(t, f.dir)
	f.reconcile(t)
	before := f.treeOf(t, "s")
	archive := must[[]byte](t)(write(t, openArchive(t, NewArchives(f.Service), ann, "s")))
	for name, who := range map[string]actor.Actor{"again": ann, "taken": bob} {
		names, err := uploadArchive(as(t, who), f.Service, name, archive)
		if err != nil {
			t.Fatalf("Commit(%s) = %v", name, err)
		}
		if len(names) != 10 || !slices.Contains(names, "images/00000_rgb.jpg") || !slices.IsSorted(names) {
			t.Errorf("Commit(%s) = %q", name, names)
		}
		after := f.treeOf(t, name)
		if who.Username != "ann" {
			owned := decode(t, []byte(after["metadata/metadata.json"]))
			want := decode(t, []byte(before["metadata/metadata.json"]))
			want["owner"] = who.Username
			if diff := cmp.Diff(want, owned); diff != "" {
				t.Errorf("metadata of %s: (-want +got)\n%s", name, diff)
			}
			after["metadata/metadata.json"] = before["metadata/metadata.json"]
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("%s is not s: (-want +got)\n%s", name, diff)
		}
		r := must[row](t)(f.scan(t.Context(), f.pool, name))
		if r.Owner == nil || *r.Owner != who.Username || !slices.Equal(r.Sharing, []string{"lab"}) {
			t.Errorf("%s is indexed as %+v", name, r)
		}
		info := must[json.RawMessage](t)(f.Info(as(t, who), name))
		if !bytes.Contains(info, []byte(`"00000_rgb.jpg"`)) {
			t.Errorf("info of %s = %s", name, info)
		}
	}
	// What was unpacked is known by its digest, at once.
	var known int
	err := f.pool.QueryRow(t.Context(), `SELECT count(*) FROM files f JOIN filesets fs ON fs.id = f.fileset_id JOIN scans s ON s.id = fs.scan_id
		WHERE s.name IN ('again', 'taken') AND f.sha256 = sha256(convert_to(CASE f.name WHEN '00000_rgb' THEN 'first image' ELSE 'second' END, 'UTF8'))`).Scan(&known)
	if err != nil || known != 4 {
		t.Errorf("%d files of the archives have their digest (%v), want 4", known, err)
	}
	// A reconcile finds nothing to do: the rows are those of the tree.
	if done := f.reconcile(t); done.Read > 0 {
		t.Errorf("Reconcile after it read %d scans anew, want none", done.Read)
	}
	events := f.outbox(t)
	slices.Sort(events)
	if len(events) != 3 || !strings.HasPrefix(events[0], "scan.changed") || events[1] != "scan.created ann:none  again" || events[2] != "scan.created bob:none  taken" {
		t.Errorf("events are %q, want the two scans made", events)
	}
}

func TestArchiveUploadRefuses(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{}`), files{"tl/timelapse.json": `{"id":"tl","owner":"ann"}`})
	for name, tt := range map[string]struct {
		a       actor.Actor
		scan    string
		archive []byte
		want    error
	}{
		"nobody":           {nobody, "new", nil, ErrForbidden},
		"guest":            {guest, "new", nil, ErrNoActor},
		"a reader":         {rita, "new", nil, ErrForbidden},
		"a token for less": {scoped(ann, "other*", actor.Create), "new", nil, ErrForbidden},
		"there":            {ann, "s", nil, ErrScanExists},
		"a timelapse":      {ann, "tl", nil, ErrScanExists},
		"a bad name":       {ann, "a b", nil, fsdb.ErrName},
		"a reserved name":  {ann, "configs", nil, fsdb.ErrReserved},
		"no archive":       {ann, "new", []byte("text"), fsdb.ErrArchive},
		"a visibility":     {ann, "new", scanArchive(t, `{"visibility":"secret"}`), ErrMetadata},
		"a bad timelapse":  {ann, "new", scanArchive(t, `{"timelapse":{"id":"a b"}}`), fsdb.ErrName},
		"a scan as one":    {ann, "new", scanArchive(t, `{"timelapse":{"id":"s"}}`), ErrTimelapseExists},
		"its own name":     {ann, "new", scanArchive(t, `{"timelapse":{"id":"new"}}`), ErrTimelapseExists},
	} {
		if _, err := uploadArchive(as(t, tt.a), f.Service, tt.scan, tt.archive); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	if _, err := uploadArchive(t.Context(), f.Service, "new", nil); !errors.Is(err, ErrNoActor) {
		t.Errorf("without an actor: %v, want ErrNoActor", err)
	}
	if names := must[[]string](t)(f.Names(as(t, admin), Query{})); !slices.Equal(names, []string{"s"}) {
		t.Errorf("scans are %v, want [s]", names)
	}
	if left := must[[]os.DirEntry](t)(os.ReadDir(filepath.Join(f.dir, ".plantdb/staging"))); len(left) > 0 {
		t.Errorf("left in staging: %v", left)
	}
}

func TestArchiveIntoTimelapse(t *testing.T) {
	t.Parallel()
	f := indexed(t, files{"tl/timelapse.json": `{"id":"tl","owner":"ann","scans":[]}`})
	for _, name := range []string{"first", "second"} {
		for _, timelapse := range []string{"tl", "made"} {
			archive := scanArchive(t, `{"timelapse":{"id":"`+timelapse+`","index":1}}`)
			if _, err := uploadArchive(as(t, bob), f.Service, timelapse+"_"+name, archive); err != nil {
				t.Fatalf("Commit(%s into %s) = %v", name, timelapse, err)
			}
		}
	}
	for timelapse, owner := range map[string]string{"tl": "ann", "made": "bob"} {
		got := must[Timelapse](t)(f.Timelapse(as(t, rita), timelapse))
		if want := []string{timelapse + "_first", timelapse + "_second"}; !slices.Equal(got.Scans, want) || *got.Owner != owner {
			t.Errorf("timelapse %s = %v of %s, want %v of %s", timelapse, got.Scans, *got.Owner, want, owner)
		}
		if _, err := os.Stat(filepath.Join(f.dir, timelapse, timelapse+"_first", "images/00000_rgb.jpg")); err != nil {
			t.Error(err)
		}
	}
	if done := f.reconcile(t); done.Read > 0 || done.Removed > 0 {
		t.Errorf("Reconcile after it = %+v, want nothing to do", done)
	}
	// Who may make scans of these names, but no such timelapse.
	archive := scanArchive(t, `{"timelapse":{"id":"strange"}}`)
	if _, err := uploadArchive(as(t, scoped(ann, "x*", actor.Create, actor.Write)), f.Service, "x1", archive); !errors.Is(err, ErrForbidden) {
		t.Errorf("Commit into a timelapse beyond the token = %v, want ErrForbidden", err)
	}
	if _, err := os.Stat(filepath.Join(f.dir, "strange")); !os.IsNotExist(err) {
		t.Errorf("the timelapse was made all the same: %v", err)
	}
}

// Groups that are none here are dropped, and a private scan is so at once.
func TestArchiveAccess(t *testing.T) {
	t.Parallel()
	f := indexed(t)
	archive := scanArchive(t, `{"owner":"eve","sharing":["lab","strangers"],"visibility":"private"}`)
	if _, err := uploadArchive(as(t, ann), f.Service, "s", archive); err != nil {
		t.Fatal(err)
	}
	r := must[row](t)(f.scan(t.Context(), f.pool, "s"))
	if *r.Owner != "ann" || !slices.Equal(r.Sharing, []string{"lab"}) || r.Visibility != Private {
		t.Errorf("scan = %+v, want ann's, private, shared with lab", r)
	}
	if _, err := f.Info(as(t, rita), "s"); !errors.Is(err, ErrUnknownScan) {
		t.Errorf("Info by another = %v, want ErrUnknownScan", err)
	}
}

// Of many that bring the same scan one succeeds; a scan that only the tree has
// is taken into the index, and not overwritten.
// A scan that was made private stays so on its way through an archive.
func TestArchiveKeepsVisibility(t *testing.T) {
	t.Parallel()
	f := indexed(t, plainScan("s", `{"owner": "ann"}`))
	if _, err := f.SetVisibility(as(t, ann), "s", Private, Match{}); err != nil {
		t.Fatal(err)
	}
	archive, err := write(t, openArchive(t, NewArchives(f.Service), ann, "s"))
	if err != nil {
		t.Fatalf("WriteRange = %v", err)
	}
	for name, archive := range map[string][]byte{
		"back":    archive,
		"nested":  scanArchive(t, `{"visibility": "private"}`, "images/.plantdb.json", `{"visibility": "public"}`),
		"similar": scanArchive(t, `{"visibility": "private"}`, "images/x.plantdb.json", `{"visibility": "public"}`),
	} {
		names, err := uploadArchive(as(t, ann), f.Service, name, archive)
		if err != nil {
			t.Fatalf("upload %s = %v", name, err)
		}
		if slices.Contains(names, ".plantdb.json") {
			t.Errorf("%s: the answer names what is no file of the scan: %q", name, names)
		}
		if _, err := f.Info(as(t, guest), name); !errors.Is(err, ErrUnknownScan) {
			t.Errorf("%s: Info by a guest = %v, want ErrUnknownScan", name, err)
		}
		if err := f.RefreshScan(as(t, ann), name); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Info(as(t, guest), name); !errors.Is(err, ErrUnknownScan) {
			t.Errorf("%s: Info by a guest after a re-index = %v, want ErrUnknownScan", name, err)
		}
	}
	for sidecar, want := range map[string]error{
		`{"visibility": "secret"}`: ErrMetadata, `{`: fsdb.ErrArchiveStructure, `{}`: fsdb.ErrArchiveStructure,
		`{"visibility": "public"}` + strings.Repeat(" ", 5000): fsdb.ErrArchiveStructure,
	} {
		_, err := uploadArchive(as(t, ann), f.Service, "damaged", scanArchive(t, `{}`, ".plantdb.json", sidecar))
		if !errors.Is(err, want) {
			t.Errorf("upload with the visibility %.30q = %v, want %v", sidecar, err, want)
		}
	}
}

func TestArchivesAtOnce(t *testing.T) {
	t.Parallel()
	f := indexed(t)
	archive := scanArchive(t, `{"timelapse":{"id":"tl"}}`)
	errs := make([]error, 8)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() { _, errs[i] = uploadArchive(as(t, ann), f.Service, "s", archive) })
	}
	group.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
		} else if !errors.Is(err, ErrScanExists) {
			t.Errorf("Commit = %v, want nil or ErrScanExists", err)
		}
	}
	if made != 1 {
		t.Errorf("%d of 8 made the scan, want 1", made)
	}
	plainScan("outside", `{"owner":"eve"}`).write(t, f.dir)
	if _, err := uploadArchive(as(t, ann), f.Service, "outside", archive); !errors.Is(err, ErrScanExists) {
		t.Errorf("Commit over a scan that the index does not know = %v, want ErrScanExists", err)
	}
}
