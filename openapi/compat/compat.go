// Package compat tells whether a client that was made from one OpenAPI
// document still works with a server that another one describes. It knows
// documents of JSON and nothing of what serves them; a test holds the document
// of today against those that were released.
package compat

import (
	"encoding/json"
	"fmt"
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
	if open(older) && !open(newer) {
		c.say(where, "it needs a token now")
	}
	c.parameters(where, older, newer)
	c.requestBody(where, older.sub("requestBody"), newer.sub("requestBody"))
	for status, answer := range older.sub("responses") {
		c.answer(where+" "+status, asNode(answer), newer.sub("responses").sub(status))
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
		c.schema(where+" "+name, sent, p.sub("schema"), now.sub("schema"))
	}
	for name, p := range has {
		if _, ok := had[name]; !ok && p.yes("required") {
			c.say(where, "%s is new and required", name)
		}
	}
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
