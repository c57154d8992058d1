package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/scan"
)

const tagScans = "scans"

// ListQuery is what lists of scans are filtered and ordered by. It is exported
// for Huma.
type ListQuery struct {
	SearchQuery
	Timelapse string `query:"timelapse_id" doc:"Only scans of this timelapse." example:"growth_series"`
	Sort      string `query:"sort" doc:"id (the default), created, last_modified, owner, species, size or timelapse.scheduled (when a scan was due); with a dash before it the last first." example:"-created"`
}

func (q *ListQuery) query() (scan.Query, error) {
	return q.SearchQuery.query(q.Sort, q.Timelapse, scan.Sorts())
}

// FilterQuery is upstream's filter, from the query string or a JSON body, which
// wins in what it has.
type FilterQuery struct {
	FilterQuery string `query:"filterQuery" doc:"A JSON object that the metadata must match, or words that must all occur in id, keys or values." example:"{\"object\":{\"species\":\"Arabidopsis\"}}"`
	Query       string `query:"query" doc:"Another name of filterQuery." example:"Arabidopsis"`
	Fuzzy       string `query:"fuzzy" doc:"Texts of the filter are regular expressions (RE2), matched from the start." enum:"true,false,True,False,1,0,yes,no," example:"true"`
	body        filterBody
}

// filterBody is a filter in a body.
type filterBody struct {
	FilterQuery json.RawMessage `json:"filterQuery"`
	Query       json.RawMessage `json:"query"`
	Fuzzy       json.RawMessage `json:"fuzzy"`
}

// Resolve takes a filter from the body of a GET, where upstream reads it.
func (q *FilterQuery) Resolve(ctx huma.Context) []error {
	body, err := readBody(ctx, maxPlainBody)
	if err != nil {
		return []error{err}
	}
	var sent filterBody
	if json.Unmarshal(body, &sent) == nil {
		q.body = sent
	}
	return nil
}

func (q *FilterQuery) filter() (scan.Filter, error) {
	text := q.FilterQuery
	if text == "" {
		text = q.Query
	}
	for _, sent := range []json.RawMessage{q.body.Query, q.body.FilterQuery} {
		text = textOf(sent, text)
	}
	return scan.ParseFilter(text, isTrue(textOf(q.body.Fuzzy, q.Fuzzy)))
}

// textOf returns what a member of a body has in place of a parameter: its text,
// or the JSON of anything else; without it, or with null or nothing in it, other.
func textOf(member json.RawMessage, other string) string {
	text := string(member)
	_ = json.Unmarshal(member, &text) // what is no text is itself
	if text == "" || text == "null" {
		return other
	}
	return text
}

func isTrue(s string) bool {
	switch s {
	case "true", "True", "TRUE", "1", "yes":
		return true
	}
	return false
}

type newScan struct {
	Metadata Object `json:"metadata,omitempty" doc:"Metadata of the scan; owner, created, created_by and last_modified are set by the server. timelapse.id puts the scan into that timelapse, sharing names groups, visibility may be private."`
}

// metadataBody is an answer with metadata, or with the value of one key.
type metadataBody struct {
	Metadata Value `json:"metadata" doc:"The metadata; with key its value, an empty object where there is none."`
}

type metadataUpdate struct {
	Metadata Object `json:"metadata" doc:"Keys to set; nested objects are replaced whole. owner, sharing, visibility, created and created_by cannot be set."`
	Replace  bool   `json:"replace,omitempty" doc:"Drop the keys that are not sent; the protected ones stay."`
}

func (u metadataUpdate) update() (scan.Update, error) {
	if len(u.Metadata) == 0 {
		return scan.Update{}, errMissingMetadata
	}
	return scan.Update{Metadata: json.RawMessage(u.Metadata), Replace: u.Replace}, nil
}

// KeyQuery asks for one key of metadata.
type KeyQuery struct {
	Key string `query:"key" doc:"Only the value of this key." example:"owner"`
}

// of answers metadata, or what of it was asked for. Its ETag is that of the
// metadata whole, whichever key is asked for.
func (q KeyQuery) of(c IfNoneMatch) func(metadata json.RawMessage, err error) (*tagged[metadataBody], error) {
	return func(metadata json.RawMessage, err error) (*tagged[metadataBody], error) {
		if err != nil {
			return nil, err
		}
		shown := metadata
		if q.Key != "" {
			var ok bool
			if shown, ok = scan.Member(metadata, q.Key); !ok {
				shown = json.RawMessage("{}") // as upstream's servers of all generations
			}
		}
		return taggedReply(c, scan.Version(metadata), metadataBody{Value(shown)})
	}
}

func (s *server) registerScans() {
	infoSchema := s.api.OpenAPI().Components.Schemas.Schema(infoType, true, "ScanInfo")

	register(s, route{
		id: "list-scans", method: http.MethodGet, path: "/scans", tag: tagScans, security: optional, rate: rateList,
		summary: "List scan ids", doc: "The ids of all scans that you may read.", errors: []int{http.StatusBadRequest},
	}, func(ctx context.Context, in *ListQuery) (*list[[]string], error) {
		q, err := in.query()
		if err != nil {
			return nil, err
		}
		return namesOf(ctx, s, &in.SearchQuery, q, s.scans.Names, s.scans.ScanPage, asTheyAre)
	})
	register(s, route{
		id: "list-scan-infos", method: http.MethodGet, path: "/scans/info", tag: tagScans, security: optional, rate: rateRead,
		summary: "List scans at a glance", doc: "The scan-info objects of all scans that you may read, those that cannot be used among them.",
		errors: []int{http.StatusBadRequest},
		responses: withPageHeaders(answers("Scan-info objects.", map[string]*huma.Schema{
			"application/json": {Type: huma.TypeArray, Items: infoSchema},
		})),
	}, s.listScanInfos)
	register(s, route{
		id: "get-scan", method: http.MethodGet, path: "/scans/{scan_id}", tag: tagScans, security: optional, needs: toRead, rate: rateRead,
		summary: "Read a scan at a glance", doc: "Facts, images, tasks, workspace and camera poses of a scan.",
		errors:    []int{http.StatusNotFound, http.StatusForbidden},
		responses: answers("The scan-info object.", map[string]*huma.Schema{"application/json": infoSchema}),
	}, s.getScan)
	register(s, route{
		id: "create-scan", method: http.MethodPost, path: "/scans/{scan_id}", tag: tagScans, security: required, needs: toCreate, rate: rateCreate,
		faults:  []error{scan.ErrScanExists, scan.ErrUnknownTimelapse, scan.ErrMetadata, scan.ErrBiology, scan.ErrSharing, fsdb.ErrName, fsdb.ErrReserved},
		summary: "Create a scan", doc: "An empty scan that belongs to you.", status: http.StatusCreated,
		errors: []int{http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusLocked, http.StatusInsufficientStorage},
	}, func(ctx context.Context, in *struct {
		ScanPath
		Payload Lenient[newScan]
	}) (*reply[created], error) {
		err := s.scans.Create(ctx, in.Scan, json.RawMessage(in.Payload.Value.Metadata))
		return replyOf(created{"Scan created successfully", in.Scan}, err)
	})
	register(s, route{
		id: "get-scan-metadata", method: http.MethodGet, path: "/scans/{scan_id}/metadata", tag: tagScans, security: optional, needs: toRead, rate: rateRead,
		summary: "Read the metadata of a scan",
		doc:     "All of it, or the value of one key; a key that is not there leaves the answer empty.",
		errors:  []int{http.StatusNotFound, http.StatusForbidden}, responses: orNotModified(),
	}, func(ctx context.Context, in *struct {
		ScanPath
		KeyQuery
		IfNoneMatch
	}) (*tagged[metadataBody], error) {
		return in.of(in.IfNoneMatch)(s.scans.Metadata(ctx, in.Scan))
	})
	register(s, route{
		id: "update-scan-metadata", method: http.MethodPost, path: "/scans/{scan_id}/metadata", tag: tagScans, security: required, needs: toWrite, rate: rateMetadata,
		faults:  []error{errMissingMetadata, scan.ErrMetadata, scan.ErrBiology, scan.ErrMemberElsewhere, scan.ErrPrecondition, errIfMatch},
		summary: "Change the metadata of a scan", doc: "Sets keys and returns all metadata. " + aboutUpdate, errors: writeErrors,
	}, func(ctx context.Context, in *struct {
		ScanPath
		IfMatch
		Payload Strict[metadataUpdate]
	}) (*tagged[metadataBody], error) {
		u, err := in.Payload.Value.update()
		if err != nil {
			return nil, err
		}
		u.Match = in.match
		return KeyQuery{}.of(IfNoneMatch{})(s.scans.SetMetadata(ctx, in.Scan, u))
	})
	register(s, route{
		id: "patch-scan-metadata", method: http.MethodPatch, path: "/scans/{scan_id}/metadata", tag: tagScans, security: required, needs: toWrite, rate: rateMetadata,
		faults:  []error{scan.ErrMetadata, scan.ErrBiology, scan.ErrMemberElsewhere, scan.ErrPrecondition, errIfMatch},
		summary: "Patch the metadata of a scan", doc: aboutPatch, errors: writeErrors,
	}, func(ctx context.Context, in *struct {
		ScanPath
		IfMatch
		Payload Strict[Object]
	}) (*tagged[metadataBody], error) {
		return KeyQuery{}.of(IfNoneMatch{})(s.scans.SetMetadata(ctx, in.Scan, in.patch(in.Payload.Value)))
	})
	register(s, route{
		id: "list-filesets", method: http.MethodGet, path: "/scans/{scan_id}/filesets", tag: tagScans, security: optional, needs: toRead, rate: rateParts,
		summary: "List the filesets of a scan",
		doc:     "Their ids, in the order of files.json.", errors: []int{http.StatusNotFound, http.StatusForbidden},
	}, func(ctx context.Context, in *struct {
		ScanPath
		SearchQuery
		Sort string `query:"sort" doc:"position (in files.json, the default) or id; with a dash before it the last first." example:"-id"`
	}) (*list[filesetList], error) {
		q, err := in.query(in.Sort, "", scan.PartSorts())
		if err != nil {
			return nil, err
		}
		return namesOf(ctx, s, &in.SearchQuery, q, func(ctx context.Context, q scan.Query) ([]string, error) {
			return s.scans.FilesetNames(ctx, in.Scan, q)
		}, func(ctx context.Context, q scan.Query) (scan.Page, error) {
			return s.scans.FilesetPage(ctx, in.Scan, q)
		}, func(names []string) filesetList { return filesetList{names} })
	})
}

// writeErrors are what a change of something that exists can fail with.
var writeErrors = []int{
	http.StatusForbidden, http.StatusNotFound, http.StatusRequestEntityTooLarge,
	http.StatusUnsupportedMediaType, http.StatusLocked, http.StatusInsufficientStorage,
}

type filesetList struct {
	Filesets []string `json:"filesets" doc:"Fileset ids in the order of files.json."`
}

// rawReply is a body that is JSON already.
type rawReply struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	Body        func(huma.Context)
}

func (s *server) getScan(ctx context.Context, in *ScanPath) (*rawReply, error) {
	info, err := s.scans.Info(ctx, in.Scan)
	if err != nil {
		return nil, err
	}
	return &rawReply{"application/json", func(ctx huma.Context) {
		writeAll(ctx, ascii(scan.WithBase(info, s.config.Prefix+base)), newline)
	}}, nil
}

var newline = []byte("\n")

// writeAll writes parts of a body and says whether they came through; a
// connection that fails has nobody to tell.
func writeAll(ctx huma.Context, parts ...[]byte) bool {
	w := ctx.BodyWriter()
	for _, p := range parts {
		if _, err := w.Write(p); err != nil {
			return false
		}
	}
	return true
}

func (s *server) listScanInfos(ctx context.Context, in *ListQuery) (*rawReply, error) {
	return s.infosOf(ctx, in, func(info json.RawMessage) json.RawMessage { return scan.WithBase(info, s.config.Prefix+base) })
}

// infosOf answers scan-info objects in a shape: all, or the page that is asked for.
func (s *server) infosOf(ctx context.Context, in *ListQuery, shape func(json.RawMessage) json.RawMessage) (*rawReply, error) {
	q, err := in.query()
	if err != nil {
		return nil, err
	}
	var list *scan.InfoList
	var headers PageHeaders
	if in.paged() {
		var page scan.Page
		page, list, err = s.scans.InfoPage(ctx, q)
		headers = s.pageHeaders(&in.SearchQuery, page)
	} else {
		list, err = s.scans.Infos(ctx, q)
	}
	if err != nil {
		return nil, err
	}
	first, err := list.Next(ctx)
	if err != nil {
		return nil, err
	}
	return &rawReply{"application/json", func(ctx huma.Context) {
		headers.set(ctx)
		s.writeInfos(ctx, first, shape, list.Next)
	}}, nil
}

// writeInfos writes a list of infos: the first ones, and what next returns until
// that is none. If those cannot be had, the connection ends before the list does,
// so that no client takes a part for the whole.
func (s *server) writeInfos(ctx huma.Context, infos []json.RawMessage, shape func(json.RawMessage) json.RawMessage,
	next func(context.Context) ([]json.RawMessage, error),
) {
	separator := []byte("[")
	for len(infos) > 0 {
		for _, info := range infos {
			if !writeAll(ctx, separator, ascii(shape(info))) {
				return
			}
			separator = []byte(",")
		}
		var err error
		if infos, err = next(ctx.Context()); err != nil {
			_ = problemOf(ctx.Context(), s.log, err) // for the log
			panic(http.ErrAbortHandler)
		}
	}
	if separator[0] == '[' {
		writeAll(ctx, separator)
	}
	writeAll(ctx, []byte("]\n"))
}
