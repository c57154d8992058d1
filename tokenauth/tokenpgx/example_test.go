package tokenpgx_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/romi/plantdb-go/tokenauth"
	"github.com/romi/plantdb-go/tokenauth/tokenpgx"
)

// database is where the example finds the table that tokenpgx.Table tells of.
var database = os.Getenv("PLANTDB_EXAMPLES")

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
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Minute)
	defer stop()
	pool, err := pgxpool.New(ctx, database)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	secret, _ := tokenauth.NewHMACKey([]byte(strings.Repeat("s", tokenauth.MinSecret)))
	keys, _ := tokenauth.NewKeyring(secret)
	here, revoked, err := start(ctx, pool, keys)
	if err != nil {
		fmt.Println(err)
		return
	}
	there, _, err := start(ctx, pool, keys) // another server
	if err != nil {
		fmt.Println(err)
		return
	}

	now := time.Now()
	raw, err := keys.Sign(tokenauth.Claims{
		ID: "token-1", SessionID: "session-1", Subject: "alice", Type: tokenauth.Access,
		Issuer: "shop", Audience: "shop-clients", IssuedAt: now, ExpiresAt: now.Add(15 * time.Minute),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	claims, err := there.Verify(ctx, raw, tokenauth.Access)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("welcome", claims.Subject)

	if err := logout(ctx, pool, revoked, claims); err != nil {
		fmt.Println(err)
		return
	}
	_, err = here.Verify(ctx, raw, tokenauth.Access)
	fmt.Println("here:", err)
	for err = nil; err == nil && ctx.Err() == nil; time.Sleep(time.Millisecond) { // the other learns of it in a moment
		_, err = there.Verify(ctx, raw, tokenauth.Access)
	}
	fmt.Println("there:", err)
	// Output:
	// welcome alice
	// here: Session has ended
	// there: Session has ended
}
