package actor_test

import (
	"testing"

	"github.com/romi/plantdb-go/internal/actor"
)

// The table of roles and permissions, cell by cell.
func TestRoleAllows(t *testing.T) {
	t.Parallel()
	all := []actor.Permission{actor.Read, actor.Write, actor.Create, actor.Delete, actor.ManageUsers, actor.ManageGroups}
	for role, want := range map[actor.Role]string{
		"":                "......",
		"owner":           "......",
		actor.Reader:      "x.....",
		actor.Contributor: "xxx...",
		actor.Admin:       "xxxxxx",
	} {
		for i, p := range all {
			if got := role.Allows(p); got != (want[i] == 'x') {
				t.Errorf("Role(%q).Allows(%s) = %v, want %v", role, p, got, !got)
			}
		}
	}
}

func TestRank(t *testing.T) {
	t.Parallel()
	for role, want := range map[actor.Role]int{"": 0, "root": 0, actor.Reader: 1, actor.Contributor: 2, actor.Admin: 3} {
		if got := role.Rank(); got != want {
			t.Errorf("Role(%q).Rank() = %d, want %d", role, got, want)
		}
	}
}

func TestParsePermission(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]actor.Permission{
		"READ": actor.Read, "read": actor.Read, "Permission.READ": actor.Read, "Permission.MANAGE_USERS": actor.ManageUsers,
		"manage_groups": actor.ManageGroups, "Create": actor.Create,
		"": "", "reads": "", "Permission.": "", "permission.read": "", "Permission.Permission.READ": "", "\u00a0read": "",
	} {
		got, ok := actor.ParsePermission(in)
		if ok != (want != "") || ok && got != want {
			t.Errorf("ParsePermission(%q) = %q, %v, want %q", in, got, ok, want)
		}
	}
}

func TestParseRole(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]bool{"reader": true, "contributor": true, "admin": true, "": false, "Admin": false, "root": false} {
		if got, ok := actor.ParseRole(in); ok != want || string(got) != in {
			t.Errorf("ParseRole(%q) = %q, %v, want ok %v", in, got, ok, want)
		}
	}
}

func TestHighestRole(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		roles []actor.Role
		want  actor.Role
	}{
		{nil, ""},
		{[]actor.Role{"root"}, ""},
		{[]actor.Role{actor.Reader, actor.Admin, actor.Contributor}, actor.Admin},
		{[]actor.Role{actor.Contributor, actor.Reader}, actor.Contributor},
	} {
		if got := (actor.Actor{Roles: tt.roles}).HighestRole(); got != tt.want {
			t.Errorf("HighestRole(%v) = %q, want %q", tt.roles, got, tt.want)
		}
	}
}

func TestMay(t *testing.T) {
	t.Parallel()
	admin := actor.Actor{Roles: []actor.Role{actor.Admin}}
	token := admin
	token.Scope = &actor.Scope{Grants: []actor.Grant{{Glob: "*", Permissions: []actor.Permission{
		actor.Read, actor.Write, actor.Create, actor.Delete, actor.ManageUsers, actor.ManageGroups,
	}}}}
	for _, tt := range []struct {
		who  string
		a    actor.Actor
		p    actor.Permission
		want bool
	}{
		{"nobody", actor.Actor{}, actor.Read, false},
		{"admin", admin, actor.ManageUsers, true},
		{"admin's token", token, actor.ManageUsers, false}, // whatever it was made with
		{"admin's token", token, actor.ManageGroups, false},
		{"admin's token", token, actor.Create, true},
		{"system", actor.System(), actor.ManageGroups, true},
	} {
		if got := tt.a.May(tt.p); got != tt.want {
			t.Errorf("May(%s, %s) = %v, want %v", tt.who, tt.p, got, tt.want)
		}
	}
	if !admin.IsAdmin() || token.IsAdmin() || (actor.Actor{}).IsAdmin() {
		t.Errorf("IsAdmin: admin %v, its token %v, nobody %v, want true, false, false",
			admin.IsAdmin(), token.IsAdmin(), (actor.Actor{}).IsAdmin())
	}
}

// A token has what it was made for and its owner has now, never more.
func TestMayOn(t *testing.T) {
	t.Parallel()
	token := actor.Actor{Scope: &actor.Scope{Grants: []actor.Grant{
		{Glob: "ds_*", Permissions: []actor.Permission{actor.Read}},
		{Glob: "ds_1*", Permissions: []actor.Permission{actor.Write, actor.Delete}},
	}}}
	for _, tt := range []struct {
		a         actor.Actor
		name      string
		effective actor.Role
		p         actor.Permission
		want      bool
	}{
		{actor.Actor{}, "any", actor.Reader, actor.Read, true},
		{actor.Actor{}, "any", actor.Reader, actor.Write, false},
		{actor.Actor{}, "any", "", actor.Read, false},
		{token, "ds_2", actor.Admin, actor.Read, true},
		{token, "ds_2", actor.Admin, actor.Write, false},
		{token, "ds_12", actor.Admin, actor.Write, true}, // the union of its grants
		{token, "ds_12", actor.Admin, actor.Read, true},
		{token, "ds_12", actor.Contributor, actor.Delete, false}, // its owner may not
		{token, "other", actor.Admin, actor.Read, false},
		{actor.Actor{Scope: &actor.Scope{}}, "any", actor.Admin, actor.Read, false},
	} {
		if got := tt.a.MayOn(tt.name, tt.effective, tt.p); got != tt.want {
			t.Errorf("MayOn(%q, %s, %s) = %v, want %v (scope %+v)", tt.name, tt.effective, tt.p, got, tt.want, tt.a.Scope)
		}
	}
}

func TestInGroup(t *testing.T) {
	t.Parallel()
	a := actor.Actor{Groups: []string{"lab", "farm"}}
	for _, tt := range []struct {
		groups []string
		want   bool
	}{{nil, false}, {[]string{"x"}, false}, {[]string{"x", "farm"}, true}} {
		if got := a.InGroup(tt.groups); got != tt.want {
			t.Errorf("InGroup(%v) = %v, want %v", tt.groups, got, tt.want)
		}
	}
	if (actor.Actor{}).InGroup([]string{""}) {
		t.Error("InGroup of nobody = true, want false")
	}
}

func TestContext(t *testing.T) {
	t.Parallel()
	if a, ok := actor.FromContext(t.Context()); ok {
		t.Errorf("FromContext(no actor) = %+v, want none", a)
	}
	ctx := actor.NewContext(t.Context(), actor.Actor{Username: "ann"})
	ctx = actor.NewContext(ctx, actor.Actor{Username: "bob"})
	if a, ok := actor.FromContext(ctx); !ok || a.Username != "bob" {
		t.Errorf("FromContext() = %+v, %v, want bob", a, ok)
	}
}
