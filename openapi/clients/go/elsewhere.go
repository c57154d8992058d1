// Package plantdbapi is the generated client of the API, and what generate.sh
// adds to it.
package plantdbapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// isElsewhere says whether an answer is of another server, or of a proxy on the
// way: PlantDB refuses in JSON with a code, and sends no page.
func isElsewhere(rsp *http.Response, body []byte) bool {
	contentType := rsp.Header.Get("Content-Type")
	if rsp.StatusCode < http.StatusBadRequest {
		return strings.HasPrefix(contentType, "text/html")
	}
	var refusal struct {
		Code string `json:"code"`
	}
	return !strings.Contains(contentType, "json") || json.Unmarshal(body, &refusal) != nil || refusal.Code == ""
}

// elsewhere says so in the words of a refusal.
func elsewhere(rsp *http.Response) *Problem {
	from := "This"
	if rsp.Request != nil {
		from = rsp.Request.URL.Redacted()
	}
	message := fmt.Sprintf("%s gives no answer of PlantDB (HTTP %d): look at the address, and at proxies on the way.", from, rsp.StatusCode)
	return &Problem{
		Status: int64(rsp.StatusCode), Code: "no_plantdb", Title: "No PlantDB", Message: message, Error: message, Detail: message,
	}
}

// answered says what to do where nobody answers. What a caller ended, or a
// HttpRequestDoer of its own says, stays as it is.
func answered(rsp *http.Response, err error) (*http.Response, error) {
	var lost *url.Error
	if !errors.As(err, &lost) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return rsp, err
	}
	return rsp, fmt.Errorf("no_answer: %w: look at the address, and whether the server runs", err)
}
