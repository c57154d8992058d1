package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	fewScans   = 1000
	pagedScans = 10_000
	pageCalls  = 200
	pageMillis = 20
	pageSize   = 50
	flatPages  = 0.5    // of the speed that a page of a thousand scans has
	wideScan   = "WIDE" // stands for a scan with many filesets and files
)

// pages are what people ask lists for.
var pages = []struct{ what, path, query string }{
	{"pages by id", "/scans", ""},
	{"pages of the newest first", "/scans", "sort=-created"},
	{"pages of one species", "/scans", "where=species+%3D+%22Zea+mays%22"},
	{"pages of an age", "/scans", "where=metadata.object.DAG+%3E%3D+30+and+metadata.object.DAG+%3C+32"},
	{"pages by a word", "/scans", "q=plant_77"},
	{"pages by an expression", "/scans", "where=metadata.object.plant_id+~+%22%5Eplant_42%22"},
	{"pages of upstream's filter", "/scans", "filterQuery=%7B%22object%22%3A%7B%22plant_id%22%3A%22plant_7%22%7D%7D"},
	{"pages of upstream's fuzzy filter", "/scans", "fuzzy=true&filterQuery=%7B%22object%22%3A%7B%22species%22%3A%22mays%22%7D%7D"},
	{"pages of infos", "/scans/info", ""},
	{"pages of infos of one species", "/scans/info", "where=species+%3D+%22Zea+mays%22"},
	{"pages of 150 filesets", "/scans/" + wideScan + "/filesets", ""},
	{"pages of filesets by a filter", "/scans/" + wideScan + "/filesets", "filterQuery=%7B%22channel%22%3A3%7D"},
	{"pages of 1000 files", "/filesets/" + wideScan + "/images/files", ""},
	{"pages of files by an expression", "/filesets/" + wideScan + "/images/files", "where=filename+~+%227%5B.%5Djpg%24%22"},
}

// paged is a server whose lists are asked for in pages.
type paged struct {
	*site
	wide string // id of the scan with many filesets and files
}

// openPaged starts a server on a tree to which it adds the wide scan.
func (b *bench) openPaged(ctx context.Context, name string) (paged, error) {
	wide, err := growWide(filepath.Join(b.dir, name))
	if err != nil {
		return paged{}, err
	}
	// Else previews of all that was just imported are made beside the first pages.
	s, err := b.openSite(ctx, name, "--previews", "on-demand")
	return paged{s, wide}, err
}

// fewPaged is what pages of more scans are held against.
func (b *bench) fewPaged(ctx context.Context) (paged, error) {
	return b.paged.get(func() (paged, error) {
		const name = "few"
		if err := growTree(ctx, filepath.Join(b.dir, name), fewScans, 1); err != nil {
			return paged{}, err
		}
		return b.openPaged(ctx, name)
	})
}

// pagesOfTenThousand is of scans of one image.
func pagesOfTenThousand(ctx context.Context, b *bench) ([]result, error) {
	const name = "paged"
	if err := growTree(ctx, filepath.Join(b.dir, name), pagedScans, 1); err != nil {
		return nil, err
	}
	return b.pagesOf(ctx, name, pagedScans)
}

// pagesOf compares pages of a tree of many scans with those of a thousand.
func (b *bench) pagesOf(ctx context.Context, name string, scans int) ([]result, error) {
	small, err := b.fewPaged(ctx)
	if err != nil {
		return nil, err
	}
	large, err := b.openPaged(ctx, name)
	if err != nil {
		return nil, err
	}
	results := make([]result, 0, len(pages))
	for _, p := range pages {
		few, many, err := pageTimes(ctx, small, large, p.path, p.query)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.what, err)
		}
		results = append(results, result{
			what: p.what + fmt.Sprintf(", %d scans, p99", scans), unit: millis, ours: p99(many), limit: p99(few),
			goals: []goal{value(pageMillis), share(flatPages)}, limitIs: fmt.Sprintf("ours of %d scans", fewScans),
		})
	}
	return results, nil
}

// pageTimes walks along the pages of a list on both servers, in turns, and
// returns how long each page took.
func pageTimes(ctx context.Context, small, large paged, path, query string) (few, many []time.Duration, err error) {
	walks := []*walk{small.walk(path, query), large.walk(path, query)}
	for range pageCalls {
		for _, w := range walks {
			err = errors.Join(err, w.step(ctx))
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return walks[0].times, walks[1].times, nil
}

// walk goes along a list, and begins again where it ends.
type walk struct {
	admin       *caller
	first, next string
	times       []time.Duration
}

func (p paged) walk(path, query string) *walk {
	first := fmt.Sprintf("%s%s?limit=%d", api, strings.ReplaceAll(path, wideScan, p.wide), pageSize)
	if query != "" {
		first += "&" + query
	}
	return &walk{admin: p.admin, first: first, next: first}
}

func (w *walk) step(ctx context.Context) (err error) {
	began := time.Now()
	if w.next, err = w.admin.page(ctx, w.next); err != nil {
		return err
	}
	w.times = append(w.times, time.Since(began))
	if w.next == "" {
		w.next = w.first
	}
	return nil
}

// p99 is in milliseconds.
func p99(times []time.Duration) float64 {
	slices.Sort(times)
	return times[len(times)*99/100].Seconds() * 1000
}
