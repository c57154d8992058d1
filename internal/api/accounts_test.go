package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/api"
	"github.com/romi/plantdb-go/internal/auth"
	"github.com/romi/plantdb-go/internal/pgtest"
	"github.com/romi/plantdb-go/tokenauth"
)

// step is a call and what comes of it: a code of a failure, or a text in the
// body of a success.
type step struct {
	name               string
	method, path, body string
	token              string
	status             int
	want               string
}

// walk makes calls below /api/v1, one after the other.
func (s *site) walk(steps []step) {
	s.t.Helper()
	for _, st := range steps {
		headers := []header{asJSON}
		if st.token != "" {
			headers = append(headers, bearer(st.token))
		}
		a := s.do(st.method, "/api/v1"+st.path, st.body, headers...)
		name := st.method + " " + st.path + ", " + st.name
		switch {
		case st.status >= http.StatusBadRequest:
			wantProblem(s.t, name, a, st.status, st.want)
		case a.status != st.status || !strings.Contains(string(a.body), st.want):
			s.t.Errorf("%s = %d %s, want %d with %s", name, a.status, a.body, st.status, st.want)
		}
	}
}

// textOf returns a text of the answer to a call that succeeds.
func (s *site) textOf(path, body, token, key string) string {
	s.t.Helper()
	a := s.do(http.MethodPost, "/api/v1"+path, body, asJSON, bearer(token))
	text, ok := a.json(s.t)[key].(string)
	if a.status >= http.StatusBadRequest || !ok {
		s.t.Fatalf("POST %s = %d %s, want %s", path, a.status, a.body, key)
	}
	return text
}

// apiToken returns an API token of the bearer that reads everything.
func (s *site) apiToken(token string) string {
	s.t.Helper()
	return s.textOf("/auth/token/create-api-token", `{"token_exp":3600,"datasets":{"*":["read"]},"name":"robot"}`, token, "api_token")
}

func TestLogin(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{TokenLocations: []tokenauth.Location{tokenauth.Header}})
	good := `{"username":"CAROL","password":"` + password + `"}`
	s.walk([]step{
		{"in any case", "POST", "/auth/login", good, "", 200, `"user":{"username":"carol","fullname":"Test carol"}`},
		{"wrong", "POST", "/auth/login", `{"username":"carol","password":"x"}`, "", 401, "invalid_credentials"},
		{"unknown", "POST", "/auth/login", `{"username":"nobody","password":"x"}`, "", 401, "invalid_credentials"},
		{"guest", "POST", "/auth/login", `{"username":"guest","password":"guest"}`, "", 401, "invalid_credentials"},
		{"no password", "POST", "/auth/login", `{"username":"carol"}`, "", 400, "missing_fields"},
		{"nothing", "POST", "/auth/login", `{}`, "", 400, "missing_fields"},
		{"a list", "POST", "/auth/login", `[]`, "", 400, "invalid_request"},
		{"no JSON", "POST", "/auth/login", `{"username":`, "", 400, "invalid_request"},
		{"cookies that are not taken", "POST", "/auth/login?cookies=true", good, "", 400, "cookies_off"},
		{"taken name", "GET", "/auth/login?username=Carol", "", "", 200, `{"username":"Carol","exists":true}`},
		{"free name", "GET", "/auth/login?username=zoe", "", "", 200, `"exists":false`},
		{"no name", "GET", "/auth/login", "", "", 400, "missing_username"},
	})
	a := s.do("POST", "/api/v1/auth/login", good)
	wantProblem(t, "login without content type", a, 415, "unsupported_media_type")
	a = s.do("POST", "/api/v1/auth/login", `{}`, asJSON)
	if v := a.json(t); v["authenticated"] != false || v["message"] != "Missing username or password" {
		t.Errorf("login without fields = %s, want upstream's words", a.body)
	}
	a = s.do("POST", "/api/v1/auth/login", good, asJSON)
	if v := a.json(t); v["message"] != "Login successful" || a.header.Get("Cache-Control") != "no-store" || len(a.header["Set-Cookie"]) != 0 {
		t.Errorf("login = %s, %v, want upstream's words, no-store, no cookies", a.body, a.header)
	}
	a = s.do("POST", "/api/v1/auth/login", `{"username":"carol","password":"`+strings.Repeat("x", 17<<20)+`"}`, asJSON)
	wantProblem(t, "login of 17 MiB", a, 413, "too_large")
}

func TestSessionCap(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{}, func(c *auth.Config) { c.MaxSessions, c.RejectOverCap = 1, true })
	s.login("carol")
	s.walk([]step{{"over the cap", "POST", "/auth/login", `{"username":"carol","password":"` + password + `"}`, "", 409, "session_limit"}})
}

func TestRegister(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{})
	admin, _ := s.login("admin")
	carol, _ := s.login("carol")
	body := func(name, secret, more string) string {
		return `{"username":"` + name + `","fullname":"Some One","password":"` + secret + `"` + more + `}`
	}
	const path = "/auth/register"
	s.walk([]step{
		{"new", "POST", path, body("Zoe", password, ""), admin, 201, `"message":"User Zoe successfully created"`},
		{"an administrator", "POST", path, body("ada", password, `,"role":"admin"`), admin, 201, "ada"},
		{"taken", "POST", path, body("ZOE", password, ""), admin, 409, "user_exists"},
		{"spaces", "POST", path, body("z o e", password, ""), admin, 400, "user_name"},
		{"a dot", "POST", path, body(".", password, ""), admin, 400, "user_name"},
		{"two dots", "POST", path, body("..", password, ""), admin, 400, "user_name"},
		{"empty", "POST", path, body("", password, ""), admin, 400, "missing_fields"},
		{"no password", "POST", path, body("zed", "", ""), admin, 400, "missing_fields"},
		{"short password", "POST", path, body("zed", "short", ""), admin, 400, "password_rule"},
		{"common password", "POST", path, body("zed", "password1", ""), admin, 400, "password_rule"},
		{"unknown role", "POST", path, body("zed", password, `,"role":"king"`), admin, 400, "unknown_role"},
		{"by a contributor", "POST", path, body("zed", password, ""), carol, 403, "forbidden"},
		{"by an API token", "POST", path, body("zed", password, ""), s.apiToken(admin), 403, "forbidden"},
		{"by nobody", "POST", path, body("zed", password, ""), "", 401, "token_missing"},
		{"the reader it made", "POST", "/auth/login", body("zoe", password, ""), "", 200, "zoe"},
	})
	a := s.do("POST", "/register", body("old", password, ""), asJSON, bearer(admin))
	if a.status != 201 || a.json(t)["message"] != "User successfully created" {
		t.Errorf("POST /register = %d %s, want the words of 0.15", a.status, a.body)
	}
	a = s.do("POST", "/api/v1"+path, `{"username":"x"}`, asJSON, bearer(admin))
	if v := a.json(t); a.status != 400 || v["success"] != false {
		t.Errorf("register without password = %s, want success false", a.body)
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{})
	admin, _ := s.login("admin")
	carol, _ := s.login("carol")
	rita, ritas := s.login("rita")
	robot := s.apiToken(rita)
	s.walk([]step{
		{"all", "GET", "/users", "", admin, 200, `"username":"rita"`},
		{"a page", "GET", "/users?limit=1&after=carol", "", admin, 200, `{"users":[{"username":"guest"`},
		{"no page", "GET", "/users?limit=0", "", admin, 400, "invalid_request"},
		{"by a contributor", "GET", "/users", "", carol, 403, "forbidden"},
		{"oneself", "GET", "/users/Carol", "", carol, 200, `"roles":["contributor"],"groups":[],"active":true`},
		{"another", "GET", "/users/rita", "", carol, 403, "forbidden"},
		{"unknown", "GET", "/users/zed", "", admin, 404, "user_not_found"},
		{"own name", "PATCH", "/users/carol", `{"fullname":"Carol C."}`, carol, 200, "Carol C."},
		{"own role", "PATCH", "/users/carol", `{"roles":["admin"]}`, carol, 403, "forbidden"},
		{"another's name", "PATCH", "/users/rita", `{"fullname":"x"}`, carol, 403, "forbidden"},
		{"a role", "PATCH", "/users/rita", `{"roles":["contributor"]}`, admin, 200, `"roles":["contributor"]`},
		{"no such role", "PATCH", "/users/rita", `{"roles":["king"]}`, admin, 400, "unknown_role"},
		{"no roles", "PATCH", "/users/rita", `{"roles":[]}`, admin, 400, "unknown_role"},
		{"no roles, by oneself", "PATCH", "/users/carol", `{"roles":[]}`, carol, 403, "forbidden"},
		{"no name", "PATCH", "/users/rita", `{"fullname":""}`, admin, 400, "user_fullname"},
		{"a number", "PATCH", "/users/rita", `{"fullname":7}`, admin, 400, "invalid_request"},
		{"unknown", "PATCH", "/users/zed", `{"active":false}`, admin, 404, "user_not_found"},
		{"the last administrator's role", "PATCH", "/users/admin", `{"roles":["reader"]}`, admin, 409, "last_admin"},
		{"the last administrator", "PATCH", "/users/admin", `{"active":false}`, admin, 409, "last_admin"},
		{"the guest's role", "PATCH", "/users/guest", `{"roles":["admin"]}`, admin, 400, "guest_user"},
		{"inactive", "PATCH", "/users/rita", `{"active":false}`, admin, 200, `"active":false`},
		{"then the session", "GET", "/users/rita", "", rita, 401, "session_ended"},
		{"then the refresh", "POST", "/auth/token/refresh", `{"refresh_token":"` + ritas + `"}`, "", 401, "session_ended"},
		{"then the API token", "GET", "/auth/profile", "", robot, 401, "token_revoked"},
		{"then a login", "POST", "/auth/login", `{"username":"rita","password":"` + password + `"}`, "", 401, "invalid_credentials"},
		{"active again", "PATCH", "/users/rita", `{"active":true}`, admin, 200, `"active":true`},
		{"which brings nothing back", "GET", "/auth/profile", "", robot, 401, "token_revoked"},
		{"delete by a contributor", "DELETE", "/users/rita", "", carol, 403, "forbidden"},
		{"delete the last administrator", "DELETE", "/users/admin", "", admin, 409, "last_admin"},
		{"delete the guest", "DELETE", "/users/guest", "", admin, 400, "guest_user"},
		{"delete", "DELETE", "/users/rita", "", admin, 204, ""},
		{"delete again", "DELETE", "/users/rita", "", admin, 404, "user_not_found"},
		{"without a body", "PATCH", "/users/carol", "", admin, 400, "invalid_request"},
	})
	a := s.do("PATCH", "/api/v1/users/carol", `fullname=x`, bearer(admin))
	wantProblem(t, "PATCH with a form", a, 415, "unsupported_media_type")
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{})
	admin, _ := s.login("admin")
	carol, _ := s.login("carol")
	other, _ := s.login("carol")
	const next = "another good phrase"
	change := func(current, to string) string {
		return fmt.Sprintf(`{"current_password":%q,"new_password":%q}`, current, to)
	}
	s.walk([]step{
		{"wrong", "POST", "/users/carol/password", change("wrong", next), carol, 403, "wrong_password"},
		{"short", "POST", "/users/carol/password", change(password, "short"), carol, 400, "password_rule"},
		{"none", "POST", "/users/carol/password", `{}`, carol, 400, "missing_fields"},
		// None of these counts as a failed login: the right one is right below.
		{"without the current one", "POST", "/users/carol/password", `{"new_password":"` + next + `"}`, carol, 400, "missing_fields"},
		{"the current one empty", "POST", "/users/carol/password", change("", next), carol, 400, "missing_fields"},
		{"without it again", "POST", "/users/carol/password", `{"new_password":"` + next + `"}`, carol, 400, "missing_fields"},
		{"without the new one", "POST", "/users/carol/password", `{"current_password":"wrong"}`, carol, 400, "missing_fields"},
		{"another's", "POST", "/users/carol/password", change(password, next), admin, 403, "forbidden"},
		{"by nobody", "POST", "/users/carol/password", change(password, next), "", 401, "token_missing"},
		{"right", "POST", "/users/Carol/password", change(password, next), carol, 204, ""},
		{"this session", "GET", "/auth/profile", "", carol, 200, "carol"},
		{"the other session", "GET", "/auth/profile", "", other, 401, "session_ended"},
		{"old password", "POST", "/auth/login", `{"username":"carol","password":"` + password + `"}`, "", 401, "invalid_credentials"},
		{"new password", "POST", "/auth/login", `{"username":"carol","password":"` + next + `"}`, "", 200, "carol"},

		{"by a contributor", "POST", "/users/rita/password-reset", "", carol, 403, "forbidden"},
		{"of nobody", "POST", "/users/zed/password-reset", "", admin, 404, "user_not_found"},
		{"of the guest", "POST", "/users/guest/password-reset", "", admin, 400, "guest_user"},
		{"a guess", "POST", "/auth/password-reset", `{"secret":"guess","new_password":"` + next + `"}`, "", 404, "link_not_valid"},
	})
	if a := s.do("POST", "/api/v1/users/carol/password", change("wrong", next), asJSON, bearer(carol)); a.header.Get("WWW-Authenticate") != "" {
		t.Errorf("wrong password: WWW-Authenticate = %q, want none: no other token would help", a.header.Get("WWW-Authenticate"))
	}
	replaced := s.textOf("/users/rita/password-reset", "", admin, "secret")
	secret := s.textOf("/users/rita/password-reset", "", admin, "secret")
	redeem := func(secret, to string) string { return fmt.Sprintf(`{"secret":%q,"new_password":%q}`, secret, to) }
	rita, _ := s.login("rita") // the old one works until then
	s.walk([]step{
		{"replaced", "POST", "/auth/password-reset", redeem(replaced, next), "", 404, "link_not_valid"},
		{"short", "POST", "/auth/password-reset", redeem(secret, "short"), "", 400, "password_rule"},
		{"good", "POST", "/auth/password-reset", redeem(secret, next), "", 200, `"username":"rita"`},
		{"again", "POST", "/auth/password-reset", redeem(secret, next), "", 404, "link_not_valid"},
		{"sessions end", "GET", "/auth/profile", "", rita, 401, "session_ended"},
		{"new password", "POST", "/auth/login", `{"username":"rita","password":"` + next + `"}`, "", 200, "rita"},
	})
}

func TestSetup(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{})
	if _, err := s.pool.Exec(t.Context(), "DELETE FROM users WHERE username = 'admin'"); err != nil {
		t.Fatal(err)
	}
	setup, err := s.accounts.Bootstrap(t.Context(), auth.FirstStart{})
	if err != nil || setup.Secret == "" || time.Until(setup.Expires) > 30*time.Minute {
		t.Fatalf("Bootstrap = %v, %v, want a secret of half an hour", setup.Expires, err)
	}
	body := func(secret, name, word string) string {
		return fmt.Sprintf(`{"secret":%q,"username":%q,"fullname":"Boss","password":%q}`, secret, name, word)
	}
	s.walk([]step{
		{"a guess", "POST", "/auth/setup", body("guess", "boss", password), "", 404, "link_not_valid"},
		{"short", "POST", "/auth/setup", body(setup.Secret, "boss", "short"), "", 400, "password_rule"},
		{"taken", "POST", "/auth/setup", body(setup.Secret, "carol", password), "", 409, "user_exists"},
		{"no name", "POST", "/auth/setup", body(setup.Secret, "", password), "", 400, "missing_fields"},
		{"good", "POST", "/auth/setup", body(setup.Secret, "Boss", password), "", 201, `"roles":["admin"]`},
		{"again", "POST", "/auth/setup", body(setup.Secret, "boss2", password), "", 404, "link_not_valid"},
	})
	boss, _ := s.login("boss")
	s.walk([]step{{"as boss", "GET", "/users", "", boss, 200, "carol"}})
}

func TestGroups(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{})
	admin, _ := s.login("admin")
	carol, _ := s.login("carol")
	rita, _ := s.login("rita")
	s.walk([]step{
		{"new", "POST", "/groups", `{"name":"lab","description":"The lab","members":["Carol"]}`, admin, 201, `"members":["carol"]`},
		{"taken", "POST", "/groups", `{"name":"lab"}`, admin, 409, "group_exists"},
		{"slash", "POST", "/groups", `{"name":"a/b"}`, admin, 400, "group_name"},
		{"a dot", "POST", "/groups", `{"name":"."}`, admin, 400, "group_name"},
		{"two dots", "POST", "/groups", `{"name":".."}`, admin, 400, "group_name"},
		{"a line break in the description", "POST", "/groups", `{"name":"new","description":"a\nb"}`, admin, 400, "group_description"},
		{"unknown member", "POST", "/groups", `{"name":"new","members":["zed"]}`, admin, 404, "user_not_found"},
		{"guest", "POST", "/groups", `{"name":"new","members":["guest"]}`, admin, 400, "guest_user"},
		{"nothing is left of those", "GET", "/groups/new", "", admin, 404, "group_not_found"},
		{"by a contributor", "POST", "/groups", `{"name":"new"}`, carol, 403, "forbidden"},
		{"all", "GET", "/groups", "", admin, 200, `"name":"lab"`},
		{"own", "GET", "/groups", "", carol, 200, `"name":"lab"`},
		{"none", "GET", "/groups", "", rita, 200, `{"groups":[]}`},
		{"for a member", "GET", "/groups/lab", "", carol, 200, "The lab"},
		{"for others", "GET", "/groups/lab", "", rita, 404, "group_not_found"},
		{"add by a stranger", "PUT", "/groups/lab/members/rita", "", rita, 404, "group_not_found"},
		{"add by a member", "PUT", "/groups/lab/members/Rita", "", carol, 204, ""},
		{"add again", "PUT", "/groups/lab/members/rita", "", carol, 204, ""},
		{"add nobody", "PUT", "/groups/lab/members/zed", "", carol, 404, "user_not_found"},
		{"add the guest", "PUT", "/groups/lab/members/guest", "", carol, 400, "guest_user"},
		{"seen by the new one", "GET", "/auth/profile", "", rita, 200, `"groups":["lab"]`},
		{"remove", "DELETE", "/groups/lab/members/carol", "", rita, 204, ""},
		{"remove again", "DELETE", "/groups/lab/members/carol", "", rita, 404, "user_not_found"},
		{"delete by a member", "DELETE", "/groups/lab", "", rita, 403, "forbidden"},
		{"delete", "DELETE", "/groups/lab", "", admin, 204, ""},
		{"delete again", "DELETE", "/groups/lab", "", admin, 404, "group_not_found"},
		{"by nobody", "GET", "/groups", "", "", 401, "token_missing"},
		{"by an API token", "GET", "/groups", "", s.apiToken(admin), 403, "forbidden"},
	})
}

// Users, groups, their members and quotas come in the order of their bytes, page
// by page and in whole, also on a database that has another order.
func TestAccountsAreInTheOrderOfBytes(t *testing.T) {
	t.Parallel()
	s := newSiteWith(t, pgtest.Collated(t), t.TempDir(), api.Config{})
	boss, _ := s.login("admin")
	names := []string{"a-b", "a.c", "a_a", "ab", "b", "z", "é"}
	must := func(want int, method, path, body string) answer {
		t.Helper()
		a := s.do(method, "/api/v1"+path, body, bearer(boss), asJSON)
		if a.status != want {
			t.Fatalf("%s %s = %d %s", method, path, a.status, a.body)
		}
		return a
	}
	for _, n := range slices.Backward(names) {
		must(http.StatusCreated, http.MethodPost, "/auth/register", fmt.Sprintf(`{"username":%q,"fullname":"F","password":"correct horse"}`, n))
	}
	for _, n := range slices.Backward(names) {
		must(http.StatusCreated, http.MethodPost, "/groups", fmt.Sprintf(`{"name":%q,"members":["b","a_a","ab","a-b"]}`, n))
		must(http.StatusOK, http.MethodPut, "/quotas/users/"+url.PathEscape(n), `{"max_files":1}`)
		must(http.StatusOK, http.MethodPut, "/quotas/groups/"+url.PathEscape(n), `{"max_files":1}`)
	}
	under := func(a answer, list, key string) (all []string) {
		for _, item := range a.json(t)[list].([]any) {
			all = append(all, item.(map[string]any)[key].(string))
		}
		return all
	}
	users := slices.Sorted(slices.Values(append([]string{"admin", "carol", "guest", "rita"}, names...)))
	for _, tt := range []struct {
		list, key string
		want      []string
	}{{"users", "username", users}, {"groups", "name", names}} {
		var all []string
		for after := ""; ; after = all[len(all)-1] {
			page := under(must(http.StatusOK, http.MethodGet, "/"+tt.list+"?limit=2&after="+url.QueryEscape(after), ""), tt.list, tt.key)
			if all = append(all, page...); len(page) < 2 {
				break
			}
		}
		if !slices.Equal(all, tt.want) {
			t.Errorf("pages of %s = %q, want %q", tt.list, all, tt.want)
		}
	}
	for path, key := range map[string]string{"/groups/b": "members", "/users/b": "groups"} {
		want := names
		if key == "members" {
			want = []string{"a-b", "a_a", "ab", "b"}
		}
		if got := must(http.StatusOK, http.MethodGet, path, "").json(t)[key]; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s of %s = %v, want %v", key, path, got, want)
		}
	}
	if got := under(must(http.StatusOK, http.MethodGet, "/quotas", ""), "quotas", "name"); !slices.Equal(got, slices.Concat(names, names)) {
		t.Errorf("quotas = %q, want %q, twice", got, names)
	}
	if got := under(must(http.StatusOK, http.MethodGet, "/usage?user=b", ""), "quotas", "name"); !slices.Equal(got, slices.Concat([]string{"b"}, names)) {
		t.Errorf("quotas of a user = %q, want b, %q", got, names)
	}
}
