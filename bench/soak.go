package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

const (
	soakClients = 16
	// soakLooks is how often the server is looked at, in equal steps.
	soakLooks = 10
	// soakWarmth comes before the first look, so that connections, caches and
	// previews are there by then.
	soakWarmth = 10 * time.Second
	// soakRest comes before each look, for the server to let go of what a client
	// has just left.
	soakRest = time.Second
)

// holdings are what a server that leaks has more and more of.
type holdings struct {
	descriptors, goroutines int
	memory                  float64 // resident, in MB
}

// soak reads all kinds of things with some clients for a while, and prints what
// the server holds meanwhile: what grows from line to line is a leak. A request
// that fails is counted, and told of at the end.
func soak(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	s, err := b.sampleSite(ctx)
	if err != nil {
		return err
	}
	kinds, err := s.mixedReading(ctx)
	if err != nil {
		return err
	}
	var failed failures
	reading := &load{clients: soakClients, do: func(ctx context.Context, j job) error {
		failed.add(ctx, kinds[j.number%len(kinds)](ctx, j.number/len(kinds)))
		return nil
	}}
	fmt.Fprintf(stderr, "reading %d kinds of things for %v\n", len(kinds), o.soak)
	tw := tabwriter.NewWriter(stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "AFTER\tREQUESTS/S\tERRORS\tDESCRIPTORS\tGOROUTINES\tMEMORY")
	step := soakWarmth
	for look := range soakLooks + 1 {
		done, err := reading.run(ctx, step)
		if err != nil {
			return errors.Join(err, tw.Flush())
		}
		select {
		case <-time.After(soakRest):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), tw.Flush())
		}
		held, err := s.holds(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(tw, "%v\t%.0f\t%d\t%d\t%d\t%.1f MB\n", time.Duration(look)*o.soak/soakLooks, done.rate(), failed.count(),
			held.descriptors, held.goroutines, held.memory)
		step = o.soak / soakLooks
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	return failed.err()
}

// failures are what went wrong while it went on.
type failures struct {
	mu    sync.Mutex
	n     int
	first error
}

// add counts err unless it is of the end of all.
func (f *failures) add(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n++; f.n == 1 {
		f.first = err
	}
}

func (f *failures) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

func (f *failures) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n == 0 {
		return nil
	}
	return fmt.Errorf("%d requests failed, the first: %w", f.n, f.first)
}

// kindOf is one kind of thing to ask for, for the n-th time.
type kindOf func(ctx context.Context, n int) error

// mixedReading is what viewers, scripts and pipelines ask for.
func (s *site) mixedReading(ctx context.Context) ([]kindOf, error) {
	const (
		scan, images   = "/scans/" + photoScan, "/" + photoScan + "/images"
		analyzed, part = "real_plant_analyzed", 1 << 20
	)
	photo := func(n int) string { return photoID(n % photoCount) }
	var kinds []kindOf
	ask := func(r request, path func(n int) string) {
		kinds = append(kinds, func(ctx context.Context, n int) error {
			r := r
			r.method, r.path = http.MethodGet, path(n)
			_, err := s.admin.call(ctx, r)
			return err
		})
	}
	for _, path := range []string{
		scan, "/scans/" + analyzed, scan + "/metadata", "/filesets" + images + "/metadata", "/scans", "/scans/info", scan + "/filesets", "/filesets" + images + "/files",
		"/scans?limit=2&sort=-created", "/scans/info?limit=2", "/scans?q=arabidopsis", "/scans?where=metadata.object.DAG+%3E+5",
		"/scans?fuzzy=true&filterQuery=%7B%22object%22%3A%7B%22species%22%3A%22Arab%22%7D%7D", "/filesets" + images + "/files?where=id+~+%227_rgb%24%22&limit=5",
		"/timelapses", "/timelapses/growth_series/scans", "/assets/skeleton/" + analyzed, "/assets/sequence/" + analyzed,
		"/assets/files/" + photoScan + "/files.json", "/assets/archive/" + analyzed + "?fileset=images", "/health",
	} {
		ask(request{}, func(int) string { return api + path })
	}
	for _, size := range []string{"orig", "thumb", "large"} {
		ask(request{}, func(n int) string { return imagePath(n, size) })
	}
	ask(request{}, func(n int) string { return api + "/files" + images + "/" + photo(n) + "/metadata" })
	ask(request{}, func(n int) string { return api + "/files" + images + "/" + photo(n) })
	ask(request{}, func(n int) string { return api + "/assets/files" + images + "/" + photo(n) + ".jpg" })
	ask(request{}, func(n int) string {
		return fmt.Sprintf("%s/assets/image%s/%s?size=%d", api, images, photo(n), 200+n%10)
	})
	for _, path := range []string{"/assets/pointcloud/%s?size=%d", "/assets/pointcloud/%s?coords=true&size=%d", "/assets/mesh/%s?size=%d"} {
		ask(request{}, func(n int) string { return fmt.Sprintf(api+path, analyzed, 2+n%5) })
	}
	// A part of an archive and of a photo, as who goes on with a download asks.
	for n := range 3 {
		ranged := request{status: http.StatusPartialContent, headers: map[string]string{"Range": fmt.Sprintf("bytes=%d-%d", n*part, (n+1)*part-1)}}
		ask(ranged, func(int) string { return api + "/assets/archive/" + photoScan })
	}
	ask(request{status: http.StatusPartialContent, headers: map[string]string{"Range": "bytes=0-99,1000-1999"}}, func(n int) string { return imagePath(n, "orig") })
	for _, path := range []string{scan + "/metadata", "/files" + images + "/" + photoID(0), "/assets/archive/" + photoScan, "/assets/image" + images + "/" + photoID(0)} {
		tag, err := s.admin.opening(ctx, api+path)
		if err != nil {
			return nil, err
		}
		ask(request{status: http.StatusNotModified, headers: map[string]string{"If-None-Match": tag}}, func(int) string { return api + path })
	}
	ask(request{headers: map[string]string{"Accept": "application/json"}}, func(int) string { return api + "/events?limit=50" })
	// A stream that is left again, and an archive that nobody reads to its end.
	for _, path := range []string{"/events", "/assets/archive/" + photoScan} {
		kinds = append(kinds, func(ctx context.Context, _ int) error { return s.admin.begin(ctx, api+path) })
	}
	return kinds, nil
}

// holds asks the system and the server's own metrics.
func (s *site) holds(ctx context.Context) (h holdings, err error) {
	pid := s.server.cmd.Process.Pid
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return h, fmt.Errorf("count descriptors: %w", err)
	}
	h.descriptors = len(open)
	if h.memory, err = memoryOf(pid, "VmRSS:"); err != nil {
		return h, err
	}
	metrics, err := s.admin.get(ctx, "/metrics")
	if err != nil {
		return h, err
	}
	const name = "\ngo_goroutines "
	_, after, found := bytes.Cut(metrics, []byte(name))
	if _, err := fmt.Sscan(string(after), &h.goroutines); !found || err != nil {
		return h, fmt.Errorf("no number of %s in the metrics: %w", strings.TrimSpace(name), err)
	}
	return h, nil
}
