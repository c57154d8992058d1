package scan

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/romi/plantdb-go/db"
)

// stream returns at most n scans after a place, in the order of a search.
type stream func(ctx context.Context, from place, n int) ([]hit, error)

// walkers are the queries for each order.
func (x *search) walker() func(context.Context, db.WalkScansByIDParams) ([]hit, error) {
	type walk = func(context.Context, db.WalkScansByIDParams) ([]hit, error)
	q, pool := x.q, x.pool
	walks := map[order]walk{
		{"id", false}: func(ctx context.Context, p db.WalkScansByIDParams) ([]hit, error) {
			return hits(q.WalkScansByID(ctx, pool, p))
		},
		{"id", true}: func(ctx context.Context, p db.WalkScansByIDParams) ([]hit, error) {
			return hits(q.WalkScansByIDDown(ctx, pool, db.WalkScansByIDDownParams(p)))
		},
		{"created", false}: func(ctx context.Context, p db.WalkScansByIDParams) ([]hit, error) {
			return hits(q.WalkScansByCreated(ctx, pool, db.WalkScansByCreatedParams(p)))
		},
		{"created", true}: func(ctx context.Context, p db.WalkScansByIDParams) ([]hit, error) {
			return hits(q.WalkScansByCreatedDown(ctx, pool, db.WalkScansByCreatedDownParams(p)))
		},
		{"last_modified", false}: func(ctx context.Context, p db.WalkScansByIDParams) ([]hit, error) {
			return hits(q.WalkScansByLastModified(ctx, pool, db.WalkScansByLastModifiedParams(p)))
		},
		{"last_modified", true}: func(ctx context.Context, p db.WalkScansByIDParams) ([]hit, error) {
			return hits(q.WalkScansByLastModifiedDown(ctx, pool, db.WalkScansByLastModifiedDownParams(p)))
		},
		{"owner", false}: func(ctx context.Context, p db.WalkScansByIDParams) ([]hit, error) {
			return hits(q.WalkScansByOwner(ctx, pool, db.WalkScansByOwnerParams(p)))
		},
		{"owner", true}: func(ctx context.Context, p db.WalkScansByIDParams) ([]hit, error) {
			return hits(q.WalkScansByOwnerDown(ctx, pool, db.WalkScansByOwnerDownParams(p)))
		},
		{"species", false}: func(ctx context.Context, p db.WalkScansByIDParams) ([]hit, error) {
			return hits(q.WalkScansBySpecies(ctx, pool, db.WalkScansBySpeciesParams(p)))
		},
		{"species", true}: func(ctx context.Context, p db.WalkScansByIDParams) ([]hit, error) {
			return hits(q.WalkScansBySpeciesDown(ctx, pool, db.WalkScansBySpeciesDownParams(p)))
		},
		{"size", false}: func(ctx context.Context, p db.WalkScansByIDParams) ([]hit, error) {
			return hits(q.WalkScansBySize(ctx, pool, db.WalkScansBySizeParams(p)))
		},
		{"size", true}: func(ctx context.Context, p db.WalkScansByIDParams) ([]hit, error) {
			return hits(q.WalkScansBySizeDown(ctx, pool, db.WalkScansBySizeDownParams(p)))
		},
		{byDue, false}: func(ctx context.Context, p db.WalkScansByIDParams) ([]hit, error) {
			return hits(q.WalkScansByDue(ctx, pool, db.WalkScansByDueParams(p)))
		},
		{byDue, true}: func(ctx context.Context, p db.WalkScansByIDParams) ([]hit, error) {
			return hits(q.WalkScansByDueDown(ctx, pool, db.WalkScansByDueDownParams(p)))
		},
	}
	return walks[x.order]
}

// streams are what the list is merged of: the public scans, and those private
// ones that the actor may see. Of few of the latter the index of their owners
// and groups tells, so that nobody walks past all that others keep private.
func (x *search) streams(ctx context.Context) ([]stream, error) {
	may := sightOf(x.actor)
	along := func(visibility string, everything bool) stream {
		walk := x.walker()
		return func(ctx context.Context, from place, n int) ([]hit, error) {
			return walk(ctx, db.WalkScansByIDParams{
				Visibility: visibility, Key: from.key, After: from.name, Everything: everything,
				Username: may.username, Groups: may.groups, WithBroken: x.withBroken,
				Size: int32(n), //nolint:gosec // bounded by MaxLimit and maxGlanced
			})
		}
	}
	var streams []stream
	if slices.Contains(may.visibilities, Public) {
		streams = append(streams, along(Public, true))
	}
	if slices.Contains(may.visibilities, Private) {
		return append(streams, along(Private, true)), nil
	}
	if may.username == "" && len(may.groups) == 0 {
		return streams, nil
	}
	mine, err := hits(x.q.ListPrivateScans(ctx, x.pool, db.ListPrivateScansParams{
		Sort: x.order.key, Username: may.username, Groups: may.groups, WithBroken: x.withBroken, Size: maxFound + 1,
	}))
	if err != nil {
		return nil, fmt.Errorf("list private scans: %w", err)
	}
	if len(mine) > maxFound {
		return append(streams, along(Private, false)), nil
	}
	slices.SortFunc(mine, func(a, b hit) int { return x.order.compare(a.place(), b.place()) })
	return append(streams, func(_ context.Context, from place, n int) ([]hit, error) {
		i, _ := slices.BinarySearchFunc(mine, from, func(h hit, p place) int {
			if x.order.compare(h.place(), p) <= 0 {
				return -1
			}
			return 1
		})
		return mine[i:min(len(mine), i+n)], nil
	}), nil
}

// window returns the next n scans of all streams.
func (x *search) window(ctx context.Context, streams []stream, from place, n int) ([]hit, error) {
	var all []hit
	for _, s := range streams {
		some, err := s(ctx, from, n)
		if err != nil {
			return nil, fmt.Errorf("walk along the scans: %w", err)
		}
		all = append(all, some...)
	}
	slices.SortFunc(all, func(a, b hit) int { return x.order.compare(a.place(), b.place()) })
	return all[:min(len(all), n)], nil
}

// needs are what has to be read for a condition.
type needs struct{ document, text, tasks bool }

func needsOf(c condition) (n needs) {
	add := func(m needs) {
		n = needs{n.document || m.document, n.text || m.text, n.tasks || m.tasks}
	}
	path := func(p []string) {
		add(needs{document: p[0] == "metadata", text: p[0] == "text", tasks: p[0] == "tasks"})
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
		if contains := c.contains(); string(contains) != "{}" && i.contains == nil {
			i.contains = []json.RawMessage{contains}
		}
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
