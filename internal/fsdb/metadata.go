package fsdb

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"syscall"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// ReadScanMetadata returns the metadata of a scan for somebody who is about to
// change it: {} if it has none, ErrNotFound if there is no such scan. Unlike
// ReadScan it does not take damage for {}, for then the next write would make
// it so: ErrBroken, once it is clear that no program is about to write the rest.
func (t *Tree) ReadScanMetadata(ctx context.Context, loc Loc) (json.RawMessage, error) {
	return t.readMetadata(ctx, loc, scanMetadata)
}

// ReadFilesetMetadata is ReadScanMetadata for a fileset.
func (t *Tree) ReadFilesetMetadata(ctx context.Context, loc Loc, fileset string) (json.RawMessage, error) {
	if !readable(fileset) {
		return nil, ErrNotFound
	}
	return t.readMetadata(ctx, loc, filesetMetadata(fileset))
}

// ReadFileMetadata is ReadScanMetadata for a file, by its id.
func (t *Tree) ReadFileMetadata(ctx context.Context, loc Loc, fileset, id string) (json.RawMessage, error) {
	if !readable(fileset) || !readable(id) {
		return nil, ErrNotFound
	}
	return t.readMetadata(ctx, loc, fileMetadata(fileset, id))
}

// notRead is ErrBroken for what says something of the metadata file name: that it
// is no file, too large, or not what metadata is.
func notRead(name string, err error) error {
	if err == nil || exhausted(err) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EIO) {
		return wrap("read", name, err)
	}
	return ErrBroken.With("The metadata on disk cannot be read and is left as it is.").Because(err)
}

func (t *Tree) readMetadata(ctx context.Context, loc Loc, name string) (json.RawMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dir, err := t.openScan(loc)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // only read
	var raw json.RawMessage
	err = awaitWhole(ctx, func() (fs.FileInfo, error) {
		f, info, err := openRegular(dir, name)
		if err != nil {
			return nil, notRead(name, err)
		}
		defer func() { _ = f.Close() }() // only read
		data, err := readAll(f, info, meta.MaxBytes)
		if err == nil {
			raw, _, err = meta.Read(data)
		}
		return info, notRead(name, err)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return json.RawMessage("{}"), nil
	}
	if err != nil {
		return nil, err
	}
	return raw, nil
}
