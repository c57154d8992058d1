package main_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What the clients of TestCrash do beside uploads: scans and filesets, archives,
// uploads in pieces, batches, and who may see what.

// crashGroup is whom scans are shared with.
const crashGroup = "team"

// batched are the scans of a client that only its batches change.
func (c *crasher) batched() []string { return []string{c.scan + "_a", c.scan + "_b", c.scan + "_c"} }

// createScan makes a scan, and a fileset in it.
func (c *crasher) createScan(ctx context.Context) {
	name := fmt.Sprintf("%s_made%d", c.scan, c.next)
	c.next++
	key, made := "scan "+name, `"`+name+`"`
	c.begin(key, made, lookAtMade(name))
	body := fmt.Appendf(nil, `{"metadata": {"made": %q}}`, name)
	if a := c.send(ctx, http.MethodPost, "/scans/"+name, "application/json", body); a.Status != http.StatusCreated {
		return
	}
	c.end("scans", key, made)
	path := "/filesets/" + name + "/notes"
	c.begin(path, made, lookAtFileset(path))
	if a := c.send(ctx, http.MethodPost, path, "application/json", body); a.Status == http.StatusCreated {
		c.end("filesets", path, made)
		c.scans = append(c.scans, name) // all of which is known
	}
}

func lookAtMade(name string) func(*testing.T, caller) string {
	return func(t *testing.T, admin caller) string {
		t.Helper()
		return found(admin.get(t, "/scans/"+name+"/metadata"), madeOf)
	}
}

// lookAtFileset finds a fileset by its metadata.
func lookAtFileset(path string) func(*testing.T, caller) string {
	return func(t *testing.T, admin caller) string {
		t.Helper()
		return found(admin.get(t, path+"/metadata"), madeOf)
	}
}

func madeOf(a answer) string {
	metadata, _ := a.Body["metadata"].(map[string]any)
	raw, _ := json.Marshal(metadata["made"]) // of JSON
	return string(raw)
}

// deleteScans moves two scans into the trash by one batch.
func (c *crasher) deleteScans(ctx context.Context) {
	if len(c.scans) < 2 {
		return
	}
	pair := c.scans[:2]
	c.scans = slices.Clone(c.scans[2:])
	key, before := "scans "+strings.Join(pair, " and "), c.foundOf(pair)
	c.replace(key, before, func(t *testing.T, admin caller) string {
		t.Helper()
		var list []string
		for _, name := range pair {
			list = append(list, lookAtMade(name)(t, admin))
		}
		return strings.Join(list, " and ")
	}, "scan "+pair[0], "scan "+pair[1], "/filesets/"+pair[0]+"/notes", "/filesets/"+pair[1]+"/notes")
	after := gone + " and " + gone
	c.begin(key, after, nil)
	body := fmt.Appendf(nil, "{\"op\": \"delete\", \"scan\": %q}\n{\"op\": \"delete\", \"scan\": %q}\n", pair[0], pair[1])
	if a := c.send(ctx, http.MethodPost, "/batch", "application/x-ndjson", body); a.Status == http.StatusOK {
		c.end("batches of deletions", key, after)
	}
}

// foundOf is what a reader finds of scans that were acknowledged.
func (*crasher) foundOf(scans []string) string {
	list := make([]string, len(scans))
	for i, name := range scans {
		list[i] = `"` + name + `"`
	}
	return strings.Join(list, " and ")
}

// changeMany changes metadata and visibility of the client's scans for batches.
func (c *crasher) changeMany(ctx context.Context) {
	c.n++
	visibility := []string{"public", "private"}[c.n%2]
	var body bytes.Buffer
	var value []string
	for _, scan := range c.batched() {
		fmt.Fprintf(&body, "{\"op\": \"metadata\", \"scan\": %q, \"metadata\": {\"n\": %d}}\n", scan, c.n)
		fmt.Fprintf(&body, "{\"op\": \"visibility\", \"scan\": %q, \"visibility\": %q}\n", scan, visibility)
		value = append(value, fmt.Sprintf("%d %s", c.n, visibility))
	}
	key, after := "batch of "+c.scan, strings.Join(value, ", ")
	c.begin(key, after, lookAtBatch(c.batched()))
	if a := c.send(ctx, http.MethodPost, "/batch", "application/x-ndjson", body.Bytes()); a.Status == http.StatusOK {
		c.end("batches", key, after)
	}
}

// lookAtBatch finds what batches last wrote into scans; before the first, all
// of it is gone.
func lookAtBatch(scans []string) func(*testing.T, caller) string {
	return func(t *testing.T, admin caller) string {
		t.Helper()
		var list []string
		for _, scan := range scans {
			n := lookAtN(scan)(t, admin)
			if n != gone {
				n += " " + admin.get(t, "/scans/"+scan+"/visibility").text("visibility")
			}
			list = append(list, n)
		}
		if slices.Equal(slices.Compact(slices.Clone(list)), []string{gone}) {
			return gone
		}
		return strings.Join(list, ", ")
	}
}

// changeAccess shares the client's scan or ends that, or makes it private or
// public.
func (c *crasher) changeAccess(ctx context.Context) {
	what, body, after := "sharing", `{"groups": []}`, "[]"
	switch rand.IntN(4) {
	case 0:
		body, after = `{"groups": ["`+crashGroup+`"]}`, "["+crashGroup+"]"
	case 1:
		what, body, after = "visibility", `{"visibility": "private"}`, "private"
	case 2:
		what, body, after = "visibility", `{"visibility": "public"}`, "public"
	}
	path := "/scans/" + c.scan + "/" + what
	c.begin(path, after, nil)
	if a := c.send(ctx, http.MethodPut, path, "application/json", []byte(body)); a.Status == http.StatusOK {
		c.end("changes of "+what, path, after)
	}
}

// lookAtAccess finds who may see a scan.
func lookAtAccess(path, key string) func(*testing.T, caller) string {
	return func(t *testing.T, admin caller) string {
		t.Helper()
		return found(admin.get(t, path), func(a answer) string { return fmt.Sprint(a.Body[key]) })
	}
}

// uploadArchive makes a scan of an archive. There is all of it, or nothing.
func (c *crasher) uploadArchive(ctx context.Context) {
	name := fmt.Sprintf("%s_zip%d", c.scan, c.next)
	c.next++
	files := map[string]string{}
	for i := range 1 + rand.IntN(4) {
		files[fmt.Sprintf("f%d", i)] = strings.Repeat(name, 1+rand.IntN(20_000))
	}
	key, whole := "archive "+name, contentsOf(files)
	c.begin(key, whole, lookAtArchive(name))
	contentType, body, err := archiveForm(name, files)
	if err != nil {
		return
	}
	if a := c.send(ctx, http.MethodPost, "/assets/archive/"+name, contentType, body); a.Status == http.StatusOK {
		c.end("archives", key, whole)
	}
}

// archiveForm is the form of an archive whose files are in the fileset images.
func archiveForm(name string, files map[string]string) (contentType string, body []byte, err error) {
	type file struct {
		File string `json:"file"`
		ID   string `json:"id"`
	}
	var listed []file
	entries := map[string]string{"metadata/metadata.json": fmt.Sprintf(`{"made": %q}`, name), "metadata/images.json": `{}`}
	for id, content := range files {
		listed = append(listed, file{id + ".txt", id})
		entries["images/"+id+".txt"] = content
		entries["metadata/images/"+id+".json"] = `{}`
	}
	index, err := json.Marshal(map[string]any{"filesets": []any{map[string]any{"id": "images", "files": listed}}})
	if err != nil {
		return "", nil, err
	}
	entries["files.json"] = string(index)
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {`form-data; name="zip_file"; filename="scan.zip"`}, "Content-Type": {"application/zip"},
	})
	if err != nil {
		return "", nil, err
	}
	z := zip.NewWriter(part)
	for _, entry := range slices.Sorted(maps.Keys(entries)) {
		f, err := z.Create(entry)
		if err == nil {
			_, err = f.Write([]byte(entries[entry]))
		}
		if err != nil {
			return "", nil, err
		}
	}
	if err := errors.Join(z.Close(), w.Close()); err != nil {
		return "", nil, err
	}
	return w.FormDataContentType(), form.Bytes(), nil
}

// contentsOf is what a reader finds of files: ids and digests.
func contentsOf(files map[string]string) string {
	var list []string
	for _, id := range slices.Sorted(maps.Keys(files)) {
		list = append(list, id+" "+digestOf([]byte(files[id])))
	}
	return strings.Join(list, ", ")
}

func lookAtArchive(name string) func(*testing.T, caller) string {
	return func(t *testing.T, admin caller) string {
		t.Helper()
		return found(admin.get(t, "/filesets/"+name+"/images/files"), func(a answer) string {
			ids, _ := a.Body["files"].([]any)
			files := map[string]string{}
			for _, id := range ids {
				files[fmt.Sprint(id)] = admin.get(t, fmt.Sprintf("/files/%s/images/%s", name, id)).Text
			}
			return contentsOf(files)
		})
	}
}

// pieces is an upload that goes on in pieces, over crashes.
type pieces struct {
	sent
	at     string // its path
	offset int    // that was acknowledged
}

// uploadPiece begins an upload in pieces, or goes on with the one that was begun.
func (c *crasher) uploadPiece(ctx context.Context) {
	if c.pieces == nil {
		c.beginPieces(ctx)
		return
	}
	p := c.pieces
	// Whatever is asked for of one that has all its bytes may make the file.
	c.allow(p.path, digestOf([]byte(p.content)), lookAtFile(p.path))
	a := c.send(ctx, http.MethodHead, p.at, "", nil, "Tus-Resumable", "1.0.0")
	if a.Status != http.StatusOK {
		return
	}
	offset, err := strconv.Atoi(a.Header.Get("Upload-Offset"))
	if err != nil || offset < p.offset || offset > len(p.content) {
		c.missed(http.MethodHead, p.at, fmt.Errorf("offset %q after %d of %d were acknowledged", a.Header.Get("Upload-Offset"), p.offset, len(p.content)))
		c.pieces = nil
		return
	}
	p.offset = offset
	if offset < len(p.content) {
		piece := p.content[offset:min(len(p.content), offset+1+rand.IntN(100_000))]
		a := c.send(ctx, http.MethodPatch, p.at, "application/offset+octet-stream", []byte(piece), "Tus-Resumable", "1.0.0", "Upload-Offset", strconv.Itoa(offset))
		if a.Status != http.StatusNoContent {
			return
		}
		p.offset += len(piece)
		c.count("pieces")
	}
	if p.offset == len(p.content) {
		c.there(p.sent, false)
		c.pieces = nil
	}
}

func (c *crasher) beginPieces(ctx context.Context) {
	id := fmt.Sprintf("%s_%d", c.scan, c.next)
	c.next++
	p := &pieces{sent: sent{"/files/shared/images/" + id, strings.Repeat(id+"\n", 1+rand.IntN(30_000))}}
	var metadata []string
	for _, pair := range [][2]string{{"scan", "shared"}, {"fileset", "images"}, {"filename", id + ".txt"}} {
		metadata = append(metadata, pair[0]+" "+base64.StdEncoding.EncodeToString([]byte(pair[1])))
	}
	a := c.send(ctx, http.MethodPost, "/uploads", "", nil,
		"Tus-Resumable", "1.0.0", "Upload-Length", strconv.Itoa(len(p.content)), "Upload-Metadata", strings.Join(metadata, ","))
	if a.Status != http.StatusCreated {
		return
	}
	c.count("uploads in pieces begun")
	_, p.at, _ = strings.Cut(a.Header.Get("Location"), "/api/v1")
	c.pieces = p
}
