package compat

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// direction is which way a value goes, seen from the client. What a client
// sends may be allowed more, what it receives may hold more, never less.
type direction int

const (
	sent direction = iota
	received
)

// resolve follows references, and says by which name.
func resolve(doc, s node) (node, string) {
	name := ""
	for range 10 { // references to references are not endless
		ref := s.text("$ref")
		if ref == "" {
			// 3.0 has a reference with a description in an allOf of one.
			if all := s.list("allOf"); len(all) == 1 {
				s = asNode(all[0])
				continue
			}
			break
		}
		name = ref
		s = doc
		for key := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			s = s.sub(key)
		}
	}
	return s, name
}

func (c *comparer) schema(where string, d direction, older, newer node) {
	a, nameA := resolve(c.older, older)
	b, nameB := resolve(c.newer, newer)
	if nameA != "" && nameB != "" {
		pair := fmt.Sprint(d, nameA, nameB)
		if c.seen[pair] {
			return
		}
		c.seen[pair] = true
		if nameA != nameB {
			c.say(where, "schema %s has become %s, and with it the name of a class", last(nameA), last(nameB))
		}
		where += " (" + last(nameA) + ")"
	}
	c.types(where, d, a, b)
	c.enum(where, d, a, b)
	if d == sent {
		c.bounds(where, a, b)
		c.preset(where, a, b)
	}
	for _, key := range []string{"oneOf", "anyOf", "allOf"} {
		c.alternatives(where, key, d, a.list(key), b.list(key))
	}
	c.properties(where, d, a, b)
	if items := a.sub("items"); items != nil {
		c.schema(where+"[]", d, items, b.sub("items"))
	}
	if more := a.sub("additionalProperties"); more != nil {
		c.schema(where+".*", d, more, b.sub("additionalProperties"))
	}
	if d == sent && a["additionalProperties"] != false && b["additionalProperties"] == false && len(a) > 0 {
		c.say(where, "properties that have no name are refused now")
	}
}

func last(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }

// kinds are the types of a schema; none means any.
func kinds(s node) []string {
	if t := s.text("type"); t != "" {
		if s.yes("nullable") {
			return []string{t, "null"}
		}
		return []string{t}
	}
	return s.texts("type")
}

func (c *comparer) types(where string, d direction, a, b node) {
	had, has := kinds(a), kinds(b)
	lost, by := had, has // what the client sends has to be taken
	if d == received {
		lost, by = has, had // what it receives has to be known
	}
	if len(by) > 0 && len(lost) == 0 {
		c.say(where, "type %v has become %v", orAny(had), orAny(has))
		return
	}
	for _, t := range lost {
		if len(by) > 0 && !slices.Contains(by, t) && (t != "integer" || !slices.Contains(by, "number")) {
			c.say(where, "type %v has become %v", orAny(had), orAny(has))
			return
		}
	}
	if a.text("format") != b.text("format") {
		c.say(where, "format %q has become %q", a.text("format"), b.text("format"))
	}
}

func orAny(types []string) []string {
	if len(types) == 0 {
		return []string{"any"}
	}
	return types
}

func (c *comparer) enum(where string, d direction, a, b node) {
	had, has := a.texts("enum"), b.texts("enum")
	if d == sent {
		for _, v := range had {
			if len(has) > 0 && !slices.Contains(has, v) {
				c.say(where, "value %q is refused now", v)
			}
		}
		if len(had) == 0 && len(has) > 0 {
			c.say(where, "only %v are taken now", has)
		}
		return
	}
	for _, v := range has {
		if len(had) > 0 && !slices.Contains(had, v) {
			c.say(where, "value %q is new, which a generated client does not know", v)
		}
	}
	if len(had) > 0 && len(has) == 0 {
		c.say(where, "any value may come now, which a generated client does not know")
	}
}

// bounds that are narrower refuse what was taken.
func (c *comparer) bounds(where string, a, b node) {
	for key, sign := range map[string]float64{
		"maximum": -1, "maxLength": -1, "maxItems": -1, "maxProperties": -1,
		"minimum": 1, "minLength": 1, "minItems": 1, "minProperties": 1,
	} {
		had, bounded := a[key].(float64)
		if has, ok := b[key].(float64); ok && (!bounded || sign*(has-had) > 0) {
			c.say(where, "%s is %v now", key, has)
		}
	}
	if p := b.text("pattern"); p != "" && p != a.text("pattern") {
		c.say(where, "pattern is %s now", p)
	}
}

// preset compares what holds for who sends nothing.
func (c *comparer) preset(where string, a, b node) {
	if was, ok := a["default"]; ok && !reflect.DeepEqual(was, b["default"]) {
		c.say(where, "default %v has become %v", was, b["default"])
	}
}

// alternatives are a type of their own in a generated client. More of them may
// be sent, fewer received; what is all of something is one type.
func (c *comparer) alternatives(where, key string, d direction, had, has []any) {
	switch {
	case len(had) == 0 && len(has) > 0:
		c.say(where, "it is %s %d now, and with it another type", key, len(has))
		return
	case len(had) > 0 && len(has) == 0:
		c.say(where, "it is %s none any more, and with it another type", key)
		return
	case len(has) < len(had) && (d == sent || key == "allOf"), len(has) > len(had) && (d == received || key == "allOf"):
		c.say(where, "it is %s %d, no more of %d", key, len(has), len(had))
	}
	for i := range min(len(had), len(has)) {
		c.schema(fmt.Sprintf("%s %s %d", where, key, i+1), d, asNode(had[i]), asNode(has[i]))
	}
}

func (c *comparer) properties(where string, d direction, a, b node) {
	must, mustNow := a.texts("required"), b.texts("required")
	for name, p := range a.sub("properties") {
		now, ok := b.sub("properties")[name]
		switch {
		case !ok:
			c.say(where, "property %s is gone", name)
			continue
		case d == received && slices.Contains(must, name) && !slices.Contains(mustNow, name):
			c.say(where, "property %s may be missing now", name)
		}
		c.schema(where+"."+name, d, asNode(p), asNode(now))
	}
	if d != sent {
		return
	}
	for _, name := range mustNow {
		if !slices.Contains(must, name) {
			c.say(where, "property %s is required now", name)
		}
	}
}
