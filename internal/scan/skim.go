package scan

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// Searches look for a few values in thousands of documents. They skim over the
// JSON to find them: to decode all of it costs twenty times as much. What is
// skimmed was checked when it was written or indexed; of what is no JSON
// anything may be found, or nothing.

// Member returns one key of a metadata object, the last one of that name; ok is
// false when it is missing.
func Member(metadata json.RawMessage, key string) (value json.RawMessage, ok bool) {
	eachMember(metadata, func(name, v []byte) {
		if string(keyOf(name)) == key {
			value, ok = v, true
		}
	})
	return value, ok
}

// keyOf is the text of a JSON string, of two quotes at least.
func keyOf(token []byte) []byte {
	inner := token[1 : len(token)-1]
	if bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return inner
	}
	var text string
	if json.Unmarshal(token, &text) != nil {
		return nil
	}
	return []byte(text)
}

// eachMember calls visit with the name, in quotes, and the value of each member
// of an object.
func eachMember(raw []byte, visit func(name, value []byte)) {
	at := blank(raw, 0)
	if at == len(raw) || raw[at] != '{' {
		return
	}
	for {
		at = blank(raw, at+1)
		if at == len(raw) || raw[at] != '"' {
			return
		}
		end := skip(raw, at)
		colon := blank(raw, end)
		from := blank(raw, min(colon+1, len(raw)))
		to := skip(raw, from)
		if to == from || end-at < len(`""`) || raw[end-1] != '"' {
			return
		}
		visit(raw[at:end], raw[from:to:to])
		if at = blank(raw, to); at == len(raw) || raw[at] != ',' {
			return
		}
	}
}

// eachItem calls visit with each item of a list.
func eachItem(raw []byte, visit func(item []byte)) {
	at := blank(raw, 0)
	if at == len(raw) || raw[at] != '[' {
		return
	}
	for {
		from := blank(raw, at+1)
		to := skip(raw, from)
		if to == from {
			return
		}
		visit(raw[from:to:to])
		if at = blank(raw, to); at == len(raw) || raw[at] != ',' {
			return
		}
	}
}

// blank returns where the blanks that begin at a place end.
func blank(raw []byte, at int) int {
	for at < len(raw) && (raw[at] == ' ' || raw[at] == '\n' || raw[at] == '\r' || raw[at] == '\t') {
		at++
	}
	return at
}

// skip returns where the value that begins at a place ends; the place itself
// where none begins.
func skip(raw []byte, at int) int {
	depth := 0
	for at < len(raw) {
		switch raw[at] {
		case '"':
			at = skipText(raw, at)
		case '{', '[':
			depth++
			at++
			continue
		case '}', ']':
			if depth == 0 {
				return at
			}
			depth--
			at++
		case ',', ':', ' ', '\n', '\r', '\t':
			if depth == 0 {
				return at
			}
			at++
			continue
		default:
			at = skipWord(raw, at)
		}
		if depth == 0 {
			return at
		}
	}
	return at
}

// skipText returns where the string that begins at a place ends.
func skipText(raw []byte, at int) int {
	for at++; at < len(raw); at++ {
		switch raw[at] {
		case '\\':
			at++
		case '"':
			return at + 1
		}
	}
	return len(raw)
}

// skipWord returns where the number or literal that begins at a place ends.
func skipWord(raw []byte, at int) int {
	for at++; at < len(raw); at++ {
		switch raw[at] {
		case ',', ':', '}', ']', '{', '[', '"', ' ', '\n', '\r', '\t':
			return at
		}
	}
	return at
}
