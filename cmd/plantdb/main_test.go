package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/contract"
	"github.com/romi/plantdb-go/internal/servertest"
)

func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }

// patience bounds what comes about by itself, in a moment.
const patience = 2 * time.Minute

// eventually tries f until it returns nothing to complain of.
func eventually(t *testing.T, what string, f func() (complaint string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		complaint := f()
		if complaint == "" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: still %s", what, complaint)
		}
	}
}

// caller calls the API of a server, with a token or, if it is empty, without.
type caller struct {
	base, token string
}

// answer is what came back.
type answer struct {
	Status int
	Header http.Header
	Text   string
	// Body is the answer if it is a JSON object.
	Body map[string]any
}

// text returns a member of the body that is a text, or "".
func (a answer) text(key string) string {
	s, _ := a.Body[key].(string)
	return s
}

// send sends a request with a body of a type; the path is below /api/v1.
func (c caller) send(t *testing.T, method, path, contentType string, body io.Reader) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, c.base+"/api/v1"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	return do(t, r)
}

func do(t *testing.T, r *http.Request) answer {
	t.Helper()
	response, err := contract.Held(t, http.DefaultTransport).RoundTrip(r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	defer func() { _ = response.Body.Close() }() // only read
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	a := answer{Status: response.StatusCode, Header: response.Header, Text: string(text)}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
		_ = json.Unmarshal(text, &a.Body) // a list is no object
	}
	return a
}

func (c caller) get(t *testing.T, path string) answer {
	t.Helper()
	return c.send(t, http.MethodGet, path, "", nil)
}

func (c caller) post(t *testing.T, path string, body any) answer {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return c.send(t, http.MethodPost, path, "application/json", bytes.NewReader(raw))
}

// object is a JSON object to send.
type object map[string]any

// must calls with post and fails the test unless the status is the one wanted.
func (c caller) must(t *testing.T, status int, path string, body any) answer {
	t.Helper()
	a := c.post(t, path, body)
	if a.Status != status {
		t.Fatalf("POST %s = %d %s, want %d", path, a.Status, a.Text, status)
	}
	return a
}

// form returns a multipart form with a file and text fields, in this order.
func form(t *testing.T, content string, fields ...string) (contentType string, body *bytes.Buffer) {
	t.Helper()
	body = &bytes.Buffer{}
	w := multipart.NewWriter(body)
	part, err := w.CreateFormFile("file", "upload.bin")
	if err == nil {
		_, err = io.WriteString(part, content)
	}
	for i := 0; i+1 < len(fields) && err == nil; i += 2 {
		err = w.WriteField(fields[i], fields[i+1])
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), body
}

// upload sends a file with the extension txt.
func (c caller) upload(t *testing.T, path, content string) answer {
	t.Helper()
	contentType, body := form(t, content, "ext", "txt")
	return c.send(t, http.MethodPost, path, contentType, body)
}

// session is what a login gives.
type session struct{ access, refresh string }

func login(t *testing.T, s *servertest.Server, user, password string) (caller, session) {
	t.Helper()
	a := caller{base: s.URL}.must(t, http.StatusOK, "/auth/login", object{"username": user, "password": password})
	got := session{a.text("access_token"), a.text("refresh_token")}
	return caller{s.URL, got.access}, got
}

// makeScan makes a scan with a fileset "images" and a file "notes" in it.
func (c caller) makeScan(t *testing.T, name, notes string) {
	t.Helper()
	c.must(t, http.StatusCreated, "/scans/"+name, object{"metadata": object{"crop": "maize"}})
	c.must(t, http.StatusCreated, "/filesets/"+name+"/images", object{})
	if a := c.upload(t, "/files/"+name+"/images/notes", notes); a.Status != http.StatusCreated {
		t.Fatalf("upload = %d %s", a.Status, a.Text)
	}
}

// noDatabase waits until no process of the tree's PostgreSQL is left.
func noDatabase(t *testing.T, dir string) {
	t.Helper()
	eventually(t, "PostgreSQL of "+filepath.Base(dir)+" ends", func() string {
		return strings.Join(servertest.Standing(servertest.Database(dir)), " ")
	})
}
