package scan

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"strings"
	"time"

	"github.com/romi/plantdb-go/internal/fsdb"
)

// Content is an open file of the tree; the receiver closes it.
type Content struct {
	*os.File
	Name     string // file name, with extension
	Size     int64
	Modified time.Time
	// Version changes whenever the bytes do: the SHA-256 in hex where it is
	// known, else a text made of path, size, time and inode.
	Version string
	// Before is the version that these bytes had while their digest was not
	// known; empty where it is not. Who has seen it may still ask by it.
	Before string

	version    fileVersion
	reopen     opener
	undigested *digest // its row, if that lacks the digest of this version
}

type opener func(context.Context) (*os.File, iofs.FileInfo, error)

// OpenFile opens a file by its id or its file name.
func (s *Service) OpenFile(ctx context.Context, name, fileset, file string) (*Content, error) {
	got, err := s.readFile(ctx, name, fileset, file)
	if err != nil {
		return nil, err
	}
	path := strings.Join([]string{got.scan.Name, got.fileset, got.filename}, "/")
	c, err := openContent(ctx, path, func(ctx context.Context) (*os.File, iofs.FileInfo, error) {
		return s.tree.OpenFile(ctx, got.scan.loc(), got.fileset, got.filename)
	})
	if errors.Is(err, fsdb.ErrNotFound) { // it went after the index was made
		return nil, unknownFile(got.scan.Name, got.fileset, file)
	}
	if err != nil {
		return nil, err
	}
	got.name(c)
	return c, nil
}

// name gives c, which was opened by the path of the row, the digest of the row
// for its version if it is still the file that was hashed.
func (f *fileRow) name(c *Content) {
	if f.is(c.version) {
		c.named(f.digest)
	}
}

// named gives c the digest of its version.
func (c *Content) named(d digest) {
	if d.sha256 == nil {
		c.undigested = &d
		return
	}
	c.Before, c.Version, c.undigested = c.Version, hex.EncodeToString(d.sha256), nil
}

// openContent opens what lies at a path of the tree.
func openContent(ctx context.Context, path string, open opener) (*Content, error) {
	f, stat, err := open(ctx)
	if err != nil {
		return nil, err
	}
	version := versionOf(stat)
	return &Content{
		File: f, Name: stat.Name(), Size: stat.Size(), Modified: stat.ModTime(), version: version, reopen: open,
		Version: contentVersion(path, version),
	}, nil
}

// contentVersion is a version of bytes whose digest is not known.
func contentVersion(path string, v fileVersion) string {
	return fmt.Sprintf("%s|%d|%d|%d", path, v.size, v.modified, v.inode)
}

// Again opens the same bytes once more; c may be closed before. ErrChanged if
// another file has taken the name since.
func (c *Content) Again(ctx context.Context) (*os.File, error) {
	f, stat, err := c.reopen(ctx)
	if err != nil {
		return nil, err
	}
	if versionOf(stat) != c.version {
		return nil, errors.Join(ErrChanged, f.Close())
	}
	return f, nil
}

// OpenAsset opens any file below a scan by its path, which begins with the
// scan's id or its timelapse's; the last part may lack the extension if it is
// the id of a known file. Everything else is ErrNoAsset, what the actor may
// not see included; ErrForbidden is only for an API token that may not read
// what its owner may.
func (s *Service) OpenAsset(ctx context.Context, path string) (*Content, error) {
	known, rest, err := s.findAsset(ctx, path)
	if errors.Is(err, ErrUnknownScan) || err == nil && rest == "" {
		return nil, ErrNoAsset
	}
	if err != nil {
		return nil, err
	}
	r := known.scan
	if rest == "files.json" {
		s.settle(ctx, r)
	}
	c, err := openContent(ctx, r.Name+"/"+rest, func(ctx context.Context) (*os.File, iofs.FileInfo, error) {
		return s.tree.OpenPath(ctx, r.loc().Dir()+"/"+rest)
	})
	if err == nil && rest == known.fileset+"/"+known.filename {
		known.name(c)
	}
	if !errors.Is(err, fsdb.ErrNotFound) {
		return c, err
	}
	fileset, file, ok := fileOf(rest)
	if !ok {
		return nil, ErrNoAsset
	}
	c, err = s.OpenFile(ctx, r.Name, fileset, file)
	if errors.Is(err, ErrUnknownFile) || errors.Is(err, ErrUnknownFileset) {
		return nil, ErrNoAsset
	}
	return c, err
}

// fileOf takes a path below a scan for one of a fileset's file.
func fileOf(rest string) (fileset, file string, ok bool) {
	fileset, file, ok = strings.Cut(rest, "/")
	return fileset, file, ok && !strings.Contains(file, "/")
}

// findAsset finds the scan that a path leads into, what of the path lies below
// it, and what the index knows of the file there.
func (s *Service) findAsset(ctx context.Context, path string) (known fileRow, rest string, err error) {
	first, rest, _ := strings.Cut(path, "/")
	known, err = s.findBelow(ctx, first, rest)
	if !errors.Is(err, ErrUnknownScan) {
		return known, rest, err
	}
	name, rest, _ := strings.Cut(rest, "/")
	known, err = s.findBelow(ctx, name, rest)
	if err == nil && (first == "" || known.scan.timelapse != first) {
		err = unknownScan(name)
	}
	return known, rest, err
}

// findBelow is readFile by a path, which is content with a scan that has no
// such file.
func (s *Service) findBelow(ctx context.Context, name, rest string) (fileRow, error) {
	fileset, file, ok := fileOf(rest)
	if !ok {
		fileset, file = "", ""
	}
	known, err := s.lookUp(ctx, opRead, name, fileset, file, true)
	if errors.Is(err, ErrUnknownFileset) || errors.Is(err, ErrUnknownFile) {
		err = nil
	}
	return known, err
}
