package api

import (
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// IfNoneMatch is what a reader already has. It is exported for Huma, which
// fills embedded structs only then.
type IfNoneMatch struct {
	IfNoneMatch string `header:"If-None-Match" doc:"ETag of an answer that you still have: when it is current, the answer is 304 without a body." example:"\"6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b\""`
}

// tagged is a reply with the ETag of what it shows.
type tagged[T any] struct {
	ETag         string `header:"ETag" doc:"Names this version of what is shown; see If-None-Match."`
	CacheControl string `header:"Cache-Control" hidden:"true"`
	Body         T
}

// taggedReply answers body, or 304 to who has this version already.
func taggedReply[T any](c IfNoneMatch, version string, body T) (*tagged[T], error) {
	tag := etag(version)
	if c.matches(tag) {
		return nil, notModified(tag)
	}
	// A cache may keep it and has to ask each time: it may have become private.
	return &tagged[T]{ETag: tag, CacheControl: "no-cache", Body: body}, nil
}

// matches compares weakly, as RFC 9110 section 13.1.2 wants it: caches may
// have made a weak tag of ours.
func (c IfNoneMatch) matches(tag string) bool {
	if strings.TrimSpace(c.IfNoneMatch) == "*" {
		return true
	}
	// Our tags hold no comma, so that what is cut out of another one at its
	// commas is none of ours.
	for t := range strings.SplitSeq(c.IfNoneMatch, ",") {
		if strings.TrimPrefix(strings.TrimSpace(t), "W/") == tag {
			return true
		}
	}
	return false
}

// notModified is the answer 304, which has no body.
func notModified(tag string) error {
	p := newProblem(http.StatusNotModified, "not_modified", http.StatusText(http.StatusNotModified))
	p.headers.Set("ETag", tag)
	p.headers.Set("Cache-Control", "no-cache")
	return p
}

// orNotModified documents the answer 304 beside those that Huma documents.
func orNotModified() map[string]*huma.Response {
	return map[string]*huma.Response{
		"304": {Description: "You have the current version: nothing has changed since the ETag of If-None-Match."},
	}
}
