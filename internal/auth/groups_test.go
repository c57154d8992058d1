package auth

import (
	"slices"
	"testing"

	"github.com/romi/plantdb-go/internal/actor"
)

func TestGroups(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.service(t)
	if _, err := s.Bootstrap(t.Context(), FirstStart{}); err != nil {
		t.Fatal(err)
	}
	register(t, s, "root", actor.Admin)
	for _, u := range []string{"alice", "bob", "eve"} {
		register(t, s, u)
	}
	root, alice, eve := as(t, s, login(t, s, "root")), as(t, s, login(t, s, "alice")), as(t, s, login(t, s, "eve"))

	g, err := s.CreateGroup(root, NewGroup{Name: "plant lab", Description: "who scans", Members: []string{"Alice"}})
	if err != nil || !slices.Equal(g.Members, []string{"alice"}) || g.CreatedBy != "root" {
		t.Fatalf("CreateGroup = %+v, %v, want one of alice by root", g, err)
	}
	_, err = s.CreateGroup(root, NewGroup{Name: "plant lab"})
	wantErr(t, "CreateGroup(taken)", err, ErrGroupExists)
	_, err = s.CreateGroup(root, NewGroup{Name: "other", Members: []string{"nobody"}})
	wantErr(t, "CreateGroup(unknown member)", err, ErrUserUnknown)
	_, err = s.Group(root, "other")
	wantErr(t, "Group that was not made", err, ErrGroupUnknown)
	for _, name := range []string{"", "a/b", " a", "a\n", "a\xff"} {
		_, err = s.CreateGroup(root, NewGroup{Name: name})
		wantErr(t, "CreateGroup("+name+")", err, ErrGroupName)
	}
	_, err = s.CreateGroup(alice, NewGroup{Name: "mine"})
	wantErr(t, "CreateGroup by a reader", err, ErrForbidden)

	wantErr(t, "AddMember by a member", s.AddMember(alice, "plant lab", "BOB"), nil)
	wantErr(t, "AddMember again", s.AddMember(alice, "plant lab", "bob"), nil)
	wantErr(t, "AddMember(unknown)", s.AddMember(alice, "plant lab", "nobody"), ErrUserUnknown)
	wantErr(t, "AddMember(guest)", s.AddMember(alice, "plant lab", "guest"), ErrGuest)
	wantErr(t, "AddMember by a stranger", s.AddMember(eve, "plant lab", "eve"), ErrGroupUnknown)
	wantErr(t, "DeleteGroup by a member", s.DeleteGroup(alice, "plant lab"), ErrForbidden)
	if g, err = s.Group(alice, "plant lab"); err != nil || !slices.Equal(g.Members, []string{"alice", "bob"}) {
		t.Errorf("Group = %+v, %v, want alice and bob", g, err)
	}
	_, err = s.Group(eve, "plant lab")
	wantErr(t, "Group of others", err, ErrGroupUnknown)
	for name, tt := range map[string]struct {
		user string
		want int
	}{"administrator": {"root", 1}, "member": {"alice", 1}, "stranger": {"eve", 0}} {
		groups, err := s.Groups(as(t, s, login(t, s, tt.user)), "", 10)
		if err != nil || len(groups) != tt.want {
			t.Errorf("Groups for the %s = %+v, %v, want %d", name, groups, err, tt.want)
		}
	}
	wantErr(t, "RemoveMember", s.RemoveMember(alice, "plant lab", "bob"), nil)
	wantErr(t, "RemoveMember again", s.RemoveMember(alice, "plant lab", "bob"), ErrUserUnknown)
	wantErr(t, "DeleteGroup", s.DeleteGroup(root, "plant lab"), nil)
	wantErr(t, "DeleteGroup again", s.DeleteGroup(root, "plant lab"), ErrGroupUnknown)
}
