package api_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/api"
)

func TestQuotas(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{})
	boss, _ := s.login("admin")
	carol, _ := s.login("carol")
	if a := s.do(http.MethodPost, "/api/v1/scans/mine", "", bearer(carol)); a.status != http.StatusCreated {
		t.Fatalf("POST scan = %d %s", a.status, a.body)
	}
	if a := s.do(http.MethodPost, "/api/v1/filesets/mine/images", "", bearer(carol)); a.status != http.StatusCreated {
		t.Fatalf("POST fileset = %d %s", a.status, a.body)
	}
	put := func(path, body string) answer {
		return s.do(http.MethodPut, "/api/v1/quotas/"+path, body, bearer(boss), asJSON)
	}
	if a := put("users/Carol", `{"max_bytes":2000,"max_files":10}`); a.status != http.StatusOK || a.json(t)["max_bytes"] != 2000.0 || a.json(t)["kind"] != "user" || a.json(t)["name"] != "carol" {
		t.Fatalf("PUT = %d %s", a.status, a.body)
	}
	wantProblem(t, "PUT of nobody", put("users/nobody", `{"max_bytes":1}`), http.StatusNotFound, "unknown_quota")
	wantProblem(t, "PUT of no group", put("groups/nobody", `{"max_bytes":1}`), http.StatusNotFound, "unknown_quota")
	wantProblem(t, "PUT of nothing", put("users/carol", `{}`), http.StatusBadRequest, "bad_quota")
	wantProblem(t, "PUT by carol", s.do(http.MethodPut, "/api/v1/quotas/users/carol", `{"max_bytes":1}`, bearer(carol), asJSON), http.StatusForbidden, "forbidden")

	const path = "/api/v1/files/mine/images/"
	large := make([]byte, 3000)
	refused := s.upload(path+"a", carol, large, map[string]string{"ext": "png"})
	wantProblem(t, "an upload that does not fit", refused, http.StatusRequestEntityTooLarge, "quota_exceeded")
	if text := refused.json(t)["message"].(string); !strings.HasPrefix(text, "The quota of user 'carol' is 2000 bytes, of which 0 are used: 3") {
		t.Errorf("message = %q", text)
	}
	wantProblem(t, "an upload in pieces that does not fit", s.do(http.MethodPost, "/api/v1/uploads", "", bearer(carol), tusResumable, length(3000),
		described("scan", "mine", "fileset", "images", "filename", "a.png")), http.StatusRequestEntityTooLarge, "quota_exceeded")
	wantProblem(t, "an archive that does not fit", func() answer {
		body, contentType := zipForm(t, "zip_file", "a.zip", "application/zip", large)
		return s.do(http.MethodPost, "/api/v1/assets/archive/new", body, bearer(carol), contentType)
	}(), http.StatusRequestEntityTooLarge, "quota_exceeded")
	if a := s.upload(path+"a", carol, large[:1000], map[string]string{"ext": "png"}); a.status != http.StatusCreated {
		t.Errorf("an upload that fits = %d %s", a.status, a.body)
	}
	u := s.do(http.MethodGet, "/api/v1/usage", "", bearer(carol)).json(t)
	quotas := u["quotas"].([]any)
	if u["username"] != "carol" || u["scans"].(map[string]any)["bytes"] != 1000.0 || len(quotas) != 1 || quotas[0].(map[string]any)["used"].(map[string]any)["files"] != 1.0 {
		t.Errorf("usage = %v", u)
	}
	wantProblem(t, "usage of another", s.do(http.MethodGet, "/api/v1/usage?user=admin", "", bearer(carol)), http.StatusForbidden, "forbidden")
	if a := s.do(http.MethodGet, "/api/v1/usage?user=CAROL", "", bearer(boss)); a.status != http.StatusOK || a.json(t)["username"] != "carol" {
		t.Errorf("usage by an administrator = %d %s", a.status, a.body)
	}
	if a := s.do(http.MethodGet, "/api/v1/quotas", "", bearer(boss)); a.status != http.StatusOK || len(a.json(t)["quotas"].([]any)) != 1 {
		t.Errorf("GET quotas = %d %s", a.status, a.body)
	}
	if a := s.do(http.MethodDelete, "/api/v1/quotas/users/carol", "", bearer(boss)); a.status != http.StatusNoContent {
		t.Errorf("DELETE = %d %s", a.status, a.body)
	}
	wantProblem(t, "DELETE again", s.do(http.MethodDelete, "/api/v1/quotas/users/carol", "", bearer(boss)), http.StatusNotFound, "unknown_quota")
	if a := s.upload(path+"b", carol, large, map[string]string{"ext": "png"}); a.status != http.StatusCreated {
		t.Errorf("an upload without a quota = %d %s", a.status, a.body)
	}
}

// What does not fit is refused by what the request says of its size: nothing of the
// body is there yet, and the client has not gone. It is more than the server drains of a
// refused one before it answers.
func TestQuotaBeforeTheBytes(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	boss, _ := s.login("admin")
	carol, _ := s.login("carol")
	s.create(carol, "mine")
	s.made(s.do(http.MethodPost, "/api/v1/filesets/mine/images", "", bearer(carol)))
	if a := s.do(http.MethodPut, "/api/v1/quotas/users/carol", `{"max_bytes":2000}`, bearer(boss), asJSON); a.status != http.StatusOK {
		t.Fatalf("PUT = %d %s", a.status, a.body)
	}
	const size = 1 << 20
	const form = "Content-Type: multipart/form-data; boundary=x\r\n"
	for name, request := range map[string]string{
		"multipart": "POST /api/v1/files/mine/images/a HTTP/1.1\r\n" + form,
		"raw":       "POST /files/mine HTTP/1.1\r\nContent-Disposition: x\r\nX-File-Path: a.txt\r\n",
		"archive":   "POST /api/v1/assets/archive/new HTTP/1.1\r\n" + form,
		"pieces": "POST /api/v1/uploads HTTP/1.1\r\nTus-Resumable: 1.0.0\r\nContent-Type: " + offsetBody.value + "\r\nUpload-Length: " + fmt.Sprint(size) + "\r\nUpload-Metadata: " +
			described("scan", "mine", "fileset", "images", "filename", "a.png").value + "\r\n",
	} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%sHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", request, carol, size)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if response.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s = %d before its body, want 413", name, response.StatusCode)
		}
		_ = response.Body.Close() // as is the connection
		_ = conn.Close()
	}
	if left := uploads(t, s.dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
