package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/auth"
	"github.com/romi/plantdb-go/tokenauth"
)

// surface is the generation of paths that a request came by. Where the
// generations contradict each other, the path decides.
type surface int

const (
	v017 surface = iota // below base
	v015                // at the root
	v014                // below /api, and what of 0.14 lies at the root
)

type surfaceKey struct{}

// surfaceOf says by which generation of paths the request came.
func surfaceOf(ctx context.Context) surface {
	s, _ := ctx.Value(surfaceKey{}).(surface)
	return s
}

// alias is an older path of an operation.
type alias struct {
	id, method, path string
	of               string // operation id
	surface          surface
}

// aliases is every older path. Most are answered by the very operation that
// succeeded them; those whose input or answer is another one by what older.go
// says under their id, which calls the same methods of the services.
var aliases = []alias{
	{"get-health-015", http.MethodGet, "/health", "get-health", v015},
	{"refresh-015", http.MethodGet, "/refresh", "reload-scans", v015},

	{"login-015", http.MethodPost, "/login", "login", v015},
	{"check-username-015", http.MethodGet, "/login", "check-username", v015},
	{"register-user-015", http.MethodPost, "/register", "register-user", v015},
	{"logout-015", http.MethodPost, "/logout", "logout", v015},
	{"logout-delete-015", http.MethodDelete, "/logout", "logout", v015},
	{"validate-token-015", http.MethodPost, "/token-validation", "validate-token", v015},
	{"refresh-token-015", http.MethodPost, "/token-refresh", "refresh-token", v015},
	{"create-api-token-015", http.MethodPost, "/create-api-token", "create-api-token", v015},
	{"get-profile-015", http.MethodGet, "/profile", "get-profile", v015},
	{"inspect-optional-token-015", http.MethodGet, "/token/optional", "inspect-optional-token", v015},
	{"inspect-mandatory-token-015", http.MethodGet, "/token/mandatory", "inspect-mandatory-token", v015},

	{"list-scans-015", http.MethodGet, "/scans", "list-scans", v015},
	{"list-scan-infos-015", http.MethodGet, "/scans_info", "list-scan-infos", v015},
	{"get-scan-015", http.MethodGet, "/scan/{scan_id}", "get-scan", v015},
	{"create-scan-015", http.MethodPost, "/scan/{scan_id}", "create-scan", v015},
	{"get-scan-metadata-015", http.MethodGet, "/scan/{scan_id}/metadata", "get-scan-metadata", v015},
	{"update-scan-metadata-015", http.MethodPost, "/scan/{scan_id}/metadata", "update-scan-metadata", v015},
	{"list-filesets-015", http.MethodGet, "/scan/{scan_id}/filesets", "list-filesets", v015},
	{"create-fileset-015", http.MethodPost, "/fileset/{scan_id}/{fileset_id}", "create-fileset", v015},
	{"get-fileset-metadata-015", http.MethodGet, "/fileset/{scan_id}/{fileset_id}/metadata", "get-fileset-metadata", v015},
	{"update-fileset-metadata-015", http.MethodPost, "/fileset/{scan_id}/{fileset_id}/metadata", "update-fileset-metadata", v015},
	{"list-files-015", http.MethodGet, "/fileset/{scan_id}/{fileset_id}/files", "list-files", v015},
	{"get-file-015", http.MethodGet, "/file/{scan_id}/{fileset_id}/{file_id}", "get-file", v015},
	{"create-file-015", http.MethodPost, "/file/{scan_id}/{fileset_id}/{file_id}", "create-file", v015},
	{"get-file-metadata-015", http.MethodGet, "/file/{scan_id}/{fileset_id}/{file_id}/metadata", "get-file-metadata", v015},
	{"update-file-metadata-015", http.MethodPost, "/file/{scan_id}/{fileset_id}/{file_id}/metadata", "update-file-metadata", v015},

	{"get-asset-015", http.MethodGet, "/files/{path}", "get-asset", v015},
	{"get-image-015", http.MethodGet, "/image/{scan_id}/{fileset_id}/{file_id}", "get-image", v015},
	{"get-pointcloud-015", http.MethodGet, "/pointcloud/{scan_id}/{fileset_id}/{file_id}", "get-pointcloud", v015},
	{"get-ground-truth-015", http.MethodGet, "/pcGroundTruth/{scan_id}/{fileset_id}/{file_id}", "get-pointcloud", v015},
	{"get-mesh-015", http.MethodGet, "/mesh/{scan_id}/{fileset_id}/{file_id}", "get-mesh", v015},
	{"get-skeleton-015", http.MethodGet, "/skeleton/{scan_id}", "get-skeleton", v015},
	{"get-sequence-015", http.MethodGet, "/sequence/{scan_id}", "get-sequence", v015},
	{"get-archive-015", http.MethodGet, "/archive/{scan_id}", "get-archive", v015},
	// 0.14 and 0.15 share it; the former sends no token.
	{"create-scan-from-archive-014", http.MethodPost, "/archive/{scan_id}", "create-scan-from-archive", v014},

	{"get-scan-014", http.MethodGet, "/scans/{scan_id}", "get-scan", v014},
	{"create-scan-014", http.MethodPost, "/scans/{scan_id}", "create-scan", v014},
	{"create-named-scan-014", http.MethodPost, "/api/scan", "create-scan", v014},
	{"create-fileset-014", http.MethodPost, "/api/fileset", "create-fileset", v014},
	{"create-file-014", http.MethodPost, "/api/file", "create-file", v014},
	{"create-raw-file-014", http.MethodPost, "/files/{path}", "create-file", v014},
	{"get-scan-metadata-014", http.MethodGet, "/api/scan/{scan_id}/metadata", "get-scan-metadata", v014},
	{"update-scan-metadata-014", http.MethodPost, "/api/scan/{scan_id}/metadata", "update-scan-metadata", v014},
	{"list-filesets-014", http.MethodGet, "/api/scan/{scan_id}/filesets", "list-filesets", v014},
	{"get-fileset-metadata-014", http.MethodGet, "/api/fileset/{scan_id}/{fileset_id}/metadata", "get-fileset-metadata", v014},
	{"update-fileset-metadata-014", http.MethodPost, "/api/fileset/{scan_id}/{fileset_id}/metadata", "update-fileset-metadata", v014},
	{"list-files-014", http.MethodGet, "/api/fileset/{scan_id}/{fileset_id}/files", "list-files", v014},
	{"get-file-metadata-014", http.MethodGet, "/api/file/{scan_id}/{fileset_id}/{file_id}/metadata", "get-file-metadata", v014},
	{"update-file-metadata-014", http.MethodPost, "/api/file/{scan_id}/{fileset_id}/{file_id}/metadata", "update-file-metadata", v014},
}

func (s *server) registerLegacy() {
	s.registerDifferent()
	for _, a := range aliases {
		if add, ok := s.different[a.id]; ok {
			add(a)
			continue
		}
		s.aliased[a.of](a)
	}
}

// registerOlder says what answers the alias of an id in place of the operation
// that succeeded it. Method and path of r are those of the alias.
func registerOlder[I, O any](s *server, id string, r route, handler func(context.Context, *I) (*O, error)) {
	s.different[id] = func(a alias) {
		of := s.routes[a.of]
		r.method, r.path = a.method, of.path
		r.doc, r.faults = cmp.Or(r.doc, of.doc), append(r.faults, of.faults...)
		addAlias(s, a, r, answering(s, r, handler))
	}
}

// addAlias adds r, whose path is that of the successor, to the older paths.
func addAlias[I, O any](s *server, a alias, r route, handler func(context.Context, *I) (*O, error)) {
	r.method, r.rate = a.method, r.rated()
	if a.surface == v014 && s.config.LegacyWriter != "" {
		r.security = optional
	}
	op := s.operation(r, a.path)
	op.OperationID, op.Deprecated = a.id, true
	op.Metadata[surfaceMetadata] = a.surface
	op.Metadata[deprecationMetadata] = deprecated(a, s.config.Prefix+r.fullPath())
	add(s, s.legacy, r, op, handler)
}

// deprecationMetadata is, in an operation's Metadata, the middleware that says
// where it is now.
const deprecationMetadata = "deprecation"

// deprecations runs it before all others: who is refused is told, too.
func deprecations(ctx huma.Context, next func(huma.Context)) {
	if tell, ok := ctx.Operation().Metadata[deprecationMetadata].(func(huma.Context, func(huma.Context))); ok {
		tell(ctx, next)
		return
	}
	next(ctx)
}

// surfaceMetadata marks, in an operation's Metadata, the surface it is of.
const surfaceMetadata = "surface"

// successorQuery is what the path of a successor needs beside it to be the same.
var successorQuery = map[string]string{"get-ground-truth-015": "?type=gt"}

var placeholder = regexp.MustCompile(`\{(\w+)\}`)

// deprecated tells the caller of an older path where the operation is now
// (RFC 9745, RFC 8288), and the handler by which path it was called.
func deprecated(a alias, successor string) func(huma.Context, func(huma.Context)) {
	// What the older path has in its body cannot be linked to; the link ends there.
	for _, p := range placeholder.FindAllString(successor, -1) {
		if !strings.Contains(a.path, p) {
			successor, _, _ = strings.Cut(successor, "/"+p)
		}
	}
	return func(ctx huma.Context, next func(huma.Context)) {
		here := placeholder.ReplaceAllStringFunc(successor, func(p string) string {
			return (&url.URL{Path: ctx.Param(strings.Trim(p, "{}"))}).EscapedPath()
		})
		ctx.SetHeader("Deprecation", "true")
		ctx.AppendHeader("Link", "<"+here+successorQuery[a.id]+`>; rel="successor-version"`)
		next(huma.WithValue(ctx, surfaceKey{}, a.surface))
	}
}

// olderWords are the texts of 0.14, by code.
var olderWords = map[string]string{
	"unknown_scan": "Scan not found", "unknown_fileset": "Fileset not found", "unknown_file": "File not found",
}

// inWords gives p the text that the surface of the request has for it.
func inWords(ctx context.Context, p *Problem) *Problem {
	switch words, ok := olderWords[p.Code]; {
	case surfaceOf(ctx) == v014 && ok:
		p.say(words)
	case surfaceOf(ctx) != v017 && p.Code == "invalid_metadata":
		p.say("Invalid metadata format – must be JSON or a Python dict string")
	}
	return p
}

// writesForAll says whether requests without a token act as the legacy writer.
func (s *server) writesForAll(op *huma.Operation) bool {
	return s.config.LegacyWriter != "" && op.Metadata[surfaceMetadata] == v014 && op.Method != http.MethodGet
}

// legacyWriter is who writes for scanners of 0.14, which know no tokens. Where
// the user is gone or switched off, they are told so as by a bad token.
func (s *server) legacyWriter(ctx context.Context) (actor.Actor, error) {
	u, err := s.auth.User(actor.NewContext(ctx, actor.System()), s.config.LegacyWriter)
	if errors.Is(err, auth.ErrUserUnknown) || err == nil && !u.Active {
		return actor.Actor{}, tokenauth.ErrUserInactive
	}
	if err != nil {
		return actor.Actor{}, err
	}
	return actor.Actor{UserID: u.ID, Username: u.Username, Fullname: u.Fullname, Roles: u.Roles, Groups: u.Groups}, nil
}
