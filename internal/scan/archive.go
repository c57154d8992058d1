package scan

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/storedzip"
)

// ManifestName is the last entry of an archive: the SHA-256 of every other one
// in the form of sha256sum, which can check it once it is unpacked. Upstream
// takes it for one more file beside files.json.
const ManifestName = fsdb.ManifestName

const (
	// rememberedSums bounds the cache of checksums, to some ten megabytes.
	rememberedSums = 1 << 15
	// archiveFiles is how many files all archives together hold open, so that
	// they are what they were when their archive began, or a part of what the system
	// lets this process have open, if that is less: who loads archives slowly would
	// stop everybody else. Those beyond are opened when their turn comes, and end the
	// archive if they have changed.
	archiveFiles = 4096
	archiveShare = 4
	// largeEntry is from what size on a file is summed apart from who asks for it.
	largeEntry = 8 << 20
	// keepTimeout bounds what the end of an archive waits for the index.
	keepTimeout = 5 * time.Second
)

// Archives makes archives of scans. It remembers checksums, so that an archive
// that is asked for again is sent without being read first.
type Archives struct {
	scans *Service
	sums  *lru.Cache[fileVersion, sums]
	open  atomic.Int64 // files held open
	most  int64        // of them; see archiveFiles
	large int64        // see largeEntry
	apart *summer
}

// NewArchives returns the archives of the scans of s; the caller closes them.
func NewArchives(s *Service) *Archives {
	cache, err := lru.New[fileVersion, sums](rememberedSums)
	if err != nil { // only for a size below one
		panic(err)
	}
	return &Archives{scans: s, sums: cache, most: heldAtMost(fsdb.OpenFiles()), large: largeEntry, apart: newSummer()}
}

// heldAtMost is how many files archives hold open where the process may have so many.
func heldAtMost(may int64) int64 { return min(archiveFiles, may/archiveShare) }

// Close ends the summing of files that nobody waits for any more, and of those that
// somebody does.
func (a *Archives) Close() { a.apart.close() }

// sums are the checksums of a file.
type sums struct {
	crc    uint32
	sha256 [sha256.Size]byte
}

// Archive is a scan as a ZIP file, laid out and not yet read; see package
// storedzip for how it is written.
type Archive struct {
	*storedzip.Archive
	Name string // file name
	// Version changes whenever the bytes of the archive do.
	Version string

	archives *Archives
	modified time.Time // when the youngest file changed
	dir      *fsdb.ScanDir
	files    []*archived
	known    map[string]digest // by name below the scan
	computed []digest          // that the index has not
}

// Open lays out the archive of a scan; the caller closes it. It holds all
// files of the scan but previews, accounts and hidden ones other than its visibility, in the order of
// their names relative to the scan, and the manifest. Large ones come after all others, since they are
// read before their first byte goes out. With filesets it holds of
// these only what belongs to the named ones or to none.
//
// The files are those that the scan has now: what replaces one of them later
// does not show. One that is changed in place ends the writing of the archive
// with storedzip.ErrChanged before its end.
//
// Errors: those of finding the scan, ErrUnknownFileset, fsdb.ErrNotFound when
// the directory went after the index was made, fsdb.ErrTooLarge.
func (a *Archives) Open(ctx context.Context, name string, filesets []string) (*Archive, error) {
	r, _, err := a.scans.open(ctx, a.scans.pool, name, opRead)
	if err != nil {
		return nil, err
	}
	keep, err := a.scans.chosen(ctx, r, filesets)
	if err != nil {
		return nil, err
	}
	a.scans.settle(ctx, r)
	known, err := a.scans.digests(ctx, r)
	if err != nil {
		return nil, err
	}
	dir, err := a.scans.tree.OpenScanDir(ctx, r.loc())
	if err != nil {
		return nil, err
	}
	out := &Archive{Name: r.Name + ".zip", archives: a, dir: dir, known: known}
	if err := out.layOut(ctx, keep); err != nil {
		return nil, errors.Join(fmt.Errorf("archive scan %q: %w", r.Name, err), out.Close(ctx))
	}
	return out, nil
}

// Close lets the files go, and keeps in the index what digests it lacked, also
// when ctx has ended. Nothing can be written afterwards.
func (a *Archive) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTimeout)
	defer cancel()
	errs := []error{a.dir.Close(), keepDigests(ctx, a.archives.scans.q, a.archives.scans.pool, a.computed...)}
	for _, f := range a.files {
		if f.held != nil {
			errs = append(errs, f.held.Close())
			a.archives.open.Add(-1)
		}
	}
	return errors.Join(errs...)
}

// chosen says which names below a scan belong into its archive. All do unless
// filesets are named.
func (s *Service) chosen(ctx context.Context, r row, filesets []string) (func(name string) bool, error) {
	if len(filesets) == 0 {
		return func(string) bool { return true }, nil
	}
	for _, name := range filesets {
		if _, err := s.fileset(ctx, s.pool, r, name); err != nil {
			return nil, err
		}
	}
	return func(name string) bool {
		dir, rest, nested := strings.Cut(name, "/")
		if !nested {
			return true
		}
		if dir != "metadata" {
			return slices.Contains(filesets, dir)
		}
		if of, _, nested := strings.Cut(rest, "/"); nested {
			return slices.Contains(filesets, of)
		}
		return rest == "metadata.json" || slices.Contains(filesets, strings.TrimSuffix(rest, ".json"))
	}, nil
}

func (a *Archive) layOut(ctx context.Context, keep func(string) bool) error {
	names, err := a.dir.Files(ctx)
	if err != nil {
		return err
	}
	opener := a.dir.Opener()
	defer func() { _ = opener.Close() }() // only read
	version := sha256.New()
	fmt.Fprintln(version, "2") // to be raised when the same files make another archive
	var entries, large []storedzip.Entry
	for _, name := range names {
		if !keep(name) || name == ManifestName {
			continue
		}
		f, err := a.file(opener, name)
		if errors.Is(err, fsdb.ErrNotFound) {
			continue // it went after the directory was read
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(version, "%q %v\n", name, f.version)
		if f.modified.After(a.modified) {
			a.modified = f.modified
		}
		if f.version.size >= a.archives.large {
			large = append(large, f.entry())
		} else {
			entries = append(entries, f.entry())
		}
	}
	entries = append(append(entries, large...), a.manifestEntry())
	a.Version = hex.EncodeToString(version.Sum(nil))
	a.Archive, err = storedzip.New(entries)
	return err
}

// archived is a file of an archive.
type archived struct {
	archive  *Archive
	name     string
	version  fileVersion
	modified time.Time
	held     *os.File // nil where too many are open
	summed   *sums    // once they were asked for
}

func (a *Archive) file(opener *fsdb.Opener, name string) (*archived, error) {
	opened, info, err := opener.Open(name)
	if err != nil {
		return nil, err
	}
	f := &archived{archive: a, name: name, version: versionOf(info), modified: info.ModTime()}
	a.files = append(a.files, f)
	if a.archives.open.Add(1) <= a.archives.most {
		f.held = opened
		return f, nil
	}
	a.archives.open.Add(-1)
	return f, opened.Close()
}

func (f *archived) entry() storedzip.Entry {
	return storedzip.Entry{
		Name: f.name, Size: f.version.size, Modified: f.modified,
		Sum: func(ctx context.Context) (uint32, error) {
			s, err := f.sums(ctx)
			return s.crc, err
		},
		Open: func(context.Context) (io.ReadSeekCloser, error) { return f.open() },
	}
}

// content is a file of an archive, open. Its Close is storedzip.ErrChanged if
// it is no longer what was laid out.
type content struct {
	*os.File
	of *archived
}

// open returns the bytes that were laid out, or storedzip.ErrChanged.
func (f *archived) open() (*content, error) {
	if f.held != nil {
		return &content{f.held, f}, nil
	}
	opened, _, err := f.archive.dir.Open(f.name)
	if errors.Is(err, fsdb.ErrNotFound) {
		return nil, storedzip.ErrChanged
	}
	if err != nil {
		return nil, err
	}
	c := &content{opened, f}
	if err := c.check(); err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	return c, nil
}

func (c *content) check() error {
	info, err := c.Stat()
	if err == nil && versionOf(info) != c.of.version {
		err = storedzip.ErrChanged
	}
	return err
}

// Close implements io.Closer.
func (c *content) Close() error {
	err := c.check()
	if c.of.held == nil {
		err = errors.Join(err, c.File.Close())
	}
	return err
}

// sums returns the checksums of the bytes that were laid out, which are read
// once, and not even that where this version of the file is remembered.
func (f *archived) sums(ctx context.Context) (sums, error) {
	if f.summed != nil {
		return *f.summed, nil
	}
	cache, known := f.archive.archives.sums, f.archive.known[f.name]
	s, ok := cache.Get(f.version)
	if !ok {
		sum := f.read
		if f.version.size >= f.archive.archives.large {
			sum = func(ctx context.Context, known digest) (sums, error) {
				return f.archive.archives.sumApart(ctx, f, known)
			}
		}
		var err error
		if s, err = sum(ctx, known); err != nil {
			return sums{}, fmt.Errorf("sum %q: %w", f.name, err)
		}
	}
	f.summed = &s
	if time.Since(f.modified) <= restless {
		return s, nil
	}
	cache.Add(f.version, s)
	if known.sha256 == nil && known.is(f.version) {
		f.archive.computed = append(f.archive.computed, known.with(f.version, s.sha256[:]))
	}
	return s, nil
}

// read sums the bytes that were laid out.
func (f *archived) read(ctx context.Context, known digest) (sums, error) {
	c, err := f.open()
	if err != nil {
		return sums{}, err
	}
	s, err := sumsOf(ctx, c, f.version.size, known.of(f.version))
	return s, errors.Join(err, c.Close())
}

// sumsOf reads size bytes of r. Their SHA-256 costs ten times as much as the
// CRC, so it is not computed where it is known.
func sumsOf(ctx context.Context, r io.ReaderAt, size int64, known []byte) (sums, error) {
	crc, digest := crc32.NewIEEE(), sha256.New()
	var to io.Writer = crc
	if known == nil {
		to = io.MultiWriter(crc, digest)
	}
	source := contextReader{ctx, io.NewSectionReader(r, 0, size)}
	buffer := make([]byte, min(256<<10, size+1))
	n, err := io.CopyBuffer(to, source, buffer)
	if err == nil && n < size {
		err = storedzip.ErrChanged
	}
	s := sums{crc: crc.Sum32()}
	if known == nil {
		known = digest.Sum(nil)
	}
	copy(s.sha256[:], known)
	return s, err
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context //nolint:containedctx // It is the reader's whole purpose.
	r   io.Reader
}

// Read implements io.Reader.
func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// manifestEntry is the list of the files that a has so far. Its length is
// known without their digests.
func (a *Archive) manifestEntry() storedzip.Entry {
	var size int64
	for _, f := range a.files {
		size += int64(len(manifestLine(f.name, [sha256.Size]byte{})))
	}
	var text []byte
	content := func(ctx context.Context) ([]byte, error) {
		if text != nil {
			return text, nil
		}
		made := make([]byte, 0, size)
		for _, f := range a.files {
			s, err := f.sums(ctx)
			if err != nil {
				return nil, err
			}
			made = append(made, manifestLine(f.name, s.sha256)...)
		}
		text = made
		return text, nil
	}
	return storedzip.Entry{
		Name: ManifestName, Size: size, Modified: a.modified,
		Sum: func(ctx context.Context) (uint32, error) {
			text, err := content(ctx)
			return crc32.ChecksumIEEE(text), err
		},
		Open: func(ctx context.Context) (io.ReadSeekCloser, error) {
			text, err := content(ctx)
			return readSeekNopCloser{bytes.NewReader(text)}, err
		},
	}
}

type readSeekNopCloser struct{ io.ReadSeeker }

// Close implements io.Closer.
func (readSeekNopCloser) Close() error { return nil }

// manifestEscapes are made once: making them costs more than a line does.
var manifestEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`)

// manifestLine is a line of sha256sum, which escapes names that would break it.
func manifestLine(name string, digest [sha256.Size]byte) string {
	escaped := manifestEscapes.Replace(name)
	mark := ""
	if escaped != name {
		mark = `\`
	}
	return fmt.Sprintf("%s%x  %s\n", mark, digest, escaped)
}
