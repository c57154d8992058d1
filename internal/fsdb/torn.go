package fsdb

import (
	"context"
	"errors"
	"io/fs"
	"time"
)

// Python programs write their JSON files in place: for a moment such a file is
// empty, and then half of it. On a busy disk the moment is long.
const (
	// tornTime is ample for a program to write a file.
	tornTime = time.Second
	// tornStep is how often one looks whether it has.
	tornStep = 2 * time.Millisecond
)

// fresh says that a file was written so lately that it may not be whole yet.
func fresh(info fs.FileInfo, patience time.Duration) bool {
	return time.Since(info.ModTime()).Abs() < patience
}

// awaitWhole calls read until it returns no ErrBroken, or the file that it tells of
// is damaged for good.
func awaitWhole(ctx context.Context, read func() (fs.FileInfo, error)) error {
	for waited := time.Duration(0); ; waited += tornStep {
		info, err := read()
		if !errors.Is(err, ErrBroken) || info == nil || !fresh(info, tornTime) || waited >= tornTime {
			return err
		}
		if err := pause(ctx, tornStep); err != nil {
			return err
		}
	}
}

// pause returns after d, or with the error of ctx when that ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
