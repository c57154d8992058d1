package compat_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/openapi/compat"
)

const document = `{
  "paths": {
    "/scans": {
      "get": {
        "operationId": "list-scans", "tags": ["Scans"], "security": [{"bearer": []}, {}],
        "parameters": [
          {"in": "query", "name": "limit", "schema": {"type": "integer", "maximum": 1000, "default": 50}},
          {"in": "query", "name": "order", "schema": {"type": "string", "enum": ["id", "date"]}}
        ],
        "responses": {
          "200": {
            "headers": {"Link": {}},
            "content": {"application/json": {"schema": {"type": "array", "items": {"$ref": "#/components/schemas/Scan"}}}}
          },
          "404": {"x-codes": ["unknown_scan", "unknown_timelapse"]}
        }
      },
      "post": {
        "operationId": "create-scan", "security": [{"bearer": []}, {"cookie": [], "csrf": []}],
        "requestBody": {"content": {
          "application/json": {"schema": {"$ref": "#/components/schemas/NewScan"}},
          "text/plain": {"schema": {"type": "string"}},
          "text/x-list": {"schema": {"oneOf": [{"type": "string"}, {"type": "integer"}]}}
        }},
        "responses": {"201": {}}
      }
    }
  },
  "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}, "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRF"}}, "schemas": {
    "Scan": {
      "type": "object", "required": ["id"],
      "properties": {
        "id": {"type": "string"}, "count": {"type": "integer"}, "state": {"type": "string", "enum": ["good", "broken"]},
        "parent": {"$ref": "#/components/schemas/Scan"}
      }
    },
    "NewScan": {
      "type": "object", "required": ["name"],
      "properties": {"name": {"type": "string", "maxLength": 255}, "size": {"type": ["number", "null"]}, "tag": {"type": "string"}}
    }
  }}
}`

// Each kind of break is found, and named with its place.
func TestBreaks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, old, new, want string }{
		{"an operation removed", `"post": {`, `"x-post": {`, "POST /scans: the operation is gone"},
		{"a path removed", `"/scans": {`, `"/plants": {`, "GET /scans: the operation is gone"},
		{"another operationId", `"list-scans"`, `"get-scans"`, "GET /scans: operationId list-scans has become get-scans"},
		{"a token needed", `[{"bearer": []}, {}]`, `[{"bearer": []}]`, "GET /scans: it needs a token now"},
		{"a parameter removed", `"name": "limit"`, `"name": "size"`, "GET /scans: query parameter limit is gone"},
		{"a parameter required", `"name": "limit",`, `"name": "limit", "required": true,`, "GET /scans: query parameter limit is required now"},
		{"a new required parameter", `"parameters": [`, `"parameters": [{"in": "query", "name": "x", "required": true, "schema": {}},`, "GET /scans: query parameter x is new and required"},
		{"a parameter's type narrowed", `"schema": {"type": "integer", "maximum": 1000`, `"schema": {"type": "boolean", "maximum": 1000`, "GET /scans query parameter limit: type [integer] has become [boolean]"},
		{"a bound lowered", `1000`, `100`, "GET /scans query parameter limit: maximum is 100 now"},
		{"an enum shrunk", `"id", "date"`, `"id"`, `GET /scans query parameter order: value "date" is refused now`},
		{"a status removed", `"404": {`, `"410": {`, "GET /scans 404: the status is gone"},
		{"a code removed", `, "unknown_timelapse"`, ``, "GET /scans 404: code unknown_timelapse is gone"},
		{"a header removed", `"Link": {}`, ``, "GET /scans 200: header Link is gone"},
		{"a property removed", `"id": {"type": "string"}, `, ``, "GET /scans 200[] (Scan): property id is gone"},
		{"a property not always there", `"required": ["id"],`, ``, "GET /scans 200[] (Scan): property id may be missing now"},
		{"a property's type changed", `"count": {"type": "integer"}`, `"count": {"type": "number"}`, "GET /scans 200[] (Scan).count: type [integer] has become [number]"},
		{"a property null", `"count": {"type": "integer"}`, `"count": {"type": ["integer", "null"]}`, "GET /scans 200[] (Scan).count: type [integer] has become [integer null]"},
		{"a value that clients do not know", `["good", "broken"]`, `["good", "broken", "odd"]`, `GET /scans 200[] (Scan).state: value "odd" is new`},
		{"a schema renamed", `schemas/Scan"`, `schemas/NewScan"`, "GET /scans 200[]: schema Scan has become NewScan"},
		{"a content type removed", `"text/plain"`, `"text/csv"`, "POST /scans body: content type text/plain is gone"},
		{"a body required", `"requestBody": {`, `"requestBody": {"required": true, `, "POST /scans: the body is required now"},
		{"a property required", `"required": ["name"]`, `"required": ["name", "size"]`, "POST /scans body (NewScan): property size is required now"},
		{"an input narrowed", `["number", "null"]`, `["number"]`, "POST /scans body (NewScan).size: type [number null] has become [number]"},
		{"an input's pattern", `"maxLength": 255`, `"maxLength": 255, "pattern": "^a"`, "POST /scans body (NewScan).name: pattern is ^a now"},
		{"unknown properties refused", `"required": ["name"],`, `"required": ["name"], "additionalProperties": false,`, "POST /scans body (NewScan): properties that have no name are refused now"},
		{"a format", `"tag": {"type": "string"}`, `"tag": {"type": "string", "format": "uuid"}`, `POST /scans body (NewScan).tag: format "" has become "uuid"`},
		{"another tag", `["Scans"]`, `["Plants"]`, "GET /scans: it is not of the tag Scans any more"},
		{"a security scheme removed", `"bearer": {"type": "http", "scheme": "bearer"}, `, ``, "security scheme bearer: it is gone"},
		{"a security scheme elsewhere", `"name": "X-CSRF"`, `"name": "X-Token"`, `security scheme csrf: name "X-CSRF" has become "X-Token"`},
		{"a way in removed", `, {"cookie": [], "csrf": []}`, ``, "POST /scans: cookie with csrf does not suffice any more"},
		{"more asked of a way in", `{"bearer": []}, {"cookie"`, `{"bearer": [], "csrf": []}, {"cookie"`, "POST /scans: bearer does not suffice any more"},
		{"alternatives in a body", `"text/plain": {"schema": {"type": "string"}}`, `"text/plain": {"schema": {"oneOf": [{"type": "string"}]}}`, "POST /scans body: it is oneOf 1 now"},
		{"an alternative refused", `, {"type": "integer"}]`, `]`, "POST /scans body: it is oneOf 1, no more of 2"},
		{"an alternative changed", `{"oneOf": [{"type": "string"}`, `{"oneOf": [{"type": "boolean"}`, "POST /scans body oneOf 1: type [string] has become [boolean]"},
		{"no alternatives", `"oneOf": [{"type": "string"}, {"type": "integer"}]`, `"type": "string"`, "POST /scans body: it is oneOf none any more"},
		{"alternatives received", `"count": {"type": "integer"}`, `"count": {"type": "integer", "anyOf": [{"minimum": 1}]}`, "GET /scans 200[] (Scan).count: it is anyOf 1 now"},
		{"another success", `"responses": {"201": {}}`, `"responses": {"202": {}, "201": {}}`, "POST /scans: status 202 is new"},
		{"another default", `"default": 50`, `"default": 100`, "GET /scans query parameter limit: default 50 has become 100"},
		{"no default", `, "default": 50`, ``, "GET /scans query parameter limit: default 50 has become <nil>"},
		{"another style", `"name": "order",`, `"name": "order", "style": "pipeDelimited",`, "GET /scans: query parameter order is written as pipeDelimited now, no more as form, exploded"},
		{"not exploded", `"name": "order",`, `"name": "order", "explode": false,`, "GET /scans: query parameter order is written as form now"},
	} {
		changed := strings.Replace(document, tt.old, tt.new, 1)
		if changed == document {
			t.Fatalf("%s: nothing was changed", tt.name)
		}
		got, err := compat.Breaks([]byte(document), []byte(changed))
		if err != nil {
			t.Fatalf("%s: Breaks = %v", tt.name, err)
		}
		if !strings.Contains(strings.Join(got, "\n"), tt.want) {
			t.Errorf("%s: Breaks = %q, want one that begins with %q", tt.name, got, tt.want)
		}
	}
}

// What a client does not notice is no break.
func TestGrowthIsNoBreak(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, old, new string }{
		{"nothing", `1000`, `1000`},
		{"a new operation", `"post": {`, `"delete": {"operationId": "delete-scans"}, "post": {`},
		{"a new optional parameter", `"parameters": [`, `"parameters": [{"in": "query", "name": "x", "schema": {}},`},
		{"a bound raised", `1000`, `5000`},
		{"an enum of what is sent grown", `"id", "date"`, `"id", "date", "size"`},
		{"no token needed any more", `"create-scan", "security": [{"bearer": []}, {"cookie": [], "csrf": []}]`, `"create-scan", "security": []`},
		{"a way in more", `{"cookie": [], "csrf": []}`, `{"cookie": []}, {"key": []}`},
		{"its style said", `"name": "order",`, `"name": "order", "style": "form", "explode": true,`},
		{"a tag more", `["Scans"]`, `["Scans", "Plants"]`},
		{"an alternative more to send", `, {"type": "integer"}]`, `, {"type": "integer"}, {"type": "boolean"}]`},
		{"parts", `"responses": {"201": {}}`, `"responses": {"206": {}, "201": {}}`},
		{"a default", `"enum": ["id", "date"]`, `"enum": ["id", "date"], "default": "id"`},
		{"a new code", `"unknown_scan", `, `"unknown_scan", "unknown_fileset", `},
		{"a new status", `"404": {`, `"409": {}, "404": {`},
		{"a property more", `"id": {"type": "string"}, `, `"id": {"type": "string"}, "owner": {"type": "string"}, `},
		{"an input widened", `"tag": {"type": "string"}`, `"tag": {"type": ["string", "null"]}`},
		{"an input optional", `"required": ["name"],`, ``},
		{"a value that comes no more", `["good", "broken"]`, `["good"]`},
	} {
		got, err := compat.Breaks([]byte(document), []byte(strings.Replace(document, tt.old, tt.new, 1)))
		if err != nil {
			t.Fatalf("%s: Breaks = %v", tt.name, err)
		}
		if diff := cmp.Diff([]string(nil), got); diff != "" {
			t.Errorf("%s is called a break:\n%s", tt.name, diff)
		}
	}
}

func TestBreaksOfWhatIsNoDocument(t *testing.T) {
	t.Parallel()
	if got, err := compat.Breaks([]byte(document), []byte(`paths:`)); err == nil {
		t.Errorf("Breaks(YAML) = %v, want an error", got)
	}
}
