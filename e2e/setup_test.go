package e2e

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestFirstStartHasNoDefaultPassword(t *testing.T) {
	t.Parallel()
	s := newSite(t, "PLANTDB_ADMIN_PASSWORD=", "LOGIN_MAX_ATTEMPTS=0", "PASSWORD_MIN_LENGTH=1")
	sv := s.start()
	for _, p := range []person{{"admin", "admin"}, {"guest", "guest"}, {"guest", "*"}, {"admin", "*"}, {"system", "system"}} {
		sv.call(loginOf(p)).refused(t, "login as "+p.name+" with "+p.password, "Invalid credentials")
	}
	m := regexp.MustCompile(`with this secret: (\S+)\n`).FindStringSubmatch(sv.Stdout())
	if m == nil {
		t.Fatal("a first start without an administrator's password prints no secret to set up with")
	}
	secret := m[1]
	if strings.Contains(sv.Stderr(), secret) {
		t.Error("the secret is in the log, too")
	}
	boss := person{"boss", newPassword()}
	body := map[string]any{"secret": "not the secret", "username": boss.name, "fullname": "Boss", "password": boss.password}
	sv.post("/auth/setup", "", body).want(t, "set up with another secret", http.StatusNotFound)
	body["secret"] = secret
	sv.post("/auth/setup", "", body).want(t, "set up", http.StatusCreated)
	s.seen.tell(secret)
	sv.get("/users", sv.login(boss).access).want(t, "administrator's list of users", http.StatusOK)
	body["username"] = "another"
	if got := sv.post("/auth/setup", "", body); got.status != http.StatusNotFound && got.status != http.StatusConflict {
		t.Errorf("set up a second time = %s, want a refusal", got)
	}
	s.seen.tell(secret)
	if n := one[int](s, "SELECT count(*) FROM auth_events WHERE kind = 'setup'"); n != 1 {
		t.Errorf("%d events of a set-up, want 1", n)
	}
}
