package auth

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/tokenauth"
)

func TestAPIToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice", actor.Contributor)
	register(t, s, "root", actor.Admin)
	ctx := as(t, s, login(t, s, "alice"))
	raw, expires, err := s.CreateAPIToken(ctx, "robot", 90*time.Minute+500*time.Millisecond, map[string][]string{
		"virtual_*": {"Permission.WRITE", "read", "READ"}, "real_?": {"delete", "manage_users"},
	})
	if err != nil || !expires.Equal(w.Now().Add(90*time.Minute)) {
		t.Fatalf("CreateAPIToken expires %v, %v, want in 90 minutes", expires, err)
	}
	c, err := s.verifier.Verify(t.Context(), raw, tokenauth.API)
	if err != nil || c.Datasets != "real_?/DELETE,MANAGE_USERS;virtual_*/READ,WRITE" || !c.ExpiresAt.Equal(expires) {
		t.Fatalf("Verify = %+v, %v", c, err)
	}
	a, err := s.Actor(t.Context(), c)
	if err != nil {
		t.Fatalf("Actor = %v", err)
	}
	for _, tt := range []struct {
		scan string
		p    actor.Permission
		want bool
	}{
		{"virtual_plant", actor.Read, true},
		{"virtual_plant", actor.Write, true},
		{"virtual_plant", actor.Create, false}, // not asked for
		{"real_1", actor.Delete, false},        // asked for, but a contributor may not
		{"real_1", actor.Read, false},
		{"other", actor.Read, false},
	} {
		if got := a.MayOn(tt.scan, a.HighestRole(), tt.p); got != tt.want {
			t.Errorf("MayOn(%s, %s) = %t, want %t", tt.scan, tt.p, got, tt.want)
		}
	}
	if _, err := s.UpdateUser(system(t.Context()), "alice", UserPatch{Roles: []actor.Role{actor.Admin}}); err != nil {
		t.Fatal(err)
	}
	if a, err = s.Actor(t.Context(), c); err != nil || !a.MayOn("real_1", a.HighestRole(), actor.Delete) || a.May(actor.ManageUsers) {
		t.Errorf("Actor of an administrator's token = %+v, %v: want delete, but never manage", a, err)
	}

	byToken := actor.NewContext(t.Context(), a)
	_, _, err = s.CreateAPIToken(byToken, "", time.Hour, map[string][]string{"*": {"read"}})
	wantErr(t, "CreateAPIToken by an API token", err, ErrForbidden)
	if want := "Token from User alice does not"; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("CreateAPIToken by an API token = %q, want %q...", err, want)
	}
	_, err = s.Register(byToken, NewUser{"eve", "Eve", password, nil, false})
	wantErr(t, "Register by an API token", err, ErrForbidden)
	_, err = s.Sessions(byToken, "alice")
	wantErr(t, "Sessions by an API token", err, ErrForbidden)

	if err = s.recordUses(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := s.APITokens(ctx, "alice")
	if err != nil || len(list) != 1 || list[0].Name != "robot" || list[0].LastUsedAt == nil || !strings.HasPrefix(c.ID, list[0].Prefix()) {
		t.Fatalf("APITokens = %+v, %v, want robot, used", list, err)
	}
	wantErr(t, "RevokeAPIToken(unknown)", s.RevokeAPIToken(ctx, uuid.New()), ErrAPITokenUnknown)
	register(t, s, "bob")
	wantErr(t, "RevokeAPIToken(another's)", s.RevokeAPIToken(as(t, s, login(t, s, "bob")), list[0].ID), ErrAPITokenUnknown)
	wantErr(t, "RevokeAPIToken", s.RevokeAPIToken(ctx, list[0].ID), nil)
	wantErr(t, "RevokeAPIToken again", s.RevokeAPIToken(ctx, list[0].ID), ErrAPITokenUnknown)
	if !revokedAt(t, s, c)() {
		t.Error("the revoked API token is alive")
	}
	_, err = s.Actor(t.Context(), c)
	wantErr(t, "Actor of a revoked API token", err, tokenauth.ErrRevoked)
	wantEvent(t, w, "alice", eventTokenCreate)
	wantEvent(t, w, "alice", eventTokenRevoke)
}

func TestAPITokenBounds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	ctx := as(t, s, login(t, s, "alice"))
	good := map[string][]string{"*": {"read"}}
	many := map[string][]string{}
	for range 200 {
		many[uuid.NewString()] = []string{"read"}
	}
	for _, tt := range []struct {
		what     string
		name     string
		life     time.Duration
		datasets map[string][]string
	}{
		{"no life", "", 0, good},
		{"negative life", "", -time.Hour, good},
		{"endless", "", s.c.APITokenMaxLife + time.Second, good},
		{"no datasets", "", time.Hour, nil},
		{"no permissions", "", time.Hour, map[string][]string{"*": {}}},
		{"unknown permission", "", time.Hour, map[string][]string{"*": {"fly"}}},
		{"empty glob", "", time.Hour, map[string][]string{"": {"read"}}},
		{"semicolon", "", time.Hour, map[string][]string{"a;b": {"read"}}},
		{"more than a token holds", "", time.Hour, many},
		{"name with a line break", "a\nb", time.Hour, good},
	} {
		_, _, err := s.CreateAPIToken(ctx, tt.name, tt.life, tt.datasets)
		wantErr(t, tt.what+": CreateAPIToken", err, ErrAPIToken)
	}
	_, _, err := s.CreateAPIToken(t.Context(), "", time.Hour, good)
	wantErr(t, "CreateAPIToken by nobody", err, ErrNoUser)
	_, _, err = s.CreateAPIToken(actor.NewContext(t.Context(), actor.Actor{Username: GuestName, Guest: true}), "", time.Hour, good)
	wantErr(t, "CreateAPIToken by a guest", err, ErrNoUser)
}
