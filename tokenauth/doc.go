// Package tokenauth lets a net/http or Huma service ask for a token: it finds
// the token in a request, verifies it, asks the application whether it has been
// taken back, and puts what it says into the context. The idea is that of AuthX
// for FastAPI.
//
//	go get github.com/romi/plantdb-go/tokenauth
//
// It knows neither users nor passwords nor a database, and keeps no session: who
// may have a token, and what its bearer may do, is decided by its caller.
//
// # Keys and tokens
//
// A token is a JWT. A [Keyring] signs it with one key and verifies with
// several, so that keys can be rotated without logging anybody out:
//
//	key, err := tokenauth.NewHMACKey(secret)      // HS512, 64 bytes or more
//	ring, err := tokenauth.NewKeyring(key)
//	raw, err := ring.Sign(tokenauth.Claims{ID: id, Subject: "alice", ...})
//	...
//	err = ring.Replace(newKey, key)               // both verify, newKey signs
//
// With [NewEd25519Key] other services verify by the public keys of
// [Keyring.JWKS] and cannot sign. Verification then costs about forty
// microseconds instead of three.
//
// # Verification
//
// A [Verifier] tries a token in a fixed order, cheap and certain things first:
// size, form, kid, the signature by the algorithm of that key, issuer, audience,
// expiry, type, the CSRF value, and last the [Checker]. Each failure has a name,
// from [ErrMalformed] to [ErrUserInactive], with a code, a text and an HTTP
// status, and works with errors.Is.
//
//	v := &tokenauth.Verifier{Keys: ring, Issuer: "shop", Audience: "shop-clients", Leeway: 2 * time.Second}
//	claims, err := v.Verify(ctx, raw, tokenauth.Access)
//
// # The token callback
//
// A [Checker] is what AuthX calls the token blocklist callback. It is asked for
// tokens that are good in all other respects, so no forgery costs a query, and
// when it fails the answer is 503 and never "let in". Shipped are
//
//   - [Memory], a set of revoked ids and sessions
//   - [Replicated], such a set that several servers share
//   - [SQL], one query to a database
//   - [Callback], an authority asked over HTTP, with a bounded cache
//   - [CheckerFunc], any function, and [Chain], several in turn
//
// PlantDB's server itself uses Replicated and has no setting for the others:
// they are for services that import this package.
//
// # Several servers
//
// A set in memory costs a request next to nothing, but a server must know what
// another revoked. [Replicated] reads it from a [Source] before serving, is
// told of what comes by notifications, and asks all the same twice a second,
// since notifications are lost with the connection that should have brought
// them; after each reconnect it reads everything. While it cannot ask it answers
// 503 for what it does not know. What is revoked here counts here at once.
//
// Package [github.com/romi/plantdb-go/tokenauth/tokenpgx] is the Source of
// PostgreSQL: a table, LISTEN and NOTIFY. Another needs three methods.
//
//	source := &tokenpgx.Source{DB: pool, Connect: connect, Channel: "revoked", Read: tokenpgx.Table("revoked")}
//	revoked := &tokenauth.Replicated{Source: source}
//	err := revoked.Load(ctx)
//	go revoked.Run(ctx)
//
// # In a service
//
// An [Authenticator] joins locations and a verifier. [Middleware] puts it in
// front of a net/http handler, in one of three modes:
//
//	a := &tokenauth.Authenticator{Verifier: v}
//	mux.Handle("GET /orders", tokenauth.Middleware(a, tokenauth.Required)(orders))
//	...
//	claims, ok := tokenauth.FromContext(r.Context())
//
// [HumaMiddleware] takes the mode, the locations and the types of token from
// the security that each operation declares in its OpenAPI document.
//
// # Browsers
//
// [SetPairCookies] hands a pair of tokens to a browser, out of the reach of
// scripts. The token of a cookie is taken on POST, PUT, PATCH, DELETE and
// unknown methods only if the X-CSRF-TOKEN header repeats its csrf claim.
// [Keyring.DeriveMAC] makes such values without storing them.
//
// # What is promised
//
// Nothing here logs, returns in an error, or prints a token or a key. Every
// input is bounded: tokens by [MaxTokenSize], bodies by [MaxJSONBody], the
// cache of a Callback by its Entries. What is revoked is bounded by Prune. A token has one spelling: no padding, no
// line breaks, no name twice. All types are safe for concurrent use once
// their fields are set, but a [Feed], which has one user.
//
// Not provided: encryption (JWE), other algorithms than HS512 and EdDSA, the
// claim nbf, and tokens with more than one audience.
package tokenauth
