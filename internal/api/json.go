package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/romi/plantdb-go/internal/fsdb/meta"
)

// Bounds of a JSON body; files come another way.
const (
	// maxJSONBody is that of one which holds metadata, or changes of many scans.
	maxJSONBody = 16 << 20
	// maxPlainBody is that of all others: names, lists of them, settings.
	maxPlainBody = 1 << 20
)

// boundOf is the bound of a body that is decoded into a type.
func boundOf(t reflect.Type) int64 {
	if holdsJSON(t) {
		return maxJSONBody
	}
	return maxPlainBody
}

// holdsJSON says whether a type has a place for JSON of any form.
func holdsJSON(t reflect.Type) bool {
	switch t.Kind() { //nolint:exhaustive // The others hold no values.
	case reflect.Pointer, reflect.Map:
		return holdsJSON(t.Elem())
	case reflect.Slice:
		return t.ConvertibleTo(reflect.TypeFor[json.RawMessage]()) || holdsJSON(t.Elem())
	case reflect.Struct:
		for field := range t.Fields() {
			if holdsJSON(field.Type) {
				return true
			}
		}
	}
	return false
}

// jsonFormat writes as upstream does: ASCII with escapes, a newline at the end.
var jsonFormat = huma.Format{
	Marshal: func(w io.Writer, v any) error {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return fmt.Errorf("encode answer: %w", err)
		}
		_, err := w.Write(ascii(buf.Bytes()))
		return err
	},
	Unmarshal: json.Unmarshal,
}

// ascii returns the JSON text with every character beyond ASCII escaped.
func ascii(text []byte) []byte {
	i := 0
	for i < len(text) && text[i] < utf8.RuneSelf {
		i++
	}
	if i == len(text) {
		return text
	}
	out := append(make([]byte, 0, len(text)+len(text)/2), text[:i]...)
	for i < len(text) {
		if c := text[i]; c < utf8.RuneSelf {
			out = append(out, c)
			i++
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		i += size
		if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
			continue
		}
		out = fmt.Appendf(out, `\u%04x`, r)
	}
	return out
}

// Object is a JSON object of any members, passed on as it came: key order and
// numbers are kept. Decoding takes any JSON; the rules say what is no object.
type Object json.RawMessage

// MarshalJSON implements json.Marshaler.
func (o Object) MarshalJSON() ([]byte, error) {
	if len(o) == 0 {
		return []byte("{}"), nil
	}
	return o, nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *Object) UnmarshalJSON(raw []byte) error {
	*o = append((*o)[:0], raw...)
	return nil
}

// Schema implements huma.SchemaProvider.
func (Object) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Description: "Any JSON object."}
}

// Value is any JSON value, passed on as it came.
type Value json.RawMessage

// MarshalJSON implements json.Marshaler.
func (v Value) MarshalJSON() ([]byte, error) { return v, nil }

// Schema implements huma.SchemaProvider.
func (Value) Schema(huma.Registry) *huma.Schema { return &huma.Schema{Description: "Any JSON value."} }

// whole is an integer as JSON Schema has it: 2.0 is one.
type whole int64

// UnmarshalJSON implements json.Unmarshaler.
func (w *whole) UnmarshalJSON(raw []byte) error {
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		var f float64
		const exact = 1 << 53
		if json.Unmarshal(raw, &f) != nil || f != math.Trunc(f) || math.Abs(f) > exact {
			return &json.UnmarshalTypeError{Value: "value that is no whole number", Type: reflect.TypeFor[whole]()}
		}
		n = int64(f)
	}
	*w = whole(n)
	return nil
}

// Schema implements huma.SchemaProvider.
func (whole) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeInteger, Format: "int64"}
}

// Strict is a JSON body that must be there: another content type is 415,
// broken JSON 400. Properties it does not name are ignored, for old clients
// send some.
type Strict[T any] struct{ Value T }

// Resolve reads the body.
func (b *Strict[T]) Resolve(ctx huma.Context) []error {
	if !isJSON(ctx.Header("Content-Type")) {
		return []error{errNotJSON}
	}
	body, err := readBody(ctx, boundOf(reflect.TypeFor[T]()))
	if err != nil {
		return []error{err}
	}
	if err := decode(body, &b.Value); err != nil {
		return []error{err}
	}
	return nil
}

// Lenient is a JSON body that counts as nothing when it is missing or no JSON,
// as upstream reads some, or null, which generated clients send for none.
type Lenient[T any] struct{ Value T }

// Resolve reads the body.
func (b *Lenient[T]) Resolve(ctx huma.Context) []error {
	body, err := readBody(ctx, boundOf(reflect.TypeFor[T]()))
	if err != nil {
		return []error{err}
	}
	if !json.Valid(body) {
		if err := broken(body, nil); err != nil {
			return []error{err}
		}
		return nil
	}
	if string(bytes.TrimSpace(body)) == "null" {
		return nil
	}
	if err := decode(body, &b.Value); err != nil {
		return []error{err}
	}
	return nil
}

func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json"))
}

// readBody reads the body by way of ctx, which puts back what a token finder read,
// and no more of it than the bound.
func readBody(ctx huma.Context, bound int64) ([]byte, error) {
	reader := ctx.BodyReader()
	if reader == nil {
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(reader, bound+1))
	if err != nil {
		return nil, errInvalid
	}
	if int64(len(body)) > bound {
		return nil, errTooLarge.With("The body is larger than %d bytes.", bound)
	}
	return body, nil
}

// decode names the place of a value of the wrong type and never the value.
func decode(body []byte, v any) error {
	err := json.Unmarshal(body, v)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		place := "body"
		if wrong.Field != "" {
			place += "." + wrong.Field
		}
		return wrongKind(place, kindOf(wrong.Value))
	}
	if err != nil {
		return broken(body, errInvalid)
	}
	if place := nullIn("body", body, reflect.TypeOf(v).Elem()); place != "" {
		return wrongKind(place, "null")
	}
	return nil
}

// broken is what is wrong with a text that encoding/json cannot read: that it
// nests too deep, or else err.
func broken(text []byte, err error) error {
	if meta.Deep(text) {
		return meta.ErrTooDeep.With("The JSON is nested deeper than %d objects and lists.", meta.MaxDepth)
	}
	return err
}

func wrongKind(place, kind string) error {
	p := newProblem(http.StatusBadRequest, "invalid_request", fmt.Sprintf("%s: unexpected %s", place, kind))
	p.Errors = []Place{{Location: place, Message: "unexpected " + kind}}
	return p
}

// nullIn returns the place of a null where the document has another type, or
// nothing: encoding/json takes null for all. A required property that is null
// is missing, which its operation says in upstream's words, and what decodes
// itself judges itself. The text is one that decoded.
func nullIn(place string, raw []byte, t reflect.Type) string {
	null := string(bytes.TrimSpace(raw)) == "null"
	if null && t == reflect.TypeFor[Object]() {
		return place
	}
	if !bytes.Contains(raw, []byte("null")) || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return ""
	}
	if null {
		return place
	}
	switch t.Kind() { //nolint:exhaustive // The others hold no values.
	case reflect.Pointer:
		return nullIn(place, raw, t.Elem())
	case reflect.Slice:
		return nullItem(place, raw, t.Elem())
	case reflect.Struct:
		return nullMember(place, raw, t)
	}
	return ""
}

func nullItem(place string, raw []byte, t reflect.Type) string {
	var items []json.RawMessage
	_ = json.Unmarshal(raw, &items) // it decoded before
	for i, item := range items {
		if found := nullIn(fmt.Sprintf("%s[%d]", place, i), item, t); found != "" {
			return found
		}
	}
	return ""
}

func nullMember(place string, raw []byte, t reflect.Type) string {
	var members map[string]json.RawMessage
	_ = json.Unmarshal(raw, &members) // it decoded before
	for field := range t.Fields() {
		tag, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		for name, member := range members {
			required := options == "" && string(member) == "null"
			if !strings.EqualFold(name, tag) || required {
				continue
			}
			if found := nullIn(place+"."+tag, member, field.Type); found != "" {
				return found
			}
		}
	}
	return ""
}

// kindOf drops the literal from encoding/json's "number 12.5".
func kindOf(value string) string {
	kind, _, _ := strings.Cut(value, " ")
	return kind
}
