package auth

import "github.com/romi/plantdb-go/tokenauth"

// Verifier verifies access and API tokens of this service as they come with
// requests, revocations included. Refresh verifies refresh tokens itself.
func (s *Service) Verifier() *tokenauth.Verifier {
	v := *s.verifier
	v.Checker = s.Checker()
	return &v
}

// JWKS returns the public keys by which others can verify tokens, as an RFC
// 7517 key set, which is empty where no key is asymmetric.
func (s *Service) JWKS() []byte { return s.keys.JWKS() }
