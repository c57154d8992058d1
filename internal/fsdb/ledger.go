package fsdb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"syscall"
)

// ledger is what adding files to a scan needs to know of files.json and the
// journal, kept from one batch to the next, so that a batch costs the same
// however many files there are. It is valid as long as neither changed.
type ledger struct {
	loc            Loc
	index, journal fileState
	sets           map[string]*known
}

// known are the files of a fileset: the name of each id, and the id of each name.
type known struct{ names, ids map[string]string }

func (k *known) add(id, name string) { k.names[id], k.ids[name] = name, id }

// known returns the files that are listed in a way that upstream takes.
func (e *filesetEntry) known() *known {
	k := &known{make(map[string]string, len(e.files)), make(map[string]string, len(e.files))}
	for _, f := range e.files {
		if f.id != "" && f.name != "" {
			k.add(f.id, f.name)
		}
	}
	return k
}

// fileState tells versions of a file apart; the zero one is that of none.
type fileState struct {
	inode    uint64
	size     int64
	modified int64
	changed  int64
}

func (t *Tree) fileState(name string) (s fileState, err error) {
	info, err := t.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return s, fmt.Errorf("look at %q: %w", name, errors.ErrUnsupported)
	}
	return fileState{st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()}, nil
}

// ledger returns what is known of the scan, from the batch before if nothing
// changed. The caller puts it back once its own changes are in it. The errors
// are those of readIndex and openScan.
func (t *Tree) ledger(ctx context.Context, loc Loc) (*ledger, error) {
	if l := t.ledgers.take(loc); l != nil && l.stillIs(t) {
		return l, nil
	}
	dir, err := t.openScan(loc)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // only read
	j, err := t.journalOf(loc)
	if err != nil {
		return nil, err
	}
	if j != nil {
		// What is appended to a torn one would not be read.
		fold := j.Torn > 0
		if !fold {
			if fold, err = t.unfinished(j); err != nil {
				return nil, err
			}
		}
		if fold {
			if err := t.fold(ctx, loc); err != nil {
				return nil, err
			}
			j = nil
		}
	}
	l := &ledger{loc: loc, sets: map[string]*known{}}
	if err := l.look(t); err != nil {
		return nil, err
	}
	return l, l.read(ctx, dir, j)
}

func (l *ledger) read(ctx context.Context, dir *os.Root, j *Journal) error {
	x, err := readIndex(ctx, dir)
	if err != nil {
		return err
	}
	x.apply(j, dir)
	for _, e := range x.filesets {
		if e.id != "" && e.listed {
			l.sets[e.id] = e.known()
		}
	}
	return nil
}

// look takes the files as they are now for those that the ledger tells of.
func (l *ledger) look(t *Tree) (err error) {
	if l.index, err = t.fileState(l.loc.Dir() + "/" + indexFile); err != nil {
		return err
	}
	l.journal, err = t.fileState(journalFile(l.loc))
	return err
}

func (l *ledger) stillIs(t *Tree) bool {
	now := ledger{loc: l.loc}
	return now.look(t) == nil && now.index == l.index && now.journal == l.journal
}

func (l *ledger) files() (n int) {
	for _, k := range l.sets {
		n += len(k.names)
	}
	return n
}

// Bounds on what is kept; a file takes some 200 bytes.
const (
	keptLedgers = 16
	keptFiles   = 100_000
)

// ledgers keeps those that were used last.
type ledgers struct {
	mu   sync.Mutex
	kept []*ledger // the last used last
}

// take returns the ledger of a scan and forgets it, nil if there is none.
func (c *ledgers) take(loc Loc) *ledger {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, l := range c.kept {
		if l.loc == loc {
			c.kept = append(c.kept[:i], c.kept[i+1:]...)
			return l
		}
	}
	return nil
}

func (c *ledgers) put(l *ledger) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept = append(c.kept, l)
	n := 0
	for i, kept := range slices.Backward(c.kept) {
		if n += kept.files(); n > keptFiles || len(c.kept)-i > keptLedgers {
			// The one just used stays, however large: the next batch needs it.
			c.kept = append([]*ledger(nil), c.kept[min(i+1, len(c.kept)-1):]...)
			return
		}
	}
}
