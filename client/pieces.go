package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	plantdbapi "github.com/romi/plantdb-go/openapi/clients/go"
)

const (
	tusVersion = "1.0.0"
	tusBody    = "application/offset+octet-stream"
	// lastPiece is what is sent alone at the end, after the server was asked
	// whether what it has is right.
	lastPiece = 64 << 10
	// hashStep is how much is hashed between two looks at the context.
	hashStep = 32 << 20
	// maxTusMetadata bounds a header that proxies let pass.
	maxTusMetadata = 4 << 10
	// dropTimeout bounds what nobody waits for.
	dropTimeout = 2 * time.Second
)

// errOneRequest says that something has to be sent by one request.
var errOneRequest = errors.New("the upload does not go in pieces")

// UploadState is how far an upload in pieces is, and what it is of.
type UploadState = plantdbapi.UploadState

// BeginUpload begins an upload in pieces of size bytes, and returns the id by
// which [Client.ResumeUpload] sends them, now or later, here or elsewhere, as the
// same user. What would be refused in the end, such as a file that is there
// already or a quota that is full, is refused now.
//
// An upload to which nothing comes for a day, or what the server has in place
// of it, is dropped; until then it counts for the quota. A server that takes no
// pieces is ErrUnsupported.
func (c *Client) BeginUpload(ctx context.Context, p Path, ext string, size int64, metadata map[string]any) (id string, err error) {
	if err := p.checkFile("begin upload"); err != nil {
		return "", err
	}
	described, err := tusMetadata(p, ext, metadata)
	if err != nil {
		return "", err
	}
	// Should the answer be lost, another is begun and the first expires.
	sending, _ := repeatable(ctx)
	resp, err := c.api.CreateUploadWithBody(sending, &plantdbapi.CreateUploadParams{
		TusResumable: tusVersion, UploadLength: strconv.FormatInt(size, 10), UploadMetadata: described,
	}, "", http.NoBody, func(_ context.Context, req *http.Request) error {
		req.Header.Del("Content-Type")
		return nil
	})
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusCreated && resp.Header.Get("Tus-Resumable") == "" &&
		(resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusMethodNotAllowed) {
		drop(resp)
		return "", &Error{Op: opOf(resp.Request), Status: resp.StatusCode, Message: "the server takes no uploads in pieces", kinds: []error{ErrUnsupported}}
	}
	location := resp.Header.Get("Location")
	op := opOf(resp.Request)
	if err := done(resp, nil); err != nil {
		return "", err
	}
	if id = path.Base(location); uuid.Validate(id) != nil {
		return "", &Error{Op: op, Message: "the answer does not name the upload", kinds: []error{ErrNotPlantDB}}
	}
	return id, nil
}

// tusMetadata says what an upload is of.
func tusMetadata(p Path, ext string, metadata map[string]any) (string, error) {
	pairs := []string{"scan", p.Scan, "fileset", p.Fileset, "file", p.File, "ext", ext}
	if metadata != nil {
		text, err := json.Marshal(metadata)
		if err != nil {
			return "", fmt.Errorf("plantdb: upload %s: metadata: %w", p, err)
		}
		pairs = append(pairs, "metadata", string(text))
	}
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(pairs[i] + " " + base64.StdEncoding.EncodeToString([]byte(pairs[i+1])))
	}
	return b.String(), nil
}

// UploadState returns how far an upload in pieces is. ErrNotFound says that
// there is none of that id, any more, of this user.
func (c *Client) UploadState(ctx context.Context, id string) (UploadState, error) {
	u, err := uploadID(id)
	if err != nil {
		return UploadState{}, err
	}
	return c.uploadState(ctx, u)
}

func (c *Client) uploadState(ctx context.Context, id uuid.UUID) (UploadState, error) {
	return decoded[UploadState](c.api.GetUpload(ctx, id, &plantdbapi.GetUploadParams{TusResumable: tusVersion}))
}

// DropUpload ends an upload in pieces; what came of it is removed. The file of
// one that is finished stays.
func (c *Client) DropUpload(ctx context.Context, id string) error {
	u, err := uploadID(id)
	if err != nil {
		return err
	}
	return done(c.api.EndUpload(ctx, u, &plantdbapi.EndUploadParams{TusResumable: tusVersion}))
}

func uploadID(id string) (uuid.UUID, error) {
	u, err := uuid.Parse(id)
	if err != nil {
		return u, fmt.Errorf("plantdb: %q is not the id of an upload: %w", id, ErrInvalid)
	}
	return u, nil
}

// ResumeUpload sends what lacks of an upload that [Client.BeginUpload] began. r
// stands at the beginning of the whole, and has to begin with the bytes that the
// server has: anything else is ErrChanged, and the upload stays as it was.
//
// When it returns nil, the file is in its fileset and survives a power cut, also
// where it was there before the call. After an error the upload can be resumed
// once more, unless it is ErrChanged because r changed under way: then it was
// dropped.
func (c *Client) ResumeUpload(ctx context.Context, id string, r io.ReadSeeker, options ...UploadOption) error {
	u, err := uploadID(id)
	if err != nil {
		return err
	}
	o := optionsOf(options)
	up := &sending{c: c, id: u, piece: o.piece, progress: o.progress, sum: sha256.New()}
	if up.content, err = newContent(r, up.read); err != nil {
		return err
	}
	if up.content.seeker == nil {
		return fmt.Errorf("plantdb: resume upload %s: %w: it cannot seek", id, errSource)
	}
	if err := up.ask(ctx); err != nil {
		return err
	}
	err = up.rest(ctx)
	if _, changed := errors.AsType[*sourceChangedError](err); changed {
		up.abandon(ctx)
	}
	return err
}

// sending is an upload in pieces.
type sending struct {
	c        *Client
	id       uuid.UUID
	content  *content
	piece    int64
	progress func(UploadProgress)

	at       int64     // what the server has for good
	sum      hash.Hash // of that, as it was sent
	finished bool
}

// whole is all of an upload; a failure leaves nothing.
func (u *sending) whole(ctx context.Context, p Path, ext string, metadata map[string]any) error {
	described, err := tusMetadata(p, ext, metadata)
	if err != nil {
		return err
	}
	if len(described) > maxTusMetadata {
		return errOneRequest
	}
	id, err := u.c.BeginUpload(ctx, p, ext, u.content.size, metadata)
	if errors.Is(err, ErrUnsupported) {
		return errOneRequest
	}
	if err != nil {
		return err
	}
	u.sum = sha256.New()
	if u.id, err = uploadID(id); err != nil {
		return err
	}
	if err = u.rest(ctx); err != nil {
		u.abandon(ctx)
	}
	return err
}

// abandon drops an upload that failed. One that cannot be reached expires.
func (u *sending) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout)
	defer cancel()
	_ = u.c.DropUpload(ctx, u.id.String())
}

// read and kept tell how far the upload is.
func (u *sending) read(upTo int64) {
	if u.progress != nil {
		u.progress(UploadProgress{Sent: upTo, Kept: u.at, Size: u.content.size})
	}
}

func (u *sending) kept(upTo int64) {
	u.content.mu.Lock()
	defer u.content.mu.Unlock()
	u.at = upTo
	u.read(upTo)
}

// rest sends what the server does not have, and after a failure what it then
// does not have.
func (u *sending) rest(ctx context.Context) error {
	for attempt := 0; !u.finished; {
		before := u.at
		err := u.next(ctx)
		if err == nil {
			attempt = 0
			continue
		}
		asked, ok := mended(err)
		if !ok {
			return err
		}
		wait, ok := u.c.retry.pause(ctx, attempt, asked)
		if !ok {
			return err
		}
		if sleep(ctx, wait) != nil {
			return err
		}
		if err := u.ask(ctx); err != nil {
			return err
		}
		if attempt++; u.at > before {
			attempt = 0 // it gets on
		}
	}
	return nil
}

// mended says whether a failure of a piece may be gone next time.
func mended(err error) (wait time.Duration, ok bool) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return 0, false
	}
	switch e.Code {
	case "offset_mismatch", "broken_upload", "upload_busy", "checksum_mismatch":
		return e.RetryAfter, true
	}
	cut := e.cause != nil && malformed.MatchString(e.cause.Error())
	return e.RetryAfter, cut || errors.Is(err, ErrUnreachable) || e.Status >= 500 && e.Status != http.StatusInsufficientStorage
}

// next sends a piece. The last one is small and has a checksum, and before it
// the server is asked what it has: so no file is made of anything but what was
// sent.
func (u *sending) next(ctx context.Context) error {
	piece := u.piece
	if piece <= 0 {
		piece = defaultPiece
	}
	if left := u.content.size - u.at; left > lastPiece {
		return u.send(ctx, min(piece, left-lastPiece))
	}
	if u.at > 0 {
		if err := u.ask(ctx); err != nil || u.finished {
			return err
		}
	}
	return u.sendLast(ctx)
}

// send sends n bytes, which are read as they go.
func (u *sending) send(ctx context.Context, n int64) error {
	var last *source
	open := func() (io.ReadCloser, error) {
		sum, err := cloned(u.sum)
		if err != nil {
			return nil, err
		}
		last, err = u.content.from(u.at, u.at+n, sum)
		return io.NopCloser(last), err
	}
	if err := u.patch(ctx, n, open, nil); err != nil {
		return err
	}
	sum, all := last.taken()
	if !all {
		return &Error{Op: "resume upload " + u.id.String(), Message: "the server took more than it was sent", kinds: []error{ErrNotPlantDB}}
	}
	u.sum = sum
	u.kept(u.at + n)
	return nil
}

// sendLast sends what is left, with its checksum: these bytes are taken whole or
// not at all.
func (u *sending) sendLast(ctx context.Context) error {
	source, err := u.content.from(u.at, u.content.size, nil)
	if err != nil {
		return err
	}
	left, err := io.ReadAll(source)
	if err != nil {
		return fmt.Errorf("plantdb: upload %s: %w", u.id, err)
	}
	sum := sha256.Sum256(left)
	checksum := "sha256 " + base64.StdEncoding.EncodeToString(sum[:])
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(left)), nil }
	if err := u.patch(ctx, int64(len(left)), open, &checksum); err != nil {
		return err
	}
	u.finished = true
	u.kept(u.content.size)
	return nil
}

// patch sends n bytes from where the upload is.
func (u *sending) patch(ctx context.Context, n int64, open func() (io.ReadCloser, error), checksum *string) error {
	params := plantdbapi.ResumeUploadParams{TusResumable: tusVersion, UploadOffset: strconv.FormatInt(u.at, 10), UploadChecksum: checksum}
	return done(u.c.api.ResumeUploadWithBody(ctx, u.id, &params, tusBody, http.NoBody, func(_ context.Context, req *http.Request) (err error) {
		if n > eager {
			req.Header.Set("Expect", "100-continue")
		}
		req.ContentLength, req.GetBody = n, open
		req.Body, err = open()
		return err
	}))
}

// ask learns what the server has, and whether r begins with it.
func (u *sending) ask(ctx context.Context) error {
	s, err := u.c.uploadState(ctx, u.id)
	if err != nil {
		return err
	}
	if s.Length != u.content.size {
		return u.mismatch(ErrChanged, fmt.Sprintf("the upload is of a file of %d bytes, and this one has %d", s.Length, u.content.size))
	}
	sum, at := u.sum, u.at
	if s.Offset < at { // as from a backup of the server
		sum, at = sha256.New(), 0
	}
	if s.Offset > at {
		if sum, err = u.hashed(ctx, sum, at, s.Offset); err != nil {
			return err
		}
	}
	switch have := hex.EncodeToString(sum.Sum(nil)); {
	case have == s.Sha256:
	case s.Offset == u.at:
		return u.mismatch(ErrDamaged, fmt.Sprintf("the first %d bytes did not arrive as they were sent", s.Offset))
	default:
		return u.mismatch(ErrChanged, fmt.Sprintf("the upload was begun with another file, or it has changed since: its first %d bytes are not those that the server has", s.Offset))
	}
	u.sum, u.finished = sum, s.Finished
	u.kept(s.Offset)
	return nil
}

// hashed adds some of the content to a copy of sum.
func (u *sending) hashed(ctx context.Context, sum hash.Hash, at, end int64) (hash.Hash, error) {
	sum, err := cloned(sum)
	if err != nil {
		return nil, err
	}
	for at < end {
		step := min(end-at, hashStep)
		source, err := u.content.from(at, at+step, sum)
		if err == nil {
			_, err = io.Copy(io.Discard, source)
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("plantdb: resume upload %s: %w", u.id, err)
		}
		at += step
	}
	return sum, nil
}

func cloned(sum hash.Hash) (hash.Hash, error) {
	c, ok := sum.(hash.Cloner)
	if !ok {
		return nil, errors.New("plantdb: the digest cannot be copied")
	}
	return c.Clone()
}

func (u *sending) mismatch(kind error, message string) error {
	return &Error{Op: "resume upload " + u.id.String(), Message: message, kinds: []error{kind}}
}
