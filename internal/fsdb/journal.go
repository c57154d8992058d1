package fsdb

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"strconv"
	"time"
)

// journalDir holds a journal for each scan that has files which files.json does
// not list yet; doc.go has its format.
const journalDir = Hidden + "/journal"

const (
	// maxPending is how large a journal grows before the next batch folds it.
	maxPending = 8 << 20
	// maxJournal is what is read of one: a batch may follow the bound above.
	maxJournal = 256 << 20
	// journalVersion is what the first line says; 1 had neither Staged nor Gone.
	journalVersion = 2
)

// tornMark is the beginning of a line, and never more.
var tornMark = []byte{'-'}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Added is a file that was added to a fileset, as its journal says: ID and File
// are its entry in files.json. Without both it is a fileset that is being made.
// With Gone it is one of the two that is being taken back.
type Added struct {
	Fileset  string          `json:"fileset"`
	ID       string          `json:"id"`
	File     string          `json:"file"`
	Size     int64           `json:"size"`
	SHA256   string          `json:"sha256"` // in hex
	Metadata json.RawMessage `json:"metadata"`
	// Staged is what its bytes are called in the staging directory until they have
	// their name.
	Staged string `json:"staged,omitempty"`
	Gone   bool   `json:"gone,omitempty"`
}

// makes says that it is a fileset.
func (a Added) makes() bool { return a.ID == "" && a.File == "" }

// metadataFile is where its metadata lie in the scan.
func (a Added) metadataFile() string {
	if a.makes() {
		return filesetMetadata(a.Fileset)
	}
	return fileMetadata(a.Fileset, a.ID)
}

// Journal is what was added to one scan and may not be in files.json yet.
type Journal struct {
	Loc
	Name  string // of its file in .plantdb/journal
	Files []Added
	// Torn is how many bytes at the end could not be read: a write that was
	// cut short, and that nobody was told had worked.
	Torn     int64
	Newer    bool // than this program; it is left as it is
	Modified time.Time

	last int // where the entries of its last line begin
}

// journalHead is the first line of a journal.
type journalHead struct {
	Version   int    `json:"journal"`
	Timelapse string `json:"timelapse,omitempty"`
	Scan      string `json:"scan"`
}

// journalName returns the name of a scan's journal, which a timelapse and a
// scan of any names fit into.
func journalName(loc Loc) string {
	sum := sha256.Sum256([]byte(loc.Dir()))
	return hex.EncodeToString(sum[:16])
}

func journalFile(loc Loc) string { return journalDir + "/" + journalName(loc) }

// Journals returns all journals that there are, sorted by name. One that does
// not say which scan it is of has no Loc and no files.
func (t *Tree) Journals(ctx context.Context) ([]Journal, error) {
	entries, err := fs.ReadDir(t.root.FS(), journalDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap("list", journalDir, err)
	}
	var all []Journal
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("list %q: %w", journalDir, err)
		}
		j, err := t.readJournal(e.Name())
		if j != nil {
			j.Newer = errors.Is(err, errJournalVersion)
		}
		if err != nil && (j == nil || !j.Newer) {
			return nil, wrap("read journal", e.Name(), err)
		}
		if j != nil { // else folded meanwhile
			all = append(all, *j)
		}
	}
	return all, nil
}

// Pending says whether the scan has a journal, so that files.json may lack
// files that this package finds.
func (t *Tree) Pending(loc Loc) (bool, error) {
	there, err := t.exists(journalFile(loc))
	return there, wrap("look for the journal of", loc.Dir(), err)
}

// journalOf returns the journal of a scan, nil if it has none.
func (t *Tree) journalOf(loc Loc) (*Journal, error) {
	j, err := t.readJournal(journalName(loc))
	if err != nil {
		return nil, wrap("read journal of", loc.Dir(), err)
	}
	if j != nil && j.Loc != loc { // it is torn before it begins
		j.Loc, j.Files = loc, nil
	}
	return j, nil
}

func (t *Tree) readJournal(name string) (*Journal, error) {
	f, info, err := openRegular(t.root, journalDir+"/"+name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is none, which is the usual case
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	if info.Size() > maxJournal {
		return nil, errTooBig
	}
	// A batch may be added meanwhile: what is there now is what counts.
	data := make([]byte, info.Size())
	if _, err := f.ReadAt(data, 0); err != nil && info.Size() > 0 {
		return nil, err
	}
	j := &Journal{Name: name, Modified: info.ModTime()}
	rest, err := j.parse(data)
	j.Torn = int64(len(rest))
	return j, err
}

// errJournalVersion is what a downgrade meets: what it cannot read it must not
// remove.
var errJournalVersion = ErrBroken.With("its journal is of another version of this program")

// parse takes in the lines of a journal and returns what it cannot read.
func (j *Journal) parse(data []byte) (rest []byte, err error) {
	var head journalHead
	line, rest, ok := journalLine(data)
	if !ok || json.Unmarshal(line, &head) != nil {
		return data, nil
	}
	if head.Version < 1 || head.Version > journalVersion {
		return data, errJournalVersion
	}
	loc := Loc{Timelapse: head.Timelapse, Scan: head.Scan}
	if loc.check() != nil {
		return data, nil
	}
	j.Loc = loc
	for len(rest) > 0 {
		line, after, ok := journalLine(rest)
		var batch []Added
		if !ok || json.Unmarshal(line, &batch) != nil {
			return rest, nil
		}
		j.last = len(j.Files)
		for _, a := range batch {
			// The disk is also others': nothing leads out of the scan.
			if readable(a.Fileset) && (a.makes() || readable(a.ID) && readable(a.File)) && (a.Staged == "" || readable(a.Staged)) {
				j.Files = append(j.Files, a)
			}
		}
		rest = after
	}
	return nil, nil
}

// journalLine cuts off the first line and returns what it holds; ok is false if
// it is not whole.
func journalLine(data []byte) (line, rest []byte, ok bool) {
	line, rest, ok = bytes.Cut(data, []byte{'\n'})
	sum, line, spaced := bytes.Cut(line, []byte{' '})
	want, err := strconv.ParseUint(string(sum), 16, 32)
	return line, rest, ok && spaced && err == nil && uint32(want) == crc32.Checksum(line, castagnoli)
}

// appendLine adds a line to data.
func appendLine(data []byte, v any) ([]byte, error) {
	line, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode journal: %w", err)
	}
	data = fmt.Appendf(data, "%08x ", crc32.Checksum(line, castagnoli))
	return append(append(data, line...), '\n'), nil
}

// journalLines returns what a batch adds to the journal of a scan, which is
// fresh if it has none.
func journalLines(loc Loc, fresh bool, batch []Added) (lines []byte, err error) {
	if fresh {
		if lines, err = appendLine(lines, journalHead{journalVersion, loc.Timelapse, loc.Scan}); err != nil {
			return nil, err
		}
	}
	return appendLine(lines, batch)
}

// ensureJournals makes the directories of the journals and of what is staged, durably.
func (t *Tree) ensureJournals() error {
	t.journals.Lock()
	defer t.journals.Unlock()
	if t.journals.made {
		return nil
	}
	if err := t.ensureDir(Hidden, dirPerm); err != nil {
		return err
	}
	for _, dir := range []string{journalDir, stagingDir} { // whose bytes they tell of
		if err := t.ensureDir(dir, stagingPerm); err != nil {
			return err
		}
	}
	// Always, for a call that made them may have been cut short here.
	if err := t.syncDirs(".", Hidden); err != nil {
		return err
	}
	t.journals.made = true
	return nil
}

// errAnothers says that somebody else writes to a scan that the caller holds: the
// database that held it for the caller went away.
var errAnothers = errors.New("another one writes to the journal")

// announce begins the journal of a scan that has none, durably, and returns how
// long it is then.
func (t *Tree) announce(loc Loc, list ...Added) (size int64, err error) {
	if err := t.ensureJournals(); err != nil {
		return 0, err
	}
	lines, err := journalLines(loc, true, list)
	if err != nil {
		return 0, err
	}
	staged, err := t.stageBytes(lines)
	if err != nil {
		return 0, err
	}
	// A link, and not a rename, for it stops at a journal that is there.
	err = t.disk.link(staged, journalFile(loc))
	t.discard(staged)
	if errors.Is(err, fs.ErrExist) {
		err = ErrLocked.Because(errAnothers)
	}
	if err == nil {
		err = t.disk.syncDir(journalDir)
	}
	return int64(len(lines)), err
}

// dropFolded is dropJournal for what was in it. ErrLocked if it is not as it was:
// what was added to it since is kept.
func (t *Tree) dropFolded(loc Loc, was fileState) error {
	now, err := t.fileState(journalFile(loc))
	if err != nil {
		return err
	}
	if now != was {
		return ErrLocked.Because(errAnothers)
	}
	return t.dropJournal(loc)
}

// dropJournal removes the journal of a scan, durably.
func (t *Tree) dropJournal(loc Loc) error {
	there, err := t.exists(journalFile(loc))
	if err != nil || !there {
		return err
	}
	if err := t.disk.removeAll(journalFile(loc)); err != nil {
		return err
	}
	return t.disk.syncDir(journalDir)
}

// cutJournal makes the journal of a scan so long again as it was.
func (t *Tree) cutJournal(loc Loc, size int64) error {
	f, err := t.root.OpenFile(journalFile(loc), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(t.disk.truncate(f, size), f.Close())
}

// unfinished says whether the last line of the journal tells of something that
// whoever wrote it did not get to.
func (t *Tree) unfinished(j *Journal) (bool, error) {
	for _, a := range j.Files[j.last:] {
		if a.Gone {
			return true, nil
		}
		if a.Staged == "" {
			continue
		}
		if there, err := t.exists(stagingDir + "/" + a.Staged); there || err != nil {
			return there, err
		}
	}
	return false, nil
}

// unplaced are the entries of the journal that x does not list once it was applied:
// what they tell of is not there.
func (j *Journal) unplaced(x *index) (list []Added) {
	for _, a := range j.Files {
		if e := x.find(a.Fileset); !a.Gone && (e == nil || !a.makes() && e.file(a.ID) == nil) {
			list = append(list, a)
		}
	}
	return list
}

// apply lists in x what the journal has and x lacks, of those filesets whose
// directories and those files whose bytes lie in dir, and returns these, listed
// before or not: of a file whose bytes are gone or were never durable, and of a
// fileset that is being made, nobody was told that it is there.
func (x *index) apply(j *Journal, dir *os.Root) (valid []Added, changed bool) {
	return x.applyPlacing(j, dir, func(int) {})
}

// applyPlacing is apply that calls place for each file that may lack its bytes, by
// its number in the journal, before it looks for them.
func (x *index) applyPlacing(j *Journal, dir *os.Root, place func(i int)) (valid []Added, changed bool) {
	if j == nil {
		return nil, false
	}
	sets := map[string]*known{}
	for i, a := range j.Files {
		e := x.find(a.Fileset)
		switch {
		case a.Gone:
			continue // until it was taken back
		case a.makes():
			if info, err := dir.Lstat(a.Fileset); err != nil || !info.IsDir() {
				continue // it was not made
			}
			if e == nil {
				x.add(a.Fileset)
				changed = true
			}
			valid = append(valid, a)
			continue
		case e == nil:
			continue
		}
		k := sets[a.Fileset]
		if k == nil {
			k = e.known()
			sets[a.Fileset] = k
		}
		owner, taken := k.ids[a.File]
		old, listed := k.names[a.ID]
		if taken && owner != a.ID || !taken && listed && lies(dir, a.Fileset+"/"+old, -1) {
			continue // another file of that name or id came from outside
		}
		if !taken || !lies(dir, a.Fileset+"/"+a.File, -1) {
			place(i)
		}
		if !lies(dir, a.Fileset+"/"+a.File, a.Size) {
			continue
		}
		valid = append(valid, a)
		if !taken {
			e.put(a.ID, a.File, listed)
			k.add(a.ID, a.File)
			changed = true
		}
	}
	return valid, changed
}

// lies says whether there is a file of that size, or of any for -1.
func lies(dir *os.Root, name string, size int64) bool {
	info, err := dir.Stat(name)
	return err == nil && info.Mode().IsRegular() && (size < 0 || info.Size() == size)
}
