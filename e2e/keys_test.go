package e2e

import (
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

func TestKeysRotateOverARestart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, first := newKey()
	_, second := newKey()
	sv := s.start("JWT_SECRET_KEY=" + first)
	alice := sv.user("alice", "reader")
	old := sv.login(alice)
	api := sv.apiToken(old.access, 600, map[string][]string{"*": {"read"}})
	sv.Stop()

	sv = s.start("JWT_SECRET_KEY="+second, "JWT_PREVIOUS_KEYS="+first)
	if !sv.takes(old.access) || !sv.takes(api) {
		t.Error("tokens signed by the previous key are refused")
	}
	renewed := sv.refresh(old.refresh)
	for what, raw := range map[string]string{"refreshed access token": renewed.access, "refreshed refresh token": renewed.refresh, "login": sv.login(alice).access} {
		if kidOf(t, raw) == kidOf(t, old.access) {
			t.Errorf("%s: signed by the previous key", what)
		}
	}
	sv.Stop()

	sv = s.start("JWT_SECRET_KEY=" + second)
	sv.call(validationOf(api)).refused(t, "token of a key that is gone", "unknown key")
	sv.call(refreshOf(old.refresh)).refused(t, "refresh token of a key that is gone", "unknown key")
	if !sv.takes(renewed.access) {
		t.Error("tokens of the key that stayed are refused")
	}
	if n := one[int](s, "SELECT count(*) FROM signing_keys WHERE kid = $1 AND status = 'retired'", kidOf(t, old.access)); n != 1 {
		t.Errorf("%d retired keys of that id are recorded, want 1", n)
	}
}

// TestKeyOutlivesRestartAndIsSharedByReplicas holds for a pass-phrase, which is
// stretched, and for the key that the server makes itself.
func TestKeyOutlivesRestartAndIsSharedByReplicas(t *testing.T) {
	t.Parallel()
	const phrase = "JWT_SECRET_KEY=leaves of grass and of maize"
	for name, env := range map[string][]string{"pass-phrase": {phrase}, "own key": nil} {
		s := newSite(t, env...)
		a, b := s.pair()
		p := a.login(a.user("alice", "reader"))
		if !b.takes(p.access) {
			t.Errorf("%s: the other replica refuses a token", name)
		}
		p = b.refresh(p.refresh)
		a.Stop()
		b.Kill()
		if again := s.start(); !again.takes(p.access) {
			t.Errorf("%s: a token did not outlive the restart", name)
		}
	}
	// The salt is each database's own: equal pass-phrases are not equal keys.
	one, two := newSite(t, phrase).start(), newSite(t, phrase).start()
	if kidOf(t, one.login(one.site.admin()).access) == kidOf(t, two.login(two.site.admin()).access) {
		t.Error("the same pass-phrase gives the same key to two sites")
	}
}

func TestBadKeyStopsTheStart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, key := range []string{"hex:00112233445566778899", "hex:zzzzzzzzzzzzzzzzzzzz", "base64:AAAA", "file:/nowhere/at/all"} {
		got := s.run([]string{"JWT_SECRET_KEY=" + key}, "serve", "--port", "0")
		if got.Code == 0 || s.seen.in(got.Stdout+got.Stderr) > 0 {
			t.Errorf("serve with a bad key = %d, want a refusal that does not repeat the key", got.Code)
		}
	}
}

// TestKeysRotateWhileServing changes the key that the tree keeps, under two
// servers that run.
func TestKeysRotateWhileServing(t *testing.T) {
	t.Parallel()
	// Alice logs in until she gets the new key, which must not cost her the
	// session she has.
	s := newSite(t, "MAX_SESSION=1000")
	a, b := s.pair()
	alice := a.user("alice", "reader")
	old := a.login(alice)
	command := func(args ...string) {
		t.Helper()
		if got := s.run(nil, append([]string{"keys"}, args...)...); got.Code != 0 {
			t.Fatalf("keys %v = %d, %s", args, got.Code, got.Stderr)
		}
	}
	command("rotate")
	for _, sv := range []*server{a, b} {
		var renewed pair
		until(t, "a running server signs with the new key", func() bool {
			renewed = sv.login(alice)
			return kidOf(t, renewed.access) != kidOf(t, old.access)
		})
		for _, other := range []*server{a, b} {
			until(t, "the new key verifies everywhere", func() bool { return other.takes(renewed.access) })
			if !other.takes(old.access) {
				t.Error("a rotation of the key logged somebody out")
			}
		}
	}
	command("retire", kidOf(t, old.access))
	for _, sv := range []*server{a, b} {
		until(t, "the retired key verifies no more", func() bool { return !sv.takes(old.access) })
		sv.call(refreshOf(old.refresh)).refused(t, "refresh token of a retired key", "unknown key")
	}
}

// TestPublicKeyVerifiesTokens does so as another program would.
func TestPublicKeyVerifiesTokens(t *testing.T) {
	t.Parallel()
	s := newSite(t, "JWT_ALGORITHM=EdDSA")
	sv := s.start()
	p := sv.login(sv.user("alice", "reader"))
	var set struct {
		Keys []struct{ Kty, Crv, X, Kid, Alg, Use string }
	}
	sv.get("//.well-known/jwks.json", "").want(t, "public keys", http.StatusOK).into(t, &set)
	if len(set.Keys) != 1 || set.Keys[0].Kid != kidOf(t, p.access) || set.Keys[0].Crv != "Ed25519" || part(t, p.access, 0)["alg"] != "EdDSA" {
		t.Fatalf("public keys = %+v, want the Ed25519 key %s", set.Keys, kidOf(t, p.access))
	}
	public, err := base64.RawURLEncoding.DecodeString(set.Keys[0].X)
	if err != nil {
		t.Fatalf("decode public key: %v", err)
	}
	end := strings.LastIndexByte(p.access, '.')
	signature, err := base64.RawURLEncoding.DecodeString(p.access[end+1:])
	if err != nil || !ed25519.Verify(public, []byte(p.access[:end]), signature) {
		t.Errorf("the public key does not verify a token (%v)", err)
	}
	// What everybody knows is no secret to sign with.
	header, claims := part(t, p.access, 0), claimsOf(t, p.access)
	for _, alg := range []string{"HS512", "HS256", "EdDSA", "none"} {
		raw := forge(t, header.with("alg", alg), claims, hs512(public))
		sv.call(validationOf(raw)).refused(t, alg+" by the public key", "Signature")
	}
	newSite(t).start().get("//.well-known/jwks.json", "").want(t, "public keys of a server with a secret key", http.StatusNotFound)
}
