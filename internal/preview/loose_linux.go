package preview

import (
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// maxLoose bounds a preview that lies in memory since the disk is full.
const maxLoose = 64 << 20

// loose is a preview in memory. It is gone when it is closed and whoever has
// opened it has closed that too.
type loose struct{ file *os.File }

// newLoose returns what write writes, or errNoSpace if that is too much.
func newLoose(write func(io.Writer) error) (_ *loose, err error) {
	fd, err := unix.MemfdCreate("preview", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make preview in memory: %w", err)
	}
	l := &loose{os.NewFile(uintptr(fd), "preview")}
	if err := write(&limited{l.file, maxLoose}); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// open returns the preview, with an offset of its own. The caller closes it.
func (l *loose) open() (*os.File, fs.FileInfo, error) {
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", l.file.Fd()))
	if err != nil {
		return nil, nil, fmt.Errorf("open preview in memory: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close() // Nothing was written to it.
		return nil, nil, fmt.Errorf("stat preview in memory: %w", err)
	}
	return f, info, nil
}

// close does nothing to nil.
func (l *loose) close() {
	if l != nil {
		_ = l.file.Close() // It is memory.
	}
}

// limited takes left bytes.
type limited struct {
	w    io.Writer
	left int
}

// Write implements io.Writer.
func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return 0, errNoSpace
	}
	l.left -= len(p)
	return l.w.Write(p)
}
