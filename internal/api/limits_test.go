package api_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/romi/plantdb-go/internal/api"
	"github.com/romi/plantdb-go/internal/auth"
)

func forwarded(address string) header { return header{"X-Forwarded-For", address} }

func (s *site) tryLogin(name, word string, headers ...header) answer {
	s.t.Helper()
	return s.do("POST", "/api/v1/auth/login", fmt.Sprintf(`{"username":%q,"password":%q}`, name, word), append(headers, asJSON)...)
}

func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

func wantStatus(t *testing.T, what string, a answer, want int) {
	t.Helper()
	if a.status != want {
		t.Errorf("%s = %d %s, want %d", what, a.status, a.body, want)
	}
}

// Three failures lock an account for the network they came from, and no other;
// a live session does not notice, and an administrator can end the lock.
func TestLockout(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{TrustedProxies: loopback()})
	admin, _ := s.login("admin")
	live, _ := s.login("carol")
	here, there := forwarded("198.51.100.7"), forwarded("203.0.113.9")
	for range 3 {
		wantProblem(t, "a wrong password", s.tryLogin("carol", "wrong", here), 401, "invalid_credentials")
	}
	wantProblem(t, "the right one while locked", s.tryLogin("carol", password, here), 401, "invalid_credentials")
	wantProblem(t, "from a neighbour", s.tryLogin("carol", password, forwarded("198.51.100.200")), 401, "invalid_credentials")
	wantStatus(t, "from elsewhere", s.tryLogin("carol", password, there), 200)
	wantStatus(t, "another account from here", s.tryLogin("rita", password, here), 200)
	wantProblem(t, "password change while locked",
		s.do("POST", "/api/v1/users/carol/password", `{"current_password":"`+password+`","new_password":"another good phrase"}`, asJSON, bearer(live), here), 403, "wrong_password")
	s.walk([]step{
		{"live session", "GET", "/auth/profile", "", live, 200, "carol"},
		{"unlock by another", "PATCH", "/users/carol", `{"unlock":true}`, live, 403, "forbidden"},
		{"unlock", "PATCH", "/users/carol", `{"unlock":true}`, admin, 200, "carol"},
	})
	wantStatus(t, "after the unlock", s.tryLogin("carol", password, here), 200)
	var locks int
	if err := s.pool.QueryRow(t.Context(), "SELECT count(*) FROM auth_events WHERE kind = 'lock' AND host(address) = '198.51.100.7'").Scan(&locks); err != nil || locks != 1 {
		t.Errorf("events of a lock = %d, %v, want 1", locks, err)
	}
}

// Without trusted proxies, a client cannot say who it is.
func TestForwardedHeadersOfStrangers(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{})
	for i := range 3 {
		wantStatus(t, "a wrong password", s.tryLogin("carol", "wrong", forwarded(fmt.Sprintf("198.51.%d.7", i))), 401)
	}
	wantStatus(t, "the right one", s.tryLogin("carol", password, forwarded("203.0.113.9")), 401)
	var address string
	if err := s.pool.QueryRow(t.Context(), "SELECT host(address) FROM auth_events WHERE kind = 'lock'").Scan(&address); err != nil || !netip.MustParseAddr(address).IsLoopback() {
		t.Errorf("address of the lock = %s, %v, want the peer's", address, err)
	}
}

// wantLimited checks a 429 and returns the limit.
func wantLimited(t *testing.T, what string, a answer) int {
	t.Helper()
	wantProblem(t, what, a, http.StatusTooManyRequests, "rate_limited")
	n := map[string]int{}
	for _, name := range []string{"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Retry-After"} {
		v, err := strconv.Atoi(a.header.Get(name))
		if err != nil {
			t.Errorf("%s: %s = %q, want a number", what, name, a.header.Get(name))
		}
		n[name] = v
	}
	if n["RateLimit-Remaining"] != 0 || n["Retry-After"] < 1 || n["Retry-After"] > 60 || n["RateLimit-Reset"] != n["Retry-After"] {
		t.Errorf("%s: headers %v, want nothing left and a time within a minute", what, n)
	}
	return n["RateLimit-Limit"]
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{Rates: api.UpstreamRates, TrustedProxies: loopback()})
	began := time.Now()
	var a answer
	for i := 0; ; i++ {
		a = s.tryLogin("", "", forwarded("198.51.100.7"))
		back := int(time.Since(began) / (3 * time.Second)) // one comes free in so long
		if a.status == 429 && i >= 20 {
			break
		}
		left, err := strconv.Atoi(a.header.Get("RateLimit-Remaining"))
		if a.status != 400 || err != nil || left < 19-i || left > 19-i+back || a.header.Get("RateLimit-Reset") == "" {
			t.Fatalf("login %d = %d, %d left, %v, want 400, %d, and at most the %d more that have come free", i, a.status, left, err, 19-i, back)
		}
	}
	if n := wantLimited(t, "one login too many", a); n != 20 {
		t.Errorf("RateLimit-Limit = %d, want 20", n)
	}
	wantStatus(t, "another route", s.do("GET", "/api/v1/auth/login?username=x", "", forwarded("198.51.100.7")), 200)
	wantStatus(t, "another address", s.tryLogin("carol", password, forwarded("203.0.113.9")), 200)
}

// Logins to one account are counted over all addresses, whatever the case of
// the name; other accounts go on.
func TestRateLimitOfAnAccount(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{Rates: api.UpstreamRates, TrustedProxies: loopback()}, func(c *auth.Config) { c.LoginMaxAttempts = 0 })
	from := func(i int) header { return forwarded(fmt.Sprintf("198.51.%d.%d", i/200, i%200)) }
	var a answer
	for i := range 5000 { // some come free meanwhile, the more the slower the machine is
		name := "carol"
		if i%2 == 1 {
			name = "CAROL"
		}
		if a = s.tryLogin(name, "wrong", from(i)); a.status != 401 {
			break
		}
	}
	if n := wantLimited(t, "login from everywhere", a); n != 200 {
		t.Errorf("RateLimit-Limit = %d, want 200", n)
	}
	wantStatus(t, "another account", s.tryLogin("rita", password, from(300)), 200)
}

// With upstream's numbers each route has that of upstream's own; those without
// one have none here.
func TestUpstreamRates(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{Rates: api.UpstreamRates})
	admin, _ := s.login("admin")
	for _, tt := range []struct {
		route string
		want  string
	}{
		{"GET /", "120"},
		{"GET /health", "120"},
		{"GET /refresh", "12"},
		{"GET /scans", "30"},
		{"GET /scans/info", "120"},
		{"GET /scans/s", "120"},
		{"POST /scans/s", "15"},
		{"GET /scans/s/metadata", "120"},
		{"POST /scans/s/metadata", "120"},
		{"GET /scans/s/filesets", ""},
		{"POST /filesets/s/f", "60"},
		{"GET /filesets/s/f/metadata", "120"},
		{"POST /filesets/s/f/metadata", "60"},
		{"GET /filesets/s/f/files", "120"},
		{"GET /files/s/f/x", "240"},
		{"GET /files/s/f/x/metadata", ""},
		{"POST /files/s/f/x/metadata", ""},
		{"GET /assets/files/s/f/x.txt", "120"},
		{"GET /assets/image/s/f/x", "3000"},
		{"GET /assets/pointcloud/s", "5"},
		{"GET /assets/mesh/s", "5"},
		{"GET /assets/skeleton/s", "5"},
		{"GET /assets/sequence/s", "60"},
		{"GET /assets/archive/s", "5"},
		{"POST /assets/archive/s", "5"},
		{"GET /timelapses", "30"},
		{"POST /timelapses", "30"},
		{"GET /timelapses/t", "60"},
		{"DELETE /timelapses/t", "30"},
		{"GET /timelapses/t/scans", "60"},
		{"POST /auth/register", "5"},
		{"GET /auth/login?username=x", "120"},
		{"POST /auth/login", "20"},
		{"POST /auth/token/refresh", ""},
	} {
		method, path, _ := strings.Cut(tt.route, " ")
		if got := s.do(method, "/api/v1"+path, "", bearer(admin)).header.Get("RateLimit-Limit"); got != tt.want {
			t.Errorf("%s: RateLimit-Limit is %q, want %q", tt.route, got, tt.want)
		}
	}
}

func TestNoRateLimit(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{Rates: api.NoRates})
	for range 100 {
		if a := s.tryLogin("", ""); a.status != 400 || a.header.Get("RateLimit-Limit") != "" {
			t.Fatalf("login without limits = %d %v", a.status, a.header)
		}
	}
}

// Every operation of both documents has a limit and says so.
func TestEveryOperationHasALimit(t *testing.T) {
	t.Parallel()
	for _, document := range []string{"openapi.json", "openapi-legacy.json"} {
		for _, op := range operations(t, document) {
			if !slices.Contains(op.Responses["429"].Codes, "rate_limited") {
				t.Errorf("%s %s documents no 429 rate_limited", op.Method, op.Path)
			}
		}
	}
	s := newAccounts(t, api.Config{Rates: api.DefaultRates})
	admin, _ := s.login("admin")
	for path, want := range map[string]string{
		"/users": "6000", "/groups": "6000", "/quotas": "6000", "/auth/sessions": "60000", "/auth/api-tokens": "60000", "/auth/profile": "60000",
	} {
		if a := s.do("GET", "/api/v1"+path, "", bearer(admin)); a.status != 200 || a.header.Get("RateLimit-Limit") != want {
			t.Errorf("GET %s = %d, RateLimit-Limit %q, want 200, %s", path, a.status, a.header.Get("RateLimit-Limit"), want)
		}
	}
	a := s.do("POST", "/api/v1/files/none/images/new", "", bearer(admin))
	if limit, err := strconv.Atoi(a.header.Get("RateLimit-Limit")); err != nil || limit < 60_000 {
		t.Errorf("uploads: RateLimit-Limit %d, %v, want what a fast scanner never meets", limit, err)
	}
}
