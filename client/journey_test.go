package client_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"image"
	"image/jpeg"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/client"
	"github.com/romi/plantdb-go/internal/contract"
	"github.com/romi/plantdb-go/internal/servertest"
	plantdbapi "github.com/romi/plantdb-go/openapi/clients/go"
)

// TestServer is what people do, on the built server.
func TestServer(t *testing.T) {
	t.Parallel()
	tree := servertest.Dir(t)
	// --test makes the users admin and guest, whose passwords are their names.
	// No session gives way to those of other subtests.
	plain := servertest.Start(t, servertest.Options{Env: []string{"MAX_SESSION=100"}}, tree, "--test", "--demo")
	short := servertest.Start(t, servertest.Options{
		Env: []string{"SESSION_TIMEOUT=4", "JWT_LEEWAY=0", "REFRESH_GRACE=0", "PLANTDB_API_PREFIX=/plantdb", "MAX_SESSION=100"},
	}, tree, "--test")
	t.Run("journey", func(t *testing.T) { t.Parallel(); journey(t, plain.URL) })
	t.Run("journey behind a prefix", func(t *testing.T) { t.Parallel(); journey(t, short.URL) })
	t.Run("one refresh", func(t *testing.T) { t.Parallel(); oneRefresh(t, short.URL, plain.URL) })
	t.Run("sessions end", func(t *testing.T) { t.Parallel(); sessionsEnd(t, plain.URL) })
	t.Run("large file", func(t *testing.T) { t.Parallel(); largeFile(t, plain.URL) })
	t.Run("examples", func(t *testing.T) { t.Parallel(); examples(t, plain.URL) })
}

// photo is a JPEG, each of other bytes.
func photo(t *testing.T) []byte {
	t.Helper()
	m := image.NewGray(image.Rect(0, 0, 400, 300))
	_, _ = rand.Read(m.Pix)
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// connect is a client of our server, each answer of which is held against the
// document. Those of the examples, which people make, are as New makes them.
func connect(t *testing.T, url string, options ...client.Option) *client.Client {
	t.Helper()
	return stranger(t, url, append([]client.Option{client.WithHTTPClient(&http.Client{Transport: held(t, url)})}, options...)...)
}

// held fails the test for each answer that is not as the document says. It has
// connections of its own, as each client has.
func held(t *testing.T, address string) *contract.Transport {
	t.Helper()
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	base := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(base.CloseIdleConnections)
	transport := contract.Held(t, base)
	transport.Prefix = at.Path
	return transport
}

func must(t *testing.T, call string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s = %v", call, err)
	}
}

// refused fails the test unless err is a typed refusal with all of these.
func refused(t *testing.T, call string, err, kind error, status int, code string) {
	t.Helper()
	var e *client.Error
	if !errors.As(err, &e) || !errors.Is(err, kind) || e.Status != status || e.Code != code || e.Message == "" || e.RequestID == "" {
		t.Errorf("%s = %v, want %d %s", call, err, status, code)
	}
}

func journey(t *testing.T, url string) {
	ctx := t.Context()
	var saved []client.Tokens
	c := connect(t, url, client.WithUserAgent("journey"), client.WithTokenFunc(func(tk client.Tokens) { saved = append(saved, tk) }))
	health, err := c.Health(ctx)
	if err != nil || health.Status != "healthy" {
		t.Fatalf("Health = %+v, %v", health, err)
	}
	scan := client.Path{Scan: "journey_" + strings.ToLower(rand.Text()[:8])}
	refused(t, "Create without a login", c.Create(ctx, scan, nil), client.ErrUnauthorized, 401, "token_missing")
	refused(t, "Login with a wrong password", c.Login(ctx, "admin", "wrong"), client.ErrUnauthorized, 401, "invalid_credentials")
	must(t, "Login", c.Login(ctx, "admin", "admin"))
	if p, err := c.Profile(ctx); err != nil || p.Username != "admin" {
		t.Errorf("Profile = %+v, %v", p, err)
	}

	// Create and upload.
	images := client.Path{Scan: scan.Scan, Fileset: "images"}
	picture := client.Path{Scan: scan.Scan, Fileset: "images", File: "00000_rgb"}
	content := photo(t)
	must(t, "Create scan", c.Create(ctx, scan, map[string]any{"object": map[string]any{"species": "Test plant", "DAG": 41}, "journey": scan.Scan}))
	refused(t, "Create again, with other metadata", c.Create(ctx, scan, map[string]any{"journey": "another"}), client.ErrConflict, 409, "scan_exists")
	must(t, "Create fileset", c.Create(ctx, images, map[string]any{"channels": []string{"rgb"}}))
	must(t, "Upload", c.Upload(ctx, picture, ".jpg", bytes.NewReader(content), map[string]any{"channel": "rgb", "shot_id": "00000"}))
	must(t, "Upload from a pipe", c.Upload(ctx, client.Path{Scan: scan.Scan, Fileset: "images", File: "00001_rgb"}, "jpg", io.MultiReader(bytes.NewReader(photo(t))), map[string]any{"channel": "rgb"}))

	// Lists, by filter and by pages.
	for name, q := range map[string]client.Query{
		"filter": {Filter: map[string]any{"journey": scan.Scan}},
		"fuzzy":  {Filter: map[string]any{"journey": scan.Scan[:12] + ".*"}, Fuzzy: true},
		"where":  {Where: `metadata.journey = "` + scan.Scan + `" and metadata.object.DAG >= 40`},
		"text":   {Text: scan.Scan},
	} {
		ids, err := collect(c.Scans(ctx, q))
		if err != nil || !slices.Equal(ids, []string{scan.Scan}) {
			t.Errorf("Scans by %s = %v, %v, want %s", name, ids, err, scan.Scan)
		}
	}
	all, err := collect(c.Scans(ctx, client.Query{}))
	must(t, "Scans", err)
	byOnes, err := collect(c.Scans(ctx, client.Query{PageSize: 1}))
	must(t, "Scans", err)
	for _, id := range all {
		// Others make scans meanwhile.
		if !strings.HasPrefix(id, "journey_") && !strings.HasPrefix(id, "example") && !strings.HasPrefix(id, "large") && !slices.Contains(byOnes, id) {
			t.Errorf("Scans by pages of one lack %s: %v", id, byOnes)
		}
	}
	infos, err := collect(c.ScanInfos(ctx, client.Query{Text: scan.Scan}))
	if err != nil || len(infos) != 1 || infos[0].ID != scan.Scan || infos[0].Metadata.NbPhotos != 2 {
		t.Errorf("ScanInfos = %+v, %v", infos, err)
	}
	if _, err := collect(c.Scans(ctx, client.Query{Where: "species ="})); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("Scans(bad where) = %v, want ErrInvalid", err)
	}
	if info, err := c.Scan(ctx, scan.Scan); err != nil || !slices.Equal(info.Images, []string{"00000_rgb.jpg", "00001_rgb.jpg"}) {
		t.Errorf("Scan = %+v, %v", info.Images, err)
	}
	if l, err := c.Filesets(ctx, scan.Scan); err != nil || !slices.Equal(l, []string{"images"}) {
		t.Errorf("Filesets = %v, %v", l, err)
	}
	if l, err := c.Files(ctx, scan.Scan, "images"); err != nil || !slices.Equal(l, []string{"00000_rgb", "00001_rgb"}) {
		t.Errorf("Files = %v, %v", l, err)
	}

	// Metadata, at each level.
	for _, p := range []client.Path{scan, images, picture} {
		must(t, "SetMetadata", c.SetMetadata(ctx, p, map[string]any{"quality": "good"}))
		var m struct{ Quality string }
		if err := c.Metadata(ctx, p, &m); err != nil || m.Quality != "good" {
			t.Errorf("Metadata(%s) = %+v, %v", p, m, err)
		}
	}

	// Bytes and previews, back.
	var got bytes.Buffer
	if _, err := c.Download(ctx, picture, &got); err != nil || !bytes.Equal(got.Bytes(), content) {
		t.Errorf("Download = %d bytes, %v, want the %d that were sent", got.Len(), err, len(content))
	}
	name := filepath.Join(t.TempDir(), "back.jpg")
	must(t, "DownloadFile", c.DownloadFile(ctx, picture, name))
	if back, err := os.ReadFile(name); err != nil || !bytes.Equal(back, content) {
		t.Errorf("DownloadFile wrote %d bytes, %v", len(back), err)
	}
	got.Reset()
	_, err = c.Image(ctx, picture, "thumb", &got)
	must(t, "Image", err)
	if size, _, err := image.DecodeConfig(&got); err != nil || size.Width != 150 {
		t.Errorf("Image = %+v, %v, want 150 pixels", size, err)
	}
	got.Reset()
	if _, err := c.Archive(ctx, scan.Scan, &got); err != nil || !bytes.HasPrefix(got.Bytes(), []byte("PK")) {
		t.Errorf("Archive = %d bytes, %v", got.Len(), err)
	}

	// Refresh.
	before := c.Tokens()
	must(t, "Refresh", c.Refresh(ctx))
	if after := c.Tokens(); after == before || after != saved[len(saved)-1] {
		t.Errorf("Refresh left %v, or did not have it saved", after == before)
	}

	// Refusals.
	guest := connect(t, url)
	must(t, "Login as guest", guest.Login(ctx, "guest", "guest"))
	refused(t, "Delete as guest", guest.Delete(ctx, scan), client.ErrForbidden, 403, "forbidden")
	_, err = c.Scan(ctx, "no_such_scan")
	refused(t, "Scan", err, client.ErrNotFound, 404, "unknown_scan")
	_, err = c.Download(ctx, client.Path{Scan: scan.Scan, Fileset: "images", File: "99999_rgb"}, io.Discard)
	refused(t, "Download", err, client.ErrNotFound, 404, "unknown_file")
	refused(t, "Upload of other bytes", c.Upload(ctx, picture, "jpg", bytes.NewReader(photo(t)), nil), client.ErrConflict, 409, "file_exists")

	// By the generated client, on the same session.
	entry, err := c.API().DeleteFileWithResponse(ctx, scan.Scan, "images", "00001_rgb", nil)
	if err != nil || entry.JSON200 == nil || entry.JSON200.Trash.Kind != plantdbapi.TrashEntryKindFile {
		t.Errorf("DeleteFileWithResponse = %+v, %v", entry, err)
	}
	must(t, "Delete", c.Delete(ctx, scan))

	must(t, "Logout", c.Logout(ctx))
	refused(t, "Create after the logout", c.Create(ctx, scan, nil), client.ErrUnauthorized, 401, "token_missing")
	if last := saved[len(saved)-1]; last != (client.Tokens{}) || c.Tokens() != last {
		t.Errorf("Logout left tokens")
	}
	old := connect(t, url, client.WithTokens(before))
	if err := old.Create(ctx, scan, nil); !errors.Is(err, client.ErrUnauthorized) || !errors.Is(err, client.ErrSessionEnded) {
		t.Errorf("Create with the tokens of the session that ended = %v, want ErrSessionEnded", err)
	}
}

func collect[T any](list func(func(T, error) bool)) ([]T, error) {
	var all []T
	for v, err := range list {
		if err != nil {
			return all, err
		}
		all = append(all, v)
	}
	return all, nil
}

// counting counts the refreshes that go out.
type counting struct {
	http.RoundTripper
	refreshes, calls atomic.Int32
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.calls.Add(1)
	if strings.HasSuffix(r.URL.Path, "/token/refresh") {
		c.refreshes.Add(1)
	}
	return c.RoundTripper.RoundTrip(r)
}

// shortLife is longer than an access token of the server for oneRefresh lives.
const shortLife = 4100 * time.Millisecond

// oneRefresh lets many goroutines work for longer than three access tokens
// live, on a server that ends a session whose refresh token is used twice. Those
// of the other server live as usual.
func oneRefresh(t *testing.T, url, other string) {
	ctx := t.Context()
	count := &counting{RoundTripper: held(t, url)}
	c := connect(t, url, client.WithHTTPClient(&http.Client{Transport: count}))
	must(t, "Login", c.Login(ctx, "admin", "admin"))
	var wg sync.WaitGroup
	began := time.Now()
	for range 20 {
		wg.Go(func() {
			for count.refreshes.Load() < 3 {
				if p, err := c.Profile(ctx); err != nil || p.Username != "admin" {
					t.Errorf("Profile = %+v, %v", p, err)
					return
				}
			}
		})
	}
	wg.Wait()
	// A token is good for three seconds at least, less a tenth of its life.
	if n, took := count.refreshes.Load(), time.Since(began); n > 1+int32(took/(2500*time.Millisecond)) {
		t.Errorf("%d refreshes in %s of tokens that live for four seconds, want one for each", n, took)
	}

	// A token that the server refuses although the clock says that it is
	// good: all who had it refused wait for one refresh.
	before := count.refreshes.Load()
	there := connect(t, other)
	must(t, "Login", there.Login(ctx, "admin", "admin"))
	mid := there.Tokens()
	must(t, "Refresh elsewhere", there.Refresh(ctx))
	handed := connect(t, other, client.WithHTTPClient(&http.Client{Transport: count}),
		client.WithTokens(client.Tokens{Access: mid.Access + "x", Refresh: there.Tokens().Refresh}))
	for range 20 {
		wg.Go(func() {
			if _, err := handed.Profile(ctx); err != nil {
				t.Errorf("Profile = %v", err)
			}
		})
	}
	wg.Wait()
	if n := count.refreshes.Load() - before; n != 1 {
		t.Errorf("%d refreshes for 20 calls with one bad token, want 1", n)
	}

	// An upload that cannot be sent twice goes out with a token that lives.
	time.Sleep(shortLife)
	scan := client.Path{Scan: "journey_pipe_" + strings.ToLower(rand.Text()[:8])}
	must(t, "Create", c.Create(ctx, scan, nil))
	scan.Fileset = "images"
	must(t, "Create", c.Create(ctx, scan, nil))
	time.Sleep(shortLife)
	scan.File = "a"
	must(t, "Upload from a pipe after the token's end", c.Upload(ctx, scan, "txt", io.MultiReader(strings.NewReader("text")), nil))

	// A caller that gives up takes nobody with it.
	time.Sleep(shortLife)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Profile(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("Profile = %v, want its own end", err)
	}
	if _, err := c.Profile(ctx); err != nil {
		t.Errorf("Profile after somebody else gave up = %v", err)
	}
}

// sessionsEnd takes tokens back in all the ways there are.
func sessionsEnd(t *testing.T, url string) {
	ctx := t.Context()
	admin := connect(t, url)
	must(t, "Login", admin.Login(ctx, "admin", "admin"))
	// Nobody else loses the sessions and tokens that are ended here.
	const user, password = "ends", "a long passphrase 1"
	registered, err := admin.API().RegisterUserWithResponse(ctx, plantdbapi.Registration{Username: user, Fullname: "E", Password: password, Role: new(plantdbapi.RegistrationRoleContributor)})
	if err != nil || registered.StatusCode() != http.StatusCreated {
		t.Fatalf("RegisterUser = %+v, %v", registered, err)
	}
	c := connect(t, url)
	must(t, "Login", c.Login(ctx, user, password))

	ended, err := admin.API().EndUserSessionsWithResponse(ctx, user)
	if err != nil || ended.JSON200 == nil {
		t.Fatalf("EndUserSessions = %+v, %v", ended, err)
	}
	for range 2 { // and it stays so
		_, err = c.Profile(ctx)
		says(t, "Profile in a session that was ended", err, client.ErrSessionEnded, "log in again")
	}
	if _, err := collect(c.Scans(ctx, client.Query{})); !errors.Is(err, client.ErrSessionEnded) {
		t.Errorf("Scans in a session that was ended = %v, want that and not what nobody may see", err)
	}
	must(t, "Login", c.Login(ctx, user, password))
	if _, err := c.Profile(ctx); err != nil {
		t.Errorf("Profile after another login = %v", err)
	}

	made, err := c.API().CreateAPITokenWithResponse(ctx, plantdbapi.CreateAPITokenJSONRequestBody{
		TokenExp: 3600, Datasets: map[string][]string{"*": {"READ"}},
	})
	if err != nil || made.JSON200 == nil {
		t.Fatalf("CreateAPIToken = %+v, %v", made, err)
	}
	scanner := connect(t, url, client.WithToken(made.JSON200.APIToken))
	if p, err := scanner.Profile(ctx); err != nil || p.Username != user {
		t.Fatalf("Profile by API token = %+v, %v", p, err)
	}
	refused(t, "Create by a token that may read", scanner.Create(ctx, client.Path{Scan: "journey_no"}, nil), client.ErrForbidden, 403, "forbidden")
	tokens, err := c.API().ListAPITokensWithResponse(ctx)
	if err != nil || tokens.JSON200 == nil {
		t.Fatalf("ListAPITokens = %+v, %v", tokens, err)
	}
	for _, one := range tokens.JSON200.APITokens {
		if _, err := c.API().RevokeAPITokenWithResponse(ctx, one.ID); err != nil {
			t.Fatal(err)
		}
	}
	_, err = scanner.Profile(ctx)
	says(t, "Profile by a token that was revoked", err, client.ErrTokenRevoked, "make another API token")

	brief, err := c.API().CreateAPITokenWithResponse(ctx, plantdbapi.CreateAPITokenJSONRequestBody{
		TokenExp: 1, Datasets: map[string][]string{"*": {"READ"}},
	})
	if err != nil || brief.JSON200 == nil {
		t.Fatalf("CreateAPIToken = %+v, %v", brief, err)
	}
	late := connect(t, url, client.WithToken(brief.JSON200.APIToken))
	for wait := time.Now().Add(2 * time.Minute); time.Now().Before(wait); time.Sleep(100 * time.Millisecond) {
		if _, err = late.Profile(ctx); err != nil {
			break
		}
	}
	says(t, "Profile by a token that has expired", err, client.ErrTokenExpired, "make another API token")
}

// largeFile goes both ways in pieces that do not fit into a buffer.
func largeFile(t *testing.T, url string) {
	ctx := t.Context()
	c := connect(t, url)
	must(t, "Login", c.Login(ctx, "admin", "admin"))
	p := client.Path{Scan: "large_" + strings.ToLower(rand.Text()[:8])}
	must(t, "Create", c.Create(ctx, p, nil))
	p.Fileset = "cloud"
	must(t, "Create", c.Create(ctx, p, nil))
	p.File = "points"
	content := make([]byte, 20<<20)
	_, _ = rand.Read(content)
	name := filepath.Join(t.TempDir(), "points.ply")
	must(t, "WriteFile", os.WriteFile(name, content, 0o600))
	must(t, "UploadFile", c.UploadFile(ctx, p, name, nil))
	refused(t, "UploadFile again", c.UploadFile(ctx, p, name, nil), client.ErrConflict, 409, "file_exists")
	lostAnswers(t, url, p, content)
	var got bytes.Buffer
	at, err := c.ResumeDownload(ctx, p, &got, client.Progress{})
	if err != nil || !bytes.Equal(got.Bytes(), content) {
		t.Fatalf("Download = %+v, %v", at, err)
	}
	got.Reset()
	if at, err = c.ResumeDownload(ctx, p, &got, client.Progress{Bytes: 1 << 20, ETag: at.ETag}); err != nil || !bytes.Equal(got.Bytes(), content[1<<20:]) {
		t.Errorf("ResumeDownload = %+v, %v, %d bytes", at, err, got.Len())
	}
	if _, err = c.ResumeDownload(ctx, p, io.Discard, client.Progress{Bytes: 1 << 20, ETag: `"another"`}); !errors.Is(err, client.ErrChanged) {
		t.Errorf("ResumeDownload of another version = %v, want ErrChanged", err)
	}
	if diff := cmp.Diff(client.Progress{Bytes: int64(len(content)), ETag: at.ETag}, at); diff != "" {
		t.Error(diff)
	}
}

// deaf loses the first answer to each call that writes.
type deaf struct {
	http.RoundTripper
	lost sync.Map
}

func (d *deaf) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := d.RoundTripper.RoundTrip(r)
	if _, before := d.lost.LoadOrStore(r.URL.Path, true); err != nil || before || strings.Contains(r.URL.Path, "/auth/") {
		return resp, err
	}
	_ = resp.Body.Close()
	return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
}

// lostAnswers repeats what was done already, and what was not: p has content.
func lostAnswers(t *testing.T, url string, p client.Path, content []byte) {
	t.Helper()
	ctx := t.Context()
	deafened := func() *client.Client {
		c := connect(t, url, client.WithRetry(quick), client.WithHTTPClient(&http.Client{Transport: &deaf{RoundTripper: held(t, url)}}))
		must(t, "Login", c.Login(ctx, "admin", "admin"))
		return c
	}
	c := deafened()
	scan := client.Path{Scan: p.Scan + "_2"}
	metadata := map[string]any{"a": 1, "b": []string{"c"}}
	must(t, "Create with its answer lost", c.Create(ctx, scan, metadata))
	fileset := client.Path{Scan: scan.Scan, Fileset: "f"}
	must(t, "Create with its answer lost", c.Create(ctx, fileset, nil))
	file := client.Path{Scan: scan.Scan, Fileset: "f", File: "g"}
	must(t, "Upload with its answer lost", c.Upload(ctx, file, "txt", strings.NewReader("text"), nil))

	// Whoever sends something else has a conflict, lost answers or not.
	refused(t, "Create", deafened().Create(ctx, scan, map[string]any{"a": 2}), client.ErrConflict, 409, "scan_exists")
	refused(t, "Upload", deafened().Upload(ctx, p, "ply", bytes.NewReader(content[1:]), nil), client.ErrConflict, 409, "file_exists")
}
