package api

import (
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/formdata"
)

// errEncoding is answered with Accept-Encoding, as no other 415 may be (RFC
// 9110, 12.5.3).
var errEncoding = fault.New(fault.Unsupported, "unsupported_encoding", "Content-Encoding must be identity: send the body as it is.")

// asItIs is the one content coding that bodies are taken in.
const asItIs = "identity"

// decoded refuses a body in a content coding (RFC 9110, 8.4): nothing here
// takes one off, and what is kept has to be what was meant. Who may not call is
// told so before.
func (s *server) decoded(ctx huma.Context, next func(huma.Context)) {
	if r, _ := humago.Unwrap(ctx); ctx.Operation().RequestBody != nil && !plain(r.Header.Values("Content-Encoding")) {
		s.answer(ctx, faultProblem(errEncoding))
		return
	}
	next(ctx)
}

// plain says whether the values of a header name no coding.
func plain(values []string, known ...string) bool {
	for coding := range strings.SplitSeq(strings.Join(values, ","), ",") {
		coding = strings.ToLower(strings.TrimSpace(coding))
		if coding != "" && coding != asItIs && !slices.Contains(known, coding) {
			return false
		}
	}
	return true
}

// nextPart returns the next part of a form; io.EOF at its end. RFC 7578 has no
// content coding for a part and gave up transfer encodings: a part that names
// one would be kept as something else than its sender means, and is refused.
func nextPart(form *formdata.Reader) (*formdata.Part, error) {
	part, err := form.Next()
	switch {
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case err != nil:
		return nil, brokenUpload(err)
	case !plain(part.Header["Content-Encoding"]):
		return nil, errEncoding.With("The Content-Encoding of a part must be identity: send its bytes as they are.")
	case !plain(part.Header["Content-Transfer-Encoding"], "7bit", "8bit", "binary"):
		return nil, errInvalid.With("The Content-Transfer-Encoding of a part must be binary: send its bytes as they are.")
	}
	return part, nil
}
