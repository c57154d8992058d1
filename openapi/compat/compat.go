// Package compat tells whether a client that was made from one OpenAPI
// document still works with a server that another one describes. It knows
// documents of JSON and nothing of what serves them; a test holds the document
// of today against those that were released.
package compat

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Breaks returns what of the older document a client could rely on and the
// newer one takes away, each in a sentence that begins with its place. An
// error means that a document cannot be read.
func Breaks(older, newer []byte) ([]string, error) {
	c := &comparer{seen: map[string]bool{}}
	for _, d := range []struct {
		raw  []byte
		into *node
	}{{older, &c.older}, {newer, &c.newer}} {
		if err := json.Unmarshal(d.raw, d.into); err != nil {
			return nil, fmt.Errorf("read document: %w", err)
		}
	}
	for path, item := range c.older.sub("paths") {
		for method, op := range asNode(item) {
			c.operation(strings.ToUpper(method)+" "+path, asNode(op), c.newer.sub("paths").sub(path).sub(method))
		}
	}
	c.schemes()
	slices.Sort(c.breaks)
	return slices.Compact(c.breaks), nil
}

// node is a JSON object. That of a key which is not there is nil, and empty.
type node map[string]any

func asNode(v any) node {
	m, _ := v.(map[string]any)
	return m
}

func (n node) sub(key string) node { return asNode(n[key]) }

func (n node) text(key string) string {
	s, _ := n[key].(string)
	return s
}

func (n node) yes(key string) bool { return n[key] == true }

func (n node) list(key string) []any {
	l, _ := n[key].([]any)
	return l
}

func (n node) texts(key string) []string {
	var out []string
	for _, v := range n.list(key) {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

type comparer struct {
	older, newer node
	breaks       []string
	seen         map[string]bool // pairs of references that were compared
}

func (c *comparer) say(where, format string, args ...any) {
	c.breaks = append(c.breaks, where+": "+fmt.Sprintf(format, args...))
}

func (c *comparer) operation(where string, older, newer node) {
	if newer == nil {
		c.say(where, "the operation is gone")
		return
	}
	if a, b := older.text("operationId"), newer.text("operationId"); a != b {
		c.say(where, "operationId %s has become %s, and with it the method's name", a, b)
	}
	for _, tag := range older.texts("tags") {
		if !slices.Contains(newer.texts("tags"), tag) {
			c.say(where, "it is not of the tag %s any more, and with it not of that class", tag)
		}
	}
	c.security(where, older, newer)
	c.parameters(where, older, newer)
	c.requestBody(where, older.sub("requestBody"), newer.sub("requestBody"))
	for status, answer := range older.sub("responses") {
		c.answer(where+" "+status, asNode(answer), newer.sub("responses").sub(status))
	}
	for status := range newer.sub("responses") {
		// A part comes to who asks for one.
		if older.sub("responses")[status] == nil && strings.HasPrefix(status, "2") && status != "206" {
			c.say(where, "status %s is new, which a generated client does not take for success", status)
		}
	}
}

// security says which ways to be let in are taken no more.
func (c *comparer) security(where string, older, newer node) {
	if open(newer) {
		return
	}
	if open(older) {
		c.say(where, "it needs a token now")
	}
	for _, way := range older.list("security") {
		had := asNode(way)
		if len(had) > 0 && !slices.ContainsFunc(newer.list("security"), func(w any) bool { return within(asNode(w), had) }) {
			c.say(where, "%s does not suffice any more", strings.Join(slices.Sorted(maps.Keys(had)), " with "))
		}
	}
}

// within says whether who has all of had also has what way asks for.
func within(way, had node) bool {
	for name := range way {
		if _, ok := had[name]; !ok {
			return false
		}
	}
	return true
}

// schemes compares how what security names is sent.
func (c *comparer) schemes() {
	now := c.newer.sub("components").sub("securitySchemes")
	for name, s := range c.older.sub("components").sub("securitySchemes") {
		where := "security scheme " + name
		if now[name] == nil {
			c.say(where, "it is gone")
			continue
		}
		for _, key := range []string{"type", "scheme", "in", "name"} {
			if a, b := asNode(s).text(key), now.sub(name).text(key); a != b {
				c.say(where, "%s %q has become %q", key, a, b)
			}
		}
	}
}

// open says that the operation can be called without a token.
func open(op node) bool {
	ways := op.list("security")
	return len(ways) == 0 || slices.ContainsFunc(ways, func(w any) bool { return len(asNode(w)) == 0 })
}

func (c *comparer) parameters(where string, older, newer node) {
	byName := func(op node) map[string]node {
		all := map[string]node{}
		for _, p := range op.list("parameters") {
			p := asNode(p)
			all[p.text("in")+" parameter "+p.text("name")] = p
		}
		return all
	}
	had, has := byName(older), byName(newer)
	for name, p := range had {
		now, ok := has[name]
		if !ok {
			c.say(where, "%s is gone", name)
			continue
		}
		if now.yes("required") && !p.yes("required") {
			c.say(where, "%s is required now", name)
		}
		if a, b := styleOf(p), styleOf(now); a != b {
			c.say(where, "%s is written as %s now, no more as %s", name, b, a)
		}
		c.schema(where+" "+name, sent, p.sub("schema"), now.sub("schema"))
	}
	for name, p := range has {
		if _, ok := had[name]; !ok && p.yes("required") {
			c.say(where, "%s is new and required", name)
		}
	}
}

// styleOf is how a parameter is written, where it does not say so as its place
// has it.
func styleOf(p node) string {
	style := p.text("style")
	if in := p.text("in"); style == "" && (in == "query" || in == "cookie") {
		style = "form"
	} else if style == "" {
		style = "simple"
	}
	exploded, said := p["explode"].(bool)
	if said && exploded || !said && style == "form" {
		style += ", exploded"
	}
	return style
}

func (c *comparer) requestBody(where string, older, newer node) {
	if newer.yes("required") && !older.yes("required") {
		c.say(where, "the body is required now")
	}
	if older != nil && newer == nil {
		c.say(where, "the body is gone")
		return
	}
	c.content(where+" body", sent, older.sub("content"), newer.sub("content"))
}

func (c *comparer) answer(where string, older, newer node) {
	if newer == nil {
		c.say(where, "the status is gone")
		return
	}
	for _, code := range older.texts("x-codes") {
		if !slices.Contains(newer.texts("x-codes"), code) {
			c.say(where, "code %s is gone", code)
		}
	}
	for name := range older.sub("headers") {
		if newer.sub("headers")[name] == nil {
			c.say(where, "header %s is gone", name)
		}
	}
	c.content(where, received, older.sub("content"), newer.sub("content"))
}

func (c *comparer) content(where string, d direction, older, newer node) {
	for media, m := range older {
		if newer[media] == nil {
			c.say(where, "content type %s is gone", media)
			continue
		}
		c.schema(where, d, asNode(m).sub("schema"), newer.sub(media).sub("schema"))
	}
}
