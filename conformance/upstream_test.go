package conformance

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/demo"
	"github.com/romi/plantdb-go/internal/pyenv"
	"github.com/romi/plantdb-go/internal/servertest"
)

// asked is a request that both servers get.
type asked struct {
	method, path string
	// as is "admin", "bob" or "" for nobody; anything else is sent as the header Authorization.
	as string
	// body is JSON, form a multipart form whose part "file", or of which the part
	// with the name of a file and a type, as archived makes it, is its last field.
	body string
	form [][2]string
	// ours says why our answer is another one; it must be then. An answer of 5xx
	// and upstream's page of HTML for what it does not know need no reason.
	ours string
}

func get(path string) asked { return asked{method: http.MethodGet, path: path, as: "admin"} }

func post(path, body string) asked {
	return asked{method: http.MethodPost, path: path, as: "admin", body: body}
}

func upload(path string, fields ...[2]string) asked {
	return asked{method: http.MethodPost, path: path, as: "admin", form: fields}
}

// archived sends what is no archive as that of a scan, in a file of that name.
func archived(path, name, kind string) asked {
	return upload(path, [2]string{"zip_file " + name + " " + kind, "x"})
}

func (a asked) by(as string) asked       { a.as = as; return a }
func (a asked) otherwise(s string) asked { a.ours = s; return a }

func (a asked) String() string {
	return strings.Join([]string{a.method, a.path, cmp.Or(a.as, "nobody"), a.body, fmt.Sprint(a.form)}, " ")
}

// The reasons for another answer than upstream's.
const (
	readHere       = "the query string is read here, as upstream's own client sends it"
	wider          = "names of 0.15, with dots, are still made here"
	keptHere       = "the metadata of a fileset are its own here; upstream answers with its scan's"
	noTimelapse    = "what is not there is a 404"
	unreadable     = "a scan is shown before it has images"
	loginFirst     = "who has no token is asked to log in: 401"
	strict         = "datasets are objects of lists; upstream makes a token that is good for nothing"
	hidden         = "accounts are not served"
	moreKinds      = "more kinds of files are taken, and named"
	adminsOnly     = "administrators make accounts; upstream lets anybody who is logged in"
	forbiddenFirst = "who may not write into a scan is told so, before its filesets are looked at"
	reworded       = "a fault of the token is told in words of our own"
)

// everyScan are the sample scans that upstream's server reads: not that in a
// timelapse, with which it does not start again.
var everyScan = []string{"arabidopsis000", "real_plant", "real_plant_analyzed", "virtual_plant", "virtual_plant_analyzed"}

// readings asks for all that is in the tree. Upstream bounds some of it to five
// a minute: these are asked of few scans.
func readings(tree string) (list []asked) {
	for _, as := range []string{"admin", ""} {
		for _, at := range []string{"/health", "/scans", "/scans/info", "/refresh", "/refresh?scan_id=real_plant", "/timelapses"} {
			list = append(list, get(at).by(as))
		}
	}
	for _, scan := range append(slices.Clone(everyScan), "nope", "bad%20name!") {
		for _, what := range []string{"", "/metadata", "/metadata?key=scanner", "/metadata?key=nope", "/filesets", "/nothing"} {
			list = append(list, get("/scans/"+scan+what))
		}
		for _, kind := range []string{"", "?type=all", "?type=angles", "?type=internodes", "?type=fruit_points", "?type=manual_angles", "?type=other"} {
			list = append(list, get("/assets/sequence/"+scan+kind))
		}
	}
	for _, scan := range []string{"real_plant", "real_plant_analyzed", "nope"} {
		list = append(list, get("/assets/skeleton/"+scan), get("/assets/pointcloud/"+scan+"?size=orig"), get("/assets/mesh/"+scan+"?size=orig"))
	}
	for _, scan := range []string{"real_plant", "virtual_plant_analyzed"} {
		for _, fileset := range append(filesetsOf(tree, scan), fileset{ID: "nope"}) {
			at := scan + "/" + fileset.ID
			list = append(list, get("/filesets/"+at+"/metadata"), get("/filesets/"+at+"/metadata?key=nope"), get("/filesets/"+at+"/files"))
			for i, file := range append(fileset.Files, file{ID: "nope"}) {
				if i > 1 && file.ID != "nope" {
					continue
				}
				list = append(list, get("/files/"+at+"/"+file.ID), get("/files/"+at+"/"+file.ID+"/metadata"), get("/files/"+at+"/"+file.ID+"/metadata?key=shot_id"))
			}
		}
	}
	for _, query := range []string{"?size=orig", "?size=orig&as_base64=true", "?size=orig&as_base64=no", "?size=big"} {
		list = append(list, get("/assets/image/real_plant/images/00000_rgb"+query))
	}
	for _, at := range []string{"real_plant/images/nope", "real_plant/nope/x", "nope/images/x"} {
		list = append(list, get("/assets/image/"+at))
	}
	for _, at := range []string{"real_plant/files.json", "real_plant/images/00000_rgb.jpg", "real_plant/metadata/images/00000_rgb.json", "real_plant/nope", "real_plant"} {
		list = append(list, get("/assets/files/"+at))
	}
	list = append(list, get("/assets/files/users.json").otherwise(hidden))
	for _, filter := range []string{`{"owner":"admin"}`, `{"owner":"adm"}`, `{"nope":1}`, `{"owner":"a.*"}`, `[1]`, `{`} {
		for _, at := range []string{"/scans", "/scans?fuzzy=true", "/scans/virtual_plant_analyzed/filesets"} {
			list = append(list, asked{method: http.MethodGet, path: at, as: "admin", body: filter})
		}
	}
	return append(list,
		get("/scans?sort=timelapse.scheduled"), get("/scans?sort=nope"), get("/scans?timelapse_id=nope"),
		get(`/scans?filterQuery=%7B%22nope%22%3A1%7D`).otherwise(readHere),
		get("/timelapses/nope"), get("/timelapses/nope/scans").otherwise(noTimelapse),
		get("/auth/login?username=admin").by(""), get("/auth/login?username=nobody").by(""), get("/auth/login").by(""),
	)
}

const bobPassword = "subterranean 1"

// writings make, change and refuse, each after those before it.
func writings() []asked {
	text := func(ext, content, metadata string) [][2]string {
		return [][2]string{{"ext", ext}, {"metadata", metadata}, {"file", content}}
	}
	return []asked{
		post("/auth/login", `{"username":"admin","password":"wrong"}`).by(""), post("/auth/login", `{"username":"admin"}`).by(""), post("/auth/login", `{}`).by(""),
		post("/auth/token/validation", ""), post("/auth/token/validation", "").by("Bearer x").otherwise(reworded), post("/auth/token/validation", "").by("").otherwise(reworded),
		post("/auth/token/refresh", `{}`).otherwise(reworded), post("/auth/token/refresh", `{"refresh_token":"x"}`).otherwise(reworded),
		post("/auth/register", `{"username":"bob","fullname":"Bob Dylan","password":"`+bobPassword+`"}`),
		post("/auth/register", `{"username":"bob","fullname":"Bob Dylan","password":"`+bobPassword+`"}`),
		post("/auth/register", `{"username":"eve"}`), post("/auth/register", `{}`),
		post("/auth/token/create-api-token", `{"token_exp":600,"datasets":{"real_plant":["READ"]}}`),
		post("/auth/token/create-api-token", `{"token_exp":600,"datasets":{"real_plant":"READ"}}`).otherwise(strict),
		post("/auth/token/create-api-token", `{}`),

		post("/scans/one", `{"metadata":{"a":{"b":1,"c":2},"owner":"bob"}}`), post("/scans/one", `{}`), post("/scans/two", ""), post("/scans/three", `{`),
		post("/scans/with.dots", `{}`), post("/scans/-x", `{}`), post("/scans/four", `{}`).by(""),
		get("/scans/one/metadata"), get("/scans/one/filesets"), get("/scans/one").otherwise(unreadable),
		post("/scans/one/metadata", `{"metadata":{"a":{"b":9},"owner":"eve","sharing":["x"],"z":null}}`), get("/scans/one/metadata?key=z"), get("/scans/one/metadata?key=sharing"),
		post("/scans/one/metadata", `{}`), post("/scans/one/metadata", `{"metadata":[1]}`), post("/scans/one/metadata", `{"metadata":{}}`), post("/scans/one/metadata", `x`),
		post("/scans/nope/metadata", `{"metadata":{"a":1}}`), post("/scans/one/metadata", `{"metadata":{"a":1}}`).by(""),

		post("/filesets/one/images", `{"metadata":{"channel":1}}`), post("/filesets/one/images", `{}`), post("/filesets/nope/images", `{}`), post("/filesets/one/more", ""),
		post("/filesets/one/five", `{}`).by(""), get("/scans/one/filesets"),
		get("/filesets/one/images/metadata").otherwise(keptHere), get("/filesets/one/images/files"),
		post("/filesets/one/images/metadata", `{"metadata":[1]}`), post("/filesets/one/images/metadata", `{}`),

		upload("/files/one/images/f", text(".json", `{"a": 1}`, `{"m":1}`)...), upload("/files/one/images/f", text("json", `{}`, `{}`)...),
		get("/files/one/images/f"), get("/files/one/images/f/metadata"),
		upload("/files/one/images/g", text("txt", "one\ntwo\n", `{'m': True}`)...), get("/files/one/images/g"), get("/files/one/images/g/metadata?key=m"),
		upload("/files/one/images/h", text(".exe", "x", `{}`)...).otherwise(moreKinds), upload("/files/one/images/h", text("txt", "x", "{{")...),
		upload("/files/one/images/h", [2]string{"file", "x"}), upload("/files/one/images/h", [2]string{"ext", "txt"}, [2]string{"metadata", "{}"}),
		upload("/files/one/nope/h", text("txt", "x", `{}`)...), upload("/files/nope/images/h", text("txt", "x", `{}`)...), upload("/files/one/images/h", text("txt", "x", `{}`)...).by(""),
		get("/filesets/one/images/files"), get("/assets/files/one/images/g.txt"),
		post("/files/one/images/f/metadata", `{"metadata":{"x":[1]}}`), post("/files/one/images/f/metadata", `{}`), post("/files/one/images/f/metadata", `{"metadata":3}`),
		post("/files/one/images/nope/metadata", `{"metadata":{"x":1}}`),

		post("/timelapses", `{"id":"season","metadata":{"p":"q"}}`), post("/timelapses", `{"id":"season"}`), post("/timelapses", `{}`), post("/timelapses", `{"metadata":{}}`),
		post("/timelapses", `{"name":"other"}`), post("/timelapses", `{"id":"with.dots"}`), post("/timelapses", `{"id":"third"}`).by("").otherwise(loginFirst),
		post("/scans/late", `{"metadata":{"timelapse":{"id":"season","scheduled":"2026-01-02T00:00:00"}}}`),
		post("/scans/early", `{"metadata":{"timelapse":{"id":"season","scheduled":"2026-01-01T00:00:00"}}}`),
		post("/scans/never", `{"metadata":{"timelapse":{"id":"nope"}}}`),
		get("/timelapses"), get("/timelapses/season"), get("/timelapses/season/scans"), get("/scans?timelapse_id=season&sort=timelapse.scheduled"),
		get("/scans/early/metadata"), post("/filesets/early/images", `{}`), get("/scans/early/filesets"),
		{method: http.MethodDelete, path: "/timelapses/season", as: "admin"}, {method: http.MethodDelete, path: "/timelapses/other", as: "admin"},
		{method: http.MethodDelete, path: "/timelapses/nope", as: "admin"}, {method: http.MethodDelete, path: "/timelapses/season?recursive=true", as: "admin"}, get("/timelapses"),

		{method: http.MethodPut, path: "/scans", as: "admin"}, {method: http.MethodDelete, path: "/health", as: "admin"}, get("/auth/logout"), get("/scans/one/nothing"),
		post("/auth/logout", ""), post("/auth/logout", "").by(""),
	}
}

// refusals are what bob, a reader, may not do, and archives that are not taken or
// not there. Upstream bounds these to five a minute.
func refusals() []asked {
	text := [][2]string{{"ext", "txt"}, {"metadata", "{}"}, {"file", "x"}}
	list := []asked{
		post("/timelapses", `{"id":"kept"}`),
		get("/assets/archive/nope"), get("/assets/archive/bad%20name!"),
		archived("/assets/archive/real_plant", "real_plant.zip", "application/zip"),
		archived("/assets/archive/new", "new.tar", "application/zip"),
		archived("/assets/archive/new", "new.zip", "text/plain"),
		archived("/assets/archive/new", "new.zip", "application/zip"),
		upload("/assets/archive/new", [2]string{"zip_file", "x"}),
	}
	for _, a := range []asked{
		post("/scans/of_bob", `{}`), post("/scans/one", `{}`), post("/scans/one/metadata", `{"metadata":{"a":1}}`), post("/scans/one/metadata", `{}`), post("/scans/nope/metadata", `{"metadata":{"a":1}}`),
		post("/filesets/one/of_bob", `{}`), post("/filesets/one/images", `{}`), post("/filesets/nope/of_bob", `{}`), post("/filesets/one/images/metadata", `{"metadata":{"a":1}}`),
		upload("/files/one/images/of_bob", text...), upload("/files/one/images/f", text...), upload("/files/one/nope/of_bob", text...).otherwise(forbiddenFirst), post("/files/one/images/f/metadata", `{"metadata":{"a":1}}`),
		post("/timelapses", `{"id":"of_bob"}`), post("/timelapses", `{"id":"kept"}`), post("/timelapses", `{}`),
		{method: http.MethodDelete, path: "/timelapses/kept"}, {method: http.MethodDelete, path: "/timelapses/kept?recursive=true"}, asked{method: http.MethodDelete, path: "/timelapses/nope"}.otherwise(noTimelapse),
		post("/auth/register", `{"username":"carol","fullname":"Carol King","password":"tapestry 1971"}`).otherwise(adminsOnly),
		// None of it was done.
		get("/scans/of_bob/metadata"), get("/scans/one/metadata"), get("/filesets/one/images/files"), get("/timelapses"),
	} {
		list = append(list, a.by("bob"))
	}
	return list
}

type file struct{ ID string }

type fileset struct {
	ID    string
	Files []file
}

func filesetsOf(tree, scan string) []fileset {
	var of struct{ Filesets []fileset }
	text, err := os.ReadFile(filepath.Join(tree, scan, "files.json"))
	if err == nil {
		err = json.Unmarshal(text, &of)
	}
	if err != nil {
		panic(err)
	}
	return of.Filesets
}

// TestAnswersAsUpstream asks upstream's server 0.17 and ours the same, on trees
// that are the same, and holds the answers beside each other: status, text of
// the error, JSON, bytes and kind. Where ours is another one it must be by a
// reason that is told beside the request, or in place of a failure.
func TestAnswersAsUpstream(t *testing.T) {
	t.Parallel()
	tree := servertest.Dir(t)
	if err := demo.Write(t.Context(), tree, demo.Options{Scans: everyScan, Width: 160, Height: 120}); err != nil {
		t.Fatalf("make the tree: %v", err)
	}
	copied := servertest.Dir(t)
	if err := os.CopyFS(copied, os.DirFS(tree)); err != nil {
		t.Fatalf("copy the tree: %v", err)
	}
	theirs := &answering{t: t, url: pyenv.Serve(t, nil, "--db-path", tree).URL + "/api/v1", tree: tree}
	ours := &answering{t: t, url: servertest.Start(t, servertest.Options{}, copied, "--test").URL + "/api/v1", tree: copied}
	theirs.login("admin", "admin")
	ours.login("admin", "admin")
	compareAnswers(t, theirs, ours, append(readings(tree), writings()...))
	for name, password := range map[string]string{"admin": "admin", "bob": bobPassword} {
		theirs.login(name, password) // the admin has logged out
		ours.login(name, password)
	}
	compareAnswers(t, theirs, ours, refusals())
}

func compareAnswers(t *testing.T, theirs, ours *answering, requests []asked) {
	t.Helper()
	for _, a := range requests {
		want, got := theirs.ask(a), ours.ask(a)
		if want.status == http.StatusTooManyRequests {
			t.Errorf("%s: upstream allows no more of these; ask for less", a)
			continue
		}
		switch diff := differs(want, got); {
		case got.status >= http.StatusInternalServerError:
			t.Errorf("%s = %d %s", a, got.status, got.text)
		case want.status >= http.StatusInternalServerError:
			// A failure of theirs is no answer to be like.
		case diff == "" && a.ours != "":
			t.Errorf("%s is answered alike, so this is no reason: %s", a, a.ours)
		case diff != "" && a.ours == "":
			t.Errorf("%s is answered otherwise (-upstream +ours):\n%s", a, diff)
		}
	}
}

// answering is one of the two servers.
type answering struct {
	t         *testing.T
	url, tree string
	tokens    map[string]string
}

type answered struct {
	status     int
	kind, text string
	value      any // of JSON
	shown      string
}

func (s *answering) login(name, password string) {
	s.t.Helper()
	a := s.ask(post("/auth/login", fmt.Sprintf(`{"username":%q,"password":%q}`, name, password)).by(""))
	var pair struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(a.text), &pair); err != nil || pair.AccessToken == "" {
		s.t.Fatalf("log in at %s = %d %s", s.url, a.status, a.text)
	}
	if s.tokens == nil {
		s.tokens = map[string]string{}
	}
	s.tokens[name] = pair.AccessToken
}

func (s *answering) ask(a asked) answered {
	s.t.Helper()
	body, kind := strings.NewReader(a.body), ""
	if a.body != "" {
		kind = "application/json"
	}
	if a.form != nil {
		body, kind = s.form(a.form)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), a.method, s.url+a.path, body)
	if err != nil {
		s.t.Fatalf("%s: %v", a, err)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	if token, ok := s.tokens[a.as]; ok {
		r.Header.Set("Authorization", "Bearer "+token)
	} else if a.as != "" {
		r.Header.Set("Authorization", a.as)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatalf("%s: %v", a, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("%s: %v", a, err)
	}
	got := answered{status: resp.StatusCode, text: string(text), shown: resp.Header.Get("X-Content-Encoding")}
	got.kind, _, _ = mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if got.kind == "application/json" && len(text) > 0 {
		if err := json.Unmarshal(text, &got.value); err != nil {
			s.t.Fatalf("%s = %s, which is no JSON: %v", a, text, err)
		}
		got.value = s.plain(got.value)
		// Upstream lists all scans in the order of the directory, and only these.
		at, query, _ := strings.Cut(a.path, "?")
		if list, ok := got.value.([]any); ok && (at == "/scans" || at == "/scans/info") && !strings.Contains(query, "timelapse_id") {
			slices.SortFunc(list, byID)
		}
	}
	return got
}

func (s *answering) form(fields [][2]string) (body *strings.Reader, kind string) {
	s.t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, f := range fields {
		var part io.Writer
		var err error
		switch named := strings.Fields(f[0]); {
		case f[0] == "file":
			part, err = w.CreateFormFile("file", "x")
		case len(named) == 3:
			part, err = w.CreatePart(textproto.MIMEHeader{
				"Content-Disposition": {fmt.Sprintf("form-data; name=%q; filename=%q", named[0], named[1])}, "Content-Type": {named[2]},
			})
		default:
			part, err = w.CreateFormField(f[0])
		}
		if err == nil {
			_, err = io.WriteString(part, f[1])
		}
		if err != nil {
			s.t.Fatalf("write a form: %v", err)
		}
	}
	if err := w.Close(); err != nil {
		s.t.Fatalf("write a form: %v", err)
	}
	return strings.NewReader(b.String()), w.FormDataContentType()
}

var (
	aTime     = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(\+00:00|Z)?`)
	aToken    = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]+`)
	aDatabase = regexp.MustCompile(` in database '[^']*'`)
)

// plain returns a value without what differs from server to server and from
// second to second, and without what upstream has wrong of older scans: species,
// plant and environment (N/A there), the sections object, hardware and
// acquisition_date (empty there), and the extensions of filesUri (lost there, so
// that each is a 404).
func (s *answering) plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, of := range v {
			v[key] = s.plain(of)
		}
		if _, info := v["nbPhotos"]; info {
			for _, key := range []string{"species", "plant", "environment"} {
				delete(v, key)
			}
		}
		for _, key := range []string{"object", "hardware", "acquisition_date"} {
			delete(v, key)
		}
		if uris, ok := v["filesUri"].(map[string]any); ok {
			for what, uri := range uris {
				uris[what] = strings.TrimSuffix(fmt.Sprint(uri), path.Ext(fmt.Sprint(uri)))
			}
		}
	case []any:
		for i, of := range v {
			v[i] = s.plain(of)
		}
	case string:
		v = strings.ReplaceAll(strings.ReplaceAll(v, s.tree, "TREE"), filepath.Base(s.tree), "TREE")
		return aDatabase.ReplaceAllString(aToken.ReplaceAllString(aTime.ReplaceAllString(v, "TIME"), "TOKEN"), "")
	}
	return v
}

// byID compares ids and infos.
func byID(a, b any) int {
	id := func(v any) string {
		switch v := v.(type) {
		case map[string]any:
			return fmt.Sprint(v["id"])
		case string:
			return v
		}
		return ""
	}
	return cmp.Compare(id(a), id(b))
}

// differs says in what our answer is another one than theirs, and "" if in nothing.
func differs(theirs, ours answered) string {
	if theirs.status != ours.status {
		return fmt.Sprintf("-%d %.300s\n+%d %.300s", theirs.status, theirs.text, ours.status, ours.text)
	}
	if theirs.status >= http.StatusBadRequest {
		said, ok := ours.value.(map[string]any)
		if !ok || said["message"] != said["error"] || said["message"] == "" {
			return "an error of ours without message and error: " + ours.text
		}
		if theirs.kind == "text/html" {
			return ""
		}
		told, _ := theirs.value.(map[string]any)
		return gocmp.Diff(cmp.Or(told["error"], told["message"]), said["message"])
	}
	if theirs.value != nil {
		return gocmp.Diff(theirs.value, ours.value)
	}
	if theirs.status == http.StatusNoContent {
		return ""
	}
	if theirs.text != ours.text || theirs.shown != ours.shown {
		return fmt.Sprintf("-%s %d bytes\n+%s %d bytes", theirs.shown, len(theirs.text), ours.shown, len(ours.text))
	}
	// Python guesses of .p that it is Pascal, and knows models; ours says what none
	// of the lists of types knows as bytes.
	if theirs.kind != ours.kind && ours.kind != "application/octet-stream" {
		return "-" + theirs.kind + "\n+" + ours.kind
	}
	return ""
}
