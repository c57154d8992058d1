package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/scan"
)

const tagTimelapses = "timelapses"

// timelapse is scan.Timelapse on the wire.
type timelapse struct {
	ID        string               `json:"id" doc:"Timelapse id; scans and timelapses share one name space."`
	CreatedAt string               `json:"created_at" doc:"Local time without a zone."`
	Owner     *string              `json:"owner" doc:"Who made it; null where nobody was recorded."`
	Scans     []string             `json:"scans" doc:"Ids of the scans that you may read, in order of registration."`
	Metadata  Object               `json:"metadata"`
	Counts    scan.TimelapseCounts `json:"counts"`
}

type newTimelapse struct {
	ID       json.RawMessage `json:"id"`
	Name     json.RawMessage `json:"name"`
	Metadata Object          `json:"metadata,omitempty"`
}

// Schema documents the request; id may be called name.
func (newTimelapse) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, Required: []string{"id"}, AdditionalProperties: true,
		Properties: map[string]*huma.Schema{
			"id":       {Type: huma.TypeString, Pattern: "^[a-zA-Z0-9][a-zA-Z0-9_-]{0,127}$", Examples: []any{"growth_series"}},
			"metadata": {Type: huma.TypeObject, AdditionalProperties: true},
		},
	}
}

func (s *server) registerTimelapses() {
	register(s, route{
		id: "list-timelapses", method: http.MethodGet, path: "/timelapses", tag: tagTimelapses, security: optional, rate: rateList,
		errors:  []int{http.StatusBadRequest},
		summary: "List timelapse ids",
		doc:     "The ids of all timelapses, by name unless sort says otherwise.",
	}, func(ctx context.Context, in *struct {
		SearchQuery
		Sort string `query:"sort" doc:"id (the default), created or owner; with a dash before it the last first." example:"-created"`
	}) (*list[[]string], error) {
		q, err := in.query(in.Sort, "", scan.TimelapseSorts())
		if err != nil {
			return nil, err
		}
		return namesOf(ctx, s, &in.SearchQuery, q, s.scans.Timelapses, s.scans.TimelapsePage, asTheyAre)
	})
	register(s, route{
		id: "create-timelapse", method: http.MethodPost, path: "/timelapses", tag: tagTimelapses, security: required, needs: toCreate, rate: rateList,
		faults:  []error{errMissingID, scan.ErrTimelapseExists, scan.ErrMetadata, fsdb.ErrName, fsdb.ErrReserved},
		summary: "Create a timelapse", doc: "An empty timelapse that belongs to you.", status: http.StatusCreated,
		errors: []int{http.StatusForbidden, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusLocked, http.StatusInsufficientStorage},
	}, s.createTimelapse)
	register(s, route{
		id: "get-timelapse", method: http.MethodGet, path: "/timelapses/{timelapse_id}", tag: tagTimelapses, security: optional, rate: rateTimelapse,
		summary: "Read a timelapse",
		doc:     "Its metadata, and the scans in it that you may read.",
		errors:  []int{http.StatusNotFound}, responses: orNotModified(),
	}, func(ctx context.Context, in *struct {
		TimelapsePath
		IfNoneMatch
	}) (*tagged[timelapse], error) {
		return timelapseOf(in.IfNoneMatch)(s.scans.Timelapse(ctx, in.Timelapse))
	})
	register(s, route{
		id: "list-timelapse-scans", method: http.MethodGet, path: "/timelapses/{timelapse_id}/scans", tag: tagTimelapses,
		security: optional, rate: rateTimelapse, summary: "List the scans of a timelapse",
		doc: "Ordered by when each was due.", errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *struct {
		TimelapsePath
		SearchQuery
		Sort string `query:"sort" doc:"timelapse.scheduled (when a scan was due, the default), id, created, last_modified, owner, species or size; with a dash before it the last first." example:"-timelapse.scheduled"`
	}) (*list[[]string], error) {
		q, err := in.query(in.Sort, "", scan.Sorts())
		if err != nil {
			return nil, err
		}
		return namesOf(ctx, s, &in.SearchQuery, q, func(ctx context.Context, q scan.Query) ([]string, error) {
			return s.scans.TimelapseScans(ctx, in.Timelapse, q)
		}, func(ctx context.Context, q scan.Query) (scan.Page, error) {
			return s.scans.TimelapseScanPage(ctx, in.Timelapse, q)
		}, asTheyAre)
	})
}

func (s *server) registerTimelapseMetadata() {
	faults := []error{scan.ErrMetadata, scan.ErrPrecondition, errIfMatch}
	register(s, route{
		id: "update-timelapse-metadata", method: http.MethodPost, path: "/timelapses/{timelapse_id}/metadata", tag: tagTimelapses,
		faults: append([]error{errMissingMetadata}, faults...), security: required, needs: toWrite, rate: rateFileset, errors: writeErrors,
		summary: "Change the metadata of a timelapse",
		doc:     "Sets keys, with replace in place of all others, and returns the timelapse. Its owner may do it, and who may write everywhere. If-Match takes the ETag of get-timelapse.",
	}, func(ctx context.Context, in *struct {
		TimelapsePath
		IfMatch
		Payload Strict[metadataUpdate]
	}) (*tagged[timelapse], error) {
		u, err := in.Payload.Value.update()
		if err != nil {
			return nil, err
		}
		u.Match = in.match
		return timelapseOf(IfNoneMatch{})(s.scans.SetTimelapseMetadata(ctx, in.Timelapse, u))
	})
	register(s, route{
		id: "patch-timelapse-metadata", method: http.MethodPatch, path: "/timelapses/{timelapse_id}/metadata", tag: tagTimelapses,
		faults: faults, security: required, needs: toWrite, rate: rateFileset, errors: writeErrors,
		summary: "Patch the metadata of a timelapse",
		doc:     "The body is a JSON merge patch (RFC 7396) of the metadata. Its owner may do it, and who may write everywhere. If-Match takes the ETag of get-timelapse.",
	}, func(ctx context.Context, in *struct {
		TimelapsePath
		IfMatch
		Payload Strict[Object]
	}) (*tagged[timelapse], error) {
		return timelapseOf(IfNoneMatch{})(s.scans.SetTimelapseMetadata(ctx, in.Timelapse, in.patch(in.Payload.Value)))
	})
}

func timelapseOf(c IfNoneMatch) func(t scan.Timelapse, err error) (*tagged[timelapse], error) {
	return func(t scan.Timelapse, err error) (*tagged[timelapse], error) {
		if err != nil {
			return nil, err
		}
		version, err := t.Version()
		if err != nil {
			return nil, err
		}
		return taggedReply(c, version, timelapse{t.ID, t.CreatedAt, t.Owner, t.Scans, Object(t.Metadata), t.Counts})
	}
}

func (s *server) createTimelapse(ctx context.Context, in *struct{ Payload Lenient[newTimelapse] }) (*tagged[timelapse], error) {
	body := in.Payload.Value
	if len(body.ID) == 0 && len(body.Name) == 0 && len(body.Metadata) == 0 {
		return nil, errInvalid.With("Invalid request body: expected JSON object")
	}
	raw := body.ID
	if len(raw) == 0 {
		raw = body.Name
	}
	var id string
	if json.Unmarshal(raw, &id) != nil || id == "" {
		return nil, errMissingID
	}
	return timelapseOf(IfNoneMatch{})(s.scans.CreateTimelapse(ctx, id, json.RawMessage(body.Metadata)))
}
