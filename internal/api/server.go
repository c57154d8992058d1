// Package api is the HTTP surface: it declares each operation with Huma, so
// that the OpenAPI document and the behaviour cannot differ, decodes what is
// sent, calls one method of a service and encodes what that returns. It holds
// no rule and no SQL. Failures become problems in problem.go, tokens become
// actors in security.go; a noun's operations are in the file of its name.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"

	"github.com/danielgtaylor/huma/v2"

	"github.com/romi/plantdb-go/internal/auth"
	"github.com/romi/plantdb-go/internal/observe"
	"github.com/romi/plantdb-go/internal/preview"
	"github.com/romi/plantdb-go/internal/scan"
	"github.com/romi/plantdb-go/internal/webhook"
	"github.com/romi/plantdb-go/openapi/swaggerui"
	"github.com/romi/plantdb-go/tokenauth"
)

// base is where the API of 0.17 lies.
const base = "/api/v1"

// Config is what the surface needs to know of the settings.
type Config struct {
	// Prefix is the deploy prefix, such as /plantdb, or empty.
	Prefix string
	// Location is the directory of the tree, whole for administrators.
	Location string
	// Version of this program.
	Version string
	// Rates bounds how often one address may call.
	Rates Rates
	// TrustedProxies are those whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// UsernameCheck lets everybody ask whether a user name is taken.
	UsernameCheck bool
	// LegacyWriter is the user as whom requests without a token write by the
	// paths of 0.14, whose clients know no tokens; empty for none.
	LegacyWriter string
	// TokenLocations is where tokens are looked for, in this order.
	TokenLocations []tokenauth.Location
}

// Services is what the surface calls. Zero services document the API without
// being able to serve it.
type Services struct {
	Auth     *auth.Service
	Scans    *scan.Service
	Webhooks *webhook.Service
	Archives *scan.Archives
	Previews *preview.Cache
	Verifier *tokenauth.Verifier
	Metrics  *observe.Metrics
	// Ready says why the server should get no requests; nil when it may.
	Ready func(context.Context) error
	Log   *slog.Logger
}

type server struct {
	config   Config
	auth     *auth.Service
	scans    *scan.Service
	webhooks *webhook.Service
	previews *preview.Cache
	metrics  *observe.Metrics
	ready    func(context.Context) error
	log      *slog.Logger
	archives *scan.Archives
	models   chan struct{} // held by who reads a model

	authenticator *tokenauth.Authenticator
	accounts      *buckets[string] // logins per account; nil without limits

	api huma.API
	// legacy is the API of older clients: the same operations, in a document
	// of their own.
	legacy    huma.API
	routes    map[string]route       // by operation id
	aliased   map[string]func(alias) // by operation id
	different map[string]func(alias) // by the id of the alias
	mux       *http.ServeMux
	// later runs once all operations are registered: what Huma would act on
	// if it stood in the document before.
	later []func()
}

// New returns the handler of the whole surface.
func New(services Services, config Config) http.Handler {
	s := newServer(services, config)
	s.mux.Handle("GET /docs/", http.StripPrefix("/docs/", swaggerui.Handler()))
	s.mux.Handle("GET /docs", http.RedirectHandler("docs/", http.StatusMovedPermanently))
	s.handleDocuments()
	s.mux.Handle("GET /metrics", s.metrics.Handler())
	s.mux.HandleFunc("GET /ready", s.handleReady)
	s.mux.HandleFunc("GET /{$}", s.handleRoot)
	s.mux.HandleFunc("GET "+base, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, s.config.Prefix+base+"/", http.StatusPermanentRedirect)
	})
	return s.observed(headed(cors(s.unprefixed(s.tus(newRouter(s.mux, s.api.OpenAPI(), s.legacy.OpenAPI()))))))
}

// newServer registers every operation.
func newServer(services Services, config Config) *server {
	replaceHumaErrors()
	s := &server{
		config: config, auth: services.Auth, scans: services.Scans, webhooks: services.Webhooks, previews: services.Previews,
		metrics: services.Metrics, ready: services.Ready, log: services.Log, mux: http.NewServeMux(),
		archives: services.Archives, models: modelSlots(), aliased: map[string]func(alias){}, different: map[string]func(alias){}, routes: map[string]route{},
	}
	s.authenticator = &tokenauth.Authenticator{
		Verifier: services.Verifier, Locations: config.TokenLocations, Log: services.Log,
	}
	if n := rateAccount.of(config.Rates); n > 0 {
		s.accounts = newBuckets[string](n)
	}
	s.api = huma.NewAPI(humaConfig(config), adapter{s.mux})
	s.legacy = huma.NewAPI(legacyConfig(config), adapter{s.mux})
	for _, api := range []huma.API{s.api, s.legacy} {
		api.UseMiddleware(deprecations, s.verified(api), s.actOnBehalf, s.decoded)
	}
	s.registerHome()
	s.registerAuth()
	s.registerSessions()
	s.registerIntrospection()
	s.registerKeys()
	s.registerUsers()
	s.registerGroups()
	s.registerScans()
	s.registerFilesets()
	s.registerFiles()
	s.registerTimelapses()
	s.registerAssets()
	s.registerModels()
	s.registerArchive()
	s.registerUploads()
	s.registerQuotas()
	s.registerLocks()
	s.registerScrub()
	s.registerTrash()
	s.registerAccess()
	s.registerTags()
	s.registerEvents()
	s.registerWebhooks()
	s.registerBatch()
	s.registerTimelapseMetadata()
	s.registerLegacy()
	for _, fn := range s.later {
		fn()
	}
	finishSchemas(s.api.OpenAPI())
	finishOlder(s.legacy.OpenAPI())
	return s
}

// handleReady says whether this server should get requests.
func (s *server) handleReady(w http.ResponseWriter, r *http.Request) {
	note(r.Context(), "get-ready")
	if err := s.ready(r.Context()); err != nil {
		p := problemOf(r.Context(), s.log, err)
		p.Status, p.Title = http.StatusServiceUnavailable, http.StatusText(http.StatusServiceUnavailable)
		p.headers.Set("Retry-After", "1")
		writeProblem(w, p)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte("{\"status\":\"ready\"}\n")) // nobody is left to tell of a failure
}

// handleRoot leads to the API as upstream does, and a person to the documentation.
func (s *server) handleRoot(w http.ResponseWriter, r *http.Request) {
	if prefersHTML(r.Header.Get("Accept")) {
		http.Redirect(w, r, s.config.Prefix+"/docs/", http.StatusFound)
		return
	}
	http.Redirect(w, r, s.config.Prefix+base+"/", http.StatusFound)
}
