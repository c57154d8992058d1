package tokenauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// What a Callback uses where its configuration says nothing.
const (
	DefaultCallbackTimeout = 2 * time.Second
	DefaultCallbackTTL     = 10 * time.Second
	DefaultCallbackEntries = 10_000
)

// maxVerdict is how much of an answer is read, in bytes.
const maxVerdict = 16 << 10

// CallbackConfig describes an authority of the site's own that is asked over
// HTTP.
type CallbackConfig struct {
	// URL is asked by POST; http or https.
	URL string
	// Header is sent with each question, such as an Authorization that the
	// authority knows us by.
	Header http.Header
	// Client does the asking; nil means one that follows no redirect.
	Client *http.Client
	// Timeout bounds one question; 0 means DefaultCallbackTimeout.
	Timeout time.Duration
	// TTL is how long an answer holds, either way, and so how long a
	// revocation may take to be noticed; 0 means DefaultCallbackTTL.
	TTL time.Duration
	// Entries bounds the cache; 0 means DefaultCallbackEntries.
	Entries int
	// Now is the clock of the cache; nil means time.Now.
	Now func() time.Time
}

// Callback is a Checker that asks an authority over HTTP:
//
//	POST {"jti": "...", "sid": "...", "sub": "...", "type": "access"}
//	200  {"revoked": false, "reason": "..."}
//
// revoked is required, reason is not; see Checker for what it may name. The
// token itself is never sent. Answers are cached by jti; requests that come
// with one token at once ask once. Everything but a 200 of that form is an
// error, which is not cached: while the authority is away, tokens it has not
// just judged are refused.
//
// It is for services that import this package; no setting of PlantDB's server
// uses it.
type Callback struct {
	cfg    CallbackConfig
	cache  *lru.Cache[question, verdict]
	flight singleflight.Group
}

type question struct {
	ID        string `json:"jti"`
	SessionID string `json:"sid"`
	Subject   string `json:"sub"`
	Type      Type   `json:"type"`
}

type verdict struct {
	revoked bool
	reason  string
	until   time.Time
}

// NewCallback returns a Callback. It is an error if the URL is not an absolute
// http or https one, or a bound is negative. It does not try the URL.
func NewCallback(cfg CallbackConfig) (*Callback, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("make token callback: the URL is not an absolute http or https one")
	}
	if cfg.Timeout < 0 || cfg.TTL < 0 || cfg.Entries < 0 {
		return nil, errors.New("make token callback: a bound is negative")
	}
	if cfg.Client == nil {
		cfg.Client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultCallbackTimeout
	}
	if cfg.TTL == 0 {
		cfg.TTL = DefaultCallbackTTL
	}
	if cfg.Entries == 0 {
		cfg.Entries = DefaultCallbackEntries
	}
	cache, err := lru.New[question, verdict](cfg.Entries)
	if err != nil {
		return nil, fmt.Errorf("make token callback: %w", err)
	}
	return &Callback{cfg: cfg, cache: cache}, nil
}

// IsRevoked returns the cached answer or asks for one. It returns when ctx ends,
// with its error.
func (cb *Callback) IsRevoked(ctx context.Context, c *Claims) (bool, string, error) {
	q := question{c.ID, c.SessionID, c.Subject, c.Type}
	if v, ok := cb.kept(q); ok {
		return v.revoked, v.reason, nil
	}
	body, err := json.Marshal(q)
	if err != nil {
		return false, "", fmt.Errorf("write token question: %w", err)
	}
	// The answer serves all who wait for it, so the request of none of them
	// may end it; the timeout does.
	answer := cb.flight.DoChan(string(body), func() (any, error) {
		// Another may have had its answer since this one looked.
		if v, ok := cb.kept(q); ok {
			return v, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cb.cfg.Timeout)
		defer cancel()
		v, err := cb.ask(ctx, body)
		if err == nil {
			cb.cache.Add(q, v)
		}
		return v, err
	})
	select {
	case <-ctx.Done():
		return false, "", fmt.Errorf("ask token callback: %w", ctx.Err())
	case got := <-answer:
		v, _ := got.Val.(verdict)
		return v.revoked, v.reason, got.Err
	}
}

// kept returns the answer to q that is still good.
func (cb *Callback) kept(q question) (verdict, bool) {
	v, ok := cb.cache.Get(q)
	return v, ok && cb.cfg.Now().Before(v.until)
}

func (cb *Callback) ask(ctx context.Context, body []byte) (verdict, error) {
	// The life of the answer counts from the question: what is revoked
	// while it is under way must not be let in for longer than TTL.
	until := cb.cfg.Now().Add(cb.cfg.TTL)
	//nolint:gosec // G704: the URL is the operator's, no part of it comes from a request
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, cb.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return verdict{}, fmt.Errorf("ask token callback: %w", err)
	}
	if cb.cfg.Header != nil {
		req.Header = cb.cfg.Header.Clone()
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := cb.cfg.Client.Do(req) //nolint:gosec // G704: as above
	if err != nil {
		return verdict{}, fmt.Errorf("ask token callback: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return verdict{}, fmt.Errorf("ask token callback: it answered %d", resp.StatusCode)
	}
	var got struct {
		Revoked *bool  `json:"revoked"`
		Reason  string `json:"reason"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxVerdict)).Decode(&got); err != nil {
		return verdict{}, fmt.Errorf("read answer of token callback: %w", err)
	}
	if got.Revoked == nil {
		return verdict{}, errors.New("read answer of token callback: revoked is missing")
	}
	return verdict{*got.Revoked, got.Reason, until}, nil
}
