package api

import (
	"encoding/json"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/scan"
)

var errIfMatch = fault.New(fault.Invalid, "invalid_if_match", "If-Match must be * or ETags in double quotes, separated by commas.")

// IfMatch makes a change conditional. It is exported for Huma, which fills
// embedded structs only then.
type IfMatch struct {
	IfMatch string `header:"If-Match" doc:"ETag of the metadata that you read: when it was changed since, nothing is done and the answer is 412. * asks only that it exists." example:"\"6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b\""`
	match   scan.Match
}

// Resolve reads all of the header's lines. A weak tag is taken and matches
// nothing: RFC 9110 section 13.1.1 wants strong comparison.
func (m *IfMatch) Resolve(ctx huma.Context) []error {
	var lines []string
	ctx.EachHeader(func(name, value string) {
		if strings.EqualFold(name, "If-Match") {
			lines = append(lines, value)
		}
	})
	rest := strings.TrimSpace(strings.Join(lines, ","))
	if rest == "" {
		return nil
	}
	if rest == "*" {
		m.match.Any = true
		return nil
	}
	for rest != "" {
		weak := strings.HasPrefix(rest, "W/")
		tag, after, ok := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(rest, "W/"), `"`), `"`)
		after = strings.TrimSpace(after)
		if !ok || strings.TrimPrefix(rest, "W/")[0] != '"' || after != "" && after[0] != ',' {
			return []error{errIfMatch}
		}
		if weak {
			tag = "W/" + tag // is no version of ours
		}
		m.match.Versions = append(m.match.Versions, tag)
		rest = strings.TrimLeft(after, ", \t")
	}
	return nil
}

const (
	aboutUpdate = "Without replace, keys are only added or replaced, nested objects whole. owner, sharing, visibility, created, created_by and " +
		"the id of a scan's timelapse stay as they are. With If-Match it is done only if nobody changed the metadata since you read it."
	aboutPatch = "The body is a JSON merge patch (RFC 7396) of the metadata: null removes a key, objects are merged into those that are there. " +
		"owner, sharing, visibility, created, created_by and the id of a scan's timelapse stay as they are; each has a route of its own, or none. " +
		"With If-Match it is done only if nobody changed the metadata since you read it."
)

// patch is a merge patch on this condition.
func (m *IfMatch) patch(body Object) scan.Update {
	return scan.Update{Metadata: json.RawMessage(body), Patch: true, Match: m.match}
}
