package tokenauth_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/romi/plantdb-go/tokenauth"
)

func TestClaimsJSON(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		claims tokenauth.Claims
		want   string
	}{
		{"all", claims(func(c *tokenauth.Claims) { c.Datasets, c.Generation = "a*/READ", 3 }),
			`{"iss":"iss","sub":"alice","aud":"aud","iat":1772366400,"exp":1772367300,"jti":"token-1","sid":"session-1","type":"access","datasets":"a*/READ","csrf":"csrf-1","gen":3}`},
		{"only what must be there", claims(func(c *tokenauth.Claims) { c.CSRF, c.SessionID = "", "" }),
			`{"iss":"iss","sub":"alice","aud":"aud","iat":1772366400,"exp":1772367300,"jti":"token-1","sid":"","type":"access"}`},
	}
	for _, tt := range tests {
		got, err := json.Marshal(tt.claims)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: Marshal = %s, %v, want %s", tt.name, got, err, tt.want)
		}
		var back tokenauth.Claims
		if err := json.Unmarshal(got, &back); err != nil || back != tt.claims {
			t.Errorf("%s: Unmarshal(%s) = %+v, %v, want %+v", tt.name, got, back, err, tt.claims)
		}
	}
}

func TestUnmarshalLeavesClaimsOnError(t *testing.T) {
	t.Parallel()
	c := claims()
	if err := json.Unmarshal([]byte(`{"sub":"mallory"}`), &c); err == nil || c != claims() {
		t.Errorf("Unmarshal = %v and claims %+v, want an error and no change", err, c)
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, hmacKey(t, secretFill))
	tests := []struct {
		name   string
		change func(*tokenauth.Claims)
	}{
		{"no subject", func(c *tokenauth.Claims) { c.Subject = "" }},
		{"no id", func(c *tokenauth.Claims) { c.ID = "" }},
		{"no type", func(c *tokenauth.Claims) { c.Type = "" }},
		{"no times", func(c *tokenauth.Claims) { c.IssuedAt, c.ExpiresAt = time.Time{}, time.Time{} }},
		{"beyond the year 9999", func(c *tokenauth.Claims) { c.ExpiresAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }},
		{"negative generation", func(c *tokenauth.Claims) { c.Generation = -1 }},
		{"subject is not UTF-8", func(c *tokenauth.Claims) { c.Subject = "a\xff" }},
		{"over the cap", func(c *tokenauth.Claims) { c.Datasets = strings.Repeat("a", tokenauth.MaxTokenSize) }},
	}
	for _, tt := range tests {
		if raw, err := ring.Sign(claims(tt.change)); err == nil {
			t.Errorf("%s: Sign = %q, want an error", tt.name, raw)
		}
	}
}

func TestKeysAreChecked(t *testing.T) {
	t.Parallel()
	if _, err := tokenauth.NewHMACKey(make([]byte, tokenauth.MinSecret-1)); err == nil {
		t.Error("NewHMACKey(63 bytes) = nil, want an error")
	}
	if _, err := tokenauth.NewEd25519Key(make([]byte, 63)); err == nil {
		t.Error("NewEd25519Key(63 bytes) = nil, want an error")
	}
	if _, err := tokenauth.NewEd25519PublicKey(nil); err == nil {
		t.Error("NewEd25519PublicKey(nil) = nil, want an error")
	}
	public, err := tokenauth.NewEd25519PublicKey(make([]byte, ed25519.PublicKeySize))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tokenauth.NewKeyring(public); err == nil {
		t.Error("NewKeyring(public key) = nil, want an error")
	}
	if _, err := tokenauth.NewKeyring(tokenauth.Key{}); err == nil {
		t.Error("NewKeyring(zero key) = nil, want an error")
	}
	if _, err := tokenauth.NewKeyring(edKey(t), tokenauth.Key{}); err == nil {
		t.Error("NewKeyring(key, zero key) = nil, want an error")
	}
}

func TestKeyCopiesItsSecret(t *testing.T) {
	t.Parallel()
	secret := []byte(strings.Repeat(secretFill, tokenauth.MinSecret))
	key, err := tokenauth.NewHMACKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	ring := ringOf(t, key)
	before := sign(t, ring)
	clear(secret)
	if after := sign(t, ring); after != before {
		t.Error("a change of the caller's slice changed the key")
	}
}

func TestKeysAreNotPrinted(t *testing.T) {
	t.Parallel()
	secret := []byte("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_")
	h, err := tokenauth.NewHMACKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	e, err := tokenauth.NewEd25519Key(ed25519.NewKeyFromSeed(secret[:32]))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []tokenauth.Key{h, e} {
		asJSON, err := json.Marshal(struct{ Key tokenauth.Key }{k})
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%v %+v %#v %s %x %v %#v", k, k, k, k, k, &k, []tokenauth.Key{k}) + string(asJSON) + k.ID()
		decimal := strings.Trim(fmt.Sprintf("%d", secret[:6]), "[]")
		for _, leak := range []string{"012345", hex.EncodeToString(secret[:6]), decimal, "0x30, 0x31"} {
			if strings.Contains(text, leak) {
				t.Errorf("%s: printed as %s, which holds %q", k.Algorithm(), text, leak)
			}
		}
	}
}

func TestKeyIDs(t *testing.T) {
	t.Parallel()
	a, b := hmacKey(t, "a"), hmacKey(t, "b")
	if a.ID() == b.ID() || a.ID() != hmacKey(t, "a").ID() || len(a.ID()) != 16 {
		t.Errorf("ids %q, %q, want 16 characters, equal for equal secrets only", a.ID(), b.ID())
	}
	// The key and thumbprint of RFC 8037 appendix A.3.
	pub, err := hex.DecodeString("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
	if err != nil {
		t.Fatal(err)
	}
	k, err := tokenauth.NewEd25519PublicKey(pub)
	if want := "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"; err != nil || k.ID() != want {
		t.Errorf("ID = %q, %v, want %q", k.ID(), err, want)
	}
	if zero := (tokenauth.Key{}); zero.ID() != "" || zero.Algorithm() != "" {
		t.Errorf("zero key is %v", zero)
	}
}

func TestJWKS(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, hmacKey(t, secretFill))
	if got := string(ring.JWKS()); got != `{"keys":[]}` {
		t.Errorf("JWKS of an HMAC ring = %s, want no keys", got)
	}
	ed := edKey(t)
	if err := ring.Replace(hmacKey(t, secretFill), ed, ed); err != nil {
		t.Fatal(err)
	}
	want := `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik","kid":"` + ed.ID() + `","alg":"EdDSA","use":"sig"}]}`
	got := ring.JWKS()
	if string(got) != want {
		t.Errorf("JWKS = %s, want %s", got, want)
	}
	clear(got)
	if bytes.Equal(got, ring.JWKS()) {
		t.Error("JWKS hands out its own memory")
	}
	if _, err := hmacKey(t, secretFill).JWK(); err == nil {
		t.Error("JWK of an HMAC key = nil, want an error")
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	old, next := hmacKey(t, "o"), edKey(t)
	ring := ringOf(t, old)
	v := verifier(ring)
	before := sign(t, ring)
	if err := ring.Replace(next, old); err != nil {
		t.Fatal(err)
	}
	after := sign(t, ring)
	for _, raw := range []string{before, after} {
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Errorf("Verify after rotation = %v", err)
		}
	}
	if err := ring.Replace(tokenauth.Key{}); err == nil {
		t.Error("Replace(zero key) = nil, want an error")
	}
	if err := ring.Replace(next); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), before); !errors.Is(err, tokenauth.ErrUnknownKey) {
		t.Errorf("Verify after the old key was retired = %v, want %v", err, tokenauth.ErrUnknownKey)
	}
	if _, err := v.Verify(t.Context(), after); err != nil {
		t.Errorf("Verify of the new key = %v", err)
	}
}

func TestRotationUnderTraffic(t *testing.T) {
	t.Parallel()
	a, b := hmacKey(t, "a"), hmacKey(t, "b")
	ring := ringOf(t, a, b)
	v := verifier(ring)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				raw, err := ring.Sign(claims())
				if err != nil {
					t.Errorf("Sign = %v", err)
				}
				if _, err := v.Verify(t.Context(), raw, tokenauth.Access); err != nil {
					t.Errorf("Verify = %v", err)
				}
			}
		})
	}
	for range 100 {
		if err := errors.Join(ring.Replace(b, a), ring.Replace(a, b)); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}

func TestDeriveMAC(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, hmacKey(t, "a"))
	mac := ring.DeriveMAC("csrf", []byte("token-1"))
	if len(mac) != 43 || mac != ring.DeriveMAC("csrf", []byte("token-1")) {
		t.Errorf("DeriveMAC = %q, want 43 characters, the same each time", mac)
	}
	for name, other := range map[string]string{
		"label":                 ring.DeriveMAC("cSrf", []byte("token-1")),
		"data":                  ring.DeriveMAC("csrf", []byte("token-2")),
		"a label into the data": ring.DeriveMAC("csrft", []byte("oken-1")),
		"key":                   ringOf(t, hmacKey(t, "b")).DeriveMAC("csrf", []byte("token-1")),
		"kind of key":           ringOf(t, edKey(t)).DeriveMAC("csrf", []byte("token-1")),
	} {
		if other == mac {
			t.Errorf("DeriveMAC does not depend on %s", name)
		}
	}
}
