package client_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/romi/plantdb-go/client"
	"github.com/romi/plantdb-go/internal/pyenv"
	"github.com/romi/plantdb-go/internal/servertest"
)

// loser is a proxy that loses the first answer to each POST: the server has done its
// work and says so, and the connection of the client ends.
type loser struct {
	url     string
	mu      sync.Mutex
	answers map[string][]int // by path, what the server said
}

var errLose = errors.New("lose the answer")

func newLoser(t *testing.T, target string) *loser {
	t.Helper()
	to, err := url.Parse(target)
	must(t, "Parse", err)
	l := &loser{answers: map[string][]int{}}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ModifyResponse: func(resp *http.Response) error {
			if resp.Request.Method != http.MethodPost {
				return nil
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			path := resp.Request.URL.Path
			l.answers[path] = append(l.answers[path], resp.StatusCode)
			if len(l.answers[path]) == 1 && !strings.Contains(path, "/auth/") {
				return errLose
			}
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) {
			if !errors.Is(err, errLose) {
				t.Errorf("proxy: %v", err)
			}
			panic(http.ErrAbortHandler)
		},
	}
	s := httptest.NewServer(proxy)
	t.Cleanup(s.Close)
	l.url = s.URL
	return l
}

// said fails the test unless the server gave these answers to POST of a path.
func (l *loser) said(t *testing.T, path string, want ...int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if got := l.answers[path]; !slices.Equal(got, want) {
		t.Errorf("POST %s was answered %v, want %v", path, got, want)
	}
}

// TestUploadWhoseAnswerIsLost loses the answer to what the server has written and
// committed: who sends it again learns that it is there, and whether it is his.
func TestUploadWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{}, servertest.Dir(t), "--test", "--rate-limits", "off")
	for name, test := range map[string]func(*testing.T, string){
		"Go client": lostByClient, "Go client, of what is another's": lostConflict, "Go client, from a pipe": lostPipe,
		"raw": lostRaw, "Python client": lostByPython,
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t, s.URL) })
	}
}

// get returns what a URL holds for who has the tokens.
func get(t *testing.T, url string, tokens client.Tokens) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	must(t, "NewRequest", err)
	r.Header.Set("Authorization", "Bearer "+tokens.Access)
	resp, err := http.DefaultClient.Do(r)
	must(t, "GET "+url, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("GET %s = %d %s, %v", url, resp.StatusCode, text, err)
	}
	return string(text)
}

// madeOnce fails the test unless one file was made in the scan of p.
func madeOnce(t *testing.T, target string, c *client.Client, p client.Path) {
	t.Helper()
	history := get(t, target+"/api/v1/scans/"+p.Scan+"/history", c.Tokens())
	if n := strings.Count(history, `"file.created"`); n != 1 {
		t.Errorf("%d files were made, want one: %s", n, history)
	}
}

func lostByClient(t *testing.T, target string) {
	direct := loggedIn(t, target)
	l := newLoser(t, target)
	c := connect(t, l.url, client.WithTokens(direct.Tokens()), client.WithRetry(quick))
	p := fileset(t, c) // both creations lose their answer, too
	l.said(t, "/api/v1/scans/"+p.Scan, 201, 409)
	l.said(t, "/api/v1/filesets/"+p.Scan+"/cloud", 201, 409)
	content := photo(t)
	must(t, "Upload", c.Upload(t.Context(), p, "jpg", bytes.NewReader(content), map[string]any{"channel": "rgb"}))
	l.said(t, "/api/v1/files/"+p.Scan+"/cloud/points", 201, 409)
	arrived(t, c, p, content)
	madeOnce(t, target, direct, p)
	// And without an answer that is lost the same is a conflict.
	refused(t, "Upload again", c.Upload(t.Context(), p, "jpg", bytes.NewReader(content), nil), client.ErrConflict, 409, "file_exists")
}

// The answer that is lost is a refusal: the file is another's.
func lostConflict(t *testing.T, target string) {
	direct := loggedIn(t, target)
	p := fileset(t, direct)
	theirs := photo(t)
	must(t, "Upload", direct.Upload(t.Context(), p, "jpg", bytes.NewReader(theirs), nil))
	l := newLoser(t, target)
	c := connect(t, l.url, client.WithTokens(direct.Tokens()), client.WithRetry(quick))
	refused(t, "Upload", c.Upload(t.Context(), p, "jpg", bytes.NewReader(photo(t)), nil), client.ErrConflict, 409, "file_exists")
	l.said(t, "/api/v1/files/"+p.Scan+"/cloud/points", 409, 409)
	arrived(t, direct, p, theirs)
}

// What cannot be read twice is not sent twice: the error says that the answer may have
// been lost.
func lostPipe(t *testing.T, target string) {
	direct := loggedIn(t, target)
	p := fileset(t, direct)
	l := newLoser(t, target)
	c := connect(t, l.url, client.WithTokens(direct.Tokens()), client.WithRetry(quick))
	content := photo(t)
	err := c.Upload(t.Context(), p, "jpg", io.MultiReader(bytes.NewReader(content)), nil)
	says(t, "Upload", err, client.ErrUnreachable)
	l.said(t, "/api/v1/files/"+p.Scan+"/cloud/points", 201)
	arrived(t, direct, p, content)
}

// The raw form takes the place of what lies there: sent again, it is as if it had been
// sent once.
func lostRaw(t *testing.T, target string) {
	direct := loggedIn(t, target)
	p := fileset(t, direct)
	l := newLoser(t, target)
	send := func() (status int, err error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, l.url+"/files/"+p.Scan, strings.NewReader("some notes"))
		must(t, "NewRequest", err)
		r.Header.Set("Authorization", "Bearer "+direct.Tokens().Access)
		r.Header.Set("Content-Disposition", "attachment")
		r.Header.Set("X-File-Path", "notes.txt")
		r.GetBody = nil // nobody sends it again but this test
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	if status, err := send(); err == nil {
		t.Fatalf("the answer was not lost: %d", status)
	}
	if status, err := send(); err != nil || status != http.StatusCreated {
		t.Errorf("sent again = %d, %v, want 201", status, err)
	}
	l.said(t, "/files/"+p.Scan, 201, 201)
	if got := get(t, target+"/files/"+p.Scan+"/notes.txt", direct.Tokens()); got != "some notes" {
		t.Errorf("notes.txt = %q", got)
	}
}

// retryScript uploads, loses the answer, sends the file again and proves by its digest
// that it is what lies there.
const retryScript = `
import hashlib, io, sys
import requests
from plantdb.client.plantdb_client import PlantDBClient
url, scan, content = sys.argv[1], sys.argv[2], sys.stdin.buffer.read()
client = PlantDBClient(url, prefix="")
assert client.login("admin", "admin")
def send(data):
    client.create_file(io.BytesIO(data), "points", "jpg", scan, "cloud", metadata={"channel": "rgb"})
try:
    send(content)
    sys.exit("the answer was not lost")
except requests.exceptions.ConnectionError:
    pass
try:
    send(content)
    sys.exit("the second one was taken")
except requests.exceptions.RequestException as e: # which has the message alone
    assert str(e) == f"File id 'points' already exists in scan/fileset '{scan}/cloud'!", e
there = requests.head(f"{url}/api/v1/files/{scan}/cloud/points", headers={"Authorization": "Bearer " + client._access_token})
same = lambda data: there.headers["ETag"] == '"' + hashlib.sha256(data).hexdigest() + '"'
assert same(content) and not same(content + b"x"), there.headers
`

func lostByPython(t *testing.T, target string) {
	python := pyenv.Python(t, "plantdb-client==0.17.0", "plantdb-commons==0.17.0", "pybase64==1.4.1", "networkx==3.2.1")
	direct := loggedIn(t, target)
	p := fileset(t, direct)
	l := newLoser(t, target)
	content := photo(t)
	script := exec.CommandContext(t.Context(), python, "-c", retryScript, l.url, p.Scan)
	script.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "PYTHONDONTWRITEBYTECODE=1", "NO_PROXY=*"}
	script.Stdin = bytes.NewReader(content)
	if said, err := script.CombinedOutput(); err != nil {
		t.Errorf("the script = %v\n%s", err, said)
	}
	l.said(t, "/api/v1/files/"+p.Scan+"/cloud/points", 201, 409)
	arrived(t, direct, p, content)
	madeOnce(t, target, direct, p)
}
