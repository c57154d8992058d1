package main_test

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
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
