package api

import (
	"context"
	"net/http"

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

var readAccessErrors = []int{http.StatusForbidden, http.StatusNotFound}

func (s *server) registerAccess() {
	register(s, route{
		id: "get-scan-visibility", method: http.MethodGet, path: "/scans/{scan_id}/visibility", tag: tagScans, security: optional, rate: rateRead,
		summary: "Read who may see a scan", doc: "Everybody who may read the scan may know it.", errors: readAccessErrors,
	}, func(ctx context.Context, in *ScanPath) (*reply[visibility], error) {
		a, err := s.scans.Access(ctx, in.Scan)
		return replyOf(visibility{Visibility: a.Visibility}, err)
	})
	register(s, route{
		id: "set-scan-visibility", method: http.MethodPut, path: "/scans/{scan_id}/visibility", tag: tagScans, security: required, rate: rateCreate,
		summary: "Make a scan private or public", doc: "Its owner and administrators may do it. It holds at once, on every server; programs of upstream's that rewrite the metadata do not undo it.",
		errors: writeErrors, faults: []error{scan.ErrMetadata},
	}, func(ctx context.Context, in *struct {
		ScanPath
		Payload Strict[visibility]
	}) (*reply[visibility], error) {
		a, err := s.scans.SetVisibility(ctx, in.Scan, in.Payload.Value.Visibility)
		return replyOf(visibility{Visibility: a.Visibility}, err)
	})
	register(s, route{
		id: "get-scan-sharing", method: http.MethodGet, path: "/scans/{scan_id}/sharing", tag: tagScans, security: optional, rate: rateRead,
		summary: "Read with which groups a scan is shared", doc: "Everybody who may read the scan may know it.", errors: readAccessErrors,
	}, func(ctx context.Context, in *ScanPath) (*reply[sharing], error) {
		a, err := s.scans.Access(ctx, in.Scan)
		return replyOf(sharing{Groups: append([]string{}, a.Sharing...)}, err)
	})
	register(s, route{
		id: "set-scan-sharing", method: http.MethodPut, path: "/scans/{scan_id}/sharing", tag: tagScans, security: required, rate: rateCreate,
		summary: "Share a scan with groups", doc: "With these groups and no others; an empty list ends all sharing. Its owner and administrators may do it, and the groups must exist.",
		errors: writeErrors, faults: []error{scan.ErrSharing},
	}, func(ctx context.Context, in *struct {
		ScanPath
		Payload Strict[sharing]
	}) (*reply[sharing], error) {
		if in.Payload.Value.Groups == nil {
			return nil, scan.ErrSharing
		}
		a, err := s.scans.SetSharing(ctx, in.Scan, in.Payload.Value.Groups)
		return replyOf(sharing{Groups: append([]string{}, a.Sharing...)}, err)
	})
	register(s, route{
		id: "get-scan-owner", method: http.MethodGet, path: "/scans/{scan_id}/owner", tag: tagScans, security: optional, rate: rateRead,
		summary: "Read who owns a scan", doc: "Everybody who may read the scan may know it.", errors: readAccessErrors,
	}, func(ctx context.Context, in *ScanPath) (*reply[owner], error) {
		a, err := s.scans.Access(ctx, in.Scan)
		return replyOf(owner{Owner: a.Owner}, err)
	})
	register(s, route{
		id: "set-scan-owner", method: http.MethodPut, path: "/scans/{scan_id}/owner", tag: tagScans, security: required, rate: rateCreate,
		summary: "Give a scan to another user", doc: "Its owner and administrators may do it, and the new owner must be a user whose quotas have room for what the scan holds. Who gives away a private scan may not see it afterwards.",
		errors: writeErrors, faults: []error{scan.ErrOwner, scan.ErrQuota},
	}, func(ctx context.Context, in *struct {
		ScanPath
		Payload Strict[newOwner]
	}) (*reply[owner], error) {
		if in.Payload.Value.Owner == "" {
			return nil, scan.ErrOwner
		}
		a, err := s.scans.SetOwner(ctx, in.Scan, in.Payload.Value.Owner)
		return replyOf(owner{Owner: a.Owner}, err)
	})
}
