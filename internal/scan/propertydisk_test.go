package scan

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
)

// observe returns what there is by the service's own answers.
func (tr *trial) observe(ctx context.Context, s *Service) (*modelWorld, error) {
	w := newModel()
	names, err := s.Names(ctx, Query{})
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if w.Scans[name], err = observeScan(ctx, s, name); err != nil {
			return nil, fmt.Errorf("read scan %s: %w", name, err)
		}
	}
	if names, err = s.Timelapses(ctx, Query{}); err != nil {
		return nil, err
	}
	for _, name := range names {
		t, err := s.Timelapse(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("read timelapse %s: %w", name, err)
		}
		w.Timelapses[name] = &modelTimelapse{textOf(t.Owner), shownKeys(t.Metadata)}
		for _, scan := range t.Scans {
			w.Scans[scan].Timelapse = name
		}
	}
	entries, err := s.Trash(ctx, nil, maxTrashPage)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		w.Trash[e.ID.String()] = &modelTrash{modelEntry: modelEntry{e.Kind, e.Timelapse, e.Scan, e.Fileset, e.File, textOf(e.Owner), e.DeletedBy}}
	}
	return w, tr.observeEvents(ctx, w)
}

func observeScan(ctx context.Context, s *Service, name string) (*modelScan, error) {
	access, err := s.Access(ctx, name)
	if err != nil {
		return nil, err
	}
	metadata, err := s.Metadata(ctx, name)
	if err != nil {
		return nil, err
	}
	scan := &modelScan{Owner: textOf(access.Owner), Private: access.Visibility == Private, Metadata: shownKeys(metadata), Filesets: map[string]*modelFileset{}}
	filesets, err := s.FilesetNames(ctx, name, Query{})
	if err != nil {
		return nil, err
	}
	for _, fileset := range filesets {
		metadata, err := s.FilesetMetadata(ctx, name, fileset)
		if err != nil {
			return nil, err
		}
		fs := &modelFileset{shownKeys(metadata), map[string]*modelFile{}}
		scan.Filesets[fileset] = fs
		ids, err := s.FileNames(ctx, name, fileset, Query{})
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			if fs.Files[id], err = observeFile(ctx, s, name, fileset, id); err != nil {
				return nil, fmt.Errorf("file %s/%s: %w", fileset, id, err)
			}
		}
	}
	return scan, nil
}

func observeFile(ctx context.Context, s *Service, name, fileset, id string) (*modelFile, error) {
	metadata, err := s.FileMetadata(ctx, name, fileset, id)
	if err != nil {
		return nil, err
	}
	content, err := s.OpenFile(ctx, name, fileset, id)
	if err != nil {
		return nil, err
	}
	defer content.Close() // only read
	text, err := io.ReadAll(content)
	return &modelFile{string(text), shownKeys(metadata)}, err
}

// observeEvents counts the events there are; one that somebody outside did
// something is counted as such.
func (tr *trial) observeEvents(ctx context.Context, w *modelWorld) error {
	rows, err := tr.pool.Query(ctx, `SELECT kind, username IS NULL, coalesce(concat_ws('/', scan, fileset, file), ''), coalesce(timelapse, '') FROM scan_events`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var kind, where, timelapse string
		var outside bool
		if err := rows.Scan(&kind, &outside, &where, &timelapse); err != nil {
			return err
		}
		if where == "" {
			where = timelapse
		}
		if outside {
			where += " outside"
		}
		w.told(Kind(kind), where)
	}
	return rows.Err()
}

// compareDisk reads the tree as upstream's programs do, by nothing of ours, and
// says what differs from what there should be. Beside what is listed there is
// nothing, and of what calls work with, nothing is left.
func (tr *trial) compareDisk(now *modelWorld, clean bool) error {
	w := newModel()
	d := &diskReader{dir: tr.dir, w: w}
	d.root(clean)
	for _, kind := range []string{"staging", "uploads", "journal", "batches", "quarantine"} {
		for _, name := range d.names(".plantdb/" + kind) {
			if kind != "quarantine" || clean {
				d.fault("left in .plantdb/%s: %s", kind, name)
			}
		}
	}
	trash := d.names(".plantdb/trash")
	for _, id := range trash {
		if now.Trash[id] == nil {
			d.fault("an entry of the trash that nobody knows: %s", id)
		}
	}
	if len(trash) != len(now.Trash) {
		d.fault("the trash holds %v, the index has %d entries", trash, len(now.Trash))
	}
	if diff := cmp.Diff(now.Scans, w.Scans); diff != "" {
		d.fault("scans of the index and on the disk: (-index +disk)\n%s", diff)
	}
	if diff := cmp.Diff(now.Timelapses, w.Timelapses); diff != "" {
		d.fault("timelapses of the index and on the disk: (-index +disk)\n%s", diff)
	}
	if len(d.faults) > 0 {
		return fmt.Errorf("the tree is not as it should be:\n%s", strings.Join(d.faults, "\n"))
	}
	return nil
}

// diskReader reads a tree.
type diskReader struct {
	dir    string
	w      *modelWorld
	faults []string
}

func (d *diskReader) fault(format string, args ...any) {
	d.faults = append(d.faults, fmt.Sprintf(format, args...))
}

func (d *diskReader) names(dir string) []string {
	entries, err := os.ReadDir(filepath.Join(d.dir, dir))
	if err != nil && !os.IsNotExist(err) {
		d.fault("list %s: %v", dir, err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (d *diskReader) there(name string) bool {
	_, err := os.Stat(filepath.Join(d.dir, name))
	return err == nil
}

// object reads a JSON file, which must be an object, in the form in which
// Python writes it.
func (d *diskReader) object(name string, into any) json.RawMessage {
	raw, err := os.ReadFile(filepath.Join(d.dir, name))
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		d.fault("read %s: %v", name, err)
	}
	return raw
}

func (d *diskReader) root(clean bool) {
	for _, name := range d.names(".") {
		switch {
		case name == ".plantdb", name == ".locks", name == "romidb":
		case d.there(name + "/timelapse.json"):
			d.timelapse(name, clean)
		default:
			d.scan(name, "")
		}
	}
}

func (d *diskReader) timelapse(name string, clean bool) {
	var marker struct {
		ID, Owner string
		Scans     []string
		Metadata  json.RawMessage
	}
	d.object(name+"/timelapse.json", &marker)
	d.w.Timelapses[name] = &modelTimelapse{marker.Owner, shownKeys(marker.Metadata)}
	scans := slices.DeleteFunc(d.names(name), func(n string) bool { return n == "timelapse.json" })
	for _, scan := range scans {
		d.scan(name+"/"+scan, name)
	}
	slices.Sort(scans)
	slices.Sort(marker.Scans)
	if marker.ID != name || clean && !slices.Equal(scans, marker.Scans) {
		d.fault("the marker of timelapse %s is of %s and lists %v, its directory has %v", name, marker.ID, marker.Scans, scans)
	}
}

func (d *diskReader) scan(dir, timelapse string) {
	var metadata struct {
		Owner     string
		Timelapse struct{ ID string }
	}
	raw := d.object(dir+"/metadata/metadata.json", &metadata)
	if metadata.Timelapse.ID != timelapse {
		d.fault("scan %s says that it is in timelapse %q", dir, metadata.Timelapse.ID)
	}
	var sight struct{ Visibility string }
	if d.there(dir + "/.plantdb.json") {
		d.object(dir+"/.plantdb.json", &sight)
	}
	s := &modelScan{Owner: metadata.Owner, Timelapse: timelapse, Private: sight.Visibility == Private, Metadata: shownKeys(raw), Filesets: map[string]*modelFileset{}}
	d.w.Scans[filepath.Base(dir)] = s
	var index struct {
		Filesets []struct {
			ID    string `json:"id"`
			Files []struct {
				ID   string `json:"id"`
				File string `json:"file"`
			} `json:"files"`
		} `json:"filesets"`
	}
	d.sorted(dir+"/files.json", d.object(dir+"/files.json", &index))
	listed := map[string]bool{"files.json": true, ".plantdb.json": true, "metadata": true, "metadata/metadata.json": true}
	for _, set := range index.Filesets {
		fs := &modelFileset{map[string]any{}, map[string]*modelFile{}}
		if s.Filesets[set.ID] != nil {
			d.fault("files.json of %s lists fileset %s twice", dir, set.ID)
		}
		s.Filesets[set.ID] = fs
		for _, name := range []string{set.ID, "metadata/" + set.ID, "metadata/" + set.ID + ".json"} {
			listed[name] = true
		}
		if !d.there(dir + "/" + set.ID) {
			d.fault("fileset %s/%s has no directory", dir, set.ID)
		}
		if d.there(dir + "/metadata/" + set.ID + ".json") {
			fs.Metadata = shownKeys(d.object(dir+"/metadata/"+set.ID+".json", &struct{}{}))
		}
		for _, f := range set.Files {
			content, err := os.ReadFile(filepath.Join(d.dir, dir, set.ID, f.File))
			if err != nil || fs.Files[f.ID] != nil {
				d.fault("files.json of %s lists %s/%s (%s): %v, or twice", dir, set.ID, f.ID, f.File, err)
			}
			one := "metadata/" + set.ID + "/" + f.ID + ".json"
			fs.Files[f.ID] = &modelFile{string(content), map[string]any{}}
			if d.there(dir + "/" + one) {
				fs.Files[f.ID].Metadata = shownKeys(d.object(dir+"/"+one, &struct{}{}))
			}
			listed[one], listed[set.ID+"/"+f.File] = true, true
		}
	}
	d.nothingBeside(dir, listed)
}

// nothingBeside finds what is in a scan and belongs to nothing that is listed.
func (d *diskReader) nothingBeside(dir string, listed map[string]bool) {
	root := filepath.Join(d.dir, dir)
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if name := strings.TrimPrefix(path, root+"/"); err == nil && path != root && !listed[name] {
			d.fault("in scan %s there is %s, which nothing lists", dir, name)
		}
		return err
	})
	if err != nil {
		d.fault("walk %s: %v", dir, err)
	}
}

// sorted holds files.json to the form that upstream gives it: keys in order, four
// spaces.
func (d *diskReader) sorted(name string, raw json.RawMessage) {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return // told already
	}
	want, err := json.MarshalIndent(v, "", "    ")
	if err != nil || strings.TrimSpace(string(raw)) != string(want) {
		d.fault("%s is not in upstream's form:\n%s", name, raw)
	}
}
