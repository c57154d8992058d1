// Package tus lets the client that most people use upload to the built server,
// over a line that breaks.
package tus

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/servertest"
)

func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }

// client installs tus-js-client as the lock file has it.
func client(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "upload.mjs"} {
		data, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v (tools/ensure.sh node sees to npm)\n%s", err, out)
	}
	return dir
}

// line is a connection to a server that breaks: of each of the first
// connections it lets some bytes through, the others last. While there is no
// server it keeps who connects waiting.
type line struct {
	listener net.Listener
	cuts     chan int64 // bytes that the next connections last
	cut      func(n int)

	mu     sync.Mutex
	aimed  *sync.Cond
	target string // empty while there is no server
	broken int
}

func newLine(t *testing.T, target string, cuts []int64, cut func(n int)) *line {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{listener: listener, cuts: make(chan int64, len(cuts)), cut: cut, target: target}
	l.aimed = sync.NewCond(&l.mu)
	for _, n := range cuts {
		l.cuts <- n
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go l.carry(conn)
		}
	}()
	return l
}

func (l *line) aim(target string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.target = target
	l.aimed.Broadcast()
}

func (l *line) carry(conn net.Conn) {
	defer conn.Close()
	l.mu.Lock()
	for l.target == "" {
		l.aimed.Wait()
	}
	target := l.target
	l.mu.Unlock()
	server, err := new(net.Dialer).DialContext(context.Background(), "tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	go func() { _, _ = io.Copy(conn, server); _ = conn.Close() }()
	// Only what sends much is cut: short requests always pass.
	n, _ := io.CopyN(server, conn, 64<<10)
	if n < 64<<10 {
		return
	}
	select {
	case more := <-l.cuts:
		_, _ = io.CopyN(server, conn, more)
		l.mu.Lock()
		l.broken++
		broken := l.broken
		l.mu.Unlock()
		if l.cut != nil {
			l.cut(broken)
		}
	default:
		_, _ = io.Copy(server, conn)
	}
}

// answer is a call of the server itself.
func call(t *testing.T, method, url, token, body string) (int, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, content
}

func login(t *testing.T, url string) string {
	t.Helper()
	status, body := call(t, http.MethodPost, url+"/api/v1/auth/login", "", `{"username":"admin","password":"admin"}`)
	var got struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &got); err != nil || got.Token == "" {
		t.Fatalf("login = %d %s", status, body)
	}
	return got.Token
}

// said is what the script prints.
type said struct {
	Failed  bool
	Status  int
	Body    string
	Retries int
	Text    string
}

func upload(t *testing.T, dir, endpoint, token, file, id, chunk, during string) said {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	metadata := `{"scan":"real_plant","fileset":"images","file":"` + id + `","filename":"photo.PNG","metadata":"{\"channel\":\"rgb\"}"}`
	cmd := exec.CommandContext(ctx, "node", "upload.mjs", endpoint, token, file, metadata, chunk, during)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var got said
	if jsonErr := json.Unmarshal(out, &got); jsonErr != nil {
		t.Fatalf("upload of %s = %v: %s%s", id, err, out, stderr.String())
	}
	return got
}

func TestClientOverALineThatBreaks(t *testing.T) {
	t.Parallel()
	dir := client(t)
	tree := servertest.Dir(t)
	sv := servertest.Start(t, servertest.Options{}, tree, "--test", "--demo")
	token := login(t, sv.URL)
	content := make([]byte, 12<<20)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(content) // never fails
	file := filepath.Join(t.TempDir(), "photo.png")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for id, how := range map[string]struct{ chunk, during string }{
		"whole": {"0", "false"}, "chunks": {"3000000", "false"}, "at_once": {"2000000", "true"},
	} {
		l := newLine(t, strings.TrimPrefix(sv.URL, "http://"), []int64{1, 700_000, 0, 1_000_000, 250_000}, nil)
		got := upload(t, dir, "http://"+l.listener.Addr().String()+"/api/v1/uploads", token, file, id, how.chunk, how.during)
		if got.Failed || got.Retries < 5 {
			t.Errorf("upload %s = %+v, want success after five cuts", id, got)
		}
		check(t, sv.URL, token, id, content)
	}
	// What is refused is told as it is, without another try.
	got := upload(t, dir, sv.URL+"/api/v1/uploads", token, file, "whole", "0", "false")
	if !got.Failed || got.Status != http.StatusConflict && got.Status != 0 || !strings.Contains(got.Body, "file_exists") {
		t.Errorf("upload of what is there = %+v, want 409 file_exists", got)
	}
	left(t, tree, "staging", "uploads")
}

// awaitTokens returns once the server can check tokens: the client of tus takes
// a 503 for the end of an upload.
func awaitTokens(t *testing.T, url, token string) {
	t.Helper()
	for {
		status, _ := call(t, http.MethodGet, url+"/api/v1/usage", token, "")
		if status == http.StatusOK {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatalf("the server does not check tokens: %d", status)
		}
	}
}

// The server is killed twice under an upload, which goes on with the next.
func TestClientUnderKill(t *testing.T) {
	t.Parallel()
	dir := client(t)
	tree := servertest.Dir(t)
	sv := servertest.Start(t, servertest.Options{}, tree, "--test", "--demo")
	token := login(t, sv.URL)
	content := make([]byte, 8<<20)
	_, _ = rand.NewChaCha8([32]byte{8}).Read(content) // never fails
	file := filepath.Join(t.TempDir(), "photo.png")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	kills := make(chan chan struct{})
	l := newLine(t, strings.TrimPrefix(sv.URL, "http://"), []int64{900_000, 300_000}, func(int) {
		done := make(chan struct{})
		kills <- done
		<-done // the line stays up until the server is gone
	})
	ended := make(chan said, 1)
	go func() {
		ended <- upload(t, dir, "http://"+l.listener.Addr().String()+"/api/v1/uploads", token, file, "killed", "2000000", "false")
	}()
	for n := 0; ; {
		select {
		case done := <-kills:
			l.aim("")
			sv.Kill()
			close(done)
			n++
			sv = servertest.Start(t, servertest.Options{}, tree, "--test")
			awaitTokens(t, sv.URL, token)
			l.aim(strings.TrimPrefix(sv.URL, "http://"))
		case got := <-ended:
			if got.Failed || n != 2 {
				t.Errorf("upload = %+v after %d kills, want success after two", got, n)
			}
			awaitTokens(t, sv.URL, token)
			check(t, sv.URL, token, "killed", content)
			// The client begins anew where the server answers 503 in between;
			// such an upload lies there until it expires.
			left(t, tree, "staging")
			return
		}
	}
}

func check(t *testing.T, url, token, id string, want []byte) {
	t.Helper()
	status, got := call(t, http.MethodGet, url+"/api/v1/files/real_plant/images/"+id, token, "")
	if status != http.StatusOK || !bytes.Equal(got, want) {
		t.Errorf("GET %s = %d, %d bytes, want the %d that were sent", id, status, len(got), len(want))
	}
	if _, body := call(t, http.MethodGet, url+"/api/v1/files/real_plant/images/"+id+"/metadata?key=channel", token, ""); !strings.Contains(string(body), `"rgb"`) {
		t.Errorf("metadata of %s = %s", id, body)
	}
}

// left says what uploads left below .plantdb.
func left(t *testing.T, tree string, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		entries, err := os.ReadDir(filepath.Join(tree, ".plantdb", dir))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, e := range entries {
			t.Errorf("left: %s/%s", dir, e.Name())
		}
	}
}
