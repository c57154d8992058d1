package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pelletier/go-toml/v2"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// imagesFileset is the fileset that upstream's programs take for the images.
const imagesFileset = "images"

var empty = json.RawMessage("{}")

// writeRows makes the rows of a scan say what was read; those of parts that
// are gone go.
func (s *Service) writeRows(ctx context.Context, tx pgx.Tx, read *fsdb.Scan) error {
	arg := db.ForgetPartsParams{Name: read.Scan, Filesets: []string{}}
	for _, fs := range read.Filesets {
		arg.Filesets = append(arg.Filesets, fs.ID)
		for _, f := range fs.Files {
			arg.FileFilesets = append(arg.FileFilesets, fs.ID)
			arg.Files = append(arg.Files, f.ID)
		}
	}
	if err := s.q.ForgetParts(ctx, tx, arg); err != nil {
		return fmt.Errorf("forget parts of scan %q: %w", read.Dir(), err)
	}
	return s.writeScan(ctx, tx, read)
}

// fillInodes completes what the rows of a scan say of the versions of its files, if
// found says that they lack something.
func (s *Service) fillInodes(ctx context.Context, tx pgx.Tx, read *fsdb.Scan, found Change) error {
	if !found.unfilled {
		return nil
	}
	arg := db.FillInodesParams{Name: read.Scan}
	for _, fs := range read.Filesets {
		for _, f := range fs.Files {
			arg.Filesets, arg.Filenames = append(arg.Filesets, fs.ID), append(arg.Filenames, f.Name)
			arg.Sizes, arg.Modified = append(arg.Sizes, f.Size), append(arg.Modified, f.Modified)
			arg.Inodes, arg.Touched = append(arg.Inodes, rowInode(f.Inode)), append(arg.Touched, f.Touched)
		}
	}
	if err := s.q.FillInodes(ctx, tx, arg); err != nil {
		return fmt.Errorf("fill inodes of scan %q: %w", read.Dir(), err)
	}
	return nil
}

// writeScan is writeRows for a scan of which no part can be gone.
func (s *Service) writeScan(ctx context.Context, tx pgx.Tx, read *fsdb.Scan) error {
	arg, err := s.scanRow(ctx, read)
	if err != nil {
		return err
	}
	if err := s.q.WriteScan(ctx, tx, arg); err != nil {
		return fmt.Errorf("index scan %q: %w", read.Dir(), err)
	}
	return s.askPreviews(ctx, tx, previewArgs{Scan: read.Scan}, arg.Filenames)
}

// writeScanAlone is writeRows for a scan whose parts have the rows that they
// should have: after writes of our own nothing else has to be said.
func (s *Service) writeScanAlone(ctx context.Context, tx pgx.Tx, read *fsdb.Scan) error {
	arg, err := s.scanRow(ctx, read)
	if err != nil {
		return err
	}
	arg.FilesetIds, arg.Filesets, arg.FilesetPositions, arg.FilesetDocuments, arg.FilesetMetadatas = nil, nil, nil, nil, nil
	arg.FileIds, arg.FileFilesets, arg.Files, arg.Filenames, arg.FilePositions = nil, nil, nil, nil, nil
	arg.Sizes, arg.Modified, arg.Inodes, arg.Sha256s, arg.FileDocuments, arg.FileMetadatas = nil, nil, nil, nil, nil, nil
	if err := s.q.WriteScan(ctx, tx, arg); err != nil {
		return fmt.Errorf("index scan %q: %w", read.Dir(), err)
	}
	return nil
}

// scanRow is the rows of a scan as read from disk.
func (s *Service) scanRow(ctx context.Context, read *fsdb.Scan) (db.WriteScanParams, error) {
	source := sourceOf(read)
	info, err := encode(makeInfo(source))
	if err != nil {
		return db.WriteScanParams{}, fmt.Errorf("encode info of scan %q: %w", read.Dir(), err)
	}
	access := accessOf(read.Scan, source.metadata)
	known := factsOf(read.Scan, source.metadata, source.fileset(imagesFileset).metadata)
	arg := db.WriteScanParams{
		ID: newID(), Name: read.Scan, Timelapse: read.Timelapse,
		Owner: access.Owner, Sharing: access.Sharing, Visibility: access.Visibility,
		KeepAccess: s.accessLost(ctx, read),
		Document:   source.metadata, Metadata: searchable(source.metadata), Info: info,
		ChangedAt: read.Changed, HasMeasures: read.Measures, VoxelFloor: source.voxelFloor,
		Signature: read.Signature[:],
		Search:    known.search, Created: known.created, LastModified: known.lastModified,
		Species: known.species, Plant: known.plant, Environment: known.environment, Due: known.due,
	}
	if source.broken != "" {
		arg.Broken = &source.broken
	}
	for i, fs := range read.Filesets {
		addFileset(&arg, i, fs)
	}
	arg.FileCount = int32(min(len(arg.FileIds), 1<<30))                            // bounded here
	arg.BesideFiles, arg.BesideBytes = int32(read.Beside.Files), read.Beside.Bytes //nolint:gosec // bounded by fsdb
	return arg, nil
}

func addFileset(arg *db.WriteScanParams, position int, fs fsdb.Fileset) {
	arg.FilesetIds = append(arg.FilesetIds, newID())
	arg.Filesets = append(arg.Filesets, fs.ID)
	arg.FilesetPositions = append(arg.FilesetPositions, int32(position)) //nolint:gosec // bounded by the size of files.json
	arg.FilesetDocuments = append(arg.FilesetDocuments, string(fs.Metadata))
	arg.FilesetMetadatas = append(arg.FilesetMetadatas, string(searchable(fs.Metadata)))
	for i, f := range fs.Files {
		arg.FileIds = append(arg.FileIds, newID())
		arg.FileFilesets = append(arg.FileFilesets, fs.ID)
		arg.Files = append(arg.Files, f.ID)
		arg.Filenames = append(arg.Filenames, f.Name)
		arg.FilePositions = append(arg.FilePositions, int32(i)) // as above
		arg.Sizes = append(arg.Sizes, f.Size)
		arg.Modified = append(arg.Modified, f.Modified)
		arg.Inodes = append(arg.Inodes, rowInode(f.Inode))
		arg.Sha256s = append(arg.Sha256s, f.SHA256)
		arg.FileDocuments = append(arg.FileDocuments, string(f.Metadata))
		arg.FileMetadatas = append(arg.FileMetadatas, string(searchable(f.Metadata)))
		arg.ByteCount += f.Size
	}
}

func sourceOf(read *fsdb.Scan) infoSource {
	source := infoSource{
		name: read.Scan, broken: cleanText(read.Broken), changedAt: read.Changed, hasMeasures: read.Measures,
		voxelFloor: voxelFloor(read.Pipeline),
	}
	images := empty
	for _, fs := range read.Filesets {
		if fs.ID == imagesFileset {
			images = fs.Metadata
		}
		out := infoFileset{name: fs.ID, metadata: fs.Metadata}
		for _, f := range fs.Files {
			out.files = append(out.files, infoFile{f.ID, f.Name, f.Metadata})
		}
		source.filesets = append(source.filesets, out)
	}
	source.metadata = Filled(seenAs(read.Metadata, visibilityOf(read)), images)
	return source
}

// visibilityOf returns the visibility that lies beside the metadata of a scan.
// Where it cannot be read the scan is private, whatever its metadata say: they
// may be older than the wish to hide it.
func visibilityOf(read *fsdb.Scan) string {
	if read.VisibilityLost {
		return Private
	}
	return read.Visibility
}

// accessLost says whether the metadata of a damaged scan cannot tell who may
// do what. Then what the index knows of it stays: damage must not open a
// private scan to everybody.
func (s *Service) accessLost(ctx context.Context, read *fsdb.Scan) bool {
	if read.Broken != "" {
		return true
	}
	if len(read.Warnings) == 0 {
		return false
	}
	_, err := s.tree.ReadScanMetadata(ctx, read.Loc)
	return err != nil
}

// unwritable says whether PostgreSQL refused a write for what was in it: a
// value that a type cannot hold (SQLSTATE class 22), or one over a limit of
// the program (class 54).
func unwritable(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (strings.HasPrefix(pg.Code, "22") || strings.HasPrefix(pg.Code, "54"))
}

// voxelFloor is the lowest z of the Voxels task's bounding box in a pipeline
// configuration; nil when it has none.
func voxelFloor(pipeline []byte) *float64 {
	if len(pipeline) == 0 {
		return nil
	}
	var config struct {
		Voxels struct {
			BoundingBox struct {
				Z []float64 `toml:"z"`
			} `toml:"bounding_box"`
		} `toml:"Voxels"`
	}
	if toml.Unmarshal(pipeline, &config) != nil || len(config.Voxels.BoundingBox.Z) == 0 {
		return nil
	}
	lowest := config.Voxels.BoundingBox.Z[0]
	for _, z := range config.Voxels.BoundingBox.Z {
		lowest = min(lowest, z)
	}
	return &lowest
}

// seenAs returns metadata with the visibility that lies beside it on disk, if
// there is one: that of the metadata is only what a scan came with.
func seenAs(metadata json.RawMessage, visibility string) json.RawMessage {
	if visibility == "" || textAt(metadata, "visibility") == visibility {
		return metadata
	}
	return setMember(metadata, "visibility", meta.Quote(visibility))
}

// accessOf reads from metadata what policy asks: the owner, the groups it is
// shared with (a text or a list of texts) and the visibility. The keys are
// taken by the letter: another spelling of one is a key that anybody may set.
func accessOf(name string, metadata json.RawMessage) Access {
	a := Access{Name: name, Sharing: []string{}, Visibility: Public}
	members, err := meta.Object(metadata)
	if err != nil {
		return a
	}
	if owner, ok := meta.Text(meta.Get(members, "owner")); ok {
		a.Owner = cleanOwner(owner)
	}
	sharing := meta.Get(members, "sharing")
	var groups []json.RawMessage
	if json.Unmarshal(sharing, &groups) != nil {
		groups = []json.RawMessage{sharing}
	}
	for _, raw := range groups {
		if group, ok := meta.Text(raw); ok {
			a.Sharing = append(a.Sharing, cleanText(group))
		}
	}
	if visibility, _ := meta.Text(meta.Get(members, "visibility")); visibility == Private {
		a.Visibility = Private
	}
	return a
}

// maxOwner bounds a recorded owner: what is longer is no user's name, and does
// not go into an index.
const maxOwner = 255

// cleanOwner returns an owner as a row can hold it, nil for one that nobody is.
func cleanOwner(owner string) *string {
	if owner = cleanText(owner); owner == "" || len(owner) > maxOwner {
		return nil
	}
	return &owner
}

func cleanTexts(texts []string) []string {
	clean := make([]string, len(texts))
	for i, t := range texts {
		clean[i] = cleanText(t)
	}
	return clean
}

// newID returns a UUIDv7: rows made one after another lie beside each other.
func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }
