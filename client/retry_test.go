package client_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/romi/plantdb-go/client"
)

// busy refuses each call, and notes when it came.
type busy struct{ calls []time.Time }

func (b *busy) RoundTrip(r *http.Request) (*http.Response, error) {
	b.calls = append(b.calls, time.Now())
	return &http.Response{
		StatusCode: http.StatusServiceUnavailable, Header: http.Header{}, Request: r, Body: io.NopCloser(strings.NewReader("")),
	}, nil
}

// TestBackOff looks at the pauses between attempts, which a fake clock tells to
// the nanosecond: each is twice as long as the one before up to a bound, and
// shortened by up to a half at random.
func TestBackOff(t *testing.T) {
	t.Parallel()
	const (
		wait     = 100 * time.Millisecond
		most     = 3 * time.Second
		attempts = 8 // the pause would be 12.8 seconds at last
		rounds   = 20
	)
	first := map[time.Duration]bool{}
	last := map[time.Duration]bool{}
	synctest.Test(t, func(t *testing.T) {
		for range rounds {
			server := &busy{}
			c, err := client.New("http://plants.example.org", client.WithToken("a.b.c"), client.WithHTTPClient(&http.Client{Transport: server}),
				client.WithRetry(client.Retry{Attempts: attempts, Wait: wait, Most: most}))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Profile(t.Context()); !errors.Is(err, client.ErrUnavailable) {
				t.Fatalf("Profile = %v, want %v", err, client.ErrUnavailable)
			}
			if len(server.calls) != attempts+1 {
				t.Fatalf("the server was called %d times, want once and %d times again", len(server.calls), attempts)
			}
			var pauses []time.Duration
			for i, at := range server.calls[1:] {
				pauses = append(pauses, at.Sub(server.calls[i]))
			}
			for n, pause := range pauses {
				if longest := min(wait<<n, most); pause < longest/2 || pause > longest {
					t.Errorf("pause %d is %v, want from %v to %v", n, pause, longest/2, longest)
				}
			}
			first[pauses[0]], last[slices.Max(pauses[attempts-3:])] = true, true
		}
	})
	if len(first) < 2 || len(last) < 2 {
		t.Errorf("of %d calls the first pauses are %d different ones and the longest %d, want many of both", rounds, len(first), len(last))
	}
}
