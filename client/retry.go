package client

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"
)

// Retry says how often a call is tried again, where that is safe: what only
// reads or sets, what the server has not begun, and what can be seen to be done
// already.
type Retry struct {
	// Attempts is how often at most a call is tried again.
	Attempts int
	// Wait is the pause before the first time; each further one is twice as
	// long, and each is shortened by up to a half at random, so that many
	// clients do not come back at once. Retry-After of the server wins.
	Wait time.Duration
	// Most bounds a pause. A server that asks for more is taken at its word:
	// the call fails, with RetryAfter in its error.
	Most time.Duration
}

// DefaultRetry bridges the restart of a server.
var DefaultRetry = Retry{Attempts: 5, Wait: 200 * time.Millisecond, Most: 15 * time.Second}

// pause returns how long to wait before the attempt of the number, which
// begins at 0; ok is false when it is not to be made.
func (r Retry) pause(ctx context.Context, attempt int, asked time.Duration) (wait time.Duration, ok bool) {
	if attempt >= r.Attempts || asked > r.Most {
		return 0, false
	}
	wait = asked
	if wait == 0 {
		wait = r.Most
		if doubled := r.Wait << attempt; doubled>>attempt == r.Wait { // and no bit was lost
			wait = min(doubled, wait)
		}
		wait -= time.Duration(rand.Int64N(int64(wait)/2 + 1)) //nolint:gosec // Chance spreads clients, it guards nothing.
	}
	if end, bounded := ctx.Deadline(); bounded && time.Until(end) <= wait {
		return 0, false // what failed says more than that the time was up
	}
	return wait, true
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// doer sends what the generated client makes: with a token, and again where
// that is safe.
type doer struct{ c *Client }

// Do implements plantdbapi.HttpRequestDoer.
func (d doer) Do(req *http.Request) (*http.Response, error) {
	tries := try{c: d.c, req: req}
	for {
		resp, err := tries.once()
		again, err := tries.next(resp, err)
		if err != nil {
			return nil, err
		}
		if !again {
			return resp, nil
		}
	}
}

// try is one call, however often it is sent.
type try struct {
	c         *Client
	req       *http.Request
	attempt   int
	used      string // the token that was sent last
	own       bool   // Authorization is ours to set
	refreshed bool
}

// public are the calls that go out without a token.
func public(path string) bool {
	for _, end := range []string{"/auth/login", "/auth/token/refresh", "/auth/password-reset", "/auth/setup", "/health"} {
		if strings.HasSuffix(path, end) {
			return true
		}
	}
	return false
}

// once sends the request: the first time as it is, since it is ours, and later a
// copy, for the transport may still read what it was given before.
func (t *try) once() (*http.Response, error) {
	req := t.req
	if t.attempt > 0 || t.refreshed {
		req = t.req.Clone(t.req.Context())
		if t.own {
			req.Header.Del("Authorization")
		}
		if err := t.rewind(req); err != nil {
			return nil, err
		}
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", t.c.agent)
	}
	t.used = ""
	if !public(req.URL.Path) && req.Header.Get("Authorization") == "" {
		token, err := t.c.session.access(req.Context())
		if err != nil {
			return nil, err
		}
		if t.used = token; token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
			t.own = true
		}
	}
	return t.c.http.Do(req)
}

// rewind gives the request its body once more.
func (t *try) rewind(req *http.Request) error {
	if t.req.GetBody == nil {
		return nil
	}
	body, err := t.req.GetBody()
	if err != nil {
		return err
	}
	req.Body = body
	return nil
}

// replayable says whether the body can be sent again.
func (t *try) replayable() bool {
	return t.req.Body == nil || t.req.Body == http.NoBody || t.req.GetBody != nil
}

// next says whether to send again, after the wait that that takes. An error is
// the end of the call.
func (t *try) next(resp *http.Response, err error) (again bool, _ error) {
	ctx := t.req.Context()
	if err == nil && resp.StatusCode == http.StatusUnauthorized && t.used != "" && !t.refreshed && t.replayable() && t.c.session.renewable(t.used) {
		drop(resp)
		t.refreshed = true
		_, err := t.c.session.renew(ctx, t.used)
		return true, t.failure(err)
	}
	var asked time.Duration
	if err == nil {
		asked = retryAfter(resp)
	}
	if !t.replayable() || !t.safe(resp, err) {
		return false, t.failure(err)
	}
	wait, ok := t.c.retry.pause(ctx, t.attempt, asked)
	if !ok {
		return false, t.failure(err)
	}
	if err == nil {
		drop(resp)
	}
	t.attempt++
	return true, t.failure(sleep(ctx, wait))
}

func (t *try) failure(err error) error {
	if err == nil {
		return nil
	}
	return failed(t.req, err)
}

// safe says whether sending again does no harm and may help.
func (t *try) safe(resp *http.Response, err error) bool {
	again, repeats := t.req.Context().Value(repeatsKey{}).(*repeats)
	twice := idempotent(t.req)
	if err != nil {
		if repeats && !undialled(err) {
			again.lost = true
		}
		return lost(t.req.Context(), err) && (twice || repeats || undialled(err))
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusLocked: // nothing was begun
		return true
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if repeats {
			again.lost = true
		}
		return twice || repeats
	}
	return false
}

// idempotent says whether the request has the same effect when it is sent twice:
// it reads, or it sets something to what it holds (RFC 9110 section 9.2.2). Of
// a version that it names, the second finds another and would be refused.
func idempotent(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return true
	case http.MethodPut:
		return r.Header.Get("If-Match") == ""
	}
	return false
}

// lost says whether the network failed, and not we.
func lost(ctx context.Context, err error) bool {
	var dns *net.DNSError
	var network *net.OpError
	switch {
	case ctx.Err() != nil, errors.As(err, &dns) && dns.IsNotFound:
		return false
	case errors.Is(err, errSource):
		return false
	}
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || malformed.MatchString(err.Error())
}

// undialled says whether not a byte was sent.
func undialled(err error) bool {
	var network *net.OpError
	return errors.As(err, &network) && network.Op == "dial"
}

// drop gives the connection back.
func drop(resp *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxErrorBody))
	_ = resp.Body.Close()
}
