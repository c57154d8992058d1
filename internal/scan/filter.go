package scan

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a filter: one that needs more is a mistake or an attack.
const (
	maxFilterBytes = 64 << 10
	maxFilterDepth = 32
)

// Filter is upstream's filterQuery: a JSON object that metadata is compared
// with. Every key must match; an object matches an object that holds it; a
// list matches one at least as long in which every item of it matches some
// item; everything else must be equal, as Python's == has it, or with fuzzy a
// text must match the filter's text as a regular expression from its start
// (Python's re.match; the syntax is Go's RE2). A key that the metadata lacks
// compares as {}, one that an object within it lacks does not match.
type Filter struct {
	query map[string]any
	words []string // free text: each word must stand somewhere
	fuzzy bool
	regex map[string]*regexp.Regexp
	// source is the text that it was read from.
	source string
}

// ParseFilter reads a filterQuery: a JSON object, or free text whose words
// must all occur in the id, a key or a value. An empty text filters nothing.
// The error is ErrFilter.
func ParseFilter(text string, fuzzy bool) (Filter, error) {
	text = strings.TrimSpace(text)
	f := Filter{fuzzy: fuzzy, regex: map[string]*regexp.Regexp{}, source: text}
	if len(text) > maxFilterBytes {
		return f, ErrFilter.With("The filter is longer than %d bytes.", maxFilterBytes)
	}
	if text == "" {
		return f, nil
	}
	if text[0] != '{' {
		f.words = strings.Fields(strings.ToLower(text))
		return f, nil
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if dec.Decode(&f.query) != nil {
		return f, ErrFilter
	}
	if _, err := dec.Token(); err != io.EOF {
		return f, ErrFilter // something follows the object
	}
	return f, f.compile(f.query, 0)
}

// compile checks the depth of the filter and, with fuzzy, its expressions.
func (f Filter) compile(v any, depth int) error {
	if depth > maxFilterDepth {
		return ErrFilter.With("The filter is nested deeper than %d.", maxFilterDepth)
	}
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			if err := f.compile(e, depth+1); err != nil {
				return err
			}
		}
	case []any:
		for _, e := range v {
			if err := f.compile(e, depth+1); err != nil {
				return err
			}
		}
	case string:
		return f.compileText(v)
	}
	return nil
}

func (f Filter) compileText(text string) error {
	if !f.fuzzy {
		return nil
	}
	// Alone first: what is no expression could become one in the brackets.
	_, err := regexp.Compile(text)
	if err == nil {
		f.regex[text], err = regexp.Compile(`\A(?:` + text + `)`)
	}
	if err != nil {
		return ErrFilter.With("Invalid regular expression in filterQuery: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return nil
}

// Empty says whether the filter lets everything pass.
func (f Filter) Empty() bool { return len(f.query) == 0 && len(f.words) == 0 }

// Match says whether a thing of that id and metadata passes.
func (f Filter) Match(id string, metadata json.RawMessage) bool {
	if f.Empty() {
		return true
	}
	if len(f.words) > 0 {
		target, ok := decoded(metadata).(map[string]any)
		return ok && f.matchWords(id, target)
	}
	return f.matchObject(f.query, metadata, json.RawMessage("{}"))
}

// decoded returns JSON as Go's values, with numbers as they are spelled; nil for
// what is none.
func decoded(raw json.RawMessage) (v any) {
	if len(raw) >= len(`""`) && raw[0] == '"' {
		return string(keyOf(raw))
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if dec.Decode(&v) != nil {
		return nil
	}
	return v
}

// matchObject says whether an object matches; a key that it lacks counts as
// missing, if that is anything.
func (f Filter) matchObject(query map[string]any, target, missing json.RawMessage) bool {
	if len(target) == 0 || target[0] != '{' {
		return false
	}
	have := make(map[string]json.RawMessage, len(query))
	eachMember(target, func(name, value []byte) {
		if _, ok := query[string(keyOf(name))]; ok {
			have[string(keyOf(name))] = value
		}
	})
	for k, v := range query {
		value, ok := have[k]
		if !ok {
			value = missing
		}
		if !f.matchRaw(v, value) {
			return false
		}
	}
	return true
}

func (f Filter) matchRaw(query any, target json.RawMessage) bool {
	if len(target) == 0 {
		return false
	}
	if object, ok := query.(map[string]any); ok {
		return f.matchObject(object, target, nil)
	}
	return f.match(query, decoded(target))
}

func (f Filter) matchWords(id string, target any) bool {
	var all strings.Builder
	all.WriteString(id)
	spell(&all, target)
	text := strings.ToLower(all.String())
	for _, w := range f.words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// spell writes the keys and values of v, each on a line of its own, so that no
// word is found across two of them; in the order of the keys, so that of what is
// too long the same is cut off each time.
func spell(all *strings.Builder, v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			spell(all, k)
			spell(all, v[k])
		}
	case []any:
		for _, e := range v {
			spell(all, e)
		}
	case string:
		all.WriteString("\n")
		all.WriteString(v)
	case json.Number:
		spell(all, v.String())
	case bool:
		spell(all, strconv.FormatBool(v))
	}
}

func (f Filter) match(query, target any) bool {
	switch q := query.(type) {
	case map[string]any:
		t, ok := target.(map[string]any)
		if !ok {
			return false
		}
		for k, v := range q {
			if have, ok := t[k]; !ok || !f.match(v, have) {
				return false
			}
		}
		return true
	case []any:
		t, ok := target.([]any)
		if !ok || len(q) > len(t) {
			return false
		}
		for _, v := range q {
			if !f.matchAny(v, t) {
				return false
			}
		}
		return true
	case string:
		t, ok := target.(string)
		if ok && f.fuzzy {
			return f.regex[q].MatchString(t)
		}
		return ok && q == t
	default:
		return equal(q, target)
	}
}

func (f Filter) matchAny(query any, targets []any) bool {
	for _, t := range targets {
		if f.match(query, t) {
			return true
		}
	}
	return false
}

// equal is Python's == for null, booleans and numbers: 1, 1.0 and true are one
// value, and integers of any length are compared exactly.
func equal(a, b any) bool {
	x, okX := number(a)
	y, okY := number(b)
	if okX && okY {
		return x == y
	}
	return a == nil && b == nil
}

// number spells a number so that equal ones are spelled alike.
func number(v any) (spelled string, ok bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return "1", true
		}
		return "0", true
	case json.Number:
		return spellNumber(v.String()), true
	}
	return "", false
}

// spellNumber spells integers by their digits, and floats as Python's float
// has them: those that are whole by all their digits, for they equal integers.
func spellNumber(text string) string {
	if !strings.ContainsAny(text, ".eE") {
		if text == "-0" {
			return "0"
		}
		return text
	}
	f, _ := strconv.ParseFloat(text, 64) // beyond the range it is infinite, as in Python
	if f == math.Trunc(f) && !math.IsInf(f, 0) {
		whole, _ := big.NewFloat(f).Int(nil)
		return whole.String()
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// contains is the part of the filter that jsonb containment can decide, for
// the database to look up by its index; what it lets pass Match still checks.
// Sections are not in it, for the older object may stand for them.
func (f Filter) contains() json.RawMessage {
	if f.fuzzy {
		return json.RawMessage("{}")
	}
	texts := prune(f.query)
	maps.DeleteFunc(texts, func(key string, _ any) bool { return isSection(key) })
	raw, err := encode(texts)
	if err != nil {
		return json.RawMessage("{}")
	}
	return raw
}

// prune leaves texts and objects that hold some. Left out are empty objects,
// for a missing key matches them, everything that Python and jsonb compare
// differently, and what searchable may have changed in the database's copy.
func prune(object map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range object {
		if substituted(k) {
			continue
		}
		switch v := v.(type) {
		case string:
			if !substituted(v) {
				out[k] = v
			}
		case map[string]any:
			if p := prune(v); len(p) > 0 {
				out[k] = p
			}
		}
	}
	return out
}

func substituted(s string) bool { return strings.ContainsAny(s, "\x00"+substitute) }
