package api_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/romi/plantdb-go/internal/api"
	"github.com/romi/plantdb-go/internal/auth"
	"github.com/romi/plantdb-go/tokenauth"
)

// All that the home document names lies in the API: clients of upstream test it.
func TestHomeNamesPathsOfTheAPI(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "/plantdb"} {
		s := newAccounts(t, api.Config{Prefix: prefix})
		paths := 0
		for list, content := range s.get("/api/v1/").json(t) {
			endpoints, ok := content.(map[string]any)
			if ok != strings.HasSuffix(list, " endpoints") {
				t.Errorf("%q = %v", list, content)
			}
			for path := range endpoints {
				paths++
				if !strings.HasPrefix(path, prefix+"/api/v1/") {
					t.Errorf("%q names %q, want it below %s/api/v1/", list, path, prefix)
				}
			}
		}
		if paths < 30 {
			t.Errorf("%d paths are named", paths)
		}
	}
}

// The whole path of the tree is for administrators who logged in; no token,
// however bad, keeps anybody from asking.
func TestHealthTellsAdministratorsThePath(t *testing.T) {
	t.Parallel()
	s := newAccounts(t, api.Config{TokenLocations: []tokenauth.Location{tokenauth.Header, tokenauth.Cookie}})
	admin, refresh := s.login("admin")
	reader, _ := s.login("rita")
	ended, _ := s.login("admin")
	if a := s.do(http.MethodPost, "/api/v1/auth/logout", "", bearer(ended)); a.status != http.StatusOK {
		t.Fatalf("logout = %d %s", a.status, a.body)
	}
	name := filepath.Base(s.dir)
	for who, tt := range map[string]struct {
		headers []header
		want    string
	}{
		"anonymous":                       {nil, name},
		"reader":                          {[]header{bearer(reader)}, name},
		"administrator":                   {[]header{bearer(admin)}, s.dir},
		"administrator by cookie":         {[]header{{"Cookie", tokenauth.AccessCookie + "=" + admin}}, s.dir},
		"administrator's API token":       {[]header{bearer(s.apiToken(admin))}, name},
		"administrator's refresh token":   {[]header{bearer(refresh)}, name},
		"administrator who logged out":    {[]header{bearer(ended)}, name},
		"administrator with an old token": {[]header{bearer(s.expired(admin))}, name},
		"garbage":                         {[]header{bearer("xyz")}, name},
		"two tokens":                      {[]header{bearer(admin), bearer(reader)}, name},
	} {
		for _, path := range []string{"/api/v1/health", "/health"} {
			a := s.do(http.MethodGet, path, "", tt.headers...)
			if a.status != http.StatusOK {
				t.Errorf("GET %s as %s = %d %s, want 200", path, who, a.status, a.body)
				continue
			}
			database, _ := a.json(t)["database"].(map[string]any)
			if database["location"] != tt.want {
				t.Errorf("GET %s tells %s the location %v, want %s", path, who, database["location"], tt.want)
			}
		}
	}
}

// The number of scans is of those that whoever asks may see, and where the guest is
// switched off nobody who sends no token sees any.
func TestHealthCountsWhatOneMaySee(t *testing.T) {
	t.Parallel()
	for _, guest := range []bool{true, false} {
		s := newAccounts(t, api.Config{Rates: api.NoRates}, func(c *auth.Config) { c.Guest = guest })
		admin, _ := s.login("admin")
		carol, _ := s.login("carol")
		reader, _ := s.login("rita")
		s.create(carol, "open", "private_1")
		s.create(admin, "private_2")
		of := map[bool]float64{true: 1, false: 0}
		for who, tt := range map[string]struct {
			headers []header
			want    float64
		}{"anonymous": {nil, of[guest]}, "reader": {[]header{bearer(reader)}, 1}, "owner": {[]header{bearer(carol)}, 2}, "administrator": {[]header{bearer(admin)}, 3}} {
			if got := s.get("/api/v1/health", tt.headers...).json(t)["database"].(map[string]any)["scan_count"]; got != tt.want {
				t.Errorf("guest %t: to %s there are %v scans, want %v", guest, who, got, tt.want)
			}
		}
	}
}
