package api_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// verbs are what the id of an operation begins with: it becomes the name of a
// method in every generated client.
var verbs = []string{
	"abort", "accept", "add", "apply", "change", "check", "complete", "create", "delete", "download", "empty", "end", "export", "find", "follow",
	"get", "import", "inspect", "introspect", "list", "lock", "merge", "move", "patch", "preview", "purge", "put", "query", "redeem", "refresh",
	"register", "release", "reload", "remove", "rename", "replace", "reset", "restore", "resume", "retry", "revoke", "rotate", "run", "search",
	"send", "set", "share", "start", "stop", "stream", "subscribe", "test", "transfer", "unlock", "unshare", "update", "upload", "validate", "verify",
}

// single are ids that need no noun.
var single = []string{"login", "logout"}

// Everything that a generated client, a reader of the page or a linter needs
// is said of each operation. Whoever adds one sees here what still lacks.
func TestEveryOperationIsDocumented(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, op := range operations(t, "openapi.json") {
		where := op.Method + " " + op.Path
		if fault := faultOfID(op.OperationID); fault != "" {
			t.Errorf("%s: operationId %q %s", where, op.OperationID, fault)
		}
		if other, ok := seen[op.OperationID]; ok {
			t.Errorf("%s has the operationId of %s", where, other)
		}
		seen[op.OperationID] = where
		for _, fault := range faultsOf(op) {
			t.Errorf("%s (%s): %s", where, op.OperationID, fault)
		}
	}
}

var idForm = regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)

func faultOfID(id string) string {
	verb, noun, _ := strings.Cut(id, "-")
	switch {
	case !idForm.MatchString(id):
		return "is not made of lower-case words and dashes"
	case slices.Contains(single, id):
		return ""
	case noun == "" || !slices.Contains(verbs, verb):
		return "is not a verb (see verbs) and a noun"
	}
	return ""
}

func faultsOf(op operation) (list []string) {
	say := func(ok bool, fault string) {
		if !ok {
			list = append(list, fault)
		}
	}
	say(op.Summary != "" && !strings.HasSuffix(op.Summary, "."), "summary: a heading without a full stop is wanted (route.summary)")
	say(strings.HasSuffix(op.Description, "."), "description: one or more sentences are wanted (route.doc)")
	say(len(op.Tags) == 1, "exactly one tag is wanted (route.tag)")
	say(op.Security != nil, "security must be said (route.security: public, optional or required)")
	_, has401 := op.Responses["401"]
	say(op.public() || has401, "needs a token and documents no 401")
	for _, p := range op.Parameters {
		// "of a file", not what its type is already.
		say(len(p.Description) > 3, "parameter "+p.Name+" has no description (doc tag)")
		illustrated := p.Example != nil || p.Schema.Default != nil || len(p.Schema.Enum) > 0 || len(p.Schema.Examples) > 0 ||
			p.Schema.Type == "boolean" || p.Schema.Format == "uuid"
		say(illustrated, "parameter "+p.Name+" has no example, enum or default (example tag)")
	}
	for status, answer := range op.Responses {
		n, err := strconv.Atoi(status)
		say(err == nil, "answer "+status+" is no status")
		if n >= 400 {
			say(len(answer.Codes) > 0, "answer "+status+" documents no code: name the failures in route.faults")
			say(answer.Content["application/json"].Schema.Ref == "#/components/schemas/Problem", "answer "+status+" is no Problem")
		}
		// The text of the status, as Huma puts it, says nothing.
		say(len(strings.Fields(answer.Description)) > 1 || n < 300, "answer "+status+" says only "+answer.Description)
	}
	return list
}

// Every named schema and each of its properties says what it is, and shows an
// example, which is taken from those of the operations.
func TestEverySchemaIsDocumented(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"openapi.json", "openapi-legacy.json"} {
		for schemaName, s := range schemas(t, name) {
			if s.Description == "" {
				t.Errorf("%s: schema %s has no description (schemaDocs)", name, schemaName)
			}
			if !regexp.MustCompile(`^[A-Z][A-Za-z0-9]+$`).MatchString(schemaName) {
				t.Errorf("%s: schema %s has no good name for a class (schemaNames)", name, schemaName)
			}
			if len(s.Examples) == 0 && name == "openapi.json" {
				t.Errorf("%s: schema %s is in no operation's example (examples.json)", name, schemaName)
			}
			for property, p := range s.Properties {
				if p.Description == "" {
					t.Errorf("%s: %s.%s has no description (a doc tag, or propertyDocs)", name, schemaName, property)
				}
			}
		}
	}
}

// quantity finds the names of what is measured, and unit the word that says in
// what: the number alone says neither.
var (
	quantity = regexp.MustCompile(`(?i)(^|[_-])(bytes|size|length|offset|width|height|depth|distance|area|volume|seconds|duration|interval|timeout|age|lag|ttl|exp|expires|rate|angle)([_-](in|ms|s))?$`)
	unit     = regexp.MustCompile(`(?i)\b(bytes?|(milli)?seconds?|minutes|hours|days|pixels?|millimetres|degrees|radians|percent|entries)\b`)
)

// unitless are the quantities below a schema that do not say in what they are,
// and how many there are at all.
func unitless(place string, s schema) (faults []string, all int) {
	for name, p := range s.Properties {
		kinds := fmt.Sprint(p.Type)
		if quantity.MatchString(name) && (strings.Contains(kinds, "integer") || strings.Contains(kinds, "number")) {
			all++
			if !unit.MatchString(p.Description) {
				faults = append(faults, fmt.Sprintf("%s.%s is a number of what? %q", place, name, p.Description))
			}
		}
		more, n := unitless(place+"."+name, p)
		faults, all = append(faults, more...), all+n
	}
	if s.Items != nil {
		more, n := unitless(place+"[]", *s.Items)
		faults, all = append(faults, more...), all+n
	}
	return faults, all
}

// A number that measures something says in what unit.
func TestEveryQuantityHasAUnit(t *testing.T) {
	t.Parallel()
	for document, least := range map[string]int{"openapi.json": 12, "openapi-legacy.json": 1, "openapi-clients.json": 12} {
		found := 0
		for name, s := range schemas(t, document) {
			faults, n := unitless(name, s)
			for _, fault := range faults {
				t.Errorf("%s: %s", document, fault)
			}
			found += n
		}
		for _, op := range operations(t, document) {
			for _, p := range op.Parameters {
				kinds := fmt.Sprint(p.Schema.Type)
				if quantity.MatchString(p.Name) && (kinds == "integer" || kinds == "number") && !unit.MatchString(p.Description) {
					t.Errorf("%s: %s: parameter %s is a number of what? %q", document, op.OperationID, p.Name, p.Description)
				}
			}
		}
		if found < least {
			t.Errorf("%s: found %d quantities, want at least %d", document, found, least)
		}
	}
	long := schema{Items: &schema{Properties: map[string]schema{"max_size": {Type: []any{"integer", "null"}, Description: "How large."}, "files": {Type: "integer"}}}}
	if got, n := unitless("Long", long); n != 1 || len(got) != 1 || !strings.HasPrefix(got[0], "Long[].max_size is") {
		t.Errorf("unitless = %q of %d, want that of max_size", got, n)
	}
}

// What an answer or a body is of stands in the document also where it has no
// name: generators make a type of it, or of nothing one that says nothing.
func TestEveryInlineSchemaIsDocumented(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"openapi.json", "openapi-legacy.json", "openapi-clients.json"} {
		seen := 0
		for id, op := range documentNamed(t, name) {
			bodies := map[string]map[string]media{"body": op.RequestBody.Content}
			for status, answer := range op.Responses {
				bodies[status] = answer.Content
			}
			for where, content := range bodies {
				for kind, m := range content {
					for _, fault := range inlineFaults(m.Schema) {
						t.Errorf("%s: %s, %s as %s: %s", name, id, where, kind, fault)
					}
					seen++
				}
			}
			for _, p := range op.Parameters {
				for _, fault := range inlineFaults(p.Schema) {
					t.Errorf("%s: %s, parameter %s: %s", name, id, p.Name, fault)
				}
			}
		}
		if seen < 50 {
			t.Errorf("%s: looked at %d schemas, want those of all operations", name, seen)
		}
	}
	for _, nothing := range []schema{
		{}, {Description: "Something."}, {Type: "array"}, {Type: "array", Items: &schema{}}, {AnyOf: []schema{{}}}, {Type: "object"},
		{Type: "object", Properties: map[string]schema{"a": {Type: "string"}}}, {Type: "object", Properties: map[string]schema{"a": {Description: "A."}}},
	} {
		if len(inlineFaults(nothing)) == 0 {
			t.Errorf("inlineFaults(%+v) finds nothing", nothing)
		}
	}
}

// inlineFaults are what a schema leaves open, as far as it has no name.
func inlineFaults(s schema) []string {
	alternatives := slices.Concat(s.AnyOf, s.OneOf, s.AllOf)
	var faults []string
	switch {
	case s.Ref != "":
		return nil
	case len(alternatives) > 0:
		for _, a := range alternatives {
			faults = append(faults, inlineFaults(a)...)
		}
	case s.Type == nil:
		return []string{"a schema without a type"}
	case fmt.Sprint(s.Type) == "array" || fmt.Sprint(s.Type) == "[array null]":
		if s.Items == nil {
			return []string{"an array of nothing"}
		}
		return inlineFaults(*s.Items)
	case fmt.Sprint(s.Type) == "object" && len(s.Properties) == 0 && s.AdditionalProperties == nil:
		return []string{"an object of nothing"}
	}
	for name, p := range s.Properties {
		if p.Ref == "" && p.Description == "" {
			faults = append(faults, "property "+name+" has no description")
		}
		faults = append(faults, inlineFaults(p)...)
	}
	return faults
}

// Answers may grow: a client that is made from the document must not refuse a
// property that it does not know.
func TestAnswersMayGrow(t *testing.T) {
	t.Parallel()
	for name, s := range schemas(t, "openapi.json") {
		if name == "Problem" || name == "ScanInfo" {
			if s.AdditionalProperties != nil {
				t.Errorf("schema %s: additionalProperties = %v, want none said", name, s.AdditionalProperties)
			}
		}
	}
}

func schemas(t *testing.T, document string) map[string]schema {
	t.Helper()
	var doc struct {
		Components struct {
			Schemas map[string]schema `json:"schemas"`
		} `json:"components"`
	}
	for _, d := range documents() {
		if d.Name == document {
			if err := json.Unmarshal(d.Content, &doc); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(doc.Components.Schemas) == 0 {
		t.Fatalf("%s holds no schema", document)
	}
	return doc.Components.Schemas
}

// The rules of this file find what they are for.
func TestFaultsOf(t *testing.T) {
	t.Parallel()
	bare := operation{Method: "GET", Path: "/x", Summary: "X.", Security: []map[string][]string{{"bearer": {}}}}
	if got := faultsOf(bare); len(got) != 4 {
		t.Errorf("faultsOf(an operation that says nothing) = %q, want four faults", got)
	}
	for _, id := range []string{"scans", "scan-list", "getScans", "get", "get-scan-2"} {
		if faultOfID(id) == "" {
			t.Errorf("faultOfID(%q) finds nothing", id)
		}
	}
}
