package fsdb

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
)

// maxRawDepth bounds how deep below its scan a file may be put.
const maxRawDepth = 8

// rawReserved are names with a meaning directly in a scan.
var rawReserved = append([]string{indexFile, timelapseFile}, append(reservedFileset, unserved...)...)

// CheckRawPath says whether a file may be put at that path of a scan, as far as
// the path alone tells: elements as new files are named, at most eight; not the
// scan's index, metadata or cache. ErrName, ErrReserved.
func CheckRawPath(rel string) error {
	parts := strings.Split(rel, "/")
	refused := func(part string) bool { return !allowed(ScanName, part) }
	if len(parts) > maxRawDepth || slices.ContainsFunc(parts, refused) {
		return ErrName.With("Invalid file path '%s'!", strings.ToValidUTF8(rel, "\uFFFD"))
	}
	if slices.Contains(rawReserved, parts[0]) {
		return ErrReserved.With("Invalid file path '%s'! The name is reserved.", rel)
	}
	return nil
}

// PutRaw puts a file that files.json does not list at a path of a scan, in
// place of one that lies there, and makes the directories that it lacks. A
// reader finds all of the old bytes or all of the new ones, which survive a
// power cut. ErrName, ErrReserved, and ErrReserved for what lies in a fileset:
// its files are listed, and not written behind its back. ErrFileExists if the
// path is a directory, or an element of it is none; ErrNotFound without scan.
func (t *Tree) PutRaw(ctx context.Context, loc Loc, rel string, content *Staged) error {
	return wrap("put", loc.Dir()+"/"+rel, t.putRaw(ctx, loc, rel, content))
}

func (t *Tree) putRaw(ctx context.Context, loc Loc, rel string, content *Staged) error {
	if err := CheckRawPath(rel); err != nil {
		return err
	}
	x, err := t.openIndex(ctx, loc)
	if err != nil {
		return err
	}
	parts := strings.Split(rel, "/")
	if x.find(parts[0]) != nil {
		return ErrReserved.With("Invalid file path '%s'! '%s' is a fileset, whose files are uploaded one by one.", rel, parts[0])
	}
	if err := content.durable(); err != nil {
		return err // before any directory is made
	}
	dir := loc.Dir()
	for _, part := range parts[:len(parts)-1] {
		if err := t.enterDir(dir, part); err != nil {
			return err
		}
		dir += "/" + part
	}
	name := dir + "/" + parts[len(parts)-1]
	// A link is replaced, not followed.
	if info, err := t.root.Lstat(name); err == nil && info.IsDir() {
		return ErrFileExists.With("'%s' is a directory", rel)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := content.take(); err != nil {
		return err
	}
	return t.publish(content.name, name)
}

// enterDir makes a directory, durably, unless it is there. A link to one is
// refused: it may lead into another scan.
func (t *Tree) enterDir(parent, name string) error {
	info, err := t.root.Lstat(parent + "/" + name)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return ErrFileExists.With("'%s' is no directory", name)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := t.ensureDir(parent+"/"+name, dirPerm); err != nil {
		return err
	}
	return t.disk.syncDir(parent)
}
