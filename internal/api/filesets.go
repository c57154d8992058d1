package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"

	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/scan"
)

const tagFilesets = "filesets"

var infoType = reflect.TypeFor[scan.Info]()

type newFileset struct {
	Metadata Object `json:"metadata,omitempty" doc:"Metadata of the fileset; created, created_by and last_modified are set by the server."`
}

type fileList struct {
	Files []string `json:"files" doc:"File ids in the order of files.json."`
}

func (s *server) registerFilesets() {
	register(s, route{
		id: "create-fileset", method: http.MethodPost, path: "/filesets/{scan_id}/{fileset_id}", tag: tagFilesets,
		faults:   []error{scan.ErrFilesetExists, scan.ErrMetadata, fsdb.ErrName, fsdb.ErrReserved},
		security: required, needs: toWrite, rate: rateFileset, status: http.StatusCreated,
		summary: "Create a fileset", doc: "An empty fileset in a scan that you may write.",
		errors: []int{http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusLocked, http.StatusInsufficientStorage},
	}, func(ctx context.Context, in *struct {
		FilesetPath
		Payload Lenient[newFileset]
	}) (*reply[created], error) {
		err := s.scans.CreateFileset(ctx, in.Scan, in.Fileset, json.RawMessage(in.Payload.Value.Metadata))
		return replyOf(created{fmt.Sprintf("Fileset created successfully in '%s'.", in.Scan), in.Fileset}, err)
	})
	register(s, route{
		id: "get-fileset-metadata", method: http.MethodGet, path: "/filesets/{scan_id}/{fileset_id}/metadata", tag: tagFilesets,
		security: optional, needs: toRead, rate: rateRead, summary: "Read the metadata of a fileset",
		doc:    "All of it, or the value of one key; a key that is not there leaves the answer empty.",
		errors: []int{http.StatusNotFound, http.StatusForbidden}, responses: orNotModified(),
	}, func(ctx context.Context, in *struct {
		FilesetPath
		KeyQuery
		IfNoneMatch
	}) (*tagged[metadataBody], error) {
		return in.of(in.IfNoneMatch)(s.scans.FilesetMetadata(ctx, in.Scan, in.Fileset))
	})
	register(s, route{
		id: "update-fileset-metadata", method: http.MethodPost, path: "/filesets/{scan_id}/{fileset_id}/metadata", tag: tagFilesets,
		faults:   []error{errMissingMetadata, scan.ErrMetadata, scan.ErrPrecondition, errIfMatch},
		security: required, needs: toWrite, rate: rateFileset, summary: "Change the metadata of a fileset",
		doc: "Sets keys and returns all metadata. " + aboutUpdate, errors: writeErrors,
	}, func(ctx context.Context, in *struct {
		FilesetPath
		IfMatch
		Payload Strict[metadataUpdate]
	}) (*tagged[metadataBody], error) {
		u, err := in.Payload.Value.update()
		if err != nil {
			return nil, err
		}
		u.Match = in.match
		return KeyQuery{}.of(IfNoneMatch{})(s.scans.SetFilesetMetadata(ctx, in.Scan, in.Fileset, u))
	})
	register(s, route{
		id: "patch-fileset-metadata", method: http.MethodPatch, path: "/filesets/{scan_id}/{fileset_id}/metadata", tag: tagFilesets, security: required, needs: toWrite, rate: rateFileset,
		faults:  []error{scan.ErrMetadata, scan.ErrPrecondition, errIfMatch},
		summary: "Patch the metadata of a fileset", doc: aboutPatch, errors: writeErrors,
	}, func(ctx context.Context, in *struct {
		FilesetPath
		IfMatch
		Payload Strict[Object]
	}) (*tagged[metadataBody], error) {
		return KeyQuery{}.of(IfNoneMatch{})(s.scans.SetFilesetMetadata(ctx, in.Scan, in.Fileset, in.patch(in.Payload.Value)))
	})
	register(s, route{
		id: "list-files", method: http.MethodGet, path: "/filesets/{scan_id}/{fileset_id}/files", tag: tagFilesets,
		security: optional, needs: toRead, rate: rateRead, summary: "List the files of a fileset",
		doc:    "Their ids, in the order of files.json.",
		errors: []int{http.StatusNotFound, http.StatusForbidden},
	}, func(ctx context.Context, in *struct {
		FilesetPath
		SearchQuery
		Sort string `query:"sort" doc:"position (in files.json, the default) or id; with a dash before it the last first." example:"-id"`
	}) (*list[fileList], error) {
		q, err := in.query(in.Sort, "", scan.PartSorts())
		if err != nil {
			return nil, err
		}
		return namesOf(ctx, s, &in.SearchQuery, q, func(ctx context.Context, q scan.Query) ([]string, error) {
			return s.scans.FileNames(ctx, in.Scan, in.Fileset, q)
		}, func(ctx context.Context, q scan.Query) (scan.Page, error) {
			return s.scans.FilePage(ctx, in.Scan, in.Fileset, q)
		}, func(names []string) fileList { return fileList{names} })
	})
}
