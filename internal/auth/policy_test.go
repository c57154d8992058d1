package auth

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/tokenauth"
)

// open are the methods for which a password, a token, a one-time secret or the
// server's own work stands in for an actor.
var open = []string{
	"Actor", "Bootstrap", "Checker", "CleanUp", "CompleteSetup", "Guest", "JWKS", "Load", "Login", "Logout", "MissingGroups", "Owner", "RecordAccess",
	"RedeemReset", "Refresh", "Revoke", "Run", "UsernameExists", "Verifier",
}

// forTokens are those of the others that an API token may call, too.
var forTokens = []string{"Introspect"}

// guarded calls every other method, such that it would do something.
var guarded = map[string]func(ctx context.Context, s *Service) error{
	"Register": func(ctx context.Context, s *Service) error {
		_, err := s.Register(ctx, NewUser{"eve", "Eve", password, nil, false})
		return err
	},
	"Users": func(ctx context.Context, s *Service) error { _, err := s.Users(ctx, "", 1); return err },
	"User":  func(ctx context.Context, s *Service) error { _, err := s.User(ctx, "alice"); return err },
	"UpdateUser": func(ctx context.Context, s *Service) error {
		_, err := s.UpdateUser(ctx, "alice", UserPatch{})
		return err
	},
	"DeleteUser": func(ctx context.Context, s *Service) error { return s.DeleteUser(ctx, "alice") },
	"ChangePassword": func(ctx context.Context, s *Service) error {
		return s.ChangePassword(ctx, "alice", password, "song of myself")
	},
	"ResetPassword": func(ctx context.Context, s *Service) error { _, _, err := s.ResetPassword(ctx, "alice"); return err },
	"CreateAPIToken": func(ctx context.Context, s *Service) error {
		_, _, err := s.CreateAPIToken(ctx, "", time.Hour, map[string][]string{"*": {"read"}})
		return err
	},
	"APITokens":      func(ctx context.Context, s *Service) error { _, err := s.APITokens(ctx, "alice"); return err },
	"RevokeAPIToken": func(ctx context.Context, s *Service) error { return s.RevokeAPIToken(ctx, uuid.New()) },
	"RevokeAPITokens": func(ctx context.Context, s *Service) error {
		_, err := s.RevokeAPITokens(ctx, "alice")
		return err
	},
	"Sessions":    func(ctx context.Context, s *Service) error { _, err := s.Sessions(ctx, "alice"); return err },
	"EndSession":  func(ctx context.Context, s *Service) error { return s.EndSession(ctx, uuid.New()) },
	"EndSessions": func(ctx context.Context, s *Service) error { _, err := s.EndSessions(ctx, "alice", All); return err },
	"Groups":      func(ctx context.Context, s *Service) error { _, err := s.Groups(ctx, "", 1); return err },
	"Group":       func(ctx context.Context, s *Service) error { _, err := s.Group(ctx, "lab"); return err },
	"CreateGroup": func(ctx context.Context, s *Service) error {
		_, err := s.CreateGroup(ctx, NewGroup{Name: "new"})
		return err
	},
	"DeleteGroup":  func(ctx context.Context, s *Service) error { return s.DeleteGroup(ctx, "lab") },
	"AddMember":    func(ctx context.Context, s *Service) error { return s.AddMember(ctx, "lab", "alice") },
	"RemoveMember": func(ctx context.Context, s *Service) error { return s.RemoveMember(ctx, "lab", "alice") },
	"ImportUpstream": func(ctx context.Context, s *Service) error {
		_, err := s.ImportUpstream(ctx, nil, nil, false)
		return err
	},
	"Introspect": func(ctx context.Context, s *Service) error { _, err := s.Introspect(ctx, "xyz"); return err },
}

// TestNobodyMayDoAnything walks the methods of Service: each refuses a context
// without an actor, the guest's, and but for a few that of an API token.
func TestNobodyMayDoAnything(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	register(t, s, "alice", actor.Admin)
	if _, err := s.CreateGroup(system(t.Context()), NewGroup{Name: "lab", Members: []string{"alice"}}); err != nil {
		t.Fatal(err)
	}
	owner, err := s.Actor(t.Context(), &tokenauth.Claims{
		Type: tokenauth.Access, Subject: "alice", SessionID: login(t, s, "alice").AccessClaims.SessionID,
	})
	if err != nil {
		t.Fatal(err)
	}
	guest, token := owner, owner
	guest.Guest = true
	token.Scope = &actor.Scope{Grants: []actor.Grant{{Glob: "*", Permissions: []actor.Permission{actor.ManageUsers, actor.ManageGroups}}}}
	for m := range reflect.TypeFor[*Service]().Methods() {
		call, ok := guarded[m.Name]
		if ok == slices.Contains(open, m.Name) {
			t.Errorf("Service.%s is to be either in open or in guarded", m.Name)
		}
		if !ok {
			continue
		}
		wantErr(t, m.Name+" by nobody", call(t.Context(), s), ErrNoUser)
		wantErr(t, m.Name+" by the guest", call(actor.NewContext(t.Context(), guest), s), ErrNoUser)
		want := error(ErrForbidden)
		if slices.Contains(forTokens, m.Name) {
			want = nil
		}
		wantErr(t, m.Name+" by an API token", call(actor.NewContext(t.Context(), token), s), want)
	}
}
