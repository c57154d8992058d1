package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// crasher is a client that does one thing after another until it is cut off.
type crasher struct {
	*ledger
	base, token string
	lives       bool   // the server does, and answers everything
	scan        string // its own
	next        int
	n           int      // what it last gave its scan's metadata
	kept        []string // files that it may delete
	lost        []sent   // uploads of which it does not know what became
	scans       []string // that it made, and may delete
	pieces      *pieces  // what it uploads in pieces
	series      *series  // its timelapse
	acked       atomic.Int64
}

// sent is an upload.
type sent struct{ path, content string }

// end says what was acknowledged.
func (c *crasher) end(what, key, value string) {
	c.ledger.end(what, key, value)
	c.acked.Add(1)
}

// try sends a request and returns status 0 for one that got no answer.
func (c *crasher) try(ctx context.Context, method, path, contentType string, body []byte, header ...string) answer {
	return c.tryAt(ctx, method, c.base+"/api/v1"+path, contentType, body, header...)
}

// tryAt is try for a whole URL.
func (c *crasher) tryAt(ctx context.Context, method, url, contentType string, body []byte, header ...string) answer {
	limited, cancel := context.WithTimeout(ctx, 10*patience)
	defer cancel()
	r, err := http.NewRequestWithContext(limited, method, url, bytes.NewReader(body))
	if err != nil {
		return answer{}
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	a, err := roundTrip(r)
	if err != nil {
		if c.lives && ctx.Err() == nil {
			c.missed(method, url, err)
		}
		return answer{}
	}
	return a
}

// roundTrip is do for who may get no answer.
func roundTrip(r *http.Request) (answer, error) {
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close() // only read
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{Status: response.StatusCode, Header: response.Header, Text: string(text)}
	_ = json.Unmarshal(text, &a.Body) // an answer without a body says nothing
	return a, nil
}

// send is try for a call that fails only where the server cannot.
func (c *crasher) send(ctx context.Context, method, path, contentType string, body []byte, header ...string) answer {
	a := c.try(ctx, method, path, contentType, body, header...)
	c.answered(ctx, method, path, a)
	return a
}

// answered notes what an answer says, and has the client wait a little before it
// comes again.
func (c *crasher) answered(ctx context.Context, method, path string, a answer) {
	if c.ledger.answered(method, path, a); a.Status >= http.StatusBadRequest {
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// run works until ctx ends or, having finished what it does, quit is closed.
// What it writes is its own, or has a name of its own in what all share: so it
// is known what a reader may find.
func (c *crasher) run(ctx context.Context, quit <-chan struct{}) {
	all := 0
	for _, one := range doings {
		all += one.share
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-quit:
			return
		default:
		}
		n := rand.IntN(all)
		for _, one := range doings {
			if n -= one.share; n < 0 {
				one.do(c, ctx)
				break
			}
		}
	}
}

// doings are what a client does, and how often of all.
var doings = []struct {
	share int
	do    func(*crasher, context.Context)
}{
	{8, (*crasher).upload},
	{2, (*crasher).uploadAgain},
	{3, (*crasher).deleteAndMaybeRestore},
	{2, (*crasher).setMetadata},
	{2, (*crasher).createScan},
	{1, (*crasher).deleteScans},
	{2, (*crasher).changeMany},
	{2, (*crasher).changeAccess},
	{2, (*crasher).uploadArchive},
	{4, (*crasher).uploadPiece},
	{5, (*crasher).changeSeries},
	{2, (*crasher).deleteScan},
	{3, (*crasher).changeParts},
	{2, (*crasher).tag},
	{1, (*crasher).giveAway},
	{2, (*crasher).putBeside},
}

func (c *crasher) upload(ctx context.Context) {
	scan := c.scan
	if c.next%2 == 1 {
		scan = "shared"
	}
	path := fmt.Sprintf("/files/%s/images/%s_%d", scan, c.scan, c.next)
	c.next++
	s := sent{path, strings.Repeat(path+"\n", 1+rand.IntN(2000))}
	c.begin(path, digestOf([]byte(s.content)), lookAtFile(path))
	if a := c.put(ctx, s, c.send); a.Status == http.StatusCreated {
		c.there(s, true)
	} else {
		c.lost = append(c.lost, s)
	}
}

type sender func(ctx context.Context, method, path, contentType string, body []byte, header ...string) answer

func (*crasher) put(ctx context.Context, s sent, send sender) answer {
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part, err := w.CreateFormFile("file", "x.txt")
	if err == nil {
		_, err = io.WriteString(part, s.content)
	}
	if err != nil || w.WriteField("ext", "txt") != nil || w.WriteField("metadata", fmt.Sprintf(`{"length": %d}`, len(s.content))) != nil || w.Close() != nil {
		return answer{}
	}
	return send(ctx, http.MethodPost, s.path, w.FormDataContentType(), body.Bytes())
}

// there says that a file was acknowledged; created, that this call made it.
func (c *crasher) there(s sent, created bool) {
	c.end("uploads", s.path, digestOf([]byte(s.content)))
	c.kept = append(c.kept, s.path)
	if created {
		c.mu.Lock()
		c.made = append(c.made, s.path)
		c.mu.Unlock()
	}
}

// uploadAgain repeats an upload whose answer was lost, or a refusal: it is made
// now, or was then.
func (c *crasher) uploadAgain(ctx context.Context) {
	if len(c.lost) == 0 {
		return
	}
	s := c.lost[0]
	c.begin(s.path, digestOf([]byte(s.content)), lookAtFile(s.path))
	a := c.put(ctx, s, c.try)
	taken := a.Status == http.StatusConflict && a.text("code") == "file_exists"
	if !taken {
		c.answered(ctx, http.MethodPost, s.path, a)
	}
	if taken || a.Status == http.StatusCreated {
		c.lost = c.lost[1:]
		c.there(s, !taken)
	}
}

func (c *crasher) deleteAndMaybeRestore(ctx context.Context) {
	if len(c.kept) == 0 {
		return
	}
	i := rand.IntN(len(c.kept))
	path := c.kept[i]
	c.kept = slices.Delete(c.kept, i, i+1)
	c.mu.Lock()
	whole := c.facts[path].whole
	c.mu.Unlock()
	c.begin(path, gone, nil)
	a := c.send(ctx, http.MethodDelete, path, "", nil)
	if a.Status != http.StatusOK {
		return
	}
	c.end("deletions", path, gone)
	entry, _ := a.Body["trash"].(map[string]any)
	id, _ := entry["id"].(string)
	switch rand.IntN(4) {
	case 0:
		return
	case 1:
		c.purge(ctx, id)
		return
	}
	c.begin(path, whole, nil)
	if a := c.send(ctx, http.MethodPost, "/trash/"+id+"/restore", "application/json", []byte("{}")); a.Status == http.StatusOK {
		c.end("restorations", path, whole)
	}
}

func (c *crasher) setMetadata(ctx context.Context) {
	c.n++
	key, value := "metadata of "+c.scan, fmt.Sprint(c.n)
	method, body := http.MethodPost, `{"metadata": {"n": %d}}`
	if c.n%2 == 0 {
		method, body = http.MethodPatch, `{"n": %d}`
	}
	c.begin(key, value, lookAtN(c.scan))
	if a := c.send(ctx, method, "/scans/"+c.scan+"/metadata", "application/json", fmt.Appendf(nil, body, c.n)); a.Status == http.StatusOK {
		c.end("metadata", key, value)
	}
}

// lookAtN finds what was last written into the metadata of a scan; before that
// it is gone.
func lookAtN(scan string) func(*testing.T, caller) string { return lookAtNOf("/scans/" + scan) }

// lookAtNOf is lookAtN for whatever has metadata.
func lookAtNOf(path string) func(*testing.T, caller) string {
	return func(t *testing.T, admin caller) string {
		t.Helper()
		return found(admin.get(t, path+"/metadata"), func(a answer) string {
			metadata, _ := a.Body["metadata"].(map[string]any)
			if n, ok := metadata["n"]; ok {
				return fmt.Sprint(n)
			}
			return gone
		})
	}
}
