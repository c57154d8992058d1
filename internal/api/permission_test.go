package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
)

// onScans are the permissions that an API token can have.
var onScans = []string{"read", "write", "create", "delete"}

// Every operation that refuses who is logged in says in the document what it
// needs, and no other does.
func TestPermissionsAreDeclared(t *testing.T) {
	t.Parallel()
	known := append([]string{"manage_users", "manage_groups", "admin", "session"}, onScans...)
	counted := map[string]int{}
	for _, document := range []string{"openapi.json", "openapi-legacy.json"} {
		for _, op := range operations(t, document) {
			refuses := !op.public() && slices.Contains(op.Responses["403"].Codes, "forbidden")
			if op.OperationID == "get-upload" {
				refuses = false // to ask needs nothing; the last step, which it may try again, does
			}
			if refuses != (op.Permission != "") {
				t.Errorf("%s: x-permission is %q, and it lists 403 with forbidden: %v", op.OperationID, op.Permission, refuses)
			}
			if op.Permission == "" {
				continue
			}
			counted[op.Permission]++
			if !slices.Contains(known, op.Permission) {
				t.Errorf("%s: x-permission %q is none of %v", op.OperationID, op.Permission, known)
			}
			if op.public() || op.optional() && op.Permission != "read" {
				t.Errorf("%s needs %s, and its security is %v", op.OperationID, op.Permission, op.Security)
			}
		}
	}
	for _, p := range known {
		if counted[p] == 0 {
			t.Errorf("no operation needs %s; this looks at the wrong places", p)
		}
	}
}

// Logged in and not allowed is 403 insufficient_scope, at every operation of
// both documents, for everybody who lacks what it says that it needs: an API
// token with all other permissions, and whoever has a lower role.
func TestForbidden(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	f := newForbidden(s)
	walked := 0
	for _, document := range []string{"openapi.json", "openapi-legacy.json"} {
		for _, op := range operations(t, document) {
			if op.Permission == "" {
				continue
			}
			walked++
			for who, token := range f.without(op) {
				f.refused(op, who, token)
			}
		}
	}
	if walked < 90 {
		t.Errorf("walked %d operations, want all that need a permission", walked)
	}
	if after := f.state(); after != f.before {
		t.Errorf("what was refused changed something:\n%s\nwas:\n%s", after, f.before)
	}
}

// forbidden is a site in which the examples of the document exist.
type forbidden struct {
	*site
	sessions map[string]string // of a role
	tokens   map[string]string // an administrator's API token with all permissions but this one
	entry    string            // of the trash
	upload   string
	before   string
}

func newForbidden(s *site) *forbidden {
	s.t.Helper()
	f := &forbidden{site: s, sessions: map[string]string{}, tokens: map[string]string{}}
	admin, _ := s.login("admin")
	f.sessions["reader"], _ = s.login("rita")
	f.sessions["contributor"], _ = s.login("carol")
	for _, lacks := range append([]string{""}, onScans...) {
		rest := slices.DeleteFunc(slices.Clone(onScans), func(p string) bool { return p == lacks })
		list, err := json.Marshal(rest)
		if err != nil {
			s.t.Fatal(err)
		}
		f.tokens[lacks] = s.textOf("/auth/token/create-api-token", fmt.Sprintf(`{"token_exp":3600,"datasets":{"*":%s}}`, list), admin, "api_token")
	}
	made := func(method, path, body string) {
		s.t.Helper()
		if a := s.do(method, "/api/v1"+path, body, asJSON, bearer(admin)); a.status >= http.StatusBadRequest {
			s.t.Fatalf("%s %s = %d %s", method, path, a.status, a.body)
		}
	}
	made(http.MethodPost, "/auth/register", `{"username":"alice","fullname":"Alice Martin","password":"`+password+`"}`)
	made(http.MethodPost, "/groups", `{"name":"phenotyping","members":["alice"]}`)
	made(http.MethodPost, "/filesets/real_plant/doomed", "{}")
	made(http.MethodDelete, "/filesets/real_plant/doomed", "")
	var trash struct {
		Entries []struct{ ID string }
	}
	if err := json.Unmarshal(s.do(http.MethodGet, "/api/v1/trash", "", bearer(admin)).body, &trash); err != nil || len(trash.Entries) != 1 {
		s.t.Fatalf("trash = %+v, %v, want an entry", trash, err)
	}
	f.entry = trash.Entries[0].ID
	location := s.beginUpload(admin, "00007_rgb.jpg", 1048577)
	f.upload = location[strings.LastIndexByte(location, '/')+1:]
	f.before = f.state()
	return f
}

var lastUse = regexp.MustCompile(`,"last_used_at":[^,}]*`)

// state is what an administrator sees of the site.
func (f *forbidden) state() string {
	f.t.Helper()
	admin, _ := f.login("admin")
	var all strings.Builder
	for _, path := range []string{
		"/users/alice", "/groups", "/scans", "/scans/real_plant/metadata", "/scans/real_plant/filesets", "/filesets/real_plant/images/files",
		"/timelapses", "/trash", "/quotas", "/webhooks", "/auth/api-tokens",
	} {
		a := f.do(http.MethodGet, "/api/v1"+path, "", bearer(admin))
		if a.status != http.StatusOK {
			f.t.Fatalf("GET %s = %d %s", path, a.status, a.body)
		}
		fmt.Fprintf(&all, "%s: %s\n", path, lastUse.ReplaceAll(a.body, nil))
	}
	return all.String()
}

// without are those who lack what the operation needs.
func (f *forbidden) without(op operation) map[string]string {
	who := map[string]string{}
	if slices.Contains(onScans, op.Permission) {
		who["token without "+op.Permission] = f.tokens[op.Permission]
	} else {
		who["token with everything"] = f.tokens[""]
	}
	// What others deleted or upload is not there for people.
	if op.Permission != "session" && op.Permission != "read" && !strings.HasSuffix(op.Path, "{id}") && !strings.Contains(op.Path, "/trash/") {
		who["reader"] = f.sessions["reader"]
	}
	if slices.Contains([]string{"delete", "admin", "manage_users", "manage_groups"}, op.Permission) && who["reader"] != "" {
		who["contributor"] = f.sessions["contributor"]
	}
	if op.OperationID == "get-usage" { // one's own anybody may ask for
		delete(who, "token with everything")
	}
	return who
}

func (f *forbidden) refused(op operation, who, token string) {
	f.t.Helper()
	path, headers := f.example(op)
	body, contentType := f.body(op)
	headers = append(headers, bearer(token), header{"Content-Type", contentType})
	what := fmt.Sprintf("%s (%s) as %s", op.OperationID, op.Permission, who)
	a := f.do(op.Method, path, body, headers...)
	wantProblem(f.t, what, a, http.StatusForbidden, "forbidden")
	if got := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer ") || !strings.Contains(got, `error="insufficient_scope"`) {
		f.t.Errorf("%s: WWW-Authenticate = %q, want Bearer error=\"insufficient_scope\"", what, got)
	}
	text, _ := a.json(f.t)["message"].(string)
	if !strings.Contains(text, " does not have required permissions to use ") && !strings.Contains(text, "Only administrators") {
		f.t.Errorf("%s: message %q, want upstream's", what, text)
	}
}

// example fills path and headers with the examples of the document.
func (f *forbidden) example(op operation) (path string, headers []header) {
	f.t.Helper()
	path = op.Path
	for _, p := range op.Parameters {
		value := ""
		if len(p.Schema.Examples) > 0 {
			value = fmt.Sprint(p.Schema.Examples[0])
		}
		switch {
		case p.In == "path" && p.Name == "id" && strings.Contains(op.Path, "/trash/"):
			value = f.entry
		case p.In == "path" && p.Name == "id" && strings.Contains(op.Path, "/uploads/"):
			value = f.upload
		case p.In == "path" && p.Name == "id":
			value = "01890a5d-ac96-774b-bcce-b302099a8057"
		case p.Name == "scope":
			value = "all"
		case p.Name == "user" || p.Name == "username":
			value = "alice"
		case p.Name == "Upload-Offset":
			value = "0"
		case p.Name == "Upload-Length":
			value = "1048577"
		}
		switch {
		case p.In == "path":
			path = strings.Replace(path, "{"+p.Name+"}", value, 1)
		case p.In == "header" && p.Required:
			headers = append(headers, header{p.Name, value})
		case p.In == "query" && (p.Required || op.OperationID == "get-usage"):
			path += "?" + p.Name + "=" + value
		}
	}
	return path, headers
}

// body is the example of the document, or where it has none what makes sense of
// the operation.
func (f *forbidden) body(op operation) (body, contentType string) {
	f.t.Helper()
	for contentType, m := range op.RequestBody.Content {
		if m.Example != nil {
			text, err := json.Marshal(m.Example)
			if err != nil {
				f.t.Fatal(err)
			}
			return string(text), contentType
		}
		switch {
		case op.Path == "/api/scan":
			return `{"name":"new"}`, contentType
		case op.Path == "/api/fileset":
			return `{"fileset_id":"new","scan_id":"real_plant"}`, contentType
		case contentType == "multipart/form-data":
			return orderedForm("scan_id=real_plant", "fileset_id=images", "file_id=new", "ext=txt", "file=bytes")
		case contentType == "application/offset+octet-stream", contentType == "application/octet-stream":
			return "bytes", contentType
		}
		return "{}", contentType
	}
	return "", "application/json"
}
