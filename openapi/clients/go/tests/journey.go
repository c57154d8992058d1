// Command tests does with the generated client what programs do.
//
//	go run ./openapi/clients/go/tests URL SCAN ELSEWHERE FULL CODE EXPIRED
//
// The server at URL runs with --test. SCAN is a name that nothing has yet,
// ELSEWHERE the address of a server that is no PlantDB, with refusals in JSON
// below /json and a line that breaks below /cut, FULL that of one that has no
// room and says so by CODE, and EXPIRED an access token whose time is over.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"mime/multipart"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	plantdbapi "github.com/romi/plantdb-go/openapi/clients/go"
)

func main() {
	if len(os.Args) != 7 {
		log.Fatal("usage: tests URL SCAN ELSEWHERE FULL CODE EXPIRED")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	j := journey{ctx: ctx, url: os.Args[1], scan: os.Args[2]}
	j.guest = j.as("")
	j.logIn()
	j.list()
	j.write()
	j.parts()
	j.refresh()
	j.expired(os.Args[6])
	j.refusals()
	j.elsewhere(os.Args[3])
	j.broken(os.Args[3])
	j.full(os.Args[4], os.Args[5])
	j.logOut()
}

type api = plantdbapi.ClientWithResponses

type journey struct {
	ctx       context.Context
	url, scan string
	guest     *api
	api       *api
	pair      *plantdbapi.Login
	photo     []byte
}

// as returns the operations with a token, or with none.
func (j *journey) as(token string) *api { return client(j.url, token) }

func client(url, token string) *api {
	c, err := plantdbapi.NewClientWithResponses(url, plantdbapi.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		return nil
	}))
	if err != nil {
		log.Fatal(err)
	}
	return c
}

// got ends the program unless the call had its answer.
func got[T any](what string, err error, answer *T, problem *plantdbapi.Problem) *T {
	check(err == nil && answer != nil, "%s = %v, %+v", what, err, problem)
	return answer
}

func check(ok bool, format string, args ...any) {
	if !ok {
		panic(fmt.Sprintf(format, args...))
	}
}

func (j *journey) logIn() {
	r, err := j.guest.LoginWithResponse(j.ctx, nil, plantdbapi.Credentials{Username: "admin", Password: "admin"})
	check(err == nil, "login = %v", err)
	j.pair = got("login", err, r.JSON200, r.JSONDefault)
	j.api = j.as(*j.pair.AccessToken)
}

var next = regexp.MustCompile(`[?&]after=([^&>]+)[^>]*>; rel="next"`)

// list is a filter, and pages.
func (j *journey) list() {
	all, err := j.api.ListScansWithResponse(j.ctx, nil)
	check(err == nil && all.JSON200 != nil && len(*all.JSON200) > 2, "scans = %+v, %v", all, err)
	var found []string
	pages := 0
	for p, more := (&plantdbapi.ListScansParams{Limit: new(int64(2))}), true; more; pages++ {
		page, err := j.api.ListScansWithResponse(j.ctx, p)
		check(err == nil, "a page = %v", err)
		found = append(found, *got("a page", err, page.JSON200, page.JSONDefault)...)
		link := next.FindStringSubmatch(page.HTTPResponse.Header.Get("Link"))
		if more = link != nil; more {
			p.After = &link[1]
		}
	}
	for _, id := range *all.JSON200 {
		check(slices.Contains(found, id), "%d pages have %q, want %q in it", pages, found, id)
	}
	check(pages > 1, "there is one page only")
	some, err := j.api.ListScansWithResponse(j.ctx, &plantdbapi.ListScansParams{Where: new(`id = "real_plant"`)})
	check(err == nil && slices.Equal(*got("a filter", err, some.JSON200, some.JSONDefault), []string{"real_plant"}), "a filter = %v", some.JSON200)
}

// write is a scan, a fileset and a file, and all of it back.
func (j *journey) write() {
	now, err := j.api.StreamEventsWithResponse(j.ctx, &plantdbapi.StreamEventsParams{After: new("now")}, asJSON)
	check(err == nil, "events = %v", err)
	after := got("events", err, now.JSON200, now.JSONDefault).Next

	created, err := j.api.CreateScanWithResponse(j.ctx, j.scan, plantdbapi.NewScan{Metadata: map[string]any{"study": map[string]any{"title": "Journey"}}})
	check(err == nil && created.StatusCode() == http.StatusCreated, "create scan = %+v, %v", created, err)
	set, err := j.api.CreateFilesetWithResponse(j.ctx, j.scan, "images", plantdbapi.CreateFilesetJSONRequestBody{})
	check(err == nil && set.StatusCode() == http.StatusCreated, "create fileset = %+v, %v", set, err)
	photo, err := j.api.GetImageWithResponse(j.ctx, "real_plant", "images", "00000_rgb", &plantdbapi.GetImageParams{Size: new("orig")})
	check(err == nil && photo.StatusCode() == http.StatusOK, "image = %v", err)
	j.photo = photo.Body
	contentType, body := form(j.photo, "jpg")
	file, err := j.api.CreateFileWithBodyWithResponse(j.ctx, j.scan, "images", "00000_rgb", nil, contentType, body)
	check(err == nil && file.StatusCode() == http.StatusCreated, "upload = %+v, %v", file, err)

	kept, err := j.api.GetScanMetadataWithResponse(j.ctx, j.scan, nil)
	check(err == nil && kept.JSON200 != nil && owner(kept.JSON200.Metadata) == "admin", "metadata = %+v, %v", kept, err)
	thumb, err := j.api.GetImageWithResponse(j.ctx, j.scan, "images", "00000_rgb", &plantdbapi.GetImageParams{Size: new("thumb")})
	check(err == nil && bytes.HasPrefix(thumb.Body, []byte{0xff, 0xd8, 0xff}) && len(thumb.Body) < len(j.photo), "thumbnail = %d bytes, %v", len(thumb.Body), err)
	back, err := j.api.GetFileWithResponse(j.ctx, j.scan, "images", "00000_rgb", nil)
	check(err == nil && bytes.Equal(back.Body, j.photo), "file = %d bytes, %v", len(back.Body), err)
	j.follow(after, "file.created")
}

// parts is a download in two parts, of a file that changes between them. It is
// JSON, of which a part is none.
func (j *journey) parts() {
	const id = "parts"
	old, changed := []byte("["+strings.Repeat("1, ", 1000)+"1]"), []byte("[2]")
	upload := func(content []byte) {
		contentType, body := form(content, "json")
		file, err := j.api.CreateFileWithBodyWithResponse(j.ctx, j.scan, "images", id, nil, contentType, body)
		check(err == nil && file.StatusCode() == http.StatusCreated, "upload = %+v, %v", file, err)
	}
	get := func(p plantdbapi.GetFileParams) *plantdbapi.GetFileResponse {
		part, err := j.api.GetFileWithResponse(j.ctx, j.scan, "images", id, &p)
		check(err == nil, "a part = %v", err)
		return part
	}
	upload(old)
	first := get(plantdbapi.GetFileParams{Range: new("bytes=0-999")})
	check(first.StatusCode() == http.StatusPartialContent && bytes.Equal(first.Body, old[:1000]), "the first part = %d, %d bytes", first.StatusCode(), len(first.Body))
	tag := first.HTTPResponse.Header.Get("ETag")
	second := get(plantdbapi.GetFileParams{Range: new("bytes=1000-"), IfMatch: &tag})
	check(second.StatusCode() == http.StatusPartialContent && bytes.Equal(second.Body, old[1000:]), "the second part = %d, %d bytes", second.StatusCode(), len(second.Body))
	same := get(plantdbapi.GetFileParams{IfNoneMatch: &tag})
	check(same.StatusCode() == http.StatusNotModified && len(same.Body) == 0 && same.JSONDefault == nil, "the same again = %+v", same)
	beyond := get(plantdbapi.GetFileParams{Range: new("bytes=1000000-")})
	refused(beyond.StatusCode(), beyond.JSONDefault, http.StatusRequestedRangeNotSatisfiable, "range_not_satisfiable")

	deleted, err := j.api.DeleteFileWithResponse(j.ctx, j.scan, "images", id, nil)
	check(err == nil && deleted.StatusCode() == http.StatusOK, "delete = %+v, %v", deleted, err)
	upload(changed)
	mixed := get(plantdbapi.GetFileParams{Range: new("bytes=1000-"), IfMatch: &tag})
	refused(mixed.StatusCode(), mixed.JSONDefault, http.StatusPreconditionFailed, "precondition_failed")
	check(strings.Contains(mixed.JSONDefault.Message, "changed") && strings.Contains(mixed.JSONDefault.Message, "begin again"), "the message is %q", mixed.JSONDefault.Message)
	anew := get(plantdbapi.GetFileParams{})
	check(anew.StatusCode() == http.StatusOK && bytes.Equal(anew.Body, changed) && anew.JSONDefault == nil, "the new file = %+v", anew)
}

// owner is that of metadata, which may be anything where one key is asked for.
func owner(metadata any) any {
	all, _ := metadata.(map[string]any)
	return all["owner"]
}

func asJSON(_ context.Context, r *http.Request) error {
	r.Header.Set("Accept", "application/json")
	return nil
}

func form(content []byte, ext string) (contentType string, body *bytes.Buffer) {
	body = new(bytes.Buffer)
	w := multipart.NewWriter(body)
	part, err := w.CreateFormFile("file", "plant."+ext)
	if err == nil {
		_, err = part.Write(content)
	}
	if err == nil {
		err = w.WriteField("ext", ext)
	}
	if err == nil {
		err = w.Close()
	}
	check(err == nil, "form = %v", err)
	return w.FormDataContentType(), body
}

// follow waits for an event of the scan.
func (j *journey) follow(after, kind string) {
	for {
		page, err := j.api.StreamEventsWithResponse(j.ctx, &plantdbapi.StreamEventsParams{After: &after, Scan: &j.scan}, asJSON)
		check(err == nil, "events = %v", err)
		list := got("events", err, page.JSON200, page.JSONDefault)
		if slices.ContainsFunc(list.Events, func(e plantdbapi.Event) bool { return e.Kind == kind && *e.User == "admin" }) {
			return
		}
		after = list.Next
	}
}

// refresh takes the next pair of tokens; the old one is void.
func (j *journey) refresh() {
	r, err := j.guest.RefreshTokenWithResponse(j.ctx, plantdbapi.RefreshRequest{RefreshToken: *j.pair.RefreshToken})
	check(err == nil, "refresh = %v", err)
	pair := got("refresh", err, r.JSON200, r.JSONDefault)
	old, err := j.api.GetProfileWithResponse(j.ctx)
	check(err == nil, "profile = %v", err)
	refused(old.StatusCode(), old.JSONDefault, http.StatusUnauthorized, "token_revoked")
	j.api = j.as(*pair.AccessToken)
	profile, err := j.api.GetProfileWithResponse(j.ctx)
	check(err == nil && profile.JSON200 != nil && profile.JSON200.Username == "admin", "profile = %+v, %v", profile, err)
}

// advice is what a refusal says of what to do, by its code.
var advice = map[string]string{
	"token_revoked": "log in again", "no_space": "Free space on the disk", "quota_exceeded": "Empty the trash", "no_plantdb": "look at the address",
}

// refused holds that a refusal is typed, with a text for people.
func refused(status int, p *plantdbapi.Problem, want int, code string) {
	check(p != nil && status == want && int(p.Status) == want && p.Code == code && p.Message != "" && strings.HasPrefix(p.Detail, p.Message), "refusal = %d %+v, want %d %s", status, p, want, code)
	check(strings.Contains(p.Detail, advice[code]), "%s says %q, want %q in it", code, p.Detail, advice[code])
}

// expired asks with a token whose time is over: the refusal says what to do.
func (j *journey) expired(token string) {
	late, err := j.as(token).GetProfileWithResponse(j.ctx)
	check(err == nil, "profile = %v", err)
	p := late.JSONDefault
	refused(late.StatusCode(), p, http.StatusUnauthorized, "token_expired")
	check(p.Message == "Signature has expired" && strings.Contains(p.Detail, "log in again"), "expired = %+v", p)
}

func (j *journey) refusals() {
	create := func(a *api, scan string, status int, code string) {
		r, err := a.CreateScanWithResponse(j.ctx, scan, plantdbapi.NewScan{})
		check(err == nil, "create scan = %v", err)
		refused(r.StatusCode(), r.JSONDefault, status, code)
	}
	create(j.guest, j.scan+"_2", http.StatusUnauthorized, "token_missing")
	reader, err := j.guest.LoginWithResponse(j.ctx, nil, plantdbapi.Credentials{Username: "guest", Password: "guest"})
	check(err == nil, "login = %v", err)
	create(j.as(*got("login", err, reader.JSON200, reader.JSONDefault).AccessToken), j.scan+"_2", http.StatusForbidden, "forbidden")
	create(j.api, j.scan, http.StatusConflict, "scan_exists")
	none, err := j.api.GetScanMetadataWithResponse(j.ctx, "no_such_scan", nil)
	check(err == nil, "metadata = %v", err)
	refused(none.StatusCode(), none.JSONDefault, http.StatusNotFound, "unknown_scan")
	bad, err := j.api.ListScansWithResponse(j.ctx, &plantdbapi.ListScansParams{Where: new("id =")})
	check(err == nil, "scans = %v", err)
	refused(bad.StatusCode(), bad.JSONDefault, http.StatusBadRequest, "bad_where")
	stale, err := j.api.PatchScanMetadataWithResponse(j.ctx, j.scan, &plantdbapi.PatchScanMetadataParams{IfMatch: new(`"stale"`)}, plantdbapi.PatchScanMetadataJSONRequestBody{"a": 1})
	check(err == nil, "patch = %v", err)
	refused(stale.StatusCode(), stale.JSONDefault, http.StatusPreconditionFailed, "precondition_failed")
}

// elsewhere asks who is no PlantDB, and nobody.
func (j *journey) elsewhere(url string) {
	scans := func(url string, status int) {
		page, err := client(url, "").ListScansWithResponse(j.ctx, nil)
		check(err == nil && page.JSON200 == nil, "scans of another server = %+v, %v", page, err)
		refused(page.StatusCode(), page.JSONDefault, status, "no_plantdb")
	}
	scans(url, http.StatusOK)
	scans(url+"/missing", http.StatusNotFound)
	scans(url+"/json", http.StatusNotFound)
	scans(url+"/json/number", http.StatusNotFound)
	file, err := client(url, "").GetFileWithResponse(j.ctx, j.scan, "images", "00000_rgb", nil)
	check(err == nil, "a file of another server = %v", err)
	refused(file.StatusCode(), file.JSONDefault, http.StatusOK, "no_plantdb")
	_, err = client("http://127.0.0.1:1", "").ListScansWithResponse(j.ctx, nil)
	check(errors.Is(err, syscall.ECONNREFUSED), "scans of nobody = %v", err)
	check(strings.Contains(err.Error(), "no_answer") && strings.Contains(err.Error(), "look at the address"), "scans of nobody = %v", err)
}

// broken is a file of which half comes: never one that is taken for whole.
func (j *journey) broken(url string) {
	half, err := client(url+"/cut", "").GetFileWithResponse(j.ctx, "real_plant", "images", "00000_rgb", nil)
	check(errors.Is(err, io.ErrUnexpectedEOF), "half a file = %+v, %v", half, err)
}

// full is an upload for which there is no room.
func (j *journey) full(url, code string) {
	r, err := client(url, "").LoginWithResponse(j.ctx, nil, plantdbapi.Credentials{Username: "admin", Password: "admin"})
	check(err == nil, "login = %v", err)
	contentType, body := form(make([]byte, 1<<20), "jpg")
	api := client(url, *got("login", err, r.JSON200, r.JSONDefault).AccessToken)
	file, err := api.CreateFileWithBodyWithResponse(j.ctx, "full", "images", "large", nil, contentType, body)
	check(err == nil, "upload = %v", err)
	refused(file.StatusCode(), file.JSONDefault, map[string]int{"no_space": 507, "quota_exceeded": 413}[code], code)
}

func (j *journey) logOut() {
	out, err := j.api.LogoutWithResponse(j.ctx, plantdbapi.LogoutJSONRequestBody{})
	check(err == nil && out.StatusCode() == http.StatusOK, "logout = %+v, %v", out, err)
	gone, err := j.api.GetProfileWithResponse(j.ctx)
	check(err == nil, "profile = %v", err)
	refused(gone.StatusCode(), gone.JSONDefault, http.StatusUnauthorized, "session_ended")
}
