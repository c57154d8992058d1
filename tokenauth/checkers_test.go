package tokenauth_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/romi/plantdb-go/tokenauth"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	now := epoch
	m := &tokenauth.Memory{Now: func() time.Time { return now }}
	m.Revoke("token-1", epoch.Add(time.Minute))
	m.Revoke("session-2", epoch.Add(2*time.Minute))
	m.Revoke("session-2", epoch) // never shortens
	m.Revoke("", epoch.Add(time.Hour))
	tests := []struct {
		id, session string
		want        string
	}{
		{"token-1", "session-1", "token_revoked"},
		{"token-2", "session-2", "session_ended"},
		{"token-2", "session-1", ""},
		{"token-2", "", ""},
	}
	for _, tt := range tests {
		c := &tokenauth.Claims{ID: tt.id, SessionID: tt.session}
		revoked, reason, err := m.IsRevoked(t.Context(), c)
		if revoked != (tt.want != "") || reason != tt.want || err != nil {
			t.Errorf("IsRevoked(%s, %s) = %v, %q, %v, want %q", tt.id, tt.session, revoked, reason, err, tt.want)
		}
	}
	now = epoch.Add(time.Minute)
	if n := m.Prune(); n != 0 || m.Len() != 2 {
		t.Errorf("Prune at the end = %d, %d left, want 0, 2", n, m.Len())
	}
	now = epoch.Add(time.Minute + time.Second)
	if n := m.Prune(); n != 1 || m.Len() != 1 {
		t.Errorf("Prune after the end = %d, %d left, want 1, 1", n, m.Len())
	}
}

func TestMemoryUnderTraffic(t *testing.T) {
	t.Parallel()
	m := &tokenauth.Memory{}
	until := time.Now().Add(time.Hour)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 500 {
				id := fmt.Sprint(g, "-", i)
				m.Revoke(id, until)
				if revoked, _, _ := m.IsRevoked(t.Context(), &tokenauth.Claims{ID: id}); !revoked {
					t.Errorf("IsRevoked(%s) = false right after Revoke", id)
				}
			}
			m.Prune()
		})
	}
	wg.Wait()
	if m.Len() != 2000 {
		t.Errorf("Len = %d, want 2000", m.Len())
	}
}

func TestMemoryAllocatesNothing(t *testing.T) {
	m := &tokenauth.Memory{}
	m.Revoke("session-2", epoch)
	for _, c := range []*tokenauth.Claims{{ID: "a", SessionID: "session-1"}, {ID: "a", SessionID: "session-2"}} {
		if n := testing.AllocsPerRun(100, func() { _, _, _ = m.IsRevoked(t.Context(), c) }); n != 0 {
			t.Errorf("IsRevoked(%s) allocates %v times", c.SessionID, n)
		}
	}
}

// asking counts the questions that go out: whether one that is given up arrives
// is up to the machine.
type asking struct {
	http.RoundTripper
	asked atomic.Int64
}

func (a *asking) RoundTrip(r *http.Request) (*http.Response, error) {
	a.asked.Add(1)
	return a.RoundTripper.RoundTrip(r)
}

// authority is a real server; what it answers can change. It has a minute for an
// answer, unless cfg says other.
func authority(t *testing.T, cfg tokenauth.CallbackConfig, answer http.HandlerFunc) (*tokenauth.Callback, *atomic.Int64) {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	client := server.Client()
	transport := &asking{RoundTripper: client.Transport}
	client.Transport = transport
	cfg.URL, cfg.Client, cfg.Timeout = server.URL+"/revoked", client, cmp.Or(cfg.Timeout, time.Minute)
	cb, err := tokenauth.NewCallback(cfg)
	if err != nil {
		t.Fatalf("NewCallback = %v", err)
	}
	return cb, &transport.asked
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
}

func TestCallbackAsks(t *testing.T) {
	t.Parallel()
	cb, _ := authority(t, tokenauth.CallbackConfig{Header: http.Header{"Authorization": {"Basic us"}}}, func(w http.ResponseWriter, r *http.Request) {
		var got map[string]any
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Errorf("question is no JSON: %v", err)
		}
		if text := fmt.Sprint(r.Method, r.URL.Path, r.Header["Content-Type"], r.Header["Authorization"], got); text !=
			"POST/revoked[application/json] [Basic us] map[jti:token-1 sid:session-1 sub:alice type:access]" {
			t.Errorf("question is %s", text)
		}
		says(`{"revoked":true,"reason":"user_inactive"}`)(w, r)
	})
	ring := ringOf(t, hmacKey(t, secretFill))
	v := verifier(ring)
	v.Checker = cb
	if _, err := v.Verify(t.Context(), sign(t, ring)); !errors.Is(err, tokenauth.ErrUserInactive) {
		t.Errorf("Verify = %v, want %v", err, tokenauth.ErrUserInactive)
	}
}

func TestCallbackFailsClosed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		answer  http.HandlerFunc
		timeout time.Duration
	}{
		{name: "an error", answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }},
		{name: "not there", answer: http.NotFound},
		{name: "no content", answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }},
		{name: "no JSON", answer: says("ok")},
		{name: "nothing said of it", answer: says("{}")},
		{name: "null", answer: says(`{"revoked":null}`)},
		{name: "a text", answer: says(`{"revoked":"false"}`)},
		{name: "without end", answer: says(`{"x":"` + strings.Repeat("x", 1<<20) + `","revoked":false}`)},
		{name: "hangs up", answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{name: "too slow", answer: func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // before it, the server does not notice that the client has gone
			<-r.Context().Done()
		}, timeout: 200 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cb, asked := authority(t, tokenauth.CallbackConfig{Timeout: tt.timeout}, tt.answer)
			c := claims()
			for range 2 {
				if revoked, _, err := cb.IsRevoked(t.Context(), &c); err == nil {
					t.Errorf("IsRevoked = %v, nil, want an error", revoked)
				}
			}
			if n := asked.Load(); n != 2 {
				t.Errorf("asked %d times, want 2: a failure must not be kept", n)
			}
		})
	}
}

func TestCallbackKeepsAnswersForAWhile(t *testing.T) {
	t.Parallel()
	for _, revoked := range []bool{true, false} {
		now := epoch
		cb, asked := authority(t, tokenauth.CallbackConfig{TTL: time.Minute, Entries: 2, Now: func() time.Time { return now }},
			says(fmt.Sprintf(`{"revoked":%v,"reason":"r"}`, revoked)))
		ask := func(id string, want int64) {
			t.Helper()
			c := claims(func(c *tokenauth.Claims) { c.ID = id })
			got, reason, err := cb.IsRevoked(t.Context(), &c)
			if got != revoked || reason != "r" || err != nil || asked.Load() != want {
				t.Errorf("IsRevoked(%s) = %v, %q, %v after %d questions, want %v after %d", id, got, reason, err, asked.Load(), revoked, want)
			}
		}
		ask("a", 1)
		ask("a", 1)
		now = now.Add(time.Minute)
		ask("a", 2)
		ask("b", 3)
		ask("c", 4) // pushes a out
		ask("c", 4)
		ask("a", 5)
	}
}

func TestCallbackAsksOnceForMany(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	// Who comes after the answer finds it kept: the clock stands.
	cb, asked := authority(t, tokenauth.CallbackConfig{Now: func() time.Time { return epoch }}, func(w http.ResponseWriter, r *http.Request) {
		<-release
		says(`{"revoked":false}`)(w, r)
	})
	c := claims()
	gone, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		_, _, err := cb.IsRevoked(gone, &c)
		first <- err
	}()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if revoked, _, err := cb.IsRevoked(t.Context(), &c); revoked || err != nil {
				t.Errorf("IsRevoked = %v, %v, want false", revoked, err)
			}
		})
	}
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("IsRevoked of the request that is gone = %v, want %v", err, context.Canceled)
	}
	close(release)
	wg.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times, want 1", n)
	}
}

func TestNewCallbackRefuses(t *testing.T) {
	t.Parallel()
	for _, cfg := range []tokenauth.CallbackConfig{
		{}, {URL: "/revoked"}, {URL: "ftp://example.org/"}, {URL: "http://"}, {URL: "http://a b/"},
		{URL: "http://example.org/", TTL: -1}, {URL: "http://example.org/", Timeout: -1}, {URL: "http://example.org/", Entries: -1},
	} {
		if _, err := tokenauth.NewCallback(cfg); err == nil {
			t.Errorf("NewCallback(%+v) = nil, want an error", cfg)
		}
	}
}

func TestCallbackFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.RedirectHandler("/elsewhere", http.StatusTemporaryRedirect))
	t.Cleanup(server.Close)
	cb, err := tokenauth.NewCallback(tokenauth.CallbackConfig{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	c := claims()
	if _, _, err := cb.IsRevoked(t.Context(), &c); err == nil || !strings.Contains(err.Error(), "307") {
		t.Errorf("IsRevoked = %v, want an error that names 307", err)
	}
}
