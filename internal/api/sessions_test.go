package api_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/api"
	"github.com/romi/plantdb-go/internal/auth"
	"github.com/romi/plantdb-go/tokenauth"
)

// claims reads what a token says.
func (s *site) claims(raw string) tokenauth.Claims {
	s.t.Helper()
	v := tokenauth.Verifier{Keys: s.keys, Issuer: "plantdb-api", Audience: "plantdb-client"}
	c, err := v.Verify(s.t.Context(), raw)
	if err != nil {
		s.t.Fatalf("Verify = %v", err)
	}
	return *c
}

// expired returns the token as it would be an hour after its end.
func (s *site) expired(raw string) string {
	s.t.Helper()
	c := s.claims(raw)
	c.IssuedAt, c.ExpiresAt = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	old, err := s.keys.Sign(c)
	if err != nil {
		s.t.Fatal(err)
	}
	return old
}

func refreshBody(token string) string { return fmt.Sprintf(`{"refresh_token":%q}`, token) }

func TestRefreshOverHTTP(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{Rates: api.NoRates})
	access, refresh := s.login("carol")
	answers := make([]answer, 20)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = s.do("POST", "/api/v1/auth/token/refresh", refreshBody(refresh), asJSON) })
	}
	all.Wait()
	distinct := map[any]bool{}
	for _, a := range answers {
		if a.status != 200 || a.header.Get("Cache-Control") != "no-store" {
			t.Fatalf("refresh at once = %d %s", a.status, a.body)
		}
		distinct[a.json(t)["refresh_token"]] = true
	}
	if len(distinct) != 1 {
		t.Errorf("20 refreshes of one token gave %d refresh tokens, want 1", len(distinct))
	}
	next := answers[0].json(t)["access_token"].(string)
	s.walk([]step{
		{"the old access token", "GET", "/auth/profile", "", access, 401, "token_revoked"},
		{"the new one", "GET", "/auth/profile", "", next, 200, "carol"},
		{"an access token", "POST", "/auth/token/refresh", refreshBody(next), "", 401, "token_wrong_type"},
		{"missing", "POST", "/auth/token/refresh", `{}`, "", 401, "token_missing"},
		{"no text", "POST", "/auth/token/refresh", `{"refresh_token":7}`, "", 401, "token_missing"},
		{"garbage", "POST", "/auth/token/refresh", refreshBody("a.b.c"), "", 401, "token_malformed"},
		{"expired", "POST", "/auth/token/refresh", refreshBody(s.expired(refresh)), "", 401, "token_expired"},
		{"no JSON", "POST", "/auth/token/refresh", `{`, "", 400, "invalid_request"},
	})
	wantProblem(t, "refresh by a form", s.do("POST", "/api/v1/auth/token/refresh", "refresh_token=x"), 415, "unsupported_media_type")
	for _, body := range []string{`{}`, `{"refresh_token":null}`, `{"refresh_token":""}`, `{"refresh_token":7}`, `{"refresh_token":["x"]}`} {
		wantProblem(t, "POST /token-refresh with "+body, s.do("POST", "/token-refresh", body, asJSON), 400, "missing_refresh_token")
		wantProblem(t, "refresh with "+body, s.do("POST", "/api/v1/auth/token/refresh", body, asJSON), 401, "token_missing")
	}
	wantProblem(t, "POST /token-refresh without JSON", s.do("POST", "/token-refresh", "refresh_token=x"), 415, "unsupported_media_type")
	wantProblem(t, "POST /token-refresh with broken JSON", s.do("POST", "/token-refresh", `{"refresh_token":`, asJSON), 400, "invalid_request")
	wantProblem(t, "POST /token-refresh with garbage", s.do("POST", "/token-refresh", refreshBody("a.b.c"), asJSON), 401, "token_malformed")
	a := s.do("POST", "/api/v1/auth/token/refresh", refreshBody("x"), asJSON)
	if m := a.json(t)["message"]; !strings.HasPrefix(m.(string), "Invalid or expired refresh token: ") {
		t.Errorf("refusal of a refresh = %q, want upstream's words", m)
	}
}

// A refusal of a refresh or logout says what to do about the token that it
// wants, on both paths, and of a permission what would have it.
func TestAdviceOverHTTP(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{Rates: api.NoRates})
	access, refresh := s.login("carol")
	robot := s.apiToken(access)
	says := func(what string, a answer, code, advice string) {
		t.Helper()
		v := a.json(t)
		if v["code"] != code || !strings.HasPrefix(v["detail"].(string), v["message"].(string)) || !strings.HasSuffix(v["detail"].(string), " "+advice) {
			t.Errorf("%s = %d %s, want %s and the advice %q", what, a.status, a.body, code, advice)
		}
	}
	cookie := header{"Cookie", tokenauth.RefreshCookie + "=" + refresh}
	for _, path := range []string{"/api/v1/auth/token/refresh", "/token-refresh"} { // the two routes of a refresh
		says(path+" with an access token", s.do("POST", path, refreshBody(access), asJSON), "token_wrong_type",
			"Send the refresh token of the pair, and not the access token or an API token.")
		says(path+" with an expired token", s.do("POST", path, refreshBody(s.expired(refresh)), asJSON), "token_expired",
			"Log in again: the session was not refreshed in time.")
		says(path+" by cookie alone", s.do("POST", path, "", cookie), "csrf_missing",
			"Send the value of the cookie csrf_refresh_token in the header X-CSRF-TOKEN.")
		says(path+" by cookie and body", s.do("POST", path, refreshBody(refresh), asJSON, cookie), "token_ambiguous",
			"Send the refresh token once: in the body, or as a cookie.")
	}
	says("refresh without a token", s.do("POST", "/api/v1/auth/token/refresh", "{}", asJSON), "token_missing",
		"Send the refresh token as refresh_token of a JSON body, or as the cookie refresh_token_cookie; without one, log in.")
	says("refresh without a token on the older path", s.do("POST", "/token-refresh", "{}", asJSON), "missing_refresh_token",
		"Send the refresh token as refresh_token of a JSON body; without one, log in.")
	for _, path := range []string{"/api/v1/auth/logout", "/logout"} {
		for _, method := range []string{"POST", "DELETE"} {
			says(method+" "+path+" without a token", s.do(method, path, ""), "token_missing",
				"Send the access token, or the refresh token as refresh_token of a JSON body. Who has neither is not logged in.")
			says(method+" "+path+" with an expired token", s.do(method, path, "", bearer(s.expired(access))), "token_expired",
				"Send the refresh token as refresh_token of a JSON body; if that has expired as well, the session is over.")
		}
	}
	says("profile with an expired token", s.do("GET", "/api/v1/auth/profile", "", bearer(s.expired(access))), "token_expired",
		"Trade in the refresh token if that still lives, or log in again; an API token has to be made anew.")
	says("sessions with an API token", s.do("GET", "/api/v1/auth/sessions", "", bearer(robot)), "forbidden",
		"Log in as the one whom it is about: an API token never has this right.")
	says("users with an API token", s.do("GET", "/api/v1/users", "", bearer(robot)), "forbidden",
		"Ask an administrator. An API token never has this right: log in instead.")
}

// What a refresh is refused for, on both paths. None of it ends a session that
// lives, nor uses up a token.
func TestRefusedRefreshes(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{Rates: api.NoRates})
	admin, _ := s.login("admin")
	access, refresh := s.login("carol")
	robot := s.apiToken(access)
	ended, endedRefresh := s.login("carol")
	s.walk([]step{{"", "POST", "/auth/logout", "", ended, 200, ""}})
	for _, name := range []string{"idle", "gone"} {
		s.walk([]step{{"", "POST", "/auth/register", `{"username":"` + name + `","fullname":"X","password":"` + password + `"}`, admin, 201, ""}})
	}
	_, idle := s.login("idle")
	_, gone := s.login("gone")
	s.walk([]step{
		{"", "PATCH", "/users/idle", `{"active":false}`, admin, 200, ""},
		{"", "DELETE", "/users/gone", "", admin, 204, ""},
	})
	other := newBrowser(s)
	other.ask("POST", "/auth/login?cookies=true")
	cookie, csrf := header{"Cookie", tokenauth.RefreshCookie + "=" + other.cookie(tokenauth.RefreshCookie)}, other.csrf(refreshCSRF)

	const v017, v015 = "/api/v1/auth/token/refresh", "/token-refresh"
	for _, tt := range []struct {
		what, body string
		headers    []header
		status     int
		code       string
		older      string // code of the older path where it is another one, with 400
	}{
		{"no token", `{}`, []header{asJSON}, 401, "token_missing", "missing_refresh_token"},
		{"a number", `{"refresh_token":7}`, []header{asJSON}, 401, "token_missing", "missing_refresh_token"},
		{"a truth", `{"refresh_token":true}`, []header{asJSON}, 401, "token_missing", "missing_refresh_token"},
		{"nothing", `{"refresh_token":null}`, []header{asJSON}, 401, "token_missing", "missing_refresh_token"},
		{"an empty text", `{"refresh_token":""}`, []header{asJSON}, 401, "token_missing", "missing_refresh_token"},
		{"a list with the token", `{"refresh_token":["` + refresh + `"]}`, []header{asJSON}, 401, "token_missing", "missing_refresh_token"},
		{"an object with the token", `{"refresh_token":{"refresh_token":"` + refresh + `"}}`, []header{asJSON}, 401, "token_missing", "missing_refresh_token"},
		{"the token under another key", `{"token":"` + refresh + `"}`, []header{asJSON}, 401, "token_missing", "missing_refresh_token"},
		{"a list", `["` + refresh + `"]`, []header{asJSON}, 400, "invalid_request", ""},
		{"a text", `"` + refresh + `"`, []header{asJSON}, 400, "invalid_request", ""},
		{"two objects", `{}{}`, []header{asJSON}, 400, "invalid_request", ""},
		{"an empty body", "", []header{asJSON}, 400, "invalid_request", ""},
		{"no JSON", `refresh_token=` + refresh, []header{asJSON}, 400, "invalid_request", ""},
		{"a form", `refresh_token=` + refresh, []header{{"Content-Type", "application/x-www-form-urlencoded"}}, 415, "unsupported_media_type", ""},
		{"no type", refreshBody(refresh), nil, 415, "unsupported_media_type", ""},
		{"a body too large", `{"refresh_token":"` + strings.Repeat("x", 2<<20) + `"}`, []header{asJSON}, 413, "too_large", ""},
		{"a token too large", refreshBody(strings.Repeat("x", 9<<10)), []header{asJSON}, 401, "token_malformed", ""},
		{"the token with its scheme", refreshBody("Bearer " + refresh), []header{asJSON}, 401, "token_malformed", ""},
		{"the access token", refreshBody(access), []header{asJSON}, 401, "token_wrong_type", ""},
		{"an API token", refreshBody(robot), []header{asJSON}, 401, "token_wrong_type", ""},
		{"a token of an ended session", refreshBody(endedRefresh), []header{asJSON}, 401, "session_ended", ""},
		{"a token of a user who is switched off", refreshBody(idle), []header{asJSON}, 401, "session_ended", ""},
		{"a token of a user who is deleted", refreshBody(gone), []header{asJSON}, 401, "refresh_token_unknown", ""},
		{"body and cookie with two tokens", refreshBody(refresh), []header{asJSON, cookie, csrf}, 400, "token_ambiguous", ""},
		{"a body that is no text, and a cookie", `{"refresh_token":7}`, []header{asJSON, cookie, csrf}, 400, "token_ambiguous", ""},
		{"a cookie alone", "", []header{cookie}, 401, "csrf_missing", ""},
		{"a cookie with the access token", "", []header{{"Cookie", tokenauth.RefreshCookie + "=" + access}, csrf}, 401, "token_wrong_type", ""},
		{"two cookies", "", []header{{"Cookie", cookie.value + "; " + cookie.value}, csrf}, 400, "token_ambiguous", ""},
	} {
		a := s.do("POST", v017, tt.body, tt.headers...)
		wantProblem(t, "refresh with "+tt.what, a, tt.status, tt.code)
		if m, _ := a.json(t)["message"].(string); tt.status == 401 && !strings.HasPrefix(m, "Invalid or expired refresh token: ") {
			t.Errorf("refresh with %s says %q, want upstream's words", tt.what, m)
		}
		status, code := tt.status, tt.code
		if tt.older != "" {
			status, code = 400, tt.older
		}
		wantProblem(t, "refresh on the older path with "+tt.what, s.do("POST", v015, tt.body, tt.headers...), status, code)
	}
	s.textOf("/auth/token/refresh", refreshBody(refresh), "", "refresh_token")
	if a := other.ask("POST", "/auth/token/refresh", csrf); a.status != 200 {
		t.Errorf("refresh by the cookie afterwards = %d %s", a.status, a.body)
	}
}

func TestRefreshReuseOverHTTP(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{}, func(c *auth.Config) { c.RefreshGrace = 0 })
	_, first := s.login("carol")
	other, _ := s.login("carol")
	second := s.textOf("/auth/token/refresh", refreshBody(first), "", "refresh_token")
	s.walk([]step{
		{"again", "POST", "/auth/token/refresh", refreshBody(first), "", 401, "refresh_token_reused"},
		{"the thief's", "POST", "/auth/token/refresh", refreshBody(second), "", 401, "session_ended"},
		{"another session", "GET", "/auth/profile", "", other, 200, "carol"},
	})
	var events int
	if err := s.pool.QueryRow(t.Context(), "SELECT count(*) FROM auth_events WHERE kind = 'reuse' AND username = 'carol'").Scan(&events); err != nil || events != 1 {
		t.Errorf("events of reuse = %d, %v, want 1", events, err)
	}
}

func TestLogout(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{})
	access, refresh := s.login("carol")
	robot := s.apiToken(access)
	s.walk([]step{
		{"by nobody", "POST", "/auth/logout", "", "", 401, "token_missing"},
		{"by an API token", "POST", "/auth/logout", "", robot, 401, "logout_failed"},
		{"by garbage and a good refresh token", "POST", "/auth/logout", refreshBody(refresh), "garbage", 401, "token_malformed"},
		{"by a refresh token as bearer", "POST", "/auth/logout", "", refresh, 401, "token_wrong_type"},
		{"by an expired token alone", "POST", "/auth/logout", "", s.expired(access), 401, "token_expired"},
		{"by an expired token and an expired refresh token", "POST", "/auth/logout", refreshBody(s.expired(refresh)), s.expired(access), 401, "token_expired"},
		{"by an expired token and an access token", "POST", "/auth/logout", refreshBody(access), s.expired(access), 401, "token_wrong_type"},
		{"none of that", "GET", "/auth/profile", "", access, 200, "carol"},
		{"by a token", "POST", "/auth/logout", "", access, 200, `{"message":"Logout successful from carol"}`},
		{"again", "POST", "/auth/logout", "", access, 401, "session_ended"},
		{"then the refresh token", "POST", "/auth/token/refresh", refreshBody(refresh), "", 401, "session_ended"},
		{"then the access token", "GET", "/auth/profile", "", access, 401, "session_ended"},
		{"but not the API token", "GET", "/auth/profile", "", robot, 200, "carol"},
	})
	access, refresh = s.login("carol")
	s.walk([]step{
		{"by an expired token and a refresh token", "POST", "/auth/logout", refreshBody(refresh), s.expired(access), 200, "from carol"},
		{"which ends both", "GET", "/auth/profile", "", access, 401, "session_ended"},
		{"once", "POST", "/auth/logout", refreshBody(refresh), s.expired(access), 401, "session_ended"},
	})
	access, refresh = s.login("carol")
	refresh = s.textOf("/auth/token/refresh", refreshBody(refresh), "", "refresh_token")
	s.walk([]step{
		{"by a token that went with a refresh", "POST", "/auth/logout", "", access, 401, "token_revoked"},
		{"by it and the refresh token", "POST", "/auth/logout", refreshBody(refresh), access, 200, "from carol"},
		{"which ends the session", "POST", "/auth/token/refresh", refreshBody(refresh), "", 401, "session_ended"},
	})
	_, refresh = s.login("carol")
	s.walk([]step{{"by a refresh token alone", "DELETE", "/auth/logout", refreshBody(refresh), "", 200, "from carol"}})
	access, _ = s.login("carol")
	if a := s.do("DELETE", "/logout", "", bearer(access)); a.status != 200 || a.header.Get("Deprecation") == "" {
		t.Errorf("DELETE /logout = %d %s, want 200 of an older path", a.status, a.body)
	}
	if a := s.do("POST", "/api/v1/auth/logout", ""); a.json(t)["message"] != "Logout failed, no active session!" || a.header.Get("WWW-Authenticate") == "" {
		t.Errorf("logout without token = %s, %v, want upstream's words and a challenge", a.body, a.header)
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{})
	admin, _ := s.login("admin")
	here, _ := s.login("carol")
	there, _ := s.login("carol")
	rita, _ := s.login("rita")
	ritas := s.claims(rita).SessionID
	s.walk([]step{
		{"mine", "GET", "/auth/sessions", "", here, 200, `"current":true`},
		{"of an API token", "GET", "/auth/sessions", "", s.apiToken(here), 403, "forbidden"},
		{"of another", "DELETE", "/auth/sessions/" + ritas, "", here, 404, "session_not_found"},
		{"no id", "DELETE", "/auth/sessions/x", "", here, 400, "invalid_request"},
		{"by scope", "DELETE", "/auth/sessions?scope=others", "", here, 200, `"ended":1`},
		{"which ends the other", "GET", "/auth/profile", "", there, 401, "session_ended"},
		{"and not this", "GET", "/auth/profile", "", here, 200, "carol"},
		{"no scope", "DELETE", "/auth/sessions", "", here, 400, "invalid_request"},
		{"bad scope", "DELETE", "/auth/sessions?scope=some", "", here, 400, "invalid_request"},
		{"one", "DELETE", "/auth/sessions/" + s.claims(here).SessionID, "", here, 204, ""},
		{"which was this", "GET", "/auth/profile", "", here, 401, "session_ended"},
		{"an administrator's view", "GET", "/users/rita/sessions", "", admin, 200, ritas},
		{"of nobody", "GET", "/users/zed/sessions", "", admin, 404, "user_not_found"},
		{"of an administrator", "GET", "/users/admin/sessions", "", rita, 403, "forbidden"},
		{"end of another's, by id", "DELETE", "/auth/sessions/" + ritas, "", admin, 204, ""},
		{"again", "DELETE", "/auth/sessions/" + ritas, "", admin, 404, "session_not_found"},
		{"end of all of nobody", "DELETE", "/users/zed/sessions", "", admin, 404, "user_not_found"},
	})
	rita, _ = s.login("rita")
	s.walk([]step{
		{"by another", "DELETE", "/users/admin/sessions", "", rita, 403, "forbidden"},
		{"end of all", "DELETE", "/users/rita/sessions", "", admin, 200, `"ended":1`},
		{"then", "GET", "/auth/profile", "", rita, 401, "session_ended"},
		{"all of mine", "DELETE", "/auth/sessions?scope=all", "", admin, 200, `"ended":1`},
		{"then", "GET", "/auth/profile", "", admin, 401, "session_ended"},
	})
}

func TestAPITokens(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{})
	carol, _ := s.login("carol")
	rita, _ := s.login("rita")
	const path = "/auth/token/create-api-token"
	robot := s.apiToken(carol)
	id := s.claims(robot).ID
	s.walk([]step{
		{"in upstream's spelling", "POST", path, `{"token_exp":60,"datasets":{"a*":["Permission.READ","WRITE"]}}`, carol, 200, `"expiration date":"2`},
		{"no datasets", "POST", path, `{"token_exp":60}`, carol, 400, "missing_datasets"},
		{"no life", "POST", path, `{"datasets":{"*":["read"]}}`, carol, 400, "missing_token_exp"},
		{"half a second", "POST", path, `{"token_exp":0.5,"datasets":{"*":["read"]}}`, carol, 400, "invalid_token_exp"},
		{"no second", "POST", path, `{"token_exp":0,"datasets":{"*":["read"]}}`, carol, 400, "invalid_token_exp"},
		{"three years", "POST", path, `{"token_exp":94608000,"datasets":{"*":["read"]}}`, carol, 400, "api_token"},
		{"empty", "POST", path, `{"token_exp":60,"datasets":{}}`, carol, 400, "api_token"},
		{"a pattern that is no text", "POST", path, `{"token_exp":60,"datasets":{"a\ud800*":["read"]}}`, carol, 400, "api_token"},
		{"a pattern that is no UTF-8", "POST", path, "{\"token_exp\":60,\"datasets\":{\"a\xff*\":[\"read\"]}}", carol, 400, "api_token"},
		{"a text for a list", "POST", path, `{"token_exp":60,"datasets":{"*":"read"}}`, carol, 400, "invalid_datasets"},
		{"unknown permission", "POST", path, `{"token_exp":60,"datasets":{"*":["fly"]}}`, carol, 400, "api_token"},
		{"by an API token", "POST", path, `{"token_exp":60,"datasets":{"*":["read"]}}`, robot, 403, "forbidden"},
		{"by nobody", "POST", path, `{"token_exp":60,"datasets":{"*":["read"]}}`, "", 401, "token_missing"},
		{"list", "GET", "/auth/api-tokens", "", carol, 200, `"name":"robot"`},
		{"validation", "POST", "/auth/token/validation", "", robot, 200, `{"message":"Token validation successful","user":{"username":"carol"`},
		{"of another", "DELETE", "/auth/api-tokens/" + id, "", rita, 404, "api_token_not_found"},
		{"by itself", "DELETE", "/auth/api-tokens/" + id, "", robot, 403, "forbidden"},
		{"revoke", "DELETE", "/auth/api-tokens/" + id, "", carol, 204, ""},
		{"again", "DELETE", "/auth/api-tokens/" + id, "", carol, 404, "api_token_not_found"},
		{"then", "POST", "/auth/token/validation", "", robot, 401, "token_revoked"},
	})
	a := s.do("POST", "/api/v1/auth/token/validation", "", bearer("x"))
	if m := a.json(t)["message"]; m != "Token validation failed: Malformed token" {
		t.Errorf("validation of garbage = %q, want upstream's words", m)
	}
}

// Who manages users lists and revokes anybody's API tokens, others their own; each
// that is revoked is one row of the audit trail, and one that is expired is none.
func TestAPITokensOfAUser(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{Rates: api.NoRates})
	admin, _ := s.login("admin")
	carol, _ := s.login("carol")
	rita, _ := s.login("rita")
	one, two, other := s.apiToken(carol), s.apiToken(carol), s.apiToken(rita)
	if _, err := s.pool.Exec(t.Context(), `INSERT INTO api_tokens (id, user_id, datasets, created_at, expires_at)
		SELECT gen_random_uuid(), id, '{"*": ["read"]}', now() - interval '2 days', now() - interval '1 day' FROM users WHERE username = 'carol'`); err != nil {
		t.Fatal(err)
	}
	const path = "/users/carol/api-tokens"
	s.walk([]step{
		{"an administrator's view", "GET", "/users/Carol/api-tokens", "", admin, 200, s.claims(one).ID},
		{"one's own", "GET", path, "", carol, 200, s.claims(two).ID},
		{"another's", "GET", path, "", rita, 403, "forbidden"},
		{"by an API token", "GET", path, "", one, 403, "forbidden"},
		{"by nobody", "GET", path, "", "", 401, "token_missing"},
		{"of nobody", "GET", "/users/zed/api-tokens", "", admin, 404, "user_not_found"},
		{"of none", "GET", "/users/admin/api-tokens", "", admin, 200, `{"api_tokens":[]}`},
		{"all of another's", "DELETE", path, "", rita, 403, "forbidden"},
		{"all by an API token", "DELETE", path, "", one, 403, "forbidden"},
		{"all by nobody", "DELETE", path, "", "", 401, "token_missing"},
		{"all of nobody", "DELETE", "/users/zed/api-tokens", "", admin, 404, "user_not_found"},
		{"all of none", "DELETE", "/users/admin/api-tokens", "", admin, 200, `"revoked":0`},
		{"and it still counts", "GET", "/auth/profile", "", one, 200, "carol"},
		{"all, by an administrator", "DELETE", path, "", admin, 200, `{"message":"API tokens revoked","revoked":2}`},
		{"the one", "GET", "/auth/profile", "", one, 401, "token_revoked"},
		{"the other", "GET", "/auth/profile", "", two, 401, "token_revoked"},
		{"that of another user", "GET", "/auth/profile", "", other, 200, "rita"},
		{"the session", "GET", "/auth/profile", "", carol, 200, "carol"},
		{"again", "DELETE", path, "", admin, 200, `"revoked":0`},
		{"none are left", "GET", path, "", admin, 200, `{"api_tokens":[]}`},
		{"one's own", "DELETE", "/users/rita/api-tokens", "", rita, 200, `"revoked":1`},
	})
	var events, named int
	err := s.pool.QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE username = 'carol' AND detail = 'revoked; by admin' AND request_id <> '' AND token_id = ANY ($1))
		FROM auth_events WHERE kind = 'token_revoke'`, []string{s.claims(one).ID, s.claims(two).ID}).Scan(&events, &named)
	if err != nil || events != 3 || named != 2 {
		t.Errorf("%d events of revoked tokens, %d of carol's by admin (%v), want 3 and 2", events, named, err)
	}
}

func TestIntrospectAndRevoke(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{})
	admin, _ := s.login("admin")
	carol, refresh := s.login("carol")
	rita, _ := s.login("rita")
	robot := s.apiToken(carol)
	inactive := "{\"active\":false}\n"
	ask := func(caller, token string) answer {
		return s.do("POST", "/api/v1/auth/introspect", url.Values{"token": {token}, "token_type_hint": {"access_token"}}.Encode(),
			bearer(caller), header{"Content-Type", "application/x-www-form-urlencoded"})
	}
	a := ask(admin, carol)
	c := s.claims(carol)
	want := map[string]any{
		"active": true, "scope": "read write create", "username": "carol", "token_type": "Bearer", "sub": "carol", "aud": "plantdb-client", "iss": "plantdb-api",
		"exp": float64(c.ExpiresAt.Unix()), "iat": float64(c.IssuedAt.Unix()), "jti": c.ID, "sid": c.SessionID,
	}
	if got := a.json(t); a.status != 200 || fmt.Sprint(got) != fmt.Sprint(want) || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("introspect = %d %v, want %v", a.status, got, want)
	}
	if got := ask(carol, robot).json(t); got["active"] != true || got["scope"] != "read" || got["sid"] != nil || fmt.Sprint(got["datasets"]) != "map[*:[read]]" {
		t.Errorf("introspect of an API token = %v", got)
	}
	if got := ask(robot, refresh).json(t); got["active"] != true || got["token_type"] != "refresh_token" || got["scope"] != nil {
		t.Errorf("introspect of a refresh token by one's own API token = %v", got)
	}
	for name, a := range map[string]answer{"another's": ask(rita, carol), "garbage": ask(admin, "xyz"), "expired": ask(admin, s.expired(carol))} {
		if a.status != 200 || string(a.body) != inactive {
			t.Errorf("introspect of %s = %d %s, want %s", name, a.status, a.body, inactive)
		}
	}
	s.walk([]step{
		{"as JSON", "POST", "/auth/introspect", `{"token":"` + carol + `"}`, carol, 200, `"active":true`},
		{"none", "POST", "/auth/introspect", `{}`, carol, 400, "missing_token"},
		{"by nobody", "POST", "/auth/introspect", `{"token":"x"}`, "", 401, "token_missing"},
		{"revoke none", "POST", "/auth/revoke", `{}`, "", 400, "missing_token"},
		{"revoke garbage", "POST", "/auth/revoke", `{"token":"xyz","token_type_hint":"nonsense"}`, "", 200, ""},
		{"revoke expired", "POST", "/auth/revoke", `{"token":"` + s.expired(carol) + `"}`, "", 200, ""},
		{"nothing is revoked so far", "GET", "/auth/profile", "", carol, 200, "carol"},
	})
	for _, path := range []string{"/auth/introspect", "/auth/revoke"} {
		wantProblem(t, path+" as text", s.do("POST", "/api/v1"+path, "token=x", bearer(carol), header{"Content-Type", "text/plain"}), 415, "unsupported_media_type")
		wantProblem(t, path+" with two tokens", s.do("POST", "/api/v1"+path, "token=x&token=y", bearer(carol), header{"Content-Type", "application/x-www-form-urlencoded"}), 400, "invalid_request")
	}
	filled := "x=" + strings.Repeat("1", 80_000) + "&" // more than any token, less than a body may have
	asForm := header{"Content-Type", "application/x-www-form-urlencoded"}
	if a := s.do("POST", "/api/v1/auth/introspect", filled+"token="+carol, bearer(carol), asForm); !strings.Contains(string(a.body), `"active":true`) {
		t.Errorf("introspect of a token behind %d bytes of form = %d %s, want it active", len(filled), a.status, a.body)
	}
	wantProblem(t, "revoke by a form over a mebibyte", s.do("POST", "/api/v1/auth/revoke", strings.Repeat(filled, 14)+"token="+carol, asForm), 413, "too_large")
	a = s.do("POST", "/api/v1/auth/revoke", url.Values{"token": {refresh}}.Encode(), header{"Content-Type", "application/x-www-form-urlencoded"})
	if a.status != 200 || len(a.body) != 0 {
		t.Errorf("revoke = %d %s, want 200 and nothing", a.status, a.body)
	}
	s.walk([]step{
		{"the access token died with the refresh token", "GET", "/auth/profile", "", carol, 401, "session_ended"},
		{"the API token lives", "GET", "/auth/profile", "", robot, 200, "carol"},
		{"revoke it", "POST", "/auth/revoke", `{"token":"` + robot + `"}`, "", 200, ""},
		{"revoke it again", "POST", "/auth/revoke", `{"token":"` + robot + `"}`, "", 200, ""},
		{"then", "GET", "/auth/profile", "", robot, 401, "token_revoked"},
	})
	if a := ask(admin, robot); string(a.body) != inactive {
		t.Errorf("introspect of a revoked token = %s, want %s", a.body, inactive)
	}
}

func TestTokenInspection(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{TokenLocations: []tokenauth.Location{tokenauth.Header, tokenauth.Cookie, tokenauth.Query}})
	access, _ := s.login("carol")
	s.walk([]step{
		{"none", "GET", "/auth/token/optional", "", "", 200, `{"found":false,"location":"","type":"","csrf":false}`},
		{"one, not validated", "GET", "/auth/token/optional", "", "garbage", 200, `{"found":true,"location":"headers","type":"access","csrf":false}`},
		{"in the query", "GET", "/auth/token/mandatory?token=garbage", "", "", 200, `"location":"query"`},
		{"none", "GET", "/auth/token/mandatory", "", "", 401, "token_missing"},
		{"profile by query", "GET", "/auth/profile?token=" + access, "", "", 200, "carol"},
	})
	both := []header{bearer(access), {"Cookie", tokenauth.AccessCookie + "=" + access}}
	wantProblem(t, "optional with header and cookie", s.do("GET", "/api/v1/auth/token/optional", "", both...), 400, "token_ambiguous")
	wantProblem(t, "profile with header and cookie", s.do("GET", "/api/v1/auth/profile", "", both...), 400, "token_ambiguous")
	wantProblem(t, "logout with header and cookie", s.do("POST", "/api/v1/auth/logout", "", both...), 400, "token_ambiguous")
	wantProblem(t, "profile without the scheme", s.do("GET", "/api/v1/auth/profile", "", header{"Authorization", access}), 401, "token_malformed")
	if a := s.do("GET", "/profile", "", header{"Authorization", "bEaReR " + access}); a.status != 200 {
		t.Errorf("GET /profile with a scheme in odd case = %d %s, want 200", a.status, a.body)
	}
}

// TestPublicKeys: with a secret there are none.
func TestPublicKeys(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{})
	wantProblem(t, "GET /.well-known/jwks.json", s.do("GET", "/.well-known/jwks.json", ""), 404, "no_public_keys")
	if err := s.keys.Replace(newEd25519(t)); err != nil {
		t.Fatal(err)
	}
	a := s.do("GET", "/.well-known/jwks.json", "")
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(a.body, &set); err != nil || a.status != 200 || len(set.Keys) != 1 || set.Keys[0]["kty"] != "OKP" || set.Keys[0]["x"] == "" {
		t.Errorf("GET /.well-known/jwks.json = %d %s, %v, want one key", a.status, a.body, err)
	}
	if got := a.header.Values("Cache-Control"); !slices.Equal(got, []string{"public, max-age=60"}) {
		t.Errorf("Cache-Control = %q, want a minute for everybody", got)
	}
}
