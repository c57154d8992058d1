package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
)

// Administrators manage webhooks over HTTP; a secret is in two answers only.
func TestWebhooksOverHTTP(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{Rates: api.NoRates})
	token, _ := s.login("admin")
	carol, _ := s.login("carol")
	admin := bearer(token)
	var signatures atomic.Int32
	to := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		signatures.Store(int32(len(strings.Fields(r.Header.Get("Webhook-Signature")))))
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(to.Close)
	const hooks = "/api/v1/webhooks"
	a := s.do(http.MethodPost, hooks, `{"url":"`+to.URL+`/x","kinds":["scan.created"],"description":"d","more":1}`, admin, asJSON)
	if a.status != http.StatusCreated || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("POST = %d %v %s", a.status, a.header, a.body)
	}
	secret := a.json(t)["secret"].(string)
	made := a.json(t)["webhook"].(map[string]any)
	id := made["id"].(string)
	if !strings.HasPrefix(secret, "whsec_") || made["url"] != to.URL+"/x" || made["enabled"] != true || made["created_by"] != "admin" || made["position"] == "" {
		t.Errorf("POST = %s", a.body)
	}
	one := hooks + "/" + id
	test := s.do(http.MethodPost, one+"/test", "", admin)
	if v := test.json(t); test.status != http.StatusOK || v["delivered"] != true || v["status"] != 202.0 || v["kind"] != "webhook.test" || signatures.Load() != 1 {
		t.Errorf("test = %d %s, with %d signatures", test.status, test.body, signatures.Load())
	}
	rotated := s.do(http.MethodPost, one+"/secret", "", admin)
	if v := rotated.json(t); rotated.status != http.StatusOK || v["secret"] == secret || !strings.HasPrefix(v["secret"].(string), "whsec_") {
		t.Errorf("rotate = %d %s", rotated.status, rotated.body)
	}
	s.do(http.MethodPost, one+"/test", "", admin)
	if n := signatures.Load(); n != 2 {
		t.Errorf("after a rotation there are %d signatures, want 2", n)
	}
	page := s.do(http.MethodGet, one+"/deliveries?limit=1", "", admin).json(t)
	rest := s.do(http.MethodGet, one+"/deliveries?limit=1&after="+page["next"].(string), "", admin).json(t)
	if len(page["deliveries"].([]any)) != 1 || len(rest["deliveries"].([]any)) != 1 {
		t.Errorf("deliveries in pages = %v, %v", page, rest)
	}
	patched := s.do(http.MethodPatch, one, `{"enabled":false,"kinds":[],"after":"0"}`, admin, asJSON)
	if v := patched.json(t); patched.status != http.StatusOK || v["enabled"] != false || len(v["kinds"].([]any)) != 0 || v["position"] != "0-0" || v["description"] != "d" {
		t.Errorf("PATCH = %d %s", patched.status, patched.body)
	}
	for _, path := range []string{hooks, one, one + "/deliveries"} {
		if a := s.do(http.MethodGet, path, "", admin); a.status != http.StatusOK || strings.Contains(string(a.body), "whsec_") || !strings.Contains(string(a.body)+path, id) {
			t.Errorf("GET %s = %d %s", path, a.status, a.body)
		}
	}
	for _, tt := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"POST", hooks, `{}`, 400, "bad_webhook_url"}, {"POST", hooks, `{"url":"https://10.0.0.1/"}`, 400, "webhook_address"},
		{"POST", hooks, `{"url":"` + to.URL + `","kinds":["x"]}`, 400, "bad_webhook_kinds"}, {"POST", hooks, `{"url":1}`, 400, "invalid_request"},
		{"POST", hooks, `{"url":"` + to.URL + `","after":"x"}`, 400, "bad_event_id"}, {"PATCH", one, `{"after":"99999999999999-1"}`, 410, "events_gone"},
		{"PATCH", one, `{"url":"ftp://x/"}`, 400, "bad_webhook_url"}, {"GET", one + "/deliveries?after=x", "", 400, "bad_cursor"},
		{"GET", hooks + "/01890a5d-ac96-774b-bcce-b302099a8057", "", 404, "unknown_webhook"}, {"DELETE", hooks + "/01890a5d-ac96-774b-bcce-b302099a8057", "", 404, "unknown_webhook"},
		{"GET", hooks + "/x", "", 400, "invalid_request"},
	} {
		wantProblem(t, tt.method+" "+tt.path+" "+tt.body, s.do(tt.method, tt.path, tt.body, admin, asJSON), tt.status, tt.code)
	}
	for _, call := range [][3]string{
		{"POST", hooks, `{"url":"` + to.URL + `"}`}, {"GET", hooks, ""}, {"GET", one, ""}, {"PATCH", one, "{}"}, {"DELETE", one, ""}, {"POST", one + "/secret", ""},
		{"POST", one + "/test", ""}, {"GET", one + "/deliveries", ""},
	} {
		wantProblem(t, call[0]+" "+call[1]+" by a contributor", s.do(call[0], call[1], call[2], bearer(carol), asJSON), http.StatusForbidden, "forbidden")
	}
	if a := s.do(http.MethodDelete, one, "", admin); a.status != http.StatusNoContent {
		t.Errorf("DELETE = %d %s", a.status, a.body)
	}
	wantProblem(t, "GET of one that is deleted", s.do(http.MethodGet, one, "", admin), http.StatusNotFound, "unknown_webhook")
}
