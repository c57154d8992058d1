// Package backup writes, verifies and restores a copy of database and tree that
// belong together. It knows the form of the copy; how a tree is copied beside
// writers and how a database is dumped, others know.
//
//	<backup>/backup.json       what it is; written last: without it the backup is not whole
//	        /manifest.jsonl    every file with size, SHA-256, mode and time, a JSON object a line
//	        /tree/             the scan tree, with keys and trash, without previews
//	        /database/<table>  as COPY writes it
//
// The tree is copied first, a scan at a time, and the database after it, as it
// is at one moment. So the database knows every user that owns something in the
// tree. Where it knows of what came or went meanwhile, a reconcile at the
// restoration makes it say what the restored tree says: no row is left without its file.
package backup

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
	"unicode/utf8"

	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/postgres"
)

const (
	format       = 1
	headFile     = "backup.json"
	manifestFile = "manifest.jsonl"
	treeDir      = "tree"
	databaseDir  = "database"
	maxLine      = 64 << 10 // of the manifest
)

// What the calls of this package answer.
var (
	// ErrNotEmpty says that there is something where the copy should go.
	ErrNotEmpty = fault.New(fault.Conflict, "target_not_empty", "the target is not empty")
	// ErrNoBackup says that there is no whole backup.
	ErrNoBackup = fault.New(fault.Invalid, "no_backup", "there is no backup, or one that was not finished")
	// ErrDamaged says that it is not what was written.
	ErrDamaged = fault.New(fault.Unprocessable, "backup_damaged", "the backup is damaged")
)

// Head says what a backup is.
type Head struct {
	Format   int             `json:"format"`
	Program  string          `json:"program"` // the version that made it
	Began    time.Time       `json:"began"`
	Finished time.Time       `json:"finished"`
	Files    int64           `json:"files"`
	Bytes    int64           `json:"bytes"`
	Manifest string          `json:"manifest_sha256"`
	Database postgres.Dumped `json:"database"`
}

// entry is a line of the manifest.
type entry struct {
	Path     string    `json:"path,omitempty"`
	RawPath  []byte    `json:"path_base64,omitempty"` // of a path that is not UTF-8
	Size     int64     `json:"size"`
	SHA256   string    `json:"sha256,omitempty"`
	Mode     uint32    `json:"mode,omitempty"`
	Modified time.Time `json:"modified,omitzero"`
	Link     []byte    `json:"link_base64,omitempty"` // where a symbolic link leads
}

func entryOf(f fsdb.Copied) entry {
	e := entry{Path: f.Path, Size: f.Size, Mode: uint32(f.Mode.Perm()), Modified: f.Modified, Link: []byte(f.Link)}
	if !utf8.ValidString(f.Path) {
		e.Path, e.RawPath = "", []byte(f.Path)
	}
	if f.Link == "" {
		e.SHA256 = hex.EncodeToString(f.SHA256[:])
	}
	return e
}

func (e entry) copied() (fsdb.Copied, error) {
	f := fsdb.Copied{Path: e.Path, Size: e.Size, Mode: fs.FileMode(e.Mode).Perm(), Modified: e.Modified, Link: string(e.Link)}
	if len(e.RawPath) > 0 {
		f.Path = string(e.RawPath)
	}
	if f.Link != "" {
		return f, nil
	}
	sum, err := hex.DecodeString(e.SHA256)
	if err != nil || len(sum) != len(f.SHA256) {
		return f, ErrDamaged.With("the manifest is damaged at %q", f.Path)
	}
	copy(f.SHA256[:], sum)
	return f, nil
}

// Source is what is backed up.
type Source struct {
	// Tree copies the tree, and tells each file.
	Tree func(ctx context.Context, to fsdb.Target, record func(fsdb.Copied) error) error
	// URL is that of the database.
	URL string
	// Program is the version of this program.
	Program string
	// Progress is told how much was copied; nil is not.
	Progress func(files, bytes int64)
}

// Write makes a backup in dir, which is made if it is not there. When it returns
// nil the backup is whole and survives a power cut. ErrNotEmpty.
func Write(ctx context.Context, dir string, s Source) (Head, error) {
	root, err := OpenEmpty(dir, 0o700) // it holds keys
	if err != nil {
		return Head{}, err
	}
	defer root.Close() // What was written was synced.
	w := &writer{root: root, source: s, head: Head{Format: format, Program: s.Program, Began: time.Now().UTC()}}
	if err := w.write(ctx); err != nil {
		return Head{}, fmt.Errorf("write backup: %w", err)
	}
	return w.head, nil
}

// OpenEmpty opens a directory that has nothing in it, and makes it before if it
// is not there; the caller closes it. ErrNotEmpty.
func OpenEmpty(dir string, perm fs.FileMode) (*os.Root, error) {
	if err := os.MkdirAll(dir, perm); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("look into directory: %w", err)
	}
	if len(list) > 0 {
		return nil, ErrNotEmpty.With("%s is not empty", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open directory: %w", err)
	}
	return root, nil
}

type writer struct {
	root     *os.Root
	source   Source
	head     Head
	manifest *json.Encoder
}

func (w *writer) write(ctx context.Context) (err error) {
	f, err := w.root.OpenFile(manifestFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	out := bufio.NewWriterSize(f, 64<<10)
	w.manifest = json.NewEncoder(io.MultiWriter(out, sum))
	if err := w.parts(ctx); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	w.head.Manifest, w.head.Finished = hex.EncodeToString(sum.Sum(nil)), time.Now().UTC()
	head, err := json.MarshalIndent(w.head, "", "  ")
	if err != nil {
		return err
	}
	return fsdb.NewDirTarget(w.root).Finish(headFile, append(head, '\n'))
}

// parts copies tree and database.
func (w *writer) parts(ctx context.Context) error {
	for _, dir := range []string{treeDir, databaseDir} {
		if err := w.root.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	tree, err := w.root.OpenRoot(treeDir)
	if err != nil {
		return err
	}
	defer tree.Close() // What was written is synced at the end.
	record := func(f fsdb.Copied) error {
		f.Path = treeDir + "/" + f.Path
		return w.record(f)
	}
	if err := w.source.Tree(ctx, fsdb.NewDirTarget(tree), record); err != nil {
		return err
	}
	w.head.Database, err = postgres.Dump(ctx, w.source.URL, w.table)
	return err
}

func (w *writer) record(f fsdb.Copied) error {
	w.head.Files++
	w.head.Bytes += f.Size
	if w.source.Progress != nil {
		w.source.Progress(w.head.Files, w.head.Bytes)
	}
	return w.manifest.Encode(entryOf(f))
}

// table opens the file of a table.
func (w *writer) table(name string) (io.WriteCloser, error) {
	path := databaseDir + "/" + name
	f, err := w.root.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &tableFile{writer: w, path: path, file: f, out: bufio.NewWriterSize(f, 256<<10)}, nil
}

// tableFile records itself when it is closed.
type tableFile struct {
	*writer
	path string
	file *os.File
	out  *bufio.Writer
	size int64
	sum  hashed
}

func (t *tableFile) Write(p []byte) (int, error) {
	n, err := t.out.Write(p)
	t.size += int64(n)
	t.sum.write(p[:n])
	return n, err
}

func (t *tableFile) Close() error {
	if err := errors.Join(t.out.Flush(), t.file.Close()); err != nil {
		return err
	}
	return t.record(fsdb.Copied{Path: t.path, Size: t.size, SHA256: t.sum.sum(), Mode: 0o600, Modified: time.Now().UTC()})
}
