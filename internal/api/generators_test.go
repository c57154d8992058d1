package api_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// What generators read has all operations, one type an answer and one a body,
// and all refusals as one type.
func TestDocumentForGenerators(t *testing.T) {
	t.Parallel()
	whole, simple := documentNamed(t, "openapi.json"), documentNamed(t, "openapi-clients.json")
	if got, want := len(simple), len(whole); got != want || want == 0 {
		t.Fatalf("openapi-clients.json has %d operations, want the %d of openapi.json", got, want)
	}
	var parts []string
	for id, op := range simple {
		if _, ok := whole[id]; !ok {
			t.Errorf("%s: stands in openapi-clients.json alone", id)
		}
		if n := len(op.RequestBody.Content); n > 1 {
			t.Errorf("%s: %d forms of a body, want at most one", id, n)
		}
		successes := 0
		for status, answer := range op.Responses {
			if len(answer.Content) > 1 {
				t.Errorf("%s %s: %d forms of an answer, want at most one", id, status, len(answer.Content))
			}
			switch {
			case status == "4XX", status == "5XX":
				if got := answer.Content["application/json"].Schema.Ref; got != "#/components/schemas/Problem" {
					t.Errorf("%s %s: schema %q, want that of Problem", id, status, got)
				}
			case status == "206":
				if got, want := answer.Content, op.Responses["200"].Content; !reflect.DeepEqual(got, want) || len(got) == 0 {
					t.Errorf("%s 206 = %v, want %v, as the whole", id, got, want)
				}
				parts = append(parts, id)
			case strings.HasPrefix(status, "2"):
				successes++
			default:
				t.Errorf("%s: answer %s, want one of success and ranges", id, status)
			}
		}
		if successes != 1 {
			t.Errorf("%s: %d answers of success, want 1", id, successes)
		}
		for _, need := range op.Security {
			if _, ok := need["bearer"]; len(need) > 0 && !ok {
				t.Errorf("%s: security %v, want a bearer or nothing", id, need)
			}
		}
	}
	if slices.Sort(parts); !slices.Equal(parts, []string{"get-archive", "get-asset", "get-file"}) {
		t.Errorf("a part is had of %q, want of files and archives", parts)
	}
	for _, id := range parts {
		var names []string
		for _, p := range simple[id].Parameters {
			names = append(names, p.Name)
		}
		for _, want := range []string{"Range", "If-Match", "If-None-Match"} {
			if !slices.Contains(names, want) {
				t.Errorf("%s has the parameters %q, want %s among them", id, names, want)
			}
		}
	}
	if _, ok := simple["get-image"].Responses["200"].Content["image/jpeg"]; !ok {
		t.Errorf("get-image 200 = %v, want image/jpeg", simple["get-image"].Responses["200"].Content)
	}
}

// documentNamed returns the operations of a document by their ids.
func documentNamed(t *testing.T, name string) map[string]operation {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]operation `json:"paths"`
	}
	for _, d := range documents() {
		if d.Name == name {
			if err := json.Unmarshal(d.Content, &doc); err != nil {
				t.Fatalf("read %s: %v", name, err)
			}
		}
	}
	found := map[string]operation{}
	for _, item := range doc.Paths {
		for _, op := range item {
			found[op.OperationID] = op
		}
	}
	return found
}
