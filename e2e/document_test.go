package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// operation is one of the API's document.
type operation struct {
	ID       string                `json:"operationId"`
	Security []map[string][]string `json:"security"`

	method, path string
}

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
		Paths map[string]map[string]operation
	}
	sv.get("//"+name, "").want(sv.t, name, http.StatusOK).into(sv.t, &doc)
	for path, methods := range doc.Paths {
		for method, op := range methods {
			op.method, op.path = strings.ToUpper(method), "/"+parameter.ReplaceAllString(path, "x")
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
	tokens := append([]bad{{"no token", "", ""}}, badTokens(t, p, key)...)

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
			got := sv.call(request{method: op.method, path: op.path, token: b.raw})
			if got.status != http.StatusUnauthorized || !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer") ||
				got.text("message") == "" || got.text("code") == "" {
				t.Errorf("%s %s with %s = %s (WWW-Authenticate %q), want 401, Bearer, message and code",
					op.method, op.path, b.name, got, got.header.Get("WWW-Authenticate"))
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
