package scan

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/fsdb"
)

// opCopy is what Locks tells of a backup or export.
const opCopy = "copy"

// copyWaits is how often the lock of a scan is waited for.
const copyWaits = 6

// CopyAll copies the whole tree for a backup: all scans, timelapses and what else
// lies there, the trash and the keys. It may run beside servers: each scan is
// copied whole, as it is at one moment while it is held, and one that is
// restored or made meanwhile is copied too. record is told each file. ErrForbidden
// for anybody but the server itself or who is at its machine; ErrBusy if somebody
// held a scan all the time.
func (s *Service) CopyAll(ctx context.Context, to fsdb.Target, record func(fsdb.Copied) error) error {
	if err := s.mayCopy(ctx); err != nil {
		return err
	}
	if err := s.tree.Copy(ctx, fsdb.Unit{Flat: true}, to, free, record); err != nil {
		return err
	}
	done, trash := map[string]bool{}, map[string]bool{}
	if err := s.tree.CopyTrash(ctx, to, record, trash); err != nil {
		return err
	}
	for _, ours := range []bool{true, false} {
		// Again while something new comes, for it may come out of the trash.
		for more := true; more; {
			units, err := s.tree.Units(ctx)
			if err != nil {
				return err
			}
			more = false
			for _, u := range units {
				if done[u.Dir] {
					continue
				}
				done[u.Dir], more = true, true
				if err := s.copyUnit(ctx, u, to, record); err != nil {
					return err
				}
			}
		}
		if ours {
			if err := s.tree.CopyOurs(ctx, to, record, trash); err != nil {
				return err
			}
		}
	}
	return nil
}

func free(fn func() error) error { return fn() }

func (s *Service) mayCopy(ctx context.Context) error {
	a, err := acting(ctx)
	if err != nil {
		return err
	}
	if !may(a, opCopy, Access{}) {
		return forbidden(a, opCopy)
	}
	return nil
}

// CopyScans copies scans, and the markers of the timelapses that they lie in; no
// names are all scans and configurations. Errors as CopyAll, and ErrUnknownScan.
func (s *Service) CopyScans(ctx context.Context, names []string, to fsdb.Target, record func(fsdb.Copied) error) error {
	if err := s.mayCopy(ctx); err != nil {
		return err
	}
	units, err := s.tree.Units(ctx)
	if err != nil {
		return err
	}
	wanted := units
	if len(names) > 0 {
		if wanted, err = chosen(units, names); err != nil {
			return err
		}
	}
	for _, u := range wanted {
		if err := s.copyUnit(ctx, u, to, record); err != nil {
			return err
		}
	}
	return nil
}

// chosen returns the units of scans, and of the timelapses that they lie in.
func chosen(units []fsdb.Unit, names []string) ([]fsdb.Unit, error) {
	missing := make(map[string]bool, len(names))
	for _, name := range names {
		missing[name] = true
	}
	want := map[string]bool{}
	for _, u := range units {
		if loc := u.Loc(); !u.Flat && missing[loc.Scan] {
			delete(missing, loc.Scan)
			want[u.Dir] = true
			if loc.Timelapse != "" {
				want[loc.Timelapse] = true
			}
		}
	}
	for _, name := range names {
		if missing[name] {
			return nil, unknownScan(name)
		}
	}
	var list []fsdb.Unit
	for _, u := range units {
		if want[u.Dir] {
			list = append(list, u)
		}
	}
	return list, nil
}

// copyUnit copies a unit; who writes to it waits for the end of that.
func (s *Service) copyUnit(ctx context.Context, u fsdb.Unit, to fsdb.Target, record func(fsdb.Copied) error) error {
	loc := u.Loc()
	names := within(loc.Timelapse, loc.Scan)
	held := false
	hold := func(fn func() error) error {
		in := func(pgx.Tx) error {
			held = true
			if err := s.foldForCopy(ctx, loc); err != nil {
				return err
			}
			return fn()
		}
		if !utf8.ValidString(u.Dir) {
			return fn() // nobody can write there by that name
		}
		err := s.still(ctx, opCopy, in, names...)
		for range copyWaits - 1 {
			if !errors.Is(err, ErrBusy) || held {
				break
			}
			if err := sleep(ctx, time.Second); err != nil {
				return err
			}
			err = s.still(ctx, opCopy, in, names...)
		}
		if errors.Is(err, fsdb.ErrReadOnly) && !held {
			err = s.lockedRows(ctx, in, names...) // nobody else can write there either
		}
		return err
	}
	if err := s.tree.Copy(ctx, u, to, hold, record); err != nil {
		return fmt.Errorf("copy %q: %w", u.Dir, err)
	}
	return nil
}

// foldForCopy makes files.json list all that a copy of the scan holds. Where it
// cannot be written, the journal, which a backup copies as well, says the rest.
func (s *Service) foldForCopy(ctx context.Context, loc fsdb.Loc) error {
	err := s.tree.Fold(ctx, loc)
	if errors.Is(err, fsdb.ErrReadOnly) || errors.Is(err, fsdb.ErrBroken) || errors.Is(err, fsdb.ErrNotFound) {
		return nil
	}
	return err
}
