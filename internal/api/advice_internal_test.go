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
	answered, own := map[string]bool{}, map[string]bool{}
	for _, api := range []huma.API{s.api, s.legacy} {
		for path, item := range api.OpenAPI().Paths {
			for _, op := range operationsOf(item) {
				r := s.routes[op.OperationID]
				for status, answer := range op.Responses {
					codes, _ := answer.Extensions[codesKey].([]string)
					n, err := strconv.Atoi(status)
					if err != nil {
						t.Fatalf("%s answers %q: %v", path, status, err)
					}
					for _, code := range codes {
						answered[code] = true
						own[op.OperationID+" "+code] = true
						p := newProblem(n, code, "It went wrong")
						p.Detail = r.detailOf(n, code, p.Message)
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
	for id, r := range s.routes {
		for code := range r.advices {
			if !own[id+" "+code] && !own[id+"-015 "+code] {
				t.Errorf("%s has advice for %s, with which it does not answer", id, code)
			}
		}
	}
}

// What to do about a code is another thing where another token is wanted, or
// where no token of that kind would do.
func TestAdviceOfOperations(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		r              route
		code, has, not string
	}{
		{route{}, "token_missing", "the access token", "refresh"},
		{route{}, "token_expired", "Trade in", ""},
		{route{}, "csrf_missing", "csrf_access_token", "csrf_refresh_token"},
		{route{}, "token_wrong_type", "access token", ""},
		{route{advices: adviceOfRefresh}, "token_missing", "refresh_token of a JSON body", "access"},
		{route{advices: adviceOfRefresh}, "token_expired", "Log in", "Trade in"},
		{route{advices: adviceOfRefresh}, "csrf_missing", "csrf_refresh_token", "csrf_access_token"},
		{route{advices: adviceOfRefresh}, "csrf_mismatch", "csrf_refresh_token", "csrf_access_token"},
		{route{advices: adviceOfRefresh}, "token_wrong_type", "Send the refresh token", ""},
		{route{advices: adviceOfRefresh}, "token_revoked", "Log in", "API token"},
		{route{advices: adviceOfRefresh}, "token_malformed", "whole", ""}, // as everywhere
		{route{advices: adviceOfLogout}, "token_expired", "refresh_token of a JSON body", "log in"},
		{route{advices: adviceOfLogout}, "session_ended", "nothing to do", "Log in"},
		{route{needs: toWrite}, codeForbidden, "owner of the scan", ""},
		{route{needs: toCreate}, codeForbidden, "administrator", "owner of the scan"},
		{route{needs: toManageUsers}, codeForbidden, "administrator", "owner of the scan"},
		{route{needs: toManageGroups}, codeForbidden, "member of the group", "owner of the scan"},
		{route{needs: toAdminister}, codeForbidden, "administrator", "owner of the scan"},
		{route{needs: byPerson}, codeForbidden, "Log in", "make one that has it"},
	} {
		got := tt.r.detailOf(http.StatusUnauthorized, tt.code, "It went wrong")
		if !strings.HasPrefix(got, "It went wrong. ") || !strings.Contains(got, tt.has) || tt.not != "" && strings.Contains(got, tt.not) {
			t.Errorf("detail of %s (needs %q) = %q, want %q in it and not %q", tt.code, tt.r.needs, got, tt.has, tt.not)
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
