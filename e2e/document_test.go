package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// operation is one of the API's document.
type operation struct {
	ID          string                      `json:"operationId"`
	Tags        []string                    `json:"tags"`
	Security    []map[string][]string       `json:"security"`
	Parameters  []struct{ Name, In string } `json:"parameters"`
	RequestBody struct {
		Content map[string]struct {
			Example json.RawMessage `json:"example"`
			Schema  struct {
				Ref string `json:"$ref"`
			} `json:"schema"`
		} `json:"content"`
	} `json:"requestBody"`

	method, path string
	template     string // the path as the document has it
	properties   map[string]property
}

// property is one of a body.
type property struct{ Format string }

// optional says that it answers without a token, too.
func (o operation) optional() bool {
	for _, s := range o.Security {
		if len(s) == 0 {
			return true
		}
	}
	return false
}

var parameter = regexp.MustCompile(`\{\w+\}`)

// operations reads a document that the server serves.
func (sv *server) operations(name string) (list []operation) {
	sv.t.Helper()
	var doc struct {
		Paths      map[string]map[string]operation
		Components struct {
			Schemas map[string]struct{ Properties map[string]property }
		}
	}
	sv.get("//"+name, "").want(sv.t, name, http.StatusOK).into(sv.t, &doc)
	for path, methods := range doc.Paths {
		for method, op := range methods {
			op.method, op.path, op.template = strings.ToUpper(method), "/"+parameter.ReplaceAllString(path, "x"), path
			for _, body := range op.RequestBody.Content {
				op.properties = doc.Components.Schemas[strings.TrimPrefix(body.Schema.Ref, "#/components/schemas/")].Properties
			}
			list = append(list, op)
		}
	}
	return list
}

// TestNoOperationIsOpenThatIsDeclaredProtected walks every operation of
// openapi.yaml and of the older paths. A protected one answers 401 without a
// token, before it looks at anything else; one with optional token answers so
// where the token is bad.
func TestNoOperationIsOpenThatIsDeclaredProtected(t *testing.T) {
	t.Parallel()
	key, setting := newKey()
	sv := newSite(t, "JWT_SECRET_KEY="+setting).start()
	p := sv.login(sv.user("alice", "contributor"))
	tokens := append([]bad{{"no token", "", "token_missing"}}, badTokens(t, p, key)...)

	// A logout has words of its own for a session that is none.
	nothingToEnd := map[string]string{"access token that says API token": "logout_failed", "unknown session": "no_session"}

	current := sv.operations("openapi.json")
	protected := 0
	for _, op := range append(current, sv.operations("openapi-legacy.json")...) {
		if len(op.Security) == 0 {
			continue
		}
		protected++
		for _, b := range tokens {
			if b.raw == "" && op.optional() {
				continue
			}
			if code := nothingToEnd[b.name]; code != "" && strings.HasSuffix(op.path, "/logout") {
				b.code = code
			}
			got := sv.call(request{method: op.method, path: op.path, token: b.raw})
			if got.status != http.StatusUnauthorized || !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer") ||
				got.text("message") == "" || got.text("code") != b.code {
				t.Errorf("%s %s with %s = %s (WWW-Authenticate %q), want 401, Bearer, message and the code %s",
					op.method, op.path, b.name, got, got.header.Get("WWW-Authenticate"), b.code)
			}
		}
	}
	t.Logf("%d protected operations, %d tokens each", protected, len(tokens))

	file, err := os.ReadFile(filepath.Join("..", "openapi", "openapi.yaml"))
	if err != nil {
		t.Fatalf("read openapi.yaml: %v", err)
	}
	walked := map[string]bool{}
	for _, op := range current {
		walked[op.ID] = true
	}
	ids := regexp.MustCompile(`(?m)^ +operationId: (\S+)$`).FindAllSubmatch(file, -1)
	for _, id := range ids {
		if !walked[string(id[1])] {
			t.Errorf("operation %s of openapi.yaml is not served", id[1])
		}
	}
	if len(ids) < 20 || protected < 40 {
		t.Errorf("%d operations in openapi.yaml, %d protected ones served; this looks at the wrong places", len(ids), protected)
	}
	if !sv.takes(p.access) {
		t.Error("the session ended meanwhile")
	}
}

// TestNamesOfUsersAreComparedInLowerCase calls each operation that has the name of a
// user in its path with a name of nobody, and, if it misses that one, with one in
// capitals.
func TestNamesOfUsersAreComparedInLowerCase(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	sv := s.start()
	admin := sv.login(s.admin()).access
	sv.post("/groups", admin, map[string]any{"name": "lab"}).want(t, "create group", http.StatusCreated)
	walked := 0
	for _, op := range sv.operations("openapi.json") {
		if !strings.Contains(op.template, "{username}") {
			continue
		}
		if sv.get("/users/alice", admin).status == http.StatusNotFound { // the last operation was to delete her
			sv.user("alice", "reader")
		}
		sv.call(request{method: http.MethodPut, path: "/groups/lab/members/alice", token: admin}).want(t, "add to the group", http.StatusNoContent)
		sv.call(request{method: http.MethodPut, path: "/quotas/users/alice", token: admin, body: map[string]any{"max_files": 1}}).want(t, "set a quota", http.StatusOK)
		var body any
		for _, m := range op.RequestBody.Content {
			if err := json.Unmarshal(m.Example, &body); err != nil {
				t.Fatalf("example of %s: %v", op.ID, err)
			}
		}
		call := func(name string) answer {
			path := strings.NewReplacer("{username}", name, "{group}", "lab").Replace(op.template)
			return sv.call(request{method: op.method, path: "/" + path, token: admin, body: body})
		}
		if call("NOBODY").status != http.StatusNotFound {
			continue
		}
		walked++
		if got := call("ALICE"); got.status >= http.StatusBadRequest {
			t.Errorf("%s of ALICE = %s, want what it does for alice", op.ID, got)
		}
	}
	if walked < 10 {
		t.Errorf("%d operations miss a user who is not there; this looks at the wrong places", walked)
	}
}

// needsCSRF says that a cookie is not enough for it, by its document.
func (o operation) needsCSRF() bool {
	for _, way := range o.Security {
		if _, ok := way["csrf"]; ok {
			return true
		}
	}
	// Who refreshes needs no access token, and yet the header where the refresh
	// token comes by cookie.
	return strings.HasPrefix(o.ID, "refresh-token")
}

// TestNoOtherSiteChangesAnything calls every operation of both documents as a page
// of another site could have a browser do it: with the cookies of an administrator,
// and without the value that only pages of the site can read, or with another. What
// changes something is a 401 with a code for it, and nothing has changed; what only
// reads is answered.
func TestNoOtherSiteChangesAnything(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	sv := s.start()
	b, other := sv.browser(s.admin()), sv.browser(s.admin())
	before := s.changes()
	walked, read := 0, 0
	for _, op := range append(sv.operations("openapi.json"), sv.operations("openapi-legacy.json")...) {
		safe := op.method == http.MethodGet || op.method == http.MethodHead || op.method == http.MethodOptions
		if len(op.Security) > 0 && op.needsCSRF() == safe {
			t.Errorf("%s %s: its security is %v, want X-CSRF-TOKEN beside the cookie exactly if it may change something", op.method, op.path, op.Security)
		}
		switch {
		case op.needsCSRF():
			walked++
			own, others := "csrf_access_token", "csrf_refresh_token"
			if len(op.Security) == 0 {
				own, others = others, own
			}
			for _, c := range []struct{ what, csrf, origin, code string }{
				{"nothing", "", "", "csrf_missing"},
				{"nothing, from another site", "", "https://elsewhere.example", "csrf_missing"},
				{"a wrong value", "wrong", "", "csrf_mismatch"},
				{"a wrong value, from another site", "wrong", "https://elsewhere.example", "csrf_mismatch"},
				{"that of another session", other.value(own), "", "csrf_mismatch"},
				{"that of the other token", b.value(others), "", "csrf_mismatch"},
			} {
				got := b.from(op.method, op.path, c.csrf, c.origin)
				got.refused(t, op.method+" "+op.path+" with cookies and "+c.what, "CSRF")
				if got.text("code") != c.code || got.header.Get("Access-Control-Allow-Credentials") != "" {
					t.Errorf("%s %s with cookies and %s = %s, Access-Control-Allow-Credentials %q; want %s, and no page of another site to read it",
						op.method, op.path, c.what, got, got.header.Get("Access-Control-Allow-Credentials"), c.code)
				}
			}
		case len(op.Security) > 0:
			read++
			path := op.path
			if op.ID == "stream-events" {
				path += "?after=x" // or the answer has no end
			}
			if got := b.from(op.method, path, "", ""); strings.HasPrefix(got.text("code"), "csrf_") || got.status == http.StatusUnauthorized {
				t.Errorf("%s %s with cookies alone = %s, want no refusal of the token", op.method, path, got)
			}
		}
	}
	if after := s.changes(); after != before {
		t.Errorf("rows after calls that were refused: %s\nbefore: %s", after, before)
	}
	if walked < 60 || read < 50 {
		t.Errorf("walked %d operations that change something and %d that read; this looks at the wrong places", walked, read)
	}
	// The same cookies with the right value do change something.
	b.send(http.MethodPost, "/groups", "").refused(t, "create a group with cookies alone", "CSRF")
	b.send(http.MethodDelete, "/auth/sessions?scope=others", b.value("csrf_access_token")).want(t, "end other sessions", http.StatusOK)
	if after := s.changes(); after == before {
		t.Error("rows are the same after sessions were ended; this looks at the wrong rows")
	}
}

// changes counts what operations leave in the database.
func (s *site) changes() string {
	s.t.Helper()
	return one[string](s, `SELECT concat_ws(' ', (SELECT count(*) FROM auth_events), (SELECT count(*) FROM scan_events),
		(SELECT count(*) FROM sessions WHERE ended_at IS NULL), (SELECT sum(generation) FROM sessions), (SELECT count(*) FROM refresh_tokens),
		(SELECT count(*) FROM revoked_tokens), (SELECT count(*) FROM users), (SELECT count(*) FROM groups), (SELECT count(*) FROM api_tokens),
		(SELECT count(*) FROM one_time_links), (SELECT count(*) FROM webhooks), (SELECT count(*) FROM user_quotas), (SELECT count(*) FROM uploads),
		(SELECT count(*) FROM scans), (SELECT count(*) FROM timelapses))`)
}

// TestLackOfPermissionIs403 has a reader try what takes more.
func TestLackOfPermissionIs403(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	sv := s.start()
	p := sv.login(sv.user("alice", "reader"))
	admin := sv.login(s.admin())
	sv.scan("plant", admin.access)
	sv.post("/groups", admin.access, map[string]any{"name": "lab"}).want(t, "create group", http.StatusCreated)
	for _, r := range []request{
		{method: http.MethodGet, path: "/users"},
		{method: http.MethodGet, path: "/users/admin"},
		{method: http.MethodPatch, path: "/users/alice", body: map[string]any{"roles": []string{"admin"}}},
		{method: http.MethodDelete, path: "/users/admin"},
		{method: http.MethodPost, path: "/users/admin/password-reset"},
		{method: http.MethodPost, path: "/users/admin/password", body: map[string]any{"current_password": newPassword(), "new_password": newPassword()}},
		{method: http.MethodPost, path: "/auth/register", body: map[string]any{"username": "eve", "fullname": "Eve", "password": newPassword()}},
		{method: http.MethodPost, path: "/groups", body: map[string]any{"name": "mine"}},
		{method: http.MethodPost, path: "/scans/mine", body: map[string]any{}},
		{method: http.MethodPost, path: "/scans/plant/metadata", body: map[string]any{"metadata": map[string]any{"x": 1}}},
		{method: http.MethodPost, path: "/filesets/plant/mine", body: map[string]any{}},
		{method: http.MethodPost, path: "/timelapses", body: map[string]any{"id": "mine", "timelapse_id": "mine", "name": "mine"}},
	} {
		r.token = p.access
		sv.call(r).forbidden(t, r.method+" "+r.path+" as a reader")
	}
	if n := one[int](s, "SELECT count(*) FROM users WHERE username = 'eve'"); n != 0 {
		t.Error("a refused registration made a user")
	}
}

func TestPrivateScanDoesNotExistForOthers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	sv := s.start()
	alice, bob := sv.login(sv.user("alice", "contributor")), sv.login(sv.user("bob", "contributor"))
	const name = "hidden_plant"
	sv.post("/scans/"+name, alice.access, map[string]any{"metadata": map[string]any{"visibility": "private"}}).
		want(t, "create a private scan", http.StatusCreated)
	sv.get("/scans/"+name, alice.access).want(t, "read by its owner", http.StatusOK)
	sv.get("/scans/"+name, sv.login(s.admin()).access).want(t, "read by an administrator", http.StatusOK)
	for who, raw := range map[string]string{"another user": bob.access, "a guest": ""} {
		missing := strings.ReplaceAll(string(sv.get("/scans/other_plant", raw).body), "other_plant", name)
		got := sv.get("/scans/"+name, raw).want(t, "read by "+who, http.StatusNotFound)
		if string(got.body) != missing {
			t.Errorf("%s is told %s of a private scan, and %s of none; want no difference", who, got, missing)
		}
		for _, path := range []string{"/scans", "/scans/info"} {
			if list := sv.get(path, raw); strings.Contains(string(list.body), name) {
				t.Errorf("%s for %s lists a private scan", path, who)
			}
		}
	}
	sv.annotate(name, bob.access).want(t, "write by another user", http.StatusNotFound)
}
