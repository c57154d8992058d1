package api

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed examples.json
var examplesJSON []byte

// example is what the document shows of an operation's JSON.
type example struct {
	Request  json.RawMessage `json:"request"`
	Response json.RawMessage `json:"response"`
}

// examples returns those of all operations, by id. A test holds that none is
// missing and that each is what its schema says.
var examples = sync.OnceValue(func() map[string]example {
	var all map[string]example
	if err := json.Unmarshal(examplesJSON, &all); err != nil {
		panic(fmt.Sprintf("read examples.json: %v", err)) // it is embedded, and a test reads it
	}
	return all
})

// addExamples shows in the document what the operation takes and answers.
func addExamples(op *huma.Operation, id string) {
	e := examples()[id]
	if op.RequestBody != nil && e.Request != nil {
		for _, contentType := range []string{"application/json", ndjson} {
			if media := op.RequestBody.Content[contentType]; media != nil {
				media.Example = e.Request
			}
		}
	}
	if answer := op.Responses[strconv.Itoa(op.DefaultStatus)]; answer != nil && e.Response != nil {
		for _, contentType := range []string{"application/json", ndjson} {
			if media := answer.Content[contentType]; media != nil {
				media.Example = e.Response
			}
		}
	}
}
