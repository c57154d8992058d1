package auth

import (
	"context"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/actor"
)

// owned puts a scan of an owner, shared with a group, into the index.
func (w *world) owned(t *testing.T, name, owner, group string) {
	t.Helper()
	_, err := w.pool.Exec(t.Context(), `INSERT INTO scans (id, name, owner, sharing, visibility, document, metadata, changed_at, signature)
		VALUES ($1, $2, nullif($3, ''), array_remove(ARRAY[$4], ''), 'private', '{}', '{}', now(), '')`, newID(), name, owner, group)
	if err != nil {
		t.Fatalf("insert scan %s: %v", name, err)
	}
}

// An import brings users after their scans, and takes those who were there
// before for the same; but not who was deleted here.
func TestImportOfTheDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	ctx := system(t.Context())
	w.owned(t, "of alice", "alice", "lab")
	w.owned(t, "of bob", "bob", "team")
	register(t, s, "bob") // nobody of that name was deleted
	if _, err := s.CreateGroup(ctx, NewGroup{Name: "team"}); err != nil {
		t.Fatalf("CreateGroup(team) = %v", err)
	}
	wantErr(t, "DeleteUser", s.DeleteUser(ctx, "bob"), nil)
	wantErr(t, "DeleteGroup", s.DeleteGroup(ctx, "team"), nil)
	users := []byte(`[{"username":"alice","roles":["reader"]},{"username":"bob","roles":["reader"]}]`)
	groups := []byte(`{"lab":{"users":["alice"]},"team":{"users":["alice"]}}`)
	r, err := s.ImportUpstream(ctx, users, groups, false)
	if err != nil || r.UsersAdded != 1 || r.UsersKept != 0 || r.GroupsAdded != 1 || r.GroupsKept != 0 {
		t.Fatalf("ImportUpstream = %+v, %v, want alice and lab alone", r, err)
	}
	remarks := strings.Join(r.Remarks, "\n")
	for _, want := range []string{`user "bob": The user 'bob' was deleted, and 1 scan still name them`, `group "team": The group 'team' was deleted, and 1 scan still`} {
		if !strings.Contains(remarks, want) {
			t.Errorf("remarks lack %s:\n%s", want, remarks)
		}
	}
	_, err = s.User(ctx, "bob")
	wantErr(t, "User(bob)", err, ErrUserUnknown)
	if _, err = w.pool.Exec(t.Context(), "UPDATE scans SET owner = 'alice', sharing = '{}'"); err != nil {
		t.Fatal(err)
	}
	if r, err = s.ImportUpstream(ctx, users, groups, false); err != nil || r.UsersAdded != 1 || r.GroupsAdded != 1 || r.UsersKept != 1 {
		t.Errorf("ImportUpstream without scans that name them = %+v, %v, want bob and team", r, err)
	}
	if n := w.count(t, "SELECT count(*) FROM former_names"); n != 0 {
		t.Errorf("former names = %d, want none: they are in use again", n)
	}
}

// A first start makes its administrator whatever one of that name left.
func TestFirstStartAfterTheDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "admin", actor.Admin)
	register(t, s, "boss", actor.Admin)
	wantErr(t, "DeleteUser", s.DeleteUser(system(t.Context()), "admin"), nil)
	w.owned(t, "of admin", "admin", "")
	_, err := s.Register(system(t.Context()), NewUser{"admin", "Other", password, nil, false})
	wantErr(t, "Register", err, ErrFormerName)
	if _, err := w.pool.Exec(t.Context(), "DELETE FROM users"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Bootstrap(t.Context(), FirstStart{AdminPassword: password}); err != nil {
		t.Errorf("Bootstrap = %v, want an administrator", err)
	}
	login(t, s, "admin")
}

// Who registers a name while its deletion is under way waits for that, and is
// then refused as one who comes later.
func TestRegisterDuringDeletion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	w.owned(t, "of alice", "alice", "")
	tx, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }() // does nothing after a commit
	u, err := s.q.LockUserByName(t.Context(), tx, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if err = s.q.DeleteUser(t.Context(), tx, s.clock(), u.ID); err != nil {
		t.Fatal(err)
	}
	registered := make(chan error, 1)
	go func() {
		_, err := s.Register(system(t.Context()), NewUser{"alice", "Alice", password, nil, false})
		registered <- err
	}()
	for waiting := 0; waiting == 0; {
		waiting = w.count(t, `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO users%'`)
	}
	if err = tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "Register", <-registered, ErrFormerName)
}
