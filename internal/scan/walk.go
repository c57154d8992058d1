package scan

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/romi/plantdb-go/db"
)

// stream looks at n scans after a place, in the order of a search, and returns
// those that can match, with unfit the others too; the n-th in any case.
type stream func(ctx context.Context, from place, n int, unfit bool) ([]hit, error)

// walker is the query for the order.
func (x *search) walker() func(context.Context, db.DBTX, db.WalkScansByIDParams) error {
	type walk = func(context.Context, db.DBTX, db.WalkScansByIDParams) error
	q := x.q
	walks := map[order]walk{
		{"id", false}: func(ctx context.Context, tx db.DBTX, p db.WalkScansByIDParams) error {
			return ran(q.WalkScansByID(ctx, tx, p))
		},
		{"id", true}: func(ctx context.Context, tx db.DBTX, p db.WalkScansByIDParams) error {
			return ran(q.WalkScansByIDDown(ctx, tx, db.WalkScansByIDDownParams(p)))
		},
		{"created", false}: func(ctx context.Context, tx db.DBTX, p db.WalkScansByIDParams) error {
			return ran(q.WalkScansByCreated(ctx, tx, db.WalkScansByCreatedParams(p)))
		},
		{"created", true}: func(ctx context.Context, tx db.DBTX, p db.WalkScansByIDParams) error {
			return ran(q.WalkScansByCreatedDown(ctx, tx, db.WalkScansByCreatedDownParams(p)))
		},
		{"last_modified", false}: func(ctx context.Context, tx db.DBTX, p db.WalkScansByIDParams) error {
			return ran(q.WalkScansByLastModified(ctx, tx, db.WalkScansByLastModifiedParams(p)))
		},
		{"last_modified", true}: func(ctx context.Context, tx db.DBTX, p db.WalkScansByIDParams) error {
			return ran(q.WalkScansByLastModifiedDown(ctx, tx, db.WalkScansByLastModifiedDownParams(p)))
		},
		{"owner", false}: func(ctx context.Context, tx db.DBTX, p db.WalkScansByIDParams) error {
			return ran(q.WalkScansByOwner(ctx, tx, db.WalkScansByOwnerParams(p)))
		},
		{"owner", true}: func(ctx context.Context, tx db.DBTX, p db.WalkScansByIDParams) error {
			return ran(q.WalkScansByOwnerDown(ctx, tx, db.WalkScansByOwnerDownParams(p)))
		},
		{"species", false}: func(ctx context.Context, tx db.DBTX, p db.WalkScansByIDParams) error {
			return ran(q.WalkScansBySpecies(ctx, tx, db.WalkScansBySpeciesParams(p)))
		},
		{"species", true}: func(ctx context.Context, tx db.DBTX, p db.WalkScansByIDParams) error {
			return ran(q.WalkScansBySpeciesDown(ctx, tx, db.WalkScansBySpeciesDownParams(p)))
		},
		{"size", false}: func(ctx context.Context, tx db.DBTX, p db.WalkScansByIDParams) error {
			return ran(q.WalkScansBySize(ctx, tx, db.WalkScansBySizeParams(p)))
		},
		{"size", true}: func(ctx context.Context, tx db.DBTX, p db.WalkScansByIDParams) error {
			return ran(q.WalkScansBySizeDown(ctx, tx, db.WalkScansBySizeDownParams(p)))
		},
		{byDue, false}: func(ctx context.Context, tx db.DBTX, p db.WalkScansByIDParams) error {
			return ran(q.WalkScansByDue(ctx, tx, db.WalkScansByDueParams(p)))
		},
		{byDue, true}: func(ctx context.Context, tx db.DBTX, p db.WalkScansByIDParams) error {
			return ran(q.WalkScansByDueDown(ctx, tx, db.WalkScansByDueDownParams(p)))
		},
	}
	return walks[x.order]
}

// into is the database of a walk, which adds what it comes to to a list. Of those
// whose document came with them, it looks at that at once.
func (x *search) into(list *[]hit) db.DBTX {
	return byRow(x.pool, func(r db.WalkScansByIDRow) {
		h := hitOf(r)
		if len(r.Document) > 0 {
			h.looked, h.matches = true, x.want.holds(&record{id: r.Name, document: x.needs.of(r.Document)})
		}
		*list = append(*list, h)
	})
}

// streams are what the list is merged of: the public scans, and those private
// ones that the actor may see. Of few of the latter the index of their owners
// and groups tells, so that nobody walks past all that others keep private.
func (x *search) streams(ctx context.Context) ([]stream, error) {
	may, i := sightOf(x.actor), &x.index
	along := func(visibility string, everything bool) stream {
		walk := x.walker()
		return func(ctx context.Context, from place, n int, unfit bool) ([]hit, error) {
			var list []hit
			err := walk(ctx, x.into(&list), db.WalkScansByIDParams{
				Visibility: visibility, Key: from.key, After: from.name, Everything: everything,
				Username: may.username, Groups: may.groups, WithBroken: x.withBroken,
				Timelapse: i.timelapse, Owners: i.owners, Species: i.species, Contains: i.contains, Word: i.wordArg(), Whole: wholeText,
				WithDocument: x.needs.documentAlone(), Unfit: unfit,
				Size: int32(n), //nolint:gosec // bounded by MaxLimit and pageBounds
			})
			return list, err
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
		Sort: x.order.key, Username: may.username, Groups: may.groups, WithBroken: x.withBroken,
		Timelapse: i.timelapse, Owners: i.owners, Species: i.species, Contains: i.contains, Word: i.wordArg(), Whole: wholeText,
		Size: int32(x.bounds.found + 1), //nolint:gosec // a bound of ours
	}))
	if err != nil {
		return nil, fmt.Errorf("list private scans: %w", err)
	}
	if len(mine) > x.bounds.found {
		return append(streams, along(Private, false)), nil
	}
	slices.SortFunc(mine, func(a, b hit) int { return x.order.compare(a.place(), b.place()) })
	return append(streams, func(_ context.Context, from place, n int, _ bool) ([]hit, error) {
		i, _ := slices.BinarySearchFunc(mine, from, func(h hit, p place) int {
			if x.order.compare(h.place(), p) <= 0 {
				return -1
			}
			return 1
		})
		next := slices.Clone(mine[i:min(len(mine), i+n)])
		for i := range next {
			next[i].Nth = int64(i + 1)
		}
		return next, nil
	}), nil
}

// window is what a step of a walk came along.
type window struct {
	hits []hit
	// passed is how many scans there were, or a few less.
	passed int
	// end is how far all of them are known; none unless there may be more.
	end *place
}

// window looks at the next n scans of all streams, and at those of the others
// before the n-th of one.
func (x *search) window(ctx context.Context, streams []stream, from place, n int, unfit bool) (w window, err error) {
	parts := make([][]hit, len(streams))
	for i, s := range streams {
		if parts[i], err = s(ctx, from, n, unfit); err != nil {
			return w, fmt.Errorf("walk along the scans: %w", err)
		}
		if len(parts[i]) == 0 {
			continue
		}
		last := parts[i][len(parts[i])-1]
		if at := last.place(); last.Nth == int64(n) && (w.end == nil || x.order.compare(at, *w.end) < 0) {
			w.end = &at
		}
	}
	for _, part := range parts {
		part = slices.DeleteFunc(part, func(h hit) bool { return w.end != nil && x.order.compare(h.place(), *w.end) > 0 })
		if len(part) > 0 {
			w.passed += int(part[len(part)-1].Nth)
		}
		w.hits = append(w.hits, part...)
	}
	slices.SortFunc(w.hits, func(a, b hit) int { return x.order.compare(a.place(), b.place()) })
	return w, nil
}

// walk is a way along a list, in steps: until the page is full, all were passed,
// or enough were looked at; without a limit to the end.
type walk struct {
	*search
	streams []stream
	limit   int
	begin   bool // it began with the list

	at      place
	found   []hit
	further int // matched beyond the limit
	passed  int
	// documents is how many needed a closer look, proposed how many an index
	// would find.
	documents, proposed int

	full, exhausted bool
}

func (x *search) newWalk(ctx context.Context, from place, limit int) (*walk, error) {
	streams, err := x.streams(ctx)
	return &walk{search: x, streams: streams, limit: limit, begin: from == x.order.first(), at: from}, err
}

// over says whether the walk has ended.
func (w *walk) over() bool {
	return w.full || w.exhausted || w.limit > 0 && w.passed > 0 && w.room() <= 0
}

// room is how many scans may still be looked at for a page.
func (w *walk) room() int {
	room := w.bounds.glanced - w.passed
	if w.needs.document {
		left := w.bounds.examined - w.documents
		if w.passed > 0 && w.documents > 0 && left > 0 {
			left = left * w.passed / w.documents
		}
		if w.passed == 0 || w.documents > 0 {
			room = min(room, left)
		}
	}
	return room
}

// size is how many scans the next step looks at: as many as the page will want
// if the others are like those before.
func (w *walk) size() int {
	switch {
	case w.limit == 0 && w.needs.document:
		return w.bounds.examined
	case w.limit == 0:
		return w.bounds.glanced
	case w.want == nil && w.actor.Scope == nil:
		return w.limit + 1
	}
	n := 2 * w.limit
	if w.passed > 0 {
		n = (w.limit - len(w.found) + 1) * (w.passed + 1) / (len(w.found) + 1) * 5 / 4
	}
	return max(1, min(max(n, w.bounds.sample), w.room()))
}

// step looks at some more scans; counted says whether those that an index would
// find are to be counted.
func (w *walk) step(ctx context.Context, counted bool) error {
	next, err := w.window(ctx, w.streams, w.at, w.size(), counted)
	if err != nil {
		return err
	}
	matched, err := w.matching(ctx, next.hits)
	if err == nil && counted {
		err = w.count(ctx, next.hits)
	}
	if err != nil {
		return err
	}
	w.passed += next.passed
	for _, h := range next.hits {
		if h.Contained && h.Worded {
			w.documents++
		}
	}
	if w.exhausted = next.end == nil; !w.exhausted {
		w.at = *next.end
	}
	if room := w.limit - len(w.found); w.limit > 0 && len(matched) >= room {
		w.found = append(w.found, matched[:room]...)
		w.full, w.further = true, len(matched)-room
		w.at = w.found[len(w.found)-1].place()
		return nil
	}
	w.found = append(w.found, matched...)
	return nil
}

// count counts those of the scans that an index would find: that of the words
// finds what has all trigrams of one, be it that it has not the word.
func (w *walk) count(ctx context.Context, passed []hit) error {
	var unsure []hit
	for _, h := range passed {
		switch {
		case h.Contained && h.Worded:
			w.proposed++
		case h.Contained:
			unsure = append(unsure, h)
		}
	}
	return w.read(ctx, unsure, needs{text: sampleText}, func(_ uuid.UUID, r *record) {
		if hasTrigrams(r.text, w.index.word) {
			w.proposed++
		}
	})
}

// expectsFew says whether, if all scans are like those that were looked at, an
// index would find few.
func (w *walk) expectsFew(ctx context.Context) (few bool, err error) {
	scans, err := w.q.EstimateScans(ctx, w.pool)
	if err != nil {
		return false, fmt.Errorf("estimate the number of scans: %w", err)
	}
	// Half as many again, for it is a guess: to have asked the index in vain costs
	// little, and what it finds is counted.
	return int64(w.proposed)*scans*2 <= int64(w.bounds.found)*int64(w.passed)*3, nil
}

// stretch is what the walk has come along.
func (w *walk) stretch(ctx context.Context, from start) (got stretch, err error) {
	got.found = w.found
	by := from.by
	if w.begin && w.exhausted && w.index.useful() {
		by = byIndex // The whole list is short, and an index tells how long.
	}
	got.total, got.atLeast, err = w.total(ctx, len(w.found)+w.further, w.begin && w.exhausted)
	so := from.and(len(w.found), w.further)
	if got.atLeast {
		got.total = max(got.total, so.least)
	}
	if !w.exhausted || w.further > 0 {
		so.least = max(so.least, got.total)
		got.next = &start{w.at, by, so}
	}
	return got, err
}
