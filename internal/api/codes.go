package api

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/romi/plantdb-go/internal/auth"
	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/fsdb/meta"
	"github.com/romi/plantdb-go/internal/scan"
	"github.com/romi/plantdb-go/tokenauth"
)

// The failures that only the surface knows: what was sent cannot be read.
var (
	errInvalid         = fault.New(fault.Invalid, "invalid_request", msgBrokenJSON)
	errInvalidName     = fault.New(fault.Invalid, "invalid_name", "Invalid name: 'a b'. Names must be alphanumeric and can include underscores, dashes, or periods.")
	errNotJSON         = fault.New(fault.Unsupported, "unsupported_media_type", msgNotJSON)
	errNotNDJSON       = fault.New(fault.Unsupported, "unsupported_media_type", "A batch is lines of JSON: Content-Type must be application/x-ndjson.")
	errTooLarge        = fault.New(fault.TooLarge, "too_large", "The body is larger than is allowed.")
	errHeadTooLarge    = fault.New(fault.TooLarge, "headers_too_large", fmt.Sprintf("The request line and the headers together are larger than %d bytes.", maxHead))
	errTextTooLarge    = fault.New(fault.TooLarge, "too_large", "The image is too large to be sent as text.")
	errRateLimited     = fault.New(fault.TooMany, "rate_limited", "Rate limit exceeded. Please try again later.")
	errNoRange         = fault.New(fault.Invalid, "range_not_satisfiable", "Range has to be like bytes=0-1048575, the first and the last byte, or bytes=-500, the last 500.")
	errPrecondition    = fault.New(fault.Precondition, "precondition_failed", "The file has changed: it is not the one that If-Match or If-Unmodified-Since names. A download in parts has to begin again.")
	errMissingMetadata = fault.New(fault.Invalid, "missing_metadata", "No metadata provided in request")
	errFormMetadata    = fault.New(fault.Invalid, "invalid_metadata", "Invalid metadata format: must be JSON or a Python dict string")
	errNoFile          = fault.New(fault.Invalid, "no_file", "No file provided")
	errNoExtension     = fault.New(fault.Invalid, "no_extension", "'ext' field is required")
	errBrokenUpload    = fault.New(fault.Invalid, "broken_upload", "The upload ended before it was complete: the connection was closed")
	errMissingID       = fault.New(fault.Invalid, "missing_id", "Missing 'id' field for timelapse creation")
	errNoPublicKeys    = fault.New(fault.NotFound, "no_public_keys", "This server signs with a secret key: it has no public keys")
	errMissingToken    = fault.New(fault.Invalid, "missing_token", `Missing "token" field`)
	errMissingFields   = fault.New(fault.Invalid, "missing_fields", "Missing username or password")
	errMissingRefresh  = fault.New(fault.Invalid, "missing_refresh_token", "Missing refresh_token")
	errUsernameCheck   = fault.New(fault.Forbidden, "disabled", "This server does not tell whether a user exists.")
	errMissingUsername = fault.New(fault.Invalid, "missing_username", "Missing username parameter")
	errCookiesOff      = fault.New(fault.Invalid, "cookies_off", "This server takes no tokens from cookies (TOKEN_LOCATIONS)")
	errMissingDatasets = fault.New(fault.Invalid, "missing_datasets", `Missing "datasets" field`)
	errMissingExpiry   = fault.New(fault.Invalid, "missing_token_exp", `Missing "token_exp" field`)
	errDatasets        = fault.New(fault.Invalid, "invalid_datasets", `"datasets" must be an object of lists of permissions`)
	errExpiry          = fault.New(fault.Invalid, "invalid_token_exp", `"token_exp" must be a positive whole number of seconds`)
	errInternal        = fault.New(fault.Internal, "internal", "Internal Server Error")
	errOutputOfNoScan  = fault.New(fault.Invalid, "unknown_scan", "Scan 'plant_42' not found!")
)

// failure is what the document says of one way to fail.
type failure struct{ code, text string }

// failureOf reads a sentinel of any of the three kinds that answers come from.
func failureOf(err error) (int, failure) {
	switch f := err.(type) { //nolint:errorlint // These are the sentinels themselves.
	case *fault.Error:
		return statusOf(f), failure{f.Code, f.Msg}
	case *tokenauth.Error:
		return f.Status, failure{f.Code, f.Msg}
	}
	panic(fmt.Sprintf("route fails with %v, which is no named failure", err))
}

// statusChecksum is the status that tus has for bytes that are not those of
// their checksum.
const statusChecksum = 460

func statusOf(f *fault.Error) int {
	switch {
	case errors.Is(f, errNoRange):
		return http.StatusRequestedRangeNotSatisfiable
	case errors.Is(f, errHeadTooLarge):
		return http.StatusRequestHeaderFieldsTooLarge
	case errors.Is(f, scan.ErrChecksum):
		return statusChecksum
	}
	return cmp.Or(statuses[f.Kind], http.StatusInternalServerError)
}

// tokenFailures are those of every operation that looks for an access token.
var tokenFailures = []error{
	tokenauth.ErrMalformed, tokenauth.ErrUnknownKey, tokenauth.ErrSignature, tokenauth.ErrIssuer, tokenauth.ErrAudience,
	tokenauth.ErrExpired, tokenauth.ErrNotYetValid, tokenauth.ErrWrongType, tokenauth.ErrCSRFMissing, tokenauth.ErrCSRFMismatch,
	tokenauth.ErrRevoked, tokenauth.ErrAccessUnknown, tokenauth.ErrSessionEnded, tokenauth.ErrUserInactive,
	tokenauth.ErrAmbiguous, tokenauth.ErrCheckerFailed,
}

// unknown says by which name in its path an operation may find nothing.
var unknown = map[string]error{
	"scan_id": scan.ErrUnknownScan, "fileset_id": scan.ErrUnknownFileset, "file_id": scan.ErrUnknownFile,
	"timelapse_id": scan.ErrUnknownTimelapse, "username": auth.ErrUserUnknown, "group": auth.ErrGroupUnknown,
}

// unreadable says by which parameter of its query an operation may be asked for
// what cannot be.
var unreadable = map[string][]error{
	"filterQuery": {scan.ErrFilter}, "where": {scan.ErrWhere, scan.ErrSort, scan.ErrCursor},
}

// usual are the failures that operations share, for the statuses that each
// names; the rest is for route.faults.
func (r route) usual(op *huma.Operation) []error {
	list := []error{
		errInvalid, auth.ErrForbidden, errTooLarge, errHeadTooLarge, errNoRange, errPrecondition, errRateLimited, errInternal, errUnavailable, errDatabaseFull, errOpenFiles,
		scan.ErrBusy, fsdb.ErrNoSpace,
	}
	if len(r.security) > 0 {
		// Where a token may be left out it is missed all the same once the guest
		// is switched off.
		list = append(append(list, tokenFailures...), tokenauth.ErrMissing)
	}
	if slices.Contains(r.errors, http.StatusUnsupportedMediaType) {
		list = append(list, errNotJSON)
	}
	if op.RequestBody != nil {
		list = append(list, errEncoding)
		if op.RequestBody.Content["application/json"] != nil || slices.Contains(r.faults, error(scan.ErrMetadata)) {
			list = append(list, meta.ErrTooDeep)
		}
	}
	if r.method != http.MethodGet {
		list = append(list, fsdb.ErrReadOnly, fsdb.ErrNoFileLocks)
	}
	if r.understands() {
		list = append(list, fsdb.ErrBroken)
	}
	for _, p := range op.Parameters {
		if p.In == "path" && strings.HasSuffix(p.Name, "_id") {
			list = append(list, errInvalidName)
		}
		if missing, ok := unknown[p.Name]; ok && p.In == "path" {
			list = append(list, missing)
		}
		list = append(list, unreadable[p.Name]...)
	}
	return list
}

// failures groups what the operation may fail with by status.
func (r route) failures(op *huma.Operation) map[int][]failure {
	declared := map[int]bool{}
	for status := range op.Responses {
		if n, err := strconv.Atoi(status); err == nil && n >= http.StatusBadRequest {
			declared[n] = true
		}
	}
	all := map[int][]failure{}
	for _, err := range append(slices.Clone(r.faults), r.usual(op)...) {
		status, f := failureOf(err)
		same := func(other failure) bool { return other.code == f.code }
		if declared[status] && !slices.ContainsFunc(all[status], same) {
			all[status] = append(all[status], f)
		}
	}
	return all
}

// meanings say what a status means here, whatever the operation.
var meanings = map[int]string{
	http.StatusBadRequest:                   "What was sent breaks a rule; `errors` names the place of each fault where there is one to name.",
	http.StatusUnauthorized:                 "No token, or one that does not count. After a refresh or a login the same call may succeed.",
	http.StatusForbidden:                    "You are known, and may not do this.",
	http.StatusNotFound:                     "There is no such thing, or none that you may see.",
	http.StatusConflict:                     "What is there already forbids it.",
	http.StatusGone:                         "It was there and is not kept any more.",
	http.StatusPreconditionFailed:           "A condition of the request does not hold.",
	http.StatusRequestEntityTooLarge:        "Over a bound.",
	http.StatusUnsupportedMediaType:         "The body is of a type, or in a content coding, that is not read here.",
	http.StatusRequestedRangeNotSatisfiable: "No such range.",
	http.StatusUnprocessableEntity:          "What is stored cannot be read as what it should be, and is left as it is.",
	http.StatusLocked:                       "Somebody else is writing there; try again after Retry-After.",
	http.StatusTooManyRequests:              "Too many calls from one address, or to one account; try again after Retry-After.",
	http.StatusRequestHeaderFieldsTooLarge:  "The address or the headers are too long; one far above the bound is answered in plain text.",
	http.StatusInternalServerError:          "The server failed. Its log has the cause under the X-Request-Id of this answer.",
	http.StatusServiceUnavailable:           "Something that the server needs is away; try again after Retry-After.",
	http.StatusInsufficientStorage:          "The disk or a quota is full; nothing was kept.",
}

// codesKey is where the document lists the codes of an answer, for programs.
const codesKey = "x-codes"

// documentFailures says at each status of an operation which codes come with it.
func documentFailures(op *huma.Operation, r route) {
	for status, list := range r.failures(op) {
		answer := op.Responses[strconv.Itoa(status)]
		codes := make([]string, len(list))
		for i, f := range list {
			codes[i] = f.code
		}
		answer.Description = fmt.Sprintf("%s Codes: `%s`.", meanings[status], strings.Join(codes, "`, `"))
		answer.Extensions = map[string]any{codesKey: codes}
		if media := answer.Content["application/json"]; media != nil {
			media.Example = r.exampleOf(status, list[0])
		}
		answer.Headers = headersOf(status)
	}
}

// exampleOf is a refusal as the document shows it.
func (r route) exampleOf(status int, f failure) *Problem {
	if f.code != errInvalid.Code {
		p := newProblem(status, f.code, f.text)
		p.Detail = r.detailOf(status, f.code, f.text)
		return p
	}
	places := []Place{{Location: "query.limit", Message: "expected number <= 1000"}}
	p := newProblem(status, f.code, sentence(places))
	p.Errors = places
	return p
}

// headersOf are the headers that answers of the status carry.
func headersOf(status int) map[string]*huma.Param {
	header := func(kind, description string, example any) *huma.Param {
		return &huma.Param{Description: description, Schema: &huma.Schema{Type: kind}, Example: example}
	}
	switch status {
	case http.StatusUnauthorized:
		return map[string]*huma.Param{"WWW-Authenticate": header(huma.TypeString, "How to authenticate (RFC 6750).", "Bearer")}
	case http.StatusUnsupportedMediaType:
		return map[string]*huma.Param{"Accept-Encoding": header(huma.TypeString, "With `unsupported_encoding` alone: the one content coding that a body may have.", asItIs)}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusLocked:
		return map[string]*huma.Param{"Retry-After": header(huma.TypeInteger, "Seconds to wait before the same call may succeed.", 1)}
	}
	return nil
}
