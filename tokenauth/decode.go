package tokenauth

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

var (
	errSyntax    = errors.New("not a JSON object")
	errDuplicate = errors.New("a name occurs twice")
	errValue     = errors.New("a value is of the wrong kind")
	errNoTime    = errors.New("claim iat or exp is missing")
)

// decodeClaims reads a payload into c. It is written by hand because this is
// the hot path of every request, and because encoding/json is too kind here:
// it takes the last of two equal names and matches names whatever their case,
// so that two readers of one token could see two subjects.
//
// The strings of c share the memory of s.
func decodeClaims(s string, c *Claims) error {
	var got Claims
	d := decoder{s: s}
	if err := d.object(func(name string) error { return d.claim(name, &got) }); err != nil {
		return err
	}
	if d.seen&(seenIssued|seenExpires) != seenIssued|seenExpires {
		return errNoTime
	}
	if err := got.check(); err != nil {
		return err
	}
	*c = got
	return nil
}

// header is what is read of a JOSE header.
type header struct{ alg, kid string }

// decodeHeader reads a header into h. One with crit is refused: RFC 7515
// section 4.1.11 wants each extension marked so to be understood, and none is.
func decodeHeader(s string, h *header) error {
	d := decoder{s: s}
	return d.object(func(name string) error {
		switch name {
		case "alg":
			return d.text(seenAlgorithm, &h.alg)
		case "kid":
			return d.text(seenKey, &h.kid)
		case "crit":
			return errValue
		}
		return d.skip()
	})
}

// decoder walks one flat JSON object.
type decoder struct {
	s    string
	i    int
	seen uint
}

// One bit for each name, to find the second of two.
const (
	seenIssuer uint = 1 << iota
	seenSubject
	seenAudience
	seenIssued
	seenExpires
	seenID
	seenSession
	seenType
	seenDatasets
	seenCSRF
	seenGeneration
	seenAlgorithm
	seenKey
	seenToken
)

// object calls field for each name, which must consume the value.
func (d *decoder) object(field func(name string) error) error {
	if !d.next('{') {
		return errSyntax
	}
	if !d.next('}') {
		for {
			name, ok := d.str()
			if !ok || !d.next(':') {
				return errSyntax
			}
			if err := field(name); err != nil {
				return err
			}
			if d.next(',') {
				continue
			}
			if d.next('}') {
				break
			}
			return errSyntax
		}
	}
	if d.space(); d.i != len(d.s) {
		return errSyntax
	}
	return nil
}

func (d *decoder) claim(name string, c *Claims) error {
	switch name {
	case "iss":
		return d.text(seenIssuer, &c.Issuer)
	case "sub":
		return d.text(seenSubject, &c.Subject)
	case "aud":
		return d.audience(&c.Audience)
	case "iat":
		return d.time(seenIssued, &c.IssuedAt)
	case "exp":
		return d.time(seenExpires, &c.ExpiresAt)
	case "jti":
		return d.text(seenID, &c.ID)
	case "sid":
		return d.text(seenSession, &c.SessionID)
	case "type":
		return d.text(seenType, (*string)(&c.Type))
	case "datasets":
		return d.text(seenDatasets, &c.Datasets)
	case "csrf":
		return d.text(seenCSRF, &c.CSRF)
	case "gen":
		return d.count(seenGeneration, &c.Generation)
	}
	return d.skip()
}

func (d *decoder) once(bit uint) error {
	if d.seen&bit != 0 {
		return errDuplicate
	}
	d.seen |= bit
	return nil
}

func (d *decoder) text(bit uint, to *string) error {
	if err := d.once(bit); err != nil {
		return err
	}
	v, ok := d.str()
	if !ok {
		return errValue
	}
	*to = v
	return nil
}

// audience takes a text or a list of one: RFC 7519 section 4.1.3 allows both,
// and some libraries always write the list.
func (d *decoder) audience(to *string) error {
	list := d.next('[')
	if err := d.text(seenAudience, to); err != nil {
		return err
	}
	if list && !d.next(']') {
		return errValue
	}
	return nil
}

func (d *decoder) time(bit uint, to *time.Time) error {
	if err := d.once(bit); err != nil {
		return err
	}
	n, ok := d.integer()
	if !ok || n > maxTime {
		return errValue
	}
	*to = time.Unix(n, 0).UTC()
	return nil
}

func (d *decoder) count(bit uint, to *int) error {
	if err := d.once(bit); err != nil {
		return err
	}
	n, ok := d.integer()
	if !ok || n > math.MaxInt32 {
		return errValue
	}
	*to = int(n)
	return nil
}

// integer reads a number without sign, fraction or exponent, of at most 18
// digits; what follows it is for the caller to judge.
func (d *decoder) integer() (int64, bool) {
	d.space()
	start := d.i
	var n int64
	for d.i < len(d.s) && d.s[d.i] >= '0' && d.s[d.i] <= '9' {
		n = n*10 + int64(d.s[d.i]-'0')
		if d.i++; d.i-start > 18 {
			return 0, false
		}
	}
	digits := d.s[start:d.i]
	if digits == "" || len(digits) > 1 && digits[0] == '0' {
		return 0, false
	}
	return n, true
}

// str reads a string. One without escapes costs no copy.
func (d *decoder) str() (string, bool) {
	if !d.next('"') {
		return "", false
	}
	start, escaped, ascii := d.i, false, true
	for d.i < len(d.s) {
		switch b := d.s[d.i]; {
		case b == '"':
			v := d.s[start:d.i]
			d.i++
			if !ascii && !utf8.ValidString(v) {
				return "", false
			}
			if escaped {
				return unescape(d.s[start-1 : d.i])
			}
			return v, true
		case b < ' ':
			return "", false
		case b == '\\':
			escaped = true
			d.i++ // whatever it escapes, a quote included
		case b >= utf8.RuneSelf:
			ascii = false
		}
		d.i++
	}
	return "", false
}

func unescape(quoted string) (v string, ok bool) {
	err := json.Unmarshal([]byte(quoted), &v)
	return v, err == nil
}

// skip passes over the value of a claim that is not ours. It finds the end by
// its brackets and leaves the judgement to encoding/json.
func (d *decoder) skip() error {
	d.space()
	start, depth := d.i, 0
loop:
	for d.i < len(d.s) {
		switch d.s[d.i] {
		case '"':
			if _, ok := d.str(); !ok {
				return errSyntax
			}
			continue
		case '[', '{':
			depth++
		case ']', '}':
			if depth == 0 {
				break loop
			}
			depth--
		case ',':
			if depth == 0 {
				break loop
			}
		}
		d.i++
	}
	if !json.Valid([]byte(d.s[start:d.i])) {
		return errSyntax
	}
	return nil
}

// next skips white space and takes b if it is what follows.
func (d *decoder) next(b byte) bool {
	d.space()
	if d.i < len(d.s) && d.s[d.i] == b {
		d.i++
		return true
	}
	return false
}

func (d *decoder) space() {
	for d.i < len(d.s) && strings.IndexByte(" \t\r\n", d.s[d.i]) >= 0 {
		d.i++
	}
}
