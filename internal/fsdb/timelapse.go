package fsdb

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// Timelapse is the marker of a timelapse. Its directories are the truth about
// which scans it has; Scans is the order of their registration and may be
// incomplete.
type Timelapse struct {
	ID        string
	CreatedAt string  // as upstream writes it: a local ISO time without zone
	Owner     *string // nil where nobody is recorded
	Scans     []string
	Metadata  json.RawMessage // an object, {} if there is none
	Signature Signature       // taken before the marker was read
	Warnings  []string        // what of the marker was passed over
}

// ReadTimelapse reads the marker of a timelapse. ErrNotFound if there is none;
// a marker that cannot be read gives an empty timelapse with a warning. The
// directory's name is the id whatever the marker says.
func (t *Tree) ReadTimelapse(ctx context.Context, id string) (*Timelapse, error) {
	signature, err := t.TimelapseSignature(ctx, id)
	if err != nil {
		return nil, err
	}
	tl := &Timelapse{ID: id, Scans: []string{}, Metadata: json.RawMessage("{}"), Signature: signature}
	members, err := t.marker(id)
	if exhausted(err) {
		return nil, fmt.Errorf("read timelapse %q: %w", id, err)
	}
	if err != nil {
		tl.Warnings = append(tl.Warnings, timelapseFile+": "+reason(err))
	}
	for _, m := range members {
		tl.set(m)
	}
	return tl, nil
}

// marker returns the members of the timelapse's marker.
func (t *Tree) marker(id string) ([]meta.Member, error) {
	dir, err := t.openDir(id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // only read
	data, err := readFile(dir, timelapseFile, meta.MaxBytes)
	if err != nil {
		return nil, err
	}
	raw, _, err := meta.Read(data)
	if err != nil {
		return nil, err
	}
	return meta.Object(raw)
}

// set takes one member of the marker; null and absent are the same.
func (tl *Timelapse) set(m meta.Member) {
	if string(m.Value) == "null" {
		return
	}
	text, isText := meta.Text(m.Value)
	ok := true
	switch m.Name {
	case "id":
		ok = text == tl.ID
	case "created_at":
		tl.CreatedAt, ok = text, isText
	case "owner":
		if ok = isText; ok {
			tl.Owner = &text
		}
	case "scans":
		ok = tl.setScans(m.Value)
	case "metadata":
		if ok = m.Value[0] == '{'; ok {
			tl.Metadata = m.Value
		}
	}
	if !ok {
		tl.Warnings = append(tl.Warnings, fmt.Sprintf("%s: %q is passed over", timelapseFile, m.Name))
	}
}

func (tl *Timelapse) setScans(raw json.RawMessage) bool {
	list, ok := array(raw)
	for _, raw := range list {
		if id, isText := meta.Text(raw); isText {
			tl.Scans = append(tl.Scans, id)
		}
	}
	return ok && len(tl.Scans) == len(list)
}

// CreateTimelapse makes a timelapse without scans; it appears whole.
// ErrTimelapseExists if anything in the root has that name.
func (t *Tree) CreateTimelapse(ctx context.Context, tl Timelapse) error {
	return wrap("create timelapse", tl.ID, t.createTimelapse(ctx, tl))
}

func (t *Tree) createTimelapse(ctx context.Context, tl Timelapse) error {
	if err := CheckName(TimelapseName, tl.ID); err != nil {
		return err
	}
	document, err := tl.document(nil)
	if err != nil {
		return err
	}
	if err := t.free(tl.ID, ErrTimelapseExists); err != nil {
		return err
	}
	return t.build(ctx, ".", tl.ID, ErrTimelapseExists, map[string][]byte{timelapseFile: document})
}

// WriteTimelapse replaces what the marker says; members that are not ours stay
// as they are. ErrNotFound if there is no such timelapse.
func (t *Tree) WriteTimelapse(ctx context.Context, tl Timelapse) error {
	return wrap("write timelapse", tl.ID, t.writeTimelapse(ctx, tl))
}

func (t *Tree) writeTimelapse(ctx context.Context, tl Timelapse) error {
	if !readable(tl.ID) || t.requireDir(tl.ID) != nil || !t.isTimelapse(tl.ID) {
		return ErrNotFound
	}
	members, err := t.marker(tl.ID)
	if exhausted(err) {
		return err
	}
	// A marker that cannot be read says nothing that could be kept.
	document, err := tl.document(members)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return t.put(tl.ID+"/"+timelapseFile, document)
}

// document returns the marker in upstream's form and order, with the members
// of the old one that are not ours.
func (tl *Timelapse) document(members []meta.Member) ([]byte, error) {
	owner := json.RawMessage("null")
	if tl.Owner != nil {
		owner = meta.Quote(*tl.Owner)
	}
	scans := make([]json.RawMessage, len(tl.Scans))
	for i, id := range tl.Scans {
		scans[i] = meta.Quote(id)
	}
	if _, err := meta.Object(tl.Metadata); err != nil {
		return nil, err
	}
	for _, m := range []meta.Member{
		{Name: "id", Value: meta.Quote(tl.ID)},
		{Name: "created_at", Value: meta.Quote(tl.CreatedAt)},
		{Name: "owner", Value: owner},
		{Name: "scans", Value: joinArray(scans)},
		{Name: "metadata", Value: tl.Metadata},
	} {
		members = meta.Set(members, m.Name, m.Value)
	}
	return meta.Ordered(meta.Join(members))
}

// TimelapseScans returns the names of the directories in a timelapse, which are
// its scans, sound or not. ErrNotFound if there is no such timelapse.
func (t *Tree) TimelapseScans(ctx context.Context, id string) ([]string, error) {
	if !readable(id) || t.requireDir(id) != nil || !t.isTimelapse(id) {
		return nil, ErrNotFound
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list timelapse %q: %w", id, err)
	}
	names := []string{}
	err := t.directories(ctx, id, func(d directory) {
		if !d.broken() {
			names = append(names, d.name)
		}
	})
	if err != nil {
		return nil, wrap("list timelapse", id, err)
	}
	slices.Sort(names)
	return names, nil
}
