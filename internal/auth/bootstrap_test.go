package auth

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/actor"
)

func TestBootstrapWithoutPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	setups := make([]Setup, 4)
	for _, err := range together(len(setups), func(i int) (err error) {
		setups[i], err = s.Bootstrap(t.Context(), FirstStart{})
		return err
	}) {
		wantErr(t, "Bootstrap at once", err, nil)
	}
	if n := w.count(t, "SELECT count(*) FROM users WHERE username = 'guest' AND password_hash = '*' AND roles = '{reader}'"); n != 1 {
		t.Errorf("guests = %d, want 1", n)
	}
	if n := w.count(t, "SELECT count(*) FROM users"); n != 1 {
		t.Errorf("accounts = %d, want the guest alone", n)
	}
	secret := setups[0].Secret
	if secret == "" || !setups[0].Expires.Equal(w.Now().Add(linkLife)) {
		t.Fatalf("Bootstrap = %+v, want a secret for %v", setups[0], linkLife)
	}
	boss := NewUser{"Boss", "The Boss", password, nil, false}
	_, err := s.CompleteSetup(t.Context(), "guess", boss)
	wantErr(t, "CompleteSetup(guess)", err, ErrLink)
	_, err = s.CompleteSetup(t.Context(), secret, NewUser{"boss", "Boss", "short", nil, false})
	wantErr(t, "CompleteSetup(short password)", err, ErrPassword)
	_, err = s.CompleteSetup(t.Context(), secret, NewUser{"guest", "Boss", password, nil, false})
	wantErr(t, "CompleteSetup(guest)", err, ErrUserExists)
	u, err := s.CompleteSetup(t.Context(), secret, boss)
	if err != nil || u.Username != "boss" || u.Roles[0] != actor.Admin {
		t.Fatalf("CompleteSetup = %+v, %v, want boss, an admin", u, err)
	}
	_, err = s.CompleteSetup(t.Context(), secret, NewUser{"two", "Two", password, nil, false})
	wantErr(t, "CompleteSetup(used)", err, ErrLink)
	_, err = s.CompleteSetup(t.Context(), setups[1].Secret, NewUser{"two", "Two", password, nil, false})
	wantErr(t, "CompleteSetup(another secret, there is an administrator)", err, ErrLink)
	if again, err := s.Bootstrap(t.Context(), FirstStart{}); err != nil || again.Secret != "" {
		t.Errorf("Bootstrap afterwards = %+v, %v, want nothing to do", again, err)
	}
	login(t, s, "boss")
}

func TestSetupSecretExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	setup, err := s.Bootstrap(t.Context(), FirstStart{})
	if err != nil {
		t.Fatal(err)
	}
	w.step(linkLife)
	_, err = s.CompleteSetup(t.Context(), setup.Secret, NewUser{"boss", "Boss", password, nil, false})
	wantErr(t, "CompleteSetup(too late)", err, ErrLink)
}

func TestBootstrapWithPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	_, err := s.Bootstrap(t.Context(), FirstStart{AdminPassword: "admin"})
	wantErr(t, "Bootstrap(weak password)", err, ErrPassword)
	if setup, err := s.Bootstrap(t.Context(), FirstStart{AdminPassword: password}); err != nil || setup.Secret != "" {
		t.Fatalf("Bootstrap = %+v, %v, want no secret", setup, err)
	}
	login(t, s, "admin")
	// A later start with another password changes nothing.
	if _, err := s.Bootstrap(t.Context(), FirstStart{AdminPassword: "another good one"}); err != nil {
		t.Fatal(err)
	}
	login(t, s, "admin")
}

func TestBootstrapForTests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	var out bytes.Buffer
	s.log = slog.New(slog.NewTextHandler(&out, nil))
	if _, err := s.Bootstrap(t.Context(), FirstStart{}); err != nil { // the guest is there before
		t.Fatal(err)
	}
	if _, err := s.Bootstrap(t.Context(), FirstStart{Test: true}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "level=WARN") {
		t.Errorf("log = %s, want a warning", out.String())
	}
	for _, name := range []string{"admin", "guest"} {
		if _, _, err := s.Login(t.Context(), name, name); err != nil {
			t.Errorf("Login(%s, %s) = %v, want nil", name, name, err)
		}
	}
	out.Reset()
	if _, err := s.Bootstrap(t.Context(), FirstStart{}); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.Login(t.Context(), "guest", "guest")
	wantErr(t, "Login(guest) outside the test mode", err, ErrCredentials)
	if !strings.Contains(out.String(), "level=ERROR") {
		t.Errorf("log = %s, want it to say that admin has the password admin", out.String())
	}
	if n := w.count(t, "SELECT count(*) FROM sessions s JOIN users u ON u.id = s.user_id WHERE username = 'guest' AND ended_at IS NULL"); n != 0 {
		t.Errorf("live sessions of the guest = %d, want 0", n)
	}
}

func TestGuest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, off := w.service(t), w.service(t, func(c *Config) { c.Guest = false })
	_, err := s.Guest(t.Context())
	wantErr(t, "Guest before there is one", err, ErrNoUser)
	if _, err = s.Bootstrap(t.Context(), FirstStart{}); err != nil {
		t.Fatal(err)
	}
	a, err := s.Guest(t.Context())
	if err != nil || a.Username != GuestName || !a.Guest || !a.May(actor.Read) || a.May(actor.Write) {
		t.Errorf("Guest = %+v, %v, want a reader", a, err)
	}
	_, err = off.Guest(t.Context())
	wantErr(t, "Guest switched off", err, ErrNoUser)
	_, err = s.Users(actor.NewContext(t.Context(), a), "", 1)
	wantErr(t, "Users by the guest", err, ErrNoUser)
	no := false
	for what, p := range map[string]UserPatch{"more": {Roles: []actor.Role{actor.Admin}}} {
		_, err = s.UpdateUser(system(t.Context()), GuestName, p)
		wantErr(t, "UpdateUser(guest, "+what+")", err, ErrGuest)
	}
	wantErr(t, "DeleteUser(guest)", s.DeleteUser(system(t.Context()), GuestName), ErrGuest)
	_, _, err = s.ResetPassword(system(t.Context()), GuestName)
	wantErr(t, "ResetPassword(guest)", err, ErrGuest)
	if _, err = s.UpdateUser(system(t.Context()), GuestName, UserPatch{Active: &no}); err != nil {
		t.Fatal(err)
	}
	_, err = s.Guest(t.Context())
	wantErr(t, "Guest when inactive", err, ErrNoUser)
}
