package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

const hugeScans = 100_000

// indexHundredThousand is of scans of one image: what costs here are scans.
func indexHundredThousand(ctx context.Context, b *bench) ([]result, error) {
	const name = "huge"
	root := filepath.Join(b.dir, name)
	if err := growTree(ctx, root, hugeScans, 1); err != nil {
		return nil, err
	}
	first, err := b.importBeside(ctx, root, readDocuments)
	if err != nil {
		return nil, err
	}
	again, err := b.importBeside(ctx, root, lookAtFiles)
	if err != nil {
		return nil, err
	}
	start, err := b.restart(ctx, root)
	if err != nil {
		return nil, err
	}
	results := []result{
		{
			what: fmt.Sprintf("first import, %d scans of one image", hugeScans), unit: seconds, ours: first.took.Seconds(),
			limit: first.limit.Seconds(), limitIs: "reading the JSON files; ours makes the database, too",
		},
		{what: "  peak memory", unit: megabytes, ours: first.peak, goals: []goal{value(indexMemory)}},
		{
			what: "import without changes", unit: seconds, ours: again.took.Seconds(), limit: again.limit.Seconds(),
			goals: []goal{value(10)}, limitIs: "asking for size and time of all files; ours starts PostgreSQL, too",
		},
		{
			what: "restart to a healthy answer", unit: seconds, ours: start.healthy.Seconds(), limit: start.limit.Seconds(),
			goals: []goal{value(2)}, limitIs: "PostgreSQL alone, to its first answer",
		},
		{what: "  peak memory", unit: megabytes, ours: start.peak, goals: []goal{value(indexMemory)}},
	}
	paged, err := b.pagesOfHuge(ctx, name)
	return append(results, paged...), err
}

// pagesOfHuge compares pages of that tree with those of a thousand scans.
func (b *bench) pagesOfHuge(ctx context.Context, name string) ([]result, error) {
	small, err := b.thousandSite(ctx)
	if err != nil {
		return nil, err
	}
	huge, err := b.openSite(ctx, name)
	if err != nil {
		return nil, err
	}
	var results []result
	for _, p := range pages {
		few, err := small.pageTimes(ctx, p.query)
		if err != nil {
			return nil, fmt.Errorf("%s of a thousand: %w", p.what, err)
		}
		many, err := huge.pageTimes(ctx, p.query)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.what, err)
		}
		results = append(results, result{
			what: p.what + fmt.Sprintf(", %d scans, p99", hugeScans), unit: millis, ours: p99(many), limit: p99(few),
			goals: []goal{value(20)}, limitIs: "ours of 1,000 scans",
		})
	}
	return results, nil
}

// pages are what people ask lists of scans for, fifty at a time.
var pages = []struct{ what, query string }{
	{"pages by id", ""},
	{"pages of the newest first", "sort=-created"},
	{"pages of one species", "where=species+%3D+%22Zea+mays%22"},
	{"pages of an age", "where=metadata.object.DAG+%3E%3D+30+and+metadata.object.DAG+%3C+32"},
	{"pages by a word", "q=plant_77"},
	{"pages by an expression", "where=metadata.object.plant_id+~+%22%5Eplant_42%22"},
	{"pages of upstream's filter", "filterQuery=%7B%22object%22%3A%7B%22plant_id%22%3A%22plant_7%22%7D%7D"},
	{"pages of upstream's fuzzy filter", "fuzzy=true&filterQuery=%7B%22object%22%3A%7B%22species%22%3A%22mays%22%7D%7D"},
}

const pageCalls = 200

// pageTimes walks along the pages of a query, from its first page again where
// they end, and returns how long each took.
func (s *site) pageTimes(ctx context.Context, query string) ([]time.Duration, error) {
	first := api + "/scans?limit=50"
	if query != "" {
		first += "&" + query
	}
	times := make([]time.Duration, 0, pageCalls)
	for path := first; len(times) < pageCalls; {
		began := time.Now()
		next, err := s.admin.page(ctx, path)
		if err != nil {
			return nil, err
		}
		times = append(times, time.Since(began))
		if path = next; path == "" {
			path = first
		}
	}
	return times, nil
}

// p99 is in milliseconds.
func p99(times []time.Duration) float64 {
	slices.Sort(times)
	return times[len(times)*99/100].Seconds() * 1000
}
