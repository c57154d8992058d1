package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
)

// What is deleted is gone from every route at once, comes back whole, and can
// be purged.
func TestDeleteOverHTTP(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	admin, _ := s.login("admin")
	carol, _ := s.login("carol")
	auth := bearer(admin)
	shows := []string{
		"/api/v1/scans/real_plant", "/api/v1/scans/real_plant/metadata", "/api/v1/assets/archive/real_plant", "/api/v1/files/real_plant/images/00000_rgb",
		"/api/v1/assets/image/real_plant/images/00000_rgb", "/api/v1/assets/files/real_plant/files.json", "/scans/real_plant",
	}
	check := func(when string, status int) {
		t.Helper()
		for _, path := range shows {
			if a := s.do(http.MethodGet, path, "", auth); a.status != status {
				t.Errorf("%s: GET %s = %d, want %d", when, path, a.status, status)
			}
		}
		if listed := strings.Contains(string(s.do(http.MethodGet, "/api/v1/scans", "").body), `"real_plant"`); listed != (status == http.StatusOK) {
			t.Errorf("%s: listed %t", when, listed)
		}
	}
	check("before", http.StatusOK)
	wantProblem(t, "DELETE by a contributor", s.do(http.MethodDelete, "/api/v1/scans/real_plant", "", bearer(carol)), http.StatusForbidden, "forbidden")
	wantProblem(t, "DELETE with another ETag", s.do(http.MethodDelete, "/api/v1/scans/real_plant", "", auth, header{"If-Match", `"x"`}), http.StatusPreconditionFailed, "precondition_failed")
	wantProblem(t, "DELETE with a bad If-Match", s.do(http.MethodDelete, "/api/v1/scans/real_plant", "", auth, header{"If-Match", `x`}), http.StatusBadRequest, "invalid_if_match")
	wantProblem(t, "DELETE of an unknown scan", s.do(http.MethodDelete, "/api/v1/scans/none", "", auth), http.StatusNotFound, "unknown_scan")
	tag := s.do(http.MethodGet, "/api/v1/scans/real_plant/metadata", "", auth).header.Get("ETag")
	wantProblem(t, "DELETE with a weak tag", s.do(http.MethodDelete, "/api/v1/scans/real_plant", "", auth, header{"If-Match", "W/" + tag}), http.StatusPreconditionFailed, "precondition_failed")
	a := s.do(http.MethodDelete, "/api/v1/scans/real_plant", "", auth, header{"If-Match", `"x", "y"`}, header{"If-Match", tag})
	if a.status != http.StatusOK {
		t.Fatalf("DELETE = %d %s", a.status, a.body)
	}
	entry := a.json(t)["trash"].(map[string]any)
	id := entry["id"].(string)
	check("deleted", http.StatusNotFound)
	wantProblem(t, "DELETE again", s.do(http.MethodDelete, "/api/v1/scans/real_plant", "", auth), http.StatusNotFound, "unknown_scan")

	list := s.do(http.MethodGet, "/api/v1/trash?limit=1", "", auth).json(t)
	if entries := list["entries"].([]any); len(entries) != 1 || entries[0].(map[string]any)["id"] != id || list["next"] != id {
		t.Errorf("GET /trash = %v", list)
	}
	if list := s.do(http.MethodGet, "/api/v1/trash?before="+id, "", auth).json(t); len(list["entries"].([]any)) != 0 || list["next"] != nil {
		t.Errorf("GET /trash after the last = %v", list)
	}
	if list := s.do(http.MethodGet, "/api/v1/trash", "", bearer(carol)).json(t); len(list["entries"].([]any)) != 0 {
		t.Errorf("GET /trash by somebody else = %v", list)
	}
	wantProblem(t, "GET /trash/{id} by somebody else", s.do(http.MethodGet, "/api/v1/trash/"+id, "", bearer(carol)), http.StatusNotFound, "unknown_trash_entry")
	for _, path := range []string{"/api/v1/trash?before=x", "/api/v1/trash?limit=0", "/api/v1/trash?limit=many", "/api/v1/trash/x"} {
		wantProblem(t, "GET "+path, s.do(http.MethodGet, path, "", auth), http.StatusBadRequest, "invalid_request")
	}
	wantProblem(t, "restore an unknown entry", s.do(http.MethodPost, "/api/v1/trash/01890a5d-ac96-774b-bcce-b302099a8057/restore", "", auth), http.StatusNotFound, "unknown_trash_entry")

	if a := s.do(http.MethodPost, "/api/v1/scans/real_plant", "", auth); a.status != http.StatusCreated {
		t.Fatalf("POST a scan of the same name = %d %s", a.status, a.body)
	}
	wantProblem(t, "restore to a taken name", s.do(http.MethodPost, "/api/v1/trash/"+id+"/restore", "", auth), http.StatusConflict, "scan_exists")
	wantProblem(t, "restore to a bad name", s.do(http.MethodPost, "/api/v1/trash/"+id+"/restore?as=a/b", "", auth), http.StatusBadRequest, "name_invalid")
	if a := s.do(http.MethodPost, "/api/v1/trash/"+id+"/restore?as=second", strings.Repeat("x", 20<<20), auth); a.status != http.StatusOK {
		t.Fatalf("restore under another name, with a body that nobody reads = %d %s", a.status, a.body)
	}
	if a := s.do(http.MethodGet, "/api/v1/assets/image/second/images/00000_rgb", "", auth); a.status != http.StatusOK {
		t.Errorf("an image of the restored scan = %d", a.status)
	}
	for _, path := range []string{"/api/v1/files/second/images/00000_rgb", "/api/v1/filesets/second/images", "/api/v1/scans/real_plant"} {
		a := s.do(http.MethodDelete, path, "", auth)
		if a.status != http.StatusOK {
			t.Fatalf("DELETE %s = %d %s", path, a.status, a.body)
		}
		id = a.json(t)["trash"].(map[string]any)["id"].(string)
		wantProblem(t, "DELETE again", s.do(http.MethodDelete, path, "", auth), http.StatusNotFound, a404(path))
	}
	if a := s.do(http.MethodDelete, "/api/v1/trash/"+id, "", auth); a.status != http.StatusNoContent {
		t.Errorf("purge = %d %s", a.status, a.body)
	}
	wantProblem(t, "purge again", s.do(http.MethodDelete, "/api/v1/trash/"+id, "", auth), http.StatusNotFound, "unknown_trash_entry")

	wantProblem(t, "DELETE of a timelapse with scans", s.do(http.MethodDelete, "/api/v1/timelapses/growth_series", "", auth), http.StatusConflict, "timelapse_not_empty")
	a = s.do(http.MethodDelete, "/api/v1/timelapses/growth_series?recursive=true", "", auth)
	if a.status != http.StatusNoContent || len(a.body) > 0 {
		t.Fatalf("DELETE of a timelapse = %d %s, want 204", a.status, a.body)
	}
	if got := s.do(http.MethodGet, a.header.Get("Location"), "", auth).json(t); got["kind"] != "timelapse" || got["timelapse"] != "growth_series" {
		t.Errorf("GET %s = %v", a.header.Get("Location"), got)
	}
}

func a404(path string) string {
	return "unknown_" + strings.TrimSuffix(strings.Split(path, "/")[3], "s")
}
