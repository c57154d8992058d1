package main_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/servertest"
)

// TestUploadCutAtEveryByte ends uploads after each number of bytes of their
// body, short of all: nothing of one is left, in the tree, the index or the quota. The
// whole of it is taken afterwards.
func TestUploadCutAtEveryByte(t *testing.T) {
	t.Parallel()
	dir := servertest.Dir(t)
	s := servertest.Start(t, servertest.Options{Env: []string{"DATABASE_URL=" + pgtest.URL(t)}}, dir, "--test", "--rate-limits", "off")
	admin, _ := login(t, s, "admin", "admin")
	admin.makeScan(t, "kept", "notes")
	multipartType, multipartBody := form(t, "the bytes of a file", "ext", "txt", "metadata", `{"a": 1}`)
	archiveType, archiveBody, err := archiveForm("cut", map[string]string{"one": "1", "two": "2"})
	if err != nil {
		t.Fatal(err)
	}
	raw := "the bytes of a file beside the filesets, a hundred of them and more, since a cut comes after each of these"
	folded(t, dir, "kept")
	look := func() map[string]string {
		seen := treeOf(t, dir)
		for _, path := range []string{"/scans", "/filesets/kept/images/files", "/usage", "/scans/kept/history"} {
			seen["GET "+path] = admin.get(t, path).Text
		}
		return seen
	}
	before := look()
	uploads := []struct {
		name, path, header string
		body               []byte
		status             int
	}{
		{"multipart", "/api/v1/files/kept/images/cut", "Content-Type: " + multipartType, multipartBody.Bytes(), http.StatusCreated},
		{"raw", "/files/kept", "Content-Disposition: attachment\r\nX-File-Path: cut.txt", []byte(raw), http.StatusCreated},
		{"archive", "/api/v1/assets/archive/cut", "Content-Type: " + archiveType, archiveBody, http.StatusOK},
	}
	head := func(path, header string, length int) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: plantdb\r\nAuthorization: Bearer %s\r\nConnection: close\r\n%s\r\nContent-Length: %d\r\n\r\n",
			path, admin.token, header, length)
	}
	for _, up := range uploads {
		var group sync.WaitGroup
		for worker := range 4 {
			group.Go(func() {
				for n := worker; n < len(up.body); n += 4 {
					got := cutAfter(t, s, head(up.path, up.header, len(up.body)), up.body[:n], true)
					// 499, which nobody reads, where the form was whole and its end was not.
					if !strings.HasPrefix(got, "HTTP/1.1 400 ") && (!strings.HasPrefix(got, "HTTP/1.1 499 ") || n < len(up.body)-4) {
						t.Errorf("%s cut after %d of %d bytes = %q, want a 400", up.name, n, len(up.body), got)
					}
				}
			})
		}
		group.Wait()
		soon(t, up.name+": nothing is left of what was cut", func() string { return cmp.Diff(before, look()) })
	}
	for _, up := range uploads {
		got := cutAfter(t, s, head(up.path, up.header, len(up.body)), up.body, false)
		if !strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", up.status)) {
			t.Errorf("all of %s = %q, want %d", up.name, got, up.status)
		}
	}
}

// cutAfter sends the head and some of the body, ends the connection in that
// direction if it is to be cut, and returns what the server says once it has done
// with it.
func cutAfter(t *testing.T, s *servertest.Server, head string, body []byte, cut bool) string {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Error(err)
		return ""
	}
	defer c.Close() // it was read to its end
	if _, err := io.Copy(c, io.MultiReader(strings.NewReader(head), bytes.NewReader(body))); err != nil {
		t.Error(err)
		return ""
	}
	if half, ok := c.(*net.TCPConn); cut && (!ok || half.CloseWrite() != nil) {
		t.Error("the connection cannot be ended in one direction")
	}
	said, err := io.ReadAll(c)
	if err != nil {
		t.Error(err)
	}
	line, _, _ := strings.Cut(string(said), "\r\n")
	return line
}

// TestOneOfManyCreates lets eight clients of two servers create one scan at once,
// again and again: exactly one of them does, and it is whose metadata are there.
func TestOneOfManyCreates(t *testing.T) {
	t.Parallel()
	dir := servertest.Dir(t)
	o := servertest.Options{Env: []string{"DATABASE_URL=" + pgtest.URL(t)}}
	var clients []caller
	for range 2 {
		s := servertest.Start(t, o, dir, "--test", "--rate-limits", "off")
		admin, _ := login(t, s, "admin", "admin")
		clients = append(clients, admin, admin, admin, admin)
	}
	for round := range 10 {
		name := fmt.Sprintf("scan%d", round)
		answers := make([]answer, len(clients))
		begin := make(chan struct{})
		var group sync.WaitGroup
		for i, c := range clients {
			group.Go(func() {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.base+"/api/v1/scans/"+name, strings.NewReader(fmt.Sprintf(`{"metadata": {"by": %d}}`, i)))
				if err != nil {
					t.Error(err)
					return
				}
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Authorization", "Bearer "+c.token)
				<-begin
				if answers[i], err = roundTrip(r); err != nil {
					t.Errorf("create %s: %v", name, err)
				}
			})
		}
		close(begin)
		group.Wait()
		won := -1
		for i, a := range answers {
			switch {
			case a.Status == http.StatusCreated && won < 0:
				won = i
			case a.Status != http.StatusConflict || a.text("code") != "scan_exists":
				t.Errorf("create %s by client %d, after client %d has = %d %s, want one 201 and else 409 scan_exists", name, i, won, a.Status, a.Text)
			}
		}
		for _, c := range []caller{clients[0], clients[7]} {
			metadata, _ := c.get(t, "/scans/"+name+"/metadata").Body["metadata"].(map[string]any)
			if metadata["by"] != float64(won) {
				t.Errorf("metadata of %s, made by client %d = %v", name, won, metadata)
			}
		}
	}
}
