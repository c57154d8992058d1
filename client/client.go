package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	plantdbapi "github.com/romi/plantdb-go/openapi/clients/go"
)

// The types of answers are those of the OpenAPI document.
type (
	// ScanInfo is what a list shows of a scan.
	ScanInfo = plantdbapi.ScanInfo
	// Profile is whose token it is.
	Profile = plantdbapi.Profile
	// Health is whether a server is well, and of what size.
	Health = plantdbapi.Health
)

// Client talks to one server as one user. It is safe for use by many
// goroutines, which then share one session.
type Client struct {
	api      *plantdbapi.Client
	http     *http.Client
	retry    Retry
	agent    string
	session  session
	upstream atomic.Bool // the server is the Python one
}

// Option changes how New makes a client.
type Option func(*Client)

// WithToken sends an API token, or an access token that somebody else
// refreshes.
func WithToken(token string) Option {
	return func(c *Client) { c.session.use(Tokens{Access: token}) }
}

// WithTokens takes up a session that was saved by [WithTokenFunc].
func WithTokens(t Tokens) Option { return func(c *Client) { c.session.use(t) } }

// WithTokenFunc has save called with every new pair of tokens, before the call
// that caused it goes on, and with none after a logout. A refresh token is good
// once: a program that keeps its session beyond its own life saves each.
func WithTokenFunc(save func(Tokens)) Option { return func(c *Client) { c.session.save = save } }

// WithHTTPClient makes the connections, for proxies, certificates and tests. Its
// Timeout bounds whole calls, large transfers too; contexts are better.
func WithHTTPClient(h *http.Client) Option {
	return func(c *Client) {
		own := *h
		c.http = &own
	}
}

// WithRetry replaces [DefaultRetry]; the zero Retry never tries again.
func WithRetry(r Retry) Option { return func(c *Client) { c.retry = r } }

// WithUserAgent names the program, which users see in their list of sessions.
func WithUserAgent(name string) Option { return func(c *Client) { c.agent = name } }

// New returns a client of the server at address, such as
// "https://plants.example.org" or, behind a prefix,
// "https://example.org/plantdb". Nothing is sent yet: see [Client.Health].
func New(address string, options ...Option) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("plantdb: %q is not the URL of a server; it begins with http:// or https://", address)
	}
	u.RawQuery, u.Fragment = "", ""
	u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/api/v1") // what people copy
	c := &Client{http: &http.Client{Transport: transport()}, retry: DefaultRetry, agent: "plantdb-go"}
	for _, option := range options {
		option(c)
	}
	if c.http.CheckRedirect == nil {
		c.http.CheckRedirect = checkRedirect
	}
	c.session.trade = c.trade
	c.api, err = plantdbapi.NewClient(u.String(), plantdbapi.WithHTTPClient(doer{c}))
	if err != nil {
		return nil, fmt.Errorf("plantdb: make client: %w", err)
	}
	return c, nil
}

// transport is Go's own with buffers for large files, and with connections
// kept for as many goroutines as upload images in parallel.
func transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ReadBufferSize, t.WriteBufferSize = copyBuffer, copyBuffer
	t.MaxIdleConnsPerHost = 32
	return t
}

// checkRedirect follows what only reads. Of a redirected POST a GET would
// become, which does nothing and looks like success.
func checkRedirect(_ *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	if via[0].Method != http.MethodGet && via[0].Method != http.MethodHead {
		return http.ErrUseLastResponse
	}
	return nil
}

// API returns the generated client, for what has no method here. It shares the
// session, the refreshes and the retries.
func (c *Client) API() *plantdbapi.ClientWithResponses {
	return &plantdbapi.ClientWithResponses{ClientInterface: c.api}
}

// Health asks whether the server is well; it needs no token. It fails with
// ErrUnreachable or ErrNotPlantDB when the URL is not right.
func (c *Client) Health(ctx context.Context) (Health, error) {
	return decoded[Health](c.api.GetHealth(ctx))
}

// Profile returns whose token it is.
func (c *Client) Profile(ctx context.Context) (Profile, error) {
	return decoded[Profile](c.api.GetProfile(ctx))
}

// maxJSON bounds an answer that is held in memory.
const maxJSON = 512 << 20

// decoded reads an answer as T; it takes what the generated client returns.
func decoded[T any](resp *http.Response, err error) (T, error) {
	var v T
	if err != nil {
		return v, err
	}
	if resp.StatusCode/100 != 2 || !isJSON(resp) {
		return v, refusal(resp)
	}
	defer resp.Body.Close() // It was only read.
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxJSON+1))
	if err != nil {
		return v, failed(resp.Request, err)
	}
	if len(body) > maxJSON {
		return v, &Error{Op: opOf(resp.Request), Status: resp.StatusCode, Message: "the answer is too large", kinds: []error{ErrTooLarge}}
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return v, &Error{Op: opOf(resp.Request), Status: resp.StatusCode, cause: fmt.Errorf("read answer: %w", err), kinds: []error{ErrNotPlantDB}}
	}
	return v, nil
}

// done takes an answer of which only success matters.
func done(resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return refusal(resp)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxErrorBody)) // so that the connection can be used again
	_ = resp.Body.Close()
	return nil
}

// now is the clock; the life of tokens is measured by it.
func now() time.Time { return time.Now() }
