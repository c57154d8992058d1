package scan

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// Keys that a metadata update never changes: each has a route of its own, or
// none. Upstream drops owner and sharing silently and lets created and
// created_by be overwritten. A scan has a visibility besides.
var (
	partProtected = []string{"owner", "sharing", "created", "created_by"}
	scanProtected = slices.Concat(partProtected, []string{"visibility"})
)

// Update is what a caller wants of a metadata object.
type Update struct {
	Metadata json.RawMessage
	// Replace drops the keys that Metadata does not have; protected keys and
	// the id of a timelapse stay. Without it keys are only added or replaced,
	// nested objects whole, and none can be removed: upstream's rule.
	Replace bool
	// Patch takes Metadata as a JSON merge patch (RFC 7396): null removes a key,
	// objects are merged into those that are there. Protected keys stay.
	Patch bool
	// Match is what the metadata must be, or nothing is done.
	Match Match
}

// timestamp is upstream's form of a time: local, without a zone, microseconds.
func timestamp(t time.Time) string { return t.Local().Format("2006-01-02T15:04:05.000000") }

// stamp adds to metadata what a new fileset or file records of its making.
func stamp(metadata json.RawMessage, a actor.Actor, now time.Time) (json.RawMessage, error) {
	made := meta.Quote(timestamp(now))
	return set(metadata,
		meta.Member{Name: "created", Value: made},
		meta.Member{Name: "created_by", Value: meta.Quote(a.Fullname)},
		meta.Member{Name: "last_modified", Value: made})
}

// stampScan adds to metadata what a new scan records of its making.
func stampScan(metadata json.RawMessage, a actor.Actor, now time.Time) (json.RawMessage, error) {
	owned, err := set(metadata, meta.Member{Name: "owner", Value: meta.Quote(a.Username)})
	if err != nil {
		return nil, err
	}
	return stamp(owned, a, now)
}

// sameBut says whether two metadata objects are equal but for the times in
// them: whether they can come of the same request, made twice.
func sameBut(a, b json.RawMessage) bool {
	x, err := untimed(a)
	if err != nil {
		return false
	}
	y, err := untimed(b)
	return err == nil && bytes.Equal(x, y)
}

func untimed(metadata json.RawMessage) ([]byte, error) {
	members, err := meta.Object(metadata)
	if err != nil {
		return nil, err
	}
	members = slices.DeleteFunc(members, func(m meta.Member) bool {
		return m.Name == "created" || m.Name == "last_modified"
	})
	return meta.Sorted(meta.Join(members))
}

// objectOrEmpty checks that metadata is an object; nothing at all is {}.
func objectOrEmpty(metadata json.RawMessage) (json.RawMessage, error) {
	if len(metadata) == 0 || string(metadata) == "null" {
		return json.RawMessage("{}"), nil
	}
	if _, err := meta.Object(metadata); err != nil {
		return nil, badMetadata(err)
	}
	return metadata, nil
}

// applyToPart returns the metadata of a fileset or file changed by u. changed
// is false when u has nothing to say: then nothing is written.
func (u Update) applyToPart(old json.RawMessage, now time.Time) (updated json.RawMessage, changed bool, err error) {
	sent, err := u.sent(partProtected)
	if err != nil {
		return nil, false, err
	}
	return u.apply(old, old, sent, partProtected, now)
}

// applyToScan is applyToPart for a scan, with the rules for its timelapse. A
// patch is of the metadata as it is shown, where some of old may be filled in.
func (u Update) applyToScan(old, shown json.RawMessage, now time.Time) (updated json.RawMessage, changed bool, err error) {
	sent, err := u.sent(scanProtected)
	if err != nil {
		return nil, false, err
	}
	if u.Patch {
		sent, err = patchTimelapse(old, sent)
	} else {
		sent, err = keepTimelapse(old, sent, u.Replace)
	}
	if err != nil {
		return nil, false, err
	}
	return u.apply(old, shown, sent, scanProtected, now)
}

// sent returns what u may change.
func (u Update) sent(protected []string) ([]meta.Member, error) {
	sent, err := meta.Object(u.Metadata)
	if err != nil {
		return nil, badMetadata(err)
	}
	return slices.DeleteFunc(sent, func(m meta.Member) bool { return slices.Contains(protected, m.Name) }), nil
}

func (u Update) apply(old, shown json.RawMessage, sent []meta.Member, protected []string, now time.Time) (json.RawMessage, bool, error) {
	if len(sent) == 0 && !u.Replace {
		return old, false, nil
	}
	if u.Patch {
		patched, err := patchMembers(old, shown, sent)
		if err != nil {
			return nil, false, badMetadata(err)
		}
		return meta.Join(meta.Set(patched, "last_modified", meta.Quote(timestamp(now)))), true, nil
	}
	if u.Replace {
		members, err := meta.Object(old)
		if err != nil {
			return nil, false, badMetadata(err)
		}
		old = meta.Join(slices.DeleteFunc(members, func(m meta.Member) bool { return !slices.Contains(protected, m.Name) }))
	}
	// Set rather than appended, for the sender may have sent one.
	sent = meta.Set(sent, "last_modified", meta.Quote(timestamp(now)))
	updated, err := meta.Merge(old, meta.Join(sent), nil)
	if err != nil {
		return nil, false, badMetadata(err)
	}
	return updated, true, nil
}

// keepTimelapse holds the rules for the member timelapse: the id of a scan's
// timelapse stays whatever is sent, a timelapse that is no object is dropped,
// and none can be given to a scan outside, which would lose its files.
func keepTimelapse(old json.RawMessage, sent []meta.Member, replace bool) ([]meta.Member, error) {
	id, member := lookup(old, "timelapse", "id")
	kept := meta.Member{Name: "id", Value: id}
	i := slices.IndexFunc(sent, func(m meta.Member) bool { return m.Name == "timelapse" })
	if i >= 0 && !isObject(sent[i].Value) {
		sent, i = slices.Delete(sent, i, i+1), -1
	}
	switch {
	case i < 0 && member && replace:
		return meta.Set(sent, "timelapse", meta.Join([]meta.Member{kept})), nil
	case i < 0:
		return sent, nil
	case !member:
		if _, moves := lookup(sent[i].Value, "id"); moves {
			return nil, ErrMemberElsewhere
		}
		return sent, nil
	}
	value, err := set(sent[i].Value, kept)
	if err != nil {
		return nil, badMetadata(err)
	}
	sent[i].Value = value
	return sent, nil
}

func isObject(raw json.RawMessage) bool {
	_, err := meta.Object(raw)
	return err == nil
}

// set returns the object with a few members added or replaced.
func set(object json.RawMessage, members ...meta.Member) (json.RawMessage, error) {
	have, err := meta.Object(object)
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		have = meta.Set(have, m.Name, m.Value)
	}
	return meta.Join(have), nil
}

// setMember returns the object with one member added or replaced; what is no
// object stays as it is.
func setMember(object json.RawMessage, key string, value json.RawMessage) json.RawMessage {
	out, err := set(object, meta.Member{Name: key, Value: value})
	if err != nil {
		return object
	}
	return out
}

// onDisk returns metadata as a reader of the tree will find it, so that a row
// made by a write is the row that a reconcile makes of it.
func onDisk(metadata json.RawMessage) (json.RawMessage, error) {
	text, err := meta.Sorted(metadata)
	if err != nil {
		return nil, badMetadata(err)
	}
	read, _, err := meta.Read(text)
	return read, err
}
