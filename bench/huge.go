package main

import (
	"context"
	"fmt"
	"path/filepath"
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
	paged, err := b.pagesOf(ctx, name, hugeScans)
	return append(results, paged...), err
}
