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

// TestDigestsOfBodies sends what else takes bytes with digests: none is taken whose
// digest does not hold, and what was there stays.
func TestDigestsOfBodies(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	token, _ := s.login("carol")
	s.made(s.do(http.MethodPost, "/api/v1/scans/d", "{}", bearer(token), asJSON))
	s.made(s.do(http.MethodPost, "/api/v1/filesets/d/images", "{}", bearer(token), asJSON))
	raw := func(body string, more ...header) answer {
		return s.do(http.MethodPost, "/files/d", body, append(more, bearer(token), header{"Content-Disposition", "x"}, header{"X-File-Path", "notes.txt"})...)
	}
	s.made(raw("before"))
	archive := zipped(t, map[string]string{"files.json": `{"filesets":[]}`, "metadata/metadata.json": "{}", "images/": ""})
	packed, packedType := zipForm(t, "zip_file", "a.zip", "application/zip", archive)
	older, olderType := orderedForm("scan_id=d", "fileset_id=images", "file_id=older", "ext=txt", "file=bytes")
	location := s.beginUpload(token, "pieces.png", 5)
	first := func(body string, more ...header) answer {
		return s.do(http.MethodPost, "/api/v1/uploads", body, append(more, bearer(token), tusResumable, length(5), offsetBody,
			described("scan", "d", "fileset", "images", "file", "first", "ext", "png"))...)
	}
	show := func(path string) func() answer {
		return func() answer { return s.do(http.MethodGet, path, "", bearer(token), tusResumable) }
	}
	for name, tt := range map[string]struct {
		body  string
		send  func(string, ...header) answer
		after func() answer // stays as it is when the bytes are refused
		done  int
	}{
		"raw": {"after", raw, show("/files/d/notes.txt"), http.StatusCreated},
		"0.14": {older, func(body string, more ...header) answer {
			return s.do(http.MethodPost, "/api/file", body, append(more, bearer(token), header{"Content-Type", olderType})...)
		}, show("/api/v1/files/d/images/older"), http.StatusCreated},
		"archive": {packed, func(body string, more ...header) answer {
			return s.do(http.MethodPost, "/api/v1/assets/archive/packed", body, append(more, bearer(token), packedType)...)
		}, show("/api/v1/scans/packed"), http.StatusOK},
		"older archive": {packed, func(body string, more ...header) answer {
			return s.do(http.MethodPost, "/archive/olderpacked", body, append(more, bearer(token), packedType)...)
		}, show("/api/v1/scans/olderpacked"), http.StatusOK},
		"piece":       {"abcde", func(body string, more ...header) answer { return s.patch(location, token, 0, body, more...) }, show(location), http.StatusNoContent},
		"first piece": {"abcde", first, show("/api/v1/files/d/images/first"), http.StatusCreated},
	} {
		before := tt.after()
		right, wrong := []byte(tt.body), []byte("other")
		for _, refused := range []struct {
			digest header
			code   string
		}{
			{header{"Content-Digest", sha256Of(wrong)}, "digest_mismatch"},
			{header{"Repr-Digest", sha512Of(wrong)}, "digest_mismatch"},
			{header{"Content-Digest", sha256Of(right) + ", " + sha512Of(wrong)}, "digest_mismatch"},
			{header{"Content-Digest", "sha-256=abc"}, "invalid_digest"},
			{header{"Repr-Digest", "sha-512=:AAAA:"}, "invalid_digest"},
		} {
			what := name + " with " + refused.digest.name + " " + refused.digest.value
			wantProblem(t, what, tt.send(tt.body, refused.digest), http.StatusBadRequest, refused.code)
			if now := tt.after(); now.status != before.status || before.status == http.StatusOK && !bytes.Equal(now.body, before.body) {
				t.Errorf("%s left %d %s, want %d %s", what, now.status, now.body, before.status, before.body)
			}
		}
		if a := tt.send(tt.body, header{"Content-Digest", sha512Of(right)}, header{"Repr-Digest", "md5=:AAAA:, " + sha256Of(right)}); a.status != tt.done {
			t.Errorf("%s with its digests = %d %s, want %d", name, a.status, a.body, tt.done)
		}
		if now := tt.after(); now.status != http.StatusOK || bytes.Equal(now.body, before.body) {
			t.Errorf("%s left %d %s, want what was sent", name, now.status, now.body)
		}
	}
	// One that holds beside a checksum that does not, and the other way round.
	location = s.beginUpload(token, "both.png", 5)
	sums := func(of string) header {
		sum := sha256.Sum256([]byte(of))
		return header{"Upload-Checksum", "sha256 " + base64.StdEncoding.EncodeToString(sum[:])}
	}
	a := s.patch(location, token, 0, "abcde", header{"Content-Digest", sha256Of([]byte("abcde"))}, sums("other"))
	wantProblem(t, "a wrong checksum", a, 460, "checksum_mismatch")
	a = s.patch(location, token, 0, "abcde", header{"Content-Digest", sha256Of([]byte("other"))}, sums("abcde"))
	wantProblem(t, "a wrong digest", a, http.StatusBadRequest, "digest_mismatch")
	a = s.do(http.MethodPost, "/api/v1/uploads", "", bearer(token), tusResumable, length(5), header{"Content-Digest", sha256Of([]byte("other"))},
		described("scan", "d", "fileset", "images", "file", "never", "ext", "png"))
	wantProblem(t, "a digest of no body", a, http.StatusBadRequest, "digest_mismatch")
	s.do(http.MethodDelete, location, "", bearer(token), tusResumable)
	if left := uploads(t, s.dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// boundaryOf returns the boundary that a form begins with.
func boundaryOf(body []byte) string {
	first, _, _ := bytes.Cut(body, []byte("\r\n"))
	return strings.TrimPrefix(string(first), "--")
}
