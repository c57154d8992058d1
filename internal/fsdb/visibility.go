package fsdb

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// The visibility of a scan lies in a hidden file of its own: upstream's programs
// write the metadata anew from what they read at their start, and would make a
// private scan public again that way.

// maxAccess bounds that file.
const maxAccess = 4 << 10

// ReadVisibility returns what WriteVisibility wrote for a scan, empty if nothing
// was. ErrNotFound if there is no such scan, ErrBroken if it cannot be read.
func (t *Tree) ReadVisibility(ctx context.Context, loc Loc) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	dir, err := t.openScan(loc)
	if err != nil {
		return "", err
	}
	defer func() { _ = dir.Close() }() // only read
	v, err := readVisibility(dir)
	if err != nil && !exhausted(err) {
		return "", ErrBroken.With("The visibility on disk cannot be read.").Because(err)
	}
	return v, err
}

func readVisibility(dir *os.Root) (string, error) {
	data, err := readFile(dir, accessFile, maxAccess)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	raw, _, err := meta.Read(data)
	if err != nil {
		return "", err
	}
	v := visibilityIn(raw)
	if v == "" {
		return "", errors.New("it says nothing")
	}
	return v, nil
}

// visibilityIn returns the member visibility of an object.
func visibilityIn(object json.RawMessage) string {
	members, err := meta.Object(object)
	if err != nil {
		return ""
	}
	v, _ := meta.Text(meta.Get(members, "visibility"))
	return v
}

func visibilityDocument(v string) []byte {
	return append(meta.Join([]meta.Member{{Name: "visibility", Value: meta.Quote(v)}}), '\n')
}

// WriteVisibility keeps the visibility of a scan beside its metadata, where no
// program of upstream's loses it. ErrNotFound if there is no such scan.
func (t *Tree) WriteVisibility(ctx context.Context, loc Loc, v string) error {
	err := loc.check()
	if err == nil {
		err = t.requireDir(loc.Dir())
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = t.put(loc.Dir()+"/"+accessFile, visibilityDocument(v))
	}
	return wrap("write visibility of scan", loc.Dir(), err)
}
