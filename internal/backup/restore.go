package backup

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/postgres"
)

// hashed is a SHA-256 that is there when it is needed.
type hashed struct{ h hash.Hash }

func (s *hashed) write(p []byte) {
	if s.h == nil {
		s.h = sha256.New()
	}
	s.h.Write(p) // never fails
}

func (s *hashed) sum() (sum [sha256.Size]byte) {
	s.write(nil)
	s.h.Sum(sum[:0])
	return sum
}

// Backup is one that was finished.
type Backup struct {
	Head
	root *os.Root
}

// Open opens a backup; the caller closes it. ErrNoBackup if there is none that
// is whole, ErrDamaged if its manifest is not what was written.
func Open(dir string) (*Backup, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, ErrNoBackup.With("there is no backup in %s", dir).Because(err)
	}
	b := &Backup{root: root}
	if err := b.readHead(dir); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return b, nil
}

// Close closes it.
func (b *Backup) Close() error { return b.root.Close() }

func (b *Backup) readHead(dir string) error {
	raw, err := b.root.ReadFile(headFile)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNoBackup.With("there is no backup in %s, or one that was not finished: it has no %s", dir, headFile)
	}
	if err != nil {
		return fmt.Errorf("read backup: %w", err)
	}
	if err := json.Unmarshal(raw, &b.Head); err != nil {
		return ErrDamaged.With("the backup is damaged: %s", headFile).Because(err)
	}
	if b.Format != format {
		return ErrNoBackup.With("the backup has form %d, this program reads form %d", b.Format, format)
	}
	f, err := b.root.Open(manifestFile)
	if err != nil {
		return ErrDamaged.Because(err)
	}
	defer f.Close() // Only read.
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	if hex.EncodeToString(sum.Sum(nil)) != b.Manifest {
		return ErrDamaged.With("the backup is damaged: %s", manifestFile)
	}
	return nil
}

// each calls fn for every file of the backup.
func (b *Backup) each(ctx context.Context, fn func(fsdb.Copied) error) error {
	f, err := b.root.Open(manifestFile)
	if err != nil {
		return ErrDamaged.Because(err)
	}
	defer f.Close() // Only read.
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxLine)
	var n int64
	for ; lines.Scan(); n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return ErrDamaged.With("the backup is damaged: line %d of %s", n+1, manifestFile).Because(err)
		}
		f, err := e.copied()
		if err == nil {
			err = fn(f)
		}
		if err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	if n != b.Files {
		return ErrDamaged.With("the backup is damaged: %d files of %d are in the manifest", n, b.Files)
	}
	return nil
}

// Verify reads all of a backup and compares it with its manifest. ErrDamaged or
// fsdb.ErrCopyDamaged for the first file that is not what was written.
func (b *Backup) Verify(ctx context.Context, progress func(files, bytes int64)) error {
	return b.files(ctx, progress, nil)
}

// RestoreTree copies the tree into dir, which is empty or not there, and compares
// each file with the manifest, and those of the database as well. Before the
// restoration is finished, that of the database too and fsdb.Tree.EndRestore after it,
// dir is no tree that a server would open. ErrNotEmpty, ErrDamaged, fsdb.ErrCopyDamaged.
func (b *Backup) RestoreTree(ctx context.Context, dir string, progress func(files, bytes int64)) error {
	to, err := OpenEmpty(dir, 0o755) // PostgreSQL, another user's where we are root, has to pass.
	if err != nil {
		return err
	}
	defer to.Close() // What was written is synced here.
	if err := fsdb.BeginRestore(to); err != nil {
		return err
	}
	if err := b.files(ctx, progress, to); err != nil {
		return err
	}
	return fsdb.NewDirTarget(to).Finish(fsdb.Marker, nil)
}

func (b *Backup) files(ctx context.Context, progress func(files, bytes int64), to *os.Root) error {
	tree, err := b.root.OpenRoot(treeDir)
	if err != nil {
		return ErrDamaged.Because(err)
	}
	defer tree.Close() // Only read.
	if to != nil {
		if err := fsdb.RestoreDirs(ctx, tree, to); err != nil {
			return err
		}
	}
	var files, size int64
	return b.each(ctx, func(f fsdb.Copied) error {
		name, ofTree := strings.CutPrefix(f.Path, treeDir+"/")
		switch {
		case !ofTree:
			err = fsdb.RestoreCopy(ctx, b.root, nil, f)
		case name == fsdb.Marker && to != nil:
			err = nil
		default:
			f.Path = name
			err = fsdb.RestoreCopy(ctx, tree, to, f)
		}
		files, size = files+1, size+f.Size
		if progress != nil {
			progress(files, size)
		}
		return err
	})
}

// RestoreDatabase fills the empty database at url: see postgres.Load.
func (b *Backup) RestoreDatabase(ctx context.Context, url string, log *slog.Logger) error {
	return postgres.Load(ctx, url, b.Database, func(table string) (io.ReadCloser, error) {
		return b.root.Open(databaseDir + "/" + table)
	}, log)
}
