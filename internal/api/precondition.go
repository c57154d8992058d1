package api

import (
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
