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
)

// holdings are what a server that leaks has more and more of.
type holdings struct {
	descriptors, goroutines int
	memory                  float64 // resident, in MB
}

// soak reads all kinds of things with some clients for a while, and prints what
// the server holds meanwhile: what grows from line to line is a leak.
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
	reading := s.mixedReading()
	fmt.Fprintf(stderr, "reading for %v\n", o.soak)
	tw := tabwriter.NewWriter(stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "AFTER\tREQUESTS/S\tDESCRIPTORS\tGOROUTINES\tMEMORY")
	step := soakWarmth
	for look := range soakLooks + 1 {
		done, err := reading.run(ctx, step)
		if err != nil {
			return errors.Join(err, tw.Flush())
		}
		held, err := s.holds(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(tw, "%v\t%.0f\t%d\t%d\t%.1f MB\n", time.Duration(look)*o.soak/soakLooks, done.rate(), held.descriptors, held.goroutines, held.memory)
		step = o.soak / soakLooks
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	return nil
}

// mixedReading asks for what viewers and scripts do, one after the other.
func (s *site) mixedReading() *load {
	scan := "/scans/" + photoScan
	paths := []string{
		scan, scan + "/metadata", "/scans", "/scans/info", scan + "/filesets", "/filesets/" + photoScan + "/images/files",
		"/files/" + photoScan + "/images/" + photoID(0) + "/metadata", "/health",
	}
	return s.admin.callsEach(soakClients, http.MethodGet, func(j job) string {
		n := j.number / (len(paths) + 3)
		switch i := j.number % (len(paths) + 3); i {
		case len(paths):
			return imagePath(n%photoCount, "orig")
		case len(paths) + 1:
			return imagePath(n%photoCount, "thumb")
		case len(paths) + 2:
			return imagePath(n%photoCount, "large")
		default:
			return api + paths[i]
		}
	})
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
