package tokenauth_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/romi/plantdb-go/tokenauth"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Of the test database, whose pools live as long as the process.
		goleak.IgnoreAnyFunction("github.com/jackc/pgx/v5/pgxpool.(*Pool).backgroundHealthCheck"))
}

// epoch is the time of all tests that set the clock.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func clock(t time.Time) func() time.Time { return func() time.Time { return t } }

func hmacKey(t testing.TB, fill string) tokenauth.Key {
	t.Helper()
	k, err := tokenauth.NewHMACKey([]byte(strings.Repeat(fill, tokenauth.MinSecret)))
	if err != nil {
		t.Fatalf("NewHMACKey: %v", err)
	}
	return k
}

func edKey(t testing.TB) tokenauth.Key {
	t.Helper()
	k, err := tokenauth.NewEd25519Key(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatalf("NewEd25519Key: %v", err)
	}
	return k
}

func ringOf(t testing.TB, signing tokenauth.Key, verifying ...tokenauth.Key) *tokenauth.Keyring {
	t.Helper()
	r, err := tokenauth.NewKeyring(signing, verifying...)
	if err != nil {
		t.Fatalf("NewKeyring: %v", err)
	}
	return r
}

func verifier(ring *tokenauth.Keyring) *tokenauth.Verifier {
	return &tokenauth.Verifier{Keys: ring, Issuer: "iss", Audience: "aud", Leeway: 2 * time.Second, Now: clock(epoch)}
}

// claims are good at epoch.
func claims(change ...func(*tokenauth.Claims)) tokenauth.Claims {
	c := tokenauth.Claims{
		ID: "token-1", Subject: "alice", Issuer: "iss", Audience: "aud", SessionID: "session-1",
		Type: tokenauth.Access, IssuedAt: epoch, ExpiresAt: epoch.Add(15 * time.Minute), CSRF: "csrf-1",
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

func sign(t testing.TB, ring *tokenauth.Keyring, change ...func(*tokenauth.Claims)) string {
	t.Helper()
	raw, err := ring.Sign(claims(change...))
	if err != nil {
		t.Fatalf("Sign: %v", err)
	}
	return raw
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
