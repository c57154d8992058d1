package api_test

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
)

func ifNoneMatch(tag string) header { return header{"If-None-Match", tag} }

// Metadata of every kind has a strong ETag, which lasts as long as what it
// names, and no longer.
func TestMetadataTags(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	token, _ := s.login("admin")
	for _, tt := range []struct{ path, update string }{
		{"/api/v1/scans/real_plant/metadata", "/api/v1/scans/real_plant/metadata"},
		{"/api/v1/filesets/real_plant/images/metadata", "/api/v1/filesets/real_plant/images/metadata"},
		{"/api/v1/files/real_plant/images/00000_rgb/metadata", "/api/v1/files/real_plant/images/00000_rgb/metadata"},
		{"/scan/real_plant/metadata", "/scan/real_plant/metadata"},
		{"/api/fileset/real_plant/images/metadata", "/api/fileset/real_plant/images/metadata"},
		{"/api/v1/timelapses/growth_series", ""},
	} {
		first := s.get(tt.path)
		tag := first.header.Get("ETag")
		if first.status != http.StatusOK || len(tag) != 66 || !strings.HasPrefix(tag, `"`) || first.header.Get("Cache-Control") != "no-cache" {
			t.Errorf("GET %s = %d with ETag %s and Cache-Control %q, want a strong one and no-cache", tt.path, first.status, tag, first.header.Get("Cache-Control"))
		}
		for _, condition := range []string{tag, "W/" + tag, `"other", ` + tag, "*"} {
			a := s.do(http.MethodGet, tt.path, "", ifNoneMatch(condition))
			if a.status != http.StatusNotModified || len(a.body) > 0 || a.header.Get("ETag") != tag {
				t.Errorf("GET %s with If-None-Match %s = %d %q with ETag %s, want 304 and nothing else", tt.path, condition, a.status, a.body, a.header.Get("ETag"))
			}
		}
		for _, condition := range []string{"", `"other"`, strings.Trim(tag, `"`)} {
			if a := s.do(http.MethodGet, tt.path, "", ifNoneMatch(condition)); a.status != http.StatusOK || string(a.body) != string(first.body) {
				t.Errorf("GET %s with If-None-Match %s = %d, want 200 with the same body", tt.path, condition, a.status)
			}
		}
		head := s.do(http.MethodHead, tt.path, "")
		if head.status != http.StatusOK || len(head.body) > 0 || head.header.Get("ETag") != tag {
			t.Errorf("HEAD %s = %d, ETag %s, %d bytes, want 200, %s and none", tt.path, head.status, head.header.Get("ETag"), len(head.body), tag)
		}
		if tt.update == "" {
			continue
		}
		changed := s.do(http.MethodPost, tt.update, `{"metadata":{"tagged":"`+tt.path+`"}}`, bearer(token), asJSON)
		after := s.do(http.MethodGet, tt.path, "", ifNoneMatch(tag))
		if after.status != http.StatusOK || after.header.Get("ETag") == tag {
			t.Errorf("GET %s after a change = %d, ETag %s, want 200 and another", tt.path, after.status, after.header.Get("ETag"))
		}
		if got := changed.header.Get("ETag"); got != after.header.Get("ETag") {
			t.Errorf("POST %s answers ETag %s, GET then %s", tt.update, got, after.header.Get("ETag"))
		}
		key := s.get(tt.path + "?key=tagged")
		if key.header.Get("ETag") != after.header.Get("ETag") {
			t.Errorf("GET %s?key= has the ETag %s, want that of the whole", tt.path, key.header.Get("ETag"))
		}
	}
}

// A change of metadata that is asked for on a condition is done if nobody was
// quicker, and else leaves all as it was; so it is by the older paths.
func TestMetadataOnCondition(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	admin, _ := s.login("admin")
	const timelapse = "/api/v1/timelapses/growth_series"
	for path, read := range map[string]string{
		"/api/v1/scans/real_plant/metadata":                  "",
		"/api/v1/filesets/real_plant/images/metadata":        "",
		"/api/v1/files/real_plant/images/00000_rgb/metadata": "",
		timelapse + "/metadata":                              timelapse,
		"/scan/real_plant/metadata":                          "",
		"/fileset/real_plant/images/metadata":                "",
		"/file/real_plant/images/00000_rgb/metadata":         "",
		"/api/scan/real_plant/metadata":                      "",
		"/api/fileset/real_plant/images/metadata":            "",
		"/api/file/real_plant/images/00000_rgb/metadata":     "",
	} {
		get := func() answer {
			return s.do(http.MethodGet, cmp.Or(read, path), "", bearer(admin))
		}
		for method, format := range map[string]string{http.MethodPost: `{"metadata":{"change":%q}}`, http.MethodPatch: `{"change":%q}`} {
			if method == http.MethodPatch && !strings.HasPrefix(path, "/api/v1/") {
				continue // the older paths have none
			}
			what := method + " " + path
			change := func(note, condition string) answer {
				return s.do(method, path, fmt.Sprintf(format, note), bearer(admin), asJSON, header{"If-Match", condition})
			}
			unchanged := func(after string, want answer) {
				t.Helper()
				if now := get(); string(now.body) != string(want.body) || now.header.Get("ETag") != want.header.Get("ETag") {
					t.Errorf("%s leaves %s %s, want %s %s", after, now.body, now.header.Get("ETag"), want.body, want.header.Get("ETag"))
				}
			}
			before := get()
			tag := before.header.Get("ETag")
			if before.status != http.StatusOK || tag == "" {
				t.Errorf("GET %s = %d with the ETag %q", cmp.Or(read, path), before.status, tag)
			}
			for _, condition := range []string{`"nope"`, "W/" + tag} {
				wantProblem(t, what+" if "+condition, change("refused", condition), http.StatusPreconditionFailed, "precondition_failed")
			}
			wantProblem(t, what+" if nope", change("refused", "nope"), http.StatusBadRequest, "invalid_if_match")
			unchanged(what+" that was refused", before)

			done := change(what, tag)
			now := get()
			next := now.header.Get("ETag")
			if done.status != http.StatusOK || done.header.Get("ETag") != next || next == tag || !strings.Contains(string(now.body), what) {
				t.Errorf("%s = %d %s with the ETag %s, then %s %s", what, done.status, done.body, done.header.Get("ETag"), now.body, next)
			}
			wantProblem(t, what+" again", change("again", tag), http.StatusPreconditionFailed, "precondition_failed")
			unchanged(what+" again", now)
			for _, condition := range []string{`"nope", ` + next, "*"} {
				if a := change("if "+condition, condition); a.status != http.StatusOK {
					t.Errorf("%s if %s = %d %s", what, condition, a.status, a.body)
				}
			}
		}
	}
}

// A timelapse is another one to who may read other scans of it.
func TestTimelapseTagIsOfTheReader(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	token, _ := s.login("admin")
	s.made(s.do(http.MethodPost, "/api/v1/scans/hidden", `{"metadata":{"visibility":"private","timelapse":{"id":"growth_series"}}}`, bearer(token), asJSON))
	const path = "/api/v1/timelapses/growth_series"
	guest, admin := s.get(path), s.do(http.MethodGet, path, "", bearer(token))
	if guest.header.Get("ETag") == admin.header.Get("ETag") {
		t.Error("guest and administrator have the same ETag of different answers")
	}
	if a := s.do(http.MethodGet, path, "", bearer(token), ifNoneMatch(guest.header.Get("ETag"))); a.status != http.StatusOK {
		t.Errorf("GET with another reader's ETag = %d, want 200", a.status)
	}
}
