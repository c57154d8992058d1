package tokenauth

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// MinSecret is the least length of an HMAC secret, in bytes: RFC 7518 section
// 3.2 wants as many as the hash gives.
const MinSecret = sha512.Size

// Labels that keep what is derived from one secret apart; they are part of the
// format of tokens in circulation and may not change.
const (
	labelID  = "tokenauth key id v1"
	labelMAC = "tokenauth mac v1"
)

// Key signs or verifies, with one algorithm. Its secret is not printed by any
// verb of fmt and not written by encoding/json. The zero Key is not usable.
type Key struct{ k *key }

type key struct {
	id     string
	method jwt.SigningMethod
	header string // the encoded header of each token it signs
	sign   any    // what the method signs with, nil for a public key
	verify any    // what the method verifies with
	mac    []byte // what DeriveMAC uses, nil for a public key
	public ed25519.PublicKey
}

// NewHMACKey returns a key for HS512. The secret is copied and must have at
// least MinSecret bytes of real entropy: stretch a pass-phrase first. The ID is
// a keyed hash of a fixed label, the same on every replica, and tells nothing
// of the secret.
func NewHMACKey(secret []byte) (Key, error) {
	if len(secret) < MinSecret {
		return Key{}, fmt.Errorf("make HMAC key: %d bytes, at least %d are needed", len(secret), MinSecret)
	}
	s := append([]byte(nil), secret...)
	k := newKey(newHS512(s), keyed(s, labelID)[:12])
	k.sign, k.verify, k.mac = s, s, keyed(s, labelMAC)
	return Key{k}, nil
}

// NewEd25519Key returns a key for EdDSA that signs and verifies. Its ID is the
// RFC 7638 thumbprint of the public part.
func NewEd25519Key(priv ed25519.PrivateKey) (Key, error) {
	if len(priv) != ed25519.PrivateKeySize {
		return Key{}, fmt.Errorf("make Ed25519 key: %d bytes, %d are needed", len(priv), ed25519.PrivateKeySize)
	}
	priv = append(ed25519.PrivateKey(nil), priv...)
	k, err := NewEd25519PublicKey(priv.Public().(ed25519.PublicKey))
	if err != nil {
		return Key{}, err
	}
	k.k.sign = priv
	k.k.mac = keyed(priv.Seed(), labelMAC)
	return k, nil
}

// NewEd25519PublicKey returns a key for EdDSA that verifies only.
func NewEd25519PublicKey(pub ed25519.PublicKey) (Key, error) {
	if len(pub) != ed25519.PublicKeySize {
		return Key{}, fmt.Errorf("make Ed25519 public key: %d bytes, %d are needed", len(pub), ed25519.PublicKeySize)
	}
	pub = append(ed25519.PublicKey(nil), pub...)
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(pub) + `"}`))
	k := newKey(jwt.SigningMethodEdDSA, sum[:])
	k.verify, k.public = pub, pub
	return Key{k}, nil
}

func newKey(method jwt.SigningMethod, digest []byte) *key {
	id := base64.RawURLEncoding.EncodeToString(digest)
	header := `{"alg":"` + method.Alg() + `","kid":"` + id + `","typ":"JWT"}`
	return &key{id: id, method: method, header: base64.RawURLEncoding.EncodeToString([]byte(header))}
}

func keyed(secret []byte, label string) []byte {
	m := hmac.New(sha512.New, secret)
	_, _ = m.Write([]byte(label)) // a hash never fails
	return m.Sum(nil)
}

// ID returns the kid that tokens of the key carry; empty for the zero Key.
func (k Key) ID() string {
	if k.k == nil {
		return ""
	}
	return k.k.id
}

// Algorithm returns "HS512" or "EdDSA"; empty for the zero Key.
func (k Key) Algorithm() string {
	if k.k == nil {
		return ""
	}
	return k.k.method.Alg()
}

// String names the key by its algorithm and ID.
func (k Key) String() string { return k.Algorithm() + " key " + k.ID() }

// JWK returns the public part as an RFC 8037 JSON Web Key. An HMAC key has none,
// which is an error.
func (k Key) JWK() ([]byte, error) {
	if k.k == nil || k.k.public == nil {
		return nil, errors.New("make JWK: the key has no public part")
	}
	return json.Marshal(struct {
		KeyType   string `json:"kty"`
		Curve     string `json:"crv"`
		X         string `json:"x"`
		ID        string `json:"kid"`
		Algorithm string `json:"alg"`
		Use       string `json:"use"`
	}{"OKP", "Ed25519", base64.RawURLEncoding.EncodeToString(k.k.public), k.k.id, k.Algorithm(), "sig"})
}
