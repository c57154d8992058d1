package fsdb

import (
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// NameKind is what a name is for.
type NameKind int

// The kinds of names.
const (
	ScanName NameKind = iota
	TimelapseName
	FilesetName
	FileName
)

func (k NameKind) String() string {
	return [...]string{"scan", "timelapse", "fileset", "file"}[k]
}

const (
	maxName = 255 // NAME_MAX of the usual filesystems, in bytes
	// The metadata of a fileset or file is <id>.json, which must fit as well.
	maxStem = maxName - len(".json")
	// Upstream's rule for timelapses.
	maxTimelapse = 128
)

// reservedRoot are names with a meaning in the root, reservedFileset in a scan.
var (
	reservedRoot    = []string{"romidb", "users.json", "groups.json", "configs", "models", "info", timelapseFile}
	reservedFileset = []string{"metadata", "webcache"}
)

// CheckName says whether a new thing of that kind may be called id: ErrName or
// ErrReserved if not, with upstream's text. Names start with a letter, digit or
// underscore and go on with those, dots and dashes, at most 255 bytes; those of
// timelapses follow upstream's narrower rule. What exists already may have any
// other name and stays readable.
func CheckName(kind NameKind, id string) error {
	if !allowed(kind, id) {
		return ErrName.With("Invalid %s identifier '%s'!", kind, strings.ToValidUTF8(id, "\uFFFD"))
	}
	if reserved(kind, id) {
		return ErrReserved.With("Invalid %s identifier '%s'! The name is reserved.", kind, id)
	}
	return nil
}

func allowed(kind NameKind, id string) bool {
	limit, first, rest := maxName, "_", "_.-"
	switch kind {
	case TimelapseName:
		limit, first, rest = maxTimelapse, "", "_-"
	case FilesetName, FileName:
		limit = maxStem
	case ScanName:
	}
	if id == "" || len(id) > limit || !wordByte(id[0], first) {
		return false
	}
	for i := range len(id) {
		if !wordByte(id[i], rest) {
			return false
		}
	}
	return true
}

func wordByte(c byte, also string) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(also, c) >= 0
}

func reserved(kind NameKind, id string) bool {
	switch kind {
	case ScanName, TimelapseName:
		return slices.Contains(reservedRoot, id)
	case FilesetName:
		// The file metadata of a fileset x.json would lie where the
		// metadata of the fileset x lies.
		return slices.Contains(reservedFileset, id) || strings.HasSuffix(id, ".json")
	default:
		return false
	}
}

// checkBlobName is the rule for the name of a new file's bytes.
func checkBlobName(name string) error {
	if !allowed(ScanName, name) {
		return ErrName.With("Invalid file name '%s'!", strings.ToValidUTF8(name, "\uFFFD"))
	}
	return nil
}

// readable says whether an existing thing of that name can be reached: any
// single visible path element that is text.
func readable(name string) bool {
	return name != "" && len(name) <= maxName && name[0] != '.' &&
		!strings.ContainsAny(name, "/\x00") && utf8.ValidString(name)
}

// printable returns a directory name as text, its bytes that are not UTF-8
// spelled \xNN, so that two such names stay two.
func printable(name string) string {
	if utf8.ValidString(name) {
		return name
	}
	const digits = "0123456789abcdef"
	var b strings.Builder
	for len(name) > 0 {
		r, size := utf8.DecodeRuneInString(name)
		if r == utf8.RuneError && size == 1 {
			b.WriteString(`\x`)
			b.WriteByte(digits[name[0]>>4])
			b.WriteByte(digits[name[0]&15])
		} else {
			b.WriteString(name[:size])
		}
		name = name[size:]
	}
	return b.String()
}

// Loc is where a scan lies: in the root, or in a timelapse.
type Loc struct {
	Timelapse string // empty for a scan in the root
	Scan      string
}

// Dir returns the scan's directory relative to the root.
func (l Loc) Dir() string { return path.Join(l.Timelapse, l.Scan) }

func (l Loc) check() error {
	if !readable(l.Scan) || l.Timelapse != "" && !readable(l.Timelapse) {
		return ErrNotFound
	}
	return nil
}

// Where things lie inside a scan.
const (
	indexFile     = "files.json"
	measuresFile  = "measures.json"
	pipelineFile  = "pipeline.toml"
	timelapseFile = "timelapse.json"
	metadataDir   = "metadata"
	webcacheDir   = "webcache"
	accessFile    = ".plantdb.json"
	scanMetadata  = metadataDir + "/metadata.json"
)

func filesetMetadata(fileset string) string { return metadataDir + "/" + fileset + ".json" }

func fileMetadata(fileset, id string) string {
	return metadataDir + "/" + fileset + "/" + id + ".json"
}
