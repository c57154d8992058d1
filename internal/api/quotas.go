package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/romi/plantdb-go/internal/scan"
)

const tagQuotas = "quotas"

// amount is scan.Amount on the wire.
type amount struct {
	Bytes int64 `json:"bytes" doc:"Bytes of files."`
	Files int64 `json:"files" doc:"How many files."`
}

// quota is scan.Quota on the wire.
type quota struct {
	Kind     string `json:"kind" enum:"user,group" doc:"Whose quota it is: a group's is for all its members together."`
	Name     string `json:"name" doc:"Name of the user or group."`
	MaxBytes *int64 `json:"max_bytes" doc:"Bytes that their scans may hold; null for any number."`
	MaxFiles *int64 `json:"max_files" doc:"Files that their scans may hold; null for any number."`
}

type quotaUse struct {
	Kind     string `json:"kind" enum:"user,group" doc:"Whose quota it is: a group's is for all its members together."`
	Name     string `json:"name" doc:"Name of the user or group."`
	MaxBytes *int64 `json:"max_bytes" doc:"Bytes that their scans may hold; null for any number."`
	MaxFiles *int64 `json:"max_files" doc:"Files that their scans may hold; null for any number."`
	Used     amount `json:"used" doc:"What counts against it: scans, the trash until it is purged, and uploads on their way."`
}

type usage struct {
	Username string     `json:"username" doc:"Whose it is."`
	Scans    amount     `json:"scans" doc:"What the user's scans hold."`
	Trash    amount     `json:"trash" doc:"What of them lies in the trash; it counts until it is purged."`
	Reserved amount     `json:"reserved" doc:"What uploads will take that are on their way."`
	Quotas   []quotaUse `json:"quotas" doc:"The quotas that apply to the user."`
}

type quotaList struct {
	Quotas []quota `json:"quotas" doc:"Those of users first, by name."`
}

// quotaBounds is what an administrator sets.
type quotaBounds struct {
	MaxBytes *whole `json:"max_bytes,omitempty" minimum:"0" doc:"Bytes that their scans may hold."`
	MaxFiles *whole `json:"max_files,omitempty" minimum:"0" doc:"Files that their scans may hold."`
}

// TransformSchema implements huma.SchemaTransformer: one of the two is wanted.
func (quotaBounds) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.MinProperties = new(1)
	return s
}

// QuotaUser names whose quota it is. It is exported for Huma.
type QuotaUser struct {
	Username string `path:"username" doc:"Name of the user." example:"carol"`
}

// QuotaGroup names whose quota it is. It is exported for Huma.
type QuotaGroup struct {
	Group string `path:"group" doc:"Name of the group." example:"phenotyping"`
}

const aboutQuota = "A quota bounds what the scans of a user hold, or those of all members of a group together, with what lies in the trash until it is purged. " +
	"An upload that does not fit is refused before its bytes are taken, by a 413 with the code quota_exceeded; what is there already stays. " +
	"Only administrators may do it."

var quotaErrors = []int{http.StatusForbidden, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType}

func (s *server) registerQuotas() {
	register(s, route{
		id: "get-usage", method: http.MethodGet, path: "/usage", tag: tagQuotas, security: required, needs: toAdminister, rate: rateRead,
		summary: "Ask what a user holds",
		doc:     "Bytes and files of the scans that the user owns, of those in the trash, of uploads on their way, and the quotas that apply. Yourself, or anybody for administrators.",
		errors:  []int{http.StatusForbidden},
	}, func(ctx context.Context, in *struct {
		User string `query:"user" doc:"Name of the user; you where it is left out." example:"carol"`
	}) (*reply[usage], error) {
		u, err := s.scans.Usage(ctx, in.User)
		return replyOf(usageOf(u), err)
	})
	register(s, route{
		id: "list-quotas", method: http.MethodGet, path: "/quotas", tag: tagQuotas, security: required, needs: toAdminister, rate: rateList,
		summary: "List all quotas", doc: aboutQuota, errors: []int{http.StatusForbidden},
	}, func(ctx context.Context, _ *struct{}) (*reply[quotaList], error) {
		quotas, err := s.scans.Quotas(ctx)
		out := quotaList{make([]quota, len(quotas))}
		for i, q := range quotas {
			out.Quotas[i] = quota(q)
		}
		return replyOf(out, err)
	})
	register(s, route{
		id: "set-user-quota", method: http.MethodPut, path: "/quotas/users/{username}", tag: tagQuotas, security: required, needs: toAdminister,
		faults: []error{scan.ErrUnknownQuota, scan.ErrQuotaBounds}, summary: "Set the quota of a user", doc: aboutQuota, errors: quotaErrors,
	}, func(ctx context.Context, in *struct {
		QuotaUser
		Payload Strict[quotaBounds]
	}) (*reply[quota], error) {
		return s.setQuota(ctx, scan.UserQuota, in.Username, in.Payload.Value)
	})
	register(s, route{
		id: "set-group-quota", method: http.MethodPut, path: "/quotas/groups/{group}", tag: tagQuotas, security: required, needs: toAdminister,
		faults: []error{scan.ErrUnknownQuota, scan.ErrQuotaBounds}, summary: "Set the quota of a group", doc: aboutQuota, errors: quotaErrors,
	}, func(ctx context.Context, in *struct {
		QuotaGroup
		Payload Strict[quotaBounds]
	}) (*reply[quota], error) {
		return s.setQuota(ctx, scan.GroupQuota, in.Group, in.Payload.Value)
	})
	register(s, route{
		id: "delete-user-quota", method: http.MethodDelete, path: "/quotas/users/{username}", tag: tagQuotas, security: required, needs: toAdminister,
		faults: []error{scan.ErrUnknownQuota}, summary: "Take the quota of a user away", doc: aboutQuota, errors: []int{http.StatusForbidden},
	}, func(ctx context.Context, in *QuotaUser) (*struct{}, error) {
		return nil, s.scans.DeleteQuota(ctx, scan.UserQuota, in.Username)
	})
	register(s, route{
		id: "delete-group-quota", method: http.MethodDelete, path: "/quotas/groups/{group}", tag: tagQuotas, security: required, needs: toAdminister,
		faults: []error{scan.ErrUnknownQuota}, summary: "Take the quota of a group away", doc: aboutQuota, errors: []int{http.StatusForbidden},
	}, func(ctx context.Context, in *QuotaGroup) (*struct{}, error) {
		return nil, s.scans.DeleteQuota(ctx, scan.GroupQuota, in.Group)
	})
}

func (s *server) setQuota(ctx context.Context, kind, name string, b quotaBounds) (*reply[quota], error) {
	q, err := s.scans.SetQuota(ctx, scan.Quota{Kind: kind, Name: name, MaxBytes: (*int64)(b.MaxBytes), MaxFiles: (*int64)(b.MaxFiles)})
	return replyOf(quota(q), err)
}

func usageOf(u scan.Usage) usage {
	out := usage{u.Username, amount(u.Held), amount(u.Trash), amount(u.Reserved), make([]quotaUse, len(u.Quotas))}
	for i, q := range u.Quotas {
		out.Quotas[i] = quotaUse{q.Kind, q.Name, q.MaxBytes, q.MaxFiles, amount{q.Bytes, q.Files}}
	}
	return out
}
