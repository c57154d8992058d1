package api_test

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/romi/plantdb-go/internal/fsdb"
)

// unseen walks the surface as those do who may not see a private scan.
type unseen struct {
	*site
	owner header
	blind map[string][]header
	// ids are what the owner left in the trash and has begun to upload, by the
	// last name of their paths.
	ids map[string]string
}

const (
	// anyScan stands in an ask for the scan; unknown is one that is not there,
	// with a name as long as that of the veiled one.
	anyScan = "SCAN"
	unknown = "nobody_here"
	// inAllWays is who tries all of it, where the others ask once.
	inAllWays = "another contributor"
	// unknownID is of nothing.
	unknownID = "01890a5d-ac96-774b-bcce-b302099a8057"
)

// ask is a request about a scan.
type ask struct {
	method, path, body string
	headers            []header
}

// of is the ask of this scan.
func (a ask) of(scan string) ask {
	text := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	names := strings.NewReplacer(anyScan, scan, text(anyScan), text(scan))
	a.path, a.body = names.Replace(a.path), names.Replace(a.body)
	a.headers = slices.Clone(a.headers)
	for i := range a.headers {
		a.headers[i].value = names.Replace(a.headers[i].value)
	}
	return a
}

// with is the ask with other headers.
func (a ask) with(headers ...header) ask {
	a.headers = slices.Concat(a.headers, headers)
	return a
}

// queries are what is tried of each parameter; one that is added needs some.
var queries = map[string][]string{
	"filterQuery": {`{"secret":"chlorophyll"}`, "chlorophyll", "veiled"}, "query": {"chlorophyll"}, "fuzzy": {"true"},
	"where": {`id = "` + veiled + `"`, `text : "chlorophyll"`, `visibility = "private"`, `owner = "carol"`, `metadata.secret ~ "chloro"`, `timelapse = "tl"`, `tasks = "PointCloud"`},
	"q":     {"chlorophyll", "veiled"}, "limit": {"1", "1000"}, "timelapse_id": {"tl"},
	"sort":    {"id", "-id", "created", "-last_modified", "owner", "-species", "-size", "timelapse.scheduled", "position"},
	"scan_id": {veiled}, "scan": {veiled}, "kind": {"scan.created", "file.created"}, "key": {"owner"}, "after": {"0"}, "before": {unknownID}, "user": {"carol"},
	"size": {"orig", "preview", "large", "300", "2.5"}, "as_base64": {"true"}, "coords": {"true"}, "type": {"gt", "angles", "manual_angles"},
	"fileset": {"images", "nothing"}, "file": {"00000_rgb"}, "recursive": {"true"},
	"username": {"carol"}, "cookies": nil, "scope": nil, "as": nil,
}

// queried returns the path once alone, and once with each value of each parameter.
func (u *unseen) queried(op operation, path string) []string {
	u.t.Helper()
	paths := []string{path}
	for _, p := range op.Parameters {
		if p.In != "query" {
			continue
		}
		values, ok := queries[p.Name]
		if !ok {
			u.t.Errorf("%s has the parameter %s, of which this test tries nothing", op.OperationID, p.Name)
		}
		for _, value := range values {
			paths = append(paths, path+"?"+url.Values{p.Name: {value}}.Encode())
		}
	}
	return paths
}

// paths fills the parameters of an operation of a scan in some ways, the first
// one such that the owner gets what there is; none if it is not of a scan.
func pathsOfScan(op operation) []string {
	var paths []string
	switch {
	case strings.Contains(op.Path, "{path}") && op.Method == http.MethodGet:
		for _, rest := range []string{
			"SCAN/images/00000_rgb.jpg", "SCAN/images/00000_rgb", "SCAN/metadata/metadata.json", "SCAN/files.json", "SCAN", "SCAN/nothing.txt", "tl/SCAN/images/00000_rgb.jpg", "tl/SCAN",
		} {
			paths = append(paths, strings.ReplaceAll(op.Path, "{path}", rest))
		}
	case strings.Contains(op.Path, "{scan_id}"), strings.Contains(op.Path, "{path}"):
		files := []string{"images/00000_rgb", "PointCloud_1/PointCloud", "TriangleMesh_1/TriangleMesh", "nothing/nothing"}
		if slices.Contains(models, op.OperationID) {
			files = files[1:]
		}
		for _, f := range files {
			fileset, file, _ := strings.Cut(f, "/")
			path := strings.NewReplacer("{scan_id}", anyScan, "{path}", anyScan, "{fileset_id}", fileset, "{file_id}", file).Replace(op.Path)
			if !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

// notOfScans are the paths of operations that are told no scan: of accounts, of
// timelapses, which everybody may know, and of ids.
var notOfScans = regexp.MustCompile(`^(/api/v1)?/(auth|groups|users|quotas|webhooks|timelapses|login|register|logout|token-refresh|token-validation|create-api-token)(/|$)|/(trash|uploads)/\{id\}`)

// asks returns what is asked of a scan by an operation, in all ways.
func (u *unseen) asks(op operation) []ask {
	u.t.Helper()
	if op.Method == http.MethodGet {
		return u.readingAsks(op)
	}
	body, contentType := (&forbidden{site: u.site}).body(op)
	var asks []ask
	switch op.OperationID {
	case "apply-batch":
		for _, rest := range []string{
			`"op":"visibility","visibility":"public"`, `"op":"tag","tags":["a"]`, `"op":"share","groups":[]`, `"op":"delete"`, `"op":"metadata","metadata":{"a":1}`, `"op":"owner","owner":"other"`,
		} {
			asks = append(asks, ask{op.Method, op.Path, `{"scan":"SCAN",` + rest + `}`, []header{{"Content-Type", contentType}}})
		}
		return asks
	case "create-upload":
		named := described("scan", anyScan, "fileset", "images", "filename", "new.jpg")
		return []ask{{op.Method, op.Path, "", []header{tusResumable, length(5), named}}}
	case "create-fileset-014", "create-file-014":
		return []ask{{op.Method, op.Path, strings.ReplaceAll(body, "real_plant", anyScan), []header{{"Content-Type", contentType}}}}
	case "create-named-scan-014":
		return []ask{{op.Method, op.Path, `{"name":"SCAN"}`, []header{asJSON}}}
	}
	headers := []header{{"Content-Type", contentType}}
	if op.OperationID == "create-raw-file-014" {
		headers = append(headers, header{"Content-Disposition", "attachment"}, header{"X-File-Path", "notes.txt"})
	}
	for _, path := range pathsOfScan(op) {
		a := ask{op.Method, path, body, headers}
		asks = append(asks, a, a.with(header{"If-Match", "*"}), a.with(header{"If-Match", `"nope"`}))
	}
	return asks
}

// readingAsks are asks that change nothing. The first is answered with 200 to
// the owner; of its ETag there are conditions, right ones for the veiled scan.
func (u *unseen) readingAsks(op operation) []ask {
	u.t.Helper()
	paths := pathsOfScan(op)
	if len(paths) == 0 {
		return nil
	}
	var asks []ask
	for _, path := range append(u.queried(op, paths[0]), paths[1:]...) {
		asks = append(asks, ask{method: op.Method, path: path})
	}
	plain := asks[0]
	a := u.ask(plain.of(veiled), u.owner)
	if a.status != http.StatusOK {
		u.t.Errorf("%s %s by the owner = %d %.300s, want 200", op.Method, plain.path, a.status, a.body)
	}
	tag := a.header.Get("ETag")
	head := plain
	head.method = http.MethodHead
	asks = append(asks, head)
	for _, headers := range [][]header{
		{{"Range", "bytes=0-3"}}, {{"Range", "bytes=0-1,3-4"}}, {{"Range", "bytes=-1"}}, {{"Range", "bytes=999999999-"}}, {{"If-None-Match", "*"}}, {{"If-Match", "*"}},
		{{"If-None-Match", tag}}, {{"If-Match", tag}}, {{"If-Match", `"nope"`}}, {{"If-Range", tag}, {"Range", "bytes=0-3"}},
		{{"If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT"}}, {{"If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:01 GMT"}},
	} {
		asks = append(asks, plain.with(headers...), head.with(headers...))
	}
	return asks
}

func (u *unseen) ask(a ask, who ...header) answer {
	u.t.Helper()
	return u.do(a.method, a.path, a.body, slices.Concat(a.headers, who)...)
}

// told is all that an answer tells, without what is of the request alone.
func told(a answer) string {
	var text strings.Builder
	fmt.Fprintln(&text, a.status)
	for _, name := range slices.Sorted(maps.Keys(a.header)) {
		if name != "Date" && name != "X-Request-Id" {
			fmt.Fprintf(&text, "%s: %q\n", name, a.header[name])
		}
	}
	text.Write(a.body)
	return text.String()
}

// leaveTraces lets the owner delete something of the scan, and begin an upload.
func (u *unseen) leaveTraces() {
	u.t.Helper()
	u.made(u.do(http.MethodPost, "/api/v1/filesets/"+veiled+"/doomed", "", u.owner, asJSON))
	if a := u.do(http.MethodDelete, "/api/v1/filesets/"+veiled+"/doomed", "", u.owner); a.status != http.StatusOK && a.status != http.StatusNoContent {
		u.t.Fatalf("DELETE = %d %s", a.status, a.body)
	}
	trash := u.do(http.MethodGet, "/api/v1/trash", "", u.owner).json(u.t)["entries"].([]any)
	if len(trash) != 1 {
		u.t.Fatalf("trash = %v, want an entry", trash)
	}
	up := u.do(http.MethodPost, "/api/v1/uploads", "", u.owner, tusResumable, length(5), described("scan", veiled, "fileset", "images", "filename", "new.jpg"))
	u.made(up)
	location := up.header.Get("Location")
	u.ids = map[string]string{"trash": trash[0].(map[string]any)["id"].(string), "uploads": location[strings.LastIndexByte(location, '/')+1:]}
}

// walkUnknown asks for the veiled scan and for an unknown one, by all operations
// of both documents: the answers are the same, to the last header.
func (u *unseen) walkUnknown() {
	u.t.Helper()
	walked := map[string]int{}
	for _, document := range []string{"openapi.json", "openapi-legacy.json"} {
		for _, op := range operations(u.t, document) {
			for _, kind := range slices.Sorted(maps.Keys(u.ids)) {
				if strings.Contains(op.Path, "/"+kind+"/{id}") {
					walked[op.Method]++
					u.walkID(op, u.ids[kind])
				}
			}
			asks := u.asks(op)
			if len(asks) == 0 && op.Method != http.MethodGet && !notOfScans.MatchString(op.Path) {
				u.t.Errorf("%s is not walked; how does one name the scan to it?", op.OperationID)
			}
			walked[op.Method] += min(len(asks), 1)
			for n, a := range asks {
				for who, headers := range u.blind {
					// Who asks in what way is decided in two places: all ways need one person.
					if n == 0 || who == inAllWays {
						u.same(op, a, who, headers)
					}
				}
			}
		}
	}
	if walked[http.MethodGet] < 40 || walked[http.MethodPost] < 20 || walked[http.MethodPut] < 4 || walked[http.MethodDelete] < 5 || walked[http.MethodPatch] < 4 {
		u.t.Errorf("walked %v operations, want all that are of a scan", walked)
	}
	if a := u.get("/api/v1/scans/"+veiled+"/visibility", u.owner); a.status != http.StatusOK || a.json(u.t)["visibility"] != "private" {
		u.t.Errorf("the scan after all of it = %d %s, want it private", a.status, a.body)
	}
}

// same asks for the veiled scan and the unknown one. A name is taken for who
// wants to make a scan of it: this alone may be seen, and nothing else of it.
func (u *unseen) same(op operation, a ask, who string, headers []header) {
	u.t.Helper()
	what := fmt.Sprintf("%s as %s: %s %s %s", op.OperationID, who, a.method, a.path, a.headers)
	got := u.ask(a.of(veiled), headers...)
	if op.Permission == "create" && who == inAllWays {
		if got.status < http.StatusBadRequest || strings.Contains(string(got.body), "carol") {
			u.t.Errorf("%s = %d %s, want a refusal that tells no more than that there is such a scan", what, got.status, got.body)
		}
		return
	}
	want := told(u.ask(a.of(unknown), headers...))
	if text := strings.ReplaceAll(told(got), veiled, unknown); text != want {
		u.t.Errorf("%s\n%.600s\nof a scan that is not there\n%.600s", what, text, want)
	}
	if got.status < http.StatusBadRequest && op.OperationID != "apply-batch" {
		u.t.Errorf("%s = %d, want a refusal", what, got.status)
	}
}

// walkID asks for what is the owner's, and for what is nobody's.
func (u *unseen) walkID(op operation, id string) {
	u.t.Helper()
	body, contentType := (&forbidden{site: u.site}).body(op)
	for who, headers := range u.blind {
		ask := func(id string) string {
			headers := slices.Concat(headers, []header{tusResumable, {"Upload-Offset", "0"}, {"Content-Type", contentType}})
			return told(u.do(op.Method, strings.ReplaceAll(op.Path, "{id}", id), body, headers...))
		}
		if got, want := strings.ReplaceAll(ask(id), id, unknownID), ask(unknownID); got != want {
			u.t.Errorf("%s as %s\n%.600s\nof what is not there\n%.600s", op.OperationID, who, got, want)
		}
	}
}

// passing is what an answer tells of sessions and of the stream of events: its
// positions number what was done by all, whoever may be told of it.
var passing = regexp.MustCompile(`"(last_seen_at|next)":"[^"]*"|"more":(true|false)|Content-Length: .*`)

// everything is what everybody is told by all that can be read without the
// name of a scan, by who is told, operation and request.
func (u *unseen) everything() map[string]map[string]map[string]string {
	u.t.Helper()
	all := map[string]map[string]map[string]string{}
	everybody := maps.Clone(u.blind)
	everybody["owner"] = []header{u.owner}
	for _, document := range []string{"openapi.json", "openapi-legacy.json"} {
		for _, op := range operations(u.t, document) {
			path := strings.ReplaceAll(op.Path, "{timelapse_id}", "tl")
			if op.Method != http.MethodGet || strings.Contains(path, "{") {
				continue
			}
			for who, headers := range everybody {
				answers := map[string]string{}
				for n, path := range u.queried(op, path) {
					if n == 0 || who == inAllWays || who == "owner" {
						answers[path] = passing.ReplaceAllString(u.pages(path, headers), "")
					}
				}
				if all[who] == nil {
					all[who] = map[string]map[string]string{}
				}
				all[who][op.OperationID] = answers
			}
		}
	}
	return all
}

// pages is what a path tells, and the pages that it leads to.
func (u *unseen) pages(path string, headers []header) string {
	u.t.Helper()
	var text strings.Builder
	for range 50 {
		a := u.do(http.MethodGet, path, "", slices.Concat(headers, []header{wantsJSON})...)
		fmt.Fprintln(&text, told(a))
		m := nextLink.FindStringSubmatch(strings.Join(a.header.Values("Link"), ", "))
		if m == nil {
			return text.String()
		}
		path = m[1]
	}
	u.t.Fatalf("the pages of %s have no end", path)
	return ""
}

// changed are the operations that tell the owner of the scan without being asked for it.
var changed = append([]string{
	"get-health", "get-health-015", "stream-events", "list-trash", "get-usage",
}, listings...)

// compare asks everything again, while the scan is also held by a program: to
// who may not see it nothing has changed, and to its owner it has.
func (u *unseen) compare(before map[string]map[string]map[string]string) {
	u.t.Helper()
	tree, err := fsdb.Open(u.dir)
	if err != nil {
		u.t.Fatal(err)
	}
	defer func() { _ = tree.Close() }()
	held, err := tree.TryLock(false, veiled+"/images")
	if err != nil {
		u.t.Fatal(err)
	}
	defer held.Release()
	info := `{"resource_id": "` + veiled + `/images", "level": "fileset", "lock_type": "exclusive", "user": "pia", "timestamp": 1775734565.5, "pid": 4711}`
	if err := os.WriteFile(filepath.Join(u.dir, ".locks", veiled+"_images.info"), []byte(info), 0o600); err != nil {
		u.t.Fatal(err)
	}
	after := u.everything()
	for who := range u.blind {
		for id, answers := range before[who] {
			for path, was := range answers {
				if is := after[who][id][path]; is != was {
					u.t.Errorf("%s as %s: GET %s\n%.1500s\nbefore there was the scan\n%.1500s", id, who, path, is, was)
				}
			}
		}
	}
	for _, id := range changed {
		if maps.Equal(before["owner"][id], after["owner"][id]) {
			u.t.Errorf("%s tells its owner nothing of the scan; this looks at the wrong places", id)
		}
	}
}
