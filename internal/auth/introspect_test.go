package auth

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/tokenauth"
)

func apiTokenOf(t *testing.T, s *Service, p Pair, datasets map[string][]string) string {
	t.Helper()
	raw, _, err := s.CreateAPIToken(as(t, s, p), "", time.Hour, datasets)
	if err != nil {
		t.Fatalf("CreateAPIToken = %v", err)
	}
	return raw
}

func TestIntrospect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "root", actor.Admin)
	register(t, s, "alice", actor.Contributor)
	register(t, s, "bob")
	alice, bob, root := login(t, s, "alice"), login(t, s, "bob"), login(t, s, "root")
	api := apiTokenOf(t, s, alice, map[string][]string{"a*": {"read", "delete"}, "b*": {"create"}})
	for _, tt := range []struct {
		name, raw string
		want      []actor.Permission
		datasets  int
	}{
		{"access", alice.Access, []actor.Permission{actor.Read, actor.Write, actor.Create}, 0},
		{"refresh", alice.Refresh, nil, 0},
		{"api, narrowed by what alice is", api, []actor.Permission{actor.Read, actor.Create}, 2},
	} {
		for who, p := range map[string]Pair{"oneself": alice, "an administrator": root} {
			i, err := s.Introspect(as(t, s, p), tt.raw)
			if err != nil || i == nil || i.Claims.Subject != "alice" || !slices.Equal(i.Permissions, tt.want) || len(i.Datasets) != tt.datasets {
				t.Errorf("%s by %s: Introspect = %+v, %v, want permissions %v", tt.name, who, i, err, tt.want)
			}
		}
		if i, err := s.Introspect(as(t, s, bob), tt.raw); i != nil || err != nil {
			t.Errorf("%s by a stranger: Introspect = %+v, %v, want nothing", tt.name, i, err)
		}
	}
	w.step(2 * time.Second)
	next, err := s.Refresh(t.Context(), alice.Refresh)
	if err != nil {
		t.Fatal(err)
	}
	ended := login(t, s, "alice")
	if _, err := s.Logout(t.Context(), &ended.AccessClaims); err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{
		"garbage": "xyz", "nothing": "", "long": strings.Repeat("a", 10_000), "signature": alice.Access + "x", "rotated access": alice.Access,
		"used refresh": alice.Refresh, "access of an ended session": ended.Access, "refresh of an ended session": ended.Refresh,
	} {
		if i, err := s.Introspect(as(t, s, root), raw); i != nil || err != nil {
			t.Errorf("%s: Introspect = %+v, %v, want nothing", name, i, err)
		}
	}
	if _, err := s.UpdateUser(system(t.Context()), "alice", UserPatch{Active: new(bool)}); err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{"access": next.Access, "refresh": next.Refresh, "api": api} {
		if i, err := s.Introspect(as(t, s, root), raw); i != nil || err != nil {
			t.Errorf("%s of an inactive user: Introspect = %+v, %v, want nothing", name, i, err)
		}
	}
	w.step(time.Hour)
	if i, err := s.Introspect(system(t.Context()), root.Access); i != nil || err != nil {
		t.Errorf("expired: Introspect = %+v, %v, want nothing", i, err)
	}
}

func TestIntrospectInDoubt(t *testing.T) {
	t.Parallel()
	s := newWorld(t).service(t)
	register(t, s, "alice")
	p := login(t, s, "alice")
	ctx := as(t, s, p)
	s.revoked.Doubt()
	_, err := s.Introspect(ctx, p.Access)
	wantErr(t, "Introspect while revocations are not known", err, tokenauth.ErrCheckerFailed)
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice")
	dead := func(name, raw string) {
		t.Helper()
		if _, err := s.Verifier().Verify(t.Context(), raw); err == nil {
			t.Errorf("%s: Verify = nil, want it revoked", name)
		}
	}
	other := login(t, s, "alice")
	for name, choose := range map[string]func(Pair) string{
		"access":  func(p Pair) string { return p.Access },
		"refresh": func(p Pair) string { return p.Refresh },
	} {
		p := login(t, s, "alice")
		wantErr(t, name+": Revoke", s.Revoke(t.Context(), choose(p)), nil)
		dead(name, p.Access)
		_, err := s.Refresh(t.Context(), p.Refresh)
		wantErr(t, name+": Refresh", err, tokenauth.ErrSessionEnded)
		wantErr(t, name+": Revoke again", s.Revoke(t.Context(), choose(p)), nil)
	}
	// One that was traded in already: whoever holds it wants the session over.
	used := login(t, s, "alice")
	next, err := s.Refresh(t.Context(), used.Refresh)
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, "Revoke(used refresh token)", s.Revoke(t.Context(), used.Refresh), nil)
	dead("used", next.Access)

	api := apiTokenOf(t, s, other, map[string][]string{"*": {"read"}})
	wantErr(t, "Revoke(api)", s.Revoke(t.Context(), api), nil)
	dead("api", api)
	wantErr(t, "Revoke(api) again", s.Revoke(t.Context(), api), nil)
	for name, raw := range map[string]string{"garbage": "xyz", "nothing": "", "signature": other.Refresh + "A"} {
		wantErr(t, name+": Revoke", s.Revoke(t.Context(), raw), nil)
	}
	if _, err := s.Verifier().Verify(t.Context(), other.Access); err != nil {
		t.Errorf("other session: Verify = %v, want nil", err)
	}
	w.step(time.Hour)
	wantErr(t, "Revoke(expired)", s.Revoke(t.Context(), other.Access), nil)
	if _, err := s.Refresh(t.Context(), other.Refresh); err != nil {
		t.Errorf("Refresh after an expired token was shown = %v, want nil", err)
	}
	wantEvent(t, w, "alice", eventRevoke)
	wantEvent(t, w, "alice", eventTokenRevoke)
}

// A Config without values is one with the defaults, but where zero means none.
func TestConfigIsFilled(t *testing.T) {
	t.Parallel()
	got, want := Config{}.filled(), Default()
	if got.SessionTimeout != want.SessionTimeout || got.CleanupInterval != want.CleanupInterval || got.Issuer != want.Issuer || got.Hash != want.Hash {
		t.Errorf("filled() = %+v, want the defaults", got)
	}
	if got.MaxSessions != 0 || got.LoginMaxAttempts != 0 || got.RefreshGrace != 0 || got.Guest {
		t.Errorf("filled() = %+v, want what may be zero left so", got)
	}
	if set := want.filled(); set != want {
		t.Errorf("filled() = %+v, want %+v", set, want)
	}
}
