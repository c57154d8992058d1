package conformance

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	plantdb "github.com/romi/plantdb-go/client"
	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/servertest"
)

// strangers is a server that is no PlantDB: every path is a page, those below
// /missing/ are not found. Below /cut/ is the real one, by a line that breaks in
// the middle of every answer.
func strangers(t *testing.T, server string) http.Handler {
	t.Helper()
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if strings.HasPrefix(r.URL.Path, "/missing/") {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, "<html><body>Log in to the network</body></html>") // the client may be gone
	})
	for path, refusal := range map[string]string{"/json/": `{"error":"nope"}`, "/json/number/": `{"error":"nope","code":404}`} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, refusal) // the client may be gone
		})
	}
	mux.Handle("/cut/", http.StripPrefix("/cut", &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Del("Accept-Encoding") // what is half of it can be told
		},
		ModifyResponse: func(resp *http.Response) error {
			resp.Body = half{io.LimitReader(resp.Body, resp.ContentLength/2), resp.Body}
			return nil
		},
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
	}))
	return mux
}

// half is an answer of which the rest does not come.
type half struct {
	io.Reader
	io.Closer
}

func (h half) Read(b []byte) (int, error) {
	n, err := h.Reader.Read(b)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// fullServer is a server with the fileset full/images and no room for another
// megabyte, and the code by which it says so: its disk is small and full where one
// may be mounted, else the quota of admin is.
func fullServer(t *testing.T) (url, code string) {
	t.Helper()
	dir := servertest.Dir(t)
	mounted := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size=8m,mode=0711", "tmpfs", dir).Run() == nil
	if mounted {
		t.Cleanup(func() {
			if err := syscall.Unmount(dir, 0); err != nil {
				t.Errorf("unmount %s: %v", dir, err)
			}
		})
	}
	env := []string{"DATABASE_URL=" + pgtest.URL(t)}
	server := servertest.Start(t, servertest.Options{Env: env}, dir, "--test")
	c, err := plantdb.New(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		c.Login(t.Context(), "admin", "admin"),
		c.Create(t.Context(), plantdb.Path{Scan: "full"}, nil),
		c.Create(t.Context(), plantdb.Path{Scan: "full", Fileset: "images"}, nil),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if mounted {
		servertest.Fill(t, filepath.Join(dir, ".plantdb"))
		return server.URL, "no_space"
	}
	if r := servertest.Run(t, servertest.Options{Env: env}, "quota", "set", "admin", "--bytes", "1kB"); r.Code != 0 {
		t.Fatalf("quota set = %d %s", r.Code, r.Stderr)
	}
	return server.URL, "quota_exceeded"
}
