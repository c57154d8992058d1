package fsdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// index is files.json, with all that others put into it and we do not know.
type index struct {
	members  []meta.Member
	filesets []*filesetEntry
}

// filesetEntry is one fileset as listed; id is empty where upstream's loader
// would stumble, and such an entry is kept and overlooked.
type filesetEntry struct {
	members []meta.Member
	raw     json.RawMessage // as read; nil once it is to be written anew
	id      string
	files   []fileEntry
	listed  bool // its files are a list
}

// fileEntry is one file as listed; id or name may be missing.
type fileEntry struct {
	raw      json.RawMessage
	id, name string
}

// parseIndex reads files.json; the error says what is wrong with it.
func parseIndex(data []byte) (*index, error) {
	raw, _, err := meta.Read(data)
	if err != nil {
		return nil, err
	}
	x := new(index)
	if x.members, err = meta.Object(raw); err != nil {
		return nil, err
	}
	list, ok := array(meta.Get(x.members, "filesets"))
	if !ok {
		return nil, errors.New("it has no list of filesets")
	}
	for _, raw := range list {
		x.filesets = append(x.filesets, parseFileset(raw))
	}
	return x, nil
}

func parseFileset(raw json.RawMessage) *filesetEntry {
	e := &filesetEntry{raw: raw}
	members, err := meta.Object(raw)
	if err != nil {
		return e
	}
	e.members = members
	e.id, _ = meta.Text(meta.Get(members, "id"))
	var list []json.RawMessage
	list, e.listed = array(meta.Get(members, "files"))
	for _, raw := range list {
		f := fileEntry{raw: raw}
		if members, err := meta.Object(raw); err == nil {
			f.id, _ = meta.Text(meta.Get(members, "id"))
			f.name, _ = meta.Text(meta.Get(members, "file"))
		}
		e.files = append(e.files, f)
	}
	return e
}

func array(raw json.RawMessage) (list []json.RawMessage, ok bool) {
	if len(raw) == 0 || raw[0] != '[' {
		return nil, false
	}
	return list, json.Unmarshal(raw, &list) == nil
}

// find returns the fileset of that id; where it is listed twice the last one
// counts, as in upstream's dict.
func (x *index) find(id string) *filesetEntry {
	for _, e := range slices.Backward(x.filesets) {
		if e.id == id && e.listed {
			return e
		}
	}
	return nil
}

// add lists a fileset without files.
func (x *index) add(id string) {
	x.filesets = append(x.filesets, &filesetEntry{
		members: []meta.Member{{Name: "files"}, {Name: "id", Value: meta.Quote(id)}},
		id:      id, listed: true,
	})
}

// put lists a file, in place of the entry of that id if it is known to be one.
func (e *filesetEntry) put(id, name string, known bool) {
	e.raw = nil
	f := fileEntry{id: id, name: name}
	f.raw = meta.Join([]meta.Member{{Name: "file", Value: meta.Quote(name)}, {Name: "id", Value: meta.Quote(id)}})
	if known {
		*e.file(id) = f
		return
	}
	e.files = append(e.files, f)
}

// file returns the entry of that id, nil if there is none. Where it is listed
// twice the last one counts.
func (e *filesetEntry) file(id string) *fileEntry {
	for i := range slices.Backward(e.files) {
		if e.files[i].id == id {
			return &e.files[i]
		}
	}
	return nil
}

// bytes returns files.json as upstream writes it.
func (x *index) bytes() ([]byte, error) {
	list := make([]json.RawMessage, len(x.filesets))
	for i, e := range x.filesets {
		list[i] = e.bytes()
	}
	return meta.Sorted(meta.Join(meta.Set(x.members, "filesets", joinArray(list))))
}

// bytes returns the fileset as it is listed.
func (e *filesetEntry) bytes() json.RawMessage {
	if e.raw != nil {
		return e.raw
	}
	files := make([]json.RawMessage, len(e.files))
	for i, f := range e.files {
		files[i] = f.raw
	}
	return meta.Join(meta.Set(e.members, "files", joinArray(files)))
}

func joinArray(list []json.RawMessage) json.RawMessage {
	out := []byte{'['}
	for i, raw := range list {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, raw...)
	}
	return append(out, ']')
}

// readIndex reads the scan's files.json. ErrBroken if it cannot be read.
func readIndex(ctx context.Context, dir *os.Root) (*index, error) {
	held, x, err := holdIndex(ctx, dir)
	if err != nil {
		return nil, err
	}
	return x, held.Close()
}

// unread is ErrBroken for what says something of files.json.
func unread(err error) error {
	if err == nil {
		return nil
	}
	if exhausted(err) {
		return fmt.Errorf("read %s: %w", indexFile, err)
	}
	return ErrBroken.Because(err)
}
