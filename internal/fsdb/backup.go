package fsdb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// backupSuffix is how upstream names copies of metadata.
const backupSuffix = ".bak"

// BackupScanMetadata keeps the scan's metadata file, byte for byte, beside
// itself under its name and .bak, where upstream's tools keep theirs; an older
// copy is replaced. Nothing happens where there is none.
func (t *Tree) BackupScanMetadata(ctx context.Context, loc Loc) error {
	return t.backup(ctx, loc, scanMetadata)
}

// BackupFilesetMetadata is BackupScanMetadata for a fileset.
func (t *Tree) BackupFilesetMetadata(ctx context.Context, loc Loc, fileset string) error {
	if !readable(fileset) {
		return ErrNotFound
	}
	return t.backup(ctx, loc, filesetMetadata(fileset))
}

func (t *Tree) backup(ctx context.Context, loc Loc, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	dir, err := t.openScan(loc)
	if err != nil {
		return err
	}
	data, err := readFile(dir, name, meta.MaxBytes)
	if err = errors.Join(err, dir.Close()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("back up %q: %w", name, err)
	}
	return wrap("back up", name, t.put(loc.Dir()+"/"+name+backupSuffix, data))
}
