package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/yaml"

	"github.com/romi/plantdb-go/internal/observe"
	"github.com/romi/plantdb-go/internal/static"
)

var base64Type = reflect.TypeFor[base64Image]()

// humaConfig leaves Huma only what it does well here: registering, decoding
// and documenting. Its own routes for documents and schemas stay off.
func humaConfig(c Config) huma.Config {
	config := huma.DefaultConfig("PlantDB", c.Version)
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil
	config.Formats = map[string]huma.Format{"application/json": jsonFormat}
	config.DefaultFormat = "application/json"
	config.Info.Description = "Keeps the scans of plant phenotyping robots, with the files reconstructed from them, and serves them to people and programs. " +
		"The routes are those of ROMI's PlantDB 0.17; errors carry a stable code."
	config.Info.Contact = &huma.Contact{Name: "ROMI, robotics for microfarms", URL: "https://github.com/romi"}
	config.Info.License = &huma.License{Name: "Apache-2.0", URL: "https://www.apache.org/licenses/LICENSE-2.0"}
	// Relative to the document, so that it is right behind any deploy prefix.
	config.Servers = []*huma.Server{{URL: ".", Description: "This server."}}
	config.Tags = []*huma.Tag{
		{Name: tagServer, Description: "The server itself."},
		{Name: tagAuth, Description: "Login, sessions and tokens."},
		{Name: tagUsers, Description: "Accounts and their passwords."},
		{Name: tagGroups, Description: "Groups that scans are shared with."},
		{Name: tagScans, Description: "Scans: one plant, photographed once."},
		{Name: tagFilesets, Description: "Filesets: the files that one task made of a scan."},
		{Name: tagFiles, Description: "Files and their metadata."},
		{Name: tagTimelapses, Description: "Timelapses: scans of one plant over time."},
		{Name: tagUploads, Description: "Large files in pieces, by the protocol of tus.io."},
		{Name: tagQuotas, Description: "What users and groups hold, and may hold."},
		{Name: tagTrash, Description: "What was deleted, to be restored or purged."},
		{Name: tagEvents, Description: "What is done, as it is done and afterwards."},
		{Name: tagWebhooks, Description: "Receivers that events are sent to."},
		{Name: tagAssets, Description: "Files and previews, by path or kind."},
	}
	config.Components.Schemas = huma.NewMapRegistry(schemaPrefix, schemaNamer)
	config.Components.SecuritySchemes = securitySchemes(c.TokenLocations)
	return config
}

// legacyConfig is for the document of the older paths.
func legacyConfig(c Config) huma.Config {
	config := humaConfig(c)
	config.Info.Title = "PlantDB, older paths"
	config.Info.Description = "The routes of ROMI's PlantDB 0.14 and 0.15: deprecated aliases of the operations in openapi.yaml."
	return config
}

// Document is a form of the OpenAPI document, ready to be sent or written.
type Document struct {
	Name        string // file name
	ContentType string
	Content     []byte
}

// Documents returns the document of the API in all its forms, without a server.
func Documents(version string) []Document {
	s := newServer(Services{Log: slog.New(slog.DiscardHandler), Metrics: observe.NewMetrics(nil)}, Config{Version: version, UsernameCheck: true})
	forms := s.forms()
	list := make([]Document, len(forms))
	for i, f := range forms {
		list[i] = Document{f.name, f.contentType, f.render()}
	}
	return list
}

// documentForm is a form of the document that is not written yet.
type documentForm struct {
	name, contentType string
	render            func() []byte
}

// forms are those of the document of the API, and of that of the older paths.
func (s *server) forms() []documentForm {
	list := append(formsOf("openapi", s.api.OpenAPI()), formsOf("openapi-legacy", s.legacy.OpenAPI())[:2]...)
	simple := func() []byte { return must(forGenerators(must(older(s.api.OpenAPI())))) }
	return append(list,
		documentForm{"openapi-clients.json", "application/json", func() []byte { return append(simple(), '\n') }},
		documentForm{"openapi-clients.yaml", "application/yaml", func() []byte { return must(yamlOf(simple())) }})
}

// formsOf writes a document as OpenAPI 3.1, and as 3.0 for generators that need it.
func formsOf(name string, doc *huma.OpenAPI) []documentForm {
	return []documentForm{
		{name + ".json", "application/json", func() []byte { return append(must(json.Marshal(doc)), '\n') }},
		{name + ".yaml", "application/yaml", func() []byte { return must(doc.YAML()) }},
		{name + "-3.0.json", "application/json", func() []byte { return append(must(older(doc)), '\n') }},
		{name + "-3.0.yaml", "application/yaml", func() []byte { return must(yamlOf(must(older(doc)))) }},
	}
}

// handleDocuments serves each form. It is written when it is first asked for:
// all of them take a second, by which every start would be later.
func (s *server) handleDocuments() {
	var writing sync.Mutex // Huma does not say that two may read its document at once
	for _, f := range s.forms() {
		content := static.New(f.contentType, func() []byte {
			writing.Lock()
			defer writing.Unlock()
			return f.render()
		})
		s.mux.HandleFunc("GET /"+f.name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-cache")
			content.ServeHTTP(w, r)
		})
	}
}

// must returns b: what is registered in this package always renders, a test
// does it.
func must(b []byte, err error) []byte {
	if err != nil {
		panic(fmt.Sprintf("render the OpenAPI document: %v", err))
	}
	return b
}

// older writes a document as OpenAPI 3.0.
func older(doc *huma.OpenAPI) ([]byte, error) {
	old, err := doc.Downgrade()
	if err != nil {
		return nil, fmt.Errorf("downgrade document: %w", err)
	}
	return strip30(old)
}

// strip30 takes out what Huma's downgrade leaves and 3.0 forbids.
func strip30(doc []byte) ([]byte, error) {
	var v any
	if err := json.Unmarshal(doc, &v); err != nil {
		return nil, fmt.Errorf("read downgraded document: %w", err)
	}
	return json.Marshal(wrapReferences(without(v, "contentMediaType", "contentEncoding")))
}

// wrapReferences puts a $ref that has a description beside it into an allOf,
// for 3.0 ignores whatever stands beside one.
func wrapReferences(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = wrapReferences(e)
		}
		if ref, ok := v["$ref"].(string); ok && len(v) > 1 {
			delete(v, "$ref")
			v["allOf"] = []any{map[string]any{"$ref": ref}}
		}
	case []any:
		for i, e := range v {
			v[i] = wrapReferences(e)
		}
	}
	return v
}

// yamlOf writes a JSON document as YAML.
func yamlOf(doc []byte) ([]byte, error) {
	var out bytes.Buffer
	if err := yaml.Convert(&out, bytes.NewReader(doc)); err != nil {
		return nil, fmt.Errorf("convert document to YAML: %w", err)
	}
	return out.Bytes(), nil
}

func without(v any, keys ...string) any {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range keys {
			delete(v, k)
		}
		for k, e := range v {
			v[k] = without(e, keys...)
		}
	case []any:
		for i, e := range v {
			v[i] = without(e, keys...)
		}
	}
	return v
}

// operationsOf returns the operations of a path in a fixed order.
func operationsOf(item *huma.PathItem) []*huma.Operation {
	var list []*huma.Operation
	for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
		if op != nil {
			list = append(list, op)
		}
	}
	return list
}

// prefersHTML says whether a person's browser asks.
func prefersHTML(accept string) bool {
	first, _, _ := strings.Cut(accept, ",")
	return strings.HasPrefix(strings.TrimSpace(first), "text/html")
}

// DocumentVersion is the version that the document in the repository carries:
// that of the API, not of one build.
const DocumentVersion = "0.17"
