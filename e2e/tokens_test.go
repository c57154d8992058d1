package e2e

import (
	"net/http"
	"testing"
	"time"
)

// bad is a token that must be refused, and by which code.
type bad struct{ name, raw, code string }

// badTokens returns one of each kind, made of a good pair and the key that
// signed it.
func badTokens(t *testing.T, p pair, key []byte) []bad {
	t.Helper()
	header, claims := part(t, p.access, 0), claimsOf(t, p.access)
	other, _ := newKey()
	now := time.Now().Unix()
	none := forge(t, header.with("alg", "none"), claims, unsigned)
	return []bad{
		{"garbage", "garbage", "token_malformed"},
		{"garbage in three parts", "eyJhbGciOiJIUzUxMiJ9.garbage.garbage", "token_unknown_key"},
		{"over 8 KiB", p.access + string(make9K()), "token_malformed"},
		{"alg none", none, "token_signature"},
		{"alg none, signed", none + "x", "token_signature"},
		{"alg none, no kid", forge(t, object{"alg": "none", "typ": "JWT"}, claims, unsigned), "token_unknown_key"},
		{"HS256 by our key", forge(t, header.with("alg", "HS256"), claims, hs256(key)), "token_signature"},
		{"HS256 that says HS512", forge(t, header, claims, hs256(key)), "token_signature"},
		{"HS512 that says HS256", forge(t, header.with("alg", "HS256"), claims, hs512(key)), "token_signature"},
		{"RS256 with our kid", forge(t, header.with("alg", "RS256"), claims, rs256), "token_signature"},
		{"another key with our kid", forge(t, header, claims, hs512(other)), "token_signature"},
		{"unknown kid", forge(t, header.with("kid", "unknown"), claims, hs512(key)), "token_unknown_key"},
		{"no kid", forge(t, header.without("kid"), claims, hs512(key)), "token_unknown_key"},
		{"another issuer", forge(t, header, claims.with("iss", "somebody"), hs512(key)), "token_issuer"},
		{"no issuer", forge(t, header, claims.without("iss"), hs512(key)), "token_issuer"},
		{"another audience", forge(t, header, claims.with("aud", "somebody"), hs512(key)), "token_audience"},
		{"expired", forge(t, header, claims.with("exp", now-3600), hs512(key)), "token_expired"},
		{"never expires", forge(t, header, claims.without("exp"), hs512(key)), "token_malformed"},
		{"of the future", forge(t, header, claims.with("iat", now+3600).with("exp", now+7200), hs512(key)), "token_not_yet_valid"},
		{"refresh token", p.refresh, "token_wrong_type"},
		{"unknown type", forge(t, header, claims.with("type", "id"), hs512(key)), "token_wrong_type"},
		{"no type", forge(t, header, claims.without("type"), hs512(key)), "token_malformed"},
		{"access token that says API token", forge(t, header, claims.with("type", "api"), hs512(key)), "access_token_unknown"},
		{"unknown session", forge(t, header, claims.with("sid", "01890000-0000-7000-8000-000000000000"), hs512(key)), "access_token_unknown"},
	}
}

func make9K() []byte {
	b := make([]byte, 9<<10)
	for i := range b {
		b[i] = 'A'
	}
	return b
}

func TestForgedTokensAreRefused(t *testing.T) {
	t.Parallel()
	key, setting := newKey()
	sv := newSite(t, "JWT_SECRET_KEY="+setting).start()
	p := sv.login(sv.user("alice", "contributor"))
	header, claims := part(t, p.access, 0), claimsOf(t, p.access)
	if again := forge(t, header, claims, hs512(key)); !sv.takes(again) {
		t.Fatal("what this test signs is refused even when it is right, so that the rest would prove nothing")
	}
	for _, b := range badTokens(t, p, key) {
		byHeader := sv.call(validationOf(b.raw))
		byCookie := sv.call(request{method: http.MethodGet, path: "/auth/profile", header: http.Header{"Cookie": {"access_token_cookie=" + b.raw}}})
		for way, got := range map[string]answer{"header": byHeader, "cookie": byCookie} {
			got.refused(t, b.name+" by "+way, "")
			if got.text("code") != b.code {
				t.Errorf("%s by %s = %s, want the code %s", b.name, way, got, b.code)
			}
		}
	}
	sv.call(validationOf(forge(t, header, claims.with("sub", adminName), hs512(key)))).refused(t, "another user's session", "Unknown")
	if !sv.takes(p.access) {
		t.Error("a forged token ended the session")
	}
}

// TestTokenIsJudgedInOrder shows a token that has every fault there is and then
// takes them away, the first first: each time the answer names the first that is left,
// so that nothing of a token is told to who could not sign it, and the database is
// asked last.
func TestTokenIsJudgedInOrder(t *testing.T) {
	t.Parallel()
	key, setting := newKey()
	s := newSite(t, "JWT_SECRET_KEY="+setting)
	sv := s.start()
	alice := sv.user("alice", "reader")
	ended, live := sv.login(alice), sv.login(alice)
	sv.call(logoutOf(ended.access)).want(t, "logout", http.StatusOK)
	// By SQL, for the API ends the sessions of whom it switches off.
	s.exec("UPDATE users SET is_active = false WHERE username = 'alice'")

	now := time.Now().Unix()
	good := claimsOf(t, ended.access)
	claims := good.with("iss", "somebody").with("aud", "somebody").with("exp", now-3600).with("iat", now+3600).with("type", "refresh")
	header := part(t, ended.access, 0)
	kid, csrf, long, signed := "unknown", "", string(make9K()), false
	for _, step := range []struct {
		code string
		heal func()
	}{
		{"token_malformed", func() { long = "" }},
		{"token_unknown_key", func() { kid = kidOf(t, ended.access) }},
		{"token_signature", func() { signed = true }},
		{"token_issuer", func() { claims["iss"] = good["iss"] }},
		{"token_audience", func() { claims["aud"] = good["aud"] }},
		{"token_expired", func() { claims["exp"] = now + 7200 }},
		{"token_not_yet_valid", func() { claims["iat"] = good["iat"] }},
		{"token_wrong_type", func() { claims["type"] = good["type"] }},
		{"csrf_missing", func() { csrf = "another" }},
		{"csrf_mismatch", func() { csrf = good["csrf"].(string) }},
		{"session_ended", func() {
			good = claimsOf(t, live.access)
			claims, csrf = good, good["csrf"].(string)
		}},
		{"user_inactive", nil},
	} {
		sign := hs256(key)
		if signed {
			sign = hs512(key)
		}
		r := request{method: http.MethodPost, path: "/auth/token/validation", header: http.Header{
			"Cookie": {"access_token_cookie=" + forge(t, header.with("kid", kid), claims, sign) + long},
		}}
		if csrf != "" {
			r.header.Set("X-CSRF-TOKEN", csrf)
		}
		got := sv.call(r)
		got.refused(t, "token whose first fault is "+step.code, "")
		if got.text("code") != step.code {
			t.Errorf("token whose first fault is %s = %s", step.code, got)
		}
		if step.heal != nil {
			step.heal()
		}
	}
	s.exec("UPDATE users SET is_active = true WHERE username = 'alice'")
	until(t, "the token without any fault is taken", func() bool { return sv.takes(live.access) })
}

func TestRefreshRefusesForgedTokens(t *testing.T) {
	t.Parallel()
	key, setting := newKey()
	sv := newSite(t, "JWT_SECRET_KEY="+setting).start()
	p := sv.login(sv.user("alice", "reader"))
	header, claims := part(t, p.refresh, 0), claimsOf(t, p.refresh)
	other, _ := newKey()
	for name, raw := range map[string]string{
		"another key":          forge(t, header, claims, hs512(other)),
		"alg none":             forge(t, header.with("alg", "none"), claims, unsigned),
		"HS256":                forge(t, header.with("alg", "HS256"), claims, hs256(key)),
		"access token by name": forge(t, header, claimsOf(t, p.access).with("type", "refresh"), hs512(key)),
		"expired":              forge(t, header, claims.with("exp", time.Now().Unix()-3600), hs512(key)),
		"unknown session":      forge(t, header, claims.with("sid", "01890000-0000-7000-8000-000000000000"), hs512(key)),
		"newer than any":       forge(t, header, claims.with("jti", "01890000-0000-7000-8000-000000000000").with("gen", 7), hs512(key)),
	} {
		sv.call(refreshOf(raw)).refused(t, name+" at refresh", "Invalid or expired refresh token: ")
	}
	sv.refresh(p.refresh)
}

// TestLeewayHoldsBothWays keeps half a minute from each edge.
func TestLeewayHoldsBothWays(t *testing.T) {
	t.Parallel()
	key, setting := newKey()
	s := newSite(t, "JWT_SECRET_KEY="+setting, "JWT_LEEWAY=60")
	sv := s.start()
	p := sv.login(sv.user("alice", "reader"))
	header, claims := part(t, p.access, 0), claimsOf(t, p.access)
	for _, tt := range []struct {
		claim  string
		offset int64
		want   int
	}{
		{"exp", -30, http.StatusOK}, {"exp", -90, http.StatusUnauthorized},
		{"iat", +30, http.StatusOK}, {"iat", +90, http.StatusUnauthorized},
	} {
		raw := forge(t, header, claims.with(tt.claim, time.Now().Unix()+tt.offset), hs512(key))
		if got := sv.call(validationOf(raw)); got.status != tt.want {
			t.Errorf("%s %+d s with a leeway of 60 s = %s, want %d", tt.claim, tt.offset, got, tt.want)
		}
	}
}

func TestHeaderIsReadStrictly(t *testing.T) {
	t.Parallel()
	sv := newSite(t).start()
	p := sv.login(sv.user("alice", "reader"))
	for _, tt := range []struct {
		name   string
		header http.Header
		want   int
	}{
		{"scheme in capitals", http.Header{"Authorization": {"BEARER " + p.access}}, http.StatusOK},
		{"scheme in small letters", http.Header{"Authorization": {"bearer " + p.access}}, http.StatusOK},
		{"no scheme", http.Header{"Authorization": {p.access}}, http.StatusUnauthorized},
		{"another scheme", http.Header{"Authorization": {"Basic " + p.access}}, http.StatusUnauthorized},
		{"two headers", http.Header{"Authorization": {"Bearer " + p.access, "Bearer " + p.access}}, http.StatusBadRequest},
		{"two values", http.Header{"Authorization": {"Bearer " + p.access + ", Bearer " + p.access}}, http.StatusBadRequest},
		{"header and cookie", http.Header{"Authorization": {"Bearer " + p.access}, "Cookie": {"access_token_cookie=" + p.access}}, http.StatusBadRequest},
		{"None", http.Header{"Authorization": {"Bearer None"}}, http.StatusUnauthorized},
		{"null", http.Header{"Authorization": {"Bearer null"}}, http.StatusUnauthorized},
		{"empty", http.Header{"Authorization": {"Bearer "}}, http.StatusUnauthorized},
	} {
		got := sv.call(request{method: http.MethodGet, path: "/auth/profile", header: tt.header})
		if got.status != tt.want {
			t.Errorf("%s = %s, want %d", tt.name, got, tt.want)
		}
	}
	for _, absent := range []string{"None", "null"} {
		sv.get("/scans", absent).want(t, "public list with bearer "+absent, http.StatusOK)
	}
	sv.get("/auth/profile?token="+p.access, "").refused(t, "token in the query, where it is not looked for by default", "")
	sv.post("/auth/token/validation", "", map[string]any{"access_token": p.access}).refused(t, "token in the body, where it is not looked for by default", "")
}

// TestTokenLocationsAreThoseOfTheSettings looks in each place that can be set,
// and in no other.
func TestTokenLocationsAreThoseOfTheSettings(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.start()
	p := first.login(first.user("alice", "reader"))
	places := map[string]request{
		"headers": {method: http.MethodPost, path: "/auth/token/validation", token: p.access},
		"query":   {method: http.MethodPost, path: "/auth/token/validation?token=" + p.access},
		"json":    {method: http.MethodPost, path: "/auth/token/validation", body: map[string]any{"access_token": p.access}},
		"cookies": {method: http.MethodPost, path: "/auth/token/validation", header: http.Header{
			"Cookie": {"access_token_cookie=" + p.access}, "X-Csrf-Token": {claimsOf(t, p.access)["csrf"].(string)},
		}},
	}
	for set := range places {
		sv := s.start("TOKEN_LOCATIONS=" + set)
		for sent, r := range places {
			want := http.StatusUnauthorized
			if sent == set {
				want = http.StatusOK
			}
			if got := sv.call(r); got.status != want {
				t.Errorf("TOKEN_LOCATIONS=%s, token sent by %s = %s, want %d", set, sent, got, want)
			}
		}
	}
}

func TestOnlyGuestsReadWithoutAToken(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	open, closed := s.start(), s.start("PLANTDB_GUEST=off")
	open.get("/scans", "").want(t, "public list as guest", http.StatusOK)
	closed.get("/scans", "").refused(t, "public list where the guest is off", "")
	open.post("/scans/plant", "", map[string]any{}).refused(t, "create a scan as guest", "")
	p := open.login(open.user("alice", "reader"))
	closed.get("/scans", p.access).want(t, "list with a token where the guest is off", http.StatusOK)
	open.get("/scans", "garbage").refused(t, "public list with a bad token", "")
}
