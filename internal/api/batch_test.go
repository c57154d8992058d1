package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
)

// lines returns status and code of each line of an answer.
func (a answer) lines(t *testing.T) (list []string) {
	t.Helper()
	for line := range strings.Lines(string(a.body)) {
		var v struct {
			Line, Status  int
			Code, Message string
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil || v.Line != len(list)+1 || v.Message == "" {
			t.Fatalf("line %q of the answer: %v", line, err)
		}
		list = append(list, http.StatusText(v.Status)+" "+v.Code)
	}
	return list
}

func TestBatchOverHTTP(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	carol, _ := s.login("carol")
	s.create(carol, "a", "b")
	lines := header{"Content-Type", "application/x-ndjson"}
	send := func(body string, headers ...header) answer {
		return s.do(http.MethodPost, "/api/v1/batch", body, append(headers, lines)...)
	}
	good := `{"op":"tag","scan":"a","tags":["x"]}` + "\n\n" + `{"op":"visibility","scan":"b","visibility":"private"}` + "\n" + `{"op":"metadata","scan":"b","metadata":{"k":1}}`
	bad := send(good+"\n"+`{"op":"delete","scan":"real_plant"}`+"\n"+`{"op":`+"\n"+`{"op":"share","scan":"a"}`+"\n"+`{"op":"metadata","scan":"a"}`, bearer(carol))
	want := "Conflict not_done|Conflict not_done|Conflict not_done|Forbidden forbidden|Bad Request bad_batch_line|Bad Request bad_sharing|Bad Request missing_metadata"
	if got := strings.Join(bad.lines(t), "|"); bad.status != http.StatusConflict || got != want || bad.header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("a batch with bad lines = %d %s, want %s", bad.status, got, want)
	}
	if a := s.do(http.MethodGet, "/api/v1/scans/a/metadata?key=tags", "", bearer(carol)); strings.Contains(string(a.body), "x") {
		t.Errorf("something was done: %s", a.body)
	}
	if a := send(good, bearer(carol)); a.status != http.StatusOK || strings.Join(a.lines(t), "|") != "OK done|OK done|OK done" {
		t.Errorf("a batch = %d %s", a.status, a.body)
	}
	if a := s.do(http.MethodGet, "/api/v1/scans/a/metadata?key=tags", "", bearer(carol)); !strings.Contains(string(a.body), `["x"]`) {
		t.Errorf("tags = %s", a.body)
	}
	wantProblem(t, "a batch without a token", send(good), http.StatusUnauthorized, "token_missing")
	wantProblem(t, "a batch as JSON", s.do(http.MethodPost, "/api/v1/batch", good, bearer(carol), asJSON), http.StatusUnsupportedMediaType, "unsupported_media_type")
	wantProblem(t, "a batch of too many lines", send(strings.Repeat(`{"op":"tag","scan":"a","tags":["y"]}`+"\n", 501), bearer(carol)), http.StatusRequestEntityTooLarge, "batch_too_large")
	wantProblem(t, "a batch of too many bytes", send(strings.Repeat(" ", 17<<20), bearer(carol)), http.StatusRequestEntityTooLarge, "too_large")
}
