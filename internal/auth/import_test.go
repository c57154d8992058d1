package auth

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

const upstreamUsers = `[
 {"username":"admin","fullname":"PlantDB Admin","password_hash":"@ADMIN@","roles":["admin"],"created_at":"2026-01-02T03:04:05.678901","is_active":true},
 {"username":"guest","fullname":"PlantDB Guest","password_hash":"@ADMIN@","roles":["reader"],"created_at":"2026-01-02T03:04:05"},
 {"username":"Alice","fullname":"Alice A.","password_hash":"@ALICE@","roles":["contributor"],"created_at":"2026-01-02T03:04:05.678901",
  "_extra_permissions":null,"last_login":"2026-02-01T00:00:00","is_active":true,"failed_attempts":2,"locked_until":null,"password_last_change":null},
 {"username":"taken","fullname":"Other","password_hash":"x","roles":["admin"]},
 {"username":"broken hash","fullname":"","password_hash":"x","roles":[]},
 {"username":"weird","password_hash":"plain text","roles":"CONTRIBUTOR","created_at":"yesterday","is_active":false},
 {"username":"..","password_hash":"x","roles":["reader"]}, 42, {"username":7}
]`

const upstreamGroups = `{
 "lab": {"name":"lab","users":["alice","guest","gone"],"description":null,"created_at":"2026-01-02T03:04:05","created_by":"admin"},
 "old": {"users":["alice"]}, "bad/name": {"users":[]}, ".": {"users":["alice"]}, "junk": 3
}`

func TestImportUpstream(t *testing.T) {
	t.Parallel()
	users := []byte(strings.NewReplacer(
		"@ADMIN@", "$argon2id$v=19$m=65536,t=3,p=4$TFe3/vNmQzSedTwZDEanEg$c9xkOP2Lo4/FGTYv5KwGkW7030iv1H2YfvewYqgtp1M", // admin
		"@ALICE@", "$argon2id$v=19$m=102400,t=2,p=8$RultYqrXgp2b6hos2VmY1Q$25XeJVVnEOY+AeKMM0AMY2x2ASYiiEk3bHS7O8fvLfA",
	).Replace(upstreamUsers))
	w := newWorld(t)
	s := w.service(t)
	if _, err := s.Bootstrap(t.Context(), FirstStart{}); err != nil {
		t.Fatal(err)
	}
	register(t, s, "taken")
	if _, err := s.CreateGroup(system(t.Context()), NewGroup{Name: "old"}); err != nil {
		t.Fatal(err)
	}
	dry, err := s.ImportUpstream(system(t.Context()), users, []byte(upstreamGroups), true)
	if err != nil {
		t.Fatal(err)
	}
	if n := w.count(t, "SELECT count(*) FROM users"); n != 2 {
		t.Errorf("accounts after a dry run = %d, want 2", n)
	}
	if n := w.count(t, "SELECT count(*) FROM auth_events WHERE kind = 'import'"); n != 0 {
		t.Errorf("a dry run left %d events of an import", n)
	}
	r, err := s.ImportUpstream(system(t.Context()), users, []byte(upstreamGroups), false)
	if err != nil {
		t.Fatal(err)
	}
	if r.UsersAdded != 3 || r.UsersKept != 2 || r.GroupsAdded != 1 || r.GroupsKept != 1 || r.MembersAdded != 1 {
		t.Errorf("ImportUpstream = %+v, want 3 and 2 users, 1 and 1 groups, 1 member", r)
	}
	if !slices.Equal(dry.Remarks, r.Remarks) || dry.UsersAdded != r.UsersAdded {
		t.Errorf("dry run = %+v, want %+v", dry, r)
	}
	wantEvent(t, w, "system", eventImport)
	remarks := strings.Join(r.Remarks, "\n")
	for _, want := range []string{"entry 8", "entry 9", `"broken hash"`, `user "..": A username`, `group ".": A group name`, `"weird": the password`, `"admin": has upstream's`, `"bad/name"`, `"junk"`, `"lab": 2 of`} {
		if !strings.Contains(remarks, want) {
			t.Errorf("remarks lack %s:\n%s", want, remarks)
		}
	}
	login(t, s, "alice") // by upstream's hash, which is renewed
	if n := w.count(t, "SELECT count(*) FROM users WHERE username = 'alice' AND password_hash LIKE '%$m=64,%' AND created_at < '2026-01-04'"); n != 1 {
		t.Errorf("alice's hash was not renewed or her date is lost")
	}
	_, _, err = s.Login(t.Context(), "admin", "admin")
	wantErr(t, "Login(admin, admin)", err, ErrCredentials)
	u, err := s.User(system(t.Context()), "alice")
	if err != nil || !slices.Equal(u.Groups, []string{"lab"}) {
		t.Errorf("User(alice) = %+v, %v, want a member of lab", u, err)
	}
	if u, err = s.User(system(t.Context()), "weird"); err != nil || u.Active || len(u.Roles) != 1 || u.Roles[0] != "contributor" {
		t.Errorf("User(weird) = %+v, %v, want an inactive contributor", u, err)
	}
	// The imported admin has no password, so a first start still finds nobody.
	setup, err := s.Bootstrap(t.Context(), FirstStart{})
	if err != nil || setup.Secret == "" {
		t.Fatalf("Bootstrap = %+v, %v, want a secret", setup, err)
	}
	if _, err = s.CompleteSetup(t.Context(), setup.Secret, NewUser{"admin", "Boss", password, nil, false}); err != nil {
		t.Errorf("CompleteSetup(admin) = %v, want the imported account taken", err)
	}
	login(t, s, "admin")
}

// usersOf14 are as PlantDB 0.14.5 writes them; the password of anonymous
// is the one that it gives, that of alice the one of all tests.
const usersOf14 = `{
  "anonymous": {"password": "@ANONYMOUS@", "fullname": "Guy Fawkes", "created": "260102_030405", "last_login": null, "failed_attempts": 0},
  "alice": {"password": "@ALICE@", "fullname": "Alice A.", "created": "260102_030405", "last_login": "260201_000000", "failed_attempts": 0},
  "dear": {"password": "@DEAR@", "fullname": "", "created": null}, "junk": 3
}`

// The accounts of 0.14 come without roles and with hashes of bcrypt.
func TestImportUpstream14(t *testing.T) {
	t.Parallel()
	hash := func(password string, cost int) string {
		h, err := bcrypt.GenerateFromPassword([]byte(password), cost)
		if err != nil {
			t.Fatal(err)
		}
		return string(h)
	}
	users := []byte(strings.NewReplacer(
		"@ANONYMOUS@", hash("AlanMoore", bcrypt.MinCost), "@ALICE@", hash(password, bcrypt.MinCost),
		"@DEAR@", strings.Replace(hash(password, bcrypt.MinCost), "$04$", "$31$", 1),
	).Replace(usersOf14))
	w := newWorld(t)
	s := w.service(t)
	r, err := s.ImportUpstream(system(t.Context()), users, nil, false)
	if err != nil || r.UsersAdded != 3 {
		t.Fatalf("ImportUpstream = %+v, %v, want 3 users", r, err)
	}
	remarks := strings.Join(r.Remarks, "\n")
	for _, want := range []string{`user "alice": no known role, taken as reader`, `user "anonymous": has upstream's first password`, `user "dear": the password hash cannot`, `"junk" is no user`} {
		if !strings.Contains(remarks, want) {
			t.Errorf("remarks lack %s:\n%s", want, remarks)
		}
	}
	_, _, err = s.Login(t.Context(), "alice", "other")
	wantErr(t, "Login(alice, other)", err, ErrCredentials)
	login(t, s, "alice")
	if n := w.count(t, `SELECT count(*) FROM users WHERE username = 'alice' AND fullname = 'Alice A.' AND password_hash LIKE '$argon2id$%'
		AND created_at BETWEEN '2026-01-01' AND '2026-01-04'`); n != 1 {
		t.Errorf("alice's hash was not renewed, or her name or date is lost")
	}
	for name, password := range map[string]string{"anonymous": "AlanMoore", "dear": password} {
		_, _, err = s.Login(t.Context(), name, password)
		wantErr(t, "Login("+name+")", err, ErrCredentials)
	}
}

func TestImportRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	for name, in := range map[string][2]string{
		"text for users": {`"x"`, ""}, "half an object": {"{", ""}, "list for groups": {"", "[]"}, "no JSON": {"[", ""}, "large": {strings.Repeat(" ", maxImport+1), ""},
	} {
		_, err := s.ImportUpstream(system(t.Context()), []byte(in[0]), []byte(in[1]), false)
		wantErr(t, name+": ImportUpstream", err, ErrImport)
	}
	_, err := s.ImportUpstream(t.Context(), nil, nil, false)
	wantErr(t, "ImportUpstream by nobody", err, ErrNoUser)
	if r, err := s.ImportUpstream(system(t.Context()), nil, nil, false); err != nil || len(r.Remarks) != 0 {
		t.Errorf("ImportUpstream(nothing) = %+v, %v, want nothing", r, err)
	}
}
