package api_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
)

func TestTagsOfAScan(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	carol, _ := s.login("carol")
	rita, _ := s.login("rita")
	s.create(carol, "tagged")
	const path = "/api/v1/scans/tagged/tags"
	want := func(call string, a answer, tags string) {
		t.Helper()
		if a.status != http.StatusOK || fmt.Sprint(a.json(t)["tags"]) != tags {
			t.Errorf("%s = %d %s, want %s", call, a.status, a.body, tags)
		}
	}
	want("GET of a scan without", s.get(path), "[]")
	put := s.do(http.MethodPut, path, `{"tags":["drought","repeat 2"]}`, bearer(carol), asJSON)
	want("PUT", put, "[drought repeat 2]")
	want("POST", s.do(http.MethodPost, path, `{"add":["new"],"remove":["drought"]}`, bearer(carol), asJSON), "[repeat 2 new]")
	wantProblem(t, "PUT with an ETag of before", s.do(http.MethodPut, path, `{"tags":[]}`, bearer(carol), asJSON, header{"If-Match", put.header.Get("ETag")}),
		http.StatusPreconditionFailed, "precondition_failed")
	got := s.get(path)
	want("GET", got, "[repeat 2 new]")
	if a := s.get(path, header{"If-None-Match", got.header.Get("ETag")}); a.status != http.StatusNotModified {
		t.Errorf("GET of what is known = %d, want 304", a.status)
	}
	if metadata := s.get("/api/v1/scans/tagged/metadata"); metadata.header.Get("ETag") != got.header.Get("ETag") {
		t.Errorf("the ETag of the tags is not that of the metadata")
	}
	if a := s.get("/api/v1/scans?where=metadata.tags%20%3D%20%22new%22"); a.status != http.StatusOK || string(bytes.TrimSpace(a.body)) != `["tagged"]` {
		t.Errorf("search by tag = %d %s", a.status, a.body)
	}
	want("PUT with the right ETag", s.do(http.MethodPut, path, `{"tags":[]}`, bearer(carol), asJSON, header{"If-Match", got.header.Get("ETag")}), "[]")

	wantProblem(t, "PUT of nothing", s.do(http.MethodPut, path, `{}`, bearer(carol), asJSON), http.StatusBadRequest, "bad_tags")
	wantProblem(t, "PUT of an empty tag", s.do(http.MethodPut, path, `{"tags":[""]}`, bearer(carol), asJSON), http.StatusBadRequest, "bad_tags")
	wantProblem(t, "PUT without a token", s.do(http.MethodPut, path, `{"tags":[]}`, asJSON), http.StatusUnauthorized, "token_missing")
	wantProblem(t, "POST by a reader", s.do(http.MethodPost, path, `{"add":["x"]}`, bearer(rita), asJSON), http.StatusForbidden, "forbidden")
	wantProblem(t, "GET of no scan", s.get("/api/v1/scans/none/tags"), http.StatusNotFound, "unknown_scan")
	wantProblem(t, "POST of an empty tag", s.do(http.MethodPost, path, `{"remove":[""]}`, bearer(carol), asJSON), http.StatusBadRequest, "bad_tags")
	wantProblem(t, "POST without a token", s.do(http.MethodPost, path, `{}`, asJSON), http.StatusUnauthorized, "token_missing")
	wantProblem(t, "PUT by a form", s.do(http.MethodPut, path, `tags=x`, bearer(carol)), http.StatusUnsupportedMediaType, "unsupported_media_type")
	want("POST of nothing", s.do(http.MethodPost, path, `{}`, bearer(carol), asJSON), "[]")
	for _, body := range []string{`[]`, `{"tags":"x"}`, `{"tags":[1]}`, `{`} {
		if a := s.do(http.MethodPut, path, body, bearer(carol), asJSON); a.status != http.StatusBadRequest {
			t.Errorf("PUT %s = %d %s, want 400", body, a.status, a.body)
		}
	}

	// Metadata take any tags, more and longer ones and what is no list.
	long := strings.Repeat("x", 65)
	for _, metadata := range []string{`{"tags":["` + long + `"]}`, `{"tags":"one"}`} {
		if a := s.do(http.MethodPost, "/api/v1/scans/tagged/metadata", `{"metadata":`+metadata+`}`, bearer(carol), asJSON); a.status != http.StatusOK {
			t.Fatalf("POST of the metadata %s = %d %s", metadata, a.status, a.body)
		}
		if strings.Contains(metadata, long) {
			want("GET of a long tag", s.get(path), "["+long+"]")
		}
	}
	wantProblem(t, "GET of what is no list", s.get(path), http.StatusConflict, "no_tag_list")
	wantProblem(t, "POST to what is no list", s.do(http.MethodPost, path, `{"add":["x"]}`, bearer(carol), asJSON), http.StatusConflict, "no_tag_list")
	want("PUT over what is no list", s.do(http.MethodPut, path, `{"tags":["x"]}`, bearer(carol), asJSON), "[x]")

	// What is too much is refused once that is known, and not read to its end.
	much := `{"tags":["` + strings.Repeat(`x","`, 1<<18) + `"]}`
	for _, method := range []string{http.MethodPut, http.MethodPost} {
		wantProblem(t, method+" of a megabyte", s.do(method, path, much, bearer(carol), asJSON), http.StatusRequestEntityTooLarge, "too_large")
	}

	// What one may not see has no tags to set either.
	if a := s.do(http.MethodPut, "/api/v1/scans/tagged/visibility", `{"visibility":"private"}`, bearer(carol), asJSON); a.status != http.StatusOK {
		t.Fatalf("PUT of the visibility = %d %s", a.status, a.body)
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPost} {
		wantProblem(t, method+" of a private scan", s.do(method, path, `{"tags":["y"]}`, bearer(rita), asJSON), http.StatusNotFound, "unknown_scan")
	}
}

func TestTimelapseHistoryOverHTTP(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates, Prefix: "/plantdb"})
	carol, _ := s.login("carol")
	rita, _ := s.login("rita")
	s.made(s.do(http.MethodPost, "/api/v1/timelapses", `{"id":"series"}`, bearer(carol), asJSON))
	for i := range 3 {
		a := s.do(http.MethodPatch, "/api/v1/timelapses/series/metadata", fmt.Sprintf(`{"n":%d}`, i), bearer(carol), asJSON)
		if a.status != http.StatusOK {
			t.Fatalf("PATCH = %d %s", a.status, a.body)
		}
	}
	const path = "/api/v1/timelapses/series/history"
	all, _ := s.following("/plantdb"+path+"?limit=2", "events", bearer(rita))
	if len(all) != 4 {
		t.Errorf("pages of the history have %q, want four events", all)
	}
	changed, _ := s.following("/plantdb"+path+"?limit=2&kind=timelapse.metadata", "events", bearer(rita))
	if len(changed) != 3 {
		t.Errorf("history of one kind = %q, want three events", changed)
	}
	first := s.do(http.MethodGet, path+"?limit=1", "", bearer(rita)).json(t)["events"].([]any)[0].(map[string]any)
	if first["kind"] != "timelapse.metadata" || first["user"] != "carol" || first["timelapse"] != "series" || fmt.Sprint(first["detail"]) != "map[set:[n]]" {
		t.Errorf("the latest event = %v", first)
	}
	wantProblem(t, "a history from nowhere", s.do(http.MethodGet, path+"?after=x", "", bearer(rita)), http.StatusBadRequest, "bad_cursor")
	wantProblem(t, "the history of no timelapse", s.do(http.MethodGet, "/api/v1/timelapses/none/history", "", bearer(rita)), http.StatusNotFound, "unknown_timelapse")
	wantProblem(t, "a history without a token", s.do(http.MethodGet, path, ""), http.StatusUnauthorized, "token_missing")
}
