package api_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/api"
)

// With replace the keys that are not sent are gone, for every reader, at each level
// and by a batch; what is protected stays as it was, whatever is sent of it.
func TestReplaceOverHTTP(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	carol, _ := s.login("carol")
	const first = `{"metadata":{"note":{"a":1,"b":2},"old":1}}`
	s.made(s.do(http.MethodPost, "/api/v1/scans/mine", first, bearer(carol), asJSON))
	s.made(s.do(http.MethodPost, "/api/v1/filesets/mine/images", first, bearer(carol), asJSON))
	s.made(s.upload("/api/v1/files/mine/images/one", carol, []byte("x"), map[string]string{"ext": "txt", "metadata": `{"note":{"a":1,"b":2},"old":1}`}))
	s.made(s.do(http.MethodPost, "/api/v1/timelapses", `{"id":"series","metadata":{"note":{"a":1,"b":2},"old":1}}`, bearer(carol), asJSON))
	const sent = `{"note":{"c":3},"created":"never","created_by":"eve","owner":"eve","sharing":["x"]}`
	post := func(path, body string) func() answer {
		return func() answer { return s.do(http.MethodPost, path, body, bearer(carol), asJSON) }
	}
	for _, tt := range []struct {
		read      string
		protected []string // of what is read
		call      func() answer
	}{
		{"/api/v1/scans/mine/metadata", []string{"created", "created_by", "owner"}, post("/api/v1/scans/mine/metadata", `{"replace":true,"metadata":`+sent+`}`)},
		{"/api/v1/filesets/mine/images/metadata", []string{"created", "created_by"}, post("/api/v1/filesets/mine/images/metadata", `{"replace":true,"metadata":`+sent+`}`)},
		{"/api/v1/files/mine/images/one/metadata", []string{"created", "created_by"}, post("/api/v1/files/mine/images/one/metadata", `{"replace":true,"metadata":`+sent+`}`)},
		{"/api/v1/timelapses/series", nil, post("/api/v1/timelapses/series/metadata", `{"replace":true,"metadata":{"note":{"c":3}}}`)},
		{"/api/v1/scans/mine/metadata", []string{"created", "created_by", "owner"}, func() answer {
			s.do(http.MethodPost, "/api/v1/scans/mine/metadata", first, bearer(carol), asJSON)
			line := `{"op":"metadata","scan":"mine","replace":true,"metadata":` + sent + `}`
			return s.do(http.MethodPost, "/api/v1/batch", line, bearer(carol), header{"Content-Type", "application/x-ndjson"})
		}},
	} {
		read := func() map[string]any {
			return s.do(http.MethodGet, tt.read, "", bearer(carol)).json(t)["metadata"].(map[string]any)
		}
		before := read()
		if a := tt.call(); a.status != http.StatusOK {
			t.Fatalf("replace %s = %d %s", tt.read, a.status, a.body)
		}
		want := map[string]any{"note": map[string]any{"c": 3.0}}
		for _, key := range tt.protected {
			if before[key] == nil {
				t.Fatalf("%s has no %s: %v", tt.read, key, before)
			}
			want[key] = before[key]
		}
		after := read()
		if after["last_modified"] == nil {
			t.Errorf("%s has no last_modified: %v", tt.read, after)
		}
		delete(after, "last_modified")
		if diff := cmp.Diff(want, after); diff != "" {
			t.Errorf("%s after replace (-want +got):\n%s", tt.read, diff)
		}
	}
}
