package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/scan"
)

const ndjson = "application/x-ndjson"

// batchLine is a line of a batch.
type batchLine struct {
	Op         string   `json:"op" enum:"metadata,tag,untag,delete,share,visibility" doc:"What to do: metadata sets keys; tag and untag change the list under the key tags; delete moves into the trash; share and visibility say who may see it."`
	Scan       string   `json:"scan" doc:"Scan id." example:"real_plant"`
	Metadata   Object   `json:"metadata,omitempty" doc:"Of metadata: keys to set, as update-scan-metadata does."`
	Replace    bool     `json:"replace,omitempty" doc:"Of metadata: drop the keys that are not sent; the protected ones stay."`
	Tags       []string `json:"tags,omitempty" doc:"Of tag and untag: texts of 1 to 64 bytes."`
	Groups     []string `json:"groups,omitempty" doc:"Of share: these groups and no others; none ends all sharing."`
	Visibility string   `json:"visibility,omitempty" enum:"public,private" doc:"Of visibility."`
}

// batchResult is what became of a line.
type batchResult struct {
	Line    int         `json:"line" doc:"Its number, from 1 on."`
	Op      string      `json:"op" doc:"What was to be done."`
	Scan    string      `json:"scan" doc:"To which scan."`
	Status  int         `json:"status" doc:"The status that the call for this line alone would have: 200, or why not."`
	Code    string      `json:"code" doc:"done; not_done where another line failed; or why this one did." example:"done"`
	Message string      `json:"message" doc:"The same, for people."`
	Trash   *trashEntry `json:"trash,omitempty" doc:"Of delete: where the scan is now."`
}

// batchBody is the lines as they were sent.
type batchBody struct{ ops []scan.BatchOp }

// Resolve reads the body. A line that cannot be read is answered as such.
func (b *batchBody) Resolve(ctx huma.Context) []error {
	media, _, err := mime.ParseMediaType(ctx.Header("Content-Type"))
	if err != nil || media != ndjson && media != "application/ndjson" {
		return []error{errNotNDJSON}
	}
	body, err := readBody(ctx, maxJSONBody)
	if err != nil {
		return []error{err}
	}
	for line := range bytes.Lines(body) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if len(b.ops) == scan.MaxBatch {
			return []error{scan.ErrBatchTooLarge}
		}
		b.ops = append(b.ops, opOf(line))
	}
	return nil
}

func opOf(line []byte) scan.BatchOp {
	var l batchLine
	if err := json.Unmarshal(line, &l); err != nil {
		return scan.BatchOp{Op: l.Op, Scan: l.Scan, Err: broken(line, scan.ErrBatchLine)}
	}
	o := scan.BatchOp{
		Op: l.Op, Scan: l.Scan, Metadata: json.RawMessage(l.Metadata), Replace: l.Replace, Tags: l.Tags, Groups: l.Groups, Visibility: l.Visibility,
	}
	switch {
	case l.Op == scan.BatchMetadata && len(l.Metadata) == 0:
		o.Err = errMissingMetadata
	case l.Op == scan.BatchShare && l.Groups == nil:
		o.Err = scan.ErrSharing
	}
	return o
}

func (*batchBody) document(schemas huma.Registry, _ string) *huma.RequestBody {
	schema := schemas.Schema(reflect.TypeFor[batchLine](), true, "BatchLine")
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{ndjson: {Schema: schema}}}
}

func resultOf(i int, o scan.BatchOp, r scan.BatchResult) batchResult {
	out := batchResult{Line: i + 1, Op: shortened(o.Op, 64), Scan: shortened(o.Scan, 300), Status: http.StatusOK, Code: "done", Message: "Done."}
	if r.Trash != nil {
		e := trashEntryOf(*r.Trash)
		out.Trash = &e
	}
	if f, ok := errors.AsType[*fault.Error](r.Err); ok {
		out.Status, out.Code, out.Message = statusOf(f), f.Code, f.Msg
	}
	return out
}

func (s *server) registerBatch() {
	result := s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[batchResult](), true, "BatchResult")
	responses := answers("A result for each line, in order.", map[string]*huma.Schema{ndjson: result})
	responses["409"] = &huma.Response{Content: map[string]*huma.MediaType{ndjson: {Schema: result}}}
	register(s, route{
		id: "apply-batch", method: http.MethodPost, path: "/batch", tag: tagScans, security: required, rate: rateCreate,
		summary: "Change many scans at once, or none",
		doc: "A line of JSON for each change (NDJSON, at most 500 lines and 16 MiB); a line of JSON answers each. All is done, in order, or nothing: if one line " +
			"fails, the status is 409, its line says why, and the others are `not_done`; the answer is lines all the same. Each line needs the permission that the " +
			"call for it alone needs. See docs/managing-scans.md.",
		errors:    []int{http.StatusLocked, http.StatusInsufficientStorage, http.StatusRequestEntityTooLarge},
		faults:    []error{scan.ErrBatch, scan.ErrBatchTooLarge, errNotNDJSON, fsdb.ErrNoSpace},
		responses: responses,
	}, func(ctx context.Context, in *struct{ Payload batchBody }) (*rawReply, error) {
		ops := in.Payload.ops
		results, err := s.scans.Batch(ctx, ops)
		if err != nil && !errors.Is(err, scan.ErrBatch) {
			return nil, err
		}
		failed := err != nil
		return &rawReply{ndjson, func(ctx huma.Context) {
			if failed {
				ctx.SetStatus(http.StatusConflict)
			}
			w := ctx.BodyWriter()
			for i, r := range results {
				if jsonFormat.Marshal(w, resultOf(i, ops[i], r)) != nil {
					return // the connection
				}
			}
		}}, nil
	})
}
