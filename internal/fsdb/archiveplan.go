package fsdb

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// archivePlan is what an archive says that it holds, as it will be unpacked.
type archivePlan struct {
	files []archiveFile // by name
	dirs  []string      // those above come first
	bytes int64
}

// archiveFile is an entry under the name that it will have in the scan.
type archiveFile struct {
	name string
	*zip.File
}

// planArchive reads the directory of an archive and checks all that it says.
// It reads no content.
func planArchive(r io.ReaderAt, size int64, limits ArchiveLimits) (archivePlan, error) {
	entries, err := readDirectory(r, size, limits)
	if err != nil {
		return archivePlan{}, err
	}
	p := planner{limits: limits, size: size, files: map[string]*zip.File{}, dirs: map[string]bool{}}
	for _, e := range entries {
		if err := p.admit(e); err != nil {
			return archivePlan{}, err
		}
	}
	return p.plan()
}

// entryBytes is what an entry may take in the directory of an archive, on an
// average: some names with all that tools add to them.
const entryBytes = 512

// readDirectory reads the directory of an archive with bounded memory.
func readDirectory(r io.ReaderAt, size int64, limits ArchiveLimits) ([]*zip.File, error) {
	if n := declaredEntries(r, size); n > uint64(limits.Entries) { //nolint:gosec // a positive setting
		return nil, tooManyEntries(limits)
	}
	bounded := &boundedReaderAt{r: r, left: int64(limits.Entries)*entryBytes + 1<<20}
	z, err := zip.NewReader(bounded, size)
	bounded.left = -1 // no bound on content, which is read by its size
	switch {
	case errors.Is(err, errSpent):
		return nil, tooManyEntries(limits)
	case err != nil:
		return nil, ErrArchive.Because(err)
	case len(z.File) > limits.Entries:
		return nil, tooManyEntries(limits)
	}
	return z.File, nil
}

func tooManyEntries(limits ArchiveLimits) error {
	return ErrArchiveTooLarge.With("The archive holds more than %d entries.", limits.Entries)
}

var errSpent = errors.New("the directory of the archive is too long")

// boundedReaderAt reads until it has read so much; less than zero is no bound.
type boundedReaderAt struct {
	r    io.ReaderAt
	left int64
}

// ReadAt implements io.ReaderAt.
func (b *boundedReaderAt) ReadAt(p []byte, at int64) (int, error) {
	if b.left >= 0 {
		if b.left -= int64(len(p)); b.left < 0 {
			b.left = 0
			return 0, errSpent
		}
	}
	return b.r.ReadAt(p, at)
}

// declaredEntries is the number of entries that an archive says it has, for
// which package zip makes room before it counts them.
func declaredEntries(r io.ReaderAt, size int64) uint64 {
	const (
		endLen, locatorLen, end64Len = 22, 20, 56
		window                       = 65 << 10 // where package zip looks
	)
	tail := make([]byte, min(size, window))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil {
		return 0 // it will fail again where it is told
	}
	if len(tail) < endLen {
		return 0
	}
	at := bytes.LastIndex(tail[:len(tail)-endLen+4], []byte("PK\x05\x06"))
	if at < 0 {
		return 0
	}
	n := uint64(binary.LittleEndian.Uint16(tail[at+10:]))
	locator := make([]byte, locatorLen)
	if _, err := r.ReadAt(locator, size-int64(len(tail))+int64(at)-locatorLen); err != nil || string(locator[:4]) != "PK\x06\x07" {
		return n
	}
	end := make([]byte, end64Len)
	if _, err := r.ReadAt(end, int64(binary.LittleEndian.Uint64(locator[8:])&(1<<62-1))); err != nil || string(end[:4]) != "PK\x06\x06" {
		return n
	}
	return max(n, binary.LittleEndian.Uint64(end[32:]))
}

// planner gathers entries by their names in the archive.
type planner struct {
	limits         ArchiveLimits
	size           int64
	files          map[string]*zip.File
	dirs           map[string]bool
	packed, loaded uint64
}

// encrypted is the flag of an entry that needs a password.
const encrypted = 1

// admit takes one entry, or says why the archive is refused.
func (p *planner) admit(e *zip.File) error {
	name, dir := strings.CutSuffix(e.Name, "/")
	name = strings.TrimPrefix(name, "./")
	if dir && (name == "" || name == ".") {
		return nil // the archive's own
	}
	if err := checkEntryName(name, e.Name); err != nil {
		return err
	}
	if leftOut(name) {
		return nil
	}
	mode := e.Mode()
	switch {
	case dir && e.UncompressedSize64 > 0, !dir && !mode.IsRegular(), mode&(fs.ModeSymlink|fs.ModeDevice|fs.ModeNamedPipe|fs.ModeSocket) != 0:
		return badArchive("'%s' is no regular file", shown(name))
	case e.Flags&encrypted != 0:
		return badArchive("'%s' is encrypted", shown(name))
	case e.Method != zip.Store && e.Method != zip.Deflate:
		return badArchive("'%s' is packed by method %d, which is not supported", shown(name), e.Method)
	case p.files[name] != nil || p.dirs[name] && !dir:
		return badArchive("'%s' is in it twice", shown(name))
	case dir:
		p.dirs[name] = true
		return nil
	}
	p.files[name] = e
	return p.weigh(e)
}

func badArchive(format string, args ...any) error {
	return ErrArchive.With("Invalid ZIP archive: "+format, args...)
}

// shown is a name as a message can hold it.
func shown(name string) string {
	const long = 300
	if len(name) > long {
		name = name[:long] + "…"
	}
	return strings.ToValidUTF8(name, "\uFFFD")
}

// checkEntryName refuses names that lead out of the scan, anywhere, and those
// that the tree could not read again.
func checkEntryName(name, raw string) error {
	drive := len(name) > 1 && name[1] == ':'
	if strings.HasPrefix(raw, "/") || strings.Contains(name, `\`) || drive || slices.Contains(strings.Split(name, "/"), "..") {
		return ErrArchivePath.With("Path traversal attempt detected: %s", shown(raw))
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == "." || len(part) > maxName || strings.Contains(part, "\x00") || !utf8.ValidString(part):
			return badArchive("'%s' is no name of a file", shown(raw))
		case slices.Contains(unserved, part):
			return badArchive("'%s' would hold accounts", shown(raw))
		}
	}
	return nil
}

// leftOut says whether an entry is nothing of a scan: hidden, such as what
// macOS adds, but for its visibility. The rest is known once the scan's
// directory is.
func leftOut(name string) bool {
	for part := range strings.SplitSeq(strings.TrimSuffix(name, accessFile), "/") {
		if part != "" && part[0] == '.' {
			return true
		}
	}
	return strings.HasPrefix(name, "__MACOSX/") || name == "__MACOSX"
}

// weigh counts what an entry says of its size. That entries do not overlap
// follows from their sizes together.
func (p *planner) weigh(e *zip.File) error {
	p.packed += e.CompressedSize64
	p.loaded += e.UncompressedSize64
	switch {
	case e.UncompressedSize64 > uint64(p.limits.FileBytes): //nolint:gosec // a positive setting
		return ErrArchiveTooLarge.With("The archive holds a file of more than %d bytes.", p.limits.FileBytes)
	case p.loaded < e.UncompressedSize64 || p.loaded > uint64(p.limits.Bytes): //nolint:gosec // as above
		return ErrArchiveTooLarge.With("The archive holds more than %d bytes.", p.limits.Bytes)
	case p.packed < e.CompressedSize64 || p.packed > uint64(p.size): //nolint:gosec // not negative
		return badArchive("its entries overlap")
	case p.loaded > smallArchive && p.loaded/uint64(p.limits.Ratio) > uint64(p.size): //nolint:gosec // as above
		return ErrArchiveTooLarge.With("The archive holds more than %d times its own size.", p.limits.Ratio)
	}
	return nil
}

// plan places what was gathered into a scan.
func (p *planner) plan() (archivePlan, error) {
	top, err := p.top()
	if err != nil {
		return archivePlan{}, err
	}
	plan := archivePlan{bytes: 0}
	dirs := map[string]bool{}
	for raw, e := range p.files {
		name := strings.TrimPrefix(raw, top)
		if outOfScan(name) {
			continue
		}
		above := parents(name)
		if len(above)+1 > p.limits.Depth {
			return plan, ErrArchiveTooLarge.With("The directories of the archive nest more than %d deep.", p.limits.Depth)
		}
		for _, dir := range above {
			dirs[dir] = true
		}
		plan.files = append(plan.files, archiveFile{name, e})
		plan.bytes += int64(e.UncompressedSize64) //nolint:gosec // weighed
	}
	for raw := range p.dirs {
		if name := strings.TrimPrefix(raw+"/", top); name != "" && !outOfScan(name) {
			name = strings.TrimSuffix(name, "/")
			above := append(parents(name), name)
			if len(above) > p.limits.Depth {
				return plan, ErrArchiveTooLarge.With("The directories of the archive nest more than %d deep.", p.limits.Depth)
			}
			for _, dir := range above {
				dirs[dir] = true
			}
		}
	}
	for _, f := range plan.files {
		if dirs[f.name] {
			return plan, badArchive("'%s' is in it twice", shown(f.name))
		}
	}
	if !dirs[metadataDir] {
		return plan, ErrArchiveStructure
	}
	slices.SortFunc(plan.files, func(a, b archiveFile) int { return strings.Compare(a.name, b.name) })
	plan.dirs = slices.Sorted(maps.Keys(dirs)) // a directory sorts before what is below it
	return plan, nil
}

// outOfScan says whether a name in a scan's directory is nothing of the scan:
// upstream's cache, the manifest of an archive, and the visibility of another.
func outOfScan(name string) bool {
	return path.Base(name) == accessFile && name != accessFile || name == ManifestName || name == webcacheDir || strings.HasPrefix(name, webcacheDir+"/")
}

// top is the directory of the archive that the scan lies in, with a slash;
// empty for a scan at its top.
func (p *planner) top() (string, error) {
	if p.files[indexFile] != nil {
		return "", nil
	}
	top := ""
	for name := range maps.Keys(p.files) {
		first, _, nested := strings.Cut(name, "/")
		if !nested && name == ManifestName {
			continue
		}
		if !nested || top != "" && first != top {
			return "", ErrArchiveStructure
		}
		top = first
	}
	for name := range p.dirs {
		if first, _, _ := strings.Cut(name, "/"); first != top {
			return "", ErrArchiveStructure
		}
	}
	if top == "" || p.files[top+"/"+indexFile] == nil {
		return "", ErrArchiveStructure
	}
	return top + "/", nil
}
