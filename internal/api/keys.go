package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// jwk is a public key of RFC 8037.
type jwk struct {
	KeyType   string `json:"kty" example:"OKP"`
	Curve     string `json:"crv" example:"Ed25519"`
	X         string `json:"x" doc:"The public key, in base64url."`
	ID        string `json:"kid" doc:"As in the header of a token."`
	Algorithm string `json:"alg" example:"EdDSA"`
	Use       string `json:"use" example:"sig"`
}

type jwkSet struct {
	Keys []jwk `json:"keys" doc:"The key that signs first, then those that still verify."`
}

type publicKeys struct {
	CacheControl string `header:"Cache-Control"`
	Body         jwkSet
}

// keysCached is how long a client may keep the keys. Whoever meets a kid it
// does not know asks again.
const keysCached = "public, max-age=60"

func (s *server) registerKeys() {
	register(s, route{
		id: "get-keys", method: http.MethodGet, path: "/.well-known/jwks.json", atRoot: true, tag: tagAuth, security: public, rate: rateRead,
		faults:  []error{errNoPublicKeys},
		summary: "Public keys that tokens are verified by",
		doc:     "RFC 7517. Only where tokens are signed with EdDSA; else there is nothing to verify them by but the secret.",
		errors:  []int{http.StatusNotFound},
	}, func(context.Context, *struct{}) (*publicKeys, error) {
		out := &publicKeys{CacheControl: keysCached}
		if err := json.Unmarshal(s.auth.JWKS(), &out.Body); err != nil {
			return nil, fmt.Errorf("read key set: %w", err)
		}
		if len(out.Body.Keys) == 0 {
			return nil, errNoPublicKeys
		}
		return out, nil
	})
}
