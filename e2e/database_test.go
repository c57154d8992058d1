package e2e

import (
	"net/http"
	"testing"

	"github.com/romi/plantdb-go/internal/pgtest"
)

// TestDatabaseAwayIs503 takes PostgreSQL away in the two ways there are: it
// refuses connections, and it says nothing.
func TestDatabaseAwayIs503(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]struct{ begin, end func(*proxy) }{
		"stopped": {(*proxy).cut, (*proxy).open},
		"silent":  {(*proxy).hang, (*proxy).flow},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := pgtest.URL(t)
			between := newProxy(t, database)
			s := newSiteOn(t, database)
			near, sv := s.start(), s.start("DATABASE_URL="+between.url) // near by has it all the time
			alice := near.user("alice", "contributor")
			p, revoked := near.login(alice), near.login(alice)
			api := near.apiToken(p.access, 600, map[string][]string{"*": {"read", "write"}})
			near.scan("plant", p.access)
			if !sv.takes(p.access) || !sv.takes(api) || !sv.takes(revoked.access) {
				t.Fatal("new tokens are refused")
			}

			away.begin(between)
			// What is revoked now the server cannot learn.
			near.call(logoutOf(revoked.access)).want(t, "logout elsewhere", http.StatusOK)
			asked := []request{
				validationOf(p.access), validationOf(api), validationOf(revoked.access), logoutOf(p.access),
				{method: http.MethodGet, path: "/auth/profile", token: p.access},
				{method: http.MethodGet, path: "/auth/profile", header: http.Header{"Cookie": {"access_token_cookie=" + p.access}}},
				{method: http.MethodGet, path: "/scans/plant", token: api},
				{method: http.MethodGet, path: "/users/alice", token: p.access},
				{method: http.MethodPost, path: "/scans/another", token: p.access, body: map[string]any{}},
				refreshOf(p.refresh), loginOf(alice),
			}
			// What was known a moment ago may count for as long as a revocation
			// may take to get about.
			until(t, "tokens are refused without a database", func() bool { return sv.call(validationOf(p.access)).status != http.StatusOK })
			for range 2 {
				answers := make([]answer, len(asked))
				together(len(asked), func(i int) { answers[i] = sv.try(asked[i]) })
				for i, got := range answers {
					what := asked[i].method + " " + asked[i].path
					if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
						t.Errorf("%s without a database = %s, Retry-After %q; want 503, and when to come back", what, got, got.header.Get("Retry-After"))
					}
					if got.text("message") == "" || got.text("code") == "" {
						t.Errorf("%s without a database = %s, want message and code", what, got)
					}
				}
			}
			// Junk is junk, whoever is away.
			sv.get("/auth/profile", "garbage").refused(t, "garbage without a database", "Malformed")
			sv.call(refreshOf("garbage")).refused(t, "garbage at refresh without a database", "Malformed")
			sv.call(refreshOf(p.access)).refused(t, "access token at refresh without a database", "wrong type")

			away.end(between)
			until(t, "the server is back", func() bool { return sv.call(validationOf(p.access)).status == http.StatusOK })
			sv.call(validationOf(revoked.access)).refused(t, "token revoked while the database was away", "")
			sv.refresh(p.refresh)
			sv.login(alice)
		})
	}
}
