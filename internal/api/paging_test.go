package api_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
)

var nextLink = regexp.MustCompile(`<([^>]*)>; rel="next"`)

// following returns all that the pages have which a path leads to.
func (s *site) following(path, key string, headers ...header) (all []string, last answer) {
	s.t.Helper()
	for range 50 {
		last = s.get(path, headers...)
		if last.status != http.StatusOK {
			s.t.Fatalf("GET %s = %d %s", path, last.status, last.body)
		}
		body := last.body
		if key != "" {
			var object map[string]json.RawMessage
			if err := json.Unmarshal(body, &object); err != nil {
				s.t.Fatal(err)
			}
			body = object[key]
		}
		var items []json.RawMessage
		if err := json.Unmarshal(body, &items); err != nil {
			s.t.Fatalf("GET %s: %v in %s", path, err, last.body)
		}
		for _, raw := range items {
			var id string
			var info struct{ ID string }
			if json.Unmarshal(raw, &id) != nil && json.Unmarshal(raw, &info) == nil {
				id = info.ID
			}
			all = append(all, id)
		}
		m := nextLink.FindStringSubmatch(strings.Join(last.header.Values("Link"), ", "))
		if m == nil {
			return all, last
		}
		path = m[1]
	}
	s.t.Fatalf("the pages of %s have no end", path)
	return nil, last
}

// Every list can be had in pages, by its older paths too, and without paging
// parameters is what it always was.
func TestPages(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates, Prefix: "/plantdb"})
	for _, tt := range []struct{ path, key string }{
		{"/plantdb/api/v1/scans", ""}, {"/api/v1/scans/info", ""}, {"/scans", ""}, {"/scans_info", ""},
		{"/api/v1/scans/real_plant/filesets", "filesets"}, {"/scan/real_plant/filesets", "filesets"},
		{"/api/v1/filesets/real_plant/images/files", "files"}, {"/api/fileset/real_plant/images/files", "files"},
		{"/api/v1/timelapses", ""}, {"/api/v1/timelapses/growth_series/scans", ""},
	} {
		whole, plain := s.following(tt.path, tt.key)
		if plain.header.Get("X-Total-Count") != "" || strings.Contains(strings.Join(plain.header.Values("Link"), ""), "rel=\"first\"") || len(whole) == 0 {
			t.Errorf("GET %s without paging has %d and the headers of a page: %v", tt.path, len(whole), plain.header)
		}
		pages, last := s.following(tt.path+"?limit=1", tt.key)
		if !slices.Equal(whole, pages) {
			t.Errorf("pages of %s = %v, want %v", tt.path, pages, whole)
		}
		links := strings.Join(last.header.Values("Link"), ", ")
		if got := len(last.header.Values("Link")); strings.Contains(tt.path, "/v1/") && got != 1 {
			t.Errorf("%s: %d lines of Link, want one for clients that keep only one", tt.path, got)
		}
		if last.header.Get("X-Total-Count-Relation") != "eq" || !strings.Contains(links, `limit=1>; rel="first"`) {
			t.Errorf("last page of %s: %v", tt.path, last.header)
		}
		if strings.HasPrefix(tt.path, "/plantdb") && !strings.Contains(links, "</plantdb/api/v1/scans?limit=1>") {
			t.Errorf("links of %s lack the prefix: %s", tt.path, links)
		}
		for query, code := range map[string]string{
			"?limit=0": "invalid_request", "?limit=1001": "invalid_request", "?limit=x": "invalid_request", "?limit=1&sort=colour": "bad_sort",
			"?after=junk": "bad_cursor", "?where=colour%3D1": "bad_where", "?where=id+%3D+%22%FF%22": "bad_where",
			"?filterQuery=%7B": "bad_filter", "?fuzzy=true&filterQuery=%7B%22a%22%3A%22(%22%7D": "bad_filter",
			"?limit=1&after=" + strings.Repeat("A", 2000): "invalid_request",
		} {
			wantProblem(t, tt.path+query, s.get(tt.path+query), http.StatusBadRequest, code)
		}
		if a := s.get(tt.path + "?sort=colour"); string(a.body) != string(plain.body) {
			t.Errorf("%s?sort=colour = %d %s, want what it is without", tt.path, a.status, a.body)
		}
		if a := s.do(http.MethodHead, tt.path+"?limit=1", ""); a.status != http.StatusOK || a.header.Get("X-Total-Count") == "" || len(a.body) > 0 {
			t.Errorf("HEAD %s = %d %v", tt.path, a.status, a.header)
		}
	}
	where := url.Values{"where": {`not id = "real_plant"`}, "sort": {"-id"}, "limit": {"2"}}
	got, _ := s.following("/api/v1/scans?"+where.Encode(), "")
	if len(got) == 0 || slices.Contains(got, "real_plant") || !slices.IsSortedFunc(got, func(a, b string) int { return strings.Compare(b, a) }) {
		t.Errorf("where and sort = %v", got)
	}
	// A cursor is of one list and one query.
	first := s.get("/api/v1/scans?limit=1")
	m := nextLink.FindStringSubmatch(strings.Join(first.header.Values("Link"), ", "))
	after, err := url.Parse(m[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/api/v1/scans?sort=-id&after=", "/api/v1/scans?q=x&after=", "/api/v1/timelapses?after="} {
		wantProblem(t, path, s.get(path+after.Query().Get("after")), http.StatusBadRequest, "bad_cursor")
	}
}

// Upstream's clients send a filter in the body of a GET, in the query string,
// and as query; the body wins.
func TestFilterPlaces(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	token, _ := s.login("admin")
	s.made(s.do(http.MethodPost, "/api/v1/scans/maize", `{"metadata":{"object":{"species":"Maize"}}}`, bearer(token), asJSON))
	ask := func(path, body string) string {
		return strings.TrimSpace(string(s.do(http.MethodGet, path, body, asJSON).body))
	}
	filter := url.QueryEscape(`{"object":{"species":"Maize"}}`)
	for _, tt := range []struct{ path, body, want string }{
		{"/api/v1/scans", `{"filterQuery":{"object":{"species":"Maize"}}}`, `["maize"]`},
		{"/api/v1/scans", `{"filterQuery":"{\"object\":{\"species\":\"Maize\"}}"}`, `["maize"]`},
		{"/api/v1/scans?filterQuery=" + filter, "", `["maize"]`},
		{"/api/v1/scans?query=" + filter, "", `["maize"]`},
		{"/api/v1/scans?filterQuery=" + filter, `{"filterQuery":{"object":{"species":"none"}}}`, `[]`},
		{"/api/v1/scans?fuzzy=true&filterQuery=" + url.QueryEscape(`{"object":{"species":"M.i"}}`), "", `["maize"]`},
		{"/api/v1/scans?fuzzy=false&filterQuery=" + url.QueryEscape(`{"object":{"species":"M.i"}}`), "", `[]`},
		{"/api/v1/scans?filterQuery=maize", "", `["maize"]`},
		{"/api/v1/scans?query=maize&limit=5", "", `["maize"]`},
		{"/api/v1/scans", `{"query":{"object":{"species":"Maize"}}}`, `["maize"]`},
		{"/api/v1/scans", `{"query":"maize"}`, `["maize"]`},
		{"/api/v1/scans", `{"query":{"none":1},"filterQuery":{"object":{"species":"Maize"}}}`, `["maize"]`},
		{"/api/v1/scans?filterQuery=" + filter, `{"query":{"none":1}}`, `[]`},
		{"/api/v1/scans", `{"filterQuery":{"object":{"species":"M.i"}},"fuzzy":true}`, `["maize"]`},
		{"/api/v1/scans", `{"filterQuery":{"object":{"species":"M.i"}},"fuzzy":"True"}`, `["maize"]`},
		{"/api/v1/scans", `{"filterQuery":{"object":{"species":"M.i"}},"fuzzy":false}`, `[]`},
		{"/api/v1/scans?fuzzy=true", `{"filterQuery":{"object":{"species":"M.i"}},"fuzzy":false}`, `[]`},
		{"/api/v1/scans?fuzzy=true", `{"filterQuery":{"object":{"species":"M.i"}},"fuzzy":null}`, `["maize"]`},
		{"/api/v1/scans?fuzzy=true&filterQuery=" + url.QueryEscape(`{"object":{"species":"M.i"}}`), `{}`, `["maize"]`},
		{"/api/v1/scans/maize/filesets?filterQuery=" + filter, "", `{"filesets":[]}`},
		{"/api/v1/scans/real_plant/filesets", `{"filterQuery":{"none":1}}`, `{"filesets":[]}`},
		{"/api/v1/filesets/real_plant/images/files", `{"filterQuery":{"none":1}}`, `{"files":[]}`},
		{"/scans_info", `{"filterQuery":{"none":1}}`, `[]`},
		{"/scans", `{"filterQuery":{"object":{"species":"Maize"}}}`, `["maize"]`},
	} {
		if got := ask(tt.path, tt.body); got != tt.want {
			t.Errorf("GET %s %s = %s, want %s", tt.path, tt.body, got, tt.want)
		}
	}
	for _, path := range []string{"/api/v1/scans", "/api/v1/scans/info", "/scans_info", "/api/v1/scans/real_plant/filesets", "/api/v1/filesets/real_plant/images/files"} {
		a := s.do(http.MethodGet, path, `{"filterQuery":{"a":"("},"fuzzy":true}`, asJSON)
		wantProblem(t, "a bad expression in the body for "+path, a, http.StatusBadRequest, "bad_filter")
	}
}
