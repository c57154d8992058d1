package client_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/romi/plantdb-go/client"
)

// seconds is a server whose tokens live for three seconds, and name whole ones, as
// in every JWT. It takes no other.
type seconds struct{ refreshes int }

func (s *seconds) token() string {
	now := time.Now().Unix()
	claims := fmt.Sprintf(`{"iat":%d,"exp":%d}`, now, now+3)
	return "x." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".x"
}

func (s *seconds) good(r *http.Request) bool {
	var issued, expires int64
	parts := strings.Split(r.Header.Get("Authorization"), ".")
	if len(parts) != 3 {
		return false
	}
	claims, _ := base64.RawURLEncoding.DecodeString(parts[1])
	_, err := fmt.Sscanf(string(claims), `{"iat":%d,"exp":%d}`, &issued, &expires)
	return err == nil && time.Now().Before(time.Unix(expires, 0))
}

func (s *seconds) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
	status, body := http.StatusUnauthorized, `{"message":"The token has expired","code":"token_expired"}`
	switch path := r.URL.Path; {
	case strings.HasSuffix(path, "/auth/token/refresh"):
		s.refreshes++
		fallthrough
	case strings.HasSuffix(path, "/auth/login"):
		status, body = http.StatusOK, fmt.Sprintf(`{"access_token":%q,"refresh_token":"r"}`, s.token())
	case s.good(r):
		status, body = http.StatusCreated, `{}`
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r,
	}, nil
}

// TestTokenIsRefreshedInTime sends what cannot be sent twice at each moment of a
// token's life, however late in its second it was made.
func TestTokenIsRefreshedInTime(t *testing.T) {
	t.Parallel()
	for made := time.Duration(0); made < time.Second; made += 100 * time.Millisecond {
		for age := time.Duration(0); age < 4*time.Second; age += 50 * time.Millisecond {
			synctest.Test(t, func(t *testing.T) {
				s := new(seconds)
				c := stranger(t, "http://plants.example.org", client.WithHTTPClient(&http.Client{Transport: s}))
				time.Sleep(made)
				must(t, "Login", c.Login(t.Context(), "ann", "x"))
				time.Sleep(age)
				if err := c.Upload(t.Context(), file, "txt", io.MultiReader(strings.NewReader("text")), nil); err != nil {
					t.Errorf("Upload %v after a login at %v of a second = %v", age, made, err)
				}
				if s.refreshes > 0 && age < 1500*time.Millisecond {
					t.Errorf("refreshed %v after a login, long before the end", age)
				}
			})
		}
	}
}
