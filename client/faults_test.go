package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/romi/plantdb-go/client"
	plantdbapi "github.com/romi/plantdb-go/openapi/clients/go"
)

// quick tries as often as the default, without the pauses.
var quick = client.Retry{Attempts: 5, Wait: time.Microsecond, Most: time.Second}

// faulty is a server that answers by fn, and a client of it.
func faulty(t *testing.T, fn http.HandlerFunc, options ...client.Option) (*client.Client, *httptest.Server) {
	t.Helper()
	s := httptest.NewServer(fn)
	t.Cleanup(s.Close)
	return stranger(t, s.URL, append([]client.Option{client.WithRetry(quick)}, options...)...), s
}

// stranger is a client of what is not our server.
func stranger(t *testing.T, url string, options ...client.Option) *client.Client {
	t.Helper()
	c, err := client.New(url, options...)
	if err != nil {
		t.Fatalf("New(%q) = %v", url, err)
	}
	return c
}

// says fails the test unless err is of the kind and its text has the words.
func says(t *testing.T, call string, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s = %v, want %v", call, err, kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s = %q, want it to say %q", call, err, w)
		}
	}
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"message":%q,"error":%q,"code":%q,"status":%d,"title":"","detail":""}`, message, message, code, status)
}

const healthy = `{"status":"healthy","message":"API is running correctly","database":{"location":"x","scan_count":1}}`

func answer(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, body)
}

func TestNewRefusesWhatIsNoURL(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "localhost:5000", "plants.example.org", "ftp://plants.example.org", "http://", "http://[::1"} {
		if _, err := client.New(address); err == nil || !strings.Contains(err.Error(), "http://") {
			t.Errorf("New(%q) = %v, want words on what a URL is", address, err)
		}
	}
}

func TestWrongPlaces(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := "http://" + listener.Addr().String()
	_ = listener.Close()
	_, err = stranger(t, gone, client.WithRetry(quick)).Health(ctx)
	says(t, "Health of nothing", err, client.ErrUnreachable, "GET /api/v1/health", "refused", "check the URL")
	_, err = stranger(t, "http://no-such-host.invalid", client.WithRetry(quick)).Health(ctx)
	says(t, "Health of no host", err, client.ErrUnreachable, "no-such-host.invalid", "check the URL")

	page, s := faulty(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>It works!</html>")
	})
	_, err = page.Health(ctx)
	says(t, "Health of a web page", err, client.ErrNotPlantDB, "not as a PlantDB", "check the URL")
	_, err = stranger(t, strings.Replace(s.URL, "http:", "https:", 1), client.WithRetry(quick)).Health(ctx)
	says(t, "Health by TLS of a server without", err, client.ErrNotPlantDB, "check the URL")

	empty, _ := faulty(t, http.NotFound)
	says(t, "Create at another server", empty.Create(ctx, client.Path{Scan: "x"}, nil), client.ErrNotPlantDB, "check the URL")
	other, _ := faulty(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, `["not", "health"]`) })
	_, err = other.Health(ctx)
	says(t, "Health of another API", err, client.ErrNotPlantDB)

	moved, _ := faulty(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://plants.example.org"+r.URL.Path, http.StatusMovedPermanently)
	})
	err = moved.Create(ctx, client.Path{Scan: "x"}, nil)
	says(t, "Create at a server that moved", err, client.ErrMoved, "https://plants.example.org/api/v1/scans/x", "use the URL")

	raw, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	go func() {
		for {
			conn, err := raw.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "220 mail.example.org ESMTP\r\n")
			_ = conn.Close()
		}
	}()
	_, err = stranger(t, "http://"+raw.Addr().String(), client.WithRetry(client.Retry{})).Health(ctx)
	says(t, "Health of a mail server", err, client.ErrNotPlantDB, "check the URL")
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status        int
		code, message string
		kind          error
		advice        string
	}{
		{507, "no_space", "The disk is full.", client.ErrNoSpace, "free space"},
		{413, "too_large", "Too large.", client.ErrTooLarge, "send less"},
		{412, "precondition_failed", "Changed.", client.ErrPrecondition, "read it again"},
		{403, "forbidden", "No.", client.ErrForbidden, "ask the owner"},
		{401, "token_revoked", "Token has been revoked", client.ErrTokenRevoked, "log in again, or make another API token"},
		{401, "token_expired", "Signature has expired", client.ErrTokenExpired, "log in again"},
		{401, "session_ended", "Session has ended", client.ErrSessionEnded, "log in again"},
		{503, "file_changed", "The file was replaced while it was read, try again.", client.ErrChanged, "start again"},
		// Upstream's Python server.
		{500, "", "Internal server error: User guest does not have required permissions to use create_scan", client.ErrForbidden, "ask the owner"},
		{500, "", "Error creating file: [Errno <fsdb object at 0x7f>] 00000_rgb", client.ErrConflict, ""},
		{500, "", "Error writing file: [Errno 28] No space left on device", client.ErrNoSpace, "free space"},
		{500, "", "Error retrieving metadata: Unknown scan id 'x' in database '/db'!", client.ErrNotFound, ""},
		{404, "", "Signature has expired", client.ErrTokenExpired, "log in again"},
	} {
		c, _ := faulty(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Request-Id", "call-1")
			refuse(w, tt.status, tt.code, tt.message)
		})
		err := c.SetMetadata(t.Context(), client.Path{Scan: "x"}, map[string]any{"a": 1})
		says(t, fmt.Sprintf("%d %s", tt.status, tt.code), err, tt.kind, tt.message, tt.advice, "POST /api/v1/scans/x/metadata")
		var e *client.Error
		if !errors.As(err, &e) || e.Status != tt.status || e.Code != tt.code || e.Message != tt.message || e.RequestID != "call-1" {
			t.Errorf("%d %s: error is %+v", tt.status, tt.code, e)
		}
	}
}

func TestTriesAgain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		status int
		call   func(context.Context, *client.Client) error
		sent   int32
		kind   error
	}{
		{"read, 503", 503, health, 6, client.ErrUnavailable},
		{"read, 429", 429, health, 6, client.ErrRateLimited},
		{"read, 500", 500, health, 1, nil},
		{"write, 503", 503, update, 1, client.ErrUnavailable},
		{"write, 423", 423, update, 6, client.ErrLocked},
		{"write, 429", 429, update, 6, client.ErrRateLimited},
		{"setting, 503", 503, setTags(plantdbapi.SetScanTagsParams{}), 6, nil},
		{"setting of a version, 503", 503, setTags(plantdbapi.SetScanTagsParams{IfMatch: new(`"v1"`)}), 1, nil},
		{"setting of a version, 423", 423, setTags(plantdbapi.SetScanTagsParams{IfMatch: new(`"v1"`)}), 6, nil},
		{"creation, 503", 503, create, 6, client.ErrUnavailable},
		{"upload of what can be read again, 503", 503, func(ctx context.Context, c *client.Client) error {
			return c.Upload(ctx, client.Path{Scan: "x", Fileset: "y", File: "z"}, "txt", strings.NewReader("text"), nil)
		}, 6, client.ErrUnavailable},
		{"upload of what cannot, 503", 503, func(ctx context.Context, c *client.Client) error {
			return c.Upload(ctx, client.Path{Scan: "x", Fileset: "y", File: "z"}, "txt", io.MultiReader(strings.NewReader("text")), nil)
		}, 1, client.ErrUnavailable},
	} {
		var sent atomic.Int32
		c, _ := faulty(t, func(w http.ResponseWriter, r *http.Request) {
			sent.Add(1)
			_, _ = io.Copy(io.Discard, r.Body)
			refuse(w, tt.status, "", "no")
		})
		err := tt.call(t.Context(), c)
		if err == nil || (tt.kind != nil && !errors.Is(err, tt.kind)) || sent.Load() != tt.sent {
			t.Errorf("%s: %v after %d calls, want %v after %d", tt.name, err, sent.Load(), tt.kind, tt.sent)
		}
	}
}

func health(ctx context.Context, c *client.Client) error { _, err := c.Health(ctx); return err }
func update(ctx context.Context, c *client.Client) error {
	return c.SetMetadata(ctx, client.Path{Scan: "x"}, map[string]any{"a": 1})
}
func setTags(params plantdbapi.SetScanTagsParams) func(context.Context, *client.Client) error {
	return func(ctx context.Context, c *client.Client) error {
		r, err := c.API().SetScanTagsWithResponse(ctx, "x", &params, plantdbapi.SetScanTagsJSONRequestBody{})
		if err == nil && r.StatusCode() >= http.StatusBadRequest {
			err = errors.New(r.Status())
		}
		return err
	}
}
func create(ctx context.Context, c *client.Client) error {
	return c.Create(ctx, client.Path{Scan: "x"}, map[string]any{"a": 1})
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	var sent atomic.Int32
	c, _ := faulty(t, func(w http.ResponseWriter, _ *http.Request) {
		if sent.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			refuse(w, 503, "unavailable", "away")
			return
		}
		answer(w, healthy)
	})
	began := time.Now()
	if err := health(t.Context(), c); err != nil || time.Since(began) < time.Second {
		t.Errorf("Health = %v after %s, want it after the second that was asked for", err, time.Since(began))
	}

	// More than the client waits, and more than its caller does.
	long, _ := faulty(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		refuse(w, 429, "rate_limited", "Rate limit exceeded.")
	}, client.WithRetry(client.DefaultRetry))
	err := health(t.Context(), long)
	var e *client.Error
	if !errors.As(err, &e) || e.RetryAfter < 59*time.Minute {
		t.Errorf("Health = %v, want it to fail at once and say for how long", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	slow, _ := faulty(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "900")
		refuse(w, 423, "locked", "Another writer holds the scan.")
	}, client.WithRetry(client.Retry{Attempts: 5, Wait: time.Millisecond, Most: time.Hour}))
	if err := update(ctx, slow); !errors.Is(err, client.ErrLocked) || ctx.Err() != nil {
		t.Errorf("SetMetadata = %v, want the refusal before the time is up", err)
	}
}

// TestLostAnswers cuts the connection after the server has done its work.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	var sent atomic.Int32
	c, _ := faulty(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if sent.Add(1) < 3 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusCreated)
	})
	if err := create(t.Context(), c); err != nil || sent.Load() != 3 {
		t.Errorf("Create = %v after %d calls, want success at the third", err, sent.Load())
	}
	sent.Store(0)
	if err := update(t.Context(), c); !errors.Is(err, client.ErrUnreachable) || sent.Load() != 1 {
		t.Errorf("SetMetadata = %v after %d calls, want one", err, sent.Load())
	}
}

func TestContext(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	c, _ := faulty(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	err := health(ctx, c)
	says(t, "Health", err, context.Canceled, "GET /api/v1/health")
	if errors.Is(err, client.ErrUnreachable) {
		t.Errorf("Health = %v, want no word on the server", err)
	}
}

// content is a file of a server that breaks connections.
type content struct {
	bytes []byte
	etag  atomic.Value
	cut   int // bytes after which each connection breaks
	asked atomic.Int32
}

func (f *content) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.asked.Add(1)
	w.Header().Set("ETag", f.etag.Load().(string))
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(&cutter{w, f.cut}, r, "", time.Time{}, bytes.NewReader(f.bytes))
}

// cutter breaks the connection after some bytes.
type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(b []byte) (int, error) {
	if c.left < len(b) {
		_, _ = c.ResponseWriter.Write(b[:c.left])
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(b)
	return c.ResponseWriter.Write(b)
}

var file = client.Path{Scan: "s", Fileset: "f", File: "x"}

func TestDownloadGoesOn(t *testing.T) {
	t.Parallel()
	f := &content{bytes: bytes.Repeat([]byte("0123456789abcdef"), 1<<16), cut: 300_000}
	f.etag.Store(`"one"`)
	c, _ := faulty(t, f.ServeHTTP)
	var got bytes.Buffer
	at, err := c.Download(t.Context(), file, &got)
	if err != nil || !bytes.Equal(got.Bytes(), f.bytes) || at.Bytes != int64(len(f.bytes)) || f.asked.Load() != 4 {
		t.Errorf("Download = %+v, %v, %d bytes by %d calls; want %d bytes by 4", at, err, got.Len(), f.asked.Load(), len(f.bytes))
	}
	// In two sittings.
	got.Reset()
	once := stranger(t, serving(t, f), client.WithRetry(client.Retry{}))
	at, err = once.Download(t.Context(), file, &got)
	if !errors.Is(err, client.ErrUnreachable) || at.Bytes != int64(got.Len()) || at.Bytes == 0 {
		t.Fatalf("Download = %+v, %v, want a part", at, err)
	}
	if at, err = c.ResumeDownload(t.Context(), file, &got, at); err != nil || !bytes.Equal(got.Bytes(), f.bytes) {
		t.Errorf("ResumeDownload = %+v, %v, %d bytes", at, err, got.Len())
	}
	if again, err := c.ResumeDownload(t.Context(), file, &got, at); err != nil || again != at || got.Len() != len(f.bytes) {
		t.Errorf("ResumeDownload of all = %+v, %v, want nothing more", again, err)
	}
	// A file that is replaced is never joined from two.
	got.Reset()
	if at, err = once.Download(t.Context(), file, &got); err == nil {
		t.Fatal("Download has not been cut")
	}
	f.etag.Store(`"two"`)
	_, err = c.ResumeDownload(t.Context(), file, &got, at)
	says(t, "ResumeDownload of another file", err, client.ErrChanged, "replaced on the server", "start again")
}

// serving serves f once more, for a client with other options.
func serving(t *testing.T, f *content) string {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL
}

func TestDownloadWithoutProgress(t *testing.T) {
	t.Parallel()
	f := &content{bytes: make([]byte, 1000), cut: 0}
	f.etag.Store(`"one"`)
	c, _ := faulty(t, f.ServeHTTP)
	if at, err := c.Download(t.Context(), file, io.Discard); !errors.Is(err, client.ErrUnreachable) || at.Bytes != 0 {
		t.Errorf("Download = %+v, %v, want an end of the patience", at, err)
	}
	name := filepath.Join(t.TempDir(), "x")
	if err := c.DownloadFile(t.Context(), file, name); err == nil {
		t.Error("DownloadFile = nil")
	}
	if left, _ := os.ReadDir(filepath.Dir(name)); len(left) != 0 {
		t.Errorf("DownloadFile left %v", left)
	}
	full := errors.New("disk full")
	f.cut = 1000
	if _, err := c.Download(t.Context(), file, failing{full}); !errors.Is(err, full) || errors.Is(err, client.ErrUnreachable) {
		t.Errorf("Download into a full disk = %v, want that error", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
func (f failing) Read([]byte) (int, error)  { return 0, f.err }

// TestUploadOfWhatChanges holds that the end of the form is never sent then.
func TestUploadOfWhatChanges(t *testing.T) {
	t.Parallel()
	var whole atomic.Int32
	started, changed := make(chan struct{}), make(chan struct{})
	c, _ := faulty(t, func(w http.ResponseWriter, r *http.Request) {
		first := make([]byte, 1)
		_, _ = io.ReadFull(r.Body, first)
		started <- struct{}{}
		<-changed // or all of it has been sent before
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			whole.Add(1)
		}
		w.WriteHeader(http.StatusCreated)
	})
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
		name := filepath.Join(t.TempDir(), "x.ply")
		if err := os.WriteFile(name, make([]byte, 32<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			<-started
			if err := change(name); err != nil {
				t.Error(err)
			}
			changed <- struct{}{}
		}()
		err = c.Upload(t.Context(), file, "ply", f, nil)
		says(t, "Upload", err, client.ErrChanged, how, "nothing was kept")
		_ = f.Close()
	}
	if n := whole.Load(); n != 0 {
		t.Errorf("%d forms arrived whole, want none", n)
	}
	broken := errors.New("sensor unplugged")
	c, _ = faulty(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	if err := c.Upload(t.Context(), file, "ply", io.MultiReader(strings.NewReader("x"), failing{broken}), nil); !errors.Is(err, broken) || errors.Is(err, client.ErrUnreachable) {
		t.Errorf("Upload of a broken source = %v, want that error", err)
	}
}

// TestUploadRefusedEarly sends a large file to a server that has no room: the
// answer arrives, whatever was sent of it.
func TestUploadRefusedEarly(t *testing.T) {
	t.Parallel()
	for _, r := range []io.Reader{bytes.NewReader(make([]byte, 64<<20)), io.LimitReader(zeros{}, 64<<20)} {
		read := make(chan struct{})
		c, _ := faulty(t, func(w http.ResponseWriter, _ *http.Request) {
			text := httptest.NewRecorder()
			refuse(text, 507, "no_space", "The disk is full.")
			w.Header().Set("Content-Length", strconv.Itoa(text.Body.Len())) // so that it is whole now
			refuse(w, 507, "no_space", "The disk is full.")
			_ = http.NewResponseController(w).Flush()
			<-read // afterwards the connection is cut, half a second later at most
		})
		says(t, "Upload", c.Upload(t.Context(), file, "ply", r, nil), client.ErrNoSpace, "nothing was kept")
		close(read)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestPathsThatNameNothing(t *testing.T) {
	t.Parallel()
	c, _ := faulty(t, func(http.ResponseWriter, *http.Request) { t.Error("something was sent") })
	for call, err := range map[string]error{
		"Create":   c.Create(t.Context(), client.Path{}, nil),
		"Delete":   c.Delete(t.Context(), client.Path{Scan: "x", File: "y"}),
		"Upload":   c.Upload(t.Context(), client.Path{Scan: "x", Fileset: "y"}, "txt", strings.NewReader("x"), nil),
		"Metadata": c.Metadata(t.Context(), client.Path{Fileset: "x"}, nil),
	} {
		says(t, call, err, client.ErrInvalid)
	}
}
