package api

import (
	"encoding/json"
	"strings"
)

// pythonLiteral turns a Python dict literal, as str(dict) writes it, into
// JSON: texts in single quotes, True, False and None. ok is false for
// everything else, such as tuples and calls.
func pythonLiteral(text string) (out json.RawMessage, ok bool) {
	var b strings.Builder
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '\'' || c == '"':
			end, quoted := pythonString(text[i:])
			if end < 0 {
				return nil, false
			}
			b.WriteString(quoted)
			i += end
		case isLetter(c):
			end := i
			for end < len(text) && isLetter(text[end]) {
				end++
			}
			b.WriteString(pythonWord(text[i:end]))
			i = end
		default:
			b.WriteByte(c)
			i++
		}
	}
	out = json.RawMessage(b.String())
	return out, json.Valid(out)
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func pythonWord(word string) string {
	switch word {
	case "True":
		return "true"
	case "False":
		return "false"
	case "None":
		return "null"
	}
	return word
}

// pythonString returns where the literal at the start of s ends and its text
// in JSON; end is negative where it has none.
func pythonString(s string) (end int, quoted string) {
	quote := s[0]
	var value strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case quote:
			out, err := json.Marshal(value.String())
			if err != nil {
				return -1, ""
			}
			return i + 1, string(out)
		case '\\':
			if i++; i == len(s) {
				return -1, ""
			}
			switch s[i] {
			case 'n':
				value.WriteByte('\n')
			case 't':
				value.WriteByte('\t')
			case 'r':
				value.WriteByte('\r')
			case '\\', '\'', '"':
				value.WriteByte(s[i])
			default:
				return -1, ""
			}
		default:
			value.WriteByte(s[i])
		}
	}
	return -1, ""
}
