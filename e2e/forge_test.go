package e2e

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"hash"
	"maps"
	"strings"
	"testing"
)

// object is a JSON object.
type object map[string]any

// with returns a copy in which one member is another.
func (o object) with(name string, value any) object {
	o = maps.Clone(o)
	o[name] = value
	return o
}

func (o object) without(name string) object {
	o = maps.Clone(o)
	delete(o, name)
	return o
}

// part decodes the header (0) or the claims (1) of a token.
func part(t *testing.T, raw string, i int) (o object) {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[i])
	if err != nil {
		t.Fatalf("decode part %d of a token: %v", i, err)
	}
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatalf("decode part %d of a token: %v", i, err)
	}
	return o
}

func claimsOf(t *testing.T, raw string) object { t.Helper(); return part(t, raw, 1) }

func kidOf(t *testing.T, raw string) string {
	t.Helper()
	return part(t, raw, 0)["kid"].(string)
}

// newKey returns a key and its form in JWT_SECRET_KEY.
func newKey() (key []byte, setting string) {
	key = make([]byte, 64)
	_, _ = rand.Read(key) // never fails
	return key, "hex:" + hex.EncodeToString(key)
}

// signer signs the text of header and claims.
type signer func(t *testing.T, text string) []byte

func hmacOf(newHash func() hash.Hash, key []byte) signer {
	return func(_ *testing.T, text string) []byte {
		m := hmac.New(newHash, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
}

func hs512(key []byte) signer { return hmacOf(sha512.New, key) }
func hs256(key []byte) signer { return hmacOf(sha256.New, key) }

func rs256(t *testing.T, text string) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatalf("generate RSA key: %v", err)
	}
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatalf("sign by RSA: %v", err)
	}
	return signature
}

func unsigned(*testing.T, string) []byte { return nil }

// forge makes a token of any header and claims.
func forge(t *testing.T, header, claims object, sign signer) string {
	t.Helper()
	encode := func(o object) string {
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatalf("encode part of a token: %v", err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	text := encode(header) + "." + encode(claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(sign(t, text))
}
