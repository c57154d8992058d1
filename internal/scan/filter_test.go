package scan

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/romi/plantdb-go/internal/pgtest"
)

// testdata/filter.json is what upstream's Python answers to these filters.
func TestFilterIsPythons(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/filter.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Filter, Metadata json.RawMessage
		Fuzzy, Want      bool
	}
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	for _, tt := range cases {
		f, err := ParseFilter(string(tt.Filter), tt.Fuzzy)
		if err != nil {
			t.Errorf("ParseFilter(%s, %v) = %v", tt.Filter, tt.Fuzzy, err)
			continue
		}
		if got := f.Match("x", tt.Metadata); got != tt.Want {
			t.Errorf("Match(%s) with %s, fuzzy %v = %v, want %v", tt.Metadata, tt.Filter, tt.Fuzzy, got, tt.Want)
		}
	}
}

func TestFilterWords(t *testing.T) {
	t.Parallel()
	const metadata = `{"object": {"species": "Arabidopsis thaliana", "DAG": 40}, "who": "\u00c9lise", "ok": true, "tags": ["red soil"]}`
	for _, tt := range []struct {
		text string
		want bool
	}{
		{"arabidopsis", true},
		{"ARABI", true},
		{"species 40", true},
		{"real_", true},    // the id
		{"élise", true},    // escaped in the document
		{"red soil", true}, // two words
		{"tomato", false},  //
		{"arabidopsis tomato", false},
		{`":`, false},          // no text of it
		{"thalianawho", false}, // not across two values
		{"true", true},
		{`["red"]`, false}, // a list is text as well
	} {
		f, err := ParseFilter(tt.text, false)
		if err != nil {
			t.Errorf("ParseFilter(%q) = %v", tt.text, err)
			continue
		}
		if got := f.Match("real_plant", json.RawMessage(metadata)); got != tt.want {
			t.Errorf("Match of %q = %v, want %v", tt.text, got, tt.want)
		}
	}
}

// Of metadata that is too long to be searched whole the same is searched each
// time: what comes first in the order of the keys.
func TestSearchTextIsTheSameEachTime(t *testing.T) {
	t.Parallel()
	var metadata strings.Builder
	for n := range 40 {
		fmt.Fprintf(&metadata, `%c"key%02d": {"deep": "%s"}`, "{,"[min(n, 1)], (n*7)%40, strings.Repeat(string(rune('a'+(n*7)%40%26)), maxSearchText/30))
	}
	metadata.WriteString("}")
	first := searchText("scan", json.RawMessage(metadata.String()))
	for n := range 40 {
		if got, want := strings.Contains(first, fmt.Sprintf("\nkey%02d\n", n)), n < 30; got != want {
			t.Errorf("the text of metadata that is too long has key%02d: %v, want %v", n, got, want)
		}
	}
	for range 10 {
		if again := searchText("scan", json.RawMessage(metadata.String())); again != first {
			t.Fatal("the text of the same metadata is another one the second time")
		}
	}
}

func TestParseFilterErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text  string
		fuzzy bool
		msg   string
	}{
		{`{`, false, "Invalid JSON format in filterQuery parameter."},
		{`{"a": }`, false, "Invalid JSON format in filterQuery parameter."},
		{`{"a": 1}}`, false, "Invalid JSON format in filterQuery parameter."},
		{`{"a": 1} x`, false, "Invalid JSON format in filterQuery parameter."},
		{`{"a": 1}{"b": 1}`, false, "Invalid JSON format in filterQuery parameter."},
		{`{"a": "("}`, true, "Invalid regular expression in filterQuery: missing closing ): `(`"},
		{`{"a": "a)|(b"}`, true, "Invalid regular expression in filterQuery: unexpected ): `a)|(b`"},
		{`{"a": ["(?=x)"]}`, true, "Invalid regular expression in filterQuery: invalid or unsupported Perl syntax: `(?=`"},
		{strings.Repeat(`{"a": `, 40) + "1" + strings.Repeat("}", 40), false, "The filter is nested deeper than 32."},
		{`{"a": ` + strings.Repeat("[", 50) + strings.Repeat("]", 50) + "}", false, "The filter is nested deeper than 32."},
		{strings.Repeat(`{"a": `, 9000) + "1" + strings.Repeat("}", 9000), false, "The filter is nested deeper than 32."},
		{strings.Repeat("x", maxFilterBytes+1), false, "The filter is longer than 65536 bytes."},
	} {
		_, err := ParseFilter(tt.text, tt.fuzzy)
		if !errors.Is(err, ErrFilter) || err.Error() != tt.msg {
			t.Errorf("ParseFilter(%.40q, %v) = %v, want ErrFilter %q", tt.text, tt.fuzzy, err, tt.msg)
		}
	}
	for _, text := range []string{"", "  ", "{}", " {} "} {
		f, err := ParseFilter(text, true)
		if err != nil || !f.Empty() || !f.Match("x", json.RawMessage("{}")) {
			t.Errorf("ParseFilter(%q) = %+v, %v, want an empty one", text, f, err)
		}
	}
	if !(Filter{}).Match("x", json.RawMessage(`{"a": 1}`)) {
		t.Error("the zero Filter does not match")
	}
}

func FuzzFilter(f *testing.F) {
	f.Add(`{"a": {"b": "x"}}`, `{"a": {"b": "xy"}}`, true)
	f.Add(`{"a": [1, 2.0, null]}`, `{"a": [true, 2, null, {}]}`, false)
	f.Add(`words and 1`, `{"words": ["and", 1e400]}`, false)
	f.Add(`{"a": -0}`, `{"a": 1E-400}`, false)
	f.Fuzz(func(t *testing.T, text, metadata string, fuzzy bool) {
		filter, err := ParseFilter(text, fuzzy)
		if err != nil {
			if !errors.Is(err, ErrFilter) {
				t.Fatalf("ParseFilter(%q) = %v, want ErrFilter", text, err)
			}
			return
		}
		filter.Match("id", json.RawMessage(metadata))
		if !json.Valid(filter.contains()) {
			t.Errorf("contains of %q = %s, want JSON", text, filter.contains())
		}
		var object map[string]any
		if fuzzy || json.Unmarshal([]byte(text), &object) != nil {
			return
		}
		if !filter.Match("id", json.RawMessage(text)) && !strings.Contains(text, `[`) {
			t.Errorf("%q does not match itself", text)
		}
	})
}

// jsonValue draws values that meet each other often, odd ones among them.
func jsonValue(depth int) *rapid.Generator[any] {
	texts := []any{"x", "y", "", "\x00", "x\x00", "\uFFFD", "é", "1"}
	numbers := []any{json.Number("1"), json.Number("1.0"), json.Number("1e400"), json.Number("0"), true, false, nil}
	leaf := rapid.SampledFrom(append(texts, numbers...))
	if depth == 0 {
		return leaf
	}
	return rapid.OneOf(leaf,
		rapid.Map(jsonObject(depth-1), func(m map[string]any) any { return m }),
		rapid.Map(rapid.SliceOfN(jsonValue(depth-1), 0, 3), func(s []any) any { return s }))
}

func jsonObject(depth int) *rapid.Generator[map[string]any] {
	key := rapid.SampledFrom([]string{"a", "b", "a\x00", "a\uFFFD", ""})
	return rapid.MapOfN(key, jsonValue(depth), 0, 3)
}

func encoded(t *rapid.T, v any) json.RawMessage {
	raw, err := encode(v)
	if err != nil {
		t.Fatalf("encode %v: %v", v, err)
	}
	return raw
}

// What the database leaves out because of contains, Match must refuse as well.
func TestContainsExcludesNoMatch(t *testing.T) {
	t.Parallel()
	tx := pgtest.Tx(t)
	rapid.Check(t, func(rt *rapid.T) {
		metadata := jsonObject(3).Draw(rt, "metadata")
		query := rapid.OneOf(jsonObject(3), rapid.Just(metadata)).Draw(rt, "query")
		f, err := ParseFilter(string(encoded(rt, query)), rapid.Bool().Draw(rt, "fuzzy"))
		if errors.Is(err, ErrFilter) {
			return // no expression
		}
		document := encoded(rt, metadata)
		var kept bool
		err = tx.QueryRow(t.Context(), "SELECT $1::jsonb @> $2::jsonb", searchable(document), f.contains()).Scan(&kept)
		if err != nil {
			rt.Fatalf("searchable %s, contains %s: %v", searchable(document), f.contains(), err)
		}
		if !kept && f.Match("x", document) {
			rt.Fatalf("%s matches %s, but %s does not hold %s", encoded(rt, query), document, searchable(document), f.contains())
		}
	})
}
