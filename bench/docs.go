package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/chromedp/chromedp"
)

// documentRead reads the document as generators and Swagger UI do.
func documentRead(ctx context.Context, b *bench) ([]result, error) {
	s, bare, err := b.sampleAndBare(ctx)
	if err != nil {
		return nil, err
	}
	r := result{what: "the OpenAPI document, 1 client", unit: millis, goals: []goal{value(1)}}
	return b.besideMemory(ctx, r, s, bare, 1, "/openapi.json")
}

// docsVisits is how many browsers open the page, each for the first time.
const docsVisits = 5

// docsPage opens Swagger UI in Chromium, from an empty cache, until it can be
// used, and then the largest of its groups.
func docsPage(ctx context.Context, b *bench) ([]result, error) {
	s, err := b.sampleSite(ctx)
	if err != nil {
		return nil, err
	}
	program, err := exec.LookPath("chromium")
	if err != nil {
		return nil, fmt.Errorf("find Chromium: %w; run tools/ensure.sh chromium", err)
	}
	var visits, opened []float64
	// The first one reads Chromium itself from the disk.
	for range docsVisits + 1 {
		page, group, err := visitDocs(ctx, program, s.admin.base+"/docs/")
		if err != nil {
			return nil, err
		}
		visits = append(visits, float64(page)/float64(time.Millisecond))
		opened = append(opened, float64(group)/float64(time.Millisecond))
	}
	return []result{
		{what: "/docs complete in Chromium, cold cache", unit: millis, ours: median(visits[1:]), goals: []goal{value(1000)}},
		{what: "its largest group opened", unit: millis, ours: median(opened[1:])},
	}, nil
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// visitDocs returns how long the page takes in a browser that is new, from the
// request for it until its groups and the search are there, and how long a click takes to show the operations of a
// group.
func visitDocs(ctx context.Context, program, url string) (page, group time.Duration, err error) {
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	defer stop()
	ctx, leave := chromedp.NewContext(ctx)
	defer leave()
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		return 0, 0, fmt.Errorf("start Chromium: %w", err)
	}
	began := time.Now()
	if err := chromedp.Do(ctx, chromedp.Navigate(url), chromedp.WaitVisible("#operations-tag-scans")); err != nil {
		return 0, 0, fmt.Errorf("open %s: %w", url, err)
	}
	page, began = time.Since(began), time.Now()
	if err := chromedp.Do(ctx, chromedp.Click("#operations-tag-scans"), chromedp.WaitVisible(".opblock")); err != nil {
		return 0, 0, fmt.Errorf("open a group of %s: %w", url, err)
	}
	return page, time.Since(began), nil
}
