package api

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// restOfPath marks, in an operation's Metadata, a last path parameter that
// takes all that is left of the path.
const restOfPath = "rest"

// adapter puts Huma's operations into an http.ServeMux. It differs from
// humago's in one thing: {path} can stand for the rest of the path.
type adapter struct{ mux *http.ServeMux }

// Handle implements huma.Adapter.
func (a adapter) Handle(op *huma.Operation, handler func(huma.Context)) {
	pattern := op.Path
	switch {
	case op.Metadata[restOfPath] == true:
		pattern = strings.TrimSuffix(pattern, "}") + "...}"
	case strings.HasSuffix(pattern, "/"):
		pattern += "{$}" // the path itself, not all below it
	}
	a.mux.HandleFunc(op.Method+" "+pattern, func(w http.ResponseWriter, r *http.Request) {
		note(r.Context(), op.OperationID)
		handler(humago.NewContext(op, r, w))
	})
}

// ServeHTTP implements huma.Adapter.
func (a adapter) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// router answers in JSON what a ServeMux answers in text: 404 and 405 with
// Allow. It takes a trailing slash for none, and answers OPTIONS.
type router struct {
	mux *http.ServeMux
	// fixed are the methods of documented paths that have no parameter. A path
	// with one may match them as well, and its methods are not theirs.
	fixed map[string][]string
}

func newRouter(mux *http.ServeMux, documents ...*huma.OpenAPI) router {
	fixed := map[string][]string{}
	for _, doc := range documents {
		for path, item := range doc.Paths {
			if strings.Contains(path, "{") {
				continue
			}
			for _, op := range operationsOf(item) {
				fixed[path] = append(fixed[path], op.Method)
				if op.Method == http.MethodGet {
					fixed[path] = append(fixed[path], http.MethodHead)
				}
			}
		}
	}
	return router{mux, fixed}
}

func (rt router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if path := r.URL.Path; len(path) > 1 && strings.HasSuffix(path, "/") {
		if _, pattern := rt.mux.Handler(r); pattern == "" {
			r = withPath(r, strings.TrimRight(path, "/"))
		}
	}
	allow := ""
	if methods, ok := rt.fixed[r.URL.Path]; ok && !slices.Contains(methods, r.Method) {
		allow = strings.Join(methods, ", ")
	} else {
		handler, pattern := rt.mux.Handler(r)
		if pattern != "" {
			rt.mux.ServeHTTP(w, r)
			return
		}
		// The mux's own answer tells a method that is not allowed from a path
		// that is not there, and which methods are.
		probe := headerOnly{header: http.Header{}}
		handler.ServeHTTP(&probe, r)
		allow = probe.header.Get("Allow")
	}
	switch {
	case allow != "" && r.Method == http.MethodOptions:
		w.Header().Set("Allow", allow+", OPTIONS")
		w.WriteHeader(http.StatusNoContent)
	case allow != "":
		w.Header().Set("Allow", allow+", OPTIONS")
		writeProblem(w, newProblem(http.StatusMethodNotAllowed, "method_not_allowed", msgMethod))
	default:
		writeProblem(w, newProblem(http.StatusNotFound, "not_found", msgNoRoute))
	}
}

// withPath returns r asking for another path.
func withPath(r *http.Request, path string) *http.Request {
	if path == "" {
		path = "/"
	}
	clone := new(http.Request)
	*clone = *r
	u := *r.URL
	u.Path = path
	u.RawPath = strings.TrimRight(u.RawPath, "/")
	clone.URL = &u
	return clone
}

// headerOnly takes an answer for its headers.
type headerOnly struct{ header http.Header }

func (h *headerOnly) Header() http.Header         { return h.header }
func (h *headerOnly) Write(b []byte) (int, error) { return len(b), nil }
func (h *headerOnly) WriteHeader(int)             {}

// writeProblem answers with p outside of Huma.
func writeProblem(w http.ResponseWriter, p *Problem) {
	maps.Copy(w.Header(), p.headers)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.Status)
	_ = jsonFormat.Marshal(w, p) // the connection is what can fail, and nobody is left to tell
}
