package scan

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// needs are what has to be read for a condition.
type needs struct {
	document, tasks bool
	// columns are those of the index: owner, species and the like.
	columns bool
	// sections are those of MIAPPE, with what the older object has of them.
	sections bool
	text     textSize
}

// textSize is how much of the search text has to be read.
type textSize int32

const (
	// wholeText is what no text exceeds that was not cut.
	wholeText = maxSearchText - utf8.UTFMax
	// sampleText tells whether an index would find a scan.
	sampleText textSize = 4096
)

func needsOf(c condition) (n needs) {
	add := func(m needs) {
		n = needs{n.document || m.document, n.tasks || m.tasks, n.columns || m.columns, n.sections || m.sections, max(n.text, m.text)}
	}
	path := func(p []string) {
		switch p[0] {
		case "id":
		case "metadata":
			add(needs{document: true, sections: len(p) > 1 && isSection(p[1])})
		case "tasks":
			add(needs{tasks: true})
		case "text":
			add(needs{text: maxSearchText})
		default:
			add(needs{columns: true})
		}
	}
	switch c := c.(type) {
	case allOf:
		for _, e := range c {
			add(needsOf(e))
		}
	case anyOf:
		for _, e := range c {
			add(needsOf(e))
		}
	case notOf:
		add(needsOf(c.condition))
	case filtered:
		n.document = true
		for key := range c.query {
			n.sections = n.sections || isSection(key)
		}
	case exists:
		path(c.path)
	case compared:
		path(c.path)
	case oneOf:
		path(c.path)
	case matching:
		path(c.path)
	case holding:
		path(c.path)
	}
	return n
}

// documentAlone says whether, beside the id, nothing but the document is needed.
func (n needs) documentAlone() bool { return n.document && !n.tasks && !n.columns && n.text == 0 }

// of returns a document as it is looked at.
func (n needs) of(document json.RawMessage) json.RawMessage {
	if n.sections {
		return Sectioned(document)
	}
	return document
}

// lookups is the part of a condition that indexes can look up; what they find
// is still looked at.
type lookups struct {
	timelapse       *string
	contains        []json.RawMessage // any of these
	word            string            // of the search text
	owners, species []string
}

func (i *lookups) useful() bool { return i.word != "" || i.withoutWord() }

func (i *lookups) withoutWord() bool {
	return i.timelapse != nil || i.contains != nil || i.owners != nil || i.species != nil
}

// take adds what c, which must hold, lets an index look up.
func (i *lookups) take(c condition) {
	switch c := c.(type) {
	case allOf:
		for _, e := range c {
			i.take(e)
		}
	case filtered:
		i.takeFilter(c.Filter)
		for text := range c.regex {
			i.takeWord(literalOf(text))
		}
	case compared:
		if text, ok := c.value.(string); ok && c.op == "=" {
			i.takeTexts(c.path, []string{text})
		}
	case oneOf:
		texts := make([]string, 0, len(c.values))
		for _, v := range c.values {
			if text, ok := v.(string); ok {
				texts = append(texts, text)
			}
		}
		if len(texts) == len(c.values) {
			i.takeTexts(c.path, texts)
		}
	case matching:
		if c.path[0] == "metadata" || c.path[0] == "id" {
			i.takeWord(literalOf(c.pattern.String()))
		}
	case holding:
		if c.path[0] == "text" || c.path[0] == "metadata" || c.path[0] == "id" {
			for _, w := range c.words {
				i.takeWord(w)
			}
		}
	}
}

// takeFilter adds what an exact filter lets an index look up: all but what the
// older object can stand for, or else one text of that.
func (i *lookups) takeFilter(f Filter) {
	if contains := f.contains(); string(contains) != "{}" && i.contains == nil {
		i.contains = []json.RawMessage{contains}
	}
	if f.fuzzy {
		return
	}
	texts := prune(f.query)
	for _, key := range slices.Sorted(maps.Keys(texts)) {
		if isSection(key) {
			i.takeFacts([]string{key}, texts[key])
		}
	}
}

// takeFacts adds what an index can look up of the texts of a section.
func (i *lookups) takeFacts(path []string, v any) {
	switch v := v.(type) {
	case string:
		i.takeTexts(append([]string{"metadata"}, path...), []string{v})
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			i.takeFacts(append(slices.Clone(path), key), v[key])
		}
	}
}

// decides says whether c holds exactly for what is looked up: it wants nothing
// but texts of columns that have an index.
func (i *lookups) decides(c condition) bool {
	switch c := c.(type) {
	case allOf:
		return !slices.ContainsFunc(c, func(e condition) bool { return !i.decides(e) })
	case compared:
		text, ok := c.value.(string)
		if !ok || text == "" || c.op != "=" { // an empty text is what is not there
			return false
		}
		switch c.path[0] {
		case "owner":
			return slices.Equal(i.owners, []string{text})
		case "species":
			return slices.Equal(i.species, []string{text})
		case "timelapse":
			return i.timelapse != nil && *i.timelapse == text
		}
	}
	return false
}

// wordArg is the word as queries take it; nil without one.
func (i *lookups) wordArg() *string {
	if i.word == "" {
		return nil
	}
	return &i.word
}

// pattern is what LIKE takes for the word; nil without one.
func (i *lookups) pattern() *string {
	if i.word == "" {
		return nil
	}
	p := "%" + strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(i.word) + "%"
	return &p
}

// hasTrigrams says whether a text has, somewhere, all pieces of a word that the
// index of the text knows: three letters or digits in a row, and the first and last
// two next to anything else within the word.
func hasTrigrams(text, word string) bool {
	if strings.Contains(text, word) {
		return true
	}
	letters := []rune(word)
	inner := func(c rune) bool { return unicode.IsLetter(c) || unicode.IsDigit(c) }
	for from := 0; from < len(letters); from++ {
		to := from
		for to < len(letters) && inner(letters[to]) {
			to++
		}
		run := letters[from:to]
		for n := range run[:max(0, len(run)-2)] {
			if !strings.Contains(text, string(run[n:n+3])) {
				return false
			}
		}
		if len(run) > 0 && from > 0 && !hasBeside(text, string(run[:min(2, len(run))]), inner, true) {
			return false
		}
		if len(run) > 0 && to < len(letters) && !hasBeside(text, string(run[max(0, len(run)-2):]), inner, false) {
			return false
		}
		from = to
	}
	return true
}

// hasBeside says whether the piece stands in the text without a letter before
// it, or after it.
func hasBeside(text, piece string, letter func(rune) bool, before bool) bool {
	for at := 0; ; at++ {
		n := strings.Index(text[at:], piece)
		if n < 0 {
			return false
		}
		at += n
		c, _ := utf8.DecodeRuneInString(text[at+len(piece):])
		if before {
			c, _ = utf8.DecodeLastRuneInString(text[:at])
		}
		if !letter(c) {
			return true
		}
	}
}

// takeWord keeps the longest word; one of less than three characters has no
// trigram to find it by.
func (i *lookups) takeWord(w string) {
	const trigram = 3
	if len([]rune(w)) >= trigram && len(w) > len(i.word) && storable(w) {
		i.word = w
	}
}

// literalOf is what stands at the beginning of every match, in lower case.
func literalOf(expression string) string {
	re, err := regexp.Compile(expression)
	if err != nil {
		return ""
	}
	prefix, _ := re.LiteralPrefix()
	return strings.ToLower(prefix)
}

func (i *lookups) takeTexts(path, texts []string) {
	for _, t := range texts {
		// A date counts by its beginning.
		if !storable(t) || substituted(t) || dateLike.MatchString(t) && len(t) >= len("2006-01") {
			return
		}
	}
	switch {
	case path[0] == "owner":
		i.owners = texts
	case path[0] == "species":
		i.species = texts
	case path[0] == "timelapse" && len(texts) == 1:
		i.timelapse = &texts[0]
	case path[0] == "metadata" && i.lookUpFact(path[1:], texts):
	case path[0] == "metadata" && i.contains == nil:
		i.contains = containing(path[1:], texts)
	}
}

// containing returns the objects of which one is in whatever has one of the
// texts under the path, be it in a list; nil where these are too many.
func containing(path, texts []string) []json.RawMessage {
	const most = 32
	if len(texts)<<len(path) > most || slices.ContainsFunc(path, substituted) {
		return nil
	}
	var all []json.RawMessage
	for _, t := range texts {
		values := []any{t, []any{t}}
		for _, key := range slices.Backward(path) {
			var outer []any
			for _, v := range values {
				object := map[string]any{key: v}
				outer = append(outer, object, []any{object})
			}
			values = outer
		}
		for _, v := range values {
			if _, object := v.(map[string]any); !object { // metadata is one
				continue
			}
			raw, err := encode(v)
			if err != nil {
				return nil
			}
			all = append(all, raw)
		}
	}
	return all
}
