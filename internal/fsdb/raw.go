package fsdb

import (
	"context"
	"errors"
	"io/fs"
	"path"
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
//
// The caller either puts back what lay there or forgets it.
func (t *Tree) PutRaw(ctx context.Context, loc Loc, rel string, content *Staged) (was *Replaced, err error) {
	was, err = t.putRaw(ctx, loc, rel, content)
	return was, wrap("put", loc.Dir()+"/"+rel, err)
}

func (t *Tree) putRaw(ctx context.Context, loc Loc, rel string, content *Staged) (was *Replaced, err error) {
	if err := CheckRawPath(rel); err != nil {
		return nil, err
	}
	x, err := t.openIndex(ctx, loc)
	if err != nil {
		return nil, err
	}
	parts := strings.Split(rel, "/")
	if x.find(parts[0]) != nil {
		return nil, ErrReserved.With("Invalid file path '%s'! '%s' is a fileset, whose files are uploaded one by one.", rel, parts[0])
	}
	if err := content.durable(); err != nil {
		return nil, err // before any directory is made
	}
	dir := loc.Dir()
	for _, part := range parts[:len(parts)-1] {
		if err := t.enterDir(dir, part); err != nil {
			return nil, err
		}
		dir += "/" + part
	}
	was = &Replaced{tree: t, name: dir + "/" + parts[len(parts)-1]}
	// A link is replaced, not followed.
	info, err := t.root.Lstat(was.name)
	if err == nil && info.IsDir() {
		return nil, ErrFileExists.With("'%s' is a directory", rel)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err == nil {
		was.keep()
	}
	err = content.take()
	if err == nil {
		err = t.publish(content.name, was.name)
	}
	if err != nil {
		was.Forget()
		return nil, err
	}
	return was, nil
}

// Replaced is a file that PutRaw took the name from, or that there was none.
type Replaced struct {
	tree *Tree
	name string
	kept string // its second name, in staging
	lost error  // why it has none
}

func (r *Replaced) keep() {
	r.kept = stagingName()
	if r.lost = r.tree.inStaging(func() error { return r.tree.disk.link(r.name, r.kept) }); r.lost != nil {
		r.kept = ""
	}
}

// PutBack gives what was replaced its name again, durably.
func (r *Replaced) PutBack(context.Context) error {
	if r.lost != nil || r.kept != "" {
		err := r.lost
		if err == nil {
			err = r.tree.publish(r.kept, r.name)
		}
		return wrap("put back", r.name, err)
	}
	return wrap("take back", r.name, errors.Join(r.tree.disk.removeAll(r.name), r.tree.disk.syncDir(path.Dir(r.name))))
}

// Forget lets go of what was replaced.
func (r *Replaced) Forget() {
	if r.kept != "" {
		r.tree.discard(r.kept)
	}
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
