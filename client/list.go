package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"

	plantdbapi "github.com/romi/plantdb-go/openapi/clients/go"
)

// Query says which scans a list has, and in which order. The zero Query has all.
type Query struct {
	// Filter are metadata that a scan must have; texts are regular
	// expressions, matched from the start, if Fuzzy is set.
	Filter map[string]any
	Fuzzy  bool
	// Where is an expression, such as
	//
	//	species = "Arabidopsis thaliana" and metadata.object.DAG >= 40
	//
	// docs/search.md has the language.
	Where string
	// Text are words that must all occur.
	Text string
	// Timelapse is the one that the scans belong to.
	Timelapse string
	// Sort is id, created, last_modified, owner, species, size or
	// timelapse.scheduled, with a dash before it the last first.
	Sort string
	// PageSize is how many are asked for at once, 100 if it is not set; at
	// most 1000.
	PageSize int
}

const defaultPage = 100

// plain says whether upstream's Python server understands q.
func (q Query) plain() bool {
	return q.Where == "" && q.Text == "" && (q.Sort == "" || q.Sort == "timelapse.scheduled")
}

// Scans lists the ids of the scans that q describes, page by page as they are
// taken. An error ends the list.
//
// Upstream's Python server knows Filter, Fuzzy, Timelapse and the sort
// timelapse.scheduled; anything else is ErrUnsupported there, and never a list
// of scans that were not asked for.
func (c *Client) Scans(ctx context.Context, q Query) iter.Seq2[string, error] {
	return pages[string](c, q, func(p page) (*http.Response, error) {
		params := plantdbapi.ListScansParams{
			FilterQuery: p.filter, Where: opt(q.Where), Q: opt(q.Text), Limit: &p.limit, After: opt(p.after),
			TimelapseID: opt(q.Timelapse), Sort: opt(q.Sort),
		}
		if q.Fuzzy {
			params.Fuzzy = new(plantdbapi.ListScansParamsFuzzyTrue)
		}
		return c.api.ListScans(ctx, &params, p.editors...)
	})
}

// ScanInfos is [Client.Scans] with what a list shows of each.
func (c *Client) ScanInfos(ctx context.Context, q Query) iter.Seq2[ScanInfo, error] {
	return pages[ScanInfo](c, q, func(p page) (*http.Response, error) {
		params := plantdbapi.ListScanInfosParams{
			FilterQuery: p.filter, Where: opt(q.Where), Q: opt(q.Text), Limit: &p.limit, After: opt(p.after),
			TimelapseID: opt(q.Timelapse), Sort: opt(q.Sort),
		}
		if q.Fuzzy {
			params.Fuzzy = new(plantdbapi.ListScanInfosParamsFuzzyTrue)
		}
		return c.api.ListScanInfos(ctx, &params, p.editors...)
	})
}

// page is what to ask for.
type page struct {
	filter  *string
	limit   int64
	after   string
	editors []plantdbapi.RequestEditorFn
}

func opt(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func pages[T any](c *Client, q Query, get func(page) (*http.Response, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		p := page{limit: defaultPage}
		if q.PageSize > 0 {
			p.limit = int64(q.PageSize)
		}
		if len(q.Filter) > 0 {
			text, err := json.Marshal(q.Filter)
			if err != nil {
				yield(none, fmt.Errorf("plantdb: filter: %w", err))
				return
			}
			p.filter = new(string(text))
		}
		for more := true; more; more = p.after != "" {
			items, next, err := onePage[T](c, q, p, get)
			if err != nil {
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			p.after = next
		}
	}
}

// onePage returns a page and where the next one begins.
func onePage[T any](c *Client, q Query, p page, get func(page) (*http.Response, error)) ([]T, string, error) {
	if p.filter != nil && c.upstream.Load() {
		p.editors = append(p.editors, filterInBody(*p.filter))
	}
	resp, err := get(p)
	if err != nil {
		return nil, "", err
	}
	if _, pages := resp.Header["Link"]; !pages && resp.StatusCode == http.StatusOK && isJSON(resp) && len(p.editors) == 0 {
		// No server but the Python one sends the whole list when asked for a page.
		if !q.plain() {
			drop(resp)
			return nil, "", &Error{Op: opOf(resp.Request), Status: resp.StatusCode, Message: "the server knows neither where, text nor that order", kinds: []error{ErrUnsupported}}
		}
		c.upstream.Store(true)
		if p.filter != nil {
			drop(resp)
			return onePage[T](c, q, p, get)
		}
	}
	next := nextAfter(resp)
	items, err := decoded[[]T](resp, nil)
	return items, next, err
}

// nextAfter reads where the next page begins.
func nextAfter(resp *http.Response) string {
	for _, link := range resp.Header.Values("Link") {
		target, rel, _ := strings.Cut(link, ">")
		if !strings.Contains(rel, `rel="next"`) {
			continue
		}
		if u, err := url.Parse(strings.TrimPrefix(strings.TrimSpace(target), "<")); err == nil {
			return u.Query().Get("after")
		}
	}
	return ""
}

// filterInBody puts a filter where the Python server looks for it: into the
// body of a GET.
func filterInBody(filter string) plantdbapi.RequestEditorFn {
	body := []byte(`{"filterQuery": ` + filter + `}`)
	return func(_ context.Context, req *http.Request) error {
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		req.Body, _ = req.GetBody()
		req.ContentLength = int64(len(body))
		req.Header.Set("Content-Type", "application/json")
		return nil
	}
}
