package main

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// figure is something to be measured; it may have several results.
type figure struct {
	name    string
	measure func(context.Context, *bench) ([]result, error)
}

// figures are all that can be measured, in the order of the table.
func figures() []figure {
	return []figure{
		{"token-validation", tokenValidation},
		{"refresh", refresh},
		{"login", login},
		{"login-flood", loginFlood},
		{"revocation", revocationCheck},
		{"scan-read", scanRead},
		{"metadata-read", metadataRead},
		{"id-list", idList},
		{"image-read", imageRead},
		{"thumb-first", thumbFirst},
		{"thumb-cached", thumbCached},
		{"upload-1", uploadsOf(1, 200)},
		{"upload-4", uploadsOf(4, 375)},
		{"upload-flat", uploadFlat},
		{"upload-large", uploadLarge},
		{"upload-archive", uploadArchives},
		{"go-client-call", goClientCall},
		{"go-client-files", goClientFiles},
		{"list-1000", listThousand},
		{"info-1000", infoThousand},
		{"archive-read", readArchive},
		{"voxel-grid", voxelGrid},
		{"document", documentRead},
		{"docs-page", docsPage},
		{"index-5000", indexFiveThousand},
		{"info-5000", infoFiveThousand},
		{"pages-10000", pagesOfTenThousand},
		{"index-100000", indexHundredThousand},
	}
}

// measure prints a table of the figures that o chooses. One that cannot be
// measured is an error at the end, after the table of the others.
func measure(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	t := table{machine: describeMachine()}
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer func() {
		fmt.Fprintln(stderr, "cleaning up")
		err = errors.Join(err, b.close())
	}()
	var errs []error
	for _, f := range figures() {
		if !o.only.MatchString(f.name) || ctx.Err() != nil {
			continue
		}
		fmt.Fprintln(stderr, "measuring", f.name)
		results, err := f.measure(ctx, b)
		if err != nil {
			errs = append(errs, fmt.Errorf("measure %s: %w", f.name, err))
		}
		t.rows = append(t.rows, results...)
	}
	if b.postgres != "" {
		t.machine += ", PostgreSQL " + b.postgres
	}
	return errors.Join(append(errs, t.print(stdout))...)
}
