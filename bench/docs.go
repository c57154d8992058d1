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

// docsPage opens Swagger UI in Chromium, from an empty cache, until it shows
// the operations.
func docsPage(ctx context.Context, b *bench) ([]result, error) {
	s, err := b.sampleSite(ctx)
	if err != nil {
		return nil, err
	}
	program, err := exec.LookPath("chromium")
	if err != nil {
		return nil, fmt.Errorf("find Chromium: %w; run tools/ensure.sh chromium", err)
	}
	var visits []float64
	// The first one reads Chromium itself from the disk.
	for range docsVisits + 1 {
		took, err := visitDocs(ctx, program, s.admin.base+"/docs/")
		if err != nil {
			return nil, err
		}
		visits = append(visits, float64(took)/float64(time.Millisecond))
	}
	visits = visits[1:]
	slices.Sort(visits)
	return []result{{
		what: "/docs complete in Chromium, cold cache", unit: millis, ours: visits[len(visits)/2], goals: []goal{value(1000)},
	}}, nil
}

// visitDocs returns how long the page takes in a browser that is new, from the
// request for it until its operations are there.
func visitDocs(ctx context.Context, program, url string) (took time.Duration, err error) {
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	defer stop()
	ctx, leave := chromedp.NewContext(ctx)
	defer leave()
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		return 0, fmt.Errorf("start Chromium: %w", err)
	}
	began := time.Now()
	if err := chromedp.Do(ctx, chromedp.Navigate(url), chromedp.WaitVisible(".opblock")); err != nil {
		return 0, fmt.Errorf("open %s: %w", url, err)
	}
	return time.Since(began), nil
}
