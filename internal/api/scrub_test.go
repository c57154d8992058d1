package api_test

import (
	"net/http"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
)

// What the scrub found is told to administrators, page by page.
func TestScrub(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{})
	boss, _ := s.login("admin")
	carol, _ := s.login("carol")
	const path = "/api/v1/scrub"
	if a := s.do(http.MethodGet, path, "", bearer(boss)); a.status != http.StatusOK || a.json(t)["faults"] != 0.0 || a.json(t)["next"] != nil {
		t.Errorf("GET before the scrub = %d %s", a.status, a.body)
	}
	_, err := s.pool.Exec(t.Context(), `INSERT INTO care_passes (kind, after, began_at, moved_at, scans, files, bytes, finished_at, verified_from)
		VALUES ('scrub', 'plant', '2026-03-02T00:00:00Z', '2026-03-02T01:00:00.5Z', 3, 40, 5000000000, '2026-03-01T00:00:00Z', '2026-02-28T00:00:00Z')`)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.pool.Exec(t.Context(), `INSERT INTO care_findings (id, kind, scan, fileset, file, path, detail, found_at)
		SELECT ('019a20ed-6cee-745e-8c66-00000000000' || n)::uuid, 'digest_differs', 'real_plant', 'images', 'f' || n, 'real_plant/images', 'other bytes', now()
		FROM generate_series(1, 3) AS n`)
	if err != nil {
		t.Fatal(err)
	}
	first := s.do(http.MethodGet, path+"?limit=2", "", bearer(boss)).json(t)
	next, _ := first["next"].(string)
	if len(first["findings"].([]any)) != 2 || first["faults"] != 3.0 || next == "" {
		t.Fatalf("the first page = %v", first)
	}
	for key, want := range map[string]any{
		"rate": 0.0, "began_at": "2026-03-02T00:00:00Z", "moved_at": "2026-03-02T01:00:00.5Z", "finished_at": "2026-03-01T00:00:00Z",
		"verified_from": "2026-02-28T00:00:00Z", "scans": 3.0, "files": 40.0, "bytes": 5e9,
	} {
		if first[key] != want {
			t.Errorf("%s = %v, want %v", key, first[key], want)
		}
	}
	second := s.do(http.MethodGet, path+"?limit=2&after="+next, "", bearer(boss)).json(t)
	list := second["findings"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["file"] != "f3" || second["next"] != nil {
		t.Errorf("the second page = %v", second)
	}
	wantProblem(t, "no page's", s.do(http.MethodGet, path+"?after=x", "", bearer(boss)), http.StatusBadRequest, "bad_cursor")
	wantProblem(t, "too much", s.do(http.MethodGet, path+"?limit=1001", "", bearer(boss)), http.StatusBadRequest, "invalid_request")
	wantProblem(t, "by carol", s.do(http.MethodGet, path, "", bearer(carol)), http.StatusForbidden, "forbidden")
	token := s.do(http.MethodPost, "/api/v1/auth/token/create-api-token", `{"token_exp":3600,"datasets":{"*":["read"]}}`, bearer(boss), asJSON)
	wantProblem(t, "by an API token", s.do(http.MethodGet, path, "", bearer(token.json(t)["api_token"].(string))), http.StatusForbidden, "forbidden")
	wantProblem(t, "without a token", s.do(http.MethodGet, path, ""), http.StatusUnauthorized, "token_missing")
}
