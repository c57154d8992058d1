package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	plantdbapi "github.com/romi/plantdb-go/openapi/clients/go"
)

// Tokens are what a session is kept by. They are as good as a password for as
// long as they live.
type Tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token,omitempty"`
}

// refreshTimeout bounds a refresh: it goes on when the caller that began it
// gives up, since others wait for it and its token is good once.
const refreshTimeout = 30 * time.Second

// session holds the tokens, and sees to it that one goroutine refreshes.
type session struct {
	trade func(ctx context.Context, refresh string) (Tokens, error)
	save  func(Tokens)

	mu     sync.Mutex
	tokens Tokens
	stale  time.Time     // when the access token is not worth sending any more
	ended  error         // why there are no tokens any more
	flight chan struct{} // closed when the refresh that runs now is over
	failed error         // how the last refresh failed, if it did
}

// use takes up tokens.
func (s *session) use(t Tokens) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(t, time.Time{})
}

// set needs the lock. received is when the tokens were asked for, if that is known:
// then the clocks of client and server need not agree. The times in a token are
// whole seconds, so that it may have been made almost one after the time it names.
func (s *session) set(t Tokens, received time.Time) {
	s.tokens, s.ended, s.failed, s.stale = t, nil, nil, time.Time{}
	issued, expires, ok := lifeOf(t.Access)
	if t.Refresh == "" || !ok {
		return
	}
	life := expires.Sub(issued)
	if !received.IsZero() {
		expires = received.Add(life - time.Second)
	}
	s.stale = expires.Add(-min(life/10, 30*time.Second))
}

// lifeOf reads when a token was made and when it ends. It is not verified: it
// only says when to ask for another.
func lifeOf(token string) (issued, expires time.Time, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}, time.Time{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	var claims struct {
		IssuedAt float64 `json:"iat"`
		Expires  float64 `json:"exp"`
	}
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims.Expires <= claims.IssuedAt || claims.IssuedAt <= 0 {
		return time.Time{}, time.Time{}, false
	}
	return time.Unix(int64(claims.IssuedAt), 0), time.Unix(int64(claims.Expires), 0), true
}

// access returns the token to send, refreshed if it is near its end. It is
// empty for a caller that never logged in.
func (s *session) access(ctx context.Context) (string, error) {
	s.mu.Lock()
	token, fresh, ended := s.tokens.Access, s.stale.IsZero() || now().Before(s.stale), s.ended
	s.mu.Unlock()
	if ended != nil {
		return "", ended
	}
	if fresh {
		return token, nil
	}
	return s.renew(ctx, token)
}

// renewable says whether another token than used can be had.
func (s *session) renewable(used string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens.Refresh != "" || (s.tokens.Access != "" && s.tokens.Access != used)
}

// renew returns an access token that is not used, by one refresh however many
// ask for it at once.
func (s *session) renew(ctx context.Context, used string) (string, error) {
	s.mu.Lock()
	switch {
	case s.ended != nil:
		defer s.mu.Unlock()
		return "", s.ended
	case s.tokens.Access != used:
		defer s.mu.Unlock()
		return s.tokens.Access, nil
	case s.flight == nil:
		s.flight = make(chan struct{})
		go s.refresh(context.WithoutCancel(ctx), s.tokens.Refresh, s.flight)
	}
	flight := s.flight
	s.mu.Unlock()
	select {
	case <-flight:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens.Access, s.failed
}

// refresh trades the refresh token in. A refusal ends the session: what is
// called afterwards fails, and does not go out as nobody in particular.
func (s *session) refresh(ctx context.Context, token string, flight chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	defer close(flight)
	sent := now()
	t, err := s.trade(ctx, token)
	var save func(Tokens)
	s.mu.Lock()
	var refused *Error
	switch {
	case s.tokens.Refresh != token: // somebody logged in or out meanwhile
		err = nil
	case err == nil:
		s.set(t, sent)
		save = s.save
	case errors.As(err, &refused) && refused.Status == http.StatusUnauthorized:
		if !errors.Is(refused, ErrSessionEnded) {
			refused.kinds = append([]error{ErrSessionEnded}, refused.kinds...)
		}
		s.tokens, s.stale, s.ended = Tokens{}, time.Time{}, refused
	}
	s.failed = err
	s.mu.Unlock()
	if save != nil {
		save(t) // before anybody goes on with the new token
	}
	s.mu.Lock()
	s.flight = nil
	s.mu.Unlock()
}

// Tokens returns the tokens as they are now, to go on with them elsewhere.
func (c *Client) Tokens() Tokens {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	return c.session.tokens
}

// Login opens a session; it is kept fresh from then on. A wrong password is
// ErrUnauthorized with the code "invalid_credentials".
func (c *Client) Login(ctx context.Context, username, password string) error {
	sent := now()
	l, err := decoded[plantdbapi.Login](c.api.Login(ctx, nil, plantdbapi.Credentials{Username: username, Password: password}))
	if err != nil {
		return err
	}
	if l.AccessToken == nil || l.RefreshToken == nil {
		return &Error{Op: "POST /api/v1/auth/login", Message: "the answer holds no tokens", kinds: []error{ErrNotPlantDB}}
	}
	t := Tokens{Access: *l.AccessToken, Refresh: *l.RefreshToken}
	c.session.mu.Lock()
	c.session.set(t, sent)
	c.session.mu.Unlock()
	if c.session.save != nil {
		c.session.save(t)
	}
	return nil
}

// Refresh trades the tokens for the next pair. Calls do it by themselves; this
// is for programs that want to know whether the session lives.
func (c *Client) Refresh(ctx context.Context) error {
	if !c.session.renewable("") {
		return &Error{Op: "POST /api/v1/auth/token/refresh", kinds: []error{ErrUnauthorized}}
	}
	_, err := c.session.renew(ctx, c.Tokens().Access)
	return err
}

// trade calls the server; the session alone calls it.
func (c *Client) trade(ctx context.Context, refresh string) (Tokens, error) {
	p, err := decoded[plantdbapi.TokenPair](c.api.RefreshToken(ctx, plantdbapi.RefreshTokenJSONRequestBody{RefreshToken: refresh}))
	if err != nil {
		return Tokens{}, err
	}
	if p.AccessToken == nil || p.RefreshToken == nil {
		return Tokens{}, &Error{Op: "POST /api/v1/auth/token/refresh", Message: "the answer holds no tokens", kinds: []error{ErrNotPlantDB}}
	}
	return Tokens{Access: *p.AccessToken, Refresh: *p.RefreshToken}, nil
}

// Logout ends the session at the server. The client is nobody afterwards, even
// when the server could not be told.
func (c *Client) Logout(ctx context.Context) error {
	t := c.Tokens()
	var body plantdbapi.LogoutRequest
	if t.Refresh != "" {
		body.RefreshToken = &t.Refresh
	}
	err := done(c.api.Logout(ctx, body))
	c.session.use(Tokens{})
	if c.session.save != nil {
		c.session.save(Tokens{})
	}
	return err
}
