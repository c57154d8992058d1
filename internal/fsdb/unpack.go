package fsdb

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// ManifestName is the file of an archive that says the SHA-256 of every other
// one in the form of sha256sum. Scans have none: it is made with each archive.
const ManifestName = "manifest-sha256.txt"

// The failures of archives that come from outside.
var (
	ErrArchive          = fault.New(fault.Invalid, "archive_invalid", "Invalid ZIP archive: File is not a zip file")
	ErrArchiveStructure = fault.New(fault.Invalid, "archive_structure", "Invalid scan dataset archive structure.")
	ErrArchivePath      = fault.New(fault.Invalid, "archive_path", "Path traversal attempt detected: ../other_scan/files.json")
	ErrArchiveTooLarge  = fault.New(fault.TooLarge, "archive_too_large", "The archive holds more than 100000 entries.")
)

// ArchiveLimits bounds an archive that comes from outside.
type ArchiveLimits struct {
	// Bytes bounds the archive itself, and all that it holds, unpacked.
	Bytes int64
	// FileBytes bounds each file, unpacked.
	FileBytes int64
	// Entries bounds the files and directories.
	Entries int
	// Ratio bounds how many times its own size an archive may hold; one that
	// holds little may go beyond.
	Ratio int
	// Depth bounds the directories above a file, with the scan's own.
	Depth int
}

// DefaultArchiveLimits are far above any scan that was seen, and far below
// what fills a disk or a memory by surprise.
func DefaultArchiveLimits() ArchiveLimits {
	return ArchiveLimits{Bytes: 64 << 30, FileBytes: 8 << 30, Entries: 100_000, Ratio: 200, Depth: maxScanDepth}
}

// smallArchive is what an archive may hold at any ratio: text packs well.
const smallArchive = 64 << 20

// unpackers bounds how many files of an archive are unpacked at once; they
// wait for the disk most of the time.
const unpackers = syncers

// StagedScan is a scan that is on the disk and not yet in the tree. AddScan or
// Discard uses it up.
type StagedScan struct {
	tree     *Tree
	name     string
	metadata json.RawMessage
	document []byte // of the metadata, as it is on disk
	// visibility is what lies beside the metadata, as WriteVisibility writes it.
	visibility string
	files      []string
	sums       map[string]stagedSum
	dirs       []string // to be synced
	bytes      int64
	used       atomic.Bool
}

// stagedSum is what a file is known by.
type stagedSum struct {
	size int64
	sum  [sha256.Size]byte
}

// SHA256 returns the digest of a file as it was unpacked, nil where there is
// none of that name.
func (s *StagedScan) SHA256(name string) []byte {
	f, ok := s.sums[name]
	if !ok {
		return nil
	}
	return f.sum[:]
}

// Metadata is the scan's own, {} where it has none.
func (s *StagedScan) Metadata() json.RawMessage { return s.metadata }

// Visibility is what the archive says beside the metadata, empty for nothing.
// AddScan keeps it, whatever its metadata says.
func (s *StagedScan) Visibility() string { return s.visibility }

// Files are the names of its files, relative to the scan, sorted.
func (s *StagedScan) Files() []string { return s.files }

// Bytes is the size of all its files.
func (s *StagedScan) Bytes() int64 { return s.bytes }

// Discard removes the scan if no call has used it up; it may be called always
// and more than once.
func (s *StagedScan) Discard() {
	if !s.used.Swap(true) {
		s.tree.discard(s.name)
	}
}

// SpooledArchive is a ZIP file of a scan that has come whole and whose entries
// were found to be sound by what they say of themselves.
type SpooledArchive struct {
	tree  *Tree
	spool *spool
	plan  archivePlan
}

// SpoolArchive takes a ZIP file that holds one scan, at its top or in one
// directory. It copies r into the staging directory of the tree, with flat
// memory, and reads what the archive says of its entries; large ones that are
// not packed get files of their own meanwhile. The caller closes what it returns; after an
// error nothing is left.
//
// Left out of the scan are the manifest that our archives have, upstream's
// cache and what has a leading dot but the visibility. Errors: ErrArchive for what is no ZIP file
// or holds anything but files that can be unpacked, ErrArchiveStructure without
// files.json and metadata, ErrArchivePath for a name that leads out,
// ErrArchiveTooLarge, ErrTooLarge, ErrNoSpace; an error of r is wrapped.
func (t *Tree) SpoolArchive(ctx context.Context, r io.Reader, limits ArchiveLimits) (*SpooledArchive, error) {
	a, err := t.spoolArchive(ctx, r, limits)
	return a, wrap("take", "archive", err)
}

func (t *Tree) spoolArchive(ctx context.Context, r io.Reader, limits ArchiveLimits) (*SpooledArchive, error) {
	spool, err := t.newSpool(limits)
	if err != nil {
		return nil, err
	}
	return spool.archive(ctx, r, limits)
}

// archive takes r, and is used up by what it returns, or the error.
func (s *spool) archive(ctx context.Context, r io.Reader, limits ArchiveLimits) (*SpooledArchive, error) {
	a := &SpooledArchive{tree: s.tree, spool: s}
	limit := min(limits.Bytes, math.MaxInt64-1)
	err := s.receive(io.LimitReader(contextReader{ctx, r}, limit+1))
	switch {
	case err != nil:
	case s.size > limit:
		err = ErrTooLarge.With("the archive is larger than %d bytes", limit)
	default:
		a.plan, err = planArchive(s, s.size, limits)
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// Close lets the archive go.
func (a *SpooledArchive) Close() error { return a.spool.close() }

// Files is how many files the scan has in directories, but for metadata.
func (a *SpooledArchive) Files() (n int) {
	for _, f := range a.plan.files {
		if strings.Contains(f.name, "/") && !strings.HasPrefix(f.name, metadataDir+"/") {
			n++
		}
	}
	return n
}

// Bytes is the size of the scan, unpacked.
func (a *SpooledArchive) Bytes() int64 { return a.plan.bytes }

// Unpack makes the scan of the archive in the staging directory and returns
// once all but its directories would survive a power cut; AddScan makes it one
// of the tree. Every file is checked against its size and checksum. Errors:
// ErrArchive, ErrArchiveStructure for files.json or metadata that cannot be
// read, ErrNoSpace; after an error nothing is left.
func (a *SpooledArchive) Unpack(ctx context.Context) (*StagedScan, error) {
	s := &StagedScan{tree: a.tree, name: stagingName(), bytes: a.plan.bytes}
	if err := errors.Join(s.unpack(ctx, a.plan, a.spool), a.spool.durable()); err != nil {
		s.Discard()
		return nil, wrap("unpack", "archive", err)
	}
	return s, nil
}

func (s *StagedScan) unpack(ctx context.Context, plan archivePlan, spool *spool) error {
	t := s.tree
	if err := t.inStaging(func() error { return t.disk.mkdir(s.name, dirPerm) }); err != nil {
		return err
	}
	s.dirs = append(s.dirs, s.name)
	for _, dir := range plan.dirs {
		if err := s.mkdir(dir); err != nil {
			return taken(err, dir)
		}
	}
	sums := make([]stagedSum, len(plan.files))
	var rest []int // of the files
	for i, f := range plan.files {
		if f.name != accessFile {
			s.files = append(s.files, f.name)
		}
		sum, found, err := spool.take(f, s.name+"/"+f.name)
		if err != nil {
			return taken(err, f.name)
		}
		if sums[i] = sum; !found {
			rest = append(rest, i)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(unpackers)
	for _, i := range rest {
		group.Go(func() (err error) {
			sums[i], err = t.unpackFile(ctx, s.name, plan.files[i])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	s.sums = make(map[string]stagedSum, len(sums))
	for i, f := range plan.files {
		s.sums[f.name] = sums[i]
	}
	return s.look(plan)
}

func (s *StagedScan) mkdir(dir string) error {
	dir = s.name + "/" + dir
	s.dirs = append(s.dirs, dir)
	return s.tree.disk.mkdir(dir, dirPerm)
}

// taken makes a fault of a name that the filesystem takes for another one.
func taken(err error, name string) error {
	if errors.Is(err, fs.ErrExist) {
		return ErrArchive.With("Invalid ZIP archive: '%s' is in it twice", name)
	}
	return err
}

func (t *Tree) unpackFile(ctx context.Context, dir string, f archiveFile) (got stagedSum, err error) {
	if err := ctx.Err(); err != nil {
		return got, err
	}
	from, err := f.Open()
	if err != nil {
		return got, badEntry(f.name, err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := t.disk.create(dir + "/" + f.name)
	if err != nil {
		return got, taken(err, f.name)
	}
	source := &entryReader{summed: f.CRC32 == 0, r: io.LimitReader(contextReader{ctx, from}, int64(f.UncompressedSize64)+1)} //nolint:gosec // bounded by the plan
	got.size, got.sum, err = receiveOne(to, source)
	switch {
	case source.err != nil && ctx.Err() == nil:
		err = badEntry(f.name, source.err)
	case err != nil:
	case uint64(got.size) != f.UncompressedSize64: //nolint:gosec // not negative
		err = badEntry(f.name, io.ErrUnexpectedEOF)
	case source.crc != 0:
		err = badEntry(f.name, zip.ErrChecksum)
	default:
		err = to.Sync()
	}
	return got, errors.Join(err, to.Close())
}

// entryReader tells errors of the archive from those of the disk, and keeps the
// checksum of an entry that should be zero: package zip takes that for none.
type entryReader struct {
	r      io.Reader
	summed bool
	crc    uint32
	err    error
}

// Read implements io.Reader.
func (e *entryReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if e.summed {
		e.crc = crc32.Update(e.crc, crc32.IEEETable, p[:n])
	}
	if err != nil && !errors.Is(err, io.EOF) {
		e.err = err
	}
	return n, err
}

// badEntry is the fault of an entry whose bytes are not what it says.
func badEntry(name string, cause error) error {
	if errors.Is(cause, zip.ErrChecksum) {
		return ErrArchive.With("Invalid ZIP archive: Bad CRC-32 for file '%s'", name).Because(cause)
	}
	return ErrArchive.With("Invalid ZIP archive: '%s' cannot be unpacked", name).Because(cause)
}

// look reads what must be readable in a scan that comes from outside, and
// makes the directories of filesets that have no files.
func (s *StagedScan) look(plan archivePlan) error {
	dir, err := s.tree.root.OpenRoot(s.name)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // only read
	data, err := readFile(dir, indexFile, meta.MaxBytes)
	if err != nil {
		return unlooked(indexFile, err)
	}
	x, err := parseIndex(data)
	if err != nil {
		return unlooked(indexFile, err)
	}
	if s.visibility, err = readVisibility(dir); err != nil {
		return unlooked(accessFile, err)
	}
	if name, out := leadsOut(x); out {
		return ErrArchivePath.With("Path traversal attempt detected: %s", shown(name))
	}
	for _, e := range x.filesets {
		if e.listed && len(e.files) == 0 && readable(e.id) && !slices.Contains(plan.dirs, e.id) && !plan.has(e.id) {
			if err := s.mkdir(e.id); err != nil {
				return taken(err, e.id)
			}
		}
	}
	s.metadata = json.RawMessage("{}")
	s.document, err = readFile(dir, scanMetadata, meta.MaxBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		s.metadata, _, err = meta.Read(s.document)
	}
	if err == nil {
		_, err = meta.Object(s.metadata)
	}
	return unlooked(scanMetadata, err)
}

// leadsOut finds a name in files.json that is no single element of a path. It is
// passed over here, but a Python program on the same tree would follow it.
func leadsOut(x *index) (name string, out bool) {
	for _, e := range x.filesets {
		names := []string{e.id}
		for _, f := range e.files {
			names = append(names, f.id, f.name)
		}
		for _, name := range names {
			if name == ".." || strings.Contains(name, "/") {
				return name, true
			}
		}
	}
	return "", false
}

func unlooked(name string, err error) error {
	if err == nil || exhausted(err) {
		return err
	}
	if errors.Is(err, meta.ErrTooDeep) {
		return meta.ErrTooDeep.With("%s: %s", name, meta.ErrTooDeep.Msg)
	}
	return ErrArchiveStructure.With("%s %s: %s", ErrArchiveStructure.Msg, name, reason(err))
}

// has says whether a file has that name.
func (p archivePlan) has(name string) bool {
	_, found := slices.BinarySearchFunc(p.files, name, func(f archiveFile, name string) int {
		switch {
		case f.name < name:
			return -1
		case f.name > name:
			return 1
		}
		return 0
	})
	return found
}

// parents are the directories above a file of a scan, the outermost first.
func parents(name string) []string {
	var dirs []string
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		dirs = append(dirs, dir)
	}
	slices.Reverse(dirs)
	return dirs
}
