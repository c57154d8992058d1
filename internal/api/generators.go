package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// forGenerators makes of a 3.0 document the one that generators of clients
// read. They choke on alternatives, or make a type of each, so it has one type
// an answer and one a body: files and previews are bytes, all refusals are one
// Problem. What the API does is the same; what a generated client has no use
// for (several parts at once, 304, cookies) is left out.
func forGenerators(doc []byte) ([]byte, error) {
	var v map[string]any
	if err := json.Unmarshal(doc, &v); err != nil {
		return nil, fmt.Errorf("read document for generators: %w", err)
	}
	v = without(v, "example", "examples", "x-codes", needsKey).(map[string]any)
	closeSchemas(v)
	schemes := object(object(v, "components"), "securitySchemes")
	maps.DeleteFunc(schemes, func(name string, _ any) bool { return name != bearerScheme })
	for path, item := range object(v, "paths") {
		for _, op := range item.(map[string]any) {
			simplify(path, op.(map[string]any))
		}
	}
	schemas := object(object(v, "components"), "schemas")
	// Without the parameter key it is always all of it.
	object(object(schemas, "Metadata"), "properties")["metadata"] = map[string]any{
		"type": "object", "additionalProperties": true, "description": "The metadata.",
	}
	prune(v, schemas)
	return json.Marshal(v)
}

// switches are the parameters with which an answer has another form: images
// and coordinates as JSON in place of bytes, one value of the metadata or one
// sequence in place of all, tokens in cookies. A point stands after the
// operation that has one under a name which means something else in others.
var switches = []string{"as_base64", "coords", "key", "cookies", "get-sequence.type"}

// headers are the parameters that every client can send as a header, and that
// would only stand in the way among the arguments: of an upload, and of a download
// whose answer they would make either a part or the whole.
var headers = []string{"Content-Digest", "Repr-Digest", "If-Range"}

// simplify leaves one type an answer and one a body of an operation.
func simplify(path string, op map[string]any) {
	preferJSON(object(op, "requestBody"))
	if security, ok := op["security"].([]any); ok {
		op["security"] = slices.DeleteFunc(security, func(s any) bool {
			names := s.(map[string]any)
			return len(names) > 0 && names[bearerScheme] == nil
		})
	}
	parameters, _ := op["parameters"].([]any)
	simplifyAnswers(object(op, "responses"), slices.ContainsFunc(parameters, func(p any) bool { return p.(map[string]any)["name"] == "Range" }))
	parameters = slices.DeleteFunc(parameters, func(p any) bool {
		name, _ := p.(map[string]any)["name"].(string)
		return slices.Contains(switches, name) || slices.Contains(switches, fmt.Sprint(op["operationId"], ".", name)) || slices.Contains(headers, name)
	})
	for _, p := range parameters {
		parameter := p.(map[string]any)
		if schema := object(parameter, "schema"); isFlag(schema) {
			parameter["schema"] = map[string]any{"type": "boolean"}
		}
	}
	if op["parameters"] = parameters; len(parameters) == 0 {
		delete(op, "parameters")
	}
	if optional := len(parameters) - strings.Count(path, "{"); optional > maxPositional {
		op["x-group-parameters"] = true
	}
}

// maxPositional is how many optional parameters one can tell apart by their
// place, in languages that have no names for them; more make an object.
const maxPositional = 3

// simplifyAnswers leaves of success the bytes, where there is JSON beside them,
// and of refusals one for all. A part of a file, where one can be asked for, is of
// the type of the whole.
func simplifyAnswers(answers map[string]any, parts bool) {
	var client, server []string
	for _, status := range slices.Sorted(maps.Keys(answers)) {
		switch status[0] {
		case '4':
			client = append(client, refusedWith(status, answers[status]))
			delete(answers, status)
		case '5':
			server = append(server, refusedWith(status, answers[status]))
			delete(answers, status)
		default:
			answer := answers[status].(map[string]any)
			content := object(answer, "content")
			delete(content, anyType)
			// A list can be read to its end, and its items have a type.
			if delete(content, "text/event-stream"); len(content) > 1 {
				delete(content, "application/json")
				// What follows the semicolon tells of the other form.
				answer["description"], _, _ = strings.Cut(answer["description"].(string), ";")
			}
			preferFirst(answer)
		}
	}
	if parts {
		part := object(answers, fmt.Sprint(http.StatusPartialContent))
		part["description"] = "The range that was asked for."
		part["content"] = object(answers, fmt.Sprint(http.StatusOK))["content"]
	} else {
		delete(answers, fmt.Sprint(http.StatusPartialContent))
	}
	delete(answers, fmt.Sprint(http.StatusNotModified))
	addRefusals(answers, "4XX", "Refused", client)
	addRefusals(answers, "5XX", "Not now", server)
}

// preferFirst leaves the first of alternative schemas, which is that of an answer
// without switches.
func preferFirst(answer map[string]any) {
	media := object(object(answer, "content"), "application/json")
	if all, _ := object(media, "schema")["anyOf"].([]any); len(all) > 0 {
		media["schema"] = all[0]
		answer["description"], _, _ = strings.Cut(answer["description"].(string), ";")
	}
}

// refusedWith tells the codes of a status: "404 (`unknown_scan`)".
func refusedWith(status string, answer any) string {
	description, _ := answer.(map[string]any)["description"].(string)
	if _, codes, found := strings.Cut(description, "Codes: "); found {
		return status + " (" + strings.TrimSuffix(codes, ".") + ")"
	}
	return status
}

func addRefusals(answers map[string]any, status, what string, refusals []string) {
	if len(refusals) == 0 {
		return
	}
	answers[status] = map[string]any{
		"description": what + ": " + strings.Join(refusals, "; ") + ".",
		"content": map[string]any{"application/json": map[string]any{
			"schema": map[string]any{"$ref": "#/components/schemas/Problem"},
		}},
	}
}

// preferJSON leaves JSON alone of the forms that a body may have.
func preferJSON(body map[string]any) {
	content := object(body, "content")
	if content["application/json"] != nil {
		maps.DeleteFunc(content, func(kind string, _ any) bool { return kind != "application/json" })
	}
}

// isFlag finds the flags, which are written in all the ways of upstream.
func isFlag(schema map[string]any) bool {
	values, _ := schema["enum"].([]any)
	return slices.Contains(values, any("true")) && slices.Contains(values, any("false"))
}

// closeSchemas takes the leave for unknown keys from what has known ones: it
// would cost each type a map, and clients ignore what they do not know anyway.
func closeSchemas(v any) {
	switch v := v.(type) {
	case map[string]any:
		if v["properties"] != nil {
			delete(v, "additionalProperties")
		}
		for _, e := range v {
			closeSchemas(e)
		}
	case []any:
		for _, e := range v {
			closeSchemas(e)
		}
	}
}

// prune removes the schemas that nothing refers to any more.
func prune(doc, schemas map[string]any) {
	used := map[string]bool{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			ref, _ := v["$ref"].(string)
			if name := strings.TrimPrefix(ref, "#/components/schemas/"); name != "" && !used[name] {
				used[name] = true
				walk(schemas[name])
			}
			for _, e := range v {
				walk(e)
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(doc["paths"])
	maps.DeleteFunc(schemas, func(name string, _ any) bool { return !used[name] })
}

// object returns a member that is an object, else an empty one.
func object(v map[string]any, key string) map[string]any {
	o, _ := v[key].(map[string]any)
	return o
}
