package fsdb

import "golang.org/x/sys/unix"

// beginFlush has the disk begin to write a part of a file, and waits for
// nothing. It is only a hint: the sync at the end is what counts.
func beginFlush(f file, offset, n int64) {
	if f, ok := f.(interface{ Fd() uintptr }); ok {
		_ = unix.SyncFileRange(int(f.Fd()), offset, n, unix.SYNC_FILE_RANGE_WRITE)
	}
}
