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

// listQuery is what lists of scans are filtered and ordered by.
type listQuery struct {
	FilterQuery
	Timelapse string `query:"timelapse_id" doc:"Only scans of this timelapse." example:"growth_series"`
	Sort      string `query:"sort" doc:"timelapse.scheduled orders by when a scan was due; anything else is by id." example:"timelapse.scheduled"`
}

func (q *listQuery) query() (scan.Query, error) {
	f, err := q.filter()
	if q.Sort != "timelapse.scheduled" {
		q.Sort = ""
	}
	return scan.Query{Filter: f, Timelapse: q.Timelapse, Sort: q.Sort}, err
}

// FilterQuery is upstream's filter, from the query string or a JSON body,
// which wins.
type FilterQuery struct {
	FilterQuery string `query:"filterQuery" doc:"A JSON object that the metadata must match, or words that must all occur in id, keys or values." example:"{\"object\":{\"species\":\"Arabidopsis\"}}"`
	Query       string `query:"query" doc:"Another name of filterQuery." example:"Arabidopsis"`
	Fuzzy       string `query:"fuzzy" doc:"Texts of the filter are regular expressions (RE2), matched from the start." enum:"true,false,True,False,1,0,yes,no," example:"true"`
	body        json.RawMessage
}

// Resolve takes a filter from the body of a GET, where upstream reads it.
func (q *FilterQuery) Resolve(ctx huma.Context) []error {
	body, err := readJSON(ctx)
	if err != nil {
		return []error{err}
	}
	var sent struct {
		FilterQuery json.RawMessage `json:"filterQuery"`
	}
	if json.Unmarshal(body, &sent) == nil {
		q.body = sent.FilterQuery
	}
	return nil
}

func (q *FilterQuery) filter() (scan.Filter, error) {
	text := q.FilterQuery
	if text == "" {
		text = q.Query
	}
	if len(q.body) > 0 && string(q.body) != "null" {
		text = string(q.body)
		// A body may hold the object itself or its text.
		_ = json.Unmarshal(q.body, &text)
	}
	return scan.ParseFilter(text, isTrue(q.Fuzzy))
}

func isTrue(s string) bool {
	switch s {
	case "true", "True", "TRUE", "1", "yes":
		return true
	}
	return false
}

type newScan struct {
	_        struct{} `json:"-" additionalProperties:"true"`
	Metadata Object   `json:"metadata,omitempty" doc:"Metadata of the scan; owner, created, created_by and last_modified are set by the server. timelapse.id puts the scan into that timelapse, sharing names groups, visibility may be private."`
}

// metadataBody is an answer with metadata, or with the value of one key.
type metadataBody struct {
	Metadata Value `json:"metadata,omitempty" doc:"The metadata; with key its value, left out where there is none."`
}

type metadataUpdate struct {
	_        struct{} `json:"-" additionalProperties:"true"`
	Metadata Object   `json:"metadata" doc:"Keys to set; nested objects are replaced whole. owner, sharing, visibility, created and created_by cannot be set."`
	Replace  bool     `json:"replace,omitempty" doc:"Drop the keys that are not sent; the protected ones stay."`
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
			shown, _ = scan.Member(metadata, q.Key) // a missing key is an empty answer, as upstream's
		}
		return taggedReply(c, scan.Version(metadata), metadataBody{Value(shown)})
	}
}

func (s *server) registerScans() {
	infoSchema := s.api.OpenAPI().Components.Schemas.Schema(infoType, true, "ScanInfo")

	register(s, route{
		id: "list-scans", method: http.MethodGet, path: "/scans", tag: tagScans, security: optional, rate: rateList,
		summary: "List scan ids", doc: "The ids of all scans that you may read.", errors: []int{http.StatusBadRequest},
	}, func(ctx context.Context, in *listQuery) (*reply[[]string], error) {
		q, err := in.query()
		if err != nil {
			return nil, err
		}
		return replyOf(s.scans.Names(ctx, q))
	})
	register(s, route{
		id: "list-scan-infos", method: http.MethodGet, path: "/scans/info", tag: tagScans, security: optional, rate: rateRead,
		summary: "List scans at a glance", doc: "The scan-info objects of all scans that you may read, those that cannot be used among them.",
		errors: []int{http.StatusBadRequest},
		responses: answers("Scan-info objects.", map[string]*huma.Schema{
			"application/json": {Type: huma.TypeArray, Items: infoSchema},
		}),
	}, s.listScanInfos)
	register(s, route{
		id: "get-scan", method: http.MethodGet, path: "/scans/{scan_id}", tag: tagScans, security: optional, rate: rateRead,
		summary: "Read a scan at a glance", doc: "Facts, images, tasks, workspace and camera poses of a scan.",
		errors:    []int{http.StatusNotFound, http.StatusForbidden},
		responses: answers("The scan-info object.", map[string]*huma.Schema{"application/json": infoSchema}),
	}, s.getScan)
	register(s, route{
		id: "create-scan", method: http.MethodPost, path: "/scans/{scan_id}", tag: tagScans, security: required, rate: rateCreate,
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
		id: "get-scan-metadata", method: http.MethodGet, path: "/scans/{scan_id}/metadata", tag: tagScans, security: optional, rate: rateRead,
		summary: "Read the metadata of a scan",
		doc:     "All of it, or the value of one key; a key that is not there leaves the answer empty.",
		errors:  []int{http.StatusNotFound, http.StatusForbidden}, responses: orNotModified(nil),
	}, func(ctx context.Context, in *struct {
		ScanPath
		KeyQuery
		IfNoneMatch
	}) (*tagged[metadataBody], error) {
		return in.of(in.IfNoneMatch)(s.scans.Metadata(ctx, in.Scan))
	})
	register(s, route{
		id: "update-scan-metadata", method: http.MethodPost, path: "/scans/{scan_id}/metadata", tag: tagScans, security: required, rate: rateCreate,
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
		id: "patch-scan-metadata", method: http.MethodPatch, path: "/scans/{scan_id}/metadata", tag: tagScans, security: required, rate: rateCreate,
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
		id: "list-filesets", method: http.MethodGet, path: "/scans/{scan_id}/filesets", tag: tagScans, security: optional, rate: rateRead,
		summary: "List the filesets of a scan",
		doc:     "Their ids, in the order of files.json.", errors: []int{http.StatusNotFound, http.StatusForbidden},
	}, func(ctx context.Context, in *struct {
		ScanPath
		FilterQuery
	}) (*reply[filesetList], error) {
		f, err := in.filter()
		if err != nil {
			return nil, err
		}
		names, err := s.scans.FilesetNames(ctx, in.Scan, f)
		return replyOf(filesetList{names}, err)
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

// writeAll writes parts of a body; a connection that fails has nobody to tell.
func writeAll(ctx huma.Context, parts ...[]byte) {
	w := ctx.BodyWriter()
	for _, p := range parts {
		if _, err := w.Write(p); err != nil {
			return
		}
	}
}

func (s *server) listScanInfos(ctx context.Context, in *listQuery) (*rawReply, error) {
	q, err := in.query()
	if err != nil {
		return nil, err
	}
	infos, err := s.scans.Infos(ctx, q)
	if err != nil {
		return nil, err
	}
	return &rawReply{"application/json", func(ctx huma.Context) {
		writeAll(ctx, []byte("["))
		for i, info := range infos {
			if i > 0 {
				writeAll(ctx, []byte(","))
			}
			writeAll(ctx, ascii(scan.WithBase(info, s.config.Prefix+base)))
		}
		writeAll(ctx, []byte("]\n"))
	}}, nil
}
