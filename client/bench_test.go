package client_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/client"
)

// canned answers without a network.
type canned struct{}

func (canned) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Request: r, ContentLength: -1,
		Body: io.NopCloser(strings.NewReader(`{"username":"alice","fullname":"Alice Martin","roles":["contributor"],"groups":["phenotyping"]}`)),
	}, nil
}

// BenchmarkCall is what a call costs beside the network.
func BenchmarkCall(b *testing.B) {
	c, err := client.New("http://plants.example.org", client.WithHTTPClient(&http.Client{Transport: canned{}}), client.WithToken("a.b.c"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Profile(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
