// Package meta reads and writes metadata: JSON objects whose key order and
// numbers are kept as they were given. It reads what Python's json module
// writes, its NaN and Infinity included, and writes what json.dump(indent=4)
// would have written, so that a file we wrote cannot be told from upstream's.
// It knows neither files nor what the keys mean.
//
// Every function is linear in its input, bounded by MaxBytes and MaxDepth, and
// where a key comes twice the last value wins in the first one's place, as in
// a Python dict.
package meta

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/romi/plantdb-go/internal/fault"
)

const (
	// MaxBytes bounds a document.
	MaxBytes = 16 << 20
	// MaxDepth bounds how deep objects and arrays nest; the outermost is 1.
	MaxDepth = 100
)

// ErrInvalid is what every function here answers to text that is not a JSON
// object within the bounds, but for its depth.
var ErrInvalid = fault.New(fault.Invalid, "metadata_invalid", "metadata must be a JSON object")

// ErrTooDeep is what every function here answers to an object that nests deeper
// than MaxDepth.
var ErrTooDeep = fault.New(fault.Invalid, "too_deep", fmt.Sprintf("Metadata is nested deeper than %d objects and lists.", MaxDepth))

// Deep says whether text nests deeper than MaxDepth, be it JSON or not: what
// encoding/json gives up at a depth is broken to it.
func Deep(text []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			if depth++; depth > MaxDepth {
				return true
			}
		case c == '}', c == ']':
			depth--
		}
	}
	return false
}

// Member is one key of an object and its value in compact form.
type Member struct {
	Name  string
	Value json.RawMessage
}

// Read returns the object in data in compact form: key order, numbers and the
// spelling of strings as they were. It forgives a byte order mark and Python's
// NaN, Infinity and -Infinity, which become null; nulls says how many did.
func Read(data []byte) (raw json.RawMessage, nulls int, err error) {
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	w := writer{in: data, lenient: true}
	if err := w.document(); err != nil {
		return nil, 0, err
	}
	return w.out, w.nulls, nil
}

// Object returns the members of the object raw in their order.
func Object(raw json.RawMessage) ([]Member, error) {
	w := writer{in: raw}
	if err := w.document(); err != nil {
		return nil, err
	}
	members := make([]Member, len(w.top))
	for i, s := range w.top {
		members[i] = Member{Name: s.name, Value: slices.Clip(w.out[s.value:s.end])}
	}
	return members, nil
}

// Join is the inverse of Object: the values must be valid JSON.
func Join(members []Member) json.RawMessage {
	out := []byte{'{'}
	for i, m := range members {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendASCII(out, m.Name)
		out = append(out, ':')
		out = append(out, m.Value...)
	}
	return append(out, '}')
}

// Get returns the value of the member of that name, nil if there is none.
func Get(members []Member, name string) json.RawMessage {
	for _, m := range members {
		if m.Name == name {
			return m.Value
		}
	}
	return nil
}

// Set gives the member of that name a value, in its place or else at the end.
func Set(members []Member, name string, value json.RawMessage) []Member {
	for i := range members {
		if members[i].Name == name {
			members[i].Value = value
			return members
		}
	}
	return append(members, Member{Name: name, Value: value})
}

// Text returns the string that raw is; ok is false when it is something else.
func Text(raw json.RawMessage) (s string, ok bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	return unquote(raw), true
}

// Merge returns old with the members of update set, as upstream's set_metadata
// does: top-level values are replaced whole, nothing is ever removed, null is
// a value. Keys of old keep their places, new ones follow in update's order.
// Members of update that are protected are left out.
func Merge(old, update json.RawMessage, protected []string) (json.RawMessage, error) {
	members, err := Object(old)
	if err != nil {
		return nil, err
	}
	changes, err := Object(update)
	if err != nil {
		return nil, err
	}
	place := make(map[string]int, len(members)+len(changes))
	for i, m := range members {
		place[m.Name] = i
	}
	for _, c := range changes {
		if slices.Contains(protected, c.Name) {
			continue
		}
		i, known := place[c.Name]
		if !known {
			place[c.Name] = len(members)
			members = append(members, c)
			continue
		}
		members[i].Value = c.Value
	}
	return Join(members), nil
}

// Sorted returns the object raw as json.dump(sort_keys=True, indent=4) writes
// it, numbers as given: upstream's form of files.json and all metadata.
func Sorted(raw json.RawMessage) ([]byte, error) {
	w := writer{in: raw, python: true, sorted: true}
	err := w.document()
	return w.out, err
}

// Ordered is Sorted with the keys in the order given: upstream's form of
// timelapse.json.
func Ordered(raw json.RawMessage) ([]byte, error) {
	w := writer{in: raw, python: true}
	err := w.document()
	return w.out, err
}

// Quote returns s as a JSON string.
func Quote(s string) json.RawMessage { return appendASCII(nil, s) }
