// A service of somebody else, in a module of its own.
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/romi/plantdb-go/tokenauth"
	"github.com/romi/plantdb-go/tokenauth/tokenpgx"
)

// Several servers of the service would share this.
var _ tokenauth.Source = &tokenpgx.Source{Channel: "revoked", Read: tokenpgx.Table("revoked")}

func main() {
	key, err := tokenauth.NewHMACKey([]byte(strings.Repeat("0123456789abcdef", 4)))
	if err != nil {
		panic(err)
	}
	ring, err := tokenauth.NewKeyring(key)
	if err != nil {
		panic(err)
	}
	revoked := &tokenauth.Memory{}
	a := &tokenauth.Authenticator{Verifier: &tokenauth.Verifier{Keys: ring, Issuer: "shop", Audience: "shop-clients", Checker: revoked}}

	mux := http.NewServeMux()
	mux.Handle("GET /plain", tokenauth.Middleware(a, tokenauth.Required)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := tokenauth.FromContext(r.Context())
		fmt.Fprintf(w, "hello %s", claims.Subject)
	})))
	config := huma.DefaultConfig("Shop", "1.0.0")
	config.CreateHooks = nil
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"bearer": {Type: "http", Scheme: "bearer"}}
	api := humago.New(mux, config)
	api.UseMiddleware(tokenauth.HumaMiddleware(api, a))
	huma.Register(api, huma.Operation{
		OperationID: "orders", Method: http.MethodGet, Path: "/huma", Security: []map[string][]string{{"bearer": {}}},
	}, func(ctx context.Context, _ *struct{}) (*struct{ Body string }, error) {
		claims, _ := tokenauth.FromContext(ctx)
		return &struct{ Body string }{"hello " + claims.Subject}, nil
	})

	claims := tokenauth.Claims{
		ID: "token", SessionID: "session", Subject: "alice", Issuer: "shop", Audience: "shop-clients",
		Type: tokenauth.Access, IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Minute),
	}
	raw, err := ring.Sign(claims)
	if err != nil {
		panic(err)
	}
	ask := func(token string) {
		for _, path := range []string{"/plain", "/huma"} {
			r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
			if token != "" {
				r.Header.Set("Authorization", "Bearer "+token)
			}
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, r)
			fmt.Println(w.Code, strings.Contains(w.Body.String(), "hello alice"))
		}
	}
	ask("")
	ask(raw)
	revoked.Revoke(claims.SessionID, claims.ExpiresAt)
	ask(raw)
}
