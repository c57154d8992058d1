package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/servertest"
)

// Where it is switched off, nobody learns whether a name is taken, by the
// status, the body, or the older path.
func TestUsernameCheckIsOff(t *testing.T) {
	t.Parallel()
	s := newSite(t, "PLANTDB_USERNAME_CHECK=off")
	sv := s.start()
	admin := sv.login(s.admin())
	for _, path := range []string{"/auth/login", "//login"} {
		var first string
		for _, name := range []string{adminName, "nobody"} {
			for who, token := range map[string]string{"anonymous": "", "administrator": admin.access} {
				got := sv.get(path+"?username="+name, token).want(t, "check of "+name+" at "+path+" as "+who, http.StatusForbidden)
				if got.text("code") != "disabled" {
					t.Errorf("check of %s at %s as %s = %s, want the code disabled", name, path, who, got)
				}
				if first == "" {
					first = string(got.body)
				}
				if string(got.body) != first {
					t.Errorf("check of %s at %s as %s = %s, want what all are told: %s", name, path, who, got, first)
				}
			}
		}
	}
	on := newSite(t).start()
	on.get("/auth/login?username="+adminName, "").want(t, "check where it is on", http.StatusOK)
}

// What the file holds is the password of the first administrator; later
// starts leave the account as it is.
func TestAdminPasswordFile(t *testing.T) {
	t.Parallel()
	first, second := newPassword(), newPassword()
	file := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatalf("write the password: %v", err)
		}
	}
	write(first + "\n")
	s := newSite(t, "PLANTDB_ADMIN_PASSWORD=", "PLANTDB_ADMIN_PASSWORD_FILE="+file)
	s.seen.add(first, second)
	sv := s.start()
	p := sv.login(person{adminName, first})
	sv.get("/users", p.access).want(t, "list users as the administrator of the file", http.StatusOK)
	sv.call(loginOf(person{adminName, first + "\n"})).refused(t, "login with the end of the line", "Invalid credentials")

	write(second + "\n")
	again := s.start()
	again.login(person{adminName, first})
	again.call(loginOf(person{adminName, second})).refused(t, "login with what the file says later", "Invalid credentials")
}

// PASSWORD_MIN_LENGTH holds for whoever sets a password, by the API or at the
// machine; the longest is of 1024 bytes. What is kept of it costs a thief what it
// should.
func TestPasswordsAreLongAndWellHashed(t *testing.T) {
	t.Parallel()
	s := newSite(t, "PASSWORD_MIN_LENGTH=12")
	sv := s.start()
	admin := sv.login(s.admin()).access
	register := func(name, password string) answer {
		t.Helper()
		return sv.post("/auth/register", admin, user(name, password))
	}
	longest := strings.Repeat("ab cd ef", 128)
	s.seen.add(longest)
	for name, tt := range map[string]struct {
		password string
		status   int
	}{
		"eleven": {"éleven-char", http.StatusBadRequest}, "twelve": {"twelve-chars", http.StatusCreated},
		"longest": {longest, http.StatusCreated}, "longer": {longest + "x", http.StatusBadRequest},
	} {
		got := register(name, tt.password).want(t, "register "+name, tt.status)
		if tt.status != http.StatusCreated {
			if got.text("code") != "password_rule" {
				t.Errorf("register %s = %s, want the code password_rule", name, got)
			}
			continue
		}
		sv.login(person{name, tt.password})
		sv.call(loginOf(person{name, tt.password[:len(tt.password)-1]})).refused(t, "login without the last character", "Invalid credentials")
	}
	o := servertest.Options{Env: s.env, Stdin: strings.NewReader("eleven-char\n")}
	if got := servertest.Run(t, o, "user", "create", "console", "--db-path", s.dir); got.Code == 0 || !strings.Contains(got.Stderr, "at least 12 characters") {
		t.Errorf("user create with eleven characters = %d, %s", got.Code, got.Stderr)
	}
	o.Stdin = strings.NewReader("twelve-chars\n")
	if got := servertest.Run(t, o, "user", "create", "console", "--db-path", s.dir); got.Code != 0 {
		t.Errorf("user create with twelve characters = %d, %s", got.Code, got.Stderr)
	}
	for _, name := range []string{adminName, "twelve", "longest", "console"} {
		hash := one[string](s, "SELECT password_hash FROM users WHERE username = $1", name)
		var memory, passes, threads int
		if _, err := fmt.Sscanf(hash, "$argon2id$v=19$m=%d,t=%d,p=%d$", &memory, &passes, &threads); err != nil {
			t.Fatalf("the hash of %s is of another form: %v", name, err)
		}
		if memory < 19456 || passes < 2 || threads < 1 {
			t.Errorf("hash of %s: m=%d, t=%d, p=%d, want m=19456, t=2, p=1 at least", name, memory, passes, threads)
		}
	}
}
