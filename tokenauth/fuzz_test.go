package tokenauth_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
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

// FuzzFromCookie: what is found is what net/http reads from the one cookie of
// the name; two are refused, however they are written.
func FuzzFromCookie(f *testing.F) {
	name := tokenauth.AccessCookie
	for _, s := range []string{
		"", name + "=a.b.c", name + "=", name + "=None", name + "=a; " + name + "=b", "x=" + name + "=a", name + `="a.b.c"`, name + "=a, " + name + "=b",
		tokenauth.RefreshCookie + "=r; " + name + "=a", strings.ToUpper(name) + "=a", " " + name + " = a", name + "=a\tb", name + "=\xff", ";;;=" + name,
	} {
		f.Add(s, "csrf")
	}
	f.Fuzz(func(t *testing.T, line, csrf string) {
		r := &http.Request{Header: http.Header{"Cookie": {line}}, URL: &url.URL{}}
		r.Header.Set(tokenauth.CSRFHeader, csrf)
		got, err := tokenauth.FromCookie(r, tokenauth.Access)
		checkFound(t, line, got, err, tokenauth.Cookie)
		all := r.CookiesNamed(name)
		switch {
		case len(all) > 1 && !errors.Is(err, tokenauth.ErrAmbiguous):
			t.Fatalf("FromCookie(%q) = %q, %v, want ErrAmbiguous of %d cookies", line, got.Raw, err, len(all))
		case err == nil && (len(all) != 1 || all[0].Value != got.Raw || got.CSRF != csrf):
			t.Fatalf("FromCookie(%q) = %q with csrf %q, want the one cookie %v and %q", line, got.Raw, got.CSRF, all, csrf)
		}
	})
}

// FuzzFromQuery: what is found is the one parameter of the name, as a handler
// would read it.
func FuzzFromQuery(f *testing.F) {
	for _, s := range []string{
		"", "token=a.b.c", "token=", "token", "token=null", "token=a&token=b", "token=a&token", "tok%65n=a", "x=token=a", "token=a;b", "Token=a", "token=%zz", "token=a+b",
		"token=%ff", "token=a&%zz", "&&token=a",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r := &http.Request{URL: &url.URL{RawQuery: query}}
		got, err := tokenauth.FromQuery(r, tokenauth.Access)
		checkFound(t, query, got, err, tokenauth.Query)
		all := r.URL.Query()["token"]
		switch {
		case len(all) > 1 && !errors.Is(err, tokenauth.ErrAmbiguous):
			t.Fatalf("FromQuery(%q) = %q, %v, want ErrAmbiguous of %d values", query, got.Raw, err, len(all))
		case err == nil && (len(all) != 1 || all[0] != got.Raw):
			t.Fatalf("FromQuery(%q) = %q, want the one value of %q", query, got.Raw, all)
		}
	})
}

// FuzzFind searches all four places at once: it finds a token exactly if one
// place has one and none refuses, in whatever order they are searched.
func FuzzFind(f *testing.F) {
	for _, s := range [][4]string{
		{"", "", "", ""}, {"Bearer a", "", "", ""}, {"", tokenauth.AccessCookie + "=a", "", ""}, {"", "", "token=a", ""}, {"", "", "", `{"access_token":"a"}`},
		{"Bearer a", tokenauth.AccessCookie + "=a", "", ""}, {"Bearer None", tokenauth.AccessCookie + "=a", "token=", "{}"},
		{"Basic YTpi", "", "token=a", ""}, {"Bearer a", "", "", `{"access_token":1}`}, {"", "", "token=a&token=b", `{"access_token":"a"}`},
		{"Bearer a", tokenauth.AccessCookie + "=b", "token=c", `{"access_token":"d"}`},
	} {
		f.Add(s[0], s[1], s[2], []byte(s[3]))
	}
	places := []tokenauth.Location{tokenauth.Header, tokenauth.Cookie, tokenauth.Query, tokenauth.JSON}
	f.Fuzz(func(t *testing.T, authorization, cookie, query string, body []byte) {
		request := func() *http.Request {
			return &http.Request{
				Method: http.MethodPost, URL: &url.URL{RawQuery: query}, ContentLength: -1, Body: io.NopCloser(bytes.NewReader(body)),
				Header: http.Header{"Authorization": {authorization}, "Cookie": {cookie}, "Content-Type": {"application/json"}},
			}
		}
		var want []tokenauth.RequestToken
		refused := false
		for _, l := range places {
			got, err := tokenauth.Find(request(), tokenauth.Access, l)
			switch {
			case err == nil:
				want = append(want, got)
			case !errors.Is(err, tokenauth.ErrMissing):
				refused = true
			}
		}
		backwards := slices.Clone(places)
		slices.Reverse(backwards)
		for _, order := range [][]tokenauth.Location{places, backwards} {
			got, err := tokenauth.Find(request(), tokenauth.Access, order...)
			switch {
			case refused || len(want) > 1:
				if err == nil || errors.Is(err, tokenauth.ErrMissing) {
					t.Fatalf("Find in %v = %v, %v, want a refusal of %v", order, got, err, want)
				}
			case len(want) == 1:
				if err != nil || got != want[0] {
					t.Fatalf("Find in %v = %v, %v, want %v", order, got, err, want[0])
				}
			case !errors.Is(err, tokenauth.ErrMissing):
				t.Fatalf("Find in %v = %v, %v, want ErrMissing", order, got, err)
			}
		}
	})
}

// checkFound: there is a token or one of the named refusals, never both, and
// neither tells the token.
func checkFound(t *testing.T, input string, got tokenauth.RequestToken, err error, l tokenauth.Location) {
	t.Helper()
	if (err == nil) == (got.Raw == "") {
		t.Fatalf("found in %q: %q, %v: neither a token nor an error, or both", input, got.Raw, err)
	}
	if e, ok := errors.AsType[*tokenauth.Error](err); err != nil && (!ok || e.Status != http.StatusUnauthorized && e.Status != http.StatusBadRequest) {
		t.Fatalf("found in %q: %v, want a named 400 or 401", input, err)
	}
	if err == nil && (got.Location != l || got.Type != tokenauth.Access || strings.EqualFold(got.Raw, "none") || strings.EqualFold(got.Raw, "null")) {
		t.Fatalf("found in %q: %#v %q", input, got, got.Raw)
	}
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
