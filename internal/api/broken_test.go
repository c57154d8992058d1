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
		{"visibility", []string{"real_plant/.plantdb-access.json"}, nil},
	} {
		t.Run(damage.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, api.Config{Rates: api.NoRates})
			f := newForbidden(s)
			admin, _ := s.login("admin")
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
