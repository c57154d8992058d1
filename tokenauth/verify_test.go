package tokenauth_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/romi/plantdb-go/tokenauth"
)

const secretFill = "k"

// forge signs any header and payload with the secret of hmacKey(t, secretFill).
func forge(header, payload string) string {
	signed := b64(header) + "." + b64(payload)
	m := hmac.New(sha512.New, []byte(strings.Repeat(secretFill, tokenauth.MinSecret)))
	m.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

func payloadWith(extra string) string {
	return fmt.Sprintf(`{"iss":"iss","sub":"alice","aud":"aud","jti":"token-1","sid":"s","type":"access","iat":%d,"exp":%d%s}`,
		epoch.Unix(), epoch.Add(time.Minute).Unix(), extra)
}

func TestVerifyReturnsWhatWasSigned(t *testing.T) {
	t.Parallel()
	for _, key := range []tokenauth.Key{hmacKey(t, secretFill), edKey(t)} {
		want := claims(func(c *tokenauth.Claims) { c.Generation, c.Datasets, c.Subject = 7, "a*/READ;<b>/WRITE", `al"ice é` })
		ring := ringOf(t, key)
		raw, err := ring.Sign(want)
		if err != nil {
			t.Fatalf("Sign(%v) = %v", want, err)
		}
		got, err := verifier(ring).Verify(t.Context(), raw, tokenauth.Access)
		if err != nil || *got != want {
			t.Errorf("%s: Verify(Sign(c)) = %+v, %v, want %+v", key.Algorithm(), got, err, want)
		}
		if again, _ := ring.Sign(want); again != raw {
			t.Errorf("%s: Sign of equal claims differs: %q, %q", key.Algorithm(), raw, again)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	key, ed := hmacKey(t, secretFill), edKey(t)
	ring := ringOf(t, key, ed)
	head := `{"alg":"HS512","kid":"` + key.ID() + `","typ":"JWT"}`
	good := sign(t, ring)
	other := ringOf(t, hmacKey(t, "x"))
	without := func(name string) string {
		return strings.Replace(payloadWith(""), `"`+name+`":`, `"x`+name+`":`, 1)
	}
	at := func(d time.Duration) func(*tokenauth.Claims) {
		return func(c *tokenauth.Claims) { c.IssuedAt, c.ExpiresAt = epoch.Add(d), epoch.Add(d+15*time.Minute) }
	}
	tests := []struct {
		name, raw string
		want      error
	}{
		{"empty", "", tokenauth.ErrMissing},
		{"over the cap", forge(head, payloadWith(`,"x":"`+strings.Repeat("a", tokenauth.MaxTokenSize)+`"`)), tokenauth.ErrMalformed},
		{"one part", "abc", tokenauth.ErrMalformed},
		{"two parts", "abc.def", tokenauth.ErrMalformed},
		{"four parts", good + ".abc", tokenauth.ErrMalformed},
		{"trailing line break", good + "\n", tokenauth.ErrMalformed},
		{"line break in the signature", good[:len(good)-4] + "\n" + good[len(good)-4:], tokenauth.ErrMalformed},
		{"padding", good + "==", tokenauth.ErrMalformed},
		{"trailing byte", good + "A", tokenauth.ErrSignature},
		{"trailing bits", good[:len(good)-1] + string(good[len(good)-1]+1), tokenauth.ErrMalformed},
		{"header is no JSON", b64("{") + "." + b64("{}") + ".AA", tokenauth.ErrMalformed},
		{"header is null", forge("null", payloadWith("")), tokenauth.ErrMalformed},
		{"header is empty", "." + b64("{}") + ".AA", tokenauth.ErrMalformed},
		{"alg none, no kid", b64(`{"alg":"none"}`) + "." + b64(payloadWith("")) + ".", tokenauth.ErrUnknownKey},
		{"alg none", b64(`{"alg":"none","kid":"`+key.ID()+`"}`) + "." + b64(payloadWith("")) + ".", tokenauth.ErrSignature},
		{"no signature", b64(head) + "." + b64(payloadWith("")) + ".", tokenauth.ErrSignature},
		{"other HMAC", forge(strings.Replace(head, "HS512", "HS256", 1), payloadWith("")), tokenauth.ErrSignature},
		{"alg in lower case", forge(strings.Replace(head, "HS512", "hs512", 1), payloadWith("")), tokenauth.ErrSignature},
		{"alg missing", forge(`{"kid":"`+key.ID()+`"}`, payloadWith("")), tokenauth.ErrSignature},
		{"alg twice", forge(`{"alg":"HS512",`+head[1:], payloadWith("")), tokenauth.ErrMalformed},
		{"kid twice", forge(`{"kid":"x",`+head[1:], payloadWith("")), tokenauth.ErrMalformed},
		{"kid is no text", forge(`{"alg":"HS512","kid":7}`, payloadWith("")), tokenauth.ErrMalformed},
		{"kid missing", forge(`{"alg":"HS512"}`, payloadWith("")), tokenauth.ErrUnknownKey},
		{"kid unknown", sign(t, other), tokenauth.ErrUnknownKey},
		{"critical extension", forge(`{"crit":["b64"],`+head[1:], payloadWith("")), tokenauth.ErrMalformed},
		{"signed by another key under our kid", resign(t, good, "x"), tokenauth.ErrSignature},
		{"payload changed", swapPayload(good, payloadWith("")), tokenauth.ErrSignature},
		{"payload is no JSON, signature wrong", swapPayload(good, "{"), tokenauth.ErrSignature},
		{"payload is no JSON", forge(head, "{"), tokenauth.ErrMalformed},
		{"payload is null", forge(head, "null"), tokenauth.ErrMalformed},
		{"payload is a list", forge(head, "[]"), tokenauth.ErrMalformed},
		{"garbage after the payload", forge(head, payloadWith("")+"x"), tokenauth.ErrMalformed},
		{"sub missing", forge(head, without("sub")), tokenauth.ErrMalformed},
		{"jti missing", forge(head, without("jti")), tokenauth.ErrMalformed},
		{"type missing", forge(head, without("type")), tokenauth.ErrMalformed},
		{"iat missing", forge(head, without("iat")), tokenauth.ErrMalformed},
		{"exp missing", forge(head, without("exp")), tokenauth.ErrMalformed},
		{"iss missing", forge(head, without("iss")), tokenauth.ErrIssuer},
		{"aud missing", forge(head, without("aud")), tokenauth.ErrAudience},
		{"sub twice", forge(head, payloadWith(`,"sub":"bob"`)), tokenauth.ErrMalformed},
		{"sub twice, once escaped", forge(head, payloadWith(`,"s\u0075b":"bob"`)), tokenauth.ErrMalformed},
		{"exp twice", forge(head, payloadWith(`,"exp":99999999999`)), tokenauth.ErrMalformed},
		{"aud of two", forge(head, strings.Replace(payloadWith(""), `"aud":"aud"`, `"aud":["aud","b"]`, 1)), tokenauth.ErrMalformed},
		{"aud of none", forge(head, strings.Replace(payloadWith(""), `"aud":"aud"`, `"aud":[]`, 1)), tokenauth.ErrMalformed},
		{"gen negative", forge(head, payloadWith(`,"gen":-1`)), tokenauth.ErrMalformed},
		{"issuer", sign(t, ring, func(c *tokenauth.Claims) { c.Issuer = "other" }), tokenauth.ErrIssuer},
		{"audience", sign(t, ring, func(c *tokenauth.Claims) { c.Audience = "other" }), tokenauth.ErrAudience},
		{"expired", sign(t, ring, at(-time.Hour)), tokenauth.ErrExpired},
		{"expired to the second", sign(t, ring, at(-15*time.Minute-2*time.Second)), tokenauth.ErrExpired},
		{"from the future", sign(t, ring, at(3*time.Second)), tokenauth.ErrNotYetValid},
		{"refresh token", sign(t, ring, func(c *tokenauth.Claims) { c.Type = tokenauth.Refresh }), tokenauth.ErrWrongType},
		{"unknown type", sign(t, ring, func(c *tokenauth.Claims) { c.Type = "id" }), tokenauth.ErrWrongType},
	}
	v := verifier(ring)
	v.Checker = tokenauth.CheckerFunc(func(context.Context, *tokenauth.Claims) (bool, string, error) {
		t.Error("the checker was asked about a token that is bad by itself")
		return false, "", nil
	})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := v.Verify(t.Context(), tt.raw, tokenauth.Access, tokenauth.API)
			if !errors.Is(err, tt.want) || c != nil {
				t.Errorf("Verify(%.60q) = %v, %v, want %v", tt.raw, c, err, tt.want)
			}
		})
	}
}

// TestTimesOfStrangeKinds tries each value as iat and as exp.
func TestTimesOfStrangeKinds(t *testing.T) {
	t.Parallel()
	key := hmacKey(t, secretFill)
	head := `{"alg":"HS512","kid":"` + key.ID() + `"}`
	v := verifier(ringOf(t, key))
	for _, value := range []string{
		"1772366460.5", "1.8e9", "1e999", "-1", "-0", "01772366460", "99999999999999999999", "9223372036854775807",
		"253402300800", `"1772366460"`, "null", "true", "[1772366460]", "{}", "", "0x69", "+1", "NaN",
	} {
		for _, name := range []string{"iat", "exp"} {
			p := payloadWith("")
			start := strings.Index(p, `"`+name+`":`) + len(name) + 3
			end := start + strings.IndexAny(p[start:], ",}")
			p = p[:start] + value + p[end:]
			if _, err := v.Verify(t.Context(), forge(head, p)); !errors.Is(err, tokenauth.ErrMalformed) {
				t.Errorf("Verify with %s = %s: %v, want %v", name, value, err, tokenauth.ErrMalformed)
			}
		}
	}
}

// TestPublicKeyIsNoSecret is the classic confusion: a token by HMAC whose
// secret is the public key, which everybody knows.
func TestPublicKeyIsNoSecret(t *testing.T) {
	t.Parallel()
	ed := edKey(t)
	jwk, err := ed.JWK()
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range []string{"HS512", "HS256", "RS256", "EdDSA"} {
		signed := b64(`{"alg":"`+alg+`","kid":"`+ed.ID()+`"}`) + "." + b64(payloadWith(""))
		m := hmac.New(sha512.New, jwk)
		m.Write([]byte(signed))
		raw := signed + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
		if _, err := verifier(ringOf(t, ed)).Verify(t.Context(), raw); !errors.Is(err, tokenauth.ErrSignature) {
			t.Errorf("Verify(%s by the public key) = %v, want %v", alg, err, tokenauth.ErrSignature)
		}
	}
}

func TestVerifyTakes(t *testing.T) {
	t.Parallel()
	key := hmacKey(t, secretFill)
	ring := ringOf(t, key)
	head := `{"alg":"HS512","kid":"` + key.ID() + `"}`
	tests := []struct{ name, raw string }{
		{"aud as a list of one", forge(head, strings.Replace(payloadWith(""), `"aud":"aud"`, `"aud": [ "aud" ]`, 1))},
		{"white space and unknown claims", forge(head, " "+payloadWith(` , "x" : {"sub":["b",{"c":"}"}]}, "y":null`)+"\n")},
		{"names of another case are other names", forge(head, payloadWith(`,"Sub":"bob","EXP":1`))},
		{"a header of another order", forge(`{"typ":"JWT","x5c":["a"],"kid":"`+key.ID()+`","alg":"HS512"}`, payloadWith(""))},
		{"just within the leeway after exp", sign(t, ring, func(c *tokenauth.Claims) { c.ExpiresAt = epoch.Add(-time.Second) })},
		{"at the leeway before iat", sign(t, ring, func(c *tokenauth.Claims) { c.IssuedAt = epoch.Add(2 * time.Second) })},
	}
	for _, tt := range tests {
		c, err := verifier(ring).Verify(t.Context(), tt.raw)
		if err != nil || c.Subject != "alice" {
			t.Errorf("%s: Verify = %v, %v, want alice", tt.name, c, err)
		}
	}
}

// TestTokensOfAnotherLibrary has the jwt package sign and read.
func TestTokensOfAnotherLibrary(t *testing.T) {
	t.Parallel()
	key := hmacKey(t, secretFill)
	secret := []byte(strings.Repeat(secretFill, tokenauth.MinSecret))
	ring := ringOf(t, key)
	tok := jwt.NewWithClaims(jwt.SigningMethodHS512, jwt.MapClaims{
		"iss": "iss", "sub": "alice", "aud": []string{"aud"}, "jti": "1", "sid": "s", "type": "api",
		"iat": epoch.Unix(), "exp": epoch.Add(time.Hour).Unix(),
	})
	tok.Header["kid"] = key.ID()
	raw, err := tok.SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := verifier(ring).Verify(t.Context(), raw, tokenauth.API); err != nil || c.Subject != "alice" {
		t.Errorf("Verify(token by jwt) = %v, %v, want alice", c, err)
	}
	var got jwt.RegisteredClaims
	_, err = jwt.NewParser(jwt.WithValidMethods([]string{"HS512"}), jwt.WithIssuer("iss"), jwt.WithAudience("aud"),
		jwt.WithIssuedAt(), jwt.WithExpirationRequired(), jwt.WithTimeFunc(clock(epoch))).
		ParseWithClaims(sign(t, ring), &got, func(*jwt.Token) (any, error) { return secret, nil })
	if err != nil || got.Subject != "alice" || got.ID != "token-1" {
		t.Errorf("jwt parses our token as %+v, %v", got, err)
	}
}

func TestVerifyAsksTheChecker(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, hmacKey(t, secretFill))
	broken := errors.New("database is away")
	tests := []struct {
		name    string
		revoked bool
		reason  string
		err     error
		want    error
	}{
		{"not revoked", false, "", nil, nil},
		{"a reason alone revokes nothing", false, "session_ended", nil, nil},
		{"revoked", true, "", nil, tokenauth.ErrRevoked},
		{"revoked for a reason", true, "stolen laptop", nil, tokenauth.ErrRevoked},
		{"session", true, "session_ended", nil, tokenauth.ErrSessionEnded},
		{"user", true, "user_inactive", nil, tokenauth.ErrUserInactive},
		{"access unknown", true, "access_token_unknown", nil, tokenauth.ErrAccessUnknown},
		{"refresh unknown", true, "refresh_token_unknown", nil, tokenauth.ErrRefreshUnknown},
		{"reused", true, "refresh_token_reused", nil, tokenauth.ErrRefreshReused},
		{"a code of another step is a reason like any", true, "token_expired", nil, tokenauth.ErrRevoked},
		{"failed", false, "", broken, tokenauth.ErrCheckerFailed},
		{"failed, with a name that is not its to use", false, "", tokenauth.ErrExpired, tokenauth.ErrCheckerFailed},
		{"revoked and failed", true, "", broken, tokenauth.ErrRevoked},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := verifier(ring)
			v.Checker = tokenauth.CheckerFunc(func(_ context.Context, c *tokenauth.Claims) (bool, string, error) {
				if c.ID != "token-1" {
					t.Errorf("the checker was asked about %q", c.ID)
				}
				return tt.revoked, tt.reason, tt.err
			})
			_, err := v.Verify(t.Context(), sign(t, ring))
			if !errors.Is(err, tt.want) {
				t.Errorf("Verify = %v, want %v", err, tt.want)
			}
			if tt.err != nil && !errors.Is(err, tt.err) {
				t.Errorf("Verify = %v, which does not wrap %v", err, tt.err)
			}
		})
	}
}

func TestChain(t *testing.T) {
	t.Parallel()
	yes := answer(true, "stolen", nil)
	no := answer(false, "", nil)
	broken := answer(false, "", errors.New("away"))
	tests := []struct {
		name    string
		chain   []tokenauth.Checker
		revoked bool
		failed  bool
	}{
		{"empty", nil, false, false},
		{"none revokes", []tokenauth.Checker{no, no}, false, false},
		{"the second revokes", []tokenauth.Checker{no, yes}, true, false},
		{"the first revokes, the next is not asked", []tokenauth.Checker{yes, answerPanic{}}, true, false},
		{"an error wins over not revoked", []tokenauth.Checker{broken, no}, false, true},
		{"revoked wins over an error", []tokenauth.Checker{broken, yes}, true, false},
	}
	for _, tt := range tests {
		c := claims()
		revoked, _, err := tokenauth.Chain(tt.chain...).IsRevoked(t.Context(), &c)
		if revoked != tt.revoked || (err != nil) != tt.failed {
			t.Errorf("%s: IsRevoked = %v, %v, want %v, failed %v", tt.name, revoked, err, tt.revoked, tt.failed)
		}
	}
}

func answer(revoked bool, reason string, err error) tokenauth.Checker {
	return tokenauth.CheckerFunc(func(context.Context, *tokenauth.Claims) (bool, string, error) { return revoked, reason, err })
}

type answerPanic struct{}

func (answerPanic) IsRevoked(context.Context, *tokenauth.Claims) (bool, string, error) {
	panic("asked")
}

// TestErrorsKeepTokensToThemselves looks for any part of the token in each error.
func TestErrorsKeepTokensToThemselves(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, hmacKey(t, secretFill))
	good := sign(t, ring)
	v := verifier(ring)
	for _, raw := range []string{good + "x", good[:len(good)-20], swapPayload(good, payloadWith("")), strings.ToUpper(good), "sikrit.sikrit.sikrit"} {
		_, err := v.Verify(t.Context(), raw)
		if err == nil {
			t.Fatalf("Verify(%q) = nil", raw)
		}
		for part := range strings.SplitSeq(raw, ".") {
			if strings.Contains(fmt.Sprintf("%+v %#v", err, err), part[:6]) {
				t.Errorf("error %#v shows part of the token", err)
			}
		}
	}
}

func resign(t *testing.T, raw, fill string) string {
	t.Helper()
	signed := raw[:strings.LastIndex(raw, ".")]
	sig, err := jwt.SigningMethodHS512.Sign(signed, []byte(strings.Repeat(fill, tokenauth.MinSecret)))
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func swapPayload(raw, payload string) string {
	p := strings.Split(raw, ".")
	return p[0] + "." + b64(payload) + "." + p[2]
}
