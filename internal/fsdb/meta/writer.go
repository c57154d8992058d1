package meta

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"
)

// writer checks a document and writes it anew in one pass. encoding/json is
// not used because it hides key order, duplicates and depth, and refuses NaN.
type writer struct {
	in      []byte
	lenient bool // NaN and its kin are null
	python  bool // indented and escaped as Python's json does, else compact
	sorted  bool // keys in the order of their code points

	pos   int
	depth int
	out   []byte
	nulls int
	top   []span // members of the outermost object
}

// span is a member within out: its text, its value, and its decoded name.
type span struct {
	name              string
	start, value, end int
}

func (w *writer) document() error {
	if len(w.in) > MaxBytes {
		return ErrInvalid.With("metadata is larger than %d bytes", MaxBytes)
	}
	w.out = make([]byte, 0, len(w.in)+16)
	w.space()
	if w.peek() != '{' {
		return ErrInvalid
	}
	if err := w.object(); err != nil {
		return err
	}
	w.space()
	if w.pos < len(w.in) {
		return w.fail("text after the object")
	}
	return nil
}

func (w *writer) fail(what string) error {
	return ErrInvalid.With("metadata is not valid JSON: %s at byte %d", what, w.pos)
}

// peek returns the next byte, or 0 at the end; no token begins with 0.
func (w *writer) peek() byte {
	if w.pos < len(w.in) {
		return w.in[w.pos]
	}
	return 0
}

func (w *writer) space() {
	for w.pos < len(w.in) {
		switch w.in[w.pos] {
		case ' ', '\t', '\n', '\r':
			w.pos++
		default:
			return
		}
	}
}

func (w *writer) value() error {
	switch c := w.peek(); c {
	case '{':
		return w.object()
	case '[':
		return w.array()
	case '"':
		_, err := w.str()
		return err
	case 't':
		return w.literal("true", "true")
	case 'f':
		return w.literal("false", "false")
	case 'n':
		return w.literal("null", "null")
	case 'N':
		return w.notFinite("NaN")
	case 'I':
		return w.notFinite("Infinity")
	default:
		if strings.HasPrefix(string(w.in[w.pos:min(w.pos+2, len(w.in))]), "-I") {
			return w.notFinite("-Infinity")
		}
		return w.number()
	}
}

func (w *writer) literal(text, as string) error {
	if end := w.pos + len(text); end > len(w.in) || string(w.in[w.pos:end]) != text {
		return w.fail("no value")
	}
	w.pos += len(text)
	w.out = append(w.out, as...)
	return nil
}

func (w *writer) notFinite(text string) error {
	if !w.lenient {
		return w.fail("no value")
	}
	w.nulls++
	return w.literal(text, "null")
}

func (w *writer) number() error {
	start := w.pos
	if w.peek() == '-' {
		w.pos++
	}
	if w.peek() == '0' {
		w.pos++
	} else if w.digits() == 0 {
		return w.fail("no value")
	}
	if w.peek() == '.' {
		w.pos++
		if w.digits() == 0 {
			return w.fail("a broken number")
		}
	}
	if c := w.peek(); c == 'e' || c == 'E' {
		w.pos++
		if c := w.peek(); c == '+' || c == '-' {
			w.pos++
		}
		if w.digits() == 0 {
			return w.fail("a broken number")
		}
	}
	w.out = append(w.out, w.in[start:w.pos]...)
	return nil
}

func (w *writer) digits() (n int) {
	for c := w.peek(); c >= '0' && c <= '9'; c = w.peek() {
		w.pos++
		n++
	}
	return n
}

// enter steps over an opening bracket and writes it.
func (w *writer) enter() error {
	if w.depth++; w.depth > MaxDepth {
		return ErrTooDeep
	}
	w.out = append(w.out, w.in[w.pos])
	w.pos++
	w.space()
	return nil
}

// next says whether another element follows the first n; it steps over the
// comma, or over the closing bracket after the last one.
func (w *writer) next(closing byte, n int) (bool, error) {
	w.space()
	if w.peek() == closing {
		w.pos++
		return false, nil
	}
	if n == 0 {
		return true, nil
	}
	if w.peek() != ',' {
		return false, w.fail("no comma or closing bracket")
	}
	w.pos++
	w.space()
	return true, nil
}

// separate writes what stands before element n of the collection.
func (w *writer) separate(n int) {
	if n > 0 {
		w.out = append(w.out, ',')
	}
	w.newline(w.depth)
}

func (w *writer) newline(depth int) {
	if !w.python {
		return
	}
	w.out = append(w.out, '\n')
	for range depth {
		w.out = append(w.out, "    "...)
	}
}

// leave writes the closing bracket of a collection of n elements.
func (w *writer) leave(closing byte, n int) {
	w.depth--
	if n > 0 {
		w.newline(w.depth)
	}
	w.out = append(w.out, closing)
}

func (w *writer) array() error {
	if err := w.enter(); err != nil {
		return err
	}
	for n := 0; ; n++ {
		more, err := w.next(']', n)
		if err != nil {
			return err
		}
		if !more {
			w.leave(']', n)
			return nil
		}
		w.separate(n)
		if err := w.value(); err != nil {
			return err
		}
	}
}

func (w *writer) object() error {
	if err := w.enter(); err != nil {
		return err
	}
	body := len(w.out)
	var spans []span
	for {
		more, err := w.next('}', len(spans))
		if err != nil {
			return err
		}
		if !more {
			break
		}
		w.separate(len(spans))
		s, err := w.member()
		if err != nil {
			return err
		}
		spans = append(spans, s)
	}
	spans = w.arrange(body, spans)
	if w.depth == 1 {
		w.top = spans
	}
	w.leave('}', len(spans))
	return nil
}

func (w *writer) member() (s span, err error) {
	if w.peek() != '"' {
		return s, w.fail("no key")
	}
	s.start = len(w.out)
	if s.name, err = w.str(); err != nil {
		return s, err
	}
	w.space()
	if w.peek() != ':' {
		return s, w.fail("no colon")
	}
	w.pos++
	w.space()
	w.out = append(w.out, ':')
	if w.python {
		w.out = append(w.out, ' ')
	}
	s.value = len(w.out)
	err = w.value()
	s.end = len(w.out)
	return s, err
}

// arrange drops members that a later one of the same name replaces, sorts if
// asked to, and writes the members anew where that changed anything.
func (w *writer) arrange(body int, spans []span) []span {
	kept := unique(spans)
	if w.sorted {
		kept = slices.Clone(kept)
		// UTF-8 sorts as code points do, which is Python's order.
		slices.SortFunc(kept, func(a, b span) int { return cmp.Compare(a.name, b.name) })
	}
	if slices.Equal(kept, spans) {
		return spans
	}
	old := slices.Clone(w.out[body:])
	w.out = w.out[:body]
	for i, s := range kept {
		w.separate(i)
		from := len(w.out)
		w.out = append(w.out, old[s.start-body:s.end-body]...)
		kept[i] = span{name: s.name, start: from, value: from + s.value - s.start, end: len(w.out)}
	}
	return kept
}

// unique returns spans itself when no name comes twice.
func unique(spans []span) []span {
	if distinct(spans) {
		return spans
	}
	place := make(map[string]int, len(spans))
	for i, s := range spans {
		place[s.name] = i
	}
	kept := make([]span, 0, len(place))
	for _, s := range spans {
		if last, first := place[s.name]; first {
			kept = append(kept, spans[last])
			delete(place, s.name)
		}
	}
	return kept
}

// distinct says whether all names differ. Most objects are small, and a map
// would cost more than the object itself.
func distinct(spans []span) bool {
	if len(spans) > 12 {
		seen := make(map[string]struct{}, len(spans))
		for _, s := range spans {
			seen[s.name] = struct{}{}
		}
		return len(seen) == len(spans)
	}
	for i, s := range spans {
		for _, o := range spans[:i] {
			if o.name == s.name {
				return false
			}
		}
	}
	return true
}

// str copies a string and returns what it says.
func (w *writer) str() (string, error) {
	start := w.pos
	escaped, err := w.scanString()
	if err != nil {
		return "", err
	}
	token := w.in[start:w.pos]
	var text string
	if escaped {
		text = unquote(token)
	} else {
		text = string(token[1 : len(token)-1])
	}
	if w.python {
		w.out = appendASCII(w.out, text)
	} else {
		w.out = append(w.out, token...)
	}
	return text, nil
}

func (w *writer) scanString() (escaped bool, err error) {
	for w.pos++; w.pos < len(w.in); {
		switch c := w.in[w.pos]; {
		case c == '"':
			w.pos++
			return escaped, nil
		case c == '\\':
			escaped = true
			if err := w.escape(); err != nil {
				return false, err
			}
		case c < ' ':
			return false, w.fail("a control character in a string")
		case c < utf8.RuneSelf:
			w.pos++
		default:
			r, size := utf8.DecodeRune(w.in[w.pos:])
			if r == utf8.RuneError && size == 1 {
				return false, w.fail("a string that is not UTF-8")
			}
			w.pos += size
		}
	}
	return false, w.fail("an unfinished string")
}

// escape steps over one escape; surrogates must come in pairs, because a lone
// one is no character and no database takes it.
func (w *writer) escape() error {
	w.pos++
	switch w.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		w.pos++
		return nil
	case 'u':
	default:
		return w.fail("an unknown escape")
	}
	r, ok := w.hex(w.pos + 1)
	if !ok {
		return w.fail("a broken escape")
	}
	if r < 0xD800 || r > 0xDFFF {
		w.pos += 5
		return nil
	}
	rest := w.in[min(w.pos+5, len(w.in)):]
	low, ok := w.hex(w.pos + 7)
	if r > 0xDBFF || !ok || string(rest[:2]) != `\u` || low < 0xDC00 || low > 0xDFFF {
		return w.fail("half of a surrogate pair")
	}
	w.pos += 11
	return nil
}

// hex reads the four digits at position at.
func (w *writer) hex(at int) (v rune, ok bool) {
	if at+4 > len(w.in) {
		return 0, false
	}
	for _, c := range w.in[at : at+4] {
		switch {
		case c >= '0' && c <= '9':
			v = v<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			v = v<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

// unquote decodes a string that was checked.
func unquote(token []byte) string {
	var s string
	if err := json.Unmarshal(token, &s); err != nil {
		return "" // not reached for a checked token; an empty text is harmless
	}
	return s
}
