package fsdb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// doubtsDir holds a note for each thing in doubt.
const doubtsDir = Hidden + "/doubts"

// maxDoubt is what is read of a note.
const maxDoubt = 16 << 10

// Doubt is something that a call made in the tree and could not tell its client
// of, because the call failed after that. Note is the caller's.
type Doubt struct {
	Path string          `json:"path"` // of a scan or timelapse, scan/fileset or scan/fileset/file
	Note json.RawMessage `json:"note"`
}

// NoteDoubt keeps a doubt, in place of another of the same path.
func (t *Tree) NoteDoubt(d Doubt) error {
	data, err := json.Marshal(d)
	if err == nil {
		err = errors.Join(t.ensureDir(Hidden, dirPerm), t.ensureDir(doubtsDir, stagingPerm))
	}
	if err == nil {
		err = t.put(doubtFile(d.Path), data)
	}
	return wrap("note doubt of", d.Path, err)
}

// DropDoubt forgets a doubt, if there is one. A power cut may bring it back.
func (t *Tree) DropDoubt(of string) error {
	return wrap("drop doubt of", of, t.disk.removeAll(doubtFile(of)))
}

// Doubts returns what is in doubt of a scan or timelapse: itself, and what is in
// it. A note that cannot be read is none.
func (t *Tree) Doubts(name string) ([]Doubt, error) {
	entries, err := fs.ReadDir(t.root.FS(), doubtsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap("list doubts of", name, err)
	}
	var all []Doubt
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), doubtHash(name)) {
			continue
		}
		var d Doubt
		data, err := readFile(t.root, doubtsDir+"/"+e.Name(), maxDoubt)
		if err == nil && json.Unmarshal(data, &d) == nil && doubtFile(d.Path) == doubtsDir+"/"+e.Name() {
			all = append(all, d)
		}
	}
	return all, nil
}

// sweepDoubts removes notes that were made before that.
func (t *Tree) sweepDoubts(ctx context.Context, before time.Time) (removed int, err error) {
	entries, err := fs.ReadDir(t.root.FS(), doubtsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, wrap("sweep", doubtsDir, err)
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return removed, fmt.Errorf("sweep %q: %w", doubtsDir, err)
		}
		info, err := e.Info()
		if err != nil || info.ModTime().After(before) {
			continue // gone meanwhile, or still of use
		}
		if err := t.disk.removeAll(doubtsDir + "/" + e.Name()); err != nil {
			return removed, wrap("sweep", doubtsDir, err)
		}
		removed++
	}
	return removed, nil
}

// doubtFile is where the note of a path lies: those of one scan begin alike.
func doubtFile(of string) string {
	name, _, _ := strings.Cut(of, "/")
	return doubtsDir + "/" + doubtHash(name) + "-" + doubtHash(of)
}

func doubtHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}
