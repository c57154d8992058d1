package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
)

// repeats marks a creation or an upload: should its answer be lost, it is sent
// again. The answer may then be that the thing is there already, and what is
// there is looked at: if it is what the call would have made, the call
// succeeds.
type repeats struct{ lost bool } // an answer was lost

type repeatsKey struct{}

func repeatable(ctx context.Context) (context.Context, *repeats) {
	r := &repeats{}
	return context.WithValue(ctx, repeatsKey{}, r), r
}

// settle returns nil in place of a conflict with the call's own first attempt.
func (r *repeats) settle(err error, same func() bool) error {
	if r.lost && errors.Is(err, ErrConflict) && same() {
		return nil
	}
	return err
}

// hasMetadata says whether what p names has the keys, with these values.
func (c *Client) hasMetadata(ctx context.Context, p Path, keys map[string]any) bool {
	text, err := json.Marshal(keys)
	if err != nil {
		return false
	}
	var want, have map[string]any
	if json.Unmarshal(text, &want) != nil || c.Metadata(ctx, p, &have) != nil {
		return false
	}
	for k, v := range want {
		if !reflect.DeepEqual(have[k], v) {
			return false
		}
	}
	return true
}

// hasContent says whether the file has these bytes. The ETag of a file
// is the SHA-256 of its content; a server where it is something else has no file
// that matches.
func (c *Client) hasContent(ctx context.Context, p Path, f *content) bool {
	source, err := f.from(0, f.size, nil)
	if err != nil {
		return false
	}
	digest := sha256.New()
	if _, err := io.Copy(digest, source); err != nil {
		return false
	}
	resp, err := c.api.GetFile(ctx, p.Scan, p.Fileset, p.File, nil, func(_ context.Context, req *http.Request) error {
		req.Header.Set("Range", "bytes=0-0")
		return nil
	})
	if err != nil {
		return false
	}
	drop(resp)
	return resp.Header.Get("ETag") == `"`+hex.EncodeToString(digest.Sum(nil))+`"`
}
