package tokenauth_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/tokenauth"
)

func schemes() *huma.Components {
	return &huma.Components{SecuritySchemes: map[string]*huma.SecurityScheme{
		"bearer":  {Type: "http", Scheme: "bearer"},
		"cookie":  {Type: "apiKey", In: "cookie", Name: tokenauth.AccessCookie},
		"refresh": {Type: "apiKey", In: "cookie", Name: tokenauth.RefreshCookie},
		"query":   {Type: "apiKey", In: "query", Name: "token"},
		"csrf":    {Type: "apiKey", In: "header", Name: "X-CSRF-TOKEN"},
		"raw":     {Type: "apiKey", In: "header", Name: "authorization"},
	}}
}

type security = []map[string][]string

func TestPolicyOf(t *testing.T) {
	t.Parallel()
	bearers := []tokenauth.Type{tokenauth.Access, tokenauth.API}
	everywhere := []tokenauth.Location{tokenauth.Cookie, tokenauth.Header, tokenauth.JSON, tokenauth.Query}
	headerJSON := []tokenauth.Location{tokenauth.Header, tokenauth.JSON}
	tests := []struct {
		name    string
		doc, op security
		want    tokenauth.Policy
	}{
		{"public", nil, security{}, tokenauth.Policy{Public: true}},
		{"public in a protected document", security{{"bearer": nil}}, security{}, tokenauth.Policy{Public: true}},
		{"public by the document", security{}, nil, tokenauth.Policy{Public: true}},
		{"nothing said", nil, nil, tokenauth.Policy{Want: bearers, Locations: everywhere}},
		{"by the document", security{{"bearer": nil}}, nil, tokenauth.Policy{Want: bearers, Schemes: []string{"bearer"}, Locations: headerJSON}},
		{"required", nil, security{{"bearer": {"write", "read"}}, {"cookie": {"read"}, "csrf": nil}},
			tokenauth.Policy{Want: bearers, Schemes: []string{"bearer", "cookie", "csrf"}, Scopes: []string{"read", "write"},
				Locations: []tokenauth.Location{tokenauth.Cookie, tokenauth.Header, tokenauth.JSON}}},
		{"optional", nil, security{{"bearer": nil}, {"query": nil}, {}},
			tokenauth.Policy{Mode: tokenauth.Optional, Want: bearers, Schemes: []string{"bearer", "query"},
				Locations: []tokenauth.Location{tokenauth.Header, tokenauth.JSON, tokenauth.Query}}},
		{"only optional", nil, security{{}}, tokenauth.Policy{Mode: tokenauth.Optional, Want: bearers, Locations: everywhere}},
		{"refresh", nil, security{{"refresh": nil}}, tokenauth.Policy{Want: []tokenauth.Type{tokenauth.Refresh}, Schemes: []string{"refresh"},
			Locations: []tokenauth.Location{tokenauth.Cookie, tokenauth.JSON}}},
		{"refresh and bearer", nil, security{{"refresh": nil}, {"bearer": nil}}, tokenauth.Policy{Want: bearers, Schemes: []string{"bearer", "refresh"},
			Locations: []tokenauth.Location{tokenauth.Cookie, tokenauth.Header, tokenauth.JSON}}},
		{"not described", nil, security{{"what": nil}}, tokenauth.Policy{Want: bearers, Schemes: []string{"what"}, Locations: everywhere}},
		{"a header by name", nil, security{{"raw": nil}}, tokenauth.Policy{Want: bearers, Schemes: []string{"raw"}, Locations: headerJSON}},
	}
	for _, tt := range tests {
		got := tokenauth.PolicyOf(&huma.OpenAPI{Components: schemes(), Security: tt.doc}, &huma.Operation{Security: tt.op})
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: PolicyOf (-want +got):\n%s", tt.name, diff)
		}
	}
	got := tokenauth.PolicyOf(&huma.OpenAPI{}, &huma.Operation{Security: security{{"bearer": nil}}})
	if got.Public || got.Mode != tokenauth.Required {
		t.Errorf("PolicyOf without components = %+v, want required", got)
	}
}

type whoOutput struct {
	Body struct {
		Who  string `json:"who"`
		Note string `json:"note"`
	}
}

type whoInput struct {
	Body *struct {
		Note string   `json:"note,omitempty"`
		_    struct{} `json:"-" additionalProperties:"true"`
	}
}

// humaService has one operation for each policy.
func humaService(t testing.TB, a *tokenauth.Authenticator) http.Handler {
	t.Helper()
	mux := http.NewServeMux()
	cfg := huma.DefaultConfig("test", "1")
	cfg.CreateHooks, cfg.OpenAPIPath, cfg.DocsPath = nil, "", ""
	cfg.Components.SecuritySchemes = schemes().SecuritySchemes
	api := humago.New(mux, cfg)
	api.UseMiddleware(tokenauth.HumaMiddleware(api, a), func(ctx huma.Context, next func(huma.Context)) {
		if r, _ := humago.Unwrap(ctx); r.Method != ctx.Method() {
			t.Errorf("the request behind the context is %s, want %s", r.Method, ctx.Method())
		}
		next(ctx)
	})
	for path, s := range map[string]security{
		"/public":   {},
		"/optional": {{"bearer": nil}, {"cookie": nil}, {}},
		"/required": {{"bearer": nil}, {"cookie": nil}},
		"/bearer":   {{"bearer": nil}},
		"/refresh":  {{"refresh": nil}},
		"/unsaid":   nil,
	} {
		huma.Register(api, huma.Operation{OperationID: path[1:], Method: http.MethodPost, Path: path, Security: s},
			func(ctx context.Context, in *whoInput) (*whoOutput, error) {
				out := &whoOutput{}
				if c, ok := tokenauth.FromContext(ctx); ok {
					out.Body.Who = c.Subject
				}
				if in.Body != nil {
					out.Body.Note = in.Body.Note
				}
				return out, nil
			})
	}
	return mux
}

func TestHumaMiddleware(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, hmacKey(t, secretFill))
	access := sign(t, ring)
	refresh := sign(t, ring, func(c *tokenauth.Claims) { c.Type = tokenauth.Refresh })
	inCookie := []edit{cookie(tokenauth.AccessCookie, access), header("X-CSRF-TOKEN", "csrf-1")}
	body := `{"note":"n","access_token":"` + access + `"}`
	all := []tokenauth.Location{tokenauth.Header, tokenauth.Cookie, tokenauth.JSON}
	tests := []struct {
		name      string
		path      string
		locations []tokenauth.Location
		body      string
		edits     []edit
		status    int
		answer    string
	}{
		{"public", "/public", nil, "", nil, 200, `"who":""`},
		{"public ignores a bad token", "/public", nil, "", []edit{bearer("junk")}, 200, `"who":""`},
		{"optional, absent", "/optional", nil, "", nil, 200, `"who":""`},
		{"optional, good", "/optional", nil, "", []edit{bearer(access)}, 200, `"who":"alice"`},
		{"optional, bad", "/optional", nil, "", []edit{bearer("junk")}, 401, "Malformed token"},
		{"required, absent", "/required", nil, "", nil, 401, "Missing token"},
		{"required, header", "/required", nil, "", []edit{bearer(access)}, 200, `"who":"alice"`},
		{"required, cookie", "/required", nil, "", inCookie, 200, `"who":"alice"`},
		{"required, cookie without csrf", "/required", nil, "", inCookie[:1], 401, "Missing CSRF token"},
		{"required, both", "/required", nil, "", append([]edit{bearer(access)}, inCookie...), 400, "More than one token"},
		{"required, two headers", "/required", nil, "", []edit{header("Authorization", "Bearer a", "Bearer b")}, 400, "More than one token"},
		{"required, refresh token", "/required", nil, "", []edit{bearer(refresh)}, 401, "wrong type"},
		{"the cookie is not for this one", "/bearer", nil, "", inCookie, 401, "Missing token"},
		{"the service takes no cookies", "/required", all[:1], "", inCookie, 401, "Missing token"},
		{"refresh", "/refresh", nil, "", []edit{cookie(tokenauth.RefreshCookie, refresh), header("X-CSRF-TOKEN", "csrf-1")}, 200, `"who":"alice"`},
		{"refresh by an access token", "/refresh", nil, "", []edit{cookie(tokenauth.RefreshCookie, access), header("X-CSRF-TOKEN", "csrf-1")}, 401, "wrong type"},
		{"nothing said is required", "/unsaid", nil, "", nil, 401, "Missing token"},
		{"nothing said, good", "/unsaid", nil, "", []edit{bearer(access)}, 200, `"who":"alice"`},
		{"body, and the handler reads it too", "/required", all, body, []edit{header("Content-Type", "application/json")}, 200, `{"who":"alice","note":"n"}`},
		{"body where it is not configured", "/required", nil, body, []edit{header("Content-Type", "application/json")}, 401, "Missing token"},
		{"no token in the body, and the handler reads it", "/optional", all, `{"note":"n"}`, []edit{header("Content-Type", "application/json")}, 200, `{"who":"","note":"n"}`},
	}
	for _, tt := range tests {
		service := humaService(t, authenticator(ring, tt.locations...))
		for range 2 { // the second takes the policy from the cache
			rec := httptest.NewRecorder()
			service.ServeHTTP(rec, request(t, http.MethodPost, tt.path, tt.body, tt.edits...))
			if rec.Code != tt.status || !strings.Contains(rec.Body.String(), tt.answer) {
				t.Errorf("%s: POST %s = %d %s, want %d %s", tt.name, tt.path, rec.Code, rec.Body, tt.status, tt.answer)
			}
			if challenged := strings.HasPrefix(rec.Header().Get("WWW-Authenticate"), "Bearer"); challenged != (rec.Code >= 400) {
				t.Errorf("%s: POST %s = %d with WWW-Authenticate %q", tt.name, tt.path, rec.Code, rec.Header().Get("WWW-Authenticate"))
			}
		}
	}
}
