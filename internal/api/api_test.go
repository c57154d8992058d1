package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/api"
	"github.com/romi/plantdb-go/internal/auth"
	"github.com/romi/plantdb-go/internal/contract"
	"github.com/romi/plantdb-go/internal/demo"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/jobs"
	"github.com/romi/plantdb-go/internal/observe"
	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/preview"
	"github.com/romi/plantdb-go/internal/scan"
	"github.com/romi/plantdb-go/internal/webhook"
	"github.com/romi/plantdb-go/tokenauth"
)

// site is the whole surface over a real database and a real tree.
type site struct {
	t        *testing.T
	url      string
	keys     *tokenauth.Keyring
	dir      string
	pool     *pgxpool.Pool
	accounts *auth.Service
	handler  http.Handler
}

// madeOnce is where the samples are that tests copy.
var madeOnce string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "plantdb-api-*")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		madeOnce = dir
		return m.Run()
	}())
}

// smallSamples makes the samples of newSite, which takes seconds, for the
// first test that asks.
var smallSamples = sync.OnceValues(func() (dir string, err error) {
	return madeOnce, demo.Write(context.Background(), madeOnce, demo.Options{Scans: []string{"real_plant", "growth_series"}, Width: 160, Height: 120})
})

// newSite serves the small sample scans real_plant and virtual_plant with the
// users admin, carol (contributor), rita (reader), all with the password
// "correct horse", and guest.
func newSite(t *testing.T, config api.Config) *site {
	t.Helper()
	samples, err := smallSamples()
	if err != nil {
		t.Fatalf("make samples = %v", err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(samples)); err != nil {
		t.Fatalf("copy samples = %v", err)
	}
	return newSiteOn(t, dir, config)
}

// newAccounts is newSite without scans, and with other settings for accounts.
func newAccounts(t *testing.T, config api.Config, change ...func(*auth.Config)) *site {
	t.Helper()
	return newSiteOn(t, t.TempDir(), config, change...)
}

func newSiteOn(t *testing.T, dir string, config api.Config, change ...func(*auth.Config)) *site {
	t.Helper()
	return newSiteWith(t, pgtest.New(t), dir, config, change...)
}

func newSiteWith(t *testing.T, pool *pgxpool.Pool, dir string, config api.Config, change ...func(*auth.Config)) *site {
	t.Helper()
	tree, err := fsdb.Create(dir)
	if err != nil {
		t.Fatalf("fsdb.Create = %v", err)
	}
	t.Cleanup(func() { _ = tree.Close() })
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	key, err := tokenauth.NewHMACKey(bytes.Repeat([]byte{7}, 64))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := tokenauth.NewKeyring(key)
	if err != nil {
		t.Fatal(err)
	}
	settings := auth.Default()
	settings.Hash = auth.HashParams{Memory: 64, Time: 1, Threads: 1}
	for _, fn := range change {
		fn(&settings)
	}
	accounts := auth.New(pool, keys, settings, log)
	ctx := actor.NewContext(t.Context(), actor.System())
	if _, err := accounts.Bootstrap(ctx, auth.FirstStart{AdminPassword: password}); err != nil {
		t.Fatalf("Bootstrap = %v", err)
	}
	for name, role := range map[string]actor.Role{"carol": actor.Contributor, "rita": actor.Reader} {
		if _, err := accounts.Register(ctx, auth.NewUser{Username: name, Fullname: "Test " + name, Password: password, Roles: []actor.Role{role}}); err != nil {
			t.Fatalf("Register(%s) = %v", name, err)
		}
	}
	if err := accounts.Load(ctx); err != nil {
		t.Fatalf("Load = %v", err)
	}
	keepFresh(t, accounts)
	limits := scan.DefaultConfig()
	limits.LockTimeout = 10 * time.Second // a busy machine may need it
	scans := scan.New(pool, tree, accounts, limits, log)
	scans.ListenOn(pool)
	if _, err := scans.Reconcile(ctx); err != nil {
		t.Fatalf("Reconcile = %v", err)
	}
	feed(t, scans)
	previews, err := preview.Open(filepath.Join(dir, ".plantdb", "cache"), preview.Options{Log: log})
	if err != nil {
		t.Fatalf("preview.Open = %v", err)
	}
	t.Cleanup(func() { _ = previews.Close() })
	archives := scan.NewArchives(scans)
	t.Cleanup(archives.Close)
	config.Location, config.Version = dir, "test"
	config.UsernameCheck = true
	handler := api.New(api.Services{
		Auth: accounts, Scans: scans, Webhooks: hooks(t, pool, dir, scans, accounts, log), Archives: archives, Previews: previews, Verifier: accounts.Verifier(),
		Metrics: observe.NewMetrics(pool), Ready: pool.Ping, Log: log,
	}, config)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &site{t, server.URL, keys, dir, pool, accounts, handler}
}

// keepFresh runs what a server runs: after some seconds without it, no token
// would be taken for good.
func keepFresh(t *testing.T, accounts *auth.Service) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- accounts.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

// feed runs what a server runs for those who follow events.
func feed(t *testing.T, scans *scan.Service) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- scans.FeedEvents(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("FeedEvents = %v", err)
		}
	})
}

// hooks are webhooks whose receivers are on this machine.
func hooks(t *testing.T, pool *pgxpool.Pool, dir string, scans *scan.Service, accounts *auth.Service, log *slog.Logger) *webhook.Service {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() }) // only read
	sealer, err := webhook.OpenSealer(root)
	if err != nil {
		t.Fatal(err)
	}
	queue, err := jobs.New(pool, log)
	if err != nil {
		t.Fatal(err)
	}
	return webhook.New(webhook.Parts{Pool: pool, Outbox: scans, Audit: accounts, Queue: queue, Sealer: sealer, Log: log},
		webhook.Config{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
}

const password = "correct horse battery"

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("answer %d %q is no JSON object: %v", a.status, a.body, err)
	}
	return v
}

type header struct{ name, value string }

func bearer(token string) header { return header{"Authorization", "Bearer " + token} }

var asJSON = header{"Content-Type", "application/json"}

func (s *site) do(method, path, body string, headers ...header) answer {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range headers {
		r.Header.Add(h.name, h.value)
	}
	client := &http.Client{
		Transport:     held(s.t),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(r)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("%s %s: read answer: %v", method, path, err)
	}
	return answer{resp.StatusCode, resp.Header, content}
}

// contracts are the documents that answers are held against: that of the API,
// and that of the older paths.
var contracts = sync.OnceValues(func() (*contract.Documents, error) {
	byName := map[string][]byte{}
	for _, d := range documents() {
		byName[d.Name] = d.Content
	}
	return contract.Load(contract.RestOfPath, byName["openapi.json"], byName["openapi-legacy.json"])
})

// held fails the test for every answer that is not as the document says.
func held(t *testing.T) http.RoundTripper {
	t.Helper()
	documents, err := contracts()
	if err != nil {
		t.Fatal(err)
	}
	return &contract.Transport{Base: http.DefaultTransport, Documents: documents, Report: func(err error) { t.Error(err) }}
}

// login returns the tokens of a new session.
func (s *site) login(username string) (access, refresh string) {
	s.t.Helper()
	a := s.do(http.MethodPost, "/api/v1/auth/login", `{"username":"`+username+`","password":"`+password+`"}`, asJSON)
	if a.status != http.StatusOK {
		s.t.Fatalf("login(%s) = %d %s", username, a.status, a.body)
	}
	v := a.json(s.t)
	return v["access_token"].(string), v["refresh_token"].(string)
}

// upload posts a multipart form.
func (s *site) upload(path, token string, content []byte, fields map[string]string) answer {
	s.t.Helper()
	body, contentType := form(s.t, content, fields)
	return s.do(http.MethodPost, path, body, bearer(token), header{"Content-Type", contentType})
}

// wantProblem checks status, code and that every error has its text three times.
func wantProblem(t *testing.T, what string, a answer, status int, code string) {
	t.Helper()
	v := a.json(t)
	if a.status != status || v["code"] != code {
		t.Errorf("%s = %d %s, want %d with code %q", what, a.status, a.body, status, code)
	}
	if v["message"] == "" || v["message"] != v["error"] || !strings.HasPrefix(fmt.Sprint(v["detail"]), fmt.Sprint(v["message"])) || v["status"] != float64(a.status) {
		t.Errorf("%s: message, error, detail or status disagree: %s", what, a.body)
	}
	if ct := a.header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("%s: Content-Type = %q, want application/json", what, ct)
	}
}

func staged(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	entries, err := os.ReadDir(filepath.Join(dir, ".plantdb", "staging"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
