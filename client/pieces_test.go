package client_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/romi/plantdb-go/client"
	"github.com/romi/plantdb-go/internal/servertest"
	plantdbapi "github.com/romi/plantdb-go/openapi/clients/go"
)

// patient tries on for as long as a line breaks, or a server is away.
var patient = client.Retry{Attempts: 100, Wait: 10 * time.Millisecond, Most: 2 * time.Second}

// line leads to a server and breaks: of each of the first connections it lets
// through some bytes either way. While there is no server it keeps who connects
// waiting.
type line struct {
	url  string
	next func() (there, back int64) // what a connection lasts; -1 for ever
	cut  func(*line)                // called for each that breaks, which stays open and silent until it returns

	mu     sync.Mutex
	aimed  *sync.Cond
	target string
}

func newLine(t *testing.T, target string, next func() (there, back int64), cut func(*line)) *line {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{url: "http://" + listener.Addr().String(), next: next, cut: cut, target: strings.TrimPrefix(target, "http://")}
	l.aimed = sync.NewCond(&l.mu)
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
	l.target = strings.TrimPrefix(target, "http://")
	l.aimed.Broadcast()
}

func (l *line) carry(conn net.Conn) {
	defer conn.Close()
	l.mu.Lock()
	for l.target == "" {
		l.aimed.Wait()
	}
	target := l.target
	there, back := l.next()
	l.mu.Unlock()
	server, err := new(net.Dialer).DialContext(context.Background(), "tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	ended := make(chan bool, 2)
	carry := func(to, from net.Conn, n int64) {
		if n < 0 {
			_, _ = io.Copy(to, from)
			ended <- false
			return
		}
		_, err := io.CopyN(to, from, n)
		ended <- err == nil
	}
	go carry(server, conn, there)
	go carry(conn, server, back)
	broken := <-ended
	if broken && l.cut != nil {
		l.cut(l)
	}
}

func lasting() (there, back int64) { return -1, -1 }

// noise is content of so many bytes, in memory and in a file.
func noise(t *testing.T, size int) (content []byte, name string) {
	t.Helper()
	content = make([]byte, size)
	_, _ = rand.Read(content)
	name = filepath.Join(t.TempDir(), "points.ply")
	must(t, "WriteFile", os.WriteFile(name, content, 0o600))
	return content, name
}

func open(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Open(name)
	must(t, "Open", err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// fileset makes a scan with a fileset, and returns the path of a file in it.
func fileset(t *testing.T, c *client.Client) client.Path {
	t.Helper()
	p := client.Path{Scan: "pieces_" + strings.ToLower(rand.Text()[:10])}
	must(t, "Create", c.Create(t.Context(), p, nil))
	p.Fileset = "cloud"
	must(t, "Create", c.Create(t.Context(), p, nil))
	p.File = "points"
	return p
}

func loggedIn(t *testing.T, url string, options ...client.Option) *client.Client {
	t.Helper()
	c := connect(t, url, options...)
	must(t, "Login", c.Login(t.Context(), "admin", "admin"))
	return c
}

func arrived(t *testing.T, c *client.Client, p client.Path, content []byte) {
	t.Helper()
	var got bytes.Buffer
	if _, err := c.Download(t.Context(), p, &got); err != nil || !bytes.Equal(got.Bytes(), content) {
		t.Errorf("Download(%s) = %d bytes, %v, want the %d that were sent", p, got.Len(), err, len(content))
	}
}

// absent fails the test if there is such a file.
func absent(t *testing.T, c *client.Client, p client.Path) {
	t.Helper()
	if _, err := c.Download(t.Context(), p, io.Discard); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("Download(%s) = %v, want ErrNotFound", p, err)
	}
}

// TestUploadsInPieces has access tokens that live for four seconds, and sessions
// that give way to none of another subtest.
func TestUploadsInPieces(t *testing.T) {
	t.Parallel()
	tree := servertest.Dir(t)
	s := servertest.Start(t, servertest.Options{Env: []string{"SESSION_TIMEOUT=4", "JWT_LEEWAY=0", "MAX_SESSION=100"}}, tree, "--test")
	t.Run("", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, string){
			"over a line that breaks":       lineBreaks,
			"longer than a token":           tokenExpires,
			"in another process":            goesOn,
			"of a file that changes":        fileChanges,
			"of a file that is another one": fileIsAnother,
			"damaged on the way":            damaged,
			"to a server that is busy":      serverIsBusy,
			"over a quota":                  overQuota,
			"refused":                       piecesRefused,
		} {
			t.Run(name, func(t *testing.T) { t.Parallel(); test(t, s.URL) })
		}
	})
	left, err := os.ReadDir(filepath.Join(tree, ".plantdb", "uploads"))
	if err != nil || len(left) > 0 {
		t.Errorf("left of the uploads: %v, %v", left, err)
	}
}

// lineBreaks cuts requests and answers at bytes that chance chooses.
func lineBreaks(t *testing.T, url string) {
	content, name := noise(t, 24<<20)
	var made, broken atomic.Int32
	l := newLine(t, url, func() (there, back int64) {
		switch n := made.Add(1); {
		case n > 30:
			return -1, -1
		case n%3 == 0:
			return -1, mathrand.Int64N(400) // the answer
		}
		return mathrand.Int64N(2 << 20), -1
	}, func(*line) { broken.Add(1) })
	c := loggedIn(t, url, client.WithRetry(patient))
	p := fileset(t, c)
	id, err := c.BeginUpload(t.Context(), p, "ply", int64(len(content)), map[string]any{"channel": "x"})
	must(t, "BeginUpload", err)
	cut := connect(t, l.url, client.WithRetry(patient), client.WithTokens(c.Tokens())) // which c uses no more
	var last client.UploadProgress
	must(t, "ResumeUpload", cut.ResumeUpload(t.Context(), id, open(t, name), client.InPieces(4<<20), client.OnProgress(func(at client.UploadProgress) {
		if at.Kept < last.Kept || at.Kept > at.Size || at.Size != int64(len(content)) {
			t.Errorf("progress went from %+v to %+v", last, at)
		}
		last = at
	})))
	if last.Kept != last.Size || broken.Load() < 10 {
		t.Errorf("the upload ended at %+v after %d breaks, want all and 10", last, broken.Load())
	}
	arrived(t, cut, p, content)
	var m struct{ Channel string }
	if err := cut.Metadata(t.Context(), p, &m); err != nil || m.Channel != "x" {
		t.Errorf("Metadata = %+v, %v", m, err)
	}
}

func tokenExpires(t *testing.T, url string) {
	content, name := noise(t, 3<<20)
	c := loggedIn(t, url)
	p := fileset(t, c)
	before := c.Tokens()
	var once sync.Once
	must(t, "UploadFile", c.UploadFile(t.Context(), p, name, nil, client.InPieces(1<<20), client.OnProgress(func(at client.UploadProgress) {
		if at.Kept > 0 {
			once.Do(func() { time.Sleep(4100 * time.Millisecond) }) // the life of an access token
		}
	})))
	if c.Tokens() == before {
		t.Error("the tokens have not been refreshed")
	}
	arrived(t, c, p, content)
}

// interrupted sends a part of an upload and returns its id.
func interrupted(t *testing.T, url string, p client.Path, name string, size int) string {
	t.Helper()
	c := loggedIn(t, url)
	id, err := c.BeginUpload(t.Context(), p, ".ply", int64(size), nil)
	must(t, "BeginUpload", err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err = c.ResumeUpload(ctx, id, open(t, name), client.InPieces(1<<20), client.OnProgress(func(at client.UploadProgress) {
		if at.Kept >= 2<<20 {
			cancel()
		}
	}))
	says(t, "ResumeUpload", err, context.Canceled, id)
	state, err := c.UploadState(t.Context(), id)
	if err != nil || state.Offset < 2<<20 || state.Finished || state.Length != int64(size) || state.Scan != p.Scan || state.File != p.File {
		t.Fatalf("UploadState = %+v, %v", state, err)
	}
	return id
}

// goesOn has nothing of the first process but the id.
func goesOn(t *testing.T, url string) {
	content, name := noise(t, 6<<20)
	c := loggedIn(t, url)
	p := fileset(t, c)
	id := interrupted(t, url, p, name, len(content))
	var first client.UploadProgress
	must(t, "ResumeUpload", c.ResumeUpload(t.Context(), id, bytes.NewReader(content), client.OnProgress(func(at client.UploadProgress) {
		if first.Kept == 0 {
			first = at
		}
	})))
	if first.Kept < 2<<20 {
		t.Errorf("the upload went on from %+v, want what was kept", first)
	}
	arrived(t, c, p, content)
	must(t, "ResumeUpload of a finished one", c.ResumeUpload(t.Context(), id, open(t, name)))
	content[5<<20]++
	err := c.ResumeUpload(t.Context(), id, bytes.NewReader(content))
	says(t, "ResumeUpload of a finished one, with another file", err, client.ErrChanged, "another file")

	guest := connect(t, url)
	must(t, "Login", guest.Login(t.Context(), "guest", "guest"))
	_, err = guest.UploadState(t.Context(), id)
	refused(t, "UploadState as somebody else", err, client.ErrNotFound, 404, "unknown_upload")
	must(t, "DropUpload", c.DropUpload(t.Context(), id))
	refused(t, "ResumeUpload of one that was dropped", c.ResumeUpload(t.Context(), id, open(t, name)), client.ErrNotFound, 404, "unknown_upload")
	says(t, "ResumeUpload", c.ResumeUpload(t.Context(), "../x", open(t, name)), client.ErrInvalid)
}

func fileChanges(t *testing.T, url string) {
	c := loggedIn(t, url)
	for how, change := range map[string]func(name string) error{
		"it was cut short": func(name string) error { return os.Truncate(name, 100) },
		"it grew": func(name string) error {
			f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("more")
			return errors.Join(err, f.Close())
		},
		"it was written": func(name string) error { return os.Chtimes(name, time.Time{}, time.Unix(1, 0)) },
	} {
		p := fileset(t, c)
		_, name := noise(t, 4<<20)
		done := false
		err := c.UploadFile(t.Context(), p, name, nil, client.InPieces(1<<20), client.OnProgress(func(at client.UploadProgress) {
			if at.Kept > 0 && !done {
				done = true
				must(t, "change the file", change(name))
			}
		}))
		says(t, "UploadFile", err, client.ErrChanged, how, "nothing was kept")
		absent(t, c, p)
	}
}

func fileIsAnother(t *testing.T, url string) {
	content, name := noise(t, 4<<20)
	c := loggedIn(t, url)
	p := fileset(t, c)
	id := interrupted(t, url, p, name, len(content))
	says(t, "ResumeUpload of a longer file", c.ResumeUpload(t.Context(), id, bytes.NewReader(append(content, 1))), client.ErrChanged, "4194304 bytes", "4194305")
	content[1000]++
	says(t, "ResumeUpload of another file", c.ResumeUpload(t.Context(), id, bytes.NewReader(content)), client.ErrChanged, "begun with another file", "start again")
	content[1000]--
	must(t, "ResumeUpload of the right one, after all", c.ResumeUpload(t.Context(), id, bytes.NewReader(content)))
	arrived(t, c, p, content)
}

// tampering changes requests before they go out; what it returns is answered in
// place of the server, if it is not nil.
type tampering struct {
	http.RoundTripper
	with func(*http.Request) *http.Response
}

func (f tampering) RoundTrip(r *http.Request) (*http.Response, error) {
	if resp := f.with(r); resp != nil {
		if r.Body != nil {
			_, _ = io.Copy(io.Discard, r.Body)
			_ = r.Body.Close()
		}
		resp.Request = r
		return resp, nil
	}
	return f.RoundTripper.RoundTrip(r)
}

func through(t *testing.T, url string, with func(*http.Request) *http.Response) client.Option {
	t.Helper()
	return client.WithHTTPClient(&http.Client{Transport: tampering{held(t, url), with}})
}

// flipped changes one byte.
type flipped struct{ io.ReadCloser }

func (f flipped) Read(b []byte) (int, error) {
	n, err := f.ReadCloser.Read(b)
	if n > 0 {
		b[0] ^= 1
	}
	return n, err
}

func damaged(t *testing.T, url string) {
	content, name := noise(t, 3<<20)
	var last atomic.Int32
	damage := func(in func(*http.Request) bool) client.Option {
		return through(t, url, func(r *http.Request) *http.Response {
			if r.Method == http.MethodPatch && in(r) {
				r.Body = flipped{r.Body}
			}
			return nil
		})
	}
	c := loggedIn(t, url, damage(func(r *http.Request) bool { return r.Header.Get("Upload-Offset") == "1048576" }))
	p := fileset(t, c)
	says(t, "UploadFile", c.UploadFile(t.Context(), p, name, nil, client.InPieces(1<<20)), client.ErrDamaged, "did not arrive as they were sent", "send it again")
	absent(t, c, p)
	// Of the last bytes nothing is taken, and they are sent again.
	c = loggedIn(t, url, client.WithRetry(quick), damage(func(r *http.Request) bool {
		return r.Header.Get("Upload-Checksum") != "" && last.Add(1) < 3
	}))
	must(t, "UploadFile", c.UploadFile(t.Context(), p, name, nil, client.InPieces(1<<20)))
	if last.Load() != 3 {
		t.Errorf("the last piece was sent %d times, want 3", last.Load())
	}
	arrived(t, c, p, content)
}

// serverIsBusy refuses some pieces, and loses some answers.
func serverIsBusy(t *testing.T, url string) {
	content, name := noise(t, 4<<20)
	var pieces atomic.Int32
	var asked atomic.Bool
	began := time.Now()
	c := loggedIn(t, url, client.WithRetry(client.Retry{Attempts: 2, Wait: time.Millisecond, Most: 2 * time.Second}), through(t, url, func(r *http.Request) *http.Response {
		if r.Method != http.MethodPatch {
			return nil
		}
		canned := func(status int, code string, more http.Header) *http.Response {
			h := http.Header{"Content-Type": {"application/json"}}
			maps.Copy(h, more)
			return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(`{"message":"no","error":"no","code":"` + code + `"}`))}
		}
		switch pieces.Add(1) {
		case 1, 6:
			return canned(503, "unavailable", nil)
		case 2:
			asked.Store(true)
			return canned(429, "rate_limited", http.Header{"Retry-After": {"1"}})
		case 4, 9:
			return canned(502, "", nil)
		case 7:
			return canned(500, "internal", nil)
		}
		return nil
	}))
	p := fileset(t, c)
	must(t, "UploadFile", c.UploadFile(t.Context(), p, name, nil, client.InPieces(1<<20)))
	if !asked.Load() || time.Since(began) < time.Second {
		t.Errorf("the upload was over after %s, want it to wait for the second that was asked for", time.Since(began))
	}
	arrived(t, c, p, content)

	// One that stays away is the end, after which nothing is left.
	gone := loggedIn(t, url, client.WithRetry(quick), through(t, url, func(r *http.Request) *http.Response {
		if r.Method != http.MethodPatch {
			return nil
		}
		return &http.Response{StatusCode: 503, Header: http.Header{}, Body: http.NoBody}
	}))
	p = fileset(t, c)
	says(t, "UploadFile", gone.UploadFile(t.Context(), p, name, nil, client.InPieces(1<<20)), client.ErrUnavailable, "try again later")
	absent(t, c, p)

	// The last answer is lost: the file is there.
	p = fileset(t, c)
	deafened := loggedIn(t, url, client.WithRetry(quick), client.WithHTTPClient(&http.Client{Transport: &deaf{RoundTripper: held(t, url)}}))
	id, err := c.BeginUpload(t.Context(), p, "ply", int64(len(content)), nil) // a second would lie there
	must(t, "BeginUpload", err)
	must(t, "ResumeUpload", deafened.ResumeUpload(t.Context(), id, open(t, name), client.InPieces(1<<20)))
	arrived(t, c, p, content)
}

func overQuota(t *testing.T, url string) {
	ctx := t.Context()
	_, name := noise(t, 2<<20)
	admin := loggedIn(t, url)
	user := "quota_" + strings.ToLower(rand.Text()[:6])
	made, err := admin.API().RegisterUserWithResponse(ctx, plantdbapi.Registration{
		Username: user, Fullname: "Q", Password: "a long passphrase 1", Role: new(plantdbapi.RegistrationRoleContributor),
	})
	if err != nil || made.StatusCode() != http.StatusCreated {
		t.Fatalf("RegisterUser = %d %s, %v", made.StatusCode(), made.Body, err)
	}
	c := connect(t, url)
	must(t, "Login", c.Login(ctx, user, "a long passphrase 1"))
	p := fileset(t, c)
	set, err := admin.API().SetUserQuotaWithResponse(ctx, user, plantdbapi.SetUserQuotaJSONRequestBody{MaxBytes: new(int64(1 << 20))})
	if err != nil || set.StatusCode() != http.StatusOK {
		t.Fatalf("SetUserQuota = %d %s, %v", set.StatusCode(), set.Body, err)
	}
	// Servers look once a second whether there are quotas.
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = c.UploadFile(ctx, p, name, nil, client.InPieces(1<<20)); err != nil {
			break
		}
		must(t, "Delete", c.Delete(ctx, p))
	}
	says(t, "UploadFile", err, client.ErrQuota, "do not fit", "empty the trash")
	if !errors.Is(err, client.ErrNoSpace) || !errors.Is(err, client.ErrTooLarge) {
		t.Errorf("UploadFile = %v, want ErrNoSpace and ErrTooLarge, too", err)
	}
	absent(t, c, p)
}

func piecesRefused(t *testing.T, url string) {
	ctx := t.Context()
	content, name := noise(t, 2<<20)
	c := loggedIn(t, url)
	p := fileset(t, c)
	must(t, "UploadFile", c.UploadFile(ctx, p, name, nil, client.InPieces(1<<20)))
	refused(t, "UploadFile again", c.UploadFile(ctx, p, name, nil, client.InPieces(1<<20)), client.ErrConflict, 409, "file_exists")
	other := p
	other.Fileset = "no_such"
	refused(t, "UploadFile", c.UploadFile(ctx, other, name, nil, client.InPieces(1<<20)), client.ErrNotFound, 404, "unknown_fileset")
	_, err := c.BeginUpload(ctx, p, "ply", 0, nil)
	says(t, "BeginUpload of nothing", err, client.ErrConflict)
	// Metadata that headers do not hold.
	p.File = "described"
	must(t, "UploadFile", c.UploadFile(ctx, p, name, map[string]any{"text": strings.Repeat("x", 10_000)}, client.InPieces(1<<20)))
	arrived(t, c, p, content)
	// And a server that is no more.
	gone := stranger(t, "http://127.0.0.1:1", client.WithRetry(client.Retry{}), client.WithToken("x"))
	says(t, "UploadFile", gone.UploadFile(ctx, p, name, nil, client.InPieces(1<<20)), client.ErrUnreachable, "check the URL")
}

// TestUploadUnderKill kills the server three times under one upload.
func TestUploadUnderKill(t *testing.T) {
	t.Parallel()
	tree := servertest.Dir(t)
	s := servertest.Start(t, servertest.Options{}, tree, "--test")
	content, name := noise(t, 32<<20)
	lasts := make(chan int64, 3)
	for range cap(lasts) {
		lasts <- 3<<20 + mathrand.Int64N(3<<20)
	}
	kills := make(chan chan struct{})
	l := newLine(t, s.URL, func() (there, back int64) {
		select {
		case n := <-lasts:
			return n, -1
		default:
			return lasting()
		}
	}, func(l *line) {
		l.aim("")
		dead := make(chan struct{})
		kills <- dead
		<-dead // the line stays up until the server is gone
	})
	c := loggedIn(t, s.URL)
	p := fileset(t, c)
	up := connect(t, l.url, client.WithTokens(c.Tokens()), client.WithRetry(patient))
	ended := make(chan error, 1)
	go func() { ended <- up.UploadFile(t.Context(), p, name, nil, client.InPieces(2<<20)) }()
	for n := 0; ; {
		select {
		case dead := <-kills:
			s.Kill()
			close(dead)
			n++
			s = servertest.Start(t, servertest.Options{}, tree, "--test")
			l.aim(s.URL)
		case err := <-ended:
			if err != nil || n != 3 {
				t.Errorf("UploadFile = %v after %d kills, want success after three", err, n)
			}
			arrived(t, connect(t, s.URL, client.WithTokens(up.Tokens()), client.WithRetry(patient)), p, content)
			return
		}
	}
}
