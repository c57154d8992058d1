package scan

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
)

// writing is the transaction of a call that changes the tree. What it did there
// goes with it: it is taken back where the call fails before the commit, while the
// names are held, so that who is refused has changed nothing.
//
// Where the commit itself fails nobody knows whether the index has it: the commit
// may have come through and only its answer be lost, and else a watcher finds
// what was made before the client comes again. Then the tree keeps a note
// (fsdb.Doubt), so that the same call by the same user is not told of a conflict
// with itself.
type writing struct {
	pgx.Tx

	deeds []deed
	// ends are done last before the commit, when nothing can be taken back any more.
	ends []func()
	// waits are for what must be on the disk before anybody is told, and goes on
	// beside the commit.
	waits []func() error
}

// deed is something that was done to the tree.
type deed struct {
	undo func(context.Context) error // nil where there is nothing to be taken back
	made []creation
}

// creation is something that the tree has and had not, by its path as in
// fsdb.Doubt.
type creation struct {
	path string
	by   origin
}

func created(by origin, path ...string) creation {
	return creation{strings.Join(path, "/"), by}
}

// did is called when the tree has been changed, before anything else can fail.
func (w *writing) did(undo func(context.Context) error, made ...creation) {
	w.deeds = append(w.deeds, deed{undo, made})
}

// found is did for what was made by a call before, which had failed.
func (w *writing) found(made ...creation) { w.did(nil, made...) }

const (
	// doubtFor is how long a client that was told to come again may take.
	doubtFor = time.Hour
	// undoTime bounds how long a refused write is taken back.
	undoTime = time.Minute
)

// takeBack undoes what w did, the last first. What cannot be taken back stays in
// doubt.
func (s *Service) takeBack(ctx context.Context, w *writing) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	var left []deed
	for _, d := range slices.Backward(w.deeds) {
		if d.undo == nil {
			left = append(left, d)
		} else if err := d.undo(ctx); err != nil {
			s.log.ErrorContext(ctx, "a write that was refused could not be taken back", slog.Any("err", err))
			left = append(left, d)
		}
	}
	w.deeds = left
}

// doubtNote is who made what is in doubt.
type doubtNote struct {
	Username string    `json:"username"`
	Token    string    `json:"token"`
	TokenID  uuid.UUID `json:"token_id"` // zero but for an API token
	Request  string    `json:"request"`
	At       time.Time `json:"at"`
}

// settleDoubts is called once the transaction has ended, with its error.
func (s *Service) settleDoubts(ctx context.Context, w *writing, err error) {
	for _, d := range w.deeds {
		for _, c := range d.made {
			var fault error
			if err == nil {
				fault = s.tree.DropDoubt(c.path)
			} else {
				fault = s.noteDoubt(c)
			}
			if fault != nil { // the same call again may meet a conflict
				s.log.WarnContext(ctx, "doubt not kept", slog.String("of", c.path), slog.Any("err", fault))
			}
		}
	}
}

func (s *Service) noteDoubt(c creation) error {
	note, err := encode(doubtNote{c.by.username, c.by.token, c.by.tokenID, c.by.request, s.now().UTC()})
	if err != nil {
		return fmt.Errorf("encode doubt of %q: %w", c.path, err)
	}
	return s.tree.NoteDoubt(fsdb.Doubt{Path: c.path, Note: note})
}

// doubts returns who made what is in doubt of a scan or timelapse, by path.
func (s *Service) doubts(name string) (map[string]origin, error) {
	list, err := s.tree.Doubts(name)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	by := make(map[string]origin, len(list))
	for _, d := range list {
		var n doubtNote
		if json.Unmarshal(d.Note, &n) == nil && s.now().Sub(n.At).Abs() < doubtFor {
			by[d.Path] = origin{cleanText(n.Username), cleanText(n.Token), cleanText(n.Request), n.TokenID}
		}
	}
	return by, nil
}

// doubted says whether the actor made what has this path and was not told so.
func (s *Service) doubted(a actor.Actor, path ...string) (bool, error) {
	by, err := s.doubts(path[0])
	if err != nil {
		return false, fmt.Errorf("look for doubts of %q: %w", path, err)
	}
	of, ok := by[strings.Join(path, "/")]
	return ok && of.username == a.Username, nil
}

// tellFound records what a call before had made and this one has found, unless
// history tells it already. It tells of a change from outside instead where the
// tree was read before there was the note of its doubt.
func (s *Service) tellFound(ctx context.Context, tx pgx.Tx, c Change) error {
	by := originOf(ctx)
	if c.by != nil {
		by = *c.by
	}
	var told bool
	var err error
	if c.Scan == "" {
		told, err = s.q.TellsOfTimelapse(ctx, tx, cleanText(c.Timelapse), string(c.Kind), by.username)
	} else {
		told, err = s.q.TellsOfPart(ctx, tx, db.TellsOfPartParams{
			Scan: cleanText(c.Scan), Kind: string(c.Kind), Username: by.username, Fileset: cleanText(c.Fileset), File: cleanText(c.File),
		})
	}
	if err != nil {
		return fmt.Errorf("look for the event %s of %q: %w", c.Kind, cmp.Or(c.Scan, c.Timelapse), err)
	}
	if told {
		return nil
	}
	return s.record(ctx, tx, c)
}

// attribute says of what was found in a scan, and is in doubt, who made it: the
// events are those that the failed calls would have recorded.
func (s *Service) attribute(found Change, read *fsdb.Scan) (Change, error) {
	by, err := s.doubts(read.Scan)
	if err != nil || len(by) == 0 {
		return found, err
	}
	if found.Kind == ScanCreated {
		if who, ok := by[read.Scan]; ok {
			found.Outside, found.by = false, &who
		}
		return found, nil
	}
	for _, fs := range read.Filesets {
		if who, ok := by[read.Scan+"/"+fs.ID]; ok && found.added[filePath{fs.ID, ""}] {
			found.Detail.Filesets = found.Detail.Filesets.less()
			found.doubted = append(found.doubted, Change{Kind: FilesetCreated, Scan: read.Scan, Fileset: fs.ID, by: &who})
		}
		for _, f := range fs.Files {
			if who, ok := by[read.Scan+"/"+fs.ID+"/"+f.ID]; ok && found.added[filePath{fs.ID, f.ID}] {
				found.Detail.Files = found.Detail.Files.less()
				found.doubted = append(found.doubted, Change{
					Kind: FileCreated, Scan: read.Scan, Fileset: fs.ID, File: f.ID, by: &who,
					Detail: Detail{Filename: f.Name, Size: &f.Size, SHA256: hex.EncodeToString(f.SHA256)},
				})
			}
		}
	}
	return found, nil
}

// tells says whether it was attributed already.
func (c Change) tells(fileset, file string) bool {
	return slices.ContainsFunc(c.doubted, func(o Change) bool { return o.Fileset == fileset && o.File == file })
}
