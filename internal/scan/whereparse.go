package scan

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// parseWhere reads a where, of which docs/search.md has the grammar. The error
// is ErrWhere and says where the fault is.
func parseWhere(text string, of subject) (condition, error) {
	if len(text) > maxWhereBytes {
		return nil, ErrWhere.With("where is longer than %d bytes.", maxWhereBytes)
	}
	if !utf8.ValidString(text) {
		return nil, ErrWhere.With("where is not UTF-8.")
	}
	p := whereParser{text: text, of: of}
	if err := p.advance(); err != nil {
		return nil, err
	}
	c, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if p.tok.kind != endToken {
		return nil, badWhere(p.tok.at, "expected and, or, or the end, found %s", p.tok)
	}
	return c, nil
}

type tokenKind int

const (
	endToken tokenKind = iota
	wordToken
	textToken
	numberToken
	signToken
)

type token struct {
	kind tokenKind
	text string // what a text says, else as it stands
	at   int
}

// String shows a token in a message.
func (t token) String() string {
	switch t.kind {
	case endToken:
		return "the end"
	case textToken:
		return "a text"
	default:
		return "'" + clip(t.text, 40) + "'"
	}
}

type whereParser struct {
	text  string
	of    subject
	pos   int
	tok   token
	tests int
}

var (
	wordShape   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*`)
	numberShape = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`)
	signs       = []string{"!=", "<=", ">=", "!~", "=", "<", ">", "~", ":", "(", ")", ",", "."}
)

// advance reads the next token.
func (p *whereParser) advance() error {
	p.pos += len(p.text[p.pos:]) - len(strings.TrimLeft(p.text[p.pos:], " \t\r\n"))
	rest := p.text[p.pos:]
	set := func(kind tokenKind, text string, length int) error {
		p.tok = token{kind, text, p.pos}
		p.pos += length
		return nil
	}
	if rest == "" {
		return set(endToken, "", 0)
	}
	if rest[0] == '"' || rest[0] == '\'' {
		text, length, err := quoted(rest, p.pos)
		if err != nil {
			return err
		}
		return set(textToken, text, length)
	}
	if word := wordShape.FindString(rest); word != "" {
		return set(wordToken, word, len(word))
	}
	if number := numberShape.FindString(rest); number != "" {
		return set(numberToken, number, len(number))
	}
	for _, sign := range signs {
		if strings.HasPrefix(rest, sign) {
			return set(signToken, sign, len(sign))
		}
	}
	_, size := utf8.DecodeRuneInString(rest)
	return badWhere(p.pos, "'%s' means nothing here; a text stands in quotes", rest[:size])
}

// quoted reads a text in quotes of either kind; a backslash is before what
// would else end it, and before a backslash.
func quoted(rest string, at int) (text string, length int, err error) {
	var out strings.Builder
	for i := 1; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == rest[0]:
			return out.String(), i + 1, nil
		case c == '\\' && i+1 < len(rest) && (rest[i+1] == rest[0] || rest[i+1] == '\\'):
			i++
			out.WriteByte(rest[i])
		default:
			out.WriteByte(c)
		}
	}
	return "", 0, badWhere(at, "the text that begins here has no end")
}

func (p *whereParser) is(kind tokenKind, text string) bool {
	return p.tok.kind == kind && strings.EqualFold(p.tok.text, text)
}

// took advances over what is expected.
func (p *whereParser) took(kind tokenKind, text string) (bool, error) {
	if !p.is(kind, text) {
		return false, nil
	}
	return true, p.advance()
}

func (p *whereParser) or(depth int) (condition, error) { return p.chain("or", depth) }

// chain reads terms with the same word between.
func (p *whereParser) chain(word string, depth int) (condition, error) {
	if depth > maxWhereDepth {
		return nil, badWhere(p.tok.at, "nested deeper than %d", maxWhereDepth)
	}
	var terms []condition
	for {
		var term condition
		var err error
		if word == "or" {
			term, err = p.chain("and", depth)
		} else {
			term, err = p.not(depth)
		}
		if err != nil {
			return nil, err
		}
		terms = append(terms, term)
		more, err := p.took(wordToken, word)
		switch {
		case err != nil:
			return nil, err
		case more:
		case len(terms) == 1:
			return terms[0], nil
		case word == "or":
			return anyOf(terms), nil
		default:
			return allOf(terms), nil
		}
	}
}

func (p *whereParser) not(depth int) (condition, error) {
	if depth > maxWhereDepth {
		return nil, badWhere(p.tok.at, "nested deeper than %d", maxWhereDepth)
	}
	if negated, err := p.took(wordToken, "not"); err != nil {
		return nil, err
	} else if negated {
		c, err := p.not(depth + 1)
		return notOf{c}, err
	}
	open := p.tok.at
	if group, err := p.took(signToken, "("); err != nil {
		return nil, err
	} else if group {
		c, err := p.or(depth + 1)
		if err != nil {
			return nil, err
		}
		closed, err := p.took(signToken, ")")
		if err == nil && !closed {
			err = badWhere(p.tok.at, "expected ) for the ( at character %d, found %s", open+1, p.tok)
		}
		return c, err
	}
	return p.test()
}

func (p *whereParser) test() (condition, error) {
	if p.tests++; p.tests > maxWhereTests {
		return nil, badWhere(p.tok.at, "more than %d tests", maxWhereTests)
	}
	if asked, err := p.took(wordToken, "exists"); err != nil {
		return nil, err
	} else if asked {
		path, err := p.field()
		return exists{path}, err
	}
	path, err := p.field()
	if err != nil {
		return nil, err
	}
	negated, err := p.took(wordToken, "not")
	if err != nil {
		return nil, err
	}
	in, err := p.took(wordToken, "in")
	switch {
	case err != nil:
		return nil, err
	case in:
		c, err := p.list(path)
		if negated {
			return notOf{c}, err
		}
		return c, err
	case negated:
		return nil, badWhere(p.tok.at, "expected in after not, found %s", p.tok)
	}
	op := p.tok
	if op.kind != signToken || !slices.Contains(signs[:9], op.text) {
		return nil, badWhere(op.at, "expected one of = != < <= > >= ~ !~ : in, found %s", op)
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	return p.operand(path, op)
}

// field reads the path of a field.
func (p *whereParser) field() ([]string, error) {
	at, first := p.tok.at, p.tok
	if first.kind != wordToken {
		return nil, badWhere(at, "expected a field, found %s", first)
	}
	path := []string{first.text}
	if err := p.advance(); err != nil {
		return nil, err
	}
	for {
		dot, err := p.took(signToken, ".")
		if err != nil {
			return nil, err
		}
		if !dot {
			break
		}
		if p.tok.kind != wordToken && p.tok.kind != textToken && p.tok.kind != numberToken {
			return nil, badWhere(p.tok.at, "expected a key of the metadata after the dot, found %s", p.tok)
		}
		path = append(path, p.tok.text)
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
	known := whereFields[p.of]
	switch {
	case path[0] == "metadata" && len(path) == 1:
		return nil, badWhere(at, "metadata wants a key, such as metadata.object.species")
	case path[0] == "metadata":
	case !slices.Contains(known, path[0]):
		return nil, badWhere(at, "there is no field '%s'; there are %s and metadata.KEY", clip(path[0], 40), strings.Join(known, ", "))
	case len(path) > 1:
		return nil, badWhere(at, "the field '%s' has no keys; those of the metadata begin with metadata", path[0])
	}
	return path, nil
}

func (p *whereParser) list(path []string) (condition, error) {
	if open, err := p.took(signToken, "("); err != nil || !open {
		if err == nil {
			err = badWhere(p.tok.at, "expected ( after in, found %s", p.tok)
		}
		return nil, err
	}
	c := oneOf{path: path}
	for {
		if p.tests++; p.tests > maxWhereTests*4 {
			return nil, badWhere(p.tok.at, "too many values")
		}
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		c.values = append(c.values, v)
		if more, err := p.took(signToken, ","); err != nil {
			return nil, err
		} else if more {
			continue
		}
		closed, err := p.took(signToken, ")")
		if err == nil && !closed {
			err = badWhere(p.tok.at, "expected , or ) in the list, found %s", p.tok)
		}
		return c, err
	}
}

// value reads a literal.
func (p *whereParser) value() (v any, err error) {
	switch t := p.tok; {
	case t.kind == textToken:
		v = t.text
	case t.kind == numberToken:
		v = json.Number(t.text)
	case p.is(wordToken, "true"), p.is(wordToken, "false"):
		v = strings.EqualFold(t.text, "true")
	case p.is(wordToken, "null"):
	default:
		return nil, badWhere(t.at, "expected a text in quotes, a number, true, false or null, found %s", t)
	}
	return v, p.advance()
}

// operand reads what stands right of an operator.
func (p *whereParser) operand(path []string, op token) (condition, error) {
	at := p.tok.at
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	text, isText := v.(string)
	_, isNumber := v.(json.Number)
	switch op.text {
	case "=":
		return compared{path, "=", v}, nil
	case "!=":
		return notOf{compared{path, "=", v}}, nil
	case "<", "<=", ">", ">=":
		if !isText && !isNumber {
			return nil, badWhere(at, "%s wants a number, a date or a text", op.text)
		}
		return compared{path, op.text, v}, nil
	}
	if !isText {
		return nil, badWhere(at, "%s wants a text", op.text)
	}
	if op.text == ":" {
		words := strings.Fields(strings.ToLower(text))
		if len(words) == 0 {
			return nil, badWhere(at, "the text holds no word")
		}
		return holding{path, words}, nil
	}
	if len(text) > maxPatternBytes {
		return nil, badWhere(at, "the regular expression is longer than %d bytes", maxPatternBytes)
	}
	pattern, err := regexp.Compile(text)
	if err != nil {
		return nil, badWhere(at, "invalid regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	if op.text == "!~" {
		return notOf{matching{path, pattern}}, nil
	}
	return matching{path, pattern}, nil
}
