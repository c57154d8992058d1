// Package static serves bytes that do not change while a server runs, from
// memory.
package static

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Content is a text or image of one address. It serves GET and HEAD with a
// strong ETag (RFC 9110, 8.8.3), conditions and ranges, and compressed to who
// takes gzip where that saves anything; the two forms have ETags of their own.
type Content struct {
	contentType string
	plain       func() []byte
	tag         func() string
	zipped      func() []byte // nil where it is not shorter
}

// New returns a content of that media type. write is called once, when somebody
// asks for it first, and so is the compression.
func New(contentType string, write func() []byte) *Content {
	plain := sync.OnceValue(write)
	return &Content{
		contentType: contentType,
		plain:       plain,
		tag: sync.OnceValue(func() string {
			sum := sha256.Sum256(plain())
			return hex.EncodeToString(sum[:16])
		}),
		zipped: sync.OnceValue(func() []byte { return compress(plain()) }),
	}
}

// Bytes returns what the content is, which the caller does not change.
func (c *Content) Bytes() []byte { return c.plain() }

// ServeHTTP implements http.Handler. What the header of the answer has already,
// such as Cache-Control, stays.
func (c *Content) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", c.contentType)
	h.Add("Vary", "Accept-Encoding")
	body, tag := c.plain(), c.tag()
	// Who asks for a part has the rest in the form that has no encoding.
	if r.Header.Get("Range") == "" && takesGzip(r.Header.Values("Accept-Encoding")) {
		if zipped := c.zipped(); zipped != nil {
			body, tag = zipped, tag+"-gzip"
			h.Set("Content-Encoding", "gzip")
		}
	}
	h.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// compress returns nil where it saves less than a tenth.
func compress(plain []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	// A buffer takes everything.
	_, _ = z.Write(plain)
	_ = z.Close()
	if b.Len() > len(plain)*9/10 {
		return nil
	}
	return b.Bytes()
}

// takesGzip reads Accept-Encoding (RFC 9110, 12.5.3): gzip by name, or by * where
// it is not named, with a weight above 0.
func takesGzip(fields []string) bool {
	takes, named := false, false
	for _, field := range fields {
		for choice := range strings.SplitSeq(field, ",") {
			coding, weight, _ := strings.Cut(choice, ";")
			switch coding = strings.ToLower(strings.TrimSpace(coding)); {
			case coding == "gzip" || coding == "x-gzip":
				takes, named = positive(weight), true
			case coding == "*" && !named:
				takes = positive(weight)
			}
		}
	}
	return takes
}

// positive says whether a weight such as q=0.5 is above 0; without one it is 1.
func positive(weight string) bool {
	name, value, ok := strings.Cut(strings.TrimSpace(weight), "=")
	if !ok || !strings.EqualFold(strings.TrimSpace(name), "q") {
		return true
	}
	q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	return err == nil && q > 0
}
