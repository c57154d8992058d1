package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
)

// Who gets the name of a user or group that was deleted does not get what they
// left: the name is refused while anything still has it, unless an
// administrator says that the new one is to take it over.
func TestNamesOfTheDeleted(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates})
	admin, _ := s.login("admin")
	carol, _ := s.login("carol")
	rita, _ := s.login("rita")
	register := func(more string) string {
		return `{"username":"Carol","fullname":"Carol the second","password":"` + password + `"` + more + `}`
	}
	private := func(scan, group string) []step {
		return []step{
			{"private", "PUT", "/scans/" + scan + "/visibility", `{"visibility":"private"}`, carol, 200, "private"},
			{"shared", "PUT", "/scans/" + scan + "/sharing", `{"groups":["` + group + `"]}`, carol, 200, group},
		}
	}
	s.walk([]step{
		{"a group", "POST", "/groups", `{"name":"lab"}`, admin, 201, "lab"},
		{"another", "POST", "/groups", `{"name":"unused"}`, admin, 201, "unused"},
	})
	s.create(carol, "kept", "trashed", "purged")
	for _, scan := range []string{"kept", "trashed", "purged"} {
		s.walk(private(scan, "lab"))
	}
	s.walk([]step{
		{"of carol", "POST", "/timelapses", `{"id":"days"}`, carol, 201, "days"},
		{"into the trash", "DELETE", "/scans/trashed", "", carol, 200, ""},
		{"and another", "DELETE", "/scans/purged", "", carol, 200, ""},
	})
	var trash struct{ Entries []struct{ ID, Scan string } }
	if err := json.Unmarshal(s.do(http.MethodGet, "/api/v1/trash", "", bearer(carol)).body, &trash); err != nil || len(trash.Entries) != 2 || trash.Entries[0].Scan != "purged" {
		t.Fatalf("trash = %+v, %v, want two entries, the last deleted first", trash, err)
	}
	s.walk([]step{
		{"for good", "DELETE", "/trash/" + trash.Entries[0].ID, "", carol, 204, ""},
		{"the groups go", "DELETE", "/groups/lab", "", admin, 204, ""},
		{"the groups go", "DELETE", "/groups/unused", "", admin, 204, ""},
		{"the user goes", "DELETE", "/users/carol", "", admin, 204, ""},

		{"a name that nothing has", "POST", "/groups", `{"name":"unused","members":["rita"]}`, admin, 201, "rita"},
		{"the group again", "POST", "/groups", `{"name":"lab","members":["rita"]}`, admin, 409, "former_name"},
		{"which is not there", "GET", "/groups/lab", "", admin, 404, "group_not_found"},
		{"the user again", "POST", "/auth/register", register(""), admin, 409, "former_name"},
		{"who is not there", "GET", "/users/carol", "", admin, 404, "user_not_found"},
		{"rita reads nothing", "GET", "/scans/kept", "", rita, 404, "unknown_scan"},
	})
	for what, want := range map[string]string{
		"/groups": "The group 'lab' was deleted, and 1 scan, 1 entry of the trash, 1 history of a private scan that is gone still name them. ",
		"/auth/register": "The user 'carol' was deleted, and 1 scan, 1 timelapse, 1 entry of the trash, " +
			"1 history of a private scan that is gone still name them. ",
	} {
		a := s.do(http.MethodPost, "/api/v1"+what, map[string]string{"/groups": `{"name":"lab"}`, "/auth/register": register("")}[what], asJSON, bearer(admin))
		if text := fmt.Sprint(a.json(t)["message"]); !strings.HasPrefix(text, want) {
			t.Errorf("POST %s = %q, want %q", what, text, want)
		}
	}

	// Without a scan that names them the names are free for the scans' part;
	// the rest is taken over because an administrator says so.
	s.walk([]step{
		{"to rita", "PUT", "/scans/kept/owner", `{"owner":"rita"}`, admin, 200, "rita"},
		{"shared no more", "PUT", "/scans/kept/sharing", `{"groups":[]}`, admin, 200, "[]"},
		{"the group still", "POST", "/groups", `{"name":"lab"}`, admin, 409, "former_name"},
		{"the user still", "POST", "/auth/register", register(""), admin, 409, "former_name"},
		{"said so", "POST", "/groups", `{"name":"lab","take_over":true}`, admin, 201, "lab"},
		{"said so", "POST", "/auth/register", register(`,"take_over":true`), admin, 201, "Carol"},
	})
	second, _ := s.login("carol")
	s.walk([]step{
		{"the trash of before", "GET", "/trash", "", second, 200, "trashed"},
		{"not what rita has", "GET", "/scans/kept", "", second, 404, "unknown_scan"},
		{"deleted again", "DELETE", "/groups/lab", "", admin, 204, ""},
		{"and refused again", "POST", "/groups", `{"name":"lab"}`, admin, 409, "former_name"},
	})
	var detail string
	err := s.pool.QueryRow(t.Context(), "SELECT detail FROM auth_events WHERE kind = 'user_create' AND username = 'carol' ORDER BY id DESC LIMIT 1").Scan(&detail)
	if want := "reader; took over 1 timelapse, 1 entry of the trash, 1 history of a private scan that is gone; by admin"; err != nil || detail != want {
		t.Errorf("the audit trail has %q, %v, want %q", detail, err, want)
	}
}
