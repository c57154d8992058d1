package main_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/servertest"
)

// TestMemoryOfLargeDocuments asks for pages and lists of scans, filesets, files and
// timelapses each of which has nearly as much metadata as it may have: what the
// server needs of memory is that of a few of them, however many it looks at.
func TestMemoryOfLargeDocuments(t *testing.T) {
	t.Parallel()
	const (
		documents, size = 20, 12 << 20
		// Of one document there are several forms at once, and the garbage of the one before.
		most = 320 << 20
	)
	db, dir := pgtest.URL(t), servertest.Dir(t)
	server := servertest.Start(t, servertest.Options{Env: []string{"DATABASE_URL=" + db, "PLANTDB_SWEEP_INTERVAL=0"}}, dir, "--test", "--rate-limits", "off")
	admin, _ := login(t, server, "admin", "admin")
	conn, err := pgx.Connect(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(t.Context(), fmt.Sprintf(`
		CREATE TEMP TABLE large AS SELECT ('{"n": 1, "text": "' || repeat('0123456789abcdef', %d) || '"}')::json AS document;
		INSERT INTO scans (id, name, owner, visibility, document, metadata, info, changed_at, signature, created, last_modified, search)
		SELECT gen_random_uuid(), 'scan' || i, 'ann', 'public', document, '{}', document, now(), '', '', '', 'scan' || i
		FROM generate_series(1, %d) AS i, large;
		INSERT INTO filesets (id, scan_id, name, position, document, metadata)
		SELECT gen_random_uuid(), s.id, 'set' || i, i, large.document, '{}' FROM scans s, generate_series(1, %[2]d) AS i, large WHERE s.name = 'scan1';
		INSERT INTO files (id, fileset_id, name, filename, position, size, modified_at, document, metadata)
		SELECT gen_random_uuid(), f.id, 'file' || i, 'file' || i || '.jpg', i, 5, now(), large.document, '{}'
		FROM filesets f, generate_series(1, %[2]d) AS i, large WHERE f.name = 'set1';
		INSERT INTO timelapses (id, name, owner, document, metadata, signature)
		SELECT gen_random_uuid(), 'series' || i, 'ann', document, '{}', '' FROM generate_series(1, %[2]d) AS i, large`, size/16, documents))
	if err := conn.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	where := "where=" + url.QueryEscape("not metadata.n = 2")
	before := server.Peak(func() {})
	for _, tt := range []struct{ path, each string }{
		{"/scans?limit=100&" + where, `"scan`},
		{"/scans?" + where, `"scan`},
		{"/scans?limit=100&" + where + url.QueryEscape(" and files >= 0"), `"scan`},
		{"/scans/scan1/filesets?" + where, `"set`},
		{"/filesets/scan1/set1/files?limit=100&" + where, `"file`},
		{"/timelapses?" + where, `"series`},
		{"/scans/info?limit=100", `"text"`},
		{"/scans/info", `"text"`},
		{"/scans/info?sort=-id", `"text"`},
	} {
		count := counter{of: []byte(tt.each)}
		peak := server.Peak(func() { admin.copyTo(t, &count, tt.path) })
		if count.n != documents && count.n != documents+1 { // and the name of the list
			t.Errorf("GET %s has %d, want %d", tt.path, count.n, documents)
		}
		t.Logf("GET %s: %d MiB", tt.path, (peak-before)>>20)
		if peak-before > most {
			t.Errorf("GET %s takes %d MiB, want at most %d", tt.path, (peak-before)>>20, most>>20)
		}
	}
}

// counter counts how often something is in what is written to it.
type counter struct {
	of, rest []byte
	n        int
}

// Write implements io.Writer.
func (c *counter) Write(b []byte) (int, error) {
	all := slices.Concat(c.rest, b)
	c.n += bytes.Count(all, c.of)
	c.rest = append([]byte(nil), all[max(0, len(all)-len(c.of)+1):]...)
	return len(b), nil
}

// copyTo writes an answer that may be long.
func (c caller) copyTo(t *testing.T, w io.Writer, path string) {
	t.Helper()
	if _, err := io.Copy(w, c.begin(t, path)); err != nil {
		t.Errorf("GET %s = %v", path, err)
	}
}

// begin returns the body of an answer as it comes.
func (c caller) begin(t *testing.T, path string) io.Reader {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.base+"/api/v1"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() }) // only read
	if response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s = %d", path, response.StatusCode)
	}
	return response.Body
}

// TestMemoryOfUploads sends one large file in each of the ways that there are: the
// server needs a small part of it in memory, for it takes the bytes as they come.
func TestMemoryOfUploads(t *testing.T) {
	t.Parallel()
	const (
		size = 64 << 20
		most = 40 << 20 // a body that is held is all of it, and more while it grows
	)
	server := servertest.Start(t, servertest.Options{Env: []string{"DATABASE_URL=" + pgtest.URL(t)}}, servertest.Dir(t), "--test", "--rate-limits", "off", "--previews", "on-demand")
	admin, _ := login(t, server, "admin", "admin")
	admin.makeScan(t, "kept", "notes")
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(content) // never fails
	formType, formBody := form(t, string(content), "ext", "txt")
	archiveType, archiveBody, err := archiveForm("large", map[string]string{"one": string(content)})
	if err != nil {
		t.Fatal(err)
	}
	begun := func() string { return admin.beginPieces(t, "pieces", size).Header.Get("Location") }
	post := func(path string, body []byte, header map[string]string) *http.Request {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, admin.base+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+admin.token)
		for name, value := range header {
			r.Header.Set(name, value)
		}
		return r
	}
	requests := map[string]*http.Request{
		"multipart": post("/api/v1/files/kept/images/large", formBody.Bytes(), map[string]string{"Content-Type": formType}),
		"raw":       post("/files/kept", content, map[string]string{"Content-Disposition": "attachment", "X-File-Path": "large.bin"}),
		"archive":   post("/api/v1/assets/archive/large", archiveBody, map[string]string{"Content-Type": archiveType}),
		"in pieces": post(begun(), content, map[string]string{
			"X-HTTP-Method-Override": http.MethodPatch, "Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0",
		}),
	}
	before := server.Peak(func() {})
	for name, r := range requests {
		var a answer
		peak := server.Peak(func() { a = do(t, r) })
		if a.Status >= http.StatusBadRequest {
			t.Errorf("%s = %d %s", name, a.Status, a.Text)
		}
		t.Logf("%s: %d MiB", name, (peak-before)>>20)
		if peak-before > most {
			t.Errorf("%s of %d MiB takes %d MiB of memory, want at most %d", name, size>>20, (peak-before)>>20, most>>20)
		}
	}
}
