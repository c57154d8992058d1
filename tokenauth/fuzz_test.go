package tokenauth_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/romi/plantdb-go/tokenauth"
)

// FuzzVerify signs any header and payload, so that the fuzzer is not stopped
// by the signature, and holds what is taken against the jwt package.
func FuzzVerify(f *testing.F) {
	key := hmacKey(f, secretFill)
	ring := ringOf(f, key)
	v := verifier(ring)
	secret := []byte(strings.Repeat(secretFill, tokenauth.MinSecret))
	head := `{"alg":"HS512","kid":"` + key.ID() + `","typ":"JWT"}`
	for _, payload := range []string{
		payloadWith(""), payloadWith(`,"gen":3,"csrf":"é\u00e9"`), payloadWith(`,"x":[{"y":"]"}]`), payloadWith(`,"exp":1`),
		strings.Replace(payloadWith(""), `"aud"`, `["aud"]`, 1), "{}", "null", "", `{"sub":"\`, `{"sub":"\"`, `{"x":[}`,
	} {
		f.Add(head, payload)
	}
	f.Add(`{"kid":"\`, "{}")
	f.Add(`{"alg":"none"}`, payloadWith(""))
	f.Fuzz(func(t *testing.T, header, payload string) {
		raw := forge(header, payload)
		c, err := v.Verify(t.Context(), raw)
		if err != nil {
			if e, ok := errors.AsType[*tokenauth.Error](err); !ok || e.Status != http.StatusUnauthorized {
				t.Fatalf("Verify(%q, %q) = %v, want one of the 401s", header, payload, err)
			}
			return
		}
		var other jwt.MapClaims
		_, err = jwt.NewParser(jwt.WithValidMethods([]string{"HS512"}), jwt.WithoutClaimsValidation()).
			ParseWithClaims(raw, &other, func(*jwt.Token) (any, error) { return secret, nil })
		if err != nil || other["sub"] != c.Subject || other["jti"] != c.ID || other["type"] != string(c.Type) {
			t.Fatalf("Verify(%q, %q) = %+v, but jwt has %v, %v", header, payload, c, other, err)
		}
	})
}

// FuzzVerifyRaw gives any text as a token. Nobody but the ring signs, so
// nothing but its token may be taken.
func FuzzVerifyRaw(f *testing.F) {
	ring := ringOf(f, hmacKey(f, secretFill))
	v := verifier(ring)
	good := sign(f, ring)
	for _, raw := range []string{good, good + "=", good + "\n", "..", "a.b.c", "", "eyJhbGciOiJub25lIn0.e30."} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if _, err := v.Verify(t.Context(), raw); err == nil && raw != good {
			t.Fatalf("Verify(%q) = nil", raw)
		}
	})
}

// FuzzClaims: what is read can be written, and reads the same again.
func FuzzClaims(f *testing.F) {
	for _, s := range []string{payloadWith(""), payloadWith(`,"datasets":"a<b>/READ","gen":2147483647`), "{}", `{"sub":"\ud800"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var c, again tokenauth.Claims
		if c.UnmarshalJSON(data) != nil {
			return
		}
		if !json.Valid(data) {
			t.Fatalf("UnmarshalJSON takes %q, which is no JSON", data)
		}
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatalf("Marshal(%+v) = %v", c, err)
		}
		if err := json.Unmarshal(text, &again); err != nil || again != c {
			t.Fatalf("Unmarshal(%s) = %+v, %v, want %+v", text, again, err, c)
		}
	})
}

func FuzzFromHeader(f *testing.F) {
	for _, s := range []string{"", "Bearer", "Bearer None", "bearer  a.b.c", "a.b.c", "Basic YTpi", "Bearer a, Bearer b", "Bearer\ta", "Bearer a\tb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		r := &http.Request{Header: http.Header{"Authorization": {value}}, URL: &url.URL{}}
		got, err := tokenauth.FromHeader(r, tokenauth.Access)
		if (err == nil) == (got.Raw == "") {
			t.Fatalf("FromHeader(%q) = %q, %v: neither a token nor an error, or both", value, got.Raw, err)
		}
		if strings.ContainsAny(got.Raw, " ,\t") || !strings.Contains(value, got.Raw) {
			t.Fatalf("FromHeader(%q) = %q", value, got.Raw)
		}
	})
}

// FuzzFromJSON: the handler reads the body it was sent, and what is found is
// what encoding/json finds, unless the two could disagree.
func FuzzFromJSON(f *testing.F) {
	for _, s := range []string{`{"access_token":"a"}`, `{"access_token":null}`, `{"access_token":"a","access_token":"b"}`, `{"x":{"access_token":"a"}}`, `{"access_token":"\`, `[`, ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := &http.Request{
			Method: http.MethodPost, ContentLength: -1, Body: io.NopCloser(bytes.NewReader(body)),
			Header: http.Header{"Content-Type": {"application/json"}},
		}
		got, err := tokenauth.FromJSON(r, tokenauth.Access)
		if left, readErr := io.ReadAll(r.Body); readErr != nil || !bytes.Equal(left, body) {
			t.Fatalf("FromJSON left %q, %v of %q", left, readErr, body)
		}
		if err != nil {
			return
		}
		var want map[string]any
		if json.Unmarshal(body, &want) != nil || want["access_token"] != got.Raw || !utf8.ValidString(got.Raw) {
			t.Fatalf("FromJSON(%q) = %q, encoding/json has %v", body, got.Raw, want)
		}
	})
}
