// Package contract holds answers of the server against its OpenAPI documents:
// that the operation, the status and the content type are documented, that JSON
// is as its schema says, that it has no property that the schema does not name,
// and that the code of a refusal is among those of its status. Only tests import it.
package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// Documents are what answers are held against.
type Documents struct{ operations []operation }

// operation is a method and a path of a document.
type operation struct {
	method string
	path   *regexp.Regexp
	fixed  int // the length of the text of the path, without its parameters
	op     *openapi3.Operation
}

// Load reads OpenAPI documents, the more important first. restOfPath are the
// names of parameters that may hold slashes.
func Load(restOfPath []string, documents ...[]byte) (*Documents, error) {
	d := &Documents{}
	for _, content := range documents {
		doc, err := openapi3.NewLoader().LoadFromData(content)
		if err != nil {
			return nil, fmt.Errorf("load document: %w", err)
		}
		var found []operation
		for path, item := range doc.Paths.Map() {
			pattern, fixed := patternOf(path, restOfPath)
			for method, op := range item.Operations() {
				found = append(found, operation{method, pattern, fixed, op})
			}
		}
		// Where two match, the one that says more of the path.
		slices.SortFunc(found, func(a, b operation) int { return b.fixed - a.fixed })
		d.operations = append(d.operations, found...)
	}
	return d, nil
}

var parameter = regexp.MustCompile(`\{([^}]+)\}`)

func patternOf(path string, restOfPath []string) (pattern *regexp.Regexp, fixed int) {
	var text strings.Builder
	at := 0
	for _, m := range parameter.FindAllStringSubmatchIndex(path, -1) {
		text.WriteString(regexp.QuoteMeta(path[at:m[0]]))
		if slices.Contains(restOfPath, path[m[2]:m[3]]) {
			text.WriteString(".*")
		} else {
			text.WriteString("[^/]+")
		}
		fixed += m[0] - at
		at = m[1]
	}
	text.WriteString(regexp.QuoteMeta(path[at:]))
	return regexp.MustCompile("^" + text.String() + "$"), fixed + len(path) - at
}

// find returns the operation of a request; nil if none is documented. closer
// says that a path without that method says more of the request's path.
func (d *Documents) find(method, path string) (op *openapi3.Operation, closer bool) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	fixed := 0
	for _, o := range d.operations {
		switch {
		case !o.path.MatchString(path):
		case o.method == method:
			return o.op, fixed > o.fixed
		default:
			fixed = max(fixed, o.fixed)
		}
	}
	return nil, false
}

// Check returns what of an answer is not as documented. Requests for what no
// document has are none of its business.
func (d *Documents) Check(r *http.Request, status int, header http.Header, body []byte) error {
	op, closer := d.find(r.Method, r.URL.EscapedPath())
	if op == nil || closer && status == http.StatusMethodNotAllowed {
		return nil
	}
	answer := op.Responses.Status(status)
	if answer == nil {
		return fmt.Errorf("%s answers %d, which is not documented", op.OperationID, status)
	}
	if len(body) == 0 {
		return nil // HEAD, 204, 304, or an empty file
	}
	contentType, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("%s answers %d with the Content-Type %q: %w", op.OperationID, status, header.Get("Content-Type"), err)
	}
	media := answer.Value.Content.Get(contentType)
	if media == nil {
		return fmt.Errorf("%s answers %d with %s, which is not documented", op.OperationID, status, contentType)
	}
	if contentType != "application/json" || media.Schema == nil || media.Schema.Value.Format == "binary" || status == http.StatusPartialContent {
		return nil
	}
	if err := checkJSON(media.Schema, body); err != nil {
		return fmt.Errorf("%s answers %d with what its schema does not allow: %w", op.OperationID, status, err)
	}
	if status < http.StatusBadRequest {
		return nil
	}
	var problem struct {
		Code string `json:"code"`
	}
	codes, _ := answer.Value.Extensions["x-codes"].([]any)
	if err := json.Unmarshal(body, &problem); err != nil || !slices.Contains(codes, any(problem.Code)) {
		return fmt.Errorf("%s answers %d with the code %q, which is not documented", op.OperationID, status, problem.Code)
	}
	return nil
}

func checkJSON(schema *openapi3.SchemaRef, body []byte) error {
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return fmt.Errorf("read JSON: %w", err)
	}
	err := schema.Value.VisitJSON(v, openapi3.MultiErrors(), openapi3.VisitAsResponse(), openapi3.EnableFormatValidation(), openapi3.EnableJSONSchema2020())
	return errors.Join(append(unknown("", schema.Value, v), err)...)
}

// unknown returns an error for each property that a schema does not name, where
// it names any and says nothing of others.
func unknown(place string, s *openapi3.Schema, v any) (list []error) {
	if s == nil {
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		known := properties(s)
		open := len(known) == 0 || s.AdditionalProperties.Has != nil && *s.AdditionalProperties.Has || s.AdditionalProperties.Schema != nil
		for key, value := range v {
			if p, ok := known[key]; ok {
				list = append(list, unknown(place+"."+key, p, value)...)
			} else if more := s.AdditionalProperties.Schema; more != nil {
				list = append(list, unknown(place+"."+key, more.Value, value)...)
			} else if !open {
				list = append(list, fmt.Errorf("%s.%s is not documented", place, key))
			}
		}
	case []any:
		if s.Items == nil {
			return nil
		}
		for i, value := range v {
			list = append(list, unknown(place+"["+strconv.Itoa(i)+"]", s.Items.Value, value)...)
		}
	}
	return list
}

// properties are those of the schema and of what it is all of.
func properties(s *openapi3.Schema) map[string]*openapi3.Schema {
	all := map[string]*openapi3.Schema{}
	for name, p := range s.Properties {
		all[name] = p.Value
	}
	for _, part := range s.AllOf {
		maps.Copy(all, properties(part.Value))
	}
	return all
}

// RestOfPath are the parameters of the server's documents that may hold slashes.
var RestOfPath = []string{"path"}

// committed are the documents that the repository keeps, which the tests of api
// prove to be those that the server serves.
var committed = sync.OnceValues(func() (*Documents, error) {
	dir, err := os.Getwd() // that of the package under test
	if err != nil {
		return nil, fmt.Errorf("find the documents: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		current, err := os.ReadFile(filepath.Join(dir, "openapi", "openapi.yaml"))
		if errors.Is(err, os.ErrNotExist) && dir != filepath.Dir(dir) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the document: %w", err)
		}
		older, err := os.ReadFile(filepath.Join(dir, "openapi", "openapi-legacy.yaml"))
		if err != nil {
			return nil, fmt.Errorf("read the document of the older paths: %w", err)
		}
		return Load(RestOfPath, current, older)
	}
})

// Held fails the test for each answer over base that is not as the repository's
// documents say.
func Held(t testing.TB, base http.RoundTripper) *Transport {
	t.Helper()
	documents, err := committed()
	if err != nil {
		t.Fatal(err)
	}
	return &Transport{Base: base, Documents: documents, Report: func(err error) { t.Error(err) }}
}

// Transport is an http.RoundTripper that holds each answer against documents
// and tells Report what is wrong.
type Transport struct {
	Base      http.RoundTripper
	Documents *Documents
	Report    func(error)
	// Prefix stands before the paths of the documents.
	Prefix string
}

// RoundTrip implements http.RoundTripper. It reads JSON before it returns, and
// of anything else, which may be large or never end, the first byte at most.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.Base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	read, err := begin(resp)
	if err != nil {
		// Whoever reads the body meets what this met.
		resp.Body = body{io.MultiReader(bytes.NewReader(read), broken{err}), resp.Body}
		return resp, nil
	}
	said := r.Clone(r.Context())
	said.URL.Path = strings.TrimPrefix(r.URL.Path, t.Prefix)
	said.URL.RawPath = strings.TrimPrefix(r.URL.RawPath, t.Prefix)
	if err := t.Documents.Check(said, resp.StatusCode, resp.Header, read); err != nil {
		t.Report(fmt.Errorf("%s %s: %w", r.Method, r.URL.Path, err))
	}
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), eventStream) {
		resp.Body = body{io.MultiReader(bytes.NewReader(read), resp.Body), resp.Body}
	}
	return resp, nil
}

const eventStream = "text/event-stream"

// begin reads as much of an answer as is held against the document: all of
// JSON, else whether there is anything. A stream of events has some in time.
func begin(resp *http.Response) (read []byte, err error) {
	switch contentType := resp.Header.Get("Content-Type"); {
	case strings.HasPrefix(contentType, eventStream):
		return []byte{0}, nil
	case strings.HasPrefix(contentType, "application/json"):
		read, err = io.ReadAll(resp.Body)
	default:
		read, err = io.ReadAll(io.LimitReader(resp.Body, 1))
	}
	return read, err
}

// body reads from one and closes another.
type body struct {
	io.Reader
	io.Closer
}

// broken is an answer that ends in a failure.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }
