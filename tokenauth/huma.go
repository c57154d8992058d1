package tokenauth

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
)

// Policy is what the security of an operation, as its OpenAPI document
// declares it, asks of a request.
type Policy struct {
	// Public: no token is looked for, and one that is sent is ignored.
	Public bool
	// Mode is Required or Optional, unless Public.
	Mode Mode
	// Schemes names the security schemes, sorted, each once.
	Schemes []string
	// Scopes lists what the schemes ask for, sorted, each once. The middleware
	// does not enforce them: what a scope allows is known to the service.
	Scopes []string
	// Locations are those that the schemes describe, in no order. JSON, for
	// which OpenAPI has no scheme, is always among them.
	Locations []Location
	// Want is the types of token that are taken.
	Want []Type
}

// PolicyOf reads the policy of op from the document doc:
//
//   - security that is there but empty: Public
//   - an entry without schemes among others ({}): Optional
//   - anything else: Required. An operation without security has that of the
//     document; where that says nothing either, the operation is Required and
//     not, as OpenAPI would have it, open: to forget must not open a door.
//
// A bearer scheme stands for Header, an apiKey for the cookie or query it is
// in. If all schemes are the cookie RefreshCookie, a Refresh token is wanted,
// else Access or API. A scheme that the document does not describe stands for
// every location.
func PolicyOf(doc *huma.OpenAPI, op *huma.Operation) Policy {
	security := op.Security
	if security == nil {
		security = doc.Security
	}
	if security != nil && len(security) == 0 {
		return Policy{Public: true}
	}
	p := Policy{Mode: Required, Want: []Type{Access, API}, Locations: []Location{JSON}}
	refresh := false
	for _, alternative := range security {
		if len(alternative) == 0 {
			p.Mode = Optional
		}
		for name, scopes := range alternative {
			p.Schemes = append(p.Schemes, name)
			p.Scopes = append(p.Scopes, scopes...)
		}
	}
	p.Schemes, p.Scopes = unique(p.Schemes), unique(p.Scopes)
	for i, name := range p.Schemes {
		s := scheme(doc, name)
		p.Locations = append(p.Locations, schemeLocations(s)...)
		refresh = (refresh || i == 0) && s != nil && s.In == "cookie" && s.Name == RefreshCookie
	}
	if len(p.Schemes) == 0 {
		p.Locations = schemeLocations(nil)
	}
	if refresh {
		p.Want = []Type{Refresh}
	}
	p.Locations = unique(p.Locations)
	return p
}

func unique[T ~string](s []T) []T {
	slices.Sort(s)
	return slices.Compact(s)
}

func scheme(doc *huma.OpenAPI, name string) *huma.SecurityScheme {
	if doc.Components == nil {
		return nil
	}
	return doc.Components.SecuritySchemes[name]
}

func schemeLocations(s *huma.SecurityScheme) []Location {
	switch {
	case s == nil:
		return []Location{Header, Cookie, Query, JSON}
	case s.Type != "apiKey":
		return []Location{Header} // http bearer, oauth2, openIdConnect
	case s.In == "cookie":
		return []Location{Cookie}
	case s.In == "query":
		return []Location{Query}
	case strings.EqualFold(s.Name, "Authorization"):
		return []Location{Header}
	}
	return nil // a header beside the token, such as that of CSRF
}

// HumaMiddleware enforces on each operation of api what PolicyOf reads from its
// document, so that what the document promises and what the server does cannot
// differ; of the locations of the policy those are searched that a has too. It
// works with every router huma has an adapter for. Handlers then have
// FromContext and TokenFromContext.
//
// A refused request is answered through huma.WriteErr, in the service's own form
// of errors, with the *Error (never its cause) as the one detail, and with the
// headers of Error.SetHeaders.
//
//	api.UseMiddleware(tokenauth.HumaMiddleware(api, a))
func HumaMiddleware(api huma.API, a *Authenticator) func(huma.Context, func(huma.Context)) {
	var policies sync.Map // *huma.Operation to Policy; as many as the service has operations
	policy := func(op *huma.Operation) Policy {
		if p, ok := policies.Load(op); ok {
			return p.(Policy)
		}
		p := PolicyOf(api.OpenAPI(), op)
		p.Locations = slices.DeleteFunc(slices.Clone(a.locations()), func(l Location) bool { return !slices.Contains(p.Locations, l) })
		policies.Store(op, p)
		return p
	}
	return func(ctx huma.Context, next func(huma.Context)) {
		p := policy(ctx.Operation())
		if p.Public {
			next(ctx)
			return
		}
		r := humaRequest(ctx, slices.Contains(p.Locations, JSON))
		body := r.Body
		c, t, err := a.authenticate(r, p.Mode, p.Locations, p.Want)
		if err != nil {
			e := named(err)
			e.SetHeaders(ctx.SetHeader)
			// What fails here is the connection, and huma has said so.
			_ = huma.WriteErr(api, ctx, e.Status, e.Msg, e)
			return
		}
		if r.Body != body {
			ctx = readAgain{ctx, r.Body}
		}
		if t.Raw != "" {
			ctx = huma.WithContext(ctx, NewContext(ctx.Context(), c, t))
		}
		next(ctx)
	}
}

// humaRequest is as much of the request as the finders look at.
func humaRequest(ctx huma.Context, withBody bool) *http.Request {
	u := ctx.URL()
	r := &http.Request{Method: ctx.Method(), URL: &u, Header: http.Header{}, ContentLength: -1}
	ctx.EachHeader(func(name, value string) {
		switch http.CanonicalHeaderKey(name) {
		case "Authorization", "Cookie", "X-Csrf-Token", "Content-Type":
			r.Header.Add(name, value)
		}
	})
	if body := ctx.BodyReader(); withBody && body != nil {
		r.Body = io.NopCloser(body)
	}
	return r.WithContext(ctx.Context())
}

// humaContext has another name than the method Context, beside which an
// embedded huma.Context could not stand.
type humaContext huma.Context

// readAgain is a context whose body has been put back.
type readAgain struct {
	humaContext
	body io.Reader
}

func (c readAgain) BodyReader() io.Reader { return c.body }

// Unwrap lets huma's adapters find the request they made.
func (c readAgain) Unwrap() huma.Context { return c.humaContext }
