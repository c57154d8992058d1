package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// TestBadInputIsNamed tries each failure that a call of the account routes
// can meet, in upstream's words where it has any.
func TestBadInputIsNamed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	sv := s.start()
	sv.user("alice", "reader")
	admin := sv.login(s.admin()).access
	password := newPassword()
	mint := func(exp, datasets any) map[string]any { return map[string]any{"token_exp": exp, "datasets": datasets} }
	read := map[string]any{"*": []string{"read"}}
	for _, tt := range []struct {
		method, path, token string
		body                any
		status              int
		words               string
	}{
		{"POST", "/auth/login", "", map[string]any{}, 400, "Missing username or password"},
		{"POST", "/auth/login", "", map[string]any{"username": "alice"}, 400, "Missing username or password"},
		{"POST", "/auth/login", "", map[string]any{"username": "", "password": password}, 400, "Missing username or password"},
		{"POST", "/auth/login", "", map[string]any{"username": 7, "password": password}, 400, ""},
		{"POST", "/auth/login", "", []string{"alice"}, 400, ""},
		{"POST", "/auth/login", "", map[string]any{"username": "al\x00ice", "password": password}, 401, "Invalid credentials"},
		{"POST", "/auth/login", "", map[string]any{"username": strings.Repeat("a", 5000), "password": password}, 401, "Invalid credentials"},
		{"POST", "/auth/login", "", map[string]any{"username": "alice", "password": strings.Repeat("long", 500)}, 401, "Invalid credentials"},
		{"GET", "/auth/login", "", nil, 400, "Missing username parameter"},
		{"POST", "/auth/register", admin, map[string]any{"username": "eve"}, 400, "Missing required fields. Please provide username, fullname, and password"},
		{"POST", "/auth/register", admin, user("eve", ""), 400, "Missing required fields"},
		{"POST", "/auth/register", admin, user("", password), 400, "Missing required fields"},
		{"POST", "/auth/register", admin, user("two words", password), 400, ""},
		{"POST", "/auth/register", admin, user("eve", "short"), 400, ""},
		{"POST", "/auth/register", admin, user("eve", "password"), 400, ""},
		{"POST", "/auth/register", admin, user("eve", strings.Repeat("x", 1025)), 400, ""},
		{"POST", "/auth/register", admin, user("ALICE", password), 409, "Failed to create user: User 'alice' already exists"},
		{"POST", "/auth/register", "", user("eve", password), 401, ""},
		{"POST", "/auth/logout", "", nil, 401, "Logout failed, no active session!"},
		{"DELETE", "/auth/logout", "garbage", nil, 401, "Logout failed"},
		{"POST", "/auth/token/validation", "", nil, 401, "Token validation failed: "},
		{"POST", "/auth/token/create-api-token", admin, map[string]any{"token_exp": 60}, 400, `Missing "datasets" field`},
		{"POST", "/auth/token/create-api-token", admin, map[string]any{"datasets": read}, 400, `Missing "token_exp" field`},
		{"POST", "/auth/token/create-api-token", admin, mint("60", read), 400, ""},
		{"POST", "/auth/token/create-api-token", admin, mint(1.5, read), 400, ""},
		{"POST", "/auth/token/create-api-token", admin, mint(0, read), 400, ""},
		{"POST", "/auth/token/create-api-token", admin, mint(-1, read), 400, ""},
		{"POST", "/auth/token/create-api-token", admin, mint(int64(1)<<40, read), 400, ""},
		{"POST", "/auth/token/create-api-token", admin, mint(60, map[string]any{}), 400, ""},
		{"POST", "/auth/token/create-api-token", admin, mint(60, map[string]any{"*": "read"}), 400, ""},
		{"POST", "/auth/token/create-api-token", admin, mint(60, map[string]any{"*": []string{"fly"}}), 400, ""},
		{"POST", "/auth/token/create-api-token", admin, mint(60, map[string]any{"*": []string{}}), 400, ""},
		{"POST", "/auth/token/create-api-token", "", mint(60, read), 401, ""},
		{"DELETE", "/auth/sessions?scope=some", admin, nil, 400, ""},
		{"DELETE", "/auth/sessions/x", admin, nil, 400, ""},
		{"PATCH", "/users/nobody", admin, map[string]any{"fullname": "x"}, 404, ""},
		{"PATCH", "/users/admin", admin, map[string]any{"active": false}, 409, "last active administrator"},
		{"PATCH", "/users/admin", admin, map[string]any{"roles": []string{"reader"}}, 409, "last active administrator"},
		{"DELETE", "/users/admin", admin, nil, 409, "last active administrator"},
		{"POST", "/auth/password-reset", "", map[string]any{"secret": "unknown", "new_password": password}, 404, ""},
	} {
		got := sv.call(request{method: tt.method, path: tt.path, token: tt.token, body: tt.body})
		if got.status != tt.status || !strings.Contains(got.text("message"), tt.words) || got.text("message") == "" ||
			got.text("error") != got.text("message") || got.text("code") == "" {
			t.Errorf("%s %s = %s, want %d, code, and message and error with %q", tt.method, tt.path, got, tt.status, tt.words)
		}
	}
	if got := sv.get("/auth/login?username=ALICE", "").want(t, "check of a name", http.StatusOK); !strings.Contains(string(got.body), `"exists":true`) {
		t.Errorf("check of ALICE = %s, want it to exist: names are compared in lower case", got)
	}
}

func user(name, password string) map[string]any {
	return map[string]any{"username": name, "fullname": "Test " + name, "password": password}
}
