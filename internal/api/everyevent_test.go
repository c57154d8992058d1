package api_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/api"
)

// tellsNothing are the operations that write, if anything, what is no scan,
// fileset, file or timelapse: these have no events, but the audit trail.
var tellsNothing = []string{
	"add-group-member", "change-password", "complete-setup", "create-api-token", "create-api-token-015", "create-group", "create-webhook",
	"delete-group", "delete-group-quota", "delete-login", "delete-user", "delete-user-quota", "delete-webhook", "end-session", "end-sessions",
	"end-user-sessions", "introspect-token", "login", "login-015", "logout", "logout-015", "logout-delete-015", "redeem-password-reset",
	"refresh-token", "refresh-token-015", "register-user", "register-user-015", "remove-group-member", "reset-password", "revoke-api-token",
	"revoke-token", "revoke-user-api-tokens", "rotate-webhook-secret", "set-group-quota", "set-user-quota", "test-webhook", "update-user",
	"update-webhook", "validate-token", "validate-token-015",
	// Of an upload in pieces its file tells, when it is there.
	"create-upload", "end-upload",
}

// telling is a call of an operation, and the events that it has to leave, in order:
// KIND NAME.
type telling struct {
	id      string
	in      []string // what the path names, in order
	body    string
	headers []header
	want    []string
}

func (s *site) told(from int) (list []string, last int) {
	s.t.Helper()
	rows, err := s.pool.Query(s.t.Context(), `SELECT seq, kind || ' ' || CASE WHEN scan IS NULL THEN timelapse ELSE concat_ws('/', scan, fileset, file) END || ' ' || coalesce(username, '-')
		FROM scan_events WHERE seq > $1 ORDER BY seq`, from)
	if err != nil {
		s.t.Fatal(err)
	}
	last = from
	var line string
	if _, err = pgx.ForEachRow(rows, []any{&last, &line}, func() error { list = append(list, line); return nil }); err != nil {
		s.t.Fatal(err)
	}
	return list, last
}

// Every operation of both documents that is no reading leaves its events, once,
// as who called it, or is known to change nothing that has events. One that is
// new is missing here.
func TestEveryOperationTellsWhatItDid(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	admin, _ := s.login("admin")
	s.made(s.do(http.MethodPost, "/api/v1/groups", `{"name": "readers"}`, bearer(admin), asJSON))
	multi := func(fields ...string) (string, []header) {
		body, contentType := orderedForm(fields...)
		return body, []header{{"Content-Type", contentType}}
	}
	archive := func(name string) (string, []header) {
		body, contentType := zipForm(t, "zip_file", "scan.zip", "application/zip", zipped(t, map[string]string{
			name + "/files.json": `{"filesets": [{"id": "images", "files": [{"id": "x", "file": "x.txt"}]}]}`, name + "/images/x.txt": "x", name + "/metadata/metadata.json": `{}`,
		}))
		return body, []header{contentType}
	}
	file, fileType := multi("ext=txt", "file=bytes")
	older, olderType := multi("scan_id=e", "fileset_id=fs", "file_id=f014", "ext=txt", "file=bytes")
	zip, zipType := archive("zipped")
	zip014, zip014Type := archive("zipped014")
	raw := []header{{"Content-Disposition", "attachment; filename=notes.txt"}, {"X-File-Path", "notes.txt"}}
	metadata := func(value string) string { return `{"metadata": {"k": "` + value + `"}}` }
	upload := s.do(http.MethodPost, "/api/v1/uploads", "", bearer(admin), tusResumable, length(5),
		described("scan", "real_plant", "fileset", "images", "filename", "pieces.png")).header.Get("Location")
	pieces := []header{tusResumable, offsetBody, {"Upload-Offset", "0"}}

	writes := []telling{
		{"create-scan", []string{"e"}, `{}`, nil, []string{"scan.created e"}},
		{"create-scan-014", []string{"e014"}, `{}`, nil, []string{"scan.created e014"}},
		{"create-scan-015", []string{"e015"}, `{}`, nil, []string{"scan.created e015"}},
		{"create-named-scan-014", nil, `{"name": "named"}`, nil, []string{"scan.created named"}},
		{"create-scan-from-archive", []string{"zipped"}, zip, zipType, []string{"scan.created zipped"}},
		{"create-scan-from-archive-014", []string{"zipped014"}, zip014, zip014Type, []string{"scan.created zipped014"}},
		{"update-scan-metadata", []string{"e"}, metadata("1"), nil, []string{"scan.metadata e"}},
		{"update-scan-metadata-014", []string{"e"}, metadata("2"), nil, []string{"scan.metadata e"}},
		{"update-scan-metadata-015", []string{"e"}, metadata("3"), nil, []string{"scan.metadata e"}},
		{"patch-scan-metadata", []string{"e"}, `{"k": "4"}`, []header{{"Content-Type", "application/merge-patch+json"}}, []string{"scan.metadata e"}},
		{"set-scan-tags", []string{"e"}, `{"tags": ["a"]}`, nil, []string{"scan.metadata e"}},
		{"change-scan-tags", []string{"e"}, `{"add": ["b"]}`, nil, []string{"scan.metadata e"}},
		{"set-scan-owner", []string{"e"}, `{"owner": "carol"}`, nil, []string{"scan.owner e"}},
		{"set-scan-sharing", []string{"e"}, `{"groups": ["readers"]}`, nil, []string{"scan.shared e"}},
		{"set-scan-visibility", []string{"e"}, `{"visibility": "private"}`, nil, []string{"scan.visibility e"}},

		{"create-fileset", []string{"e", "fs"}, `{}`, nil, []string{"fileset.created e/fs"}},
		{"create-fileset-014", nil, `{"scan_id": "e", "fileset_id": "fs014"}`, nil, []string{"fileset.created e/fs014"}},
		{"create-fileset-015", []string{"e", "fs015"}, `{}`, nil, []string{"fileset.created e/fs015"}},
		{"update-fileset-metadata", []string{"e", "fs"}, metadata("1"), nil, []string{"fileset.metadata e/fs"}},
		{"update-fileset-metadata-014", []string{"e", "fs"}, metadata("2"), nil, []string{"fileset.metadata e/fs"}},
		{"update-fileset-metadata-015", []string{"e", "fs"}, metadata("3"), nil, []string{"fileset.metadata e/fs"}},
		{"patch-fileset-metadata", []string{"e", "fs"}, `{"k": "4"}`, []header{{"Content-Type", "application/merge-patch+json"}}, []string{"fileset.metadata e/fs"}},

		{"create-file", []string{"e", "fs", "f"}, file, fileType, []string{"file.created e/fs/f"}},
		{"create-file-014", nil, older, olderType, []string{"file.created e/fs/f014"}},
		{"create-file-015", []string{"e", "fs", "f015"}, file, fileType, []string{"file.created e/fs/f015"}},
		{"create-raw-file-014", []string{"e"}, "bytes", raw, []string{"file.stored e"}},
		{"resume-upload", []string{upload[strings.LastIndexByte(upload, '/')+1:]}, "bytes", pieces, []string{"file.created real_plant/images/pieces"}},
		{"update-file-metadata", []string{"e", "fs", "f"}, metadata("1"), nil, []string{"file.metadata e/fs/f"}},
		{"update-file-metadata-014", []string{"e", "fs", "f"}, metadata("2"), nil, []string{"file.metadata e/fs/f"}},
		{"update-file-metadata-015", []string{"e", "fs", "f"}, metadata("3"), nil, []string{"file.metadata e/fs/f"}},
		{"patch-file-metadata", []string{"e", "fs", "f"}, `{"k": "4"}`, []header{{"Content-Type", "application/merge-patch+json"}}, []string{"file.metadata e/fs/f"}},

		{"create-timelapse", nil, `{"id": "tl"}`, nil, []string{"timelapse.created tl"}},
		{"update-timelapse-metadata", []string{"tl"}, metadata("1"), nil, []string{"timelapse.metadata tl"}},
		{"patch-timelapse-metadata", []string{"tl"}, `{"k": "2"}`, []header{{"Content-Type", "application/merge-patch+json"}}, []string{"timelapse.metadata tl"}},
		{"create-scan", []string{"member"}, `{"metadata": {"timelapse": {"id": "tl"}}}`, nil, []string{"scan.created member"}},

		{"apply-batch", nil, strings.Join([]string{
			`{"op":"metadata","scan":"e014","metadata":{"k":1}}`, `{"op":"tag","scan":"e014","tags":["a","b"]}`, `{"op":"untag","scan":"e014","tags":["a"]}`,
			`{"op":"share","scan":"e014","groups":["readers"]}`, `{"op":"visibility","scan":"e014","visibility":"private"}`, `{"op":"delete","scan":"e014"}`,
		}, "\n"), []header{{"Content-Type", "application/x-ndjson"}}, []string{
			"scan.metadata e014", "scan.metadata e014", "scan.metadata e014", "scan.shared e014", "scan.visibility e014", "scan.deleted e014",
		}},
		{"delete-file", []string{"e", "fs", "f"}, "", nil, []string{"file.deleted e/fs/f"}},
		{"delete-fileset", []string{"e", "fs015"}, "", nil, []string{"fileset.deleted e/fs015"}},
		{"delete-scan", []string{"e015"}, "", nil, []string{"scan.deleted e015"}},
		{"delete-timelapse", []string{"tl?recursive=true"}, "", nil, []string{"timelapse.deleted tl", "scan.deleted member"}},
	}
	// What was deleted last comes back, and goes for good.
	for _, names := range [][]string{{"file", "e/fs/f"}, {"fileset", "e/fs015"}, {"scan", "e015"}, {"timelapse", "tl", "member"}} {
		what := names[0]
		told := func(verb string) (list []string) {
			for i, name := range names[1:] {
				noun := what
				if i > 0 {
					noun = "scan"
				}
				list = append(list, noun+"."+verb+" "+name)
			}
			return list
		}
		writes = append(writes, telling{id: "restore-trash-entry", in: []string{what}, want: told("restored")},
			telling{id: "delete", in: []string{what}}, telling{id: "purge-trash-entry", in: []string{what}, want: told("purged")})
	}
	walkWrites(s, admin, writes)
}

// walkWrites makes the calls, and compares what each of them tells.
func walkWrites(s *site, token string, writes []telling) {
	s.t.Helper()
	known := map[string]operation{}
	for _, document := range []string{"openapi.json", "openapi-legacy.json"} {
		for _, op := range operations(s.t, document) {
			if !slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, op.Method) {
				known[op.OperationID] = op
			}
		}
	}
	missing := maps.Clone(known)
	for _, id := range tellsNothing {
		delete(missing, id)
		if _, ok := known[id]; !ok {
			s.t.Errorf("%s is no operation", id)
		}
	}
	_, last := s.told(0)
	trash := map[string]string{}      // the entry of each sort
	deletions := map[string]telling{} // by what it deletes
	call := func(w telling) {
		s.t.Helper()
		op, ok := known[w.id]
		if !ok {
			s.t.Fatalf("%s is no operation", w.id)
		}
		delete(missing, w.id)
		path := op.Path
		for _, value := range w.in {
			from, to := strings.IndexByte(path, '{'), strings.IndexByte(path, '}')
			path = path[:from] + value + path[to+1:]
		}
		headers := append([]header{bearer(token)}, w.headers...)
		if len(w.headers) == 0 {
			headers = append(headers, asJSON)
		}
		a := s.do(op.Method, path, w.body, headers...)
		if a.status >= http.StatusMultipleChoices {
			s.t.Fatalf("%s %s = %d %s", op.Method, path, a.status, a.body)
		}
		if what, ok := strings.CutPrefix(w.id, "delete-"); ok {
			entries := s.do(http.MethodGet, "/api/v1/trash?limit=1", "", bearer(token)).json(s.t)["entries"].([]any)
			trash[what], deletions[what] = entries[0].(map[string]any)["id"].(string), w
		}
		var got []string
		got, last = s.told(last)
		want := make([]string, len(w.want))
		for i, line := range w.want {
			want[i] = line + " admin"
		}
		if diff := cmp.Diff(want, got); diff != "" {
			s.t.Errorf("%s %s tells (-want +got):\n%s", w.id, strings.Join(w.in, "/"), diff)
		}
	}
	for _, w := range writes {
		switch w.id {
		case "delete":
			call(deletions[w.in[0]])
		case "restore-trash-entry", "purge-trash-entry":
			w.in = []string{trash[w.in[0]]}
			call(w)
		default:
			call(w)
		}
	}
	if len(missing) > 0 {
		s.t.Errorf("nobody says what is told by %q", slices.Sorted(maps.Keys(missing)))
	}
}
