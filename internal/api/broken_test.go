package api_test

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/api"
)

// A scan whose files on disk are damaged is no failure of the server: every
// operation of both documents that meets it answers as its document says, and
// those that would have to understand what is damaged refuse.
func TestOperationsOnDamagedScans(t *testing.T) {
	t.Parallel()
	for _, damage := range []struct {
		name    string
		files   []string
		refuses []string // some that must
	}{
		{"list of files", []string{"real_plant/files.json"}, []string{
			"create-file-014", "create-fileset", "create-raw-file-014", "delete-file", "delete-fileset", "restore-trash-entry",
		}},
		{"metadata", []string{
			"real_plant/metadata/metadata.json", "real_plant/metadata/images.json", "real_plant/metadata/images/00000_rgb.json", "growth_series/timelapse.json",
		}, []string{"update-scan-metadata", "patch-scan-metadata", "update-fileset-metadata", "patch-file-metadata", "update-timelapse-metadata"}},
		{"visibility", []string{"real_plant/.plantdb.json"}, []string{
			"update-scan-metadata", "patch-scan-metadata", "set-scan-owner", "set-scan-sharing", "set-scan-tags", "change-scan-tags",
		}},
	} {
		t.Run(damage.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, api.Config{Rates: api.NoRates})
			f := newForbidden(s)
			admin, _ := s.login("admin")
			if damage.name == "visibility" { // what was public and known as that stays so
				a := s.do(http.MethodPut, "/api/v1/scans/real_plant/visibility", `{"visibility":"private"}`, bearer(admin), asJSON)
				if a.status != http.StatusOK {
					t.Fatalf("hide real_plant = %d %s", a.status, a.body)
				}
			}
			for _, name := range damage.files {
				path := filepath.Join(s.dir, name)
				if err := os.WriteFile(path, []byte(`{"filesets":[`), 0o600); err != nil {
					t.Fatal(err)
				}
				// What was written just now is waited for.
				if err := os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
			if damage.name == "list of files" { // the document's example is of a file that is there
				a := s.upload("/api/v1/files/real_plant/images/new", admin, []byte("bytes"), map[string]string{"ext": "txt"})
				wantProblem(t, "create-file", a, http.StatusUnprocessableEntity, "scan_broken")
			}
			if damage.name == "visibility" {
				testHiddenByDamage(t, s, admin)
			}
			var all []operation
			for _, document := range []string{"openapi.json", "openapi-legacy.json"} {
				all = append(all, operations(t, document)...)
			}
			slices.SortFunc(all, func(a, b operation) int {
				return cmp.Or(cmp.Compare(harm(a), harm(b)), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
			})
			walked, refused := 0, []string{}
			for _, op := range all {
				if !ofScans(op) {
					continue
				}
				path, headers := f.example(op)
				body, contentType := f.body(op)
				a := s.do(op.Method, path, body, append(headers, bearer(admin), header{"Content-Type", contentType})...)
				walked++
				switch a.status {
				case http.StatusInternalServerError:
					t.Errorf("%s %s = %d %s", op.Method, path, a.status, a.body)
				case http.StatusUnprocessableEntity:
					refused = append(refused, op.OperationID)
				}
			}
			if walked == 0 {
				t.Error("walked nothing")
			}
			for _, id := range damage.refuses {
				if !slices.Contains(refused, id) {
					t.Errorf("%s is not refused", id)
				}
			}
		})
	}
}

// testHiddenByDamage holds what is promised of a scan whose visibility cannot be
// read: whoever hid it must not find it public, so that only its owner, its groups
// and administrators know of it, and these are told what is wrong.
func testHiddenByDamage(t *testing.T, s *site, admin string) {
	t.Helper()
	s.refresh()
	reader, _ := s.login("rita")
	for who, headers := range map[string][]header{"guest": nil, "reader": {bearer(reader)}} {
		for _, path := range []string{"", "/metadata", "/filesets", "/visibility"} {
			a := s.do(http.MethodGet, "/api/v1/scans/real_plant"+path, "", headers...)
			wantProblem(t, who+" asks for real_plant"+path, a, http.StatusNotFound, "unknown_scan")
		}
		a := s.do(http.MethodGet, "/api/v1/assets/files/real_plant/images/00000_rgb.jpg", "", headers...)
		if a.status != http.StatusNotFound {
			t.Errorf("%s asks for an image = %d, want 404", who, a.status)
		}
		if a := s.do(http.MethodGet, "/api/v1/scans", "", headers...); a.status != http.StatusOK || strings.Contains(string(a.body), `"real_plant"`) {
			t.Errorf("%s lists %d %s, want no real_plant", who, a.status, a.body)
		}
	}
	for _, path := range []string{"/scans/real_plant", "/scans/info"} {
		if a := s.do(http.MethodGet, "/api/v1"+path, "", bearer(admin)); a.status != http.StatusOK || !strings.Contains(string(a.body), `"reason":".plantdb.json: `) {
			t.Errorf("the administrator asks for %s = %d %s, want the scan, and what is wrong with it", path, a.status, a.body)
		}
	}
}

// ofScans says whether the operation reads or changes scans.
func ofScans(op operation) bool {
	return slices.ContainsFunc([]string{"scan", "fileset", "file", "timelapse", "upload", "trash", "asset"}, func(part string) bool {
		return strings.Contains(strings.ToLower(op.Path), part)
	})
}

// harm orders operations by how much they leave for others.
func harm(op operation) string {
	if op.Method != http.MethodDelete {
		return ""
	}
	return fmt.Sprintf("%d", 9-strings.Count(op.Path, "/"))
}
