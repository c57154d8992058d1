package scan

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// Bounds of a where: one that needs more is a mistake or an attack.
const (
	maxWhereBytes   = 8 << 10
	maxWhereDepth   = 32
	maxWhereTests   = 64
	maxPatternBytes = 1 << 10
)

// subject says of what a where speaks: each has fields of its own.
type subject int

const (
	aScan subject = iota
	aFileset
	aFile
	aTimelapse
)

// whereFields are the fields beside metadata, and what each is.
var whereFields = map[subject][]string{
	aScan: {"id", "owner", "visibility", "timelapse", "created", "last_modified", "species", "plant", "environment",
		"tasks", "files", "bytes", "text"},
	aFileset:   {"id", "created", "last_modified", "text"},
	aFile:      {"id", "filename", "bytes", "created", "last_modified", "text"},
	aTimelapse: {"id", "owner", "created", "last_modified", "text"},
}

// record is what a where looks at.
type record struct {
	id, owner, visibility, timelapse, created, lastModified, species, plant, environment string
	filename, text                                                                       string
	tasks                                                                                []string
	files, bytes                                                                         int64
	document                                                                             json.RawMessage
}

// values returns what the record has under a path: texts, json.Numbers,
// booleans, nil for null; objects as maps. None where there is nothing.
func (r *record) values(path []string) []any {
	text := func(s string) []any {
		if s == "" {
			return nil
		}
		return []any{s}
	}
	number := func(n int64) []any { return []any{json.Number(strconv.FormatInt(n, 10))} }
	switch path[0] {
	case "metadata":
		return below(r.document, path[1:], nil)
	case "id":
		return text(r.id)
	case "owner":
		return text(r.owner)
	case "visibility":
		return text(r.visibility)
	case "timelapse":
		return text(r.timelapse)
	case "created":
		return text(r.created)
	case "last_modified":
		return text(r.lastModified)
	case "species":
		return text(r.species)
	case "plant":
		return text(r.plant)
	case "environment":
		return text(r.environment)
	case "filename":
		return text(r.filename)
	case "text":
		return text(r.text)
	case "files":
		return number(r.files)
	case "bytes":
		return number(r.bytes)
	case "tasks":
		list := make([]any, len(r.tasks))
		for i, t := range r.tasks {
			list[i] = t
		}
		return list
	}
	return nil
}

// below appends the values under a path of raw; of a list those of each item,
// but for items that are lists themselves.
func below(raw json.RawMessage, path []string, found []any) []any {
	if len(raw) == 0 {
		return found
	}
	if raw[0] == '[' {
		eachItem(raw, func(item []byte) {
			if item[0] != '[' {
				found = below(item, path, found)
			}
		})
		return found
	}
	if len(path) > 0 {
		value, ok := Member(raw, path[0])
		if raw[0] != '{' || !ok {
			return found
		}
		return below(value, path[1:], found)
	}
	switch raw[0] {
	case '{':
		return append(found, map[string]any{})
	case '"':
		text, _ := meta.Text(raw)
		return append(found, text)
	case 't', 'f':
		return append(found, raw[0] == 't')
	case 'n':
		return append(found, nil)
	default:
		return append(found, json.Number(raw))
	}
}

// condition is a where, or a part of one.
type condition interface{ holds(*record) bool }

type (
	allOf  []condition
	anyOf  []condition
	notOf  struct{ condition }
	exists struct{ path []string }
	// compared holds if any value under the path does.
	compared struct {
		path  []string
		op    string // = < <= > >=
		value any
	}
	oneOf struct {
		path   []string
		values []any
	}
	matching struct {
		path    []string
		pattern *regexp.Regexp
	}
	// holding wants every word to stand in one text under the path.
	holding struct {
		path  []string
		words []string
	}
	// filtered is upstream's filterQuery.
	filtered struct{ Filter }
)

func (c allOf) holds(r *record) bool {
	return !slices.ContainsFunc(c, func(e condition) bool { return !e.holds(r) })
}

func (c anyOf) holds(r *record) bool {
	return slices.ContainsFunc(c, func(e condition) bool { return e.holds(r) })
}

func (c notOf) holds(r *record) bool    { return !c.condition.holds(r) }
func (c exists) holds(r *record) bool   { return len(r.values(c.path)) > 0 }
func (c filtered) holds(r *record) bool { return c.Match(r.id, r.document) }

func (c compared) holds(r *record) bool {
	return slices.ContainsFunc(r.values(c.path), func(v any) bool { return compare(v, c.op, c.value) })
}

func (c oneOf) holds(r *record) bool {
	return slices.ContainsFunc(r.values(c.path), func(v any) bool {
		return slices.ContainsFunc(c.values, func(want any) bool { return compare(v, "=", want) })
	})
}

func (c matching) holds(r *record) bool {
	return slices.ContainsFunc(r.values(c.path), func(v any) bool {
		s, ok := v.(string)
		return ok && c.pattern.MatchString(s)
	})
}

func (c holding) holds(r *record) bool {
	return slices.ContainsFunc(r.values(c.path), func(v any) bool {
		s, ok := v.(string)
		if c.path[0] != "text" { // which is in lower case already
			s = strings.ToLower(s)
		}
		return ok && !slices.ContainsFunc(c.words, func(w string) bool { return !strings.Contains(s, w) })
	})
}

// dateLike is a time, or the beginning of one.
var dateLike = regexp.MustCompile(`^\d{4}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d(\.\d+)?)?)?)?)?)?$`)

// compare compares values of one type; those of two never compare. Where want
// is a time, what is compared with it counts as far as want tells: a moment of
// a day is neither before nor after that day.
func compare(have any, op string, want any) bool {
	switch want := want.(type) {
	case json.Number:
		n, ok := have.(json.Number)
		return ok && decide(compareNumbers(n, want), op)
	case string:
		s, ok := have.(string)
		if !ok {
			return false
		}
		if len(want) >= len("2006-01") && dateLike.MatchString(want) {
			want, s = strings.Replace(want, " ", "T", 1), strings.Replace(s, " ", "T", 1)
			s = s[:min(len(s), len(want))]
		}
		return decide(strings.Compare(s, want), op)
	default: // a boolean or null
		return op == "=" && have == want
	}
}

func compareNumbers(a, b json.Number) int {
	if spellNumber(a.String()) == spellNumber(b.String()) {
		return 0
	}
	x, _ := strconv.ParseFloat(a.String(), 64) // beyond the range it is infinite
	y, _ := strconv.ParseFloat(b.String(), 64)
	if x < y || x == y && len(a) < len(b) {
		return -1
	}
	return 1
}

func decide(order int, op string) bool {
	switch op {
	case "=":
		return order == 0
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	default:
		return order >= 0
	}
}

// badWhere says what is wrong and at which character, counted from 1.
func badWhere(at int, format string, args ...any) error {
	return ErrWhere.With("where, at character %d: %s", at+1, fmt.Sprintf(format, args...))
}
