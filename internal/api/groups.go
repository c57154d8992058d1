package api

import (
	"context"
	"net/http"
	"time"

	"github.com/romi/plantdb-go/internal/auth"
)

const tagGroups = "groups"

// group is auth.Group on the wire.
type group struct {
	Name        string    `json:"name"`
	Description string    `json:"description"`
	CreatedBy   string    `json:"created_by"`
	CreatedAt   time.Time `json:"created_at"`
	Members     []string  `json:"members" doc:"User names, sorted."`
}

func groupOf(g auth.Group) group {
	return group{g.Name, g.Description, g.CreatedBy, g.CreatedAt, append([]string{}, g.Members...)}
}

type groupList struct {
	Groups []group `json:"groups" doc:"By name."`
}

type newGroup struct {
	Name        string   `json:"name" example:"phenotyping"`
	Description string   `json:"description,omitempty"`
	Members     []string `json:"members,omitempty" doc:"User names."`
	TakeOver    bool     `json:"take_over,omitempty" doc:"Share with it what was shared with a group of that name that was deleted; refused otherwise, as long as there is something."`
}

type groupPath struct {
	Group string `path:"group" doc:"Group name." example:"phenotyping"`
}

type memberPath struct {
	Group    string `path:"group" doc:"Group name." example:"phenotyping"`
	Username string `path:"username" doc:"Compared in lower case." example:"alice"`
}

func (s *server) registerGroups() {
	register(s, route{
		id: "list-groups", method: http.MethodGet, path: "/groups", tag: tagGroups, security: required, needs: byPerson,
		summary: "List groups", doc: "All of them for who manages groups, else those you are a member of.", errors: []int{http.StatusForbidden},
	}, func(ctx context.Context, in *PageQuery) (*reply[groupList], error) {
		list, err := s.auth.Groups(ctx, in.After, in.Limit)
		out := groupList{Groups: make([]group, len(list))}
		for i, g := range list {
			out.Groups[i] = groupOf(g)
		}
		return replyOf(out, err)
	})
	register(s, route{
		id: "create-group", method: http.MethodPost, path: "/groups", tag: tagGroups, security: required, needs: toManageGroups, status: http.StatusCreated,
		faults:  []error{auth.ErrGroupExists, auth.ErrFormerName, auth.ErrGroupName, auth.ErrGroupDescription, auth.ErrUserUnknown, auth.ErrGuest},
		summary: "Create a group", doc: "Needs the permission to manage groups. A name with which scans are still shared, of a group that was deleted, is refused, 409 `former_name`.", errors: accountErrors,
	}, func(ctx context.Context, in *struct{ Payload Strict[newGroup] }) (*reply[group], error) {
		n := in.Payload.Value
		g, err := s.auth.CreateGroup(ctx, auth.NewGroup{Name: n.Name, Description: n.Description, Members: n.Members, TakeOver: n.TakeOver})
		return replyOf(groupOf(g), err)
	})
	register(s, route{
		id: "get-group", method: http.MethodGet, path: "/groups/{group}", tag: tagGroups, security: required, needs: byPerson,
		summary: "Read a group",
		doc:     "Its members may, and who manages groups.", errors: []int{http.StatusForbidden, http.StatusNotFound},
	}, func(ctx context.Context, in *groupPath) (*reply[group], error) {
		g, err := s.auth.Group(ctx, in.Group)
		return replyOf(groupOf(g), err)
	})
	register(s, route{
		id: "delete-group", method: http.MethodDelete, path: "/groups/{group}", tag: tagGroups, security: required, needs: toManageGroups, status: http.StatusNoContent,
		summary: "Delete a group", doc: "Scans shared with it are shared no more, nor with another group of that name unless it is made with `take_over`.", errors: []int{http.StatusForbidden, http.StatusNotFound},
	}, func(ctx context.Context, in *groupPath) (*struct{}, error) {
		return nil, s.auth.DeleteGroup(ctx, in.Group)
	})
	register(s, route{
		id: "add-group-member", method: http.MethodPut, path: "/groups/{group}/members/{username}", tag: tagGroups, security: required, needs: byPerson, status: http.StatusNoContent,
		faults:  []error{auth.ErrGuest},
		summary: "Put a user into a group", doc: "Members may do it, and who manages groups.", errors: []int{http.StatusForbidden, http.StatusNotFound},
	}, func(ctx context.Context, in *memberPath) (*struct{}, error) {
		return nil, s.auth.AddMember(ctx, in.Group, in.Username)
	})
	register(s, route{
		id: "remove-group-member", method: http.MethodDelete, path: "/groups/{group}/members/{username}", tag: tagGroups, security: required, needs: byPerson, status: http.StatusNoContent,
		summary: "Take a user out of a group",
		doc:     "Members may do it, and who manages groups. Scans shared with the group are no more shared with the user.", errors: []int{http.StatusForbidden, http.StatusNotFound},
	}, func(ctx context.Context, in *memberPath) (*struct{}, error) {
		return nil, s.auth.RemoveMember(ctx, in.Group, in.Username)
	})
}
