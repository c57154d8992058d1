package tokenpgx_test

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/tokenauth"
	"github.com/romi/plantdb-go/tokenauth/tokenpgx"
)

// start is what a server does when it starts.
func start(ctx context.Context, pool *pgxpool.Pool, keys *tokenauth.Keyring) (*tokenauth.Verifier, *tokenauth.Replicated, error) {
	revoked := &tokenauth.Replicated{Source: &tokenpgx.Source{
		DB: pool, Channel: "revoked", Read: tokenpgx.Table("revoked"),
		Connect: func(ctx context.Context) (*pgx.Conn, error) { return pgx.ConnectConfig(ctx, pool.Config().ConnConfig) },
	}}
	if err := revoked.Load(ctx); err != nil {
		return nil, nil, fmt.Errorf("load what was revoked: %w", err)
	}
	go revoked.Run(ctx)
	return &tokenauth.Verifier{Keys: keys, Issuer: "shop", Audience: "shop-clients", Checker: revoked}, revoked, nil
}

// logout is what its logout does.
func logout(ctx context.Context, pool *pgxpool.Pool, revoked *tokenauth.Replicated, c *tokenauth.Claims) error {
	out := tokenauth.Revocation{ID: c.SessionID, Until: c.ExpiresAt.Add(time.Minute)}
	_, err := pool.Exec(ctx, "INSERT INTO revoked (id, until) VALUES ($1, $2) ON CONFLICT DO NOTHING", out.ID, out.Until)
	if err != nil {
		return fmt.Errorf("record logout: %w", err)
	}
	revoked.Revoke(out) // counts here now; the other servers are told
	return nil
}

// Several servers that share the table that Table tells of: what one revokes,
// all refuse.
func ExampleSource() {
	serve := func(ctx context.Context, pool *pgxpool.Pool, keys *tokenauth.Keyring, raw string) error {
		verifier, revoked, err := start(ctx, pool, keys)
		if err != nil {
			return err
		}
		claims, err := verifier.Verify(ctx, raw, tokenauth.Access)
		if err != nil {
			return err
		}
		return logout(ctx, pool, revoked, claims)
	}
	_ = serve
}
