package tokenauth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
)

// Keyring holds the key that signs and all keys that verify. All methods may
// be called at once from many goroutines; each sees either the keys before a
// Replace or those after it, never a mixture.
type Keyring struct{ state atomic.Pointer[keys] }

type keys struct {
	signing  *key
	byID     map[string]*key
	byHeader map[string]*key // by the encoded header that Sign writes
	jwks     []byte
}

// NewKeyring returns a ring that signs with signing and verifies with it and
// with verifying. It is an error if signing cannot sign, or if a key is the
// zero Key.
func NewKeyring(signing Key, verifying ...Key) (*Keyring, error) {
	r := &Keyring{}
	if err := r.Replace(signing, verifying...); err != nil {
		return nil, err
	}
	return r, nil
}

// Replace puts other keys in place of all that the ring held. To rotate
// without refusing a token in circulation, pass the old key among verifying
// until the last token it signed has expired. On an error the ring is as before.
func (r *Keyring) Replace(signing Key, verifying ...Key) error {
	if signing.k == nil || signing.k.sign == nil {
		return errors.New("make keyring: the signing key cannot sign")
	}
	next := &keys{signing: signing.k, byID: map[string]*key{}, byHeader: map[string]*key{}}
	set := struct {
		Keys []json.RawMessage `json:"keys"`
	}{Keys: []json.RawMessage{}}
	for _, k := range append([]Key{signing}, verifying...) {
		if k.k == nil {
			return errors.New("make keyring: a verifying key is the zero Key")
		}
		if _, ok := next.byID[k.k.id]; ok {
			continue
		}
		next.byID[k.k.id] = k.k
		next.byHeader[k.k.header] = k.k
		if jwk, err := k.JWK(); err == nil {
			set.Keys = append(set.Keys, jwk)
		}
	}
	var err error
	if next.jwks, err = json.Marshal(set); err != nil {
		return fmt.Errorf("make keyring: %w", err)
	}
	r.state.Store(next)
	return nil
}

// JWKS returns the public keys as an RFC 7517 key set, the signing key first.
// HMAC keys are never in it, so it may be empty: {"keys":[]}.
func (r *Keyring) JWKS() []byte { return append([]byte(nil), r.state.Load().jwks...) }

// Sign returns the token that says c: a compact JWS with the header fields
// alg, kid and typ. Equal claims under the same keys give the same text.
// Claims that no Verifier would take (see Claims.MarshalJSON), or a token over
// MaxTokenSize, are an error.
func (r *Keyring) Sign(c Claims) (string, error) {
	k := r.state.Load().signing
	body, err := c.MarshalJSON()
	if err != nil {
		return "", fmt.Errorf("sign %s token: %w", c.Type, err)
	}
	signed := k.header + "." + base64.RawURLEncoding.EncodeToString(body)
	sig, err := k.method.Sign(signed, k.sign)
	if err != nil {
		return "", fmt.Errorf("sign %s token: %w", c.Type, err)
	}
	raw := signed + "." + base64.RawURLEncoding.EncodeToString(sig)
	if len(raw) > MaxTokenSize {
		return "", fmt.Errorf("sign %s token: %d bytes, more than %d", c.Type, len(raw), MaxTokenSize)
	}
	return raw, nil
}

// DeriveMAC returns a text of 43 URL-safe characters that only a holder of the
// signing key can make from label and data: a csrf claim, say, that need not be
// stored. Different labels never give the same text, and none is a
// signature of a token. It changes with the signing key.
func (r *Keyring) DeriveMAC(label string, data []byte) string {
	m := hmac.New(sha256.New, r.state.Load().signing.mac)
	// With its length in front, no label can run into the data.
	text := binary.BigEndian.AppendUint64(nil, uint64(len(label)))
	text = append(append(text, label...), data...)
	_, _ = m.Write(text) // a hash never fails
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}
