package fsdb

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"
	"time"
)

// quarantineDir is where is moved what belongs to nothing: a directory for each
// move, in which everything lies at the path that it had in the tree. Nothing
// empties it.
const quarantineDir = Hidden + "/quarantine"

// ListExtra adds files that lie in a fileset and are not listed to files.json,
// in one write, each under its name without extension, and returns the names
// that it added: not those whose id is taken or not allowed, and not those that
// are gone meanwhile. ErrNotFound, ErrBroken as AddFiles.
func (t *Tree) ListExtra(ctx context.Context, loc Loc, fileset string, names []string) ([]string, error) {
	added, err := t.listExtra(ctx, loc, fileset, names, false)
	return added, wrap("list files of", loc.Dir()+"/"+fileset, err)
}

// ListAgain is ListExtra, also for a fileset that is a directory and not listed.
func (t *Tree) ListAgain(ctx context.Context, loc Loc, fileset string, names []string) ([]string, error) {
	added, err := t.listExtra(ctx, loc, fileset, names, true)
	return added, wrap("list again files of", loc.Dir()+"/"+fileset, err)
}

func (t *Tree) listExtra(ctx context.Context, loc Loc, fileset string, names []string, listFileset bool) (added []string, err error) {
	if err := CheckName(FilesetName, fileset); listFileset && err != nil {
		return nil, err
	}
	err = t.changeIndex(ctx, loc, rewrite{change: func(x *index) (changed bool, err error) {
		if listFileset && x.find(fileset) == nil {
			x.add(fileset)
			changed = true
		}
		entry, err := t.writable(x, loc, fileset)
		if err != nil {
			return false, err
		}
		added = t.putExtra(loc, entry, names)
		return changed || len(added) > 0, nil
	}})
	return added, err
}

// putExtra lists those of the files that lie in the fileset and can be listed.
func (t *Tree) putExtra(loc Loc, entry *filesetEntry, names []string) (added []string) {
	taken := make(map[string]bool, 2*len(entry.files))
	for _, f := range entry.files {
		taken["id "+f.id], taken["name "+f.name] = true, true
	}
	for _, name := range names {
		id := idOf(name)
		info, err := t.root.Lstat(path.Join(loc.Dir(), entry.id, name))
		if err != nil || !info.Mode().IsRegular() || CheckName(FileName, id) != nil || taken["id "+id] || taken["name "+name] {
			continue
		}
		entry.put(id, name, false)
		taken["id "+id], taken["name "+name] = true, true
		added = append(added, name)
	}
	return added
}

// Quarantine moves a file or directory of a scan out of it, into a new directory
// below .plantdb/quarantine, and returns where it is then, from the root. When it
// returns nil the move is durable. ErrNotFound if it is not there.
func (t *Tree) Quarantine(ctx context.Context, loc Loc, name string) (string, error) {
	to, err := t.quarantine(ctx, loc, name)
	return to, wrap("put into quarantine", loc.Dir()+"/"+name, err)
}

func (t *Tree) quarantine(ctx context.Context, loc Loc, name string) (string, error) {
	if err := errors.Join(loc.check(), ctx.Err()); err != nil {
		return "", err
	}
	if !fs.ValidPath(name) || name == "." || t.requireDir(loc.Dir()) != nil {
		return "", ErrNotFound
	}
	from := loc.Dir() + "/" + name
	if there, err := t.exists(from); err != nil || !there {
		return "", errors.Join(err, ErrNotFound)
	}
	// The time first, so that a listing is in order; the rest makes it unique.
	base := quarantineDir + "/" + time.Now().UTC().Format("20060102T150405.000Z") + "-" + strings.TrimPrefix(stagingName(), stagingDir+"/")[:8]
	to := base + "/" + from
	if err := t.makeDirs(path.Dir(to)); err != nil {
		return "", err
	}
	if err := t.disk.rename(from, to); err != nil {
		return "", err
	}
	// The new name first: better two for a moment than none.
	if err := t.disk.syncDir(path.Dir(to)); err != nil {
		return "", err
	}
	return to, t.disk.syncDir(path.Dir(from))
}

// makeDirs makes a directory of ours with all above it, durably.
func (t *Tree) makeDirs(dir string) error {
	dirs := []string{"."}
	for at := 0; at < len(dir); {
		if next := strings.IndexByte(dir[at+1:], '/'); next >= 0 {
			at += next + 1
		} else {
			at = len(dir)
		}
		perm := fs.FileMode(dirPerm)
		if dir[:at] == quarantineDir {
			perm = stagingPerm
		}
		if err := t.ensureDir(dir[:at], perm); err != nil {
			return err
		}
		dirs = append(dirs, dir[:at])
	}
	return t.syncDirs(dirs...)
}

// Leftover is something in the directories that are ours which nobody will use.
type Leftover struct {
	Path   string // from the root
	Bytes  int64
	Detail string
}

// Staged returns what has lain in the staging directory for olderThan: calls
// that never finished left it, and Sweep removes it.
func (t *Tree) Staged(ctx context.Context, olderThan time.Duration) ([]Leftover, error) {
	entries, err := fs.ReadDir(t.root.FS(), stagingDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap("list", stagingDir, err)
	}
	var found []Leftover
	before := time.Now().Add(-olderThan)
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		info, err := e.Info()
		if err != nil || info.ModTime().After(before) {
			continue // gone meanwhile, or still in use
		}
		found = append(found, Leftover{Path: stagingDir + "/" + e.Name(), Bytes: info.Size(), Detail: "last written " + info.ModTime().UTC().Format(time.RFC3339)})
	}
	return found, nil
}

// MarkerDamage says why a timelapse's marker cannot be read whole; empty for a
// sound one. ErrNotFound if there is none.
func (t *Tree) MarkerDamage(id string) (string, error) {
	if !readable(id) {
		return "", ErrNotFound
	}
	_, err := t.marker(id)
	if errors.Is(err, fs.ErrNotExist) {
		return "", ErrNotFound
	}
	if err == nil {
		return "", nil
	}
	if exhausted(err) {
		return "", err
	}
	return reason(err), nil
}
