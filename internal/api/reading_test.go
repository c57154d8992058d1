package api_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
)

// withoutScans are the reading operations that tell nothing of scans.
var withoutScans = []string{
	"get-keys", "get-home", "list-api-tokens", "check-username", "get-profile", "list-sessions", "inspect-mandatory-token",
	"inspect-optional-token", "list-groups", "get-group", "list-users", "get-user", "list-user-sessions", "list-user-api-tokens",
	"check-username-015", "get-profile-015", "inspect-mandatory-token-015", "inspect-optional-token-015",
	"get-health", "get-health-015", // a number, which the walk before and after counts
	"list-timelapses", "list-timelapse-history", // everybody may know them, and what was done to them alone
	// Of deleted scans; their own tests have them.
	"list-trash", "get-trash-entry",
	// For administrators, who may read all of it.
	"list-webhooks", "get-webhook", "list-webhook-deliveries",
	"stream-events", // TestEventsAreForWhoMayRead; as a list, before and after
	// Uploads are their maker's; usage and quotas are counts, one's own or for administrators.
	"get-upload", "get-usage", "list-quotas",
	"get-scrub", // of all scans, for administrators
}

// listings are the reading operations that tell of scans without being asked for one.
var listings = []string{
	"list-scans", "list-scan-infos", "get-timelapse", "list-timelapse-scans", "list-scans-015", "list-scan-infos-015", "list-locks",
}

// models are the reading operations that are asked for a model by its file.
var models = []string{"get-pointcloud-015", "get-ground-truth-015", "get-mesh-015"}

// onePoint is the start of a PLY file.
const onePoint = "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"

const veiled = "veiled_scan" // in no other text

// What one may not read is not found and not counted, by every operation that
// reads: each is walked with a private scan by who may see it and who may not.
// An operation that is added is walked as one of a scan, or fails here. To who may
// not, whatever they ask in whatever way is answered as if the scan were not there,
// and what needs no name of a scan as before there was one (unseen_test.go).
func TestReading(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	admin, _ := s.login("admin")
	owner, _ := s.login("carol")
	reader, _ := s.login("rita")
	for _, name := range []string{"other", "member"} {
		s.made(s.do(http.MethodPost, "/api/v1/auth/register", `{"username":"`+name+`","fullname":"`+name+`","password":"`+password+`","roles":["contributor"]}`, bearer(admin), asJSON))
	}
	s.made(s.do(http.MethodPost, "/api/v1/groups", `{"name":"lab","members":["member"]}`, bearer(admin), asJSON))
	other, _ := s.login("other")
	member, _ := s.login("member")
	token := s.do(http.MethodPost, "/api/v1/auth/token/create-api-token", `{"token_exp":3600,"datasets":{"real_*":["read"]}}`, bearer(owner), asJSON)
	outside := token.json(t)["api_token"].(string)
	s.made(s.do(http.MethodPost, "/api/v1/timelapses", `{"id":"tl"}`, bearer(owner), asJSON))
	u := &unseen{site: s, owner: bearer(owner), blind: map[string][]header{"anonymous": nil, "reader": {bearer(reader)}, "another contributor": {bearer(other)}}}
	before := u.everything()
	s.made(s.do(http.MethodPost, "/api/v1/scans/"+veiled, `{"metadata":{"visibility":"private","sharing":["lab"],"timelapse":{"id":"tl"},"secret":"chlorophyll"}}`, bearer(owner), asJSON))
	s.made(s.do(http.MethodPost, "/api/v1/filesets/"+veiled+"/images", "", bearer(owner), asJSON))
	image, err := os.ReadFile(filepath.Join(s.dir, "real_plant", "images", "00000_rgb.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	s.made(s.upload("/api/v1/files/"+veiled+"/images/00000_rgb", owner, image, map[string]string{"ext": "jpg"}))
	for task, file := range map[string]struct{ ext, content string }{
		"PointCloud":          {"ply", onePoint + "end_header\n1 2 3\n"},
		"TriangleMesh":        {"ply", onePoint + "element face 1\nproperty list uchar uint vertex_indices\nend_header\n1 2 3\n3 0 0 0\n"},
		"CurveSkeleton":       {"json", `{"points": [[1, 2, 3]], "lines": []}`},
		"AnglesAndInternodes": {"json", `{"angles": [1], "internodes": [2], "fruit_points": []}`},
	} {
		s.made(s.do(http.MethodPost, "/api/v1/filesets/"+veiled+"/"+task+"_1", "", bearer(owner), asJSON))
		s.made(s.upload("/api/v1/files/"+veiled+"/"+task+"_1/"+task, owner, []byte(file.content), map[string]string{"ext": file.ext}))
	}

	people := []struct {
		who     string
		headers []header
		sees    bool
	}{
		{"admin", []header{bearer(admin)}, true}, {"owner", []header{bearer(owner)}, true}, {"member", []header{bearer(member)}, true},
		{"anonymous", nil, false}, {"reader", []header{bearer(reader)}, false}, {"another contributor", []header{bearer(other)}, false},
		{"token out of scope", []header{bearer(outside)}, false},
	}
	walked := 0
	for _, document := range []string{"openapi.json", "openapi-legacy.json"} {
		for _, op := range operations(t, document) {
			if op.Method != http.MethodGet || slices.Contains(withoutScans, op.OperationID) {
				continue
			}
			walked++
			for _, p := range people {
				if slices.Contains(listings, op.OperationID) {
					s.walkList(op, p.who, p.headers, p.sees)
				} else {
					// A public operation looks for no token: all are guests to it.
					s.walkScan(op, p.who, p.headers, p.sees && !op.public())
				}
			}
		}
	}
	if walked < 40 {
		t.Errorf("walked %d operations, want all that read", walked)
	}
	u.leaveTraces()
	u.walkUnknown()
	u.compare(before)
}

// walkList asks for a list in several ways.
func (s *site) walkList(op operation, who string, headers []header, sees bool) {
	s.t.Helper()
	path := strings.ReplaceAll(op.Path, "{timelapse_id}", "tl")
	for _, query := range []string{"", "?limit=1000", "?q=chlorophyll&limit=10", "?filterQuery=%7B%22secret%22%3A%22chlorophyll%22%7D",
		"?where=id%20%3D%20%22" + veiled + "%22&limit=10", "?sort=-size&limit=1000", "?fuzzy=true&filterQuery=%7B%22secret%22%3A%22chloro%22%7D"} {
		a := s.do(http.MethodGet, path+query, "", headers...)
		found := strings.Contains(string(a.body), veiled)
		if op.OperationID == "list-locks" && !found { // nothing is locked, and not all may ask
			continue
		}
		if a.status != http.StatusOK || found != sees {
			s.t.Errorf("%s as %s: GET %s = %d, shows the private scan: %v, want %v", op.OperationID, who, path+query, a.status, found, sees)
		}
		if op.OperationID == "get-timelapse" && strings.Contains(string(a.body), `"counts":{"scans":1}`) != sees {
			s.t.Errorf("%s as %s counts: %s", op.OperationID, who, a.body)
		}
		if total := a.header.Get("X-Total-Count"); total != "" {
			if shown := strconv.Itoa(strings.Count(string(a.body), `,`) + 1); op.OperationID == "list-scans" && string(a.body) != "[]\n" && total != shown {
				s.t.Errorf("%s as %s: GET %s counts %s and shows %s", op.OperationID, who, path+query, total, a.body)
			}
		}
	}
}

// walkScan asks for the private scan, and for one that is not there: who may
// see it gets what is asked for, and to who may not the answers are the same.
func (s *site) walkScan(op operation, who string, headers []header, sees bool) {
	s.t.Helper()
	fileset, file := "images", "00000_rgb"
	if slices.Contains(models, op.OperationID) {
		fileset, file = "TriangleMesh_1", "TriangleMesh"
	}
	ask := func(scan string) (string, answer) {
		path := strings.NewReplacer("{scan_id}", scan, "{fileset_id}", fileset, "{file_id}", file, "{path}", scan+"/metadata/metadata.json").Replace(op.Path)
		if path == op.Path {
			path += "?scan_id=" + scan
		}
		return path, s.do(http.MethodGet, path, "", headers...)
	}
	path, got := ask(veiled)
	_, unknown := ask("nobody_here")
	same := got.status == unknown.status && strings.ReplaceAll(string(got.body), veiled, "nobody_here") == string(unknown.body)
	switch {
	case sees && same:
		s.t.Errorf("%s as %s: GET %s = %d %s, as if the scan were not there", op.OperationID, who, path, got.status, got.body)
	case sees && got.status != http.StatusOK:
		s.t.Errorf("%s as %s: GET %s = %d %.300s, want what it has of the scan", op.OperationID, who, path, got.status, got.body)
	case sees:
	case strings.Contains(string(got.body), "chlorophyll") || got.status < http.StatusBadRequest:
		s.t.Errorf("%s as %s: GET %s = %d %.200s, which tells of the private scan", op.OperationID, who, path, got.status, got.body)
	case !same && who != "token out of scope": // whose owner knows of the scan
		s.t.Errorf("%s as %s: GET %s = %d %s, of a scan that is not there %d %s", op.OperationID, who, path, got.status, got.body, unknown.status, unknown.body)
	}
}
