package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/romi/plantdb-go/internal/api"
	"github.com/romi/plantdb-go/tokenauth"
)

// The documents in the repository are those of the code.
func TestDocumentsAreFresh(t *testing.T) {
	t.Parallel()
	for _, d := range documents() {
		if filepath.Ext(d.Name) != ".yaml" {
			continue
		}
		file := filepath.Join("..", "..", "openapi", d.Name)
		want, err := os.ReadFile(file)
		if err != nil {
			t.Errorf("read %s: %v; run make gen", d.Name, err)
			continue
		}
		if diff := cmp.Diff(string(want), string(d.Content)); diff != "" {
			t.Errorf("openapi/%s is stale; run make gen (-file +code):\n%s", d.Name, diff)
		}
	}
}

type operation struct {
	Path, Method string
	OperationID  string                `json:"operationId"`
	Summary      string                `json:"summary"`
	Description  string                `json:"description"`
	Tags         []string              `json:"tags"`
	Security     []map[string][]string `json:"security"`
	Permission   string                `json:"x-permission"`
	Responses    map[string]struct {
		Description string           `json:"description"`
		Codes       []string         `json:"x-codes"`
		Content     map[string]media `json:"content"`
	} `json:"responses"`
	Parameters []struct {
		Name, In, Description string
		Required              bool
		Example               any
		Schema                schema
	} `json:"parameters"`
	RequestBody struct {
		Content map[string]media `json:"content"`
	} `json:"requestBody"`
}

type media struct {
	Schema  schema `json:"schema"`
	Example any    `json:"example"`
}

type schema struct {
	Ref         string            `json:"$ref"`
	Type        any               `json:"type"`
	Format      string            `json:"format"`
	Description string            `json:"description"`
	Enum        []any             `json:"enum"`
	Default     any               `json:"default"`
	Examples    []any             `json:"examples"`
	Properties  map[string]schema `json:"properties"`
	Items       *schema           `json:"items"`
	AnyOf       []schema          `json:"anyOf"`
	OneOf       []schema          `json:"oneOf"`
	AllOf       []schema          `json:"allOf"`

	AdditionalProperties any `json:"additionalProperties"`
}

// public says that the operation looks for no token.
func (o operation) public() bool { return len(o.Security) == 0 }

// optional says that it also answers without a token.
func (o operation) optional() bool {
	return slices.ContainsFunc(o.Security, func(s map[string][]string) bool { return len(s) == 0 })
}

// documents are rendered once for all tests that read them.
var documents = sync.OnceValue(func() []api.Document { return api.Documents(api.DocumentVersion) })

func operations(t *testing.T, name string) []operation {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]operation `json:"paths"`
	}
	for _, d := range documents() {
		if d.Name == name {
			if err := json.Unmarshal(d.Content, &doc); err != nil {
				t.Fatal(err)
			}
		}
	}
	var list []operation
	for path, item := range doc.Paths {
		for method, op := range item {
			op.Path, op.Method = path, strings.ToUpper(method)
			list = append(list, op)
		}
	}
	if len(list) == 0 {
		t.Fatalf("%s holds no operation", name)
	}
	return list
}

var parameter = regexp.MustCompile(`\{[^}]*\}`)

// concrete is the path with its parameters filled.
func (o operation) concrete() string {
	return parameter.ReplaceAllStringFunc(o.Path, func(p string) string {
		switch {
		case p == "{id}":
			return "01890a5d-ac96-774b-bcce-b302099a8057"
		case p == "{path}" && o.Method == http.MethodGet: // in the other direction it is a scan
			return "nope/x.txt"
		default:
			return "nope"
		}
	})
}

// What each operation declares in its document is what holds: without a good
// token a protected one answers 401 with WWW-Authenticate, whatever else is
// wrong with the request.
func TestPolicyOfTheDocument(t *testing.T) {
	t.Parallel()
	s := newSite(t, api.Config{Rates: api.NoRates, TokenLocations: []tokenauth.Location{tokenauth.Header, tokenauth.Cookie}})
	tokens := badTokens(t, s)
	for _, document := range []string{"openapi.json", "openapi-legacy.json"} {
		for _, op := range operations(t, document) {
			if op.public() {
				continue
			}
			path := op.concrete()
			if !op.optional() {
				want401(t, op.Method+" "+op.Path+" without a token", s.do(op.Method, path, ""))
				want401(t, op.Method+" "+op.Path+" with Bearer None", s.do(op.Method, path, "", bearer("None")))
			}
			for name, token := range tokens {
				want401(t, op.Method+" "+op.Path+" with a token that is "+name, s.do(op.Method, path, "", bearer(token)))
			}
		}
	}
}

func want401(t *testing.T, what string, a answer) {
	t.Helper()
	challenge := a.header.Get("WWW-Authenticate")
	if a.status != http.StatusUnauthorized || !strings.HasPrefix(challenge, "Bearer") {
		t.Errorf("%s = %d, WWW-Authenticate %q, want 401 with Bearer: %s", what, a.status, challenge, a.body)
	}
}

func badTokens(t *testing.T, s *site) map[string]string {
	t.Helper()
	access, refresh := s.login("admin")
	parts := strings.Split(access, ".")
	sign := func(keys *tokenauth.Keyring, change func(*tokenauth.Claims)) string {
		c := tokenauth.Claims{
			ID: "01890a5d-ac96-774b-bcce-b302099a8057", Subject: "admin", Issuer: "plantdb-api", Audience: "plantdb-client",
			SessionID: "01890a5d-ac96-774b-bcce-b302099a8057", Type: tokenauth.Access,
			IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour),
		}
		change(&c)
		raw, err := keys.Sign(c)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	strange, err := tokenauth.NewHMACKey(bytes.Repeat([]byte{9}, 64))
	if err != nil {
		t.Fatal(err)
	}
	strangers, err := tokenauth.NewKeyring(strange)
	if err != nil {
		t.Fatal(err)
	}
	none := "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"
	return map[string]string{
		"garbage":                "xyz",
		"of the wrong type":      refresh,
		"alg none":               none + "." + parts[1] + ".",
		"of another signature":   parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
		"of an unknown key":      sign(strangers, func(*tokenauth.Claims) {}),
		"expired":                sign(s.keys, func(c *tokenauth.Claims) { c.ExpiresAt = time.Now().Add(-time.Minute) }),
		"not valid yet":          sign(s.keys, func(c *tokenauth.Claims) { c.IssuedAt = time.Now().Add(time.Hour) }),
		"of another issuer":      sign(s.keys, func(c *tokenauth.Claims) { c.Issuer = "somebody" }),
		"of another audience":    sign(s.keys, func(c *tokenauth.Claims) { c.Audience = "somebody" }),
		"of an unknown session":  sign(s.keys, func(*tokenauth.Claims) {}),
		"for an unknown subject": sign(s.keys, func(c *tokenauth.Claims) { c.Subject = "nobody" }),
		"longer than the bound":  strings.Repeat("A", 9000),
	}
}
