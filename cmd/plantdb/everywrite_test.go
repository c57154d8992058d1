package main_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// everything is a tree that every call can write into, and what the calls of
// everyWrite need to know of it.
type everything struct {
	caller

	bench   *bench
	trash   map[string]string // kind -> id of an entry
	pieces  map[string]string // path of an upload in pieces, by how much of it is there
	archive string
}

// write is a call that writes into the tree of an everything.
type write struct {
	name string
	// roomless says that it needs no room on the disk, and free that it waits for
	// nobody who holds scans.
	roomless, free bool
	call           func(t *testing.T, e *everything) answer
}

func posts(path string, body object) func(*testing.T, *everything) answer {
	return func(t *testing.T, e *everything) answer { t.Helper(); return e.post(t, path, body) }
}

func sends(method, path, body string) func(*testing.T, *everything) answer {
	return func(t *testing.T, e *everything) answer {
		t.Helper()
		return e.send(t, method, path, jsonType, strings.NewReader(body))
	}
}

func deletes(path string) func(*testing.T, *everything) answer {
	return func(t *testing.T, e *everything) answer {
		t.Helper()
		return e.send(t, http.MethodDelete, path, "", nil)
	}
}

func restores(kind string) func(*testing.T, *everything) answer {
	return func(t *testing.T, e *everything) answer {
		t.Helper()
		return e.post(t, "/trash/"+e.trash[kind]+"/restore", object{})
	}
}

// sendsRest sends what an upload in pieces lacks of so many bytes.
func sendsRest(upload string, until int) func(*testing.T, *everything) answer {
	return func(t *testing.T, e *everything) answer {
		t.Helper()
		a := e.tus(t, http.MethodHead, e.pieces[upload], nil)
		at, err := strconv.Atoi(a.Header.Get("Upload-Offset"))
		if a.Status >= http.StatusBadRequest {
			at, err = until, nil // it has all its bytes, and the file cannot be made: asked again, the answer says why
		}
		if err != nil || at > until {
			t.Errorf("upload in pieces = %d, offset %q", a.Status, a.Header.Get("Upload-Offset"))
			return a
		}
		return e.sendPiece(t, e.pieces[upload], at, "1234567890"[at:until])
	}
}

// everyWrite are the calls that write into the tree, each once and in an order in
// which all of them work.
var everyWrite = []write{
	{name: "create a scan", call: posts("/scans/new", object{"metadata": object{"visibility": "private"}})},
	{name: "create a scan in a timelapse", call: posts("/scans/member", object{"metadata": object{"timelapse": object{"id": "series"}}})},
	{name: "create a fileset", call: posts("/filesets/kept/new", object{})},
	{name: "create a timelapse", call: posts("/timelapses", object{"id": "another"})},
	{name: "upload", call: func(t *testing.T, e *everything) answer {
		t.Helper()
		return e.upload(t, "/files/kept/images/new", "bytes")
	}},
	{name: "put a file beside filesets", call: func(t *testing.T, e *everything) answer { t.Helper(); return e.putBeside(t, "beside.txt") }},
	{name: "archive", call: func(t *testing.T, e *everything) answer { t.Helper(); return e.sendArchive(t, "unpacked", e.archive) }},
	{name: "metadata of a scan", call: posts("/scans/kept/metadata", object{"metadata": object{"a": 1}})},
	{name: "patch metadata of a scan", call: sends(http.MethodPatch, "/scans/kept/metadata", `{"a": 2}`)},
	{name: "metadata of a fileset", call: posts("/filesets/kept/images/metadata", object{"metadata": object{"a": 1}})},
	{name: "patch metadata of a fileset", call: sends(http.MethodPatch, "/filesets/kept/images/metadata", `{"a": 2}`)},
	{name: "metadata of a file", call: posts("/files/kept/images/notes/metadata", object{"metadata": object{"a": 1}})},
	{name: "patch metadata of a file", call: sends(http.MethodPatch, "/files/kept/images/notes/metadata", `{"a": 2}`)},
	{name: "metadata of a timelapse", call: posts("/timelapses/series/metadata", object{"metadata": object{"a": 1}})},
	{name: "patch metadata of a timelapse", call: sends(http.MethodPatch, "/timelapses/series/metadata", `{"a": 2}`)},
	{name: "tags", call: sends(http.MethodPut, "/scans/kept/tags", `{"tags": ["x"]}`)},
	{name: "more tags", call: posts("/scans/kept/tags", object{"add": []string{"y"}})},
	{name: "visibility", call: sends(http.MethodPut, "/scans/kept/visibility", `{"visibility": "private"}`)},
	{name: "visibility back", call: sends(http.MethodPut, "/scans/hidden/visibility", `{"visibility": "public"}`)},
	{name: "sharing", call: sends(http.MethodPut, "/scans/kept/sharing", `{"groups": ["lab"]}`)},
	{name: "owner", call: sends(http.MethodPut, "/scans/hidden/owner", `{"owner": "reader"}`)},
	{name: "batch", call: func(t *testing.T, e *everything) answer {
		t.Helper()
		return e.send(t, http.MethodPost, "/batch", "application/x-ndjson", strings.NewReader(
			`{"op":"tag","scan":"kept","tags":["z"]}`+"\n"+`{"op":"delete","scan":"useless"}`+"\n"))
	}},
	{name: "begin an upload in pieces", roomless: true, free: true, call: func(t *testing.T, e *everything) answer {
		t.Helper()
		return e.beginPieces(t, "begun", 10)
	}},
	{name: "a piece", free: true, call: sendsRest("nothing", 5)},
	{name: "the last piece", call: sendsRest("half", 10)},
	{name: "end an upload", roomless: true, free: true, call: func(t *testing.T, e *everything) answer {
		t.Helper()
		return e.tus(t, http.MethodDelete, e.pieces["unwanted"], nil)
	}},
	{name: "restore a file", call: restores("file")},
	{name: "restore a fileset", call: restores("fileset")},
	{name: "restore a scan", roomless: true, call: restores("scan")},
	{name: "restore a timelapse", roomless: true, call: restores("timelapse")},
	{name: "purge", roomless: true, call: func(t *testing.T, e *everything) answer {
		t.Helper()
		return e.send(t, http.MethodDelete, "/trash/"+e.trash["rubbish"], "", nil)
	}},
	{name: "delete a file", call: deletes("/files/kept/images/other")},
	{name: "delete a fileset", call: deletes("/filesets/kept/more")},
	{name: "delete a scan", call: deletes("/scans/rejected")},
	{name: "delete a timelapse", call: deletes("/timelapses/old?recursive=true")},
}

// prepare makes of the tree of a bench one for everyWrite.
func (b *bench) prepare(t *testing.T) *everything {
	t.Helper()
	admin := b.callers["admin"]
	e := &everything{bench: b, caller: admin, trash: map[string]string{}, pieces: map[string]string{}}
	admin.must(t, http.StatusCreated, "/groups", object{"name": "lab"})
	for _, name := range []string{"gone", "rubbish", "useless", "rejected"} {
		admin.makeScan(t, name, "notes of "+name)
	}
	admin.must(t, http.StatusCreated, "/scans/hidden", object{"metadata": object{"visibility": "private"}})
	for _, name := range []string{"lost", "old"} {
		admin.must(t, http.StatusCreated, "/timelapses", object{"id": name})
		admin.must(t, http.StatusCreated, "/scans/in_"+name, object{"metadata": object{"timelapse": object{"id": name}}})
	}
	for _, name := range []string{"more", "away"} {
		admin.must(t, http.StatusCreated, "/filesets/kept/"+name, object{})
	}
	for _, path := range []string{"images/deleted", "images/other", "more/notes", "away/notes"} {
		if a := admin.upload(t, "/files/kept/"+path, "the bytes of "+path); a.Status != http.StatusCreated {
			t.Fatalf("upload = %d %s", a.Status, a.Text)
		}
	}
	for kind, path := range map[string]string{
		"file": "/files/kept/images/deleted", "fileset": "/filesets/kept/away", "scan": "/scans/gone", "rubbish": "/scans/rubbish",
		"timelapse": "/timelapses/lost?recursive=true",
	} {
		a := admin.send(t, http.MethodDelete, path, "", nil)
		e.trash[kind] = filepath.Base(a.Header.Get("Location"))
		if entry, ok := a.Body["trash"].(map[string]any); ok {
			e.trash[kind], _ = entry["id"].(string)
		}
		if a.Status != http.StatusOK && a.Status != http.StatusNoContent || e.trash[kind] == "" {
			t.Fatalf("delete %s = %d %s", path, a.Status, a.Text)
		}
	}
	for upload, piece := range map[string]string{"nothing": "", "half": "12345", "unwanted": "12345"} {
		a := e.beginPieces(t, "pieces_"+upload, 10)
		_, e.pieces[upload], _ = strings.Cut(a.Header.Get("Location"), "/api/v1")
		if a.Status != http.StatusCreated {
			t.Fatalf("begin upload = %d %s", a.Status, a.Text)
		}
		if piece == "" {
			continue
		}
		if a := e.sendPiece(t, e.pieces[upload], 0, piece); a.Status != http.StatusNoContent {
			t.Fatalf("piece = %d %s", a.Status, a.Text)
		}
	}
	archive := admin.get(t, "/assets/archive/useless")
	if e.archive = archive.Text; archive.Status != http.StatusOK {
		t.Fatalf("archive = %d", archive.Status)
	}
	// What is not folded is, by whoever looks at it next.
	eventually(t, "files.json of all scans have the uploads", func() string {
		left, err := os.ReadDir(filepath.Join(b.dir, ".plantdb/journal"))
		if err != nil || len(left) > 0 {
			return fmt.Sprintf("%v, %v", left, err)
		}
		return ""
	})
	return e
}

// tus sends a request of the protocol for uploads in pieces.
func (c caller) tus(t *testing.T, method, path string, header map[string]string, body ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, c.base+"/api/v1"+path, strings.NewReader(strings.Join(body, "")))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Tus-Resumable", "1.0.0")
	for name, value := range header {
		r.Header.Set(name, value)
	}
	return do(t, r)
}

// beginPieces begins an upload in pieces of a file of kept/images.
func (c caller) beginPieces(t *testing.T, file string, length int) answer {
	t.Helper()
	var described []string
	for _, pair := range [][2]string{{"scan", "kept"}, {"fileset", "images"}, {"file", file}, {"ext", "txt"}} {
		described = append(described, pair[0]+" "+base64.StdEncoding.EncodeToString([]byte(pair[1])))
	}
	return c.tus(t, http.MethodPost, "/uploads", map[string]string{"Upload-Length": strconv.Itoa(length), "Upload-Metadata": strings.Join(described, ",")})
}

func (c caller) sendPiece(t *testing.T, path string, at int, piece string) answer {
	t.Helper()
	return c.tus(t, http.MethodPatch, path, map[string]string{
		"Content-Type": "application/offset+octet-stream", "Upload-Offset": strconv.Itoa(at),
	}, piece)
}

// putBeside puts a file beside the filesets of kept.
func (c caller) putBeside(t *testing.T, name string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.base+"/files/kept", strings.NewReader("bytes"))
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{
		"Authorization": "Bearer " + c.token, "Content-Type": "application/octet-stream", "Content-Disposition": "attachment; filename=" + name, "X-File-Path": name,
	} {
		r.Header.Set(key, value)
	}
	return do(t, r)
}

// all is what lies in the tree and the trash, and which uploads there are: of
// these a call that is refused at its end keeps the bytes.
func (e *everything) all(t *testing.T) map[string]string {
	t.Helper()
	all := treeOf(t, e.bench.dir)
	for _, own := range []string{".plantdb/trash", ".plantdb/uploads", ".plantdb/batches"} {
		for name, content := range treeOf(t, filepath.Join(e.bench.dir, own)) {
			if own == ".plantdb/uploads" {
				content = "an upload"
			}
			all[own+"/"+name] = content
		}
	}
	return all
}

// refuseAll does every write, each of which must be refused as the answer says and
// leave nothing. Those that may work come last, for they may make room, and are done
// where they do; they are returned.
func (e *everything) refuseAll(t *testing.T, mayWork func(write) bool, want string) (done map[string]bool) {
	t.Helper()
	done = map[string]bool{}
	before := e.all(t)
	last := func(w write) int {
		if mayWork(w) {
			return 1
		}
		return 0
	}
	for _, w := range slices.SortedStableFunc(slices.Values(everyWrite), func(a, b write) int { return last(a) - last(b) }) {
		a := w.call(t, e)
		if mayWork(w) && a.Status < http.StatusBadRequest {
			done[w.name] = true
			before = e.all(t)
			continue
		}
		e.refused(t, w, a, want)
		after := e.all(t)
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("%s, refused, changed the tree (-before +after):\n%s", w.name, diff)
			before = after
		}
	}
	return done
}

// refused fails the test unless an answer is one of those.
func (*everything) refused(t *testing.T, w write, a answer, answers ...string) {
	t.Helper()
	got := fmt.Sprint(a.Status, " ", a.text("code"))
	if !slices.Contains(answers, got) {
		t.Errorf("%s = %d %s, want %s", w.name, a.Status, a.Text, strings.Join(answers, " or "))
		return
	}
	checkProblem(t, a, a.Status, a.text("code"))
	if a.Status != http.StatusInsufficientStorage && a.Header.Get("Retry-After") == "" {
		t.Errorf("%s = %s without Retry-After", w.name, got)
	}
}

// writeAll does every write that was not done yet, each of which must work.
func (e *everything) writeAll(t *testing.T, done map[string]bool) {
	t.Helper()
	for _, w := range everyWrite {
		if done[w.name] {
			continue
		}
		if a := w.call(t, e); a.Status >= http.StatusBadRequest {
			t.Errorf("%s = %d %s", w.name, a.Status, a.Text)
		}
	}
}

// tidy deletes the timelapses once all was written, for upstream's programs open no
// tree that has one, and the scan without files, and puts a file into the scan that was made.
func (e *everything) tidy(t *testing.T) {
	t.Helper()
	e.must(t, http.StatusCreated, "/filesets/new/images", object{})
	if a := e.upload(t, "/files/new/images/notes", "some notes"); a.Status != http.StatusCreated {
		t.Errorf("upload into a new scan = %d %s", a.Status, a.Text)
	}
	if a := e.send(t, http.MethodDelete, "/scans/hidden", "", nil); a.Status != http.StatusOK {
		t.Errorf("delete scan hidden = %d %s", a.Status, a.Text)
	}
	for _, id := range []string{"series", "another", "lost"} {
		if a := e.send(t, http.MethodDelete, "/timelapses/"+id+"?recursive=true", "", nil); a.Status != http.StatusNoContent {
			t.Errorf("delete timelapse %s = %d %s", id, a.Status, a.Text)
		}
	}
}

// tryAll does every write that was not done yet, on a disk where now and then there
// is room for it, or for a part of it: it is done, or refused as one of the answers
// says. Where the way back has no room either a refused one may stay in doubt, so
// that the same call finds later that it was done.
func (e *everything) tryAll(t *testing.T, done map[string]bool, answers ...string) {
	t.Helper()
	for _, w := range everyWrite {
		if done[w.name] {
			continue
		}
		a := w.call(t, e)
		switch done[w.name] = a.Status < http.StatusBadRequest; {
		case done[w.name], a.Status == http.StatusNotFound, a.Status == http.StatusConflict:
		default:
			e.refused(t, w, a, answers...)
		}
	}
}

// busyAll does every write while another program holds all scans as upstream's
// do: none waits for ever, and none changes anything.
func (e *everything) busyAll(t *testing.T) {
	t.Helper()
	before := e.all(t)
	for _, name := range []string{
		"kept", "new", "member", "series", "another", "unpacked", "hidden", "useless", "rejected", "gone", "rubbish", "lost", "in_lost", "old", "in_old",
	} {
		f, err := os.OpenFile(filepath.Join(e.bench.dir, ".locks", name+".lock"), os.O_WRONLY|os.O_CREATE, 0o644)
		if err == nil {
			err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }() // which lets go of it
	}
	var group sync.WaitGroup
	answers := make([]answer, len(everyWrite))
	for i, w := range everyWrite {
		if !w.free {
			group.Go(func() { answers[i] = w.call(t, e) })
		}
	}
	group.Wait()
	for i, w := range everyWrite {
		if !w.free {
			e.refused(t, w, answers[i], "423 locked")
		}
	}
	if diff := cmp.Diff(before, e.all(t)); diff != "" {
		t.Errorf("writes while a program held the scans changed the tree (-before +after):\n%s", diff)
	}
}
