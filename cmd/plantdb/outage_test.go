package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/internal/servertest"
)

// startDatabase starts a PostgreSQL for this test alone; in the same directory
// it comes back at the same URL.
func startDatabase(t *testing.T, dir string) *postgres.Private {
	t.Helper()
	p, err := postgres.StartPrivate(t.Context(), postgres.PrivateOptions{Dir: dir, Download: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(context.Background()); err != nil {
			t.Errorf("stop PostgreSQL: %v", err)
		}
	})
	return p
}

// TestDatabaseAway takes PostgreSQL away from a running server: every call
// that needs it is 503, no token is let in unchecked, nothing half-written
// remains, and all works again once it is back.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	home := servertest.Dir(t)
	database := startDatabase(t, filepath.Join(home, "postgres"))
	b := benchIn(t, servertest.Dir(t), database.URL())
	before := treeOf(t, b.dir)
	if err := database.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}

	admin, nobody := b.callers["admin"], b.callers["none"]
	for name, call := range map[string]func(t *testing.T) answer{
		"health":            func(t *testing.T) answer { return nobody.get(t, "/health") },
		"scans":             func(t *testing.T) answer { return nobody.get(t, "/scans") },
		"scans of a user":   func(t *testing.T) answer { return admin.get(t, "/scans") },
		"info":              func(t *testing.T) answer { return admin.get(t, "/scans/kept") },
		"file":              func(t *testing.T) answer { return admin.get(t, "/files/kept/images/notes") },
		"image":             func(t *testing.T) answer { return nobody.get(t, "/assets/image/kept/images/photo") },
		"refresh of a scan": func(t *testing.T) answer { return nobody.get(t, "/refresh?scan_id=kept") },
		"create a scan":     func(t *testing.T) answer { return admin.post(t, "/scans/new", object{}) },
		"create a fileset":  func(t *testing.T) answer { return admin.post(t, "/filesets/kept/new", object{}) },
		"metadata": func(t *testing.T) answer {
			return admin.post(t, "/scans/kept/metadata", object{"metadata": object{"a": 1}})
		},
		"upload":    func(t *testing.T) answer { return admin.upload(t, "/files/kept/images/new", "bytes") },
		"timelapse": func(t *testing.T) answer { return admin.post(t, "/timelapses", object{"id": "new"}) },
		"login": func(t *testing.T) answer {
			return nobody.post(t, "/auth/login", object{"username": "admin", "password": "admin"})
		},
		"token refresh": func(t *testing.T) answer {
			return nobody.post(t, "/auth/token/refresh", object{"refresh_token": b.tokens.refresh})
		},
		"logout": func(t *testing.T) answer { return admin.post(t, "/auth/logout", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			a := call(t)
			checkProblem(t, a, http.StatusServiceUnavailable, a.text("code"))
			if strings.Contains(a.Text, "postgres") || strings.Contains(a.Text, home) {
				t.Errorf("answer tells of the inside: %s", a.Text)
			}
		})
	}
	if a := nobody.get(t, "/"); a.Status != http.StatusOK {
		t.Errorf("GET / without PostgreSQL = %d %s", a.Status, a.Text)
	}
	if diff := cmp.Diff(before, treeOf(t, b.dir)); diff != "" {
		t.Errorf("calls without PostgreSQL changed the tree (-before +after):\n%s", diff)
	}

	startDatabase(t, filepath.Join(home, "postgres"))
	eventually(t, "the server works again", func() string {
		if a := admin.get(t, "/scans"); a.Text != "[\"kept\"]\n" {
			return a.Text
		}
		return ""
	})
	if a := admin.upload(t, "/files/kept/images/new", "bytes"); a.Status != http.StatusCreated {
		t.Errorf("upload once PostgreSQL is back = %d %s", a.Status, a.Text)
	}
}

// TestDatabaseKilled kills PostgreSQL, whole or one process of it, under two
// servers that live. Without a restart they do again what they did: write, tell
// each other who is logged out, tell followers and receivers of webhooks, and
// do jobs.
func TestDatabaseKilled(t *testing.T) {
	t.Parallel()
	dir := servertest.Dir(t)
	o := servertest.Options{Env: []string{"WEBHOOK_NETWORKS=127.0.0.0/8"}}
	one := servertest.Start(t, o, dir, "--test", "--rate-limits", "off")
	two := servertest.Start(t, o, dir, "--test", "--rate-limits", "off")
	admin, _ := login(t, one, "admin", "admin")
	there := caller{two.URL, admin.token}
	admin.makeScan(t, "kept", "notes")
	received := receiver(t, admin)
	follower := follow(t, there)
	for i, how := range []func(*testing.T, string){killDatabase, killBackend, killDatabase} {
		how(t, dir)
		name := fmt.Sprintf("scan%d", i)
		for path, c := range map[string]caller{"/scans/" + name: admin, "/filesets/kept/" + name: there} {
			again(t, "POST "+path+" after a kill", func() answer { return c.post(t, path, object{}) })
		}
		again(t, "upload of a photo", func() answer {
			contentType, body := form(t, photo(t, i), "ext", "png")
			return there.send(t, http.MethodPost, "/files/kept/images/"+name, contentType, body)
		})
		soon(t, "the receiver is told", func() string {
			if got := received(); !slices.Contains(got, name) {
				return fmt.Sprint(got)
			}
			return ""
		})
		before, _ := login(t, one, "admin", "admin")
		before.must(t, http.StatusOK, "/auth/logout", nil)
		soon(t, "the other server knows of the logout", func() string {
			if a := (caller{two.URL, before.token}).get(t, "/auth/sessions"); a.Status != http.StatusUnauthorized {
				return a.Text
			}
			return ""
		})
		follower.compare(t, "after a kill", admin)
		soon(t, "previews are made ahead", func() string {
			if n := previewsIn(t, dir); n < 2*(i+1) { // a small one and a large one each
				return fmt.Sprintf("%d previews", n)
			}
			return ""
		})
	}
	if got := servertest.Run(t, servertest.Options{Env: []string{"ROMI_DB=" + dir}}, "check", "--digests"); got.Code != 0 {
		t.Errorf("check = %s%s", got.Stdout, got.Stderr)
	}
}

// again makes a call that may come too early until it has worked. It may only be
// told to come again: what a call has made whose commit was lost, and the servers
// have found in the tree since, is no conflict for it.
func again(t *testing.T, what string, call func() answer) {
	t.Helper()
	soon(t, what, func() string {
		a := call()
		switch {
		case a.Status == http.StatusCreated:
			return ""
		case a.Status == http.StatusServiceUnavailable && a.Header.Get("Retry-After") != "" && a.text("code") != "":
			return a.Text
		}
		t.Fatalf("%s = %d, which is neither 201 nor a 503 with Retry-After: %s", what, a.Status, a.Text)
		return ""
	})
}

// receiver has a webhook tell of scans that were created, and returns which it
// was told of.
func receiver(t *testing.T, admin caller) func() []string {
	t.Helper()
	var mu sync.Mutex
	var scans []string
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var m struct{ Data struct{ Scan string } }
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Errorf("message: %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		scans = append(scans, m.Data.Scan)
	}))
	t.Cleanup(s.Close)
	admin.must(t, http.StatusCreated, "/webhooks", object{"url": s.URL, "kinds": []string{"scan.created"}})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(scans)
	}
}

// photo is one of many pictures, of which there are two previews each.
func photo(t *testing.T, i int) string {
	t.Helper()
	var b strings.Builder
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 640+i, 480))); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// previewsIn counts the previews of a tree.
func previewsIn(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, ".plantdb", "cache", "previews"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && filepath.Base(path)[0] != '.' {
			n++
		}
		return nil // what goes meanwhile
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
