// Package scan holds the rules for scans, their filesets, files, metadata and
// timelapses: who may do what, what a name may be, how the tree on disk and
// its index in SQL stay one. The tree (package fsdb) is the truth and is
// always written first; the rows say the same a moment later and can be made
// again from it. It knows no HTTP: package api declares and decodes, this
// package decides.
//
// Every exported method takes who acts from the context (package actor) and
// does nothing without one, but for Count, OnProgress, Reconcile, KeepIndexed, Watching, Scrubbed, what folds
// journals, FeedEvents and what sets up previews and events. Exported methods own their transaction; the unexported ones take
// it.
//
// # When the index fails
//
// Where the tree was written and the database then failed, the call returns an
// error and the tree is ahead. The next reconcile brings the index up to it.
// A client that repeats its call before that is answered as if the first call
// had never failed: what lies on disk and is not in the index is taken in, and
// where it is just what the call would have made, the call succeeds.
package scan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/postgres"
)

// The names of operations in messages about permissions, as upstream's where it
// has them; matrix says who may.
const (
	opRead            = "read"
	opCreateScan      = "create_scan"
	opCreateFileset   = "create_fileset"
	opCreateFile      = "create_file"
	opSetMetadata     = "set_metadata"
	opReload          = "reload"
	opCreateTimelapse = "create_timelapse"
	opDeleteScan      = "delete_scan"
	opDeleteFileset   = "delete_fileset"
	opDeleteFile      = "delete_file"
	opDeleteTimelapse = "delete_timelapse"
	opRestore         = "restore"
	opPurge           = "purge"
	opSetVisibility   = "set_visibility"
	opSetSharing      = "set_sharing"
	opSetOwner        = "set_owner"
	opUsage           = "usage"
	opListQuotas      = "list_quotas"
	opSetQuota        = "set_quota"
	opBatch           = "batch"
	opAddToTimelapse  = "add_to_timelapse"
	opKeepTrash       = "keep_trash"
	opListAll         = "list_all"
	opRelay           = "relay"
)

// holdFold is what Locks tells of a fold.
const holdFold = "fold"

// Groups tells whether groups exist; the accounts know.
type Groups interface {
	// MissingGroups returns those of the names that are no group. Like Owner it
	// asks by from, for the caller may be in a transaction: a second connection it
	// must not wait for.
	MissingGroups(ctx context.Context, from db.DBTX, names []string) ([]string, error)
	// Owner returns the name of the user who is called so, in whatever case;
	// ok is false if nobody is, or nobody who can own anything.
	Owner(ctx context.Context, from db.DBTX, username string) (name string, ok bool, err error)
	// RecordAccess adds a change of who may do what to the audit trail, in the
	// transaction that makes it.
	RecordAccess(ctx context.Context, tx db.DBTX, kind, detail string) error
}

// Config bounds what the service takes.
type Config struct {
	// MaxFileBytes is the largest file that an upload may make.
	MaxFileBytes int64
	// Archives bounds what an uploaded archive may hold; no file of it may be
	// larger than MaxFileBytes.
	Archives fsdb.ArchiveLimits
	// UploadExpiry is how long an upload in pieces may stand still.
	UploadExpiry time.Duration
	// Extensions are what an uploaded file may end in, lower case with dot.
	Extensions []string
	// LockTimeout is how long a write waits for another writer of the scan.
	LockTimeout time.Duration
	// FileLocks takes upstream's file locks beside our own, so that Python
	// programs on the same tree and this server write one after the other.
	FileLocks bool
	// Server is what others see of this process as the holder of a lock; New
	// takes the name of the machine and the process id for an empty one.
	Server string
	// WatchLimit is how many directories may be watched for what other programs
	// do to the tree; zero for none.
	WatchLimit int
	// SweepInterval is how often the whole tree is compared with its index;
	// zero for never but when the watcher asks.
	SweepInterval time.Duration
	// ScrubRate is how many bytes a second a scrub reads; zero for none.
	ScrubRate int64
	// TrashRetention is how long what was deleted can be restored; zero for
	// ever.
	TrashRetention time.Duration
	// EventRetention is how long events are kept, and with them the history of
	// scans; zero for ever.
	EventRetention time.Duration
	// Streams and StreamsPerUser bound those who follow events at a time.
	Streams, StreamsPerUser int
}

// AddExtensions has uploaded files end in these, too, with or without a dot.
func (c *Config) AddExtensions(more ...string) {
	for _, ext := range more {
		c.Extensions = append(c.Extensions, storedExtension(ext))
	}
}

// DefaultConfig returns the bounds of a server that was told nothing else.
func DefaultConfig() Config {
	return Config{
		MaxFileBytes: 8 << 30,
		Archives:     fsdb.DefaultArchiveLimits(),
		UploadExpiry: 24 * time.Hour,
		Extensions: []string{
			".jpg", ".jpeg", ".png", ".tif", ".txt", ".json", ".ply", ".yaml", ".toml", // upstream's
			".tiff", ".npz", ".npy", ".csv", ".p", ".pt", ".zip", ".xml", ".md",
		},
		LockTimeout:    4 * time.Second, // clients of upstream wait five for most answers
		FileLocks:      true,
		WatchLimit:     32768,
		SweepInterval:  time.Minute,
		TrashRetention: 30 * 24 * time.Hour,
		EventRetention: 365 * 24 * time.Hour,
		Streams:        1000,
		StreamsPerUser: 10,
	}
}

// Service is the rules over one tree and its index. It is safe for concurrent
// use, also by several processes on the same tree and database.
type Service struct {
	pool   postgres.DB
	q      *db.Queries
	tree   *fsdb.Tree
	groups Groups
	config Config
	log    *slog.Logger
	now    func() time.Time

	bounds   pageBounds
	rowsHeld int32
	uploads  batcher
	feed     *feed
	folds    folds
	waits    waits
	turns    turns
	limited  limited
	reload   coalescer
	reloadOf coalescers
	watching watching
	scrubbed scrubbed
	met      atomic.Bool // the tree was compared with its index
	progress func(done, total int)
	warned   sync.Map  // path of a scan or timelapse -> string: the damage that was logged last
	pythons  sync.Once // what Python programs make of timelapses was logged

	// atStep is told the steps of a batch, for tests that end there.
	atStep func(step string)

	previewQueue Queue        // nil where none are made ahead
	uploadedAt   atomic.Int64 // when the last bytes of files came, in Unix nanoseconds
}

// New returns the service of a tree and its index.
func New(pool postgres.DB, tree *fsdb.Tree, groups Groups, c Config, log *slog.Logger) *Service {
	if c.Server == "" {
		c.Server = serverName()
	}
	s := &Service{
		pool: pool, q: db.New(), tree: tree, groups: groups, config: c, log: log, now: time.Now, feed: newFeed(),
		bounds: defaultBounds, rowsHeld: rowsHeld,
	}
	s.uploads.flush = s.flushFiles
	s.folds.wake = make(chan struct{}, 1)
	s.waits.log = log
	return s
}

// OnProgress makes fn be told how far a reconcile is: one call at a time, done
// rising to total. It is set before the service is used, or between reconciles;
// nil ends it.
func (s *Service) OnProgress(fn func(done, total int)) { s.progress = fn }

// row is a scan as policy and paths need it.
type row struct {
	id        uuid.UUID
	timelapse string
	broken    bool
	Access
}

func (r row) loc() fsdb.Loc { return fsdb.Loc{Timelapse: r.timelapse, Scan: r.Name} }

// acting returns who acts; ErrNoActor if nobody does.
func acting(ctx context.Context) (actor.Actor, error) {
	a, ok := actor.FromContext(ctx)
	if !ok {
		return a, ErrNoActor
	}
	return a, nil
}

// open finds a scan and asks policy. ErrUnknownScan also for one that the
// actor may not see.
func (s *Service) open(ctx context.Context, tx db.DBTX, name, operation string) (row, actor.Actor, error) {
	a, err := acting(ctx)
	if err != nil {
		return row{}, a, err
	}
	r, err := s.scan(ctx, tx, name)
	if err != nil {
		return row{}, a, err
	}
	return r, a, require(a, r.Access, operation)
}

// scan finds a scan for who needs no leave.
func (s *Service) scan(ctx context.Context, tx db.DBTX, name string) (row, error) {
	if !storable(name) {
		return row{}, unknownScan(name)
	}
	got, err := s.q.GetScan(ctx, tx, name)
	if err != nil {
		return row{}, notFound(err, unknownScan(name), "find scan %q", name)
	}
	return row{got.ID, got.Timelapse, got.Broken, Access{got.Name, got.Owner, got.Sharing, got.Visibility}}, nil
}

// notFound turns a missing row into unknown; every other error is wrapped.
func notFound(err, unknown error, format string, args ...any) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return unknown
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

func (s *Service) fileset(ctx context.Context, tx db.DBTX, r row, name string) (db.GetFilesetRow, error) {
	if !storable(name) {
		return db.GetFilesetRow{}, unknownFileset(r.Name, name)
	}
	fs, err := s.q.GetFileset(ctx, tx, r.id, name)
	if err != nil {
		return fs, notFound(err, unknownFileset(r.Name, name), "find fileset %q of scan %q", name, r.Name)
	}
	return fs, nil
}

// writable finds a scan and one of its filesets by one query, for who writes
// files into it and needs no leave. Of a scan that cannot be read, as it cannot
// for a moment when a Python program writes it, nobody can say that it has no
// such fileset; fsdb.ErrBroken then.
func (s *Service) writable(ctx context.Context, tx db.DBTX, name, fileset string) (r row, fs db.GetFilesetRow, err error) {
	if !storable(name) {
		return r, fs, unknownScan(name)
	}
	got, err := s.q.FindFile(ctx, tx, db.FindFileParams{Scan: name, Fileset: findable(fileset)})
	if err != nil {
		return r, fs, notFound(err, unknownScan(name), "find fileset %q of scan %q", fileset, name)
	}
	r = rowOf(got)
	if got.FilesetID == nil || got.Fileset == nil {
		return r, fs, lacks(r, fileset)
	}
	return r, db.GetFilesetRow{ID: *got.FilesetID, Name: *got.Fileset}, nil
}

// lacks is the error of a scan in whose index there is no such fileset, for who
// writes into it.
func lacks(r row, fileset string) error {
	err := unknownFileset(r.Name, fileset)
	if r.broken {
		return fsdb.ErrBroken.Because(err)
	}
	return err
}

func rowOf(got db.FindFileRow) row {
	return row{got.ScanID, got.Timelapse, got.Broken, Access{got.Scan, got.Owner, got.Sharing, got.Visibility}}
}

func (s *Service) file(ctx context.Context, tx db.DBTX, r row, fs db.GetFilesetRow, name string) (db.GetFileRow, error) {
	if !storable(name) {
		return db.GetFileRow{}, unknownFile(r.Name, fs.Name, name)
	}
	f, err := s.q.GetFile(ctx, tx, fs.ID, name)
	if err != nil {
		return f, notFound(err, unknownFile(r.Name, fs.Name, name), "find file %q of fileset %q of scan %q", name, fs.Name, r.Name)
	}
	return f, nil
}

func (s *Service) timelapse(ctx context.Context, tx db.DBTX, name string) (db.GetTimelapseRow, error) {
	if !storable(name) {
		return db.GetTimelapseRow{}, unknownTimelapse(name)
	}
	t, err := s.q.GetTimelapse(ctx, tx, name)
	if err != nil {
		return t, notFound(err, unknownTimelapse(name), "find timelapse %q", name)
	}
	return t, nil
}
