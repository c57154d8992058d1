package api

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/romi/plantdb-go/internal/scan"
)

// SearchQuery is what lists are searched, ordered and paged by. It is exported
// for Huma, which fills embedded structs only then.
type SearchQuery struct {
	FilterQuery
	Where string `query:"where" maxLength:"8192" doc:"Only what this holds for, such as: species = \"Arabidopsis thaliana\" and metadata.object.DAG >= 40 and not tasks = \"Colmap\". Fields: id, created, last_modified, text and metadata.KEY.KEY; of scans also owner, visibility, timelapse, species, plant, environment, tasks, files, bytes; of files filename, bytes; of timelapses owner. Tests: = != < <= > >= ~ !~ (regular expression, RE2), : (all words, any case), in (..), not in (..), exists; joined by and, or, not and brackets. See docs/search.md." example:"species = \"Arabidopsis thaliana\" and created >= \"2026-01\""`
	Text  string `query:"q" maxLength:"8192" doc:"Words that must all occur in the id, the keys or the values of the metadata, in any case." example:"arabidopsis col-0"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" doc:"How many a page may have. A page may hold fewer, even none, while its Link header names a next one. Without limit and after the whole list is sent." example:"50"`
	After string `query:"after" maxLength:"1024" doc:"Where the page begins: from the Link header of the page before, with the same other parameters." example:"AUPmU-D3MtQaAHJlYWxfcGxhbnQ"`
	from  url.URL
}

// Resolve implements huma.Resolver. It stands here, as deep in an input as the
// Resolve of a path beside it: Huma calls either only if neither hides the other.
func (q *SearchQuery) Resolve(ctx huma.Context) []error {
	q.from = ctx.URL()
	return q.FilterQuery.Resolve(ctx)
}

// paged says whether a page was asked for, and not the whole list.
func (q *SearchQuery) paged() bool { return q.Limit > 0 || q.After != "" }

// query returns what is asked for; sort is by what. Old clients send sorts that
// no server ever knew: unless something else says that a new one asks, one
// that is not in known counts as none.
func (q *SearchQuery) query(sort, timelapse string, known []string) (scan.Query, error) {
	f, err := q.filter()
	if err != nil {
		return scan.Query{}, err
	}
	if !q.paged() && q.Where == "" && q.Text == "" && !slices.Contains(known, strings.TrimPrefix(sort, "-")) {
		sort = ""
	}
	return scan.Query{Filter: f, Where: q.Where, Text: q.Text, Timelapse: timelapse, Sort: sort, Limit: q.Limit, After: q.After}, nil
}

// PageHeaders are those of a page. They are exported for Huma.
type PageHeaders struct {
	// Link is one line: clients that keep a header as one text would lose all
	// but the last of several. It is a list so that it is added to that of an
	// older path.
	Link     []string `header:"Link" doc:"The next page, if there is one (rel=next), and the first (rel=first)."`
	Total    string   `header:"X-Total-Count" doc:"How many there are in all pages together, as far as they are counted."`
	Relation string   `header:"X-Total-Count-Relation" doc:"eq: X-Total-Count is exact. gte: there are at least as many."`
}

// list is a list of ids, or a page of one.
type list[T any] struct {
	PageHeaders
	Body T
}

func (s *server) pageHeaders(q *SearchQuery, page scan.Page) PageHeaders {
	h := PageHeaders{Total: strconv.Itoa(page.Total), Relation: "eq"}
	var links []string
	if page.AtLeast {
		h.Relation = "gte"
	}
	link := func(rel, after string) {
		u := url.URL{Path: s.config.Prefix + q.from.Path}
		params := q.from.Query()
		params.Del("after")
		if after != "" {
			params.Set("after", after)
		}
		if params.Get("limit") == "" {
			params.Set("limit", "100")
		}
		u.RawQuery = params.Encode()
		links = append(links, "<"+u.String()+`>; rel="`+rel+`"`)
	}
	if page.Next != "" {
		link("next", page.Next)
	}
	link("first", "")
	h.Link = []string{strings.Join(links, ", ")}
	return h
}

// namesOf answers a list of ids in shape: whole, or the page that q asks for.
func namesOf[T any](ctx context.Context, s *server, q *SearchQuery, asked scan.Query,
	whole func(context.Context, scan.Query) ([]string, error), page func(context.Context, scan.Query) (scan.Page, error), shape func([]string) T,
) (*list[T], error) {
	if !q.paged() {
		names, err := whole(ctx, asked)
		if err != nil {
			return nil, err
		}
		return &list[T]{Body: shape(names)}, nil
	}
	p, err := page(ctx, asked)
	if err != nil {
		return nil, err
	}
	return &list[T]{s.pageHeaders(q, p), shape(p.Names)}, nil
}

func asTheyAre(names []string) []string { return names }

// set writes the headers of a page, where the handler writes the body itself.
func (h PageHeaders) set(ctx huma.Context) {
	for _, l := range h.Link {
		ctx.AppendHeader("Link", l)
	}
	if h.Total != "" {
		ctx.SetHeader("X-Total-Count", h.Total)
		ctx.SetHeader("X-Total-Count-Relation", h.Relation)
	}
}

// withPageHeaders documents the headers of a list whose body is written by the handler.
func withPageHeaders(responses map[string]*huma.Response) map[string]*huma.Response {
	text := &huma.Schema{Type: huma.TypeString}
	responses[strconv.Itoa(http.StatusOK)].Headers = map[string]*huma.Param{
		"Link":                   {Schema: text, Description: "The next page, if there is one (rel=next), and the first (rel=first)."},
		"X-Total-Count":          {Schema: text, Description: "How many there are in all pages together, as far as they are counted."},
		"X-Total-Count-Relation": {Schema: text, Description: "eq: X-Total-Count is exact. gte: there are at least as many."},
	}
	return responses
}
