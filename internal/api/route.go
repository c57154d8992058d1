package api

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
)

// route is what an operation says of itself beyond its input and output types.
type route struct {
	id, method, path string // path below base
	atRoot           bool   // path is not below base
	tag              string
	summary, doc     string
	security         []map[string][]string
	needs            need // beyond being logged in
	rate             perMinute
	status           int // of success; 0 is 200, or 204 without a body
	// errors are the statuses it may answer beside those that follow from
	// its security and its input.
	errors []int
	// faults are its own failures by name; their statuses need not be among
	// errors. What all operations share is in codes.go.
	faults    []error
	refusals  *refusals
	advices   map[string]string // by code, where it is not that of advice.go
	responses map[string]*huma.Response
	rest      bool // the last path parameter takes the rest of the path
	ownTokens bool // the handler looks for the token itself
	// must are headers that the document requires; that one is missing the
	// handler says, in words of its own.
	must []string
}

// register adds an operation to the API. Whatever error the handler returns
// is answered as a Problem. It remembers how to add the same operation under
// older paths; see legacy.go.
func register[I, O any](s *server, r route, handler func(context.Context, *I) (*O, error)) {
	handler = answering(s, r, handler)
	r.rate = r.rated()
	add(s, s.api, r, s.operation(r, r.fullPath()), handler)
	s.routes[r.id] = r
	s.aliased[r.id] = func(a alias) { addAlias(s, a, r, handler) }
}

// answering makes Problems of the handler's errors.
func answering[I, O any](s *server, r route, handler func(context.Context, *I) (*O, error)) func(context.Context, *I) (*O, error) {
	return func(ctx context.Context, in *I) (*O, error) {
		out, err := handler(ctx, in)
		if err != nil {
			p := inWords(ctx, problemOf(ctx, s.log, misnamed(in, err)))
			p.Detail = r.detailOf(p.Status, p.Code, p.Message)
			return nil, p
		}
		return out, nil
	}
}

func add[I, O any](s *server, api huma.API, r route, op huma.Operation, handler func(context.Context, *I) (*O, error)) {
	input := reflect.TypeFor[I]()
	if _, takes := bodyOf(input); takes {
		op.Errors = append(op.Errors, http.StatusUnsupportedMediaType)
	}
	huma.Register(api, op, handler)
	s.later = append(s.later, func() { finish(api.OpenAPI(), r, op.Path, input) })
}

// rated is the class of the operation: there is none without.
func (r route) rated() perMinute {
	switch {
	case r.rate.ours > 0:
		return r.rate
	case slices.Contains([]string{tagUsers, tagGroups, tagQuotas}, r.tag):
		return rateManage
	default:
		return rateUsual
	}
}

func (r route) fullPath() string {
	if r.atRoot {
		return r.path
	}
	return base + r.path
}

func (s *server) operation(r route, path string) huma.Operation {
	op := huma.Operation{
		OperationID: r.id, Method: r.method, Path: path, Summary: r.summary, Description: r.doc,
		Tags: []string{r.tag}, Security: s.ways(r.method, r.security), DefaultStatus: r.status, Errors: r.statuses(),
		Metadata: map[string]any{}, BodyReadTimeout: -1, Responses: maps.Clone(r.responses),
	}
	if r.rest {
		op.Metadata[restOfPath] = true
	}
	if r.ownTokens {
		op.Metadata[ownTokensKey] = true
	}
	if r.refusals != nil {
		op.Metadata[refusalsKey] = *r.refusals
	}
	if slices.Contains([]string{tagAuth, tagUsers, tagWebhooks}, r.tag) {
		op.Middlewares = append(op.Middlewares, unstored)
	}
	if n := r.rate.of(s.config.Rates); n > 0 {
		op.Middlewares = append(op.Middlewares, s.limit(n))
	}
	return op
}

// unstored keeps answers that may hold a token or a secret out of caches (RFC
// 6749 section 5.1). A handler may say otherwise.
func unstored(ctx huma.Context, next func(huma.Context)) {
	ctx.SetHeader("Cache-Control", "no-store")
	next(ctx)
}

// statuses are all failures that the operation may answer with.
func (r route) statuses() []int {
	list := slices.Clone(r.errors)
	for _, err := range r.faults {
		status, _ := failureOf(err)
		list = append(list, status)
	}
	list = append(list, http.StatusRequestHeaderFieldsTooLarge, http.StatusInternalServerError, http.StatusServiceUnavailable)
	if len(r.security) > 0 {
		list = append(list, http.StatusBadRequest, http.StatusUnauthorized)
	}
	if r.needs != "" {
		list = append(list, http.StatusForbidden)
	}
	if r.understands() {
		list = append(list, http.StatusUnprocessableEntity)
	}
	if _, ranges := r.responses["206"]; ranges {
		list = append(list, http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable)
	}
	if r.rate.ours > 0 {
		list = append(list, http.StatusTooManyRequests)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// understands says whether the operation changes what it must first read from
// the disk, where it may be damaged, or be written by another program.
func (r route) understands() bool {
	purges := r.method == http.MethodDelete && r.tag == tagTrash
	return (r.needs == toWrite || r.needs == toDelete) && !purges
}

// bodied is a body that Huma does not read itself.
type bodied interface {
	document(schemas huma.Registry, operation string) *huma.RequestBody
}

func (*Strict[T]) document(schemas huma.Registry, operation string) *huma.RequestBody {
	return jsonBody[T](schemas, operation, true)
}

func (*Lenient[T]) document(schemas huma.Registry, operation string) *huma.RequestBody {
	return jsonBody[T](schemas, operation, false)
}

func jsonBody[T any](schemas huma.Registry, operation string, required bool) *huma.RequestBody {
	t := reflect.TypeFor[T]()
	schema := schemas.Schema(t, true, operation+"-request")
	// Huma gives no name to what describes itself.
	if name := schemaNamer(t, ""); schema.Ref == "" && schemaDocs[name] != "" {
		schemas.Map()[name] = schema
		schema = &huma.Schema{Ref: schemaPrefix + name}
	}
	return &huma.RequestBody{Required: required, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
}

// finish writes into the document what Huma must not see while it registers
// the operation, since it would act on it: the body that we read ourselves.
// And it takes out the 422 that Huma adds and we never answer for bad input.
func finish(doc *huma.OpenAPI, r route, path string, input reflect.Type) {
	op := operationAt(doc, r.method, path)
	if !slices.Contains(r.statuses(), http.StatusUnprocessableEntity) {
		delete(op.Responses, strconv.Itoa(http.StatusUnprocessableEntity))
	}
	if body, takes := bodyOf(input); takes {
		op.RequestBody = body.document(doc.Components.Schemas, r.id)
	}
	for _, p := range op.Parameters {
		p.Required = p.Required || slices.Contains(r.must, p.Name)
	}
	if r.needs != "" {
		op.Extensions = map[string]any{needsKey: r.needs}
	}
	addExamples(op, r.id)
	documentFailures(op, r)
	// Huma knows one form of each failure.
	for status, own := range r.responses {
		if listed := op.Responses[status]; listed != nil && listed != own && listed.Content != nil {
			maps.Copy(listed.Content, own.Content)
		}
	}
}

// bodyOf returns the body among the fields of an input.
func bodyOf(input reflect.Type) (body bodied, takes bool) {
	for field := range input.Fields() {
		if body, takes = reflect.TypeAssert[bodied](reflect.New(field.Type)); takes {
			return body, true
		}
	}
	return nil, false
}

func operationAt(doc *huma.OpenAPI, method, path string) *huma.Operation {
	item := doc.Paths[path]
	switch method {
	case http.MethodGet:
		return item.Get
	case http.MethodPost:
		return item.Post
	case http.MethodPut:
		return item.Put
	case http.MethodPatch:
		return item.Patch
	case http.MethodDelete:
		return item.Delete
	}
	panic(fmt.Sprintf("operation of method %s", method))
}

// schema names a type's schema in both documents, for an operation that both
// have is in each of them by its own.
func (s *server) schema(t reflect.Type, hint string) *huma.Schema {
	s.legacy.OpenAPI().Components.Schemas.Schema(t, true, hint)
	return s.api.OpenAPI().Components.Schemas.Schema(t, true, hint)
}

// named gives a schema a name in both documents; it becomes the name of a class
// in generated clients.
func (s *server) named(name string, schema *huma.Schema) *huma.Schema {
	for _, api := range []huma.API{s.api, s.legacy} {
		own := *schema
		api.OpenAPI().Components.Schemas.Map()[name] = &own
	}
	return &huma.Schema{Ref: schemaPrefix + name}
}

// answers documents a body that a handler writes itself: content type to schema.
func answers(description string, content map[string]*huma.Schema) map[string]*huma.Response {
	media := map[string]*huma.MediaType{}
	for contentType, schema := range content {
		media[contentType] = &huma.MediaType{Schema: schema}
	}
	return map[string]*huma.Response{"200": {Description: description, Content: media}}
}

// reply is an output whose body is v as JSON.
type reply[T any] struct{ Body T }

func replyOf[T any](v T, err error) (*reply[T], error) {
	if err != nil {
		return nil, err
	}
	return &reply[T]{v}, nil
}

// message is the body that says what was done.
type message struct {
	Message string `json:"message" doc:"What was done, for people."`
}

// created says what was done and the id of what was made.
type created struct {
	Message string `json:"message" doc:"What was done, for people."`
	ID      string `json:"id" doc:"Id of what was made."`
}
