package main_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/servertest"
)

// TestHolderKilled kills one of two servers while it holds scans in the middle of
// writes, the tree changed and the rows not committed: what waits for these scans on
// the other server goes on and works, and of what nobody was told of there is all or
// nothing, the same on every server.
func TestHolderKilled(t *testing.T) {
	t.Parallel()
	url, dir := pgtest.URL(t), servertest.Dir(t)
	o := servertest.Options{Env: []string{"DATABASE_URL=" + url, "PLANTDB_LOCK_TIMEOUT=300"}}
	one := servertest.Start(t, o, dir, "--test", "--rate-limits", "off")
	two := servertest.Start(t, o, dir, "--test", "--rate-limits", "off")
	admin, _ := login(t, one, "admin", "admin")
	there := caller{two.URL, admin.token}
	writes := map[string]func(ctx context.Context, c *crasher){
		"upload": func(ctx context.Context, c *crasher) {
			c.put(ctx, sent{"/files/upload/images/mine", strings.Repeat("mine", 1000)}, c.try)
		},
		"metadata": func(ctx context.Context, c *crasher) {
			c.try(ctx, http.MethodPost, "/scans/metadata/metadata", jsonType, []byte(`{"metadata": {"mine": 1}}`))
		},
		"deletion": func(ctx context.Context, c *crasher) {
			c.try(ctx, http.MethodDelete, "/files/deletion/images/notes", "", nil)
		},
		"fileset": func(ctx context.Context, c *crasher) {
			c.try(ctx, http.MethodPost, "/filesets/fileset/mine", jsonType, []byte(`{}`))
		},
		"batch": func(ctx context.Context, c *crasher) {
			c.try(ctx, http.MethodPost, "/batch", "application/x-ndjson", []byte(
				`{"op":"metadata","scan":"batch","metadata":{"mine":1}}`+"\n"+`{"op":"visibility","scan":"batch","visibility":"private"}`+"\n"))
		},
	}
	for scan := range writes {
		admin.makeScan(t, scan, "notes of "+scan)
	}
	// No event can be written: so every write stops between the tree and its commit.
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }() // it ends with the database
	tx, err := conn.Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), "LOCK TABLE scan_events IN SHARE ROW EXCLUSIVE MODE")
	}
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for _, write := range writes {
		c := &crasher{base: one.URL, token: admin.token}
		group.Go(func() { write(t.Context(), c) })
	}
	locks := func(waiting bool) (scans []string) {
		held, _ := there.get(t, "/locks").Body["locks"].([]any)
		for _, l := range held {
			lock, _ := l.(map[string]any)
			name := fmt.Sprint(lock["scan"])
			if writes[name] != nil && lock["waiting"] == waiting && !slices.Contains(scans, name) && lock["holder"] == "server" {
				scans = append(scans, name)
			}
		}
		return scans
	}
	eventually(t, "one server holds all scans", func() string {
		if held := locks(false); len(held) < len(writes) {
			return fmt.Sprintf("%q are held", held)
		}
		return ""
	})
	var mu sync.Mutex
	answers := map[string]answer{}
	for scan := range writes {
		group.Go(func() {
			c := &crasher{base: two.URL, token: admin.token}
			a := c.put(t.Context(), sent{"/files/" + scan + "/images/other", "of the other server"}, c.try)
			mu.Lock()
			defer mu.Unlock()
			answers[scan] = a
		})
	}
	eventually(t, "the other server waits for all scans", func() string {
		if waits := locks(true); len(waits) < len(writes) {
			return fmt.Sprintf("%q are waited for", waits)
		}
		return ""
	})
	said := func(name string) bool {
		data, err := os.ReadFile(filepath.Join(dir, name))
		return err == nil && strings.Contains(string(data), "mine")
	}
	eventually(t, "the tree has all that is not committed", func() string {
		journals, err := filepath.Glob(filepath.Join(dir, ".plantdb/journal/*"))
		if err != nil {
			t.Fatal(err)
		}
		uploaded := slices.ContainsFunc(journals, func(name string) bool {
			rel, err := filepath.Rel(dir, name)
			return err == nil && said(rel)
		})
		_, deleted := os.Stat(filepath.Join(dir, "deletion/images/notes.txt"))
		_, made := os.Stat(filepath.Join(dir, "fileset/mine"))
		if changed, batch := said("metadata/metadata/metadata.json"), said("batch/metadata/metadata.json"); !uploaded || !changed || deleted == nil || made != nil || !batch {
			return fmt.Sprintf("uploaded %t, metadata %t, batch %t, deleted: %v, made: %v", uploaded, changed, batch, deleted, made)
		}
		return ""
	})
	one.Kill()
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	group.Wait()
	for scan, a := range answers {
		if a.Status != http.StatusCreated {
			t.Errorf("upload into %s, whose holder was killed = %d %s", scan, a.Status, a.Text)
		}
	}
	// Nobody has asked for anything but that upload: it is not built on half a batch.
	if said("batch/metadata/metadata.json") {
		t.Error("a write to a scan of a batch that was cut short has not undone it first")
	}

	three := servertest.Start(t, o, dir, "--test", "--rate-limits", "off")
	if a := there.get(t, "/refresh"); a.Status != http.StatusOK {
		t.Errorf("refresh = %d %s", a.Status, a.Text)
	}
	elsewhere := caller{three.URL, admin.token}
	for scan := range writes {
		for _, path := range []string{
			"/scans/" + scan, "/scans/" + scan + "/metadata", "/scans/" + scan + "/visibility", "/scans/" + scan + "/filesets",
			"/filesets/" + scan + "/images/files", "/files/" + scan + "/images/other", "/files/" + scan + "/images/mine", "/files/" + scan + "/images/notes",
		} {
			soon(t, "both servers say the same of "+path, func() string {
				return cmp.Diff(there.get(t, path).Text, strings.ReplaceAll(elsewhere.get(t, path).Text, three.URL, two.URL))
			})
		}
		if a := there.get(t, "/files/"+scan+"/images/other"); a.Text != "of the other server" {
			t.Errorf("what the other server was told of in %s = %d %s", scan, a.Status, a.Text)
		}
	}
	for path, may := range map[string][]string{
		"/files/upload/images/mine":    {strings.Repeat("mine", 1000)},
		"/files/deletion/images/notes": {"notes of deletion"},
	} {
		if a := there.get(t, path); a.Status != http.StatusNotFound && !slices.Contains(may, a.Text) {
			t.Errorf("%s, of which nobody was told = %d %.100s", path, a.Status, a.Text)
		}
	}
	// A batch is all or nothing, and this one was not committed.
	if a := there.get(t, "/scans/batch/visibility"); a.text("visibility") != "public" {
		t.Errorf("visibility that a batch was changing = %d %s", a.Status, a.Text)
	}
	if a := there.get(t, "/scans/batch/metadata"); strings.Contains(a.Text, "mine") {
		t.Errorf("metadata that a batch was changing = %d %s", a.Status, a.Text)
	}
	if got := servertest.Run(t, servertest.Options{Env: []string{"ROMI_DB=" + dir, "DATABASE_URL=" + url}}, "check", "--digests"); got.Code != 0 {
		t.Errorf("check afterwards finds\n%s%s", got.Stdout, got.Stderr)
	}
}
