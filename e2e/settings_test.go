package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
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
