package tokenauth_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/romi/plantdb-go/tokenauth"
)

// benchClaims have ids of the length that UUIDs have.
func benchClaims() tokenauth.Claims {
	return claims(func(c *tokenauth.Claims) {
		c.ID, c.SessionID = "019283c4-0f1e-7d2c-8b3a-4c5d6e7f8091", "019283c4-0f1e-7d2c-8b3a-4c5d6e7f8092"
		c.CSRF = ""
	})
}

// fullMemory holds n ids that concern none of the tokens asked about.
func fullMemory(n int) *tokenauth.Memory {
	m := &tokenauth.Memory{}
	for i := range n {
		m.Revoke(fmt.Sprintf("019283c4-0f1e-7d2c-8b3a-%012x", i), epoch)
	}
	return m
}

func BenchmarkVerify(b *testing.B) {
	for _, key := range []tokenauth.Key{hmacKey(b, secretFill), edKey(b)} {
		b.Run(key.Algorithm(), func(b *testing.B) {
			ring := ringOf(b, key)
			raw, err := ring.Sign(benchClaims())
			if err != nil {
				b.Fatal(err)
			}
			v := verifier(ring)
			v.Checker = fullMemory(100_000)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), raw, tokenauth.Access, tokenauth.API); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRefuse is what garbage and a forgery cost.
func BenchmarkRefuse(b *testing.B) {
	ring := ringOf(b, hmacKey(b, secretFill))
	v := verifier(ring)
	for name, raw := range map[string]string{
		"garbage": "not.a.token", "forged": resignB(sign(b, ring)), "8KiB": forge(`{"alg":"HS512"}`, fmt.Sprintf("%6000d", 1)),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), raw); err == nil {
					b.Fatal("taken")
				}
			}
		})
	}
}

func resignB(raw string) string { return raw[:len(raw)-2] + "AA" }

func BenchmarkMemory(b *testing.B) {
	m := fullMemory(100_000)
	hit := benchClaims()
	hit.SessionID = "019283c4-0f1e-7d2c-8b3a-000000000007"
	for name, c := range map[string]tokenauth.Claims{"miss": benchClaims(), "hit": hit} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if revoked, _, _ := m.IsRevoked(b.Context(), &c); revoked != (name == "hit") {
						b.Error(revoked)
					}
				}
			})
		})
	}
}

// BenchmarkMiddleware is a request from header to handler, without network.
func BenchmarkMiddleware(b *testing.B) {
	ring := ringOf(b, hmacKey(b, secretFill))
	raw, err := ring.Sign(benchClaims())
	if err != nil {
		b.Fatal(err)
	}
	a := authenticator(ring)
	a.Verifier.Checker = &tokenauth.Memory{}
	handler := tokenauth.Middleware(a, tokenauth.Required)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := request(b, http.MethodGet, "/", "", bearer(raw))
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		handler.ServeHTTP(w, r)
	}
}

// BenchmarkHuma compares a public operation with one that needs a token.
func BenchmarkHuma(b *testing.B) {
	ring := ringOf(b, hmacKey(b, secretFill))
	raw, err := ring.Sign(benchClaims())
	if err != nil {
		b.Fatal(err)
	}
	a := authenticator(ring)
	a.Verifier.Checker = &tokenauth.Memory{}
	service := humaService(b, a)
	for _, path := range []string{"/public", "/required"} {
		b.Run(path[1:], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				rec := httptest.NewRecorder()
				service.ServeHTTP(rec, request(b, http.MethodPost, path, "", bearer(raw), header("Accept", "*/*"), header("User-Agent", "x")))
				if rec.Code != http.StatusOK {
					b.Fatal(rec.Code, rec.Body)
				}
			}
		})
	}
}

// BenchmarkService compares a bare route with one that validates a token, over
// loopback with eight clients.
func BenchmarkService(b *testing.B) {
	ring := ringOf(b, hmacKey(b, secretFill))
	c := benchClaims()
	c.IssuedAt, c.ExpiresAt = time.Now(), time.Now().Add(time.Hour)
	raw, err := ring.Sign(c)
	if err != nil {
		b.Fatal(err)
	}
	a := authenticator(ring)
	a.Verifier.Now, a.Verifier.Checker = nil, &tokenauth.Memory{}
	bare := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	for _, tt := range []struct {
		name    string
		handler http.Handler
	}{{"bare", bare}, {"validated", tokenauth.Middleware(a, tokenauth.Required)(bare)}} {
		b.Run(tt.name, func(b *testing.B) {
			server := httptest.NewServer(tt.handler)
			defer server.Close()
			client := server.Client()
			client.Transport.(*http.Transport).MaxIdleConnsPerHost = 8
			b.SetParallelism(4) // times GOMAXPROCS
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, server.URL, http.NoBody)
					if err != nil {
						b.Error(err)
						return
					}
					req.Header.Set("Authorization", "Bearer "+raw)
					resp, err := client.Do(req)
					if err != nil || resp.StatusCode != http.StatusNoContent {
						b.Errorf("GET = %v, %v", resp, err)
						return
					}
					_ = resp.Body.Close()
				}
			})
		})
	}
}
