package main_test

import (
	"bufio"
	"bytes"
	gocmp "cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/servertest"
)

// badRequest is one that must be refused.
type badRequest struct {
	name, method, path string
	as                 string // admin, reader, garbage, refresh, none; empty is admin
	contentType, body  string
	header             http.Header

	status int
	code   string
}

const jsonType = "application/json"

// password stands in bodies that are refused; no answer may repeat it.
const password = "t0p-s3cr3t-p4ss"

// refusedReads are refused for what their path or query says.
var refusedReads = []badRequest{
	{name: "unknown path", path: "/nothing/here", status: 404, code: "not_found"},
	{name: "unknown scan", path: "/scans/none", status: 404, code: "unknown_scan"},
	{name: "unknown scan's metadata", path: "/scans/none/metadata", status: 404, code: "unknown_scan"},
	{name: "unknown scan's filesets", path: "/scans/none/filesets", status: 404, code: "unknown_scan"},
	{name: "unknown fileset", path: "/filesets/kept/none/files", status: 404, code: "unknown_fileset"},
	{name: "unknown fileset's metadata", path: "/filesets/kept/none/metadata", status: 404, code: "unknown_fileset"},
	{name: "unknown file", path: "/files/kept/images/none", status: 404, code: "unknown_file"},
	{name: "unknown file's metadata", path: "/files/kept/images/none/metadata", status: 404, code: "unknown_file"},
	{name: "unknown image", path: "/assets/image/kept/images/none", status: 404, code: "unknown_file"},
	{name: "unknown asset", path: "/assets/files/kept/none.json", status: 404, code: "unknown_asset"},
	{name: "asset above the tree", path: "/assets/files/kept/..%2F..%2Fetc%2Fpasswd", status: 404, code: "unknown_asset"},
	{name: "hidden asset", path: "/assets/files/.plantdb/jwt.key", status: 404, code: "unknown_asset"},
	{name: "unknown timelapse", path: "/timelapses/none", status: 404, code: "unknown_timelapse"},
	{name: "unknown timelapse's scans", path: "/timelapses/none/scans", status: 404, code: "unknown_timelapse"},
	{name: "unknown scan to refresh", path: "/refresh?scan_id=none", status: 404, code: "unknown_scan"},
	{name: "bad name", path: "/scans/no%20such%20name", status: 400, code: "invalid_name"},
	{name: "bad name with markup", path: "/scans/%3Cscript%3E", status: 400, code: "invalid_name"},
	{name: "bad name with a zero byte", path: "/scans/a%00b", status: 400, code: "invalid_name"},
	{name: "name that is too long", path: "/scans/" + strings.Repeat("a", 256), status: 400, code: "invalid_name"},
	{name: "bad fileset name", path: "/filesets/kept/a%3Fb/files", status: 400, code: "invalid_name"},
	{name: "bad file name", path: "/files/kept/images/a%3Bb", status: 400, code: "invalid_name"},
	{name: "filter that is no JSON", path: "/scans?filterQuery=%7Bcrop", status: 400, code: "bad_filter"},
	{name: "filter that is no regular expression", path: "/scans?fuzzy=true&filterQuery=%7B%22crop%22:%22(%22%7D", status: 400, code: "bad_filter"},
	{name: "fuzzy that is neither", path: "/scans?fuzzy=perhaps", status: 400, code: "invalid_request"},
	{name: "image size", path: "/assets/image/kept/images/photo?size=huge", status: 400, code: "bad_size"},
	{name: "image size out of bounds", path: "/assets/image/kept/images/photo?size=100000", status: 400, code: "bad_size"},
	{name: "image that is none", path: "/assets/image/kept/images/notes?size=thumb", status: 422, code: "damaged_image"},
	{name: "image whose header promises too much", path: "/assets/image/kept/images/vast?size=thumb", status: 422, code: "image_too_large"},
	{name: "image whose header promises too much, as text", path: "/assets/image/kept/images/vast?size=large&as_base64=true", status: 422, code: "image_too_large"},
	{name: "range beyond the end", path: "/files/kept/images/notes", header: http.Header{"Range": {"bytes=1000-"}}, status: 416, code: "range_not_satisfiable"},
	{name: "method", method: http.MethodDelete, path: "/health", status: 405, code: "method_not_allowed"},
	{name: "garbage token", path: "/scans", as: "garbage", status: 401, code: "token_malformed"},
	{name: "refresh token as access token", path: "/scans", as: "refresh", status: 401, code: "token_wrong_type"},
	{name: "token without a scheme", path: "/scans", as: "none", header: http.Header{"Authorization": {password}}, status: 401, code: "token_malformed"},
	{name: "two tokens", path: "/scans", header: http.Header{"Cookie": {"access_token_cookie=" + password}}, status: 400, code: "token_ambiguous"},
	{name: "missing username", path: "/auth/login", as: "none", status: 400, code: "missing_username"},
}

// refusedWrites are refused for who sends them, or for their body.
var refusedWrites = []badRequest{
	{name: "scan without a token", path: "/scans/new", as: "none", contentType: jsonType, body: "{}", status: 401, code: "token_missing"},
	{name: "scan with a garbage token", path: "/scans/new", as: "garbage", contentType: jsonType, body: "{}", status: 401, code: "token_malformed"},
	{name: "scan without permission", path: "/scans/new", as: "reader", contentType: jsonType, body: "{}", status: 403, code: "forbidden"},
	{name: "metadata without a token", path: "/scans/kept/metadata", as: "none", contentType: jsonType, body: `{"metadata":{}}`, status: 401, code: "token_missing"},
	{name: "metadata without permission", path: "/scans/kept/metadata", as: "reader", contentType: jsonType, body: `{"metadata":{"a":1}}`, status: 403, code: "forbidden"},
	{name: "fileset without a token", path: "/filesets/kept/new", as: "none", status: 401, code: "token_missing"},
	{name: "fileset without permission", path: "/filesets/kept/new", as: "reader", status: 403, code: "forbidden"},
	{name: "timelapse without a token", path: "/timelapses", as: "none", contentType: jsonType, body: `{"id":"new"}`, status: 401, code: "token_missing"},
	{name: "timelapse without permission", path: "/timelapses", as: "reader", contentType: jsonType, body: `{"id":"new"}`, status: 403, code: "forbidden"},
	{name: "user without permission", path: "/auth/register", as: "reader", contentType: jsonType, body: `{"username":"new","fullname":"New","password":"` + password + `"}`, status: 403, code: "forbidden"},
	{name: "taken scan", path: "/scans/kept", contentType: jsonType, body: "{}", status: 409, code: "scan_exists"},
	{name: "taken fileset", path: "/filesets/kept/images", status: 409, code: "fileset_exists"},
	{name: "taken user", path: "/auth/register", contentType: jsonType, body: `{"username":"reader","fullname":"R","password":"` + password + `"}`, status: 409, code: "user_exists"},
	{name: "taken timelapse", path: "/timelapses", contentType: jsonType, body: `{"id":"kept"}`, status: 409, code: "timelapse_exists"},
	{name: "reserved scan name", path: "/scans/models", contentType: jsonType, body: "{}", status: 400, code: "name_reserved"},
	{name: "scan named as a list", path: "/scans/info", contentType: jsonType, body: "{}", status: 405, code: "method_not_allowed"},
	{name: "scan name of dots", path: "/scans/.hidden", contentType: jsonType, body: "{}", status: 400, code: "name_invalid"},
	{name: "timelapse name", path: "/timelapses", contentType: jsonType, body: `{"id":"a b"}`, status: 400, code: "name_invalid"},
	{name: "timelapse without name", path: "/timelapses", contentType: jsonType, body: `{"metadata":{"a":1}}`, status: 400, code: "missing_id"},
	{name: "timelapse of nothing", path: "/timelapses", contentType: jsonType, body: `[]`, status: 400, code: "invalid_request"},
	{name: "scan of an unknown timelapse", path: "/scans/new", contentType: jsonType, body: `{"metadata":{"timelapse":{"id":"none"}}}`, status: 404, code: "unknown_timelapse"},
	{name: "scan of an unknown group", path: "/scans/new", contentType: jsonType, body: `{"metadata":{"sharing":["none"]}}`, status: 400, code: "bad_sharing"},
	{name: "scan with metadata that is no object", path: "/scans/new", contentType: jsonType, body: `{"metadata":"text"}`, status: 400, code: "bad_metadata"},
	{name: "login as another type", path: "/auth/login", as: "none", contentType: "text/plain", body: `{"username":"admin","password":"` + password + `"}`, status: 415, code: "unsupported_media_type"},
	{name: "login as a form", path: "/auth/login", as: "none", contentType: "application/x-www-form-urlencoded", body: "username=admin&password=" + password, status: 415, code: "unsupported_media_type"},
	{name: "login with broken JSON", path: "/auth/login", as: "none", contentType: jsonType, body: `{"username":"admin","password":"` + password, status: 400, code: "invalid_request"},
	{name: "login with values of wrong types", path: "/auth/login", as: "none", contentType: jsonType, body: `{"username":["admin"],"password":{"x":"` + password + `"}}`, status: 400, code: "invalid_request"},
	{name: "login with an empty body", path: "/auth/login", as: "none", contentType: jsonType, status: 400, code: "invalid_request"},
	{name: "login without password", path: "/auth/login", as: "none", contentType: jsonType, body: `{"username":"admin"}`, status: 400, code: "missing_fields"},
	{name: "login with a wrong password", path: "/auth/login", as: "none", contentType: jsonType, body: `{"username":"nobody","password":"` + password + `"}`, status: 401, code: "invalid_credentials"},
	{name: "user of no name", path: "/auth/register", contentType: jsonType, body: `{"username":"","fullname":"N","password":"` + password + `"}`, status: 400, code: "missing_fields"},
	{name: "user with spaces", path: "/auth/register", contentType: jsonType, body: `{"username":"a b","fullname":"N","password":"` + password + `"}`, status: 400, code: "user_name"},
	{name: "user without password", path: "/auth/register", contentType: jsonType, body: `{"username":"new","fullname":"N","password":""}`, status: 400, code: "missing_fields"},
	{name: "refresh with garbage", path: "/auth/token/refresh", as: "none", contentType: jsonType, body: `{"refresh_token":"` + password + `"}`, status: 401, code: "token_malformed"},
	{name: "refresh without a token", path: "/auth/token/refresh", as: "none", contentType: jsonType, body: `{}`, status: 401, code: "token_missing"},
	{name: "refresh with a number", path: "/auth/token/refresh", as: "none", contentType: jsonType, body: `{"refresh_token":1}`, status: 401, code: "token_missing"},
	{name: "refresh with broken JSON", path: "/auth/token/refresh", as: "none", contentType: jsonType, body: `{"refresh_token":"` + password, status: 400, code: "invalid_request"},
	{name: "refresh as another type", path: "/auth/token/refresh", as: "none", contentType: "text/plain", body: password, status: 415, code: "unsupported_media_type"},
	{name: "refresh with an access token", path: "/auth/token/refresh", as: "none", contentType: jsonType, body: `{"refresh_token":"ACCESS"}`, status: 401, code: "token_wrong_type"},
	{name: "logout without a token", path: "/auth/logout", as: "none", status: 401, code: "token_missing"},
	{name: "API token without datasets", path: "/auth/token/create-api-token", contentType: jsonType, body: `{"token_exp":60}`, status: 400, code: "missing_datasets"},
	{name: "API token without an end", path: "/auth/token/create-api-token", contentType: jsonType, body: `{"datasets":{"*":["read"]}}`, status: 400, code: "missing_token_exp"},
	{name: "API token of no time", path: "/auth/token/create-api-token", contentType: jsonType, body: `{"token_exp":0,"datasets":{"*":["read"]}}`, status: 400, code: "invalid_token_exp"},
	{name: "API token of half a second", path: "/auth/token/create-api-token", contentType: jsonType, body: `{"token_exp":0.5,"datasets":{"*":["read"]}}`, status: 400, code: "invalid_token_exp"},
	{name: "API token with a text for a list", path: "/auth/token/create-api-token", contentType: jsonType, body: `{"token_exp":60,"datasets":{"*":"read"}}`, status: 400, code: "invalid_datasets"},
	{name: "API token for nothing", path: "/auth/token/create-api-token", contentType: jsonType, body: `{"token_exp":60,"datasets":{}}`, status: 400, code: "api_token"},
	{name: "API token to fly", path: "/auth/token/create-api-token", contentType: jsonType, body: `{"token_exp":60,"datasets":{"*":["fly"]}}`, status: 400, code: "api_token"},
	{name: "metadata as another type", path: "/scans/kept/metadata", contentType: "text/plain", body: `{"metadata":{"a":1}}`, status: 415, code: "unsupported_media_type"},
	{name: "metadata that is broken", path: "/scans/kept/metadata", contentType: jsonType, body: `{"metadata":{`, status: 400, code: "invalid_request"},
	{name: "metadata with two values", path: "/scans/kept/metadata", contentType: jsonType, body: `{"metadata":{}} {}`, status: 400, code: "invalid_request"},
	{name: "metadata that is none", path: "/scans/kept/metadata", contentType: jsonType, body: `{}`, status: 400, code: "missing_metadata"},
	{name: "metadata that is a list", path: "/filesets/kept/images/metadata", contentType: jsonType, body: `{"metadata":[]}`, status: 400, code: "bad_metadata"},
	{name: "metadata of an unknown file", path: "/files/kept/images/none/metadata", contentType: jsonType, body: `{"metadata":{"a":1}}`, status: 404, code: "unknown_file"},
	{name: "metadata of an unknown scan", path: "/scans/none/metadata", contentType: jsonType, body: `{"metadata":{"a":1}}`, status: 404, code: "unknown_scan"},
	{name: "metadata that moves into a timelapse", path: "/scans/kept/metadata", contentType: jsonType, body: `{"metadata":{"timelapse":{"id":"series"}}}`, status: 400, code: "timelapse_fixed"},
	{name: "metadata that is too deep", path: "/scans/kept/metadata", contentType: jsonType, body: `{"metadata":{"a":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}}`, status: 400, code: "too_deep"},
	{name: "metadata that is too large", path: "/scans/kept/metadata", contentType: jsonType, body: `{"metadata":{"a":"` + strings.Repeat("x", 17<<20) + `"}}`, status: 413, code: "too_large"},
}

// bench is a server with something in it to ask for.
type bench struct {
	dir, database string
	server        *servertest.Server
	callers       map[string]caller
	tokens        session
}

func newBench(t *testing.T, env ...string) *bench {
	t.Helper()
	return benchIn(t, servertest.Dir(t), pgtest.URL(t), env...)
}

func benchIn(t *testing.T, dir, database string, env ...string) *bench {
	t.Helper()
	b := &bench{dir: dir, database: database}
	b.server = servertest.Start(t, servertest.Options{Env: append(env, "DATABASE_URL="+database)}, dir, "--test")
	admin, tokens := login(t, b.server, "admin", "admin")
	b.tokens = tokens
	admin.makeScan(t, "kept", "some notes")
	contentType, body := form(t, "no image at all", "ext", "jpg")
	if a := admin.send(t, http.MethodPost, "/files/kept/images/photo", contentType, body); a.Status != http.StatusCreated {
		t.Fatalf("upload = %d %s", a.Status, a.Text)
	}
	admin.must(t, http.StatusCreated, "/timelapses", object{"id": "series"})
	admin.must(t, http.StatusCreated, "/auth/register", object{"username": "reader", "fullname": "Reader", "password": "reader-pass"})
	reader, _ := login(t, b.server, "reader", "reader-pass")
	b.callers = map[string]caller{
		"": admin, "admin": admin, "reader": reader, "none": {base: b.server.URL},
		"garbage": {b.server.URL, "s3cr3t.garb4ge.t0ken"}, "refresh": {b.server.URL, tokens.refresh},
	}
	b.folded(t, "photo") // so that from now on only requests change the tree
	return b
}

// folded waits until files.json of the scan lists a file.
func (b *bench) folded(t *testing.T, id string) {
	t.Helper()
	eventually(t, "files.json has the upload", func() string {
		index, err := os.ReadFile(filepath.Join(b.dir, "kept/files.json"))
		if err != nil || !strings.Contains(string(index), `"`+id+`"`) {
			return fmt.Sprintf("%s, %v", index, err)
		}
		return ""
	})
}

// send sends the request and holds the answer against what is wanted.
func (b *bench) send(t *testing.T, bad badRequest) answer {
	t.Helper()
	c := b.callers[bad.as]
	r, err := http.NewRequestWithContext(t.Context(), bad.method, c.base+"/api/v1"+bad.path, strings.NewReader(bad.body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, bad.header)
	if bad.contentType != "" {
		r.Header.Set("Content-Type", bad.contentType)
	}
	if c.token != "" && r.Header.Get("Authorization") == "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	a := do(t, r)
	checkProblem(t, a, bad.status, bad.code)
	for _, secret := range []string{password, c.token} {
		if secret != "" && strings.Contains(a.Text, secret) {
			t.Errorf("answer repeats a secret: %s", a.Text)
		}
	}
	return a
}

// checkProblem holds that an answer is an error as every error is.
func checkProblem(t *testing.T, a answer, status int, code string) {
	t.Helper()
	if a.Status != status || a.text("code") != code {
		t.Errorf("answer = %d %s, want %d %s", a.Status, a.Text, status, code)
	}
	if message := a.text("message"); message == "" || a.text("error") != message || !strings.HasPrefix(a.text("detail"), message) {
		t.Errorf("answer without a message, or with two: %s", a.Text)
	}
	if got := a.Body["status"]; got != float64(status) {
		t.Errorf("member status = %v, want %d", got, status)
	}
	switch scheme := a.Header.Get("WWW-Authenticate"); {
	case status == http.StatusUnauthorized && !strings.HasPrefix(scheme, "Bearer"):
		t.Errorf("401 with WWW-Authenticate %q", scheme)
	case status == http.StatusMethodNotAllowed && a.Header.Get("Allow") == "":
		t.Error("405 without Allow")
	}
	if status == http.StatusServiceUnavailable {
		if seconds, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || seconds < 1 {
			t.Errorf("503 with Retry-After %q", a.Header.Get("Retry-After"))
		}
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	b := newBench(t, "PLANTDB_MAX_UPLOAD=64KiB")
	contentType, body := form(t, vastPNG(), "ext", "png")
	if a := b.callers["admin"].send(t, http.MethodPost, "/files/kept/images/vast", contentType, body); a.Status != http.StatusCreated {
		t.Fatalf("upload = %d %s", a.Status, a.Text)
	}
	b.folded(t, "vast")
	// What was uploaded before is on its way into files.json.
	eventually(t, "files.json is written behind the upload", func() string {
		index, err := os.ReadFile(filepath.Join(b.dir, "kept", "files.json"))
		if err != nil || !strings.Contains(string(index), "notes.txt") {
			return fmt.Sprintf("%s, %v", index, err)
		}
		return ""
	})
	before := treeOf(t, b.dir)
	for method, list := range map[string][]badRequest{http.MethodGet: refusedReads, http.MethodPost: refusedWrites} {
		for _, bad := range list {
			if bad.method == "" {
				bad.method = method
			}
			bad.body = strings.ReplaceAll(bad.body, "ACCESS", b.tokens.access)
			t.Run(bad.name, func(t *testing.T) { b.send(t, bad) })
		}
	}
	if diff := cmp.Diff(before, treeOf(t, b.dir)); diff != "" {
		t.Errorf("refused requests changed the tree (-before +after):\n%s", diff)
	}
}

// vastPNG is the beginning of an image of 60000x60000 pixels, a few bytes long.
func vastPNG() string {
	const side = 60_000
	header := append([]byte("IHDR"), 0, 0, side>>8, side&0xff, 0, 0, side>>8, side&0xff, 8, 2, 0, 0, 0)
	length := binary.BigEndian.AppendUint32(nil, uint32(len(header)-len("IHDR")))
	return "\x89PNG\r\n\x1a\n" + string(length) + string(binary.BigEndian.AppendUint32(header, crc32.ChecksumIEEE(header)))
}

// TestBadUpload sends forms that are refused; nothing of them may remain.
func TestBadUpload(t *testing.T) {
	t.Parallel()
	b := newBench(t, "PLANTDB_MAX_UPLOAD=64KiB")
	before := treeOf(t, b.dir)
	small, tooLarge := "some bytes", strings.Repeat("x", 64<<10+1)
	for _, tt := range []struct {
		name, path, as, content string
		fields                  []string
		status                  int
		code                    string
	}{
		{"taken", "kept/images/notes", "", small, []string{"ext", "txt"}, 409, "file_exists"},
		{"taken under another extension", "kept/images/notes", "", small, []string{"ext", "json"}, 409, "file_exists"},
		{"one byte too large", "kept/images/new", "", tooLarge, []string{"ext", "txt"}, 413, "too_large"},
		{"without a token", "kept/images/new", "none", small, []string{"ext", "txt"}, 401, "token_missing"},
		{"with a garbage token", "kept/images/new", "garbage", small, []string{"ext", "txt"}, 401, "token_malformed"},
		{"without permission", "kept/images/new", "reader", small, []string{"ext", "txt"}, 403, "forbidden"},
		{"into an unknown scan", "none/images/new", "", small, []string{"ext", "txt"}, 404, "unknown_scan"},
		{"into an unknown fileset", "kept/none/new", "", small, []string{"ext", "txt"}, 404, "unknown_fileset"},
		{"with a bad name", "kept/images/a%20b", "", small, []string{"ext", "txt"}, 400, "invalid_name"},
		{"with a hidden name", "kept/images/.hidden", "", small, []string{"ext", "txt"}, 400, "name_invalid"},
		{"without an extension", "kept/images/new", "", small, nil, 400, "no_extension"},
		{"with an extension that is not allowed", "kept/images/new", "", small, []string{"ext", "exe"}, 400, "bad_extension"},
		{"with an extension that climbs", "kept/images/new", "", small, []string{"ext", "txt/../../x"}, 400, "bad_extension"},
		{"with metadata that is broken", "kept/images/new", "", small, []string{"ext", "txt", "metadata", "{"}, 400, "invalid_metadata"},
		{"with metadata that is no object", "kept/images/new", "", small, []string{"ext", "txt", "metadata", "[1]"}, 400, "bad_metadata"},
		{"with metadata that is too large", "kept/images/new", "", small, []string{"ext", "txt", "metadata", strings.Repeat("x", 1<<20+1)}, 413, "too_large"},
		{"of an empty image", "kept/images/new", "", "", []string{"ext", "png"}, 400, "empty_file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			contentType, body := form(t, tt.content, tt.fields...)
			a := b.callers[tt.as].send(t, http.MethodPost, "/files/"+tt.path, contentType, body)
			checkProblem(t, a, tt.status, tt.code)
		})
	}
	contentType, whole := form(t, small, "ext", "txt")
	for _, tt := range []struct {
		name, contentType, body string
		status                  int
		code                    string
	}{
		{"nothing", "", "", 400, "no_file"},
		{"no form", jsonType, "{}", 400, "no_file"},
		{"a form without boundary", "multipart/form-data", "x", 400, "no_file"},
		{"an empty form", contentType, "", 400, "no_file"},
		{"a form that breaks off", contentType, strings.SplitAfter(whole.String(), small)[0], 400, "broken_upload"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := b.callers["admin"].send(t, http.MethodPost, "/files/kept/images/new", tt.contentType, strings.NewReader(tt.body))
			checkProblem(t, a, tt.status, tt.code)
		})
	}
	if diff := cmp.Diff(before, treeOf(t, b.dir)); diff != "" {
		t.Errorf("refused uploads changed the tree (-before +after):\n%s", diff)
	}
	if a := b.callers["admin"].get(t, "/filesets/kept/images/files"); a.Text != "{\"files\":[\"notes\",\"photo\"]}\n" {
		t.Errorf("files after refused uploads = %s", a.Text)
	}
	exact := strings.Repeat("x", 64<<10)
	if a := b.callers["admin"].upload(t, "/files/kept/images/exact", exact); a.Status != http.StatusCreated {
		t.Errorf("upload of just as much as is allowed = %d %s", a.Status, a.Text)
	}
	t.Run("before its bytes", func(t *testing.T) { testRefusedBeforeItsBytes(t, b) })
}

// testRefusedBeforeItsBytes asks with Expect: 100-continue whether uploads may be
// sent: those that are refused for what their head says are so at once.
func testRefusedBeforeItsBytes(t *testing.T, b *bench) {
	t.Helper()
	const multi, raw, archive, pieces = "/api/v1/files/kept/images/new", "/files/kept", "/api/v1/assets/archive/new", "/api/v1/uploads"
	rawHead := map[string]string{"Content-Disposition": "attachment", "X-File-Path": "new.txt"}
	begun := b.callers["admin"].beginPieces(t, "pieces", 10)
	upload, err := url.Parse(begun.Header.Get("Location"))
	if begun.Status != http.StatusCreated || err != nil {
		t.Fatalf("begin upload = %d %s, %v", begun.Status, begun.Text, err)
	}
	for _, tt := range []struct {
		name, method, path, as string
		header                 map[string]string
		length                 int
		status                 int
		code                   string
	}{
		{name: "form", path: multi, status: 100},
		{name: "form without a token", path: multi, as: "none", status: 401, code: "token_missing"},
		{name: "form with a garbage token", path: multi, as: "garbage", status: 401, code: "token_malformed"},
		{name: "form without permission", path: multi, as: "reader", status: 403, code: "forbidden"},
		{name: "form of a bad name", path: "/api/v1/files/kept/images/a%20b", status: 400, code: "invalid_name"},
		{name: "form of a hidden name", path: "/api/v1/files/kept/images/.hidden", status: 400, code: "name_invalid"},
		{name: "form of a name that is taken", path: "/api/v1/files/kept/images/notes", status: 409, code: "file_exists"},
		{name: "form for an unknown scan", path: "/api/v1/files/none/images/new", status: 404, code: "unknown_scan"},
		{name: "form for an unknown fileset", path: "/api/v1/files/kept/none/new", status: 404, code: "unknown_fileset"},
		{name: "form that is too large", path: multi, length: 100 << 20, status: 413, code: "too_large"},
		{name: "form with a digest that is none", path: multi, header: map[string]string{"Content-Digest": "sha-256=nonsense"}, status: 400, code: "invalid_digest"},
		{name: "form in another encoding", path: multi, header: map[string]string{"Content-Encoding": "gzip"}, status: 415, code: "unsupported_encoding"},
		{name: "file beside filesets", path: raw, header: rawHead, status: 100},
		{name: "file beside filesets without a token", path: raw, as: "none", header: rawHead, status: 401, code: "token_missing"},
		{name: "file beside filesets without permission", path: raw, as: "reader", header: rawHead, status: 403, code: "forbidden"},
		{name: "file beside filesets of an unknown scan", path: "/files/none", header: rawHead, status: 404, code: "unknown_scan"},
		{name: "file beside filesets that is too large", path: raw, header: rawHead, length: 64<<10 + 1, status: 413, code: "too_large"},
		{name: "archive", path: archive, status: 100},
		{name: "archive without a token", path: archive, as: "none", status: 401, code: "token_missing"},
		{name: "archive without permission", path: archive, as: "reader", status: 403, code: "forbidden"},
		{name: "archive of a bad name", path: "/api/v1/assets/archive/.hidden", status: 400, code: "name_invalid"},
		{name: "piece", method: http.MethodPatch, path: upload.Path, header: map[string]string{"Upload-Offset": "0"}, length: 10, status: 100},
		{name: "piece at the wrong place", method: http.MethodPatch, path: upload.Path, header: map[string]string{"Upload-Offset": "5"}, length: 5, status: 409, code: "offset_mismatch"},
		{name: "piece of another's upload", method: http.MethodPatch, path: upload.Path, as: "reader", header: map[string]string{"Upload-Offset": "0"}, length: 10, status: 404, code: "unknown_upload"},
		{name: "piece of no upload", method: http.MethodPatch, path: pieces + "/01972c1e-8a4b-7c31-9a55-3e1f0b8e6c21", header: map[string]string{"Upload-Offset": "0"}, length: 10, status: 404, code: "unknown_upload"},
		{name: "form over the quota", path: multi, length: 60_000, status: 413, code: "quota_exceeded"},
		{name: "archive over the quota", path: archive, length: 60_000, status: 413, code: "quota_exceeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			head := http.Header{"Host": {"plantdb"}, "Connection": {"close"}, "Expect": {"100-continue"}}
			head.Set("Content-Length", strconv.Itoa(max(tt.length, 100)))
			switch tt.path {
			case raw, "/files/none":
				head.Set("Content-Type", "application/octet-stream")
			default:
				head.Set("Content-Type", "multipart/form-data; boundary=b")
			}
			if tt.method == http.MethodPatch {
				head.Set("Content-Length", strconv.Itoa(tt.length))
				head.Set("Content-Type", "application/offset+octet-stream")
				head.Set("Tus-Resumable", "1.0.0")
			}
			if c := b.callers[tt.as]; c.token != "" {
				head.Set("Authorization", "Bearer "+c.token)
			}
			for name, value := range tt.header {
				head.Set(name, value)
			}
			answer := func() string {
				a := b.ask(t, gocmp.Or(tt.method, http.MethodPost), tt.path, head)
				if a.Status != tt.status || a.text("code") != tt.code {
					return fmt.Sprintf("%d %s, want %d %s", a.Status, a.Text, tt.status, tt.code)
				}
				return ""
			}
			if tt.code == "quota_exceeded" {
				quota := strings.NewReader(`{"max_bytes": 70000}`)
				if a := b.callers["admin"].send(t, http.MethodPut, "/quotas/users/admin", jsonType, quota); a.Status != http.StatusOK {
					t.Fatalf("set a quota = %d %s", a.Status, a.Text)
				}
				// A server looks once a second for whom there are quotas.
				eventually(t, "asked whether the bytes may come", answer)
			} else if complaint := answer(); complaint != "" {
				t.Errorf("asked whether the bytes may come = %s", complaint)
			}
		})
	}
}

// ask sends the head of a request and nothing else, and returns what the server
// says first: 100 where the bytes may come.
func (b *bench) ask(t *testing.T, method, path string, head http.Header) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", strings.TrimPrefix(b.server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() // whatever is left of it
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\n", method, path)
	if err := head.Write(c); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "\r\n")
	said, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer said.Body.Close() // only read
	a := answer{Status: said.StatusCode, Header: said.Header}
	if a.Status == http.StatusContinue {
		return a
	}
	text, err := io.ReadAll(said.Body)
	if err != nil {
		t.Fatal(err)
	}
	a.Text = string(text)
	_ = json.Unmarshal(text, &a.Body) // an answer without a body says nothing
	return a
}

// TestAPITokenManagesNothing asks with an API token for what only a person may
// do, whatever the token was made for.
func TestAPITokenManagesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	all := []string{"read", "write", "create", "delete", "manage_users", "manage_groups"}
	c := caller{b.server.URL, b.callers["admin"].must(t, http.StatusOK, "/auth/token/create-api-token",
		object{"token_exp": 60, "datasets": object{"*": all}}).text("api_token")}
	c.makeScan(t, "by_token", "notes")
	for path, body := range map[string]object{
		"/auth/register":               {"username": "new", "fullname": "New", "password": password},
		"/auth/token/create-api-token": {"token_exp": 60, "datasets": object{"*": all}},
	} {
		checkProblem(t, c.post(t, path, body), http.StatusForbidden, "forbidden")
	}
	checkProblem(t, c.post(t, "/auth/logout", nil), http.StatusUnauthorized, "logout_failed")
}

// TestHugeHeader sends more header than the server takes. net/http refuses it
// before any code of ours, in its own words.
func TestHugeHeader(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL+"/api/v1/scans", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+strings.Repeat(password, 10_000))
	if a := do(t, r); a.Status != http.StatusRequestHeaderFieldsTooLarge || strings.Contains(a.Text, password) {
		t.Errorf("GET with a huge header = %d %.200s, want 431", a.Status, a.Text)
	}
	r.Header.Set("Authorization", "Bearer "+strings.Repeat("x", 9<<10))
	a := do(t, r)
	checkProblem(t, a, http.StatusUnauthorized, "token_malformed")
	if a := (caller{base: b.server.URL}).get(t, "/scans"); a.Status != http.StatusOK {
		t.Errorf("GET after a huge header = %d", a.Status)
	}
}

// TestUploadCutOff has clients go away in the middle of an upload.
func TestUploadCutOff(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	before := treeOf(t, b.dir)
	for range 3 {
		upload := b.callers["admin"].beginUpload(t, "/files/kept/images/cut")
		if _, err := io.Copy(upload.part, bytes.NewReader(make([]byte, 1<<20))); err != nil {
			t.Fatal(err)
		}
		_ = upload.body.CloseWithError(io.ErrUnexpectedEOF) // it cannot fail
		<-upload.done
	}
	eventually(t, "nothing remains of uploads that were cut off", func() string { return cmp.Diff(before, treeOf(t, b.dir)) })
	if a := b.callers["admin"].upload(t, "/files/kept/images/cut", "all of it"); a.Status != http.StatusCreated {
		t.Errorf("upload after one was cut off = %d %s", a.Status, a.Text)
	}
}
