package scan

import (
	"encoding/json"
	"slices"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// patchMembers applies the members of a merge patch to old. An object is merged
// into what is shown under its key, for that is what the sender has read.
func patchMembers(old, shown json.RawMessage, patch []meta.Member) ([]meta.Member, error) {
	members, err := meta.Object(old)
	if err != nil {
		return nil, err
	}
	seen, err := meta.Object(shown)
	if err != nil {
		return nil, err
	}
	// By maps, for a patch may have as many keys as its size allows.
	place, now := make(map[string]int, len(members)), make(map[string]json.RawMessage, len(seen))
	for i, m := range members {
		place[m.Name] = i
	}
	for _, m := range seen {
		now[m.Name] = m.Value
	}
	for _, m := range patch {
		var value json.RawMessage // nil: the key goes
		if string(m.Value) != "null" {
			if value, err = mergePatch(now[m.Name], m.Value); err != nil {
				return nil, err
			}
		}
		i, known := place[m.Name]
		switch {
		case known:
			members[i].Value = value
		case value != nil:
			place[m.Name] = len(members)
			members = append(members, meta.Member{Name: m.Name, Value: value})
		}
	}
	return slices.DeleteFunc(members, func(m meta.Member) bool { return m.Value == nil }), nil
}

// mergePatch is MergePatch of RFC 7396, section 2. Keys keep their places, new
// ones follow.
func mergePatch(target, patch json.RawMessage) (json.RawMessage, error) {
	if !isObject(patch) {
		return patch, nil
	}
	if !isObject(target) {
		target = empty
	}
	changes, err := meta.Object(patch)
	if err != nil {
		return nil, err
	}
	members, err := patchMembers(target, target, changes)
	if err != nil {
		return nil, err
	}
	return meta.Join(members), nil
}

// patchTimelapse is keepTimelapse for a merge patch.
func patchTimelapse(old json.RawMessage, patch []meta.Member) ([]meta.Member, error) {
	id, member := lookup(old, "timelapse", "id")
	for i, m := range patch {
		if m.Name != "timelapse" {
			continue
		}
		_, moves := lookup(m.Value, "id")
		switch {
		case member && string(m.Value) == "null":
			// All of it goes but the id: each other key is removed.
			members, err := meta.Object(timelapseOf(old))
			if err != nil {
				return nil, badMetadata(err)
			}
			for j := range members {
				members[j].Value = json.RawMessage("null")
			}
			patch[i].Value = meta.Join(meta.Set(members, "id", id))
		case member && !isObject(m.Value):
			return append(patch[:i:i], patch[i+1:]...), nil
		case member:
			value, err := set(m.Value, meta.Member{Name: "id", Value: id})
			if err != nil {
				return nil, badMetadata(err)
			}
			patch[i].Value = value
		case moves:
			return nil, ErrMemberElsewhere
		}
	}
	return patch, nil
}

func timelapseOf(metadata json.RawMessage) json.RawMessage {
	value, _ := lookup(metadata, "timelapse")
	return value
}
