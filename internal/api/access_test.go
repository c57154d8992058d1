package api_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
)

// accessCall is a way to change who may do what with a scan, or how much.
type accessCall struct {
	operation, method, path, body string
	// kind and detail are of its row in the audit trail.
	kind, detail string
}

// accessCalls are all there are; each is right for an administrator, and
// wrong for carol.
var accessCalls = []accessCall{
	{"set-scan-visibility", http.MethodPut, "/scans/audited/visibility", `{"visibility":"private"}`, "scan_visibility", "audited: private"},
	{"set-scan-sharing", http.MethodPut, "/scans/audited/sharing", `{"groups":["lab"]}`, "scan_shared", "audited: shared with lab"},
	{"set-scan-owner", http.MethodPut, "/scans/audited/owner", `{"owner":"rita"}`, "scan_owner", "audited: owner rita"},
	{"apply-batch", http.MethodPost, "/batch", `{"op":"visibility","scan":"audited","visibility":"public"}`, "scan_visibility", "audited: public"},
	{"apply-batch", http.MethodPost, "/batch", `{"op":"share","scan":"audited","groups":[]}`, "scan_shared", "audited: shared with "},
	{"set-user-quota", http.MethodPut, "/quotas/users/rita", `{"max_bytes":1000000}`, "quota_set", "user rita: 1000000 bytes"},
	{"set-group-quota", http.MethodPut, "/quotas/groups/lab", `{"max_files":10}`, "quota_set", "group lab: 10 files"},
	{"delete-user-quota", http.MethodDelete, "/quotas/users/rita", "", "quota_deleted", "user rita"},
	{"delete-group-quota", http.MethodDelete, "/quotas/groups/lab", "", "quota_deleted", "group lab"},
}

// audited returns the rows of the audit trail of these kinds, the oldest first.
func (s *site) audited(kinds []string) []string {
	s.t.Helper()
	rows, err := s.pool.Query(s.t.Context(),
		"SELECT kind, username, detail, request_id <> '', host(address) FROM auth_events WHERE kind = ANY($1) ORDER BY id", kinds)
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var kind, username, detail, address string
		var request bool
		if err := rows.Scan(&kind, &username, &detail, &request, &address); err != nil {
			s.t.Fatal(err)
		}
		found = append(found, fmt.Sprintf("%s by %s: %s (%t %s)", kind, username, detail, request, address))
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	return found
}

// Each change of who may do what leaves one row of the audit trail, with who did
// it, from where and in which request; a refused one leaves none.
func TestAccessIsAudited(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	admin, _ := s.login("admin")
	carol, _ := s.login("carol")
	s.create(admin, "audited")
	s.made(s.do(http.MethodPost, "/api/v1/groups", `{"name":"lab","users":["rita"]}`, bearer(admin), asJSON))
	var kinds, want []string
	walked := map[string]bool{}
	for _, c := range accessCalls {
		walked[c.operation] = true
		if !slices.Contains(kinds, c.kind) {
			kinds = append(kinds, c.kind)
		}
	}
	for _, c := range accessCalls {
		headers := []header{asJSON}
		if c.operation == "apply-batch" {
			headers = []header{{"Content-Type", "application/x-ndjson"}}
		}
		for _, refused := range []struct {
			who string
			header
		}{{"carol", bearer(carol)}, {"nobody", header{"X-Nothing", "x"}}} {
			if a := s.do(c.method, "/api/v1"+c.path, c.body, append(headers, refused.header)...); a.status < 400 {
				t.Errorf("%s %s by %s = %d %s, want a refusal", c.method, c.path, refused.who, a.status, a.body)
			}
		}
		if a := s.do(c.method, "/api/v1"+c.path, c.body, append(headers, bearer(admin))...); a.status >= 300 {
			t.Fatalf("%s %s = %d %s", c.method, c.path, a.status, a.body)
		}
		want = append(want, fmt.Sprintf("%s by admin: %s (true 127.0.0.1)", c.kind, c.detail))
	}
	if got := s.audited(kinds); !slices.Equal(got, want) {
		t.Errorf("the audit trail has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, op := range operations(t, "openapi.json") {
		access := strings.HasPrefix(op.Path, "/api/v1/quotas/") ||
			strings.HasSuffix(op.Path, "/visibility") || strings.HasSuffix(op.Path, "/sharing") || strings.HasSuffix(op.Path, "/owner")
		if access && op.Method != http.MethodGet && !walked[op.OperationID] {
			t.Errorf("%s is not among the calls of this test", op.OperationID)
		}
	}
}

// What was done with an API token has the id of that token in the events of scans
// and in the audit trail, and what was done otherwise has none.
func TestChangesNameTheirAPIToken(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	admin, _ := s.login("admin")
	s.made(s.do(http.MethodPost, "/api/v1/groups", `{"name":"lab","users":["rita"]}`, bearer(admin), asJSON))
	mint := func() (raw, id string) {
		raw = s.textOf("/auth/token/create-api-token", `{"token_exp":3600,"datasets":{"*":["read","write","create","delete"]},"name":"scanner"}`, admin, "api_token")
		return raw, s.claims(raw).ID
	}
	scanner, scannerID := mint()
	other, otherID := mint()
	acts := map[string]string{scannerID: scanner, otherID: other, "none": admin}
	for id, token := range acts {
		made := "by_" + id
		s.create(token, made)
		s.made(s.do(http.MethodPost, "/api/v1/filesets/"+made+"/images", `{}`, bearer(token), asJSON))
		if a := s.upload("/api/v1/files/"+made+"/images/one", token, []byte("x"), map[string]string{"ext": "txt"}); a.status != http.StatusCreated {
			t.Fatalf("upload = %d %s", a.status, a.body)
		}
		for _, c := range []struct{ method, path, body string }{
			{http.MethodPost, "/scans/" + made + "/metadata", `{"metadata":{"x":1}}`},
			{http.MethodPost, "/filesets/" + made + "/images/metadata", `{"metadata":{"x":1}}`},
			{http.MethodPost, "/files/" + made + "/images/one/metadata", `{"metadata":{"x":1}}`},
			{http.MethodPut, "/scans/" + made + "/visibility", `{"visibility":"private"}`},
			{http.MethodPut, "/scans/" + made + "/sharing", `{"groups":["lab"]}`},
			{http.MethodPut, "/scans/" + made + "/owner", `{"owner":"rita"}`},
			{http.MethodDelete, "/files/" + made + "/images/one", ""},
			{http.MethodDelete, "/scans/" + made, ""},
		} {
			if a := s.do(c.method, "/api/v1"+c.path, c.body, bearer(token), asJSON); a.status >= http.StatusBadRequest {
				t.Fatalf("%s %s = %d %s", c.method, c.path, a.status, a.body)
			}
		}
	}
	rows, err := s.pool.Query(t.Context(), `
		SELECT substr(scan, 4), kind, coalesce(token_id::text, 'none') FROM scan_events WHERE starts_with(scan, 'by_')
		UNION ALL
		SELECT substr(split_part(detail, ':', 1), 4), kind, coalesce(token_id::text, 'none') FROM auth_events WHERE starts_with(detail, 'by_')`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	told := map[string]int{}
	for rows.Next() {
		var by, kind, token string
		if err := rows.Scan(&by, &kind, &token); err != nil {
			t.Fatal(err)
		}
		if token != by {
			t.Errorf("%s that was done with the token %s names %s", kind, by, token)
		}
		told[by]++
	}
	// Eleven changes, and three of them in the audit trail.
	if err := rows.Err(); err != nil || len(told) != 3 || told["none"] != 14 || told[scannerID] != 14 || told[otherID] != 14 {
		t.Errorf("rows by token: %v (%v), want 14 of each of three", told, err)
	}
	var session int
	err = s.pool.QueryRow(t.Context(), "SELECT count(*) FROM auth_events WHERE starts_with(detail, 'by_') AND (session_id IS NULL) <> (token_id IS NOT NULL)").Scan(&session)
	if err != nil || session != 0 {
		t.Errorf("%d rows of the audit trail name both a session and an API token, or neither (%v)", session, err)
	}
}

// Who makes the first scan in a timelapse that nobody owned owns it from then on: its
// history and the audit trail tell of it, once.
func TestTimelapsesThatGetAnOwner(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	carol, _ := s.login("carol")
	admin, _ := s.login("admin")
	if err := os.MkdirAll(filepath.Join(s.dir, "nobodys"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "nobodys", "timelapse.json"), []byte(`{"id": "nobodys", "created_at": "2026-01-02T03:04:05"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if a := s.get("/api/v1/refresh"); a.status != http.StatusOK {
		t.Fatalf("GET /refresh = %d %s", a.status, a.body)
	}
	if v := s.get("/api/v1/timelapses/nobodys").json(t); v["owner"] != nil {
		t.Fatalf("the owner is %v, want none", v["owner"])
	}
	for _, c := range []struct{ scan, token string }{{"first", carol}, {"second", admin}} {
		s.made(s.do(http.MethodPost, "/api/v1/scans/"+c.scan, `{"metadata":{"timelapse":{"id":"nobodys"}}}`, bearer(c.token), asJSON))
	}
	if v := s.get("/api/v1/timelapses/nobodys").json(t); v["owner"] != "carol" {
		t.Errorf("the owner is %v, want carol", v["owner"])
	}
	var told []string
	history := s.do(http.MethodGet, "/api/v1/timelapses/nobodys/history", "", bearer(carol)).json(t)
	for _, e := range history["events"].([]any) {
		e := e.(map[string]any)
		if e["kind"] == "timelapse.owner" {
			told = append(told, fmt.Sprint(e["user"], " ", e["detail"]))
		}
	}
	if want := []string{"carol map[owner:carol]"}; !slices.Equal(told, want) {
		t.Errorf("the history tells of owners %q, want %q: %v", told, want, history)
	}
	if got, want := s.audited([]string{"timelapse_owner"}), []string{"timelapse_owner by carol: nobodys: owner carol (true 127.0.0.1)"}; !slices.Equal(got, want) {
		t.Errorf("the audit trail has %q, want %q", got, want)
	}
}

// Who may do what is changed on condition, by the ETag that it was read with.
func TestAccessOnCondition(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	admin, _ := s.login("admin")
	s.made(s.do(http.MethodPost, "/api/v1/groups", `{"name":"lab","users":["rita"]}`, bearer(admin), asJSON))
	s.create(admin, "asked")
	const scan = "/api/v1/scans/asked/"
	for path, body := range map[string]string{"visibility": `{"visibility":"private"}`, "sharing": `{"groups":["lab"]}`, "owner": `{"owner":"carol"}`} {
		get := func(more ...header) answer {
			return s.do(http.MethodGet, scan+path, "", append(more, bearer(admin))...)
		}
		put := func(condition string) answer {
			return s.do(http.MethodPut, scan+path, body, bearer(admin), asJSON, header{"If-Match", condition})
		}
		before := get()
		tag := before.header.Get("ETag")
		if metadata := s.do(http.MethodGet, scan+"metadata", "", bearer(admin)); tag == "" || metadata.header.Get("ETag") != tag {
			t.Errorf("%s has the ETag %s, the metadata %s", path, tag, metadata.header.Get("ETag"))
		}
		if a := get(header{"If-None-Match", tag}); a.status != http.StatusNotModified {
			t.Errorf("GET %s of what is known = %d, want 304", path, a.status)
		}
		for condition, want := range map[string]string{`"nope"`: "precondition_failed", "W/" + tag: "precondition_failed", "nope": "invalid_if_match"} {
			status := http.StatusPreconditionFailed
			if want == "invalid_if_match" {
				status = http.StatusBadRequest
			}
			wantProblem(t, "PUT "+path+" if "+condition, put(condition), status, want)
		}
		if now := get(); string(now.body) != string(before.body) || now.header.Get("ETag") != tag {
			t.Errorf("%s after what was refused = %s %s, want %s %s", path, now.body, now.header.Get("ETag"), before.body, tag)
		}
		done := put(tag)
		now := get()
		if done.status != http.StatusOK || string(done.body) != string(now.body) || done.header.Get("ETag") != now.header.Get("ETag") || now.header.Get("ETag") == tag {
			t.Errorf("PUT %s = %d %s %s, then %s %s", path, done.status, done.body, done.header.Get("ETag"), now.body, now.header.Get("ETag"))
		}
		wantProblem(t, "PUT "+path+" again", put(tag), http.StatusPreconditionFailed, "precondition_failed")
		if a := put("*"); a.status != http.StatusOK {
			t.Errorf("PUT %s if * = %d %s", path, a.status, a.body)
		}
	}
}

// A scan does not go to who has no room for it.
func TestOwnersHaveRoom(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	admin, _ := s.login("admin")
	if a := s.do(http.MethodPut, "/api/v1/quotas/users/rita", `{"max_bytes":10}`, bearer(admin), asJSON); a.status != http.StatusOK {
		t.Fatalf("PUT quota = %d %s", a.status, a.body)
	}
	wantProblem(t, "PUT owner", s.do(http.MethodPut, "/api/v1/scans/real_plant/owner", `{"owner":"rita"}`, bearer(admin), asJSON),
		http.StatusRequestEntityTooLarge, "quota_exceeded")
	if a := s.do(http.MethodGet, "/api/v1/scans/real_plant/owner", "", bearer(admin)); a.json(t)["owner"] == "rita" {
		t.Error("the scan changed hands all the same")
	}
	if a := s.do(http.MethodPut, "/api/v1/scans/real_plant/owner", `{"owner":"carol"}`, bearer(admin), asJSON); a.status != http.StatusOK {
		t.Errorf("PUT owner with room = %d %s", a.status, a.body)
	}
}

// Names that no group can have are those of no group.
func TestSharingWithWhatIsNoGroup(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	carol, _ := s.login("carol")
	s.create(carol, "mine")
	for _, name := range []string{`a\u0000b`, `\u0001`, ``, strings.Repeat("g", 100000)} {
		a := s.do(http.MethodPut, "/api/v1/scans/mine/sharing", `{"groups":["`+name+`"]}`, bearer(carol), asJSON)
		wantProblem(t, "PUT sharing with "+name[:min(len(name), 20)], a, http.StatusBadRequest, "bad_sharing")
		a = s.do(http.MethodPost, "/api/v1/scans/other", `{"metadata":{"sharing":["`+name+`"]}}`, bearer(carol), asJSON)
		wantProblem(t, "POST a scan shared with "+name[:min(len(name), 20)], a, http.StatusBadRequest, "bad_sharing")
	}
}

// Far more changes of who may do what come at once than there are connections to the
// database: all are made, for none waits for a second connection while it holds one.
func TestManyChangesOfAccess(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	admin, _ := s.login("admin")
	s.made(s.do(http.MethodPost, "/api/v1/groups", `{"name":"lab","users":["rita"]}`, bearer(admin), asJSON))
	names := make([]string, 40)
	for i := range names {
		names[i] = fmt.Sprint("many", i)
	}
	s.create(admin, names...)
	if a := s.do(http.MethodPut, "/api/v1/quotas/users/carol", `{"max_files":1000}`, bearer(admin), asJSON); a.status != http.StatusOK {
		t.Fatalf("PUT = %d %s", a.status, a.body)
	}
	for _, change := range []struct{ path, body string }{
		{"/sharing", `{"groups":["lab"]}`}, {"/owner", `{"owner":"carol"}`}, {"/visibility", `{"visibility":"private"}`},
	} {
		var group sync.WaitGroup
		for _, name := range names {
			group.Go(func() {
				if a := s.do(http.MethodPut, "/api/v1/scans/"+name+change.path, change.body, bearer(admin), asJSON); a.status != http.StatusOK {
					t.Errorf("PUT %s of %s = %d %s", change.path, name, a.status, a.body)
				}
			})
		}
		group.Wait()
	}
}
