package api

import (
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/romi/plantdb-go/internal/observe"
)

// Every refusal that a client may do something about says so, in a sentence or
// two after the words of message; and there is no advice for a code that no
// operation answers with.
func TestAdvice(t *testing.T) {
	t.Parallel()
	s := newServer(Services{Log: slog.New(slog.DiscardHandler), Metrics: observe.NewMetrics(nil)}, Config{})
	advised := []int{
		http.StatusUnauthorized, http.StatusLocked, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable,
		http.StatusInsufficientStorage,
	}
	answered := map[string]bool{}
	for _, api := range []huma.API{s.api, s.legacy} {
		for path, item := range api.OpenAPI().Paths {
			for _, op := range operationsOf(item) {
				for status, answer := range op.Responses {
					codes, _ := answer.Extensions[codesKey].([]string)
					n, err := strconv.Atoi(status)
					if err != nil {
						t.Fatalf("%s answers %q: %v", path, status, err)
					}
					for _, code := range codes {
						answered[code] = true
						p := newProblem(n, code, "It went wrong")
						if p.Message != "It went wrong" || p.ErrorText != p.Message || !strings.HasPrefix(p.Detail, p.Message) {
							t.Errorf("%d %s: message %q, error %q, detail %q", n, code, p.Message, p.ErrorText, p.Detail)
						}
						if len(p.Detail) > 180 {
							t.Errorf("%d %s: detail has %d bytes: %q", n, code, len(p.Detail), p.Detail)
						}
						must := slices.Contains(advised, n) || code == codeForbidden || code == "precondition_failed" ||
							strings.HasPrefix(code, "unknown_scan") || n == http.StatusConflict && strings.HasSuffix(code, "_exists")
						if must && p.Detail == p.Message {
							t.Errorf("%s answers %d %s, which says not what to do", op.OperationID, n, code)
						}
					}
				}
			}
		}
	}
	for code := range advices {
		if !answered[code] {
			t.Errorf("advice for %s, which no operation answers with", code)
		}
	}
}

func TestDetail(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status              int
		code, message, want string
	}{
		{401, "session_ended", "Session has ended", "Session has ended. Log in again."},
		{404, "unknown_fileset", "Unknown fileset id 'x'!", "Unknown fileset id 'x'! Check the id in the list of filesets of the scan."},
		{429, "rate_limited", "Slowly.", "Slowly. Try again after the seconds of Retry-After."},
		{400, "bad_where", "Invalid where parameter", "Invalid where parameter"},
		{401, "session_ended", "", "Log in again."},
	} {
		if got := detailOf(tt.status, tt.code, tt.message); got != tt.want {
			t.Errorf("detailOf(%d, %s, %q) = %q, want %q", tt.status, tt.code, tt.message, got, tt.want)
		}
	}
}
