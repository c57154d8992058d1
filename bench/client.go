package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// callTime bounds one call; the largest upload on a slow disk fits.
const callTime = 10 * time.Minute

// caller calls one server, with a token if it has one. It keeps a connection
// for every client of a load and reads each answer to its end.
type caller struct {
	http  *http.Client
	base  string
	token string
}

func newClient(base string) *caller {
	return &caller{base: base, http: &http.Client{
		Timeout: callTime,
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 128, DisableCompression: true, ReadBufferSize: 64 << 10, WriteBufferSize: 64 << 10,
		},
	}}
}

// request is one call.
type request struct {
	method, path string
	contentType  string
	body         io.Reader // nil for none
	size         int64     // of body
	keep         bool      // return the answer's body
	headers      map[string]string
	status       int // of the answer; 0 for any success
}

// call returns the body of the answer if it is asked for. An answer that is no
// success is an error.
func (c *caller) call(ctx context.Context, r request) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, c.base+r.path, r.body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if r.body != nil {
		req.ContentLength = r.size
		req.Header.Set("Content-Type", r.contentType)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for name, value := range r.headers {
		req.Header.Set(name, value)
	}
	answer, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("call server: %w", err)
	}
	defer answer.Body.Close()
	failed := answer.StatusCode >= http.StatusMultipleChoices
	if r.status != 0 {
		failed = answer.StatusCode != r.status
	}
	if !r.keep && !failed {
		return nil, drain(answer.Body)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if failed {
		return nil, fmt.Errorf("%s %s: %s: %.300s", r.method, r.path, answer.Status, body)
	}
	return body, nil
}

var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// drain reads to the end, in larger steps than io.Discard does.
func drain(r io.Reader) error {
	buffer, _ := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(buffer)
	for {
		_, err := r.Read(buffer[:])
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
	}
}

func (c *caller) get(ctx context.Context, path string) ([]byte, error) {
	return c.call(ctx, request{method: http.MethodGet, path: path, keep: true})
}

// postJSON sends a value and decodes the answer into another, unless that is nil.
func (c *caller) postJSON(ctx context.Context, path string, value, into any) error {
	sent, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	body, err := c.call(ctx, request{
		method: http.MethodPost, path: path, contentType: "application/json",
		body: bytes.NewReader(sent), size: int64(len(sent)), keep: true,
	})
	if err != nil || into == nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}

// page reads a page of a list and returns the path of the next one, empty
// after the last.
func (c *caller) page(ctx context.Context, path string) (next string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return "", fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	answer, err := c.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("call server: %w", err)
	}
	defer answer.Body.Close()
	if err := drain(answer.Body); err != nil {
		return "", err
	}
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GET %s: %s", path, answer.Status)
	}
	for link := range strings.SplitSeq(answer.Header.Get("Link"), ", ") {
		if target, ok := strings.CutSuffix(link, `>; rel="next"`); ok {
			return strings.TrimPrefix(target, "<"), nil
		}
	}
	return "", nil
}

// begin reads the first byte of an answer and hangs up.
func (c *caller) begin(ctx context.Context, path string) error {
	_, err := c.opening(ctx, path)
	return err
}

// opening is begin, and returns the ETag.
func (c *caller) opening(ctx context.Context, path string) (tag string, err error) {
	ctx, hangUp := context.WithCancel(ctx)
	defer hangUp()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return "", fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	answer, err := c.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("call server: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GET %s: %s", path, answer.Status)
	}
	if _, err := io.ReadFull(answer.Body, make([]byte, 1)); err != nil {
		return "", fmt.Errorf("read answer: %w", err)
	}
	return answer.Header.Get("ETag"), nil
}

// calls is a load of one request again and again.
func (c *caller) calls(clients int, method, path string) *load {
	return c.callsEach(clients, method, func(job) string { return path })
}

// callsEach is a load whose path differs from job to job.
func (c *caller) callsEach(clients int, method string, path func(job) string) *load {
	return &load{clients: clients, do: func(ctx context.Context, j job) error {
		_, err := c.call(ctx, request{method: method, path: path(j)})
		return err
	}}
}

// api is where the operations of the server lie.
const api = "/api/v1"

type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

type credentials struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// logIn returns a caller with the token of a new session.
func logIn(ctx context.Context, c *caller, username, password string) (*caller, error) {
	var got tokens
	err := c.postJSON(ctx, api+"/auth/login", credentials{username, password}, &got)
	if err != nil {
		return nil, fmt.Errorf("log in as %s: %w", username, err)
	}
	in := *c
	in.token = got.Access
	return &in, nil
}
