package auth

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/tokenauth"
)

func TestRegister(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "root", actor.Admin)
	register(t, s, "con", actor.Contributor)
	admin := as(t, s, login(t, s, "root"))
	for _, tt := range []struct {
		name string
		n    NewUser
		want error
	}{
		{"good", NewUser{"Alice", "Alice A.", password, nil, false}, nil},
		{"taken in any case", NewUser{"ALICE", "Alice A.", password, nil, false}, ErrUserExists},
		{"spaces", NewUser{"al ice", "Alice A.", password, nil, false}, ErrUserName},
		{"non-breaking space", NewUser{"al\u00a0ice", "Alice A.", password, nil, false}, ErrUserName},
		{"slash", NewUser{"al/ice", "Alice A.", password, nil, false}, ErrUserName},
		{"control", NewUser{"al\x00ice", "Alice A.", password, nil, false}, ErrUserName},
		{"not UTF-8", NewUser{"al\xff", "Alice A.", password, nil, false}, ErrUserName},
		{"long", NewUser{strings.Repeat("a", 65), "Alice A.", password, nil, false}, ErrUserName},
		{"no name", NewUser{"", "Alice A.", password, nil, false}, ErrMissingFields},
		{"no full name", NewUser{"bob", "", password, nil, false}, ErrMissingFields},
		{"no password", NewUser{"bob", "Bob", "", nil, false}, ErrMissingFields},
		{"short password", NewUser{"bob", "Bob", "short", nil, false}, ErrPassword},
		{"spaces as password", NewUser{"bob", "Bob", "          ", nil, false}, ErrPassword},
		{"white space as password", NewUser{"bob", "Bob", " \t\u00a0 \n\t \u2003 ", nil, false}, ErrPassword},
		{"one letter as password", NewUser{"bob", "Bob", "éééééééééééé", nil, false}, ErrPassword},
		{"full name with a line break", NewUser{"bob", "Bob\n", password, nil, false}, ErrFullname},
		{"unknown role", NewUser{"bob", "Bob", password, []actor.Role{"king"}, false}, ErrRoleUnknown},
		{"own rank", NewUser{"bob", "Bob", password, []actor.Role{actor.Admin}, false}, nil},
		{"letters of all kinds", NewUser{"ÉLODIE", "Élodie", password, nil, false}, nil},
	} {
		_, err := s.Register(admin, tt.n)
		wantErr(t, tt.name+": Register", err, tt.want)
	}
	u, err := s.User(admin, "aLiCe")
	if err != nil || u.Username != "alice" || u.Fullname != "Alice A." || len(u.Roles) != 1 || u.Roles[0] != actor.Reader || !u.Active {
		t.Errorf("User(aLiCe) = %+v, %v, want alice, an active reader", u, err)
	}
	_, err = s.Register(as(t, s, login(t, s, "con")), NewUser{"eve", "Eve", password, nil, false})
	wantErr(t, "Register by a contributor", err, ErrForbidden)
	if f, ok := errors.AsType[*fault.Error](err); !ok || f.Msg != "User con does not have required permissions to use create_user" {
		t.Errorf("Register by a contributor = %v, want upstream's text", err)
	}
	_, err = s.Register(t.Context(), NewUser{"eve", "Eve", password, nil, false})
	wantErr(t, "Register by nobody", err, ErrNoUser)
	wantEvent(t, w, "alice", eventUserCreate)
}

func TestRegisterTheSameNameAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	made := 0
	for _, err := range together(10, func(int) error {
		_, err := s.Register(system(t.Context()), NewUser{"alice", "Alice", password, nil, false})
		return err
	}) {
		if err == nil {
			made++
		} else {
			wantErr(t, "Register", err, ErrUserExists)
		}
	}
	if made != 1 {
		t.Errorf("accounts made = %d, want 1", made)
	}
}

func TestLastAdministrator(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	servers := []*Service{w.service(t), w.service(t)}
	s := servers[0]
	no := false
	changes := map[string]func(s *Service, name string) error{
		"demote": func(s *Service, n string) error {
			_, err := s.UpdateUser(system(t.Context()), n, UserPatch{Roles: []actor.Role{actor.Reader}})
			return err
		},
		"deactivate": func(s *Service, n string) error {
			_, err := s.UpdateUser(system(t.Context()), n, UserPatch{Active: &no})
			return err
		},
		"delete": func(s *Service, n string) error { return s.DeleteUser(system(t.Context()), n) },
	}
	register(t, s, "root", actor.Admin)
	for what, change := range changes {
		wantErr(t, what+" the last administrator", change(s, "root"), ErrLastAdmin)
	}
	name := "Root the first"
	if _, err := s.UpdateUser(system(t.Context()), "root", UserPatch{Fullname: &name}); err != nil {
		t.Errorf("UpdateUser(full name of the last administrator) = %v, want nil", err)
	}
	// Two administrators, each removed at the same moment, on one server and on
	// two: one stays.
	for round := range 2 * len(changes) {
		what := []string{"demote", "deactivate", "delete"}[round/2]
		other := servers[round%2]
		register(t, s, "a-"+what, actor.Admin)
		if err := changes["demote"](s, "root"); err != nil {
			t.Fatal(err)
		}
		register(t, s, "b-"+what, actor.Admin)
		errs := together(2, func(i int) error {
			return changes[what]([]*Service{s, other}[i], []string{"a-", "b-"}[i]+what)
		})
		if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs...), ErrLastAdmin) {
			t.Errorf("%s both at once = %v, want one nil and one %v", what, errs, ErrLastAdmin)
		}
		if _, err := s.UpdateUser(system(t.Context()), "root", UserPatch{Roles: []actor.Role{actor.Admin}}); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{"a-", "b-"} {
			if err := s.DeleteUser(system(t.Context()), p+what); err != nil && !errors.Is(err, ErrUserUnknown) {
				t.Fatal(err)
			}
		}
	}
}

func TestUpdateUserNeedsRank(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	register(t, s, "bob")
	ctx := as(t, s, login(t, s, "alice"))
	name, yes := "Alice B.", true
	u, err := s.UpdateUser(ctx, "alice", UserPatch{Fullname: &name})
	if err != nil || u.Fullname != name {
		t.Errorf("UpdateUser(own full name) = %+v, %v, want %q", u, err, name)
	}
	for what, p := range map[string]UserPatch{"roles": {Roles: []actor.Role{actor.Admin}}, "active": {Active: &yes}, "unlock": {Unlock: true}} {
		_, err = s.UpdateUser(ctx, "alice", p)
		wantErr(t, "UpdateUser(own "+what+")", err, ErrForbidden)
	}
	_, err = s.UpdateUser(ctx, "bob", UserPatch{Fullname: &name})
	wantErr(t, "UpdateUser(another)", err, ErrForbidden)
	_, err = s.UpdateUser(system(t.Context()), "nobody", UserPatch{Fullname: &name})
	wantErr(t, "UpdateUser(unknown)", err, ErrUserUnknown)
	_, err = s.User(ctx, "bob")
	wantErr(t, "User(another)", err, ErrForbidden)
	_, err = s.Users(ctx, "", 10)
	wantErr(t, "Users", err, ErrForbidden)
	wantErr(t, "DeleteUser", s.DeleteUser(ctx, "bob"), ErrForbidden)
}

func TestUsersPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	for _, n := range []string{"c", "a", "b"} {
		register(t, s, n)
	}
	page, err := s.Users(system(t.Context()), "", 2)
	if err != nil || len(page) != 2 || page[0].Username != "a" || page[1].Username != "b" {
		t.Errorf("Users(first 2) = %+v, %v, want a and b", page, err)
	}
	if page, err = s.Users(system(t.Context()), "b", 2); err != nil || len(page) != 1 || page[0].Username != "c" {
		t.Errorf("Users(after b) = %+v, %v, want c", page, err)
	}
}

func TestDeleteUserEndsEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, other := w.service(t), w.service(t)
	register(t, s, "alice")
	p := login(t, s, "alice")
	if err := s.DeleteUser(system(t.Context()), "alice"); err != nil {
		t.Fatal(err)
	}
	if err := other.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, replica := range map[string]*Service{"here": s, "elsewhere": other} {
		if !revokedAt(t, replica, &p.AccessClaims)() {
			t.Errorf("%s: the access token of the deleted user is alive", name)
		}
		_, err := replica.Refresh(t.Context(), p.Refresh)
		wantErr(t, name+": Refresh", err, tokenauth.ErrRefreshUnknown)
		_, err = replica.Actor(t.Context(), &p.AccessClaims)
		wantErr(t, name+": Actor", err, tokenauth.ErrAccessUnknown)
	}
}

// A session in the last seconds of its refresh token ends with the others.
func TestSessionWithinTheLeewayEndsToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	p := login(t, s, "alice")
	w.step(s.c.RefreshTimeout + s.c.Leeway/2)
	if n, err := s.EndSessions(system(t.Context()), "alice", All); n != 1 || err != nil {
		t.Errorf("EndSessions = %d, %v, want 1", n, err)
	}
	_, err := s.Refresh(t.Context(), p.Refresh)
	wantErr(t, "Refresh within the leeway", err, tokenauth.ErrSessionEnded)
}

func TestChangePassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	mine, other := login(t, s, "alice"), login(t, s, "alice")
	ctx := as(t, s, mine)
	const next = "song of myself"
	wantErr(t, "ChangePassword(wrong current)", s.ChangePassword(ctx, "alice", "wrong", next), ErrPasswordWrong)
	wantErr(t, "ChangePassword(to a short one)", s.ChangePassword(ctx, "alice", password, "short"), ErrPassword)
	wantErr(t, "ChangePassword(another's)", s.ChangePassword(ctx, "bob", password, next), ErrForbidden)
	wantErr(t, "ChangePassword", s.ChangePassword(ctx, "Alice", password, next), nil)
	if _, err := s.Refresh(t.Context(), mine.Refresh); err != nil {
		t.Errorf("Refresh of the session that changed it = %v, want nil", err)
	}
	_, err := s.Refresh(t.Context(), other.Refresh)
	wantErr(t, "Refresh of another session", err, tokenauth.ErrSessionEnded)
	_, _, err = s.Login(t.Context(), "alice", password)
	wantErr(t, "Login(old password)", err, ErrCredentials)
	_, _, err = s.Login(t.Context(), "alice", next)
	wantErr(t, "Login(new password)", err, nil)
	for range 3 {
		wantErr(t, "ChangePassword(guess)", s.ChangePassword(ctx, "alice", "wrong", password), ErrPasswordWrong)
	}
	wantErr(t, "ChangePassword(right, after guesses)", s.ChangePassword(ctx, "alice", next, password), ErrPasswordWrong)
	wantEvent(t, w, "alice", eventPassword)
}

func TestResetPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	p := login(t, s, "alice")
	_, _, err := s.ResetPassword(as(t, s, p), "alice")
	wantErr(t, "ResetPassword by a reader", err, ErrForbidden)

	stale, _, err := s.ResetPassword(system(t.Context()), "alice")
	if err != nil {
		t.Fatal(err)
	}
	secret, expires, err := s.ResetPassword(system(t.Context()), "alice")
	if err != nil || !expires.Equal(w.Now().Add(linkLife)) {
		t.Fatalf("ResetPassword = %v, %v, want an end in %v", expires, err, linkLife)
	}
	const next = "song of myself"
	_, err = s.RedeemReset(t.Context(), stale, next)
	wantErr(t, "RedeemReset(secret that another replaced)", err, ErrLink)
	_, err = s.RedeemReset(t.Context(), secret, "short")
	wantErr(t, "RedeemReset(short password)", err, ErrPassword)
	errs := together(5, func(int) error { _, err := s.RedeemReset(t.Context(), secret, next); return err })
	used := 0
	for _, err := range errs {
		if err == nil {
			used++
		} else {
			wantErr(t, "RedeemReset again", err, ErrLink)
		}
	}
	if used != 1 {
		t.Errorf("the secret worked %d times, want once", used)
	}
	_, err = s.Refresh(t.Context(), p.Refresh)
	wantErr(t, "Refresh after a reset", err, tokenauth.ErrSessionEnded)
	_, _, err = s.Login(t.Context(), "alice", next)
	wantErr(t, "Login(new password)", err, nil)

	secret, _, err = s.ResetPassword(system(t.Context()), "alice")
	if err != nil {
		t.Fatal(err)
	}
	w.step(linkLife)
	_, err = s.RedeemReset(t.Context(), secret, password)
	wantErr(t, "RedeemReset(too late)", err, ErrLink)
	if n := w.count(t, "SELECT count(*) FROM one_time_links WHERE encode(secret_hash, 'escape') = $1", secret); n != 0 {
		t.Error("the secret is stored")
	}
}

func TestSessionsAreOnesOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	register(t, s, "bob")
	register(t, s, "root", actor.Admin)
	_, mine, err := s.Login(from(t.Context(), "192.0.2.7"), "alice", password)
	if err != nil {
		t.Fatal(err)
	}
	second, third, bobs := login(t, s, "alice"), login(t, s, "alice"), login(t, s, "bob")
	ctx := as(t, s, mine)
	list, err := s.Sessions(ctx, "alice")
	if err != nil || len(list) != 3 {
		t.Fatalf("Sessions = %+v, %v, want 3", list, err)
	}
	for _, one := range list {
		isMine := one.ID.String() == mine.AccessClaims.SessionID
		if one.Current != isMine || isMine && (one.Address.String() != "192.0.2.7" || one.UserAgent != "test") {
			t.Errorf("Sessions has %+v, want current %t", one, isMine)
		}
	}
	_, err = s.Sessions(ctx, "bob")
	wantErr(t, "Sessions(another's)", err, ErrForbidden)
	id := func(p Pair) string { return p.AccessClaims.SessionID }
	ids, _ := uuids(id(second), id(third), id(bobs))
	wantErr(t, "EndSession(another's)", s.EndSession(ctx, ids[2]), ErrSessionUnknown)
	wantErr(t, "EndSession(own)", s.EndSession(ctx, ids[0]), nil)
	wantErr(t, "EndSession(ended)", s.EndSession(ctx, ids[0]), ErrSessionUnknown)
	if n, err := s.EndSessions(ctx, "alice", Others); n != 1 || err != nil {
		t.Errorf("EndSessions(others) = %d, %v, want 1", n, err)
	}
	if _, err = s.Refresh(t.Context(), mine.Refresh); err != nil {
		t.Errorf("Refresh of the caller's own session = %v, want nil", err)
	}
	if n, err := s.EndSessions(as(t, s, login(t, s, "root")), "alice", All); n != 1 || err != nil {
		t.Errorf("EndSessions(all) by an administrator = %d, %v, want 1", n, err)
	}
	_, err = s.Actor(t.Context(), &mine.AccessClaims)
	wantErr(t, "Actor afterwards", err, tokenauth.ErrSessionEnded)
	wantErr(t, "EndSession(another's) by an administrator", s.EndSession(as(t, s, login(t, s, "root")), ids[2]), nil)
}

// What takes out of a name what does not belong there may tell it in a log, and
// must find nobody by it.
func TestNamesThatNobodyHas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	ctx := system(t.Context())
	if _, err := s.Bootstrap(t.Context(), FirstStart{}); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("l", usernameLimit)
	for _, name := range []string{"carol", long} {
		register(t, s, name)
		if _, err := s.CreateGroup(ctx, NewGroup{Name: name, Members: []string{name}}); err != nil {
			t.Fatalf("CreateGroup(%s) = %v", name, err)
		}
	}
	fullname, no := "Somebody", false
	calls := map[string]func(name string) error{
		"User": func(n string) error { _, err := s.User(ctx, n); return err },
		"UpdateUser": func(n string) error {
			_, err := s.UpdateUser(ctx, n, UserPatch{Fullname: &fullname, Active: &no})
			return err
		},
		"DeleteUser":      func(n string) error { return s.DeleteUser(ctx, n) },
		"ResetPassword":   func(n string) error { _, _, err := s.ResetPassword(ctx, n); return err },
		"Sessions":        func(n string) error { _, err := s.Sessions(ctx, n); return err },
		"EndSessions":     func(n string) error { _, err := s.EndSessions(ctx, n, All); return err },
		"APITokens":       func(n string) error { _, err := s.APITokens(ctx, n); return err },
		"RevokeAPITokens": func(n string) error { _, err := s.RevokeAPITokens(ctx, n); return err },
		"AddMember":       func(n string) error { return s.AddMember(ctx, "carol", n) },
		"RemoveMember":    func(n string) error { return s.RemoveMember(ctx, "carol", n) },
		"CreateGroup": func(n string) error {
			_, err := s.CreateGroup(ctx, NewGroup{Name: "new", Members: []string{n}})
			return err
		},
		"Login": func(n string) error {
			_, _, err := s.Login(t.Context(), n, password)
			return err
		},
		"Group":           func(n string) error { _, err := s.Group(ctx, n); return err },
		"DeleteGroup":     func(n string) error { return s.DeleteGroup(ctx, n) },
		"AddMember to":    func(n string) error { return s.AddMember(ctx, n, long) },
		"RemoveMember of": func(n string) error { return s.RemoveMember(ctx, n, "carol") },
	}
	wants := map[string]error{
		"Login": ErrCredentials, "Group": ErrGroupUnknown, "DeleteGroup": ErrGroupUnknown, "AddMember to": ErrGroupUnknown, "RemoveMember of": ErrGroupUnknown,
	}
	for _, name := range []string{"car\x01ol", "car\x00ol", "carol\x7f", "car\xffol", "gues\x01t", "GUES\x00T", long + "x", long + "\x01", ""} {
		for what, call := range calls {
			want := wants[what]
			if want == nil {
				want = ErrUserUnknown
			}
			wantErr(t, what+"("+strconv.Quote(name)+")", call(name), want)
		}
		if found, err := s.UsernameExists(t.Context(), name); found || err != nil {
			t.Errorf("UsernameExists(%q) = %t, %v, want false", name, found, err)
		}
	}
	if n := w.count(t, "SELECT count(*) FROM users u WHERE is_active AND fullname <> 'Somebody'"); n != 3 {
		t.Errorf("untouched users = %d, want the guest and both others", n)
	}
	if n := w.count(t, "SELECT count(*) FROM group_members"); n != 2 {
		t.Errorf("members = %d, want one of each group", n)
	}
}
