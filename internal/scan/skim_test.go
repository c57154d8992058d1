package scan

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// jsonText draws JSON as people and programs write it: with blanks, escapes,
// and keys that come twice.
func jsonText(depth int) *rapid.Generator[string] {
	blanks := rapid.SampledFrom([]string{"", "", " ", "\n\t", "\r\n "})
	text := rapid.SampledFrom([]string{`"a"`, `"b"`, `"\u0061"`, `"é"`, `"\u00e9"`, `""`, `"\""`, `"\\"`, `"a\\\""`, `"{"`, `"],"`, `"\ud800"`, `"\u0000"`})
	leaf := rapid.OneOf(text, rapid.SampledFrom([]string{"0", "-1.5e+3", "12345678901234567890", "true", "false", "null"}))
	if depth == 0 {
		return leaf
	}
	return rapid.Custom(func(t *rapid.T) string {
		blank := func() string { return blanks.Draw(t, "blank") }
		var all []string
		kind := rapid.IntRange(0, 2).Draw(t, "kind")
		if kind == 0 {
			return leaf.Draw(t, "leaf")
		}
		for range rapid.IntRange(0, 4).Draw(t, "size") {
			value := blank() + jsonText(depth-1).Draw(t, "value") + blank()
			if kind == 1 {
				value = blank() + text.Draw(t, "key") + blank() + ":" + value
			}
			all = append(all, value)
		}
		inner := strings.Join(all, ",") + blank()
		if kind == 1 {
			return "{" + inner + "}"
		}
		return "[" + inner + "]"
	})
}

// To skim finds what to decode finds.
func TestSkimFindsAllThatIsThere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		raw := json.RawMessage(jsonText(3).Draw(rt, "JSON"))
		if !json.Valid(raw) {
			rt.Fatalf("the test draws %s, which is no JSON", raw)
		}
		if trimmed := strings.TrimSpace(string(raw)); skip(raw, blank(raw, 0)) != len(strings.TrimRight(string(raw), " \t\r\n")) {
			rt.Fatalf("skip does not pass all of %q", trimmed)
		}
		var object map[string]json.RawMessage
		if json.Unmarshal(raw, &object) != nil {
			object = nil
		}
		got := map[string]json.RawMessage{}
		eachMember(raw, func(name, value []byte) { got[string(keyOf(name))] = value })
		if diff := cmp.Diff(got, object); len(object)+len(got) > 0 && diff != "" {
			rt.Fatalf("eachMember of %s (-got +want):\n%s", raw, diff)
		}
		for _, key := range []string{"a", "é", "", `"`, `\`, "nowhere"} {
			value, ok := Member(raw, key)
			if want, there := object[key]; ok != there || string(value) != string(want) {
				rt.Fatalf("Member(%s, %q) = %s, %v, want %s, %v", raw, key, value, ok, want, there)
			}
		}
		var items, list []json.RawMessage
		if json.Unmarshal(raw, &list) != nil {
			list = nil
		}
		eachItem(raw, func(item []byte) { items = append(items, item) })
		if !slices.EqualFunc(items, list, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
			rt.Fatalf("eachItem of %s = %q, want %q", raw, items, list)
		}
	})
}

// A filter that skims matches what one that decodes all would match.
func TestFilterSkims(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		metadata := json.RawMessage(jsonText(3).Draw(rt, "metadata"))
		query := rapid.OneOf(rapid.Just(string(metadata)), jsonText(3)).Draw(rt, "query")
		f, err := ParseFilter(query, rapid.Bool().Draw(rt, "fuzzy"))
		if err != nil || f.query == nil {
			return // a regular expression that is none, or words
		}
		target, ok := decoded(metadata).(map[string]any)
		want := f.Empty() || ok
		for k, v := range f.query {
			have, there := target[k]
			if !there {
				have = map[string]any{}
			}
			want = want && f.match(v, have)
		}
		if got := f.Match("x", metadata); got != want {
			rt.Fatalf("%s matches %s: %v, want %v", query, metadata, got, want)
		}
	})
}

// What is no JSON may be skimmed, too.
func FuzzSkim(f *testing.F) {
	f.Add(`{"a": [1, "x"], "b": {"\u0061": null}}`, "a")
	f.Add(`{"a`, "a")
	f.Add(`{"a" 1]}`, "")
	f.Add(`[}`, "")
	f.Add(`{"\`, "")
	f.Fuzz(func(t *testing.T, text, key string) {
		raw := json.RawMessage(text)
		value, ok := Member(raw, key)
		var object map[string]json.RawMessage
		if json.Unmarshal(raw, &object) == nil {
			if want, there := object[key]; ok != there || string(value) != string(want) {
				t.Errorf("Member(%q, %q) = %q, %v, want %q, %v", text, key, value, ok, want, there)
			}
		}
		eachItem(raw, func(item []byte) {
			if len(item) == 0 {
				t.Errorf("an item of %q is empty", text)
			}
		})
		filter := Filter{query: map[string]any{key: map[string]any{key: "x"}}}
		filter.Match("x", raw)
	})
}
