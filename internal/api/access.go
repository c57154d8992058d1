package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/romi/plantdb-go/internal/scan"
)

type visibility struct {
	Visibility string `json:"visibility" enum:"public,private" doc:"public: everybody may read the scan; private: its owner, the groups it is shared with and administrators."`
}

type sharing struct {
	Groups []string `json:"groups" doc:"Names of the groups whose members may read and write the scan."`
}

type owner struct {
	Owner *string `json:"owner,omitempty" doc:"User who owns the scan; left out where nobody is recorded."`
}

type newOwner struct {
	Owner string `json:"owner" minLength:"1" doc:"User who shall own the scan."`
}

type tagList struct {
	Tags []string `json:"tags" doc:"The list under the key tags of the metadata. What metadata hold may be longer than what is taken here."`
}

type newTags struct {
	Tags []string `json:"tags" maxItems:"100" doc:"The tags, each kept once."`
}

type tagChange struct {
	Add    []string `json:"add,omitempty" maxItems:"100" doc:"Tags to add; those that are there stay where they are."`
	Remove []string `json:"remove,omitempty" maxItems:"100" doc:"Tags to take out; those that are not there are passed over."`
}

// TransformSchema implements huma.SchemaTransformer.
func (newTags) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema { return ofTags(s) }

// TransformSchema implements huma.SchemaTransformer.
func (tagChange) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema { return ofTags(s) }

// ofTags says what tags are in every list of the schema.
func ofTags(s *huma.Schema) *huma.Schema {
	for _, list := range s.Properties {
		list.Items = &huma.Schema{
			Type: huma.TypeString, MinLength: new(1), MaxLength: new(64),
			Description: "A text of 1 to 64 bytes without control characters.",
		}
	}
	return s
}

// tagsOf answers tags. Their ETag is that of the metadata, which they are part
// of.
func tagsOf(c IfNoneMatch) func(tags []string, metadata json.RawMessage, err error) (*tagged[tagList], error) {
	return func(tags []string, metadata json.RawMessage, err error) (*tagged[tagList], error) {
		if err != nil {
			return nil, err
		}
		return taggedReply(c, scan.Version(metadata), tagList{append([]string{}, tags...)})
	}
}

func (s *server) registerTags() {
	faults := []error{scan.ErrTags, scan.ErrPrecondition, errIfMatch}
	register(s, route{
		id: "get-scan-tags", method: http.MethodGet, path: "/scans/{scan_id}/tags", tag: tagScans, security: optional, needs: toRead, rate: rateRead,
		summary: "Read the tags of a scan", doc: "The list under the key tags of its metadata; empty where there is none.",
		errors: readAccessErrors, faults: []error{scan.ErrNoTagList}, responses: orNotModified(),
	}, func(ctx context.Context, in *struct {
		ScanPath
		IfNoneMatch
	}) (*tagged[tagList], error) {
		return tagsOf(in.IfNoneMatch)(s.scans.Tags(ctx, in.Scan))
	})
	register(s, route{
		id: "set-scan-tags", method: http.MethodPut, path: "/scans/{scan_id}/tags", tag: tagScans, security: required, needs: toWrite, rate: rateCreate,
		summary: "Set the tags of a scan", doc: "These and no others; an empty list takes all out. Who may change the metadata may do it. If-Match takes the ETag of the metadata or of the tags.",
		errors: writeErrors, faults: faults,
	}, func(ctx context.Context, in *struct {
		ScanPath
		IfMatch
		Payload Strict[newTags]
	}) (*tagged[tagList], error) {
		if in.Payload.Value.Tags == nil {
			return nil, scan.ErrTags
		}
		return tagsOf(IfNoneMatch{})(s.scans.SetTags(ctx, in.Scan, in.Payload.Value.Tags, in.match))
	})
	register(s, route{
		id: "change-scan-tags", method: http.MethodPost, path: "/scans/{scan_id}/tags", tag: tagScans, security: required, needs: toWrite, rate: rateCreate,
		summary: "Add tags to a scan, and take some out", doc: "Several may do so at once, and none undoes what another did. Who may change the metadata may do it.",
		errors: writeErrors, faults: append(faults, scan.ErrNoTagList),
	}, func(ctx context.Context, in *struct {
		ScanPath
		IfMatch
		Payload Strict[tagChange]
	}) (*tagged[tagList], error) {
		return tagsOf(IfNoneMatch{})(s.scans.ChangeTags(ctx, in.Scan, in.Payload.Value.Add, in.Payload.Value.Remove, in.match))
	})
}

var readAccessErrors = []int{http.StatusForbidden, http.StatusNotFound}

// accessOf answers what view shows of who may do what. Its ETag is that of the
// metadata, which hold it.
func accessOf[T any](c IfNoneMatch, view func(scan.Access) T) func(scan.VersionedAccess, error) (*tagged[T], error) {
	return func(a scan.VersionedAccess, err error) (*tagged[T], error) {
		if err != nil {
			return nil, err
		}
		return taggedReply(c, a.Version, view(a.Access))
	}
}

func visibilityOf(a scan.Access) visibility { return visibility{Visibility: a.Visibility} }

func sharingOf(a scan.Access) sharing { return sharing{Groups: append([]string{}, a.Sharing...)} }

func ownerOf(a scan.Access) owner { return owner{Owner: a.Owner} }

const aboutAccessMatch = " If-Match takes the ETag of this or of the metadata, which hold it."

func (s *server) registerAccess() {
	register(s, route{
		id: "get-scan-visibility", method: http.MethodGet, path: "/scans/{scan_id}/visibility", tag: tagScans, security: optional, needs: toRead, rate: rateRead,
		summary: "Read who may see a scan", doc: "Everybody who may read the scan may know it.", errors: readAccessErrors, responses: orNotModified(),
	}, func(ctx context.Context, in *struct {
		ScanPath
		IfNoneMatch
	}) (*tagged[visibility], error) {
		return accessOf(in.IfNoneMatch, visibilityOf)(s.scans.Access(ctx, in.Scan))
	})
	register(s, route{
		id: "set-scan-visibility", method: http.MethodPut, path: "/scans/{scan_id}/visibility", tag: tagScans, security: required, needs: toDelete, rate: rateCreate,
		summary: "Make a scan private or public", doc: "Its owner and administrators may do it. It holds at once, on every server; programs of upstream's that rewrite the metadata do not undo it." + aboutAccessMatch,
		errors: writeErrors, faults: []error{scan.ErrMetadata, scan.ErrPrecondition, errIfMatch},
	}, func(ctx context.Context, in *struct {
		ScanPath
		IfMatch
		Payload Strict[visibility]
	}) (*tagged[visibility], error) {
		return accessOf(IfNoneMatch{}, visibilityOf)(s.scans.SetVisibility(ctx, in.Scan, in.Payload.Value.Visibility, in.match))
	})
	register(s, route{
		id: "get-scan-sharing", method: http.MethodGet, path: "/scans/{scan_id}/sharing", tag: tagScans, security: optional, needs: toRead, rate: rateRead,
		summary: "Read with which groups a scan is shared", doc: "Everybody who may read the scan may know it.", errors: readAccessErrors, responses: orNotModified(),
	}, func(ctx context.Context, in *struct {
		ScanPath
		IfNoneMatch
	}) (*tagged[sharing], error) {
		return accessOf(in.IfNoneMatch, sharingOf)(s.scans.Access(ctx, in.Scan))
	})
	register(s, route{
		id: "set-scan-sharing", method: http.MethodPut, path: "/scans/{scan_id}/sharing", tag: tagScans, security: required, needs: toDelete, rate: rateCreate,
		summary: "Share a scan with groups", doc: "With these groups and no others; an empty list ends all sharing. Its owner and administrators may do it, and the groups must exist." + aboutAccessMatch,
		errors: writeErrors, faults: []error{scan.ErrSharing, scan.ErrPrecondition, errIfMatch},
	}, func(ctx context.Context, in *struct {
		ScanPath
		IfMatch
		Payload Strict[sharing]
	}) (*tagged[sharing], error) {
		if in.Payload.Value.Groups == nil {
			return nil, scan.ErrSharing
		}
		return accessOf(IfNoneMatch{}, sharingOf)(s.scans.SetSharing(ctx, in.Scan, in.Payload.Value.Groups, in.match))
	})
	register(s, route{
		id: "get-scan-owner", method: http.MethodGet, path: "/scans/{scan_id}/owner", tag: tagScans, security: optional, needs: toRead, rate: rateRead,
		summary: "Read who owns a scan", doc: "Everybody who may read the scan may know it.", errors: readAccessErrors, responses: orNotModified(),
	}, func(ctx context.Context, in *struct {
		ScanPath
		IfNoneMatch
	}) (*tagged[owner], error) {
		return accessOf(in.IfNoneMatch, ownerOf)(s.scans.Access(ctx, in.Scan))
	})
	register(s, route{
		id: "set-scan-owner", method: http.MethodPut, path: "/scans/{scan_id}/owner", tag: tagScans, security: required, needs: toDelete, rate: rateCreate,
		summary: "Give a scan to another user", doc: "Its owner and administrators may do it, and the new owner must be a user whose quotas have room for what the scan holds. Who gives away a private scan may not see it afterwards." + aboutAccessMatch,
		errors: writeErrors, faults: []error{scan.ErrOwner, scan.ErrQuota, scan.ErrPrecondition, errIfMatch},
	}, func(ctx context.Context, in *struct {
		ScanPath
		IfMatch
		Payload Strict[newOwner]
	}) (*tagged[owner], error) {
		if in.Payload.Value.Owner == "" {
			return nil, scan.ErrOwner
		}
		return accessOf(IfNoneMatch{}, ownerOf)(s.scans.SetOwner(ctx, in.Scan, in.Payload.Value.Owner, in.match))
	})
}
