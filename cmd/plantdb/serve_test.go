package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/servertest"
)

// TestServeAgain stops a server in order and starts it again: it finds all as
// it was, for root and for any other user.
func TestServeAgain(t *testing.T) {
	t.Parallel()
	for name, account := range servertest.Accounts(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, o := account.Dir(t), servertest.Options{Account: account}
			first := servertest.Start(t, o, dir, "--test")
			admin, tokens := login(t, first, "admin", "admin")
			admin.makeScan(t, "kept", "some notes")
			api := admin.must(t, http.StatusOK, "/auth/token/create-api-token",
				object{"token_exp": 3600, "datasets": object{"*": []string{"READ"}}}).text("api_token")
			first.Stop()
			if !strings.HasSuffix(first.Stderr(), "plantdb stopped\n") {
				t.Errorf("standard error after Ctrl-C ends with %q", first.Stderr())
			}
			if left := servertest.Standing(servertest.Database(dir)); left != nil {
				t.Errorf("PostgreSQL runs on as %v after Ctrl-C", left)
			}

			second := servertest.Start(t, o, dir, "--test")
			for what, token := range map[string]string{"access": tokens.access, "API": api} {
				c := caller{second.URL, token}
				if a := c.post(t, "/auth/token/validation", nil); a.Status != http.StatusOK {
					t.Errorf("%s token from before the restart = %d %s", what, a.Status, a.Text)
				}
				if a := c.get(t, "/files/kept/images/notes"); a.Text != "some notes" {
					t.Errorf("file from before the restart, by the %s token = %d %q", what, a.Status, a.Text)
				}
			}
			caller{base: second.URL}.must(t, http.StatusOK, "/auth/token/refresh", object{"refresh_token": tokens.refresh})
			if a := (caller{base: second.URL}).get(t, "/scans"); a.Text != "[\"kept\"]\n" {
				t.Errorf("scans after the restart = %s", a.Text)
			}
			second.Stop()
		})
	}
}

func TestBanner(t *testing.T) {
	t.Parallel()
	url, dir := pgtest.URL(t), servertest.Dir(t)
	s := servertest.Start(t, servertest.Options{Env: []string{"DATABASE_URL=" + url, "PLANTDB_ADMIN_PASSWORD=correct-horse"}}, dir, "--api-prefix", "/plantdb/")
	host := strings.TrimSuffix(s.URL, "/plantdb")
	want := fmt.Sprintf(`
PlantDB dev
  address     %[1]s/plantdb
  Swagger UI  %[1]s/plantdb/docs/
  tree        %[2]s
  database    the PostgreSQL of DATABASE_URL
  log in      with the accounts of this database; "plantdb user create NAME --admin --db-path %[2]s" makes another
              everybody may read public scans without logging in (PLANTDB_GUEST=off ends that)
  stop        Ctrl-C

`, host, dir)
	// The program runs in /, which the tree's path is told from.
	if diff := cmp.Diff(strings.ReplaceAll(want, dir, "."+dir), s.Stdout()); diff != "" {
		t.Errorf("banner (-want +got):\n%s", diff)
	}
	login(t, s, "admin", "correct-horse")
	if a := (caller{base: host}).get(t, "/health"); a.Status != http.StatusOK {
		t.Errorf("GET /health without the prefix = %d %s", a.Status, a.Text)
	}
}

func TestBannerOfFirstStart(t *testing.T) {
	t.Parallel()
	env := []string{"DATABASE_URL=" + pgtest.URL(t)}
	first := servertest.Start(t, servertest.Options{Env: env}, servertest.Dir(t), "--guest", "off")
	if !strings.Contains(first.Stdout(), "there is no administrator yet; make the first with \"plantdb user create NAME --admin --db-path ") {
		t.Errorf("banner of the first start does not say how to log in: %s", first.Stdout())
	}
	if strings.Contains(first.Stdout(), "everybody may read") {
		t.Errorf("banner without guest: %s", first.Stdout())
	}
	if a := (caller{base: first.URL}).get(t, "/scans"); a.Status != http.StatusUnauthorized {
		t.Errorf("GET /scans without guest = %d, want 401", a.Status)
	}
	test := servertest.Start(t, servertest.Options{Env: env}, servertest.Dir(t), "--test")
	if !strings.Contains(test.Stdout(), "TEST MODE: anybody can log in as admin/admin and guest/guest") {
		t.Errorf("banner of the test mode: %s", test.Stdout())
	}
}

// slowUpload is an upload of which the server waits for the rest.
type slowUpload struct {
	body *io.PipeWriter
	form *multipart.Writer
	part io.Writer
	done chan int // the status; closed without one when the upload failed
}

// beginUpload returns once the server reads the body of the upload: it has
// asked for it.
func (c caller) beginUpload(t *testing.T, path string) *slowUpload {
	t.Helper()
	reader, writer := io.Pipe()
	u := &slowUpload{body: writer, form: multipart.NewWriter(writer), done: make(chan int, 1)}
	t.Cleanup(func() { _ = writer.CloseWithError(context.Canceled) })
	asked := make(chan struct{})
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got100Continue: func() { close(asked) }})
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/api/v1"+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", u.form.FormDataContentType())
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Expect", "100-continue")
	go func() {
		defer close(u.done)
		response, err := (&http.Transport{ExpectContinueTimeout: patience}).RoundTrip(r)
		if err != nil {
			return
		}
		_ = response.Body.Close() // not read
		u.done <- response.StatusCode
	}()
	select {
	case <-asked:
	case status := <-u.done:
		t.Fatalf("upload was answered before its body was asked for: %d", status)
	}
	if u.part, err = u.form.CreateFormFile("file", "slow"); err != nil {
		t.Fatal(err)
	}
	return u
}

// finish sends the rest and returns the status.
func (u *slowUpload) finish(t *testing.T, content string) int {
	t.Helper()
	for _, err := range []error{
		func() error { _, err := io.WriteString(u.part, content); return err }(),
		u.form.WriteField("ext", "txt"), u.form.Close(), u.body.Close(),
	} {
		if err != nil {
			t.Fatalf("rest of the upload: %v", err)
		}
	}
	status, ok := <-u.done
	if !ok {
		t.Fatal("the upload got no answer")
	}
	return status
}

// refusesConnections waits until nobody listens any more.
func refusesConnections(t *testing.T, s *servertest.Server) {
	t.Helper()
	var d net.Dialer
	eventually(t, "server stops listening", func() string {
		c, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			return ""
		}
		_ = c.Close() // it was only to see
		return "open"
	})
}

func TestCtrlCFinishesRequests(t *testing.T) {
	t.Parallel()
	dir := servertest.Dir(t)
	s := servertest.Start(t, servertest.Options{}, dir, "--test")
	admin, _ := login(t, s, "admin", "admin")
	admin.makeScan(t, "kept", "some notes")
	upload := admin.beginUpload(t, "/files/kept/images/slow")
	s.Interrupt()
	refusesConnections(t, s)
	if status := upload.finish(t, "what came late"); status != http.StatusCreated {
		t.Errorf("upload that ran at Ctrl-C = %d, want 201", status)
	}
	if code := s.Wait(); code != 0 {
		t.Errorf("exit code after Ctrl-C = %d, want 0", code)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "kept", "images", "slow.txt")); string(got) != "what came late" {
		t.Errorf("file that was uploaded at Ctrl-C = %q, %v", got, err)
	}
	if left := servertest.Standing(servertest.Database(dir)); left != nil {
		t.Errorf("PostgreSQL runs on as %v", left)
	}
}

// TestCtrlCCutsOff ends a server whose client sends nothing more: nothing of its
// upload is left.
func TestCtrlCCutsOff(t *testing.T) {
	t.Parallel()
	dir := servertest.Dir(t)
	s := servertest.Start(t, servertest.Options{}, dir, "--test", "--stop-timeout", "1")
	admin, _ := login(t, s, "admin", "admin")
	admin.makeScan(t, "kept", "some notes")
	upload := admin.beginUpload(t, "/files/kept/images/slow")
	if _, err := io.WriteString(upload.part, "half of it"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server takes the bytes", func() string {
		if staged, err := filepath.Glob(filepath.Join(dir, ".plantdb", "staging", "*")); err != nil || len(staged) == 0 {
			return fmt.Sprint("nothing is staged ", err)
		}
		return ""
	})
	s.Interrupt()
	if code := s.Wait(); code != 0 {
		t.Errorf("exit code = %d, want 0", code)
	}
	_ = upload.body.CloseWithError(io.ErrUnexpectedEOF) // the transport waits for more of it
	if status, answered := <-upload.done; answered {
		t.Errorf("the upload that was cut off = %d", status)
	}
	if !strings.Contains(s.Stderr(), "requests that did not finish are cut off") {
		t.Errorf("the log does not say so: %s", s.Stderr())
	}
	for file := range treeOf(t, dir) {
		if strings.Contains(file, "slow") || strings.HasPrefix(file, ".plantdb") {
			t.Errorf("the upload that was cut off left %s", file)
		}
	}
}

func TestSecondCtrlCEndsAtOnce(t *testing.T) {
	t.Parallel()
	dir := servertest.Dir(t)
	s := servertest.Start(t, servertest.Options{}, dir, "--test")
	admin, _ := login(t, s, "admin", "admin")
	admin.makeScan(t, "kept", "some notes")
	admin.beginUpload(t, "/files/kept/images/slow")
	s.Interrupt()
	refusesConnections(t, s)
	s.Interrupt()
	if code := s.Wait(); code == 0 {
		t.Errorf("exit code after the second Ctrl-C = 0 although a request was cut off")
	}
	noDatabase(t, dir)
}

// TestStartsBesideDamagedBatch starts although a batch that was cut short cannot be
// undone, and something lies there that is none: all other scans are served.
func TestStartsBesideDamagedBatch(t *testing.T) {
	t.Parallel()
	dir := servertest.Dir(t)
	batch := filepath.Join(dir, ".plantdb", "batches", "018f0000-0000-7000-8000-000000000000")
	if err := os.MkdirAll(batch, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{filepath.Join(batch, "part.json"), filepath.Join(batch, "..", "notes.txt")} {
		if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := servertest.Start(t, servertest.Options{}, dir, "--test")
	admin, _ := login(t, s, "admin", "admin")
	admin.makeScan(t, "kept", "some notes")
	if !strings.Contains(s.Stderr(), "a batch that was cut short cannot be undone") {
		t.Errorf("the log does not say so: %s", s.Stderr())
	}
}

func TestKill9(t *testing.T) {
	t.Parallel()
	for name, account := range servertest.Accounts(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, o := account.Dir(t), servertest.Options{Account: account}
			first := servertest.Start(t, o, dir, "--test")
			admin, _ := login(t, first, "admin", "admin")
			admin.makeScan(t, "kept", "some notes")
			cut := admin.beginUpload(t, "/files/kept/images/cut")
			if _, err := io.WriteString(cut.part, "half of it"); err != nil {
				t.Fatal(err)
			}
			first.Kill()
			// At once: what is left of the killed one may still be there.
			second := servertest.Start(t, o, dir, "--test")
			admin.base = second.URL
			if a := admin.get(t, "/files/kept/images/notes"); a.Text != "some notes" {
				t.Errorf("file after kill -9 = %d %q", a.Status, a.Text)
			}
			if a := admin.get(t, "/files/kept/images/cut"); a.Status != http.StatusNotFound {
				t.Errorf("file that kill -9 cut = %d %q, want 404", a.Status, a.Text)
			}
			if a := admin.upload(t, "/files/kept/images/cut", "all of it"); a.Status != http.StatusCreated {
				t.Errorf("upload again after kill -9 = %d %s", a.Status, a.Text)
			}
			second.Kill()
			noDatabase(t, dir)
		})
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	other, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }() // the test is over then
	_, port, _ := net.SplitHostPort(other.Addr().String())
	dir := servertest.Dir(t)
	got := servertest.Run(t, servertest.Options{}, "serve", "--demo", "--db-path", dir, "--port", port)
	want := servertest.Result{Code: 1, Stderr: "plantdb: another program listens on 127.0.0.1:" + port +
		": stop it, or give another port with --port or PLANTDB_PORT\n"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("serve on a taken port (-want +got):\n%s", diff)
	}
	if made, err := os.ReadDir(dir); len(made) > 0 || err != nil {
		t.Errorf("tree of a server that did not start = %v, %v, want nothing", made, err)
	}
}

// TestTwoServers has two servers on one tree: what one does the other knows,
// and when the one that brought PostgreSQL leaves, the other goes on.
func TestTwoServers(t *testing.T) {
	t.Parallel()
	dir := servertest.Dir(t)
	one := servertest.Start(t, servertest.Options{}, dir, "--test")
	two := servertest.Start(t, servertest.Options{}, dir, "--test")
	if !strings.Contains(two.Stdout(), "a private PostgreSQL, started by another plantdb on this tree") {
		t.Errorf("banner of the second server: %s", two.Stdout())
	}
	admin, tokens := login(t, one, "admin", "admin")
	admin.makeScan(t, "shared", "by way of one")
	there := caller{two.URL, admin.token}
	if a := there.get(t, "/files/shared/images/notes"); a.Text != "by way of one" {
		t.Errorf("file of the other server = %d %q", a.Status, a.Text)
	}
	if a := there.upload(t, "/files/shared/images/more", "by way of two"); a.Status != http.StatusCreated {
		t.Errorf("upload by the other server = %d %s", a.Status, a.Text)
	}
	if a := admin.get(t, "/filesets/shared/images/files"); a.Text != "{\"files\":[\"notes\",\"more\"]}\n" {
		t.Errorf("files = %s", a.Text)
	}

	admin.must(t, http.StatusOK, "/auth/logout", nil)
	eventually(t, "logout reaches the other server", func() string {
		if a := there.get(t, "/scans"); a.Status != http.StatusUnauthorized {
			return fmt.Sprint(a.Status)
		}
		return ""
	})
	if a := (caller{base: two.URL}).post(t, "/auth/token/refresh", object{"refresh_token": tokens.refresh}); a.Status != http.StatusUnauthorized {
		t.Errorf("refresh by the other server after the logout = %d %s", a.Status, a.Text)
	}

	admin, _ = login(t, two, "admin", "admin")
	one.Stop()
	eventually(t, "the other server takes PostgreSQL over", func() string {
		a := admin.get(t, "/scans")
		if a.Status == http.StatusOK {
			return ""
		}
		if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			t.Errorf("GET /scans without PostgreSQL = %d %s, want 503 with Retry-After", a.Status, a.Text)
		}
		return a.Text
	})
	admin.makeScan(t, "after", "still here")
	two.Stop()
	noDatabase(t, dir)
}

// TestReady asks what a container or an init system asks.
func TestReady(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, servertest.Options{Env: []string{"DATABASE_URL=" + pgtest.URL(t)}}, servertest.Dir(t))
	eventually(t, "server is ready", func() string {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/ready", nil)
		if err != nil {
			t.Fatal(err)
		}
		if a := do(t, r); a.Status != http.StatusOK {
			return a.Text
		}
		return ""
	})
	got := servertest.Run(t, servertest.Options{}, "health", "--url", s.URL)
	if want := (servertest.Result{Stdout: "{\"status\":\"ready\"}\n"}); got != want {
		t.Errorf("health = %+v, want %+v", got, want)
	}
	s.Stop()
	got = servertest.Run(t, servertest.Options{}, "health", "--url", s.URL)
	if got.Code != 1 || !strings.HasPrefix(got.Stderr, "plantdb: no server answers at "+s.URL) {
		t.Errorf("health of a stopped server = %+v", got)
	}
}

// TestLogLines holds that each line of the log is a JSON object where no
// terminal reads it.
func TestLogLines(t *testing.T) {
	t.Parallel()
	dir := servertest.Dir(t)
	s := servertest.Start(t, servertest.Options{Env: []string{"DATABASE_URL=" + pgtest.URL(t)}}, dir, "--test", "--log-level", "debug")
	login(t, s, "admin", "admin")
	s.Stop()
	log := strings.TrimSuffix(s.Stderr(), "plantdb stopped\n")
	requests, keys := 0, 0
	for line := range strings.Lines(log) {
		var entry struct{ Msg, Path, User, File string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("line of the log is no JSON: %s", line)
		}
		if entry.Msg == "request" && entry.Path == "/api/v1/auth/login" && entry.User == "admin" {
			requests++
		}
		if strings.HasPrefix(entry.Msg, "JWT_SECRET_KEY is not set") && entry.File == ".plantdb/jwt.key" {
			keys++
		}
	}
	if requests != 1 {
		t.Errorf("log has %d lines of the login, want 1: %s", requests, log)
	}
	if keys != 1 {
		t.Errorf("log has %d lines of the key that the tree has made, want 1: %s", keys, log)
	}
	text, err := os.ReadFile(filepath.Join(dir, ".plantdb", "jwt.key"))
	if key := strings.TrimSpace(string(text)); err != nil || len(key) < 64 || strings.Contains(log, key) {
		t.Errorf("the key of the tree has %d bytes, %v, and stands in the log: %v", len(key), err, strings.Contains(log, key))
	}
}
