package api_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
)

func sha256Of(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

func sha512Of(b []byte) string {
	sum := sha512.Sum512(b)
	return "sha-512=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// digestForm is a form whose file part has a header of its own.
func digestForm(t *testing.T, content []byte, name, value string) (body []byte, contentType string) {
	t.Helper()
	var buf bytes.Buffer
	w := multipart.NewWriter(&buf)
	head := textproto.MIMEHeader{"Content-Disposition": {`form-data; name="file"; filename="f.bin"`}}
	if name != "" {
		head.Set(name, value)
	}
	part, err := w.CreatePart(head)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = part.Write(content)
	if err := w.WriteField("ext", "txt"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes(), w.FormDataContentType()
}

// TestDigests uploads with digests of the body and of the part, right, wrong
// and unreadable: of what is refused nothing is left.
func TestDigests(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{})
	token, _ := s.login("carol")
	for _, path := range []string{"/api/v1/scans/d", "/api/v1/filesets/d/images"} {
		if a := s.do(http.MethodPost, path, "{}", bearer(token), asJSON); a.status != http.StatusCreated {
			t.Fatalf("create %s = %d %s", path, a.status, a.body)
		}
	}
	content := bytes.Repeat([]byte("plant"), 100_000)
	body, _ := digestForm(t, content, "", "")
	other := []byte("other")
	for i, tt := range []struct {
		request, part header
		status        int
		code          string
	}{
		{header{"Content-Digest", sha256Of(body)}, header{}, 201, ""},
		{header{"Repr-Digest", sha512Of(body) + ", " + sha256Of(body)}, header{}, 201, ""},
		{header{"Content-Digest", "md5=:AAAA:, " + sha256Of(body) + ";x=1"}, header{}, 201, ""},
		{header{}, header{"Content-Digest", sha512Of(content)}, 201, ""},
		{header{}, header{"Repr-Digest", sha256Of(content)}, 201, ""},
		{header{"Content-Digest", sha256Of(content)}, header{}, 400, "digest_mismatch"},
		{header{"Repr-Digest", sha256Of(body) + "," + sha512Of(other)}, header{}, 400, "digest_mismatch"},
		{header{}, header{"Content-Digest", sha256Of(other)}, 400, "digest_mismatch"},
		{header{}, header{"Repr-Digest", sha512Of(other)}, 400, "digest_mismatch"},
		{header{"Content-Digest", "sha-256=abc"}, header{}, 400, "invalid_digest"},
		{header{"Content-Digest", "sha-256=:AAAA:"}, header{}, 400, "invalid_digest"},
		{header{"Content-Digest", strings.Repeat(sha256Of(body)+",", 5) + sha256Of(body)}, header{}, 400, "invalid_digest"},
		{header{}, header{"Content-Digest", "sha-512=:!:"}, 400, "invalid_digest"},
	} {
		sent, contentType := body, ""
		if tt.part.name != "" {
			sent, contentType = digestForm(t, content, tt.part.name, tt.part.value)
		} else {
			contentType = "multipart/form-data; boundary=" + boundaryOf(body)
		}
		headers := []header{bearer(token), {"Content-Type", contentType}}
		if tt.request.name != "" {
			headers = append(headers, tt.request)
		}
		path := fmt.Sprintf("/api/v1/files/d/images/f%d", i)
		a := s.do(http.MethodPost, path, string(sent), headers...)
		got := s.do(http.MethodGet, path, "", bearer(token))
		if tt.status == http.StatusCreated {
			if a.status != tt.status || !bytes.Equal(got.body, content) {
				t.Errorf("case %d: upload = %d %s, then %d bytes", i, a.status, a.body, len(got.body))
			}
			continue
		}
		wantProblem(t, fmt.Sprintf("case %d", i), a, tt.status, tt.code)
		if got.status != http.StatusNotFound {
			t.Errorf("case %d: a refused upload can be read: %d", i, got.status)
		}
	}
	if left := staged(t, s.dir); len(left) > 0 {
		t.Errorf("left in staging: %v", left)
	}
}

// boundaryOf returns the boundary that a form begins with.
func boundaryOf(body []byte) string {
	first, _, _ := bytes.Cut(body, []byte("\r\n"))
	return strings.TrimPrefix(string(first), "--")
}
