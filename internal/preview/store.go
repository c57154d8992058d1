package preview

import (
	"bufio"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// key names a preview: what was made, of which source, at which size.
type key [16]byte

// entry is one file of the store. All of it is in the file's name, so that a
// start lists a directory and opens nothing.
type entry struct {
	key  key
	made int64 // Unix nanoseconds
	size int64
	sum  uint32 // CRC-32C of the content
	// checked is the modification time that the content was found sound at; zero
	// until the first reader after a start has compared it with sum.
	checked time.Time
}

func (e *entry) name() string {
	return fmt.Sprintf("%x-%016x-%x-%08x", e.key[:], e.made, e.size, e.sum)
}

func parseName(name string) (*entry, bool) {
	parts := strings.Split(name, "-")
	if len(parts) != 4 {
		return nil, false
	}
	id, err0 := hex.DecodeString(parts[0])
	made, err1 := strconv.ParseInt(parts[1], 16, 64)
	size, err2 := strconv.ParseInt(parts[2], 16, 64)
	sum, err3 := strconv.ParseUint(parts[3], 16, 32)
	if errors.Join(err0, err1, err2, err3) != nil || len(id) != len(key{}) || size < 0 {
		return nil, false
	}
	e := &entry{key: key(id), made: made, size: size, sum: uint32(sum)}
	return e, e.name() == name
}

// store keeps files up to a number of bytes and drops those not read for the
// longest time. A file appears under its name only when it is complete, and its
// name has a checksum, so that neither a crash nor a bad disk is ever served.
// Nothing is synced: what a power cut takes is made again.
type store struct {
	root *os.Root
	max  int64

	mu    sync.Mutex
	lru   *simplelru.LRU[key, *entry]
	bytes int64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	tempPrefix = "tmp-"
	// tempAge is when a temporary file has no writer any more; until then it may
	// be another process's.
	tempAge = time.Hour
)

// openStore takes over what an earlier process left in dir, oldest first in the
// order of eviction. Files of foreign names are left alone.
func openStore(dir string, most int64) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make preview cache: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open preview cache: %w", err)
	}
	s := &store{root: root, max: most}
	// The bound is on bytes, not on entries.
	if s.lru, err = simplelru.NewLRU[key, *entry](math.MaxInt, s.dropped); err != nil {
		return nil, errors.Join(fmt.Errorf("make preview index: %w", err), root.Close())
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return s, nil
}

func (s *store) load() error {
	dir, err := s.root.Open(".")
	if err != nil {
		return fmt.Errorf("open preview cache: %w", err)
	}
	defer dir.Close()
	files, err := dir.ReadDir(-1)
	if err != nil {
		return fmt.Errorf("list preview cache: %w", err)
	}
	var found []*entry
	for _, f := range files {
		if strings.HasPrefix(f.Name(), tempPrefix) {
			s.removeStale(f)
		} else if e, ok := parseName(f.Name()); ok {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b *entry) int { return cmp.Compare(a.made, b.made) })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range found {
		s.add(e)
	}
	return nil
}

func (s *store) removeStale(f fs.DirEntry) {
	if info, err := f.Info(); err == nil && time.Since(info.ModTime()) > tempAge {
		s.remove(f.Name())
	}
}

// remove deletes a file that nothing names any more. Where that fails the next
// start finds the file again, so there is nobody to tell.
func (s *store) remove(name string) { _ = s.root.Remove(name) }

// dropped is told of each entry that leaves the index. Whoever has the file open
// reads on.
func (s *store) dropped(_ key, e *entry) {
	s.bytes -= e.size
	s.remove(e.name())
}

// add takes e into the index and evicts for it. The newest entry stays even when
// it alone is over the bound: somebody waits for it. s.mu is held.
func (s *store) add(e *entry) {
	s.lru.Remove(e.key)
	s.lru.Add(e.key, e)
	s.bytes += e.size
	for s.bytes > s.max && s.lru.Len() > 1 {
		s.lru.RemoveOldest()
	}
}

// free is the share of the bound that nothing takes.
func (s *store) free() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return 1 - float64(s.bytes)/float64(s.max)
}

// open returns the file of k, and false when there is none or none that is
// sound. The caller closes it.
func (s *store) open(k key) (*os.File, fs.FileInfo, bool) {
	s.mu.Lock()
	e, ok := s.lru.Get(k)
	var seen entry
	if ok {
		seen = *e
	}
	s.mu.Unlock()
	if !ok {
		return nil, nil, false
	}
	f, info, err := s.openChecked(&seen)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		// Only what was looked at: a new file of the same key stays.
		if now, ok := s.lru.Peek(k); ok && now == e {
			s.lru.Remove(k)
		}
		return nil, nil, false
	}
	e.checked = seen.checked
	return f, info, true
}

var errUnsound = errors.New("content does not match its checksum")

// openChecked opens the file of e and compares it with its checksum unless that
// was done since it was last written to.
func (s *store) openChecked(e *entry) (_ *os.File, _ fs.FileInfo, err error) {
	f, err := s.root.Open(e.name())
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if info.Size() != e.size {
		return nil, nil, errUnsound
	}
	if info.ModTime().Equal(e.checked) {
		return f, info, nil
	}
	sum := crc32.New(castagnoli)
	if _, err := io.Copy(sum, f); err != nil {
		return nil, nil, err
	}
	if sum.Sum32() != e.sum {
		return nil, nil, errUnsound
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, nil, err
	}
	e.checked = info.ModTime()
	return f, info, nil
}

// put keeps what write writes as the file of k. When write fails nothing
// remains, and its error is returned.
func (s *store) put(k key, write func(io.Writer) error) error {
	temp := tempPrefix + uuid.NewString()
	f, err := s.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return storeError("create preview", err)
	}
	e, err := fill(f, k, write)
	if err == nil {
		if err = s.root.Rename(temp, e.name()); err != nil {
			err = storeError("rename preview", err)
		}
	}
	if err != nil {
		s.remove(temp)
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(e)
	return nil
}

// fill writes the content, closes f and describes it.
func fill(f *os.File, k key, write func(io.Writer) error) (_ *entry, err error) {
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = storeError("close preview", cerr)
		}
	}()
	sum := crc32.New(castagnoli)
	out := bufio.NewWriterSize(f, 64<<10)
	count := &counter{}
	if err := write(io.MultiWriter(out, sum, count)); err != nil {
		return nil, storeError("make preview", err)
	}
	if err := out.Flush(); err != nil {
		return nil, storeError("write preview", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, storeError("stat preview", err)
	}
	return &entry{
		key: k, made: info.ModTime().UnixNano(), size: count.n, sum: sum.Sum32(), checked: info.ModTime(),
	}, nil
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

func storeError(verb string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return errNoSpace.Because(err)
	}
	return fmt.Errorf("%s: %w", verb, err)
}

func (s *store) close() error {
	if err := s.root.Close(); err != nil {
		return fmt.Errorf("close preview cache: %w", err)
	}
	return nil
}
