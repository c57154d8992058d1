package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// follower reads the stream of events as clients do: where it ends, or the
// server does, it comes again and goes on after what it was told last.
type follower struct {
	mu     sync.Mutex
	caller caller
	last   string   // position
	told   []string // ids, in order
	wrong  []string
	page   string          // up to where compare has read
	made   map[string]bool // files that an event told of
	events int
}

// follow follows from the beginning until the test ends.
func follow(t *testing.T, c caller) *follower {
	t.Helper()
	f := &follower{caller: c, last: "0", page: "0", made: map[string]bool{}}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			f.read(ctx)
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() { stop(); <-done })
	return f
}

// use has the follower come again as c, if it must.
func (f *follower) use(c caller) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.caller = c
}

func (f *follower) seen() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.events
}

// read reads one stream to its end.
func (f *follower) read(ctx context.Context) {
	f.mu.Lock()
	c, after := f.caller, f.last
	f.mu.Unlock()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/api/v1/events", nil)
	if err != nil {
		return
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Last-Event-ID", after)
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return
	}
	defer response.Body.Close() // only read
	if response.StatusCode != http.StatusOK {
		return // it comes again
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	var id, kind, data string
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			id = value
		case "event":
			kind = value
		case "data":
			data = value
		case "":
			f.take(id, kind, data)
			kind, data = "", ""
		}
	}
}

func (f *follower) take(id, kind, data string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if id != "" {
		f.last = id
	}
	switch kind {
	case "", "ready", "end":
		return
	case "reset":
		f.wrong = append(f.wrong, "the stream was reset: "+data)
		return
	}
	var e struct{ ID string }
	if err := json.Unmarshal([]byte(data), &e); err != nil || e.ID == "" {
		f.wrong = append(f.wrong, kind+": "+data)
	}
	f.told = append(f.told, e.ID)
}

// compare waits until the follower was told what the pages of the stream say, in
// that order, each once.
func (f *follower) compare(t *testing.T, when string, admin caller) {
	t.Helper()
	var want []string
	for more := true; more; {
		a := admin.page(t, f.page)
		for _, e := range a.Events {
			want = append(want, e.ID)
			if e.Kind == "file.created" {
				f.made["/files/"+e.Scan+"/"+e.Fileset+"/"+e.File] = true
			}
		}
		f.page, more = a.Next, a.More
	}
	var got []string
	soon(t, when+": the follower is told", func() string {
		f.mu.Lock()
		defer f.mu.Unlock()
		if got = f.told; len(got) < len(want) {
			return "behind"
		}
		return ""
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	if diff := cmp.Diff(want, got[:len(want)]); diff != "" {
		t.Errorf("%s: the stream (-pages +followed):\n%s", when, diff)
	}
	f.events += len(want)
	// What came since begins the next comparison.
	f.told = slices.Clone(f.told[len(want):])
	for _, text := range f.wrong {
		t.Errorf("%s: %s", when, text)
	}
	f.wrong = nil
}

type eventPage struct {
	Events []struct{ ID, Kind, Scan, Fileset, File string }
	Next   string
	More   bool
}

// page reads a page of the stream.
func (c caller) page(t *testing.T, after string) (p eventPage) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.base+"/api/v1/events?after="+after, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Accept", "application/json")
	a := do(t, r)
	if err := json.Unmarshal([]byte(a.Text), &p); err != nil || a.Status != http.StatusOK {
		t.Fatalf("events after %s = %d %s, %v", after, a.Status, a.Text, err)
	}
	return p
}
