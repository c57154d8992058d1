package scan

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fsdb"
	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/internal/postgres"
)

// files are paths below a tree's root and what they hold; a path that ends in
// a slash is a directory.
type files map[string]string

func (f files) write(t testing.TB, root string) {
	t.Helper()
	for name, content := range f {
		full := filepath.Join(root, name)
		dir := filepath.Dir(full)
		if strings.HasSuffix(name, "/") {
			dir = full
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if dir == full {
			continue
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// plainScan is a scan at a path with two images and that metadata.
func plainScan(dir, metadata string) files {
	return files{
		dir + "/files.json": `{"filesets": [{"id": "images", "files": [
			{"id": "00000_rgb", "file": "00000_rgb.jpg"}, {"id": "00001_rgb", "file": "00001_rgb.jpg"}]}]}`,
		dir + "/metadata/metadata.json":         metadata,
		dir + "/metadata/images.json":           `{"channels": ["rgb"]}`,
		dir + "/metadata/images/00000_rgb.json": `{"channel": "rgb", "shot_id": "000000"}`,
		dir + "/metadata/images/00001_rgb.json": `{"channel": "depth", "shot_id": "000001"}`,
		dir + "/images/00000_rgb.jpg":           "first image",
		dir + "/images/00001_rgb.jpg":           "second",
	}
}

// fixture is a service on a tree and a database of its own.
type fixture struct {
	*Service
	dir string
	log *syncBuffer
}

// syncBuffer is a buffer that may be written to and read at once.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// groupList is the accounts' side of sharing.
type groupList []string

func (g groupList) MissingGroups(ctx context.Context, tx db.DBTX, names []string) ([]string, error) {
	if _, err := tx.Exec(ctx, "SELECT"); err != nil { // as the accounts do
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(g, n) }), nil
}

func (groupList) Owner(ctx context.Context, tx db.DBTX, username string) (string, bool, error) {
	if _, err := tx.Exec(ctx, "SELECT"); err != nil {
		return "", false, err
	}
	name := strings.ToLower(username)
	return name, slices.Contains([]string{"ann", "bob", "lars", "rita"}, name), nil
}

func (groupList) RecordAccess(context.Context, db.DBTX, string, string) error { return nil }

// newFixture returns a service whose tree holds content; nothing is indexed.
func newFixture(t testing.TB, content ...files) fixture {
	t.Helper()
	return fixtureOn(t, pgtest.New(t), t.TempDir(), content...)
}

func fixtureOn(t testing.TB, pool postgres.DB, dir string, content ...files) fixture {
	t.Helper()
	for _, f := range content {
		f.write(t, dir)
	}
	tree, err := fsdb.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	})
	log, config := new(syncBuffer), DefaultConfig()
	config.LockTimeout = 2 * time.Minute // for those who wait at last get it
	s := New(pool, tree, groupList{"lab", "farm"}, config, slog.New(slog.NewTextHandler(log, nil)))
	return fixture{s, dir, log}
}

// indexed is newFixture with the tree in the index.
func indexed(t testing.TB, content ...files) fixture {
	t.Helper()
	f := newFixture(t, content...)
	f.reconcile(t)
	return f
}

func (f fixture) reconcile(t testing.TB) Reconciled {
	t.Helper()
	done, err := f.Reconcile(t.Context())
	if err != nil {
		t.Fatalf("Reconcile() = %v", err)
	}
	return done
}

// The people of the tests.
var (
	ann    = actor.Actor{Username: "ann", Fullname: "Ann Other", Roles: []actor.Role{actor.Contributor}}
	bob    = actor.Actor{Username: "bob", Fullname: "Bob", Roles: []actor.Role{actor.Contributor}}
	rita   = actor.Actor{Username: "rita", Fullname: "Rita Reader", Roles: []actor.Role{actor.Reader}}
	lars   = actor.Actor{Username: "lars", Fullname: "Lars Lab", Roles: []actor.Role{actor.Reader}, Groups: []string{"lab"}}
	admin  = actor.Actor{Username: "admin", Fullname: "PlantDB Admin", Roles: []actor.Role{actor.Admin}}
	guest  = actor.Actor{Username: "guest", Fullname: "Guest", Roles: []actor.Role{actor.Reader}, Guest: true}
	nobody = actor.Actor{}
)

// scoped is a with an API token for these permissions on the names of a glob.
func scoped(a actor.Actor, glob string, p ...actor.Permission) actor.Actor {
	a.Scope = &actor.Scope{Grants: []actor.Grant{{Glob: glob, Permissions: p}}}
	return a
}

func as(t testing.TB, a actor.Actor) context.Context { return actor.NewContext(t.Context(), a) }

// must fails the test for an error and hands the value on.
func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// upload takes a file into a fileset, begin to end.
func upload(ctx context.Context, s *Service, scan, fileset, file, ext, content, metadata string) error {
	up, err := s.BeginUpload(ctx, scan, fileset, file)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer up.Discard()
	if err := up.Stage(ctx, strings.NewReader(content)); err != nil {
		return fmt.Errorf("stage: %w", err)
	}
	return up.Commit(ctx, ext, json.RawMessage(metadata))
}

// allInfos returns the whole of a list of infos.
func allInfos(ctx context.Context, s *Service, q Query) (all []json.RawMessage, err error) {
	list, err := s.Infos(ctx, q)
	if err != nil {
		return nil, err
	}
	return restOf(ctx, list)
}

// restOf returns what is left of a list of infos.
func restOf(ctx context.Context, list *InfoList) (all []json.RawMessage, err error) {
	for {
		infos, err := list.Next(ctx)
		if err != nil || len(infos) == 0 {
			return all, err
		}
		all = append(all, infos...)
	}
}

// infoPage is a page with its infos.
func infoPage(ctx context.Context, s *Service, q Query) (Page, []json.RawMessage, error) {
	page, list, err := s.InfoPage(ctx, q)
	if err != nil {
		return page, nil, err
	}
	infos, err := restOf(ctx, list)
	return page, infos, err
}

// decode returns a JSON object as a map.
func decode(t testing.TB, raw json.RawMessage) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return v
}

// read returns a file of the tree.
func (f fixture) read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
