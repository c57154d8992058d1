package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
)

// request is one call. A path that begins with a slash lies below /api/v1, one
// that begins with two at the root.
type request struct {
	method, path string
	token        string // sent as a bearer unless empty
	body         any    // sent as JSON unless nil
	header       http.Header
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// send makes a call; the error is that of the connection.
func (sv *server) send(ctx context.Context, r request) (answer, error) {
	var body io.Reader = http.NoBody
	var text []byte
	if r.body != nil {
		var err error
		if text, err = json.Marshal(r.body); err != nil {
			return answer{}, err
		}
		body = bytes.NewReader(text)
	}
	path, atRoot := strings.CutPrefix(r.path, "//")
	if atRoot {
		path = "/" + path
	} else {
		path = "/api/v1" + path
	}
	req, err := http.NewRequestWithContext(ctx, r.method, sv.URL+path, body)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("User-Agent", agent)
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	maps.Copy(req.Header, r.header)
	sv.site.seen.request(req, text)
	res, err := sv.site.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	a := answer{status: res.StatusCode, header: res.Header}
	if a.body, err = io.ReadAll(res.Body); err != nil {
		return answer{}, err
	}
	sv.site.seen.answer(a)
	return a, nil
}

// call makes a call that must get an answer.
func (sv *server) call(r request) answer {
	sv.t.Helper()
	ctx, cancel := soon(sv.t)
	defer cancel()
	a, err := sv.send(ctx, r)
	if err != nil {
		sv.t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	return a
}

// try is call for goroutines other than the test's: no answer has status 0.
func (sv *server) try(r request) answer {
	ctx, cancel := soon(sv.t)
	defer cancel()
	a, err := sv.send(ctx, r)
	if err != nil {
		sv.t.Errorf("%s %s: %v", r.method, r.path, err)
	}
	return a
}

func (sv *server) get(path, token string) answer {
	sv.t.Helper()
	return sv.call(request{method: http.MethodGet, path: path, token: token})
}

func (sv *server) post(path, token string, body any) answer {
	sv.t.Helper()
	return sv.call(request{method: http.MethodPost, path: path, token: token, body: body})
}

func (sv *server) patch(path, token string, body any) answer {
	sv.t.Helper()
	return sv.call(request{method: http.MethodPatch, path: path, token: token, body: body})
}

func (sv *server) remove(path, token string) answer {
	sv.t.Helper()
	return sv.call(request{method: http.MethodDelete, path: path, token: token})
}

// pair is what a login or a refresh gives.
type pair struct{ access, refresh string }

func loginOf(p person) request {
	return request{method: http.MethodPost, path: "/auth/login", body: map[string]any{"username": p.name, "password": p.password}}
}

func refreshOf(token string) request {
	return request{method: http.MethodPost, path: "/auth/token/refresh", body: map[string]any{"refresh_token": token}}
}

func validationOf(token string) request {
	return request{method: http.MethodPost, path: "/auth/token/validation", token: token}
}

func logoutOf(token string) request {
	return request{method: http.MethodPost, path: "/auth/logout", token: token}
}

// login opens a session that must open.
func (sv *server) login(p person) pair {
	sv.t.Helper()
	return sv.call(loginOf(p)).pair(sv.t, "login as "+p.name)
}

// refresh trades a token that must be good.
func (sv *server) refresh(token string) pair {
	sv.t.Helper()
	return sv.call(refreshOf(token)).pair(sv.t, "refresh")
}

// takes says whether an access or API token is good here.
func (sv *server) takes(token string) bool {
	sv.t.Helper()
	a := sv.call(validationOf(token))
	if a.status != http.StatusOK && a.status != http.StatusUnauthorized {
		sv.t.Fatalf("validation = %s, want 200 or 401", a)
	}
	return a.status == http.StatusOK
}

// String shows the answer without its tokens.
func (a answer) String() string {
	text := token.ReplaceAllString(string(a.body), "(token)")
	return fmt.Sprintf("%d %s", a.status, text[:min(len(text), 400)])
}

// want fails the test unless the answer has the status.
func (a answer) want(t *testing.T, what string, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("%s = %s, want %d", what, a, status)
	}
	return a
}

func (a answer) pair(t *testing.T, what string) pair {
	t.Helper()
	a.want(t, what, http.StatusOK)
	p := pair{a.text("access_token"), a.text("refresh_token")}
	if p.access == "" || p.refresh == "" {
		t.Fatalf("%s = %s, want both tokens", what, a)
	}
	return p
}

// text returns a text at the top of the body, or "".
func (a answer) text(name string) string {
	var fields map[string]any
	_ = json.Unmarshal(a.body, &fields) // what is no object has no text
	s, _ := fields[name].(string)
	return s
}

// into decodes the body.
func (a answer) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("decode %s: %v", a, err)
	}
}

// refused fails the test unless the answer is a 401 as it should be, in which
// the message holds the words.
func (a answer) refused(t *testing.T, what, words string) {
	t.Helper()
	if a.status != http.StatusUnauthorized || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") ||
		!strings.Contains(a.text("message"), words) || a.text("message") != a.text("error") {
		t.Errorf("%s = %s (WWW-Authenticate %q), want 401, Bearer, and a message and error with %q",
			what, a, a.header.Get("WWW-Authenticate"), words)
	}
}
