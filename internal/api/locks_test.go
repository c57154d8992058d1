package api_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/api"
	"github.com/romi/plantdb-go/internal/fsdb"
)

func TestLocks(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{})
	token, _ := s.login("rita")
	wantProblem(t, "GET /locks without a token", s.do(http.MethodGet, "/api/v1/locks", ""), http.StatusUnauthorized, "token_missing")
	locks := func() []any {
		a := s.do(http.MethodGet, "/api/v1/locks", "", bearer(token))
		if a.status != http.StatusOK {
			t.Fatalf("GET /locks = %d %s", a.status, a.body)
		}
		return a.json(t)["locks"].([]any)
	}
	if got := locks(); len(got) != 0 {
		t.Errorf("locks = %v, want none", got)
	}
	// A program that has the tree open, as upstream's says it.
	tree, err := fsdb.Open(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tree.Close() }()
	held, err := tree.TryLock(false, "real_plant/images")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	info := `{"resource_id": "real_plant/images", "level": "fileset", "lock_type": "exclusive", "user": "pia", "timestamp": 1775734565.5, "pid": 4711}`
	if err := os.WriteFile(filepath.Join(s.dir, ".locks", "real_plant_images.info"), []byte(info), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []any{map[string]any{
		"scan": "real_plant", "level": "fileset", "part": "images", "type": "exclusive", "holder": "program", "user": "pia", "pid": 4711.0,
		"since": "2026-04-09T11:36:05.5Z", "waiting": false,
	}}
	got := locks()
	for _, l := range got {
		l := l.(map[string]any)
		l["since"] = fmt.Sprint(l["since"])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("locks (-want +got):\n%s", diff)
	}
	// Who writes waits for it, and is told to come again.
	admin, _ := s.login("admin")
	var waiting sync.WaitGroup
	for path, body := range map[string]string{
		"/api/v1/scans/real_plant/metadata": `{"metadata": {"a": 1}}`, "/api/v1/filesets/real_plant/images/metadata": `{"metadata": {"a": 1}}`,
		"/api/v1/filesets/real_plant/new": `{}`,
	} {
		waiting.Go(func() {
			a := s.do(http.MethodPost, path, body, bearer(admin), asJSON)
			wantProblem(t, "POST "+path+" while a program holds the fileset", a, http.StatusLocked, "locked")
			if wait, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || wait < 1 {
				t.Errorf("POST %s: Retry-After %q", path, a.header.Get("Retry-After"))
			}
		})
	}
	waiting.Wait()
	held.Release()
	if got := locks(); len(got) != 0 {
		t.Errorf("locks after the release = %v, want none", got)
	}
}

// A scan that changed outside cannot be read again while it is held: who asks for
// it is told to come again, by every way.
func TestRefreshOfHeldScan(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if err := db.New().LockNames(t.Context(), tx, db.LockNamesParams{Names: []string{"real_plant"}, Timeout: "10000", Holder: "another server"}); err != nil {
		t.Fatal(err)
	}
	metadata := filepath.Join(s.dir, "real_plant", "metadata", "metadata.json")
	if err := os.WriteFile(metadata, []byte(`{"changed": "outside"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var waiting sync.WaitGroup
	for _, path := range []string{"/api/v1/refresh", "/api/v1/refresh?scan_id=real_plant", "/refresh"} {
		waiting.Go(func() {
			wantProblem(t, "GET "+path, s.get(path), http.StatusLocked, "locked")
		})
	}
	waiting.Wait()
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a := s.get("/api/v1/refresh"); a.status != http.StatusOK {
		t.Errorf("GET /refresh once nobody holds it = %d %s", a.status, a.body)
	}
}
