package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/romi/plantdb-go/tokenauth"
)

// exampleRing would come from a secret store; 64 bytes is the least.
func exampleRing() *tokenauth.Keyring {
	key, err := tokenauth.NewHMACKey([]byte(strings.Repeat("0123456789abcdef", 4)))
	if err != nil {
		panic(err)
	}
	ring, err := tokenauth.NewKeyring(key)
	if err != nil {
		panic(err)
	}
	return ring
}

// issue makes an access token for user, as the login of a service would.
func issue(ring *tokenauth.Keyring, user string) string {
	now := time.Now()
	raw, err := ring.Sign(tokenauth.Claims{
		ID: "token-of-" + user, Subject: user, Issuer: "shop", Audience: "shop-clients", SessionID: "session-of-" + user,
		Type: tokenauth.Access, IssuedAt: now, ExpiresAt: now.Add(15 * time.Minute),
	})
	if err != nil {
		panic(err)
	}
	return raw
}

// call sends a request with a token, if there is one, and prints the answer.
func call(h http.Handler, path, raw string) {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, path, http.NoBody)
	if raw != "" {
		r.Header.Set("Authorization", "Bearer "+raw)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Code, strings.TrimSpace(w.Body.String()))
}

// A net/http service with one route for those who are known and one for all.
func Example() {
	ring := exampleRing()
	a := &tokenauth.Authenticator{
		Verifier: &tokenauth.Verifier{Keys: ring, Issuer: "shop", Audience: "shop-clients", Leeway: 2 * time.Second},
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := tokenauth.FromContext(r.Context()); ok {
			_, _ = fmt.Fprintf(w, "hello %s", c.Subject)
			return
		}
		_, _ = fmt.Fprint(w, "hello stranger")
	})
	mux := http.NewServeMux()
	mux.Handle("GET /orders", tokenauth.Middleware(a, tokenauth.Required)(hello))
	mux.Handle("GET /", tokenauth.Middleware(a, tokenauth.Optional)(hello))

	call(mux, "/orders", issue(ring, "alice"))
	call(mux, "/", "")
	call(mux, "/orders", "")
	// Output:
	// 200 hello alice
	// 200 hello stranger
	// 401 {"message":"Missing token","error":"Missing token","code":"token_missing","status":401,"title":"Unauthorized","detail":"Missing token"}
}

// A Huma service: what each operation declares is what is enforced.
func ExampleHumaMiddleware() {
	ring := exampleRing()
	cfg := huma.DefaultConfig("Shop", "1.0.0")
	cfg.CreateHooks = nil
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"bearer": {Type: "http", Scheme: "bearer"}}
	mux := http.NewServeMux()
	api := humago.New(mux, cfg)
	api.UseMiddleware(tokenauth.HumaMiddleware(api, &tokenauth.Authenticator{
		Verifier: &tokenauth.Verifier{Keys: ring, Issuer: "shop", Audience: "shop-clients"},
	}))

	type output struct{ Body string }
	hello := func(ctx context.Context, _ *struct{}) (*output, error) {
		if c, ok := tokenauth.FromContext(ctx); ok {
			return &output{"hello " + c.Subject}, nil
		}
		return &output{"hello stranger"}, nil
	}
	huma.Register(api, huma.Operation{
		OperationID: "orders", Method: http.MethodGet, Path: "/orders",
		Security: []map[string][]string{{"bearer": {}}},
	}, hello)
	huma.Register(api, huma.Operation{
		OperationID: "home", Method: http.MethodGet, Path: "/home",
		Security: []map[string][]string{{"bearer": {}}, {}}, // the empty entry: optional
	}, hello)
	huma.Register(api, huma.Operation{
		OperationID: "health", Method: http.MethodGet, Path: "/health",
		Security: []map[string][]string{}, // empty, not nil: public
	}, hello)

	call(mux, "/orders", issue(ring, "alice"))
	call(mux, "/home", "")
	call(mux, "/health", "not even a token")
	call(mux, "/orders", "")
	// Output:
	// 200 "hello alice"
	// 200 "hello stranger"
	// 200 "hello stranger"
	// 401 {"title":"Unauthorized","status":401,"detail":"Missing token","errors":[{"message":"Missing token"}]}
}

// A token callback: a set of what was logged out, and a function after it that
// knows whom the shop has barred.
func ExampleChecker() {
	ring := exampleRing()
	loggedOut := &tokenauth.Memory{}
	barred := tokenauth.CheckerFunc(func(_ context.Context, c *tokenauth.Claims) (bool, string, error) {
		return c.Subject == "mallory", tokenauth.ErrUserInactive.Code, nil
	})
	v := &tokenauth.Verifier{
		Keys: ring, Issuer: "shop", Audience: "shop-clients",
		Checker: tokenauth.Chain(loggedOut, barred),
	}
	ctx := context.Background()
	try := func(raw string) {
		c, err := v.Verify(ctx, raw, tokenauth.Access)
		if err != nil {
			fmt.Println("refused:", err)
			return
		}
		fmt.Println("welcome", c.Subject)
	}

	alice := issue(ring, "alice")
	try(alice)
	try(issue(ring, "mallory"))

	// Alice logs out: all tokens of her session end, until they would have expired.
	loggedOut.Revoke("session-of-alice", time.Now().Add(15*time.Minute))
	try(alice)
	// Output:
	// welcome alice
	// refused: User is not active
	// refused: Session has ended
}

// An authority of the site's own, asked over HTTP.
func ExampleCallback() {
	authority := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"revoked": true, "reason": "left the company"}`)
	}))
	defer authority.Close()
	callback, err := tokenauth.NewCallback(tokenauth.CallbackConfig{URL: authority.URL, TTL: 5 * time.Second, Client: authority.Client()})
	if err != nil {
		panic(err)
	}
	ring := exampleRing()
	v := &tokenauth.Verifier{Keys: ring, Issuer: "shop", Audience: "shop-clients", Checker: callback}

	_, err = v.Verify(context.Background(), issue(ring, "alice"), tokenauth.Access)
	fmt.Println(err)
	// Output: Token has been revoked: left the company
}

// Rotation: the new key signs, the old one still verifies what it signed.
func ExampleKeyring_Replace() {
	ring := exampleRing()
	old, err := tokenauth.NewHMACKey([]byte(strings.Repeat("0123456789abcdef", 4)))
	if err != nil {
		panic(err)
	}
	next, err := tokenauth.NewHMACKey([]byte(strings.Repeat("fedcba9876543210", 4)))
	if err != nil {
		panic(err)
	}
	raw := issue(ring, "alice")
	v := &tokenauth.Verifier{Keys: ring, Issuer: "shop", Audience: "shop-clients"}

	if err := ring.Replace(next, old); err != nil {
		panic(err)
	}
	_, err = v.Verify(context.Background(), raw, tokenauth.Access)
	fmt.Println("while the old key verifies:", err)

	if err := ring.Replace(next); err != nil {
		panic(err)
	}
	_, err = v.Verify(context.Background(), raw, tokenauth.Access)
	fmt.Println("once it is retired:", err)
	// Output:
	// while the old key verifies: <nil>
	// once it is retired: Token was signed with an unknown key
}

// shelf is a Source within a process: the least that Replicated needs, which is
// asked twice a second. Servers in several processes use package tokenpgx.
type shelf struct {
	mu   sync.Mutex
	rows []tokenauth.Revocation
}

func (s *shelf) add(r tokenauth.Revocation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows = append(s.rows, r)
}

func (s *shelf) Revoked(context.Context, string) (all []tokenauth.Revocation, next string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.rows), "", nil
}

func (s *shelf) Listen(context.Context) (tokenauth.Feed, error) { return nil, nil }

func (s *shelf) Notify(context.Context) error { return nil }

// Two servers that share what they revoke.
func ExampleReplicated() {
	ring, source := exampleRing(), &shelf{}
	ctx, stop := context.WithCancel(context.Background())
	var servers sync.WaitGroup
	defer servers.Wait()
	defer stop()
	start := func() (*tokenauth.Replicated, *tokenauth.Verifier) {
		revoked := &tokenauth.Replicated{Source: source}
		v := &tokenauth.Verifier{Keys: ring, Issuer: "shop", Audience: "shop-clients", Checker: revoked}
		_, err := v.Verify(ctx, issue(ring, "alice"), tokenauth.Access)
		fmt.Println("not loaded:", errors.Is(err, tokenauth.ErrCheckerFailed))
		if err := revoked.Load(ctx); err != nil { // before it serves
			panic(err)
		}
		servers.Go(func() { revoked.Run(ctx) })
		return revoked, v
	}
	here, verifyHere := start()
	_, verifyThere := start()

	alice := issue(ring, "alice")
	_, err := verifyThere.Verify(ctx, alice, tokenauth.Access)
	fmt.Println("there, before:", err)

	// Alice logs out here: first where all can read it, then in memory.
	out := tokenauth.Revocation{ID: "session-of-alice", Until: time.Now().Add(15 * time.Minute)}
	source.add(out)
	here.Revoke(out)

	_, err = verifyHere.Verify(ctx, alice, tokenauth.Access)
	fmt.Println("here, at once:", err)
	for err = nil; err == nil; time.Sleep(10 * time.Millisecond) {
		_, err = verifyThere.Verify(ctx, alice, tokenauth.Access)
	}
	fmt.Println("there, soon:", err)
	// Output:
	// not loaded: true
	// not loaded: true
	// there, before: <nil>
	// here, at once: Session has ended
	// there, soon: Session has ended
}

// Where tokens may come from is each handler's choice: here also from the query,
// as in the address of an image, and from a body of JSON, which stays readable.
func ExampleFind() {
	show := func(r *http.Request, want tokenauth.Type, locations ...tokenauth.Location) {
		token, err := tokenauth.Find(r, want, locations...)
		fmt.Println(token, "|", token.Raw, "|", err)
	}
	ctx := context.Background()
	image := httptest.NewRequestWithContext(ctx, http.MethodGet, "/image?size=large&token=abc", http.NoBody)
	show(image, tokenauth.Access, tokenauth.Header, tokenauth.Query)
	show(image, tokenauth.Access, tokenauth.Header)
	image.Header.Set("Authorization", "Bearer def")
	show(image, tokenauth.Access, tokenauth.Header, tokenauth.Query)

	refresh := httptest.NewRequestWithContext(ctx, http.MethodPost, "/refresh", strings.NewReader(`{"refresh_token": "ghi"}`))
	refresh.Header.Set("Content-Type", "application/json")
	show(refresh, tokenauth.Refresh, tokenauth.JSON)
	body, err := io.ReadAll(refresh.Body)
	fmt.Println(string(body), err)
	// Output:
	// access token from query | abc | <nil>
	// no token |  | Missing token
	// no token |  | More than one token in the request
	// refresh token from json | ghi | <nil>
	// {"refresh_token": "ghi"} <nil>
}

// revokedTable stands in for a pool of pgx, or for *sql.DB with QueryRowContext.
type revokedTable map[string]bool

// QueryRow answers the one query of the example.
func (t revokedTable) QueryRow(_ context.Context, _ string, args ...any) tokenauth.Row {
	for _, id := range args {
		if text, ok := id.(string); ok && t[text] {
			return oneBool(true)
		}
	}
	return oneBool(false)
}

type oneBool bool

func (b oneBool) Scan(dest ...any) error {
	to, ok := dest[0].(*bool)
	if !ok {
		return errors.New("want a bool")
	}
	*to = bool(b)
	return nil
}

// A service that asks its database about each token, by its jti and its sid.
func ExampleSQL() {
	ring, db := exampleRing(), revokedTable{}
	v := &tokenauth.Verifier{
		Keys: ring, Issuer: "shop", Audience: "shop-clients",
		Checker: tokenauth.SQL(db.QueryRow, `SELECT EXISTS (SELECT FROM revoked WHERE id IN ($1, $2))`),
	}
	alice, bob := issue(ring, "alice"), issue(ring, "bob")
	db["session-of-alice"] = true // INSERT INTO revoked (id) VALUES (…)
	for _, raw := range []string{alice, bob} {
		claims, err := v.Verify(context.Background(), raw, tokenauth.Access)
		if err != nil {
			fmt.Println("refused:", err)
			continue
		}
		fmt.Println("hello", claims.Subject)
	}
	// Output:
	// refused: Token has been revoked
	// hello bob
}
