package tokenauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// Type says what a token is for. A token is only ever taken where its type is
// wanted: a refresh token is no bearer.
type Type string

// The types of token.
const (
	Access  Type = "access"  // short-lived, sent with each request
	Refresh Type = "refresh" // traded for a new pair, sent nowhere else
	API     Type = "api"     // long-lived, for programs, narrowed by Datasets
)

// Claims is what a token says. Its JSON is the payload of the token: iss, sub,
// aud, iat, exp, jti, sid and type always, datasets, csrf and gen only if set.
type Claims struct {
	ID        string    // jti, unique to the token
	Subject   string    // sub, the user
	Issuer    string    // iss
	Audience  string    // aud
	SessionID string    // sid, shared by all tokens of one session
	Type      Type      // type
	IssuedAt  time.Time // iat, whole seconds
	ExpiresAt time.Time // exp, whole seconds
	// Generation (gen) counts the pairs of a session, so that a refresh token
	// can be told from its successors without being stored.
	Generation int
	// Datasets narrows an API token; the package carries it and does not read it.
	Datasets string
	// CSRF is what the CSRF header must repeat when the token comes by cookie.
	CSRF string
}

// maxTime is the last second of the year 9999: beyond it time.Time does not
// marshal, and sums with a leeway are one step nearer to overflow.
const maxTime = 253402300799

// payload is the wire form of Claims, its fields in the order they are written.
type payload struct {
	Issuer     string `json:"iss"`
	Subject    string `json:"sub"`
	Audience   string `json:"aud"`
	IssuedAt   int64  `json:"iat"`
	ExpiresAt  int64  `json:"exp"`
	ID         string `json:"jti"`
	SessionID  string `json:"sid"`
	Type       Type   `json:"type"`
	Datasets   string `json:"datasets,omitempty"`
	CSRF       string `json:"csrf,omitempty"`
	Generation int    `json:"gen,omitempty"`
}

// MarshalJSON writes the payload of a token; equal claims give equal bytes.
// Times lose what is below a second. Claims that UnmarshalJSON would refuse,
// and texts that are not UTF-8, are an error.
func (c Claims) MarshalJSON() ([]byte, error) {
	for _, s := range []string{c.Issuer, c.Subject, c.Audience, c.ID, c.SessionID, string(c.Type), c.Datasets, c.CSRF} {
		// encoding/json would write U+FFFD instead, and two subjects could
		// become one.
		if !utf8.ValidString(s) {
			return nil, errors.New("claim is not UTF-8")
		}
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return json.Marshal(payload{
		Issuer: c.Issuer, Subject: c.Subject, Audience: c.Audience,
		IssuedAt: c.IssuedAt.Unix(), ExpiresAt: c.ExpiresAt.Unix(),
		ID: c.ID, SessionID: c.SessionID, Type: c.Type,
		Datasets: c.Datasets, CSRF: c.CSRF, Generation: c.Generation,
	})
}

// UnmarshalJSON reads the payload of a token, strictly: sub, jti, type, iat and
// exp must be there, times are whole seconds from 1970 to 9999, a claim of
// this package may occur once only. Claims of other names are skipped. The
// times are in UTC.
func (c *Claims) UnmarshalJSON(data []byte) error { return decodeClaims(string(data), c) }

// check holds the rules that need no clock and no configuration.
func (c *Claims) check() error {
	switch {
	case c.Subject == "":
		return errors.New("claim sub is missing")
	case c.ID == "":
		return errors.New("claim jti is missing")
	case c.Type == "":
		return errors.New("claim type is missing")
	case c.Generation < 0:
		return errors.New("claim gen is negative")
	}
	for _, t := range []time.Time{c.IssuedAt, c.ExpiresAt} {
		if s := t.Unix(); s < 0 || s > maxTime {
			return fmt.Errorf("claim iat or exp is out of range: %d", s)
		}
	}
	return nil
}
