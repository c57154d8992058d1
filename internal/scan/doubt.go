package scan

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
)

// doubtFor is how long a client that was told to come again may take.
const doubtFor = time.Hour

// making is what a call made in the tree, while its transaction may still fail.
// When it does, nobody knows whether the index has it: a commit may have come
// through whose answer was lost, and else a watcher finds the thing before the
// client comes again. The tree keeps a note of it (fsdb.Doubt), so that the same
// call by the same user is not told of a conflict with itself.
type making []creation

type creation struct {
	path string // as in fsdb.Doubt
	by   origin
}

func (m *making) add(by origin, path ...string) {
	*m = append(*m, creation{strings.Join(path, "/"), by})
}

// doubtNote is who made what is in doubt.
type doubtNote struct {
	Username string    `json:"username"`
	Token    string    `json:"token"`
	Request  string    `json:"request"`
	At       time.Time `json:"at"`
}

// settleDoubts is called once the transaction of a call has ended, with its error.
func (s *Service) settleDoubts(ctx context.Context, m making, err error) {
	for _, c := range m {
		var fault error
		if err == nil {
			fault = s.tree.DropDoubt(c.path)
		} else {
			var note json.RawMessage
			if note, fault = encode(doubtNote{c.by.username, c.by.token, c.by.request, s.now().UTC()}); fault == nil {
				fault = s.tree.NoteDoubt(fsdb.Doubt{Path: c.path, Note: note})
			}
		}
		if fault != nil { // the same call again may meet a conflict
			s.log.WarnContext(ctx, "doubt not kept", slog.String("of", c.path), slog.Any("err", fault))
		}
	}
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
			by[d.Path] = origin{cleanText(n.Username), cleanText(n.Token), cleanText(n.Request)}
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
			found.Detail.Filesets = found.Detail.Filesets.less(1)
			found.doubted = append(found.doubted, Change{Kind: FilesetCreated, Scan: read.Scan, Fileset: fs.ID, by: &who})
		}
		for _, f := range fs.Files {
			if who, ok := by[read.Scan+"/"+fs.ID+"/"+f.ID]; ok && found.added[filePath{fs.ID, f.ID}] {
				found.Detail.Files = found.Detail.Files.less(1)
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
