package scan

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// substitute stands where jsonb cannot hold what is in metadata. No filter
// that has it, or what it stands for, in a key or value is left to the
// database: see prune.
const substitute = "\uFFFD"

// maxDigits bounds the digits of a number that jsonb is given; its own bound
// is a number of 131072 digits before the point and 16383 after it.
const maxDigits = 1000

// storable says whether PostgreSQL can hold s as text. What it cannot hold is
// the name of nothing.
func storable(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// cleanText returns s as PostgreSQL can hold it.
func cleanText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, substitute), "\x00", substitute)
}

// printable returns a name that came from outside as text for a message.
func printable(name string) string {
	const long = 300 // a name has at most 255 bytes
	if len(name) > long {
		name = name[:long] + "…"
	}
	return strings.ToValidUTF8(name, substitute)
}

// searchable returns metadata as jsonb can hold it: with a substitute for NUL
// characters and lone surrogates, and null for numbers beyond numeric's range.
// What is shown to clients is not made of it.
func searchable(raw json.RawMessage) json.RawMessage {
	if !bytes.Contains(raw, []byte(`\u`)) && !mayOverflow(raw) {
		return raw
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return json.RawMessage("{}")
	}
	clean, err := encode(cleanValue(v))
	if err != nil {
		return json.RawMessage("{}")
	}
	return clean
}

// mayOverflow says whether raw can hold a number beyond numeric's range: one
// with an exponent, or of very many digits. Texts raise false alarms, which
// cost time only.
func mayOverflow(raw json.RawMessage) bool {
	digits := 0
	for _, c := range raw {
		switch {
		case '0' <= c && c <= '9':
			if digits++; digits > maxDigits {
				return true
			}
		case digits > 0 && (c == 'e' || c == 'E'):
			return true
		default:
			digits = 0
		}
	}
	return false
}

func cleanValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[cleanText(k)] = cleanValue(e)
		}
		return out
	case []any:
		for i := range v {
			v[i] = cleanValue(v[i])
		}
		return v
	case string:
		return cleanText(v)
	case json.Number:
		return cleanNumber(v)
	default:
		return v
	}
}

func cleanNumber(n json.Number) any {
	f, err := strconv.ParseFloat(n.String(), 64)
	if err != nil || len(n) > maxDigits {
		return nil
	}
	if strings.ContainsAny(n.String(), "eE") {
		return f // its exponent is within float64's range, and so within numeric's
	}
	return n
}
