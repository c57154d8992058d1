package scan

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/fault"
)

// modelWorld is all that there is, as the rules of this package have it: what a
// tree and its index must both say. It is written from the documents, and
// shares no code with what it is compared with.
type modelWorld struct {
	Scans      map[string]*modelScan      `json:"scans"`
	Timelapses map[string]*modelTimelapse `json:"timelapses"`
	Trash      map[string]*modelTrash     `json:"trash"`
	Events     map[string]int             `json:"events"`
}

type modelScan struct {
	Owner     string                   `json:"owner"`
	Timelapse string                   `json:"timelapse"`
	Private   bool                     `json:"private"`
	Metadata  map[string]any           `json:"metadata"`
	Filesets  map[string]*modelFileset `json:"filesets"`
}

type modelFileset struct {
	Metadata map[string]any        `json:"metadata"`
	Files    map[string]*modelFile `json:"files"`
}

type modelFile struct {
	Content  string         `json:"content"`
	Metadata map[string]any `json:"metadata"`
}

type modelTimelapse struct {
	Owner    string         `json:"owner"`
	Metadata map[string]any `json:"metadata"`
}

// modelTrash is an entry of the trash: what it is called, and what it holds.
type modelTrash struct {
	modelEntry
	HeldScans     map[string]*modelScan `json:"held_scans,omitempty"`
	HeldTimelapse *modelTimelapse       `json:"held_timelapse,omitempty"`
	HeldFileset   *modelFileset         `json:"held_fileset,omitempty"`
	HeldFile      *modelFile            `json:"held_file,omitempty"`
}

type modelEntry struct {
	Kind, Timelapse, Scan, Fileset, File, Owner, DeletedBy string
}

func newModel() *modelWorld {
	return &modelWorld{map[string]*modelScan{}, map[string]*modelTimelapse{}, map[string]*modelTrash{}, map[string]int{}}
}

// key is equal for equal worlds.
func (w *modelWorld) key() string {
	text, err := json.Marshal(w)
	if err != nil {
		panic(err) // maps of texts and numbers
	}
	return string(text)
}

func (w *modelWorld) clone() *modelWorld {
	c := newModel()
	if err := json.Unmarshal([]byte(w.key()), c); err != nil {
		panic(err)
	}
	return c
}

func (w *modelWorld) told(kind Kind, where string) { w.Events[string(kind)+" "+where]++ }

// modelOp is one call of a program.
type modelOp struct {
	Do, Who, Scan, Fileset, File, Timelapse, As string
	Metadata                                    map[string]any
	Mode                                        string // of an update: merge, replace or patch
	Content                                     string
	Recursive                                   bool
	Entry                                       int       // of the trash, by the time it was made
	Lines                                       []modelOp // of a batch
}

const (
	modelOK   = fault.Kind(-1)
	modelNote = "note" // the id of the file that an archive brings
)

func (o modelOp) admin() bool { return o.Who == "admin" }

func (o modelOp) sees(s *modelScan) bool {
	return s != nil && (!s.Private || o.admin() || s.Owner == o.Who)
}

func (o modelOp) owns(owner string) bool { return o.admin() || owner == o.Who }

// do makes w what it is after the call and says how the call must end; where
// that is a refusal, w is not to be used any more. ids are those of the entries
// of the trash that the call made, entry is the one that it was about.
func (w *modelWorld) do(o modelOp, ids []string, entry string) fault.Kind {
	switch o.Do {
	case "create scan":
		return w.createScan(o)
	case "create timelapse":
		if w.taken(o.Timelapse) {
			return fault.Conflict
		}
		w.Timelapses[o.Timelapse] = &modelTimelapse{o.Who, modelSet(nil, o)}
		w.told(TimelapseCreated, o.Timelapse)
		return modelOK
	case "archive":
		return w.archive(o)
	case "timelapse metadata":
		t := w.Timelapses[o.Timelapse]
		if t == nil {
			return fault.NotFound
		}
		if t.Metadata = modelSet(t.Metadata, o); o.changes() {
			w.told(TimelapseMetadata, o.Timelapse)
		}
		return modelOK
	case "delete timelapse":
		return w.deleteTimelapse(o, ids[0])
	case "restore", "purge":
		return w.takeBack(o, entry)
	case "batch":
		for i, line := range o.Lines {
			line.Who = o.Who
			if w.do(line, ids[i:], "") != modelOK {
				return fault.Conflict
			}
		}
		return modelOK
	}
	s := w.Scans[o.Scan]
	if !o.sees(s) {
		return fault.NotFound
	}
	return w.inScan(o, s, ids)
}

func (w *modelWorld) taken(name string) bool {
	return w.Scans[name] != nil || w.Timelapses[name] != nil
}

func (w *modelWorld) createScan(o modelOp) fault.Kind {
	if w.taken(o.Scan) {
		return fault.Conflict
	}
	if o.Timelapse != "" && w.Timelapses[o.Timelapse] == nil {
		return fault.NotFound
	}
	w.Scans[o.Scan] = &modelScan{Owner: o.Who, Timelapse: o.Timelapse, Metadata: modelSet(nil, o), Filesets: map[string]*modelFileset{}}
	w.told(ScanCreated, o.Scan)
	return modelOK
}

// makes is the paths of what a call makes that can be asked for twice: the
// contents of no two files are alike.
func (o modelOp) makes() []string {
	switch o.Do {
	case "create scan":
		return []string{o.Scan}
	case "archive":
		return []string{o.Scan, o.Timelapse}
	case "create timelapse":
		return []string{o.Timelapse}
	case "create fileset":
		return []string{o.Scan + "/" + o.Fileset}
	}
	return nil
}

// has says whether w has what the call is to make, as it would be at first.
func (w *modelWorld) has(o modelOp) bool {
	fresh := newModel()
	switch s := w.Scans[o.Scan]; o.Do {
	case "create scan":
		fresh.Timelapses = w.Timelapses
		return s != nil && fresh.do(o, nil, "") == modelOK && cmp.Equal(fresh.Scans[o.Scan], s)
	case "create timelapse":
		return fresh.do(o, nil, "") == modelOK && cmp.Equal(fresh.Timelapses[o.Timelapse], w.Timelapses[o.Timelapse])
	case "create fileset":
		fresh.Scans[o.Scan] = &modelScan{Owner: o.Who, Filesets: map[string]*modelFileset{}}
		return s != nil && fresh.do(o, nil, "") == modelOK && cmp.Equal(fresh.Scans[o.Scan].Filesets[o.Fileset], s.Filesets[o.Fileset])
	}
	return false
}

func (w *modelWorld) archive(o modelOp) fault.Kind {
	if w.taken(o.Scan) {
		return fault.Conflict
	}
	if o.Timelapse != "" && w.Timelapses[o.Timelapse] == nil {
		if w.taken(o.Timelapse) || o.Timelapse == o.Scan {
			return fault.Conflict
		}
		w.Timelapses[o.Timelapse] = &modelTimelapse{o.Who, map[string]any{}}
		w.told(TimelapseCreated, o.Timelapse)
	}
	file := &modelFile{o.Content, map[string]any{"a": 1.0}}
	images := &modelFileset{map[string]any{"b": 2.0}, map[string]*modelFile{modelNote: file}}
	w.Scans[o.Scan] = &modelScan{Owner: o.Who, Timelapse: o.Timelapse, Metadata: modelSet(nil, o), Filesets: map[string]*modelFileset{imagesFileset: images}}
	w.told(ScanCreated, o.Scan)
	return modelOK
}

// inScan is a call that is about a scan which is there.
func (w *modelWorld) inScan(o modelOp, s *modelScan, ids []string) fault.Kind {
	switch o.Do {
	case "metadata", "match":
		if s.Metadata = modelSet(s.Metadata, o); o.changes() {
			w.told(ScanMetadata, o.Scan)
		}
		return modelOK
	case "tag", "untag":
		s.tag(o)
		w.told(ScanMetadata, o.Scan)
		return modelOK
	case "delete", "visibility", "owner":
		return w.owned(o, s, ids[0])
	case "create fileset":
		if s.Filesets[o.Fileset] != nil {
			return fault.Conflict
		}
		s.Filesets[o.Fileset] = &modelFileset{modelSet(nil, o), map[string]*modelFile{}}
		w.told(FilesetCreated, o.Scan+"/"+o.Fileset)
		return modelOK
	case "read":
		return modelOK
	case "delete fileset", "delete file":
		if !o.owns(s.Owner) {
			return fault.Forbidden
		}
	}
	fs := s.Filesets[o.Fileset]
	if fs == nil {
		return fault.NotFound
	}
	return w.inFileset(o, s, fs, ids)
}

func (s *modelScan) tag(o modelOp) {
	tags, _ := s.Metadata["tags"].([]any)
	tags = slices.DeleteFunc(slices.Clone(tags), func(t any) bool { return o.Do == "untag" && t == any(o.As) })
	if o.Do == "tag" && !slices.Contains(tags, any(o.As)) {
		tags = append(tags, o.As)
	}
	s.Metadata["tags"] = append([]any{}, tags...)
}

func (w *modelWorld) owned(o modelOp, s *modelScan, id string) fault.Kind {
	if !o.owns(s.Owner) {
		return fault.Forbidden
	}
	switch o.Do {
	case "visibility":
		s.Private = o.As == Private
		w.told(ScanVisibility, o.Scan)
	case "owner":
		s.Owner = o.As
		w.told(ScanOwner, o.Scan)
	default:
		w.Trash[id] = &modelTrash{modelEntry: modelEntry{"scan", s.Timelapse, o.Scan, "", "", s.Owner, o.Who}, HeldScans: map[string]*modelScan{o.Scan: s}}
		delete(w.Scans, o.Scan)
		w.told(ScanDeleted, o.Scan)
	}
	return modelOK
}

func (w *modelWorld) inFileset(o modelOp, s *modelScan, fs *modelFileset, ids []string) fault.Kind {
	where := o.Scan + "/" + o.Fileset
	f := fs.Files[o.File]
	switch o.Do {
	case "files":
		return modelOK
	case "fileset metadata":
		if fs.Metadata = modelSet(fs.Metadata, o); o.changes() {
			w.told(FilesetMetadata, where)
		}
		return modelOK
	case "delete fileset":
		w.Trash[ids[0]] = &modelTrash{modelEntry: modelEntry{"fileset", s.Timelapse, o.Scan, o.Fileset, "", s.Owner, o.Who}, HeldFileset: fs}
		delete(s.Filesets, o.Fileset)
		w.told(FilesetDeleted, where)
		return modelOK
	case "upload", "pieces":
		if f != nil {
			return fault.Conflict
		}
		fs.Files[o.File] = &modelFile{o.Content, modelSet(nil, o)}
		w.told(FileCreated, where+"/"+o.File)
		return modelOK
	}
	if f == nil {
		return fault.NotFound
	}
	if o.Do == "file metadata" {
		if f.Metadata = modelSet(f.Metadata, o); o.changes() {
			w.told(FileMetadata, where+"/"+o.File)
		}
		return modelOK
	}
	w.Trash[ids[0]] = &modelTrash{modelEntry: modelEntry{"file", s.Timelapse, o.Scan, o.Fileset, o.File, s.Owner, o.Who}, HeldFile: f}
	delete(fs.Files, o.File)
	w.told(FileDeleted, where+"/"+o.File)
	return modelOK
}

func (w *modelWorld) deleteTimelapse(o modelOp, id string) fault.Kind {
	t := w.Timelapses[o.Timelapse]
	if t == nil {
		return fault.NotFound
	}
	if !o.owns(t.Owner) {
		return fault.Forbidden
	}
	held := map[string]*modelScan{}
	for name, s := range w.Scans {
		if s.Timelapse == o.Timelapse {
			held[name] = s
		}
	}
	if len(held) > 0 && !o.Recursive {
		return fault.Conflict
	}
	for name, s := range held {
		if !o.owns(s.Owner) {
			return fault.Forbidden
		}
		delete(w.Scans, name)
		w.told(ScanDeleted, name)
	}
	delete(w.Timelapses, o.Timelapse)
	w.told(TimelapseDeleted, o.Timelapse)
	w.Trash[id] = &modelTrash{modelEntry: modelEntry{"timelapse", o.Timelapse, "", "", "", t.Owner, o.Who}, HeldScans: held, HeldTimelapse: t}
	return modelOK
}

// takeBack restores an entry of the trash, or purges it.
func (w *modelWorld) takeBack(o modelOp, id string) fault.Kind {
	e := w.Trash[id]
	if e == nil {
		return fault.NotFound
	}
	owners := []string{e.Owner}
	if e.Kind == "timelapse" {
		owners = nil
	}
	for _, s := range e.HeldScans {
		owners = append(owners, s.Owner)
	}
	if !o.admin() && e.DeletedBy != o.Who && !slices.Contains(owners, o.Who) {
		return fault.NotFound
	}
	if !o.owns(e.Owner) || slices.ContainsFunc(owners, func(owner string) bool { return !o.owns(owner) }) {
		return fault.Forbidden
	}
	delete(w.Trash, id)
	if o.Do == "purge" {
		w.purge(e)
		return modelOK
	}
	switch e.Kind {
	case "scan":
		return w.restoreScan(o, e)
	case "timelapse":
		return w.restoreTimelapse(e)
	}
	return w.restorePart(o, e)
}

func (w *modelWorld) purge(e *modelTrash) {
	switch e.Kind {
	case "file":
		w.told(FilePurged, e.Scan+"/"+e.Fileset+"/"+e.File)
	case "fileset":
		w.told(FilesetPurged, e.Scan+"/"+e.Fileset)
	case "timelapse":
		w.told(TimelapsePurged, e.Timelapse)
	}
	for name := range e.HeldScans {
		w.told(ScanPurged, name)
	}
}

func (w *modelWorld) restoreScan(o modelOp, e *modelTrash) fault.Kind {
	name := e.Scan
	if o.As != "" {
		name = o.As
	}
	if w.taken(name) || e.Timelapse != "" && w.Timelapses[e.Timelapse] == nil {
		return fault.Conflict
	}
	w.Scans[name] = e.HeldScans[e.Scan]
	w.told(ScanRestored, name)
	return modelOK
}

func (w *modelWorld) restoreTimelapse(e *modelTrash) fault.Kind {
	if w.taken(e.Timelapse) || slices.ContainsFunc(slices.Collect(maps.Keys(e.HeldScans)), w.taken) {
		return fault.Conflict
	}
	w.Timelapses[e.Timelapse] = e.HeldTimelapse
	w.told(TimelapseRestored, e.Timelapse)
	for name, s := range e.HeldScans {
		w.Scans[name] = s
		w.told(ScanRestored, name)
	}
	return modelOK
}

func (w *modelWorld) restorePart(o modelOp, e *modelTrash) fault.Kind {
	s := w.Scans[e.Scan]
	if !o.sees(s) {
		return fault.Conflict
	}
	if !o.owns(s.Owner) {
		return fault.Forbidden
	}
	if e.Kind == "fileset" {
		if s.Filesets[e.Fileset] != nil {
			return fault.Conflict
		}
		s.Filesets[e.Fileset] = e.HeldFileset
		w.told(FilesetRestored, e.Scan+"/"+e.Fileset)
		return modelOK
	}
	fs := s.Filesets[e.Fileset]
	if fs == nil || fs.Files[e.File] != nil {
		return fault.Conflict
	}
	fs.Files[e.File] = e.HeldFile
	w.told(FileRestored, e.Scan+"/"+e.Fileset+"/"+e.File)
	return modelOK
}

// changes says whether an update says anything.
func (o modelOp) changes() bool { return len(o.Metadata) > 0 || o.Mode == "replace" }

// modelSet is what metadata are after an update, by the three rules that there
// are for one.
func modelSet(old map[string]any, o modelOp) map[string]any {
	next := map[string]any{}
	if o.Mode != "replace" {
		maps.Copy(next, old)
	}
	if o.Mode == "patch" {
		return modelPatch(next, o.Metadata)
	}
	maps.Copy(next, o.Metadata)
	return next
}

// modelPatch is RFC 7396.
func modelPatch(target, patch map[string]any) map[string]any {
	next := maps.Clone(target)
	if next == nil {
		next = map[string]any{}
	}
	for key, value := range patch {
		object, nested := value.(map[string]any)
		switch {
		case value == nil:
			delete(next, key)
		case nested:
			inner, _ := next[key].(map[string]any)
			next[key] = modelPatch(inner, object)
		default:
			next[key] = value
		}
	}
	return next
}
